//! Branches (FORMAT.md 2.4): children and the keys that separate them, read in place.
//!
//! As with leaves, [`validate_branch`] checks everything once, and a
//! [`Branch`] relies on it; of bytes that didn't pass it answers nonsense, but
//! it neither panics, nor leaves the page, nor fails to end.
//!
//! A step down strips the prefix, searches the heads, and looks at a tail only
//! where a head is equal. `branch_writer` is the other direction.

use super::bytes::{get_16, get_u8, get_u16, get_u64, get_varint, get_wide, head_of};
use super::keys::{
    HEAD_BYTES, StoredRest, head_at, heads_below, heads_up_to, padded, partition, rest_of,
};
use super::page::{BY_KIND, PageHeader, count_of, flags_of, level_of, prefix_bytes_of};
use super::page_ref::{PageKind, PageRef};
use crate::error::CorruptionReason;
use crate::limits::{ADDRESS_MAX, COUNT_MAX, PAGE_BYTES_MAX, TREE_LEVELS_MAX};
use core::cmp::Ordering;

/// Where the prefix of a branch's separators begins.
pub const BRANCH_HEADER_BYTES: usize = 64;

pub(super) const ADDRESS_WIDTH: usize = BY_KIND;
pub(super) const BIRTH_WIDTH: usize = BY_KIND + 1;
pub(super) const UNITS_WIDTH: usize = BY_KIND + 2;
pub(super) const CHECK_WIDTH: usize = BY_KIND + 3;
pub(super) const COUNT_WIDTH: usize = BY_KIND + 4;
pub(super) const EXPIRY_WIDTH: usize = BY_KIND + 5;
pub(super) const UNITS: usize = BY_KIND + 6;
pub(super) const RECORDS: usize = BY_KIND + 8;
pub(super) const END: usize = BY_KIND + 10;
pub(super) const ADDRESS_BASE: usize = BY_KIND + 16;
pub(super) const BIRTH_BASE: usize = BY_KIND + 24;
pub(super) const EXPIRY_BASE: usize = BY_KIND + 32;

/// Records end with a flags byte.
pub(super) const EXTENTS: u16 = 1;
/// In a record's flags byte: extents stand below.
pub(super) const EXTENTS_BELOW: u8 = 1;
/// A slot up to this is the length of a separator without a tail.
pub(super) const UNTAILED_BYTES_MAX: usize = HEAD_BYTES;

/// A page below a branch, and what stands in it and below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Child {
    /// The page.
    pub page: PageRef,
    /// Number of entries.
    pub count: u64,
    /// When the first of them expires, in milliseconds since 1970.
    pub earliest_expiry_ms: Option<u64>,
    /// Whether any of them is an extent.
    pub extents_below: bool,
}

/// A branch's bytes, seen as children and separators.
#[derive(Debug, Clone, Copy)]
pub struct Branch<'a> {
    page: &'a [u8],
    prefix: &'a [u8],
    heads: &'a [[u8; 4]],
    slots: usize,
    count: usize,
}

/// How long the fields of a record are.
#[derive(Debug, Clone, Copy)]
struct Widths {
    address: usize,
    birth: usize,
    units: usize,
    check: usize,
    count: usize,
    expiry: usize,
    flags: usize,
}

impl Widths {
    #[inline]
    fn of(page: &[u8]) -> Self {
        Self {
            address: usize::from(get_u8(page, ADDRESS_WIDTH)),
            birth: usize::from(get_u8(page, BIRTH_WIDTH)),
            units: usize::from(get_u8(page, UNITS_WIDTH)),
            check: usize::from(get_u8(page, CHECK_WIDTH)),
            count: usize::from(get_u8(page, COUNT_WIDTH)),
            expiry: usize::from(get_u8(page, EXPIRY_WIDTH)),
            flags: usize::from(flags_of(page) & EXTENTS),
        }
    }

    #[inline]
    fn record(&self) -> usize {
        self.address + self.birth + self.units + self.check + self.count + self.expiry + self.flags
    }

    fn are_valid(&self, check_bytes: usize) -> bool {
        (1..=6).contains(&self.address)
            && self.birth <= 6
            && self.units <= 2
            && self.check == check_bytes
            && (check_bytes == 4 || check_bytes == 16)
            && (1..=6).contains(&self.count)
            && self.expiry <= 8
    }
}

impl<'a> Branch<'a> {
    /// The branch in a page that [`validate_branch`] found valid.
    #[inline]
    #[must_use]
    pub fn new(page: &'a [u8]) -> Self {
        let prefix_bytes = prefix_bytes_of(page);
        let count = count_of(page);
        let heads_at = BRANCH_HEADER_BYTES + padded(prefix_bytes);
        let slots = heads_at + count.saturating_sub(1) * HEAD_BYTES;
        Self {
            page,
            prefix: page
                .get(BRANCH_HEADER_BYTES..BRANCH_HEADER_BYTES + prefix_bytes)
                .unwrap_or(&[]),
            heads: page
                .get(heads_at..slots)
                .map_or(&[], |heads| heads.as_chunks().0),
            slots,
            count,
        }
    }

