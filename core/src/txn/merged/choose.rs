//! Which key comes next, which source decides about it, and whether it is seen.

use super::super::front::places;
use super::super::version::SourceId;
use super::{FIRST_SHARED, Held, MergedCursor, OWN, Reached, TREE};
use crate::format::bytes::put;
use crate::format::leaf::EntryKind;
use crate::memtable::{Entry, RecordKind};
use crate::run::RunCursor;
use core::cmp::Ordering;

impl<'e> MergedCursor<'e> {
    /// The sources that may stand on the next key: those whose first bytes are nearest.
    #[inline]
    pub(super) fn nearest(&self) -> u32 {
        let mut nearest = 0;
        let mut best = 0;
        for source in places(self.standing) {
            let head = self.heads.get(source).copied().unwrap_or(0);
            let is_nearer = if self.forward {
                head < best
            } else {
                head > best
            };
            if nearest == 0 || is_nearer {
                best = head;
                nearest = 1 << source;
            } else if head == best {
                nearest |= 1 << source;
            }
        }
        nearest
    }

    /// Finds the next key among those of the `nearest` sources, in an epoch where a shared
    /// memtable is among them.
    pub(super) fn choose(&mut self, nearest: u32) -> Reached {
        let wanted = if self.forward {
            Ordering::Less
        } else {
            Ordering::Greater
        };
        let mut at_key = 0;
        let mut winner = TREE;
        let mut best: Option<&[u8]> = None;
        let mut given: Option<Entry<'e>> = None;
        for source in places(nearest) {
            let entry = self.memtable_entry(source);
            let key = match &entry {
                Some(entry) => entry.key(),
                None if source == TREE => self.tree_key(),
                None => self.run_key(source),
            };
            let order = best.map_or(wanted, |best: &[u8]| <[u8]>::cmp(key, best));
            if order == wanted {
                best = Some(key);
                winner = source;
                given = entry;
                at_key = 1 << source;
            } else if order == Ordering::Equal {
                at_key |= 1 << source;
            }
        }
        let Some(key) = best else {
            return Reached::Nowhere;
        };
        let is_gone = !self.is_seen(key, winner, given.as_ref());
        let is_shown = !is_gone || self.shows_gone;
        self.at_key = at_key;
        self.winner = winner;
        self.is_gone = is_gone;
        match given {
            Some(entry) => self.take(&entry, is_shown),
            // Should a memtable be exchanged before the next step, that seeks from here.
            None if self.memtables & !(1 << OWN) != 0 => self.keep_key(),
            None => {}
        }
        if is_shown {
            Reached::Seen
        } else {
            Reached::Hidden
        }
    }

    /// What a source stands on, if that is a memtable.
    #[inline]
    fn memtable_entry(&self, source: usize) -> Option<Entry<'e>> {
        if self.memtables & 1 << source == 0 {
            return None;
        }
        let (memtable, _) = self.memtable(source)?;
        self.marks.get(source)?.entry(memtable)
    }

    /// Copies what a memtable gave, while the epoch lasts.
    fn take(&mut self, entry: &Entry<'e>, with_value: bool) {
        let key = entry.key();
        if put(&mut self.memory.current, 0, key) {
            self.current_bytes = key.len();
        }
        if !with_value {
            return;
        }
        let value = entry.value();
        self.held = if put(&mut self.memory.value, 0, value) {
            Held::Copied {
                is_extent: entry.kind() == RecordKind::Extent,
                value_bytes: value.len(),
                expiry_ms: entry.expiry_ms(),
                metadata: entry.metadata(),
            }
        } else {
            let place = self.winner.checked_sub(FIRST_SHARED);
            let word = place.and_then(|place| self.words.get(place));
            let id = word.copied().unwrap_or(SourceId::NONE);
            Held::Lent(self.view.lend(*entry, id))
        };
    }

    fn is_seen(&self, key: &[u8], winner: usize, given: Option<&Entry<'_>>) -> bool {
        let (is_put, sequence, expiry_ms) = if let Some(entry) = given {
            let is_put = entry.kind() != RecordKind::Delete;
            (is_put, entry.sequence(), entry.expiry_ms())
        } else if winner == TREE {
            if self.tree.is_plain() {
                (true, 0, None)
            } else {
                let Some(entry) = self.tree.entry() else {
                    return false;
                };
                (entry.kind != EntryKind::Tombstone, 0, entry.expiry_ms)
            }
        } else {
            let run = self
                .runs
                .get(winner.wrapping_sub(FIRST_SHARED))
                .and_then(Option::as_ref);
            if self.ranged == 0 && run.is_some_and(RunCursor::is_plain_put) {
                return true;
            }
            let Some(entry) = run.and_then(RunCursor::entry) else {
                return false;
            };
            let is_put = entry.kind != EntryKind::Tombstone;
            (is_put, entry.sequence, entry.expiry_ms)
        };
        is_put && !self.view.is_expired(expiry_ms) && !self.is_covered(key, winner, sequence)
    }

    /// Whether a newer source, or the same one later, hides a key by a range tombstone.
    fn is_covered(&self, key: &[u8], winner: usize, sequence: u64) -> bool {
        let table = self.view.root.table;
        places(self.ranged)
            .take_while(|source| *source <= winner)
            .any(|source| {
                let covering = match self.memtable(source) {
                    Some((memtable, up_to)) => memtable.covering(table, key, up_to),
                    None => self
                        .runs
                        .get(source.wrapping_sub(FIRST_SHARED))
                        .and_then(Option::as_ref)
                        .map_or(0, |cursor| {
                            cursor.run().covering(table, key, self.view.sequence)
                        }),
                };
                covering > if source == winner { sequence } else { 0 }
            })
    }
}
