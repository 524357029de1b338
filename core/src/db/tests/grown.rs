//! A page file that grew, or was cut off, though the call failed.

use super::*;
use lightning_platform::IoErrorKind;
use lightning_sim::CallFailure;

/// What is written once more, and given back, after a change of length that failed and may
/// have been done.
#[test]
fn a_file_is_as_long_as_it_is_found_to_be_after_a_call_that_failed() {
    for sim in [
        SimOptions::disk(512),
        SimOptions::flash(256, 4_096, 16 << 20),
    ] {
        let storage = SimStorage::new(sim);
        storage.set_tracing(true);
        life(&storage);
        let changes = (1..)
            .zip(storage.trace())
            .filter(|(_, line)| line.contains(": SetLength Pages"));
        let mut failed = 0;
        for (call, _) in changes {
            for seed in 0..6 {
                let storage = SimStorage::new(sim);
                let failure = CallFailure::short(IoErrorKind::Device, seed);
                storage.fail_at(call, failure, false);
                life(&storage);
                assert!(storage.violations().is_empty(), "call {call}, seed {seed}");
                failed += 1;
            }
        }
        assert!(failed >= 12, "{failed}");
    }
}

/// Loads a little, fills a database, merges, empties it, gives room back and fills it again;
/// merges are done once more where they fail.
fn life(storage: &SimStorage) {
    let options = Options {
        file_bytes_max: 4 << 20,
        ..busy_options()
    };
    let engine = match create(storage, &options) {
        Ok(engine) => engine,
        Err(_) => create(storage, &options)
            .or_else(|_| open(storage, &options))
            .unwrap(),
    };
    for round in 0..2 {
        // It makes the file longer than what comes after needs, and may fail.
        let _ = load_one(&engine);
        for part in 0..4 {
            for number in 0..40 {
                put_number(&engine, part * 40 + number, round);
            }
            if drain(&engine).is_err() {
                drain(&engine).unwrap();
            }
        }
        assert_eq!(rows(&engine, 16).unwrap().len(), 160);
        for number in 0..160 {
            let key = std::format!("key{number:05}").into_bytes();
            while let Err(error) = engine.delete(16, &key, 0) {
                make_room(&engine, error).unwrap();
            }
        }
        if drain(&engine).is_err() {
            drain(&engine).unwrap();
        }
        // Where this fails, what is written next finds the file as it is.
        while engine.trim_pages() == Ok(true) {}
    }
}

fn load_one(engine: &Engine) -> Result<Ticket> {
    let mut load = engine.begin_ingest(16)?;
    load.push(b"key00000", b"loaded", PutOptions::default())?;
    load.finish(0)
}
