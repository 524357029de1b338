//! Many sources as one: a cursor over memtables and a tree.
//!
//! Sources are ordered from the newest to the oldest: a transaction's own writes,
//! memtables, the tree. At one key the newest source that says something decides;
//! a tombstone, a range tombstone of the same or a newer source, or an expiry that
//! has passed hides the key. With one source there is no merging to pay for.
//!
//! The cursor remembers which sources stand on its key; moving on moves those.
//! Turning around seeks again from the key.

use crate::btree::{CursorPosition, Root, TreeCursor};
use crate::error::Result;
use crate::format::extent::ExtentRef;
use crate::format::leaf::EntryKind;
use crate::mem::Array;
use crate::memtable::{Cursor, Entry, Memtable, RecordKind};
use crate::pager::Pager;
use crate::sync::ExclusiveGuard;
use crate::txn::MEMTABLES_MAX;
use core::cmp::Ordering;

/// Memtables of a version, and a transaction's own writes.
const MEMTABLE_SOURCES_MAX: usize = MEMTABLES_MAX + 1;
/// The tree's bit in a set of sources.
const TREE: u32 = 1 << MEMTABLE_SOURCES_MAX;

/// A memtable to read, up to a sequence.
#[derive(Clone, Copy)]
pub struct Source<'e> {
    /// The memtable.
    pub memtable: &'e Memtable,
    /// Versions above it are not seen.
    pub sequence: u64,
}

/// What a reader reads: memtables newest first, then a tree.
#[derive(Clone, Copy)]
pub struct SourceList<'e> {
    /// The memtables that hold something.
    pub memtables: [Option<Source<'e>>; MEMTABLE_SOURCES_MAX],
    /// How many of them.
    pub count: usize,
    /// The tree below them.
    pub root: Root,
    /// Entries that expire at or before it are not seen.
    pub now_ms: u64,
}

impl<'e> SourceList<'e> {
    /// A list with only a tree.
    #[must_use]
    pub fn new(root: Root, now_ms: u64) -> Self {
        Self {
            memtables: [None; MEMTABLE_SOURCES_MAX],
            count: 0,
            root,
            now_ms,
        }
    }

    /// Adds an older memtable behind the others, unless it holds nothing.
    pub fn push(&mut self, memtable: &'e Memtable, sequence: u64) {
        if memtable.is_empty() {
            return;
        }
        if let Some(slot) = self.memtables.get_mut(self.count) {
            *slot = Some(Source { memtable, sequence });
            self.count += 1;
        }
    }

    /// What the memtables say of a key: the newest point or range version.
    #[inline]
    #[must_use]
    pub fn lookup(&self, key: &[u8]) -> Option<Entry<'e>> {
        self.memtables
            .iter()
            .take(self.count)
            .flatten()
            .find_map(|source| {
                source
                    .memtable
                    .lookup(self.root.table, key, source.sequence)
            })
    }

    /// Whether a newer or the same source hides a point version by a range tombstone.
    fn is_hidden(&self, key: &[u8], source: usize, sequence: u64) -> bool {
        let table = self.root.table;
        let memtables = self.memtables.iter().take(self.count).flatten();
        memtables
            .enumerate()
            .take(source.saturating_add(1))
            .any(|(index, newer)| {
                let covering = newer.memtable.covering(table, key, newer.sequence);
                covering > if index == source { sequence } else { 0 }
            })
    }
}

/// Where a value's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored<'a> {
    /// Here.
    Inline(&'a [u8]),
    /// In an extent of the page file.
    Extent(ExtentRef),
}

impl<'a> Stored<'a> {
    /// A value as a leaf has it. A checked leaf has no malformed
    /// reference.
    #[must_use]
    pub fn of(is_extent: bool, bytes: &'a [u8]) -> Self {
        match ExtentRef::decode(bytes) {
            Some(extent) if is_extent => Self::Extent(extent),
            _ => Self::Inline(bytes),
        }
    }

    /// Bytes of the value.
    #[must_use]
    pub fn length(&self) -> u64 {
        match self {
            Self::Inline(bytes) => bytes.len() as u64,
            Self::Extent(extent) => extent.length,
        }
    }

    /// The bytes, where they are here.
    #[must_use]
    pub fn inline(&self) -> Option<&'a [u8]> {
        match self {
            Self::Inline(bytes) => Some(bytes),
            Self::Extent(_) => None,
        }
    }
}

/// An entry that a reader sees, lent until the cursor moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Visible<'c> {
    /// The key.
    pub key: &'c [u8],
    /// The value.
    pub value: Stored<'c>,
    /// When it expires, in milliseconds since 1970.
    pub expiry_ms: Option<u64>,
    /// The metadata byte.
    pub metadata: Option<u8>,
}

#[derive(Clone, Copy, Default)]
struct Standing<'e> {
    cursor: Cursor,
    entry: Option<Entry<'e>>,
}

