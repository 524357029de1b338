//! Replay: from the log that counts back into memtables (step 4 of recovery).

use super::{Budgeted, Engine, NAMES_TABLE};
use crate::error::{Error, Result};
use crate::format::bytes::get_u32;
use crate::format::frame::FrameKind;
use crate::memtable::{CommitHead, CommitSize, Record, RecordKind};
use crate::sync::Ordering;
use crate::wal::{
    Commit, LogConfig, PrepareProgress, RecordKind as LogKind, Replay, Scan, SlotTable,
};
use lightning_platform::IoErrorKind;

/// Where the log's slots are during a replay.
pub(super) enum Slots<'a> {
    Table(&'a SlotTable),
    Engine,
}

impl Engine {
    /// Prepares as many log segments as are to be kept ready.
    pub(super) fn fill_ready_slots(&self) -> Result<()> {
        let log = self.log.as_ref().ok_or(Error::ReadOnly)?;
        let mut log = log.try_enter().ok_or(Error::Internal(251))?;
        while let Some(lack) = self.lacking_segment(&log) {
            if self.is_segment_too_much() {
                break;
            }
            match log.writer.prepare_step(u64::MAX, lack) {
                Ok(PrepareProgress::NoSlot) => break,
                Ok(_) => {}
                Err(error) if log.writer.slots().directory_failed() => return Err(error),
                // What is ready suffices to open; writes are refused until there is room.
                Err(Error::Io { error, .. }) if error.kind == IoErrorKind::StorageFull => {
                    self.note_full(true);
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        self.note_log(&mut log);
        Ok(())
    }

    /// Reads the commits above the merged sequence into memtables.
    pub(super) fn replay(
        &self,
        config: &LogConfig,
        scan: &Scan,
        window: &mut [u8],
        slots: Slots<'_>,
    ) -> Result<()> {
        let merged = self.merged.load(Ordering::Relaxed);
        let mut replay = Replay::new(config, scan, window, merged);
        while let Some(commit) = self.next_commit(&mut replay, &slots)? {
            if commit.kind == FrameKind::Ingest {
                let record = replay.ingest(|_| Ok(()))?;
                self.make_way_for_ingest()?;
                self.replay_ingest(&record, commit.wall_time_ms)?;
                continue;
            }
            let (range_deletes, range_bytes) = replay.range_deletes()?;
            let size = CommitSize {
                records: commit.records,
                range_deletes,
                range_bytes: range_bytes + 16 * u64::from(range_deletes),
                key_bytes: commit.payload_bytes,
                value_bytes: commit.payload_bytes,
            };
            let head = CommitHead {
                sequence: commit.sequence,
                wall_time_ms: commit.wall_time_ms,
                origin: commit.origin,
            };
            self.replay_commit(&mut replay, &size, head)?;
        }
        self.mark_replayed()
    }

    /// The next commit that the log has.
    pub(super) fn next_commit(
        &self,
        replay: &mut Replay<'_>,
        slots: &Slots<'_>,
    ) -> Result<Option<Commit>> {
        match slots {
            Slots::Table(table) => replay.next_commit(table),
            Slots::Engine => {
                let log = self.log.as_ref().ok_or(Error::ReadOnly)?;
                let log = log.try_enter().ok_or(Error::Internal(252))?;
                replay.next_commit(log.writer.slots())
            }
        }
    }

    fn replay_commit(
        &self,
        replay: &mut Replay<'_>,
        size: &CommitSize,
        head: CommitHead,
    ) -> Result<()> {
        let active = self.sequencer.lock().active;
        let memtable = &self.memtable(active)?.memtable;
        let mut size = *size;
        if !memtable.fits(&size) {
            // As much as before it was replayed, and no more: on a full device all has to
            // fit into as many memtables as then.
            (size.key_bytes, size.value_bytes) = replay.record_bytes()?;
        }
        let size = &size;
        if !memtable.fits(size) || memtable.range_bytes_left() < size.range_bytes {
            self.make_room_for_replay()?;
        }
        let mut sequencer = self.sequencer.lock();
        let slot = self.memtable(sequencer.active)?;
        if !slot.memtable.fits_when_empty(size) {
            return Err(Error::MemoryPlan {
                needed_bytes: self.memory_bytes + size.key_bytes + size.value_bytes,
                limit_bytes: self.memory_bytes,
            });
        }
        let mut writer = slot.memtable.writer().ok_or(Error::Internal(253))?;
        let mut commit = writer.begin_commit(head, size)?;
        while let Some(record) = replay.next_record()? {
            if record.table == NAMES_TABLE && record.kind == LogKind::Put {
                let id = get_u32(record.value, 0);
                sequencer.next_table = sequencer.next_table.max(id.saturating_add(1));
            }
            if record.kind == LogKind::Extent && self.needs_claims() {
                return Err(Error::MemoryPlan {
                    needed_bytes: self.memory_bytes + 1,
                    limit_bytes: self.memory_bytes,
                });
            }
            commit.insert(&Record {
                kind: match record.kind {
                    LogKind::Put => RecordKind::Put,
                    LogKind::Delete => RecordKind::Delete,
                    LogKind::RangeDelete => RecordKind::RangeDelete,
                    LogKind::Extent => RecordKind::Extent,
                },
                table: record.table,
                key: record.key,
                value: record.value,
                expiry_ms: record.expiry_ms,
                metadata: record.metadata,
            })?;
        }
        commit.publish()
    }

    /// Whether a large value in the log is more than the plan has room for.
    fn needs_claims(&self) -> bool {
        self.log.is_some() && self.pager.streams().is_absent()
    }

    /// Has an empty memtable take commits, and no other run be pending.
    fn make_way_for_ingest(&self) -> Result<()> {
        let active = self.sequencer.lock().active;
        if !self.memtable(active)?.memtable.is_empty() {
            self.make_room_for_replay()?;
        }
        while self.pending.get().is_some() {
            // The log never names two; if it does, the older one is adopted first.
            if self.log.is_none() || !self.merge_for_replay()? {
                return Err(Error::Internal(341));
            }
        }
        Ok(())
    }

    /// Freezes the full memtable and merges until the next one is free.
    fn make_room_for_replay(&self) -> Result<()> {
        loop {
            let frozen = {
                let mut sequencer = self.sequencer.lock();
                self.freeze(&mut sequencer)
            };
            match frozen {
                Ok(()) => return self.mark_replayed(),
                // Nothing is written, so that all of the log has to fit into memory.
                Err(Error::FrontFull | Error::StorageFull) if self.log.is_none() => {
                    return Err(Error::MemoryPlan {
                        needed_bytes: self.memory_bytes + u64::from(self.options.memtable_bytes),
                        limit_bytes: self.memory_bytes,
                    });
                }
                Err(Error::FrontFull | Error::StorageFull) => {
                    let progress = self.merge_for_replay()?;
                    if !progress {
                        return Err(Error::Internal(254));
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// One step of merging that leaves the log's segments alone.
    fn merge_for_replay(&self) -> Result<bool> {
        self.mark_replayed()?;
        Ok(self
            .poll_maintenance(Budgeted {
                log_bytes: 0,
                ..Budgeted::default()
            })?
            .worked)
    }

    /// Tells the log that what memtables hold so far is written: it came from there.
    fn mark_replayed(&self) -> Result<()> {
        let Some(log) = &self.log else {
            return Ok(());
        };
        let mut log = log.try_enter().ok_or(Error::Internal(255))?;
        let active = self.sequencer.lock().active;
        log.memtable = active;
        log.position = self.memtable(active)?.memtable.append_position();
        Ok(())
    }
}
