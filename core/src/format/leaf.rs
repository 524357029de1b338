//! Leaves (FORMAT.md 2.3): entries in key order, read in place.
//!
//! [`validate_leaf`] checks everything once, when a page is loaded; a [`Leaf`]
//! of a page that passed never meets anything else. Of other bytes it answers
//! nonsense, but it neither panics, nor leaves the page, nor fails to end.
//!
//! A lookup strips the prefix, searches the heads, and looks into a cell only
//! where a head is equal. `leaf_writer` is the other direction.

use super::bytes::{get_u8, get_u16, get_u32, get_u64, get_varint, head_of};
use super::extent::ExtentRef;
use super::keys::{HEAD_BYTES, StoredRest, head_at, heads_below, padded, partition, rest_of};
use super::page::{BY_KIND, PAGE_HEADER_BYTES, PageHeader, count_of, flags_of, prefix_bytes_of};
use super::page_ref::PageKind;
use crate::error::CorruptionReason;
use crate::limits::PAGE_BYTES_MAX;
use core::cmp::Ordering;

/// Where a leaf's prefix begins.
pub const LEAF_HEADER_BYTES: usize = 40;
const _: () = assert!(LEAF_HEADER_BYTES == PAGE_HEADER_BYTES);
/// Length of the value of an entry of kind [`EntryKind::Extent`] (FORMAT.md 2.6).
pub const EXTENT_VALUE_BYTES: usize = 32;

pub(super) const KEY_BYTES: usize = BY_KIND;
pub(super) const VALUE_BYTES: usize = BY_KIND + 2;
pub(super) const CELLS: usize = BY_KIND + 4;
pub(super) const END: usize = BY_KIND + 6;
/// Stands for lengths that differ.
pub(super) const VARIABLE: u16 = u16::MAX;

/// Every entry is a put without expiry and metadata.
pub(super) const PLAIN: u16 = 1;
/// Cells carry sequences.
pub(super) const SEQUENCED: u16 = 2;

pub(super) const CELL_KIND: u8 = 0b111;
pub(super) const CELL_EXPIRY: u8 = 1 << 3;
pub(super) const CELL_METADATA: u8 = 1 << 4;

/// A tail up to this is copied with what stands behind it.
const SHORT_TAIL_BYTES: usize = 32;

/// Bytes of a sequence, and of an expiry.
pub(super) const NUMBER_BYTES: usize = 8;

/// What an entry says of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum EntryKind {
    /// It has this value.
    #[default]
    Put = 0,
    /// It was deleted. Only in runs.
    Tombstone = 1,
    /// It has the value that this reference leads to.
    Extent = 2,
}

impl EntryKind {
    /// The kind of that number.
    #[inline]
    #[must_use]
    pub const fn of(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Put,
            1 => Self::Tombstone,
            2 => Self::Extent,
            _ => return None,
        })
    }
}

/// An entry, lent from its page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LeafEntry<'a> {
    /// What it says.
    pub kind: EntryKind,
    /// When it ends, in milliseconds since 1970.
    pub expiry_ms: Option<u64>,
    /// The byte that the application may add.
    pub metadata: Option<u8>,
    /// The commit that wrote it, in leaves of runs; else 0.
    pub sequence: u64,
    /// The value; of an extent the reference, of a tombstone nothing.
    pub value: &'a [u8],
    rest: StoredRest<'a>,
}

/// A leaf's bytes, seen as entries.
#[derive(Debug, Clone, Copy)]
pub struct Leaf<'a> {
    page: &'a [u8],
    prefix: &'a [u8],
    heads: &'a [[u8; 4]],
    /// Where the heads end, and the slots or the strided cells begin.
    behind_heads: usize,
    flags: u16,
    key_bytes: u16,
    value_bytes: u16,
}

/// What a walk over a plain leaf asks the header once, not for each entry.
#[derive(Debug, Clone, Copy)]
pub struct PlainLeaf {
    heads: u32,
    behind_heads: u32,
    prefix_bytes: u16,
    key_bytes: u16,
    value_bytes: u16,
}

/// Where an entry of a plain leaf stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlainEntry {
    /// Bytes of the key behind the prefix.
    rest_bytes: usize,
    tail_at: usize,
    value_at: usize,
    end: usize,
}

