//! The library as its users see it: handles, transactions, iterators, reopening.

mod support;

use lightning_db::{
    Database, Durability, EncodedPart, EngineError, PutOptions, Reason, Table, Ticket, TypedTable,
};
use std::collections::BTreeMap;
use std::future::Future;
use std::ops::{Bound, ControlFlow};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};
use support::Directory;

fn fill(database: &Database, table: &Table, keys: &[&[u8]]) {
    let mut write = database.begin_write().unwrap();
    for key in keys {
        write.put(table, key, b"v").unwrap();
    }
    write.commit().unwrap();
}

#[test]
fn what_was_written_is_there_after_reopening() {
    let directory = Directory::new("reopen");
    let large = vec![7; 300_000];
    {
        let database = Database::open(directory.path()).unwrap();
        let table = database.table("t").unwrap();
        database.put(&table, b"a", b"1").unwrap();
        database.put(&table, b"large", &large).unwrap();
        database.put(&table, b"gone", b"1").unwrap();
        database.delete(&table, b"gone").unwrap();
        database.close().unwrap();
    }
    for read_only in [false, true] {
        let database = Database::builder()
            .read_only(read_only)
            .open(directory.path())
            .unwrap();
        let table = database.existing_table("t").unwrap().unwrap();
        assert_eq!(&*database.get(&table, b"a").unwrap().unwrap(), b"1");
        assert_eq!(&*database.get(&table, b"large").unwrap().unwrap(), large);
        assert!(database.get(&table, b"gone").unwrap().is_none());
        let read = database.begin_read().unwrap();
        let reader = read.open(&table).unwrap();
        let mut part = [0; 10];
        assert_eq!(
            reader.read_at(b"large", 299_995, &mut part).unwrap(),
            Some(5)
        );
        assert_eq!(part[..5], [7; 5]);
        assert_eq!(reader.read_at(b"none", 0, &mut part).unwrap(), None);
        assert_eq!(database.tables().unwrap().len(), 1);
        assert_eq!(database.verify().unwrap().entries, 2);
        drop(read);
        database.close().unwrap();
    }
}

#[test]
fn a_dropped_transaction_changes_nothing() {
    let directory = Directory::new("rollback");
    let database = Database::open(directory.path()).unwrap();
    let table = database.table("t").unwrap();
    let mut write = database.begin_write().unwrap();
    write.put(&table, b"a", b"1").unwrap();
    assert!(write.get(&table, b"a").unwrap().is_some());
    assert!(database.get(&table, b"a").unwrap().is_none());
    drop(write);
    let write = database.begin_write().unwrap();
    assert!(write.get(&table, b"a").unwrap().is_none());
    write.rollback();
    let mut write = database.begin_write().unwrap();
    let made = write.table("made").unwrap();
    write.put(&made, b"a", b"1").unwrap();
    drop(write);
    assert!(database.existing_table("made").unwrap().is_none());
}

#[test]
fn a_reader_sees_the_database_as_it_was() {
    let directory = Directory::new("snapshot");
    let database = Database::open(directory.path()).unwrap();
    let table = database.table("t").unwrap();
    database.put(&table, b"a", b"1").unwrap();
    let read = database.begin_read().unwrap();
    database.put(&table, b"a", b"2").unwrap();
    database.put(&table, b"b", b"2").unwrap();
    // It owns what it needs: other threads use it, after all handles are gone.
    let read = Arc::new(read);
    drop(database);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                assert_eq!(&*read.get(&table, b"a").unwrap().unwrap(), b"1");
                assert_eq!(read.open(&table).unwrap().len().unwrap(), 1);
                assert!(read.get(&table, b"b").unwrap().is_none());
            });
        }
    });
}

