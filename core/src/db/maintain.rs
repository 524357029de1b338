//! Maintenance: what moves from memtables into runs and trees, in steps.
//!
//! # Work
//! There is one owner of maintenance, and one piece of work at a time that builds a new
//! state of the page file: a memtable written as a run (`make_run`), or a slice of a
//! merge, of a memtable or of runs (`merge`). Each ends with a flip. Between two
//! slices of a merge of runs a memtable that waits is written as a run first, since
//! that frees its arena for writers.
//!
//! With runs (`Options::runs` is not 0) a frozen memtable that is durable becomes a run.
//! Runs are merged into the trees when there are `Options::runs` of them, or at
//! least two that together are large beside the trees (`pressure`), or when everything is to
//! drain; then all that stand are, up to six. Without runs each memtable is merged by
//! itself. Where nothing is to be built, blocks are evacuated that are mostly dead
//! (`evacuate`), and space is given back to the device (`trim`).
//!
//! # Errors
//! What fails before the flip is abandoned: the store is again as published, and
//! the work begins anew from what was published last. A full storage is such an
//! error: where evacuating helps, that comes first then; reads and (until the memtables are
//! full) writes go on. What fails after the
//! flip is durable poisons the engine.

use super::evacuate::Worth;
use super::make_run::MakeRun;
use super::merge::{Merge, MergeFrom};
use super::waiting::Oldest;
use super::{Engine, Maintenance, STATE_FREE, STATE_MERGED};
use crate::btree::{Change, Root, StoreSink};
use crate::error::{Error, Limit, Result};
use crate::format::catalogue::RootRecord;
use crate::format::leaf::EntryKind;
use crate::limits::RUNS_MAX;
use crate::pager::{FlipInput, RunsChange};
use crate::sync::Ordering;
use crate::txn::{MemtableSlot, SourceId, Sources, VersionState};
use lightning_platform::IoErrorKind;

/// Places of runs that a merge leaves for what comes while it runs.
pub(super) const RUNS_BESIDE_MERGE: usize = 2;

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
    /// Whether writers are far from waiting for merges: these may take their time.
    pub has_time: bool,
}

/// What is being built.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one of it, and nothing to box it with"
)]
#[derive(Debug, Clone, Copy)]
pub(super) enum Work {
    Merge(Merge),
    MakeRun(MakeRun),
    /// A run that was ingested gets its place in the catalogue.
    Adopt(u32),
}

/// A table's new root, until it is in the roots tree.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ChangedRoot {
    pub table: u32,
    pub record: RootRecord,
    pub entries_before: u64,
}

/// Tables that one slice changes at most.
pub(super) const CHANGED_ROOTS: usize = 64;

