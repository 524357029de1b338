//! Everything that can go wrong, as closed enums without text or allocation.
//!
//! Each reason has a stable number ([`Error::code`]) that Rust, C, JSON and the
//! metrics share: numbers are never reused. What the reader of a message needs
//! (file, offset, page, key, limit) travels in the variant; the words and the
//! way out are in `Display`.

use core::fmt;
use lightning_platform::{File, IoError, IoErrorKind};

/// The result of an engine call.
pub type Result<T> = core::result::Result<T, Error>;

/// What the engine was doing when the platform failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IoAction {
    /// Reading a range.
    Read,
    /// Writing a range.
    Write,
    /// Making a file durable.
    Sync,
    /// Creating, removing or listing files, or making that durable.
    Directory,
    /// Changing or asking a file's length, or giving room back.
    Length,
}

/// What was found to be damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CorruptionReason {
    /// The stored checksum doesn't match the bytes, or not the reference to them.
    Checksum,
    /// The bytes carry the right checksum but break the format's rules.
    Structure,
    /// The page is of another kind, table, level or birth than its reference says.
    Identity,
    /// The range lies outside the file.
    OutOfFile,
    /// No superblock is valid.
    NoSuperblock,
    /// The newest superblock is older than one that the log speaks of.
    StaleSuperblock,
    /// A log segment that is needed is missing.
    MissingSegment,
    /// A log segment's header is damaged.
    SegmentHeader,
    /// A log frame that was once durable is damaged.
    Frame,
    /// A compressed or encrypted page can't be restored to its plain form.
    Transform,
    /// Keys are out of order, or outside the range that the parent gives.
    KeyOrder,
    /// A counter that is kept twice differs.
    Count,
    /// Two references lead to the same space, or one to free space.
    Space,
}

/// A limit that an argument passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Limit {
    /// Bytes of a key.
    KeyBytes,
    /// Bytes of a value.
    ValueBytes,
    /// Bytes of one transaction's writes.
    TransactionBytes,
    /// Transactions and snapshots open at once.
    Snapshots,
    /// Cursors open at once.
    Cursors,
    /// Pages pinned by values that are held.
    Pins,
    /// Bytes of a table's name.
    TableNameBytes,
    /// Tables of a database.
    Tables,
    /// Bytes of the page file.
    PageFileBytes,
    /// Log slots of the storage.
    LogSlots,
    /// Range deletes in one memtable.
    RangeTombstones,
}

/// An option that can't be met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OptionProblem {
    /// The page size is not a power of two from 512 to 65,536 bytes.
    PageBytes,
    /// The unit is not a power of two from 64 bytes to the page size.
    UnitBytes,
    /// The log segment is not made of whole blocks of the storage, or is shorter than three
    /// transactions.
    SegmentBytes,
    /// The log's flush buffer is not made of whole write blocks, or has no room for a
    /// segment's header.
    LogBufferBytes,
    /// The memtable's arena is too small, or above 2 GiB.
    ArenaBytes,
    /// A transaction may have more than a third of a memtable.
    TransactionBytes,
    /// A value may have more than three quarters of a transaction.
    ValueBytes,
    /// There are too few frames for a tree's path, its readers and a merge.
    CacheBytes,
    /// A tree has less than three levels, or a merge holds back less than two pages on each.
    Trees,
    /// Fewer than two memtables, or more than eight.
    Memtables,
    /// No snapshot, or more than the engine can name.
    Snapshots,
    /// No write transaction.
    Transactions,
    /// The storage declares a geometry that the format can't hold.
    Geometry,
    /// More runs than may stand; none, where something needs them.
    Runs,
    /// No room for one range tombstone.
    RangeBytes,
    /// The database was created with another page size.
    PageBytesDiffer,
    /// The database was created with a codec that was not given, or another.
    Codec,
    /// The database was created with a cipher that was not given, or another.
    Cipher,
}

/// The first bytes of a key, for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeySample {
    bytes: [u8; 32],
    length: u16,
}

