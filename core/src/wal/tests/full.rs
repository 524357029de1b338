//! Recoveries on a full device: they go on in the newest segment.

use super::cuts::{GROWING, Outcome, is_prefix, work};
use super::*;

/// Leaves the device no room. A hole that a power cut took back is taken by nobody else.
fn fill(storage: &SimStorage) {
    storage.set_capacity(storage.bytes_used());
}

/// A commit that is the same whenever it is appended, and that fills a block: what is
/// behind it is asked, too, when it is gone.
fn row(sequence: u64) -> Vec<Row> {
    vec![(
        16,
        sequence.to_be_bytes().to_vec(),
        vec![7; 442],
        None,
        None,
    )]
}

#[test]
fn a_full_device_opens_again_and_again() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let mut writer = SMALL.create(&storage).unwrap();
    flush(&mut writer, 3, 0, true).unwrap();
    drop(writer);
    fill(&storage);
    for _ in 0..20 {
        let (commits, writer) = SMALL.reopen(&storage, FRESH).unwrap();
        assert!(commits == expected(3, 0));
        assert_eq!(writer.segment(), 1);
        assert!(writer.room() > 1_024, "what was stated isn't stated again");
    }
    assert_eq!(storage.bytes_used(), storage.capacity());
    // With room, it is as ever.
    storage.set_capacity(u64::MAX);
    let (commits, writer) = SMALL.reopen(&storage, FRESH).unwrap();
    assert!(commits == expected(3, 0));
    assert_eq!(writer.segment(), 2);
}

#[test]
fn a_segment_goes_on_to_its_last_block() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let mut writer = SMALL.create(&storage).unwrap();
    while writer.room() > 1_100 {
        flush(&mut writer, 1, 0, true).unwrap();
    }
    let mut last = writer.last_sequence();
    drop(writer);
    fill(&storage);
    loop {
        let (commits, mut writer) = SMALL.reopen(&storage, FRESH).unwrap();
        assert!(commits == expected(last, 0));
        if flush(&mut writer, 1, 0, true).is_err() {
            break;
        }
        last += 1;
    }
    let image = storage.crash_image(CrashMode::Synced, 0);
    let (commits, _) = SMALL.reopen(&image, FRESH).unwrap();
    assert!(commits == expected(last, 0));
}

#[test]
fn what_was_cut_does_not_follow_the_same_commit_when_it_is_made_again() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let mut writer = SMALL.create(&storage).unwrap();
    assert_eq!(frame_bytes(records(&row(1))), 512);
    writer.begin_flush(0).unwrap();
    append(&mut writer, &row(1)).unwrap();
    append(&mut writer, &row(2)).unwrap();
    writer.finish_flush(true).unwrap();
    let third = 4_096 - writer.block_room();
    let make_third = |writer: &mut LogWriter| {
        writer.begin_flush(2).unwrap();
        append(writer, &row(3)).unwrap();
    };
    make_third(&mut writer);
    append(&mut writer, &row(4)).unwrap();
    writer.finish_flush(false).unwrap();
    drop(writer);
    storage.overwrite_raw(File::Log(0), third, &[0; 512]);
    fill(&storage);
    let (commits, mut writer) = SMALL.reopen(&storage, FRESH).unwrap();
    assert_eq!(commits.len(), 2);
    // What stated that the second is durable was erased, and is stated again, once.
    let room = writer.block_room();
    assert_eq!(4_096 - room, third + 512);
    for _ in 0..3 {
        let (commits, reopened) = SMALL.reopen(&storage, FRESH).unwrap();
        assert_eq!((commits.len(), reopened.block_room()), (2, room));
        writer = reopened;
    }
    let rotten = storage.fork();
    rotten.flip_bit(File::Log(0), third - 200, 0);
    let damaged = SMALL.scan(&rotten, FRESH).err();
    assert!(
        matches!(damaged, Some(Error::Corruption { .. })),
        "{damaged:?}"
    );
    make_third(&mut writer);
    writer.finish_flush(true).unwrap();
    drop(writer);
    let (commits, _) = SMALL.reopen(&storage, FRESH).unwrap();
    assert_eq!(commits.len(), 3, "the fourth was cut");
}

#[test]
fn what_only_a_cache_held_is_durable_before_it_is_served() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let mut writer = SMALL.create(&storage).unwrap();
    flush(&mut writer, 2, 0, true).unwrap();
    storage.fail_syncs(Some(IoErrorKind::Device));
    assert!(flush(&mut writer, 2, 0, true).is_err());
    drop(writer);
    let storage = storage.restart();
    storage.clear_faults();
    fill(&storage);
    let (served, _) = SMALL.reopen(&storage, FRESH).unwrap();
    assert_eq!(served.len(), 4);
    let image = storage.crash_image(CrashMode::Synced, 0);
    let (commits, _) = SMALL.reopen(&image, FRESH).unwrap();
    assert!(commits == served);
}

#[test]
fn full_devices_open_whatever_was_cut_and_lose_nothing() {
    let mut went_on = 0;
    for seed in 0..400 {
        let mut random = Random::new(seed);
        let mut storage = SimStorage::new(SimOptions::disk(if seed % 2 == 0 { 512 } else { 16 }));
        let mut writer = GROWING.create(&storage).unwrap();
        let mut outcome = Outcome::default();
        work(&mut writer, 0, 1 + random.below(10), &mut outcome).unwrap();
        let mut branches = vec![(0, 0)];
        for life in 1..16 {
            // What it writes is the last that finds room, or finds none.
            storage.set_capacity(storage.bytes_used() + random.below(3) * 4_096);
            storage.cut_during(storage.operation_count() + 1 + random.below(25));
            let _ = work(&mut writer, branches.last().unwrap().1, 4, &mut outcome);
            let mode = CrashMode::EVERY[random.below(7) as usize];
            let after = |storage: &SimStorage, random: &mut Random| {
                let image = if random.chance(1, 5) {
                    storage.restart()
                } else {
                    storage.crash_image(mode, random.next_u64())
                };
                fill(&image);
                image
            };
            storage = after(&storage, &mut random);
            while random.chance(1, 2) {
                // An attempt that has little room, and is cut off.
                storage.set_capacity(storage.bytes_used() + random.below(3) * 4_096);
                storage.cut_during(1 + random.below(16));
                if random.chance(1, 4) {
                    storage.fail_syncs(Some(IoErrorKind::Device));
                }
                let _ = GROWING.reopen(&storage, FRESH);
                storage = after(&storage, &mut random);
                storage.clear_faults();
            }
            let highest = GROWING.scan(&storage, FRESH).unwrap().0.highest_segment;
            let (commits, reopened) = GROWING
                .reopen(&storage, FRESH)
                .unwrap_or_else(|error| panic!("{seed} {life}: {error:?}"));
            went_on += u32::from(reopened.segment() == highest);
            writer = reopened;
            let count = commits.len() as u64;
            assert!(is_prefix(&commits, &branches), "{seed} {life}");
            assert!(
                (outcome.acknowledged..=outcome.appended).contains(&count),
                "{seed} {life}: {count} {outcome:?}"
            );
            assert_eq!(
                storage.violations(),
                Vec::<std::string::String>::new(),
                "{seed} {life}"
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
    assert!(went_on > 2_000, "{went_on}");
}
