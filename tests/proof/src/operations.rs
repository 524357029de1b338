//! Operations of the interface, each of which touches another mechanism, and a course of
//! them on one database, with the model beside it.
//!
//! A course begins on a database in which everything is there that an operation may meet:
//! rows and extents in the trees, a run, rows in the log only, space that waits to be
//! reused. What an operation writes follows from its place in the course, so that a course
//! can be gone again, and does the same to the storage.
//!
//! An operation commits at most once, and what it has committed is acknowledged when it is
//! over, but for [`Operation::PutUnsynced`]. So the states that a power cut may leave are
//! known: the last one acknowledged, and every later one.

mod writing;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lightning_core::db::{Budgeted, Engine, FIRST_USER_TABLE, NAMES_TABLE, Options, Ticket};
use lightning_core::error::Error;
use lightning_core::txn::Snapshot;
use lightning_platform::Storage;
use lightning_sim::{Random, SimStorage, mix};

use crate::engine::{
    ATTEMPTS_MAX, Change, Model, What, commit, create_on, make_room, open_on, row_digest,
    table_digest,
};
use crate::script::{Failure, flush};

/// What a course is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A new key.
    Put,
    /// A new key, left to whoever flushes next.
    PutUnsynced,
    /// A value in an extent is replaced by another one.
    Overwrite,
    /// A key that is in the trees is deleted.
    Delete,
    /// A range with rows in trees, run and memtable is deleted.
    DeleteRange,
    /// Reads, compares and sets, and writes to two tables, all of it or nothing.
    Transaction,
    /// A value that is larger than a transaction.
    Stream,
    /// A sorted load that becomes a run; without runs a transaction.
    Ingest,
    /// A sorted load into a tree, for which everything is merged first.
    Load,
    /// A new table with a row.
    CreateTable,
    /// The youngest table, and its rows.
    DropTable,
    /// The memtable becomes a run, or is merged, and what is due then is done.
    MakeRun,
    /// Everything is merged into the trees.
    Drain,
    /// What a host does when writes pause: a short segment, and room given back.
    Rest,
    /// The process ends without a word, and the next one recovers.
    Reopen,
    /// A snapshot that stays for the rest of the course.
    Hold,
}

/// Every operation.
pub const OPERATIONS: [Operation; 16] = [
    Operation::Put,
    Operation::PutUnsynced,
    Operation::Overwrite,
    Operation::Delete,
    Operation::DeleteRange,
    Operation::Transaction,
    Operation::Stream,
    Operation::Ingest,
    Operation::Load,
    Operation::CreateTable,
    Operation::DropTable,
    Operation::MakeRun,
    Operation::Drain,
    Operation::Rest,
    Operation::Reopen,
    Operation::Hold,
];

/// Bytes of values that are put before the first operation, so that what comes soon fills
/// the segment and the memtable.
const FILLING: [usize; 4] = [200, 500, 500, 100];

/// The tables that every course begins with, and one that it can drop.
const NAMES: [&[u8]; 2] = [b"one", b"two"];
const ONE: u32 = FIRST_USER_TABLE;
/// More tables than a course has ever made.
const TABLES_MAX: u32 = 6;
const STEPS_MAX: u32 = 4;

const BUDGET: Budgeted = Budgeted {
    entries: 4_096,
    log_bytes: 8_192,
};
/// Few entries, so that what is begun is under way when the next operation comes.
const STEP: Budgeted = Budgeted {
    entries: 12,
    log_bytes: 2_048,
};
/// Steps of maintenance after which it should have ended.
const STEPS_OF_MAINTENANCE_MAX: u32 = 200;

fn made(step: u32) -> Vec<u8> {
    format!("made{step}").into_bytes()
}

fn row(number: u32) -> Vec<u8> {
    format!("row{number:02}").into_bytes()
}

fn value(step: u32, salt: u32, bytes: usize) -> Vec<u8> {
    let mut value = vec![0; bytes];
    Random::new(mix(u64::from(step) << 32 | u64::from(salt))).fill(&mut value);
    value
}

fn put(table: u32, key: impl AsRef<[u8]>, value: Vec<u8>) -> Change {
    Change {
        table,
        key: key.as_ref().to_vec(),
        what: What::Put(value),
    }
}

fn delete(table: u32, key: Vec<u8>) -> Change {
    Change {
        table,
        key,
        what: What::Delete,
    }
}

