//! The engine over the simulator: against a model, and cut off everywhere.

mod abandoned;
mod attacker;
mod conflicts;
mod crash;
mod cut_runs;
mod dropped_tables;
mod evacuate;
mod failed_openings;
mod grown;
mod ingest;
mod ingest_faults;
mod last_table;
mod lent;
mod load_conflicts;
mod log_room;
mod long_keys;
mod many_tables;
mod model;
mod pace;
mod pauses;
mod read_ahead;
mod read_ahead_of_merge;
mod reads_in_memory;
mod refusals;
mod reserve;
mod room_beside;
mod rot_after_recovery;
mod scrub;
mod sealed;
mod shorten;
mod slots_taken;
mod smaller_plans;
mod stamps;
mod stream_faults;
mod stream_trims;
mod streams;
mod sweep;
mod tickets;

use super::*;
use crate::btree::CursorPosition;
use crate::txn::Stored;
use lightning_platform::{Platform, Storage};
use lightning_sim::{SimMemory, SimOptions, SimStorage, sim_platform};
use std::collections::BTreeMap;
use std::vec::Vec;

pub(super) type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// Sizes with which everything happens often: rotation, merges, many slices.
pub(super) fn busy_options() -> Options {
    Options {
        page_bytes: 1_024,
        cache_bytes: 64 << 10,
        memtable_bytes: 8 << 10,
        memtables: 3,
        segment_bytes: 32 << 10,
        log_slots: 16,
        log_buffer_bytes: 4 << 10,
        write_buffer_bytes: 8 << 10,
        transactions: 4,
        transaction_bytes: 2 << 10,
        value_bytes_max: 1_500,
        read_set_bytes: 512,
        snapshots: 8,
        cursors: 4,
        reader_slots: 4,
        file_bytes_max: 32 << 20,
        tree_levels: 6,
        stage_pages: 3,
        slice_bytes_min: 4 << 10,
        ..Options::default()
    }
}

pub(super) fn input(seed: u8) -> OpenInput {
    OpenInput {
        entropy: [seed; 48],
        now_ms: 1_000,
        checksum: None,
    }
}

pub(super) fn platform(storage: &SimStorage) -> (Platform, SimMemory) {
    let memory = SimMemory::new(1 << 30);
    (sim_platform(storage, &memory), memory)
}

pub(super) fn create(storage: &SimStorage, options: &Options) -> Result<Engine> {
    Engine::create(&platform(storage).0, options, input(1))
}

pub(super) fn open(storage: &SimStorage, options: &Options) -> Result<Engine> {
    Engine::open(&platform(storage).0, options, input(2))
}

/// Everything in a table as a new snapshot sees it, forwards; checked backwards.
pub(super) fn rows(engine: &Engine, table: u32) -> Result<Rows> {
    let snapshot = engine.snapshot(0)?;
    let found = rows_of(engine, &snapshot, table);
    engine.end(snapshot);
    found
}

/// A value's bytes, wherever they are.
pub(super) fn whole(engine: &Engine, view: &TableView<'_>, stored: Stored<'_>) -> Vec<u8> {
    let mut bytes = std::vec![0; stored.length() as usize];
    engine.read_value(view, stored, 0, &mut bytes).unwrap();
    bytes
}

pub(super) fn rows_of(engine: &Engine, snapshot: &Snapshot, table: u32) -> Result<Rows> {
    let view = engine.view(snapshot, table, true)?;
    let mut cursor = engine.cursor(&view, true)?;
    let mut found = Vec::new();
    cursor.seek(CursorPosition::First)?;
    while let Some(entry) = cursor.entry() {
        found.push((entry.key.to_vec(), whole(engine, &view, entry.value)));
        cursor.advance()?;
    }
    let mut backwards = Vec::new();
    cursor.seek(CursorPosition::Last)?;
    while let Some(entry) = cursor.entry() {
        backwards.push((entry.key.to_vec(), whole(engine, &view, entry.value)));
        cursor.retreat()?;
    }
    // It may be the only one.
    drop(cursor);
    backwards.reverse();
    assert_eq!(found, backwards, "forwards and backwards differ");
    assert!(found.is_sorted_by(|one, other| one.0 < other.0));
    assert_eq!(engine.count(&view)?, found.len() as u64);
    Ok(found.into_iter().collect())
}

