//! Writing a load that becomes a run, and its commit: steps 1 to 4 of the protocol.

use super::super::maintain::Work;
use super::super::{Engine, Maintenance, NONE, PutOptions, Ticket};
use super::IngestMemory;
use crate::btree::{Change, PageSink, Root};
use crate::error::{Error, KeySample, Limit, Result};
use crate::format::bytes::put;
use crate::format::extent::{EXTENT_REF_BYTES, ExtentRef};
use crate::format::leaf::EntryKind;
use crate::format::page_ref::{PageKind, PageRef};
use crate::format::run::{
    RUN_PART_BYTES, RUN_RECORD_BYTES, RunRecord, filter_fold, filter_hash, filter_insert,
};
use crate::limits::{RUN_PARTS_MAX, RUNS_MAX, WALL_TIME_MAX_MS, inline_value_bytes_max};
use crate::pager::{Pager, PartWriter, filter_pages, write_filter};
use crate::run::{Reserved, run_key};
use crate::sync::{ExclusiveGuard, Ordering};
use crate::txn::SourceId;

/// How far a load is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Entries come.
    Open,
    /// All is written, and the record is whole but for its sequence.
    Written,
    /// It is durable, too.
    Synced,
    /// It is committed: the parts are the run's.
    Committed,
}

/// A load under way that becomes a run. Dropped before it is finished, it leaves nothing.
pub struct Ingest<'e> {
    engine: &'e Engine,
    memory: ExclusiveGuard<'e, IngestMemory>,
    table: u32,
    rows: u64,
    /// Slots of the parts, and how many units of each hold pages; of the last one only when
    /// it is known.
    parts: [(u32, u64); RUN_PARTS_MAX],
    part_count: usize,
    /// How much had been written at the last sync.
    synced_bytes: u64,
    phase: Phase,
    record: RunRecord,
    failure: Option<Error>,
}

/// Puts pages into the parts of a load.
struct PartSink<'a> {
    pager: &'a Pager,
    writer: &'a mut PartWriter,
}

impl PageSink for PartSink<'_> {
    fn append(&mut self, kind: PageKind, level: u8, plain: &mut [u8]) -> Result<PageRef> {
        self.writer.append(self.pager, kind, level, plain)
    }

    // There is no old tree.
    fn release(&mut self, _page: &PageRef) -> Result<()> {
        Err(Error::Internal(330))
    }

    fn release_extent(&mut self, _reference: &[u8]) -> Result<()> {
        Err(Error::Internal(331))
    }
}

impl<'e> Ingest<'e> {
    pub(super) fn new(
        engine: &'e Engine,
        mut memory: ExclusiveGuard<'e, IngestMemory>,
        table: u32,
    ) -> Result<Self> {
        let root = Root {
            page: None,
            table: 0,
        };
        memory.editor.begin(&root, false)?;
        memory.writer.reset();
        memory.filter.fill(0);
        Ok(Self {
            engine,
            memory,
            table,
            rows: 0,
            parts: [(NONE, 0); RUN_PARTS_MAX],
            part_count: 0,
            synced_bytes: 0,
            phase: Phase::Open,
            record: RunRecord::default(),
            failure: None,
        })
    }

