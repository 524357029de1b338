//! Writing branches (FORMAT.md 2.4).
//!
//! Every width is the least that the children allow, so that the same children
//! give the same bytes. [`BranchSize`] tells in advance, child by child,
//! exactly what [`write_branch`] takes.

use super::branch::{
    ADDRESS_BASE, ADDRESS_WIDTH, BIRTH_BASE, BIRTH_WIDTH, BRANCH_HEADER_BYTES, CHECK_WIDTH,
    COUNT_WIDTH, Child, END, EXPIRY_BASE, EXPIRY_WIDTH, EXTENTS, EXTENTS_BELOW, RECORDS, UNITS,
    UNITS_WIDTH, UNTAILED_BYTES_MAX, all_ones,
};
use super::bytes::{common_prefix_bytes, head_of, put, put_varint, put_wide};
use super::keys::{HEAD_BYTES, KeySizes, padded, tail_of};
use super::page::PageHeader;
use super::page_ref::PageKind;
use crate::limits::{PAGE_BYTES_MAX, TREE_LEVELS_MAX};

/// The widest that address, birth and count may be.
const WIDTH_MAX: usize = 6;

/// A child to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChildIn<'a> {
    /// Above every key of the children before, and not above any key of this
    /// one. The first child's isn't stored.
    pub separator: &'a [u8],
    /// The child.
    pub child: Child,
}

/// The shortest beginning of `right` that is above `left`, for `left < right`.
#[inline]
#[must_use]
pub fn shortest_separator<'k>(left: &[u8], right: &'k [u8]) -> &'k [u8] {
    right
        .get(..common_prefix_bytes(left, right) + 1)
        .unwrap_or(right)
}

/// The least and the greatest of some numbers.
#[derive(Debug, Clone, Copy, Default)]
struct Range {
    bounds: Option<(u64, u64)>,
}

impl Range {
    fn with(self, number: u64) -> Self {
        let (least, greatest) = self.bounds.unwrap_or((number, number));
        Self {
            bounds: Some((least.min(number), greatest.max(number))),
        }
    }

    fn base(self) -> u64 {
        self.bounds.map_or(0, |(least, _)| least)
    }

    fn greatest(self) -> u64 {
        self.bounds.map_or(0, |(_, greatest)| greatest)
    }

    fn span(self) -> u64 {
        self.greatest() - self.base()
    }
}

/// Bytes that `number` takes: 0 to 8.
fn width_of(number: u64) -> usize {
    (64 - number.leading_zeros() as usize).div_ceil(8)
}

/// An expiry as a branch can state it: the end of time is none.
fn expiry_of(child: &Child) -> Option<u64> {
    child
        .earliest_expiry_ms
        .filter(|expiry| *expiry != u64::MAX)
}

/// What a branch takes if it is finished now. Children come in ascending order.
#[derive(Debug, Clone, Copy, Default)]
pub struct BranchSize {
    count: usize,
    check_bytes: usize,
    separators: KeySizes,
    addresses: Range,
    births: Range,
    units: Range,
    counts: Range,
    expiries: Range,
    extents: bool,
}

impl BranchSize {
    /// Of a branch without children, in a database with checks of `check_bytes`.
    #[must_use]
    pub fn new(check_bytes: usize) -> Self {
        Self {
            check_bytes,
            ..Self::default()
        }
    }

    /// With `child` appended. `first_separator` is the separator of the
    /// branch's second child, be it this one; for the first child it doesn't matter.
    #[inline]
    #[must_use]
    pub fn with(&self, first_separator: &[u8], child: &ChildIn<'_>) -> Self {
        let mut size = *self;
        if size.count > 0 {
            size.separators = size.separators.with(first_separator, child.separator);
        }
        size.count += 1;
        let ChildIn { child, .. } = child;
        size.addresses = size.addresses.with(child.page.address);
        size.births = size.births.with(child.page.birth_generation);
        size.units = size.units.with(u64::from(child.page.units));
        size.counts = size.counts.with(child.count);
        if let Some(expiry) = expiry_of(child) {
            size.expiries = size.expiries.with(expiry);
        }
        size.extents |= child.extents_below;
        size
    }

    /// Bytes of the page up to its end. More than any page has where the
    /// children can't stand in one branch: addresses, births or counts that
    /// take more than six bytes.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> usize {
        let numbers = [self.address_width(), self.birth_width(), self.count_width()];
        if numbers.iter().any(|width| *width > WIDTH_MAX) {
            return usize::MAX;
        }
        self.tails()
            .saturating_add(self.separators.tail_bytes())
            .saturating_add(self.separators.tailed_length_bytes())
    }

    /// Number of children.
    #[inline]
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    fn address_width(&self) -> usize {
        width_of(self.addresses.span()).max(1)
    }

    fn birth_width(&self) -> usize {
        width_of(self.births.span())
    }

    /// 0 where all children have the same units, which the header then states.
    fn units_width(&self) -> usize {
        if self.units.span() == 0 {
            0
        } else {
            width_of(self.units.greatest())
        }
    }

    fn count_width(&self) -> usize {
        width_of(self.counts.greatest()).max(1)
    }

    /// One number more than there are differences: all ones stands for none.
    fn expiry_width(&self) -> usize {
        self.expiries
            .bounds
            .map_or(0, |_| width_of(self.expiries.span() + 1))
    }

    fn record(&self) -> usize {
        self.address_width()
            + self.birth_width()
            + self.units_width()
            + self.check_bytes
            + self.count_width()
            + self.expiry_width()
            + usize::from(self.extents)
    }

    fn heads(&self) -> usize {
        BRANCH_HEADER_BYTES + padded(self.separators.prefix_bytes())
    }

    fn slots(&self) -> usize {
        self.heads() + self.separators.count() * HEAD_BYTES
    }

    fn records(&self) -> usize {
        self.slots() + self.separators.count() * 2
    }

    fn tails(&self) -> usize {
        self.records() + self.count * self.record()
    }
}

