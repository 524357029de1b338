//! The page file past the system's cache (`O_DIRECT`).
//!
//! The device transfers to and from whole blocks of a file, and memory that is aligned
//! like them. What the engine writes is aligned in the file, and most of what it reads; a
//! transfer that isn't, or whose memory isn't, goes through one of a few buffers that are
//! made at open, whole blocks around it. Requests that lie one behind the other are read
//! together: the two parts of a compressed page are one transfer.

use crate::aligned::{Aligned, BLOCK_BYTES, is_aligned};
use crate::error::io_error;
use crate::files::LinuxStorage;
use crate::transfer;
use lightning_platform::{
    File, Geometry, IoError, IoErrorKind, PageFileRoom, ReadRequest, Storage, WriteRequest,
};
use rustix::fs::{FsWord, OFlags};
use rustix::io::Errno;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

/// The most that one transfer by way of a buffer takes.
const BUFFER_BYTES: usize = 64 * BLOCK_BYTES;
/// Transfers by way of a buffer at once; more take turns.
const BUFFERS: usize = 4;

/// A data directory whose page file is used directly, where its file system takes that.
#[derive(Debug)]
pub struct DirectStorage {
    storage: LinuxStorage,
    direct: Direct,
    is_on: AtomicBool,
    refusal: Mutex<Option<String>>,
}

impl DirectStorage {
    /// Has the page file of `storage` be used directly: now, or when it is created.
    #[must_use]
    pub fn new(storage: LinuxStorage) -> Self {
        let made = Self {
            storage,
            direct: Direct::new(),
            is_on: AtomicBool::new(false),
            refusal: Mutex::new(None),
        };
        made.enable();
        made
    }

    /// Why the page file is not used directly, where it isn't.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        let refusal = self.refusal.lock();
        refusal.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn enable(&self) {
        let enabled = self.storage.with_file(File::Pages, |file| Ok(enable(file)));
        // Where there is no page file yet, there is nothing to say.
        let Ok(enabled) = enabled else { return };
        self.is_on.store(enabled.is_ok(), Ordering::Relaxed);
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = enabled.err();
    }

    fn is_direct(&self, file: File) -> bool {
        file == File::Pages && self.is_on.load(Ordering::Relaxed)
    }
}

impl Storage for DirectStorage {
    fn geometry(&self) -> Geometry {
        self.storage.geometry()
    }

    fn is_read_only(&self) -> bool {
        self.storage.is_read_only()
    }

    fn log_slots(&self) -> Result<u32, IoError> {
        self.storage.log_slots()
    }

    fn length(&self, file: File) -> Result<Option<u64>, IoError> {
        self.storage.length(file)
    }

    fn page_file_room(&self) -> Option<PageFileRoom> {
        self.storage.page_file_room()
    }

    fn create(&self, file: File) -> Result<(), IoError> {
        self.storage.create(file)?;
        if file == File::Pages {
            self.enable();
        }
        Ok(())
    }

    fn remove(&self, file: File) -> Result<(), IoError> {
        self.storage.remove(file)
    }

    fn set_length(&self, file: File, bytes: u64) -> Result<(), IoError> {
        self.storage.set_length(file, bytes)
    }

    fn read(&self, file: File, offset: u64, buffer: &mut [u8]) -> Result<(), IoError> {
        if !self.is_direct(file) {
            return self.storage.read(file, offset, buffer);
        }
        self.storage
            .with_file(file, |pages| self.direct.read(pages, offset, buffer))
    }

    fn write(&self, file: File, offset: u64, bytes: &[u8]) -> Result<(), IoError> {
        if !self.is_direct(file) {
            return self.storage.write(file, offset, bytes);
        }
        self.storage
            .with_writable_file(file, |pages| self.direct.write(pages, offset, bytes))
    }

