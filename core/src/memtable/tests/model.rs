//! The memtable against a sorted map.

use super::*;
use std::collections::BTreeMap;
use std::vec;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Owned {
    kind: RecordKind,
    table: u32,
    key: Vec<u8>,
    value: Vec<u8>,
    expiry_ms: Option<u64>,
    metadata: Option<u8>,
}

impl Owned {
    fn lend(&self) -> Record<'_> {
        Record {
            kind: self.kind,
            table: self.table,
            key: &self.key,
            value: &self.value,
            expiry_ms: self.expiry_ms,
            metadata: self.metadata,
        }
    }

    fn covers(&self, table: u32, key: &[u8]) -> bool {
        self.table == table
            && self.key[..] <= *key
            && (self.value.is_empty() || *key < self.value[..])
    }
}

type Place = (u32, Vec<u8>, Reverse<u64>);

#[derive(Default)]
struct Model {
    points: BTreeMap<Place, Owned>,
    ranges: Vec<(u64, Owned)>,
    commits: Vec<(u64, Vec<Owned>)>,
}

impl Model {
    fn random_commit(&mut self, random: &mut Random, sequence: u64) -> Vec<Owned> {
        let mut records = Vec::new();
        if random.below(20) == 0 {
            for _ in 0..=random.below(2) {
                let (key, value) = (random.key(), random.key());
                records.push(Owned {
                    kind: RecordKind::RangeDelete,
                    table: random.table(),
                    key,
                    value,
                    expiry_ms: None,
                    metadata: None,
                });
            }
            self.ranges
                .extend(records.iter().map(|record| (sequence, record.clone())));
        }
        let mut points = BTreeMap::new();
        for _ in 0..random.below(6) {
            let kind =
                [RecordKind::Put, RecordKind::Delete, RecordKind::Extent][random.below(3) as usize];
            let value_bytes = match kind {
                RecordKind::Put => random.below(40) as usize,
                RecordKind::Extent => 32,
                _ => 0,
            };
            let record = Owned {
                kind,
                table: random.table(),
                key: random.key(),
                value: vec![random.next() as u8; value_bytes],
                expiry_ms: (random.below(3) == 0).then(|| random.next()),
                metadata: (random.below(3) == 0).then(|| random.next() as u8),
            };
            points.insert((record.table, record.key.clone()), record);
        }
        for ((table, key), record) in points {
            self.points
                .insert((table, key, Reverse(sequence)), record.clone());
            records.push(record);
        }
        self.commits.push((sequence, records.clone()));
        records
    }

    fn get(&self, table: u32, key: &[u8], sequence: u64) -> Option<(u64, &Owned)> {
        self.points
            .range((table, key.to_vec(), Reverse(sequence))..)
            .next()
            .filter(|((t, k, _), _)| *t == table && k == key)
            .map(|((_, _, Reverse(found)), record)| (*found, record))
    }

    fn covering(&self, table: u32, key: &[u8], sequence: u64) -> u64 {
        self.ranges
            .iter()
            .filter(|(at, range)| *at <= sequence && range.covers(table, key))
            .map(|(at, _)| *at)
            .max()
            .unwrap_or(0)
    }
}

fn check_lookups(memtable: &Memtable, model: &Model, random: &mut Random, last: u64) {
    let (table, key) = (random.table(), random.key());
    let sequence = random.below(last + 2);
    let found = memtable.get(table, &key, sequence);
    let expected = model.get(table, &key, sequence);
    assert_eq!(
        found.map(|entry| (entry.sequence(), entry.record())),
        expected.map(|(at, record)| (at, record.lend()))
    );
    let covering = model.covering(table, &key, sequence);
    assert_eq!(memtable.covering(table, &key, sequence), covering);
    let answer = memtable.lookup(table, &key, sequence);
    let point_sequence = expected.map_or(0, |(at, _)| at);
    assert_eq!(
        answer.map_or(0, |entry| entry.sequence()),
        point_sequence.max(covering)
    );
    if let Some(answer) = answer {
        assert_eq!(
            answer.kind() == RecordKind::RangeDelete,
            covering > point_sequence
        );
    }
    let newest_point = model.get(table, &key, u64::MAX).map_or(0, |(at, _)| at);
    assert_eq!(
        memtable.newest_sequence(table, &key),
        newest_point.max(model.covering(table, &key, u64::MAX))
    );
    check_range(memtable, model, table, &key, &random.key());
}

fn check_range(memtable: &Memtable, model: &Model, table: u32, from: &[u8], to: &[u8]) {
    let within = |key: &[u8]| key >= from && (to.is_empty() || key < to);
    let points = model
        .points
        .keys()
        .filter(|(t, key, _)| *t == table && within(key))
        .map(|(_, _, Reverse(at))| *at);
    let end_after = |start: &[u8], end: &[u8]| end.is_empty() || start < end;
    let ranges = model
        .ranges
        .iter()
        .filter(|(_, range)| {
            let start = from.max(&range.key[..]);
            range.table == table && end_after(start, to) && end_after(start, &range.value)
        })
        .map(|(at, _)| *at);
    assert_eq!(
        memtable.newest_in_range(table, from, to),
        points.chain(ranges).max().unwrap_or(0)
    );
}

