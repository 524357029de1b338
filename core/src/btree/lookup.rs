//! One descent from a root to the leaf of a key.

use crate::error::{CorruptionReason, Error, Result};
use crate::format::branch::{Branch, Child};
use crate::format::leaf::{EntryKind, Leaf};
use crate::format::page_ref::PageRef;
use crate::pager::{PageView, Pager, Pin};
use lightning_platform::File;

/// A tree: its root page and the table that its pages belong to.
#[derive(Debug, Clone, Copy)]
pub struct Root {
    /// The root page; none for an empty tree.
    pub page: Option<PageRef>,
    /// The table id in the pages' headers.
    pub table: u32,
}

/// Calls `found` with the leaf that holds the range of `key`, in memory; `None`
/// for an empty tree. Reads what is not in memory where `may_read`.
///
/// # Errors
/// I/O or corruption; [`Error::WouldRead`] where a page is not in memory and
/// reading was not allowed.
#[inline]
pub fn with_leaf<'p, R>(
    pager: &'p Pager,
    root: &Root,
    key: &[u8],
    may_read: bool,
    found: impl FnOnce(&PageView<'_, 'p>) -> R,
) -> Result<Option<R>> {
    let Some(mut current) = root.page else {
        return Ok(None);
    };
    let mut pin: Option<Pin<'p>> = None;
    loop {
        let missing = 'memory: {
            let traversal = pager.enter();
            let start = match &pin {
                Some(pin) => Some(traversal.pinned(pin)),
                None => traversal.page(&current),
            };
            let Some(mut view) = start else {
                break 'memory current;
            };
            let mut level = current.level;
            while level > 0 {
                let branch = Branch::new(view.bytes());
                let index = branch.child_index(key);
                let (address, birth) = branch.child_address(index);
                match traversal.child(&view, index, address, birth) {
                    Some(child) => view = child,
                    None => break 'memory branch.child(index).page,
                }
                level -= 1;
            }
            return Ok(Some(found(&view)));
        };
        if !may_read {
            return Err(Error::WouldRead);
        }
        // The page above is not needed any more: a waiter for a frame keeps none.
        drop(pin.take());
        pin = Some(pager.load(&missing, root.table)?);
        current = missing;
    }
}

/// A value in a pinned leaf.
pub struct Found<'p> {
    pub(super) pin: Pin<'p>,
    pub(super) index: usize,
    /// Put or extent reference; in a run, tombstone, too.
    pub kind: EntryKind,
    /// The commit that wrote it, in a run; else 0.
    pub sequence: u64,
    /// Expiry in milliseconds since 1970.
    pub expiry_ms: Option<u64>,
    /// The metadata byte.
    pub metadata: Option<u8>,
}

impl Found<'_> {
    /// The value's bytes, in the page.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        Leaf::new(self.pin.bytes()).entry(self.index).value
    }
}

/// The entry of `key`, its page pinned.
///
/// # Errors
/// As [`with_leaf`].
pub fn get<'p>(
    pager: &'p Pager,
    root: &Root,
    key: &[u8],
    may_read: bool,
) -> Result<Option<Found<'p>>> {
    loop {
        let outcome = with_leaf(pager, root, key, may_read, |view| {
            let leaf = Leaf::new(view.bytes());
            let index = leaf.search(key).ok()?;
            let entry = leaf.entry(index);
            // A pin fails when the page is just being evicted: look again.
            Some(view.pin().map(|pin| Found {
                pin,
                index,
                kind: entry.kind,
                sequence: entry.sequence,
                expiry_ms: entry.expiry_ms,
                metadata: entry.metadata,
            }))
        })?;
        match outcome.flatten() {
            None => return Ok(None),
            Some(Some(found)) => return Ok(Some(found)),
            Some(None) => {}
        }
    }
}

/// How many entries of the tree have keys below `key`, by one descent.
///
/// # Errors
/// I/O or corruption.
pub fn count_below(pager: &Pager, root: &Root, key: &[u8]) -> Result<u64> {
    let Some(mut current) = root.page else {
        return Ok(0);
    };
    let mut count = 0_u64;
    loop {
        let pin = pager.page(&current, root.table)?;
        if current.level == 0 {
            let leaf = Leaf::new(pin.bytes());
            return Ok(count + leaf.lower_bound(key) as u64);
        }
        let branch = Branch::new(pin.bytes());
        let index = branch.child_index(key);
        for before in 0..index {
            count += branch.child(before).count;
        }
        current = checked_child(pager, &branch, index, &current)?.page;
    }
}

/// Corruption found at a page.
pub(super) fn damaged(pager: &Pager, page: &PageRef, reason: CorruptionReason) -> Error {
    let offset = pager.layout().offset(page.address).unwrap_or(u64::MAX);
    Error::corrupt(reason, File::Pages, offset)
}

/// A child, checked to be one level below its parent.
pub(super) fn checked_child(
    pager: &Pager,
    branch: &Branch<'_>,
    index: usize,
    parent: &PageRef,
) -> Result<Child> {
    let child = branch.child(index);
    if index < branch.count() && child.page.level + 1 == parent.level {
        Ok(child)
    } else {
        Err(damaged(pager, parent, CorruptionReason::Structure))
    }
}
