//! Runs as the catalogue names them, and their filters (FORMAT.md 5).
//!
//! The filter is a split-block Bloom filter (Putze, Sanders and Singler 2007, in
//! the form that Parquet gave it): a key's hash chooses a block of 32 bytes and one
//! bit in each of its eight words, so that a question costs one cache line.

use super::bytes::{get_u32, get_u64, put};
use super::page_ref::{PAGE_REF_BYTES, PageRef, encode_optional};
use crate::limits::COUNT_MAX;

/// Bytes of a run's record in the catalogue.
pub const RUN_RECORD_BYTES: usize = 208;
/// Bytes of the table id before the key in a run's tree.
pub const RUN_KEY_TABLE_BYTES: usize = 4;
/// Bytes of what a frame says of a part of a run that is ingested: address and units.
pub const RUN_PART_BYTES: usize = 16;
/// Bytes of a key in a run's history tree.
pub const HISTORY_KEY_BYTES: usize = 20;
/// Bytes before the table's key in a run's tree of range tombstones: its number and the
/// table.
pub const RANGE_KEY_BYTES: usize = 6;
/// Where the content of a filter page begins.
pub const FILTER_HEADER_BYTES: usize = 80;
/// Where a filter page refers to the next.
pub const FILTER_NEXT: usize = 40;
/// Bytes of a block of a filter.
pub const FILTER_BLOCK_BYTES: usize = 32;
/// Bits of a filter for each key, where the memory plan has room for them: about
/// one in a hundred absent keys is taken for present.
const FILTER_BITS_PER_KEY: u64 = 10;
/// Fewer tell of too few keys that they are absent.
const FILTER_BITS_PER_KEY_MIN: u64 = 5;

const FLAG_EXTENTS: u32 = 1;
const FLAG_INGESTED: u32 = 2;

const SALTS: [u32; 8] = [
    0x47b6_137b,
    0x4497_4d91,
    0x8824_ad5b,
    0xa2b7_289d,
    0x7054_95c7,
    0x2df1_424b,
    0x9efc_4947,
    0x5c6b_fb31,
];

/// A run, as the catalogue names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RunRecord {
    /// The newest version of each key; none where the run has range tombstones only.
    pub newest: Option<PageRef>,
    /// Older versions that were needed when the run was written.
    pub history: Option<PageRef>,
    /// The range tombstones.
    pub ranges: Option<PageRef>,
    /// The filter's first page.
    pub filter: Option<PageRef>,
    /// The first commit in it.
    pub first_sequence: u64,
    /// The last commit in it.
    pub last_sequence: u64,
    /// Entries of the tree of newest versions.
    pub entries: u64,
    /// Bytes of the filter.
    pub filter_bytes: u32,
    /// How many range tombstones.
    pub range_tombstones: u32,
    /// Bytes that were written for it, extents included.
    pub written_bytes: u64,
    /// Whether values are in extents.
    pub has_extents: bool,
    /// Whether its entries carry no sequence: each one's is the last of the run, which is
    /// the only commit in it.
    pub is_ingested: bool,
}

impl RunRecord {
    /// The bytes of this record.
    #[must_use]
    pub fn encode(&self) -> [u8; RUN_RECORD_BYTES] {
        let mut bytes = [0; RUN_RECORD_BYTES];
        let pages = [&self.newest, &self.history, &self.ranges, &self.filter];
        for (index, page) in pages.into_iter().enumerate() {
            let offset = index * PAGE_REF_BYTES;
            put(&mut bytes, offset, &encode_optional(page.as_ref()));
        }
        put(&mut bytes, 160, &self.first_sequence.to_le_bytes());
        put(&mut bytes, 168, &self.last_sequence.to_le_bytes());
        put(&mut bytes, 176, &self.entries.to_le_bytes());
        put(&mut bytes, 184, &self.filter_bytes.to_le_bytes());
        put(&mut bytes, 188, &self.range_tombstones.to_le_bytes());
        put(&mut bytes, 192, &self.written_bytes.to_le_bytes());
        let mut flags = 0;
        for (is_set, flag) in [
            (self.has_extents, FLAG_EXTENTS),
            (self.is_ingested, FLAG_INGESTED),
        ] {
            flags |= if is_set { flag } else { 0 };
        }
        put(&mut bytes, 200, &flags.to_le_bytes());
        bytes
    }

