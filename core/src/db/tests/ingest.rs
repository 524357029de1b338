//! Loads that are committed as a run of their own, beside everything else.

use super::*;
use lightning_sim::{CrashMode, Random};

pub(super) fn push_all(engine: &Engine, load: &mut Ingest<'_>, rows: &Rows) -> Result<()> {
    for (key, value) in rows {
        while let Err(error) = load.push(key, value, PutOptions::default()) {
            go_on(engine, error)?;
        }
    }
    Ok(())
}

pub(super) fn finish(engine: &Engine, load: &mut Ingest<'_>) -> Result<Ticket> {
    for _ in 0..10_000 {
        match load.finish(0) {
            Ok(ticket) => return Ok(ticket),
            Err(error) => go_on(engine, error)?,
        }
    }
    panic!("a load never finds room");
}

/// As `make_room`, but what maintenance owns passes, too.
fn go_on(engine: &Engine, error: Error) -> Result<()> {
    let passes = matches!(error, Error::Busy | Error::FrontFull | Error::LogFull);
    if !passes {
        return Err(error);
    }
    match engine.flush_step(true) {
        Ok(_) | Err(Error::LogFull) => {}
        Err(error) => return Err(error),
    }
    engine.poll_maintenance(Budgeted::default()).map(|_| ())
}

fn name(number: u64) -> Vec<u8> {
    std::format!("key{number:05}").into_bytes()
}

/// Rows with numbers from `first` on, each `step`th, with values that tell the seed.
pub(super) fn some_rows(seed: u64, first: u64, count: u64, longest: u64) -> Rows {
    let mut random = Random::new(seed);
    (0..count)
        .map(|index| {
            let most = if random.below(9) == 0 { longest } else { 40 };
            let mut value = std::vec![0; random.below(most) as usize];
            random.fill(&mut value);
            (name(first + index * 3), value)
        })
        .collect()
}

/// Until the log has room for what comes.
fn settle(engine: &Engine) {
    for _ in 0..4 {
        engine.flush_step(true).unwrap();
        engine.poll_maintenance(Budgeted::default()).unwrap();
    }
}

fn put(engine: &Engine, key: &[u8], value: &[u8]) {
    while let Err(error) = engine.put(16, key, value, PutOptions::default(), 0) {
        make_room(engine, error).unwrap();
    }
}

#[test]
fn a_load_is_there_as_a_whole_beside_everything() {
    for runs in [1, 2, 4] {
        let options = Options {
            runs,
            ..busy_options()
        };
        let storage = SimStorage::new(SimOptions::disk(512));
        let engine = create(&storage, &options).unwrap();
        let mut expected = Rows::new();
        for round in 0..6_u64 {
            for number in 0..60 {
                let key = name(number * 7 % 400);
                let value = std::vec![round as u8; number as usize];
                put(&engine, &key, &value);
                expected.insert(key, value);
            }
            engine.flush_step(true).unwrap();
            let before = engine.snapshot(0).unwrap();
            let rows_before = expected.clone();
            let loaded = some_rows(round, round * 5, 300, 1_400);
            let mut load = engine.begin_ingest(16).unwrap();
            push_all(&engine, &mut load, &loaded).unwrap();
            assert!(rows(&engine, 16).unwrap() == expected, "not before");
            // Others go on.
            put(&engine, b"beside", &[round as u8]);
            let ticket = finish(&engine, &mut load).unwrap();
            drop(load);
            expected.insert(b"beside".to_vec(), std::vec![round as u8]);
            expected.extend(loaded.clone());
            // Later ones win.
            let key = loaded.keys().next().unwrap().clone();
            put(&engine, &key, b"later");
            expected.insert(key, b"later".to_vec());
            engine.flush_step(true).unwrap();
            assert!(engine.is_durable(ticket).unwrap());
            assert!(rows(&engine, 16).unwrap() == expected, "{runs} {round}");
            assert!(rows_of(&engine, &before, 16).unwrap() == rows_before);
            verify(&engine);
            let image = storage.crash_image(CrashMode::Synced, 0);
            let recovered = open(&image, &options).unwrap();
            assert!(rows(&recovered, 16).unwrap() == expected, "recovered");
            verify(&recovered);
            drain(&recovered).unwrap();
            assert!(
                rows(&recovered, 16).unwrap() == expected,
                "recovered, drained"
            );
            assert_eq!(verify(&recovered).leaked_units, 0);
            let read_only = Options {
                read_only: true,
                ..options
            };
            let image = storage.crash_image(CrashMode::Synced, 0);
            let reader = open(&image, &read_only).unwrap();
            assert!(rows(&reader, 16).unwrap() == expected, "read only");
            verify(&reader);
            if round % 3 == 1 {
                drain_beside(&engine);
                assert!(rows(&engine, 16).unwrap() == expected);
            }
            assert!(rows_of(&engine, &before, 16).unwrap() == rows_before);
            engine.end(before);
        }
        drain(&engine).unwrap();
        assert!(rows(&engine, 16).unwrap() == expected);
        let verified = verify(&engine);
        assert_eq!(verified.entries, expected.len() as u64);
        assert_eq!(verified.leaked_units, 0);
        assert!(storage.violations().is_empty());
    }
}

