//! Group commit: one flush for all who wait.
//!
//! # Protocol
//! A committer puts its sequence among the waiting and then, in a loop: leaves
//! when its commit is acknowledged; becomes the *leader* when nobody flushes;
//! otherwise parks until a flush ends. The leader flushes once for all, with
//! the lock released, and notes how long it took and how many it released.
//!
//! A leader that flushed at once would find only those who arrived during the
//! last flush: half of N threads, for ever. So it first waits for as many as
//! there were at the end of the last flush, released or not, but no longer than
//! a quarter of that flush's time since then. A single thread never waits.
//!
//! Where commits don't wait for a sync, one runs beside the flushes: its leader
//! leaves the place of the one who flushes to others, and wakes them only at its end.
//!
//! Futures have nobody to lead for them: a thread of the database does, which
//! sleeps while there are none. It also makes durable what `Periodic` owes.
//!
//! A waker is another's code, and may drop tickets or the database itself: it is
//! woken and dropped with the lock released.
//!
//! The engine answers `Busy` while maintenance prepares the log, and `LogFull`
//! until it has; both pass, and a leader waits for them in short steps.

use crate::platform;
use crate::shared::Shared;
use lightning_core::db::Ticket;
use lightning_core::error::{Error as EngineError, Result as EngineResult};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

/// How long a leader that finds the log in use looks again before it pauses. Between two
/// steps of a merge maintenance has the log for less than that, and a sleep takes 150
/// microseconds.
const BUSY_SPIN: Duration = Duration::from_micros(10);
/// A pause of a leader that found the log in use for longer.
const BUSY_PAUSE: Duration = Duration::from_micros(100);

/// A write that takes longer than this, and in which the thread has waited, has waited for
/// the device, and for so long the thread for futures does the writing.
const WRITE_QUICK: Duration = Duration::from_millis(2);
const WRITE_SLOW_PAUSE: Duration = Duration::from_secs(1);

/// Whether a leader waits for its cohort.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gather {
    Yes,
    No,
}

struct FutureWaiter {
    number: u64,
    sequence: u64,
    waker: Waker,
}

struct State {
    is_flushing: bool,
    /// A sync runs beside the flushes.
    is_syncing: bool,
    is_gathering: bool,
    /// How many wait for a flush to end.
    parked: usize,
    /// The thread for futures sleeps until it is woken.
    is_serving_idle: bool,
    /// Until then no write is made by who must not wait.
    slow_until: Option<Instant>,
    /// Sequences of committers that no flush has released yet.
    waiting: Vec<u64>,
    futures: Vec<FutureWaiter>,
    next_future: u64,
    /// How many there were at the end of the last flush.
    cohort: usize,
    last_flush: Duration,
    last_end: Option<Instant>,
    last_sync: Instant,
    is_stopping: bool,
}

impl State {
    fn present(&self) -> usize {
        self.waiting.len() + self.futures.len()
    }
}

/// Who waits for which commit, and who flushes.
pub(crate) struct CommitQueue {
    state: Mutex<State>,
    /// A flush has ended.
    released: Condvar,
    /// The leader's cohort is complete.
    arrived: Condvar,
    /// The thread for futures has work.
    work: Condvar,
}

