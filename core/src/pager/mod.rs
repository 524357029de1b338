//! Pages: from a reference to checked bytes in memory, and back to the medium.
//!
//! # Reading
//! A traversal enters an epoch and follows references from frame to frame. What
//! is not in memory ends the epoch: the reference is copied, the page is loaded
//! into a frame that nobody else sees, checked once (FORMAT.md 2.2), published and
//! pinned; the traversal goes on from there. A snapshot's pages are neither
//! changed nor reused while it lives (see `space`), so that going on from the
//! middle is as right as starting again.
//!
//! # Writing
//! Nothing here is ever changed in place. `writer` gives a finished page a place
//! in a block that no published state uses, `space` knows which those are, and
//! `flip` makes a new state the published one, in an order that leaves either the
//! old one or the new one after any power cut.

mod ahead;
mod catalogue_io;
mod epoch;
mod find;
mod flip;
mod frames;
mod part_writer;
mod pending;
mod room;
mod runs;
mod space;
mod sparse;
mod stream_writer;
mod streams;
mod traversal;
mod trim;
mod writer;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use epoch::{EpochGuard, Epochs, Retired};
pub use find::newest_superblock;
pub use flip::{
    FlipInput, PageStore, PartPlace, Published, StorePlan, StoreStatistics, StreamPlace,
};
pub use frames::{FramePlan, FrameStatistics, Frames};
pub use part_writer::PartWriter;
pub use runs::{FilterPages, RunList, RunsChange, filter_pages, write_filter};
pub use sparse::Occupancy;
pub use stream_writer::{StreamBuffer, StreamState};
pub use streams::Streams;
pub use traversal::{PageView, Pin, Traversal};

use crate::error::{CorruptionReason, Error, IoAction, Result};
use crate::format::branch::validate_branch;
use crate::format::bytes::{get_16, get_u8, get_u16, get_u32, get_u64, put};
use crate::format::checksum::Checksum;
use crate::format::leaf::validate_leaf;
use crate::format::page_ref::{PageKind, PageRef};
use crate::sync::AtomicU32;
use alloc::sync::Arc;
use lightning_platform::{
    Cipher, Codec, File, IoError, IoErrorKind, PageIdentity, ReadRequest, Storage,
};

/// Bytes of the envelope of a compressed or encrypted page (FORMAT.md 2.2).
pub const ENVELOPE_BYTES: usize = 32;
const COMPRESSED: u32 = 1 << 31;
/// Bytes of a cipher's tag.
const TAG_BYTES: usize = 16;

/// The sizes and identities that every page of a database shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Bytes of a page as the superblock has it.
    pub page_bytes: usize,
    /// Bytes of a page in memory: less by the envelope where there is one.
    pub plain_bytes: usize,
    /// Bytes of what addresses count.
    pub unit_bytes: usize,
    /// Bytes of what space is given out by.
    pub block_bytes: usize,
    /// Bytes of a check in a branch: 4 or 16.
    pub check_bytes: usize,
    /// Seeds every check.
    pub lineage_id: [u8; 16],
}

impl Layout {
    /// Units that an uncompressed page takes.
    #[must_use]
    pub fn page_units(&self) -> u16 {
        u16::try_from(self.page_bytes / self.unit_bytes.max(1)).unwrap_or(u16::MAX)
    }

    /// Bytes of a page that a chunk of an extent has: with a cipher its tag stands beside.
    #[must_use]
    pub fn chunk_page_bytes(&self) -> usize {
        let tag_bytes = if self.check_bytes == TAG_BYTES {
            TAG_BYTES
        } else {
            0
        };
        self.plain_bytes.saturating_sub(tag_bytes)
    }

    /// Units in a block, at least one.
    #[must_use]
    pub fn block_units(&self) -> u64 {
        (self.block_bytes / self.unit_bytes.max(1)).max(1) as u64
    }

    /// The byte offset of an address, or `None` past what a file can hold.
    #[must_use]
    pub fn offset(&self, address: u64) -> Option<u64> {
        address.checked_mul(self.unit_bytes as u64)
    }
}

/// The way from references to pages. Shared by all readers.
pub struct Pager {
    storage: Arc<dyn Storage>,
    codec: Option<Arc<dyn Codec>>,
    cipher: Option<Arc<dyn Cipher>>,
    checksum: Checksum,
    layout: Layout,
    frames: Frames,
    streams: Streams,
    read_ahead: AtomicU32,
}

