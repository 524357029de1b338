//! The power goes, or a call fails, while values that are larger than a transaction are on
//! their way: nothing acknowledged is lost, and no room is lost or given out twice.

use super::ingest::{finish, push_all, some_rows};
use super::streams::{content, put_stream, stream};
use super::*;
use lightning_platform::IoErrorKind;
use lightning_sim::{CrashMode, Random};

#[derive(Clone)]
pub(super) enum Step {
    Stream(Vec<u8>, u64, usize),
    Put(Vec<(Vec<u8>, Vec<u8>)>),
    DeleteTo(Vec<u8>, Vec<u8>),
    /// Written, and dropped or rolled back.
    Lost(u64, bool),
    /// Written, finished and put with calls that trim between.
    StreamOverTrims(Vec<u8>, u64, usize),
    Trim(usize),
    Drain,
    /// So many entries from a number on, of a seed, as one load.
    Ingest(u64, u64, u64),
    /// As much of one as a number says, and dropped.
    LostIngest(u64, u64),
}

pub(super) fn name(number: u64) -> Vec<u8> {
    std::format!("key{number:03}").into_bytes()
}

/// A few keys have large values, and stand among many others, so that a merge takes
/// several slices.
fn script(seed: u64, count: usize) -> Vec<Step> {
    let mut random = Random::new(seed);
    (0..count)
        .map(|_| match random.below(10) {
            0..4 => {
                let length = 1 + random.below(7_000) as usize;
                Step::Stream(name(20 * random.below(12)), random.next_u64(), length)
            }
            4..8 => {
                let mut put = |_| {
                    let length = random.below(115) as usize;
                    (name(random.below(240)), content(random.next_u64(), length))
                };
                Step::Put((0..6).map(&mut put).collect())
            }
            8 => {
                let first = random.below(240);
                Step::DeleteTo(name(first), name(first + 1 + random.below(40)))
            }
            _ => Step::Lost(random.next_u64(), random.below(2) > 0),
        })
        .collect()
}

pub(super) fn states(script: &[Step]) -> Vec<Rows> {
    let mut states = std::vec![Rows::new()];
    for step in script {
        let mut rows = states.last().unwrap().clone();
        match step {
            Step::Stream(key, seed, length) | Step::StreamOverTrims(key, seed, length) => {
                rows.insert(key.clone(), content(*seed, *length));
            }
            Step::Put(changes) => rows.extend(changes.iter().cloned()),
            Step::Ingest(seed, first, count) => rows.extend(loaded(*seed, *first, *count)),
            Step::DeleteTo(from, to) => rows.retain(|found, _| found < from || found >= to),
            Step::Lost(..) | Step::Trim(_) | Step::Drain | Step::LostIngest(..) => continue,
        }
        states.push(rows);
    }
    states
}

/// What a load holds: keys among those of the other steps.
fn loaded(seed: u64, first: u64, count: u64) -> Rows {
    let rows = some_rows(seed, first, count, 650);
    let numbers = (first..).step_by(3);
    numbers
        .zip(rows)
        .map(|(at, row)| (name(at), row.1))
        .collect()
}

