//! Power cuts and failing calls at every operation, in every mode, also during
//! recovery from the one before.

use super::*;

/// Logs that begin with a short segment.
pub(super) const GROWING: Setup = Setup {
    segment_bytes_usual: 3_072,
    segment_bytes_first: 2_048,
    ..SMALL
};

/// What a run of the log left behind.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Outcome {
    pub acknowledged: u64,
    pub written: u64,
    pub appended: u64,
}

/// Runs the log until it ends or fails: flushes with and without sync, several of
/// them in one block, over several segments, with a little recycling at the end.
pub(super) fn work(
    writer: &mut LogWriter,
    branch: u64,
    rounds: u64,
    outcome: &mut Outcome,
) -> Result<()> {
    for round in 0..rounds {
        prepare(writer, 1)?;
        writer.begin_flush(writer.synced_sequence())?;
        for _ in 0..1 + round % 3 {
            let rows = rows(writer.last_sequence() + 1, branch);
            outcome.appended = writer.last_sequence() + 1;
            append(writer, &rows)?;
        }
        outcome.acknowledged = writer.finish_flush(round % 5 < 2)?;
        outcome.written = writer.last_sequence();
    }
    Ok(())
}

fn whole_run(storage: &SimStorage, outcome: &mut Outcome) -> Result<()> {
    let mut writer = GROWING.create(storage)?;
    work(&mut writer, 0, 14, outcome)
}

pub(super) fn is_prefix(commits: &[(u64, Vec<Row>)], branches: &[(u64, u64)]) -> bool {
    commits
        .iter()
        .enumerate()
        .all(|(index, (sequence, found))| {
            let branch = branches
                .iter()
                .rev()
                .find(|(from, _)| *from <= *sequence)
                .unwrap()
                .1;
            *sequence == index as u64 + 1 && *found == rows(*sequence, branch)
        })
}

/// Whether the log was never created: cut before its first segment was durable.
fn is_unborn(error: &Error, outcome: &Outcome) -> bool {
    outcome.appended == 0 && matches!(error, Error::Corruption { .. })
}

#[test]
fn nothing_acknowledged_is_lost_at_any_cut() {
    let operations = {
        let storage = SimStorage::new(SimOptions::disk(512));
        whole_run(&storage, &mut Outcome::default()).unwrap();
        storage.operation_count()
    };
    for operation in 1..=operations {
        for during in [false, true] {
            let storage = SimStorage::new(SimOptions::disk(512));
            if during {
                storage.cut_during(operation);
            } else {
                storage.cut_after(operation);
            }
            let mut outcome = Outcome::default();
            let _ = whole_run(&storage, &mut outcome);
            if !during {
                // Killed with the power on: what was handed over is all there.
                let killed = Outcome {
                    acknowledged: outcome.written,
                    ..outcome
                };
                recovers(
                    &storage.restart(),
                    killed,
                    &std::format!("{operation} killed"),
                );
            }
            for mode in CrashMode::EVERY {
                for seed in 0..6 {
                    let image = storage.crash_image(mode, seed);
                    recovers(
                        &image,
                        outcome,
                        &std::format!("{operation} {during} {mode:?} {seed}"),
                    );
                }
            }
        }
    }
}

/// Opens `image`, goes on in it, and opens it again.
fn recovers(image: &SimStorage, outcome: Outcome, name: &str) {
    let (commits, mut writer) = match GROWING.reopen(image, FRESH) {
        Ok(found) => found,
        Err(error) if is_unborn(&error, &outcome) => return,
        Err(error) => panic!("{name}: {error:?} {outcome:?}"),
    };
    let count = commits.len() as u64;
    assert!(is_prefix(&commits, &[(0, 0)]), "{name}");
    assert!(
        (outcome.acknowledged..=outcome.appended).contains(&count),
        "{name}: {count}"
    );
    let mut more = Outcome::default();
    work(&mut writer, 1, 3, &mut more).unwrap();
    drop(writer);
    let cut = image.crash_image(CrashMode::Synced, 0);
    let (scan, slots) = GROWING.scan(&cut, FRESH).unwrap();
    let commits = GROWING.read(&cut, &scan, &slots).unwrap();
    assert!(commits.len() as u64 >= more.acknowledged, "{name}");
    assert!(is_prefix(&commits, &[(0, 0), (count + 1, 1)]), "{name}");
    let (scan, slots) = GROWING.scan(image, FRESH).unwrap();
    let commits = GROWING.read(image, &scan, &slots).unwrap();
    assert_eq!(commits.len() as u64, more.appended, "{name}");
    assert!(is_prefix(&commits, &[(0, 0), (count + 1, 1)]), "{name}");
    assert_eq!(
        image.violations(),
        Vec::<std::string::String>::new(),
        "{name}"
    );
}