#[test]
fn ranges_go_both_ways() {
    let directory = Directory::new("ranges");
    let database = Database::open(directory.path()).unwrap();
    let table = database.table("t").unwrap();
    let keys: [&[u8]; 6] = [b"", b"a", b"a\xff", b"a\xffb", b"b", b"\xff\xff"];
    fill(&database, &table, &keys);
    let read = database.begin_read().unwrap();
    let reader = read.open(&table).unwrap();
    let bounds = |key: &'static [u8]| [Bound::Included(key), Bound::Excluded(key)];
    let probes: [&'static [u8]; 6] = [b"", b"a", b"a\xff", b"aa", b"b", b"\xff\xff\xff"];
    let mut all: Vec<Bound<&[u8]>> = vec![Bound::Unbounded];
    all.extend(probes.iter().flat_map(|key| bounds(key)));
    for low in &all {
        for high in &all {
            let expected: Vec<&[u8]> = keys
                .iter()
                .copied()
                .filter(|key| {
                    (match low {
                        Bound::Unbounded => true,
                        Bound::Included(low) => key >= low,
                        Bound::Excluded(low) => key > low,
                    }) && match high {
                        Bound::Unbounded => true,
                        Bound::Included(high) => key <= high,
                        Bound::Excluded(high) => key < high,
                    }
                })
                .collect();
            let range = || reader.range((*low, *high)).unwrap();
            let forward: Vec<_> = range().map(|entry| entry.unwrap().0).collect();
            assert!(
                forward
                    .iter()
                    .map(|key| &**key)
                    .eq(expected.iter().copied())
            );
            let backward: Vec<_> = range().rev().map(|entry| entry.unwrap().0).collect();
            assert!(
                backward
                    .iter()
                    .map(|key| &**key)
                    .eq(expected.iter().rev().copied())
            );
            // From both ends, in turn.
            let mut range = range();
            let (mut front, mut back) = (Vec::new(), Vec::new());
            while let Some(entry) = range.next() {
                front.push(entry.unwrap().0.to_vec());
                back.extend(range.next_back().map(|entry| entry.unwrap().0.to_vec()));
            }
            assert!(range.next().is_none() && range.next_back().is_none());
            front.extend(back.into_iter().rev());
            assert_eq!(front, expected, "{low:?} {high:?}");
        }
    }
    let begins = |prefix: &'static [u8]| reader.prefix(prefix).unwrap().count();
    assert_eq!((begins(b""), begins(b"a"), begins(b"a\xff")), (6, 3, 2));
    assert_eq!((begins(b"\xff"), begins(b"c")), (1, 0));
    assert_eq!(&*reader.first().unwrap().unwrap().0, b"");
    assert_eq!(&*reader.last().unwrap().unwrap().0, b"\xff\xff");
    let mut seen = 0;
    reader
        .for_each(&b"a"[..].., |_| {
            seen += 1;
            if seen == 2 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })
        .unwrap();
    assert_eq!(seen, 2);
}

#[test]
fn a_transaction_reads_its_own_writes_in_order() {
    let directory = Directory::new("own-writes");
    let database = Database::open(directory.path()).unwrap();
    let table = database.table("t").unwrap();
    fill(&database, &table, &[b"a", b"c", b"e"]);
    let mut write = database.begin_write().unwrap();
    write.delete(&table, b"c").unwrap();
    write.put(&table, b"d", b"v").unwrap();
    write.put(&table, b"b", b"v").unwrap();
    let keys: Vec<u8> = write
        .range(&table, ..)
        .unwrap()
        .map(|entry| entry.unwrap().0[0])
        .collect();
    assert_eq!(keys, b"abde");
    assert_eq!(write.open(&table).unwrap().len().unwrap(), 4);
    write.commit().unwrap();
}

#[test]
fn the_first_to_commit_wins() {
    let directory = Directory::new("conflict");
    let database = Database::open(directory.path()).unwrap();
    let table = database.table("t").unwrap();
    let mut first = database.begin_write().unwrap();
    let mut second = database.begin_write().unwrap();
    let mut third = database.begin_write().unwrap();
    first.put(&table, b"a", b"1").unwrap();
    second.put(&table, b"a", b"2").unwrap();
    third.put(&table, b"b", b"3").unwrap();
    first.commit().unwrap();
    let error = second.commit().unwrap_err();
    assert!(error.is_conflict() && error.is_retryable());
    assert_eq!(error.code(), 400);
    third.commit().unwrap();
    assert_eq!(&*database.get(&table, b"a").unwrap().unwrap(), b"1");
}

#[test]
fn serializable_transactions_conflict_on_what_they_read() {
    let directory = Directory::new("serializable");
    let database = Database::open(directory.path()).unwrap();
    let table = database.table("t").unwrap();
    fill(&database, &table, &[b"a", b"b"]);
    // Each reads one key and writes the other: write skew.
    for (is_serializable, conflicts) in [(false, false), (true, true)] {
        let begin = || {
            if is_serializable {
                database.begin_serializable().unwrap()
            } else {
                database.begin_write().unwrap()
            }
        };
        let mut first = begin();
        let mut second = begin();
        first.get(&table, b"a").unwrap();
        first.put(&table, b"b", b"1").unwrap();
        second.get(&table, b"b").unwrap();
        second.put(&table, b"a", b"1").unwrap();
        first.commit().unwrap();
        assert_eq!(
            second.commit().is_err_and(|error| error.is_conflict()),
            conflicts
        );
    }
    // A range that was read has grown.
    let mut reader = database.begin_serializable().unwrap();
    assert_eq!(
        reader.open(&table).unwrap().prefix(b"x").unwrap().count(),
        0
    );
    reader.put(&table, b"count", b"0").unwrap();
    database.put(&table, b"xyz", b"1").unwrap();
    assert!(reader.commit().unwrap_err().is_conflict());
    // One beside it has.
    let mut reader = database.begin_serializable().unwrap();
    assert_eq!(
        reader.open(&table).unwrap().prefix(b"x").unwrap().count(),
        1
    );
    reader.put(&table, b"count", b"1").unwrap();
    database.put(&table, b"z", b"1").unwrap();
    reader.commit().unwrap();
}

#[test]
fn compare_and_set_counts_right_among_threads() {
    let directory = Directory::new("compare");
    let database = Database::builder()
        .durability(Durability::Async)
        .open(directory.path())
        .unwrap();
    let table: TypedTable<&str, u64> = database.typed_table("t").unwrap();
    assert!(
        !database
            .compare_and_set(&table, "n", Some(0), Some(1))
            .unwrap()
    );
    assert!(
        database
            .compare_and_set(&table, "n", None, Some(0))
            .unwrap()
    );
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..100 {
                    loop {
                        let now = database.get(&table, "n").unwrap().unwrap().value();
                        if database
                            .compare_and_set(&table, "n", Some(now), Some(now + 1))
                            .unwrap()
                        {
                            break;
                        }
                    }
                }
            });
        }
    });
    assert_eq!(database.get(&table, "n").unwrap().unwrap().value(), 400);
    assert!(
        database
            .compare_and_set(&table, "n", Some(400), None)
            .unwrap()
    );
    assert!(database.get(&table, "n").unwrap().is_none());
}