    /// Reads a record; `None` is malformed.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != RUN_RECORD_BYTES {
            return None;
        }
        let record = Self {
            newest: PageRef::decode(bytes, 0)?,
            history: PageRef::decode(bytes, PAGE_REF_BYTES)?,
            ranges: PageRef::decode(bytes, 2 * PAGE_REF_BYTES)?,
            filter: PageRef::decode(bytes, 3 * PAGE_REF_BYTES)?,
            first_sequence: get_u64(bytes, 160),
            last_sequence: get_u64(bytes, 168),
            entries: get_u64(bytes, 176),
            filter_bytes: get_u32(bytes, 184),
            range_tombstones: get_u32(bytes, 188),
            written_bytes: get_u64(bytes, 192),
            has_extents: get_u32(bytes, 200) & FLAG_EXTENTS != 0,
            is_ingested: get_u32(bytes, 200) & FLAG_INGESTED != 0,
        };
        let is_filter_whole = (record.filter_bytes as usize).is_multiple_of(FILTER_BLOCK_BYTES);
        let is_in_order = if record.is_ingested {
            record.first_sequence == record.last_sequence
        } else {
            record.first_sequence <= record.last_sequence
        };
        let are_counts_plausible = [record.last_sequence, record.entries, record.written_bytes]
            .iter()
            .all(|count| *count <= COUNT_MAX);
        (is_filter_whole && is_in_order && are_counts_plausible).then_some(record)
    }
}

/// The key of a version in a run's history tree: the table, the rank of its key's entry in
/// the tree of newest versions, then the sequence, so that newer versions come first.
#[must_use]
pub fn history_key(table: u32, rank: u64, sequence: u64) -> [u8; HISTORY_KEY_BYTES] {
    let mut key = [0; HISTORY_KEY_BYTES];
    put(&mut key, 0, &table.to_be_bytes());
    put(&mut key, 4, &rank.to_be_bytes());
    put(&mut key, 12, &(!sequence).to_be_bytes());
    key
}

/// Bytes of a filter for `keys` keys, where at most `most` bytes are to be had.
#[must_use]
pub fn filter_bytes_for(keys: u64, most: usize) -> usize {
    let blocks = (keys.saturating_mul(FILTER_BITS_PER_KEY)).div_ceil(8 * FILTER_BLOCK_BYTES as u64);
    let blocks = usize::try_from(blocks).unwrap_or(usize::MAX).max(1);
    blocks.min(most / FILTER_BLOCK_BYTES) * FILTER_BLOCK_BYTES
}

/// Makes a filter for `keys` keys no longer than it has to be, halving it: what it tells
/// stays. Answers its bytes, none where it is too short for so many.
#[must_use]
pub fn filter_fold(filter: &mut [u8], keys: u64) -> usize {
    let mut bytes = filter.len();
    let wanted = filter_bytes_for(keys, usize::MAX);
    // A hash's block is the upper part of it, so that of half the filter is half its number.
    while bytes.is_multiple_of(2 * FILTER_BLOCK_BYTES) && bytes / 2 >= wanted {
        bytes /= 2;
        for block in 0..bytes / FILTER_BLOCK_BYTES {
            let to = block * FILTER_BLOCK_BYTES;
            for word in (0..FILTER_BLOCK_BYTES).step_by(4) {
                let both = get_u32(filter, 2 * to + word)
                    | get_u32(filter, 2 * to + FILTER_BLOCK_BYTES + word);
                put(filter, to + word, &both.to_le_bytes());
            }
        }
    }
    if (bytes as u64).saturating_mul(8) < keys.saturating_mul(FILTER_BITS_PER_KEY_MIN) {
        return 0;
    }
    bytes
}

/// The hash of a key for the filter.
#[inline]
#[must_use]
pub fn filter_hash(table: u32, key: &[u8]) -> u64 {
    const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut hash = (u64::from(table) << 32 ^ key.len() as u64).wrapping_mul(ODD);
    let (words, rest) = key.as_chunks::<8>();
    for word in words {
        hash = mix(hash ^ u64::from_le_bytes(*word));
    }
    let mut last = [0; 8];
    put(&mut last, 0, rest);
    mix(mix(hash ^ u64::from_le_bytes(last)))
}

#[inline]
fn mix(hash: u64) -> u64 {
    let hash = hash.wrapping_mul(0xD6E8_FEB8_6659_FD93);
    hash ^ hash >> 32
}

/// The number of the block of a hash in a filter of so many, and the bit in each of its
/// words.
#[inline]
#[must_use]
pub fn filter_bits(blocks: usize, hash: u64) -> (usize, [u32; 8]) {
    let block = (hash >> 32).wrapping_mul(blocks as u64) >> 32;
    let low = hash as u32;
    (
        block as usize,
        SALTS.map(|salt| 1 << (low.wrapping_mul(salt) >> 27)),
    )
}

/// Where the block of a hash begins in a filter of `filter_bytes`, and its bits.
#[inline]
fn block_of(filter_bytes: usize, hash: u64) -> (usize, [u32; 8]) {
    let (block, bits) = filter_bits(filter_bytes / FILTER_BLOCK_BYTES, hash);
    (block * FILTER_BLOCK_BYTES, bits)
}