impl PlainEntry {
    /// The value's bytes in the page.
    #[inline]
    #[must_use]
    pub fn value(&self) -> core::ops::Range<usize> {
        self.value_at..self.end
    }
}

impl PlainLeaf {
    /// Where the entry at `index` stands. The caller keeps to the leaf's count.
    #[inline]
    #[must_use]
    pub fn entry(&self, page: &[u8], index: usize) -> Option<PlainEntry> {
        let behind_heads = self.behind_heads as usize;
        let mut rest_bytes = usize::from(self.key_bytes);
        let mut value_bytes = usize::from(self.value_bytes);
        let mut tail_at;
        if self.key_bytes != VARIABLE && self.value_bytes != VARIABLE {
            let cell_bytes = rest_bytes.saturating_sub(HEAD_BYTES) + value_bytes;
            tail_at = behind_heads + index * cell_bytes;
        } else {
            tail_at = usize::from(get_u16(page, behind_heads + index * 2));
            if self.key_bytes == VARIABLE {
                let (length, bytes) = get_varint(page, tail_at)?;
                let length = usize::try_from(length).ok()?;
                rest_bytes = length.checked_sub(usize::from(self.prefix_bytes))?;
                tail_at += bytes;
            }
            if self.value_bytes == VARIABLE {
                let (length, bytes) = get_varint(page, tail_at)?;
                value_bytes = usize::try_from(length).ok()?;
                tail_at += bytes;
            }
        }
        let value_at = tail_at.checked_add(rest_bytes.saturating_sub(HEAD_BYTES))?;
        Some(PlainEntry {
            rest_bytes,
            tail_at,
            value_at,
            end: value_at.checked_add(value_bytes)?,
        })
    }

    /// Puts what differs of the key at `index`, whose entry stands at `entry`, into
    /// `buffer`, which begins with another key of the same leaf; what stands behind
    /// the key is lost. Answers the key's length, or `None` where it was not put:
    /// there is no room.
    #[inline]
    pub fn replace_key(
        &self,
        page: &[u8],
        index: usize,
        entry: &PlainEntry,
        buffer: &mut [u8],
    ) -> Option<usize> {
        let head = get_u32(page, self.heads as usize + index * HEAD_BYTES).to_be_bytes();
        let prefix_bytes = usize::from(self.prefix_bytes);
        let (to_head, to_tail) = buffer
            .get_mut(prefix_bytes..)?
            .split_first_chunk_mut::<HEAD_BYTES>()?;
        let from = page.get(entry.tail_at..)?;
        let tail_bytes = entry.value_at.saturating_sub(entry.tail_at);
        // What stands in the buffer behind a key doesn't matter, and halves of fixed
        // length are copied without a call.
        let chunks = (
            from.first_chunk::<SHORT_TAIL_BYTES>(),
            to_tail.first_chunk_mut::<SHORT_TAIL_BYTES>(),
        );
        if tail_bytes <= SHORT_TAIL_BYTES
            && let (Some(from), Some(to)) = chunks
        {
            let (from, to) = (from.as_chunks::<16>().0, to.as_chunks_mut::<16>().0);
            for (from, to) in from.iter().zip(to) {
                *to = u128::from_ne_bytes(*from).to_ne_bytes();
            }
        } else {
            to_tail
                .get_mut(..tail_bytes)?
                .copy_from_slice(from.get(..tail_bytes)?);
        }
        *to_head = head;
        Some(prefix_bytes + entry.rest_bytes)
    }
}

impl<'a> Leaf<'a> {
    /// The leaf in a page that [`validate_leaf`] found valid.
    #[inline]
    #[must_use]
    pub fn new(page: &'a [u8]) -> Self {
        let prefix_bytes = prefix_bytes_of(page);
        let heads_at = LEAF_HEADER_BYTES + padded(prefix_bytes);
        let behind_heads = heads_at + count_of(page) * HEAD_BYTES;
        Self {
            page,
            prefix: page
                .get(LEAF_HEADER_BYTES..LEAF_HEADER_BYTES + prefix_bytes)
                .unwrap_or(&[]),
            heads: page
                .get(heads_at..behind_heads)
                .map_or(&[], |heads| heads.as_chunks().0),
            behind_heads,
            flags: flags_of(page),
            key_bytes: get_u16(page, KEY_BYTES),
            value_bytes: get_u16(page, VALUE_BYTES),
        }
    }

