//! A walk over chosen pages of a tree, without reading those that are not chosen.
//!
//! A branch's records say where its children are and what is below them, so that who
//! looks for pages by either needs to read branches only. The walk answers each chosen
//! child with the lowest key of its range, parents before their children and keys in
//! ascending order; it goes below a branch only if that was chosen. It begins at any
//! key: the branches above that are answered again.

use super::lookup::{Root, checked_child};
use crate::error::{Error, Result};
use crate::format::branch::{Branch, Child};
use crate::format::page_ref::PageRef;
use crate::limits::TREE_LEVELS_MAX;
use crate::pager::Pager;

/// A branch that is gone through, and its child that comes next, once that is known.
type Step = (PageRef, Option<usize>);

/// Where a walk is.
pub struct ChildWalk<'p> {
    pager: &'p Pager,
    table: u32,
    /// The root, until it was looked at.
    start: Option<Child>,
    top: usize,
    level: usize,
    path: [Option<Step>; TREE_LEVELS_MAX],
}

impl<'p> ChildWalk<'p> {
    /// A walk over a table's tree, whose root is seen as a child.
    #[must_use]
    pub fn new(pager: &'p Pager, table: u32, root: Option<Child>) -> Self {
        let top = root.map_or(0, |root| usize::from(root.page.level));
        Self {
            pager,
            table,
            start: root,
            top,
            level: top,
            path: [None; TREE_LEVELS_MAX],
        }
    }

    /// The next chosen page whose range reaches beyond `from`, which is the same in every
    /// call. Puts the lowest key of its range into `low`, and answers its length.
    ///
    /// # Errors
    /// I/O or corruption.
    pub fn next(
        &mut self,
        from: &[u8],
        low: &mut [u8],
        chooses: &dyn Fn(&Child) -> bool,
    ) -> Result<Option<(Child, usize)>> {
        if let Some(root) = self.start.take() {
            if !chooses(&root) {
                return Ok(None);
            }
            self.enter(&root)?;
            return Ok(Some((root, 0)));
        }
        while let Some((page, index)) = self.path.get(self.level).copied().flatten() {
            let pin = self.pager.page(&page, self.table)?;
            let branch = Branch::new(pin.bytes());
            let first = index.unwrap_or_else(|| branch.child_index(from));
            for index in first..branch.count() {
                let child = checked_child(self.pager, &branch, index, &page)?;
                if !chooses(&child) {
                    continue;
                }
                self.set(self.level, Some((page, Some(index + 1))))?;
                let length = match index.checked_sub(1) {
                    Some(before) => branch.copy_separator(before, low),
                    None => self.low_above(self.level, low)?,
                };
                self.enter(&child)?;
                return Ok(Some((child, length)));
            }
            self.set(self.level, None)?;
            if self.level < self.top {
                self.level += 1;
            }
        }
        Ok(None)
    }

    fn enter(&mut self, child: &Child) -> Result<()> {
        let level = usize::from(child.page.level);
        if level > 0 {
            self.level = level;
            self.set(level, Some((child.page, None)))?;
        }
        Ok(())
    }

    fn set(&mut self, level: usize, step: Option<Step>) -> Result<()> {
        *self.path.get_mut(level).ok_or(Error::Internal(90))? = step;
        Ok(())
    }

    /// The lowest key of the range of the branch being gone through at `level`.
    fn low_above(&self, level: usize, low: &mut [u8]) -> Result<usize> {
        for above in level + 1..=self.top {
            let Some((page, Some(next))) = self.path.get(above).copied().flatten() else {
                return Err(Error::Internal(91));
            };
            if let Some(before) = next.checked_sub(2) {
                let pin = self.pager.page(&page, self.table)?;
                return Ok(Branch::new(pin.bytes()).copy_separator(before, low));
            }
        }
        Ok(0)
    }
}

/// Whether `found` holds for a page on the way from a root to the leaf of `key`.
///
/// # Errors
/// I/O or corruption.
pub fn any_on_path(
    pager: &Pager,
    root: &Root,
    key: &[u8],
    found: &dyn Fn(&PageRef) -> bool,
) -> Result<bool> {
    let Some(mut page) = root.page else {
        return Ok(false);
    };
    while !found(&page) {
        if page.level == 0 {
            return Ok(false);
        }
        let pin = pager.page(&page, root.table)?;
        let branch = Branch::new(pin.bytes());
        page = checked_child(pager, &branch, branch.child_index(key), &page)?.page;
    }
    Ok(true)
}
