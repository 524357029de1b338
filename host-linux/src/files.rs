//! The data directory as a storage.
//!
//! ```text
//! DIR/pages.ldb           the page file
//! DIR/wal/00000000.wal    log slot 0; always eight digits
//! DIR/lock                the lock, and the writer's process id
//! ```
//!
//! Invariants:
//! * While a storage is open nobody else changes the directory (`lock.rs`), so
//!   that the table of open files made at open stays true. Every file is opened
//!   once, at open or when it is created, and kept: no read, write or sync opens
//!   or allocates. A descriptor is never closed before its file is synced, or a
//!   failed write-back could go unreported.
//! * A read-only storage changes no byte and, where this user may ask for
//!   that, no time stamp.
//! * Other names in the directory are not looked at.
//!
//! Durability is `fdatasync` for a file: on Linux it includes a changed length
//! and changed extents, all that reading needs back, so that `fsync` would add
//! only time stamps. It is `fsync` for the two directories. A failure, an
//! interruption too, is passed on at once: after a failed write-back the kernel
//! drops the dirty pages, and a second try would succeed without effect.
//! `write_and_sync` is two calls for the page file; `log_file.rs` tells when one is
//! enough for a log slot.
//!
//! About the atomic block: the kernel writes and the file system allocates in
//! blocks of 4 KiB, and a device may rewrite a whole physical sector, so that a
//! write never disturbs what lies outside its aligned block of the size declared
//! here. A disk with 512-byte sectors may still tear a block being written; it
//! then is neither old nor new, which the check of every page, frame and
//! superblock finds.

use crate::device;
use crate::error::{OpenError, OpenErrorReason, io_error};
use crate::lock::{DirectoryLock, open_at};
use crate::log_file::{Bounce, LogFile};
use crate::transfer;
use lightning_platform::{
    File, Geometry, IoError, IoErrorKind, PageFileRoom, ReadRequest, Storage, WriteRequest,
};
use log_slots::{SlotName, open_logs, open_through};
use rustix::fs::{Advice, AtFlags, FallocateFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

mod log_slots;

/// The name of the page file.
const PAGE_FILE_NAME: &str = "pages.ldb";
/// The name of the directory of log slots.
const LOG_DIRECTORY_NAME: &str = "wal";
/// Log slots are numbered below this.
const LOG_SLOTS_MAX: u32 = 100_000;
/// Owner does everything, group looks.
const DIRECTORY_MODE: u32 = 0o750;
/// What `st_blocks` counts in, whatever the file system's blocks are.
const STATUS_BLOCK_BYTES: u64 = 512;
/// The block that kernel and file system write as a whole.
const WRITE_BLOCK_BYTES_MIN: u32 = 4096;
/// The most that the platform contract allows.
const WRITE_BLOCK_BYTES_MAX: u32 = 65_536;

/// What to do with a data directory when opening it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OpenMode {
    /// Makes what is missing of the directories, durably, then as `ReadWrite`.
    /// A database that is there already is opened as it is.
    Create,
    /// Opens an existing data directory as its one owner.
    ReadWrite,
    /// Opens an existing data directory beside other readers, and changes nothing.
    ReadOnly,
}

/// A data directory, opened and locked. Dropping it releases the lock.
#[derive(Debug)]
pub struct LinuxStorage {
    path: PathBuf,
    mode: OpenMode,
    geometry: Geometry,
    // Used through the lock held for a whole transfer, since creating and
    // removing the page file are the only writers and happen outside of service.
    pages: RwLock<Option<OwnedFd>>,
    // Cloned out of the lock: a new slot never waits for a sync of another.
    logs: RwLock<Vec<Option<Arc<LogFile>>>>,
    bounce: Bounce,
    /// Held by whoever creates or removes a file.
    names: Mutex<()>,
    log_directory: OwnedFd,
    // Last, so that every other descriptor is closed before the lock goes.
    lock: DirectoryLock,
}

