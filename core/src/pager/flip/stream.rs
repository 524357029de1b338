//! The page store's part in values that are written beside it: see `streams`.
//!
//! # Protocol
//! * A value's units are taken in memory and masked: what flips meanwhile writes bitmaps
//!   without them. They are free in the published bitmaps, and on none of its pending
//!   lists, even where the state being built has reclaimed one.
//! * The state that a run or tree of which names the value shows its units: the
//!   reference is *kept*. Bitmap and reference are published by one flip.
//! * The flip that names the value's commit as merged settles it. Where nothing kept the
//!   reference (a newer version won, a range delete covers it), its units go on
//!   the pending list of that flip, once, and nobody else gives them up: an editor that
//!   takes the reference out of a tree before leaves that to this flip. So a merge of a
//!   memtable may be cut off and repeated with other memtables as often as it likes:
//!   as long as the log names a value, its units are not given out.
//! * An abandoned state takes the published bitmaps back, and the units once more.
//! * What was dropped is given out again when pages are born in a later generation: a
//!   frame may hold chunks of it.

use super::super::space::group_units;
use super::super::writer::extend;
use super::PageStore;
use crate::error::{CorruptionReason, Error, IoAction, Result};
use crate::format::extent::ExtentRef;
use crate::pager::Pager;
use lightning_platform::File;

/// Units for a value to be written.
#[derive(Debug, Clone, Copy)]
pub struct StreamPlace {
    /// The slot that holds them.
    pub slot: u32,
    /// The first unit.
    pub address: u64,
    /// The generation that the chunks are born in.
    pub birth_generation: u64,
    /// What tells this writing from others.
    pub writing: u32,
    /// What the chunks are sealed with, from the first one's counter on.
    pub salt: [u8; 16],
    /// The first chunk's counter.
    pub counter: u64,
}

impl PageStore {
    /// Takes units for a value of at most `bytes`; none while every slot is taken.
    ///
    /// # Errors
    /// I/O, or a file at its limit: nothing has changed then.
    pub fn open_stream(&mut self, pager: &Pager, bytes: u64) -> Result<Option<StreamPlace>> {
        self.check_standing()?;
        if !pager.streams().has_room() {
            return Ok(None);
        }
        let layout = *pager.layout();
        let extent = ExtentRef {
            address: 0,
            length: bytes,
            birth_generation: self.next_generation,
            crc: 0,
            writing: self.next_writing(pager),
        };
        let chunks = extent.chunks(layout.chunk_page_bytes());
        let (salt, counter) = self.writer.take_counters(chunks);
        let block_units = layout.block_units();
        let blocks = extent_units(pager, &extent).div_ceil(block_units).max(1);
        let stretch = self.space.allocate_apart(pager, blocks)?;
        let length = usize::try_from(blocks)
            .unwrap_or(usize::MAX)
            .saturating_mul(layout.block_bytes);
        let offset = layout.offset(stretch.address).ok_or(Error::Internal(264))?;
        if let Err(error) = extend(pager, &mut self.space, offset, length) {
            self.space.clear(pager, stretch.address, stretch.units)?;
            return Err(error);
        }
        let slot = pager.streams().open(stretch.address, stretch.units);
        Ok(slot.map(|slot| StreamPlace {
            slot,
            address: stretch.address,
            birth_generation: extent.birth_generation,
            writing: extent.writing,
            salt,
            counter,
        }))
    }

    /// Makes a value that was written durable, and gives back what it didn't need.
    ///
    /// # Errors
    /// I/O: the store refuses everything then, as after any sync that failed.
    pub fn close_stream(&mut self, pager: &Pager, slot: u32, extent: &ExtentRef) -> Result<()> {
        self.check_standing()?;
        let place = pager.streams().get(slot).ok_or(Error::Internal(265))?;
        let units = extent_units(pager, extent);
        let surplus = place.units().saturating_sub(units);
        // Here and not beside maintenance: the device reports an error to one sync only.
        pager.storage().sync(File::Pages).map_err(|error| {
            self.in_doubt = true;
            Error::io(error, IoAction::Sync, File::Pages, 0)
        })?;
        self.space.clear(pager, place.address() + units, surplus)?;
        place.set_units(units);
        Ok(())
    }

    /// Notes that the state being built has a reference.
    ///
    /// # Errors
    /// I/O: the caller then abandons what is being built.
    pub fn keep_extent(&mut self, pager: &Pager, reference: &[u8]) -> Result<()> {
        let address = ExtentRef::decode(reference).map_or(0, |extent| extent.address);
        let Some(slot) = pager.streams().find(address) else {
            return Ok(());
        };
        slot.expose(true);
        let touched = self.space.touch(pager, slot.address(), slot.units());
        self.note(touched)
    }

