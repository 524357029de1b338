//! Making slots ready for segments, ahead of their use, and giving them back.
//!
//! A slot becomes *ready* with the length that is wanted of it then, and with all
//! of it allocated: a database that holds little keeps a short log, and a flush
//! changes no metadata.

use super::{Segment, Slot, SlotState, SlotTable};
use crate::error::{Error, IoAction, Result};
use crate::format::segment::first_flush_offset;
use crate::wal::{LogConfig, at_slot};
use lightning_platform::{File, IoErrorKind};

/// What a step of preparing did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrepareProgress {
    /// Erased this many bytes; more remain.
    Erased(u64),
    /// A slot became ready.
    Ready,
    /// No slot is left to prepare.
    NoSlot,
}

impl Slot {
    /// The longest segment that the slot has room for. Whole units of it: whatever the
    /// length of a file is, what begins in it is a segment that is found again.
    fn segment_bytes(&self, config: &LogConfig) -> u64 {
        let unit = u64::from(config.unit_bytes()).max(1);
        self.length.min(u64::from(config.segment_bytes)) / unit * unit
    }

    /// Removes the file of a slot that holds nothing. A removal that failed and was done
    /// all the same is one.
    fn remove(&mut self, config: &LogConfig, index: u32) -> Result<()> {
        let file = File::Log(index);
        if let Err(error) = config.storage.remove(file)
            && config.storage.length(file) != Ok(None)
        {
            // It may still not be there: it is removed before it is used.
            self.state = SlotState::Blank;
            self.doubtful = true;
            return Err(at_slot(index, IoAction::Directory, 0)(error));
        }
        *self = Self::ABSENT;
        Ok(())
    }

    /// Gives the slot's file a length. Where that fails, the slot is blank, of the length
    /// that is found then: the old one or the new.
    fn set_length(&mut self, config: &LogConfig, index: u32, bytes: u64) -> Result<()> {
        let file = File::Log(index);
        let outcome = config.storage.set_length(file, bytes);
        self.length = match outcome {
            Ok(()) => bytes,
            // Where even that can't be told, none is relied on.
            Err(_) => config.storage.length(file).ok().flatten().unwrap_or(0),
        };
        outcome.map_err(|error| {
            self.state = SlotState::Blank;
            at_slot(index, IoAction::Length, bytes)(error)
        })
    }
}

impl SlotTable {
    /// What each ready slot has room for besides a segment's header, in bytes.
    pub(in crate::wal) fn ready_rooms(&self, config: &LogConfig) -> impl Iterator<Item = u64> {
        let front = first_flush_offset(config.block_bytes());
        self.existing()
            .filter(|(_, slot)| slot.state == SlotState::Ready)
            .map(move |(_, slot)| slot.segment_bytes(config).saturating_sub(front))
    }

    /// Whether a slot of at most `bytes` is ready.
    pub(in crate::wal) fn has_ready_of(&self, bytes: u64, config: &LogConfig) -> bool {
        self.existing()
            .any(|(_, slot)| slot.state == SlotState::Ready && slot.segment_bytes(config) <= bytes)
    }

    /// Bytes of slots' files that hold nothing and aren't ready.
    pub fn blank_bytes(&self) -> u64 {
        let blank = |(_, slot): &(u32, &Slot)| slot.state == SlotState::Blank;
        let lengths = self.existing().filter(blank).map(|(_, slot)| slot.length);
        lengths.sum()
    }

