//! What each command has cost, counted without a lock.

use crate::commands::{self, ByName, Command};
use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets of a spread: eight for each power of two of nanoseconds.
const BUCKETS: usize = 8 * 40;
const STEPS: u64 = 8;

/// How the times of a command are spread: counts by time, to an eighth.
pub struct Spread {
    buckets: [AtomicU64; BUCKETS],
}

impl std::fmt::Debug for Spread {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Spread")
            .field("count", &self.count())
            .finish_non_exhaustive()
    }
}

impl Spread {
    fn new() -> Self {
        Self {
            buckets: [const { AtomicU64::new(0) }; BUCKETS],
        }
    }

    /// The bucket of a time: the highest four bits and their place.
    fn bucket(nanoseconds: u64) -> usize {
        let nanoseconds = nanoseconds.max(STEPS);
        let power = u64::from(nanoseconds.ilog2());
        let step = (nanoseconds >> (power - 3)) - STEPS;
        let index = (power - 3) * STEPS + step;
        usize::try_from(index).map_or(BUCKETS - 1, |index| index.min(BUCKETS - 1))
    }

    /// The first time behind a bucket, in nanoseconds.
    fn end(bucket: usize) -> u64 {
        let bucket = u64::try_from(bucket).unwrap_or(0) + 1;
        (STEPS + bucket % STEPS) << (bucket / STEPS)
    }

    fn note(&self, took: Duration) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        if let Some(bucket) = self.buckets.get(Self::bucket(nanoseconds)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn count(&self) -> u64 {
        let counts = self.buckets.iter();
        counts.map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }

    /// How many took less than each power of two of nanoseconds, where that rises.
    #[must_use]
    pub fn by_power(&self) -> Vec<(u64, u64)> {
        let mut found = Vec::new();
        let (mut below, mut last) = (0, 0);
        for (index, bucket) in self.buckets.iter().enumerate() {
            below += bucket.load(Ordering::Relaxed);
            let end = Self::end(index);
            if end.is_power_of_two() && below > last {
                found.push((end, below));
                last = below;
            }
        }
        found
    }

    /// The time within which so many percent of all were done, in nanoseconds.
    #[must_use]
    pub fn percentile(&self, percent: f64) -> u64 {
        let count = self.count();
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "counts are far below 2^52, and percents between 0 and 100"
        )]
        let wanted = ((count as f64 * percent / 100.0).ceil() as u64).clamp(1, count.max(1));
        let mut below = 0;
        for (index, bucket) in self.buckets.iter().enumerate() {
            below += bucket.load(Ordering::Relaxed);
            if below >= wanted {
                return Self::end(index);
            }
        }
        0
    }
}

/// What one command has cost.
#[derive(Debug, Default)]
pub struct Counters {
    calls: AtomicU64,
    failures: AtomicU64,
    refusals: AtomicU64,
    nanoseconds: AtomicU64,
    /// Made when the command is run for the first time.
    spread: OnceLock<Box<Spread>>,
}

impl Counters {
    /// Counts calls, of which so many failed, that took so long together; how long each
    /// took is noted by [`note_time`](Self::note_time).
    pub fn note_calls(&self, calls: u64, failures: u64, took: Duration) {
        self.calls.fetch_add(calls, Ordering::Relaxed);
        if failures > 0 {
            self.failures.fetch_add(failures, Ordering::Relaxed);
        }
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// Notes how long a call took.
    pub fn note_time(&self, took: Duration) {
        self.spread
            .get_or_init(|| Box::new(Spread::new()))
            .note(took);
    }
}

/// What one command has cost, at some time.
#[derive(Debug, Default, Clone, Copy)]
pub struct CommandFigures {
    /// How often it was run.
    pub calls: u64,
    /// How often it failed.
    pub failures: u64,
    /// How often it was refused before it ran.
    pub refusals: u64,
    /// How long it took, all together.
    pub took: Duration,
}

/// What all commands have cost.
#[derive(Debug)]
pub struct CommandStatistics {
    by_name: ByName<&'static str, Counters>,
}

impl Default for CommandStatistics {
    fn default() -> Self {
        let with_parts =
            |command: &'static Command| std::iter::once(command).chain(command.subcommands);
        let all = commands::all().flat_map(with_parts);
        Self {
            by_name: all
                .map(|command| (command.name, Counters::default()))
                .collect(),
        }
    }
}

impl CommandStatistics {
    /// The counters of a command.
    pub fn of(&self, command: &Command) -> Option<&Counters> {
        self.by_name.get(command.name)
    }

