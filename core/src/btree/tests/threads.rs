//! Readers and a writer over a pool that is far too small for both.
//!
//! Each value names its table, key and round, so that bytes of another page, of
//! another time, or changed under a reader's eyes are seen.

use super::*;
use crate::pager::PageStore;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const TABLES: [u32; 2] = [16, 17];
const KEYS: u64 = 600;

/// What readers begin with, and which generations they still read.
struct Shared {
    records: [RootRecord; 2],
    generation: u64,
    readers: BTreeMap<u64, usize>,
}

fn key_of(number: u64) -> [u8; 16] {
    let mut key = [b'k'; 16];
    key[..8].copy_from_slice(&number.to_be_bytes());
    key
}

fn value_of(table: u32, number: u64, round: u64) -> Vec<u8> {
    let mut value = table.to_le_bytes().to_vec();
    value.extend_from_slice(&number.to_le_bytes());
    value.extend_from_slice(&round.to_le_bytes());
    value.resize(
        20 + random_like(number ^ round << 20, 60),
        (number ^ round) as u8,
    );
    value
}

fn verify(table: u32, key: &[u8], value: &[u8]) {
    let number = u64::from_be_bytes(key[..8].try_into().unwrap());
    assert_eq!(key, key_of(number));
    let round = u64::from_le_bytes(value[12..20].try_into().unwrap());
    assert_eq!(value, value_of(table, number, round));
}

fn read(pager: &Pager, records: &[RootRecord; 2], random: &mut Random) {
    let which = random.below(2) as usize;
    let root = Root {
        page: records[which].root,
        table: TABLES[which],
    };
    for _ in 0..20 {
        // Even keys are always there.
        let number = random.below(KEYS / 2) * 2;
        let found = get(pager, &root, &key_of(number), true).unwrap().unwrap();
        std::thread::yield_now();
        verify(root.table, &key_of(number), found.value());
    }
    let mut cursor = TreeCursor::new(pager, root, true);
    let mut key = [0; 64];
    let mut count = 0;
    let forward = random.below(2) == 0;
    cursor
        .seek(if forward {
            CursorPosition::First
        } else {
            CursorPosition::Last
        })
        .unwrap();
    while cursor.is_valid() {
        let length = cursor.copy_key(&mut key);
        verify(root.table, &key[..length], cursor.entry().unwrap().value);
        count += 1;
        if forward {
            cursor.advance().unwrap();
        } else {
            cursor.retreat().unwrap();
        }
    }
    assert_eq!(count, records[which].entries);
}

fn write(
    pager: &Pager,
    store: &mut PageStore,
    editor: &mut Editor,
    records: &mut [RootRecord; 2],
    round: u64,
    random: &mut Random,
) -> u64 {
    for (record, table) in records.iter_mut().zip(TABLES) {
        let root = Root {
            page: record.root,
            table,
        };
        let mut sink = StoreSink { pager, store };
        editor.begin(&root, false).unwrap();
        for number in 0..KEYS {
            if round > 0 && random.below(12) != 0 {
                continue;
            }
            let value = value_of(table, number, round);
            let change = if number % 2 == 1 && random.below(2) == 0 {
                Change::Delete
            } else {
                Change::Put {
                    kind: EntryKind::Put,
                    expiry_ms: None,
                    metadata: None,
                    sequence: 0,
                    value: &value,
                }
            };
            editor
                .apply(pager, &mut sink, &key_of(number), change)
                .unwrap();
        }
        if editor.has_changes() {
            *record = editor.finish(pager, &mut sink).unwrap();
        }
    }
    let input = crate::pager::FlipInput {
        roots: records[0].root,
        entries: 0,
        merged_sequence: 0,
        touched_sequence: 0,
        durable_sequence: 0,
        first_segment: 1,
        wall_time_ms: 0,
        next_table: 18,
        runs: crate::pager::RunsChange::None,
    };
    store.flip(pager, input).unwrap().generation
}

fn run(setup: &Setup, readers: u64, time: Duration) {
    let storage = SimStorage::new(SimOptions::disk(512));
    let mut bench = setup.create(&storage).unwrap();
    let mut editor = Editor::new(&mut bench.budget, &bench.pager, 8, 4, 256).unwrap();
    let Bench { pager, store, .. } = &mut bench;
    let pager = &*pager;
    let mut random = Random::new(1);
    let mut records = [RootRecord::default(); 2];
    let generation = write(pager, store, &mut editor, &mut records, 0, &mut random);
    let shared = Mutex::new(Shared {
        records,
        generation,
        readers: BTreeMap::new(),
    });
    let stop = AtomicBool::new(false);
    let reads = AtomicU64::new(0);
    let mut rounds = 0;
    std::thread::scope(|scope| {
        for seed in 0..readers {
            let (shared, stop, reads) = (&shared, &stop, &reads);
            scope.spawn(move || {
                // The writer ends, too, when a reader panics.
                struct Stop<'a>(&'a AtomicBool);
                impl Drop for Stop<'_> {
                    fn drop(&mut self) {
                        self.0.store(true, Ordering::Relaxed);
                    }
                }
                let _stop = Stop(stop);
                let mut random = Random::new(100 + seed);
                while !stop.load(Ordering::Relaxed) {
                    let (records, generation) = {
                        let mut shared = shared.lock().unwrap();
                        let generation = shared.generation;
                        *shared.readers.entry(generation).or_default() += 1;
                        (shared.records, generation)
                    };
                    read(pager, &records, &mut random);
                    reads.fetch_add(1, Ordering::Relaxed);
                    let mut shared = shared.lock().unwrap();
                    let count = shared.readers.get_mut(&generation).unwrap();
                    *count -= 1;
                    if *count == 0 {
                        shared.readers.remove(&generation);
                    }
                }
            });
        }
        let start = Instant::now();
        // On a busy machine it takes longer until all have had their turns.
        let has_enough = |rounds| {
            rounds > 3 && reads.load(Ordering::Relaxed) > readers && start.elapsed() > time
        };
        while !has_enough(rounds) && !stop.load(Ordering::Relaxed) {
            rounds += 1;
            let oldest = {
                let shared = shared.lock().unwrap();
                let first = shared.readers.keys().next().copied();
                first.unwrap_or(shared.generation)
            };
            while store.reclaim(pager, oldest).unwrap() {}
            let generation = write(pager, store, &mut editor, &mut records, rounds, &mut random);
            let mut shared = shared.lock().unwrap();
            shared.records = records;
            shared.generation = generation;
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(pager.statistics().evictions > 1_000);
}

#[test]
fn readers_and_a_writer_share_sixteen_frames() {
    run(&Setup::plain(1_024, 16), 3, Duration::from_millis(700));
}

#[test]
fn readers_and_a_writer_share_sixteen_frames_with_codec_and_cipher() {
    let mut setup = Setup::plain(1_024, 16);
    setup.unit_bytes = 128;
    setup.codec = Some(Arc::new(TestCodec));
    setup.cipher = Some(Arc::new(TestCipher::new(5)));
    run(&setup, 3, Duration::from_millis(400));
}