    fn read_batch(&self, file: File, requests: &mut [ReadRequest<'_>]) -> Result<(), IoError> {
        if !self.is_direct(file) {
            return self.storage.read_batch(file, requests);
        }
        self.storage
            .with_file(file, |pages| self.direct.read_batch(pages, requests))
    }

    fn will_read(&self, file: File, offset: u64, bytes: u64) {
        // There is no cache to read into.
        if !self.is_direct(file) {
            self.storage.will_read(file, offset, bytes);
        }
    }

    fn write_batch(&self, file: File, requests: &[WriteRequest<'_>]) -> Result<(), IoError> {
        if !self.is_direct(file) {
            return self.storage.write_batch(file, requests);
        }
        self.storage.with_writable_file(file, |pages| {
            let mut all = requests.iter();
            all.try_for_each(|request| self.direct.write(pages, request.offset, request.bytes))
        })
    }

    fn write_and_sync(&self, file: File, offset: u64, bytes: &[u8]) -> Result<(), IoError> {
        if !self.is_direct(file) {
            return self.storage.write_and_sync(file, offset, bytes);
        }
        self.write(file, offset, bytes)?;
        self.sync(file)
    }

    fn sync(&self, file: File) -> Result<(), IoError> {
        self.storage.sync(file)
    }

    fn sync_directory(&self) -> Result<(), IoError> {
        self.storage.sync_directory()
    }

    fn erase(&self, file: File, offset: u64, bytes: u64) -> Result<(), IoError> {
        if !self.is_direct(file) {
            return self.storage.erase(file, offset, bytes);
        }
        self.storage
            .with_writable_file(file, |pages| self.direct.write_zeros(pages, offset, bytes))
    }

    fn punch_hole(&self, file: File, offset: u64, bytes: u64) -> Result<(), IoError> {
        self.storage.punch_hole(file, offset, bytes)
    }
}

/// The buffers of a page file that is used directly.
struct Direct {
    buffers: [Mutex<Aligned>; BUFFERS],
}

impl std::fmt::Debug for Direct {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Direct").finish_non_exhaustive()
    }
}

/// Has `file` be used directly from here on.
///
/// # Errors
/// Words why it can't be; it is then used as before.
fn enable(file: BorrowedFd<'_>) -> Result<(), String> {
    const TMPFS: FsWord = 0x0102_1994;
    let status = rustix::fs::fstatfs(file).map_err(|errno| errno.to_string())?;
    // It takes the wish, and does nothing about it.
    if status.f_type == TMPFS {
        return Err("the file system is in memory".to_owned());
    }
    let flags = rustix::fs::fcntl_getfl(file).map_err(|errno| errno.to_string())?;
    let refused = |errno| format!("the file system doesn't take it: {errno}");
    rustix::fs::fcntl_setfl(file, flags | OFlags::DIRECT).map_err(refused)?;
    let mut block = Aligned::new(BLOCK_BYTES);
    match rustix::io::pread(file, block.bytes_mut(), 0) {
        Err(errno) if errno != Errno::INTR => {
            // As it was, so that it can be used at all.
            rustix::fs::fcntl_setfl(file, flags).map_err(|errno| errno.to_string())?;
            Err(refused(errno))
        }
        _ => Ok(()),
    }
}

impl Direct {
    fn new() -> Self {
        Self {
            buffers: std::array::from_fn(|_| Mutex::new(Aligned::new(BUFFER_BYTES))),
        }
    }

