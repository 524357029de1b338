//! Write transactions, and tickets for their durability.

use crate::encoding::{EncodeBuffer, Key, KeyPrefix, Value};
use crate::error::Result;
use crate::guard::ValueGuard;
use crate::range::{Range, first_key_from, prefix_bounds};
use crate::read_log::ReadLog;
use crate::shared::{Owner, now_ms};
use crate::stream::write_value;
use crate::table::{Table, TableReader, TypedTable, encoded_bounds};
use lightning_core::db::{Isolation, PutOptions, Ticket as EngineTicket, Transaction};
use lightning_core::error::Error as EngineError;
use std::fmt;
use std::future::Future;
use std::io::Read;
use std::ops::{Bound, RangeBounds};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// Changes that become visible and durable together, or not at all.
///
/// It sees the database as it was when the transaction began, with its own
/// changes. Any number may run at once: the first to commit wins, and another
/// one that changed the same key fails at its commit with an error that
/// [`is_conflict`](crate::Error::is_conflict), to be run again. Dropping it
/// undoes everything.
pub struct WriteTransaction {
    owner: Arc<Owner>,
    /// `None` only while it is being dropped or committed.
    transaction: Option<Transaction>,
    /// What a serializable one has read.
    reads: Option<ReadLog>,
}

impl WriteTransaction {
    pub(crate) fn begin(owner: &Arc<Owner>, isolation: Isolation) -> Result<Self> {
        let transaction = owner.engine.begin(now_ms(), isolation);
        let transaction = transaction.map_err(|error| owner.error(error))?;
        Ok(Self {
            owner: Arc::clone(owner),
            transaction: Some(transaction),
            reads: (isolation == Isolation::Serializable).then(ReadLog::default),
        })
    }

    fn transaction(&self) -> &Transaction {
        self.transaction
            .as_ref()
            .expect("consumed only by commit and drop")
    }

    fn change(
        &mut self,
        change: impl FnOnce(&Owner, &mut Transaction) -> std::result::Result<(), EngineError>,
    ) -> Result<()> {
        let transaction = self
            .transaction
            .as_mut()
            .expect("consumed only by commit and drop");
        change(&self.owner, transaction).map_err(|error| self.owner.error(error))
    }

