//! An open engine asks its host for no memory: every reservation after creation and after
//! opening would be refused, and nothing notices.
//!
//! All operations are gone, twice and in both orders, so that loads, streamed values,
//! snapshots, runs and merges come across each other; then everything is verified, scrubbed
//! and swept, and what memory is free is let go of. The same with a cipher, and with a codec. That nothing was asked for is
//! counted after each step; where something ever is, each such reservation has to be
//! refused in turn, as `engine-memory` does it at opening.

use std::sync::Arc;

use lightning_core::db::{Engine, ScrubPlace};
use lightning_platform::{Platform, Storage};
use lightning_sim::{SimMemory, SimStorage, TestCipher};

use super::engine_sequences::setups;
use super::{Check, Outcome, Settings};
use crate::cases::{Tally, Verdict, judge};
use crate::engine::{Setup, input, platform, verify};
use crate::operations::{Course, OPERATIONS, Operation, digest};
use crate::script::Failure;

/// The entry in the table.
pub const CHECK: Check = Check {
    name: "engine-memory-open",
    about: "an open engine reserves nothing, and needs nothing that is refused",
    run,
};

fn run(_: &Settings) -> Outcome {
    let tally = Tally::default();
    let mut reserved = 0;
    for (number, setup) in (0..).zip(setups()) {
        for is_sealed in [false, true] {
            let number = number * 1_000 + u64::from(is_sealed) * 500;
            let verdict = judge(|| go(&setup, is_sealed, number, &tally, &mut reserved));
            if let Err(reason) = verdict {
                let cipher = if is_sealed { ", with a cipher" } else { "" };
                tally.add(number, Err(format!("{}{cipher}: {reason}", setup.name)));
            }
        }
    }
    let mut outcome = tally.outcome();
    outcome.note = Some(format!(
        "{reserved} reservations at creation and opening, none after"
    ));
    outcome
}

fn go(
    setup: &Setup,
    is_sealed: bool,
    first_case: u64,
    tally: &Tally,
    reserved: &mut u64,
) -> Verdict {
    let storage: Arc<dyn Storage> = Arc::new(SimStorage::new(setup.sim));
    let memory = SimMemory::new(1 << 30);
    let mut platform: Platform = platform(Arc::clone(&storage), &memory, &setup.options);
    if is_sealed {
        platform.cipher = Some(Arc::new(TestCipher::new(7)));
    }
    let words = |error: lightning_core::error::Error| error.to_string();
    let engine = Engine::create(&platform, &setup.options, input(1)).map_err(words)?;
    let mut refusal = Refusal::new(&memory, first_case, tally);
    let mut course = Course::on(engine, Arc::clone(&storage), &setup.options).map_err(said)?;
    course.fill().map_err(said)?;
    refusal.judge("filling");
    let forwards = OPERATIONS.iter();
    for operation in forwards.chain(OPERATIONS.iter().rev()) {
        // A new process reserves; that is below. Names and keys are used again.
        if matches!(operation, Operation::Reopen | Operation::CreateTable) {
            continue;
        }
        course.perform(*operation).map_err(said)?;
        course.compare().map_err(said)?;
        refusal.judge(&format!("{operation:?}"));
    }
    look_after(course.engine().map_err(said)?)?;
    refusal.judge("verifying, scrubbing, sweeping and resting");
    *reserved += refusal.before;
    drop(course);

    memory.clear_faults();
    let engine = Engine::open(&platform, &setup.options, input(2)).map_err(words)?;
    let mut refusal = Refusal::new(&memory, first_case + 100, tally);
    digest(&engine).map_err(words)?;
    look_after(&engine)?;
    refusal.judge("reading after recovery");
    Ok(())
}

/// Refuses every reservation from here on, and counts those that are asked for.
struct Refusal<'m> {
    memory: &'m SimMemory,
    before: u64,
    case: u64,
    tally: &'m Tally,
}

impl<'m> Refusal<'m> {
    fn new(memory: &'m SimMemory, case: u64, tally: &'m Tally) -> Self {
        let before = memory.reservation_count();
        memory.fail_at(before + 1, true);
        Self {
            memory,
            before,
            case,
            tally,
        }
    }

    fn judge(&mut self, what: &str) {
        self.case += 1;
        let asked = self.memory.reservation_count() - self.before;
        let verdict = match asked {
            0 => Ok(()),
            _ => Err(format!("{what} asked for memory {asked} times")),
        };
        self.tally.add(self.case, verdict);
    }
}

/// What a host has done now and then.
fn look_after(engine: &Engine) -> Verdict {
    let words = |error: lightning_core::error::Error| error.to_string();
    verify(engine)?;
    let mut place = ScrubPlace::default();
    let mut buffer = vec![0; engine.scrub_buffer_bytes()];
    while !engine
        .scrub(&mut place, 2, &mut buffer)
        .map_err(words)?
        .is_round
    {}
    while engine.sweep(2_000).map_err(words)?.worked {}
    engine.rest().map_err(words)
}

fn said(failure: Failure) -> String {
    match failure {
        Failure::Engine(error) => format!("without any fault: {error}"),
        Failure::Wrong(reason) => reason,
    }
}
