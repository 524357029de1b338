//! Values that are larger than a transaction.

use super::*;
use lightning_sim::{CrashMode, Random};

/// Bytes that no part of which is like another.
pub(super) fn content(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = std::vec![0; length];
    Random::new(seed).fill(&mut bytes);
    bytes
}

pub(super) fn stream<'e>(
    engine: &'e Engine,
    bytes: &[u8],
    bytes_max: u64,
) -> Result<WrittenValue<'e>> {
    let mut writer = loop {
        match engine.begin_value(16, bytes_max) {
            Ok(writer) => break writer,
            Err(error) => make_room(engine, error)?,
        }
    };
    for part in bytes.chunks(700) {
        writer.write(part)?;
    }
    assert_eq!(writer.length(), bytes.len() as u64);
    writer.finish()
}

pub(super) fn put_stream(engine: &Engine, key: &[u8], bytes: &[u8]) -> Result<()> {
    let mut value = stream(engine, bytes, bytes.len() as u64 + 900)?;
    loop {
        match engine.put_value(key, &mut value, PutOptions::default(), 0) {
            Ok(_) => return Ok(()),
            Err(error) => make_room(engine, error)?,
        }
    }
}

fn get(engine: &Engine, snapshot: &Snapshot, key: &[u8]) -> Option<Vec<u8>> {
    let view = engine.view(snapshot, 16, true).unwrap();
    let value = engine.get(&view, key, true).unwrap()?;
    Some(whole(engine, &view, value.stored()))
}

#[test]
fn a_value_larger_than_a_transaction_is_read_wherever_it_is() {
    for runs in [0, 2] {
        let options = Options {
            runs,
            ..busy_options()
        };
        let storage = SimStorage::new(SimOptions::disk(512));
        let engine = create(&storage, &options).unwrap();
        let bytes = content(1, 300_000);
        let put = PutOptions::default();
        let mut value = stream(&engine, &bytes, 400_000).unwrap();
        let mut transaction = engine.begin(0, Isolation::Snapshot).unwrap();
        let written = engine.transaction_put(&mut transaction, 16, b"beside", b"it", put);
        written.unwrap();
        let written = engine.transaction_put_value(&mut transaction, b"large", &mut value, put);
        written.unwrap();
        let again = engine.transaction_put_value(&mut transaction, b"again", &mut value, put);
        assert!(again.is_err(), "a value is put once");
        {
            let view = engine.transaction_view(&transaction, 16, true).unwrap();
            let own = engine.get(&view, b"large", true).unwrap().unwrap();
            assert_eq!(whole(&engine, &view, own.stored()), bytes);
        }
        let _ = engine.commit(transaction, 0, 0).unwrap();
        engine.flush_step(true).unwrap();
        let mut expected = Rows::new();
        expected.insert(b"beside".to_vec(), b"it".to_vec());
        expected.insert(b"large".to_vec(), bytes.clone());
        assert_eq!(rows(&engine, 16).unwrap(), expected);
        verify(&engine);
        let image = storage.crash_image(CrashMode::Synced, 0);
        let recovered = open(&image, &options).unwrap();
        assert_eq!(rows(&recovered, 16).unwrap(), expected);
        drain(&recovered).unwrap();
        assert_eq!(rows(&recovered, 16).unwrap(), expected);
        verify(&recovered);
        drain(&engine).unwrap();
        assert_eq!(rows(&engine, 16).unwrap(), expected);
        verify(&engine);
        // Parts of it, across chunks, and none past its end.
        let snapshot = engine.snapshot(0).unwrap();
        {
            let view = engine.view(&snapshot, 16, true).unwrap();
            let value = engine.get(&view, b"large", true).unwrap().unwrap();
            for (offset, length) in [(0, 1), (980, 10), (123_456, 5_000), (299_999, 1)] {
                let mut part = std::vec![0; length];
                let read = engine.read_value(&view, value.stored(), offset as u64, &mut part);
                read.unwrap();
                assert_eq!(part, bytes[offset..offset + length]);
            }
            let past = engine.read_value(&view, value.stored(), 299_999, &mut [0; 2]);
            assert!(matches!(past, Err(Error::OverLimit { .. })));
        }
        engine.end(snapshot);
        let used = engine.statistics().store.used_bytes;
        let _ = engine.delete(16, b"large", 0).unwrap();
        drain(&engine).unwrap();
        // What was given up waits for one more flip.
        let _ = engine.put(16, b"more", b"", put, 0).unwrap();
        drain(&engine).unwrap();
        let _ = engine.put(16, b"more", b"still", put, 0).unwrap();
        drain(&engine).unwrap();
        verify(&engine);
        assert!(engine.statistics().store.used_bytes + 300_000 < used);
        assert!(storage.violations().is_empty());
    }
}

