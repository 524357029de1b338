//! The records of the catalogue and of the roots tree (FORMAT.md 3.1).

use super::bytes::{get_u32, get_u64, put};
use super::page_ref::{PAGE_REF_BYTES, PageRef, encode_optional};
use crate::limits::{ADDRESS_MAX, COUNT_MAX};

/// Bytes of the catalogue's header.
pub const CATALOGUE_HEADER_BYTES: usize = 128;
/// Bytes of a group's record.
pub const GROUP_RECORD_BYTES: usize = 48;
/// Bytes of a pending list's record.
pub const PENDING_RECORD_BYTES: usize = 56;
/// Bytes of a root record.
pub const ROOT_RECORD_BYTES: usize = 64;

const MAGIC: [u8; 8] = *b"LTNGCAT1";

/// The catalogue's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CatalogueHeader {
    /// The generation that it belongs to.
    pub generation: u64,
    /// Bytes in use, header included.
    pub bytes: u32,
    /// Group records that follow.
    pub groups: u32,
    /// Pending lists that follow.
    pub pending: u32,
    /// Runs that follow.
    pub runs: u32,
    /// How many of them, from the oldest on, are being merged into the trees.
    pub merging: u32,
    /// The roots tree, or none.
    pub roots: Option<PageRef>,
    /// Entries in all tables.
    pub entries: u64,
}

impl CatalogueHeader {
    /// The bytes of this header.
    #[must_use]
    pub fn encode(&self) -> [u8; CATALOGUE_HEADER_BYTES] {
        let mut bytes = [0; CATALOGUE_HEADER_BYTES];
        put(&mut bytes, 0, &MAGIC);
        put(&mut bytes, 8, &self.generation.to_le_bytes());
        put(&mut bytes, 16, &self.bytes.to_le_bytes());
        put(&mut bytes, 20, &self.groups.to_le_bytes());
        put(&mut bytes, 24, &self.pending.to_le_bytes());
        put(&mut bytes, 28, &self.runs.to_le_bytes());
        put(&mut bytes, 32, &encode_optional(self.roots.as_ref()));
        put(&mut bytes, 72, &self.entries.to_le_bytes());
        put(&mut bytes, 80, &self.merging.to_le_bytes());
        bytes
    }

    /// Reads a header; `None` is malformed.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.get(..8) != Some(&MAGIC) || bytes.len() < CATALOGUE_HEADER_BYTES {
            return None;
        }
        let (generation, entries) = (get_u64(bytes, 8), get_u64(bytes, 72));
        if generation.max(entries) > COUNT_MAX {
            return None;
        }
        Some(Self {
            generation,
            bytes: get_u32(bytes, 16),
            groups: get_u32(bytes, 20),
            pending: get_u32(bytes, 24),
            runs: get_u32(bytes, 28),
            roots: PageRef::decode(bytes, 32)?,
            entries,
            merging: get_u32(bytes, 80),
        })
    }
}

/// A group of units: where its bitmap is, and how many of them are in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GroupRecord {
    /// The bitmap, or none where every unit is free.
    pub bitmap: Option<PageRef>,
    /// Units in use.
    pub used_units: u32,
}

impl GroupRecord {
    /// The bytes of this record.
    #[must_use]
    pub fn encode(&self) -> [u8; GROUP_RECORD_BYTES] {
        let mut bytes = [0; GROUP_RECORD_BYTES];
        put(&mut bytes, 0, &encode_optional(self.bitmap.as_ref()));
        put(&mut bytes, PAGE_REF_BYTES, &self.used_units.to_le_bytes());
        bytes
    }

    /// Reads a record; `None` is malformed.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            bitmap: PageRef::decode(bytes, 0)?,
            used_units: get_u32(bytes, PAGE_REF_BYTES),
        })
    }
}

/// The units that one flip gave up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PendingRecord {
    /// The flip; snapshots of an older generation may still read the units.
    pub generation: u64,
    /// The list's first page.
    pub head: PageRef,
    /// Units on the list.
    pub units: u64,
}

impl PendingRecord {
    /// The bytes of this record.
    #[must_use]
    pub fn encode(&self) -> [u8; PENDING_RECORD_BYTES] {
        let mut bytes = [0; PENDING_RECORD_BYTES];
        put(&mut bytes, 0, &self.generation.to_le_bytes());
        put(&mut bytes, 8, &self.head.encode());
        put(&mut bytes, 48, &self.units.to_le_bytes());
        bytes
    }

    /// Reads a record; `None` is malformed.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (generation, units) = (get_u64(bytes, 0), get_u64(bytes, 48));
        if generation > COUNT_MAX || units > ADDRESS_MAX {
            return None;
        }
        Some(Self {
            generation,
            head: PageRef::decode(bytes, 8)??,
            units,
        })
    }
}

/// A table's tree, as the roots tree has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RootRecord {
    /// The root page; none for an empty table.
    pub root: Option<PageRef>,
    /// Entries of the tree.
    pub entries: u64,
    /// The earliest expiry in it, in milliseconds since 1970.
    pub earliest_expiry_ms: Option<u64>,
    /// Whether values of it are in extents.
    pub extents_below: bool,
}

impl RootRecord {
    /// The bytes of this record.
    #[must_use]
    pub fn encode(&self) -> [u8; ROOT_RECORD_BYTES] {
        let mut bytes = [0; ROOT_RECORD_BYTES];
        put(&mut bytes, 0, &encode_optional(self.root.as_ref()));
        put(&mut bytes, 40, &self.entries.to_le_bytes());
        put(
            &mut bytes,
            48,
            &self.earliest_expiry_ms.unwrap_or(u64::MAX).to_le_bytes(),
        );
        put(&mut bytes, 56, &u32::from(self.extents_below).to_le_bytes());
        bytes
    }

    /// Reads a record; `None` is malformed.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != ROOT_RECORD_BYTES {
            return None;
        }
        let (entries, expiry) = (get_u64(bytes, 40), get_u64(bytes, 48));
        if entries > COUNT_MAX {
            return None;
        }
        Some(Self {
            root: PageRef::decode(bytes, 0)?,
            entries,
            earliest_expiry_ms: (expiry != u64::MAX).then_some(expiry),
            extents_below: get_u32(bytes, 56) & 1 != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::page_ref::PageKind;

    #[test]
    fn records_come_back() {
        let page = PageRef {
            address: 5,
            birth_generation: 6,
            units: 1,
            level: 0,
            kind: PageKind::Leaf,
            check: PageRef::crc_check(99),
        };
        let header = CatalogueHeader {
            generation: 1,
            bytes: 2,
            groups: 3,
            pending: 4,
            runs: 5,
            roots: Some(page),
            entries: 6,
            merging: 3,
        };
        assert_eq!(CatalogueHeader::decode(&header.encode()), Some(header));
        let group = GroupRecord {
            bitmap: Some(page),
            used_units: 8,
        };
        assert_eq!(GroupRecord::decode(&group.encode()), Some(group));
        assert_eq!(
            GroupRecord::decode(&GroupRecord::default().encode()),
            Some(GroupRecord::default())
        );
        let pending = PendingRecord {
            generation: 1,
            head: page,
            units: 77,
        };
        assert_eq!(PendingRecord::decode(&pending.encode()), Some(pending));
        for earliest_expiry_ms in [None, Some(5)] {
            let root = RootRecord {
                root: Some(page),
                entries: 4,
                earliest_expiry_ms,
                extents_below: true,
            };
            assert_eq!(RootRecord::decode(&root.encode()), Some(root));
        }
        assert_eq!(RootRecord::decode(&[0; 63]), None);
    }
}