#[test]
fn expiry_and_metadata_come_back() {
    let directory = Directory::new("expiry");
    let database = Database::open(directory.path()).unwrap();
    let table = database.table("t").unwrap();
    let mut write = database.begin_write().unwrap();
    let far = 4_000_000_000_000;
    let options = |expiry_ms, metadata| PutOptions {
        expiry_ms,
        metadata,
    };
    write
        .put_with(&table, b"a", b"1", options(Some(far), Some(9)))
        .unwrap();
    write
        .put_with(&table, b"b", b"1", options(Some(1), None))
        .unwrap();
    write.commit().unwrap();
    let value = database.get(&table, b"a").unwrap().unwrap();
    assert_eq!((value.expiry_ms(), value.metadata()), (Some(far), Some(9)));
    assert!(database.get(&table, b"b").unwrap().is_none());
    let read = database.begin_read().unwrap();
    assert_eq!(read.range(&table, ..).unwrap().count(), 1);
}

#[test]
fn what_does_not_fit_a_type_is_refused_by_name() {
    let directory = Directory::new("types");
    let database = Database::open(directory.path()).unwrap();
    let bytes = database.table("t").unwrap();
    database.put(&bytes, b"abc", b"\xff").unwrap();
    let keys: TypedTable<u64, &[u8]> = database.typed_table("t").unwrap();
    let values: TypedTable<&str, &str> = database.typed_table("t").unwrap();
    let read = database.begin_read().unwrap();
    let error = read.open(&keys).unwrap().first().unwrap_err();
    let misfit = |part| Reason::Encoding {
        table: "t".to_owned(),
        part,
    };
    assert_eq!(error.reason(), &misfit(EncodedPart::Key));
    let error = read.get(&values, "abc").unwrap_err();
    assert_eq!(error.reason(), &misfit(EncodedPart::Value));
    let error = read
        .open(&values)
        .unwrap()
        .for_each(.., |_| ControlFlow::Continue(()));
    assert_eq!(error.unwrap_err().code(), 700);
}