/// Gives room back as long as there is something to do, up to `calls` times.
pub(super) fn trim(engine: &Engine, calls: usize) -> Result<()> {
    for call in 0..calls {
        match engine.trim_pages() {
            Ok(true) => assert!(call < 1_000, "it never ends"),
            // What is being built comes first.
            Ok(false) | Err(Error::Busy) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn play_step(engine: &Engine, number: usize, step: &Step) -> Result<bool> {
    let put = PutOptions::default();
    match step {
        Step::Stream(key, seed, length) if number.is_multiple_of(2) => {
            put_stream(engine, key, &content(*seed, *length))?;
        }
        Step::Stream(key, seed, length) => {
            let bytes = content(*seed, *length);
            let mut value = stream(engine, &bytes, *length as u64 + 1_000)?;
            // What is built meanwhile is published without it.
            engine.poll_maintenance(Budgeted {
                entries: 6,
                log_bytes: 8_192,
            })?;
            commit(engine, |transaction| {
                engine.transaction_put_value(transaction, key, &mut value, put)
            })?;
        }
        Step::StreamOverTrims(key, seed, length) => {
            let bytes = content(*seed, *length);
            let (first, second) = bytes.split_at(length / 2);
            let mut writer = engine.begin_value(16, *length as u64 + 2_000);
            while let Err(error) = writer {
                make_room(engine, error)?;
                writer = engine.begin_value(16, *length as u64 + 2_000);
            }
            let mut writer = writer?;
            writer.write(first)?;
            trim(engine, 3)?;
            writer.write(second)?;
            trim(engine, 3)?;
            let mut value = writer.finish()?;
            trim(engine, 5)?;
            commit(engine, |transaction| {
                engine.transaction_put_value(transaction, key, &mut value, put)
            })?;
            trim(engine, 5)?;
        }
        Step::Trim(calls) => {
            trim(engine, *calls)?;
            return Ok(false);
        }
        Step::Drain => {
            drain(engine)?;
            return Ok(false);
        }
        Step::Put(changes) => commit(engine, |transaction| {
            changes.iter().try_for_each(|(key, value)| {
                engine.transaction_put(transaction, 16, key, value, put)
            })
        })?,
        Step::DeleteTo(from, to) => commit(engine, |transaction| {
            engine.transaction_delete_range(transaction, 16, from, Some(to))
        })?,
        Step::Ingest(seed, first, count) => {
            let rows = loaded(*seed, *first, *count);
            let later = rows.keys().nth(rows.len() / 2).cloned().unwrap_or_default();
            let mut rest = rows;
            let second = rest.split_off(&later);
            let mut load = engine.begin_ingest(16)?;
            push_all(engine, &mut load, &rest)?;
            // What is built meanwhile is published without it.
            engine.poll_maintenance(Budgeted {
                entries: 6,
                log_bytes: 8_192,
            })?;
            push_all(engine, &mut load, &second)?;
            let _ = finish(engine, &mut load)?;
        }
        Step::LostIngest(seed, count) => {
            let mut load = engine.begin_ingest(16)?;
            push_all(engine, &mut load, &loaded(*seed, 0, *count))?;
            return Ok(false);
        }
        Step::Lost(seed, is_put) => {
            let mut value = stream(engine, &content(*seed, 5_000), 5_000)?;
            if *is_put {
                let mut transaction = engine.begin(0, Isolation::Snapshot)?;
                let written =
                    engine.transaction_put_value(&mut transaction, b"lost", &mut value, put);
                engine.rollback(transaction);
                written?;
            }
            return Ok(false);
        }
    }
    Ok(true)
}

fn commit(engine: &Engine, change: impl FnOnce(&mut Transaction) -> Result<()>) -> Result<()> {
    let mut transaction = engine.begin(0, Isolation::Snapshot)?;
    let mut outcome = change(&mut transaction);
    while outcome.is_ok() {
        match engine.try_commit(&mut transaction, 0, 0) {
            Ok(_) => break,
            Err(error) => outcome = make_room(engine, error),
        }
    }
    engine.rollback(transaction);
    outcome
}

/// Answers how many commits were acknowledged.
pub(super) fn play(engine: &Engine, script: &[Step]) -> usize {
    let mut acknowledged = 0;
    let mut appended = 0;
    let _ = (|| -> Result<()> {
        for (number, step) in script.iter().enumerate() {
            appended += usize::from(play_step(engine, number, step)?);
            if number % 3 != 1 {
                engine.flush_step(true)?;
                acknowledged = appended;
            }
            engine.poll_maintenance(Budgeted {
                entries: 6,
                log_bytes: 8_192,
            })?;
            if number % 16 == 15 {
                engine
                    .freeze_front()
                    .map(drop)
                    .or_else(|error| make_room(engine, error))?;
            }
        }
        engine.flush_step(true)?;
        acknowledged = appended;
        drain(engine)
    })();
    acknowledged
}

fn check_image(
    image: &SimStorage,
    options: &Options,
    states: &[Rows],
    acknowledged: usize,
    case: &str,
) -> usize {
    let (engine, last) = super::crash::check_image(image, options, states, acknowledged, case);
    verify(&engine);
    // What only the log names yet is neither punched nor cut off.
    trim(&engine, usize::MAX).unwrap_or_else(|error| panic!("{case}: {error}"));
    let found = rows(&engine, 16).unwrap_or_else(|error| panic!("{case}: {error}"));
    assert!(found == states[last], "{case}: after trimming");
    verify(&engine);
    // It goes on from there, and nothing is lost or in use by nobody when all is merged.
    for number in 0..3_u64 {
        let key = name(number * 60);
        put_stream(&engine, &key, &content(number, 3_000))
            .unwrap_or_else(|error| panic!("{case}: {error}"));
    }
    drain(&engine).unwrap_or_else(|error| panic!("{case}: {error}"));
    let after = rows(&engine, 16).unwrap_or_else(|error| panic!("{case}: {error}"));
    let mut expected = states[last].clone();
    for number in 0..3_u64 {
        let key = name(number * 60);
        expected.insert(key, content(number, 3_000));
    }
    assert!(after == expected, "{case}: after draining");
    verify(&engine);
    trim(&engine, usize::MAX).unwrap_or_else(|error| panic!("{case}: {error}"));
    assert!(
        rows(&engine, 16).unwrap() == expected,
        "{case}: after draining and trimming"
    );
    verify(&engine);
    last
}

fn cut_everywhere(sim: SimOptions, options: &Options, seed: u64, commits: usize, stride: u64) {
    cut_script(sim, options, &script(seed, commits), seed, stride);
}

pub(super) fn cut_script(
    sim: SimOptions,
    options: &Options,
    script: &[Step],
    seed: u64,
    stride: u64,
) {
    let states = states(script);
    let base = SimStorage::new(sim);
    drop(create(&base, options).unwrap());
    let base = base.restart();
    let mut images = 0;
    let mut cut = 1 + seed % stride;
    loop {
        let storage = base.fork();
        if cut.is_multiple_of(2) {
            storage.cut_after(storage.operation_count() + cut);
        } else {
            storage.cut_during(storage.operation_count() + cut);
        }
        let acknowledged = match open(&storage, options) {
            Ok(engine) => play(&engine, script),
            Err(_) => 0,
        };
        assert!(
            storage.violations().is_empty(),
            "{:?}",
            storage.violations()
        );
        for (index, mode) in CrashMode::EVERY.into_iter().enumerate() {
            let case = std::format!("seed {seed} cut {cut} {mode:?}");
            let image = || storage.crash_image(mode, cut * 31 + index as u64);
            // Opened under other options, too: runs and memtables are others then.
            let other = Options {
                runs: if options.runs == 0 { 2 } else { 0 },
                ..*options
            };
            let opened = if cut.is_multiple_of(3) {
                &other
            } else {
                options
            };
            let last = check_image(&image(), opened, &states, acknowledged, &case);
            // Recovery and the merges after it are cut off, too, and again.
            let again = image();
            again.cut_after(1 + cut % 23);
            if let Ok(engine) = open(&again, options) {
                let _ = trim(&engine, usize::MAX);
                let _ = drain(&engine);
            }
            let image = again.crash_image(CrashMode::Random, cut);
            image.cut_after(1 + cut % 41);
            if let Ok(engine) = open(&image, opened) {
                let _ = drain(&engine);
                let _ = trim(&engine, usize::MAX);
            }
            let image = image.crash_image(CrashMode::Random, cut + 1);
            let case = std::format!("{case}, recovery cut");
            check_image(&image, options, &states, last, &case);
            images += 2;
        }
        if storage.has_power() {
            assert_eq!(acknowledged + 1, states.len(), "it came to its end");
            break;
        }
        cut += stride;
    }
    assert!(images > 100, "{images}");
}

#[test]
fn a_power_cut_anywhere_around_streamed_values() {
    cut_everywhere(SimOptions::disk(512), &busy_options(), 1, 80, 13);
    let options = Options {
        runs: 2,
        memtable_bytes: 5 << 10,
        transaction_bytes: 1 << 10,
        value_bytes_max: 700,
        slice_bytes_min: 1 << 10,
        ..busy_options()
    };
    cut_everywhere(SimOptions::disk(512), &options, 2, 80, 17);
}

/// A merge that was cut off is repeated with other memtables than it began with: what the
/// trees have of them then is known to the last flip only.
#[test]
fn a_power_cut_anywhere_between_slices_of_a_memtable() {
    let options = Options {
        runs: 0,
        page_bytes: 512,
        memtable_bytes: 10 << 10,
        transaction_bytes: 1 << 10,
        value_bytes_max: 700,
        slice_bytes_min: 1 << 10,
        ..busy_options()
    };
    for seed in [44, 47] {
        cut_everywhere(SimOptions::disk(512), &options, seed, 120, 5);
    }
}

#[test]
fn a_power_cut_anywhere_where_the_generation_has_gone_on_unpublished() {
    let options = Options {
        page_bytes: 512,
        memtable_bytes: 8 << 10,
        transaction_bytes: 1 << 10,
        value_bytes_max: 700,
        slice_bytes_min: 1 << 10,
        ..busy_options()
    };
    cut_everywhere(SimOptions::disk(512), &options, 42, 60, 5);
}

#[test]
fn a_power_cut_anywhere_around_streamed_values_without_runs() {
    let options = Options {
        runs: 0,
        page_bytes: 512,
        value_bytes_max: 700,
        slice_bytes_min: 1 << 10,
        ..busy_options()
    };
    cut_everywhere(SimOptions::disk(512), &options, 3, 80, 13);
    let options = Options {
        runs: 0,
        file_bytes_max: 4 << 20,
        ..busy_options()
    };
    let flash = SimOptions::flash(256, 4_096, 16 << 20);
    cut_everywhere(flash, &options, 4, 60, 17);
}

/// One call to the storage fails: what was said to be done is done, whether the engine
/// goes on or has to be opened again.
fn fail_everywhere(options: &Options, seed: u64, steps: usize, stride: u64) {
    fail_script(options, &script(seed, steps), seed, stride);
}

pub(super) fn fail_script(options: &Options, script: &[Step], seed: u64, stride: u64) {
    let base = SimStorage::new(SimOptions::disk(512));
    drop(create(&base, options).unwrap());
    let base = base.restart();
    let (mut poisoned, mut went_on) = (0, 0);
    for call in (seed % stride..).step_by(stride as usize) {
        let storage = base.fork();
        let engine = open(&storage, options).unwrap();
        let calls = storage.call_count();
        let kind = [IoErrorKind::StorageFull, IoErrorKind::Device][call as usize % 2];
        storage.fail_at(calls + call, kind, false);
        let mut applied = Vec::new();
        let mut acknowledged = 0;
        for (number, step) in script.iter().enumerate() {
            if let Ok(true) = play_step(&engine, number, step) {
                applied.push(step.clone());
            }
            if engine.flush_step(true).is_ok() {
                acknowledged = applied.len();
            }
            let _ = engine.poll_maintenance(Budgeted {
                entries: 6,
                log_bytes: 8_192,
            });
            if number % 8 == 7 {
                let _ = engine.freeze_front();
            }
            if engine.is_poisoned() {
                break;
            }
        }
        let case = std::format!("seed {seed} call {call} {kind:?}");
        let states = states(&applied);
        // It may be this that fails.
        let _ = drain(&engine);
        if storage.call_count() < calls + call {
            break;
        }
        if engine.is_poisoned() {
            poisoned += 1;
        } else {
            went_on += 1;
            drain(&engine).unwrap_or_else(|error| panic!("{case}: {error}"));
            assert!(
                rows(&engine, 16).unwrap() == *states.last().unwrap(),
                "{case}"
            );
            verify(&engine);
            acknowledged = applied.len();
        }
        drop(engine);
        let image = storage.crash_image(CrashMode::Synced, call);
        check_image(&image, options, &states, acknowledged, &case);
    }
    assert!(poisoned > 5 && went_on > 5, "{poisoned} {went_on}");
}

#[test]
fn a_failing_call_around_streamed_values_loses_nothing() {
    fail_everywhere(&busy_options(), 1, 60, 7);
    let options = Options {
        runs: 0,
        page_bytes: 512,
        value_bytes_max: 700,
        slice_bytes_min: 1 << 10,
        ..busy_options()
    };
    fail_everywhere(&options, 2, 60, 7);
}
