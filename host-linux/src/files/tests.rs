//! Tests of the data directory against a real file system.

use super::*;
use crate::LockHolder;
use crate::test_directory::TestDirectory;
use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;
use std::time::{Duration, SystemTime};

fn kind<T: std::fmt::Debug>(result: Result<T, IoError>) -> IoErrorKind {
    result.unwrap_err().kind
}

fn reason(result: Result<LinuxStorage, OpenError>) -> OpenErrorReason {
    result.unwrap_err().reason
}

/// A new storage with a page file and log slots 0 and 1.
fn created(path: &Path) -> LinuxStorage {
    let storage = LinuxStorage::open(path, OpenMode::Create).unwrap();
    for file in [File::Pages, File::Log(0), File::Log(1)] {
        storage.create(file).unwrap();
    }
    storage.sync_directory().unwrap();
    storage
}

#[test]
fn round_trip_survives_reopening() {
    let directory = TestDirectory::new();
    let path = directory.path().join("a/b/data");
    let storage = created(&path);
    let bytes: Vec<u8> = (0..100_000_u32).map(|index| (index % 251) as u8).collect();
    for file in [File::Pages, File::Log(0), File::Log(1)] {
        assert_eq!(storage.length(file), Ok(Some(0)));
        storage.write(file, 0, &bytes).unwrap();
        storage.write_and_sync(file, 8192, &[7; 4096]).unwrap();
    }
    drop(storage);

    for mode in [OpenMode::ReadWrite, OpenMode::ReadOnly, OpenMode::Create] {
        let storage = LinuxStorage::open(&path, mode).unwrap();
        assert_eq!(storage.is_read_only(), mode == OpenMode::ReadOnly);
        assert_eq!(storage.mode(), mode);
        assert_eq!(storage.path(), path);
        assert_eq!(storage.log_slots(), Ok(2));
        for file in [File::Pages, File::Log(0), File::Log(1)] {
            assert_eq!(storage.length(file), Ok(Some(100_000)));
            let mut read = vec![0; 100_000];
            storage.read(file, 0, &mut read).unwrap();
            assert_eq!(read[..8192], bytes[..8192]);
            assert_eq!(read[8192..12_288], [7; 4096]);
            assert_eq!(read[12_288..], bytes[12_288..]);
        }
    }
}

#[test]
fn modes_and_names_are_as_documented() {
    let directory = TestDirectory::new();
    let path = directory.path().join("data");
    let storage = created(&path);
    storage.create(File::Log(4321)).unwrap();
    assert_eq!(storage.log_slots(), Ok(4322));
    for (name, mode) in [
        ("", 0o750),
        ("wal", 0o750),
        ("pages.ldb", 0o640),
        ("lock", 0o640),
        ("wal/00000000.wal", 0o640),
        ("wal/00004321.wal", 0o640),
    ] {
        let permissions = std::fs::metadata(path.join(name)).unwrap().permissions();
        // The user's umask may take more away.
        assert_eq!(permissions.mode() & 0o777 & !mode, 0, "{name}");
        assert_eq!(permissions.mode() & 0o700, mode & 0o700, "{name}");
    }
    std::fs::write(path.join("wal/note.txt"), b"").unwrap();
    std::fs::write(path.join("wal/00200000.wal"), b"").unwrap();
    drop(storage);
    let storage = LinuxStorage::open(&path, OpenMode::ReadWrite).unwrap();
    assert_eq!(storage.log_slots(), Ok(4322));
    assert_eq!(storage.length(File::Log(2)), Ok(None));
    storage.remove(File::Log(4321)).unwrap();
    assert_eq!(storage.log_slots(), Ok(2));
}

#[test]
fn slot_names_round_trip() {
    for slot in [0, 7, 99, 12_345, LOG_SLOTS_MAX - 1] {
        let name = SlotName::new(slot).unwrap();
        assert_eq!(name.as_bytes(), format!("{slot:08}.wal").as_bytes());
        assert_eq!(SlotName::parse(name.as_bytes()), Some(slot));
    }
    assert!(SlotName::new(LOG_SLOTS_MAX).is_none());
    for name in [
        "1.wal",
        "00000001.wa",
        "+0000001.wal",
        "99999999.wal",
        "000000001.wal",
        "",
    ] {
        assert_eq!(SlotName::parse(name.as_bytes()), None, "{name}");
    }
}

