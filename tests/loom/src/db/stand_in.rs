//! The engine around `write`, `slots` and `flush`, without trees, runs and files.
//!
//! What orders commits, hands them to the log and tells how far they are durable is the
//! core's own. Here are its state, as the core keeps it, and what those files ask of the
//! rest: a log that remembers sequences instead of bytes, and checks what it is told.

use super::slots::{Transaction, WriteSlots};
use crate::bench::{budget, wait};
use crate::error::{Error, Result};
use crate::mem::Array;
use crate::memtable::{Memtable, Position};
use crate::pager::Pager;
use crate::sync::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Exclusive, Mutex, Ordering};
use crate::txn::{Snapshot, SourceId, Sources, VersionState, Versions};
use alloc::sync::Arc;
use lightning_platform::{MemoryUse, Wait};

pub const NAMES_TABLE: u32 = 1;
pub const FIRST_USER_TABLE: u32 = 16;
pub const NONE: u32 = u32::MAX;
pub const SYNC_NONE: u8 = 0;
pub const SYNC_RUNS: u8 = 1;
pub const SYNC_ENDED: u8 = 2;
pub const STATE_FREE: u8 = 0;
pub const STATE_ACTIVE: u8 = 1;
pub const STATE_FROZEN: u8 = 2;

/// What an acknowledged commit survives.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    Sync,
    Written,
}

pub struct Options {
    pub durability: Durability,
    pub transaction_bytes: u32,
}

pub struct MemtableSlot {
    pub memtable: Memtable,
    pub pins: AtomicU32,
    pub state: AtomicU8,
    pub successor: AtomicU32,
}

pub struct Front {
    pub memtables: Array<MemtableSlot>,
    pub versions: Versions,
}

impl Front {
    pub fn memtable(&self, index: u32) -> Option<&MemtableSlot> {
        self.memtables.get(index as usize)
    }
}

pub struct Sequencer {
    pub active: u32,
    pub wall_time_ms: u64,
    pub next_table: u32,
}

pub struct LogState {
    pub writer: wal::LogWriter,
    pub memtable: u32,
    pub position: Position,
    pub checkpoint: Option<u64>,
    pub flushed_bytes: u64,
}

#[derive(Default)]
pub struct Counters {
    pub log_bytes: AtomicU64,
    pub log_syncs: AtomicU64,
    pub commits: AtomicU64,
    pub conflicts: AtomicU64,
}

pub struct Engine {
    pub id: u64,
    pub pager: Pager,
    pub front: Front,
    pub sequencer: Mutex<Sequencer>,
    pub log: Option<Exclusive<LogState>>,
    pub(super) transactions: WriteSlots,
    pub appended: AtomicU64,
    pub written: AtomicU64,
    pub durable: AtomicU64,
    pub poisoned: AtomicBool,
    pub loads: AtomicU64,
    pub wants_sync: AtomicBool,
    pub log_room: AtomicU64,
    pub log_promised: AtomicU64,
    pub log_sync: AtomicU8,
    pub log_short: AtomicBool,
    pub log_lacks: AtomicBool,
    pub storage_full: AtomicBool,
    pub wait: Arc<dyn Wait>,
    pub statistics: Counters,
    pub options: Options,
}

/// Bytes of a memtable: two commits of the models don't fit into one.
const MEMTABLE_BYTES: usize = 256;

impl Engine {
    /// Three memtables, of which the first takes commits, and places for `readers`.
    pub fn new(readers: u32, durability: Durability) -> Arc<Self> {
        let mut budget = budget();
        let pager = Pager::new(readers as usize);
        let mut sources = Sources::default();
        assert!(sources.push(SourceId::of_memtable(0)));
        let first = VersionState {
            generation: 1,
            merged_sequence: 0,
            roots: None,
            sources,
        };
        let memtables = Array::try_new(&mut budget, MemoryUse::Structure, 3, |budget, index| {
            Ok(MemtableSlot {
                memtable: Memtable::new(budget, MEMTABLE_BYTES, 1)?,
                pins: AtomicU32::new(0),
                state: AtomicU8::new([STATE_ACTIVE, STATE_FREE, STATE_FREE][index]),
                successor: AtomicU32::new(NONE),
            })
        })
        .unwrap();
        let log = LogState {
            writer: wal::LogWriter::new(Arc::clone(pager.storage())),
            memtable: 0,
            position: memtables[0].memtable.first_position(),
            checkpoint: None,
            flushed_bytes: 0,
        };
        Arc::new(Self {
            id: 1,
            front: Front {
                memtables,
                versions: Versions::new(&mut budget, readers, &first, wait()).unwrap(),
            },
            pager,
            sequencer: Mutex::new(
                Sequencer {
                    active: 0,
                    wall_time_ms: 0,
                    next_table: FIRST_USER_TABLE,
                },
                wait(),
            ),
            log: Some(Exclusive::new(log)),
            transactions: WriteSlots::new(&mut budget, 0, 256, 0, 0).unwrap(),
            appended: AtomicU64::new(0),
            written: AtomicU64::new(0),
            durable: AtomicU64::new(0),
            poisoned: AtomicBool::new(false),
            loads: AtomicU64::new(0),
            wants_sync: AtomicBool::new(false),
            log_room: AtomicU64::new(1 << 20),
            log_promised: AtomicU64::new(0),
            log_sync: AtomicU8::new(SYNC_NONE),
            log_short: AtomicBool::new(false),
            log_lacks: AtomicBool::new(false),
            storage_full: AtomicBool::new(false),
            wait: wait(),
            statistics: Counters::default(),
            options: Options {
                durability,
                transaction_bytes: 128,
            },
        })
    }

