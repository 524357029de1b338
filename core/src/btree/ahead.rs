//! Asking for the memory that several lookups are about to wait for.
//!
//! A lookup waits for memory again and again: for a branch, the frame of its child, a
//! leaf, the cell where the search ends. Who is about to look several keys up has all of
//! them go down together first, a level at a time: while one waits for its page the others
//! ask for theirs. The lookups themselves then find all of it in the caches. It is the
//! idea of group prefetching (Chen, Ailamaki, Gibbons and Mowry, "Improving Hash Join
//! Performance through Prefetching", 2004).
//!
//! Nothing is read from storage, kept or answered: a key whose way leads to a page that
//! isn't in memory is left at that.

use super::Root;
use super::descent::{LINE_BYTES, ask_for_page};
use crate::format::branch::Branch;
use crate::format::leaf::Leaf;
use crate::limits::AHEAD_KEYS_MAX;
use crate::pager::{PageView, Pager};

/// The cell that is sought, with a value of some hundred bytes.
const CELL_LINES: usize = 3;

/// Where the descent for a key is.
#[derive(Clone, Copy)]
struct Place<'t, 'p> {
    page: PageView<'t, 'p>,
    child: usize,
}

/// Asks for the memory of the lookups of `keys`, the first [`AHEAD_KEYS_MAX`] of them.
pub fn prefetch(pager: &Pager, root: &Root, keys: &[&[u8]]) {
    let Some(root) = &root.page else { return };
    let traversal = pager.enter();
    let Some(page) = traversal.page(root) else {
        return;
    };
    let mut places = [None::<Place<'_, '_>>; AHEAD_KEYS_MAX];
    for (place, _) in places.iter_mut().zip(keys) {
        *place = Some(Place { page, child: 0 });
    }
    for level in (0..root.level).rev() {
        for (place, key) in on_the_way(&mut places, keys) {
            place.child = Branch::new(place.page.bytes()).child_index(key);
            place.page.prefetch_hint(place.child);
        }
        for (place, _) in on_the_way(&mut places, keys) {
            place.page.prefetch_hinted(place.child);
        }
        for place in &mut places {
            *place = place.and_then(|Place { page, child }| {
                let (address, birth) = Branch::new(page.bytes()).child_address(child);
                let page = traversal.child(&page, child, address, birth)?;
                ask_for_page(&page, level);
                Some(Place { page, child })
            });
        }
    }
    for (place, key) in on_the_way(&mut places, keys) {
        if let Some(offset) = Leaf::new(place.page.bytes()).cell_sought(key) {
            for line in 0..CELL_LINES {
                place.page.prefetch(offset + line * LINE_BYTES);
            }
        }
    }
}

fn on_the_way<'a, 't, 'p, 'k>(
    places: &'a mut [Option<Place<'t, 'p>>],
    keys: &'a [&'k [u8]],
) -> impl Iterator<Item = (&'a mut Place<'t, 'p>, &'k [u8])> {
    let pairs = places.iter_mut().zip(keys);
    pairs.filter_map(|(place, key)| Some((place.as_mut()?, *key)))
}
