//! Large values under a codec and a cipher: read back, sealed once, and never served
//! when they are others' bytes.

use super::*;
use lightning_platform::File;
use lightning_sim::{CrashMode, Random, TestCipher, TestCodec};

struct Sealed {
    options: Options,
    codec: bool,
    cipher: Option<TestCipher>,
}

impl Sealed {
    fn every() -> [Self; 4] {
        [(false, false), (true, false), (false, true), (true, true)].map(|(codec, cipher)| {
            let options = Options {
                unit_bytes: if codec { 512 } else { 0 },
                ..busy_options()
            };
            Self {
                options,
                codec,
                cipher: cipher.then(|| TestCipher::recording(9)),
            }
        })
    }

    fn platform(&self, storage: &SimStorage) -> Platform {
        let mut platform = platform(storage).0;
        if self.codec {
            platform.codec = Some(std::sync::Arc::new(TestCodec));
        }
        if let Some(cipher) = &self.cipher {
            platform.cipher = Some(std::sync::Arc::new(cipher.clone()));
        }
        platform
    }

    fn create(&self, storage: &SimStorage) -> Engine {
        Engine::create(&self.platform(storage), &self.options, input(1)).unwrap()
    }

    fn open(&self, storage: &SimStorage, seed: u8) -> Result<Engine> {
        Engine::open(&self.platform(storage), &self.options, input(seed))
    }
}

fn content(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = std::vec![0; length];
    Random::new(seed).fill(&mut bytes);
    bytes
}

fn stream<'e>(engine: &'e Engine, bytes: &[u8]) -> WrittenValue<'e> {
    let mut writer = engine.begin_value(16, bytes.len() as u64).unwrap();
    writer.write(bytes).unwrap();
    writer.finish().unwrap()
}

fn put(engine: &Engine, key: &[u8], bytes: &[u8]) {
    let mut value = stream(engine, bytes);
    let put = PutOptions::default();
    while let Err(error) = engine.put_value(key, &mut value, put, 0) {
        make_room(engine, error).unwrap();
    }
}

/// The extent of a value, and a part of it.
fn part(engine: &Engine, key: &[u8], offset: u64, length: usize) -> Result<(u64, Vec<u8>)> {
    let snapshot = engine.snapshot(0)?;
    let read = (|| {
        let view = engine.view(&snapshot, 16, true)?;
        let value = engine.get(&view, key, true)?.unwrap();
        let mut bytes = std::vec![0; length];
        engine.read_value(&view, value.stored(), offset, &mut bytes)?;
        match value.stored() {
            Stored::Extent(extent) => Ok((extent.address, bytes)),
            Stored::Inline(_) => Ok((0, bytes)),
        }
    })();
    engine.end(snapshot);
    read
}

#[test]
fn large_values_come_back_from_under_codec_and_cipher() {
    for sealed in Sealed::every() {
        let storage = SimStorage::new(SimOptions::disk(512));
        let engine = sealed.create(&storage);
        assert!(engine.value_bytes_max() >= 1_500);
        let mut expected = Rows::new();
        for number in 0..60_u64 {
            let key = std::format!("key{:02}", number % 40).into_bytes();
            let bytes = match number % 3 {
                0 => std::vec![7; 10_000],
                1 => content(number, 1_400),
                _ => content(number, 20_011),
            };
            if number % 3 == 1 {
                while let Err(error) = engine.put(16, &key, &bytes, PutOptions::default(), 0) {
                    make_room(&engine, error).unwrap();
                }
            } else {
                put(&engine, &key, &bytes);
            }
            expected.insert(key, bytes);
        }
        engine.flush_step(true).unwrap();
        assert!(rows(&engine, 16).unwrap() == expected);
        let reopened = sealed
            .open(&storage.crash_image(CrashMode::Synced, 1), 3)
            .unwrap();
        assert!(rows(&reopened, 16).unwrap() == expected);
        drain(&reopened).unwrap();
        assert!(rows(&reopened, 16).unwrap() == expected);
        verify(&reopened);
        drop(reopened);
        drain(&engine).unwrap();
        assert!(rows(&engine, 16).unwrap() == expected);
        verify(&engine);
        if let Some(cipher) = &sealed.cipher {
            assert_eq!(cipher.nonce_reuses(), 0);
            let sevens = [7; 64];
            let file = storage.file_bytes(File::Pages).unwrap();
            assert!(
                !file.windows(64).any(|window| window == sevens),
                "in the clear"
            );
        }
        assert!(storage.violations().is_empty());
    }
}

