//! Tests of the simulator: durability, power cuts, forks, raw access.

use super::*;
use crate::{Random, SimMemory, sim_platform};

const PAGES: File = File::Pages;
const BLOCK: usize = 512;
const BLOCK_BYTES: u64 = BLOCK as u64;
const DEVICE: Result<(), IoError> = Err(IoError::of(IoErrorKind::Device));

fn failed(kind: IoErrorKind) -> Result<(), IoError> {
    Err(IoError::of(kind))
}

fn block(value: u8) -> [u8; BLOCK] {
    [value; BLOCK]
}

fn empty_disk() -> SimStorage {
    SimStorage::new(SimOptions::disk(512))
}

/// A disk whose page file holds `blocks` blocks of ones, all durable.
fn disk_of(blocks: usize) -> SimStorage {
    let storage = empty_disk();
    storage.create(PAGES).unwrap();
    storage.sync_directory().unwrap();
    storage.write(PAGES, 0, &vec![1; blocks * BLOCK]).unwrap();
    storage.sync(PAGES).unwrap();
    storage
}

/// The first byte of each block of the page file.
fn values(storage: &SimStorage) -> Vec<u8> {
    let bytes = storage.file_bytes(PAGES).unwrap();
    for block in bytes.chunks(BLOCK) {
        assert!(block.iter().all(|byte| *byte == block[0]), "a torn block");
    }
    bytes.chunks(BLOCK).map(|block| block[0]).collect()
}

fn assert_no_violations(storage: &SimStorage) {
    assert_eq!(storage.violations(), Vec::<String>::new());
}

fn assert_violation(storage: &SimStorage, rule: &str) {
    let violations = storage.violations();
    assert_eq!(violations.len(), 1, "{violations:?}");
    assert!(violations[0].contains(rule), "{violations:?}");
}

#[test]
fn reads_see_writes_at_once() {
    let storage = disk_of(4);
    storage.write(PAGES, 512, &block(2)).unwrap();
    let mut bytes = [0; 1_024];
    storage.read(PAGES, 300, &mut bytes).unwrap();
    assert_eq!(bytes[211], 1);
    assert_eq!(bytes[212], 2);
    assert_eq!(bytes[723], 2);
    assert_eq!(bytes[724], 1);
    let past_end = storage.read(PAGES, 1_500, &mut bytes);
    assert_eq!(past_end, failed(IoErrorKind::UnexpectedEnd));
    let missing = storage.read(File::Log(0), 0, &mut bytes);
    assert_eq!(missing, failed(IoErrorKind::NotFound));
    assert_eq!(storage.length(PAGES), Ok(Some(2_048)));
    assert_eq!(storage.length(File::Log(0)), Ok(None));
    assert_no_violations(&storage);
}

#[test]
fn batches_do_what_single_calls_do() {
    let storage = disk_of(4);
    let (two, three) = (block(2), block(3));
    let before = storage.operation_count();
    let requests = [
        WriteRequest {
            offset: 1_536,
            bytes: &two,
        },
        WriteRequest {
            offset: 0,
            bytes: &three,
        },
    ];
    storage.write_batch(PAGES, &requests).unwrap();
    assert_eq!(storage.operation_count(), before + 2);
    let (mut first, mut last) = ([0; 10], [0; 10]);
    let mut requests = [
        ReadRequest {
            offset: 0,
            buffer: &mut first,
        },
        ReadRequest {
            offset: 2_038,
            buffer: &mut last,
        },
    ];
    storage.read_batch(PAGES, &mut requests).unwrap();
    assert_eq!((first, last), ([3; 10], [2; 10]));
    assert_no_violations(&storage);
}

#[test]
fn unsynced_writes_are_lost_or_kept() {
    let storage = disk_of(2);
    storage.write(PAGES, 0, &block(2)).unwrap();
    storage.write(PAGES, 1_024, &block(3)).unwrap();
    let synced = storage.crash_image(CrashMode::Synced, 0);
    assert_eq!(values(&synced), [1, 1]);
    let all = storage.crash_image(CrashMode::All, 0);
    assert_eq!(values(&all), [2, 1, 3]);
    assert_eq!(all.operation_count(), 0);
    assert_eq!(all.unsynced_count(), 0);
    storage.sync(PAGES).unwrap();
    for mode in CrashMode::EVERY {
        assert_eq!(values(&storage.crash_image(mode, 1)), [2, 1, 3]);
    }
}

