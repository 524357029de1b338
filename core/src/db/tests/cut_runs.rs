//! Runs that are being merged get shorter with each slice: for whom, and cut off everywhere.

use super::*;
use lightning_sim::{CrashMode, Random};

const KEYS: u32 = 2_000;

fn key(number: u32) -> Vec<u8> {
    std::format!("key{number:05}").into_bytes()
}

fn put(engine: &Engine, expected: &mut Rows, number: u32, value: &[u8]) {
    while let Err(error) = engine.put(16, &key(number), value, PutOptions::default(), 0) {
        make_room(engine, error).unwrap();
    }
    expected.insert(key(number), value.to_vec());
}

fn delete(engine: &Engine, expected: &mut Rows, number: u32) {
    while let Err(error) = engine.delete(16, &key(number), 0) {
        make_room(engine, error).unwrap();
    }
    expected.remove(&key(number));
}

/// Trees of many slices, and what stands in them.
fn filled(options: &Options) -> (SimStorage, Engine, Rows) {
    let storage = SimStorage::new(SimOptions::disk(512));
    let engine = create(&storage, options).unwrap();
    let mut expected = Rows::new();
    for number in 0..KEYS {
        put(&engine, &mut expected, number, &[1; 100]);
    }
    drain(&engine).unwrap();
    (storage, engine, expected)
}

/// Writes all over the table until runs are being merged.
fn write_until_merging(engine: &Engine, expected: &mut Rows, random: &mut Random) {
    while merging(engine) == 0 {
        let number = random.below(u64::from(KEYS)) as u32;
        match random.below(4) {
            0 => delete(engine, expected, number),
            _ => put(engine, expected, number, &[random.below(256) as u8; 90]),
        }
        // A merge is due with runs that are large beside the trees.
        if engine.statistics().frozen_memtables > 0 {
            engine.flush_step(true).unwrap();
            engine.poll_maintenance(Budgeted::default()).unwrap();
        }
    }
    engine.flush_step(true).unwrap();
}

fn merging(engine: &Engine) -> usize {
    let maintenance = engine.maintenance.try_enter().unwrap();
    maintenance.store.runs().merging()
}

fn run_entries(engine: &Engine) -> u64 {
    let maintenance = engine.maintenance.try_enter().unwrap();
    let runs = maintenance.store.runs().iter();
    runs.take(maintenance.store.runs().merging())
        .map(|run| run.entries)
        .sum()
}

/// Does maintenance until the merge has ended, calling `at` after each slice.
fn merge_on(engine: &Engine, mut at: impl FnMut(&Engine)) {
    let mut flips = 0;
    while merging(engine) > 0 {
        let progress = engine.poll_maintenance(Budgeted::default()).unwrap();
        assert!(progress.worked);
        let statistics = engine.statistics().store;
        if statistics.flips != flips {
            flips = statistics.flips;
            at(engine);
        }
    }
}

#[test]
fn what_is_in_the_trees_leaves_the_runs_with_each_slice() {
    let (storage, engine, mut expected) = filled(&busy_options());
    let mut random = Random::new(1);
    write_until_merging(&engine, &mut expected, &mut random);
    let mut entries = std::vec![run_entries(&engine)];
    let snapshot = engine.snapshot(0).unwrap();
    let seen = expected.clone();
    merge_on(&engine, |engine| {
        entries.push(run_entries(engine));
        assert_eq!(rows(engine, 16).unwrap(), expected);
        verify(engine);
    });
    assert!(entries.len() > 4, "{entries:?}");
    assert!(
        entries.is_sorted_by(|one, other| one > other),
        "{entries:?}"
    );
    // One that began meanwhile has the slots and pages of then.
    assert_eq!(rows_of(&engine, &snapshot, 16).unwrap(), seen);
    engine.end(snapshot);
    drain(&engine).unwrap();
    assert_eq!(rows(&engine, 16).unwrap(), expected);
    verify(&engine);
    assert!(storage.violations().is_empty());
    // Slots and filters come back, however often it is done.
    for round in 2..40 {
        let mut random = Random::new(round);
        write_until_merging(&engine, &mut expected, &mut random);
        merge_on(&engine, |_| {});
    }
    drain(&engine).unwrap();
    assert_eq!(rows(&engine, 16).unwrap(), expected);
    let open = engine.front.runs.open_slots().count();
    assert_eq!(open, 0, "slots are left");
}

/// Nothing would be free before it ends.
#[test]
fn a_snapshot_from_before_keeps_the_runs_whole() {
    let (_storage, engine, mut expected) = filled(&busy_options());
    let mut random = Random::new(3);
    let snapshot = engine.snapshot(0).unwrap();
    let seen = expected.clone();
    write_until_merging(&engine, &mut expected, &mut random);
    let entries = run_entries(&engine);
    let mut slices = 0;
    merge_on(&engine, |engine| {
        let left = run_entries(engine);
        assert!(left == entries || left == 0, "{left} of {entries}");
        assert_eq!(rows_of(engine, &snapshot, 16).unwrap(), seen);
        assert_eq!(rows(engine, 16).unwrap(), expected);
        slices += 1;
    });
    assert!(slices > 4, "{slices}");
    engine.end(snapshot);
    verify(&engine);
}

