//! Which log slot holds which segment, and the stock of slots to write next.
//!
//! A slot is *absent*, *blank* (there, but not known to be allocated and of full
//! length), *preparing*, *working* (a step of that runs), *ready* to take a segment,
//! *used* by one, or *retired* after a failed sync. Blank slots are erased a step at
//! a time; a slot that once held a segment of the usual length is ready again at once,
//! unless the storage wants every range erased before it is written again.
//!
//! Preparing never touches a used slot: when it fails, for want of room or
//! otherwise, the log goes on with what is ready. One slot of the table is never
//! prepared ahead but left to recovery.

mod prepare;

pub use prepare::{PrepareProgress, PrepareStep, Ran};

use super::window::Window;
use super::{LogConfig, align_up, at_slot};
use crate::error::{CorruptionReason, Error, IoAction, Limit, Result};
use crate::format::segment::{CUT_NONE, SEGMENT_HEADER_BYTES, SegmentFound, SegmentHeader};
use crate::mem::{Array, Budget};
use lightning_platform::{File, MemoryUse};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SlotState {
    Absent,
    Blank,
    /// Erased up to this offset.
    Preparing(u64),
    /// A step of preparing runs.
    Working,
    Ready,
    Used(Segment),
    Retired,
}

/// A segment in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub number: u64,
    pub base_sequence: u64,
    pub cut: u64,
    /// The highest sequence in it that counts; the base where none does.
    pub last_sequence: u64,
    pub block_bytes: u32,
    /// Where its readable bytes end.
    pub end: u64,
    /// Where its frames end that are whole and follow one another.
    pub valid_end: u64,
    pub segment_bytes: u64,
}

impl Segment {
    /// A segment that a writer begins.
    pub(super) fn new(config: &LogConfig, number: u64, base_sequence: u64, cut: u64) -> Self {
        let segment_bytes = u64::from(config.segment_bytes);
        Self {
            number,
            base_sequence,
            cut,
            last_sequence: base_sequence,
            block_bytes: config.block_bytes(),
            end: segment_bytes,
            // What the writer appends is whole: a replay reads up to the first frame
            // that is not there.
            valid_end: segment_bytes,
            segment_bytes,
        }
    }

