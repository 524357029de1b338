//! What creating and opening refuse, and that they leave everything as it was.

use super::*;
use crate::error::{CorruptionReason, OptionProblem as Problem};
use crate::format::checksum::Checksum;
use crate::format::superblock::Superblock;
use crate::pager::newest_superblock;
use lightning_platform::{File, IoErrorKind};
use lightning_sim::{CallFailure, TestCipher, TestCodec};
use std::sync::Arc;

type Change = fn(&mut Options);

#[test]
fn every_option_out_of_its_range_is_named() {
    let cases: [(Change, Problem); 22] = [
        (|options| options.page_bytes = 1_000, Problem::PageBytes),
        (|options| options.page_bytes = 256, Problem::PageBytes),
        (|options| options.page_bytes = 1 << 17, Problem::PageBytes),
        (|options| options.unit_bytes = 96, Problem::UnitBytes),
        (|options| options.unit_bytes = 32, Problem::UnitBytes),
        (|options| options.unit_bytes = 2_048, Problem::UnitBytes),
        (|options| options.memtables = 1, Problem::Memtables),
        (|options| options.memtables = 9, Problem::Memtables),
        (
            |options| options.memtable_bytes = 1_000,
            Problem::ArenaBytes,
        ),
        (
            |options| options.memtable_bytes = (1 << 31) + 1,
            Problem::ArenaBytes,
        ),
        (
            |options| options.transaction_bytes = 3_000,
            Problem::TransactionBytes,
        ),
        (
            |options| options.value_bytes_max = 1_600,
            Problem::ValueBytes,
        ),
        (|options| options.runs = 7, Problem::Runs),
        (|options| options.range_bytes = 100, Problem::RangeBytes),
        (
            |options| options.segment_bytes = 6_000,
            Problem::SegmentBytes,
        ),
        (
            |options| options.segment_bytes = 32_001,
            Problem::SegmentBytes,
        ),
        (|options| options.snapshots = 0, Problem::Snapshots),
        (|options| options.snapshots = 65_536, Problem::Snapshots),
        (|options| options.transactions = 0, Problem::Transactions),
        (|options| options.tree_levels = 2, Problem::Trees),
        (|options| options.stage_pages = 1, Problem::Trees),
        (|options| options.cache_bytes = 5_000, Problem::CacheBytes),
    ];
    for (index, (change, problem)) in cases.iter().enumerate() {
        let mut options = busy_options();
        change(&mut options);
        let storage = SimStorage::new(SimOptions::disk(512));
        let refused = create(&storage, &options).map(|_| ());
        assert_eq!(refused, Err(Error::Options(*problem)), "case {index}");
        // And it is created in the same place when that is put right.
        let engine = create(&storage, &busy_options()).unwrap();
        put_number(&engine, 1, 0);
        engine.flush_step(true).unwrap();
        drop(engine);
        let storage = storage.restart();
        if options.page_bytes == busy_options().page_bytes && options.unit_bytes == 0 {
            // What is no part of the database is checked at each opening.
            let refused = open(&storage, &options).map(|_| ());
            if !matches!(problem, Problem::SegmentBytes) {
                assert_eq!(refused, Err(Error::Options(*problem)), "case {index}");
            }
        }
        let engine = open(&storage, &busy_options()).unwrap();
        assert_eq!(rows(&engine, 16).unwrap().len(), 1, "case {index}");
    }
}

#[test]
fn a_geometry_that_the_format_cannot_hold_is_refused() {
    let mut cases = Vec::new();
    for write_block_bytes in [0, 8, 24, 1 << 17] {
        let mut options = SimOptions::disk(512);
        options.geometry.write_block_bytes = write_block_bytes;
        cases.push(options);
    }
    for erase_block_bytes in [768, 1 << 25] {
        let mut options = SimOptions::disk(512);
        options.geometry.erase_block_bytes = erase_block_bytes;
        cases.push(options);
    }
    for options in cases {
        // The simulator refuses some of them by itself.
        let Ok(storage) = std::panic::catch_unwind(|| SimStorage::new(options)) else {
            continue;
        };
        let refused = create(&storage, &busy_options()).map(|_| ());
        assert!(
            matches!(refused, Err(Error::Options(_))),
            "{:?}: {refused:?}",
            options.geometry
        );
    }
}

/// A database with a row.
fn with_a_row(platform: &Platform, options: &Options) {
    let engine = Engine::create(platform, options, input(1)).unwrap();
    put_number(&engine, 1, 0);
    drain(&engine).unwrap();
}

