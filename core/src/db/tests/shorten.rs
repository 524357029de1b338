//! The end of the page file moves: into free space, cut off everywhere, to an end.

use super::*;
use alloc::sync::Arc;
use lightning_sim::{TestCipher, TestCodec};

const TABLES: [u32; 3] = [16, 17, 40];

/// How pages are stored.
#[derive(Clone, Copy, PartialEq)]
enum Stored {
    Plain,
    Packed,
    Sealed,
}

fn platform_of(storage: &SimStorage, stored: Stored) -> Platform {
    let mut platform = platform(storage).0;
    match stored {
        Stored::Plain => {}
        Stored::Packed => platform.codec = Some(Arc::new(TestCodec)),
        Stored::Sealed => platform.cipher = Some(Arc::new(TestCipher::new(7))),
    }
    platform
}

/// A storage whose file holds something of each kind at its end, and much free space
/// before it; with what stands in the tables.
fn tailed(
    sim: SimOptions,
    options: &Options,
    longest: usize,
    stored: Stored,
) -> (SimStorage, Vec<Rows>) {
    let storage = SimStorage::new(sim);
    let engine = Engine::create(&platform_of(&storage, stored), options, input(1)).unwrap();
    let put = |table: u32, number: u32, length: usize| {
        let key = std::format!("key{number:05}").into_bytes();
        let value = std::vec![(number % 251) as u8; length];
        let put = PutOptions::default();
        while let Err(error) = engine.put(table, &key, &value, put, 0) {
            make_room(&engine, error).unwrap();
        }
    };
    for number in 0..3_000 {
        put(16, number, 120);
    }
    for number in 0..60 {
        put(17, number, longest);
        put(40, number, 60);
    }
    drain(&engine).unwrap();
    let mut transaction = engine.begin(0, Isolation::Snapshot).unwrap();
    engine
        .transaction_delete_range(&mut transaction, 16, b"key00004", Some(b"key02960"))
        .unwrap();
    let _ = engine.commit(transaction, 0, 0).unwrap();
    drain(&engine).unwrap();
    let expected = TABLES.iter().map(|table| rows(&engine, *table).unwrap());
    let expected = expected.collect();
    verify(&engine);
    drop(engine);
    (storage.restart(), expected)
}

fn check(engine: &Engine, expected: &[Rows]) {
    for (table, expected) in TABLES.iter().zip(expected) {
        assert_eq!(rows(engine, *table).unwrap(), *expected);
    }
    verify(engine);
}

/// Trims until nothing is left to do, which must come.
fn trim(engine: &Engine) -> Result<u32> {
    let mut calls = 0;
    while engine.trim_pages()? {
        calls += 1;
        assert!(calls < 1_000, "it never ends");
    }
    Ok(calls)
}

fn cut_everywhere(sim: SimOptions, options: &Options, longest: usize, stored: Stored) {
    let (start, expected) = tailed(sim, options, longest, stored);
    let open = |storage: &SimStorage| {
        Engine::open(&platform_of(storage, stored), options, input(2)).unwrap()
    };
    let mut cuts = 0;
    for cut in 2.. {
        let storage = start.fork();
        let engine = open(&storage);
        let before = engine.statistics().store;
        if cut % 2 == 0 {
            storage.cut_after(storage.operation_count() + cut / 2);
        } else {
            storage.cut_during(storage.operation_count() + cut / 2);
        }
        let trimmed = trim(&engine);
        assert!(storage.violations().is_empty());
        for mode in lightning_sim::CrashMode::EVERY {
            let engine = open(&storage.crash_image(mode, cut));
            check(&engine, &expected);
        }
        cuts += 1;
        if storage.has_power() {
            trimmed.unwrap();
            let after = engine.statistics().store;
            assert!(
                after.file_bytes * 4 < before.file_bytes * 3,
                "{before:?} {after:?}"
            );
            check(&engine, &expected);
            assert_eq!(trim(&engine).unwrap(), 0, "at rest");
            break;
        }
    }
    assert!(cuts > 50, "{cuts}");
}

#[test]
fn what_lies_at_the_end_moves_and_a_cut_anywhere_loses_nothing() {
    cut_everywhere(SimOptions::disk(512), &busy_options(), 1_300, Stored::Plain);
    let options = Options {
        page_bytes: 512,
        ..busy_options()
    };
    cut_everywhere(SimOptions::disk(512), &options, 100, Stored::Plain);
    // Four pages share a block.
    cut_everywhere(
        SimOptions::disk(4_096),
        &busy_options(),
        1_300,
        Stored::Plain,
    );
}

