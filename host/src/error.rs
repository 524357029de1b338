//! Why a call failed: the engine's reasons and the host's, with the path at fault.

use lightning_core::error::Error as EngineError;
use lightning_platform::IoErrorKind;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The result of a call to the library.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a call failed.
///
/// Its `Display` says what was wrong, where, and what to do next; its
/// [`code`](Self::code) is stable over versions.
///
/// ```
/// use lightning_db::{Database, Reason};
///
/// let error = Database::open_read_only("no/such/directory").unwrap_err();
/// assert_eq!(error.code(), 103);
/// assert!(matches!(error.reason(), Reason::Open { .. }));
/// assert!(error.to_string().starts_with("no/such/directory: not found"));
/// ```
#[derive(Debug, Clone)]
pub struct Error {
    reason: Reason,
    path: Option<Arc<Path>>,
    cause: Option<Arc<Error>>,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The engine refused or failed. The way to most: conflicts, limits, damage.
    Engine(EngineError),
    /// The data directory did not open.
    Open {
        /// The kind of failure, to branch on.
        kind: IoErrorKind,
        /// What happened, and what to do next.
        message: String,
    },
    /// Stored bytes are not what the type of a [`TypedTable`](crate::TypedTable) encodes.
    Encoding {
        /// The table's name.
        table: String,
        /// Whether it was a key or a value.
        part: EncodedPart,
    },
    /// A table's handle was used on another database than the one it came from.
    OtherDatabase {
        /// The table's name.
        table: String,
    },
    /// The database can't be closed while transactions, tickets or clones of it are held.
    StillInUse,
    /// The system gave no thread for the background work.
    NoThread,
    /// The system gave no randomness.
    NoEntropy,
    /// What a large value is read from failed.
    Source {
        /// The kind of failure, to branch on.
        kind: std::io::ErrorKind,
        /// What it said.
        message: String,
    },
}

/// Which part of an entry was not what a type encodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EncodedPart {
    /// The key.
    Key,
    /// The value.
    Value,
}

impl Error {
    pub(crate) fn new(reason: Reason) -> Self {
        Self {
            reason,
            path: None,
            cause: None,
        }
    }

    /// An error of the engine of the database in `directory`.
    pub(crate) fn engine(error: EngineError, directory: &Path) -> Self {
        let path: PathBuf = match error {
            EngineError::Io { file, .. } | EngineError::Corruption { file, .. } => {
                crate::platform::file_path(directory, file)
            }
            _ => directory.to_path_buf(),
        };
        Self {
            reason: Reason::Engine(error),
            path: Some(path.into()),
            cause: None,
        }
    }

    pub(crate) fn caused_by(mut self, cause: Option<Arc<Error>>) -> Self {
        self.cause = cause;
        self
    }

    /// What went wrong.
    #[must_use]
    pub fn reason(&self) -> &Reason {
        &self.reason
    }

    /// The file or directory at fault, where there is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The stable number of this reason. Those below 700 and from 900 on are the
    /// engine's ([`lightning_core::error::Error::code`]).
    #[must_use]
    pub fn code(&self) -> u16 {
        match &self.reason {
            Reason::Engine(error) => error.code(),
            Reason::Open { kind, .. } => match kind {
                IoErrorKind::StorageFull => 101,
                IoErrorKind::PermissionDenied => 102,
                IoErrorKind::NotFound => 103,
                IoErrorKind::InUse => 104,
                IoErrorKind::ReadOnly => 105,
                _ => 100,
            },
            Reason::Encoding { .. } => 700,
            Reason::OtherDatabase { .. } => 701,
            Reason::StillInUse => 702,
            Reason::NoThread => 703,
            Reason::NoEntropy => 704,
            Reason::Source { .. } => 705,
        }
    }

    /// Whether the same call, or the same transaction from its start, may succeed
    /// later without anybody mending anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(&self.reason, Reason::Engine(error) if error.is_retryable())
    }

    /// Whether there is no database, so that one could be created.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        match &self.reason {
            Reason::Engine(error) => *error == EngineError::NotADatabase,
            Reason::Open { kind, .. } => *kind == IoErrorKind::NotFound,
            _ => false,
        }
    }

    /// Whether a call that was not to wait for the device would have to: see
    /// [`ReadTransaction::open_in_memory`](crate::ReadTransaction::open_in_memory).
    #[must_use]
    pub fn would_read(&self) -> bool {
        self.reason == Reason::Engine(EngineError::WouldRead)
    }

    /// Whether another transaction was first: run this one again from its start.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(
            &self.reason,
            Reason::Engine(EngineError::Conflict { .. } | EngineError::TransactionTooOld)
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.path {
            write!(out, "{}: ", path.display())?;
        }
        match &self.reason {
            Reason::Engine(error) => write_engine(out, error)?,
            Reason::Open { message, .. } => out.write_str(message)?,
            Reason::Encoding { table, part } => write!(
                out,
                "a {part} in table \"{table}\" is not what the table's type encodes; open the table with the type that it was written with"
            )?,
            Reason::OtherDatabase { table } => write!(
                out,
                "the handle of table \"{table}\" belongs to another database; get it from this one"
            )?,
            Reason::StillInUse => out.write_str(
                "transactions, tickets or clones of the database are still held; drop them before closing it",
            )?,
            Reason::NoThread => out.write_str(
                "the system gave no thread for background work; raise the limit of processes (ulimit -u, or TasksMax= of the service)",
            )?,
            Reason::NoEntropy => out.write_str("the system gave no random numbers")?,
            Reason::Source { message, .. } => {
                write!(out, "what the value is read from failed: {message}")?;
            }
        }
        match &self.cause {
            Some(cause) => write!(out, " (first failure: {cause})"),
            None => Ok(()),
        }
    }
}

fn write_engine(out: &mut fmt::Formatter<'_>, error: &EngineError) -> fmt::Result {
    write!(out, "{error}")?;
    match error {
        EngineError::Io { error, .. } if error.code != 0 => {
            let system = std::io::Error::from_raw_os_error(error.code);
            write!(out, ": {system}")
        }
        _ => Ok(()),
    }
}

impl fmt::Display for EncodedPart {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Key => "key",
            Self::Value => "value",
        })
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.cause {
            Some(cause) => Some(&**cause),
            None => None,
        }
    }
}
