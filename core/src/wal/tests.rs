//! The log against the simulator: round trips, every bit and every truncation,
//! power cuts at every operation, recoveries that are cut in turn.
//!
//! The model is a list of commits made of their sequence and a *branch*, which
//! changes with each life of the log. A reopened log must give a prefix of what
//! was appended, no shorter than what was acknowledged.

use super::*;
use crate::format::segment::SEGMENT_HEADER_BYTES;
use crate::mem::{Array, Budget};
use lightning_platform::{File, IoErrorKind, MemoryUse};
use lightning_sim::{CrashMode, Random, SimMemory, SimOptions, SimStorage};
use std::sync::Arc;
use std::vec;
use std::vec::Vec;

mod cuts;
mod damage;
mod full;
mod half_done;
mod remains;

/// A commit as tests keep it: table, key, value, expiry, metadata.
type Row = (u32, Vec<u8>, Vec<u8>, Option<u64>, Option<u8>);

/// What a log gave back: sequence and rows.
type Commits = Vec<(u64, Vec<Row>)>;

/// A log over a simulated storage, and what it was told.
#[derive(Clone, Copy)]
struct Setup {
    segment_bytes: u32,
    segment_bytes_first: u32,
    /// Of full length where it is more.
    segment_bytes_usual: u32,
    buffer_bytes: usize,
    window_bytes: usize,
    slots: u32,
}

const SMALL: Setup = Setup {
    segment_bytes: 4096,
    segment_bytes_first: 4096,
    segment_bytes_usual: u32::MAX,
    buffer_bytes: 1024,
    window_bytes: 768,
    slots: 12,
};

impl Setup {
    fn config(self, storage: &SimStorage) -> LogConfig {
        LogConfig {
            storage: Arc::new(storage.clone()),
            checksum: Checksum::default(),
            lineage_id: [1; 16],
            instance_id: [2; 16],
            timeline: 1,
            segment_bytes: self.segment_bytes,
            segment_bytes_first: self.segment_bytes_first,
            segment_bytes_usual: self.segment_bytes_usual.min(self.segment_bytes),
            segment_bytes_least: self.segment_bytes_first,
        }
    }

    fn budget() -> Budget {
        Budget::new(Arc::new(SimMemory::new(1 << 26)), 1 << 26)
    }

    fn table(self) -> SlotTable {
        SlotTable::new(&mut Self::budget(), self.slots).unwrap()
    }

    fn buffer(self) -> Array<u8> {
        Array::zeroed(&mut Self::budget(), MemoryUse::Buffer, self.buffer_bytes).unwrap()
    }

    fn window(self) -> Vec<u8> {
        vec![0; self.window_bytes]
    }

    /// A new log whose first segment is durable.
    fn create(self, storage: &SimStorage) -> Result<LogWriter> {
        let config = self.config(storage);
        let mut slots = self.table();
        slots.survey(&config, &mut self.window())?;
        let mut writer = LogWriter::create(config, slots, self.buffer())?;
        writer.begin_flush(0)?;
        writer.append_mark(1)?;
        writer.finish_flush(true)?;
        Ok(writer)
    }

    fn scan(self, storage: &SimStorage, start: ScanStart) -> Result<(Scan, SlotTable)> {
        let mut slots = self.table();
        let config = self.config(storage);
        let scan = Scan::open(&config, &start, &mut slots, &mut self.window())?;
        Ok((scan, slots))
    }

    /// All that counts, as sequence and rows.
    fn read(self, storage: &SimStorage, scan: &Scan, slots: &SlotTable) -> Result<Commits> {
        let config = self.config(storage);
        let mut window = self.window();
        let mut replay = Replay::new(&config, scan, &mut window, 0);
        let mut commits = Vec::new();
        while let Some(commit) = replay.next_commit(slots)? {
            let mut rows = Vec::new();
            while let Some(record) = replay.next_record()? {
                rows.push((
                    record.table,
                    record.key.to_vec(),
                    record.value.to_vec(),
                    record.expiry_ms,
                    record.metadata,
                ));
            }
            commits.push((commit.sequence, rows));
        }
        Ok(commits)
    }

