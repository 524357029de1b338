//! What is written directly is read back, and the system's cache has none of it.

use super::*;
use crate::files::OpenMode;
use crate::test_directory::TestDirectory;
use rustix::fs::Advice;
use rustix::io::ReadWriteFlags;
use std::io::IoSliceMut;
use std::path::Path;

const FILE_BYTES: usize = 3 << 20;

fn pattern(bytes: usize) -> Vec<u8> {
    let number = |index: usize| (index as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56;
    (0..bytes).map(|index| number(index) as u8).collect()
}

/// How many of the file's blocks the system's cache has.
fn cached_blocks(path: &Path) -> usize {
    let file = std::fs::File::open(path).unwrap();
    // What isn't there is read in all the same: but not the blocks behind it, which are asked for
    // next.
    rustix::fs::fadvise(&file, 0, None, Advice::Random).unwrap();
    let length = file.metadata().unwrap().len();
    let mut byte = [0];
    let is_cached = |offset: &u64| {
        let mut to = [IoSliceMut::new(&mut byte)];
        // Answers with an error where it would have to wait for the device.
        rustix::io::preadv2(&file, &mut to, *offset, ReadWriteFlags::NOWAIT).is_ok()
    };
    (0..length).step_by(BLOCK_BYTES).filter(is_cached).count()
}

fn filled(directory: &TestDirectory) -> DirectStorage {
    let storage = LinuxStorage::open(directory.path(), OpenMode::Create).unwrap();
    let storage = DirectStorage::new(storage);
    storage.create(File::Pages).unwrap();
    // From memory that isn't aligned, too.
    let bytes = pattern(FILE_BYTES + 1);
    storage.write(File::Pages, 0, &bytes[1..]).unwrap();
    storage.sync(File::Pages).unwrap();
    storage
}

#[test]
fn ranges_of_any_alignment_are_read() {
    let directory = TestDirectory::on_disk();
    let storage = filled(&directory);
    if let Some(words) = storage.refusal() {
        println!("SKIPPED: {words}");
        return;
    }
    let expected = &pattern(FILE_BYTES + 1)[1..];
    let mut aligned = Aligned::new(FILE_BYTES);
    storage.read(File::Pages, 0, aligned.bytes_mut()).unwrap();
    assert_eq!(aligned.bytes_mut(), expected);
    for (offset, length) in [
        (0, 512),
        (1, 1),
        (4_095, 2),
        (512, 4_096),
        (8_192, 4_064),
        (5, 300_000),
        (FILE_BYTES - 600_001, 600_001),
        (FILE_BYTES - 1, 1),
    ] {
        let mut read = vec![0; length];
        storage.read(File::Pages, offset as u64, &mut read).unwrap();
        assert_eq!(read, expected[offset..offset + length], "{offset} {length}");
    }
    let ended = Err(IoError::of(IoErrorKind::UnexpectedEnd));
    for (offset, length) in [(FILE_BYTES - 1, 2), (FILE_BYTES, 1), (usize::MAX >> 1, 1)] {
        let read = storage.read(File::Pages, offset as u64, &mut vec![0; length]);
        assert_eq!(read, ended);
    }
    // The parts of two compressed pages, one behind the other, and one far away.
    let (mut a, mut b, mut c, mut d) = ([0; 32], vec![0; 1_500], [0; 32], vec![0; 500_000]);
    let mut requests = [
        ReadRequest {
            offset: 512,
            buffer: &mut a,
        },
        ReadRequest {
            offset: 544,
            buffer: &mut b,
        },
        ReadRequest {
            offset: 2_044,
            buffer: &mut c,
        },
        ReadRequest {
            offset: 1_000_001,
            buffer: &mut d,
        },
    ];
    storage.read_batch(File::Pages, &mut requests).unwrap();
    assert_eq!(a, expected[512..544]);
    assert_eq!(b, expected[544..2_044]);
    assert_eq!(c, expected[2_044..2_076]);
    assert_eq!(d, expected[1_000_001..1_500_001]);
}

#[test]
fn writes_land_and_zeros_too() {
    let directory = TestDirectory::on_disk();
    let storage = filled(&directory);
    if let Some(words) = storage.refusal() {
        println!("SKIPPED: {words}");
        return;
    }
    let mut expected = pattern(FILE_BYTES + 1)[1..].to_vec();
    let mut aligned = Aligned::new(4 * BLOCK_BYTES);
    aligned.bytes_mut().fill(7);
    storage
        .write(File::Pages, 8_192, aligned.bytes_mut())
        .unwrap();
    expected[8_192..8_192 + 4 * BLOCK_BYTES].fill(7);
    let odd = vec![9; 600 * BLOCK_BYTES + 3];
    let requests = [
        WriteRequest {
            offset: 40_960,
            bytes: &odd[3..],
        },
        WriteRequest {
            offset: 0,
            bytes: &odd[1..=BLOCK_BYTES],
        },
    ];
    storage.write_batch(File::Pages, &requests).unwrap();
    expected[40_960..40_960 + 600 * BLOCK_BYTES].fill(9);
    expected[..BLOCK_BYTES].fill(9);
    storage.erase(File::Pages, 1 << 20, 1 << 20).unwrap();
    expected[1 << 20..2 << 20].fill(0);
    // The engine's writes are of whole blocks; others are refused, not torn.
    assert!(storage.write(File::Pages, 1, &[1; BLOCK_BYTES]).is_err());
    assert!(storage.write(File::Pages, 0, &[1; 512]).is_err());
    storage.sync(File::Pages).unwrap();
    drop(storage);
    let read = std::fs::read(directory.path().join("pages.ldb")).unwrap();
    assert!(read == expected);
}

#[test]
fn the_system_caches_none_of_it() {
    let directory = TestDirectory::on_disk();
    let storage = filled(&directory);
    let path = directory.path().join("pages.ldb");
    if let Some(words) = storage.refusal() {
        println!("SKIPPED: {words}");
        return;
    }
    let mut bytes = vec![0; FILE_BYTES];
    storage.read(File::Pages, 0, &mut bytes).unwrap();
    // Some may come while they are asked for, and some go.
    let all = FILE_BYTES / BLOCK_BYTES;
    let cached = cached_blocks(&path);
    assert!(cached < all / 8, "{cached} of {all}");
    drop(storage);
    // The check sees what is cached.
    let storage = LinuxStorage::open(directory.path(), OpenMode::ReadWrite).unwrap();
    storage.read(File::Pages, 0, &mut bytes).unwrap();
    let cached = cached_blocks(&path);
    assert!(cached > all / 2, "{cached} of {all}");
    // An existing file is used directly from its opening on.
    drop(storage);
    let storage = LinuxStorage::open(directory.path(), OpenMode::ReadOnly).unwrap();
    assert_eq!(DirectStorage::new(storage).refusal(), None);
}

#[test]
fn a_file_system_in_memory_refuses_and_is_used_all_the_same() {
    let memory = Path::new("/dev/shm");
    let is_tmpfs = rustix::fs::statfs(memory).is_ok_and(|found| found.f_type == 0x0102_1994);
    if !is_tmpfs {
        println!("SKIPPED: /dev/shm is no tmpfs here");
        return;
    }
    let directory = TestDirectory::within(memory);
    let storage = filled(&directory);
    assert_eq!(storage.refusal().unwrap(), "the file system is in memory");
    let mut read = vec![0; 100];
    storage.read(File::Pages, 5, &mut read).unwrap();
    assert_eq!(read, pattern(200)[6..106]);
}

#[test]
fn what_will_be_read_is_brought_into_the_cache() {
    let directory = TestDirectory::on_disk();
    let path = directory.path().join("pages.ldb");
    drop(filled(&directory));
    let storage = LinuxStorage::open(directory.path(), OpenMode::ReadWrite).unwrap();
    let file = std::fs::File::open(&path).unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    if cached_blocks(&path) > 0 {
        println!("SKIPPED: this file system keeps what it was told to forget");
        return;
    }
    storage.will_read(File::Pages, 1 << 20, 64 * BLOCK_BYTES as u64);
    // It comes while others go on.
    let started = std::time::Instant::now();
    while cached_blocks(&path) < 64 {
        assert!(started.elapsed().as_secs() < 30, "{}", cached_blocks(&path));
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let mut bytes = vec![0; 64 * BLOCK_BYTES];
    storage.read(File::Pages, 1 << 20, &mut bytes).unwrap();
    assert!(bytes == pattern(FILE_BYTES + 1)[(1 << 20) + 1..][..bytes.len()]);
    // What isn't there is no error.
    storage.will_read(File::Pages, u64::MAX - 5, 3);
    storage.will_read(File::Log(7), 0, 100);
}
