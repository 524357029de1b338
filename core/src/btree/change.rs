//! What goes into an edit, and where its pages go.

use crate::error::Result;
use crate::format::leaf::EntryKind;
use crate::format::page_ref::{PageKind, PageRef};

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
