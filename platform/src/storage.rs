//! The storage contract: one page file, a few log slots, explicit durability.
//!
//! A database lives in one *page file* and a set of *log slots*, small files of
//! a fixed length that hold one log segment each and are used again and again.
//! The engine never renames and keeps no state in names: which segment a slot
//! holds stands in the slot. That is as true of a directory on a disk as of a
//! partitioned flash chip.

use crate::IoError;

/// A file of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum File {
    /// The page file.
    Pages,
    /// The log slot of this number; slots are numbered densely from 0.
    Log(u32),
}

/// What a storage declares about itself. Constant while it is open.
///
/// A wrong declaration loses data: declare what the medium guarantees, not
/// what it usually does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// The unit that a power cut leaves either old or new, never mixed. A
    /// power of two, 16 to 65,536 bytes. Every write the engine makes is aligned to it
    /// in offset and length.
    pub write_block_bytes: u32,
    /// The unit that is erased as a whole; 1 where nothing need be erased.
    /// A power of two. Larger than `write_block_bytes` on NOR flash.
    pub erase_block_bytes: u32,
    /// What an erased byte reads as: 0xFF on flash, 0 on a disk.
    pub erased_byte: u8,
    /// Whether a range MUST be erased before it is written a second time.
    pub erase_before_write: bool,
    /// The most bytes the page file may have; `u64::MAX` where only the
    /// device's free space limits it.
    pub page_file_bytes_max: u64,
    /// The most log slots there may be.
    pub log_slots_max: u32,
    /// Whether [`Storage::punch_hole`] gives room back.
    pub can_punch_hole: bool,
    /// Whether [`Storage::set_length`] can shorten a file.
    pub can_truncate: bool,
}

/// Room on the medium, as far as it concerns the page file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageFileRoom {
    /// Bytes that the page file takes, holes not counted.
    pub taken_bytes: u64,
    /// Bytes that the medium can still give. Log slots take of them, too, and so may
    /// others, at any time.
    pub available_bytes: u64,
}

/// One read of a batch.
pub struct ReadRequest<'a> {
    /// Where to read, in bytes from the start of the file.
    pub offset: u64,
    /// Filled whole, or the request failed and it holds anything.
    pub buffer: &'a mut [u8],
}

/// One write of a batch.
pub struct WriteRequest<'a> {
    /// Where to write, in bytes from the start of the file.
    pub offset: u64,
    /// Written whole, or the request failed and any part of them is.
    pub bytes: &'a [u8],
}

/// Positional, synchronous storage, shared by any number of threads.
///
/// # What the implementer owes
/// * **Whole or error.** A read fills its buffer and a write stores all its
///   bytes, or the call fails. It MUST loop over short transfers and interrupted
///   calls; a transfer of zero bytes is an error.
/// * **Read your writes.** A read that starts after a write returned MUST see
///   it, in any thread, whether synced or not.
/// * **Durability only by sync.** What was written, and any change of length,
///   survives a power cut only after a later [`sync`](Self::sync) of that file
///   returned success; the existence of a created or removed file only after
///   [`sync_directory`](Self::sync_directory). Before that, any subset of the
///   write blocks may have reached the medium, in any order. A storage that
///   cannot promise this MUST fail at open; a sync MUST NOT return success
///   without effect.
/// * **A failed sync is final.** The engine never calls sync again on the
///   failed file in order to repair it; the implementer MUST NOT hide a failure by retrying.
/// * **Atomic block.** A power cut during a write MUST leave each aligned block
///   of `write_block_bytes` old or new, and MUST NOT alter a block outside the range.
/// * **Errors change nothing else.** A failed call may have been done in part:
///   after a failed write, erase or punch the range holds anything, up to any
///   byte, and a file that the call would have lengthened may end anywhere
///   within the range; after a failed read the buffers hold anything. A failed
///   create, remove or [`set_length`](Self::set_length) MUST have been done
///   whole or not at all. What was done is unsynced, as if the call had
///   succeeded. The rest of the storage MUST be unchanged.
/// * **No panic, no allocation** in read, write and sync.
/// * **One owner.** At most one writable storage MUST exist for one database at
///   any time, over all processes and within one.
///
/// # What the engine owes
/// * **Nothing is concluded from an error but that it failed.** No byte of a
///   buffer is used whose read failed, not even one that stood there before.
///   No range is relied on whose write, erase or punch failed, neither for its
///   old bytes nor for the new ones: it is done once more, whole, or what is
///   found there is checked, as by the next process that opens the files. Where
///   create, remove or `set_length` failed, both outcomes are reckoned with.
/// * **Alignment.** Writes are aligned to the write block, erases to the larger
///   of write and erase block. Where the geometry asks for it, a range whose
///   write failed is erased before it is written again.
/// * **No second sync.** See above: a failed sync is final.
pub trait Storage: Send + Sync {
    /// What this storage declares about itself.
    fn geometry(&self) -> Geometry;

