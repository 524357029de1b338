//! Merges say whether they have time.

use super::*;

const STEP: Budgeted = Budgeted {
    entries: 2,
    log_bytes: 64 << 10,
};

/// Puts until the memtable is full that takes them.
fn fill(engine: &Engine, from: u32) -> u32 {
    let frozen = engine.statistics().frozen_memtables;
    let mut number = from;
    while engine.statistics().frozen_memtables == frozen {
        put_number(engine, number, 0);
        number += 1;
    }
    engine.flush_step(true).unwrap();
    number
}

#[test]
fn a_run_has_time_as_long_as_the_next_memtable_is_not_half_full() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let options = Options {
        runs: 2,
        memtables: 3,
        ..busy_options()
    };
    let engine = create(&storage, &options).unwrap();
    let mut number = fill(&engine, 0);
    let count = number;
    // The writing begins when nobody is near from before.
    while !engine.poll_maintenance(STEP).unwrap().has_time {}
    for _ in 0..4 {
        assert!(engine.poll_maintenance(STEP).unwrap().has_time);
    }
    let half = number + count / 2;
    while number < half {
        put_number(&engine, number, 0);
        number += 1;
    }
    engine.flush_step(true).unwrap();
    assert!(!engine.poll_maintenance(STEP).unwrap().has_time);
    // Without writers it catches up, and a run is whole before it is merged.
    let mut steps = 0;
    while !engine.poll_maintenance(STEP).unwrap().has_time {
        steps += 1;
        assert!(steps < count);
    }
    assert!(steps > 4);
    drain(&engine).unwrap();
    // Where memtables wait there is none.
    let number = fill(&engine, number);
    fill(&engine, number);
    assert!(!engine.poll_maintenance(STEP).unwrap().has_time);
    drain(&engine).unwrap();
    verify(&engine);
}
