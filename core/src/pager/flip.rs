//! The page store: builds the next state of the page file, and publishes it.
//!
//! # Protocol of a flip
//! 1. Pages of the new state are written to free blocks while the published
//!    state stays as it is. What the new state no longer uses is noted for the
//!    pending list of the flip.
//! 2. Room is taken for everything that is still to be written: rest of the
//!    pending list, one page for each changed bitmap, two catalogues. Taking room
//!    changes bitmaps, so this is repeated until nothing more changes; after that
//!    no bitmap changes until they are written.
//! 3. Pending pages, bitmaps and both catalogues are written; the page file is synced.
//! 4. The superblock is written to slot 0 and synced: this is the flip. Before it
//!    a power cut leaves the old state, after it the new. Then it is written to
//!    slot 1 and synced, so that no single slot is the only one that knows the
//!    newest state when space of the old one is reused: should a slot rot, the
//!    other still leads to it.
//!
//! An opener writes the newest superblock that it finds into the other slot and
//! syncs, before it reuses anything: what it read may have stood in the page
//! cache only.
//!
//! A write error on the way before step 4 leaves the published state;
//! [`PageStore::abandon`] then forgets what was being built. A failed sync, or an
//! error in step 4, leaves it open what is on the medium: the store then refuses
//! everything until it is opened again.

use super::space::{
    SPACE_HEADER_BYTES, Space, group_units, pending_capacity, pending_entry, put_pending_entry,
};
use super::writer::{NewPage, Writer, extend, write_fresh};
use super::{Layout, Pager};
use crate::error::{CorruptionReason, Error, IoAction, Result};
use crate::format::bytes::{get_u32, put};
use crate::format::catalogue::{
    CATALOGUE_HEADER_BYTES, CatalogueHeader, GROUP_RECORD_BYTES, GroupRecord, PENDING_RECORD_BYTES,
    PendingRecord,
};
use crate::format::page_ref::{PageKind, PageRef, encode_optional};
use crate::format::superblock::{CatalogueRef, SUPERBLOCK_BYTES, Superblock, SuperblockFound};
use crate::mem::{Array, Budget};
use lightning_platform::{File, MemoryUse};

/// Pending lists that are kept apart; past it a new one goes on with the one before.
const PENDING_LISTS: usize = 32;

/// Sizes of a page store.
#[derive(Debug, Clone, Copy)]
pub struct StorePlan {
    /// Bytes of the write buffer.
    pub write_buffer_bytes: usize,
    /// The most bytes that the page file may have.
    pub file_bytes_max: u64,
    /// Fresh randomness for this open, for salts.
    pub salt: [u8; 16],
}

/// What a flip states besides the pages.
#[derive(Debug, Clone, Copy)]
pub struct FlipInput {
    /// The roots tree.
    pub roots: Option<PageRef>,
    /// Entries in all tables.
    pub entries: u64,
    /// All commits up to it are in the trees.
    pub merged_sequence: u64,
    /// No commit above it is in the trees, even in part.
    pub touched_sequence: u64,
    /// The durable sequence.
    pub durable_sequence: u64,
    /// The oldest log segment that is still needed.
    pub first_segment: u64,
    /// The highest wall time seen.
    pub wall_time_ms: u64,
    /// The id that the next table gets.
    pub next_table: u32,
}

/// A state that was published.
#[derive(Debug, Clone, Copy)]
pub struct Published {
    /// Its generation.
    pub generation: u64,
    /// Its roots tree.
    pub roots: Option<PageRef>,
}

/// Figures of the page file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreStatistics {
    /// Length of the page file.
    pub file_bytes: u64,
    /// Bytes that the published state, pending lists and open work use.
    pub used_bytes: u64,
    /// Bytes that wait for snapshots to end.
    pub pending_bytes: u64,
    /// Bytes written to the page file since open.
    pub written_bytes: u64,
    /// Flips since open.
    pub flips: u64,
}

