//! The frame pool: which page is in memory where, and what goes when room is needed.
//!
//! # Invariants
//! * A frame is *free* (on the free list), *held* (by one loader, tag clear),
//!   *published* (tag set, on a hash chain, in one of the two queues), *dead* (tag clear,
//!   off its chain, its EVICTED bit set, in its queue still) or *retired* (as dead, but
//!   in the ring of those that wait until no epoch can see them).
//! * The bytes of a published frame never change. Bytes are written only while
//!   the frame is held: nobody else has a way to it then.
//! * The tag is {address, birth generation}. It is set last when publishing
//!   (address, with Release) and cleared first when evicting.
//! * A reader that found a frame in its epoch, by hint or by chain, and saw the
//!   right tag, may read the bytes until the epoch ends, or pin the frame and
//!   read until it unpins. An unpinned frame is evicted by setting the EVICTED
//!   bit of its pin word from exactly zero; a pin that meets the bit has failed.
//!   The frame is reused only after the evictor's epoch is unseen, so that a
//!   late increment and its decrement both happen before.
//!
//! # What goes
//! S3-FIFO (Yang et al., SOSP 2023): a small queue for what was just loaded, a
//! main queue for what was used again, a table of fingerprints of what the small
//! queue let go. A scan passes through the small queue and leaves the rest alone. Before
//! anything of that goes what is dead: pages whose space was given back.

#[path = "frames/evict.rs"]
mod evict;

use super::epoch::{Epochs, Retired};
use crate::error::{Error, Limit, Result};
use crate::mem::{Array, Budget, Region, prefetch};
use crate::sync::{AtomicU8, AtomicU32, AtomicU64, Mutex, Ordering};
use alloc::sync::Arc;
use evict::ghost_of;
use lightning_platform::{MemoryUse, Wait};

const NONE: u32 = u32::MAX;
const EVICTED: u32 = 1 << 31;
/// How often a loader finds every frame pinned before it says so; few where each
/// attempt is slow (Miri) or is one more step of all schedules (loom).
const HOLD_ATTEMPTS_MAX: u32 = if cfg!(loom) {
    2
} else if cfg!(miri) {
    40
} else {
    10_000
};

/// What readers need of a frame; the bytes are in the region.
struct Frame {
    address: AtomicU64,
    birth: AtomicU64,
    pins: AtomicU32,
    chain: AtomicU32,
    hints: AtomicU32,
    uses: AtomicU8,
}

/// A ring of frame numbers.
struct Ring {
    slots: Array<u32>,
    first: usize,
    length: usize,
}

impl Ring {
    fn new(budget: &mut Budget, capacity: usize) -> Result<Self> {
        Ok(Self {
            slots: Array::new(budget, MemoryUse::Structure, capacity, |_| NONE)?,
            first: 0,
            length: 0,
        })
    }

    fn push(&mut self, frame: u32) {
        let capacity = self.slots.len().max(1);
        if let Some(slot) = self.slots.get_mut((self.first + self.length) % capacity) {
            *slot = frame;
            self.length += 1;
        }
    }

    /// Takes the one that was pushed last.
    fn pop_last(&mut self) -> Option<u32> {
        let last = self.length.checked_sub(1)?;
        self.length = last;
        let capacity = self.slots.len().max(1);
        self.slots.get((self.first + last) % capacity).copied()
    }

    fn pop(&mut self) -> Option<u32> {
        if self.length == 0 {
            return None;
        }
        let frame = self.slots.get(self.first).copied();
        self.first = (self.first + 1) % self.slots.len().max(1);
        self.length -= 1;
        frame
    }

    fn peek(&self) -> Option<u32> {
        let frame = self.slots.get(self.first).copied();
        frame.filter(|_| self.length > 0)
    }
}

/// What only loaders and evictors touch, under the pool's lock.
struct Pool {
    free: Ring,
    small: Ring,
    main: Ring,
    retired: Ring,
    retired_at: Array<Retired>,
    free_hints: Ring,
    /// Frames in the queues that are dead.
    dead: usize,
    ghosts: Array<u32>,
}

/// Counters for statistics; approximate under concurrency.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FrameStatistics {
    /// Frames in the pool.
    pub frames: u32,
    /// Pages loaded from storage.
    pub loads: u64,
    /// Pages evicted.
    pub evictions: u64,
}

