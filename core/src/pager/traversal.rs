//! What a traversal sees, and what it keeps: views and pins of pages in memory.

use super::{EpochGuard, Pager};
use crate::format::page_ref::PageRef;

/// A traversal in memory: what it finds stays until it is dropped.
pub struct Traversal<'p> {
    pager: &'p Pager,
    _epoch: EpochGuard<'p>,
}

impl<'p> Traversal<'p> {
    /// Enters an epoch.
    #[inline]
    pub(super) fn new(pager: &'p Pager) -> Self {
        Self {
            pager,
            _epoch: pager.frames.epochs.enter(),
        }
    }

    /// The page, if it is in memory.
    #[inline]
    #[must_use]
    pub fn page<'t>(&'t self, page: &PageRef) -> Option<PageView<'t, 'p>> {
        let frame = self
            .pager
            .frames
            .find(page.address, page.birth_generation)?;
        Some(PageView {
            traversal: self,
            frame,
        })
    }

    /// A child of a branch, if it is in memory.
    #[inline]
    #[must_use]
    pub fn child<'t>(
        &'t self,
        parent: &PageView<'t, 'p>,
        index: usize,
        address: u64,
        birth_generation: u64,
    ) -> Option<PageView<'t, 'p>> {
        let frame = self
            .pager
            .frames
            .find_child(parent.frame, index, address, birth_generation)?;
        Some(PageView {
            traversal: self,
            frame,
        })
    }

    /// A pinned page as part of this traversal.
    #[inline]
    #[must_use]
    pub fn pinned<'t>(&'t self, pin: &Pin<'p>) -> PageView<'t, 'p> {
        PageView {
            traversal: self,
            frame: pin.frame,
        }
    }
}

/// A page in memory, readable while its traversal lives.
#[derive(Clone, Copy)]
pub struct PageView<'t, 'p> {
    traversal: &'t Traversal<'p>,
    frame: u32,
}

impl<'t, 'p> PageView<'t, 'p> {
    /// The page's bytes.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &'t [u8] {
        self.traversal.pager.frames.bytes(self.frame)
    }

    /// Asks for the cache line at a byte of the page.
    #[inline]
    pub fn prefetch(&self, offset: usize) {
        let frames = &self.traversal.pager.frames;
        frames.prefetch_bytes(self.frame, offset);
    }

    /// Asks for the hint of a child, in a branch.
    #[inline]
    pub fn prefetch_hint(&self, child: usize) {
        self.traversal.pager.frames.prefetch_hint(self.frame, child);
    }

    /// Asks for the frame that the hint of a child names, in a branch.
    #[inline]
    pub fn prefetch_hinted(&self, child: usize) {
        self.traversal
            .pager
            .frames
            .prefetch_hinted(self.frame, child);
    }

    /// Keeps the page beyond the traversal; `None` when it is just being evicted.
    #[inline]
    #[must_use]
    pub fn pin(&self) -> Option<Pin<'p>> {
        let pager = self.traversal.pager;
        // Made only where it was pinned: dropping it takes the pin back.
        pager.frames.pin(self.frame).then(|| Pin {
            pager,
            frame: self.frame,
        })
    }
}

/// A page kept in memory until dropped.
pub struct Pin<'p> {
    pager: &'p Pager,
    frame: u32,
}

impl<'p> Pin<'p> {
    /// A frame that was pinned for it.
    pub(super) fn new(pager: &'p Pager, frame: u32) -> Self {
        Self { pager, frame }
    }
}

impl Pin<'_> {
    /// The page's bytes.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.pager.frames.bytes(self.frame)
    }
}

impl Drop for Pin<'_> {
    #[inline]
    fn drop(&mut self) {
        self.pager.frames.unpin(self.frame);
    }
}
