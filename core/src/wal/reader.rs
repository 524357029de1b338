//! Walking the frames of a segment, and replaying commits through a window.
//!
//! A [`Walk`] follows the frames that are whole and follow one another, or,
//! behind their end, looks for any header that verifies. It moves forward with
//! every step and never past the segment's end, whatever the bytes say.
//!
//! [`Replay`] gives out the commits that [`Scan`] found to count, once each and
//! in order. Records pass through the window one by one, so that a frame may be
//! larger than it; the frame's check is computed on the way and compared at its
//! end, since what is read now is not what the scan read.

use super::scan::Scan;
use super::slots::{Segment, SlotTable};
use super::window::Window;
use super::{LogConfig, align_up, frame_start};
use crate::error::{CorruptionReason, Error, Result};
use crate::format::bytes::get_u64;
use crate::format::frame::{
    FRAME_HEADER_BYTES, FrameHeader, FrameKind, FrameSeed, RecordIn, RecordSpan,
};
use crate::format::run::{RUN_PART_BYTES, RUN_RECORD_BYTES, RunRecord};
use crate::format::segment::first_flush_offset;
use lightning_platform::File;

/// A position in a segment.
pub(super) struct Walk {
    pub slot: u32,
    pub segment: Segment,
    pub position: u64,
    seed: FrameSeed,
    predecessor: u32,
}

impl Walk {
    /// At the front of `segment`, to which `window` is turned.
    pub fn new(config: &LogConfig, slot: u32, segment: Segment, window: &mut Window<'_>) -> Self {
        window.select(slot, segment.end);
        Self {
            slot,
            segment,
            position: first_flush_offset(segment.block_bytes),
            seed: FrameSeed::new(config.checksum, &config.instance_id, segment.number),
            predecessor: 0,
        }
    }

    /// The next frame that follows the one before, not moving past it. Only its
    /// header is verified. `None` leaves the position where none follows.
    pub fn next(&mut self, window: &mut Window<'_>) -> Result<Option<FrameHeader>> {
        loop {
            let start = frame_start(self.position, self.segment.block_bytes);
            let bytes = window.bytes(start, FRAME_HEADER_BYTES)?;
            let Some(&[a, b, c, d]) = bytes.get(4..8) else {
                return Ok(None);
            };
            self.position = start;
            if [a, b, c, d] == [0; 4] {
                let next = align_up(start, self.segment.block_bytes);
                if next == start {
                    return Ok(None);
                }
                self.position = next;
                continue;
            }
            return Ok(
                FrameHeader::decode(bytes, &self.seed, start).filter(|header| {
                    header.predecessor == self.predecessor && self.holds(start, header)
                }),
            );
        }
    }

    /// Whether the whole frame at the position is as it was written.
    pub fn is_whole(&self, header: &FrameHeader, window: &mut Window<'_>) -> Result<bool> {
        let (checksum, state) = self.payload_state(header);
        let payload = self.position.saturating_add(FRAME_HEADER_BYTES as u64);
        let check = window.check(checksum, state, payload, header.payload_bytes())?;
        Ok(check == Some(header.check))
    }

    /// Moves past the frame at the position.
    pub fn pass(&mut self, header: &FrameHeader) {
        self.position = self.position.saturating_add(u64::from(header.bytes));
        self.predecessor = header.check;
    }

    /// The next frame anywhere behind the position whose header verifies, with
    /// its offset; moves past it.
    pub fn salvage(&mut self, window: &mut Window<'_>) -> Result<Option<(u64, FrameHeader)>> {
        loop {
            let start = frame_start(self.position, self.segment.block_bytes);
            let bytes = window.bytes(start, FRAME_HEADER_BYTES)?;
            if bytes.len() < FRAME_HEADER_BYTES {
                return Ok(None);
            }
            let found = FrameHeader::decode(bytes, &self.seed, start);
            self.position = match &found {
                Some(header) if self.holds(start, header) => {
                    start.saturating_add(u64::from(header.bytes))
                }
                _ => align_up(start.saturating_add(1), self.segment.block_bytes),
            };
            if let Some(header) = found {
                return Ok(Some((start, header)));
            }
        }
    }

    fn holds(&self, start: u64, header: &FrameHeader) -> bool {
        start.saturating_add(u64::from(header.bytes)) <= self.segment.end
    }

    fn payload_state(&self, header: &FrameHeader) -> (crate::format::checksum::Checksum, u32) {
        (
            self.seed.checksum(),
            header.encode(&self.seed, self.position).1,
        )
    }
}

