//! Tests of the simulator: injected faults, failed syncs, room, violations.

use super::*;

#[test]
fn chosen_calls_fail_once_or_for_good() {
    let storage = disk_of(2);
    let next = storage.call_count() + 1;
    storage.fail_at(next, IoErrorKind::Other, false);
    storage.fail_at(next + 2, IoErrorKind::PermissionDenied, true);
    let read = || storage.read(PAGES, 0, &mut [0]);
    assert_eq!(read(), failed(IoErrorKind::Other));
    assert_eq!(read(), Ok(()));
    assert_eq!(read(), failed(IoErrorKind::PermissionDenied));
    assert_eq!(storage.remove(PAGES), read());
    let created = storage.create(File::Log(0));
    assert_eq!(created, failed(IoErrorKind::PermissionDenied));
    storage.clear_faults();
    assert_eq!(storage.files(), [PAGES]);
    assert_eq!(read(), Ok(()));

    storage.fail_reads(PAGES, 600, 1, IoErrorKind::Device);
    assert_eq!(read(), Ok(()));
    assert_eq!(storage.read(PAGES, 512, &mut [0; 100]), DEVICE);
    assert_eq!(storage.read(PAGES, 601, &mut [0; 100]), Ok(()));
}

#[test]
fn a_failed_write_changes_only_its_range() {
    let mut seen = std::collections::BTreeSet::new();
    for calls in 0..50 {
        let storage = disk_of(6);
        for _ in 0..calls {
            storage.log_slots().unwrap();
        }
        storage.fail_at(storage.call_count() + 1, IoErrorKind::Device, false);
        assert_eq!(storage.write(PAGES, 512, &[2; 4 * BLOCK]), DEVICE);
        let values = values(&storage);
        assert_eq!((values[0], values[5]), (1, 1));
        seen.insert(values);
    }
    assert_eq!(seen.len(), 5, "none to all of the four blocks");
}

#[test]
fn no_later_sync_saves_what_a_failed_one_lost() {
    let storage = disk_of(4);
    storage.write(PAGES, 0, &[2; 3 * BLOCK]).unwrap();
    storage.fail_syncs(Some(IoErrorKind::Device));
    assert_eq!(storage.sync(PAGES), DEVICE);
    storage.fail_syncs(None);
    assert_eq!(values(&storage), [2, 2, 2, 1], "still read");
    storage.write(PAGES, 512, &block(3)).unwrap();
    storage.write(PAGES, 1_536, &block(3)).unwrap();
    storage.sync(PAGES).unwrap();
    assert_violation(&storage, "after a failed sync");
    let synced = storage.crash_image(CrashMode::Synced, 0);
    assert_eq!(values(&synced), [1, 3, 1, 3]);
    let all = storage.crash_image(CrashMode::All, 0);
    assert_eq!(values(&all), [2, 3, 2, 3]);
    let restarted = storage.restart();
    assert_eq!(values(&restarted), [2, 3, 2, 3]);
    restarted.sync(PAGES).unwrap();
    assert_no_violations(&restarted);
    let synced = restarted.crash_image(CrashMode::Synced, 0);
    assert_eq!(values(&synced), [1, 3, 1, 3]);
    restarted.write(PAGES, 0, &[4; 4 * BLOCK]).unwrap();
    restarted.sync(PAGES).unwrap();
    for mode in CrashMode::EVERY {
        assert_eq!(values(&restarted.crash_image(mode, 5)), [4; 4]);
    }
    assert_eq!(restarted.unsynced_count(), 0);
}

#[test]
fn a_length_in_doubt_yields_to_a_later_one() {
    let storage = disk_of(1);
    storage.set_length(PAGES, 8 * BLOCK_BYTES).unwrap();
    storage.write(PAGES, 7 * BLOCK_BYTES, &block(2)).unwrap();
    storage.fail_syncs(Some(IoErrorKind::Device));
    let _ = storage.sync(PAGES);
    let storage = storage.restart();
    storage.set_length(PAGES, 2 * BLOCK_BYTES).unwrap();
    storage.sync(PAGES).unwrap();
    for mode in CrashMode::EVERY {
        assert_eq!(values(&storage.crash_image(mode, 2)), [1, 0]);
    }
}

