//! What is merged, as one stream in the order of tables and keys: a memtable, or several
//! runs of which the newest decides.

use crate::btree::{CursorPosition, Root, TreeCursor};
use crate::error::{Error, Result};
use crate::format::bytes::get_u32;
use crate::format::leaf::EntryKind;
use crate::format::run::RUN_KEY_TABLE_BYTES;
use crate::limits::RUNS_MAX;
use crate::memtable::{Cursor, Memtable, RecordKind};
use crate::pager::Pager;
use crate::run::{Run, RunRange};
use core::cmp::Ordering;

/// The newest version of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Point<'a> {
    pub table: u32,
    pub key: &'a [u8],
    pub kind: EntryKind,
    pub sequence: u64,
    pub expiry_ms: Option<u64>,
    pub metadata: Option<u8>,
    pub value: &'a [u8],
}

/// A part of a range tombstone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span<'s, 'e> {
    pub table: u32,
    pub start: &'s [u8],
    /// The exclusive end; none: the table's.
    pub end: Option<&'e [u8]>,
}

pub(super) struct Part<'i> {
    run: Run<'i>,
    tree: TreeCursor<'i>,
    key_bytes: usize,
}

/// See the module.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one of it, and nothing to box it with"
)]
pub(super) enum Input<'i> {
    Memtable {
        memtable: &'i Memtable,
        cursor: Cursor,
    },
    Runs {
        /// Newest first.
        parts: [Option<Part<'i>>; RUNS_MAX],
        count: usize,
        key_bytes_max: usize,
        /// The part that decides, and those that stand on its key.
        winner: usize,
        at_key: u32,
    },
}

/// The buffer of a part's key.
fn area(keys: &[u8], key_bytes_max: usize, index: usize) -> &[u8] {
    keys.get(index * key_bytes_max..(index + 1) * key_bytes_max)
        .unwrap_or(&[])
}

impl<'i> Input<'i> {
    pub(super) fn of_memtable(memtable: &'i Memtable) -> Self {
        Self::Memtable {
            memtable,
            cursor: Cursor::new(),
        }
    }

    /// Of no run yet, with keys of at most `key_bytes_max`.
    pub(super) fn of_runs(key_bytes_max: usize) -> Self {
        Self::Runs {
            parts: [const { None }; RUNS_MAX],
            count: 0,
            key_bytes_max,
            winner: 0,
            at_key: 0,
        }
    }

    /// Adds a run that is older than those before.
    pub(super) fn push_older(&mut self, pager: &'i Pager, run: Run<'i>) -> Result<()> {
        let Self::Runs { parts, count, .. } = self else {
            return Err(Error::Internal(280));
        };
        let newest = Root {
            page: run.record().newest,
            table: 0,
        };
        let slot = parts.get_mut(*count).ok_or(Error::Internal(281))?;
        *slot = Some(Part {
            run,
            tree: TreeCursor::new(pager, newest, true),
            key_bytes: 0,
        });
        *count += 1;
        Ok(())
    }