#[test]
fn a_database_is_opened_with_what_it_was_created_with() {
    let options = Options {
        unit_bytes: 512,
        ..busy_options()
    };
    for (has_codec, has_cipher) in [(false, false), (true, false), (false, true), (true, true)] {
        let storage = SimStorage::new(SimOptions::disk(512));
        let with = |codec: bool, cipher: bool| {
            let mut platform = platform(&storage).0;
            platform.codec = codec.then(|| Arc::new(TestCodec) as _);
            platform.cipher = cipher.then(|| Arc::new(TestCipher::new(5)) as _);
            platform
        };
        let absent = Engine::identify(&storage, None);
        assert_eq!(absent, Err(Error::NotADatabase));
        with_a_row(&with(has_codec, has_cipher), &options);
        let identity = Engine::identify(&storage, None).unwrap();
        assert_eq!((identity.page_bytes, identity.unit_bytes), (1_024, 512));
        assert_eq!(identity.codec != 0, has_codec);
        assert_eq!(identity.cipher != 0, has_cipher);
        for (codec, cipher) in [(false, false), (true, false), (false, true), (true, true)] {
            let opened = Engine::open(&with(codec, cipher), &options, input(2));
            let expected = if codec != has_codec {
                Some(Problem::Codec)
            } else if cipher != has_cipher {
                Some(Problem::Cipher)
            } else {
                None
            };
            match (opened, expected) {
                (Ok(engine), None) => assert_eq!(rows(&engine, 16).unwrap().len(), 1),
                (opened, problem) => {
                    assert_eq!(opened.map(|_| ()), Err(Error::Options(problem.unwrap())))
                }
            }
        }
        let other = Options {
            page_bytes: 2_048,
            unit_bytes: 0,
            ..busy_options()
        };
        let opened = Engine::open(&with(has_codec, has_cipher), &other, input(2)).map(|_| ());
        assert_eq!(opened, Err(Error::Options(Problem::PageBytesDiffer)));
        // Left out, it is the database's own.
        let left_out = Options {
            page_bytes: 0,
            unit_bytes: 0,
            ..busy_options()
        };
        let engine = Engine::open(&with(has_codec, has_cipher), &left_out, input(2)).unwrap();
        assert_eq!(rows(&engine, 16).unwrap().len(), 1);
    }
}

#[test]
fn creating_is_refused_where_a_database_is_or_nothing_may_be_written() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let read_only = storage.read_only();
    let refused = create(&read_only, &busy_options()).map(|_| ());
    assert_eq!(refused, Err(Error::ReadOnly));
    with_a_row(&platform(&storage).0, &busy_options());
    let refused = create(&storage, &busy_options()).map(|_| ());
    assert_eq!(refused, Err(Error::DatabaseExists));
    let unsupported = storage.fork();
    change_superblock(&unsupported, |superblock| {
        superblock.features_incompatible = 1 << 7;
    });
    let refused = create(&unsupported, &busy_options()).map(|_| ());
    let features = 1 << 7;
    let version = 1;
    assert_eq!(refused, Err(Error::Unsupported { version, features }));
    let engine = open(&storage, &busy_options()).unwrap();
    assert_eq!(rows(&engine, 16).unwrap().len(), 1);
}

/// A short file where the page file would be, beside no log: another program's is left
/// alone; one that begins as creations that were cut off do is taken for one.
#[test]
fn another_programs_file_is_not_taken_for_a_creation_that_was_cut_off() {
    let with_file = |bytes: &[u8]| {
        let storage = SimStorage::new(SimOptions::disk(512));
        storage.create(File::Pages).unwrap();
        let whole = bytes.len().next_multiple_of(512);
        storage.set_length(File::Pages, whole as u64).unwrap();
        storage.overwrite_raw(File::Pages, 0, bytes);
        storage.sync_directory().unwrap();
        storage
    };
    for foreign in [
        &b"\x7FELF\x02\x01\x01\0and code"[..],
        b"LTNGDBs are",
        b"\0\0\0 boxes of text",
    ] {
        let storage = with_file(foreign);
        let refused = create(&storage, &busy_options()).map(|_| ());
        let reason = CorruptionReason::NoSuperblock;
        assert_eq!(refused, Err(Error::corrupt(reason, File::Pages, 0)));
        let mut found = [0; 10];
        storage.read(File::Pages, 0, &mut found).unwrap();
        assert_eq!(found, foreign[..10]);
    }
    for unfinished in [&[0; 4_096][..], b"LTN\0\0\0\0\0some pages"] {
        create(&with_file(unfinished), &busy_options()).unwrap();
    }
}

/// Every storage call of a creation fails once, whole blocks of it done or cut short at any
/// byte: it is done again, in the same place.
#[test]
fn a_creation_that_failed_is_done_again() {
    let device = IoErrorKind::Device;
    for sim in [
        SimOptions::disk(512),
        SimOptions::flash(256, 4_096, 8 << 20),
    ] {
        creation_fails(sim, device.into());
        for seed in 0..40 {
            creation_fails(sim, CallFailure::short(device, seed));
        }
    }
}

