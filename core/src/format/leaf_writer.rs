//! Writing leaves (FORMAT.md 2.3).
//!
//! Lengths are fixed and flags set as the entries allow, so that the same
//! entries give the same bytes. [`LeafSize`] tells in advance, entry by entry,
//! exactly what [`write_leaf`] takes.

use super::bytes::{head_of, put, put_varint, varint_bytes};
use super::keys::{HEAD_BYTES, KeySizes, padded, tail_of};
use super::leaf::{
    CELL_EXPIRY, CELL_METADATA, CELLS, END, EntryKind, KEY_BYTES, LEAF_HEADER_BYTES, NUMBER_BYTES,
    PLAIN, SEQUENCED, VALUE_BYTES, VARIABLE, is_entry_allowed,
};
use super::page::PageHeader;
use super::page_ref::PageKind;
use crate::limits::PAGE_BYTES_MAX;

/// An entry to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryIn<'a> {
    /// The whole key.
    pub key: &'a [u8],
    /// What the entry says of it.
    pub kind: EntryKind,
    /// When it ends, in milliseconds since 1970.
    pub expiry_ms: Option<u64>,
    /// The byte that the application may add.
    pub metadata: Option<u8>,
    /// The commit that wrote it; counts only in leaves of runs.
    pub sequence: u64,
    /// The value; of an extent the reference, of a tombstone nothing.
    pub value: &'a [u8],
}

/// What a leaf takes if it is finished now. Entries come in ascending order.
#[derive(Debug, Clone, Copy, Default)]
pub struct LeafSize {
    sequenced: bool,
    /// Not every entry is a put without expiry and metadata.
    adorned: bool,
    keys: KeySizes,
    /// Bytes of expiries and metadata.
    adornment_bytes: usize,
    value_bytes: usize,
    value_length_bytes: usize,
    first_value_bytes: usize,
    values_differ: bool,
    /// Of the page up to its end.
    bytes: usize,
}

impl LeafSize {
    /// Of a leaf without entries.
    #[must_use]
    pub fn new(sequenced: bool) -> Self {
        Self {
            sequenced,
            bytes: LEAF_HEADER_BYTES,
            ..Self::default()
        }
    }

    /// With `entry` appended. `first_key` is the key of the leaf's first
    /// entry, be it this one.
    #[inline]
    #[must_use]
    pub fn with(&self, first_key: &[u8], entry: &EntryIn<'_>) -> Self {
        let mut size = *self;
        if size.keys.count() == 0 {
            size.first_value_bytes = entry.value.len();
        }
        size.keys = size.keys.with(first_key, entry.key);
        let expiry_bytes = entry.expiry_ms.map_or(0, |_| NUMBER_BYTES);
        let metadata_bytes = usize::from(entry.metadata.is_some());
        size.adornment_bytes += expiry_bytes + metadata_bytes;
        size.adorned |= entry.kind != EntryKind::Put || expiry_bytes + metadata_bytes > 0;
        size.value_bytes = size.value_bytes.saturating_add(entry.value.len());
        size.value_length_bytes += varint_bytes(entry.value.len() as u64);
        size.values_differ |= entry.value.len() != size.first_value_bytes;
        size.bytes = size.measured();
        size
    }

    /// Appends `entry` if the page then takes at most `bytes_max`; answers whether it
    /// did. As [`with`](Self::with), and quicker where entries are alike.
    #[inline]
    pub fn grow(&mut self, first_key: &[u8], entry: &EntryIn<'_>, bytes_max: usize) -> bool {
        let is_plain =
            entry.kind == EntryKind::Put && entry.expiry_ms.is_none() && entry.metadata.is_none();
        let is_alike = is_plain
            && !self.sequenced
            && self.is_strided()
            && entry.value.len() == self.first_value_bytes
            && self.keys.is_alike(first_key, entry.key);
        if !is_alike {
            let grown = self.with(first_key, entry);
            let fits = grown.bytes <= bytes_max;
            if fits {
                *self = grown;
            }
            return fits;
        }
        let tail_bytes = self.keys.alike_tail_bytes();
        let grown = HEAD_BYTES + tail_bytes + entry.value.len();
        let bytes = self.bytes.saturating_add(grown);
        let fits = bytes <= bytes_max;
        if fits {
            self.keys.add_alike();
            self.value_bytes += entry.value.len();
            self.value_length_bytes += varint_bytes(entry.value.len() as u64);
            self.bytes = bytes;
        }
        fits
    }

    /// Bytes of the page up to its end.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn measured(&self) -> usize {
        let count = self.count();
        let mut bytes = self.cells() + self.adornment_bytes;
        if self.adorned {
            bytes += count;
        }
        if self.sequenced {
            bytes += count * NUMBER_BYTES;
        }
        if self.fixed_key_bytes().is_none() {
            bytes += self.keys.length_bytes();
        }
        if self.fixed_value_bytes().is_none() {
            bytes += self.value_length_bytes;
        }
        bytes
            .saturating_add(self.keys.tail_bytes())
            .saturating_add(self.value_bytes)
    }

    /// Number of entries.
    #[inline]
    #[must_use]
    pub fn count(&self) -> usize {
        self.keys.count()
    }

    fn fixed_key_bytes(&self) -> Option<u16> {
        fixed(self.keys.fixed_rest_bytes())
    }

    fn fixed_value_bytes(&self) -> Option<u16> {
        fixed((!self.values_differ).then_some(self.first_value_bytes))
    }

    fn is_strided(&self) -> bool {
        !self.adorned && self.fixed_key_bytes().is_some() && self.fixed_value_bytes().is_some()
    }

    fn slots(&self) -> usize {
        LEAF_HEADER_BYTES + padded(self.keys.prefix_bytes()) + self.count() * HEAD_BYTES
    }

    fn cells(&self) -> usize {
        self.slots()
            + if self.is_strided() {
                0
            } else {
                self.count() * 2
            }
    }
}

