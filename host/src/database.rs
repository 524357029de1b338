//! An open database.

use crate::bulk::BulkLoad;
use crate::encoding::{EncodeBuffer, Key, Value};
use crate::error::{Error, Reason, Result};
use crate::guard::ValueGuard;
use crate::options::Builder;
use crate::read::ReadTransaction;
use crate::scrub::Scrub;
use crate::shared::{Owner, now_ms};
use crate::statistics::Statistics;
use crate::table::{Table, TypedTable};
use crate::verify::{self, Verification};
use crate::write::{Ticket, WriteTransaction};
use lightning_core::btree::CursorPosition;
use lightning_core::db::{Isolation, NAMES_TABLE, PutOptions, Scrubbed};
use lightning_core::format::bytes::get_u32;
use lightning_core::txn::Stored;
use lightning_platform::MachineGrants;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// An open database: a handle that is cheap to clone and used from any thread.
///
/// The directory stays locked, and background threads run, until the last
/// handle, transaction and ticket is dropped; that makes everything durable.
#[derive(Clone)]
pub struct Database {
    owner: Arc<Owner>,
}

impl Database {
    pub(crate) fn new(owner: Owner) -> Self {
        Self {
            owner: Arc::new(owner),
        }
    }

    /// Opens the database in `directory`, and makes both where there is none.
    ///
    /// # Errors
    /// As [`Builder::open`].
    pub fn open(directory: impl AsRef<Path>) -> Result<Self> {
        Builder::default().open(directory)
    }

    /// Opens the database in `directory` for reading only, and changes nothing.
    ///
    /// # Errors
    /// As [`Builder::open`].
    pub fn open_read_only(directory: impl AsRef<Path>) -> Result<Self> {
        Builder::default().read_only(true).open(directory)
    }