/// The one writer of the page file.
pub struct PageStore {
    superblock: Superblock,
    roots: Option<PageRef>,
    entries: u64,
    space: Space,
    writer: Writer,
    /// Published pending lists, oldest first.
    pending: Array<Option<PendingRecord>>,
    pending_count: usize,
    /// The page of the list being built, and what is written of it.
    building: Array<u8>,
    building_entries: usize,
    building_units: u64,
    building_next: Option<PageRef>,
    /// Whether the list being built goes on with the newest published one.
    coalesces: bool,
    /// The generation that pages written now are born in. Rises when a state is
    /// abandoned, so that no frame of its pages is taken for a later page's.
    next_generation: u64,
    in_doubt: bool,
    flips: u64,
}

impl PageStore {
    /// Formats an empty page file and publishes generation 1.
    ///
    /// # Errors
    /// I/O, or memory that the plan doesn't have.
    pub fn create(
        pager: &Pager,
        budget: &mut Budget,
        plan: StorePlan,
        superblock: Superblock,
    ) -> Result<Self> {
        let mut store = Self::empty(pager, budget, plan, superblock)?;
        let layout = *pager.layout();
        // Generation 0 is never written: both slots are claimed, the file holds them.
        store.superblock.generation = 0;
        store.next_generation = 1;
        store.superblock.catalogue = [CatalogueRef::default(); 2];
        store.space.reset(0);
        extend(pager, &mut store.space, 0, layout.block_bytes * 2)?;
        store.space.claim(pager, 0, layout.block_units() * 2)?;
        store.flip(
            pager,
            FlipInput {
                roots: None,
                entries: 0,
                merged_sequence: superblock.merged_sequence,
                touched_sequence: superblock.touched_sequence,
                durable_sequence: superblock.durable_sequence,
                first_segment: superblock.first_segment,
                wall_time_ms: superblock.wall_time_ms,
                next_table: superblock.next_table,
            },
        )?;
        Ok(store)
    }

    /// Takes over the state that `superblock` publishes.
    ///
    /// # Errors
    /// I/O, corruption of both catalogues, or memory that the plan doesn't have.
    pub fn open(
        pager: &Pager,
        budget: &mut Budget,
        plan: StorePlan,
        superblock: Superblock,
    ) -> Result<Self> {
        let mut store = Self::empty(pager, budget, plan, superblock)?;
        store.load_catalogue(pager)?;
        Ok(store)
    }

    fn empty(
        pager: &Pager,
        budget: &mut Budget,
        plan: StorePlan,
        superblock: Superblock,
    ) -> Result<Self> {
        let layout = *pager.layout();
        let structure = MemoryUse::Structure;
        Ok(Self {
            superblock,
            roots: None,
            entries: 0,
            space: Space::new(budget, layout, plan.file_bytes_max)?,
            writer: Writer::new(budget, layout, plan.write_buffer_bytes, plan.salt)?,
            pending: Array::new(budget, structure, PENDING_LISTS + 1, |_| None)?,
            pending_count: 0,
            building: Array::zeroed(budget, MemoryUse::Buffer, layout.plain_bytes)?,
            building_entries: 0,
            building_units: 0,
            building_next: None,
            coalesces: false,
            next_generation: superblock.generation + 1,
            in_doubt: false,
            flips: 0,
        })
    }

    /// The published superblock.
    #[must_use]
    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// The published state.
    #[must_use]
    pub fn published(&self) -> Published {
        Published {
            generation: self.superblock.generation,
            roots: self.roots,
        }
    }

    /// Entries in all tables, as published.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// The generation that pages written now are born in.
    #[must_use]
    pub fn building_generation(&self) -> u64 {
        self.next_generation
    }

    /// Bytes of pages written since open.
    #[must_use]
    pub fn written_bytes(&self) -> u64 {
        self.writer.bytes_written
    }

