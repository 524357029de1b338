//! What older lives leave behind must not join the log of a newer one.

use super::*;
use crate::format::frame::{FrameHeader, FrameKind, FrameSeed};
use crate::format::segment::{CUT_NONE, SegmentHeader};

/// A commit whose frame takes exactly one block of 512 bytes.
fn block_rows(sequence: u64) -> Vec<Row> {
    let mut rows = vec![(
        16,
        sequence.to_be_bytes().to_vec(),
        vec![7; 512],
        None,
        None,
    )];
    let over = frame_bytes(records(&rows)) - 512;
    rows[0].2.truncate(512 - over as usize);
    assert_eq!(frame_bytes(records(&rows)), 512);
    rows
}

/// A log whose second flush is four commits of one block each, at 1024.
fn four_blocks() -> SimStorage {
    let storage = SimStorage::new(SimOptions::disk(512));
    let mut writer = SMALL.create(&storage).unwrap();
    writer.begin_flush(0).unwrap();
    for sequence in 1..=4 {
        append(&mut writer, &block_rows(sequence)).unwrap();
    }
    writer.finish_flush(false).unwrap();
    storage
}

fn read(storage: &SimStorage) -> Vec<u64> {
    let (scan, slots) = SMALL.scan(storage, FRESH).unwrap();
    let commits = SMALL.read(storage, &scan, &slots).unwrap();
    commits.iter().map(|(sequence, _)| *sequence).collect()
}

#[test]
fn an_attempt_at_recovery_that_lost_its_header_does_not_join_the_next() {
    let storage = four_blocks();
    let first = storage.file_bytes(File::Log(0)).unwrap();
    SMALL.reopen(&storage, FRESH).unwrap();
    // The power goes: commits 3 and 4 were never synced, and of the attempt
    // all but the header is left, behind a header that the slot had before. (Its mark
    // is written when all of that is synced.)
    storage.overwrite_raw(File::Log(0), 0, &first);
    storage.overwrite_raw(File::Log(0), 2048, &[0; 1024]);
    storage.overwrite_raw(File::Log(1), 2560, &[0; 512]);
    let before = SegmentHeader {
        lineage_id: [1; 16],
        instance_id: [9; 16],
        number: 5,
        segment_bytes: 4096,
        block_bytes: 512,
        timeline: 1,
        base_sequence: 0,
        cut: CUT_NONE,
    };
    storage.overwrite_raw(File::Log(1), 0, &before.encode(Checksum::default()));
    let (commits, writer) = SMALL.reopen(&storage, FRESH).unwrap();
    assert_eq!(
        (commits.len(), writer.segment(), writer.slots().used_slots()),
        (2, 2, 1)
    );
    drop(writer);
    assert_eq!(read(&storage), [1, 2]);
}

#[test]
fn what_was_cut_stays_cut_when_it_can_be_read_again() {
    for goes_on in [true, false] {
        let storage = four_blocks();
        let whole = storage.file_bytes(File::Log(0)).unwrap();
        storage.overwrite_raw(File::Log(0), 2048, &[0; 512]);
        let (_, mut writer) = SMALL.reopen(&storage, FRESH).unwrap();
        let mut expected = vec![(1, block_rows(1)), (2, block_rows(2))];
        if goes_on {
            flush(&mut writer, 1, 1, true).unwrap();
            expected.push((3, rows(3, 1)));
        }
        drop(writer);
        // With its header, which recovery has erased.
        storage.overwrite_raw(File::Log(0), 0, &whole);
        let (scan, slots) = SMALL.scan(&storage, FRESH).unwrap();
        let commits = SMALL.read(&storage, &scan, &slots).unwrap();
        assert!(commits == expected, "{goes_on}: {}", commits.len());
    }
}

#[test]
fn a_frame_that_follows_another_than_its_predecessor_does_not_count() {
    let storage = four_blocks();
    let last = storage.read_raw(File::Log(0), 2560, 4).unwrap();
    let last = crate::format::bytes::get_u32(&last, 0);
    for (predecessor, counts) in [(last, 5), (last ^ 1, 4)] {
        let header = FrameHeader {
            check: 0,
            bytes: 56,
            kind: FrameKind::Commit,
            predecessor,
            sequence: 5,
            durable_sequence: 0,
            wall_time_ms: 0,
            origin: 0,
            key_id: 0,
            records: 0,
        };
        let seed = FrameSeed::new(Checksum::default(), &[2; 16], 1);
        let (mut frame, check) = header.encode(&seed, 3072);
        frame[..4].copy_from_slice(&check.to_le_bytes());
        let image = storage.fork();
        image.overwrite_raw(File::Log(0), 3072, &frame);
        assert_eq!(read(&image).len(), counts);
    }
}

#[test]
fn a_header_proves_that_the_segment_before_it_was_durable() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let mut writer = SMALL.create(&storage).unwrap();
    prepare(&mut writer, 1).unwrap();
    writer.begin_flush(0).unwrap();
    for sequence in 1..=7 {
        append(&mut writer, &block_rows(sequence)).unwrap();
    }
    writer.finish_flush(false).unwrap();
    assert_eq!((writer.segment(), writer.synced_sequence()), (2, 6));
    assert_eq!(read(&storage).len(), 7);
    assert_eq!(writer.first_segment_needed_for(7), 1, "2 may be taken away");
    storage.overwrite_raw(File::Log(1), 512, &[0; 3584]);
    assert_eq!(read(&storage).len(), 6, "the last flush was torn");
    storage.flip_bit(File::Log(0), 4095, 0);
    let error = SMALL.scan(&storage, FRESH).err().unwrap();
    assert!(
        matches!(
            error,
            Error::Corruption {
                file: File::Log(0),
                offset: 3584,
                ..
            }
        ),
        "{error:?}"
    );
}
