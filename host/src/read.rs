//! Read transactions.

use crate::encoding::{Key, Value};
use crate::error::Result;
use crate::guard::ValueGuard;
use crate::range::Range;
use crate::shared::{Owner, now_ms};
use crate::table::{TableReader, TypedTable};
use lightning_core::txn::Snapshot;
use std::fmt;
use std::ops::RangeBounds;
use std::sync::Arc;

/// A view of the database as it was when the transaction began.
///
/// Sees everything that was acknowledged before, and nothing of what comes
/// after, across all tables. It never waits for writers nor they for it; but
/// while it is open, what it may read can't be given back. It owns what it
/// needs: it can be kept, sent to another thread and shared between threads.
pub struct ReadTransaction {
    owner: Arc<Owner>,
    /// `None` only while it is being dropped.
    snapshot: Option<Snapshot>,
}

impl ReadTransaction {
    pub(crate) fn begin(owner: &Arc<Owner>) -> Result<Self> {
        let snapshot = owner.engine.snapshot(now_ms());
        let snapshot = snapshot.map_err(|error| owner.error(error))?;
        Ok(Self {
            owner: Arc::clone(owner),
            snapshot: Some(snapshot),
        })
    }

    pub(crate) fn snapshot(&self) -> &Snapshot {
        self.snapshot
            .as_ref()
            .expect("given back only when dropped")
    }

    /// The number of the last commit that is seen.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.snapshot().sequence
    }

    /// The table, to be read many times. A table that this transaction doesn't
    /// see yet is empty.
    ///
    /// # Errors
    /// I/O or damage; a table of another database.
    pub fn open<K: Key, V: Value>(
        &self,
        table: &TypedTable<K, V>,
    ) -> Result<TableReader<'_, K, V>> {
        self.reader(table, true)
    }

    /// The table for a thread that must not wait for the device: what is not in memory
    /// is refused with an error that [`would_read`](crate::Error::would_read), and
    /// can then be asked for by another thread through [`open`](Self::open).
    ///
    /// # Errors
    /// As [`open`](Self::open); where the table's root is not in memory.
    pub fn open_in_memory<K: Key, V: Value>(
        &self,
        table: &TypedTable<K, V>,
    ) -> Result<TableReader<'_, K, V>> {
        self.reader(table, false)
    }

    fn reader<K: Key, V: Value>(
        &self,
        table: &TypedTable<K, V>,
        may_read: bool,
    ) -> Result<TableReader<'_, K, V>> {
        let id = table.id_in(&self.owner)?;
        let view = self.owner.engine.view(self.snapshot(), id, may_read);
        let view = view.map_err(|error| self.owner.error(error))?;
        Ok(TableReader::new(&self.owner, table, view, None, may_read))
    }

    /// The value of `key`: short for [`open`](Self::open) and
    /// [`get`](TableReader::get).
    ///
    /// # Errors
    /// I/O, damage, or a value that is no `V`.
    pub fn get<K: Key, V: Value>(
        &self,
        table: &TypedTable<K, V>,
        key: K::Given<'_>,
    ) -> Result<Option<ValueGuard<'_, V>>> {
        self.open(table)?.get(key)
    }

    /// The entries whose keys are in `range`: short for [`open`](Self::open) and
    /// [`range`](TableReader::range).
    ///
    /// # Errors
    /// I/O or damage, or when as many iterators are open as were planned.
    pub fn range<'k, K: Key, V: Value>(
        &self,
        table: &TypedTable<K, V>,
        range: impl RangeBounds<K::Given<'k>>,
    ) -> Result<Range<'_, K, V>> {
        self.open(table)?.range(range)
    }
}

impl Drop for ReadTransaction {
    fn drop(&mut self) {
        if let Some(snapshot) = self.snapshot.take() {
            self.owner.engine.end(snapshot);
        }
    }
}

impl fmt::Debug for ReadTransaction {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ReadTransaction")
            .field("sequence", &self.sequence())
            .finish_non_exhaustive()
    }
}
