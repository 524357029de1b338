//! Views of pages and of what stands on them.
//!
//! The first byte says what the rest is. What the validation accepts must keep its
//! promise: every accessor stays inside the page, and a search finds each key where it
//! stands. What it refuses is read, too: nonsense is allowed then, a panic isn't.

use lightning_core::format::branch::{Branch, validate_branch};
use lightning_core::format::catalogue::{
    CATALOGUE_HEADER_BYTES, CatalogueHeader, GROUP_RECORD_BYTES, GroupRecord, PENDING_RECORD_BYTES,
    PendingRecord, ROOT_RECORD_BYTES, RootRecord,
};
use lightning_core::format::checksum::Checksum;
use lightning_core::format::extent::ExtentRef;
use lightning_core::format::leaf::{Leaf, validate_leaf};
use lightning_core::format::page::PageHeader;
use lightning_core::format::page_ref::{PAGE_REF_BYTES, PageRef};
use lightning_core::format::run::{
    FILTER_BLOCK_BYTES, RUN_RECORD_BYTES, RunRecord, filter_hash, filter_insert, filter_may_hold,
};
use lightning_core::format::superblock::{SUPERBLOCK_BYTES, Superblock, SuperblockFound};

/// The checksum of someone who knows how to compute it.
fn constant() -> Checksum {
    Checksum::new(Some(|_, _| 0))
}

/// Reads `data` as what its first byte says.
pub fn run(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else {
        return;
    };
    match kind % 8 {
        0 => leaf(data),
        1 => branch(data, 4),
        2 => branch(data, 16),
        3 => superblock(data),
        4 => run_record(data),
        5 => catalogue(data),
        6 => references(data),
        _ => filter(data),
    }
}

/// All entries of what is valid, and a few of what isn't.
fn looked_at(count: usize, is_valid: bool) -> usize {
    if is_valid { count } else { count.min(40) }
}

fn leaf(page: &[u8]) {
    let is_valid = validate_leaf(page).is_ok();
    let _ = PageHeader::read(page);
    let leaf = Leaf::new(page);
    let mut key = vec![0; page.len() + 1];
    let mut before: Option<Vec<u8>> = None;
    for index in 0..looked_at(leaf.count(), is_valid) {
        let _ = leaf.entry(index);
        let length = leaf.copy_key(index, &mut key);
        if let Some(plain) = leaf.plain() {
            let entry = plain.entry(page, index);
            if is_valid {
                let value = entry.expect("a plain leaf has its entries").value();
                assert!(page.get(value).is_some(), "a value leaves the page");
            }
        }
        if !is_valid {
            let _ = leaf.search(key.get(..length).unwrap_or(&[]));
            continue;
        }
        let key = &key[..length];
        assert_eq!(length, leaf.key_bytes(index));
        assert!(leaf.compare_key(index, key).is_eq());
        let is_repeated = before.as_deref() == Some(key);
        if leaf.is_sequenced() {
            assert!(before.as_deref().is_none_or(|before| before <= key));
        } else {
            assert!(before.as_deref().is_none_or(|before| before < key));
        }
        if !is_repeated {
            assert_eq!(leaf.lower_bound(key), index);
            assert_eq!(leaf.search(key), Ok(index));
            assert!(leaf.cell_sought(key).is_some());
        }
        before = Some(key.to_vec());
    }
}

fn branch(page: &[u8], check_bytes: usize) {
    let is_valid = validate_branch(page, check_bytes).is_ok();
    let branch = Branch::new(page);
    let mut separator = vec![0; page.len() + 1];
    let mut before: Option<Vec<u8>> = None;
    for index in 0..looked_at(branch.count(), is_valid) {
        let child = branch.child(index);
        let (address, birth) = branch.child_address(index);
        if is_valid {
            assert_eq!(child.page.address, address);
            assert_eq!(child.page.birth_generation, birth);
            assert!(address > 0 && child.page.units > 0);
        }
        if index + 1 >= branch.count() {
            continue;
        }
        let length = branch.copy_separator(index, &mut separator);
        let key = separator.get(..length).unwrap_or(&[]);
        let found = branch.child_index(key);
        if is_valid {
            assert_eq!(length, branch.separator_bytes(index));
            assert!(branch.compare_separator(index, key).is_eq());
            assert!(before.as_deref().is_none_or(|before| before < key));
            assert_eq!(found, index + 1, "a separator belongs to what follows it");
            before = Some(key.to_vec());
        }
    }
}

fn superblock(data: &[u8]) {
    if let SuperblockFound::Valid(found) = Superblock::decode(data, constant()) {
        let again = found.encode(constant());
        assert_eq!(again.len(), SUPERBLOCK_BYTES);
        assert_eq!(
            Superblock::decode(&again, constant()),
            SuperblockFound::Valid(found)
        );
    }
}

fn run_record(data: &[u8]) {
    let Some(bytes) = data.get(..RUN_RECORD_BYTES) else {
        assert!(RunRecord::decode(data).is_none());
        return;
    };
    if let Some(record) = RunRecord::decode(bytes) {
        assert_eq!(RunRecord::decode(&record.encode()), Some(record));
    }
}

fn catalogue(data: &[u8]) {
    if let Some(header) = data
        .get(..CATALOGUE_HEADER_BYTES)
        .and_then(CatalogueHeader::decode)
    {
        assert_eq!(CatalogueHeader::decode(&header.encode()), Some(header));
    }
    if let Some(group) = data.get(..GROUP_RECORD_BYTES).and_then(GroupRecord::decode) {
        assert_eq!(GroupRecord::decode(&group.encode()), Some(group));
    }
    if let Some(pending) = data
        .get(..PENDING_RECORD_BYTES)
        .and_then(PendingRecord::decode)
    {
        assert_eq!(PendingRecord::decode(&pending.encode()), Some(pending));
    }
    if let Some(root) = data.get(..ROOT_RECORD_BYTES).and_then(RootRecord::decode) {
        assert_eq!(RootRecord::decode(&root.encode()), Some(root));
    }
}

fn references(data: &[u8]) {
    for at in 0..data.len().min(64) {
        if let Some(Some(page)) = PageRef::decode(data, at) {
            let bytes = page.encode();
            assert_eq!(bytes.len(), PAGE_REF_BYTES);
            assert_eq!(PageRef::decode(&bytes, 0), Some(Some(page)));
        }
    }
    if let Some(extent) = ExtentRef::decode(data) {
        assert_eq!(ExtentRef::decode(&extent.encode()), Some(extent));
        let _ = extent.is_chunk(data, 0, data.len() as u64);
        let _ = extent.chunks(ExtentRef::chunk_bytes(4_096));
    }
}

fn filter(data: &[u8]) {
    let Some((blocks, data)) = data.split_first() else {
        return;
    };
    let mut filter = vec![0; (usize::from(*blocks % 16) + 1) * FILTER_BLOCK_BYTES];
    for key in data.chunks(5) {
        filter_insert(&mut filter, filter_hash(16, key));
    }
    for key in data.chunks(5) {
        assert!(
            filter_may_hold(&filter, filter_hash(16, key)),
            "a filter must not deny what it holds"
        );
    }
}
