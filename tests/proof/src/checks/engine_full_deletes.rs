//! A device that is full of puts is freed by deletes.
//!
//! A device of random, small capacity is filled by puts until one is refused, and half of
//! what is there is deleted, one by one or by ranges: no delete is refused for want of room,
//! puts are accepted again, and all of it once more; all rows are as acknowledged, at
//! each moment, and after a kill or a power cut. In some cases a snapshot is held for a
//! while: as long as it is, a delete may be refused, but not afterwards. The device
//! belongs to the database alone: what others may take from the reserve is the matter of
//! `engine-full-disk`.
//!
//! Where blocks are larger than units (flash, compressed pages), blocks that are half dead
//! may take the reserve: there cases with a refused delete are counted, and bounded.

use std::sync::atomic::{AtomicU64, Ordering};

use lightning_core::db::{Budgeted, Engine, Options};
use lightning_core::error::Error;
use lightning_core::txn::Snapshot;
use lightning_platform::Storage;
use lightning_sim::{CrashMode, Random, SimStorage, mix};

use super::{Check, Outcome, Settings};
use crate::cases::{Verdict, for_each};
use crate::engine::{
    Change, Model, SETUPS, Setup, TABLES, What, commit, create, digest, drain_and_verify, open,
    setups,
};

/// The entry in the table.
pub const CHECK: Check = Check {
    name: "engine-full-deletes",
    about: "on a device that is full of puts deletes are accepted, and make room for puts",
    run,
};

/// More than any of these devices has room for.
const PUTS_MAX: u64 = 20_000;
/// Rounds of flush and maintenance after which a commit is stuck.
const ROUNDS_MAX: u32 = 2_000;
/// How often a device is filled and freed.
const CYCLES: u32 = 3;

fn run(settings: &Settings) -> Outcome {
    let count = if settings.is_long { 2_400 } else { 400 };
    let counts = Counts::default();
    let outcome = for_each(count, |case| {
        let seed = mix(settings.seed ^ mix(!case));
        let mut setup = setups()[case as usize % SETUPS];
        // Each device with each way to the trees.
        if setup.options.runs > 0 {
            setup.options.runs = [0, 2, 4][case as usize / SETUPS % 3];
        }
        Case::run(setup, seed, &counts).map_err(|reason| {
            let runs = setup.options.runs;
            format!("{}, {runs} runs, seed {seed}: {reason}", setup.name)
        })
    });
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    // One in eight of those with larger blocks.
    let too_many = read(&counts.refused) > read(&counts.with_blocks) / 8;
    let note = format!(
        "{} deletes, {} of them refused beside a snapshot, {} of {} cases with larger blocks refused one",
        read(&counts.deletes),
        read(&counts.beside_snapshots),
        read(&counts.refused),
        read(&counts.with_blocks),
    );
    Outcome {
        bad: outcome.bad + u64::from(too_many),
        first_bad: outcome.first_bad.or_else(|| {
            too_many.then(|| "deletes are refused too often where blocks are large".into())
        }),
        note: Some(note),
        ..outcome
    }
}

/// What happened in all cases.
#[derive(Default)]
struct Counts {
    deletes: AtomicU64,
    beside_snapshots: AtomicU64,
    with_blocks: AtomicU64,
    refused: AtomicU64,
}

struct Case<'a> {
    setup: Setup,
    storage: SimStorage,
    engine: Engine,
    random: Random,
    model: Model,
    /// The state after the last durable commit, and after each one since.
    digests: Vec<u64>,
    snapshot: Option<(Snapshot, u64)>,
    counts: &'a Counts,
    has_refused: bool,
    /// Whether a snapshot was held since the device was filled.
    has_held: bool,
    /// How maintenance failed the last time.
    failure: Option<Error>,
}

fn words(error: Error) -> String {
    error.to_string()
}

impl<'a> Case<'a> {
    fn run(setup: Setup, seed: u64, counts: &'a Counts) -> Verdict {
        let mut random = Random::new(seed);
        let mut setup = setup;
        let geometry = &mut setup.sim.geometry;
        let page = u64::from(setup.options.page_bytes);
        let block = page.max(u64::from(geometry.erase_block_bytes));
        let room = (200 + random.below(400)) * block;
        let is_fixed = geometry.page_file_bytes_max != u64::MAX;
        if is_fixed {
            geometry.page_file_bytes_max = 16 * block + room;
        }
        let storage = SimStorage::new(setup.sim);
        let engine = create(&storage, &setup.options).map_err(words)?;
        if !is_fixed {
            storage.set_capacity(storage.bytes_used() + (64 << 10) + room);
        }
        let mut case = Self {
            setup,
            storage,
            engine,
            random,
            model: Model::default(),
            digests: vec![0],
            snapshot: None,
            counts,
            has_refused: false,
            has_held: false,
            failure: None,
        };
        let has_blocks = is_fixed || setup.options.unit_bytes > 0;
        let verdict = case.cycles();
        let refused = verdict.is_ok() && case.has_refused;
        if has_blocks {
            counts.with_blocks.fetch_add(1, Ordering::Relaxed);
            counts.refused.fetch_add(refused.into(), Ordering::Relaxed);
        } else if refused {
            return Err(format!("a delete was refused; {}", case.standing()));
        }
        verdict
    }

