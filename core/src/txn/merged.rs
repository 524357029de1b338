//! Many sources as one: a cursor over memtables, runs and a tree.
//!
//! Sources are ordered from the newest to the oldest: a transaction's own writes,
//! memtables and runs as the version lists them, the tree. At one key the newest source that says something decides;
//! a tombstone, a range tombstone of the same or a newer source, or an expiry that
//! has passed hides the key. With one source there is no merging to pay for.
//!
//! # Moving
//! The cursor remembers which sources stand on its key; moving on moves those. First
//! the runs and the tree move, which may read pages; then, in one epoch, the memtables,
//! and the next key is chosen. Between two moves nothing refers into a memtable: its
//! position is a mark, and what it gave was copied (a long value is lent, which keeps the
//! memtable until the cursor moves). So a memtable can be exchanged for its run while a
//! cursor rests; the next move finds that, and seeks again from its key, as turning
//! around does.

mod choose;
mod together;

use super::front::{Lent, View, places};
use super::lent::{CursorMemory, Stored, Visible, key_area};
use super::version::{MEMTABLES_MAX, SOURCES_MAX, SourceId};
use crate::btree::{CursorPosition, TreeCursor};
use crate::error::Result;
use crate::format::bytes::put;
use crate::format::leaf::EntryKind;
use crate::memtable::{Cursor, Memtable};
use crate::pager::Pager;
use crate::run::RunCursor;
use crate::sync::ExclusiveGuard;
use core::cmp::Ordering;

/// A transaction's own writes come first, the tree last.
const OWN: usize = 0;
const FIRST_SHARED: usize = 1;
pub(super) const TREE: usize = FIRST_SHARED + SOURCES_MAX;

/// What a memtable gave.
enum Held<'e> {
    Nothing,
    Copied {
        is_extent: bool,
        value_bytes: usize,
        expiry_ms: Option<u64>,
        metadata: Option<u8>,
    },
    Lent(Lent<'e>),
}

/// How the sources move.
#[derive(Clone, Copy)]
enum Move<'k> {
    To(CursorPosition<'k>),
    /// Beyond the current key, in the cursor's direction.
    Beyond,
    /// Those of a set, by one key.
    Step(u32),
}

/// What moving led to.
enum Reached {
    Nowhere,
    Seen,
    /// A key that isn't seen.
    Hidden,
    /// A memtable was exchanged meanwhile.
    Changed,
}

/// A cursor over a [`View`].
pub struct MergedCursor<'e> {
    pager: &'e Pager,
    view: View<'e>,
    may_read: bool,
    /// Whether keys that are not there are shown, too.
    shows_gone: bool,
    /// The sources, as they were when the cursor last sought.
    words: [SourceId; SOURCES_MAX],
    /// Those of them that are memtables, and those that have range tombstones.
    memtables: u32,
    ranged: u32,
    /// The sources that stand on a key, and the first bytes of that, so that most of them
    /// needn't be looked at to find which is next.
    standing: u32,
    heads: [u64; TREE + 1],
    marks: [Cursor; MEMTABLES_MAX + 1],
    runs: [Option<RunCursor<'e>>; SOURCES_MAX],
    tree: TreeCursor<'e>,
    memory: ExclusiveGuard<'e, CursorMemory>,
    tree_key_bytes: usize,
    current_bytes: usize,
    forward: bool,
    /// The sources that stand on the current key; 0: the cursor stands nowhere.
    at_key: u32,
    /// The source that decides.
    winner: usize,
    is_gone: bool,
    held: Held<'e>,
}

impl<'e> MergedCursor<'e> {
    /// A cursor that stands nowhere yet.
    #[inline]
    #[must_use]
    pub fn new(
        pager: &'e Pager,
        view: View<'e>,
        memory: ExclusiveGuard<'e, CursorMemory>,
        may_read: bool,
    ) -> Self {
        Self {
            pager,
            view,
            may_read,
            shows_gone: false,
            words: [SourceId::NONE; SOURCES_MAX],
            memtables: 0,
            ranged: 0,
            standing: 0,
            heads: [0; TREE + 1],
            marks: [Cursor::new(); MEMTABLES_MAX + 1],
            runs: [const { None }; SOURCES_MAX],
            tree: TreeCursor::new(pager, view.root, may_read),
            memory,
            tree_key_bytes: 0,
            current_bytes: 0,
            forward: true,
            at_key: 0,
            winner: TREE,
            is_gone: false,
            held: Held::Nothing,
        }
    }

    /// Has the cursor stop at keys that are not there, too, where a source above the tree
    /// says so: [`is_gone`](Self::is_gone) then tells.
    pub fn show_gone(&mut self) {
        self.shows_gone = true;
    }

