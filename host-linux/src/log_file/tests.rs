//! Which way bytes become durable, and that both ways leave the same file.

use super::*;
use crate::test_directory::TestDirectory;
use rustix::fs::{Mode, OFlags};
use std::path::Path;

const FILE_BYTES: usize = 1 << 20;

fn opened(path: &Path, flags: OFlags) -> Option<OwnedFd> {
    let mode = Mode::from_raw_mode(0o600);
    rustix::fs::open(path, flags | OFlags::CREATE | OFlags::CLOEXEC, mode).ok()
}

/// A slot of zeros that is synced, or `None` where nothing is written past the cache.
fn synced(directory: &TestDirectory) -> Option<LogFile> {
    let path = directory.path().join("slot");
    let descriptor = opened(&path, OFlags::RDWR).unwrap();
    let through = opened(&path, OFlags::WRONLY | OFlags::DIRECT | OFlags::DSYNC);
    if through.is_none() {
        println!("SKIPPED: the file system has no direct writes");
        return None;
    }
    let log = LogFile::new(descriptor, through);
    transfer::write_zeros_at(log.descriptor(), 0, FILE_BYTES as u64).unwrap();
    log.note_change();
    log.sync().unwrap();
    Some(log)
}

fn contents(log: &LogFile) -> Vec<u8> {
    let mut read = vec![0; FILE_BYTES];
    transfer::read_exact_at(log.descriptor(), 0, &mut read).unwrap();
    read
}

#[test]
fn one_call_is_enough_only_where_the_whole_file_is_durable_after_it() {
    let directory = TestDirectory::on_disk();
    let Some(log) = synced(&directory) else {
        return;
    };
    let bounce = Bounce::new();
    let write = |offset, byte| log.write_and_sync(offset, &[byte; BLOCK_BYTES], &bounce);
    assert_eq!(write(0, 1), Ok(Way::Through));
    // It leaves nothing behind that would have to be synced.
    assert_eq!(write(4096, 2), Ok(Way::Through));

    transfer::write_all_at(log.descriptor(), 65_536, &[3; 4096]).unwrap();
    log.note_change();
    assert_eq!(write(8192, 4), Ok(Way::Cache));
    assert_eq!(write(12_288, 5), Ok(Way::Through));

    // Nobody knows what was done to a file before it was opened.
    let path = directory.path().join("slot");
    let again = LogFile::new(
        opened(&path, OFlags::RDWR).unwrap(),
        opened(&path, OFlags::WRONLY | OFlags::DIRECT | OFlags::DSYNC),
    );
    let block = [6; BLOCK_BYTES];
    assert_eq!(
        again.write_and_sync(16_384, &block, &bounce),
        Ok(Way::Cache)
    );
    assert_eq!(
        again.write_and_sync(20_480, &block, &bounce),
        Ok(Way::Through)
    );

    let read = contents(&log);
    for (block, byte) in [(0, 1), (1, 2), (2, 4), (3, 5), (4, 6), (5, 6), (16, 3)] {
        let range = block * BLOCK_BYTES..(block + 1) * BLOCK_BYTES;
        assert!(read[range].iter().all(|found| *found == byte), "{block}");
    }
}

#[test]
fn what_the_cache_has_is_replaced() {
    let directory = TestDirectory::on_disk();
    let Some(log) = synced(&directory) else {
        return;
    };
    let bounce = Bounce::new();
    let mut expected = contents(&log);
    for round in 1..40_usize {
        let blocks = 1 + round % 16;
        let offset = round * 7 % 200 * BLOCK_BYTES;
        let skip = round % 3;
        let bytes: Vec<u8> = (0..blocks * BLOCK_BYTES + skip)
            .map(|index| (index * round) as u8)
            .collect();
        let bytes = &bytes[skip..];
        assert_eq!(
            log.write_and_sync(offset as u64, bytes, &bounce),
            Ok(Way::Through)
        );
        expected[offset..offset + bytes.len()].copy_from_slice(bytes);
        assert!(contents(&log) == expected, "round {round}");
    }
}

#[test]
fn what_cannot_go_past_the_cache_goes_through_it() {
    let directory = TestDirectory::on_disk();
    let Some(log) = synced(&directory) else {
        return;
    };
    let bounce = Bounce::new();
    let write = |offset, bytes: &[u8]| log.write_and_sync(offset, bytes, &bounce);
    assert_eq!(write(512, &[1; 4096]), Ok(Way::Cache));
    assert_eq!(write(4096, &[2; 512]), Ok(Way::Cache));
    assert_eq!(
        write(8192, &vec![3; BYTES_MAX + BLOCK_BYTES]),
        Ok(Way::Cache)
    );
    assert_eq!(write(0, &[4; 4096]), Ok(Way::Through));
    let busy = bounce.0.lock().unwrap();
    let mut unaligned = Aligned::new(2 * BLOCK_BYTES);
    let unaligned = &unaligned.bytes_mut()[1..=BLOCK_BYTES];
    assert_eq!(write(0, unaligned), Ok(Way::Cache));
    drop(busy);
    // A descriptor that refuses: one that isn't open for writing.
    let path = directory.path().join("slot");
    let refusing = LogFile::new(
        opened(&path, OFlags::RDWR).unwrap(),
        opened(&path, OFlags::RDONLY),
    );
    refusing.sync().unwrap();
    for _ in 0..2 {
        let written = refusing.write_and_sync(0, &[5; BLOCK_BYTES], &bounce);
        assert_eq!(written, Ok(Way::Cache));
    }
    assert_eq!(contents(&log)[..BLOCK_BYTES], [5; BLOCK_BYTES]);
}