impl CommitQueue {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                is_flushing: false,
                is_syncing: false,
                is_gathering: false,
                parked: 0,
                is_serving_idle: false,
                slow_until: None,
                waiting: Vec::new(),
                futures: Vec::new(),
                next_future: 0,
                cohort: 0,
                last_flush: Duration::ZERO,
                last_end: None,
                last_sync: Instant::now(),
                is_stopping: false,
            }),
            released: Condvar::new(),
            arrived: Condvar::new(),
            work: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a flush ends, or `limit` has passed.
    fn park<'q>(
        &'q self,
        mut state: MutexGuard<'q, State>,
        limit: Option<Duration>,
    ) -> MutexGuard<'q, State> {
        state.parked += 1;
        state = match limit {
            None => self
                .released
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner),
            Some(limit) => {
                let waited = self.released.wait_timeout(state, limit);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        state.parked -= 1;
        state
    }

    /// Waits until the commit is acknowledged.
    pub(crate) fn wait(&self, shared: &Shared, ticket: Ticket) -> EngineResult<()> {
        if shared.is_acknowledged(ticket)? {
            return Ok(());
        }
        let mut since = None;
        let mut state = self.lock();
        state.waiting.push(ticket.sequence);
        self.announce(&state);
        let outcome = loop {
            match shared.is_acknowledged(ticket) {
                Ok(false) => {}
                Ok(true) => break Ok(()),
                Err(error) => break Err(error),
            }
            if state.is_flushing {
                state = self.park(state, None);
                continue;
            }
            let flushed;
            (state, flushed) = self.lead(shared, state, shared.syncs_each_commit(), Gather::Yes);
            match flushed {
                Ok(()) => {}
                Err(EngineError::Busy) => {
                    state = self.park(state, Some(BUSY_PAUSE));
                }
                Err(error @ EngineError::LogFull) => {
                    drop(state);
                    let waited = shared.wait_for_room(&mut since, error);
                    state = self.lock();
                    if let Err(error) = waited {
                        break Err(error);
                    }
                }
                // The engine knows best what became of this commit.
                Err(error) => {
                    break match shared.is_acknowledged(ticket) {
                        Ok(true) => Ok(()),
                        Ok(false) => Err(error),
                        Err(unknown) => Err(unknown),
                    };
                }
            }
        };
        if let Some(index) = state.waiting.iter().position(|one| *one == ticket.sequence) {
            state.waiting.swap_remove(index);
        }
        outcome
    }

    fn announce(&self, state: &State) {
        if state.is_gathering && state.present() >= state.cohort {
            self.arrived.notify_one();
        }
    }

    /// Gathers the cohort, where it is to, and flushes once. Called while nobody flushes, nor syncs where
    /// a sync is wanted.
    fn lead<'q>(
        &'q self,
        shared: &Shared,
        mut state: MutexGuard<'q, State>,
        sync: bool,
        gather: Gather,
    ) -> (MutexGuard<'q, State>, EngineResult<()>) {
        let is_beside = sync && !shared.syncs_each_commit();
        if is_beside {
            state.is_syncing = true;
        } else {
            state.is_flushing = true;
            if gather == Gather::Yes {
                state = self.gather(state);
            }
        }
        drop(state);
        let started = Instant::now();
        let mut flushed = shared.engine.flush_step(sync);
        while flushed == Err(EngineError::Busy) && started.elapsed() < BUSY_SPIN {
            std::hint::spin_loop();
            flushed = shared.engine.flush_step(sync);
        }
        let ended = Instant::now();
        state = self.lock();
        if is_beside {
            state.is_syncing = false;
        } else {
            state.is_flushing = false;
        }
        if flushed != Err(EngineError::Busy) && !is_beside {
            state.last_flush = ended - started;
            state.last_end = Some(ended);
            state.cohort = state.present();
        }
        if sync && flushed.is_ok() {
            state.last_sync = ended;
        }
        let is_done = |sequence| shared.is_acknowledged(Ticket { sequence }) != Ok(false);
        state.waiting.retain(|sequence| !is_done(*sequence));
        let mut done = Vec::new();
        let mut index = 0;
        while let Some(future) = state.futures.get(index) {
            if is_done(future.sequence) {
                done.push(state.futures.swap_remove(index));
            } else {
                index += 1;
            }
        }
        if state.parked > 0 {
            // A call of the system even where nobody waits.
            self.released.notify_all();
        }
        if !done.is_empty() {
            drop(state);
            for future in done {
                future.waker.wake();
            }
            state = self.lock();
        }
        match flushed {
            Ok(_) => {
                shared.after_flush();
                (state, Ok(()))
            }
            Err(error) => {
                if !matches!(error, EngineError::Busy | EngineError::LogFull) {
                    shared.note_failure(error);
                }
                (state, Err(error))
            }
        }
    }

    /// Waits for the cohort of the last flush, at most a quarter of its time.
    fn gather<'q>(&'q self, mut state: MutexGuard<'q, State>) -> MutexGuard<'q, State> {
        let Some(last_end) = state.last_end else {
            return state;
        };
        let deadline = last_end + state.last_flush / 4;
        while state.present() < state.cohort {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state.is_gathering = true;
            (state, _) = self
                .arrived
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.is_gathering = false;
        state
    }

    /// Makes everything appended durable.
    pub(crate) fn sync(&self, shared: &Shared) -> EngineResult<()> {
        let wanted = Ticket {
            sequence: shared.engine.statistics().appended_sequence,
        };
        let mut since = None;
        let mut state = self.lock();
        loop {
            if shared.engine.is_durable(wanted)? {
                return Ok(());
            }
            if state.is_flushing || state.is_syncing {
                state = self.park(state, None);
                continue;
            }
            let flushed;
            (state, flushed) = self.lead(shared, state, true, Gather::Yes);
            match flushed {
                Ok(()) => {}
                Err(EngineError::Busy) => {
                    state = self.park(state, Some(BUSY_PAUSE));
                }
                Err(error @ EngineError::LogFull) => {
                    drop(state);
                    shared.wait_for_room(&mut since, error)?;
                    state = self.lock();
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// One flush for maintenance, unless one is under way already. Never waits
    /// for room in the log: making it is maintenance's own work.
    pub(crate) fn sync_once(&self, shared: &Shared) -> EngineResult<()> {
        let mut state = self.lock();
        while state.is_flushing || state.is_syncing {
            state = self.park(state, None);
        }
        let (_state, flushed) = self.lead(shared, state, true, Gather::Yes);
        flushed
    }

    /// Writes what was appended on the thread that calls, where commits don't wait for a
    /// sync, nobody flushes just now, and such a write was quick the last time: then it
    /// went to the system's memory and waited for nothing. Answers whether the commit is
    /// acknowledged.
    pub(crate) fn try_write(&self, shared: &Shared, ticket: Ticket) -> EngineResult<bool> {
        if shared.is_acknowledged(ticket)? {
            return Ok(true);
        }
        if shared.syncs_each_commit() {
            return Ok(false);
        }
        let state = self.lock();
        let slow_until = state.slow_until.filter(|until| Instant::now() < *until);
        if state.is_flushing || slow_until.is_some() {
            return Ok(false);
        }
        let waits = platform::waits_of_this_thread();
        let started = Instant::now();
        let (mut state, flushed) = self.lead(shared, state, false, Gather::No);
        // One that only lost the processor meanwhile has not waited for the device.
        let is_slow = started.elapsed() > WRITE_QUICK
            && (waits.is_none() || waits != platform::waits_of_this_thread());
        if is_slow {
            state.slow_until = Some(Instant::now() + WRITE_SLOW_PAUSE);
        }
        drop(state);
        match flushed {
            // The thread for futures waits for what passes.
            Ok(()) | Err(EngineError::Busy | EngineError::LogFull) => {}
            Err(error) => return Err(error),
        }
        shared.is_acknowledged(ticket)
    }

    /// Notes that `waker` is to be woken when the commit is acknowledged, in the
    /// place of the waker that `number` was given for. `None`: it is acknowledged.
    pub(crate) fn register(
        &self,
        shared: &Shared,
        ticket: Ticket,
        number: Option<u64>,
        waker: &Waker,
    ) -> EngineResult<Option<u64>> {
        let mut state = self.lock();
        // Under the lock: who flushes looks at the futures only after it took it.
        if shared.is_acknowledged(ticket)? {
            return Ok(None);
        }
        let known = number.and_then(|number| {
            state
                .futures
                .iter_mut()
                .find(|future| future.number == number)
        });
        if let Some(future) = known {
            let old = std::mem::replace(&mut future.waker, waker.clone());
            drop(state);
            drop(old);
            return Ok(number);
        }
        let number = state.next_future;
        state.next_future += 1;
        state.futures.push(FutureWaiter {
            number,
            sequence: ticket.sequence,
            waker: waker.clone(),
        });
        self.announce(&state);
        if state.is_serving_idle {
            // A call of the system even where nobody sleeps.
            self.work.notify_one();
        }
        Ok(Some(number))
    }

    /// Takes back what [`register`](Self::register) gave `number` for.
    pub(crate) fn forget(&self, number: u64) {
        let mut state = self.lock();
        let index = state
            .futures
            .iter()
            .position(|future| future.number == number);
        let forgotten = index.map(|index| state.futures.swap_remove(index));
        drop(state);
        drop(forgotten);
    }

    /// Ends [`serve`](Self::serve).
    pub(crate) fn stop(&self) {
        self.lock().is_stopping = true;
        self.work.notify_all();
    }

    /// Leads for futures and, each `period`, makes durable what was only written;
    /// until [`stop`](Self::stop).
    pub(crate) fn serve(&self, shared: &Shared, period: Option<Duration>) {
        let mut state = self.lock();
        while !state.is_stopping {
            if state.is_flushing {
                state = self.park(state, None);
                continue;
            }
            let sync_is_due = period
                .map(|period| period.saturating_sub(state.last_sync.elapsed()))
                .is_some_and(|left| left.is_zero());
            if sync_is_due && state.is_syncing {
                state = self.park(state, None);
                continue;
            }
            if sync_is_due && !shared.is_all_durable() {
                let flushed;
                (state, flushed) = self.lead(shared, state, true, Gather::Yes);
                state = self.pause_after(shared, state, flushed);
                continue;
            }
            if sync_is_due {
                state.last_sync = Instant::now();
            }
            if !state.futures.is_empty() {
                let flushed;
                (state, flushed) =
                    self.lead(shared, state, shared.syncs_each_commit(), Gather::Yes);
                state = self.pause_after(shared, state, flushed);
                continue;
            }
            let left = period.map(|period| period.saturating_sub(state.last_sync.elapsed()));
            state = self.sleep(state, left);
        }
    }

    /// The thread for futures sleeps until there is work, or `limit` has passed.
    fn sleep<'q>(
        &'q self,
        mut state: MutexGuard<'q, State>,
        limit: Option<Duration>,
    ) -> MutexGuard<'q, State> {
        state.is_serving_idle = true;
        state = match limit {
            None => self
                .work
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner),
            Some(limit) => {
                let waited = self.work.wait_timeout(state, limit);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        state.is_serving_idle = false;
        state
    }

    fn pause_after<'q>(
        &'q self,
        shared: &Shared,
        state: MutexGuard<'q, State>,
        flushed: EngineResult<()>,
    ) -> MutexGuard<'q, State> {
        let pause = match flushed {
            Ok(()) => return state,
            Err(EngineError::Busy) => BUSY_PAUSE,
            Err(EngineError::LogFull) => {
                shared.wake_maintenance();
                Duration::from_millis(1)
            }
            // Poisoned: nothing to do but to wait for the end.
            Err(_) => Duration::from_millis(100),
        };
        self.sleep(state, Some(pause))
    }
}
