//! The keyspace: numbered databases of keys and values, on tables of the library.
//!
//! Database 0 is the table `default`, that the data tool reads and writes, too; database
//! *n* is the table `db`*n*. A value is what stands there; its metadata byte tells its
//! type, none stands for a string. Which table has which number is noted in a table of
//! its own, since `SWAPDB` changes it.
//!
//! # Protocol of a batch
//! What one client has sent and is whole is run as one *batch*. A batch that only reads
//! has a snapshot of what is durable, and takes no lock. One that writes holds the
//! *writer* from its begin to its commit, so that batches that write come one after
//! another and never conflict; it reads what was appended before it, durable or not. Its
//! replies are held back until its ticket is fulfilled: so nobody is told what a power
//! cut can take back. The writer is given on before that, so that many clients share a
//! flush.
//!
//! A command says what it wants changed ([`Changes`]) and changes nothing itself. So one
//! that meets a page which isn't in memory is simply run again where it may wait, and
//! one that doesn't fit into the transaction any more is run again in the next.

mod acknowledgements;
mod changes;
mod cursors;
mod execution;
mod expiries;
mod watches;

pub use acknowledgements::{Acknowledged, Acknowledgements};
pub use changes::{Change, Changes, Lifetime};
pub use cursors::ScanCursors;
pub use execution::{AHEAD_KEYS_MAX, Execution, StoredValue, View, now_ms};
pub use expiries::Expiries;
pub use watches::{WatchList, Watches};

use crate::failure::Failure;
use lightning_db::{Database, PutOptions, Result, Table, WriteTransaction};
use std::io::Read as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

/// Notes of the service about its tables. The library leaves out of its lists what
/// begins with a zero byte.
const NOTES: &str = "\0service";
/// The key of the note that says which database number has which table.
const DATABASES_NOTE: &[u8] = b"databases";

/// The keyspace of an open database.
pub struct Store {
    database: Database,
    notes: Table,
    tables: RwLock<Arc<[Table]>>,
    /// Held from the begin of a batch that writes to its commit.
    pub writer: tokio::sync::Mutex<()>,
    /// Which keys clients watch.
    pub watches: Watches,
    /// Which keys expire next.
    pub expiries: Expiries,
    /// Who waits for what to be durable.
    pub acknowledgements: Acknowledgements,
    cursors: Mutex<ScanCursors>,
    limits: StoreLimits,
}

/// What fits into the store.
#[derive(Debug, Clone, Copy)]
pub struct StoreLimits {
    /// The longest key, in bytes.
    pub key_bytes_max: usize,
    /// The longest value that goes into a transaction, in bytes; longer ones are
    /// written by stream.
    pub value_bytes_max: usize,
    /// The longest value at all, in bytes.
    pub streamed_bytes_max: u64,
    /// Bytes that one transaction may write.
    pub transaction_bytes: usize,
}

/// What a change takes in a transaction besides key and value, at most.
const CHANGE_OVERHEAD_BYTES: usize = 64;

fn table_name(number: usize) -> String {
    match number {
        0 => "default".to_owned(),
        number => format!("db{number}"),
    }
}

impl Store {
    /// The keyspace of `databases` numbered databases in `database`, whose transactions
    /// may write `transaction_bytes`.
    ///
    /// # Errors
    /// I/O or damage.
    pub fn new(database: Database, databases: usize, transaction_bytes: usize) -> Result<Self> {
        let statistics = database.statistics();
        let limits = StoreLimits {
            key_bytes_max: statistics.key_bytes_max,
            value_bytes_max: statistics.value_bytes_max,
            streamed_bytes_max: database
                .streamed_value_bytes_max()
                .max(u64::try_from(statistics.value_bytes_max).unwrap_or(u64::MAX)),
            transaction_bytes,
        };
        let notes = database.table(NOTES)?;
        let mut order: Vec<usize> = Vec::new();
        if let Some(note) = database.get(&notes, DATABASES_NOTE)? {
            order.extend(
                note.bytes()
                    .chunks_exact(2)
                    .map(|pair| usize::from(u16::from_le_bytes([pair[0], pair[1]]))),
            );
        }
        for number in order.len()..databases {
            order.push(number);
        }
        let tables: Result<Vec<Table>> = order
            .iter()
            .take(databases)
            .map(|number| database.table(&table_name(*number)))
            .collect();
        let tables = tables?;
        Ok(Self {
            database,
            notes,
            tables: RwLock::new(tables.into()),
            writer: tokio::sync::Mutex::new(()),
            watches: Watches::default(),
            expiries: Expiries::default(),
            acknowledgements: Acknowledgements::default(),
            cursors: Mutex::new(ScanCursors::default()),
            limits,
        })
    }