impl KeySample {
    /// A sample of `key`.
    #[must_use]
    pub fn of(key: &[u8]) -> Self {
        let mut bytes = [0; 32];
        for (to, from) in bytes.iter_mut().zip(key) {
            *to = *from;
        }
        Self {
            bytes,
            length: u16::try_from(key.len()).unwrap_or(u16::MAX),
        }
    }

    /// The bytes that were kept: the whole key where it has at most 32.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes
            .get(..usize::from(self.length).min(32))
            .unwrap_or(&[])
    }
}

impl fmt::Display for KeySample {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "\"{}", self.bytes().escape_ascii())?;
        out.write_str(if self.length > 32 { "…\"" } else { "\"" })
    }
}

/// Why an engine call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The platform failed.
    Io {
        /// What it answered.
        error: IoError,
        /// What it was asked for.
        action: IoAction,
        /// On which file.
        file: File,
        /// At which byte offset, or 0 where none applies.
        offset: u64,
    },
    /// Stored bytes are not what was written.
    Corruption {
        /// What is wrong.
        reason: CorruptionReason,
        /// In which file.
        file: File,
        /// At which byte offset.
        offset: u64,
    },
    /// The storage holds no database.
    NotADatabase,
    /// The storage holds a database already.
    DatabaseExists,
    /// Written by a version whose format this one can't read (or, opened for
    /// writing, can't write): the unknown feature bits, or the format version.
    Unsupported {
        /// The format version found.
        version: u32,
        /// Feature bits that this version doesn't know.
        features: u32,
    },
    /// An option can't be met.
    Options(OptionProblem),
    /// The memory plan doesn't fit the limit.
    MemoryPlan {
        /// Bytes that the options need.
        needed_bytes: u64,
        /// Bytes that `max_memory` allows.
        limit_bytes: u64,
    },
    /// The host refused a reservation.
    OutOfMemory {
        /// Bytes asked for.
        bytes: u64,
    },
    /// An argument passed a limit.
    OverLimit {
        /// Which.
        limit: Limit,
        /// What was given or needed.
        value: u64,
        /// The most there may be.
        maximum: u64,
    },
    /// Another transaction changed this key first: retry the transaction.
    Conflict {
        /// The table of the key.
        table: u32,
        /// The key, or its beginning.
        key: KeySample,
    },
    /// All memtables are full and being merged: poll maintenance, or wait, and retry.
    FrontFull,
    /// The log has no prepared segment left: poll maintenance, or wait, and retry.
    LogFull,
    /// The page isn't in memory, and the call was told not to read.
    WouldRead,
    /// The transaction began before what validation can still see: retry it.
    TransactionTooOld,
    /// The snapshot was given up so that its memory could be reused.
    SnapshotTooOld,
    /// A write or sync of the log failed before: nothing is acknowledged until
    /// the database is opened again.
    Poisoned,
    /// The commit was appended and a later sync failed: whether it is durable
    /// shows only after the database is opened again.
    OutcomeUnknown,
    /// The database was opened for reading only.
    ReadOnly,
    /// Another thread is doing the same exclusive work: it needn't be done again.
    Busy,
    /// No table of that name or number.
    NoSuchTable,
    /// The table exists already.
    TableExists,
    /// Compare-and-set found another value than expected.
    ValueDiffers,
    /// The storage has no room, apart from the reserve for deletes and merges; to a delete,
    /// not even that.
    StorageFull,
    /// Keys were not given in ascending order.
    NotAscending {
        /// The key that is not above the one before it.
        key: KeySample,
    },
    /// The engine found its own state inconsistent, and stopped before harm:
    /// a defect in Lightning DB. The number names the check.
    Internal(u32),
}

impl Error {
    /// An error of the platform, with where it happened.
    #[must_use]
    pub const fn io(error: IoError, action: IoAction, file: File, offset: u64) -> Self {
        Self::Io {
            error,
            action,
            file,
            offset,
        }
    }

    /// Damage in `file` at `offset`.
    #[must_use]
    pub const fn corrupt(reason: CorruptionReason, file: File, offset: u64) -> Self {
        Self::Corruption {
            reason,
            file,
            offset,
        }
    }