/// The digest of everything that a snapshot sees: names of tables, and all rows of every
/// table that there ever was.
pub fn digest_of_all(engine: &Engine, snapshot: &Snapshot) -> Result<u64, Error> {
    let mut all = 0_u64;
    let names = NAMES.map(<[u8]>::to_vec).into_iter();
    for name in names.chain((0..STEPS_MAX).map(made)) {
        if let Some(table) = engine.find_table(snapshot, &name)? {
            let named = row_digest(NAMES_TABLE, &name, &table.to_le_bytes());
            all = all.wrapping_add(named);
        }
    }
    for table in ONE..ONE + TABLES_MAX {
        all = all.wrapping_add(table_digest(engine, snapshot, table)?);
    }
    Ok(all)
}

/// The same of a new snapshot.
pub fn digest(engine: &Engine) -> Result<u64, Error> {
    let snapshot = engine.snapshot(0)?;
    let found = digest_of_all(engine, &snapshot);
    engine.end(snapshot);
    found
}

/// A database that courses begin on.
#[derive(Clone)]
pub struct Base {
    storage: SimStorage,
    model: Model,
}

impl Base {
    /// With two tables, and nothing in them.
    pub fn empty(storage: &SimStorage, options: &Options) -> Result<Self, Failure> {
        Self::of(storage, options, |_| Ok(()))
    }

    /// With rows in trees, in a run, and in the log.
    pub fn full(storage: &SimStorage, options: &Options) -> Result<Self, Failure> {
        Self::of(storage, options, Course::fill)
    }

    fn of(
        storage: &SimStorage,
        options: &Options,
        fill: impl FnOnce(&mut Course) -> Result<(), Failure>,
    ) -> Result<Self, Failure> {
        let shared: Arc<dyn Storage> = Arc::new(storage.clone());
        let engine = create_on(Arc::clone(&shared), options)?;
        let mut course = Course::on(engine, shared, options)?;
        fill(&mut course)?;
        course.flush()?;
        let model = course.model().clone();
        drop(course);
        Ok(Self {
            // What it left unsynced has reached the medium since.
            storage: storage.crash_image_of(|_| true),
            model,
        })
    }

    /// A copy of its storage.
    pub fn storage(&self) -> SimStorage {
        self.storage.fork()
    }
}

/// An engine on its way through operations.
pub struct Course {
    storage: Arc<dyn Storage>,
    options: Options,
    engine: Option<Engine>,
    /// What it began with, and what it was after each commit.
    states: Vec<Model>,
    acknowledged: Arc<AtomicUsize>,
    /// A snapshot that stays, and what it has seen.
    held: Option<(Snapshot, u64)>,
    /// The operation's place, from 0.
    step: u32,
}

impl Course {
    /// Begins with two new tables on a database that is empty.
    pub fn on(
        engine: Engine,
        storage: Arc<dyn Storage>,
        options: &Options,
    ) -> Result<Self, Failure> {
        let mut course = Self {
            storage,
            options: *options,
            engine: Some(engine),
            states: vec![Model::default()],
            acknowledged: Arc::default(),
            held: None,
            step: 0,
        };
        for name in NAMES {
            course.create_table(name)?;
        }
        Ok(course)
    }

    /// Has rows in trees, in a run, and in the log.
    pub fn fill(&mut self) -> Result<(), Failure> {
        for number in (0..24).step_by(3) {
            let rows: Vec<Change> = (number..number + 3)
                .map(|number| put(ONE, row(number), value(9, number, 40)))
                .collect();
            self.commit(&rows)?;
        }
        for number in 0..3 {
            let key = format!("long{number}");
            self.commit(&[put(ONE, key, value(9, 100 + number, 500))])?;
        }
        self.drain()?;
        // What they replace waits until it can be used again.
        self.commit(&[put(ONE, "long0", value(9, 110, 450))])?;
        self.drain()?;
        for number in [6, 12, 18] {
            self.commit(&[put(ONE, row(number), value(9, 120 + number, 60))])?;
        }
        self.commit(&[delete(ONE, row(20))])?;
        self.make_run()?;
        for number in [9, 13, 30] {
            self.commit(&[put(ONE, row(number), value(9, 150 + number, 60))])?;
        }
        Ok(())
    }

