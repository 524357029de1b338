//! Pending lists: what a state no longer uses, but older snapshots may still read.
//!
//! While a state is built, the units that it gives up are noted in one page in
//! memory; a full page is written and becomes the next of the list. The flip
//! publishes the list under its generation. A list is *reclaimed* when no snapshot
//! is older than its flip: its units are cleared in the bitmaps of the state
//! being built, and its own pages go on the list of that state.
//!
//! At most [`PENDING_LISTS`] lists are kept apart. Past that, what is being built
//! goes on with the newest published list, which is then reclaimed with it.

use super::flip::PageStore;
use super::space::{SPACE_HEADER_BYTES, pending_capacity, pending_entry, put_pending_entry};
use super::writer::NewPage;
use super::{Layout, Pager};
use crate::error::{CorruptionReason, Error, Result};
use crate::format::bytes::{get_u32, put};
use crate::format::catalogue::PendingRecord;
use crate::format::page_ref::{PageKind, PageRef, encode_optional};
use lightning_platform::File;

/// Pending lists that are kept apart; past it a new one goes on with the one before.
pub(super) const PENDING_LISTS: usize = 16;

impl PageStore {
    /// Notes that the state being built no longer uses a page.
    ///
    /// # Errors
    /// I/O, when the list's page is full and is written.
    pub fn release(&mut self, pager: &Pager, page: &PageRef) -> Result<()> {
        self.check_standing()?;
        let released = self.release_range(pager, page.address, u64::from(page.units));
        self.note(released)
    }

    pub(super) fn release_range(&mut self, pager: &Pager, address: u64, units: u64) -> Result<()> {
        if self.joins_last(address, units) {
            self.building_units = self.building_units.saturating_add(units);
            return Ok(());
        }
        self.list_range(pager, address, units)
    }

    /// As [`release_range`](Self::release_range), with an entry of its own: once the
    /// pages of the list are counted, no entry may be less than was counted.
    fn list_range(&mut self, pager: &Pager, address: u64, units: u64) -> Result<()> {
        if self.building_entries >= pending_capacity(self.building.len()) {
            self.spill_pending(pager)?;
        }
        let index = self.building_entries;
        let units_here = u32::try_from(units).map_err(|_| Error::Internal(40))?;
        put_pending_entry(&mut self.building, index, address, units_here);
        self.building_entries += 1;
        self.building_units = self.building_units.saturating_add(units);
        Ok(())
    }

    /// Makes a range part of the last entry where they touch: what was written one
    /// after another, a run above all, is mostly given up in that order, too.
    fn joins_last(&mut self, address: u64, units: u64) -> bool {
        let Some(last) = self.building_entries.checked_sub(1) else {
            return false;
        };
        let (start, length) = pending_entry(&self.building, last);
        let Ok(whole) = u32::try_from(u64::from(length) + units) else {
            return false;
        };
        // Addresses may be anything in a file that was made to do harm.
        let start = if start.checked_add(u64::from(length)) == Some(address) {
            start
        } else if address.checked_add(units) == Some(start) {
            address
        } else {
            return false;
        };
        put_pending_entry(&mut self.building, last, start, whole);
        true
    }

    pub(super) fn spill_pending(&mut self, pager: &Pager) -> Result<()> {
        let entries = u16::try_from(self.building_entries).map_err(|_| Error::Internal(41))?;
        if self.building_next.is_none() && self.pending_count >= PENDING_LISTS {
            let newest = self.pending.get(self.pending_count - 1).copied().flatten();
            if let Some(newest) = newest {
                self.building_next = Some(newest.head);
                self.building_units = self.building_units.saturating_add(newest.units);
                self.coalesces = true;
            }
        }
        put(&mut self.building, 0, &[0; 24]);
        put(&mut self.building, 4, &[PageKind::Pending as u8, 0]);
        put(&mut self.building, 20, &entries.to_le_bytes());
        put(&mut self.building, 24, &[0; 16]);
        put(&mut self.building, 24, &u32::from(entries).to_le_bytes());
        let next = encode_optional(self.building_next.as_ref());
        put(&mut self.building, SPACE_HEADER_BYTES, &next);
        let page = NewPage {
            kind: PageKind::Pending,
            level: 0,
            birth_generation: self.next_generation,
            compress: false,
        };
        let written = self
            .writer
            .append(pager, &mut self.space, page, &mut self.building)?;
        self.building.fill(0);
        self.building_entries = 0;
        self.building_next = Some(written);
        Ok(())
    }

    /// Whether [`reclaim`](Self::reclaim) has something to do when no snapshot is
    /// older than `oldest_generation`.
    #[must_use]
    pub fn can_reclaim(&self, oldest_generation: u64) -> bool {
        let list = self.pending.first().copied().flatten();
        list.is_some_and(|list| list.generation <= oldest_generation)
    }