/// A length that a header can state as that of all.
fn fixed(bytes: Option<usize>) -> Option<u16> {
    bytes
        .and_then(|bytes| u16::try_from(bytes).ok())
        .filter(|bytes| *bytes != VARIABLE)
}

/// Writes a leaf over all of `page` and answers its number of entries. The
/// check stays 0, and so do unused bytes.
///
/// `entries` must be in the order that the format asks for, and come out the
/// same from a clone. `None` where they don't fit, or one of them may not
/// stand in such a leaf; the page's contents are then unspecified.
pub fn write_leaf<'e>(
    page: &mut [u8],
    birth: u64,
    table: u32,
    sequenced: bool,
    entries: impl Iterator<Item = EntryIn<'e>> + Clone,
) -> Option<usize> {
    let first_key = entries.clone().next().map_or(&[][..], |entry| entry.key);
    let room = page.len().min(PAGE_BYTES_MAX);
    let mut size = LeafSize::new(sequenced);
    for entry in entries.clone() {
        if !size.grow(first_key, &entry, room) {
            return None;
        }
    }
    write_sized_leaf(page, birth, table, &size, entries)
}

/// As [`write_leaf`], where `size` is known to be that of exactly these entries.
pub fn write_sized_leaf<'e>(
    page: &mut [u8],
    birth: u64,
    table: u32,
    size: &LeafSize,
    entries: impl Iterator<Item = EntryIn<'e>> + Clone,
) -> Option<usize> {
    if size.bytes() > page.len().min(PAGE_BYTES_MAX) {
        return None;
    }
    let first_key = entries.clone().next().map_or(&[][..], |entry| entry.key);
    let prefix = first_key.get(..size.keys.prefix_bytes())?;
    page.fill(0);
    let header = PageHeader {
        kind: PageKind::Leaf,
        level: 0,
        flags: if size.adorned { 0 } else { PLAIN } | if size.sequenced { SEQUENCED } else { 0 },
        birth_generation: birth,
        table,
        count: u16::try_from(size.count()).ok()?,
        prefix_bytes: u16::try_from(prefix.len()).ok()?,
    };
    let mut fits = header.write(page) && put(page, LEAF_HEADER_BYTES, prefix);
    for (offset, number) in [
        (KEY_BYTES, size.fixed_key_bytes().unwrap_or(VARIABLE)),
        (VALUE_BYTES, size.fixed_value_bytes().unwrap_or(VARIABLE)),
        (CELLS, size.cells() as u16),
        (END, size.bytes() as u16),
    ] {
        fits &= put(page, offset, &number.to_le_bytes());
    }
    let heads = LEAF_HEADER_BYTES + padded(prefix.len());
    let mut at = size.cells();
    let mut count = 0;
    for (index, entry) in entries.enumerate() {
        if !is_entry_allowed(size.sequenced, entry.kind, entry.value.len()) {
            return None;
        }
        debug_assert!(entry.key.starts_with(prefix), "the size of other entries");
        count += 1;
        let rest = entry.key.get(prefix.len()..)?;
        fits &= put(
            page,
            heads + index * HEAD_BYTES,
            &head_of(rest).to_le_bytes(),
        );
        if !size.is_strided() {
            fits &= put(page, size.slots() + index * 2, &(at as u16).to_le_bytes());
        }
        at = write_cell(page, at, size, &entry, tail_of(rest))?;
    }
    (fits && at == size.bytes() && count == size.count()).then_some(count)
}

/// Writes a cell at `at` and answers where it ends.
fn write_cell(
    page: &mut [u8],
    mut at: usize,
    size: &LeafSize,
    entry: &EntryIn<'_>,
    tail: &[u8],
) -> Option<usize> {
    let mut append = |bytes: &[u8]| {
        let fits = put(page, at, bytes);
        at += bytes.len();
        fits
    };
    let mut fits = true;
    if size.adorned {
        let expiry = entry.expiry_ms.map_or(0, |_| CELL_EXPIRY);
        let metadata = entry.metadata.map_or(0, |_| CELL_METADATA);
        fits &= append(&[entry.kind as u8 | expiry | metadata]);
    }
    if size.sequenced {
        fits &= append(&entry.sequence.to_le_bytes());
    }
    if let Some(expiry_ms) = entry.expiry_ms {
        fits &= append(&expiry_ms.to_le_bytes());
    }
    if let Some(metadata) = entry.metadata {
        fits &= append(&[metadata]);
    }
    let mut lengths = [0; 20];
    let mut lengths_bytes = 0;
    if size.fixed_key_bytes().is_none() {
        lengths_bytes += put_varint(&mut lengths, lengths_bytes, entry.key.len() as u64);
    }
    if size.fixed_value_bytes().is_none() {
        lengths_bytes += put_varint(&mut lengths, lengths_bytes, entry.value.len() as u64);
    }
    fits &= append(lengths.get(..lengths_bytes)?);
    fits &= append(tail) && append(entry.value);
    fits.then_some(at)
}
