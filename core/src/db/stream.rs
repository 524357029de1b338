//! Values larger than a transaction: written beside the log, committed by reference.
//!
//! # Protocol
//! 1. [`Engine::begin_value`] takes units of the page file, as the owner of maintenance
//!    for the length of that call. They are in use in memory and free on the medium
//!    until something that is published refers to them (`pager/streams.rs`).
//! 2. [`ValueWriter::write`] fills them beside maintenance: flips, merges and commits go
//!    on meanwhile.
//! 3. [`ValueWriter::finish`] syncs them, as the owner of maintenance again: a device
//!    reports a failed sync to one of two that run together, and the other would count
//!    as done.
//! 4. The finished value is put in a transaction, with other changes, or alone. The
//!    record holds the reference: address, length, birth generation, CRC. So whatever
//!    flush makes the commit durable, what it refers to was durable before.
//! 5. The commit gives the value's slot its sequence. A transaction that ends without,
//!    and a value that is dropped, leave a slot that maintenance frees.
//! 6. The memtable becomes a run, or is merged, with the reference as it stands. The
//!    flip that names the commit as merged settles each of its values: what nothing
//!    refers to then goes on that flip's pending list, so that snapshots that
//!    still see it keep it, and the slot is free.
//!
//! # Recovery
//! Before anything is allocated the log is read once for references, and each is taken
//! from free space again ([`Engine::claim_values`]). Everything else that was
//! being written is free by itself: no bitmap on the medium has it.
//!
//! Where a merge of a memtable (not of runs) was cut off, the trees may have a reference
//! that the log has, too: its units are then found in use. Memtables that follow are
//! merged until the log names no such value any more, before runs are made again,
//! since a run would not know what the trees have of it.

use super::{Engine, PutOptions, Ticket, Transaction, replay};
use crate::error::{Error, Limit, Result};
use crate::format::extent::{EXTENT_REF_BYTES, ExtentRef};
use crate::format::frame::FrameKind;
use crate::limits::VALUE_BYTES_MAX;
use crate::memtable::{Record, RecordKind};
use crate::pager::{StreamBuffer, StreamState};
use crate::sync::{ExclusiveGuard, Ordering};
use crate::wal::{LogConfig, RecordKind as LogKind, Replay, Scan};

/// Values between their begin and the run or tree that has them, at most.
pub(super) const STREAMS_MAX: usize = 64;
/// Values that are written at the same time, at most.
pub(super) const VALUE_WRITERS: usize = 2;

/// A value being written. Dropped, it leaves nothing.
pub struct ValueWriter<'e> {
    engine: &'e Engine,
    buffer: ExclusiveGuard<'e, StreamBuffer>,
    state: StreamState,
    value: WrittenValue<'e>,
    bytes_max: u64,
    failure: Option<Error>,
}

/// A value that is written and durable, and that nothing refers to yet: it is put in a
/// transaction or alone. Dropped, it leaves nothing.
pub struct WrittenValue<'e> {
    engine: &'e Engine,
    table: u32,
    /// The slot, until the value is put.
    slot: Option<u32>,
    reference: [u8; EXTENT_REF_BYTES],
    is_empty: bool,
}

impl Engine {
    /// The longest value that can be written by stream, in bytes; 0 where none can.
    #[must_use]
    pub fn streamed_value_bytes_max(&self) -> u64 {
        if self.pager.streams().is_absent() {
            return 0;
        }
        VALUE_BYTES_MAX.min(self.options.file_bytes_max)
    }

