//! Which key comes next, which source decides about it, and whether it is seen.

use super::super::front::places;
use super::super::version::SourceId;
use super::{FIRST_SHARED, Held, MergedCursor, Reached, TREE};
use crate::format::bytes::put;
use crate::format::leaf::EntryKind;
use crate::memtable::{Entry, RecordKind};
use crate::run::RunCursor;
use core::cmp::Ordering;

impl<'e> MergedCursor<'e> {
    /// Finds the next key among where the sources stand, in an epoch where a memtable
    /// is among them.
    pub(super) fn choose(&mut self) -> Reached {
        let wanted = if self.forward {
            Ordering::Less
        } else {
            Ordering::Greater
        };
        let mut at_key = 0;
        let mut winner = TREE;
        let mut best: Option<&[u8]> = None;
        let mut given: Option<Entry<'e>> = None;
        let mut consider = |source: usize, key, entry| {
            let order = best.map_or(wanted, |best: &[u8]| <[u8]>::cmp(key, best));
            if order == wanted {
                best = Some(key);
                at_key = 0;
            } else if order != Ordering::Equal {
                return;
            }
            // A run that was ingested may be newer than a memtable.
            if at_key == 0 || source < winner {
                winner = source;
                given = entry;
            }
            at_key |= 1 << source;
        };
        for source in self.memtable_sources() {
            let mark = self.marks.get(source);
            if let Some((memtable, _)) = self.memtable(source)
                && let Some(entry) = mark.and_then(|mark| mark.entry(memtable))
            {
                consider(source, entry.key(), Some(entry));
            }
        }
        for place in places(self.view.relevant) {
            let source = place + FIRST_SHARED;
            let run = self.runs.get(place).and_then(Option::as_ref);
            if run.is_some_and(RunCursor::is_valid) {
                consider(source, self.run_key(source), None);
            }
        }
        if self.tree.is_valid() {
            consider(TREE, self.tree_key(), None);
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
            None if self.has_memtables => self.keep_key(),
            None => {}
        }
        if is_shown {
            Reached::Seen
        } else {
            Reached::Hidden
        }
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
            let Some(entry) = self.tree.entry() else {
                return false;
            };
            (entry.kind != EntryKind::Tombstone, 0, entry.expiry_ms)
        } else {
            let run = self
                .runs
                .get(winner.wrapping_sub(FIRST_SHARED))
                .and_then(Option::as_ref);
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
        let hides =
            |source: usize, covering: u64| covering > if source == winner { sequence } else { 0 };
        self.memtable_sources()
            .take_while(|source| *source <= winner)
            .any(|source| {
                self.memtable(source).is_some_and(|(memtable, up_to)| {
                    hides(source, memtable.covering(table, key, up_to))
                })
            })
            || places(self.view.relevant)
                .take_while(|place| place + FIRST_SHARED <= winner)
                .any(|place| {
                    let run = self.runs.get(place).and_then(Option::as_ref);
                    run.is_some_and(|cursor| {
                        let run = cursor.run();
                        let covering = run.covering(table, key, self.view.sequence);
                        hides(place + FIRST_SHARED, covering)
                    })
                })
    }
}