#[test]
fn errors_name_what_and_where() {
    let directory = Directory::new("errors");
    let database = Database::open(directory.path()).unwrap();
    let table = database.table("t").unwrap();
    let error = Database::open(directory.path()).unwrap_err();
    assert_eq!(error.code(), 104);
    assert!(error.to_string().contains("in use"), "{error}");
    let error = database.put(&table, &[0; 5000], b"").unwrap_err();
    assert_eq!(error.code(), 303);
    let limit = EngineError::OverLimit {
        limit: lightning_db::Limit::KeyBytes,
        value: 5000,
        maximum: 1024,
    };
    assert_eq!(error.reason(), &Reason::Engine(limit));
    assert!(
        error
            .to_string()
            .starts_with(&directory.path().display().to_string())
    );
    let other = Directory::new("errors-other");
    let other_database = Database::open(other.path()).unwrap();
    assert_eq!(
        other_database.put(&table, b"a", b"").unwrap_err().code(),
        701
    );
    let clone = database.clone();
    assert_eq!(clone.close().unwrap_err().code(), 702);
    database.close().unwrap();
    let read_only = Database::open_read_only(directory.path()).unwrap();
    assert_eq!(read_only.put(&table, b"a", b"").unwrap_err().code(), 701);
    let table = read_only.table("t").unwrap();
    assert_eq!(read_only.put(&table, b"a", b"").unwrap_err().code(), 602);
    assert_eq!(read_only.table("none").unwrap_err().code(), 602);
    let absent = Database::builder()
        .create(false)
        .open(directory.path().join("no"));
    assert_eq!(absent.unwrap_err().code(), 103);
}

#[test]
fn threads_share_flushes_and_lose_nothing() {
    let directory = Directory::new("group");
    let database = Database::open(directory.path()).unwrap();
    let table: TypedTable<(u64, u64), u64> = database.typed_table("t").unwrap();
    let (threads, each) = (8, 40);
    let before = database.statistics().engine;
    thread::scope(|scope| {
        for thread in 0..threads {
            let (database, table) = (&database, &table);
            scope.spawn(move || {
                for number in 0..each {
                    database.put(table, (thread, number), number).unwrap();
                    // Read at once what was acknowledged.
                    let read = database.get(table, (thread, number)).unwrap().unwrap();
                    assert_eq!(read.value(), number);
                }
            });
        }
    });
    let after = database.statistics().engine;
    let (commits, syncs) = (
        after.commits - before.commits,
        after.log_syncs - before.log_syncs,
    );
    assert_eq!(commits, threads * each);
    assert!(
        syncs <= commits / 2,
        "{syncs} flushes for {commits} commits"
    );
    let read = database.begin_read().unwrap();
    assert_eq!(read.open(&table).unwrap().len().unwrap(), threads * each);
}

