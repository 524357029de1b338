//! Memory reservations: mappings for large ones, the heap for small ones.
//!
//! This file has `unsafe` code. The argument:
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
//! # Huge pages
//! Large reservations of frames and arenas may consist of them. Where they are only *asked*
//! for (`madvise`), the kernel makes them when it can. It isn't asked for reservations below
//! [`ASKED_BYTES_MIN`]: an open database has one for each transaction that may run, each of
//! which would cost a whole huge page as soon as its first byte is touched, and most of them
//! are never used. Those that were set aside for it
//! (`vm.nr_hugepages`) are mapped as such; whether such a mapping can be used is known
//! when it was touched: a control group's limit would end the process at the first touch
//! later on, and is an error of `MADV_POPULATE_WRITE` here. Their mappings are longer, up
//! to a whole huge page, and known by their start.
//!
//! # Nodes
//! The policy of a mapping is set before it is touched (`mbind`), and stays with it
//! whatever thread touches it. What is smaller than a mapping lies where the system puts it.

use crate::processors::{self, Node, SYSTEM_ROOT, number_list_text};
use lightning_platform::{HugePages, MachineGrants, MachineWishes, MemoryNodes};
use lightning_platform::{Memory, MemoryUse};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags};
use std::alloc::Layout;
use std::ffi::c_void;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Reservations from this size on are mappings. The size of a huge page on
/// x86-64 and on aarch64 with 4 KiB pages, and their alignment.
const MAPPING_BYTES_MIN: usize = 2 * 1024 * 1024;
/// The system is asked for huge pages for reservations from this size on: for a cache and
/// for memtables, of which a huge page is a small part.
const ASKED_BYTES_MIN: usize = 8 * MAPPING_BYTES_MIN;
/// The length of a mapping is a multiple of this, the largest common page size.
const MAPPING_UNIT_BYTES: usize = 64 * 1024;
/// The smallest page size of Linux: the step of touching pages.
const PAGE_BYTES_MIN: usize = 4096;

const _: () = assert!(MAPPING_BYTES_MIN.is_multiple_of(MAPPING_UNIT_BYTES));
const _: () = assert!(MAPPING_UNIT_BYTES.is_multiple_of(PAGE_BYTES_MIN));

/// Numbers of memory nodes that a policy can name.
const NODES_MAX: usize = 1_024;
/// Bits of a word of a set of nodes.
const NODE_WORD_BITS: usize = libc::c_ulong::BITS as usize;

/// Where mappings are put.
#[derive(Debug, Clone)]
struct Policy {
    /// `MPOL_BIND` or `MPOL_INTERLEAVE`.
    mode: libc::c_int,
    nodes: [libc::c_ulong; NODES_MAX / NODE_WORD_BITS],
    /// For people.
    words: String,
}

/// What became of the wishes so far.
#[derive(Debug, Default)]
struct Account {
    /// Starts of mappings of huge pages that were set aside.
    huge: Vec<usize>,
    huge_bytes: usize,
    /// Bytes of mappings that the kernel was asked to make of huge pages.
    asked_bytes: usize,
    placed_bytes: usize,
    touched_bytes: usize,
    huge_refusal: Option<String>,
    place_refusal: Option<String>,
}

/// The engine's memory on Linux. Never aborts: what can't be had is `None`.
#[derive(Debug)]
pub struct LinuxMemory {
    huge_pages: HugePages,
    policy: Option<Policy>,
    prefault: bool,
    reserved_bytes: AtomicUsize,
    account: Mutex<Account>,
}

impl LinuxMemory {
    /// Memory as it is wished for, as far as the system gives it: see
    /// [`grants`](Self::grants).
    #[must_use]
    pub fn new(wishes: &MachineWishes) -> Self {
        let mut account = Account::default();
        let policy = policy(&wishes.memory_nodes).unwrap_or_else(|words| {
            account.place_refusal = Some(words);
            None
        });
        Self {
            huge_pages: wishes.huge_pages,
            policy,
            prefault: wishes.prefault,
            reserved_bytes: AtomicUsize::new(0),
            account: Mutex::new(account),
        }
    }

    /// Bytes reserved at present, with what mappings are rounded up by.
    #[must_use]
    pub fn reserved_bytes(&self) -> usize {
        self.reserved_bytes.load(Ordering::Relaxed)
    }

