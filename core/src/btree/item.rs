//! What a stage holds, and how it stands there.
//!
//! A plain entry takes eight bytes beside key and value: where a stage has no room
//! for two pages' worth of small entries, pages are made before they are full.

use crate::format::branch::Child;
use crate::format::branch_writer::ChildIn;
use crate::format::bytes::{get_16, get_u8, get_u64, put};
use crate::format::leaf::EntryKind;
use crate::format::leaf_writer::EntryIn;
use crate::format::page_ref::{PageKind, PageRef};

/// Every item: key bytes (2), kind (1: 0 to 2 an entry's, 255 a child), flags (1),
/// value bytes of an entry (4), or level (1) and units (2) of a child.
const HEADER_BYTES: usize = 8;
/// Behind a child's header: earliest expiry (8), count (8), address (8), birth (8),
/// check (16). Behind an entry's, as flags say: expiry (8), sequence (8), metadata (1).
const CHILD_BYTES: usize = 48;
const CHILD_KIND: u8 = 255;
const EXPIRY: u8 = 1;
const METADATA: u8 = 1 << 1;
const EXTENTS: u8 = 1 << 2;
const SEQUENCE: u8 = 1 << 3;

/// What a stage holds: one shape for both levels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Item<'a> {
    pub key: &'a [u8],
    pub body: Body<'a>,
}

/// An entry of a leaf, or a child of a branch.
#[derive(Debug, Clone, Copy, PartialEq)]
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