#[test]
fn an_image_of_chosen_changes_holds_exactly_those() {
    let storage = disk_of(3);
    storage.write(PAGES, 0, &block(2)).unwrap();
    storage.write(PAGES, 512, &block(3)).unwrap();
    storage.write(PAGES, 0, &block(4)).unwrap();
    assert_eq!(storage.unsynced_count(), 3);
    let mut asked = Vec::new();
    let image = storage.crash_image_of(|index| {
        asked.push(index);
        index < 2
    });
    assert_eq!(asked, [0, 1, 2]);
    assert_eq!(values(&image), [2, 3, 1]);
    assert_eq!(
        values(&storage.crash_image_of(|index| index == 2)),
        [4, 1, 1]
    );
    assert_eq!(image.unsynced_count(), 0);
}

#[test]
fn a_digest_tells_files_apart_by_all_that_is_read() {
    let storage = disk_of(9);
    let same = storage.fork();
    assert_eq!(storage.digest(), same.digest());
    same.flip_bit(PAGES, 4_100, 3);
    assert_ne!(storage.digest(), same.digest());
    same.flip_bit(PAGES, 4_100, 3);
    assert_eq!(storage.digest(), same.digest());
    same.set_length(PAGES, 10 * BLOCK_BYTES).unwrap();
    assert_ne!(storage.digest(), same.digest());
    let more = storage.fork();
    more.create(File::Log(0)).unwrap();
    assert_ne!(storage.digest(), more.digest());
    // Swapped blocks, and files.
    let (one, other) = (storage.fork(), storage.fork());
    one.write(PAGES, 0, &block(7)).unwrap();
    other.write(PAGES, 512, &block(7)).unwrap();
    assert_ne!(one.digest(), other.digest());
}

#[test]
fn random_images_reach_every_subset() {
    let storage = disk_of(3);
    storage.write(PAGES, 0, &[2; 3 * BLOCK]).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..300 {
        seen.insert(values(&storage.crash_image(CrashMode::Random, seed)));
    }
    assert_eq!(seen.len(), 8);
}

#[test]
fn a_block_may_hold_any_value_since_the_last_sync() {
    let storage = disk_of(1);
    for value in 2..5 {
        storage.write(PAGES, 0, &block(value)).unwrap();
    }
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..300 {
        seen.extend(values(&storage.crash_image(CrashMode::Random, seed)));
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [1, 2, 3, 4]);
}

#[test]
fn prefix_drop_one_and_only_one() {
    let storage = disk_of(6);
    for index in 0..6 {
        storage
            .write(PAGES, index * BLOCK_BYTES, &block(2))
            .unwrap();
    }
    let mut lengths = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let prefix = values(&storage.crash_image(CrashMode::Prefix, seed));
        assert!(prefix.is_sorted_by(|left, right| left >= right));
        lengths.insert(prefix.iter().filter(|value| **value == 2).count());
        let dropped = values(&storage.crash_image(CrashMode::DropOne, seed));
        assert_eq!(dropped.iter().filter(|value| **value == 1).count(), 1);
        let only = values(&storage.crash_image(CrashMode::OnlyOne, seed));
        assert_eq!(only.iter().filter(|value| **value == 2).count(), 1);
    }
    assert_eq!(lengths.len(), 7);
}

#[test]
fn torn_images_tear_the_last_operation_at_blocks() {
    let storage = disk_of(9);
    storage.write(PAGES, 0, &block(2)).unwrap();
    storage.write(PAGES, BLOCK_BYTES, &[3; 8 * BLOCK]).unwrap();
    let (mut gaps, mut whole_prefixes) = (0, 0);
    for seed in 0..200 {
        let values = values(&storage.crash_image(CrashMode::Torn, seed));
        if values[1..].contains(&3) {
            assert_eq!(values[0], 2, "the last is torn, the one before is whole");
        }
        let torn = values[1..].contains(&3) && values[1..].contains(&1);
        gaps += usize::from(torn && !values[1..].is_sorted_by(|left, right| left >= right));
        whole_prefixes += usize::from(values[0] == 2);
    }
    assert!(gaps > 20, "blocks are torn in any order: {gaps}");
    assert!(whole_prefixes > 100);
}

