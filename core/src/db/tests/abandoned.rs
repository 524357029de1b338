//! What was being built is given up, and reading what is published fails meanwhile.

use super::*;
use lightning_platform::{File, IoErrorKind};

/// An engine whose load was dropped while its storage read nothing.
fn with_a_lost_load(storage: &SimStorage) -> Engine {
    let engine = create(storage, &busy_options()).unwrap();
    for number in 0..60 {
        put_number(&engine, number, 0);
    }
    engine.flush_step(true).unwrap();
    drain(&engine).unwrap();
    let mut load = engine.begin_load(17).unwrap();
    for number in 0..200_u32 {
        load.push(&number.to_be_bytes(), &[7; 60], PutOptions::default())
            .unwrap();
    }
    storage.fail_reads(File::Pages, 0, u64::MAX, IoErrorKind::Device);
    drop(load);
    engine
}

#[test]
fn who_comes_next_gives_up_what_was_being_built() {
    for begins in [false, true] {
        let storage = SimStorage::new(SimOptions::disk(512));
        let engine = with_a_lost_load(&storage);
        let is_device = |error: Error| matches!(error, Error::Io { .. });
        if begins {
            assert!(engine.begin_load(17).is_err_and(is_device));
        } else {
            let mut buffer = std::vec![0; engine.verify_buffer_bytes()];
            let verified = engine.verify(&mut buffer, &mut |_| ());
            assert!(verified.is_err_and(is_device));
        }
        storage.clear_faults();
        if begins {
            let mut load = engine.begin_load(17).unwrap();
            load.push(b"key", b"value", PutOptions::default()).unwrap();
            load.finish().unwrap();
        }
        assert_eq!(verify(&engine).entries, 60 + u64::from(begins));
    }
}
