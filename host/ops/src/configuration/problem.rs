//! What can be wrong with a configuration, and how it is told.
//!
//! Each message names the place and the way out. Loading collects all problems of
//! a configuration, in the order of the file, then of the environment and the
//! command line, then those between settings.

use super::nearest::Suggestion;
use super::origin::Origin;
use std::fmt;
use std::path::PathBuf;

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The file can't be read.
    #[error("{path}: cannot be read: {reason}", path = .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Whether it is not there.
        is_absent: bool,
        /// What the system says.
        reason: String,
    },
    /// The file is no TOML.
    #[error("{path} line {line}, column {column}: {message}", path = .path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column in characters, from 1.
        column: usize,
        /// What is wrong there.
        message: String,
    },
    /// A section that nobody knows.
    #[error("{origin}: there is no section [{section}]{suggestion}")]
    UnknownSection {
        /// Where.
        origin: Origin,
        /// The section.
        section: String,
        /// What may be meant.
        suggestion: Suggestion,
    },
    /// A section that a later version will have.
    #[error(
        "{origin}: [{section}] is not supported by this version: it has no {purpose}; \
         take the section out to start without"
    )]
    UnsupportedSection {
        /// Where.
        origin: Origin,
        /// The section.
        section: String,
        /// What it is for.
        purpose: &'static str,
    },
    /// A section's name with something else than a section behind it.
    #[error("{origin}: {name} is a section: write [{name}] on a line and its settings below")]
    NoSection {
        /// Where.
        origin: Origin,
        /// The name.
        name: String,
    },
    /// A key that nobody knows.
    #[error("{origin}: there is no setting {key}{suggestion}")]
    UnknownKey {
        /// Where.
        origin: Origin,
        /// The key as it is written, with its section.
        key: String,
        /// What may be meant.
        suggestion: Suggestion,
    },
    /// A key without its section, which several have.
    #[error("{origin}: {key} stands for more than one setting: write {choices}")]
    AmbiguousKey {
        /// Where.
        origin: Origin,
        /// The key.
        key: String,
        /// The full names, with `or` between.
        choices: String,
    },
    /// A value of another type.
    #[error("{origin}: {key} is {found}; it takes {expected}")]
    WrongType {
        /// Where.
        origin: Origin,
        /// The key.
        key: String,
        /// What is there, in words.
        found: String,
        /// What it takes, in words.
        expected: String,
    },
    /// A value out of range.
    #[error("{origin}: {key} = {found} is out of range; it takes {range}")]
    OutOfRange {
        /// Where.
        origin: Origin,
        /// The key.
        key: String,
        /// The value.
        found: String,
        /// The range, with its unit.
        range: String,
    },
    /// A client changes a setting that counts from the start.
    #[error("{origin}: {key} can't be changed while the service runs: a change {effect}")]
    NotLive {
        /// Where.
        origin: Origin,
        /// The setting.
        key: String,
        /// When a change counts, in words.
        effect: &'static str,
    },
    /// A setting that stands twice, differently.
    #[error(
        "{key} has two values: {first_value} ({first}) and {second_value} ({second}); \
         take one of them out"
    )]
    Differ {
        /// The setting.
        key: String,
        /// Where it stands first.
        first: Origin,
        /// Its value there.
        first_value: String,
        /// Where it stands, too.
        second: Origin,
        /// Its value there.
        second_value: String,
    },
    /// The parts of the memory are larger than the whole.
    #[error(
        "{cache} and {memtables} write buffers of {memtable} need {needed_mb} MiB, more than \
         {limit}: lower one of the former, or raise the latter"
    )]
    Memory {
        /// The cache's setting, value and origin.
        cache: Assignment,
        /// How many write buffers there are.
        memtables: u32,
        /// The write buffer's.
        memtable: Assignment,
        /// The limit's.
        limit: Assignment,
        /// What the parts need, in MiB.
        needed_mb: u64,
    },
    /// Two services want one port.
    #[error("{first} and {second} are the same port: change one of them")]
    PortsCollide {
        /// One of them.
        first: Assignment,
        /// The other.
        second: Assignment,
    },
    /// Other machines could come in without a password.
    #[error(
        "{bind}: other machines reach {address}, and nobody has to log in: set \
         security.password_file or security.acl_file, or write \
         security.allow_unauthenticated = true"
    )]
    Unauthenticated {
        /// The addresses.
        bind: Assignment,
        /// The address that others reach.
        address: std::net::IpAddr,
    },
    /// A password beside a file of users, which has passwords of its own.
    #[error("{password} and {users} don't go together: the file of users has their passwords")]
    PasswordAndUsers {
        /// The file of the password.
        password: Assignment,
        /// The file of the users.
        users: Assignment,
    },
    /// Of certificate and key one is missing.
    #[error("{given} needs {missing}, too: the certificate and its private key go together")]
    TlsIncomplete {
        /// The one that is there.
        given: Assignment,
        /// The other's key.
        missing: &'static str,
    },
    /// A port for TLS without a certificate.
    #[error("{port} needs a certificate: set security.tls_cert_file and security.tls_key_file")]
    TlsWithoutCertificate {
        /// The port.
        port: Assignment,
    },
    /// The path of a socket is longer than the system takes.
    #[error(
        "{socket}: the path is {bytes} bytes long, and a socket's takes at most {bytes_max}: set \
         admin.socket to a shorter one"
    )]
    SocketPath {
        /// The path.
        socket: Assignment,
        /// Its length.
        bytes: usize,
        /// The longest.
        bytes_max: usize,
    },
    /// Nothing says where the data is.
    #[error(
        "there is no place for the data: set database.path, or LIGHTNING_DB_PATH, or HOME for \
         the default place"
    )]
    NoDataPath,
}

