//! Random operations on the engine against sorted maps: one map for each moment
//! that is still seen by a snapshot or transaction.

mod conflict;
mod rest;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lightning_core::btree::CursorPosition;
use lightning_core::db::{Budgeted, Engine, Isolation, Options, PutOptions};
use lightning_core::error::Error;
use lightning_core::txn::Snapshot;
use lightning_sim::{CrashMode, Random, SimStorage, mix};

use super::{Check, Outcome, Settings};
use crate::cases::{Verdict, for_each};
use crate::engine::{
    Change, Model, SETUPS, Setup, TABLES, What, commit, create, digest, digest_of,
    drain_and_verify, ingest, make_room, open, setups, verify, whole, write,
};

/// The entry in the table.
pub const CHECK: Check = Check {
    name: "engine-model",
    about: "random operations do what they do to sorted maps",
    run,
};

fn run(settings: &Settings) -> Outcome {
    let (runs, steps) = if settings.is_long {
        (1_200, 3_000)
    } else {
        (42, 900)
    };
    let seen = Seen::default();
    let outcome = for_each(runs, |case| {
        let seed = mix(settings.seed ^ mix(case));
        let setup = setups()[case as usize % SETUPS];
        run_case(&setup, seed, steps, &seen)
            .map_err(|reason| format!("{} seed {seed}: {reason}", setup.name))
    });
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let note = format!(
        "{} snapshots compared, {} moves of resting cursors, {} conflicts, {} loads, {} openings with runs, {} pages evacuated",
        count(&seen.compared),
        count(&seen.moves),
        count(&seen.conflicts),
        count(&seen.loads),
        count(&seen.opened_with_runs),
        count(&seen.evacuated),
    );
    Outcome {
        note: Some(note),
        ..outcome
    }
}

/// How often what the check is about came about.
#[derive(Default)]
struct Seen {
    compared: AtomicU64,
    moves: AtomicU64,
    conflicts: AtomicU64,
    loads: AtomicU64,
    opened_with_runs: AtomicU64,
    evacuated: AtomicU64,
}

fn note(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn words(error: Error) -> String {
    error.to_string()
}

struct Run<'s> {
    storage: SimStorage,
    options: Options,
    engine: Arc<Engine>,
    random: Random,
    model: Model,
    snapshots: Vec<(Snapshot, u64)>,
    /// So many different keys.
    keys: u64,
    /// Whether a resting reader keeps memtables, so that a commit may find no room.
    rests: bool,
    seen: &'s Seen,
}

fn run_case(setup: &Setup, seed: u64, steps: u32, seen: &Seen) -> Verdict {
    let storage = SimStorage::new(setup.sim);
    let mut run = Run {
        engine: Arc::new(create(&storage, &setup.options).map_err(words)?),
        storage,
        options: setup.options,
        random: Random::new(seed),
        model: Model::default(),
        snapshots: Vec::new(),
        keys: 300,
        rests: false,
        seen,
    };
    if setup.value_bytes_longest > 1_000 && run.random.chance(1, 3) {
        run.load()?;
    }
    for step in 0..steps {
        run.step()
            .map_err(|reason| format!("step {step}: {reason}"))?;
    }
    run.end_snapshots()?;
    run.flush()?;
    drain_and_verify(&run.engine, run.model.digest)?;
    // Conflicts leave a row where no change of the model goes.
    let others = run.engine.statistics().entries - run.model.rows.len() as u64;
    if others > 1 {
        return Err("drained, and the trees hold other than the tables".into());
    }
    run.reopen()?;
    drain_and_verify(&run.engine, run.model.digest)
}

