//! What of the page file is in use, as far as room for something new is concerned.

use super::Pager;
use super::flip::PageStore;
use super::space::group_units;
use crate::error::Result;

impl PageStore {
    /// Blocks with a unit in use, of the state that is being built. Reads the bitmaps that
    /// aren't in memory.
    ///
    /// # Errors
    /// I/O or corruption of a bitmap.
    pub fn used_blocks(&mut self, pager: &Pager) -> Result<u64> {
        let layout = *pager.layout();
        let block_units = layout.block_units().max(1);
        let mut used = 0;
        for index in 0..self.space.count {
            self.space.check_group(pager, index)?;
            let mut free = 0;
            let mut from = 0;
            while let Some((unit, blocks)) = self.space.free_stretch(index, from, 1) {
                from = unit + blocks * block_units;
                free += blocks;
            }
            used += group_units(&layout) / block_units - free;
        }
        Ok(used)
    }

    /// Whether flips rather use free space in pieces than make the file longer.
    pub fn spread(&mut self, spreads: bool) {
        self.writer.spreads = spreads;
    }

    /// The flip whose pending list is the oldest.
    #[must_use]
    pub fn oldest_pending_generation(&self) -> Option<u64> {
        let list = self.pending.first().copied().flatten();
        list.map(|list| list.generation)
    }
}
