//! Branches against sorted lists, sizes against what is written, and bytes that are no branch.

use super::super::branch_writer::{BranchSize, ChildIn, shortest_separator, write_branch};
use super::super::random::Random;
use super::*;
use std::vec;
use std::vec::Vec;

type Owned = (Vec<u8>, Child);

fn lend((separator, child): &Owned) -> ChildIn<'_> {
    ChildIn {
        separator,
        child: *child,
    }
}

fn child_at(level: u8, address: u64) -> Child {
    Child {
        page: PageRef {
            address,
            birth_generation: 3,
            units: 1,
            level: level - 1,
            kind: if level == 1 {
                PageKind::Leaf
            } else {
                PageKind::Branch
            },
            check: PageRef::crc_check(0x0102_0304),
        },
        count: 20,
        earliest_expiry_ms: None,
        extents_below: false,
    }
}

/// A number that takes up to `bits` bits, or the greatest of them.
fn wide(random: &mut Random, bits: usize) -> u64 {
    match random.below(20) {
        0 => (1 << bits) - 1,
        _ => random.next() >> (64 - bits),
    }
}

fn random_children(
    random: &mut Random,
    page_bytes: usize,
    level: u8,
    check_bytes: usize,
) -> Vec<Owned> {
    let count = [1, 2, 3, 10, 60, page_bytes / 12][random.below(6)];
    let bits = |random: &mut Random| [1, 2, 8, 16, 20, 31, 48][random.below(7)];
    let (address, birth, size, units) = (bits(random), bits(random), bits(random), bits(random));
    let expiry = [0, 1, 7, 8, 9, 16, 40, 48][random.below(8)];
    let (is_random_expiry, extents) = (random.below(10) == 0, random.below(3));
    let base = wide(random, 55);
    let mut keys = random.keys(count, page_bytes / 4);
    if keys.is_empty() {
        keys.push(Vec::new());
    }
    keys.into_iter()
        .map(|separator| {
            let mut child = child_at(level, wide(random, address.min(46)).max(1));
            child.page.birth_generation = base + wide(random, birth);
            child.page.units = wide(random, units.min(16)).max(1) as u16;
            child.count = wide(random, size);
            child.page.check = if check_bytes == 16 {
                random.bytes(16).try_into().unwrap()
            } else {
                PageRef::crc_check(random.next() as u32)
            };
            if expiry > 0 && random.below(3) > 0 {
                child.earliest_expiry_ms = Some(base + wide(random, expiry));
            }
            if is_random_expiry {
                child.earliest_expiry_ms = Some(random.next()).filter(|expiry| *expiry != u64::MAX);
            }
            child.extents_below = random.below(2) < extents;
            (separator, child)
        })
        .collect()
}

fn separator_of(children: &[Owned]) -> &[u8] {
    children.get(1).map_or(b"", |(separator, _)| separator)
}

fn fitting(children: &[Owned], check_bytes: usize, page_bytes: usize) -> (usize, BranchSize) {
    let mut size = BranchSize::new(check_bytes);
    for (index, one) in children.iter().enumerate() {
        let next = size.with(separator_of(children), &lend(one));
        assert_eq!(next.count(), index + 1);
        if next.bytes() > page_bytes {
            return (index, size);
        }
        size = next;
    }
    (children.len(), size)
}

fn end_of(page: &[u8]) -> usize {
    match get_u16(page, END) {
        0 => PAGE_BYTES_MAX,
        end => usize::from(end),
    }
}

fn write(page: &mut [u8], level: u8, check_bytes: usize, children: &[Owned]) -> Option<usize> {
    write_branch(page, 5, 16, level, check_bytes, children.iter().map(lend))
}

fn assert_reads_back(
    page: &[u8],
    level: u8,
    check_bytes: usize,
    children: &[Owned],
    random: &mut Random,
) {
    assert_eq!(validate_branch(page, check_bytes), Ok(()));
    assert_eq!(
        validate_branch(page, 20 - check_bytes),
        Err(CorruptionReason::Structure)
    );
    let branch = Branch::new(page);
    assert_eq!(branch.count(), children.len());
    assert_eq!(branch.level(), level);
    for (index, (separator, child)) in children.iter().enumerate() {
        assert_eq!(branch.child(index), *child);
        let (address, birth) = branch.child_address(index);
        assert_eq!(address, child.page.address);
        assert_eq!(birth, child.page.birth_generation);
        let Some(index) = index.checked_sub(1) else {
            continue;
        };
        let mut buffer = vec![0; branch.separator_bytes(index) + 3];
        let length = branch.copy_separator(index, &mut buffer);
        assert_eq!(length, branch.separator_bytes(index));
        assert_eq!(buffer[..length], separator[..]);
        assert_eq!(branch.compare_separator(index, separator), Ordering::Equal);
        assert_eq!(branch.child_index(separator), index + 1);
    }
    assert_eq!(branch.child(children.len()).page.address, 0);
    assert_eq!(branch.child_address(children.len()), (0, 0));
    for _ in 0..60 {
        let index = random.below(children.len());
        let wanted = random.near(&children[index].0);
        let expected = children[1..].partition_point(|(separator, _)| *separator <= wanted);
        assert_eq!(branch.child_index(&wanted), expected);
        if let Some(before) = index.checked_sub(1) {
            assert_eq!(
                branch.compare_separator(before, &wanted),
                children[index].0.cmp(&wanted)
            );
        }
    }
}