#[test]
fn recoveries_that_are_cut_again_and_again_lose_nothing() {
    for seed in 0..400 {
        let mut random = Random::new(seed);
        let mut storage = SimStorage::new(SimOptions::disk(if seed % 2 == 0 { 512 } else { 16 }));
        let mut writer = GROWING.create(&storage).unwrap();
        let mut outcome = Outcome::default();
        work(&mut writer, 0, 1 + random.below(10), &mut outcome).unwrap();
        let mut branches = vec![(0, 0)];
        for life in 1..12 {
            storage.cut_during(storage.operation_count() + 1 + random.below(25));
            let _ = work(&mut writer, branches.last().unwrap().1, 4, &mut outcome);
            let mode = CrashMode::EVERY[random.below(7) as usize];
            storage = if random.chance(1, 5) {
                storage.restart()
            } else {
                storage.crash_image(mode, random.next_u64())
            };
            if random.chance(1, 2) {
                storage.cut_during(1 + random.below(16));
            } else if random.chance(1, 3) {
                storage.fail_syncs(Some(IoErrorKind::Device));
            }
            let mut reopened = GROWING.reopen(&storage, FRESH);
            for _ in 0..20 {
                if reopened.is_ok() {
                    break;
                }
                storage = if random.chance(1, 2) {
                    storage.restart()
                } else {
                    storage.crash_image(mode, random.next_u64())
                };
                storage.clear_faults();
                reopened = GROWING.reopen(&storage, FRESH);
                if random.chance(1, 3) && reopened.is_ok() {
                    storage = storage.crash_image(CrashMode::Synced, 0);
                    reopened = GROWING.reopen(&storage, FRESH);
                }
            }
            let commits = match reopened {
                Ok((commits, reopened)) => {
                    writer = reopened;
                    commits
                }
                Err(Error::LogFull) => break,
                Err(error) => panic!("{seed} {life}: {error:?}"),
            };
            let count = commits.len() as u64;
            assert!(is_prefix(&commits, &branches), "{seed} {life}");
            assert!(
                (outcome.acknowledged..=outcome.appended).contains(&count),
                "{seed} {life}: {count} {outcome:?}"
            );
            branches.retain(|(from, _)| *from <= count);
            branches.push((count + 1, life));
            outcome = Outcome {
                acknowledged: count,
                written: count,
                appended: count,
            };
        }
    }
}

#[test]
fn a_failed_call_poisons_or_leaves_everything_usable() {
    let calls = {
        let storage = SimStorage::new(SimOptions::disk(512));
        whole_run(&storage, &mut Outcome::default()).unwrap();
        storage.call_count()
    };
    for call in 1..=calls {
        for kind in [IoErrorKind::StorageFull, IoErrorKind::Device] {
            for persistent in [false, true] {
                let storage = SimStorage::new(SimOptions::disk(512));
                storage.fail_at(call, kind, persistent);
                let mut outcome = Outcome::default();
                let _ = whole_run(&storage, &mut outcome);
                storage.clear_faults();
                for image in [
                    storage.restart(),
                    storage.crash_image(CrashMode::Synced, 0),
                    storage.crash_image(CrashMode::Random, call),
                ] {
                    recovers(
                        &image,
                        outcome,
                        &std::format!("{call} {kind:?} {persistent}"),
                    );
                }
            }
        }
    }
}

#[test]
fn a_segment_that_only_the_page_cache_held_may_vanish() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let mut writer = GROWING.create(&storage).unwrap();
    prepare(&mut writer, 1).unwrap();
    while writer.room() >= frame_bytes(records(&rows(writer.last_sequence() + 1, 0))) {
        flush(&mut writer, 1, 0, true).unwrap();
    }
    let last = writer.last_sequence();
    assert_eq!(writer.segment(), 1);
    storage.fail_syncs(Some(IoErrorKind::Device));
    flush(&mut writer, 1, 0, true).unwrap_err();
    assert_eq!(
        writer.segment(),
        2,
        "its header was written, but never synced"
    );
    assert_eq!(writer.begin_flush(0), Err(Error::Poisoned));
    let cached = storage.restart();
    cached.clear_faults();
    let (commits, writer) = GROWING.reopen(&cached, FRESH).unwrap();
    assert!(commits == expected(last + 1, 0));
    drop(writer);
    let cut = cached.crash_image(CrashMode::Synced, 0);
    let (scan, slots) = GROWING.scan(&cut, FRESH).unwrap();
    assert_eq!(
        slots.segment_after(1).map(|(_, segment)| segment.number),
        Some(3)
    );
    let commits = GROWING.read(&cut, &scan, &slots).unwrap();
    assert!(commits == expected(last + 1, 0), "what was served stays");
}

