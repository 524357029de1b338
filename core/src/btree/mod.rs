//! Copy-on-write B+trees: looked up and walked by readers, rebuilt by merges.
//!
//! A tree is its root's reference. Readers hold one and see that tree for ever;
//! nobody changes a page. A writer gives an *editor* the old root and a stream of
//! changes in key order; the editor copies what the changes touch, keeps the
//! rest by reference, and answers the new root. Bulk load is the editor over no
//! old tree.
//!
//! # Invariants
//! * Entries ascend strictly; every leaf is at level 0 and every path equally long.
//! * Child *i* of a branch holds the keys from separator *i - 1* (inclusive) to
//!   separator *i* (exclusive); counts, earliest expiry and the extents flag of a
//!   child record sum up what is below it.
//! * No page but the root is empty, and a page that the editor finished is half
//!   full at least, unless it is the last of its parent.

mod ahead;
mod change;
mod check;
mod cursor;
mod descent;
mod edit;
mod item;
mod lookup;
mod stage;
#[cfg(test)]
mod tests;
mod walk;

pub use ahead::prefetch;
pub use change::{Change, PageSink, StoreSink};
pub use check::{Visited, check_buffer_bytes, check_tree};
pub use cursor::{CursorPosition, TreeCursor};
pub use descent::{Descent, Step};
pub use edit::{Editor, release_below, release_tree};
pub use lookup::{Found, Root, count_below, get, with_leaf};
pub use walk::{ChildWalk, any_on_path};
