//! The device is full in the middle of a load: by what the load writes, or because
//! somebody else took the rest of it, at any moment.
//!
//! Commits are refused with an error that says so, never for ever tried again;
//! reads go on; the full device opens, for reading and for writing, after a kill and after
//! a power cut, again and again, and when an open was cut off itself; and when it grows,
//! work resumes and all that was acknowledged is there.

use lightning_core::db::{Budgeted, Engine, Options};
use lightning_core::error::Error;
use lightning_sim::{CrashMode, Random, SimStorage, mix};

use super::{Check, Outcome, Settings};
use crate::cases::{Verdict, for_each};
use crate::engine::{
    Change, Model, SETUPS, Setup, TABLES, What, commit, create, digest, drain_and_verify, open,
    setups,
};

/// The entry in the table.
pub const CHECK: Check = Check {
    name: "engine-full-disk",
    about: "a full device refuses writes, is read, always opens, and goes on when it grows",
    run,
};

fn run(settings: &Settings) -> Outcome {
    let count = if settings.is_long { 2_000 } else { 100 };
    for_each(count, |case| {
        let seed = mix(settings.seed ^ mix(case));
        let setup = setups()[case as usize % SETUPS];
        Load::run(setup, seed).map_err(|reason| format!("{} seed {seed}: {reason}", setup.name))
    })
}

struct Load {
    setup: Setup,
    engine: Engine,
    random: Random,
    model: Model,
    /// The state after the last acknowledged commit, and after each one since.
    digests: Vec<u64>,
}

/// More than any of these devices has room for.
const COMMITS_MAX: u64 = 20_000;

/// Rounds of flush and maintenance after which a commit without room is stuck.
const ROUNDS_MAX: u32 = 60;

fn words(error: Error) -> String {
    error.to_string()
}

/// A hole that a power cut has taken back is taken by nobody else.
fn hold_all(image: &SimStorage) {
    image.set_capacity(image.capacity().max(image.bytes_used()));
}

/// What is found when the process, or the power, goes.
fn after(storage: &SimStorage, random: &mut Random) -> SimStorage {
    let image = match random.below(CrashMode::EVERY.len() as u64 + 2) as usize {
        0 | 1 => storage.restart(),
        number => storage.crash_image(CrashMode::EVERY[number - 2], random.next_u64()),
    };
    hold_all(&image);
    image
}

impl Load {
    fn run(setup: Setup, seed: u64) -> Verdict {
        let mut random = Random::new(seed);
        let room = (32 << 10) + random.below(300 << 10);
        let mut setup = setup;
        // A flash chip gives each file room of its own.
        let is_fixed = setup.sim.geometry.page_file_bytes_max != u64::MAX;
        if is_fixed {
            setup.sim.geometry.page_file_bytes_max = (96 << 10) + room;
        }
        let storage = SimStorage::new(setup.sim);
        let engine = create(&storage, &setup.options).map_err(words)?;
        let others_take_it = !is_fixed && random.chance(1, 2);
        if !is_fixed && !others_take_it {
            storage.set_capacity(storage.bytes_used() + room);
        }
        let commits = random.below(3_000);
        let mut load = Self {
            setup,
            engine,
            random,
            model: Model::default(),
            digests: vec![0],
        };
        if others_take_it {
            load.until_full(commits)?;
            storage.set_capacity(storage.bytes_used());
        }
        load.until_full(COMMITS_MAX)?;
        load.check("full")?;
        for _ in 0..3 {
            load.reopen(&storage)?;
        }
        if is_fixed {
            return Ok(());
        }
        storage.set_capacity(setup.sim.capacity_bytes);
        for _ in 0..200 {
            let changes = load.changes();
            if !load.commit(&changes)? {
                return Err("the device grew, and commits find no room".into());
            }
        }
        load.engine.flush_step(true).map_err(words)?;
        load.digests = vec![load.model.digest];
        load.check("grown")?;
        drain_and_verify(&load.engine, load.model.digest)?;
        if let Some(violation) = storage.violations().first() {
            return Err(format!("storage contract: {violation}"));
        }
        drop(load.engine);
        let image = storage.crash_image(CrashMode::Synced, 0);
        let engine = open(&image, &setup.options).map_err(words)?;
        if digest(&engine).map_err(words)? != load.model.digest {
            return Err("after all, rows differ".into());
        }
        Ok(())
    }

