//! Maintenance: merging full memtables into the trees, in steps.
//!
//! # A merge
//! Takes the oldest frozen memtable once durable has passed its last commit. Its
//! keys are gone through in order, table by table, each table's tree edited with
//! the newest version of each key. When enough was written (a *slice*), the tree
//! being edited is finished, the changed roots go into the roots tree, and the
//! page store flips. Readers get the new roots at once; the memtable stays on
//! top of them until the last slice, so that every state in between reads right,
//! and a slice may be repeated: after a crash the log holds all of it still.
//!
//! The last flip names the memtable's last commit as merged; the memtable leaves
//! the version list, and is reset when no version that somebody reads lists it.
//!
//! # Errors
//! What fails before the flip is abandoned: the store is again as published, and
//! the merge goes on from its last slice when polled again. A full storage is
//! such an error; reads and (until the memtables are full) writes go on.

use super::{Engine, Maintenance, NONE, STATE_FREE, STATE_FROZEN, STATE_MERGED};
use crate::btree::{Change, PageSink, Root};
use crate::error::{Error, Limit, Result};
use crate::format::catalogue::RootRecord;
use crate::format::extent::{EXTENT_REF_BYTES, ExtentRef};
use crate::format::leaf::EntryKind;
use crate::format::page_ref::{PageKind, PageRef};
use crate::limits::inline_value_bytes_max;
use crate::memtable::{Cursor, RecordKind};
use crate::pager::{FlipInput, PageStore, Pager};
use crate::sync::Ordering;
use crate::txn::{MEMTABLES_MAX, VersionState};
use lightning_platform::IoErrorKind;

/// How much one call may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budgeted {
    /// Entries to merge.
    pub entries: u32,
    /// Bytes of the log to prepare.
    pub log_bytes: u64,
}

impl Default for Budgeted {
    fn default() -> Self {
        Self {
            entries: 4_096,
            log_bytes: 1 << 20,
        }
    }
}

/// What a call did, and what is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Whether anything was done: then there may be more.
    pub worked: bool,
    /// Whether a merge waits for a sync: call [`Engine::flush_step`].
    pub wants_sync: bool,
    /// Whether a merge is under way or waits.
    pub is_behind: bool,
}

/// A memtable being merged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Merge {
    memtable: u32,
    /// What is merged next.
    cursor: Cursor,
    /// What was next when the last slice was published.
    slice_cursor: Cursor,
    /// The table that the editor has open.
    table: Option<u32>,
    /// Bytes written when the slice began.
    slice_start: u64,
    begun: bool,
}

/// A table's new root, until it is in the roots tree.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ChangedRoot {
    pub table: u32,
    pub record: RootRecord,
    pub entries_before: u64,
}

/// Which part of a merge a flip publishes.
#[derive(Debug, Clone, Copy)]
pub(super) struct MergedSlice {
    memtable: u32,
    last_sequence: u64,
    is_last: bool,
}

/// Tables that one slice changes at most.
pub(super) const CHANGED_ROOTS: usize = 64;

pub(super) struct Sink<'a> {
    pub pager: &'a Pager,
    pub store: &'a mut PageStore,
    /// Whether new leaves are put into memory: those of a merge are read again
    /// soon, those of a load would push out everything else.
    pub keeps_leaves: bool,
}

impl PageSink for Sink<'_> {
    fn append(&mut self, kind: PageKind, level: u8, plain: &mut [u8]) -> Result<PageRef> {
        let keep = self.keeps_leaves || level > 0;
        self.store.append(self.pager, kind, level, plain, keep)
    }

    fn release(&mut self, page: &PageRef) -> Result<()> {
        self.store.release(self.pager, page)
    }

    fn release_extent(&mut self, reference: &[u8]) -> Result<()> {
        match ExtentRef::decode(reference) {
            Some(extent) => self.store.release_extent(self.pager, &extent),
            None => Err(Error::Internal(240)),
        }
    }
}

