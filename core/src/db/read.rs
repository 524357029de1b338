//! Reading: snapshots, gets, cursors, counts.

use super::{Durability, Engine, NAMES_TABLE, Transaction};
use crate::btree::{self, CursorPosition, Found, Root};
use crate::error::{CorruptionReason, Error, Limit, Result};
use crate::format::bytes::get_u32;
use crate::format::catalogue::RootRecord;
use crate::format::leaf::{EntryKind, Leaf};
use crate::format::page_ref::PageRef;
use crate::memtable::{Entry, RecordKind};
use crate::sync::Ordering;
use crate::txn::{MergedCursor, Snapshot, SourceList, Stored, VersionState};
use lightning_platform::File;

/// A table as a snapshot or transaction sees it: found once, read many times.
#[derive(Clone, Copy)]
pub struct TableView<'s> {
    list: SourceList<'s>,
    entries_below: u64,
}

/// A value, lent by the page or memtable that holds it.
pub struct Value<'s> {
    place: Place<'s>,
}

enum Place<'s> {
    Page(Found<'s>),
    Memtable(Entry<'s>),
}

impl Value<'_> {
    /// Where the value's bytes are: lent, or in an extent.
    #[must_use]
    pub fn stored(&self) -> Stored<'_> {
        match &self.place {
            Place::Page(found) => Stored::of(found.kind == EntryKind::Extent, found.value()),
            Place::Memtable(entry) => Stored::Inline(entry.value()),
        }
    }

    /// When it expires, in milliseconds since 1970.
    #[must_use]
    pub fn expiry_ms(&self) -> Option<u64> {
        match &self.place {
            Place::Page(found) => found.expiry_ms,
            Place::Memtable(entry) => entry.expiry_ms(),
        }
    }

    /// The metadata byte.
    #[must_use]
    pub fn metadata(&self) -> Option<u8> {
        match &self.place {
            Place::Page(found) => found.metadata,
            Place::Memtable(entry) => entry.metadata(),
        }
    }
}

impl Engine {
    /// Begins a snapshot: everything acknowledged before is seen, nothing after.
    /// Entries that expire at or before `now_ms` are not. Costs about 50 ns.
    /// While it is open, pages and memtables that it may read are kept.
    ///
    /// # Errors
    /// [`Error::OverLimit`] when as many are open as were planned.
    pub fn snapshot(&self, now_ms: u64) -> Result<Snapshot> {
        self.versions
            .begin(&self.pager, self.id, now_ms, || self.readable())
    }

    /// Gives a snapshot back.
    pub fn end(&self, snapshot: Snapshot) {
        if snapshot.engine == self.id {
            self.versions.end(snapshot);
        }
    }

    fn readable(&self) -> u64 {
        match self.options.durability {
            Durability::Sync => self.durable.load(Ordering::SeqCst),
            Durability::Written => self.written.load(Ordering::SeqCst),
        }
    }

