//! The memtable full, misused, reused, and under threads.

use super::*;
use crate::error::{Error, Limit};
use alloc::sync::Arc;
use core::cmp::Reverse;
use core::ptr::NonNull;
use lightning_platform::{Memory, MemoryUse};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::vec::Vec;
use std::{format, thread};

mod model;

pub(super) struct Heap;

// SAFETY: the global allocator's memory is zeroed, aligned and unaliased until given back.
unsafe impl Memory for Heap {
    fn reserve(&self, _: MemoryUse, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        let layout = Layout::from_size_align(bytes, align).ok()?;
        // SAFETY: the engine reserves at least one byte.
        NonNull::new(unsafe { alloc_zeroed(layout) })
    }

    unsafe fn release(&self, start: NonNull<u8>, bytes: usize, align: usize) {
        let layout = Layout::from_size_align(bytes, align).unwrap();
        // SAFETY: reserved above with the same layout, says the caller.
        unsafe { dealloc(start.as_ptr(), layout) }
    }
}

pub(super) fn memtable(arena_bytes: usize, range_bytes_max: u32) -> Memtable {
    let mut budget = Budget::new(Arc::new(Heap), u64::MAX);
    Memtable::new(&mut budget, arena_bytes, range_bytes_max).unwrap()
}

pub(super) fn put<'a>(table: u32, key: &'a [u8], value: &'a [u8]) -> Record<'a> {
    Record {
        kind: RecordKind::Put,
        table,
        key,
        value,
        expiry_ms: None,
        metadata: None,
    }
}

