//! Files that don't belong together, or are not what they were: cut short,
//! replaced by noise, of another database, or from the past.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lightning_core::db::Engine;
use lightning_core::error::Error;
use lightning_platform::File;
use lightning_sim::{Random, SimMemory, SimStorage, mix};

use super::engine_bit_flip::{AtRest, Found, at_rest};
use super::{Check, Outcome, Settings};
use crate::cases::{Verdict, for_each};
use crate::engine::{
    Change, Setup, What, commit, digest, input, make_room, open, platform, setups,
};

/// The entry in the table.
pub const CHECK: Check = Check {
    name: "engine-foreign",
    about: "files cut short, replaced, mixed or outdated are refused or read right",
    run,
};

struct Pair {
    this: AtRest,
    other: SimStorage,
}

fn run(settings: &Settings) -> Outcome {
    let count = if settings.is_long { 60_000 } else { 4_000 };
    let mut pairs = Vec::new();
    for setup in setups() {
        for closes in [true, false] {
            match pair(&setup, settings.seed, closes) {
                Ok(pair) => pairs.push(pair),
                Err(error) => {
                    return Outcome {
                        cases: 1,
                        bad: 1,
                        first_bad: Some(format!("writing {}: {error}", setup.name)),
                        note: None,
                    };
                }
            }
        }
    }
    let newest_lost = AtomicU64::new(0);
    let outcome = for_each(count, |case| {
        let seed = mix(settings.seed ^ mix(case));
        let pair = &pairs[(case % pairs.len() as u64) as usize];
        run_case(pair, seed, &newest_lost)
            .map_err(|reason| format!("{} seed {seed}: {reason}", pair.this.name))
    });
    let newest_lost = newest_lost.into_inner();
    Outcome {
        note: Some(format!(
            "{newest_lost} lost part of a last flush, or all of the newest log segment"
        )),
        ..outcome
    }
}

fn pair(setup: &Setup, seed: u64, closes: bool) -> Result<Pair, Error> {
    let this = at_rest(setup, seed, closes)?;
    let other = SimStorage::new(setup.sim);
    let memory = SimMemory::new(1 << 30);
    let platform = platform(Arc::new(other.clone()), &memory, &setup.options);
    let engine = Engine::create(&platform, &setup.options, input(77))?;
    for number in 0..20_u8 {
        let change = Change {
            table: 16,
            key: vec![number],
            what: What::Put(b"another's".to_vec()),
        };
        while let Err(error) = commit(&engine, std::slice::from_ref(&change)) {
            make_room(&engine, error)?;
        }
        engine.flush_step(true)?;
    }
    drop(engine);
    Ok(Pair {
        this,
        other: other.restart(),
    })
}

fn replace(storage: &SimStorage, file: File, bytes: &[u8]) {
    storage.truncate_raw(file, bytes.len() as u64);
    storage.overwrite_raw(file, 0, bytes);
}

/// The log slot whose segment has the highest number.
fn newest_slot(storage: &SimStorage) -> Option<File> {
    let number = |file: &File| {
        let bytes = storage.read_raw(*file, 0, 56)?;
        let number = u64::from_le_bytes(bytes.get(48..56)?.try_into().ok()?);
        bytes.starts_with(b"LTNGWAL1").then_some((number, *file))
    };
    let logs = storage
        .files()
        .into_iter()
        .filter(|file| *file != File::Pages);
    logs.filter_map(|file| number(&file))
        .max()
        .map(|(_, file)| file)
}

fn run_case(pair: &Pair, seed: u64, newest_lost: &AtomicU64) -> Verdict {
    let mut random = Random::new(seed);
    let damaged = pair.this.storage.fork();
    let files = damaged.files();
    let file = files[random.below(files.len() as u64) as usize];
    let length = damaged
        .file_bytes(file)
        .map_or(0, |bytes| bytes.len() as u64);
    let mut may_lose_newest = newest_slot(&damaged) == Some(file);
    let what = match random.below(7) {
        0 => {
            let cut = match random.below(3) {
                0 => length / 512 * random.below(513),
                1 => random.below(length + 1) / 512 * 512,
                _ => random.below(length + 1),
            };
            damaged.truncate_raw(file, cut.min(length));
            "cut short"
        }
        1 => {
            let mut noise = vec![0; length as usize];
            random.fill(&mut noise);
            replace(&damaged, file, &noise);
            "replaced by noise"
        }
        2 => {
            let start = random.below(length);
            let mut noise = vec![0; (random.below(4_096) as usize).min((length - start) as usize)];
            random.fill(&mut noise);
            damaged.overwrite_raw(file, start, &noise);
            "noise in it"
        }
        3 => {
            damaged.remove_raw(file);
            "removed"
        }
        4 => {
            let pages = pair.other.file_bytes(File::Pages).unwrap_or_default();
            replace(&damaged, File::Pages, &pages);
            may_lose_newest = false;
            "another's page file"
        }
        5 => {
            for file in files.iter().filter(|file| **file != File::Pages) {
                damaged.remove_raw(*file);
            }
            for file in pair.other.files() {
                if file != File::Pages {
                    let bytes = pair.other.file_bytes(file).unwrap_or_default();
                    replace(&damaged, file, &bytes);
                }
            }
            may_lose_newest = false;
            "another's log"
        }
        _ => {
            let Some(older) = &pair.this.older_pages else {
                return Err("no older page file was kept".into());
            };
            replace(&damaged, File::Pages, older);
            may_lose_newest = false;
            "an older page file"
        }
    };
    let words = |reason: String| format!("{file:?} {what}: {reason}");
    let opened = open(&damaged, &pair.this.setup.options).and_then(|engine| digest(&engine));
    match opened {
        // Nothing says where a file that is missing or foreign was damaged.
        Err(Error::NotADatabase | Error::Unsupported { .. } | Error::Options(_)) => return Ok(()),
        Err(Error::Io { .. }) => return Ok(()),
        Ok(found) if may_lose_newest && pair.this.states.contains(&found) => {
            if found == pair.this.expected {
                return Ok(());
            }
            newest_lost.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        _ => {}
    }
    let found = match opened {
        Ok(found) if found == pair.this.expected => Found::Right,
        Ok(found) if pair.this.before_last_flush.contains(&found) => Found::TailLost,
        Ok(_) => return Err(words("wrong data, and no error".into())),
        Err(Error::Corruption { .. }) => Found::Refused,
        Err(error) => return Err(words(error.to_string())),
    };
    if found == Found::TailLost {
        newest_lost.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