#[test]
fn a_failed_directory_sync_is_final() {
    let storage = empty_disk();
    storage.create(PAGES).unwrap();
    storage.fail_syncs(Some(IoErrorKind::Device));
    assert_eq!(storage.sync_directory(), DEVICE);
    storage.fail_syncs(None);
    storage.create(File::Log(0)).unwrap();
    storage.sync_directory().unwrap();
    assert_violation(&storage, "directory after a failed sync");
    let synced = storage.crash_image(CrashMode::Synced, 0);
    assert_eq!(synced.files(), [File::Log(0)]);
    let all = storage.crash_image(CrashMode::All, 0);
    assert_eq!(all.files(), [PAGES, File::Log(0)]);
}

#[test]
fn a_full_device_refuses_what_needs_room() {
    let storage = SimStorage::new(SimOptions {
        capacity_bytes: 16_384,
        ..SimOptions::disk(512)
    });
    let full = failed(IoErrorKind::StorageFull);
    storage.create(PAGES).unwrap();
    storage.create(File::Log(0)).unwrap();
    storage.write(PAGES, 0, &[1; 12_288]).unwrap();
    storage.set_length(File::Log(0), 1 << 30).unwrap();
    assert_eq!(storage.erase(File::Log(0), 0, 8_192), full);
    storage.erase(File::Log(0), 0, 4_096).unwrap();
    assert_eq!(storage.bytes_used(), 16_384);
    storage.write(File::Log(0), 0, &[2; 4_096]).unwrap();
    assert_eq!(storage.write(PAGES, 12_288, &block(1)), full);
    assert_eq!(storage.length(PAGES), Ok(Some(12_288)));
    storage.punch_hole(PAGES, 0, 4_096).unwrap();
    storage.write(PAGES, 12_288, &block(1)).unwrap();
    assert_eq!(storage.write(PAGES, 0, &block(1)), full);
    storage.set_capacity(20_480);
    storage.write(PAGES, 0, &block(1)).unwrap();
    storage.set_capacity(0);
    storage.write(PAGES, 0, &block(2)).unwrap();
    storage.remove(File::Log(0)).unwrap();
    assert_eq!(storage.bytes_used(), 16_384);
    assert_no_violations(&storage);
}

#[test]
fn the_declared_bounds_hold() {
    let storage = SimStorage::new(SimOptions::flash(256, 4_096, 65_536));
    storage.create(PAGES).unwrap();
    let full = failed(IoErrorKind::StorageFull);
    assert_eq!(storage.set_length(PAGES, 65_537), full);
    storage.set_length(PAGES, 65_536).unwrap();
    assert_eq!(storage.write(PAGES, 65_536, &[0; 256]), full);
    let unsupported = failed(IoErrorKind::Unsupported);
    assert_eq!(storage.set_length(PAGES, 4_096), unsupported);
    assert_eq!(storage.punch_hole(PAGES, 0, 4_096), unsupported);
    assert_eq!(storage.read_raw(PAGES, 0, 4), Some(vec![0xFF; 4]));
    assert_no_violations(&storage);
}

#[test]
fn writing_twice_without_erasing_is_a_violation() {
    let storage = SimStorage::new(SimOptions::flash(256, 4_096, 65_536));
    storage.create(PAGES).unwrap();
    storage.sync_directory().unwrap();
    storage.set_length(PAGES, 8_192).unwrap();
    storage.write(PAGES, 0, &[1; 256]).unwrap();
    storage.write(PAGES, 256, &[0xFF; 256]).unwrap();
    storage.erase(PAGES, 0, 4_096).unwrap();
    storage.write(PAGES, 256, &[2; 512]).unwrap();
    storage.sync(PAGES).unwrap();
    assert_no_violations(&storage);
    let image = storage.crash_image(CrashMode::Synced, 0);
    image.write(PAGES, 0, &[3; 256]).unwrap();
    assert_no_violations(&image);
    image.write(PAGES, 512, &[3; 256]).unwrap();
    assert_violation(&image, "not erased");
    storage.erase(PAGES, 256, 256).unwrap();
    assert_violation(&storage, "larger of write and erase block");
}

