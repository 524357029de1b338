//! Figures of the running service: counters that anyone may raise without a lock.

use crate::commands::Operation;
use crate::failure::FailureKind;
use crate::observe::CommandStatistics;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the histograms' buckets, in microseconds; above the last stands one
/// more for the rest.
pub const BUCKET_BOUNDS_US: [u64; 18] = [
    5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000,
    500_000, 1_000_000, 10_000_000,
];

/// How long operations took.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKET_BOUNDS_US.len() + 1],
    nanoseconds: AtomicU64,
}

impl Histogram {
    fn note(&self, took: Duration) {
        let micros = u64::try_from(took.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX);
        let index = BUCKET_BOUNDS_US.partition_point(|bound| *bound < micros);
        if let Some(bucket) = self.buckets.get(index) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// How many operations fell into each bucket, the one without a bound last.
    #[must_use]
    pub fn counts(&self) -> [u64; BUCKET_BOUNDS_US.len() + 1] {
        std::array::from_fn(|index| self.buckets[index].load(Ordering::Relaxed))
    }

    /// How long all together took.
    #[must_use]
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed))
    }
}

/// The figures.
#[derive(Debug, Default)]
pub struct Metrics {
    operations: [Histogram; Operation::ALL.len()],
    /// Operations whose durations were not to be measured.
    unmeasured: [AtomicU64; Operation::ALL.len()],
    is_unmeasured: AtomicBool,
    misses: AtomicU64,
    failures: [AtomicU64; 3],
    refusals: AtomicU64,
    commands: AtomicU64,
    by_command: CommandStatistics,
    scrubbed_pages: AtomicU64,
    scrub_rounds: AtomicU64,
    /// Keys that were removed since they had expired.
    pub expired: AtomicU64,
    /// Bytes that clients have sent.
    pub input_bytes: AtomicU64,
    /// Bytes that clients were sent.
    pub output_bytes: AtomicU64,
}

impl Metrics {
    /// Counts an operation and how long it took until its reply could be sent.
    pub fn note_operation(&self, operation: Operation, took: Duration) {
        if self.is_unmeasured.load(Ordering::Relaxed) {
            let [read, write, delete] = &self.unmeasured;
            match operation {
                Operation::Read => read,
                Operation::Write => write,
                Operation::Delete => delete,
            }
            .fetch_add(1, Ordering::Relaxed);
        } else {
            self.operation(operation).note(took);
        }
    }

    /// Whether the durations of operations are kept from here on.
    pub fn measure(&self, measures: bool) {
        self.is_unmeasured.store(!measures, Ordering::Relaxed);
    }

    /// Whether the durations of operations are kept.
    pub fn is_measuring(&self) -> bool {
        !self.is_unmeasured.load(Ordering::Relaxed)
    }

    /// How many operations of each kind were not measured, in the order of
    /// [`Operation::ALL`].
    #[must_use]
    pub fn unmeasured(&self) -> [u64; Operation::ALL.len()] {
        std::array::from_fn(|index| self.unmeasured[index].load(Ordering::Relaxed))
    }

    /// Counts a command that met a page which isn't in memory.
    pub fn note_miss(&self) {
        self.misses.fetch_add(1, Ordering::Relaxed);
    }

    /// How many commands met a page which isn't in memory.
    #[must_use]
    pub fn misses(&self) -> u64 {
        self.misses.load(Ordering::Relaxed)
    }

    /// How long operations of a kind took.
    #[must_use]
    pub fn operation(&self, operation: Operation) -> &Histogram {
        match operation {
            Operation::Read => &self.operations[0],
            Operation::Write => &self.operations[1],
            Operation::Delete => &self.operations[2],
        }
    }

    /// Counts commands that were run.
    pub fn note_commands(&self, count: u64) {
        self.commands.fetch_add(count, Ordering::Relaxed);
    }

    /// Counts a command that there is none of.
    pub fn note_refusal(&self) {
        self.refusals.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts what failed.
    pub fn note_failure(&self, kind: FailureKind) {
        match kind {
            FailureKind::Refused => &self.refusals,
            FailureKind::Io => &self.failures[0],
            FailureKind::Corruption => &self.failures[1],
            FailureKind::Transaction => &self.failures[2],
        }
        .fetch_add(1, Ordering::Relaxed);
    }

    /// How often something failed: the device, damage, transactions.
    #[must_use]
    pub fn failures(&self) -> [(&'static str, u64); 3] {
        let count = |index: usize| self.failures[index].load(Ordering::Relaxed);
        [
            ("io", count(0)),
            ("corruption", count(1)),
            ("transaction", count(2)),
        ]
    }

    /// Counts pages of the data that were read to find damage, and the end of a round.
    pub fn note_scrubbed(&self, pages: u64, is_round: bool) {
        self.scrubbed_pages.fetch_add(pages, Ordering::Relaxed);
        self.scrub_rounds
            .fetch_add(u64::from(is_round), Ordering::Relaxed);
    }

    /// How many pages were read to find damage, and how often all of them.
    #[must_use]
    pub fn scrubbed(&self) -> (u64, u64) {
        (
            self.scrubbed_pages.load(Ordering::Relaxed),
            self.scrub_rounds.load(Ordering::Relaxed),
        )
    }

    /// How many commands were refused.
    #[must_use]
    pub fn refusals(&self) -> u64 {
        self.refusals.load(Ordering::Relaxed)
    }

    /// How many commands were run.
    #[must_use]
    pub fn commands(&self) -> u64 {
        self.commands.load(Ordering::Relaxed)
    }

    /// What each command has cost.
    #[must_use]
    pub fn by_command(&self) -> &CommandStatistics {
        &self.by_command
    }
}