/// Writes a branch over all of `page` and answers its number of children. The
/// check stays 0, and so do unused bytes.
///
/// `children` must be in ascending order, and come out the same from a clone.
/// `None` where they don't fit, there is none, or one of them can't stand
/// below such a branch; the page's contents are then unspecified.
pub fn write_branch<'e>(
    page: &mut [u8],
    birth: u64,
    table: u32,
    level: u8,
    check_bytes: usize,
    children: impl Iterator<Item = ChildIn<'e>> + Clone,
) -> Option<usize> {
    let first_separator = children.clone().nth(1).map_or(&[][..], |one| one.separator);
    let mut size = BranchSize::new(check_bytes);
    for one in children.clone() {
        if !is_child_allowed(&one.child, level) {
            return None;
        }
        size = size.with(first_separator, &one);
    }
    let is_level = (1..TREE_LEVELS_MAX).contains(&usize::from(level));
    let is_check = check_bytes == 4 || check_bytes == 16;
    if !is_level || !is_check || size.count == 0 || size.bytes() > page.len().min(PAGE_BYTES_MAX) {
        return None;
    }
    page.fill(0);
    let mut fits = write_header(page, &size, birth, table, level)?
        && put(
            page,
            BRANCH_HEADER_BYTES,
            first_separator.get(..size.separators.prefix_bytes())?,
        );
    let mut tail_at = size.tails();
    for (index, one) in children.enumerate() {
        fits &= write_record(
            page,
            size.records() + index * size.record(),
            &size,
            &one.child,
        );
        let Some(index) = index.checked_sub(1) else {
            continue;
        };
        let rest = one.separator.get(size.separators.prefix_bytes()..)?;
        let head = head_of(rest).to_le_bytes();
        fits &= put(page, size.heads() + index * HEAD_BYTES, &head);
        let slot = if rest.len() <= UNTAILED_BYTES_MAX {
            rest.len()
        } else {
            let slot = tail_at;
            tail_at += put_varint(page, tail_at, one.separator.len() as u64);
            fits &= put(page, tail_at, tail_of(rest));
            tail_at += tail_of(rest).len();
            slot
        };
        fits &= put(page, size.slots() + index * 2, &(slot as u16).to_le_bytes());
    }
    (fits && tail_at == size.bytes()).then_some(size.count)
}

fn is_child_allowed(child: &Child, level: u8) -> bool {
    let kind = if level == 1 {
        PageKind::Leaf
    } else {
        PageKind::Branch
    };
    child.page.kind == kind
        && child.page.level.checked_add(1) == Some(level)
        && child.page.address != 0
        && child.page.units != 0
}

fn write_header(
    page: &mut [u8],
    size: &BranchSize,
    birth: u64,
    table: u32,
    level: u8,
) -> Option<bool> {
    let header = PageHeader {
        kind: PageKind::Branch,
        level,
        flags: if size.extents { EXTENTS } else { 0 },
        birth_generation: birth,
        table,
        count: u16::try_from(size.count).ok()?,
        prefix_bytes: u16::try_from(size.separators.prefix_bytes()).ok()?,
    };
    let mut fits = header.write(page);
    for (offset, width) in [
        (ADDRESS_WIDTH, size.address_width()),
        (BIRTH_WIDTH, size.birth_width()),
        (UNITS_WIDTH, size.units_width()),
        (CHECK_WIDTH, size.check_bytes),
        (COUNT_WIDTH, size.count_width()),
        (EXPIRY_WIDTH, size.expiry_width()),
    ] {
        fits &= put(page, offset, &[width as u8]);
    }
    if size.units_width() == 0 {
        fits &= put_wide(page, UNITS, 2, size.units.base());
    }
    fits &= put_wide(page, RECORDS, 2, size.records() as u64);
    fits &= put_wide(page, END, 2, size.bytes() as u64);
    fits &= put_wide(page, ADDRESS_BASE, 8, size.addresses.base());
    fits &= put_wide(page, BIRTH_BASE, 8, size.births.base());
    fits &= put_wide(page, EXPIRY_BASE, 8, size.expiries.base());
    Some(fits)
}

fn write_record(page: &mut [u8], mut at: usize, size: &BranchSize, child: &Child) -> bool {
    let mut fits = true;
    let mut append = |width: usize, number: u64| {
        let fits = put_wide(page, at, width, number);
        at += width;
        fits
    };
    fits &= append(
        size.address_width(),
        child.page.address.wrapping_sub(size.addresses.base()),
    );
    fits &= append(
        size.birth_width(),
        child.page.birth_generation.wrapping_sub(size.births.base()),
    );
    fits &= append(size.units_width(), u64::from(child.page.units));
    let (low, high) = child
        .page
        .check
        .split_first_chunk::<8>()
        .map_or((0, 0), |(low, high)| {
            let high = high.first_chunk::<8>().copied().unwrap_or_default();
            (u64::from_le_bytes(*low), u64::from_le_bytes(high))
        });
    fits &= append(size.check_bytes.min(8), low);
    fits &= append(size.check_bytes.saturating_sub(8), high);
    fits &= append(size.count_width(), child.count);
    let expiry_width = size.expiry_width();
    fits &= append(
        expiry_width,
        expiry_of(child).map_or(all_ones(expiry_width), |expiry| {
            expiry.wrapping_sub(size.expiries.base())
        }),
    );
    if size.extents {
        fits &= append(
            1,
            if child.extents_below {
                u64::from(EXTENTS_BELOW)
            } else {
                0
            },
        );
    }
    fits
}
