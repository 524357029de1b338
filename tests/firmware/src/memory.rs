//! The heap, its gauge, and the stack's gauge.
//!
//! The heap has the 40 KiB that [`Options::small`] promises to keep to, so that a
//! plan over the promise fails to open here. The engine gets its memory from it by
//! [`Heap`], a refusal is an answer and no abort.
//!
//! [`Options::small`]: lightning_core::db::Options::small

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};
use embedded_alloc::LlffHeap;
use lightning_platform::{Memory, MemoryUse};

/// Bytes of the heap.
pub const HEAP_BYTES: usize = 40 << 10;

/// The allocator of the image, counted.
struct Counting {
    heap: LlffHeap,
    peak_bytes: AtomicUsize,
}

#[global_allocator]
static ALLOCATOR: Counting = Counting {
    heap: LlffHeap::empty(),
    peak_bytes: AtomicUsize::new(0),
};

// SAFETY: the inner allocator keeps the contract, and gets every call as it is.
unsafe impl GlobalAlloc for Counting {
    #[inline(never)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise about `layout` is passed on.
        let start = unsafe { self.heap.alloc(layout) };
        self.peak_bytes
            .fetch_max(self.heap.used(), Ordering::Relaxed);
        start
    }

    #[inline(never)]
    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise about both is passed on.
        unsafe { self.heap.dealloc(start, layout) }
    }
}

/// The heap's bytes.
struct Room(UnsafeCell<MaybeUninit<[u8; HEAP_BYTES]>>);

// SAFETY: only the allocator uses the bytes, and it is told of them once.
unsafe impl Sync for Room {}

static ROOM: Room = Room(UnsafeCell::new(MaybeUninit::uninit()));

/// Gives the allocator its room.
///
/// # Safety
/// Called once, before anything is allocated.
pub unsafe fn init() {
    // SAFETY: the room is used by nobody else, and the allocator is empty so far.
    unsafe { ALLOCATOR.heap.init(ROOM.0.get().addr(), HEAP_BYTES) }
}

/// Bytes that are allocated now, the allocator's rounding included.
pub fn used_bytes() -> usize {
    ALLOCATOR.heap.used()
}

/// The most bytes that were ever allocated at a time.
pub fn peak_bytes() -> usize {
    ALLOCATOR.peak_bytes.load(Ordering::Relaxed)
}

/// The engine's way to the heap.
pub struct Heap;

// SAFETY: the allocator's memory is zeroed, aligned and unaliased until given back.
unsafe impl Memory for Heap {
    fn reserve(&self, _: MemoryUse, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        let layout = Layout::from_size_align(bytes, align).ok()?;
        // SAFETY: the engine reserves at least one byte.
        NonNull::new(unsafe { ALLOCATOR.alloc_zeroed(layout) })
    }

    unsafe fn release(&self, start: NonNull<u8>, bytes: usize, align: usize) {
        if let Ok(layout) = Layout::from_size_align(bytes, align) {
            // SAFETY: reserved above with the same layout, says the caller.
            unsafe { ALLOCATOR.dealloc(start.as_ptr(), layout) }
        }
    }
}

unsafe extern "C" {
    static mut _stack_end: u32;
    static mut _stack_start: u32;
}

/// Bytes of the stack that were ever in use: from its start down to the first
/// word that no longer has the runtime's paint.
pub fn stack_peak_bytes() -> usize {
    let end = (&raw const _stack_end).cast::<u32>();
    let start = (&raw const _stack_start).addr();
    let mut at = end;
    // SAFETY: words between the linker's two symbols, which nothing but the stack
    // uses; what the stack holds there is read as plain words.
    while at.addr() < start && unsafe { at.read_volatile() } == cortex_m_rt::STACK_PAINT_VALUE {
        at = at.wrapping_add(1);
    }
    start.saturating_sub(at.addr())
}
