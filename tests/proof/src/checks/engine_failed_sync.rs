//! Every sync of a run fails in turn, and is never retried into success.
//!
//! Where a sync fails, the operating system may mark what was to be written as clean: it is
//! read, until the memory is needed for something else, and never reaches the medium; a
//! second sync succeeds and means nothing (Rebello et al., "Can Applications Recover from
//! fsync Failures?", USENIX ATC 2020). So it is done here: both while the bytes are still
//! read, and when the cache has let them go.
//!
//! A failed sync poisons the engine, or is one on which no commit rests (of a slot that is
//! prepared, of the directory), which the storage then sees no second time. Poisoned, every
//! call that would change something is refused, and nothing is written any more; reads
//! answer what is right, or an error. After a power cut everything acknowledged is there,
//! and of the rest each commit whole or not at all. Where only the process ends, what the
//! next one finds is durable by the time it is served: a power cut right after its opening
//! takes nothing of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lightning_core::db::{Budgeted, Engine, Isolation, PutOptions};
use lightning_core::error::Error;
use lightning_platform::IoErrorKind;
use lightning_sim::{CrashMode, SimStorage, mix};

use super::{Check, Outcome, Settings};
use crate::cases::{Verdict, for_each};
use crate::engine::{
    Change, Model, Setup, What, commit, create, digest, drain_and_verify, make_room, open, setups,
};
use crate::faults::traced;
use crate::script::{Failure, Player, Window, flush, script};

/// The entry in the table.
pub const CHECK: Check = Check {
    name: "engine-failed-sync",
    about: "after a failed sync nothing is acknowledged, and what the cache shows isn't trusted",
    run,
};

const COMMITS: usize = 70;

/// A script in a setup, and which of its calls are syncs.
struct Run {
    setup: Setup,
    seed: u64,
    syncs: Vec<u64>,
}

/// How many failed syncs poisoned the engine, ended an opening, or left it working.
#[derive(Default)]
struct Counts {
    poisoned: AtomicU64,
    opening: AtomicU64,
    working: AtomicU64,
}

fn run(settings: &Settings) -> Outcome {
    let scripts = if settings.is_long { 40 } else { 6 };
    let mut runs = Vec::new();
    for index in 0..scripts {
        for setup in setups() {
            let seed = mix(settings.seed ^ mix(index ^ 0xFA11));
            runs.push(Run {
                setup,
                seed,
                syncs: syncs_of(&setup, seed),
            });
        }
    }
    // Each sync with the bytes in the cache, and without them.
    let mut cases = BTreeMap::new();
    let mut total = 0;
    for (index, run) in runs.iter().enumerate() {
        cases.insert(total, index);
        total += 2 * run.syncs.len() as u64;
    }
    let counts = Counts::default();
    let mut outcome = for_each(total, |case| {
        let Some((first, index)) = cases.range(..=case).next_back() else {
            return Ok(());
        };
        let run = &runs[*index];
        let call = run.syncs[((case - first) / 2) as usize];
        let forgets = (case - first) % 2 == 1;
        let fault = Fault {
            setup: &run.setup,
            seed: run.seed,
            call,
            forgets,
            counts: &counts,
        };
        fault.judge().map_err(|reason| {
            let cache = if forgets { "gone" } else { "read" };
            let (name, seed) = (run.setup.name, run.seed);
            format!("{name} seed {seed}, sync at call {call}, bytes still {cache}: {reason}")
        })
    });
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    outcome.note = Some(format!(
        "{} poisoned the engine, {} ended an opening, {} were such that no commit rests on",
        count(&counts.poisoned),
        count(&counts.opening),
        count(&counts.working)
    ));
    if count(&counts.poisoned) == 0 || count(&counts.opening) == 0 {
        outcome.bad += 1;
        outcome.first_bad = Some("no sync that matters failed".into());
    }
    outcome
}

/// The calls of a script without faults that are syncs.
fn syncs_of(setup: &Setup, seed: u64) -> Vec<u64> {
    let storage = SimStorage::new(setup.sim);
    storage.set_tracing(true);
    let mut player = Player::new(Arc::new(storage.clone()), &setup.options);
    for action in script(seed, COMMITS, setup.value_bytes_longest) {
        let _ = player.step(&action);
    }
    let calls = traced(&storage).into_iter();
    let syncs = calls.filter(|call| call.verb.starts_with("Sync"));
    syncs.map(|call| call.number).collect()
}

