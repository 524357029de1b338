//! What goes into an edit, and where its pages go.

use crate::error::{Error, Result};
use crate::format::extent::ExtentRef;
use crate::format::leaf::EntryKind;
use crate::format::page_ref::{PageKind, PageRef};
use crate::pager::{PageStore, Pager};

/// Where new pages go, and what becomes of old ones.
pub trait PageSink {
    /// Writes a finished page; kind, level and table stand in its header.
    ///
    /// # Errors
    /// I/O or a full storage.
    fn append(&mut self, kind: PageKind, level: u8, plain: &mut [u8]) -> Result<PageRef>;

    /// Notes that the new tree no longer uses a page.
    ///
    /// # Errors
    /// I/O.
    fn release(&mut self, page: &PageRef) -> Result<()>;

    /// Notes that the new tree no longer uses the extent that `reference` names.
    ///
    /// # Errors
    /// I/O or corruption.
    fn release_extent(&mut self, reference: &[u8]) -> Result<()>;
}

/// Puts pages into the state that a page store is building.
pub struct StoreSink<'a> {
    /// The pages.
    pub pager: &'a Pager,
    /// The store.
    pub store: &'a mut PageStore,
    /// Whether new leaves are put into memory: those of a merge are read again
    /// soon, those of a load would push out everything else.
    pub keeps_leaves: bool,
}

impl PageSink for StoreSink<'_> {
    fn append(&mut self, kind: PageKind, level: u8, plain: &mut [u8]) -> Result<PageRef> {
        let keep = self.keeps_leaves || level > 0;
        self.store.append(self.pager, kind, level, plain, keep)
    }

    fn release(&mut self, page: &PageRef) -> Result<()> {
        self.store.release(self.pager, page)
    }

    fn release_extent(&mut self, reference: &[u8]) -> Result<()> {
        match ExtentRef::decode(reference) {
            Some(extent) => self.store.release_extent(self.pager, &extent),
            None => Err(Error::Internal(240)),
        }
    }
}

/// What happens to one key.
#[derive(Debug, Clone, Copy)]
pub enum Change<'a> {
    /// The key has this value from now on.
    Put {
        /// Put or extent reference (or tombstone, in a run).
        kind: EntryKind,
        /// Expiry in milliseconds since 1970.
        expiry_ms: Option<u64>,
        /// The metadata byte.
        metadata: Option<u8>,
        /// The sequence, in a run.
        sequence: u64,
        /// The value's bytes, or an extent reference.
        value: &'a [u8],
    },
    /// The key is gone.
    Delete,
}
