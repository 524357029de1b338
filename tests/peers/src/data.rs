//! The entries that every engine stores, and how an answer is recognised as right.
//!
//! Keys and values are functions of an index (and, for a value, of the version
//! written), so that no workload keeps a copy of the data: an answer is checked
//! by computing it again. Keys look random and are all different, because their
//! first eight bytes are a bijection of the index; an index beyond those loaded
//! therefore gives a key that is certainly absent. A value names its index and
//! version in its head, so that a reader beside a writer can tell which write it
//! sees; the rest comes from a pool of random bytes, which costs a copy instead
//! of a generator and leaves nothing to compress.

use std::fmt;
use std::sync::LazyLock;

/// Bytes of every key.
pub const KEY_BYTES: usize = 24;
/// Bytes of every value.
pub const VALUE_BYTES: usize = 150;
/// Bytes of key and value together: the unit of all byte ratios.
pub const ENTRY_BYTES: u64 = (KEY_BYTES + VALUE_BYTES) as u64;

const HEAD_BYTES: usize = 12;
const BODY_BYTES: usize = VALUE_BYTES - HEAD_BYTES;
/// Small enough for a second-level cache, so that checking stays cheap.
const POOL_BYTES: usize = 64 * 1024;
const HEAD_MASK: u64 = 0x9d3a_51c6_e80f_27b5;

/// A key as the engines get it.
pub type Key = [u8; KEY_BYTES];
/// A value as the engines get it.
pub type Value = [u8; VALUE_BYTES];

/// An engine gave an answer that is not what was written.
#[derive(Debug)]
pub struct WrongAnswer(pub String);

impl fmt::Display for WrongAnswer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "wrong answer: {}", self.0)
    }
}

impl std::error::Error for WrongAnswer {}

/// Fails with [`WrongAnswer`] and the formatted text.
macro_rules! wrong {
    ($($text:tt)*) => {
        return Err($crate::data::WrongAnswer(format!($($text)*)).into())
    };
}
pub(crate) use wrong;

static POOL: LazyLock<Vec<u8>> = LazyLock::new(|| {
    (0..POOL_BYTES as u64 / 8)
        .flat_map(|word| mix(word ^ 0x5eed).to_le_bytes())
        .collect()
});

/// A bijection of 64 bits whose output looks random (the finaliser of SplitMix64).
pub const fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// The key of entry `index`.
pub fn key(index: u64) -> Key {
    let first = mix(index);
    let second = mix(first);
    let third = mix(second);
    let mut key = [0; KEY_BYTES];
    for (bytes, word) in key.chunks_exact_mut(8).zip([first, second, third]) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    key
}

/// The value of entry `index` as write number `version` of that entry leaves it.
pub fn value(index: u64, version: u32) -> Value {
    let mut value = [0; VALUE_BYTES];
    value[..8].copy_from_slice(&(index ^ HEAD_MASK).to_le_bytes());
    value[8..HEAD_BYTES].copy_from_slice(&(version ^ HEAD_MASK as u32).to_le_bytes());
    value[HEAD_BYTES..].copy_from_slice(body(index, version));
    value
}

fn body(index: u64, version: u32) -> &'static [u8] {
    let spread = mix(index ^ (u64::from(version) << 40));
    let start = spread as usize % (POOL_BYTES - BODY_BYTES);
    &POOL[start..start + BODY_BYTES]
}

/// The version that `value` carries, if it is a value of entry `index` at all.
pub fn version_of(index: u64, value: &[u8]) -> Option<u32> {
    let (head, rest) = value.split_first_chunk::<8>()?;
    let (version, rest) = rest.split_first_chunk::<4>()?;
    let version = u32::from_le_bytes(*version) ^ HEAD_MASK as u32;
    let is_right = u64::from_le_bytes(*head) == index ^ HEAD_MASK && rest == body(index, version);
    is_right.then_some(version)
}

/// A sum over entries that depends on keys, heads and tails, but not on order.
///
/// A full scan sums what it meets; the right sum is computed from indices. Order
/// is checked apart, by comparing neighbouring keys.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Digest {
    /// How many entries were added.
    pub count: u64,
    sum: u64,
}

impl Digest {
    /// Adds an entry. Bytes of a wrong length make the digest wrong.
    #[inline]
    pub fn add(&mut self, key: &[u8], value: &[u8]) {
        let (Some(first), Some(head), Some(tail)) = (
            key.first_chunk::<8>(),
            value.first_chunk::<8>(),
            value.last_chunk::<8>(),
        ) else {
            self.count = u64::MAX / 2;
            return;
        };
        self.count += 1;
        self.sum = self.sum.wrapping_add(
            u64::from_le_bytes(*first)
                .wrapping_mul(u64::from_le_bytes(*head) | 1)
                .wrapping_add(u64::from_le_bytes(*tail))
                .wrapping_add(key.len() as u64)
                .wrapping_add((value.len() as u64) << 32),
        );
    }

    /// The digest of entries `0..entries` at `version`.
    pub fn of_entries(entries: u64, version: u32) -> Self {
        let mut digest = Self::default();
        for index in 0..entries {
            digest.add(&key(index), &value(index, version));
        }
        digest
    }
}

/// The indices `0..entries` in the order of their keys.
pub struct SortedIndices(Vec<u32>);

impl SortedIndices {
    /// Sorts the keys of `0..entries`.
    pub fn new(entries: u64) -> Self {
        let mut pairs: Vec<(u64, u32)> = (0..entries as u32)
            .map(|index| (mix(u64::from(index)), index))
            .collect();
        pairs.sort_unstable();
        Self(pairs.into_iter().map(|(_, index)| index).collect())
    }

    /// The index of the entry at `position` in key order.
    pub fn at(&self, position: usize) -> Option<u64> {
        self.0.get(position).copied().map(u64::from)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// All indices, in key order.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.iter().copied().map(u64::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_names_its_entry_and_version() {
        let written = value(7, 3);
        assert_eq!(version_of(7, &written), Some(3));
        assert_eq!(version_of(8, &written), None);
        let mut torn = written;
        torn[VALUE_BYTES - 1] ^= 1;
        assert_eq!(version_of(7, &torn), None);
        assert_eq!(version_of(7, &written[..VALUE_BYTES - 1]), None);
    }

    #[test]
    fn sorted_indices_follow_the_keys() {
        let sorted = SortedIndices::new(1_000);
        let keys: Vec<Key> = sorted.iter().map(key).collect();
        assert!(keys.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(sorted.len(), 1_000);
    }

    #[test]
    fn a_digest_does_not_depend_on_order_but_on_content() {
        let mut backwards = Digest::default();
        for index in (0..100).rev() {
            backwards.add(&key(index), &value(index, 0));
        }
        assert_eq!(backwards, Digest::of_entries(100, 0));
        assert_ne!(backwards, Digest::of_entries(100, 1));
    }
}