/// Runs with checkpoints, recycling and removing; `start` is what a durable
/// superblock says.
fn recycling_run(
    writer: &mut LogWriter,
    branch: u64,
    rounds: u64,
    outcome: &mut Outcome,
    start: &mut ScanStart,
) -> Result<()> {
    for round in 0..rounds {
        work(writer, branch, 2, outcome)?;
        let merged_sequence = writer.synced_sequence();
        *start = ScanStart {
            first_segment: writer.first_segment_needed_for(merged_sequence),
            merged_sequence,
            durable_sequence: merged_sequence,
        };
        writer.release_below(start.first_segment);
        if round % 3 == 2 {
            writer.trim(0)?;
        }
    }
    Ok(())
}

#[test]
fn recycling_loses_nothing_at_any_cut() {
    for options in [SimOptions::disk(512), SimOptions::flash(16, 1024, 1 << 20)] {
        let run = |storage: &SimStorage, outcome: &mut Outcome, start: &mut ScanStart| {
            recycling_run(&mut GROWING.create(storage)?, 0, 9, outcome, start)
        };
        let storage = SimStorage::new(options);
        run(&storage, &mut Outcome::default(), &mut FRESH.clone()).unwrap();
        for operation in 1..=storage.operation_count() {
            let storage = SimStorage::new(options);
            storage.cut_during(operation);
            let (mut outcome, mut start) = (Outcome::default(), FRESH);
            let _ = run(&storage, &mut outcome, &mut start);
            for mode in CrashMode::EVERY {
                let mut start = start;
                let image = storage.crash_image(mode, operation);
                let name = std::format!("{operation} {mode:?} {outcome:?} {start:?}");
                let (commits, mut writer) = match GROWING.reopen(&image, start) {
                    Ok(found) => found,
                    Err(error) if is_unborn(&error, &outcome) => continue,
                    Err(error) => panic!("{name}: {error:?}"),
                };
                let merged = start.merged_sequence;
                let last = merged + commits.len() as u64;
                assert!(
                    (outcome.acknowledged..=outcome.appended).contains(&last),
                    "{name}"
                );
                assert!(commits == expected(last, 0)[merged as usize..], "{name}");
                let mut more = Outcome {
                    acknowledged: last,
                    written: last,
                    appended: last,
                };
                recycling_run(&mut writer, 1, 3, &mut more, &mut start).unwrap();
                drop(writer);
                let image = image.crash_image(CrashMode::Synced, 0);
                let (scan, _) = GROWING.scan(&image, start).unwrap();
                assert!(scan.last_sequence >= more.acknowledged, "{name}");
            }
        }
    }
}

/// A log whose unsynced flushes of one commit each go on in the same blocks, and
/// where each of them was written.
fn continued(storage: &SimStorage) -> (u64, Vec<(u64, Vec<u8>)>) {
    let mut writer = BLOCKS.create(storage).unwrap();
    flush(&mut writer, 2, 0, true).unwrap();
    let synced = writer.last_sequence();
    let mut images = Vec::new();
    for _ in 0..12 {
        flush(&mut writer, 1, 0, false).unwrap();
        let bytes = storage.file_bytes(File::Log(0)).unwrap();
        images.push((writer.last_sequence(), bytes));
    }
    (synced, images)
}

const BLOCKS: Setup = Setup {
    segment_bytes: 32_768,
    segment_bytes_first: 32_768,
    segment_bytes_usual: u32::MAX,
    buffer_bytes: 4_096,
    window_bytes: 4_096,
    slots: 12,
};

fn last_found(bytes: &[u8]) -> u64 {
    let storage = SimStorage::new(SimOptions::disk(4_096));
    storage.overwrite_raw(File::Log(0), 0, bytes);
    let (scan, slots) = BLOCKS.scan(&storage, FRESH).unwrap();
    let commits = BLOCKS.read(&storage, &scan, &slots).unwrap();
    assert!(commits == expected(commits.len() as u64, 0));
    commits.len() as u64
}

