//! Putting all sources in place, together where the next key is sought.
//!
//! Each source is a chain of places in memory of which most are in no near cache, and a
//! place says where the next one is: alone, a search waits for each. So all searches, in
//! memtables, runs and tree, take turns in one epoch, each asking for its next place
//! before the others have their turn.
//!
//! What meets a page that isn't in memory, is sought again in the ordinary way.

use super::super::front::places;
use super::super::lent::CursorMemory;
use super::super::version::{MEMTABLES_MAX, SourceId};
use super::{FIRST_SHARED, MergedCursor, Move, OWN, TREE, memtable_of, note};
use crate::btree::{CursorPosition, Descent, Step};
use crate::error::{Error, Result};
use crate::memtable::{KeySearch, SoughtKey};
use crate::run::{RunCursor, run_key};

impl MergedCursor<'_> {
    /// Puts all sources in place anew. Answers which memtables are still to be moved.
    pub(super) fn seek_sources(&mut self, way: Move<'_>) -> Result<u32> {
        self.standing = 0;
        let is_forward = match way {
            Move::To(position) => matches!(position, CursorPosition::AtOrAfter(_)),
            Move::Beyond => self.forward,
            Move::Step(_) => false,
        };
        if is_forward && !self.view.is_tree_only() {
            let there = self.seek_together(way)?;
            self.move_pages(way, there)?;
            return Ok(0);
        }
        self.load_words()?;
        self.move_pages(way, 0)?;
        Ok(self.memtables)
    }

    /// Reads which sources there are now. What they say of memtables is good for the epoch
    /// that the caller is in, if any.
    fn load_words(&mut self) -> Result<()> {
        self.memtables = 0;
        self.ranged = 0;
        if let Some(own) = self.view.own {
            self.memtables |= 1 << OWN;
            if own.range_tombstones().next().is_some() {
                self.ranged |= 1 << OWN;
            }
        }
        for place in places(self.view.relevant) {
            let id = self.view.source(place);
            let bit = 1 << (place + FIRST_SHARED);
            if id.memtable().is_some() {
                self.memtables |= bit;
                // To look for some takes an epoch.
                self.ranged |= bit;
            } else if let Some((_, run)) = self.view.run(id)
                && run.record().range_tombstones > 0
            {
                self.ranged |= bit;
            }
            if let Some(word) = self.words.get_mut(place) {
                *word = id;
            }
            if id == SourceId::GONE {
                return Err(Error::SnapshotTooOld);
            }
        }
        Ok(())
    }

    pub(super) fn words_changed(&self) -> bool {
        places(self.view.memtables).any(|place| {
            self.words
                .get(place)
                .is_some_and(|word| self.view.source(place) != *word)
        })
    }

    /// Reads which sources there are now, moves the memtables among them to the first key
    /// at or behind the one that `way` names, and makes the descents of the others.
    /// Answers which of these have reached their leaves.
    fn seek_together(&mut self, way: Move<'_>) -> Result<u32> {
        let pager = self.pager;
        let traversal = pager.enter();
        self.load_words()?;
        let CursorMemory {
            current,
            keys,
            key_bytes,
            ..
        } = &mut *self.memory;
        let current = current.get(..self.current_bytes).unwrap_or(&[]);
        let key = match way {
            Move::To(CursorPosition::AtOrAfter(key)) => key,
            _ => current,
        };
        let table = self.view.root.table;
        let sequence = self.view.sequence;

        let mut descents = [const { None }; TREE + 1];
        let mut descending = 0_u32;
        let mut run_key_area = None;
        for place in places(self.view.relevant) {
            let source = place + FIRST_SHARED;
            let id = self.words.get(place).copied().unwrap_or(SourceId::NONE);
            let (Some((_, run)), Some(slot)) = (self.view.run(id), self.runs.get_mut(place)) else {
                continue;
            };
            let cursor = slot
                .get_or_insert_with(|| RunCursor::new(pager, run, table, sequence, self.may_read));
            if let Some(place) = descents.get_mut(source) {
                *place = cursor.begin_descent(&traversal);
                descending |= u32::from(place.is_some()) << source;
            }
            run_key_area = run_key_area.or(Some(source * *key_bytes));
        }
        let tree_descent = Descent::begin(&mut self.tree, &traversal);
        descending |= u32::from(tree_descent.is_some()) << TREE;
        if let Some(place) = descents.last_mut() {
            *place = tree_descent;
        }
        // The areas of keys are free until the runs have their entries.
        let sought_in_runs = match run_key_area.and_then(|start| keys.get_mut(start..)) {
            Some(area) => run_key(area, table, key)?,
            None => &[],
        };

        let sought = SoughtKey::new(table, key);
        let mut searches = [const { None }; MEMTABLES_MAX + 1];
        for source in places(self.memtables) {
            if let (Some((memtable, _)), Some(search)) = (
                memtable_of(&self.view, &self.words, source),
                searches.get_mut(source),
            ) {
                *search = Some(KeySearch::new(memtable, &sought));
            }
        }

        let mut there = 0_u32;
        let mut searching = self.memtables;
        while descending | searching != 0 {
            for source in places(descending) {
                let step = match descents.get_mut(source) {
                    Some(Some(descent)) if source == TREE => {
                        descent.step(&mut self.tree, &traversal, key)
                    }
                    Some(Some(descent)) => match self.runs.get_mut(source - FIRST_SHARED) {
                        Some(Some(run)) => run.step_descent(descent, &traversal, sought_in_runs),
                        _ => Step::Missing,
                    },
                    _ => Step::Missing,
                };
                if step != Step::Further {
                    descending &= !(1 << source);
                    there |= u32::from(step == Step::There) << source;
                }
            }
            for source in places(searching) {
                let ended = match searches.get_mut(source) {
                    Some(Some(search)) => search.step(&sought),
                    _ => true,
                };
                searching &= !(u32::from(ended) << source);
            }
        }

        for source in places(self.memtables) {
            let (Some((memtable, sequence)), Some(Some(search)), Some(mark)) = (
                memtable_of(&self.view, &self.words, source),
                searches.get(source),
                self.marks.get_mut(source),
            ) else {
                continue;
            };
            mark.seek_found(*search, &sought);
            if matches!(way, Move::Beyond) {
                mark.leave(memtable, table, key);
            }
            mark.settle(memtable, table, sequence, true);
            let found = mark.entry(memtable).map(|entry| entry.key());
            note(&mut self.standing, &mut self.heads, source, found);
            if memtable.range_tombstones().next().is_none() {
                self.ranged &= !(1 << source);
            }
        }
        Ok(there)
    }
}

const _: () = assert!(OWN == 0 && MEMTABLES_MAX + 1 < TREE);
