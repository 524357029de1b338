//! One life: the engine on its storage, its clients, the clock, and the model beside it.
//!
//! All of it is one thread and follows from the list of operations, so that a life can be
//! lived again. What the engine answers is compared with the model at once; an error is
//! accepted only where something that was done to it explains it ([`World::excuse`]).

use std::sync::Arc;

use lightning_core::db::{Budgeted, Engine, OpenInput, Transaction};
use lightning_core::error::{Error, Limit};
use lightning_core::txn::Snapshot;
use lightning_platform::{IoErrorKind, Platform};
use lightning_sim::{Habit, SimMemory, SimStorage, SimWait, UnfaithfulStorage, mix};

use crate::model::{Model, Read, Write};
use crate::plan::{Op, PowerCut, Setup};
use crate::reading::{Reading, Unread};

/// Why an operation didn't come to its end.
#[derive(Debug)]
pub enum Stop {
    /// The power is gone.
    Power,
    /// The engine takes no more writes, after a fault.
    Poisoned,
    /// Damage that was done in silence was found.
    Found,
    /// Something is as it must not be.
    Wrong(String),
}

pub type Step<T = u64> = Result<T, Stop>;

pub fn wrong<T>(reason: impl Into<String>) -> Step<T> {
    Err(Stop::Wrong(reason.into()))
}

/// A transaction as its client knows it.
pub struct Open {
    pub transaction: Transaction,
    pub moment: u64,
    pub now_ms: u64,
    pub is_serializable: bool,
    pub writes: Vec<Write>,
    pub reads: Vec<Read>,
}

/// A client's snapshot.
pub struct Kept {
    pub snapshot: Snapshot,
    pub moment: u64,
}

#[derive(Default)]
pub struct Client {
    pub open: Option<Open>,
    pub kept: Option<Kept>,
}

/// What came about in a life, or in all of them.
#[derive(Default, Clone, Copy)]
pub struct Counts {
    pub operations: u64,
    pub commits: u64,
    pub crashes: u64,
    pub faults: u64,
    pub damages: u64,
    pub refused: u64,
    pub conflicts: u64,
    /// Pages and large values that were moved out of blocks that are mostly dead.
    pub evacuated: u64,
}

impl Counts {
    pub fn add(&mut self, other: &Self) {
        self.operations += other.operations;
        self.commits += other.commits;
        self.crashes += other.crashes;
        self.faults += other.faults;
        self.damages += other.damages;
        self.refused += other.refused;
        self.conflicts += other.conflicts;
        self.evacuated += other.evacuated;
    }
}

/// What a life came to.
pub struct Outcome {
    pub verdict: Result<(), String>,
    pub trace: u64,
    pub counts: Counts,
}

pub struct World<'o> {
    pub setup: Setup,
    pub habit: Option<Habit>,
    pub ops: &'o [Op],
    pub next: usize,
    pub storage: UnfaithfulStorage,
    pub engine: Arc<Engine>,
    pub model: Model,
    pub clients: Vec<Client>,
    pub now_ms: u64,
    /// The latest time that the engine was ever told.
    pub latest_ms: u64,
    /// Snapshots have this time at least.
    pub floor_ms: u64,
    /// What the engine says is durable, and what it said before that.
    pub durable: u64,
    pub durable_before: u64,
    /// What it said before that.
    pub durable_earlier: u64,
    /// Survives the process.
    pub written: u64,
    /// Counts openings: what was open before one is no more.
    pub incarnation: u64,
    pub power_cut: Option<PowerCut>,
    /// The moment before a load of which nobody knows whether it is there.
    pub in_doubt: Option<u64>,
    /// Whether a call was to fail since the engine was opened.
    pub has_fault: bool,
    pub is_full: bool,
    /// Whether the storage was told to lie.
    pub lies: bool,
    /// Whether it did, on a storage before this one.
    pub lied: bool,
    /// Whether a write landed before its place, on a storage before this one.
    pub landed_before: bool,
    pub counts: Counts,
    pub trace: u64,
    pub history: Option<Vec<String>>,
}

pub fn platform(storage: UnfaithfulStorage, memory: &SimMemory) -> Platform {
    Platform {
        storage: Arc::new(storage),
        memory: Arc::new(memory.clone()),
        wait: Arc::new(SimWait),
        codec: None,
        cipher: None,
    }
}

pub fn input(seed: u64, now_ms: u64) -> OpenInput {
    let mut entropy = [0; 48];
    lightning_sim::Random::new(seed).fill(&mut entropy);
    OpenInput {
        entropy,
        now_ms,
        checksum: None,
    }
}

/// The memory of a test is never short, unless that is what is tested.
pub fn memory() -> SimMemory {
    SimMemory::new(1 << 30)
}

