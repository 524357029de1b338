//! Runs: frozen memtables as immutable trees in the page file, and sorted loads that were
//! written as such a tree at once (`db/ingest.rs`).
//!
//! A run holds what one memtable held, so that the memtable's arena is free again,
//! even while a snapshot that began on it lives. It consists of (FORMAT.md 5):
//! * the tree of *newest* versions: one entry for each key, with its sequence;
//! * the *history*, mostly absent: older versions that a snapshot needed when the
//!   run was written, found by the rank of the key's entry among the newest;
//! * the *range tombstones*, of which an open run has a copy in memory;
//! * the *filter*, in memory too ([`Runs::may_hold`]): it tells of most keys that the
//!   run lacks.
//!
//! # Invariants
//! * A run is written when *durable* has passed its last commit, and is never changed. One
//!   that is ingested is written before its commit has a sequence, so that its entries
//!   carry none ([`Run::sequence_of`]); it has neither history nor range tombstones.
//! * For a snapshot that may read it, it answers as the memtable did: a version
//!   is left out only where no snapshot can see it any more.
//! * Range tombstones are asked apart ([`Run::covering`]): neither a lookup nor a cursor
//!   heeds them. At an equal sequence a point version wins.
//!
//! `slot` holds the memory, `cursor` walks, `writer` makes a run of a memtable.

mod cursor;
mod slot;
mod writer;

pub use cursor::{RunCursor, RunEntry};
pub use slot::{Filling, Reserved, RunKeeper, RunPlan, Runs};
pub use writer::{NeededSequences, RunParts, RunWriter};

use crate::btree::{self, CursorPosition, Found, Root, TreeCursor};
use crate::error::{Error, Result};
use crate::format::bytes::{get_u16, get_u32, get_u64, put};
use crate::format::page_ref::PageRef;
use crate::format::run::{HISTORY_KEY_BYTES, RUN_KEY_TABLE_BYTES, RunRecord, history_key};
use crate::limits::{PAGE_BYTES_MAX, key_bytes_max};
use crate::pager::Pager;

/// Bytes of a range tombstone in memory before its two keys: table (4), sequence (8),
/// lengths (2 and 2).
pub(crate) const RANGE_HEADER_BYTES: usize = 16;
/// Keys up to this length are put together on a small part of the stack.
const SHORT_KEY_BYTES: usize = 252;
const LONG_KEY_BYTES: usize = key_bytes_max(PAGE_BYTES_MAX);

/// What a slot knows of its run.
struct RunInfo {
    record: RunRecord,
    filter_bytes: usize,
    /// Which copy of range tombstones it has.
    ranges: u32,
    ranges_filled: usize,
}

impl Default for RunInfo {
    fn default() -> Self {
        Self {
            record: RunRecord::default(),
            filter_bytes: 0,
            ranges: u32::MAX,
            ranges_filled: 0,
        }
    }
}

/// An open run.
#[derive(Clone, Copy)]
pub struct Run<'e> {
    info: &'e RunInfo,
    ranges: RunRanges<'e>,
}

/// Calls `use_key` with the key that an entry of the table has in a run's tree.
#[inline]
fn with_run_key<R>(table: u32, key: &[u8], use_key: impl FnOnce(&[u8]) -> Result<R>) -> Result<R> {
    if key.len() <= SHORT_KEY_BYTES {
        let mut buffer = [0; RUN_KEY_TABLE_BYTES + SHORT_KEY_BYTES];
        use_key(run_key(&mut buffer, table, key)?)
    } else {
        with_long_run_key(table, key, use_key)
    }
}

#[cold]
#[inline(never)]
fn with_long_run_key<R>(
    table: u32,
    key: &[u8],
    use_key: impl FnOnce(&[u8]) -> Result<R>,
) -> Result<R> {
    let mut buffer = [0; RUN_KEY_TABLE_BYTES + LONG_KEY_BYTES];
    use_key(run_key(&mut buffer, table, key)?)
}

/// Writes the key of a run's tree into `buffer`.
#[inline]
pub(crate) fn run_key<'b>(buffer: &'b mut [u8], table: u32, key: &[u8]) -> Result<&'b [u8]> {
    let fits = put(buffer, 0, &table.to_be_bytes()) && put(buffer, RUN_KEY_TABLE_BYTES, key);
    buffer
        .get(..RUN_KEY_TABLE_BYTES + key.len())
        .filter(|_| fits)
        .ok_or(Error::Internal(300))
}

pub(crate) fn tree(page: Option<PageRef>) -> Root {
    Root { page, table: 0 }
}

