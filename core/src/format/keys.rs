//! Keys as leaves and branches hold them (FORMAT.md 2.3): one prefix for all,
//! four-byte heads in an array, tails elsewhere.
//!
//! Let *rest* be a key without the prefix. Two rests compare as their heads
//! do; where these are equal, as their tails (what follows the head); where
//! these are equal too, both rests have at most four bytes or the same
//! length, and compare as their lengths.

use super::bytes::{common_prefix_bytes, put, varint_bytes};
use core::cmp::Ordering;

/// Bytes of a head.
pub(super) const HEAD_BYTES: usize = 4;
/// Up to so many heads, comparing all is faster than a binary search, whose
/// steps wait for one another.
const COUNTED_HEADS_MAX: usize = 32;

/// Room that a prefix takes with its padding.
#[inline]
pub(super) const fn padded(prefix_bytes: usize) -> usize {
    (prefix_bytes + 3) & !3
}

/// `key` without `prefix`, or on which side of all keys that begin with
/// `prefix` it stands (never `Equal`).
#[inline]
pub(super) fn rest_of<'k>(key: &'k [u8], prefix: &[u8]) -> Result<&'k [u8], Ordering> {
    match key.split_at_checked(prefix.len()) {
        Some((begin, rest)) if are_equal(begin, prefix) => Ok(rest),
        _ => Err(key.cmp(prefix)),
    }
}

/// Whether two byte strings are equal; without a call up to 32 bytes, which
/// is what prefixes and tails mostly have.
#[inline]
fn are_equal(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len()
        && match one.len() {
            0 => true,
            1..=2 => are_ends_equal::<1>(one, other),
            3..=4 => are_ends_equal::<2>(one, other),
            5..=8 => are_ends_equal::<4>(one, other),
            9..=16 => are_ends_equal::<8>(one, other),
            17..=32 => are_ends_equal::<16>(one, other),
            _ => one == other,
        }
}

/// Whether the first and the last `N` bytes, which may overlap, are equal.
#[inline]
fn are_ends_equal<const N: usize>(one: &[u8], other: &[u8]) -> bool {
    one.first_chunk::<N>() == other.first_chunk() && one.last_chunk::<N>() == other.last_chunk()
}

/// What of a rest follows the head.
#[inline]
pub(super) fn tail_of(rest: &[u8]) -> &[u8] {
    rest.get(HEAD_BYTES..).unwrap_or(&[])
}

/// The number of heads below `head`.
#[inline]
pub(super) fn heads_below(heads: &[[u8; 4]], head: u32) -> usize {
    if heads.len() <= COUNTED_HEADS_MAX {
        return heads
            .iter()
            .filter(|stored| u32::from_le_bytes(**stored) < head)
            .count();
    }
    heads.partition_point(|stored| u32::from_le_bytes(*stored) < head)
}

/// The number of heads up to `head`.
#[inline]
pub(super) fn heads_up_to(heads: &[[u8; 4]], head: u32) -> usize {
    heads.partition_point(|stored| u32::from_le_bytes(*stored) <= head)
}

/// The head at `index`.
#[inline]
pub(super) fn head_at(heads: &[[u8; 4]], index: usize) -> Option<u32> {
    heads.get(index).map(|stored| u32::from_le_bytes(*stored))
}

