//! Random operations on the engine against sorted maps: one map for each moment
//! that is still seen by a snapshot or transaction.

use std::collections::BTreeMap;

use lightning_core::btree::CursorPosition;
use lightning_core::db::{Budgeted, Engine, Isolation, Options, PutOptions};
use lightning_core::error::Error;
use lightning_core::txn::Snapshot;
use lightning_sim::{CrashMode, Random, SimStorage, mix};

use super::{Check, Outcome, Settings};
use crate::cases::{Verdict, for_each};
use crate::engine::{
    Change, Model, Setup, TABLES, commit, create, digest, digest_of, drain, make_room, open,
    setups, whole,
};

/// The entry in the table.
pub const CHECK: Check = Check {
    name: "engine-model",
    about: "random operations do what they do to sorted maps",
    run,
};

fn run(settings: &Settings) -> Outcome {
    let (runs, steps) = if settings.is_long {
        (1_000, 3_000)
    } else {
        (32, 1_200)
    };
    for_each(runs, |case| {
        let seed = mix(settings.seed ^ mix(case));
        let setup = setups()[(case % 5) as usize];
        run_case(&setup, seed, steps)
            .map_err(|reason| format!("{} seed {seed}: {reason}", setup.name))
    })
}

fn words(error: Error) -> String {
    error.to_string()
}

struct Run {
    storage: SimStorage,
    options: Options,
    engine: Engine,
    random: Random,
    model: Model,
    snapshots: Vec<(Snapshot, u64)>,
}

fn run_case(setup: &Setup, seed: u64, steps: u32) -> Verdict {
    let storage = SimStorage::new(setup.sim);
    let mut run = Run {
        engine: create(&storage, &setup.options).map_err(words)?,
        storage,
        options: setup.options,
        random: Random::new(seed),
        model: Model::default(),
        snapshots: Vec::new(),
    };
    for step in 0..steps {
        run.step()
            .map_err(|reason| format!("step {step}: {reason}"))?;
    }
    run.end_snapshots()?;
    drain(&run.engine).map_err(words)?;
    run.check()?;
    run.reopen()?;
    if run.engine.statistics().entries > run.model.rows.len() as u64 * 2 + 100 {
        return Err("the trees hold far more than the tables".into());
    }
    Ok(())
}

impl Run {
    fn step(&mut self) -> Verdict {
        match self.random.below(100) {
            0..=54 => self.commit_one(),
            55..=66 => self.transaction(),
            67..=76 => self.flush(),
            77..=88 => {
                let budget = Budgeted {
                    entries: 20,
                    log_bytes: 4_096,
                };
                self.engine
                    .poll_maintenance(budget)
                    .map_err(words)
                    .map(|_| ())
            }
            89..=92 => self.walk(),
            93..=96 => self.snapshot(),
            97 => match self.engine.freeze_front() {
                Ok(_) | Err(Error::FrontFull) => Ok(()),
                Err(error) => Err(error.to_string()),
            },
            98 => self.conflict(),
            _ => self.reopen(),
        }
    }

    fn key(&mut self) -> Vec<u8> {
        let number = self.random.below(300);
        let mut key = format!("{:03}", number * 7 % 300).into_bytes();
        key.resize(3 + number as usize % 20, b'k');
        if number == 0 { Vec::new() } else { key }
    }

    fn change(&mut self) -> Change {
        let most = if self.random.below(10) == 0 { 1 } else { 6 };
        let most = self.engine.value_bytes_max() as u64 / most;
        let value = self.random.chance(7, 10).then(|| {
            let mut value = vec![0; self.random.below(most) as usize];
            self.random.fill(&mut value);
            value
        });
        Change {
            table: TABLES[self.random.below(2) as usize],
            key: self.key(),
            value,
        }
    }

    /// Makes room; false where only open snapshots keep the memtables.
    fn room(&mut self, error: Error) -> Result<bool, String> {
        make_room(&self.engine, error).map_err(words)
    }