fn creation_fails(sim: SimOptions, failure: CallFailure) {
    let mut failed = 0;
    for call in 1.. {
        let storage = SimStorage::new(sim);
        storage.fail_at(call, failure, false);
        let outcome = create(&storage, &busy_options()).map(|_| ());
        let is_over = storage.call_count() < call;
        storage.clear_faults();
        if is_over {
            outcome.unwrap();
            break;
        }
        match outcome {
            // The whole superblock stands, though a later call failed.
            Err(Error::Io { .. }) => failed += 1,
            Ok(()) => continue,
            Err(error) => panic!("call {call}: {error}"),
        }
        let storage = storage.restart();
        match create(&storage, &busy_options()) {
            Ok(engine) => {
                put_number(&engine, 1, 0);
                drain(&engine).unwrap();
            }
            Err(Error::DatabaseExists) => {
                let engine = open(&storage, &busy_options()).unwrap();
                put_number(&engine, 1, 0);
                drain(&engine).unwrap();
            }
            Err(error) => panic!("call {call} {failure:?}, again: {error}"),
        }
        let engine = open(&storage.restart(), &busy_options()).unwrap();
        assert_eq!(rows(&engine, 16).unwrap().len(), 1, "call {call}");
    }
    assert!(failed > 10, "{failed}");
}

/// Rewrites both slots of the superblock.
fn change_superblock(storage: &SimStorage, change: impl FnOnce(&mut Superblock)) {
    let checksum = Checksum::default();
    let mut superblock = newest_superblock(storage, checksum, false).unwrap();
    let block = u64::from(superblock.block_bytes);
    change(&mut superblock);
    for slot in 0..2 {
        storage.overwrite_raw(File::Pages, slot * block, &superblock.encode(checksum));
    }
}

#[test]
fn features_that_this_version_does_not_know_are_heeded_by_their_class() {
    let storage = SimStorage::new(SimOptions::disk(512));
    with_a_row(&platform(&storage).0, &busy_options());
    let reading = Options {
        read_only: true,
        ..busy_options()
    };
    let attempt = |change: fn(&mut Superblock)| {
        let storage = storage.fork();
        change_superblock(&storage, change);
        [&busy_options(), &reading].map(|options| {
            let opened = open(&storage, options)?;
            rows(&opened, 16).map(|rows| rows.len())
        })
    };
    let unknown = |features| {
        Err(Error::Unsupported {
            version: 1,
            features,
        })
    };
    assert_eq!(
        attempt(|superblock| superblock.features_compatible = 1),
        [Ok(1), Ok(1)]
    );
    assert_eq!(
        attempt(|superblock| superblock.features_read = 4),
        [unknown(4), Ok(1)]
    );
    assert_eq!(
        attempt(|superblock| superblock.features_incompatible = 2),
        [unknown(2), unknown(2)]
    );
}

#[test]
fn a_newer_format_is_told_from_damage() {
    let storage = SimStorage::new(SimOptions::disk(512));
    with_a_row(&platform(&storage).0, &busy_options());
    let checksum = Checksum::default();
    let superblock = newest_superblock(&storage, checksum, false).unwrap();
    let mut bytes = superblock.encode(checksum);
    bytes[8..12].copy_from_slice(&9_u32.to_le_bytes());
    let check = checksum.header(&bytes, 12);
    bytes[12..16].copy_from_slice(&check.to_le_bytes());
    // One slot is enough: what wrote it may have written more.
    for slots in [&[1][..], &[0, 1]] {
        let storage = storage.fork();
        for slot in slots {
            let offset = slot * u64::from(superblock.block_bytes);
            storage.overwrite_raw(File::Pages, offset, &bytes);
        }
        let refused = open(&storage, &busy_options()).map(|_| ());
        let version = 9;
        let features = 0;
        assert_eq!(refused, Err(Error::Unsupported { version, features }));
    }
}

#[test]
fn a_page_file_that_is_too_short_is_named() {
    let storage = SimStorage::new(SimOptions::disk(512));
    with_a_row(&platform(&storage).0, &busy_options());
    let length = storage.file_bytes(File::Pages).unwrap().len() as u64;
    storage.truncate_raw(File::Pages, length - 1_024);
    let reason = CorruptionReason::OutOfFile;
    let expected = Err(Error::corrupt(reason, File::Pages, length - 1_024));
    assert_eq!(open(&storage, &busy_options()).map(|_| ()), expected);
}

#[test]
fn a_file_longer_than_the_plan_of_its_bitmaps_is_refused() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let engine = create(&storage, &busy_options()).unwrap();
    let put = PutOptions::default();
    let mut load = engine.begin_load(16).unwrap();
    // More units than one bitmap has.
    for number in 0..12_000_u32 {
        load.push(&number.to_be_bytes(), &[1; 900], put).unwrap();
    }
    load.finish().unwrap();
    drop(engine);
    let storage = storage.restart();
    let small = Options {
        file_bytes_max: 1 << 20,
        ..busy_options()
    };
    let refused = open(&storage, &small).map(|_| ());
    assert!(
        matches!(refused, Err(Error::OverLimit { maximum, value, .. }) if value > maximum),
        "{refused:?}"
    );
    let engine = open(&storage, &busy_options()).unwrap();
    let snapshot = engine.snapshot(0).unwrap();
    let view = engine.view(&snapshot, 16, true).unwrap();
    assert_eq!(engine.count(&view).unwrap(), 12_000);
    engine.end(snapshot);
}