impl<'o> World<'o> {
    /// A new database on a new device.
    pub fn new(
        setup: &Setup,
        habit: Option<Habit>,
        seed: u64,
        ops: &'o [Op],
        keeps_history: bool,
    ) -> Result<Self, String> {
        let storage = UnfaithfulStorage::new(SimStorage::new(setup.sim), habit, seed);
        let now_ms = 1_000;
        let created = Engine::create(
            &platform(storage.clone(), &memory()),
            &setup.options,
            input(seed, now_ms),
        );
        let engine = created.map_err(|error| format!("creating it: {error}"))?;
        let mut world = Self {
            setup: *setup,
            habit,
            ops,
            next: 0,
            storage,
            engine: Arc::new(engine),
            model: Model::default(),
            clients: Vec::new(),
            now_ms,
            latest_ms: now_ms,
            floor_ms: 0,
            durable: 0,
            durable_before: 0,
            durable_earlier: 0,
            written: 0,
            incarnation: 0,
            power_cut: None,
            in_doubt: None,
            has_fault: false,
            is_full: false,
            lies: false,
            lied: false,
            landed_before: false,
            counts: Counts::default(),
            trace: mix(seed),
            history: keeps_history.then(Vec::new),
        };
        world
            .clients
            .resize_with(crate::plan::CLIENTS as usize, Client::default);
        world.floor_ms = world.probe_floor().map_err(|stop| format!("{stop:?}"))?;
        Ok(world)
    }

    /// Lives it to its end.
    pub fn live(mut self) -> (Outcome, Vec<String>) {
        let verdict = match self.live_on() {
            Ok(()) | Err(Stop::Found) => Ok(()),
            Err(Stop::Wrong(reason)) => Err(reason),
            Err(stop) => Err(format!("it ended with {stop:?}")),
        };
        self.count_evacuated();
        let outcome = Outcome {
            verdict,
            trace: self.trace,
            counts: self.counts,
        };
        (outcome, self.history.take().unwrap_or_default())
    }

    /// Counts what the engine did that is open, before another takes its place.
    pub fn count_evacuated(&mut self) {
        self.counts.evacuated += self.engine.statistics().store.evacuated_pages;
    }

    fn live_on(&mut self) -> Step<()> {
        while self.next < self.ops.len() {
            self.step()?;
        }
        while self.counts.crashes < crate::plan::CRASHES_MIN {
            let seed = mix(self.incarnation);
            let modes = lightning_sim::CrashMode::EVERY;
            self.crash(PowerCut {
                mode: modes[(seed % 7) as usize],
                seed,
            })?;
        }
        self.finish()
    }

    /// Does the next operations, as long as the engine is the same.
    pub fn advance(&mut self, operations: u8) -> Step<()> {
        let incarnation = self.incarnation;
        for _ in 0..operations {
            if self.next >= self.ops.len() || self.incarnation != incarnation {
                break;
            }
            self.step()?;
        }
        Ok(())
    }

    /// Does one operation, and whatever follows from it.
    fn step(&mut self) -> Step<()> {
        let index = self.next;
        let ops = self.ops;
        let Some(op) = ops.get(index) else {
            return Ok(());
        };
        self.next += 1;
        self.counts.operations += 1;
        self.note_op(index, op);
        let done = self.perform(op);
        let is_powered = self.storage.inner().has_power();
        let answer = match done {
            _ if !is_powered => {
                if let Err(Stop::Wrong(reason)) = done {
                    return Err(Stop::Wrong(self.at(index, &reason)));
                }
                self.after_power_cut()?;
                1
            }
            Ok(answer) => answer,
            Err(Stop::Power | Stop::Poisoned) => {
                self.after_poison()?;
                2
            }
            Err(Stop::Wrong(reason)) => return Err(Stop::Wrong(self.at(index, &reason))),
            Err(Stop::Found) => {
                self.mix_in(index, 3);
                return Err(Stop::Found);
            }
        };
        self.note_watermarks()?;
        self.mix_in(index, answer);
        Ok(())
    }

    /// The operation that a reason belongs to, told once.
    fn at(&self, index: usize, reason: &str) -> String {
        if reason.starts_with("operation ") {
            return reason.to_owned();
        }
        format!("operation {index} {:?}: {reason}", self.ops[index])
    }

    fn mix_in(&mut self, index: usize, answer: u64) {
        let calls = self.storage.inner().call_count();
        self.trace = mix(self.trace ^ mix(index as u64 ^ answer.rotate_left(20)) ^ calls);
        self.note(|| format!("     operation {index} answered {answer:x}"));
    }

    fn note_op(&mut self, index: usize, op: &Op) {
        self.note(|| format!("{index:5} {op:?}"));
    }