/// Does maintenance and flushes until a commit is admitted again.
pub(super) fn make_room(engine: &Engine, error: Error) -> Result<()> {
    if !matches!(error, Error::FrontFull | Error::LogFull) {
        return Err(error);
    }
    match engine.flush_step(true) {
        Ok(_) | Err(Error::LogFull) => {}
        Err(error) => return Err(error),
    }
    let progress = engine.poll_maintenance(Budgeted::default())?;
    // A flush alone makes room in the log.
    assert!(
        progress.worked || progress.wants_sync || error == Error::LogFull,
        "{error:?} and nothing to do"
    );
    Ok(())
}

/// Merges everything that stands above the trees.
pub(super) fn drain(engine: &Engine) -> Result<()> {
    engine.flush_step(true)?;
    loop {
        match engine.drain() {
            Ok(false) => return Ok(()),
            Ok(true) => match engine.flush_step(true) {
                Ok(_) | Err(Error::LogFull) => {}
                Err(error) => return Err(error),
            },
            Err(error) => {
                make_room(engine, error)?;
                continue;
            }
        }
        let progress = engine.poll_maintenance(Budgeted::default())?;
        assert!(progress.worked || progress.wants_sync, "{progress:?}");
    }
}

#[test]
fn a_value_is_there_after_reopening() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let options = busy_options();
    let engine = create(&storage, &options).unwrap();
    let ticket = engine
        .put(16, b"key", b"value", PutOptions::default(), 5)
        .unwrap();
    assert!(!engine.is_durable(ticket).unwrap());
    assert_eq!(rows(&engine, 16).unwrap(), Rows::new(), "not durable yet");
    engine.flush_step(true).unwrap();
    assert!(engine.is_durable(ticket).unwrap());
    assert_eq!(rows(&engine, 16).unwrap().len(), 1);
    drop(engine);
    let image = storage.crash_image(lightning_sim::CrashMode::Synced, 0);
    let engine = open(&image, &options).unwrap();
    assert_eq!(rows(&engine, 16).unwrap()[b"key".as_slice()], b"value");
    drain(&engine).unwrap();
    assert_eq!(engine.statistics().entries, 1);
    assert_eq!(rows(&engine, 16).unwrap()[b"key".as_slice()], b"value");
    drop(engine);
    let engine = open(&image.restart(), &options).unwrap();
    assert_eq!(rows(&engine, 16).unwrap()[b"key".as_slice()], b"value");
    assert!(storage.violations().is_empty());
}

#[test]
fn transactions_are_isolated_and_validated() {
    let storage = SimStorage::new(SimOptions::disk(4_096));
    let engine = create(&storage, &busy_options()).unwrap();
    let put = PutOptions::default();
    let mut first = engine.begin(0, Isolation::Snapshot).unwrap();
    let mut second = engine.begin(0, Isolation::Snapshot).unwrap();
    engine
        .transaction_put(&mut first, 16, b"a", b"1", put)
        .unwrap();
    engine
        .transaction_put(&mut second, 16, b"a", b"2", put)
        .unwrap();
    engine
        .transaction_put(&mut second, 16, b"b", b"2", put)
        .unwrap();
    {
        let view = engine.transaction_view(&first, 16, true).unwrap();
        let value = engine.get(&view, b"a", true).unwrap().unwrap();
        assert_eq!(
            value.stored().inline(),
            Some(b"1".as_slice()),
            "its own write"
        );
        assert!(engine.get(&view, b"b", true).unwrap().is_none());
    }
    let _ = engine.commit(first, 0, 0).unwrap();
    let refused = engine.commit(second, 0, 0);
    assert!(
        matches!(refused, Err(Error::Conflict { table: 16, .. })),
        "{refused:?}"
    );
    engine.flush_step(true).unwrap();
    assert_eq!(rows(&engine, 16).unwrap().len(), 1);

    // Write skew: snapshot isolation lets it pass, serializable doesn't.
    for isolation in [Isolation::Snapshot, Isolation::Serializable] {
        let mut first = engine.begin(0, isolation).unwrap();
        let mut second = engine.begin(0, isolation).unwrap();
        engine
            .transaction_note_read(&mut first, 16, b"x", Some(b"y"))
            .unwrap();
        engine
            .transaction_note_read(&mut second, 16, b"x", Some(b"y"))
            .unwrap();
        engine
            .transaction_put(&mut first, 16, b"x", b"1", put)
            .unwrap();
        engine
            .transaction_put(&mut second, 16, b"y", b"1", put)
            .unwrap();
        let _ = engine.commit(first, 0, 0).unwrap();
        let outcome = engine.commit(second, 0, 0);
        assert_eq!(outcome.is_err(), isolation == Isolation::Serializable);
    }
    let dropped = engine.begin(0, Isolation::Snapshot).unwrap();
    engine.rollback(dropped);
    let slots: Vec<_> = (0..4)
        .map(|_| engine.begin(0, Isolation::Snapshot).unwrap())
        .collect();
    assert!(matches!(
        engine.begin(0, Isolation::Snapshot),
        Err(Error::OverLimit { .. })
    ));
    for slot in slots {
        engine.rollback(slot);
    }
}

