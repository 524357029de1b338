//! Keeping the log in shape: segments prepared ahead, given back when merged.

use super::ingest::INGEST_FRAME_BYTES;
use super::pressure::TREES_MIN_MEMTABLES;
use super::{Engine, LogState, Maintenance, STATE_FROZEN};
use crate::error::{Error, Result};
use crate::sync::{ExclusiveGuard, Ordering};
use crate::wal::{Checkpoint, SlotTable, Wanted};
use lightning_platform::IoErrorKind;

/// The part of what the page file uses that the log may have in slots that hold nothing,
/// besides those that are to be ready. Beside trees of ten memtables that is more than the
/// log of one memtable, which is what comes and goes.
const STOCK_PARTS: u64 = 8;

impl Engine {
    /// Keeps log segments ready, and gives back those that are not needed.
    pub(super) fn prepare_log(&self, maintenance: &mut Maintenance, bytes: u64) -> Result<bool> {
        let owned = if self.wants_segment() {
            // Whoever writes one commit after another owns it half of the time.
            self.enter_log()
        } else {
            self.log.as_ref().and_then(|log| log.try_enter())
        };
        let Some(mut log) = owned else {
            return Ok(false);
        };
        let superblock = *maintenance.store.superblock();
        if log.released != superblock.generation {
            log.released = superblock.generation;
            maintenance.log_yielded = false;
            let (_, kept) = log.writer.slots().file_bytes();
            log.writer.release_below(superblock.first_segment);
            if log.writer.slots().file_bytes().1 < kept {
                self.shorten_log(&mut log, kept);
            }
            log.checkpoint = Some(Checkpoint {
                generation: superblock.generation,
                merged_sequence: superblock.merged_sequence,
            });
            self.note_log(&mut log);
        }
        self.note_needed(maintenance, &log);
        let mut worked = self.note_prepared(maintenance, &mut log)?;
        let mut scarce = false;
        let lack = self.lacking_segment(&log);
        // What a merge gives back is used again, where room for more would be the reserve's.
        let is_too_much = lack.is_some() && self.is_segment_too_much();
        // Or it takes no more than a flip.
        let merged = superblock.merged_sequence;
        let flips = log.writer.first_segment_needed_for(merged) > superblock.first_segment;
        maintenance.log_wants_flip = is_too_much && flips;
        let is_in_front = self.appended.load(Ordering::SeqCst) > merged;
        let merges = self.front.versions.has_room(self.pager.epochs())
            && (flips || (is_in_front && log.writer.slots().used_slots() > 1));
        let is_one_ready = lack == Some(Wanted::Next) && log.writer.slots().ready_slots() > 0;
        let makes_do = is_too_much && (merges || is_one_ready);
        scarce |= makes_do && merges;
        let lack = match lack {
            Some(_) if is_too_much => Some(Wanted::Least),
            lack => lack,
        };
        if let Some(lack) = lack.filter(|_| !maintenance.log_yields && !makes_do) {
            let begun = log.writer.begin_step(bytes, lack);
            match begun {
                Ok(None) => scarce = lack == Wanted::Usual || log.writer.slots().ready_slots() == 0,
                Ok(Some(step)) => {
                    worked = true;
                    // Commits are flushed meanwhile.
                    let config = log.config.clone();
                    drop(log);
                    let ran = step.run(&config);
                    maintenance.prepared = Some((step, ran));
                    log = match self.enter_log() {
                        Some(log) => log,
                        // The next call tells it.
                        None => return Ok(true),
                    };
                    self.note_prepared(maintenance, &mut log)?;
                }
                Err(error) => return Err(self.not_prepared(maintenance, &mut log, error)),
            }
            self.note_log(&mut log);
        }
        let (_, kept) = log.writer.slots().file_bytes();
        let arenas = 4 * u64::from(self.options.memtable_bytes);
        let many = kept > arenas + 2 * u64::from(self.options.segment_bytes);
        drop(log);
        if many || scarce {
            worked |= self.freeze_for_log()?;
        }
        Ok(worked)
    }

    /// Notes from which segment on the log will be needed when the oldest memtable that
    /// takes no more commits is in trees or runs: for a flip that finds the log taken, as
    /// most do beside writers that never rest. The segments before that one get no more
    /// commits, so that what is noted stays true.
    fn note_needed(&self, maintenance: &mut Maintenance, log: &LogState) {
        let merged = maintenance.store.superblock().merged_sequence;
        let sources = self.current_version().sources;
        let oldest = sources.memtables().last();
        let frozen = oldest
            .and_then(|index| self.front.memtable(index))
            .filter(|slot| slot.state.load(Ordering::Acquire) == STATE_FROZEN)
            .map(|slot| slot.memtable.last_sequence());
        let sequence = frozen.unwrap_or(merged).max(merged);
        maintenance.log_needed = (sequence, log.writer.first_segment_needed_for(sequence));
    }

