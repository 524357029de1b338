//! How a database is opened.

use crate::codec;
use crate::database::Database;
use crate::error::{Error, Reason, Result};
use crate::platform::{self, Access, Opened};
use crate::shared::{Given, Owner, now_ms};
use lightning_core::db::{Durability as EngineDurability, Engine, OpenInput, Options};
use lightning_core::error::{Error as EngineError, OptionProblem};
use lightning_platform::{HugePages, IoErrorKind, MachineGrants, MachineWishes};
use std::path::Path;
use std::time::Duration;

/// When a commit is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Durability {
    /// When it survives a power cut. Commits of several threads share a flush.
    #[default]
    Sync,
    /// When it survives the end of the process; a power cut may take what was
    /// committed during the last period.
    Periodic(Duration),
    /// When it survives the end of the process; a power cut may take what the
    /// system has not written yet, and keeps a prefix of the commits.
    Async,
}

/// How pages are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Compression {
    /// They aren't.
    #[default]
    None,
    /// By LZ4: fast.
    Lz4,
    /// By Zstandard: smaller, at several times the processor time.
    Zstd,
}

impl std::fmt::Display for Compression {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::None => "none",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        })
    }
}

/// Opens databases with options other than the defaults.
///
/// ```
/// use lightning_db::{Database, Durability};
/// use std::time::Duration;
///
/// # let directory = std::env::temp_dir().join("lightning-doc-builder");
/// # std::fs::remove_dir_all(&directory).ok();
/// let database = Database::builder()
///     .cache_bytes(64 << 20)
///     .memtable_bytes(16 << 20)
///     .durability(Durability::Periodic(Duration::from_millis(100)))
///     .open(&directory)?;
/// # drop(database);
/// # std::fs::remove_dir_all(&directory).ok();
/// # Ok::<(), lightning_db::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Builder {
    options: Options,
    /// Where given: otherwise as large as memtables and log segments allow.
    transaction_bytes: Option<u32>,
    value_bytes_max: Option<u32>,
    durability: Durability,
    compression: Compression,
    machine: MachineWishes,
    merge_threads: u32,
    merge_niceness: u8,
    create: bool,
}

/// The smallest log segment, in bytes: what sizes are fitted to ends there.
const SEGMENT_BYTES_MIN: u32 = 64 << 10;

impl Default for Builder {
    fn default() -> Self {
        Self {
            options: Options {
                page_bytes: 0,
                ..Options::default()
            },
            transaction_bytes: None,
            value_bytes_max: None,
            durability: Durability::Sync,
            compression: Compression::None,
            machine: MachineWishes::default(),
            merge_threads: 1,
            merge_niceness: 0,
            create: true,
        }
    }
}

impl Builder {
    /// Bytes of a page: a power of two from 512 to 65,536. It is chosen when the
    /// database is created, 4,096 unless given. Larger pages allow longer keys
    /// and suit long values and slow devices.
    #[must_use]
    pub fn page_bytes(mut self, bytes: u32) -> Self {
        self.options.page_bytes = bytes;
        self
    }

    /// How pages are compressed; chosen when the database is created, not at all unless
    /// given. One that is there keeps its own, whatever is given here.
    ///
    /// A page of text takes a third to a fifth of its room in the file, and processor time
    /// when it is written and when it is read from the file; pages in memory are not
    /// compressed. Space is given out by eighths of a page then, for which 256 KiB of
    /// memory are planned for each GiB of a file with pages of 4 KiB, rather than 32. What
    /// a bulk load ingests is compressed when it is merged; logs and values that are longer
    /// than a quarter page are not.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// Memory for pages that were read: 256 MiB unless given.
    #[must_use]
    pub fn cache_bytes(mut self, bytes: u64) -> Self {
        self.options.cache_bytes = bytes;
        self
    }

    /// Memory of one memtable, of which there are [`memtables`](Self::memtables):
    /// 64 MiB unless given. A transaction's writes are a third of it at most.
    #[must_use]
    pub fn memtable_bytes(mut self, bytes: u32) -> Self {
        self.options.memtable_bytes = bytes;
        self
    }

    /// How many memtables: one takes writes while others are written to runs. From 2 to 8;
    /// 3 unless given.
    #[must_use]
    pub fn memtables(mut self, count: u32) -> Self {
        self.options.memtables = count;
        self
    }

