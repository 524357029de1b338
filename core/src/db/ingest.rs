//! Ingest: a sorted load as a run of its own, committed by one frame, beside everything.
//!
//! # Protocol
//! 1. The pages of the run are written to units that are taken for it, in *parts*, beside
//!    maintenance: flips, merges and commits go on meanwhile (`pager/part_writer.rs`). To
//!    take a part is the only thing for which the load owns maintenance, for the length of
//!    that call. The units are in use in memory and free on the medium.
//! 2. The entries carry no sequence, since the commit has none yet: each one's is that of
//!    the run, which has one commit only (`Run::sequence_of`). So what is written doesn't
//!    depend on what others commit meanwhile.
//! 3. [`Ingest::finish`] writes what is left and the filter; then, as the owner of
//!    maintenance, it gives back the units that the parts don't need, syncs the page file,
//!    and sets a slot aside for the run.
//! 4. Under the sequencer's lock, all at once: the log promises the frame its room; the
//!    next sequence is the run's; a version is published that lists the run right behind
//!    an empty memtable (the active one is frozen, if it holds anything); the parts are
//!    committed; *pending* is set; *appended* rises. What fails here has changed nothing
//!    that counts.
//! 5. Whoever flushes appends the frame between the commits before it and those behind, and
//!    knows by its sequence that it is next. The frame holds the run's record and where its
//!    parts are. It is durable by a sync like any commit: what it names was before.
//! 6. When nothing older than the run is in a memtable any more, and durable has passed
//!    it, maintenance *adopts* it: a flip names it in the catalogue, its sequence as
//!    merged, and shows its units in the bitmaps. From then on it is a run like others.
//!
//! # Invariants
//! * One load is written at a time, and one is pending at most: the next one's `finish`
//!   is told to wait until the one before is adopted. So the log that counts names one run
//!   at most.
//! * Sources are adopted, made runs of and merged from the oldest on, without gaps: no
//!   memtable newer than a pending run becomes a run before that is adopted. A place in
//!   the catalogue is kept for it meanwhile.
//! * A snapshot with an earlier sequence finds nothing in the run (`first_sequence`); one
//!   that begins later has a version that lists it, since that is published before
//!   *appended* rises.
//! * Who validates finds the run among those of the current version, as any (`validate`).
//!
//! # Failures
//! Before 4 the load is dropped: nothing refers to its units, and the next flip frees them
//! in memory; a power cut needn't. A sync that fails in 3 poisons, as any. A flip that
//! fails in 6 is abandoned and tried again; the units are taken once more
//! (`pager/flip/stream.rs`).
//!
//! # Recovery
//! Before anything is allocated the parts that the log names are taken from free space:
//! [`Engine::claim_values`]. At its place among the commits the run is opened and listed as
//! in 4 ([`Engine::replay_ingest`]), and is pending. A read-only open does the latter alone.

use super::{Engine, LogState, Maintenance, NONE, PutOptions, Sequencer, Ticket, maintain};
use crate::btree::{Change, Editor, PageSink, Root};
use crate::error::{Error, KeySample, Limit, OptionProblem, Result};
use crate::format::bytes::put;
use crate::format::extent::{EXTENT_REF_BYTES, ExtentRef};
use crate::format::frame::FRAME_HEADER_BYTES;
use crate::format::leaf::EntryKind;
use crate::format::page_ref::{PageKind, PageRef};
use crate::format::run::{
    FILTER_BLOCK_BYTES, RUN_PART_BYTES, RUN_RECORD_BYTES, RunRecord, filter_fold, filter_hash,
    filter_insert,
};
use crate::limits::{RUN_PARTS_MAX, RUNS_MAX, WALL_TIME_MAX_MS, inline_value_bytes_max};
use crate::mem::{Array, Budget};
use crate::pager::{Pager, PartWriter, RunsChange, filter_pages, write_filter};
use crate::run::{Reserved, run_key};
use crate::sync::{AtomicU32, AtomicU64, ExclusiveGuard, Ordering};
use crate::txn::{SourceId, VersionState};
use crate::wal::CommitIn;
use lightning_platform::MemoryUse;
use maintain::{Publishing, Work};

/// Bytes of the payload of an ingest's frame at most.
pub(super) const INGEST_PAYLOAD_BYTES: usize = RUN_RECORD_BYTES + RUN_PARTS_MAX * RUN_PART_BYTES;
/// Bytes of the buffer that a load's pages go through, at most.
const WRITE_BYTES_MAX: usize = 256 << 10;

