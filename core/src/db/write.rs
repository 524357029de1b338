//! Writing: transactions, validation, and the sequencer that orders commits.

use super::flush::log_record;
use super::{
    Engine, FIRST_USER_TABLE, NAMES_TABLE, NONE, STATE_ACTIVE, STATE_FREE, STATE_FROZEN, Sequencer,
    Transaction,
};
use crate::error::{Error, Limit, Result};
use crate::limits::{AHEAD_KEYS_MAX, TABLE_NAME_BYTES_MAX, WALL_TIME_MAX_MS};
use crate::memtable::{CommitHead, CommitSize, Record, RecordKind};
use crate::sync::Ordering;
use crate::txn::{MemtableSlot, SourceId, VersionState};
use crate::wal::frame_bytes;

/// What a transaction is validated against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Isolation {
    /// Keys that it wrote must not have been changed since it began.
    Snapshot,
    /// What it read must not have been changed, either.
    Serializable,
}

/// What a value carries besides its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PutOptions {
    /// The entry is gone from this time on, in milliseconds since 1970.
    pub expiry_ms: Option<u64>,
    /// A byte for the caller's own use.
    pub metadata: Option<u8>,
}

/// A commit's place in the order: it is durable when the durable sequence has
/// reached it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[must_use = "a commit is durable only when its ticket is"]
pub struct Ticket {
    /// The sequence to wait for.
    pub sequence: u64,
}

impl Engine {
    /// Begins a write transaction. It sees everything committed before, durable
    /// or not.
    ///
    /// # Errors
    /// [`Error::ReadOnly`], [`Error::Poisoned`], or [`Error::OverLimit`] when as many
    /// are open as were planned.
    pub fn begin(&self, now_ms: u64, isolation: Isolation) -> Result<Transaction> {
        self.check_writable()?;
        let slot = self.transactions.take()?;
        let loads = self.loads.load(Ordering::SeqCst);
        let watermark = || self.appended.load(Ordering::SeqCst);
        let snapshot = match self
            .front
            .versions
            .begin(&self.pager, self.id, now_ms, watermark)
        {
            Ok(snapshot) => snapshot,
            Err(error) => {
                self.transactions.give_back(slot);
                return Err(error);
            }
        };
        let is_serializable = isolation == Isolation::Serializable;
        Ok(Transaction {
            engine: self.id,
            slot,
            snapshot,
            is_serializable,
            loads,
            is_committing: false,
        })
    }

    pub(super) fn check_writable(&self) -> Result<()> {
        if self.log.is_none() {
            return Err(Error::ReadOnly);
        }
        if self.is_poisoned() {
            Err(Error::Poisoned)
        } else {
            Ok(())
        }
    }

    /// Checks a record's lengths.
    pub(super) fn check_record(&self, key: &[u8], value: &[u8]) -> Result<()> {
        let over = |limit, value: usize, maximum: usize| {
            Err(Error::OverLimit {
                limit,
                value: value as u64,
                maximum: maximum as u64,
            })
        };
        if key.len() > self.key_bytes_max() {
            return over(Limit::KeyBytes, key.len(), self.key_bytes_max());
        }
        if value.len() > self.value_bytes_max() {
            return over(Limit::ValueBytes, value.len(), self.value_bytes_max());
        }
        Ok(())
    }

    /// Writes a value in a transaction.
    ///
    /// # Errors
    /// [`Error::OverLimit`] for a key, value or transaction that is too large.
    pub fn transaction_put(
        &self,
        transaction: &mut Transaction,
        table: u32,
        key: &[u8],
        value: &[u8],
        options: PutOptions,
    ) -> Result<()> {
        self.check_record(key, value)?;
        let PutOptions {
            expiry_ms,
            metadata,
        } = options;
        let kind = RecordKind::Put;
        let record = Record {
            kind,
            table,
            key,
            value,
            expiry_ms,
            metadata,
        };
        self.writes_mut(transaction)?.write(&record)
    }

    /// Removes a key in a transaction. That it was not there is no error.
    ///
    /// # Errors
    /// As [`transaction_put`](Self::transaction_put).
    pub fn transaction_delete(
        &self,
        transaction: &mut Transaction,
        table: u32,
        key: &[u8],
    ) -> Result<()> {
        self.check_record(key, &[])?;
        let kind = RecordKind::Delete;
        let record = Record {
            kind,
            table,
            key,
            value: &[],
            expiry_ms: None,
            metadata: None,
        };
        self.writes_mut(transaction)?.write(&record)
    }