/// A commit met in a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// [`FrameKind::Commit`], or [`FrameKind::Ingest`].
    pub kind: FrameKind,
    /// Its sequence.
    pub sequence: u64,
    /// Milliseconds since 1970.
    pub wall_time_ms: u64,
    /// Where it came from.
    pub origin: u32,
    /// Which key encrypted what it refers to.
    pub key_id: u32,
    /// Its records; 0 for an ingest.
    pub records: u32,
    /// Bytes of its payload.
    pub payload_bytes: u64,
}

#[derive(Clone, Copy)]
struct OpenFrame {
    header: FrameHeader,
    slot: u32,
    payload: u64,
    payload_state: u32,
    position: u64,
    state: u32,
    records_left: u32,
}

/// The commits of a log that count, in order.
pub struct Replay<'a> {
    config: &'a LogConfig,
    window: Window<'a>,
    walk: Option<Walk>,
    number: u64,
    highest: u64,
    taken: u64,
    last: u64,
    frame: Option<OpenFrame>,
}

impl<'a> Replay<'a> {
    /// The commits above `after` (at least the merged sequence) that `scan`
    /// found, read through `window`: at least 512 bytes, and no record may be longer.
    #[must_use]
    pub fn new(config: &'a LogConfig, scan: &Scan, window: &'a mut [u8], after: u64) -> Self {
        Self {
            config,
            window: Window::new(&*config.storage, window),
            walk: None,
            number: scan.first_segment.saturating_sub(1),
            highest: scan.highest_segment,
            taken: after.max(scan.merged_sequence),
            last: scan.last_sequence,
            frame: None,
        }
    }

    /// The next commit; what was not read of the one before is passed over.
    /// `slots` is the table that the scan filled.
    ///
    /// # Errors
    /// Read errors; corruption where the log isn't any more what the scan read.
    pub fn next_commit(&mut self, slots: &SlotTable) -> Result<Option<Commit>> {
        self.frame = None;
        while self.taken < self.last {
            let Some(walk) = &mut self.walk else {
                let (slot, segment) = slots
                    .segment_after(self.number)
                    .filter(|(_, segment)| segment.number <= self.highest)
                    .ok_or(Error::corrupt(CorruptionReason::Frame, File::Log(0), 0))?;
                self.number = segment.number;
                if segment.last_sequence > self.taken {
                    self.walk = Some(Walk::new(self.config, slot, segment, &mut self.window));
                }
                continue;
            };
            let header = walk.next(&mut self.window)?;
            let Some(header) = header.filter(|_| walk.position < walk.segment.valid_end) else {
                self.walk = None;
                continue;
            };
            let next = header.kind.has_own_sequence()
                && header.sequence == self.taken.saturating_add(1)
                && header.sequence <= slots.cut_above(walk.segment.number);
            if !next {
                walk.pass(&header);
                continue;
            }
            let payload = walk.position.saturating_add(FRAME_HEADER_BYTES as u64);
            let (_, state) = walk.payload_state(&header);
            self.frame = Some(OpenFrame {
                header,
                slot: walk.slot,
                payload,
                payload_state: state,
                position: payload,
                state,
                records_left: header.records,
            });
            walk.pass(&header);
            self.taken = header.sequence;
            return Ok(Some(Commit {
                kind: header.kind,
                sequence: header.sequence,
                wall_time_ms: header.wall_time_ms,
                origin: header.origin,
                key_id: header.key_id,
                records: header.records,
                payload_bytes: header.payload_bytes(),
            }));
        }
        Ok(None)
    }

    /// Bytes of all keys and of all values of the commit. For before its records are read.
    ///
    /// # Errors
    /// As [`next_record`](Self::next_record).
    pub fn record_bytes(&mut self) -> Result<(u64, u64)> {
        let start = self.frame;
        let (mut keys, mut values) = (0_u64, 0_u64);
        while self.frame.is_some_and(|frame| frame.records_left > 0) {
            let Some(record) = self.next_record()? else {
                break;
            };
            keys += record.key.len() as u64;
            values += record.value.len() as u64;
        }
        self.frame = start;
        Ok((keys, values))
    }

    /// How many range deletes the commit begins with, and the bytes of their keys and ends.
    /// For before its records are read.
    ///
    /// # Errors
    /// As [`next_record`](Self::next_record).
    pub fn range_deletes(&mut self) -> Result<(u32, u64)> {
        let start = self.frame;
        let (mut count, mut bytes) = (0, 0_u64);
        while start.is_some_and(|frame| count < frame.records_left) {
            match self.next_record()? {
                Some(record) if record.kind == super::RecordKind::RangeDelete => {
                    bytes += (record.key.len() + record.value.len()) as u64;
                }
                _ => break,
            }
            count += 1;
        }
        self.frame = start;
        Ok((count, bytes))
    }

