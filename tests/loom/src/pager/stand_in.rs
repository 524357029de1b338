//! What versions and commits ask of the pager, without pages: epochs, and a storage that
//! remembers how far the log was written and synced.
//!
//! The storage's own numbers are plain, so that they order nothing: what a protocol
//! relies on has to come from its own steps.

use super::epoch::{EpochGuard, Epochs};
use crate::bench::{budget, wait};
use crate::sync;
use alloc::sync::Arc;
use lightning_platform::{File, IoError};
use std::sync::atomic::{AtomicU64, Ordering};

/// In the place of the core's pager.
pub struct Pager {
    epochs: Epochs,
    disk: Arc<Disk>,
    streams: Streams,
}

impl Pager {
    pub fn new(reader_slots: usize) -> Self {
        Self {
            epochs: Epochs::new(&mut budget(), reader_slots, wait()).unwrap(),
            disk: Arc::new(Disk::new()),
            streams: Streams,
        }
    }

    pub fn enter(&self) -> EpochGuard<'_> {
        self.epochs.enter()
    }

    pub fn epochs(&self) -> &Epochs {
        &self.epochs
    }

    pub fn storage(&self) -> &Arc<Disk> {
        &self.disk
    }

    pub fn streams(&self) -> &Streams {
        &self.streams
    }
}

/// The log's file: commits up to a sequence are written, and up to another synced.
pub struct Disk {
    written: AtomicU64,
    synced: AtomicU64,
    /// A step of a call that takes a while: others may go on meanwhile.
    step: sync::AtomicU64,
}

impl Disk {
    fn new() -> Self {
        Self {
            written: AtomicU64::new(0),
            synced: AtomicU64::new(0),
            step: sync::AtomicU64::new(0),
        }
    }

    pub fn geometry(&self) -> Blocks {
        Blocks {
            write_block_bytes: 1,
        }
    }

    pub fn write(&self, sequence: u64) {
        assert!(sequence >= self.written(), "written again");
        self.written.store(sequence, Ordering::Relaxed);
        self.step.fetch_add(1, sync::Ordering::Relaxed);
    }

    /// Covers what was written before it began.
    pub fn sync(&self, _: File) -> Result<(), IoError> {
        let covered = self.written();
        self.step.fetch_add(1, sync::Ordering::Relaxed);
        self.synced.fetch_max(covered, Ordering::Relaxed);
        Ok(())
    }

    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    pub fn synced(&self) -> u64 {
        self.synced.load(Ordering::Relaxed)
    }
}

/// What is asked of a storage's geometry.
pub struct Blocks {
    pub write_block_bytes: u32,
}

/// No value is written by stream.
pub struct Streams;

impl Streams {
    pub fn any_uncommitted(&self) -> bool {
        false
    }

    pub fn commit(&self, _: &[u8], _: u64) {}

    pub fn end_owner(&self, _: u32) {}
}