    /// Scan, replay and recovery.
    fn reopen(self, storage: &SimStorage, start: ScanStart) -> Result<(Commits, LogWriter)> {
        let (scan, slots) = self.scan(storage, start)?;
        let commits = self.read(storage, &scan, &slots)?;
        let writer = LogWriter::start_after_recovery(
            self.config(storage),
            slots,
            self.buffer(),
            &scan,
            &mut self.window(),
        )?;
        assert_eq!(writer.last_sequence(), scan.last_sequence);
        assert_eq!(writer.synced_sequence(), scan.last_sequence);
        Ok((commits, writer))
    }
}

const FRESH: ScanStart = ScanStart {
    first_segment: 1,
    merged_sequence: 0,
    durable_sequence: 0,
};

/// The rows of a commit: some sizes are larger than window and buffer.
fn rows(sequence: u64, branch: u64) -> Vec<Row> {
    let mut random = Random::new(sequence * 1000 + branch);
    let count = if sequence.is_multiple_of(7) {
        12
    } else {
        1 + random.below(3)
    };
    (0..count)
        .map(|index| {
            let mut value = vec![0; random.below(120) as usize];
            random.fill(&mut value);
            let key = std::format!("{sequence:04}.{branch}.{index:03}").into_bytes();
            let expiry = random.chance(1, 3).then(|| random.next_u64());
            let metadata = random.chance(1, 3).then_some(index as u8);
            (16 + index as u32, key, value, expiry, metadata)
        })
        .collect()
}

fn records(rows: &[Row]) -> impl Iterator<Item = RecordIn<'_>> + Clone {
    rows.iter()
        .map(|(table, key, value, expiry_ms, metadata)| RecordIn {
            kind: RecordKind::Put,
            table: *table,
            key,
            expiry_ms: *expiry_ms,
            metadata: *metadata,
            value,
        })
}

fn append(writer: &mut LogWriter, rows: &[Row]) -> Result<()> {
    let commit = CommitIn {
        sequence: writer.last_sequence() + 1,
        wall_time_ms: 1000 + writer.last_sequence(),
        origin: 3,
        key_id: 4,
    };
    writer.append_commit(&commit, records(rows))
}

/// Makes `wanted` slots ready.
fn prepare(writer: &mut LogWriter, wanted: usize) -> Result<()> {
    while writer.slots().ready_slots() < wanted {
        if writer.prepare_step(2048, Wanted::Next)? == PrepareProgress::NoSlot {
            break;
        }
    }
    Ok(())
}

/// One flush of `count` commits.
fn flush(writer: &mut LogWriter, count: u64, branch: u64, sync: bool) -> Result<()> {
    writer.begin_flush(writer.synced_sequence())?;
    for _ in 0..count {
        let rows = rows(writer.last_sequence() + 1, branch);
        append(writer, &rows)?;
    }
    writer.finish_flush(sync)?;
    Ok(())
}

fn expected(last: u64, branch: u64) -> Commits {
    (1..=last)
        .map(|sequence| (sequence, rows(sequence, branch)))
        .collect()
}

