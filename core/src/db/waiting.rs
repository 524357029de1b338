//! What stands above the trees and waits, and what of it is next.

use super::maintain::{Progress, RUNS_BESIDE_MERGE};
use super::merge::MergeFrom;
use super::pressure::due_run_bytes;
use super::{Engine, Maintenance, STATE_FROZEN};
use crate::limits::RUNS_MAX;
use crate::sync::Ordering;
use crate::txn::{SourceId, Sources};

/// The oldest source above the trees that is not a run in the catalogue, where it may
/// become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Oldest {
    /// A memtable that is frozen and durable.
    Memtable(u32),
    /// The slot of a run that was ingested.
    Ingested(u32),
}

impl Engine {
    /// Which runs are to be merged now, if any.
    pub(super) fn runs_to_merge(
        &self,
        maintenance: &Maintenance,
        is_pressed: bool,
    ) -> Option<MergeFrom> {
        let runs = maintenance.store.runs();
        if runs.merging() > 0 {
            // Merged in part before the database was opened: the very same again.
            return Some(MergeFrom::Runs(runs.merging()));
        }
        let most = (self.options.runs as usize).max(1);
        let run_bytes: u64 = runs.iter().map(|run| run.written_bytes).sum();
        let statistics = maintenance.store.statistics(self.pager.layout());
        let others = run_bytes + statistics.pending_bytes;
        let base = statistics.used_bytes.saturating_sub(others);
        let is_due = runs.count() >= most
            || runs.count() >= 2 && run_bytes >= due_run_bytes(base, self.options.memtable_bytes)
            || is_pressed
            || self.options.runs == 0
            || self.wants_drain.load(Ordering::Acquire);
        // Those that came while the last merge ran go along, since that costs little more:
        // but some places are left for what comes meanwhile.
        let count = runs.count().min(RUNS_MAX - RUNS_BESIDE_MERGE);
        is_due.then_some(MergeFrom::Runs(count))
    }

    /// The oldest source that isn't in the catalogue, where it takes no more commits and is
    /// durable.
    pub(super) fn oldest_waiting(
        &self,
        sources: &Sources,
        progress: &mut Progress,
    ) -> Option<Oldest> {
        let pending = self.pending.get();
        let is_pending =
            |source: &SourceId| pending.is_some_and(|(_, slot)| source.run() == Some(slot));
        let oldest = sources
            .iter()
            .rev()
            .find(|source| source.memtable().is_some() || is_pending(source))?;
        let (last_sequence, oldest) = match (oldest.memtable(), pending) {
            (Some(index), _) => {
                let slot = self.front.memtable(index)?;
                if slot.state.load(Ordering::Acquire) != STATE_FROZEN {
                    return None;
                }
                (slot.memtable.last_sequence(), Oldest::Memtable(index))
            }
            (None, pending) => {
                let (sequence, slot) = pending?;
                (sequence, Oldest::Ingested(slot))
            }
        };
        progress.is_behind = true;
        if last_sequence > self.durable.load(Ordering::SeqCst) {
            progress.wants_sync = true;
            return None;
        }
        Some(oldest)
    }

    /// Whether a memtable waits that could become a run, or a run for its place in the
    /// catalogue.
    pub(super) fn run_waits(&self) -> bool {
        let sources = self.current_version().sources;
        match self.oldest_waiting(&sources, &mut Progress::default()) {
            Some(Oldest::Ingested(_)) => true,
            Some(Oldest::Memtable(_)) => self.options.runs > 0 && sources.runs().count() < RUNS_MAX,
            None => false,
        }
    }
}
