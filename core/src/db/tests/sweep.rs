//! What has expired goes: for whom, when, and cut off everywhere.

use super::*;
use lightning_sim::Random;

const TABLES: [u32; 3] = [16, 17, 40];

/// A key's value and when it expires.
type Expiring = BTreeMap<Vec<u8>, (Vec<u8>, Option<u64>)>;

fn put(engine: &Engine, table: u32, key: &[u8], value: &[u8], expiry_ms: Option<u64>, now_ms: u64) {
    let options = PutOptions {
        expiry_ms,
        metadata: None,
    };
    while let Err(error) = engine.put(table, key, value, options, now_ms) {
        make_room(engine, error).unwrap();
    }
}

/// What a snapshot sees of a table, and how many entries it counts.
fn seen(engine: &Engine, snapshot: &Snapshot, table: u32) -> (Rows, u64) {
    let view = engine.view(snapshot, table, true).unwrap();
    let mut cursor = engine.cursor(&view, true).unwrap();
    let mut rows = Rows::new();
    cursor.seek(CursorPosition::First).unwrap();
    while let Some(entry) = cursor.entry() {
        rows.insert(entry.key.to_vec(), whole(engine, &view, entry.value));
        cursor.advance().unwrap();
    }
    for key in rows.keys() {
        assert!(engine.get(&view, key, true).unwrap().is_some());
    }
    drop(cursor);
    (rows, engine.count(&view).unwrap())
}

fn seen_at(engine: &Engine, now_ms: u64, table: u32) -> (Rows, u64) {
    let snapshot = engine.snapshot(now_ms).unwrap();
    let found = seen(engine, &snapshot, table);
    engine.end(snapshot);
    found
}

fn live(rows: &Expiring, now_ms: u64) -> Rows {
    let live = |expiry: &Option<u64>| expiry.is_none_or(|expiry| expiry > now_ms);
    rows.iter()
        .filter(|(_, (_, expiry))| live(expiry))
        .map(|(key, (value, _))| (key.clone(), value.clone()))
        .collect()
}

/// Sweeps until nothing is left to do, which must come; answers how often it worked.
fn sweep(engine: &Engine, now_ms: u64) -> Result<u32> {
    let mut calls = 0;
    while engine.sweep(now_ms)?.worked {
        calls += 1;
        assert!(calls < 1_000, "it never ends");
    }
    Ok(calls)
}

#[test]
fn an_entry_is_seen_by_who_began_before_it_expired() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let engine = create(&storage, &busy_options()).unwrap();
    let long = [9; 1_300];
    for (key, expiry_ms) in [
        (b"a", Some(5_000)),
        (b"b", None),
        (b"c", Some(5_001)),
        (b"d", Some(9_000)),
    ] {
        put(&engine, 16, key, &long, expiry_ms, 2_000);
    }
    drain(&engine).unwrap();
    let idle = engine.sweep(4_999).unwrap();
    assert!(!idle.worked);
    assert_eq!(idle.earliest_expiry_ms, Some(5_000));
    let before = engine.snapshot(4_000).unwrap();
    assert!(sweep(&engine, 5_001).unwrap() > 0);
    let (rows, count) = seen(&engine, &before, 16);
    assert_eq!((rows.len(), count), (4, 4));
    let (rows, count) = seen_at(&engine, 5_001, 16);
    assert_eq!((rows.len(), count), (2, 2));
    // The clock was put back, and then the database opened again.
    assert_eq!(
        engine.snapshot(0).map(|snapshot| {
            let now_ms = snapshot.now_ms;
            engine.end(snapshot);
            now_ms
        }),
        Ok(5_001)
    );
    assert_eq!(seen(&engine, &before, 16).0.len(), 4);
    engine.end(before);
    assert_eq!(verify(&engine).entries, 2);
    drop(engine);
    let engine = open(&storage.restart(), &busy_options()).unwrap();
    let (rows, count) = seen_at(&engine, 0, 16);
    assert_eq!((rows.len(), count), (2, 2));
    let snapshot = engine.snapshot(0).unwrap();
    assert_eq!(snapshot.now_ms, 5_001);
    engine.end(snapshot);
    sweep(&engine, u64::MAX).unwrap();
    assert_eq!(engine.sweep(u64::MAX).unwrap(), Swept::default());
    assert_eq!(verify(&engine).entries, 1);
}