impl<'a> Item<'a> {
    pub(super) fn entry(&self) -> Option<EntryIn<'a>> {
        match self.body {
            Body::Entry {
                kind,
                expiry_ms,
                metadata,
                sequence,
                value,
            } => Some(EntryIn {
                key: self.key,
                kind,
                expiry_ms,
                metadata,
                sequence,
                value,
            }),
            Body::Child(_) => None,
        }
    }

    pub(super) fn child(&self) -> Option<ChildIn<'a>> {
        match self.body {
            Body::Child(child) => Some(ChildIn {
                separator: self.key,
                child,
            }),
            Body::Entry { .. } => None,
        }
    }

    /// Bytes before the key.
    fn lead_bytes(flags: u8, kind: u8) -> usize {
        if kind == CHILD_KIND {
            return HEADER_BYTES + CHILD_BYTES;
        }
        HEADER_BYTES
            + if flags & EXPIRY == 0 { 0 } else { 8 }
            + if flags & SEQUENCE == 0 { 0 } else { 8 }
            + if flags & METADATA == 0 { 0 } else { 1 }
    }

    /// Kind, flags, and what else the header has.
    fn header(&self) -> (u8, u8, u32) {
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        match self.body {
            Body::Entry {
                kind,
                expiry_ms,
                metadata,
                sequence,
                value,
            } => {
                let flags = flag(expiry_ms.is_some(), EXPIRY)
                    | flag(metadata.is_some(), METADATA)
                    | flag(sequence != 0, SEQUENCE);
                let value_bytes = u32::try_from(value.len()).unwrap_or(u32::MAX);
                (kind as u8, flags, value_bytes)
            }
            Body::Child(child) => {
                let flags = flag(child.earliest_expiry_ms.is_some(), EXPIRY)
                    | flag(child.extents_below, EXTENTS);
                let rest = u32::from(child.page.level) | u32::from(child.page.units) << 8;
                (CHILD_KIND, flags, rest)
            }
        }
    }

    /// Where the key stands of what [`put`](Self::put) writes.
    pub(super) fn key_start(&self) -> usize {
        let (kind, flags, _) = self.header();
        Self::lead_bytes(flags, kind)
    }

    /// Bytes that [`put`](Self::put) takes.
    pub(super) fn bytes(&self) -> usize {
        let (kind, flags, _) = self.header();
        let value_bytes = match self.body {
            Body::Entry { value, .. } => value.len(),
            Body::Child(_) => 0,
        };
        Self::lead_bytes(flags, kind) + self.key.len() + value_bytes
    }

    /// Writes the item to the beginning of `to`; answers where its key stands, and
    /// where it ends.
    pub(super) fn put(&self, to: &mut [u8]) -> Option<(usize, usize)> {
        let key_bytes = u16::try_from(self.key.len()).ok()?;
        let (kind, flags, rest) = self.header();
        let word = u64::from(key_bytes)
            | u64::from(kind) << 16
            | u64::from(flags) << 24
            | u64::from(rest) << 32;
        let key_at = Self::lead_bytes(flags, kind);
        let value_at = key_at + self.key.len();
        let mut fits = put(to, 0, &word.to_le_bytes());
        let mut end = value_at;
        match self.body {
            Body::Entry {
                expiry_ms,
                metadata,
                sequence,
                value,
                ..
            } => {
                let mut at = HEADER_BYTES;
                if let Some(expiry_ms) = expiry_ms {
                    fits &= put(to, at, &expiry_ms.to_le_bytes());
                    at += 8;
                }
                if sequence != 0 {
                    fits &= put(to, at, &sequence.to_le_bytes());
                    at += 8;
                }
                if let Some(metadata) = metadata {
                    fits &= put(to, at, &[metadata]);
                }
                fits &= put(to, value_at, value);
                end += value.len();
            }
            Body::Child(child) => {
                let numbers = [
                    child.earliest_expiry_ms.unwrap_or(0),
                    child.count,
                    child.page.address,
                    child.page.birth_generation,
                ];
                for (index, number) in numbers.into_iter().enumerate() {
                    fits &= put(to, HEADER_BYTES + index * 8, &number.to_le_bytes());
                }
                fits &= put(to, HEADER_BYTES + 32, &child.page.check);
            }
        }
        fits &= put(to, key_at, self.key);
        fits.then_some((key_at, end))
    }

    /// The item at the beginning of `from`, and where it ends.
    pub(super) fn get(from: &'a [u8]) -> Option<(Self, usize)> {
        let word = get_u64(from, 0);
        let (kind, flags) = ((word >> 16) as u8, (word >> 24) as u8);
        let key_at = Self::lead_bytes(flags, kind);
        let value_at = key_at + usize::from(word as u16);
        let key = from.get(key_at..value_at)?;
        if kind == CHILD_KIND {
            let level = (word >> 32) as u8;
            let body = Body::Child(Child {
                page: PageRef {
                    address: get_u64(from, HEADER_BYTES + 16),
                    birth_generation: get_u64(from, HEADER_BYTES + 24),
                    units: (word >> 40) as u16,
                    level,
                    kind: if level == 0 {
                        PageKind::Leaf
                    } else {
                        PageKind::Branch
                    },
                    check: get_16(from, HEADER_BYTES + 32),
                },
                count: get_u64(from, HEADER_BYTES + 8),
                earliest_expiry_ms: (flags & EXPIRY != 0).then(|| get_u64(from, HEADER_BYTES)),
                extents_below: flags & EXTENTS != 0,
            });
            return Some((Self { key, body }, value_at));
        }
        let end = value_at + (word >> 32) as usize;
        let mut at = HEADER_BYTES;
        let expiry_ms = (flags & EXPIRY != 0).then(|| {
            at += 8;
            get_u64(from, at - 8)
        });
        let mut sequence = 0;
        if flags & SEQUENCE != 0 {
            sequence = get_u64(from, at);
            at += 8;
        }
        let body = Body::Entry {
            kind: EntryKind::of(kind)?,
            expiry_ms,
            metadata: (flags & METADATA != 0).then(|| get_u8(from, at)),
            sequence,
            value: from.get(value_at..end)?,
        };
        Some((Self { key, body }, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_comes_back(item: &Item<'_>) {
        let mut buffer = [0xEE; 400];
        let (key_at, end) = item.put(&mut buffer).unwrap();
        assert_eq!(end, item.bytes());
        assert_eq!(&buffer[key_at..key_at + item.key.len()], item.key);
        assert_eq!(Item::get(&buffer), Some((*item, end)));
        assert_eq!(Item::get(&buffer[..end]), Some((*item, end)));
        assert!(item.put(&mut buffer[..end - 1]).is_none() || end == 8);
    }

    #[test]
    fn entries_come_back() {
        for (key, value) in [
            (&b""[..], &b""[..]),
            (b"key", b""),
            (b"", b"value"),
            (b"k", &[7; 300]),
        ] {
            for kind in [EntryKind::Put, EntryKind::Tombstone, EntryKind::Extent] {
                for shape in 0..8_u8 {
                    assert_comes_back(&Item {
                        key,
                        body: Body::Entry {
                            kind,
                            expiry_ms: (shape & 1 != 0).then_some(u64::MAX - 3),
                            metadata: (shape & 2 != 0).then_some(0),
                            sequence: u64::from(shape & 4) << 40,
                            value,
                        },
                    });
                }
            }
        }
    }

    #[test]
    fn children_come_back() {
        for level in [0, 1, 22] {
            for expiry in [None, Some(0), Some(u64::MAX)] {
                assert_comes_back(&Item {
                    key: b"separator",
                    body: Body::Child(Child {
                        page: PageRef {
                            address: 1 << 47 | 5,
                            birth_generation: 1 << 46 | 6,
                            units: 0xABCD,
                            level,
                            kind: if level == 0 {
                                PageKind::Leaf
                            } else {
                                PageKind::Branch
                            },
                            check: [9; 16],
                        },
                        count: 1 << 45 | 7,
                        earliest_expiry_ms: expiry,
                        extents_below: level == 1,
                    }),
                });
            }
        }
    }
}
