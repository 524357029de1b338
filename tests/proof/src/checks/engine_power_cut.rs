//! A power cut after and during every storage operation of a run.
//!
//! The run goes over a storage that keeps a copy of itself at each operation,
//! so that one run yields every cut of it. What the medium may hold at a cut is
//! opened: it must be the state after some commit, not before the last one
//! acknowledged; it can be written to; and where recovery is cut off as well,
//! recovery after that finds the same.

use std::sync::{Arc, Mutex, PoisonError};

use lightning_sim::{CrashMode, Random, SimStorage, mix};

use super::{Check, Outcome, Settings};
use crate::cases::{Jobs, Tally, Verdict, judge, with_workers};
use crate::engine::{
    Change, Model, Setup, What, commit, create, digest, drain, drain_and_verify, open, setups,
    verify,
};
use crate::script::{Failure, Player, Window, script};
use crate::watched::Watched;

/// The entry in the table.
pub const CHECK: Check = Check {
    name: "engine-power-cut",
    about: "after a cut anywhere the state is a prefix of commits with all acknowledged",
    run,
};

const COMMITS: usize = 110;

fn run(settings: &Settings) -> Outcome {
    let scripts = if settings.is_long { 60 } else { 13 };
    with_workers(|jobs| {
        let mut number = 0;
        for index in 0..scripts {
            for setup in setups() {
                let seed = mix(settings.seed ^ mix(index));
                number += 1;
                play(&jobs, setup, seed, number << 32);
            }
        }
    })
}

/// What the storage's observer has to know of the run.
#[derive(Default)]
struct Seen {
    window: Window,
    operations: u64,
}

/// Where the copies of the storage go.
struct Cuts {
    seen: Arc<Mutex<Seen>>,
    jobs: Jobs,
    setup: Setup,
    seed: u64,
    first_case: u64,
}

impl Cuts {
    fn check(&self, storage: SimStorage) {
        let (number, window) = {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.operations += 1;
            (seen.operations, seen.window.clone())
        };
        let (setup, seed) = (self.setup, mix(self.seed ^ number));
        let first_case = self.first_case + number * 64;
        let job = Box::new(move |tally: &Tally| {
            let cut = Cut {
                setup,
                storage,
                window,
                seed,
                number,
            };
            cut.check(tally, first_case);
        });
        // Without receivers the run is over already.
        let _ = self.jobs.send(job);
    }
}

fn play(jobs: &Jobs, setup: Setup, seed: u64, first_case: u64) {
    let inner = SimStorage::new(setup.sim);
    let seen = Arc::new(Mutex::new(Seen {
        window: Window {
            is_created: false,
            digests: vec![0],
        },
        operations: 0,
    }));
    let cuts = Cuts {
        seen: Arc::clone(&seen),
        jobs: jobs.clone(),
        setup,
        seed,
        first_case,
    };
    let watched = Watched::new(inner.clone(), move |storage| cuts.check(storage));
    let verdict = judge(move || {
        let mut player = Player::new(Arc::new(watched), &setup.options);
        player.start().map_err(wrong)?;
        let note = |player: &Player| {
            seen.lock().unwrap_or_else(PoisonError::into_inner).window = player.window();
        };
        note(&player);
        for action in script(seed, COMMITS, setup.value_bytes_longest) {
            player.step(&action).map_err(wrong)?;
            note(&player);
        }
        match inner.violations().first() {
            Some(violation) => Err(violation.clone()),
            None => Ok(()),
        }
    });
    let job = Box::new(move |tally: &Tally| {
        let verdict = verdict.map_err(|reason| format!("{} seed {seed}: {reason}", setup.name));
        tally.add(first_case, verdict);
    });
    let _ = jobs.send(job);
}

fn wrong(failure: Failure) -> String {
    match failure {
        Failure::Engine(error) => format!("without any fault: {error}"),
        Failure::Wrong(reason) => reason,
    }
}

/// A storage at the moment of a cut.
struct Cut {
    setup: Setup,
    storage: SimStorage,
    window: Window,
    seed: u64,
    number: u64,
}