#[test]
fn a_load_comes_back_from_under_codec_and_cipher() {
    for sealed in Sealed::every() {
        let storage = SimStorage::new(SimOptions::disk(512));
        let engine = sealed.create(&storage);
        let mut expected = Rows::new();
        for round in 0..4_u64 {
            put(&engine, b"before", &content(round, 3_000));
            expected.insert(b"before".to_vec(), content(round, 3_000));
            let mut loaded = super::ingest::some_rows(round, round, 400, 1_400);
            loaded.insert(b"sevens".to_vec(), std::vec![7; 1_200]);
            loaded.insert(b"short sevens".to_vec(), std::vec![7; 100]);
            let mut load = engine.begin_ingest(16).unwrap();
            super::ingest::push_all(&engine, &mut load, &loaded).unwrap();
            let _ = super::ingest::finish(&engine, &mut load).unwrap();
            drop(load);
            expected.extend(loaded);
            engine.flush_step(true).unwrap();
            assert!(rows(&engine, 16).unwrap() == expected);
            verify(&engine);
            let image = storage.crash_image(CrashMode::Synced, round);
            let reopened = sealed.open(&image, 3 + round as u8).unwrap();
            assert!(rows(&reopened, 16).unwrap() == expected);
            drain(&reopened).unwrap();
            assert!(rows(&reopened, 16).unwrap() == expected);
            verify(&reopened);
        }
        drain(&engine).unwrap();
        assert!(rows(&engine, 16).unwrap() == expected);
        verify(&engine);
        if let Some(cipher) = &sealed.cipher {
            assert_eq!(cipher.nonce_reuses(), 0);
            let sevens = [7; 64];
            let file = storage.file_bytes(File::Pages).unwrap();
            let is_in_the_clear = file.windows(64).any(|window| window == sevens);
            assert!(!is_in_the_clear);
        }
        assert!(storage.violations().is_empty());
    }
}

#[test]
fn a_flipped_bit_of_a_large_value_is_never_served() {
    for sealed in Sealed::every() {
        let storage = SimStorage::new(SimOptions::disk(512));
        let engine = sealed.create(&storage);
        let bytes = content(1, 5_000);
        put(&engine, b"key", &bytes);
        drain(&engine).unwrap();
        let (address, _) = part(&engine, b"key", 0, 1).unwrap();
        let unit = engine.pager.layout().unit_bytes as u64;
        drop(engine);
        let mut found = 0;
        for at in (0..6 * 1_024_u64).step_by(37) {
            let image = storage.restart();
            image.flip_bit(File::Pages, address * unit + at, (at % 8) as u32);
            let engine = sealed.open(&image, 3).unwrap();
            for offset in (0..5_000).step_by(500) {
                match part(&engine, b"key", offset as u64, 500) {
                    Ok((_, read)) => assert_eq!(read, bytes[offset..offset + 500]),
                    Err(Error::Corruption { .. }) => found += 1,
                    Err(error) => panic!("{error}"),
                }
            }
        }
        assert!(found > 100, "{found}");
    }
}

#[test]
fn a_chunk_of_an_earlier_writing_is_not_taken_for_a_later_one() {
    for sealed in Sealed::every() {
        let storage = SimStorage::new(SimOptions::disk(512));
        let engine = sealed.create(&storage);
        let lost = stream(&engine, &content(1, 5_000));
        let before = storage.file_bytes(File::Pages).unwrap();
        let image = storage.crash_image(CrashMode::All, 0);
        drop(lost);
        drop(engine);
        // The same place, the same birth, the same number: another writing.
        let engine = sealed.open(&image, 3).unwrap();
        let bytes = content(2, 5_000);
        put(&engine, b"key", &bytes);
        engine.flush_step(true).unwrap();
        let (address, _) = part(&engine, b"key", 0, 1).unwrap();
        let offset = address as usize * engine.pager.layout().unit_bytes;
        drop(engine);
        let second = offset + 1_024..offset + 2_048;
        assert!(before[second.clone()].iter().any(|byte| *byte != 0));
        image.overwrite_raw(File::Pages, second.start as u64, &before[second]);
        let engine = sealed.open(&image.restart(), 4).unwrap();
        assert_eq!(part(&engine, b"key", 0, 500).unwrap().1, bytes[..500]);
        let stale = part(&engine, b"key", 1_200, 200);
        assert!(matches!(stale, Err(Error::Corruption { .. })), "{stale:?}");
        assert_eq!(
            part(&engine, b"key", 4_000, 500).unwrap().1,
            bytes[4_000..4_500]
        );
    }
}
