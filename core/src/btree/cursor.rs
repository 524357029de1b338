//! A position in one tree, moved entry by entry in either direction.
//!
//! The cursor pins the leaf it stands on and nothing else. For the levels above
//! it remembers the reference and the child's index: pages never change, so that
//! they can be fetched again at any time, mostly by one probe.

use super::lookup::{Found, Root, checked_child, damaged};
use crate::error::{CorruptionReason, Error, Result};
use crate::format::branch::Branch;
use crate::format::leaf::{Leaf, LeafEntry};
use crate::format::page_ref::PageRef;
use crate::limits::TREE_LEVELS_MAX;
use crate::pager::{Pager, Pin};

#[derive(Clone, Copy)]
struct Step {
    page: PageRef,
    index: usize,
}

/// Where a descent goes at each branch.
#[derive(Clone, Copy)]
enum Towards<'k> {
    Key(&'k [u8]),
    First,
    Last,
}

/// Which side of a key a cursor is put on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CursorPosition<'k> {
    /// The first entry.
    First,
    /// The last entry.
    Last,
    /// The first entry whose key is not below this one.
    AtOrAfter(&'k [u8]),
    /// The last entry whose key is below this one.
    Before(&'k [u8]),
}

/// A cursor over one tree.
pub struct TreeCursor<'p> {
    pager: &'p Pager,
    root: Root,
    may_read: bool,
    path: [Option<Step>; TREE_LEVELS_MAX],
    leaf: Option<Pin<'p>>,
    index: usize,
    /// Of the leaf: its entries, and whether all are puts that don't expire.
    count: usize,
    is_plain: bool,
}

impl<'p> TreeCursor<'p> {
    /// A cursor that stands nowhere yet.
    #[must_use]
    pub fn new(pager: &'p Pager, root: Root, may_read: bool) -> Self {
        Self {
            pager,
            root,
            may_read,
            path: [None; TREE_LEVELS_MAX],
            leaf: None,
            index: 0,
            count: 0,
            is_plain: false,
        }
    }

