//! Writing a run of a frozen memtable, in steps.
//!
//! The memtable is gone through once for the newest versions; once more, where a
//! snapshot needs older ones, for the history. Then come the range tombstones and
//! the filter. All of it goes into the state that the page store is building, with
//! nothing published between: whoever drives publishes it by one flip.

use super::{Filling, tree};
use crate::btree::{Change, Editor, StoreSink};
use crate::error::{Error, Limit, Result};
use crate::format::bytes::put;
use crate::format::extent::EXTENT_REF_BYTES;
use crate::format::leaf::EntryKind;
use crate::format::run::{
    RANGE_KEY_BYTES, RUN_KEY_TABLE_BYTES, RunRecord, filter_bytes_for, filter_hash, filter_insert,
    history_key,
};
use crate::limits::inline_value_bytes_max;
use crate::mem::{Array, Budget};
use crate::memtable::{Cursor, Entry, Memtable, RecordKind};
use crate::pager::{PageStore, Pager};
use lightning_platform::MemoryUse;

/// The sequences at which open snapshots read, as far as a run has to heed them.
pub struct NeededSequences {
    sequences: Array<u64>,
    count: usize,
}

impl NeededSequences {
    /// Room for `most` snapshots.
    ///
    /// # Errors
    /// When the budget or the host has no memory.
    pub fn new(budget: &mut Budget, most: usize) -> Result<Self> {
        Ok(Self {
            sequences: Array::new(budget, MemoryUse::Structure, most, |_| 0)?,
            count: 0,
        })
    }

