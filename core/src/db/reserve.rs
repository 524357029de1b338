//! The reserve: room on the device that puts leave, so that deletes and merges find it.
//!
//! Who has filled a device must be able to free it by deleting. A delete needs room itself,
//! in the log and for its merge, and it waits for all that was put before it. So puts are
//! refused early: while the room that is left, less what everything in front of the trees may
//! need until it is merged, would be less than the reserve. What only removes is
//! admitted until the storage itself refuses.
//!
//! # What is reckoned
//! * *Free*: what the device can give, and blocks of the page file that it takes and that
//!   nothing is in, less a log segment and what a file system may round up; and no more
//!   than the page file's limits allow. Pages of the state being built count as free, and what
//!   they hold as in front.
//! * *Holes* of the page file are blocks like any other to who looks for space, but need room
//!   of the device. What it can give is first of all theirs: the log takes only what is left.
//!   Where there isn't enough, by others' doing or since a power cut took holes back, the
//!   blocks that are taken count as free less what holes lack.
//! * *Growth*: how much larger the trees may be when what is in front is merged. A leaf
//!   that is changed may become two, since it may be full; so a page for each entry, but no more
//!   than the trees have; and the bytes of the entries, twice in memtables, since a quarter of
//!   a leaf may be left over, and half of them more for those of a run. Of values in extents
//!   the last block, which each may need for itself. A sixteenth of it all for branches.
//!   A delete adds no page, but isn't told from a put here.
//! * *Reserve*: what a merge holds beside what it replaces: a slice of the least length, what
//!   the editor holds back at its end, the path to its root, catalogues and bitmaps; and
//!   for each page of the trees an entry of a pending list, since one range delete may give
//!   up all of them. Slices are cut to a quarter of what is free, but not below 16 blocks; so
//!   what a merge replaces is free again when the next slice begins.
//!
//! # When puts are refused
//! The sequencer holds a *budget*: growth that puts may still cause before the device is
//! looked at again. It is at most 256 MiB, so that a look, two calls of the system, comes
//! once in thousands of puts; a flip lowers it to what is left by then. Where it doesn't
//! suffice, what is in front is merged first, whatever its size, and writers are told
//! [`Error::FrontFull`]: what the trees really need is mostly far less than what they may.
//! Where nothing stands in front, maintenance does for them what it would do in a rest: a flip
//! that frees what merges have left, a shorter file, fewer slots of the log. When nothing
//! is left of that, puts are refused with [`Error::StorageFull`], and until
//! more than a few of them find room, or each would be merged by itself.
//!
//! # What else is done while room is short
//! * Memtables are merged by themselves rather than become runs, which would take room until
//!   they are merged.
//! * The log has what is in front merged, which gives it segments back, rather than take room
//!   for another one; or a flip made, where that is all that it takes. Of segments that hold
//!   nothing it keeps one.
//! * A flip's pages go to free space in pieces: deletes leave single free pages, and who asked
//!   for a longer stretch would make the file longer.
//!
//! # How it is known to suffice
//! The terms above are bounds of their own, but free space in pieces is not bounded: values in
//! extents and catalogues take single stretches. The check `engine-full-deletes` of the proof
//! fills and frees devices in all setups; it is what the constants below are held to.
//!
//! # What isn't promised
//! * The reserve is watched, not owned: other files on the device, and others' quotas, may
//!   take it. Then deletes are refused, too; reads go on, and work resumes with room.
//! * While a snapshot is open that is older than a merge, nothing that the merge replaces is
//!   free. Deletes may be refused until it ends.
//! * A block that has a live unit is not free. Where blocks are larger than pages, or pages
//!   compressed, what a merge replaces may leave many of those. After puts were refused
//!   they are evacuated (`evacuate`), as far as there is room for that: not before, since
//!   deletes scatter what is dead over blocks again, and need free ones meanwhile.

use super::{Engine, Maintenance, STATE_ACTIVE, STATE_FROZEN, Sequencer};
use crate::error::{Error, Result};
use crate::limits::inline_value_bytes_max;
use crate::memtable::{Record, RecordKind};
use crate::sync::Ordering;