    /// Whether writes are refused. The engine then never calls one.
    fn is_read_only(&self) -> bool {
        false
    }

    /// The number of log slots: one more than the highest that exists.
    ///
    /// # Errors
    /// When the medium can't be asked.
    fn log_slots(&self) -> Result<u32, IoError>;

    /// The file's length in bytes, or `None` where it does not exist.
    ///
    /// # Errors
    /// When the medium can't be asked.
    fn length(&self, file: File) -> Result<Option<u64>, IoError>;

    /// What the page file takes on the medium, and what it could still be given; the
    /// geometry's limit holds besides. Not asked often: it may cost a few microseconds.
    /// `None` where the medium doesn't tell.
    fn page_file_room(&self) -> Option<PageFileRoom> {
        None
    }

    /// Creates `file`, empty. Durable after [`sync_directory`](Self::sync_directory).
    ///
    /// # Errors
    /// `AlreadyExists` where it exists, `StorageFull`, `PermissionDenied`, `ReadOnly`.
    /// It may have been created all the same.
    fn create(&self, file: File) -> Result<(), IoError>;

    /// Removes `file`. Durable after [`sync_directory`](Self::sync_directory).
    ///
    /// # Errors
    /// `NotFound` where it does not exist. It may have been removed all the same.
    fn remove(&self, file: File) -> Result<(), IoError>;

    /// Sets the length of `file`; new bytes read as the erased byte, and need
    /// not be allocated on the medium. Durable after a sync of the file.
    ///
    /// # Errors
    /// `StorageFull`; `Unsupported` for a shorter length where the geometry says so.
    /// The file has the old length or the new one.
    fn set_length(&self, file: File, bytes: u64) -> Result<(), IoError>;

    /// Reads `buffer.len()` bytes at `offset`.
    ///
    /// # Errors
    /// `UnexpectedEnd` where the range passes the end of the file. The buffer
    /// then holds anything.
    fn read(&self, file: File, offset: u64, buffer: &mut [u8]) -> Result<(), IoError>;

    /// Writes `bytes` at `offset`, which lies within the file's length or at
    /// its end; a write past the end lengthens the file.
    ///
    /// # Errors
    /// `StorageFull` where the device has no room for it. Any part of it may then
    /// be written, up to any byte.
    fn write(&self, file: File, offset: u64, bytes: &[u8]) -> Result<(), IoError>;

    /// Reads a batch; the order is free. Fails at the first failure, all
    /// buffers then hold anything.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    fn read_batch(&self, file: File, requests: &mut [ReadRequest<'_>]) -> Result<(), IoError> {
        for request in requests {
            self.read(file, request.offset, request.buffer)?;
        }
        Ok(())
    }

    /// Says that a range is likely to be read soon, so that a platform can begin to
    /// bring it nearer. MUST NOT wait for the medium; nothing depends on it.
    fn will_read(&self, file: File, offset: u64, bytes: u64) {
        let _ = (file, offset, bytes);
    }

    /// Writes a batch of ranges that don't overlap; the order is free.
    ///
    /// # Errors
    /// As [`write`](Self::write); any part of the batch may then be written.
    fn write_batch(&self, file: File, requests: &[WriteRequest<'_>]) -> Result<(), IoError> {
        for request in requests {
            self.write(file, request.offset, request.bytes)?;
        }
        Ok(())
    }

    /// Writes `bytes` at `offset` and makes the whole file durable; a platform
    /// that can do both in one call overrides this.
    ///
    /// # Errors
    /// As [`write`](Self::write) and [`sync`](Self::sync).
    fn write_and_sync(&self, file: File, offset: u64, bytes: &[u8]) -> Result<(), IoError> {
        self.write(file, offset, bytes)?;
        self.sync(file)
    }

    /// Makes every write to `file` that returned before this call, and its
    /// length, durable.
    ///
    /// # Errors
    /// Final: see the contract above.
    fn sync(&self, file: File) -> Result<(), IoError>;

    /// Makes the existence of files durable: every create and remove that
    /// returned before this call.
    ///
    /// # Errors
    /// Final: see the contract above.
    fn sync_directory(&self) -> Result<(), IoError>;

    /// Makes a range read as the erased byte *and* be allocated on the medium,
    /// so that later writes to it change no metadata: an erase on flash, a
    /// write of zeros on a disk. Aligned to the larger of write and erase block.
    ///
    /// # Errors
    /// `StorageFull` where the device has no room for it. Any part of it may then
    /// be done.
    fn erase(&self, file: File, offset: u64, bytes: u64) -> Result<(), IoError>;

    /// Gives the room of a range back to the device. It reads as the erased
    /// byte afterwards, and the file keeps its length.
    ///
    /// # Errors
    /// `Unsupported` where the geometry says so. Any part of it may be done.
    fn punch_hole(&self, file: File, offset: u64, bytes: u64) -> Result<(), IoError>;
}
