//! Merging into the trees: the oldest memtable, or the oldest runs together.
//!
//! The input is gone through in key order, table by table, and each table's tree is
//! edited with the newest version of each key. When enough was written (a
//! *slice*), the tree being edited is finished, the changed roots go into the roots
//! tree, and the page store flips. Readers get the new roots at once; what is
//! merged stays on top of them until the last slice, so that every state in
//! between reads right, and slices may be repeated. After a crash a memtable is in the
//! log still; of runs the catalogue says how many were being merged, so that it is the
//! same ones that are merged again, from the beginning.
//!
//! The last flip names a memtable's last commit as merged, or drops the runs; they leave
//! the version list, and are given back when no version that somebody reads lists them.
//!
//! # Range tombstones
//! come in key order, too, cut at each key that the input puts: what a merge puts into a
//! tree it never takes out again, so that repeating it gives up nothing that is in use.
//!
//! # Extents
//! A run's extents go into the trees by reference. Those of versions that didn't win are
//! given up by the last flip, as are the pages of the runs.

use super::maintain::{Publishing, Work};
use super::merge_input::{Input, Point};
use super::{Engine, Maintenance, STATE_MERGED};
use crate::btree::{Change, CursorPosition, PageSink, Root, StoreSink, TreeCursor, release_tree};
use crate::error::{Error, Result};
use crate::format::bytes::{get_u32, put};
use crate::format::extent::EXTENT_REF_BYTES;
use crate::format::leaf::EntryKind;
use crate::format::run::RUN_KEY_TABLE_BYTES;
use crate::limits::inline_value_bytes_max;
use crate::mem::{Array, Budget};
use crate::pager::{PageStore, Pager, RunsChange};
use crate::sync::Ordering;
use crate::txn::{SourceId, Sources};
use lightning_platform::MemoryUse;

/// What is merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MergeFrom {
    /// A frozen memtable.
    Memtable(u32),
    /// So many of the oldest runs.
    Runs(usize),
}

/// A merge under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Merge {
    from: MergeFrom,
    /// The table that the editor has open.
    table: Option<u32>,
    /// Bytes written when the slice began.
    slice_start: u64,
    /// Whether a slice is being built.
    begun: bool,
}

/// A place in the order of tables and keys: everything before it is done.
pub(super) struct Position {
    bytes: Array<u8>,
    length: usize,
}

impl Position {
    /// For keys of at most `key_bytes`.
    pub(super) fn new(budget: &mut Budget, key_bytes: usize) -> Result<Self> {
        // A key may be followed by a byte, to stand for what comes after it.
        let bytes = RUN_KEY_TABLE_BYTES + key_bytes + 1;
        Ok(Self {
            bytes: Array::zeroed(budget, MemoryUse::Buffer, bytes)?,
            length: 0,
        })
    }

    /// Goes back to the beginning.
    pub(super) fn clear(&mut self) {
        self.length = 0;
    }

    pub(super) fn set(&mut self, table: u32, parts: [&[u8]; 2]) -> Result<()> {
        let [key, after] = parts;
        let key_end = RUN_KEY_TABLE_BYTES + key.len();
        let fits = put(&mut self.bytes, 0, &table.to_be_bytes())
            && put(&mut self.bytes, RUN_KEY_TABLE_BYTES, key)
            && put(&mut self.bytes, key_end, after);
        if !fits {
            return Err(Error::Internal(244));
        }
        self.length = key_end + after.len();
        Ok(())
    }

    /// The memory, for a key that is read from a page; the place is lost.
    pub(super) fn scratch(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    fn copy_from(&mut self, other: &Self) {
        let bytes = other.get();
        if put(&mut self.bytes, 0, bytes) {
            self.length = bytes.len();
        }
    }

    /// The place, as a key of a run's tree.
    pub(super) fn get(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&[])
    }

