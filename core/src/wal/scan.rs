//! Reading a log at open: up to where it counts, and what is damage (FORMAT.md 4.3).
//!
//! One pass over the segments from the first needed one on. In each, the frames
//! that follow one another from its front are verified whole; behind them every
//! write block is asked for a frame header, since a header that verifies states
//! a durable sequence wherever it stands. *D* is the highest of these, of the
//! bases of all headers, and of what the superblock states. The commits that
//! count run without a gap from the merged sequence to the *break*; a break at
//! or below *D* is corruption, what lies behind a break above *D* is cut.
//!
//! A slot whose header doesn't verify is harmless while it was being prepared
//! (nothing in it verifies), or while its header was torn by a power cut (what
//! it states was durable before, and isn't in it). It is asked for frames of the
//! numbers above the highest: should the header of the newest segment have
//! rotted, these tell what was durable. Several numbers, since a recovery that was
//! cut off may have wiped the headers of some.

use super::LogConfig;
use super::reader::Walk;
use super::slots::{Segment, SlotState, SlotTable};
use super::window::Window;
use crate::error::{CorruptionReason, Error, Result};
use crate::format::frame::{Checkpoint, FRAME_HEADER_BYTES, FrameHeader, FrameKind};
use crate::format::segment::{CUT_NONE, first_flush_offset};
use lightning_platform::File;

/// What the superblock says about the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScanStart {
    /// The oldest segment that is needed.
    pub first_segment: u64,
    /// Commits up to it are in trees and runs.
    pub merged_sequence: u64,
    /// What was durable when the superblock was written.
    pub durable_sequence: u64,
}

/// What a log holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scan {
    /// The oldest segment that is needed.
    pub first_segment: u64,
    /// The highest number of a segment.
    pub highest_segment: u64,
    /// Commits up to it are in trees and runs.
    pub merged_sequence: u64,
    /// The highest sequence that is known to have been durable.
    pub durable_sequence: u64,
    /// The last sequence that counts.
    pub last_sequence: u64,
    /// The newest checkpoint that a frame names: refuse a superblock older than it.
    pub checkpoint: Option<Checkpoint>,
    /// The highest wall time that a frame states, milliseconds since 1970.
    pub wall_time_ms: u64,
    /// How many of the commits that count stand in runs that their frames name.
    pub ingests: usize,
    /// Where what counts ends.
    pub end: ScanEnd,
}

/// The newest segment that ends with the last commit that counts. Those above it were
/// begun by recoveries that were cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScanEnd {
    /// Its number; 0 where there is none.
    pub segment: u64,
    /// Where the last of its frames ends up to which all count.
    pub offset: u64,
    /// The check of that frame, 0 where there is none.
    pub predecessor: u32,
    /// Whether frames that don't count are behind it; they may state what was durable.
    pub has_remains: bool,
}

/// Numbers above the highest segment's that a slot with a rotten header may have had.
const NUMBERS_ASKED_FOR: u64 = 4;

/// A place in the log, for an error.
type Place = (CorruptionReason, u32, u64);

impl Scan {
    /// Reads the log, fills `slots`, and finds out what counts. `window` is
    /// scratch of at least 512 bytes; the more, the fewer reads.
    ///
    /// # Errors
    /// [`Error::Corruption`] where what was durable is gone; read errors.
    pub fn open(
        config: &LogConfig,
        start: &ScanStart,
        slots: &mut SlotTable,
        window: &mut [u8],
    ) -> Result<Self> {
        slots.survey(config, window)?;
        let before_first = start.first_segment.saturating_sub(1);
        let highest = slots.highest();
        let mut pass = Pass {
            config,
            window: Window::new(&*config.storage, window),
            scan: Self {
                first_segment: start.first_segment,
                highest_segment: highest,
                merged_sequence: start.merged_sequence,
                durable_sequence: start.durable_sequence.max(start.merged_sequence),
                last_sequence: start.merged_sequence,
                checkpoint: None,
                wall_time_ms: 0,
                ingests: 0,
                end: ScanEnd::default(),
            },
            broken: None,
        };
        if highest < start.first_segment.max(1) {
            let place = damaged_header(slots).unwrap_or((CorruptionReason::MissingSegment, 0, 0));
            return Err(corruption(place));
        }
        slots.release_below(start.first_segment, config);
        let mut end: Place = (CorruptionReason::MissingSegment, 0, 0);
        let mut number = before_first;
        while let Some((slot, segment)) = slots.segment_after(number) {
            if segment.number != number.saturating_add(1) {
                end = damaged_header(slots).unwrap_or(end);
            }
            number = segment.number;
            let cut = slots.cut_above(number);
            let found = pass.segment(slot, segment, cut, end)?;
            end = (CorruptionReason::Frame, slot, found.valid_end);
            slots.update(slot, |segment| *segment = found);
        }
        let lost = pass.other_slots(slots)?;
        let scan = pass.scan;
        if scan.last_sequence < scan.durable_sequence {
            return Err(corruption(pass.broken.or(lost).unwrap_or(end)));
        }
        Ok(scan)
    }
}

fn corruption((reason, slot, offset): Place) -> Error {
    Error::corrupt(reason, File::Log(slot), offset)
}

/// The first slot whose header is damaged.
fn damaged_header(slots: &SlotTable) -> Option<Place> {
    slots
        .iter()
        .find(|(_, slot)| slot.damaged)
        .map(|(index, _)| (CorruptionReason::SegmentHeader, index, 0))
}