    /// Number of children; there is one separator less.
    #[inline]
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Levels above the leaves.
    #[inline]
    #[must_use]
    pub fn level(&self) -> u8 {
        level_of(self.page)
    }

    /// The child whose range holds `key`.
    #[inline]
    #[must_use]
    pub fn child_index(&self, key: &[u8]) -> usize {
        let rest = match rest_of(key, self.prefix) {
            Ok(rest) => rest,
            Err(Ordering::Less) => return 0,
            Err(_) => return self.heads.len(),
        };
        let head = head_of(rest);
        let index = heads_up_to(self.heads, head);
        let Some(last) = index.checked_sub(1) else {
            return 0;
        };
        if head_at(self.heads, last) != Some(head)
            || self.rest(last).compare_behind_head(rest) != Ordering::Greater
        {
            return index;
        }
        self.child_index_in_ties(last, head, rest)
    }

    /// The child at `index`. Past the last one the address is 0: no page.
    #[inline]
    #[must_use]
    pub fn child(&self, index: usize) -> Child {
        let (address, birth_generation) = self.child_address(index);
        let widths = Widths::of(self.page);
        let mut at = self.record(index, &widths) + widths.address + widths.birth;
        let units = if widths.units == 0 {
            get_u16(self.page, UNITS)
        } else {
            get_wide(self.page, at, widths.units) as u16
        };
        at += widths.units;
        let check = if widths.check == 16 {
            get_16(self.page, at)
        } else {
            PageRef::crc_check(get_wide(self.page, at, widths.check) as u32)
        };
        at += widths.check;
        let count = get_wide(self.page, at, widths.count);
        at += widths.count;
        let expiry = get_wide(self.page, at, widths.expiry);
        at += widths.expiry;
        let level = self.level().saturating_sub(1);
        Child {
            page: PageRef {
                address,
                birth_generation,
                units,
                level,
                kind: if level == 0 {
                    PageKind::Leaf
                } else {
                    PageKind::Branch
                },
                check,
            },
            count,
            earliest_expiry_ms: (expiry != all_ones(widths.expiry))
                .then(|| get_u64(self.page, EXPIRY_BASE).wrapping_add(expiry)),
            extents_below: widths.flags != 0 && get_u8(self.page, at) & EXTENTS_BELOW != 0,
        }
    }

    /// Address and birth generation of the child at `index`, all that a look
    /// into the cache takes. Zeros past the last one.
    #[inline]
    #[must_use]
    pub fn child_address(&self, index: usize) -> (u64, u64) {
        if index >= self.count {
            return (0, 0);
        }
        let widths = Widths::of(self.page);
        let at = self.record(index, &widths);
        let address = get_wide(self.page, at, widths.address);
        let birth = get_wide(self.page, at + widths.address, widths.birth);
        (
            get_u64(self.page, ADDRESS_BASE).wrapping_add(address),
            get_u64(self.page, BIRTH_BASE).wrapping_add(birth),
        )
    }

    /// Length of the separator between the children at `index` and behind it.
    #[inline]
    #[must_use]
    pub fn separator_bytes(&self, index: usize) -> usize {
        self.prefix.len() + self.rest(index).bytes
    }

    /// Writes the separator between the children at `index` and behind it to
    /// the beginning of `buffer`; answers its length, 0 where it doesn't fit.
    #[inline]
    pub fn copy_separator(&self, index: usize, buffer: &mut [u8]) -> usize {
        self.rest(index).copy(self.prefix, buffer)
    }

    /// Compares the separator between the children at `index` and behind it with `key`.
    #[inline]
    #[must_use]
    pub fn compare_separator(&self, index: usize, key: &[u8]) -> Ordering {
        match rest_of(key, self.prefix) {
            Ok(rest) => self.rest(index).compare(rest),
            Err(side) => side.reverse(),
        }
    }

    /// The child for `rest` among those whose separators have its head; the
    /// one at `last`, the last of them, is above it.
    #[cold]
    fn child_index_in_ties(&self, last: usize, head: u32, rest: &[u8]) -> usize {
        partition(heads_below(self.heads, head), last, |index| {
            self.rest(index).compare_behind_head(rest) != Ordering::Greater
        })
    }

