//! What all clients' buffers may take together, where `database.max_memory_mb` is set.
//!
//! # Protocol
//! A connection notes what its buffers take whenever they have changed. Where all of them
//! together are over the budget, what would make replies waits for a while, and a connection that has more than an equal share reads
//! nothing for a while, so that others get done; where that doesn't help, it is closed:
//! clients that wait in the middle of what they send would wait for one another for ever.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The least that a client has without asking.
const SHARE_BYTES_MIN: usize = 32 * 1024;
/// What the program takes besides the engine's plan and the clients' buffers: its code,
/// stacks, lists, copies of values on their way, and what the allocator keeps.
const PROGRAM_BYTES: u64 = 48 << 20;
/// How long, in steps, who makes a long reply waits for others to be done.
const WAIT_STEP: Duration = Duration::from_millis(10);
const WAIT_STEPS: u32 = 100;
/// The least that clients have together.
const BUDGET_BYTES_MIN: u64 = 8 << 20;

/// The budget, and what is taken of it.
#[derive(Debug)]
pub struct ClientMemory {
    taken: AtomicUsize,
    budget: usize,
    share: usize,
}

impl ClientMemory {
    /// The budget that is left of `limit_bytes` beside an engine that takes
    /// `engine_bytes`, for at most so many clients. No limit: no budget.
    #[must_use]
    pub fn new(limit_bytes: Option<u64>, engine_bytes: u64, connections_max: u32) -> Self {
        let budget = limit_bytes.map_or(usize::MAX, |limit| {
            let left = limit.saturating_sub(engine_bytes + PROGRAM_BYTES);
            usize::try_from(left.max(BUDGET_BYTES_MIN)).unwrap_or(usize::MAX)
        });
        let connections = usize::try_from(connections_max)
            .unwrap_or(usize::MAX)
            .max(1);
        Self {
            taken: AtomicUsize::new(0),
            budget,
            share: (budget / connections).max(SHARE_BYTES_MIN),
        }
    }

    /// A client's buffers take `now` bytes, where they took `before`.
    pub fn note(&self, before: usize, now: usize) {
        if now > before {
            self.taken.fetch_add(now - before, Ordering::Relaxed);
        } else if now < before {
            self.taken.fetch_sub(before - now, Ordering::Relaxed);
        }
    }

    /// Whether all of them together take more than the budget.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.taken.load(Ordering::Relaxed) > self.budget
    }

    /// Waits until they take no more than that, but not for ever.
    pub async fn wait(&self) {
        for _ in 0..WAIT_STEPS {
            if !self.is_over() {
                return;
            }
            tokio::time::sleep(WAIT_STEP).await;
        }
    }

    /// Whether a client whose buffers take `own` bytes has to make room for others.
    #[must_use]
    pub fn is_short(&self, own: usize) -> bool {
        own > self.share && self.is_over()
    }

    /// Bytes that all buffers take.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_more_than_a_share_makes_room() {
        let memory = ClientMemory::new(Some(144 << 20), 32 << 20, 64);
        assert_eq!((memory.budget, memory.share), (64 << 20, 1 << 20));
        memory.note(0, 60 << 20);
        assert!(!memory.is_short(60 << 20));
        memory.note(0, 5 << 20);
        assert!(memory.is_short(5 << 20));
        assert!(!memory.is_short(1 << 20));
        memory.note(60 << 20, 1 << 20);
        assert!(!memory.is_short(5 << 20));
        assert_eq!(memory.taken(), 6 << 20);
    }

    #[test]
    fn without_a_limit_nobody_makes_room() {
        let memory = ClientMemory::new(None, 32 << 20, 64);
        memory.note(0, usize::MAX / 2);
        assert!(!memory.is_short(usize::MAX / 2));
    }
}