fn drain_beside(engine: &Engine) {
    for _ in 0..60 {
        let _ = engine.drain();
        let _ = engine.flush_step(true);
        engine.poll_maintenance(Budgeted::default()).unwrap();
    }
}

fn get(engine: &Engine, key: &[u8]) -> Option<Vec<u8>> {
    let snapshot = engine.snapshot(0).unwrap();
    let found = {
        let view = engine.view(&snapshot, 16, true).unwrap();
        let value = engine.get(&view, key, true).unwrap();
        value.map(|value| whole(engine, &view, value.stored()))
    };
    engine.end(snapshot);
    found
}

/// What a memtable says that is older than the run, and one that is newer.
#[test]
fn a_pending_run_stands_between_memtables() {
    for filter_bytes in [0, 32] {
        // With so short a filter there is none for so many keys.
        let options = Options {
            filter_bytes,
            ..busy_options()
        };
        let storage = SimStorage::new(SimOptions::disk(512));
        let engine = create(&storage, &options).unwrap();
        let key = |number: u64| name(number * 3);
        for number in 0..40 {
            put(&engine, &key(number), b"older");
        }
        for number in 40..60 {
            put(&engine, &key(number), b"older, alone");
        }
        engine.flush_step(true).unwrap();
        let _ = engine.delete(16, &key(61), 0).unwrap();
        let mut load = engine.begin_ingest(16).unwrap();
        let loaded: Rows = (20..40)
            .chain(61..200)
            .map(|number| (key(number), b"loaded".to_vec()))
            .collect();
        push_all(&engine, &mut load, &loaded).unwrap();
        let _ = finish(&engine, &mut load).unwrap();
        drop(load);
        put(&engine, &key(30), b"newer");
        engine.flush_step(true).unwrap();
        let mut transaction = engine.begin(0, Isolation::Snapshot).unwrap();
        let written =
            engine.transaction_delete_range(&mut transaction, 16, &key(35), Some(&key(38)));
        written.unwrap();
        let _ = engine.commit(transaction, 0, 0).unwrap();
        engine.flush_step(true).unwrap();
        assert!(engine.has_pending_ingest());
        for number in 0..210 {
            let expected = match number {
                30 => Some(&b"newer"[..]),
                35..38 => None,
                0..20 => Some(&b"older"[..]),
                20..40 => Some(&b"loaded"[..]),
                40..60 => Some(&b"older, alone"[..]),
                60 | 200.. => None,
                _ => Some(&b"loaded"[..]),
            };
            let found = get(&engine, &key(number));
            assert_eq!(found.as_deref(), expected, "{number}");
        }
        let before = rows(&engine, 16).unwrap();
        drain(&engine).unwrap();
        assert!(!engine.has_pending_ingest());
        assert!(rows(&engine, 16).unwrap() == before);
        verify(&engine);
    }
}

