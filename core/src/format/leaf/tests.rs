//! Leaves against sorted lists, sizes against what is written, and bytes that are no leaf.

use super::super::leaf_writer::{EntryIn, LeafSize, write_leaf};
use super::super::random::Random;
use super::*;
use crate::limits::{ADDRESS_MAX, COUNT_MAX, VALUE_BYTES_MAX};
use std::vec;
use std::vec::Vec;

#[derive(Debug, Clone, PartialEq)]
struct Owned {
    key: Vec<u8>,
    kind: EntryKind,
    expiry_ms: Option<u64>,
    metadata: Option<u8>,
    sequence: u64,
    value: Vec<u8>,
}

impl Owned {
    fn lend(&self) -> EntryIn<'_> {
        EntryIn {
            key: &self.key,
            kind: self.kind,
            expiry_ms: self.expiry_ms,
            metadata: self.metadata,
            sequence: self.sequence,
            value: &self.value,
        }
    }

    fn put(key: &[u8], value: &[u8]) -> Self {
        Self {
            key: key.to_vec(),
            kind: EntryKind::Put,
            expiry_ms: None,
            metadata: None,
            sequence: 0,
            value: value.to_vec(),
        }
    }
}

fn random_entries(random: &mut Random, page_bytes: usize, sequenced: bool) -> Vec<Owned> {
    let count = [0, 1, 2, 3, 10, 100, page_bytes / 8][random.below(7)];
    let keys = random.keys(count, page_bytes / 4);
    let value_limit = [1, 2, 10, page_bytes / 4][random.below(4)];
    let value_bytes = random.below(value_limit);
    let is_fixed = random.below(2) == 0;
    let is_plain = random.below(2) == 0;
    let mut entries = Vec::new();
    for key in keys {
        let versions = if sequenced && random.below(4) == 0 {
            3
        } else {
            1
        };
        for version in 0..versions {
            let length = if is_fixed {
                value_bytes
            } else {
                random.below(value_bytes + 1)
            };
            let mut entry = Owned::put(&key, &random.bytes(length));
            if sequenced {
                entry.sequence = (10 - version) << 40 | random.below(1000) as u64;
            }
            if !is_plain {
                entry.expiry_ms = (random.below(3) == 0).then(|| random.next());
                entry.metadata = (random.below(3) == 0).then(|| random.next() as u8);
                if random.below(8) == 0 {
                    entry.kind = EntryKind::Extent;
                    entry.value = reference(random).encode().to_vec();
                } else if sequenced && random.below(4) == 0 {
                    entry.kind = EntryKind::Tombstone;
                    entry.value.clear();
                }
            }
            entries.push(entry);
        }
    }
    entries
}

fn reference(random: &mut Random) -> ExtentRef {
    ExtentRef {
        address: 1 + random.next() % ADDRESS_MAX,
        length: 1 + random.next() % VALUE_BYTES_MAX,
        birth_generation: random.next() % COUNT_MAX,
        crc: random.next() as u32,
        writing: random.next() as u32,
    }
}

/// The entries that fit `page_bytes`.
fn fitting(entries: &[Owned], sequenced: bool, page_bytes: usize) -> (usize, LeafSize) {
    let mut size = LeafSize::new(sequenced);
    for (index, entry) in entries.iter().enumerate() {
        let next = size.with(&entries[0].key, &entry.lend());
        assert_eq!(next.count(), index + 1);
        let mut grown = size;
        let grows = grown.grow(&entries[0].key, &entry.lend(), page_bytes);
        let expected = if grows { next } else { size };
        assert_eq!(grows, next.bytes() <= page_bytes);
        assert_eq!(std::format!("{grown:?}"), std::format!("{expected:?}"));
        if next.bytes() > page_bytes {
            return (index, size);
        }
        size = next;
    }
    (entries.len(), size)
}

fn end_of(page: &[u8]) -> usize {
    match get_u16(page, END) {
        0 => PAGE_BYTES_MAX,
        end => usize::from(end),
    }
}

fn write(page: &mut [u8], sequenced: bool, entries: &[Owned]) -> Option<usize> {
    write_leaf(page, 5, 16, sequenced, entries.iter().map(Owned::lend))
}