    /// Whether the key that the cursor stands on is not there.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.is_gone
    }

    /// Key and value of the entry that the cursor stands on, where nothing is above
    /// the tree and the entry is a put without expiry and metadata: as
    /// [`entry`](Self::entry) has them, and quicker.
    #[inline]
    #[must_use]
    pub fn plain_entry(&self) -> Option<(&[u8], &[u8])> {
        if self.at_key != 1 << TREE || !self.view.is_tree_only() {
            return None;
        }
        Some((self.tree_key(), self.tree.plain_value()?))
    }

    /// The entry that the cursor stands on.
    #[must_use]
    pub fn entry(&self) -> Option<Visible<'_>> {
        if self.at_key == 0 {
            return None;
        }
        let key = self.key();
        if self.winner == TREE {
            let entry = self.tree.entry()?;
            return Some(Visible {
                key,
                value: Stored::of(entry.kind == EntryKind::Extent, entry.value),
                expiry_ms: entry.expiry_ms,
                metadata: entry.metadata,
            });
        }
        match &self.held {
            Held::Copied {
                is_extent,
                value_bytes,
                expiry_ms,
                metadata,
            } => Some(Visible {
                key,
                value: Stored::of(*is_extent, self.memory.value.get(..*value_bytes)?),
                expiry_ms: *expiry_ms,
                metadata: *metadata,
            }),
            Held::Lent(lent) => Some(Visible {
                key,
                value: lent.stored(),
                expiry_ms: lent.entry().expiry_ms(),
                metadata: lent.entry().metadata(),
            }),
            Held::Nothing => {
                let place = self.winner.checked_sub(FIRST_SHARED)?;
                let entry = self.runs.get(place)?.as_ref()?.entry()?;
                Some(Visible {
                    key,
                    value: Stored::of(entry.kind == EntryKind::Extent, entry.value),
                    expiry_ms: entry.expiry_ms,
                    metadata: entry.metadata,
                })
            }
        }
    }

    /// The key that the cursor stands on.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        if self.at_key == 0 {
            return &[];
        }
        if self.winner == TREE {
            return self.tree_key();
        }
        match &self.held {
            Held::Nothing => self.run_key(self.winner),
            Held::Copied { .. } | Held::Lent(_) => {
                self.memory.current.get(..self.current_bytes).unwrap_or(&[])
            }
        }
    }

    /// Whether the cursor stands on an entry.
    #[inline]
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.at_key != 0
    }

    /// Moves to a position; afterwards the cursor stands on an entry, or nowhere.
    ///
    /// # Errors
    /// I/O or corruption; the cursor then stands nowhere.
    pub fn seek(&mut self, position: CursorPosition<'_>) -> Result<()> {
        self.forward = matches!(
            position,
            CursorPosition::First | CursorPosition::AtOrAfter(_)
        );
        self.go(Move::To(position))
    }

    /// Moves to the next entry.
    ///
    /// # Errors
    /// As [`seek`](Self::seek).
    #[inline]
    pub fn advance(&mut self) -> Result<()> {
        if self.step_within_leaf(true) {
            return Ok(());
        }
        self.go_on(true)
    }

    /// Moves to the next entry and lends it, where it stands in the same leaf and is
    /// plain as in [`plain_entry`](Self::plain_entry); `None` where nothing has moved.
    pub fn advance_plain(&mut self) -> Option<(&[u8], &[u8])> {
        if self.step_within_leaf(true) {
            self.plain_entry()
        } else {
            None
        }
    }

    /// Moves to the entry before.
    ///
    /// # Errors
    /// As [`seek`](Self::seek).
    #[inline]
    pub fn retreat(&mut self) -> Result<()> {
        if self.step_within_leaf(false) {
            return Ok(());
        }
        self.go_on(false)
    }

    /// Moves within a leaf where nothing is above the tree. Whether that could be done;
    /// if not, nothing has moved.
    #[inline]
    fn step_within_leaf(&mut self, forward: bool) -> bool {
        let is_plain = self.at_key == 1 << TREE && self.view.is_tree_only();
        if !is_plain || self.forward != forward {
            return false;
        }
        let memory = &mut *self.memory;
        let stepped = memory
            .keys
            .get_mut(..memory.key_bytes)
            .and_then(|key| self.tree.step_within_leaf(forward, key));
        if let Some(key_bytes) = stepped {
            self.tree_key_bytes = key_bytes;
        }
        stepped.is_some()
    }

    fn go_on(&mut self, forward: bool) -> Result<()> {
        if self.at_key == 0 {
            return Ok(());
        }
        if self.forward != forward {
            self.keep_key();
            self.forward = forward;
            return self.go(Move::Beyond);
        }
        self.go(Move::Step(self.at_key))
    }

    fn tree_key(&self) -> &[u8] {
        self.memory.keys.get(..self.tree_key_bytes).unwrap_or(&[])
    }

    fn run_key(&self, source: usize) -> &[u8] {
        let start = source * self.memory.key_bytes;
        let area = self.memory.keys.get(start..).unwrap_or(&[]);
        self.runs
            .get(source.wrapping_sub(FIRST_SHARED))
            .and_then(Option::as_ref)
            .map_or(&[], |run| run.key(area))
    }

    /// Copies the current key to where seeking again looks for it.
    fn keep_key(&mut self) {
        if !matches!(self.held, Held::Nothing) {
            return;
        }
        let memory = &mut *self.memory;
        let key = if self.winner == TREE {
            memory.keys.get(..self.tree_key_bytes).unwrap_or(&[])
        } else {
            let area = memory.keys.get(self.winner * memory.key_bytes..);
            let run = self
                .runs
                .get(self.winner.wrapping_sub(FIRST_SHARED))
                .and_then(Option::as_ref);
            run.map_or(&[][..], |run| run.key(area.unwrap_or(&[])))
        };
        if put(&mut memory.current, 0, key) {
            self.current_bytes = key.len();
        }
    }

    fn go(&mut self, way: Move<'_>) -> Result<()> {
        let mut way = way;
        let mut is_first = true;
        self.at_key = 0;
        self.held = Held::Nothing;
        loop {
            let unmoved = match way {
                Move::Step(set) => {
                    self.move_pages(way, 0)?;
                    set & self.memtables
                }
                Move::To(_) | Move::Beyond => self.seek_sources(way)?,
            };
            if self.view.is_tree_only() && self.tree.is_valid() && self.tree.is_plain() {
                // Nothing is above the tree, and nothing in this leaf can be hidden.
                self.at_key = 1 << TREE;
                self.winner = TREE;
                return Ok(());
            }
            let reached = self.settle_memtables(way, unmoved);
            match reached {
                Reached::Nowhere | Reached::Seen => return Ok(()),
                Reached::Hidden => {
                    way = Move::Step(core::mem::take(&mut self.at_key));
                    is_first = false;
                }
                Reached::Changed => {
                    // Before anything was hidden, the caller's position is the one to seek.
                    way = match way {
                        Move::To(position) if is_first => Move::To(position),
                        _ => Move::Beyond,
                    };
                }
            }
        }
    }

    /// Moves those memtables that are left to be moved, and chooses; in an epoch where a
    /// memtable has to be looked at for either.
    fn settle_memtables(&mut self, way: Move<'_>, unmoved: u32) -> Reached {
        let shared = self.memtables & !(1 << OWN);
        let mut nearest = 0;
        if unmoved & shared == 0 {
            self.move_memtables(way, unmoved);
            nearest = self.nearest();
            if (nearest | self.ranged) & shared == 0 {
                return self.choose(nearest);
            }
        }
        let _traversal = self.pager.enter();
        if self.words_changed() {
            return Reached::Changed;
        }
        if unmoved & shared != 0 {
            self.move_memtables(way, unmoved);
            nearest = self.nearest();
        }
        self.choose(nearest)
    }

    /// Moves runs and tree. Those in `there` have made a descent to the key sought.
    fn move_pages(&mut self, way: Move<'_>, there: u32) -> Result<()> {
        let CursorMemory {
            current,
            keys,
            key_bytes,
            ..
        } = &mut *self.memory;
        let current = current.get(..self.current_bytes).unwrap_or(&[]);
        let concerned = match way {
            Move::Step(set) => set >> FIRST_SHARED & self.view.relevant,
            Move::To(_) | Move::Beyond => self.view.relevant,
        };
        for place in places(concerned) {
            let source = place + FIRST_SHARED;
            let Some(slot) = self.runs.get_mut(place) else {
                continue;
            };
            if !matches!(way, Move::Step(_)) {
                let id = self.words.get(place).copied().unwrap_or(SourceId::NONE);
                let Some((_, run)) = self.view.run(id) else {
                    continue;
                };
                slot.get_or_insert_with(|| {
                    let (table, sequence) = (self.view.root.table, self.view.sequence);
                    RunCursor::new(self.pager, run, table, sequence, self.may_read)
                });
            }
            let Some(cursor) = slot else {
                continue;
            };
            let area = key_area(keys, *key_bytes, source)?;
            let is_there = there & 1 << source != 0;
            match way {
                Move::To(_) if is_there => cursor.end_descent(area)?,
                Move::To(position) => cursor.seek(position, area)?,
                Move::Beyond if self.forward => {
                    if is_there {
                        cursor.end_descent(area)?;
                    } else {
                        cursor.seek(CursorPosition::AtOrAfter(current), area)?;
                    }
                    if cursor.is_valid() && cursor.key(area) == current {
                        cursor.advance(area)?;
                    }
                }
                Move::Beyond => cursor.seek(CursorPosition::Before(current), area)?,
                Move::Step(_) if self.forward => cursor.advance(area)?,
                Move::Step(_) => cursor.retreat(area)?,
            }
            let key = cursor.is_valid().then(|| cursor.key(area));
            note(&mut self.standing, &mut self.heads, source, key);
        }
        let is_there = there & 1 << TREE != 0;
        match way {
            Move::To(_) if is_there => self.tree.end_descent()?,
            Move::To(position) => self.tree.seek(position)?,
            Move::Beyond if self.forward => {
                if is_there {
                    self.tree.end_descent()?;
                } else {
                    self.tree.seek(CursorPosition::AtOrAfter(current))?;
                }
                if self.tree.compare_key(current) == Some(Ordering::Equal) {
                    self.tree.advance()?;
                }
            }
            Move::Beyond => self.tree.seek(CursorPosition::Before(current))?,
            Move::Step(set) if set & 1 << TREE == 0 => return Ok(()),
            Move::Step(_) if self.forward => self.tree.advance()?,
            Move::Step(_) => self.tree.retreat()?,
        }
        let area = key_area(keys, *key_bytes, TREE)?;
        self.tree_key_bytes = self.tree.copy_key(area);
        let key = area.get(..self.tree_key_bytes);
        let key = key.filter(|_| self.tree.is_valid());
        note(&mut self.standing, &mut self.heads, TREE, key);
        Ok(())
    }

    /// The memtable of a source, with the sequence up to which it is read.
    #[inline]
    fn memtable(&self, source: usize) -> Option<(&'e Memtable, u64)> {
        memtable_of(&self.view, &self.words, source)
    }

    /// Moves those memtables that the way concerns, in an epoch.
    fn move_memtables(&mut self, way: Move<'_>, concerned: u32) {
        let table = self.view.root.table;
        let forward = self.forward;
        for source in places(concerned) {
            let Some((memtable, sequence)) = self.memtable(source) else {
                continue;
            };
            let current = self.memory.current.get(..self.current_bytes).unwrap_or(&[]);
            let Some(mark) = self.marks.get_mut(source) else {
                continue;
            };
            match way {
                Move::To(CursorPosition::First) => mark.seek(memtable, table, &[]),
                Move::To(CursorPosition::AtOrAfter(key)) => mark.seek(memtable, table, key),
                Move::To(CursorPosition::Last) => mark.seek_table_last(memtable, table),
                Move::To(CursorPosition::Before(key)) => mark.seek_before(memtable, table, key),
                Move::Beyond if forward => {
                    mark.seek(memtable, table, current);
                    mark.leave(memtable, table, current)
                }
                Move::Beyond => mark.seek_before(memtable, table, current),
                Move::Step(_) if forward => mark.next_key(memtable),
                Move::Step(_) => mark.prev_key(memtable),
            };
            mark.settle(memtable, table, sequence, forward);
            if memtable.range_tombstones().next().is_none() {
                self.ranged &= !(1 << source);
            }
            let key = mark.entry(memtable).map(|entry| entry.key());
            note(&mut self.standing, &mut self.heads, source, key);
        }
    }
}

/// As [`MergedCursor::memtable`], of a cursor's parts.
#[inline]
fn memtable_of<'e>(
    view: &View<'e>,
    words: &[SourceId; SOURCES_MAX],
    source: usize,
) -> Option<(&'e Memtable, u64)> {
    if source == OWN {
        return view.own.map(|own| (own, u64::MAX));
    }
    let word = words.get(source.checked_sub(FIRST_SHARED)?)?;
    let slot = view.front.memtable(word.memtable()?)?;
    Some((&slot.memtable, view.sequence))
}

/// Notes which key a source stands on, if any.
#[inline]
fn note(standing: &mut u32, heads: &mut [u64; TREE + 1], source: usize, key: Option<&[u8]>) {
    let bit = 1 << source;
    *standing &= !bit;
    if let Some(key) = key
        && let Some(head) = heads.get_mut(source)
    {
        *standing |= bit;
        *head = match key.first_chunk::<8>() {
            Some(eight) => u64::from_be_bytes(*eight),
            None => {
                let mut eight = [0; 8];
                put(&mut eight, 0, key);
                u64::from_be_bytes(eight)
            }
        };
    }
}
