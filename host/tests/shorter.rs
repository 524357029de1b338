//! A page file gets shorter while nobody writes, with what lay at its end.

mod support;

use lightning_db::Database;
use std::thread;
use std::time::{Duration, Instant};
use support::Directory;

const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `holds` does, looking at the figures.
fn wait_until(database: &Database, what: &str, holds: impl Fn(u64, u64) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let statistics = database.statistics();
        let store = statistics.engine.store;
        if statistics.engine.runs == 0 && holds(statistics.engine.entries, store.file_bytes) {
            return;
        }
        assert!(Instant::now() < deadline, "{what}: {statistics:?}");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_file_gets_shorter_when_writes_pause() {
    let directory = Directory::new("shorter");
    let database = Database::open(directory.path()).unwrap();
    let fill = |name: &str, count: u32, bytes: usize| {
        let table = database.table(name).unwrap();
        for chunk in 0..count.div_ceil(500) {
            let mut write = database.begin_write().unwrap();
            for number in chunk * 500..(chunk * 500 + 500).min(count) {
                let value = vec![number as u8; bytes];
                write.put(&table, &number.to_be_bytes(), &value).unwrap();
            }
            write.commit().unwrap();
        }
    };
    fill("passing", 30_000, 400);
    wait_until(&database, "merged", |entries, _| entries > 30_000);
    fill("large", 10, 100_000);
    wait_until(&database, "merged", |entries, _| entries > 30_010);
    // What stays lies at the end of the file.
    let first: u32 = 29_000;
    let mut write = database.begin_write().unwrap();
    let passing = write.table("passing").unwrap();
    write
        .delete_range(&passing, ..&first.to_be_bytes()[..])
        .unwrap();
    write.commit().unwrap();
    wait_until(&database, "shorter", |entries, bytes| {
        entries < 2_000 && bytes < 4 << 20
    });
    let read = database.begin_read().unwrap();
    for (name, numbers, bytes) in [("passing", first..30_000, 400), ("large", 0..10, 100_000)] {
        let table = database.table(name).unwrap();
        let table = read.open(&table).unwrap();
        for number in numbers {
            let value = table.get(&number.to_be_bytes()).unwrap().unwrap();
            assert_eq!(value.bytes(), vec![number as u8; bytes]);
        }
    }
    drop(read);
    database.verify().unwrap();
    assert!(database.background_failure().is_none());
}