#[test]
fn random_branches_read_back_and_are_searched_as_sorted_lists() {
    let mut random = Random(11);
    for round in 0..1500 {
        let page_bytes =
            [480, 512, 1024, 4096, 8192, 65_536][if round % 50 == 0 { 5 } else { random.below(5) }];
        let check_bytes = [4, 16][random.below(2)];
        let level = 1 + random.below(TREE_LEVELS_MAX - 1) as u8;
        let children = random_children(&mut random, page_bytes, level, check_bytes);
        let (count, size) = fitting(&children, check_bytes, page_bytes);
        let mut page = vec![0xEE; page_bytes];
        let used = &children[..count];
        assert_eq!(write(&mut page, level, check_bytes, used), Some(count));
        assert_eq!(end_of(&page), size.bytes());
        assert!(page[size.bytes()..].iter().all(|byte| *byte == 0));
        if count < children.len() {
            let mut other = vec![0; page_bytes];
            let more = &children[..=count];
            assert_eq!(write(&mut other, level, check_bytes, more), None);
        }
        assert_reads_back(&page, level, check_bytes, used, &mut random);
    }
}

#[test]
fn sizes_are_exact_for_every_beginning() {
    let mut random = Random(12);
    for _ in 0..300 {
        let check_bytes = [4, 16][random.below(2)];
        let children = random_children(&mut random, 2048, 1, check_bytes);
        let mut page = vec![0; 8192];
        let (count, _) = fitting(&children, check_bytes, page.len());
        let mut size = BranchSize::new(check_bytes);
        for index in 0..count.min(150) {
            size = size.with(separator_of(&children), &lend(&children[index]));
            let used = &children[..=index];
            assert_eq!(write(&mut page, 1, check_bytes, used), Some(used.len()));
            assert_eq!(end_of(&page), size.bytes());
            let (exact, _) = page.split_at_mut(size.bytes());
            assert_eq!(write(exact, 1, check_bytes, used), Some(used.len()));
            assert_eq!(validate_branch(exact, check_bytes), Ok(()));
            let (short, _) = exact.split_at_mut(size.bytes() - 1);
            assert_eq!(write(short, 1, check_bytes, used), None);
        }
    }
}

#[test]
fn fan_out_at_4_kib_is_128_or_more() {
    let mut random = Random(13);
    let mut keys: Vec<Vec<u8>> = (0..23 * 4000).map(|_| random.bytes(24)).collect();
    keys.sort();
    for expires in [false, true] {
        let children: Vec<Owned> = keys
            .chunks(23)
            .enumerate()
            .map(|(index, leaf)| {
                let left = index
                    .checked_sub(1)
                    .map_or(&b""[..], |left| &keys[left * 23 + 22]);
                // Anywhere in a file of 16 GiB, written over the last million flips.
                let mut child = child_at(1, random.below(1 << 22) as u64 + 1);
                child.page.birth_generation += random.below(1_000_000) as u64;
                child.count = 23;
                child.earliest_expiry_ms = expires.then(|| random.below(1 << 31) as u64);
                (shortest_separator(left, &leaf[0]).to_vec(), child)
            })
            .collect();
        for check_bytes in [4, 16] {
            let (count, _) = fitting(&children, check_bytes, 4096);
            assert!(count >= if check_bytes == 4 { 170 } else { 110 }, "{count}");
        }
    }
}

#[test]
fn separators_are_shortest() {
    assert_eq!(shortest_separator(b"", b"abc"), b"a");
    assert_eq!(shortest_separator(b"abc", b"abd"), b"abd");
    assert_eq!(shortest_separator(b"ab", b"abcd"), b"abc");
    assert_eq!(shortest_separator(b"aaz", b"bcd"), b"b");
    let mut random = Random(14);
    for _ in 0..200 {
        let keys = random.keys(50, 100);
        for pair in keys.windows(2) {
            let separator = shortest_separator(&pair[0], &pair[1]);
            assert!(*pair[0] < *separator && *separator <= *pair[1]);
            assert!(separator[..separator.len() - 1] <= pair[0][..]);
        }
    }
}

