//! Deleting ranges: whole subtrees go by reference, and only the pages at the two
//! ends of a range are read and written again. Leaves in between are read only where
//! values of them stand in extents, which have to be given up one by one.

use super::super::change::PageSink;
use super::super::lookup::checked_child;
use super::Editor;
use crate::error::{Error, KeySample, Result};
use crate::format::branch::{Branch, Child};
use crate::format::leaf::{EntryKind, Leaf};
use crate::format::page_ref::PageRef;
use crate::limits::TREE_LEVELS_MAX;
use crate::pager::Pager;

impl Editor {
    /// Deletes the old tree's entries from `from` to the exclusive `to` (`None`: to the
    /// end). Keys ascend as in [`apply`](Self::apply): none of an earlier change is above
    /// `from`, none of a later one below `to`.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub fn delete_range(
        &mut self,
        pager: &Pager,
        sink: &mut dyn PageSink,
        from: &[u8],
        to: Option<&[u8]>,
    ) -> Result<()> {
        if self.has_change && self.last_change.get() > from {
            return Err(Error::NotAscending {
                key: KeySample::of(from),
            });
        }
        self.last_change.set(from);
        self.has_change = true;
        self.last_is_put = false;
        let Some(root) = self.old_root.filter(|_| !self.old_is_exhausted()) else {
            return Ok(());
        };
        self.seek(pager, sink, from)?;
        self.stage_before(pager, sink, from)?;
        if self.drop_in_leaf(pager, sink, to)? {
            return Ok(());
        }
        self.leave(0);
        for level in 1..=usize::from(root.level) {
            if self.drop_children(pager, sink, level, to)? {
                // What is left of this branch reaches beyond the range.
                return self.drop_before(pager, sink, level, to);
            }
            self.leave(level);
        }
        Ok(())
    }

    /// Drops what lies below `to` on the way down from an open branch, whose next child
    /// reaches beyond.
    fn drop_before(
        &mut self,
        pager: &Pager,
        sink: &mut dyn PageSink,
        top: usize,
        to: Option<&[u8]>,
    ) -> Result<()> {
        for level in (1..=top).rev() {
            let page = self.open_page(level)?;
            let pin = pager.page(&page, self.table)?;
            let branch = Branch::new(pin.bytes());
            let next = self.levels.get(level).map_or(0, |level| level.open.index);
            self.open_child(pager, sink, level, (&branch, &page), next)?;
            if level > 1 {
                self.drop_children(pager, sink, level - 1, to)?;
            }
        }
        self.drop_in_leaf(pager, sink, to).map(|_| ())
    }

    /// Whether nothing of the old tree is left in front.
    pub(super) fn old_is_exhausted(&self) -> bool {
        self.root_is_open
            && self.old_root.is_some_and(|root| {
                self.levels
                    .get(usize::from(root.level))
                    .is_none_or(|level| level.open.page.is_none())
            })
    }

    fn leave(&mut self, level: usize) {
        if let Some(level) = self.levels.get_mut(level) {
            level.open.page = None;
        }
    }

    /// Whether the open page of a level reaches up to `to` or further.
    fn reaches(&self, level: usize, to: Option<&[u8]>) -> bool {
        self.levels.get(level).is_some_and(|level| match to {
            None => false,
            Some(to) => level.open.high_is_infinite || to < level.open.high.get(),
        })
    }

    /// Stages the open leaf's entries before `key`.
    fn stage_before(&mut self, pager: &Pager, sink: &mut dyn PageSink, key: &[u8]) -> Result<()> {
        let page = self.open_page(0)?;
        let pin = pager.page(&page, self.table)?;
        let leaf = Leaf::new(pin.bytes());
        let from = self.levels.first().map_or(0, |level| level.open.index);
        let until = leaf.lower_bound(key).max(from);
        for index in from..until {
            self.stage_old(sink, &leaf, index)?;
        }
        if let Some(level) = self.levels.first_mut() {
            level.open.index = until;
        }
        Ok(())
    }

    /// Drops the open leaf's entries below `to`. Answers whether the leaf's range reaches
    /// as far.
    fn drop_in_leaf(
        &mut self,
        pager: &Pager,
        sink: &mut dyn PageSink,
        to: Option<&[u8]>,
    ) -> Result<bool> {
        let page = self.open_page(0)?;
        let pin = pager.page(&page, self.table)?;
        let leaf = Leaf::new(pin.bytes());
        let from = self.levels.first().map_or(0, |level| level.open.index);
        let until = to.map_or(leaf.count(), |to| leaf.lower_bound(to)).max(from);
        release_extents(sink, &leaf, from, until)?;
        if let Some(level) = self.levels.first_mut() {
            level.open.index = until;
        }
        Ok(self.reaches(0, to))
    }

    /// Drops the children of an open branch that lie below `to`. Answers whether one
    /// that doesn't is left.
    fn drop_children(
        &mut self,
        pager: &Pager,
        sink: &mut dyn PageSink,
        level: usize,
        to: Option<&[u8]>,
    ) -> Result<bool> {
        let page = self.open_page(level)?;
        let pin = pager.page(&page, self.table)?;
        let branch = Branch::new(pin.bytes());
        let from = self.levels.get(level).map_or(0, |level| level.open.index);
        let target = match to {
            Some(to) if self.reaches(level, Some(to)) => branch.child_index(to).max(from),
            _ => branch.count(),
        };
        for index in from..target {
            let child = checked_child(pager, &branch, index, &page)?;
            release_below(pager, sink, self.table, &child)?;
        }
        if let Some(level) = self.levels.get_mut(level) {
            level.open.index = target;
        }
        Ok(target < branch.count())
    }
}

