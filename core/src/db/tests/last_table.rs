//! The highest table id there is: nothing comes after it.

use super::*;

/// A range delete to the end of the last table comes to an end.
#[test]
fn a_range_to_the_end_of_the_last_table_is_merged() {
    for runs in [0, 2] {
        let storage = SimStorage::new(SimOptions::disk(512));
        let options = Options {
            runs,
            ..busy_options()
        };
        let engine = create(&storage, &options).unwrap();
        let put = PutOptions::default();
        for key in [b"a", b"b", b"c"] {
            let _ = engine.put(u32::MAX, key, b"value", put, 0).unwrap();
        }
        drain(&engine).unwrap();
        let mut transaction = engine.begin(0, Isolation::Snapshot).unwrap();
        engine
            .transaction_delete_range(&mut transaction, u32::MAX, b"b", None)
            .unwrap();
        let _ = engine.commit(transaction, 0, 0).unwrap();
        engine.flush_step(true).unwrap();
        engine.drain().unwrap();
        for _ in 0..50 {
            engine.poll_maintenance(Budgeted::default()).unwrap();
        }
        assert!(!engine.drain().unwrap(), "the merge never ends");
        assert_eq!(rows(&engine, u32::MAX).unwrap().len(), 1);
        verify(&engine);
    }
}
