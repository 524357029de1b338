//! Writing chosen pages of the trees again, in slices.
//!
//! What is rewritten says the same as before, for every snapshot that begins from now on:
//! pages get another place (`shorten`, `evacuate`), or lose what has expired (`sweep`). So
//! nothing of it is in the log, and a power cut leaves the state before a slice or the one
//! after.
//!
//! # Protocol
//! One call does one slice, from choosing pages to the flip, so that between two calls
//! nothing is being built, and what writers wait for is done first. A slice goes over the
//! tables and the trees in key order, from the place where the last one ended; branches
//! say which pages below them are chosen, and others are not read. It ends when it has
//! written or looked at as much as it may. Then the changed roots are published.
//!
//! # Invariants
//! * While extents are moved or removed, no merge is under way, of runs or of a memtable,
//!   and none was when the database was closed: the extents that a merge did put into the
//!   trees are its sources' still. A value written by stream of which the log has the
//!   reference, too, stays where it is. Pages alone may be moved between two slices of a
//!   merge: the trees say the same.
//! * A merge that begins ends the round of `shorten` and `sweep`: the place of the next
//!   slice is kept where a merge keeps its own.
//! * The trees change between two slices, where writers come. A place in the order of
//!   keys stays a place; what was passed and changed meanwhile is for the next round.
//! * An old page goes on the pending list of the flip, as with any edit, so that snapshots
//!   that are open keep what they read.

use super::maintain::Publishing;
use super::{Engine, Maintenance};
use crate::btree::{Change, ChildWalk, CursorPosition, Root, StoreSink, TreeCursor, any_on_path};
use crate::error::{CorruptionReason, Error, Result};
use crate::format::branch::Child;
use crate::format::catalogue::RootRecord;
use crate::format::extent::{EXTENT_REF_BYTES, ExtentRef};
use crate::format::leaf::{EntryKind, Leaf};
use crate::format::page_ref::PageRef;
use crate::pager::{PageStore, Pager};
use lightning_platform::File;

/// Blocks that a slice writes at least.
pub(super) const SLICE_BLOCKS_MIN: u64 = 16;
/// Pages and tables that one slice looks at.
const LOOKS_MAX: u32 = 1_024;

/// Which pages are written again, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Those that don't lie wholly below an address, to lie lower.
    Move {
        /// The address.
        limit: u64,
    },
    /// Those that lie in blocks of which no more than half is alive, to be packed.
    Evacuate {
        /// Whether extents are moved, too.
        extents: bool,
    },
    /// Those with entries that expire at or before a time, to be without them.
    Sweep {
        /// The time, in milliseconds since 1970.
        now_ms: u64,
    },
}

/// What a slice did.
pub(super) struct Rewritten {
    /// Whether it came to the end.
    pub is_last: bool,
    /// Whether it has changed anything.
    pub has_changed: bool,
    /// Pages that it moved, and extents.
    pub moved: u64,
}

/// A slice that is being built.
struct Slice {
    purpose: Purpose,
    start_bytes: u64,
    bytes: u64,
    looks: u32,
    moved: u64,
    moved_bytes: u64,
}

impl Slice {
    fn is_full(&self, store: &PageStore) -> bool {
        // What is moved may stand in a buffer yet.
        let written = store.written_bytes().saturating_sub(self.start_bytes);
        let is_full = written.max(self.moved_bytes) >= self.bytes;
        // Branches that an evacuating slice writes last may lie in a block that is hardly
        // filled. Were it to end with them alone, the next one would do the same.
        let is_further = self.moved > 0 || !matches!(self.purpose, Purpose::Evacuate { .. });
        self.looks >= LOOKS_MAX || is_full && is_further
    }

    /// Counts a page or an extent that lies behind the place where the slice began.
    fn note_moved(&mut self, pager: &Pager, units: u64) {
        self.moved += 1;
        self.moved_bytes += units * pager.layout().unit_bytes as u64;
    }
}

