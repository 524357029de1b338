//! Whole pieces of a small database in the wrong place or from the past, every one: each
//! pair of blocks of the page file swapped, each block replaced by every older version of
//! itself (a lost write), both superblocks by an older one, and every stretch of blocks of
//! the log cut out, but for one that takes the mark at its end along.
//!
//! All of it was marked as durable. So what is read is right, or an error names the place.
//! Where the end of the newest segment is gone with the mark, and records with it, nothing
//! that is left tells it from a flush that a power cut took.

use lightning_core::error::Error;
use lightning_platform::File;
use lightning_sim::SimStorage;

use super::engine_every_byte::{Rested, rest};
use super::{Check, Outcome, Settings};
use crate::cases::{Verdict, for_each};
use crate::engine::{digest, open};

/// The entry in the table.
pub const CHECK: Check = Check {
    name: "engine-stale",
    about: "pages swapped or of the past, log records cut out: right data, or an error",
    run,
};

/// The size of a page, and of a write block of the log.
const PAGE_BYTES: usize = 1_024;
const BLOCK_BYTES: usize = 512;

enum Fault {
    /// Pieces at two offsets of the page file.
    Swap(usize, usize),
    /// A range of the page file as it was after some flush.
    Older(usize, usize, usize),
    /// A stretch of a log slot, from its first byte to its exclusive end.
    CutOut(File, usize, usize),
}

fn run(settings: &Settings) -> Outcome {
    let databases: Result<Vec<Rested>, String> = [("clean close", true), ("idle mark", false)]
        .into_iter()
        .map(|(name, closes)| rest(name, closes, settings.seed))
        .collect();
    let databases = match databases {
        Ok(databases) => databases,
        Err(reason) => {
            return Outcome {
                cases: 1,
                bad: 1,
                first_bad: Some(reason),
                note: None,
            };
        }
    };
    let mut faults = Vec::new();
    for (index, database) in databases.iter().enumerate() {
        faults.extend(faults_of(database).into_iter().map(|fault| (index, fault)));
    }
    for_each(faults.len() as u64, |case| {
        let (index, fault) = &faults[case as usize];
        let database = &databases[*index];
        judge(database, fault).map_err(|reason| {
            let (name, seed) = (database.name, settings.seed);
            let what = match fault {
                Fault::Swap(one, other) => format!("pages at {one} and {other} swapped"),
                Fault::Older(at, bytes, version) => {
                    format!("{bytes} bytes at {at} as after flush {version}")
                }
                Fault::CutOut(file, from, to) => format!("{file:?} without {from} to {to}"),
            };
            format!("{name}, seed {seed}: {what}: {reason}")
        })
    })
}

fn faults_of(database: &Rested) -> Vec<Fault> {
    let pages = database.storage.file_bytes(File::Pages).unwrap_or_default();
    let mut faults = Vec::new();
    let places: Vec<usize> = (0..pages.len() / PAGE_BYTES)
        .map(|index| index * PAGE_BYTES)
        .collect();
    for (index, one) in places.iter().enumerate() {
        for other in &places[index + 1..] {
            if pages[*one..one + PAGE_BYTES] != pages[*other..other + PAGE_BYTES] {
                faults.push(Fault::Swap(*one, *other));
            }
        }
    }
    for (version, older) in database.older.iter().enumerate() {
        let differs = |at: usize, bytes: usize| {
            older.len() >= at + bytes && older[at..at + bytes] != pages[at..at + bytes]
        };
        for at in &places {
            if differs(*at, PAGE_BYTES) {
                faults.push(Fault::Older(*at, PAGE_BYTES, version));
            }
        }
        // Both superblocks, each in a page of its own.
        if differs(0, 2 * PAGE_BYTES) {
            faults.push(Fault::Older(0, 2 * PAGE_BYTES, version));
        }
    }
    for file in database.storage.files() {
        let bytes = database.storage.file_bytes(file).unwrap_or_default();
        if file != File::Pages {
            let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
            let end = used / BLOCK_BYTES;
            for from in 0..=end {
                // The last block is the mark's; alone it is no loss.
                let ends = (from + 1..=end).chain((from == end).then_some(end + 1));
                faults.extend(
                    ends.map(|to| Fault::CutOut(file, from * BLOCK_BYTES, to * BLOCK_BYTES)),
                );
            }
        }
    }
    faults
}

fn apply(database: &Rested, fault: &Fault) -> SimStorage {
    let damaged = database.storage.fork();
    let bytes = |file| damaged.file_bytes(file).unwrap_or_default();
    match fault {
        Fault::Swap(one, other) => {
            let pages = bytes(File::Pages);
            let page = |at: usize| &pages[at..at + PAGE_BYTES];
            damaged.overwrite_raw(File::Pages, *one as u64, page(*other));
            damaged.overwrite_raw(File::Pages, *other as u64, page(*one));
        }
        Fault::Older(at, count, version) => {
            let older = &database.older[*version][*at..at + count];
            damaged.overwrite_raw(File::Pages, *at as u64, older);
        }
        Fault::CutOut(file, from, to) => {
            damaged.overwrite_raw(*file, *from as u64, &vec![0; to - from]);
        }
    }
    damaged
}

fn judge(database: &Rested, fault: &Fault) -> Verdict {
    let damaged = apply(database, fault);
    let opened = open(&damaged, &database.setup.options).and_then(|engine| digest(&engine));
    match opened {
        Ok(found) if found == database.expected => Ok(()),
        Ok(_) => Err("wrong data, and no error".into()),
        Err(Error::Corruption { .. }) => Ok(()),
        Err(error) => Err(format!("the error names no place: {error}")),
    }
}
