//! Helpers read the leaves of a merge of runs before it comes to them.

use super::*;

const ROWS: u32 = 3_000;
const STEP: u32 = 10;

/// A tree, and two runs that change every tenth of its rows; nothing is in memory.
fn with_runs() -> (SimStorage, Options) {
    let storage = SimStorage::new(SimOptions::disk(512));
    let options = Options {
        runs: 6,
        cache_bytes: 1 << 20,
        ..busy_options()
    };
    let engine = create(&storage, &options).unwrap();
    let put = PutOptions::default();
    let mut load = engine.begin_load(FIRST_USER_TABLE).unwrap();
    for number in 0..ROWS {
        load.push(&number.to_be_bytes(), &[7; 60], put).unwrap();
    }
    load.finish().unwrap();
    for half in 0..2 {
        for number in (0..ROWS).step_by(STEP as usize).skip(half).step_by(2) {
            let key = number.to_be_bytes();
            while let Err(error) = engine.put(FIRST_USER_TABLE, &key, b"new", put, 0) {
                make_room(&engine, error).unwrap();
            }
        }
        engine.freeze_front().unwrap();
        engine.flush_step(true).unwrap();
        while engine.statistics().frozen_memtables > 0 {
            engine.poll_maintenance(Budgeted::default()).unwrap();
        }
    }
    assert!(engine.statistics().runs >= 2);
    drop(engine);
    (storage.restart(), options)
}

/// Begins the merge of all runs, and answers its place.
fn begin_merge(engine: &Engine, place_bytes: &mut [u8]) -> MergePlace {
    assert_eq!(engine.merge_place(place_bytes), None, "no merge began");
    engine.drain().unwrap();
    for _ in 0..100 {
        let budget = Budgeted {
            entries: 1,
            log_bytes: 0,
        };
        engine.poll_maintenance(budget).unwrap();
        if let Some(place) = engine.merge_place(place_bytes) {
            return place;
        }
    }
    panic!("no merge of runs begins");
}

fn loads(engine: &Engine) -> u64 {
    engine.statistics().frames.loads
}

/// Pages that come into memory while the merge does the next entries: those that it reads,
/// and the new ones.
fn merge_some(engine: &Engine) -> u64 {
    let before = loads(engine);
    for _ in 0..5 {
        let budget = Budgeted {
            entries: 20,
            log_bytes: 0,
        };
        engine.poll_maintenance(budget).unwrap();
    }
    loads(engine) - before
}

#[test]
fn a_merge_finds_in_memory_what_its_helpers_have_read() {
    let (storage, options) = with_runs();
    let alone = open(&storage.fork(), &options).unwrap();
    let engine = open(&storage, &options).unwrap();
    let mut start_bytes = std::vec![0; engine.merge_place_bytes()];
    begin_merge(&alone, &mut start_bytes);
    let start = begin_merge(&engine, &mut start_bytes);
    {
        let _taken = engine.maintenance.try_enter().unwrap();
        assert_eq!(engine.merge_place(&mut start_bytes.clone()), None);
    }
    let mut keys = std::vec![0; engine.read_ahead_bytes()];
    let mut ends = Vec::new();
    let mut leaves = 0;
    for index in 0..2 {
        let (mut place, mut bytes) = (start, start_bytes.clone());
        let share = Share { index, of: 2 };
        let before = loads(&engine);
        let done = engine
            .read_ahead_of_merge(&mut place, (&mut bytes, &mut keys), share, 128)
            .unwrap();
        assert_eq!(done.keys, 128);
        assert!(done.leaves > 20, "{done:?}");
        assert!(loads(&engine) - before >= done.leaves);
        leaves += done.leaves;
        assert!(place.is_farther(&bytes, &start, &start_bytes));
        assert!(!start.is_farther(&start_bytes, &place, &bytes));
        assert!(!place.is_farther(&bytes, &place, &bytes));
        ends.push((place, bytes));
    }
    // Each went through all keys, whichever of them were its own.
    assert_eq!(ends[0], ends[1]);
    // 128 keys, ten rows apart, stand in about as many leaves as hold these rows.
    assert!(leaves > 60 && leaves <= 130, "{leaves}");
    let one = Share { index: 0, of: 1 };
    let (mut place, mut bytes) = (start, start_bytes.clone());
    let again = engine
        .read_ahead_of_merge(&mut place, (&mut bytes, &mut keys), one, 128)
        .unwrap();
    let nothing = ReadAhead {
        keys: 128,
        leaves: 0,
    };
    assert_eq!(again, nothing, "all of them are in memory");
    let (mut to_end, mut end_bytes) = (start, start_bytes.clone());
    let all = engine
        .read_ahead_of_merge(&mut to_end, (&mut end_bytes, &mut keys), one, 1_000)
        .unwrap();
    // All but what was merged before.
    assert!((290..=300).contains(&all.keys), "{all:?}");
    let (unhelped, helped) = (merge_some(&alone), merge_some(&engine));
    assert!(helped + 40 < unhelped, "{helped} of {unhelped}");
    // To the end: fewer keys than asked for, and none behind them.
    let rest = engine
        .read_ahead_of_merge(&mut place, (&mut bytes, &mut keys), one, 1_000)
        .unwrap();
    assert_eq!(rest.keys, all.keys - 128);
    drain(&alone).unwrap();
    drain(&engine).unwrap();
    assert_eq!(engine.merge_place(&mut bytes), None, "it has ended");
    // A place of a merge that has ended leads nowhere, and harms nothing.
    let late = engine
        .read_ahead_of_merge(&mut place, (&mut bytes, &mut keys), one, 100)
        .unwrap();
    assert_eq!(late, ReadAhead::default());
    assert_eq!(rows(&engine, 16).unwrap(), rows(&alone, 16).unwrap());
    verify(&engine);
}

#[test]
fn a_helper_meets_what_a_merge_would_meet() {
    let (storage, options) = with_runs();
    let engine = open(&storage, &options).unwrap();
    let mut bytes = std::vec![0; engine.merge_place_bytes()];
    let mut place = begin_merge(&engine, &mut bytes);
    let mut keys = std::vec![0; engine.read_ahead_bytes()];
    let one = Share { index: 0, of: 1 };
    let pages = lightning_platform::File::Pages;
    storage.fail_reads(pages, 0, u64::MAX, lightning_platform::IoErrorKind::Device);
    let failed = engine.read_ahead_of_merge(&mut place, (&mut bytes, &mut keys), one, 100);
    assert!(matches!(failed, Err(Error::Io { .. })), "{failed:?}");
    storage.clear_faults();
    // The snapshot of the call is closed: as many fit as were planned.
    let snapshots: Vec<_> = (0..options.snapshots)
        .map_while(|_| engine.snapshot(0).ok())
        .collect();
    let full = engine.read_ahead_of_merge(&mut place, (&mut bytes, &mut keys), one, 100);
    assert!(matches!(full, Err(Error::OverLimit { .. })), "{full:?}");
    assert!(snapshots.len() as u32 >= options.snapshots - 1);
    for snapshot in snapshots {
        engine.end(snapshot);
    }
    let done = engine.read_ahead_of_merge(&mut place, (&mut bytes, &mut keys), one, 100);
    assert_eq!(done.unwrap().keys, 100);
}
