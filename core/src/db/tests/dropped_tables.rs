//! A table that is dropped is gone with its name and its entries, and nothing else is.

use super::*;

fn named(engine: &Engine, name: &[u8]) -> Option<u32> {
    let snapshot = engine.snapshot(0).unwrap();
    let found = engine.find_table(&snapshot, name).unwrap();
    engine.end(snapshot);
    found
}

fn created(engine: &Engine, name: &[u8]) -> u32 {
    let mut transaction = engine.begin(0, Isolation::Snapshot).unwrap();
    let table = engine.transaction_create_table(&mut transaction, name);
    let table = table.unwrap();
    let put = PutOptions::default();
    for key in [&b""[..], b"a", b"z", &[0xFF; 40]] {
        engine
            .transaction_put(&mut transaction, table, key, name, put)
            .unwrap();
    }
    while let Err(error) = engine.try_commit(&mut transaction, 0, 0) {
        make_room(engine, error).unwrap();
    }
    engine.rollback(transaction);
    table
}

#[test]
fn a_dropped_table_takes_its_entries_and_no_others() {
    for merges in [false, true] {
        let storage = SimStorage::new(SimOptions::disk(512));
        let engine = create(&storage, &busy_options()).unwrap();
        let tables = [b"one", b"two", b"six"].map(|name| created(&engine, name));
        if merges {
            drain(&engine).unwrap();
        }
        let mut transaction = engine.begin(0, Isolation::Snapshot).unwrap();
        let absent = engine.transaction_drop_table(&mut transaction, b"ten");
        assert_eq!(absent, Err(Error::NoSuchTable));
        engine
            .transaction_drop_table(&mut transaction, b"two")
            .unwrap();
        let again = engine.transaction_drop_table(&mut transaction, b"two");
        assert_eq!(again, Err(Error::NoSuchTable), "it is gone for itself");
        while let Err(error) = engine.try_commit(&mut transaction, 0, 0) {
            make_room(&engine, error).unwrap();
        }
        engine.rollback(transaction);
        engine.flush_step(true).unwrap();
        let check = |engine: &Engine| {
            let found = [b"one", b"two", b"six"].map(|name| named(engine, name));
            assert_eq!(found, [Some(tables[0]), None, Some(tables[2])]);
            let counts = tables.map(|table| rows(engine, table).unwrap().len());
            assert_eq!(counts, [4, 0, 4]);
        };
        check(&engine);
        let image = storage.crash_image(lightning_sim::CrashMode::Synced, 0);
        check(&open(&image, &busy_options()).unwrap());
        drain(&engine).unwrap();
        check(&engine);
        verify(&engine);
        // The name may be given again; the number is not.
        let anew = created(&engine, b"two");
        assert!(!tables.contains(&anew));
        engine.flush_step(true).unwrap();
        assert_eq!(named(&engine, b"two"), Some(anew));
        assert_eq!(rows(&engine, anew).unwrap().len(), 4);
        assert_eq!(rows(&engine, tables[1]).unwrap().len(), 0);
    }
}

/// Who writes into a table that another drops has a conflict, whoever is first.
#[test]
fn dropping_a_table_and_writing_into_it_is_a_conflict() {
    for drops_first in [true, false] {
        let storage = SimStorage::new(SimOptions::disk(512));
        let engine = create(&storage, &busy_options()).unwrap();
        let table = created(&engine, b"table");
        let mut dropping = engine.begin(0, Isolation::Snapshot).unwrap();
        let mut writing = engine.begin(0, Isolation::Snapshot).unwrap();
        engine
            .transaction_drop_table(&mut dropping, b"table")
            .unwrap();
        engine
            .transaction_put(&mut writing, table, b"m", b"", PutOptions::default())
            .unwrap();
        let (first, second) = if drops_first {
            (dropping, writing)
        } else {
            (writing, dropping)
        };
        let _ = engine.commit(first, 0, 0).unwrap();
        let refused = engine.commit(second, 0, 0).map(|_| ());
        assert!(
            matches!(refused, Err(Error::Conflict { table: other, .. }) if other == table),
            "{refused:?}"
        );
        engine.flush_step(true).unwrap();
        let count = rows(&engine, table).unwrap().len();
        assert_eq!(count, if drops_first { 0 } else { 5 });
    }
}

#[test]
fn a_name_that_is_too_long_is_refused() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let engine = create(&storage, &busy_options()).unwrap();
    let longest = crate::limits::TABLE_NAME_BYTES_MAX.min(engine.key_bytes_max());
    let mut transaction = engine.begin(0, Isolation::Snapshot).unwrap();
    let name = std::vec![b'n'; longest + 1];
    let refused = engine.transaction_create_table(&mut transaction, &name);
    assert_eq!(
        refused,
        Err(Error::OverLimit {
            limit: crate::error::Limit::TableNameBytes,
            value: longest as u64 + 1,
            maximum: longest as u64,
        })
    );
    let table = engine.transaction_create_table(&mut transaction, &name[..longest]);
    let table = table.unwrap();
    let _ = engine.commit(transaction, 0, 0).unwrap();
    engine.flush_step(true).unwrap();
    assert_eq!(named(&engine, &name[..longest]), Some(table));
}