    /// The stable number of this reason. The hundreds name the area.
    #[must_use]
    pub const fn code(&self) -> u16 {
        match self {
            Self::Io { error, .. } => match error.kind {
                IoErrorKind::StorageFull => 101,
                IoErrorKind::PermissionDenied => 102,
                IoErrorKind::NotFound => 103,
                IoErrorKind::InUse => 104,
                IoErrorKind::ReadOnly => 105,
                _ => 100,
            },
            Self::Corruption { .. } => 200,
            Self::NotADatabase => 201,
            Self::DatabaseExists => 202,
            Self::Unsupported { .. } => 203,
            Self::Options(_) => 300,
            Self::MemoryPlan { .. } => 301,
            Self::OutOfMemory { .. } => 302,
            Self::OverLimit { .. } => 303,
            Self::Conflict { .. } => 400,
            Self::TransactionTooOld => 401,
            Self::SnapshotTooOld => 402,
            Self::ValueDiffers => 403,
            Self::NoSuchTable => 404,
            Self::TableExists => 405,
            Self::NotAscending { .. } => 406,
            Self::FrontFull => 500,
            Self::LogFull => 501,
            Self::WouldRead => 502,
            Self::Busy => 503,
            Self::StorageFull => 504,
            Self::Poisoned => 600,
            Self::OutcomeUnknown => 601,
            Self::ReadOnly => 602,
            Self::Internal(_) => 900,
        }
    }

    /// Whether the device, or the page file by its limit, has no room for what was written.
    #[must_use]
    pub fn is_storage_full(&self) -> bool {
        match self {
            Self::StorageFull => true,
            Self::Io { error, .. } => error.kind == IoErrorKind::StorageFull,
            Self::OverLimit { limit, .. } => *limit == Limit::PageFileBytes,
            _ => false,
        }
    }

    /// Whether the same call, or the same transaction from its start, may
    /// succeed later without anybody mending anything.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Conflict { .. }
                | Self::TransactionTooOld
                | Self::SnapshotTooOld
                | Self::FrontFull
                | Self::LogFull
                | Self::WouldRead
                | Self::Busy
        )
    }
}

struct FileName(File);

impl fmt::Display for FileName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            File::Pages => out.write_str("page file"),
            File::Log(slot) => write!(out, "log slot {slot}"),
        }
    }
}

impl fmt::Display for CorruptionReason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Checksum => "checksum mismatch",
            Self::Structure => "malformed contents",
            Self::Identity => "not the page that its reference names",
            Self::OutOfFile => "reference past the end of the file",
            Self::NoSuperblock => "no valid superblock",
            Self::StaleSuperblock => "the newest superblock is gone, only an older one is valid",
            Self::MissingSegment => "a log segment that is needed is missing",
            Self::SegmentHeader => "damaged log segment header",
            Self::Frame => "damaged log frame below the durable sequence",
            Self::Transform => "a page can't be decompressed or decrypted",
            Self::KeyOrder => "keys out of order",
            Self::Count => "entry counts differ",
            Self::Space => "free space and references disagree",
        })
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::KeyBytes => "key length in bytes",
            Self::ValueBytes => "value length in bytes",
            Self::TransactionBytes => "transaction size in bytes",
            Self::Snapshots => "open snapshots and transactions",
            Self::Cursors => "open cursors",
            Self::Pins => "pinned pages",
            Self::TableNameBytes => "table name length in bytes",
            Self::Tables => "number of tables",
            Self::PageFileBytes => "page file size in bytes",
            Self::LogSlots => "log slots",
            Self::RangeTombstones => "range deletes in one memtable",
        })
    }
}