    /// Figures.
    #[must_use]
    pub fn statistics(&self, layout: &Layout) -> StoreStatistics {
        let unit = layout.unit_bytes as u64;
        let lists = self.pending.iter().take(self.pending_count).flatten();
        StoreStatistics {
            file_bytes: self.space.file_blocks * layout.block_bytes as u64,
            used_bytes: self.space.used_units() * unit,
            pending_bytes: lists.map(|list| list.units).sum::<u64>() * unit,
            written_bytes: self.writer.bytes_written,
            flips: self.flips,
        }
    }

    /// Writes a finished page of a tree; kind, level and table stand in its header.
    ///
    /// # Errors
    /// I/O, or a file at its limit: the caller then abandons what is being built.
    pub fn append(
        &mut self,
        pager: &Pager,
        kind: PageKind,
        level: u8,
        plain: &mut [u8],
    ) -> Result<PageRef> {
        if self.in_doubt {
            return Err(Error::Poisoned);
        }
        let page = NewPage {
            kind,
            level,
            birth_generation: self.building_generation(),
            compress: true,
        };
        let written = self.writer.append(pager, &mut self.space, page, plain)?;
        pager.install(&written, plain);
        Ok(written)
    }

    /// Notes that the state being built no longer uses a page.
    ///
    /// # Errors
    /// I/O, when the list's page is full and is written.
    pub fn release(&mut self, pager: &Pager, page: &PageRef) -> Result<()> {
        self.release_range(pager, page.address, u64::from(page.units))
    }

    fn release_range(&mut self, pager: &Pager, address: u64, units: u64) -> Result<()> {
        if self.building_entries >= pending_capacity(self.building.len()) {
            self.spill_pending(pager)?;
        }
        let index = self.building_entries;
        let units_here = u32::try_from(units).map_err(|_| Error::Internal(40))?;
        put_pending_entry(&mut self.building, index, address, units_here);
        self.building_entries += 1;
        self.building_units += units;
        Ok(())
    }

    fn spill_pending(&mut self, pager: &Pager) -> Result<()> {
        let entries = u16::try_from(self.building_entries).map_err(|_| Error::Internal(41))?;
        if self.building_next.is_none() && self.pending_count >= PENDING_LISTS {
            let newest = self.pending.get(self.pending_count - 1).copied().flatten();
            if let Some(newest) = newest {
                self.building_next = Some(newest.head);
                self.building_units += newest.units;
                self.coalesces = true;
            }
        }
        put(&mut self.building, 0, &[0; 24]);
        put(&mut self.building, 4, &[PageKind::Pending as u8, 0]);
        put(&mut self.building, 20, &entries.to_le_bytes());
        put(&mut self.building, 24, &[0; 16]);
        put(&mut self.building, 24, &u32::from(entries).to_le_bytes());
        let next = encode_optional(self.building_next.as_ref());
        put(&mut self.building, SPACE_HEADER_BYTES, &next);
        let page = NewPage {
            kind: PageKind::Pending,
            level: 0,
            birth_generation: self.next_generation,
            compress: false,
        };
        let written = self
            .writer
            .append(pager, &mut self.space, page, &mut self.building)?;
        self.building.fill(0);
        self.building_entries = 0;
        self.building_next = Some(written);
        Ok(())
    }

    /// Writes the superblock that was found at open into both slots, and syncs.
    /// Called before anything else is written.
    ///
    /// # Errors
    /// I/O; the store then refuses everything.
    pub fn reassert(&mut self, pager: &Pager) -> Result<()> {
        // The slot that it was read from keeps it, should the other write tear.
        let superblock = self.superblock;
        let found = u64::from(!self.slot_zero_is_newest(pager)?);
        let outcome = self
            .write_superblock(pager, &superblock, 1 - found)
            .and_then(|()| self.write_superblock(pager, &superblock, found));
        self.in_doubt = outcome.is_err();
        outcome
    }

    fn slot_zero_is_newest(&self, pager: &Pager) -> Result<bool> {
        let mut bytes = [0; SUPERBLOCK_BYTES];
        pager
            .storage()
            .read(File::Pages, 0, &mut bytes)
            .map_err(|error| Error::io(error, IoAction::Read, File::Pages, 0))?;
        Ok(Superblock::decode(&bytes, pager.checksum()) == SuperblockFound::Valid(self.superblock))
    }