    /// How things stand, for the words of a bad case.
    fn standing(&self) -> String {
        let statistics = self.engine.statistics();
        let free = self
            .storage
            .capacity()
            .saturating_sub(self.storage.bytes_used());
        let failure = self.failure.map(words);
        let kib = |bytes: u64| bytes >> 10;
        format!(
            "KiB: device {} free {}, page file takes {} of {} used {} pending {}, front {} runs {}, log {} kept {}; maintenance: {failure:?}",
            kib(self.storage.capacity()),
            kib(free),
            kib(self
                .storage
                .page_file_room()
                .map_or(0, |room| room.taken_bytes)),
            kib(statistics.store.file_bytes),
            kib(statistics.store.used_bytes),
            kib(statistics.store.pending_bytes),
            kib(statistics.front_bytes),
            kib(statistics.run_bytes),
            kib(statistics.log_file_bytes),
            kib(statistics.log_kept_bytes),
        )
    }

    fn cycles(&mut self) -> Verdict {
        for cycle in 0..CYCLES {
            self.fill()
                .map_err(|reason| format!("filling {cycle}: {reason}"))?;
            self.check("full")?;
            if self.random.chance(1, 2) {
                self.reopen()?;
            }
            self.free()
                .map_err(|reason| format!("deleting {cycle}: {reason}"))?;
            if self.has_refused {
                return Ok(());
            }
            self.check("freed")?;
        }
        self.settle()?;
        drain_and_verify(&self.engine, self.model.digest)?;
        match self.storage.violations().first() {
            Some(violation) => Err(format!("storage contract: {violation}")),
            None => Ok(()),
        }
    }

    /// Puts until one is refused.
    fn fill(&mut self) -> Verdict {
        for number in 0..PUTS_MAX {
            let most = if self.random.chance(1, 20) {
                self.setup.value_bytes_longest
            } else {
                self.setup.value_bytes_longest.min(200)
            };
            let mut value = vec![0; self.random.below(most) as usize];
            self.random.fill(&mut value);
            let key = self.random.below(20_000);
            let put = self.change(key, What::Put(value));
            if self.random.chance(1, 400) {
                self.hold()?;
            } else if self.random.chance(1, 200) {
                self.let_go();
            }
            if !self.commit(&put)? {
                if self.snapshot.is_some() {
                    self.let_go();
                    self.settle()?;
                    continue;
                }
                return if number == 0 {
                    Err("no put was accepted".into())
                } else {
                    Ok(())
                };
            }
            if self.random.chance(1, 60) {
                let what = self.range_from(key, 20);
                let change = self.change(key, what);
                if !self.commit(&change)? && self.snapshot.is_none() {
                    self.has_refused = true;
                    return Ok(());
                }
            }
            self.work(4, 8, 24)?;
        }
        Err("never full".into())
    }

    /// Deletes about half of what is there; then some puts find room.
    fn free(&mut self) -> Verdict {
        self.has_held = self.snapshot.is_some();
        let mut keys: Vec<(u32, Vec<u8>)> = self.model.rows.keys().cloned().collect();
        let rows = keys.len();
        let is_ordered = self.random.chance(1, 3);
        let by_range = self.random.chance(1, 4);
        if is_ordered {
            keys.truncate(rows / 2);
        } else {
            for index in (1..rows).rev() {
                keys.swap(index, self.random.below(index as u64 + 1) as usize);
            }
            keys.truncate(rows / 2);
        }
        for (table, key) in keys {
            if self.random.chance(1, 200) {
                self.hold()?;
            } else if self.random.chance(1, 100) {
                self.let_go();
            }
            let what = if by_range && self.random.chance(1, 10) {
                let mut end = key.clone();
                end.push(b'~');
                What::DeleteTo(Some(end))
            } else {
                What::Delete
            };
            let change = [Change { table, key, what }];
            self.counts.deletes.fetch_add(1, Ordering::Relaxed);
            let mut accepted = self.commit(&change)?;
            if !accepted && self.has_held {
                let counter = &self.counts.beside_snapshots;
                counter.fetch_add(1, Ordering::Relaxed);
                self.let_go();
                self.settle()?;
                accepted = self.commit(&change)?;
            }
            if !accepted {
                self.has_refused = true;
                return Ok(());
            }
            self.work(4, 8, 24)?;
        }
        self.let_go();
        self.settle()?;
        for number in 0..10 {
            let put = self.change(number, What::Put(vec![number as u8; 100]));
            if !self.commit(&put)? {
                let has_blocks = self.setup.options.unit_bytes > 0
                    || self.setup.sim.geometry.erase_block_bytes > 1;
                if !has_blocks {
                    let standing = self.standing();
                    return Err(format!(
                        "{rows} rows, half were deleted, and put {number} finds no room; {standing}"
                    ));
                }
                self.has_refused = true;
                return Ok(());
            }
        }
        Ok(())
    }