#[test]
fn geometry_is_within_the_contract() {
    let directory = TestDirectory::new();
    let storage = created(directory.path());
    let geometry = storage.geometry();
    assert!(geometry.write_block_bytes.is_power_of_two());
    assert!((4096..=65_536).contains(&geometry.write_block_bytes));
    assert_eq!((geometry.erase_block_bytes, geometry.erased_byte), (1, 0));
    assert!(geometry.can_truncate && !geometry.erase_before_write);
}

#[test]
fn create_and_remove_keep_the_table_true() {
    let directory = TestDirectory::new();
    let storage = LinuxStorage::open(directory.path(), OpenMode::Create).unwrap();
    for file in [File::Pages, File::Log(0), File::Log(3)] {
        assert_eq!(storage.length(file), Ok(None));
        assert_eq!(kind(storage.read(file, 0, &mut [0])), IoErrorKind::NotFound);
        assert_eq!(kind(storage.remove(file)), IoErrorKind::NotFound);
        storage.create(file).unwrap();
        assert_eq!(kind(storage.create(file)), IoErrorKind::AlreadyExists);
        storage.write(file, 0, b"x").unwrap();
        storage.remove(file).unwrap();
        assert_eq!(kind(storage.write(file, 0, b"x")), IoErrorKind::NotFound);
        assert_eq!(storage.log_slots(), Ok(0));
        storage.create(file).unwrap();
        assert_eq!(storage.length(file), Ok(Some(0)));
        storage.remove(file).unwrap();
    }
    assert_eq!(
        kind(storage.create(File::Log(LOG_SLOTS_MAX))),
        IoErrorKind::InvalidInput
    );
}

#[test]
fn transfers_past_the_end() {
    let directory = TestDirectory::new();
    let storage = created(directory.path());
    storage.write(File::Pages, 0, &[1; 5000]).unwrap();
    let mut buffer = [0; 4096];
    for offset in [905, 5000, 1 << 40, u64::MAX] {
        let result = storage.read(File::Pages, offset, &mut buffer);
        assert_eq!(kind(result), IoErrorKind::UnexpectedEnd, "{offset}");
    }
    let (first, second) = buffer.split_at_mut(2048);
    let mut requests = [
        ReadRequest {
            offset: 2000,
            buffer: first,
        },
        ReadRequest {
            offset: 4048,
            buffer: second,
        },
    ];
    let result = storage.read_batch(File::Pages, &mut requests);
    assert_eq!(kind(result), IoErrorKind::UnexpectedEnd);
    storage.read(File::Pages, 904, &mut buffer).unwrap();
    storage.read(File::Pages, 5000, &mut []).unwrap();
    assert_eq!(
        kind(storage.write(File::Pages, u64::MAX, b"x")),
        IoErrorKind::InvalidInput
    );
    storage.write(File::Pages, 5000, &[2; 10]).unwrap();
    assert_eq!(storage.length(File::Pages), Ok(Some(5010)));
}