impl Engine {
    /// Does a step of whatever is to be done: prepares log segments, merges, gives
    /// space back. Called by the host's maintenance thread, or between operations.
    ///
    /// # Errors
    /// [`Error::Busy`] while another thread does. I/O errors and a full storage:
    /// nothing is lost, and a later call tries again.
    pub fn poll_maintenance(&self, budget: Budgeted) -> Result<Progress> {
        self.check_writable()?;
        let mut maintenance = self.maintenance.try_enter().ok_or(Error::Busy)?;
        let mut progress = Progress::default();
        let log = self.prepare_log(&mut maintenance, budget.log_bytes);
        let mut failure = None;
        match log {
            Ok(worked) => progress.worked |= worked,
            Err(error) => failure = Some(error),
        }
        progress.worked |= self.reset_merged()?;
        if maintenance.merge.is_none() {
            maintenance.merge = self.next_merge(&mut progress);
        }
        if maintenance.merge.is_some() {
            progress.is_behind = true;
            match self.merge_step(&mut maintenance, budget.entries) {
                Ok(worked) => {
                    progress.worked |= worked;
                    self.storage_full
                        .store(failure.is_some(), Ordering::Relaxed);
                }
                Err(error) => {
                    self.give_up_slice(&mut maintenance, error)?;
                    return Err(error);
                }
            }
            progress.worked |= self.reset_merged()?;
        }
        match failure {
            Some(error) if !progress.worked => Err(error),
            _ => Ok(progress),
        }
    }

    /// Freezes the active memtable, so that maintenance merges it: for a host that
    /// finds writes pausing, and before closing. Answers whether it held anything.
    ///
    /// # Errors
    /// [`Error::FrontFull`] while no other memtable is free.
    pub fn freeze_front(&self) -> Result<bool> {
        self.check_writable()?;
        let mut sequencer = self.sequencer.lock();
        if self.memtable(sequencer.active)?.memtable.is_empty() {
            return Ok(false);
        }
        self.freeze(&mut sequencer)?;
        Ok(true)
    }

    /// The oldest frozen memtable, if it is durable.
    fn next_merge(&self, progress: &mut Progress) -> Option<Merge> {
        let current = self.current_version();
        let oldest = current.memtables().next_back()?;
        let slot = self.memtable(oldest).ok()?;
        if slot.state.load(Ordering::Acquire) != STATE_FROZEN {
            return None;
        }
        progress.is_behind = true;
        if slot.memtable.last_sequence() > self.durable.load(Ordering::SeqCst) {
            progress.wants_sync = true;
            return None;
        }
        let mut cursor = Cursor::new();
        cursor.seek_first(&slot.memtable);
        Some(Merge {
            memtable: oldest,
            cursor,
            slice_cursor: cursor,
            table: None,
            slice_start: 0,
            begun: false,
        })
    }

    /// Merges up to `entries` keys, and flips where a slice is full or the end reached.
    fn merge_step(&self, maintenance: &mut Maintenance, entries: u32) -> Result<bool> {
        let Some(mut merge) = maintenance.merge else {
            return Ok(false);
        };
        let epochs = self.pager.epochs();
        if maintenance.store.must_abandon() {
            // Giving up failed the last time, reading the catalogue.
            maintenance.store.abandon(&self.pager)?;
        }
        if !merge.begun {
            if !self.versions.has_room(epochs) {
                return Ok(false);
            }
            let oldest = self.versions.oldest_generation(epochs);
            while maintenance.store.reclaim(&self.pager, oldest)? {}
            merge.slice_start = maintenance.store.written_bytes();
            merge.begun = true;
            maintenance.changed_count = 0;
        }
        let memtable = &self.memtable(merge.memtable)?.memtable;
        let roots = maintenance.store.published().roots;
        let mut exhausted = false;
        let mut slice_is_full = false;
        for _ in 0..entries {
            let Some(entry) = merge.cursor.entry(memtable) else {
                exhausted = true;
                break;
            };
            let table = entry.table();
            if merge.table != Some(table) {
                self.finish_table(maintenance, &mut merge)?;
                if maintenance.changed_count >= maintenance.changed.len() {
                    slice_is_full = true;
                    break;
                }
                let record = self.root_record(roots.as_ref(), table, true)?;
                maintenance.editor.begin(
                    &Root {
                        page: record.root,
                        table,
                    },
                    false,
                )?;
                merge.table = Some(table);
                if let Some(slot) = maintenance.changed.get_mut(maintenance.changed_count) {
                    *slot = ChangedRoot {
                        table,
                        record,
                        entries_before: record.entries,
                    };
                }
            }
            let mut reference = [0; EXTENT_REF_BYTES];
            let inline =
                entry.value().len() <= inline_value_bytes_max(self.pager.layout().page_bytes);
            if entry.kind() == RecordKind::Put && !inline {
                let extent = maintenance
                    .store
                    .append_extent(&self.pager, table, entry.value())?;
                reference = extent.encode();
            }
            let change = match entry.kind() {
                RecordKind::Put => Change::Put {
                    kind: if inline {
                        EntryKind::Put
                    } else {
                        EntryKind::Extent
                    },
                    expiry_ms: entry.expiry_ms(),
                    metadata: entry.metadata(),
                    sequence: 0,
                    value: if inline { entry.value() } else { &reference },
                },
                RecordKind::Delete => Change::Delete,
                RecordKind::RangeDelete | RecordKind::Extent => return Err(Error::Internal(241)),
            };
            let Maintenance { store, editor, .. } = &mut *maintenance;
            let mut sink = Sink {
                pager: &self.pager,
                store,
                keeps_leaves: true,
            };
            editor.apply(&self.pager, &mut sink, entry.key(), change)?;
            merge.cursor.next_key(memtable);
            let written = maintenance
                .store
                .written_bytes()
                .saturating_sub(merge.slice_start);
            if written >= self.slice_bytes(maintenance) {
                slice_is_full = true;
                break;
            }
        }
        if exhausted || slice_is_full {
            self.finish_table(maintenance, &mut merge)?;
            let is_last = merge.cursor.entry(memtable).is_none();
            let last_sequence = self.memtable(merge.memtable)?.memtable.last_sequence();
            let merged = MergedSlice {
                memtable: merge.memtable,
                last_sequence,
                is_last,
            };
            self.flip(maintenance, Some(&merged))?;
            merge.slice_cursor = merge.cursor;
            merge.begun = false;
            maintenance.merge = if is_last { None } else { Some(merge) };
        } else {
            maintenance.merge = Some(merge);
        }
        Ok(true)
    }

