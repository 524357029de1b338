//! What every model needs: memory, waiting, and exploring.

use crate::mem::Budget;
use alloc::sync::Arc;
use lightning_platform::{Memory, MemoryUse, Wait};
use loom::cell::UnsafeCell;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Steps of one schedule at most; more means that a thread waits for ever.
const STEPS_MAX: usize = 20_000;

/// Times that a thread yields in one wait before the rest of the schedule is a fair
/// one: loom would also let two that wait take turns for ever, beside a third that
/// could go on.
const FAIR_AFTER: u32 = 3;
/// Times that a thread yields in one wait at most; more means that it hangs.
const ATTEMPTS_MAX: u32 = 500;

struct Heap;

// SAFETY: the global allocator's memory is zeroed, aligned and unaliased until given back.
unsafe impl Memory for Heap {
    fn reserve(&self, _: MemoryUse, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        let layout = Layout::from_size_align(bytes, align).ok()?;
        // SAFETY: the engine reserves at least one byte.
        NonNull::new(unsafe { alloc_zeroed(layout) })
    }

    unsafe fn release(&self, start: NonNull<u8>, bytes: usize, align: usize) {
        if let Ok(layout) = Layout::from_size_align(bytes, align) {
            // SAFETY: reserved above with the same layout, says the caller.
            unsafe { dealloc(start.as_ptr(), layout) }
        }
    }
}

/// Waiting is letting another thread go on.
struct LoomWait;

impl Wait for LoomWait {
    fn relax(&self, attempt: u32) {
        assert!(attempt < ATTEMPTS_MAX, "a thread waits for ever");
        if attempt == FAIR_AFTER {
            loom::skip_branch();
        }
        loom::thread::yield_now();
    }
}

/// The way to wait.
pub fn wait() -> Arc<dyn Wait> {
    Arc::new(LoomWait)
}

/// Memory without a limit.
pub fn budget() -> Budget {
    Budget::new(Arc::new(Heap), u64::MAX)
}

/// A value that loom watches.
pub struct Watched(UnsafeCell<u64>);

// SAFETY: loom checks at each access that it is ordered after all that it conflicts with.
unsafe impl Send for Watched {}
// SAFETY: as above.
unsafe impl Sync for Watched {}

impl Watched {
    pub fn new() -> Self {
        Self(UnsafeCell::new(0))
    }

    pub fn get(&self) -> u64 {
        // SAFETY: checked by loom; nothing else runs within the call.
        self.0.with(|value| unsafe { *value })
    }

    pub fn set(&self, to: u64) {
        // SAFETY: as above.
        self.0.with_mut(|value| unsafe { *value = to });
    }
}

/// Runs `model` in every schedule of at most `preemptions` preemptions, or as many
/// as `time` allows; answers how many those were.
pub fn explore(preemptions: usize, time: Duration, model: fn()) -> u64 {
    let count = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&count);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = STEPS_MAX;
    builder.max_duration = Some(time);
    // How often loom looks at the clock.
    builder.checkpoint_interval = 100;
    builder.check(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        model();
    });
    count.load(Ordering::Relaxed)
}
