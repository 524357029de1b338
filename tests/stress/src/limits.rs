//! Limits of the system that are just too small: open files, and addresses for memory.
//!
//! At each of many values a life is put under the limit by its shell, on a database that
//! is new in half of the cases. It may open the database and work, or say what it lacks; it
//! may not panic, nor die by itself, and what it acknowledged is there for the next life,
//! which has no limit.
//!
//! Under a limit on addresses the standard library ends a program that it has no memory for
//! (`memory allocation of N bytes failed`), and so does the C library: the engine's memory is reserved at once, and
//! refused with an error, and so is what may be large around it, but small things aren't.
//! How often that was is told; an allocation of more than [`SMALL_BYTES`] that ends the
//! process is a fault.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use lightning_sim::mix;

use crate::judge::Judge;
use crate::kills::await_look;
use crate::life::{EXIT_FAILED, now_ms};
use crate::message::Message;
use crate::operation::Source;
use crate::process::{Life, Limit, NoMore, PATIENCE, Places, Told};
use crate::report::Report;
use crate::setup::LIMITED;

/// Open files: three are the process's own.
const FILES: std::ops::RangeInclusive<u64> = 3..=40;
/// How many values of memory there are, denser the less it is.
const MEMORY_STEPS: u64 = 20;
/// How many more there are around the last one that was refused.
const FINE_STEPS: u64 = 60;
/// What the program, with its buffers, takes before it opens a database.
const PROGRAM_KIBIBYTES: u64 = 8 << 10;
/// How long work goes on under a limit.
const WORK: Duration = Duration::from_millis(60);
/// The most bytes that the library may ask of the standard library, which ends the process
/// where they aren't there: handles, keys, a thread's own things.
const SMALL_BYTES: u64 = 16 << 10;
/// What the standard library tells when a thread that has begun finds no memory for its own.
const THREAD_FAILED: &str = "failed to allocate an alternative stack";
/// What the C library tells before it ends a program: a thread's first use of something
/// that is to be dropped with it takes a few bytes.
const DESTRUCTOR_FAILED: &str = "failed to register TLS destructor: out of memory";
/// What the standard library tells before it ends a program.
const ALLOCATION_FAILED: &str = "memory allocation of";

/// How a life under a limit went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It worked until it was killed.
    Worked,
    /// It said that it can't.
    Refused,
    /// The standard library ended it.
    Aborted,
    /// It didn't even start: the loader had no memory, or no descriptor.
    NotStarted,
}

/// Puts lives under limits on open files.
pub fn files(seed: u64, folder: &Path) -> Report {
    let mut cases = Cases::new("files", seed, folder);
    cases.run(FILES.map(Limit::Files));
    cases.report(String::new())
}

/// Puts lives under limits on addresses.
pub fn memory(seed: u64, folder: &Path) -> Report {
    let mut cases = Cases::new("memory", seed, folder);
    let peak = match peak_kibibytes(seed, &cases.folder) {
        Ok(peak) => peak,
        Err(words) => {
            cases.failures.push(words);
            0
        }
    };
    // Below the first value the program itself isn't even loaded.
    let above = peak.saturating_sub(PROGRAM_KIBIBYTES);
    let values = (0..MEMORY_STEPS)
        .map(|step| PROGRAM_KIBIBYTES + above * step * step / (MEMORY_STEPS * MEMORY_STEPS));
    cases.run(values.map(Limit::AddressKibibytes));
    // What is just too little, and what is just enough for some work: closer.
    let refused = cases.ends.iter().rposition(|(_, end)| *end == End::Refused);
    if let Some((Limit::AddressKibibytes(low), _)) = refused.map(|place| cases.ends[place]) {
        let (from, step) = (low - low / 8, low / 3 / FINE_STEPS);
        let values = (0..FINE_STEPS).map(|number| from + number * step);
        cases.run(values.map(Limit::AddressKibibytes));
    }
    cases.report(format!("a life takes {peak} KiB; "))
}

