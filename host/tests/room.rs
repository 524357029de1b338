//! Writers that need room in memory and in the log, beside readers that keep it.

mod support;

use lightning_db::{Database, Durability, TypedTable};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use support::Directory;

#[test]
fn writers_wait_for_room_and_readers_agree() {
    let directory = Directory::new("room");
    let open = || {
        Database::builder()
            .cache_bytes(4 << 20)
            .memtable_bytes(256 << 10)
            .log_segment_bytes(256 << 10)
            .durability(Durability::Async)
            .open(directory.path())
            .unwrap()
    };
    let database = open();
    let table: TypedTable<u64, &[u8]> = database.typed_table("t").unwrap();
    let writers = 3_u64;
    let each = 6_000_u64;
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let handles: Vec<_> = (0..writers)
            .map(|writer| {
                let (database, table) = (&database, &table);
                scope.spawn(move || {
                    for number in 0..each {
                        let key = number * writers + writer;
                        let value = [key as u8; 150];
                        database.put(table, key.reverse_bits(), &value).unwrap();
                    }
                })
            })
            .collect();
        let reader = scope.spawn(|| {
            let mut rounds = 0;
            while !is_over.load(Ordering::Relaxed) {
                let read = database.begin_read().unwrap();
                let view = read.open(&table).unwrap();
                let (mut forward, mut last) = (0, None);
                view.for_each(.., |entry| {
                    assert!(last.is_none_or(|last| last < entry.key));
                    assert_eq!(entry.value[..], [entry.key.reverse_bits() as u8; 150]);
                    last = Some(entry.key);
                    forward += 1;
                    ControlFlow::Continue(())
                })
                .unwrap();
                assert_eq!(forward, view.len().unwrap());
                rounds += 1;
            }
            rounds
        });
        for handle in handles {
            handle.join().unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
        assert!(reader.join().unwrap() > 0);
    });
    let statistics = database.statistics();
    assert!(statistics.engine.store.flips > 0, "nothing was merged");
    database.close().unwrap();
    let database = open();
    let table: TypedTable<u64, &[u8]> = database.typed_table("t").unwrap();
    let read = database.begin_read().unwrap();
    assert_eq!(read.open(&table).unwrap().len().unwrap(), writers * each);
}

/// Without runs, a reader that stays holds writers up until its deadline, and is told then.
#[test]
fn a_reader_past_its_deadline_gives_way_to_writers() {
    let directory = Directory::new("deadline");
    let deadline = Duration::from_millis(300);
    let database = Database::builder()
        .cache_bytes(4 << 20)
        .memtable_bytes(256 << 10)
        .log_segment_bytes(256 << 10)
        .memtables(2)
        .runs(0)
        .snapshot_deadline(deadline)
        .durability(Durability::Async)
        .open(directory.path())
        .unwrap();
    let table: TypedTable<u64, &[u8]> = database.typed_table("t").unwrap();
    database.put(&table, 0, b"first").unwrap();
    let read = database.begin_read().unwrap();
    let view = read.open(&table).unwrap();
    let start = Instant::now();
    // Far more than both memtables hold, one of which the reader keeps.
    for number in 1..20_000 {
        database.put(&table, number, &[7; 150]).unwrap();
    }
    assert!(start.elapsed() >= deadline, "nobody was held up");
    let late = view.get(0).expect_err("read what is gone");
    assert_eq!(late.code(), 402, "{late}");
    assert!(late.is_retryable());
    let read = database.begin_read().unwrap();
    let view = read.open(&table).unwrap();
    assert_eq!(view.get(0).unwrap().as_deref(), Some(&b"first"[..]));
    assert_eq!(view.len().unwrap(), 20_000);
}