fn check_cursors(memtable: &Memtable, model: &Model, random: &mut Random) {
    let shown = |cursor: &Cursor| {
        cursor.entry(memtable).map(|entry| {
            (
                entry.table(),
                entry.key().to_vec(),
                Reverse(entry.sequence()),
            )
        })
    };
    let mut cursor = Cursor::new();
    assert_eq!(shown(&cursor), None);
    cursor.seek_first(memtable);
    for (place, record) in &model.points {
        assert_eq!(shown(&cursor).as_ref(), Some(place));
        assert_eq!(cursor.entry(memtable).unwrap().record(), record.lend());
        cursor.next(memtable);
    }
    assert_eq!(shown(&cursor), None);
    cursor.seek_last(memtable);
    for place in model.points.keys().rev() {
        assert_eq!(shown(&cursor).as_ref(), Some(place));
        cursor.prev(memtable);
    }
    assert_eq!(shown(&cursor), None);

    let mut keys: Vec<(u32, &[u8])> = model.points.keys().map(|(t, k, _)| (*t, &k[..])).collect();
    keys.dedup();
    let newest_of = |table: u32, key: &[u8]| {
        let from = (table, key.to_vec(), Reverse(u64::MAX));
        model
            .points
            .range(from..)
            .next()
            .map(|(place, _)| place.clone())
    };
    cursor.seek_first(memtable);
    for (table, key) in &keys {
        assert_eq!(shown(&cursor), newest_of(*table, key));
        cursor.next_key(memtable);
    }
    assert_eq!(shown(&cursor), None);
    cursor.seek_last(memtable);
    for (table, key) in keys.iter().rev().skip(1) {
        cursor.prev_key(memtable);
        assert_eq!(shown(&cursor), newest_of(*table, key));
    }

    for _ in 0..if cfg!(miri) { 5 } else { 50 } {
        let (table, key) = (random.table(), random.key());
        assert_eq!(
            cursor.seek(memtable, table, &key),
            newest_of(table, &key).is_some()
        );
        assert_eq!(shown(&cursor), newest_of(table, &key));
        let newest = (table, key.clone(), Reverse(u64::MAX));
        let before = model.points.range(..newest).next_back();
        cursor.seek_before(memtable, table, &key);
        assert_eq!(shown(&cursor).as_ref(), before.map(|(place, _)| place));
        let sequence = random.below(400);
        let version = (table, key.clone(), Reverse(sequence));
        let after = model.points.range(version..).next();
        cursor.seek_version(memtable, table, &key, sequence);
        assert_eq!(shown(&cursor).as_ref(), after.map(|(place, _)| place));
        let in_table = model.points.keys().rfind(|(t, _, _)| *t <= table);
        cursor.seek_table_last(memtable, table);
        assert_eq!(shown(&cursor).as_ref(), in_table);
    }
}

fn check_commits(memtable: &Memtable, model: &Model, from: Position, skipped: usize) {
    let mut commits = memtable.commits_from(from).unwrap();
    for (sequence, records) in &model.commits[skipped..] {
        let view = commits.next().unwrap();
        assert_eq!(view.head(), head_at(*sequence));
        assert_eq!(view.record_count() as usize, records.len());
        let expected: Vec<Record<'_>> = records.iter().map(Owned::lend).collect();
        assert_eq!(view.records().collect::<Vec<_>>(), expected);
    }
    assert!(commits.next().is_none());
    assert_eq!(commits.position(), memtable.append_position());
}

#[test]
fn agrees_with_a_sorted_map() {
    // Under Miri an operation takes as long as hundreds elsewhere.
    let (seeds, commits) = if cfg!(miri) { (1, 14) } else { (12, 400) };
    let mut table = memtable(1 << 20, 1 << 20);
    for seed in 1..=seeds {
        let mut random = Random(seed * 0x9E37_79B9);
        let mut model = Model::default();
        let (mut sequence, mut middle) = (random.below(1 << 40), table.first_position());
        let first = sequence + 1;
        for step in 0..commits {
            sequence += 1 + random.below(2) * random.below(3);
            let records = model.random_commit(&mut random, sequence);
            let lent: Vec<Record<'_>> = records.iter().map(Owned::lend).collect();
            commit(&table, sequence, &lent).unwrap();
            if step == commits / 2 {
                middle = table.append_position();
            }
            for _ in 0..3 {
                check_lookups(&table, &model, &mut random, sequence);
            }
        }
        for _ in 0..commits {
            check_lookups(&table, &model, &mut random, sequence);
        }
        check_cursors(&table, &model, &mut random);
        check_commits(&table, &model, table.first_position(), 0);
        check_commits(&table, &model, middle, commits / 2 + 1);
        assert!(table.first_sequence() >= first && table.last_sequence() == sequence);
        let entries = model.points.len() + model.ranges.len();
        assert_eq!(table.entry_count() as usize, entries);
        assert_eq!(table.range_tombstones().count(), model.ranges.len());
        let range_bytes: u64 = table
            .range_tombstones()
            .map(|range| 16 + (range.key().len() + range.value().len()) as u64)
            .sum();
        assert_eq!(table.range_bytes_left(), (1 << 20) - range_bytes);
        table.reset();
        assert!(table.is_empty() && table.bytes_used() == 0 && table.entry_count() == 0);
    }
}

#[test]
fn the_same_operations_take_the_same_bytes() {
    let mut used = Vec::new();
    let mut table = memtable(1 << 20, 1 << 20);
    for _ in 0..2 {
        let (mut random, mut model) = (Random(77), Model::default());
        for sequence in 1..if cfg!(miri) { 20 } else { 300 } {
            let records = model.random_commit(&mut random, sequence);
            let lent: Vec<Record<'_>> = records.iter().map(Owned::lend).collect();
            commit(&table, sequence, &lent).unwrap();
        }
        used.push(table.bytes_used());
        table.reset();
    }
    assert_eq!(used[0], used[1]);
}
