//! Appending to the log, a flush at a time.
//!
//! One caller at a time (`&mut self`): `begin_flush`, any number of appends,
//! `finish_flush`. A flush is gathered in the buffer, padded with zeros to the
//! write block, and written (and synced) with one call where it fits; where it
//! doesn't, the buffer is written out each time it is full, in order.
//!
//! After a flush without a sync, its last block stays at the buffer's front, and
//! the next flush goes on in it (`wal`, point 7). A sync ends that.
//!
//! A frame's check stands at its front. A frame that fits into the buffer is
//! encoded there and the check put in afterwards; for a larger one the records
//! are run through twice, first for the check alone: bytes that were written are
//! never written otherwise, which flash would not allow and a killed process not
//! forgive.
//!
//! A flush that ends at a block's end has no zeros behind it: what follows there
//! is erased, or of an older segment of the slot, and doesn't verify.
//!
//! When a frame doesn't fit into what is left of the segment, all before it is
//! written and synced, and the next segment begins in a ready slot. Where there
//! is none the append answers [`Error::LogFull`] and has changed nothing.
//!
//! A write or sync that failed leaves the writer failed: every later call
//! answers [`Error::Poisoned`], and only opening the database again tells what
//! is durable.

mod beside;
mod full;
mod recovery;
mod supply;

pub use beside::SyncUnderway;
pub use supply::Wanted;

use super::payload::{Bytes, CheckSink, Payload, Records, Sink, SliceSink};
use super::slots::{Segment, SlotTable};
use super::{LogConfig, at_slot, frame_start};
use crate::error::{Error, IoAction, Limit, OptionProblem, Result};
use crate::format::bytes::{copy_within, put};
use crate::format::frame::{
    CHECKPOINT_BYTES, Checkpoint, FRAME_HEADER_BYTES, FrameHeader, FrameKind, FrameSeed, RecordIn,
};
use crate::format::segment::{CUT_NONE, SEGMENT_HEADER_BYTES, SegmentHeader, first_flush_offset};
use crate::mem::Array;
use lightning_platform::File;

/// A commit to append, apart from its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitIn {
    /// Its sequence: one above the last one appended.
    pub sequence: u64,
    /// Milliseconds since 1970.
    pub wall_time_ms: u64,
    /// Where it came from.
    pub origin: u32,
    /// Which key encrypted what it refers to.
    pub key_id: u32,
}

/// The writing end of the log.
pub struct LogWriter {
    config: LogConfig,
    slots: SlotTable,
    buffer: Array<u8>,
    block_bytes: u32,
    /// Bytes of the buffer in use, and where in the segment they belong.
    filled: usize,
    buffer_offset: u64,
    /// How many of them the storage has already: less than a block.
    held: usize,
    slot: u32,
    number: u64,
    segment_bytes: u64,
    written_bytes: u64,
    /// The newest segment whose header is durable.
    durable_number: u64,
    seed: FrameSeed,
    predecessor: u32,
    last_sequence: u64,
    synced_sequence: u64,
    durable_sequence: u64,
    flushing: bool,
    unsynced: bool,
    underway: Option<SyncUnderway>,
    failed: bool,
}

/// Fills the buffer and writes it out whenever it is full.
impl Sink for LogWriter {
    fn take(&mut self, bytes: &[u8]) -> Result<()> {
        let mut bytes = bytes;
        while !bytes.is_empty() {
            if self.filled == self.buffer.len() {
                self.spill()?;
            }
            let room = self.buffer.get_mut(self.filled..).unwrap_or(&mut []);
            let length = room.len().min(bytes.len());
            let (part, rest) = bytes.split_at_checked(length).ok_or(Error::Internal(63))?;
            room.get_mut(..length)
                .ok_or(Error::Internal(63))?
                .copy_from_slice(part);
            self.filled += length;
            bytes = rest;
        }
        Ok(())
    }
}

