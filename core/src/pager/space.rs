//! Free space: which units are in use, by bitmaps that are themselves copy-on-write.
//!
//! # Invariants
//! * A bit is 1 for every unit that the published state, the state being built,
//!   or a pending list holds. What is 0 may be written.
//! * Space is given out in whole blocks with all bits 0, so that a block with a
//!   live unit is never written again; single units of it are given back.
//! * A unit that the published state uses is never cleared directly: it goes on
//!   the pending list of the flip being built, and is cleared when that flip is
//!   durable, its checkpoint frame too, and no snapshot is older.
//!
//! Bitmaps are loaded when their group is first touched, and stay: one bit a
//! unit is 32 KiB for each GiB at 4 KiB pages, which the memory plan bounds by
//! the largest file that the options allow.

use super::sparse::GroupOccupancy;
use super::streams::Streams;
use super::{Layout, Pager};
use crate::error::{CorruptionReason, Error, Limit, OptionProblem, Result};
use crate::format::bytes::{get_u8, get_u16, get_u32, get_u64, put};
use crate::format::catalogue::GroupRecord;
use crate::format::page_ref::{PAGE_REF_BYTES, PageKind, PageRef};
use crate::mem::{Array, Budget};
use lightning_platform::{File, MemoryUse};

/// Bytes of a bitmap or pending page before its content.
pub(super) const SPACE_HEADER_BYTES: usize = 40;
const PENDING_ENTRY_BYTES: usize = 12;

/// Units that a group covers (FORMAT.md 2.5).
pub(super) fn group_units(layout: &Layout) -> u64 {
    8 * layout.page_bytes.saturating_sub(96).max(1) as u64
}

/// The structure rules of a bitmap page.
pub(super) fn validate_bitmap(
    page: &[u8],
    layout: &Layout,
) -> core::result::Result<(), CorruptionReason> {
    let bitmap_bytes = layout.page_bytes.saturating_sub(96);
    if page.len() >= SPACE_HEADER_BYTES + bitmap_bytes && get_u8(page, 5) == 0 {
        Ok(())
    } else {
        Err(CorruptionReason::Structure)
    }
}

/// The structure rules of a pending page.
pub(super) fn validate_pending(page: &[u8]) -> core::result::Result<(), CorruptionReason> {
    let entries = get_u32(page, 24) as usize;
    if entries <= pending_capacity(page.len())
        && PageRef::decode(page, SPACE_HEADER_BYTES).is_some()
        && usize::from(get_u16(page, 20)) == entries
    {
        Ok(())
    } else {
        Err(CorruptionReason::Structure)
    }
}

/// Entries that a pending page of `plain_bytes` holds.
pub(super) fn pending_capacity(plain_bytes: usize) -> usize {
    plain_bytes.saturating_sub(SPACE_HEADER_BYTES + PAGE_REF_BYTES) / PENDING_ENTRY_BYTES
}

/// One entry of a pending page.
pub(super) fn pending_entry(page: &[u8], index: usize) -> (u64, u32) {
    let offset = SPACE_HEADER_BYTES + PAGE_REF_BYTES + index * PENDING_ENTRY_BYTES;
    (get_u64(page, offset), get_u32(page, offset + 8))
}

/// Writes one entry of a pending page.
pub(super) fn put_pending_entry(page: &mut [u8], index: usize, address: u64, units: u32) {
    let offset = SPACE_HEADER_BYTES + PAGE_REF_BYTES + index * PENDING_ENTRY_BYTES;
    put(page, offset, &address.to_le_bytes());
    put(page, offset + 8, &units.to_le_bytes());
}

/// A stretch of blocks given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stretch {
    /// First unit.
    pub address: u64,
    /// Units, a multiple of a block's.
    pub units: u64,
}

/// What is known of a group.
#[derive(Clone, Copy, Default)]
pub(super) struct Group {
    pub record: GroupRecord,
    loaded: bool,
    pub dirty: bool,
    /// Whether holes were punched since space of it was last given out.
    pub is_punched: bool,
    /// How its blocks stand, if that was counted since a bit last changed.
    pub occupancy: Option<GroupOccupancy>,
}

