//! The n-th storage call of a run fails, for every n, once and for good, and cut short.
//!
//! Cut short, a write, an erase or a punch stops at any byte, a read leaves noise behind the
//! bytes it brought, and a create, a remove or a change of length may be done though it
//! failed: an engine that takes the old state for granted, or the new one, is found.
//!
//! The engine answers an error or goes on; it never panics. A call that failed
//! once leaves it working, or poisoned and saying so. Whatever happened, the
//! next process finds all that was acknowledged and a prefix of the commits, be
//! it after a restart or after a power cut.

use std::sync::Arc;

use lightning_core::db::{Engine, PutOptions};
use lightning_core::error::Error;
use lightning_sim::{CrashMode, SimStorage, mix};

use super::{Check, Outcome, Settings};
use crate::cases::{Verdict, for_each};
use crate::engine::{Setup, digest, drain_and_verify, open, setups};
use crate::faults::{Fault, faults, traced};
use crate::script::{Action, Failure, Player, script};

/// The entry in the table.
pub const CHECK: Check = Check {
    name: "engine-io-error",
    about: "a failing storage call loses nothing acknowledged, and never panics",
    run,
};

const COMMITS: usize = 50;

fn run(settings: &Settings) -> Outcome {
    let scripts = if settings.is_long { 12 } else { 2 };
    let mut cases = Vec::new();
    for index in 0..scripts {
        for setup in setups() {
            let seed = mix(settings.seed ^ mix(index));
            let storage = SimStorage::new(setup.sim);
            storage.set_tracing(true);
            let mut player = Player::new(Arc::new(storage.clone()), &setup.options);
            for action in script(seed, COMMITS, setup.value_bytes_longest) {
                // The run without a fault only tells how many calls there are.
                let _ = player.step(&action);
            }
            let faults = faults(&traced(&storage), seed);
            cases.extend(faults.into_iter().map(|fault| (setup, seed, fault)));
        }
    }
    for_each(cases.len() as u64, |case| {
        let (setup, seed, fault) = &cases[case as usize];
        run_case(setup, *seed, fault)
            .map_err(|reason| format!("{} seed {seed}, {fault}: {reason}", setup.name))
    })
}

fn run_case(setup: &Setup, seed: u64, fault: &Fault) -> Verdict {
    let persistent = fault.persistent;
    let mut storage = SimStorage::new(setup.sim);
    fault.inject(&storage);
    let mut player = Player::new(Arc::new(storage.clone()), &setup.options);
    let mut errors = 0;
    for action in script(seed, COMMITS, setup.value_bytes_longest) {
        if errors > 0 && matches!(action, Action::Reopen) {
            storage = storage.restart();
            player.restart_on(Arc::new(storage.clone()));
        }
        let error = match player.step(&action) {
            Ok(()) => continue,
            Err(Failure::Wrong(reason)) => return Err(reason),
            Err(Failure::Engine(error)) => error,
        };
        check_error(&error)?;
        let is_poisoned = player
            .engine
            .as_ref()
            .is_some_and(|engine| engine.is_poisoned());
        errors += 1;
        if is_poisoned || player.engine.is_none() {
            if is_poisoned {
                says_so(&player)?;
            }
            if let Some(violation) = storage.violations().first() {
                return Err(format!("storage contract: {violation}"));
            }
            storage = storage.restart();
            player.restart_on(Arc::new(storage.clone()));
        } else if persistent && errors > 6 {
            break;
        }
        // One failed call fails one step, unless the engine works on and says so.
        if !persistent && errors > 1 {
            return Err(format!(
                "one failed call, and step after step fails: {error}"
            ));
        }
    }
    let window = player.window();
    if !persistent {
        works_on(&mut player)?;
    }
    drop(player);
    if let Some(violation) = storage.violations().first() {
        return Err(format!("storage contract: {violation}"));
    }
    storage.clear_faults();
    let images = [
        ("restart", storage.restart()),
        ("synced", storage.crash_image(CrashMode::Synced, seed)),
        (
            "random",
            storage.crash_image(CrashMode::Random, seed ^ fault.call),
        ),
    ];
    for (name, image) in images {
        match open(&image, &setup.options) {
            Ok(engine) => {
                let found = digest(&engine).map_err(|error| format!("{name}: {error}"))?;
                if !window.holds(found) {
                    return Err(format!("{name}: not a state from the acknowledged one on"));
                }
                drain_and_verify(&engine, found).map_err(|reason| format!("{name}: {reason}"))?;
            }
            Err(error) if window.is_created => return Err(format!("{name}: {error}")),
            Err(_) => {
                crate::engine::create(&image, &setup.options)
                    .map_err(|error| format!("{name}: creation is not done again: {error}"))?;
            }
        }
    }
    Ok(())
}

/// After one failed call everything can be merged, and no space is lost.
fn works_on(player: &mut Player) -> Verdict {
    if player.engine.as_ref().is_none_or(Engine::is_poisoned) {
        return Ok(());
    }
    player
        .release_all()
        .map_err(|failure| format!("at the end: {failure:?}"))?;
    let expected = player.window().digests.last().copied();
    match &player.engine {
        Some(engine) => drain_and_verify(engine, expected.unwrap_or(0)),
        None => Ok(()),
    }
}

/// An error tells what happened, and is none that only a defect explains.
fn check_error(error: &Error) -> Verdict {
    match error {
        Error::Internal(_) | Error::Corruption { .. } | Error::Conflict { .. } => {
            Err(format!("a failing call was answered with: {error}"))
        }
        _ => Ok(()),
    }
}

/// A poisoned engine takes no commit in, and can still be read.
fn says_so(player: &Player) -> Verdict {
    let Some(engine) = &player.engine else {
        return Ok(());
    };
    match engine.put(16, b"poisoned", b"", PutOptions::default(), 0) {
        Err(Error::Poisoned) => {}
        other => return Err(format!("poisoned, and a put answers {other:?}")),
    }
    match digest(engine) {
        Ok(found) if !player.window().holds(found) => {
            Err("poisoned, and a reader sees a state that never was".into())
        }
        _ => Ok(()),
    }
}
