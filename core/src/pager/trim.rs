//! Giving room back to the device: holes where nothing is, and a shorter file.
//!
//! What is free in the published state, and in no value that is written by stream, holds
//! nothing that anybody reads, so that a hole may be punched there at any time between two
//! pieces of work; whoever is given the space later writes it before it is read. The
//! bitmaps in memory are what counts: those on the medium don't show such a value until
//! a run or tree has it, and a hole there would take what was committed. A file is cut off behind its last unit in
//! use, after a superblock that says so is durable in both slots: neither state needs
//! more.
//!
//! Each group remembers whether its holes were punched since space of it was last given
//! out, so that a file at rest is left alone.

use super::flip::PageStore;
use super::space::group_units;
use super::writer::set_length;
use super::{Layout, Pager};
use crate::error::{Error, IoAction, Result};
use lightning_platform::File;

/// Bytes of a free stretch that are worth a hole.
const HOLE_BYTES_MIN: u64 = 64 << 10;

impl PageStore {
    /// Blocks that the file needs: what is behind them is free.
    ///
    /// # Errors
    /// I/O or corruption of a bitmap.
    pub fn needed_blocks(&mut self, pager: &Pager) -> Result<u64> {
        let layout = *pager.layout();
        let block_units = layout.block_units().max(1);
        for index in (0..self.space.count).rev() {
            let used = self.space.groups.get(index);
            if used.is_none_or(|group| group.record.used_units == 0) {
                continue;
            }
            self.space.check_group(pager, index)?;
            let units = index as u64 * group_units(&layout) + self.space.used_end(index);
            return Ok(units.div_ceil(block_units).max(2));
        }
        Ok(2)
    }

    /// Whether the file is much longer than what is in use needs.
    ///
    /// # Errors
    /// I/O or corruption of a bitmap.
    pub fn is_too_long(&mut self, pager: &Pager) -> Result<bool> {
        self.check_standing()?;
        let spare = HOLE_BYTES_MIN / pager.layout().block_bytes.max(1) as u64;
        Ok(self.needed_blocks(pager)? + spare.max(1) < self.space.file_blocks)
    }

    /// Has the next flip publish a file that ends with what is in use.
    ///
    /// # Errors
    /// I/O or corruption of a bitmap.
    pub fn shorten(&mut self, pager: &Pager) -> Result<()> {
        self.check_standing()?;
        self.space.file_blocks = self.needed_blocks(pager)?;
        Ok(())
    }

    /// Cuts the file off behind what the published state says. Nothing may be being built.
    ///
    /// # Errors
    /// I/O.
    pub fn cut_off(&mut self, pager: &Pager) -> Result<bool> {
        self.check_standing()?;
        let blocks = self.superblock.file_blocks.max(self.space.file_blocks);
        let can_truncate = pager.storage().geometry().can_truncate;
        if blocks >= self.space.length_blocks || !can_truncate {
            return Ok(false);
        }
        set_length(pager, &mut self.space, blocks)?;
        Ok(true)
    }

    /// Punches the holes of one group that has any left, and in which `least_bytes` of the
    /// file are free. Answers whether there was one. Nothing may be being built.
    ///
    /// # Errors
    /// I/O: nothing is lost, and a later call tries again.
    pub fn punch_holes(&mut self, pager: &Pager, least_bytes: u64) -> Result<bool> {
        self.check_standing()?;
        let storage = pager.storage();
        if !storage.geometry().can_punch_hole {
            return Ok(false);
        }
        let layout = *pager.layout();
        let per_group = group_units(&layout);
        let file_units = self
            .space
            .length_blocks
            .saturating_mul(layout.block_units());
        let Some(index) = (0..self.space.count).find(|index| {
            let units = file_units.saturating_sub(*index as u64 * per_group);
            self.space.groups.get(*index).is_some_and(|group| {
                let used = u64::from(group.record.used_units);
                let free = units.min(per_group).saturating_sub(used);
                !group.is_punched && free.saturating_mul(layout.unit_bytes as u64) >= least_bytes
            })
        }) else {
            return Ok(false);
        };
        self.space.check_group(pager, index)?;
        let least = HOLE_BYTES_MIN.div_ceil(layout.block_bytes.max(1) as u64);
        let mut from = 0;
        while let Some((unit, blocks)) = self.space.free_stretch(index, from, least) {
            from = unit + blocks * layout.block_units();
            let (offset, bytes) = self.hole(&layout, index, unit, blocks);
            if bytes > 0 {
                storage
                    .punch_hole(File::Pages, offset, bytes)
                    .map_err(|error| Error::io(error, IoAction::Length, File::Pages, offset))?;
            }
        }
        if let Some(group) = self.space.groups.get_mut(index) {
            group.is_punched = true;
        }
        Ok(true)
    }

    /// The bytes of a free stretch, as far as the file has them.
    fn hole(&self, layout: &Layout, group: usize, unit: u64, blocks: u64) -> (u64, u64) {
        let block_bytes = layout.block_bytes as u64;
        let address = group as u64 * group_units(layout) + unit;
        let offset = layout.offset(address).unwrap_or(u64::MAX);
        let end = offset.saturating_add(blocks * block_bytes);
        let file_end = self.space.length_blocks.saturating_mul(block_bytes);
        (offset, end.min(file_end).saturating_sub(offset))
    }
}
