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

mod account;
mod extent;
mod part;
mod relocate;
mod stream;

pub use part::PartPlace;
pub use stream::StreamPlace;

use super::pending::PENDING_LISTS;
use super::runs::{RunList, RunsChange};
use super::space::Space;
use super::writer::{NewPage, Writer, erase_fresh, extend, write_erased, write_fresh};
use super::{Layout, Pager};
use crate::error::{Error, IoAction, Result};
use crate::format::bytes::put;
use crate::format::catalogue::{
    CATALOGUE_HEADER_BYTES, GROUP_RECORD_BYTES, PENDING_RECORD_BYTES, PendingRecord,
};
use crate::format::page_ref::{PageKind, PageRef};
use crate::format::run::RUN_RECORD_BYTES;
use crate::format::superblock::{CatalogueRef, SUPERBLOCK_BYTES, Superblock, SuperblockFound};
use crate::mem::{Array, Budget};
use lightning_platform::{File, MemoryUse};

/// Sizes of a page store.
#[derive(Debug, Clone, Copy)]
pub struct StorePlan {
    /// Bytes of the write buffer.
    pub write_buffer_bytes: usize,
    /// The most bytes that the page file may have.
    pub file_bytes_max: u64,
    /// Whether values may be larger than a leaf takes.
    pub has_extents: bool,
    /// Runs that may stand on the trees; more where the catalogue lists more.
    pub runs_max: usize,
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
    /// What changes in the list of runs.
    pub runs: RunsChange,
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
    /// Pages, and large values, that were written again since open because of the blocks
    /// in which they lay no more than half was alive.
    pub evacuated_pages: u64,
}

