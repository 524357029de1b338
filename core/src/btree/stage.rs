//! The staging area of one level: entries in order, until it is known which of
//! them make a page.
//!
//! Up to two pages' worth are held back, so that the last two pages of a region
//! can be given the same fill and no page ends up nearly empty. Entries stand in
//! the stage with whole keys, one after another; `first` is the page that the
//! oldest of them make, `second` that of the ones behind. Each is measured once,
//! when an entry is added to it.
//!
//! Both levels of a tree work alike; what differs (what an entry is, how its
//! page is sized and written) is a [`Format`].

use super::item::{Body, Item, Summary};
use crate::error::{Error, Result};
use crate::format::branch::Child;
use crate::format::branch_writer::{BranchSize, write_branch};
use crate::format::bytes::{copy_within, put};
use crate::format::leaf_writer::{LeafSize, write_sized_leaf};
use crate::format::page_ref::PageKind;
use crate::mem::{Array, Budget};
use lightning_platform::MemoryUse;

/// How pages of a stage's level are sized and written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Format {
    Leaf { sequenced: bool },
    Branch { level: u8, check_bytes: usize },
}

/// The running size of a page of either level.
#[derive(Clone, Copy)]
enum Size {
    Leaf(LeafSize),
    Branch(BranchSize),
}

impl Size {
    fn new(format: Format) -> Self {
        match format {
            Format::Leaf { sequenced } => Self::Leaf(LeafSize::new(sequenced)),
            Format::Branch { check_bytes, .. } => Self::Branch(BranchSize::new(check_bytes)),
        }
    }

    /// Appends `item` if the page then takes at most `bytes_max`. `reference` is what
    /// keys are compared with to find their common prefix, see [`Fill::reference`].
    #[inline]
    fn grow(&mut self, reference: &[u8], item: &Item<'_>, bytes_max: usize) -> bool {
        match self {
            Self::Leaf(size) => item
                .entry()
                .is_some_and(|entry| size.grow(reference, &entry, bytes_max)),
            Self::Branch(size) => item.child().is_some_and(|child| {
                let grown = size.with(reference, &child);
                let fits = grown.bytes() <= bytes_max;
                if fits {
                    *size = grown;
                }
                fits
            }),
        }
    }

    #[inline]
    fn bytes(&self) -> usize {
        match self {
            Self::Leaf(size) => size.bytes(),
            Self::Branch(size) => size.bytes(),
        }
    }

    #[inline]
    fn count(&self) -> usize {
        match self {
            Self::Leaf(size) => size.count(),
            Self::Branch(size) => size.count(),
        }
    }
}

/// Where a key stands in a stage's buffer.
#[derive(Clone, Copy, Default)]
struct KeyPlace {
    start: usize,
    bytes: usize,
}

/// What one page is going to hold.
#[derive(Clone, Copy)]
struct Fill {
    size: Size,
    /// Where its items begin.
    start: usize,
    /// The key that its first separator or key is, once there is one: the first
    /// item's in a leaf, the second item's in a branch, whose first has no separator.
    reference: Option<KeyPlace>,
    last: KeyPlace,
    summary: Summary,
}

impl Fill {
    fn new(format: Format, start: usize) -> Self {
        Self {
            size: Size::new(format),
            start,
            reference: None,
            last: KeyPlace::default(),
            summary: Summary::default(),
        }
    }

    /// Appends `item` if the page then takes at most `bytes_max`. What stands before
    /// it in the stage is in `buffer`.
    #[inline]
    fn grow(&mut self, buffer: &[u8], item: &Item<'_>, bytes_max: usize) -> bool {
        let reference = self
            .reference
            .and_then(|place| buffer.get(place.start..place.start + place.bytes))
            .unwrap_or(item.key);
        self.size.grow(reference, item, bytes_max)
    }

    /// Notes where the key of the item stands that the fill was grown by.
    #[inline]
    fn note(&mut self, item: &Item<'_>, key_start: usize) {
        self.summary.add(item);
        self.last = KeyPlace {
            start: key_start,
            bytes: item.key.len(),
        };
        let is_reference = match self.size {
            Size::Leaf(size) => size.count() == 1,
            Size::Branch(size) => size.count() == 2,
        };
        if is_reference {
            self.reference = Some(self.last);
        }
    }

    fn move_down(&mut self, bytes: usize) {
        self.start -= bytes;
        self.last.start -= bytes;
        if let Some(reference) = &mut self.reference {
            reference.start -= bytes;
        }
    }
}

