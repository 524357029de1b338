//! Scans tell the storage what they will read, where they are asked to.

use super::*;

/// What a scan of all told the storage, and how many pages it read.
fn scan(engine: &Engine, storage: &SimStorage, expected: usize) -> (Vec<(u64, u64)>, u64) {
    let (before, told) = (
        engine.statistics().frames.loads,
        storage.told_of_reads().len(),
    );
    let snapshot = engine.snapshot(0).unwrap();
    let view = engine.view(&snapshot, FIRST_USER_TABLE, true).unwrap();
    let mut cursor = engine.cursor(&view, true).unwrap();
    cursor.seek(CursorPosition::First).unwrap();
    let mut count = 0;
    while cursor.is_valid() {
        count += 1;
        cursor.advance().unwrap();
    }
    assert_eq!(count, expected);
    drop(cursor);
    engine.end(snapshot);
    let loads = engine.statistics().frames.loads - before;
    (storage.told_of_reads().split_off(told), loads)
}

#[test]
fn scans_tell_the_storage_what_they_come_to() {
    let storage = SimStorage::new(SimOptions::disk(512));
    // Far fewer frames than leaves.
    let options = Options {
        cache_bytes: 32 << 10,
        ..busy_options()
    };
    let engine = create(&storage, &options).unwrap();
    let mut load = engine.begin_load(FIRST_USER_TABLE).unwrap();
    for number in 0..6_000_u32 {
        let key = number.to_be_bytes();
        load.push(&key, &[7; 60], PutOptions::default()).unwrap();
    }
    load.finish().unwrap();
    let rows = 6_000;
    let (told, loads) = scan(&engine, &storage, rows);
    assert!(loads > 300, "{loads}");
    assert!(told.is_empty());
    for distance in [1, 8, 64, 5_000] {
        engine.set_read_ahead(distance);
        let (told, loads) = scan(&engine, &storage, rows);
        let pages: u64 = told.iter().map(|(_, bytes)| bytes / 1_024).sum();
        // All but the first leaves of each branch, and none twice.
        assert!(pages * 10 > loads * 8, "{distance}: {pages} of {loads}");
        assert!(pages <= loads, "{distance}: {pages} of {loads}");
        let mut starts: Vec<u64> = told.iter().map(|(offset, _)| *offset).collect();
        starts.sort_unstable();
        starts.dedup();
        assert_eq!(starts.len(), told.len());
        // The load wrote them one behind the other.
        if distance > 1 {
            assert!(told.len() as u64 * 3 < pages, "{distance}: {told:?}");
        }
    }
    engine.set_read_ahead(0);
    assert!(scan(&engine, &storage, rows).0.is_empty());
}