#[test]
fn misuse_is_recorded() {
    let storage = disk_of(4);
    storage.write(PAGES, 8, &[0; 512]).unwrap();
    assert_violation(&storage, "aligned to the write block");
    let storage = disk_of(4);
    storage.write(PAGES, 0, &[0; 100]).unwrap();
    assert_violation(&storage, "aligned to the write block");
    let storage = disk_of(4);
    let two = [2; 2 * BLOCK];
    let requests = [1_024, 0, 512].map(|offset| WriteRequest {
        offset,
        bytes: &two,
    });
    storage.write_batch(PAGES, &requests).unwrap();
    assert_violation(&storage, "overlap");
    let storage = disk_of(4);
    let invalid = failed(IoErrorKind::InvalidInput);
    assert_eq!(storage.write(PAGES, 4_096, &block(0)), invalid);
    assert_violation(&storage, "past the end");
    let storage = disk_of(4);
    assert_eq!(storage.erase(PAGES, 0, 4_096), invalid);
    assert_violation(&storage, "past the end");
    let storage = disk_of(4);
    let view = storage.read_only();
    assert!(view.is_read_only() && !storage.is_read_only());
    view.read(PAGES, 0, &mut [0]).unwrap();
    assert_no_violations(&storage);
    assert_eq!(view.sync(PAGES), failed(IoErrorKind::ReadOnly));
    assert_violation(&storage, "read-only");
}

#[test]
fn what_is_in_doubt_may_leave_the_cache() {
    let storage = disk_of(2);
    storage.write(PAGES, 0, &block(2)).unwrap();
    storage.write(PAGES, 1_024, &block(3)).unwrap();
    storage.fail_syncs(Some(IoErrorKind::Device));
    assert_eq!(storage.sync(PAGES), DEVICE);
    storage.fail_syncs(None);
    storage.write(PAGES, 512, &block(4)).unwrap();
    assert_eq!(values(&storage), [2, 4, 3]);
    storage.forget_doubtful();
    assert_eq!(values(&storage), [1, 4, 0]);
    // The length is still in doubt, and what came later is unsynced.
    let next = storage.restart();
    let synced = next.crash_image(CrashMode::Synced, 0);
    assert_eq!(values(&synced), [1, 1]);
    next.sync(PAGES).unwrap();
    assert_eq!(values(&next.crash_image(CrashMode::Synced, 0)), [1, 4]);
}

#[test]
fn a_short_write_stops_at_any_byte_and_touches_nothing_else() {
    let mut lengths = std::collections::BTreeSet::new();
    for seed in 0..8_000 {
        let storage = disk_of(4);
        let failure = CallFailure::short(IoErrorKind::StorageFull, seed);
        storage.fail_at(storage.call_count() + 2, failure, false);
        let bytes = [2; 2 * BLOCK];
        let requests = [512, 1_536].map(|offset| WriteRequest {
            offset,
            bytes: &bytes[..BLOCK],
        });
        let full = failed(IoErrorKind::StorageFull);
        assert_eq!(storage.write_batch(PAGES, &requests), full);
        let found = storage.file_bytes(PAGES).unwrap();
        assert_eq!(found[512..1_024], [2; BLOCK], "the request before it");
        let count = found[1_536..].iter().filter(|byte| **byte == 2).count();
        assert!(found[1_536..1_536 + count].iter().all(|byte| *byte == 2));
        assert!(found[1_536 + count..].iter().all(|byte| *byte == 1));
        assert_eq!(found[..512], [1; BLOCK]);
        assert_eq!(found[1_024..1_536], [1; BLOCK]);
        lengths.insert(count);
        // A block that was written in part is as unsynced as any other.
        let lost = storage.crash_image(CrashMode::Synced, 0);
        assert_eq!(values(&lost), [1; 4]);
        let kept = storage.crash_image(CrashMode::All, 0);
        assert_eq!(kept.file_bytes(PAGES).unwrap(), found);
    }
    assert_eq!(lengths.len(), BLOCK + 1, "none to all of its bytes");
}