    #[inline]
    fn rest(&self, index: usize) -> StoredRest<'a> {
        let Some(head) = head_at(self.heads, index) else {
            return StoredRest::default();
        };
        let slot = usize::from(get_u16(self.page, self.slots + index * 2));
        if slot <= UNTAILED_BYTES_MAX {
            return StoredRest {
                head,
                bytes: slot,
                tail: &[],
            };
        }
        self.tailed_at(slot, head).unwrap_or_default().0
    }

    /// The separator whose tail begins at `at`, and where that ends.
    #[inline]
    fn tailed_at(&self, at: usize, head: u32) -> Option<(StoredRest<'a>, usize)> {
        let (length, varint_bytes) = get_varint(self.page, at)?;
        let bytes = usize::try_from(length)
            .ok()?
            .checked_sub(self.prefix.len())?;
        let at = at.checked_add(varint_bytes)?;
        let end = at.checked_add(bytes.checked_sub(HEAD_BYTES)?)?;
        let tail = self.page.get(at..end)?;
        Some((StoredRest { head, bytes, tail }, end))
    }

    #[inline]
    fn records(&self) -> usize {
        self.slots + self.heads.len() * 2
    }

    #[inline]
    fn record(&self, index: usize, widths: &Widths) -> usize {
        self.records()
            .saturating_add(index.saturating_mul(widths.record()))
    }
}

/// The largest number of `width` bytes, which stands for no expiry; 0 for width 0.
#[inline]
pub(super) fn all_ones(width: usize) -> u64 {
    u64::MAX
        .checked_shr(64_u32.saturating_sub(width as u32 * 8))
        .unwrap_or(0)
}

/// Checks all rules of a branch, in a database with checks of `check_bytes`.
/// What the reference to the page says is checked by [`PageHeader::matches`],
/// the check before both.
///
/// # Errors
/// [`CorruptionReason::Structure`] or [`CorruptionReason::KeyOrder`].
pub fn validate_branch(page: &[u8], check_bytes: usize) -> Result<(), CorruptionReason> {
    let header = PageHeader::read(page)?;
    let end = match get_u16(page, END) {
        0 => PAGE_BYTES_MAX,
        end => usize::from(end),
    };
    let widths = Widths::of(page);
    let is_branch = header.kind == PageKind::Branch
        && (1..TREE_LEVELS_MAX).contains(&usize::from(header.level))
        && header.count > 0
        && header.flags & !EXTENTS == 0;
    if !is_branch || !widths.are_valid(check_bytes) || end > page.len() {
        return Err(CorruptionReason::Structure);
    }
    let branch = Branch::new(page);
    let padding = page
        .get(
            BRANCH_HEADER_BYTES + branch.prefix.len()
                ..branch.slots.saturating_sub(branch.heads.len() * HEAD_BYTES),
        )
        .unwrap_or(&[]);
    let tails = branch.record(branch.count, &widths);
    if tails > end
        || branch.heads.len() + 1 != branch.count
        || branch.records() != usize::from(get_u16(page, RECORDS))
        || padding.iter().any(|byte| *byte != 0)
        || !(0..branch.count).all(|index| is_record_valid(&branch, index, &widths))
    {
        return Err(CorruptionReason::Structure);
    }
    validate_separators(&branch, tails, end)
}

fn is_record_valid(branch: &Branch<'_>, index: usize, widths: &Widths) -> bool {
    let page = branch.page;
    let at = branch.record(index, widths);
    let address = get_wide(page, at, widths.address);
    let birth = get_wide(page, at + widths.address, widths.birth);
    let expiry_at = at + widths.record() - widths.flags - widths.expiry;
    let expiry = get_wide(page, expiry_at, widths.expiry);
    let child = branch.child(index);
    get_u64(page, ADDRESS_BASE)
        .checked_add(address)
        .is_some_and(|address| (1..=ADDRESS_MAX).contains(&address))
        && get_u64(page, BIRTH_BASE)
            .checked_add(birth)
            .is_some_and(|birth| birth <= COUNT_MAX)
        && (child.earliest_expiry_ms.is_none()
            || get_u64(page, EXPIRY_BASE).checked_add(expiry).is_some())
        && child.page.units != 0
        && (widths.flags == 0 || get_u8(page, expiry_at + widths.expiry) <= EXTENTS_BELOW)
}

fn validate_separators(
    branch: &Branch<'_>,
    tails: usize,
    end: usize,
) -> Result<(), CorruptionReason> {
    let mut at = tails;
    let mut previous: Option<StoredRest<'_>> = None;
    for (index, head) in branch.heads.iter().enumerate() {
        let head = u32::from_le_bytes(*head);
        let slot = usize::from(get_u16(branch.page, branch.slots + index * 2));
        let mut rest = StoredRest {
            head,
            bytes: slot,
            tail: &[],
        };
        if slot > UNTAILED_BYTES_MAX {
            (rest, at) = branch
                .tailed_at(slot, head)
                .filter(|(rest, tail_end)| {
                    slot == at && rest.bytes > UNTAILED_BYTES_MAX && *tail_end <= end
                })
                .ok_or(CorruptionReason::Structure)?;
        }
        if !rest.is_whole() {
            return Err(CorruptionReason::Structure);
        }
        if previous.is_some_and(|previous| previous.compare_stored(&rest) != Ordering::Less) {
            return Err(CorruptionReason::KeyOrder);
        }
        previous = Some(rest);
    }
    if at == end {
        Ok(())
    } else {
        Err(CorruptionReason::Structure)
    }
}

#[cfg(test)]
mod tests;
