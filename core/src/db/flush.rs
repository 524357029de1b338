//! Making commits durable: from memtables to the log.
//!
//! One flusher at a time walks the published commits from where the last flush
//! ended, memtable after memtable, and hands them to the log as one flush. What
//! the frames state as durable was read before, so that it is never too high.

use super::{Engine, LogState, NONE, STATE_ACTIVE, Ticket};
use crate::error::{Error, Result};
use crate::memtable::{Record, RecordKind};
use crate::sync::Ordering;
use crate::wal::{CommitIn, RecordIn, RecordKind as LogKind};

impl Engine {
    /// Writes every commit that is in memtables to the log and, with `sync`, makes
    /// it durable. Answers the durable sequence. For whoever wants a ticket
    /// fulfilled: one caller flushes for all.
    ///
    /// # Errors
    /// [`Error::Busy`] while another thread flushes or prepares the log: wait for
    /// the watermark. [`Error::LogFull`] when a segment has to be prepared first
    /// ([`poll_maintenance`](Self::poll_maintenance) does); what fitted is flushed.
    /// Any other error poisons the engine: no commit that was not durable before
    /// is acknowledged until the database is opened again.
    pub fn flush_step(&self, sync: bool) -> Result<u64> {
        self.check_writable()?;
        let log = self.log.as_ref().ok_or(Error::ReadOnly)?;
        let mut log = log.try_enter().ok_or(Error::Busy)?;
        self.flush_with(&mut log, sync)
    }

    pub(super) fn flush_with(&self, log: &mut LogState, sync: bool) -> Result<u64> {
        let durable = self.durable.load(Ordering::SeqCst);
        let written = log.writer.written_bytes();
        log.writer
            .begin_flush(durable)
            .map_err(|error| self.poison(error))?;
        let appended = self.append_commits(log);
        let full = match appended {
            Ok(()) => false,
            Err(Error::LogFull) => true,
            Err(error) => return Err(self.poison(error)),
        };
        if let Some(checkpoint) = log.checkpoint.filter(|_| !full) {
            let wall_time_ms = self.sequencer.lock().wall_time_ms;
            match log.writer.append_checkpoint(wall_time_ms, checkpoint) {
                Ok(()) => log.checkpoint = None,
                // It is advice, and can wait for the next segment.
                Err(Error::LogFull) => {}
                Err(error) => return Err(self.poison(error)),
            }
        }
        if sync {
            self.wants_sync.store(false, Ordering::Release);
        }
        let synced = log
            .writer
            .finish_flush(sync)
            .map_err(|error| self.poison(error))?;
        self.written
            .store(log.writer.last_sequence(), Ordering::SeqCst);
        if synced > durable {
            self.durable.store(synced, Ordering::SeqCst);
        }
        if sync {
            self.statistics.log_syncs.fetch_add(1, Ordering::Relaxed);
        }
        let bytes = log.writer.written_bytes().saturating_sub(written);
        self.statistics
            .log_bytes
            .fetch_add(bytes, Ordering::Relaxed);
        self.note_log(log);
        // Only now that the room is known to be less.
        self.log_promised
            .fetch_sub(core::mem::take(&mut log.flushed_bytes), Ordering::SeqCst);
        if full {
            Err(Error::LogFull)
        } else {
            Ok(self.durable.load(Ordering::SeqCst))
        }
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
