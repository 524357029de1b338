//! Reading the trees from the medium a little at a time, to find damage before it is needed.
//!
//! Each call goes on where the one before stopped, by table and key, in the trees as they
//! are then: what was merged meanwhile is met or not, and a round that nothing was merged
//! in has met every page. A snapshot is held for the length of a call only, and nothing
//! else, so that nobody waits. What is in memory is read again; what stands above the
//! trees isn't read: it was written not long ago, and is read when it is merged.

use super::verify::read_whole_extent;
use super::{Engine, Snapshot};
use crate::btree::{ChildWalk, CursorPosition, Root, TreeCursor};
use crate::error::{Error, Result};
use crate::format::branch::Child;
use crate::format::extent::ExtentRef;
use crate::format::leaf::{EntryKind, Leaf};
use crate::format::page_ref::{PageKind, PageRef};
use crate::limits::key_bytes_max;

/// Where the next call goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ScrubPlace {
    table: u32,
    /// Bytes of the caller's buffer that hold the key.
    key_bytes: usize,
}

/// What a call read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// Pages, those of large values included.
    pub pages: u64,
    /// Whether it came to the end of all tables: the next call begins anew.
    pub is_round: bool,
}

impl Engine {
    /// Bytes of buffer that [`scrub`](Self::scrub) takes, to be kept as they are from one
    /// call to the next.
    #[must_use]
    pub fn scrub_buffer_bytes(&self) -> usize {
        2 * self.key_bytes_max() + self.pager.layout().plain_bytes
    }

    /// Reads some pages of the trees from the medium, at least `pages_min`, or all that are
    /// left, and checks them: checksum, place, order within. One large value is read whole.
    ///
    /// # Errors
    /// The first damage found: the next call begins anew. I/O;
    /// [`Error::OverLimit`] when as many snapshots are open as were planned.
    pub fn scrub(
        &self,
        place: &mut ScrubPlace,
        pages_min: u64,
        buffer: &mut [u8],
    ) -> Result<Scrubbed> {
        let snapshot = self.snapshot(0)?;
        let from = core::mem::take(place);
        let outcome = self.scrub_in(&snapshot, from, place, pages_min, buffer);
        self.end(snapshot);
        outcome
    }

    fn scrub_in(
        &self,
        snapshot: &Snapshot,
        from: ScrubPlace,
        next: &mut ScrubPlace,
        pages_min: u64,
        buffer: &mut [u8],
    ) -> Result<Scrubbed> {
        let key_bytes = key_bytes_max(self.pager.layout().page_bytes);
        let (key, rest) = buffer
            .split_at_mut_checked(key_bytes)
            .ok_or(Error::Internal(350))?;
        let (low, plain) = rest
            .split_at_mut_checked(key_bytes)
            .ok_or(Error::Internal(351))?;
        let plain = plain
            .get_mut(..self.pager.layout().plain_bytes)
            .ok_or(Error::Internal(352))?;
        let roots = self.front.versions.roots(snapshot);
        let roots = Root {
            page: roots.as_ref().copied(),
            table: 0,
        };
        let mut scrubbed = Scrubbed::default();
        let mut root = roots;
        if from.table > 0 {
            let record = self.root_record(roots.page.as_ref(), from.table, true)?;
            root = Root {
                page: record.root,
                table: from.table,
            };
        }
        let mut from_bytes = from.key_bytes;
        loop {
            let claimed = root.page.map(|page| Child {
                page,
                count: 0,
                earliest_expiry_ms: None,
                extents_below: false,
            });
            let mut walk = ChildWalk::new(&self.pager, root.table, claimed);
            let start = key.get(..from_bytes).ok_or(Error::Internal(353))?;
            while let Some((child, low_bytes)) = walk.next(start, low, &|_| true)? {
                // The branches above the place are answered again: they don't count, or a
                // call might never come further.
                let lowest = low.get(..low_bytes).ok_or(Error::Internal(354))?;
                if scrubbed.pages >= pages_min && lowest > start {
                    let place = key.get_mut(..low_bytes).ok_or(Error::Internal(355))?;
                    place.copy_from_slice(lowest);
                    *next = ScrubPlace {
                        table: root.table,
                        key_bytes: low_bytes,
                    };
                    return Ok(scrubbed);
                }
                scrubbed.pages += self.scrub_page(&child.page, root.table, plain)?;
            }
            from_bytes = 0;
            match self.table_after(&roots, root.table)? {
                Some(after) if scrubbed.pages < pages_min => root = after,
                Some(after) => {
                    next.table = after.table;
                    return Ok(scrubbed);
                }
                None => {
                    scrubbed.is_round = true;
                    return Ok(scrubbed);
                }
            }
        }
    }

    /// The tree behind that of `table`, in the order of tables.
    fn table_after(&self, roots: &Root, table: u32) -> Result<Option<Root>> {
        let mut cursor = TreeCursor::new(&self.pager, *roots, true);
        let Some(least) = table.checked_add(1) else {
            return Ok(None);
        };
        cursor.seek(CursorPosition::AtOrAfter(&least.to_be_bytes()))?;
        if !cursor.is_valid() {
            return Ok(None);
        }
        let mut key = [0; 4];
        cursor.copy_key(&mut key);
        let table = u32::from_be_bytes(key);
        let record = self.root_record(roots.page.as_ref(), table, true)?;
        Ok(Some(Root {
            page: record.root,
            table,
        }))
    }

    /// Reads a page, and the values that it refers to; answers how many pages that were.
    fn scrub_page(&self, page: &PageRef, table: u32, plain: &mut [u8]) -> Result<u64> {
        self.pager.read_into(page, table, plain)?;
        let mut pages = 1;
        if page.kind != PageKind::Leaf || table == 0 {
            return Ok(pages);
        }
        let mut index = 0;
        loop {
            let leaf = Leaf::new(plain);
            let mut later = index..leaf.count();
            let Some(found) = later.find(|at| leaf.entry(*at).kind == EntryKind::Extent) else {
                return Ok(pages);
            };
            index = found + 1;
            let extent = ExtentRef::decode(leaf.entry(found).value).ok_or_else(|| {
                let offset = self.pager.layout().offset(page.address);
                let reason = crate::error::CorruptionReason::Structure;
                let file = lightning_platform::File::Pages;
                Error::corrupt(reason, file, offset.unwrap_or(u64::MAX))
            })?;
            read_whole_extent(&self.pager, &extent, table, plain)?;
            pages += extent.chunks(self.pager.layout().chunk_page_bytes());
            // The value's pages stand where the leaf did.
            self.pager.read_into(page, table, plain)?;
        }
    }
}