#[test]
fn images_are_determined_by_the_seed() {
    let storage = disk_of(64);
    let mut random = Random::new(11);
    for value in 2..100 {
        let offset = random.below(64) * BLOCK_BYTES;
        storage.write(PAGES, offset, &block(value)).unwrap();
    }
    let fork = storage.fork();
    let mut different = 0;
    for mode in CrashMode::EVERY {
        for seed in 0..20 {
            let image = values(&storage.crash_image(mode, seed));
            assert_eq!(image, values(&storage.crash_image(mode, seed)));
            assert_eq!(image, values(&fork.crash_image(mode, seed)));
            let other = values(&storage.crash_image(mode, seed + 1));
            different += usize::from(image != other);
        }
    }
    assert!(different > 60);
}

#[test]
fn lengths_survive_apart_from_bytes() {
    let storage = disk_of(1);
    storage.set_length(PAGES, 4 * BLOCK_BYTES).unwrap();
    storage.write(PAGES, 2 * BLOCK_BYTES, &block(2)).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..100 {
        seen.insert(values(&storage.crash_image(CrashMode::Random, seed)));
    }
    let expected = [vec![1], vec![1, 0, 0, 0], vec![1, 0, 2, 0]];
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn a_growing_write_may_leave_its_length_or_its_bytes() {
    let storage = disk_of(1);
    storage.write(PAGES, BLOCK_BYTES, &[2; 2 * BLOCK]).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..200 {
        seen.insert(values(&storage.crash_image(CrashMode::Random, seed)));
    }
    let expected = [
        vec![1],
        vec![1, 0, 0],
        vec![1, 0, 2],
        vec![1, 2],
        vec![1, 2, 0],
        vec![1, 2, 2],
    ];
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn a_truncation_is_pending_until_synced() {
    let storage = disk_of(4);
    storage.set_length(PAGES, BLOCK_BYTES).unwrap();
    assert_eq!(values(&storage), [1]);
    let synced = storage.crash_image(CrashMode::Synced, 0);
    assert_eq!(values(&synced), [1, 1, 1, 1]);
    storage.set_length(PAGES, 3 * BLOCK_BYTES).unwrap();
    assert_eq!(values(&storage), [1, 0, 0]);
    storage.sync(PAGES).unwrap();
    let synced = storage.crash_image(CrashMode::Synced, 0);
    assert_eq!(values(&synced), [1, 0, 0]);
}

#[test]
fn room_of_the_page_file_is_what_it_takes_and_what_is_left() {
    let storage = disk_of(16);
    assert_eq!(storage.page_file_room(), None);
    let used = storage.bytes_used();
    storage.set_capacity(used + 8_192);
    let room = |taken_bytes, available_bytes| {
        Some(lightning_platform::PageFileRoom {
            taken_bytes,
            available_bytes,
        })
    };
    assert_eq!(storage.page_file_room(), room(used, 8_192));
    storage.create(File::Log(0)).unwrap();
    storage.write(File::Log(0), 0, &[1; 512]).unwrap();
    assert_eq!(storage.page_file_room(), room(used, 4_096));
    storage.punch_hole(PAGES, 0, u64::MAX / 2).unwrap();
    assert_eq!(storage.page_file_room(), room(0, 4_096 + used));
}

#[test]
fn erase_and_punch_are_pending_until_synced() {
    let storage = disk_of(16);
    storage.erase(PAGES, 0, BLOCK_BYTES).unwrap();
    storage
        .punch_hole(PAGES, 8 * BLOCK_BYTES, u64::MAX / 2)
        .unwrap();
    let expected = [&[0][..], &[1; 7], &[0; 8]].concat();
    assert_eq!(values(&storage), expected);
    assert_eq!(storage.bytes_used(), 4_096);
    let synced = storage.crash_image(CrashMode::Synced, 0);
    assert_eq!(values(&synced), [1; 16]);
    let all = storage.crash_image(CrashMode::All, 0);
    assert_eq!(values(&all), expected);
    storage.sync(PAGES).unwrap();
    let synced = storage.crash_image(CrashMode::Synced, 0);
    assert_eq!(values(&synced), expected);
    assert_eq!(synced.bytes_used(), 4_096);
}

#[test]
fn a_file_whose_entry_is_not_synced_may_be_missing() {
    let storage = empty_disk();
    storage.create(PAGES).unwrap();
    storage.write(PAGES, 0, &block(1)).unwrap();
    storage.sync(PAGES).unwrap();
    let synced = storage.crash_image(CrashMode::Synced, 0);
    assert_eq!(synced.files(), []);
    let mut missing = 0;
    for seed in 0..100 {
        let image = storage.crash_image(CrashMode::Random, seed);
        match image.files().is_empty() {
            true => missing += 1,
            false => assert_eq!(values(&image), [1]),
        }
    }
    assert!((10..90).contains(&missing));
    storage.sync_directory().unwrap();
    let synced = storage.crash_image(CrashMode::Synced, 0);
    assert_eq!(values(&synced), [1]);
}

#[test]
fn an_unsynced_removal_may_bring_the_file_back() {
    let storage = disk_of(2);
    storage.remove(PAGES).unwrap();
    assert_eq!(storage.length(PAGES), Ok(None));
    assert_eq!(storage.remove(PAGES), failed(IoErrorKind::NotFound));
    assert_eq!(values(&storage.crash_image(CrashMode::Synced, 0)), [1, 1]);
    assert_eq!(storage.crash_image(CrashMode::All, 0).files(), []);

    storage.create(PAGES).unwrap();
    storage.write(PAGES, 0, &block(2)).unwrap();
    storage.sync(PAGES).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..100 {
        let image = storage.crash_image(CrashMode::Random, seed);
        let found = image.length(PAGES).unwrap().map(|_| values(&image));
        seen.insert(found);
    }
    let expected = [None, Some(vec![1, 1]), Some(vec![2])];
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), expected);
    storage.sync_directory().unwrap();
    assert_eq!(values(&storage.crash_image(CrashMode::Synced, 0)), [2]);
    assert_eq!(storage.volume().nodes.len(), 1, "the old node is gone");
}