#[test]
fn batches_longer_than_any_vector() {
    const COUNT: usize = 3000;
    const LENGTH: usize = 24;
    let directory = TestDirectory::new();
    let storage = created(directory.path());
    let content: Vec<u8> = (0..COUNT * LENGTH)
        .map(|index| (index % 249) as u8)
        .collect();
    // Two stretches with a gap, an empty request, and one that goes back.
    let offset = |index: usize| match index {
        0 => (COUNT * LENGTH * 2) as u64,
        1..1800 => (index * LENGTH) as u64,
        _ => (index * LENGTH + 512) as u64,
    };
    let mut writes: Vec<WriteRequest<'_>> = content
        .chunks(LENGTH)
        .enumerate()
        .map(|(index, bytes)| WriteRequest {
            offset: offset(index),
            bytes,
        })
        .collect();
    writes.push(WriteRequest {
        offset: 0,
        bytes: &[],
    });
    storage.write_batch(File::Log(0), &writes).unwrap();

    let mut read = vec![0; content.len()];
    let mut reads: Vec<ReadRequest<'_>> = read
        .chunks_mut(LENGTH)
        .enumerate()
        .map(|(index, buffer)| ReadRequest {
            offset: offset(index),
            buffer,
        })
        .collect();
    storage.read_batch(File::Log(0), &mut reads).unwrap();
    assert_eq!(read, content);
    let mut gap = [1; 512];
    storage
        .read(File::Log(0), (1800 * LENGTH) as u64, &mut gap)
        .unwrap();
    assert_eq!(gap, [0; 512]);
    storage.read_batch(File::Log(0), &mut []).unwrap();
    storage.write_batch(File::Log(0), &[]).unwrap();
}

#[test]
fn room_of_the_page_file_is_what_it_takes_and_what_the_device_has() {
    let directory = TestDirectory::new();
    let storage = created(directory.path());
    storage.set_length(File::Pages, 1 << 20).unwrap();
    let empty = storage.page_file_room().expect("a limit");
    assert!(empty.taken_bytes < 1 << 20, "{empty:?}");
    assert!(empty.available_bytes > 1 << 20, "{empty:?}");
    storage.erase(File::Pages, 0, 1 << 20).unwrap();
    storage.sync(File::Pages).unwrap();
    let full = storage.page_file_room().expect("a limit");
    assert!(full.taken_bytes >= 1 << 20, "{full:?}");
}

#[test]
fn erase_zeroes_and_allocates() {
    let directory = TestDirectory::new();
    let storage = created(directory.path());
    let length = 3 * 1024 * 1024 + 4096;
    storage.write(File::Log(0), 0, &vec![9; 8192]).unwrap();
    storage.set_length(File::Log(0), length).unwrap();
    storage.erase(File::Log(0), 4096, length - 4096).unwrap();
    storage.sync(File::Log(0)).unwrap();
    assert_eq!(storage.length(File::Log(0)), Ok(Some(length)));
    let mut read = vec![1; length as usize];
    storage.read(File::Log(0), 0, &mut read).unwrap();
    assert!(read[..4096].iter().all(|&byte| byte == 9));
    assert!(read[4096..].iter().all(|&byte| byte == 0));
    let metadata = std::fs::metadata(directory.path().join("wal/00000000.wal")).unwrap();
    assert!(metadata.blocks() * 512 >= length);
}

#[test]
fn holes_give_room_back() {
    let directory = TestDirectory::new();
    let storage = created(directory.path());
    if !storage.geometry().can_punch_hole {
        println!("note: this file system takes no holes; test skipped");
        assert_eq!(
            kind(storage.punch_hole(File::Pages, 0, 4096)),
            IoErrorKind::Unsupported
        );
        return;
    }
    let bytes = 1024 * 1024;
    storage.write(File::Pages, 0, &vec![3; bytes]).unwrap();
    storage.sync(File::Pages).unwrap();
    let blocks = || {
        std::fs::metadata(directory.path().join("pages.ldb"))
            .unwrap()
            .blocks()
    };
    let before = blocks();
    storage.punch_hole(File::Pages, 65_536, 524_288).unwrap();
    storage.punch_hole(File::Pages, 0, 0).unwrap();
    storage.sync(File::Pages).unwrap();
    assert!(before - blocks() >= 524_288 / 512);
    assert_eq!(storage.length(File::Pages), Ok(Some(bytes as u64)));
    let mut read = vec![1; bytes];
    storage.read(File::Pages, 0, &mut read).unwrap();
    assert!(read[65_536..589_824].iter().all(|&byte| byte == 0));
    assert!(read[589_824..].iter().all(|&byte| byte == 3));

    drop(storage);
    let storage = LinuxStorage::open(directory.path(), OpenMode::ReadWrite).unwrap();
    assert!(storage.geometry().can_punch_hole);
    assert_eq!(storage.length(File::Pages), Ok(Some(bytes as u64)));
    let mut again = vec![1; bytes];
    storage.read(File::Pages, 0, &mut again).unwrap();
    assert_eq!(read, again);
}