#[test]
fn tables_have_names_and_limits_are_errors() {
    let storage = SimStorage::new(SimOptions::disk(4_096));
    let engine = create(&storage, &busy_options()).unwrap();
    let mut transaction = engine.begin(0, Isolation::Snapshot).unwrap();
    let users = engine
        .transaction_create_table(&mut transaction, b"users")
        .unwrap();
    let again = engine.transaction_create_table(&mut transaction, b"users");
    assert_eq!(again, Err(Error::TableExists));
    let _ = engine.commit(transaction, 0, 0).unwrap();
    engine.flush_step(true).unwrap();
    drain(&engine).unwrap();
    drop(engine);
    let engine = open(&storage.restart(), &busy_options()).unwrap();
    let snapshot = engine.snapshot(0).unwrap();
    assert_eq!(engine.find_table(&snapshot, b"users").unwrap(), Some(users));
    assert_eq!(engine.find_table(&snapshot, b"others").unwrap(), None);
    engine.end(snapshot);
    let mut transaction = engine.begin(0, Isolation::Snapshot).unwrap();
    let others = engine
        .transaction_create_table(&mut transaction, b"others")
        .unwrap();
    assert!(others > users);
    let put = PutOptions::default();
    let long = std::vec![0; engine.key_bytes_max() + 1];
    let refused = engine.transaction_put(&mut transaction, users, &long, b"", put);
    assert!(matches!(refused, Err(Error::OverLimit { .. })));
    let mut refused = Ok(());
    for number in 0..1_000_u32 {
        let key = number.to_be_bytes();
        refused = engine.transaction_put(&mut transaction, users, &key, &[0; 100], put);
        if refused.is_err() {
            break;
        }
    }
    assert!(matches!(
        refused,
        Err(Error::OverLimit {
            limit: crate::error::Limit::TransactionBytes,
            ..
        })
    ));
    engine.rollback(transaction);
}

#[test]
fn a_load_is_there_as_a_whole_or_not_at_all() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let options = busy_options();
    let engine = create(&storage, &options).unwrap();
    let put = PutOptions::default();
    let _ = engine.put(16, b"key00005", b"old", put, 0).unwrap();
    assert!(
        matches!(engine.begin_load(16), Err(Error::Busy)),
        "something is in a memtable"
    );
    drain(&engine).unwrap();
    let mut expected = rows(&engine, 16).unwrap();
    let mut load = engine.begin_load(16).unwrap();
    for number in 0..500 {
        let key = std::format!("key{number:05}").into_bytes();
        load.push(&key, &[7; 90], put).unwrap();
    }
    assert!(matches!(
        load.push(b"key00001", b"", put),
        Err(Error::NotAscending { .. })
    ));
    drop(load);
    assert_eq!(
        rows(&engine, 16).unwrap(),
        expected,
        "a dropped load leaves nothing"
    );
    let mut load = engine.begin_load(16).unwrap();
    for number in 0..500 {
        let key = std::format!("key{number:05}").into_bytes();
        let value = std::vec![number as u8; if number == 77 { 1_400 } else { 90 }];
        load.push(&key, &value, put).unwrap();
        expected.insert(key, value);
    }
    assert_eq!(load.finish().unwrap(), 500);
    assert_eq!(rows(&engine, 16).unwrap(), expected);
    let image = storage.crash_image(lightning_sim::CrashMode::Synced, 0);
    assert_eq!(
        rows(&open(&image, &options).unwrap(), 16).unwrap(),
        expected
    );
    assert!(storage.violations().is_empty());
}

/// Checks every page; the database is at rest.
pub(super) fn verify(engine: &Engine) -> Verified {
    let mut buffer = std::vec![0; engine.verify_buffer_bytes()];
    let verified = engine.verify(&mut buffer, &mut |_| ()).unwrap();
    assert_eq!(verified.leaked_units, 0, "{verified:?}");
    verified
}