#[test]
fn a_transaction_conflicts_with_a_load_that_came_between() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let engine = create(&storage, &busy_options()).unwrap();
    let options = PutOptions::default();
    for adopted in [false, true] {
        for isolation in [Isolation::Snapshot, Isolation::Serializable] {
            let begin = || engine.begin(0, isolation).unwrap();
            put(&engine, b"before", b"");
            settle(&engine);
            let (mut same, mut other) = (begin(), begin());
            let (mut range, mut reads) = (begin(), begin());
            let key = name(3);
            let written = engine.transaction_put(&mut same, 16, &key, b"", options);
            written.unwrap();
            let written = engine.transaction_put(&mut other, 16, b"other", b"", options);
            written.unwrap();
            let written = engine.transaction_delete_range(&mut range, 16, &name(0), Some(&name(2)));
            written.unwrap();
            let noted = engine.transaction_note_read(&mut reads, 16, &name(6), Some(&name(9)));
            noted.unwrap();
            let written = engine.transaction_put(&mut reads, 16, b"reads", b"", options);
            written.unwrap();
            let mut load = engine.begin_ingest(16).unwrap();
            push_all(&engine, &mut load, &some_rows(1, 0, 100, 300)).unwrap();
            let ticket = finish(&engine, &mut load).unwrap();
            drop(load);
            if adopted {
                // No further: behind the merge that may follow nobody can tell any more.
                while engine.has_pending_ingest() {
                    engine.flush_step(true).unwrap();
                    engine.poll_maintenance(Budgeted::default()).unwrap();
                }
            }
            let commit = |mut transaction| {
                let mut outcome = engine.try_commit(&mut transaction, 0, 0);
                while let Err(error @ (Error::LogFull | Error::FrontFull)) = outcome {
                    make_room(&engine, error).unwrap();
                    outcome = engine.try_commit(&mut transaction, 0, 0);
                }
                engine.rollback(transaction);
                outcome
            };
            let conflict = commit(same).unwrap_err();
            let named = Error::Conflict {
                table: 16,
                key: crate::error::KeySample::of(&key),
            };
            assert_eq!(conflict, named);
            let conflict = commit(range).unwrap_err();
            assert!(matches!(conflict, Error::Conflict { .. }), "{conflict:?}");
            let outcome = commit(reads);
            match isolation {
                Isolation::Snapshot => assert!(outcome.is_ok(), "{outcome:?}"),
                Isolation::Serializable => {
                    assert!(
                        matches!(outcome, Err(Error::Conflict { .. })),
                        "{outcome:?}"
                    );
                }
            }
            let after = commit(other).unwrap();
            assert!(after > ticket);
            drain(&engine).unwrap();
        }
    }
    verify(&engine);
}

/// The moment between the version that lists a load and the sequence that shows it: who
/// commits then waits for the sequencer, behind the load, and has looked at the runs before.
#[test]
fn a_conflict_with_a_load_that_is_listed_but_not_yet_shown() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let engine = create(&storage, &busy_options()).unwrap();
    put(&engine, b"before", b"");
    settle(&engine);
    let key = name(3);
    let mut transaction = engine.begin(0, Isolation::Snapshot).unwrap();
    engine
        .transaction_put(&mut transaction, 16, &key, b"", PutOptions::default())
        .unwrap();
    let mut load = engine.begin_ingest(16).unwrap();
    push_all(&engine, &mut load, &some_rows(1, 0, 100, 300)).unwrap();
    let ticket = finish(&engine, &mut load).unwrap();
    drop(load);
    transaction.is_committing = true;
    let versions = &engine.front.versions;
    versions.rebase(&engine.pager, &mut transaction.snapshot);
    let before = transaction.sequence();
    assert_eq!(before + 1, ticket.sequence);
    engine.appended.store(before, Ordering::SeqCst);
    let validated = engine.validate_runs(&transaction);
    engine.appended.store(ticket.sequence, Ordering::SeqCst);
    engine.rollback(transaction);
    let named = Error::Conflict {
        table: 16,
        key: crate::error::KeySample::of(&key),
    };
    assert_eq!(validated.err(), Some(named));
}