    /// What was given so far, and what was refused.
    #[must_use]
    pub fn grants(&self) -> MachineGrants {
        let account = self.account();
        let mut grants = MachineGrants::default();
        let mebibytes = |bytes: usize| format!("{}MiB", bytes >> 20);
        if account.huge_bytes > 0 {
            let words = format!("{}_set_aside", mebibytes(account.huge_bytes));
            grants.given.push(("huge_pages", words));
        }
        if account.asked_bytes > 0 {
            match transparent_refusal() {
                None => {
                    let words = format!("{}_transparent", mebibytes(account.asked_bytes));
                    grants.given.push(("huge_pages", words));
                }
                Some(words) => grants.refused.push(("huge_pages", words)),
            }
        }
        if let Some(words) = &account.huge_refusal {
            grants.refused.push(("huge_pages", words.clone()));
        }
        if let Some(policy) = &self.policy
            && account.place_refusal.is_none()
        {
            let words = format!("{}_{}", mebibytes(account.placed_bytes), policy.words);
            grants.given.push(("numa", words));
        }
        if let Some(words) = &account.place_refusal {
            grants.refused.push(("numa", words.clone()));
        }
        if self.prefault {
            grants
                .given
                .push(("prefault", mebibytes(account.touched_bytes)));
        }
        grants
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A mapping for a reservation, as far as possible as it is wished for.
    fn map_as_wished(&self, purpose: MemoryUse, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        let is_large = matches!(purpose, MemoryUse::Frames | MemoryUse::Arena);
        let takes_aside = matches!(self.huge_pages, HugePages::Try | HugePages::Only);
        if is_large && takes_aside && align <= MAPPING_BYTES_MIN {
            match self.map_huge(bytes) {
                Ok(start) => return Some(start),
                Err(words) => {
                    self.account().huge_refusal.get_or_insert(words);
                    if self.huge_pages == HugePages::Only {
                        return None;
                    }
                }
            }
        }
        let length = mapped_bytes(bytes)?;
        let start = map(length, align)?;
        self.place(start, length);
        if self.huge_pages == HugePages::Off {
            // Best effort: a kernel without huge pages refuses, and has none.
            // SAFETY: this advice changes no content, and the range is our mapping.
            let _ = unsafe { rustix::mm::madvise(start, length, Advice::LinuxNoHugepage) };
        } else if is_large && length >= ASKED_BYTES_MIN {
            // Best effort: a kernel without huge pages refuses, and nothing is lost.
            // SAFETY: this advice changes no content, and the range is our mapping.
            let _ = unsafe { rustix::mm::madvise(start, length, Advice::LinuxHugepage) };
            self.account().asked_bytes += length;
        }
        if self.prefault {
            if populate(start, length).is_err() {
                // SAFETY: the kept part of the mapping, which nobody knows of yet.
                unsafe { unmap(start, length) };
                return None;
            }
            self.account().touched_bytes += length;
        }
        NonNull::new(start.cast())
    }

    /// A mapping of huge pages that were set aside, touched; or words why there is none.
    fn map_huge(&self, bytes: usize) -> Result<NonNull<u8>, String> {
        let length = huge_bytes(bytes).ok_or("a reservation that no machine has")?;
        let wanted = length / MAPPING_BYTES_MIN;
        // SAFETY: no address is asked for, so that no existing mapping is touched.
        let mapped = unsafe {
            rustix::mm::mmap_anonymous(
                std::ptr::null_mut(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::HUGETLB | MapFlags::HUGE_2MB,
            )
        };
        let start = mapped.map_err(|_| {
            format!(
                "{wanted} huge pages of 2 MiB are not free together ({}); raise vm.nr_hugepages",
                free_huge_pages()
            )
        })?;
        self.place(start, length);
        let touched = populate(start, length);
        let start = match (touched, NonNull::new(start.cast::<u8>())) {
            (Ok(()), Some(kept)) => kept,
            (touched, _) => {
                // SAFETY: the mapping just made, whole, which nobody knows of yet.
                unsafe { unmap(start, length) };
                return Err(match touched {
                    Err(errno) => format!(
                        "{wanted} huge pages of 2 MiB can't be used ({errno}): a control group \
                         or a node has too few"
                    ),
                    Ok(()) => "huge pages at no address".to_owned(),
                });
            }
        };
        let mut account = self.account();
        account.huge.push(start.as_ptr().addr());
        account.huge_bytes += length;
        if self.prefault {
            account.touched_bytes += length;
        }
        Ok(start)
    }

    /// Sets the policy of a mapping that wasn't touched yet.
    fn place(&self, start: *mut c_void, length: usize) {
        let Some(policy) = &self.policy else {
            return;
        };
        // SAFETY: the range is our mapping, and the set of nodes is as long as is said,
        // with one bit more, since the kernel takes one off.
        let done = unsafe {
            libc::syscall(
                libc::SYS_mbind,
                start,
                length,
                policy.mode,
                policy.nodes.as_ptr(),
                NODES_MAX + 1,
                0,
            )
        };
        let mut account = self.account();
        if done == 0 {
            account.placed_bytes += length;
        } else {
            let error = std::io::Error::last_os_error();
            account
                .place_refusal
                .get_or_insert(format!("memory can't be put on nodes (mbind): {error}"));
        }
    }

    /// The length of the mapping at `start` for a reservation of `bytes`, which is
    /// forgotten.
    fn forget_mapping(&self, start: NonNull<u8>, bytes: usize) -> Option<usize> {
        let address = start.as_ptr().addr();
        let mut account = self.account();
        match account.huge.iter().position(|huge| *huge == address) {
            Some(index) => {
                account.huge.swap_remove(index);
                huge_bytes(bytes)
            }
            None => mapped_bytes(bytes),
        }
    }
}

/// The policy for a wish; `None` where there is nothing to set.
fn policy(wish: &MemoryNodes) -> Result<Option<Policy>, String> {
    let (mode, wanted) = match wish {
        MemoryNodes::System => return Ok(None),
        MemoryNodes::Interleaved => (libc::MPOL_INTERLEAVE, None),
        MemoryNodes::Only(numbers) => (libc::MPOL_BIND, Some(numbers)),
    };
    let all = processors::nodes(Path::new(SYSTEM_ROOT)).map_err(|error| error.to_string())?;
    policy_of(mode, wanted.map(Vec::as_slice), &all).map(Some)
}

/// The policy on a machine with these nodes.
fn policy_of(mode: libc::c_int, wanted: Option<&[u32]>, all: &[Node]) -> Result<Policy, String> {
    let nodes = match wanted {
        Some(numbers) => processors::chosen(all, numbers)?,
        None => all.iter().filter(|node| node.has_memory).cloned().collect(),
    };
    if let Some(empty) = nodes.iter().find(|node| !node.has_memory) {
        return Err(format!("memory node {} has no memory", empty.number));
    }
    let numbers: Vec<u32> = nodes.iter().map(|node| node.number).collect();
    let mut set = [0; NODES_MAX / NODE_WORD_BITS];
    for number in &numbers {
        let number = *number as usize;
        let word = set
            .get_mut(number / NODE_WORD_BITS)
            .ok_or_else(|| format!("memory node {number} is past what a policy can name"))?;
        *word |= 1 << (number % NODE_WORD_BITS);
    }
    let how = if mode == libc::MPOL_BIND {
        "on"
    } else {
        "spread_over"
    };
    Ok(Policy {
        mode,
        nodes: set,
        words: format!("{how}_nodes_{}", number_list_text(&numbers)),
    })
}

/// Why no mapping gets huge pages by being asked for them.
fn transparent_refusal() -> Option<String> {
    let path = "/sys/kernel/mm/transparent_hugepage/enabled";
    match std::fs::read_to_string(path) {
        Ok(text) if text.contains("[never]") => Some(format!("{path} says never")),
        Ok(_) => None,
        Err(_) => Some("this kernel makes no transparent huge pages".to_owned()),
    }
}

/// How many huge pages are free, in words.
fn free_huge_pages() -> String {
    let folder = "/sys/kernel/mm/hugepages/hugepages-2048kB";
    let number = |name: &str| {
        let text = std::fs::read_to_string(format!("{folder}/{name}")).ok()?;
        text.trim().parse::<u64>().ok()
    };
    match (number("free_hugepages"), number("resv_hugepages")) {
        (Some(free), Some(promised)) => format!("{} are", free.saturating_sub(promised)),
        _ => "this kernel has none of that size".to_owned(),
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
                self.account().touched_bytes += bytes;
            }
            start
        } else {
            self.map_as_wished(purpose, bytes, align)?
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
        } else if let Some(length) = self.forget_mapping(start, bytes) {
            // SAFETY: the caller passes the values of one reservation of this
            // size, which is a mapping of this length that nothing uses any more.
            unsafe { unmap(start.as_ptr().cast(), length) };
        }
        self.reserved_bytes
            .fetch_sub(counted_bytes(bytes), Ordering::Relaxed);
    }

    unsafe fn discard(&self, start: NonNull<u8>, bytes: usize) {
        let is_set_aside = || self.account().huge.contains(&start.as_ptr().addr());
        let Some(length) = mapped_bytes(bytes) else {
            return;
        };
        // Who wants memory that is touched, or set aside for it, keeps it.
        if bytes < MAPPING_BYTES_MIN || self.prefault || is_set_aside() {
            return;
        }
        // Best effort: what stays is no harm.
        // SAFETY: the whole of a mapping that was made here, private and anonymous, so that
        // it reads as zeroes afterwards; nothing uses it meanwhile, says the caller.
        let _ =
            unsafe { rustix::mm::madvise(start.as_ptr().cast(), length, Advice::LinuxDontNeed) };
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

/// The length of a mapping of huge pages for a reservation of `bytes`.
fn huge_bytes(bytes: usize) -> Option<usize> {
    bytes.checked_next_multiple_of(MAPPING_BYTES_MIN)
}

/// Maps `length` zeroed bytes, aligned to `align` and to a huge page.
fn map(length: usize, align: usize) -> Option<*mut c_void> {
    let align = align.max(MAPPING_BYTES_MIN);
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
    Some(start)
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
mod tests;