/// The frames and the ways to them.
pub struct Frames {
    page_bytes: usize,
    memory: Region,
    frames: Array<Frame>,
    buckets: Array<AtomicU32>,
    hints: Array<AtomicU32>,
    hints_per_page: usize,
    pool: Mutex<Pool>,
    wait: Arc<dyn Wait>,
    /// Loaders that hold a frame and wait for a second one.
    starving: AtomicU32,
    pub(super) epochs: Epochs,
    loads: AtomicU64,
    evictions: AtomicU64,
}

/// Sizes of a frame pool.
#[derive(Debug, Clone, Copy)]
pub struct FramePlan {
    /// Bytes of a page in memory.
    pub page_bytes: usize,
    /// Frames.
    pub frames: usize,
    /// Traversals that can be under way at once.
    pub reader_slots: usize,
}

/// A frame that its holder alone may fill.
pub(super) struct HeldFrame<'a> {
    frames: &'a Frames,
    index: u32,
}

impl Frames {
    /// Reserves a pool.
    ///
    /// # Errors
    /// When the budget or the host has no memory.
    pub fn new(budget: &mut Budget, plan: FramePlan, wait: &Arc<dyn Wait>) -> Result<Self> {
        let count = plan.frames;
        let memory = Region::new(
            budget,
            MemoryUse::Frames,
            count.saturating_mul(plan.page_bytes),
            plan.page_bytes.next_power_of_two().min(4_096),
        )?;
        let hint_slots = (count / 48).max(2);
        let hints_per_page = plan.page_bytes / 12;
        let mut free = Ring::new(budget, count)?;
        for index in 0..count {
            free.push(u32::try_from(index).unwrap_or(NONE));
        }
        let mut free_hints = Ring::new(budget, hint_slots)?;
        for index in 0..hint_slots {
            free_hints.push(u32::try_from(index).unwrap_or(NONE));
        }
        let epochs = Epochs::new(budget, plan.reader_slots, Arc::clone(wait))?;
        let stamp = epochs.retire();
        let pool = Pool {
            free,
            small: Ring::new(budget, count)?,
            main: Ring::new(budget, count)?,
            retired: Ring::new(budget, count)?,
            retired_at: Array::new(budget, MemoryUse::Structure, count, |_| stamp)?,
            free_hints,
            dead: 0,
            ghosts: Array::new(
                budget,
                MemoryUse::Structure,
                count.next_power_of_two(),
                |_| 0,
            )?,
        };
        let structure = MemoryUse::Structure;
        Ok(Self {
            page_bytes: plan.page_bytes,
            memory,
            frames: Array::new(budget, structure, count, |_| Frame {
                address: AtomicU64::new(0),
                birth: AtomicU64::new(0),
                pins: AtomicU32::new(0),
                chain: AtomicU32::new(NONE),
                hints: AtomicU32::new(NONE),
                uses: AtomicU8::new(0),
            })?,
            buckets: Array::new(budget, structure, count.next_power_of_two(), |_| {
                AtomicU32::new(NONE)
            })?,
            hints: Array::new(budget, structure, hint_slots * hints_per_page, |_| {
                AtomicU32::new(NONE)
            })?,
            hints_per_page,
            pool: Mutex::new(pool, Arc::clone(wait)),
            wait: Arc::clone(wait),
            starving: AtomicU32::new(0),
            epochs,
            loads: AtomicU64::new(0),
            evictions: AtomicU64::new(0),
        })
    }

    /// Counters.
    pub fn statistics(&self) -> FrameStatistics {
        FrameStatistics {
            frames: u32::try_from(self.frames.len()).unwrap_or(NONE),
            loads: self.loads.load(Ordering::Relaxed),
            evictions: self.evictions.load(Ordering::Relaxed),
        }
    }

    #[inline]
    fn bucket(&self, address: u64) -> Option<&AtomicU32> {
        let hash = address.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 24;
        self.buckets
            .get(hash as usize & self.buckets.len().wrapping_sub(1))
    }

    #[inline]
    fn is_tagged(&self, index: u32, address: u64, birth: u64) -> bool {
        self.frames.get(index as usize).is_some_and(|frame| {
            frame.address.load(Ordering::Acquire) == address
                && frame.birth.load(Ordering::Relaxed) == birth
        })
    }