#[test]
fn one_load_is_written_and_one_pending_at_a_time() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let engine = create(&storage, &busy_options()).unwrap();
    put(&engine, b"before", b"");
    let mut load = engine.begin_ingest(16).unwrap();
    assert_eq!(engine.begin_ingest(17).err(), Some(Error::Busy));
    let options = PutOptions::default();
    load.push(b"b", b"1", options).unwrap();
    let refused = load.push(b"a", b"", options);
    assert!(matches!(refused, Err(Error::NotAscending { .. })));
    let refused = load.push(b"b", b"", options);
    assert!(matches!(refused, Err(Error::NotAscending { .. })));
    let long = std::vec![0; 9_000];
    let refused = load.push(b"c", &long, options);
    assert!(matches!(refused, Err(Error::OverLimit { .. })));
    let refused = load.push(&long, b"", options);
    assert!(matches!(refused, Err(Error::OverLimit { .. })));
    load.push(b"c", b"2", options).unwrap();
    let first = load.finish(0).unwrap();
    assert!(load.finish(0).is_err() && load.push(b"d", b"", options).is_err());
    drop(load);
    let mut load = engine.begin_ingest(17).unwrap();
    load.push(b"b", b"3", options).unwrap();
    assert_eq!(
        load.finish(0).err(),
        Some(Error::Busy),
        "the first is pending"
    );
    let second = finish(&engine, &mut load).unwrap();
    assert!(second > first);
    drop(load);
    // One without entries is no commit.
    let mut load = engine.begin_ingest(18).unwrap();
    assert_eq!(load.finish(0).unwrap(), second);
    drop(load);
    drain(&engine).unwrap();
    assert_eq!(rows(&engine, 16).unwrap().len(), 3);
    assert_eq!(rows(&engine, 17).unwrap()[b"b".as_slice()], b"3");
    verify(&engine);
    let without = Options {
        runs: 0,
        ..busy_options()
    };
    let engine = open(&storage.restart(), &without).unwrap();
    assert!(!engine.can_ingest());
    assert!(matches!(engine.begin_ingest(16), Err(Error::Options(_))));
}

#[test]
fn a_load_that_does_not_fit_leaves_nothing() {
    let options = Options {
        file_bytes_max: 1 << 20,
        ..busy_options()
    };
    let storage = SimStorage::new(SimOptions::disk(512));
    let engine = create(&storage, &options).unwrap();
    put(&engine, b"before", b"");
    for _ in 0..4 {
        let mut load = engine.begin_ingest(16).unwrap();
        let pushed = push_all(&engine, &mut load, &some_rows(1, 0, 40_000, 300));
        assert_eq!(pushed, Err(Error::StorageFull));
        assert!(load.finish(0).is_err());
        // Others find no room either, until it is gone.
        drop(load);
        put(&engine, b"after", b"");
        drain(&engine).unwrap();
        assert_eq!(rows(&engine, 16).unwrap().len(), 2);
        verify(&engine);
    }
    let loaded = some_rows(2, 0, 1_000, 300);
    let mut load = engine.begin_ingest(16).unwrap();
    push_all(&engine, &mut load, &loaded).unwrap();
    let _ = finish(&engine, &mut load).unwrap();
    drop(load);
    drain(&engine).unwrap();
    assert_eq!(rows(&engine, 16).unwrap().len(), 1_002);
    verify(&engine);
}

