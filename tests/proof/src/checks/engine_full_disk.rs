//! The device is full in the middle of a load.
//!
//! Commits are refused with an error that says so, never for ever tried again;
//! reads go on; the full device opens; and when it grows, work resumes and all
//! that was acknowledged is there.

use std::sync::atomic::{AtomicU64, Ordering};

use lightning_core::db::{Budgeted, Engine};
use lightning_core::error::{Error, Limit};
use lightning_platform::IoErrorKind;
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
    about: "a full device refuses writes, is read and opened, and goes on when it grows",
    run,
};

fn run(settings: &Settings) -> Outcome {
    let count = if settings.is_long { 2_000 } else { 100 };
    let refused = AtomicU64::new(0);
    let outcome = for_each(count, |case| {
        let seed = mix(settings.seed ^ mix(case));
        let setup = setups()[case as usize % SETUPS];
        Load::run(setup, seed, &refused)
            .map_err(|reason| format!("{} seed {seed}: {reason}", setup.name))
    });
    let (opens, refused) = (2 * count, refused.into_inner());
    Outcome {
        note: Some(format!(
            "{refused} of {opens} opens on a full device were refused until it grew"
        )),
        ..outcome
    }
}

struct Load {
    setup: Setup,
    engine: Engine,
    random: Random,
    model: Model,
    /// The state after the last acknowledged commit, and after each one since.
    digests: Vec<u64>,
}

/// Rounds of flush and maintenance after which a commit without room is stuck.
const ROUNDS_MAX: u32 = 60;

fn words(error: Error) -> String {
    error.to_string()
}

fn says_full(error: &Error) -> bool {
    match error {
        Error::StorageFull => true,
        Error::Io { error, .. } => error.kind == IoErrorKind::StorageFull,
        Error::OverLimit { limit, .. } => *limit == Limit::PageFileBytes,
        _ => false,
    }
}

impl Load {
    fn run(setup: Setup, seed: u64, refused: &AtomicU64) -> Verdict {
        let storage = SimStorage::new(setup.sim);
        let mut random = Random::new(seed);
        let engine = create(&storage, &setup.options).map_err(words)?;
        let start = storage.bytes_used();
        let limit = start + (32 << 10) + random.below(300 << 10);
        storage.set_capacity(limit);
        let mut load = Self {
            setup,
            engine,
            random,
            model: Model::default(),
            digests: vec![0],
        };
        load.until_full()?;
        load.check("full")?;
        // A reopened one is as full, and as readable.
        for image in [storage.restart(), storage.crash_image(CrashMode::Synced, 0)] {
            let engine = match open(&image, &setup.options) {
                Err(error) if says_full(&error) => {
                    refused.fetch_add(1, Ordering::Relaxed);
                    image.set_capacity(u64::MAX);
                    open(&image.restart(), &setup.options)
                }
                other => other,
            };
            let engine =
                engine.map_err(|error| format!("the full device doesn't open: {error}"))?;
            let found = digest(&engine).map_err(words)?;
            if !load.digests.contains(&found) {
                return Err("the full device opens with other rows".into());
            }
            image.set_capacity(u64::MAX);
            drain_and_verify(&engine, found)
                .map_err(|reason| format!("reopened and grown: {reason}"))?;
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

    fn until_full(&mut self) -> Verdict {
        for _ in 0..20_000 {
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
        Err("never full".into())
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
            Err(error) if says_full(&error) => Ok(true),
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
