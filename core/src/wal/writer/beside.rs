//! Syncing while the log is written on.
//!
//! [`begin_sync`](LogWriter::begin_sync) ends a flush, and leaves its last block, so
//! that no block of it is written again. The caller then syncs the file, without the
//! writer, and [`end_sync`](LogWriter::end_sync) says that this succeeded: it covers
//! what was written before, and nothing that was meanwhile, even if that has reached
//! the medium. A sync that failed is final, as any: the log is never written again.
//!
//! One sync at a time, and nothing else syncs the file meanwhile: an error of the
//! device is reported once, and the other of two would succeed without effect. So
//! a frame that needs the next segment has to wait ([`Error::Busy`]), since all
//! before that is synced first.

use super::LogWriter;
use crate::error::{Error, Result};

/// A sync under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyncUnderway {
    /// The log slot to sync.
    pub slot: u32,
    /// What is durable when it has succeeded.
    pub sequence: u64,
    pub(super) number: u64,
}

impl LogWriter {
    /// Ends the flush as [`finish_flush`](Self::finish_flush) does without a sync,
    /// and answers what is to be synced, if anything.
    ///
    /// # Errors
    /// What the storage answers; the log is poisoned.
    pub fn begin_sync(&mut self) -> Result<Option<SyncUnderway>> {
        if self.failed {
            return Err(Error::Poisoned);
        }
        if self.underway.is_some() {
            return Err(Error::Busy);
        }
        self.flushing = false;
        self.write_out(false, true)?;
        let underway = SyncUnderway {
            slot: self.slot,
            sequence: self.last_sequence,
            number: self.number,
        };
        self.underway = self.unsynced.then_some(underway);
        self.unsynced = false;
        Ok(self.underway)
    }

    /// The sync under way has succeeded. Answers the last sequence that is durable.
    pub fn end_sync(&mut self) -> u64 {
        if let Some(underway) = self.underway.take() {
            self.synced_sequence = self.synced_sequence.max(underway.sequence);
            self.durable_number = self.durable_number.max(underway.number);
        }
        self.synced_sequence
    }
}
