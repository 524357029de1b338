//! Every storage call of every operation fails, once and for good.
//!
//! What `engine-io-error` does to scripts is done here to each operation by itself, those
//! among them that scripts don't have: streamed values, loads into trees, tables, trimming,
//! verifying, scrubbing, sweeping. A read that fails is told as such, and never as damage;
//! after one failed call the engine works on, or is poisoned and says so; and the next
//! process finds all that was acknowledged, and each commit whole or not at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lightning_core::db::{Engine, ScrubPlace};
use lightning_core::error::Error;
use lightning_platform::IoErrorKind;
use lightning_sim::{CrashMode, SimStorage, mix};

use super::engine_sequences::setups;
use super::{Check, Outcome, Settings};
use crate::cases::{Verdict, for_each};
use crate::engine::{Setup, open, verify};
use crate::operations::{Base, Course, OPERATIONS, Operation, digest};
use crate::script::Failure;

/// The entry in the table.
pub const CHECK: Check = Check {
    name: "engine-call-errors",
    about: "every call of every operation fails: an error, nothing acknowledged lost",
    run,
};

const KINDS: [IoErrorKind; 2] = [IoErrorKind::Device, IoErrorKind::StorageFull];

/// What is done while a call fails.
#[derive(Clone, Copy, Debug)]
enum Work {
    Operation(Operation),
    Verify,
    Scrub,
    Sweep,
}

struct Case {
    ground: usize,
    /// What goes before without a fault.
    before: Option<Operation>,
    work: Work,
    call: u64,
}

fn run(settings: &Settings) -> Outcome {
    let mut grounds = Vec::new();
    let mut cases = Vec::new();
    let mut failure = None;
    for setup in setups() {
        let storage = SimStorage::new(setup.sim);
        match Base::full(&storage, &setup.options) {
            Ok(base) => grounds.push((setup, base)),
            Err(reason) => failure = Some(format!("{}: {}", setup.name, said(reason))),
        }
    }
    let works = OPERATIONS.map(Work::Operation).into_iter();
    let works = works.chain([Work::Verify, Work::Scrub, Work::Sweep]);
    let befores = if settings.is_long {
        OPERATIONS.map(Some).into_iter().chain([None]).collect()
    } else {
        vec![None, Some(Operation::Ingest), Some(Operation::MakeRun)]
    };
    for (ground, (setup, base)) in grounds.iter().enumerate() {
        for work in works.clone() {
            for before in &befores {
                match calls_of(setup, base, *before, work) {
                    Ok((from, to)) => cases.extend((from..to).map(|call| Case {
                        ground,
                        before: *before,
                        work,
                        call: call + 1,
                    })),
                    Err(reason) => failure = Some(format!("{}, {work:?}: {reason}", setup.name)),
                }
            }
        }
    }
    let mut outcome = for_each(4 * cases.len() as u64, |number| {
        let case = &cases[(number / 4) as usize];
        let kind = KINDS[(number % 2) as usize];
        let persistent = number % 4 > 1;
        let (setup, base) = &grounds[case.ground];
        judge(setup, base, case, kind, persistent).map_err(|reason| {
            let often = if persistent { "from then on" } else { "once" };
            let Case {
                before, work, call, ..
            } = case;
            let name = setup.name;
            format!("{name}, {before:?}, {work:?}, call {call} {kind:?} {often}: {reason}")
        })
    });
    if let Some(reason) = failure {
        outcome.bad += 1;
        outcome.first_bad = Some(reason);
    }
    outcome
}

fn begin(
    setup: &Setup,
    base: &Base,
    before: Option<Operation>,
) -> Result<(SimStorage, Course, Arc<AtomicUsize>), String> {
    let storage = base.storage();
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let (shared, counted) = (Arc::new(storage.clone()), Arc::clone(&acknowledged));
    let mut course = Course::begin(base, shared, &setup.options, counted).map_err(said)?;
    if let Some(operation) = before {
        course.perform(operation).map_err(said)?;
    }
    Ok((storage, course, acknowledged))
}

/// The numbers of the last calls before the work, and of it.
fn calls_of(
    setup: &Setup,
    base: &Base,
    before: Option<Operation>,
    work: Work,
) -> Result<(u64, u64), String> {
    let (storage, mut course, _) = begin(setup, base, before)?;
    let from = storage.call_count();
    do_work(&mut course, work).map_err(said)?;
    Ok((from, storage.call_count()))
}

fn do_work(course: &mut Course, work: Work) -> Result<(), Failure> {
    match work {
        Work::Operation(operation) => course.perform(operation),
        Work::Verify => {
            let engine = course.engine()?;
            let mut buffer = vec![0; engine.verify_buffer_bytes()];
            match engine.verify(&mut buffer, &mut |_| {}) {
                Ok(_) | Err(Error::Busy) => Ok(()),
                Err(error) => Err(error.into()),
            }
        }
        Work::Scrub => {
            let engine = course.engine()?;
            let mut place = ScrubPlace::default();
            let mut buffer = vec![0; engine.scrub_buffer_bytes()];
            while !engine.scrub(&mut place, 2, &mut buffer)?.is_round {}
            Ok(())
        }
        Work::Sweep => {
            let engine = course.engine()?;
            while engine.sweep(2_000)?.worked {}
            Ok(())
        }
    }
}

fn judge(setup: &Setup, base: &Base, case: &Case, kind: IoErrorKind, persistent: bool) -> Verdict {
    let (storage, mut course, acknowledged) = begin(setup, base, case.before)?;
    storage.fail_at(case.call, kind, persistent);
    match do_work(&mut course, case.work) {
        Ok(()) => {}
        Err(Failure::Wrong(reason)) => return Err(reason),
        Err(Failure::Engine(
            error @ (Error::Internal(_) | Error::Corruption { .. } | Error::Conflict { .. }),
        )) => return Err(format!("a failing call was answered with: {error}")),
        Err(Failure::Engine(_)) => {}
    }
    if storage.call_count() < case.call {
        return Err("the call never came".into());
    }
    let works = course.engine().is_ok_and(|engine| !engine.is_poisoned());
    if works && !persistent {
        course
            .compare()
            .map_err(|failure| format!("afterwards: {failure:?}"))?;
        course
            .perform(Operation::Put)
            .map_err(|failure| format!("afterwards, a put: {failure:?}"))?;
        check_space(course.engine().map_err(said)?)?;
    }
    let states = course.digests_from(acknowledged.load(Ordering::SeqCst));
    drop(course);
    if let Some(violation) = storage.violations().first() {
        return Err(format!("storage contract: {violation}"));
    }
    let images = [
        ("restart", storage.restart()),
        ("synced", storage.crash_image(CrashMode::Synced, 0)),
        ("all", storage.crash_image(CrashMode::All, 0)),
        (
            "random",
            storage.crash_image(CrashMode::Random, mix(case.call)),
        ),
    ];
    for (name, image) in images {
        let words = |error: Error| format!("{name}: {error}");
        let engine = open(&image, &setup.options).map_err(words)?;
        if !states.contains(&digest(&engine).map_err(words)?) {
            return Err(format!("{name}: not a state from the acknowledged one on"));
        }
        verify(&engine).map_err(|reason| format!("{name}: {reason}"))?;
    }
    Ok(())
}

/// Nothing is lost of the page file, where it can be told.
fn check_space(engine: &Engine) -> Verdict {
    verify(engine).map_err(|reason| format!("afterwards, {reason}"))
}

fn said(failure: Failure) -> String {
    match failure {
        Failure::Engine(error) => format!("without any fault: {error}"),
        Failure::Wrong(reason) => reason,
    }
}
