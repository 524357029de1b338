//! The one error type of platform calls: a kind to branch on, a number to report.

use core::fmt;

/// Why a platform call failed, as far as the engine tells failures apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IoErrorKind {
    /// The file, or the directory it should be in, does not exist.
    NotFound,
    /// The operating system refused access.
    PermissionDenied,
    /// The file exists already.
    AlreadyExists,
    /// Another process, or this one, holds the lock.
    InUse,
    /// No space left on the device, or a quota is used up.
    StorageFull,
    /// The medium, or the way it was opened, is read-only.
    ReadOnly,
    /// The read range ends past the end of the file.
    UnexpectedEnd,
    /// The platform cannot do what was asked, and declares so in its geometry.
    Unsupported,
    /// The platform found an argument that breaks the contract.
    InvalidInput,
    /// The host has no memory left for the call.
    OutOfMemory,
    /// The device reported a failure (`EIO` and its like).
    Device,
    /// Anything else; the code tells.
    Other,
}

/// A failed platform call: a closed kind and the platform's own number.
///
/// `Copy`, without text and without allocation, so that the core can carry it
/// through every path. The host turns `code` into words when it prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IoError {
    /// The reason, in the engine's terms.
    pub kind: IoErrorKind,
    /// The platform's own error number (`errno`, `GetLastError`), or 0.
    pub code: i32,
}

impl IoError {
    /// An error of `kind` with the platform's own number.
    #[must_use]
    pub const fn new(kind: IoErrorKind, code: i32) -> Self {
        Self { kind, code }
    }

    /// An error that no system call stands behind.
    #[must_use]
    pub const fn of(kind: IoErrorKind) -> Self {
        Self { kind, code: 0 }
    }
}

impl fmt::Display for IoErrorKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::NotFound => "not found",
            Self::PermissionDenied => "permission denied",
            Self::AlreadyExists => "already exists",
            Self::InUse => "in use by another process or handle",
            Self::StorageFull => "no space left on the device",
            Self::ReadOnly => "read-only",
            Self::UnexpectedEnd => "ends before the requested range",
            Self::Unsupported => "not supported by this platform",
            Self::InvalidInput => "invalid argument",
            Self::OutOfMemory => "out of memory",
            Self::Device => "device failure",
            Self::Other => "failure",
        })
    }
}

impl fmt::Display for IoError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.code == 0 {
            write!(out, "{}", self.kind)
        } else {
            write!(out, "{} (code {})", self.kind, self.code)
        }
    }
}

impl core::error::Error for IoError {}