impl Cut {
    fn check(&self, tally: &Tally, first_case: u64) {
        let modes: &[CrashMode] = if self.storage.unsynced_count() == 0 {
            &[CrashMode::Synced]
        } else {
            &CrashMode::EVERY
        };
        for (index, mode) in modes.iter().enumerate() {
            let seed = mix(self.seed ^ index as u64);
            let case = |second: &str, reason: String| {
                let Self { setup, number, .. } = self;
                format!("{}, cut {number} {mode:?}{second}: {reason}", setup.name)
            };
            let mut found = 0;
            let verdict = judge(|| {
                found = self.first(*mode, seed)?;
                Ok(())
            });
            let is_good = verdict.is_ok();
            let first_case = first_case + 8 * index as u64;
            tally.add(first_case, verdict.map_err(|reason| case("", reason)));
            if is_good && seed.is_multiple_of(3) {
                let verdict = judge(|| self.second(*mode, seed, found));
                let words = |reason| case(", recovery cut", reason);
                tally.add(first_case + 1, verdict.map_err(words));
            }
        }
    }

    /// Opens, or creates again where creation was cut off.
    fn bring_up(&self, image: &SimStorage) -> Result<lightning_core::db::Engine, String> {
        match open(image, &self.setup.options) {
            Ok(engine) => Ok(engine),
            Err(error) if self.window.is_created => Err(format!("refused: {error}")),
            Err(_) => create(image, &self.setup.options)
                .map_err(|error| format!("creation is not done again: {error}")),
        }
    }

    fn first(&self, mode: CrashMode, seed: u64) -> Result<u64, String> {
        let image = self.storage.crash_image(mode, seed);
        let engine = self.bring_up(&image)?;
        let words = |error: lightning_core::error::Error| error.to_string();
        let found = digest(&engine).map_err(words)?;
        if !self.window.holds(found) {
            return Err("not the state after a commit from the acknowledged one on".into());
        }
        if seed % 8 == 1 {
            verify(&engine)?;
        }
        let change = Change {
            table: 16,
            key: b"zzz after the cut".to_vec(),
            what: What::Put(seed.to_le_bytes().to_vec()),
        };
        let mut added = Model::default();
        added.apply(std::slice::from_ref(&change));
        let expected = found.wrapping_add(added.digest);
        let mut attempts = 0;
        while let Err(error) = commit(&engine, std::slice::from_ref(&change)) {
            crate::engine::make_room(&engine, error).map_err(words)?;
            attempts += 1;
            if attempts > 100 {
                return Err(format!("not writable after recovery: {error}"));
            }
        }
        engine.flush_step(true).map_err(words)?;
        if seed.is_multiple_of(4) {
            drain(&engine).map_err(words)?;
        }
        if seed.is_multiple_of(2) {
            drop(engine);
            let image = image.crash_image(CrashMode::Random, seed);
            let mut options = self.setup.options;
            if seed % 3 == 1 {
                // Runs that stand are merged, though none is made.
                options.runs = 0;
            }
            let engine = open(&image, &options).map_err(words)?;
            if digest(&engine).map_err(words)? != expected {
                return Err("what was written after recovery is not there".into());
            }
            drain_and_verify(&engine, expected)?;
            violations(&image)?;
        } else {
            drain_and_verify(&engine, expected)?;
        }
        violations(&image)?;
        Ok(found)
    }

    /// Recovery of the same image is cut off; the one after it finds the same.
    fn second(&self, mode: CrashMode, seed: u64, found: u64) -> Verdict {
        let image = self.storage.crash_image(mode, seed);
        let mut random = Random::new(seed);
        let operation = 1 + random.below(24);
        if random.chance(1, 2) {
            image.cut_after(operation);
        } else {
            image.cut_during(operation);
        }
        drop(self.bring_up(&image));
        violations(&image)?;
        let modes = CrashMode::EVERY;
        let mode = modes[random.below(modes.len() as u64) as usize];
        let image = image.crash_image(mode, random.next_u64());
        let engine = self.bring_up(&image)?;
        let again = digest(&engine).map_err(|error| error.to_string())?;
        if again == found {
            Ok(())
        } else {
            Err("the second recovery found another state".into())
        }
    }
}

fn violations(storage: &SimStorage) -> Verdict {
    match storage.violations().first() {
        Some(violation) => Err(format!("storage contract: {violation}")),
        None => Ok(()),
    }
}