fn key_at(leaf: &Leaf<'_>, index: usize) -> Vec<u8> {
    let mut buffer = vec![0xEE; leaf.key_bytes(index) + 3];
    let length = leaf.copy_key(index, &mut buffer);
    assert_eq!(length, leaf.key_bytes(index));
    buffer.truncate(length);
    if length > 0 {
        let mut short = vec![0; length - 1];
        assert_eq!(leaf.copy_key(index, &mut short), 0);
    }
    buffer
}

fn assert_reads_back(page: &[u8], sequenced: bool, entries: &[Owned], random: &mut Random) {
    assert_eq!(validate_leaf(page), Ok(()));
    let leaf = Leaf::new(page);
    assert_eq!(leaf.count(), entries.len());
    assert_eq!(leaf.is_sequenced(), sequenced);
    assert_eq!(
        leaf.is_plain(),
        entries.iter().all(|entry| entry.kind == EntryKind::Put
            && entry.expiry_ms.is_none()
            && entry.metadata.is_none())
    );
    for (index, expected) in entries.iter().enumerate() {
        let entry = leaf.entry(index);
        assert_eq!(key_at(&leaf, index), expected.key);
        assert!(expected.key.starts_with(leaf.prefix()));
        assert_eq!(entry.kind, expected.kind);
        assert_eq!(entry.expiry_ms, expected.expiry_ms);
        assert_eq!(entry.metadata, expected.metadata);
        assert_eq!(entry.sequence, expected.sequence);
        assert_eq!(entry.value, expected.value);
        assert_eq!(
            entry.key_rest_bytes() + leaf.prefix().len(),
            expected.key.len()
        );
        assert_eq!(
            entry.key_head(),
            head_of(&expected.key[leaf.prefix().len()..])
        );
        assert!(expected.key.ends_with(entry.key_tail()));
        assert_eq!(leaf.compare_key(index, &expected.key), Ordering::Equal);
    }
    assert_eq!(leaf.entry(entries.len()), LeafEntry::default());
    assert_walks(page, sequenced, entries, random);
    for round in 0..60 {
        let wanted = if entries.is_empty() || round == 0 {
            random.bytes(round % 9)
        } else {
            let index = random.below(entries.len());
            random.near(&entries[index].key)
        };
        let first = entries.partition_point(|entry| entry.key < wanted);
        let is_there = entries.get(first).is_some_and(|entry| entry.key == wanted);
        let expected = if is_there { Ok(first) } else { Err(first) };
        assert_eq!(leaf.search(&wanted), expected);
        assert_eq!(leaf.lower_bound(&wanted), first);
        if !entries.is_empty() {
            let index = random.below(entries.len());
            assert_eq!(
                leaf.compare_key(index, &wanted),
                entries[index].key.cmp(&wanted)
            );
        }
    }
}

fn assert_walks(page: &[u8], sequenced: bool, entries: &[Owned], random: &mut Random) {
    let leaf = Leaf::new(page);
    let plain = leaf.plain();
    assert_eq!(plain.is_some(), leaf.is_plain() && !sequenced);
    let Some(plain) = plain else {
        return;
    };
    for _ in 0..entries.len().min(30) {
        let (from, to) = (random.below(entries.len()), random.below(entries.len()));
        let expected = &entries[to];
        let entry = plain.entry(page, to).unwrap();
        assert_eq!(&page[entry.value()], expected.value);
        let mut buffer = entries[from].key.clone();
        buffer.resize(expected.key.len() + random.below(50), 0xEE);
        match plain.replace_key(page, to, &entry, &mut buffer) {
            Some(key_bytes) => assert_eq!(buffer[..key_bytes], expected.key),
            None => assert!(buffer.len() < leaf.prefix().len() + HEAD_BYTES),
        }
    }
}

#[test]
fn random_leaves_read_back_and_are_searched_as_sorted_lists() {
    let mut random = Random(1);
    for round in 0..1500 {
        let page_bytes =
            [480, 512, 1024, 4096, 8192, 65_536][if round % 50 == 0 { 5 } else { random.below(5) }];
        let sequenced = random.below(2) == 0;
        let entries = random_entries(&mut random, page_bytes, sequenced);
        let (count, size) = fitting(&entries, sequenced, page_bytes);
        let mut page = vec![0xEE; page_bytes];
        assert_eq!(write(&mut page, sequenced, &entries[..count]), Some(count));
        assert_eq!(end_of(&page), size.bytes());
        assert!(page[size.bytes()..].iter().all(|byte| *byte == 0));
        assert_eq!(page[..4], [0; 4]);
        if count < entries.len() {
            assert_eq!(write(&mut vec![0; page_bytes], sequenced, &entries), None);
        }
        assert_reads_back(&page, sequenced, &entries[..count], &mut random);
    }
}