/// The stage of one level.
pub(super) struct Stage {
    format: Format,
    page_bytes: usize,
    buffer: Array<u8>,
    /// Where the oldest item begins, and the newest ends.
    start: usize,
    end: usize,
    first: Option<Fill>,
    /// Only behind a first.
    second: Option<Fill>,
}

impl Stage {
    /// A stage whose buffer holds `pages` pages' worth of whole entries.
    pub(super) fn new(
        budget: &mut Budget,
        format: Format,
        page_bytes: usize,
        pages: usize,
    ) -> Result<Self> {
        Ok(Self {
            format,
            page_bytes,
            buffer: Array::zeroed(budget, MemoryUse::Buffer, page_bytes * pages)?,
            start: 0,
            end: 0,
            first: None,
            second: None,
        })
    }

    pub(super) fn clear(&mut self) {
        self.start = 0;
        self.end = 0;
        self.first = None;
        self.second = None;
    }

    pub(super) fn set_sequenced(&mut self, sequenced: bool) {
        if let Format::Leaf { .. } = self.format {
            self.format = Format::Leaf { sequenced };
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Whether what is staged would leave a page less than half full.
    pub(super) fn is_underfull(&self) -> bool {
        self.second.is_none()
            && self
                .first
                .is_some_and(|fill| fill.size.bytes() < self.page_bytes / 2)
    }

    /// The key of the oldest staged item.
    pub(super) fn first_key(&self) -> &[u8] {
        self.item_at(self.start).map_or(&[], |(item, _)| item.key)
    }

    /// Adds an item behind the others. False where a page has to be emitted first.
    ///
    /// # Errors
    /// [`Error::Internal`] for an item that fits no page.
    #[inline]
    pub(super) fn push(&mut self, item: &Item<'_>) -> Result<bool> {
        if !self.make_room(item.bytes()) {
            return match self.first {
                Some(_) => Ok(false),
                None => Err(Error::Internal(61)),
            };
        }
        let has_second = self.second.is_some();
        let newest = if has_second {
            &mut self.second
        } else {
            &mut self.first
        };
        let is_grown = newest
            .as_mut()
            .is_some_and(|fill| fill.grow(&self.buffer, item, self.page_bytes));
        if has_second && !is_grown {
            return Ok(false);
        }
        let (key_start, end) = self
            .buffer
            .get_mut(self.end..)
            .and_then(|to| item.put(to))
            .ok_or(Error::Internal(60))?;
        let key_start = self.end + key_start;
        match newest {
            Some(fill) if is_grown => fill.note(item, key_start),
            _ => {
                let mut fill = Fill::new(self.format, self.end);
                if !fill.grow(&[], item, self.page_bytes) {
                    return Err(Error::Internal(62));
                }
                fill.note(item, key_start);
                if newest.is_none() {
                    self.first = Some(fill);
                } else {
                    self.second = Some(fill);
                }
            }
        }
        self.end += end;
        Ok(true)
    }

    /// Whether so many bytes fit behind the newest item; what pages have left free
    /// is made use of when the end is reached.
    #[inline]
    fn make_room(&mut self, bytes: usize) -> bool {
        if self.buffer.len() - self.end >= bytes {
            return true;
        }
        if self.start > 0 {
            copy_within(&mut self.buffer, self.start, self.end, 0);
            for fill in [&mut self.first, &mut self.second].into_iter().flatten() {
                fill.move_down(self.start);
            }
            self.end -= self.start;
            self.start = 0;
        }
        self.buffer.len() - self.end >= bytes
    }

    /// Before the last one or two pages of a region are emitted: gives both about
    /// the same fill.
    pub(super) fn balance(&mut self) {
        let (Some(first), Some(second)) = (self.first, self.second) else {
            return;
        };
        if second.size.bytes() >= self.page_bytes / 2 {
            return;
        }
        let goal = (first.size.bytes() + second.size.bytes()).div_ceil(2);
        let (first, end) = self.measure(self.start, goal);
        // What is left must fit a page: it does, since it is less than before on
        // the first and the prefix can only grow; if not, the old split stays.
        let (second, end) = self.measure(end, self.page_bytes);
        if second.size.count() > 0 && end == self.end {
            self.first = Some(first);
            self.second = Some(second);
        }
    }

    /// The page that the items from `start` on make, of at least one item and up to
    /// `bytes_max`; and where the items behind it begin.
    fn measure(&self, start: usize, bytes_max: usize) -> (Fill, usize) {
        let mut fill = Fill::new(self.format, start);
        let mut at = start;
        while let Some((item, length)) = self.item_at(at) {
            let bytes_max = if fill.size.count() == 0 {
                self.page_bytes
            } else {
                bytes_max
            };
            if !fill.grow(&self.buffer, &item, bytes_max) {
                break;
            }
            fill.note(&item, at + item.key_start());
            at += length;
        }
        (fill, at)
    }

    /// Writes the first page's items into `page` and drops them from the stage.
    /// Answers what they sum up to, and copies the last key where it is wanted.
    pub(super) fn emit(
        &mut self,
        table: u32,
        page: &mut [u8],
        last: Option<&mut KeyBuffer>,
    ) -> Result<Summary> {
        let Some(first) = self.first else {
            return Err(Error::Internal(63));
        };
        let wanted = first.size.count();
        let items = Items {
            stage: self,
            at: first.start,
            left: wanted,
        };
        if let Some(last) = last {
            let KeyPlace { start, bytes } = first.last;
            last.set(self.buffer.get(start..start + bytes).unwrap_or(&[]));
        }
        let written = match (self.format, &first.size) {
            (Format::Leaf { .. }, Size::Leaf(size)) => {
                let entries = items.filter_map(|item| item.entry());
                write_sized_leaf(page, 0, table, size, entries)
            }
            (Format::Branch { level, check_bytes }, Size::Branch(_)) => {
                let children = items.filter_map(|item| item.child());
                write_branch(page, 0, table, level, check_bytes, children)
            }
            _ => None,
        };
        if written != Some(wanted) {
            return Err(Error::Internal(64));
        }
        self.start = self.second.map_or(self.end, |second| second.start);
        self.first = self.second.take();
        Ok(first.summary)
    }

    /// The kind and level of the pages that this stage makes.
    pub(super) fn page_kind(&self) -> (PageKind, u8) {
        match self.format {
            Format::Leaf { .. } => (PageKind::Leaf, 0),
            Format::Branch { level, .. } => (PageKind::Branch, level),
        }
    }

    /// The only child of a branch stage.
    pub(super) fn only_child(&self) -> Option<Child> {
        if self.second.is_some() || self.first?.size.count() != 1 {
            return None;
        }
        match self.item_at(self.start)?.0.body {
            Body::Child(child) => Some(child),
            Body::Entry { .. } => None,
        }
    }

    fn item_at(&self, at: usize) -> Option<(Item<'_>, usize)> {
        Item::get(
            self.buffer
                .get(at..self.end)
                .filter(|left| !left.is_empty())?,
        )
    }
}

#[derive(Clone)]
struct Items<'s> {
    stage: &'s Stage,
    at: usize,
    left: usize,
}

impl<'s> Iterator for Items<'s> {
    type Item = Item<'s>;

