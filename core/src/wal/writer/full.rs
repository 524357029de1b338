//! Recovery without room for a segment: the newest one goes on where its frames end.
//!
//! A recovery begins a segment of its own, and a full device has no room for one. (Or every
//! slot of the table holds one.) But all blocks of the newest segment are the log's: so that one is made what a segment of
//! its own would be.
//!
//! # Protocol
//! 1. The newest segment that ends with the last commit that counts is the one. Its
//!    header and its frames, as far as all of them count, are read and written
//!    again to where they stand; the rest of the segment, from the end of the last such frame
//!    on, is erased. Then it is synced. Until then nothing is acknowledged or served.
//! 2. The headers of segments above it are erased, durably and from the newest on. They were
//!    begun by recoveries that were cut off: one that was finished holds all that counts.
//!    Their cuts would take what is appended now for what was cut then.
//! 3. A mark in a block of its own says that all of that is durable, where there is room and
//!    that isn't said yet, or may have been by what was erased.
//!
//! # Why that is right
//! * A write that a power cut interrupts leaves each block old or new (the storage's
//!   contract), and in each block that is written again the frames are the same in both.
//!   So none of what was durable is at risk, at any moment, though its blocks are written.
//! * What stood behind the last frame was cut: it is above what any frame states durable,
//!   or the scan had said that it is damage. After the sync none of it can come
//!   back and join frames that are appended. Until the sync it is cut again.
//! * What was read may have been in a cache only, after a sync that failed: it is on
//!   the medium afterwards, for it was all written again. Earlier segments were synced
//!   before this one began, or what of them was not is in it (it was begun by a recovery).
//! * Its base stays true, and its cut: it removes from earlier segments what it removed
//!   before. What is appended has higher sequences than all of them.
//! * A next segment gets the number above this one's. Remains of an attempt at that number
//!   lie in slots without a header, which are erased before they are used.
//!
//! # Where it can't be done
//! Where a range has to be erased before it is written again: there slots have room of
//! their own. And where the write block is another than the segment was written with.

use super::LogWriter;
use crate::error::{Error, IoAction, Result};
use crate::mem::Array;
use crate::wal::scan::Scan;
use crate::wal::slots::{Segment, SlotTable};
use crate::wal::{LogConfig, align_up, at_slot};
use lightning_platform::File;

impl LogWriter {
    /// The segment that can go on, and its slot.
    pub(super) fn going_on(
        config: &LogConfig,
        slots: &SlotTable,
        scan: &Scan,
    ) -> Option<(u32, Segment)> {
        let geometry = config.storage.geometry();
        let block_bytes = config.block_bytes();
        let (slot, segment) = slots.segment(scan.end.segment)?;
        let can = !geometry.erase_before_write
            && geometry.erase_block_bytes <= block_bytes
            && segment.block_bytes == block_bytes
            && segment.end == segment.segment_bytes;
        can.then_some((slot, segment))
    }

    /// The log of a database that was scanned, without room for another segment.
    pub(super) fn go_on(
        config: LogConfig,
        slots: SlotTable,
        buffer: Array<u8>,
        going_on: Option<(u32, Segment)>,
        scan: &Scan,
    ) -> Result<Self> {
        let (slot, segment) = going_on.ok_or(Error::LogFull)?;
        let mut slots = slots;
        let mut buffer = buffer;
        let end = scan.end.offset;
        let tail = align_up(end, config.block_bytes()).min(segment.segment_bytes);
        rewrite(&config, slot, &mut buffer, (end, tail))?;
        if tail < segment.segment_bytes {
            config
                .storage
                .erase(File::Log(slot), tail, segment.segment_bytes - tail)
                .map_err(at_slot(slot, IoAction::Write, tail))?;
        }
        config
            .storage
            .sync(File::Log(slot))
            .map_err(at_slot(slot, IoAction::Sync, 0))?;
        slots.wipe_above(&config, segment.number)?;
        // As of one that a writer begins: what it appends is whole.
        slots.update(slot, |segment| segment.valid_end = segment.segment_bytes);
        let mut writer = Self::on_slot(config, slots, buffer, (slot, &segment));
        writer.buffer_offset = tail;
        writer.predecessor = scan.end.predecessor;
        writer.last_sequence = segment.last_sequence;
        writer.synced_sequence = segment.last_sequence;
        writer.durable_number = segment.number;
        if scan.last_sequence > scan.durable_sequence || scan.end.has_remains {
            writer.state_durable(scan)?;
        }
        Ok(writer)
    }
}

/// Writes a slot's bytes up to `end` again to where they stand, and zeros up to `tail`.
fn rewrite(
    config: &LogConfig,
    slot: u32,
    buffer: &mut [u8],
    (end, tail): (u64, u64),
) -> Result<()> {
    let file = File::Log(slot);
    let mut offset = 0;
    while offset < tail {
        let left = usize::try_from(tail - offset).unwrap_or(usize::MAX);
        let length = left.min(buffer.len());
        let bytes = buffer.get_mut(..length).ok_or(Error::Internal(68))?;
        config
            .storage
            .read(file, offset, bytes)
            .map_err(at_slot(slot, IoAction::Read, offset))?;
        let kept = usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX);
        if let Some(rest) = bytes.get_mut(kept.min(length)..) {
            rest.fill(0);
        }
        config.storage.write(file, offset, bytes).map_err(at_slot(
            slot,
            IoAction::Write,
            offset,
        ))?;
        offset += length as u64;
    }
    Ok(())
}
