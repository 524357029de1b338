//! Blocks that are mostly dead are evacuated: what lives on is packed, nothing is lost, and
//! it comes to an end.

use super::*;
use lightning_platform::{Codec, IoErrorKind};
use lightning_sim::{CrashMode, Random, TestCodec};
use std::sync::Arc;

/// A device, and how pages are stored on it.
#[derive(Clone, Copy)]
struct Medium {
    sim: SimOptions,
    options: Options,
}

impl Medium {
    /// Four pages share what is erased at once.
    fn flash() -> Self {
        Self {
            sim: SimOptions::flash(256, 4_096, 16 << 20),
            options: Options {
                file_bytes_max: 4 << 20,
                ..busy_options()
            },
        }
    }

    /// A page takes some of its four units, and others the rest of the block.
    fn packed() -> Self {
        Self {
            sim: SimOptions::disk(512),
            options: Options {
                unit_bytes: 256,
                ..busy_options()
            },
        }
    }

    /// Four pages share a sector.
    fn sectors() -> Self {
        Self {
            sim: SimOptions::disk(4_096),
            options: busy_options(),
        }
    }

    fn every() -> [Self; 3] {
        [Self::flash(), Self::packed(), Self::sectors()]
    }

    fn platform(&self, storage: &SimStorage) -> Platform {
        let mut platform = platform(storage).0;
        let codec: Arc<dyn Codec> = Arc::new(TestCodec);
        platform.codec = (self.options.unit_bytes > 0).then_some(codec);
        platform
    }

    fn create(&self, storage: &SimStorage) -> Engine {
        Engine::create(&self.platform(storage), &self.options, input(1)).unwrap()
    }

    fn open(&self, storage: &SimStorage) -> Engine {
        Engine::open(&self.platform(storage), &self.options, input(2)).unwrap()
    }
}

fn put(engine: &Engine, expected: &mut Rows, number: u64, length: usize, seed: u64) {
    let key = std::format!("key{number:05}").into_bytes();
    let mut value = std::vec![number as u8; length];
    // Half of it can be packed.
    Random::new(seed).fill(&mut value[..length / 2]);
    while let Err(error) = engine.put(16, &key, &value, PutOptions::default(), 0) {
        make_room(engine, error).unwrap();
    }
    expected.insert(key, value);
}

/// Fills a table and replaces what is in every third of its leaves or so, some at a time.
fn churn(engine: &Engine, longest: usize) -> Rows {
    let mut expected = Rows::new();
    for number in 0..3_000 {
        put(engine, &mut expected, number, 120, number);
    }
    for number in 0..40 {
        put(engine, &mut expected, 5_000 + number, longest, number);
    }
    drain(engine).unwrap();
    for round in 0..9_u64 {
        for step in 0..40 {
            let number = (step * 71 + round * 1_013) % 3_000;
            put(engine, &mut expected, number, 120, round << 32 | number);
        }
        for step in 0..8 {
            put(
                engine,
                &mut expected,
                5_000 + step * 5 + round % 5,
                longest,
                round,
            );
        }
        drain(engine).unwrap();
    }
    expected
}

/// How the page file's blocks stand.
#[derive(Debug)]
struct Blocks {
    taken: u64,
    /// What all units in use would take.
    packed: u64,
    /// What evacuating would give back.
    gain: u64,
}

fn blocks(engine: &Engine) -> Blocks {
    let mut maintenance = engine.maintenance.try_enter().unwrap();
    let layout = *engine.pager.layout();
    let store = &mut maintenance.store;
    let occupancy = loop {
        if let Some(occupancy) = store.occupancy(&engine.pager).unwrap() {
            break occupancy;
        }
    };
    let used = store.statistics(&layout).used_bytes;
    Blocks {
        taken: occupancy.taken_blocks,
        packed: used.div_ceil(layout.block_bytes as u64),
        gain: occupancy.gain_blocks(&layout),
    }
}

