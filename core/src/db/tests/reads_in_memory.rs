//! Reads that may not wait for the storage: they answer from memory, or say that they would
//! have to read, and read nothing.

use super::*;

fn options() -> Options {
    Options {
        runs: 6,
        cache_bytes: 1 << 20,
        ..busy_options()
    }
}

/// A tree of several levels, runs, and a memtable; nothing of it is in memory.
fn cold() -> SimStorage {
    let storage = SimStorage::new(SimOptions::disk(512));
    let engine = create(&storage, &options()).unwrap();
    for number in 0..1_500 {
        put_number(&engine, number, 0);
    }
    drain(&engine).unwrap();
    for round in 1..3 {
        for number in (round..1_500).step_by(37) {
            put_number(&engine, number, round);
        }
        engine.freeze_front().unwrap();
        engine.flush_step(true).unwrap();
        while engine.statistics().frozen_memtables > 0 {
            engine.poll_maintenance(Budgeted::default()).unwrap();
        }
    }
    put_number(&engine, 700, 3);
    engine.flush_step(true).unwrap();
    drop(engine);
    storage.restart()
}

fn loads(engine: &Engine) -> u64 {
    engine.statistics().frames.loads
}

#[test]
fn a_lookup_says_where_it_would_read() {
    let engine = open(&cold(), &options()).unwrap();
    let snapshot = engine.snapshot(0).unwrap();
    let before = loads(&engine);
    let (mut refused, mut answered) = (0, 0);
    for number in (0..1_500).step_by(50).chain([700]) {
        let key = std::format!("key{number:05}").into_bytes();
        let get = |may_read| {
            let view = engine.view(&snapshot, 16, may_read)?;
            let found = engine.get(&view, &key, may_read)?;
            Ok(found.map(|value| whole(&engine, &view, value.stored())))
        };
        let before = loads(&engine);
        let first = get(false);
        assert_eq!(loads(&engine), before, "it read");
        match &first {
            Err(Error::WouldRead) => refused += 1,
            Err(error) => panic!("{error}"),
            Ok(_) => answered += 1,
        }
        let found = get(true).unwrap();
        assert!(found.is_some());
        assert_eq!(get(false), Ok(found.clone()), "all of it is in memory now");
        if first.is_ok() {
            assert_eq!(first, Ok(found));
        }
    }
    assert!(refused > 10 && answered > 0, "{refused} {answered}");
    assert!(loads(&engine) > before);
    engine.end(snapshot);
}

/// Keys forwards, or backwards, from a position; and the error that ended it.
fn walk(
    engine: &Engine,
    snapshot: &Snapshot,
    may_read: bool,
    position: CursorPosition<'_>,
    forward: bool,
) -> (Vec<Vec<u8>>, Option<Error>) {
    let mut keys = Vec::new();
    let outcome = (|| {
        let view = engine.view(snapshot, 16, may_read)?;
        let mut cursor = engine.cursor(&view, may_read)?;
        cursor.seek(position)?;
        while cursor.is_valid() {
            keys.push(cursor.key().to_vec());
            if forward {
                cursor.advance()?;
            } else {
                cursor.retreat()?;
            }
        }
        Ok(())
    })();
    (keys, outcome.err())
}

#[test]
fn a_walk_says_where_it_would_read() {
    let engine = open(&cold(), &options()).unwrap();
    let snapshot = engine.snapshot(0).unwrap();
    let ways = [
        (CursorPosition::First, true),
        (CursorPosition::AtOrAfter(b"key00500"), true),
        (CursorPosition::Last, false),
        (CursorPosition::Before(b"key00900"), false),
    ];
    for (position, forward) in ways {
        let before = loads(&engine);
        let (part, error) = walk(&engine, &snapshot, false, position, forward);
        assert_eq!(loads(&engine), before, "it read");
        let (all, none) = walk(&engine, &snapshot, true, position, forward);
        assert_eq!(none, None);
        if let Some(error) = error {
            assert_eq!(error, Error::WouldRead);
            assert_eq!(part, all[..part.len()]);
        } else {
            assert_eq!(part, all);
        }
        // All that it needs is in memory now.
        let (again, error) = walk(&engine, &snapshot, false, position, forward);
        assert_eq!((again, error), (all, None));
    }
    engine.end(snapshot);
}

/// What a commit that is tried again would read may be gone.
#[test]
fn a_transaction_that_commits_is_not_read_any_more() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let engine = create(&storage, &busy_options()).unwrap();
    let mut transaction = engine.begin(0, Isolation::Snapshot).unwrap();
    let put = PutOptions::default();
    engine
        .transaction_put(&mut transaction, 16, b"key", b"mine", put)
        .unwrap();
    let found = |transaction: &Transaction| {
        let view = engine.transaction_view(transaction, 16, true)?;
        let found = engine.get(&view, b"key", true)?;
        Ok::<_, Error>(found.map(|value| whole(&engine, &view, value.stored())))
    };
    assert_eq!(found(&transaction), Ok(Some(b"mine".to_vec())));
    let _ = engine.put(16, b"key", b"theirs", put, 0).unwrap();
    let outcome = engine.try_commit(&mut transaction, 0, 0);
    assert!(matches!(outcome, Err(Error::Conflict { .. })));
    assert_eq!(found(&transaction), Err(Error::TransactionTooOld));
    engine.rollback(transaction);
}

/// Asking for memory reads nothing from storage, whether all of it, some or none is there,
/// and has no part in what lookups find; the keys are in the tree, in runs, in memtables, or
/// nowhere, and those of more than one round.
#[test]
fn asking_for_memory_reads_nothing_and_changes_nothing() {
    let engine = open(&cold(), &options()).unwrap();
    let snapshot = engine.snapshot(0).unwrap();
    let names: Vec<Vec<u8>> = (0..1_500)
        .step_by(7)
        .chain([700, 1_500, 1_501])
        .map(|number| std::format!("key{number:05}").into_bytes())
        .collect();
    let keys: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
    let view = engine.view(&snapshot, 16, true).unwrap();
    let get = |key: &[u8]| {
        let found = engine.get(&view, key, true).unwrap();
        found.map(|value| whole(&engine, &view, value.stored()))
    };
    let ask = || {
        let before = loads(&engine);
        engine.prefetch(&view, &[]);
        for chunk in [1, 15, 16, 17, 40] {
            keys.chunks(chunk)
                .for_each(|keys| engine.prefetch(&view, keys));
        }
        assert_eq!(loads(&engine), before, "it read");
    };
    ask();
    let first: Vec<_> = keys.iter().map(|key| get(key)).collect();
    assert!(first.iter().filter(|value| value.is_some()).count() > 200);
    assert!(first.iter().rev().take(2).all(Option::is_none));
    ask();
    let second: Vec<_> = keys.iter().map(|key| get(key)).collect();
    assert!(first == second);
    engine.end(snapshot);
}