    /// The place as a table and a key in it.
    pub(super) fn table_and_key(&self) -> (u32, &[u8]) {
        match self.get().split_at_checked(RUN_KEY_TABLE_BYTES) {
            Some((table, key)) => (get_u32(table, 0).swap_bytes(), key),
            None => (0, &[]),
        }
    }
}

impl Merge {
    pub(super) fn new(from: MergeFrom) -> Self {
        Self {
            from,
            table: None,
            slice_start: 0,
            begun: false,
        }
    }

    /// The merge from its last slice on.
    pub(super) fn again(&self) -> Self {
        Self {
            table: None,
            begun: false,
            ..*self
        }
    }

    /// What is merged.
    pub(super) fn from(&self) -> MergeFrom {
        self.from
    }

    /// Whether it stands between two slices.
    pub(super) fn is_between_slices(&self) -> bool {
        !self.begun
    }
}

/// What a step of a merge did.
enum Merged {
    /// One thing; there may be more.
    One,
    /// Nothing: the slice has changed as many tables as it may.
    Full,
    /// Nothing: everything is merged.
    All,
}

impl Engine {
    /// Merges up to `entries` keys, and flips where a slice is full or the end reached.
    pub(super) fn merge_step(
        &self,
        maintenance: &mut Maintenance,
        mut merge: Merge,
        entries: u32,
    ) -> Result<Option<Work>> {
        if !merge.begun {
            self.reclaim(maintenance)?;
            let Maintenance {
                next, slice_next, ..
            } = &mut *maintenance;
            next.copy_from(slice_next);
            merge.slice_start = maintenance.store.written_bytes();
            merge.begun = true;
        }
        let mut keys = self.merge_keys.try_enter().ok_or(Error::Internal(246))?;
        let sources = self.current_version().sources;
        let mut input = self.merge_input(merge.from, &sources)?;
        input.seek(maintenance.next.get(), &mut keys)?;
        let has_ranges = input.has_ranges();
        let slice_bytes = self.slice_bytes(maintenance);
        let (mut is_last, mut is_full) = (false, false);
        for _ in 0..entries {
            match self.merge_one(maintenance, &mut merge, &mut input, (&mut keys, has_ranges))? {
                Merged::One => {}
                Merged::Full => is_full = true,
                Merged::All => is_last = true,
            }
            let written = maintenance.store.written_bytes();
            is_full |= written.saturating_sub(merge.slice_start) >= slice_bytes;
            if is_last || is_full {
                break;
            }
        }
        // Writers that wait for an arena don't wait for a long slice.
        is_full |= matches!(merge.from, MergeFrom::Runs(_))
            && maintenance.store.written_bytes() > merge.slice_start
            && self.run_waits();
        if !is_last && !is_full {
            return Ok(Some(Work::Merge(merge)));
        }
        self.finish_table(maintenance, &mut merge.table)?;
        match merge.from {
            MergeFrom::Memtable(memtable) => {
                self.publish_memtable(maintenance, memtable, is_last)?
            }
            MergeFrom::Runs(count) if is_last => {
                self.publish_last_of_runs(maintenance, count, &sources, &mut keys)?;
            }
            MergeFrom::Runs(count) => self.publish_slice_of_runs(maintenance, count, &sources)?,
        }
        if is_last {
            maintenance.slice_next.clear();
            return Ok(None);
        }
        let Maintenance {
            next, slice_next, ..
        } = &mut *maintenance;
        slice_next.copy_from(next);
        merge.begun = false;
        Ok(Some(Work::Merge(merge)))
    }