/// The groups and their bitmaps.
pub(super) struct Space {
    layout: Layout,
    pub groups: Array<Group>,
    bitmaps: Array<u8>,
    /// Groups that exist.
    pub count: usize,
    /// Where the next search begins.
    search_group: usize,
    search_unit: u64,
    /// Blocks of the page file that the state being built may use.
    pub file_blocks: u64,
    /// Length of the page file in blocks: more, after work that was given up.
    pub length_blocks: u64,
    file_blocks_max: u64,
}

impl Space {
    pub(super) fn new(budget: &mut Budget, layout: Layout, file_bytes_max: u64) -> Result<Self> {
        let file_blocks_max = file_bytes_max / layout.block_bytes.max(1) as u64;
        let units = file_blocks_max.saturating_mul(layout.block_units());
        if !group_units(&layout).is_multiple_of(layout.block_units().max(1)) {
            // Blocks must not straddle groups: at most 256 units stand in one.
            return Err(Error::Options(OptionProblem::Geometry));
        }
        let groups = usize::try_from(units.div_ceil(group_units(&layout)))
            .map_err(|_| Error::OutOfMemory { bytes: u64::MAX })?;
        Ok(Self {
            layout,
            groups: Array::new(budget, MemoryUse::Structure, groups, |_| Group::default())?,
            bitmaps: Array::zeroed(
                budget,
                MemoryUse::Structure,
                groups.saturating_mul(layout.page_bytes.saturating_sub(96)),
            )?,
            count: 0,
            search_group: 0,
            search_unit: 0,
            file_blocks: 0,
            length_blocks: 0,
            file_blocks_max,
        })
    }

    /// Forgets everything but the memory: what follows is loaded from a catalogue.
    pub(super) fn reset(&mut self, file_blocks: u64) {
        for group in self.groups.iter_mut() {
            *group = Group::default();
        }
        self.count = 0;
        self.search_group = 0;
        self.search_unit = 0;
        self.file_blocks = file_blocks;
    }

    /// Takes over a group's record from the catalogue; false when there are
    /// more groups than the plan has room for.
    pub(super) fn add_group(&mut self, record: GroupRecord) -> bool {
        match self.groups.get_mut(self.count) {
            Some(group) => {
                *group = Group {
                    record,
                    loaded: record.bitmap.is_none(),
                    dirty: false,
                    is_punched: false,
                    occupancy: None,
                };
                let index = self.count;
                self.count += 1;
                if record.bitmap.is_none() {
                    self.bitmap_mut(index).fill(0);
                }
                true
            }
            None => false,
        }
    }

    /// The most bytes that the page file may have.
    pub(super) fn file_bytes_max(&self) -> u64 {
        self.file_blocks_max
            .saturating_mul(self.layout.block_bytes as u64)
    }

    /// Units in use, of those that have a group.
    pub(super) fn used_units(&self) -> u64 {
        self.groups
            .iter()
            .take(self.count)
            .map(|group| u64::from(group.record.used_units))
            .sum()
    }

    fn bitmap_bytes(&self) -> usize {
        self.layout.page_bytes.saturating_sub(96)
    }

    pub(super) fn bitmap(&self, group: usize) -> &[u8] {
        let bytes = self.bitmap_bytes();
        let start = group.saturating_mul(bytes);
        self.bitmaps
            .get(start..start.saturating_add(bytes))
            .unwrap_or(&[])
    }

    fn bitmap_mut(&mut self, group: usize) -> &mut [u8] {
        let bytes = self.bitmap_bytes();
        let start = group.saturating_mul(bytes);
        self.bitmaps
            .get_mut(start..start.saturating_add(bytes))
            .unwrap_or(&mut [])
    }

