//! The editor: changes in key order make a new tree from an old one.
//!
//! # How it goes
//! For each level there is a *stage* of entries that will make new pages, and
//! at most one *open* page of the old tree, whose entries before its index are
//! behind us. A change at a key:
//! 1. closes the open pages whose range ends before the key, from the leaf up:
//!    what is left in a leaf is staged, what is left in a branch is *passed*;
//! 2. opens the pages down to the leaf whose range holds the key, passing the
//!    children on the way that lie before it;
//! 3. stages the leaf's entries before the key, skips the old entry of the key
//!    itself, and stages the new one.
//!
//! *Passing* a child keeps it by reference: the stages below it are flushed
//! (their pages come before it), then its record is staged one level up. When the
//! stage at its own level holds too little for a page, its entries are staged
//! instead (it is *absorbed*): so underfull neighbours join.
//!
//! Nothing of the old tree is touched but by opening it, and what is opened is
//! released: the sink decides when its space may be reused.

mod open;
mod range;
mod touch;

pub use range::{release_below, release_tree};

use super::change::{Change, PageSink};
use super::item::{Body, Item};
use super::lookup::{Root, checked_child};
use super::stage::{Format, KeyBuffer, Stage};
use crate::error::{Error, KeySample, Limit, Result};
use crate::format::branch::{Branch, Child};
use crate::format::branch_writer::shortest_separator;
use crate::format::catalogue::RootRecord;
use crate::format::leaf::{EntryKind, Leaf};
use crate::format::page_ref::PageRef;
use crate::mem::{Array, Budget};
use crate::pager::Pager;
use core::cmp::Ordering;
use lightning_platform::MemoryUse;

/// A page of the old tree that is being gone through.
struct Open {
    page: Option<PageRef>,
    /// Entries or children before it are behind us.
    index: usize,
    low: KeyBuffer,
    high: KeyBuffer,
    high_is_infinite: bool,
}

struct Level {
    stage: Stage,
    open: Open,
    /// The lower bound of the page being emitted.
    emitted_low: KeyBuffer,
}

/// Rebuilds one tree at a time. Its memory is planned once.
pub struct Editor {
    levels: Array<Level>,
    page: Array<u8>,
    table: u32,
    /// The old tree's.
    old_root: Option<PageRef>,
    root_is_open: bool,
    /// The low bound of the first leaf of the region being staged.
    region_low: KeyBuffer,
    region_is_fresh: bool,
    last_emitted: KeyBuffer,
    scratch: KeyBuffer,
    scratch_high: KeyBuffer,
    last_change: KeyBuffer,
    has_change: bool,
    last_is_put: bool,
    sequenced: bool,
}

impl Editor {
    /// Plans an editor for trees of at most `levels` levels, whose stages hold
    /// `stage_pages` pages' worth of whole entries.
    ///
    /// # Errors
    /// When the budget or the host has no memory.
    pub fn new(
        budget: &mut Budget,
        pager: &Pager,
        levels: usize,
        stage_pages: usize,
        key_bytes_max: usize,
    ) -> Result<Self> {
        let page_bytes = pager.layout().plain_bytes;
        let check_bytes = pager.layout().check_bytes;
        let levels = Array::try_new(budget, MemoryUse::Structure, levels, |budget, index| {
            let format = match u8::try_from(index) {
                Ok(0) | Err(_) => Format::Leaf { sequenced: false },
                Ok(level) => Format::Branch { level, check_bytes },
            };
            Ok(Level {
                // The topmost only ever holds the root's record.
                stage: Stage::new(
                    budget,
                    format,
                    page_bytes,
                    if index + 1 == levels { 1 } else { stage_pages },
                )?,
                open: Open {
                    page: None,
                    index: 0,
                    low: KeyBuffer::new(budget, key_bytes_max)?,
                    high: KeyBuffer::new(budget, key_bytes_max)?,
                    high_is_infinite: true,
                },
                emitted_low: KeyBuffer::new(budget, key_bytes_max)?,
            })
        })?;
        Ok(Self {
            levels,
            page: Array::zeroed(budget, MemoryUse::Buffer, page_bytes)?,
            table: 0,
            old_root: None,
            root_is_open: false,
            region_low: KeyBuffer::new(budget, key_bytes_max)?,
            region_is_fresh: true,
            last_emitted: KeyBuffer::new(budget, key_bytes_max)?,
            scratch: KeyBuffer::new(budget, key_bytes_max)?,
            scratch_high: KeyBuffer::new(budget, key_bytes_max)?,
            last_change: KeyBuffer::new(budget, key_bytes_max)?,
            has_change: false,
            last_is_put: false,
            sequenced: false,
        })
    }