    /// Removes slots that hold nothing, from the highest, until `keep` are left.
    /// Answers how many it removed.
    ///
    /// # Errors
    /// Directory errors of the storage. The log stays usable, but after a sync that
    /// failed ([`directory_failed`](Self::directory_failed)) no slot can be created.
    pub fn trim(&mut self, keep: usize, config: &LogConfig) -> Result<u32> {
        let is_free = |slot: &Slot| {
            matches!(
                slot.state,
                SlotState::Blank | SlotState::Preparing(_) | SlotState::Ready
            )
        };
        let mut free = self.slots.iter().filter(|slot| is_free(slot)).count();
        let mut removed = 0;
        for (position, slot) in self.slots.iter_mut().enumerate().rev() {
            if free <= keep {
                break;
            }
            if is_free(slot) {
                let index = u32::try_from(position).map_err(|_| Error::Internal(61))?;
                slot.remove(config, index)?;
                free -= 1;
                removed += 1;
            }
        }
        if removed > 0 {
            let exists = |slot: &Slot| slot.state != SlotState::Absent;
            self.end = self
                .slots
                .iter()
                .rposition(exists)
                .map_or(0, |last| last + 1);
            let synced = config.storage.sync_directory();
            self.directory_failed |= synced.is_err();
            synced.map_err(at_slot(0, IoAction::Directory, 0))?;
        }
        Ok(removed)
    }

    /// Where the files of all slots together have more than `bytes`, empties that of one
    /// which holds nothing: the last that isn't ready, else the last. Answers whether it did. Its directory entry stays,
    /// so that no sync of the directory holds up a flush.
    ///
    /// # Errors
    /// What the storage answers. The log isn't harmed.
    pub fn shorten_free(&mut self, bytes: u64, config: &LogConfig) -> Result<bool> {
        let is_free = |slot: &Slot| matches!(slot.state, SlotState::Blank | SlotState::Ready);
        let (all, _) = self.file_bytes();
        let found = (0_u32..)
            .zip(self.slots.iter_mut())
            .take(self.end)
            .filter(|(_, slot)| is_free(slot) && slot.length > 0)
            .max_by_key(|(index, slot)| (slot.state == SlotState::Blank, *index));
        let Some((index, slot)) = found.filter(|_| all > bytes) else {
            return Ok(false);
        };
        if !config.storage.geometry().can_truncate {
            return Ok(false);
        }
        slot.state = SlotState::Blank;
        slot.set_length(config, index, 0)?;
        Ok(true)
    }

    /// Works on the next ready slot, of `wanted_bytes` where it is begun now,
    /// erasing at most about `bytes_max`.
    ///
    /// # Errors
    /// What the storage answers; `StorageFull` among it. Everything stays
    /// usable: call again later.
    pub fn prepare_step(
        &mut self,
        config: &LogConfig,
        wanted_bytes: u64,
        bytes_max: u64,
    ) -> Result<PrepareProgress> {
        match self.begin_step(config, wanted_bytes, bytes_max)? {
            Some(step) => self.end_step(&step, step.run(config)),
            None => Ok(PrepareProgress::NoSlot),
        }
    }

    /// Begins a step, which is then to be [run](PrepareStep::run), for which this
    /// table is not needed, and ended. `None` where no slot is left to prepare.
    ///
    /// # Errors
    /// As [`prepare_step`](Self::prepare_step).
    pub fn begin_step(
        &mut self,
        config: &LogConfig,
        wanted_bytes: u64,
        bytes_max: u64,
    ) -> Result<Option<PrepareStep>> {
        let begun = |state: &SlotState| matches!(state, SlotState::Preparing(_));
        let absent = self.count(|state| *state == SlotState::Absent);
        let index = self
            .find(begun)
            .or_else(|| self.longest_blank())
            .or_else(|| {
                self.find(|state| *state == SlotState::Absent)
                    .filter(|_| absent > 1)
            });
        let Some(index) = index else {
            return Ok(None);
        };
        let index = self.without_doubt(config, index)?;
        self.begin(config, index, wanted_bytes, bytes_max).map(Some)
    }

    /// The slot that holds nothing, of several the one that takes the least new room.
    fn longest_blank(&self) -> Option<u32> {
        self.existing()
            .filter(|(_, slot)| slot.state == SlotState::Blank)
            .max_by_key(|(index, slot)| (slot.length, core::cmp::Reverse(*index)))
            .map(|(index, _)| index)
    }