    /// The same segment in a slot with room for `segment_bytes`.
    fn of_length(self, segment_bytes: u64) -> Self {
        Self {
            end: segment_bytes,
            valid_end: segment_bytes,
            segment_bytes,
            ..self
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    pub state: SlotState,
    /// Length of the slot's file.
    pub length: u64,
    /// Its front holds bytes that are neither erased nor a header.
    pub damaged: bool,
    /// It was found without a header: that its creation was ever made durable
    /// is not known, and a directory sync that failed may not be repaired by
    /// another. It is removed and created anew before it is used.
    doubtful: bool,
}

impl Slot {
    const ABSENT: Self = Self {
        state: SlotState::Absent,
        length: 0,
        damaged: false,
        doubtful: false,
    };
}

/// The log slots of a database.
pub struct SlotTable {
    slots: Array<Slot>,
    /// No slot from this one on exists: so that a flush doesn't look at all of them.
    end: usize,
    directory_failed: bool,
}

impl SlotTable {
    /// A table for slots 0 to `slots_max - 1`.
    ///
    /// # Errors
    /// When the memory plan has no room for it.
    pub fn new(budget: &mut Budget, slots_max: u32) -> Result<Self> {
        let length = slots_max as usize;
        Ok(Self {
            slots: Array::new(budget, MemoryUse::Structure, length, |_| Slot::ABSENT)?,
            end: 0,
            directory_failed: false,
        })
    }

    /// Reads the front of every slot. `window` is scratch of at least 512 bytes.
    ///
    /// # Errors
    /// [`Error::OverLimit`] where the storage has more slots than the table;
    /// corruption where two slots claim one segment; read errors.
    pub fn survey(&mut self, config: &LogConfig, window: &mut [u8]) -> Result<()> {
        config.check()?;
        let storage = &*config.storage;
        let slots = storage
            .log_slots()
            .map_err(at_slot(0, IoAction::Directory, 0))?;
        if slots as usize > self.slots.len() {
            return Err(Error::OverLimit {
                limit: Limit::LogSlots,
                value: u64::from(slots),
                maximum: self.slots.len() as u64,
            });
        }
        if window.len() < SEGMENT_HEADER_BYTES {
            return Err(Error::Internal(60));
        }
        self.end = slots as usize;
        let mut window = Window::new(storage, window);
        for (index, slot) in (0_u32..).zip(self.slots.iter_mut()) {
            let length = if index < slots {
                storage
                    .length(File::Log(index))
                    .map_err(at_slot(index, IoAction::Length, 0))?
            } else {
                None
            };
            *slot = Slot::ABSENT;
            let Some(length) = length else { continue };
            slot.length = length;
            slot.state = SlotState::Blank;
            slot.doubtful = true;
            window.select(index, length);
            let bytes = window.bytes(0, SEGMENT_HEADER_BYTES)?;
            match SegmentHeader::decode(bytes, config.checksum) {
                SegmentFound::Valid(header) => slot.adopt(&header, config),
                SegmentFound::Version(version) => {
                    return Err(Error::Unsupported {
                        version,
                        features: 0,
                    });
                }
                SegmentFound::Damaged => slot.damaged = true,
                SegmentFound::Erased => {}
            }
        }
        let mut number = 0;
        while let Some((slot, segment)) = self.segment_after(number) {
            number = segment.number;
            let twins = self.segments().filter(|(_, other)| other.number == number);
            if twins.count() > 1 {
                let reason = CorruptionReason::SegmentHeader;
                return Err(Error::corrupt(reason, File::Log(slot), 0));
            }
        }
        Ok(())
    }

    /// Slots that a segment can begin in at once.
    #[must_use]
    pub fn ready_slots(&self) -> usize {
        self.existing()
            .filter(|(_, slot)| slot.state == SlotState::Ready)
            .count()
    }

    /// Whether a sync of the directory failed: no slot can be created any more,
    /// since no later sync could be relied on.
    #[must_use]
    pub fn directory_failed(&self) -> bool {
        self.directory_failed
    }

    /// Segments that are kept.
    #[must_use]
    pub fn used_slots(&self) -> usize {
        self.segments().count()
    }

    /// The number of the oldest segment that holds a sequence above `sequence`,
    /// or the newest segment's.
    #[must_use]
    pub fn first_segment_needed_for(&self, sequence: u64) -> u64 {
        let newest = self.highest();
        self.segments()
            .filter(|(_, segment)| segment.last_sequence > sequence)
            .map(|(_, segment)| segment.number)
            .fold(newest, u64::min)
    }

    /// Takes back the slots of the segments below `first_needed`: call it only
    /// after the superblock that names it is durable, in both of its slots.
    pub fn release_below(&mut self, first_needed: u64, config: &LogConfig) {
        for slot in self.slots.iter_mut() {
            if let SlotState::Used(segment) = slot.state
                && segment.number < first_needed
            {
                slot.state = slot.recycled(&segment, config);
            }
        }
    }

    /// Bytes of whole frames in the segments that are kept.
    pub(super) fn log_bytes(&self) -> u64 {
        self.segments().map(|(_, segment)| segment.valid_end).sum()
    }

    /// Bytes of all slots' files, and of the segments that are kept.
    #[must_use]
    pub fn file_bytes(&self) -> (u64, u64) {
        let lengths = self.existing().map(|(_, slot)| slot.length);
        let kept = self.segments().map(|(_, segment)| segment.segment_bytes);
        (lengths.sum(), kept.sum())
    }

    /// Slots that hold nothing.
    pub(super) fn free_slots(&self) -> usize {
        self.count(|state| {
            !matches!(
                state,
                SlotState::Used(_) | SlotState::Working | SlotState::Retired
            )
        })
    }

    /// Where every slot holds a segment, takes one back whose commits between
    /// `merged` and `last` stand in others, too: what a recovery that was cut off
    /// has left. Without it that recovery could never be done again.
    pub(super) fn free_covered(&mut self, merged: u64, last: u64) {
        if self.free_slots() > 0 {
            return;
        }
        let covered = |without: u64| {
            let mut number = 0;
            let mut up_to = merged;
            let mut others = false;
            while let Some((_, segment)) = self.segment_after(number) {
                number = segment.number;
                if number != without {
                    others = true;
                    if segment.base_sequence <= up_to {
                        up_to = up_to.max(segment.last_sequence);
                    }
                }
            }
            others && up_to >= last
        };
        let newest = self
            .segments()
            .filter(|(_, segment)| covered(segment.number))
            .max_by_key(|(_, segment)| segment.number);
        if let Some((index, _)) = newest {
            self.set(index, SlotState::Blank);
        }
    }

    /// Takes back the slots of segments below `number` that hold nothing up to
    /// `base`, and erases their headers, so that a process that dies again and
    /// again while it recovers doesn't find one more each time. An erased
    /// header may come back: it then counts as it did before.
    pub(super) fn wipe_superseded(
        &mut self,
        config: &LogConfig,
        number: u64,
        base: u64,
    ) -> Result<()> {
        let bytes = align_up(SEGMENT_HEADER_BYTES as u64, config.unit_bytes());
        for (index, slot) in (0_u32..).zip(self.slots.iter_mut()) {
            if let SlotState::Used(segment) = slot.state
                && segment.number < number
                && segment.base_sequence >= base
            {
                let failed = at_slot(index, IoAction::Write, 0);
                config
                    .storage
                    .erase(File::Log(index), 0, bytes)
                    .map_err(failed)?;
                slot.state = slot.recycled(&segment, config);
            }
        }
        Ok(())
    }

    /// Takes back the slots of all segments below `number`, which holds everything
    /// that counts. Their headers are erased durably, from the newest on: a newer
    /// one that came back without an older one would look like a gap.
    pub(super) fn wipe_all_below(&mut self, config: &LogConfig, number: u64) -> Result<()> {
        let recycled = |slot: &Slot, segment: &Segment| slot.recycled(segment, config);
        self.wipe_where(config, |segment| segment.number < number, recycled)
    }

    /// The same for all segments above `number`, which hold nothing that others don't. Their
    /// numbers come again: the slots are erased before they are used.
    pub(super) fn wipe_above(&mut self, config: &LogConfig, number: u64) -> Result<()> {
        let blank = |_: &Slot, _: &Segment| SlotState::Blank;
        self.wipe_where(config, |segment| segment.number > number, blank)
    }

    fn wipe_where(
        &mut self,
        config: &LogConfig,
        is_wiped: impl Fn(&Segment) -> bool,
        state: impl Fn(&Slot, &Segment) -> SlotState,
    ) -> Result<()> {
        let bytes = align_up(SEGMENT_HEADER_BYTES as u64, config.unit_bytes());
        loop {
            let newest = self
                .segments()
                .filter(|(_, segment)| is_wiped(segment))
                .max_by_key(|(_, segment)| segment.number);
            let Some((index, segment)) = newest else {
                return Ok(());
            };
            let file = File::Log(index);
            config
                .storage
                .erase(file, 0, bytes)
                .map_err(at_slot(index, IoAction::Write, 0))?;
            config
                .storage
                .sync(file)
                .map_err(at_slot(index, IoAction::Sync, 0))?;
            if let Some(slot) = self.slots.get_mut(index as usize) {
                slot.state = state(slot, &segment);
            }
        }
    }

    /// The kept segment with the lowest number above `number`.
    pub(super) fn segment_after(&self, number: u64) -> Option<(u32, Segment)> {
        self.segments()
            .filter(|(_, segment)| segment.number > number)
            .min_by_key(|(_, segment)| segment.number)
    }

    /// The lowest cut among the segments above `number`.
    pub(super) fn cut_above(&self, number: u64) -> u64 {
        self.segments()
            .filter(|(_, segment)| segment.number > number)
            .map(|(_, segment)| segment.cut)
            .fold(CUT_NONE, u64::min)
    }

    /// The highest number of a kept segment, or 0.
    pub(super) fn highest(&self) -> u64 {
        self.segments()
            .map(|(_, segment)| segment.number)
            .max()
            .unwrap_or(0)
    }

    /// The kept segment of this number, and its slot.
    pub(super) fn segment(&self, number: u64) -> Option<(u32, Segment)> {
        self.segments()
            .find(|(_, segment)| segment.number == number)
    }

    /// Changes what is known about the segment in `slot`.
    pub(super) fn update(&mut self, slot: u32, change: impl FnOnce(&mut Segment)) {
        if let Some(Slot {
            state: SlotState::Used(segment),
            ..
        }) = self.slots.get_mut(slot as usize)
        {
            change(segment);
        }
    }

    /// All slots, with their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Slot)> {
        (0_u32..).zip(self.slots.iter())
    }

    fn existing(&self) -> impl Iterator<Item = (u32, &Slot)> {
        self.iter().take(self.end)
    }

    fn segments(&self) -> impl Iterator<Item = (u32, Segment)> {
        self.existing()
            .filter_map(|(index, slot)| match slot.state {
                SlotState::Used(segment) => Some((index, segment)),
                _ => None,
            })
    }

    fn count(&self, wanted: impl Fn(&SlotState) -> bool) -> usize {
        self.slots.iter().filter(|slot| wanted(&slot.state)).count()
    }

    fn find(&self, wanted: impl Fn(&SlotState) -> bool) -> Option<u32> {
        self.iter()
            .find(|(_, slot)| wanted(&slot.state))
            .map(|(index, _)| index)
    }

    fn state(&self, index: u32) -> SlotState {
        self.slots
            .get(index as usize)
            .map_or(SlotState::Retired, |slot| slot.state)
    }

    fn set(&mut self, index: u32, state: SlotState) {
        if let Some(slot) = self.slots.get_mut(index as usize) {
            slot.state = state;
        }
    }
}

impl Slot {
    /// Takes the segment of a valid header in, or the slot where it is another
    /// instance's.
    fn adopt(&mut self, header: &SegmentHeader, config: &LogConfig) {
        let segment = Segment {
            number: header.number,
            base_sequence: header.base_sequence,
            cut: header.cut,
            last_sequence: header.base_sequence,
            block_bytes: header.block_bytes,
            end: header.segment_bytes.min(self.length),
            valid_end: 0,
            segment_bytes: header.segment_bytes,
        };
        self.doubtful = false;
        let ours =
            header.instance_id == config.instance_id && header.lineage_id == config.lineage_id;
        self.state = if ours {
            SlotState::Used(segment)
        } else {
            self.recycled(&segment, config)
        };
    }

    fn recycled(&self, segment: &Segment, config: &LogConfig) -> SlotState {
        let usual = u64::from(config.segment_bytes_usual);
        let allocated = segment.segment_bytes >= usual && self.length >= segment.segment_bytes;
        if allocated && !config.storage.geometry().erase_before_write {
            SlotState::Ready
        } else {
            SlotState::Blank
        }
    }
}
