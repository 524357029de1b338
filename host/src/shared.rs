//! What all handles of one open database share, and the threads behind it.
//!
//! [`Shared`] is the engine with what waits around it; the background threads
//! hold it. [`Owner`] is what handles hold: it starts the threads, and when the
//! last handle goes it stops them, makes everything durable and lets the engine
//! go, which releases the data directory.

use crate::commit::CommitQueue;
use crate::error::{Error, Reason, Result};
use crate::helpers::Helpers;
use crate::maintenance::Maintenance;
use crate::options::{Compression, Durability};
use crate::platform;
use crate::slowing::Slowing;
use lightning_core::db::{Engine, Ticket};
use lightning_core::error::{Error as EngineError, Result as EngineResult};
use lightning_platform::MachineGrants;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Numbers of open databases of this process, so that tables are not mixed up.
static DATABASES: AtomicU64 = AtomicU64::new(1);

/// How long a write waits for room before it gives up: an open snapshot may hold
/// what maintenance would have to free.
const ROOM_WAIT: Duration = Duration::from_secs(30);
/// How long one that must not wait is told to stay away when there is no room.
const ROOM_POLL: Duration = Duration::from_millis(2);

/// What a database was given when it was opened, and has for as long as it is open.
#[derive(Clone)]
pub(crate) struct Given {
    pub(crate) compression: Compression,
    pub(crate) grants: MachineGrants,
    /// Threads that merge, at least one.
    pub(crate) merge_threads: u32,
    /// Steps by which they give way to others.
    pub(crate) merge_niceness: u8,
}

/// The engine, and what waits around it.
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) given: Given,
    pub(crate) commits: CommitQueue,
    pub(crate) number: u64,
    pub(crate) directory: PathBuf,
    maintenance: Maintenance,
    pub(crate) helpers: Helpers,
    durability: Durability,
    first_failure: OnceLock<Arc<Error>>,
    background_failure: Mutex<Option<Arc<Error>>>,
    is_background_failing: AtomicBool,
    slowing: Slowing,
    slowdowns: AtomicU64,
    slowdown_nanoseconds: AtomicU64,
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

impl Shared {
    /// The library's error for one of the engine, with the failure that it follows from.
    #[cold]
    pub(crate) fn error(&self, error: EngineError) -> Error {
        let cause = match error {
            EngineError::Poisoned | EngineError::OutcomeUnknown => {
                self.first_failure.get().cloned()
            }
            EngineError::FrontFull | EngineError::LogFull => self.background_failure(),
            _ => None,
        };
        Error::engine(error, &self.directory).caused_by(cause)
    }

    /// Keeps the failure that poisoned the engine, as the cause of what follows.
    pub(crate) fn note_failure(&self, error: EngineError) {
        if self.engine.is_poisoned() && error != EngineError::Poisoned {
            let error = Error::engine(error, &self.directory);
            let _kept_before = self.first_failure.set(Arc::new(error));
        }
    }

    /// Keeps how the last step of maintenance failed; `None`: it didn't.
    pub(crate) fn note_background(&self, failure: Option<EngineError>) {
        let is_failing = self.is_background_failing.load(Ordering::Relaxed);
        if let Some(error) = failure {
            self.note_failure(error);
        } else if !is_failing {
            return;
        }
        let error = failure.map(|error| Arc::new(Error::engine(error, &self.directory)));
        self.is_background_failing
            .store(error.is_some(), Ordering::Relaxed);
        *self
            .background_failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = error;
    }