    /// Counts a command that was refused before it ran.
    pub fn note_refusal(&self, command: &Command) {
        if let Some(counters) = self.by_name.get(command.name) {
            counters.refusals.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What each command has cost that was called.
    #[must_use]
    pub fn figures(&self) -> BTreeMap<&'static str, CommandFigures> {
        let figures = self.by_name.iter().map(|(name, counters)| {
            let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            let figures = CommandFigures {
                calls: count(&counters.calls),
                failures: count(&counters.failures),
                refusals: count(&counters.refusals),
                took: Duration::from_nanos(count(&counters.nanoseconds)),
            };
            (*name, figures)
        });
        figures
            .filter(|(_, figures)| figures.calls + figures.refusals > 0)
            .collect()
    }

    /// How the times of a command are spread, where it was run.
    #[must_use]
    pub fn spread(&self, name: &str) -> Option<&Spread> {
        let counters = self.by_name.get(name)?;
        let spread = counters.spread.get()?;
        (spread.count() > 0).then_some(&**spread)
    }

    /// Forgets all.
    pub fn reset(&self) {
        for counters in self.by_name.values() {
            for counter in [
                &counters.calls,
                &counters.failures,
                &counters.refusals,
                &counters.nanoseconds,
            ] {
                counter.store(0, Ordering::Relaxed);
            }
            if let Some(spread) = counters.spread.get() {
                for bucket in &spread.buckets {
                    bucket.store(0, Ordering::Relaxed);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_lies_before_the_end_of_its_bucket_by_an_eighth_at_most() {
        for nanoseconds in [8, 9, 15, 16, 17, 100, 1023, 1024, 123_456_789, 1 << 40] {
            let end = Spread::end(Spread::bucket(nanoseconds));
            assert!(end > nanoseconds, "{nanoseconds} {end}");
            assert!(
                end - nanoseconds <= nanoseconds / 8 + 1,
                "{nanoseconds} {end}"
            );
        }
        assert_eq!(Spread::bucket(0), 0);
        assert_eq!(Spread::bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn spreads_are_told_by_powers_and_percentiles() {
        let spread = Spread::new();
        for micros in [1, 1, 3, 900] {
            spread.note(Duration::from_micros(micros));
        }
        assert_eq!(
            spread.by_power(),
            [(1 << 10, 2), (1 << 12, 3), (1 << 20, 4)]
        );
        assert!((1000..1200).contains(&spread.percentile(50.0)));
        assert!((900_000..1_020_000).contains(&spread.percentile(99.9)));
    }

    #[test]
    fn what_was_not_called_is_not_told() {
        let statistics = CommandStatistics::default();
        let get = commands::find(b"get").unwrap();
        let counters = statistics.of(get).unwrap();
        counters.note_calls(1, 1, Duration::from_micros(5));
        counters.note_time(Duration::from_micros(5));
        statistics.note_refusal(get);
        let figures = statistics.figures();
        assert_eq!(figures.len(), 1);
        let figures = figures["get"];
        assert_eq!(
            (figures.calls, figures.failures, figures.refusals),
            (1, 1, 1)
        );
        statistics.reset();
        assert!(statistics.figures().is_empty());
        assert!(statistics.spread("get").is_none());
    }
}