    /// The table, to be read many times; while it is read, nothing can be written.
    ///
    /// # Errors
    /// I/O or damage; a table of another database.
    pub fn open<K: Key, V: Value>(
        &self,
        table: &TypedTable<K, V>,
    ) -> Result<TableReader<'_, K, V>> {
        self.reader(table, true)
    }

    /// The table for a thread that must not wait for the device: see
    /// [`ReadTransaction::open_in_memory`](crate::ReadTransaction::open_in_memory).
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
        let view = self
            .owner
            .engine
            .transaction_view(self.transaction(), id, may_read);
        let view = view.map_err(|error| self.owner.error(error))?;
        let reads = self.reads.as_ref();
        Ok(TableReader::new(&self.owner, table, view, reads, may_read))
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

    /// Gives `key` the value `value`, whatever it had.
    ///
    /// # Errors
    /// A key, value or transaction over its limit. The transaction stays as it
    /// was, and can be committed or go on.
    pub fn put<K: Key, V: Value>(
        &mut self,
        table: &TypedTable<K, V>,
        key: K::Given<'_>,
        value: V::Given<'_>,
    ) -> Result<()> {
        self.put_with(table, key, value, PutOptions::default())
    }

    /// As [`put`](Self::put), with a time of expiry or a metadata byte.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn put_with<K: Key, V: Value>(
        &mut self,
        table: &TypedTable<K, V>,
        key: K::Given<'_>,
        value: V::Given<'_>,
        options: PutOptions,
    ) -> Result<()> {
        let id = table.id_in(&self.owner)?;
        let (mut key_buffer, mut value_buffer) = (EncodeBuffer::new(), EncodeBuffer::new());
        let key = K::encode_key(key, &mut key_buffer);
        let value = V::encode_value(value, &mut value_buffer);
        self.change(|owner, transaction| {
            owner
                .engine
                .transaction_put(transaction, id, key, value, options)
        })
    }

    /// Gives `key` a value that is read from `source` to its end, at most `bytes_max`
    /// bytes: for values that are larger than a transaction, and need not stand in
    /// memory whole. Answers how many bytes there were.
    ///
    /// The bytes are written and synced before this returns, to room that is taken
    /// for `bytes_max` at first; the value is there with the commit, and nothing is left
    /// of it without. It is meant for large values: one takes at least a page. At most
    /// [`streamed_value_bytes_max`](crate::Database::streamed_value_bytes_max) bytes, and
    /// fewer than 64 such values, go into a transaction.
    ///
    /// ```
    /// use lightning_db::Database;
    /// use std::io::{Read, Seek, SeekFrom};
    ///
    /// # let directory = std::env::temp_dir().join("lightning-doc-stream");
    /// # std::fs::remove_dir_all(&directory).ok();
    /// # let database = Database::open(&directory)?;
    /// let films = database.table("films")?;
    /// let film = std::io::repeat(7).take(20_000_000);
    ///
    /// let mut write = database.begin_write()?;
    /// write.put(&films, b"title", b"Seven")?;
    /// let bytes = write.put_stream(&films, b"film", 32 << 20, film)?;
    /// assert_eq!(bytes, 20_000_000);
    /// write.commit()?;
    ///
    /// let read = database.begin_read()?;
    /// let mut film = read.open(&films)?.value_reader(b"film")?.unwrap();
    /// assert_eq!(film.length(), 20_000_000);
    /// let mut end = Vec::new();
    /// film.seek(SeekFrom::End(-3)).unwrap();
    /// film.read_to_end(&mut end).unwrap();
    /// assert_eq!(end, [7, 7, 7]);
    /// # drop(film);
    /// # drop(read);
    /// # drop(database);
    /// # std::fs::remove_dir_all(&directory).ok();
    /// # Ok::<(), lightning_db::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`put`](Self::put), and when `source` fails
    /// ([`Reason::Source`](crate::Reason::Source)). The transaction stays as it was.
    pub fn put_stream<K: Key>(
        &mut self,
        table: &TypedTable<K, &'static [u8]>,
        key: K::Given<'_>,
        bytes_max: u64,
        source: impl Read,
    ) -> Result<u64> {
        self.put_stream_with(table, key, bytes_max, source, PutOptions::default())
    }

    /// As [`put_stream`](Self::put_stream), with a time of expiry or a metadata byte.
    ///
    /// # Errors
    /// As [`put_stream`](Self::put_stream).
    pub fn put_stream_with<K: Key>(
        &mut self,
        table: &TypedTable<K, &'static [u8]>,
        key: K::Given<'_>,
        bytes_max: u64,
        mut source: impl Read,
        options: PutOptions,
    ) -> Result<u64> {
        let owner = Arc::clone(&self.owner);
        let id = table.id_in(&owner)?;
        let mut buffer = EncodeBuffer::new();
        let key = K::encode_key(key, &mut buffer);
        let (mut value, length) = write_value(&owner, id, bytes_max, &mut source)?;
        self.change(|owner, transaction| {
            owner
                .engine
                .transaction_put_value(transaction, key, &mut value, options)
        })?;
        Ok(length)
    }

    /// Removes `key`. That it was not there is no error.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn delete<K: Key, V: Value>(
        &mut self,
        table: &TypedTable<K, V>,
        key: K::Given<'_>,
    ) -> Result<()> {
        let id = table.id_in(&self.owner)?;
        let mut buffer = EncodeBuffer::new();
        let key = K::encode_key(key, &mut buffer);
        self.change(|owner, transaction| owner.engine.transaction_delete(transaction, id, key))
    }

    /// Removes every key in `range`. It costs the same however many there are; until
    /// maintenance has merged it, reads of the table ask one thing more.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn delete_range<'k, K: Key, V: Value>(
        &mut self,
        table: &TypedTable<K, V>,
        range: impl RangeBounds<K::Given<'k>>,
    ) -> Result<()> {
        let id = table.id_in(&self.owner)?;
        let (lower, upper) = encoded_bounds::<K>(&range);
        let key_bytes_max = self.owner.engine.key_bytes_max();
        let Some(from) = first_key_from(lower, key_bytes_max) else {
            return Ok(());
        };
        // What comes first behind the range ends it.
        let to = match upper {
            Bound::Unbounded => None,
            Bound::Included(last) => first_key_from(Bound::Excluded(last), key_bytes_max),
            Bound::Excluded(end) => Some(end),
        };
        self.change(|owner, transaction| {
            owner
                .engine
                .transaction_delete_range(transaction, id, &from, to.as_deref())
        })
    }

    /// Removes every key that begins with `prefix`: see [`delete_range`](Self::delete_range).
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn delete_prefix<'k, K: KeyPrefix, V: Value>(
        &mut self,
        table: &TypedTable<K, V>,
        prefix: K::Prefix<'k>,
    ) -> Result<()> {
        let id = table.id_in(&self.owner)?;
        let mut buffer = EncodeBuffer::new();
        let prefix = K::encode_prefix(prefix, &mut buffer);
        let to = match prefix_bounds(prefix).1 {
            Bound::Excluded(end) => Some(end),
            _ => None,
        };
        self.change(|owner, transaction| {
            owner
                .engine
                .transaction_delete_range(transaction, id, prefix, to.as_deref())
        })
    }

    /// Drops the table called `name`, with everything in it. Handles of it stay usable and
    /// find it empty; what they write is not reached by the name. The space comes back
    /// when maintenance has merged it. Answers whether there was such a table.
    ///
    /// # Errors
    /// I/O or damage.
    pub fn drop_table(&mut self, name: &str) -> Result<bool> {
        let owner = Arc::clone(&self.owner);
        let transaction = self
            .transaction
            .as_mut()
            .expect("consumed only by commit and drop");
        match owner
            .engine
            .transaction_drop_table(transaction, name.as_bytes())
        {
            Ok(()) => Ok(true),
            Err(EngineError::NoSuchTable) => Ok(false),
            Err(error) => Err(owner.error(error)),
        }
    }

    /// Where `key` has the value `expected` (`None`: none), gives it the value
    /// `new` (`None`: removes it); answers whether it did.
    ///
    /// # Errors
    /// As [`get`](Self::get) and [`put`](Self::put).
    pub fn compare_and_set<K: Key, V: Value>(
        &mut self,
        table: &TypedTable<K, V>,
        key: K::Given<'_>,
        expected: Option<V::Given<'_>>,
        new: Option<V::Given<'_>>,
    ) -> Result<bool> {
        let mut buffer = EncodeBuffer::new();
        let expected = expected.map(|expected| V::encode_value(expected, &mut buffer));
        let is_as_expected = match self.get(table, key.clone())? {
            Some(found) => expected == Some(found.bytes()),
            None => expected.is_none(),
        };
        if is_as_expected {
            match new {
                Some(new) => self.put(table, key, new)?,
                None => self.delete(table, key)?,
            }
        }
        Ok(is_as_expected)
    }

    /// The table of bytes called `name`, made by this transaction where there is
    /// none. Its handle is of use to others after the commit.
    ///
    /// # Errors
    /// A name over 255 bytes; I/O or damage.
    pub fn table(&mut self, name: &str) -> Result<Table> {
        self.typed_table(name)
    }

    /// The table called `name`, made by this transaction where there is none.
    ///
    /// # Errors
    /// As [`table`](Self::table).
    pub fn typed_table<K: Key, V: Value>(&mut self, name: &str) -> Result<TypedTable<K, V>> {
        let engine = &self.owner.engine;
        let transaction = self
            .transaction
            .as_mut()
            .expect("consumed only by commit and drop");
        let found = engine.transaction_find_table(transaction, name.as_bytes());
        let id = match found {
            Ok(Some(id)) => Ok(id),
            Ok(None) => engine.transaction_create_table(transaction, name.as_bytes()),
            Err(error) => Err(error),
        };
        let id = id.map_err(|error| self.owner.error(error))?;
        Ok(TypedTable::new(name, id, self.owner.number))
    }

    /// Makes the changes visible and durable, and waits until they are.
    ///
    /// # Errors
    /// A conflict ([`Error::is_conflict`](crate::Error::is_conflict)): nothing was
    /// changed, run the transaction again. No room, a failed device.
    pub fn commit(self) -> Result<()> {
        self.commit_async()?.wait()
    }

    /// Orders the changes among the commits and answers at once, with a ticket
    /// that is fulfilled when they are visible and durable. Commits become so in
    /// their order.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub fn commit_async(mut self) -> Result<Ticket> {
        self.hand_over_reads()?;
        let owner = Arc::clone(&self.owner);
        let transaction = self
            .transaction
            .as_mut()
            .expect("consumed only by commit and drop");
        let ticket = owner.with_room(|| owner.engine.try_commit(transaction, now_ms(), 0))?;
        owner.note_write();
        drop(self);
        owner.slow_down();
        Ok(Ticket::new(&owner, ticket))
    }

    /// As [`commit_async`](Self::commit_async) for a thread that must not wait: where
    /// writes are slowed down or there is no room in memory or log, it answers how long
    /// to wait until it is called again. Nothing but it may be called on this
    /// transaction from then on. Whoever calls decides when to give up.
    ///
    /// # Errors
    /// As [`commit`](Self::commit); nothing was changed then.
    pub fn try_commit_async(&mut self) -> Result<CommitAttempt> {
        self.hand_over_reads()?;
        let owner = Arc::clone(&self.owner);
        let transaction = self
            .transaction
            .as_mut()
            .expect("consumed only by commit and drop");
        let committed = owner.if_room(|| owner.engine.try_commit(transaction, now_ms(), 0))?;
        Ok(match committed {
            Ok(ticket) => {
                owner.note_write();
                CommitAttempt::Committed(Ticket::new(&owner, ticket))
            }
            Err(wait) => CommitAttempt::Later(wait),
        })
    }

    /// Tells the engine what a serializable transaction has read.
    fn hand_over_reads(&mut self) -> Result<()> {
        let Some(reads) = self.reads.take() else {
            return Ok(());
        };
        reads.hand_over(|table, from, to| {
            self.change(|owner, transaction| {
                owner
                    .engine
                    .transaction_note_read(transaction, table, from, to)
            })
        })
    }

    /// Undoes everything, as dropping it does.
    pub fn rollback(self) {}
}