    /// Writes a superblock to one of the slots and syncs.
    fn write_superblock(
        &mut self,
        pager: &Pager,
        superblock: &Superblock,
        slot: u64,
    ) -> Result<()> {
        let storage = pager.storage();
        let offset = slot * pager.layout().block_bytes as u64;
        let encoded = superblock.encode(pager.checksum());
        let block = storage.geometry().write_block_bytes as usize;
        let length = SUPERBLOCK_BYTES.div_ceil(block.max(1)) * block;
        let buffer = self.writer.idle_buffer();
        let bytes = buffer.get_mut(..length).ok_or(Error::Internal(43))?;
        bytes.fill(0);
        put(bytes, 0, &encoded);
        write_fresh(pager, offset, bytes)?;
        storage
            .sync(File::Pages)
            .map_err(|error| Error::io(error, IoAction::Sync, File::Pages, offset))
    }

    /// Whether [`reclaim`](Self::reclaim) has something to do when no snapshot is
    /// older than `oldest_generation`.
    #[must_use]
    pub fn can_reclaim(&self, oldest_generation: u64) -> bool {
        let list = self.pending.first().copied().flatten();
        list.is_some_and(|list| list.generation <= oldest_generation)
    }

    /// Makes the space of the oldest pending list reusable, when no snapshot is
    /// older than `oldest_generation`. Answers whether there was one. Its own
    /// pages go with the flip being built.
    ///
    /// # Errors
    /// I/O or corruption.
    pub fn reclaim(&mut self, pager: &Pager, oldest_generation: u64) -> Result<bool> {
        if !self.can_reclaim(oldest_generation) || (self.coalesces && self.pending_count < 2) {
            return Ok(false);
        }
        let Some(list) = self.pending.first().copied().flatten() else {
            return Ok(false);
        };
        let mut next = Some(list.head);
        let mut pages = 0_u64;
        while let Some(page) = next {
            pages += 1;
            let offset = pager.layout().offset(page.address).unwrap_or(u64::MAX);
            if page.kind != PageKind::Pending || pages > list.units.saturating_add(2) {
                return Err(Error::corrupt(
                    CorruptionReason::Structure,
                    File::Pages,
                    offset,
                ));
            }
            let pin = pager.page(&page, 0)?;
            for index in 0..get_u32(pin.bytes(), 24) as usize {
                let (address, units) = pending_entry(pin.bytes(), index);
                if !self.space.is_used(pager, address, u64::from(units))? {
                    return Err(Error::corrupt(CorruptionReason::Space, File::Pages, offset));
                }
                self.space.clear(pager, address, u64::from(units))?;
            }
            next = PageRef::decode(pin.bytes(), SPACE_HEADER_BYTES).flatten();
            drop(pin);
            self.release(pager, &page)?;
        }
        for index in 0..self.pending_count {
            let moved = self.pending.get(index + 1).copied().flatten();
            if let Some(slot) = self.pending.get_mut(index) {
                *slot = moved;
            }
        }
        self.pending_count = self.pending_count.saturating_sub(1);
        Ok(true)
    }

    /// Forgets what is being built: the store is again as it was published.
    ///
    /// # Errors
    /// I/O or corruption while the catalogue is read again.
    pub fn abandon(&mut self, pager: &Pager) -> Result<()> {
        if self.in_doubt {
            return Err(Error::Poisoned);
        }
        self.writer.reset();
        self.building_entries = 0;
        self.building_units = 0;
        self.building_next = None;
        self.coalesces = false;
        self.next_generation += 1;
        self.load_catalogue(pager)
    }