fn release_extents(
    sink: &mut dyn PageSink,
    leaf: &Leaf<'_>,
    from: usize,
    until: usize,
) -> Result<()> {
    for index in from..until {
        let entry = leaf.entry(index);
        if entry.kind == EntryKind::Extent {
            sink.release_extent(entry.value)?;
        }
    }
    Ok(())
}

/// Gives up a subtree: its pages, and the extents of its values.
///
/// # Errors
/// I/O or corruption.
pub fn release_below(
    pager: &Pager,
    sink: &mut dyn PageSink,
    table: u32,
    top: &Child,
) -> Result<()> {
    release_pages(pager, sink, table, top, top.extents_below)
}

/// Gives up the pages of a tree, and leaves its extents alone.
///
/// # Errors
/// I/O or corruption.
pub fn release_tree(
    pager: &Pager,
    sink: &mut dyn PageSink,
    table: u32,
    root: &PageRef,
) -> Result<()> {
    let top = Child {
        page: *root,
        count: 0,
        earliest_expiry_ms: None,
        extents_below: false,
    };
    release_pages(pager, sink, table, &top, false)
}

fn release_pages(
    pager: &Pager,
    sink: &mut dyn PageSink,
    table: u32,
    top: &Child,
    with_extents: bool,
) -> Result<()> {
    let mut path: [Option<(PageRef, usize)>; TREE_LEVELS_MAX] = [None; TREE_LEVELS_MAX];
    let mut next = Some(*top);
    let mut level = usize::from(top.page.level);
    loop {
        if let Some(child) = next.take() {
            sink.release(&child.page)?;
            if level > 0 {
                let slot = path.get_mut(level).ok_or(Error::Internal(88))?;
                *slot = Some((child.page, 0));
            } else if with_extents && child.extents_below {
                let pin = pager.page(&child.page, table)?;
                let leaf = Leaf::new(pin.bytes());
                release_extents(sink, &leaf, 0, leaf.count())?;
            }
        }
        if level > 0
            && let Some(Some((page, index))) = path.get(level).copied()
        {
            let pin = pager.page(&page, table)?;
            let branch = Branch::new(pin.bytes());
            if index < branch.count() {
                next = Some(checked_child(pager, &branch, index, &page)?);
                if let Some(slot) = path.get_mut(level) {
                    *slot = Some((page, index + 1));
                }
                level -= 1;
                continue;
            }
        }
        if level >= usize::from(top.page.level) {
            return Ok(());
        }
        level += 1;
    }
}