impl Run<'_> {
    /// Begins with trees of several levels.
    fn load(&mut self) -> Verdict {
        self.keys = 999;
        let mut rows = Model::default();
        for _ in 0..1_500 {
            let change = self.point_change();
            if change.table == TABLES[0] {
                rows.apply(&[change]);
            }
        }
        let mut load = self.engine.begin_load(TABLES[0]).map_err(words)?;
        for (key, value) in rows.table(TABLES[0]) {
            load.push(key, value, PutOptions::default())
                .map_err(words)?;
        }
        load.finish().map_err(words)?;
        self.model = rows;
        self.check()
    }

    fn step(&mut self) -> Verdict {
        match self.random.below(100) {
            0..=48 => self.commit_one(),
            49..=60 => self.transaction(),
            61..=70 => self.flush(),
            71..=82 => self.poll(20),
            83..=85 => self.walk(),
            86..=89 => self.snapshot(),
            90..=91 => self.compare(),
            92 if self.random.chance(1, 2) => self.ingest(),
            92 => self.freeze(),
            93 => self.poll(4_096),
            94 => match self.engine.drain() {
                Ok(_) | Err(Error::FrontFull) => Ok(()),
                Err(error) => Err(error.to_string()),
            },
            95 => verify(&self.engine),
            96 if self.options.cursors > 1 => self.rest(),
            96 => self.walk(),
            97..=98 => self.conflict(),
            _ => self.reopen(),
        }
    }

    fn poll(&mut self, entries: u32) -> Verdict {
        let budget = Budgeted {
            entries,
            log_bytes: 4_096,
        };
        self.engine.poll_maintenance(budget).map_err(words)?;
        // What a power cut can take back is in no tree (`db`, watermarks).
        let reached = self.engine.statistics();
        let is_in_order = reached.merged_sequence <= reached.durable_sequence
            && reached.durable_sequence <= reached.appended_sequence;
        if is_in_order {
            Ok(())
        } else {
            Err(format!(
                "merged up to {}, durable up to {}, committed up to {}",
                reached.merged_sequence, reached.durable_sequence, reached.appended_sequence
            ))
        }
    }

    fn freeze(&mut self) -> Verdict {
        match self.engine.freeze_front() {
            Ok(_) | Err(Error::FrontFull) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn key(&mut self) -> Vec<u8> {
        let number = self.random.below(self.keys);
        let mut key = format!("{:03}", number * 7 % self.keys).into_bytes();
        key.resize(3 + number as usize % 20, b'k');
        if number == 0 { Vec::new() } else { key }
    }

    fn point_change(&mut self) -> Change {
        let most = if self.random.below(10) == 0 { 1 } else { 6 };
        let most = self.engine.value_bytes_max() as u64 / most;
        let what = if self.random.chance(7, 10) {
            let mut value = vec![0; self.random.below(most) as usize];
            self.random.fill(&mut value);
            What::Put(value)
        } else {
            What::Delete
        };
        Change {
            table: TABLES[self.random.below(2) as usize],
            key: self.key(),
            what,
        }
    }

    /// Deletes a range: mostly a short one, now and then a table.
    fn range_change(&mut self) -> Change {
        let first = self.random.below(self.keys);
        let name = |number: u64| format!("{:03}", number.min(999)).into_bytes();
        let to = match self.random.below(24) {
            0 => None,
            1..=3 => Some(name(first + 1 + self.random.below(200))),
            4..=6 => Some([name(first), b"kkk".to_vec()].concat()),
            _ => Some(name(first + 1 + self.random.below(16))),
        };
        Change {
            table: TABLES[self.random.below(2) as usize],
            key: if self.random.chance(1, 20) {
                Vec::new()
            } else {
                name(first)
            },
            what: What::DeleteTo(to),
        }
    }

    fn change(&mut self) -> Change {
        if self.random.chance(1, 14) {
            self.range_change()
        } else {
            self.point_change()
        }
    }

    /// Makes room; false where only what is read keeps the memtables.
    fn room(&mut self, error: Error) -> Result<bool, String> {
        let goes_on = make_room(&self.engine, error).map_err(words)?;
        let waits = !goes_on && error == Error::FrontFull && !self.rests;
        if waits && self.engine.options().runs > 0 && self.options.filter_bytes == 0 {
            return Err("a snapshot holds writers up".into());
        }
        Ok(goes_on)
    }

    fn commit_one(&mut self) -> Verdict {
        let change = [self.change()];
        let mut attempts = 0;
        while let Err(error) = commit(&self.engine, &change) {
            if !self.room(error)? {
                self.end_snapshots()?;
                if self.rests {
                    return Ok(());
                }
            }
            attempts += 1;
            if attempts > 100 {
                return Err(format!("never room: {error}"));
            }
        }
        self.model.apply(&change);
        Ok(())
    }

    /// A load that becomes a run, with commits and maintenance beside it.
    fn ingest(&mut self) -> Verdict {
        if !self.engine.can_ingest() {
            return self.commit_one();
        }
        let table = TABLES[self.random.below(2) as usize];
        let mut rows = Model::default();
        for _ in 0..1 + self.random.below(200) {
            let change = self.point_change();
            if change.table == table && matches!(change.what, What::Put(_)) {
                rows.apply(&[change]);
            }
        }
        let loaded: Vec<Change> = rows
            .table(table)
            .map(|(key, value)| Change {
                table,
                key: key.to_vec(),
                what: What::Put(value.to_vec()),
            })
            .collect();
        let engine = Arc::clone(&self.engine);
        let other = Change {
            table: TABLES[self.random.below(2) as usize],
            key: self.key(),
            what: What::Put(b"beside".to_vec()),
        };
        let (mut number, mut is_beside) = (0, false);
        let committed = ingest(&engine, &loaded, &mut || {
            number += 1;
            if number == 3 {
                // It comes before the load, whatever of it is written.
                is_beside = commit(&engine, std::slice::from_ref(&other)).is_ok();
            }
            if number % 8 == 0 {
                let budget = Budgeted {
                    entries: 20,
                    log_bytes: 4_096,
                };
                engine.poll_maintenance(budget)?;
            }
            Ok(())
        });
        if is_beside {
            self.model.apply(&[other]);
        }
        match committed {
            Ok(_) => {
                self.model.apply(&loaded);
                note(&self.seen.loads);
                Ok(())
            }
            // Snapshots, or what rests, keep the room.
            Err(Error::FrontFull | Error::Busy) => self.end_snapshots(),
            Err(error) => Err(format!("ingest: {error}")),
        }
    }

    fn flush(&mut self) -> Verdict {
        let mut attempts = 0;
        while let Err(error) = self.engine.flush_step(true) {
            if error != Error::LogFull || attempts > 100 {
                return Err(format!("flush: {error}"));
            }
            self.engine
                .poll_maintenance(Budgeted::default())
                .map_err(words)?;
            attempts += 1;
        }
        Ok(())
    }

    fn transaction(&mut self) -> Verdict {
        let mut transaction = self
            .engine
            .begin(0, Isolation::Serializable)
            .map_err(words)?;
        let mut expected = self.model.clone();
        for _ in 0..self.random.below(8) {
            let change = self.change();
            match write(&self.engine, &mut transaction, &change) {
                Ok(()) => expected.apply(&[change]),
                Err(Error::OverLimit { .. }) => break,
                Err(error) => return Err(error.to_string()),
            }
        }
        for table in TABLES {
            let view = self
                .engine
                .transaction_view(&transaction, table, true)
                .map_err(words)?;
            let mut cursor = self.engine.cursor(&view, true).map_err(words)?;
            cursor.seek(CursorPosition::First).map_err(words)?;
            for (key, value) in expected.table(table) {
                let entry = cursor.entry().ok_or("a transaction misses a row")?;
                let found = whole(&self.engine, &view, entry.value).map_err(words)?;
                if entry.key != key || found != value {
                    return Err("a transaction sees another row".into());
                }
                cursor.advance().map_err(words)?;
            }
            if cursor.is_valid() {
                return Err("a transaction sees a row too many".into());
            }
        }
        if self.random.below(5) == 0 {
            self.engine.rollback(transaction);
            return Ok(());
        }
        let mut attempts = 0;
        loop {
            match self.engine.try_commit(&mut transaction, 0, 0) {
                Ok(_) => {
                    self.model = expected;
                    break;
                }
                // Its own snapshot may keep the last memtable.
                Err(error @ (Error::FrontFull | Error::LogFull)) => {
                    attempts += 1;
                    if !self.room(error)? || attempts > 100 {
                        break;
                    }
                }
                Err(Error::TransactionTooOld) => break,
                Err(error) => return Err(error.to_string()),
            }
        }
        self.engine.rollback(transaction);
        Ok(())
    }

    fn snapshot(&mut self) -> Verdict {
        self.flush()?;
        match self.engine.snapshot(0) {
            Ok(snapshot) => self.snapshots.push((snapshot, self.model.digest)),
            Err(Error::OverLimit { .. }) => {}
            Err(error) => return Err(error.to_string()),
        }
        // One is left for transactions, one for checks, one that rests.
        if self.snapshots.len() + 3 > self.options.snapshots as usize {
            let at = self.random.below(self.snapshots.len() as u64) as usize;
            let held = self.snapshots.remove(at);
            self.end(held)?;
        }
        Ok(())
    }

    /// What a snapshot sees that stays open.
    fn compare(&mut self) -> Verdict {
        if self.snapshots.is_empty() {
            return Ok(());
        }
        let at = self.random.below(self.snapshots.len() as u64) as usize;
        let (snapshot, expected) = &self.snapshots[at];
        note(&self.seen.compared);
        match digest_of(&self.engine, snapshot).map_err(words)? {
            found if found == *expected => Ok(()),
            _ => Err("a snapshot that stays sees other rows than when it began".into()),
        }
    }

    fn end(&self, (snapshot, expected): (Snapshot, u64)) -> Verdict {
        let found = digest_of(&self.engine, &snapshot);
        self.engine.end(snapshot);
        if found.map_err(words)? == expected {
            Ok(())
        } else {
            Err("a snapshot sees other rows than when it began".into())
        }
    }

    fn end_snapshots(&mut self) -> Verdict {
        while let Some(held) = self.snapshots.pop() {
            self.end(held)?;
        }
        Ok(())
    }

    /// A cursor back and forth, and a get.
    fn walk(&mut self) -> Verdict {
        self.flush()?;
        let (table, key) = (TABLES[self.random.below(2) as usize], self.key());
        let snapshot = self.engine.snapshot(0).map_err(words)?;
        let outcome = self.walk_on(&snapshot, table, &key);
        self.engine.end(snapshot);
        outcome
    }

    fn walk_on(&mut self, snapshot: &Snapshot, table: u32, key: &[u8]) -> Verdict {
        let rows: Vec<(&[u8], &[u8])> = self.model.table(table).collect();
        let view = self.engine.view(snapshot, table, true).map_err(words)?;
        let value = self.engine.get(&view, key, true).map_err(words)?;
        let value = value
            .map(|value| whole(&self.engine, &view, value.stored()))
            .transpose();
        let expected = rows.binary_search_by_key(&key, |row| row.0);
        if value.map_err(words)?.as_deref() != expected.ok().map(|at| rows[at].1) {
            return Err("a get answers another value".into());
        }
        let mut cursor = self.engine.cursor(&view, true).map_err(words)?;
        let mut at = rows.partition_point(|row| row.0 < key) as i64;
        cursor.seek(CursorPosition::AtOrAfter(key)).map_err(words)?;
        for _ in 0..20 {
            let expected = usize::try_from(at).ok().and_then(|at| rows.get(at));
            let Some(entry) = cursor.entry() else {
                return match expected {
                    None => Ok(()),
                    Some(_) => Err("a cursor ends too early".into()),
                };
            };
            let found = whole(&self.engine, &view, entry.value).map_err(words)?;
            if expected != Some(&(entry.key, found.as_slice())) {
                return Err("a cursor stands on another row".into());
            }
            if self.random.below(2) == 0 {
                cursor.advance().map_err(words)?;
                at += 1;
            } else {
                cursor.retreat().map_err(words)?;
                at -= 1;
            }
        }
        Ok(())
    }

    /// Counts what the engine did that is open, before another takes its place.
    fn count_evacuated(&self) {
        let pages = self.engine.statistics().store.evacuated_pages;
        self.seen.evacuated.fetch_add(pages, Ordering::Relaxed);
    }

    fn reopen(&mut self) -> Verdict {
        self.end_snapshots()?;
        self.flush()?;
        if self.random.chance(1, 2) {
            match self.engine.mark() {
                Ok(()) | Err(Error::LogFull) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        if let Some(violation) = self.storage.violations().first() {
            return Err(format!("storage contract: {violation}"));
        }
        self.storage = if self.random.chance(1, 2) {
            self.storage.restart()
        } else {
            self.storage.crash_image(CrashMode::Synced, 0)
        };
        if self.random.chance(1, 3) {
            self.only_read()?;
        }
        let mut options = self.options;
        if options.max_memory_bytes == u64::MAX && self.random.chance(1, 4) {
            options.runs = self.random.below(7) as u32;
        }
        let engine = open(&self.storage, &options).map_err(words)?;
        if engine.statistics().runs > 0 {
            note(&self.seen.opened_with_runs);
        }
        self.count_evacuated();
        self.engine = Arc::new(engine);
        self.check()
    }

    /// A database that is opened for reading shows the same, and nothing is written.
    fn only_read(&mut self) -> Verdict {
        let options = Options {
            read_only: true,
            // All of the log has to be in one memtable.
            memtable_bytes: 1 << 20,
            range_bytes: 64 << 10,
            max_memory_bytes: u64::MAX,
            ..self.options
        };
        let before = self.storage.operation_count();
        let engine = open(&self.storage, &options).map_err(|error| format!("reading: {error}"))?;
        let found = digest(&engine).map_err(|error| format!("reading only: {error}"))?;
        verify(&engine).map_err(|reason| format!("reading only: {reason}"))?;
        if found != self.model.digest {
            return Err("reading only shows other rows".into());
        }
        if self.storage.operation_count() != before {
            return Err("reading only writes".into());
        }
        Ok(())
    }

    fn check(&mut self) -> Verdict {
        self.flush()?;
        if digest(&self.engine).map_err(words)? == self.model.digest {
            Ok(())
        } else {
            Err("the tables differ from the model".into())
        }
    }
}
