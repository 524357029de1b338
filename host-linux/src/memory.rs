//! Memory reservations: mappings for large ones, the heap for small ones.
//!
//! This file holds the crate's only `unsafe` code. The argument:
//!
//! * How a reservation was made follows from `bytes` and `align` alone, which
//!   the contract says come back unchanged: below [`MAPPING_BYTES_MIN`] from
//!   the heap with `Layout(bytes, align)`, from there on as a private anonymous
//!   mapping of [`mapped_bytes`]`(bytes)` bytes. `release` derives the same.
//! * A fresh private anonymous mapping is zeroed, readable, writable and
//!   belongs to nobody else; so is what `alloc_zeroed` returns.
//! * Mappings are made larger than needed by their alignment and trimmed at
//!   both ends to the aligned part. Lengths are multiples of
//!   [`MAPPING_UNIT_BYTES`], which every page size of Linux divides on the
//!   supported processors, so that trimming cuts between pages.
//!
//! Huge pages are asked for by `madvise`, which the kernel may ignore. Pages of
//! the `hugetlbfs` pool (`vm.nr_hugepages`) are not used: a control group's
//! limit on them kills the process at the first touch, past the point where a
//! reservation can be refused.

use lightning_platform::{Memory, MemoryUse};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags};
use std::alloc::Layout;
use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Reservations from this size on are mappings. The size of a huge page on
/// x86-64 and on aarch64 with 4 KiB pages, and their alignment.
const MAPPING_BYTES_MIN: usize = 2 * 1024 * 1024;
/// The length of a mapping is a multiple of this, the largest common page size.
const MAPPING_UNIT_BYTES: usize = 64 * 1024;
/// The smallest page size of Linux: the step of touching pages.
const PAGE_BYTES_MIN: usize = 4096;

const _: () = assert!(MAPPING_BYTES_MIN.is_multiple_of(MAPPING_UNIT_BYTES));
const _: () = assert!(MAPPING_UNIT_BYTES.is_multiple_of(PAGE_BYTES_MIN));

/// The engine's memory on Linux. Never aborts: what can't be had is `None`.
#[derive(Debug, Default)]
pub struct LinuxMemory {
    prefault: bool,
    reserved_bytes: AtomicUsize,
}

impl LinuxMemory {
    /// Memory that takes up room in RAM as it is first touched.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Memory that is touched as it is reserved, so that a machine without the
    /// room says so at open, and no later access waits for a page.
    #[must_use]
    pub fn prefaulted() -> Self {
        Self {
            prefault: true,
            ..Self::default()
        }
    }

    /// Bytes reserved at present, with what mappings are rounded up by.
    #[must_use]
    pub fn reserved_bytes(&self) -> usize {
        self.reserved_bytes.load(Ordering::Relaxed)
    }
}

// SAFETY: see the top of the file: fresh, zeroed, exclusive memory of at least
// `bytes` bytes at the alignment asked for, which nothing gives back but `release`.
unsafe impl Memory for LinuxMemory {
    fn reserve(&self, purpose: MemoryUse, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        if bytes == 0 {
            return None;
        }
        // Checks for both ways that `align` is a power of two and that the
        // size, rounded up to it, is at most `isize::MAX`.
        let layout = Layout::from_size_align(bytes, align).ok()?;
        let start = if bytes < MAPPING_BYTES_MIN {
            // SAFETY: the layout's size is not 0.
            let start = NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) })?;
            if self.prefault {
                // SAFETY: the allocation has `bytes` bytes, all of them zero,
                // and is not shared yet.
                unsafe { touch(start, bytes) };
            }
            start
        } else {
            map(purpose, bytes, align, self.prefault)?
        };
        self.reserved_bytes
            .fetch_add(counted_bytes(bytes), Ordering::Relaxed);
        Some(start)
    }

    unsafe fn release(&self, start: NonNull<u8>, bytes: usize, align: usize) {
        if bytes < MAPPING_BYTES_MIN {
            if let Ok(layout) = Layout::from_size_align(bytes, align) {
                // SAFETY: the caller passes the values of one reservation of
                // this size, which came from the same allocator and layout.
                unsafe { std::alloc::dealloc(start.as_ptr(), layout) };
            }
        } else if let Some(length) = mapped_bytes(bytes) {
            // SAFETY: the caller passes the values of one reservation of this
            // size, which is a mapping of this length that nothing uses any more.
            unsafe { unmap(start.as_ptr().cast(), length) };
        }
        self.reserved_bytes
            .fetch_sub(counted_bytes(bytes), Ordering::Relaxed);
    }
}