    /// Ends a step; `ran` is what running it answered.
    ///
    /// # Errors
    /// What `ran` says.
    pub fn end_step(&mut self, step: &PrepareStep, ran: Ran) -> Result<PrepareProgress> {
        let slot = self
            .slots
            .get_mut(step.slot as usize)
            .ok_or(Error::Internal(61))?;
        let (state, progress) = match ran {
            Ran::Erased if step.is_last => (SlotState::Ready, Ok(PrepareProgress::Ready)),
            Ran::Erased => (
                SlotState::Preparing(step.offset + step.bytes),
                Ok(PrepareProgress::Erased(step.bytes)),
            ),
            Ran::NotErased(error) => (SlotState::Preparing(step.offset), Err(error)),
            Ran::NotSynced(error) => (SlotState::Retired, Err(error)),
            Ran::NotInDirectory(error) => {
                self.directory_failed = true;
                (SlotState::Retired, Err(error))
            }
        };
        slot.state = state;
        progress
    }

    /// Removes a slot in doubt, and answers the one to create in its stead: the
    /// lowest that is absent, since slots are numbered densely.
    fn without_doubt(&mut self, config: &LogConfig, index: u32) -> Result<u32> {
        let slot = self
            .slots
            .get_mut(index as usize)
            .ok_or(Error::Internal(61))?;
        if !slot.doubtful {
            return Ok(index);
        }
        slot.remove(config, index)?;
        self.find(|state| *state == SlotState::Absent)
            .ok_or(Error::Internal(61))
    }

    /// Takes the shortest ready slot with room for a frame of `frame_bytes` for
    /// `segment`, which gets the slot's length.
    pub(in crate::wal) fn take_ready(
        &mut self,
        config: &LogConfig,
        frame_bytes: u64,
        segment: Segment,
    ) -> Option<(u32, Segment)> {
        let least = frame_bytes.saturating_add(first_flush_offset(config.block_bytes()));
        let (index, bytes) = self
            .existing()
            .filter(|(_, slot)| slot.state == SlotState::Ready)
            .map(|(index, slot)| (index, slot.segment_bytes(config)))
            .filter(|(_, bytes)| *bytes >= least)
            .min_by_key(|(_, bytes)| *bytes)?;
        let segment = segment.of_length(bytes);
        self.set(index, SlotState::Used(segment));
        Some((index, segment))
    }

    /// A slot for recovery, erased whole: a free one, else a new one. Of
    /// `wanted_bytes`, or longer.
    pub(in crate::wal) fn take_erased(
        &mut self,
        config: &LogConfig,
        wanted_bytes: u64,
        segment: Segment,
    ) -> Result<(u32, Segment)> {
        let index = self
            .find(|state| *state == SlotState::Ready)
            .or_else(|| self.find(|state| matches!(state, SlotState::Preparing(_))))
            .or_else(|| self.find(|state| *state == SlotState::Blank))
            .or_else(|| self.find(|state| *state == SlotState::Absent))
            .ok_or(Error::LogFull)?;
        if self.state(index) != SlotState::Absent {
            self.set(index, SlotState::Blank);
        }
        let index = self.without_doubt(config, index)?;
        while self.state(index) != SlotState::Ready {
            let step = self.begin(config, index, wanted_bytes, u64::MAX)?;
            self.end_step(&step, step.run(config))?;
        }
        let slot = self.slots.get(index as usize).ok_or(Error::Internal(61))?;
        let segment = segment.of_length(slot.segment_bytes(config));
        self.set(index, SlotState::Used(segment));
        Ok((index, segment))
    }

    /// Gives the room of slots back whose preparing found no more. That it fails is no harm.
    pub(in crate::wal) fn give_back_begun(&mut self, config: &LogConfig) {
        if !config.storage.geometry().can_truncate {
            return;
        }
        for (index, slot) in (0_u32..).zip(self.slots.iter_mut()) {
            let is_begun = matches!(slot.state, SlotState::Preparing(_));
            if is_begun {
                slot.state = SlotState::Blank;
                let _ = slot.set_length(config, index, 0);
            }
        }
    }