#[test]
fn sizes_are_exact_for_every_beginning() {
    let mut random = Random(2);
    for _ in 0..300 {
        let sequenced = random.below(2) == 0;
        let entries = random_entries(&mut random, 2048, sequenced);
        let mut page = vec![0; 8192];
        let (count, _) = fitting(&entries, sequenced, page.len());
        let mut size = LeafSize::new(sequenced);
        for index in 0..count.min(150) {
            size = size.with(&entries[0].key, &entries[index].lend());
            let used = &entries[..=index];
            assert_eq!(write(&mut page, sequenced, used), Some(used.len()));
            assert_eq!(end_of(&page), size.bytes());
            let (exact, _) = page.split_at_mut(size.bytes());
            assert_eq!(write(exact, sequenced, used), Some(used.len()));
            assert_eq!(validate_leaf(exact), Ok(()));
            let (short, _) = exact.split_at_mut(size.bytes() - 1);
            assert_eq!(write(short, sequenced, used), None);
        }
    }
}

#[test]
fn strided_leaves_carry_no_more_than_keys_and_values() {
    let entries: Vec<Owned> = (0_u64..100)
        .map(|number| Owned::put(&number.to_be_bytes(), &[7; 24]))
        .collect();
    let mut page = [0; 4096];
    assert_eq!(write(&mut page, false, &entries), Some(100));
    assert_eq!(end_of(&page), LEAF_HEADER_BYTES + 8 + 100 * (4 + 24));
    let leaf = Leaf::new(&page);
    assert!(leaf.is_strided());
    assert_eq!(leaf.prefix(), [0; 7]);
}

#[test]
fn the_largest_page_is_used_to_its_last_byte() {
    let entries: Vec<Owned> = (0_u32..16_374)
        .map(|number| Owned::put(&(number << 18).to_be_bytes(), b""))
        .collect();
    let mut page = vec![0; PAGE_BYTES_MAX];
    assert_eq!(write(&mut page, false, &entries), Some(entries.len()));
    assert_eq!(end_of(&page), PAGE_BYTES_MAX);
    assert_eq!((get_u16(&page, CELLS), get_u16(&page, END)), (0, 0));
    assert_reads_back(&page, false, &entries, &mut Random(3));
}

#[test]
fn equal_heads_in_great_number_are_searched() {
    let mut entries = vec![Owned::put(b"a", b"1")];
    for number in 0_u16..500 {
        let key = [b"bbbb\0\0\0".as_slice(), &number.to_be_bytes()].concat();
        entries.push(Owned::put(&key, b"2"));
    }
    entries.push(Owned::put(b"bbbc", b""));
    let mut page = vec![0; 16_384];
    assert_eq!(write(&mut page, false, &entries), Some(entries.len()));
    let mut random = Random(4);
    for _ in 0..20 {
        assert_reads_back(&page, false, &entries, &mut random);
    }
}

#[test]
fn entries_that_no_leaf_may_hold_are_not_written() {
    let mut page = [0; 512];
    let mut entry = Owned::put(b"key", b"");
    entry.kind = EntryKind::Tombstone;
    assert_eq!(write(&mut page, false, &[entry.clone()]), None);
    assert_eq!(write(&mut page, true, &[entry.clone()]), Some(1));
    entry.value.push(1);
    assert_eq!(write(&mut page, true, &[entry.clone()]), None);
    entry.kind = EntryKind::Extent;
    assert_eq!(write(&mut page, true, &[entry]), None);
}

#[test]
fn a_reference_that_is_none_is_found() {
    let sound = reference(&mut Random(1));
    let malformed = [
        (sound, Ok(())),
        (
            ExtentRef {
                address: 0,
                ..sound
            },
            Err(()),
        ),
        (
            ExtentRef {
                address: ADDRESS_MAX + 1,
                ..sound
            },
            Err(()),
        ),
        (ExtentRef { length: 0, ..sound }, Err(())),
        (
            ExtentRef {
                length: VALUE_BYTES_MAX + 1,
                ..sound
            },
            Err(()),
        ),
        (
            ExtentRef {
                birth_generation: COUNT_MAX + 1,
                ..sound
            },
            Err(()),
        ),
    ];
    for sequenced in [false, true] {
        for (extent, expected) in malformed {
            let mut page = [0; 512];
            let mut entry = Owned::put(b"key", &extent.encode());
            assert_eq!(write(&mut page, sequenced, &[entry.clone()]), Some(1));
            assert_eq!(validate_leaf(&page), Ok(()), "a value may be anything");
            entry.kind = EntryKind::Extent;
            assert_eq!(write(&mut page, sequenced, &[entry]), Some(1));
            let expected = expected.map_err(|()| CorruptionReason::Structure);
            assert_eq!(validate_leaf(&page), expected, "{extent:?}");
        }
    }
}