    /// Takes those of `sequences` that lie within a memtable: at its last sequence and
    /// above, the newest versions suffice.
    pub fn collect(&mut self, sequences: impl Iterator<Item = u64>, memtable: &Memtable) {
        let range = memtable.first_sequence()..memtable.last_sequence();
        self.count = 0;
        for mut sequence in sequences.filter(|sequence| range.contains(sequence)) {
            // Kept in order: each one that is higher gives its place to the one before.
            let mut higher = false;
            for slot in self.sequences.iter_mut().take(self.count) {
                higher |= *slot > sequence;
                if higher {
                    core::mem::swap(slot, &mut sequence);
                }
            }
            if let Some(slot) = self.sequences.get_mut(self.count) {
                *slot = sequence;
                self.count += 1;
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether a snapshot reads at a sequence from `from` to below `below`.
    fn any_within(&self, from: u64, below: u64) -> bool {
        let found = self.sequences.get(..self.count).unwrap_or(&[]);
        let index = found.partition_point(|sequence| *sequence < from);
        found.get(index).is_some_and(|sequence| *sequence < below)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Newest,
    History,
    Rest,
}

/// A run being written.
#[derive(Debug, Clone, Copy)]
pub struct RunWriter {
    phase: Phase,
    cursor: Cursor,
    /// Keys gone through in this phase.
    keys: u64,
    /// Keys whose newest version was written.
    written_keys: u64,
    /// The sequence of the version before, of the same key, in the history.
    newer: u64,
    record: RunRecord,
    written_before: u64,
}

/// What a step works with.
pub struct RunParts<'a, 'e> {
    /// The pages.
    pub pager: &'a Pager,
    /// Where they go.
    pub store: &'a mut PageStore,
    /// Makes the trees.
    pub editor: &'a mut Editor,
    /// The frozen memtable.
    pub memtable: &'a Memtable,
    /// The run's memory.
    pub run: &'a mut Filling<'e>,
    /// What snapshots need.
    pub needed: &'a NeededSequences,
    /// A page, and the longest key of a run.
    pub scratch: (&'a mut [u8], &'a mut [u8]),
}

impl RunWriter {
    /// Bytes of the filter that a run of the memtable asks for.
    #[must_use]
    pub fn filter_bytes(memtable: &Memtable) -> usize {
        filter_bytes_for(u64::from(memtable.entry_count()), usize::MAX)
    }

    /// Begins a run of a memtable that holds something.
    ///
    /// # Errors
    /// Those of [`Editor::begin`].
    pub fn begin(parts: &mut RunParts<'_, '_>) -> Result<Self> {
        let memtable = parts.memtable;
        let mut cursor = Cursor::new();
        cursor.seek_first(memtable);
        parts.editor.begin(&tree(None), true)?;
        Ok(Self {
            phase: Phase::Newest,
            cursor,
            keys: 0,
            written_keys: 0,
            newer: 0,
            record: RunRecord {
                first_sequence: memtable.first_sequence(),
                last_sequence: memtable.last_sequence(),
                ..RunRecord::default()
            },
            written_before: parts.store.written_bytes(),
        })
    }

    /// Keys whose newest version was written.
    #[must_use]
    pub fn written_keys(&self) -> u64 {
        self.written_keys
    }

    /// Writes up to `entries` more. Answers the record when the run is whole; the slot's
    /// run is then as it would be loaded.
    ///
    /// # Errors
    /// I/O, a full storage: what is being built is then to be abandoned.
    pub fn step(
        &mut self,
        parts: &mut RunParts<'_, '_>,
        entries: u32,
    ) -> Result<Option<RunRecord>> {
        for _ in 0..entries {
            let goes_on = match self.phase {
                Phase::Newest => self.newest(parts)?,
                Phase::History => self.history(parts)?,
                Phase::Rest => return self.rest(parts).map(Some),
            };
            if goes_on {
                continue;
            }
            let mut sink = sink(parts.pager, parts.store);
            let root = parts.editor.finish(parts.pager, &mut sink)?;
            self.record.has_extents |= root.extents_below;
            if self.phase == Phase::Newest {
                self.record.newest = root.root;
                self.record.entries = root.entries;
            } else {
                self.record.history = root.root;
            }
            self.phase = match self.phase {
                Phase::Newest if !parts.needed.is_empty() => {
                    parts.editor.begin(&tree(None), true)?;
                    self.cursor.seek_first(parts.memtable);
                    self.keys = 0;
                    Phase::History
                }
                _ => Phase::Rest,
            };
        }
        Ok(None)
    }

    /// Writes the newest version of the next key.
    fn newest(&mut self, parts: &mut RunParts<'_, '_>) -> Result<bool> {
        let Some(entry) = self.cursor.entry(parts.memtable) else {
            return Ok(false);
        };
        let table = entry.table();
        if entry.sequence() > self.record.last_sequence {
            // What a commit that failed half-way left behind.
            return Err(Error::Poisoned);
        }
        filter_insert(parts.run.filter_mut(), filter_hash(table, entry.key()));
        let length = RUN_KEY_TABLE_BYTES + entry.key().len();
        super::run_key(parts.scratch.1, table, entry.key())?;
        self.write(parts, length, &entry)?;
        self.cursor.next_key(parts.memtable);
        self.written_keys += 1;
        Ok(true)
    }

    /// Writes the next version, where it isn't the newest and a snapshot needs it.
    fn history(&mut self, parts: &mut RunParts<'_, '_>) -> Result<bool> {
        let Some(entry) = self.cursor.entry(parts.memtable) else {
            return Ok(false);
        };
        if self.newer == 0 {
            self.keys += 1;
        } else if parts.needed.any_within(entry.sequence(), self.newer) {
            let key = history_key(entry.table(), self.keys.saturating_sub(1), entry.sequence());
            put(parts.scratch.1, 0, &key);
            self.write(parts, key.len(), &entry)?;
        }
        self.newer = entry.sequence();
        self.cursor.next(parts.memtable);
        let is_same_key = self
            .cursor
            .entry(parts.memtable)
            .is_some_and(|next| next.table() == entry.table() && next.key() == entry.key());
        if !is_same_key {
            self.newer = 0;
        }
        Ok(true)
    }

    /// Adds a version to the tree being written, under the key in the scratch buffer.
    fn write(
        &mut self,
        parts: &mut RunParts<'_, '_>,
        key_bytes: usize,
        entry: &Entry<'_>,
    ) -> Result<()> {
        let RunParts {
            pager,
            store,
            editor,
            scratch,
            ..
        } = parts;
        let value = entry.value();
        let is_inline = value.len() <= inline_value_bytes_max(pager.layout().page_bytes);
        let reference: [u8; EXTENT_REF_BYTES];
        let (kind, value) = match entry.kind() {
            RecordKind::Put if is_inline => (EntryKind::Put, value),
            RecordKind::Put => {
                reference = store.append_extent(pager, entry.table(), value)?.encode();
                (EntryKind::Extent, &reference[..])
            }
            RecordKind::Delete => (EntryKind::Tombstone, &[][..]),
            RecordKind::Extent => {
                store.keep_extent(pager, value)?;
                (EntryKind::Extent, value)
            }
            RecordKind::RangeDelete => return Err(Error::Internal(310)),
        };
        let change = Change::Put {
            kind,
            expiry_ms: entry.expiry_ms(),
            metadata: entry.metadata(),
            sequence: entry.sequence(),
            value,
        };
        let key = scratch.1.get(..key_bytes).ok_or(Error::Internal(311))?;
        editor.apply(pager, &mut sink(pager, store), key, change)
    }

    /// Writes range tombstones and filter.
    fn rest(&mut self, parts: &mut RunParts<'_, '_>) -> Result<RunRecord> {
        let mut count = 0_u32;
        parts.editor.begin(&tree(None), true)?;
        for range in parts.memtable.range_tombstones() {
            let over = Error::OverLimit {
                limit: Limit::RangeTombstones,
                value: u64::from(count) + 1,
                maximum: u64::from(count),
            };
            let ordinal = u16::try_from(count).map_err(|_| over)?;
            let fits =
                parts
                    .run
                    .add_range(range.table(), range.sequence(), range.key(), range.value());
            let buffer = &mut *parts.scratch.1;
            if !fits
                || !put(buffer, 0, &ordinal.to_be_bytes())
                || !put(buffer, 2, &range.table().to_be_bytes())
                || !put(buffer, RANGE_KEY_BYTES, range.key())
            {
                return Err(over);
            }
            let key = buffer.get(..RANGE_KEY_BYTES + range.key().len());
            let change = Change::Put {
                kind: EntryKind::Put,
                expiry_ms: None,
                metadata: None,
                sequence: range.sequence(),
                value: range.value(),
            };
            let mut sink = sink(parts.pager, parts.store);
            let key = key.ok_or(Error::Internal(312))?;
            parts.editor.apply(parts.pager, &mut sink, key, change)?;
            count += 1;
        }
        let mut record = self.record;
        if count > 0 {
            let mut sink = sink(parts.pager, parts.store);
            record.ranges = parts.editor.finish(parts.pager, &mut sink)?.root;
        }
        record.range_tombstones = count;
        if record.newest.is_some() {
            let filter = parts.run.filter();
            record.filter = parts
                .store
                .append_filter(parts.pager, filter, parts.scratch.0)?;
            record.filter_bytes = u32::try_from(filter.len()).map_err(|_| Error::Internal(313))?;
        }
        record.written_bytes = parts
            .store
            .written_bytes()
            .saturating_sub(self.written_before);
        parts.run.set_record(record);
        Ok(record)
    }
}

fn sink<'a>(pager: &'a Pager, store: &'a mut PageStore) -> StoreSink<'a> {
    StoreSink {
        pager,
        store,
        keeps_leaves: true,
    }
}
