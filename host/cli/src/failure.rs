//! Why a command failed, and which exit code says so.

use lightning_db::{EngineError, Error, IoErrorKind, Reason};
use std::fmt;
use std::io;
use std::path::Path;
use std::process::ExitCode;

/// The exit codes of all programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All is well.
    Fine,
    /// A warning or a finding: what was asked for is not there.
    Finding,
    /// It failed, or what was found is critical.
    Failed,
    /// The directory or service could not be reached.
    Unreachable,
    /// The command line is wrong.
    Usage,
}

impl Exit {
    /// The number that the shell sees.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Fine => 0,
            Self::Finding => 1,
            Self::Failed => 2,
            Self::Unreachable => 3,
            Self::Usage => 64,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.number())
    }
}

/// A failed command: what to tell, and how to exit.
#[derive(Debug)]
pub struct Failure {
    /// How to exit.
    pub exit: Exit,
    /// What was wrong, where, and what to do next. `None`: nothing is told, since
    /// who read the output has left.
    pub message: Option<String>,
}

impl Failure {
    /// A failure that exits as `exit`.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: Some(message.into()),
        }
    }

    /// A command line that can't be followed.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// A failure of the database.
    #[must_use]
    pub fn database(error: &Error) -> Self {
        let exit = match error.reason() {
            Reason::Open {
                kind:
                    IoErrorKind::NotFound
                    | IoErrorKind::PermissionDenied
                    | IoErrorKind::InUse
                    | IoErrorKind::InvalidInput,
                ..
            }
            | Reason::Engine(EngineError::NotADatabase) => Exit::Unreachable,
            _ => Exit::Failed,
        };
        Self::new(exit, error.to_string())
    }

    /// A failure of standard output.
    #[must_use]
    pub fn output(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self {
                exit: Exit::Fine,
                message: None,
            };
        }
        Self::new(Exit::Failed, format!("standard output: {error}"))
    }

    /// A failure of the file `path`.
    #[must_use]
    pub fn file(path: &Path, error: &io::Error) -> Self {
        Self::new(Exit::Failed, format!("{}: {error}", path.display()))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::database(&error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.message.as_deref().unwrap_or_default())
    }
}

impl std::error::Error for Failure {}