#[test]
fn commits_come_back_whatever_the_sizes() {
    let flash = SimOptions::flash(16, 1024, 1 << 20);
    for options in [
        SimOptions::disk(16),
        SimOptions::disk(512),
        SimOptions::disk(4096),
        flash,
    ] {
        let block = options.geometry.write_block_bytes as usize;
        for buffer_bytes in [block.max(512), block.max(512) * 4] {
            let setup = Setup {
                segment_bytes: 65_536,
                segment_bytes_first: 65_536,
                segment_bytes_usual: u32::MAX,
                buffer_bytes,
                window_bytes: 2048,
                slots: 12,
            };
            let storage = SimStorage::new(options);
            let mut writer = setup.create(&storage).unwrap();
            for round in 0..60 {
                prepare(&mut writer, 1).unwrap();
                flush(&mut writer, 1 + round % 4, 0, round % 3 == 0).unwrap();
            }
            assert!(block < 4096 || writer.segment() > 1);
            let last = writer.last_sequence();
            let (commits, _) = setup.reopen(&storage, FRESH).unwrap();
            assert!(commits == expected(last, 0));
            assert_eq!(storage.violations(), Vec::<std::string::String>::new());
        }
    }
}

#[test]
fn a_frame_larger_than_buffer_and_window_comes_back() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let setup = Setup {
        segment_bytes: 65_536,
        segment_bytes_first: 65_536,
        ..SMALL
    };
    let mut writer = setup.create(&storage).unwrap();
    let big: Vec<Row> = (0..150)
        .map(|index: u32| (16, index.to_be_bytes().to_vec(), vec![7; 300], None, None))
        .collect();
    let other = rows(2, 0);
    let bytes = frame_bytes(records(&big));
    let room = writer.room();
    writer.begin_flush(0).unwrap();
    append(&mut writer, &big).unwrap();
    assert_eq!(writer.room(), room - bytes);
    append(&mut writer, &other).unwrap();
    writer.finish_flush(true).unwrap();
    let (commits, writer) = setup.reopen(&storage, FRESH).unwrap();
    assert!(commits == vec![(1, big), (2, other)]);
    drop(writer);
    let (commits, _) = setup.reopen(&storage, FRESH).unwrap();
    assert_eq!(commits.len(), 2, "what recovery copied comes back, too");
}

#[test]
fn a_frame_that_fits_nowhere_changes_nothing() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let mut writer = SMALL.create(&storage).unwrap();
    let big: Vec<Row> = vec![(16, vec![1], vec![7; 4096], None, None)];
    let half: Vec<Row> = vec![(16, vec![1], vec![7; 2000], None, None)];
    writer.begin_flush(0).unwrap();
    assert!(matches!(
        append(&mut writer, &big),
        Err(Error::OverLimit { .. })
    ));
    append(&mut writer, &half).unwrap();
    assert!(!writer.can_append(frame_bytes(records(&half))));
    assert_eq!(append(&mut writer, &half), Err(Error::LogFull));
    prepare(&mut writer, 1).unwrap();
    assert!(writer.can_append(frame_bytes(records(&half))));
    append(&mut writer, &half).unwrap();
    writer.finish_flush(true).unwrap();
    assert_eq!(writer.segment(), 2);
    assert_eq!(writer.synced_sequence(), 2);
    let setup = Setup {
        window_bytes: 2300,
        ..SMALL
    };
    let (commits, _) = setup.reopen(&storage, FRESH).unwrap();
    assert!(commits == vec![(1, half.clone()), (2, half)]);
}