    /// Begins on a base; `storage` is over a copy of its storage. The number of the last
    /// state that is acknowledged goes to `acknowledged`, at once when it is.
    pub fn begin(
        base: &Base,
        storage: Arc<dyn Storage>,
        options: &Options,
        acknowledged: Arc<AtomicUsize>,
    ) -> Result<Self, Failure> {
        let engine = open_on(Arc::clone(&storage), options)?;
        let mut course = Self {
            storage,
            options: *options,
            engine: Some(engine),
            states: vec![base.model.clone()],
            acknowledged,
            held: None,
            step: 0,
        };
        for (number, bytes) in (0_u32..).zip(FILLING) {
            let row = put(ONE, "filling", value(8, number, bytes));
            course.commit(&[row])?;
        }
        Ok(course)
    }

    /// The digests of the states from one on.
    pub fn digests_from(&self, state: usize) -> Vec<u64> {
        self.states[state..]
            .iter()
            .map(|state| state.digest)
            .collect()
    }

    /// Compares what is seen with the last state.
    pub fn compare(&self) -> Result<(), Failure> {
        let Some(engine) = &self.engine else {
            return Ok(());
        };
        let acknowledged = self.acknowledged.load(Ordering::SeqCst);
        let found = digest(engine)?;
        if !self.digests_from(acknowledged).contains(&found) {
            return wrong("a reader sees a state that never was");
        }
        if let Some((snapshot, seen)) = &self.held
            && digest_of_all(engine, snapshot)? != *seen
        {
            return wrong("the snapshot sees other rows than when it began");
        }
        Ok(())
    }

    /// Does the next operation.
    pub fn perform(&mut self, operation: Operation) -> Result<(), Failure> {
        let step = self.step;
        match operation {
            Operation::Put => self.commit(&[put(ONE, format!("new{step}"), value(step, 1, 90))])?,
            Operation::PutUnsynced => {
                self.commit_unsynced(&[put(ONE, format!("later{step}"), value(step, 2, 150))])?;
            }
            Operation::Overwrite => self.commit(&[put(ONE, "long1", value(step, 3, 480))])?,
            Operation::Delete => self.commit(&[delete(ONE, row(5 + step))])?,
            Operation::DeleteRange => self.commit(&[Change {
                table: ONE,
                key: row(8 + step),
                what: What::DeleteTo(Some(row(14 + step))),
            }])?,
            Operation::Transaction => self.transaction()?,
            Operation::Stream => self.stream()?,
            Operation::Ingest => self.ingest()?,
            Operation::Load => self.load()?,
            Operation::CreateTable => self.create_table(&made(step))?,
            Operation::DropTable => self.drop_table()?,
            Operation::MakeRun => self.make_run()?,
            Operation::Drain => self.drain()?,
            Operation::Rest => self.rest()?,
            Operation::Reopen => self.reopen()?,
            Operation::Hold => self.hold()?,
        }
        self.step += 1;
        self.maintain()
    }