    /// Publishes what was built: see the protocol above.
    ///
    /// # Errors
    /// I/O: see the protocol for what then holds.
    pub fn flip(&mut self, pager: &Pager, input: FlipInput) -> Result<Published> {
        if self.in_doubt {
            return Err(Error::Poisoned);
        }
        let layout = *pager.layout();
        let generation = self.building_generation();
        let block_units = layout.block_units();
        for copy in self.superblock.catalogue {
            if copy.address != 0 {
                let blocks = u64::from(copy.bytes).div_ceil(layout.block_bytes as u64);
                self.release_range(pager, copy.address, blocks * block_units)?;
            }
        }
        // Step 2. The slack is for groups that taking the room itself makes dirty.
        let catalogue_bytes = CATALOGUE_HEADER_BYTES
            + (self.space.count + 3) * GROUP_RECORD_BYTES
            + (self.pending_count + 1) * PENDING_RECORD_BYTES;
        let catalogue_blocks = (catalogue_bytes as u64).div_ceil(layout.block_bytes as u64);
        let copies = [
            self.space
                .allocate(pager, catalogue_blocks, catalogue_blocks)?,
            self.space
                .allocate(pager, catalogue_blocks, catalogue_blocks)?,
        ];
        let mut pages;
        loop {
            pages = self.pages_to_write(&layout);
            if self.writer.has_room(pages) {
                break;
            }
            // A stretch for more than is needed, so that the groups which it makes
            // dirty fit too; what is over is given back below.
            self.writer
                .reserve_exactly(pager, &mut self.space, pages + 2)?;
        }
        self.writer.reserve_exactly(pager, &mut self.space, pages)?;
        if self.pages_to_write(&layout) != pages {
            // Giving the rest back can only touch groups that are dirty already.
            return Err(Error::Internal(42));
        }
        // Step 3.
        self.write_pending_and_bitmaps(pager, generation)?;
        let mut superblock = self.superblock;
        superblock.generation = generation;
        superblock.merged_sequence = input.merged_sequence;
        superblock.touched_sequence = input.touched_sequence;
        superblock.durable_sequence = input.durable_sequence;
        superblock.first_segment = input.first_segment;
        superblock.wall_time_ms = input.wall_time_ms;
        superblock.next_table = input.next_table;
        for (copy, slot) in copies.iter().zip(superblock.catalogue.iter_mut()) {
            *slot = self.write_catalogue(pager, copy.address, generation, &input)?;
        }
        superblock.file_blocks = self.space.file_blocks;
        let storage = pager.storage();
        storage.sync(File::Pages).map_err(|error| {
            self.in_doubt = true;
            Error::io(error, IoAction::Sync, File::Pages, 0)
        })?;
        // Step 4.
        let written = self
            .write_superblock(pager, &superblock, 0)
            .and_then(|()| self.write_superblock(pager, &superblock, 1));
        if let Err(error) = written {
            self.in_doubt = true;
            return Err(error);
        }
        self.next_generation = generation + 1;
        self.superblock = superblock;
        self.roots = input.roots;
        self.entries = input.entries;
        self.flips += 1;
        Ok(self.published())
    }

    /// Pages of pending list and bitmaps that the flip still has to write.
    fn pages_to_write(&self, layout: &Layout) -> u64 {
        let dirty = self
            .space
            .groups
            .iter()
            .take(self.space.count)
            .filter(|group| group.dirty);
        let (mut bitmaps, mut replaced) = (0_usize, 0_usize);
        for group in dirty {
            bitmaps += 1;
            replaced += usize::from(group.record.bitmap.is_some());
        }
        let entries = self.building_entries + replaced;
        let lists = entries.div_ceil(pending_capacity(layout.plain_bytes).max(1));
        (bitmaps + lists) as u64
    }