    /// The frame that holds a page, found by its chain. The caller is in an epoch.
    #[inline]
    pub(super) fn find(&self, address: u64, birth: u64) -> Option<u32> {
        let mut index = self.bucket(address)?.load(Ordering::Acquire);
        // A chain has no more links than there are frames; the bound is for
        // chains that change while they are walked.
        for _ in 0..=self.frames.len() {
            let frame = self.frames.get(index as usize)?;
            if frame.address.load(Ordering::Acquire) == address
                && frame.birth.load(Ordering::Relaxed) == birth
            {
                self.touch(frame);
                return Some(index);
            }
            index = frame.chain.load(Ordering::Acquire);
        }
        None
    }

    /// The frame of a branch's child, by the parent's hint or by the chain; the
    /// hint is set for the next time. The caller is in an epoch.
    #[inline]
    pub(super) fn find_child(
        &self,
        parent: u32,
        child: usize,
        address: u64,
        birth: u64,
    ) -> Option<u32> {
        let hint = self.hint(parent, child);
        if let Some(hint) = hint {
            let index = hint.load(Ordering::Relaxed);
            if self.is_tagged(index, address, birth) {
                if let Some(frame) = self.frames.get(index as usize) {
                    self.touch(frame);
                }
                return Some(index);
            }
        }
        let index = self.find(address, birth)?;
        if let Some(hint) = hint {
            hint.store(index, Ordering::Relaxed);
        }
        Some(index)
    }

    #[inline]
    fn hint(&self, parent: u32, child: usize) -> Option<&AtomicU32> {
        let slot = self
            .frames
            .get(parent as usize)?
            .hints
            .load(Ordering::Relaxed);
        if slot == NONE || child >= self.hints_per_page {
            return None;
        }
        self.hints.get(slot as usize * self.hints_per_page + child)
    }

    /// Asks for the hint of a branch's child.
    #[inline]
    pub(super) fn prefetch_hint(&self, parent: u32, child: usize) {
        if let Some(hint) = self.hint(parent, child) {
            prefetch(hint);
        }
    }

    /// Asks for the frame that the hint of a branch's child names.
    #[inline]
    pub(super) fn prefetch_hinted(&self, parent: u32, child: usize) {
        if let Some(hint) = self.hint(parent, child)
            && let Some(frame) = self.frames.get(hint.load(Ordering::Relaxed) as usize)
        {
            prefetch(frame);
        }
    }

    /// Asks for a part of a frame's page.
    #[inline]
    pub(super) fn prefetch_bytes(&self, index: u32, offset: usize) {
        self.memory
            .prefetch(index as usize * self.page_bytes + offset);
    }

    #[inline]
    fn touch(&self, frame: &Frame) {
        let uses = frame.uses.load(Ordering::Relaxed);
        if uses < 3 {
            frame.uses.store(uses + 1, Ordering::Relaxed);
        }
    }

    /// The bytes of a frame that the caller found in its epoch, or pinned.
    #[inline]
    pub(super) fn bytes(&self, index: u32) -> &[u8] {
        // SAFETY: a published frame's bytes don't change until it is evicted and
        // unseen by every epoch and unpinned; the caller is one of the two. The
        // slice's lifetime is shortened by the callers in this folder to the
        // epoch or the pin.
        unsafe {
            self.memory
                .bytes(index as usize * self.page_bytes, self.page_bytes)
        }
    }

    /// Pins a frame that the caller found in its epoch; false when it is just
    /// being evicted.
    #[inline]
    pub(super) fn pin(&self, index: u32) -> bool {
        let Some(frame) = self.frames.get(index as usize) else {
            return false;
        };
        if frame.pins.fetch_add(1, Ordering::AcqRel) & EVICTED == 0 {
            return true;
        }
        frame.pins.fetch_sub(1, Ordering::Release);
        false
    }

    /// Takes a pin back.
    #[inline]
    pub(super) fn unpin(&self, index: u32) {
        if let Some(frame) = self.frames.get(index as usize) {
            frame.pins.fetch_sub(1, Ordering::Release);
        }
    }

