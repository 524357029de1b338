//! Maintenance waits for traversals before it relies on what they can't see any more.

use super::*;
use crate::sync::Ordering;

fn step(engine: &Engine) {
    let budget = Budgeted {
        entries: 1,
        log_bytes: 0,
    };
    engine.poll_maintenance(budget).unwrap();
}

/// A traversal may be between reading the watermark and registering its snapshot: no run
/// is written before it ended, since the versions that the snapshot needs aren't known.
#[test]
fn a_run_waits_for_the_traversals_before_it() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let engine = create(&storage, &busy_options()).unwrap();
    put_number(&engine, 1, 0);
    assert!(engine.freeze_front().unwrap());
    engine.flush_step(true).unwrap();
    let traversal = engine.pager.enter();
    for _ in 0..50 {
        step(&engine);
    }
    assert_eq!(engine.statistics().runs, 0);
    drop(traversal);
    for _ in 0..50 {
        step(&engine);
    }
    assert_eq!(engine.statistics().runs, 1);
}

/// A traversal may be inside a memtable that was just exchanged for its run.
#[test]
fn an_exchanged_memtable_waits_for_the_traversals_inside_it() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let engine = create(&storage, &busy_options()).unwrap();
    for number in 0..20 {
        put_number(&engine, number, 0);
    }
    let index = engine.sequencer.lock().active;
    let state = || {
        let slot = engine.front.memtable(index).unwrap();
        slot.state.load(Ordering::Acquire)
    };
    assert!(engine.freeze_front().unwrap());
    engine.flush_step(true).unwrap();
    // The first step sets memory aside, the second begins to write.
    step(&engine);
    step(&engine);
    let traversal = engine.pager.enter();
    for _ in 0..100 {
        step(&engine);
    }
    assert_eq!(engine.statistics().runs, 1);
    assert_eq!(state(), STATE_MERGED);
    drop(traversal);
    step(&engine);
    assert_eq!(state(), STATE_FREE);
}
