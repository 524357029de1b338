//! Ranks: 32 bits of an entry's place in the order, that stand beside the links of the
//! list, so that a search compares whole keys only where ranks tie.
//!
//! Eight bits are the table's, 24 the key's: its first three bytes. Keys of a table often
//! begin alike (`user:000123`), so that these say nothing, and a search pays a cache miss
//! for each comparison. So before a life of it begins, a memtable *learns* what the keys
//! began with in the one that was filled before it; in that life the ranks of keys that
//! begin so are made of what stands behind it. Where that is decimal digits, a rank holds six of them instead of
//! three. All other keys keep their own first bits, but for two.
//!
//! # Invariants
//! * A rank never contradicts the order: an entry before another one has no higher rank.
//! * Within a life it follows from table and key alone: what was learned changes only
//!   where the memtable is empty and nobody else is near.

use super::arena::{Arena, Node};
use crate::format::bytes::{common_prefix_bytes, head_of};
use crate::sync::{AtomicU64, Ordering};

/// Tables from this number on share their eight bits, and differ in the rest.
const TABLE_RANK_MAX: u32 = 255;
/// So many bytes of what keys begin with are heeded.
const PREFIX_WORDS: usize = 3;
const PREFIX_BYTES_MAX: usize = PREFIX_WORDS * 8;
/// A life with fewer entries teaches nothing: its lists are short.
const ENTRIES_MIN: u32 = 1_024;
/// So many entries, spread over the list, are enough to learn from.
const SAMPLE: usize = 32;

/// Ranks of keys with what was learned begin here, those of keys after them there.
const WITHIN: u32 = 1 << 22;
const ABOVE: u32 = WITHIN + (1 << 23);
/// Digits that a rank holds, each as one of twelve: less than a digit, a digit, more.
const DIGITS: usize = 6;
const DIGIT_CLASSES: u32 = 12;
const _: () = assert!(DIGIT_CLASSES.pow(DIGITS as u32) <= ABOVE - WITHIN);

/// In the word that says what was learned, beside the table in the upper half.
const IS_LEARNED: u64 = 1 << 8;
const IS_DECIMAL: u64 = 1 << 9;
const LENGTH_MASK: u64 = 0xFF;

/// See the module.
pub(super) struct Ranks {
    /// The table of which something was learned, the length of what its keys begin with,
    /// and whether digits follow; 0: nothing was learned.
    learned: AtomicU64,
    /// What they begin with, in big-endian words.
    prefix: [AtomicU64; PREFIX_WORDS],
}

impl Ranks {
    /// Of a memtable that has learned nothing.
    pub(super) fn new() -> Self {
        Self {
            learned: AtomicU64::new(0),
            prefix: core::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// The rank of an entry.
    #[inline]
    pub(super) fn of(&self, table: u32, key: &[u8]) -> u32 {
        match table.checked_sub(TABLE_RANK_MAX) {
            None => {
                let learned = self.learned.load(Ordering::Relaxed);
                let of_key = if learned >> 32 == u64::from(table) && learned & IS_LEARNED != 0 {
                    self.of_learned(learned, key)
                } else {
                    head_of(key) >> 8
                };
                table << 24 | of_key
            }
            Some(above) => TABLE_RANK_MAX << 24 | above.min(0x00FF_FFFF),
        }
    }

    /// The key's part, in the table of which something was learned.
    fn of_learned(&self, learned: u64, key: &[u8]) -> u32 {
        let bytes = self.prefix_bytes();
        let length = (learned & LENGTH_MASK) as usize;
        let prefix = bytes.get(..length).unwrap_or(&bytes);
        match key.strip_prefix(prefix) {
            Some(rest) if learned & IS_DECIMAL != 0 => WITHIN + digits_of(rest),
            Some(rest) => WITHIN + (head_of(rest) >> 9),
            None if key < prefix => head_of(key) >> 10,
            None => ABOVE + (head_of(key) >> 10),
        }
    }

    fn prefix_bytes(&self) -> [u8; PREFIX_BYTES_MAX] {
        let mut bytes = [0; PREFIX_BYTES_MAX];
        let (chunks, _) = bytes.as_chunks_mut::<8>();
        for (chunk, word) in chunks.iter_mut().zip(&self.prefix) {
            *chunk = word.load(Ordering::Relaxed).to_be_bytes();
        }
        bytes
    }

    /// Learns from the entries in an arena. Only called where nobody else uses the
    /// memtable of these ranks, which is empty, or emptied at once.
    pub(super) fn learn(&self, arena: &Arena, entries: u32) {
        if entries < ENTRIES_MIN {
            return;
        }
        let Some((low, high)) = quartiles(arena) else {
            return;
        };
        let ((table, low, _), (high_table, high, _)) = (low.place(), high.place());
        let length = common_prefix_bytes(low, high).min(PREFIX_BYTES_MAX);
        let is_decimal = [low, high].iter().all(|key| {
            let mut behind = key.iter().skip(length).take(DIGITS).peekable();
            behind.peek().is_some() && behind.all(u8::is_ascii_digit)
        });
        if table != high_table || (length == 0 && !is_decimal) {
            self.learned.store(0, Ordering::Relaxed);
            return;
        }
        let mut bytes = [0; PREFIX_BYTES_MAX];
        for (byte, of_key) in bytes.iter_mut().zip(low.iter().take(length)) {
            *byte = *of_key;
        }
        let (chunks, _) = bytes.as_chunks::<8>();
        for (word, chunk) in self.prefix.iter().zip(chunks) {
            word.store(u64::from_be_bytes(*chunk), Ordering::Relaxed);
        }
        let decimal = if is_decimal { IS_DECIMAL } else { 0 };
        let learned = u64::from(table) << 32 | IS_LEARNED | decimal | length as u64;
        self.learned.store(learned, Ordering::Relaxed);
    }
}

/// The first digits of what stands behind the common part, in an order that never
/// contradicts that of the bytes: what isn't a digit ends it.
fn digits_of(rest: &[u8]) -> u32 {
    let mut rank = 0;
    let mut bytes = rest.iter();
    for _ in 0..DIGITS {
        let class = match bytes.next() {
            Some(digit @ b'0'..=b'9') => u32::from(digit - b'0') + 1,
            Some(byte) if *byte > b'9' => {
                bytes = [].iter();
                DIGIT_CLASSES - 1
            }
            _ => {
                bytes = [].iter();
                0
            }
        };
        rank = rank * DIGIT_CLASSES + class;
    }
    rank
}

/// Two entries, a quarter of all before the first and behind the second; `None` where
/// there are few. Those of a high level are taken, which are spread over the list.
fn quartiles(arena: &Arena) -> Option<(Node<'_>, Node<'_>)> {
    let mut start = arena.top();
    let count = loop {
        let mut count = 0_usize;
        let mut rung = start;
        while let Some(next) = rung.next() {
            rung = next;
            count += 1;
        }
        if count >= SAMPLE {
            break count;
        }
        start = start.down()?;
    };
    let mut found = [None; 2];
    let mut rung = start;
    for index in 0..count {
        rung = rung.next()?;
        let quarter = index * 4 / count;
        if let Some(place) = found.get_mut(usize::from(quarter >= 3))
            && quarter >= 1
            && place.is_none()
        {
            *place = rung.node();
        }
    }
    let [low, high] = found;
    low.zip(high)
}

#[cfg(test)]
mod tests;
