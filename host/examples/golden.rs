//! Writes the databases of `tests/golden`: `cargo run --example golden -- DIRECTORY`.
//!
//! They are written once for each version of the format and never again: what matters is
//! that later versions read what an earlier one wrote.

#[path = "../tests/support/golden.rs"]
mod golden;
#[path = "../tests/support/golden_runs.rs"]
#[expect(dead_code, reason = "what is expected is compared by the tests")]
mod golden_runs;

use golden::Stage;
use lightning_platform::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The file is shortened while nobody writes; this much may be committed.
const PAGE_FILE_BYTES_MAX: u64 = 600 << 10;

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to.join("wal"))?;
    for part in ["", "wal"] {
        for entry in std::fs::read_dir(from.join(part))? {
            let entry = entry?;
            let is_database = entry
                .path()
                .extension()
                .is_some_and(|end| end == "ldb" || end == "wal");
            if entry.file_type()?.is_file() && is_database {
                std::fs::copy(entry.path(), to.join(part).join(entry.file_name()))?;
            }
        }
    }
    Ok(())
}

/// Writes what has runs, as the simulated storage has it at the end.
fn write_runs(to: &Path) -> Result<(), Box<dyn std::error::Error>> {
    std::fs::create_dir_all(to.join("wal"))?;
    let storage = golden_runs::write(crc32c::crc32c_append)?;
    for file in storage.files() {
        let path = match file {
            File::Pages => to.join("pages.ldb"),
            File::Log(slot) => to.join("wal").join(format!("{slot:08}.wal")),
        };
        std::fs::write(path, storage.file_bytes(file).unwrap_or_default())?;
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let to: PathBuf = std::env::args_os().nth(1).ok_or("name a directory")?.into();
    let work = to.join("work");
    let database = golden::builder().open(&work)?;
    golden::write_merged(&database)?;
    let started = Instant::now();
    loop {
        let engine = database.statistics().engine;
        let file_bytes = std::fs::metadata(work.join("pages.ldb"))?.len();
        let is_merged = engine.merged_sequence == engine.appended_sequence && engine.runs == 0;
        if is_merged && file_bytes <= PAGE_FILE_BYTES_MAX {
            break;
        }
        if started.elapsed() > Duration::from_secs(120) {
            return Err(format!("the page file still has {file_bytes} bytes").into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    golden::check(&database, Stage::Merged);
    database.close()?;
    copy(&work, &to.join("closed"))?;
    // As a killed process leaves it: what follows is in the log only.
    let database = golden::builder().open(&work)?;
    golden::write_logged(&database)?;
    copy(&work, &to.join("killed"))?;
    golden::check(&database, Stage::Logged);
    drop(database);
    std::fs::remove_dir_all(&work)?;
    write_runs(&to.join("runs"))
}
