//! The reserve that puts leave on the device: deletes find it, and make room for puts.

use super::*;

/// Runs `write` with maintenance beside it, until it succeeds or the storage is full.
fn with_maintenance(engine: &Engine, mut write: impl FnMut() -> Result<Ticket>) -> Result<()> {
    for _ in 0..1_000 {
        match write() {
            Ok(_) => return engine.flush_step(true).map(|_| ()),
            Err(Error::FrontFull | Error::LogFull) => {}
            Err(error) => return Err(error),
        }
        engine.flush_step(true)?;
        let _failed = engine.poll_maintenance(Budgeted::default());
    }
    Err(Error::Busy)
}

fn put_one(engine: &Engine, number: u64) -> Result<()> {
    let put = PutOptions::default();
    with_maintenance(engine, || {
        engine.put(16, &number.to_be_bytes(), &[7; 200], put, 0)
    })
}

fn put_until_full(engine: &Engine, from: u64) -> u64 {
    for number in from..100_000 {
        if let Err(error) = put_one(engine, number) {
            assert_eq!(error, Error::StorageFull, "put {number}");
            return number;
        }
    }
    panic!("never full");
}

fn small_disk(runs: u32) -> (SimStorage, Engine) {
    let storage = SimStorage::new(SimOptions::disk(512));
    let options = Options {
        runs,
        ..busy_options()
    };
    let engine = create(&storage, &options).unwrap();
    storage.set_capacity(storage.bytes_used() + (400 << 10));
    (storage, engine)
}

#[test]
fn a_device_that_is_full_of_puts_is_freed_by_deletes() {
    for runs in [0, 4] {
        let (storage, engine) = small_disk(runs);
        let mut from = 0;
        for round in 0..4 {
            let end = put_until_full(&engine, from);
            assert!(end > from + 100, "runs {runs}, round {round}");
            for number in from..end {
                let key = number.to_be_bytes();
                let deleted = with_maintenance(&engine, || engine.delete(16, &key, 0));
                assert_eq!(deleted, Ok(()), "runs {runs}, round {round}, {number}");
            }
            from = end;
        }
        assert!(rows(&engine, 16).unwrap().is_empty());
        drain(&engine).unwrap();
        verify(&engine);
        assert!(storage.violations().is_empty());
    }
}

#[test]
fn what_others_take_is_told_and_work_resumes() {
    let (storage, engine) = small_disk(2);
    for number in 0..200 {
        put_one(&engine, number).unwrap();
    }
    let capacity = storage.capacity();
    storage.set_capacity(storage.bytes_used());
    let refused = put_until_full(&engine, 200);
    storage.set_capacity(capacity);
    put_one(&engine, refused).unwrap();
    assert_eq!(rows(&engine, 16).unwrap().len() as u64, refused + 1);
}

#[test]
fn the_limit_of_the_page_file_leaves_a_reserve_too() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let options = Options {
        file_bytes_max: 256 << 10,
        ..busy_options()
    };
    let engine = create(&storage, &options).unwrap();
    let end = put_until_full(&engine, 0);
    for number in 0..end {
        let key = number.to_be_bytes();
        let deleted = with_maintenance(&engine, || engine.delete(16, &key, 0));
        assert_eq!(deleted, Ok(()), "{number} of {end}");
    }
    put_one(&engine, 0).unwrap();
}

/// What was found to be all the room there is says nothing about what deletes will leave.
#[test]
fn puts_wait_for_deletes_that_are_not_merged() {
    for runs in [0, 4] {
        let (_storage, engine) = small_disk(runs);
        let end = put_until_full(&engine, 0);
        assert_eq!(put_one(&engine, end), Err(Error::StorageFull));
        for number in 0..80_u64 {
            let key = number.to_be_bytes();
            with_maintenance(&engine, || engine.delete(16, &key, 0)).unwrap();
        }
        // They are in front still.
        let statistics = engine.statistics();
        assert!(statistics.merged_sequence + 80 <= statistics.appended_sequence);
        for number in end..end + 10 {
            assert_eq!(put_one(&engine, number), Ok(()), "runs {runs}, {number}");
        }
    }
}
