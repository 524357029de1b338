//! The one inserter: a commit is begun, filled, and published.
//!
//! [`begin_commit`](Writer::begin_commit) refuses what doesn't fit wholly, before
//! anything is written. Entries are linked as they come: lookups filter by a
//! sequence that the engine raises after `publish`, so that nobody sees a half
//! commit; walks over commits end at what is published. A commit that is dropped
//! after its first record without being published is a defect of the caller, since
//! its entries can't be taken out again: the memtable then refuses every commit
//! until it is reset.

use super::arena::{CommitHead, Node, Pen};
use super::entry::{Record, RecordKind};
use super::list;
use super::{CommitSize, Memtable};
use crate::error::KeySample;
use crate::error::{Error, Limit, Result};
use crate::format::run::filter_hash;
use crate::sync::Ordering;
use core::cmp;

/// A commit begins though one before it was left unpublished, or its sequence
/// isn't above the last.
const CHECK_COMMIT_ORDER: u32 = 401;
/// A record is more than its commit announced, or too long for any memtable.
const CHECK_RECORD_ANNOUNCED: u32 = 402;
/// A range delete stands behind another record.
const CHECK_RANGE_DELETE_FIRST: u32 = 403;
/// A commit is published with fewer records than it announced.
const CHECK_COMMIT_COMPLETE: u32 = 404;

/// The right to insert, until dropped. See [`Memtable::writer`].
pub struct Writer<'a> {
    memtable: &'a Memtable,
    pen: Pen<'a>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(memtable: &'a Memtable, pen: Pen<'a>) -> Self {
        Self { memtable, pen }
    }

    /// Begins a commit of at most `size`.
    ///
    /// # Errors
    /// [`Error::FrontFull`] where it doesn't fit (see [`Memtable::fits`]), also when
    /// its sequence is 2^32 or more above the memtable's first;
    /// [`Error::OverLimit`] when its range deletes take more bytes than are left;
    /// [`Error::Internal`] when the sequence isn't above the last, or a commit before
    /// it was left unpublished.
    pub fn begin_commit(&mut self, head: CommitHead, size: &CommitSize) -> Result<Commit<'_, 'a>> {
        if !self.pen.is_clean() || head.sequence <= self.memtable.last_sequence() {
            return Err(Error::Internal(CHECK_COMMIT_ORDER));
        }
        let left = self.memtable.range_bytes_left();
        if size.range_bytes > left {
            return Err(Error::OverLimit {
                limit: Limit::RangeTombstones,
                value: size.range_bytes,
                maximum: left,
            });
        }
        if !self.memtable.fits(size) || !self.pen.admit(head.sequence) {
            return Err(Error::FrontFull);
        }
        Ok(Commit {
            writer: self,
            head,
            left: *size,
            points: 0,
            range_deletes: 0,
        })
    }

    /// Empties the memtable for its next life; its memory stays.
    ///
    /// # Safety
    /// No lookup, cursor move or walk of this memtable is running, nothing that it
    /// lent (an [`Entry`](super::Entry), a slice, an iterator) is used at the same
    /// time or later, and all such uses happened before this call, in the sense of
    /// the memory model: an epoch or a lock gives that. A [`Cursor`](super::Cursor)
    /// or [`Position`](super::Position) may outlive it, and then leads nowhere.
    pub unsafe fn reset(&mut self) {
        // SAFETY: handed on to the caller, in its words.
        unsafe { self.pen.reset() }
        self.memtable.clear_counters();
    }

    /// As [`reset`](Self::reset), and lets the host have the arena's memory until it is
    /// filled again.
    ///
    /// # Safety
    /// As [`reset`](Self::reset).
    pub unsafe fn discard(&mut self) {
        // SAFETY: handed on to the caller, in its words.
        unsafe { self.pen.discard() }
        self.memtable.clear_counters();
    }
}

/// A commit being written. Dropped before its first record it leaves nothing.
pub struct Commit<'w, 'a> {
    writer: &'w mut Writer<'a>,
    head: CommitHead,
    left: CommitSize,
    points: u32,
    range_deletes: u32,
}

