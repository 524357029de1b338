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