/// What a flip publishes besides the changed roots. Sequences never fall: 0 leaves one as
/// it is.
#[derive(Default)]
pub(super) struct Publishing {
    /// All commits up to it are in trees and runs.
    pub merged_sequence: u64,
    /// No commit above it is in the trees, even in part.
    pub touched_sequence: u64,
    /// Transactions that began below it can't be validated any more.
    pub validation_floor: u64,
    /// What changes in the list of runs.
    pub runs: RunsChange,
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
        progress.worked |= self.give_back(&mut maintenance)?;
        if maintenance.store.must_abandon() {
            // Giving up failed the last time, reading the catalogue.
            maintenance.store.abandon(&self.pager)?;
        }
        let next = match maintenance.work.take() {
            Some(work) => Some(work),
            None => {
                // What was dropped may be the room that what follows needs.
                maintenance.store.sweep_streams(&self.pager)?;
                if self.evacuate_for_room(&mut maintenance)? {
                    progress.worked = true;
                    progress.is_behind = true;
                    None
                } else {
                    self.next_work(&mut maintenance, &mut progress)?
                }
            }
        };
        // It yields to what is built, and only while it is.
        maintenance.log_yields &= next.is_some();
        if let Some(work) = next {
            progress.is_behind = true;
            let stepped = match work {
                Work::Merge(merge) => self.merge_step(&mut maintenance, merge, budget.entries),
                Work::MakeRun(run) => self.make_run_step(&mut maintenance, run, budget.entries),
                Work::Adopt(slot) => self.adopt(&mut maintenance, slot),
            };
            match stepped {
                Ok(left) => {
                    progress.worked = true;
                    match left {
                        Some(Work::Merge(merge)) if merge.is_between_slices() => {
                            maintenance.paused = Some(merge);
                        }
                        left => maintenance.work = left,
                    }
                    maintenance.has_flipped_for_room = false;
                    self.note_built();
                }
                Err(error) => {
                    self.give_up(&mut maintenance, &work, error)?;
                    return Err(error);
                }
            }
            progress.worked |= self.give_back(&mut maintenance)?;
            progress.has_time = self.are_merges_ahead(&maintenance);
        } else if !progress.is_behind {
            progress.worked |= self.make_room(&mut maintenance)?
                || self.evacuate_step(&mut maintenance, Worth::Much)?
                || self.give_space_back(&mut maintenance)?;
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

    /// Asks that everything be merged into the trees, so that reads find one source.
    /// Answers whether something still stands above them: then maintenance is to be
    /// polled, and this asked again.
    ///
    /// # Errors
    /// As [`freeze_front`](Self::freeze_front).
    pub fn drain(&self) -> Result<bool> {
        let froze = self.freeze_front()?;
        let sources = self.current_version().sources;
        let stands = froze || sources.count() > 1;
        self.wants_drain.store(stands, Ordering::Release);
        Ok(stands)
    }

    /// What is to be built next.
    fn next_work(
        &self,
        maintenance: &mut Maintenance,
        progress: &mut Progress,
    ) -> Result<Option<Work>> {
        if !self.front.versions.has_room(self.pager.epochs()) {
            progress.is_behind = true;
            return Ok(None);
        }
        // A memtable may be durable already, by a change of segment: then nobody would take
        // it back. One that is frozen from here on sets it again; what was before is seen.
        let _wanted = self.wants_sync.swap(false, Ordering::SeqCst);
        let sources = self.current_version().sources;
        let oldest = self.oldest_waiting(&sources, progress);
        if progress.wants_sync {
            self.wants_sync.store(true, Ordering::SeqCst);
        }
        let frozen = match oldest {
            Some(Oldest::Memtable(memtable)) => Some(memtable),
            _ => None,
        };
        // A merge of runs that was begun goes on, but lets a memtable go first.
        let begun = maintenance.paused.take();
        if let Some(merge) = begun
            && matches!(merge.from(), MergeFrom::Memtable(_))
        {
            return Ok(Some(Work::Merge(merge)));
        }
        if let Some(Oldest::Ingested(slot)) = oldest
            && maintenance.store.runs().count() < RUNS_MAX
        {
            maintenance.paused = begun;
            return Ok(Some(Work::Adopt(slot)));
        }
        if let Some(memtable) = frozen
            && self.options.runs > 0
            && !self.pager.streams().any_exposed()
            && !self.is_run_too_much(self.memtable(memtable)?.memtable.bytes_used())
            && let Some(run) = self.begin_run(maintenance, memtable)?
        {
            maintenance.paused = begun;
            return Ok(Some(Work::MakeRun(run)));
        }
        if let Some(merge) = begun {
            return Ok(Some(Work::Merge(merge)));
        }
        if maintenance.store.runs().count() > 0 {
            // A memtable that can't be a run waits for the runs below it.
            let from = self.runs_to_merge(maintenance, frozen.is_some());
            return Ok(from.map(|from| begin_merge(maintenance, from)));
        }
        if frozen.is_none() && sources.count() <= 1 {
            self.wants_drain.store(false, Ordering::Release);
        }
        Ok(frozen.map(|memtable| begin_merge(maintenance, MergeFrom::Memtable(memtable))))
    }

    /// Makes the space that no snapshot needs reusable, before something is built.
    pub(super) fn reclaim(&self, maintenance: &mut Maintenance) -> Result<()> {
        let oldest = self.front.versions.oldest_generation(self.pager.epochs());
        while maintenance.store.reclaim(&self.pager, oldest)? {}
        maintenance.changed_count = 0;
        Ok(())
    }

    /// Has the editor open a table's tree. `false`: as many were changed as one flip
    /// publishes.
    pub(super) fn open_table(&self, maintenance: &mut Maintenance, table: u32) -> Result<bool> {
        let Maintenance {
            store,
            editor,
            changed,
            changed_count,
            ..
        } = maintenance;
        let Some(slot) = changed.get_mut(*changed_count) else {
            return Ok(false);
        };
        let record = self.root_record(store.published().roots.as_ref(), table, true)?;
        editor.begin(
            &Root {
                page: record.root,
                table,
            },
            false,
        )?;
        *slot = ChangedRoot {
            table,
            record,
            entries_before: record.entries,
        };
        Ok(true)
    }

    /// Ends the edit of the table that the editor has open.
    pub(super) fn finish_table(
        &self,
        maintenance: &mut Maintenance,
        table: &mut Option<u32>,
    ) -> Result<()> {
        if table.take().is_none() {
            return Ok(());
        }
        let Maintenance {
            store,
            editor,
            changed,
            changed_count,
            ..
        } = maintenance;
        let mut sink = StoreSink {
            pager: &self.pager,
            store,
            keeps_leaves: true,
        };
        let record = if editor.has_changes() {
            editor.finish(&self.pager, &mut sink)?
        } else {
            return Ok(());
        };
        if let Some(slot) = changed.get_mut(*changed_count) {
            slot.record = record;
            *changed_count += 1;
        }
        Ok(())
    }

    /// Publishes the changed roots and what `publishing` says, durably; then `sources`
    /// makes the version that readers find from the current one's, under the
    /// sequencer's lock.
    pub(super) fn flip(
        &self,
        maintenance: &mut Maintenance,
        publishing: &Publishing,
        sources: impl FnOnce(&Sources) -> Sources,
    ) -> Result<()> {
        let before = *maintenance.store.superblock();
        let (needed_above, needed) = maintenance.log_needed;
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
            let mut sink = StoreSink {
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
        let merged_sequence = publishing.merged_sequence.max(before.merged_sequence);
        let (wall_time_ms, next_table) = {
            let sequencer = self.sequencer.lock();
            (sequencer.wall_time_ms, sequencer.next_table)
        };
        let first_segment = self
            .first_segment_for(merged_sequence)
            .or((needed_above <= merged_sequence).then_some(needed))
            .map_or(before.first_segment, |needed| {
                needed.max(before.first_segment)
            });
        let input = FlipInput {
            roots,
            entries,
            merged_sequence,
            touched_sequence: publishing.touched_sequence.max(before.touched_sequence),
            durable_sequence: self.durable.load(Ordering::SeqCst),
            first_segment,
            wall_time_ms,
            next_table,
            runs: publishing.runs,
        };
        let published = store.flip(&self.pager, input)?;
        maintenance.changed_count = 0;
        self.note_store(maintenance);
        // From here on nothing may fail: what is on the medium is the truth.
        let mut sequencer = self.sequencer.lock();
        let current = self.front.versions.current();
        let state = VersionState {
            generation: published.generation,
            merged_sequence,
            roots: published.roots,
            sources: sources(&current.sources),
        };
        // Only maintenance may take the last free slot, and it looked for one
        // before it began.
        self.front
            .versions
            .publish(self.pager.epochs(), &state, sequencer.wall_time_ms)
            .map_err(|_| self.poison(Error::Internal(242)))?;
        self.merged.store(merged_sequence, Ordering::SeqCst);
        sequencer.validation_floor = sequencer.validation_floor.max(publishing.validation_floor);
        Ok(())
    }

    /// The oldest log segment that is needed when everything up to `merged` is in
    /// trees and runs; `None` while the log is in use.
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

    pub(super) fn note_store(&self, maintenance: &mut Maintenance) {
        let statistics = maintenance.store.statistics(self.pager.layout());
        let counters = &self.statistics;
        let runs = maintenance.store.runs();
        let run_bytes = runs.iter().map(|run| run.written_bytes).sum();
        for (counter, value) in [
            (&counters.entries, maintenance.store.entries()),
            (&counters.file_bytes, statistics.file_bytes),
            (&counters.used_bytes, statistics.used_bytes),
            (&counters.pending_bytes, statistics.pending_bytes),
            (&counters.written_bytes, statistics.written_bytes),
            (&counters.flips, statistics.flips),
            (&counters.evacuated_pages, statistics.evacuated_pages),
            (&counters.runs, runs.count() as u64),
            (&counters.run_bytes, run_bytes),
        ] {
            counter.store(value, Ordering::Relaxed);
        }
        self.note_room(maintenance);
    }

    /// After an error: back to what is published, and to where the work began.
    fn give_up(&self, maintenance: &mut Maintenance, work: &Work, error: Error) -> Result<()> {
        let full = is_full(&error);
        maintenance.evacuation.is_short = full;
        maintenance.log_yields = false;
        match work {
            Work::Merge(merge) => maintenance.paused = Some(merge.again()),
            Work::MakeRun(run) => {
                let keeper = &mut maintenance.keeper;
                self.front.runs.give_back(keeper, run.reserved());
            }
            Work::Adopt(_) => {}
        }
        maintenance.changed_count = 0;
        let abandoned = maintenance.store.abandon(&self.pager);
        self.note_full(full);
        match abandoned {
            Err(Error::Poisoned) => Err(self.poison(error)),
            other => other,
        }
    }

    /// Without runs: takes a memtable that is in the trees from snapshots that are past
    /// their deadline, where writers have no other one left.
    fn end_old_readers(&self, index: u32) -> bool {
        let deadline_ms = self.options.snapshot_deadline_ms;
        let is_free = |slot: &MemtableSlot| slot.state.load(Ordering::Acquire) == STATE_FREE;
        if deadline_ms == 0 || self.front.memtables.iter().any(is_free) {
            return false;
        }
        let now_ms = self.sequencer.lock().wall_time_ms;
        self.front
            .versions
            .end_readers_of(index, now_ms.saturating_sub(deadline_ms))
    }

    /// Gives back memtables that are in runs or trees, and slots of runs that are in
    /// the trees, where nobody reads them any more.
    pub(super) fn give_back(&self, maintenance: &mut Maintenance) -> Result<bool> {
        let mut any = false;
        for (index, slot) in (0_u32..).zip(self.front.memtables.iter()) {
            if slot.state.load(Ordering::Acquire) != STATE_MERGED {
                continue;
            }
            let retired = maintenance.retired.get_mut(index as usize);
            let stamp = retired.as_ref().and_then(|retired| **retired);
            let epochs = self.pager.epochs();
            let is_listed = self
                .front
                .versions
                .lists(epochs, SourceId::of_memtable(index));
            if is_listed && self.end_old_readers(index) {
                if let Some(retired) = retired {
                    *retired = Some(epochs.retire());
                }
                any = true;
                continue;
            }
            if is_listed
                || stamp.is_some_and(|stamp| !epochs.is_unseen(stamp))
                || slot.pins.load(Ordering::Acquire) > 0
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
            // SAFETY: it is neither active nor listed by a version that is not free:
            // either those were given back, and their readers seen gone, or the run
            // made of it was put in its place, and every epoch that may have seen it
            // before has ended. Values that were lent from it, which only who found it
            // in such an epoch can take, are given back, seen with Acquire. It is never
            // listed again before it is reset. The sequencer reads only what the current
            // version lists, the log has left it, and the work that read it has ended
            // in this very owner of maintenance.
            unsafe { writer.reset() }
            drop(writer);
            if let Some(retired) = retired {
                *retired = None;
            }
            slot.state.store(STATE_FREE, Ordering::Release);
            any = true;
        }
        any |= self.free_run_slots(maintenance);
        Ok(any)
    }
}

/// Whether an error says that there is no room for the page file.
pub(super) fn is_full(error: &Error) -> bool {
    match error {
        Error::Io { error, .. } => error.kind == IoErrorKind::StorageFull,
        Error::OverLimit { limit, .. } => *limit == Limit::PageFileBytes,
        _ => false,
    }
}

/// Begins a merge at its first key.
fn begin_merge(maintenance: &mut Maintenance, from: MergeFrom) -> Work {
    maintenance.rewriting = None;
    maintenance.slice_next.clear();
    Work::Merge(Merge::new(from))
}
