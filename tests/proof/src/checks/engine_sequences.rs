//! Every sequence of up to three operations, cut at every storage operation.
//!
//! Faults of crash recovery in file systems need three operations at most, as a rule
//! (Mohan et al., "Finding Crash-Consistency Bugs with Bounded Black-Box Crash Testing",
//! OSDI 2018). So all sequences are gone, on databases so small that a few operations fill
//! memtables and segments. Going a sequence again does the same to the storage: what is
//! before its last operation was cut as a shorter sequence, and only that one is cut.
//!
//! At each cut the images that [`ways`] lists are opened, each different one once. What is
//! found must be a state from the one on that was acknowledged by then; what was found in
//! an image is kept, and compared wherever the image comes up again. An image is written
//! to after that; some are cut again then, or merged and checked page by page.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use lightning_core::db::{Durability, Options};
use lightning_core::error::Error;
use lightning_sim::{CrashMode, SimOptions, SimStorage, mix};

use super::{Check, Outcome, Settings};
use crate::cases::{Tally, Verdict, judge, with_workers};
use crate::engine::{
    Change, Model, Setup, What, busy_options, commit, drain, make_room, open, verify,
};
use crate::images::{Met, ways};
use crate::operations::{Base, Course, OPERATIONS, Operation, digest};
use crate::script::Failure;
use crate::watched::Watched;

/// The entry in the table.
pub const CHECK: Check = Check {
    name: "engine-sequences",
    about: "every sequence of three operations, cut at every storage operation",
    run,
};

/// Memtables and segments that a few operations fill.
fn tiny_options() -> Options {
    Options {
        page_bytes: 512,
        cache_bytes: 16 << 10,
        memtable_bytes: 2_400,
        memtables: 3,
        segment_bytes: 4 << 10,
        log_slots: 12,
        log_slots_ready: 1,
        log_buffer_bytes: 1 << 10,
        write_buffer_bytes: 4 << 10,
        transactions: 2,
        transaction_bytes: 780,
        value_bytes_max: 560,
        snapshots: 4,
        file_bytes_max: 1 << 20,
        tree_levels: 4,
        stage_pages: 2,
        slice_bytes_min: 2 << 10,
        runs: 3,
        filter_bytes: 32,
        range_bytes: 272,
        ..busy_options()
    }
}

/// The devices and sizes.
pub fn setups() -> [Setup; 5] {
    let tiny = tiny_options();
    let setup = |name, sim, options| Setup {
        name,
        sim,
        options,
        value_bytes_longest: 560,
    };
    let disk = SimOptions::disk(512);
    let flash = SimOptions::flash(256, 1_024, 1 << 20);
    let no_runs = Options { runs: 0, ..tiny };
    let written = Options {
        durability: Durability::Written,
        ..tiny
    };
    let compressed = Options {
        unit_bytes: 128,
        ..tiny
    };
    [
        setup("disk", disk, tiny),
        setup("disk without runs", disk, no_runs),
        setup("disk, read when written", disk, written),
        setup("disk, compressed", disk, compressed),
        setup("flash", flash, tiny),
    ]
}

#[derive(Default)]
struct Counts {
    sequences: AtomicU64,
    cuts: AtomicU64,
    images: AtomicU64,
}

/// Where sequences begin, and what is known of their images.
struct Ground {
    setup: Setup,
    name: &'static str,
    base: Base,
    met: Met,
    counts: Arc<Counts>,
    seed: u64,
}

fn run(settings: &Settings) -> Outcome {
    let counts = Arc::new(Counts::default());
    let mut outcome = with_workers(|jobs| {
        let mut number = 0_u64;
        let length = if settings.is_long { 4 } else { 3 };
        for setup in setups() {
            for name in ["empty", "full"] {
                let base = lay(&setup, name);
                let ground = match base {
                    Ok(base) => Arc::new(Ground {
                        setup,
                        name,
                        base,
                        met: Met::new(),
                        counts: Arc::clone(&counts),
                        seed: settings.seed,
                    }),
                    Err(reason) => {
                        let reason = format!("{}, {name}: {reason}", setup.name);
                        let _ = jobs.send(Box::new(move |tally| tally.add(0, Err(reason))));
                        continue;
                    }
                };
                for sequence in sequences(length) {
                    number += 1;
                    let ground = Arc::clone(&ground);
                    let job = Box::new(move |tally: &Tally| {
                        ground.go(&sequence, number << 32, tally);
                    });
                    let _ = jobs.send(job);
                }
            }
        }
    });
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    outcome.note = Some(format!(
        "{} sequences, {} cuts, {} images; each different one is a case",
        count(&counts.sequences),
        count(&counts.cuts),
        count(&counts.images)
    ));
    outcome
}

/// Every sequence of up to so many operations, the shorter ones first.
fn sequences(length: usize) -> Vec<Vec<Operation>> {
    let mut all: Vec<Vec<Operation>> = vec![Vec::new()];
    let mut from = 0;
    for _ in 0..length {
        let to = all.len();
        for index in from..to {
            for operation in OPERATIONS {
                let mut longer = all[index].clone();
                longer.push(operation);
                all.push(longer);
            }
        }
        from = to;
    }
    all.remove(0);
    all
}

fn lay(setup: &Setup, name: &str) -> Result<Base, String> {
    let storage = SimStorage::new(setup.sim);
    let base = if name == "empty" {
        Base::empty(&storage, &setup.options)
    } else {
        Base::full(&storage, &setup.options)
    };
    let base = base.map_err(words)?;
    violations(&storage)?;
    Ok(base)
}

