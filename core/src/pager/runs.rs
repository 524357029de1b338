//! Runs in the page file: their list in the catalogue, and their filters' pages.
//!
//! The pages of a filter are chained: each refers to the next, so that a reader
//! checks every one against a reference, and the first is written last.

use super::flip::PageStore;
use super::writer::NewPage;
use super::{Layout, Pager};
use crate::error::{CorruptionReason, Error, Result};
use crate::format::bytes::{get_u64, put};
use crate::format::page_ref::{PageKind, PageRef, encode_optional};
use crate::format::run::{FILTER_HEADER_BYTES, FILTER_NEXT, RunRecord};
use crate::limits::RUNS_MAX;
use crate::mem::{Array, Budget};
use lightning_platform::{File, MemoryUse};

/// The runs that stand on the trees, oldest first, in planned memory.
pub struct RunList {
    records: Array<RunRecord>,
    /// What the oldest become by a [`RunsChange::Cut`].
    cut: Array<RunRecord>,
    count: usize,
    merging: usize,
}

/// What a flip changes in the list of runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RunsChange {
    /// Nothing.
    #[default]
    None,
    /// There is a newer run.
    Newest(RunRecord),
    /// So many of the oldest are in the trees in part: it is they, and no others, that
    /// have to be merged next.
    Merging(usize),
    /// So many of the oldest are being merged, as above, and were cut to what isn't in the
    /// trees: see [`PageStore::cut_run`].
    Cut(usize),
    /// So many of the oldest are in the trees.
    Merged(usize),
}

impl RunList {
    /// Room for `most` runs.
    ///
    /// # Errors
    /// When the budget or the host has no memory.
    pub(super) fn new(budget: &mut Budget, most: usize) -> Result<Self> {
        let most = most.min(RUNS_MAX);
        let mut records =
            || Array::new(budget, MemoryUse::Structure, most, |_| RunRecord::default());
        Ok(Self {
            records: records()?,
            cut: records()?,
            count: 0,
            merging: 0,
        })
    }

    /// The runs, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &RunRecord> + ExactSizeIterator {
        self.records.iter().take(self.count)
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// How many of the oldest are being merged into the trees, in part already.
    #[must_use]
    pub fn merging(&self) -> usize {
        self.merging
    }

    pub(super) fn clear(&mut self) {
        self.count = 0;
        self.merging = 0;
    }

    /// Adds a newer run; `false` where there is no room.
    pub(super) fn push(&mut self, record: &RunRecord) -> bool {
        let Some(slot) = self.records.get_mut(self.count) else {
            return false;
        };
        *slot = *record;
        self.count += 1;
        true
    }

    pub(super) fn set_merging(&mut self, count: usize) {
        self.merging = count.min(self.count);
    }

    /// How many there will be.
    pub(super) fn count_after(&self, change: &RunsChange) -> usize {
        match change {
            RunsChange::None | RunsChange::Merging(_) | RunsChange::Cut(_) => self.count,
            RunsChange::Newest(_) => self.count + 1,
            RunsChange::Merged(merged) => self.count.saturating_sub(*merged),
        }
    }

    /// How many will be being merged.
    pub(super) fn merging_after(&self, change: &RunsChange) -> usize {
        match change {
            RunsChange::None | RunsChange::Newest(_) => self.merging,
            RunsChange::Merging(count) | RunsChange::Cut(count) => *count,
            RunsChange::Merged(_) => 0,
        }
    }

    /// The runs that there will be, oldest first.
    pub(super) fn iter_after<'a>(
        &'a self,
        change: &'a RunsChange,
    ) -> impl Iterator<Item = &'a RunRecord> {
        let (cut, gone, newest) = match change {
            RunsChange::None | RunsChange::Merging(_) => (0, 0, None),
            RunsChange::Newest(record) => (0, 0, Some(record)),
            RunsChange::Cut(cut) => (*cut, *cut, None),
            RunsChange::Merged(merged) => (0, *merged, None),
        };
        let cut = self.cut.iter().take(cut);
        cut.chain(self.iter().skip(gone)).chain(newest)
    }

    /// Makes the change, which is published.
    pub(super) fn apply(&mut self, change: &RunsChange) {
        self.merging = self.merging_after(change);
        match change {
            RunsChange::None | RunsChange::Merging(_) => {}
            RunsChange::Newest(record) => {
                // Whether there is room was asked before it was written.
                self.push(record);
            }
            RunsChange::Cut(count) => {
                let cut = self.cut.iter().take(*count);
                for (record, cut) in self.records.iter_mut().zip(cut) {
                    *record = *cut;
                }
            }
            RunsChange::Merged(merged) => {
                for index in 0..self.count {
                    let moved = self.records.get(index + merged).copied();
                    if let (Some(slot), Some(moved)) = (self.records.get_mut(index), moved) {
                        *slot = moved;
                    }
                }
                self.count = self.count.saturating_sub(*merged);
            }
        }
    }
}

/// Bytes of a filter that stand in one page.
fn filter_page_content(layout: &Layout) -> usize {
    layout.plain_bytes.saturating_sub(FILTER_HEADER_BYTES)
}

/// Pages that a filter takes.
#[must_use]
pub fn filter_pages(layout: &Layout, filter_bytes: usize) -> u64 {
    filter_bytes.div_ceil(filter_page_content(layout).max(1)) as u64
}