    fn slice_bytes(&self, maintenance: &Maintenance) -> u64 {
        let layout = self.pager.layout();
        let file = maintenance.store.statistics(layout).file_bytes;
        (file / 32)
            .max(16 * layout.block_bytes as u64)
            .max(self.options.slice_bytes_min)
    }

    /// Ends the edit of the table that the editor has open.
    fn finish_table(&self, maintenance: &mut Maintenance, merge: &mut Merge) -> Result<()> {
        if merge.table.take().is_none() {
            return Ok(());
        }
        let Maintenance {
            store,
            editor,
            changed,
            changed_count,
            ..
        } = maintenance;
        let mut sink = Sink {
            pager: &self.pager,
            store,
            keeps_leaves: true,
        };
        let record = editor.finish(&self.pager, &mut sink)?;
        if let Some(slot) = changed.get_mut(*changed_count) {
            slot.record = record;
            *changed_count += 1;
        }
        Ok(())
    }

    /// Publishes the changed roots: those of a slice, or of a load.
    pub(super) fn flip(
        &self,
        maintenance: &mut Maintenance,
        slice: Option<&MergedSlice>,
    ) -> Result<()> {
        let before = *maintenance.store.superblock();
        let mut roots = maintenance.store.published().roots;
        let mut entries = maintenance.store.entries();
        let Maintenance {
            store,
            editor,
            changed,
            changed_count,
            ..
        } = &mut *maintenance;
        if *changed_count > 0 {
            editor.begin(
                &Root {
                    page: roots,
                    table: 0,
                },
                false,
            )?;
            let mut sink = Sink {
                pager: &self.pager,
                store,
                keeps_leaves: true,
            };
            for root in changed.iter().take(*changed_count) {
                let key = root.table.to_be_bytes();
                let encoded = root.record.encode();
                let change = if root.record.root.is_some() {
                    Change::Put {
                        kind: EntryKind::Put,
                        expiry_ms: None,
                        metadata: None,
                        sequence: 0,
                        value: &encoded,
                    }
                } else {
                    Change::Delete
                };
                editor.apply(&self.pager, &mut sink, &key, change)?;
                entries = (entries + root.record.entries).saturating_sub(root.entries_before);
            }
            roots = editor.finish(&self.pager, &mut sink)?.root;
        }
        let last = slice.filter(|slice| slice.is_last);
        let merged_sequence = last.map_or(before.merged_sequence, |last| last.last_sequence);
        let touched = slice.map_or(before.touched_sequence, |slice| slice.last_sequence);
        let (wall_time_ms, next_table) = {
            let sequencer = self.sequencer.lock();
            (sequencer.wall_time_ms, sequencer.next_table)
        };
        let first_segment = if last.is_some() {
            self.first_segment_for(merged_sequence)
                .unwrap_or(before.first_segment)
        } else {
            before.first_segment
        };
        let input = FlipInput {
            roots,
            entries,
            merged_sequence,
            touched_sequence: touched.max(before.touched_sequence),
            durable_sequence: self.durable.load(Ordering::SeqCst),
            first_segment,
            wall_time_ms,
            next_table,
        };
        let published = store.flip(&self.pager, input)?;
        maintenance.changed_count = 0;
        self.note_store(maintenance);
        {
            let mut sequencer = self.sequencer.lock();
            let current = self.versions.current();
            let mut memtables = [NONE; MEMTABLES_MAX];
            let mut memtable_count = 0;
            let gone = last.map(|last| last.memtable);
            let kept = current.memtables().filter(|index| Some(*index) != gone);
            for (to, from) in memtables.iter_mut().zip(kept) {
                *to = from;
                memtable_count += 1;
            }
            let state = VersionState {
                generation: published.generation,
                merged_sequence,
                roots: published.roots,
                memtables,
                memtable_count,
            };
            // Only maintenance may take the last free slot, and it looked for one
            // before the slice began.
            self.versions
                .publish(self.pager.epochs(), &state)
                .map_err(|_| Error::Internal(242))?;
            if let Some(last) = last {
                let floor = sequencer.validation_floor.max(last.last_sequence);
                sequencer.validation_floor = floor;
                let slot = self.memtable(last.memtable)?;
                slot.state.store(STATE_MERGED, Ordering::Release);
                self.merged.store(merged_sequence, Ordering::SeqCst);
            }
        }
        Ok(())
    }