    /// A table as a snapshot sees it. A table that nobody created is empty.
    ///
    /// # Errors
    /// I/O or corruption; [`Error::WouldRead`] where reading was not allowed.
    pub fn view<'s>(
        &'s self,
        snapshot: &'s Snapshot,
        table: u32,
        may_read: bool,
    ) -> Result<TableView<'s>> {
        self.own(snapshot)?;
        let state = self.versions.of(snapshot);
        let record = self.root_record(state.roots.as_ref(), table, may_read)?;
        let mut list = SourceList::new(
            Root {
                page: record.root,
                table,
            },
            snapshot.now_ms,
        );
        self.add_memtables(&mut list, &state, snapshot.sequence)?;
        Ok(TableView {
            list,
            entries_below: record.entries,
        })
    }

    /// A table as a transaction sees it, its own writes included.
    ///
    /// # Errors
    /// As [`view`](Self::view).
    pub fn transaction_view<'t>(
        &'t self,
        transaction: &'t Transaction,
        table: u32,
        may_read: bool,
    ) -> Result<TableView<'t>> {
        let writes = self.writes(transaction)?;
        if transaction.is_committing {
            return Err(Error::TransactionTooOld);
        }
        let snapshot = &transaction.snapshot;
        let state = self.versions.of(snapshot);
        let record = self.root_record(state.roots.as_ref(), table, may_read)?;
        let mut list = SourceList::new(
            Root {
                page: record.root,
                table,
            },
            snapshot.now_ms,
        );
        list.push(writes.memtable(), u64::MAX);
        self.add_memtables(&mut list, &state, snapshot.sequence)?;
        Ok(TableView {
            list,
            entries_below: record.entries,
        })
    }

    fn add_memtables<'s>(
        &'s self,
        list: &mut SourceList<'s>,
        state: &VersionState,
        sequence: u64,
    ) -> Result<()> {
        for index in state.memtables() {
            // The snapshot counts as a reader of a version that lists the memtable,
            // so that it isn't reset before the snapshot ends.
            list.push(&self.memtable(index)?.memtable, sequence);
        }
        Ok(())
    }

    pub(super) fn root_record(
        &self,
        roots: Option<&PageRef>,
        table: u32,
        may_read: bool,
    ) -> Result<RootRecord> {
        let key = table.to_be_bytes();
        let root = Root {
            page: roots.copied(),
            table: 0,
        };
        let found = btree::with_leaf(&self.pager, &root, &key, may_read, |view| {
            let leaf = Leaf::new(view.bytes());
            leaf.search(&key)
                .ok()
                .map(|index| RootRecord::decode(leaf.entry(index).value))
        })?;
        match found.flatten() {
            None => Ok(RootRecord::default()),
            Some(Some(record)) => Ok(record),
            Some(None) => {
                let address = roots.map_or(0, |page| page.address);
                let offset = self.pager.layout().offset(address).unwrap_or(u64::MAX);
                Err(Error::corrupt(
                    CorruptionReason::Structure,
                    File::Pages,
                    offset,
                ))
            }
        }
    }

    /// The value of a key.
    ///
    /// # Errors
    /// I/O or corruption; [`Error::WouldRead`] where a page is not in memory and
    /// reading was not allowed.
    #[inline]
    pub fn get<'s>(
        &'s self,
        view: &TableView<'s>,
        key: &[u8],
        may_read: bool,
    ) -> Result<Option<Value<'s>>> {
        let list = &view.list;
        if let Some(entry) = list.lookup(key) {
            let seen = matches!(entry.kind(), RecordKind::Put | RecordKind::Extent)
                && entry.expiry_ms().is_none_or(|expiry| expiry > list.now_ms);
            return Ok(seen.then_some(Value {
                place: Place::Memtable(entry),
            }));
        }
        let found = btree::get(&self.pager, &list.root, key, may_read)?;
        Ok(found
            .filter(|found| found.expiry_ms.is_none_or(|expiry| expiry > list.now_ms))
            .map(|found| Value {
                place: Place::Page(found),
            }))
    }

    /// Copies a part of a value, from byte `offset` on, filling `buffer`.
    ///
    /// # Errors
    /// I/O or corruption; [`Error::OverLimit`] where the part passes the value's end.
    pub fn read_value(
        &self,
        view: &TableView<'_>,
        stored: Stored<'_>,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<()> {
        let over = Error::OverLimit {
            limit: Limit::ValueBytes,
            value: offset.saturating_add(buffer.len() as u64),
            maximum: stored.length(),
        };
        match stored {
            Stored::Inline(bytes) => {
                let start = usize::try_from(offset).map_err(|_| over)?;
                let part = bytes.get(start..).and_then(|tail| tail.get(..buffer.len()));
                buffer.copy_from_slice(part.ok_or(over)?);
                Ok(())
            }
            Stored::Extent(extent) => {
                if offset.saturating_add(buffer.len() as u64) > extent.length {
                    return Err(over);
                }
                self.pager
                    .read_extent(&extent, view.list.root.table, offset, buffer)
            }
        }
    }

    /// A cursor over a table. It holds one of the planned cursors until dropped.
    ///
    /// # Errors
    /// [`Error::OverLimit`] when as many are open as were planned.
    pub fn cursor<'s>(&'s self, view: &TableView<'s>, may_read: bool) -> Result<MergedCursor<'s>> {
        for buffer in self.cursor_buffers.iter() {
            if let Some(buffer) = buffer.try_enter() {
                return Ok(MergedCursor::new(&self.pager, view.list, buffer, may_read));
            }
        }
        let maximum = self.cursor_buffers.len() as u64;
        Err(Error::OverLimit {
            limit: Limit::Cursors,
            value: maximum + 1,
            maximum,
        })
    }

    /// The exact number of entries in a table, those that expired and were not
    /// removed yet included. Costs a lookup below for each key in memtables.
    ///
    /// # Errors
    /// I/O or corruption.
    pub fn count(&self, view: &TableView<'_>) -> Result<u64> {
        let mut count = view.entries_below;
        if view.list.count == 0 {
            return Ok(count);
        }
        // A range tombstone may hide entries that no memtable names: then all is walked.
        let sources = view.list.memtables.iter().take(view.list.count).flatten();
        if sources
            .clone()
            .any(|source| source.memtable.range_tombstones().next().is_some())
        {
            return self.count_by_walking(view);
        }
        for (index, source) in sources.enumerate() {
            let mut cursor = crate::memtable::Cursor::new();
            cursor.seek(source.memtable, view.list.root.table, &[]);
            while let Some(entry) = cursor.entry(source.memtable) {
                if entry.table() != view.list.root.table {
                    break;
                }
                let key = entry.key();
                // Each key is counted where its newest version stands.
                let newest_here = source.memtable.get(entry.table(), key, source.sequence);
                let newer = view
                    .list
                    .memtables
                    .iter()
                    .take(index)
                    .flatten()
                    .any(|newer| {
                        newer
                            .memtable
                            .get(entry.table(), key, newer.sequence)
                            .is_some()
                    });
                if let Some(newest) = newest_here.filter(|_| !newer) {
                    let is_there = newest.kind() != RecordKind::Delete;
                    let was_there = btree::get(&self.pager, &view.list.root, key, true)?.is_some();
                    count += u64::from(is_there && !was_there);
                    count -= u64::from(!is_there && was_there);
                }
                cursor.next_key(source.memtable);
            }
        }
        Ok(count)
    }

    fn count_by_walking(&self, view: &TableView<'_>) -> Result<u64> {
        let mut all = *view;
        all.list.now_ms = 0;
        let mut cursor = self.cursor(&all, true)?;
        cursor.seek(CursorPosition::First)?;
        let mut count = 0;
        while cursor.is_valid() {
            count += 1;
            cursor.advance()?;
        }
        Ok(count)
    }

    /// About how many entries a table has: those of its tree, without what
    /// memtables change. Costs nothing.
    #[must_use]
    pub fn count_estimate(&self, view: &TableView<'_>) -> u64 {
        view.entries_below
    }

    /// The id of the table of that name.
    ///
    /// # Errors
    /// I/O or corruption.
    pub fn find_table(&self, snapshot: &Snapshot, name: &[u8]) -> Result<Option<u32>> {
        let names = self.view(snapshot, NAMES_TABLE, true)?;
        let found = self.get(&names, name, true)?;
        Ok(found.and_then(|value| Some(get_u32(value.stored().inline()?, 0))))
    }

    /// The id of the table of that name, as a transaction sees it.
    ///
    /// # Errors
    /// I/O or corruption.
    pub fn transaction_find_table(
        &self,
        transaction: &Transaction,
        name: &[u8],
    ) -> Result<Option<u32>> {
        let names = self.transaction_view(transaction, NAMES_TABLE, true)?;
        let found = self.get(&names, name, true)?;
        Ok(found.and_then(|value| Some(get_u32(value.stored().inline()?, 0))))
    }
}