/// The first index from `low` to `high` that `is_before` doesn't hold for.
#[inline]
pub(super) fn partition(
    mut low: usize,
    mut high: usize,
    is_before: impl Fn(usize) -> bool,
) -> usize {
    while low < high {
        let middle = low + (high - low) / 2;
        if is_before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// A rest as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct StoredRest<'a> {
    /// The head.
    pub(super) head: u32,
    /// Length of the rest.
    pub(super) bytes: usize,
    /// What follows the head.
    pub(super) tail: &'a [u8],
}

impl StoredRest<'_> {
    /// Compares this with a `rest` of the same head.
    #[inline]
    pub(super) fn compare_behind_head(&self, rest: &[u8]) -> Ordering {
        let tail = tail_of(rest);
        let order = if are_equal(self.tail, tail) {
            Ordering::Equal
        } else {
            self.tail.cmp(tail)
        };
        order.then(self.bytes.cmp(&rest.len()))
    }

    /// Compares this with a `rest`.
    #[inline]
    pub(super) fn compare(&self, rest: &[u8]) -> Ordering {
        self.head
            .cmp(&super::bytes::head_of(rest))
            .then_with(|| self.compare_behind_head(rest))
    }

    /// Compares two rests of one page.
    #[inline]
    pub(super) fn compare_stored(&self, other: &StoredRest<'_>) -> Ordering {
        (self.head, self.tail, self.bytes).cmp(&(other.head, other.tail, other.bytes))
    }

    /// Whether the head has zeros for the bytes that it doesn't have, and the tail its length.
    #[inline]
    pub(super) fn is_whole(&self) -> bool {
        let missing_bits = HEAD_BYTES.saturating_sub(self.bytes) as u32 * 8;
        let missing = 1_u64
            .checked_shl(missing_bits)
            .map_or(u64::MAX, |bit| bit - 1);
        u64::from(self.head) & missing == 0
            && self.tail.len() == self.bytes.saturating_sub(HEAD_BYTES)
    }

    /// Writes `prefix` and this to the beginning of `buffer`; answers the
    /// length, 0 where they don't fit.
    #[inline]
    pub(super) fn copy(&self, prefix: &[u8], buffer: &mut [u8]) -> usize {
        let head = self.head.to_be_bytes();
        let head = head.get(..self.bytes).unwrap_or(&head);
        let length = prefix.len() + head.len() + self.tail.len();
        let Some(buffer) = buffer.get_mut(..length) else {
            return 0;
        };
        let Some((to, behind)) = buffer.split_at_mut_checked(prefix.len()) else {
            return 0;
        };
        put(to, 0, prefix);
        let Some((to, behind)) = behind.split_at_mut_checked(head.len()) else {
            return 0;
        };
        put(to, 0, head);
        put(behind, 0, self.tail);
        length
    }
}

/// What a growing sequence of keys in ascending order takes in a page, exactly.
///
/// The prefix only ever shrinks, and what that does to rests of up to four
/// bytes is known from their number by length.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct KeySizes {
    count: usize,
    prefix_bytes: usize,
    total_bytes: usize,
    total_varint_bytes: usize,
    first_bytes: usize,
    differ: bool,
    /// Number of rests of 0, 1, 2, 3 and 4 bytes.
    short: [usize; HEAD_BYTES + 1],
}

impl KeySizes {
    /// With `key` appended; `first` is the first of all.
    #[inline]
    pub(super) fn with(mut self, first: &[u8], key: &[u8]) -> Self {
        if self.count == 0 {
            self.prefix_bytes = key.len();
            self.first_bytes = key.len();
        } else {
            let prefix = first.get(..self.prefix_bytes).unwrap_or(first);
            let shared = common_prefix_bytes(prefix, key);
            if shared < self.prefix_bytes {
                let mut short = [0; HEAD_BYTES + 1];
                let grown = self.prefix_bytes - shared;
                for (to, from) in short.iter_mut().skip(grown).zip(self.short) {
                    *to = from;
                }
                self.short = short;
                self.prefix_bytes = shared;
            }
            self.differ |= key.len() != self.first_bytes;
        }
        if let Some(number) = self
            .short
            .get_mut(key.len().saturating_sub(self.prefix_bytes))
        {
            *number += 1;
        }
        self.count += 1;
        self.total_bytes = self.total_bytes.saturating_add(key.len());
        self.total_varint_bytes += varint_bytes(key.len() as u64);
        self
    }

    /// Whether `key` changes no length and no prefix: there is a key, all have its
    /// length, and it begins with what all begin with. `first` is the first of all.
    #[inline]
    pub(super) fn is_alike(&self, first: &[u8], key: &[u8]) -> bool {
        self.count > 0
            && !self.differ
            && key.len() == self.first_bytes
            && match (first.get(..self.prefix_bytes), key.get(..self.prefix_bytes)) {
                (Some(one), Some(other)) => are_equal(one, other),
                _ => false,
            }
    }

    /// Bytes of the tail of a key that [`is_alike`](Self::is_alike).
    #[inline]
    pub(super) fn alike_tail_bytes(&self) -> usize {
        self.first_bytes
            .saturating_sub(self.prefix_bytes + HEAD_BYTES)
    }

    /// Appends a key that [`is_alike`](Self::is_alike).
    #[inline]
    pub(super) fn add_alike(&mut self) {
        let rest_bytes = self.first_bytes.saturating_sub(self.prefix_bytes);
        if let Some(number) = self.short.get_mut(rest_bytes) {
            *number += 1;
        }
        self.count += 1;
        self.total_bytes = self.total_bytes.saturating_add(self.first_bytes);
        self.total_varint_bytes += varint_bytes(self.first_bytes as u64);
    }