impl LinuxStorage {
    /// Opens the data directory `path` and locks it, for as long as the result lives.
    ///
    /// # Errors
    /// Names the path at fault; its `Display` says what to do next.
    pub fn open(path: impl AsRef<Path>, mode: OpenMode) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let log_path = path.join(LOG_DIRECTORY_NAME);
        if mode == OpenMode::Create {
            create_directory(path)?;
        }
        let directory = open_directory(rustix::fs::CWD, path, path)?;
        if mode != OpenMode::Create {
            // Before locking, so that no lock file appears in a directory that
            // holds no database.
            open_directory(directory.as_fd(), Path::new(LOG_DIRECTORY_NAME), &log_path)?;
        }
        let lock = match mode {
            OpenMode::Create | OpenMode::ReadWrite => {
                DirectoryLock::acquire_writer(directory, path)?
            }
            OpenMode::ReadOnly => DirectoryLock::acquire_reader(directory, path)?,
        };
        if mode == OpenMode::Create {
            create_log_directory(lock.directory(), &log_path)?;
        }
        let log_directory =
            open_directory(lock.directory(), Path::new(LOG_DIRECTORY_NAME), &log_path)?;
        let access = match mode {
            OpenMode::Create | OpenMode::ReadWrite => OFlags::RDWR,
            OpenMode::ReadOnly => OFlags::RDONLY,
        };
        let pages = open_file(lock.directory(), PAGE_FILE_NAME, access, path)?;
        let logs = open_logs(log_directory.as_fd(), access, &log_path)?;
        if mode != OpenMode::ReadOnly {
            // What recovery finds must not vanish with the next power cut, and
            // a file system that can't sync directories shows it here.
            sync_open_directory(log_directory.as_fd(), &log_path)?;
            sync_open_directory(lock.directory(), path)?;
        }
        let geometry = Geometry {
            write_block_bytes: write_block_bytes(lock.directory(), pages.as_ref()),
            erase_block_bytes: 1,
            erased_byte: 0,
            erase_before_write: false,
            page_file_bytes_max: u64::MAX,
            log_slots_max: LOG_SLOTS_MAX,
            can_punch_hole: mode != OpenMode::ReadOnly
                && can_punch_hole(pages.as_ref(), lock.file()),
            can_truncate: true,
        };
        Ok(Self {
            path: path.to_path_buf(),
            mode,
            geometry,
            pages: RwLock::new(pages),
            logs: RwLock::new(logs),
            bounce: Bounce::new(),
            names: Mutex::new(()),
            log_directory,
            lock,
        })
    }

    /// The data directory, as it was given at open.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How the data directory was opened.
    #[must_use]
    pub fn mode(&self) -> OpenMode {
        self.mode
    }

    /// Runs `work` on the descriptor of `file`.
    pub(crate) fn with_file<T>(
        &self,
        file: File,
        work: impl FnOnce(BorrowedFd<'_>) -> Result<T, IoError>,
    ) -> Result<T, IoError> {
        match file {
            File::Pages => match self.pages().as_ref() {
                Some(descriptor) => work(descriptor.as_fd()),
                None => Err(IoError::of(IoErrorKind::NotFound)),
            },
            File::Log(slot) => work(self.log(slot)?.descriptor()),
        }
    }

    fn log(&self, slot: u32) -> Result<Arc<LogFile>, IoError> {
        let log = self.logs().get(slot as usize).cloned().flatten();
        log.ok_or(IoError::of(IoErrorKind::NotFound))
    }

    /// Like `with_file` for work that changes the file; refuses on a read-only storage.
    pub(crate) fn with_writable_file<T>(
        &self,
        file: File,
        work: impl FnOnce(BorrowedFd<'_>) -> Result<T, IoError>,
    ) -> Result<T, IoError> {
        self.check_writable()?;
        match file {
            File::Pages => self.with_file(file, work),
            File::Log(slot) => {
                let log = self.log(slot)?;
                let done = work(log.descriptor());
                // Where it failed, some of it may have been done.
                log.note_change();
                done
            }
        }
    }

    fn check_writable(&self) -> Result<(), IoError> {
        if self.is_read_only() {
            Err(IoError::of(IoErrorKind::ReadOnly))
        } else {
            Ok(())
        }
    }

    fn create_log(&self, slot: u32) -> Result<(), IoError> {
        let name = SlotName::new(slot).ok_or(IoError::of(IoErrorKind::InvalidInput))?;
        let index = slot as usize;
        // Room first, so that no file is left behind that the table can't hold.
        {
            let mut logs = self.logs_mut();
            let missing = (index + 1).saturating_sub(logs.len());
            logs.try_reserve(missing)
                .map_err(|_| IoError::of(IoErrorKind::OutOfMemory))?;
        }
        let directory = self.log_directory.as_fd();
        let created = create_file(directory, name.as_bytes())?;
        let through = open_through(directory, name.as_bytes());
        let mut logs = self.logs_mut();
        if logs.len() <= index {
            logs.resize(index + 1, None);
        }
        if let Some(entry) = logs.get_mut(index) {
            *entry = Some(Arc::new(LogFile::new(created, through)));
        }
        Ok(())
    }

    fn remove_log(&self, slot: u32) -> Result<(), IoError> {
        let name = SlotName::new(slot).ok_or(IoError::of(IoErrorKind::NotFound))?;
        remove_file(self.log_directory.as_fd(), name.as_bytes())?;
        let mut logs = self.logs_mut();
        if let Some(entry) = logs.get_mut(slot as usize) {
            *entry = None;
        }
        while let Some(None) = logs.last() {
            logs.pop();
        }
        Ok(())
    }

    // Nothing panics while one of these is held, so that poison means nothing.

    fn pages(&self) -> RwLockReadGuard<'_, Option<OwnedFd>> {
        self.pages.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn pages_mut(&self) -> RwLockWriteGuard<'_, Option<OwnedFd>> {
        self.pages.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn logs(&self) -> RwLockReadGuard<'_, Vec<Option<Arc<LogFile>>>> {
        self.logs.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn logs_mut(&self) -> RwLockWriteGuard<'_, Vec<Option<Arc<LogFile>>>> {
        self.logs.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn names(&self) -> MutexGuard<'_, ()> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Storage for LinuxStorage {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn is_read_only(&self) -> bool {
        self.mode == OpenMode::ReadOnly
    }

    fn log_slots(&self) -> Result<u32, IoError> {
        // At most `LOG_SLOTS_MAX`, by the names that get into the table.
        Ok(self.logs().len() as u32)
    }

    fn length(&self, file: File) -> Result<Option<u64>, IoError> {
        let length = self.with_file(file, |descriptor| {
            let status = rustix::fs::fstat(descriptor).map_err(io_error)?;
            Ok(status.st_size as u64)
        });
        match length {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error == IoError::of(IoErrorKind::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn page_file_room(&self) -> Option<PageFileRoom> {
        let room = self.with_file(File::Pages, |descriptor| {
            let file = rustix::fs::fstat(descriptor).map_err(io_error)?;
            let system = rustix::fs::fstatvfs(descriptor).map_err(io_error)?;
            // A file system of no size has no limit: a tmpfs may.
            Ok((system.f_blocks > 0).then(|| PageFileRoom {
                taken_bytes: (file.st_blocks as u64).saturating_mul(STATUS_BLOCK_BYTES),
                available_bytes: system.f_bavail.saturating_mul(system.f_frsize),
            }))
        });
        room.ok().flatten()
    }

    fn create(&self, file: File) -> Result<(), IoError> {
        self.check_writable()?;
        let _names = self.names();
        match file {
            File::Pages => {
                let created = create_file(self.lock.directory(), PAGE_FILE_NAME.as_bytes())?;
                *self.pages_mut() = Some(created);
                Ok(())
            }
            File::Log(slot) => self.create_log(slot),
        }
    }

    fn remove(&self, file: File) -> Result<(), IoError> {
        self.check_writable()?;
        let _names = self.names();
        match file {
            File::Pages => {
                remove_file(self.lock.directory(), PAGE_FILE_NAME.as_bytes())?;
                *self.pages_mut() = None;
                Ok(())
            }
            File::Log(slot) => self.remove_log(slot),
        }
    }

    fn set_length(&self, file: File, bytes: u64) -> Result<(), IoError> {
        self.with_writable_file(file, |descriptor| {
            interruptible(|| rustix::fs::ftruncate(descriptor, bytes))
        })
    }

    fn read(&self, file: File, offset: u64, buffer: &mut [u8]) -> Result<(), IoError> {
        self.with_file(file, |descriptor| {
            transfer::read_exact_at(descriptor, offset, buffer)
        })
    }

    fn write(&self, file: File, offset: u64, bytes: &[u8]) -> Result<(), IoError> {
        self.with_writable_file(file, |descriptor| {
            transfer::write_all_at(descriptor, offset, bytes)
        })
    }

    fn read_batch(&self, file: File, requests: &mut [ReadRequest<'_>]) -> Result<(), IoError> {
        self.with_file(file, |descriptor| {
            transfer::read_batch(descriptor, requests)
        })
    }

    fn will_read(&self, file: File, offset: u64, bytes: u64) {
        // Only a wish: what can't be done is left.
        let _told = self.with_file(file, |descriptor| {
            let length = std::num::NonZero::new(bytes);
            rustix::fs::fadvise(descriptor, offset, length, Advice::WillNeed).map_err(io_error)
        });
    }

    fn write_batch(&self, file: File, requests: &[WriteRequest<'_>]) -> Result<(), IoError> {
        self.with_writable_file(file, |descriptor| {
            transfer::write_batch(descriptor, requests)
        })
    }

    fn write_and_sync(&self, file: File, offset: u64, bytes: &[u8]) -> Result<(), IoError> {
        let File::Log(slot) = file else {
            self.write(file, offset, bytes)?;
            return self.sync(file);
        };
        self.check_writable()?;
        self.log(slot)?
            .write_and_sync(offset, bytes, &self.bounce)
            .map(|_| ())
    }

    fn sync(&self, file: File) -> Result<(), IoError> {
        if let File::Log(slot) = file {
            self.check_writable()?;
            return self.log(slot)?.sync();
        }
        self.with_writable_file(file, |descriptor| {
            rustix::fs::fdatasync(descriptor).map_err(io_error)
        })
    }

    fn sync_directory(&self) -> Result<(), IoError> {
        self.check_writable()?;
        rustix::fs::fsync(&self.log_directory).map_err(io_error)?;
        rustix::fs::fsync(self.lock.directory()).map_err(io_error)
    }

    fn erase(&self, file: File, offset: u64, bytes: u64) -> Result<(), IoError> {
        self.with_writable_file(file, |descriptor| {
            transfer::write_zeros_at(descriptor, offset, bytes)
        })
    }

    fn punch_hole(&self, file: File, offset: u64, bytes: u64) -> Result<(), IoError> {
        if !self.is_read_only() && !self.geometry.can_punch_hole {
            return Err(IoError::of(IoErrorKind::Unsupported));
        }
        self.with_writable_file(file, |descriptor| {
            if bytes == 0 {
                return Ok(());
            }
            interruptible(|| punch(descriptor, offset, bytes))
        })
    }
}

/// Repeats a call that a signal interrupted. Never used for a sync.
fn interruptible(mut call: impl FnMut() -> Result<(), Errno>) -> Result<(), IoError> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result.map_err(io_error),
        }
    }
}

fn punch(file: BorrowedFd<'_>, offset: u64, bytes: u64) -> Result<(), Errno> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(file, flags, offset, bytes)
}

/// Whether the file system takes holes: tried where there is nothing to lose,
/// past the end of the page file or, while there is none, of the lock file.
fn can_punch_hole(pages: Option<&OwnedFd>, lock: Option<BorrowedFd<'_>>) -> bool {
    const TRIAL_BYTES: u64 = 65_536;
    let Some(file) = pages.map(AsFd::as_fd).or(lock) else {
        return false;
    };
    let Ok(status) = rustix::fs::fstat(file) else {
        return false;
    };
    (status.st_size as u64)
        .checked_next_multiple_of(TRIAL_BYTES)
        .is_some_and(|offset| interruptible(|| punch(file, offset, TRIAL_BYTES)).is_ok())
}

/// The size of the block that a write leaves the neighbours of alone.
fn write_block_bytes(directory: BorrowedFd<'_>, pages: Option<&OwnedFd>) -> u32 {
    // The page file may be a link to another device.
    let file = pages.map_or(directory, AsFd::as_fd);
    rustix::fs::fstat(file)
        .ok()
        .and_then(|status| device::block_bytes(status.st_dev))
        .unwrap_or(WRITE_BLOCK_BYTES_MIN)
        .clamp(WRITE_BLOCK_BYTES_MIN, WRITE_BLOCK_BYTES_MAX)
        .next_power_of_two()
}

fn create_file(directory: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, IoError> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
    open_at(directory, name, flags).map_err(io_error)
}

fn remove_file(directory: BorrowedFd<'_>, name: &[u8]) -> Result<(), IoError> {
    rustix::fs::unlinkat(directory, name, AtFlags::empty()).map_err(io_error)
}

/// Opens a directory to look up and sync names in; `shown` is its path in errors.
fn open_directory(parent: BorrowedFd<'_>, name: &Path, shown: &Path) -> Result<OwnedFd, OpenError> {
    use std::os::unix::ffi::OsStrExt;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    open_at(parent, name.as_os_str().as_bytes(), flags).map_err(|errno| path_error(shown, errno))
}

/// Opens a file of the database, or returns `None` where it doesn't exist.
fn open_file(
    directory: BorrowedFd<'_>,
    name: &str,
    access: OFlags,
    directory_path: &Path,
) -> Result<Option<OwnedFd>, OpenError> {
    // Not to hang on a pipe of that name; without effect on a plain file.
    let flags = access | OFlags::NONBLOCK;
    let failed = |errno| Err(path_error(&directory_path.join(name), errno));
    let descriptor = match open_at(directory, name.as_bytes(), flags) {
        Ok(descriptor) => descriptor,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return failed(errno),
    };
    match rustix::fs::fstat(&descriptor) {
        Ok(status) if FileType::from_raw_mode(status.st_mode).is_file() => Ok(Some(descriptor)),
        Ok(_) => failed(Errno::ISDIR),
        Err(errno) => failed(errno),
    }
}

/// Makes `path` and the parents that are missing, each durable in its own parent.
fn create_directory(path: &Path) -> Result<(), OpenError> {
    let make = || rustix::fs::mkdir(path, Mode::from_raw_mode(DIRECTORY_MODE));
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        // The root has no parent, and exists.
        None => return Ok(()),
    };
    let result = match make() {
        Err(Errno::NOENT) if !path.as_os_str().is_empty() => {
            create_directory(parent)?;
            make()
        }
        result => result,
    };
    match result {
        Ok(()) => sync_directory_at(parent),
        // Made before, perhaps by an open that a power cut ended before its
        // sync. A parent that this user can't read isn't such a case.
        Err(Errno::EXIST) => match sync_directory_at(parent) {
            Err(error) if error.reason != OpenErrorReason::PermissionDenied => Err(error),
            _ => Ok(()),
        },
        Err(errno) => Err(path_error(path, errno)),
    }
}

fn create_log_directory(directory: BorrowedFd<'_>, log_path: &Path) -> Result<(), OpenError> {
    let mode = Mode::from_raw_mode(DIRECTORY_MODE);
    match rustix::fs::mkdirat(directory, LOG_DIRECTORY_NAME, mode) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(path_error(log_path, errno)),
    }
}

fn sync_directory_at(path: &Path) -> Result<(), OpenError> {
    let directory = open_directory(rustix::fs::CWD, path, path)?;
    sync_open_directory(directory.as_fd(), path)
}

fn sync_open_directory(directory: BorrowedFd<'_>, path: &Path) -> Result<(), OpenError> {
    rustix::fs::fsync(directory).map_err(|errno| path_error(path, errno))
}

/// The open error for `path`. Where a file stands in place of one of its
/// parents, that parent is named.
fn path_error(path: &Path, errno: Errno) -> OpenError {
    let at_fault = if errno == Errno::NOTDIR {
        path.ancestors()
            .find(|ancestor| std::fs::metadata(ancestor).is_ok_and(|data| !data.is_dir()))
            .unwrap_or(path)
    } else {
        path
    };
    OpenError::from_errno(at_fault, errno)
}

#[cfg(test)]
mod tests;