    /// Begins to write a value of at most `bytes_max` bytes for a table: so much room is
    /// taken until it is finished.
    ///
    /// # Errors
    /// [`Error::Busy`] while maintenance is owned, or as many values are being written as
    /// can be: try again. [`Error::FrontFull`] while as many as there is room for wait to
    /// become part of a run or tree, or merges may make room. [`Error::StorageFull`] where
    /// it would take the reserve. [`Error::OverLimit`] for a value that is too large, or a
    /// full file.
    pub fn begin_value(&self, table: u32, bytes_max: u64) -> Result<ValueWriter<'_>> {
        self.check_writable()?;
        let maximum = self.streamed_value_bytes_max();
        if bytes_max > maximum {
            return Err(Error::OverLimit {
                limit: Limit::ValueBytes,
                value: bytes_max,
                maximum,
            });
        }
        let mut buffers = self.value_buffers.iter();
        let buffer = buffers.find_map(|buffer| buffer.try_enter());
        let buffer = buffer.ok_or(Error::Busy)?;
        let mut maintenance = self.maintenance.try_enter().ok_or(Error::Busy)?;
        let is_idle = maintenance.work.is_none();
        let store = &mut maintenance.store;
        if store.must_abandon() {
            store.abandon(&self.pager)?;
        }
        if is_idle {
            store.sweep_streams(&self.pager)?;
        }
        // Its units are taken at once, and not given back before it is merged.
        self.admit_now(bytes_max)?;
        let place = store.open_stream(&self.pager, bytes_max.max(1))?;
        let Some(place) = place else {
            // Those that are committed wait for their memtable, which may be far from full.
            return match self.freeze_front() {
                Ok(_) => Err(Error::FrontFull),
                Err(error) => Err(error),
            };
        };
        self.note_store(&mut maintenance);
        Ok(ValueWriter {
            engine: self,
            buffer,
            state: StreamState::new(&self.pager, &place, table),
            value: WrittenValue {
                engine: self,
                table,
                slot: Some(place.slot),
                reference: [0; EXTENT_REF_BYTES],
                is_empty: false,
            },
            bytes_max,
            failure: None,
        })
    }

    /// Writes a value that was streamed in a transaction. After success `value` is put,
    /// and can't be put again.
    ///
    /// # Errors
    /// As [`transaction_put`](Self::transaction_put); `value` is then as it was.
    pub fn transaction_put_value(
        &self,
        transaction: &mut Transaction,
        key: &[u8],
        value: &mut WrittenValue<'_>,
        options: PutOptions,
    ) -> Result<()> {
        let record = self.value_record(key, value, options)?;
        let owner = transaction.slot;
        self.writes_mut(transaction)?.write(&record)?;
        if let Some(slot) = value.put() {
            self.pager.streams().attach(slot, owner);
        }
        Ok(())
    }

    /// Writes one value that was streamed, whatever stands there: never conflicts. After
    /// success `value` is put, and can't be put again.
    ///
    /// # Errors
    /// As [`put`](Self::put); `value` is then as it was.
    pub fn put_value(
        &self,
        key: &[u8],
        value: &mut WrittenValue<'_>,
        options: PutOptions,
        now_ms: u64,
    ) -> Result<Ticket> {
        let record = self.value_record(key, value, options)?;
        let ticket = self.append_one(&record, now_ms)?;
        let _ = value.put();
        Ok(ticket)
    }

    fn value_record<'v>(
        &self,
        key: &'v [u8],
        value: &'v WrittenValue<'_>,
        options: PutOptions,
    ) -> Result<Record<'v>> {
        self.check_record(key, &[])?;
        if value.engine.id != self.id || (value.slot.is_none() && !value.is_empty) {
            return Err(Error::Internal(271));
        }
        let (kind, bytes) = if value.is_empty {
            (RecordKind::Put, &[][..])
        } else {
            (RecordKind::Extent, &value.reference[..])
        };
        Ok(Record {
            kind,
            table: value.table,
            key,
            value: bytes,
            expiry_ms: options.expiry_ms,
            metadata: options.metadata,
        })
    }

    /// Takes what the log refers to from free space. Before anything is allocated.
    pub(super) fn claim_values(
        &self,
        config: &LogConfig,
        scan: &Scan,
        window: &mut [u8],
    ) -> Result<()> {
        let has_values = !self.pager.streams().is_absent();
        if !has_values && scan.ingests == 0 {
            return Ok(());
        }
        let mut maintenance = self.maintenance.try_enter().ok_or(Error::Internal(272))?;
        let merged = self.merged.load(Ordering::Relaxed);
        let mut walk = Replay::new(config, scan, window, merged);
        while let Some(commit) = self.next_commit(&mut walk, &replay::Slots::Engine)? {
            let store = &mut maintenance.store;
            if commit.kind == FrameKind::Ingest {
                let claim = |part| store.claim_part(&self.pager, part, commit.sequence);
                let record = walk.ingest(claim)?;
                store.note_births(&record);
            }
            if !has_values || commit.kind == FrameKind::Ingest {
                continue;
            }
            while let Some(record) = walk.next_record()? {
                let extent = ExtentRef::decode(record.value);
                if let (LogKind::Extent, Some(extent)) = (record.kind, extent) {
                    store.claim_stream(&self.pager, &extent, commit.sequence)?;
                }
            }
        }
        Ok(())
    }
}

impl<'e> ValueWriter<'e> {
    /// Bytes written so far.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.state.extent().length
    }

    /// Adds to the value.
    ///
    /// # Errors
    /// [`Error::OverLimit`] for more than was announced: nothing is added then. I/O, or a
    /// full storage: the value can only be dropped then.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let value = self.length().saturating_add(bytes.len() as u64);
        if value > self.bytes_max {
            return Err(Error::OverLimit {
                limit: Limit::ValueBytes,
                value,
                maximum: self.bytes_max,
            });
        }
        let written = self
            .state
            .write(&self.engine.pager, &mut self.buffer, bytes);
        self.failure = written.err();
        written
    }

    /// Makes the value durable.
    ///
    /// # Errors
    /// [`Error::Busy`] while maintenance is owned: finish again. I/O: the value can only be
    /// dropped; where the sync failed, the engine is poisoned.
    pub fn finish(&mut self) -> Result<WrittenValue<'e>> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        self.engine.check_writable()?;
        let pager = &self.engine.pager;
        let written = self.state.finish(pager, &mut self.buffer);
        self.failure = written.err();
        written?;
        let mut maintenance = self.engine.maintenance.try_enter().ok_or(Error::Busy)?;
        let store = &mut maintenance.store;
        if store.must_abandon() {
            store.abandon(pager)?;
        }
        let slot = self.value.slot.ok_or(Error::Internal(273))?;
        let extent = *self.state.extent();
        if extent.length > 0
            && let Err(error) = store.close_stream(pager, slot, &extent)
        {
            self.failure = Some(error);
            return Err(self.engine.poison(error));
        }
        drop(maintenance);
        self.failure = Some(Error::Internal(274));
        Ok(WrittenValue {
            engine: self.engine,
            table: self.value.table,
            slot: self.value.put(),
            reference: extent.encode(),
            is_empty: extent.length == 0,
        })
    }
}

impl WrittenValue<'_> {
    /// The table that the value is for.
    #[must_use]
    pub fn table(&self) -> u32 {
        self.table
    }

    /// Takes the slot out: from here on it is another's.
    fn put(&mut self) -> Option<u32> {
        if self.is_empty {
            // Nothing refers to what was taken for an empty value.
            return None;
        }
        self.slot.take()
    }
}

impl Drop for WrittenValue<'_> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.engine.pager.streams().drop_open(slot);
        }
    }
}
