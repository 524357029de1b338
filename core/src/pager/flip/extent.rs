//! Values too large for a leaf: written in chunks to units of their own.
//!
//! The chunks of an extent are pages in contiguous units, so that chunk *i* is
//! found without an index. No reference carries their checks: a chunk is the
//! right one when its own check verifies and its header names the birth
//! generation, table and chunk number that the extent reference implies. A write
//! that was lost leaves an older birth, or none.

use super::super::writer::NewPage;
use super::PageStore;
use crate::error::{CorruptionReason, Error, Result};
use crate::format::bytes::{get_u32, get_u64, put};
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
        };
        let chunk_bytes = ExtentRef::chunk_bytes(pager.layout().plain_bytes);
        let page_units = u64::from(pager.layout().page_units());
        let chunks = extent.chunks(pager.layout().plain_bytes);
        self.writer
            .reserve_exactly(pager, &mut self.space, chunks)?;
        let page = self.extent_page.as_mut().ok_or(Error::Internal(260))?;
        for (number, chunk) in (0_u64..).zip(value.chunks(chunk_bytes)) {
            page.fill(0);
            put(page, 4, &[PageKind::Extent as u8, 0]);
            put(page, 16, &table.to_le_bytes());
            put(page, 24, &number.to_le_bytes());
            put(
                page,
                32,
                &u32::try_from(chunk.len()).unwrap_or(0).to_le_bytes(),
            );
            put(page, EXTENT_HEADER_BYTES, chunk);
            let new = NewPage {
                kind: PageKind::Extent,
                level: 0,
                birth_generation: extent.birth_generation,
                compress: false,
            };
            let written = self.writer.append(pager, &mut self.space, new, page)?;
            if number == 0 {
                extent.address = written.address;
            } else if written.address != extent.address + number * page_units {
                return Err(Error::Internal(261));
            }
        }
        Ok(extent)
    }

    /// Notes that the state being built no longer uses an extent.
    ///
    /// # Errors
    /// I/O.
    pub fn release_extent(&mut self, pager: &Pager, extent: &ExtentRef) -> Result<()> {
        let chunks = extent.chunks(pager.layout().plain_bytes);
        let units = chunks.saturating_mul(u64::from(pager.layout().page_units()));
        self.check_standing()?;
        let released = self.release_range(pager, extent.address, units);
        self.note(released)
    }
}

impl Pager {
    /// Whether pages are encrypted.
    #[must_use]
    pub fn has_cipher(&self) -> bool {
        self.cipher.is_some()
    }

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
        let chunk_bytes = ExtentRef::chunk_bytes(self.layout.plain_bytes) as u64;
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
            if get_u64(pin.bytes(), 24) != number || u64::from(get_u32(pin.bytes(), 32)) != held {
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