    /// The database below.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// The database below, to be closed.
    #[must_use]
    pub fn into_database(self) -> Database {
        self.database
    }

    /// What fits into it.
    #[must_use]
    pub fn limits(&self) -> StoreLimits {
        self.limits
    }

    /// The tables by database number, as they are now.
    #[must_use]
    pub fn tables(&self) -> Arc<[Table]> {
        Arc::clone(&self.tables.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Where scans stand.
    pub fn cursors(&self) -> MutexGuard<'_, ScanCursors> {
        self.cursors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether `changes` go into a transaction that has `written_bytes` already.
    #[must_use]
    pub fn fits(&self, written_bytes: usize, changes: &Changes) -> bool {
        written_bytes + self.bytes_of(changes) <= self.limits.transaction_bytes
    }

    /// Whether a value among the changes goes to the device before the commit, so that who
    /// applies them waits for it.
    #[must_use]
    pub fn has_long(&self, changes: &Changes) -> bool {
        let long = self.limits.value_bytes_max;
        changes
            .iter()
            .any(|change| matches!(change, Change::Put { value, .. } if value.len() > long))
    }

    /// Bytes that the changes take in a transaction, at most.
    #[must_use]
    pub fn bytes_of(&self, changes: &Changes) -> usize {
        let long = self.limits.value_bytes_max;
        changes
            .iter()
            .map(|change| CHANGE_OVERHEAD_BYTES + change.transaction_bytes(long))
            .sum()
    }

    /// Writes what a command wants changed into the transaction.
    ///
    /// # Errors
    /// What the engine refuses; the transaction may have some of the changes then.
    pub fn apply(
        &self,
        transaction: &mut WriteTransaction,
        tables: &[Table],
        changes: &Changes,
    ) -> std::result::Result<(), Failure> {
        for change in changes.iter() {
            match change {
                Change::Put {
                    database,
                    key,
                    value,
                    expiry_ms,
                } => {
                    let options = PutOptions {
                        expiry_ms,
                        ..PutOptions::default()
                    };
                    let table = table_of(tables, database)?;
                    if value.len() <= self.limits.value_bytes_max {
                        transaction.put_with(table, key, value, options)?;
                    } else {
                        let length = u64::try_from(value.len()).unwrap_or(u64::MAX);
                        let source = value.take(length);
                        transaction.put_stream_with(table, key, length, source, options)?;
                    }
                    if let Some(expiry_ms) = expiry_ms {
                        self.expiries.note(database, key, expiry_ms);
                    }
                    self.watches.touch(database, key);
                }
                Change::Delete { database, key } => {
                    transaction.delete(table_of(tables, database)?, key)?;
                    self.expiries.forget(database, key);
                    self.watches.touch(database, key);
                }
                Change::Clear { database } => {
                    transaction.delete_range(table_of(tables, database)?, ..)?;
                    self.expiries.forget_all(database);
                    self.watches.touch_present(database);
                }
                Change::Swap { first, second } => {
                    self.note_swap(transaction, tables, first, second)?;
                    self.expiries.swap(first, second);
                    self.watches.touch_all(first);
                    self.watches.touch_all(second);
                }
            }
        }
        Ok(())
    }

    fn note_swap(
        &self,
        transaction: &mut WriteTransaction,
        tables: &[Table],
        first: usize,
        second: usize,
    ) -> std::result::Result<(), Failure> {
        let mut order: Vec<&Table> = tables.iter().collect();
        if first.max(second) >= order.len() {
            return Err(Failure::OUT_OF_RANGE_DATABASE);
        }
        order.swap(first, second);
        let mut note = Vec::new();
        for table in order {
            let number = (0..tables.len()).find(|number| table_name(*number) == table.name());
            let number = u16::try_from(number.unwrap_or(0)).unwrap_or(u16::MAX);
            note.extend_from_slice(&number.to_le_bytes());
        }
        transaction.put(&self.notes, DATABASES_NOTE, &note)?;
        Ok(())
    }

    /// The databases have other numbers from here on: called with the writer held, when
    /// the note of it is committed.
    pub fn set_tables(&self, tables: Arc<[Table]>) {
        *self.tables.write().unwrap_or_else(PoisonError::into_inner) = tables;
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Store")
            .field("database", &self.database)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

pub(crate) fn table_of(tables: &[Table], database: usize) -> std::result::Result<&Table, Failure> {
    tables.get(database).ok_or(Failure::OUT_OF_RANGE_DATABASE)
}