/// Trims until nothing is left to do, which must come.
fn trim(engine: &Engine) -> Result<u32> {
    let mut calls = 0;
    while engine.trim_pages()? {
        calls += 1;
        assert!(calls < 2_000, "it never ends");
    }
    Ok(calls)
}

fn check(engine: &Engine, expected: &Rows) {
    assert!(rows(engine, 16).unwrap() == *expected);
    assert_eq!(verify(engine).leaked_units, 0);
}

#[test]
fn what_is_taken_comes_down_to_what_is_alive() {
    for medium in Medium::every() {
        let storage = SimStorage::new(medium.sim);
        let engine = medium.create(&storage);
        let expected = churn(&engine, 700);
        let before = blocks(&engine);
        trim(&engine).unwrap();
        let after = blocks(&engine);
        // Most blocks are more than half alive.
        assert!(after.taken * 2 < after.packed * 3, "{before:?} {after:?}");
        assert!(after.gain * 4 < before.gain, "{before:?} {after:?}");
        assert!(after.taken * 6 < before.taken * 5, "{before:?} {after:?}");
        assert!(engine.statistics().store.evacuated_pages > 20);
        check(&engine, &expected);
        assert_eq!(trim(&engine).unwrap(), 0, "at rest");
        assert!(storage.violations().is_empty());
        drop(engine);
        let engine = medium.open(&storage.restart());
        check(&engine, &expected);
        // What can't be had is looked for once.
        trim(&engine).unwrap();
        let evacuated = engine.statistics().store.evacuated_pages;
        assert!(evacuated < after.taken / 4, "{evacuated} of {after:?}");
        assert_eq!(trim(&engine).unwrap(), 0, "at rest");
    }
}

/// Where a block is a page there is nothing to evacuate, and nobody looks for it.
#[test]
fn nothing_is_done_where_a_block_is_a_page() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let engine = create(&storage, &busy_options()).unwrap();
    let expected = churn(&engine, 700);
    trim(&engine).unwrap();
    assert_eq!(engine.statistics().store.evacuated_pages, 0);
    let maintenance = engine.maintenance.try_enter().unwrap();
    assert!(!maintenance.store.is_any_counted());
    drop(maintenance);
    check(&engine, &expected);
}

/// Values that share blocks are packed, too, while no merge is under way.
#[test]
fn extents_are_evacuated() {
    for medium in [Medium::flash(), Medium::sectors()] {
        let storage = SimStorage::new(medium.sim);
        let engine = medium.create(&storage);
        let mut expected = Rows::new();
        for number in 0..400 {
            put(&engine, &mut expected, number, 600, number);
        }
        drain(&engine).unwrap();
        let filled = blocks(&engine);
        // Each value takes a page, and four share a block.
        assert!(filled.taken < 150, "{filled:?}");
        for number in 0..400 {
            if number % 4 != 0 {
                put(&engine, &mut expected, number, 10, number);
            }
        }
        drain(&engine).unwrap();
        trim(&engine).unwrap();
        let after = blocks(&engine);
        assert!(after.taken < 50, "{filled:?} {after:?}");
        check(&engine, &expected);
        drop(engine);
        check(&medium.open(&storage.restart()), &expected);
    }
}

/// A snapshot that began before reads what it did, and the blocks wait for it.
#[test]
fn a_snapshot_keeps_what_was_evacuated() {
    for medium in Medium::every() {
        let storage = SimStorage::new(medium.sim);
        let engine = medium.create(&storage);
        let expected = churn(&engine, 700);
        let snapshot = engine.snapshot(0).unwrap();
        let before = blocks(&engine);
        trim(&engine).unwrap();
        let evacuated = engine.statistics().store.evacuated_pages;
        assert!(evacuated > 20, "{evacuated}");
        assert!(rows_of(&engine, &snapshot, 16).unwrap() == expected);
        let mut later = expected.clone();
        for number in 0..40 {
            put(&engine, &mut later, number * 70, 100, 7);
        }
        drain(&engine).unwrap();
        trim(&engine).unwrap();
        assert!(rows_of(&engine, &snapshot, 16).unwrap() == expected);
        assert!(blocks(&engine).taken >= before.taken);
        engine.end(snapshot);
        // What it kept is free with the next flips.
        put(&engine, &mut later, 1, 100, 8);
        drain(&engine).unwrap();
        trim(&engine).unwrap();
        let after = blocks(&engine);
        assert!(after.gain * 16 < after.taken * 3, "{before:?} {after:?}");
        check(&engine, &later);
    }
}

