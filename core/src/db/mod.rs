//! The engine: one database, driven by its caller.
//!
//! # What is where
//! `open` brings a database up, with `replay`; `read` answers; `write` takes commits in,
//! which `validate` judges;
//! `flush` makes them durable; `maintain` chooses what is built next, of what is `waiting`: `make_run` turns a
//! memtable into a run, `merge` brings what stands above the trees into them, with
//! `merge_ahead` on other threads;
//! `rewrite` writes chosen pages of the trees again, for `shorten`, which moves what lies at
//! the end of the file, `evacuate`, which moves what is left in blocks that are mostly dead,
//! and `sweep`, which removes what has expired; `trim` gives room back to the device; `scrub` looks for damage; `log_care` prepares the log; `load` fills a table past all of that,
//! `ingest` beside it, and `stream` takes values that are larger than a transaction. `slots`
//! lends transactions their memory.
//!
//! # Who owns what
//! * The *sequencer* (a short lock) orders commits: validates, numbers, inserts.
//!   Which memtables there are, and every new version, is decided under it.
//! * The *log* has one owner at a time, who flushes; who finds it owned is told
//!   [`Error::Busy`] and waits in its own way for the watermark to rise. Where commits
//!   need not wait for it, a sync runs without the log's owner.
//! * *Maintenance* has one owner at a time, who merges, flips and reclaims.
//! * Lock order: maintenance, then log, then sequencer.
//!
//! # Watermarks
//! *appended* (in a memtable), *written* (the storage has it), *durable* (synced).
//! Write transactions begin at appended, since log order protects them; readers
//! begin at durable, or at written where that is what is acknowledged. A memtable
//! leaves the front only when durable has passed its last commit, so that no tree ever
//! holds what a power cut can take back.
//!
//! # What is absent
//! No thread, no clock, no randomness, no waiting: time and entropy come as
//! values, long work is polled, and what would wait is answered as an error that
//! says so ([`Error::is_retryable`]).

mod cut_runs;
mod evacuate;
mod flush;
mod ingest;
mod load;
mod log_care;
mod maintain;
mod make_run;
mod merge;
mod merge_ahead;
mod merge_input;
mod open;
mod options;
mod pressure;
mod read;
mod replay;
mod reserve;
mod rewrite;
mod scrub;
mod shorten;
mod slots;
mod stream;
mod sweep;
#[cfg(test)]
mod tests;
mod trim;
mod validate;
mod verify;
mod waiting;
mod write;

pub use ingest::Ingest;
pub use load::Load;
pub use maintain::{Budgeted, Progress};
pub use merge_ahead::{MergePlace, ReadAhead, Share};
pub use open::{Identity, OpenInput};
pub use options::{Durability, Options};
pub use pressure::FrontRoom;
pub use read::{TableView, Value};
pub use scrub::{ScrubPlace, Scrubbed};
pub use slots::Transaction;
pub use stream::{ValueWriter, WrittenValue};
pub use sweep::Swept;
pub use verify::Verified;
pub use write::{Isolation, PutOptions, Ticket};

use crate::btree::Editor;
use crate::error::{Error, Result};
use crate::format::run::RANGE_KEY_BYTES;
use crate::limits::{inline_value_bytes_max, key_bytes_max};
use crate::mem::Array;
use crate::pager::{FrameStatistics, PageStore, Pager, Retired, StoreStatistics, StreamBuffer};
use crate::run::{NeededSequences, RunKeeper};
use crate::sync::{AtomicBool, AtomicU8, AtomicU64, Exclusive, Mutex, Ordering};
use crate::txn::{CursorMemory, Front, MEMTABLES_MAX, MemtableSlot, Snapshot, VersionState};
use alloc::sync::Arc;
use lightning_platform::Wait;

/// The table of names; user tables come after [`FIRST_USER_TABLE`].
pub const NAMES_TABLE: u32 = 1;
/// The first id of a user's table.
pub const FIRST_USER_TABLE: u32 = 16;

