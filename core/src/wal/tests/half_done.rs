//! Calls that fail and have been done all the same, whole or in part.

use super::*;
use lightning_sim::CallFailure;

/// Slots are made, given back, emptied and made again, twice; each step is tried once more
/// where it fails. False where a write or a sync failed that poisons.
fn slots_come_and_go(storage: &SimStorage) -> bool {
    let Ok(mut writer) = cuts::GROWING.create(storage) else {
        return false;
    };
    let mut failed = 0;
    let mut step = |outcome: Result<()>| {
        failed += u32::from(outcome.is_err());
        assert!(failed < 2, "one failed call, two failed steps: {outcome:?}");
        outcome
    };
    for _ in 0..2 {
        for wanted in [3, 2] {
            while step(prepare(&mut writer, wanted)).is_err() {}
            while step(writer.trim(wanted - 2).map(|_| ())).is_err() {}
        }
        while step(prepare(&mut writer, 3)).is_err() {}
        let _ = step(writer.shorten_free(0).map(|_| ()));
        while step(prepare(&mut writer, 3)).is_err() {}
        // Each segment is full after a few.
        for _ in 0..6 {
            while writer.slots().ready_slots() > 0
                && let Err(error) = flush(&mut writer, 1, 0, true)
            {
                if writer.begin_flush(0) == Err(Error::Poisoned) {
                    return false;
                }
                let _ = step(Err(error));
            }
        }
    }
    let last = writer.last_sequence();
    drop(writer);
    storage.clear_faults();
    let (commits, _) = cuts::GROWING.reopen(storage, FRESH).unwrap();
    assert!(commits == expected(last, 0));
    true
}

#[test]
fn a_slot_is_what_it_is_found_to_be_after_a_call_that_failed() {
    for sim in [SimOptions::disk(512), SimOptions::flash(16, 1024, 1 << 20)] {
        let storage = SimStorage::new(sim);
        storage.set_tracing(true);
        assert!(slots_come_and_go(&storage));
        let mut worked_on = 0;
        for (call, line) in (1..).zip(storage.trace()) {
            // What a failed sync makes of a slot is told elsewhere.
            if line.contains(": Sync") {
                continue;
            }
            for seed in 0..6 {
                let storage = SimStorage::new(sim);
                let failure = CallFailure::short(IoErrorKind::Device, seed);
                storage.fail_at(call, failure, false);
                worked_on += u32::from(slots_come_and_go(&storage));
                assert_eq!(
                    storage.violations(),
                    Vec::<std::string::String>::new(),
                    "call {call}, seed {seed}"
                );
            }
        }
        assert!(worked_on > 100, "{worked_on}");
    }
}