    /// Adds a line to the history, where one is kept.
    pub fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(history) = &mut self.history {
            history.push(line());
        }
    }

    /// What the engine says is safe must never be more than was committed, nor fall.
    pub fn note_watermarks(&mut self) -> Step<()> {
        let durable = self.engine.statistics().durable_sequence;
        if durable > self.model.last_sequence() {
            return wrong("what was never committed is durable");
        }
        if durable < self.durable {
            return wrong("what is durable has become less");
        }
        if durable > self.durable {
            self.durable_earlier = self.durable_before;
            self.durable_before = self.durable;
            self.durable = durable;
        }
        self.written = self.written.max(durable);
        Ok(())
    }

    /// Whether a write was lost, or landed elsewhere, and nobody was told.
    pub fn has_lied(&self) -> bool {
        self.lied || self.storage.silent_count() > 0
    }

    /// The least commit that must be there though the storage has lied. Nothing tells a last
    /// flush that was lost from one that a power cut took; and where it landed before its
    /// place, it took the one before along.
    pub fn floor_of_a_liar(&self) -> u64 {
        if self.landed_before || self.storage.has_landed_before() {
            self.durable_earlier
        } else {
            self.durable_before
        }
    }

    /// Whether something that was done to the engine explains an error; its code then.
    pub fn excuse(&mut self, error: Error) -> Step {
        if !self.storage.inner().has_power() {
            return Err(Stop::Power);
        }
        if let Error::Corruption { .. } = error
            && self.has_lied()
        {
            self.counts.refused += 1;
            return Err(Stop::Found);
        }
        let may_fail = self.has_fault || self.is_full || self.has_lied();
        if self.engine.is_poisoned() {
            return if may_fail {
                Err(Stop::Poisoned)
            } else {
                wrong(format!("poisoned without a fault: {error}"))
            };
        }
        let is_excused = match error {
            Error::FrontFull | Error::LogFull | Error::Busy | Error::TransactionTooOld => true,
            Error::OverLimit { limit, .. } => may_fail || limit != Limit::PageFileBytes,
            Error::StorageFull => may_fail,
            Error::Io { error, .. } => {
                self.has_fault || (self.is_full && error.kind == IoErrorKind::StorageFull)
            }
            _ => false,
        };
        if is_excused {
            Ok(u64::from(error.code()))
        } else {
            wrong(format!("answered: {error}"))
        }
    }

    /// What a read answered, or its excuse.
    pub fn settle(&mut self, reading: Reading<u64>) -> Step {
        match reading {
            Ok(seen) => Ok(seen),
            Err(Unread::Wrong(reason)) => wrong(reason),
            Err(Unread::Engine(error)) => self.excuse(error),
        }
    }

    /// Tries again while flushing and maintaining make room; the last error otherwise.
    pub fn until_room<T>(
        &mut self,
        mut attempt: impl FnMut(&Engine) -> Result<T, Error>,
    ) -> Step<Result<T, Error>> {
        let engine = Arc::clone(&self.engine);
        let mut left = 40;
        loop {
            let error = match attempt(&engine) {
                Err(
                    error @ (Error::FrontFull | Error::LogFull | Error::StorageFull | Error::Busy),
                ) if left > 0 => error,
                outcome => return Ok(outcome),
            };
            left -= 1;
            let flushed = engine.flush_step(true);
            if let Err(flush) = flushed
                && flush != Error::LogFull
            {
                self.excuse(flush)?;
            }
            self.note_watermarks()?;
            match engine.poll_maintenance(Budgeted::default()) {
                Ok(progress) if progress.worked || progress.wants_sync => {}
                Ok(_) => return Ok(Err(error)),
                Err(failed) => {
                    self.excuse(failed)?;
                }
            }
        }
    }

    /// The time that the engine is told.
    pub fn tell_time(&mut self) -> u64 {
        self.latest_ms = self.latest_ms.max(self.now_ms);
        self.now_ms
    }

    /// The time that a snapshot begun now must have.
    pub fn time_of_snapshot(&self) -> u64 {
        self.now_ms.max(self.floor_ms)
    }

    /// The least time that a snapshot has: what expired up to then may be gone.
    pub fn probe_floor(&mut self) -> Step {
        let engine = Arc::clone(&self.engine);
        match engine.snapshot(0) {
            Ok(snapshot) => {
                let floor_ms = snapshot.now_ms;
                engine.end(snapshot);
                if floor_ms > self.latest_ms {
                    return wrong("the time of a snapshot is later than any that was told");
                }
                Ok(floor_ms)
            }
            Err(error) => {
                self.excuse(error)?;
                Ok(self.floor_ms)
            }
        }
    }

    /// Nothing of the contract with the storage was broken.
    pub fn check_violations(&self) -> Step<()> {
        // What lands elsewhere breaks it, whoever wrote it.
        if self.habit.is_some() || self.has_lied() {
            return Ok(());
        }
        match self.storage.inner().violations().first() {
            Some(violation) => wrong(format!("storage contract: {violation}")),
            None => Ok(()),
        }
    }
}
