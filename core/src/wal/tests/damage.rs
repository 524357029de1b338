//! Rot and truncation: a right prefix that holds everything proven durable, or
//! an error; never wrong data.

use super::*;
use crate::error::CorruptionReason;

/// A log of two segments and a part of a third, flushed commit by commit, and
/// the last sequence that a later flush states to be durable, and the one that
/// the newest header does.
fn sample() -> (SimStorage, u64, u64, u64) {
    let storage = SimStorage::new(SimOptions::disk(512));
    let mut writer = SMALL.create(&storage).unwrap();
    let mut base = 0;
    while writer.segment() < 3 {
        prepare(&mut writer, 1).unwrap();
        base = writer.last_sequence();
        flush(&mut writer, 2, 0, true).unwrap();
    }
    flush(&mut writer, 2, 0, true).unwrap();
    let last = writer.last_sequence();
    (storage, last, last - 2, base)
}

/// Reads a damaged log; answers how many commits came back, if any.
fn read(storage: &SimStorage, last: u64) -> Option<u64> {
    match SMALL
        .scan(storage, FRESH)
        .and_then(|(scan, slots)| SMALL.read(storage, &scan, &slots))
    {
        Ok(commits) => {
            let count = commits.len() as u64;
            assert!(count <= last);
            assert!(
                commits == expected(count, 0),
                "a prefix of what was written"
            );
            Some(count)
        }
        Err(Error::Corruption { .. }) => None,
        Err(error) => panic!("{error:?}"),
    }
}

#[test]
fn every_flipped_bit_is_harmless_or_found() {
    let (storage, last, durable, _) = sample();
    assert_eq!(read(&storage, last), Some(last));
    let mut corrupt = 0;
    for file in storage.files() {
        let length = storage.file_bytes(file).unwrap().len() as u64;
        for offset in 0..length {
            let bit = (offset % 8) as u32;
            storage.flip_bit(file, offset, bit);
            match read(&storage, last) {
                Some(count) => assert!(count >= durable, "{file:?} {offset}: {count}"),
                None => corrupt += 1,
            }
            storage.flip_bit(file, offset, bit);
        }
    }
    assert!(corrupt > 4000, "{corrupt}");
}

#[test]
fn every_truncation_is_harmless_or_found() {
    let (storage, last, _, base) = sample();
    for file in storage.files() {
        let length = storage.file_bytes(file).unwrap().len() as u64;
        for cut in (0..length).rev() {
            let image = storage.fork();
            image.truncate_raw(file, cut);
            match read(&image, last) {
                Some(count) => {
                    assert!(
                        cut < 512 && file == File::Log(2) && count >= base,
                        "{file:?} {cut}"
                    );
                }
                None => assert!(cut >= 512 || file != File::Log(2), "{file:?} {cut}"),
            }
        }
        let image = storage.fork();
        image.remove_raw(file);
        if let Some(count) = read(&image, last) {
            assert!(
                file == File::Log(2) && count >= base,
                "{file:?} removed: {count}"
            );
        }
    }
}

#[test]
fn lost_blocks_are_harmless_or_found() {
    let (storage, last, durable, _) = sample();
    for file in storage.files() {
        let length = storage.file_bytes(file).unwrap().len() as u64;
        for block in (0..length).step_by(512) {
            for fill in [0, 0xFF, 1] {
                let image = storage.fork();
                image.overwrite_raw(file, block, &[fill; 512]);
                if let Some(count) = read(&image, last) {
                    assert!(count >= durable, "{file:?} {block}: {count}");
                }
            }
        }
    }
}

#[test]
fn damage_is_reported_where_it_is() {
    let (storage, ..) = sample();
    let header = storage.fork();
    header.flip_bit(File::Log(1), 80, 0);
    let error = SMALL.scan(&header, FRESH).err().unwrap();
    assert_eq!(
        error,
        Error::corrupt(CorruptionReason::SegmentHeader, File::Log(1), 0)
    );
    let frame = storage.fork();
    frame.flip_bit(File::Log(1), 512 + 20, 0);
    let error = SMALL.scan(&frame, FRESH).err().unwrap();
    assert_eq!(
        error,
        Error::corrupt(CorruptionReason::Frame, File::Log(1), 512)
    );
    let gone = storage.fork();
    for file in gone.files() {
        gone.remove_raw(file);
    }
    let error = SMALL.scan(&gone, FRESH).err().unwrap();
    assert_eq!(
        error,
        Error::corrupt(CorruptionReason::MissingSegment, File::Log(0), 0)
    );
    let copied = storage.fork();
    copied.overwrite_raw(File::Log(7), 0, &storage.file_bytes(File::Log(1)).unwrap());
    let error = SMALL.scan(&copied, FRESH).err().unwrap();
    assert!(matches!(
        error,
        Error::Corruption {
            reason: CorruptionReason::SegmentHeader,
            ..
        }
    ));
}

#[test]
fn random_bytes_never_panic() {
    let mut random = Random::new(1);
    for _ in 0..300 {
        let (storage, last) = (SimStorage::new(SimOptions::disk(512)), 0);
        for slot in 0..2 {
            let mut bytes = vec![0; random.below(5000) as usize];
            random.fill(&mut bytes);
            if random.chance(1, 2) {
                let header = crate::format::segment::SegmentHeader {
                    lineage_id: [1; 16],
                    instance_id: [2; 16],
                    number: 1 + slot,
                    segment_bytes: 4096,
                    block_bytes: 16 << random.below(6),
                    timeline: 0,
                    base_sequence: 0,
                    cut: random.next_u64(),
                };
                crate::format::bytes::put(&mut bytes, 0, &header.encode(Checksum::default()));
            }
            storage.overwrite_raw(File::Log(slot as u32), 0, &bytes);
        }
        read(&storage, last);
    }
}

/// The header is written with the first flush, and that write may be lost, or land on the
/// blocks behind.
#[test]
fn a_first_write_that_went_elsewhere_is_missed() {
    let (storage, ..) = sample();
    let newest = File::Log(2);
    let first = storage.read_raw(newest, 0, 1024).unwrap();
    let behind = storage.read_raw(newest, 1024, 1024).unwrap();
    storage.overwrite_raw(newest, 0, &[0; 1024]);
    let lost = storage.fork();
    storage.overwrite_raw(newest, 512, &first);
    // What was written since.
    storage.overwrite_raw(newest, 1024, &behind);
    for storage in [lost, storage] {
        let error = SMALL.scan(&storage, FRESH).err();
        assert_eq!(
            error,
            Some(Error::corrupt(CorruptionReason::SegmentHeader, newest, 0))
        );
    }
}
