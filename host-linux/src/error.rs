//! Error numbers to kinds and words, and why a data directory did not open.
//!
//! `io_error` is the only place where an `errno` gets a meaning; everything
//! else branches on the [`IoErrorKind`] it chose.

use crate::lock::LockHolder;
use lightning_platform::{IoError, IoErrorKind};
use rustix::io::Errno;
use std::fmt;
use std::path::{Path, PathBuf};

/// The platform error for a failed system call.
pub(crate) fn io_error(errno: Errno) -> IoError {
    let kind = match errno {
        Errno::NOENT | Errno::NOTDIR => IoErrorKind::NotFound,
        Errno::ACCESS | Errno::PERM => IoErrorKind::PermissionDenied,
        Errno::EXIST => IoErrorKind::AlreadyExists,
        Errno::AGAIN | Errno::BUSY | Errno::TXTBSY => IoErrorKind::InUse,
        // A file size limit is to the caller what a quota is.
        Errno::NOSPC | Errno::DQUOT | Errno::FBIG => IoErrorKind::StorageFull,
        Errno::ROFS => IoErrorKind::ReadOnly,
        Errno::OPNOTSUPP | Errno::NOSYS | Errno::NOTTY | Errno::NOLCK => IoErrorKind::Unsupported,
        Errno::INVAL | Errno::BADF | Errno::NAMETOOLONG | Errno::OVERFLOW | Errno::ISDIR => {
            IoErrorKind::InvalidInput
        }
        Errno::NOMEM => IoErrorKind::OutOfMemory,
        // The last two are how ext4 and XFS report that their own metadata is damaged.
        Errno::IO
        | Errno::NXIO
        | Errno::NODEV
        | Errno::NOMEDIUM
        | Errno::REMOTEIO
        | Errno::NODATA
        | Errno::TIMEDOUT
        | Errno::NOLINK
        | Errno::STALE
        | Errno::BADMSG
        | Errno::UCLEAN => IoErrorKind::Device,
        _ => IoErrorKind::Other,
    };
    IoError::new(kind, errno.raw_os_error())
}

/// The words for a failed platform call: the kind, and what Linux says about its code.
#[must_use]
pub fn io_error_text(error: IoError) -> String {
    if error.code == 0 {
        error.kind.to_string()
    } else {
        let system = std::io::Error::from_raw_os_error(error.code);
        format!("{}: {system}", error.kind)
    }
}

/// Why a data directory did not open, and the path at fault.
///
/// Its `Display` says what happened and what to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenError {
    /// The file or directory that the failed step was about.
    pub path: PathBuf,
    /// What went wrong with it.
    pub reason: OpenErrorReason,
}

/// What went wrong while a data directory was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenErrorReason {
    /// Nothing has this path.
    NotFound,
    /// A directory was needed, and this is something else.
    NotADirectory,
    /// A plain file was needed, and this is something else.
    NotAFile,
    /// This user may not do what the mode needs.
    PermissionDenied,
    /// The file system is mounted read-only, and the mode writes.
    ReadOnlyFileSystem,
    /// Another open of the same directory excludes this one.
    InUse(LockHolder),
    /// The file system offers no locks, so that one owner can't be ensured.
    LocksUnsupported,
    /// No room for the files that a new database needs.
    StorageFull,
    /// The process, or the system, has no file descriptors left.
    TooManyOpenFiles,
    /// Any other failure of a system call.
    Failed(IoError),
}

impl OpenError {
    pub(crate) fn new(path: &Path, reason: OpenErrorReason) -> Self {
        Self {
            path: path.to_path_buf(),
            reason,
        }
    }

    pub(crate) fn from_errno(path: &Path, errno: Errno) -> Self {
        let reason = match errno {
            Errno::NOENT => OpenErrorReason::NotFound,
            Errno::NOTDIR => OpenErrorReason::NotADirectory,
            Errno::ISDIR => OpenErrorReason::NotAFile,
            Errno::ACCESS | Errno::PERM => OpenErrorReason::PermissionDenied,
            Errno::ROFS => OpenErrorReason::ReadOnlyFileSystem,
            Errno::NOSPC | Errno::DQUOT => OpenErrorReason::StorageFull,
            Errno::MFILE | Errno::NFILE => OpenErrorReason::TooManyOpenFiles,
            other => OpenErrorReason::Failed(io_error(other)),
        };
        Self::new(path, reason)
    }