/// The most addresses that a life takes, as the system counts them.
fn peak_kibibytes(seed: u64, folder: &Path) -> Result<u64, String> {
    let source = source(seed, 0);
    let places = Places::new(folder).map_err(text)?;
    let mut life = Life::begin(&source, &places, Limit::None).map_err(text)?;
    await_look(&life)?;
    life.say("go").map_err(text)?;
    thread::sleep(2 * WORK);
    let status = std::fs::read_to_string(format!("/proc/{}/status", life.id())).map_err(text)?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmPeak:"));
    let peak = peak.and_then(|peak| peak.trim().strip_suffix(" kB")?.trim().parse().ok());
    peak.ok_or_else(|| "the system doesn't tell how much memory a process takes".to_owned())
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn source(seed: u64, case: u64) -> Source {
    Source {
        seed: mix(seed ^ mix(case)),
        setup: LIMITED,
        base_ms: now_ms(),
    }
}

/// Lives under one kind of limit.
struct Cases {
    name: &'static str,
    seed: u64,
    folder: PathBuf,
    ends: Vec<(Limit, End)>,
    failures: Vec<String>,
}

impl Cases {
    fn new(name: &'static str, seed: u64, folder: &Path) -> Self {
        Self {
            name,
            seed,
            folder: folder.join(format!("{name}-{seed}")),
            ends: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// Puts two lives under each limit, one with a new database; ends at the first failure,
    /// whose files stay.
    fn run(&mut self, limits: impl Iterator<Item = Limit>) {
        for limit in limits {
            for is_new in [true, false] {
                if !self.failures.is_empty() {
                    return;
                }
                let source = source(self.seed, self.ends.len() as u64);
                match try_limit(source, is_new, limit, &self.folder) {
                    Ok(end) => self.ends.push((limit, end)),
                    Err(words) => self.failures.push(format!(
                        "{limit:?}, {}: {words}\n  kept: {}\n  again: cargo xtask stress --only \
                         {} --seed {}",
                        if is_new { "new" } else { "there before" },
                        self.folder.display(),
                        self.name,
                        self.seed
                    )),
                }
            }
        }
    }

    fn report(self, words: String) -> Report {
        if self.failures.is_empty() {
            let _removed = std::fs::remove_dir_all(&self.folder);
        }
        let count = |end: End| self.ends.iter().filter(|(_, one)| *one == end).count();
        Report {
            name: self.name,
            cases: (self.ends.len() + self.failures.len()) as u64,
            words: format!(
                "{words}{} worked, {} were told what is lacking, {} were ended by the standard \
                 library for a few bytes, {} never started; nothing acknowledged was lost",
                count(End::Worked),
                count(End::Refused),
                count(End::Aborted),
                count(End::NotStarted)
            ),
            failures: self.failures,
        }
    }
}

fn try_limit(source: Source, is_new: bool, limit: Limit, folder: &Path) -> Result<End, String> {
    let places = Places::new(folder).map_err(text)?;
    let mut judge = Judge::new(source);
    if !is_new {
        work(&source, &mut judge, &places, Limit::None)?;
    }
    let end = work(&source, &mut judge, &places, limit)?;
    // Without the limit everything is there.
    let mut life = Life::begin(&source, &places, Limit::None).map_err(text)?;
    judge.judge(&await_look(&life)?)?;
    life.say("end").map_err(text)?;
    match life.next(PATIENCE) {
        Ok(Told::Other(Message::Closed)) => Ok(end),
        Ok(Told::Other(Message::Failed(words))) => Err(words),
        _ => Err("it doesn't close the database".to_owned()),
    }
}

/// One life under a limit, killed where it doesn't end before.
fn work(source: &Source, judge: &mut Judge, places: &Places, limit: Limit) -> Result<End, String> {
    let _none = std::fs::remove_file(places.folder.join("stderr"));
    let mut life = Life::begin(source, places, limit).map_err(text)?;
    let mut refusal = None;
    let mut is_open = false;
    let mut is_killed = false;
    loop {
        match life.next(if is_open && !is_killed {
            WORK
        } else {
            PATIENCE
        }) {
            Ok(Told::Looked(look)) => {
                judge.judge(&look)?;
                is_open = true;
                let line = format!("go {}", judge.numbers());
                // Whether it has ended is seen below.
                let _said = life.say(&line);
            }
            Ok(Told::Other(Message::Acknowledged(worker, number))) => {
                judge.acknowledge(worker, number);
            }
            Ok(Told::Other(Message::Failed(words))) => refusal = Some(words),
            Ok(_) => {}
            Err(NoMore::Silent) if is_open && !is_killed => {
                life.kill().map_err(text)?;
                is_killed = true;
            }
            Err(NoMore::Silent) => return Err("it neither opens nor ends".to_owned()),
            Err(NoMore::Ended) => break,
        }
        if is_open && !is_killed && life.begun().elapsed() > WORK * 4 {
            life.kill().map_err(text)?;
            is_killed = true;
        }
    }
    let status = life.wait().map_err(text)?;
    let complaints = places.complaints();
    let has_no_memory = complaints.contains(ALLOCATION_FAILED);
    // Two threads that fail at once write into each other's line: then it can't be read.
    let lacking = match complaints.split(ALLOCATION_FAILED).collect::<Vec<_>>()[..] {
        [_, bytes] => bytes
            .trim()
            .split(' ')
            .next()
            .and_then(|bytes| bytes.parse::<u64>().ok()),
        _ => None,
    };
    // Before any of the thread's own code runs.
    let has_no_thread =
        complaints.contains(THREAD_FAILED) || complaints.contains(DESTRUCTOR_FAILED);
    if complaints.contains("panicked") && !has_no_thread
        || lacking.is_some_and(|bytes| bytes > SMALL_BYTES)
    {
        return Err(complaints);
    }
    match (refusal, status.code()) {
        (Some(words), _) if !words.is_empty() => Ok(End::Refused),
        _ if is_killed => Ok(End::Worked),
        _ if has_no_memory || has_no_thread => Ok(End::Aborted),
        (None, Some(code)) if code != i32::from(EXIT_FAILED) && code != 0 => Ok(End::NotStarted),
        _ => Err(format!("it ended with {status}: {complaints}")),
    }
}