    /// Whether the cursor stands on an entry.
    #[inline]
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.leaf.is_some()
    }

    /// Whether every entry of the leaf that the cursor stands on is a put without
    /// expiry.
    #[inline]
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// The entry that the cursor stands on.
    #[inline]
    #[must_use]
    pub fn entry(&self) -> Option<LeafEntry<'_>> {
        self.leaf
            .as_ref()
            .map(|pin| Leaf::new(pin.bytes()).entry(self.index))
    }

    /// The entry that the cursor stands on, its page pinned.
    #[must_use]
    pub fn into_found(self) -> Option<Found<'p>> {
        let index = self.index;
        self.leaf.map(|pin| {
            let entry = Leaf::new(pin.bytes()).entry(index);
            let (kind, sequence) = (entry.kind, entry.sequence);
            let (expiry_ms, metadata) = (entry.expiry_ms, entry.metadata);
            Found {
                pin,
                index,
                kind,
                sequence,
                expiry_ms,
                metadata,
            }
        })
    }

    /// Copies the key that the cursor stands on into `buffer`; answers its length.
    #[inline]
    pub fn copy_key(&self, buffer: &mut [u8]) -> usize {
        self.leaf
            .as_ref()
            .map_or(0, |pin| Leaf::new(pin.bytes()).copy_key(self.index, buffer))
    }

    /// Compares the key that the cursor stands on with another.
    #[must_use]
    pub fn compare_key(&self, key: &[u8]) -> Option<core::cmp::Ordering> {
        self.leaf
            .as_ref()
            .map(|pin| Leaf::new(pin.bytes()).compare_key(self.index, key))
    }

    /// Moves to a position; afterwards the cursor stands on an entry, or nowhere.
    ///
    /// # Errors
    /// I/O or corruption; [`Error::WouldRead`] where reading was not allowed.
    pub fn seek(&mut self, position: CursorPosition<'_>) -> Result<()> {
        self.leaf = None;
        let Some(root) = self.root.page else {
            return Ok(());
        };
        let towards = match position {
            CursorPosition::First => Towards::First,
            CursorPosition::Last => Towards::Last,
            CursorPosition::AtOrAfter(key) | CursorPosition::Before(key) => Towards::Key(key),
        };
        self.descend(root, towards)?;
        match position {
            CursorPosition::First | CursorPosition::Last => Ok(()),
            CursorPosition::AtOrAfter(key) => {
                self.index = self.leaf_view().map_or(0, |leaf| leaf.lower_bound(key));
                if self
                    .leaf_view()
                    .is_some_and(|leaf| self.index >= leaf.count())
                {
                    self.next_leaf()?;
                }
                Ok(())
            }
            CursorPosition::Before(key) => {
                self.index = self.leaf_view().map_or(0, |leaf| leaf.lower_bound(key));
                self.retreat()
            }
        }
    }

    /// Moves to the next entry, or past the end.
    ///
    /// # Errors
    /// As [`seek`](Self::seek); the cursor then stands nowhere.
    #[inline]
    pub fn advance(&mut self) -> Result<()> {
        if self.leaf.is_none() {
            return Ok(());
        }
        if self.index + 1 < self.count {
            self.index += 1;
            return Ok(());
        }
        self.next_leaf()
    }

    /// Moves to the entry before, or past the beginning.
    ///
    /// # Errors
    /// As [`seek`](Self::seek); the cursor then stands nowhere.
    #[inline]
    pub fn retreat(&mut self) -> Result<()> {
        if self.leaf.is_none() {
            return Ok(());
        }
        if let Some(before) = self.index.checked_sub(1) {
            self.index = before;
            return Ok(());
        }
        self.previous_leaf()
    }

    #[inline]
    fn leaf_view(&self) -> Option<Leaf<'_>> {
        self.leaf.as_ref().map(|pin| Leaf::new(pin.bytes()))
    }

    fn fetch(&self, page: &PageRef) -> Result<Pin<'p>> {
        if self.may_read {
            return self.pager.page(page, self.root.table);
        }
        let traversal = self.pager.enter();
        traversal
            .page(page)
            .and_then(|view| view.pin())
            .ok_or(Error::WouldRead)
    }

    /// Goes down from `page` to a leaf, remembering the way.
    fn descend(&mut self, page: PageRef, towards: Towards<'_>) -> Result<()> {
        let mut current = page;
        let mut pin: Option<Pin<'p>> = None;
        self.leaf = None;
        'from_memory: loop {
            let missing = 'missing: {
                let traversal = self.pager.enter();
                let start = match &pin {
                    Some(pin) => Some(traversal.pinned(pin)),
                    None => traversal.page(&current),
                };
                let Some(mut view) = start else {
                    break 'missing current;
                };
                while current.level > 0 {
                    let branch = Branch::new(view.bytes());
                    let index = match towards {
                        Towards::Key(key) => branch.child_index(key),
                        Towards::First => 0,
                        Towards::Last => branch.count().saturating_sub(1),
                    };
                    let child = checked_child(self.pager, &branch, index, &current)?.page;
                    let step = self
                        .path
                        .get_mut(usize::from(current.level))
                        .ok_or_else(|| {
                            damaged(self.pager, &current, CorruptionReason::Structure)
                        })?;
                    *step = Some(Step {
                        page: current,
                        index,
                    });
                    let found =
                        traversal.child(&view, index, child.address, child.birth_generation);
                    current = child;
                    match found {
                        Some(child) => view = child,
                        None => break 'missing child,
                    }
                }
                match view.pin() {
                    Some(pin) => {
                        let leaf = Leaf::new(view.bytes());
                        self.count = leaf.count();
                        self.is_plain = leaf.is_plain() && !leaf.is_sequenced();
                        self.index = match towards {
                            Towards::Last => self.count.saturating_sub(1),
                            _ => 0,
                        };
                        self.leaf = Some(pin);
                        return Ok(());
                    }
                    // Just being evicted: fetch it again.
                    None => break 'missing current,
                }
            };
            drop(pin.take());
            pin = Some(self.fetch(&missing)?);
            continue 'from_memory;
        }
    }

    fn next_leaf(&mut self) -> Result<()> {
        self.leaf = None;
        let Some(root) = self.root.page else {
            return Ok(());
        };
        for level in 1..=usize::from(root.level) {
            let Some(Some(step)) = self.path.get(level).copied() else {
                return Ok(());
            };
            let pin = self.fetch(&step.page)?;
            let branch = Branch::new(pin.bytes());
            if step.index + 1 < branch.count() {
                let child = checked_child(self.pager, &branch, step.index + 1, &step.page)?;
                if let Some(slot) = self.path.get_mut(level) {
                    *slot = Some(Step {
                        index: step.index + 1,
                        ..step
                    });
                }
                drop(pin);
                return self.descend(child.page, Towards::First);
            }
        }
        Ok(())
    }

    fn previous_leaf(&mut self) -> Result<()> {
        self.leaf = None;
        let Some(root) = self.root.page else {
            return Ok(());
        };
        for level in 1..=usize::from(root.level) {
            let Some(Some(step)) = self.path.get(level).copied() else {
                return Ok(());
            };
            if let Some(before) = step.index.checked_sub(1) {
                let pin = self.fetch(&step.page)?;
                let branch = Branch::new(pin.bytes());
                let child = checked_child(self.pager, &branch, before, &step.page)?;
                if let Some(slot) = self.path.get_mut(level) {
                    *slot = Some(Step {
                        index: before,
                        ..step
                    });
                }
                drop(pin);
                return self.descend(child.page, Towards::Last);
            }
        }
        Ok(())
    }
}
