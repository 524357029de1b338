//! What is done now and then: removing what has expired, and writing what is in the log to
//! the page file though writes go on.

use crate::shared::{Shared, now_ms};
use lightning_core::error::Error as EngineError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often what has expired is looked for, unless another period is set.
const SWEEP_USUAL: Duration = Duration::from_secs(60);
/// How often it is looked whether a checkpoint is due, where steps follow one another.
const CHECKPOINT_LOOK: Duration = Duration::from_millis(100);
/// Stands for no period.
const NEVER: u64 = u64::MAX;

/// Periods, which may change at any time.
pub(super) struct Intervals {
    sweep_ms: AtomicU64,
    checkpoint_ms: AtomicU64,
}

impl Intervals {
    pub(super) fn new() -> Self {
        Self {
            sweep_ms: AtomicU64::new(milliseconds(SWEEP_USUAL)),
            checkpoint_ms: AtomicU64::new(NEVER),
        }
    }

    pub(super) fn sweep(&self) -> Duration {
        Duration::from_millis(self.sweep_ms.load(Ordering::Relaxed))
    }

    pub(super) fn set_sweep(&self, interval: Duration) {
        let interval = milliseconds(interval).max(1);
        self.sweep_ms.store(interval, Ordering::Relaxed);
    }

    pub(super) fn checkpoint(&self) -> Option<Duration> {
        let interval = self.checkpoint_ms.load(Ordering::Relaxed);
        (interval != NEVER).then(|| Duration::from_millis(interval))
    }

    pub(super) fn set_checkpoint(&self, interval: Option<Duration>) {
        let interval = interval.map_or(NEVER, |interval| milliseconds(interval).max(1));
        self.checkpoint_ms.store(interval, Ordering::Relaxed);
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(NEVER)
}

/// When to look for what has expired.
pub(super) struct Sweeps {
    /// None where nothing in the trees ever expires.
    due: Option<Instant>,
}

impl Sweeps {
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            due: Instant::now().checked_add(interval),
        }
    }

    /// What is written may expire.
    pub(super) fn note_write(&mut self, interval: Duration) {
        let soon = Instant::now().checked_add(interval);
        self.due = match (self.due, soon) {
            (Some(due), Some(soon)) => Some(due.min(soon)),
            (due, soon) => due.or(soon),
        };
    }

    /// How long there is nothing to look for; none for ever.
    pub(super) fn left(&self) -> Option<Duration> {
        self.due
            .map(|due| due.saturating_duration_since(Instant::now()))
    }

    /// Removes some of what has expired, where that is due. Answers whether it did.
    pub(super) fn step(&mut self, shared: &Shared, interval: Duration) -> bool {
        if self.left() != Some(Duration::ZERO) {
            return false;
        }
        let now_ms = now_ms();
        match shared.engine.sweep(now_ms) {
            Ok(swept) if swept.worked => return true,
            Ok(swept) => {
                self.due = swept.earliest_expiry_ms.and_then(|expiry_ms| {
                    let left = Duration::from_millis(expiry_ms.saturating_sub(now_ms));
                    Instant::now().checked_add(left.max(interval))
                });
            }
            Err(error) => {
                self.due = Instant::now().checked_add(interval);
                if error != EngineError::Busy {
                    shared.note_failure(error);
                }
            }
        }
        false
    }
}

/// When what is in the log has been there for long enough.
#[derive(Default)]
pub(super) struct Checkpoints {
    looked: Option<Instant>,
    /// The last commit that was seen, and when: what is behind it came later.
    seen: Option<(u64, Instant)>,
}

impl Checkpoints {
    /// Freezes what is in memory where some of it has been in the log for `interval`: steps
    /// of maintenance then make a run of it, and its log is free.
    pub(super) fn look(&mut self, shared: &Shared, interval: Option<Duration>) {
        let Some(interval) = interval else {
            self.seen = None;
            return;
        };
        let now = Instant::now();
        let pause = CHECKPOINT_LOOK.min(interval);
        if self.looked.is_some_and(|looked| now < looked + pause) {
            return;
        }
        self.looked = Some(now);
        let statistics = shared.engine.statistics();
        match self.seen {
            // All that there was then is in the page file.
            Some((sequence, _)) if statistics.merged_sequence >= sequence => self.seen = None,
            Some((_, since)) if now.saturating_duration_since(since) < interval => return,
            Some(_) => match shared.engine.freeze_front() {
                Ok(_) => {}
                // It is being written already.
                Err(EngineError::FrontFull) => return,
                Err(error) => {
                    shared.note_failure(error);
                    return;
                }
            },
            None => {}
        }
        let appended = statistics.appended_sequence;
        if appended > statistics.merged_sequence {
            self.seen = Some((appended, now));
        }
    }
}