    fn buffer(&self) -> MutexGuard<'_, Aligned> {
        let free = self
            .buffers
            .iter()
            .find_map(|buffer| match buffer.try_lock() {
                Ok(buffer) => Some(buffer),
                Err(TryLockError::Poisoned(buffer)) => Some(buffer.into_inner()),
                Err(TryLockError::WouldBlock) => None,
            });
        let [first, ..] = &self.buffers;
        free.unwrap_or_else(|| first.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Fills `buffer` from `offset`.
    fn read(&self, file: BorrowedFd<'_>, offset: u64, buffer: &mut [u8]) -> Result<(), IoError> {
        if is_aligned(offset, buffer) {
            return transfer::read_exact_at(file, offset, buffer);
        }
        self.read_stretch(file, &mut [ReadRequest { offset, buffer }])
    }

    /// Fills the buffers of all requests.
    fn read_batch(
        &self,
        file: BorrowedFd<'_>,
        requests: &mut [ReadRequest<'_>],
    ) -> Result<(), IoError> {
        if requests
            .iter()
            .all(|request| is_aligned(request.offset, request.buffer))
        {
            return transfer::read_batch(file, requests);
        }
        let mut rest = requests;
        while !rest.is_empty() {
            let count = transfer::stretch_length(
                rest.iter()
                    .map(|request| (request.offset, request.buffer.len())),
            );
            let (stretch, tail) = rest.split_at_mut(count);
            self.read_stretch(file, stretch)?;
            rest = tail;
        }
        Ok(())
    }

    /// Fills the buffers of requests that lie one behind the other.
    fn read_stretch(
        &self,
        file: BorrowedFd<'_>,
        requests: &mut [ReadRequest<'_>],
    ) -> Result<(), IoError> {
        let ended = IoError::of(IoErrorKind::UnexpectedEnd);
        let mut position = requests.first().map_or(0, |request| request.offset);
        let bytes: usize = requests.iter().map(|request| request.buffer.len()).sum();
        let end = position.checked_add(bytes as u64).ok_or(ended)?;
        let end = i64::try_from(end).map(|_| end).map_err(|_| ended)?;
        let mut held = self.buffer();
        while position < end {
            let start = position - position % BLOCK_BYTES as u64;
            let wanted = (end - start).next_multiple_of(BLOCK_BYTES as u64);
            let room = held.bytes_mut();
            let length = usize::try_from(wanted)
                .unwrap_or(room.len())
                .min(room.len());
            let room = room.get_mut(..length).unwrap_or_default();
            let got = loop {
                match rustix::io::pread(file, &mut *room, start) {
                    Err(Errno::INTR) => {}
                    Err(errno) => return Err(io_error(errno)),
                    Ok(got) => break got,
                }
            };
            let skipped = (position - start) as usize;
            // At the end of the file there may be less than was asked for.
            let part = room.get(skipped..got).unwrap_or_default();
            if part.is_empty() {
                return Err(ended);
            }
            scatter(requests, position, part);
            position += part.len() as u64;
        }
        Ok(())
    }

    /// Stores `bytes` at `offset`, both of whole blocks.
    fn write(&self, file: BorrowedFd<'_>, offset: u64, bytes: &[u8]) -> Result<(), IoError> {
        let is_whole =
            offset.is_multiple_of(BLOCK_BYTES as u64) && bytes.len().is_multiple_of(BLOCK_BYTES);
        if !is_whole {
            // The geometry says that no such write comes.
            return Err(IoError::of(IoErrorKind::InvalidInput));
        }
        if is_aligned(offset, bytes) {
            return transfer::write_all_at(file, offset, bytes);
        }
        let mut held = self.buffer();
        let room = held.bytes_mut();
        let mut position = offset;
        for piece in bytes.chunks(room.len().max(1)) {
            let copy = room.get_mut(..piece.len()).unwrap_or_default();
            copy.copy_from_slice(piece);
            transfer::write_all_at(file, position, copy)?;
            position = position.saturating_add(piece.len() as u64);
        }
        Ok(())
    }

    /// Stores zeros in a range of whole blocks.
    fn write_zeros(&self, file: BorrowedFd<'_>, offset: u64, bytes: u64) -> Result<(), IoError> {
        let mut held = self.buffer();
        let room = held.bytes_mut();
        room.fill(0);
        let mut written = 0;
        while written < bytes {
            let left = usize::try_from(bytes - written).unwrap_or(usize::MAX);
            let piece = room.get(..left.min(room.len())).unwrap_or_default();
            if piece.is_empty() || !piece.len().is_multiple_of(BLOCK_BYTES) {
                return Err(IoError::of(IoErrorKind::InvalidInput));
            }
            transfer::write_all_at(file, offset.saturating_add(written), piece)?;
            written += piece.len() as u64;
        }
        Ok(())
    }
}

/// Copies what stands at `position` of the file into the requests that it is for.
fn scatter(requests: &mut [ReadRequest<'_>], position: u64, bytes: &[u8]) {
    let end = position + bytes.len() as u64;
    for request in requests {
        let request_end = request.offset + request.buffer.len() as u64;
        let (from, to) = (position.max(request.offset), end.min(request_end));
        if from >= to {
            continue;
        }
        let source = bytes.get((from - position) as usize..(to - position) as usize);
        let range = (from - request.offset) as usize..(to - request.offset) as usize;
        if let (Some(source), Some(target)) = (source, request.buffer.get_mut(range)) {
            target.copy_from_slice(source);
        }
    }
}

#[cfg(test)]
mod tests;
