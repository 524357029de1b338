//! A cursor over all versions in list order: plain numbers, without a borrow.
//!
//! A cursor stands at an entry, or nowhere: new, moved past either end, used with
//! another memtable than the one it was positioned on, or after a reset of that.
//! Then it shows nothing, and `next` and `prev` leave it there. Range tombstones
//! are not in the list. Entries inserted while a cursor moves may or may not be
//! met; those of commits that the caller knows of are.

use super::Memtable;
use super::arena::{Mark, Node};
use super::entry::Entry;
use super::list::{self, Search, Target};

/// See the module. The moves answer whether the cursor stands at an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor {
    mark: Mark,
}

/// A key to search for in several memtables.
#[derive(Clone, Copy)]
pub struct SoughtKey<'k> {
    table: u32,
    key: &'k [u8],
}

impl<'k> SoughtKey<'k> {
    /// The first key of a table at or after `key`.
    #[must_use]
    pub fn new(table: u32, key: &'k [u8]) -> Self {
        Self { table, key }
    }
}

/// A search in one memtable, of several that take turns: a step asks for the memory that
/// the next one needs, which comes while the others take theirs.
#[derive(Clone, Copy)]
pub struct KeySearch<'a> {
    search: Search<'a>,
    /// The key's rank there: each memtable has ranks of its own.
    rank: u32,
}

impl<'a> KeySearch<'a> {
    /// A search at its beginning.
    #[must_use]
    pub fn new(memtable: &'a Memtable, key: &SoughtKey<'_>) -> Self {
        let target = memtable.target(key.table, key.key, u64::MAX);
        Self {
            search: Search::new(&memtable.arena, &target),
            rank: target.rank(),
        }
    }

    fn target<'k>(&self, key: &SoughtKey<'k>) -> Target<'k> {
        Target::ranked(self.rank, key.table, key.key, u64::MAX)
    }

    /// A step; `true` at the end, see [`Cursor::seek_found`].
    #[inline]
    pub fn step(&mut self, key: &SoughtKey<'_>) -> bool {
        let target = self.target(key);
        self.search.step(&target)
    }
}

