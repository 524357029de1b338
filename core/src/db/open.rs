//! Bringing a database up: creating it, or recovering it from pages and log.
//!
//! # Recovery
//! 1. The newest superblock is found, and the catalogue that it names is read.
//! 2. The log is scanned: what counts, what was durable, whether something that
//!    was durable is gone (FORMAT.md 4.3). Nothing was written so far, and a read-only
//!    open writes nothing later either.
//! 3. The superblock is put into both slots and synced; a new log segment is
//!    begun, with everything above the durable sequence written into it again, and
//!    synced. From here on all that counts is durable.
//! 4. The commits above the merged sequence are read from the log into memtables.
//!    When those are full they are merged, as in normal operation: so any log
//!    opens under any budget.
//!
//! An open that is cut off at any of these steps is simply done again.

mod checks;
mod segment_lengths;

use super::evacuate::Evacuation;
use super::ingest::{INGEST_PAYLOAD_BYTES, IngestMemory};
use super::maintain::{CHANGED_ROOTS, ChangedRoot};
use super::make_run::load_run;
use super::merge::Position;
use super::replay::Slots;
use super::shorten::Shortening;
use super::stream::{STREAMS_MAX, VALUE_WRITERS};
use super::{
    Counters, Engine, FIRST_USER_TABLE, LogState, Maintenance, MemtableSlot, NONE, Options,
    STATE_ACTIVE, STATE_FREE, Sequencer, slots,
};
use crate::btree::Editor;
use crate::error::{CorruptionReason, Error, Result};
use crate::format::checksum::{Append, Checksum};
use crate::format::run::RANGE_KEY_BYTES;
use crate::format::superblock::Superblock;
use crate::limits::{RUN_PARTS_MAX, RUNS_MAX, inline_value_bytes_max, key_bytes_max};
use crate::mem::{Array, Budget};
use crate::memtable::Memtable;
use crate::pager::{
    ENVELOPE_BYTES, FramePlan, Frames, Layout, PageStore, Pager, StorePlan, StreamBuffer, Streams,
    newest_superblock,
};
use crate::run::{NeededSequences, RunKeeper, Runs};
use crate::sync::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Exclusive, Mutex, Ordering};
use crate::txn::{CursorMemory, Front, MEMTABLES_MAX, SourceId, Sources, VersionState, Versions};
use crate::wal::{LogConfig, LogWriter, Scan, ScanStart, SlotTable};
use alloc::sync::Arc;
pub use checks::Identity;
use checks::{check_new, check_same, first_superblock};
use lightning_platform::{File, MemoryUse, Platform};

/// Bytes of the buffer that a value written by stream goes through, at most.
const STREAM_BYTES: usize = 128 << 10;

/// Numbers of engines of this process, so that handles are not mixed up.
static ENGINES: AtomicU64 = AtomicU64::new(1);

/// What an open takes from the outside, besides platform and options.
#[derive(Debug, Clone, Copy)]
pub struct OpenInput {
    /// Fresh randomness: identities of a new database, salts of pages.
    pub entropy: [u8; 48],
    /// The wall time in milliseconds since 1970.
    pub now_ms: u64,
    /// A faster CRC-32C than the portable one.
    pub checksum: Option<Append>,
}

impl OpenInput {
    fn sixteen(&self, index: usize) -> [u8; 16] {
        self.entropy
            .get(index * 16..)
            .and_then(|tail| tail.first_chunk::<16>())
            .copied()
            .unwrap_or([0; 16])
    }
}

/// Everything that create and open have in common.
struct Bringing<'a> {
    platform: &'a Platform,
    options: Options,
    budget: Budget,
    checksum: Checksum,
    superblock: Superblock,
    input: OpenInput,
    /// Runs that the log names.
    ingests: usize,
}

impl Engine {
    /// Creates a database in an empty storage, and opens it.
    ///
    /// # Errors
    /// [`Error::DatabaseExists`], [`Error::Options`], [`Error::MemoryPlan`], I/O. A
    /// creation that was cut off is done again.
    pub fn create(platform: &Platform, options: &Options, input: OpenInput) -> Result<Self> {
        options.check()?;
        let checksum = Checksum::new(input.checksum);
        check_new(platform, checksum)?;
        let superblock = first_superblock(platform, options, &input)?;
        let budget = Budget::new(Arc::clone(&platform.memory), options.max_memory_bytes);
        let options = Options {
            page_bytes: superblock.page_bytes,
            ..*options
        };
        let mut bringing = Bringing {
            platform,
            options,
            budget,
            checksum,
            superblock,
            input,
            ingests: 0,
        };
        bringing.create()
    }

