//! A database with a run and an ingest that only the log names, as version 1 of the format
//! wrote it (`cargo run --example golden`), opened by this version; and damaged.

#[path = "support/golden_runs.rs"]
mod golden_runs;
mod support;

use golden_runs::{Rows, TABLE};
use lightning_db::{Database, Result};
use lightning_platform::File;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use support::Directory;

/// How far apart the bytes are that are flipped, zeros left out that a whole block consists
/// of: a number that comes to every place of a page and of a block in time.
const DAMAGE_STEP: usize = 211;
const BLOCK_BYTES: usize = 512;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/1/runs")
}

/// The files, by their paths below the database.
fn golden_files() -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for part in ["", "wal"] {
        for entry in std::fs::read_dir(folder().join(part)).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                let path = Path::new(part).join(entry.file_name());
                files.push((path, std::fs::read(entry.path()).unwrap()));
            }
        }
    }
    files.sort();
    files
}

fn write_to(directory: &Path, files: &[(PathBuf, Vec<u8>)]) {
    std::fs::create_dir_all(directory.join("wal")).unwrap();
    for (path, bytes) in files {
        std::fs::write(directory.join(path), bytes).unwrap();
    }
}

fn rows(database: &Database) -> Result<Rows> {
    let mut found = Rows::new();
    let read = database.begin_read()?;
    let Some(table) = database.existing_table(TABLE)? else {
        return Ok(found);
    };
    read.open(&table)?.for_each(.., |entry| {
        let row = (entry.value.to_vec(), entry.expiry_ms, entry.metadata);
        found.insert(entry.key.to_vec(), row);
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

fn builder() -> lightning_db::Builder {
    Database::builder()
        .cache_bytes(1 << 20)
        .memtable_bytes(256 << 10)
}

#[test]
fn runs_and_an_ingest_in_the_log_open() {
    let directory = Directory::new("golden-runs");
    write_to(directory.path(), &golden_files());
    let database = builder().read_only(true).open(directory.path()).unwrap();
    assert!(rows(&database).unwrap() == golden_runs::expected());
    // It is what it was written for: a run, and what only the log names.
    let engine = database.statistics().engine;
    assert!(engine.runs >= 2, "{engine:?}");
    assert!(engine.front_bytes > 0, "{engine:?}");
    drop(database);
    for (path, bytes) in golden_files() {
        assert!(std::fs::read(directory.path().join(path)).unwrap() == bytes);
    }
    let database = builder().open(directory.path()).unwrap();
    assert!(rows(&database).unwrap() == golden_runs::expected());
    assert_eq!(database.verify().unwrap().leaked_units, 0);
    let table = database.table(TABLE).unwrap();
    database.put(&table, b"later", b"than all").unwrap();
    database.close().unwrap();
    let database = builder().open(directory.path()).unwrap();
    assert_eq!(
        rows(&database).unwrap().len(),
        golden_runs::expected().len() + 1
    );
    assert_eq!(database.verify().unwrap().leaked_units, 0);
}

#[test]
fn this_version_writes_what_the_checks_expect() {
    let storage = golden_runs::write(crc32c::crc32c_append).unwrap();
    let directory = Directory::new("golden-runs-new");
    let files: Vec<_> = storage
        .files()
        .into_iter()
        .map(|file| {
            let path = match file {
                File::Pages => PathBuf::from("pages.ldb"),
                File::Log(slot) => PathBuf::from(format!("wal/{slot:08}.wal")),
            };
            (path, storage.file_bytes(file).unwrap())
        })
        .collect();
    write_to(directory.path(), &files);
    let database = builder().open(directory.path()).unwrap();
    assert!(rows(&database).unwrap() == golden_runs::expected());
}

#[test]
fn damage_to_runs_and_to_an_ingest_is_refused_or_changes_nothing() {
    let files = golden_files();
    let expected = golden_runs::expected();
    let directory = Directory::new("golden-damaged");
    write_to(directory.path(), &files);
    let (mut refused, mut unchanged) = (0, 0);
    for (path, bytes) in &files {
        let block_of = |place: usize| {
            bytes[place / BLOCK_BYTES * BLOCK_BYTES..]
                .iter()
                .take(BLOCK_BYTES)
        };
        let places = (0..bytes.len()).filter(|place| block_of(*place).any(|byte| *byte != 0));
        for place in places.step_by(DAMAGE_STEP) {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1 << (place % 8);
            std::fs::write(directory.path().join(path), &damaged).unwrap();
            let opened = builder().read_only(true).open(directory.path());
            match opened.and_then(|database| rows(&database)) {
                Ok(found) => {
                    assert!(found == expected, "{} at {place}", path.display());
                    unchanged += 1;
                }
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    refused += 1;
                }
            }
        }
        std::fs::write(directory.path().join(path), bytes).unwrap();
    }
    println!("{refused} refused, {unchanged} changed nothing");
    assert!(refused > 20, "{refused} of {}", refused + unchanged);
}
