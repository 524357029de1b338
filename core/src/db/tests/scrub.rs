//! Damage is found page by page, wherever it is, by who reads a little at a time.

use super::*;

fn filled(storage: &SimStorage) -> Engine {
    let engine = create(storage, &busy_options()).unwrap();
    for table in [FIRST_USER_TABLE, FIRST_USER_TABLE + 3] {
        let mut load = engine.begin_load(table).unwrap();
        for number in 0..1_500_u32 {
            let value = std::vec![7; if number % 300 == 7 { 1_400 } else { 50 }];
            let key = std::format!("key{number:06}");
            load.push(key.as_bytes(), &value, PutOptions::default())
                .unwrap();
        }
        load.finish().unwrap();
    }
    engine
}

/// Goes through all once; answers pages and calls.
fn round(engine: &Engine, pages_min: u64) -> Result<(u64, u64)> {
    let mut buffer = std::vec![0; engine.scrub_buffer_bytes()];
    let (mut place, mut pages, mut calls) = (ScrubPlace::default(), 0, 0);
    loop {
        let scrubbed = engine.scrub(&mut place, pages_min, &mut buffer)?;
        (pages, calls) = (pages + scrubbed.pages, calls + 1);
        assert!(calls < 10_000);
        if scrubbed.is_round {
            assert_eq!(place, ScrubPlace::default());
            return Ok((pages, calls));
        }
    }
}

#[test]
fn every_page_is_met_whatever_the_steps() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let engine = filled(&storage);
    let (whole, calls) = round(&engine, u64::MAX).unwrap();
    assert_eq!(calls, 1);
    let mut buffer = std::vec![0; engine.verify_buffer_bytes()];
    let verified = engine.verify(&mut buffer, &mut |_| {}).unwrap();
    assert_eq!(verified.extents, 10);
    // Chunks of 1,400 bytes: two pages each.
    assert_eq!(whole, verified.pages + 2 * verified.extents);
    for pages_min in [1, 2, 7, 64] {
        let (pages, calls) = round(&engine, pages_min).unwrap();
        // Some of the branches are met again in each call.
        assert!(pages >= whole, "{pages_min}: {pages} of {whole}");
        assert!(
            calls > whole / (pages_min + 8),
            "{pages_min}: {calls} calls"
        );
    }
    // An empty database has its trees of tables and names at most.
    let empty = create(&SimStorage::new(SimOptions::disk(512)), &busy_options()).unwrap();
    assert!(round(&empty, 1).unwrap().0 < 4);
}

#[test]
fn damage_of_any_page_is_found_though_it_is_in_memory() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let engine = filled(&storage);
    rows(&engine, FIRST_USER_TABLE).unwrap();
    let length = storage
        .length(lightning_platform::File::Pages)
        .unwrap()
        .unwrap();
    let mut found = 0;
    for page in 2..length / 1_024 {
        let file = lightning_platform::File::Pages;
        storage.flip_bit(file, page * 1_024 + 100, 3);
        match round(&engine, 16) {
            Ok(_) => {}
            Err(Error::Corruption { offset, .. }) => {
                found += 1;
                // Of a large value, its beginning is named.
                assert!(page - offset / 1_024 < 2, "{page}: {offset}");
            }
            Err(error) => panic!("{error}"),
        }
        storage.flip_bit(file, page * 1_024 + 100, 3);
    }
    let (whole, _) = round(&engine, u64::MAX).unwrap();
    // The root of the tables is asked for in memory, too, but read like all others.
    assert_eq!(found, whole);
}

#[test]
fn trees_may_change_between_two_steps() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let engine = filled(&storage);
    let mut buffer = std::vec![0; engine.scrub_buffer_bytes()];
    let (mut place, mut rounds) = (ScrubPlace::default(), 0);
    for number in 0..400_u32 {
        let key = std::format!("key{:06}", number * 7_919 % 3_000);
        while let Err(error) = engine.put(
            FIRST_USER_TABLE,
            key.as_bytes(),
            &[9; 80],
            PutOptions::default(),
            0,
        ) {
            make_room(&engine, error).unwrap();
        }
        let scrubbed = engine.scrub(&mut place, 20, &mut buffer).unwrap();
        rounds += u32::from(scrubbed.is_round);
    }
    assert!(rounds > 5);
}