impl LogWriter {
    /// The log of a new database: segment 1, in a slot that is erased for it.
    /// `slots` was surveyed. `buffer` is a multiple of the write block and at
    /// least a segment header long. Nothing of the segment is written before
    /// the first flush.
    ///
    /// # Errors
    /// [`Error::LogFull`] where no slot is left; what the storage answers.
    pub fn create(config: LogConfig, slots: SlotTable, buffer: Array<u8>) -> Result<Self> {
        let segment = Segment::new(&config, 1, 0, CUT_NONE);
        let first = u64::from(config.segment_bytes_first);
        Self::start(config, slots, buffer, segment, first)
    }

    fn start(
        config: LogConfig,
        mut slots: SlotTable,
        buffer: Array<u8>,
        segment: Segment,
        wanted_bytes: u64,
    ) -> Result<Self> {
        config.check()?;
        check_buffer(&config, &buffer)?;
        let (slot, segment) = slots.take_erased(&config, wanted_bytes, segment)?;
        let mut writer = Self::on_slot(config, slots, buffer, (slot, &segment));
        writer.begin_segment(slot, &segment)?;
        Ok(writer)
    }

    /// A writer at the front of a segment, of which nothing is in the buffer.
    fn on_slot(
        config: LogConfig,
        slots: SlotTable,
        buffer: Array<u8>,
        (slot, segment): (u32, &Segment),
    ) -> Self {
        let block_bytes = config.block_bytes();
        let seed = FrameSeed::new(config.checksum, &config.instance_id, segment.number);
        Self {
            config,
            slots,
            buffer,
            block_bytes,
            filled: 0,
            buffer_offset: 0,
            held: 0,
            slot,
            number: segment.number,
            segment_bytes: segment.segment_bytes,
            written_bytes: 0,
            durable_number: 0,
            seed,
            predecessor: 0,
            last_sequence: segment.base_sequence,
            synced_sequence: segment.base_sequence,
            durable_sequence: 0,
            flushing: false,
            unsynced: false,
            underway: None,
            failed: false,
        }
    }

    /// Begins a flush whose frames state `durable_sequence`: what is known to
    /// be durable now. Frames behind a change of segment state more, if its
    /// sync made more durable.
    ///
    /// # Errors
    /// [`Error::Poisoned`] after a failure.
    pub fn begin_flush(&mut self, durable_sequence: u64) -> Result<()> {
        if self.failed {
            return Err(Error::Poisoned);
        }
        if self.flushing || durable_sequence > self.last_sequence {
            return Err(Error::Internal(64));
        }
        self.flushing = true;
        self.durable_sequence = durable_sequence.max(self.durable_sequence);
        Ok(())
    }

