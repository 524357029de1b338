//! Making commits durable: from memtables to the log.
//!
//! One flusher at a time walks the published commits from where the last flush
//! ended, memtable after memtable, and hands them to the log as one flush. What
//! the frames state as durable was read before, so that it is never too high.

use super::{
    Durability, Engine, LogState, NONE, STATE_ACTIVE, SYNC_ENDED, SYNC_NONE, SYNC_RUNS, Ticket,
};
use crate::error::{Error, IoAction, Result};
use crate::memtable::{Record, RecordKind};
use crate::sync::Ordering;
use crate::wal::{CommitIn, RecordIn, RecordKind as LogKind};
use lightning_platform::File;

impl Engine {
    /// Writes every commit that is in memtables to the log and, with `sync`, makes
    /// it durable. Answers the durable sequence. For whoever wants a ticket
    /// fulfilled: one caller flushes for all. Where commits are acknowledged when they
    /// are written, others may flush without a sync while one runs.
    ///
    /// # Errors
    /// [`Error::Busy`] while another thread flushes or prepares the log, and while a
    /// sync runs that this one would need: wait for the watermark. [`Error::LogFull`]
    /// when a segment has to be prepared first
    /// ([`poll_maintenance`](Self::poll_maintenance) does); what fitted is flushed.
    /// Any other error poisons the engine: no commit that was not durable before
    /// is acknowledged until the database is opened again.
    pub fn flush_step(&self, sync: bool) -> Result<u64> {
        self.check_writable()?;
        let log = self.log.as_ref().ok_or(Error::ReadOnly)?;
        let mut log = log.try_enter().ok_or(Error::Busy)?;
        if !sync || self.options.durability == Durability::Sync {
            return self.flush_with(&mut log, sync);
        }
        self.note_sync(&mut log, true)?;
        let written = log.writer.written_bytes();
        let lacks = self.fill_flush(&mut log)?;
        self.wants_sync.store(false, Ordering::Release);
        let underway = log
            .writer
            .begin_sync()
            .map_err(|error| self.poison(error))?;
        self.note_written(&mut log, written)?;
        if let Some(underway) = underway {
            self.log_sync.store(SYNC_RUNS, Ordering::Release);
            drop(log);
            let file = File::Log(underway.slot);
            let synced = self.pager.storage().sync(file);
            // It runs for ever where it failed: nothing is written any more.
            synced.map_err(|error| self.poison(Error::io(error, IoAction::Sync, file, 0)))?;
            self.durable.fetch_max(underway.sequence, Ordering::SeqCst);
            self.log_sync.store(SYNC_ENDED, Ordering::Release);
            self.statistics.log_syncs.fetch_add(1, Ordering::Relaxed);
        }
        lacks.map_or_else(|| Ok(self.durable.load(Ordering::SeqCst)), Err)
    }

