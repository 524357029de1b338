//! What a database is opened with, and the memory plan that follows from it.

use super::maintain::RUNS_BESIDE_MERGE;
use crate::error::{Error, OptionProblem, Result};
use crate::limits::{PAGE_BYTES_MAX, PAGE_BYTES_MIN, RUNS_MAX, key_bytes_max};
use crate::run::RunPlan;
use crate::txn::MEMTABLES_MAX;

/// When a commit is acknowledged, and what readers see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Durability {
    /// A commit is acknowledged when it survives a power cut, and read only then.
    Sync,
    /// A commit is acknowledged and read when the storage has it: it survives the
    /// process; the host syncs now and then.
    Written,
}

/// Sizes and modes. Memory is planned from them at open, and never grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Bytes of a page, at creation; 0 at open takes what the database has.
    pub page_bytes: u32,
    /// Bytes of a unit, at creation: less than a page where a codec is to save
    /// space; 0 for a page.
    pub unit_bytes: u32,
    /// The most memory the engine may use, in bytes.
    pub max_memory_bytes: u64,
    /// Bytes of frames for pages.
    pub cache_bytes: u64,
    /// Bytes of one memtable's arena.
    pub memtable_bytes: u32,
    /// Memtables: one is written, the others wait to become runs, or for their merge. 2
    /// to 8.
    pub memtables: u32,
    /// How many runs make a merge into the trees due, at most 6; more may come before it
    /// begins, and are merged together. 0 merges each memtable by itself. More runs write
    /// less and read slower, while they stand.
    pub runs: u32,
    /// Bytes of a run's filter at most; 0 for a 64th of a memtable. There are as many
    /// filters as runs may stand, 8.
    pub filter_bytes: u32,
    /// Bytes that the range tombstones of one memtable and of its run take at most, each
    /// with 16 bytes beside its two keys.
    pub range_bytes: u32,
    /// Bytes of a log segment at most, at creation.
    pub segment_bytes: u32,
    /// Log slots at most.
    pub log_slots: u32,
    /// Prepared log segments that are kept ready.
    pub log_slots_ready: u32,
    /// Bytes of the log's flush buffer, in whole write blocks: more where it isn't.
    pub log_buffer_bytes: u32,
    /// Bytes of the merge's write buffer.
    pub write_buffer_bytes: u32,
    /// Write transactions open at once.
    pub transactions: u32,
    /// Bytes of one transaction's writes; at most a third of a memtable and of a segment.
    pub transaction_bytes: u32,
    /// Bytes of the largest value: what is longer than a quarter page is merged into
    /// an extent of its own. 0 for a quarter page; at most three quarters of a
    /// transaction.
    pub value_bytes_max: u32,
    /// Bytes of what one serializable transaction remembers of its reads.
    pub read_set_bytes: u32,
    /// Snapshots open at once, those of transactions included.
    pub snapshots: u32,
    /// Without runs, how long a snapshot may keep the last memtable from writers, in
    /// milliseconds of the wall time that commits bring; then its reads answer
    /// [`Error::SnapshotTooOld`]. 0 for as long as it is open.
    pub snapshot_deadline_ms: u64,
    /// Cursors open at once.
    pub cursors: u32,
    /// Traversals under way at once; more wait a moment.
    pub reader_slots: u32,
    /// The most bytes that the page file may have: its bitmaps are in the plan.
    pub file_bytes_max: u64,
    /// Levels of a tree at most.
    pub tree_levels: u32,
    /// Pages' worth of entries that a merge holds back on each level.
    pub stage_pages: u32,
    /// Bytes that a merge writes at least before it publishes.
    pub slice_bytes_min: u64,
    /// When commits are acknowledged.
    pub durability: Durability,
    /// Opens for reading only: nothing is written.
    pub read_only: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            page_bytes: 4_096,
            unit_bytes: 0,
            max_memory_bytes: u64::MAX,
            cache_bytes: 256 << 20,
            memtable_bytes: 64 << 20,
            memtables: 3,
            runs: 4,
            filter_bytes: 0,
            range_bytes: 64 << 10,
            segment_bytes: 16 << 20,
            log_slots: 1_024,
            log_slots_ready: 2,
            log_buffer_bytes: 1 << 20,
            write_buffer_bytes: 1 << 20,
            transactions: 16,
            transaction_bytes: 4 << 20,
            value_bytes_max: 2 << 20,
            read_set_bytes: 64 << 10,
            snapshots: 256,
            snapshot_deadline_ms: 0,
            cursors: 256,
            reader_slots: 64,
            file_bytes_max: 256 << 30,
            tree_levels: 8,
            stage_pages: 8,
            slice_bytes_min: 4 << 20,
            durability: Durability::Sync,
            read_only: false,
        }
    }
}

