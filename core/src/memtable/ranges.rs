//! Range tombstones: a chain through the arena, newest first, apart from the list.
//!
//! They stay few (the memtable refuses more than it was planned for, and the
//! engine rotates), so that a walk over the chain is cheap; without any it is one
//! load. A point entry wins over a range tombstone of the same sequence.

use super::arena::Rung;
use super::entry::Entry;

/// The range tombstones of a memtable, newest first.
#[derive(Clone, Copy)]
pub struct RangeTombstones<'a> {
    pub(super) rung: Option<Rung<'a>>,
}

impl<'a> Iterator for RangeTombstones<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        self.rung = self.rung?.next();
        Some(Entry {
            node: self.rung?.node()?,
        })
    }
}

/// Whether the range tombstone `entry` covers the key.
pub(super) fn covers(entry: &Entry<'_>, table: u32, key: &[u8]) -> bool {
    let to = entry.value();
    entry.table() == table && entry.key() <= key && (to.is_empty() || key < to)
}

/// Whether the range tombstone `entry` covers a key from `from` to the exclusive
/// `to`; an empty `to` is the table's end.
pub(super) fn intersects(entry: &Entry<'_>, table: u32, from: &[u8], to: &[u8]) -> bool {
    let start = entry.key().max(from);
    let ends_after_start = |end: &[u8]| end.is_empty() || start < end;
    entry.table() == table && ends_after_start(entry.value()) && ends_after_start(to)
}
