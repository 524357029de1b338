//! Loads that are committed as a run of their own, beside everything else.

use super::*;
use lightning_sim::{CrashMode, Random};

/// Begins a load, pushes rows and commits it, doing maintenance where it has to wait.
pub(super) fn ingest(engine: &Engine, table: u32, rows: &Rows) -> Result<Ticket> {
    let mut load = loop {
        match engine.begin_ingest(table) {
            Ok(load) => break load,
            Err(error) => go_on(engine, error)?,
        }
    };
    push_all(engine, &mut load, rows)?;
    finish(engine, &mut load)
}

pub(super) fn push_all(engine: &Engine, load: &mut Ingest<'_>, rows: &Rows) -> Result<()> {
    for (key, value) in rows {
        while let Err(error) = load.push(key, value, PutOptions::default()) {
            go_on(engine, error)?;
        }
    }
    Ok(())
}

pub(super) fn finish(engine: &Engine, load: &mut Ingest<'_>) -> Result<Ticket> {
    for _ in 0..10_000 {
        match load.finish(0) {
            Ok(ticket) => return Ok(ticket),
            Err(error) => go_on(engine, error)?,
        }
    }
    panic!("a load never finds room");
}

/// As `make_room`, but what maintenance owns passes, too.
fn go_on(engine: &Engine, error: Error) -> Result<()> {
    let passes = matches!(error, Error::Busy | Error::FrontFull | Error::LogFull);
    if !passes {
        return Err(error);
    }
    match engine.flush_step(true) {
        Ok(_) | Err(Error::LogFull) => {}
        Err(error) => return Err(error),
    }
    engine.poll_maintenance(Budgeted::default()).map(|_| ())
}

pub(super) fn name(number: u64) -> Vec<u8> {
    std::format!("key{number:05}").into_bytes()
}

/// Rows with numbers from `first` on, each `step`th, with values that tell the seed.
pub(super) fn some_rows(seed: u64, first: u64, count: u64, longest: u64) -> Rows {
    let mut random = Random::new(seed);
    (0..count)
        .map(|index| {
            let most = if random.below(9) == 0 { longest } else { 40 };
            let mut value = std::vec![0; random.below(most) as usize];
            random.fill(&mut value);
            (name(first + index * 3), value)
        })
        .collect()
}

fn put(engine: &Engine, key: &[u8], value: &[u8]) {
    while let Err(error) = engine.put(16, key, value, PutOptions::default(), 0) {
        make_room(engine, error).unwrap();
    }
}

#[test]
fn a_load_is_there_as_a_whole_beside_everything() {
    for runs in [1, 2, 4] {
        let options = Options {
            runs,
            ..busy_options()
        };
        let storage = SimStorage::new(SimOptions::disk(512));
        let engine = create(&storage, &options).unwrap();
        let mut expected = Rows::new();
        for round in 0..6_u64 {
            for number in 0..60 {
                let key = name(number * 7 % 400);
                let value = std::vec![round as u8; number as usize];
                put(&engine, &key, &value);
                expected.insert(key, value);
            }
            engine.flush_step(true).unwrap();
            let before = engine.snapshot(0).unwrap();
            let rows_before = expected.clone();
            let loaded = some_rows(round, round * 5, 300, 1_400);
            let mut load = engine.begin_ingest(16).unwrap();
            push_all(&engine, &mut load, &loaded).unwrap();
            assert!(rows(&engine, 16).unwrap() == expected, "not before");
            // Others go on.
            put(&engine, b"beside", &[round as u8]);
            let ticket = finish(&engine, &mut load).unwrap();
            drop(load);
            expected.insert(b"beside".to_vec(), std::vec![round as u8]);
            expected.extend(loaded.clone());
            // Later ones win.
            let key = loaded.keys().next().unwrap().clone();
            put(&engine, &key, b"later");
            expected.insert(key, b"later".to_vec());
            engine.flush_step(true).unwrap();
            assert!(engine.is_durable(ticket).unwrap());
            assert!(rows(&engine, 16).unwrap() == expected, "{runs} {round}");
            assert!(rows_of(&engine, &before, 16).unwrap() == rows_before);
            verify(&engine);
            let image = storage.crash_image(CrashMode::Synced, 0);
            let recovered = open(&image, &options).unwrap();
            assert!(rows(&recovered, 16).unwrap() == expected, "recovered");
            verify(&recovered);
            drain(&recovered).unwrap();
            assert!(rows(&recovered, 16).unwrap() == expected, "recovered, drained");
            assert_eq!(verify(&recovered).leaked_units, 0);
            let read_only = Options {
                read_only: true,
                ..options
            };
            let image = storage.crash_image(CrashMode::Synced, 0);
            let reader = open(&image, &read_only).unwrap();
            assert!(rows(&reader, 16).unwrap() == expected, "read only");
            verify(&reader);
            if round % 3 == 1 {
                drain_beside(&engine);
                assert!(rows(&engine, 16).unwrap() == expected);
            }
            assert!(rows_of(&engine, &before, 16).unwrap() == rows_before);
            engine.end(before);
        }
        drain(&engine).unwrap();
        assert!(rows(&engine, 16).unwrap() == expected);
        let verified = verify(&engine);
        assert_eq!(verified.entries, expected.len() as u64);
        assert_eq!(verified.leaked_units, 0);
        assert!(storage.violations().is_empty());
    }
}

fn drain_beside(engine: &Engine) {
    for _ in 0..60 {
        let _ = engine.drain();
        let _ = engine.flush_step(true);
        engine.poll_maintenance(Budgeted::default()).unwrap();
    }
}