#[test]
fn a_short_read_brings_right_bytes_and_noise() {
    let mut lengths = std::collections::BTreeSet::new();
    for seed in 0..2_000 {
        let storage = disk_of(2);
        let failure = CallFailure::short(IoErrorKind::Device, seed);
        storage.fail_at(storage.call_count() + 2, failure, false);
        let mut buffers = [[9; 128]; 3];
        let mut requests: Vec<ReadRequest<'_>> = buffers
            .iter_mut()
            .map(|buffer| ReadRequest { offset: 64, buffer })
            .collect();
        assert_eq!(storage.read_batch(PAGES, &mut requests), DEVICE);
        let right = buffers.map(|buffer| buffer.iter().take_while(|byte| **byte == 1).count());
        assert_eq!(right[0], 128);
        assert!(right[2] < 8, "the requests behind it hold noise");
        assert!(buffers.iter().all(|buffer| buffer[..] != [9; 128]));
        lengths.insert(right[1]);
    }
    assert!(lengths.contains(&0) && lengths.contains(&128));
    assert!(lengths.len() > 100, "{}", lengths.len());
    // The end of the file and a bad sector end a read as well.
    let storage = disk_of(1);
    let mut buffer = [9; 600];
    assert!(storage.read(PAGES, 0, &mut buffer).is_err());
    assert_eq!(buffer[..512], [1; 512]);
    storage.fail_reads(PAGES, 100, 1, IoErrorKind::Device);
    let mut buffer = [9; 300];
    assert_eq!(storage.read(PAGES, 0, &mut buffer), DEVICE);
    assert_eq!(buffer[..100], [1; 100]);
    assert_ne!(buffer[100..], [1; 200]);
}

#[test]
fn what_has_no_parts_is_done_or_not_though_it_failed() {
    let outcomes = |call: fn(&SimStorage) -> Result<(), IoError>| {
        let done: Vec<bool> = (0..40)
            .map(|seed| {
                let storage = disk_of(4);
                let before = storage.digest();
                let failure = CallFailure::short(IoErrorKind::Device, seed);
                storage.fail_at(storage.call_count() + 1, failure, false);
                assert_eq!(call(&storage), DEVICE);
                storage.digest() != before
            })
            .collect();
        (done.contains(&true), done.contains(&false))
    };
    let either = (true, true);
    assert_eq!(outcomes(|storage| storage.create(File::Log(0))), either);
    assert_eq!(outcomes(|storage| storage.remove(PAGES)), either);
    assert_eq!(outcomes(|storage| storage.set_length(PAGES, 512)), either);
    assert!(outcomes(|storage| storage.erase(PAGES, 512, 1_024)).0);
    assert!(outcomes(|storage| storage.punch_hole(PAGES, 512, 1_024)).0);
}

#[test]
fn a_device_that_fills_up_takes_what_fits() {
    let storage = SimStorage::new(SimOptions {
        capacity_bytes: 8_192,
        ..SimOptions::disk(512)
    });
    let full = failed(IoErrorKind::StorageFull);
    storage.create(PAGES).unwrap();
    assert_eq!(storage.write(PAGES, 0, &[1; 12_288]), full);
    assert_eq!(storage.length(PAGES), Ok(Some(8_192)));
    storage.set_length(PAGES, 12_288).unwrap();
    storage.set_capacity(12_288);
    storage.punch_hole(PAGES, 0, 4_096).unwrap();
    storage.set_capacity(8_192);
    assert_eq!(storage.erase(PAGES, 0, 12_288), full);
    assert_eq!(storage.bytes_used(), 8_192);
    assert_eq!(storage.read_raw(PAGES, 4_096, 1), Some(vec![0]));
    assert_no_violations(&storage);
}