    /// What a host does meanwhile: a step of what is to be done.
    fn maintain(&self) -> Result<(), Failure> {
        match self.engine()?.poll_maintenance(STEP) {
            Ok(_) | Err(Error::StorageFull) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The engine.
    pub fn engine(&self) -> Result<&Engine, Failure> {
        let none = || Failure::Wrong("no engine is open".into());
        self.engine.as_ref().ok_or_else(none)
    }

    fn model(&self) -> &Model {
        &self.states[self.states.len() - 1]
    }

    fn table(&self, name: &[u8]) -> Option<u32> {
        let id = self.model().rows.get(&(NAMES_TABLE, name.to_vec()))?;
        Some(u32::from_le_bytes(id.as_slice().try_into().ok()?))
    }

    fn committed(&mut self, changes: &[Change]) {
        let mut model = self.model().clone();
        model.apply(changes);
        self.states.push(model);
    }

    fn all_acknowledged(&self) {
        let last = self.states.len() - 1;
        self.acknowledged.store(last, Ordering::SeqCst);
    }

    fn flush(&mut self) -> Result<(), Failure> {
        flush(self.engine()?)?;
        self.all_acknowledged();
        Ok(())
    }

    /// Commits and waits until it is durable.
    fn commit(&mut self, changes: &[Change]) -> Result<(), Failure> {
        self.commit_unsynced(changes)?;
        self.flush()
    }

    fn commit_unsynced(&mut self, changes: &[Change]) -> Result<(), Failure> {
        self.until_room(|engine| commit(engine, changes))?;
        self.committed(changes);
        Ok(())
    }

    /// Tries a commit until there is room for it.
    fn until_room(
        &mut self,
        mut attempt: impl FnMut(&Engine) -> Result<Ticket, Error>,
    ) -> Result<(), Failure> {
        for _ in 0..ATTEMPTS_MAX {
            let engine = self.engine()?;
            match attempt(engine) {
                // A flush of everything follows, or one that comes later is enough.
                Ok(_) => return Ok(()),
                // Without runs a snapshot keeps memtables.
                Err(error) => {
                    if !make_room(engine, error)? {
                        self.release()?;
                    }
                }
            }
        }
        wrong("a commit never found room")
    }

    fn make_run(&mut self) -> Result<(), Failure> {
        freeze(self.engine()?)?;
        self.flush()?;
        for _ in 0..STEPS_OF_MAINTENANCE_MAX {
            let progress = self.engine()?.poll_maintenance(BUDGET)?;
            if progress.wants_sync {
                self.flush()?;
            } else if !progress.worked {
                return Ok(());
            }
        }
        wrong("maintenance doesn't end")
    }

    fn drain(&mut self) -> Result<(), Failure> {
        for _ in 0..STEPS_OF_MAINTENANCE_MAX {
            match self.engine()?.drain() {
                Ok(true) | Err(Error::FrontFull | Error::StorageFull) => self.flush()?,
                Ok(false) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
            let progress = self.engine()?.poll_maintenance(BUDGET)?;
            if !progress.worked && !progress.wants_sync {
                // A snapshot keeps the rest.
                return Ok(());
            }
        }
        wrong("draining doesn't end")
    }

    fn rest(&mut self) -> Result<(), Failure> {
        match self.engine()?.renew_log() {
            Ok(_) | Err(Error::LogFull) => {}
            Err(error) => return Err(error.into()),
        }
        self.flush()?;
        let engine = self.engine()?;
        for _ in 0..3 {
            engine.poll_maintenance(BUDGET)?;
        }
        engine.trim_log()?;
        for _ in 0..STEPS_OF_MAINTENANCE_MAX {
            match engine.trim_pages() {
                Ok(true) => {}
                Ok(false) | Err(Error::Busy) => break,
                Err(error) => return Err(error.into()),
            }
        }
        match engine.mark() {
            Ok(()) | Err(Error::LogFull) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// What the next process finds is durable, whatever it is.
    fn reopen(&mut self) -> Result<(), Failure> {
        self.release()?;
        self.engine = None;
        let engine = open_on(Arc::clone(&self.storage), &self.options)?;
        let found = digest(&engine)?;
        self.engine = Some(engine);
        let acknowledged = self.acknowledged.load(Ordering::SeqCst);
        let later = &self.states[acknowledged..];
        match later.iter().rposition(|state| state.digest == found) {
            Some(index) => {
                self.states.truncate(acknowledged + index + 1);
                self.all_acknowledged();
                Ok(())
            }
            None => wrong("opening found a state that never was, or lost an acknowledged one"),
        }
    }

    fn hold(&mut self) -> Result<(), Failure> {
        self.release()?;
        let engine = self.engine()?;
        let snapshot = engine.snapshot(0)?;
        match digest_of_all(engine, &snapshot) {
            Ok(seen) => {
                self.held = Some((snapshot, seen));
                self.compare()
            }
            Err(error) => {
                engine.end(snapshot);
                Err(error.into())
            }
        }
    }

    /// Compares what the snapshot sees that was held, and lets it go.
    fn release(&mut self) -> Result<(), Failure> {
        let (Some(engine), Some((snapshot, seen))) = (&self.engine, self.held.take()) else {
            return Ok(());
        };
        let found = digest_of_all(engine, &snapshot);
        engine.end(snapshot);
        if found? == seen {
            Ok(())
        } else {
            wrong("the snapshot sees other rows than when it began")
        }
    }
}

fn freeze(engine: &Engine) -> Result<(), Failure> {
    match engine.freeze_front() {
        Ok(_) | Err(Error::FrontFull | Error::StorageFull) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn wrong<T>(reason: &str) -> Result<T, Failure> {
    Err(Failure::Wrong(reason.to_owned()))
}
