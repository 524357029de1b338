//! Which keys expire next, so that they are removed soon after they did.
//!
//! A key that has expired is gone for every reader at once; what is removed here is what
//! it still takes, and its place in counts. The engine sweeps its trees for that, but at
//! its leisure, and not what stands in memory above them. So the service remembers the
//! keys that it gave an expiry, in bounded memory: where there are too many, those that
//! expire last are left to the engine, and so are those of an earlier run of the service.
//!
//! # Invariants
//! - A key stands in the map and, once, in the order, at the time that the map says. It
//!   may expire later than that, where it was put off since: when its turn comes it takes
//!   its place anew. So a key that is put off with each use costs a look-up.
//! - What is remembered is a hint. Who removes a key asks the database whether it expired.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Bytes that are remembered at most, keys and what stands around them.
const BYTES_MAX: usize = 16 << 20;
/// What a key takes besides its own bytes, about.
const OVERHEAD_BYTES: usize = 128;

/// A key of a database.
pub type Place = (usize, Arc<[u8]>);

#[derive(Debug, Clone, Copy)]
struct Times {
    /// Its place in the order.
    turn_ms: u64,
    /// When it expires: then or later.
    expiry_ms: u64,
}

#[derive(Debug, Default)]
struct Known {
    times: HashMap<Place, Times>,
    order: BTreeSet<(u64, Place)>,
    bytes: usize,
}

/// The keys that expire next.
#[derive(Debug, Default)]
pub struct Expiries {
    known: Mutex<Known>,
    /// How many keys are known, so that removing keys costs nothing while there are none.
    count: AtomicUsize,
    sooner: Notify,
}

fn bytes_of(place: &Place) -> usize {
    place.1.len() + OVERHEAD_BYTES
}

impl Known {
    fn add(&mut self, expiry_ms: u64, place: Place) {
        self.bytes += bytes_of(&place);
        let times = Times {
            turn_ms: expiry_ms,
            expiry_ms,
        };
        self.times.insert(place.clone(), times);
        self.order.insert((expiry_ms, place));
    }

    fn forget(&mut self, place: Place) {
        if let Some(times) = self.times.remove(&place) {
            self.bytes -= bytes_of(&place);
            self.order.remove(&(times.turn_ms, place));
        }
    }

    fn forget_last(&mut self) {
        if let Some((_, place)) = self.order.pop_last() {
            self.times.remove(&place);
            self.bytes -= bytes_of(&place);
        }
    }
}

impl Expiries {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a key is to expire, in milliseconds since 1970.
    pub fn note(&self, database: usize, key: &[u8], expiry_ms: u64) {
        let mut known = self.lock();
        let place: Place = (database, key.into());
        if let Some(times) = known.times.get_mut(&place) {
            times.expiry_ms = expiry_ms;
            let turn_ms = times.turn_ms;
            if turn_ms <= expiry_ms {
                return;
            }
            times.turn_ms = expiry_ms;
            known.order.remove(&(turn_ms, place.clone()));
            known.order.insert((expiry_ms, place));
        } else {
            let is_late = |last: &(u64, Place)| last.0 <= expiry_ms;
            if known.bytes >= BYTES_MAX && known.order.last().is_none_or(is_late) {
                return;
            }
            known.add(expiry_ms, place);
            while known.bytes > BYTES_MAX {
                known.forget_last();
            }
        }
        self.count.store(known.times.len(), Ordering::Relaxed);
        let is_first = known
            .order
            .first()
            .is_some_and(|first| first.0 == expiry_ms);
        drop(known);
        if is_first {
            self.sooner.notify_one();
        }
    }

    /// A key is removed.
    pub fn forget(&self, database: usize, key: &[u8]) {
        if self.count.load(Ordering::Relaxed) > 0 {
            let mut known = self.lock();
            known.forget((database, key.into()));
            self.count.store(known.times.len(), Ordering::Relaxed);
        }
    }

    /// A database is emptied.
    pub fn forget_all(&self, database: usize) {
        if self.count.load(Ordering::Relaxed) > 0 {
            let mut known = self.lock();
            let before = std::mem::take(&mut *known);
            for (place, times) in before.times {
                if place.0 != database {
                    known.add(times.expiry_ms, place);
                }
            }
            self.count.store(known.times.len(), Ordering::Relaxed);
        }
    }

    /// The time at which the next key expires, in milliseconds since 1970.
    pub fn next_ms(&self) -> Option<u64> {
        self.lock().order.first().map(|first| first.0)
    }

    /// Becomes ready when that time may be sooner than it was.
    pub async fn changed(&self) {
        self.sooner.notified().await;
    }

