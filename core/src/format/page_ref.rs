//! The reference to a page (FORMAT.md 1.1): where it is, and what must be there.

use super::bytes::{get_16, get_u8, get_u16, get_u64, put};
use crate::limits::{ADDRESS_MAX, COUNT_MAX};

/// Bytes of a reference in its full form.
pub const PAGE_REF_BYTES: usize = 40;

/// What a page holds (FORMAT.md 2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PageKind {
    /// Entries of a tree.
    Leaf = 1,
    /// References to pages of a tree.
    Branch = 2,
    /// Which units are in use.
    Space = 3,
    /// Units that a flip gave up.
    Pending = 4,
    /// The filter of a run.
    Filter = 5,
    /// A chunk of a large value.
    Extent = 6,
}

impl PageKind {
    /// The kind of that number.
    #[must_use]
    pub const fn of(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Leaf,
            2 => Self::Branch,
            3 => Self::Space,
            4 => Self::Pending,
            5 => Self::Filter,
            6 => Self::Extent,
            _ => return None,
        })
    }
}

/// Where a page is, and what makes it the right one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRef {
    /// Units from the start of the page file.
    pub address: u64,
    /// The generation of the first superblock that may refer to the page.
    pub birth_generation: u64,
    /// Units that its stored form takes.
    pub units: u16,
    /// 0 for a leaf, more for branches.
    pub level: u8,
    /// What it holds.
    pub kind: PageKind,
    /// CRC (the first four bytes) or the cipher's tag.
    pub check: [u8; 16],
}

impl PageRef {
    /// The CRC in the check's first four bytes.
    #[must_use]
    pub fn crc(&self) -> u32 {
        u32::from_le_bytes(self.check.first_chunk::<4>().copied().unwrap_or([0; 4]))
    }

    /// A check that is a CRC.
    #[must_use]
    pub fn crc_check(crc: u32) -> [u8; 16] {
        let mut check = [0; 16];
        if let Some(four) = check.first_chunk_mut::<4>() {
            *four = crc.to_le_bytes();
        }
        check
    }

    /// The full form.
    #[must_use]
    pub fn encode(&self) -> [u8; PAGE_REF_BYTES] {
        let mut bytes = [0; PAGE_REF_BYTES];
        put(&mut bytes, 0, &self.address.to_le_bytes());
        put(&mut bytes, 8, &self.birth_generation.to_le_bytes());
        put(&mut bytes, 16, &self.units.to_le_bytes());
        put(&mut bytes, 18, &[self.level, self.kind as u8]);
        put(&mut bytes, 24, &self.check);
        bytes
    }

    /// Reads the full form at `offset`: `Some(None)` is the reference to no
    /// page, `None` is malformed.
    #[must_use]
    pub fn decode(bytes: &[u8], offset: usize) -> Option<Option<Self>> {
        let bytes = bytes.get(offset..offset.checked_add(PAGE_REF_BYTES)?)?;
        let address = get_u64(bytes, 0);
        if address == 0 {
            return Some(None);
        }
        let birth_generation = get_u64(bytes, 8);
        let units = get_u16(bytes, 16);
        let kind = PageKind::of(get_u8(bytes, 19))?;
        if units == 0 || address > ADDRESS_MAX || birth_generation > COUNT_MAX {
            return None;
        }
        Some(Some(Self {
            address,
            birth_generation,
            units,
            level: get_u8(bytes, 18),
            kind,
            check: get_16(bytes, 24),
        }))
    }
}

/// The full form of a reference, or of none.
#[must_use]
pub fn encode_optional(page: Option<&PageRef>) -> [u8; PAGE_REF_BYTES] {
    page.map_or([0; PAGE_REF_BYTES], PageRef::encode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_come_back() {
        let page = PageRef {
            address: 0x0102_0304_0506,
            birth_generation: 77,
            units: 3,
            level: 2,
            kind: PageKind::Branch,
            check: [9; 16],
        };
        assert_eq!(PageRef::decode(&page.encode(), 0), Some(Some(page)));
        assert_eq!(PageRef::decode(&encode_optional(None), 0), Some(None));
        let mut bad = page.encode();
        bad[19] = 0;
        assert_eq!(PageRef::decode(&bad, 0), None);
        assert_eq!(PageRef::decode(&bad[..39], 0), None);
    }
}
