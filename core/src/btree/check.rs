//! The integrity walk: every page of a tree, read from the medium.
//!
//! A reader checks a page when it loads it, and only against the reference that led
//! to it. The walk checks what no single page can show: that every key lies between
//! the separators above it, and that counts, earliest expiry and extents flags of
//! the child records sum up what is really below them.
//!
//! It goes depth first without recursion, one page a level in the caller's buffer,
//! past the frames: what is in memory says nothing about the medium.

use super::lookup::{Root, checked_child, damaged};
use crate::error::{CorruptionReason, Error, Result};
use crate::format::branch::{Branch, Child};
use crate::format::catalogue::RootRecord;
use crate::format::leaf::{EntryKind, Leaf};
use crate::format::page_ref::PageRef;
use crate::limits::TREE_LEVELS_MAX;
use crate::pager::{Layout, Pager};
use core::cmp::Ordering;

/// What a walk came by.
#[derive(Debug, Clone, Copy)]
pub enum Visited<'a> {
    /// A page, before it is read.
    Page(&'a PageRef),
    /// The extent that an entry's reference names (FORMAT.md 2.6).
    Extent {
        /// The entry's key.
        key: &'a [u8],
        /// The reference.
        reference: &'a [u8],
    },
}

/// A page on the way to where the walk is.
#[derive(Clone, Copy)]
struct Step {
    /// The page and what its parent's record says of it.
    claimed: Child,
    /// The child that is being walked.
    index: usize,
    /// What was found below so far.
    found: RootRecord,
}

/// Bytes of buffer that [`check_tree`] takes for a tree whose root has this level.
#[must_use]
pub fn check_buffer_bytes(layout: &Layout, root_level: u8) -> usize {
    (usize::from(root_level) + 2) * layout.plain_bytes
}

/// Walks the tree at `root` and answers what is in it, for the caller to compare
/// with the tree's root record. Calls `visit` for each page and each extent, so that
/// the caller can compare them with the bitmaps and find what is used twice.
///
/// # Errors
/// The first damage found, with the page's offset; I/O; what `visit` answers; a
/// buffer shorter than [`check_buffer_bytes`].
pub fn check_tree(
    pager: &Pager,
    root: &Root,
    buffer: &mut [u8],
    visit: &mut dyn FnMut(Visited<'_>) -> Result<()>,
) -> Result<RootRecord> {
    let Some(page) = root.page else {
        return Ok(RootRecord::default());
    };
    let page_bytes = pager.layout().plain_bytes;
    let is_deep = usize::from(page.level) >= TREE_LEVELS_MAX;
    if is_deep {
        return Err(damaged(pager, &page, CorruptionReason::Structure));
    }
    let (key, pages) = buffer
        .split_at_mut_checked(page_bytes)
        .ok_or(Error::Internal(80))?;
    let mut walk = Walk {
        pager,
        table: root.table,
        top: usize::from(page.level),
        key,
        pages,
        path: [None; TREE_LEVELS_MAX],
    };
    // Nothing is claimed of the root here.
    let mut next = Some(Child {
        page,
        count: 0,
        earliest_expiry_ms: None,
        extents_below: false,
    });
    let mut level = walk.top;
    loop {
        if let Some(child) = next.take() {
            visit(Visited::Page(&child.page))?;
            walk.read(level, child)?;
        }
        let step = walk.step(level)?;
        if level == 0 {
            walk.sum_leaf(visit)?;
        } else if let Some(child) = walk.child(level, &step)? {
            next = Some(child);
            level -= 1;
            continue;
        }
        // Everything below this page was seen.
        let step = walk.step(level)?;
        if level == walk.top {
            return Ok(RootRecord {
                root: Some(page),
                ..step.found
            });
        }
        walk.check_claim(&step)?;
        level += 1;
        walk.add(level, &step.found)?;
    }
}

struct Walk<'a> {
    pager: &'a Pager,
    table: u32,
    top: usize,
    key: &'a mut [u8],
    /// One page a level, from the leaf up.
    pages: &'a mut [u8],
    path: [Option<Step>; TREE_LEVELS_MAX],
}