#[test]
fn slots_are_recycled_and_old_frames_in_them_do_not_count() {
    for options in [SimOptions::disk(512), SimOptions::flash(16, 1024, 1 << 20)] {
        let storage = SimStorage::new(options);
        let mut writer = SMALL.create(&storage).unwrap();
        let mut start = FRESH;
        for round in 0..200 {
            prepare(&mut writer, 2).unwrap();
            flush(&mut writer, 1 + round % 3, 0, true).unwrap();
            if round % 5 == 4 {
                let merged = writer.last_sequence() - 3;
                let checkpoint = Checkpoint {
                    generation: round,
                    merged_sequence: merged,
                };
                let first_segment = writer.first_segment_needed_for(merged);
                start = ScanStart {
                    first_segment,
                    merged_sequence: merged,
                    durable_sequence: merged,
                };
                writer.begin_flush(writer.synced_sequence()).unwrap();
                writer.append_checkpoint(9, checkpoint).unwrap();
                writer.finish_flush(true).unwrap();
                writer.release_below(first_segment);
            }
        }
        assert!(writer.segment() > 30);
        let slots = SMALL.config(&storage).storage.log_slots().unwrap();
        assert!(slots <= 6, "{slots} slots");
        let last = writer.last_sequence();
        let (scan, _) = SMALL.scan(&storage, start).unwrap();
        assert_eq!(
            scan.checkpoint.map(|checkpoint| checkpoint.generation),
            Some(199)
        );
        let (commits, mut writer) = SMALL.reopen(&storage, start).unwrap();
        assert!(commits == expected(last, 0)[start.merged_sequence as usize..]);
        writer.release_below(u64::MAX);
        assert!(writer.trim(1).unwrap() > 0);
        assert_eq!(
            writer.slots().ready_slots().min(1),
            writer.slots().ready_slots()
        );
        assert_eq!(storage.violations(), Vec::<std::string::String>::new());
    }
}

#[test]
fn a_full_device_fails_preparing_and_nothing_else() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let mut writer = SMALL.create(&storage).unwrap();
    storage.set_capacity(storage.bytes_used());
    for _ in 0..3 {
        let error = prepare(&mut writer, 1).unwrap_err();
        assert!(matches!(error, Error::Io { error, .. } if error.kind == IoErrorKind::StorageFull));
    }
    flush(&mut writer, 3, 0, true).unwrap();
    storage.set_capacity(u64::MAX);
    prepare(&mut writer, 3).unwrap();
    for _ in 0..6 {
        flush(&mut writer, 3, 0, true).unwrap();
    }
    let (commits, _) = SMALL.reopen(&storage, FRESH).unwrap();
    assert!(commits == expected(21, 0));
}

#[test]
fn a_log_cut_off_many_times_without_progress_needs_no_more_slots() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let mut writer = SMALL.create(&storage).unwrap();
    flush(&mut writer, 4, 0, true).unwrap();
    drop(writer);
    for _ in 0..50 {
        let (commits, _) = SMALL.reopen(&storage, FRESH).unwrap();
        assert!(commits == expected(4, 0));
    }
    let slots = SMALL.config(&storage).storage.log_slots().unwrap();
    assert!(slots <= 3, "{slots} slots");
}

#[test]
fn a_torn_flush_is_cut_and_its_later_blocks_with_it() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let mut writer = SMALL.create(&storage).unwrap();
    flush(&mut writer, 2, 0, true).unwrap();
    let before = storage.file_bytes(File::Log(0)).unwrap();
    flush(&mut writer, 1, 0, false).unwrap();
    flush(&mut writer, 1, 0, false).unwrap();
    flush(&mut writer, 1, 0, true).unwrap();
    let changed = storage
        .file_bytes(File::Log(0))
        .unwrap()
        .chunks(512)
        .zip(before.chunks(512))
        .position(|(new, old)| new != old)
        .unwrap();
    storage.overwrite_raw(File::Log(0), changed as u64 * 512, &[0; 512]);
    let (commits, mut writer) = SMALL.reopen(&storage, FRESH).unwrap();
    assert!(
        commits == expected(2, 0),
        "nothing states that 3 was durable"
    );
    flush(&mut writer, 3, 1, true).unwrap();
    drop(writer);
    let (commits, _) = SMALL.reopen(&storage, FRESH).unwrap();
    assert!(commits[..2] == expected(2, 0));
    assert!(
        commits[2..] == expected(5, 1)[2..],
        "the old 3 to 5 stay cut"
    );
}

#[test]
fn a_header_is_written_once_and_in_its_first_flush() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let writer = SMALL.create(&storage).unwrap();
    assert_eq!(writer.segment(), 1);
    let bytes = storage.file_bytes(File::Log(0)).unwrap();
    assert_eq!(bytes.len(), 4096);
    assert_eq!(&bytes[..8], b"LTNGWAL1");
    assert!(
        bytes[SEGMENT_HEADER_BYTES + 56..]
            .iter()
            .all(|byte| *byte == 0)
    );
}