    fn change(&mut self, key: u64, what: What) -> [Change; 1] {
        [Change {
            table: TABLES[(key % 2) as usize],
            key: format!("key{key:05}").into_bytes(),
            what,
        }]
    }

    fn range_from(&mut self, key: u64, most: u64) -> What {
        let end = key + 1 + self.random.below(most);
        What::DeleteTo(Some(format!("key{end:05}").into_bytes()))
    }

    fn hold(&mut self) -> Verdict {
        if self.snapshot.is_none() {
            self.flush()?;
            let snapshot = self.engine.snapshot(0).map_err(words)?;
            self.snapshot = Some((snapshot, self.model.digest));
            self.has_held = true;
        }
        Ok(())
    }

    fn let_go(&mut self) {
        if let Some((snapshot, _)) = self.snapshot.take() {
            self.engine.end(snapshot);
        }
    }

    /// Flushes and maintains now and then.
    fn work(&mut self, flushes: u64, polls: u64, entries: u32) -> Verdict {
        if self.random.chance(1, flushes) {
            self.flush()?;
        }
        if self.random.chance(1, polls) {
            self.poll(entries)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Verdict {
        match self.engine.flush_step(true) {
            Ok(_) => self.digests = vec![self.model.digest],
            Err(Error::LogFull) => {}
            Err(error) => return Err(format!("flush: {error}")),
        }
        Ok(())
    }

    /// A step of maintenance; whether anything was done.
    fn poll(&mut self, entries: u32) -> Result<bool, String> {
        let outcome = self.engine.poll_maintenance(Budgeted {
            entries,
            log_bytes: 64 << 10,
        });
        match outcome {
            Ok(progress) => Ok(progress.worked || progress.wants_sync),
            Err(error) if error.is_storage_full() => {
                self.failure = Some(error);
                Ok(false)
            }
            Err(error) => Err(format!("maintenance: {error}")),
        }
    }

    /// As a host does when writes pause.
    fn settle(&mut self) -> Verdict {
        for _ in 0..ROUNDS_MAX {
            self.flush()?;
            match self.engine.drain() {
                Ok(true) | Err(Error::FrontFull | Error::StorageFull) => {
                    self.poll(4_096)?;
                }
                Ok(false) => return Ok(()),
                Err(error) => return Err(format!("draining: {error}")),
            }
        }
        Ok(())
    }

    /// Commits, or answers false where the device is full.
    fn commit(&mut self, changes: &[Change]) -> Result<bool, String> {
        let mut last = None;
        for _ in 0..ROUNDS_MAX {
            match commit(&self.engine, changes) {
                Ok(_) => {
                    self.model.apply(changes);
                    self.digests.push(self.model.digest);
                    return Ok(true);
                }
                Err(Error::StorageFull) => return Ok(false),
                Err(error @ (Error::FrontFull | Error::LogFull)) => last = Some(error),
                Err(error) => return Err(format!("commit: {error}")),
            }
            self.flush()?;
            self.poll(4_096)?;
            if self.snapshot.is_some() && self.random.chance(1, 20) {
                self.let_go();
            }
        }
        Err(format!(
            "stuck, and it answers {last:?}; {}",
            self.standing()
        ))
    }

    /// What is found after a kill or a power cut is the same, and as usable.
    fn reopen(&mut self) -> Verdict {
        self.let_go();
        let image = match self.random.below(CrashMode::EVERY.len() as u64 + 2) as usize {
            0 | 1 => self.storage.restart(),
            number => {
                let mode = CrashMode::EVERY[number - 2];
                self.storage.crash_image(mode, self.random.next_u64())
            }
        };
        // A hole that a power cut has taken back is taken by nobody else.
        image.set_capacity(image.capacity().max(image.bytes_used()));
        let options: Options = self.setup.options;
        self.engine = open(&image, &options).map_err(|error| format!("reopening: {error}"))?;
        self.storage = image;
        // Some of the last commits may be gone: what is there counts from here on.
        let found = digest(&self.engine).map_err(words)?;
        if !self.digests.contains(&found) {
            return Err("reopened: other rows".into());
        }
        if found != self.model.digest {
            self.read_model()?;
        }
        self.digests = vec![found];
        Ok(())
    }

    /// Takes what the engine has for the model, once its digest was found right.
    fn read_model(&mut self) -> Verdict {
        self.model = crate::engine::model_of(&self.engine).map_err(words)?;
        Ok(())
    }

    fn check(&mut self, when: &str) -> Verdict {
        if let Some((snapshot, expected)) = &self.snapshot {
            let found = crate::engine::digest_of(&self.engine, snapshot).map_err(words)?;
            if found != *expected {
                return Err(format!("{when}: a snapshot has changed"));
            }
        }
        let found = digest(&self.engine).map_err(|error| format!("{when}, reading: {error}"))?;
        if self.digests.contains(&found) {
            Ok(())
        } else {
            Err(format!("{when}: readers see other rows"))
        }
    }
}
