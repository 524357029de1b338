//! How much the log takes still, for one frame and for all that may be promised;
//! where more room comes from, and where it goes when it is not needed.

use super::LogWriter;
use crate::error::Result;
use crate::format::segment::first_flush_offset;
use crate::wal::slots::{PrepareProgress, PrepareStep, Ran};
use crate::wal::{align_up, frame_start};

/// How long a segment is to be that a slot is prepared for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Four times as long as the current one, at most of the usual length.
    Next,
    /// Of the usual length, which any commit fits into.
    Usual,
    /// No longer than that any commit fits, on a device that is nearly full.
    Least,
    /// Of full length: a commit of an earlier open may need it.
    Whole,
}

impl LogWriter {
    /// Bytes that one frame may still have in the current segment.
    #[must_use]
    pub fn room(&self) -> u64 {
        let start = frame_start(self.position(), self.block_bytes);
        self.segment_bytes.saturating_sub(start)
    }

    /// Bytes of the current segment behind the block in use. Unlike the room, a sync
    /// takes none of it, and a flush no more than its frames in whole blocks.
    #[must_use]
    pub fn block_room(&self) -> u64 {
        let start = align_up(self.position(), self.block_bytes);
        self.segment_bytes.saturating_sub(start)
    }

    /// Bytes, in whole blocks, for which there is room in the current segment and
    /// the ready slots, whatever the order of frames of up to `frame_bytes_max`: each
    /// segment but the last may have that much left when a frame doesn't fit.
    #[must_use]
    pub fn room_to_promise(&self, frame_bytes_max: u64) -> u64 {
        let mut last = None;
        let mut others = 0;
        for room in self.slots.ready_rooms(&self.config) {
            others += room.saturating_sub(frame_bytes_max);
            last = Some(room.min(last.unwrap_or(frame_bytes_max)));
        }
        let here = self.block_room();
        match last {
            None => here,
            Some(last) => here.saturating_sub(frame_bytes_max) + others + last,
        }
    }

    /// The current segment's length in bytes.
    #[must_use]
    pub fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    /// Whether a segment of that length can begin at once.
    #[must_use]
    pub fn has_ready(&self, wanted: Wanted) -> bool {
        let front = first_flush_offset(self.block_bytes);
        let wanted = self.wanted_bytes(wanted);
        let least = wanted
            .min(u64::from(self.config.segment_bytes))
            .saturating_sub(front);
        self.slots
            .ready_rooms(&self.config)
            .any(|room| room >= least)
    }

    /// Whether the current segment is shorter than segments become by themselves.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.segment_bytes < u64::from(self.config.segment_bytes_usual)
    }

    /// Bytes handed to the storage so far, headers and padding included.
    #[must_use]
    pub fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// Whether a frame of `bytes` can be appended now, be it in the next segment.
    #[must_use]
    pub fn can_append(&self, bytes: u64) -> bool {
        self.fits(bytes)
            || self
                .slots
                .ready_rooms(&self.config)
                .any(|room| room >= bytes)
    }

    pub(super) fn fits(&self, bytes: u64) -> bool {
        bytes <= self.room()
    }

    /// Works on the next ready slot; see [`prepare_step`](super::super::SlotTable::prepare_step).
    ///
    /// # Errors
    /// What the storage answers. The log isn't harmed.
    pub fn prepare_step(&mut self, bytes_max: u64, wanted: Wanted) -> Result<PrepareProgress> {
        let wanted = self.wanted_bytes(wanted);
        self.slots.prepare_step(&self.config, wanted, bytes_max)
    }

    /// Begins such a step, to be run without the log; see [`begin_step`](super::super::SlotTable::begin_step).
    ///
    /// # Errors
    /// As [`prepare_step`](Self::prepare_step).
    pub fn begin_step(&mut self, bytes_max: u64, wanted: Wanted) -> Result<Option<PrepareStep>> {
        let wanted = self.wanted_bytes(wanted);
        self.slots.begin_step(&self.config, wanted, bytes_max)
    }

    /// Ends a step that was run.
    ///
    /// # Errors
    /// How running it failed. The log isn't harmed.
    pub fn end_step(&mut self, step: &PrepareStep, ran: Ran) -> Result<PrepareProgress> {
        self.slots.end_step(step, ran)
    }

    /// Ends preparing for which there is no more room. All that was found is given back or,
    /// where it `settles` for a shorter segment and no slot is ready, half of it. That this
    /// fails is no harm.
    pub fn leave_begun(&mut self, settles: bool) {
        let least = u64::from(self.config.segment_bytes_first);
        let settled = settles
            && self.slots.ready_slots() == 0
            && self.slots.settle_begun(&self.config, least) == Ok(true);
        if !settled {
            self.slots.give_back_begun(&self.config);
        }
    }

    fn wanted_bytes(&self, wanted: Wanted) -> u64 {
        let usual = u64::from(self.config.segment_bytes_usual);
        match wanted {
            Wanted::Next => self.segment_bytes.saturating_mul(4).min(usual),
            Wanted::Usual => usual,
            Wanted::Least => u64::from(self.config.segment_bytes_least),
            Wanted::Whole => u64::MAX,
        }
    }

    /// Prepares a slot for a segment of the first length, unless one is ready; `false`
    /// where no slot is left for one.
    ///
    /// # Errors
    /// As [`prepare_step`](Self::prepare_step).
    pub fn prepare_first(&mut self) -> Result<bool> {
        let first = u64::from(self.config.segment_bytes_first);
        loop {
            if self.slots.has_ready_of(first, &self.config) {
                return Ok(true);
            }
            if self.slots.prepare_step(&self.config, first, u64::MAX)? == PrepareProgress::NoSlot {
                return Ok(false);
            }
        }
    }

    /// Leaves the current segment, begins one of the first length with a mark, and
    /// makes it durable. Everything appended is durable already, and a slot was
    /// prepared by [`prepare_first`](Self::prepare_first).
    ///
    /// # Errors
    /// What the storage answers; the log is poisoned.
    pub fn renew(&mut self, durable_sequence: u64, wall_time_ms: u64) -> Result<()> {
        self.begin_flush(durable_sequence)?;
        self.advance_segment(0)?;
        self.append_mark(wall_time_ms)?;
        self.finish_flush(true).map(|_| ())
    }

    /// Takes back the slots of segments below `first_needed`; see
    /// [`release_below`](super::super::SlotTable::release_below).
    pub fn release_below(&mut self, first_needed: u64) {
        self.slots
            .release_below(first_needed.min(self.durable_number), &self.config);
    }

    /// Gives the blocks of a slot that holds nothing back, where all of them together have
    /// more than `bytes`; see [`shorten_free`](super::super::SlotTable::shorten_free).
    ///
    /// # Errors
    /// What the storage answers. The log isn't harmed.
    pub fn shorten_free(&mut self, bytes: u64) -> Result<bool> {
        self.slots.shorten_free(bytes, &self.config)
    }

    /// Removes slots that hold nothing until `keep` are left.
    ///
    /// # Errors
    /// Directory errors of the storage. The log isn't harmed.
    pub fn trim(&mut self, keep: usize) -> Result<u32> {
        self.slots.trim(keep, &self.config)
    }
}
