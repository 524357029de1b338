//! More tables than one page of the roots tree has.

use super::*;
use lightning_platform::File;

const TABLES: u32 = 120;

fn table(number: u32) -> u32 {
    FIRST_USER_TABLE + 1 + number
}

fn check(engine: &Engine) {
    for number in 0..TABLES {
        let found = rows(engine, table(number)).unwrap();
        assert_eq!(found.len(), 1, "table {number}");
        assert_eq!(found[b"key".as_slice()], number.to_be_bytes());
    }
}

/// Roots that no merge touches any more stand at the end of the file: they move, too.
#[test]
fn the_roots_of_many_tables_move_from_the_end_of_the_file() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let options = busy_options();
    let engine = create(&storage, &options).unwrap();
    let put = PutOptions::default();
    for number in 0..4_000 {
        put_number(&engine, number, 0);
    }
    drain(&engine).unwrap();
    for number in 0..TABLES {
        let value = number.to_be_bytes();
        while let Err(error) = engine.put(table(number), b"key", &value, put, 0) {
            make_room(&engine, error).unwrap();
        }
    }
    drain(&engine).unwrap();
    let length = || storage.length(File::Pages).unwrap().unwrap_or(0);
    let before = length();
    let mut transaction = engine.begin(0, Isolation::Snapshot).unwrap();
    engine
        .transaction_delete_range(&mut transaction, 16, b"", None)
        .unwrap();
    let _ = engine.commit(transaction, 0, 0).unwrap();
    drain(&engine).unwrap();
    let mut steps = 0;
    while engine.trim_pages().unwrap() {
        steps += 1;
        assert!(steps < 1_000, "it never ends");
    }
    let after = length();
    // A page for each table is left, and the roots of all.
    assert!(after * 4 < before * 3, "{after} of {before}");
    check(&engine);
    assert_eq!(rows(&engine, 16).unwrap().len(), 0);
    verify(&engine);
    drop(engine);
    let engine = open(&storage.restart(), &options).unwrap();
    check(&engine);
    verify(&engine);
}