#[test]
fn slots_are_counted_and_bounded() {
    let mut options = SimOptions::disk(4_096);
    options.geometry.log_slots_max = 2;
    let storage = SimStorage::new(options);
    assert_eq!(storage.log_slots(), Ok(0));
    storage.create(PAGES).unwrap();
    assert_eq!(storage.log_slots(), Ok(0));
    storage.create(File::Log(0)).unwrap();
    storage.create(File::Log(1)).unwrap();
    assert_eq!(storage.log_slots(), Ok(2));
    let again = storage.create(File::Log(1));
    assert_eq!(again, failed(IoErrorKind::AlreadyExists));
    let beyond = storage.create(File::Log(2));
    assert_eq!(beyond, failed(IoErrorKind::StorageFull));
    assert_no_violations(&storage);
    let sparse = empty_disk();
    sparse.create(File::Log(1)).unwrap();
    assert_violation(&sparse, "densely");
}

#[test]
fn the_power_goes_after_the_chosen_operation() {
    let storage = disk_of(2);
    let next = storage.operation_count() + 1;
    storage.cut_after(next);
    storage.write(PAGES, 0, &block(2)).unwrap();
    assert!(!storage.has_power());
    assert_eq!(storage.read(PAGES, 0, &mut [0]), DEVICE);
    assert_eq!(storage.write(PAGES, 0, &block(3)), DEVICE);
    assert_eq!(storage.sync(PAGES), DEVICE);
    assert_eq!(storage.log_slots(), Err(IoError::of(IoErrorKind::Device)));
    assert_eq!(storage.operation_count(), next);
    assert_eq!(values(&storage.crash_image(CrashMode::Synced, 0)), [1, 1]);
    let image = storage.crash_image(CrashMode::All, 0);
    assert_eq!(values(&image), [2, 1]);
    image.write(PAGES, 0, &block(3)).unwrap();
    image.sync(PAGES).unwrap();
    assert_no_violations(&storage);
}

#[test]
fn the_power_goes_during_the_chosen_operation() {
    let storage = disk_of(2);
    storage.cut_during(storage.operation_count() + 2);
    let two = [2; 2 * BLOCK];
    storage.write(PAGES, 0, &block(3)).unwrap();
    assert_eq!(storage.write(PAGES, 0, &two), DEVICE);
    assert!(!storage.has_power());
    assert_eq!(values(&storage.crash_image(CrashMode::Synced, 0)), [1, 1]);
    assert_eq!(values(&storage.crash_image(CrashMode::All, 0)), [2, 2]);
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..100 {
        seen.insert(values(&storage.crash_image(CrashMode::Torn, seed)));
    }
    let torn = [[3, 1], [3, 2], [2, 1], [2, 2]];
    assert!(torn.iter().all(|torn| seen.contains(&torn[..])));

    let storage = disk_of(2);
    storage.write(PAGES, 0, &two).unwrap();
    storage.cut_during(storage.operation_count() + 1);
    assert_eq!(storage.sync(PAGES), DEVICE);
    assert_eq!(values(&storage.crash_image(CrashMode::Synced, 0)), [1, 1]);
    assert_eq!(values(&storage.crash_image(CrashMode::All, 0)), [2, 2]);
}