impl Drop for WriteTransaction {
    fn drop(&mut self) {
        if let Some(transaction) = self.transaction.take() {
            self.owner.engine.rollback(transaction);
        }
    }
}

impl fmt::Debug for WriteTransaction {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("WriteTransaction")
            .field("transaction", &self.transaction)
            .finish_non_exhaustive()
    }
}

/// What became of a commit that must not wait.
#[derive(Debug)]
pub enum CommitAttempt {
    /// It has its place among the commits, and will be durable with this ticket.
    Committed(Ticket),
    /// There is no room yet: call again after this time.
    Later(Duration),
}

/// A commit on its way to durability.
///
/// [`wait`](Self::wait) blocks the thread; as a future it doesn't. Dropping it
/// gives up only the knowledge: the commit stands.
#[must_use = "a commit is acknowledged only when its ticket is fulfilled"]
pub struct Ticket {
    owner: Arc<Owner>,
    ticket: EngineTicket,
    /// What the queue knows the future by, once it was polled.
    future: Option<u64>,
}

impl Ticket {
    pub(crate) fn new(owner: &Arc<Owner>, ticket: EngineTicket) -> Self {
        Self {
            owner: Arc::clone(owner),
            ticket,
            future: None,
        }
    }

    /// The commit's number.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.ticket.sequence
    }

    /// Whether the commit is visible and durable by now.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn is_fulfilled(&self) -> Result<bool> {
        self.owner
            .is_acknowledged(self.ticket)
            .map_err(|error| self.owner.error(error))
    }

    /// Writes the commit, and those before it, on this thread, where the durability asks
    /// for no sync and no other thread is at it; answers whether it is fulfilled now. For
    /// a thread that must not wait for a device: such a write goes to the system's memory,
    /// and after one that took longer it is left to the database's own thread for a while.
    /// Where the answer is no, the future waits for that thread.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn try_fulfil(&self) -> Result<bool> {
        self.owner
            .commits
            .try_write(&self.owner, self.ticket)
            .map_err(|error| self.owner.error(error))
    }

    /// Waits until the commit is visible and durable.
    ///
    /// # Errors
    /// Where the device failed: whether the commit is durable shows only after
    /// the database is opened again.
    pub fn wait(self) -> Result<()> {
        self.owner.wait(self.ticket)
    }
}

impl Clone for Ticket {
    /// Another one for the same commit.
    fn clone(&self) -> Self {
        Self::new(&self.owner, self.ticket)
    }
}

impl Future for Ticket {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let this = &mut *self;
        let registered =
            this.owner
                .commits
                .register(&this.owner, this.ticket, this.future, context.waker());
        match registered {
            Ok(Some(number)) => {
                this.future = Some(number);
                Poll::Pending
            }
            Ok(None) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(this.owner.error(error))),
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(number) = self.future {
            self.owner.commits.forget(number);
        }
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Ticket")
            .field("sequence", &self.sequence())
            .finish_non_exhaustive()
    }
}
