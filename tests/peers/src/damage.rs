//! `peers damage`: what each engine makes of files that were damaged while they were closed.
//!
//! A database of 300 rows is written in one durable commit and closed cleanly. Each case
//! puts its files, as they were then, into a new folder with one fault, opens the database
//! there, scans everything, and gets every key. What comes of it is one of five: the right
//! rows; rows that are wrong or missing, and no error (*silently wrong*: since all of them
//! were durable, a missing one is an acknowledged one that was lost); an error; a panic; a
//! crash or no end.
//!
//! The faults ([`image`]): one flipped bit in every byte, but for those of blocks of 512
//! bytes that hold nothing but zeros; and each file cut off at every length at which it
//! loses more than trailing zeros, and, where it ends in zeros, behind its last byte that
//! isn't one, at each boundary of 4 KiB from there on, and one byte before its end.
//!
//! The cases of an engine run in processes of their own ([`cases`]), two at a time and many
//! in each. A crash ends only the process that it happens in: the next one goes on behind
//! that case.

mod cases;
mod image;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use self::cases::{Verdict, judge, write_database};
use self::image::Image;
use crate::engines::EngineKind;

pub use self::cases::{Cases, run as run_cases};
pub use self::image::Kind;

/// So long one case may take.
const CASE_MAX: Duration = Duration::from_secs(20);
/// The signal that ends a process from outside, in every Unix.
const SIGKILL: i32 = 9;
/// How many processes try cases at the same time.
const PROCESSES: usize = 2;
/// The most cases of one process: few enough that the two end together, and that what an
/// engine doesn't give back after an error stays little.
const CASES_PER_PROCESS: usize = 2_000;

/// What came of the cases of one kind and one engine.
#[derive(Default)]
struct Tally {
    right: u64,
    silently_wrong: u64,
    errors: u64,
    panics: u64,
    crashes: u64,
}

impl Tally {
    fn count(&mut self, verdict: Verdict) {
        *match verdict {
            Verdict::Right => &mut self.right,
            Verdict::SilentlyWrong => &mut self.silently_wrong,
            Verdict::Error => &mut self.errors,
            Verdict::Panic => &mut self.panics,
        } += 1;
    }

    fn add(&mut self, other: &Self) {
        self.right += other.right;
        self.silently_wrong += other.silently_wrong;
        self.errors += other.errors;
        self.panics += other.panics;
        self.crashes += other.crashes;
    }
}

/// Tries all faults of each kind on each engine, or `cases` of them that are evenly spread,
/// and prints a table for each kind.
pub fn run(directory: &Path, cases: Option<usize>, names: &[String]) -> Result<()> {
    for name in names {
        ensure!(
            cases::engines().iter().any(|engine| engine.name == name),
            "no engine is called {name:?}"
        );
    }
    let is_chosen =
        |engine: &EngineKind| names.is_empty() || names.iter().any(|name| name == engine.name);
    for kind in [Kind::Flip, Kind::Truncation] {
        let about = match kind {
            Kind::Flip => "bytes | of them not in zeros | flips",
            Kind::Truncation => "files | bytes | lengths tried",
        };
        println!("| engine | {about} | right | silently wrong | error | panic | crash or no end |");
        println!("|---|---|---|---|---|---|---|---|---|");
        for engine in cases::engines().into_iter().filter(is_chosen) {
            let folder = directory.join(format!("damage-{}", engine.name));
            if folder.exists() {
                fs::remove_dir_all(&folder)?;
            }
            let row = try_engine(engine, kind, &folder, cases)
                .with_context(|| format!("{kind} of {}", engine.name))?;
            println!("| {} | {row} |", engine.name);
            fs::remove_dir_all(&folder)?;
        }
        println!();
    }
    Ok(())
}

