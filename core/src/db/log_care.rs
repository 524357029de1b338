//! Keeping the log in shape: segments prepared ahead, given back when merged.

use super::{Engine, LogState, Maintenance};
use crate::error::{Error, Result};
use crate::sync::Ordering;
use crate::wal::{Checkpoint, PrepareProgress};
use lightning_platform::IoErrorKind;

impl Engine {
    /// Keeps log segments ready, and gives back those that are not needed.
    pub(super) fn prepare_log(&self, maintenance: &mut Maintenance, bytes: u64) -> Result<bool> {
        let Some(mut log) = self.log.as_ref().and_then(|log| log.try_enter()) else {
            return Ok(false);
        };
        let superblock = *maintenance.store.superblock();
        if log.released != superblock.generation {
            log.released = superblock.generation;
            log.writer.release_below(superblock.first_segment);
            log.checkpoint = Some(Checkpoint {
                generation: superblock.generation,
                merged_sequence: superblock.merged_sequence,
            });
            self.note_log(&mut log);
        }
        let wanted = self.slots_wanted(&log);
        let mut worked = false;
        let mut scarce = false;
        if log.writer.slots().ready_slots() < wanted {
            match log.writer.prepare_step(bytes) {
                Ok(PrepareProgress::NoSlot) => scarce = log.writer.slots().ready_slots() == 0,
                Ok(_) => worked = true,
                Err(error) if log.writer.slots().directory_failed() => {
                    return Err(self.poison(error));
                }
                Err(error) => {
                    let full = matches!(error, Error::Io { error, .. }
                        if error.kind == IoErrorKind::StorageFull);
                    self.storage_full.store(full, Ordering::Relaxed);
                    if log.writer.slots().ready_slots() == 0 {
                        drop(log);
                        self.freeze_for_log()?;
                    }
                    return Err(error);
                }
            }
            self.note_log(&mut log);
        }
        let segment = u64::from(self.options.segment_bytes).max(1);
        let arenas = 4 * u64::from(self.options.memtable_bytes) / segment + 2;
        let many = log.writer.slots().used_slots() as u64 > arenas;
        drop(log);
        if many || scarce {
            worked |= self.freeze_for_log()?;
        }
        Ok(worked)
    }

    /// Segments to keep ready: none before the current one is half full, so that a
    /// small database stays small.
    pub(super) fn slots_wanted(&self, log: &LogState) -> usize {
        let enough = (log.config.frame_bytes_max() / 2).max(2 * self.log_slack());
        if log.writer.room() > enough {
            0
        } else {
            self.options.log_slots_ready as usize
        }
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
        let slack = self.log_slack();
        let ready = log.writer.slots().ready_slots() as u64;
        let whole = log.config.frame_bytes_max().saturating_sub(slack);
        let here = log.writer.block_room().saturating_sub(slack);
        self.log_room.store(here + ready * whole, Ordering::SeqCst);
    }

    /// What is left unused of each segment so that any frame, and a mark and a
    /// checkpoint, find room.
    pub(super) fn log_slack(&self) -> u64 {
        let block = u64::from(self.pager.storage().geometry().write_block_bytes);
        u64::from(self.options.transaction_bytes) + 3 * block
    }
}
