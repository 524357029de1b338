//! Opening pages of the old tree, with the bounds of what they hold.

use super::super::change::PageSink;
use super::super::lookup::checked_child;
use super::Editor;
use crate::error::{Error, Result};
use crate::format::branch::Branch;
use crate::format::page_ref::PageRef;
use crate::pager::Pager;

impl Editor {
    /// Opens an old page whose bounds stand in the scratch buffers.
    pub(super) fn open(
        &mut self,
        sink: &mut dyn PageSink,
        level: usize,
        page: &PageRef,
        high_is_infinite: bool,
    ) -> Result<()> {
        sink.release(page)?;
        let at = self.levels.get_mut(level).ok_or(Error::Internal(75))?;
        at.open.page = Some(*page);
        at.open.index = 0;
        at.open.low.set(self.scratch.get());
        at.open.high.set(self.scratch_high.get());
        at.open.high_is_infinite = high_is_infinite;
        if level == 0 && at.stage.is_empty() {
            self.region_low.set(self.scratch.get());
            self.region_is_fresh = true;
        }
        Ok(())
    }

    /// Opens a child of an open branch, one level below; the branch goes on behind it.
    pub(super) fn open_child(
        &mut self,
        pager: &Pager,
        sink: &mut dyn PageSink,
        level: usize,
        (branch, page): (&Branch<'_>, &PageRef),
        target: usize,
    ) -> Result<()> {
        let child = checked_child(pager, branch, target, page)?;
        let is_last = target + 1 == branch.count();
        self.low_of(level, branch, target);
        let mut infinite = false;
        if is_last {
            if let Some(above) = self.levels.get(level) {
                infinite = above.open.high_is_infinite;
                self.scratch_high.set(above.open.high.get());
            }
        } else {
            self.scratch_high
                .fill(|buffer| branch.copy_separator(target, buffer));
        }
        if let Some(above) = self.levels.get_mut(level) {
            above.open.index = target + 1;
        }
        let below = level.checked_sub(1).ok_or(Error::Internal(77))?;
        self.open(sink, below, &child.page, infinite)
    }
}
