//! Power cuts during recovery, three recoveries deep, enumerated.
//!
//! A script is cut at storage operations a stride apart, and what a cut leaves is
//! recovered on a storage that shows every operation. At each of these the power goes,
//! and what that leaves is recovered, and cut, and once more: every recovery that comes to
//! its end finds the same, however many before it were cut off. Each process has other
//! random numbers, so that recoveries don't write the same bytes again.
//!
//! All operations of every recovery are cut. What the cut of a script and that of the first
//! recovery below it leave is all that [`ways`] lists; further down it is that with which
//! most goes wrong: nothing of what is unsynced, all of it, the newest change alone, some
//! pieces. An image is recovered once, however often it comes up.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use lightning_core::db::Engine;
use lightning_platform::Storage;
use lightning_sim::{CrashMode, SimMemory, SimStorage, mix};

use super::{Check, Outcome, Settings};
use crate::cases::{Jobs, Tally, judge, with_workers};
use crate::engine::{Setup, digest, drain_and_verify, input, platform, setups};
use crate::images::{Met, Way, ways};
use crate::script::{Failure, Player, Window, script};
use crate::watched::Watched;

/// The entry in the table.
pub const CHECK: Check = Check {
    name: "engine-recovery-cuts",
    about: "however many recoveries are cut off, the one that ends finds the same",
    run,
};

const COMMITS: usize = 90;
/// Recoveries that are cut off before one comes to its end, at most.
const DEPTH: usize = 3;

/// How much of everything is cut.
struct Width {
    scripts: u64,
    /// Cuts of a script in each setup.
    cuts: u64,
}

const SHORT: Width = Width {
    scripts: 1,
    cuts: 60,
};
const LONG: Width = Width {
    scripts: 6,
    cuts: 120,
};

/// Different images that were recovered, by how many recoveries were cut off before.
#[derive(Default)]
struct Counts {
    recovered: [AtomicU64; DEPTH + 1],
}

fn run(settings: &Settings) -> Outcome {
    let width = if settings.is_long { &LONG } else { &SHORT };
    let counts = Arc::new(Counts::default());
    let mut outcome = with_workers(|jobs| {
        let mut number = 0;
        for index in 0..width.scripts {
            for setup in setups() {
                number += 1;
                let nest = Nest {
                    setup,
                    seed: mix(settings.seed ^ mix(index ^ 0x5EED)),
                    width,
                    met: Met::new(),
                    counts: Arc::clone(&counts),
                };
                play(&jobs, nest, number << 40);
            }
        }
    });
    let recovered: Vec<u64> = counts
        .recovered
        .iter()
        .map(|count| count.load(Ordering::Relaxed))
        .collect();
    outcome.note = Some(format!(
        "different images after no, one, two and three recoveries that were cut off: {recovered:?}"
    ));
    outcome
}

/// A cut of the script: its storage, and the states that may be found.
type Start = (SimStorage, Window);

/// What is common to all recoveries below one script.
struct Nest {
    setup: Setup,
    seed: u64,
    width: &'static Width,
    met: Met,
    counts: Arc<Counts>,
}

/// Plays a script, and sends a job for each cut of it.
fn play(jobs: &Jobs, nest: Nest, first_case: u64) {
    let operations = match starts_of(&nest, 1) {
        Ok(starts) => starts.len() as u64,
        Err(reason) => {
            let _ = jobs.send(Box::new(move |tally| tally.add(first_case, Err(reason))));
            return;
        }
    };
    let stride = (operations / nest.width.cuts).max(1);
    let starts = starts_of(&nest, stride).unwrap_or_default();
    let nest = Arc::new(nest);
    for (index, start) in (1..).zip(starts) {
        let nest = Arc::clone(&nest);
        let job = Box::new(move |tally: &Tally| {
            nest.begin(&start, index * stride, first_case + (index << 24), tally);
        });
        let _ = jobs.send(job);
    }
}

