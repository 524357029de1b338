//! Tables: handles for them, and reading one.

use crate::encoding::{EncodeBuffer, Key, KeyPrefix, Value};
use crate::error::{EncodedPart, Error, Reason, Result};
use crate::guard::{Entry, KeyGuard, ValueGuard};
use crate::range::{ByteBound, Part, Range, note_read, prefix_bounds};
use crate::read_log::ReadLog;
use crate::room::copied;
use crate::shared::Shared;
use crate::stream::ValueReader;
use lightning_core::db::TableView;
use lightning_core::error::Error as EngineError;
use lightning_core::limits::AHEAD_KEYS_MAX;
use lightning_core::txn::Stored;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Bound, ControlFlow, RangeBounds};
use std::sync::Arc;

/// A table whose keys are `K` and whose values are `V`.
///
/// A handle: cheap to clone, independent of transactions, and good for as long
/// as the table isn't dropped. The type is the caller's word: it is not stored,
/// and what doesn't fit it is refused when it is read.
pub struct TypedTable<K, V> {
    name: Arc<str>,
    id: u32,
    database: u64,
    of: PhantomData<fn() -> (K, V)>,
}

/// A table of bytes.
pub type Table = TypedTable<&'static [u8], &'static [u8]>;

impl<K, V> TypedTable<K, V> {
    pub(crate) fn new(name: &str, id: u32, database: u64) -> Self {
        Self {
            name: name.into(),
            id,
            database,
            of: PhantomData,
        }
    }

    /// The table's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Its number, where it is a table of this database.
    pub(crate) fn id_in(&self, shared: &Shared) -> Result<u32> {
        if self.database == shared.number {
            Ok(self.id)
        } else {
            Err(Error::new(Reason::OtherDatabase {
                table: self.name.to_string(),
            }))
        }
    }

    #[cold]
    pub(crate) fn misfit(&self, part: EncodedPart) -> Error {
        Error::new(Reason::Encoding {
            table: self.name.to_string(),
            part,
        })
    }
}

impl<K, V> Clone for TypedTable<K, V> {
    fn clone(&self) -> Self {
        Self {
            name: Arc::clone(&self.name),
            id: self.id,
            database: self.database,
            of: PhantomData,
        }
    }
}

impl<K, V> fmt::Debug for TypedTable<K, V> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Table")
            .field("name", &self.name)
            .field("id", &self.id)
            .finish()
    }
}

/// A table as one transaction sees it: found once, read many times.
///
/// Made by [`ReadTransaction::open`](crate::ReadTransaction::open) and
/// [`WriteTransaction::open`](crate::WriteTransaction::open).
pub struct TableReader<'t, K, V> {
    shared: &'t Shared,
    table: TypedTable<K, V>,
    view: TableView<'t>,
    reads: Option<&'t ReadLog>,
    /// Whether it may wait for the device.
    may_read: bool,
}

impl<'t, K: Key, V: Value> TableReader<'t, K, V> {
    pub(crate) fn new(
        shared: &'t Shared,
        table: &TypedTable<K, V>,
        view: TableView<'t>,
        reads: Option<&'t ReadLog>,
        may_read: bool,
    ) -> Self {
        Self {
            shared,
            table: table.clone(),
            view,
            reads,
            may_read,
        }
    }

