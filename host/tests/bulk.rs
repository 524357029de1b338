//! Bulk loads beside writers and readers.

mod support;

use lightning_db::{Database, TypedTable};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use support::Directory;

/// Small memory, so that writers fill it again and again.
fn open(directory: &Directory) -> Database {
    Database::builder()
        .cache_bytes(8 << 20)
        .memtable_bytes(1 << 20)
        .open(directory.path())
        .unwrap()
}

const ROWS: u64 = 40_000;

#[test]
fn a_bulk_load_goes_on_beside_writers_and_readers() {
    let directory = Directory::new("bulk-beside");
    let database = open(&directory);
    let table: TypedTable<u64, [u8; 32]> = database.typed_table("t").unwrap();
    let ends = AtomicBool::new(false);
    let written = AtomicU64::new(0);
    let value = |number: u64| {
        let mut value = [0; 32];
        value[..8].copy_from_slice(&number.to_le_bytes());
        value
    };
    thread::scope(|scope| {
        let (database, table, ends, written) = (&database, &table, &ends, &written);
        for writer in 0..2_u64 {
            scope.spawn(move || {
                // Keys of their own, behind those of the loads.
                let mut number = writer;
                while !ends.load(Ordering::SeqCst) {
                    let mut write = database.begin_write().unwrap();
                    for _ in 0..200 {
                        let key = (1 << 40) + number % 60_000;
                        write.put(table, key, value(number)).unwrap();
                        number += 2;
                    }
                    match write.commit() {
                        Ok(()) => {}
                        // What it would be validated against was merged meanwhile.
                        Err(error) if error.is_conflict() => continue,
                        Err(error) => panic!("{error}"),
                    }
                    written.fetch_add(200, Ordering::SeqCst);
                }
            });
        }
        scope.spawn(move || {
            while !ends.load(Ordering::SeqCst) {
                let read = database.begin_read().unwrap();
                let reader = read.open(table).unwrap();
                let mut rounds: Option<u8> = None;
                let mut count = 0_u64;
                for entry in reader.range(..ROWS).unwrap() {
                    let (_, value) = entry.unwrap();
                    let round = value.value()[31];
                    assert!(
                        rounds.is_none_or(|before| before == round),
                        "half of a load"
                    );
                    rounds = Some(round);
                    count += 1;
                }
                assert!(count == 0 || count == ROWS, "{count}");
            }
        });
        while written.load(Ordering::SeqCst) < 60_000 {
            thread::yield_now();
        }
        for round in 1..=5_u8 {
            let before = written.load(Ordering::SeqCst);
            let mut load = database.bulk_load(table).unwrap();
            for number in 0..ROWS {
                let mut value = value(number);
                value[31] = round;
                load.push(number, value).unwrap();
            }
            assert_eq!(load.finish().unwrap(), ROWS);
            let value = database.get(table, ROWS / 2).unwrap().unwrap().value();
            assert_eq!(value[31], round, "durable and read");
            while written.load(Ordering::SeqCst) == before {
                thread::yield_now();
            }
        }
        ends.store(true, Ordering::SeqCst);
    });
    let count = |database: &Database, table: &TypedTable<u64, [u8; 32]>| {
        let read = database.begin_read().unwrap();
        read.open(table).unwrap().len().unwrap()
    };
    let rows = count(&database, &table);
    drop(database);
    let database = open(&directory);
    let table = database.typed_table("t").unwrap();
    assert_eq!(count(&database, &table), rows);
    database.verify().unwrap();
    let last = database.get(&table, 7).unwrap().unwrap().value();
    assert_eq!(last[31], 5);
}

#[test]
fn a_load_into_a_table_that_was_just_made_goes_straight_into_the_tree() {
    for _ in 0..8 {
        let directory = Directory::new("bulk-straight");
        let database = open(&directory);
        let table: TypedTable<u64, u64> = database.typed_table("t").unwrap();
        let began = Instant::now();
        let mut load = database.bulk_load(&table).unwrap();
        if began.elapsed() > Duration::from_millis(900) {
            // So slow a device isn't waited for.
            continue;
        }
        for key in 0..1_000 {
            load.push(key, key).unwrap();
        }
        load.finish().unwrap();
        // Otherwise it stands as a run, and is written once more.
        assert_eq!(database.statistics().engine.runs, 0);
    }
}

#[test]
fn a_transaction_conflicts_with_a_bulk_load() {
    let directory = Directory::new("bulk-conflict");
    let database = open(&directory);
    let table: TypedTable<u64, u64> = database.typed_table("t").unwrap();
    // More than is merged before a load.
    let mut write = database.begin_write().unwrap();
    for number in 0..2_000 {
        write.put(&table, number, number).unwrap();
    }
    write.commit().unwrap();
    let payload: TypedTable<u64, &[u8]> = database.typed_table("payload").unwrap();
    for number in 0..600 {
        database.put(&payload, number, &[7; 2_000]).unwrap();
    }
    let mut write = database.begin_write().unwrap();
    let seen = write.get(&table, 70).unwrap().unwrap().value();
    write.put(&table, 70, seen + 1).unwrap();
    let mut load = database.bulk_load(&table).unwrap();
    for number in 50..5_000 {
        load.push(number, 1).unwrap();
    }
    // A snapshot that is kept doesn't see it.
    let read = database.begin_read().unwrap();
    load.finish().unwrap();
    assert!(write.commit().unwrap_err().is_conflict());
    assert_eq!(database.get(&table, 70).unwrap().unwrap().value(), 1);
    let before = read.open(&table).unwrap();
    assert_eq!(before.get(70).unwrap().unwrap().value(), 70);
    assert_eq!(before.len().unwrap(), 2_000);
}
