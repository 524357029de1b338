//! Every storage call of every operation fails, once and for good, and cut short.
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
use lightning_sim::{CrashMode, SimStorage, mix};

use super::engine_sequences::setups;
use super::{Check, Outcome, Settings};
use crate::cases::{Verdict, for_each};
use crate::engine::{Setup, open, verify};
use crate::faults::{Fault, faults, traced};
use crate::operations::{Base, Course, OPERATIONS, Operation, digest};
use crate::script::Failure;

/// The entry in the table.
pub const CHECK: Check = Check {
    name: "engine-call-errors",
    about: "every call of every operation fails: an error, nothing acknowledged lost",
    run,
};

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
    fault: Fault,
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
                match faults_of(setup, base, *before, work, settings.seed) {
                    Ok(faults) => cases.extend(faults.into_iter().map(|fault| Case {
                        ground,
                        before: *before,
                        work,
                        fault,
                    })),
                    Err(reason) => failure = Some(format!("{}, {work:?}: {reason}", setup.name)),
                }
            }
        }
    }
    let mut outcome = for_each(cases.len() as u64, |number| {
        let case = &cases[number as usize];
        let (setup, base) = &grounds[case.ground];
        judge(setup, base, case).map_err(|reason| {
            let Case {
                before,
                work,
                fault,
                ..
            } = case;
            format!("{}, {before:?}, {work:?}, {fault}: {reason}", setup.name)
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

/// Every way in which a call of the work fails.
fn faults_of(
    setup: &Setup,
    base: &Base,
    before: Option<Operation>,
    work: Work,
    seed: u64,
) -> Result<Vec<Fault>, String> {
    let (storage, mut course, _) = begin(setup, base, before)?;
    storage.set_tracing(true);
    do_work(&mut course, work).map_err(said)?;
    Ok(faults(&traced(&storage), seed))
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

fn judge(setup: &Setup, base: &Base, case: &Case) -> Verdict {
    let (storage, mut course, acknowledged) = begin(setup, base, case.before)?;
    case.fault.inject(&storage);
    match do_work(&mut course, case.work) {
        Ok(()) => {}
        Err(Failure::Wrong(reason)) => return Err(reason),
        Err(Failure::Engine(
            error @ (Error::Internal(_) | Error::Corruption { .. } | Error::Conflict { .. }),
        )) => return Err(format!("a failing call was answered with: {error}")),
        Err(Failure::Engine(_)) => {}
    }
    if storage.call_count() < case.fault.call {
        return Err("the call never came".into());
    }
    let works = course.engine().is_ok_and(|engine| !engine.is_poisoned());
    if works && !case.fault.persistent {
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
            storage.crash_image(CrashMode::Random, mix(case.fault.call)),
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
