//! Threads that help merges: what they read, and that nothing else is different.

mod support;

use lightning_db::{Compression, Database};
use std::time::Duration;
use support::Directory;

const ROWS: u32 = 40_000;

fn value(number: u32, round: u32) -> Vec<u8> {
    let mut value = vec![number as u8; 100];
    value[..4].copy_from_slice(&number.to_be_bytes());
    value[4] = round as u8;
    value
}

/// Overwrites everything in an order that is none, several times, with far more data than
/// cache; answers how many pages helpers have read.
fn overwrite(threads: u32, compression: Compression) -> u64 {
    let directory = Directory::new("merge-threads");
    let database = Database::builder()
        .cache_bytes(1 << 20)
        .memtable_bytes(1 << 20)
        .compression(compression)
        .merge_threads(threads)
        .open(directory.path())
        .unwrap();
    let table = database.table("numbers").unwrap();
    for round in 0..3 {
        for batch in 0..ROWS / 400 {
            let mut write = database.begin_write().unwrap();
            for index in 0..400 {
                let number = (batch * 400 + index) * 7_919 % ROWS;
                let value = value(number, round);
                write.put(&table, &number.to_be_bytes(), &value).unwrap();
            }
            write.commit().unwrap();
        }
    }
    assert!(database.checkpoint(Duration::from_secs(120)).unwrap());
    let read = database.begin_read().unwrap();
    let mut count = 0;
    for entry in read.open(&table).unwrap().iter().unwrap() {
        let (key, found) = entry.unwrap();
        assert_eq!(&*key, count_bytes(count));
        assert_eq!(&*found, value(count, 2));
        count += 1;
    }
    assert_eq!(count, ROWS);
    drop(read);
    database.verify().unwrap();
    assert!(database.background_failure().is_none());
    let ahead = database.statistics().pages_ahead;
    database.close().unwrap();
    ahead
}

fn count_bytes(count: u32) -> [u8; 4] {
    count.to_be_bytes()
}

#[test]
fn helpers_read_what_merges_come_to() {
    assert_eq!(overwrite(1, Compression::None), 0);
    for threads in [2, 4] {
        for compression in [Compression::None, Compression::Lz4] {
            let ahead = overwrite(threads, compression);
            assert!(ahead > 0, "{threads} {compression}");
            println!("{threads} threads, {compression}: {ahead} pages");
        }
    }
}

/// The name and niceness of a thread (`proc(5)`: the second and the 19th field).
fn name_and_niceness(stat: &str) -> Option<(String, i32)> {
    let (begin, fields) = stat.rsplit_once(") ")?;
    let (_, name) = begin.split_once('(')?;
    let niceness = fields.split(' ').nth(16)?.parse().ok()?;
    Some((name.to_owned(), niceness))
}

#[test]
fn threads_that_merge_give_way_where_they_are_told_to() {
    let Ok(own) = std::fs::read_to_string("/proc/thread-self/stat") else {
        println!("SKIPPED: this system doesn't tell the niceness of threads");
        return;
    };
    let (_, usual) = name_and_niceness(&own).unwrap();
    let raised = (usual + 3).min(19);
    let directory = Directory::new("merge-niceness");
    let database = Database::builder()
        .merge_threads(2)
        .merge_niceness(3)
        .open(directory.path())
        .unwrap();
    // Those of other tests are there, too.
    let has = |name: &str, niceness: i32| {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let stats = tasks.filter_map(|task| Some(task.ok()?.path().join("stat")));
        stats
            .filter_map(|path| name_and_niceness(&std::fs::read_to_string(path).ok()?))
            .any(|found| found == (name.to_owned(), niceness))
    };
    let began = std::time::Instant::now();
    // A thread may not have come to it yet.
    while !has("lightning-merge", raised) || !has("lightning-ahead", raised) {
        assert!(began.elapsed() < Duration::from_secs(10), "none gives way");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(!has("lightning-flush", raised));
    drop(database);
}
