//! Ranks keep the order whatever was learned, and tell apart what they were made for.

use super::*;
use crate::memtable::tests::{Random, commit, memtable, put};
use crate::memtable::{Cursor, Memtable};
use std::format;
use std::string::String;
use std::vec::Vec;

const KEYS: u64 = 2 * ENTRIES_MIN as u64;

/// A memtable that lived through a life with these keys in one table.
fn taught(table: u32, key_of: impl Fn(u64) -> String) -> Memtable {
    let mut taught = memtable(1 << 20, 18);
    for number in 0..KEYS {
        let key = key_of(number);
        commit(&taught, number + 1, &[put(table, key.as_bytes(), b"")]).unwrap();
    }
    taught.reset();
    taught
}

/// Lives that teach different things, and what keys begin with in them.
fn lives() -> Vec<(Memtable, Vec<&'static str>)> {
    let long = "a-prefix-that-is-longer-than-what-is-heeded:";
    let mixed = |number: u64| number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    Vec::from([
        (memtable(4_096, 18), Vec::from([""])),
        (
            taught(16, |number| format!("key:{number:012}")),
            Vec::from(["key:00000", "key:", "key:000001", ""]),
        ),
        (
            taught(16, |number| format!("user:{:016x}", mixed(number))),
            Vec::from(["user:", "user", "user;", ""]),
        ),
        (
            taught(1, |number| format!("{number:06}")),
            Vec::from(["00", "0", "01", ""]),
        ),
        (
            taught(16, |number| format!("{long}{number}")),
            Vec::from([long, &long[..24], &long[..20], ""]),
        ),
        (
            taught(0, |number| format!("{:016x}", mixed(number))),
            Vec::from(["", "7"]),
        ),
    ])
}

fn key(random: &mut Random, prefixes: &[&str]) -> Vec<u8> {
    let prefix = prefixes[random.below(prefixes.len() as u64) as usize];
    let mut key = prefix.as_bytes().to_vec();
    for _ in 0..random.below(9) {
        key.push([0, b'/', b'0', b'1', b'8', b'9', b':', 0xFF][random.below(8) as usize]);
    }
    key
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes; nothing of it is unsafe")]
fn ranks_never_contradict_the_order() {
    let mut random = Random(5);
    for (taught, prefixes) in lives() {
        for round in 0..20_000 {
            let mut one = || {
                let table = random.table();
                let any = random.key();
                let learned = key(&mut random, &prefixes);
                (table, if round % 2 == 0 { any } else { learned })
            };
            let (left, right) = (one(), one());
            let ranks = [&left, &right].map(|(table, key)| taught.ranks.of(*table, key));
            assert!(left > right || ranks[0] <= ranks[1], "{left:?} {right:?}");
            assert!(left < right || ranks[0] >= ranks[1], "{left:?} {right:?}");
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes; nothing of it is unsafe")]
fn keys_that_begin_alike_have_ranks_of_their_own() {
    let distinct = |taught: &Memtable, table: u32, key_of: &dyn Fn(u64) -> String| {
        let keys = (0..KEYS).map(key_of);
        let mut ranks: Vec<u32> = keys
            .map(|key| taught.ranks.of(table, key.as_bytes()))
            .collect();
        ranks.sort_unstable();
        ranks.dedup();
        ranks.len()
    };
    let decimal = |number: u64| format!("key:{number:012}");
    let random = |number: u64| {
        let mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        format!("user:{mixed:016x}")
    };
    let untaught = memtable(4_096, 18);
    assert_eq!(distinct(&untaught, 16, &decimal), 1);
    assert_eq!(distinct(&untaught, 16, &random), 1);
    assert_eq!(distinct(&taught(16, decimal), 16, &decimal), KEYS as usize);
    assert!(distinct(&taught(16, random), 16, &random) > KEYS as usize / 4);
    // Of another table nothing was learned.
    assert_eq!(distinct(&taught(16, decimal), 17, &decimal), 1);
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes; nothing of it is unsafe")]
fn what_was_learned_changes_no_answer() {
    let mut random = Random(11);
    for (mut taught, prefixes) in lives() {
        // The second life's keys are other ones than those that it learned of.
        for _ in 0..2 {
            let mut expected = std::collections::BTreeMap::new();
            for sequence in 1..400 {
                let place = (random.below(3) as u32 * 8, key(&mut random, &prefixes));
                let record = put(place.0, &place.1, b"");
                if commit(&taught, sequence, &[record]).is_err() {
                    break;
                }
                expected.insert(place, sequence);
            }
            for ((table, key), sequence) in &expected {
                assert_eq!(taught.newest_sequence(*table, key), *sequence);
            }
            let mut cursor = Cursor::new();
            let mut stands = cursor.seek_first(&taught);
            for (table, key) in expected.keys() {
                let entry = cursor.entry(&taught).unwrap();
                assert_eq!((entry.table(), entry.key()), (*table, &key[..]));
                assert!(stands);
                stands = cursor.next_key(&taught);
            }
            assert!(!stands);
            taught.reset();
        }
    }
}