    /// The next record of the commit. The commit counts as read only after
    /// `None`: before, its check wasn't compared.
    ///
    /// # Errors
    /// Read errors; corruption; [`Error::MemoryPlan`] where a record may be
    /// longer than the window.
    pub fn next_record(&mut self) -> Result<Option<RecordIn<'_>>> {
        let Some(frame) = &mut self.frame else {
            return Ok(None);
        };
        let end = frame.payload.saturating_add(frame.header.payload_bytes());
        let left = end.saturating_sub(frame.position);
        let file = File::Log(frame.slot);
        if frame.records_left == 0 {
            let reason = if frame.state != frame.header.check && left == 0 {
                CorruptionReason::Frame
            } else {
                CorruptionReason::Structure
            };
            if frame.state != frame.header.check || left > 0 {
                return Err(Error::corrupt(reason, file, frame.position));
            }
            self.frame = None;
            return Ok(None);
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX);
        let held = |bytes: &[u8]| RecordIn::span(bytes.get(..most).unwrap_or(bytes));
        let mut span = held(self.window.bytes(frame.position, most.min(1))?);
        if span == RecordSpan::Short {
            let least = most.min(self.window.capacity());
            span = held(self.window.bytes(frame.position, least)?);
        }
        let length = match span {
            RecordSpan::Whole(length) => length,
            RecordSpan::Short if most > self.window.capacity() => {
                return Err(Error::MemoryPlan {
                    needed_bytes: left,
                    limit_bytes: self.window.capacity() as u64,
                });
            }
            RecordSpan::Short | RecordSpan::Malformed => {
                return Err(Error::corrupt(
                    CorruptionReason::Structure,
                    file,
                    frame.position,
                ));
            }
        };
        let position = frame.position;
        frame.position = position.saturating_add(length as u64);
        frame.records_left -= 1;
        let bytes = self.window.bytes(position, length)?;
        let bytes = bytes.get(..length).unwrap_or(&[]);
        frame.state = self.config.checksum.append(frame.state, bytes);
        match RecordIn::decode(bytes) {
            Some((record, _)) => Ok(Some(record)),
            None => Err(Error::corrupt(CorruptionReason::Structure, file, position)),
        }
    }

    /// The run that an ingest names; each of its parts, address and units, goes to
    /// `take_part`.
    ///
    /// # Errors
    /// Read errors, corruption, and what `take_part` answers.
    pub fn ingest(
        &mut self,
        mut take_part: impl FnMut((u64, u64)) -> Result<()>,
    ) -> Result<RunRecord> {
        let frame = self.frame;
        let (file, offset, sequence) = frame.map_or((File::Log(0), 0, 0), |frame| {
            (File::Log(frame.slot), frame.payload, frame.header.sequence)
        });
        let mut head = [0; RUN_RECORD_BYTES];
        let mut part = [0; RUN_PART_BYTES];
        let mut filled = 0_usize;
        self.payload(|bytes| {
            for byte in bytes {
                let in_part = filled.checked_sub(RUN_RECORD_BYTES);
                let to = match in_part {
                    None => head.get_mut(filled),
                    Some(at) => part.get_mut(at % RUN_PART_BYTES),
                };
                if let Some(to) = to {
                    *to = *byte;
                }
                filled += 1;
                if in_part.is_some_and(|at| at % RUN_PART_BYTES == RUN_PART_BYTES - 1) {
                    take_part((get_u64(&part, 0), get_u64(&part, 8)))?;
                }
            }
            Ok(())
        })?;
        let is_whole = filled
            .checked_sub(RUN_RECORD_BYTES)
            .is_some_and(|bytes| bytes.is_multiple_of(RUN_PART_BYTES));
        RunRecord::decode(&head)
            .filter(|record| is_whole && record.is_ingested && record.last_sequence == sequence)
            .ok_or(Error::corrupt(CorruptionReason::Structure, file, offset))
    }

    /// Gives the whole payload of the commit to `take`, piece by piece. May be
    /// called again.
    ///
    /// # Errors
    /// Read errors, corruption, and what `take` answers.
    pub fn payload(&mut self, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let Some(frame) = &self.frame else {
            return Ok(());
        };
        let mut state = frame.payload_state;
        let checksum = self.config.checksum;
        let whole = self
            .window
            .each(frame.payload, frame.header.payload_bytes(), |bytes| {
                state = checksum.append(state, bytes);
                take(bytes)
            })?;
        if !whole || state != frame.header.check {
            let file = File::Log(frame.slot);
            return Err(Error::corrupt(CorruptionReason::Frame, file, frame.payload));
        }
        Ok(())
    }
}