/// What a reservation of `bytes` counts for.
fn counted_bytes(bytes: usize) -> usize {
    if bytes < MAPPING_BYTES_MIN {
        bytes
    } else {
        mapped_bytes(bytes).unwrap_or(bytes)
    }
}

/// The length of the mapping for a reservation of `bytes`.
fn mapped_bytes(bytes: usize) -> Option<usize> {
    bytes.checked_next_multiple_of(MAPPING_UNIT_BYTES)
}

/// Maps at least `bytes` zeroed bytes, aligned to `align` and to a huge page.
fn map(purpose: MemoryUse, bytes: usize, align: usize, prefault: bool) -> Option<NonNull<u8>> {
    let align = align.max(MAPPING_BYTES_MIN);
    let length = mapped_bytes(bytes)?;
    let whole_length = length.checked_add(align)?;
    // SAFETY: no address is asked for, so that no existing mapping is touched.
    let whole = unsafe {
        rustix::mm::mmap_anonymous(
            std::ptr::null_mut(),
            whole_length,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::PRIVATE,
        )
    }
    .ok()?;
    let head = whole.cast::<u8>().align_offset(align);
    // `align_offset` is free to give up, and says so by `usize::MAX`.
    if head > align {
        // SAFETY: the mapping made above, whole, which nobody knows of yet.
        unsafe { unmap(whole, whole_length) };
        return None;
    }
    let tail = align - head;
    // SAFETY: `head` is at most `align`, so that the result and `length` bytes
    // after it lie within the mapping.
    let start = unsafe { whole.byte_add(head) };
    if head > 0 {
        // SAFETY: the first `head` bytes of the mapping, outside the kept part.
        unsafe { unmap(whole, head) };
    }
    if tail > 0 {
        // SAFETY: within the mapping, as above: head + length + tail = whole.
        let end = unsafe { start.byte_add(length) };
        // SAFETY: the last `tail` bytes of the mapping, outside the kept part.
        unsafe { unmap(end, tail) };
    }
    if matches!(purpose, MemoryUse::Frames | MemoryUse::Arena) {
        // Best effort: a kernel without huge pages refuses, and nothing is lost.
        // SAFETY: this advice changes no content, and the range is our mapping.
        let _ = unsafe { rustix::mm::madvise(start, length, Advice::LinuxHugepage) };
    }
    if prefault && populate(start, length).is_err() {
        // SAFETY: the kept part of the mapping, which nobody knows of yet.
        unsafe { unmap(start, length) };
        return None;
    }
    NonNull::new(start.cast())
}

/// Backs a fresh mapping with pages.
fn populate(start: *mut c_void, length: usize) -> Result<(), Errno> {
    loop {
        // SAFETY: this advice changes no content, and the range is our mapping.
        match unsafe { rustix::mm::madvise(start, length, Advice::LinuxPopulateWrite) } {
            Err(Errno::INTR | Errno::AGAIN) => {}
            // Kernels before 5.14 don't know this advice.
            Err(Errno::INVAL) => break,
            result => return result,
        }
    }
    if let Some(start) = NonNull::new(start.cast()) {
        // SAFETY: the mapping has `length` bytes, all of them zero, and is not
        // shared yet.
        unsafe { touch(start, length) };
    }
    Ok(())
}