struct Pass<'a> {
    config: &'a LogConfig,
    window: Window<'a>,
    scan: Scan,
    /// Where commits are missing that others follow.
    broken: Option<Place>,
}

impl Pass<'_> {
    /// Reads one segment; `before` is where the one before ended.
    fn segment(&mut self, slot: u32, segment: Segment, cut: u64, before: Place) -> Result<Segment> {
        if segment.end < segment.segment_bytes {
            // A slot has its full length, durably, before a segment begins in it.
            return Err(corruption((CorruptionReason::OutOfFile, slot, segment.end)));
        }
        self.scan.durable_sequence = self.scan.durable_sequence.max(segment.base_sequence);
        if segment.base_sequence > self.scan.last_sequence {
            self.broken = self.broken.or(Some(before));
        } else {
            // It goes on from what counts. One before it that didn't had been erased, until a
            // power cut took that back.
            self.broken = None;
        }
        let mut found = segment;
        let mut walk = Walk::new(self.config, slot, segment, &mut self.window);
        let mut end = ScanEnd {
            segment: segment.number,
            offset: walk.position,
            ..ScanEnd::default()
        };
        let mut counts = true;
        while let Some(header) = walk.next(&mut self.window)? {
            if !walk.is_whole(&header, &mut self.window)? {
                break;
            }
            self.note(&header);
            if header.kind == FrameKind::Checkpoint {
                self.note_checkpoint(walk.position)?;
            }
            if header.kind.has_own_sequence() && self.broken.is_none() {
                self.commit(&header, cut, before, &mut found);
            }
            walk.pass(&header);
            let is_commit = header.kind.has_own_sequence();
            counts &= !is_commit || (self.broken.is_none() && header.sequence <= cut);
            if counts {
                end.offset = walk.position;
                end.predecessor = header.check;
            }
        }
        found.valid_end = walk.position;
        end.has_remains = self.salvage(&mut walk)? || !counts;
        if found.last_sequence == self.scan.last_sequence {
            self.scan.end = end;
        }
        Ok(found)
    }

    /// Counts a commit met in order.
    fn commit(&mut self, header: &FrameHeader, cut: u64, before: Place, found: &mut Segment) {
        let last = self.scan.last_sequence;
        if header.sequence > cut {
            return;
        }
        if header.sequence <= last {
            found.last_sequence = found.last_sequence.max(header.sequence);
        } else if header.sequence == last.saturating_add(1) {
            self.scan.last_sequence = header.sequence;
            self.scan.ingests += usize::from(header.kind == FrameKind::Ingest);
            found.last_sequence = header.sequence;
        } else {
            self.broken = Some(before);
        }
    }

    /// Takes note of every header that verifies behind the walk's position;
    /// answers whether there was one.
    fn salvage(&mut self, walk: &mut Walk) -> Result<bool> {
        let mut any = false;
        while let Some((offset, header)) = walk.salvage(&mut self.window)? {
            any = true;
            self.note(&header);
            if header.kind == FrameKind::Checkpoint {
                let after = walk.position;
                walk.position = offset;
                if walk.is_whole(&header, &mut self.window)? {
                    self.note_checkpoint(offset)?;
                }
                walk.position = after;
            }
        }
        Ok(any)
    }

    /// Asks the slots without a segment for frames of the numbers above the
    /// highest; answers the one that has some. Where the header isn't damaged but missing,
    /// the first write to the slot, which is the header with the first flush, may have
    /// gone elsewhere: the first frame is then where that write would have ended, at the
    /// latest. No write is longer than the log's buffer, nor that than the window.
    fn other_slots(&mut self, slots: &SlotTable) -> Result<Option<Place>> {
        let block_bytes = self.config.block_bytes();
        let segment_bytes = u64::from(self.config.segment_bytes);
        let mut lost = None;
        for (index, slot) in slots.iter() {
            if matches!(slot.state, SlotState::Absent | SlotState::Used(_)) {
                continue;
            }
            for above in 1..=NUMBERS_ASKED_FOR {
                let segment = Segment {
                    number: self.scan.highest_segment.saturating_add(above),
                    base_sequence: 0,
                    cut: CUT_NONE,
                    last_sequence: 0,
                    block_bytes,
                    end: segment_bytes.min(slot.length),
                    valid_end: 0,
                    segment_bytes,
                };
                let mut walk = Walk::new(self.config, index, segment, &mut self.window);
                let reach =
                    first_flush_offset(block_bytes).saturating_add(self.window.capacity() as u64);
                walk.segment.end = segment.end.min(reach);
                let starts = walk.salvage(&mut self.window)?.is_some();
                walk.segment.end = segment.end;
                walk.position = first_flush_offset(block_bytes);
                if (starts || slot.damaged) && self.salvage(&mut walk)? {
                    lost = Some((CorruptionReason::SegmentHeader, index, 0));
                    break;
                }
            }
        }
        Ok(lost)
    }

    fn note(&mut self, header: &FrameHeader) {
        self.scan.durable_sequence = self.scan.durable_sequence.max(header.durable_sequence);
        self.scan.wall_time_ms = self.scan.wall_time_ms.max(header.wall_time_ms);
    }

    fn note_checkpoint(&mut self, offset: u64) -> Result<()> {
        let payload = offset.saturating_add(FRAME_HEADER_BYTES as u64);
        let checkpoint = Checkpoint::decode(self.window.bytes(payload, 16)?);
        self.scan.checkpoint = self.scan.checkpoint.max(checkpoint);
        Ok(())
    }
}
