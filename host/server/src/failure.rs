//! Why a command was not carried out, and what its client is told.
//!
//! Clients branch on the first word of an error, so that it is Redis's own.

use lightning_db::{EngineError, Error, IoErrorKind, Limit, Reason};
use std::borrow::Cow;

/// Why a command was not carried out.
#[derive(Debug)]
pub enum Failure {
    /// What the client is told.
    Reply(Cow<'static, str>),
    /// A page isn't in memory, and the command must not wait here: it is run again
    /// where it may.
    WouldRead,
    /// The database failed or refused.
    Database(Error),
}

impl Failure {
    /// The command's arguments make no sense.
    pub const SYNTAX: Self = Self::Reply(Cow::Borrowed("ERR syntax error"));
    /// An argument or value is no whole number of 64 bits.
    pub const NOT_AN_INTEGER: Self =
        Self::Reply(Cow::Borrowed("ERR value is not an integer or out of range"));
    /// An argument or value is no number.
    pub const NOT_A_FLOAT: Self = Self::Reply(Cow::Borrowed("ERR value is not a valid float"));
    /// A reply that is longer than what may wait for a client.
    pub const LONG_REPLY: Self = Self::Reply(Cow::Borrowed(
        "ERR the reply is longer than what may wait for a client (limits.max_client_output_bytes)",
    ));
    /// There is no database of this number.
    pub const OUT_OF_RANGE_DATABASE: Self =
        Self::Reply(Cow::Borrowed("ERR DB index is out of range"));
    /// The key holds another type of value.
    pub const WRONG_TYPE: Self = Self::Reply(Cow::Borrowed(
        "WRONGTYPE Operation against a key holding the wrong kind of value",
    ));
    /// A value would be too long.
    pub const TOO_LONG: Self = Self::Reply(Cow::Borrowed(
        "ERR string exceeds maximum allowed size (proto-max-bulk-len)",
    ));

    /// An error with a text made for it.
    #[must_use]
    pub fn reply(message: impl Into<Cow<'static, str>>) -> Self {
        Self::Reply(message.into())
    }

    /// What the client is told.
    #[must_use]
    pub fn message(&self) -> Cow<'_, str> {
        match self {
            Self::Reply(message) => Cow::Borrowed(message),
            Self::WouldRead => Cow::Borrowed("ERR the page is not in memory"),
            Self::Database(error) => Cow::Owned(format!("{} {error}", prefix(error))),
        }
    }

    /// What the log is told: the same without keys, which are not its business.
    #[must_use]
    pub fn log_words(&self) -> Cow<'_, str> {
        if let Self::Database(error) = self {
            match error.reason() {
                Reason::Engine(EngineError::Conflict { table, .. }) => {
                    return Cow::Owned(format!(
                        "another transaction changed a key of table {table} first"
                    ));
                }
                Reason::Engine(EngineError::NotAscending { .. }) => {
                    return Cow::Borrowed("keys were not given in ascending order");
                }
                _ => {}
            }
        }
        self.message()
    }

    /// Whether the database itself failed, as opposed to refusing what was asked for.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Reply(_) | Self::WouldRead => FailureKind::Refused,
            Self::Database(error) => match error.reason() {
                Reason::Engine(EngineError::Corruption { .. }) => FailureKind::Corruption,
                Reason::Engine(EngineError::Conflict { .. } | EngineError::TransactionTooOld) => {
                    FailureKind::Transaction
                }
                Reason::Engine(EngineError::OverLimit { .. }) => FailureKind::Refused,
                _ => FailureKind::Io,
            },
        }
    }
}

/// What an error counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// What was asked for can't be done; nothing failed.
    Refused,
    /// The device or the system failed, or is full.
    Io,
    /// Stored bytes are damaged.
    Corruption,
    /// A transaction was in another's way.
    Transaction,
}

/// The first word of the reply for an error of the database.
fn prefix(error: &Error) -> &'static str {
    match error.reason() {
        Reason::Engine(engine) => match engine {
            EngineError::Poisoned
            | EngineError::OutcomeUnknown
            | EngineError::StorageFull
            | EngineError::ReadOnly
            | EngineError::FrontFull
            | EngineError::LogFull => "MISCONF",
            EngineError::Io { error, .. } if error.kind == IoErrorKind::StorageFull => "MISCONF",
            EngineError::OutOfMemory { .. } => "OOM",
            EngineError::OverLimit {
                limit: Limit::TransactionBytes,
                ..
            } => "OOM",
            _ => "ERR",
        },
        _ => "ERR",
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        if error.would_read() {
            Self::WouldRead
        } else {
            Self::Database(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lightning_db::Database;

    #[test]
    fn the_log_is_told_no_keys() {
        let directory = crate::test_directory::TestDirectory::new("failure");
        let database = Database::open(directory.path()).unwrap();
        let table = database.table("default").unwrap();
        let mut first = database.begin_write().unwrap();
        first.put(&table, b"secret", b"1").unwrap();
        database.put(&table, b"secret", b"2").unwrap();
        let failure = Failure::from(first.commit().unwrap_err());
        assert_eq!(failure.kind(), FailureKind::Transaction);
        assert!(failure.message().contains("secret"));
        let words = failure.log_words();
        assert!(words.starts_with("another transaction changed a key of table "));
    }
}
