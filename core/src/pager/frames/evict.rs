//! Which frame goes when room is needed, and its way out of sight.
//!
//! A frame is found dead by its EVICTED bit: all others in the queues have it clear.

use super::{EVICTED, Frame, Frames, NONE, Pool};
use crate::sync::Ordering;

/// How many live frames are passed over, at most, to find a dead one.
const DEAD_LOOKS_MAX: usize = 32;

impl Frames {
    /// Moves what no epoch can see any more from the retired ring to the free list.
    pub(super) fn reclaim(&self, pool: &mut Pool) {
        while pool.retired.length > 0 {
            let Some(index) = pool.retired.slots.get(pool.retired.first).copied() else {
                return;
            };
            let Some(stamp) = pool.retired_at.get(index as usize).copied() else {
                return;
            };
            if !self.epochs.is_unseen(stamp) {
                return;
            }
            pool.retired.pop();
            if let Some(frame) = self.frames.get(index as usize) {
                frame.pins.store(0, Ordering::Relaxed);
            }
            pool.free.push(index);
        }
    }

    /// Takes one frame out of sight, unless every one is pinned.
    pub(super) fn evict(&self, pool: &mut Pool) {
        if pool.dead > 0 && self.retire_dead(pool) {
            return;
        }
        // Pinned frames gather in the main queue. The last rounds are for the small
        // one, which may hold the only frames that can go.
        let small_rounds = pool.small.length * 2;
        let mut rounds = pool.main.length * 5 + small_rounds;
        let small_target = self.frames.len() / 10;
        while rounds > 0 {
            rounds -= 1;
            let from_small = pool.small.length > small_target
                || pool.main.length == 0
                || rounds < small_rounds && pool.small.length > 0;
            let popped = if from_small {
                pool.small.pop()
            } else {
                pool.main.pop()
            };
            let Some(index) = popped else {
                return;
            };
            let Some(frame) = self.frames.get(index as usize) else {
                return;
            };
            if frame.pins.load(Ordering::Relaxed) & EVICTED != 0 {
                // Dead: all was done but this, see `forget`.
                pool.dead = pool.dead.saturating_sub(1);
                pool.retired.push(index);
                return;
            }
            let uses = frame.uses.load(Ordering::Relaxed);
            if uses > u8::from(from_small) {
                // Used again: the small queue promotes, the main one gives another round.
                frame
                    .uses
                    .store(if from_small { 0 } else { uses - 1 }, Ordering::Relaxed);
                pool.main.push(index);
                continue;
            }
            if frame
                .pins
                .compare_exchange(0, EVICTED, Ordering::AcqRel, Ordering::Relaxed)
                .is_err()
            {
                pool.main.push(index);
                continue;
            }
            if from_small {
                let address = frame.address.load(Ordering::Relaxed);
                let (slot, print) = ghost_of(address, pool.ghosts.len());
                if let Some(ghost) = pool.ghosts.get_mut(slot) {
                    *ghost = print;
                }
            }
            self.put_out_of_sight(pool, index, frame);
            pool.retired.push(index);
            self.evictions.fetch_add(1, Ordering::Relaxed);
            return;
        }
    }

    /// Retires a dead frame, if one is near the front of the longer queue.
    fn retire_dead(&self, pool: &mut Pool) -> bool {
        for _ in 0..DEAD_LOOKS_MAX.min(pool.small.length + pool.main.length) {
            let queue = if pool.small.length > pool.main.length {
                &mut pool.small
            } else {
                &mut pool.main
            };
            let Some(index) = queue.pop() else {
                return false;
            };
            let pins = self.frames.get(index as usize).map(|frame| &frame.pins);
            if pins.is_some_and(|pins| pins.load(Ordering::Relaxed) & EVICTED != 0) {
                pool.dead = pool.dead.saturating_sub(1);
                pool.retired.push(index);
                return true;
            }
            queue.push(index);
        }
        false
    }

    /// Takes what was just evicted off its chain, and the hints from it.
    fn put_out_of_sight(&self, pool: &mut Pool, index: u32, frame: &Frame) {
        let address = frame.address.load(Ordering::Relaxed);
        self.unlink(index, address);
        frame.address.store(0, Ordering::SeqCst);
        let hints = frame.hints.swap(NONE, Ordering::Relaxed);
        let stamp = self.epochs.retire();
        if let Some(at) = pool.retired_at.get_mut(index as usize) {
            *at = stamp;
        }
        if hints != NONE {
            // A reader of the evicted branch may still store a hint into the
            // slot: hints are checked by tag, so that a foreign one is only slow.
            pool.free_hints.push(hints);
        }
    }

    /// Lets go of what is in memory of a page that nobody reads any more: its frame is
    /// the next to be used again.
    pub(in crate::pager) fn forget(&self, address: u64) {
        let mut pool = self.pool.lock();
        let Some(bucket) = self.bucket(address) else {
            return;
        };
        let mut index = bucket.load(Ordering::Relaxed);
        for _ in 0..=self.frames.len() {
            let Some(frame) = self.frames.get(index as usize) else {
                return;
            };
            let next = frame.chain.load(Ordering::Relaxed);
            // One that is pinned stays: it goes as any other.
            if frame.address.load(Ordering::Relaxed) == address
                && frame
                    .pins
                    .compare_exchange(0, EVICTED, Ordering::AcqRel, Ordering::Relaxed)
                    .is_ok()
            {
                self.put_out_of_sight(&mut pool, index, frame);
                pool.dead += 1;
            }
            index = next;
        }
    }

    fn unlink(&self, index: u32, address: u64) {
        let Some(bucket) = self.bucket(address) else {
            return;
        };
        let Some(frame) = self.frames.get(index as usize) else {
            return;
        };
        let next = frame.chain.load(Ordering::Relaxed);
        let mut link = bucket;
        for _ in 0..=self.frames.len() {
            let at = link.load(Ordering::Relaxed);
            if at == index {
                link.store(next, Ordering::Release);
                return;
            }
            match self.frames.get(at as usize) {
                Some(frame) => link = &frame.chain,
                None => return,
            }
        }
    }
}

pub(super) fn ghost_of(address: u64, slots: usize) -> (usize, u32) {
    let hash = address.wrapping_mul(0xD6E8_FEB8_6659_FD93);
    (
        (hash >> 40) as usize & slots.wrapping_sub(1),
        (hash >> 8) as u32 | 1,
    )
}
