//! Opening the files of an attacker.
//!
//! The checksum is one that everybody can compute, so that no damage is found by it: what
//! the input changes in a database's files is looked at by the code behind the checks.
//! The engine may answer anything, wrong data too, since what is written there is what the
//! attacker wrote; it must not panic, go on for ever or take more memory than was planned.
//!
//! # The input
//! The first byte chooses the database: closed or not, small or with runs. Then edits:
//! two bytes, and for most a third; see [`edit`].

use std::sync::OnceLock;

use lightning_core::btree::CursorPosition;
use lightning_core::db::{Engine, PutOptions};
use lightning_core::error::Result;
use lightning_platform::File;
use lightning_sim::{SimOptions, SimStorage};

use crate::support::{TABLES, create, drain, input, open, until_there_is_room};

/// Entries that are read of a table; a tree can lead to one page again and again.
const ENTRIES_READ: u32 = 4_000;
const STEPS: u32 = 200;

fn constant(_: u32, _: &[u8]) -> u32 {
    0
}

/// Databases to begin with.
fn databases() -> &'static [SimStorage] {
    static DATABASES: OnceLock<Vec<SimStorage>> = OnceLock::new();
    DATABASES.get_or_init(|| {
        let shapes = [
            (6, false, true),
            (300, true, true),
            (300, false, false),
            (120, true, false),
        ];
        shapes
            .into_iter()
            .map(|(entries, drains, marks)| {
                let storage = SimStorage::new(SimOptions::disk(512));
                fill(&storage, entries, drains, marks).expect("an empty storage takes a database");
                storage.restart()
            })
            .collect()
    })
}

fn fill(storage: &SimStorage, entries: u32, drains: bool, marks: bool) -> Result<()> {
    let engine = create(storage, input(Some(constant)))?;
    for number in 0..entries {
        let key = format!("key{:03}", number * 7 % 160);
        let length = if number % 40 == 3 {
            900
        } else {
            number as usize % 60
        };
        let options = PutOptions {
            expiry_ms: (number % 5 == 0).then_some(5_000),
            metadata: (number % 3 == 0).then_some(number as u8),
        };
        let (table, value) = (TABLES[number as usize % 2], vec![number as u8; length]);
        let _ = until_there_is_room(&engine, || {
            engine.put(table, key.as_bytes(), &value, options, 0)
        })?;
        if number % 8 == 7 {
            engine.flush_step(true)?;
        }
    }
    if drains {
        drain(&engine, u32::MAX)?;
        let _ = until_there_is_room(&engine, || engine.delete(16, b"key005", 0))?;
    }
    engine.flush_step(true)?;
    if marks {
        engine.mark()?;
    }
    Ok(())
}

/// Edits a database as `data` says, and uses it.
pub fn run(data: &[u8]) {
    let Some((chosen, mut edits)) = data.split_first() else {
        return;
    };
    let databases = databases();
    let storage = databases[usize::from(*chosen) % databases.len()].fork();
    while let Some(rest) = edit(&storage, edits) {
        edits = rest;
    }
    // An error is an answer.
    let _ = work(&storage);
    let _ = work(&storage.restart());
}

/// Does one edit, and answers what follows it.
fn edit<'d>(storage: &SimStorage, data: &'d [u8]) -> Option<&'d [u8]> {
    let [what, place, data @ ..] = data else {
        return None;
    };
    let files = storage.files();
    let file = match files.get(usize::from(what & 15) % files.len().max(1)) {
        // Mostly the page file.
        Some(file) if what & 16 != 0 => *file,
        _ => File::Pages,
    };
    let length = storage
        .file_bytes(file)
        .map_or(0, |bytes| bytes.len() as u64);
    let block = u64::from(*place) * 512;
    match what >> 5 {
        0..=4 => {
            let [at, count, data @ ..] = data else {
                return None;
            };
            let count = usize::from(count & 31) + 1;
            let bytes = data.get(..count.min(data.len()))?;
            let offset = block + u64::from(*at) * 2;
            if offset + bytes.len() as u64 <= length {
                storage.overwrite_raw(file, offset, bytes);
            }
            Some(&data[bytes.len()..])
        }
        5 => {
            // One block becomes another's copy.
            let (from, data) = data.split_first()?;
            let from = storage.read_raw(file, u64::from(*from) * 512, 512);
            if let Some(bytes) = from.filter(|_| block + 512 <= length) {
                storage.overwrite_raw(file, block, &bytes);
            }
            Some(data)
        }
        6 => {
            storage.truncate_raw(file, block.min(length));
            Some(data)
        }
        _ => {
            if what & 16 != 0 {
                storage.remove_raw(file);
            }
            Some(data)
        }
    }
}

fn work(storage: &SimStorage) -> Result<()> {
    let engine = open(storage, input(Some(constant)))?;
    let _ = read(&engine);
    let mut buffer = vec![0; engine.verify_buffer_bytes()];
    let _ = engine.verify(&mut buffer, &mut |_| {});
    for number in 0..20_u8 {
        let key = [b'k', b'e', b'y', b'0', b'0' + number % 10, b'5'];
        let put = || engine.put(16, &key, &[number; 90], PutOptions::default(), 2_000);
        let _ = until_there_is_room(&engine, put);
    }
    let _ = until_there_is_room(&engine, || engine.delete(40, b"key006", 2_000));
    let _ = drain(&engine, STEPS);
    let _ = engine.sweep(9_000);
    let _ = engine.trim_pages();
    let _ = engine.trim_log();
    let _ = read(&engine);
    engine.flush_step(true)?;
    engine.mark()
}

fn read(engine: &Engine) -> Result<()> {
    let snapshot = engine.snapshot(1_500)?;
    let outcome = TABLES.iter().try_for_each(|table| {
        let view = engine.view(&snapshot, *table, true)?;
        let _ = engine.count(&view);
        let mut bytes = vec![0; 1_500];
        let mut cursor = engine.cursor(&view, true)?;
        cursor.seek(CursorPosition::First)?;
        for _ in 0..ENTRIES_READ {
            let Some(entry) = cursor.entry() else {
                break;
            };
            let length = bytes.len().min(entry.value.length() as usize);
            let _ = engine.read_value(&view, entry.value, 0, &mut bytes[..length]);
            cursor.advance()?;
        }
        cursor.seek(CursorPosition::Last)?;
        for _ in 0..ENTRIES_READ {
            if cursor.entry().is_none() {
                break;
            }
            cursor.retreat()?;
        }
        drop(cursor);
        for number in 0..20 {
            let key = format!("key{number:03}");
            let _ = engine.get(&view, key.as_bytes(), true);
        }
        Ok(())
    });
    engine.end(snapshot);
    outcome
}