struct Fault<'r> {
    setup: &'r Setup,
    seed: u64,
    call: u64,
    /// Whether the cache lets go of what the failed sync has left in doubt.
    forgets: bool,
    counts: &'r Counts,
}

impl Fault<'_> {
    fn judge(&self) -> Verdict {
        let storage = SimStorage::new(self.setup.sim);
        storage.fail_at(self.call, IoErrorKind::Device, false);
        let mut player = Player::new(Arc::new(storage.clone()), &self.setup.options);
        let mut has_failed = false;
        for action in script(self.seed, COMMITS, self.setup.value_bytes_longest) {
            let outcome = player.step(&action);
            let fails_now = !has_failed && storage.call_count() >= self.call;
            has_failed |= fails_now;
            match outcome {
                Ok(()) => {}
                Err(Failure::Engine(_)) if fails_now => {}
                Err(Failure::Engine(error)) => {
                    return Err(format!("a step that no sync failed in: {error}"));
                }
                Err(Failure::Wrong(reason)) => return Err(reason),
            }
            let is_open = player.engine.is_some();
            let is_poisoned = player.engine.as_ref().is_some_and(Engine::is_poisoned);
            if fails_now && is_open && !is_poisoned {
                self.counts.working.fetch_add(1, Ordering::Relaxed);
            } else if fails_now || is_poisoned {
                let counter = if is_open {
                    &self.counts.poisoned
                } else {
                    &self.counts.opening
                };
                counter.fetch_add(1, Ordering::Relaxed);
                break;
            }
        }
        let window = player.window();
        if self.forgets {
            storage.forget_doubtful();
        }
        if let Some(engine) = player.engine.as_ref().filter(|engine| engine.is_poisoned()) {
            self.refuses(engine, &storage, &window)?;
        }
        drop(player);
        violations(&storage)?;
        self.power_cut(&storage, &window)?;
        self.restart(&storage, &window)
    }

    /// Nothing that changes anything is done any more, or acknowledged.
    fn refuses(&self, engine: &Engine, storage: &SimStorage, window: &Window) -> Verdict {
        let operations = storage.operation_count();
        let durable = engine.statistics().durable_sequence;
        let unit = |_| ();
        let put = || engine.put(16, b"poisoned", b"", PutOptions::default(), 0);
        let transaction = || {
            let mut transaction = engine.begin(0, Isolation::Snapshot)?;
            let written = engine.transaction_delete(&mut transaction, 16, b"poisoned");
            if let Err(error) = written {
                engine.rollback(transaction);
                return Err(error);
            }
            engine.commit(transaction, 0, 0)
        };
        let calls: [(&str, Result<(), Error>); 15] = [
            ("a put", put().map(|_| ())),
            ("a delete", engine.delete(16, b"poisoned", 0).map(|_| ())),
            ("a transaction", transaction().map(|_| ())),
            ("a load beside others", engine.begin_ingest(16).map(|_| ())),
            ("a load", engine.begin_load(16).map(|_| ())),
            ("a stream", engine.begin_value(16, 100).map(|_| ())),
            ("a flush", engine.flush_step(true).map(unit)),
            ("a flush without a sync", engine.flush_step(false).map(unit)),
            ("a second flush", engine.flush_step(true).map(unit)),
            ("a mark", engine.mark()),
            (
                "maintenance",
                engine.poll_maintenance(Budgeted::default()).map(|_| ()),
            ),
            ("freezing", engine.freeze_front().map(|_| ())),
            ("draining", engine.drain().map(|_| ())),
            ("a new segment", engine.renew_log().map(|_| ())),
            ("trimming", engine.trim_pages().map(|_| ())),
        ];
        for (name, answer) in calls {
            match answer {
                Err(Error::Poisoned) => {}
                // Asked first whether it is possible at all.
                Err(Error::Options(_) | Error::OverLimit { .. })
                    if name == "a load beside others" || name == "a stream" => {}
                other => return Err(format!("poisoned, and {name} is answered {other:?}")),
            }
        }
        if storage.operation_count() != operations {
            return Err("poisoned, and something is written".into());
        }
        if engine.statistics().durable_sequence != durable {
            return Err("poisoned, and more becomes durable".into());
        }
        match digest(engine) {
            Ok(found) if window.holds(found) => Ok(()),
            Ok(_) => Err("poisoned, and a reader sees a state that never was".into()),
            // Pages that the cache has let go.
            Err(_) if self.forgets => Ok(()),
            Err(error) => Err(format!("poisoned, and a reader is told: {error}")),
        }
    }

    /// What a power cut leaves has all that is acknowledged, and commits as a whole.
    fn power_cut(&self, storage: &SimStorage, window: &Window) -> Verdict {
        for (index, mode) in CrashMode::EVERY.iter().enumerate() {
            let image = storage.crash_image(*mode, mix(self.seed ^ self.call ^ index as u64));
            let say = |reason: String| format!("power cut, {mode:?} left: {reason}");
            let Some(engine) = self.bring_up(&image, window).map_err(say)? else {
                continue;
            };
            let found = digest(&engine).map_err(|error| say(error.to_string()))?;
            if !window.holds(found) {
                return Err(say("not a state from the acknowledged one on".into()));
            }
            drain_and_verify(&engine, found).map_err(say)?;
        }
        Ok(())
    }

    /// What the next process finds is durable, and so is what it does.
    fn restart(&self, storage: &SimStorage, window: &Window) -> Verdict {
        let say = |reason: String| format!("restart: {reason}");
        let words = |error: Error| say(error.to_string());
        let next = storage.restart();
        let Some(engine) = self.bring_up(&next, window).map_err(say)? else {
            return Ok(());
        };
        let found = digest(&engine).map_err(words)?;
        if !window.holds(found) {
            return Err(say("not a state from the acknowledged one on".into()));
        }
        self.holds(&next, found)
            .map_err(|reason| say(format!("what was found, {reason}")))?;
        let change = Change {
            table: 16,
            key: b"zzz after the failure".to_vec(),
            what: What::Put(self.call.to_le_bytes().to_vec()),
        };
        let mut added = Model::default();
        added.apply(std::slice::from_ref(&change));
        let mut attempts = 0;
        while let Err(error) = commit(&engine, std::slice::from_ref(&change)) {
            make_room(&engine, error).map_err(words)?;
            attempts += 1;
            if attempts > 100 {
                return Err(say(format!("not writable: {error}")));
            }
        }
        flush(&engine).map_err(|failure| say(format!("{failure:?}")))?;
        let expected = found.wrapping_add(added.digest);
        self.holds(&next, expected)
            .map_err(|reason| say(format!("what was written then, {reason}")))?;
        drain_and_verify(&engine, expected).map_err(say)?;
        self.holds(&next, expected)
            .map_err(|reason| say(format!("what was merged then, {reason}")))?;
        violations(&next)
    }

    /// Whether a power cut now takes nothing away.
    fn holds(&self, storage: &SimStorage, expected: u64) -> Verdict {
        for mode in [CrashMode::Synced, CrashMode::Random] {
            let image = storage.crash_image(mode, mix(self.seed ^ self.call));
            let engine = open(&image, &self.setup.options)
                .map_err(|error| format!("{mode:?} left: {error}"))?;
            match digest(&engine) {
                Ok(found) if found == expected => {}
                Ok(_) => return Err(format!("{mode:?} left: a power cut took some of it")),
                Err(error) => return Err(format!("{mode:?} left: {error}")),
            }
        }
        Ok(())
    }

    /// Opens; where creation failed, creates, which leaves nothing to compare.
    fn bring_up(&self, image: &SimStorage, window: &Window) -> Result<Option<Engine>, String> {
        match open(image, &self.setup.options) {
            Ok(engine) => Ok(Some(engine)),
            Err(error) if window.is_created => Err(format!("refused: {error}")),
            Err(_) => match create(image, &self.setup.options) {
                Ok(_) => Ok(None),
                Err(error) => Err(format!("creation is not done again: {error}")),
            },
        }
    }
}

fn violations(storage: &SimStorage) -> Verdict {
    match storage.violations().first() {
        Some(violation) => Err(format!("storage contract: {violation}")),
        None => Ok(()),
    }
}
