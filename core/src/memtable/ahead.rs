//! Searches that take turns, to ask for the memory that others are about to wait for: see
//! `list::Search`, and `btree::ahead`, which does it for trees.

use super::Memtable;
use super::list::Search;
use crate::format::run::filter_hash;
use crate::limits::AHEAD_KEYS_MAX;

impl Memtable {
    /// Asks for what [`may_hold`](Self::may_hold) looks at.
    #[inline]
    pub fn prefetch_filter(&self, hash: u64) {
        self.filter.prefetch(hash);
    }

    /// Whether a key with that hash for filters may be there; `false` is certain, but for
    /// range deletes.
    #[inline]
    #[must_use]
    pub fn may_hold(&self, hash: u64) -> bool {
        self.filter.may_hold(hash)
    }

    /// Asks for the memory that inserts or lookups of `keys`, each with its table, would wait
    /// for; the first [`AHEAD_KEYS_MAX`] of them.
    pub fn prefetch<'k>(&self, keys: impl Iterator<Item = (u32, &'k [u8])>) {
        let mut searches = [const { None }; AHEAD_KEYS_MAX];
        for (search, (table, key)) in searches.iter_mut().zip(keys) {
            if self.filter.is_there() {
                self.filter.prefetch(filter_hash(table, key));
            }
            let target = self.target(table, key, u64::MAX);
            *search = Some((Search::new(&self.arena, &target), target));
        }
        loop {
            let mut goes_on = false;
            for place in &mut searches {
                if let Some((search, target)) = place {
                    if search.step(target) {
                        *place = None;
                    } else {
                        goes_on = true;
                    }
                }
            }
            if !goes_on {
                return;
            }
        }
    }
}
