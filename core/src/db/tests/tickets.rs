//! What a ticket tells of its commit, until the device has it and where it fails.

use super::*;
use lightning_platform::IoErrorKind;
use lightning_sim::CrashMode;

fn written_options() -> Options {
    Options {
        durability: Durability::Written,
        ..busy_options()
    }
}

#[test]
fn a_commit_is_written_before_it_is_durable() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let engine = create(&storage, &written_options()).unwrap();
    let put = PutOptions::default();
    let ticket = engine.put(16, b"key", b"value", put, 0).unwrap();
    assert_eq!(engine.is_written(ticket), Ok(false));
    engine.flush_step(false).unwrap();
    assert_eq!(engine.is_written(ticket), Ok(true));
    assert_eq!(engine.is_durable(ticket), Ok(false));
    assert_eq!(rows(&engine, 16).unwrap().len(), 1);
    // The process may end now, the power may not.
    let found = |mode| {
        let engine = open(&storage.crash_image(mode, 0), &written_options()).unwrap();
        rows(&engine, 16).unwrap().len()
    };
    assert_eq!((found(CrashMode::All), found(CrashMode::Synced)), (1, 0));
    engine.flush_step(true).unwrap();
    assert_eq!(engine.is_durable(ticket), Ok(true));
    assert_eq!(found(CrashMode::Synced), 1);
}

#[test]
fn what_came_of_a_commit_is_unknown_where_its_flush_failed() {
    for fails_writing in [true, false] {
        let storage = SimStorage::new(SimOptions::disk(512));
        let engine = create(&storage, &written_options()).unwrap();
        let put = PutOptions::default();
        let before = engine.put(16, b"before", b"", put, 0).unwrap();
        engine.flush_step(true).unwrap();
        let ticket = engine.put(16, b"key", b"value", put, 0).unwrap();
        if fails_writing {
            let next = storage.call_count() + 1;
            storage.fail_at(next, IoErrorKind::Device, false);
            assert!(engine.flush_step(false).is_err());
        } else {
            engine.flush_step(false).unwrap();
            storage.fail_syncs(Some(IoErrorKind::Device));
            assert!(engine.flush_step(true).is_err());
        }
        storage.clear_faults();
        storage.fail_syncs(None);
        assert_eq!(engine.is_written(before), Ok(true));
        assert_eq!(engine.is_durable(before), Ok(true));
        let written = engine.is_written(ticket);
        if fails_writing {
            assert_eq!(written, Err(Error::OutcomeUnknown));
        } else {
            assert_eq!(written, Ok(true));
        }
        assert_eq!(engine.is_durable(ticket), Err(Error::OutcomeUnknown));
        assert_eq!(
            engine.put(16, b"later", b"", put, 0).map(|_| ()),
            Err(Error::Poisoned)
        );
        assert_eq!(engine.flush_step(true), Err(Error::Poisoned));
        assert_eq!(engine.renew_log(), Err(Error::Poisoned));
        assert_eq!(engine.trim_log(), Err(Error::Poisoned));
        assert_eq!(engine.mark(), Err(Error::Poisoned));
        drop(engine);
        let engine = open(&storage.restart(), &written_options()).unwrap();
        let found = rows(&engine, 16).unwrap();
        assert!(found.contains_key(b"before".as_slice()));
        assert!(found.len() <= 2);
    }
}
