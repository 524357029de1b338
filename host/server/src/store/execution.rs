//! What a command sees of the keyspace.

use super::{Changes, Store, table_of};
use crate::failure::Failure;
use lightning_db::{Range, ReadTransaction, Table, TableReader, ValueGuard, WriteTransaction};
use lightning_ops::configuration::EventClasses;
use std::ops::RangeBounds;
use std::time::{SystemTime, UNIX_EPOCH};

type Bytes = &'static [u8];

/// Keys of which lookups ask for memory together.
pub const AHEAD_KEYS_MAX: usize = 16;

/// A value as it was read, lent by the database where it can be.
pub type StoredValue<'t> = ValueGuard<'t, Bytes>;

/// The state that a batch reads.
pub enum View<'t> {
    /// A snapshot of what is durable. The table that was read last is kept open.
    Read {
        /// The snapshot.
        transaction: &'t ReadTransaction,
        /// The database that was read last, and its table.
        last: Option<(usize, TableReader<'t, Bytes, Bytes>)>,
    },
    /// A transaction that writes, and sees what the batch has written.
    Write(&'t WriteTransaction),
}

impl<'t> View<'t> {
    /// The table of a snapshot's database, kept open for the reads behind. None where the
    /// batch writes.
    fn reader(
        &mut self,
        tables: &[Table],
        database: usize,
        may_read: bool,
    ) -> Result<Option<&TableReader<'t, Bytes, Bytes>>, Failure> {
        let View::Read { transaction, last } = self else {
            return Ok(None);
        };
        let is_open = last.as_ref().is_some_and(|(of, _)| *of == database);
        if !is_open || may_read {
            let table = table_of(tables, database)?;
            let reader = if may_read {
                transaction.open(table)?
            } else {
                transaction.open_in_memory(table)?
            };
            *last = Some((database, reader));
        }
        Ok(last.as_ref().map(|(_, reader)| reader))
    }

    /// Asks for the memory that the lookups of `keys`, the first [`AHEAD_KEYS_MAX`] of
    /// them, are about to wait for.
    pub fn prefetch<'k>(
        &mut self,
        tables: &[Table],
        database: usize,
        keys: impl Iterator<Item = &'k [u8]>,
    ) {
        // What can't be opened is told to who reads it.
        if let Ok(Some(reader)) = self.reader(tables, database, false) {
            reader.prefetch(keys.take(AHEAD_KEYS_MAX));
        }
    }
}

/// The keyspace in the hands of one command.
pub struct Execution<'x, 't> {
    store: &'x Store,
    tables: &'x [Table],
    view: &'x mut View<'t>,
    may_read: bool,
    now_ms: u64,
    /// Keys that it looks for in vain are told.
    tells_misses: bool,
    /// What the command wants changed.
    pub changes: &'x mut Changes,
}

/// Milliseconds since 1970.
#[must_use]
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

impl<'x, 't> Execution<'x, 't> {
    /// A command's way to `store` at a time in milliseconds since 1970. Where it may not
    /// read from the device, it fails with [`Failure::WouldRead`] when it would have to.
    pub fn new(
        store: &'x Store,
        tables: &'x [Table],
        view: &'x mut View<'t>,
        may_read: bool,
        changes: &'x mut Changes,
        now_ms: u64,
    ) -> Self {
        Self {
            store,
            tables,
            view,
            may_read,
            tells_misses: false,
            changes,
            now_ms,
        }
    }

    /// Tells of keys that are looked for in vain.
    pub fn tell_misses(&mut self) {
        self.tells_misses = self.changes.tells(EventClasses::KEY_MISS);
    }

    /// Marks the keys that get a value and are new.
    ///
    /// # Errors
    /// As [`reader`](Self::reader).
    pub fn mark_new(&mut self) -> Result<(), Failure> {
        let Self {
            store,
            tables,
            view,
            may_read,
            changes,
            ..
        } = self;
        changes.mark_new(|database, key| {
            Ok(look_up(store, tables, view, *may_read, database, key)?.is_some())
        })
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &'x Store {
        self.store
    }

    /// The time at which the command runs, in milliseconds since 1970.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// How many databases there are.
    #[must_use]
    pub fn databases(&self) -> usize {
        self.tables.len()
    }

    /// The table of a database, to be read many times.
    ///
    /// # Errors
    /// A number that there is no database of; I/O, damage, or that it would read.
    pub fn reader(&self, database: usize) -> Result<TableReader<'_, Bytes, Bytes>, Failure> {
        let table = table_of(self.tables, database)?;
        Ok(match (&*self.view, self.may_read) {
            (View::Read { transaction, .. }, true) => transaction.open(table)?,
            (View::Read { transaction, .. }, false) => transaction.open_in_memory(table)?,
            (View::Write(transaction), true) => transaction.open(table)?,
            (View::Write(transaction), false) => transaction.open_in_memory(table)?,
        })
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// As [`reader`](Self::reader).
    pub fn get(&mut self, database: usize, key: &[u8]) -> Result<Option<StoredValue<'_>>, Failure> {
        let (tables, may_read) = (self.tables, self.may_read);
        let value = look_up(self.store, tables, self.view, may_read, database, key)?;
        if value.is_none() && self.tells_misses {
            let class = EventClasses::KEY_MISS;
            self.changes.event(class, "keymiss", database, key);
        }
        Ok(value)
    }

    /// Asks for the memory that lookups of `keys`, the first [`AHEAD_KEYS_MAX`] of them, are
    /// about to wait for.
    pub fn prefetch<'k>(&mut self, database: usize, keys: impl Iterator<Item = &'k [u8]>) {
        if !self.may_read {
            self.view.prefetch(self.tables, database, keys);
        }
    }

    /// Whether `key` is there.
    ///
    /// # Errors
    /// As [`reader`](Self::reader).
    pub fn exists(&mut self, database: usize, key: &[u8]) -> Result<bool, Failure> {
        Ok(self.get(database, key)?.is_some())
    }

    /// The entries of a part of a database.
    ///
    /// # Errors
    /// As [`reader`](Self::reader).
    pub fn range<'k>(
        &self,
        database: usize,
        range: impl RangeBounds<&'k [u8]>,
    ) -> Result<Range<'_, Bytes, Bytes>, Failure> {
        Ok(self.reader(database)?.range(range)?)
    }
}

/// The value of a key.
fn look_up<'v>(
    store: &Store,
    tables: &[Table],
    view: &'v mut View<'_>,
    may_read: bool,
    database: usize,
    key: &[u8],
) -> Result<Option<StoredValue<'v>>, Failure> {
    if key.len() > store.limits().key_bytes_max {
        // No such key can have been written.
        return Ok(None);
    }
    if let View::Write(transaction) = view {
        let table = table_of(tables, database)?;
        return Ok(if may_read {
            transaction.open(table)?.get(key)?
        } else {
            transaction.open_in_memory(table)?.get(key)?
        });
    }
    match view.reader(tables, database, may_read)? {
        Some(reader) => Ok(reader.get(key)?),
        None => Ok(None),
    }
}

impl std::fmt::Debug for Execution<'_, '_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Execution")
            .field("may_read", &self.may_read)
            .field("changes", &self.changes)
            .finish_non_exhaustive()
    }
}