#[test]
fn segments_grow_and_begin_short_again() {
    let setup = Setup {
        segment_bytes: 65_536,
        segment_bytes_first: 2_048,
        ..SMALL
    };
    let storage = SimStorage::new(SimOptions::disk(512));
    let mut writer = setup.create(&storage).unwrap();
    let mut lengths = vec![writer.segment_bytes()];
    while writer.segment() < 6 {
        prepare(&mut writer, 1).unwrap();
        flush(&mut writer, 1, 0, true).unwrap();
        if lengths.len() < writer.segment() as usize {
            lengths.push(writer.segment_bytes());
        }
    }
    assert_eq!(lengths, [2_048, 8_192, 32_768, 65_536, 65_536, 65_536]);
    let last = writer.last_sequence();
    assert!(writer.prepare_first().unwrap());
    writer.renew(last, 9).unwrap();
    assert_eq!(writer.segment_bytes(), 2_048);
    assert_eq!(writer.first_segment_needed_for(last), 7);
    let start = ScanStart {
        first_segment: 7,
        merged_sequence: last,
        durable_sequence: last,
    };
    // Not given back yet: it is all there still.
    let (scan, slots) = setup.scan(&storage, FRESH).unwrap();
    assert!(setup.read(&storage, &scan, &slots).unwrap() == expected(last, 0));
    writer.release_below(7);
    assert!(writer.trim(0).unwrap() > 0);
    let config = setup.config(&storage);
    let bytes: u64 = (0..config.storage.log_slots().unwrap())
        .filter_map(|slot| config.storage.length(File::Log(slot)).unwrap())
        .sum();
    assert_eq!(bytes, 2_048);
    let (commits, writer) = setup.reopen(&storage, start).unwrap();
    assert!(commits.is_empty());
    assert_eq!(writer.segment_bytes(), 2_048);
    assert_eq!(storage.violations(), Vec::<std::string::String>::new());
}

/// Segments grow up to the usual length; what was committed with room for more is
/// recovered all the same, and blocks that aren't needed are given back.
#[test]
fn segments_have_the_usual_length_and_a_long_commit_comes_back() {
    let setup = Setup {
        segment_bytes: 65_536,
        segment_bytes_first: 2_048,
        segment_bytes_usual: 8_192,
        window_bytes: 65_536,
        ..SMALL
    };
    let storage = SimStorage::new(SimOptions::disk(512));
    let mut writer = setup.create(&storage).unwrap();
    let mut lengths = vec![writer.segment_bytes()];
    while writer.segment() < 5 {
        prepare(&mut writer, 2).unwrap();
        flush(&mut writer, 1, 0, true).unwrap();
        if lengths.len() < writer.segment() as usize {
            lengths.push(writer.segment_bytes());
        }
    }
    assert_eq!(lengths, [2_048, 8_192, 8_192, 8_192, 8_192]);
    let (all, kept) = writer.slots().file_bytes();
    assert_eq!(all - kept, 8_192);
    // Nothing is taken from what is in use.
    while writer.shorten_free(kept).unwrap() {}
    assert_eq!(writer.slots().file_bytes(), (kept, kept));
    assert!(!writer.shorten_free(0).unwrap());
    let number = writer.segment();
    writer.release_below(number);
    assert!(writer.shorten_free(0).unwrap());
    // A commit as long as options of another open allowed.
    let value = vec![7; 30_000];
    let row = [(16, vec![1; 4], value, None, None)];
    while writer.prepare_step(u64::MAX, Wanted::Whole).unwrap() != PrepareProgress::Ready {}
    let durable = writer.synced_sequence();
    writer.begin_flush(durable).unwrap();
    append(&mut writer, &row).unwrap();
    writer.finish_flush(true).unwrap();
    let last = writer.last_sequence();
    drop(writer);
    for cut in 0..40 {
        let storage = storage.fork();
        storage.cut_after(storage.operation_count() + cut);
        let start = ScanStart {
            first_segment: number,
            merged_sequence: last - 1,
            durable_sequence: last,
        };
        let _cut_off = setup.reopen(&storage, start);
        for mode in lightning_sim::CrashMode::EVERY {
            let storage = storage.crash_image(mode, cut);
            let (commits, writer) = setup.reopen(&storage, start).unwrap();
            assert_eq!(commits.len(), 1);
            assert_eq!(writer.last_sequence(), last);
        }
    }
    assert_eq!(storage.violations(), Vec::<std::string::String>::new());
}

