//! The memory contract: a few large reservations at open, none afterwards.

use core::ptr::NonNull;

/// What a reservation is for, so that a host can choose huge pages, a NUMA
/// node or plain heap for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MemoryUse {
    /// The frames that hold pages: the largest, touched at random.
    Frames,
    /// A memtable's arena: filled front to back, read at random.
    Arena,
    /// Buffers of log and merge: written once, read once.
    Buffer,
    /// Tables, slots and other small structures.
    Structure,
}

/// Where the engine's memory comes from.
///
/// The engine adds up what it needs from its options, reserves it at open and
/// touches it on use; a running engine reserves nothing.
///
/// # Safety
/// An implementation MUST return memory that is valid for reads and writes of
/// `bytes` bytes, zeroed, aligned to `align`, not aliased, and that stays so
/// until [`release`](Self::release) is called with the same values.
pub unsafe trait Memory: Send + Sync {
    /// Reserves `bytes` (at least 1) zeroed bytes aligned to `align` (a power of
    /// two), or `None` where there are none. MUST NOT panic or abort.
    fn reserve(&self, purpose: MemoryUse, bytes: usize, align: usize) -> Option<NonNull<u8>>;

    /// Gives a reservation back.
    ///
    /// # Safety
    /// `start`, `bytes` and `align` MUST be those of one successful
    /// [`reserve`](Self::reserve) on this object that was not released yet, and
    /// nothing may use the memory any more.
    unsafe fn release(&self, start: NonNull<u8>, bytes: usize, align: usize);

    /// Tells that what stands in a whole reservation is not needed any more, so that the
    /// system may have its memory until it is touched again. Each byte is then what it was,
    /// or zero. A host that can't do that does nothing.
    ///
    /// # Safety
    /// `start` and `bytes` MUST be those of a successful [`reserve`](Self::reserve) on this
    /// object that was not released yet, and nothing may use the memory at the same time.
    unsafe fn discard(&self, start: NonNull<u8>, bytes: usize) {
        let _ = (start, bytes);
    }
}
