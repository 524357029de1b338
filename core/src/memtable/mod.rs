//! The memtable: a multi-version ordered index over (table ascending, key
//! ascending bytewise, sequence descending) in one fixed arena.
//!
//! One [`Writer`] at a time inserts (the sequencer); any number of readers look up,
//! scan and walk without a lock. A reader never meets a half-written entry, and
//! tells by sequence what it may see: the engine hands out a sequence to read at
//! only after the commit was published. What was inserted stays as it is until
//! the memtable is reset; memory is planned once, and lent to the host at most while
//! nothing stands in it (`Writer::discard`).
//!
//! - `arena`: layout, publication, soundness; all unsafe code.
//! - `list`: order, search, heights. `ranks`: what tells the order without the keys.
//! - `cursor`: movement over all versions.
//! - `ranges`: range tombstones, apart from the list. `filter`: which keys there may be.
//! - `writer`: commits in; `commit_log`: commits out, in append order.
//!
//! An entry costs 16 bytes, 15.7 on average for its tower, and 1.5 for padding,
//! beside key and value (8 more with an expiry, 1 with metadata); a commit 28 bytes. The
//! directory in which searches begin takes a 512th of the arena beside it.

mod ahead;
mod arena;
mod commit_log;
mod cursor;
mod entry;
mod filter;
mod list;
mod ranges;
mod ranks;
#[cfg(test)]
mod tests;
mod writer;

pub use arena::{CommitHead, Position};
pub use commit_log::{CommitView, Commits};
pub use cursor::{Cursor, KeySearch, SoughtKey};
pub use entry::{Entry, Record, RecordKind};
pub use ranges::RangeTombstones;
pub use writer::{Commit, Writer};

use crate::error::Result;
use crate::format::run::filter_hash;
use crate::mem::Budget;
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use arena::{Arena, COMMIT_HEADER_BYTES, ENTRY_HEADER_BYTES, RUNG_BYTES, TRAILER_BYTES_MAX};
use filter::Filter;
use list::Target;
use ranks::Ranks;

/// What a commit is made of, to tell whether it fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CommitSize {
    /// Records, range deletes among them.
    pub records: u32,
    /// Range deletes.
    pub range_deletes: u32,
    /// Bytes of the range deletes, as a memtable limits them.
    pub range_bytes: u64,
    /// Bytes of all keys.
    pub key_bytes: u64,
    /// Bytes of all values, ends of range deletes and references to extents included.
    pub value_bytes: u64,
}

impl CommitSize {
    /// Counts `record` in.
    pub fn add(&mut self, record: &Record<'_>) {
        self.records = self.records.saturating_add(1);
        if record.kind == RecordKind::RangeDelete {
            self.range_deletes = self.range_deletes.saturating_add(1);
            self.range_bytes = self.range_bytes.saturating_add(range_bytes(record));
        }
        self.key_bytes = self.key_bytes.saturating_add(record.key.len() as u64);
        self.value_bytes = self.value_bytes.saturating_add(record.value.len() as u64);
    }
}

/// Bytes that a range delete counts for: what its copy takes in the memory of a run.
fn range_bytes(record: &Record<'_>) -> u64 {
    RANGE_BYTES.saturating_add((record.key.len() + record.value.len()) as u64)
}

const RANGE_BYTES: u64 = 16;

/// See the module.
pub struct Memtable {
    arena: Arena,
    ranks: Ranks,
    filter: Filter,
    range_bytes_max: u32,
    range_bytes: AtomicU32,
    points: AtomicU32,
    entries: AtomicU32,
    first_sequence: AtomicU64,
    last_sequence: AtomicU64,
}

impl Memtable {
    /// An empty memtable with an arena of `arena_bytes`, from 256 bytes to 2 GiB,
    /// that takes range deletes of up to `range_bytes_max`: 16 bytes and the two keys of each.
    ///
    /// # Errors
    /// [`Error::Options`](crate::error::Error::Options) for another length, and those
    /// of [`Region::new`](crate::mem::Region::new).
    pub fn new(budget: &mut Budget, arena_bytes: usize, range_bytes_max: u32) -> Result<Self> {
        Ok(Self {
            arena: Arena::new(budget, arena_bytes, list::levels_for(arena_bytes))?,
            ranks: Ranks::new(),
            filter: Filter::none(),
            range_bytes_max,
            range_bytes: AtomicU32::new(0),
            points: AtomicU32::new(0),
            entries: AtomicU32::new(0),
            first_sequence: AtomicU64::new(0),
            last_sequence: AtomicU64::new(0),
        })
    }