#[test]
fn disorder_is_found() {
    let mut page = [0; 512];
    let (one, other) = (Owned::put(b"a", b"1"), Owned::put(b"b", b"2"));
    let (mut first, mut second) = (one.clone(), one.clone());
    (first.sequence, second.sequence) = (2, 1);
    for (sequenced, entries, expected) in [
        (false, [&one, &other], Ok(())),
        (false, [&other, &one], Err(CorruptionReason::KeyOrder)),
        (false, [&one, &one], Err(CorruptionReason::KeyOrder)),
        (true, [&first, &second], Ok(())),
        (true, [&second, &first], Err(CorruptionReason::KeyOrder)),
        (true, [&first, &first], Err(CorruptionReason::KeyOrder)),
    ] {
        let entries = entries.map(Clone::clone);
        assert_eq!(write(&mut page, sequenced, &entries), Some(2));
        assert_eq!(validate_leaf(&page), expected);
    }
}

/// Uses every accessor; on a valid page, whose keys ascend, searches find what is there.
fn exercise(page: &[u8], is_valid: bool, random: &mut Random) {
    let leaf = Leaf::new(page);
    let mut key = vec![0; PAGE_BYTES_MAX * 2];
    let step = if is_valid { 1 } else { leaf.count() / 50 + 1 };
    for index in (0..leaf.count() + 2).step_by(step) {
        let entry = leaf.entry(index);
        let length = leaf.copy_key(index, &mut key);
        let _ = (entry.key_tail().len(), entry.value.len());
        let found = leaf.search(&key[..length]);
        let order = leaf.compare_key(index, &key[..length]);
        if is_valid && index < leaf.count() {
            assert_eq!(length, leaf.key_bytes(index));
            assert_eq!(order, Ordering::Equal);
            assert!(found == Ok(index) || leaf.is_sequenced() && found.is_ok());
        }
        let _ = leaf.lower_bound(&random.near(&key[..length.min(100)]));
        let plain = leaf.plain();
        if let Some((plain, entry)) = plain.and_then(|leaf| Some((leaf, leaf.entry(page, index)?)))
        {
            let _ = page.get(entry.value());
            let replaced = plain.replace_key(page, index, &entry, &mut key[..length]);
            let _ = replaced.map(|key_bytes| key.get(..key_bytes));
        }
    }
}

#[test]
fn damaged_leaves_are_refused_or_harmless() {
    let mut random = Random(5);
    let mut accepted = 0;
    for _ in 0..60 {
        let sequenced = random.below(2) == 0;
        let entries = random_entries(&mut random, 512, sequenced);
        let (count, _) = fitting(&entries, sequenced, 512);
        let mut page = vec![0; 512];
        assert!(write(&mut page, sequenced, &entries[..count]).is_some());
        for place in 4..page.len() {
            let before = page[place];
            page[place] = match random.below(3) {
                0 => random.next() as u8,
                1 => before.wrapping_add(1),
                _ => before ^ 1 << random.below(8),
            };
            let is_valid = validate_leaf(&page).is_ok();
            accepted += usize::from(is_valid);
            exercise(&page, is_valid, &mut random);
            page[place] = before;
        }
    }
    assert!(accepted > 0);
}

#[test]
fn bytes_that_are_no_leaf_are_harmless() {
    let mut random = Random(6);
    for round in 0..3000 {
        let length = random.below(700);
        let mut page = random.bytes(length);
        if round % 2 == 0 && length > 40 {
            page[4..8].copy_from_slice(&[1, 0, random.below(4) as u8, 0]);
            page[20..28].copy_from_slice(&[random.below(60) as u8, 0, 3, 0, 9, 0, 0xFF, 0xFF]);
        }
        let is_valid = validate_leaf(&page).is_ok();
        exercise(&page, is_valid, &mut random);
    }
}