/// Loads one after another, each of many parts, among commits: more runs than may stand.
#[test]
fn loads_go_on_where_places_for_runs_are_few() {
    for runs in [1, 6] {
        let options = Options {
            runs,
            memtables: 2,
            ..busy_options()
        };
        let storage = SimStorage::new(SimOptions::disk(512));
        let engine = create(&storage, &options).unwrap();
        let mut expected = Rows::new();
        let mut held = Vec::new();
        for round in 0..24_u64 {
            for number in 0..20 {
                let key = std::format!("commit{number}").into_bytes();
                put(&engine, &key, &round.to_le_bytes());
                expected.insert(key, round.to_le_bytes().to_vec());
            }
            let count = if round % 8 == 0 { 4_000 } else { 30 };
            let loaded = some_rows(round, round, count, 300);
            let mut load = engine.begin_ingest(16).unwrap();
            push_all(&engine, &mut load, &loaded).unwrap();
            let _ = finish(&engine, &mut load).unwrap();
            drop(load);
            expected.extend(loaded);
            engine.flush_step(true).unwrap();
            if round % 9 == 0 {
                held.push((engine.snapshot(0).unwrap(), expected.clone()));
            }
            assert!(rows(&engine, 16).unwrap() == expected);
        }
        for (snapshot, rows) in held {
            assert!(rows_of(&engine, &snapshot, 16).unwrap() == rows);
            engine.end(snapshot);
        }
        drain(&engine).unwrap();
        assert!(rows(&engine, 16).unwrap() == expected);
        verify(&engine);
    }
}

/// Snapshots may read every slot of a run: then a load waits for them, and is whole when
/// they have gone.
#[test]
fn a_load_waits_where_snapshots_read_every_slot() {
    let options = Options {
        runs: 6,
        snapshots: 5,
        ..busy_options()
    };
    let storage = SimStorage::new(SimOptions::disk(512));
    let engine = create(&storage, &options).unwrap();
    let mut held = Vec::new();
    let mut expected = Rows::new();
    for round in 0..200_u64 {
        let loaded = some_rows(round, round, 4, 300);
        let mut load = engine.begin_ingest(16).unwrap();
        push_all(&engine, &mut load, &loaded).unwrap();
        let mut waits = 0;
        while let Err(error) = load.finish(0) {
            go_on(&engine, error).unwrap();
            waits += 1;
            if waits == 500 {
                // It holds no commit up meanwhile.
                put(&engine, b"beside", &round.to_le_bytes());
                expected.insert(b"beside".to_vec(), round.to_le_bytes().to_vec());
                engine.flush_step(true).unwrap();
                assert!(rows(&engine, 16).unwrap() == expected);
                for (snapshot, rows) in held.drain(..) {
                    assert!(rows_of(&engine, &snapshot, 16).unwrap() == rows);
                    engine.end(snapshot);
                }
            }
            assert!(waits < 1_000, "it waits for ever");
        }
        drop(load);
        expected.extend(loaded);
        engine.flush_step(true).unwrap();
        assert!(rows(&engine, 16).unwrap() == expected);
        if waits >= 500 {
            drain(&engine).unwrap();
            assert!(rows(&engine, 16).unwrap() == expected);
            verify(&engine);
            return;
        }
        if round % 6 == 5 && held.len() < 4 {
            held.push((engine.snapshot(0).unwrap(), expected.clone()));
        }
    }
    panic!("every slot was never taken");
}

#[test]
fn entries_of_a_load_expire_and_carry_metadata() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let engine = create(&storage, &busy_options()).unwrap();
    put(&engine, b"before", b"");
    let mut load = engine.begin_ingest(16).unwrap();
    for number in 0..50_u64 {
        let options = PutOptions {
            expiry_ms: number.is_multiple_of(2).then_some(2_000),
            metadata: number.is_multiple_of(3).then_some(number as u8),
        };
        load.push(&name(number), b"value", options).unwrap();
    }
    let _ = finish(&engine, &mut load).unwrap();
    drop(load);
    engine.flush_step(true).unwrap();
    for drained in [false, true] {
        if drained {
            drain(&engine).unwrap();
        }
        for (now_ms, count) in [(1_999, 51), (2_000, 26)] {
            let snapshot = engine.snapshot(now_ms).unwrap();
            let view = engine.view(&snapshot, 16, true).unwrap();
            let mut cursor = engine.cursor(&view, true).unwrap();
            cursor.seek(CursorPosition::First).unwrap();
            let mut found = 0;
            while cursor.entry().is_some() {
                found += 1;
                cursor.advance().unwrap();
            }
            assert_eq!(found, count);
            let value = engine.get(&view, &name(9), true).unwrap().unwrap();
            assert_eq!((value.metadata(), value.expiry_ms()), (Some(9), None));
            drop((cursor, value));
            engine.end(snapshot);
        }
    }
    assert!(engine.sweep(3_000).unwrap().worked);
    assert_eq!(rows(&engine, 16).unwrap().len(), 26);
}

