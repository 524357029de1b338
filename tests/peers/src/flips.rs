//! `peers flips`: what each engine makes of a bit that was flipped on the disk.
//!
//! A database of 300 rows is written, closed, and copied afresh for each case; in the copy
//! one bit is flipped. Then it is opened and read: a scan of everything, and a get of every
//! key. What comes of it is one of four: the right rows; rows that are wrong or missing, and
//! no error (*silently wrong*); an error; a panic, a crash or no end.
//!
//! All bytes are tried but those of blocks of 512 bytes that hold nothing but zeros, or as
//! many as are asked for, evenly spread over them. The cases run in processes of their own,
//! many in each, since a crash ends only the process that it happens in: the next one goes
//! on behind that case.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::data::{key, value};
use crate::engines::{self, Change, Durability, EngineKind, Options};

const ROWS: u64 = 300;
const BLOCK_BYTES: usize = 512;
/// So long one case may take.
const CASE_MAX: Duration = Duration::from_secs(20);

/// The engines, in the order of the table.
fn engines() -> Vec<EngineKind> {
    let mut engines = engines::ENGINES.to_vec();
    engines.insert(1, engines::SQLITE);
    engines
}

fn options() -> Options {
    Options {
        durability: Durability::EveryCommit,
        cache_bytes: 1 << 20,
        front_bytes: 1 << 20,
        exceeds_memory: false,
    }
}

/// What came of the cases of one engine.
#[derive(Default)]
struct Tally {
    bytes: u64,
    candidates: u64,
    cases: u64,
    right: u64,
    silently_wrong: u64,
    errors: u64,
    panics: u64,
    crashes: u64,
}

/// Tries up to `cases` flips on each engine, and prints the table.
pub fn run(directory: &Path, cases: usize, names: &[String]) -> Result<()> {
    for name in names {
        ensure!(
            engines().iter().any(|engine| engine.name == name),
            "no engine is called {name:?}"
        );
    }
    println!(
        "| engine | bytes | of them not in zeros | flips | right | silently wrong | error | panic \
         | crash or no end |\n|---|---|---|---|---|---|---|---|---|"
    );
    let is_chosen =
        |engine: &EngineKind| names.is_empty() || names.iter().any(|name| name == engine.name);
    for engine in engines().into_iter().filter(is_chosen) {
        let folder = directory.join(format!("flips-{}", engine.name));
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        let tally = try_engine(engine, &folder, cases)
            .with_context(|| format!("flips of {}", engine.name))?;
        let Tally {
            bytes,
            candidates,
            cases,
            right,
            silently_wrong,
            errors,
            panics,
            crashes,
        } = tally;
        println!(
            "| {} | {bytes} | {candidates} | {cases} | {right} | {silently_wrong} | {errors} | \
             {panics} | {crashes} |",
            engine.name
        );
        fs::remove_dir_all(&folder)?;
    }
    Ok(())
}

/// The files of a closed database, by their paths below it.
fn files_of(folder: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(below) = folders.pop() {
        for entry in fs::read_dir(folder.join(&below))? {
            let entry = entry?;
            let path = below.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else {
                files.insert(path, fs::read(entry.path())?);
            }
        }
    }
    Ok(files)
}

/// Where the flips are: a file by its number, and a byte in it.
fn places(files: &BTreeMap<PathBuf, Vec<u8>>) -> Vec<(usize, usize)> {
    let mut places = Vec::new();
    for (number, bytes) in files.values().enumerate() {
        for (block, part) in bytes.chunks(BLOCK_BYTES).enumerate() {
            if part.iter().any(|byte| *byte != 0) {
                let first = block * BLOCK_BYTES;
                places.extend((first..first + part.len()).map(|place| (number, place)));
            }
        }
    }
    places
}

