//! A load into the trees beside transactions that are open: none commits as if there had
//! been no load.

use super::*;

fn database() -> Engine {
    let storage = SimStorage::new(SimOptions::disk(512));
    let engine = create(&storage, &busy_options()).unwrap();
    let put = PutOptions::default();
    for table in [16, 40] {
        let _ = engine.put(table, b"key", b"before", put, 0).unwrap();
    }
    engine.flush_step(true).unwrap();
    drain(&engine).unwrap();
    engine
}

fn load(engine: &Engine, table: u32) {
    let mut load = engine.begin_load(table).unwrap();
    load.push(b"key", b"loaded", PutOptions::default()).unwrap();
    load.finish().unwrap();
}

/// A transaction that has written to a table.
fn writing(engine: &Engine, table: u32) -> Transaction {
    let mut transaction = engine.begin(0, Isolation::Snapshot).unwrap();
    let put = PutOptions::default();
    engine
        .transaction_put(&mut transaction, table, b"key", b"written", put)
        .unwrap();
    transaction
}

#[test]
fn what_began_before_a_load_does_not_write_over_it() {
    let engine = database();
    let (same, other) = (writing(&engine, 16), writing(&engine, 40));
    let mut read = engine.begin(0, Isolation::Serializable).unwrap();
    engine
        .transaction_note_read(&mut read, 16, b"key", None)
        .unwrap();
    let put = PutOptions::default();
    engine
        .transaction_put(&mut read, 40, b"other", b"written", put)
        .unwrap();
    load(&engine, 16);
    assert!(matches!(
        engine.commit(same, 0, 0),
        Err(Error::TransactionTooOld)
    ));
    assert!(matches!(
        engine.commit(read, 0, 0),
        Err(Error::TransactionTooOld)
    ));
    let _ = engine.commit(other, 0, 0).unwrap();
    engine.flush_step(true).unwrap();
    engine.poll_maintenance(Budgeted::default()).unwrap();
    // Whoever begins now has seen it, and a single write never conflicts.
    let _ = engine.commit(writing(&engine, 16), 0, 0).unwrap();
    let _ = engine.put(16, b"key", b"put", put, 0).unwrap();
}

#[test]
fn nothing_that_touches_its_table_commits_beside_a_load() {
    let engine = database();
    let before = writing(&engine, 16);
    let mut load = engine.begin_load(16).unwrap();
    let beside = writing(&engine, 16);
    assert!(matches!(
        engine.commit(before, 0, 0),
        Err(Error::TransactionTooOld)
    ));
    assert!(matches!(
        engine.commit(beside, 0, 0),
        Err(Error::TransactionTooOld)
    ));
    let _ = engine.commit(writing(&engine, 40), 0, 0).unwrap();
    let beside = writing(&engine, 16);
    load.push(b"key", b"loaded", PutOptions::default()).unwrap();
    load.finish().unwrap();
    assert!(matches!(
        engine.commit(beside, 0, 0),
        Err(Error::TransactionTooOld)
    ));
}

#[test]
fn a_load_that_is_refused_disturbs_nobody() {
    let engine = database();
    let transaction = writing(&engine, 16);
    let _ = engine
        .put(40, b"key", b"above the trees", PutOptions::default(), 0)
        .unwrap();
    assert!(matches!(engine.begin_load(16), Err(Error::Busy)));
    let _ = engine.commit(transaction, 0, 0).unwrap();
}

#[test]
fn of_several_loads_only_the_last_is_known() {
    let engine = database();
    let transaction = writing(&engine, 16);
    load(&engine, 16);
    load(&engine, 40);
    assert!(matches!(
        engine.commit(transaction, 0, 0),
        Err(Error::TransactionTooOld)
    ));
}
