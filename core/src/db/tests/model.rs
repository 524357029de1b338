//! Random operations against sorted maps: one for each moment that is still seen.

use super::*;
use lightning_sim::Random;

const TABLES: [u32; 3] = [16, 17, 40];

type Model = BTreeMap<u32, Rows>;

struct Run {
    storage: SimStorage,
    options: Options,
    engine: Engine,
    random: Random,
    model: Model,
    /// Snapshots that are open, with what they have to see.
    snapshots: Vec<(Snapshot, Model)>,
}

impl Run {
    fn new(seed: u64, sim: SimOptions, options: Options) -> Self {
        let storage = SimStorage::new(sim);
        let engine = create(&storage, &options).unwrap();
        let model = TABLES.iter().map(|table| (*table, Rows::new())).collect();
        Self {
            storage,
            options,
            engine,
            random: Random::new(seed),
            model,
            snapshots: Vec::new(),
        }
    }

    fn key(&mut self) -> Vec<u8> {
        let number = self.random.below(300);
        let mut key = std::format!("{:03}", number * 7 % 300).into_bytes();
        key.resize(3 + number as usize % 20, b'k');
        if number == 0 { Vec::new() } else { key }
    }

    fn value(&mut self) -> Vec<u8> {
        let most = if self.random.below(10) == 0 { 1 } else { 6 };
        let length = self
            .random
            .below(self.engine.value_bytes_max() as u64 / most) as usize;
        std::vec![self.random.below(256) as u8; length]
    }

    fn commit_one(&mut self) {
        let table = TABLES[self.random.below(3) as usize];
        let key = self.key();
        let value = (self.random.below(10) < 7).then(|| self.value());
        loop {
            let outcome = match &value {
                Some(value) => self
                    .engine
                    .put(table, &key, value, PutOptions::default(), 0),
                None => self.engine.delete(table, &key, 0),
            };
            match outcome {
                Ok(_) => break,
                Err(error) => self.room(error),
            }
        }
        self.apply(table, key, value);
    }

    fn room(&mut self, error: Error) {
        // Without runs a snapshot that is open keeps memtables; firmware then waits for it.
        if let Err(again) = make_room_or_stuck(&self.engine, error) {
            assert!(matches!(again, Error::FrontFull), "{again:?}");
            assert_eq!(self.options.runs, 0, "a snapshot holds writers up");
            self.end_snapshots();
        }
    }

    fn apply(&mut self, table: u32, key: Vec<u8>, value: Option<Vec<u8>>) {
        let rows = self.model.get_mut(&table).unwrap();
        match value {
            Some(value) => rows.insert(key, value),
            None => rows.remove(&key),
        };
    }