/// Where nothing has expired, nothing is read or written.
#[test]
fn only_what_has_expired_is_visited() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let engine = create(&storage, &busy_options()).unwrap();
    for number in 0..3_000_u32 {
        let expiry_ms = (number % 1_000 == 7).then_some(5_000);
        put(&engine, 16, &number.to_be_bytes(), &[1; 100], expiry_ms, 0);
        put(&engine, 17, &number.to_be_bytes(), &[1; 10], Some(9_000), 0);
    }
    drain(&engine).unwrap();
    drop(engine);
    let engine = open(&storage.restart(), &busy_options()).unwrap();
    let before = engine.statistics();
    assert_eq!(sweep(&engine, 6_000).unwrap(), 1);
    let after = engine.statistics();
    assert_eq!(after.entries, before.entries - 3);
    let written = after.store.written_bytes - before.store.written_bytes;
    assert!(written < 20 << 10, "{written}");
    let loaded = after.frames.loads - before.frames.loads;
    assert!(loaded < 20, "{loaded}");
    verify(&engine);
}

/// Random commits, sweeps and snapshots under a clock that goes on.
#[test]
fn random_sweeps() {
    for seed in 0..8 {
        let options = Options {
            runs: [4, 0, 2, 1][seed as usize % 4],
            ..busy_options()
        };
        random_sweeps_of(seed, &options);
    }
}

fn random_sweeps_of(seed: u64, options: &Options) {
    let mut random = Random::new(seed);
    let mut storage = SimStorage::new(SimOptions::disk(512));
    let mut engine = create(&storage, options).unwrap();
    let mut now_ms = 2_000;
    let mut model: BTreeMap<u32, Expiring> = TABLES.map(|table| (table, Expiring::new())).into();
    let mut open_snapshots: Vec<(Snapshot, BTreeMap<u32, Expiring>)> = Vec::new();
    let mut swept = 0;
    for _ in 0..1_500 {
        now_ms += random.below(5);
        match random.below(100) {
            0..=69 => {
                let table = TABLES[random.below(3) as usize];
                let key = std::format!("{:03}", random.below(200)).into_bytes();
                let most = if random.below(10) == 0 { 1_400 } else { 150 };
                let value = std::vec![random.below(256) as u8; random.below(most) as usize];
                let expiry_ms = (random.below(3) > 0).then(|| now_ms + random.below(2_000));
                // Without runs a snapshot that is open keeps memtables.
                if options.runs == 0 {
                    for (snapshot, model) in open_snapshots.drain(..) {
                        check_seen(&engine, &snapshot, &model);
                        engine.end(snapshot);
                    }
                }
                put(&engine, table, &key, &value, expiry_ms, now_ms);
                model
                    .get_mut(&table)
                    .unwrap()
                    .insert(key, (value, expiry_ms));
            }
            70..=84 => {
                let _ = engine.poll_maintenance(Budgeted {
                    entries: 30,
                    log_bytes: 4_096,
                });
            }
            85..=91 => match engine.sweep(now_ms) {
                Ok(progress) => swept += u32::from(progress.worked),
                Err(error) => assert_eq!(error, Error::Busy),
            },
            92..=95 => {
                let _ = engine.flush_step(true);
                if is_durable(&engine) {
                    open_snapshots.push((engine.snapshot(now_ms).unwrap(), model.clone()));
                }
                if open_snapshots.len() > 3 {
                    let at = random.below(open_snapshots.len() as u64) as usize;
                    let (snapshot, model) = open_snapshots.remove(at);
                    check_seen(&engine, &snapshot, &model);
                    engine.end(snapshot);
                }
            }
            96 => {
                if options.runs > 0 {
                    drain(&engine).unwrap();
                }
            }
            97 => match engine.trim_pages() {
                Ok(_) | Err(Error::Busy) => {}
                Err(error) => panic!("{error:?}"),
            },
            98 => {
                for (snapshot, model) in open_snapshots.drain(..) {
                    check_seen(&engine, &snapshot, &model);
                    engine.end(snapshot);
                }
                let _ = engine.flush_step(true);
                if is_durable(&engine) {
                    storage = storage.restart();
                    engine = open(&storage, options).unwrap();
                }
            }
            _ => {
                let _ = engine.freeze_front();
            }
        }
    }
    for (snapshot, model) in open_snapshots.drain(..) {
        check_seen(&engine, &snapshot, &model);
        engine.end(snapshot);
    }
    drain(&engine).unwrap();
    sweep(&engine, now_ms).unwrap();
    assert!(swept > 5, "{swept}");
    let mut entries = 0;
    for table in TABLES {
        let expected = live(&model[&table], now_ms);
        let count = expected.len() as u64;
        entries += count;
        assert!(
            seen_at(&engine, now_ms, table) == (expected, count),
            "table {table}"
        );
    }
    assert_eq!(verify(&engine).entries, entries);
}

