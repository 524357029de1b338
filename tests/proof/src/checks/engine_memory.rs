//! Each reservation of memory fails in turn, at create and at open.
//!
//! The error is one of memory, nothing stays reserved, and the next attempt
//! with memory succeeds on the same storage.

use std::sync::Arc;

use lightning_core::db::Engine;
use lightning_core::error::Error;
use lightning_platform::Platform;
use lightning_sim::{SimMemory, SimStorage};

use super::{Check, Outcome, Settings};
use crate::cases::{Verdict, for_each};
use crate::engine::{Setup, create, digest, input, open, platform, setups};
use crate::script::{Failure, Player, script};

/// The entry in the table.
pub const CHECK: Check = Check {
    name: "engine-memory",
    about: "a refused reservation is a clean error, and nothing leaks",
    run,
};

struct Case {
    setup: Setup,
    creates: bool,
    reservation: u64,
    persistent: bool,
}

fn run(settings: &Settings) -> Outcome {
    let mut cases = Vec::new();
    let mut written = Vec::new();
    for (index, setup) in setups().into_iter().enumerate() {
        written.push(write_something(&setup, settings.seed));
        for creates in [true, false] {
            let storage = if creates {
                SimStorage::new(setup.sim)
            } else {
                written[index].restart()
            };
            let memory = SimMemory::new(1 << 30);
            drop(bring_up(&storage, &memory, &setup, creates));
            for reservation in 1..=memory.reservation_count() {
                for persistent in [false, true] {
                    cases.push((
                        index,
                        Case {
                            setup,
                            creates,
                            reservation,
                            persistent,
                        },
                    ));
                }
            }
        }
    }
    for_each(cases.len() as u64, |number| {
        let (index, case) = &cases[number as usize];
        run_case(case, &written[*index]).map_err(|reason| {
            let what = if case.creates { "create" } else { "open" };
            let (name, reservation) = (case.setup.name, case.reservation);
            format!("{name} {what}, reservation {reservation}: {reason}")
        })
    })
}

/// A database that was killed with commits in its log only.
fn write_something(setup: &Setup, seed: u64) -> SimStorage {
    let storage = SimStorage::new(setup.sim);
    let mut player = Player::new(Arc::new(storage.clone()), &setup.options);
    for action in script(seed, 40, setup.value_bytes_longest) {
        match player.step(&action) {
            Ok(()) | Err(Failure::Engine(_)) => {}
            Err(Failure::Wrong(reason)) => panic!("{reason}"),
        }
    }
    drop(player);
    storage
}

fn bring_up(
    storage: &SimStorage,
    memory: &SimMemory,
    setup: &Setup,
    creates: bool,
) -> Result<Engine, Error> {
    let platform: Platform = platform(Arc::new(storage.clone()), memory, &setup.options);
    if creates {
        Engine::create(&platform, &setup.options, input(1))
    } else {
        Engine::open(&platform, &setup.options, input(2))
    }
}

fn run_case(case: &Case, written: &SimStorage) -> Verdict {
    let setup = &case.setup;
    let storage = if case.creates {
        SimStorage::new(setup.sim)
    } else {
        written.restart()
    };
    let memory = SimMemory::new(1 << 30);
    memory.fail_at(case.reservation, case.persistent);
    match bring_up(&storage, &memory, setup, case.creates) {
        Err(Error::OutOfMemory { .. }) => {}
        Err(error) => return Err(format!("answered {error}")),
        Ok(_) => return Err("succeeded without the memory".into()),
    }
    if memory.outstanding_bytes() > 0 {
        return Err(format!("{} bytes leaked", memory.outstanding_bytes()));
    }
    let engine = if case.creates {
        match create(&storage, &setup.options) {
            // The creation had come to its end.
            Err(Error::DatabaseExists) => open(&storage, &setup.options),
            other => other,
        }
    } else {
        open(&storage, &setup.options)
    };
    let engine = engine.map_err(|error| format!("and then, with memory: {error}"))?;
    let found = digest(&engine).map_err(|error| error.to_string())?;
    let expected = if case.creates {
        0
    } else {
        let engine = open(&written.restart(), &setup.options).map_err(|error| error.to_string())?;
        digest(&engine).map_err(|error| error.to_string())?
    };
    if found == expected {
        Ok(())
    } else {
        Err("and then other rows".into())
    }
}