    fn load(&mut self, pager: &Pager, index: usize) -> Result<()> {
        let Some(group) = self.groups.get(index).copied() else {
            return Err(Error::Internal(20));
        };
        if group.loaded {
            return Ok(());
        }
        if let Some(page) = group.record.bitmap {
            let pin = pager.page(&page, 0)?;
            let offset = self.layout.offset(page.address).unwrap_or(u64::MAX);
            if get_u64(pin.bytes(), 24) != index as u64 {
                return Err(Error::corrupt(
                    CorruptionReason::Identity,
                    File::Pages,
                    offset,
                ));
            }
            let bytes = self.bitmap_bytes();
            let used = {
                let to = self.bitmap_mut(index);
                if let Some(from) = pin
                    .bytes()
                    .get(SPACE_HEADER_BYTES..SPACE_HEADER_BYTES + bytes)
                {
                    put(to, 0, from);
                }
                to.iter().map(|byte| byte.count_ones()).sum::<u32>()
            };
            if used != group.record.used_units {
                return Err(Error::corrupt(CorruptionReason::Count, File::Pages, offset));
            }
        }
        if let Some(group) = self.groups.get_mut(index) {
            group.loaded = true;
        }
        Ok(())
    }

    /// Gives out between `least` and `most` blocks in one stretch, lowest address
    /// first; lengthens the file only where no stretch of `least` is free.
    pub(super) fn allocate(&mut self, pager: &Pager, least: u64, most: u64) -> Result<Stretch> {
        let block_units = self.layout.block_units();
        let units = group_units(&self.layout);
        let group_blocks = units / block_units;
        if least == 0 || least > group_blocks {
            return Err(Error::Internal(21));
        }
        // A stretch longer than one block must not be missed because the search
        // began behind it; one block is what `search_*` keeps track of.
        let (mut index, mut from) = if least == 1 {
            (self.search_group, self.search_unit)
        } else {
            (0, 0)
        };
        loop {
            if index >= self.count && !self.add_group(GroupRecord::default()) {
                return Err(self.too_large());
            }
            let group = self.groups.get(index).copied().unwrap_or_default();
            if u64::from(group.record.used_units) + least * block_units <= units {
                self.load(pager, index)?;
                if let Some((unit, blocks)) = self.find(index, from, least, most) {
                    let address = index as u64 * units + unit;
                    let left = self.file_blocks_max.saturating_sub(address / block_units);
                    if left < least {
                        return Err(self.too_large());
                    }
                    let blocks = blocks.min(left);
                    let stretch = Stretch {
                        address,
                        units: blocks * block_units,
                    };
                    self.set(index, unit, stretch.units, true);
                    if least == 1 {
                        self.search_group = index;
                        self.search_unit = unit + stretch.units;
                    }
                    return Ok(stretch);
                }
            }
            index += 1;
            from = 0;
        }
    }

    /// Gives out exactly `blocks` in one stretch that is free in the published bitmaps, too,
    /// and may reach over several groups. What the state being built has reclaimed is
    /// not taken: a pending list on the medium has it still, and would free it again
    /// after a power cut.
    pub(super) fn allocate_apart(&mut self, pager: &Pager, blocks: u64) -> Result<Stretch> {
        let block_units = self.layout.block_units();
        let units = blocks.saturating_mul(block_units);
        let group_units = group_units(&self.layout);
        // Free units up to where the search stands.
        let mut free = 0;
        for index in 0.. {
            if index >= self.count && !self.add_group(GroupRecord::default()) {
                break;
            }
            self.load(pager, index)?;
            let record = self.groups.get(index).map(|group| group.record);
            let published = match record.and_then(|record| record.bitmap) {
                Some(page) => Some(pager.page(&page, 0)?),
                None => None,
            };
            let published = published.as_ref().map_or(&[][..], |pin| pin.bytes());
            let published = published.get(SPACE_HEADER_BYTES..).unwrap_or(&[]);
            let bitmap = self.bitmap(index);
            let mut unit = 0;
            while unit + block_units <= group_units && free < units {
                let byte = (unit / 8) as usize;
                let is_word = unit % 64 == 0 && 64 % block_units == 0 && unit + 64 <= group_units;
                if is_word && free + 64 <= units {
                    let word = get_u64(bitmap, byte) | get_u64(published, byte);
                    if word == 0 || word == u64::MAX {
                        free = if word == 0 { free + 64 } else { 0 };
                        unit += 64;
                        continue;
                    }
                }
                let is_free = is_free(bitmap, unit, block_units)
                    && (published.is_empty() || is_free(published, unit, block_units));
                free = if is_free { free + block_units } else { 0 };
                unit += block_units;
            }
            if free >= units {
                let address = (index as u64 * group_units + unit).saturating_sub(units);
                if address / block_units + blocks > self.file_blocks_max {
                    break;
                }
                self.change(pager, address, units, true)?;
                return Ok(Stretch { address, units });
            }
        }
        Err(self.too_large())
    }

