//! Keys up to the longest there may be, wherever they stand.

use super::*;

fn options() -> Options {
    Options {
        page_bytes: 4_096,
        cache_bytes: 512 << 10,
        memtable_bytes: 96 << 10,
        transaction_bytes: 16 << 10,
        segment_bytes: 256 << 10,
        log_buffer_bytes: 32 << 10,
        write_buffer_bytes: 32 << 10,
        runs: 6,
        ..busy_options()
    }
}

/// Keys that differ in their last bytes, or in their length only.
fn key(number: usize) -> Vec<u8> {
    let length = [3, 252, 253, 254, 700, 1_023, 1_024][number % 7];
    let mut key = std::vec![b'k'; length];
    let end = std::format!("{number:03}");
    key[length - 3..].copy_from_slice(end.as_bytes());
    key
}

fn put(engine: &Engine, number: usize, value: &[u8]) {
    let (key, options) = (key(number), PutOptions::default());
    while let Err(error) = engine.put(16, &key, value, options, 0) {
        make_room(engine, error).unwrap();
    }
}

fn make_run(engine: &Engine) {
    assert!(engine.freeze_front().unwrap());
    engine.flush_step(true).unwrap();
    while engine.statistics().frozen_memtables > 0 {
        engine.poll_maintenance(Budgeted::default()).unwrap();
    }
}

#[test]
fn the_longest_keys_are_found_in_memtable_run_and_tree() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let engine = create(&storage, &options()).unwrap();
    assert_eq!(engine.key_bytes_max(), 1_024);
    let mut expected = Rows::new();
    for round in 0..3_usize {
        for number in (0..70).filter(|number| round == 0 || number % (round + 1) == 0) {
            let value = std::format!("{number} in {round}").into_bytes();
            put(&engine, number, &value);
            expected.insert(key(number), value);
        }
        if round < 2 {
            make_run(&engine);
        }
    }
    let _ = engine.delete(16, &key(69), 0).unwrap();
    expected.remove(&key(69));
    engine.flush_step(true).unwrap();
    assert!(engine.statistics().runs >= 2);
    let check = |engine: &Engine| {
        assert_eq!(rows(engine, 16).unwrap(), expected);
        let snapshot = engine.snapshot(0).unwrap();
        {
            let view = engine.view(&snapshot, 16, true).unwrap();
            for number in 0..77 {
                let key = key(number);
                let found = engine.get(&view, &key, true).unwrap();
                let found = found.map(|value| whole(engine, &view, value.stored()));
                assert_eq!(found.as_ref(), expected.get(&key), "{number}");
            }
        }
        engine.end(snapshot);
    };
    check(&engine);
    let image = storage.crash_image(lightning_sim::CrashMode::Synced, 0);
    check(&open(&image, &options()).unwrap());
    drain(&engine).unwrap();
    check(&engine);
    verify(&engine);
    let mut long = key(6);
    long.push(0);
    let refused = engine.put(16, &long, b"", PutOptions::default(), 0);
    assert!(matches!(
        refused,
        Err(Error::OverLimit { value: 1_025, .. })
    ));
}

#[test]
fn a_conflict_on_a_long_key_is_found_in_a_run() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let engine = create(&storage, &options()).unwrap();
    for (other, conflicts) in [(6, true), (13, false)] {
        let mut transaction = engine.begin(0, Isolation::Snapshot).unwrap();
        engine
            .transaction_put(&mut transaction, 16, &key(6), b"", PutOptions::default())
            .unwrap();
        put(&engine, other, b"other");
        make_run(&engine);
        let outcome = engine.commit(transaction, 0, 0).map(|_| ());
        if conflicts {
            assert!(
                matches!(outcome, Err(Error::Conflict { .. })),
                "{outcome:?}"
            );
        } else {
            assert_eq!(outcome, Ok(()));
        }
    }
}