/// A transaction that began before is never told that nothing was changed, wherever a merge
/// of what was changed stands.
#[test]
fn a_conflict_is_found_wherever_the_merge_stands() {
    for slices in 0..6 {
        let (_storage, engine, mut expected) = filled(&busy_options());
        let mut random = Random::new(4);
        let options = PutOptions::default();
        let changed: Vec<u32> = (0..40).map(|step| step * 50).collect();
        let mut transactions = Vec::new();
        for number in [0, 500, 1_950] {
            let mut transaction = engine.begin(0, Isolation::Snapshot).unwrap();
            let name = key(number);
            engine
                .transaction_put(&mut transaction, 16, &name, b"mine", options)
                .unwrap();
            transactions.push(transaction);
        }
        for number in &changed {
            put(&engine, &mut expected, *number, b"theirs");
        }
        write_until_merging(&engine, &mut expected, &mut random);
        for _ in 0..slices {
            let flips = engine.statistics().store.flips;
            while engine.statistics().store.flips == flips && merging(&engine) > 0 {
                engine.poll_maintenance(Budgeted::default()).unwrap();
            }
        }
        for transaction in transactions {
            let outcome = engine.commit(transaction, 0, 0);
            assert!(
                matches!(
                    outcome,
                    Err(Error::Conflict { .. } | Error::TransactionTooOld)
                ),
                "{outcome:?}"
            );
        }
    }
}

#[test]
fn a_cut_anywhere_in_a_merge_loses_nothing() {
    let options = busy_options();
    let (storage, engine, mut expected) = filled(&options);
    let mut random = Random::new(5);
    write_until_merging(&engine, &mut expected, &mut random);
    // A slice further, so that the runs are cut already.
    let flips = engine.statistics().store.flips;
    while engine.statistics().store.flips < flips + 2 {
        engine.poll_maintenance(Budgeted::default()).unwrap();
    }
    assert!(merging(&engine) > 0);
    drop(engine);
    let start = storage.restart();
    let mut cuts = 0;
    for cut in 2.. {
        let storage = start.fork();
        let engine = open(&storage, &options).unwrap();
        assert!(merging(&engine) > 0, "the same runs are merged again");
        let at = storage.operation_count() + 3 * cut / 2;
        if cut % 2 == 0 {
            storage.cut_after(at);
        } else {
            storage.cut_during(at);
        }
        let merged = drain(&engine);
        assert!(storage.violations().is_empty());
        for mode in CrashMode::EVERY {
            let engine = open(&storage.crash_image(mode, cut), &options).unwrap();
            assert_eq!(rows(&engine, 16).unwrap(), expected);
            verify(&engine);
            drain(&engine).unwrap();
            assert_eq!(rows(&engine, 16).unwrap(), expected);
        }
        cuts += 1;
        if storage.has_power() {
            merged.unwrap();
            break;
        }
    }
    assert!(cuts > 50, "{cuts}");
}

/// What merges leave behind is given back to the device while commits come: no call says
/// that they have paused.
#[test]
fn space_is_given_back_without_a_pause() {
    let options = busy_options();
    let (storage, engine, mut expected) = filled(&options);
    // The log is not what this is about.
    let page_bytes = || storage.bytes_used() - engine.statistics().log_file_bytes;
    while engine.trim_pages().unwrap() {}
    let before = page_bytes();
    let mut random = Random::new(6);
    for _ in 0..4 {
        write_until_merging(&engine, &mut expected, &mut random);
        merge_on(&engine, |_| {});
        let most = page_bytes();
        while engine.poll_maintenance(Budgeted::default()).unwrap().worked {}
        let after = page_bytes();
        assert!(after < most, "{after} of {most}");
        assert!(after < before * 5 / 4, "{after}, and {before} before");
        put(&engine, &mut expected, 0, b"one more");
    }
    // The cuts of a power failure find it like any other state.
    for mode in CrashMode::EVERY {
        let engine = open(&storage.crash_image(mode, 7), &options).unwrap();
        verify(&engine);
    }
    assert_eq!(
        engine.poll_maintenance(Budgeted::default()),
        Ok(Progress::default())
    );
}

/// Memtables that wait to be runs slow writers down as those will.
#[test]
fn full_memtables_count_as_runs_where_space_is_short() {
    let storage = SimStorage::new(SimOptions::disk(512));
    // A run counts by what was written of it, in whole buffers.
    let options = Options {
        write_buffer_bytes: 1 << 10,
        ..busy_options()
    };
    let engine = create(&storage, &options).unwrap();
    for number in 0..1_100 {
        put_number(&engine, number, 0);
    }
    drain(&engine).unwrap();
    let store = engine.statistics().store;
    let trees = store.used_bytes - store.pending_bytes;
    assert!(trees >= 5 * u64::from(options.memtable_bytes), "{trees}");
    let freeze = |round| {
        for number in 0..40 {
            put_number(&engine, number * 20 + round, round);
        }
        assert!(engine.freeze_front().unwrap());
    };
    for round in 1..=2 {
        freeze(round);
        engine.flush_step(true).unwrap();
        while engine.statistics().runs < round {
            engine.poll_maintenance(Budgeted::default()).unwrap();
        }
    }
    while engine.poll_maintenance(Budgeted::default()).unwrap().worked {}
    assert_eq!(engine.front_room(), None, "two small runs");
    freeze(3);
    freeze(4);
    let room = engine.front_room().unwrap();
    let whole = u64::from(options.memtable_bytes) / 2;
    assert!(room.space_bytes.unwrap() < whole, "{room:?}");
    engine.flush_step(true).unwrap();
    while engine.poll_maintenance(Budgeted::default()).unwrap().worked {}
    let room = engine.front_room();
    assert_eq!(room.and_then(|room| room.space_bytes), None);
}
