//! Every byte of every file of a small database flipped, one at a time, and every file cut
//! off at every length: at rest after a clean close, and after an idle mark.
//!
//! What is read then is right, or an error names the place. What the integrity check reads
//! is what is live: a flip there is found by opening, reading or that check, slack
//! of live pages included. A flip in what neither opening nor that check reads changes
//! nothing. Both follow from traces of an undamaged opening.

use std::sync::atomic::{AtomicU64, Ordering};

use lightning_core::db::{Budgeted, Engine, Options, Verified};
use lightning_core::error::Error;
use lightning_platform::File;
use lightning_sim::{SimStorage, mix};

use super::{Check, Outcome, Settings};
use crate::cases::{Verdict, for_each};
use crate::engine::{Change, Model, Setup, TABLES, What, commit, create, digest, open, setups};

/// The entry in the table.
pub const CHECK: Check = Check {
    name: "engine-every-byte",
    about: "each byte flipped and each length cut off: right data, or an error with its place",
    run,
};

/// No file is longer.
const FILE_BYTES_MAX: usize = 256 << 10;

/// A database at rest, what it holds, and which bytes of its page file are read.
pub struct Rested {
    pub name: &'static str,
    pub setup: Setup,
    pub storage: SimStorage,
    pub expected: u64,
    /// The page file as it was after each flush.
    pub older: Vec<Vec<u8>>,
    /// Read by the integrity check.
    live: Vec<bool>,
    /// Read by opening, and by reading everything.
    used: Vec<bool>,
}

#[derive(Clone, Copy)]
enum Damage {
    Flip(File, u64),
    Cut(File, u64),
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
    let mut damages = Vec::new();
    for (index, database) in databases.iter().enumerate() {
        for file in database.storage.files() {
            let bytes = database.storage.file_bytes(file).unwrap_or_default().len() as u64;
            damages.extend((0..bytes).map(|offset| (index, Damage::Flip(file, offset))));
            damages.extend((0..bytes).map(|length| (index, Damage::Cut(file, length))));
        }
    }
    let refused = AtomicU64::new(0);
    let outcome = for_each(damages.len() as u64, |case| {
        let (index, damage) = damages[case as usize];
        let database = &databases[index];
        let bit = (mix(settings.seed ^ case) % 8) as u32;
        database.judge(damage, bit, &refused).map_err(|reason| {
            let (name, seed) = (database.name, settings.seed);
            match damage {
                Damage::Flip(file, offset) => {
                    format!("{name}, seed {seed}: {file:?} byte {offset} bit {bit}: {reason}")
                }
                Damage::Cut(file, length) => {
                    format!("{name}, seed {seed}: {file:?} cut to {length}: {reason}")
                }
            }
        })
    });
    let live = databases.iter().flat_map(|database| &database.live);
    let live = live.filter(|is_live| **is_live).count();
    Outcome {
        note: Some(format!(
            "{} refused; {live} bytes of page files are live",
            refused.into_inner()
        )),
        ..outcome
    }
}

fn words(error: Error) -> String {
    error.to_string()
}

fn change(table: u32, number: u64, seed: u64) -> Change {
    let mut value = vec![0; (seed % 70) as usize];
    if number.is_multiple_of(19) {
        value.resize(1_300, 7);
    }
    lightning_sim::Random::new(seed).fill(&mut value);
    Change {
        table,
        key: format!("key{number:03}").into_bytes(),
        what: What::Put(value),
    }
}

/// Writes a small database: in trees and the log after a close; in trees, a run and the
/// log where it was idle.
pub fn rest(name: &'static str, closes: bool, seed: u64) -> Result<Rested, String> {
    let [disk, ..] = setups();
    let setup = Setup {
        options: Options {
            segment_bytes: 64 << 10,
            runs: 4,
            ..disk.options
        },
        ..disk
    };
    let storage = SimStorage::new(setup.sim);
    let engine = create(&storage, &setup.options).map_err(words)?;
    let mut model = Model::default();
    let mut older = Vec::new();
    for number in 0..110 {
        let change = [change(
            TABLES[number as usize % 2],
            number,
            mix(seed ^ number),
        )];
        while let Err(error) = commit(&engine, &change) {
            crate::engine::make_room(&engine, error).map_err(words)?;
        }
        model.apply(&change);
        if number % 5 == 4 {
            engine.flush_step(true).map_err(words)?;
            older.extend(storage.file_bytes(File::Pages));
        }
        if number == 50 {
            crate::engine::drain(&engine).map_err(words)?;
        }
        if number == 80 && !closes {
            engine.freeze_front().map_err(words)?;
            engine.flush_step(true).map_err(words)?;
            for _ in 0..20 {
                engine
                    .poll_maintenance(Budgeted::default())
                    .map_err(words)?;
            }
        }
    }
    engine.flush_step(true).map_err(words)?;
    if closes {
        crate::engine::drain(&engine).map_err(words)?;
    }
    engine.mark().map_err(words)?;
    drop(engine);
    let storage = storage.restart();
    for file in storage.files() {
        let bytes = storage.file_bytes(file).unwrap_or_default().len();
        if bytes > FILE_BYTES_MAX {
            return Err(format!("{name}: {file:?} has {bytes} bytes"));
        }
    }
    let (live, used) = areas(&storage, &setup)?;
    Ok(Rested {
        name,
        setup,
        storage,
        expected: model.digest,
        older,
        live,
        used,
    })
}

