//! Where finished pages go: sequential writes into stretches of free blocks.
//!
//! Pages are packed into a buffer of whole blocks in the order in which they
//! are finished, and written when it is full. Pages that share a block are so
//! written by one write, and a block that was written is never added to: what
//! is left of it at the end of a write is given back, dead.

use super::flip::file_length;
use super::space::{Space, Stretch};
use super::{Layout, Pager, Sealing};
use crate::error::{Error, IoAction, Result};
use crate::format::bytes::put;
use crate::format::page_ref::{PageKind, PageRef};
use crate::mem::{Array, Budget};
use lightning_platform::{File, MemoryUse};

/// What a finished page is.
#[derive(Debug, Clone, Copy)]
pub(super) struct NewPage {
    pub kind: PageKind,
    pub level: u8,
    pub birth_generation: u64,
    /// Off where room was counted before.
    pub compress: bool,
}

/// Stretches that what a flip writes may be spread over, besides the first.
const FOLLOWING_MAX: usize = 15;

/// Blocks asked for at a time where free space is rather used in pieces.
const SPREAD_BLOCKS: u64 = 4;

/// The write buffer and the stretch that it goes to.
pub(super) struct Writer {
    layout: Layout,
    buffer: Array<u8>,
    /// Bytes of the buffer that hold pages.
    filled: usize,
    /// The stretch in use; what is before `next` was written.
    stretch: Option<Stretch>,
    /// Where what a flip writes goes on, where no stretch takes all of it.
    following: [Option<Stretch>; FOLLOWING_MAX],
    /// Whether free space is rather used in pieces than the file made longer.
    pub spreads: bool,
    /// Address of the buffer's first byte.
    next: u64,
    /// Blocks asked for at a time.
    stretch_blocks: u64,
    salt: [u8; 16],
    counter: u64,
    /// Bytes written to the page file since open.
    pub bytes_written: u64,
}

impl Writer {
    pub(super) fn new(
        budget: &mut Budget,
        layout: Layout,
        buffer_bytes: usize,
        salt: [u8; 16],
    ) -> Result<Self> {
        let blocks = (buffer_bytes / layout.block_bytes.max(1)).max(1);
        Ok(Self {
            layout,
            buffer: Array::zeroed(budget, MemoryUse::Buffer, blocks * layout.block_bytes)?,
            filled: 0,
            stretch: None,
            following: [None; FOLLOWING_MAX],
            spreads: false,
            next: 0,
            stretch_blocks: (blocks as u64).max(1) * 4,
            salt,
            counter: 0,
            bytes_written: 0,
        })
    }

    /// Forgets the stretch and what is buffered: the state being built is given up.
    pub(super) fn reset(&mut self) {
        self.filled = 0;
        self.stretch = None;
        self.following = [None; FOLLOWING_MAX];
        self.next = 0;
    }

    /// Units that pages can be given in the stretch and those that follow.
    fn reserved_units(&self) -> u64 {
        let following = self.following.iter().flatten();
        self.left_units() + following.map(|stretch| stretch.units).sum::<u64>()
    }

    /// Units of the stretch that pages can still be given.
    fn left_units(&self) -> u64 {
        let Some(stretch) = self.stretch else {
            return 0;
        };
        let filled_units = (self.filled / self.layout.unit_bytes.max(1)) as u64;
        (stretch.address + stretch.units).saturating_sub(self.next + filled_units)
    }

    /// Makes room for exactly `pages` uncompressed pages that are then written
    /// without touching a bitmap: the end of the stretch behind them is given back.
    pub(super) fn reserve_exactly(
        &mut self,
        pager: &Pager,
        space: &mut Space,
        pages: u64,
    ) -> Result<()> {
        let page_units = u64::from(self.layout.page_units());
        let block_units = self.layout.block_units();
        let needed = pages * page_units;
        self.align(pager, space)?;
        if self.reserved_units() < needed {
            self.close(pager, space)?;
            let blocks = needed.div_ceil(block_units);
            let stretch = space.allocate(pager, blocks, blocks)?;
            self.stretch = Some(stretch);
            self.next = stretch.address;
        }
        let mut needed = needed;
        if let Some(stretch) = &mut self.stretch {
            let filled_units = (self.filled / self.layout.unit_bytes.max(1)) as u64;
            let from = self.next + filled_units;
            let old_end = stretch.address + stretch.units;
            let end = old_end.min(from + needed);
            needed = needed.saturating_sub(old_end.saturating_sub(from));
            space.clear(pager, end, old_end.saturating_sub(end))?;
            stretch.units = end.saturating_sub(stretch.address);
        }
        for following in &mut self.following {
            let Some(stretch) = following else { continue };
            let units = stretch.units.min(needed);
            needed -= units;
            space.clear(pager, stretch.address + units, stretch.units - units)?;
            stretch.units = units;
            if units == 0 {
                *following = None;
            }
        }
        Ok(())
    }

