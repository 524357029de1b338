//! A position in one tree, moved entry by entry in either direction.
//!
//! The cursor pins the leaf it stands on and nothing else. It remembers the
//! reference of the leaf's parent, and of each level above only the index of the
//! child it went to: pages never change, so that the same indices lead from the
//! root to the same leaf at any time. That way is gone again once a parent is
//! exhausted, which is once in some thousand entries, and a cursor is small
//! enough for a reader to hold many.

use super::lookup::{Found, Root, checked_child, damaged};
use crate::error::{CorruptionReason, Error, Result};
use crate::format::branch::Branch;
use crate::format::leaf::{Leaf, LeafEntry, PlainLeaf};
use crate::format::page_ref::PageRef;
use crate::limits::TREE_LEVELS_MAX;
use crate::pager::{Pager, Pin};

/// Where a descent goes at each branch.
#[derive(Clone, Copy)]
enum Towards<'k> {
    Key(&'k [u8]),
    First,
    Last,
}

/// Which of the leaves beside the current one.
#[derive(Clone, Copy)]
enum Direction {
    Next,
    Previous,
}

/// A branch on the way to the current leaf, and its child beside that way.
#[derive(Clone, Copy)]
struct Turning {
    branch: PageRef,
    index: usize,
    child: PageRef,
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
    /// Children of the parent before this one were told the storage.
    told: u16,
    /// By level, the index of the child that the way to the leaf goes to.
    path: [u16; TREE_LEVELS_MAX],
    /// The branch at level 1 on that way; none where the root is a leaf.
    parent: Option<PageRef>,
    leaf: Option<Pin<'p>>,
    index: usize,
    /// Entries of the leaf.
    count: u32,
    /// Where every entry of the leaf is a put without expiry.
    plain: Option<PlainLeaf>,
    /// Where the entry's value begins and ends, as far as a step within a plain leaf
    /// has found it: nothing begins at 0.
    value: (u32, u32),
}