/// Which bytes of the page file the integrity check reads, and which all else does.
fn areas(storage: &SimStorage, setup: &Setup) -> Result<(Vec<bool>, Vec<bool>), String> {
    let image = storage.fork();
    image.set_tracing(true);
    let engine = open(&image, &setup.options).map_err(words)?;
    digest(&engine).map_err(words)?;
    let used = read_bytes(&image);
    image.set_tracing(true);
    let verified = verify(&engine).map_err(words)?;
    let live = read_bytes(&image);
    // It reads what it says that it has looked at, and leaves nothing out: else what it
    // never reads would pass for free space here.
    let pages = verified.pages + verified.extents;
    let least = pages * u64::from(setup.options.page_bytes);
    let read = live.iter().filter(|is_live| **is_live).count() as u64;
    if verified.leaked_units > 0 || read < least {
        return Err(format!(
            "the integrity check reads {read} bytes: {verified:?}"
        ));
    }
    Ok((live, used))
}

/// The bytes of the page file that the traced calls have read.
fn read_bytes(storage: &SimStorage) -> Vec<bool> {
    let length = storage.file_bytes(File::Pages).unwrap_or_default().len();
    let mut read = vec![false; length];
    for line in storage.trace() {
        let Some((_, range)) = line.split_once(": Read Pages at ") else {
            // Offset 0 and its length.
            if let Some((_, bytes)) = line.split_once(": Read Pages bytes ") {
                let end = bytes.parse::<usize>().unwrap_or(0);
                read.iter_mut().take(end).for_each(|byte| *byte = true);
            }
            continue;
        };
        let mut numbers = range.split(" bytes ").map(|part| part.parse::<usize>());
        if let (Some(Ok(offset)), Some(Ok(bytes))) = (numbers.next(), numbers.next()) {
            read.iter_mut()
                .skip(offset)
                .take(bytes)
                .for_each(|byte| *byte = true);
        }
    }
    read
}

fn verify(engine: &Engine) -> Result<Verified, Error> {
    let mut buffer = vec![0; engine.verify_buffer_bytes()];
    engine.verify(&mut buffer, &mut |_| {})
}

impl Rested {
    fn judge(&self, damage: Damage, bit: u32, refused: &AtomicU64) -> Verdict {
        let damaged = self.storage.fork();
        match damage {
            Damage::Flip(file, offset) => damaged.flip_bit(file, offset, bit),
            Damage::Cut(file, length) => damaged.truncate_raw(file, length),
        }
        let outcome = open(&damaged, &self.setup.options)
            .and_then(|engine| Ok((digest(&engine)?, verify(&engine))));
        let (is_read, is_live, is_page) = match damage {
            Damage::Flip(File::Pages, offset) => {
                let at = offset as usize;
                (self.used[at] || self.live[at], self.live[at], true)
            }
            _ => (true, false, false),
        };
        match outcome {
            Ok((found, _)) if found != self.expected => Err("wrong data, and no error".into()),
            Ok((_, Err(Error::Corruption { .. }))) if is_read => {
                refused.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Ok((_, Err(error))) => Err(format!("the integrity check answers: {error}")),
            Ok((_, Ok(_))) if is_live => Err("live, and the integrity check is blind".into()),
            Ok((_, Ok(_))) => Ok(()),
            Err(Error::Corruption { .. }) if is_read => {
                refused.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            // Nothing says where what is missing was.
            Err(Error::NotADatabase) if !is_page => Ok(()),
            Err(error) if is_read => Err(format!("the error names no place: {error}")),
            Err(error) => Err(format!("free space, and it matters: {error}")),
        }
    }
}
