//! How much writers may write before they should wait: by the memtables that are free, and
//! by the space that runs take beside the trees.
//!
//! # Space
//! What was written stands in runs until it is merged. Where merges don't keep up, they
//! grow up to the most that there may be, to more than the trees themselves. So from where
//! a merge of them is due on, writers are slowed down, the more the more it is; 3/20 of the
//! trees later they go hardly faster than merges. Merges give space back while they run
//! (`cut_runs`), so that writers see them go on.
//!
//! A merge is due where runs and log come to half of the trees. The log counts as one
//! memtable, about what it has on average, so that its coming and going doesn't
//! decide when; and runs alone have a quarter of the trees at least. So the part that runs
//! may have grows with the trees: beside those of ten memtables 4/10, beside those of five,
//! where the log is twice the part, 3/10.
//!
//! A memtable that is full counts as the run that it becomes: by the time that it is one,
//! the writers would have filled the next.
//!
//! Not while the trees are small: beside memtables of a fixed size they have no say. What
//! snapshots keep doesn't count: no writer waits for a reader.
//!
//! # Time
//! Merges are told, too, whether they may take theirs (`Progress::has_time`): while they are
//! ahead of writers a host has them give way to whoever waits for the processor.

use super::maintain::Work;
use super::{Engine, Maintenance, STATE_ACTIVE, STATE_FREE, STATE_FROZEN};
use crate::sync::Ordering;

/// Memtables' worth of trees from which on space counts.
pub(super) const TREES_MIN_MEMTABLES: u64 = 5;

/// What is left of the memtable that takes writes, where that is to be heeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrontRoom {
    /// Bytes that it takes.
    pub bytes: u64,
    /// Bytes that it takes still.
    pub left_bytes: u64,
    /// Whether another memtable is free.
    pub is_any_free: bool,
    /// Where space is short, what may be written until merges have given some back: less
    /// than half of a memtable.
    pub space_bytes: Option<u64>,
    /// Bytes of the trees, which a merge writes again at most.
    pub tree_bytes: u64,
}

/// Bytes of two runs and more with which they are to be merged into trees of so many.
pub(super) fn due_run_bytes(tree_bytes: u64, memtable_bytes: u32) -> u64 {
    let without_log = (tree_bytes / 2).saturating_sub(u64::from(memtable_bytes));
    without_log.max(tree_bytes / 4)
}

impl Engine {
    /// How much writers may write until they have to wait for a merge; `None` while
    /// another memtable is free and the runs are small beside the trees. A host
    /// slows them down by it.
    #[must_use]
    pub fn front_room(&self) -> Option<FrontRoom> {
        let (room, _) = self.front_stands()?;
        (!room.is_any_free || room.space_bytes.is_some()).then_some(room)
    }

    /// Whether merges are ahead of writers. Not where space is short, or there are more
    /// runs than make a merge due, or a memtable waits; and a run that is made of one is to
    /// be whole when the next is half full.
    pub(super) fn are_merges_ahead(&self, maintenance: &Maintenance) -> bool {
        let Some((room, full)) = self.front_stands() else {
            return false;
        };
        let runs = maintenance.store.runs().count() as u64;
        if !room.is_any_free || room.space_bytes.is_some() || runs > u64::from(self.options.runs) {
            return false;
        }
        let Some(Work::MakeRun(run)) = &maintenance.work else {
            return full == 0;
        };
        let (written, all) = self.written_of(run);
        let used = room.bytes.saturating_sub(room.left_bytes);
        full <= 1 && written.saturating_mul(room.bytes) >= used.saturating_mul(2 * all)
    }

    /// What is left of the memtable that takes writes, and how many are full.
    fn front_stands(&self) -> Option<(FrontRoom, u64)> {
        let mut active = None;
        let mut is_any_free = false;
        let mut full = 0;
        for slot in self.front.memtables.iter() {
            match slot.state.load(Ordering::Relaxed) {
                STATE_FREE => is_any_free = true,
                STATE_ACTIVE => active = Some(&slot.memtable),
                STATE_FROZEN => full += 1,
                _ => {}
            }
        }
        let memtable = active?;
        let (space_bytes, tree_bytes) = self.space_room(full);
        let bytes = memtable.bytes_capacity();
        let room = FrontRoom {
            bytes,
            left_bytes: bytes.saturating_sub(memtable.bytes_used()),
            is_any_free,
            space_bytes,
            tree_bytes,
        };
        Some((room, full))
    }

    /// What may be written where space is short: half of a memtable where runs take as much
    /// as makes a merge due, nothing where they take 3/20 of the trees more; `full`
    /// memtables are to be runs. And what the trees take.
    fn space_room(&self, full: u64) -> (Option<u64>, u64) {
        let counters = &self.statistics;
        let memtable = u64::from(self.options.memtable_bytes);
        let run_bytes = counters.run_bytes.load(Ordering::Relaxed);
        // Its entries will take less, but stand in the log until then, too.
        let runs = run_bytes + full * memtable;
        let pending = counters.pending_bytes.load(Ordering::Relaxed);
        let used = counters.used_bytes.load(Ordering::Relaxed);
        let trees = used.saturating_sub(run_bytes + pending);
        let due = due_run_bytes(trees, self.options.memtable_bytes);
        let over = runs.saturating_sub(due);
        let is_due = over > 0 && counters.runs.load(Ordering::Relaxed) + full >= 2;
        if !is_due || trees < TREES_MIN_MEMTABLES * memtable {
            return (None, trees);
        }
        let whole = trees / 20 * 3;
        let left = whole.saturating_sub(over);
        let room = u128::from(memtable / 2) * u128::from(left) / u128::from(whole.max(1));
        (Some(u64::try_from(room).unwrap_or(0)), trees)
    }
}

#[cfg(test)]
mod tests {
    use super::due_run_bytes;

    #[test]
    fn runs_may_have_a_larger_part_of_larger_trees() {
        let memtable = 1 << 20;
        let percent = |memtables: u64| {
            let trees = memtables * u64::from(memtable);
            due_run_bytes(trees, memtable) * 100 / trees
        };
        assert_eq!([2, 4, 5, 10, 20].map(percent), [25, 25, 30, 40, 45]);
    }
}