impl Purpose {
    /// Whether a page is to be looked at.
    fn chooses(&self, pager: &Pager, store: &PageStore, child: &Child) -> bool {
        let is_on_the_way = !matches!(self, Self::Sweep { .. }) && child.page.level > 0;
        is_on_the_way || self.moves(pager, store, &child.page) || self.changes_below(child)
    }

    /// Whether a page itself is to be written again, whatever stands in it.
    fn moves(&self, pager: &Pager, store: &PageStore, page: &PageRef) -> bool {
        let units = u64::from(page.units);
        match self {
            Self::Move { limit } => page.address + units > *limit,
            Self::Evacuate { .. } => store.is_in_sparse_block(pager.layout(), page.address, units),
            Self::Sweep { .. } => false,
        }
    }

    /// Whether a page of the roots tree is. Where pages are packed, each slice leaves the
    /// branches of that tree in a block that is hardly filled: they are no reason to
    /// write all roots again.
    fn moves_roots(
        &self,
        pager: &Pager,
        store: &PageStore,
        roots: &PageRef,
        page: &PageRef,
    ) -> bool {
        let is_reason = match self {
            Self::Move { .. } => true,
            Self::Evacuate { .. } => page.level == 0 && roots.level > 0,
            Self::Sweep { .. } => false,
        };
        is_reason && self.moves(pager, store, page)
    }

    /// Whether an entry below may have to be changed.
    fn changes_below(&self, child: &Child) -> bool {
        match self {
            Self::Move { .. } => child.extents_below,
            Self::Evacuate { extents } => *extents && child.extents_below,
            Self::Sweep { now_ms } => has_expired(child.earliest_expiry_ms, *now_ms),
        }
    }
}

/// Whether what expires at `expiry_ms`, if ever, has at `now_ms`.
pub(super) fn has_expired(expiry_ms: Option<u64>, now_ms: u64) -> bool {
    expiry_ms.is_some_and(|expiry_ms| expiry_ms <= now_ms)
}

impl Engine {
    /// Begins a round at the first table.
    pub(super) fn begin_rewriting(&self, maintenance: &mut Maintenance, purpose: Purpose) {
        maintenance.rewriting = Some(purpose);
        maintenance.has_rewritten = false;
        maintenance.slice_next.clear();
    }

    /// Bytes that a slice writes.
    pub(super) fn rewrite_bytes(&self, maintenance: &Maintenance) -> u64 {
        let layout = self.pager.layout();
        let file = maintenance.store.statistics(layout).file_bytes;
        let least = SLICE_BLOCKS_MIN * layout.block_bytes as u64;
        (file / 32).min(self.options.slice_bytes_min).max(least)
    }

    /// Does a slice of what is under way, of about so many bytes. Answers whether it was
    /// the last.
    pub(super) fn rewrite_slice(
        &self,
        maintenance: &mut Maintenance,
        purpose: Purpose,
        bytes: u64,
    ) -> Result<bool> {
        let built = self.build_slice(maintenance, purpose, bytes);
        let built = built.map_err(|error| self.abandon_after(maintenance, error))?;
        maintenance.has_rewritten |= built.has_changed;
        if built.is_last {
            maintenance.rewriting = None;
        }
        Ok(built.is_last)
    }

    /// Forgets what was being built when `error` came.
    pub(super) fn abandon_after(&self, maintenance: &mut Maintenance, error: Error) -> Error {
        maintenance.rewriting = None;
        maintenance.changed_count = 0;
        match maintenance.store.abandon(&self.pager) {
            Err(Error::Poisoned) => self.poison(error),
            Err(other) => other,
            Ok(()) => error,
        }
    }