/// The run that was committed last, until the catalogue names it.
#[derive(Default)]
pub(super) struct Pending {
    /// 0: there is none.
    sequence: AtomicU64,
    slot: AtomicU32,
    wall_time_ms: AtomicU64,
}

impl Pending {
    /// Its sequence and slot, where there is one.
    pub(super) fn get(&self) -> Option<(u64, u32)> {
        let sequence = self.sequence.load(Ordering::SeqCst);
        (sequence > 0).then(|| (sequence, self.slot.load(Ordering::Relaxed)))
    }

    /// How many places of the catalogue it needs.
    pub(super) fn count(&self) -> usize {
        usize::from(self.get().is_some())
    }

    fn set(&self, sequence: u64, slot: u32, wall_time_ms: u64) {
        self.slot.store(slot, Ordering::Relaxed);
        self.wall_time_ms.store(wall_time_ms, Ordering::Relaxed);
        self.sequence.store(sequence, Ordering::SeqCst);
    }

    fn clear(&self) {
        self.sequence.store(0, Ordering::SeqCst);
    }
}

/// The memory of a load: planned once, for one at a time.
pub(super) struct IngestMemory {
    editor: Editor,
    writer: PartWriter,
    page: Array<u8>,
    key: Array<u8>,
    filter: Array<u8>,
}

impl IngestMemory {
    /// For trees as `levels`, `stage_pages` and `run_key_bytes` say, with a filter of at
    /// most `filter_bytes`.
    pub(super) fn new(
        budget: &mut Budget,
        pager: &Pager,
        (levels, stage_pages): (usize, usize),
        run_key_bytes: usize,
        (write_bytes, filter_bytes): (usize, usize),
    ) -> Result<Self> {
        // A filter is halved as often as it can be when it is known how many keys there are.
        let blocks = filter_bytes / FILTER_BLOCK_BYTES;
        let blocks = blocks.checked_ilog2().map_or(0, |log| 1_usize << log);
        let buffer = MemoryUse::Buffer;
        Ok(Self {
            editor: Editor::new(budget, pager, levels, stage_pages, run_key_bytes)?,
            writer: PartWriter::new(budget, pager, write_bytes.min(WRITE_BYTES_MAX))?,
            page: Array::zeroed(budget, buffer, pager.layout().plain_bytes)?,
            key: Array::zeroed(budget, buffer, run_key_bytes)?,
            filter: Array::zeroed(budget, buffer, blocks * FILTER_BLOCK_BYTES)?,
        })
    }
}

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

