//! The page store's part in runs that are ingested: see `streams`.
//!
//! # Protocol
//! * A part's units are taken as those of a value that is written by stream are: in use in
//!   memory, masked in the bitmaps that flips write, free in those that are published.
//! * Before the frame that names the parts is appended, everything in them is synced, and
//!   what they don't need is given back.
//! * The flip that names the run in the catalogue, and the frame's commit as merged, shows
//!   the units of all its parts. From there on they are given up page by page, as those
//!   of any run. So no state shows some of them, and no tree refers to one while the log
//!   names it.

use super::super::writer::extend;
use super::PageStore;
use crate::error::{CorruptionReason, Error, IoAction, Limit, Result};
use crate::format::run::RunRecord;
use crate::pager::Pager;
use lightning_platform::File;

/// Units for pages of a run.
#[derive(Debug, Clone, Copy)]
pub struct PartPlace {
    /// The slot that holds them.
    pub slot: u32,
    /// The first unit.
    pub address: u64,
    /// Pages that there is room for.
    pub pages: u64,
    /// The generation that the pages are born in.
    pub birth_generation: u64,
    /// What the pages are sealed with, from the first one's counter on.
    pub salt: [u8; 16],
    /// The first page's counter.
    pub counter: u64,
}

impl PageStore {
    /// Takes units for between `least` and `most` pages; none while every slot is taken.
    ///
    /// # Errors
    /// I/O, or a file at its limit: nothing has changed then.
    pub fn open_part(&mut self, pager: &Pager, least: u64, most: u64) -> Result<Option<PartPlace>> {
        self.check_standing()?;
        if !pager.streams().has_room_for_part() {
            return Ok(None);
        }
        let layout = *pager.layout();
        let page_units = u64::from(layout.page_units()).max(1);
        let blocks_for = |pages: u64| {
            let units = pages.saturating_mul(page_units);
            units.div_ceil(layout.block_units().max(1)).max(1)
        };
        let (least, mut blocks) = (blocks_for(least), blocks_for(most.max(least)));
        // Where no long stretch is to be had, a short one will do.
        let stretch = loop {
            match self.space.allocate_apart(pager, blocks) {
                Err(Error::OverLimit {
                    limit: Limit::PageFileBytes,
                    ..
                }) if blocks > least => blocks = (blocks / 2).max(least),
                other => break other?,
            }
        };
        let length = usize::try_from(blocks)
            .unwrap_or(usize::MAX)
            .saturating_mul(layout.block_bytes);
        let offset = layout.offset(stretch.address).ok_or(Error::Internal(325))?;
        if let Err(error) = extend(pager, &mut self.space, offset, length) {
            self.space.clear(pager, stretch.address, stretch.units)?;
            return Err(error);
        }
        let pages = stretch.units / page_units;
        let (salt, counter) = self.writer.take_counters(pages);
        let slot = pager.streams().open_part(stretch.address, stretch.units);
        Ok(slot.map(|slot| PartPlace {
            slot,
            address: stretch.address,
            pages,
            birth_generation: self.next_generation,
            salt,
            counter,
        }))
    }

    /// Gives back what a part doesn't need behind its first `units`.
    ///
    /// # Errors
    /// I/O.
    pub fn cut_part(&mut self, pager: &Pager, slot: u32, units: u64) -> Result<()> {
        self.check_standing()?;
        let part = pager.streams().part(slot).ok_or(Error::Internal(326))?;
        let surplus = part.units().saturating_sub(units);
        self.space.clear(pager, part.address() + units, surplus)?;
        part.set_units(part.units() - surplus);
        Ok(())
    }

    /// Makes everything durable that was written to the page file.
    ///
    /// # Errors
    /// I/O: the store refuses everything then, as after any sync that failed.
    pub fn sync_pages(&mut self, pager: &Pager) -> Result<()> {
        self.check_standing()?;
        // As the owner of maintenance: the device reports an error to one sync only.
        pager.storage().sync(File::Pages).map_err(|error| {
            self.in_doubt = true;
            Error::io(error, IoAction::Sync, File::Pages, 0)
        })
    }

    /// Has the state being built show the units of the run that was committed with a
    /// sequence.
    ///
    /// # Errors
    /// I/O: the caller then abandons what is being built.
    pub fn keep_parts(&mut self, pager: &Pager, sequence: u64) -> Result<()> {
        self.check_standing()?;
        for part in pager.streams().committed_parts(sequence) {
            part.expose(true);
            let touched = self.space.touch(pager, part.address(), part.units());
            self.note(touched)?;
        }
        Ok(())
    }

    /// Takes a part that a frame in the log names from free space. Called before anything
    /// is allocated.
    ///
    /// # Errors
    /// I/O, corruption, or a plan without room for it.
    pub fn claim_part(
        &mut self,
        pager: &Pager,
        (address, units): (u64, u64),
        sequence: u64,
    ) -> Result<()> {
        let block_units = pager.layout().block_units();
        let file_units = self.space.length_blocks.saturating_mul(block_units);
        let is_in_file = address >= 2 * block_units && address.saturating_add(units) <= file_units;
        if !is_in_file || self.space.used_within(pager, address, units)? > 0 {
            let offset = pager.layout().offset(address).unwrap_or(u64::MAX);
            return Err(Error::corrupt(CorruptionReason::Space, File::Pages, offset));
        }
        if !pager.streams().recover_part(address, units, sequence) {
            return Err(Error::MemoryPlan {
                needed_bytes: 0,
                limit_bytes: 0,
            });
        }
        self.claim_units(pager, address, units)
    }

    /// Has everything be born in a later generation than the pages of a run that the log
    /// names.
    pub fn note_births(&mut self, record: &RunRecord) {
        // Both were written at the end, and parts are not born before those before them.
        for page in [&record.newest, &record.filter].into_iter().flatten() {
            let later = page.birth_generation.saturating_add(1);
            self.next_generation = self.next_generation.max(later);
        }
    }
}