    /// Tells the log of a sync that has ended beside it. One that still runs keeps
    /// out who wants to sync.
    fn note_sync(&self, log: &mut LogState, wants_sync: bool) -> Result<()> {
        match self.log_sync.load(Ordering::Acquire) {
            SYNC_RUNS if wants_sync => return Err(Error::Busy),
            SYNC_ENDED => {
                log.writer.end_sync();
                self.log_sync.store(SYNC_NONE, Ordering::Relaxed);
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn flush_with(&self, log: &mut LogState, sync: bool) -> Result<u64> {
        self.note_sync(log, sync)?;
        let written = log.writer.written_bytes();
        let lacks = self.fill_flush(log)?;
        if sync {
            self.wants_sync.store(false, Ordering::Release);
        }
        let synced = log
            .writer
            .finish_flush(sync)
            .map_err(|error| self.poison(error))?;
        self.note_written(log, written)?;
        // After what is written: what is durable may be merged at once.
        self.durable.fetch_max(synced, Ordering::SeqCst);
        if sync {
            self.statistics.log_syncs.fetch_add(1, Ordering::Relaxed);
        }
        lacks.map_or_else(|| Ok(self.durable.load(Ordering::SeqCst)), Err)
    }

    /// Begins a flush of all that the log doesn't have. Answers what it lacks for
    /// the rest, where something is left.
    fn fill_flush(&self, log: &mut LogState) -> Result<Option<Error>> {
        let durable = self.durable.load(Ordering::SeqCst);
        log.writer
            .begin_flush(durable)
            .map_err(|error| self.poison(error))?;
        let lacks = match self.append_commits(log) {
            Ok(()) => None,
            Err(error @ (Error::LogFull | Error::Busy)) => Some(error),
            Err(error) => return Err(self.poison(error)),
        };
        if let Some(checkpoint) = log.checkpoint.filter(|_| lacks.is_none()) {
            let wall_time_ms = self.sequencer.lock().wall_time_ms;
            match log.writer.append_checkpoint(wall_time_ms, checkpoint) {
                Ok(()) => log.checkpoint = None,
                // It is advice, and can wait for the next segment.
                Err(Error::LogFull | Error::Busy) => {}
                Err(error) => return Err(self.poison(error)),
            }
        }
        Ok(lacks)
    }

    /// Makes known what a flush has written; `before` is what was before it.
    fn note_written(&self, log: &mut LogState, before: u64) -> Result<()> {
        // A sync that failed meanwhile acknowledges nothing more.
        self.check_writable()?;
        self.written
            .store(log.writer.last_sequence(), Ordering::SeqCst);
        let bytes = log.writer.written_bytes().saturating_sub(before);
        self.statistics
            .log_bytes
            .fetch_add(bytes, Ordering::Relaxed);
        self.note_log(log);
        // Only now that the room is known to be less.
        self.log_promised
            .fetch_sub(core::mem::take(&mut log.flushed_bytes), Ordering::SeqCst);
        Ok(())
    }

    /// Hands the commits that the log doesn't have yet to its writer.
    fn append_commits(&self, log: &mut LogState) -> Result<()> {
        loop {
            let slot = self.memtable(log.memtable)?;
            // Read before the walk: a memtable that had a successor by then gets
            // no more commits, so that the walk sees all of them.
            let successor = slot.successor.load(Ordering::Acquire);
            let mut commits = slot
                .memtable
                .commits_from(log.position)
                .ok_or(Error::Internal(230))?;
            while let Some(commit) = commits.next() {
                self.append_ingest(log)?;
                let head = commit.head();
                let frame = CommitIn {
                    sequence: head.sequence,
                    wall_time_ms: head.wall_time_ms,
                    origin: head.origin,
                    key_id: 0,
                };
                log.writer
                    .append_commit(&frame, commit.records().map(|record| log_record(&record)))?;
                log.position = commits.position();
                let promised = self.log_bytes_for(commit.records());
                log.flushed_bytes += promised;
            }
            self.append_ingest(log)?;
            if successor == NONE {
                return Ok(());
            }
            log.memtable = successor;
            log.position = self.memtable(successor)?.memtable.first_position();
        }
    }

    /// Whether the commit of a ticket survives a power cut.
    ///
    /// # Errors
    /// [`Error::OutcomeUnknown`] when a flush failed before it did.
    pub fn is_durable(&self, ticket: Ticket) -> Result<bool> {
        let durable = self.durable.load(Ordering::SeqCst) >= ticket.sequence;
        if !durable && self.is_poisoned() {
            Err(Error::OutcomeUnknown)
        } else {
            Ok(durable)
        }
    }

    /// Whether the commit of a ticket survives the process.
    ///
    /// # Errors
    /// As [`is_durable`](Self::is_durable).
    pub fn is_written(&self, ticket: Ticket) -> Result<bool> {
        let written = self.written.load(Ordering::SeqCst) >= ticket.sequence;
        if !written && self.is_poisoned() {
            Err(Error::OutcomeUnknown)
        } else {
            Ok(written)
        }
    }

    /// Whether something waits for a sync that no ticket asks for: a full memtable
    /// that can be merged only when it is durable.
    #[must_use]
    pub fn wants_sync(&self) -> bool {
        self.wants_sync.load(Ordering::Acquire)
    }

    /// Whether a log segment is to be prepared: call
    /// [`poll_maintenance`](Self::poll_maintenance) before the current one is full.
    #[must_use]
    pub fn wants_segment(&self) -> bool {
        self.log_lacks.load(Ordering::Relaxed)
    }

    /// Writes a mark: states durably that everything appended is durable. Called
    /// at close and when writes pause, so that rot in the last flush is told
    /// from a power cut.
    ///
    /// # Errors
    /// As [`flush_step`](Self::flush_step).
    pub fn mark(&self) -> Result<()> {
        self.check_writable()?;
        let log = self.log.as_ref().ok_or(Error::ReadOnly)?;
        let mut log = log.try_enter().ok_or(Error::Busy)?;
        self.flush_with(&mut log, true)?;
        let wall_time_ms = self.sequencer.lock().wall_time_ms;
        let durable = self.durable.load(Ordering::SeqCst);
        log.writer
            .begin_flush(durable)
            .map_err(|error| self.poison(error))?;
        let marked = match log.writer.append_mark(wall_time_ms) {
            // No room is no harm: the mark is a courtesy.
            Ok(()) | Err(Error::LogFull) => Ok(()),
            Err(error) => Err(error),
        };
        let synced = marked
            .and_then(|()| log.writer.finish_flush(true).map(|_| ()))
            .map_err(|error| self.poison(error));
        // The mark took a block of the room that commits are promised.
        self.note_log(&mut log);
        synced
    }

    /// Moves the log's position off a memtable that is to be reset.
    pub(super) fn log_has_left(&self, log: &mut LogState, memtable: u32) -> Result<bool> {
        if log.memtable != memtable {
            return Ok(true);
        }
        let slot = self.memtable(memtable)?;
        let successor = slot.successor.load(Ordering::Acquire);
        let all_written = slot.memtable.last_sequence() <= log.writer.last_sequence();
        if successor == NONE || !all_written || slot.state.load(Ordering::Acquire) == STATE_ACTIVE {
            return Ok(false);
        }
        log.memtable = successor;
        log.position = self.memtable(successor)?.memtable.first_position();
        Ok(true)
    }
}

pub(super) fn log_record<'a>(record: &Record<'a>) -> RecordIn<'a> {
    RecordIn {
        kind: match record.kind {
            RecordKind::Put => LogKind::Put,
            RecordKind::Delete => LogKind::Delete,
            RecordKind::RangeDelete => LogKind::RangeDelete,
            RecordKind::Extent => LogKind::Extent,
        },
        table: record.table,
        key: record.key,
        expiry_ms: record.expiry_ms,
        metadata: record.metadata,
        value: record.value,
    }
}
