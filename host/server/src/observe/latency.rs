//! When events took long: the last such times of each kind.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Times that are kept of each kind of event.
const SAMPLES_MAX: usize = 160;

/// What happened in one second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// The second, since 1970.
    pub at_s: u64,
    /// The longest that the event took in it, in milliseconds.
    pub took_ms: u64,
}

/// A kind of event.
#[derive(Debug, Clone, Default)]
pub struct Event {
    /// The last times, the oldest first.
    pub samples: VecDeque<Sample>,
    /// The longest of all, in milliseconds.
    pub max_ms: u64,
}

/// All kinds of events that took long.
#[derive(Debug, Default)]
pub struct LatencyEvents {
    events: Mutex<BTreeMap<&'static str, Event>>,
}

impl LatencyEvents {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Event>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes how long an event took.
    pub fn note(&self, name: &'static str, at_s: u64, took: Duration) {
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let mut events = self.lock();
        let event = events.entry(name).or_default();
        event.max_ms = event.max_ms.max(took_ms);
        match event.samples.back_mut() {
            Some(last) if last.at_s == at_s => last.took_ms = last.took_ms.max(took_ms),
            _ => {
                event.samples.push_back(Sample { at_s, took_ms });
                if event.samples.len() > SAMPLES_MAX {
                    event.samples.pop_front();
                }
            }
        }
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> BTreeMap<&'static str, Event> {
        self.lock().clone()
    }

    /// One of them.
    #[must_use]
    pub fn find(&self, name: &[u8]) -> Option<Event> {
        let events = self.lock();
        let mut found = events.iter();
        found
            .find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name))
            .map(|(_, event)| event.clone())
    }

    /// Forgets events of these names, or all; answers how many.
    pub fn reset<'n>(&self, names: Option<impl Iterator<Item = &'n [u8]> + Clone>) -> usize {
        let mut events = self.lock();
        let before = events.len();
        events.retain(|known, _| match &names {
            None => false,
            Some(names) => !names
                .clone()
                .any(|name| known.as_bytes().eq_ignore_ascii_case(name)),
        });
        before - events.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_one_sample_and_the_oldest_go() {
        let events = LatencyEvents::default();
        let took = Duration::from_millis;
        events.note("command", 1, took(5));
        events.note("command", 1, took(9));
        events.note("command", 1, took(7));
        let found = events.find(b"COMMAND").unwrap();
        let expected = Sample {
            at_s: 1,
            took_ms: 9,
        };
        assert_eq!(found.samples, [expected]);
        for second in 2..300 {
            events.note("command", second, took(1));
        }
        let found = events.find(b"command").unwrap();
        assert_eq!((found.samples.len(), found.max_ms), (SAMPLES_MAX, 9));
        assert_eq!(events.reset(Some([&b"other"[..]].into_iter())), 0);
        assert_eq!(events.reset(None::<std::iter::Empty<_>>), 1);
        assert!(events.all().is_empty());
    }
}