    fn changes(&mut self) -> Vec<Change> {
        let most = if self.random.chance(1, 20) {
            self.setup.value_bytes_longest
        } else {
            self.setup.value_bytes_longest.min(200)
        };
        let mut value = vec![0; self.random.below(most) as usize];
        self.random.fill(&mut value);
        let number = self.random.below(20_000);
        vec![Change {
            table: TABLES[self.random.below(2) as usize],
            key: format!("key{number:05}").into_bytes(),
            what: match self.random.below(60) {
                0 => What::DeleteTo(Some(format!("key{:05}", number + 200).into_bytes())),
                1..=5 => What::Delete,
                _ => What::Put(value),
            },
        }]
    }

    /// Opens what a kill or a power cut leaves, again and again, some of these opens cut off:
    /// it is as full, and as readable, and when there is room, all is well.
    fn reopen(&mut self, storage: &SimStorage) -> Verdict {
        let options = self.setup.options;
        let mut image = after(storage, &mut self.random);
        let mut allowed = self.digests.clone();
        for number in 0..6 {
            let when = format!("open {number}");
            let read_only = Options {
                read_only: true,
                ..options
            };
            let engine = open(&image.read_only(), &read_only)
                .map_err(|error| format!("{when}, read only: {error}"))?;
            let found = digest(&engine).map_err(words)?;
            if !allowed.contains(&found) {
                return Err(format!("{when}, read only: other rows"));
            }
            drop(engine);
            if self.random.chance(1, 2) {
                image.cut_during(image.operation_count() + 1 + self.random.below(12));
                let _cut_off = open(&image, &options);
                image = after(&image, &mut self.random);
                continue;
            }
            let engine = open(&image, &options).map_err(|error| format!("{when}: {error}"))?;
            let found = digest(&engine).map_err(words)?;
            if !allowed.contains(&found) {
                return Err(format!("{when}: other rows"));
            }
            // What was opened was durable before it was served.
            allowed = vec![found];
            for _ in 0..self.random.below(3) {
                match engine.poll_maintenance(Budgeted::default()) {
                    Ok(_) => {}
                    Err(error) if error.is_storage_full() => {}
                    Err(error) => return Err(format!("{when}, maintenance: {error}")),
                }
            }
            drop(engine);
            if let Some(violation) = image.violations().first() {
                return Err(format!("{when}, storage contract: {violation}"));
            }
            image = after(&image, &mut self.random);
        }
        if self.is_fixed() {
            return Ok(());
        }
        image.set_capacity(u64::MAX);
        let engine = open(&image, &options).map_err(|error| format!("grown: {error}"))?;
        let found = digest(&engine).map_err(words)?;
        if !allowed.contains(&found) {
            return Err("grown: other rows".into());
        }
        drain_and_verify(&engine, found).map_err(|reason| format!("reopened and grown: {reason}"))
    }

    /// Whether the page file has a room of its own, which can't grow.
    fn is_fixed(&self) -> bool {
        self.setup.sim.geometry.page_file_bytes_max != u64::MAX
    }

    /// Writes so many commits, or until one is refused for want of room.
    fn until_full(&mut self, commits: u64) -> Verdict {
        for _ in 0..commits {
            let changes = self.changes();
            if !self.commit(&changes)? {
                return Ok(());
            }
            if self.random.chance(1, 4) {
                self.flush()?;
            }
            if self.random.chance(1, 8) {
                self.poll(24)?;
            }
        }
        if commits == COMMITS_MAX {
            return Err("never full".into());
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

    /// Whether it worked, or a full device kept it from working.
    fn poll(&mut self, entries: u32) -> Result<bool, String> {
        let outcome = self.engine.poll_maintenance(Budgeted {
            entries,
            log_bytes: 64 << 10,
        });
        match outcome {
            Ok(progress) => Ok(progress.worked),
            Err(error) if error.is_storage_full() => Ok(true),
            Err(error) => Err(format!("maintenance: {error}")),
        }
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
                Err(error @ (Error::FrontFull | Error::LogFull | Error::StorageFull)) => {
                    last = Some(error)
                }
                Err(error) => return Err(format!("commit: {error}")),
            }
            self.flush()?;
            self.poll(4_096)?;
        }
        match last {
            Some(Error::StorageFull) => Ok(false),
            other => Err(format!("stuck on a full device, and it answers {other:?}")),
        }
    }

    fn check(&self, when: &str) -> Verdict {
        let found = digest(&self.engine).map_err(|error| format!("{when}: reading: {error}"))?;
        if self.digests.contains(&found) {
            Ok(())
        } else {
            Err(format!("{when}: readers see other rows"))
        }
    }
}