    /// Makes the space of the oldest pending list reusable, when no snapshot is
    /// older than `oldest_generation`. Answers whether there was one. Its own
    /// pages go with the flip being built.
    ///
    /// # Errors
    /// I/O or corruption.
    pub fn reclaim(&mut self, pager: &Pager, oldest_generation: u64) -> Result<bool> {
        self.check_standing()?;
        let reclaimed = self.reclaim_oldest(pager, oldest_generation);
        self.note(reclaimed)
    }

    fn reclaim_oldest(&mut self, pager: &Pager, oldest_generation: u64) -> Result<bool> {
        if !self.can_reclaim(oldest_generation) || (self.coalesces && self.pending_count < 2) {
            return Ok(false);
        }
        let Some(list) = self.pending.first().copied().flatten() else {
            return Ok(false);
        };
        let mut next = Some(list.head);
        let mut pages = 0_u64;
        while let Some(page) = next {
            pages += 1;
            let offset = pager.layout().offset(page.address).unwrap_or(u64::MAX);
            if page.kind != PageKind::Pending || pages > list.units.saturating_add(2) {
                return Err(Error::corrupt(
                    CorruptionReason::Structure,
                    File::Pages,
                    offset,
                ));
            }
            let pin = pager.page(&page, 0)?;
            for index in 0..get_u32(pin.bytes(), 24) as usize {
                let (address, units) = pending_entry(pin.bytes(), index);
                if !self.space.is_used(pager, address, u64::from(units))? {
                    return Err(Error::corrupt(CorruptionReason::Space, File::Pages, offset));
                }
                self.space.clear(pager, address, u64::from(units))?;
                pager.forget(address, u64::from(units));
            }
            next = PageRef::decode(pin.bytes(), SPACE_HEADER_BYTES).flatten();
            drop(pin);
            self.release(pager, &page)?;
        }
        for index in 0..self.pending_count {
            let moved = self.pending.get(index + 1).copied().flatten();
            if let Some(slot) = self.pending.get_mut(index) {
                *slot = moved;
            }
        }
        self.pending_count = self.pending_count.saturating_sub(1);
        Ok(true)
    }

    /// Pending lists that there will be when the list being built is published.
    pub(super) fn lists_after_flip(&self) -> usize {
        let replaces_bitmaps = self
            .space
            .groups
            .iter()
            .take(self.space.count)
            .any(|group| group.dirty && group.record.bitmap.is_some());
        let is_empty =
            self.building_entries == 0 && self.building_next.is_none() && !replaces_bitmaps;
        let coalesces =
            self.coalesces || self.building_next.is_none() && self.pending_count >= PENDING_LISTS;
        self.pending_count + usize::from(!is_empty && !coalesces)
    }

    /// Pages of pending list and bitmaps that the flip still has to write.
    pub(super) fn pages_to_write(&self, layout: &Layout) -> u64 {
        let dirty = self
            .space
            .groups
            .iter()
            .take(self.space.count)
            .filter(|group| group.dirty);
        let (mut bitmaps, mut replaced) = (0_usize, 0_usize);
        for group in dirty {
            bitmaps += 1;
            replaced += usize::from(group.record.bitmap.is_some());
        }
        let entries = self.building_entries + replaced;
        let lists = entries.div_ceil(pending_capacity(layout.plain_bytes).max(1));
        (bitmaps + lists) as u64
    }

    pub(super) fn write_pending_and_bitmaps(
        &mut self,
        pager: &Pager,
        generation: u64,
    ) -> Result<()> {
        for index in 0..self.space.count {
            let replaced = self
                .space
                .groups
                .get(index)
                .filter(|group| group.dirty)
                .and_then(|group| group.record.bitmap);
            if let Some(page) = replaced {
                self.list_range(pager, page.address, u64::from(page.units))?;
            }
        }
        if self.building_entries > 0 {
            self.spill_pending(pager)?;
        }
        let list = self.building_next.take();
        for index in 0..self.space.count {
            if !self
                .space
                .groups
                .get(index)
                .is_some_and(|group| group.dirty)
            {
                continue;
            }
            self.space
                .write_bitmap(index, pager.streams(), &mut self.building);
            let page = NewPage {
                kind: PageKind::Space,
                level: 0,
                birth_generation: generation,
                compress: false,
            };
            let written = self
                .writer
                .append(pager, &mut self.space, page, &mut self.building)?;
            if let Some(group) = self.space.groups.get_mut(index) {
                group.record.bitmap = Some(written);
                group.dirty = false;
            }
        }
        self.building.fill(0);
        self.writer.write_out(pager, &mut self.space)?;
        if self.space.groups.iter().any(|group| group.dirty) {
            return Err(Error::Internal(44));
        }
        if core::mem::take(&mut self.coalesces) {
            self.pending_count = self.pending_count.saturating_sub(1);
        }
        if let Some(head) = list {
            let units = core::mem::take(&mut self.building_units);
            self.add_pending(PendingRecord {
                generation,
                head,
                units,
            });
        }
        Ok(())
    }

    pub(super) fn add_pending(&mut self, list: PendingRecord) {
        if let Some(slot) = self.pending.get_mut(self.pending_count) {
            *slot = Some(list);
            self.pending_count += 1;
        }
    }
}