    /// Builds and publishes a slice. After an error it is to be abandoned.
    pub(super) fn build_slice(
        &self,
        maintenance: &mut Maintenance,
        purpose: Purpose,
        bytes: u64,
    ) -> Result<Rewritten> {
        let oldest = self.front.versions.oldest_generation(self.pager.epochs());
        let mut changes = maintenance.store.can_reclaim(oldest);
        self.reclaim(maintenance)?;
        if let Purpose::Move { limit } = purpose {
            changes |= maintenance.store.touch_bitmaps_above(&self.pager, limit)?;
        }
        let mut slice = Slice {
            purpose,
            start_bytes: maintenance.store.written_bytes(),
            bytes,
            looks: 0,
            moved: 0,
            moved_bytes: 0,
        };
        let is_last = self.rewrite_tables(maintenance, &mut slice)?;
        let has_changed = maintenance.changed_count > 0;
        if changes || has_changed {
            let publishing = Publishing {
                ..Publishing::default()
            };
            self.flip(maintenance, &publishing, |sources| *sources)?;
        }
        Ok(Rewritten {
            is_last,
            has_changed,
            moved: slice.moved,
        })
    }

    /// Goes over the tables from the place of the last slice on. Answers whether it came
    /// to the end.
    fn rewrite_tables(&self, maintenance: &mut Maintenance, slice: &mut Slice) -> Result<bool> {
        let roots = maintenance.store.published().roots;
        loop {
            let (from, _) = maintenance.slice_next.table_and_key();
            let Some((table, record)) = self.table_from(roots, from)? else {
                return Ok(true);
            };
            if table != from {
                maintenance.slice_next.set(table, [&[], &[]])?;
            }
            if slice.is_full(&maintenance.store) || !self.open_table(maintenance, table)? {
                return Ok(false);
            }
            slice.looks += 1;
            let before = maintenance.changed_count;
            let stopped = self.rewrite_table(maintenance, slice, table, &record)?;
            self.finish_table(maintenance, &mut Some(table))?;
            let root = Root {
                page: roots,
                table: 0,
            };
            let store = &maintenance.store;
            let moves = |page: &PageRef| {
                let (purpose, pager) = (&slice.purpose, &self.pager);
                roots.is_some_and(|roots| purpose.moves_roots(pager, store, &roots, page))
            };
            if maintenance.changed_count == before
                && !matches!(slice.purpose, Purpose::Sweep { .. })
                && any_on_path(&self.pager, &root, &table.to_be_bytes(), &moves)?
            {
                // The same root is put once more, so that the pages it stands in move.
                maintenance.changed_count += 1;
            }
            let Maintenance {
                next, slice_next, ..
            } = &mut *maintenance;
            if let Some(length) = stopped {
                let low = next.scratch().get(..length).unwrap_or(&[]);
                slice_next.set(table, [low, &[]])?;
                return Ok(false);
            }
            let Some(behind) = table.checked_add(1) else {
                return Ok(true);
            };
            slice_next.set(behind, [&[], &[]])?;
        }
    }

    /// The first table with entries from `from` on.
    fn table_from(&self, roots: Option<PageRef>, from: u32) -> Result<Option<(u32, RootRecord)>> {
        let root = Root {
            page: roots,
            table: 0,
        };
        let mut cursor = TreeCursor::new(&self.pager, root, true);
        cursor.seek(CursorPosition::AtOrAfter(&from.to_be_bytes()))?;
        let Some(entry) = cursor.entry() else {
            return Ok(None);
        };
        let record = RootRecord::decode(entry.value).ok_or_else(|| {
            let address = roots.map_or(0, |page| page.address);
            let offset = self.pager.layout().offset(address).unwrap_or(u64::MAX);
            Error::corrupt(CorruptionReason::Structure, File::Pages, offset)
        })?;
        let mut key = [0; 4];
        cursor.copy_key(&mut key);
        Ok(Some((u32::from_be_bytes(key), record)))
    }