    /// The value of `key`, or `None` where there is none.
    ///
    /// # Errors
    /// I/O, damage, or a value that is no `V`.
    pub fn get<'k>(&self, key: K::Given<'k>) -> Result<Option<ValueGuard<'t, V>>> {
        let mut buffer = EncodeBuffer::new();
        let key = K::encode_key(key, &mut buffer);
        if let Some(reads) = self.reads {
            reads.note(self.table.id(), key, Some(key));
        }
        match self.shared.engine.get(&self.view, key, self.may_read) {
            Ok(None) => Ok(None),
            Ok(Some(value)) => {
                let guard = match value.stored() {
                    // Lent, it would keep the memtable from its next use.
                    Stored::Inline(bytes) if value.is_in_memtable() => {
                        let (expiry_ms, metadata) = (value.expiry_ms(), value.metadata());
                        let bytes = copied(bytes).map_err(|error| self.shared.error(error))?;
                        ValueGuard::copied(bytes, expiry_ms, metadata)
                    }
                    Stored::Inline(_) => ValueGuard::lent(value),
                    stored @ Stored::Extent(_) => {
                        let mut bytes = Vec::new();
                        read_value(self.shared, &self.view, stored, self.may_read, &mut bytes)?;
                        let (expiry_ms, metadata) = (value.expiry_ms(), value.metadata());
                        ValueGuard::copied(bytes.into(), expiry_ms, metadata)
                    }
                };
                guard
                    .map(Some)
                    .ok_or_else(|| self.table.misfit(EncodedPart::Value))
            }
            Err(error) => Err(self.shared.error(error)),
        }
    }

    /// Asks for the memory that a [`get`](Self::get) of each of `keys` would wait for, so
    /// that they wait for it together: worth it for several keys that are about to be
    /// read, of a table that is larger than the processor's caches. Of pages that aren't in
    /// the cache of the database nothing is read.
    ///
    /// ```
    /// # let directory = std::env::temp_dir().join("lightning-doc-prefetch");
    /// # std::fs::remove_dir_all(&directory).ok();
    /// # let database = lightning_db::Database::open(&directory)?;
    /// # let table = database.typed_table::<u64, &str>("names")?;
    /// let wanted = [3, 14, 15];
    /// let transaction = database.begin_read()?;
    /// let names = transaction.open(&table)?;
    /// names.prefetch(wanted);
    /// for number in wanted {
    ///     assert!(names.get(number)?.is_none());
    /// }
    /// # std::fs::remove_dir_all(&directory).ok();
    /// # Ok::<(), lightning_db::Error>(())
    /// ```
    pub fn prefetch<'k>(&self, keys: impl IntoIterator<Item = K::Given<'k>>) {
        let mut keys = keys.into_iter();
        loop {
            let mut buffers = [const { EncodeBuffer::new() }; AHEAD_KEYS_MAX];
            let mut encoded: [&[u8]; AHEAD_KEYS_MAX] = [&[]; AHEAD_KEYS_MAX];
            let mut count = 0;
            for (buffer, encoded) in buffers.iter_mut().zip(&mut encoded) {
                let Some(key) = keys.next() else { break };
                *encoded = K::encode_key(key, buffer);
                count += 1;
            }
            self.shared.engine.prefetch(&self.view, &encoded[..count]);
            if count < AHEAD_KEYS_MAX {
                return;
            }
        }
    }

    /// Copies a part of the value of `key` into `buffer`, from byte `offset` on:
    /// for large values, of which only this part is read. Answers how many bytes
    /// there were, less than asked for at the value's end; `None` where there is
    /// no value.
    ///
    /// # Errors
    /// I/O or damage.
    pub fn read_at(
        &self,
        key: K::Given<'_>,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<Option<usize>> {
        let mut key_buffer = EncodeBuffer::new();
        let key = K::encode_key(key, &mut key_buffer);
        if let Some(reads) = self.reads {
            reads.note(self.table.id(), key, Some(key));
        }
        let engine = &self.shared.engine;
        let mut read = || {
            let Some(value) = engine.get(&self.view, key, true)? else {
                return Ok(None);
            };
            let stored = value.stored();
            let left = stored.length().saturating_sub(offset);
            let count = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
            engine.read_value(&self.view, stored, offset, &mut buffer[..count])?;
            Ok(Some(count))
        };
        read().map_err(|error| self.shared.error(error))
    }

    /// The value of `key`, to be read piece by piece or from anywhere in it: for values
    /// that are too large to stand in memory whole. `None` where there is none.
    ///
    /// # Errors
    /// I/O or damage.
    pub fn value_reader(&self, key: K::Given<'_>) -> Result<Option<ValueReader<'t>>> {
        let mut buffer = EncodeBuffer::new();
        let key = K::encode_key(key, &mut buffer);
        if let Some(reads) = self.reads {
            reads.note(self.table.id(), key, Some(key));
        }
        let found = self.shared.engine.get(&self.view, key, self.may_read);
        let found = found.map_err(|error| self.shared.error(error))?;
        found
            .map(|value| ValueReader::new(self.shared, self.view, value.stored()))
            .transpose()
            .map_err(|error| self.shared.error(error))
    }

    /// Whether `key` has a value.
    ///
    /// # Errors
    /// I/O or damage.
    pub fn contains(&self, key: K::Given<'_>) -> Result<bool> {
        let mut buffer = EncodeBuffer::new();
        let key = K::encode_key(key, &mut buffer);
        if let Some(reads) = self.reads {
            reads.note(self.table.id(), key, Some(key));
        }
        match self.shared.engine.get(&self.view, key, self.may_read) {
            Ok(found) => Ok(found.is_some()),
            Err(error) => Err(self.shared.error(error)),
        }
    }

    /// The entries whose keys are in `range`.
    ///
    /// # Errors
    /// When as many iterators are open as were planned.
    pub fn range<'k>(&self, range: impl RangeBounds<K::Given<'k>>) -> Result<Range<'t, K, V>> {
        self.range_of_bytes(encoded_bounds::<K>(&range))
    }

    /// All entries.
    ///
    /// # Errors
    /// As [`range`](Self::range).
    pub fn iter(&self) -> Result<Range<'t, K, V>> {
        self.range_of_bytes((Bound::Unbounded, Bound::Unbounded))
    }

    /// The entries whose keys begin with `prefix`: bytes or text, or a tuple's
    /// first part.
    ///
    /// # Errors
    /// As [`range`](Self::range).
    pub fn prefix<'k>(&self, prefix: K::Prefix<'k>) -> Result<Range<'t, K, V>>
    where
        K: KeyPrefix,
    {
        let mut buffer = EncodeBuffer::new();
        let bounds = prefix_bounds(K::encode_prefix(prefix, &mut buffer));
        self.range_of_bytes(bounds)
    }

    /// Lends each entry in `range` to `visit`, in ascending order, until that
    /// breaks: the fastest way to read many, since nothing is copied.
    ///
    /// # Errors
    /// I/O, damage, or an entry that is no `K` and `V`.
    pub fn for_each<'k>(
        &self,
        range: impl RangeBounds<K::Given<'k>>,
        visit: impl FnMut(Entry<K::Read<'_>, V::Read<'_>>) -> ControlFlow<()>,
    ) -> Result<()> {
        let (lower, upper) = encoded_bounds::<K>(&range);
        note_read(self.reads, self.table.id(), &lower, &upper);
        let part = Part {
            shared: self.shared,
            table: &self.table,
            view: &self.view,
            lower,
            upper,
            may_read: self.may_read,
        };
        let engine = &self.shared.engine;
        engine
            .with_cursor(&self.view, self.may_read, |cursor| part.walk(cursor, visit))
            .map_err(|error| self.shared.error(error))?
    }

    /// The entry with the lowest key.
    ///
    /// # Errors
    /// I/O, damage, or an entry that is no `K` and `V`.
    pub fn first(&self) -> Result<Option<(KeyGuard<K>, ValueGuard<'t, V>)>> {
        self.iter()?.next().transpose()
    }

    /// The entry with the highest key.
    ///
    /// # Errors
    /// As [`first`](Self::first).
    pub fn last(&self) -> Result<Option<(KeyGuard<K>, ValueGuard<'t, V>)>> {
        self.iter()?.next_back().transpose()
    }

    /// The exact number of entries, with those that expired and were not removed
    /// yet. Costs a lookup for each key that is still in memory.
    ///
    /// # Errors
    /// I/O or damage.
    pub fn len(&self) -> Result<u64> {
        if let Some(reads) = self.reads {
            reads.note(self.table.id(), &[], None);
        }
        let count = self.shared.engine.count(&self.view);
        count.map_err(|error| self.shared.error(error))
    }

    /// Whether there is no entry.
    ///
    /// # Errors
    /// I/O or damage.
    pub fn is_empty(&self) -> Result<bool> {
        let bounds = (Bound::Unbounded, Bound::Unbounded);
        Ok(!self.range_of_bytes(bounds)?.has_any()?)
    }

    /// About how many entries there are; costs nothing.
    #[must_use]
    pub fn len_estimate(&self) -> u64 {
        self.shared.engine.count_estimate(&self.view)
    }

    fn range_of_bytes(&self, bounds: (ByteBound, ByteBound)) -> Result<Range<'t, K, V>> {
        let cursor = self
            .shared
            .engine
            .cursor(&self.view, self.may_read)
            .map_err(|error| self.shared.error(error))?;
        Ok(Range::new(
            self.shared,
            self.table.clone(),
            self.view,
            cursor,
            bounds,
            self.reads,
            self.may_read,
        ))
    }
}