    /// What is merged, as one stream of keys.
    pub(super) fn merge_input(&self, from: MergeFrom, sources: &Sources) -> Result<Input<'_>> {
        match from {
            MergeFrom::Memtable(index) => Ok(Input::of_memtable(&self.memtable(index)?.memtable)),
            MergeFrom::Runs(count) => {
                let mut input = Input::of_runs(self.run_key_bytes());
                // The newest of them first; the oldest of all are listed last.
                let skipped = sources.runs().count().saturating_sub(count);
                for slot in sources.runs().skip(skipped) {
                    let run = self.front.runs.run(slot).ok_or(Error::Internal(245))?;
                    input.push_older(&self.pager, run)?;
                }
                Ok(input)
            }
        }
    }

    /// Merges one key, or the part of a range tombstone that comes before it.
    fn merge_one(
        &self,
        maintenance: &mut Maintenance,
        merge: &mut Merge,
        input: &mut Input<'_>,
        (keys, has_ranges): (&mut [u8], bool),
    ) -> Result<Merged> {
        let point = input.point(keys);
        let until = point.map(|point| (point.table, point.key));
        let span = if has_ranges {
            input.next_span(maintenance.next.table_and_key(), until)
        } else {
            None
        };
        let table = match (&span, &point) {
            (Some(span), _) => span.table,
            (None, Some(point)) => point.table,
            (None, None) => return Ok(Merged::All),
        };
        if merge.table != Some(table) {
            self.finish_table(maintenance, &mut merge.table)?;
            if !self.open_table(maintenance, table)? {
                return Ok(Merged::Full);
            }
            merge.table = Some(table);
        }
        let Maintenance {
            store,
            editor,
            next,
            ..
        } = &mut *maintenance;
        // Found again, since opening the table may have ended its borrow.
        if has_ranges && let Some(span) = input.next_span(next.table_and_key(), until) {
            let mut sink = sink(&self.pager, store);
            editor.delete_range(&self.pager, &mut sink, span.start, span.end)?;
            let end = span.end;
            match (end, table.checked_add(1)) {
                (Some(end), _) => next.set(table, [end, &[]])?,
                (None, Some(after)) => next.set(after, [&[], &[]])?,
                // The end of the last table there can be.
                (None, None) => return Ok(Merged::All),
            }
            return Ok(Merged::One);
        }
        if let Some(point) = point {
            let is_covered = has_ranges && input.is_covered(&point);
            self.merge_point(maintenance, &point, is_covered)?;
            maintenance.next.set(point.table, [point.key, &[0]])?;
            input.advance(keys)?;
        }
        Ok(Merged::One)
    }

    fn merge_point(
        &self,
        maintenance: &mut Maintenance,
        point: &Point<'_>,
        is_covered: bool,
    ) -> Result<()> {
        let Maintenance { store, editor, .. } = &mut *maintenance;
        let is_inline = point.value.len() <= inline_value_bytes_max(self.pager.layout().page_bytes);
        let reference: [u8; EXTENT_REF_BYTES];
        let put = |kind, value| Change::Put {
            kind,
            expiry_ms: point.expiry_ms,
            metadata: point.metadata,
            sequence: 0,
            value,
        };
        let change = match point.kind {
            // A range was cut at this key.
            _ if is_covered => Change::Delete,
            EntryKind::Tombstone => Change::Delete,
            EntryKind::Put if !is_inline => {
                let extent = store.append_extent(&self.pager, point.table, point.value)?;
                reference = extent.encode();
                put(EntryKind::Extent, &reference[..])
            }
            EntryKind::Extent => {
                store.keep_extent(&self.pager, point.value)?;
                put(EntryKind::Extent, point.value)
            }
            kind => put(kind, point.value),
        };
        editor.apply(
            &self.pager,
            &mut sink(&self.pager, store),
            point.key,
            change,
        )
    }

    fn publish_memtable(
        &self,
        maintenance: &mut Maintenance,
        index: u32,
        is_last: bool,
    ) -> Result<()> {
        let slot = self.memtable(index)?;
        let last_sequence = slot.memtable.last_sequence();
        let publishing = Publishing {
            merged_sequence: if is_last { last_sequence } else { 0 },
            touched_sequence: last_sequence,
            validation_floor: if is_last { last_sequence } else { 0 },
            runs: RunsChange::None,
        };
        let gone = is_last.then_some(SourceId::of_memtable(index));
        self.flip(maintenance, &publishing, |sources| {
            sources.map(|source| (Some(source) != gone).then_some(source))
        })?;
        if is_last {
            slot.state.store(STATE_MERGED, Ordering::Release);
        }
        Ok(())
    }

    fn publish_slice_of_runs(
        &self,
        maintenance: &mut Maintenance,
        count: usize,
        sources: &Sources,
    ) -> Result<()> {
        let Some(cut) = self.cut_runs(maintenance, count, sources)? else {
            let publishing = Publishing {
                runs: RunsChange::Merging(count),
                ..Publishing::default()
            };
            return self.flip(maintenance, &publishing, |sources| *sources);
        };
        let publishing = Publishing {
            validation_floor: cut.last_sequence(),
            runs: RunsChange::Cut(count),
            ..Publishing::default()
        };
        self.flip(maintenance, &publishing, |sources| {
            self.list_cut(&cut, sources)
        })?;
        self.leave_whole(maintenance, &cut);
        Ok(())
    }

    /// Publishes the last slice, with which the merged runs are given up.
    fn publish_last_of_runs(
        &self,
        maintenance: &mut Maintenance,
        count: usize,
        sources: &Sources,
        keys: &mut [u8],
    ) -> Result<()> {
        let records = maintenance.store.runs().iter().take(count);
        let (mut last_sequence, mut has_extents) = (0, false);
        for record in records {
            last_sequence = record.last_sequence.max(last_sequence);
            has_extents |= record.has_extents;
        }
        if has_extents {
            let mut input = self.merge_input(MergeFrom::Runs(count), sources)?;
            self.release_lost_extents(maintenance, &mut input, keys)?;
        }
        for index in 0..count {
            let record = maintenance.store.runs().iter().nth(index).copied();
            let record = &record.ok_or(Error::Internal(249))?;
            let mut sink = sink(&self.pager, &mut maintenance.store);
            let roots = [record.newest, record.history, record.ranges];
            for root in roots.iter().flatten() {
                release_tree(&self.pager, &mut sink, 0, root)?;
            }
            maintenance.store.release_filter(&self.pager, record)?;
        }
        let publishing = Publishing {
            validation_floor: last_sequence,
            runs: RunsChange::Merged(count),
            ..Publishing::default()
        };
        let kept = sources.runs().count().saturating_sub(count);
        let mut gone = Sources::default();
        for slot in sources.runs().skip(kept) {
            gone.push(SourceId::of_run(slot));
        }
        self.flip(maintenance, &publishing, |sources| {
            sources.map(|source| (!gone.iter().any(|gone| gone == source)).then_some(source))
        })?;
        for slot in gone.runs() {
            self.front
                .runs
                .take_filter(&mut maintenance.keeper, &self.pager, slot);
        }
        maintenance.has_retired_runs = true;
        Ok(())
    }

    /// Gives up the extents of runs that no tree refers to now: those of versions that
    /// didn't win, and all of the histories.
    fn release_lost_extents(
        &self,
        maintenance: &mut Maintenance,
        input: &mut Input<'_>,
        keys: &mut [u8],
    ) -> Result<()> {
        let mut sink = sink(&self.pager, &mut maintenance.store);
        input.seek(&[], keys)?;
        while let Some(point) = input.point(keys) {
            if point.kind == EntryKind::Extent && input.is_covered(&point) {
                sink.release_extent(point.value)?;
            }
            for value in input.losers() {
                sink.release_extent(value)?;
            }
            input.advance(keys)?;
        }
        for run in input.runs() {
            let mut cursor = TreeCursor::new(
                &self.pager,
                Root {
                    page: run.record().history,
                    table: 0,
                },
                true,
            );
            cursor.seek(CursorPosition::First)?;
            while let Some(entry) = cursor.entry() {
                if entry.kind == EntryKind::Extent {
                    sink.release_extent(entry.value)?;
                }
                cursor.advance()?;
            }
        }
        Ok(())
    }
}

fn sink<'a>(pager: &'a Pager, store: &'a mut PageStore) -> StoreSink<'a> {
    StoreSink {
        pager,
        store,
        keeps_leaves: true,
    }
}