#[test]
fn a_continued_block_torn_at_any_byte_loses_nothing_acknowledged() {
    let storage = SimStorage::new(SimOptions::disk(4_096));
    let (synced, images) = continued(&storage);
    let used = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let end = images.last().map(|(_, bytes)| used(bytes)).unwrap();
    assert!(end < 6 * 4_096, "twelve flushes take {end} bytes");
    for pair in images.windows(2) {
        let [(written, old), (_, new)] = pair else {
            unreachable!()
        };
        let change = old.iter().zip(new).position(|(old, new)| old != new);
        for cut in (change.unwrap() & !4_095)..used(new) {
            // A process killed in the middle of the write.
            let killed = [&new[..cut], &old[cut..]].concat();
            assert!(last_found(&killed) >= *written, "{written} {cut}");
            // A device that wrote sectors of a block in another order.
            let torn = [&old[..cut], &new[cut..]].concat();
            assert!(last_found(&torn) >= synced, "{written} {cut}");
        }
        // The block is lost with all that was written in it, though not synced.
        let mut lost = new.clone();
        lost[change.unwrap() & !4_095..].fill(0);
        assert!(last_found(&lost) >= synced);
    }
}

#[test]
fn a_sync_ends_a_block_and_flash_never_continues_one() {
    for options in [SimOptions::disk(512), SimOptions::flash(16, 1024, 1 << 20)] {
        let storage = SimStorage::new(options);
        let block = options.geometry.write_block_bytes;
        let setup = Setup {
            segment_bytes: 32_768,
            segment_bytes_first: 32_768,
            segment_bytes_usual: u32::MAX,
            ..GROWING
        };
        let mut writer = setup.create(&storage).unwrap();
        let mut synced = storage.file_bytes(File::Log(0)).unwrap();
        let mut synced_end = u64::from(setup.segment_bytes) - writer.block_room();
        for round in 0..9 {
            let before = writer.block_room();
            let bytes = frame_bytes(records(&rows(writer.last_sequence() + 1, 0)));
            flush(&mut writer, 1, 0, round % 3 == 2).unwrap();
            assert!(before - writer.block_room() <= align_up(bytes, block));
            let now = storage.file_bytes(File::Log(0)).unwrap();
            let end = synced_end as usize;
            assert!(now[..end] == synced[..end], "what was synced stays");
            if round % 3 == 2 {
                assert_eq!(writer.room(), writer.block_room());
                synced_end = u64::from(setup.segment_bytes) - writer.block_room();
                synced = now;
            }
        }
        assert_eq!(storage.violations(), Vec::<std::string::String>::new());
    }
}

/// Flushes with syncs beside them: `early` syncs end at the storage before the
/// flushes that are made meanwhile, the others after.
fn work_beside(storage: &SimStorage, early: bool, outcome: &mut Outcome) -> Result<()> {
    let mut writer = GROWING.create(storage)?;
    let writer = &mut writer;
    let sync = |slot| {
        storage
            .sync(File::Log(slot))
            .map_err(at_slot(slot, IoAction::Sync, 0))
    };
    for round in 0..9 {
        prepare(writer, 1)?;
        writer.begin_flush(writer.synced_sequence())?;
        outcome.appended = writer.last_sequence() + 1;
        append(writer, &rows(writer.last_sequence() + 1, 0))?;
        let Some(underway) = writer.begin_sync()? else {
            continue;
        };
        outcome.written = writer.last_sequence();
        if early {
            sync(underway.slot)?;
        }
        for _ in 0..round % 4 {
            writer.begin_flush(writer.synced_sequence())?;
            outcome.appended = writer.last_sequence() + 1;
            match append(writer, &rows(writer.last_sequence() + 1, 0)) {
                Ok(()) => {}
                Err(Error::Busy) => outcome.appended -= 1,
                Err(error) => return Err(error),
            }
            outcome.acknowledged = writer.finish_flush(false)?;
            outcome.written = writer.last_sequence();
        }
        if !early {
            sync(underway.slot)?;
        }
        outcome.acknowledged = writer.end_sync();
    }
    Ok(())
}

#[test]
fn a_sync_beside_flushes_covers_what_came_before_it() {
    for early in [false, true] {
        let run =
            |storage: &SimStorage, outcome: &mut Outcome| work_beside(storage, early, outcome);
        let storage = SimStorage::new(SimOptions::disk(512));
        run(&storage, &mut Outcome::default()).unwrap();
        for operation in 1..=storage.operation_count() {
            for during in [false, true] {
                let storage = SimStorage::new(SimOptions::disk(512));
                if during {
                    storage.cut_during(operation);
                } else {
                    storage.cut_after(operation);
                }
                let mut outcome = Outcome::default();
                let _ = run(&storage, &mut outcome);
                for mode in CrashMode::EVERY {
                    for seed in 0..6 {
                        let image = storage.crash_image(mode, seed);
                        let name = std::format!("{early} {operation} {during} {mode:?} {seed}");
                        recovers(&image, outcome, &name);
                    }
                }
            }
        }
    }
}
