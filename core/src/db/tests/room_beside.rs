//! Little room on the device: enough for a merge, and not for the next segment of the log.

use super::*;

/// A durable put; maintenance has its steps before it is refused.
fn put_durably(engine: &Engine, number: u64) -> Result<()> {
    let mut refusal = Error::StorageFull;
    for _ in 0..400 {
        let (key, put) = (number.to_be_bytes(), PutOptions::default());
        match engine.put(16, &key, &[7; 100], put, 0) {
            Ok(_) => return engine.flush_step(true).map(|_| ()),
            Err(error) => refusal = error,
        }
        let _failed = engine.poll_maintenance(Budgeted {
            entries: 16,
            log_bytes: 16 << 10,
        });
        let _refused = engine.flush_step(true);
    }
    Err(refusal)
}

#[test]
fn the_next_segment_leaves_the_merge_its_room() {
    for runs in [0, 4] {
        let storage = SimStorage::new(SimOptions::disk(4_096));
        let options = Options {
            segment_bytes: 512 << 10,
            memtable_bytes: 256 << 10,
            runs,
            ..busy_options()
        };
        let engine = create(&storage, &options).unwrap();
        for number in 0..500 {
            if number == 100 {
                // A segment of the usual length takes 512 KiB, what is in the log less
                // than 20 in a tree, and the log has short segments to give back then.
                storage.set_capacity(storage.bytes_used() + (440 << 10));
            }
            let put = put_durably(&engine, number);
            assert_eq!(put, Ok(()), "runs {runs}, commit {number}");
        }
        assert_eq!(rows(&engine, 16).unwrap().len(), 500);
    }
}