/// The cells of a row, but for the first.
fn try_engine(
    engine: EngineKind,
    kind: Kind,
    folder: &Path,
    most_cases: Option<usize>,
) -> Result<String> {
    let source = cases::source(folder);
    fs::create_dir_all(&source)?;
    write_database(engine, &source)?;
    // From here on nothing opens the database in its own place: that would change its files.
    let image = Image::read(&source)?;
    let whole = folder.join("whole");
    image.write(&whole, None)?;
    ensure!(
        judge(engine, &whole)? == Verdict::Right,
        "without any fault it isn't right"
    );
    let faults = image.faults(kind);
    let count = most_cases.map_or(faults.len(), |most| most.min(faults.len()));
    let orders = Orders {
        engine,
        kind,
        folder,
        count,
        next: AtomicUsize::new(0),
    };
    let mut tally = Tally::default();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..PROCESSES)
            .map(|process| {
                let orders = &orders;
                scope.spawn(move || orders.follow(process))
            })
            .collect();
        for thread in threads {
            let of_thread = thread
                .join()
                .map_err(|_| anyhow!("a thread that watches over cases panicked"))??;
            tally.add(&of_thread);
        }
        Ok::<(), anyhow::Error>(())
    })?;
    let about = match kind {
        Kind::Flip => format!("{} | {}", image.bytes(), faults.len()),
        Kind::Truncation => format!("{} | {}", image.file_count(), image.bytes()),
    };
    let Tally {
        right,
        silently_wrong,
        errors,
        panics,
        crashes,
    } = tally;
    Ok(format!(
        "{about} | {count} | {right} | {silently_wrong} | {errors} | {panics} | {crashes}"
    ))
}

/// The cases of one kind and one engine, which several processes share.
struct Orders<'f> {
    engine: EngineKind,
    kind: Kind,
    folder: &'f Path,
    count: usize,
    /// The first case that nobody has taken yet.
    next: AtomicUsize,
}

impl Orders<'_> {
    /// Has cases tried, one process after another, until none are left.
    fn follow(&self, process: usize) -> Result<Tally> {
        let mut tally = Tally::default();
        loop {
            let mut next = self.next.fetch_add(CASES_PER_PROCESS, Ordering::Relaxed);
            let end = (next + CASES_PER_PROCESS).min(self.count);
            if next >= end {
                return Ok(tally);
            }
            let mut in_doubt = None;
            while next < end {
                let mut worker = Worker::start(self, process, next, end)?;
                let (tried, ending) = worker.watch(end - next, &mut tally)?;
                next += tried;
                match ending {
                    Ending::Done => {}
                    Ending::Stopped if in_doubt != Some(next) => {
                        eprintln!(
                            "peers: {}, {} {next}: tried again",
                            self.engine.name, self.kind
                        );
                        in_doubt = Some(next);
                    }
                    Ending::Crash | Ending::Stopped => {
                        tally.crashes += 1;
                        next += 1;
                    }
                }
            }
        }
    }
}

struct Worker {
    child: Child,
    told: Receiver<Verdict>,
}

impl Worker {
    fn start(orders: &Orders, process: usize, from: usize, end: usize) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("damage-cases")
            .arg(orders.engine.name)
            .arg(orders.kind.to_string())
            .arg(orders.folder)
            .args([process, from, end, orders.count].map(|number| number.to_string()))
            .stdout(Stdio::piped())
            // What a crash says isn't part of the table.
            .stderr(Stdio::null())
            .spawn()?;
        let output = child.stdout.take().context("the cases have no output")?;
        let (send, told) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let Some(verdict) = Verdict::named(&line) else {
                    return;
                };
                if send.send(verdict).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, told })
    }

    /// Counts what comes of up to `count` cases, until one has no verdict; returns how many
    /// have one, and what came then.
    fn watch(&mut self, count: usize, tally: &mut Tally) -> Result<(usize, Ending)> {
        for case in 0..count {
            match self.told.recv_timeout(CASE_MAX) {
                Ok(verdict) => tally.count(verdict),
                Err(reason) => {
                    if reason == RecvTimeoutError::Timeout {
                        self.child.kill()?;
                    }
                    let status = self.child.wait()?;
                    return match status.signal() {
                        Some(SIGKILL) => Ok((case, Ending::Stopped)),
                        Some(_) => Ok((case, Ending::Crash)),
                        None => bail!("a process that tries cases ended with {status}"),
                    };
                }
            }
        }
        self.child.wait()?;
        Ok((count, Ending::Done))
    }
}

/// Why a process tries no more cases.
enum Ending {
    /// All were tried.
    Done,
    /// The next one ended the process by a signal.
    Crash,
    /// The next one took too long, or the system took the process away. A busy machine does
    /// that too: the case counts when it happens again.
    Stopped,
}
