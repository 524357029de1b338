//! The log: what makes a commit durable before it is in any tree (FORMAT.md 4).
//!
//! * [`slots`] knows which log slot holds which segment, prepares slots ahead
//!   of use and takes them back.
//! * [`writer`] appends frames, a flush at a time, for one caller at a time.
//! * [`scan`] reads a log at open: how far it counts, and what is damage.
//!
//! # Protocol
//! 1. A slot is *prepared* (full length, allocated, synced, its existence
//!    synced) before a segment begins in it: a flush changes no metadata.
//! 2. Segment *n + 1* begins only after all of segment *n* is synced. Its header
//!    is written with its first flush and states as *base* the last sequence of
//!    *n*: whoever reads a header knows that everything up to its base was
//!    durable. So damage in any segment but the newest is always recognised.
//! 3. Continuity is a matter of sequences, not of segment numbers: commits
//!    follow one another without a gap, one met twice is taken once. A number
//!    may be missing for good: when a process died after a failed sync, the next
//!    one may find (in the page cache) a segment that a later power cut takes
//!    away; all of it that counted was written again into the segment after it.
//! 4. Recovery begins a segment of its own, in a slot that it erases first: if
//!    an attempt at the same number was lost but for some of its blocks, those
//!    can't join the frames written now. Only the number above the highest
//!    header can have such remains (by 2.), so no other segment needs this. Where there
//!    is no room for one, the newest segment goes on, once all of it was written again
//!    and what was cut of it is erased (`writer/full.rs`).
//! 5. The superblock's *first needed* segment is one whose header is durable: at
//!    open it must be there.
//! 6. A recycled slot keeps old frames behind the new ones. They are seeded
//!    with their own segment's number, so that none verifies under another.
//! 7. A flush without a sync is continued in its last block by the next flush,
//!    which writes that block again: the same bytes, then the new frames. A sync
//!    ends that when it begins, so that no block is written again with anything in
//!    it that is known to be durable. A power
//!    cut may tear the block, or keep any of its versions with any other block;
//!    but nothing in it counted as durable, and frames verify alone and name their
//!    predecessor, so that what counts is still a prefix. A killed process leaves
//!    in the block, wherever its last write ended, the bytes that stood there and a
//!    part of those that follow: what was handed over before is all there. Where a
//!    range must be erased before it is written again, each flush has its own blocks.
//!
//! # Opening
//! [`SlotTable::new`], [`Scan::open`], [`Replay`] over what is not merged yet;
//! for writing then [`LogWriter::start_after_recovery`]. A new database calls
//! [`SlotTable::survey`] and [`LogWriter::create`], and syncs a mark before it
//! writes its first superblock: a database without any segment is damaged.

pub mod scan;
pub mod slots;
pub mod writer;

mod payload;
mod reader;
mod window;

#[cfg(test)]
mod tests;

pub use crate::format::frame::{Checkpoint, RecordIn, RecordKind};
pub use payload::frame_bytes;
pub use reader::{Commit, Replay};
pub use scan::{Scan, ScanEnd, ScanStart};
pub use slots::{PrepareProgress, PrepareStep, Ran, SlotTable};
pub use writer::{CommitIn, LogWriter, SyncUnderway, Wanted};

use crate::error::{Error, IoAction, OptionProblem, Result};
use crate::format::checksum::Checksum;
use crate::format::segment::first_flush_offset;
use alloc::sync::Arc;
use lightning_platform::{File, IoError, Storage};

/// What log, scan and slots have to know about the database.
#[derive(Clone)]
pub struct LogConfig {
    /// Where the log lives.
    pub storage: Arc<dyn Storage>,
    /// How checks are computed.
    pub checksum: Checksum,
    /// The database's lineage.
    pub lineage_id: [u8; 16],
    /// The database's instance.
    pub instance_id: [u8; 16],
    /// The database's timeline.
    pub timeline: u32,
    /// Length of a segment in bytes at most: a multiple of write and erase block.
    pub segment_bytes: u32,
    /// Length of the segment that a log begins with, or begins again with after a
    /// rest: each one after it may be four times as long as the one before.
    pub segment_bytes_first: u32,
    /// Length up to which they grow so; any frame fits.
    pub segment_bytes_usual: u32,
    /// Length on a device that is nearly full; any frame fits.
    pub segment_bytes_least: u32,
}

impl LogConfig {
    /// The storage's write block.
    #[must_use]
    pub fn block_bytes(&self) -> u32 {
        self.storage.geometry().write_block_bytes
    }

    /// What every length of a segment is a multiple of: a header that states another is
    /// no header.
    fn unit_bytes(&self) -> u32 {
        let geometry = self.storage.geometry();
        geometry.write_block_bytes.max(geometry.erase_block_bytes)
    }

    /// The most bytes that a frame can have.
    #[must_use]
    pub fn frame_bytes_max(&self) -> u64 {
        u64::from(self.segment_bytes).saturating_sub(first_flush_offset(self.block_bytes()))
    }

    /// Checks that a segment can be laid out on the storage.
    ///
    /// # Errors
    /// [`Error::Options`] with what is wrong.
    pub fn check(&self) -> Result<()> {
        let block = self.block_bytes();
        if !block.is_power_of_two() || !(16..=65_536).contains(&block) {
            return Err(Error::Options(OptionProblem::Geometry));
        }
        let unit = self.unit_bytes();
        if !unit.is_power_of_two() {
            return Err(Error::Options(OptionProblem::Geometry));
        }
        let first = self.segment_bytes_first;
        if !self.segment_bytes.is_multiple_of(unit)
            || !first.is_multiple_of(unit)
            || u64::from(first) < 2 * first_flush_offset(block)
            || !self.segment_bytes_usual.is_multiple_of(unit)
            || first > self.segment_bytes_usual
            || self.segment_bytes_usual > self.segment_bytes
            || !self.segment_bytes_least.is_multiple_of(unit)
            || !(first..=self.segment_bytes_usual).contains(&self.segment_bytes_least)
        {
            return Err(Error::Options(OptionProblem::SegmentBytes));
        }
        Ok(())
    }
}

/// An error of the platform at log slot `slot`.
fn at_slot(slot: u32, action: IoAction, offset: u64) -> impl Fn(IoError) -> Error {
    move |error| Error::io(error, action, File::Log(slot), offset)
}

/// `position`, or the next multiple of `block_bytes` (a power of two) above it.
fn align_up(position: u64, block_bytes: u32) -> u64 {
    let mask = u64::from(block_bytes).wrapping_sub(1);
    position.saturating_add(mask) & !mask
}

/// Where a frame may start at or after `position`: not in a block's last 7 bytes.
fn frame_start(position: u64, block_bytes: u32) -> u64 {
    let next = align_up(position, block_bytes);
    if next.saturating_sub(position) < crate::format::frame::FRAME_START_BYTES_MIN {
        next
    } else {
        position
    }
}
