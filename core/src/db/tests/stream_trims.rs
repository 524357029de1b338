//! Room is given back and the end of the file moves while values that are larger than a
//! transaction are on their way: what only the log or a transaction names of the file is
//! neither punched nor cut off, and what moved is whole.

use super::stream_faults::{Step, cut_script, name, play, states, trim};
use super::streams::{content, put_stream, stream};
use super::*;
use lightning_sim::{CrashMode, Random};

/// The file grows, most of it is deleted, and what is left at its end moves, while more
/// values come.
fn script(seed: u64) -> Vec<Step> {
    let mut random = Random::new(seed);
    let mut steps = Vec::new();
    let large = |random: &mut Random, key: u64, most: u64| {
        let length = 1 + random.below(most) as usize;
        Step::Stream(name(key), random.next_u64(), length)
    };
    for round in 0..3 {
        for number in 0..14 {
            steps.push(large(&mut random, number, 40_000));
            let value = content(random.next_u64(), 80);
            let put = |number| (name(number), value.clone());
            steps.push(Step::Put((20 * number..20 * number + 6).map(put).collect()));
        }
        if random.below(2) > 0 {
            steps.push(Step::Drain);
        }
        let last = name(12 + random.below(2));
        steps.push(Step::DeleteTo(name(0), last));
        if round != 1 {
            steps.push(Step::Drain);
        }
        for _ in 0..6 {
            let key = 7 * random.below(40);
            let length = 1 + random.below(9_000) as usize;
            steps.push(match random.below(6) {
                0 => large(&mut random, key, 9_000),
                1 => Step::Lost(random.next_u64(), random.below(2) > 0),
                2 => Step::Drain,
                _ => Step::StreamOverTrims(name(key), random.next_u64(), length),
            });
            steps.push(Step::Trim(1 + random.below(12) as usize));
        }
    }
    steps
}

fn tight(runs: u32) -> Options {
    Options {
        runs,
        memtable_bytes: 5 << 10,
        transaction_bytes: 1 << 10,
        value_bytes_max: 700,
        slice_bytes_min: 1 << 10,
        ..busy_options()
    }
}

#[test]
fn a_power_cut_anywhere_while_values_come_and_the_file_gets_shorter() {
    for (runs, seed) in [(0, 1), (2, 2), (0, 3), (2, 4)] {
        let options = tight(runs);
        let script = script(seed);
        // Without a cut, something moves and is cut off.
        let storage = SimStorage::new(SimOptions::disk(512));
        let engine = create(&storage, &options).unwrap();
        let mut largest = 0;
        for step in script.chunks(5) {
            play(&engine, step);
            largest = largest.max(engine.statistics().store.file_bytes);
        }
        trim(&engine, usize::MAX).unwrap();
        let after = engine.statistics().store.file_bytes;
        assert!(after * 2 < largest, "{after} of {largest}");
        assert!(rows(&engine, 16).unwrap() == *states(&script).last().unwrap());
        verify(&engine);
        cut_script(SimOptions::disk(512), &options, &script, seed, 31);
    }
}

/// Values of more than one group of units stay where they are, others move, and both are
/// read afterwards; what is deleted is given up once.
#[test]
fn values_of_several_groups_stay_and_others_move() {
    let options = Options {
        page_bytes: 512,
        value_bytes_max: 700,
        ..busy_options()
    };
    let storage = SimStorage::new(SimOptions::disk(512));
    let engine = create(&storage, &options).unwrap();
    let group_bytes = 8 * (512 - 96) * 512;
    let long = content(1, group_bytes * 3 / 2);
    let mut expected = Rows::new();
    put_stream(&engine, b"before", &content(2, 2 * group_bytes)).unwrap();
    put_stream(&engine, b"long", &long).unwrap();
    put_stream(&engine, b"short", &long[..90_000]).unwrap();
    expected.insert(b"long".to_vec(), long.clone());
    expected.insert(b"short".to_vec(), long[..90_000].to_vec());
    drain(&engine).unwrap();
    let before = engine.statistics().store.file_bytes;
    let _ = engine.delete(16, b"before", 0).unwrap();
    drain(&engine).unwrap();
    trim(&engine, usize::MAX).unwrap();
    assert!(rows(&engine, 16).unwrap() == expected);
    verify(&engine);
    let middle = engine.statistics().store.file_bytes;
    assert!(middle < before, "the short one moved: {middle} of {before}");
    // When the long one is gone, what is left behind it moves, too.
    put_stream(&engine, b"last", &long[..70_000]).unwrap();
    expected.insert(b"last".to_vec(), long[..70_000].to_vec());
    drain(&engine).unwrap();
    let _ = engine.delete(16, b"long", 0).unwrap();
    expected.remove(b"long".as_slice());
    drain(&engine).unwrap();
    trim(&engine, usize::MAX).unwrap();
    let after = engine.statistics().store.file_bytes;
    assert!(after < 2 * group_bytes as u64, "{after} of {middle}");
    assert!(rows(&engine, 16).unwrap() == expected);
    verify(&engine);
    let image = storage.crash_image(CrashMode::Synced, 0);
    assert!(rows(&open(&image, &options).unwrap(), 16).unwrap() == expected);
    assert!(storage.violations().is_empty());
}

/// What expires is given up once, by a sweep or by the merge after it.
#[test]
fn values_that_expire_are_swept_once() {
    for runs in [0, 2] {
        let options = tight(runs);
        let storage = SimStorage::new(SimOptions::disk(512));
        let engine = create(&storage, &options).unwrap();
        let mut expected = Rows::new();
        for number in 0..60_u64 {
            let bytes = content(number, 3_000);
            let mut value = stream(&engine, &bytes, 3_000).unwrap();
            let put = PutOptions {
                expiry_ms: (number % 3 > 0).then_some(5_000 + number),
                ..PutOptions::default()
            };
            while let Err(error) = engine.put_value(&name(number), &mut value, put, 0) {
                make_room(&engine, error).unwrap();
            }
            if put.expiry_ms.is_none() {
                expected.insert(name(number), bytes);
            }
            if number % 9 == 0 {
                // Also while the log names values that the trees have.
                let _ = engine.sweep(5_000 + number / 2);
                let _ = engine.trim_pages();
            }
            if number % 20 == 19 {
                drain(&engine).unwrap();
            }
        }
        engine.flush_step(true).unwrap();
        let image = storage.crash_image(CrashMode::Synced, 0);
        for engine in [engine, open(&image, &options).unwrap()] {
            drain(&engine).unwrap();
            while engine.sweep(10_000).unwrap().worked {}
            trim(&engine, usize::MAX).unwrap();
            assert!(rows(&engine, 16).unwrap() == expected);
            verify(&engine);
            let used = engine.statistics().store.used_bytes;
            assert!(used < 120_000, "{used}");
        }
        assert!(storage.violations().is_empty());
    }
}