impl Pager {
    /// A pager over `storage`.
    #[must_use]
    pub fn new(
        storage: Arc<dyn Storage>,
        codec: Option<Arc<dyn Codec>>,
        cipher: Option<Arc<dyn Cipher>>,
        checksum: Checksum,
        layout: Layout,
        frames: Frames,
    ) -> Self {
        Self {
            storage,
            codec,
            cipher,
            checksum,
            layout,
            frames,
            streams: Streams::default(),
            read_ahead: AtomicU32::new(0),
        }
    }

    /// With room for large values that are written beside maintenance.
    #[must_use]
    pub fn with_streams(self, streams: Streams) -> Self {
        Self { streams, ..self }
    }

    /// The units of large values that no published state names yet.
    #[must_use]
    pub fn streams(&self) -> &Streams {
        &self.streams
    }

    /// Sizes and identities.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The checksum in use.
    #[must_use]
    pub fn checksum(&self) -> Checksum {
        self.checksum
    }

    /// The storage.
    #[must_use]
    pub fn storage(&self) -> &dyn Storage {
        &*self.storage
    }

    /// Counters of the frame pool.
    #[must_use]
    pub fn statistics(&self) -> FrameStatistics {
        self.frames.statistics()
    }

    /// The epochs that frames and versions are retired by.
    #[must_use]
    pub fn epochs(&self) -> &Epochs {
        &self.frames.epochs
    }

