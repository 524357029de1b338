//! What is done now and then, as often as it is said.

mod support;

use lightning_db::{Database, EngineError, PutOptions, Reason, Scrub};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use support::Directory;

const PATIENCE: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(200);

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

#[test]
fn what_is_in_the_log_reaches_the_page_file_though_writes_go_on() {
    let directories = [
        Directory::new("checkpoint"),
        Directory::new("no-checkpoint"),
    ];
    let [often, never] = directories
        .each_ref()
        .map(|directory| Database::open(directory.path()).unwrap());
    often.set_checkpoint_interval(Some(SHORT));
    let tables = [&often, &never].map(|database| database.table("numbers").unwrap());
    let deadline = Instant::now() + PATIENCE;
    let (mut number, mut merged, mut times) = (0_u32, 0, 0);
    // Each merge brings in what was written after the one before.
    while times < 4 {
        number += 1;
        for (database, table) in [&often, &never].into_iter().zip(&tables) {
            let key = number.to_be_bytes();
            database.put(table, &key, b"value").unwrap();
        }
        let reached = often.statistics().engine.merged_sequence;
        times += u32::from(reached > merged);
        merged = reached;
        assert!(Instant::now() < deadline, "{:?}", often.statistics());
        std::thread::sleep(Duration::from_millis(5));
    }
    // It waits for writes to pause.
    assert_eq!(never.statistics().engine.merged_sequence, 0);
    // Set later, it counts from then on.
    never.set_checkpoint_interval(Some(SHORT));
    while never.statistics().engine.merged_sequence == 0 {
        number += 1;
        never
            .put(&tables[1], &number.to_be_bytes(), b"value")
            .unwrap();
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_has_expired_is_removed_as_often_as_it_is_said() {
    let directories = [Directory::new("sweep"), Directory::new("no-sweep")];
    let [often, seldom] = directories
        .each_ref()
        .map(|directory| Database::open(directory.path()).unwrap());
    often.set_sweep_interval(SHORT);
    seldom.set_sweep_interval(Duration::from_secs(86_400));
    for database in [&often, &seldom] {
        let table = database.table("passing").unwrap();
        let mut write = database.begin_write().unwrap();
        for number in 0..100_u32 {
            let options = PutOptions {
                expiry_ms: Some(now_ms() + 1),
                ..PutOptions::default()
            };
            write
                .put_with(&table, &number.to_be_bytes(), b"value", options)
                .unwrap();
        }
        write.commit().unwrap();
        assert!(database.checkpoint(PATIENCE).unwrap());
    }
    let entries = |database: &Database| database.statistics().engine.entries;
    let deadline = Instant::now() + PATIENCE;
    while entries(&often) >= 100 {
        assert!(Instant::now() < deadline, "{:?}", often.statistics());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(entries(&seldom) >= 100);
    seldom.set_sweep_interval(SHORT);
    while entries(&seldom) >= 100 {
        assert!(Instant::now() < deadline, "{:?}", seldom.statistics());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_scrub_finds_what_rots_behind_the_cache() {
    let directory = Directory::new("scrub");
    let database = Database::open(directory.path()).unwrap();
    let table = database.table("numbers").unwrap();
    let mut write = database.begin_write().unwrap();
    for number in 0..5_000_u32 {
        write
            .put(&table, &number.to_be_bytes(), &[number as u8; 100])
            .unwrap();
    }
    write.commit().unwrap();
    assert!(database.checkpoint(PATIENCE).unwrap());
    let mut scrub = Scrub::default();
    let mut pages = 0;
    while {
        let scrubbed = database.scrub(&mut scrub, 16).unwrap();
        pages += scrubbed.pages;
        !scrubbed.is_round
    } {}
    assert!(pages > 100, "{pages}");
    let read = || {
        database
            .get(&table, &2_500_u32.to_be_bytes())
            .unwrap()
            .is_some()
    };
    assert!(read());
    // All of the file but its beginning: what is read next is damaged.
    let path = directory.path().join("pages.ldb");
    let bytes = std::fs::read(&path).unwrap();
    let rotten: Vec<u8> = bytes[8_192..].iter().map(|byte| !byte).collect();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &rotten, 8_192).unwrap();
    let error = database.scrub(&mut scrub, u64::MAX).unwrap_err();
    let reason = error.reason();
    assert!(
        matches!(reason, Reason::Engine(EngineError::Corruption { .. })),
        "{error}"
    );
    // In memory it is sound.
    assert!(read());
}
