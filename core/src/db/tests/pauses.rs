//! What a host does to the log when writes pause: a short segment, and no empty slots.

use super::*;
use lightning_platform::IoErrorKind;
use lightning_sim::CrashMode;

/// A database whose log has grown past its first, short segments; all is durable.
fn grown(storage: &SimStorage) -> (Engine, Rows) {
    let engine = create(storage, &busy_options()).unwrap();
    let mut expected = Rows::new();
    let put = PutOptions::default();
    for number in 0..60_u32 {
        let key = std::format!("key{number:03}").into_bytes();
        while let Err(error) = engine.put(16, &key, &[number as u8; 150], put, 0) {
            make_room(&engine, error).unwrap();
        }
        expected.insert(key, std::vec![number as u8; 150]);
        engine.flush_step(true).unwrap();
        engine.poll_maintenance(Budgeted::default()).unwrap();
    }
    (engine, expected)
}

/// A pause of writes; whether a short segment was begun, and how many slots were removed.
fn pause(engine: &Engine) -> Result<(bool, u32)> {
    match engine.freeze_front() {
        Ok(_) | Err(Error::FrontFull) => {}
        Err(error) => return Err(error),
    }
    let renewed = engine.renew_log()?;
    drain(engine)?;
    engine.mark()?;
    Ok((renewed, engine.trim_log()?))
}

fn log_file_bytes(engine: &Engine) -> u64 {
    engine.statistics().log_file_bytes
}

#[test]
fn the_log_is_short_after_a_pause_and_holds_what_comes_then() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let (engine, mut expected) = grown(&storage);
    let before = log_file_bytes(&engine);
    let (renewed, trimmed) = pause(&engine).unwrap();
    assert!(renewed && trimmed > 0, "{renewed} {trimmed}");
    let after = log_file_bytes(&engine);
    assert!(after < before / 2, "{after} of {before}");
    let lengths = (0..16).map(|slot| {
        let length = storage.length(lightning_platform::File::Log(slot)).unwrap();
        length.unwrap_or(0)
    });
    assert_eq!(lengths.sum::<u64>(), after);
    // It is short already, and nothing is left to remove.
    assert_eq!(pause(&engine).unwrap(), (false, 0));
    assert_eq!(rows(&engine, 16).unwrap(), expected);
    for number in 0..40 {
        put_number(&engine, number, 1);
    }
    engine.flush_step(true).unwrap();
    let written = rows(&engine, 16).unwrap();
    assert_eq!(written.len(), expected.len() + 40);
    expected = written;
    let image = storage.crash_image(CrashMode::Synced, 0);
    drop(engine);
    let engine = open(&image, &busy_options()).unwrap();
    assert_eq!(rows(&engine, 16).unwrap(), expected);
    assert!(storage.violations().is_empty());
}

/// Commits that wait for their flush have a promise of room: it is kept.
#[test]
fn a_pause_takes_no_room_that_commits_were_promised() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let (engine, mut expected) = grown(&storage);
    pause(&engine).unwrap();
    // The short segment fills until no more is promised.
    let put = PutOptions::default();
    let mut refused = 0;
    for number in 0..200_u32 {
        let key = std::format!("more{number:03}").into_bytes();
        match engine.put(16, &key, &[7; 100], put, 0) {
            Ok(_) => {
                expected.insert(key, std::vec![7; 100]);
            }
            Err(Error::LogFull | Error::FrontFull) => {
                refused += 1;
                break;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(refused, 1);
    assert_eq!(engine.trim_log().unwrap(), 0);
    engine.flush_step(true).unwrap();
    assert_eq!(rows(&engine, 16).unwrap(), expected);
}

#[test]
fn a_power_cut_anywhere_in_a_pause_loses_nothing() {
    for geometry in [
        SimOptions::disk(512),
        SimOptions::flash(256, 4_096, 16 << 20),
    ] {
        let mut cuts = 0;
        for cut in 1.. {
            let storage = SimStorage::new(geometry);
            let (engine, expected) = grown(&storage);
            storage.cut_after(storage.operation_count() + cut);
            let outcome = pause(&engine);
            let is_over = storage.has_power();
            for mode in CrashMode::EVERY {
                let recovered = open(&storage.crash_image(mode, cut), &busy_options()).unwrap();
                assert_eq!(rows(&recovered, 16).unwrap(), expected, "{mode:?} at {cut}");
                verify(&recovered);
            }
            if is_over {
                outcome.unwrap();
                break;
            }
            cuts += 1;
        }
        assert!(cuts > 20, "{cuts}");
    }
}

#[test]
fn a_failing_call_in_a_pause_loses_nothing() {
    for kind in [IoErrorKind::Device, IoErrorKind::StorageFull] {
        let (mut poisoned, mut went_on) = (0, 0);
        for call in 1.. {
            let storage = SimStorage::new(SimOptions::disk(512));
            let (engine, mut expected) = grown(&storage);
            let at = storage.call_count() + call;
            storage.fail_at(at, kind, false);
            let outcome = pause(&engine);
            let is_over = storage.call_count() < at;
            storage.clear_faults();
            assert_eq!(rows(&engine, 16).unwrap(), expected, "call {call}");
            let put = PutOptions::default();
            match engine.put(16, b"later", b"", put, 0) {
                Err(Error::Poisoned) => {
                    assert!(outcome.is_err());
                    poisoned += 1;
                }
                first => {
                    if let Err(error) = first {
                        make_room(&engine, error).unwrap();
                        let _ = engine.put(16, b"later", b"", put, 0).unwrap();
                    }
                    engine.flush_step(true).unwrap();
                    expected.insert(b"later".to_vec(), Vec::new());
                    drain(&engine).unwrap();
                    pause(&engine).unwrap();
                    verify(&engine);
                    went_on += 1;
                }
            }
            drop(engine);
            let engine = open(&storage.restart(), &busy_options()).unwrap();
            assert_eq!(rows(&engine, 16).unwrap(), expected, "call {call}");
            if is_over {
                break;
            }
        }
        assert!(
            poisoned > 3 && went_on > 3,
            "{kind:?}: {poisoned} {went_on}"
        );
    }
}