    /// A frame to fill. The caller is in no epoch.
    ///
    /// Waits in the host's way while another loader is under way, who will publish
    /// or free its frame; where all are pinned only for a moment, since each waiter
    /// may have pinned what another one waits for.
    pub(super) fn hold(&self) -> Result<HeldFrame<'_>> {
        let mut attempt = 0_u32;
        let mut attempts_left = HOLD_ATTEMPTS_MAX;
        loop {
            if let Some(held) = self.try_hold() {
                return Ok(held);
            }
            if !self.is_loading() {
                attempts_left -= 1;
            }
            if attempts_left == 0 {
                let frames = self.frames.len() as u64;
                return Err(Error::OverLimit {
                    limit: Limit::Pins,
                    value: frames,
                    maximum: frames,
                });
            }
            self.wait.relax(attempt);
            attempt = attempt.saturating_add(1);
        }
    }

    /// A second frame, for a caller that holds one and lets go of it when it gets none.
    pub(super) fn hold_another(&self) -> Result<HeldFrame<'_>> {
        self.starving.fetch_add(1, Ordering::SeqCst);
        let held = self.hold();
        self.starving.fetch_sub(1, Ordering::SeqCst);
        held
    }

    /// Whether a frame is held by somebody who doesn't wait for another one.
    fn is_loading(&self) -> bool {
        let pool = self.pool.lock();
        let known = pool.free.length + pool.small.length + pool.main.length + pool.retired.length;
        let held = self.frames.len().saturating_sub(known);
        held > self.starving.load(Ordering::SeqCst) as usize
    }

    /// A frame to fill, if one is free or unpinned now. The caller is in no epoch.
    pub(super) fn try_hold(&self) -> Option<HeldFrame<'_>> {
        loop {
            let mut pool = self.pool.lock();
            if pool.free.length == 0 {
                self.reclaim(&mut pool);
            }
            if let Some(index) = pool.free.pop_last() {
                return Some(HeldFrame {
                    frames: self,
                    index,
                });
            }
            self.evict(&mut pool);
            let oldest = pool.retired.peek()?;
            let stamp = pool.retired_at.get(oldest as usize).copied()?;
            drop(pool);
            self.epochs.wait_unseen(stamp);
        }
    }

    /// Makes a filled frame visible, pinned once for the caller. When another
    /// loader was faster, its frame is pinned instead and this one is free again.
    pub(super) fn publish(
        &self,
        held: HeldFrame<'_>,
        address: u64,
        birth: u64,
        branch: bool,
    ) -> u32 {
        let index = held.index;
        core::mem::forget(held);
        let mut pool = self.pool.lock();
        if let Some(other) = self.find(address, birth) {
            // Under the lock nothing is evicted: the pin can't fail.
            self.pin(other);
            pool.free.push(index);
            return other;
        }
        let Some(frame) = self.frames.get(index as usize) else {
            return index;
        };
        if branch && let Some(slot) = pool.free_hints.pop() {
            let start = slot as usize * self.hints_per_page;
            for hint in self.hints.iter().skip(start).take(self.hints_per_page) {
                hint.store(NONE, Ordering::Relaxed);
            }
            frame.hints.store(slot, Ordering::Relaxed);
        }
        frame.pins.store(1, Ordering::Relaxed);
        frame.uses.store(0, Ordering::Relaxed);
        frame.birth.store(birth, Ordering::Relaxed);
        frame.address.store(address, Ordering::Release);
        if let Some(bucket) = self.bucket(address) {
            frame
                .chain
                .store(bucket.load(Ordering::Relaxed), Ordering::Relaxed);
            bucket.store(index, Ordering::Release);
        }
        let (slot, print) = ghost_of(address, pool.ghosts.len());
        if pool.ghosts.get(slot).copied() == Some(print) {
            pool.main.push(index);
        } else {
            pool.small.push(index);
        }
        self.loads.fetch_add(1, Ordering::Relaxed);
        index
    }
}

impl HeldFrame<'_> {
    /// The frame's bytes, for its holder to fill.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        let page_bytes = self.frames.page_bytes;
        // SAFETY: a held frame is off every chain and unseen by every epoch, and
        // `&mut self` is its only holder.
        unsafe {
            self.frames
                .memory
                .bytes_mut(self.index as usize * page_bytes, page_bytes)
        }
    }
}

impl Drop for HeldFrame<'_> {
    fn drop(&mut self) {
        self.frames.pool.lock().free.push(self.index);
    }
}

#[cfg(test)]
mod tests;
