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

/// A change of segment makes durable what was frozen, and takes the wish for a sync with it:
/// every commit from then on would wake maintenance for nothing.
#[test]
fn nothing_wants_a_sync_when_a_change_of_segment_was_one() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let options = Options {
        durability: Durability::Written,
        ..busy_options()
    };
    let engine = create(&storage, &options).unwrap();
    put_number(&engine, 1, 0);
    assert!(engine.freeze_front().unwrap());
    let frozen = engine.statistics().appended_sequence;
    assert!(engine.wants_sync());
    let mut number = 2;
    while engine.statistics().durable_sequence < frozen {
        put_number(&engine, number, 0);
        number += 1;
        match engine.flush_step(false) {
            Ok(_) => {}
            Err(error) => assert_eq!(error, Error::LogFull),
        }
        engine.poll_maintenance(Budgeted::default()).unwrap();
        assert!(number < 5_000, "no segment was changed");
    }
    while engine.poll_maintenance(Budgeted::default()).unwrap().worked {}
    assert_eq!(engine.statistics().frozen_memtables, 0);
    assert!(!engine.wants_sync());
}