/// The memtables that a commit waits for may be kept by its own snapshot only.
#[test]
fn a_commit_that_waits_for_room_does_not_keep_it() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let engine = create(&storage, &busy_options()).unwrap();
    let put = PutOptions::default();
    // All memtables hold something, the active one is full, and no merge began.
    for number in 0..100_000_u32 {
        match engine.put(16, &number.to_be_bytes(), &[1; 200], put, 0) {
            Ok(_) => {}
            Err(Error::LogFull) => make_room(&engine, Error::LogFull).unwrap(),
            Err(Error::FrontFull) => break,
            Err(error) => panic!("{error}"),
        }
    }
    let mut transaction = engine.begin(0, Isolation::Snapshot).unwrap();
    for number in 0..4_u32 {
        let key = number.to_be_bytes();
        engine
            .transaction_put(&mut transaction, 16, &key, &[2; 200], put)
            .unwrap();
    }
    let mut rounds = 0;
    while let Err(error) = engine.try_commit(&mut transaction, 0, 0) {
        make_room(&engine, error).unwrap();
        rounds += 1;
        assert!(rounds < 1_000, "it waits for itself");
    }
    engine.rollback(transaction);
}

/// Where only the superblocks are gone, the log may hold what nothing else does.
#[test]
fn creating_does_not_take_a_damaged_database_for_an_empty_place() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let engine = create(&storage, &busy_options()).unwrap();
    let _ = engine
        .put(16, b"key", b"value", PutOptions::default(), 0)
        .unwrap();
    engine.flush_step(true).unwrap();
    drop(engine);
    let damaged = storage.restart();
    damaged.overwrite_raw(lightning_platform::File::Pages, 0, &[0xA5; 4_096]);
    assert!(matches!(
        open(&damaged, &busy_options()),
        Err(Error::NotADatabase)
    ));
    let refused = create(&damaged, &busy_options());
    assert!(matches!(refused, Err(Error::Corruption { .. })));
    assert!(
        damaged
            .length(lightning_platform::File::Log(0))
            .unwrap()
            .is_some()
    );
}

fn put_number(engine: &Engine, number: u32, round: u32) {
    let key = std::format!("key{number:05}").into_bytes();
    let value = std::format!("{round}-{number}").repeat(5).into_bytes();
    let put = PutOptions::default();
    while let Err(error) = engine.put(16, &key, &value, put, 0) {
        make_room(engine, error).unwrap();
    }
}

/// Readers never hold writers up: what a snapshot reads moves into runs, and a cursor
/// that rests meanwhile goes on from where it was.
#[test]
fn a_snapshot_and_its_cursor_outlive_the_memtables_they_began_on() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let engine = create(&storage, &busy_options()).unwrap();
    for number in 0..60 {
        put_number(&engine, number, 0);
    }
    engine.flush_step(true).unwrap();
    let snapshot = engine.snapshot(0).unwrap();
    let expected = rows_of(&engine, &snapshot, 16).unwrap();
    let view = engine.view(&snapshot, 16, true).unwrap();
    let mut forwards = engine.cursor(&view, true).unwrap();
    let mut backwards = engine.cursor(&view, true).unwrap();
    forwards.seek(CursorPosition::First).unwrap();
    backwards.seek(CursorPosition::Last).unwrap();
    let mut met = (Vec::new(), Vec::new());
    let mut round = 0;
    while let Some(entry) = forwards.entry() {
        met.0.push(entry.key.to_vec());
        met.1.push(backwards.entry().unwrap().key.to_vec());
        round += 1;
        for number in 0..60 {
            put_number(&engine, number, round);
        }
        let mut transaction = engine.begin(0, Isolation::Snapshot).unwrap();
        let from = std::format!("key{:05}", round % 60).into_bytes();
        engine
            .transaction_delete_range(&mut transaction, 16, &from, None)
            .unwrap();
        while let Err(error) = engine.try_commit(&mut transaction, 0, 0) {
            make_room(&engine, error).unwrap();
        }
        engine.rollback(transaction);
        forwards.advance().unwrap();
        backwards.retreat().unwrap();
    }
    assert!(!backwards.is_valid());
    met.1.reverse();
    assert_eq!(met.0, met.1);
    assert!(met.0.iter().eq(expected.keys()));
    drop((forwards, backwards));
    assert_eq!(rows_of(&engine, &snapshot, 16).unwrap(), expected);
    engine.end(snapshot);
    drain(&engine).unwrap();
    assert_eq!(engine.statistics().runs, 0);
    verify(&engine);
}