#[test]
fn length_grows_and_shrinks() {
    let directory = TestDirectory::new();
    let storage = created(directory.path());
    storage.write(File::Pages, 0, &[5; 8192]).unwrap();
    storage.set_length(File::Pages, 4096).unwrap();
    storage.set_length(File::Pages, 16_384).unwrap();
    storage.sync(File::Pages).unwrap();
    let mut read = [1; 16_384];
    storage.read(File::Pages, 0, &mut read).unwrap();
    assert_eq!(read[..4096], [5; 4096]);
    assert!(read[4096..].iter().all(|&byte| byte == 0));
}

#[test]
fn one_writer_or_many_readers() {
    let directory = TestDirectory::new();
    let path = directory.path();
    let this_process = OpenErrorReason::InUse(LockHolder::Writer {
        pid: Some(std::process::id()),
    });
    let writer = created(path);
    assert_eq!(
        reason(LinuxStorage::open(path, OpenMode::ReadWrite)),
        this_process
    );
    assert_eq!(
        reason(LinuxStorage::open(path, OpenMode::Create)),
        this_process
    );
    assert_eq!(
        reason(LinuxStorage::open(path, OpenMode::ReadOnly)),
        this_process
    );
    drop(writer);
    assert_eq!(std::fs::read(path.join("lock")).unwrap(), b"");

    let reader = LinuxStorage::open(path, OpenMode::ReadOnly).unwrap();
    let second = LinuxStorage::open(path, OpenMode::ReadOnly).unwrap();
    let by_readers = OpenErrorReason::InUse(LockHolder::Readers);
    assert_eq!(
        reason(LinuxStorage::open(path, OpenMode::ReadWrite)),
        by_readers
    );
    drop(reader);
    let refused = LinuxStorage::open(path, OpenMode::ReadWrite);
    assert_eq!(
        refused.as_ref().unwrap_err().io_error().kind,
        IoErrorKind::InUse
    );
    assert_eq!(reason(refused), by_readers);
    drop(second);
    LinuxStorage::open(path, OpenMode::ReadWrite).unwrap();
}

#[test]
fn the_lock_holds_without_its_file() {
    let directory = TestDirectory::new();
    let path = directory.path();
    let writer = created(path);
    std::fs::remove_file(path.join("lock")).unwrap();
    let by_writer = OpenErrorReason::InUse(LockHolder::Writer { pid: None });
    assert_eq!(
        reason(LinuxStorage::open(path, OpenMode::ReadOnly)),
        by_writer
    );
    assert_eq!(
        reason(LinuxStorage::open(path, OpenMode::ReadWrite)),
        by_writer
    );
    drop(writer);

    std::fs::remove_file(path.join("lock")).unwrap();
    let reader = LinuxStorage::open(path, OpenMode::ReadOnly).unwrap();
    assert!(!path.join("lock").exists());
    let by_readers = OpenErrorReason::InUse(LockHolder::Readers);
    assert_eq!(
        reason(LinuxStorage::open(path, OpenMode::ReadWrite)),
        by_readers
    );
    drop(reader);
    LinuxStorage::open(path, OpenMode::ReadWrite).unwrap();
}

type Stamps = BTreeMap<PathBuf, [i64; 8]>;

/// A directory and everything in it.
fn everything(path: &Path) -> Vec<PathBuf> {
    let mut paths = vec![path.to_path_buf()];
    let mut next = 0;
    while let Some(path) = paths.get(next).cloned() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).unwrap();
            paths.extend(entries.map(|entry| entry.unwrap().path()));
        }
        next += 1;
    }
    paths.sort();
    paths
}

/// Gives each path an old access time, which any plain read would renew.
fn age(paths: &[PathBuf]) {
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    let times = std::fs::FileTimes::new().set_accessed(long_ago);
    for path in paths {
        let file = std::fs::File::open(path).unwrap();
        file.set_times(times).unwrap();
    }
}