    /// Takes at most `count` keys that have expired at `now_ms`, as far as is known here.
    pub fn take_due(&self, now_ms: u64, count: usize) -> Vec<Place> {
        let mut known = self.lock();
        let mut due = Vec::new();
        while due.len() < count {
            let Some((_, place)) = known
                .order
                .first()
                .filter(|first| first.0 <= now_ms)
                .cloned()
            else {
                break;
            };
            known.order.pop_first();
            match known.times.get_mut(&place) {
                Some(times) if times.expiry_ms > now_ms => {
                    times.turn_ms = times.expiry_ms;
                    let turn_ms = times.turn_ms;
                    known.order.insert((turn_ms, place));
                }
                _ => {
                    known.times.remove(&place);
                    known.bytes -= bytes_of(&place);
                    due.push(place);
                }
            }
        }
        self.count.store(known.times.len(), Ordering::Relaxed);
        due
    }

    /// Two databases have changed their numbers.
    pub fn swap(&self, first: usize, second: usize) {
        let mut known = self.lock();
        let before = std::mem::take(&mut *known);
        for ((database, key), times) in before.times {
            let database = match database {
                one if one == first => second,
                one if one == second => first,
                other => other,
            };
            known.add(times.expiry_ms, (database, key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(places: Vec<Place>) -> Vec<String> {
        let text = |(_, key): Place| String::from_utf8(key.to_vec()).unwrap();
        places.into_iter().map(text).collect()
    }

    fn check(expiries: &Expiries) {
        let known = expiries.lock();
        assert_eq!(known.order.len(), known.times.len());
        let bytes: usize = known.times.keys().map(bytes_of).sum();
        assert_eq!(known.bytes, bytes);
        for (turn_ms, place) in &known.order {
            let times = known.times[place];
            assert_eq!(times.turn_ms, *turn_ms);
            assert!(times.turn_ms <= times.expiry_ms);
        }
    }

    #[test]
    fn what_is_due_comes_in_its_order() {
        let expiries = Expiries::default();
        for (key, time) in [("late", 30), ("soon", 10), ("then", 20)] {
            expiries.note(0, key.as_bytes(), time);
        }
        assert_eq!(expiries.next_ms(), Some(10));
        assert!(expiries.take_due(9, 9).is_empty());
        assert_eq!(keys(expiries.take_due(20, 1)), ["soon"]);
        assert_eq!(keys(expiries.take_due(25, 9)), ["then"]);
        check(&expiries);
        assert_eq!(keys(expiries.take_due(30, 9)), ["late"]);
        assert_eq!((expiries.next_ms(), expiries.lock().bytes), (None, 0));
    }

    #[test]
    fn a_key_has_its_last_time() {
        let expiries = Expiries::default();
        expiries.note(0, b"put off", 10);
        expiries.note(0, b"put off", 50);
        assert!(expiries.take_due(20, 9).is_empty());
        assert_eq!(expiries.next_ms(), Some(50));
        check(&expiries);
        // Sooner, twice, once while it stands too soon already.
        expiries.note(0, b"put off", 40);
        assert_eq!(expiries.next_ms(), Some(40));
        expiries.note(0, b"put off", 60);
        expiries.note(0, b"put off", 30);
        assert_eq!(expiries.next_ms(), Some(30));
        expiries.note(0, b"put off", 55);
        check(&expiries);
        assert!(expiries.take_due(54, 9).is_empty());
        assert_eq!(keys(expiries.take_due(55, 9)), ["put off"]);
        check(&expiries);
    }

    #[test]
    fn those_that_expire_last_are_forgotten_first() {
        let expiries = Expiries::default();
        let count = u64::try_from(BYTES_MAX / OVERHEAD_BYTES).unwrap();
        for time in (0..count).rev() {
            expiries.note(0, &time.to_le_bytes(), 1000 + time);
        }
        check(&expiries);
        assert!(expiries.lock().bytes <= BYTES_MAX);
        assert_eq!(expiries.next_ms(), Some(1000));
        let last = expiries.lock().order.last().map(|last| last.0);
        assert!(last < Some(1000 + count - 1));
        let before = expiries.lock().times.len();
        expiries.note(0, b"too late", u64::MAX);
        assert_eq!(expiries.lock().times.len(), before);
    }

    #[test]
    fn what_is_removed_is_forgotten() {
        let expiries = Expiries::default();
        expiries.forget(0, b"unknown");
        for database in [0, 1] {
            for key in ["one", "two"] {
                expiries.note(database, key.as_bytes(), 10);
            }
        }
        expiries.forget(0, b"one");
        expiries.forget_all(1);
        check(&expiries);
        assert_eq!(keys(expiries.take_due(10, 9)), ["two"]);
    }

    #[test]
    fn swapped_databases_keep_their_keys() {
        let expiries = Expiries::default();
        expiries.note(0, b"zero", 10);
        expiries.note(1, b"one", 10);
        expiries.note(2, b"two", 10);
        expiries.swap(0, 1);
        check(&expiries);
        let mut due: Vec<String> = expiries
            .take_due(10, 9)
            .iter()
            .map(|(database, key)| format!("{database} {}", key.escape_ascii()))
            .collect();
        due.sort_unstable();
        assert_eq!(due, ["0 one", "1 zero", "2 two"]);
    }
}
