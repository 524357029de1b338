//! One owner for each data directory.
//!
//! A writer holds an exclusive `flock`, a reader a shared one, on two things:
//! the directory itself and the file `lock` in it. Either excludes on its own;
//! both are taken because each covers what the other can't:
//!
//! * the directory covers a reader where no lock file exists or where it may
//!   not be opened (a read-only open creates nothing), and a lock file that
//!   somebody deletes while its holder runs;
//! * the file covers file systems without locks on directories (NFS), and
//!   holds the writer's process id for the message to those it turns away.
//!
//! Protocol: file first, then directory, never waiting; who finds either taken
//! gives up what it has. A writer MUST get the file's lock; a reader one of both.
//!
//! `flock` belongs to the open file description, not to the process, so that
//! two opens within one process exclude each other like two processes do, and
//! no registry in the process is needed. For the same reason the lock is
//! released explicitly on drop: a child between `fork` and `exec` shares the
//! description and would hold it a moment longer.
//!
//! The process id is a courtesy: written after locking, cleared before
//! unlocking, never used to decide anything. It is the number in the writer's
//! own process namespace.

use crate::error::{OpenError, OpenErrorReason};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// The name of the lock file in the data directory.
pub(crate) const LOCK_FILE_NAME: &str = "lock";

/// Who keeps a data directory from being opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockHolder {
    /// One writer, and its process id where the lock file tells.
    Writer {
        /// The process id as the writer itself sees it.
        pid: Option<u32>,
    },
    /// One or more readers; they leave no trace, so nobody knows which.
    Readers,
}

/// A held lock, and the directory's descriptor, which it is held on.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    directory: OwnedFd,
    /// `None` for a reader where the lock file is absent or out of reach.
    file: Option<OwnedFd>,
    is_writer: bool,
}

impl DirectoryLock {
    /// Takes the lock of a writer and leaves the process id in the lock file.
    pub(crate) fn acquire_writer(directory: OwnedFd, path: &Path) -> Result<Self, OpenError> {
        let file_path = path.join(LOCK_FILE_NAME);
        let file = open_at(
            directory.as_fd(),
            LOCK_FILE_NAME.as_bytes(),
            OFlags::RDWR | OFlags::CREATE,
        )
        .map_err(|errno| OpenError::from_errno(&file_path, errno))?;
        match try_lock(file.as_fd(), FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let holder = holder_seen_by_writer(file.as_fd(), Some(file.as_fd()));
                return Err(OpenError::new(path, OpenErrorReason::InUse(holder)));
            }
            Err(_) => {
                return Err(OpenError::new(
                    &file_path,
                    OpenErrorReason::LocksUnsupported,
                ));
            }
        }
        let lock = Self {
            directory,
            file: Some(file),
            is_writer: true,
        };
        // Without locks on directories nobody holds one, and the file decides.
        if try_lock(lock.directory(), FlockOperation::NonBlockingLockExclusive)
            == Err(Errno::WOULDBLOCK)
        {
            let holder = holder_seen_by_writer(lock.directory(), None);
            return Err(OpenError::new(path, OpenErrorReason::InUse(holder)));
        }
        lock.write_process_id();
        Ok(lock)
    }

    /// Takes the lock of a reader and changes nothing.
    pub(crate) fn acquire_reader(directory: OwnedFd, path: &Path) -> Result<Self, OpenError> {
        let file = open_at(directory.as_fd(), LOCK_FILE_NAME.as_bytes(), OFlags::RDONLY).ok();
        let lock = Self {
            directory,
            file,
            is_writer: false,
        };
        let mut is_locked = false;
        for target in lock.file().into_iter().chain([lock.directory()]) {
            match try_lock(target, FlockOperation::NonBlockingLockShared) {
                Ok(()) => is_locked = true,
                Err(Errno::WOULDBLOCK) => {
                    let pid = lock.file().and_then(read_process_id);
                    let holder = LockHolder::Writer { pid };
                    return Err(OpenError::new(path, OpenErrorReason::InUse(holder)));
                }
                Err(_) => {}
            }
        }
        if is_locked {
            Ok(lock)
        } else {
            Err(OpenError::new(path, OpenErrorReason::LocksUnsupported))
        }
    }

    /// The data directory.
    pub(crate) fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// The lock file; always there for a writer, and writable then.
    pub(crate) fn file(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref().map(AsFd::as_fd)
    }

    /// Failures are passed over: a full disk must not keep a database closed.
    fn write_process_id(&self) {
        let Some(file) = self.file() else { return };
        let mut text = [0_u8; 16];
        let room = text.len();
        let mut rest = text.as_mut_slice();
        if writeln!(rest, "{}", std::process::id()).is_err() {
            return;
        }
        let length = room - rest.len();
        let _ = rustix::fs::ftruncate(file, 0);
        let _ = rustix::io::pwrite(file, text.get(..length).unwrap_or_default(), 0);
    }
}

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            if self.is_writer {
                let _ = rustix::fs::ftruncate(file, 0);
            }
            let _ = rustix::fs::flock(file, FlockOperation::Unlock);
        }
        let _ = rustix::fs::flock(&self.directory, FlockOperation::Unlock);
    }
}

/// Opens `name` in `directory` so that reading leaves the access time alone,
/// where this user may ask for that (as its owner, or with privileges).
pub(crate) fn open_at(
    directory: BorrowedFd<'_>,
    name: &[u8],
    flags: OFlags,
) -> Result<OwnedFd, Errno> {
    let open = |flags| loop {
        let mode = Mode::from_raw_mode(FILE_MODE);
        match rustix::fs::openat(directory, name, flags | OFlags::CLOEXEC, mode) {
            Err(Errno::INTR) => {}
            result => return result,
        }
    };
    match open(flags | OFlags::NOATIME) {
        Err(Errno::PERM) => open(flags),
        result => result,
    }
}

/// Owner reads and writes, group reads.
const FILE_MODE: u32 = 0o640;

fn try_lock(file: BorrowedFd<'_>, operation: FlockOperation) -> Result<(), Errno> {
    loop {
        match rustix::fs::flock(file, operation) {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

/// Who holds the lock on `target` that a writer was refused: readers, when a
/// shared lock is to be had.
fn holder_seen_by_writer(target: BorrowedFd<'_>, file: Option<BorrowedFd<'_>>) -> LockHolder {
    if try_lock(target, FlockOperation::NonBlockingLockShared).is_ok() {
        let _ = rustix::fs::flock(target, FlockOperation::Unlock);
        return LockHolder::Readers;
    }
    LockHolder::Writer {
        pid: file.and_then(read_process_id),
    }
}

fn read_process_id(file: BorrowedFd<'_>) -> Option<u32> {
    let mut text = [0_u8; 16];
    let count = rustix::io::pread(file, &mut text, 0).ok()?;
    let text = std::str::from_utf8(text.get(..count)?).ok()?;
    text.trim().parse().ok()
}