    /// Options, and then [`Builder::open`].
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The data directory, as it was given at open.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.owner.directory
    }

    /// The table of bytes called `name`; it is made, durably, where there is none.
    ///
    /// # Errors
    /// A name over 255 bytes; in a database that is open for reading only, a table
    /// that doesn't exist; I/O or damage.
    pub fn table(&self, name: &str) -> Result<Table> {
        self.typed_table(name)
    }

    /// The table called `name` with keys and values of these types; it is made,
    /// durably, where there is none.
    ///
    /// # Errors
    /// As [`table`](Self::table).
    pub fn typed_table<K: Key, V: Value>(&self, name: &str) -> Result<TypedTable<K, V>> {
        if let Some(table) = self.existing_typed_table(name)? {
            return Ok(table);
        }
        loop {
            let mut transaction = self.begin_write()?;
            let table = transaction.typed_table(name)?;
            match transaction.commit() {
                Ok(()) => return Ok(table),
                // Another thread made it meanwhile.
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The table of bytes called `name`, or `None` where there is none.
    ///
    /// # Errors
    /// I/O or damage.
    pub fn existing_table(&self, name: &str) -> Result<Option<Table>> {
        self.existing_typed_table(name)
    }

    /// The table called `name` with keys and values of these types, or `None`
    /// where there is none.
    ///
    /// # Errors
    /// I/O or damage.
    pub fn existing_typed_table<K: Key, V: Value>(
        &self,
        name: &str,
    ) -> Result<Option<TypedTable<K, V>>> {
        let read = self.begin_read()?;
        let found = self
            .owner
            .engine
            .find_table(read.snapshot(), name.as_bytes());
        let id = found.map_err(|error| self.owner.error(error))?;
        Ok(id.map(|id| TypedTable::new(name, id, self.owner.number)))
    }

    /// All tables, by name. Those whose names begin with a zero byte are left out:
    /// programs keep notes about other tables there.
    ///
    /// # Errors
    /// I/O or damage.
    pub fn tables(&self) -> Result<Vec<Table>> {
        let mut tables = self.all_tables()?;
        tables.retain(|table| !table.name().starts_with('\0'));
        Ok(tables)
    }

    fn all_tables(&self) -> Result<Vec<Table>> {
        let read = self.begin_read()?;
        let names = || {
            let engine = &self.owner.engine;
            let view = engine.view(read.snapshot(), NAMES_TABLE, true)?;
            let mut cursor = engine.cursor(&view, true)?;
            let mut tables = Vec::new();
            cursor.seek(CursorPosition::First)?;
            while let Some(entry) = cursor.entry() {
                if let Stored::Inline(value) = entry.value {
                    let name = String::from_utf8_lossy(entry.key);
                    let id = get_u32(value, 0);
                    tables.push(TypedTable::new(&name, id, self.owner.number));
                }
                cursor.advance()?;
            }
            Ok(tables)
        };
        names().map_err(|error| self.owner.error(error))
    }

    /// Begins a read transaction. Costs well under a microsecond.
    ///
    /// # Errors
    /// When as many transactions are open as were planned.
    pub fn begin_read(&self) -> Result<ReadTransaction> {
        ReadTransaction::begin(&self.owner)
    }

    /// Begins a write transaction with snapshot isolation: it fails at commit when
    /// another one changed a key that it changes, too.
    ///
    /// # Errors
    /// When as many are open as were planned, or the database is open for reading only.
    pub fn begin_write(&self) -> Result<WriteTransaction> {
        WriteTransaction::begin(&self.owner, Isolation::Snapshot)
    }

    /// Begins a write transaction that is serializable: it fails at commit also
    /// when another one changed what it has read.
    ///
    /// # Errors
    /// As [`begin_write`](Self::begin_write).
    pub fn begin_serializable(&self) -> Result<WriteTransaction> {
        WriteTransaction::begin(&self.owner, Isolation::Serializable)
    }

    /// A copy of the value of `key`, or `None` where there is none.
    ///
    /// For many reads begin a [`ReadTransaction`]: it reads without copying, and
    /// finds the table once.
    ///
    /// # Errors
    /// I/O, damage, or a value that is no `V`.
    pub fn get<K: Key, V: Value>(
        &self,
        table: &TypedTable<K, V>,
        key: K::Given<'_>,
    ) -> Result<Option<ValueGuard<'static, V>>> {
        let read = self.begin_read()?;
        let found = read.get(table, key)?;
        Ok(found.map(ValueGuard::into_owned))
    }

    /// Gives `key` the value `value` in a commit of its own, and waits until it is
    /// durable. It never conflicts.
    ///
    /// # Errors
    /// A key or value over its limit, no room, a failed device.
    pub fn put<K: Key, V: Value>(
        &self,
        table: &TypedTable<K, V>,
        key: K::Given<'_>,
        value: V::Given<'_>,
    ) -> Result<()> {
        self.put_async(table, key, value)?.wait()
    }

    /// As [`put`](Self::put), and answers at once with a ticket.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn put_async<K: Key, V: Value>(
        &self,
        table: &TypedTable<K, V>,
        key: K::Given<'_>,
        value: V::Given<'_>,
    ) -> Result<Ticket> {
        let id = table.id_in(&self.owner)?;
        let (mut key_buffer, mut value_buffer) = (EncodeBuffer::new(), EncodeBuffer::new());
        let key = K::encode_key(key, &mut key_buffer);
        let value = V::encode_value(value, &mut value_buffer);
        let options = PutOptions::default();
        let ticket = self
            .owner
            .with_room(|| self.owner.engine.put(id, key, value, options, now_ms()))?;
        self.owner.note_write();
        self.owner.slow_down();
        Ok(Ticket::new(&self.owner, ticket))
    }

    /// Removes `key` in a commit of its own, and waits until that is durable. It
    /// never conflicts; that the key was not there is no error.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn delete<K: Key, V: Value>(
        &self,
        table: &TypedTable<K, V>,
        key: K::Given<'_>,
    ) -> Result<()> {
        let id = table.id_in(&self.owner)?;
        let mut buffer = EncodeBuffer::new();
        let key = K::encode_key(key, &mut buffer);
        let ticket = self
            .owner
            .with_room(|| self.owner.engine.delete(id, key, now_ms()))?;
        self.owner.slow_down();
        self.owner.wait(ticket)
    }

    /// Where `key` has the value `expected` (`None`: none), gives it the value
    /// `new` (`None`: removes it) and waits until that is durable; answers whether
    /// it did.
    ///
    /// # Errors
    /// As [`get`](Self::get) and [`put`](Self::put).
    pub fn compare_and_set<K: Key, V: Value>(
        &self,
        table: &TypedTable<K, V>,
        key: K::Given<'_>,
        expected: Option<V::Given<'_>>,
        new: Option<V::Given<'_>>,
    ) -> Result<bool> {
        let mut buffers = [const { EncodeBuffer::new() }; 3];
        let [key_buffer, expected_buffer, new_buffer] = &mut buffers;
        let key = K::encode_key(key, key_buffer);
        let expected = expected.map(|expected| V::encode_value(expected, expected_buffer));
        let new = new.map(|new| V::encode_value(new, new_buffer));
        let table = Table::new(table.name(), table.id_in(&self.owner)?, self.owner.number);
        loop {
            let mut transaction = self.begin_write()?;
            let is_set = transaction.compare_and_set(&table, key, expected, new)?;
            match transaction.commit() {
                Ok(()) => return Ok(is_set),
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The longest value that [`put_stream`](crate::WriteTransaction::put_stream) takes, in
    /// bytes; 0 where none can be streamed: without large values, or for reading only.
    #[must_use]
    pub fn streamed_value_bytes_max(&self) -> u64 {
        self.owner.engine.streamed_value_bytes_max()
    }

    /// Begins a bulk load into `table`, the fastest way to put in many entries that
    /// are sorted; those of the same keys are replaced. Others go on reading and writing;
    /// [`BulkLoad`] tells what it costs them.
    ///
    /// ```
    /// # use lightning_db::Database;
    /// # let directory = std::env::temp_dir().join("lightning-doc-bulk");
    /// # std::fs::remove_dir_all(&directory).ok();
    /// # let database = Database::open(&directory)?;
    /// let squares = database.typed_table::<u64, u64>("squares")?;
    /// let mut load = database.bulk_load(&squares)?;
    /// for number in 0..1000 {
    ///     load.push(number, number * number)?;
    /// }
    /// assert_eq!(load.finish()?, 1000);
    /// assert_eq!(database.get(&squares, 30)?.unwrap().value(), 900);
    /// # drop(database);
    /// # std::fs::remove_dir_all(&directory).ok();
    /// # Ok::<(), lightning_db::Error>(())
    /// ```
    ///
    /// # Errors
    /// I/O; another load that isn't finished in half a minute. Without
    /// [`runs`](crate::Builder::runs), memory that isn't merged in half a minute.
    pub fn bulk_load<K: Key, V: Value>(
        &self,
        table: &TypedTable<K, V>,
    ) -> Result<BulkLoad<'_, K, V>> {
        BulkLoad::begin(&self.owner, table)
    }

    /// Makes everything that was committed durable, whatever the durability.
    ///
    /// # Errors
    /// A failed device.
    pub fn sync(&self) -> Result<()> {
        self.owner
            .commits
            .sync(&self.owner)
            .map_err(|error| self.owner.error(error))
    }

    /// Has everything that was committed merged into the page file, so that the next open
    /// has no log to read. It happens by itself, too, when writes pause. Waits for at most
    /// `timeout`; answers whether all is merged: with writes that go on it may never be.
    ///
    /// # Errors
    /// I/O, in the merges as well; a database that is open for reading only.
    pub fn checkpoint(&self, timeout: Duration) -> Result<bool> {
        self.sync()?;
        self.owner.checkpoint(timeout)
    }

    /// Reads every page from the medium and checks it: its checksum, its place, its
    /// order, and that what is counted twice agrees. Takes as long as reading the
    /// file does; merges wait meanwhile. What is still in the log was checked when
    /// the database was opened.
    ///
    /// # Errors
    /// The first damage that is found, with file, place and reason; I/O.
    pub fn verify(&self) -> Result<Verification> {
        self.verify_with_progress(|_| {})
    }

    /// As [`verify`](Self::verify), and tells `progress` how many pages were read.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn verify_with_progress(&self, mut progress: impl FnMut(u64)) -> Result<Verification> {
        verify::verify(&self.owner, &self.all_tables()?, &mut progress)
    }

    /// Figures of this database, since it was opened.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        Statistics::of(&self.owner)
    }

    /// Sets how many pages ahead an iterator tells the system of, where it comes to one that
    /// is not in memory; 0, as at first, for none. A long scan then waits less for the
    /// device; a short one has it read for nothing.
    pub fn set_read_ahead(&self, pages: u32) {
        self.owner.engine.set_read_ahead(pages);
    }

    /// Sets how often what has expired is removed at most: once a minute at first. What has
    /// expired isn't seen before, either; it takes room, and is counted.
    pub fn set_sweep_interval(&self, interval: Duration) {
        self.owner.maintenance().set_sweep_interval(interval);
    }

    /// Sets after how long what was committed is in the page file at the latest, so that
    /// an open after a crash doesn't have to read it in the log; `None`, as at first, for
    /// when memory is full or writes pause. The shorter, the more is written.
    pub fn set_checkpoint_interval(&self, interval: Option<Duration>) {
        self.owner.maintenance().set_checkpoint_interval(interval);
    }

    /// Reads at least `pages` of the pages of all tables from the medium, from where `scrub`
    /// has come, or all up to the end, and checks them; then it begins anew. As slow as its
    /// caller likes, it finds damage before it is needed. It holds nothing between two steps,
    /// and nobody waits. [`verify`](Self::verify) checks more, such as counts, all at once.
    ///
    /// # Errors
    /// The first damage found, with its place: the next step begins anew. I/O; as many
    /// open transactions as were planned.
    pub fn scrub(&self, scrub: &mut Scrub, pages: u64) -> Result<Scrubbed> {
        scrub.step(&self.owner, pages)
    }

    /// What the machine gave of the [wishes](Builder::machine), and what it refused.
    #[must_use]
    pub fn machine_grants(&self) -> &MachineGrants {
        &self.owner.given.grants
    }

    /// How background work failed last, where it fails: merges then wait, and
    /// writers soon do, until what is wrong is mended. Nothing is lost.
    #[must_use]
    pub fn background_failure(&self) -> Option<Error> {
        self.owner
            .background_failure()
            .map(|error| Error::clone(&error))
    }

    /// Whether a flush has failed, so that nobody knows what the device has: from then
    /// on every write is refused, until the database is opened again.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.owner.engine.is_poisoned()
    }

    /// Closes the database: makes everything durable, stops the threads and
    /// releases the directory. Dropping does the same and can't tell of failures.
    ///
    /// # Errors
    /// [`Reason::StillInUse`] while transactions, tickets or clones are held: the
    /// database then closes with the last of them. A failed device.
    pub fn close(self) -> Result<()> {
        match Arc::try_unwrap(self.owner) {
            Ok(mut owner) => owner.shut_down(),
            Err(_) => Err(Error::new(Reason::StillInUse)),
        }
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Database")
            .field("path", &self.path())
            .finish_non_exhaustive()
    }
}