    /// Before a flip that names all commits up to `merged` as merged: gives up the values
    /// of those that nothing refers to.
    pub(super) fn settle_streams(&mut self, pager: &Pager, merged: u64) -> Result<()> {
        for slot in pager.streams().taken() {
            if slot.is_committed_by(merged) && !slot.is_kept() {
                slot.expose(false);
                self.space.touch(pager, slot.address(), slot.units())?;
                self.release_range(pager, slot.address(), slot.units())?;
            }
        }
        Ok(())
    }

    /// After that flip.
    pub(super) fn note_streams(&mut self, pager: &Pager, merged: u64) -> Result<()> {
        for slot in pager.streams().taken() {
            slot.note_published();
            if slot.is_committed_by(merged) {
                slot.free();
            }
        }
        self.free_dropped(pager)
    }

    fn free_dropped(&mut self, pager: &Pager) -> Result<()> {
        for slot in pager.streams().taken().filter(|slot| slot.is_dropped()) {
            self.space.clear(pager, slot.address(), slot.units())?;
            slot.free();
        }
        Ok(())
    }

    /// Makes the units of values that nobody will put reusable. Nothing may be being built.
    ///
    /// # Errors
    /// I/O.
    pub fn sweep_streams(&mut self, pager: &Pager) -> Result<()> {
        self.check_standing()?;
        if pager.streams().taken().any(|slot| slot.is_dropped()) {
            self.next_generation += 1;
            self.free_dropped(pager)?;
        }
        Ok(())
    }

    /// After the published bitmaps were taken back: takes the units once more.
    pub(super) fn restore_streams(&mut self, pager: &Pager) -> Result<()> {
        for slot in pager.streams().taken() {
            slot.restore();
            if slot.is_dropped() {
                slot.free();
            } else if !slot.is_exposed() {
                self.claim_units(pager, slot.address(), slot.units())?;
            }
        }
        Ok(())
    }

    pub(super) fn claim_units(&mut self, pager: &Pager, address: u64, units: u64) -> Result<()> {
        self.space.claim(pager, address, units)?;
        let end = address.saturating_add(units);
        let blocks = end.div_ceil(pager.layout().block_units().max(1));
        self.space.file_blocks = self.space.file_blocks.max(blocks);
        Ok(())
    }

    /// Takes a value that a commit in the log names from free space. Called before
    /// anything is allocated.
    ///
    /// # Errors
    /// I/O, corruption, or a plan without room for it.
    pub fn claim_stream(&mut self, pager: &Pager, extent: &ExtentRef, sequence: u64) -> Result<()> {
        let units = extent_units(pager, extent);
        let offset = pager.layout().offset(extent.address).unwrap_or(u64::MAX);
        let end = extent.address.saturating_add(units);
        let file_blocks = self.space.length_blocks;
        let file_units = file_blocks.saturating_mul(pager.layout().block_units());
        let damage = Error::corrupt(CorruptionReason::Space, File::Pages, offset);
        if end > file_units || extent.address < 2 * pager.layout().block_units() {
            return Err(damage);
        }
        // Frames may hold chunks of it when its units have been given out again.
        let later = extent.birth_generation.saturating_add(1);
        self.next_generation = self.next_generation.max(later);
        let used = self.space.used_within(pager, extent.address, units)?;
        if used > 0 && used < units {
            return Err(damage);
        }
        let slot = pager
            .streams()
            .recover(extent.address, units, sequence)
            .ok_or(Error::MemoryPlan {
                needed_bytes: extent.length,
                limit_bytes: 0,
            })?;
        if used > 0 {
            // A merge of the memtable was cut off after the trees had it.
            slot.expose(false);
            slot.note_published();
            return Ok(());
        }
        self.claim_units(pager, extent.address, units)
    }

    /// Units that are in use and that the published bitmaps don't show.
    pub(super) fn masked_units_of(&self, pager: &Pager, group: usize) -> u64 {
        let units = group_units(pager.layout());
        let start = group as u64 * units;
        pager.streams().masked_units(start, start + units)
    }
}

pub(super) fn extent_units(pager: &Pager, extent: &ExtentRef) -> u64 {
    let chunks = extent.chunks(pager.layout().chunk_page_bytes());
    chunks.saturating_mul(u64::from(pager.layout().page_units()))
}