    /// Appends a commit. `records` stand in the order that the format wants,
    /// and are gone through up to three times.
    ///
    /// # Errors
    /// [`Error::OverLimit`] where the frame fits into no segment, and where it needs
    /// the next one [`Error::LogFull`] when none is ready, and [`Error::Busy`] while a
    /// sync is under way: nothing has changed then. Otherwise what the storage answers, and the log is poisoned.
    pub fn append_commit<'a>(
        &mut self,
        commit: &CommitIn,
        records: impl Iterator<Item = RecordIn<'a>> + Clone,
    ) -> Result<()> {
        let (count, bytes) = records
            .clone()
            .fold((0_u32, 0_u64), |(count, bytes), record| {
                (
                    count.saturating_add(1),
                    bytes.saturating_add(record.encoded_bytes()),
                )
            });
        let header = self.commit_header(FrameKind::Commit, commit, count);
        self.append(header, bytes, &mut Records(records))
    }

    /// Appends a commit whose writes stand in a run, which `payload` names with its parts.
    ///
    /// # Errors
    /// As [`append_commit`](Self::append_commit).
    pub fn append_ingest(&mut self, commit: &CommitIn, payload: &[u8]) -> Result<()> {
        let header = self.commit_header(FrameKind::Ingest, commit, 0);
        self.append(header, payload.len() as u64, &mut Bytes(payload))
    }

    /// Appends a mark, which states the durable sequence of its flush.
    ///
    /// # Errors
    /// As [`append_commit`](Self::append_commit).
    pub fn append_mark(&mut self, wall_time_ms: u64) -> Result<()> {
        let header = FrameHeader {
            wall_time_ms,
            ..self.blank_header()
        };
        self.append(header, 0, &mut Bytes(&[]))
    }

    /// Appends a checkpoint, which names a superblock that is durable.
    ///
    /// # Errors
    /// As [`append_commit`](Self::append_commit).
    pub fn append_checkpoint(&mut self, wall_time_ms: u64, checkpoint: Checkpoint) -> Result<()> {
        let kind = FrameKind::Checkpoint;
        let header = FrameHeader {
            kind,
            wall_time_ms,
            ..self.blank_header()
        };
        self.append(
            header,
            CHECKPOINT_BYTES as u64,
            &mut Bytes(&checkpoint.encode()),
        )
    }

    /// Ends the flush: writes what is left of it and, with `sync`, makes
    /// everything appended durable. Answers the last sequence that is durable.
    /// An empty flush writes nothing, and syncs only what an earlier one left.
    ///
    /// # Errors
    /// What the storage answers; the log is poisoned.
    pub fn finish_flush(&mut self, sync: bool) -> Result<u64> {
        if self.failed {
            return Err(Error::Poisoned);
        }
        if sync && self.underway.is_some() {
            return Err(Error::Internal(67));
        }
        self.flushing = false;
        self.write_out(sync, sync)?;
        Ok(self.synced_sequence)
    }

    /// Which slots hold what.
    #[must_use]
    pub fn slots(&self) -> &SlotTable {
        &self.slots
    }

    /// The number of the oldest segment that holds a sequence above `sequence`,
    /// or of the newest one whose header is durable: a superblock that named
    /// another could speak of a segment that a power cut has taken away.
    #[must_use]
    pub fn first_segment_needed_for(&self, sequence: u64) -> u64 {
        self.slots
            .first_segment_needed_for(sequence)
            .min(self.durable_number)
    }

    /// The current segment's number.
    #[must_use]
    pub fn segment(&self) -> u64 {
        self.number
    }

    /// The last sequence appended.
    #[must_use]
    pub fn last_sequence(&self) -> u64 {
        self.last_sequence
    }

    /// The last sequence that a sync of this writer, or recovery, made durable.
    #[must_use]
    pub fn synced_sequence(&self) -> u64 {
        self.synced_sequence
    }

    fn position(&self) -> u64 {
        self.buffer_offset.saturating_add(self.filled as u64)
    }

    /// A mark's header, to be completed.
    fn blank_header(&self) -> FrameHeader {
        FrameHeader {
            check: 0,
            bytes: 0,
            kind: FrameKind::Mark,
            predecessor: 0,
            sequence: self.last_sequence,
            durable_sequence: 0,
            wall_time_ms: 0,
            origin: 0,
            key_id: 0,
            records: 0,
        }
    }

    fn commit_header(&self, kind: FrameKind, commit: &CommitIn, records: u32) -> FrameHeader {
        FrameHeader {
            kind,
            sequence: commit.sequence,
            wall_time_ms: commit.wall_time_ms,
            origin: commit.origin,
            key_id: commit.key_id,
            records,
            ..self.blank_header()
        }
    }

    fn append(
        &mut self,
        header: FrameHeader,
        payload_bytes: u64,
        payload: &mut impl Payload,
    ) -> Result<()> {
        if self.failed {
            return Err(Error::Poisoned);
        }
        let expected = self
            .last_sequence
            .saturating_add(u64::from(header.kind.has_own_sequence()));
        if !self.flushing || header.sequence != expected {
            return Err(Error::Internal(65));
        }
        let bytes = payload_bytes.saturating_add(FRAME_HEADER_BYTES as u64);
        let maximum = self.config.frame_bytes_max();
        let over = Error::OverLimit {
            limit: Limit::TransactionBytes,
            value: bytes,
            maximum,
        };
        let length = u32::try_from(bytes)
            .ok()
            .filter(|_| bytes <= maximum)
            .ok_or(over)?;
        if !self.fits(bytes) {
            self.advance_segment(bytes)?;
        }
        // Until the frame is whole, the buffer holds a part of one.
        self.failed = true;
        let pad = frame_start(self.position(), self.block_bytes) - self.position();
        let zeros = [0; 8];
        self.take(
            zeros
                .get(..usize::try_from(pad).unwrap_or(0))
                .unwrap_or(&[]),
        )?;
        let header = FrameHeader {
            bytes: length,
            predecessor: self.predecessor,
            durable_sequence: self.durable_sequence,
            ..header
        };
        let check = self.emit(&header, length as usize, payload)?;
        self.failed = false;
        self.predecessor = check;
        if header.kind.has_own_sequence() {
            self.last_sequence = header.sequence;
            self.slots
                .update(self.slot, |segment| segment.last_sequence = header.sequence);
        }
        Ok(())
    }

    /// Puts the frame into the buffer, or through it; answers its check.
    fn emit(
        &mut self,
        header: &FrameHeader,
        length: usize,
        payload: &mut impl Payload,
    ) -> Result<u32> {
        let checksum = self.config.checksum;
        let (mut front, state) = header.encode(&self.seed, self.position());
        if self.buffer.len() - self.filled < length {
            self.spill()?;
        }
        let Some(frame) = self
            .buffer
            .get_mut(self.filled..)
            .and_then(|rest| rest.get_mut(..length))
        else {
            let mut sink = CheckSink { checksum, state };
            payload.feed(&mut sink)?;
            put(&mut front, 0, &sink.state.to_le_bytes());
            let start = self.position();
            self.take(&front)?;
            payload.feed(self)?;
            let whole = self.position() == start.saturating_add(length as u64);
            return if whole {
                Ok(sink.state)
            } else {
                Err(Error::Internal(66))
            };
        };
        let (head, body) = frame
            .split_at_mut_checked(front.len())
            .ok_or(Error::Internal(66))?;
        let mut sink = SliceSink { rest: &mut *body };
        payload.feed(&mut sink)?;
        if !sink.rest.is_empty() {
            return Err(Error::Internal(66));
        }
        let check = checksum.append(state, body);
        put(&mut front, 0, &check.to_le_bytes());
        head.copy_from_slice(&front);
        self.filled += length;
        Ok(check)
    }

    /// Writes the buffer's whole blocks and keeps the rest.
    fn spill(&mut self) -> Result<()> {
        let whole = self.filled & !(self.block_bytes as usize).wrapping_sub(1);
        if whole == 0 {
            return Ok(());
        }
        let bytes = self.buffer.get(..whole).unwrap_or(&[]);
        self.unsynced = true;
        let failed = at_slot(self.slot, IoAction::Write, self.buffer_offset);
        let file = File::Log(self.slot);
        self.config
            .storage
            .write(file, self.buffer_offset, bytes)
            .map_err(failed)?;
        copy_within(&mut self.buffer, whole, self.filled, 0);
        self.written_bytes += whole as u64;
        self.buffer_offset = self.buffer_offset.saturating_add(whole as u64);
        self.filled -= whole;
        self.held = 0;
        Ok(())
    }

    /// Pads and writes what the storage doesn't have, and syncs if so asked. A block
    /// that was or is to be synced is left.
    fn write_out(&mut self, sync: bool, leaves_block: bool) -> Result<()> {
        let mask = (self.block_bytes as usize).wrapping_sub(1);
        let padded = self.filled.saturating_add(mask) & !mask;
        self.buffer
            .get_mut(self.filled..padded)
            .unwrap_or(&mut [])
            .fill(0);
        let is_new = self.filled > self.held;
        let bytes = self.buffer.get(..padded).filter(|_| is_new).unwrap_or(&[]);
        let (storage, file) = (&*self.config.storage, File::Log(self.slot));
        let at = |action| at_slot(self.slot, action, self.buffer_offset);
        self.failed = true;
        match (bytes.is_empty(), sync) {
            (true, false) => {}
            (true, true) if !self.unsynced => {}
            (true, true) => storage.sync(file).map_err(at(IoAction::Sync))?,
            (false, false) => storage
                .write(file, self.buffer_offset, bytes)
                .map_err(at(IoAction::Write))?,
            (false, true) => storage
                .write_and_sync(file, self.buffer_offset, bytes)
                .map_err(at(IoAction::Sync))?,
        }
        self.failed = false;
        self.written_bytes += bytes.len() as u64;
        self.unsynced = !sync && (self.unsynced || is_new);
        if sync {
            self.synced_sequence = self.last_sequence;
            self.durable_number = self.number;
        }
        let kept = if leaves_block || storage.geometry().erase_before_write {
            0
        } else {
            self.filled & mask
        };
        let left = if kept == 0 {
            padded
        } else {
            self.filled - kept
        };
        copy_within(&mut self.buffer, left, left + kept, 0);
        self.buffer_offset = self.buffer_offset.saturating_add(left as u64);
        self.filled = kept;
        self.held = kept;
        Ok(())
    }

    /// Makes this segment durable whole, and begins the next in a ready slot with
    /// room for a frame of `bytes`.
    fn advance_segment(&mut self, bytes: u64) -> Result<()> {
        if !self.can_append(bytes) {
            return Err(Error::LogFull);
        }
        if self.underway.is_some() {
            return Err(Error::Busy);
        }
        self.write_out(true, true)?;
        self.durable_sequence = self.synced_sequence;
        let number = self.number.saturating_add(1);
        let segment = Segment::new(&self.config, number, self.last_sequence, CUT_NONE);
        let (slot, segment) = self
            .slots
            .take_ready(&self.config, bytes, segment)
            .ok_or(Error::LogFull)?;
        self.begin_segment(slot, &segment)
    }

    /// Puts the header of `segment` at the front of the (empty) buffer.
    fn begin_segment(&mut self, slot: u32, segment: &Segment) -> Result<()> {
        let header = SegmentHeader {
            lineage_id: self.config.lineage_id,
            instance_id: self.config.instance_id,
            number: segment.number,
            segment_bytes: segment.segment_bytes,
            block_bytes: segment.block_bytes,
            timeline: self.config.timeline,
            base_sequence: segment.base_sequence,
            cut: segment.cut,
        };
        // What no opening would take for a segment must not take a commit.
        if !header.is_plausible() {
            self.failed = true;
            return Err(Error::Internal(361));
        }
        let front =
            usize::try_from(first_flush_offset(self.block_bytes)).unwrap_or(SEGMENT_HEADER_BYTES);
        if let Some(area) = self.buffer.get_mut(..front) {
            area.fill(0);
        }
        put(&mut self.buffer, 0, &header.encode(self.config.checksum));
        self.filled = front;
        self.buffer_offset = 0;
        self.held = 0;
        self.slot = slot;
        self.number = segment.number;
        self.segment_bytes = segment.segment_bytes;
        self.seed = FrameSeed::new(
            self.config.checksum,
            &self.config.instance_id,
            segment.number,
        );
        self.predecessor = 0;
        Ok(())
    }
}

/// Whether the buffer takes whole blocks, and a segment's header.
fn check_buffer(config: &LogConfig, buffer: &Array<u8>) -> Result<()> {
    let block_bytes = config.block_bytes();
    if buffer.len().is_multiple_of(block_bytes as usize)
        && buffer.len() as u64 >= first_flush_offset(block_bytes)
    {
        Ok(())
    } else {
        Err(Error::Options(OptionProblem::LogBufferBytes))
    }
}
