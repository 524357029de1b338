//! The staging area of one level: entries in order, until it is known which of
//! them make a page.
//!
//! Up to two pages' worth are held back, so that the last two pages of a region
//! can be given the same fill and no page ends up nearly empty. Entries stand in
//! the stage with whole keys, one after another; `first` is the size of the page
//! that the oldest of them make, `second` that of the ones behind.
//!
//! Both levels of a tree work alike; what differs (what an entry is, how its
//! page is sized and written) is a [`Format`].

use crate::error::{Error, Result};
use crate::format::branch::Child;
use crate::format::branch_writer::{BranchSize, ChildIn, write_branch};
use crate::format::bytes::{copy_within, get_16, get_u8, get_u16, get_u32, get_u64, put};
use crate::format::leaf::EntryKind;
use crate::format::leaf_writer::{EntryIn, LeafSize, write_leaf};
use crate::format::page_ref::{PageKind, PageRef};
use crate::mem::{Array, Budget};
use lightning_platform::MemoryUse;

/// Bytes of a staged entry before key and value.
const ITEM_HEADER_BYTES: usize = 64;

/// What a stage holds: one shape for both levels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Item<'a> {
    pub key: &'a [u8],
    pub body: Body<'a>,
}

/// An entry of a leaf, or a child of a branch.
#[derive(Debug, Clone, Copy)]
pub(super) enum Body<'a> {
    Entry {
        kind: EntryKind,
        expiry_ms: Option<u64>,
        metadata: Option<u8>,
        sequence: u64,
        value: &'a [u8],
    },
    Child(Child),
}

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

    /// With `item` appended; `reference` is what keys are compared with to find
    /// their common prefix, see [`Stage::reference`].
    fn with(self, reference: &[u8], item: &Item<'_>) -> Self {
        match (self, item.body) {
            (Self::Leaf(size), Body::Entry { .. }) => match entry_in(item) {
                Some(entry) => Self::Leaf(size.with(reference, &entry)),
                None => self,
            },
            (Self::Branch(size), Body::Child(child)) => Self::Branch(size.with(
                reference,
                &ChildIn {
                    separator: item.key,
                    child,
                },
            )),
            _ => self,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Leaf(size) => size.bytes(),
            Self::Branch(size) => size.bytes(),
        }
    }

    fn count(&self) -> usize {
        match self {
            Self::Leaf(size) => size.count(),
            Self::Branch(size) => size.count(),
        }
    }
}

fn entry_in<'a>(item: &Item<'a>) -> Option<EntryIn<'a>> {
    match item.body {
        Body::Entry {
            kind,
            expiry_ms,
            metadata,
            sequence,
            value,
        } => Some(EntryIn {
            key: item.key,
            kind,
            expiry_ms,
            metadata,
            sequence,
            value,
        }),
        Body::Child(_) => None,
    }
}

fn child_in<'a>(item: &Item<'a>) -> Option<ChildIn<'a>> {
    match item.body {
        Body::Child(child) => Some(ChildIn {
            separator: item.key,
            child,
        }),
        Body::Entry { .. } => None,
    }
}

/// What a finished page sums up for its parent's record.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Summary {
    pub entries: u64,
    pub earliest_expiry_ms: Option<u64>,
    pub extents_below: bool,
}

impl Summary {
    pub(super) fn add(&mut self, item: &Item<'_>) {
        let (entries, expiry, extents) = match item.body {
            Body::Entry {
                kind, expiry_ms, ..
            } => (1, expiry_ms, kind == EntryKind::Extent),
            Body::Child(child) => (child.count, child.earliest_expiry_ms, child.extents_below),
        };
        self.entries += entries;
        self.earliest_expiry_ms = match (self.earliest_expiry_ms, expiry) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        self.extents_below |= extents;
    }
}