    /// Begins with the tree at `root`; what an unfinished edit staged is forgotten.
    ///
    /// # Errors
    /// [`Error::OverLimit`] for a tree deeper than planned.
    pub fn begin(&mut self, root: &Root, sequenced: bool) -> Result<()> {
        for level in self.levels.iter_mut() {
            level.stage.clear();
            level.stage.set_sequenced(sequenced);
            level.open.page = None;
        }
        if root
            .page
            .is_some_and(|page| usize::from(page.level) + 1 >= self.levels.len())
        {
            return Err(Error::Internal(71));
        }
        self.table = root.table;
        self.old_root = root.page;
        self.root_is_open = false;
        self.region_low.set(&[]);
        self.region_is_fresh = true;
        self.has_change = false;
        self.sequenced = sequenced;
        Ok(())
    }

    /// Makes one change. Keys must ascend; a key that was deleted may be put again,
    /// and in a sequenced tree a key may come several times.
    ///
    /// # Errors
    /// I/O, corruption, a full storage, or [`Error::NotAscending`]. After any but the
    /// last, what was staged and written is to be abandoned.
    pub fn apply(
        &mut self,
        pager: &Pager,
        sink: &mut dyn PageSink,
        key: &[u8],
        change: Change<'_>,
    ) -> Result<()> {
        let ascends = match self.last_change.get().cmp(key) {
            _ if !self.has_change => true,
            Ordering::Less => true,
            Ordering::Equal => self.sequenced || !self.last_is_put,
            Ordering::Greater => false,
        };
        if !ascends {
            return Err(Error::NotAscending {
                key: KeySample::of(key),
            });
        }
        self.last_change.set(key);
        self.has_change = true;
        self.last_is_put = matches!(change, Change::Put { .. });
        if self.old_root.is_some() && !self.old_is_exhausted() {
            self.seek(pager, sink, key)?;
            self.stage_until(pager, sink, Some((key, &change)))?;
        }
        if let Change::Put {
            kind,
            expiry_ms,
            metadata,
            sequence,
            value,
        } = change
        {
            let body = Body::Entry {
                kind,
                expiry_ms,
                metadata,
                sequence,
                value,
            };
            self.push(sink, 0, &Item { key, body })?;
        }
        Ok(())
    }

