//! What the service remembers of what it did, for `INFO`, `SLOWLOG` and `LATENCY`.
//!
//! | file | duty |
//! |---|---|
//! | `commands.rs` | what each command has cost |
//! | `tally.rs` | the same, of a pipeline, until it is told to the counters |
//! | `errors.rs` | which errors clients were told |
//! | `slow_log.rs` | the slow commands themselves |
//! | `latency.rs` | when events took long |
//!
//! All is in memory and bounded. `CONFIG RESETSTAT` sets the counters of this module
//! back; those for metrics only ever rise, hence a reset notes what to subtract.

mod commands;
mod errors;
mod latency;
mod slow_log;
mod tally;

pub use commands::{CommandFigures, CommandStatistics, Counters, Spread};
pub use errors::ErrorStatistics;
pub use latency::{Event, LatencyEvents, Sample};
pub use slow_log::{SlowCommand, SlowLog, shown};
pub use tally::Tally;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Counters as they were at the last reset.
#[derive(Debug, Default, Clone, Copy)]
pub struct Baseline {
    /// Clients that had come.
    pub accepted: u64,
    /// Clients that were turned away.
    pub rejected: u64,
    /// Commands that were run.
    pub commands: u64,
    /// Keys that were removed since they had expired.
    pub expired: u64,
    /// Bytes that clients had sent.
    pub input_bytes: u64,
    /// Bytes that clients were sent.
    pub output_bytes: u64,
}

/// What is remembered.
#[derive(Debug)]
pub struct Observations {
    /// Which errors clients were told.
    pub errors: ErrorStatistics,
    /// Slow commands.
    pub slow: SlowLog,
    /// Events that took long.
    pub latency: LatencyEvents,
    /// From how long on a command is slow, in nanoseconds.
    slow_ns: AtomicU64,
    /// From how long on an event is remembered, in nanoseconds.
    latency_ns: AtomicU64,
    /// When all that was acknowledged was made durable at somebody's wish.
    saved_s: AtomicU64,
    baseline: Mutex<Baseline>,
}

impl Default for Observations {
    fn default() -> Self {
        Self {
            errors: ErrorStatistics::default(),
            slow: SlowLog::default(),
            latency: LatencyEvents::default(),
            slow_ns: AtomicU64::new(u64::MAX),
            latency_ns: AtomicU64::new(u64::MAX),
            saved_s: AtomicU64::new(unix_seconds()),
            baseline: Mutex::default(),
        }
    }
}

/// Seconds since 1970.
#[must_use]
pub fn unix_seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Observations {
    /// From how long on what is remembered; `None`: nothing is.
    pub fn set_thresholds(&self, slow: Option<Duration>, latency: Option<Duration>) {
        let threshold = |time: Option<Duration>| time.map_or(u64::MAX, nanoseconds);
        self.slow_ns.store(threshold(slow), Ordering::Relaxed);
        self.latency_ns.store(threshold(latency), Ordering::Relaxed);
    }

    /// Whether a command that took so long is slow.
    #[must_use]
    pub fn is_slow(&self, took: Duration) -> bool {
        nanoseconds(took) >= self.slow_ns.load(Ordering::Relaxed)
    }

    /// Notes how long an event took, where that is long.
    pub fn note_event(&self, event: &'static str, took: Duration) {
        if nanoseconds(took) >= self.latency_ns.load(Ordering::Relaxed) {
            self.latency.note(event, unix_seconds(), took);
        }
    }

    /// Notes that all that was acknowledged is durable now.
    pub fn note_save(&self) {
        self.saved_s.store(unix_seconds(), Ordering::Relaxed);
    }

    /// When that was noted last, in seconds since 1970.
    #[must_use]
    pub fn saved_s(&self) -> u64 {
        self.saved_s.load(Ordering::Relaxed)
    }

    /// The counters at the last reset.
    #[must_use]
    pub fn baseline(&self) -> Baseline {
        *self.baseline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts from here on.
    pub fn set_baseline(&self, baseline: Baseline) {
        *self.baseline.lock().unwrap_or_else(PoisonError::into_inner) = baseline;
    }
}