/// Length, inode and time stamps of each path, without touching any.
fn stamps(paths: &[PathBuf]) -> Stamps {
    let stamp = |path: &PathBuf| {
        let data = std::fs::metadata(path).unwrap();
        let stamp = [
            data.len() as i64,
            data.ino() as i64,
            data.atime(),
            data.atime_nsec(),
            data.mtime(),
            data.mtime_nsec(),
            data.ctime(),
            data.ctime_nsec(),
        ];
        (path.clone(), stamp)
    };
    paths.iter().map(stamp).collect()
}

#[test]
fn read_only_leaves_every_time_stamp() {
    let directory = TestDirectory::new();
    let path = directory.path();
    let storage = created(path);
    for file in [File::Pages, File::Log(0), File::Log(1)] {
        storage.write_and_sync(file, 0, &[1; 8192]).unwrap();
    }
    drop(storage);
    for has_lock_file in [true, false] {
        if !has_lock_file {
            std::fs::remove_file(path.join("lock")).unwrap();
        }
        let paths = everything(path);
        assert_eq!(paths.len(), if has_lock_file { 6 } else { 5 });
        age(&paths);
        let before = stamps(&paths);
        let storage = LinuxStorage::open(path, OpenMode::ReadOnly).unwrap();
        for file in [File::Pages, File::Log(0), File::Log(1)] {
            let mut buffer = [0; 8192];
            storage.read(file, 0, &mut buffer).unwrap();
            let refused = [
                storage.write(file, 0, &buffer),
                storage.write_batch(file, &[]),
                storage.write_and_sync(file, 0, &buffer),
                storage.erase(file, 0, 4096),
                storage.punch_hole(file, 0, 4096),
                storage.set_length(file, 0),
                storage.sync(file),
                storage.create(file),
                storage.remove(file),
                storage.sync_directory(),
            ];
            for result in refused {
                assert_eq!(kind(result), IoErrorKind::ReadOnly);
            }
        }
        drop(storage);
        assert_eq!(before, stamps(&paths));
        assert_eq!(paths, everything(path));
    }
}

#[test]
fn open_errors_name_what_is_wrong() {
    let directory = TestDirectory::new();
    let missing = directory.path().join("missing");
    for mode in [OpenMode::ReadWrite, OpenMode::ReadOnly] {
        let error = LinuxStorage::open(&missing, mode).unwrap_err();
        assert_eq!(error.reason, OpenErrorReason::NotFound);
        assert_eq!(error.path, missing);
    }

    let plain = directory.path().join("plain");
    std::fs::write(&plain, b"").unwrap();
    for mode in [OpenMode::Create, OpenMode::ReadWrite, OpenMode::ReadOnly] {
        for path in [plain.clone(), plain.join("below/it")] {
            let error = LinuxStorage::open(&path, mode).unwrap_err();
            assert_eq!(error.reason, OpenErrorReason::NotADirectory, "{path:?}");
            assert_eq!(error.path, plain);
            assert!(error.to_string().contains("not a directory"));
        }
    }

    let foreign = directory.path().join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    let error = LinuxStorage::open(&foreign, OpenMode::ReadWrite).unwrap_err();
    assert_eq!(error.reason, OpenErrorReason::NotFound);
    assert_eq!(error.path, foreign.join("wal"));
    assert_eq!(std::fs::read_dir(&foreign).unwrap().count(), 0);

    let blocked = directory.path().join("blocked");
    std::fs::create_dir_all(blocked.join("pages.ldb")).unwrap();
    for mode in [OpenMode::Create, OpenMode::ReadOnly] {
        let error = LinuxStorage::open(&blocked, mode).unwrap_err();
        assert_eq!(error.reason, OpenErrorReason::NotAFile);
        assert_eq!(error.path, blocked.join("pages.ldb"));
    }
}

