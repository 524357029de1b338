//! The header that every page begins with (FORMAT.md 2.1).
//!
//! Reading it checks no more than that it is there and names a known kind;
//! [`PageHeader::matches`] checks it against what led to the page, and the
//! rules of each kind stand with that kind.

use super::bytes::{get_u8, get_u16, get_u32, get_u64, put};
use super::page_ref::{PageKind, PageRef};
use crate::error::CorruptionReason;
use crate::limits::PAGE_BYTES_MAX;

/// Bytes of the header, those that each kind has for itself included.
pub const PAGE_HEADER_BYTES: usize = 40;

const CHECK: usize = 0;
const KIND: usize = 4;
const LEVEL: usize = 5;
const FLAGS: usize = 6;
const BIRTH_GENERATION: usize = 8;
const TABLE: usize = 16;
const COUNT: usize = 20;
const PREFIX_BYTES: usize = 22;
/// Where the bytes that each kind has for itself begin.
pub const BY_KIND: usize = 24;

/// What all pages say of themselves, without the check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageHeader {
    /// What the page holds.
    pub kind: PageKind,
    /// 0 for a leaf, more for branches.
    pub level: u8,
    /// Flags, by kind.
    pub flags: u16,
    /// The generation of the first superblock that may refer to the page.
    pub birth_generation: u64,
    /// The table, or 0 for pages of no table.
    pub table: u32,
    /// Entries of a leaf, children of a branch.
    pub count: u16,
    /// Bytes that all keys of a leaf, or separators of a branch, begin with.
    pub prefix_bytes: u16,
}

impl PageHeader {
    /// Reads the header of a page as it is in memory.
    ///
    /// # Errors
    /// [`CorruptionReason::Structure`] for too few bytes or too many, or an unknown kind.
    #[inline]
    pub fn read(page: &[u8]) -> Result<Self, CorruptionReason> {
        if page.len() > PAGE_BYTES_MAX {
            return Err(CorruptionReason::Structure);
        }
        let header = page
            .first_chunk::<PAGE_HEADER_BYTES>()
            .ok_or(CorruptionReason::Structure)?;
        Ok(Self {
            kind: PageKind::of(get_u8(header, KIND)).ok_or(CorruptionReason::Structure)?,
            level: get_u8(header, LEVEL),
            flags: get_u16(header, FLAGS),
            birth_generation: get_u64(header, BIRTH_GENERATION),
            table: get_u32(header, TABLE),
            count: get_u16(header, COUNT),
            prefix_bytes: get_u16(header, PREFIX_BYTES),
        })
    }

    /// Writes the header; check and bytes by kind are left alone. Answers
    /// whether the page had room for it; nothing is written otherwise.
    pub fn write(&self, page: &mut [u8]) -> bool {
        let Some(header) = page.first_chunk_mut::<PAGE_HEADER_BYTES>() else {
            return false;
        };
        put(header, KIND, &[self.kind as u8, self.level])
            && put(header, FLAGS, &self.flags.to_le_bytes())
            && put(
                header,
                BIRTH_GENERATION,
                &self.birth_generation.to_le_bytes(),
            )
            && put(header, TABLE, &self.table.to_le_bytes())
            && put(header, COUNT, &self.count.to_le_bytes())
            && put(header, PREFIX_BYTES, &self.prefix_bytes.to_le_bytes())
    }

    /// Checks that this is the page that `reference`, found in `table`, means.
    ///
    /// # Errors
    /// [`CorruptionReason::Identity`] where kind, level, birth or table differ.
    #[inline]
    pub fn matches(&self, reference: &PageRef, table: u32) -> Result<(), CorruptionReason> {
        if self.kind == reference.kind
            && self.level == reference.level
            && self.birth_generation == reference.birth_generation
            && self.table == table
        {
            Ok(())
        } else {
            Err(CorruptionReason::Identity)
        }
    }
}

/// The check that stands in a page stored without an envelope.
#[must_use]
pub fn check_of(page: &[u8]) -> u32 {
    get_u32(page, CHECK)
}

/// Writes the check of a page stored without an envelope; answers whether it fitted.
pub fn put_check(page: &mut [u8], check: u32) -> bool {
    put(page, CHECK, &check.to_le_bytes())
}

/// Number of entries, as the views read it of a page that was checked.
#[inline]
pub(super) fn count_of(page: &[u8]) -> usize {
    usize::from(get_u16(page, COUNT))
}

/// Length of the prefix, as the views read it of a page that was checked.
#[inline]
pub(super) fn prefix_bytes_of(page: &[u8]) -> usize {
    usize::from(get_u16(page, PREFIX_BYTES))
}

/// Flags, as the views read them of a page that was checked.
#[inline]
pub(super) fn flags_of(page: &[u8]) -> u16 {
    get_u16(page, FLAGS)
}

/// Level, as the views read it of a page that was checked.
#[inline]
pub(super) fn level_of(page: &[u8]) -> u8 {
    get_u8(page, LEVEL)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> PageHeader {
        PageHeader {
            kind: PageKind::Branch,
            level: 3,
            flags: 0x0102,
            birth_generation: 0x0304_0506_0708_090A,
            table: 0x0B0C_0D0E,
            count: 0x0F10,
            prefix_bytes: 0x1112,
        }
    }

    #[test]
    fn comes_back() {
        let mut page = [0xEE; 512];
        assert!(sample().write(&mut page));
        assert!(put_check(&mut page, 77));
        assert_eq!(PageHeader::read(&page), Ok(sample()));
        assert_eq!(check_of(&page), 77);
        assert_eq!(page[BY_KIND..], [0xEE; 512 - BY_KIND]);
        assert!(!sample().write(&mut page[..39]));
    }

    #[test]
    fn what_is_no_page_is_refused() {
        let mut page = [0; 512];
        assert!(sample().write(&mut page));
        assert_eq!(
            PageHeader::read(&page[..39]),
            Err(CorruptionReason::Structure)
        );
        page[KIND] = 7;
        assert_eq!(PageHeader::read(&page), Err(CorruptionReason::Structure));
        let large = std::vec![1; PAGE_BYTES_MAX + 1];
        assert_eq!(PageHeader::read(&large), Err(CorruptionReason::Structure));
    }

    #[test]
    fn another_page_is_told_apart() {
        let reference = PageRef {
            address: 1,
            birth_generation: sample().birth_generation,
            units: 1,
            level: 3,
            kind: PageKind::Branch,
            check: [0; 16],
        };
        let table = sample().table;
        assert_eq!(sample().matches(&reference, table), Ok(()));
        let others = [
            PageRef {
                birth_generation: 1,
                ..reference
            },
            PageRef {
                level: 2,
                ..reference
            },
            PageRef {
                kind: PageKind::Leaf,
                ..reference
            },
        ];
        for other in others {
            assert_eq!(
                sample().matches(&other, table),
                Err(CorruptionReason::Identity)
            );
        }
        assert_eq!(
            sample().matches(&reference, table + 1),
            Err(CorruptionReason::Identity)
        );
    }
}
