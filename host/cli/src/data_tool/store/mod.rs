//! What the commands work on: a directory, or the database of a running service.
//!
//! Writes are collected until they are committed: in a directory by a transaction,
//! which reads see at once; on a service by a pipeline, which reads don't see. One of
//! either is limited in size, and says so by [`Taken::Full`].

mod directory;
mod service;

use crate::failure::Failure;
use crate::formats::mdb::Header;
use crate::formats::{Record, RecordRef};
pub(crate) use directory::Directory;
use lightning_db::Database;
pub(crate) use service::{Service, table_of};
use std::ops::{Bound, ControlFlow};

/// Whether a write was taken into those that are collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It was.
    Yes,
    /// There is no more room: commit first, then give it again.
    Full,
}

/// Which entries, and in which order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selection {
    from: Option<Vec<u8>>,
    /// Excluded.
    to: Option<Vec<u8>>,
    pub(crate) limit: Option<u64>,
    pub(crate) reverse: bool,
}

impl Selection {
    /// The entries from one key to before another one.
    pub(crate) fn between(from: Option<Vec<u8>>, to: Option<Vec<u8>>) -> Self {
        Self {
            from,
            to,
            ..Self::default()
        }
    }

    /// The entries whose keys begin so.
    pub(crate) fn with_prefix(prefix: Vec<u8>) -> Self {
        let to = end_of_prefix(&prefix);
        Self::between(Some(prefix), to)
    }

    /// The bounds of the keys.
    fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (
            self.from
                .as_deref()
                .map_or(Bound::Unbounded, Bound::Included),
            self.to.as_deref().map_or(Bound::Unbounded, Bound::Excluded),
        )
    }

    /// Whether no key can be in it.
    fn is_empty(&self) -> bool {
        self.limit == Some(0)
            || matches!((&self.from, &self.to), (Some(from), Some(to)) if from >= to)
    }
}

/// The first key behind all that begin with `prefix`; `None` where there is none.
fn end_of_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

/// What is done with each entry; entries after a `Break` are not read.
pub(crate) type Visit<'v> = dyn FnMut(RecordRef<'_>) -> ControlFlow<()> + 'v;

/// Tables of entries.
pub(crate) trait Store {
    /// What it is, for messages: a path or a URL.
    fn name(&self) -> String;

    /// The tables' names, in order.
    fn tables(&mut self) -> Result<Vec<String>, Failure>;

    /// The entry of `key`. A table that is not there is a finding, here and below.
    fn get(&mut self, table: &str, key: &[u8]) -> Result<Option<Record>, Failure>;

    /// Gives the entries of `selection` to `visit`.
    fn scan(
        &mut self,
        table: &str,
        selection: &Selection,
        visit: &mut Visit<'_>,
    ) -> Result<(), Failure>;

    /// The keys that begin with `prefix`, `limit` at most.
    fn keys(&mut self, table: &str, prefix: &[u8], limit: u64) -> Result<Vec<Vec<u8>>, Failure>;

    /// How many entries the table has.
    fn count(&mut self, table: &str) -> Result<u64, Failure>;

    /// The same, perhaps not exactly, at less cost.
    fn count_estimate(&mut self, table: &str) -> Result<u64, Failure>;

    /// Has the table made where there is none.
    fn make_table(&mut self, table: &str) -> Result<(), Failure>;

    /// Takes an entry to be stored, into a table that is made where there is none.
    fn put(&mut self, table: &str, record: RecordRef<'_>) -> Result<Taken, Failure>;

    /// Takes out an entry; whether it was there.
    fn delete(&mut self, table: &str, key: &[u8]) -> Result<bool, Failure>;

    /// Lets an entry expire at this time, or not any more; whether it was there.
    fn expire(&mut self, table: &str, key: &[u8], expiry_ms: Option<u64>) -> Result<bool, Failure>;

    /// Makes durable, together, what was taken; where a service does less than that,
    /// [`warning`](Self::warning) says so.
    fn commit(&mut self) -> Result<(), Failure>;

    /// Forgets what was taken.
    fn rollback(&mut self);

    /// Whether reads see what was taken and not committed.
    fn has_transactions(&self) -> bool;

    /// What whoever writes should know.
    fn warning(&mut self) -> Result<Option<String>, Failure>;

    /// Keeps the header of a table that came from LMDB, where there is a place for it.
    fn keep_header(&mut self, table: &str, header: &Header) -> Result<(), Failure>;

    /// The header that was kept.
    fn kept_header(&mut self, table: &str) -> Result<Option<Header>, Failure>;

    /// Whether entries keep their metadata bytes.
    fn has_metadata(&self) -> bool;

    /// The database of a directory.
    fn database(&self) -> Option<&Database>;

    /// The service, where it is one.
    fn service(&mut self) -> Option<&mut Service>;

    /// Ends with the work.
    fn close(self: Box<Self>) -> Result<(), Failure>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_end_behind_their_last_key() {
        assert_eq!(end_of_prefix(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(end_of_prefix(b"a\xff\xff"), Some(b"b".to_vec()));
        assert_eq!(end_of_prefix(b"\xff"), None);
        assert_eq!(end_of_prefix(b""), None);
        let selection = Selection::with_prefix(b"a".to_vec());
        let expected = (Bound::Included(&b"a"[..]), Bound::Excluded(&b"b"[..]));
        assert_eq!(selection.bounds(), expected);
    }
}