/// A reader holds one for each tree that it merges, on its stack.
const _: () = assert!(size_of::<TreeCursor<'_>>() <= 200);

impl<'p> TreeCursor<'p> {
    /// A cursor that stands nowhere yet.
    #[must_use]
    pub fn new(pager: &'p Pager, root: Root, may_read: bool) -> Self {
        Self {
            pager,
            root,
            may_read,
            told: 0,
            path: [0; TREE_LEVELS_MAX],
            parent: None,
            leaf: None,
            index: 0,
            count: 0,
            plain: None,
            value: (0, 0),
        }
    }

    /// The pages that it reads, and whether from storage.
    #[must_use]
    pub fn reads_from(&self) -> (&'p Pager, bool) {
        (self.pager, self.may_read)
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
        self.plain.is_some()
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

    /// The value that the cursor stands on, where [`is_plain`](Self::is_plain): as
    /// [`entry`](Self::entry) has it, and quicker.
    #[inline]
    #[must_use]
    pub fn plain_value(&self) -> Option<&[u8]> {
        let (Some(pin), Some(plain)) = (&self.leaf, &self.plain) else {
            return None;
        };
        let value = match self.value {
            (0, _) => plain.entry(pin.bytes(), self.index)?.value(),
            (start, end) => start as usize..end as usize,
        };
        pin.bytes().get(value)
    }

    /// Moves to the next entry or the one before, where it stands in the same leaf
    /// and [`is_plain`](Self::is_plain). `key` begins with the present entry's key,
    /// and then with the other's, whose length is the answer. `None` where that isn't
    /// so: then nothing has moved, and what `key` holds is lost.
    #[inline]
    pub fn step_within_leaf(&mut self, forward: bool, key: &mut [u8]) -> Option<usize> {
        let (pin, plain) = (self.leaf.as_ref()?, self.plain.as_ref()?);
        let index = if forward {
            self.index + 1
        } else {
            self.index.wrapping_sub(1)
        };
        if index >= self.count as usize {
            return None;
        }
        let entry = plain.entry(pin.bytes(), index)?;
        let value = entry.value();
        let value = (
            u32::try_from(value.start).ok()?,
            u32::try_from(value.end).ok()?,
        );
        let key_bytes = plain.replace_key(pin.bytes(), index, &entry, key)?;
        self.index = index;
        self.value = value;
        Some(key_bytes)
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
                self.stand_at(self.leaf_view().map_or(0, |leaf| leaf.lower_bound(key)));
                if self.index >= self.count as usize {
                    self.leaf_beside(Direction::Next)?;
                }
                Ok(())
            }
            CursorPosition::Before(key) => {
                self.stand_at(self.leaf_view().map_or(0, |leaf| leaf.lower_bound(key)));
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
        if self.index + 1 < self.count as usize {
            self.stand_at(self.index + 1);
            return Ok(());
        }
        self.leaf_beside(Direction::Next)
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
            self.stand_at(before);
            return Ok(());
        }
        self.leaf_beside(Direction::Previous)
    }

    /// Leaves where the cursor stands, for a [`Descent`](super::Descent): answers the root.
    pub(super) fn leave_for_root(&mut self) -> Option<PageRef> {
        self.leaf = None;
        self.parent = self.root.page.filter(|root| root.level == 1);
        self.root.page
    }

    /// Notes which child of the branch at `level` the way goes to; `false` where no
    /// tree has that level.
    #[inline]
    pub(super) fn note_step(&mut self, level: u8, index: usize) -> bool {
        let step = self.path.get_mut(usize::from(level));
        let (Some(step), Ok(index)) = (step, u16::try_from(index)) else {
            return false;
        };
        *step = index;
        true
    }

    /// Notes the branch at level 1 on the way.
    #[inline]
    pub(super) fn note_parent(&mut self, page: PageRef) {
        self.parent = Some(page);
    }

    /// Takes the leaf of `key`, and the place where that stands or would stand.
    #[inline]
    pub(super) fn arrive(&mut self, pin: Pin<'p>, key: &[u8]) {
        let index = Leaf::new(pin.bytes()).lower_bound(key);
        self.stand_on(pin, false);
        self.stand_at(index);
    }

    /// Behind a descent that led to a leaf, and its traversal: moves to the leaf behind
    /// where no key of this one is at or behind the key sought.
    ///
    /// # Errors
    /// As [`seek`](Self::seek).
    #[inline]
    pub fn end_descent(&mut self) -> Result<()> {
        if self.leaf.is_some() && self.index >= self.count as usize {
            self.leaf_beside(Direction::Next)?;
        }
        Ok(())
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
                    self.remember(&current, index)?;
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
                        self.stand_on(pin, matches!(towards, Towards::Last));
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

    #[inline]
    fn stand_at(&mut self, index: usize) {
        self.index = index;
        self.value = (0, 0);
    }

    /// Takes a leaf, and stands on its first or last entry.
    #[inline]
    fn stand_on(&mut self, pin: Pin<'p>, at_last: bool) {
        let leaf = Leaf::new(pin.bytes());
        let count = leaf.count();
        self.plain = leaf.plain();
        // A page has room for fewer.
        self.count = u32::try_from(count).unwrap_or(0);
        self.stand_at(if at_last { count.saturating_sub(1) } else { 0 });
        self.leaf = Some(pin);
    }

    /// Notes that the way to the leaf goes from `page` to its child at `index`.
    fn remember(&mut self, page: &PageRef, index: usize) -> Result<()> {
        let step = self.path.get_mut(usize::from(page.level));
        let (Some(step), Ok(index)) = (step, u16::try_from(index)) else {
            return Err(damaged(self.pager, page, CorruptionReason::Structure));
        };
        *step = index;
        if page.level == 1 {
            self.parent = Some(*page);
        }
        Ok(())
    }

    /// The child beside the one that the way to the leaf goes to, in the branch of
    /// that level.
    #[inline]
    fn index_beside(&self, level: u8, branch: &Branch<'_>, direction: Direction) -> Option<usize> {
        let index = self.index_at(level);
        match direction {
            Direction::Next => Some(index + 1).filter(|index| *index < branch.count()),
            Direction::Previous => index.checked_sub(1),
        }
    }

    /// Where the way to the leaf goes on from a branch of that level.
    #[inline]
    pub(super) fn index_at(&self, level: u8) -> usize {
        self.path
            .get(usize::from(level))
            .map_or(0, |index| usize::from(*index))
    }

    /// Moves to the near end of the leaf beside this one, or nowhere.
    fn leaf_beside(&mut self, direction: Direction) -> Result<()> {
        self.leaf = None;
        let (Some(root), Some(parent)) = (self.root.page, self.parent) else {
            return Ok(());
        };
        if self.leaf_beside_in_memory(&parent, direction)? {
            return Ok(());
        }
        let pin = self.fetch(&parent)?;
        let branch = Branch::new(pin.bytes());
        let mut turning = self.turning_at(&parent, &branch, direction)?;
        match (&turning, direction) {
            (Some(turning), Direction::Next) if self.pager.read_ahead() > 0 => {
                self.look_ahead(&branch, turning.index);
            }
            (None, _) => self.told = 0,
            _ => {}
        }
        drop(pin);
        if turning.is_none() {
            let mut page = root;
            while page.level > 1 {
                let pin = self.fetch(&page)?;
                let branch = Branch::new(pin.bytes());
                // The lowest counts, which is the last one found.
                turning = self.turning_at(&page, &branch, direction)?.or(turning);
                page = checked_child(self.pager, &branch, self.index_at(page.level), &page)?.page;
            }
        }
        let Some(turning) = turning else {
            return Ok(());
        };
        self.remember(&turning.branch, turning.index)?;
        let towards = match direction {
            Direction::Next => Towards::First,
            Direction::Previous => Towards::Last,
        };
        self.descend(turning.child, towards)
    }

    /// Tells the storage of the leaves behind the child at `index` of their parent, when
    /// half of those that it was told of were read.
    fn look_ahead(&mut self, branch: &Branch<'_>, index: usize) {
        let distance = self.pager.read_ahead();
        let (next, told) = (index + 1, usize::from(self.told));
        // What was told of another parent, or before a seek, says nothing here.
        let told = if (next..=next + distance).contains(&told) {
            told
        } else {
            next
        };
        if told - next > distance / 2 {
            return;
        }
        let end = (next + distance).min(branch.count());
        self.pager.will_read(branch, told..end);
        self.told = u16::try_from(end).unwrap_or(0);
    }

    /// The quick way, by the parent's hints and in one epoch: answers whether both
    /// leaves have one parent, and it and the leaf are in memory.
    fn leaf_beside_in_memory(&mut self, parent: &PageRef, direction: Direction) -> Result<bool> {
        let traversal = self.pager.enter();
        let Some(view) = traversal.page(parent) else {
            return Ok(false);
        };
        let branch = Branch::new(view.bytes());
        let Some(index) = self.index_beside(1, &branch, direction) else {
            return Ok(false);
        };
        let (address, birth) = branch.child_address(index);
        let pin = traversal
            .child(&view, index, address, birth)
            .and_then(|leaf| leaf.pin());
        let Some(pin) = pin else {
            return Ok(false);
        };
        self.remember(parent, index)?;
        self.stand_on(pin, matches!(direction, Direction::Previous));
        Ok(true)
    }

    /// Where the way to the leaf beside this one can leave the present way at `page`.
    fn turning_at(
        &self,
        page: &PageRef,
        branch: &Branch<'_>,
        direction: Direction,
    ) -> Result<Option<Turning>> {
        let Some(index) = self.index_beside(page.level, branch, direction) else {
            return Ok(None);
        };
        let child = checked_child(self.pager, branch, index, page)?.page;
        Ok(Some(Turning {
            branch: *page,
            index,
            child,
        }))
    }
}