    /// The oldest log segment that is needed when everything up to `merged` is in
    /// the trees; `None` while the log is in use.
    fn first_segment_for(&self, merged: u64) -> Option<u64> {
        let log = self.log.as_ref()?;
        for attempt in 0..256 {
            if let Some(log) = log.try_enter() {
                return Some(log.writer.first_segment_needed_for(merged));
            }
            self.wait.relax(attempt);
        }
        None
    }

    pub(super) fn note_store(&self, maintenance: &Maintenance) {
        let statistics = maintenance.store.statistics(self.pager.layout());
        let counters = &self.statistics;
        counters
            .entries
            .store(maintenance.store.entries(), Ordering::Relaxed);
        counters
            .file_bytes
            .store(statistics.file_bytes, Ordering::Relaxed);
        counters
            .used_bytes
            .store(statistics.used_bytes, Ordering::Relaxed);
        counters
            .pending_bytes
            .store(statistics.pending_bytes, Ordering::Relaxed);
        counters
            .written_bytes
            .store(statistics.written_bytes, Ordering::Relaxed);
        counters.flips.store(statistics.flips, Ordering::Relaxed);
    }

    /// After an error: back to what is published, and to the slice's beginning.
    fn give_up_slice(&self, maintenance: &mut Maintenance, error: Error) -> Result<()> {
        let full = match error {
            Error::Io { error, .. } => error.kind == IoErrorKind::StorageFull,
            Error::OverLimit {
                limit: Limit::PageFileBytes,
                ..
            } => true,
            _ => false,
        };
        self.storage_full.store(full, Ordering::Relaxed);
        if let Some(merge) = &mut maintenance.merge {
            merge.cursor = merge.slice_cursor;
            merge.table = None;
            merge.begun = false;
        }
        maintenance.changed_count = 0;
        match maintenance.store.abandon(&self.pager) {
            Err(Error::Poisoned) => Err(self.poison(error)),
            other => other,
        }
    }

    /// Resets the memtables that are merged and that nobody reads any more.
    pub(super) fn reset_merged(&self) -> Result<bool> {
        let mut any = false;
        for (index, slot) in (0_u32..).zip(self.memtables.iter()) {
            if slot.state.load(Ordering::Acquire) != STATE_MERGED
                || self.versions.lists(self.pager.epochs(), index)
            {
                continue;
            }
            if let Some(log) = &self.log {
                let Some(mut log) = log.try_enter() else {
                    continue;
                };
                if !self.log_has_left(&mut log, index)? {
                    continue;
                }
            }
            let mut writer = slot.memtable.writer().ok_or(Error::Internal(243))?;
            // SAFETY: it is neither active nor listed by a version that is not free,
            // so that no snapshot reads it, and none will: a merged memtable is
            // never listed again before it is reset. Readers that were counted
            // left with Release and were seen gone with Acquire. The sequencer reads
            // only what the current version lists, the log has left it, and the
            // merge that read it has ended in this very owner of maintenance.
            unsafe { writer.reset() }
            drop(writer);
            slot.state.store(STATE_FREE, Ordering::Release);
            any = true;
        }
        Ok(any)
    }
}
