//! Ingest: a sorted load as a run of its own, committed by one frame, beside everything.
//!
//! # Protocol
//! 1. The pages of the run are written to units that are taken for it, in *parts*, beside
//!    maintenance: flips, merges and commits go on meanwhile (`pager/part_writer.rs`). The
//!    load owns maintenance only to take a part, and for a sync each time as much as a
//!    memtable was written. The units are in use in memory and free on the medium.
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
//!   the catalogue is kept for it meanwhile; a load is not committed where the last one is
//!   promised to a run that is being made. So a version never lists more runs than may
//!   stand, and adopting never waits for a merge.
//! * A snapshot with an earlier sequence finds nothing in the run (`first_sequence`); one
//!   that begins later has a version that lists it, since that is published before
//!   *appended* rises.
//! * Who validates finds the run among those of the current version, as any (`validate`).
//!
//! # Failures
//! Before 4 the load is dropped: nothing refers to its units, and maintenance frees them in
//! memory, before it builds what is next; a power cut needn't. A sync that fails in 3 poisons, as any. A flip that
//! fails in 6 is abandoned and tried again; the units are taken once more
//! (`pager/flip/stream.rs`).
//!
//! # Recovery
//! Before anything is allocated the parts that the log names are taken from free space:
//! [`Engine::claim_values`]. At its place among the commits the run is opened and listed as
//! in 4 ([`Engine::replay_ingest`]), and is pending. A read-only open does the latter alone.

mod writing;

pub use writing::Ingest;

use super::maintain::{Publishing, Work};
use super::{Engine, LogState, Maintenance, Sequencer};
use crate::btree::Editor;
use crate::error::{Error, OptionProblem, Result};
use crate::format::bytes::put;
use crate::format::frame::FRAME_HEADER_BYTES;
use crate::format::run::{FILTER_BLOCK_BYTES, RUN_PART_BYTES, RUN_RECORD_BYTES, RunRecord};
use crate::limits::RUN_PARTS_MAX;
use crate::mem::{Array, Budget};
use crate::pager::{Pager, PartWriter, RunsChange};
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use crate::txn::{SourceId, VersionState};
use crate::wal::CommitIn;
use lightning_platform::MemoryUse;

/// Bytes of the payload of an ingest's frame at most.
pub(super) const INGEST_PAYLOAD_BYTES: usize = RUN_RECORD_BYTES + RUN_PARTS_MAX * RUN_PART_BYTES;
/// Bytes of the frame at most.
pub(super) const INGEST_FRAME_BYTES: u64 = (FRAME_HEADER_BYTES + INGEST_PAYLOAD_BYTES) as u64;
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
        let memory = memory.try_enter().ok_or(Error::Busy)?;
        Ingest::new(self, memory, table)
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
