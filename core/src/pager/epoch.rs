//! Epochs: how a frame or version is known to be seen by nobody any more.
//!
//! A traversal *enters*: it takes a reader slot and writes the clock's value
//! into it. Who removes something from sight (clears a frame's tag, replaces
//! the current version) *retires* it: it advances the clock and remembers the
//! value from before. The thing may be reused once every slot is free or holds
//! a later value: whoever entered later looked after the removal.
//!
//! Why that holds: entering is (store slot, fence, then look) and retiring is
//! (remove, fence, advance the clock, read the slots), all sequentially
//! consistent. Either the remover sees the slot and waits for it, or the reader
//! looks after the removal. A slot is held for a traversal in memory, never
//! over an I/O, so that waiting for it is short.
//!
//! Slots belong to no thread: a traversal takes a free one, beginning at a place
//! that its stack's address suggests, so that a thread mostly finds its own.

use crate::error::Result;
use crate::mem::{Array, Budget};
use crate::sync::{AtomicU64, Ordering, fence};
use alloc::sync::Arc;
use lightning_platform::{MemoryUse, Wait};

/// A reader slot on a cache line of its own.
#[repr(align(64))]
struct Slot(AtomicU64);

/// The clock and the reader slots.
pub struct Epochs {
    clock: AtomicU64,
    slots: Array<Slot>,
    wait: Arc<dyn Wait>,
}

/// The time at which something was removed from sight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retired(u64);

impl Epochs {
    /// `slots` reader slots, rounded up to a power of two.
    ///
    /// # Errors
    /// When the budget or the host has no memory.
    pub fn new(budget: &mut Budget, slots: usize, wait: Arc<dyn Wait>) -> Result<Self> {
        let slots = Array::new(
            budget,
            MemoryUse::Structure,
            slots.max(1).next_power_of_two(),
            |_| Slot(AtomicU64::new(0)),
        )?;
        Ok(Self {
            clock: AtomicU64::new(1),
            slots,
            wait,
        })
    }

    /// Enters. Until the guard is dropped, nothing that is found afterwards is reused.
    #[inline]
    pub fn enter(&self) -> EpochGuard<'_> {
        let marker = 0_u8;
        let start = if cfg!(loom) {
            // The address of a stack differs between two runs of one schedule.
            0
        } else {
            ((&raw const marker).addr() >> 12).wrapping_mul(0x9E37_79B9) >> 8
        };
        let mask = self.slots.len().wrapping_sub(1);
        let mut attempt = 0_u32;
        loop {
            for step in 0..self.slots.len() {
                let Some(slot) = self.slots.get(start.wrapping_add(step) & mask) else {
                    continue;
                };
                let now = self.clock.load(Ordering::SeqCst);
                if slot.0.load(Ordering::Relaxed) == 0
                    && slot
                        .0
                        .compare_exchange(0, now, Ordering::SeqCst, Ordering::Relaxed)
                        .is_ok()
                {
                    fence(Ordering::SeqCst);
                    return EpochGuard { slot: &slot.0 };
                }
            }
            self.wait.relax(attempt);
            attempt = attempt.saturating_add(1);
        }
    }

    /// States that something was just removed from sight.
    pub fn retire(&self) -> Retired {
        fence(Ordering::SeqCst);
        Retired(self.clock.fetch_add(1, Ordering::SeqCst))
    }

    /// Whether nobody can see any more what was removed at `retired`.
    pub fn is_unseen(&self, retired: Retired) -> bool {
        fence(Ordering::SeqCst);
        self.slots.iter().all(|slot| {
            let entered = slot.0.load(Ordering::SeqCst);
            entered == 0 || entered > retired.0
        })
    }

    /// Waits until nobody can see what was removed at `retired`. The caller
    /// MUST NOT be inside an epoch itself.
    pub fn wait_unseen(&self, retired: Retired) {
        let mut attempt = 0_u32;
        while !self.is_unseen(retired) {
            self.wait.relax(attempt);
            attempt = attempt.saturating_add(1);
        }
    }
}

/// The right to follow what one finds, until dropped.
pub struct EpochGuard<'a> {
    slot: &'a AtomicU64,
}

impl Drop for EpochGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        self.slot.store(0, Ordering::Release);
    }
}