    /// Number of entries.
    #[inline]
    #[must_use]
    pub fn count(&self) -> usize {
        self.heads.len()
    }

    /// What all keys begin with.
    #[inline]
    #[must_use]
    pub fn prefix(&self) -> &'a [u8] {
        self.prefix
    }

    /// Whether entries carry sequences, and a key may stand several times.
    #[inline]
    #[must_use]
    pub fn is_sequenced(&self) -> bool {
        self.flags & SEQUENCED != 0
    }

    /// Whether every entry is a put without expiry and metadata.
    #[inline]
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.flags & PLAIN != 0
    }

    /// What a walk needs, if all entries are puts without expiry, metadata and sequence.
    #[inline]
    #[must_use]
    pub fn plain(&self) -> Option<PlainLeaf> {
        if !self.is_plain() || self.is_sequenced() {
            return None;
        }
        Some(PlainLeaf {
            heads: u32::try_from(self.behind_heads - self.heads.len() * HEAD_BYTES).ok()?,
            behind_heads: u32::try_from(self.behind_heads).ok()?,
            prefix_bytes: u16::try_from(self.prefix.len()).ok()?,
            key_bytes: self.key_bytes,
            value_bytes: self.value_bytes,
        })
    }

    /// The first index of `key`, or else where it would stand.
    #[inline]
    pub fn search(&self, key: &[u8]) -> Result<usize, usize> {
        let rest = match rest_of(key, self.prefix) {
            Ok(rest) => rest,
            Err(Ordering::Less) => return Err(0),
            Err(_) => return Err(self.count()),
        };
        let head = head_of(rest);
        let index = heads_below(self.heads, head);
        if head_at(self.heads, index) != Some(head) {
            return Err(index);
        }
        match self.compare_behind_head(index, rest) {
            Ordering::Equal => Ok(index),
            Ordering::Greater => Err(index),
            Ordering::Less if head_at(self.heads, index + 1) != Some(head) => Err(index + 1),
            Ordering::Less => self.search_ties(index + 1, head, rest),
        }
    }

    /// Where in the page the cell begins that a search for `key` looks into, if any.
    #[inline]
    #[must_use]
    pub fn cell_sought(&self, key: &[u8]) -> Option<usize> {
        let rest = rest_of(key, self.prefix).ok()?;
        let index = heads_below(self.heads, head_of(rest));
        Some(self.cell_offset(index))
    }

    /// The first index of a key that isn't below `key`.
    #[inline]
    #[must_use]
    pub fn lower_bound(&self, key: &[u8]) -> usize {
        let (Ok(index) | Err(index)) = self.search(key);
        index
    }

    /// The entry at `index`, or an empty one past the last.
    #[inline]
    #[must_use]
    pub fn entry(&self, index: usize) -> LeafEntry<'a> {
        self.cell(index).map_or_else(LeafEntry::default, |cell| {
            let mut entry = cell.entry;
            entry.value = self.page.get(cell.value_at..cell.end).unwrap_or_default();
            entry
        })
    }

    /// Length of the key at `index`.
    #[inline]
    #[must_use]
    pub fn key_bytes(&self, index: usize) -> usize {
        self.prefix.len() + self.rest(index).bytes
    }

    /// Writes the key at `index` to the beginning of `buffer`; answers its
    /// length, 0 where it doesn't fit.
    #[inline]
    pub fn copy_key(&self, index: usize, buffer: &mut [u8]) -> usize {
        self.rest(index).copy(self.prefix, buffer)
    }

    /// Compares the key at `index` with `key`.
    #[inline]
    #[must_use]
    pub fn compare_key(&self, index: usize, key: &[u8]) -> Ordering {
        match rest_of(key, self.prefix) {
            Ok(rest) => self.rest(index).compare(rest),
            Err(side) => side.reverse(),
        }
    }

    /// The place of `rest` among the keys from `low` on whose head is `head`.
    #[cold]
    fn search_ties(&self, low: usize, head: u32, rest: &[u8]) -> Result<usize, usize> {
        let tied = self.heads.get(low..).map_or(0, |heads| {
            heads.partition_point(|stored| u32::from_le_bytes(*stored) == head)
        });
        let index = partition(low, low + tied, |index| {
            self.compare_behind_head(index, rest) == Ordering::Less
        });
        if index < low + tied && self.compare_behind_head(index, rest) == Ordering::Equal {
            Ok(index)
        } else {
            Err(index)
        }
    }

    #[inline]
    fn compare_behind_head(&self, index: usize, rest: &[u8]) -> Ordering {
        self.rest(index).compare_behind_head(rest)
    }

    #[inline]
    fn rest(&self, index: usize) -> StoredRest<'a> {
        self.cell(index)
            .map_or_else(StoredRest::default, |cell| cell.entry.rest)
    }

    #[inline]
    fn is_strided(&self) -> bool {
        self.is_plain() && self.key_bytes != VARIABLE && self.value_bytes != VARIABLE
    }

    /// Bytes of each cell of a strided leaf.
    #[inline]
    fn stride(&self) -> usize {
        let sequence_bytes = if self.is_sequenced() { NUMBER_BYTES } else { 0 };
        let tail_bytes = usize::from(self.key_bytes).saturating_sub(HEAD_BYTES);
        sequence_bytes + tail_bytes + usize::from(self.value_bytes)
    }

    /// The cell at `index`; `None` past the last one, and where a page is malformed.
    #[inline]
    fn cell(&self, index: usize) -> Option<Cell<'a>> {
        let head = head_at(self.heads, index)?;
        self.cell_at(self.cell_offset(index), head)
    }

    #[inline]
    fn cell_offset(&self, index: usize) -> usize {
        if self.is_strided() {
            self.behind_heads + index * self.stride()
        } else {
            usize::from(get_u16(self.page, self.behind_heads + index * 2))
        }
    }

    /// Reads the cell that begins at `at`. That the value is inside the page
    /// is left to the caller.
    #[inline]
    fn cell_at(&self, mut at: usize, head: u32) -> Option<Cell<'a>> {
        let mut entry = LeafEntry::default();
        let mut flags = 0;
        if !self.is_plain() {
            flags = get_u8(self.page, at);
            entry.kind = EntryKind::of(flags & CELL_KIND)?;
            at += 1;
        }
        if self.is_sequenced() {
            entry.sequence = get_u64(self.page, at);
            at += NUMBER_BYTES;
        }
        if flags & CELL_EXPIRY != 0 {
            entry.expiry_ms = Some(get_u64(self.page, at));
            at += NUMBER_BYTES;
        }
        if flags & CELL_METADATA != 0 {
            entry.metadata = Some(get_u8(self.page, at));
            at += 1;
        }
        entry.rest.head = head;
        if self.key_bytes == VARIABLE {
            let (length, bytes) = get_varint(self.page, at)?;
            entry.rest.bytes = usize::try_from(length)
                .ok()?
                .checked_sub(self.prefix.len())?;
            at += bytes;
        } else {
            entry.rest.bytes = usize::from(self.key_bytes);
        }
        let value_bytes = if self.value_bytes == VARIABLE {
            let (length, bytes) = get_varint(self.page, at)?;
            at += bytes;
            usize::try_from(length).ok()?
        } else {
            usize::from(self.value_bytes)
        };
        let tail_bytes = entry.rest.bytes.saturating_sub(HEAD_BYTES);
        let value_at = at.checked_add(tail_bytes)?;
        entry.rest.tail = self.page.get(at..value_at)?;
        Some(Cell {
            entry,
            flags,
            value_at,
            end: value_at.checked_add(value_bytes)?,
        })
    }
}