/// A value that is lent by a memtable keeps just that one; the others go on.
#[test]
fn a_lent_value_stays_while_writers_go_on() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let engine = create(&storage, &busy_options()).unwrap();
    put_number(&engine, 7, 1);
    engine.flush_step(true).unwrap();
    let snapshot = engine.snapshot(0).unwrap();
    let view = engine.view(&snapshot, 16, true).unwrap();
    let lent = engine.get(&view, b"key00007", true).unwrap().unwrap();
    assert!(lent.is_in_memtable());
    for round in 2..40 {
        for number in 0..50 {
            put_number(&engine, number, round);
        }
    }
    assert_eq!(lent.stored().inline().unwrap(), b"1-7".repeat(5));
    let again = engine.get(&view, b"key00007", true).unwrap().unwrap();
    assert!(!again.is_in_memtable(), "it is in a run by now");
    assert_eq!(again.stored().inline().unwrap(), b"1-7".repeat(5));
    drop((lent, again));
    engine.end(snapshot);
}

/// A transaction is validated against what moved into runs since it began.
#[test]
fn a_conflict_is_found_in_a_run() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let options = Options {
        runs: 6,
        ..busy_options()
    };
    let engine = create(&storage, &options).unwrap();
    for number in 0..200 {
        put_number(&engine, number, 0);
    }
    drain(&engine).unwrap();
    let attempt = |write: &dyn Fn(&mut Transaction)| {
        let mut transaction = engine.begin(0, Isolation::Serializable).unwrap();
        write(&mut transaction);
        put_number(&engine, 5, 1);
        let frozen = engine.freeze_front().unwrap();
        assert!(frozen);
        engine.flush_step(true).unwrap();
        while engine.statistics().runs == 0 {
            engine.poll_maintenance(Budgeted::default()).unwrap();
        }
        let outcome = engine.commit(transaction, 0, 0);
        drain(&engine).unwrap();
        outcome
    };
    let put = PutOptions::default();
    let written = attempt(&|transaction| {
        engine
            .transaction_put(transaction, 16, b"key00005", b"mine", put)
            .unwrap();
    });
    assert!(matches!(written, Err(Error::Conflict { table: 16, .. })));
    let read = attempt(&|transaction| {
        engine
            .transaction_note_read(transaction, 16, b"key00003", Some(b"key00008"))
            .unwrap();
        engine
            .transaction_put(transaction, 16, b"other", b"mine", put)
            .unwrap();
    });
    assert!(matches!(read, Err(Error::Conflict { table: 16, .. })));
    let removed = attempt(&|transaction| {
        engine
            .transaction_delete_range(transaction, 16, b"key00001", Some(b"key00006"))
            .unwrap();
    });
    assert!(matches!(removed, Err(Error::Conflict { table: 16, .. })));
    let apart = attempt(&|transaction| {
        engine
            .transaction_put(transaction, 16, b"key00006", b"mine", put)
            .unwrap();
    });
    assert!(apart.is_ok());
}

#[test]
fn the_longest_record_is_read_from_the_log_at_open() {
    let options = [
        Options {
            log_buffer_bytes: 512,
            ..busy_options()
        },
        Options::small(),
    ];
    for options in options {
        let storage = SimStorage::new(SimOptions::disk(256));
        let engine = create(&storage, &options).unwrap();
        let key = std::vec![b'k'; engine.key_bytes_max()];
        let value = std::vec![7; engine.value_bytes_max()];
        let put = PutOptions {
            expiry_ms: Some(u64::MAX),
            metadata: Some(1),
        };
        let _ = engine.put(u32::MAX, &key, &value, put, 0).unwrap();
        engine.flush_step(true).unwrap();
        drop(engine);
        let engine = open(&storage, &options).unwrap();
        assert_eq!(rows(&engine, u32::MAX).unwrap()[&key], value);
    }
}

