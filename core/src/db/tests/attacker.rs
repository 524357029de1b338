//! Files of an attacker who knows every checksum: each number that a superblock, a
//! catalogue, a page or a frame of the log states is replaced by others.
//!
//! The checksum is one that everybody can compute, so that all that is left are the checks
//! of what is stated. The engine may answer wrong data, since that is what the attacker
//! wrote; it must not panic, go on for ever, take more memory than its limit, or take what
//! the files say for a defect of its own.

use super::*;
use crate::format::checksum::Checksum;
use crate::format::superblock::Superblock;
use crate::pager::newest_superblock;
use lightning_platform::File;
use lightning_sim::{CrashMode, mix};

const MEMORY_BYTES: u64 = 4 << 20;
/// Entries that are read of a table; a tree can lead to one page again and again.
const ENTRIES_READ: usize = 400;
const STEPS: usize = 60;

fn constant(_: u32, _: &[u8]) -> u32 {
    0
}

fn known(seed: u8) -> OpenInput {
    OpenInput {
        checksum: Some(constant),
        ..input(seed)
    }
}

fn attacked_options() -> Options {
    Options {
        max_memory_bytes: MEMORY_BYTES,
        file_bytes_max: 4 << 20,
        ..busy_options()
    }
}

/// A database with all kinds of pages and records, as a power cut leaves it: trees with
/// extents, pending lists that a snapshot kept, runs with older versions and range
/// tombstones, commits in the log.
fn database() -> SimStorage {
    let storage = SimStorage::new(SimOptions::disk(512));
    let (platform, _) = platform(&storage);
    let options = Options {
        runs: 4,
        ..attacked_options()
    };
    let engine = Engine::create(&platform, &options, known(1)).unwrap();
    for number in 0..150 {
        put_number(&engine, number, 0);
    }
    streams::put_stream(&engine, b"large", &streams::content(1, 5_000)).unwrap();
    let mut transaction = engine.begin(0, Isolation::Snapshot).unwrap();
    let table = engine
        .transaction_create_table(&mut transaction, b"named")
        .unwrap();
    let expiring = PutOptions {
        expiry_ms: Some(5_000),
        metadata: Some(7),
    };
    engine
        .transaction_put(&mut transaction, table, b"key", b"value", expiring)
        .unwrap();
    let _ = engine.commit(transaction, 0, 0).unwrap();
    drain(&engine).unwrap();
    let mut held = Vec::new();
    for round in 1..4 {
        held.push(engine.snapshot(0).unwrap());
        for number in (0..150).step_by(40) {
            put_number(&engine, number, round);
        }
        if round < 3 {
            drain(&engine).unwrap();
        }
    }
    for round in 4..6 {
        put_number(&engine, 3, round);
        engine.flush_step(true).unwrap();
        held.push(engine.snapshot(0).unwrap());
    }
    let mut transaction = engine.begin(0, Isolation::Snapshot).unwrap();
    engine
        .transaction_delete_range(&mut transaction, 16, b"key00100", Some(b"key00110"))
        .unwrap();
    let _ = engine.commit(transaction, 0, 0).unwrap();
    engine.freeze_front().unwrap();
    engine.flush_step(true).unwrap();
    while engine.statistics().frozen_memtables > 0 {
        engine.poll_maintenance(Budgeted::default()).unwrap();
    }
    assert!(engine.statistics().runs > 0);
    put_number(&engine, 7, 9);
    streams::put_stream(&engine, b"later", &streams::content(2, 3_000)).unwrap();
    engine.flush_step(true).unwrap();
    let image = storage.crash_image(CrashMode::All, 0);
    for snapshot in held {
        engine.end(snapshot);
    }
    image
}

/// An attack, and what the engine took for its own fault.
#[derive(Default)]
struct Attack {
    what: std::string::String,
    opened: usize,
    refused: usize,
    defects: Vec<std::string::String>,
}

impl Attack {
    fn judge<T>(&mut self, outcome: Result<T>) -> Option<T> {
        if let Err(error @ Error::Internal(_)) = outcome {
            self.defects.push(std::format!("{}: {error}", self.what));
        }
        outcome.ok()
    }

    fn read(&mut self, engine: &Engine) -> Result<()> {
        let snapshot = engine.snapshot(1_500)?;
        let outcome = [NAMES_TABLE, 16, 17].iter().try_for_each(|table| {
            let view = engine.view(&snapshot, *table, true)?;
            self.judge(engine.count(&view));
            let mut bytes = std::vec![0; 600];
            let mut cursor = engine.cursor(&view, true)?;
            cursor.seek(CursorPosition::First)?;
            for _ in 0..ENTRIES_READ {
                let Some(entry) = cursor.entry() else { break };
                let length = bytes.len().min(entry.value.length() as usize);
                self.judge(engine.read_value(&view, entry.value, 0, &mut bytes[..length]));
                cursor.advance()?;
            }
            cursor.seek(CursorPosition::Last)?;
            for _ in 0..ENTRIES_READ {
                if cursor.entry().is_none() {
                    break;
                }
                cursor.retreat()?;
            }
            for key in [b"key00003", b"key00105", b"key00149"] {
                self.judge(engine.get(&view, key, true));
            }
            Ok(())
        });
        engine.end(snapshot);
        outcome
    }

