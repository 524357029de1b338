//! The catalogue's way to the medium and back (FORMAT.md 3.1).
//!
//! It is a stream of records in contiguous blocks. Written, it goes through the
//! writer's idle buffer; read, it goes through one page's buffer twice: once for
//! its check, and only when that is right once more for its records.

use super::Pager;
use super::flip::{FlipInput, PageStore};
use super::space::{Stretch, group_units};
use super::writer::{extend, write_fresh};
use crate::error::{CorruptionReason, Error, IoAction, Limit, Result};
use crate::format::bytes::{copy_within, put};
use crate::format::catalogue::{
    CATALOGUE_HEADER_BYTES, CatalogueHeader, GROUP_RECORD_BYTES, GroupRecord, PENDING_RECORD_BYTES,
    PendingRecord,
};
use crate::format::run::{RUN_RECORD_BYTES, RunRecord};
use crate::format::superblock::{CatalogueRef, Superblock};
use lightning_platform::File;

impl PageStore {
    /// Writes one copy of the catalogue.
    pub(super) fn write_catalogue(
        &mut self,
        pager: &Pager,
        place: Stretch,
        generation: u64,
        input: &FlipInput,
    ) -> Result<CatalogueRef> {
        let layout = *pager.layout();
        let bytes = CATALOGUE_HEADER_BYTES
            + self.space.count * GROUP_RECORD_BYTES
            + self.pending_count * PENDING_RECORD_BYTES
            + self.runs.count_after(&input.runs) * RUN_RECORD_BYTES;
        let bytes = u32::try_from(bytes).map_err(|_| Error::Internal(45))?;
        let header = CatalogueHeader {
            generation,
            bytes,
            groups: u32::try_from(self.space.count).map_err(|_| Error::Internal(46))?,
            pending: u32::try_from(self.pending_count).map_err(|_| Error::Internal(47))?,
            runs: u32::try_from(self.runs.count_after(&input.runs))
                .map_err(|_| Error::Internal(55))?,
            merging: u32::try_from(self.runs.merging_after(&input.runs))
                .map_err(|_| Error::Internal(56))?,
            roots: input.roots,
            entries: input.entries,
        };
        let address = place.address;
        let offset = layout.offset(address).ok_or(Error::Internal(48))?;
        let blocks = (bytes as usize).div_ceil(layout.block_bytes.max(1));
        let padded = blocks * layout.block_bytes;
        if blocks as u64 * layout.block_units() != place.units {
            return Err(Error::Internal(53));
        }
        extend(pager, &mut self.space, offset, padded)?;
        let checksum = pager.checksum();
        let seed = checksum.append(checksum.of(&layout.lineage_id), &address.to_le_bytes());
        let masked = |group: usize| {
            let units = group_units(&layout);
            let start = group as u64 * units;
            let masked = pager.streams().masked_units(start, start + units);
            u32::try_from(masked).unwrap_or(u32::MAX)
        };
        let mut sink = Sink {
            pager,
            buffer: self.writer.idle_buffer(),
            filled: 0,
            offset,
            crc: seed,
            block_bytes: layout.block_bytes,
        };
        sink.push(&header.encode())?;
        for (index, group) in self.space.groups.iter().take(self.space.count).enumerate() {
            let mut record = group.record;
            record.used_units = record.used_units.saturating_sub(masked(index));
            sink.push(&record.encode())?;
        }
        for list in self.pending.iter().take(self.pending_count).flatten() {
            sink.push(&list.encode())?;
        }
        for run in self.runs.iter_after(&input.runs) {
            let record = run.encode();
            // What no opening would take for one must not be published.
            RunRecord::decode(&record).ok_or(Error::Internal(363))?;
            sink.push(&record)?;
        }
        let crc = sink.finish()?;
        self.writer.bytes_written += padded as u64;
        Ok(CatalogueRef {
            address,
            bytes,
            crc,
        })
    }