/// Pages of several units, some of which share a block, and pages and extents under a
/// cipher.
#[test]
fn what_is_packed_or_sealed_moves_and_a_cut_anywhere_loses_nothing() {
    let options = Options {
        unit_bytes: 256,
        ..busy_options()
    };
    cut_everywhere(SimOptions::disk(512), &options, 1_300, Stored::Packed);
    cut_everywhere(
        SimOptions::disk(512),
        &busy_options(),
        1_300,
        Stored::Sealed,
    );
}

/// A snapshot that began before reads what it did, and the file waits for it.
#[test]
fn a_snapshot_keeps_what_moved() {
    let options = busy_options();
    let (storage, expected) = tailed(SimOptions::disk(512), &options, 1_300, Stored::Plain);
    let engine = open(&storage, &options).unwrap();
    let snapshot = engine.snapshot(0).unwrap();
    let before = engine.statistics().store.file_bytes;
    trim(&engine).unwrap();
    for (table, expected) in TABLES.iter().zip(&expected) {
        assert_eq!(rows_of(&engine, &snapshot, *table).unwrap(), *expected);
    }
    check(&engine, &expected);
    engine.end(snapshot);
    trim(&engine).unwrap();
    let after = engine.statistics().store.file_bytes;
    assert!(after * 2 < before, "{after} of {before}");
    check(&engine, &expected);
}

/// Commits that come between two slices are merged first, and stay.
#[test]
fn writers_come_between_two_slices() {
    let options = busy_options();
    let (storage, mut expected) = tailed(SimOptions::disk(512), &options, 1_300, Stored::Plain);
    let engine = open(&storage, &options).unwrap();
    let put = PutOptions::default();
    for round in 0..40_u32 {
        if !engine.trim_pages().unwrap() {
            break;
        }
        let key = std::format!("key{:05}", round * 37 % 60).into_bytes();
        let value = std::vec![round as u8; if round % 3 == 0 { 1_300 } else { 40 }];
        let _ = engine.put(17, &key, &value, put, 0).unwrap();
        expected[1].insert(key, value);
        if round % 4 == 3 {
            drain(&engine).unwrap();
        }
    }
    drain(&engine).unwrap();
    trim(&engine).unwrap();
    check(&engine, &expected);
    drop(engine);
    check(&open(&storage.restart(), &options).unwrap(), &expected);
}

/// A medium of a fixed size is left alone.
#[test]
fn nothing_moves_where_nothing_can_be_cut_off() {
    let options = Options {
        file_bytes_max: 4 << 20,
        ..busy_options()
    };
    let (storage, expected) = tailed(
        SimOptions::flash(256, 4_096, 16 << 20),
        &options,
        1_300,
        Stored::Plain,
    );
    let engine = open(&storage, &options).unwrap();
    let calls = trim(&engine).unwrap();
    assert!(calls < 4, "{calls}");
    check(&engine, &expected);
}

/// More tables than one flip publishes, in a roots tree of several levels.
#[test]
fn the_roots_of_many_tables_move() {
    let options = Options {
        page_bytes: 512,
        ..busy_options()
    };
    let storage = SimStorage::new(SimOptions::disk(512));
    let engine = create(&storage, &options).unwrap();
    let put = |table: u32, key: &[u8], value: &[u8]| {
        while let Err(error) = engine.put(table, key, value, PutOptions::default(), 0) {
            make_room(&engine, error).unwrap();
        }
    };
    for number in 0..4_000_u32 {
        put(16, &number.to_be_bytes(), &[7; 120]);
    }
    drain(&engine).unwrap();
    for table in 17..300 {
        put(table, b"key", &table.to_be_bytes());
    }
    drain(&engine).unwrap();
    let mut transaction = engine.begin(0, Isolation::Snapshot).unwrap();
    engine
        .transaction_delete_range(&mut transaction, 16, b"", None)
        .unwrap();
    let _ = engine.commit(transaction, 0, 0).unwrap();
    drain(&engine).unwrap();
    let before = engine.statistics().store.file_bytes;
    assert!(trim(&engine).unwrap() > 4);
    let after = engine.statistics().store.file_bytes;
    assert!(after * 2 < before, "{after} of {before}");
    assert_eq!(verify(&engine).tables, 283);
    drop(engine);
    let engine = open(&storage.restart(), &options).unwrap();
    for table in 17..300_u32 {
        assert_eq!(
            rows(&engine, table).unwrap()[b"key".as_slice()],
            table.to_be_bytes()
        );
    }
}