/// The storage after each so-and-so-many-th operation of the script.
fn starts_of(nest: &Nest, stride: u64) -> Result<Vec<Start>, String> {
    let storage = SimStorage::new(nest.setup.sim);
    let window = Arc::new(Mutex::new(Window::default()));
    let starts: Arc<Mutex<Vec<Start>>> = Arc::default();
    let count = AtomicU64::new(0);
    let watched = {
        let (window, starts) = (Arc::clone(&window), Arc::clone(&starts));
        Watched::after_each(storage.clone(), move |copy| {
            let window = window.lock().unwrap_or_else(PoisonError::into_inner);
            // A creation that is cut off is no database yet.
            if window.is_created
                && (count.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(stride)
            {
                let mut starts = starts.lock().unwrap_or_else(PoisonError::into_inner);
                starts.push((copy, window.clone()));
            }
        })
    };
    let wrong = |failure| match failure {
        Failure::Engine(error) => format!("without any fault: {error}"),
        Failure::Wrong(reason) => reason,
    };
    let mut player = Player::new(Arc::new(watched), &nest.setup.options);
    player.start().map_err(wrong)?;
    for action in script(nest.seed, COMMITS, nest.setup.value_bytes_longest) {
        *window.lock().unwrap_or_else(PoisonError::into_inner) = player.window();
        player.step(&action).map_err(wrong)?;
    }
    drop(player);
    let starts = std::mem::take(&mut *starts.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(starts)
}

/// The ways in which a nested cut is tried.
fn worst_ways(unsynced: usize, seed: u64) -> Vec<Way> {
    let mut ways = vec![Way::Drawn(CrashMode::Synced, 0)];
    if unsynced > 0 {
        ways.push(Way::Drawn(CrashMode::All, 0));
        ways.push(Way::Drawn(CrashMode::Random, seed));
    }
    if unsynced > 1 {
        ways.push(Way::Only(unsynced - 1));
    }
    ways
}

impl Nest {
    fn begin(&self, (storage, window): &Start, cut: u64, first_case: u64, tally: &Tally) {
        let seed = mix(self.seed ^ cut);
        let mut case = first_case;
        for way in ways(storage.unsynced_count(), seed) {
            let image = way.image(storage);
            if self.met.is_new(image.digest()) {
                let trail = format!("cut {cut} {way:?}");
                self.recover(
                    &image,
                    0,
                    &Expected::OneOf(window),
                    &trail,
                    &mut case,
                    tally,
                );
            }
        }
    }

    /// Recovers an image, and then everything that is left where that is cut off.
    fn recover(
        &self,
        image: &SimStorage,
        depth: usize,
        expected: &Expected<'_>,
        trail: &str,
        case: &mut u64,
        tally: &Tally,
    ) {
        *case += 1;
        self.counts.recovered[depth].fetch_add(1, Ordering::Relaxed);
        let number = image.digest();
        let mut gone = None;
        let verdict = judge(|| {
            let (found, cuts) = self.recover_once(image, depth)?;
            let is_expected = match expected {
                Expected::OneOf(window) => window.holds(found),
                Expected::Same(state) => *state == found,
            };
            if !is_expected {
                return Err("recovery found another state".into());
            }
            self.met.note(number, found);
            gone = Some((found, cuts));
            Ok(())
        });
        let name = self.setup.name;
        tally.add(
            *case,
            verdict.map_err(|reason| format!("{name} seed {}, {trail}: {reason}", self.seed)),
        );
        let Some((found, cuts)) = gone.filter(|_| depth < DEPTH) else {
            return;
        };
        for (index, storage) in cuts.iter().enumerate() {
            let seed = mix(number ^ index as u64);
            let unsynced = storage.unsynced_count();
            let ways = if depth == 0 {
                ways(unsynced, seed)
            } else {
                worst_ways(unsynced, seed)
            };
            for way in ways {
                let image = way.image(storage);
                let trail = format!("{trail}, recovery's operation {} {way:?}", index + 1);
                let number = image.digest();
                if self.met.is_new(number) {
                    let expected = Expected::Same(found);
                    self.recover(&image, depth + 1, &expected, &trail, case, tally);
                } else if self.met.found(number).is_some_and(|before| before != found) {
                    *case += 1;
                    let reason = format!("{name}, {trail}: the image was of another state");
                    tally.add(*case, Err(reason));
                }
            }
        }
    }

    /// What is found, and the storage after each operation of the recovery.
    fn recover_once(
        &self,
        image: &SimStorage,
        depth: usize,
    ) -> Result<(u64, Vec<SimStorage>), String> {
        let storage = image.fork();
        let cuts: Arc<Mutex<Vec<SimStorage>>> = Arc::default();
        let is_open = Arc::new(AtomicBool::new(false));
        let shared: Arc<dyn Storage> = if depth < DEPTH {
            let (cuts, is_open) = (Arc::clone(&cuts), Arc::clone(&is_open));
            Arc::new(Watched::after_each(storage.clone(), move |copy| {
                if !is_open.load(Ordering::Relaxed) {
                    cuts.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(copy);
                }
            }))
        } else {
            Arc::new(storage.clone())
        };
        let options = &self.setup.options;
        let memory = SimMemory::new(1 << 30);
        let platform = platform(shared, &memory, options);
        let engine = Engine::open(&platform, options, input(10 + depth as u8))
            .map_err(|error| format!("refused: {error}"))?;
        is_open.store(true, Ordering::Relaxed);
        let found = digest(&engine).map_err(|error| error.to_string())?;
        if depth == DEPTH && image.digest().is_multiple_of(16) {
            drain_and_verify(&engine, found)?;
        }
        drop(engine);
        if let Some(violation) = storage.violations().first() {
            return Err(format!("storage contract: {violation}"));
        }
        let cuts = std::mem::take(&mut *cuts.lock().unwrap_or_else(PoisonError::into_inner));
        Ok((found, cuts))
    }
}

/// What a recovery has to find.
enum Expected<'w> {
    OneOf(&'w Window),
    Same(u64),
}