    /// Gives blocks of the log back that it has not needed lately: more than what the last
    /// rounds kept at most before something was merged, and what is to be ready. A slot
    /// that is emptied in vain costs as many bytes to prepare again. Where space counts
    /// (`pressure`), what holds nothing is a part of the page file at most all the same.
    /// `kept` is what this round kept.
    fn shorten_log(&self, log: &mut LogState, kept: u64) {
        if self.is_segment_too_much() {
            empty_slots(log);
            return;
        }
        let [newest, middle, _] = log.kept_bytes;
        log.kept_bytes = [kept, newest, middle];
        let mut most = log.kept_bytes.into_iter().max().unwrap_or(kept);
        let used = self.statistics.used_bytes.load(Ordering::Relaxed);
        if used >= TREES_MIN_MEMTABLES * u64::from(self.options.memtable_bytes) {
            let (_, kept_now) = log.writer.slots().file_bytes();
            most = most.min(kept_now + used / STOCK_PARTS);
        }
        let ready =
            u64::from(self.options.log_slots_ready) * u64::from(log.config.segment_bytes_usual);
        // A log that stays long is no harm.
        while let Ok(true) = log.writer.shorten_free(most.saturating_add(ready)) {}
    }

    /// Gives the room of log slots that hold nothing to who needs it more. Answers whether
    /// there was any.
    pub(super) fn empty_log_slots(&self) -> bool {
        let Some(mut log) = self.enter_log() else {
            return false;
        };
        let emptied = empty_slots(&mut log);
        self.note_log(&mut log);
        emptied
    }

    /// Tells the log of the step of preparing that ran.
    fn note_prepared(&self, maintenance: &mut Maintenance, log: &mut LogState) -> Result<bool> {
        let Some((step, ran)) = maintenance.prepared.take() else {
            return Ok(false);
        };
        let ended = log.writer.end_step(&step, ran);
        self.note_log(log);
        match ended {
            Ok(_) => Ok(true),
            Err(error) => Err(self.not_prepared(maintenance, log, error)),
        }
    }

    /// What follows from a step of preparing that failed. On a full device the room that
    /// the segment has taken in vain may be what a merge needs, after which the log has
    /// segments to spare. Where none came of it, the log makes do with a shorter segment.
    fn not_prepared(
        &self,
        maintenance: &mut Maintenance,
        log: &mut LogState,
        error: Error,
    ) -> Error {
        let full = matches!(error, Error::Io { error, .. }
            if error.kind == IoErrorKind::StorageFull);
        if full {
            let settles = maintenance.log_yielded;
            log.writer.leave_begun(settles);
            self.note_log(log);
            maintenance.log_yields = true;
            maintenance.log_yielded = true;
        }
        self.note_full(full);
        if log.writer.slots().directory_failed() {
            return self.poison(error);
        }
        if log.writer.slots().ready_slots() == 0 {
            // Fails only where it is poisoned.
            let _frozen = self.freeze_for_log();
        }
        error
    }

