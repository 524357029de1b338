//! Databases that earlier versions wrote, opened by this one.
//!
//! `tests/golden/N` holds those of version N of the format, written by
//! `cargo run --example golden`: one that was closed, and one as a killed process left it,
//! with a record of each kind in the log.

#[path = "support/golden.rs"]
mod golden;
mod support;

use golden::Stage;
use lightning_db::Database;
use std::path::{Path, PathBuf};
use support::Directory;

fn copy(name: &str) -> Directory {
    let directory = Directory::new("golden");
    let from = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/1")
        .join(name);
    std::fs::create_dir_all(directory.path().join("wal")).unwrap();
    for part in ["", "wal"] {
        for entry in std::fs::read_dir(from.join(part)).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                let to = directory.path().join(part).join(entry.file_name());
                std::fs::copy(entry.path(), to).unwrap();
            }
        }
    }
    directory
}

fn files(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for part in ["", "wal"] {
        for entry in std::fs::read_dir(directory.join(part)).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                files.push((entry.path(), std::fs::read(entry.path()).unwrap()));
            }
        }
    }
    files.sort();
    files
}

fn opens(name: &str, stage: Stage) {
    let directory = copy(name);
    let before = files(directory.path());
    let database = Database::open_read_only(directory.path()).unwrap();
    golden::check(&database, stage);
    drop(database);
    let after = files(directory.path());
    let untouched = before.iter().all(|file| after.contains(file));
    assert!(untouched, "opening for reading only changed a file");

    let database = golden::builder().open(directory.path()).unwrap();
    golden::check(&database, stage);
    assert!(database.verify().unwrap().pages > 0);
    // It can be written on, and what was there stays.
    if stage == Stage::Merged {
        golden::write_logged(&database).unwrap();
    }
    golden::check(&database, Stage::Logged);
    database.close().unwrap();
    let database = golden::builder().open(directory.path()).unwrap();
    golden::check(&database, Stage::Logged);
    database.verify().unwrap();
}

#[test]
fn a_database_that_was_closed_opens() {
    opens("closed", Stage::Merged);
}

#[test]
fn a_database_whose_process_was_killed_opens() {
    opens("killed", Stage::Logged);
}

#[test]
fn this_version_writes_what_the_checks_expect() {
    let directory = Directory::new("golden-new");
    let database = golden::builder().open(directory.path()).unwrap();
    golden::write_merged(&database).unwrap();
    golden::check(&database, Stage::Merged);
    golden::write_logged(&database).unwrap();
    golden::check(&database, Stage::Logged);
}