    fn too_large(&self) -> Error {
        Error::OverLimit {
            limit: Limit::PageFileBytes,
            value: self.file_bytes_max().saturating_add(1),
            maximum: self.file_bytes_max(),
        }
    }

    /// The first free stretch of a group from unit `from` on: {unit, blocks}.
    fn find(&self, group: usize, from: u64, least: u64, most: u64) -> Option<(u64, u64)> {
        let block_units = self.layout.block_units();
        let units = group_units(&self.layout);
        let bitmap = self.bitmap(group);
        let mut start = from.div_ceil(block_units) * block_units;
        let mut length = 0;
        let mut unit = start;
        while unit + block_units <= units {
            if length == 0 && unit.is_multiple_of(64) && block_units <= 64 {
                // Whole words in use are passed over at once.
                let word = get_u64(bitmap, (unit / 8) as usize);
                if word == u64::MAX && unit + 64 <= units {
                    unit += 64;
                    start = unit;
                    continue;
                }
            }
            if is_free(bitmap, unit, block_units) {
                if length == 0 {
                    start = unit;
                }
                length += 1;
                if length == most {
                    break;
                }
            } else {
                if length >= least {
                    break;
                }
                length = 0;
            }
            unit += block_units;
        }
        (length >= least && length > 0).then_some((start, length))
    }

    /// The first free stretch of at least `least` blocks from unit `from` on.
    pub(super) fn free_stretch(&self, group: usize, from: u64, least: u64) -> Option<(u64, u64)> {
        self.find(group, from, least, u64::MAX)
    }

    /// Where a group's last unit in use ends; its bitmap is in memory.
    pub(super) fn used_end(&self, group: usize) -> u64 {
        let bitmap = self.bitmap(group);
        let last = bitmap.iter().rposition(|byte| *byte != 0);
        last.map_or(0, |index| {
            let byte = bitmap.get(index).copied().unwrap_or(0);
            index as u64 * 8 + u64::from(8 - byte.leading_zeros())
        })
    }

    fn set(&mut self, group: usize, unit: u64, units: u64, used: bool) {
        let changed = change_bits(self.bitmap_mut(group), unit, unit + units, used);
        if let Some(group) = self.groups.get_mut(group) {
            let count = &mut group.record.used_units;
            *count = if used {
                *count + changed
            } else {
                count.saturating_sub(changed)
            };
            group.dirty = true;
            // What is free now may hold something yet.
            group.is_punched = false;
            group.occupancy = None;
        }
    }

    /// Units in use of the block that begins with a unit of a group, whose bitmap is in
    /// memory.
    pub(super) fn used_of_block(&self, group: usize, unit: u64) -> u32 {
        if self.groups.get(group).is_some_and(|group| group.loaded) {
            used_units(self.bitmap(group), unit, self.layout.block_units())
        } else {
            0
        }
    }

    /// Reads a group's bitmap, if it isn't in memory, and checks it.
    pub(super) fn check_group(&mut self, pager: &Pager, group: usize) -> Result<()> {
        self.load(pager, group)
    }

    /// Marks units as in use that a reader of the log found referenced.
    pub(super) fn claim(&mut self, pager: &Pager, address: u64, units: u64) -> Result<()> {
        self.change(pager, address, units, true)
    }

    /// Clears units that nothing published uses.
    pub(super) fn clear(&mut self, pager: &Pager, address: u64, units: u64) -> Result<()> {
        self.change(pager, address, units, false)
    }

    fn change(&mut self, pager: &Pager, address: u64, units: u64, used: bool) -> Result<()> {
        let per_group = group_units(&self.layout);
        let mut at = address;
        let end = address.saturating_add(units);
        while at < end {
            let index = usize::try_from(at / per_group).map_err(|_| Error::Internal(22))?;
            while index >= self.count && used {
                if !self.add_group(GroupRecord::default()) {
                    return Err(self.too_large());
                }
            }
            if index >= self.count {
                let offset = self.layout.offset(at).unwrap_or(u64::MAX);
                return Err(Error::corrupt(CorruptionReason::Space, File::Pages, offset));
            }
            self.load(pager, index)?;
            let unit = at % per_group;
            let here = (end - at).min(per_group - unit);
            self.set(index, unit, here, used);
            // The block of the first unit may be free now, not only what follows it.
            let block_units = self.layout.block_units().max(1);
            let block = unit / block_units * block_units;
            if !used && (index, block) < (self.search_group, self.search_unit) {
                self.search_group = index;
                self.search_unit = block;
            }
            at += here;
        }
        Ok(())
    }

