//! Running cases on both cores, with panics counted as bad cases.
//!
//! A case is judged by itself and named by its number, so that the outcome is
//! the same however the cases were shared out.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::process::exit;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::checks::Outcome;

/// Why a case is bad, or nothing.
pub type Verdict = Result<(), String>;

const THREADS: usize = 2;
const WAITING_MAX: usize = 64;

static PRINTS_EVERY: AtomicBool = AtomicBool::new(false);
/// The check that ends at its first bad case.
static ENDS_AT_FIRST: Mutex<Option<&'static str>> = Mutex::new(None);

thread_local! {
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps the words of a panic for the case's verdict instead of printing them.
pub fn quiet_panics() {
    set_hook(Box::new(|information| {
        let text = information.to_string();
        LAST_PANIC.with(|last| *last.borrow_mut() = Some(text));
    }));
}

/// Prints every bad case when it is found, in whatever order.
pub fn print_every() {
    PRINTS_EVERY.store(true, Ordering::Relaxed);
}

/// Ends the program at the first bad case of this check: for who only asks whether
/// there is one.
pub fn end_at_first(check: &'static str) {
    *ENDS_AT_FIRST.lock().unwrap_or_else(PoisonError::into_inner) = Some(check);
}

/// Runs a case; a panic is its verdict.
pub fn judge(case: impl FnOnce() -> Verdict) -> Verdict {
    catch_unwind(AssertUnwindSafe(case)).unwrap_or_else(|payload| Err(words(&*payload)))
}

fn words(payload: &(dyn Any + Send)) -> String {
    LAST_PANIC
        .with(|last| last.borrow_mut().take())
        .or_else(|| payload.downcast_ref::<&str>().map(ToString::to_string))
        .unwrap_or_else(|| "panicked".to_owned())
}

/// Counts verdicts, and keeps the first bad one by number.
#[derive(Default)]
pub struct Tally {
    cases: AtomicU64,
    bad: AtomicU64,
    first: Mutex<Option<(u64, String)>>,
}

impl Tally {
    /// Counts one verdict.
    pub fn add(&self, number: u64, verdict: Verdict) {
        self.cases.fetch_add(1, Ordering::Relaxed);
        let Err(reason) = verdict else { return };
        self.bad.fetch_add(1, Ordering::Relaxed);
        if PRINTS_EVERY.load(Ordering::Relaxed) {
            println!("  bad case {number}: {reason}");
        }
        // Held until the end, so that one thread prints.
        let ends = ENDS_AT_FIRST.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(check) = *ends {
            println!("{check} cases {} bad 1", self.cases());
            println!("  case {number}: {reason}");
            exit(1);
        }
        drop(ends);
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        if first.as_ref().is_none_or(|(before, _)| number < *before) {
            *first = Some((number, reason));
        }
    }

    /// Cases so far.
    pub fn cases(&self) -> u64 {
        self.cases.load(Ordering::Relaxed)
    }

    /// What was found.
    pub fn outcome(&self) -> Outcome {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        Outcome {
            cases: self.cases(),
            bad: self.bad.load(Ordering::Relaxed),
            first_bad: first
                .as_ref()
                .map(|(number, reason)| format!("case {number}: {reason}")),
            note: None,
        }
    }
}

/// Runs cases 0 to `count - 1`.
pub fn for_each(count: u64, case: impl Fn(u64) -> Verdict + Sync) -> Outcome {
    let tally = Tally::default();
    let next = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    tally.add(number, judge(|| case(number)));
                }
            });
        }
    });
    tally.outcome()
}

/// A piece of work that counts the cases it judges itself.
pub type Job = Box<dyn FnOnce(&Tally) + Send>;

/// Where jobs are handed over; blocks while many wait.
pub type Jobs = SyncSender<Job>;

/// Runs `produce` on this thread and the jobs that it sends on others.
pub fn with_workers(produce: impl FnOnce(Jobs)) -> Outcome {
    let tally = Tally::default();
    let (sender, receiver) = sync_channel::<Job>(WAITING_MAX);
    let receiver = Arc::new(Mutex::new(receiver));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            let receiver = Arc::clone(&receiver);
            let tally = &tally;
            scope.spawn(move || {
                while let Some(job) = take(&receiver) {
                    job(tally);
                }
            });
        }
        produce(sender);
    });
    tally.outcome()
}

fn take(receiver: &Mutex<Receiver<Job>>) -> Option<Job> {
    let receiver = receiver.lock().unwrap_or_else(PoisonError::into_inner);
    receiver.recv().ok()
}