    /// Makes the slot ready whose preparing found no more room, with half of what it found,
    /// of at least `bytes_least`: the other half is for what is built. Answers whether it
    /// did.
    ///
    /// # Errors
    /// What the storage answers; the slot is to be prepared anew then.
    pub(in crate::wal) fn settle_begun(
        &mut self,
        config: &LogConfig,
        bytes_least: u64,
    ) -> Result<bool> {
        let geometry = config.storage.geometry();
        let unit = u64::from(config.unit_bytes()).max(1);
        let begun = (0_u32..)
            .zip(self.slots.iter_mut())
            .find_map(|(index, slot)| {
                let SlotState::Preparing(done) = slot.state else {
                    return None;
                };
                let bytes = done / 2 / unit * unit;
                (geometry.can_truncate && bytes >= bytes_least).then_some((index, slot, bytes))
            });
        let Some((index, slot, bytes)) = begun else {
            return Ok(false);
        };
        slot.set_length(config, index, bytes)?;
        slot.state = SlotState::Working;
        let last = PrepareStep {
            slot: index,
            offset: bytes,
            bytes: 0,
            is_last: true,
        };
        self.end_step(&last, last.run(config)).map(|_| true)
    }

    fn begin(
        &mut self,
        config: &LogConfig,
        index: u32,
        wanted_bytes: u64,
        bytes_max: u64,
    ) -> Result<PrepareStep> {
        let storage = &*config.storage;
        let geometry = storage.geometry();
        let file = File::Log(index);
        let slot = self
            .slots
            .get_mut(index as usize)
            .ok_or(Error::Internal(61))?;
        if slot.state == SlotState::Absent {
            let created = match storage.create(file) {
                // One that failed was done all the same.
                Err(error) if error.kind == IoErrorKind::AlreadyExists => {
                    storage.remove(file).and_then(|()| storage.create(file))
                }
                outcome => outcome,
            };
            created.map_err(at_slot(index, IoAction::Directory, 0))?;
            *slot = Slot {
                state: SlotState::Blank,
                ..Slot::ABSENT
            };
            self.end = self.end.max(index as usize + 1);
        }
        let done = match slot.state {
            SlotState::Preparing(done) => done,
            _ => {
                let wanted = wanted_bytes.min(u64::from(config.segment_bytes));
                if slot.length < wanted || (slot.length > wanted && geometry.can_truncate) {
                    slot.set_length(config, index, wanted)?;
                }
                0
            }
        };
        slot.state = SlotState::Working;
        slot.damaged = false;
        let left = slot.segment_bytes(config).saturating_sub(done);
        let unit = u64::from(config.unit_bytes()).max(1);
        let bytes = (bytes_max / unit * unit).max(unit).min(left);
        Ok(PrepareStep {
            slot: index,
            offset: done,
            bytes,
            is_last: bytes == left,
        })
    }
}

/// A step of preparing: a range of a slot to erase, and at the end to sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrepareStep {
    slot: u32,
    offset: u64,
    bytes: u64,
    is_last: bool,
}

/// How far a step got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ran {
    /// To its end.
    Erased,
    /// The range was not erased: it may be tried again.
    NotErased(Error),
    /// The slot can't be used any more.
    NotSynced(Error),
    /// No slot can be created any more.
    NotInDirectory(Error),
}

impl PrepareStep {
    /// Does the step's work at the storage. Nobody else touches the slot meanwhile.
    #[must_use]
    pub fn run(&self, config: &LogConfig) -> Ran {
        let storage = &*config.storage;
        let file = File::Log(self.slot);
        let at = |action| at_slot(self.slot, action, self.offset);
        if self.bytes > 0
            && let Err(error) = storage.erase(file, self.offset, self.bytes)
        {
            return Ran::NotErased(at(IoAction::Write)(error));
        }
        if !self.is_last {
            return Ran::Erased;
        }
        if let Err(error) = storage.sync(file) {
            return Ran::NotSynced(at(IoAction::Sync)(error));
        }
        match storage.sync_directory() {
            Ok(()) => Ran::Erased,
            Err(error) => Ran::NotInDirectory(at(IoAction::Directory)(error)),
        }
    }
}
