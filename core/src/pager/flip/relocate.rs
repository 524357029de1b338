//! What moving the tail of the page file takes, and evacuating blocks: how much lies where,
//! and the parts of a state that are in no tree.
//!
//! Catalogues and pending lists are written anew by each flip, to the lowest room there
//! is. A bitmap is where its group is marked as changed. An extent is copied, chunk by
//! chunk, and its value's checksum is compared meanwhile: what is damaged stays where it
//! is, for whoever reads it to be told. So does one that reaches over more than one group
//! of units, and one whose commit isn't settled (`stream`): the log names its units.

use super::super::space::group_units;
use super::PageStore;
use super::extent::append_chunk;
use super::stream::extent_units;
use crate::error::{CorruptionReason, Error, Result};
use crate::format::extent::{EXTENT_HEADER_BYTES, ExtentRef};
use crate::format::page_ref::{PageKind, PageRef};
use crate::pager::Pager;
use lightning_platform::File;

impl PageStore {
    /// Free blocks that lie wholly below an address, or `enough` at least.
    ///
    /// # Errors
    /// I/O or corruption of a bitmap.
    pub fn free_blocks_below(&mut self, pager: &Pager, limit: u64, enough: u64) -> Result<u64> {
        self.free_below(pager, limit, 1, enough)
    }

    /// Free blocks in stretches of at least `least`, below an address; counting ends when
    /// `enough` were found.
    fn free_below(&mut self, pager: &Pager, limit: u64, least: u64, enough: u64) -> Result<u64> {
        let layout = *pager.layout();
        let (per_group, block_units) = (group_units(&layout), layout.block_units());
        let mut found = 0;
        for index in 0..self.space.count {
            let start = index as u64 * per_group;
            if start >= limit || found >= enough {
                break;
            }
            let used = self.space.groups.get(index);
            if used.is_none_or(|group| u64::from(group.record.used_units) >= per_group) {
                continue;
            }
            self.space.check_group(pager, index)?;
            let mut from = 0;
            while let Some((unit, blocks)) = self.space.free_stretch(index, from, least) {
                from = unit + blocks * block_units;
                let below = limit.saturating_sub(start + unit) / block_units.max(1);
                if below == 0 {
                    break;
                }
                let here = blocks.min(below);
                if here >= least {
                    found += here;
                }
            }
        }
        Ok(found)
    }

    /// Has the next flip write the bitmaps that lie above an address somewhere else.
    /// Answers whether there are any.
    ///
    /// # Errors
    /// I/O or corruption of a bitmap.
    pub fn touch_bitmaps_above(&mut self, pager: &Pager, limit: u64) -> Result<bool> {
        self.check_standing()?;
        let mut any = false;
        for index in 0..self.space.count {
            let group = self.space.groups.get(index);
            let lies_above = group
                .and_then(|group| group.record.bitmap)
                .is_some_and(|page| page.address + u64::from(page.units) > limit);
            if lies_above {
                self.space.check_group(pager, index)?;
                if let Some(group) = self.space.groups.get_mut(index) {
                    group.dirty = true;
                }
                any = true;
            }
        }
        Ok(any)
    }

    /// Where an extent's units end.
    #[must_use]
    pub fn extent_end(pager: &Pager, extent: &ExtentRef) -> u64 {
        extent.address.saturating_add(extent_units(pager, extent))
    }

    /// Copies an extent to room below an address, into the state being built; none where
    /// there is none, or the log names the extent. The old one is the caller's to release.
    ///
    /// # Errors
    /// I/O or corruption: the caller then abandons what is being built.
    pub fn copy_extent_below(
        &mut self,
        pager: &Pager,
        table: u32,
        extent: &ExtentRef,
        limit: u64,
    ) -> Result<Option<ExtentRef>> {
        self.check_standing()?;
        let block_units = pager.layout().block_units().max(1);
        let blocks = extent_units(pager, extent).div_ceil(block_units);
        if pager.streams().find(extent.address).is_some() {
            return Ok(None);
        }
        if self.extent_page.is_none() {
            return Ok(None);
        }
        if self.free_below(pager, limit, blocks, 1)? == 0 {
            // The room may be what is set aside for pages.
            let closed = self.writer.close(pager, &mut self.space);
            self.note(closed)?;
            if self.free_below(pager, limit, blocks, 1)? == 0 {
                return Ok(None);
            }
        }
        let copied = self.copy_chunks(pager, table, extent);
        self.note(copied).map(Some)
    }

    fn copy_chunks(&mut self, pager: &Pager, table: u32, from: &ExtentRef) -> Result<ExtentRef> {
        let layout = *pager.layout();
        let page_units = layout.page_units();
        let page_bytes = layout.chunk_page_bytes();
        let chunk_bytes = ExtentRef::chunk_bytes(page_bytes) as u64;
        let chunks = from.chunks(page_bytes);
        // The number of the writing stays: chunks that have it hold the same bytes.
        let mut extent = ExtentRef {
            address: 0,
            birth_generation: self.next_generation,
            ..*from
        };
        let mut crc = 0;
        self.writer.reserve(pager, &mut self.space, chunks)?;
        let page = self.extent_page.as_mut().ok_or(Error::Internal(263))?;
        for number in 0..chunks {
            let address = from.address + number * u64::from(page_units);
            let place = layout.offset(address).unwrap_or(u64::MAX);
            let damage = |reason| Error::corrupt(reason, File::Pages, place);
            let chunk = PageRef {
                address,
                birth_generation: from.birth_generation,
                units: page_units,
                level: 0,
                kind: PageKind::Extent,
                check: [0; 16],
            };
            pager.read_into(&chunk, table, page)?;
            let held = (from.length - number * chunk_bytes).min(chunk_bytes);
            if !from.is_chunk(page, number, held) {
                return Err(damage(CorruptionReason::Identity));
            }
            let value = usize::try_from(held)
                .ok()
                .and_then(|held| page.get(EXTENT_HEADER_BYTES..EXTENT_HEADER_BYTES + held))
                .ok_or_else(|| damage(CorruptionReason::Structure))?;
            crc = pager.checksum().append(crc, value);
            append_chunk(
                pager,
                &mut self.writer,
                &mut self.space,
                &mut extent,
                number,
                page,
            )?;
        }
        if crc != from.crc {
            let place = layout.offset(from.address).unwrap_or(u64::MAX);
            let reason = CorruptionReason::Checksum;
            return Err(Error::corrupt(reason, File::Pages, place));
        }
        Ok(extent)
    }
}
