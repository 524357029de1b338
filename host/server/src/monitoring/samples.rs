//! Counters of the last five minutes, so that rates and quantiles of now can be told.
//!
//! A sample is taken every ten seconds; the difference of what is now and the oldest one
//! is what happened within the window. After a start the window is as long as the
//! service runs.

use crate::commands::Operation;
use crate::metrics::{BUCKET_BOUNDS_US, Metrics};
use lightning_db::Statistics;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long the window is.
pub const WINDOW: Duration = Duration::from_secs(300);
/// How often a sample is taken.
pub const PERIOD: Duration = Duration::from_secs(10);

/// Buckets of a histogram, the one without a bound included.
pub const BUCKETS: usize = BUCKET_BOUNDS_US.len() + 1;

/// Durations of operations of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Durations {
    /// How many fell into each bucket.
    pub counts: [u64; BUCKETS],
    /// How long all together took.
    pub sum: Duration,
    /// How many were not measured.
    pub unmeasured: u64,
}

impl Durations {
    /// How many were measured.
    #[must_use]
    pub fn measured(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.measured() + self.unmeasured
    }

    /// The duration that this share of them didn't pass, in seconds: between the bounds
    /// of its bucket in proportion; the last bound where it is above that. `None`: none
    /// was measured.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let total = self.measured();
        if total == 0 {
            return None;
        }
        let rank = share * total as f64;
        let mut below = 0.0;
        let mut low = 0.0;
        for (count, bound) in self.counts.iter().zip(BUCKET_BOUNDS_US) {
            let high = bound as f64 / 1e6;
            let within = *count as f64;
            if within > 0.0 && below + within >= rank {
                return Some(low + (high - low) * ((rank - below) / within).clamp(0.0, 1.0));
            }
            below += within;
            low = high;
        }
        Some(low)
    }
}

/// Counters at a moment, or their difference between two.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Operations, in the order of [`Operation::ALL`].
    pub operations: [Durations; Operation::ALL.len()],
    /// Commands that were run.
    pub commands: u64,
    /// Commands that were refused.
    pub refusals: u64,
    /// What failed: device, damage, transactions.
    pub failures: [u64; 3],
    /// Commands that met a page which wasn't in memory.
    pub misses: u64,
    /// Commits.
    pub commits: u64,
    /// Transactions that were in another's way.
    pub conflicts: u64,
    /// Pages that were read into memory.
    pub page_loads: u64,
    /// How often a write waited for room.
    pub slowdowns: u64,
    /// How long writes waited for room.
    pub slowdown_time: Duration,
    /// Processor time of the process.
    pub cpu_time: Duration,
}

impl Counters {
    /// The counters now.
    #[must_use]
    pub fn now(metrics: &Metrics, statistics: &Statistics) -> Self {
        let unmeasured = metrics.unmeasured();
        let mut operations = [Durations::default(); Operation::ALL.len()];
        for ((durations, operation), unmeasured) in
            operations.iter_mut().zip(Operation::ALL).zip(unmeasured)
        {
            let histogram = metrics.operation(operation);
            *durations = Durations {
                counts: histogram.counts(),
                sum: histogram.sum(),
                unmeasured,
            };
        }
        let process = lightning_db::process_use().unwrap_or_default();
        Self {
            operations,
            commands: metrics.commands(),
            refusals: metrics.refusals(),
            failures: metrics.failures().map(|(_, count)| count),
            misses: metrics.misses(),
            commits: statistics.engine.commits,
            conflicts: statistics.engine.conflicts,
            page_loads: statistics.engine.frames.loads,
            slowdowns: statistics.slowdowns,
            slowdown_time: statistics.slowdown_time,
            cpu_time: process.user_time + process.system_time,
        }
    }

    /// What was counted since `older`. Counters only rise; where one was read while others
    /// raised it, the difference is at least zero.
    #[must_use]
    pub fn since(&self, older: &Self) -> Self {
        let mut operations = self.operations;
        for (now, before) in operations.iter_mut().zip(&older.operations) {
            for (count, earlier) in now.counts.iter_mut().zip(before.counts) {
                *count = count.saturating_sub(earlier);
            }
            now.sum = now.sum.saturating_sub(before.sum);
            now.unmeasured = now.unmeasured.saturating_sub(before.unmeasured);
        }
        let mut failures = self.failures;
        for (now, before) in failures.iter_mut().zip(older.failures) {
            *now = now.saturating_sub(before);
        }
        Self {
            operations,
            commands: self.commands.saturating_sub(older.commands),
            refusals: self.refusals.saturating_sub(older.refusals),
            failures,
            misses: self.misses.saturating_sub(older.misses),
            commits: self.commits.saturating_sub(older.commits),
            conflicts: self.conflicts.saturating_sub(older.conflicts),
            page_loads: self.page_loads.saturating_sub(older.page_loads),
            slowdowns: self.slowdowns.saturating_sub(older.slowdowns),
            slowdown_time: self.slowdown_time.saturating_sub(older.slowdown_time),
            cpu_time: self.cpu_time.saturating_sub(older.cpu_time),
        }
    }