    /// The log, as soon as its owner lets it go; `None` when that takes long.
    fn enter_log(&self) -> Option<ExclusiveGuard<'_, LogState>> {
        let log = self.log.as_ref()?;
        for attempt in 0..256 {
            if let Some(log) = log.try_enter() {
                return Some(log);
            }
            self.wait.relax(attempt);
        }
        None
    }

    /// Which segment is to be prepared, if one is: none before the current one is
    /// half full, so that a small database stays small; then as many as the options
    /// say, or one while segments are short still. After a commit was refused one
    /// of the usual length, which has room for any frame.
    pub(super) fn lacking_segment(&self, log: &LogState) -> Option<Wanted> {
        let writer = &log.writer;
        if self.log_short.load(Ordering::Relaxed) {
            let wanted = if self.is_segment_too_much() {
                Wanted::Least
            } else {
                Wanted::Usual
            };
            if !writer.has_ready(wanted) {
                return Some(wanted);
            }
            self.log_short.store(false, Ordering::Relaxed);
        }
        let is_short = writer.is_short();
        let (wanted, least) = if is_short {
            (1, 0)
        } else {
            (self.options.log_slots_ready as usize, 2 * self.log_slack())
        };
        let is_low = writer.room() <= (writer.segment_bytes() / 2).max(least);
        let lacks = is_low && writer.slots().ready_slots() < wanted;
        lacks.then_some(Wanted::Next)
    }

    /// Freezes the active memtable so that a merge frees the log, unless one waits.
    fn freeze_for_log(&self) -> Result<bool> {
        if self.current_version().sources.memtables().count() > 1 {
            return Ok(false);
        }
        match self.freeze_front() {
            Err(Error::FrontFull | Error::StorageFull) => Ok(false),
            other => other,
        }
    }

    /// Updates what the sequencer knows of the room in the log. A commit is promised
    /// blocks of its own, and a sync may leave the rest of the block in use: only
    /// what is behind it can be promised.
    pub(super) fn note_log(&self, log: &mut LogState) {
        let room = log.writer.room_to_promise(self.log_slack());
        let room = room.saturating_sub(self.log_reserve());
        self.log_room.store(room, Ordering::SeqCst);
        let (file_bytes, kept_bytes) = log.writer.slots().file_bytes();
        let counters = &self.statistics;
        counters.log_file_bytes.store(file_bytes, Ordering::Relaxed);
        counters.log_kept_bytes.store(kept_bytes, Ordering::Relaxed);
        let lacks = self.lacking_segment(log).is_some();
        self.log_lacks.store(lacks, Ordering::Relaxed);
    }

    /// What may be left unused of a segment when a frame needs the next one.
    pub(super) fn log_slack(&self) -> u64 {
        let ingest = if self.can_ingest() {
            INGEST_FRAME_BYTES
        } else {
            0
        };
        u64::from(self.options.transaction_bytes).max(ingest) + self.log_reserve()
    }

    /// What is kept so that a mark and a checkpoint find room.
    fn log_reserve(&self) -> u64 {
        3 * u64::from(self.pager.storage().geometry().write_block_bytes)
    }

    /// Begins a new, short segment, so that the long ones are given back with the
    /// next merge: for a host that finds writes pausing, after
    /// [`freeze_front`](Self::freeze_front) and before what was frozen is merged. Answers
    /// whether it did; a log that is short anyway is left alone.
    ///
    /// # Errors
    /// As [`flush_step`](Self::flush_step); where there is no room for the segment,
    /// the log is as it was.
    pub fn renew_log(&self) -> Result<bool> {
        self.check_writable()?;
        let log = self.log.as_ref().ok_or(Error::ReadOnly)?;
        let mut log = log.try_enter().ok_or(Error::Busy)?;
        let first = u64::from(log.config.segment_bytes_first);
        if log.writer.segment_bytes() <= first {
            return Ok(false);
        }
        self.flush_with(&mut log, true)?;
        // What is left of the long segment is given up.
        if !self.promises_at_most(first.saturating_sub(2 * self.log_reserve())) {
            return Ok(false);
        }
        let prepared = log.writer.prepare_first();
        self.note_log(&mut log);
        if log.writer.slots().directory_failed() {
            return prepared.map_err(|error| self.poison(error));
        }
        if !prepared? {
            return Ok(false);
        }
        let wall_time_ms = self.sequencer.lock().wall_time_ms;
        let durable = self.durable.load(Ordering::SeqCst);
        let renewed = log
            .writer
            .renew(durable, wall_time_ms)
            .map_err(|error| self.poison(error));
        self.note_log(&mut log);
        renewed.map(|()| true)
    }

    /// Lets commits be promised no more than `room` until the log is looked at again;
    /// `false` where more is promised already.
    fn promises_at_most(&self, room: u64) -> bool {
        let _sequencer = self.sequencer.lock();
        if self.log_promised.load(Ordering::SeqCst) > room {
            return false;
        }
        self.log_room.fetch_min(room, Ordering::SeqCst);
        true
    }

    /// Removes the log slots that hold nothing: for a host that finds writes pausing,
    /// when all is merged, and before closing. Answers how many there were; none are
    /// removed that commits were promised.
    ///
    /// # Errors
    /// [`Error::Busy`] while another thread flushes. What the storage answers.
    pub fn trim_log(&self) -> Result<u32> {
        self.check_writable()?;
        let log = self.log.as_ref().ok_or(Error::ReadOnly)?;
        let mut log = log.try_enter().ok_or(Error::Busy)?;
        let left = log.writer.block_room().saturating_sub(self.log_reserve());
        if !self.promises_at_most(left) {
            return Ok(0);
        }
        let trimmed = log.writer.trim(0);
        self.note_log(&mut log);
        if log.writer.slots().directory_failed() {
            return trimmed.map_err(|error| self.poison(error));
        }
        trimmed
    }
}

/// Empties slots that hold nothing, but for one that is ready: they are room that something
/// else needs.
fn empty_slots(log: &mut LogState) -> bool {
    let has_more = |slots: &SlotTable| slots.ready_slots() > 1 || slots.blank_bytes() > 0;
    let mut emptied = false;
    while has_more(log.writer.slots()) && matches!(log.writer.shorten_free(0), Ok(true)) {
        emptied = true;
    }
    emptied
}
