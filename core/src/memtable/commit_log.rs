//! Walking the published commits in append order, for the log writer and the
//! change feed. No lock: what is published doesn't change.

use super::arena::{CommitHead, Position, Walk, WalkEntries};
use super::entry::{Entry, Record};

/// The commits that were published from a position on, when the walk began.
#[derive(Clone, Copy)]
pub struct Commits<'a> {
    pub(super) walk: Walk<'a>,
}

impl Commits<'_> {
    /// The position before the next commit.
    #[must_use]
    pub fn position(&self) -> Position {
        self.walk.position()
    }
}

impl<'a> Iterator for Commits<'a> {
    type Item = CommitView<'a>;

    fn next(&mut self) -> Option<CommitView<'a>> {
        let (head, record_count, entries) = self.walk.advance()?;
        Some(CommitView {
            head,
            record_count,
            entries,
        })
    }
}

/// One published commit.
#[derive(Clone, Copy)]
pub struct CommitView<'a> {
    head: CommitHead,
    record_count: u32,
    entries: WalkEntries<'a>,
}

impl<'a> CommitView<'a> {
    /// Sequence, wall time and origin.
    #[must_use]
    pub fn head(&self) -> CommitHead {
        self.head
    }

    /// The number of records.
    #[must_use]
    pub fn record_count(&self) -> u32 {
        self.record_count
    }

    /// The records as they were inserted: range deletes, then the others in
    /// ascending order of table and key.
    pub fn records(&self) -> impl Iterator<Item = Record<'a>> + Clone + use<'a> {
        self.entries.map(|node| Entry { node }.record())
    }
}