impl Engine {
    /// Begins a load into a table that is committed as a whole: entries of the same keys are
    /// replaced. Others read and commit meanwhile, and merges go on. What is loaded is
    /// written twice, once now and once when it is merged. One is written at a time.
    ///
    /// # Errors
    /// [`Error::Busy`] while another one is written. [`Error::Options`] without runs:
    /// [`begin_load`](Self::begin_load) then.
    pub fn begin_ingest(&self, table: u32) -> Result<Ingest<'_>> {
        self.check_writable()?;
        let without_runs = Error::Options(OptionProblem::Runs);
        let memory = self.ingest_memory.first().ok_or(without_runs)?;
        let mut memory = memory.try_enter().ok_or(Error::Busy)?;
        let root = Root {
            page: None,
            table: 0,
        };
        memory.editor.begin(&root, false)?;
        memory.writer.reset();
        memory.filter.fill(0);
        Ok(Ingest {
            engine: self,
            memory,
            table,
            rows: 0,
            parts: [(NONE, 0); RUN_PARTS_MAX],
            part_count: 0,
            phase: Phase::Open,
            record: RunRecord::default(),
            failure: None,
        })
    }

    /// Whether [`begin_ingest`](Self::begin_ingest) is to be had.
    #[must_use]
    pub fn can_ingest(&self) -> bool {
        !self.ingest_memory.is_empty()
    }

    /// Whether a load that is committed waits for the catalogue to name it.
    #[must_use]
    pub fn has_pending_ingest(&self) -> bool {
        self.pending.count() > 0
    }

    /// Appends the frame of the pending run where it is next.
    pub(super) fn append_ingest(&self, log: &mut LogState) -> Result<()> {
        let Some((sequence, slot)) = self.pending.get() else {
            return Ok(());
        };
        if sequence != log.writer.last_sequence().saturating_add(1) {
            return Ok(());
        }
        let run = self.front.runs.run(slot).ok_or(Error::Internal(332))?;
        let mut length = RUN_RECORD_BYTES;
        let mut fits = put(&mut log.payload, 0, &run.record().encode());
        for (address, units) in self.pager.streams().parts_of(sequence) {
            fits &= put(&mut log.payload, length, &address.to_le_bytes())
                && put(&mut log.payload, length + 8, &units.to_le_bytes());
            length += RUN_PART_BYTES;
        }
        let payload = log.payload.get(..length).filter(|_| fits);
        let frame = CommitIn {
            sequence,
            wall_time_ms: self.pending.wall_time_ms.load(Ordering::Relaxed),
            origin: 0,
            key_id: 0,
        };
        log.writer
            .append_ingest(&frame, payload.ok_or(Error::Internal(333))?)?;
        log.flushed_bytes += self.frame_room(length);
        Ok(())
    }

    /// What a frame with so much payload may take of the log: blocks of its own.
    fn frame_room(&self, payload_bytes: usize) -> u64 {
        let block = u64::from(self.pager.storage().geometry().write_block_bytes).max(1);
        ((FRAME_HEADER_BYTES + payload_bytes) as u64).next_multiple_of(block)
    }

    /// Has a version list a run right behind a memtable that is empty.
    fn list_ingested(&self, sequencer: &mut Sequencer, run: SourceId) -> Result<()> {
        if !self.memtable(sequencer.active)?.memtable.is_empty() {
            return self.freeze_above(sequencer, Some(run));
        }
        let before = self.front.versions.current();
        let sources = before.sources.with_second(run).ok_or(Error::FrontFull)?;
        let state = VersionState { sources, ..before };
        let wall_time_ms = sequencer.wall_time_ms;
        self.front
            .versions
            .publish_leaving(self.pager.epochs(), &state, wall_time_ms, 1)
            .map_err(|_| Error::FrontFull)
    }

    /// Names the pending run in the catalogue.
    pub(super) fn adopt(&self, maintenance: &mut Maintenance, slot: u32) -> Result<Option<Work>> {
        self.reclaim(maintenance)?;
        let run = self.front.runs.run(slot).ok_or(Error::Internal(334))?;
        let record = *run.record();
        maintenance
            .store
            .keep_parts(&self.pager, record.last_sequence)?;
        let publishing = Publishing {
            merged_sequence: record.last_sequence,
            touched_sequence: record.last_sequence,
            validation_floor: 0,
            runs: RunsChange::Newest(record),
        };
        self.flip(maintenance, &publishing, |sources| *sources)?;
        self.pending.clear();
        Ok(None)
    }

    /// Opens a run that the log names, and lists it above what was replayed so far.
    pub(super) fn replay_ingest(&self, record: &RunRecord, wall_time_ms: u64) -> Result<()> {
        let mut maintenance = self.maintenance.try_enter().ok_or(Error::Internal(335))?;
        let Maintenance {
            keeper,
            scratch_key,
            ..
        } = &mut *maintenance;
        let runs = &self.front.runs;
        let slot = super::make_run::load_run(&self.pager, runs, keeper, record, scratch_key)?;
        let mut sequencer = self.sequencer.lock();
        self.list_ingested(&mut sequencer, SourceId::of_run(slot))?;
        self.pending.set(record.last_sequence, slot, wall_time_ms);
        Ok(())
    }
}

impl Ingest<'_> {
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
    /// other error it can only be dropped.
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
        let store = &mut maintenance.store;
        if store.must_abandon() {
            store.abandon(pager)?;
        }
        if is_idle {
            store.sweep_streams(pager)?;
        }
        let page_bytes = pager.layout().page_bytes.max(1) as u64;
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
            let filter_bytes = filter_fold(&mut self.memory.filter, self.rows);
            let layout = engine.pager.layout();
            // The tree's end was counted at each entry.
            self.ensure(self.push_pages(0) + filter_pages(layout, filter_bytes))?;
            let written = self.write_end(filter_bytes);
            if let Err(error) = written {
                self.failure = Some(error);
                return Err(error);
            }
            self.note_part();
            self.phase = Phase::Written;
        }
        self.commit(now_ms)
    }

    fn write_end(&mut self, filter_bytes: usize) -> Result<()> {
        let pager = &self.engine.pager;
        let IngestMemory {
            editor,
            writer,
            page,
            filter,
            ..
        } = &mut *self.memory;
        let root = editor.finish(pager, &mut PartSink { pager, writer })?;
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
        let Maintenance { store, keeper, .. } = &mut *maintenance;
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
        let places = store.runs().count() + engine.pending.count();
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