impl fmt::Display for OptionProblem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::PageBytes => "the page size must be a power of two from 512 to 65536 bytes",
            Self::UnitBytes => "the unit must be a power of two from 64 bytes to the page size",
            Self::SegmentBytes => {
                "a log segment must be a multiple of the storage's write and erase blocks, and three times as long as the largest transaction; make segments longer, or transactions smaller"
            }
            Self::LogBufferBytes => {
                "the log's buffer must be a multiple of the storage's write block, and have room for the header of a segment"
            }
            Self::ArenaBytes => "the memtable size must be from 1024 bytes to 2 GiB",
            Self::TransactionBytes => {
                "the largest transaction may have a third of a memtable; make memtables larger, or transactions smaller"
            }
            Self::ValueBytes => {
                "the largest value may have three quarters of the largest transaction; make transactions larger, or write longer values by stream"
            }
            Self::CacheBytes => "the cache must hold from 6 pages to 2^30",
            Self::Trees => {
                "a tree must be allowed three levels, and a merge two pages of entries on each"
            }
            Self::Memtables => "there must be at least two memtables, and at most eight",
            Self::Runs => {
                "at most 6 runs make a merge due, and loads beside writers take at least one"
            }
            Self::RangeBytes => "range tombstones need room for two of the longest keys and 16 bytes",
            Self::Snapshots => "the number of snapshots must be from 1 to 65535",
            Self::Transactions => "there must be at least one write transaction",
            Self::Geometry => "the storage declares block sizes that the format can't hold",
            Self::PageBytesDiffer => {
                "the database was created with another page size; leave the option out to use its own"
            }
            Self::Codec => "the database was created with another codec, or with none",
            Self::Cipher => "the database was created with another cipher, or with none",
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { error, action, file, offset } => {
                let verb = match action {
                    IoAction::Read => "reading",
                    IoAction::Write => "writing",
                    IoAction::Sync => "syncing",
                    IoAction::Directory => "creating or listing",
                    IoAction::Length => "resizing",
                };
                write!(out, "{verb} the {} at offset {offset}: {error}", FileName(*file))
            }
            Self::Corruption { reason, file, offset } => write!(
                out,
                "damaged data in the {} at offset {offset}: {reason}; restore a backup or salvage what is whole",
                FileName(*file)
            ),
            Self::NotADatabase => out.write_str("there is no database here"),
            Self::DatabaseExists => out.write_str("there is a database here already"),
            Self::Unsupported { version, features } => write!(
                out,
                "written by a newer version (format {version}, unknown features {features:#x}); open it with that version"
            ),
            Self::Options(problem) => write!(out, "{problem}"),
            Self::MemoryPlan { needed_bytes, limit_bytes } => write!(
                out,
                "the options need {needed_bytes} bytes of memory and the limit is {limit_bytes}; raise the limit, or lower the cache, the memtables or the number of snapshots"
            ),
            Self::OutOfMemory { bytes } => {
                write!(out, "the host has no {bytes} bytes of memory left; lower the cache or the memtables")
            }
            Self::OverLimit { limit, value, maximum } => {
                write!(out, "{limit}: {value} is over the limit of {maximum}")
            }
            Self::Conflict { table, key } => {
                write!(out, "another transaction changed key {key} of table {table} first; retry the transaction")
            }
            Self::FrontFull => out.write_str("all memtables are full until a merge ends and the snapshots that read them do; retry"),
            Self::LogFull => out.write_str("no log segment is prepared; retry after maintenance"),
            Self::WouldRead => out.write_str("the page is not in memory"),
            Self::TransactionTooOld => out.write_str("the transaction is too old to be validated; retry it"),
            Self::SnapshotTooOld => out.write_str("the snapshot is too old; begin a new one"),
            Self::Poisoned => out.write_str(
                "an earlier write or sync of the log failed; close the database, mend the device and open it again",
            ),
            Self::OutcomeUnknown => out.write_str(
                "the sync of this commit failed; open the database again to see whether it is there",
            ),
            Self::ReadOnly => out.write_str("the database is open for reading only"),
            Self::Busy => out.write_str("another thread is doing this already"),
            Self::NoSuchTable => out.write_str("no such table"),
            Self::TableExists => out.write_str("the table exists already"),
            Self::ValueDiffers => out.write_str("the value is not the expected one"),
            Self::StorageFull => out.write_str(
                "the storage is full but for a reserve that deletes may use; reads go on, and writes do when there is room again: delete something, enlarge the storage, or take other files off it",
            ),
            Self::NotAscending { key } => write!(out, "key {key} is not above the key before it"),
            Self::Internal(number) => write!(
                out,
                "internal check {number} failed; please report this with the output of `lightning-db verify`"
            ),
        }
    }
}

impl core::error::Error for Error {}

#[cfg(test)]
mod tests;