impl Cursor {
    /// A cursor that stands nowhere.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The entry the cursor stands at.
    #[must_use]
    pub fn entry<'a>(&self, memtable: &'a Memtable) -> Option<Entry<'a>> {
        self.node(memtable).map(|node| Entry { node })
    }

    /// Moves to the first entry of all.
    pub fn seek_first(&mut self, memtable: &Memtable) -> bool {
        self.seek(memtable, 0, &[])
    }

    /// Moves to the last entry of all: the oldest version of the last key.
    pub fn seek_last(&mut self, memtable: &Memtable) -> bool {
        self.stand(list::last(memtable.arena.top()))
    }

    /// Moves to the newest version of the first key at or after this one.
    pub fn seek(&mut self, memtable: &Memtable, table: u32, key: &[u8]) -> bool {
        self.seek_version(memtable, table, key, u64::MAX)
    }

    /// Moves to the newest version of this key with at most `sequence`, or else
    /// to the newest version of the first key after it.
    pub fn seek_version(
        &mut self,
        memtable: &Memtable,
        table: u32,
        key: &[u8],
        sequence: u64,
    ) -> bool {
        let target = memtable.target(table, key, sequence);
        self.stand(list::lower_bound(&memtable.arena, &target))
    }

    /// Moves to where a search in steps ended.
    pub fn seek_found(&mut self, search: KeySearch<'_>, key: &SoughtKey<'_>) -> bool {
        self.stand(search.search.found(&search.target(key)))
    }

    /// Moves to the oldest version of the last key before this one, which may be
    /// of an earlier table.
    pub fn seek_before(&mut self, memtable: &Memtable, table: u32, key: &[u8]) -> bool {
        let target = memtable.target(table, key, u64::MAX);
        self.stand(list::last_before(&memtable.arena, &target))
    }

    /// Moves to the oldest version of the last key of `table` or of a table before it.
    pub fn seek_table_last(&mut self, memtable: &Memtable, table: u32) -> bool {
        match table.checked_add(1) {
            Some(after) => self.seek_before(memtable, after, &[]),
            None => self.seek_last(memtable),
        }
    }

    /// Moves to the next entry: an older version, or the newest of the next key.
    pub fn next(&mut self, memtable: &Memtable) -> bool {
        let node = self
            .node(memtable)
            .and_then(|node| node.bottom().next()?.node());
        self.stand(node)
    }

    /// Moves to the entry before: a newer version, or the oldest of the key before.
    /// Costs a search, since the list has no links back.
    pub fn prev(&mut self, memtable: &Memtable) -> bool {
        let node = self.node(memtable).and_then(|node| {
            let (table, key, sequence) = node.place();
            list::last_before(&memtable.arena, &memtable.target(table, key, sequence))
        });
        self.stand(node)
    }

    /// Moves to the newest version of the next key.
    pub fn next_key(&mut self, memtable: &Memtable) -> bool {
        let Some(start) = self.node(memtable) else {
            return self.stand(None);
        };
        let (table, key, _) = start.place();
        let mut rung = start.bottom();
        // A key with many versions is left by a search.
        for _ in 0..8 {
            let Some(next) = rung.next() else {
                return self.stand(None);
            };
            if let Some(node) = next.node() {
                let (next_table, next_key, _) = node.place();
                if next_table != table || next_key != key {
                    return self.stand(Some(node));
                }
            }
            rung = next;
        }
        // Sequences begin at 1, so that no version follows this place.
        self.seek_version(memtable, table, key, 0)
    }

    /// Moves to the next key if it stands on this one.
    pub fn leave(&mut self, memtable: &Memtable, table: u32, key: &[u8]) -> bool {
        let stands_there = self
            .entry(memtable)
            .is_some_and(|entry| entry.table() == table && entry.key() == key);
        stands_there && self.next_key(memtable)
    }

    /// Moves to the newest version of the key before.
    pub fn prev_key(&mut self, memtable: &Memtable) -> bool {
        let arena = &memtable.arena;
        let node = self.node(memtable).and_then(|node| {
            let (table, key, _) = node.place();
            let (table, key, _) =
                list::last_before(arena, &memtable.target(table, key, u64::MAX))?.place();
            list::lower_bound(arena, &memtable.target(table, key, u64::MAX))
        });
        self.stand(node)
    }

    /// From where it stands, moves to the version that a reader at `sequence` sees: of this
    /// key of `table`, or of the nearest one in the direction; nowhere where there is none.
    pub fn settle(&mut self, memtable: &Memtable, table: u32, sequence: u64, forward: bool) {
        loop {
            let Some(entry) = self.entry(memtable) else {
                return;
            };
            if entry.table() != table {
                *self = Self::new();
                return;
            }
            let mut probe = *self;
            if !forward || entry.sequence() > sequence {
                probe.seek_version(memtable, table, entry.key(), sequence);
            }
            let is_seen = probe.entry(memtable).is_some_and(|found| {
                found.table() == table && found.key() == entry.key() && found.sequence() <= sequence
            });
            if is_seen {
                *self = probe;
                if forward && let Some(node) = self.node(memtable) {
                    // Where the next move goes.
                    node.bottom().prefetch_next();
                }
                return;
            }
            if forward {
                self.next_key(memtable);
            } else {
                self.prev_key(memtable);
            }
        }
    }

    fn node<'a>(&self, memtable: &'a Memtable) -> Option<Node<'a>> {
        memtable.arena.node_at(self.mark)
    }

    fn stand(&mut self, node: Option<Node<'_>>) -> bool {
        self.mark = node.map_or_else(Mark::default, Node::mark);
        node.is_some()
    }
}
