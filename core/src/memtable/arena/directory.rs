//! Where searches begin: the list's tall entries, with their ranks, in an array.
//!
//! On its way down from the sentinel, a search steps onto some ten entries that have
//! nothing to do with its target but to be tall. Their ranks side by side are found by
//! halving, in a few cache lines that are used by every search.
//!
//! # Invariants
//! * Each word is one entry's rank and offset: of one that was linked on [`LEVEL`], in
//!   this life of the arena. Words move while others read; any word that is read is
//!   whole, so that any of them whose rank is below the target's is a place to begin at.
//!   The nearest one is only the quickest.
//! * The pen alone changes words. What lies behind the count was never read in this life.
//! * With more tall entries than words it is given up until the next life: a part of
//!   them would send searches along the list.

use super::LEVELS_MAX;
use crate::error::Result;
use crate::mem::{Array, Budget};
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use lightning_platform::MemoryUse;

/// The level that an entry has to reach: one in 64 does.
pub(super) const LEVEL: u32 = 5;
/// An arena has a word for so many bytes: enough for entries of 64 bytes.
const BYTES_A_WORD: usize = 4_096;
/// The count of a directory that was given up.
const GIVEN_UP: u32 = u32::MAX;

const _: () = assert!((LEVEL as usize) < LEVELS_MAX);

/// See the module.
pub(super) struct Directory {
    words: Array<AtomicU64>,
    count: AtomicU32,
}

fn rank_in(word: u64) -> u32 {
    (word >> 32) as u32
}

impl Directory {
    /// For an arena of so many bytes and levels; without words where few of its entries
    /// are tall.
    pub(super) fn new(budget: &mut Budget, arena_bytes: usize, levels: u32) -> Result<Self> {
        let count = if levels > LEVEL + 1 {
            arena_bytes / BYTES_A_WORD
        } else {
            0
        };
        Ok(Self {
            words: Array::new(budget, MemoryUse::Structure, count, |_| AtomicU64::new(0))?,
            count: AtomicU32::new(0),
        })
    }

    /// Empties it. Only called where nobody else uses it.
    pub(super) fn clear(&self) {
        self.count.store(0, Ordering::Relaxed);
    }

    /// Adds an entry that was linked on the level. Only called by the pen.
    pub(super) fn insert(&self, rank: u32, offset: u32) {
        let count = self.count.load(Ordering::Relaxed);
        if count == GIVEN_UP || self.words.is_empty() {
            return;
        }
        let Some((last, words)) = self
            .words
            .get(..=count as usize)
            .and_then(<[AtomicU64]>::split_last)
        else {
            self.count.store(GIVEN_UP, Ordering::Release);
            return;
        };
        let place = words.partition_point(|word| rank_in(word.load(Ordering::Relaxed)) < rank);
        let mut above = last;
        for word in words.iter().skip(place).rev() {
            above.store(word.load(Ordering::Relaxed), Ordering::Release);
            above = word;
        }
        above.store(u64::from(rank) << 32 | u64::from(offset), Ordering::Release);
        self.count.store(count + 1, Ordering::Release);
    }

    /// The offset of an entry whose rank is below `rank`, with none or few tall entries
    /// between it and those of that rank; `None` where none is known.
    #[inline]
    pub(super) fn before(&self, rank: u32) -> Option<u32> {
        let count = self.count.load(Ordering::Acquire) as usize;
        let words = self.words.get(..count)?;
        let place = words.partition_point(|word| rank_in(word.load(Ordering::Relaxed)) < rank);
        // Where ranks say little, the list's own way is the quicker one.
        let ties = words.get(place..)?.iter().take(2);
        if ties
            .filter(|word| rank_in(word.load(Ordering::Relaxed)) == rank)
            .count()
            == 2
        {
            return None;
        }
        let word = words.get(place.checked_sub(1)?)?.load(Ordering::Acquire);
        (rank_in(word) < rank).then_some(word as u32)
    }
}