/// Whatever keeps a log file from being opened: one that is passed over would be taken for
/// a log that has lost commits, or for none.
#[test]
fn a_log_file_that_cannot_be_opened_is_no_absent_one() {
    let directory = TestDirectory::new();
    let path = directory.path().join("data");
    drop(created(&path));
    std::fs::create_dir(path.join("wal/00000002.wal")).unwrap();
    for mode in [OpenMode::ReadWrite, OpenMode::ReadOnly] {
        let error = LinuxStorage::open(&path, mode).unwrap_err();
        assert!(error.to_string().contains("00000002.wal"), "{error}");
    }
}

#[test]
fn a_refused_directory_is_a_permission_error() {
    let directory = TestDirectory::new();
    let path = directory.path().join("data");
    drop(created(&path));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o0)).unwrap();
    if std::fs::read_dir(&path).is_ok() {
        println!("note: this user passes every permission; test skipped");
    } else {
        let error = LinuxStorage::open(&path, OpenMode::ReadOnly).unwrap_err();
        assert_eq!(error.reason, OpenErrorReason::PermissionDenied);
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o750)).unwrap();
}

/// A mounted file system that goes with the test.
struct SmallFileSystem(PathBuf);

impl SmallFileSystem {
    fn mount(path: PathBuf) -> Option<Self> {
        std::fs::create_dir(&path).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"])
            .arg(&path)
            .output()
            .is_ok_and(|output| output.status.success());
        mounted.then_some(Self(path))
    }
}

impl Drop for SmallFileSystem {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).output();
    }
}

#[test]
fn a_full_device_is_told_apart_and_stays_usable() {
    let directory = TestDirectory::new();
    let Some(small) = SmallFileSystem::mount(directory.path().join("small")) else {
        println!("note: no file system may be mounted here; test skipped");
        return;
    };
    let path = small.0.join("data");
    let storage = created(&path);
    storage.write(File::Pages, 0, &[1; 65_536]).unwrap();
    assert_eq!(
        kind(storage.write(File::Log(0), 0, &[1; 512 * 1024])),
        IoErrorKind::StorageFull
    );
    assert_eq!(
        kind(storage.erase(File::Log(1), 0, 512 * 1024)),
        IoErrorKind::StorageFull
    );
    let requests = [
        WriteRequest {
            offset: 65_536,
            bytes: &[2; 262_144],
        },
        WriteRequest {
            offset: 327_680,
            bytes: &[2; 262_144],
        },
    ];
    let error = storage.write_batch(File::Pages, &requests).unwrap_err();
    assert_eq!(error.kind, IoErrorKind::StorageFull);
    assert!(crate::io_error_text(error).contains("No space left"));
    assert_eq!(device::space(&path).unwrap().available_bytes, 0);
    let mut read = [0; 65_536];
    storage.read(File::Pages, 0, &mut read).unwrap();
    assert_eq!(read, [1; 65_536]);
    drop(storage);

    // Opening needs no room, and giving some back makes writes work again.
    let storage = LinuxStorage::open(&path, OpenMode::ReadWrite).unwrap();
    assert_eq!(device::counters(&path), Ok(None));
    storage.set_length(File::Log(0), 0).unwrap();
    storage.write(File::Pages, 65_536, &[3; 4096]).unwrap();
    drop(storage);
}

#[test]
fn threads_share_one_storage() {
    let directory = TestDirectory::new();
    let storage = created(directory.path());
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let storage = &storage;
            scope.spawn(move || {
                let slot = File::Log(2 + u32::from(thread));
                for round in 0..20_u64 {
                    storage.create(slot).unwrap();
                    let offset = u64::from(thread) * 4096;
                    let bytes = [thread.wrapping_add(round as u8); 4096];
                    for file in [File::Pages, slot] {
                        storage.write(file, offset, &bytes).unwrap();
                        let mut read = [0; 4096];
                        storage.read(file, offset, &mut read).unwrap();
                        assert_eq!(read, bytes);
                    }
                    storage.remove(slot).unwrap();
                }
            });
        }
    });
    assert_eq!(storage.log_slots(), Ok(2));
}