    /// Number of keys.
    #[inline]
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Length of the prefix: the longest that all keys have.
    #[inline]
    pub(super) fn prefix_bytes(&self) -> usize {
        self.prefix_bytes
    }

    /// The length of every rest, where they have one.
    #[inline]
    pub(super) fn fixed_rest_bytes(&self) -> Option<usize> {
        (!self.differ).then(|| self.first_bytes.saturating_sub(self.prefix_bytes))
    }

    /// Bytes of all keys' lengths as varints.
    #[inline]
    pub(super) fn length_bytes(&self) -> usize {
        self.total_varint_bytes
    }

    /// Bytes of all tails.
    #[inline]
    pub(super) fn tail_bytes(&self) -> usize {
        let missing: usize = self
            .short
            .iter()
            .enumerate()
            .map(|(bytes, number)| (HEAD_BYTES - bytes) * number)
            .sum();
        self.total_bytes
            .saturating_add(missing)
            .saturating_sub(self.count * (self.prefix_bytes + HEAD_BYTES))
    }

    /// Bytes of the lengths, as varints, of the keys that have a tail.
    #[inline]
    pub(super) fn tailed_length_bytes(&self) -> usize {
        let untailed: usize = self
            .short
            .iter()
            .enumerate()
            .map(|(bytes, number)| number * varint_bytes((self.prefix_bytes + bytes) as u64))
            .sum();
        self.total_varint_bytes.saturating_sub(untailed)
    }
}

#[cfg(test)]
mod tests {
    use super::super::bytes::head_of;
    use super::*;

    fn stored(rest: &[u8]) -> StoredRest<'_> {
        StoredRest {
            head: head_of(rest),
            bytes: rest.len(),
            tail: tail_of(rest),
        }
    }

    #[test]
    fn rests_order_as_keys() {
        let rests: [&[u8]; 12] = [
            b"",
            b"\0",
            b"\0\0\0\0",
            b"\0\0\0\0\0",
            b"\0\0\0\0a",
            b"a",
            b"a\0",
            b"a\0\0\0\0",
            b"abcd",
            b"abcd\0",
            b"abcde",
            b"\xFF",
        ];
        for one in rests {
            assert!(stored(one).is_whole());
            for other in rests {
                assert_eq!(stored(one).compare(other), one.cmp(other));
                assert_eq!(stored(one).compare_stored(&stored(other)), one.cmp(other));
            }
        }
    }

    #[test]
    fn what_a_head_does_not_have_must_be_zeros() {
        for bytes in 0..=4 {
            let rest = StoredRest {
                head: 0x0101_0101,
                bytes,
                tail: &[],
            };
            assert_eq!(rest.is_whole(), bytes == 4);
        }
    }

    #[test]
    fn equality_of_all_lengths() {
        for length in 0..80 {
            let one: std::vec::Vec<u8> = (0..length).collect();
            assert!(are_equal(&one, &one.clone()));
            assert!(!are_equal(&one, &[&one[..], b"a"].concat()));
            for place in 0..usize::from(length) {
                let mut other = one.clone();
                other[place] ^= 0x80;
                assert!(!are_equal(&one, &other));
            }
        }
    }

    #[test]
    fn heads_are_counted_as_they_are_searched() {
        for count in 0..100_u32 {
            let heads: std::vec::Vec<[u8; 4]> = (0..count)
                .map(|head| (head / 2 * 7).to_le_bytes())
                .collect();
            for head in 0..count * 4 {
                let below = (0..count).filter(|one| one / 2 * 7 < head).count();
                assert_eq!(heads_below(&heads, head), below);
                let up_to = (0..count).filter(|one| one / 2 * 7 <= head).count();
                assert_eq!(heads_up_to(&heads, head), up_to);
            }
        }
    }

    #[test]
    fn keys_outside_the_prefix_are_placed() {
        assert_eq!(rest_of(b"abc", b"ab"), Ok(&b"c"[..]));
        assert_eq!(rest_of(b"ab", b"ab"), Ok(&b""[..]));
        assert_eq!(rest_of(b"a", b"ab"), Err(Ordering::Less));
        assert_eq!(rest_of(b"aa", b"ab"), Err(Ordering::Less));
        assert_eq!(rest_of(b"b", b"ab"), Err(Ordering::Greater));
    }
}