    /// Whether every unit of a range is marked as in use.
    pub(super) fn is_used(&mut self, pager: &Pager, address: u64, units: u64) -> Result<bool> {
        let per_group = group_units(&self.layout);
        for unit in address..address.saturating_add(units) {
            let index = usize::try_from(unit / per_group).map_err(|_| Error::Internal(23))?;
            if index >= self.count {
                return Ok(false);
            }
            self.load(pager, index)?;
            let at = unit % per_group;
            if get_u8(self.bitmap(index), (at / 8) as usize) >> (at % 8) & 1 == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Has the next flip write the bitmaps of a range, though no bit of it changes.
    pub(super) fn touch(&mut self, pager: &Pager, address: u64, units: u64) -> Result<()> {
        self.change(pager, address, units, true)
    }

    /// How many units of a range are marked as in use.
    pub(super) fn used_within(&mut self, pager: &Pager, address: u64, units: u64) -> Result<u64> {
        let mut used = 0;
        for unit in address..address.saturating_add(units) {
            used += u64::from(self.is_used(pager, unit, 1)?);
        }
        Ok(used)
    }

    /// Fills a plain page with a group's bitmap, without the units that are masked.
    pub(super) fn write_bitmap(&self, group: usize, streams: &Streams, page: &mut [u8]) {
        page.fill(0);
        put(page, 4, &[PageKind::Space as u8, 0]);
        put(page, 24, &(group as u64).to_le_bytes());
        put(page, SPACE_HEADER_BYTES, self.bitmap(group));
        let units = group_units(&self.layout);
        let start = group as u64 * units;
        let bitmap = page.get_mut(SPACE_HEADER_BYTES..).unwrap_or(&mut []);
        for slot in streams.masked() {
            let first = slot.address().max(start);
            let end = slot.address().saturating_add(slot.units());
            let end = end.min(start + units);
            if first < end {
                change_bits(bitmap, first - start, end - start, false);
            }
        }
    }
}

/// Sets or clears bits; answers how many were otherwise before.
fn change_bits(bitmap: &mut [u8], unit: u64, end: u64, used: bool) -> u32 {
    let mut changed = 0_u32;
    let mut at = unit;
    while at < end {
        let Some(byte) = bitmap.get_mut((at / 8) as usize) else {
            break;
        };
        let bit = at % 8;
        let bits = (end - at).min(8 - bit);
        let mask = (((1_u32 << bits) - 1) << bit) as u8;
        let before = byte.count_ones();
        *byte = if used { *byte | mask } else { *byte & !mask };
        changed += byte.count_ones().abs_diff(before);
        at += bits;
    }
    changed
}

/// Units in use of a block.
fn used_units(bitmap: &[u8], unit: u64, units: u64) -> u32 {
    let start = (unit / 8) as usize;
    if units >= 8 {
        let bytes = bitmap.get(start..start + (units / 8) as usize);
        return bytes.map_or(0, |bytes| bytes.iter().map(|b| b.count_ones()).sum());
    }
    let mask = (1_u8 << units) - 1;
    (get_u8(bitmap, start) >> (unit % 8) & mask).count_ones()
}

fn is_free(bitmap: &[u8], unit: u64, units: u64) -> bool {
    if units >= 8 {
        let start = (unit / 8) as usize;
        let bytes = (units / 8) as usize;
        return bitmap
            .get(start..start + bytes)
            .is_some_and(|bytes| bytes.iter().all(|b| *b == 0));
    }
    let mask = ((1_u32 << units) - 1) as u8;
    get_u8(bitmap, (unit / 8) as usize) >> (unit % 8) & mask == 0
        && (unit / 8) < bitmap.len() as u64
}
