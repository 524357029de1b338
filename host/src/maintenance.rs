//! The thread that merges, prepares the log and gives space back.
//!
//! It calls the engine's `poll_maintenance` while that finds work, and parks when
//! it doesn't. It is woken by who found no room, by a flush after which a merge
//! waits, and by the first write after a rest: from then on it looks in now and
//! then, until writes have paused. Then it drains what is left in memory into the
//! trees, so that reads find one source, marks the log, gives back what of it and of the
//! memory of memtables is not needed, and rests.
//!
//! Where nothing else is to be done it removes what has expired, at most once in a period,
//! and not before the first entry does: for that it wakes from its rest, too. What has been
//! in the log for longer than another period is frozen, so that it becomes a run, though
//! writes go on (`intervals`).
//!
//! Who waits for room waits for a *round*: a step that did something ends one,
//! and so does one that found nothing to do, which may have been done just before.
//!
//! Where storage fails, most often since the device is full, it tries again after a pause,
//! which who waits doesn't cut short: each attempt writes what room there is with zeros, or
//! with pages that nobody will read. The pauses grow while nothing comes of the attempts.

mod intervals;

use crate::shared::Shared;
use intervals::{Checkpoints, Intervals, Sweeps};
use lightning_core::db::Budgeted;
use lightning_core::error::Error as EngineError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often it looks in while writes come.
const LOOK_IN: Duration = Duration::from_millis(500);
/// Writes have paused when so many looks found none: a slow trickle of writes
/// must not be merged one by one.
const QUIET_LOOKS: u32 = 4;
/// What who waits for room sleeps where maintenance has nothing to do: readers
/// hold the room.
const HELD_PAUSE: Duration = Duration::from_millis(1);
/// A pause after another thread was found at work.
const RETRY_PAUSE: Duration = Duration::from_millis(2);
/// The first pause after storage failed; each further one is twice as long, up to the longest.
const FAILURE_PAUSE: Duration = Duration::from_millis(200);
const FAILURE_DOUBLINGS_MAX: u32 = 3;
/// What a step does after which others may have the processor: about a tenth of a
/// millisecond's work.
const SHORT_STEP: Budgeted = Budgeted {
    entries: 256,
    log_bytes: 256 << 10,
};

#[derive(Default)]
struct State {
    is_wanted: bool,
    is_stopping: bool,
    /// Rounds of work that have ended.
    rounds: u64,
    /// Whether the last one found nothing to do.
    found_nothing: bool,
    /// Whether periods are others now.
    is_changed: bool,
}

/// When maintenance works, and who waits for it.
pub(crate) struct Maintenance {
    state: Mutex<State>,
    wanted: Condvar,
    progressed: Condvar,
    /// Set while the thread rests, so that a write costs one load otherwise.
    is_resting: AtomicBool,
    intervals: Intervals,
    /// Set by who found work for it, until its next step begins.
    is_told: AtomicBool,
}

/// What to do after a step.
enum Next {
    Work,
    Pause(Duration),
    /// Storage failed.
    Fail,
    Rest,
}

/// How long to leave storage alone after it failed.
#[derive(Default)]
struct Failures {
    /// What stood when it failed the last time.
    stood: Option<Stood>,
    doublings: u32,
}

/// What tells whether anything came of maintenance: what is appended, what is in runs and
/// trees, and how many states of the page file were published.
type Stood = (u64, u64, u64);

impl Failures {
    /// The pause after a failure that found things as they stand now.
    fn pause(&mut self, stands: Stood) -> Duration {
        self.doublings = if self.stood == Some(stands) {
            (self.doublings + 1).min(FAILURE_DOUBLINGS_MAX)
        } else {
            0
        };
        self.stood = Some(stands);
        FAILURE_PAUSE * (1 << self.doublings)
    }
}

