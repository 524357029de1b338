//! Slowing writers down before they have to stop.
//!
//! While no memtable is free, what is left of the active one has to last until a
//! merge ends. Writers that went on at full speed would fill it and stop; and who
//! stops keeps what it holds: a thread that reads in a transaction of its own and
//! writes beside it would wait for a memtable that its own snapshot pins.
//!
//! So from half full on a written byte costs time, the more the less is left: as
//! long as a merge is thought to take, spread over the bytes that are left. That is
//! as long as the last one took, or as this one lasts already, where that is more:
//! it may last as long again. All writers share one clock. What is left then halves
//! when that time has passed, whatever the speed of the writers, and a merge is
//! never short of work, since a full memtable waits for it.

use lightning_core::db::FrontRoom;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a merge is taken to last before one was seen, and the bounds on what
/// is believed: a pause of the writers looks like a long merge.
const MERGE_ASSUMED: Duration = Duration::from_millis(500);
const MERGE_SHORTEST: Duration = Duration::from_millis(20);
const MERGE_LONGEST: Duration = Duration::from_secs(5);
/// Shorter waits add up first: a sleep takes some 50 microseconds more than asked.
const WAIT_SHORTEST: Duration = Duration::from_micros(200);
const WAIT_LONGEST: Duration = Duration::from_millis(500);

/// The clock that writers share. Times are nanoseconds since it was made.
pub(crate) struct Slowing {
    made: Instant,
    /// Since when no memtable is free; 0 while one is.
    since: AtomicU64,
    /// How long that lasted the last time.
    lasted: AtomicU64,
    /// What was left of the active memtable.
    left: AtomicU64,
    /// When everything written so far is paid for.
    paid: AtomicU64,
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Slowing {
    pub(crate) fn new() -> Self {
        Self {
            made: Instant::now(),
            since: AtomicU64::new(0),
            lasted: AtomicU64::new(nanoseconds(MERGE_ASSUMED)),
            left: AtomicU64::new(u64::MAX),
            paid: AtomicU64::new(0),
        }
    }

    /// How long to wait before the next write; `room` is what the engine says.
    pub(crate) fn wait(&self, room: Option<FrontRoom>) -> Option<Duration> {
        let Some(room) = room else {
            // One load for those who write at full speed.
            if self.since.load(Ordering::Relaxed) != 0 {
                let since = self.since.swap(0, Ordering::Relaxed);
                let lasted = self.now().saturating_sub(since);
                if since != 0 {
                    self.lasted.store(lasted, Ordering::Relaxed);
                }
            }
            return None;
        };
        let now = self.now();
        let mut since = self.since.load(Ordering::Relaxed);
        if since == 0 {
            since = now;
            self.since.store(now, Ordering::Relaxed);
        }
        let lasts = now.saturating_sub(since);
        let taken = self
            .left
            .swap(room.left_bytes, Ordering::Relaxed)
            .saturating_sub(room.left_bytes)
            .min(room.bytes);
        let price = self.price(room, taken, lasts);
        let longest = nanoseconds(WAIT_LONGEST);
        let pay = |paid: u64| Some((paid.max(now) + price).min(now + longest));
        let before = self
            .paid
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay)
            .unwrap_or(now);
        let wait = (before.max(now) + price).min(now + longest) - now;
        let wait = Duration::from_nanos(wait);
        (wait >= WAIT_SHORTEST).then_some(wait)
    }

    /// Nanoseconds for `taken` bytes where no memtable was free for `lasts`.
    fn price(&self, room: FrontRoom, taken: u64, lasts: u64) -> u64 {
        let half = room.bytes / 2;
        let over = half.saturating_sub(room.left_bytes);
        let merge = Duration::from_nanos(self.lasted.load(Ordering::Relaxed).max(lasts))
            .clamp(MERGE_SHORTEST, MERGE_LONGEST);
        let parts = u128::from(taken) * u128::from(over) * merge.as_nanos();
        let whole = u128::from(room.left_bytes.max(1)) * u128::from(half.max(1));
        u64::try_from(parts / whole)
            .unwrap_or(u64::MAX)
            .min(nanoseconds(WAIT_LONGEST))
    }

    /// At least 1, since 0 stands for never.
    fn now(&self) -> u64 {
        nanoseconds(self.made.elapsed()).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(left_bytes: u64) -> Option<FrontRoom> {
        let bytes = 1 << 20;
        Some(FrontRoom { bytes, left_bytes })
    }

    #[test]
    fn a_front_with_a_free_memtable_costs_nothing() {
        let slowing = Slowing::new();
        assert_eq!(slowing.wait(room(1 << 20)), None);
        assert_eq!(slowing.wait(None), None);
        assert_eq!(slowing.since.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_is_left_costs_more_the_less_it_is() {
        let slowing = Slowing::new();
        let prices: Vec<u64> = [900_000, 524_288, 400_000, 100_000, 1_000, 0]
            .iter()
            .map(|left| slowing.price(room(*left).unwrap(), 100, 0))
            .collect();
        assert_eq!(prices[..2], [0, 0]);
        assert!(prices.is_sorted());
        assert!(prices[3] > 10 * prices[2]);
        assert_eq!(prices[5], nanoseconds(WAIT_LONGEST));
    }

    #[test]
    fn the_rest_of_a_memtable_lasts_about_as_long_as_a_merge() {
        let slowing = Slowing::new();
        let mut left = 1 << 20;
        let mut waited = Duration::ZERO;
        slowing.wait(room(left));
        // Writers without any speed limit of their own, on a clock that stands.
        while waited < MERGE_ASSUMED {
            left -= 256;
            let price = slowing.price(room(left).unwrap(), 256, 0);
            waited += Duration::from_nanos(price);
        }
        assert!((20_000..300_000).contains(&left), "{left}");
    }

    #[test]
    fn a_merge_that_lasts_is_thought_to_last_as_long_again() {
        let slowing = Slowing::new();
        let mut left = 1 << 20;
        let mut waited = Duration::ZERO;
        // Twenty times as long as the last one.
        while waited < 20 * MERGE_ASSUMED {
            left -= 256;
            let lasts = nanoseconds(waited);
            waited += Duration::from_nanos(slowing.price(room(left).unwrap(), 256, lasts));
        }
        assert!(left > 256, "{left}");
    }

    #[test]
    fn no_wait_is_longer_than_the_longest() {
        let slowing = Slowing::new();
        slowing.wait(room(1 << 20));
        assert_eq!(slowing.wait(room(0)), Some(WAIT_LONGEST));
        let again = slowing.wait(room(0)).unwrap();
        assert!(again <= WAIT_LONGEST);
    }
}
