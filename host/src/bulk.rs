//! Bulk load: sorted entries straight into a table's tree.

use crate::encoding::{EncodeBuffer, Key, Value};
use crate::error::Result;
use crate::shared::Shared;
use crate::table::TypedTable;
use lightning_core::db::{Load, PutOptions};
use std::fmt;

/// Entries in ascending order on their way into a table; made by
/// [`Database::bulk_load`](crate::Database::bulk_load).
///
/// Each page is written once, full, and no log. The load is there as a whole,
/// and durable, when [`finish`](Self::finish) returns, and not at all before;
/// dropping it leaves nothing. Merges wait while it lasts, so that other writers
/// are held up once memory is full.
pub struct BulkLoad<'d, K, V> {
    shared: &'d Shared,
    table: TypedTable<K, V>,
    load: Load<'d>,
}

impl<'d, K: Key, V: Value> BulkLoad<'d, K, V> {
    pub(crate) fn begin(shared: &'d Shared, table: &TypedTable<K, V>) -> Result<Self> {
        let load = shared.begin_load(table.id_in(shared)?)?;
        Ok(Self {
            shared,
            table: table.clone(),
            load,
        })
    }

    /// Adds an entry, whose key is above the one before.
    ///
    /// # Errors
    /// A key that isn't above the one before, and a key or value over its limit,
    /// leave the load as it was. After any other error it can only be dropped.
    pub fn push(&mut self, key: K::Given<'_>, value: V::Given<'_>) -> Result<()> {
        self.push_with(key, value, PutOptions::default())
    }

    /// As [`push`](Self::push), with a time of expiry or a metadata byte.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn push_with(
        &mut self,
        key: K::Given<'_>,
        value: V::Given<'_>,
        options: PutOptions,
    ) -> Result<()> {
        let (mut key_buffer, mut value_buffer) = (EncodeBuffer::new(), EncodeBuffer::new());
        let key = K::encode_key(key, &mut key_buffer);
        let value = V::encode_value(value, &mut value_buffer);
        self.load
            .push(key, value, options)
            .map_err(|error| self.shared.error(error))
    }

    /// Publishes the load, durably. Answers how many entries it had.
    ///
    /// # Errors
    /// I/O, or a full device: nothing of the load is there then.
    pub fn finish(self) -> Result<u64> {
        let shared = self.shared;
        self.load.finish().map_err(|error| shared.error(error))
    }
}

impl<K, V> fmt::Debug for BulkLoad<'_, K, V> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("BulkLoad")
            .field("table", &self.table)
            .finish_non_exhaustive()
    }
}