impl Options {
    /// Sizes for a small device: about 40 KiB of memory with pages of 1 KiB.
    #[must_use]
    pub fn small() -> Self {
        Self {
            page_bytes: 1_024,
            max_memory_bytes: 40 << 10,
            cache_bytes: 6 << 10,
            memtable_bytes: 2_064,
            memtables: 2,
            runs: 0,
            segment_bytes: 64 << 10,
            log_slots: 4,
            log_slots_ready: 1,
            log_buffer_bytes: 512,
            write_buffer_bytes: 4 << 10,
            transactions: 1,
            transaction_bytes: 688,
            value_bytes_max: 0,
            read_set_bytes: 96,
            snapshots: 3,
            cursors: 1,
            reader_slots: 1,
            file_bytes_max: 1 << 20,
            tree_levels: 4,
            stage_pages: 2,
            slice_bytes_min: 64 << 10,
            ..Self::default()
        }
    }

    /// Checks what doesn't depend on the storage.
    ///
    /// # Errors
    /// [`Error::Options`].
    pub fn check(&self) -> Result<()> {
        let problem = |problem| Err(Error::Options(problem));
        let page = self.page_bytes as usize;
        if page != 0
            && (!page.is_power_of_two() || !(PAGE_BYTES_MIN..=PAGE_BYTES_MAX).contains(&page))
        {
            return problem(OptionProblem::PageBytes);
        }
        let unit = self.unit_bytes;
        if unit != 0 && (!unit.is_power_of_two() || unit < 64 || unit > self.page_bytes) {
            return problem(OptionProblem::UnitBytes);
        }
        if self.memtables < 2 || self.memtables as usize > MEMTABLES_MAX {
            return problem(OptionProblem::Memtables);
        }
        if !(1_024..=1 << 31).contains(&self.memtable_bytes) {
            return problem(OptionProblem::ArenaBytes);
        }
        if self.transaction_bytes > self.memtable_bytes / 3 {
            return problem(OptionProblem::TransactionBytes);
        }
        if self.runs as usize + RUNS_BESIDE_MERGE > RUNS_MAX {
            return problem(OptionProblem::Runs);
        }
        let least = 16 + 2 * key_bytes_max(page.max(PAGE_BYTES_MIN)) as u64;
        if u64::from(self.range_bytes) < least {
            return problem(OptionProblem::RangeBytes);
        }
        if self.value_bytes_max > self.transaction_bytes / 4 * 3 {
            return problem(OptionProblem::ValueBytes);
        }
        if self.transaction_bytes > self.segment_bytes / 3 {
            return problem(OptionProblem::SegmentBytes);
        }
        if self.snapshots == 0 || self.snapshots > 65_535 {
            return problem(OptionProblem::Snapshots);
        }
        if self.transactions == 0 {
            return problem(OptionProblem::Transactions);
        }
        if self.tree_levels < 3 || self.stage_pages < 2 {
            return problem(OptionProblem::Trees);
        }
        Ok(())
    }

    /// Bytes of a memtable's filter: ten bits a key where entries take 160 bytes of the
    /// arena. Without runs, memory is scarce, and there is none.
    pub(super) fn memtable_filter_bytes(&self) -> usize {
        if self.runs > 0 {
            self.memtable_bytes as usize / 128
        } else {
            0
        }
    }

    /// The memory of runs, where `listed` stand on the trees already.
    pub(super) fn run_plan(&self, listed: usize) -> RunPlan {
        if self.runs == 0 {
            // They are merged, and no other is made.
            return RunPlan {
                slots: listed,
                filters: 0,
                filter_bytes: 0,
                ranges: listed,
                range_bytes: self.range_bytes as usize,
            };
        }
        let filter_bytes = match self.filter_bytes {
            0 => self.memtable_bytes / 64,
            bytes => bytes,
        };
        RunPlan {
            // Those of the current version, and what old snapshots still read.
            slots: 2 * RUNS_MAX + 2 * self.snapshots as usize,
            filters: RUNS_MAX,
            filter_bytes: filter_bytes as usize,
            ranges: 2 * RUNS_MAX + (2 * self.snapshots as usize).min(2 * RUNS_MAX),
            range_bytes: self.range_bytes as usize,
        }
    }

    /// Frames for pages of `plain_bytes`.
    pub(super) fn frames(&self, plain_bytes: usize) -> Result<usize> {
        let frames = usize::try_from(self.cache_bytes / plain_bytes.max(1) as u64)
            .map_err(|_| Error::Options(OptionProblem::CacheBytes))?;
        // A path, a page being loaded with its scratch, and the merge's two.
        if !(6..=1 << 30).contains(&frames) {
            return Err(Error::Options(OptionProblem::CacheBytes));
        }
        Ok(frames)
    }
}