    /// The failure in the terms of the platform contract.
    #[must_use]
    pub fn io_error(&self) -> IoError {
        IoError::of(match self.reason {
            OpenErrorReason::NotFound => IoErrorKind::NotFound,
            OpenErrorReason::NotADirectory | OpenErrorReason::NotAFile => IoErrorKind::InvalidInput,
            OpenErrorReason::PermissionDenied => IoErrorKind::PermissionDenied,
            OpenErrorReason::ReadOnlyFileSystem => IoErrorKind::ReadOnly,
            OpenErrorReason::InUse(_) => IoErrorKind::InUse,
            OpenErrorReason::LocksUnsupported => IoErrorKind::Unsupported,
            OpenErrorReason::StorageFull => IoErrorKind::StorageFull,
            OpenErrorReason::TooManyOpenFiles => IoErrorKind::Other,
            OpenErrorReason::Failed(error) => return error,
        })
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: ", self.path.display())?;
        match self.reason {
            OpenErrorReason::NotFound => {
                out.write_str("not found; check the path, or create the database first")
            }
            OpenErrorReason::NotADirectory => out.write_str(
                "not a directory; a database is a directory, give the path of one",
            ),
            OpenErrorReason::NotAFile => out.write_str(
                "not a plain file; this name belongs to the database, move away what stands there",
            ),
            OpenErrorReason::PermissionDenied => out.write_str(
                "permission denied; run as the user that owns the database, or give this user access to it",
            ),
            OpenErrorReason::ReadOnlyFileSystem => out.write_str(
                "on a read-only file system; remount it writable, or open the database read-only",
            ),
            OpenErrorReason::InUse(LockHolder::Writer { pid: Some(pid) }) => write!(
                out,
                "in use: process {pid} has the database open for writing; stop it first, or work through it"
            ),
            OpenErrorReason::InUse(LockHolder::Writer { pid: None }) => out.write_str(
                "in use: another process has the database open for writing; stop it first, or work through it",
            ),
            OpenErrorReason::InUse(LockHolder::Readers) => out.write_str(
                "in use: the database is open read-only elsewhere; close it there before opening it for writing",
            ),
            OpenErrorReason::LocksUnsupported => out.write_str(
                "the file system supports no locks; move the database to one that does, such as a local disk",
            ),
            OpenErrorReason::StorageFull => {
                out.write_str("no space left on the device; free some on this file system")
            }
            OpenErrorReason::TooManyOpenFiles => out.write_str(
                "too many open files; raise the limit (ulimit -n, or LimitNOFILE= of the service)",
            ),
            OpenErrorReason::Failed(error) => out.write_str(&io_error_text(error)),
        }
    }
}

impl std::error::Error for OpenError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errno_kinds_keep_the_code() {
        for (errno, kind) in [
            (Errno::NOSPC, IoErrorKind::StorageFull),
            (Errno::DQUOT, IoErrorKind::StorageFull),
            (Errno::IO, IoErrorKind::Device),
            (Errno::ROFS, IoErrorKind::ReadOnly),
            (Errno::PERM, IoErrorKind::PermissionDenied),
            (Errno::OPNOTSUPP, IoErrorKind::Unsupported),
            (Errno::MFILE, IoErrorKind::Other),
        ] {
            let error = io_error(errno);
            assert_eq!(error.kind, kind);
            assert_eq!(error.code, errno.raw_os_error());
        }
    }

    #[test]
    fn text_names_kind_and_system_message() {
        let text = io_error_text(io_error(Errno::NOSPC));
        assert!(text.starts_with("no space left on the device: No space left"));
        assert!(text.contains("28"));
        assert_eq!(
            io_error_text(IoError::of(IoErrorKind::UnexpectedEnd)),
            "ends before the requested range"
        );
    }

    #[test]
    fn display_names_path_pid_and_next_step() {
        let reason = OpenErrorReason::InUse(LockHolder::Writer { pid: Some(42) });
        let text = OpenError::new(Path::new("/data/a"), reason).to_string();
        assert!(text.starts_with("/data/a: in use"));
        assert!(text.contains("process 42"));
        assert!(text.contains("stop it"));
    }
}