    /// Rewrites a table's tree, which the editor has open. Where the slice is full before
    /// the end, answers the length of the key at which the next begins; `next` holds it.
    fn rewrite_table(
        &self,
        maintenance: &mut Maintenance,
        slice: &mut Slice,
        table: u32,
        record: &RootRecord,
    ) -> Result<Option<usize>> {
        let Maintenance {
            store,
            editor,
            next,
            slice_next,
            ..
        } = &mut *maintenance;
        let (_, from) = slice_next.table_and_key();
        let root = record.root.map(|page| Child {
            page,
            count: record.entries,
            earliest_expiry_ms: record.earliest_expiry_ms,
            extents_below: record.extents_below,
        });
        let purpose = slice.purpose;
        let mut walk = ChildWalk::new(&self.pager, table, root);
        loop {
            let pages = &*store;
            let chooses = |child: &Child| purpose.chooses(&self.pager, pages, child);
            let Some((child, length)) = walk.next(from, next.scratch(), &chooses)? else {
                return Ok(None);
            };
            if slice.is_full(store) {
                return Ok(Some(length));
            }
            slice.looks += 1;
            let low = next.scratch().get(..length).unwrap_or(&[]);
            // One above the place is written again with whatever moves below it. Were it a
            // reason by itself, it would be in each slice.
            let is_above = child.page.level > 0 && low < from;
            let stays = is_above && matches!(purpose, Purpose::Evacuate { .. });
            if !stays && purpose.moves(&self.pager, store, &child.page) {
                if child.page.level == 0 || low > from {
                    slice.note_moved(&self.pager, u64::from(child.page.units));
                }
                editor.touch(&self.pager, &mut sink(&self.pager, store), low)?;
            }
            if child.page.level > 0 || !purpose.changes_below(&child) {
                continue;
            }
            let pin = self.pager.page(&child.page, table)?;
            let leaf = Leaf::new(pin.bytes());
            for index in 0..leaf.count() {
                let entry = leaf.entry(index);
                let moved;
                let change = match purpose {
                    Purpose::Sweep { now_ms } if has_expired(entry.expiry_ms, now_ms) => {
                        Change::Delete
                    }
                    Purpose::Move { .. } | Purpose::Evacuate { .. }
                        if entry.kind == EntryKind::Extent =>
                    {
                        match self.move_extent(store, slice, table, entry.value)? {
                            Some(reference) => moved = reference,
                            None => continue,
                        }
                        Change::Put {
                            kind: EntryKind::Extent,
                            expiry_ms: entry.expiry_ms,
                            metadata: entry.metadata,
                            sequence: 0,
                            value: &moved,
                        }
                    }
                    _ => continue,
                };
                let length = leaf.copy_key(index, next.scratch());
                let key = next.scratch().get(..length).unwrap_or(&[]);
                editor.apply(&self.pager, &mut sink(&self.pager, store), key, change)?;
            }
        }
    }

    /// Copies an extent to another place, if it has to and there is room.
    fn move_extent(
        &self,
        store: &mut PageStore,
        slice: &mut Slice,
        table: u32,
        reference: &[u8],
    ) -> Result<Option<[u8; EXTENT_REF_BYTES]>> {
        let extent = ExtentRef::decode(reference).ok_or(Error::Internal(265))?;
        let end = PageStore::extent_end(&self.pager, &extent);
        let limit = match slice.purpose {
            Purpose::Move { limit } if end > limit => limit,
            Purpose::Evacuate { .. } if store.is_in_sparse_blocks(&self.pager, &extent) => u64::MAX,
            _ => return Ok(None),
        };
        let copied = store.copy_extent_below(&self.pager, table, &extent, limit)?;
        if copied.is_some() {
            slice.note_moved(&self.pager, end.saturating_sub(extent.address));
        }
        Ok(copied.map(|copied| copied.encode()))
    }
}

fn sink<'a>(pager: &'a Pager, store: &'a mut PageStore) -> StoreSink<'a> {
    StoreSink {
        pager,
        store,
        keeps_leaves: false,
    }
}