    /// How many operations there were.
    #[must_use]
    pub fn operation_count(&self) -> u64 {
        self.operations.iter().map(Durations::count).sum()
    }
}

/// The samples.
#[derive(Debug)]
pub struct Samples {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    ring: VecDeque<(Instant, Counters)>,
    /// The oldest snapshot that holds something back, and since when.
    held_back: Option<(u64, Instant)>,
}

impl Samples {
    /// The first sample: all counters are zero.
    #[must_use]
    pub fn new(started: Instant) -> Self {
        Self {
            state: Mutex::new(State {
                ring: VecDeque::from([(started, Counters::default())]),
                held_back: None,
            }),
        }
    }

    /// Takes a sample.
    pub fn add(&self, now: Instant, counters: Counters) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.ring.push_back((now, counters));
        // The oldest one is at most a window old.
        while let Some((at, _)) = state.ring.front()
            && now.duration_since(*at) > WINDOW
            && state.ring.len() > 1
        {
            state.ring.pop_front();
        }
    }

    /// What was counted within the window, and how long that is.
    #[must_use]
    pub fn window(&self, now: Instant, counters: &Counters) -> (Duration, Counters) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = state
            .ring
            .iter()
            .find(|(at, _)| now.duration_since(*at) <= WINDOW + PERIOD);
        match oldest.or(state.ring.back()) {
            Some((at, older)) => (now.duration_since(*at), counters.since(older)),
            None => (Duration::ZERO, Counters::default()),
        }
    }

    /// How long the oldest snapshot has held back what was replaced since: as far as the
    /// looks of this service at it can tell. Zero where it sees the last commit.
    pub fn snapshot_age(&self, now: Instant, statistics: &Statistics) -> Duration {
        let engine = &statistics.engine;
        let holding = engine
            .oldest_snapshot_sequence
            .filter(|oldest| *oldest < engine.appended_sequence);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match (holding, state.held_back) {
            (None, _) => {
                state.held_back = None;
                Duration::ZERO
            }
            (Some(sequence), Some((known, since))) if known == sequence => {
                now.duration_since(since)
            }
            (Some(sequence), _) => {
                state.held_back = Some((sequence, now));
                Duration::ZERO
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(commands: u64) -> Counters {
        Counters {
            commands,
            ..Counters::default()
        }
    }

    #[test]
    fn the_window_moves_on() {
        let start = Instant::now();
        let samples = Samples::new(start);
        for step in 1..=100 {
            samples.add(start + PERIOD * step, counters(u64::from(step) * 10));
        }
        let now = start + PERIOD * 100 + Duration::from_secs(5);
        let (length, window) = samples.window(now, &counters(1005));
        assert_eq!(length, Duration::from_secs(305));
        assert_eq!(window.commands, 1005 - 700);
        let held = samples.state.lock().unwrap().ring.len();
        assert_eq!(held, 31);
    }

    #[test]
    fn a_young_service_has_a_short_window() {
        let start = Instant::now();
        let samples = Samples::new(start);
        let (length, window) = samples.window(start + Duration::from_secs(3), &counters(7));
        assert_eq!((length.as_secs(), window.commands), (3, 7));
    }

    #[test]
    fn quantiles_lie_in_their_buckets() {
        let mut durations = Durations::default();
        assert_eq!(durations.quantile(0.99), None);
        // 90 within 100 µs, 10 within 1 ms.
        durations.counts[4] = 90;
        durations.counts[7] = 10;
        let median = durations.quantile(0.5).unwrap();
        assert!((5e-5..=1e-4).contains(&median), "{median}");
        let high = durations.quantile(0.99).unwrap();
        assert!((9e-4..=1e-3).contains(&high), "{high}");
        let mut slow = Durations::default();
        slow.counts[BUCKETS - 1] = 1;
        assert_eq!(slow.quantile(0.5), Some(10.0));
    }
}