impl Walk<'_> {
    fn step(&self, level: usize) -> Result<Step> {
        let step = self.path.get(level).copied().flatten();
        step.ok_or(Error::Internal(81))
    }

    fn page(&self, level: usize) -> Result<&[u8]> {
        let page_bytes = self.pager.layout().plain_bytes;
        let start = level * page_bytes;
        self.pages
            .get(start..start + page_bytes)
            .ok_or(Error::Internal(82))
    }

    /// Reads a page into its level's place and checks its keys' bounds.
    fn read(&mut self, level: usize, claimed: Child) -> Result<()> {
        let page_bytes = self.pager.layout().plain_bytes;
        let start = level * page_bytes;
        let plain = self
            .pages
            .get_mut(start..start + page_bytes)
            .ok_or(Error::Internal(83))?;
        self.pager.read_into(&claimed.page, self.table, plain)?;
        if let Some(slot) = self.path.get_mut(level) {
            *slot = Some(Step {
                claimed,
                index: 0,
                found: RootRecord::default(),
            });
        }
        let is_empty = level == 0 && Leaf::new(self.page(0)?).count() == 0;
        if is_empty {
            return Err(damaged(
                self.pager,
                &claimed.page,
                CorruptionReason::Structure,
            ));
        }
        self.check_bounds(level, &claimed.page)
    }

    /// Whether the first and last key of a page lie in the range that the branches
    /// above give it; within the page the order was checked when it was read.
    fn check_bounds(&mut self, level: usize, page: &PageRef) -> Result<()> {
        let outside = damaged(self.pager, page, CorruptionReason::KeyOrder);
        if let Some(length) = self.copy_bound(level, Bound::Low)?
            && self.compare_end(level, Bound::Low, length)? == Some(Ordering::Less)
        {
            return Err(outside);
        }
        if let Some(length) = self.copy_bound(level, Bound::High)?
            && self
                .compare_end(level, Bound::High, length)?
                .is_some_and(|order| order != Ordering::Less)
        {
            return Err(outside);
        }
        Ok(())
    }

    /// Copies the nearest separator on one side of a page from the branches above.
    fn copy_bound(&mut self, level: usize, bound: Bound) -> Result<Option<usize>> {
        let page_bytes = self.pager.layout().plain_bytes;
        for above in level + 1..=self.top {
            let step = self.step(above)?;
            let start = above * page_bytes;
            let page = self.pages.get(start..start + page_bytes);
            let branch = Branch::new(page.ok_or(Error::Internal(84))?);
            let separator = match bound {
                Bound::Low => step.index.checked_sub(1),
                Bound::High => Some(step.index).filter(|index| index + 1 < branch.count()),
            };
            if let Some(separator) = separator {
                return Ok(Some(branch.copy_separator(separator, self.key)));
            }
        }
        Ok(None)
    }

    /// How the first or last key of a page compares with the bound in `key`; none
    /// for a branch without separators.
    fn compare_end(&self, level: usize, end: Bound, length: usize) -> Result<Option<Ordering>> {
        let key = self.key.get(..length).ok_or(Error::Internal(85))?;
        let page = self.page(level)?;
        let count = if level == 0 {
            Leaf::new(page).count()
        } else {
            Branch::new(page).count().saturating_sub(1)
        };
        let index = match end {
            Bound::Low => 0,
            Bound::High => count.saturating_sub(1),
        };
        Ok((count > 0).then(|| {
            if level == 0 {
                Leaf::new(page).compare_key(index, key)
            } else {
                Branch::new(page).compare_separator(index, key)
            }
        }))
    }

    /// The child of a branch that comes next, or none behind the last.
    fn child(&self, level: usize, step: &Step) -> Result<Option<Child>> {
        let branch = Branch::new(self.page(level)?);
        if step.index >= branch.count() {
            return Ok(None);
        }
        checked_child(self.pager, &branch, step.index, &step.claimed.page).map(Some)
    }

    fn sum_leaf(&mut self, visit: &mut dyn FnMut(Visited<'_>) -> Result<()>) -> Result<()> {
        let page_bytes = self.pager.layout().plain_bytes;
        let page = self.pages.get(..page_bytes).ok_or(Error::Internal(89))?;
        let leaf = Leaf::new(page);
        let mut found = RootRecord::default();
        for index in 0..leaf.count() {
            let entry = leaf.entry(index);
            let is_extent = entry.kind == EntryKind::Extent;
            if is_extent {
                let length = leaf.copy_key(index, self.key);
                visit(Visited::Extent {
                    key: self.key.get(..length).unwrap_or(&[]),
                    reference: entry.value,
                })?;
            }
            sum(
                &mut found,
                &RootRecord {
                    root: None,
                    entries: 1,
                    earliest_expiry_ms: entry.expiry_ms,
                    extents_below: is_extent,
                },
            );
        }
        if let Some(Some(step)) = self.path.get_mut(0) {
            step.found = found;
        }
        Ok(())
    }

    /// Whether a page's record in its parent says what was found.
    fn check_claim(&self, step: &Step) -> Result<()> {
        let Step { claimed, found, .. } = step;
        if claimed.count == found.entries
            && claimed.earliest_expiry_ms == found.earliest_expiry_ms
            && claimed.extents_below == found.extents_below
        {
            Ok(())
        } else {
            Err(damaged(self.pager, &claimed.page, CorruptionReason::Count))
        }
    }

    /// Adds what was found below a child to its parent, which goes on to the next.
    fn add(&mut self, level: usize, found: &RootRecord) -> Result<()> {
        let step = self.path.get_mut(level).and_then(Option::as_mut);
        let step = step.ok_or(Error::Internal(86))?;
        sum(&mut step.found, found);
        step.index += 1;
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Bound {
    /// Inclusive.
    Low,
    /// Exclusive.
    High,
}

fn sum(total: &mut RootRecord, part: &RootRecord) {
    total.entries = total.entries.saturating_add(part.entries);
    total.earliest_expiry_ms = match (total.earliest_expiry_ms, part.earliest_expiry_ms) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
    total.extents_below |= part.extents_below;
}

#[cfg(test)]
mod tests;