    /// How many runs, of a memtable each, are merged into the trees together: from 0 to 6;
    /// 4 unless given. More of them write less, and reads look into more places while
    /// they stand; they are merged when writes pause. With 0 each memtable is merged by
    /// itself, and a reader that stays open holds writers up.
    #[must_use]
    pub fn runs(mut self, count: u32) -> Self {
        self.options.runs = count;
        self
    }

    /// With [`runs`](Self::runs) of 0: how long a read transaction may keep writers waiting
    /// for memory; then its reads fail with an error that says it is too old. As long as
    /// it is open unless given.
    #[must_use]
    pub fn snapshot_deadline(mut self, deadline: Duration) -> Self {
        let milliseconds = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
        self.options.snapshot_deadline_ms = milliseconds.max(1);
        self
    }

    /// The most bytes that one transaction may write, at most a third of a memtable
    /// and of a log segment: 4 MiB, or as much as these allow, unless given. Each of
    /// the [`write_transactions`](Self::write_transactions) has as much memory planned.
    #[must_use]
    pub fn transaction_bytes(mut self, bytes: u32) -> Self {
        self.transaction_bytes = Some(bytes);
        self
    }

    /// The longest value, at most three quarters of a transaction: 2 MiB, or as
    /// much as that allows, unless given.
    #[must_use]
    pub fn value_bytes_max(mut self, bytes: u32) -> Self {
        self.value_bytes_max = Some(bytes);
        self
    }

    /// Write transactions that may be open at once: 16 unless given.
    #[must_use]
    pub fn write_transactions(mut self, count: u32) -> Self {
        self.options.transactions = count;
        self
    }

    /// Read and write transactions that may be open at once: 256 unless given.
    #[must_use]
    pub fn transactions(mut self, count: u32) -> Self {
        self.options.snapshots = count;
        self
    }

    /// Iterators that may be open at once: 256 unless given.
    #[must_use]
    pub fn iterators(mut self, count: u32) -> Self {
        self.options.cursors = count;
        self
    }

    /// The most bytes of a log segment, chosen when the database is created: 16 MiB
    /// unless given; the log begins with shorter ones. A transaction's writes are a
    /// third of it at most.
    #[must_use]
    pub fn log_segment_bytes(mut self, bytes: u32) -> Self {
        self.options.segment_bytes = bytes;
        self
    }

    /// The most memory that the engine may use, all in all: opening fails where
    /// the other options need more. No limit unless given.
    #[must_use]
    pub fn max_memory_bytes(mut self, bytes: u64) -> Self {
        self.options.max_memory_bytes = bytes;
        self
    }

    /// When commits are acknowledged: [`Durability::Sync`] unless given.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// What is wished of the machine: huge pages, memory nodes, memory that is touched at
    /// open, a page file past the system's cache. What it refuses, and gives, is told by
    /// [`Database::machine_grants`]; only huge pages that have to be are an error of open.
    #[must_use]
    pub fn machine(mut self, wishes: MachineWishes) -> Self {
        self.machine = wishes;
        self
    }

    /// Threads that merge what was written into the trees: one unless given. The first
    /// merges; the others read what it comes to, check it, and restore it where it is
    /// compressed, so that a merge takes less time where the data are larger than the cache.
    /// They take processors from others, and an eighth of the cache while a merge runs.
    #[must_use]
    pub fn merge_threads(mut self, count: u32) -> Self {
        self.merge_threads = count.max(1);
        self
    }

    /// Steps of niceness by which the threads that merge give way to others where processors
    /// are short: none unless given. With some, who waits for an answer is hardly held up by
    /// a merge, which also offers its processor to others every tenth of a millisecond or so,
    /// as long as writers aren't near to waiting for it; but where other work takes all
    /// processors for long, merges fall behind, and writers are slowed down with them.
    /// Niceness is of Linux only; elsewhere processors are offered all the same.
    #[must_use]
    pub fn merge_niceness(mut self, steps: u8) -> Self {
        self.merge_niceness = steps;
        self
    }