/// What is deleted leaves the file, and a cut at any operation of that loses nothing.
#[test]
fn a_file_gives_back_what_it_does_not_need() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let options = busy_options();
    let engine = create(&storage, &options).unwrap();
    for number in 0..6_000 {
        put_number(&engine, number, 0);
    }
    drain(&engine).unwrap();
    let full = engine.statistics().store.used_bytes;
    let mut transaction = engine.begin(0, Isolation::Snapshot).unwrap();
    engine
        .transaction_delete_range(&mut transaction, 16, b"key00020", None)
        .unwrap();
    let _ = engine.commit(transaction, 0, 0).unwrap();
    drain(&engine).unwrap();
    let expected = rows(&engine, 16).unwrap();
    assert_eq!(expected.len(), 20);
    drop(engine);
    let start = storage.restart();
    for cut in (1..).step_by(3) {
        let storage = start.fork();
        let engine = open(&storage, &options).unwrap();
        storage.cut_after(storage.operation_count() + cut);
        let trimmed = (|| {
            while engine.trim_pages()? {}
            Ok::<_, Error>(engine.statistics().store.used_bytes)
        })();
        for mode in lightning_sim::CrashMode::EVERY {
            let engine = open(&storage.crash_image(mode, cut), &options).unwrap();
            assert_eq!(rows(&engine, 16).unwrap(), expected);
            verify(&engine);
        }
        if storage.has_power() {
            let trimmed = trimmed.unwrap();
            assert!(trimmed < full / 8, "{trimmed} of {full}");
            break;
        }
    }
    let engine = open(&start, &options).unwrap();
    while engine.trim_pages().unwrap() {}
    put_number(&engine, 7_000, 1);
    drain(&engine).unwrap();
    assert_eq!(rows(&engine, 16).unwrap().len(), 21);
    verify(&engine);
}

/// What several memtables held is read from the log without a write.
#[test]
fn a_long_log_opens_for_reading_only() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let options = busy_options();
    let engine = create(&storage, &options).unwrap();
    let put = PutOptions::default();
    let mut number = 0_u32;
    // Until no memtable is left, with nothing merged.
    loop {
        match engine.put(16, &number.to_be_bytes(), &[7; 100], put, 0) {
            Ok(_) => number += 1,
            Err(Error::LogFull) => {
                engine.flush_step(true).unwrap();
                let log = Budgeted {
                    entries: 0,
                    ..Budgeted::default()
                };
                engine.poll_maintenance(log).unwrap();
            }
            Err(error) => {
                assert_eq!(error, Error::FrontFull);
                break;
            }
        }
        if number.is_multiple_of(8) {
            engine.flush_step(true).unwrap();
        }
    }
    engine.flush_step(true).unwrap();
    drop(engine);
    let image = storage.crash_image(lightning_sim::CrashMode::Synced, 0);
    let reading = Options {
        read_only: true,
        ..options
    };
    let engine = open(&image, &reading).unwrap();
    assert_eq!(rows(&engine, 16).unwrap().len(), number as usize);
}

/// Without runs a reader that stays keeps a memtable, but not for ever.
#[test]
fn a_snapshot_past_its_deadline_gives_way() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let options = Options {
        runs: 0,
        memtables: 2,
        snapshot_deadline_ms: 1_000,
        ..busy_options()
    };
    let engine = create(&storage, &options).unwrap();
    let put = PutOptions::default();
    let _ = engine.put(16, b"first", b"1", put, 10_000).unwrap();
    engine.flush_step(true).unwrap();
    let snapshot = engine.snapshot(0).unwrap();
    let view = engine.view(&snapshot, 16, true).unwrap();
    let mut cursor = engine.cursor(&view, true).unwrap();
    cursor.seek(CursorPosition::First).unwrap();
    let write_until_stuck = |now_ms| {
        for number in 0..2_000_u32 {
            let mut attempts = 0;
            while let Err(error) = engine.put(16, &number.to_be_bytes(), &[7; 90], put, now_ms) {
                assert!(matches!(error, Error::FrontFull | Error::LogFull));
                match engine.flush_step(true) {
                    Ok(_) | Err(Error::LogFull) => {}
                    Err(error) => panic!("{error:?}"),
                }
                engine.poll_maintenance(Budgeted::default()).unwrap();
                attempts += 1;
                if attempts > 100 {
                    return true;
                }
            }
        }
        false
    };
    assert!(write_until_stuck(10_500), "it may keep its memtable");
    let found = engine.get(&view, b"first", true).unwrap().unwrap();
    assert_eq!(found.stored().inline(), Some(&b"1"[..]));
    drop(found);
    assert!(!write_until_stuck(12_000));
    let late = engine.get(&view, b"first", true);
    assert!(matches!(late, Err(Error::SnapshotTooOld)));
    drop(late);
    assert_eq!(cursor.advance(), Err(Error::SnapshotTooOld));
    drop(cursor);
    engine.end(snapshot);
    engine.flush_step(true).unwrap();
    assert_eq!(rows(&engine, 16).unwrap().len(), 2_001);
}