const NONE: u32 = u32::MAX;

const SYNC_NONE: u8 = 0;
const SYNC_RUNS: u8 = 1;
const SYNC_ENDED: u8 = 2;

const STATE_FREE: u8 = 0;
const STATE_ACTIVE: u8 = 1;
const STATE_FROZEN: u8 = 2;
const STATE_MERGED: u8 = 3;
/// Free, and nobody may take it just now.
const STATE_RESTING: u8 = 4;

/// What orders commits.
struct Sequencer {
    active: u32,
    wall_time_ms: u64,
    next_table: u32,
    /// Write transactions that began below it can't be validated any more.
    validation_floor: u64,
    /// The table of the last load into the trees.
    loaded_table: u32,
    /// By how much puts may still let the trees grow (`reserve`).
    put_budget_bytes: u64,
}

/// The log and how far it was written.
struct LogState {
    writer: crate::wal::LogWriter,
    config: crate::wal::LogConfig,
    memtable: u32,
    position: crate::memtable::Position,
    /// A superblock that no checkpoint frame names yet.
    checkpoint: Option<crate::wal::Checkpoint>,
    /// What the commits of the flush under way were promised.
    flushed_bytes: u64,
    /// The generation whose superblock's unneeded segments were given back.
    released: u64,
    /// The payload of an ingest's frame.
    payload: Array<u8>,
    /// Bytes of the segments that were kept until something was merged, the last times.
    kept_bytes: [u64; 3],
}

/// What maintenance owns.
struct Maintenance {
    store: PageStore,
    editor: Editor,
    /// What the state that the store is building is for.
    work: Option<maintain::Work>,
    /// A merge between two slices.
    paused: Option<merge::Merge>,
    /// What is merged next, and what was next when the last slice was published. The
    /// latter is where a round of rewriting goes on, too.
    next: merge::Position,
    slice_next: merge::Position,
    /// Why pages are rewritten, while a round of that is under way.
    rewriting: Option<rewrite::Purpose>,
    /// Whether that round has changed anything.
    has_rewritten: bool,
    shortening: shorten::Shortening,
    evacuation: evacuate::Evacuation,
    changed: Array<maintain::ChangedRoot>,
    changed_count: usize,
    keeper: RunKeeper,
    needed: NeededSequences,
    scratch_page: Array<u8>,
    scratch_key: Array<u8>,
    /// When each memtable was exchanged for its run.
    retired: [Option<Retired>; MEMTABLES_MAX],
    has_retired_runs: bool,
    /// A step of preparing the log that ran, and how, until the log is told.
    prepared: Option<(crate::wal::PrepareStep, crate::wal::Ran)>,
    /// Whether the log leaves what room there is on the device to what is built: it found
    /// too little for a segment, and a flip gives it segments back.
    log_yields: bool,
    /// Whether it has done so since the last flip.
    log_yielded: bool,
    /// A sequence, and the oldest segment of the log that was needed for what is above it
    /// when the log was last at hand.
    log_needed: (u64, u64),
    /// Whether nothing but a flip is needed for log segments to be free that are lacking.
    log_wants_flip: bool,
    /// Whether a flip has been made for puts that find no room, since they last found some.
    has_flipped_for_room: bool,
}