fn is_durable(engine: &Engine) -> bool {
    let statistics = engine.statistics();
    statistics.durable_sequence == statistics.appended_sequence
}

fn check_seen(engine: &Engine, snapshot: &Snapshot, model: &BTreeMap<u32, Expiring>) {
    for (table, rows) in model {
        let (found, count) = seen(engine, snapshot, *table);
        assert!(found == live(rows, snapshot.now_ms), "table {table}");
        assert!(count >= found.len() as u64);
    }
}

#[test]
fn a_cut_anywhere_in_a_sweep_loses_nothing() {
    let cases = [
        (SimOptions::disk(512), busy_options(), 1_300),
        (
            SimOptions::disk(512),
            Options {
                page_bytes: 512,
                ..busy_options()
            },
            100,
        ),
        (
            SimOptions::flash(256, 4_096, 16 << 20),
            Options {
                file_bytes_max: 4 << 20,
                ..busy_options()
            },
            1_300,
        ),
    ];
    for (sim, options, longest) in cases {
        cut_everywhere(sim, &options, longest);
    }
}

fn cut_everywhere(sim: SimOptions, options: &Options, longest: usize) {
    let storage = SimStorage::new(sim);
    let engine = create(&storage, options).unwrap();
    let mut model: BTreeMap<u32, Expiring> = TABLES.map(|table| (table, Expiring::new())).into();
    for number in 0..600_u32 {
        for table in TABLES {
            let length = if number % 16 == 0 { longest } else { 60 };
            let value = std::vec![number as u8; length];
            let expiry_ms = [None, Some(5_000), Some(9_000)][(number / 8 + table) as usize % 3];
            let key = number.to_be_bytes().to_vec();
            put(&engine, table, &key, &value, expiry_ms, 0);
            let rows = model.get_mut(&table).unwrap();
            rows.insert(key, (value, expiry_ms));
        }
    }
    drain(&engine).unwrap();
    drop(engine);
    let start = storage.restart();
    let expected = TABLES.map(|table| live(&model[&table], 6_000));
    let entries = expected.iter().map(Rows::len).sum::<usize>() as u64;
    let mut cuts = 0;
    for cut in 2.. {
        let storage = start.fork();
        let engine = open(&storage, options).unwrap();
        if cut % 2 == 0 {
            storage.cut_after(storage.operation_count() + cut / 2);
        } else {
            storage.cut_during(storage.operation_count() + cut / 2);
        }
        let outcome = sweep(&engine, 6_000);
        assert!(storage.violations().is_empty());
        for mode in lightning_sim::CrashMode::EVERY {
            let engine = open(&storage.crash_image(mode, cut), options).unwrap();
            for (table, expected) in TABLES.iter().zip(&expected) {
                let (found, _) = seen_at(&engine, 6_000, *table);
                assert!(found == *expected, "cut {cut} {mode:?} table {table}");
            }
            verify(&engine);
            if cut % 8 == 1 {
                // What is left is swept the next time.
                sweep(&engine, 6_000).unwrap();
                assert_eq!(verify(&engine).entries, entries);
            }
        }
        cuts += 1;
        if storage.has_power() {
            assert!(outcome.unwrap() > 1, "one slice");
            assert_eq!(verify(&engine).entries, entries);
            break;
        }
    }
    assert!(cuts > 50, "{cuts}");
}
