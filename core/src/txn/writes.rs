//! What a transaction has written and read so far.
//!
//! The writes stand in a memtable of their own, whose sequences count the
//! operations: so reading one's own writes and walking them in order is what
//! reading any memtable is. The reads, where they are to be validated, stand as
//! ranges in a buffer; when it is full, they become one range that covers all.

use crate::error::{Error, Limit, Result};
use crate::format::bytes::{get_u16, get_u32, put};
use crate::mem::{Array, Budget};
use crate::memtable::{CommitHead, CommitSize, Cursor, Entry, Memtable, Record};
use lightning_platform::MemoryUse;

/// A range that a transaction read: keys from `from` to `to`, inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadRange<'a> {
    /// The table, or `None` for everything.
    pub table: Option<u32>,
    /// The first key.
    pub from: &'a [u8],
    /// The last key; `None` for the table's end.
    pub to: Option<&'a [u8]>,
}

/// The memory of one write transaction.
pub struct WriteSet {
    writes: Memtable,
    operations: u64,
    bytes_max: u64,
    reads: Array<u8>,
    reads_filled: usize,
    reads_everything: bool,
}

impl WriteSet {
    /// Room for `bytes_max` bytes of writes, of which `range_bytes` may be range deletes,
    /// and `read_bytes` of reads.
    ///
    /// # Errors
    /// When the budget or the host has no memory.
    pub fn new(
        budget: &mut Budget,
        bytes_max: usize,
        read_bytes: usize,
        range_bytes: u32,
    ) -> Result<Self> {
        Ok(Self {
            writes: Memtable::new(budget, bytes_max.max(256), range_bytes)?,
            operations: 0,
            bytes_max: bytes_max as u64,
            reads: Array::zeroed(budget, MemoryUse::Buffer, read_bytes)?,
            reads_filled: 0,
            reads_everything: false,
        })
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        if self.operations > 0 {
            self.writes.reset();
        }
        self.operations = 0;
        self.reads_filled = 0;
        self.reads_everything = false;
    }

    /// Whether nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.operations == 0
    }

    /// The writes, as a source.
    #[must_use]
    pub fn memtable(&self) -> &Memtable {
        &self.writes
    }

    /// Adds a write.
    ///
    /// # Errors
    /// [`Error::OverLimit`] when the transaction is larger than its budget.
    pub fn write(&mut self, record: &Record<'_>) -> Result<()> {
        let mut size = CommitSize::default();
        size.add(record);
        let over = Error::OverLimit {
            limit: Limit::TransactionBytes,
            value: self.writes.bytes_used() + size.key_bytes + size.value_bytes,
            maximum: self.bytes_max,
        };
        if !self.writes.fits(&size) {
            return Err(over);
        }
        let head = CommitHead {
            sequence: self.operations + 1,
            wall_time_ms: 0,
            origin: 0,
        };
        let mut writer = self.writes.writer().ok_or(Error::Internal(110))?;
        let mut commit = writer.begin_commit(head, &size)?;
        commit.insert(record)?;
        commit.publish()?;
        self.operations += 1;
        Ok(())
    }

    /// The net effect, in ascending order: the last write of each key. Range deletes
    /// are answered by [`range_deletes`](Self::range_deletes).
    pub fn net(&self) -> impl Iterator<Item = Record<'_>> + Clone {
        let mut cursor = Cursor::new();
        cursor.seek_first(&self.writes);
        Net {
            writes: &self.writes,
            cursor,
        }
        .filter(|entry| {
            // What a later range delete removed is gone with it.
            self.writes.covering(entry.table(), entry.key(), u64::MAX) <= entry.sequence()
        })
        .map(|entry| entry.record())
    }

    /// The range deletes, each of which applies before the point writes.
    pub fn range_deletes(&self) -> impl Iterator<Item = Record<'_>> + Clone {
        self.writes.range_tombstones().map(|entry| entry.record())
    }

    /// What the commit's records take.
    #[must_use]
    pub fn size(&self) -> CommitSize {
        let mut size = CommitSize::default();
        for record in self.range_deletes().chain(self.net()) {
            size.add(&record);
        }
        size
    }

    /// Notes a read for validation.
    pub fn read(&mut self, table: u32, from: &[u8], to: Option<&[u8]>) {
        if self.reads_everything {
            return;
        }
        let last = to.unwrap_or(&[]);
        let start = self.reads_filled;
        let length = 10 + from.len() + last.len();
        let fits = start + length <= self.reads.len()
            && put(&mut self.reads, start, &table.to_le_bytes())
            && put(
                &mut self.reads,
                start + 4,
                &(from.len() as u16).to_le_bytes(),
            )
            && put(
                &mut self.reads,
                start + 6,
                &(last.len() as u16).to_le_bytes(),
            )
            && put(&mut self.reads, start + 8, &[u8::from(to.is_some()), 0])
            && put(&mut self.reads, start + 10, from)
            && put(&mut self.reads, start + 10 + from.len(), last);
        if fits {
            self.reads_filled += length;
        } else {
            self.reads_everything = true;
        }
    }

    /// What was read.
    pub fn reads(&self) -> impl Iterator<Item = ReadRange<'_>> {
        let everything = self.reads_everything.then_some(ReadRange {
            table: None,
            from: &[],
            to: None,
        });
        let mut at = 0;
        let each = core::iter::from_fn(move || {
            if at >= self.reads_filled {
                return None;
            }
            let header = self.reads.get(at..at + 10)?;
            let from_bytes = usize::from(get_u16(header, 4));
            let to_bytes = usize::from(get_u16(header, 6));
            let from = self.reads.get(at + 10..at + 10 + from_bytes)?;
            let to = self
                .reads
                .get(at + 10 + from_bytes..at + 10 + from_bytes + to_bytes)?;
            let bounded = header.get(8) == Some(&1);
            at += 10 + from_bytes + to_bytes;
            Some(ReadRange {
                table: Some(get_u32(header, 0)),
                from,
                to: bounded.then_some(to),
            })
        });
        everything.into_iter().chain(each)
    }
}

#[derive(Clone)]
struct Net<'a> {
    writes: &'a Memtable,
    cursor: Cursor,
}

impl<'a> Iterator for Net<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        let entry = self.cursor.entry(self.writes)?;
        self.cursor.next_key(self.writes);
        Some(entry)
    }
}
