//! Writes the pages of a run to units that were taken for it, beside maintenance.
//!
//! Units come in *parts*, each a stretch of its own: nobody knows in advance how many
//! pages there will be. Nobody else writes there, and nothing refers to them yet. Whole
//! blocks are written, in order, each once. Pages are not compressed, so that it is known
//! how many a part takes, and none of its units is lost between two writes.

use super::flip::PartPlace;
use super::writer::write_fresh;
use super::{Pager, Sealing};
use crate::error::{Error, Result};
use crate::format::bytes::put;
use crate::format::extent::{EXTENT_HEADER_BYTES, ExtentRef};
use crate::format::page_ref::{PageKind, PageRef};
use crate::mem::{Array, Budget};
use lightning_platform::MemoryUse;

/// See the module.
pub struct PartWriter {
    /// Pages to be written.
    stored: Array<u8>,
    filled: usize,
    part: Option<PartPlace>,
    /// Pages of the part that were given a place, and how many of them were written.
    pages: u64,
    pages_written: u64,
    written_bytes: u64,
}

impl PartWriter {
    /// For `pager`, writing about `write_bytes` at a time.
    ///
    /// # Errors
    /// When the budget or the host has no memory.
    pub fn new(budget: &mut Budget, pager: &Pager, write_bytes: usize) -> Result<Self> {
        let layout = pager.layout();
        let blocks = (write_bytes / layout.block_bytes.max(1)).max(1);
        Ok(Self {
            stored: Array::zeroed(budget, MemoryUse::Buffer, blocks * layout.block_bytes)?,
            filled: 0,
            part: None,
            pages: 0,
            pages_written: 0,
            written_bytes: 0,
        })
    }

    /// Forgets what is not written, and the part.
    pub fn reset(&mut self) {
        self.filled = 0;
        self.part = None;
        self.pages = 0;
        self.pages_written = 0;
        self.written_bytes = 0;
    }

    /// The part that is being filled, and how many of its units hold pages.
    #[must_use]
    pub fn part(&self, pager: &Pager) -> Option<(u32, u64)> {
        let units = self.pages * u64::from(pager.layout().page_units());
        self.part.map(|part| (part.slot, units))
    }

    /// Pages that the part takes still.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.part
            .map_or(0, |part| part.pages.saturating_sub(self.pages))
    }

    /// Bytes of all pages.
    #[must_use]
    pub fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// Goes on in another part; the one before was written out.
    pub fn begin_part(&mut self, part: PartPlace) {
        self.filled = 0;
        self.part = Some(part);
        self.pages = 0;
        self.pages_written = 0;
    }

    /// Gives a finished plain page a place in the part, which has room for it.
    ///
    /// # Errors
    /// I/O: nothing of the run can be used then.
    pub fn append(
        &mut self,
        pager: &Pager,
        kind: PageKind,
        level: u8,
        plain: &mut [u8],
    ) -> Result<PageRef> {
        let layout = pager.layout();
        let part = self.part.filter(|part| self.pages < part.pages);
        let part = part.ok_or(Error::Internal(320))?;
        put(plain, 8, &part.birth_generation.to_le_bytes());
        let address = part.address + self.pages * u64::from(layout.page_units());
        let sealing = Sealing {
            address,
            birth_generation: part.birth_generation,
            salt: &part.salt,
            counter: part.counter + self.pages,
            compress: false,
            is_chunk: kind == PageKind::Extent,
        };
        let to = self
            .stored
            .get_mut(self.filled..self.filled + layout.page_bytes)
            .ok_or(Error::Internal(321))?;
        let (units, check) = pager.seal(&sealing, plain, to)?;
        self.filled += layout.page_bytes;
        self.pages += 1;
        self.written_bytes += layout.page_bytes as u64;
        if self.filled == self.stored.len() {
            self.write_out(pager)?;
        }
        Ok(PageRef {
            address,
            birth_generation: part.birth_generation,
            units,
            level,
            kind,
            check,
        })
    }

    /// Writes a value in chunks, by way of `page`, to the part, which has room for all.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn append_extent(
        &mut self,
        pager: &Pager,
        table: u32,
        value: &[u8],
        page: &mut [u8],
    ) -> Result<ExtentRef> {
        let part = self.part.ok_or(Error::Internal(322))?;
        let checksum = pager.checksum();
        let number = part.counter + self.pages;
        let mut extent = ExtentRef {
            address: 0,
            length: value.len() as u64,
            birth_generation: part.birth_generation,
            crc: checksum.of(value),
            // No other page of this open has the counter.
            writing: checksum.append(checksum.of(&part.salt), &number.to_le_bytes()),
        };
        let chunk_bytes = ExtentRef::chunk_bytes(pager.layout().chunk_page_bytes());
        for (number, chunk) in (0_u64..).zip(value.chunks(chunk_bytes)) {
            page.fill(0);
            extent.put_header(page, table, number, chunk.len());
            put(page, EXTENT_HEADER_BYTES, chunk);
            let written = self.append(pager, PageKind::Extent, 0, page)?;
            if number == 0 {
                extent.address = written.address;
            }
        }
        Ok(extent)
    }

    /// Writes what is left in the buffer.
    ///
    /// # Errors
    /// I/O: nothing of the run can be used then.
    pub fn write_out(&mut self, pager: &Pager) -> Result<()> {
        let Some(part) = self.part.filter(|_| self.filled > 0) else {
            return Ok(());
        };
        let layout = pager.layout();
        let length = self.filled.next_multiple_of(layout.block_bytes.max(1));
        let bytes = self.stored.get_mut(..length).ok_or(Error::Internal(323))?;
        if let Some(padding) = bytes.get_mut(self.filled..) {
            padding.fill(0);
        }
        let first = part.address + self.pages_written * u64::from(layout.page_units());
        let offset = layout.offset(first).ok_or(Error::Internal(324))?;
        write_fresh(pager, offset, bytes)?;
        self.pages_written = self.pages;
        self.filled = 0;
        Ok(())
    }
}