#[test]
fn a_cut_anywhere_loses_nothing() {
    for medium in Medium::every() {
        let start = SimStorage::new(medium.sim);
        let engine = medium.create(&start);
        let expected = churn(&engine, 700);
        drop(engine);
        let start = start.restart();
        let mut cuts = 0;
        for cut in (2..).step_by(3) {
            let storage = start.fork();
            let engine = medium.open(&storage);
            if cut % 2 == 0 {
                storage.cut_after(storage.operation_count() + cut / 2);
            } else {
                storage.cut_during(storage.operation_count() + cut / 2);
            }
            let trimmed = trim(&engine);
            assert!(storage.violations().is_empty());
            for mode in CrashMode::EVERY {
                let image = storage.crash_image(mode, cut);
                let engine = medium.open(&image);
                check(&engine, &expected);
                if cut % 7 == 0 {
                    trim(&engine).unwrap();
                    check(&engine, &expected);
                }
            }
            cuts += 1;
            if storage.has_power() {
                trimmed.unwrap();
                assert!(engine.statistics().store.evacuated_pages > 20);
                break;
            }
        }
        assert!(cuts > 20, "{cuts}");
    }
}

/// Where even reading says that there is no room, what is built can't be given up; that is
/// told, and the next call does it.
#[test]
fn a_failure_at_any_call_is_told_and_does_no_harm() {
    let medium = Medium::flash();
    let start = SimStorage::new(medium.sim);
    let engine = medium.create(&start);
    let expected = churn(&engine, 700);
    drop(engine);
    let start = start.restart();
    for kind in [IoErrorKind::StorageFull, IoErrorKind::Other] {
        for nth in (1..).step_by(5) {
            let storage = start.fork();
            let engine = medium.open(&storage);
            storage.fail_at(storage.call_count() + nth, kind, true);
            let trimmed = trim(&engine);
            let again = trim(&engine);
            for outcome in [&trimmed, &again] {
                assert!(!matches!(outcome, Err(Error::Internal(_))), "{outcome:?}");
            }
            storage.clear_faults();
            if !engine.is_poisoned() {
                // What was left half-way is given up first.
                engine.poll_maintenance(Budgeted::default()).unwrap();
                trim(&engine).unwrap();
                check(&engine, &expected);
            }
            drop(engine);
            check(&medium.open(&storage.restart()), &expected);
            if trimmed.is_ok() && again == Ok(0) {
                break;
            }
        }
    }
}

/// Commits and merges that come between two slices don't end a round.
#[test]
fn writers_come_between_two_slices() {
    for medium in Medium::every() {
        let storage = SimStorage::new(medium.sim);
        let engine = medium.create(&storage);
        let mut expected = churn(&engine, 700);
        let before = engine.statistics().store.evacuated_pages;
        for round in 0..60_u64 {
            let _ = engine.trim_pages().unwrap();
            let length = if round % 5 == 0 { 700 } else { 40 };
            put(&engine, &mut expected, round * 37 % 3_000, length, round);
            if round % 4 == 3 {
                drain(&engine).unwrap();
            }
        }
        drain(&engine).unwrap();
        trim(&engine).unwrap();
        let evacuated = engine.statistics().store.evacuated_pages - before;
        assert!(evacuated > 20, "{evacuated}");
        check(&engine, &expected);
        drop(engine);
        check(&medium.open(&storage.restart()), &expected);
    }
}