fn try_engine(engine: EngineKind, folder: &Path, cases: usize) -> Result<Tally> {
    let source = folder.join("source");
    fs::create_dir_all(&source)?;
    let database = (engine.open)(&source, &options())?;
    let changes: Vec<Change> = (0..ROWS)
        .map(|index| Change {
            key: key(index),
            value: Some(value(index, 0)),
        })
        .collect();
    database.commit(&changes)?;
    database.close()?;
    let files = files_of(&source)?;
    let places = places(&files);
    let cases = cases.min(places.len());
    let mut tally = Tally {
        bytes: files.values().map(|bytes| bytes.len() as u64).sum(),
        candidates: places.len() as u64,
        cases: cases as u64,
        ..Tally::default()
    };
    ensure!(
        judge(engine, &source)? == Verdict::Right,
        "without any flip it isn't right"
    );
    let mut next = 0;
    while next < cases {
        let mut worker = Worker::start(engine, folder, next, cases)?;
        while next < cases {
            match worker.told.recv_timeout(CASE_MAX) {
                Ok(verdict) => {
                    match verdict {
                        Verdict::Right => tally.right += 1,
                        Verdict::SilentlyWrong => tally.silently_wrong += 1,
                        Verdict::Error => tally.errors += 1,
                        Verdict::Panic => tally.panics += 1,
                    }
                    next += 1;
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    tally.crashes += 1;
                    next += 1;
                    break;
                }
            }
        }
        worker.child.kill()?;
        worker.child.wait()?;
    }
    Ok(tally)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Right,
    SilentlyWrong,
    Error,
    Panic,
}

struct Worker {
    child: Child,
    told: Receiver<Verdict>,
}

impl Worker {
    fn start(engine: EngineKind, folder: &Path, from: usize, cases: usize) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("flip-cases")
            .arg(engine.name)
            .arg(folder)
            .args([from.to_string(), cases.to_string()])
            .stdout(Stdio::piped())
            // What a crash says isn't part of the table.
            .stderr(Stdio::null())
            .spawn()?;
        let output = child.stdout.take().context("the cases have no output")?;
        let (send, told) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let verdict = match &line[..] {
                    "right" => Verdict::Right,
                    "wrong" => Verdict::SilentlyWrong,
                    "error" => Verdict::Error,
                    "panic" => Verdict::Panic,
                    _ => return,
                };
                if send.send(verdict).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, told })
    }
}

/// The process of the cases from number `from` on: tells the verdict of each, a line each.
pub fn run_cases(engine: &str, folder: &Path, from: usize, cases: usize) -> Result<()> {
    let Some(engine) = engines().into_iter().find(|kind| kind.name == engine) else {
        bail!("no such engine");
    };
    set_hook(Box::new(|_| {}));
    let files = files_of(&folder.join("source"))?;
    let places = places(&files);
    let copy = folder.join("copy");
    for case in from..cases {
        let (number, place) = places[case * places.len() / cases];
        if copy.exists() {
            fs::remove_dir_all(&copy)?;
        }
        for (index, (path, bytes)) in files.iter().enumerate() {
            let to = copy.join(path);
            fs::create_dir_all(to.parent().context("a file has a folder")?)?;
            if index == number {
                let mut damaged = bytes.clone();
                damaged[place] ^= 1 << (place % 8);
                fs::write(to, damaged)?;
            } else {
                fs::write(to, bytes)?;
            }
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| judge(engine, &copy)));
        let verdict = match outcome {
            Ok(Ok(Verdict::Right)) => "right",
            Ok(Ok(_)) => "wrong",
            Ok(Err(_)) => "error",
            Err(_) => "panic",
        };
        let mut output = std::io::stdout().lock();
        writeln!(output, "{verdict}")?;
        output.flush()?;
    }
    Ok(())
}

/// Opens the database and reads all of it in both ways.
fn judge(engine: EngineKind, directory: &Path) -> Result<Verdict> {
    let database = (engine.open)(directory, &options())?;
    let mut reader = database.reader()?;
    let mut found = BTreeMap::new();
    let mut in_order = true;
    let mut last: Option<Vec<u8>> = None;
    reader.scan(&[], usize::MAX / 4, &mut |key, value| {
        in_order &= last.as_deref().is_none_or(|last| last < key);
        last = Some(key.to_vec());
        found.insert(key.to_vec(), value.to_vec());
    })?;
    let expected: BTreeMap<Vec<u8>, Vec<u8>> = (0..ROWS)
        .map(|index| (key(index).to_vec(), value(index, 0).to_vec()))
        .collect();
    let mut is_right = in_order && found == expected;
    for (key, value) in &expected {
        let key = key[..].try_into()?;
        let mut is_value = false;
        let is_there = reader.get(&key, &mut |found| is_value = found == value)?;
        is_right &= is_there && is_value;
    }
    drop(reader);
    // An error at the end is told, too; what was read was judged already.
    drop(database);
    Ok(if is_right {
        Verdict::Right
    } else {
        Verdict::SilentlyWrong
    })
}