/// Figures of a running engine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Bytes that the memory plan reserved.
    pub memory_bytes: u64,
    /// The last commit.
    pub appended_sequence: u64,
    /// The last commit that survives a power cut.
    pub durable_sequence: u64,
    /// The last commit that is wholly in runs and trees.
    pub merged_sequence: u64,
    /// Bytes in memtables.
    pub front_bytes: u64,
    /// Memtables that wait to become a run, or for their merge.
    pub frozen_memtables: u32,
    /// Runs that stand on the trees, one that was ingested and waits for its place among
    /// them included.
    pub runs: u32,
    /// Bytes of the page file that they take, about.
    pub run_bytes: u64,
    /// Snapshots that are open.
    pub snapshots: u32,
    /// The last commit that the oldest of them sees: what was replaced since can't be
    /// given back, see the store's pending bytes.
    pub oldest_snapshot_sequence: Option<u64>,
    /// Entries in all trees; what stands above them is not counted.
    pub entries: u64,
    /// Bytes written to the log since open.
    pub log_bytes: u64,
    /// Bytes of the log's files: what is kept, what is prepared, and what of it is used.
    pub log_file_bytes: u64,
    /// Of them those of segments that are needed.
    pub log_kept_bytes: u64,
    /// Syncs of the log since open.
    pub log_syncs: u64,
    /// Commits since open.
    pub commits: u64,
    /// Transactions that failed validation since open.
    pub conflicts: u64,
    /// The page file.
    pub store: StoreStatistics,
    /// The frames.
    pub frames: FrameStatistics,
}

/// An open database.
///
/// Shared by reference between threads. Snapshots and transactions are plain
/// handles that belong to the engine that made them and are given back to it.
pub struct Engine {
    id: u64,
    pager: Pager,
    front: Front,
    sequencer: Mutex<Sequencer>,
    log: Option<Exclusive<LogState>>,
    maintenance: Exclusive<Maintenance>,
    transactions: slots::WriteSlots,
    cursor_memories: Array<Exclusive<CursorMemory>>,
    value_buffers: Array<Exclusive<StreamBuffer>>,
    /// One, where loads can be ingested.
    ingest_memory: Array<Exclusive<ingest::IngestMemory>>,
    pending: ingest::Pending,
    /// The keys of the runs that are merged.
    merge_keys: Exclusive<Array<u8>>,
    /// A key of a run, for who validates.
    validation_keys: Exclusive<Array<u8>>,
    appended: AtomicU64,
    written: AtomicU64,
    durable: AtomicU64,
    merged: AtomicU64,
    poisoned: AtomicBool,
    /// Twice the loads into the trees, and odd while one is under way (`validate`).
    loads: AtomicU64,
    wants_sync: AtomicBool,
    wants_drain: AtomicBool,
    /// Puts wait for room that maintenance may find (`reserve`).
    wants_room: AtomicBool,
    /// What is to be within reach before it looks for more, in bytes.
    exhausted_bytes: AtomicU64,
    /// Bytes of the device that are kept for a log segment.
    segment_bytes_least: u32,
    /// Bytes of a log segment, once segments have grown.
    segment_bytes_usual: u64,
    /// Bytes that the log can take before a segment has to be prepared, and how
    /// many of them commits in memtables are promised.
    log_room: AtomicU64,
    log_promised: AtomicU64,
    /// Whether a sync of the log runs beside its owner, or has ended and the log
    /// was not told yet.
    log_sync: AtomicU8,
    /// A commit was refused for want of room in the log.
    log_short: AtomicBool,
    /// A log segment is to be prepared.
    log_lacks: AtomicBool,
    wait: Arc<dyn Wait>,
    /// Maintenance failed for want of room, and what was within its reach then (`reserve`).
    storage_full: AtomicBool,
    full_bytes: AtomicU64,
    statistics: Counters,
    options: Options,
    memory_bytes: u64,
}

#[derive(Default)]
struct Counters {
    log_bytes: AtomicU64,
    log_file_bytes: AtomicU64,
    log_kept_bytes: AtomicU64,
    log_syncs: AtomicU64,
    commits: AtomicU64,
    conflicts: AtomicU64,
    entries: AtomicU64,
    file_bytes: AtomicU64,
    used_bytes: AtomicU64,
    pending_bytes: AtomicU64,
    written_bytes: AtomicU64,
    flips: AtomicU64,
    evacuated_pages: AtomicU64,
    runs: AtomicU64,
    run_bytes: AtomicU64,
    run_entries: AtomicU64,
    /// Bytes of the blocks that are in use, and bytes that were free when they were counted.
    taken_bytes: AtomicU64,
    free_bytes: AtomicU64,
    /// The flip whose pending list is the oldest.
    pending_generation: AtomicU64,
}

