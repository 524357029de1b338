//! Values too large for a leaf: written in chunks to units of their own.
//!
//! The chunks of an extent are pages in contiguous units, so that chunk *i* is
//! found without an index. No reference carries their checks: a chunk is the
//! right one when its own check verifies and its header names the birth
//! generation, table, chunk number and writing that the extent reference implies. A
//! write that was lost leaves others, or none. With a cipher, a chunk's tag stands behind
//! it: what it names is sealed with it.

use super::super::space::Space;
use super::super::writer::{NewPage, Writer};
use super::PageStore;
use super::stream::extent_units;
use crate::error::{CorruptionReason, Error, Result};
use crate::format::bytes::put;
use crate::format::extent::{EXTENT_HEADER_BYTES, ExtentRef};
use crate::format::page_ref::{PageKind, PageRef};
use crate::pager::Pager;
use lightning_platform::File;

impl PageStore {
    /// Writes a value to an extent of the state being built.
    ///
    /// # Errors
    /// I/O, or a file at its limit: the caller then abandons what is being built.
    pub fn append_extent(&mut self, pager: &Pager, table: u32, value: &[u8]) -> Result<ExtentRef> {
        self.check_standing()?;
        let written = self.write_extent(pager, table, value);
        self.note(written)
    }

    fn write_extent(&mut self, pager: &Pager, table: u32, value: &[u8]) -> Result<ExtentRef> {
        let mut extent = ExtentRef {
            address: 0,
            length: value.len() as u64,
            birth_generation: self.next_generation,
            crc: pager.checksum().of(value),
            writing: self.next_writing(pager),
        };
        let page_bytes = pager.layout().chunk_page_bytes();
        let chunks = extent.chunks(page_bytes);
        self.writer.reserve(pager, &mut self.space, chunks)?;
        let page = self.extent_page.as_mut().ok_or(Error::Internal(260))?;
        let pieces = value.chunks(ExtentRef::chunk_bytes(page_bytes));
        for (number, chunk) in (0_u64..).zip(pieces) {
            page.fill(0);
            extent.put_header(page, table, number, chunk.len());
            put(page, EXTENT_HEADER_BYTES, chunk);
            append_chunk(
                pager,
                &mut self.writer,
                &mut self.space,
                &mut extent,
                number,
                page,
            )?;
        }
        Ok(extent)
    }

    /// A number that tells a writing from earlier ones.
    pub(super) fn next_writing(&mut self, pager: &Pager) -> u32 {
        let (salt, counter) = self.writer.take_counters(1);
        let checksum = pager.checksum();
        checksum.append(checksum.of(&salt), &counter.to_le_bytes())
    }

    /// Notes that the state being built no longer uses an extent.
    ///
    /// # Errors
    /// I/O.
    pub fn release_extent(&mut self, pager: &Pager, extent: &ExtentRef) -> Result<()> {
        self.check_standing()?;
        if pager.streams().find(extent.address).is_some() {
            // The flip that names its commit as merged decides: see `stream`.
            return Ok(());
        }
        let units = extent_units(pager, extent);
        let released = self.release_range(pager, extent.address, units);
        self.note(released)
    }
}

/// Appends a chunk of an extent that [`reserve`](Writer::reserve) found
/// room for. The first one says where the extent is.
pub(super) fn append_chunk(
    pager: &Pager,
    writer: &mut Writer,
    space: &mut Space,
    extent: &mut ExtentRef,
    number: u64,
    page: &mut [u8],
) -> Result<()> {
    let new = NewPage {
        kind: PageKind::Extent,
        level: 0,
        birth_generation: extent.birth_generation,
        compress: false,
    };
    let written = writer.append(pager, space, new, page)?;
    if number == 0 {
        extent.address = written.address;
    } else if written.address != extent.address + number * u64::from(pager.layout().page_units()) {
        return Err(Error::Internal(261));
    }
    Ok(())
}

impl Pager {
    /// Copies a part of an extent's value, which lies within it, into `buffer`.
    ///
    /// # Errors
    /// I/O or corruption.
    pub fn read_extent(
        &self,
        extent: &ExtentRef,
        table: u32,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<()> {
        let chunk_bytes = ExtentRef::chunk_bytes(self.layout.chunk_page_bytes()) as u64;
        let page_units = self.layout.page_units();
        let whole = offset == 0 && buffer.len() as u64 == extent.length;
        let mut at = offset;
        let mut rest = &mut *buffer;
        while !rest.is_empty() {
            let number = at / chunk_bytes;
            let address = extent
                .address
                .saturating_add(number * u64::from(page_units));
            let place = self.layout.offset(address).unwrap_or(u64::MAX);
            let damage = |reason| Error::corrupt(reason, File::Pages, place);
            let page = PageRef {
                address,
                birth_generation: extent.birth_generation,
                units: page_units,
                level: 0,
                kind: PageKind::Extent,
                check: [0; 16],
            };
            let pin = self.page(&page, table)?;
            let held = (extent.length - number * chunk_bytes).min(chunk_bytes);
            if !extent.is_chunk(pin.bytes(), number, held) {
                return Err(damage(CorruptionReason::Identity));
            }
            let within = usize::try_from(at % chunk_bytes).unwrap_or(usize::MAX);
            let count = usize::try_from(held)
                .unwrap_or(0)
                .saturating_sub(within)
                .min(rest.len());
            let from = pin
                .bytes()
                .get(EXTENT_HEADER_BYTES + within..)
                .and_then(|tail| tail.get(..count))
                .filter(|part| !part.is_empty())
                .ok_or_else(|| damage(CorruptionReason::Structure))?;
            let (to, later) = rest
                .split_at_mut_checked(count)
                .ok_or(Error::Internal(262))?;
            to.copy_from_slice(from);
            rest = later;
            at += count as u64;
        }
        if whole && self.checksum.of(buffer) != extent.crc {
            let place = self.layout.offset(extent.address).unwrap_or(u64::MAX);
            return Err(Error::corrupt(
                CorruptionReason::Checksum,
                File::Pages,
                place,
            ));
        }
        Ok(())
    }
}