    /// Makes room for `pages` uncompressed pages in one stretch. What is over is for what
    /// comes next, so that blocks are shared.
    pub(super) fn reserve(&mut self, pager: &Pager, space: &mut Space, pages: u64) -> Result<()> {
        self.align(pager, space)?;
        let units = pages * u64::from(self.layout.page_units());
        if self.left_units() < units {
            self.close(pager, space)?;
            let blocks = units.div_ceil(self.layout.block_units());
            let most = blocks.max(self.stretch_blocks);
            let stretch = space.allocate(pager, blocks, most)?;
            self.stretch = Some(stretch);
            self.next = stretch.address;
        }
        Ok(())
    }

    /// Makes room for `pages` uncompressed pages: in one stretch, or, while room is short,
    /// wherever blocks are free.
    pub(super) fn reserve_for_flip(
        &mut self,
        pager: &Pager,
        space: &mut Space,
        pages: u64,
    ) -> Result<()> {
        if self.spreads {
            self.reserve_pieces(pager, space, pages)
        } else {
            self.reserve_exactly(pager, space, pages)
        }
    }

    /// Makes room for `pages` uncompressed pages, wherever blocks are free: the last of the
    /// pieces takes what is left.
    fn reserve_pieces(&mut self, pager: &Pager, space: &mut Space, pages: u64) -> Result<()> {
        self.close(pager, space)?;
        let block_units = self.layout.block_units().max(1);
        let page_units = u64::from(self.layout.page_units());
        let mut left = (pages * page_units).div_ceil(block_units);
        let stretch = space.allocate(pager, 1, left)?;
        left = left.saturating_sub(stretch.units / block_units);
        self.stretch = Some(stretch);
        self.next = stretch.address;
        for index in 0..FOLLOWING_MAX {
            if left == 0 {
                break;
            }
            let least = if index + 1 == FOLLOWING_MAX { left } else { 1 };
            let stretch = space.allocate(pager, least, left)?;
            left = left.saturating_sub(stretch.units / block_units);
            if let Some(following) = self.following.get_mut(index) {
                *following = Some(stretch);
            }
        }
        Ok(())
    }

    /// Takes the next of the stretches that follow.
    fn next_following(&mut self) -> Option<Stretch> {
        self.following.iter_mut().find_map(Option::take)
    }

    /// Where pages are compressed: writes what is buffered. Such pages may have left
    /// the buffer in the middle of a block, and its end would be given back, or the
    /// stretch found too short, after the bitmaps are settled.
    pub(super) fn align(&mut self, pager: &Pager, space: &mut Space) -> Result<()> {
        if pager.codec.is_some() {
            self.write_out(pager, space)?;
        }
        Ok(())
    }

    /// Whether [`reserve_exactly`](Self::reserve_exactly) would need a new stretch.
    pub(super) fn has_room(&self, pages: u64) -> bool {
        self.reserved_units() >= pages * u64::from(self.layout.page_units())
    }

    /// Gives a finished plain page its place. Its header gets the birth generation.
    pub(super) fn append(
        &mut self,
        pager: &Pager,
        space: &mut Space,
        page: NewPage,
        plain: &mut [u8],
    ) -> Result<PageRef> {
        let page_units = u64::from(self.layout.page_units());
        if self.left_units() < page_units {
            let following = core::mem::take(&mut self.following);
            self.close(pager, space)?;
            self.following = following;
            let stretch = match self.next_following() {
                Some(stretch) => stretch,
                // What is left over in front of what others are given has no room of its own.
                None if self.spreads => space.allocate(pager, 1, SPREAD_BLOCKS)?,
                None => space.allocate(pager, 1, self.stretch_blocks)?,
            };
            self.stretch = Some(stretch);
            self.next = stretch.address;
        }
        if self.buffer.len() - self.filled < self.layout.page_bytes {
            self.write_out(pager, space)?;
            if self.left_units() < page_units {
                return self.append(pager, space, page, plain);
            }
        }
        put(plain, 8, &page.birth_generation.to_le_bytes());
        let address = self.next + (self.filled / self.layout.unit_bytes.max(1)) as u64;
        let stored = self
            .buffer
            .get_mut(self.filled..self.filled + self.layout.page_bytes)
            .ok_or(Error::Internal(30))?;
        self.counter += 1;
        let sealing = Sealing {
            address,
            birth_generation: page.birth_generation,
            salt: &self.salt,
            counter: self.counter,
            compress: page.compress,
            is_chunk: page.kind == PageKind::Extent,
        };
        let (units, check) = pager.seal(&sealing, plain, stored)?;
        self.filled += usize::from(units) * self.layout.unit_bytes;
        Ok(PageRef {
            address,
            birth_generation: page.birth_generation,
            units,
            level: page.level,
            kind: page.kind,
            check,
        })
    }