/// Growth that puts may cause before the device is looked at again.
const LOOK_BYTES_MAX: u64 = 256 << 20;
/// Blocks of the reserve, besides pending lists and log: 16 of a slice, as many for its end.
const RESERVE_BLOCKS: u64 = 32;
/// Bytes of the device that are kept besides: file systems give room in blocks of their own.
const SHARED_BYTES: u64 = 64 << 10;
/// Blocks that are to be spare before puts begin again, and that are worth a flip.
const PUT_BLOCKS_MIN: u64 = 16;
/// Bytes of a pending list for each page that is given up, twice.
const PENDING_BYTES: u64 = 24;

/// How things stand.
struct Outlook {
    /// Bytes that are free.
    free_bytes: u64,
    /// Bytes by which the trees may grow when what is in front is merged.
    growth_bytes: u64,
    /// Bytes that are left for puts.
    spare_bytes: u64,
    /// Bytes that the log may take so that the page file can fill its holes.
    log_bytes: u64,
}

impl Engine {
    /// By how much the trees may grow for a record, at most.
    pub(super) fn growth(&self, record: &Record<'_>) -> u64 {
        let layout = self.pager.layout();
        let bytes = (record.key.len() + record.value.len()) as u64;
        let leaf = layout.page_bytes as u64 + 2 * bytes;
        match record.kind {
            RecordKind::Put if record.value.len() > inline_value_bytes_max(layout.page_bytes) => {
                leaf + layout.block_bytes as u64
            }
            // The value of one that was written by stream has its units already.
            RecordKind::Put | RecordKind::Extent => leaf,
            RecordKind::Delete | RecordKind::RangeDelete => 0,
        }
    }

    /// Whether a commit that may let the trees grow so much leaves the reserve alone.
    #[inline]
    pub(super) fn admit(&self, sequencer: &mut Sequencer, growth_bytes: u64) -> Result<()> {
        if growth_bytes <= sequencer.put_budget_bytes {
            return Ok(());
        }
        self.look(sequencer, growth_bytes)
    }

    /// As [`admit`](Self::admit), for work beside the sequencer that takes its room at once.
    pub(super) fn admit_now(&self, bytes: u64) -> Result<()> {
        let mut sequencer = self.sequencer.lock();
        sequencer.put_budget_bytes = 0;
        self.admit(&mut sequencer, bytes)
    }

    /// What is answered where maintenance has to make room first: that it may, or, where it
    /// failed for want of room and no more is within reach since, that the storage is full.
    #[cold]
    pub(super) fn full_or(&self, retry: Error) -> Error {
        let is_full = self.storage_full.load(Ordering::Relaxed)
            && self.within_reach() <= self.full_bytes.load(Ordering::Relaxed);
        if is_full { Error::StorageFull } else { retry }
    }

    /// Notes whether maintenance failed for want of room.
    pub(super) fn note_full(&self, is_full: bool) {
        if is_full {
            let reach = self.within_reach();
            self.full_bytes.store(reach, Ordering::Relaxed);
        }
        self.storage_full.store(is_full, Ordering::Relaxed);
    }

    /// Bytes that are free, or would be after a flip.
    fn within_reach(&self) -> u64 {
        let counters = &self.statistics;
        let pending = if self.can_reclaim_pending() {
            counters.pending_bytes.load(Ordering::Relaxed)
        } else {
            0
        };
        self.outlook().free_bytes.saturating_add(pending)
    }

    fn can_reclaim_pending(&self) -> bool {
        let oldest = self.front.versions.oldest_generation(self.pager.epochs());
        self.statistics.pending_generation.load(Ordering::Relaxed) <= oldest
    }

    /// Whether the log should have what is in front merged rather than take room for another
    /// segment.
    pub(super) fn is_segment_too_much(&self) -> bool {
        let outlook = self.outlook();
        // As much is left for pages.
        outlook.spare_bytes.min(outlook.log_bytes) < 2 * self.segment_bytes_usual
    }