    /// Opens a database, after recovery where it was not closed.
    ///
    /// # Errors
    /// [`Error::NotADatabase`], [`Error::Corruption`], [`Error::Unsupported`],
    /// [`Error::Options`], [`Error::MemoryPlan`], I/O.
    pub fn open(platform: &Platform, options: &Options, input: OpenInput) -> Result<Self> {
        options.check()?;
        let checksum = Checksum::new(input.checksum);
        let superblock = newest_superblock(&*platform.storage, checksum, !options.read_only)?;
        check_same(platform, options, &superblock)?;
        let budget = Budget::new(Arc::clone(&platform.memory), options.max_memory_bytes);
        let options = Options {
            page_bytes: superblock.page_bytes,
            unit_bytes: superblock.unit_bytes,
            segment_bytes: superblock.segment_bytes,
            ..*options
        };
        options.check()?;
        let mut bringing = Bringing {
            platform,
            options,
            budget,
            checksum,
            superblock,
            input,
            ingests: 0,
        };
        bringing.open()
    }
}

impl Bringing<'_> {
    fn layout(&self) -> Layout {
        let superblock = &self.superblock;
        let page_bytes = superblock.page_bytes as usize;
        let envelope = if superblock.codec != 0 || superblock.cipher != 0 {
            ENVELOPE_BYTES
        } else {
            0
        };
        Layout {
            page_bytes,
            plain_bytes: page_bytes - envelope,
            unit_bytes: superblock.unit_bytes as usize,
            block_bytes: superblock.block_bytes as usize,
            check_bytes: superblock.check_bytes as usize,
            lineage_id: superblock.lineage_id,
        }
    }

    fn pager(&mut self) -> Result<Pager> {
        let layout = self.layout();
        let plan = FramePlan {
            page_bytes: layout.plain_bytes,
            frames: self.options.frames(layout.plain_bytes)?,
            reader_slots: self.options.reader_slots as usize,
        };
        let frames = Frames::new(&mut self.budget, plan, &self.platform.wait)?;
        let values = if self.has_streams() { STREAMS_MAX } else { 0 };
        // Those of one load that is written, and of one that is pending.
        let parts = match (self.can_ingest(), self.ingests) {
            (true, _) => 2 * RUN_PARTS_MAX,
            (false, ingests) if !self.options.read_only => ingests.min(2) * RUN_PARTS_MAX,
            _ => 0,
        };
        let streams = Streams::new(&mut self.budget, values, parts)?;
        Ok(Pager::new(
            Arc::clone(&self.platform.storage),
            self.platform.codec.clone(),
            self.platform.cipher.clone(),
            self.checksum,
            layout,
            frames,
        )
        .with_streams(streams))
    }

    /// Whether loads may be ingested.
    fn can_ingest(&self) -> bool {
        self.options.runs > 0 && !self.options.read_only
    }

    /// Whether values may be written by stream.
    fn has_streams(&self) -> bool {
        self.options.value_bytes_max > 0 && !self.options.read_only
    }

    fn log_config(&self) -> Result<LogConfig> {
        let config = LogConfig {
            storage: Arc::clone(&self.platform.storage),
            checksum: self.checksum,
            lineage_id: self.superblock.lineage_id,
            instance_id: self.superblock.instance_id,
            timeline: self.superblock.timeline,
            segment_bytes: self.superblock.segment_bytes,
            segment_bytes_first: self.segment_bytes_first(),
            segment_bytes_usual: self.segment_bytes_usual(),
            segment_bytes_least: self.segment_bytes_least(),
        };
        config.check()?;
        Ok(config)
    }

    fn log_buffer(&mut self) -> Result<Array<u8>> {
        let block = (self.platform.storage.geometry().write_block_bytes as usize).max(1);
        let bytes = (self.options.log_buffer_bytes as usize)
            .next_multiple_of(block)
            .max(block);
        Array::zeroed(&mut self.budget, MemoryUse::Buffer, bytes.max(512))
    }

    /// What the log is read through at open: a record is read whole.
    fn log_window(&mut self) -> Result<Array<u8>> {
        /// More than a record has besides key and value.
        const RECORD_BYTES: usize = 48;
        let page_bytes = self.layout().page_bytes;
        let value = inline_value_bytes_max(page_bytes).max(self.options.value_bytes_max as usize);
        let bytes = (key_bytes_max(page_bytes) + value + RECORD_BYTES)
            .max(self.options.log_buffer_bytes as usize)
            .max(512);
        Array::zeroed(&mut self.budget, MemoryUse::Buffer, bytes)
    }

    fn slot_table(&mut self) -> Result<SlotTable> {
        let most = self.platform.storage.geometry().log_slots_max;
        SlotTable::new(&mut self.budget, self.options.log_slots.min(most).max(2))
    }

    fn store_plan(&self) -> StorePlan {
        let most = self.platform.storage.geometry().page_file_bytes_max;
        StorePlan {
            write_buffer_bytes: self.options.write_buffer_bytes as usize,
            file_bytes_max: self.options.file_bytes_max.min(most),
            has_extents: self.options.value_bytes_max > 0,
            runs_max: if self.options.runs > 0 || self.ingests > 0 {
                RUNS_MAX
            } else {
                0
            },
            salt: self.input.sixteen(2),
        }
    }

    fn create(&mut self) -> Result<Engine> {
        let pager = self.pager()?;
        let config = self.log_config()?;
        let mut buffer = self.log_buffer()?;
        let mut slots = self.slot_table()?;
        slots.survey(&config, &mut buffer)?;
        let mut writer = LogWriter::create(config.clone(), slots, buffer)?;
        // A database without a log segment counts as damaged: the log comes first.
        writer.begin_flush(0)?;
        writer.append_mark(self.input.now_ms)?;
        writer.finish_flush(true)?;
        let plan = self.store_plan();
        let store = PageStore::create(&pager, &mut self.budget, plan, self.superblock)?;
        let superblock = *store.superblock();
        let engine = self.assemble(pager, store, Some((writer, config)), &superblock, 0)?;
        engine.fill_ready_slots()?;
        Ok(engine)
    }

    fn open(&mut self) -> Result<Engine> {
        let config = self.log_config()?;
        let mut window = self.log_window()?;
        let mut slots = self.slot_table()?;
        let superblock = self.superblock;
        let start = ScanStart {
            first_segment: superblock.first_segment,
            merged_sequence: superblock.merged_sequence,
            durable_sequence: superblock.durable_sequence.max(superblock.touched_sequence),
        };
        let scan = Scan::open(&config, &start, &mut slots, &mut window)?;
        self.ingests = scan.ingests;
        let pager = self.pager()?;
        let plan = self.store_plan();
        let mut store = PageStore::open(&pager, &mut self.budget, plan, superblock)?;
        if scan
            .checkpoint
            .is_some_and(|named| named.generation > superblock.generation)
        {
            return Err(Error::corrupt(
                CorruptionReason::StaleSuperblock,
                File::Pages,
                0,
            ));
        }
        let last = scan.last_sequence.max(superblock.touched_sequence);
        if self.options.read_only {
            let engine = self.assemble(pager, store, None, &superblock, last)?;
            engine.replay(&config, &scan, &mut window, Slots::Table(&slots))?;
            return Ok(engine);
        }
        store.reassert(&pager)?;
        let buffer = self.log_buffer()?;
        let writer =
            LogWriter::start_after_recovery(config.clone(), slots, buffer, &scan, &mut window)?;
        // What was above the durable sequence is read from where it was written again.
        let scan = Scan {
            highest_segment: writer.segment(),
            ..scan
        };
        let parts = Some((writer, config.clone()));
        let engine = self.assemble(pager, store, parts, &superblock, last)?;
        engine.claim_values(&config, &scan, &mut window)?;
        engine.replay(&config, &scan, &mut window, Slots::Engine)?;
        engine.sequencer.lock().wall_time_ms = scan
            .wall_time_ms
            .max(superblock.wall_time_ms)
            .max(self.input.now_ms);
        engine.fill_ready_slots()?;
        Ok(engine)
    }

    fn assemble(
        &mut self,
        pager: Pager,
        store: PageStore,
        log: Option<(LogWriter, LogConfig)>,
        superblock: &Superblock,
        last_sequence: u64,
    ) -> Result<Engine> {
        let options = self.options;
        let layout = self.layout();
        let segment_bytes_least = self.segment_bytes_least();
        let segment_bytes_usual = u64::from(self.segment_bytes_usual());
        let budget = &mut self.budget;
        let wait = Arc::clone(&self.platform.wait);
        let structure = MemoryUse::Structure;
        let memtables = Array::try_new(
            budget,
            structure,
            options.memtables as usize,
            |budget, index| {
                Ok(MemtableSlot {
                    memtable: Memtable::new(
                        budget,
                        options.memtable_bytes as usize,
                        options.range_bytes,
                    )?
                    .with_filter(budget, options.memtable_filter_bytes())?,
                    pins: AtomicU32::new(0),
                    state: AtomicU8::new(if index == 0 { STATE_ACTIVE } else { STATE_FREE }),
                    successor: AtomicU32::new(NONE),
                })
            },
        )?;
        let listed = store.runs().count() + self.ingests;
        let has_runs = options.runs > 0 || listed > 0;
        let key_bytes = key_bytes_max(layout.page_bytes);
        let run_key_bytes = if has_runs {
            key_bytes + RANGE_KEY_BYTES
        } else {
            0
        };
        let plan = options.run_plan(listed);
        let runs = Runs::new(budget, &plan)?;
        let mut keeper = RunKeeper::new(budget, &plan)?;
        let mut scratch_key = Array::zeroed(budget, MemoryUse::Buffer, run_key_bytes)?;
        let published = store.published();
        let mut sources = Sources::default();
        sources.push(SourceId::of_memtable(0));
        for record in store.runs().iter().rev() {
            let slot = load_run(&pager, &runs, &mut keeper, record, &mut scratch_key)?;
            sources.push(SourceId::of_run(slot));
        }
        let state = VersionState {
            generation: published.generation,
            merged_sequence: superblock.merged_sequence,
            roots: published.roots,
            sources,
        };
        let levels = options.tree_levels as usize;
        let stage_pages = options.stage_pages as usize;
        let editor_key_bytes = key_bytes.max(run_key_bytes);
        let editor = Editor::new(budget, &pager, levels, stage_pages, editor_key_bytes)?;
        let changed = Array::new(
            budget,
            structure,
            CHANGED_ROOTS.min(options.snapshots as usize + 1),
            |_| ChangedRoot::default(),
        )?;
        let versions = Versions::new(budget, options.snapshots, &state, Arc::clone(&wait))?;
        versions.note_swept(superblock.wall_time_ms);
        let transactions = slots::WriteSlots::new(
            budget,
            options.transactions as usize,
            options.transaction_bytes as usize,
            options.read_set_bytes as usize,
            options.range_bytes,
        )?;
        let cursors = options.cursors as usize;
        // A memtable that a version lists may be exchanged for its run.
        let run_sources = match (options.runs, listed) {
            (0, listed) if listed > 0 => options.memtables as usize + listed,
            (0, _) => 0,
            _ => options.memtables as usize + RUNS_MAX,
        };
        // Where no memtable is taken from a snapshot, its values can be lent.
        let value_bytes = if run_sources > 0 || options.snapshot_deadline_ms > 0 {
            inline_value_bytes_max(layout.page_bytes)
        } else {
            0
        };
        let cursor_memories = Array::try_new(budget, structure, cursors, |budget, _| {
            let memory = CursorMemory::new(budget, key_bytes, value_bytes, run_sources)?;
            Ok(Exclusive::new(memory))
        })?;
        let writers = if pager.streams().is_absent() {
            0
        } else {
            VALUE_WRITERS
        };
        let value_buffers = Array::try_new(budget, structure, writers, |budget, _| {
            let write_bytes = (options.write_buffer_bytes as usize).min(STREAM_BYTES);
            let buffer = StreamBuffer::new(budget, &pager, write_bytes)?;
            Ok(Exclusive::new(buffer))
        })?;
        let ingest_memories = usize::from(options.runs > 0 && !options.read_only);
        let ingest_memory = Array::try_new(budget, structure, ingest_memories, |budget, _| {
            let bytes = (options.write_buffer_bytes as usize, plan.filter_bytes);
            let sizes = (levels, stage_pages);
            let memory = IngestMemory::new(budget, &pager, sizes, run_key_bytes, bytes)?;
            Ok(Exclusive::new(memory))
        })?;
        let payload_bytes = ingest_memories * INGEST_PAYLOAD_BYTES;
        let payload = Array::zeroed(budget, MemoryUse::Buffer, payload_bytes)?;
        let needed = if options.runs > 0 {
            options.snapshots as usize
        } else {
            0
        };
        let merge_runs = if has_runs { RUNS_MAX } else { 0 };
        let mut buffer = |bytes| Array::zeroed(budget, MemoryUse::Buffer, bytes);
        let merge_keys = Exclusive::new(buffer(merge_runs * run_key_bytes)?);
        let validation_keys = Exclusive::new(buffer(run_key_bytes)?);
        let scratch_page = buffer(if has_runs { layout.plain_bytes } else { 0 })?;
        let first = memtables.first().ok_or(Error::Internal(250))?;
        let position = first.memtable.first_position();
        let log = log.map(|(writer, config)| {
            Exclusive::new(LogState {
                writer,
                config,
                memtable: 0,
                position,
                checkpoint: None,
                released: superblock.generation,
                kept_bytes: [0; 3],
                flushed_bytes: 0,
                payload,
            })
        });
        let sequencer = Sequencer {
            active: 0,
            wall_time_ms: superblock.wall_time_ms.max(self.input.now_ms),
            next_table: superblock.next_table.max(FIRST_USER_TABLE),
            validation_floor: 0,
            loaded_table: NONE,
            put_budget_bytes: 0,
        };
        let engine = Engine {
            id: ENGINES.fetch_add(1, Ordering::Relaxed),
            pager,
            front: Front {
                memtables,
                runs,
                versions,
            },
            sequencer: Mutex::new(sequencer, Arc::clone(&wait)),
            log,
            maintenance: Exclusive::new(Maintenance {
                store,
                editor,
                work: None,
                paused: None,
                next: Position::new(budget, key_bytes)?,
                slice_next: Position::new(budget, key_bytes)?,
                rewriting: None,
                has_rewritten: false,
                shortening: Shortening::default(),
                evacuation: Evacuation::new(budget, key_bytes)?,
                changed,
                changed_count: 0,
                keeper,
                needed: NeededSequences::new(budget, needed)?,
                scratch_page,
                scratch_key,
                retired: [None; MEMTABLES_MAX],
                has_retired_runs: false,
                prepared: None,
                log_yields: false,
                log_yielded: false,
                log_needed: (0, 0),
                log_wants_flip: false,
                has_flipped_for_room: false,
            }),
            transactions,
            cursor_memories,
            value_buffers,
            ingest_memory,
            pending: super::ingest::Pending::default(),
            merge_keys,
            validation_keys,
            appended: AtomicU64::new(last_sequence),
            written: AtomicU64::new(last_sequence),
            durable: AtomicU64::new(last_sequence),
            merged: AtomicU64::new(superblock.merged_sequence),
            poisoned: AtomicBool::new(false),
            loads: AtomicU64::new(0),
            wants_sync: AtomicBool::new(false),
            wants_drain: AtomicBool::new(false),
            wants_room: AtomicBool::new(false),
            exhausted_bytes: AtomicU64::new(0),
            segment_bytes_least,
            segment_bytes_usual,
            log_room: AtomicU64::new(0),
            log_promised: AtomicU64::new(0),
            log_sync: AtomicU8::new(super::SYNC_NONE),
            log_short: AtomicBool::new(false),
            log_lacks: AtomicBool::new(false),
            wait,
            storage_full: AtomicBool::new(false),
            full_bytes: AtomicU64::new(0),
            statistics: Counters::default(),
            options,
            memory_bytes: budget.used_bytes(),
        };
        if let Some(mut maintenance) = engine.maintenance.try_enter() {
            engine.note_store(&mut maintenance);
        }
        Ok(engine)
    }
}