    fn next(&mut self) -> Option<Item<'s>> {
        self.left = self.left.checked_sub(1)?;
        let (item, length) = self.stage.item_at(self.at)?;
        self.at += length;
        Some(item)
    }
}

/// A key in planned memory.
pub(super) struct KeyBuffer {
    bytes: Option<Array<u8>>,
    length: usize,
}

impl KeyBuffer {
    pub(super) fn new(budget: &mut Budget, key_bytes_max: usize) -> Result<Self> {
        let bytes = Array::zeroed(budget, MemoryUse::Buffer, key_bytes_max)?;
        Ok(Self {
            bytes: Some(bytes),
            length: 0,
        })
    }

    /// A buffer without room, to stand in while another is lent.
    pub(super) fn none() -> Self {
        Self {
            bytes: None,
            length: 0,
        }
    }

    /// Takes a copy of `key`, which is never longer than the database's limit.
    pub(super) fn set(&mut self, key: &[u8]) {
        debug_assert!(
            self.bytes
                .as_ref()
                .is_some_and(|bytes| bytes.len() >= key.len())
        );
        if let Some(bytes) = &mut self.bytes
            && put(bytes, 0, key)
        {
            self.length = key.len();
        }
    }

    /// Lets `write` fill the buffer; it answers the length.
    pub(super) fn fill(&mut self, write: impl FnOnce(&mut [u8]) -> usize) {
        if let Some(bytes) = &mut self.bytes {
            self.length = write(bytes).min(bytes.len());
        }
    }

    pub(super) fn get(&self) -> &[u8] {
        self.bytes
            .as_ref()
            .and_then(|bytes| bytes.get(..self.length))
            .unwrap_or(&[])
    }
}