    fn write_pending_and_bitmaps(&mut self, pager: &Pager, generation: u64) -> Result<()> {
        for index in 0..self.space.count {
            let replaced = self
                .space
                .groups
                .get(index)
                .filter(|group| group.dirty)
                .and_then(|group| group.record.bitmap);
            if let Some(page) = replaced {
                self.release(pager, &page)?;
            }
        }
        if self.building_entries > 0 {
            self.spill_pending(pager)?;
        }
        let list = self.building_next.take();
        for index in 0..self.space.count {
            if !self
                .space
                .groups
                .get(index)
                .is_some_and(|group| group.dirty)
            {
                continue;
            }
            self.space.write_bitmap(index, &mut self.building);
            let page = NewPage {
                kind: PageKind::Space,
                level: 0,
                birth_generation: generation,
                compress: false,
            };
            let written = self
                .writer
                .append(pager, &mut self.space, page, &mut self.building)?;
            if let Some(group) = self.space.groups.get_mut(index) {
                group.record.bitmap = Some(written);
                group.dirty = false;
            }
        }
        self.building.fill(0);
        self.writer.write_out(pager, &mut self.space)?;
        if self.space.groups.iter().any(|group| group.dirty) {
            return Err(Error::Internal(44));
        }
        if core::mem::take(&mut self.coalesces) {
            self.pending_count = self.pending_count.saturating_sub(1);
        }
        if let Some(head) = list {
            let units = core::mem::take(&mut self.building_units);
            self.add_pending(PendingRecord {
                generation,
                head,
                units,
            });
        }
        Ok(())
    }

    fn add_pending(&mut self, list: PendingRecord) {
        if let Some(slot) = self.pending.get_mut(self.pending_count) {
            *slot = Some(list);
            self.pending_count += 1;
        }
    }

    /// Writes one copy of the catalogue.
    fn write_catalogue(
        &mut self,
        pager: &Pager,
        address: u64,
        generation: u64,
        input: &FlipInput,
    ) -> Result<CatalogueRef> {
        let layout = *pager.layout();
        let bytes = CATALOGUE_HEADER_BYTES
            + self.space.count * GROUP_RECORD_BYTES
            + self.pending_count * PENDING_RECORD_BYTES;
        let bytes = u32::try_from(bytes).map_err(|_| Error::Internal(45))?;
        let header = CatalogueHeader {
            generation,
            bytes,
            groups: u32::try_from(self.space.count).map_err(|_| Error::Internal(46))?,
            pending: u32::try_from(self.pending_count).map_err(|_| Error::Internal(47))?,
            runs: 0,
            roots: input.roots,
            entries: input.entries,
        };
        let offset = layout.offset(address).ok_or(Error::Internal(48))?;
        let padded = (bytes as usize).div_ceil(layout.block_bytes) * layout.block_bytes;
        extend(pager, &mut self.space, offset, padded)?;
        let checksum = pager.checksum();
        let seed = checksum.append(checksum.of(&layout.lineage_id), &address.to_le_bytes());
        let mut sink = Sink {
            pager,
            buffer: self.writer.idle_buffer(),
            filled: 0,
            offset,
            crc: seed,
            block_bytes: layout.block_bytes,
        };
        sink.push(&header.encode())?;
        for group in self.space.groups.iter().take(self.space.count) {
            sink.push(&group.record.encode())?;
        }
        for list in self.pending.iter().take(self.pending_count).flatten() {
            sink.push(&list.encode())?;
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
    fn load_catalogue(&mut self, pager: &Pager) -> Result<()> {
        let mut first_error = None;
        for copy in self.superblock.catalogue {
            match self.load_copy(pager, copy) {
                Ok(()) => return Ok(()),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        Err(first_error.unwrap_or(Error::Internal(49)))
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
                    limit: crate::error::Limit::PageFileBytes,
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
        self.building.fill(0);
        self.roots = header.roots;
        self.entries = header.entries;
        Ok(())
    }

    /// Whether every unit of a range is marked as in use: for the integrity check.
    ///
    /// # Errors
    /// I/O or corruption of a bitmap.
    pub fn is_used(&mut self, pager: &Pager, address: u64, units: u64) -> Result<bool> {
        self.space.is_used(pager, address, units)
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
        let length = self.filled.div_ceil(self.block_bytes) * self.block_bytes;
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
            buffer.copy_within(self.start..self.end, 0);
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
