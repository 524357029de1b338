//! Telling the storage which leaves a scan will come to.
//!
//! It is only told: no frame is taken, and nothing is waited for. Leaves of one branch
//! that lie one behind the other are told together.

use super::Pager;
use crate::format::branch::Branch;
use crate::sync::Ordering;
use core::ops::Range;
use lightning_platform::File;

impl Pager {
    /// How many leaves ahead scans tell the storage of; 0 for none.
    #[inline]
    #[must_use]
    pub fn read_ahead(&self) -> usize {
        self.read_ahead.load(Ordering::Relaxed) as usize
    }

    /// Sets that, from the next leaf on.
    pub fn set_read_ahead(&self, pages: u32) {
        self.read_ahead.store(pages, Ordering::Relaxed);
    }

    /// Tells the storage that these children of a branch will be read.
    #[cold]
    pub fn will_read(&self, branch: &Branch<'_>, children: Range<usize>) {
        let mut stretch: Option<Range<u64>> = None;
        for index in children.start..children.end.min(branch.count()) {
            let page = branch.child(index).page;
            let bytes = u64::from(page.units) * self.layout.unit_bytes as u64;
            let Some(offset) = self.layout.offset(page.address) else {
                continue;
            };
            match &mut stretch {
                Some(before) if before.end == offset => before.end += bytes,
                _ => {
                    self.tell(stretch.take());
                    stretch = Some(offset..offset.saturating_add(bytes));
                }
            }
        }
        self.tell(stretch);
    }

    fn tell(&self, stretch: Option<Range<u64>>) {
        if let Some(Range { start, end }) = stretch {
            let bytes = end.saturating_sub(start);
            self.storage.will_read(File::Pages, start, bytes);
        }
    }
}
