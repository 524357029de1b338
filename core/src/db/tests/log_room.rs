//! What the log keeps of its files while writes go on.

use super::*;

fn put(engine: &Engine, number: u32) {
    let key = std::format!("key{number:05}").into_bytes();
    let options = PutOptions::default();
    while let Err(error) = engine.put(16, &key, &[7; 100], options, 0) {
        make_room(engine, error).unwrap();
    }
}

fn first_segment(engine: &Engine) -> u64 {
    let maintenance = engine.maintenance.try_enter().unwrap();
    maintenance.store.superblock().first_segment
}

#[test]
fn a_run_frees_segments_though_its_flip_finds_the_log_taken() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let engine = create(&storage, &busy_options()).unwrap();
    let mut number = 0;
    while engine.statistics().frozen_memtables == 0 {
        put(&engine, number);
        number += 1;
        // A block each, so that the memtable's log takes several segments.
        engine.flush_step(true).unwrap();
    }
    let before = first_segment(&engine);
    // The run is begun, beside a log that is at hand.
    let budget = Budgeted {
        entries: 1,
        ..Budgeted::default()
    };
    engine.poll_maintenance(budget).unwrap();
    assert_eq!(engine.statistics().runs, 0);
    {
        let _log = engine.log.as_ref().unwrap().try_enter().unwrap();
        while engine.statistics().runs == 0 {
            engine.poll_maintenance(budget).unwrap();
        }
    }
    let after = first_segment(&engine);
    assert!(after > before, "{after} after {before}");
    let expected = rows(&engine, 16).unwrap();
    assert_eq!(expected.len(), number as usize);
    let image = storage.crash_image(lightning_sim::CrashMode::Synced, 0);
    drop(engine);
    let engine = open(&image, &busy_options()).unwrap();
    assert_eq!(rows(&engine, 16).unwrap(), expected);
}

#[test]
fn the_log_keeps_a_part_of_the_page_file_for_reuse() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let engine = create(&storage, &busy_options()).unwrap();
    for number in 0..1_000 {
        put(&engine, number);
    }
    drain(&engine).unwrap();
    // Blocks of their own: the log grows to many times what it has to keep then.
    for number in 0..200 {
        put(&engine, number);
        engine.flush_step(true).unwrap();
    }
    let long = engine.statistics();
    drain(&engine).unwrap();
    engine.poll_maintenance(Budgeted::default()).unwrap();
    let short = engine.statistics();
    let most = short.log_kept_bytes + short.store.used_bytes / 8;
    let ready = 2 * u64::from(busy_options().segment_bytes);
    assert!(long.log_file_bytes > most + ready);
    assert!(short.log_file_bytes <= most + ready);
}