fn size_of_commit(records: &[Record<'_>]) -> CommitSize {
    let mut size = CommitSize::default();
    for record in records {
        size.add(record);
    }
    size
}

fn head_at(sequence: u64) -> CommitHead {
    CommitHead {
        sequence,
        wall_time_ms: sequence * 10,
        origin: sequence as u32 ^ 7,
    }
}

pub(super) fn commit(memtable: &Memtable, sequence: u64, records: &[Record<'_>]) -> Result<()> {
    let mut writer = memtable.writer().unwrap();
    let mut commit = writer.begin_commit(head_at(sequence), &size_of_commit(records))?;
    for record in records {
        commit.insert(record)?;
    }
    commit.publish()
}

pub(super) struct Random(pub(super) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(super) fn table(&mut self) -> u32 {
        [0, 1, 16, 254, 255, 256, 0x0100_0100, u32::MAX][self.below(8) as usize]
    }

    /// Keys that tie in their first bytes often, and collide often.
    pub(super) fn key(&mut self) -> Vec<u8> {
        let prefix: &[u8] =
            [&b""[..], b"\0", b"aaa", b"aaaa", b"\xFF\xFF\xFF\xFF"][self.below(5) as usize];
        let mut key = prefix.to_vec();
        for _ in 0..self.below(4) {
            key.push([0, 1, b'a', 0xFF][self.below(4) as usize]);
        }
        key
    }
}

#[test]
fn a_full_arena_refuses_before_it_writes_and_is_reused() {
    let arenas = [ARENA_TINY, 4_096, 70_001];
    for arena_bytes in arenas.into_iter().take(if cfg!(miri) { 2 } else { 3 }) {
        let mut table = memtable(arena_bytes, 36);
        let mut counts = Vec::new();
        for round in 0..3_u64 {
            let mut count = 0_u64;
            let refused = loop {
                let key = format!("{:05}", count * 7_919 % 100_000);
                let sequence = round * 100_000 + count + 1;
                match commit(&table, sequence, &[put(16, key.as_bytes(), &[9; 12])]) {
                    Ok(()) => count += 1,
                    Err(error) => break error,
                }
            };
            assert_eq!(refused, Error::FrontFull);
            assert!(table.bytes_used() <= table.bytes_capacity());
            assert_eq!(u64::from(table.entry_count()), count);
            for index in 0..count {
                let key = format!("{:05}", index * 7_919 % 100_000);
                let entry = table.get(16, key.as_bytes(), u64::MAX).unwrap();
                assert_eq!(entry.sequence(), round * 100_000 + index + 1);
                assert_eq!(entry.value(), [9; 12]);
            }
            counts.push(count);
            table.reset();
            assert!(table.get(16, b"00000", u64::MAX).is_none());
        }
        assert!(counts[0] > 0 && counts.iter().all(|count| *count == counts[0]));
    }
}

const ARENA_TINY: usize = arena::ARENA_BYTES_MIN;

#[test]
fn what_fits_when_empty_fits_when_empty() {
    let table = memtable(4_096, 18);
    let mut records = 0;
    let size = |records: u32| CommitSize {
        records,
        range_deletes: 0,
        range_bytes: 0,
        key_bytes: u64::from(records) * 2,
        value_bytes: u64::from(records) * 10,
    };
    while table.fits_when_empty(&size(records + 1)) {
        records += 1;
    }
    assert!(records > 50 && table.fits(&size(records)) && !table.fits(&size(records + 1)));
    let keys: Vec<[u8; 2]> = (0..records as u16).map(u16::to_be_bytes).collect();
    let lent: Vec<Record<'_>> = keys
        .iter()
        .map(|key| Record {
            expiry_ms: Some(1),
            metadata: Some(2),
            ..put(1, key, &[3; 10])
        })
        .collect();
    commit(&table, 5, &lent).unwrap();
    assert!(!table.fits_when_empty(&CommitSize {
        range_deletes: 2,
        range_bytes: 40,
        ..size(2)
    }));
    assert!(!table.fits(&CommitSize {
        value_bytes: u64::MAX,
        key_bytes: u64::MAX,
        ..size(u32::MAX)
    }));
}

#[test]
fn misuse_is_refused() {
    let table = memtable(65_536, 18);
    let mut budget = Budget::new(Arc::new(Heap), u64::MAX);
    assert!(Memtable::new(&mut budget, ARENA_TINY - 1, 1).is_err());
    assert!(Memtable::new(&mut budget, arena::ARENA_BYTES_MAX + 1, 1).is_err());

    assert!(
        commit(&table, 0, &[put(1, b"a", b"")]).is_err(),
        "no sequence 0"
    );
    commit(&table, 3, &[put(1, b"a", b"")]).unwrap();
    assert!(
        commit(&table, 3, &[put(1, b"b", b"")]).is_err(),
        "a sequence twice"
    );
    let far = 3 + (1 << 32);
    assert_eq!(
        commit(&table, far, &[put(1, b"b", b"")]),
        Err(Error::FrontFull)
    );
    commit(&table, far - 2, &[put(1, b"b", b"")]).unwrap();
    assert_eq!(table.get(1, b"b", u64::MAX).unwrap().sequence(), far - 2);

    let range = Record {
        kind: RecordKind::RangeDelete,
        ..put(1, b"a", b"b")
    };
    commit(&table, far - 1, &[range]).unwrap();
    assert!(matches!(
        commit(&table, far, &[range]),
        Err(Error::OverLimit {
            limit: Limit::RangeTombstones,
            value: 18,
            maximum: 0
        })
    ));

    let mut writer = table.writer().unwrap();
    assert!(table.writer().is_none(), "one writer at a time");
    let two = size_of_commit(&[put(1, b"d", b"1"), put(1, b"e", b"1")]);
    assert_eq!(
        writer.begin_commit(head_at(far), &two).err(),
        Some(Error::FrontFull)
    );
    let next = table.last_sequence();
    assert!(writer.begin_commit(head_at(next), &two).is_err());
    drop(writer);

    let table = memtable(65_536, 18);
    let mut writer = table.writer().unwrap();
    let _ = writer.begin_commit(head_at(9), &two).unwrap();
    let mut commit = writer.begin_commit(head_at(1), &two).unwrap();
    commit.insert(&put(1, b"d", b"1")).unwrap();
    assert!(matches!(
        commit.insert(&put(1, b"d", b"1")),
        Err(Error::NotAscending { .. })
    ));
    assert!(matches!(
        commit.insert(&put(1, b"c", b"1")),
        Err(Error::NotAscending { .. })
    ));
    assert!(commit.insert(&range).is_err(), "not announced");
    assert!(
        commit.insert(&put(1, b"eee", b"1")).is_err(),
        "longer than announced"
    );
    commit.insert(&put(1, b"e", b"1")).unwrap();
    commit.publish().unwrap();
    let mut commit = writer.begin_commit(head_at(2), &two).unwrap();
    commit.insert(&put(1, b"a", b"")).unwrap();
    assert!(commit.publish().is_err(), "incomplete");
    assert!(
        writer.begin_commit(head_at(3), &two).is_err(),
        "until the reset"
    );
    drop(writer);
    assert_eq!(
        table.commits_from(table.first_position()).unwrap().count(),
        1
    );
}

#[test]
fn positions_of_another_life_lead_nowhere() {
    let mut table = memtable(4_096, 18);
    let other = memtable(4_096, 18);
    commit(&table, 1, &[put(1, b"a", b"")]).unwrap();
    commit(&other, 1, &[put(1, b"a", b"")]).unwrap();
    let mut cursor = Cursor::new();
    assert!(cursor.seek_first(&table) && cursor.entry(&table).is_some());
    assert!(cursor.entry(&other).is_none());
    let position = table.append_position();
    assert!(other.commits_from(position).is_none());
    table.reset();
    commit(&table, 1, &[put(1, b"a", b"")]).unwrap();
    assert!(cursor.entry(&table).is_none() && !cursor.next(&table));
    assert!(table.commits_from(position).is_none());
}

#[test]
fn a_key_with_many_versions_is_one_step() {
    const LAST: u64 = if cfg!(miri) { 20 } else { 100 };
    let table = memtable(65_536, 18);
    for sequence in 1..=LAST {
        let records = [put(1, b"a", b""), put(1, b"b", b""), put(2, b"", b"")];
        commit(&table, sequence, &records).unwrap();
    }
    let mut cursor = Cursor::new();
    let place = |cursor: &Cursor| {
        let entry = cursor.entry(&table).unwrap();
        (entry.table(), entry.key(), entry.sequence())
    };
    assert!(cursor.seek_version(&table, 1, b"a", LAST - 5));
    assert_eq!(place(&cursor), (1, &b"a"[..], LAST - 5));
    assert!(cursor.next_key(&table));
    assert_eq!(place(&cursor), (1, &b"b"[..], LAST));
    assert!(cursor.next_key(&table));
    assert_eq!(place(&cursor), (2, &b""[..], LAST));
    assert!(cursor.prev_key(&table));
    assert_eq!(place(&cursor), (1, &b"b"[..], LAST));
    cursor.seek_last(&table);
    assert_eq!(place(&cursor), (2, &b""[..], 1));
    assert!(!cursor.next_key(&table) && !cursor.prev_key(&table));
}

/// Under Miri an operation takes as long as hundreds elsewhere.
const READS_AT_ONCE: u64 = if cfg!(miri) { 2 } else { 200 };
const COMMIT_KEYS: u64 = 4;
const KEY_SPACE: u64 = if cfg!(miri) { 12 } else { 5_000 };

/// The keys of the commit with `sequence`, ascending.
fn keys_of(sequence: u64) -> Vec<[u8; 8]> {
    let mut keys: Vec<[u8; 8]> = (0..COMMIT_KEYS)
        .map(|index| {
            let mixed = (sequence * COMMIT_KEYS + index).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            (mixed >> 20)
                .wrapping_rem(KEY_SPACE)
                .wrapping_mul(0x0003_0000_0001)
                .to_be_bytes()
        })
        .collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

fn read_beside_the_writer(table: &Memtable, watermark: &AtomicU64, last: u64, seed: u64) {
    let mut random = Random(seed);
    let mut position = table.first_position();
    let mut walked = 0;
    loop {
        let seen = watermark.load(Ordering::Acquire);
        for _ in 0..READS_AT_ONCE.min(seen) {
            let sequence = 1 + random.below(seen);
            for key in keys_of(sequence) {
                let entry = table.get(16, &key, sequence).unwrap();
                assert_eq!(entry.sequence(), sequence);
                assert_eq!(entry.value(), sequence.to_le_bytes());
                assert!(table.newest_sequence(16, &key) >= sequence);
            }
        }
        let expected: usize = (1..=seen).map(|sequence| keys_of(sequence).len()).sum();
        for forward in [true, false] {
            let mut cursor = Cursor::new();
            let mut before: Option<(Vec<u8>, Reverse<u64>)> = None;
            let mut visible = 0;
            let mut stands = if forward {
                cursor.seek_first(table)
            } else {
                cursor.seek_last(table)
            };
            while stands {
                let entry = cursor.entry(table).unwrap();
                let place = (entry.key().to_vec(), Reverse(entry.sequence()));
                assert_eq!(entry.value(), entry.sequence().to_le_bytes());
                visible += usize::from(entry.sequence() <= seen);
                if let Some(before) = before {
                    assert_eq!(before < place, forward, "the order holds");
                }
                before = Some(place);
                stands = if forward {
                    cursor.next(table)
                } else {
                    cursor.prev(table)
                };
            }
            assert_eq!(visible, expected, "every entry that may be seen is met");
        }
        let mut commits = table.commits_from(position).unwrap();
        for commit in &mut commits {
            walked += 1;
            assert_eq!(commit.head(), head_at(walked));
            let keys: Vec<Vec<u8>> = commit.records().map(|record| record.key.to_vec()).collect();
            assert_eq!(keys, keys_of(walked));
        }
        position = commits.position();
        assert!(walked >= seen);
        if seen == last {
            return;
        }
    }
}

#[test]
fn readers_beside_one_writer_see_order_and_all_they_may() {
    const LAST: u64 = if cfg!(miri) { 6 } else { 4_000 };
    let mut table = memtable(1 << 20, 18);
    for round in 1..=2 {
        let watermark = AtomicU64::new(0);
        thread::scope(|scope| {
            for reader in 0..3 {
                let (table, watermark) = (&table, &watermark);
                scope.spawn(move || {
                    read_beside_the_writer(table, watermark, LAST, round * 31 + reader + 1);
                });
            }
            for sequence in 1..=LAST {
                let (keys, value) = (keys_of(sequence), sequence.to_le_bytes());
                let records: Vec<Record<'_>> =
                    keys.iter().map(|key| put(16, key, &value)).collect();
                commit(&table, sequence, &records).unwrap();
                watermark.store(sequence, Ordering::Release);
            }
        });
        let mut writer = table.writer().unwrap();
        // In the second round ranks are those of keys like the first's.
        let next = memtable(1 << 20, 18);
        next.learn_from(&table);
        // SAFETY: the readers were joined, and nothing that the memtable lent is kept.
        unsafe { writer.reset() }
        drop(writer);
        assert!(table.is_empty());
        table = next;
    }
}