    /// With a filter of `bytes`, so that lookups of most absent keys are short. Ten bits for
    /// each key are enough; costs an insert a cache line.
    ///
    /// # Errors
    /// When the budget or the host has no memory.
    pub fn with_filter(mut self, budget: &mut Budget, bytes: usize) -> Result<Self> {
        self.filter = Filter::new(budget, bytes)?;
        Ok(self)
    }

    /// The right to insert, unless somebody has it. Never waits.
    #[must_use]
    pub fn writer(&self) -> Option<Writer<'_>> {
        Some(Writer::new(self, self.arena.pen()?))
    }

    /// Empties the memtable for its next life, with nobody else near; its memory
    /// stays. [`Writer::reset`] is for a memtable that is shared.
    pub fn reset(&mut self) {
        self.learn_from(self);
        self.arena.clear_exclusive();
        self.clear_counters();
    }

    /// Has searches of its next life made quick for keys like those in `other`. For a
    /// memtable that is empty, or emptied at once, and that nobody else uses yet.
    pub fn learn_from(&self, other: &Self) {
        let entries = other.points.load(Ordering::Relaxed);
        self.ranks.learn(&other.arena, entries);
    }

    /// Whether a commit of `size` fits into what is left of the arena. An upper
    /// bound: towers are counted exactly, and each record as if it had expiry,
    /// metadata and padding. Costs about a nanosecond for each record.
    #[must_use]
    pub fn fits(&self, size: &CommitSize) -> bool {
        let free_bytes = self.arena.capacity().saturating_sub(self.arena.end());
        let count = self.points.load(Ordering::Relaxed);
        self.fits_after(size, count, free_bytes)
    }

    /// Whether a commit of `size` would fit if the memtable were empty: where not,
    /// no rotation makes room for it.
    #[must_use]
    pub fn fits_when_empty(&self, size: &CommitSize) -> bool {
        let free_bytes = self.arena.capacity().saturating_sub(self.arena.first());
        size.range_bytes <= u64::from(self.range_bytes_max) && self.fits_after(size, 0, free_bytes)
    }

    /// The newest version of a key with at most `sequence`, of any kind but range
    /// delete; range tombstones aren't asked, see [`lookup`](Self::lookup).
    #[must_use]
    pub fn get(&self, table: u32, key: &[u8], sequence: u64) -> Option<Entry<'_>> {
        let target = self.target(table, key, sequence);
        list::version(&self.arena, &target).map(|node| Entry { node })
    }

    /// What this memtable says of a key at `sequence`: the newest version, or the
    /// range tombstone that covers it; `None` where older sources are to be asked.
    #[must_use]
    pub fn lookup(&self, table: u32, key: &[u8], sequence: u64) -> Option<Entry<'_>> {
        let hash = if self.filter.is_there() {
            filter_hash(table, key)
        } else {
            0
        };
        self.lookup_hashed((table, key), hash, sequence)
    }

    /// As [`lookup`](Self::lookup), for a key whose hash for filters is known.
    #[inline]
    #[must_use]
    pub fn lookup_hashed(
        &self,
        (table, key): (u32, &[u8]),
        hash: u64,
        sequence: u64,
    ) -> Option<Entry<'_>> {
        let point = if self.filter.may_hold(hash) {
            self.get(table, key, sequence)
        } else {
            None
        };
        let range = self.covering_entry(table, key, sequence);
        match (point, range) {
            (Some(point), Some(range)) if range.sequence() > point.sequence() => Some(range),
            (Some(point), _) => Some(point),
            (None, range) => range,
        }
    }

    /// The highest sequence, at most `sequence`, of a range tombstone that covers
    /// the key; 0 where none does.
    #[must_use]
    pub fn covering(&self, table: u32, key: &[u8], sequence: u64) -> u64 {
        self.covering_entry(table, key, sequence)
            .map_or(0, |entry| entry.sequence())
    }

    /// The highest sequence that changed the key, range deletes included; 0 where
    /// none did. For the sequencer: what is inserted but not published counts.
    #[must_use]
    pub fn newest_sequence(&self, table: u32, key: &[u8]) -> u64 {
        self.lookup(table, key, u64::MAX)
            .map_or(0, |entry| entry.sequence())
    }

    /// The highest sequence that changed a key from `from` to the exclusive `to`
    /// (empty: the table's end); 0 where none did. Scans what lies there.
    #[must_use]
    pub fn newest_in_range(&self, table: u32, from: &[u8], to: &[u8]) -> u64 {
        let mut newest = self
            .range_tombstones()
            .find(|entry| ranges::intersects(entry, table, from, to))
            .map_or(0, |entry| entry.sequence());
        let target = self.target(table, from, u64::MAX);
        let mut next = list::lower_bound(&self.arena, &target);
        while let Some(node) = next {
            let (node_table, key, sequence) = node.place();
            if node_table != table || (!to.is_empty() && key >= to) {
                break;
            }
            newest = newest.max(sequence);
            next = node.bottom().next().and_then(|rung| rung.node());
        }
        newest
    }

    /// All range tombstones, newest first.
    #[must_use]
    pub fn range_tombstones(&self) -> RangeTombstones<'_> {
        RangeTombstones {
            rung: Some(self.arena.range_sentinel()),
        }
    }

    /// Bytes of range deletes that may still come before the memtable has to rotate.
    #[must_use]
    pub fn range_bytes_left(&self) -> u64 {
        u64::from(
            self.range_bytes_max
                .saturating_sub(self.range_bytes.load(Ordering::Relaxed)),
        )
    }

    /// The position before the first commit.
    #[must_use]
    pub fn first_position(&self) -> Position {
        self.arena.first_position()
    }

    /// The position behind the last published commit.
    #[must_use]
    pub fn append_position(&self) -> Position {
        self.arena.position()
    }

    /// The commits published from `position` on, up to now; `None` where the position
    /// is of another memtable, or of this one before a reset.
    #[must_use]
    pub fn commits_from(&self, position: Position) -> Option<Commits<'_>> {
        Some(Commits {
            walk: self.arena.walk(position)?,
        })
    }

    /// Published entries, range tombstones included.
    #[must_use]
    pub fn entry_count(&self) -> u32 {
        self.entries.load(Ordering::Relaxed)
    }

    /// Whether nothing was published.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.last_sequence() == 0
    }

    /// The sequence of the first commit; 0 where there is none.
    #[must_use]
    pub fn first_sequence(&self) -> u64 {
        self.first_sequence.load(Ordering::Acquire)
    }

    /// The sequence of the last published commit; 0 where there is none.
    #[must_use]
    pub fn last_sequence(&self) -> u64 {
        self.last_sequence.load(Ordering::Acquire)
    }

    /// Bytes of the arena that published commits take.
    #[must_use]
    pub fn bytes_used(&self) -> u64 {
        u64::from(self.arena.end().saturating_sub(self.arena.first()))
    }

    /// Bytes of the arena that commits can take.
    #[must_use]
    pub fn bytes_capacity(&self) -> u64 {
        u64::from(self.arena.capacity().saturating_sub(self.arena.first()))
    }

    fn covering_entry(&self, table: u32, key: &[u8], sequence: u64) -> Option<Entry<'_>> {
        self.range_tombstones()
            .find(|entry| entry.sequence() <= sequence && ranges::covers(entry, table, key))
    }

    fn fits_after(&self, size: &CommitSize, count: u32, free_bytes: u32) -> bool {
        let free_bytes = u64::from(free_bytes);
        let flat_bytes = (u64::from(size.records)
            * (ENTRY_HEADER_BYTES + RUNG_BYTES + TRAILER_BYTES_MAX) as u64)
            .saturating_add(COMMIT_HEADER_BYTES as u64)
            .saturating_add(size.key_bytes)
            .saturating_add(size.value_bytes);
        let points = size.records.saturating_sub(size.range_deletes);
        flat_bytes <= free_bytes && {
            let levels = self.arena.levels();
            let above_first: u64 = (0..points)
                .map(|index| u64::from(list::height_of(count.wrapping_add(index), levels)) - 1)
                .sum();
            flat_bytes + above_first * RUNG_BYTES as u64 <= free_bytes
        }
    }

    /// A place to search for.
    fn target<'k>(&self, table: u32, key: &'k [u8], sequence: u64) -> Target<'k> {
        Target::new(&self.ranks, table, key, sequence)
    }

    fn clear_counters(&self) {
        self.filter.clear();
        self.range_bytes.store(0, Ordering::Relaxed);
        self.points.store(0, Ordering::Relaxed);
        self.entries.store(0, Ordering::Relaxed);
        self.first_sequence.store(0, Ordering::Release);
        self.last_sequence.store(0, Ordering::Release);
    }
}