    /// Entries that were added.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Adds an entry. Its key is above the one before.
    ///
    /// # Errors
    /// [`Error::NotAscending`], [`Error::OverLimit`] for key and value, and [`Error::Busy`]
    /// while maintenance is owned (then push again) leave the load as it was. After any
    /// other error it can only be dropped; where a sync failed, the engine is poisoned.
    pub fn push(&mut self, key: &[u8], value: &[u8], options: PutOptions) -> Result<()> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        if self.phase != Phase::Open {
            return Err(Error::Internal(336));
        }
        let engine = self.engine;
        engine.check_record(key, value)?;
        let memory = &mut *self.memory;
        let run_key = run_key(&mut memory.key, self.table, key)?;
        if !memory.editor.is_above_last(run_key) {
            return Err(Error::NotAscending {
                key: KeySample::of(key),
            });
        }
        let pages = self.push_pages(value.len());
        self.ensure(pages)?;
        self.sync_some()?;
        let pushed = self.push_ensured(key, value, options);
        self.failure = pushed.err();
        pushed
    }

    fn push_ensured(&mut self, key: &[u8], value: &[u8], options: PutOptions) -> Result<()> {
        let pager = &self.engine.pager;
        let IngestMemory {
            editor,
            writer,
            page,
            key: key_buffer,
            filter,
        } = &mut *self.memory;
        let run_key = run_key(key_buffer, self.table, key)?;
        let is_inline = value.len() <= inline_value_bytes_max(pager.layout().page_bytes);
        let reference: [u8; EXTENT_REF_BYTES];
        let (kind, value) = if is_inline {
            (EntryKind::Put, value)
        } else {
            let extent = writer.append_extent(pager, self.table, value, page)?;
            reference = extent.encode();
            (EntryKind::Extent, &reference[..])
        };
        let change = Change::Put {
            kind,
            expiry_ms: options.expiry_ms,
            metadata: options.metadata,
            sequence: 0,
            value,
        };
        editor.apply(pager, &mut PartSink { pager, writer }, run_key, change)?;
        filter_insert(filter, filter_hash(self.table, key));
        self.rows += 1;
        Ok(())
    }

    /// Syncs what was written since the last time, where that is as much as a memtable: so
    /// that maintenance is never kept for long, and the last sync isn't either.
    fn sync_some(&mut self) -> Result<()> {
        let engine = self.engine;
        let written = self.memory.writer.written_bytes();
        let least = u64::from(engine.options.memtable_bytes);
        if written.saturating_sub(self.synced_bytes) < least {
            return Ok(());
        }
        // Where somebody else has it, the next entry will do.
        let Some(mut maintenance) = engine.maintenance.try_enter() else {
            return Ok(());
        };
        if maintenance.store.must_abandon() {
            return Ok(());
        }
        let synced = maintenance.store.sync_pages(&engine.pager);
        drop(maintenance);
        if let Err(error) = synced {
            return self.fail(engine.poison(error));
        }
        self.synced_bytes = written;
        Ok(())
    }

    /// Pages that one entry may lead to, its extent and the end of the tree included.
    fn push_pages(&self, value_bytes: usize) -> u64 {
        let layout = self.engine.pager.layout();
        let options = &self.engine.options;
        // Each level may write what it holds back, and what comes from the one below.
        let staged = 2 * u64::from(options.tree_levels) * (u64::from(options.stage_pages) + 2);
        if value_bytes <= inline_value_bytes_max(layout.page_bytes) {
            return staged;
        }
        let chunk_bytes = ExtentRef::chunk_bytes(layout.chunk_page_bytes());
        staged + value_bytes.div_ceil(chunk_bytes) as u64
    }

    /// Takes another part where the current one has no room for so many pages: so that
    /// nothing is half done when there is none.
    fn ensure(&mut self, pages: u64) -> Result<()> {
        if self.memory.writer.left() >= pages {
            return Ok(());
        }
        let engine = self.engine;
        let pager = &engine.pager;
        if self.part_count >= RUN_PARTS_MAX {
            return self.fail(Error::OverLimit {
                limit: Limit::PageFileBytes,
                value: self.memory.writer.written_bytes(),
                maximum: self.memory.writer.written_bytes(),
            });
        }
        let mut maintenance = engine.maintenance.try_enter().ok_or(Error::Busy)?;
        let is_idle = maintenance.work.is_none();
        let page_bytes = pager.layout().page_bytes.max(1) as u64;
        // The part, and what all of the load may add to the trees when it is merged.
        let growth = 2 * pages * page_bytes + 2 * self.memory.writer.written_bytes();
        if engine.admit_now(growth).is_err() {
            drop(maintenance);
            return self.fail(Error::StorageFull);
        }
        let store = &mut maintenance.store;
        if store.must_abandon() {
            store.abandon(pager)?;
        }
        if is_idle {
            store.sweep_streams(pager)?;
        }
        let first = 4 * u64::from(engine.options.write_buffer_bytes) / page_bytes;
        let half = self.memory.writer.written_bytes() / page_bytes / 2;
        let most = pages + first.max(half);
        let place = match store.open_part(pager, 2 * pages, most) {
            Ok(place) => place,
            Err(error) => {
                drop(maintenance);
                return self.fail(error);
            }
        };
        // Those of a load that was dropped, or is pending, are free soon.
        let place = place.ok_or(Error::Busy)?;
        drop(maintenance);
        self.note_part();
        if let Some(part) = self.parts.get_mut(self.part_count) {
            *part = (place.slot, 0);
            self.part_count += 1;
        }
        // Only now: a block that was written is never added to.
        if let Err(error) = self.memory.writer.write_out(pager) {
            return self.fail(error);
        }
        self.memory.writer.begin_part(place);
        Ok(())
    }

    fn fail(&mut self, error: Error) -> Result<()> {
        self.failure = Some(error);
        Err(error)
    }

    /// Notes how much of the part that is being filled holds pages.
    fn note_part(&mut self) {
        if let Some((slot, units)) = self.memory.writer.part(&self.engine.pager)
            && let Some(last) = self.part_count.checked_sub(1)
            && let Some(part) = self.parts.get_mut(last)
        {
            *part = (slot, units);
        }
    }

    /// Commits the load: it is there as a whole from then on, later than all commits
    /// before, and durable when its ticket is. May be called again after an error that
    /// passes; after success the load can only be dropped.
    ///
    /// # Errors
    /// [`Error::Busy`] while maintenance is owned, the run of the load before this one or as
    /// many runs as may stand wait for maintenance; [`Error::FrontFull`] where snapshots
    /// read every slot of a run, and, with [`Error::LogFull`], as at any commit: finish
    /// again. I/O: the load can only be dropped
    /// then; where a sync failed, the engine is poisoned.
    pub fn finish(&mut self, now_ms: u64) -> Result<Ticket> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let engine = self.engine;
        engine.check_writable()?;
        if self.rows == 0 {
            self.phase = Phase::Committed;
            let sequence = engine.appended.load(Ordering::SeqCst);
            return Ok(Ticket { sequence });
        }
        if self.phase == Phase::Open {
            // As it is now, since it can be folded only once, and this may have to wait.
            let filter_pages = filter_pages(engine.pager.layout(), self.memory.filter.len());
            self.ensure(self.push_pages(0) + filter_pages)?;
            if let Err(error) = self.write_end() {
                self.failure = Some(error);
                return Err(error);
            }
            self.note_part();
            self.phase = Phase::Written;
        }
        self.commit(now_ms)
    }

    /// Writes the end of the tree, and the filter; once.
    fn write_end(&mut self) -> Result<()> {
        let pager = &self.engine.pager;
        let IngestMemory {
            editor,
            writer,
            page,
            filter,
            ..
        } = &mut *self.memory;
        let root = editor.finish(pager, &mut PartSink { pager, writer })?;
        let filter_bytes = filter_fold(filter, self.rows);
        let filter = filter.get(..filter_bytes).unwrap_or(&[]);
        let first = write_filter(pager, filter, page, &mut |page| {
            writer.append(pager, PageKind::Filter, 0, page)
        })?;
        writer.write_out(pager)?;
        self.record = RunRecord {
            newest: root.root,
            filter: first,
            entries: root.entries,
            filter_bytes: u32::try_from(filter_bytes).map_err(|_| Error::Internal(337))?,
            written_bytes: writer.written_bytes(),
            has_extents: root.extents_below,
            is_ingested: true,
            ..RunRecord::default()
        };
        Ok(())
    }

    /// Steps 3 and 4.
    fn commit(&mut self, now_ms: u64) -> Result<Ticket> {
        let engine = self.engine;
        if self.phase == Phase::Committed {
            return Err(Error::Internal(338));
        }
        let mut maintenance = engine.maintenance.try_enter().ok_or(Error::Busy)?;
        let Maintenance {
            store,
            keeper,
            work,
            ..
        } = &mut *maintenance;
        if store.must_abandon() {
            store.abandon(&engine.pager)?;
        }
        if self.phase == Phase::Written {
            for (slot, units) in self.parts.iter().take(self.part_count) {
                store.cut_part(&engine.pager, *slot, *units)?;
            }
            if let Err(error) = store.sync_pages(&engine.pager) {
                self.failure = Some(error);
                return Err(engine.poison(error));
            }
            self.phase = Phase::Synced;
        }
        // A run that is being made was promised its place in the catalogue.
        let is_making = matches!(work, Some(Work::MakeRun(_)));
        let places = store.runs().count() + usize::from(is_making);
        if engine.pending.count() > 0 || places >= RUNS_MAX {
            return Err(Error::Busy);
        }
        let filter_bytes = self.record.filter_bytes as usize;
        let runs = &engine.front.runs;
        // SAFETY: what was filled before is opened, or lent for the length of a step that is
        // over: this is the owner of maintenance.
        let reserved = unsafe { runs.reserve(keeper, &engine.pager, filter_bytes, false) };
        // Snapshots read every slot.
        let reserved = reserved.ok_or(Error::FrontFull)?;
        let outcome = self.commit_reserved(reserved, now_ms);
        match outcome {
            Ok(_) => self.phase = Phase::Committed,
            Err(_) => runs.give_back(keeper, reserved),
        }
        outcome
    }

    fn commit_reserved(&self, reserved: Reserved, now_ms: u64) -> Result<Ticket> {
        let engine = self.engine;
        let runs = &engine.front.runs;
        {
            // SAFETY: set aside by this owner of maintenance, not opened yet, and lent for
            // the length of this block.
            let mut filling = unsafe { runs.fill(reserved) }.ok_or(Error::Internal(339))?;
            let filter = filling.filter_mut();
            // Where no memory for it is to be had, there is none.
            let from = self.memory.filter.get(..filter.len()).unwrap_or(&[]);
            put(filter, 0, from);
        }
        let parts = || self.parts.iter().take(self.part_count);
        let used = parts().filter(|(_, units)| *units > 0).count();
        let frame_bytes = engine.frame_room(RUN_RECORD_BYTES + used * RUN_PART_BYTES);
        let mut sequencer = engine.sequencer.lock();
        sequencer.wall_time_ms = sequencer.wall_time_ms.max(now_ms.min(WALL_TIME_MAX_MS));
        engine.check_log_room(frame_bytes)?;
        let sequence = engine.appended.load(Ordering::Relaxed) + 1;
        {
            // SAFETY: as above.
            let mut filling = unsafe { runs.fill(reserved) }.ok_or(Error::Internal(340))?;
            filling.set_record(RunRecord {
                first_sequence: sequence,
                last_sequence: sequence,
                ..self.record
            });
        }
        // Before it is listed; where that fails nobody has found it.
        runs.open(reserved);
        engine.list_ingested(&mut sequencer, SourceId::of_run(reserved.slot))?;
        let streams = engine.pager.streams();
        for (slot, units) in parts() {
            if *units > 0 {
                streams.commit_part(*slot, sequence);
            } else {
                streams.drop_part(*slot);
            }
        }
        engine
            .pending
            .set(sequence, reserved.slot, sequencer.wall_time_ms);
        engine.log_promised.fetch_add(frame_bytes, Ordering::SeqCst);
        engine.appended.store(sequence, Ordering::SeqCst);
        engine.statistics.commits.fetch_add(1, Ordering::Relaxed);
        engine.wants_sync.store(true, Ordering::Release);
        Ok(Ticket { sequence })
    }
}

impl Drop for Ingest<'_> {
    fn drop(&mut self) {
        if self.phase == Phase::Committed && self.rows > 0 {
            return;
        }
        for (slot, _) in self.parts.iter().take(self.part_count) {
            self.engine.pager.streams().drop_part(*slot);
        }
    }
}