/// The stage of one level.
pub(super) struct Stage {
    format: Format,
    page_bytes: usize,
    buffer: Array<u8>,
    filled: usize,
    count: usize,
    /// Where the second page's items begin.
    second_start: usize,
    first: Option<Size>,
    second: Option<Size>,
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
            filled: 0,
            count: 0,
            second_start: 0,
            first: None,
            second: None,
        })
    }

    pub(super) fn clear(&mut self) {
        self.filled = 0;
        self.count = 0;
        self.second_start = 0;
        self.first = None;
        self.second = None;
    }

    pub(super) fn set_sequenced(&mut self, sequenced: bool) {
        if let Format::Leaf { .. } = self.format {
            self.format = Format::Leaf { sequenced };
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether what is staged would leave a page less than half full.
    pub(super) fn is_underfull(&self) -> bool {
        self.second.is_none()
            && self
                .first
                .is_some_and(|size| size.bytes() < self.page_bytes / 2)
    }

    /// Whether `item` can be pushed without emitting first.
    pub(super) fn has_room(&self, item: &Item<'_>) -> bool {
        if self.buffer.len() - self.filled < raw_bytes(item) {
            return false;
        }
        match (self.first, self.second) {
            (_, None) => true,
            (_, Some(second)) => {
                let reference = self.reference(self.second_start, second.count(), item);
                second.with(reference, item).bytes() <= self.page_bytes
            }
        }
    }

    /// The key that the first separator or key of a page is: the first item's in
    /// a leaf, the second item's in a branch, whose first has no separator.
    /// `count` items stand from `start` on, and `item` comes behind them.
    fn reference<'a>(&'a self, start: usize, count: usize, item: &Item<'a>) -> &'a [u8] {
        let before = match self.format {
            Format::Leaf { .. } => 0,
            Format::Branch { .. } => 1,
        };
        if count <= before {
            return item.key;
        }
        let Some((first, length)) = self.item_at(start) else {
            return item.key;
        };
        if before == 0 {
            return first.key;
        }
        self.item_at(start + length)
            .map_or(item.key, |(second, _)| second.key)
    }

    /// The key of the oldest staged item.
    pub(super) fn first_key(&self) -> &[u8] {
        self.item_at(0).map_or(&[], |(item, _)| item.key)
    }

    /// Adds an item behind the others. The caller asked [`has_room`](Self::has_room).
    pub(super) fn push(&mut self, item: &Item<'_>) -> Result<()> {
        let start = self.filled;
        let to = self.buffer.get_mut(start..).ok_or(Error::Internal(60))?;
        let length = put_item(to, item).ok_or(Error::Internal(61))?;
        let fresh = Size::new(self.format);
        if self.second.is_none() {
            let first = self.first.unwrap_or(fresh);
            let grown = first.with(self.reference(0, self.count, item), item);
            if grown.bytes() <= self.page_bytes || self.count == 0 {
                self.first = Some(grown);
                self.filled += length;
                self.count += 1;
                return if grown.bytes() <= self.page_bytes {
                    Ok(())
                } else {
                    Err(Error::Internal(62))
                };
            }
            self.second_start = start;
            self.second = Some(fresh.with(item.key, item));
        } else {
            let second = self.second.unwrap_or(fresh);
            let reference = self.reference(self.second_start, second.count(), item);
            self.second = Some(second.with(reference, item));
        }
        self.filled += length;
        self.count += 1;
        Ok(())
    }

    /// Before the last one or two pages of a region are emitted: gives both about
    /// the same fill.
    pub(super) fn balance(&mut self) {
        let (Some(first), Some(second)) = (self.first, self.second) else {
            return;
        };
        if second.bytes() >= self.page_bytes / 2 {
            return;
        }
        let goal = (first.bytes() + second.bytes()).div_ceil(2);
        let mut size = Size::new(self.format);
        let mut at = 0;
        while let Some((item, length)) = self.item_at(at) {
            let grown = size.with(self.reference(0, size.count(), &item), &item);
            if size.count() > 0 && grown.bytes() > goal {
                break;
            }
            size = grown;
            at += length;
        }
        // What is left must fit a page: it does, since it is less than before on
        // the first and the prefix can only grow; if not, the old split stays.
        let mut rest = Size::new(self.format);
        let mut rest_at = at;
        while let Some((item, length)) = self.item_at(rest_at) {
            rest = rest.with(self.reference(at, rest.count(), &item), &item);
            rest_at += length;
        }
        if rest.count() > 0 && rest.bytes() <= self.page_bytes {
            self.first = Some(size);
            self.second = Some(rest);
            self.second_start = at;
        }
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
        let wanted = first.count();
        let items = Items {
            stage: self,
            at: 0,
            left: wanted,
        };
        let mut summary = Summary::default();
        let mut last_key: &[u8] = &[];
        for item in items.clone() {
            summary.add(&item);
            last_key = item.key;
        }
        if let Some(last) = last {
            last.set(last_key);
        }
        let written = match self.format {
            Format::Leaf { sequenced } => write_leaf(
                page,
                0,
                table,
                sequenced,
                items.filter_map(|item| entry_in(&item)),
            ),
            Format::Branch { level, check_bytes } => write_branch(
                page,
                0,
                table,
                level,
                check_bytes,
                items.filter_map(|item| child_in(&item)),
            ),
        };
        if written != Some(wanted) {
            return Err(Error::Internal(64));
        }
        let start = if self.second.is_some() {
            self.second_start
        } else {
            self.filled
        };
        copy_within(&mut self.buffer, start, self.filled, 0);
        self.filled -= start;
        self.count -= wanted;
        self.first = self.second.take();
        self.second_start = 0;
        Ok(summary)
    }

    /// The kind and level of the pages that this stage makes.
    pub(super) fn page_kind(&self) -> (PageKind, u8) {
        match self.format {
            Format::Leaf { .. } => (PageKind::Leaf, 0),
            Format::Branch { level, .. } => (PageKind::Branch, level),
        }
    }

    /// The only child of a branch stage, and its separator.
    pub(super) fn only_child(&self) -> Option<Child> {
        if self.count != 1 {
            return None;
        }
        match self.item_at(0)?.0.body {
            Body::Child(child) => Some(child),
            Body::Entry { .. } => None,
        }
    }

    fn item_at(&self, at: usize) -> Option<(Item<'_>, usize)> {
        get_item(self.buffer.get(at..self.filled)?)
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

fn raw_bytes(item: &Item<'_>) -> usize {
    let value = match item.body {
        Body::Entry { value, .. } => value.len(),
        Body::Child(_) => 0,
    };
    ITEM_HEADER_BYTES + item.key.len() + value
}

/// An item: key bytes (2), kind (1: 0 to 2 entries, 255 child), flags (1: expiry,
/// metadata, extents), metadata (1), level (1), units (2), value bytes (4),
/// reserved (4), expiry (8), sequence or count (8), address (8), birth (8),
/// check (16); key; value.
fn put_item(to: &mut [u8], item: &Item<'_>) -> Option<usize> {
    let key_bytes = u16::try_from(item.key.len()).ok()?;
    let mut header = [0; ITEM_HEADER_BYTES];
    put(&mut header, 0, &key_bytes.to_le_bytes());
    let value: &[u8] = match item.body {
        Body::Entry {
            kind,
            expiry_ms,
            metadata,
            sequence,
            value,
        } => {
            let flags = u8::from(expiry_ms.is_some()) | u8::from(metadata.is_some()) << 1;
            put(&mut header, 2, &[kind as u8, flags, metadata.unwrap_or(0)]);
            put(
                &mut header,
                8,
                &u32::try_from(value.len()).ok()?.to_le_bytes(),
            );
            put(&mut header, 16, &expiry_ms.unwrap_or(0).to_le_bytes());
            put(&mut header, 24, &sequence.to_le_bytes());
            value
        }
        Body::Child(child) => {
            let flags =
                u8::from(child.earliest_expiry_ms.is_some()) | u8::from(child.extents_below) << 2;
            put(&mut header, 2, &[255, flags, 0, child.page.level]);
            put(&mut header, 6, &child.page.units.to_le_bytes());
            put(
                &mut header,
                16,
                &child.earliest_expiry_ms.unwrap_or(0).to_le_bytes(),
            );
            put(&mut header, 24, &child.count.to_le_bytes());
            put(&mut header, 32, &child.page.address.to_le_bytes());
            put(&mut header, 40, &child.page.birth_generation.to_le_bytes());
            put(&mut header, 48, &child.page.check);
            &[]
        }
    };
    let length = ITEM_HEADER_BYTES + item.key.len() + value.len();
    let to = to.get_mut(..length)?;
    put(to, 0, &header);
    put(to, ITEM_HEADER_BYTES, item.key);
    put(to, ITEM_HEADER_BYTES + item.key.len(), value);
    Some(length)
}

fn get_item(from: &[u8]) -> Option<(Item<'_>, usize)> {
    let (header, rest) = from.split_at_checked(ITEM_HEADER_BYTES)?;
    let (key, rest) = rest.split_at_checked(usize::from(get_u16(header, 0)))?;
    let value = rest.get(..get_u32(header, 8) as usize)?;
    let flags = get_u8(header, 3);
    let expiry_ms = (flags & 1 != 0).then(|| get_u64(header, 16));
    let body = match get_u8(header, 2) {
        255 => {
            let level = get_u8(header, 5);
            Body::Child(Child {
                page: PageRef {
                    address: get_u64(header, 32),
                    birth_generation: get_u64(header, 40),
                    units: get_u16(header, 6),
                    level,
                    kind: if level == 0 {
                        PageKind::Leaf
                    } else {
                        PageKind::Branch
                    },
                    check: get_16(header, 48),
                },
                count: get_u64(header, 24),
                earliest_expiry_ms: expiry_ms,
                extents_below: flags & 4 != 0,
            })
        }
        kind => Body::Entry {
            kind: match kind {
                1 => EntryKind::Tombstone,
                2 => EntryKind::Extent,
                _ => EntryKind::Put,
            },
            expiry_ms,
            metadata: (flags & 2 != 0).then(|| get_u8(header, 4)),
            sequence: get_u64(header, 24),
            value,
        },
    };
    Some((
        Item { key, body },
        ITEM_HEADER_BYTES + key.len() + value.len(),
    ))
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