impl Maintenance {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State::default()),
            wanted: Condvar::new(),
            progressed: Condvar::new(),
            is_resting: AtomicBool::new(false),
            intervals: Intervals::new(),
            is_told: AtomicBool::new(false),
        }
    }

    /// Sets how often what has expired is looked for at most.
    pub(crate) fn set_sweep_interval(&self, interval: Duration) {
        self.intervals.set_sweep(interval);
        self.look_again();
    }

    /// Sets after how long what is in the log is written to the page file.
    pub(crate) fn set_checkpoint_interval(&self, interval: Option<Duration>) {
        self.intervals.set_checkpoint(interval);
        self.look_again();
    }

    fn look_again(&self) {
        self.lock().is_changed = true;
        self.wake();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the thread look for work at once.
    pub(crate) fn wake(&self) {
        self.lock().is_wanted = true;
        self.wanted.notify_one();
    }

    /// As [`wake`](Self::wake), for who finds the same work again and again until it is
    /// done: the thread is woken once, and not again before it has begun a step. It would
    /// take the processor from a writer at every commit.
    pub(crate) fn tell(&self) {
        if !self.is_told.swap(true, Ordering::SeqCst) {
            self.wake();
        }
    }

    /// Tells that something was written.
    pub(crate) fn note_write(&self) {
        if self.is_resting.load(Ordering::SeqCst) && self.is_resting.swap(false, Ordering::SeqCst) {
            self.wake();
        }
    }

    /// Wakes the thread and waits until it did something, or `limit` has passed.
    pub(crate) fn wake_and_wait(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        let mut state = self.lock();
        let before = state.rounds;
        state.is_wanted = true;
        self.wanted.notify_one();
        while state.rounds == before && !state.is_stopping {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.progressed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let found_nothing = state.found_nothing;
        drop(state);
        if found_nothing {
            std::thread::sleep(HELD_PAUSE);
        }
    }

    /// Ends [`serve`](Self::serve).
    pub(crate) fn stop(&self) {
        self.lock().is_stopping = true;
        self.wanted.notify_all();
        self.progressed.notify_all();
    }

    /// Works until [`stop`](Self::stop).
    pub(crate) fn serve(&self, shared: &Shared) {
        let mut last_seen = None;
        let mut quiet_looks = 0;
        let mut is_settled = false;
        let mut sweeps = Sweeps::new(self.intervals.sweep());
        let mut checkpoints = Checkpoints::default();
        let mut failures = Failures::default();
        let mut has_time = false;
        loop {
            checkpoints.look(shared, self.intervals.checkpoint());
            // Before it looks: who tells it from now on may have found what it doesn't see.
            // It sees what those found who told it before: it reads what they wrote here.
            let _was_told = self.is_told.swap(false, Ordering::SeqCst);
            let mut next = step(shared, &mut has_time);
            if matches!(next, Next::Rest) && sweeps.step(shared, self.intervals.sweep()) {
                // There is less to keep now, and a superblock that the log doesn't name.
                is_settled = false;
                next = Next::Work;
            }
            let mut state = self.lock();
            if state.is_stopping {
                return;
            }
            if std::mem::take(&mut state.is_changed) {
                sweeps.note_write(self.intervals.sweep());
            }
            // Who waits for room hears of a failure, too: the storage may be full by now.
            if !matches!(next, Next::Pause(_)) {
                state.rounds += 1;
                state.found_nothing = matches!(next, Next::Rest | Next::Fail);
                self.progressed.notify_all();
            }
            match next {
                Next::Work => continue,
                Next::Pause(pause) => {
                    self.park(state, Some(pause));
                    continue;
                }
                Next::Fail => {
                    let statistics = shared.engine.statistics();
                    self.leave_alone(
                        state,
                        failures.pause((
                            statistics.appended_sequence,
                            statistics.merged_sequence,
                            statistics.store.flips,
                        )),
                    );
                    continue;
                }
                Next::Rest if state.is_wanted => {
                    state.is_wanted = false;
                    continue;
                }
                Next::Rest => {}
            }
            let appended = shared.engine.statistics().appended_sequence;
            if last_seen != Some(appended) {
                last_seen = Some(appended);
                quiet_looks = 0;
                is_settled = false;
                sweeps.note_write(self.intervals.sweep());
            }
            if is_settled {
                self.is_resting.store(true, Ordering::SeqCst);
                // A write between the look and the store above went unnoticed.
                if shared.engine.statistics().appended_sequence == appended {
                    self.park(state, sweeps.left());
                }
                self.is_resting.store(false, Ordering::SeqCst);
            } else if quiet_looks < QUIET_LOOKS {
                quiet_looks += 1;
                self.park(state, Some(LOOK_IN));
            } else {
                drop(state);
                is_settled = settle(shared);
            }
        }
    }

    /// Waits for the whole of `pause`, whoever wants work done, unless it is to stop.
    fn leave_alone(&self, mut state: MutexGuard<'_, State>, pause: Duration) {
        let deadline = Instant::now() + pause;
        while !state.is_stopping {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.wanted.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.is_wanted = false;
    }

    /// Waits until somebody wants work done, or `limit` has passed.
    fn park(&self, mut state: MutexGuard<'_, State>, limit: Option<Duration>) {
        if !state.is_wanted && !state.is_stopping {
            state = match limit {
                None => self
                    .wanted
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(limit) => {
                    let waited = self.wanted.wait_timeout(state, limit);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        state.is_wanted = false;
    }
}

/// One step of the engine's work.
///
/// However nice a thread is, the scheduler takes the processor from it only at a tick, every
/// few milliseconds, where who waits has had its share of late. So it offers the processor
/// itself after short steps, as long as merges have time (`has_time`, as the last step said).
fn step(shared: &Shared, has_time: &mut bool) -> Next {
    let budget = if *has_time {
        SHORT_STEP
    } else {
        Budgeted::default()
    };
    let stepped = shared.engine.poll_maintenance(budget);
    match stepped {
        Ok(progress) if progress.worked => {
            shared.helpers.tell(shared);
            shared.note_background(None);
            *has_time = progress.has_time && shared.given.merge_niceness > 0;
            if *has_time {
                std::thread::yield_now();
            }
            Next::Work
        }
        Ok(progress) if progress.wants_sync => match shared.commits.sync_once(shared) {
            Ok(()) => Next::Work,
            // The next step makes the room that the flush lacked.
            Err(EngineError::Busy | EngineError::LogFull) => Next::Pause(RETRY_PAUSE),
            Err(error) => {
                shared.note_background(Some(error));
                Next::Fail
            }
        },
        // It waits for readers, or for the log.
        Ok(progress) if progress.is_behind => Next::Pause(RETRY_PAUSE),
        Ok(_) => {
            shared.note_background(None);
            Next::Rest
        }
        Err(EngineError::Busy) => Next::Pause(RETRY_PAUSE),
        Err(error) => {
            shared.note_background(Some(error));
            Next::Fail
        }
    }
}

/// When writes have paused: freezes what is in memory, begins a short segment, so that
/// all others are free when that is merged, and has everything merged into the trees;
/// when nothing is left gives back what files and empty memtables don't need, and marks the
/// log. `true`: nothing is left to do.
fn settle(shared: &Shared) -> bool {
    let engine = &shared.engine;
    let froze = engine.freeze_front();
    if let Ok(true) = froze
        && let Err(error) = engine.renew_log()
    {
        // A log that stays long is no harm.
        shared.note_failure(error);
    }
    match froze.and_then(|_| engine.drain()) {
        Ok(true) => false,
        Ok(false) if trims(shared) => false,
        Ok(false) => match engine
            .mark()
            .and_then(|()| engine.trim_log())
            .and_then(|_| engine.rest())
        {
            Ok(_) => true,
            Err(EngineError::Busy | EngineError::LogFull) => false,
            Err(error) => {
                shared.note_failure(error);
                true
            }
        },
        Err(EngineError::FrontFull) => false,
        Err(_) => true,
    }
}

/// Gives a step of what the page file doesn't need back to the device. `true`: there may
/// be more.
fn trims(shared: &Shared) -> bool {
    match shared.engine.trim_pages() {
        Ok(more) => more,
        Err(EngineError::Busy) => true,
        Err(error) => {
            // A file that stays long is no harm.
            shared.note_failure(error);
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_while_nothing_comes_of_attempts() {
        let mut failures = Failures::default();
        let mut pauses = |stands| failures.pause(stands).as_millis();
        let stuck: Vec<_> = (0..6).map(|_| pauses((7, 3, 2))).collect();
        assert_eq!(stuck, [200, 400, 800, 1_600, 1_600, 1_600]);
        // A commit found room, a run was published.
        assert_eq!(pauses((8, 3, 2)), 200);
        assert_eq!(pauses((8, 3, 2)), 400);
        assert_eq!(pauses((8, 8, 3)), 200);
    }
}