    /// Ends the edit and answers the new root.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub fn finish(&mut self, pager: &Pager, sink: &mut dyn PageSink) -> Result<RootRecord> {
        if let Some(root) = self.old_root {
            if !self.root_is_open {
                return Err(Error::Internal(72));
            }
            for level in 0..=usize::from(root.level) {
                self.close(pager, sink, level)?;
            }
        }
        for level in 0..self.levels.len() {
            let higher_is_empty = self
                .levels
                .iter()
                .skip(level + 1)
                .all(|level| level.stage.is_empty());
            let Some(here) = self.levels.get(level) else {
                break;
            };
            if higher_is_empty {
                if here.stage.is_empty() {
                    return Ok(RootRecord::default());
                }
                if let Some(child) = here.stage.only_child() {
                    return Ok(RootRecord {
                        root: Some(child.page),
                        entries: child.count,
                        earliest_expiry_ms: child.earliest_expiry_ms,
                        extents_below: child.extents_below,
                    });
                }
            }
            self.flush(sink, level)?;
        }
        Err(Error::Internal(73))
    }

    /// Whether a key is above that of the last change.
    #[must_use]
    pub fn is_above_last(&self, key: &[u8]) -> bool {
        !self.has_change || self.last_change.get() < key
    }

    /// Whether any change was made since [`begin`](Self::begin).
    #[must_use]
    pub fn has_changes(&self) -> bool {
        self.has_change
    }

    /// Opens the old leaf whose range holds `key`: steps 1 and 2.
    fn seek(&mut self, pager: &Pager, sink: &mut dyn PageSink, key: &[u8]) -> Result<()> {
        let Some(root) = self.old_root else {
            return Ok(());
        };
        let top = usize::from(root.level);
        if !self.root_is_open {
            self.root_is_open = true;
            self.scratch.set(&[]);
            self.open(sink, top, &root, true)?;
        }
        let mut level = 0;
        while level < top && !self.covers(level, key) {
            self.close(pager, sink, level)?;
            level += 1;
        }
        while level > 0 {
            let page = self.open_page(level)?;
            let pin = pager.page(&page, self.table)?;
            let branch = Branch::new(pin.bytes());
            let target = branch.child_index(key);
            let from = self.levels.get(level).map_or(0, |level| level.open.index);
            for index in from..target {
                self.pass(pager, sink, level, &branch, &page, index)?;
            }
            self.open_child(pager, sink, level, (&branch, &page), target)?;
            level -= 1;
        }
        Ok(())
    }

    fn open_page(&self, level: usize) -> Result<PageRef> {
        self.levels
            .get(level)
            .and_then(|level| level.open.page)
            .ok_or(Error::Internal(74))
    }

    /// Whether the open page's range reaches beyond `key`.
    fn covers(&self, level: usize, key: &[u8]) -> bool {
        self.levels.get(level).is_some_and(|level| {
            level.open.page.is_some()
                && (level.open.high_is_infinite || key < level.open.high.get())
        })
    }

    /// Puts the lower bound of a branch's child into `scratch`.
    fn low_of(&mut self, level: usize, branch: &Branch<'_>, index: usize) {
        match index.checked_sub(1) {
            Some(before) => self
                .scratch
                .fill(|buffer| branch.copy_separator(before, buffer)),
            None => {
                if let Some(level) = self.levels.get(level) {
                    self.scratch.set(level.open.low.get());
                }
            }
        }
    }

    /// Stages or passes what is left of an open page.
    fn close(&mut self, pager: &Pager, sink: &mut dyn PageSink, level: usize) -> Result<()> {
        let Some(page) = self.levels.get(level).and_then(|level| level.open.page) else {
            return Ok(());
        };
        if level == 0 {
            self.stage_until(pager, sink, None)?;
        } else {
            let pin = pager.page(&page, self.table)?;
            let branch = Branch::new(pin.bytes());
            let from = self.levels.get(level).map_or(0, |level| level.open.index);
            for index in from..branch.count() {
                self.pass(pager, sink, level, &branch, &page, index)?;
            }
        }
        if let Some(level) = self.levels.get_mut(level) {
            level.open.page = None;
        }
        Ok(())
    }

    /// Stages the open leaf's entries before the key of a change, or all that are
    /// left, and skips the entry of that key itself.
    fn stage_until(
        &mut self,
        pager: &Pager,
        sink: &mut dyn PageSink,
        change: Option<(&[u8], &Change<'_>)>,
    ) -> Result<()> {
        let page = self.open_page(0)?;
        let pin = pager.page(&page, self.table)?;
        let leaf = Leaf::new(pin.bytes());
        let from = self.levels.first().map_or(0, |level| level.open.index);
        let (until, skips) = match change {
            None => (leaf.count(), false),
            Some((key, _)) => match leaf.search(key) {
                Ok(index) => (index, true),
                Err(index) => (index, false),
            },
        };
        for index in from..until {
            self.stage_old(sink, &leaf, index)?;
        }
        let mut behind = until.max(from);
        if skips && until >= from {
            let entry = leaf.entry(until);
            // A merge of runs that is done again puts the extent that is there already.
            let stays = change.is_some_and(|(_, change)| {
                matches!(*change, Change::Put { kind: EntryKind::Extent, value, .. }
                    if value == entry.value)
            });
            if entry.kind == EntryKind::Extent && !stays {
                sink.release_extent(entry.value)?;
            }
            behind = until + 1;
        }
        if let Some(level) = self.levels.first_mut() {
            level.open.index = behind;
        }
        Ok(())
    }

    fn stage_old(&mut self, sink: &mut dyn PageSink, leaf: &Leaf<'_>, index: usize) -> Result<()> {
        let entry = leaf.entry(index);
        let mut key = core::mem::replace(&mut self.scratch, KeyBuffer::none());
        key.fill(|buffer| leaf.copy_key(index, buffer));
        let body = Body::Entry {
            kind: entry.kind,
            expiry_ms: entry.expiry_ms,
            metadata: entry.metadata,
            sequence: entry.sequence,
            value: entry.value,
        };
        let pushed = self.push(
            sink,
            0,
            &Item {
                key: key.get(),
                body,
            },
        );
        self.scratch = key;
        pushed
    }

    /// Keeps a child of an open branch by reference, or absorbs it.
    fn pass(
        &mut self,
        pager: &Pager,
        sink: &mut dyn PageSink,
        level: usize,
        branch: &Branch<'_>,
        page: &PageRef,
        index: usize,
    ) -> Result<()> {
        let below = level.checked_sub(1).ok_or(Error::Internal(76))?;
        for lower in 0..below {
            self.flush(sink, lower)?;
        }
        let child = checked_child(pager, branch, index, page)?;
        self.low_of(level, branch, index);
        let absorbs = self
            .levels
            .get(below)
            .is_some_and(|level| !level.stage.is_empty() && level.stage.is_underfull());
        if absorbs {
            return self.absorb(pager, sink, below, &child);
        }
        self.flush(sink, below)?;
        let mut low = core::mem::replace(&mut self.scratch, KeyBuffer::none());
        let pushed = self.push(
            sink,
            level,
            &Item {
                key: low.get(),
                body: Body::Child(child),
            },
        );
        core::mem::swap(&mut self.scratch, &mut low);
        pushed
    }

    /// Stages a child's entries at its own level; its lower bound is in `scratch`.
    fn absorb(
        &mut self,
        pager: &Pager,
        sink: &mut dyn PageSink,
        level: usize,
        child: &Child,
    ) -> Result<()> {
        sink.release(&child.page)?;
        let pin = pager.page(&child.page, self.table)?;
        if level == 0 {
            let leaf = Leaf::new(pin.bytes());
            for index in 0..leaf.count() {
                self.stage_old(sink, &leaf, index)?;
            }
            return Ok(());
        }
        let branch = Branch::new(pin.bytes());
        let mut low = core::mem::replace(&mut self.scratch, KeyBuffer::none());
        let mut outcome = Ok(());
        for index in 0..branch.count() {
            if let Some(before) = index.checked_sub(1) {
                low.fill(|buffer| branch.copy_separator(before, buffer));
            }
            outcome = checked_child(pager, &branch, index, &child.page).and_then(|child| {
                self.push(
                    sink,
                    level,
                    &Item {
                        key: low.get(),
                        body: Body::Child(child),
                    },
                )
            });
            if outcome.is_err() {
                break;
            }
        }
        self.scratch = low;
        outcome
    }

    fn push(&mut self, sink: &mut dyn PageSink, level: usize, item: &Item<'_>) -> Result<()> {
        loop {
            let at = self.levels.get_mut(level).ok_or(Error::OverLimit {
                limit: Limit::PageFileBytes,
                value: level as u64,
                maximum: level.saturating_sub(1) as u64,
            })?;
            if at.stage.push(item)? {
                return Ok(());
            }
            self.emit(sink, level)?;
        }
    }

    /// Makes pages of everything that a level has staged.
    fn flush(&mut self, sink: &mut dyn PageSink, level: usize) -> Result<()> {
        if let Some(level) = self.levels.get_mut(level) {
            level.stage.balance();
        }
        while self
            .levels
            .get(level)
            .is_some_and(|level| !level.stage.is_empty())
        {
            self.emit(sink, level)?;
        }
        Ok(())
    }

    /// Makes one page of a level's oldest staged entries, and stages its record above.
    fn emit(&mut self, sink: &mut dyn PageSink, level: usize) -> Result<()> {
        let at = self.levels.get_mut(level).ok_or(Error::Internal(77))?;
        let mut low = core::mem::replace(&mut at.emitted_low, KeyBuffer::none());
        let first_key = at.stage.first_key();
        if level > 0 {
            low.set(first_key);
        } else if self.region_is_fresh {
            low.set(self.region_low.get());
        } else {
            low.set(shortest_separator(self.last_emitted.get(), first_key));
        }
        let outcome = self.emit_below(sink, level, low.get());
        if let Some(at) = self.levels.get_mut(level) {
            at.emitted_low = low;
        }
        outcome
    }

    fn emit_below(&mut self, sink: &mut dyn PageSink, level: usize, low: &[u8]) -> Result<()> {
        let at = self.levels.get_mut(level).ok_or(Error::Internal(78))?;
        let (kind, page_level) = at.stage.page_kind();
        let last = if level == 0 {
            Some(&mut self.last_emitted)
        } else {
            None
        };
        let summary = at.stage.emit(self.table, &mut self.page, last)?;
        if level == 0 {
            self.region_is_fresh = false;
        }
        let page = sink.append(kind, page_level, &mut self.page)?;
        let child = Child {
            page,
            count: summary.entries,
            earliest_expiry_ms: summary.earliest_expiry_ms,
            extents_below: summary.extents_below,
        };
        self.push(
            sink,
            level + 1,
            &Item {
                key: low,
                body: Body::Child(child),
            },
        )
    }
}