#[test]
fn the_end_of_time_is_no_expiry() {
    let mut children = vec![(vec![], child_at(1, 1)), (b"b".to_vec(), child_at(1, 2))];
    children[0].1.earliest_expiry_ms = Some(u64::MAX);
    children[1].1.earliest_expiry_ms = Some(0);
    let mut page = [0; 512];
    assert_eq!(write(&mut page, 1, 4, &children), Some(2));
    assert_eq!(Branch::new(&page).child(0).earliest_expiry_ms, None);
    children[0].1.earliest_expiry_ms = Some(u64::MAX - 1);
    assert_eq!(write(&mut page, 1, 4, &children), Some(2));
    assert_eq!(validate_branch(&page, 4), Ok(()));
    let branch = Branch::new(&page);
    assert_eq!(branch.child(0).earliest_expiry_ms, Some(u64::MAX - 1));
    assert_eq!(branch.child(1).earliest_expiry_ms, Some(0));
}

#[test]
fn children_that_no_branch_may_have_are_not_written() {
    let mut page = [0; 512];
    let at = |level, address| vec![(vec![], child_at(level, address))];
    assert_eq!(write(&mut page, 1, 4, &at(1, 9)), Some(1));
    assert_eq!(write(&mut page, 2, 4, &at(2, 9)), Some(1));
    assert_eq!(write(&mut page, 1, 4, &[]), None);
    assert_eq!(write(&mut page, 1, 5, &at(1, 9)), None);
    assert_eq!(write(&mut page, 1, 4, &at(2, 9)), None);
    assert_eq!(write(&mut page, 0, 4, &at(1, 9)), None);
    assert_eq!(write(&mut page, 1, 4, &at(1, 0)), None);
    let level = TREE_LEVELS_MAX as u8;
    assert_eq!(write(&mut page, level, 4, &at(level, 9)), None);
    let mut apart = at(1, 1);
    apart.push((b"b".to_vec(), child_at(1, 1 << 48)));
    assert_eq!(write(&mut page, 1, 4, &apart), Some(2));
    apart[1].1.page.address += 1;
    assert_eq!(write(&mut page, 1, 4, &apart), None);
}

#[test]
fn disorder_is_found() {
    let mut page = [0; 512];
    for (one, other, expected) in [
        (&b"a"[..], &b"b"[..], Ok(())),
        (b"b", b"a", Err(CorruptionReason::KeyOrder)),
        (
            b"longer one",
            b"longer one",
            Err(CorruptionReason::KeyOrder),
        ),
    ] {
        let children = [b"", one, other].map(|separator| (separator.to_vec(), child_at(1, 7)));
        assert_eq!(write(&mut page, 1, 4, &children), Some(3));
        assert_eq!(validate_branch(&page, 4), expected);
    }
}

/// Uses every accessor; on a valid page, whose separators ascend, they are found.
fn exercise(page: &[u8], is_valid: bool, random: &mut Random) {
    let branch = Branch::new(page);
    let mut key = vec![0; PAGE_BYTES_MAX * 2];
    let step = if is_valid { 1 } else { branch.count() / 50 + 1 };
    for index in (0..branch.count() + 2).step_by(step) {
        let child = branch.child(index);
        assert_eq!(
            branch.child_address(index),
            (child.page.address, child.page.birth_generation)
        );
        let length = branch.copy_separator(index, &mut key);
        let found = branch.child_index(&key[..length]);
        let order = branch.compare_separator(index, &key[..length]);
        if is_valid && index + 1 < branch.count() {
            assert_eq!(length, branch.separator_bytes(index));
            assert_eq!(order, Ordering::Equal);
            assert_eq!(found, index + 1);
        }
        if is_valid && index < branch.count() {
            assert!(child.page.address != 0 && child.page.units != 0);
        }
        let _ = branch.child_index(&random.near(&key[..length.min(100)]));
    }
}

#[test]
fn damaged_branches_are_refused_or_harmless() {
    let mut random = Random(15);
    let mut accepted = 0;
    for _ in 0..60 {
        let check_bytes = [4, 16][random.below(2)];
        let children = random_children(&mut random, 512, 1, check_bytes);
        let (count, _) = fitting(&children, check_bytes, 512);
        let mut page = vec![0; 512];
        assert!(write(&mut page, 1, check_bytes, &children[..count]).is_some());
        for place in 4..page.len() {
            let before = page[place];
            page[place] = match random.below(3) {
                0 => random.next() as u8,
                1 => before.wrapping_add(1),
                _ => before ^ 1 << random.below(8),
            };
            let is_valid = validate_branch(&page, check_bytes).is_ok();
            accepted += usize::from(is_valid);
            exercise(&page, is_valid, &mut random);
            page[place] = before;
        }
    }
    assert!(accepted > 0);
}

#[test]
fn bytes_that_are_no_branch_are_harmless() {
    let mut random = Random(16);
    for round in 0..3000 {
        let length = random.below(700);
        let mut page = random.bytes(length);
        if round % 2 == 0 && length > 64 {
            page[4..8].copy_from_slice(&[2, 1, random.below(2) as u8, 0]);
            page[20..24].copy_from_slice(&[random.below(30) as u8, 0, 3, 0]);
            page[24..30].copy_from_slice(&[3, 2, 1, 4, 1, random.below(3) as u8]);
        }
        let is_valid = validate_branch(&page, 4).is_ok();
        exercise(&page, is_valid, &mut random);
    }
}
