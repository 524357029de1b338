//! Openings that failed without a power cut, and a power cut in the one that follows.

use super::*;
use lightning_platform::IoErrorKind;
use lightning_sim::CrashMode;

/// A call of the first opening fails, a sync above all; the next one reads what the first
/// one wrote, though a power cut may take it, and the power goes at any of its operations.
#[test]
fn a_power_cut_after_an_opening_that_failed_loses_nothing() {
    for geometry in [
        SimOptions::disk(512),
        SimOptions::flash(256, 4_096, 16 << 20),
    ] {
        let storage = SimStorage::new(geometry);
        let options = Options {
            file_bytes_max: 4 << 20,
            ..busy_options()
        };
        let engine = create(&storage, &options).unwrap();
        let _ = engine
            .put(16, b"a", b"value", PutOptions::default(), 0)
            .unwrap();
        engine.flush_step(true).unwrap();
        drop(engine);
        let storage = storage.restart();
        let whole = storage.fork();
        let before = whole.call_count();
        drop(open(&whole, &options).unwrap());
        let calls = whole.call_count() - before;
        assert!(calls > 10, "an opening has more calls than {calls}");
        for call in 1..=calls {
            let failed = storage.fork();
            failed.fail_at(before + call, IoErrorKind::Device, false);
            let _ = open(&failed, &options);
            failed.clear_faults();
            cut_everywhere(&failed, &options, call);
        }
    }
}

/// Opens with a power cut after and during each operation, and what it leaves.
fn cut_everywhere(storage: &SimStorage, options: &Options, call: u64) {
    for operation in 1.. {
        let mut is_done = false;
        for is_whole in [true, false] {
            let cut = storage.fork();
            let at = cut.operation_count() + operation;
            if is_whole {
                cut.cut_after(at);
            } else {
                cut.cut_during(at);
            }
            is_done = open(&cut, options).is_ok() && cut.has_power();
            for (seed, mode) in (0..).zip(CrashMode::EVERY.iter().cycle()).take(70) {
                let image = cut.crash_image(*mode, seed);
                let engine = open(&image, options).unwrap_or_else(|error| {
                    panic!("call {call} failed, cut at {operation} {mode:?}: {error}")
                });
                assert_eq!(
                    rows(&engine, 16).unwrap().len(),
                    1,
                    "call {call}, cut at {operation}"
                );
            }
        }
        if is_done {
            break;
        }
    }
}
