//! What entries look like as text.
//!
//! Keys and values are bytes; every form here gives them back unchanged. A
//! reader holds one record at a time and refuses what is malformed with the
//! number of the line; a writer puts out what its reader takes.

pub mod csv;
pub mod hex;
pub mod json_lines;
mod lines;
pub mod mdb;
pub mod text;

use std::fmt;
use std::io;

/// One entry on its way in or out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// The key.
    pub key: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
    /// When the entry expires, in milliseconds since 1970.
    pub expiry_ms: Option<u64>,
    /// The metadata byte.
    pub metadata: Option<u8>,
}

/// One entry, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordRef<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The value.
    pub value: &'a [u8],
    /// When the entry expires, in milliseconds since 1970.
    pub expiry_ms: Option<u64>,
    /// The metadata byte.
    pub metadata: Option<u8>,
}

impl Record {
    /// The same entry, borrowed.
    #[must_use]
    pub fn borrow(&self) -> RecordRef<'_> {
        RecordRef {
            key: &self.key,
            value: &self.value,
            expiry_ms: self.expiry_ms,
            metadata: self.metadata,
        }
    }
}

/// Why an input can't be read on.
#[derive(Debug)]
pub enum FormatError {
    /// The input itself failed.
    Io(io::Error),
    /// A line is not what the form demands.
    Malformed {
        /// Which line, counted from 1.
        line: u64,
        /// What is wrong, and what to do where that isn't obvious.
        message: String,
    },
}

impl FormatError {
    pub(crate) fn malformed(line: u64, message: impl Into<String>) -> Self {
        Self::Malformed {
            line,
            message: message.into(),
        }
    }
}

impl From<io::Error> for FormatError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for FormatError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(out, "{error}"),
            Self::Malformed { line, message } => write!(out, "line {line}: {message}"),
        }
    }
}

impl std::error::Error for FormatError {}
