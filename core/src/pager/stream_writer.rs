//! Writes the chunks of a large value to units that were taken for it.
//!
//! Nobody else writes there, and nothing refers to it yet, so that this runs beside
//! maintenance. Whole blocks are written, in order, each once.

use super::flip::StreamPlace;
use super::writer::write_fresh;
use super::{Pager, Sealing};
use crate::error::{Error, Result};
use crate::format::bytes::put;
use crate::format::extent::{EXTENT_HEADER_BYTES, ExtentRef};
use crate::mem::{Array, Budget};
use lightning_platform::MemoryUse;

/// The memory of a value that is being written.
pub struct StreamBuffer {
    /// The chunk being filled.
    page: Array<u8>,
    /// Chunks to be written.
    stored: Array<u8>,
}

impl StreamBuffer {
    /// For `pager`, writing about `write_bytes` at a time.
    ///
    /// # Errors
    /// When the budget or the host has no memory.
    pub fn new(budget: &mut Budget, pager: &Pager, write_bytes: usize) -> Result<Self> {
        let layout = pager.layout();
        let blocks = (write_bytes / layout.block_bytes.max(1)).max(1);
        let buffer = MemoryUse::Buffer;
        Ok(Self {
            page: Array::zeroed(budget, buffer, layout.plain_bytes)?,
            stored: Array::zeroed(budget, buffer, blocks * layout.block_bytes)?,
        })
    }
}

/// How far the writing of a value is.
#[derive(Debug, Clone, Copy)]
pub struct StreamState {
    extent: ExtentRef,
    table: u32,
    salt: [u8; 16],
    counter: u64,
    /// Chunks that are finished.
    chunks: u64,
    /// Bytes in the chunk being filled.
    held: usize,
    /// Where the buffer's first byte goes.
    next: u64,
    filled: usize,
}

impl StreamState {
    /// Nothing of a value yet.
    #[must_use]
    pub fn new(pager: &Pager, place: &StreamPlace, table: u32) -> Self {
        Self {
            extent: ExtentRef {
                address: place.address,
                length: 0,
                birth_generation: place.birth_generation,
                crc: pager.checksum().of(&[]),
                writing: place.writing,
            },
            table,
            salt: place.salt,
            counter: place.counter,
            chunks: 0,
            held: 0,
            next: place.address,
            filled: 0,
        }
    }

    /// The value as far as it was written.
    #[must_use]
    pub fn extent(&self) -> &ExtentRef {
        &self.extent
    }

    /// Adds to the value.
    ///
    /// # Errors
    /// I/O: the value can only be given up then.
    pub fn write(
        &mut self,
        pager: &Pager,
        buffer: &mut StreamBuffer,
        mut bytes: &[u8],
    ) -> Result<()> {
        let chunk_bytes = ExtentRef::chunk_bytes(pager.layout().chunk_page_bytes());
        while !bytes.is_empty() {
            let count = chunk_bytes.saturating_sub(self.held).min(bytes.len());
            let (now, later) = bytes.split_at_checked(count).ok_or(Error::Internal(266))?;
            put(&mut buffer.page, EXTENT_HEADER_BYTES + self.held, now);
            self.extent.crc = pager.checksum().append(self.extent.crc, now);
            self.extent.length += count as u64;
            self.held += count;
            bytes = later;
            if self.held == chunk_bytes {
                self.finish_chunk(pager, buffer)?;
            }
        }
        Ok(())
    }

    fn finish_chunk(&mut self, pager: &Pager, buffer: &mut StreamBuffer) -> Result<()> {
        let layout = pager.layout();
        let StreamBuffer { page, stored } = &mut *buffer;
        self.extent
            .put_header(page, self.table, self.chunks, self.held);
        if let Some(rest) = page.get_mut(EXTENT_HEADER_BYTES + self.held..) {
            rest.fill(0);
        }
        let sealing = Sealing {
            address: self.extent.address + self.chunks * u64::from(layout.page_units()),
            birth_generation: self.extent.birth_generation,
            salt: &self.salt,
            counter: self.counter + self.chunks,
            compress: false,
            is_chunk: true,
        };
        let to = stored
            .get_mut(self.filled..self.filled + layout.page_bytes)
            .ok_or(Error::Internal(267))?;
        pager.seal(&sealing, page, to)?;
        self.filled += layout.page_bytes;
        self.chunks += 1;
        self.held = 0;
        if self.filled == stored.len() {
            self.write_out(pager, buffer)?;
        }
        Ok(())
    }

    fn write_out(&mut self, pager: &Pager, buffer: &mut StreamBuffer) -> Result<()> {
        let layout = pager.layout();
        let length = self.filled.next_multiple_of(layout.block_bytes.max(1));
        let bytes = buffer
            .stored
            .get_mut(..length)
            .ok_or(Error::Internal(268))?;
        if let Some(padding) = bytes.get_mut(self.filled..) {
            padding.fill(0);
        }
        let offset = layout.offset(self.next).ok_or(Error::Internal(269))?;
        write_fresh(pager, offset, bytes)?;
        self.next += (length / layout.unit_bytes.max(1)) as u64;
        self.filled = 0;
        Ok(())
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// I/O.
    pub fn finish(&mut self, pager: &Pager, buffer: &mut StreamBuffer) -> Result<()> {
        if self.held > 0 {
            self.finish_chunk(pager, buffer)?;
        }
        if self.filled > 0 {
            self.write_out(pager, buffer)?;
        }
        Ok(())
    }
}