impl Engine {
    /// The options in use, page and segment size as the database has them.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The longest key, in bytes.
    #[must_use]
    pub fn key_bytes_max(&self) -> usize {
        key_bytes_max(self.pager.layout().page_bytes)
    }

    /// The longest value, in bytes: what stands in a leaf, or, where the options
    /// allow larger ones, what fits into a transaction and an extent.
    #[must_use]
    pub fn value_bytes_max(&self) -> usize {
        let layout = self.pager.layout();
        let inline = inline_value_bytes_max(layout.page_bytes);
        // An extent stands in one group of units, of which half is taken at most.
        let group = 4 * layout.page_bytes.saturating_sub(96) * layout.unit_bytes;
        inline.max((self.options.value_bytes_max as usize).min(group))
    }

    /// Figures; approximate while others work.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let front = |slot: &&MemtableSlot| {
            matches!(
                slot.state.load(Ordering::Relaxed),
                STATE_ACTIVE | STATE_FROZEN
            )
        };
        let frozen = |slot: &&MemtableSlot| slot.state.load(Ordering::Relaxed) == STATE_FROZEN;
        let counters = &self.statistics;
        Statistics {
            memory_bytes: self.memory_bytes,
            appended_sequence: load(&self.appended),
            durable_sequence: load(&self.durable),
            merged_sequence: load(&self.merged),
            front_bytes: self
                .front
                .memtables
                .iter()
                .filter(front)
                .map(|slot| slot.memtable.bytes_used())
                .sum(),
            frozen_memtables: u32::try_from(self.front.memtables.iter().filter(frozen).count())
                .unwrap_or(0),
            runs: u32::try_from(load(&counters.runs) + self.pending.count() as u64)
                .unwrap_or(u32::MAX),
            run_bytes: load(&counters.run_bytes),
            snapshots: self.front.versions.open_snapshots(),
            oldest_snapshot_sequence: self.front.versions.sequences().min(),
            entries: load(&counters.entries),
            log_bytes: load(&counters.log_bytes),
            log_file_bytes: load(&counters.log_file_bytes),
            log_kept_bytes: load(&counters.log_kept_bytes),
            log_syncs: load(&counters.log_syncs),
            commits: load(&counters.commits),
            conflicts: load(&counters.conflicts),
            store: StoreStatistics {
                file_bytes: load(&counters.file_bytes),
                used_bytes: load(&counters.used_bytes),
                pending_bytes: load(&counters.pending_bytes),
                written_bytes: load(&counters.written_bytes),
                flips: load(&counters.flips),
                evacuated_pages: load(&counters.evacuated_pages),
            },
            frames: self.pager.statistics(),
        }
    }

    /// Whether a write or sync failed for good: see [`Error::Poisoned`].
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    fn poison(&self, error: Error) -> Error {
        self.poisoned.store(true, Ordering::Release);
        error
    }

    fn memtable(&self, index: u32) -> Result<&MemtableSlot> {
        self.front.memtable(index).ok_or(Error::Internal(200))
    }

    /// Bytes of the longest key of a run's trees.
    fn run_key_bytes(&self) -> usize {
        self.key_bytes_max() + RANGE_KEY_BYTES
    }

    /// The current version. Versions are published under the sequencer's lock, so
    /// that it isn't replaced, and its slot not used again, while it is read.
    fn current_version(&self) -> VersionState {
        let _sequencer = self.sequencer.lock();
        self.front.versions.current()
    }

    /// Checks that a handle is of this engine.
    fn own(&self, snapshot: &Snapshot) -> Result<()> {
        if snapshot.engine == self.id {
            Ok(())
        } else {
            Err(Error::Internal(201))
        }
    }
}