    /// Removes every key from `from` to the exclusive `to` (`None`: to the table's end) in
    /// a transaction: what others commit there meanwhile is a conflict. Costs one
    /// record, however much is there; until it is merged, lookups ask it, too.
    ///
    /// # Errors
    /// As [`transaction_put`](Self::transaction_put).
    pub fn transaction_delete_range(
        &self,
        transaction: &mut Transaction,
        table: u32,
        from: &[u8],
        to: Option<&[u8]>,
    ) -> Result<()> {
        self.check_record(from, &[])?;
        self.check_record(to.unwrap_or(&[]), &[])?;
        if to.is_some_and(|to| to <= from) {
            return Ok(());
        }
        let kind = RecordKind::RangeDelete;
        let record = Record {
            kind,
            table,
            key: from,
            value: to.unwrap_or(&[]),
            expiry_ms: None,
            metadata: None,
        };
        self.writes_mut(transaction)?.write(&record)
    }

    /// Drops a table in a transaction: its name and all its entries. Its id is not given
    /// out again. The space comes back when the range delete is merged.
    ///
    /// # Errors
    /// [`Error::NoSuchTable`]; as [`transaction_put`](Self::transaction_put).
    pub fn transaction_drop_table(&self, transaction: &mut Transaction, name: &[u8]) -> Result<()> {
        let table = self
            .transaction_find_table(transaction, name)?
            .ok_or(Error::NoSuchTable)?;
        self.transaction_delete(transaction, NAMES_TABLE, name)?;
        self.transaction_delete_range(transaction, table, &[], None)
    }

    /// Notes that a serializable transaction read keys from `from` to `to`
    /// (inclusive; `None`: to the table's end). Gets and cursors don't note by
    /// themselves, since only the caller knows how far it looked.
    ///
    /// # Errors
    /// When the transaction is another engine's.
    pub fn transaction_note_read(
        &self,
        transaction: &mut Transaction,
        table: u32,
        from: &[u8],
        to: Option<&[u8]>,
    ) -> Result<()> {
        if transaction.is_serializable {
            self.writes_mut(transaction)?.read(table, from, to);
        }
        Ok(())
    }

    /// Creates a table in a transaction and answers its id; it is there for others
    /// when the transaction has committed.
    ///
    /// # Errors
    /// [`Error::TableExists`], [`Error::OverLimit`] for its name.
    pub fn transaction_create_table(
        &self,
        transaction: &mut Transaction,
        name: &[u8],
    ) -> Result<u32> {
        if name.len() > TABLE_NAME_BYTES_MAX.min(self.key_bytes_max()) {
            return Err(Error::OverLimit {
                limit: Limit::TableNameBytes,
                value: name.len() as u64,
                maximum: TABLE_NAME_BYTES_MAX.min(self.key_bytes_max()) as u64,
            });
        }
        if self.transaction_find_table(transaction, name)?.is_some() {
            return Err(Error::TableExists);
        }
        let id = {
            let mut sequencer = self.sequencer.lock();
            let id = sequencer.next_table.max(FIRST_USER_TABLE);
            let next = id.checked_add(1).ok_or(Error::OverLimit {
                limit: Limit::Tables,
                value: u64::from(u32::MAX) + 1,
                maximum: u64::from(u32::MAX),
            })?;
            sequencer.next_table = next;
            id
        };
        let mut value = [0; 8];
        if let Some(four) = value.first_chunk_mut::<4>() {
            *four = id.to_le_bytes();
        }
        self.transaction_put(
            transaction,
            NAMES_TABLE,
            name,
            &value,
            PutOptions::default(),
        )?;
        Ok(id)
    }

    /// Commits a transaction. On an error it is rolled back.
    ///
    /// # Errors
    /// [`Error::Conflict`] or [`Error::TransactionTooOld`]: begin again.
    /// [`Error::FrontFull`] while memtables wait for their merge, [`Error::StorageFull`]
    /// when that waits for room.
    pub fn commit(&self, mut transaction: Transaction, now_ms: u64, origin: u32) -> Result<Ticket> {
        let outcome = self.try_commit(&mut transaction, now_ms, origin);
        self.rollback(transaction);
        if matches!(
            outcome,
            Err(Error::Conflict { .. } | Error::TransactionTooOld)
        ) {
            self.statistics.conflicts.fetch_add(1, Ordering::Relaxed);
        }
        outcome
    }