/// Writes a zero to each page of a zeroed range.
///
/// # Safety
/// The range MUST be valid for writes, zeroed, and not shared.
unsafe fn touch(start: NonNull<u8>, bytes: usize) {
    for offset in (0..bytes).step_by(PAGE_BYTES_MIN) {
        // SAFETY: `offset` is less than `bytes`, within the caller's range.
        let page = unsafe { start.add(offset) };
        // SAFETY: as above; volatile, since a write of what is there already
        // would be left out.
        unsafe { page.write_volatile(0) };
    }
}

/// Gives a range of whole pages back.
///
/// # Safety
/// The range MUST be (part of) a mapping made here, and in use by nobody.
unsafe fn unmap(start: *mut c_void, length: usize) {
    // Fails only where splitting a mapping passes the kernel's limit on their
    // number; the range then stays mapped and unused, which is harmless.
    // SAFETY: the caller's.
    let _ = unsafe { rustix::mm::munmap(start, length) };
}

#[cfg(test)]
mod tests {
    use super::*;

    const USES: [MemoryUse; 4] = [
        MemoryUse::Frames,
        MemoryUse::Arena,
        MemoryUse::Buffer,
        MemoryUse::Structure,
    ];

    fn check(memory: &LinuxMemory, purpose: MemoryUse, bytes: usize, align: usize) {
        let before = memory.reserved_bytes();
        let start = memory.reserve(purpose, bytes, align).unwrap();
        assert_eq!(start.as_ptr().align_offset(align), 0);
        assert!(memory.reserved_bytes() >= before + bytes);
        assert!(memory.reserved_bytes() < before + bytes + MAPPING_UNIT_BYTES);
        // SAFETY: the reservation just made, by this thread alone.
        let slice = unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), bytes) };
        assert!(slice.iter().all(|&byte| byte == 0));
        slice.fill(0xA5);
        // SAFETY: the values of the reservation; the slice is not used again.
        unsafe { memory.release(start, bytes, align) };
        assert_eq!(memory.reserved_bytes(), before);
    }

    #[test]
    fn reservations_are_zeroed_aligned_and_counted() {
        for memory in [LinuxMemory::new(), LinuxMemory::prefaulted()] {
            for purpose in USES {
                check(&memory, purpose, 1, 1);
                check(&memory, purpose, 4096, 4096);
                check(&memory, purpose, MAPPING_BYTES_MIN - 1, 64);
                check(&memory, purpose, MAPPING_BYTES_MIN, 8);
                check(&memory, purpose, MAPPING_BYTES_MIN + 1, 4096);
                check(
                    &memory,
                    purpose,
                    3 * MAPPING_BYTES_MIN,
                    4 * MAPPING_BYTES_MIN,
                );
            }
        }
    }

    #[test]
    fn large_reservations_start_on_a_huge_page() {
        let memory = LinuxMemory::new();
        let bytes = 2 * MAPPING_BYTES_MIN;
        let start = memory.reserve(MemoryUse::Frames, bytes, 64).unwrap();
        assert_eq!(start.as_ptr().align_offset(MAPPING_BYTES_MIN), 0);
        // SAFETY: the values of the reservation.
        unsafe { memory.release(start, bytes, 64) };
    }

    #[test]
    fn what_cannot_be_had_is_none() {
        let memory = LinuxMemory::new();
        assert!(memory.reserve(MemoryUse::Buffer, 0, 8).is_none());
        assert!(memory.reserve(MemoryUse::Buffer, 8, 3).is_none());
        assert!(memory.reserve(MemoryUse::Buffer, usize::MAX, 8).is_none());
        assert!(
            memory
                .reserve(MemoryUse::Frames, isize::MAX as usize - 63, 64)
                .is_none()
        );
        assert!(memory.reserve(MemoryUse::Frames, 1 << 46, 4096).is_none());
        assert_eq!(memory.reserved_bytes(), 0);
    }
}