    /// Whether a database is made where there is none: so unless given.
    #[must_use]
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Opens for reading only: changes nothing in the directory, not even a time
    /// stamp, and makes none. Several processes may read at once, while nobody writes.
    #[must_use]
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.options.read_only = read_only;
        self
    }

    /// Opens the database in `directory`.
    ///
    /// After a crash this recovers first, which takes time in proportion to the
    /// log since the last merge, not to the data.
    ///
    /// # Errors
    /// Names the directory or file at fault, and what to do: not found, in use,
    /// damaged, options that can't be met.
    pub fn open(self, directory: impl AsRef<Path>) -> Result<Database> {
        let directory = directory.as_ref();
        let access = match (self.options.read_only, self.create) {
            (true, _) => Access::ReadOnly,
            (false, true) => Access::Create,
            (false, false) => Access::ReadWrite,
        };
        let Opened {
            mut platform,
            grants,
        } = platform::open(directory, access, &self.machine)?;
        let checksum: Option<fn(u32, &[u8]) -> u32> = Some(crc32c::crc32c_append);
        let input = OpenInput {
            entropy: platform::entropy()?,
            now_ms: now_ms(),
            checksum,
        };
        let failed = |error| self.failure(error, &grants(), directory);
        let mut compression = self.compression;
        match Engine::identify(&*platform.storage, checksum) {
            Ok(identity) => {
                compression = codec::compression_of(identity.codec)
                    .ok_or_else(|| failed(EngineError::Options(OptionProblem::Codec)))?;
                platform.codec = codec::codec(compression, identity.page_bytes, directory)?;
            }
            Err(EngineError::NotADatabase) if access == Access::Create => {
                let page_bytes = match self.options.page_bytes {
                    0 => Options::default().page_bytes,
                    given => given,
                };
                platform.codec = codec::codec(self.compression, page_bytes, directory)?;
                let options = Options {
                    page_bytes,
                    unit_bytes: codec::unit_bytes(self.compression, page_bytes),
                    ..self.engine_options(self.options.segment_bytes)
                };
                let engine = Engine::create(&platform, &options, input).map_err(failed)?;
                return self.start(engine, directory, compression, grants());
            }
            Err(error) => return Err(failed(error)),
        }
        let mut segment_bytes = self.options.segment_bytes;
        let opened = loop {
            let options = self.engine_options(segment_bytes);
            match Engine::open(&platform, &options, input) {
                // The segments of the database are shorter than those asked for,
                // and what was not asked for is fitted to them.
                Err(EngineError::Options(OptionProblem::SegmentBytes))
                    if self.transaction_bytes.is_none() && segment_bytes > SEGMENT_BYTES_MIN =>
                {
                    segment_bytes = (segment_bytes / 2).max(SEGMENT_BYTES_MIN);
                }
                opened => break opened,
            }
        };
        let engine = opened.map_err(failed)?;
        self.start(engine, directory, compression, grants())
    }

    /// The error for one of the engine's: where memory was asked for that the machine
    /// refused, it is that.
    fn failure(&self, error: EngineError, grants: &MachineGrants, directory: &Path) -> Error {
        let mut refusals = grants.refused.iter();
        let refusal = refusals.find(|(wish, _)| *wish == "huge_pages");
        match (error, refusal) {
            (EngineError::OutOfMemory { .. }, Some((_, words)))
                if self.machine.huge_pages == HugePages::Only =>
            {
                let message = format!("{}: {words}", directory.display());
                let kind = IoErrorKind::OutOfMemory;
                Error::new(Reason::Open { kind, message })
            }
            _ => Error::engine(error, directory),
        }
    }

    fn start(
        &self,
        engine: Engine,
        directory: &Path,
        compression: Compression,
        grants: MachineGrants,
    ) -> Result<Database> {
        let given = Given {
            compression,
            grants,
            merge_threads: self.merge_threads,
            merge_niceness: self.merge_niceness,
        };
        let owner = Owner::start(engine, directory, self.durability, given)?;
        Ok(Database::new(owner))
    }

    /// The options for a database whose log segments have `segment_bytes`.
    fn engine_options(&self, segment_bytes: u32) -> Options {
        let defaults = Options::default();
        let room = segment_bytes.min(self.options.memtable_bytes) / 3;
        let transaction_bytes = self
            .transaction_bytes
            .unwrap_or(defaults.transaction_bytes.min(room));
        let value_bytes_max = self
            .value_bytes_max
            .unwrap_or(defaults.value_bytes_max.min(transaction_bytes / 4 * 3));
        Options {
            segment_bytes,
            transaction_bytes,
            value_bytes_max,
            durability: match self.durability {
                Durability::Sync => EngineDurability::Sync,
                Durability::Periodic(_) | Durability::Async => EngineDurability::Written,
            },
            ..self.options
        }
    }
}