    fn transaction(&mut self) {
        let mut transaction = self.engine.begin(0, Isolation::Serializable).unwrap();
        let mut changes = Vec::new();
        let mut removed = Vec::new();
        if self.random.below(4) == 0 {
            let table = TABLES[self.random.below(3) as usize];
            let (one, other) = (self.key(), self.key());
            let to = (self.random.below(8) > 0).then(|| one.clone().max(other.clone()));
            let from = one.min(other);
            let written =
                self.engine
                    .transaction_delete_range(&mut transaction, table, &from, to.as_deref());
            match written {
                Ok(()) => removed.push((table, from, to)),
                Err(Error::OverLimit { .. }) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        for _ in 0..self.random.below(8) {
            let table = TABLES[self.random.below(3) as usize];
            let key = self.key();
            let value = (self.random.below(4) > 0).then(|| self.value());
            let outcome = match &value {
                Some(value) => {
                    let put = PutOptions::default();
                    self.engine
                        .transaction_put(&mut transaction, table, &key, value, put)
                }
                None => self
                    .engine
                    .transaction_delete(&mut transaction, table, &key),
            };
            match outcome {
                Ok(()) => changes.push((table, key, value)),
                Err(Error::OverLimit { .. }) => break,
                Err(error) => panic!("{error:?}"),
            }
        }
        let mut expected = self.model.clone();
        for (table, from, to) in &removed {
            expected
                .get_mut(table)
                .unwrap()
                .retain(|key, _| key < from || to.as_ref().is_some_and(|to| key >= to));
        }
        for (table, key, value) in &changes {
            let rows = expected.get_mut(table).unwrap();
            match value {
                Some(value) => rows.insert(key.clone(), value.clone()),
                None => rows.remove(key),
            };
        }
        for table in TABLES {
            let view = self
                .engine
                .transaction_view(&transaction, table, true)
                .unwrap();
            let mut cursor = self.engine.cursor(&view, true).unwrap();
            cursor.seek(CursorPosition::First).unwrap();
            for (key, value) in &expected[&table] {
                let entry = cursor.entry().unwrap();
                assert_eq!(entry.key, key.as_slice());
                assert_eq!(&whole(&self.engine, &view, entry.value), value);
                cursor.advance().unwrap();
            }
            assert!(!cursor.is_valid());
        }
        if self.random.below(5) == 0 {
            self.engine.rollback(transaction);
            return;
        }
        loop {
            match self.engine.try_commit(&mut transaction, 0, 0) {
                Ok(_) => {
                    self.model = expected;
                    break;
                }
                // Its own snapshot may keep the last memtable: give up, then.
                Err(error @ (Error::FrontFull | Error::LogFull)) => {
                    if make_room_or_stuck(&self.engine, error).is_err() {
                        break;
                    }
                }
                Err(Error::TransactionTooOld) => break,
                Err(error) => panic!("{error:?}"),
            }
        }
        self.engine.rollback(transaction);
    }

    fn snapshot(&mut self) {
        self.engine.flush_step(true).unwrap();
        if let Ok(snapshot) = self.engine.snapshot(0) {
            self.snapshots.push((snapshot, self.model.clone()));
        }
        if self.snapshots.len() > 2 {
            let at = self.random.below(self.snapshots.len() as u64) as usize;
            let (snapshot, model) = self.snapshots.remove(at);
            for table in TABLES {
                assert_eq!(
                    rows_of(&self.engine, &snapshot, table).unwrap(),
                    model[&table]
                );
            }
            self.engine.end(snapshot);
        }
    }

    fn end_snapshots(&mut self) {
        for (snapshot, model) in core::mem::take(&mut self.snapshots) {
            for table in TABLES {
                assert_eq!(
                    rows_of(&self.engine, &snapshot, table).unwrap(),
                    model[&table]
                );
            }
            self.engine.end(snapshot);
        }
    }

    fn cursor_walk(&mut self) {
        self.engine.flush_step(true).unwrap();
        let snapshot = self.engine.snapshot(0).unwrap();
        let table = TABLES[self.random.below(3) as usize];
        let key = self.key();
        let view = self.engine.view(&snapshot, table, true).unwrap();
        let mut cursor = self.engine.cursor(&view, true).unwrap();
        let rows: Vec<_> = self.model[&table].iter().collect();
        cursor.seek(CursorPosition::AtOrAfter(&key)).unwrap();
        let mut at = rows.partition_point(|row| *row.0 < key) as i64;
        for _ in 0..20 {
            let expected = usize::try_from(at).ok().and_then(|at| rows.get(at));
            let found = cursor
                .entry()
                .map(|entry| (entry.key.to_vec(), whole(&self.engine, &view, entry.value)));
            assert_eq!(found, expected.map(|row| (row.0.clone(), row.1.clone())));
            if found.is_none() {
                break;
            }
            if self.random.below(2) == 0 {
                cursor.advance().unwrap();
                at += 1;
            } else {
                cursor.retreat().unwrap();
                at -= 1;
            }
        }
        let value = self.engine.get(&view, &key, true).unwrap();
        assert_eq!(
            value
                .as_ref()
                .map(|value| whole(&self.engine, &view, value.stored()))
                .as_ref(),
            self.model[&table].get(&key)
        );
        drop(value);
        drop(cursor);
        self.engine.end(snapshot);
    }

    fn reopen(&mut self) {
        self.end_snapshots();
        self.engine.flush_step(true).unwrap();
        if self.random.below(2) == 0 {
            self.engine.mark().unwrap();
        }
        assert!(
            self.storage.violations().is_empty(),
            "{:?}",
            self.storage.violations()
        );
        self.storage = if self.random.below(2) == 0 {
            self.storage.restart()
        } else {
            self.storage
                .crash_image(lightning_sim::CrashMode::Synced, 0)
        };
        // The old engine's storage is its own; it is simply let go.
        self.engine = open(&self.storage, &self.options).unwrap();
        self.check();
    }

    /// Now and then with nothing above the trees, so that what lies at the end moves.
    fn trim(&mut self) {
        if self.options.runs > 0 && self.random.below(2) == 0 {
            drain(&self.engine).unwrap();
        }
        for _ in 0..self.random.below(20) {
            match self.engine.trim_pages() {
                Ok(true) => {}
                Ok(false) | Err(Error::Busy) => break,
                Err(error) => panic!("{error:?}"),
            }
        }
    }

    fn check(&mut self) {
        for table in TABLES {
            assert_eq!(rows(&self.engine, table).unwrap(), self.model[&table]);
        }
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..=59 => self.commit_one(),
            60..=69 => self.transaction(),
            70..=79 => match self.engine.flush_step(true) {
                Ok(_) => {}
                Err(error) => self.room(error),
            },
            80..=89 => {
                self.engine
                    .poll_maintenance(Budgeted {
                        entries: 20,
                        log_bytes: 4_096,
                    })
                    .unwrap();
            }
            90..=93 => self.cursor_walk(),
            94..=96 => self.snapshot(),
            97 => self.trim(),
            98 if self.random.below(2) == 0 => self.engine.rest().unwrap(),
            98 => {
                let _ = self.engine.freeze_front();
            }
            _ => self.reopen(),
        }
    }
}

/// As `make_room`, but a front that only open snapshots keep full is an error.
fn make_room_or_stuck(engine: &Engine, error: Error) -> Result<()> {
    if !matches!(error, Error::FrontFull | Error::LogFull) {
        return Err(error);
    }
    match engine.flush_step(true) {
        Ok(_) | Err(Error::LogFull) => {}
        Err(error) => return Err(error),
    }
    let progress = engine.poll_maintenance(Budgeted::default())?;
    // A flush alone makes room in the log.
    if progress.worked || progress.wants_sync || error == Error::LogFull {
        Ok(())
    } else {
        Err(Error::FrontFull)
    }
}

fn run(seed: u64, sim: SimOptions, options: Options, steps: usize) {
    let mut run = Run::new(seed, sim, options);
    for _ in 0..steps {
        run.step();
    }
    run.end_snapshots();
    drain(&run.engine).unwrap();
    run.check();
    let entries: usize = run.model.values().map(Rows::len).sum();
    assert_eq!(verify(&run.engine).entries, entries as u64);
    run.reopen();
    let statistics = run.engine.statistics();
    assert!(statistics.store.used_bytes < 3 << 20, "{statistics:?}");
}

#[test]
fn random_operations_on_disk() {
    for seed in 0..6 {
        let options = Options {
            runs: seed as u32 % 4,
            ..busy_options()
        };
        run(seed, SimOptions::disk(512), options, 1_500);
    }
    let options = Options {
        page_bytes: 4_096,
        cache_bytes: 256 << 10,
        runs: 6,
        ..busy_options()
    };
    run(100, SimOptions::disk(4_096), options, 1_500);
}

#[test]
fn random_operations_on_flash() {
    let options = Options {
        file_bytes_max: 4 << 20,
        ..busy_options()
    };
    for seed in 0..3 {
        run(
            seed,
            SimOptions::flash(256, 4_096, 16 << 20),
            options,
            1_000,
        );
    }
}

#[test]
fn random_operations_in_forty_kib() {
    for seed in 0..3 {
        let options = Options {
            read_set_bytes: 64,
            ..Options::small()
        };
        run(seed, SimOptions::flash(256, 4_096, 8 << 20), options, 800);
    }
}
