//! Limits that connections ask for with each request: copies of settings that cost a
//! load to read, where the settings themselves cost a lock that all connections share.

use lightning_ops::configuration::Configuration;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// The number that stands for no limit.
const NONE: u64 = u64::MAX;

/// The limits as they are now.
#[derive(Debug)]
pub struct LiveLimits {
    request_timeout_us: AtomicU64,
    idle_timeout_us: AtomicU64,
    query_bytes_max: AtomicUsize,
    output_bytes_max: AtomicUsize,
    write_batch_commands_max: AtomicUsize,
    tracked_keys_max: AtomicUsize,
}

fn microseconds(time: Option<Duration>) -> u64 {
    time.map_or(NONE, |time| u64::try_from(time.as_micros()).unwrap_or(NONE))
}

fn time(microseconds: &AtomicU64) -> Option<Duration> {
    let microseconds = microseconds.load(Ordering::Relaxed);
    (microseconds != NONE).then(|| Duration::from_micros(microseconds))
}

impl LiveLimits {
    /// The limits that a configuration sets.
    #[must_use]
    pub fn of(configuration: &Configuration) -> Self {
        let limits = Self {
            request_timeout_us: AtomicU64::new(NONE),
            idle_timeout_us: AtomicU64::new(NONE),
            query_bytes_max: AtomicUsize::new(0),
            output_bytes_max: AtomicUsize::new(0),
            write_batch_commands_max: AtomicUsize::new(1),
            tracked_keys_max: AtomicUsize::new(0),
        };
        limits.set(configuration);
        limits
    }

    /// Takes over what a configuration sets.
    pub fn set(&self, configuration: &Configuration) {
        let limits = &configuration.limits;
        let count = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        let commands_max = u64::from(configuration.performance.write_batch_commands_max);
        for (place, value) in [
            (&self.query_bytes_max, count(limits.query_bytes_max)),
            (
                &self.output_bytes_max,
                count(limits.client_output_bytes_max),
            ),
            (&self.write_batch_commands_max, count(commands_max).max(1)),
            (&self.tracked_keys_max, count(limits.tracked_keys_max)),
        ] {
            place.store(value, Ordering::Relaxed);
        }
        let times = [
            (&self.request_timeout_us, limits.request_timeout),
            (&self.idle_timeout_us, limits.idle_timeout),
        ];
        for (place, value) in times {
            place.store(microseconds(value), Ordering::Relaxed);
        }
    }

    /// How long a request may take.
    #[must_use]
    pub fn request_timeout(&self) -> Option<Duration> {
        time(&self.request_timeout_us)
    }

    /// How long a client may say nothing.
    #[must_use]
    pub fn idle_timeout(&self) -> Option<Duration> {
        time(&self.idle_timeout_us)
    }

    /// Bytes that a client's requests may take that were not run.
    #[must_use]
    pub fn query_bytes_max(&self) -> usize {
        self.query_bytes_max.load(Ordering::Relaxed)
    }

    /// Bytes of replies that may wait for a client.
    #[must_use]
    pub fn output_bytes_max(&self) -> usize {
        self.output_bytes_max.load(Ordering::Relaxed)
    }

    /// Keys that are tracked for clients at most.
    #[must_use]
    pub fn tracked_keys_max(&self) -> usize {
        self.tracked_keys_max.load(Ordering::Relaxed)
    }

    /// The most commands of a pipeline that are committed together.
    #[must_use]
    pub fn write_batch_commands_max(&self) -> usize {
        self.write_batch_commands_max.load(Ordering::Relaxed)
    }
}
