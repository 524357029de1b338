//! Descents into several trees, a step of each in turn.
//!
//! A descent waits for memory again and again: for a branch's hint, the frame that it
//! names, the page in it, the cell where the search ends. Who goes down several trees
//! at once has them take turns: a step uses what it asked for at the step before, and
//! asks for what the next one uses, which comes while the others take their steps.
//!
//! All of it is one traversal: a descent that meets a page which isn't in memory ends
//! there, and the cursor is to be put in place in the ordinary way.

use super::cursor::TreeCursor;
use crate::format::branch::Branch;
use crate::format::leaf::Leaf;
use crate::pager::{PageView, Traversal};

/// Bytes of a cache line, about: where it is another number, time is lost.
pub(super) const LINE_BYTES: usize = 64;
/// The first lines of a leaf hold its header and heads.
const LEAF_LINES: usize = 3;
/// The cell where the search ends is read, and mostly the one behind it.
const CELL_LINES: usize = 5;
/// A search in a branch begins in the middle of its heads.
const BRANCH_LINES: [usize; 5] = [0, 1, 3, 5, 7];

/// What was asked for.
#[derive(Clone, Copy)]
enum Awaited {
    Page,
    Hint,
    Frame,
    Cell,
}

/// Where a descent is.
#[derive(Clone, Copy)]
pub struct Descent<'t, 'p> {
    page: PageView<'t, 'p>,
    level: u8,
    awaited: Awaited,
}

/// What a step led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// There are more.
    Further,
    /// The cursor has its leaf, see [`TreeCursor::end_descent`].
    There,
    /// A page isn't in memory.
    Missing,
}

impl<'t, 'p> Descent<'t, 'p> {
    /// The descent of a cursor from its tree's root; `None` where there is none, or it
    /// isn't in memory. The cursor stands nowhere then.
    #[must_use]
    pub fn begin(cursor: &mut TreeCursor<'p>, traversal: &'t Traversal<'p>) -> Option<Self> {
        let root = cursor.leave_for_root()?;
        let descent = Self {
            page: traversal.page(&root)?,
            level: root.level,
            awaited: Awaited::Page,
        };
        descent.ask_for_page();
        Some(descent)
    }

    /// A step towards the first key that isn't below `key`.
    #[inline]
    pub fn step(
        &mut self,
        cursor: &mut TreeCursor<'p>,
        traversal: &'t Traversal<'p>,
        key: &[u8],
    ) -> Step {
        match self.awaited {
            Awaited::Page if self.level == 0 => {
                if let Some(offset) = Leaf::new(self.page.bytes()).cell_sought(key) {
                    for line in 0..CELL_LINES {
                        self.page.prefetch(offset + line * LINE_BYTES);
                    }
                }
                self.awaited = Awaited::Cell;
            }
            Awaited::Page => {
                let index = Branch::new(self.page.bytes()).child_index(key);
                if !cursor.note_step(self.level, index) {
                    return Step::Missing;
                }
                self.page.prefetch_hint(index);
                self.awaited = Awaited::Hint;
            }
            Awaited::Hint => {
                self.page.prefetch_hinted(cursor.index_at(self.level));
                self.awaited = Awaited::Frame;
            }
            Awaited::Frame => {
                let branch = Branch::new(self.page.bytes());
                let index = cursor.index_at(self.level);
                let (address, birth) = branch.child_address(index);
                let Some(child) = traversal.child(&self.page, index, address, birth) else {
                    return Step::Missing;
                };
                if self.level == 2 {
                    cursor.note_parent(branch.child(index).page);
                }
                self.page = child;
                self.level -= 1;
                self.ask_for_page();
                self.awaited = Awaited::Page;
            }
            Awaited::Cell => {
                return match self.page.pin() {
                    Some(pin) => {
                        cursor.arrive(pin, key);
                        Step::There
                    }
                    None => Step::Missing,
                };
            }
        }
        Step::Further
    }

    #[inline]
    fn ask_for_page(&self) {
        ask_for_page(&self.page, self.level);
    }
}

/// Asks for what a search in a page looks at first.
#[inline]
pub(super) fn ask_for_page(page: &PageView<'_, '_>, level: u8) {
    if level == 0 {
        for line in 0..LEAF_LINES {
            page.prefetch(line * LINE_BYTES);
        }
    } else {
        for line in BRANCH_LINES {
            page.prefetch(line * LINE_BYTES);
        }
    }
}