impl Commit<'_, '_> {
    /// Appends and links `record`. Range deletes come first; then the others, in
    /// ascending order of table and key, at most one for each key.
    ///
    /// # Errors
    /// [`Error::NotAscending`] where the order isn't kept, [`Error::Internal`] where a
    /// range delete comes late or the record is more than was announced. The record
    /// isn't inserted; what was, is, so that the commit can go on.
    pub fn insert(&mut self, record: &Record<'_>) -> Result<()> {
        let left = self.left_after(record)?;
        if record.kind == RecordKind::RangeDelete {
            self.insert_range_delete(record)?;
        } else {
            self.insert_point(record)?;
        }
        self.left = left;
        Ok(())
    }

    /// Makes the commit part of what [`Memtable::commits_from`] walks over.
    ///
    /// # Errors
    /// [`Error::Internal`] where records that were announced are missing.
    pub fn publish(self) -> Result<()> {
        let records = self.points.saturating_add(self.range_deletes);
        if self.left.records != 0 || !self.writer.pen.publish(&self.head, records) {
            return Err(Error::Internal(CHECK_COMMIT_COMPLETE));
        }
        let memtable = self.writer.memtable;
        memtable.entries.fetch_add(records, Ordering::Relaxed);
        if memtable.first_sequence() == 0 {
            memtable
                .first_sequence
                .store(self.head.sequence, Ordering::Release);
        }
        memtable
            .last_sequence
            .store(self.head.sequence, Ordering::Release);
        Ok(())
    }

    fn left_after(&self, record: &Record<'_>) -> Result<CommitSize> {
        let is_range_delete = u32::from(record.kind == RecordKind::RangeDelete);
        let range_bytes = u64::from(is_range_delete) * super::range_bytes(record);
        let left = (|| {
            u16::try_from(record.key.len()).ok()?;
            Some(CommitSize {
                records: self.left.records.checked_sub(1)?,
                range_deletes: self.left.range_deletes.checked_sub(is_range_delete)?,
                range_bytes: self.left.range_bytes.checked_sub(range_bytes)?,
                key_bytes: self.left.key_bytes.checked_sub(record.key.len() as u64)?,
                value_bytes: self
                    .left
                    .value_bytes
                    .checked_sub(record.value.len() as u64)?,
            })
        })();
        left.ok_or(Error::Internal(CHECK_RECORD_ANNOUNCED))
    }

    fn insert_range_delete(&mut self, record: &Record<'_>) -> Result<()> {
        if self.points > 0 {
            return Err(Error::Internal(CHECK_RANGE_DELETE_FIRST));
        }
        let Writer { memtable, pen } = &mut *self.writer;
        let node = append(pen, record, self.head.sequence, 1)?;
        pen.link(
            memtable.arena.range_sentinel(),
            node,
            memtable.ranks.of(record.table, record.key),
        );
        let bytes = u32::try_from(super::range_bytes(record)).unwrap_or(u32::MAX);
        memtable.range_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.range_deletes = self.range_deletes.saturating_add(1);
        Ok(())
    }

    fn insert_point(&mut self, record: &Record<'_>) -> Result<()> {
        let Writer { memtable, pen } = &mut *self.writer;
        let arena = &memtable.arena;
        let target = memtable.target(record.table, record.key, self.head.sequence);
        let (order, same_key) = match pen.finger(0).node() {
            Some(last) => target.compare(last),
            None => (cmp::Ordering::Greater, false),
        };
        let is_after_last = order == cmp::Ordering::Less;
        if self.points > 0 && (same_key || !is_after_last) {
            return Err(Error::NotAscending {
                key: KeySample::of(record.key),
            });
        }
        let count = memtable.points.load(Ordering::Relaxed);
        let height = list::height_of(count, arena.levels());
        list::place_fingers(pen, height, &target, is_after_last);
        let node = append(pen, record, self.head.sequence, height)?;
        if memtable.filter.is_there() {
            let hash = filter_hash(record.table, record.key);
            memtable.filter.insert(hash);
        }
        for level in 0..height {
            if let Some(rung) = pen.link(pen.finger(level), node, target.rank()) {
                pen.set_finger(rung);
            }
        }
        memtable
            .points
            .store(count.wrapping_add(1), Ordering::Relaxed);
        self.points = self.points.saturating_add(1);
        Ok(())
    }
}

fn append<'a>(
    pen: &mut Pen<'a>,
    record: &Record<'_>,
    sequence: u64,
    height: u32,
) -> Result<Node<'a>> {
    pen.append(record, sequence, height)
        .ok_or(Error::Internal(CHECK_RECORD_ANNOUNCED))
}
