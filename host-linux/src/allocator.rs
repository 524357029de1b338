//! The system's allocator, told to give back what is large.
//!
//! The C library's allocator maps what is large and unmaps it when it is freed; but each
//! time it does it takes somewhat larger blocks for small ones from then on, which it
//! keeps, for each of its threads. A service whose clients' buffers come and go on many
//! threads would keep several times what they take.
//!
//! # The argument for the `unsafe` code
//! `mallopt` takes two numbers and touches no memory but the allocator's own, under its
//! lock. The manual names it unsafe only beside other threads that call it, or allocate,
//! for the first time; it is called before this process has started any.

/// Bytes from which on an allocation is mapped by itself, and unmapped when it is freed.
#[cfg(target_env = "gnu")]
const LARGE_BYTES: i32 = 256 * 1024;

/// Has allocations of a quarter of a mebibyte and more given back to the system when they
/// are freed, from here on. For a program to call at its start, before it has threads.
pub fn give_back_large_allocations() {
    #[cfg(target_env = "gnu")]
    // SAFETY: see the top of the file.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BYTES);
    }
}