#[test]
fn the_power_may_go_within_a_batch() {
    let storage = disk_of(3);
    storage.cut_after(storage.operation_count() + 2);
    let two = block(2);
    let requests = [0, 512, 1_024].map(|offset| WriteRequest {
        offset,
        bytes: &two,
    });
    assert_eq!(storage.write_batch(PAGES, &requests), DEVICE);
    let all = storage.crash_image(CrashMode::All, 0);
    assert_eq!(values(&all), [2, 2, 1]);
    let cancelled = disk_of(1);
    cancelled.cut_after(cancelled.operation_count() + 1);
    cancelled.cancel_cut();
    cancelled.write(PAGES, 0, &two).unwrap();
    assert!(cancelled.has_power());
}

#[test]
fn a_fork_goes_its_own_way() {
    let storage = disk_of(4);
    storage.write(PAGES, 0, &block(2)).unwrap();
    let fork = storage.fork();
    assert_eq!(fork.operation_count(), storage.operation_count());
    fork.write(PAGES, 512, &block(3)).unwrap();
    fork.sync(PAGES).unwrap();
    storage.write(PAGES, 1_024, &block(4)).unwrap();
    assert_eq!(
        values(&fork.crash_image(CrashMode::Synced, 0)),
        [2, 3, 1, 1]
    );
    assert_eq!(values(&storage), [2, 1, 4, 1]);
    assert_eq!(values(&storage.crash_image(CrashMode::Synced, 0)), [1; 4]);
    let same = storage.clone();
    same.write(PAGES, 0, &block(9)).unwrap();
    assert_eq!(values(&storage)[0], 9);
}

#[test]
fn raw_access_changes_medium_and_cache() {
    let storage = disk_of(2);
    let operations = storage.operation_count();
    storage.flip_bit(PAGES, 700, 3);
    assert_eq!(storage.read_raw(PAGES, 699, 3), Some(vec![1, 9, 1]));
    storage.overwrite_raw(PAGES, 1_024, &block(5));
    storage.overwrite_raw(File::Log(0), 0, &block(6));
    let image = storage.crash_image(CrashMode::Synced, 0);
    assert_eq!(image.file_bytes(PAGES), storage.file_bytes(PAGES));
    assert_eq!(image.file_bytes(File::Log(0)), Some(vec![6; BLOCK]));
    storage.truncate_raw(PAGES, 100);
    assert_eq!(storage.file_bytes(PAGES), Some(vec![1; 100]));
    storage.remove_raw(File::Log(0));
    let image = storage.crash_image(CrashMode::All, 0);
    assert_eq!(image.files(), [PAGES]);
    assert_eq!(storage.operation_count(), operations);
}

#[test]
fn the_trace_tells_calls_and_failures() {
    let storage = disk_of(2);
    storage.set_tracing(true);
    storage.write(PAGES, 512, &block(2)).unwrap();
    let _ = storage.read(PAGES, 4_096, &mut [0; 8]);
    assert_eq!(
        storage.trace(),
        [
            "call 5 operation 5: Write Pages at 512 bytes 512",
            "call 6: Read Pages at 4096 bytes 8 failed: ends before the requested range",
        ]
    );
    storage.set_tracing(false);
    assert_eq!(storage.trace(), Vec::<String>::new());
}

#[test]
fn a_platform_shares_the_state_of_its_parts() {
    let storage = disk_of(1);
    let memory = SimMemory::new(1 << 20);
    let platform = sim_platform(&storage, &memory);
    platform.storage.write(PAGES, 0, &block(7)).unwrap();
    assert_eq!(values(&storage), [7]);
    (0..40).for_each(|attempt| platform.wait.relax(attempt));
}

#[test]
fn many_images_share_their_bytes() {
    let storage = disk_of(32_768);
    storage.write(PAGES, 0, &[2; 8 * BLOCK]).unwrap();
    let images: Vec<SimStorage> = (0..2_000)
        .map(|seed| storage.crash_image(CrashMode::Random, seed))
        .collect();
    assert!(images.iter().all(|image| image.bytes_used() == 16 << 20));
}

mod faults;
mod model;