impl<'a> LeafEntry<'a> {
    /// The first bytes of the key after the prefix, as a number that orders as
    /// they do; missing bytes count as zeros.
    #[inline]
    #[must_use]
    pub fn key_head(&self) -> u32 {
        self.rest.head
    }

    /// Length of the key after the prefix.
    #[inline]
    #[must_use]
    pub fn key_rest_bytes(&self) -> usize {
        self.rest.bytes
    }

    /// What of the key follows prefix and head.
    #[inline]
    #[must_use]
    pub fn key_tail(&self) -> &'a [u8] {
        self.rest.tail
    }
}

/// A cell, before its value is fetched.
struct Cell<'a> {
    entry: LeafEntry<'a>,
    flags: u8,
    value_at: usize,
    end: usize,
}

/// Checks all rules of a leaf. What the reference to the page says is checked
/// by [`PageHeader::matches`], the check before both.
///
/// # Errors
/// [`CorruptionReason::Structure`] or [`CorruptionReason::KeyOrder`].
pub fn validate_leaf(page: &[u8]) -> Result<(), CorruptionReason> {
    let header = PageHeader::read(page)?;
    let is_leaf = header.kind == PageKind::Leaf && header.level == 0;
    let end = match get_u16(page, END) {
        0 => PAGE_BYTES_MAX,
        end => usize::from(end),
    };
    if !is_leaf || header.flags & !(PLAIN | SEQUENCED) != 0 || end > page.len() {
        return Err(CorruptionReason::Structure);
    }
    let leaf = Leaf::new(page);
    let slots_bytes = if leaf.is_strided() {
        0
    } else {
        usize::from(header.count) * 2
    };
    let cells = leaf.behind_heads + slots_bytes;
    let padding = page
        .get(
            LEAF_HEADER_BYTES + leaf.prefix.len()
                ..leaf.behind_heads - leaf.heads.len() * HEAD_BYTES,
        )
        .unwrap_or(&[]);
    if cells > end
        || leaf.count() != usize::from(header.count)
        || cells & 0xFFFF != usize::from(get_u16(page, CELLS))
        || padding.iter().any(|byte| *byte != 0)
    {
        return Err(CorruptionReason::Structure);
    }
    let mut at = cells;
    let mut previous: Option<LeafEntry<'_>> = None;
    for (index, head) in leaf.heads.iter().enumerate() {
        let is_slot_right =
            leaf.is_strided() || usize::from(get_u16(page, leaf.behind_heads + index * 2)) == at;
        let cell = leaf
            .cell_at(at, u32::from_le_bytes(*head))
            .filter(|cell| is_slot_right && cell.end <= end && is_cell_valid(&leaf, cell))
            .ok_or(CorruptionReason::Structure)?;
        if previous.is_some_and(|previous| !is_ascending(&leaf, &previous, &cell.entry)) {
            return Err(CorruptionReason::KeyOrder);
        }
        previous = Some(cell.entry);
        at = cell.end;
    }
    if at == end {
        Ok(())
    } else {
        Err(CorruptionReason::Structure)
    }
}