    #[cold]
    fn look(&self, sequencer: &mut Sequencer, growth_bytes: u64) -> Result<()> {
        let outlook = self.outlook();
        let least = match outlook.growth_bytes {
            0 => growth_bytes.max(self.put_bytes_min()),
            _ => growth_bytes,
        };
        if outlook.spare_bytes >= least {
            let budget = outlook.spare_bytes.min(LOOK_BYTES_MAX);
            sequencer.put_budget_bytes = budget.max(growth_bytes);
            self.wants_room.store(false, Ordering::Release);
            return Ok(());
        }
        sequencer.put_budget_bytes = 0;
        let is_exhausted = outlook.growth_bytes == 0
            && self.within_reach() < self.exhausted_bytes.load(Ordering::Relaxed);
        if is_exhausted || self.full_or(Error::FrontFull) == Error::StorageFull {
            return Err(Error::StorageFull);
        }
        if outlook.growth_bytes > 0 {
            if self.front.versions.current().sources.memtables().count() <= 1
                && !self.memtable(sequencer.active)?.memtable.is_empty()
            {
                // Where no memtable is free, one is being merged.
                let _frozen = self.freeze(sequencer);
            }
            self.wants_drain.store(true, Ordering::Release);
            return Err(Error::FrontFull);
        }
        if !self.front.versions.has_room(self.pager.epochs()) {
            // Nothing can be published before a snapshot ends.
            return Err(Error::StorageFull);
        }
        self.wants_room.store(true, Ordering::Release);
        Err(Error::FrontFull)
    }

    /// Whether puts wait for room that maintenance may find though nothing is in front.
    pub(super) fn wants_room(&self) -> bool {
        self.wants_room.load(Ordering::Acquire)
    }

    /// Notes that there is no more room than what is within reach now: puts are refused
    /// until there is, or something was built.
    pub(super) fn note_exhausted(&self) {
        let reach = self.within_reach().saturating_add(1);
        self.exhausted_bytes.store(reach, Ordering::Relaxed);
        self.wants_room.store(false, Ordering::Release);
    }

    /// Notes that something was built: it may have left room.
    pub(super) fn note_built(&self) {
        self.exhausted_bytes.store(0, Ordering::Relaxed);
        self.note_full(false);
    }

    /// Whether a flip would make space reusable that merges have left, more of it than the
    /// flip leaves itself.
    pub(super) fn is_room_pending(&self) -> bool {
        let pending = self.statistics.pending_bytes.load(Ordering::Relaxed);
        pending >= self.put_bytes_min() && self.can_reclaim_pending()
    }

    /// Bytes that a merge writes before it publishes: what a slice replaces is free only when
    /// it has ended.
    pub(super) fn slice_bytes(&self, maintenance: &Maintenance) -> u64 {
        let layout = self.pager.layout();
        let statistics = maintenance.store.statistics(layout);
        let runs = maintenance.store.runs().iter();
        let others = runs.map(|run| run.written_bytes).sum::<u64>() + statistics.pending_bytes;
        let trees = statistics.used_bytes.saturating_sub(others);
        let free = self.statistics.free_bytes.load(Ordering::Relaxed);
        (trees / 32)
            .max(self.options.slice_bytes_min)
            .min(free / 4)
            .max(16 * layout.block_bytes as u64)
    }

    /// Bytes that may be written beside what is in front.
    pub(super) fn spare_bytes(&self) -> u64 {
        self.outlook().spare_bytes
    }

    /// Whether a memtable should be merged by itself, since its run would take the reserve.
    pub(super) fn is_run_too_much(&self, memtable_bytes: u64) -> bool {
        self.outlook().spare_bytes < 2 * memtable_bytes
    }