impl Problem {
    /// Where it is, if it is in one place of a file: the line, from 1.
    #[must_use]
    pub fn line(&self) -> Option<usize> {
        let origin = match self {
            Self::Syntax { line, .. } => return Some(*line),
            Self::UnknownSection { origin, .. }
            | Self::UnsupportedSection { origin, .. }
            | Self::NoSection { origin, .. }
            | Self::UnknownKey { origin, .. }
            | Self::AmbiguousKey { origin, .. }
            | Self::WrongType { origin, .. }
            | Self::OutOfRange { origin, .. }
            | Self::NotLive { origin, .. } => origin,
            Self::Differ { second, .. } => second,
            Self::Memory { limit: at, .. }
            | Self::PortsCollide { second: at, .. }
            | Self::Unauthenticated { bind: at, .. }
            | Self::PasswordAndUsers { users: at, .. }
            | Self::TlsIncomplete { given: at, .. }
            | Self::TlsWithoutCertificate { port: at }
            | Self::SocketPath { socket: at, .. } => &at.origin,
            Self::Unreadable { .. } | Self::NoDataPath => return None,
        };
        match origin {
            Origin::File { line, .. } => Some(*line),
            _ => None,
        }
    }
}

/// A setting's key with its value and where that comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The full name.
    pub key: String,
    /// The value, as it stands in a file.
    pub value: String,
    /// Where it comes from.
    pub origin: Origin,
}

impl fmt::Display for Assignment {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} = {} ({})", self.key, self.value, self.origin)
    }
}

/// Everything that is wrong with a configuration, at least one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigurationErrors {
    problems: Vec<Problem>,
}

impl ConfigurationErrors {
    /// The errors, or nothing where there are none.
    pub(super) fn collect(problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Self { problems })
        }
    }

    /// What is wrong, in order.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    /// Whether all there is to say is that the file is not there or can't be read.
    #[must_use]
    pub fn is_unreadable(&self) -> bool {
        matches!(self.problems.as_slice(), [Problem::Unreadable { .. }])
    }
}

impl From<Problem> for ConfigurationErrors {
    fn from(problem: Problem) -> Self {
        Self {
            problems: vec![problem],
        }
    }
}

/// A problem on each line.
impl fmt::Display for ConfigurationErrors {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                out.write_str("\n")?;
            }
            write!(out, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigurationErrors {}

/// Something odd that doesn't keep the service from starting.
///
/// A variable that nobody knows is one: other programs' variables begin with the
/// same letters (Kubernetes sets `LIGHTNING_DB_SERVICE_HOST` and more in every pod
/// beside a service named `lightning-db`), and a service that doesn't start because
/// of them would be worse than one that says what it doesn't heed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Warning {
    /// A variable that belongs to no setting.
    #[error("environment {name}: there is no such setting, it is not heeded{suggestion}")]
    UnknownVariable {
        /// The variable.
        name: String,
        /// What may be meant.
        suggestion: Suggestion,
    },
}
