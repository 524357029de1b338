//! No slot is left for a run: old snapshots read them all.

use super::*;

/// Makes the active memtable a run.
fn make_run(engine: &Engine) {
    assert!(engine.freeze_front().unwrap());
    engine.flush_step(true).unwrap();
    while engine.statistics().frozen_memtables > 0 {
        engine.poll_maintenance(Budgeted::default()).unwrap();
    }
}

/// A memtable that finds no slot is merged by itself, and a snapshot that lists it goes on
/// reading it. A newer memtable that becomes a run later stays newer for that snapshot.
#[test]
fn a_run_never_stands_before_an_older_memtable() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let options = Options {
        runs: 6,
        snapshots: 6,
        ..busy_options()
    };
    let engine = create(&storage, &options).unwrap();
    for number in 0..2_000 {
        put_number(&engine, number, 0);
    }
    drain(&engine).unwrap();
    let slots = engine.front.runs.plan().slots;
    let mut held = Vec::new();
    let mut round = 1;
    while engine.front.runs.open_slots().count() < slots {
        let left = slots - engine.front.runs.open_slots().count();
        for _ in 1..left.min(6) {
            put_number(&engine, 1, round);
            make_run(&engine);
            round += 1;
        }
        put_number(&engine, 1, round);
        engine.flush_step(true).unwrap();
        held.push(engine.snapshot(0).unwrap());
        drain(&engine).unwrap();
    }
    put_number(&engine, 1, 1_000);
    put_number(&engine, 2, 1_000);
    engine.freeze_front().unwrap();
    put_number(&engine, 1, 1_001);
    engine.flush_step(true).unwrap();
    let snapshot = engine.snapshot(0).unwrap();
    let expected = rows_of(&engine, &snapshot, 16).unwrap();
    while engine.statistics().frozen_memtables > 0 {
        engine.poll_maintenance(Budgeted::default()).unwrap();
    }
    assert_eq!(engine.statistics().runs, 0, "it was merged by itself");
    engine.end(held.pop().unwrap());
    put_number(&engine, 2, 1_001);
    make_run(&engine);
    assert_eq!(engine.statistics().runs, 1);
    assert_eq!(rows_of(&engine, &snapshot, 16).unwrap(), expected);
    let view = engine.view(&snapshot, 16, true).unwrap();
    for (key, value) in &expected {
        let found = engine.get(&view, key, true).unwrap().unwrap();
        assert_eq!(whole(&engine, &view, found.stored()), *value);
    }
    for snapshot in held {
        engine.end(snapshot);
    }
    engine.end(snapshot);
    drain(&engine).unwrap();
    verify(&engine);
}
