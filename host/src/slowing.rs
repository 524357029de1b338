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
//!
//! Where space is short, the same holds of the room that the engine says there is, from the
//! first byte of a memtable on. It comes and goes with each slice of a merge, so that it
//! says nothing of how long that takes: that is taken from what it has to write. No write
//! is stopped for it.

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
/// Where space is short: few waits of a length that nobody minds, rather than many.
const SPACE_WAIT_SHORTEST: Duration = Duration::from_millis(4);
/// How fast a merge is taken to write where space is short: half a memtable takes as long
/// as it where half of the room is left.
const MERGE_BYTES_A_SECOND: u64 = 256 << 20;
/// The part of half a memtable that is taken for room where there is less: that
/// much longer half a memtable takes at most.
const SPACE_ROOM_PARTS: u64 = 32;

/// Of what was left before somebody looked: what was written until then costs nothing.
const UNKNOWN: u64 = 0;

/// The clock that writers share. Times are nanoseconds since it was made.
pub(crate) struct Slowing {
    made: Instant,
    /// Since when no memtable is free; 0 while one is.
    since: AtomicU64,
    /// How long that lasted the last time.
    lasted: AtomicU64,
    /// What was left of the active memtable, while that is looked at.
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
            left: AtomicU64::new(UNKNOWN),
            paid: AtomicU64::new(0),
        }
    }

    /// How long to wait after a write; `room` is what the engine says.
    pub(crate) fn wait(&self, room: Option<FrontRoom>) -> Option<Duration> {
        let Some(room) = room else {
            if self.left.load(Ordering::Relaxed) != UNKNOWN {
                self.left.store(UNKNOWN, Ordering::Relaxed);
            }
            self.note_free();
            return None;
        };
        let now = self.now();
        let mut lasts = 0;
        if room.is_any_free {
            self.note_free();
        } else {
            let mut since = self.since.load(Ordering::Relaxed);
            if since == 0 {
                since = now;
                self.since.store(now, Ordering::Relaxed);
            }
            lasts = now.saturating_sub(since);
        }
        let taken = self
            .left
            .swap(room.left_bytes, Ordering::Relaxed)
            .saturating_sub(room.left_bytes)
            .min(room.bytes);
        let memory = self.memory_price(room, taken, lasts);
        let space = space_price(room, taken);
        let (price, shortest) = if memory >= space {
            (memory, WAIT_SHORTEST)
        } else {
            (space, SPACE_WAIT_SHORTEST)
        };
        let longest = nanoseconds(WAIT_LONGEST);
        let pay = |paid: u64| Some((paid.max(now) + price).min(now + longest));
        let before = self
            .paid
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay)
            .unwrap_or(now);
        let wait = (before.max(now) + price).min(now + longest) - now;
        let wait = Duration::from_nanos(wait);
        (wait >= shortest).then_some(wait)
    }

    /// Notes that a memtable is free.
    fn note_free(&self) {
        if self.since.load(Ordering::Relaxed) != 0 {
            let since = self.since.swap(0, Ordering::Relaxed);
            let lasted = self.now().saturating_sub(since);
            if since != 0 {
                self.lasted.store(lasted, Ordering::Relaxed);
            }
        }
    }

    /// Nanoseconds for `taken` bytes where no memtable was free for `lasts`.
    fn memory_price(&self, room: FrontRoom, taken: u64, lasts: u64) -> u64 {
        if room.is_any_free {
            return 0;
        }
        let merge = Duration::from_nanos(self.lasted.load(Ordering::Relaxed).max(lasts))
            .clamp(MERGE_SHORTEST, MERGE_LONGEST);
        price(room, taken, room.left_bytes.max(1), merge)
    }

    /// At least 1, since 0 stands for never.
    fn now(&self) -> u64 {
        nanoseconds(self.made.elapsed()).max(1)
    }
}

/// Nanoseconds for `taken` bytes where space is short.
fn space_price(room: FrontRoom, taken: u64) -> u64 {
    let Some(left) = room.space_bytes else {
        return 0;
    };
    let bytes = u128::from(room.tree_bytes) * 1_000_000_000;
    let merge = u64::try_from(bytes / u128::from(MERGE_BYTES_A_SECOND)).unwrap_or(u64::MAX);
    let merge = Duration::from_nanos(merge).clamp(MERGE_SHORTEST, MERGE_LONGEST);
    let least = room.bytes / 2 / SPACE_ROOM_PARTS;
    price(room, taken, left.max(least).max(1), merge)
}

/// Nanoseconds for `taken` bytes where `left` may be written until a merge ends.
fn price(room: FrontRoom, taken: u64, left: u64, merge: Duration) -> u64 {
    let half = room.bytes / 2;
    let over = half.saturating_sub(left);
    let parts = u128::from(taken) * u128::from(over) * merge.as_nanos();
    let whole = u128::from(left) * u128::from(half.max(1));
    u64::try_from(parts / whole)
        .unwrap_or(u64::MAX)
        .min(nanoseconds(WAIT_LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(left_bytes: u64) -> Option<FrontRoom> {
        let bytes = 1 << 20;
        Some(FrontRoom {
            bytes,
            left_bytes,
            is_any_free: false,
            space_bytes: None,
            tree_bytes: 0,
        })
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
            .map(|left| slowing.memory_price(room(*left).unwrap(), 100, 0))
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
            let price = slowing.memory_price(room(left).unwrap(), 256, 0);
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
            waited += Duration::from_nanos(slowing.memory_price(room(left).unwrap(), 256, lasts));
        }
        assert!(left > 256, "{left}");
    }

    #[test]
    fn short_space_slows_all_of_a_memtable_and_stops_nobody() {
        let pressed = |space_bytes| FrontRoom {
            bytes: 1 << 20,
            left_bytes: 1 << 20,
            is_any_free: true,
            space_bytes: Some(space_bytes),
            tree_bytes: MERGE_BYTES_A_SECOND,
        };
        let prices: Vec<u64> = [524_288, 400_000, 100_000, 0]
            .iter()
            .map(|room| space_price(pressed(*room), 100))
            .collect();
        assert_eq!(prices[0], 0);
        assert!(prices.is_sorted());
        // Half a memtable at that price.
        let longest = Duration::from_nanos(prices[3]) * (524_288 / 100);
        assert!(longest < Duration::from_secs(32), "{longest:?}");
        assert!(longest > Duration::from_secs(30), "{longest:?}");
    }

    #[test]
    fn what_was_written_while_there_was_room_costs_nothing() {
        let slowing = Slowing::new();
        assert_eq!(slowing.wait(room(1 << 20)), None);
        assert_eq!(slowing.wait(None), None);
        assert_eq!(slowing.wait(room(1_000)), None);
        assert!(slowing.wait(room(100)).is_some());
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