#[test]
fn what_is_not_committed_takes_no_room() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let options = busy_options();
    let engine = create(&storage, &options).unwrap();
    let bytes = content(2, 20_000);
    let put = PutOptions::default();
    let before = engine.statistics().store.file_bytes;
    for number in 0..400_u32 {
        let key = number.to_be_bytes();
        let mut value = stream(&engine, &bytes, 20_000).unwrap();
        match number % 4 {
            0 => drop(value),
            1 => {
                let mut transaction = engine.begin(0, Isolation::Snapshot).unwrap();
                let written = engine.transaction_put_value(&mut transaction, &key, &mut value, put);
                written.unwrap();
                engine.rollback(transaction);
            }
            2 => {
                // The value that the transaction has put first is replaced by it.
                let mut transaction = engine.begin(0, Isolation::Snapshot).unwrap();
                let written = engine.transaction_put_value(&mut transaction, &key, &mut value, put);
                written.unwrap();
                let written = engine.transaction_delete(&mut transaction, 16, &key);
                written.unwrap();
                loop {
                    match engine.try_commit(&mut transaction, 0, 0) {
                        Ok(_) => break,
                        Err(error) => make_room(&engine, error).unwrap(),
                    }
                }
                engine.rollback(transaction);
            }
            _ => {
                let mut writer = engine.begin_value(16, 50_000).unwrap();
                writer.write(&bytes).unwrap();
                assert!(writer.write(&[0; 30_001]).is_err());
            }
        }
    }
    let empty = stream(&engine, b"", 100);
    let _ = engine
        .put_value(b"empty", &mut empty.unwrap(), put, 0)
        .unwrap();
    drain(&engine).unwrap();
    let engine_rows = rows(&engine, 16).unwrap();
    assert_eq!(engine_rows.into_values().collect::<Vec<_>>(), [b""]);
    verify(&engine);
    // Hundreds of values of 20 KB went through room for a few.
    let grown = engine.statistics().store.file_bytes - before;
    assert!(grown < 2 << 20, "{grown}");
    let maximum = engine.streamed_value_bytes_max();
    let refused = engine.begin_value(16, maximum + 1);
    assert!(matches!(refused.err(), Some(Error::OverLimit { .. })));
}

#[test]
fn a_snapshot_keeps_the_value_that_was_overwritten() {
    for runs in [0, 2] {
        let options = Options {
            runs,
            ..busy_options()
        };
        let storage = SimStorage::new(SimOptions::disk(512));
        let engine = create(&storage, &options).unwrap();
        let values: Vec<_> = (0..4).map(|seed| content(seed, 30_000)).collect();
        let mut snapshots = Vec::new();
        for value in &values {
            put_stream(&engine, b"key", value).unwrap();
            engine.flush_step(true).unwrap();
            snapshots.push(engine.snapshot(0).unwrap());
        }
        for step in 0..3 {
            for (snapshot, value) in snapshots.iter().zip(&values) {
                assert!(get(&engine, snapshot, b"key").unwrap() == *value, "{step}");
            }
            drain_while_read(&engine);
            for number in 0..20_u32 {
                let other = content(u64::from(number), 10_000);
                // With runs = 0 the snapshots may keep every memtable.
                let key = number.to_be_bytes();
                let mut value = stream(&engine, &other, 10_000).unwrap();
                let _ = engine.put_value(&key, &mut value, PutOptions::default(), 0);
            }
        }
        for snapshot in snapshots {
            engine.end(snapshot);
        }
        drain(&engine).unwrap();
        verify(&engine);
        assert!(rows(&engine, 16).unwrap()[b"key".as_slice()] == values[3]);
    }
}

#[test]
fn a_value_may_be_longer_than_a_group_of_units() {
    let options = Options {
        page_bytes: 512,
        value_bytes_max: 700,
        ..busy_options()
    };
    let storage = SimStorage::new(SimOptions::disk(512));
    let engine = create(&storage, &options).unwrap();
    let group_bytes = 8 * (512 - 96) * 512;
    let bytes = content(5, 3 * group_bytes + 1_000);
    let mut expected = Rows::new();
    // More than the file takes, were the room of those before not used again.
    for round in 0..8_u8 {
        // Something small lies between, so that the next one has to look on.
        put_stream(&engine, &[round], &bytes[..5_000]).unwrap();
        expected.insert(std::vec![round], bytes[..5_000].to_vec());
        let large = &bytes[usize::from(round)..];
        let mut value = loop {
            match stream(&engine, large, large.len() as u64) {
                Ok(value) => break value,
                Err(error) => make_room(&engine, error).unwrap(),
            }
        };
        if round % 2 == 0 {
            // Flips come between: they publish bitmaps without it.
            drain(&engine).unwrap();
        }
        let put = PutOptions::default();
        let _ = engine.put_value(b"large", &mut value, put, 0).unwrap();
        expected.insert(b"large".to_vec(), bytes[usize::from(round)..].to_vec());
        engine.flush_step(true).unwrap();
        let image = storage.crash_image(CrashMode::Synced, 0);
        let recovered = open(&image, &options).unwrap();
        drain(&recovered).unwrap();
        assert!(rows(&recovered, 16).unwrap() == expected);
        verify(&recovered);
        drain(&engine).unwrap();
        assert!(rows(&engine, 16).unwrap() == expected);
        verify(&engine);
    }
    let refused = stream(&engine, &[], 30 << 20).err();
    assert_eq!(refused, Some(Error::StorageFull));
    assert!(storage.violations().is_empty());
}

#[test]
fn more_values_than_there_is_room_for_wait_for_their_memtable() {
    for runs in [0, 2] {
        let options = Options {
            runs,
            ..busy_options()
        };
        let storage = SimStorage::new(SimOptions::disk(512));
        let engine = create(&storage, &options).unwrap();
        let bytes = content(3, 3_000);
        for number in 0..300_u32 {
            put_stream(&engine, &(number % 7).to_be_bytes(), &bytes).unwrap();
        }
        assert_eq!(rows(&engine, 16).unwrap().len(), 7);
        drain(&engine).unwrap();
        assert!(
            rows(&engine, 16)
                .unwrap()
                .values()
                .all(|value| *value == bytes)
        );
        verify(&engine);
        assert!(storage.violations().is_empty());
    }
}

/// Merges what can be merged while snapshots are open.
fn drain_while_read(engine: &Engine) {
    for _ in 0..40 {
        let _ = engine.drain();
        let _ = engine.flush_step(true);
        engine.poll_maintenance(Budgeted::default()).unwrap();
    }
}
