//! What a recovery wrote again is known to be durable, as it was before.

use super::*;
use lightning_platform::File;

/// A rotten block of the log that a recovery wrote loses no marked commit in silence.
#[test]
fn rot_in_what_recovery_wrote_again_is_found() {
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
        let put = PutOptions::default();
        for key in [b"a", b"b", b"c"] {
            let _ = engine.put(16, key, b"value", put, 0).unwrap();
            engine.flush_step(true).unwrap();
        }
        engine.mark().unwrap();
        drop(engine);
        let mut storage = storage.restart();
        for _ in 0..3 {
            // The second opening finds more than one segment, and leaves one.
            drop(open(&storage, &options).unwrap());
            storage = storage.restart();
            let logs = storage.files().into_iter();
            for file in logs.filter(|file| *file != File::Pages) {
                let bytes = storage.file_bytes(file).unwrap().len() as u64;
                for offset in (0..bytes).step_by(256) {
                    let damaged = storage.fork();
                    damaged.overwrite_raw(file, offset, &[0; 256]);
                    match open(&damaged, &options) {
                        Ok(engine) => assert_eq!(
                            rows(&engine, 16).unwrap().len(),
                            3,
                            "{file:?} at {offset} damaged, and no error"
                        ),
                        Err(Error::Corruption { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        }
    }
}

/// A header that a recovery has erased comes back, since a power cut took the erasure: what
/// counts stands in the segment after it.
#[test]
fn an_erased_header_that_comes_back_is_no_break() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let options = busy_options();
    let engine = create(&storage, &options).unwrap();
    for key in [b"a", b"b"] {
        let _ = engine.put(16, key, b"value", PutOptions::default(), 0);
        engine.flush_step(true).unwrap();
    }
    engine.mark().unwrap();
    drop(engine);
    let storage = storage.restart();
    drop(open(&storage, &options).unwrap());
    let storage = storage.restart();
    let logs = |storage: &SimStorage| {
        let files = storage.files().into_iter();
        let header = |file| Some((file, storage.read_raw(file, 0, 512)?));
        let logs = files.filter(|file| *file != File::Pages).filter_map(header);
        logs.collect::<Vec<_>>()
    };
    let before = logs(&storage);
    drop(open(&storage, &options).unwrap());
    let storage = storage.restart();
    let mut came_back = 0;
    for ((file, header), (_, now)) in before.iter().zip(logs(&storage)) {
        if header.starts_with(b"LTNGWAL1") && !now.starts_with(b"LTNGWAL1") {
            let image = storage.fork();
            image.overwrite_raw(*file, 0, header);
            let engine = open(&image, &options).unwrap();
            assert_eq!(rows(&engine, 16).unwrap().len(), 2);
            came_back += 1;
        }
    }
    assert!(came_back > 0, "no header was erased");
}
