//! Lines about slow commands: which, whose and how long, not with what.
//!
//! A command's duration is that of running it, as in Redis: neither waiting for the
//! client nor for the disk is part of it. What a client waited for besides, with a batch
//! that wrote, is told of the batch in a line of its own, by parts: for the other clients'
//! writes before it, and for its own to be durable.

use crate::client::Client;
use crate::commands::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines within a second; where there would be more, they are counted instead.
const LINES_PER_SECOND: u32 = 10;

/// Logs slow commands, so that many of them don't fill the log.
#[derive(Debug)]
pub struct SlowLines {
    /// From how many nanoseconds on a command is slow; the most of all for never.
    threshold_ns: AtomicU64,
    second: Mutex<Second>,
}

impl Default for SlowLines {
    fn default() -> Self {
        Self {
            threshold_ns: AtomicU64::new(u64::MAX),
            second: Mutex::default(),
        }
    }
}

/// How long a batch that wrote took.
#[derive(Debug, Clone, Copy)]
pub struct CommitTimes {
    /// All in all, until it was durable.
    pub took: Duration,
    /// Until the batches of others before it had committed.
    pub writer_wait: Duration,
    /// From its last command until it was durable.
    pub durable_wait: Duration,
}

#[derive(Debug, Default)]
struct Second {
    began: Option<Instant>,
    lines: u32,
    left_out: u64,
}

impl Second {
    /// Whether a line may be written now, and how many were left out before it.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        let is_over = |began: Instant| now.duration_since(began) >= Duration::from_secs(1);
        if self.began.is_none_or(is_over) {
            self.began = Some(now);
            self.lines = 0;
        }
        if self.lines >= LINES_PER_SECOND {
            self.left_out += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

impl SlowLines {
    /// From how long on a command is slow, from here on; `None` for never.
    pub fn set_threshold(&self, threshold: Option<Duration>) {
        let nanoseconds = threshold.map_or(u64::MAX, nanoseconds);
        self.threshold_ns.store(nanoseconds, Ordering::Relaxed);
    }

    /// Whether something that took so long is to be logged now.
    fn admits(&self, took: Duration) -> bool {
        if nanoseconds(took) < self.threshold_ns.load(Ordering::Relaxed) {
            return false;
        }
        let admitted = self
            .second
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .admit(Instant::now());
        if let Some(left_out) = admitted.filter(|left_out| *left_out > 0) {
            tracing::warn!(count = left_out, "more commands were slow than were logged");
        }
        admitted.is_some()
    }

    /// Logs a batch that wrote, if it took long until it was durable: the name of its
    /// first command, how many commands they were, and what they waited for.
    pub fn note_commit(
        &self,
        client: &Client,
        command: &'static str,
        commands: usize,
        times: &CommitTimes,
    ) {
        if self.admits(times.took) {
            tracing::warn!(
                command,
                commands,
                duration_us = microseconds(times.took),
                writer_wait_us = microseconds(times.writer_wait),
                durable_wait_us = microseconds(times.durable_wait),
                client = client.shared.id,
                database = client.database,
                "a commit was slow"
            );
        }
    }

    /// Logs a command if it was slow.
    pub fn note(&self, client: &Client, command: &Command, took: Duration) {
        if !self.admits(took) {
            return;
        }
        let duration_us = microseconds(took);
        tracing::warn!(
            command = command.name,
            duration_us,
            client = client.shared.id,
            database = client.database,
            "a command was slow"
        );
    }
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// In nanoseconds, less than the number that stands for never.
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).map_or(u64::MAX - 1, |count| count.min(u64::MAX - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_so_many_lines() {
        let mut second = Second::default();
        let now = Instant::now();
        let admitted = (0..25).filter(|_| second.admit(now).is_some()).count();
        assert_eq!(admitted, 10);
        let later = now + Duration::from_secs(1);
        assert_eq!(second.admit(later), Some(15));
        assert_eq!(second.admit(later), Some(0));
    }
}
