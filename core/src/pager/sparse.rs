//! Blocks of which no more than half is alive.
//!
//! A block is given out again only when all of it is dead, so that one page that is left
//! of it keeps all of it. Where a block holds several pages, such *sparse* blocks come
//! about wherever pages are replaced out of the order in which they were written. Who
//! writes what is left of them again (`evacuate`) gets back as many blocks as that takes, at
//! least. What is half alive counts, since of four pages in a block one alone is seldom
//! left: without it, files that are nearly full came to a stand.
//!
//! # How they are known
//! Which blocks are sparse is seen in the bitmaps, when somebody asks. How many there are,
//! each group remembers until a bit of it changes; so that only what changed is counted
//! again, a few groups in one call. What waits on a pending list counts as alive.

use super::flip::PageStore;
use super::space::group_units;
use super::{Layout, Pager};
use crate::error::Result;
use crate::format::extent::ExtentRef;

/// Groups that one call counts.
const GROUPS_AT_ONCE: u32 = 16;

/// How the blocks of a group stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct GroupOccupancy {
    taken_blocks: u32,
    sparse_blocks: u32,
    sparse_units: u32,
}

/// How all blocks stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Occupancy {
    /// Blocks with a unit in use.
    pub taken_blocks: u64,
    /// Of them those that are sparse.
    pub sparse_blocks: u64,
    /// Units in use of the latter.
    pub sparse_units: u64,
}

impl Occupancy {
    /// Blocks that there would be more of, were all sparse ones written again as one.
    #[must_use]
    pub fn gain_blocks(&self, layout: &Layout) -> u64 {
        let packed = self.sparse_units.div_ceil(layout.block_units());
        self.sparse_blocks.saturating_sub(packed)
    }
}

/// Whether a block of which so many units are in use is sparse.
fn is_sparse(used: u32, block_units: u64) -> bool {
    used > 0 && 2 * u64::from(used) <= block_units
}

impl PageStore {
    /// How all blocks stand; none where more groups have to be counted: then it is to be
    /// asked again. From an answer until something fails, every bitmap is in memory.
    ///
    /// # Errors
    /// I/O or corruption of a bitmap.
    pub fn occupancy(&mut self, pager: &Pager) -> Result<Option<Occupancy>> {
        self.check_standing()?;
        let mut sum = Occupancy::default();
        let mut left = GROUPS_AT_ONCE;
        for index in 0..self.space.count {
            let known = self.space.groups.get(index);
            let group = match known.and_then(|group| group.occupancy) {
                Some(group) => group,
                None if left == 0 => return Ok(None),
                None => {
                    left -= 1;
                    self.count_group(pager, index)?
                }
            };
            sum.taken_blocks += u64::from(group.taken_blocks);
            sum.sparse_blocks += u64::from(group.sparse_blocks);
            sum.sparse_units += u64::from(group.sparse_units);
        }
        Ok(Some(sum))
    }

    /// Whether a group was counted since a bit of it changed.
    #[cfg(test)]
    pub(crate) fn is_any_counted(&self) -> bool {
        let mut groups = self.space.groups.iter();
        groups.any(|group| group.occupancy.is_some())
    }

    fn count_group(&mut self, pager: &Pager, index: usize) -> Result<GroupOccupancy> {
        self.space.check_group(pager, index)?;
        let layout = pager.layout();
        let block_units = layout.block_units();
        let mut counted = GroupOccupancy::default();
        for unit in (0..group_units(layout)).step_by(usize::try_from(block_units).unwrap_or(1)) {
            let used = self.space.used_of_block(index, unit);
            counted.taken_blocks += u32::from(used > 0);
            if is_sparse(used, block_units) {
                counted.sparse_blocks += 1;
                counted.sparse_units += used;
            }
        }
        if let Some(group) = self.space.groups.get_mut(index) {
            group.occupancy = Some(counted);
        }
        Ok(counted)
    }

    /// Whether a page lies in a sparse block, even in part.
    #[must_use]
    pub fn is_in_sparse_block(&self, layout: &Layout, address: u64, units: u64) -> bool {
        self.blocks_of(layout, address, units).any(|sparse| sparse)
    }

    /// Whether an extent lies in nothing but sparse blocks.
    #[must_use]
    pub fn is_in_sparse_blocks(&self, pager: &Pager, extent: &ExtentRef) -> bool {
        let units = Self::extent_end(pager, extent).saturating_sub(extent.address);
        self.blocks_of(pager.layout(), extent.address, units)
            .all(|sparse| sparse)
    }

    /// Of each block that a range of units touches, whether it is sparse. One whose bitmap
    /// isn't in memory isn't.
    fn blocks_of(
        &self,
        layout: &Layout,
        address: u64,
        units: u64,
    ) -> impl Iterator<Item = bool> + '_ {
        let block_units = layout.block_units();
        let per_group = group_units(layout);
        let end = address.saturating_add(units).div_ceil(block_units);
        (address / block_units..end).map(move |block| {
            let unit = block.saturating_mul(block_units);
            usize::try_from(unit / per_group).is_ok_and(|group| {
                is_sparse(
                    self.space.used_of_block(group, unit % per_group),
                    block_units,
                )
            })
        })
    }

    /// Counts pages that were evacuated.
    pub fn note_evacuated(&mut self, pages: u64) {
        self.evacuated_pages += pages;
    }

    /// Whether most of what the page file may have at most is taken.
    #[must_use]
    pub fn is_nearly_full(&self, layout: &Layout, occupancy: &Occupancy) -> bool {
        let most = self.space.file_bytes_max() / layout.block_bytes.max(1) as u64;
        occupancy.taken_blocks >= most / 8 * 7
    }

    /// Whether [`is_nearly_full`](Self::is_nearly_full) is worth asking.
    #[must_use]
    pub fn may_be_nearly_full(&self, layout: &Layout) -> bool {
        let most = self.space.file_bytes_max() / layout.block_bytes.max(1) as u64;
        self.space.file_blocks >= most / 8 * 7
    }
}