/// A copy of the storage, and the state that was acknowledged by then.
type Cut = (SimStorage, usize);

impl Ground {
    /// Goes a sequence and cuts its last operation.
    fn go(&self, sequence: &[Operation], first_case: u64, tally: &Tally) {
        self.counts.sequences.fetch_add(1, Ordering::Relaxed);
        let mut gone = None;
        let verdict = judge(|| {
            gone = Some(self.cuts_of(sequence)?);
            Ok(())
        });
        let say = |reason: String| {
            format!(
                "{}, {} base, {sequence:?}: {reason}",
                self.setup.name, self.name
            )
        };
        let Some((cuts, states)) = gone else {
            tally.add(first_case, verdict.map_err(say));
            return;
        };
        self.counts
            .cuts
            .fetch_add(cuts.len() as u64, Ordering::Relaxed);
        for (index, (storage, acknowledged)) in cuts.iter().enumerate() {
            let allowed = &states[*acknowledged..];
            let seed = mix(self.seed ^ first_case ^ index as u64);
            for (place, way) in ways(storage.unsynced_count(), seed).into_iter().enumerate() {
                let image = way.image(storage);
                let case = first_case + (index as u64) * 64 + place as u64;
                self.counts.images.fetch_add(1, Ordering::Relaxed);
                let number = image.digest();
                let is_new = self.met.is_new(number);
                let verdict = judge(|| self.image(&image, number, is_new, allowed));
                if is_new || verdict.is_err() {
                    let verdict = verdict
                        .map_err(|reason| say(format!("cut {index}, {way:?} left: {reason}")));
                    tally.add(case, verdict);
                }
            }
        }
    }

    /// Every cut of the last operation, and the states from the beginning on.
    fn cuts_of(&self, sequence: &[Operation]) -> Result<(Vec<Cut>, Vec<u64>), String> {
        let storage = self.base.storage();
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let is_last = Arc::new(AtomicBool::new(false));
        let cuts: Arc<Mutex<Vec<Cut>>> = Arc::default();
        let watched = {
            let acknowledged = Arc::clone(&acknowledged);
            let (is_last, cuts) = (Arc::clone(&is_last), Arc::clone(&cuts));
            Watched::after_each(storage.clone(), move |copy| {
                if is_last.load(Ordering::SeqCst) {
                    let cut = (copy, acknowledged.load(Ordering::SeqCst));
                    cuts.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(cut);
                }
            })
        };
        let options = &self.setup.options;
        let shared = Arc::clone(&acknowledged);
        let mut course =
            Course::begin(&self.base, Arc::new(watched), options, shared).map_err(words)?;
        for (index, operation) in sequence.iter().enumerate() {
            is_last.store(index + 1 == sequence.len(), Ordering::SeqCst);
            course.perform(*operation).map_err(words)?;
        }
        is_last.store(false, Ordering::SeqCst);
        let end = (storage.fork(), acknowledged.load(Ordering::SeqCst));
        course.compare().map_err(words)?;
        violations(&storage)?;
        let states = course.digests_from(0);
        drop(course);
        let mut cuts = std::mem::take(&mut *cuts.lock().unwrap_or_else(PoisonError::into_inner));
        // All that is acknowledged by now is there.
        cuts.push(end);
        Ok((cuts, states))
    }

    fn image(&self, image: &SimStorage, number: u64, is_new: bool, allowed: &[u64]) -> Verdict {
        let options = &self.setup.options;
        let known = if is_new { None } else { self.met.found(number) };
        let found = match known {
            Some(found) => found,
            None => {
                let copy = image.fork();
                let engine = open(&copy, options).map_err(|error| format!("refused: {error}"))?;
                digest(&engine).map_err(|error| error.to_string())?
            }
        };
        if !allowed.contains(&found) {
            return Err("not a state from the acknowledged one on".into());
        }
        if is_new {
            self.met.note(number, found);
            works_on(image, options, number, found)?;
        }
        Ok(())
    }
}

/// What was recovered can be written to, survives another cut, and is sound.
fn works_on(image: &SimStorage, options: &Options, seed: u64, found: u64) -> Verdict {
    let words = |error: Error| error.to_string();
    let engine = open(image, options).map_err(words)?;
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
        make_room(&engine, error).map_err(words)?;
        attempts += 1;
        if attempts > 100 {
            return Err(format!("not writable after recovery: {error}"));
        }
    }
    crate::script::flush(&engine).map_err(self::words)?;
    let (image, engine) = if seed.is_multiple_of(2) {
        drop(engine);
        violations(image)?;
        let again = image.crash_image(CrashMode::Random, seed);
        let engine = open(&again, options).map_err(words)?;
        if digest(&engine).map_err(words)? != expected {
            return Err("what was written after recovery is not there".into());
        }
        (again, engine)
    } else {
        (image.clone(), engine)
    };
    if seed % 4 > 1 {
        drain(&engine).map_err(words)?;
        verify(&engine).map_err(|reason| format!("drained, {reason}"))?;
        if digest(&engine).map_err(words)? != expected {
            return Err("draining changed rows".into());
        }
    }
    violations(&image)
}

fn words(failure: Failure) -> String {
    match failure {
        Failure::Engine(error) => format!("without any fault: {error}"),
        Failure::Wrong(reason) => reason,
    }
}

fn violations(storage: &SimStorage) -> Verdict {
    match storage.violations().first() {
        Some(violation) => Err(format!("storage contract: {violation}")),
        None => Ok(()),
    }
}