/// A segment of a length that its header can't state would be lost with the process that
/// wrote it.
#[test]
fn a_slot_of_any_length_takes_a_segment_that_is_found_again() {
    let setup = Setup {
        segment_bytes: 65_536,
        segment_bytes_first: 2_048,
        segment_bytes_usual: 8_192,
        ..SMALL
    };
    let storage = SimStorage::new(SimOptions::disk(512));
    let mut writer = setup.create(&storage).unwrap();
    while writer.segment() < 4 {
        prepare(&mut writer, 1).unwrap();
        flush(&mut writer, 1, 0, true).unwrap();
    }
    let merged = writer.last_sequence();
    let number = writer.segment();
    let start = ScanStart {
        first_segment: number,
        merged_sequence: merged,
        durable_sequence: merged,
    };
    // Recovery takes the one before it.
    let (slot, segment) = writer.slots().segment(3).unwrap();
    assert_eq!(segment.segment_bytes, 8_192);
    drop(writer);
    let config = setup.config(&storage);
    config.storage.set_length(File::Log(slot), 8_392).unwrap();
    let (_, mut writer) = setup.reopen(&storage, start).unwrap();
    let begun = writer.segment();
    while writer.segment() < begun + 2 {
        prepare(&mut writer, 1).unwrap();
        flush(&mut writer, 1, 0, true).unwrap();
    }
    let last = writer.last_sequence();
    drop(writer);
    let (commits, _) = setup.reopen(&storage, start).unwrap();
    assert!(commits == expected(last, 0).split_off(merged as usize));
    assert_eq!(storage.violations(), Vec::<std::string::String>::new());
}

#[test]
fn what_is_promised_finds_room_in_any_order_of_sizes() {
    let frame_bytes_max = 1_500;
    for seed in 0..400 {
        let mut random = Random::new(seed);
        let setup = Setup {
            segment_bytes: 16_384,
            segment_bytes_first: 4_096,
            segment_bytes_usual: 8_192,
            ..SMALL
        };
        let storage = SimStorage::new(SimOptions::disk(512));
        let mut writer = setup.create(&storage).unwrap();
        for _ in 0..random.below(3) {
            let wanted = [Wanted::Next, Wanted::Usual, Wanted::Whole];
            let wanted = wanted[random.below(3) as usize];
            while writer.prepare_step(u64::MAX, wanted).unwrap() != PrepareProgress::Ready {}
        }
        let mut promised = writer.room_to_promise(frame_bytes_max);
        loop {
            let value = vec![7; random.below(frame_bytes_max - 80) as usize];
            let row = [(16, vec![1; 4], value, None, None)];
            let taken = align_up(frame_bytes(records(&row)), 512);
            if taken > promised {
                break;
            }
            promised -= taken;
            writer.begin_flush(0).unwrap();
            append(&mut writer, &row).unwrap_or_else(|error| panic!("{seed}: {error}"));
            writer.finish_flush(random.chance(1, 2)).unwrap();
            assert!(
                writer.room_to_promise(frame_bytes_max) >= promised,
                "{seed}"
            );
        }
    }
}