    fn commit_one(&mut self) -> Verdict {
        let change = [self.change()];
        let mut attempts = 0;
        while let Err(error) = commit(&self.engine, &change) {
            if !self.room(error)? {
                self.end_snapshots()?;
            }
            attempts += 1;
            if attempts > 100 {
                return Err(format!("never room: {error}"));
            }
        }
        self.model.apply(&change);
        Ok(())
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
            let Change { table, key, value } = &change;
            let put = PutOptions::default();
            let engine = &self.engine;
            let written = match value {
                Some(value) => engine.transaction_put(&mut transaction, *table, key, value, put),
                None => engine.transaction_delete(&mut transaction, *table, key),
            };
            match written {
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
            let rows = expected
                .rows
                .range((table, Vec::new())..(table + 1, Vec::new()));
            for ((_, key), value) in rows {
                let entry = cursor.entry().ok_or("a transaction misses a row")?;
                let found = whole(&self.engine, &view, entry.value).map_err(words)?;
                if entry.key != key.as_slice() || found != *value {
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

    /// A transaction that read or wrote what a later commit changed is refused.
    fn conflict(&mut self) -> Verdict {
        let change = self.change();
        let isolation = if self.random.chance(1, 2) {
            Isolation::Snapshot
        } else {
            Isolation::Serializable
        };
        let reads = isolation == Isolation::Serializable && self.random.chance(1, 2);
        let mut transaction = self.engine.begin(0, isolation).map_err(words)?;
        let put = PutOptions::default();
        let (table, key) = (change.table, &change.key);
        let noted = if reads {
            let noted = self
                .engine
                .transaction_note_read(&mut transaction, table, key, Some(key));
            let written = self
                .engine
                .transaction_put(&mut transaction, 99, b"other", b"", put);
            noted.and(written)
        } else {
            self.engine
                .transaction_put(&mut transaction, table, key, b"mine", put)
        };
        noted.map_err(words)?;
        let first = commit(&self.engine, std::slice::from_ref(&change));
        let is_first = first.is_ok();
        if is_first {
            self.model.apply(std::slice::from_ref(&change));
        }
        match self.engine.commit(transaction, 0, 0) {
            Err(
                Error::Conflict { .. }
                | Error::TransactionTooOld
                | Error::FrontFull
                | Error::LogFull,
            ) => Ok(()),
            Err(error) => Err(error.to_string()),
            Ok(_) if is_first => Err("a conflict was not found".into()),
            Ok(_) => {
                if !reads {
                    let value = Some(b"mine".to_vec());
                    self.model.apply(&[Change { value, ..change }]);
                }
                Ok(())
            }
        }
    }

    fn snapshot(&mut self) -> Verdict {
        self.flush()?;
        match self.engine.snapshot(0) {
            Ok(snapshot) => self.snapshots.push((snapshot, self.model.digest)),
            Err(Error::OverLimit { .. }) => {}
            Err(error) => return Err(error.to_string()),
        }
        if self.snapshots.len() > 2 || self.options.snapshots < 4 {
            let at = self.random.below(self.snapshots.len() as u64) as usize;
            let held = self.snapshots.remove(at);
            self.end(held)?;
        }
        Ok(())
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
        let rows: BTreeMap<&[u8], &[u8]> = self
            .model
            .rows
            .range((table, Vec::new())..(table + 1, Vec::new()))
            .map(|((_, key), value)| (key.as_slice(), value.as_slice()))
            .collect();
        let view = self.engine.view(snapshot, table, true).map_err(words)?;
        let value = self.engine.get(&view, key, true).map_err(words)?;
        let value = value
            .map(|value| whole(&self.engine, &view, value.stored()))
            .transpose();
        if value.map_err(words)?.as_deref() != rows.get(key).copied() {
            return Err("a get answers another value".into());
        }
        let rows: Vec<(&[u8], &[u8])> = rows.into_iter().collect();
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
        self.engine = open(&self.storage, &self.options).map_err(words)?;
        self.check()
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