    /// Reads the published catalogue, from whichever copy is whole.
    pub(super) fn load_catalogue(&mut self, pager: &Pager) -> Result<()> {
        let mut first_error = None;
        for copy in self.superblock.catalogue {
            match self.load_copy(pager, copy) {
                Ok(()) => return Ok(()),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        Err(first_error.unwrap_or(Error::Internal(49)))
    }

    /// How many runs the published catalogue lists: what memory is planned by, before it
    /// is read. A copy that isn't whole says nothing.
    pub(super) fn listed_runs(pager: &Pager, superblock: &Superblock) -> usize {
        let runs_of = |copy: &CatalogueRef| {
            let checksum = pager.checksum();
            let lineage = checksum.of(&pager.layout().lineage_id);
            let mut crc = checksum.append(lineage, &copy.address.to_le_bytes());
            let mut offset = pager.layout().offset(copy.address)?;
            let mut left = copy.bytes as usize;
            let mut runs = None;
            let mut chunk = [0; 4 * CATALOGUE_HEADER_BYTES];
            while left > 0 {
                let length = left.min(chunk.len());
                let bytes = chunk.get_mut(..length)?;
                pager.storage().read(File::Pages, offset, bytes).ok()?;
                crc = checksum.append(crc, bytes);
                if runs.is_none() {
                    runs = Some(CatalogueHeader::decode(bytes)?.runs as usize);
                }
                offset = offset.saturating_add(length as u64);
                left -= length;
            }
            runs.filter(|_| crc == copy.crc)
        };
        let listed = superblock.catalogue.iter().filter_map(runs_of);
        listed.max().unwrap_or(0)
    }

    fn load_copy(&mut self, pager: &Pager, copy: CatalogueRef) -> Result<()> {
        let layout = *pager.layout();
        let offset = layout.offset(copy.address).unwrap_or(u64::MAX);
        let damage = |reason| Error::corrupt(reason, File::Pages, offset);
        let checksum = pager.checksum();
        let mut crc = checksum.append(checksum.of(&layout.lineage_id), &copy.address.to_le_bytes());
        let mut source = Source {
            pager,
            offset,
            left: copy.bytes as usize,
            start: 0,
            end: 0,
        };
        while source.left > 0 {
            let chunk = source.left.min(layout.plain_bytes);
            let bytes = source.take(&mut self.building, chunk)?;
            crc = checksum.append(crc, bytes);
        }
        if crc != copy.crc || copy.address == 0 {
            return Err(damage(CorruptionReason::Checksum));
        }
        let mut source = Source {
            pager,
            offset,
            left: copy.bytes as usize,
            start: 0,
            end: 0,
        };
        let malformed = || damage(CorruptionReason::Structure);
        let header = source.take(&mut self.building, CATALOGUE_HEADER_BYTES)?;
        let header = CatalogueHeader::decode(header).ok_or_else(malformed)?;
        if header.generation != self.superblock.generation || header.bytes != copy.bytes {
            return Err(damage(CorruptionReason::Identity));
        }
        self.space.reset(self.superblock.file_blocks);
        for _ in 0..header.groups {
            let bytes = source.take(&mut self.building, GROUP_RECORD_BYTES)?;
            let record = GroupRecord::decode(bytes).ok_or_else(malformed)?;
            if u64::from(record.used_units) > group_units(&layout) {
                return Err(malformed());
            }
            if !self.space.add_group(record) {
                return Err(Error::OverLimit {
                    limit: Limit::PageFileBytes,
                    value: self.superblock.file_blocks * layout.block_bytes as u64,
                    maximum: self.space.file_bytes_max(),
                });
            }
        }
        for slot in self.pending.iter_mut() {
            *slot = None;
        }
        self.pending_count = 0;
        if header.pending as usize >= self.pending.len() {
            return Err(malformed());
        }
        for _ in 0..header.pending {
            let bytes = source.take(&mut self.building, PENDING_RECORD_BYTES)?;
            let record = PendingRecord::decode(bytes).ok_or_else(malformed)?;
            self.add_pending(record);
        }
        self.runs.clear();
        for _ in 0..header.runs {
            let bytes = source.take(&mut self.building, RUN_RECORD_BYTES)?;
            let record = RunRecord::decode(bytes).ok_or_else(malformed)?;
            if !self.runs.push(&record) {
                return Err(malformed());
            }
        }
        if header.merging > header.runs {
            return Err(malformed());
        }
        self.runs.set_merging(header.merging as usize);
        self.building.fill(0);
        self.roots = header.roots;
        self.entries = header.entries;
        Ok(())
    }
}

/// Writes a stream of records through a buffer of whole blocks.
struct Sink<'a> {
    pager: &'a Pager,
    buffer: &'a mut [u8],
    filled: usize,
    offset: u64,
    crc: u32,
    block_bytes: usize,
}

impl Sink<'_> {
    fn push(&mut self, mut bytes: &[u8]) -> Result<()> {
        self.crc = self.pager.checksum().append(self.crc, bytes);
        while !bytes.is_empty() {
            if self.filled == self.buffer.len() {
                self.write()?;
            }
            let room = self.buffer.len() - self.filled;
            let (now, later) = bytes
                .split_at_checked(room.min(bytes.len()))
                .ok_or(Error::Internal(50))?;
            put(self.buffer, self.filled, now);
            self.filled += now.len();
            bytes = later;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<()> {
        let length = self.filled.div_ceil(self.block_bytes.max(1)) * self.block_bytes;
        let bytes = self.buffer.get_mut(..length).ok_or(Error::Internal(51))?;
        if let Some(padding) = bytes.get_mut(self.filled..) {
            padding.fill(0);
        }
        write_fresh(self.pager, self.offset, bytes)?;
        self.offset += length as u64;
        self.filled = 0;
        Ok(())
    }

    fn finish(mut self) -> Result<u32> {
        if self.filled > 0 {
            self.write()?;
        }
        Ok(self.crc)
    }
}

/// Reads a stream of records through one page's buffer.
struct Source<'a> {
    pager: &'a Pager,
    offset: u64,
    left: usize,
    start: usize,
    end: usize,
}

impl Source<'_> {
    /// The next `length` bytes, at most a page.
    fn take<'b>(&mut self, buffer: &'b mut [u8], length: usize) -> Result<&'b [u8]> {
        let damage = Error::corrupt(CorruptionReason::Structure, File::Pages, self.offset);
        if length > self.left {
            return Err(damage);
        }
        if self.end - self.start < length {
            copy_within(buffer, self.start, self.end, 0);
            self.end -= self.start;
            self.start = 0;
            let read = (buffer.len() - self.end).min(self.left - self.end);
            let to = buffer.get_mut(self.end..self.end + read).ok_or(damage)?;
            self.pager
                .storage()
                .read(File::Pages, self.offset, to)
                .map_err(|error| Error::io(error, IoAction::Read, File::Pages, self.offset))?;
            self.offset += read as u64;
            self.end += read;
            if self.end < length {
                return Err(damage);
            }
        }
        let taken = buffer.get(self.start..self.start + length).ok_or(damage)?;
        self.start += length;
        self.left -= length;
        Ok(taken)
    }
}