fn is_cell_valid(leaf: &Leaf<'_>, cell: &Cell<'_>) -> bool {
    let value_bytes = cell.end.saturating_sub(cell.value_at);
    cell.flags & !(CELL_KIND | CELL_EXPIRY | CELL_METADATA) == 0
        && cell.entry.rest.is_whole()
        && is_entry_allowed(leaf.is_sequenced(), cell.entry.kind, value_bytes)
        && is_reference_sound(leaf, cell)
}

/// Whether an extent reference is one, so that no reader comes to one that isn't.
fn is_reference_sound(leaf: &Leaf<'_>, cell: &Cell<'_>) -> bool {
    cell.entry.kind != EntryKind::Extent
        || leaf
            .page
            .get(cell.value_at..cell.end)
            .is_some_and(|reference| ExtentRef::decode(reference).is_some())
}

/// Whether a leaf may hold an entry of `kind` with that much value.
#[inline]
pub(super) fn is_entry_allowed(sequenced: bool, kind: EntryKind, value_bytes: usize) -> bool {
    match kind {
        EntryKind::Put => true,
        EntryKind::Tombstone => sequenced && value_bytes == 0,
        EntryKind::Extent => value_bytes == EXTENT_VALUE_BYTES,
    }
}

fn is_ascending(leaf: &Leaf<'_>, one: &LeafEntry<'_>, next: &LeafEntry<'_>) -> bool {
    match one.rest.compare_stored(&next.rest) {
        Ordering::Less => true,
        Ordering::Equal => leaf.is_sequenced() && one.sequence > next.sequence,
        Ordering::Greater => false,
    }
}

#[cfg(test)]
mod tests;