    pub fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    pub fn poison(&self, error: Error) -> Error {
        self.poisoned.store(true, Ordering::Release);
        error
    }

    pub fn memtable(&self, index: u32) -> Result<&MemtableSlot> {
        self.front.memtable(index).ok_or(Error::Internal(200))
    }

    /// As the core's: readers begin at what is acknowledged.
    pub fn snapshot(&self) -> Result<Snapshot> {
        let readable = || match self.options.durability {
            Durability::Sync => self.durable.load(Ordering::SeqCst),
            Durability::Written => self.written.load(Ordering::SeqCst),
        };
        self.front.versions.begin(&self.pager, self.id, 0, readable)
    }

    pub fn key_bytes_max(&self) -> usize {
        64
    }

    pub fn value_bytes_max(&self) -> usize {
        128
    }

    /// Nothing is ingested.
    pub fn append_ingest(&self, _: &mut LogState) -> Result<()> {
        Ok(())
    }

    /// The log has room.
    pub fn note_log(&self, _: &mut LogState) {}

    pub fn transaction_find_table(&self, _: &Transaction, _: &[u8]) -> Result<Option<u32>> {
        Ok(None)
    }

    /// The models write without transactions.
    pub fn validate_runs(&self, transaction: &Transaction) -> Result<Sources> {
        Ok(self.front.versions.sources(&transaction.snapshot))
    }

    /// As above.
    pub fn validate(&self, _: &Sequencer, _: &Transaction, _: &Sources) -> Result<()> {
        Ok(())
    }
}

/// The log.
pub mod wal {
    use crate::error::{Error, Result};
    use crate::pager::Disk;
    use alloc::sync::Arc;
    use lightning_platform::File;

    pub enum RecordKind {
        Put,
        Delete,
        RangeDelete,
        Extent,
    }

    /// One change of a commit.
    pub struct RecordIn<'a> {
        pub kind: RecordKind,
        pub table: u32,
        pub key: &'a [u8],
        pub expiry_ms: Option<u64>,
        pub metadata: Option<u8>,
        pub value: &'a [u8],
    }

    /// A commit's head.
    pub struct CommitIn {
        pub sequence: u64,
        pub wall_time_ms: u64,
        pub origin: u32,
        pub key_id: u32,
    }

    pub fn frame_bytes<'a>(records: impl Iterator<Item = RecordIn<'a>>) -> u64 {
        records
            .map(|record| (record.key.len() + record.value.len()) as u64)
            .sum()
    }

    /// A sync beside the log's owner, and what it covers.
    #[derive(Clone, Copy)]
    pub struct SyncUnderway {
        pub slot: u32,
        pub sequence: u64,
    }

    /// Writes what it is handed whole, and checks that it is the next.
    pub struct LogWriter {
        disk: Arc<Disk>,
        last_sequence: u64,
        synced_sequence: u64,
        flushing: bool,
        unsynced: bool,
        underway: Option<SyncUnderway>,
    }

    impl LogWriter {
        pub fn new(disk: Arc<Disk>) -> Self {
            Self {
                disk,
                last_sequence: 0,
                synced_sequence: 0,
                flushing: false,
                unsynced: false,
                underway: None,
            }
        }

        /// What frames state as durable is.
        pub fn begin_flush(&mut self, durable: u64) -> Result<()> {
            assert!(
                durable <= self.disk.synced(),
                "a frame states more than is durable"
            );
            assert!(!self.flushing && durable <= self.last_sequence);
            self.flushing = true;
            Ok(())
        }

        pub fn append_commit<'a>(
            &mut self,
            commit: &CommitIn,
            records: impl Iterator<Item = RecordIn<'a>> + Clone,
        ) -> Result<()> {
            assert_eq!(commit.sequence, self.last_sequence + 1, "not the next");
            assert!(self.flushing && records.count() == 1);
            self.last_sequence = commit.sequence;
            self.unsynced = true;
            Ok(())
        }

        pub fn append_checkpoint(&mut self, _: u64, _: u64) -> Result<()> {
            Ok(())
        }

        pub fn append_mark(&mut self, _: u64) -> Result<()> {
            Ok(())
        }

        pub fn finish_flush(&mut self, sync: bool) -> Result<u64> {
            assert!(!(sync && self.underway.is_some()), "two syncs at once");
            self.flushing = false;
            self.disk.write(self.last_sequence);
            if sync && self.unsynced {
                self.disk
                    .sync(File::Log(0))
                    .map_err(|_| Error::Internal(1))?;
                self.unsynced = false;
                self.synced_sequence = self.last_sequence;
            }
            Ok(self.synced_sequence)
        }

        pub fn begin_sync(&mut self) -> Result<Option<SyncUnderway>> {
            assert!(self.underway.is_none(), "two syncs at once");
            self.flushing = false;
            self.disk.write(self.last_sequence);
            self.underway = self.unsynced.then_some(SyncUnderway {
                slot: 0,
                sequence: self.last_sequence,
            });
            self.unsynced = false;
            Ok(self.underway)
        }

        pub fn end_sync(&mut self) -> u64 {
            if let Some(underway) = self.underway.take() {
                self.synced_sequence = self.synced_sequence.max(underway.sequence);
            }
            self.synced_sequence
        }

        pub fn last_sequence(&self) -> u64 {
            self.last_sequence
        }

        pub fn written_bytes(&self) -> u64 {
            self.last_sequence
        }
    }
}