    /// How the last step of maintenance failed, if it did.
    pub(crate) fn background_failure(&self) -> Option<Arc<Error>> {
        self.background_failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whether a commit waits for a sync of its own.
    pub(crate) fn syncs_each_commit(&self) -> bool {
        self.durability == Durability::Sync
    }

    /// Whether the commit is as safe as the durability promises.
    pub(crate) fn is_acknowledged(&self, ticket: Ticket) -> EngineResult<bool> {
        if self.syncs_each_commit() {
            self.engine.is_durable(ticket)
        } else {
            self.engine.is_written(ticket)
        }
    }

    pub(crate) fn is_all_durable(&self) -> bool {
        let statistics = self.engine.statistics();
        statistics.durable_sequence >= statistics.appended_sequence
    }

    /// Waits until the commit is as safe as the durability promises.
    pub(crate) fn wait(&self, ticket: Ticket) -> Result<()> {
        self.maintenance.note_write();
        self.commits
            .wait(self, ticket)
            .map_err(|error| self.error(error))
    }

    pub(crate) fn note_write(&self) {
        self.maintenance.note_write();
    }

    /// Wakes maintenance where a merge waits, or where the log's segment is half
    /// full, so that the next one is prepared before it is needed.
    pub(crate) fn after_flush(&self) {
        if self.engine.wants_segment() || self.engine.wants_sync() {
            self.maintenance.tell();
        }
    }

    pub(crate) fn maintenance(&self) -> &Maintenance {
        &self.maintenance
    }

    pub(crate) fn wake_maintenance(&self) {
        self.maintenance.wake();
    }

    /// Waits for what was written, where room is short. Who calls it keeps no snapshot: what
    /// merges replace meanwhile would be kept with it.
    pub(crate) fn slow_down(&self) {
        if let Some(wait) = self.slowing.wait(self.engine.front_room()) {
            let started = Instant::now();
            thread::sleep(wait);
            self.note_slowdown(started.elapsed());
        }
    }

    /// Runs `write`, and again after maintenance made room where there was none.
    pub(crate) fn with_room<T>(&self, mut write: impl FnMut() -> EngineResult<T>) -> Result<T> {
        let mut since = None;
        loop {
            match write() {
                Ok(done) => return Ok(done),
                Err(error @ (EngineError::FrontFull | EngineError::LogFull)) => self
                    .wait_for_room(&mut since, error)
                    .map_err(|error| self.error(error))?,
                Err(error) => return Err(self.error(error)),
            }
        }
    }

    /// Runs `write` once, or answers how long to wait before it is tried again where
    /// writers are slowed or room is short.
    pub(crate) fn if_room<T>(
        &self,
        write: impl FnOnce() -> EngineResult<T>,
    ) -> Result<std::result::Result<T, Duration>> {
        let wait = match self.slowing.wait(self.engine.front_room()) {
            Some(wait) => wait,
            None => match write() {
                Ok(done) => return Ok(Ok(done)),
                Err(EngineError::FrontFull | EngineError::LogFull) => {
                    self.maintenance.wake();
                    ROOM_POLL
                }
                Err(error) => return Err(self.error(error)),
            },
        };
        self.note_slowdown(wait);
        Ok(Err(wait))
    }

    /// Parks until maintenance did something about `error`, that was met first
    /// at `since`.
    ///
    /// # Errors
    /// `error` itself where that didn't help for a long time.
    pub(crate) fn wait_for_room(
        &self,
        since: &mut Option<Instant>,
        error: EngineError,
    ) -> EngineResult<()> {
        let started = Instant::now();
        let waited = started.duration_since(*since.get_or_insert(started));
        if waited >= ROOM_WAIT {
            return Err(error);
        }
        self.maintenance.wake_and_wait(ROOM_WAIT - waited);
        self.note_slowdown(started.elapsed());
        Ok(())
    }

    fn note_slowdown(&self, duration: Duration) {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.slowdowns.fetch_add(1, Ordering::Relaxed);
        self.slowdown_nanoseconds
            .fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// Has everything merged into the trees, for at most `timeout`. `false`: something
    /// still stands above them.
    pub(crate) fn checkpoint(&self, timeout: Duration) -> Result<bool> {
        let started = Instant::now();
        loop {
            match self.engine.drain() {
                Ok(false) => return Ok(true),
                Ok(true)
                | Err(EngineError::Busy | EngineError::FrontFull | EngineError::LogFull) => {}
                Err(error) => return Err(self.error(error)),
            }
            if let Some(failure) = self.background_failure() {
                return Err(Error::clone(&failure));
            }
            match timeout.checked_sub(started.elapsed()) {
                Some(left) if !left.is_zero() => self.maintenance.wake_and_wait(left),
                _ => return Ok(false),
            }
        }
    }

    /// How often, and how long together, writes waited for room.
    pub(crate) fn slowdowns(&self) -> (u64, Duration) {
        (
            self.slowdowns.load(Ordering::Relaxed),
            Duration::from_nanos(self.slowdown_nanoseconds.load(Ordering::Relaxed)),
        )
    }
}

/// What every handle of an open database holds.
pub(crate) struct Owner {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Owner {
    /// Puts an engine to work: starts the background threads, unless it was opened
    /// for reading only.
    pub(crate) fn start(
        engine: Engine,
        directory: &Path,
        durability: Durability,
        given: Given,
    ) -> Result<Self> {
        let is_read_only = engine.options().read_only;
        let helpers = given.merge_threads.saturating_sub(1);
        let merge_niceness = given.merge_niceness;
        let shared = Arc::new(Shared {
            engine,
            given,
            commits: CommitQueue::new(),
            number: DATABASES.fetch_add(1, Ordering::Relaxed),
            directory: directory.to_path_buf(),
            maintenance: Maintenance::new(),
            helpers: Helpers::new(if is_read_only { 0 } else { helpers }),
            durability,
            first_failure: OnceLock::new(),
            background_failure: Mutex::new(None),
            is_background_failing: AtomicBool::new(false),
            slowing: Slowing::new(),
            slowdowns: AtomicU64::new(0),
            slowdown_nanoseconds: AtomicU64::new(0),
        });
        let mut owner = Self {
            shared,
            threads: Vec::new(),
        };
        if !is_read_only {
            let give_way = move || {
                if merge_niceness > 0 {
                    platform::give_way(merge_niceness.into());
                }
            };
            owner.spawn("lightning-merge", move |shared| {
                give_way();
                shared.maintenance.serve(&shared);
            })?;
            for index in 0..helpers {
                owner.spawn("lightning-ahead", move |shared| {
                    give_way();
                    shared.helpers.serve(&shared, index);
                })?;
            }
            let period = match durability {
                Durability::Periodic(period) => Some(period),
                Durability::Sync | Durability::Async => None,
            };
            owner.spawn("lightning-flush", move |shared| {
                shared.commits.serve(&shared, period);
            })?;
        }
        Ok(owner)
    }

    fn spawn(&mut self, name: &str, work: impl FnOnce(Arc<Shared>) + Send + 'static) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || work(shared))
            .map_err(|_| Error::new(Reason::NoThread))?;
        self.threads.push(thread);
        Ok(())
    }

    /// Stops the threads, makes everything durable and says so in the log.
    pub(crate) fn shut_down(&mut self) -> Result<()> {
        let threads = std::mem::take(&mut self.threads);
        if threads.is_empty() {
            return Ok(());
        }
        let closed = self
            .shared
            .commits
            .sync(&self.shared)
            .map_err(|error| self.shared.error(error));
        self.shared.commits.stop();
        self.shared.maintenance.stop();
        self.shared.helpers.stop();
        for thread in threads {
            // A waker that a thread of ours called may hold the last handle: that
            // thread ends by itself.
            if thread.thread().id() != thread::current().id() {
                // One that panicked has said so; what is durable stays so.
                let _outcome = thread.join();
            }
        }
        closed?;
        // Everything is durable; the mark is a courtesy to the next open, and what
        // is removed is room that the log doesn't need.
        let engine = &self.shared.engine;
        match engine.mark().and_then(|()| engine.trim_log()) {
            Ok(_) | Err(EngineError::Busy | EngineError::LogFull) => Ok(()),
            Err(error) => Err(self.shared.error(error)),
        }
    }
}

impl std::ops::Deref for Owner {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // Whoever wants to hear of a failure calls `Database::close`. What was
        // acknowledged is as safe without it.
        let _outcome = self.shut_down();
    }
}