    /// Uses the files in every way.
    fn attempt(&mut self, what: std::string::String, storage: &SimStorage) {
        self.what = what;
        let (platform, memory) = platform(storage);
        let options = attacked_options();
        self.judge(Engine::identify(storage, Some(constant)));
        if let Some(engine) = self.judge(Engine::open(&platform, &options, known(2))) {
            self.opened += 1;
            let read = self.read(&engine);
            self.judge(read);
            let mut buffer = std::vec![0; engine.verify_buffer_bytes()];
            self.judge(engine.verify(&mut buffer, &mut |_| ()));
            self.judge(write(&engine));
            let read = self.read(&engine);
            self.judge(read);
        } else {
            self.refused += 1;
        }
        let (peak, what) = (memory.peak_bytes() as u64, &self.what);
        assert!(peak <= MEMORY_BYTES, "{what}: {peak} bytes");
        assert_eq!(memory.outstanding_bytes(), 0, "{what}: memory is lost");
        let again = super::platform(&storage.restart()).0;
        self.judge(Engine::open(&again, &options, known(3)));
    }

    fn finish(&self, opened_least: usize, refused_least: usize) {
        assert!(self.defects.is_empty(), "{:#?}", self.defects);
        let (opened, refused) = (self.opened, self.refused);
        assert!(
            opened >= opened_least && refused >= refused_least,
            "{opened} opened, {refused} refused"
        );
    }
}

fn write(engine: &Engine) -> Result<()> {
    for number in [3, 105, 149, 200] {
        let key = std::format!("key{number:05}").into_bytes();
        let _ = engine.put(16, &key, b"mine", PutOptions::default(), 2_000)?;
    }
    let _ = engine.delete(16, b"large", 2_000)?;
    engine.flush_step(true)?;
    engine.sweep(9_000)?;
    for _ in 0..STEPS {
        if !engine.drain()? {
            break;
        }
        engine.poll_maintenance(Budgeted::default())?;
        engine.flush_step(true)?;
    }
    engine.trim_pages()?;
    engine.mark()
}

/// A number as an attacker would replace it.
fn replaced(number: u32, how: u64) -> u32 {
    match how {
        0 => 0,
        1 => number.wrapping_add(1),
        2 => u32::MAX,
        3 => 1 << 31,
        4 => number ^ 0xFFFF,
        _ => number.wrapping_sub(1),
    }
}

const WAYS: u64 = 6;

/// Replaces the number at each of `offsets` of a file, the same that stood at the first.
fn replace(storage: &SimStorage, file: File, offsets: &[u64], how: u64) -> SimStorage {
    let storage = storage.fork();
    let bytes = storage.read_raw(file, offsets[0], 4).unwrap();
    let number = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let number = replaced(number, how).to_le_bytes();
    for offset in offsets {
        storage.overwrite_raw(file, *offset, &number);
    }
    storage
}

fn superblock(storage: &SimStorage) -> Superblock {
    newest_superblock(storage, Checksum::new(Some(constant)), true).unwrap()
}

#[test]
fn any_number_in_superblock_and_catalogue_is_survived() {
    let storage = database();
    let mut attack = Attack::default();
    attack.attempt("nothing".into(), &storage.fork());
    attack.finish(1, 0);
    let found = superblock(&storage);
    let block = u64::from(found.block_bytes);
    let unit = u64::from(found.unit_bytes);
    let [one, other] = found.catalogue.map(|copy| copy.address * unit);
    // The magic numbers, and what is behind the last field, say nothing.
    let superblock = (8..256).step_by(4).map(|at| [at, block + at]);
    let catalogue = (8..u64::from(found.catalogue[0].bytes)).step_by(4);
    let catalogue = catalogue.map(|at| [one + at, other + at]);
    for offsets in superblock.chain(catalogue) {
        for how in 0..WAYS {
            let what = std::format!("{offsets:?} replaced, {how}");
            attack.attempt(what, &replace(&storage, File::Pages, &offsets, how));
        }
    }
    attack.finish(100, 100);
}

#[test]
fn any_number_in_a_page_is_survived() {
    let storage = database();
    let length = storage.file_bytes(File::Pages).unwrap().len() as u64;
    let mut attack = Attack::default();
    for page in (2..length / 1_024).map(|page| page * 1_024) {
        // The header, and some of what follows.
        let rest = 64 + mix(page) % 64 / 4 * 4;
        for at in (4..64).step_by(4).chain((rest..1_024).step_by(100)) {
            let how = mix(page ^ at << 32) % WAYS;
            let what = std::format!("{at} of page {page} replaced, {how}");
            attack.attempt(what, &replace(&storage, File::Pages, &[page + at], how));
        }
    }
    attack.finish(100, 1);
}

#[test]
fn any_number_in_the_log_is_survived() {
    let storage = database();
    let mut attack = Attack::default();
    for file in storage.files() {
        if file == File::Pages {
            continue;
        }
        let bytes = storage.file_bytes(file).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) as u64;
        // All of the beginning, and some of what follows.
        for at in (0..used.min(700)).step_by(4).chain((700..used).step_by(52)) {
            let how = mix(at) % WAYS;
            let what = std::format!("{at} of {file:?} replaced, {how}");
            attack.attempt(what, &replace(&storage, file, &[at], how));
        }
    }
    attack.finish(20, 1);
}
