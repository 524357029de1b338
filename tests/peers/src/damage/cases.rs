//! The process that tries cases: a verdict for each, a line each.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;

use super::image::{Image, Kind};
use crate::data::{key, value};
use crate::engines::{self, Change, Durability, EngineKind, Options};

const ROWS: u64 = 300;

/// Which cases a process tries.
#[derive(Args)]
pub struct Cases {
    /// The engine by name
    engine: String,
    /// The kind of faults
    kind: Kind,
    /// Where the databases are
    folder: PathBuf,
    /// The number of this process among those that run at the same time
    process: usize,
    /// The first case
    from: usize,
    /// Behind the last case
    end: usize,
    /// How many cases there are in all processes
    count: usize,
}

/// What came of a case that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// All rows, in both ways.
    Right,
    /// Other rows, and no error.
    SilentlyWrong,
    /// An error, from opening or from a read.
    Error,
    /// A panic, in the thread that asked.
    Panic,
}

impl Verdict {
    const ALL: [Self; 4] = [Self::Right, Self::SilentlyWrong, Self::Error, Self::Panic];

    fn name(self) -> &'static str {
        match self {
            Self::Right => "right",
            Self::SilentlyWrong => "wrong",
            Self::Error => "error",
            Self::Panic => "panic",
        }
    }

    /// The verdict of a line.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verdict| verdict.name() == name)
    }
}

/// The engines, in the order of the tables.
pub fn engines() -> Vec<EngineKind> {
    let mut engines = engines::ENGINES.to_vec();
    engines.insert(1, engines::SQLITE);
    engines
}

/// Where the database stands whose files are damaged in copies.
pub fn source(folder: &Path) -> PathBuf {
    folder.join("source")
}

fn options() -> Options {
    Options {
        durability: Durability::EveryCommit,
        cache_bytes: 1 << 20,
        front_bytes: 1 << 20,
        exceeds_memory: false,
    }
}

/// Makes the database: one durable commit and a clean close.
pub fn write_database(engine: EngineKind, folder: &Path) -> Result<()> {
    let database = (engine.open)(folder, &options())?;
    let changes: Vec<Change> = (0..ROWS)
        .map(|index| Change {
            key: key(index),
            value: Some(value(index, 0)),
        })
        .collect();
    database.commit(&changes)?;
    database.close()
}

/// Tries the cases and tells the verdicts.
pub fn run(cases: &Cases) -> Result<()> {
    let engine = engines()
        .into_iter()
        .find(|kind| kind.name == cases.engine)
        .context("no such engine")?;
    set_hook(Box::new(|_| {}));
    let image = Image::read(&source(&cases.folder))?;
    let faults = image.faults(cases.kind);
    let copies = cases.folder.join(format!("copies-{}", cases.process));
    // One that was ended may have left its last.
    if copies.exists() {
        fs::remove_dir_all(&copies)?;
    }
    for case in cases.from..cases.end {
        // A folder of its own: an engine that failed may still think it has the last one open.
        let copy = copies.join(case.to_string());
        let fault = faults[case * faults.len() / cases.count];
        image.write(&copy, Some(fault))?;
        let outcome = catch_unwind(AssertUnwindSafe(|| judge(engine, &copy)));
        let verdict = match outcome {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(_)) => Verdict::Error,
            Err(_) => Verdict::Panic,
        };
        let mut output = std::io::stdout().lock();
        writeln!(output, "{}", verdict.name())?;
        output.flush()?;
        fs::remove_dir_all(&copy)?;
    }
    Ok(())
}

/// Opens the database and reads all of it in both ways.
pub fn judge(engine: EngineKind, folder: &Path) -> Result<Verdict> {
    let database = (engine.open)(folder, &options())?;
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
    Ok(if is_right {
        Verdict::Right
    } else {
        Verdict::SilentlyWrong
    })
}