/// The last place in the catalogue is promised to a run that is being made.
#[test]
fn a_load_takes_no_place_of_a_run_that_is_being_made() {
    let options = Options {
        runs: 6,
        memtables: 4,
        memtable_bytes: 6 << 10,
        ..busy_options()
    };
    let storage = SimStorage::new(SimOptions::disk(512));
    let engine = create(&storage, &options).unwrap();
    let mut expected = Rows::new();
    let loaded = some_rows(1, 0, 200, 300);
    let mut load = engine.begin_ingest(16).unwrap();
    push_all(&engine, &mut load, &loaded).unwrap();
    let mut has_met = false;
    let mut ticket = None;
    for number in 0..20_000_u64 {
        let key = std::format!("{:05}", number * 7_919 % 4_000).into_bytes();
        let value = std::vec![number as u8; 40];
        while engine
            .put(16, &key, &value, PutOptions::default(), 0)
            .is_err()
        {
            // As slowly as can be, so that runs pile up above a merge.
            engine.flush_step(true).unwrap();
            let small = Budgeted {
                entries: 1,
                log_bytes: 8_192,
            };
            engine.poll_maintenance(small).unwrap();
            let (places, is_making) = {
                let maintenance = engine.maintenance.try_enter().unwrap();
                let is_making = matches!(maintenance.work, Some(maintain::Work::MakeRun(_)));
                (maintenance.store.runs().count(), is_making)
            };
            if ticket.is_none() && is_making && places + 1 == crate::limits::RUNS_MAX {
                has_met = true;
                let outcome = load.finish(0);
                assert_eq!(outcome.err(), Some(Error::Busy));
            }
            if ticket.is_none() && has_met && places + 2 <= crate::limits::RUNS_MAX {
                ticket = load.finish(0).ok();
                if ticket.is_some() {
                    expected.extend(loaded.clone());
                }
            }
            let sources = engine.current_version().sources;
            assert!(sources.runs().count() <= crate::limits::RUNS_MAX);
        }
        expected.insert(key, value);
        if ticket.is_some() && number % 64 == 0 {
            engine.flush_step(true).unwrap();
            assert!(rows(&engine, 16).unwrap() == expected);
        }
    }
    assert!(has_met && ticket.is_some());
    drop(load);
    drain(&engine).unwrap();
    assert!(rows(&engine, 16).unwrap() == expected);
    verify(&engine);
}

/// Finishing again after it was told to wait is as if it had not been: entries may even
/// come in between.
#[test]
fn a_load_that_was_told_to_wait_is_finished_again() {
    let options = Options {
        filter_bytes: 16 << 10,
        ..busy_options()
    };
    let storage = SimStorage::new(SimOptions::disk(512));
    let engine = create(&storage, &options).unwrap();
    put(&engine, b"before", b"");
    let mut expected = Rows::new();
    // A page each: so that some load ends where its units do.
    for count in 1..120_u64 {
        let loaded: Rows = (0..count)
            .map(|number| (name(number), std::vec![count as u8; 600]))
            .collect();
        let mut load = engine.begin_ingest(16).unwrap();
        push_all(&engine, &mut load, &loaded).unwrap();
        let mut last = name(count);
        for _ in 0..3 {
            let maintenance = engine.maintenance.try_enter().unwrap();
            assert_eq!(load.finish(0).err(), Some(Error::Busy));
            let pushed = load.push(&last, b"late", PutOptions::default());
            drop(maintenance);
            if pushed.is_ok() {
                expected.insert(last.clone(), b"late".to_vec());
                last.push(b'x');
            }
        }
        let _ = finish(&engine, &mut load).unwrap();
        drop(load);
        expected.extend(loaded);
        engine.flush_step(true).unwrap();
        for (key, value) in &expected {
            assert!(get(&engine, key).as_ref() == Some(value), "{count}");
        }
    }
    drain(&engine).unwrap();
    verify(&engine);
}