    /// The runs.
    pub(super) fn runs(&self) -> impl Iterator<Item = Run<'i>> {
        let parts: &[Option<Part<'i>>] = match self {
            Self::Memtable { .. } => &[],
            Self::Runs { parts, .. } => parts,
        };
        parts.iter().flatten().map(|part| part.run)
    }

    /// Moves to the first key at or after `position`, a key of a run's tree.
    pub(super) fn seek(&mut self, position: &[u8], keys: &mut [u8]) -> Result<()> {
        match self {
            Self::Memtable { memtable, cursor } => {
                match position.split_at_checked(RUN_KEY_TABLE_BYTES) {
                    Some((table, key)) => {
                        cursor.seek(memtable, get_u32(table, 0).swap_bytes(), key)
                    }
                    None => cursor.seek_first(memtable),
                };
            }
            Self::Runs {
                parts,
                key_bytes_max,
                ..
            } => {
                for (part, area) in parts
                    .iter_mut()
                    .flatten()
                    .zip(keys.chunks_exact_mut((*key_bytes_max).max(1)))
                {
                    part.tree.seek(CursorPosition::AtOrAfter(position))?;
                    part.key_bytes = part.tree.copy_key(area);
                }
                self.choose(keys);
            }
        }
        Ok(())
    }

    /// Moves to the next key.
    pub(super) fn advance(&mut self, keys: &mut [u8]) -> Result<()> {
        match self {
            Self::Memtable { memtable, cursor } => {
                cursor.next_key(memtable);
            }
            Self::Runs {
                parts,
                key_bytes_max,
                at_key,
                ..
            } => {
                for ((index, part), area) in parts
                    .iter_mut()
                    .flatten()
                    .enumerate()
                    .zip(keys.chunks_exact_mut((*key_bytes_max).max(1)))
                {
                    if *at_key & 1 << index != 0 {
                        part.tree.advance()?;
                        part.key_bytes = part.tree.copy_key(area);
                    }
                }
                self.choose(keys);
            }
        }
        Ok(())
    }

    /// Finds the part with the lowest key; the newest of those that have it.
    fn choose(&mut self, keys: &[u8]) {
        let Self::Runs {
            parts,
            key_bytes_max,
            winner,
            at_key,
            ..
        } = self
        else {
            return;
        };
        let mut best: Option<&[u8]> = None;
        *at_key = 0;
        for (index, part) in parts.iter().flatten().enumerate() {
            if !part.tree.is_valid() {
                continue;
            }
            let key = area(keys, *key_bytes_max, index);
            let key = key.get(..part.key_bytes).unwrap_or(&[]);
            match best.map_or(Ordering::Less, |best| key.cmp(best)) {
                Ordering::Less => {
                    best = Some(key);
                    *winner = index;
                    *at_key = 1 << index;
                }
                Ordering::Equal => *at_key |= 1 << index,
                Ordering::Greater => {}
            }
        }
    }

    /// The newest version of the key that the stream stands on; none at its end.
    pub(super) fn point<'a>(&'a self, keys: &'a [u8]) -> Option<Point<'a>> {
        match self {
            Self::Memtable { memtable, cursor } => {
                let entry = cursor.entry(memtable)?;
                Some(Point {
                    table: entry.table(),
                    key: entry.key(),
                    kind: match entry.kind() {
                        RecordKind::Put => EntryKind::Put,
                        RecordKind::Extent => EntryKind::Extent,
                        RecordKind::Delete | RecordKind::RangeDelete => EntryKind::Tombstone,
                    },
                    sequence: entry.sequence(),
                    expiry_ms: entry.expiry_ms(),
                    metadata: entry.metadata(),
                    value: entry.value(),
                })
            }
            Self::Runs {
                parts,
                key_bytes_max,
                winner,
                at_key,
                ..
            } => {
                if *at_key == 0 {
                    return None;
                }
                let part = parts.get(*winner)?.as_ref()?;
                let entry = part.tree.entry()?;
                let key = area(keys, *key_bytes_max, *winner).get(..part.key_bytes)?;
                let (table, key) = key.split_at_checked(RUN_KEY_TABLE_BYTES)?;
                Some(Point {
                    table: get_u32(table, 0).swap_bytes(),
                    key,
                    kind: entry.kind,
                    sequence: part.run.sequence_of(entry.sequence),
                    expiry_ms: entry.expiry_ms,
                    metadata: entry.metadata,
                    value: entry.value,
                })
            }
        }
    }

    /// References to the extents that older runs have for the key.
    pub(super) fn losers(&self) -> impl Iterator<Item = &[u8]> {
        let (parts, winner, at_key): (&[Option<Part<'i>>], usize, u32) = match self {
            Self::Memtable { .. } => (&[], 0, 0),
            Self::Runs {
                parts,
                winner,
                at_key,
                ..
            } => (parts, *winner, *at_key),
        };
        parts
            .iter()
            .flatten()
            .enumerate()
            .filter(move |(index, _)| *index != winner && at_key & 1 << index != 0)
            .filter_map(|(_, part)| part.tree.entry())
            .filter(|entry| entry.kind == EntryKind::Extent)
            .map(|entry| entry.value)
    }

    /// Calls `visit` for every range tombstone.
    fn each_range(&self, visit: &mut dyn FnMut(RunRange<'i>)) {
        match self {
            Self::Memtable { memtable, .. } => {
                for range in memtable.range_tombstones() {
                    visit(RunRange {
                        table: range.table(),
                        sequence: range.sequence(),
                        from: range.key(),
                        to: range.value(),
                    });
                }
            }
            Self::Runs { .. } => {
                for range in self.runs().flat_map(|run| run.range_tombstones()) {
                    visit(range);
                }
            }
        }
    }

    /// Whether there are range tombstones.
    pub(super) fn has_ranges(&self) -> bool {
        let mut any = false;
        self.each_range(&mut |_| any = true);
        any
    }

    /// Whether a range tombstone hides a version.
    pub(super) fn is_covered(&self, point: &Point<'_>) -> bool {
        let mut is_covered = false;
        self.each_range(&mut |range| {
            is_covered |= range.sequence > point.sequence && range.covers(point.table, point.key);
        });
        is_covered
    }

    /// The next part of a range tombstone from `from` on that begins before `until`, cut
    /// there.
    pub(super) fn next_span<'s, 'e>(
        &self,
        from: (u32, &'s [u8]),
        until: Option<(u32, &'e [u8])>,
    ) -> Option<Span<'s, 'e>>
    where
        'i: 's + 'e,
    {
        let mut first: Option<Span<'s, 'e>> = None;
        self.each_range(&mut |range| {
            let start = match range.table.cmp(&from.0) {
                Ordering::Less => return,
                Ordering::Equal => range.from.max(from.1),
                Ordering::Greater => range.from,
            };
            if until.is_some_and(|until| (range.table, start) >= until) {
                return;
            }
            let own: Option<&'e [u8]> = (!range.to.is_empty()).then_some(range.to);
            let cut = until.and_then(|(table, key)| (table == range.table).then_some(key));
            let end = match (own, cut) {
                (Some(own), Some(cut)) => Some(own.min(cut)),
                (own, cut) => own.or(cut),
            };
            let is_empty = end.is_some_and(|end| end <= start);
            let is_first =
                first.is_none_or(|first| (range.table, start) < (first.table, first.start));
            if !is_empty && is_first {
                first = Some(Span {
                    table: range.table,
                    start,
                    end,
                });
            }
        });
        first
    }
}