/// Adds a key's hash to a filter.
pub fn filter_insert(filter: &mut [u8], hash: u64) {
    if filter.is_empty() {
        return;
    }
    let (start, bits) = block_of(filter.len(), hash);
    for (index, bit) in bits.into_iter().enumerate() {
        let offset = start + index * 4;
        let word = get_u32(filter, offset) | bit;
        put(filter, offset, &word.to_le_bytes());
    }
}

/// Whether a filter may hold a key's hash: `false` is certain. An empty filter
/// may hold everything.
#[inline]
#[must_use]
pub fn filter_may_hold(filter: &[u8], hash: u64) -> bool {
    let (start, bits) = block_of(filter.len(), hash);
    let Some(block) = filter.get(start..start + FILTER_BLOCK_BYTES) else {
        return true;
    };
    let (words, _) = block.as_chunks::<4>();
    words
        .iter()
        .zip(bits)
        .all(|(word, bit)| u32::from_le_bytes(*word) & bit != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::page_ref::PageKind;
    use std::vec;

    #[test]
    fn records_come_back() {
        let page = |address| PageRef {
            address,
            birth_generation: 6,
            units: 1,
            level: 0,
            kind: PageKind::Leaf,
            check: PageRef::crc_check(99),
        };
        let record = RunRecord {
            newest: Some(page(1)),
            history: None,
            ranges: Some(page(2)),
            filter: Some(page(3)),
            first_sequence: 4,
            last_sequence: 5,
            entries: 6,
            filter_bytes: 64,
            range_tombstones: 7,
            written_bytes: 8,
            has_extents: true,
            is_ingested: false,
        };
        assert_eq!(RunRecord::decode(&record.encode()), Some(record));
        let ingested = RunRecord {
            is_ingested: true,
            ..record
        };
        assert_eq!(RunRecord::decode(&ingested.encode()), None);
        let ingested = RunRecord {
            first_sequence: 5,
            ..ingested
        };
        assert_eq!(RunRecord::decode(&ingested.encode()), Some(ingested));
        let backwards = RunRecord {
            first_sequence: 6,
            ..record
        };
        assert_eq!(RunRecord::decode(&backwards.encode()), None);
        assert_eq!(RunRecord::decode(&record.encode()[1..]), None);
    }

    #[test]
    fn a_filter_holds_its_keys_and_few_others() {
        let keys = 10_000_u64;
        let mut filter = vec![0; filter_bytes_for(keys, usize::MAX)];
        for key in 0..keys {
            filter_insert(&mut filter, filter_hash(16, &key.to_be_bytes()));
        }
        for key in 0..keys {
            assert!(filter_may_hold(
                &filter,
                filter_hash(16, &key.to_be_bytes())
            ));
        }
        let wrong = |table, from: u64| {
            let hash = |key: u64| filter_hash(table, &key.to_be_bytes());
            (from..from + keys)
                .filter(|key| filter_may_hold(&filter, hash(*key)))
                .count()
        };
        assert!(wrong(16, keys) < 300, "{}", wrong(16, keys));
        assert!(wrong(17, 0) < 300, "{}", wrong(17, 0));
        assert!(filter_may_hold(&[], 77));
    }

    #[test]
    fn a_folded_filter_is_the_one_of_its_length() {
        for keys in [0_u64, 1, 25, 26, 1_000, 6_000, 13_000, 14_000] {
            let mut folded = vec![0; 256 * FILTER_BLOCK_BYTES];
            for key in 0..keys {
                filter_insert(&mut folded, filter_hash(16, &key.to_be_bytes()));
            }
            let bytes = filter_fold(&mut folded, keys);
            if keys > 13_107 {
                assert_eq!(bytes, 0, "too many keys");
                continue;
            }
            let mut straight = vec![0; bytes];
            for key in 0..keys {
                filter_insert(&mut straight, filter_hash(16, &key.to_be_bytes()));
            }
            assert!(folded[..bytes] == straight, "{keys}");
            let wanted = filter_bytes_for(keys, usize::MAX);
            assert!(bytes < 2 * wanted || bytes == FILTER_BLOCK_BYTES);
        }
    }

    #[test]
    fn a_hash_depends_on_every_byte() {
        for length in 0..40 {
            let key = vec![7_u8; length];
            let hash = filter_hash(1, &key);
            for at in 0..length {
                let mut other = key.clone();
                other[at] ^= 1;
                assert_ne!(filter_hash(1, &other) >> 32, hash >> 32);
            }
            let mut longer = key.clone();
            longer.push(0);
            assert_ne!(filter_hash(1, &longer), hash);
        }
    }
}