impl<K, V> fmt::Debug for TableReader<'_, K, V> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("TableReader")
            .field("table", &self.table)
            .finish_non_exhaustive()
    }
}

/// Fills `bytes` with a value, wherever it is that it may be read from.
pub(crate) fn read_value(
    shared: &Shared,
    view: &TableView<'_>,
    stored: Stored<'_>,
    may_read: bool,
    bytes: &mut Vec<u8>,
) -> Result<()> {
    if !may_read && matches!(stored, Stored::Extent(_)) {
        return Err(shared.error(EngineError::WouldRead));
    }
    let length = usize::try_from(stored.length()).unwrap_or(usize::MAX);
    bytes.clear();
    let filled = bytes
        .try_reserve_exact(length)
        .map_err(|_| EngineError::OutOfMemory {
            bytes: stored.length(),
        })
        .and_then(|()| {
            bytes.resize(length, 0);
            shared.engine.read_value(view, stored, 0, bytes)
        });
    filled.map_err(|error| shared.error(error))
}

pub(crate) fn encoded_bounds<'k, K: Key>(
    range: &impl RangeBounds<K::Given<'k>>,
) -> (ByteBound, ByteBound) {
    let encoded = |bound: Bound<&K::Given<'k>>| {
        bound.map(|key| K::encode_key(key.clone(), &mut EncodeBuffer::new()).to_vec())
    };
    (encoded(range.start_bound()), encoded(range.end_bound()))
}
