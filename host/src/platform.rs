//! The operating system, chosen here and nowhere else in this crate.
//!
//! Every system offers the same three things: a data directory as a
//! [`Platform`], the paths of its files, and fresh randomness. A system without
//! a host crate refuses at open.

use crate::error::{Error, Reason, Result};
use lightning_platform::{File, IoErrorKind, Platform};
use std::path::{Path, PathBuf};

/// What to do with a data directory when opening it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Make what is missing, then as `ReadWrite`.
    Create,
    /// Open as the one owner.
    ReadWrite,
    /// Open beside other readers, and change nothing.
    ReadOnly,
}

/// The path of one of the engine's files.
pub(crate) fn file_path(directory: &Path, file: File) -> PathBuf {
    match file {
        File::Pages => directory.join("pages.ldb"),
        File::Log(slot) => directory.join("wal").join(format!("{slot:08}.wal")),
    }
}

/// Fresh randomness: identities of a new database, salts.
pub(crate) fn entropy() -> Result<[u8; 48]> {
    let mut bytes = [0; 48];
    getrandom::fill(&mut bytes).map_err(|_| Error::new(Reason::NoEntropy))?;
    Ok(bytes)
}

fn open_error(kind: IoErrorKind, message: String) -> Error {
    Error::new(Reason::Open { kind, message })
}

/// Opens and locks the data directory `path`.
#[cfg(target_os = "linux")]
pub(crate) fn open(path: &Path, access: Access) -> Result<Platform> {
    use lightning_host_linux::{LinuxMemory, LinuxStorage, LinuxWait, OpenMode};
    use std::sync::Arc;

    let mode = match access {
        Access::Create => OpenMode::Create,
        Access::ReadWrite => OpenMode::ReadWrite,
        Access::ReadOnly => OpenMode::ReadOnly,
    };
    let storage = LinuxStorage::open(path, mode)
        .map_err(|error| open_error(error.io_error().kind, error.to_string()))?;
    Ok(Platform {
        storage: Arc::new(storage),
        memory: Arc::new(LinuxMemory::new()),
        wait: Arc::new(LinuxWait),
        codec: None,
        cipher: None,
    })
}

/// Opens and locks the data directory `path`.
#[cfg(not(target_os = "linux"))]
pub(crate) fn open(path: &Path, _access: Access) -> Result<Platform> {
    Err(open_error(
        IoErrorKind::Unsupported,
        format!(
            "{}: this system is not supported yet; Linux is",
            path.display()
        ),
    ))
}
