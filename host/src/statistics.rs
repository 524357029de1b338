//! Figures of an open database.

use crate::options::Compression;
use crate::shared::Owner;
use lightning_core::db::Statistics as EngineStatistics;
use std::time::Duration;

/// Figures of an open database; approximate while others work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statistics {
    /// The engine's: commits, log, memtables, trees, frames, files.
    pub engine: EngineStatistics,
    /// Bytes of a page.
    pub page_bytes: u32,
    /// How pages are compressed.
    pub compression: Compression,
    /// Bytes of a unit: what the room of a compressed page is rounded up to.
    pub unit_bytes: u32,
    /// The longest key, in bytes.
    pub key_bytes_max: usize,
    /// The longest value, in bytes.
    pub value_bytes_max: usize,
    /// Pages that [helpers](crate::Builder::merge_threads) have read for merges.
    pub pages_ahead: u64,
    /// How often a write waited for room in memory or log.
    pub slowdowns: u64,
    /// How long writes waited for room, all together.
    pub slowdown_time: Duration,
}

impl Statistics {
    pub(crate) fn of(owner: &Owner) -> Self {
        let (slowdowns, slowdown_time) = owner.slowdowns();
        Self {
            engine: owner.engine.statistics(),
            page_bytes: owner.engine.options().page_bytes,
            compression: owner.given.compression,
            unit_bytes: owner.engine.options().unit_bytes,
            key_bytes_max: owner.engine.key_bytes_max(),
            value_bytes_max: owner.engine.value_bytes_max(),
            pages_ahead: owner.helpers.leaves(),
            slowdowns,
            slowdown_time,
        }
    }
}
