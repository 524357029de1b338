//! Cutting the runs that are being merged: what of them is in the trees goes with each slice,
//! so that the page file never holds much more than what is merged, merged and not yet.
//!
//! # Protocol
//! 1. Before the flip of a slice each of the runs gets a new tree, which begins where the
//!    slice ended. It shares all pages behind that place with the one before; what is
//!    before goes on the pending list of the flip.
//! 2. The flip names the new trees in the catalogue, with the roots that have what they lack.
//!    So after a power cut the same runs are merged again, from where they begin now.
//! 3. The current version lists other slots for them, with the same filters. Versions that
//!    older snapshots read list the slots before, and their pages stay as long.
//!
//! # When not
//! * A snapshot is open that began before the last commit of the runs. Nothing would be free
//!   before it ends; and a transaction that began then looks into the runs for what
//!   was committed since. Without one neither history nor validation needs what is cut off.
//! * One of the runs has range tombstones: they would hide what the trees have got of it.
//! * One of the runs has extents: those of versions that did not win are known at the end.
//! * Old snapshots have most of the slots.

use super::{Engine, Maintenance};
use crate::btree::{StoreSink, release_tree};
use crate::error::{Error, Result};
use crate::format::run::RunRecord;
use crate::limits::RUNS_MAX;
use crate::run::tree;
use crate::txn::{SourceId, Sources};

/// Slots of runs, before and after.
pub(super) struct CutRuns {
    slots: [(u32, u32); RUNS_MAX],
    count: usize,
    last_sequence: u64,
}

impl CutRuns {
    fn iter(&self) -> impl Iterator<Item = (u32, u32)> {
        self.slots.iter().take(self.count).copied()
    }

    /// The last commit of the runs.
    pub(super) fn last_sequence(&self) -> u64 {
        self.last_sequence
    }
}

impl Engine {
    /// Cuts the `count` oldest runs to what lies at or behind the place that a merge of them
    /// has come to, in the state being built. None where that can't be.
    pub(super) fn cut_runs(
        &self,
        maintenance: &mut Maintenance,
        count: usize,
        sources: &Sources,
    ) -> Result<Option<CutRuns>> {
        let records = maintenance.store.runs().iter().take(count);
        let mut last_sequence = 0;
        for record in records {
            if record.range_tombstones > 0 || record.has_extents {
                return Ok(None);
            }
            last_sequence = record.last_sequence.max(last_sequence);
        }
        let began_before = |sequence: u64| sequence < last_sequence;
        if maintenance.next.get().is_empty() || self.front.versions.sequences().any(began_before) {
            return Ok(None);
        }
        let mut cut = CutRuns {
            slots: [(0, 0); RUNS_MAX],
            count,
            last_sequence,
        };
        let skipped = sources.runs().count().saturating_sub(count);
        let whole = sources.runs().skip(skipped);
        // The last ones are left to runs of memtables.
        let free = self.front.runs.free_slots().take(count + RUNS_MAX);
        if free.count() < count + RUNS_MAX {
            return Ok(None);
        }
        let free = self.front.runs.free_slots();
        for (slots, pair) in cut.slots.iter_mut().zip(whole.zip(free)).take(count) {
            *slots = pair;
        }
        // The oldest stands first in the catalogue, and last among the sources.
        let oldest_first = cut.slots.iter().take(count).rev();
        for (index, (whole, slot)) in oldest_first.enumerate() {
            let record = maintenance.store.runs().iter().nth(index).copied();
            let record = self.cut_run(maintenance, &record.ok_or(Error::Internal(315))?)?;
            maintenance.store.cut_run(index, record);
            // SAFETY: this is the owner of maintenance, and the slot was found free.
            if !unsafe { self.front.runs.fill_cut(*whole, *slot, record) } {
                return Err(Error::Internal(316));
            }
        }
        Ok(Some(cut))
    }

    /// What is left of a run.
    fn cut_run(&self, maintenance: &mut Maintenance, record: &RunRecord) -> Result<RunRecord> {
        let Maintenance {
            store,
            editor,
            next,
            ..
        } = maintenance;
        let mut sink = StoreSink {
            pager: &self.pager,
            store,
            keeps_leaves: true,
        };
        if let Some(history) = &record.history {
            release_tree(&self.pager, &mut sink, 0, history)?;
        }
        let mut left = RunRecord {
            history: None,
            ..*record
        };
        if record.newest.is_some() {
            editor.begin(&tree(record.newest), !record.is_ingested)?;
            editor.delete_range(&self.pager, &mut sink, &[], Some(next.get()))?;
            let root = editor.finish(&self.pager, &mut sink)?;
            left.newest = root.root;
            left.entries = root.entries;
            let bytes = u128::from(record.written_bytes) * u128::from(root.entries)
                / u128::from(record.entries.max(1));
            left.written_bytes = u64::try_from(bytes).unwrap_or(record.written_bytes);
        }
        Ok(left)
    }

    /// What lists the runs in the version that is published: to be called for that.
    pub(super) fn list_cut(&self, cut: &CutRuns, sources: &Sources) -> Sources {
        for (whole, slot) in cut.iter() {
            self.front.runs.open_cut(whole, slot);
        }
        sources.map(|source| {
            let mut slots = cut.iter();
            let found = slots.find(|(whole, _)| source == SourceId::of_run(*whole));
            Some(found.map_or(source, |(_, slot)| SourceId::of_run(slot)))
        })
    }

    /// What follows when that version is published.
    pub(super) fn leave_whole(&self, maintenance: &mut Maintenance, cut: &CutRuns) {
        for (whole, _) in cut.iter() {
            self.front.runs.leave_filter(whole);
        }
        maintenance.has_retired_runs = true;
    }
}
