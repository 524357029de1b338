//! Beginning the log of a database that was scanned (protocol in `wal`, point 4).

use super::{LogWriter, check_buffer};
use crate::error::{Error, IoAction, Result};
use crate::format::frame::{FRAME_HEADER_BYTES, FrameHeader};
use crate::format::segment::first_flush_offset;
use crate::mem::Array;
use crate::wal::LogConfig;
use crate::wal::payload::Copied;
use crate::wal::reader::Replay;
use crate::wal::scan::Scan;
use crate::wal::slots::{PrepareProgress, Segment, SlotTable};
use crate::wal::writer::Wanted;

impl LogWriter {
    /// The log of a database that was scanned: a new segment that cuts off what
    /// doesn't count, into which the last checkpoint and all commits above the
    /// durable sequence are written again. When this returns, everything that
    /// counts is durable, and a mark in a block of its own says so: what is served
    /// from here on must not be taken for a torn tail when it rots. `window` is
    /// scratch, as for the scan.
    ///
    /// Where the log is short, or slots are scarce, everything above the merged
    /// sequence is written again: then no earlier segment is needed, and a database
    /// that is opened again and again before a merge ends doesn't run out of slots.
    ///
    /// Where there is no room for another segment, on the device or in the table of slots,
    /// the newest one goes on (`full`).
    ///
    /// # Errors
    /// [`Error::LogFull`] where no slot is left; what the storage answers.
    /// Opening may be tried again.
    pub fn start_after_recovery(
        config: LogConfig,
        slots: SlotTable,
        buffer: Array<u8>,
        scan: &Scan,
        window: &mut [u8],
    ) -> Result<Self> {
        config.check()?;
        check_buffer(&config, &buffer)?;
        let number = scan.highest_segment.saturating_add(1);
        let mut slots = slots;
        let going_on = Self::going_on(&config, &slots, scan);
        let goes_on = |error: &Error, slots: &SlotTable| {
            // A sync that failed is final, whatever it failed of.
            let is_sync = matches!(
                error,
                Error::Io {
                    action: IoAction::Sync,
                    ..
                }
            );
            let is_room = error.is_storage_full() || matches!(error, Error::LogFull);
            going_on.is_some() && is_room && !is_sync && !slots.directory_failed()
        };
        if slots.free_slots() == 0 && goes_on(&Error::LogFull, &slots) {
            return Self::go_on(config, slots, buffer, going_on, scan);
        }
        slots.free_covered(scan.merged_sequence, scan.last_sequence);
        let is_short = slots.log_bytes() <= u64::from(config.segment_bytes) / 2;
        let packs = slots.free_slots() <= 1 || (is_short && slots.used_slots() > 1);
        let base = if packs {
            scan.merged_sequence
        } else {
            scan.durable_sequence
        };
        let segment = Segment::new(&config, number, base, scan.last_sequence);
        // What is written again takes no more than it did, a checkpoint and a mark.
        let block_bytes = config.block_bytes();
        let mark_bytes = u64::from(scan.last_sequence > base) * u64::from(block_bytes);
        let least = slots.log_bytes() + 2 * first_flush_offset(block_bytes) + mark_bytes;
        let first = u64::from(config.segment_bytes_first);
        let wanted = if least <= first { first } else { u64::MAX };
        let (slot, segment) = match slots.take_erased(&config, wanted, segment) {
            Err(error) if goes_on(&error, &slots) => {
                slots.give_back_begun(&config);
                return Self::go_on(config, slots, buffer, going_on, scan);
            }
            taken => taken?,
        };
        let mut writer = Self::on_slot(config.clone(), slots, buffer, (slot, &segment));
        writer.begin_segment(slot, &segment)?;
        match writer.write_again(scan, window, base) {
            Err(error) if goes_on(&error, &writer.slots) => {
                // What it holds stands in others, too.
                let Self {
                    mut slots, buffer, ..
                } = writer;
                slots.give_back_begun(&config);
                return Self::go_on(config, slots, buffer, going_on, scan);
            }
            written => written?,
        }
        if packs {
            writer.slots.wipe_all_below(&config, number)?;
        } else {
            writer.slots.wipe_superseded(&config, number, base)?;
        }
        Ok(writer)
    }

    /// Writes the newest checkpoint and the commits above `base` again, durably, and a mark
    /// that says so.
    fn write_again(&mut self, scan: &Scan, window: &mut [u8], base: u64) -> Result<()> {
        self.begin_flush(base)?;
        if let Some(checkpoint) = scan.checkpoint {
            self.append_checkpoint(scan.wall_time_ms, checkpoint)?;
        }
        let config = self.config.clone();
        let mut replay = Replay::new(&config, scan, window, base);
        while let Some(commit) = replay.next_commit(&self.slots)? {
            let header = FrameHeader {
                kind: commit.kind,
                sequence: commit.sequence,
                wall_time_ms: commit.wall_time_ms,
                origin: commit.origin,
                key_id: commit.key_id,
                records: commit.records,
                ..self.blank_header()
            };
            let bytes = commit.payload_bytes;
            let frame_bytes = bytes.saturating_add(FRAME_HEADER_BYTES as u64);
            while !self.can_append(frame_bytes) {
                if self.prepare_step(u64::MAX, Wanted::Whole)? == PrepareProgress::NoSlot {
                    return Err(Error::LogFull);
                }
            }
            self.append(header, bytes, &mut Copied(&mut replay))?;
        }
        self.finish_flush(true)?;
        if scan.last_sequence > base {
            self.state_durable(scan)?;
        }
        Ok(())
    }

    /// Says in a block of its own that all commits are durable.
    pub(super) fn state_durable(&mut self, scan: &Scan) -> Result<()> {
        self.begin_flush(self.last_sequence())?;
        match self.append_mark(scan.wall_time_ms) {
            // Where it takes the last room, the next flush says it.
            Ok(()) | Err(Error::LogFull) => {}
            Err(error) => return Err(error),
        }
        self.finish_flush(true).map(|_| ())
    }
}
