//! What the published state takes besides trees: for the integrity check.

use super::PageStore;
use crate::error::{CorruptionReason, Error, Result};
use crate::format::page_ref::{PageKind, PageRef};
use crate::pager::Pager;
use crate::pager::space::SPACE_HEADER_BYTES;
use lightning_platform::File;

/// Units by what they are for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Account {
    /// In use, by the bitmaps.
    pub used_units: u64,
    /// Superblocks, catalogues, bitmaps and pending lists.
    pub metadata_units: u64,
    /// On pending lists.
    pub pending_units: u64,
}

impl PageStore {
    /// Adds up what is not part of a tree, reading every bitmap and pending list.
    /// Nothing may be being built.
    ///
    /// # Errors
    /// I/O or corruption.
    pub fn account(&mut self, pager: &Pager) -> Result<Account> {
        self.check_standing()?;
        let layout = *pager.layout();
        let page_units = u64::from(layout.page_units());
        let mut account = Account {
            metadata_units: 2 * layout.block_units(),
            ..Account::default()
        };
        for copy in self.superblock.catalogue {
            let blocks = u64::from(copy.bytes).div_ceil(layout.block_bytes as u64);
            account.metadata_units += blocks * layout.block_units();
        }
        for index in 0..self.space.count {
            self.space.check_group(pager, index)?;
        }
        for (index, group) in self.space.groups.iter().take(self.space.count).enumerate() {
            account.used_units += u64::from(group.record.used_units)
                .saturating_sub(self.masked_units_of(pager, index));
            account.metadata_units += u64::from(group.record.bitmap.is_some()) * page_units;
        }
        let lists = self.pending.iter().take(self.pending_count).flatten();
        for list in lists {
            account.pending_units += list.units;
            let mut next = Some(list.head);
            let mut pages = 0;
            while let Some(page) = next {
                pages += 1;
                let offset = layout.offset(page.address).unwrap_or(u64::MAX);
                if page.kind != PageKind::Pending || pages > list.units.saturating_add(2) {
                    let reason = CorruptionReason::Structure;
                    return Err(Error::corrupt(reason, File::Pages, offset));
                }
                let pin = pager.page(&page, 0)?;
                next = PageRef::decode(pin.bytes(), SPACE_HEADER_BYTES).flatten();
            }
            account.metadata_units += pages * page_units;
        }
        Ok(account)
    }
}
