//! Making a run of a frozen memtable.
//!
//! # Protocol
//! 1. Durable has passed the memtable's last commit, so that every snapshot that begins
//!    from now on sees all of it.
//! 2. A stamp is taken, and waited for: then every snapshot that began before is
//!    registered, and the sequences at which older versions are needed are complete.
//! 3. The run is written into the state being built, in steps.
//! 4. The flip names it in the catalogue, and the memtable's last commit as merged. The
//!    new current version lists the run where the memtable was.
//! 5. The run is put in the memtable's place in every older version that is in use.
//! 6. Another stamp: when that is unseen, and no value is lent from the memtable, nobody
//!    reads it any more (`Engine::give_back`).

use super::maintain::{Publishing, Work};
use super::{Engine, Maintenance, STATE_MERGED};
use crate::error::{Error, Result};
use crate::format::run::RunRecord;
use crate::limits::RUNS_MAX;
use crate::pager::{Pager, Retired, RunsChange};
use crate::run::{Reserved, RunKeeper, RunParts, RunWriter, Runs};
use crate::sync::Ordering;
use crate::txn::SourceId;

/// A run being made.
#[derive(Debug, Clone, Copy)]
pub(super) struct MakeRun {
    memtable: u32,
    reserved: Reserved,
    /// What has to be unseen before the writing begins.
    stamp: Retired,
    writer: Option<RunWriter>,
}

impl MakeRun {
    pub(super) fn reserved(&self) -> Reserved {
        self.reserved
    }
}

impl Engine {
    /// Sets memory aside for a run of a memtable; none where there is none.
    pub(super) fn begin_run(
        &self,
        maintenance: &mut Maintenance,
        index: u32,
    ) -> Result<Option<MakeRun>> {
        // A place is kept for a run that was ingested.
        if maintenance.store.runs().count() + self.pending.count() >= RUNS_MAX {
            return Ok(None);
        }
        let memtable = &self.memtable(index)?.memtable;
        let filter_bytes = RunWriter::filter_bytes(memtable);
        let has_ranges = memtable.range_tombstones().next().is_some();
        // SAFETY: runs are made one at a time, each lent its memory for the length of a
        // step only; this is between two runs.
        let reserved = unsafe {
            self.front.runs.reserve(
                &mut maintenance.keeper,
                &self.pager,
                filter_bytes,
                has_ranges,
            )
        };
        Ok(reserved.map(|reserved| MakeRun {
            memtable: index,
            reserved,
            stamp: self.pager.epochs().retire(),
            writer: None,
        }))
    }

    /// How many keys of a run are written, and how many there are, at most.
    pub(super) fn written_of(&self, run: &MakeRun) -> (u64, u64) {
        let slot = self.front.memtable(run.memtable);
        let all = slot.map_or(0, |slot| u64::from(slot.memtable.entry_count()));
        (run.writer.as_ref().map_or(0, RunWriter::written_keys), all)
    }

    /// Writes up to `entries` more of a run, and publishes it when it is whole.
    pub(super) fn make_run_step(
        &self,
        maintenance: &mut Maintenance,
        mut run: MakeRun,
        entries: u32,
    ) -> Result<Option<Work>> {
        let slot = self.memtable(run.memtable)?;
        if run.writer.is_none() {
            if !self.pager.epochs().is_unseen(run.stamp) {
                return Ok(Some(Work::MakeRun(run)));
            }
            let sequences = self.front.versions.sequences();
            maintenance.needed.collect(sequences, &slot.memtable);
            self.reclaim(maintenance)?;
        }
        let Maintenance {
            store,
            editor,
            needed,
            scratch_page,
            scratch_key,
            ..
        } = &mut *maintenance;
        // SAFETY: reserved by this owner of maintenance, not opened yet, and lent for the
        // length of this step.
        let mut filling =
            unsafe { self.front.runs.fill(run.reserved) }.ok_or(Error::Internal(247))?;
        let mut parts = RunParts {
            pager: &self.pager,
            store,
            editor,
            memtable: &slot.memtable,
            run: &mut filling,
            needed,
            scratch: (scratch_page, scratch_key),
        };
        let mut writer = match run.writer {
            Some(writer) => writer,
            None => RunWriter::begin(&mut parts)?,
        };
        let Some(record) = writer.step(&mut parts, entries)? else {
            run.writer = Some(writer);
            return Ok(Some(Work::MakeRun(run)));
        };
        let publishing = Publishing {
            merged_sequence: record.last_sequence,
            touched_sequence: record.last_sequence,
            validation_floor: 0,
            runs: RunsChange::Newest(record),
        };
        let before = SourceId::of_memtable(run.memtable);
        let after = SourceId::of_run(run.reserved.slot);
        self.flip(maintenance, &publishing, |sources| {
            self.front.runs.open(run.reserved);
            sources.map(|source| Some(if source == before { after } else { source }))
        })?;
        self.front
            .versions
            .exchange(run.memtable, run.reserved.slot);
        if let Some(retired) = maintenance.retired.get_mut(run.memtable as usize) {
            *retired = Some(self.pager.epochs().retire());
        }
        slot.state.store(STATE_MERGED, Ordering::Release);
        Ok(None)
    }

    /// Frees the slots of runs that are in the trees and that no version lists.
    pub(super) fn free_run_slots(&self, maintenance: &mut Maintenance) -> bool {
        if !maintenance.has_retired_runs {
            return false;
        }
        let current = self.current_version().sources;
        let (mut any, mut is_left) = (false, false);
        for slot in self.front.runs.open_slots() {
            if current.runs().any(|listed| listed == slot) {
                continue;
            }
            if self
                .front
                .versions
                .lists(self.pager.epochs(), SourceId::of_run(slot))
            {
                is_left = true;
                continue;
            }
            // SAFETY: no version that is in use lists it; readers of those that did are
            // gone, seen so with Acquire, and with them all that the run lent. The
            // filter was taken from it when it left the current version.
            unsafe { self.front.runs.free(slot) };
            any = true;
        }
        maintenance.has_retired_runs = is_left;
        any
    }
}

/// Opens a run that the catalogue names in a slot of its own.
pub(super) fn load_run(
    pager: &Pager,
    runs: &Runs,
    keeper: &mut RunKeeper,
    record: &RunRecord,
    key: &mut [u8],
) -> Result<u32> {
    let filter_bytes = record.filter_bytes as usize;
    let has_ranges = record.range_tombstones > 0;
    // SAFETY: the engine is being put together: nobody else has the memory, and what was
    // filled before is opened.
    let reserved = unsafe { runs.reserve(keeper, pager, filter_bytes, has_ranges) };
    let reserved = reserved.ok_or(Error::Internal(256))?;
    // SAFETY: as above, and filled once.
    let mut filling = unsafe { runs.fill(reserved) }.ok_or(Error::Internal(257))?;
    filling.load(pager, record, key)?;
    runs.open(reserved);
    Ok(reserved.slot)
}