/// Makes the pages of a filter in `scratch`, a page long, and hands each to `append`, the
/// last one first. Answers the first, or none for an empty filter.
///
/// # Errors
/// What `append` answers.
pub fn write_filter(
    pager: &Pager,
    filter: &[u8],
    scratch: &mut [u8],
    append: &mut dyn FnMut(&mut [u8]) -> Result<PageRef>,
) -> Result<Option<PageRef>> {
    let mut next = None;
    let content = filter_page_content(pager.layout()).max(1);
    let chunks = filter.chunks(content);
    let count = chunks.len() as u64;
    for (number, chunk) in (0..count).rev().zip(chunks.rev()) {
        scratch.fill(0);
        put(scratch, 4, &[PageKind::Filter as u8, 0]);
        put(scratch, 24, &number.to_le_bytes());
        put(scratch, FILTER_NEXT, &encode_optional(next.as_ref()));
        put(scratch, FILTER_HEADER_BYTES, chunk);
        next = Some(append(scratch)?);
    }
    Ok(next)
}

impl PageStore {
    /// The published runs.
    #[must_use]
    pub fn runs(&self) -> &RunList {
        &self.runs
    }

    /// States what a run becomes by a [`RunsChange::Cut`]; all that it names are to be stated
    /// before.
    pub fn cut_run(&mut self, index: usize, record: RunRecord) {
        if let Some(slot) = self.runs.cut.get_mut(index) {
            *slot = record;
        }
    }

    /// Writes a filter, by way of `scratch`, a page long; answers its first page, or
    /// none for an empty one.
    ///
    /// # Errors
    /// I/O, or a file at its limit: the caller then abandons what is being built.
    pub fn append_filter(
        &mut self,
        pager: &Pager,
        filter: &[u8],
        scratch: &mut [u8],
    ) -> Result<Option<PageRef>> {
        self.check_standing()?;
        write_filter(pager, filter, scratch, &mut |page| {
            let new = NewPage {
                kind: PageKind::Filter,
                level: 0,
                birth_generation: self.next_generation,
                compress: true,
            };
            let written = self.writer.append(pager, &mut self.space, new, page);
            self.note(written)
        })
    }

    /// Notes that the state being built no longer uses a filter's pages.
    ///
    /// # Errors
    /// I/O or corruption.
    pub fn release_filter(&mut self, pager: &Pager, record: &RunRecord) -> Result<()> {
        let mut walk = FilterPages::new(record);
        while let Some(page) = walk.page {
            let pin = pager.page(&page, 0)?;
            walk.go_on(pager, pin.bytes())?;
            self.release(pager, &page)?;
        }
        Ok(())
    }
}

/// A walk along a filter's pages.
pub struct FilterPages {
    /// The page to read next.
    pub page: Option<PageRef>,
    number: u64,
    filled: usize,
    filter_bytes: usize,
}

impl FilterPages {
    /// A walk from the first page.
    #[must_use]
    pub fn new(record: &RunRecord) -> Self {
        Self {
            page: record.filter,
            number: 0,
            filled: 0,
            filter_bytes: record.filter_bytes as usize,
        }
    }

    /// Checks the page that was read and goes on to the next. Answers the filter's bytes
    /// in it, and where they belong.
    ///
    /// # Errors
    /// Corruption.
    pub fn go_on<'b>(&mut self, pager: &Pager, bytes: &'b [u8]) -> Result<(usize, &'b [u8])> {
        let page = self.page.ok_or(Error::Internal(290))?;
        let offset = pager.layout().offset(page.address).unwrap_or(u64::MAX);
        let damage = Error::corrupt(CorruptionReason::Structure, File::Pages, offset);
        let next = PageRef::decode(bytes, FILTER_NEXT).ok_or(damage)?;
        let left = self.filter_bytes.saturating_sub(self.filled);
        let held = left.min(filter_page_content(pager.layout()));
        let is_last = held == left;
        if page.kind != PageKind::Filter
            || held == 0
            || get_u64(bytes, 24) != self.number
            || next.is_none() != is_last
        {
            return Err(damage);
        }
        let content = bytes
            .get(FILTER_HEADER_BYTES..)
            .and_then(|tail| tail.get(..held));
        let start = self.filled;
        self.filled += held;
        self.number += 1;
        self.page = next;
        Ok((start, content.ok_or(damage)?))
    }

    /// Whether all of the filter was met.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.page.is_none() && self.filled == self.filter_bytes
    }
}

impl Pager {
    /// Reads a run's filter into `filter`, which is as long as the record says.
    ///
    /// # Errors
    /// I/O or corruption.
    pub fn read_filter(&self, record: &RunRecord, filter: &mut [u8]) -> Result<()> {
        let mut walk = FilterPages::new(record);
        while let Some(page) = walk.page {
            let pin = self.page(&page, 0)?;
            let (start, content) = walk.go_on(self, pin.bytes())?;
            if !put(filter, start, content) {
                return Err(Error::Internal(291));
            }
        }
        if walk.is_whole() && filter.len() == record.filter_bytes as usize {
            Ok(())
        } else {
            Err(Error::corrupt(CorruptionReason::Structure, File::Pages, 0))
        }
    }
}