    /// Writes what is buffered, padded to whole blocks.
    pub(super) fn write_out(&mut self, pager: &Pager, space: &mut Space) -> Result<()> {
        if self.filled == 0 {
            return Ok(());
        }
        let block = self.layout.block_bytes;
        let length = self.filled.div_ceil(block.max(1)) * block;
        let length = length.min(self.buffer.len());
        if let Some(padding) = self.buffer.get_mut(self.filled..length) {
            padding.fill(0);
        }
        let offset = self.layout.offset(self.next).ok_or(Error::Internal(31))?;
        extend(pager, space, offset, length)?;
        let bytes = self.buffer.get(..length).ok_or(Error::Internal(32))?;
        write_fresh(pager, offset, bytes)?;
        self.bytes_written += length as u64;
        let used_end = self.next + (self.filled / self.layout.unit_bytes.max(1)) as u64;
        self.next += (length / self.layout.unit_bytes.max(1)) as u64;
        self.filled = 0;
        let stretch_end = self
            .stretch
            .map_or(0, |stretch| stretch.address + stretch.units);
        let dead_end = self.next.min(stretch_end);
        if dead_end > used_end {
            space.clear(pager, used_end, dead_end - used_end)?;
        }
        Ok(())
    }

    /// Writes what is buffered and gives the rest of the stretch back.
    pub(super) fn close(&mut self, pager: &Pager, space: &mut Space) -> Result<()> {
        self.write_out(pager, space)?;
        if let Some(stretch) = self.stretch.take() {
            let end = stretch.address + stretch.units;
            if end > self.next {
                space.clear(pager, self.next, end - self.next)?;
            }
        }
        while let Some(stretch) = self.next_following() {
            space.clear(pager, stretch.address, stretch.units)?;
        }
        Ok(())
    }

    /// Randomness of this open, and the first of `count` counters that no other page gets.
    pub(super) fn take_counters(&mut self, count: u64) -> ([u8; 16], u64) {
        let first = self.counter + 1;
        self.counter += count;
        (self.salt, first)
    }

    /// The buffer, for who writes something else while no page is in it.
    pub(super) fn idle_buffer(&mut self) -> &mut [u8] {
        &mut self.buffer
    }
}

/// Writes whole blocks that hold nothing live, erased first where the medium asks for it.
pub(super) fn write_fresh(pager: &Pager, offset: u64, bytes: &[u8]) -> Result<()> {
    erase_fresh(pager, offset, bytes.len())?;
    write_erased(pager, offset, bytes)
}

/// Erases whole blocks that hold nothing live, where the medium asks for it.
pub(super) fn erase_fresh(pager: &Pager, offset: u64, length: usize) -> Result<()> {
    let storage = pager.storage();
    if !storage.geometry().erase_before_write {
        return Ok(());
    }
    let block = pager.layout().block_bytes;
    let length = length.div_ceil(block.max(1)) * block;
    storage
        .erase(File::Pages, offset, length as u64)
        .map_err(|error| Error::io(error, IoAction::Write, File::Pages, offset))
}

/// Writes where nothing was written since it was erased.
pub(super) fn write_erased(pager: &Pager, offset: u64, bytes: &[u8]) -> Result<()> {
    pager
        .storage()
        .write(File::Pages, offset, bytes)
        .map_err(|error| Error::io(error, IoAction::Write, File::Pages, offset))
}

/// Gives the file a length. Where that fails, it is as long as it is found to be: the old
/// length or the new.
pub(super) fn set_length(pager: &Pager, space: &mut Space, blocks: u64) -> Result<()> {
    let bytes = blocks * pager.layout().block_bytes as u64;
    let outcome = pager.storage().set_length(File::Pages, bytes);
    space.length_blocks = match outcome {
        Ok(()) => blocks,
        Err(_) => file_length(pager).unwrap_or(space.length_blocks.min(blocks)),
    };
    outcome.map_err(|error| Error::io(error, IoAction::Length, File::Pages, bytes))
}

/// Makes the file long enough for a write.
pub(super) fn extend(pager: &Pager, space: &mut Space, offset: u64, length: usize) -> Result<()> {
    let block = pager.layout().block_bytes as u64;
    let end = offset.saturating_add(length as u64).div_ceil(block.max(1));
    if end > space.length_blocks {
        set_length(pager, space, end)?;
    }
    space.file_blocks = space.file_blocks.max(end);
    Ok(())
}
