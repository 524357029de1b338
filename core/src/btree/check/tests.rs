//! Trees put together by hand, right and wrong, all with valid checksums.

use super::*;
use crate::btree::PageSink;
use crate::format::branch_writer::{ChildIn, write_branch};
use crate::format::leaf_writer::{EntryIn, write_leaf};
use crate::format::page_ref::PageKind;
use crate::pager::testing::{Bench, Setup, StoreSink};
use lightning_sim::{SimOptions, SimStorage};
use std::vec::Vec;

const TABLE: u32 = 16;

fn append(bench: &mut Bench, kind: PageKind, level: u8, plain: &mut [u8]) -> PageRef {
    let Bench { pager, store, .. } = bench;
    StoreSink { pager, store }
        .append(kind, level, plain)
        .unwrap()
}

fn leaf(bench: &mut Bench, keys: &[&[u8]], expiry_ms: Option<u64>) -> Child {
    let mut plain = std::vec![0; 1_024];
    let entries = keys.iter().map(|key| EntryIn {
        key,
        kind: EntryKind::Put,
        expiry_ms,
        metadata: None,
        sequence: 0,
        value: b"value",
    });
    assert!(write_leaf(&mut plain, 0, TABLE, false, entries).is_some());
    Child {
        page: append(bench, PageKind::Leaf, 0, &mut plain),
        count: keys.len() as u64,
        earliest_expiry_ms: expiry_ms,
        extents_below: false,
    }
}

fn branch(bench: &mut Bench, level: u8, children: &[(&[u8], Child)]) -> Child {
    let mut plain = std::vec![0; 1_024];
    let records = children.iter().map(|(separator, child)| ChildIn {
        separator,
        child: *child,
    });
    assert!(write_branch(&mut plain, 0, TABLE, level, 4, records).is_some());
    let mut found = RootRecord::default();
    for (_, child) in children {
        let below = RootRecord {
            root: None,
            entries: child.count,
            earliest_expiry_ms: child.earliest_expiry_ms,
            extents_below: child.extents_below,
        };
        sum(&mut found, &below);
    }
    Child {
        page: append(bench, PageKind::Branch, level, &mut plain),
        count: found.entries,
        earliest_expiry_ms: found.earliest_expiry_ms,
        extents_below: found.extents_below,
    }
}

/// A tree of three levels, with one thing wrong where `damage` makes it so.
fn walk(damage: impl Fn(&mut Bench, &mut Vec<Child>)) -> Result<(RootRecord, usize)> {
    let storage = SimStorage::new(SimOptions::disk(512));
    let mut bench = Setup::plain(1_024, 64).create(&storage).unwrap();
    let mut leaves = std::vec![
        leaf(&mut bench, &[b"a", b"b"], None),
        leaf(&mut bench, &[b"f", b"g", b"h"], Some(70)),
        leaf(&mut bench, &[b"m"], Some(50)),
        leaf(&mut bench, &[b"t", b"z"], None),
    ];
    damage(&mut bench, &mut leaves);
    let left = branch(&mut bench, 1, &[(b"", leaves[0]), (b"e", leaves[1])]);
    let right = branch(&mut bench, 1, &[(b"m", leaves[2]), (b"t", leaves[3])]);
    let root = branch(&mut bench, 2, &[(b"", left), (b"m", right)]);
    bench.flip(Some(root.page)).unwrap();
    let mut buffer = std::vec![0; check_buffer_bytes(bench.pager.layout(), 2)];
    let root = Root {
        page: Some(root.page),
        table: TABLE,
    };
    let Bench { pager, store, .. } = &mut bench;
    let mut pages = Vec::new();
    let loads = pager.statistics().loads;
    let found = check_tree(pager, &root, &mut buffer, &mut |visited| {
        if let Visited::Page(page) = visited {
            assert!(store.is_used(pager, page.address, u64::from(page.units))?);
            pages.push(page.address);
        }
        Ok(())
    })?;
    assert_eq!(pager.statistics().loads, loads, "frames were used");
    pages.sort_unstable();
    pages.dedup();
    Ok((found, pages.len()))
}

fn reason(outcome: Result<(RootRecord, usize)>) -> CorruptionReason {
    match outcome {
        Err(Error::Corruption { reason, offset, .. }) => {
            assert!(offset.is_multiple_of(1_024) && offset > 0);
            reason
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_sound_tree_passes() {
    let (found, pages) = walk(|_, _| {}).unwrap();
    assert_eq!((found.entries, pages), (8, 7));
    assert_eq!(found.earliest_expiry_ms, Some(50));
    assert!(!found.extents_below);
}

#[test]
fn wrong_sums_are_found() {
    let wrong: [fn(&mut Child); 4] = [
        |child| child.count += 1,
        |child| child.earliest_expiry_ms = Some(49),
        |child| child.earliest_expiry_ms = None,
        |child| child.extents_below = true,
    ];
    for change in wrong {
        let outcome = walk(|_, leaves| change(&mut leaves[2]));
        assert_eq!(reason(outcome), CorruptionReason::Count);
    }
}

#[test]
fn keys_out_of_bounds_are_found() {
    let wrong: [(usize, &[&[u8]]); 5] = [
        (0, &[b"a", b"e"]),
        (1, &[b"d", b"g", b"h"]),
        (1, &[b"f", b"g", b"m"]),
        (2, &[b"l"]),
        (3, &[b"s", b"z"]),
    ];
    for (index, keys) in wrong {
        let outcome = walk(|bench, leaves| {
            let expiry_ms = leaves[index].earliest_expiry_ms;
            leaves[index] = leaf(bench, keys, expiry_ms);
        });
        assert_eq!(reason(outcome), CorruptionReason::KeyOrder, "{index}");
    }
}

#[test]
fn pages_of_another_table_or_birth_are_found() {
    let outcome = walk(|_, leaves| leaves[1].page.birth_generation += 1);
    assert_eq!(reason(outcome), CorruptionReason::Identity);
    let outcome = walk(|_, leaves| leaves[1].page = leaves[0].page);
    assert_eq!(reason(outcome), CorruptionReason::KeyOrder);
}

#[test]
fn a_short_buffer_is_an_error() {
    let storage = SimStorage::new(SimOptions::disk(512));
    let mut bench = Setup::plain(1_024, 64).create(&storage).unwrap();
    let child = leaf(&mut bench, &[b"a"], None);
    bench.flip(Some(child.page)).unwrap();
    let root = Root {
        page: Some(child.page),
        table: TABLE,
    };
    for bytes in [0, 1_000, 1_024, 2_000] {
        let mut buffer = std::vec![0; bytes];
        let outcome = check_tree(&bench.pager, &root, &mut buffer, &mut |_| Ok(()));
        assert!(matches!(outcome, Err(Error::Internal(_))), "{outcome:?}");
    }
}