/// A cursor over a [`SourceList`].
pub struct MergedCursor<'e> {
    list: SourceList<'e>,
    standing: [Standing<'e>; MEMTABLE_SOURCES_MAX],
    tree: TreeCursor<'e>,
    /// The tree's key, put together; the second half is for seeking again.
    buffer: ExclusiveGuard<'e, Array<u8>>,
    tree_key_bytes: usize,
    forward: bool,
    /// The sources that stand on the current key; 0: the cursor stands nowhere.
    at_key: u32,
    /// The source that decides.
    winner: usize,
}

impl<'e> MergedCursor<'e> {
    /// A cursor that stands nowhere yet. `buffer` holds two keys.
    #[must_use]
    pub fn new(
        pager: &'e Pager,
        list: SourceList<'e>,
        buffer: ExclusiveGuard<'e, Array<u8>>,
        may_read: bool,
    ) -> Self {
        Self {
            list,
            standing: [Standing::default(); MEMTABLE_SOURCES_MAX],
            tree: TreeCursor::new(pager, list.root, may_read),
            buffer,
            tree_key_bytes: 0,
            forward: true,
            at_key: 0,
            winner: 0,
        }
    }

    /// The entry that the cursor stands on.
    #[must_use]
    pub fn entry(&self) -> Option<Visible<'_>> {
        if self.at_key == 0 {
            return None;
        }
        if self.winner == MEMTABLE_SOURCES_MAX {
            let entry = self.tree.entry()?;
            return Some(Visible {
                key: self.tree_key(),
                value: Stored::of(entry.kind == EntryKind::Extent, entry.value),
                expiry_ms: entry.expiry_ms,
                metadata: entry.metadata,
            });
        }
        let entry = self.standing.get(self.winner)?.entry?;
        Some(Visible {
            key: entry.key(),
            value: Stored::Inline(entry.value()),
            expiry_ms: entry.expiry_ms(),
            metadata: entry.metadata(),
        })
    }

    /// Whether the cursor stands on an entry.
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
        self.at_key = 0;
        let table = self.list.root.table;
        for (standing, source) in self.standing.iter_mut().zip(&self.list.memtables) {
            let Some(source) = source else {
                continue;
            };
            let memtable = source.memtable;
            match position {
                CursorPosition::First => standing.cursor.seek(memtable, table, &[]),
                CursorPosition::AtOrAfter(key) => standing.cursor.seek(memtable, table, key),
                CursorPosition::Last => standing.cursor.seek_table_last(memtable, table),
                CursorPosition::Before(key) => standing.cursor.seek_before(memtable, table, key),
            };
            standing.settle(source, table, self.forward);
        }
        self.tree.seek(position)?;
        self.take_tree_key();
        self.choose()
    }

    /// Moves to the next entry.
    ///
    /// # Errors
    /// As [`seek`](Self::seek).
    pub fn advance(&mut self) -> Result<()> {
        if self.at_key == 0 {
            return Ok(());
        }
        if !self.forward {
            return self.turn(true);
        }
        self.step()?;
        self.choose()
    }

    /// Moves to the entry before.
    ///
    /// # Errors
    /// As [`seek`](Self::seek).
    pub fn retreat(&mut self) -> Result<()> {
        if self.at_key == 0 {
            return Ok(());
        }
        if self.forward {
            return self.turn(false);
        }
        self.step()?;
        self.choose()
    }

    fn tree_key(&self) -> &[u8] {
        self.buffer.get(..self.tree_key_bytes).unwrap_or(&[])
    }

    fn take_tree_key(&mut self) {
        let half = self.buffer.len() / 2;
        let to = self.buffer.get_mut(..half).unwrap_or(&mut []);
        self.tree_key_bytes = self.tree.copy_key(to);
    }

    /// Moves every source that stands on the current key.
    fn step(&mut self) -> Result<()> {
        let moving = core::mem::take(&mut self.at_key);
        let table = self.list.root.table;
        for (index, (standing, source)) in self
            .standing
            .iter_mut()
            .zip(&self.list.memtables)
            .enumerate()
        {
            let Some(source) = source else {
                break;
            };
            if moving & 1 << index == 0 {
                continue;
            }
            if self.forward {
                standing.cursor.next_key(source.memtable);
            } else {
                standing.cursor.prev_key(source.memtable);
            }
            standing.settle(source, table, self.forward);
        }
        if moving & TREE != 0 {
            if self.forward {
                self.tree.advance()?;
            } else {
                self.tree.retreat()?;
            }
            self.take_tree_key();
        }
        Ok(())
    }

    /// Finds the next visible key among where the sources stand.
    fn choose(&mut self) -> Result<()> {
        if self.list.count == 0 && self.tree.is_valid() && self.tree.is_plain() {
            // Nothing is above the tree, and nothing in this leaf can be hidden.
            self.at_key = TREE;
            self.winner = MEMTABLE_SOURCES_MAX;
            return Ok(());
        }
        loop {
            let mut at_key = 0;
            let mut winner = MEMTABLE_SOURCES_MAX;
            let mut best: Option<&[u8]> = None;
            let wanted = if self.forward {
                Ordering::Less
            } else {
                Ordering::Greater
            };
            for (index, standing) in self.standing.iter().take(self.list.count).enumerate() {
                let Some(entry) = standing.entry else {
                    continue;
                };
                let key = entry.key();
                let order = best.map_or(wanted, |best| key.cmp(best));
                if order == wanted {
                    best = Some(key);
                    winner = index;
                    at_key = 1 << index;
                } else if order == Ordering::Equal {
                    at_key |= 1 << index;
                }
            }
            if self.tree.is_valid() {
                let key = self.tree_key();
                let order = best.map_or(wanted, |best| key.cmp(best));
                if order == wanted {
                    best = Some(key);
                    winner = MEMTABLE_SOURCES_MAX;
                    at_key = TREE;
                } else if order == Ordering::Equal {
                    at_key |= TREE;
                }
            }
            let Some(key) = best else {
                self.at_key = 0;
                return Ok(());
            };
            let seen = self.is_seen(key, winner);
            self.at_key = at_key;
            self.winner = winner;
            if seen {
                return Ok(());
            }
            self.step()?;
        }
    }

    fn is_seen(&self, key: &[u8], winner: usize) -> bool {
        let now_ms = self.list.now_ms;
        let (sequence, expiry_ms) = if winner == MEMTABLE_SOURCES_MAX {
            let Some(entry) = self.tree.entry() else {
                return false;
            };
            if entry.kind == EntryKind::Tombstone {
                return false;
            }
            (0, entry.expiry_ms)
        } else {
            let Some(entry) = self
                .standing
                .get(winner)
                .and_then(|standing| standing.entry)
            else {
                return false;
            };
            if entry.kind() == RecordKind::Delete {
                return false;
            }
            (entry.sequence(), entry.expiry_ms())
        };
        expiry_ms.is_none_or(|expiry| expiry > now_ms)
            && !self.list.is_hidden(key, winner, sequence)
    }

    /// Seeks again from the current key, in the other direction.
    fn turn(&mut self, forward: bool) -> Result<()> {
        let half = self.buffer.len() / 2;
        let memtable_key = if self.winner < MEMTABLE_SOURCES_MAX {
            self.standing
                .get(self.winner)
                .and_then(|standing| standing.entry)
                .map(|e| e.key())
        } else {
            None
        };
        let length = match memtable_key {
            Some(key) => {
                if let Some(to) = self.buffer.get_mut(half..half + key.len()) {
                    to.copy_from_slice(key);
                }
                key.len()
            }
            None => {
                self.buffer.copy_within(..self.tree_key_bytes, half);
                self.tree_key_bytes
            }
        };
        self.turn_at(half, length, forward)
    }

    /// Puts every source on the other side of the key that stands in the buffer.
    fn turn_at(&mut self, start: usize, length: usize, forward: bool) -> Result<()> {
        self.forward = forward;
        self.at_key = 0;
        let table = self.list.root.table;
        let key = self.buffer.get(start..start + length).unwrap_or(&[]);
        for (standing, source) in self.standing.iter_mut().zip(&self.list.memtables) {
            let Some(source) = source else {
                continue;
            };
            if forward {
                standing.cursor.seek(source.memtable, table, key);
                if standing
                    .cursor
                    .entry(source.memtable)
                    .is_some_and(|entry| entry.table() == table && entry.key() == key)
                {
                    standing.cursor.next_key(source.memtable);
                }
            } else {
                standing.cursor.seek_before(source.memtable, table, key);
            }
            standing.settle(source, table, forward);
        }
        if forward {
            self.tree.seek(CursorPosition::AtOrAfter(key))?;
            if self.tree.compare_key(key) == Some(Ordering::Equal) {
                self.tree.advance()?;
            }
        } else {
            self.tree.seek(CursorPosition::Before(key))?;
        }
        self.take_tree_key();
        self.choose()
    }
}

impl<'e> Standing<'e> {
    /// From where the cursor stands, finds the version that the source's sequence
    /// lets see: of this key, or of the nearest in the direction.
    fn settle(&mut self, source: &Source<'e>, table: u32, forward: bool) {
        self.entry = None;
        loop {
            let Some(entry) = self.cursor.entry(source.memtable) else {
                return;
            };
            if entry.table() != table {
                return;
            }
            let mut probe = self.cursor;
            if !forward || entry.sequence() > source.sequence {
                probe.seek_version(source.memtable, table, entry.key(), source.sequence);
            }
            let found = probe.entry(source.memtable);
            let same_key = found.filter(|found| {
                found.table() == table
                    && found.key() == entry.key()
                    && found.sequence() <= source.sequence
            });
            if let Some(found) = same_key {
                self.cursor = probe;
                self.entry = Some(found);
                return;
            }
            if forward {
                self.cursor.next_key(source.memtable);
            } else {
                self.cursor.prev_key(source.memtable);
            }
        }
    }
}