    /// Notes how many blocks of the page file are in use, and lowers the budget to what is
    /// left.
    pub(super) fn note_room(&self, maintenance: &mut Maintenance) {
        let counters = &self.statistics;
        let layout = *self.pager.layout();
        let store = &mut maintenance.store;
        let entries = store.runs().iter().map(|run| run.entries).sum();
        counters.run_entries.store(entries, Ordering::Relaxed);
        let generation = store.oldest_pending_generation();
        let generation = generation.unwrap_or(u64::MAX);
        counters
            .pending_generation
            .store(generation, Ordering::Relaxed);
        let statistics = store.statistics(&layout);
        if layout.block_units() == 1 {
            let used = statistics.used_bytes;
            counters.taken_bytes.store(used, Ordering::Relaxed);
        } else {
            // Counting them reads all bitmaps: not where that changes nothing.
            let all = statistics.file_bytes;
            counters.taken_bytes.store(all, Ordering::Relaxed);
            if self.outlook().spare_bytes < LOOK_BYTES_MAX
                && let Ok(used) = store.used_blocks(&self.pager)
            {
                let used = used.saturating_mul(layout.block_bytes as u64);
                counters.taken_bytes.store(used, Ordering::Relaxed);
            }
        }
        let mut sequencer = self.sequencer.lock();
        let outlook = self.outlook();
        sequencer.put_budget_bytes = sequencer.put_budget_bytes.min(outlook.spare_bytes);
        counters
            .free_bytes
            .store(outlook.free_bytes, Ordering::Relaxed);
        maintenance.store.spread(outlook.spare_bytes == 0);
    }

    fn put_bytes_min(&self) -> u64 {
        PUT_BLOCKS_MIN * self.pager.layout().block_bytes as u64
    }

    fn outlook(&self) -> Outlook {
        let layout = self.pager.layout();
        let storage = self.pager.storage();
        let counters = &self.statistics;
        let taken = counters.taken_bytes.load(Ordering::Relaxed);
        let limit = storage.geometry().page_file_bytes_max;
        let limit = limit.min(self.options.file_bytes_max);
        let mut free_bytes = limit.saturating_sub(taken);
        let mut log_bytes = u64::MAX;
        if let Some(room) = storage.page_file_room() {
            let empty = room.taken_bytes.saturating_sub(taken);
            // The segment is no more than an eighth of a small device.
            let whole = room.taken_bytes.saturating_add(room.available_bytes);
            let kept = u64::from(self.segment_bytes_least).min(whole / 8) + SHARED_BYTES;
            let available = room.available_bytes.saturating_sub(kept);
            let file = counters.file_bytes.load(Ordering::Relaxed);
            let holes = file.saturating_sub(room.taken_bytes);
            // As many as the device can give are there, wherever they are looked for.
            let missing = holes.saturating_sub(available).min(empty);
            free_bytes = free_bytes.min(available.saturating_add(empty - missing));
            log_bytes = available.saturating_sub(holes);
        }
        let growth_bytes = self.growth_in_front();
        let pending = taken / layout.page_bytes.max(1) as u64 * PENDING_BYTES;
        let reserve = RESERVE_BLOCKS * layout.block_bytes as u64 + pending;
        Outlook {
            free_bytes,
            growth_bytes,
            spare_bytes: free_bytes.saturating_sub(reserve.saturating_add(growth_bytes)),
            log_bytes,
        }
    }

    /// By how much the trees may grow when all memtables and runs are merged.
    fn growth_in_front(&self) -> u64 {
        let layout = self.pager.layout();
        let counters = &self.statistics;
        let run_bytes = counters.run_bytes.load(Ordering::Relaxed);
        let (mut entries, mut bytes) = (0_u64, 0_u64);
        for slot in self.front.memtables.iter() {
            let state = slot.state.load(Ordering::Relaxed);
            if matches!(state, STATE_ACTIVE | STATE_FROZEN) && !slot.memtable.is_empty() {
                entries += u64::from(slot.memtable.entry_count());
                bytes += slot.memtable.bytes_used();
            }
        }
        let page = layout.page_bytes.max(1) as u64;
        let block = layout.block_bytes as u64;
        let inline = inline_value_bytes_max(layout.page_bytes).max(1) as u64;
        let extents = if u64::from(self.options.value_bytes_max) > inline {
            (bytes / inline).min(entries) * block
        } else {
            0
        };
        let used = counters.used_bytes.load(Ordering::Relaxed);
        let pending = counters.pending_bytes.load(Ordering::Relaxed);
        let trees = used.saturating_sub(run_bytes.saturating_add(pending));
        let entries = entries + counters.run_entries.load(Ordering::Relaxed);
        let leaves = entries.saturating_mul(page).min(trees);
        let all = leaves + 2 * bytes + run_bytes / 2 * 3 + extents;
        all + all / 16
    }
}