    /// Begins a traversal. Holds a reader slot until dropped: no I/O meanwhile.
    #[inline]
    #[must_use]
    pub fn enter(&self) -> Traversal<'_> {
        Traversal::new(self)
    }

    /// The page, from memory or from storage, pinned.
    ///
    /// # Errors
    /// I/O, corruption, or [`Error::OverLimit`] when every frame is pinned.
    pub fn page(&self, page: &PageRef, table: u32) -> Result<Pin<'_>> {
        {
            let traversal = self.enter();
            if let Some(pin) = traversal.page(page).and_then(|view| view.pin()) {
                return Ok(pin);
            }
        }
        self.load(page, table)
    }

    /// Loads a page that was not found in memory, and pins it.
    ///
    /// # Errors
    /// As [`page`](Self::page).
    pub fn load(&self, page: &PageRef, table: u32) -> Result<Pin<'_>> {
        let mut held = self.frames.hold()?;
        self.read_into(page, table, held.bytes_mut())?;
        let branch = page.kind == PageKind::Branch;
        let frame = self
            .frames
            .publish(held, page.address, page.birth_generation, branch);
        Ok(Pin::new(self, frame))
    }

    /// Puts a page that was just written into memory, where a frame is to be had.
    pub fn install(&self, page: &PageRef, bytes: &[u8]) {
        if let Some(mut held) = self.frames.try_hold() {
            let to = held.bytes_mut();
            if to.len() == bytes.len() {
                put(to, 0, bytes);
                let branch = page.kind == PageKind::Branch;
                let frame = self
                    .frames
                    .publish(held, page.address, page.birth_generation, branch);
                self.frames.unpin(frame);
            }
        }
    }

    /// Lets go of what is in memory of pages that nobody reads any more.
    pub(super) fn forget(&self, address: u64, units: u64) {
        for unit in address..address.saturating_add(units) {
            self.frames.forget(unit);
        }
    }

    /// Reads a page from storage into `plain` and checks it, past the frames.
    ///
    /// # Errors
    /// I/O or corruption.
    pub fn read_into(&self, page: &PageRef, table: u32, plain: &mut [u8]) -> Result<()> {
        let offset = self
            .layout
            .offset(page.address)
            .ok_or_else(|| Error::corrupt(CorruptionReason::OutOfFile, File::Pages, u64::MAX))?;
        let stored_bytes = usize::from(page.units) * self.layout.unit_bytes;
        let damage = |reason| Error::corrupt(reason, File::Pages, offset);
        if stored_bytes > self.layout.page_bytes {
            return Err(damage(CorruptionReason::Structure));
        }
        let failed = |error: IoError| {
            if error.kind == IoErrorKind::UnexpectedEnd {
                damage(CorruptionReason::OutOfFile)
            } else {
                Error::io(error, IoAction::Read, File::Pages, offset)
            }
        };
        if self.codec.is_none() && self.cipher.is_none() {
            if stored_bytes != plain.len() {
                return Err(damage(CorruptionReason::Structure));
            }
            self.storage
                .read(File::Pages, offset, plain)
                .map_err(failed)?;
            let crc = self
                .checksum
                .page(&self.layout.lineage_id, page.address, plain);
            // An extent's chunks are told right by their headers, not by a reference.
            let refers = page.kind != PageKind::Extent;
            if refers && crc != page.crc() || get_u32(plain, 0) != crc {
                return Err(damage(CorruptionReason::Checksum));
            }
        } else {
            let mut scratch = self.frames.hold_another()?;
            self.open_envelope(page, offset, plain, &mut scratch, &failed)?;
        }
        self.validate(page, table, plain).map_err(damage)
    }

    /// Reads the stored form by way of a second frame, and restores the plain form.
    fn open_envelope(
        &self,
        page: &PageRef,
        offset: u64,
        plain: &mut [u8],
        scratch: &mut frames::HeldFrame<'_>,
        failed: &dyn Fn(IoError) -> Error,
    ) -> Result<()> {
        let damage = |reason| Error::corrupt(reason, File::Pages, offset);
        let stored_bytes = usize::from(page.units) * self.layout.unit_bytes;
        // The stored form is at most `plain + ENVELOPE_BYTES` long: the envelope is
        // read to a place of its own, what it holds into the frame.
        let mut envelope = [0; ENVELOPE_BYTES];
        let body_bytes = stored_bytes.saturating_sub(ENVELOPE_BYTES);
        let body = scratch
            .bytes_mut()
            .get_mut(..body_bytes)
            .ok_or_else(|| damage(CorruptionReason::Structure))?;
        let mut requests = [
            ReadRequest {
                offset,
                buffer: &mut envelope,
            },
            ReadRequest {
                offset: offset.saturating_add(ENVELOPE_BYTES as u64),
                buffer: body,
            },
        ];
        self.storage
            .read_batch(File::Pages, &mut requests)
            .map_err(failed)?;
        let state = self.checksum.append(
            self.checksum.of(&self.layout.lineage_id),
            &page.address.to_le_bytes(),
        );
        let state = self
            .checksum
            .append(state, envelope.get(4..).unwrap_or(&[]));
        let crc = self.checksum.append(state, body);
        if get_u32(&envelope, 0) != crc
            || (self.cipher.is_none() && page.kind != PageKind::Extent && crc != page.crc())
        {
            return Err(damage(CorruptionReason::Checksum));
        }
        // A chunk's tag stands behind it, since no reference has it.
        let chunk_bytes = self.layout.chunk_page_bytes();
        let (body, tag) = match page.kind {
            PageKind::Extent if self.cipher.is_some() => body
                .split_at_mut_checked(chunk_bytes)
                .map(|(body, tag)| (body, get_16(tag, 0)))
                .ok_or_else(|| damage(CorruptionReason::Structure))?,
            _ => (body, page.check),
        };
        if let Some(cipher) = &self.cipher {
            let identity = self.identity(page.address, page.birth_generation);
            let salt = get_16(&envelope, 8);
            let counter = get_u64(&envelope, 24);
            cipher
                .open(&identity, &salt, counter, body, &tag)
                .map_err(|_| damage(CorruptionReason::Transform))?;
        }
        let word = get_u32(&envelope, 4);
        let packed_bytes = (word & !COMPRESSED) as usize;
        let content = body
            .get(..packed_bytes)
            .ok_or_else(|| damage(CorruptionReason::Structure))?;
        if word & COMPRESSED == 0 {
            let whole = match page.kind {
                PageKind::Extent => chunk_bytes,
                _ => plain.len(),
            };
            if content.len() != whole || !put(plain, 0, content) {
                return Err(damage(CorruptionReason::Structure));
            }
            if let Some(rest) = plain.get_mut(whole..) {
                rest.fill(0);
            }
            return Ok(());
        }
        let codec = self
            .codec
            .as_ref()
            .ok_or_else(|| damage(CorruptionReason::Transform))?;
        codec
            .decompress(content, plain)
            .map_err(|_| damage(CorruptionReason::Transform))
    }

    fn identity(&self, address: u64, birth_generation: u64) -> PageIdentity {
        PageIdentity {
            lineage_id: self.layout.lineage_id,
            address: address.saturating_mul(self.layout.unit_bytes as u64),
            birth_generation,
        }
    }

    /// The checks of FORMAT.md 2.2 behind the checksum.
    fn validate(
        &self,
        page: &PageRef,
        table: u32,
        plain: &[u8],
    ) -> core::result::Result<(), CorruptionReason> {
        if get_u8(plain, 4) != page.kind as u8
            || get_u8(plain, 5) != page.level
            || get_u64(plain, 8) != page.birth_generation
            || get_u32(plain, 16) != table
        {
            return Err(CorruptionReason::Identity);
        }
        match page.kind {
            PageKind::Leaf if page.level == 0 => validate_leaf(plain),
            PageKind::Branch if page.level > 0 => validate_branch(plain, self.layout.check_bytes),
            PageKind::Leaf | PageKind::Branch => Err(CorruptionReason::Identity),
            PageKind::Space => space::validate_bitmap(plain, &self.layout),
            PageKind::Pending => space::validate_pending(plain),
            PageKind::Filter | PageKind::Extent => {
                if usize::from(get_u16(plain, 20)) <= plain.len() {
                    Ok(())
                } else {
                    Err(CorruptionReason::Structure)
                }
            }
        }
    }

    /// Gives a finished plain page its stored form in `stored`, a whole page long,
    /// and answers its units and check.
    ///
    /// # Errors
    /// [`Error::Internal`] when the buffers don't have the layout's sizes.
    fn seal(&self, page: &Sealing<'_>, plain: &[u8], stored: &mut [u8]) -> Result<(u16, [u8; 16])> {
        let Sealing {
            address,
            birth_generation,
            salt,
            counter,
            compress,
            is_chunk,
        } = *page;
        if plain.len() != self.layout.plain_bytes || stored.len() != self.layout.page_bytes {
            return Err(Error::Internal(1));
        }
        if self.codec.is_none() && self.cipher.is_none() {
            put(stored, 0, plain);
            let crc = self.checksum.page(&self.layout.lineage_id, address, stored);
            put(stored, 0, &crc.to_le_bytes());
            return Ok((self.layout.page_units(), PageRef::crc_check(crc)));
        }
        stored.fill(0);
        let has_tag = is_chunk && self.cipher.is_some();
        let plain = if has_tag {
            plain
                .get(..self.layout.chunk_page_bytes())
                .ok_or(Error::Internal(6))?
        } else {
            plain
        };
        let (envelope, body) = stored
            .split_at_mut_checked(ENVELOPE_BYTES)
            .ok_or(Error::Internal(2))?;
        let unit = self.layout.unit_bytes;
        // Compression has to save a unit to be worth its undoing.
        let room = body.len().saturating_sub(unit);
        let packed = match (&self.codec, compress) {
            (Some(codec), true) => body
                .get_mut(..room)
                .and_then(|room| codec.compress(plain, room))
                .filter(|packed| *packed <= room),
            _ => None,
        };
        let word = match packed {
            Some(packed) => u32::try_from(packed).unwrap_or(0) | COMPRESSED,
            None => {
                put(body, 0, plain);
                u32::try_from(plain.len()).unwrap_or(0)
            }
        };
        let content_bytes = packed.unwrap_or(plain.len());
        if let Some(rest) = body.get_mut(content_bytes..) {
            rest.fill(0);
        }
        let units = (ENVELOPE_BYTES + content_bytes).div_ceil(unit.max(1));
        put(envelope, 4, &word.to_le_bytes());
        let used = units * unit - ENVELOPE_BYTES;
        let mut tag = None;
        if let Some(cipher) = &self.cipher {
            put(envelope, 8, salt);
            put(envelope, 24, &counter.to_le_bytes());
            let identity = self.identity(address, birth_generation);
            let behind = if has_tag { TAG_BYTES } else { 0 };
            let (body, rest) = body
                .split_at_mut_checked(used.saturating_sub(behind))
                .ok_or(Error::Internal(3))?;
            let made = cipher.seal(&identity, salt, counter, body);
            if has_tag {
                put(rest, 0, &made);
            }
            tag = Some(made);
        }
        let whole = stored.get(..units * unit).ok_or(Error::Internal(4))?;
        let crc = self.checksum.page(&self.layout.lineage_id, address, whole);
        put(stored, 0, &crc.to_le_bytes());
        let units = u16::try_from(units).map_err(|_| Error::Internal(5))?;
        Ok((units, tag.unwrap_or_else(|| PageRef::crc_check(crc))))
    }
}

/// What a page is sealed with.
struct Sealing<'a> {
    address: u64,
    birth_generation: u64,
    salt: &'a [u8; 16],
    counter: u64,
    /// Off for pages whose room was counted before they were written.
    compress: bool,
    /// One of an extent, that no reference has the tag of.
    is_chunk: bool,
}