impl<'e> Run<'e> {
    /// What the catalogue says of it.
    #[must_use]
    pub fn record(&self) -> &'e RunRecord {
        &self.info.record
    }

    /// The commit that wrote an entry of the run, of which a leaf says `stored`.
    #[inline]
    #[must_use]
    pub fn sequence_of(&self, stored: u64) -> u64 {
        if self.record().is_ingested {
            self.record().last_sequence
        } else {
            stored
        }
    }

    /// The newest version of a key with at most `sequence`, tombstones included. The
    /// filter is asked before.
    ///
    /// # Errors
    /// I/O or corruption; [`Error::WouldRead`] where a page is not in memory and
    /// reading was not allowed.
    pub fn lookup<'p>(
        &self,
        pager: &'p Pager,
        table: u32,
        key: &[u8],
        sequence: u64,
        may_read: bool,
    ) -> Result<Option<Found<'p>>> {
        if sequence < self.record().first_sequence {
            return Ok(None);
        }
        with_run_key(table, key, |run_key| {
            let newest = tree(self.record().newest);
            let mut found = btree::get(pager, &newest, run_key, may_read)?;
            if let Some(found) = &mut found {
                found.sequence = self.sequence_of(found.sequence);
            }
            match found {
                Some(found) if found.sequence > sequence => {
                    drop(found);
                    self.older(pager, (table, run_key), sequence, may_read)
                }
                found => Ok(found),
            }
        })
    }

    /// The newest version with at most `sequence` of a key whose newest of all is above it.
    fn older<'p>(
        &self,
        pager: &'p Pager,
        (table, run_key): (u32, &[u8]),
        sequence: u64,
        may_read: bool,
    ) -> Result<Option<Found<'p>>> {
        if self.record().history.is_none() {
            return Ok(None);
        }
        if !may_read {
            return Err(Error::WouldRead);
        }
        let rank = btree::count_below(pager, &tree(self.record().newest), run_key)?;
        let mut cursor = TreeCursor::new(pager, tree(self.record().history), may_read);
        let wanted = history_key(table, rank, sequence);
        cursor.seek(CursorPosition::AtOrAfter(&wanted))?;
        let mut found_key = [0; HISTORY_KEY_BYTES];
        let is_version = cursor.copy_key(&mut found_key) == HISTORY_KEY_BYTES
            && found_key.first_chunk::<12>() == wanted.first_chunk();
        Ok(cursor.into_found().filter(|_| is_version))
    }

    /// The sequence of the newest version of a key; 0 where it has none. Range tombstones
    /// count.
    ///
    /// # Errors
    /// I/O or corruption.
    pub fn newest_sequence(&self, pager: &Pager, table: u32, key: &[u8]) -> Result<u64> {
        let point = self.lookup(pager, table, key, u64::MAX, true)?;
        let point = point.map_or(0, |found| found.sequence);
        Ok(point.max(self.covering(table, key, u64::MAX)))
    }

    /// The highest sequence that changed a key from `from` to the exclusive `to` (empty:
    /// the table's end); 0 where none did. Reads what lies there, by way of `buffer`, which
    /// holds a key of the run.
    ///
    /// # Errors
    /// I/O or corruption.
    pub fn newest_in_range(
        &self,
        pager: &Pager,
        table: u32,
        (from, to): (&[u8], &[u8]),
        buffer: &mut [u8],
    ) -> Result<u64> {
        let ends_after = |end: &[u8], start: &[u8]| end.is_empty() || start < end;
        let mut newest = self
            .range_tombstones()
            .filter(|range| {
                let start = range.from.max(from);
                range.table == table && ends_after(range.to, start) && ends_after(to, start)
            })
            .fold(0, |newest, range| range.sequence.max(newest));
        let mut cursor = RunCursor::new(pager, *self, table, u64::MAX, true);
        cursor.seek(CursorPosition::AtOrAfter(from), buffer)?;
        while let Some(entry) = cursor.entry() {
            if !ends_after(to, cursor.key(buffer)) {
                break;
            }
            newest = newest.max(entry.sequence);
            cursor.advance(buffer)?;
        }
        Ok(newest)
    }

    /// The highest sequence, at most `sequence`, of a range tombstone that covers the key;
    /// 0 where none does.
    #[must_use]
    pub fn covering(&self, table: u32, key: &[u8], sequence: u64) -> u64 {
        self.range_tombstones()
            .filter(|range| range.sequence <= sequence && range.covers(table, key))
            .fold(0, |highest, range| range.sequence.max(highest))
    }

    /// All range tombstones.
    #[must_use]
    pub fn range_tombstones(&self) -> RunRanges<'e> {
        self.ranges
    }
}

/// A range tombstone of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunRange<'a> {
    /// The table.
    pub table: u32,
    /// The commit.
    pub sequence: u64,
    /// The first key.
    pub from: &'a [u8],
    /// The exclusive end; empty: the table's.
    pub to: &'a [u8],
}

impl RunRange<'_> {
    /// Whether it covers a key.
    #[must_use]
    pub fn covers(&self, table: u32, key: &[u8]) -> bool {
        self.table == table && self.from <= key && (self.to.is_empty() || key < self.to)
    }
}

/// The range tombstones of a run.
#[derive(Clone, Copy)]
pub struct RunRanges<'a> {
    bytes: &'a [u8],
}

impl<'a> Iterator for RunRanges<'a> {
    type Item = RunRange<'a>;

    fn next(&mut self) -> Option<RunRange<'a>> {
        let (header, rest) = self.bytes.split_at_checked(RANGE_HEADER_BYTES)?;
        let (from, rest) = rest.split_at_checked(usize::from(get_u16(header, 12)))?;
        let (to, rest) = rest.split_at_checked(usize::from(get_u16(header, 14)))?;
        self.bytes = rest;
        Some(RunRange {
            table: get_u32(header, 0),
            sequence: get_u64(header, 4),
            from,
            to,
        })
    }
}