#[test]
fn a_bulk_load_is_there_as_a_whole() {
    let directory = Directory::new("bulk");
    let database = Database::open(directory.path()).unwrap();
    let table: TypedTable<u64, &str> = database.typed_table("t").unwrap();
    database.put(&table, 5, "before").unwrap();
    let mut load = database.bulk_load(&table).unwrap();
    load.push(1, "dropped").unwrap();
    drop(load);
    assert!(database.get(&table, 1).unwrap().is_none());
    let mut load = database.bulk_load(&table).unwrap();
    for number in 5..2000 {
        load.push(number, "loaded").unwrap();
    }
    let error = load.push(7, "again").unwrap_err();
    assert_eq!(error.code(), 406);
    assert_eq!(&*database.get(&table, 5).unwrap().unwrap(), "before");
    assert_eq!(load.finish().unwrap(), 1995);
    database.put(&table, 6, "after").unwrap();
    drop(database);
    let database = Database::open(directory.path()).unwrap();
    let table: TypedTable<u64, &str> = database.typed_table("t").unwrap();
    let value = |key| database.get(&table, key).unwrap().unwrap().to_owned();
    assert_eq!(
        database
            .begin_read()
            .unwrap()
            .open(&table)
            .unwrap()
            .len()
            .unwrap(),
        1995
    );
    assert_eq!((value(5).as_str(), value(6).as_str()), ("loaded", "after"));
}

struct Unpark(Thread, AtomicBool);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.1.store(true, Ordering::SeqCst);
        self.0.unpark();
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let unpark = Arc::new(Unpark(thread::current(), AtomicBool::new(false)));
    let waker = Waker::from(Arc::clone(&unpark));
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        while !unpark.1.swap(false, Ordering::SeqCst) {
            thread::park();
        }
    }
}

#[test]
fn a_commit_is_written_by_who_must_not_wait_where_no_sync_is_asked_for() {
    for (durability, writes) in [
        (Durability::Async, true),
        (Durability::Periodic(Duration::from_secs(60)), true),
        (Durability::Sync, false),
    ] {
        let directory = Directory::new("try-fulfil");
        let database = Database::builder()
            .durability(durability)
            .open(directory.path())
            .unwrap();
        let table = database.table("t").unwrap();
        let first = database.put_async(&table, b"first", b"v").unwrap();
        let second = database.put_async(&table, b"second", b"v").unwrap();
        assert!(!second.is_fulfilled().unwrap());
        // Nobody else writes: no future was polled. While the log is prepared it can't be
        // done, either.
        let begun = Instant::now();
        while !second.try_fulfil().unwrap() && writes {
            assert!(begun.elapsed() < Duration::from_secs(30), "{durability:?}");
            thread::sleep(Duration::from_millis(1));
        }
        // The newest takes those before it along.
        assert_eq!(second.is_fulfilled().unwrap(), writes, "{durability:?}");
        assert_eq!(first.is_fulfilled().unwrap(), writes);
        first.clone().wait().unwrap();
        block_on(second).unwrap();
        assert!(database.get(&table, b"second").unwrap().is_some());
    }
}

#[test]
fn tickets_are_futures() {
    let directory = Directory::new("tickets");
    for durability in [
        Durability::Sync,
        Durability::Async,
        Durability::Periodic(Duration::from_millis(5)),
    ] {
        let database = Database::builder()
            .durability(durability)
            .open(directory.path())
            .unwrap();
        let table: TypedTable<u64, u64> = database.typed_table("t").unwrap();
        for number in 0..50 {
            let mut write = database.begin_write().unwrap();
            write.put(&table, number, number).unwrap();
            let ticket = write.commit_async().unwrap();
            block_on(ticket).unwrap();
            assert!(database.get(&table, number).unwrap().is_some());
        }
        // Some are given up, the last one waited for.
        let tickets: Vec<_> = (0..10)
            .map(|number| database.put_async(&table, number, 0).unwrap())
            .collect();
        let mut tickets = tickets.into_iter();
        let mut abandoned = pin!(tickets.next().unwrap());
        let _pending = abandoned
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        let last = tickets.next_back().unwrap();
        drop(tickets);
        last.wait().unwrap();
        assert!(abandoned.is_fulfilled().unwrap());
    }
}

