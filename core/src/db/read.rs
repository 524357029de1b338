//! Reading: snapshots, gets, cursors, counts.

use super::{Durability, Engine, NAMES_TABLE, Transaction};
use crate::btree::{self, CursorPosition, Found, Root};
use crate::error::{CorruptionReason, Error, Limit, Result};
use crate::format::bytes::get_u32;
use crate::format::catalogue::RootRecord;
use crate::format::leaf::{EntryKind, Leaf};
use crate::format::page_ref::PageRef;
use crate::memtable::Memtable;
use crate::sync::{Exclusive, ExclusiveGuard, Ordering};
use crate::txn::{CursorMemory, Lent, Lookup, MergedCursor, Snapshot, Stored, View};
use lightning_platform::File;

/// A table as a snapshot or transaction sees it: found once, read many times.
#[derive(Clone, Copy)]
pub struct TableView<'s> {
    view: View<'s>,
    entries_below: u64,
}

/// A value, lent by the page or memtable that holds it. One that a memtable lends keeps
/// the memtable from being used again: who keeps values for long copies them.
pub struct Value<'s> {
    place: Place<'s>,
}

enum Place<'s> {
    Page(Found<'s>),
    Memtable(Lent<'s>),
}

impl Value<'_> {
    /// Where the value's bytes are: lent, or in an extent.
    #[must_use]
    pub fn stored(&self) -> Stored<'_> {
        match &self.place {
            Place::Page(found) => Stored::of(found.kind == EntryKind::Extent, found.value()),
            Place::Memtable(lent) => lent.stored(),
        }
    }

    /// When it expires, in milliseconds since 1970.
    #[must_use]
    pub fn expiry_ms(&self) -> Option<u64> {
        match &self.place {
            Place::Page(found) => found.expiry_ms,
            Place::Memtable(lent) => lent.entry().expiry_ms(),
        }
    }

    /// The metadata byte.
    #[must_use]
    pub fn metadata(&self) -> Option<u8> {
        match &self.place {
            Place::Page(found) => found.metadata,
            Place::Memtable(lent) => lent.entry().metadata(),
        }
    }

    /// Whether a memtable lends it.
    #[must_use]
    pub fn is_in_memtable(&self) -> bool {
        matches!(self.place, Place::Memtable(_))
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
        self.front
            .versions
            .begin(&self.pager, self.id, now_ms, || self.readable())
    }

    /// Gives a snapshot back.
    pub fn end(&self, snapshot: Snapshot) {
        if snapshot.engine == self.id {
            self.front.versions.end(snapshot);
        }
    }

    /// How many leaves ahead a scan tells the storage of, where it comes to one that is not
    /// in memory; 0 for none, as at first. Counts from the next leaf on.
    pub fn set_read_ahead(&self, pages: u32) {
        self.pager.set_read_ahead(pages);
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
        self.view_of(snapshot, table, None, may_read)
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
        let own = Some(writes.memtable());
        self.view_of(&transaction.snapshot, table, own, may_read)
    }

    fn view_of<'s>(
        &'s self,
        snapshot: &'s Snapshot,
        table: u32,
        own: Option<&'s Memtable>,
        may_read: bool,
    ) -> Result<TableView<'s>> {
        let roots = self.front.versions.roots(snapshot);
        let record = self.root_record(roots.as_ref(), table, may_read)?;
        let root = Root {
            page: record.root,
            table,
        };
        // The snapshot counts as a reader of the version, so that what it lists is kept.
        let seen = (snapshot.sequence, snapshot.now_ms);
        Ok(TableView {
            view: View::new(&self.front, snapshot.version, seen, root, own),
            entries_below: record.entries,
        })
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
        let seen = &view.view;
        match seen.lookup(&self.pager, key, may_read)? {
            Lookup::Gone => return Ok(None),
            Lookup::Memtable(lent) => {
                return Ok(Some(Value {
                    place: Place::Memtable(lent),
                }));
            }
            Lookup::Run(found) => {
                return Ok(Some(Value {
                    place: Place::Page(found),
                }));
            }
            Lookup::Unknown => {}
        }
        let found = btree::get(&self.pager, &seen.root, key, may_read)?;
        Ok(found
            .filter(|found| !seen.is_expired(found.expiry_ms))
            .map(|found| Value {
                place: Place::Page(found),
            }))
    }

    /// Asks for the memory that the lookups of `keys` would wait for, the first 16 of them:
    /// for who is about to look all of them up. Reads nothing from storage. Costs about as
    /// much as lookups whose pages are in the processor's caches.
    pub fn prefetch(&self, view: &TableView<'_>, keys: &[&[u8]]) {
        view.view.prefetch(&self.pager, keys);
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
                    .read_extent(&extent, view.view.root.table, offset, buffer)
            }
        }
    }

    /// A cursor over a table. It holds one of the planned cursors until dropped.
    ///
    /// # Errors
    /// [`Error::OverLimit`] when as many are open as were planned.
    pub fn cursor<'s>(&'s self, view: &TableView<'s>, may_read: bool) -> Result<MergedCursor<'s>> {
        let memory = self.cursor_memory()?;
        Ok(MergedCursor::new(&self.pager, view.view, memory, may_read))
    }

    /// Lends a cursor over a table to `use_cursor`: as [`cursor`](Self::cursor), which gives
    /// it away and copies its some KiB for that.
    ///
    /// # Errors
    /// As [`cursor`](Self::cursor).
    #[inline]
    pub fn with_cursor<'s, R>(
        &'s self,
        view: &TableView<'s>,
        may_read: bool,
        use_cursor: impl FnOnce(&mut MergedCursor<'s>) -> R,
    ) -> Result<R> {
        let memory = self.cursor_memory()?;
        let mut cursor = MergedCursor::new(&self.pager, view.view, memory, may_read);
        Ok(use_cursor(&mut cursor))
    }

    /// Memory for a cursor, lent until that is dropped.
    fn cursor_memory(&self) -> Result<ExclusiveGuard<'_, CursorMemory>> {
        let free = self.cursor_memories.iter().find_map(Exclusive::try_enter);
        let maximum = self.cursor_memories.len() as u64;
        free.ok_or(Error::OverLimit {
            limit: Limit::Cursors,
            value: maximum + 1,
            maximum,
        })
    }

    /// The exact number of entries in a table, those that expired and were not
    /// removed yet included. Costs a lookup below for each key in memtables and runs.
    ///
    /// # Errors
    /// I/O or corruption, or when as many cursors are open as were planned.
    pub fn count(&self, view: &TableView<'_>) -> Result<u64> {
        let mut count = view.entries_below;
        if view.view.is_tree_only() {
            return Ok(count);
        }
        let mut all = *view;
        all.view.now_ms = 0;
        // A range tombstone may hide entries that nothing above the tree names: then all
        // is walked.
        let has_ranges = view.view.has_range_tombstones(&self.pager);
        if !has_ranges {
            all.view.root.page = None;
        }
        let mut cursor = self.cursor(&all, true)?;
        if has_ranges {
            count = 0;
        } else {
            cursor.show_gone();
        }
        cursor.seek(CursorPosition::First)?;
        while cursor.is_valid() {
            if has_ranges {
                count += 1;
            } else {
                let is_there = !cursor.is_gone();
                let was_there =
                    btree::get(&self.pager, &view.view.root, cursor.key(), true)?.is_some();
                count += u64::from(is_there && !was_there);
                count -= u64::from(!is_there && was_there);
            }
            cursor.advance()?;
        }
        Ok(count)
    }

    /// About how many entries a table has: those of its tree, without what
    /// memtables and runs change. Costs nothing.
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