/// The one writer of the page file.
pub struct PageStore {
    pub(super) superblock: Superblock,
    pub(super) roots: Option<PageRef>,
    pub(super) entries: u64,
    pub(super) runs: RunList,
    pub(super) space: Space,
    pub(super) writer: Writer,
    /// Published pending lists, oldest first.
    pub(super) pending: Array<Option<PendingRecord>>,
    pub(super) pending_count: usize,
    /// The page of the list being built, and what is written of it.
    pub(super) building: Array<u8>,
    pub(super) building_entries: usize,
    /// A page to put chunks of large values together in, where there are any.
    extent_page: Option<Array<u8>>,
    pub(super) building_units: u64,
    pub(super) building_next: Option<PageRef>,
    /// Whether the list being built goes on with the newest published one.
    pub(super) coalesces: bool,
    /// The generation that pages written now are born in. Rises when a state is
    /// abandoned, so that no frame of its pages is taken for a later page's.
    pub(super) next_generation: u64,
    in_doubt: bool,
    /// Whether a call failed half-way: what is being built must be abandoned first.
    must_abandon: bool,
    flips: u64,
    pub(super) evacuated_pages: u64,
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
        store.space.length_blocks = file_length(pager)?;
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
                runs: RunsChange::None,
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
        let plan = StorePlan {
            runs_max: plan.runs_max.max(Self::listed_runs(pager, &superblock)),
            ..plan
        };
        let mut store = Self::empty(pager, budget, plan, superblock)?;
        store.space.length_blocks = file_length(pager)?;
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
            runs: RunList::new(budget, plan.runs_max)?,
            space: Space::new(budget, layout, plan.file_bytes_max)?,
            writer: Writer::new(budget, layout, plan.write_buffer_bytes, plan.salt)?,
            pending: Array::new(budget, structure, PENDING_LISTS + 1, |_| None)?,
            pending_count: 0,
            building: Array::zeroed(budget, MemoryUse::Buffer, layout.plain_bytes)?,
            building_entries: 0,
            extent_page: if plan.has_extents {
                Some(Array::zeroed(
                    budget,
                    MemoryUse::Buffer,
                    layout.plain_bytes,
                )?)
            } else {
                None
            },
            building_units: 0,
            building_next: None,
            coalesces: false,
            next_generation: superblock.generation + 1,
            in_doubt: false,
            must_abandon: false,
            flips: 0,
            evacuated_pages: 0,
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
            evacuated_pages: self.evacuated_pages,
        }
    }

    /// Writes a finished page of a tree; kind, level and table stand in its header.
    /// With `keep` it is put into memory, too.
    ///
    /// # Errors
    /// I/O, or a file at its limit: the caller then abandons what is being built.
    pub fn append(
        &mut self,
        pager: &Pager,
        kind: PageKind,
        level: u8,
        plain: &mut [u8],
        keep: bool,
    ) -> Result<PageRef> {
        self.check_standing()?;
        let page = NewPage {
            kind,
            level,
            birth_generation: self.building_generation(),
            compress: true,
        };
        let written = self.writer.append(pager, &mut self.space, page, plain);
        let written = self.note(written)?;
        if keep {
            pager.install(&written, plain);
        }
        Ok(written)
    }

    /// Makes durable, in both slots, the state that was found at open. Called before
    /// anything else is written.
    ///
    /// A slot is written only while the other is known to be durable, since where writing
    /// begins with erasing, a power cut takes what is being written. What a slot is read as
    /// may be in a cache only, where a sync failed: so which of them that can be must be
    /// seen. Flips write slot 0 first, and slot 1 when that is synced. So, of two that hold
    /// the same, slot 1 alone can be in doubt; of two that differ, the newer one. It is
    /// written again, first, and as a newer *writing* where they were equal, so that an
    /// opener that fails leaves the same rule to the next.
    ///
    /// # Errors
    /// I/O; the store then refuses everything.
    pub fn reassert(&mut self, pager: &Pager) -> Result<()> {
        // After a sync that failed the file's length may stand in a cache only, and
        // no later sync makes it durable unless it is set once more.
        let storage = pager.storage();
        let failed = |error| Error::io(error, IoAction::Length, File::Pages, 0);
        let length = storage.length(File::Pages).map_err(failed)?.unwrap_or(0);
        storage.set_length(File::Pages, length).map_err(failed)?;
        let outcome = self.reassert_slots(pager);
        self.in_doubt = outcome.is_err();
        outcome
    }

    fn reassert_slots(&mut self, pager: &Pager) -> Result<()> {
        let (zero, one) = (self.slot(pager, 0), self.slot(pager, 1));
        let generation = self.superblock.generation;
        let holds = |slot: Option<Superblock>| slot.filter(|found| found.generation == generation);
        let both = match (holds(zero), holds(one)) {
            (Some(zero), Some(one)) if zero.writing < one.writing => false,
            (Some(zero), Some(one)) if zero.writing == one.writing => {
                self.superblock.writing = one.writing.saturating_add(1);
                false
            }
            // What was being written to slot 1 when the power went was no superblock yet.
            (Some(zero), None) if one.is_none() => {
                self.superblock.writing = zero.writing.saturating_add(1);
                false
            }
            (None, Some(one)) => {
                self.superblock.writing = one.writing.saturating_add(1);
                true
            }
            _ => true,
        };
        let superblock = self.superblock;
        if both {
            self.write_superblock(pager, &superblock, 0)?;
        }
        self.write_superblock(pager, &superblock, 1)
    }

    /// The superblock that a slot is read as.
    fn slot(&self, pager: &Pager, slot: u64) -> Option<Superblock> {
        let mut bytes = [0; SUPERBLOCK_BYTES];
        let offset = slot * pager.layout().block_bytes as u64;
        let read = pager.storage().read(File::Pages, offset, &mut bytes);
        match Superblock::decode(&bytes, pager.checksum()) {
            SuperblockFound::Valid(found) if read.is_ok() => Some(found),
            _ => None,
        }
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
        // What no opening would take for one must not be published.
        let whole = superblock.is_plausible().then_some(superblock);
        let encoded = whole.ok_or(Error::Internal(362))?.encode(pager.checksum());
        let creates = self.superblock.generation == 0;
        let block = storage.geometry().write_block_bytes as usize;
        let length = SUPERBLOCK_BYTES.div_ceil(block.max(1)) * block;
        let buffer = self.writer.idle_buffer();
        let bytes = buffer.get_mut(..length).ok_or(Error::Internal(43))?;
        bytes.fill(0);
        put(bytes, 0, &encoded);
        let sync = || {
            storage
                .sync(File::Pages)
                .map_err(|error| Error::io(error, IoAction::Sync, File::Pages, offset))
        };
        if !creates {
            write_fresh(pager, offset, bytes)?;
            return sync();
        }
        // The block with the magic comes last, and where it can be written twice, first
        // without the magic: a creation that was cut off, or a write that stopped in the
        // middle, leaves no superblock at all, rather than a torn one, which is a damaged
        // database. Where it can't, a block that isn't whole is told by its end, which
        // then reads as erased (`find.rs`).
        let (front, rest) = bytes
            .split_at_mut_checked(block.min(length))
            .ok_or(Error::Internal(43))?;
        erase_fresh(pager, offset, length)?;
        if !rest.is_empty() {
            write_erased(pager, offset + block as u64, rest)?;
            sync()?;
        }
        if !storage.geometry().erase_before_write {
            put(front, 0, &[0; 8]);
            write_erased(pager, offset, front)?;
            put(front, 0, encoded.get(..8).unwrap_or(&[]));
        }
        write_erased(pager, offset, front)?;
        sync()
    }

    /// Whether the store takes part in what is being built.
    pub(super) fn check_standing(&self) -> Result<()> {
        if self.in_doubt {
            Err(Error::Poisoned)
        } else if self.must_abandon {
            Err(Error::Internal(52))
        } else {
            Ok(())
        }
    }

    /// Whether something failed, and [`abandon`](Self::abandon) has to come first.
    #[must_use]
    pub fn must_abandon(&self) -> bool {
        self.must_abandon
    }

    /// Passes an outcome on; after an error nothing but abandoning is allowed.
    pub(super) fn note<T>(&mut self, outcome: Result<T>) -> Result<T> {
        self.must_abandon |= outcome.is_err();
        outcome
    }

    /// Forgets what is being built: the store is again as it was published.
    ///
    /// # Errors
    /// I/O or corruption while the catalogue is read again: the store then takes
    /// no change until this is called again and succeeds.
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
        self.must_abandon = true;
        self.load_catalogue(pager)?;
        self.restore_streams(pager)?;
        self.must_abandon = false;
        Ok(())
    }

    /// Publishes what was built: see the protocol above.
    ///
    /// # Errors
    /// I/O: see the protocol for what then holds.
    pub fn flip(&mut self, pager: &Pager, input: FlipInput) -> Result<Published> {
        self.check_standing()?;
        let published = self.publish(pager, input);
        self.note(published)
    }

    fn publish(&mut self, pager: &Pager, input: FlipInput) -> Result<Published> {
        let layout = *pager.layout();
        let generation = self.building_generation();
        let block_units = layout.block_units();
        self.settle_streams(pager, input.merged_sequence)?;
        for copy in self.superblock.catalogue {
            if copy.address != 0 {
                let blocks = u64::from(copy.bytes).div_ceil(layout.block_bytes.max(1) as u64);
                self.release_range(pager, copy.address, blocks * block_units)?;
            }
        }
        // Step 2. The slack is for groups that taking the room itself makes dirty.
        let catalogue_bytes = CATALOGUE_HEADER_BYTES
            + (self.space.count + 3) * GROUP_RECORD_BYTES
            + (self.pending_count + 1) * PENDING_RECORD_BYTES
            + self.runs.count_after(&input.runs) * RUN_RECORD_BYTES;
        let catalogue_blocks = (catalogue_bytes as u64).div_ceil(layout.block_bytes.max(1) as u64);
        let mut copies = [
            self.space
                .allocate(pager, catalogue_blocks, catalogue_blocks)?,
            self.space
                .allocate(pager, catalogue_blocks, catalogue_blocks)?,
        ];
        self.writer.align(pager, &mut self.space)?;
        let mut pages;
        loop {
            pages = self.pages_to_write(&layout);
            if self.writer.has_room(pages) {
                break;
            }
            // A stretch for more than is needed, so that the groups which it makes
            // dirty fit too; what is over is given back below.
            self.writer
                .reserve_for_flip(pager, &mut self.space, pages + 2)?;
        }
        self.writer.reserve_exactly(pager, &mut self.space, pages)?;
        // Now the catalogue's length is known: what it doesn't take is given back.
        let catalogue_bytes = CATALOGUE_HEADER_BYTES
            + self.space.count * GROUP_RECORD_BYTES
            + self.lists_after_flip() * PENDING_RECORD_BYTES
            + self.runs.count_after(&input.runs) * RUN_RECORD_BYTES;
        let catalogue_units =
            (catalogue_bytes as u64).div_ceil(layout.block_bytes.max(1) as u64) * block_units;
        for copy in &mut copies {
            let surplus = copy
                .units
                .checked_sub(catalogue_units)
                .ok_or(Error::Internal(54))?;
            self.space
                .clear(pager, copy.address + catalogue_units, surplus)?;
            copy.units = catalogue_units;
        }
        if self.pages_to_write(&layout) != pages {
            // Giving the rest back can only touch groups that are dirty already.
            return Err(Error::Internal(42));
        }
        // Step 3.
        self.write_pending_and_bitmaps(pager, generation)?;
        let mut superblock = self.superblock;
        superblock.generation = generation;
        superblock.writing = 0;
        superblock.merged_sequence = input.merged_sequence;
        superblock.touched_sequence = input.touched_sequence;
        superblock.durable_sequence = input.durable_sequence;
        superblock.first_segment = input.first_segment;
        superblock.wall_time_ms = input.wall_time_ms;
        superblock.next_table = input.next_table;
        for (copy, slot) in copies.iter().zip(superblock.catalogue.iter_mut()) {
            *slot = self.write_catalogue(pager, *copy, generation, &input)?;
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
        self.runs.apply(&input.runs);
        self.flips += 1;
        self.note_streams(pager, input.merged_sequence)?;
        Ok(self.published())
    }

    /// Whether every unit of a range is marked as in use: for the integrity check.
    ///
    /// # Errors
    /// I/O or corruption of a bitmap.
    pub fn is_used(&mut self, pager: &Pager, address: u64, units: u64) -> Result<bool> {
        self.space.is_used(pager, address, units)
    }
}

/// Whole blocks that the page file has.
pub(super) fn file_length(pager: &Pager) -> Result<u64> {
    let length = pager
        .storage()
        .length(File::Pages)
        .map_err(|error| Error::io(error, IoAction::Length, File::Pages, 0))?;
    Ok(length.unwrap_or(0) / pager.layout().block_bytes.max(1) as u64)
}