/// Woken or dropped, it drops what may be the last handle of the database.
struct Holder(Mutex<Option<(Database, Ticket)>>);

impl Wake for Holder {
    fn wake(self: Arc<Self>) {
        drop(self.0.lock().unwrap().take());
    }
}

#[test]
fn a_waker_may_drop_tickets_and_the_database() {
    let directory = Directory::new("waker");
    for round in 0..20_u64 {
        let database = Database::open(directory.path()).unwrap();
        let table: TypedTable<u64, u64> = database.typed_table("t").unwrap();
        let other = database.put_async(&table, 2, round).unwrap();
        let mut ticket = database.put_async(&table, 1, round).unwrap();
        let holder = Arc::new(Holder(Mutex::new(Some((database, other)))));
        let waker = Waker::from(Arc::clone(&holder));
        let mut context = Context::from_waker(&waker);
        let mut polls = 0;
        while Pin::new(&mut ticket).poll(&mut context).is_pending() && polls < round % 3 {
            polls += 1;
        }
        drop(ticket);
        drop((waker, holder));
        // The directory is free again as soon as the last handle is gone.
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            match Database::open(directory.path()) {
                Ok(database) => break database.close().unwrap(),
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn a_database_of_short_segments_opens_by_default() {
    let directory = Directory::new("segments");
    let small = Database::builder()
        .log_segment_bytes(64 << 10)
        .memtable_bytes(64 << 10);
    let database = small.open(directory.path()).unwrap();
    let table = database.table("t").unwrap();
    database.put(&table, b"a", b"1").unwrap();
    database.close().unwrap();
    let database = Database::open(directory.path()).unwrap();
    assert!(database.get(&table_of(&database), b"a").unwrap().is_some());
}

fn table_of(database: &Database) -> Table {
    database.existing_table("t").unwrap().unwrap()
}

#[test]
fn a_period_makes_durable_what_was_written() {
    let directory = Directory::new("periodic");
    let database = Database::builder()
        .durability(Durability::Periodic(Duration::from_millis(2)))
        .open(directory.path())
        .unwrap();
    let table = database.table("t").unwrap();
    database.put(&table, b"a", b"1").unwrap();
    for _ in 0..1000 {
        let engine = database.statistics().engine;
        if engine.durable_sequence == engine.appended_sequence {
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
    panic!("nothing was synced in five seconds");
}

#[test]
fn who_reads_beside_its_own_writes_is_slowed_and_not_stopped() {
    let directory = Directory::new("slowed");
    let database = Database::builder()
        .cache_bytes(8 << 20)
        .memtable_bytes(1 << 20)
        .durability(Durability::Async)
        .open(directory.path())
        .unwrap();
    let table = database.table("t").unwrap();
    thread::scope(|scope| {
        for thread in 0..2_u64 {
            let (database, table) = (&database, &table);
            scope.spawn(move || {
                // As many as fill eight memtables each; a fresh view now and then.
                let mut read = database.begin_read().unwrap();
                for number in 0..30_000_u64 {
                    if number % 8 == 0 {
                        read = database.begin_read().unwrap();
                    }
                    let key = (number * 2 + thread).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                    let value = [number as u8; 200];
                    database.put(table, &key.to_be_bytes(), &value).unwrap();
                }
                drop(read);
            });
        }
    });
    let slowed = database.statistics();
    assert!(slowed.engine.store.flips > 4, "{slowed:?}");
}

#[test]
fn a_log_is_short_when_writes_have_paused() {
    let directory = Directory::new("short-log");
    let log_bytes = || -> u64 {
        let files = std::fs::read_dir(directory.path().join("wal")).unwrap();
        files
            .map(|file| file.unwrap().metadata().unwrap().len())
            .sum()
    };
    let database = Database::builder()
        .durability(Durability::Async)
        .open(directory.path())
        .unwrap();
    assert_eq!(log_bytes(), 1 << 20);
    let table = database.table("t").unwrap();
    let value = [3; 100_000];
    for key in 0..200_u32 {
        database.put(&table, &key.to_be_bytes(), &value).unwrap();
    }
    assert!(log_bytes() > 16 << 20);
    let start = Instant::now();
    while log_bytes() > 1 << 20 {
        assert!(start.elapsed() < Duration::from_secs(30), "{}", log_bytes());
        thread::sleep(Duration::from_millis(50));
    }
    // More than the log has room for, at once.
    let large = vec![5; 2_000_000];
    database
        .put(&table, &100_u32.to_be_bytes(), &large)
        .unwrap();
    for key in 101..300_u32 {
        database.put(&table, &key.to_be_bytes(), b"new").unwrap();
    }
    database.close().unwrap();
    let database = Database::open(directory.path()).unwrap();
    let read = database.begin_read().unwrap();
    assert_eq!(read.open(&table_of(&database)).unwrap().len().unwrap(), 300);
    drop(read);
    while log_bytes() > 1 << 20 {
        assert!(start.elapsed() < Duration::from_secs(60), "{}", log_bytes());
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn it_drains_into_the_trees_when_writes_pause() {
    let directory = Directory::new("drain");
    let database = Database::open(directory.path()).unwrap();
    let table: TypedTable<u64, u64> = database.typed_table("t").unwrap();
    database.put(&table, 1, 1).unwrap();
    for _ in 0..200 {
        let engine = database.statistics().engine;
        if engine.merged_sequence == engine.appended_sequence && engine.front_bytes == 0 {
            database.put(&table, 2, 2).unwrap();
            let read = database.begin_read().unwrap();
            assert_eq!(read.open(&table).unwrap().len().unwrap(), 2);
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("{:?}", database.statistics());
}

#[test]
fn a_model_agrees_over_many_reopenings() {
    let directory = Directory::new("model");
    let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % below
    };
    for _ in 0..8 {
        let database = Database::builder()
            .memtable_bytes(64 << 10)
            .log_segment_bytes(128 << 10)
            .durability(Durability::Async)
            .open(directory.path())
            .unwrap();
        let table = database.table("t").unwrap();
        for _ in 0..60 {
            let mut write = database.begin_write().unwrap();
            let mut after = model.clone();
            for _ in 0..random(20) {
                let key = random(500).to_be_bytes();
                if random(3) == 0 {
                    write.delete(&table, &key).unwrap();
                    after.remove(&key[..]);
                } else {
                    let value = vec![random(256) as u8; random(600) as usize];
                    write.put(&table, &key, &value).unwrap();
                    after.insert(key.to_vec(), value);
                }
            }
            if random(4) > 0 {
                write.commit().unwrap();
                model = after;
            }
        }
        let read = database.begin_read().unwrap();
        let found: BTreeMap<Vec<u8>, Vec<u8>> = read
            .range(&table, ..)
            .unwrap()
            .map(|entry| {
                entry
                    .map(|(key, value)| (key.to_vec(), value.to_vec()))
                    .unwrap()
            })
            .collect();
        assert_eq!(found, model);
        assert_eq!(
            read.open(&table).unwrap().len().unwrap(),
            model.len() as u64
        );
    }
}

#[test]
fn ranges_are_deleted_and_tables_dropped() {
    let directory = Directory::new("delete-range");
    let database = Database::open(directory.path()).unwrap();
    let numbers = database.typed_table::<u32, u32>("numbers").unwrap();
    let names = database.typed_table::<&str, u32>("names").unwrap();
    let mut write = database.begin_write().unwrap();
    for number in 0..100 {
        write.put(&numbers, number, number).unwrap();
        write
            .put(&names, &format!("{}:{number}", number % 3), number)
            .unwrap();
    }
    write.commit().unwrap();
    let before = database.begin_read().unwrap();

    let mut write = database.begin_write().unwrap();
    write.delete_range(&numbers, 10..20).unwrap();
    write.delete_range(&numbers, 30..=40).unwrap();
    write
        .delete_range(&numbers, (Bound::Excluded(89), Bound::Unbounded))
        .unwrap();
    write.put(&numbers, 15, 1_500).unwrap();
    write.delete_prefix(&names, "1:").unwrap();
    write.commit().unwrap();
    let expected: Vec<u32> = (0..90)
        .filter(|number| !(10..20).contains(number) && !(30..=40).contains(number))
        .chain([15])
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .collect();
    let check = |database: &Database| {
        let read = database.begin_read().unwrap();
        let found: Vec<u32> = read
            .range(&numbers, ..)
            .unwrap()
            .map(|entry| entry.unwrap().0.key())
            .collect();
        assert_eq!(found, expected);
        let reader = read.open(&numbers).unwrap();
        assert_eq!(reader.len().unwrap(), expected.len() as u64);
        assert_eq!(reader.get(15).unwrap().unwrap().value(), 1_500);
        assert!(reader.get(16).unwrap().is_none());
        let names = read.open(&names).unwrap();
        assert_eq!(names.prefix("1:").unwrap().count(), 0);
        assert_eq!(names.len().unwrap(), 67);
    };
    check(&database);
    assert_eq!(before.open(&numbers).unwrap().len().unwrap(), 100);

    let mut write = database.begin_write().unwrap();
    assert!(write.drop_table("names").unwrap());
    assert!(!write.drop_table("nothing").unwrap());
    write.rollback();
    check(&database);
    let mut write = database.begin_write().unwrap();
    assert!(write.drop_table("names").unwrap());
    write.commit().unwrap();
    assert_eq!(database.tables().unwrap().len(), 1);
    assert_eq!(before.open(&names).unwrap().len().unwrap(), 100);
    drop(before);
    database.close().unwrap();

    let database = Database::open(directory.path()).unwrap();
    let numbers = database.typed_table::<u32, u32>("numbers").unwrap();
    let read = database.begin_read().unwrap();
    let reader = read.open(&numbers).unwrap();
    assert_eq!(reader.len().unwrap(), expected.len() as u64);
    assert!(database.existing_table("names").unwrap().is_none());
    let again = database.typed_table::<&str, u32>("names").unwrap();
    let read = database.begin_read().unwrap();
    assert_eq!(read.open(&again).unwrap().len().unwrap(), 0);
    assert!(database.verify().is_ok());
}

#[test]
fn a_checkpoint_leaves_nothing_above_the_trees() {
    let directory = Directory::new("checkpoint");
    let database = Database::open(directory.path()).unwrap();
    let table = database.typed_table::<u32, u32>("numbers").unwrap();
    assert!(database.checkpoint(Duration::ZERO).is_ok());
    let mut write = database.begin_write().unwrap();
    for number in 0..500 {
        write.put(&table, number, number).unwrap();
    }
    write.commit().unwrap();
    // One that reads what is replaced holds nothing up.
    let before = database.begin_read().unwrap();
    database.put(&table, 0, 7).unwrap();
    assert!(database.checkpoint(Duration::from_secs(60)).unwrap());
    let figures = database.statistics().engine;
    assert_eq!(figures.merged_sequence, figures.appended_sequence);
    assert_eq!((figures.runs, figures.frozen_memtables), (0, 0));
    assert_eq!(before.get(&table, 0).unwrap().unwrap().value(), 0);
    drop(before);
    database.close().unwrap();
    let database = Database::open_read_only(directory.path()).unwrap();
    let table = database.existing_typed_table::<u32, u32>("numbers");
    let table = table.unwrap().unwrap();
    assert!(database.statistics().engine.entries >= 500);
    assert_eq!(database.get(&table, 0).unwrap().unwrap().value(), 7);
    assert!(database.checkpoint(Duration::from_secs(1)).is_err());
}