/// Updates out of order go on in a file that may have half as much again as what is alive.
#[test]
fn a_file_at_its_limit_gets_room_again() {
    let mut flash = Medium::flash();
    flash.options.file_bytes_max = 1300 << 10;
    let mut packed = Medium::packed();
    packed.options.file_bytes_max = 740 << 10;
    for medium in [flash, packed] {
        let storage = SimStorage::new(medium.sim);
        let engine = medium.create(&storage);
        let mut expected = Rows::new();
        let _ = update_where_full(&engine, &mut expected, 0..9_000, 600);
        check_drained(&medium, &storage, engine, &expected);
    }
}

/// As before, on a device that has no more room than that.
#[test]
fn a_full_device_gets_room_again() {
    let medium = Medium::sectors();
    let storage = SimStorage::new(medium.sim);
    let engine = medium.create(&storage);
    let mut expected = Rows::new();
    let _ = update_where_full(&engine, &mut expected, 0..3_000, 120);
    storage.set_capacity(storage.bytes_used() + (384 << 10));
    let refused = update_where_full(&engine, &mut expected, 3_000..9_000, 120);
    assert!(refused > 0, "it was never full");
    check_drained(&medium, &storage, engine, &expected);
}

fn check_drained(medium: &Medium, storage: &SimStorage, engine: Engine, expected: &Rows) {
    let evacuated = engine.statistics().store.evacuated_pages;
    assert!(evacuated > 100, "{evacuated}");
    engine.flush_step(true).unwrap();
    assert!(rows(&engine, 16).unwrap() == *expected);
    // What merges need is another matter.
    storage.set_capacity(u64::MAX);
    drain(&engine).unwrap();
    check(&engine, expected);
    assert!(storage.violations().is_empty());
    drop(engine);
    check(&medium.open(&storage.restart()), expected);
}

/// Puts values, one in twenty the longest, each of 3,000 keys in turn, and out of order;
/// answers how often there was no room for one, or for maintenance.
fn update_where_full(
    engine: &Engine,
    expected: &mut Rows,
    steps: core::ops::Range<u64>,
    longest: usize,
) -> u32 {
    let mut refused = 0;
    for step in steps {
        let number = if step < 3_000 {
            step
        } else {
            step * 71 % 3_000
        };
        refused += put_where_full(engine, expected, number, longest, step);
        if step % 100 == 0 {
            // Between two slices of a merge, now and then.
            let _ = engine.flush_step(true);
            assert!(rows(engine, 16).unwrap() == *expected);
        }
    }
    refused
}

/// Puts a value where there may be no room; answers how often it, or maintenance, found none.
fn put_where_full(
    engine: &Engine,
    expected: &mut Rows,
    number: u64,
    longest: usize,
    seed: u64,
) -> u32 {
    let key = std::format!("key{number:05}").into_bytes();
    let length = if number.is_multiple_of(20) {
        longest
    } else {
        120
    };
    let mut value = std::vec![number as u8; length];
    Random::new(seed).fill(&mut value[..length / 2]);
    let mut refused = 0;
    for _ in 0..400 {
        match engine.put(16, &key, &value, PutOptions::default(), 0) {
            Ok(_) => {
                expected.insert(key, value);
                return refused;
            }
            Err(Error::FrontFull | Error::LogFull) => {}
            Err(Error::StorageFull) => refused += 1,
            Err(error) => panic!("{error:?}"),
        }
        match engine.flush_step(true) {
            Ok(_) | Err(Error::LogFull) => {}
            Err(error) => panic!("{error:?}"),
        }
        match engine.poll_maintenance(Budgeted::default()) {
            Ok(_) => {}
            Err(error) if super::super::maintain::is_full(&error) => refused += 1,
            Err(error) => panic!("{error:?}"),
        }
    }
    panic!(
        "no room came: {:?} {:?}",
        blocks(engine),
        engine.statistics().store
    );
}