    /// Commits a transaction, and leaves it open on an error, so that a commit that
    /// found no room may be tried again. It can't be read any more: what it kept
    /// for reading is let go, since the room may be just that. After success only
    /// [`rollback`](Self::rollback) may follow, which then changes nothing.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub fn try_commit(
        &self,
        transaction: &mut Transaction,
        now_ms: u64,
        origin: u32,
    ) -> Result<Ticket> {
        self.check_writable()?;
        self.writes(transaction)?;
        transaction.is_committing = true;
        // At each try: the version that was current at the last one lists what may
        // have been merged since.
        self.front
            .versions
            .rebase(&self.pager, &mut transaction.snapshot);
        if self.writes(transaction)?.is_empty() {
            // Nothing to order; but who hears of it relies on what was read.
            return Ok(Ticket {
                sequence: transaction.snapshot.sequence,
            });
        }
        let size = self.writes(transaction)?.size();
        loop {
            // Runs are read before the lock, since that may take a while.
            let validated = self.validate_runs(transaction)?;
            let mut sequencer = self.sequencer.lock();
            let current = self.front.versions.current().sources;
            if current
                .runs()
                .all(|run| validated.runs().any(|done| done == run))
            {
                self.validate(&sequencer, transaction, &current)?;
                let writes = self.writes(transaction)?;
                let records = writes.range_deletes().chain(writes.net());
                return self.append(&mut sequencer, &size, now_ms, origin, records);
            }
            // A memtable became a run meanwhile.
            drop(sequencer);
            self.front
                .versions
                .rebase(&self.pager, &mut transaction.snapshot);
        }
    }

    /// Writes one value, whatever stands there: never conflicts.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub fn put(
        &self,
        table: u32,
        key: &[u8],
        value: &[u8],
        options: PutOptions,
        now_ms: u64,
    ) -> Result<Ticket> {
        self.check_record(key, value)?;
        let PutOptions {
            expiry_ms,
            metadata,
        } = options;
        let kind = RecordKind::Put;
        self.append_one(
            &Record {
                kind,
                table,
                key,
                value,
                expiry_ms,
                metadata,
            },
            now_ms,
        )
    }

    /// Removes one key, whether it is there or not: never conflicts.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub fn delete(&self, table: u32, key: &[u8], now_ms: u64) -> Result<Ticket> {
        self.check_record(key, &[])?;
        let kind = RecordKind::Delete;
        let record = Record {
            kind,
            table,
            key,
            value: &[],
            expiry_ms: None,
            metadata: None,
        };
        self.append_one(&record, now_ms)
    }

    pub(super) fn append_one(&self, record: &Record<'_>, now_ms: u64) -> Result<Ticket> {
        self.check_writable()?;
        let mut size = CommitSize::default();
        size.add(record);
        let mut sequencer = self.sequencer.lock();
        self.append(&mut sequencer, &size, now_ms, 0, core::iter::once(*record))
    }

    /// Numbers a commit and inserts it into the active memtable.
    pub(super) fn append<'r>(
        &self,
        sequencer: &mut Sequencer,
        size: &CommitSize,
        now_ms: u64,
        origin: u32,
        records: impl Iterator<Item = Record<'r>> + Clone,
    ) -> Result<Ticket> {
        // A commit that is refused tells the time, too.
        sequencer.wall_time_ms = sequencer.wall_time_ms.max(now_ms.min(WALL_TIME_MAX_MS));
        let mut growth_bytes = 0;
        let measured = records
            .clone()
            .inspect(|record| growth_bytes += self.growth(record));
        let frame_bytes = self.log_bytes_for(measured);
        if growth_bytes > 0 {
            // The log takes of the same room.
            growth_bytes += frame_bytes;
        }
        self.admit(sequencer, growth_bytes)?;
        self.check_log_room(frame_bytes)?;
        let sequence = self.appended.load(Ordering::Relaxed) + 1;
        let wall_time_ms = sequencer.wall_time_ms;
        self.insert(
            sequencer,
            size,
            CommitHead {
                sequence,
                wall_time_ms,
                origin,
            },
            records.clone(),
        )?;
        let streams = self.pager.streams();
        if streams.any_uncommitted() {
            for record in records.filter(|record| record.kind == RecordKind::Extent) {
                streams.commit(record.value, sequence);
            }
        }
        sequencer.put_budget_bytes = sequencer.put_budget_bytes.saturating_sub(growth_bytes);
        self.log_promised.fetch_add(frame_bytes, Ordering::SeqCst);
        self.appended.store(sequence, Ordering::SeqCst);
        self.statistics.commits.fetch_add(1, Ordering::Relaxed);
        Ok(Ticket { sequence })
    }

    /// Whether the log can promise so much to a commit. Under the sequencer's lock.
    pub(super) fn check_log_room(&self, frame_bytes: u64) -> Result<()> {
        let promised = self.log_promised.load(Ordering::SeqCst) + frame_bytes;
        if promised <= self.log_room.load(Ordering::SeqCst) {
            return Ok(());
        }
        self.log_short.store(true, Ordering::Relaxed);
        Err(self.full_or(Error::LogFull))
    }

    /// What a commit may take of the log: its frame, in blocks of its own.
    pub(super) fn log_bytes_for<'r>(&self, records: impl Iterator<Item = Record<'r>>) -> u64 {
        let bytes = frame_bytes(records.map(|record| log_record(&record)));
        bytes.next_multiple_of(u64::from(self.pager.storage().geometry().write_block_bytes).max(1))
    }

    /// Inserts a numbered commit; a full memtable is frozen first.
    pub(super) fn insert<'r>(
        &self,
        sequencer: &mut Sequencer,
        size: &CommitSize,
        head: CommitHead,
        records: impl Iterator<Item = Record<'r>> + Clone,
    ) -> Result<()> {
        let fits = |slot: &MemtableSlot| {
            slot.memtable.fits(size) && slot.memtable.range_bytes_left() >= size.range_bytes
        };
        if !fits(self.memtable(sequencer.active)?) {
            if !self
                .memtable(sequencer.active)?
                .memtable
                .fits_when_empty(size)
            {
                return Err(Error::OverLimit {
                    limit: Limit::TransactionBytes,
                    value: size.key_bytes + size.value_bytes,
                    maximum: u64::from(self.options.transaction_bytes),
                });
            }
            self.freeze(sequencer)?;
        }
        let slot = self.memtable(sequencer.active)?;
        let mut writer = slot.memtable.writer().ok_or(Error::Internal(220))?;
        let mut commit = writer.begin_commit(head, size)?;
        let mut ahead = records.clone();
        for (number, record) in records.enumerate() {
            // Those of many keys wait for memory together.
            if size.records > 1 && number % AHEAD_KEYS_MAX == 0 {
                let next = ahead.by_ref().take(AHEAD_KEYS_MAX);
                slot.memtable
                    .prefetch(next.map(|record| (record.table, record.key)));
            }
            commit.insert(&record).map_err(|error| self.poison(error))?;
        }
        commit.publish().map_err(|error| self.poison(error))
    }

    /// Puts a free memtable in the active one's place, which then waits for its merge.
    pub(super) fn freeze(&self, sequencer: &mut Sequencer) -> Result<()> {
        self.freeze_above(sequencer, None)
    }

    /// As [`freeze`](Self::freeze), with a run between the two.
    pub(super) fn freeze_above(
        &self,
        sequencer: &mut Sequencer,
        run: Option<SourceId>,
    ) -> Result<()> {
        let full = || self.full_or(Error::FrontFull);
        let free = (0_u32..)
            .zip(self.front.memtables.iter())
            .find(|(_, slot)| slot.state.load(Ordering::Acquire) == STATE_FREE);
        let (index, slot) = free.ok_or_else(full)?;
        if let Ok(old) = self.memtable(sequencer.active) {
            // Nobody else uses it before it is published.
            slot.memtable.learn_from(&old.memtable);
        }
        let before = self.front.versions.current();
        let below = match run {
            Some(run) => before.sources.with_newest(run).ok_or_else(full)?,
            None => before.sources,
        };
        let sources = below
            .with_newest(SourceId::of_memtable(index))
            .ok_or_else(full)?;
        let state = VersionState { sources, ..before };
        // Published before anything is in it: see `txn::version`.
        self.front
            .versions
            .publish_leaving(self.pager.epochs(), &state, sequencer.wall_time_ms, 1)
            .map_err(|_| full())?;
        slot.successor.store(NONE, Ordering::Relaxed);
        slot.state.store(STATE_ACTIVE, Ordering::Release);
        if let Ok(old) = self.memtable(sequencer.active) {
            old.successor.store(index, Ordering::Release);
            old.state.store(STATE_FROZEN, Ordering::Release);
        }
        sequencer.active = index;
        // Behind all that maintenance finds it by.
        self.wants_sync.store(true, Ordering::SeqCst);
        Ok(())
    }
}
