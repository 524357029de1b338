//! The memory of runs: planned, and lent to one run after another.
//!
//! A *slot* holds what is known of a run; there are as many as the versions that
//! snapshots keep can list. *Filters* and copies of *range tombstones* are larger and
//! fewer: a run has its filter only while it stands on the trees, and an old snapshot
//! that still reads it does without.
//!
//! # Protocol
//! A slot is *free*, *set aside* or *open*. Only maintenance, of which there is one owner,
//! changes that. It sets a free slot aside, fills it and opens it; then readers find the
//! run by the versions that list the slot. It frees the slot when no version that is in use lists it, and
//! a filter's memory when the filter was taken from its run and no traversal that may
//! have seen it there is under way: the callers of [`Runs::free`] and
//! [`Runs::reserve`] argue that.

use super::{RANGE_HEADER_BYTES, Run, RunInfo, RunRanges};
use crate::btree::{CursorPosition, TreeCursor};
use crate::error::{CorruptionReason, Error, Result};
use crate::format::bytes::{get_u32, put};
use crate::format::run::{FILTER_BLOCK_BYTES, RANGE_KEY_BYTES, RunRecord, filter_may_hold};
use crate::mem::{Array, Budget};
use crate::pager::{Pager, Retired, Traversal};
use crate::sync::{AtomicU8, AtomicU32, Ordering};
use core::cell::UnsafeCell;
use lightning_platform::{File, MemoryUse};

const NONE: u32 = u32::MAX;

const FREE: u8 = 0;
const SET_ASIDE: u8 = 1;
const OPEN: u8 = 2;

/// Sizes of the memory of runs.
#[derive(Debug, Clone, Copy)]
pub struct RunPlan {
    /// Slots.
    pub slots: usize,
    /// Filters.
    pub filters: usize,
    /// Bytes of a filter at most.
    pub filter_bytes: usize,
    /// Copies of range tombstones.
    pub ranges: usize,
    /// Bytes of a run's range tombstones at most.
    pub range_bytes: usize,
}

struct Slot {
    state: AtomicU8,
    /// The filter's number, while the run has one.
    filter: AtomicU32,
    info: UnsafeCell<RunInfo>,
}

// SAFETY: the run is written only while the slot is free or set aside, by the one owner of
// maintenance, and read only while it is open: see the module.
unsafe impl Sync for Slot {}

struct Buffer {
    bytes: UnsafeCell<Array<u8>>,
}

// SAFETY: written only by the one owner of maintenance, while nobody reads it: a filter
// before it is given to a run and after it was taken and unseen, range tombstones
// while their run's slot is free.
unsafe impl Sync for Buffer {}

impl Buffer {
    fn new(budget: &mut Budget, bytes: usize) -> Result<Self> {
        let bytes = Array::zeroed(budget, MemoryUse::Structure, bytes)?;
        Ok(Self {
            bytes: UnsafeCell::new(bytes),
        })
    }
}

/// See the module.
pub struct Runs {
    slots: Array<Slot>,
    filters: Array<Buffer>,
    ranges: Array<Buffer>,
    plan: RunPlan,
}

/// What only maintenance keeps of the memory of runs.
pub struct RunKeeper {
    /// Since when each filter is unused; none while a run has it.
    filters: Array<FilterUse>,
}

#[derive(Clone, Copy)]
enum FilterUse {
    Unused,
    Lent,
    /// Taken from its run: a traversal may have seen it there.
    Retired(Retired),
}

/// Memory that is set aside for a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reserved {
    /// Its slot.
    pub slot: u32,
    filter: u32,
}

/// A run being filled: memory that nobody else reaches.
pub struct Filling<'e> {
    filter: &'e mut [u8],
    ranges: &'e mut [u8],
    info: &'e mut RunInfo,
}

impl RunKeeper {
    /// For the memory of `plan`.
    ///
    /// # Errors
    /// When the budget or the host has no memory.
    pub fn new(budget: &mut Budget, plan: &RunPlan) -> Result<Self> {
        let structure = MemoryUse::Structure;
        Ok(Self {
            filters: Array::new(budget, structure, plan.filters, |_| FilterUse::Unused)?,
        })
    }

    fn set(&mut self, filter: u32, state: FilterUse) {
        if let Some(slot) = self.filters.get_mut(filter as usize) {
            *slot = state;
        }
    }
}

impl Runs {
    /// Plans the memory.
    ///
    /// # Errors
    /// When the budget or the host has no memory.
    pub fn new(budget: &mut Budget, plan: &RunPlan) -> Result<Self> {
        let structure = MemoryUse::Structure;
        Ok(Self {
            slots: Array::new(budget, structure, plan.slots, |_| Slot {
                state: AtomicU8::new(FREE),
                filter: AtomicU32::new(NONE),
                info: UnsafeCell::new(RunInfo::default()),
            })?,
            filters: Array::try_new(budget, structure, plan.filters, |budget, _| {
                Buffer::new(budget, plan.filter_bytes)
            })?,
            ranges: Array::try_new(budget, structure, plan.ranges, |budget, _| {
                Buffer::new(budget, plan.range_bytes)
            })?,
            plan: *plan,
        })
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &RunPlan {
        &self.plan
    }

    /// The run in a slot, if one is open.
    #[inline]
    #[must_use]
    pub fn run(&self, slot: u32) -> Option<Run<'_>> {
        let slot = self.slots.get(slot as usize)?;
        if slot.state.load(Ordering::Acquire) != OPEN {
            return None;
        }
        // SAFETY: an open run isn't written; that nobody uses it when its slot is freed
        // is the argument of `free`.
        let info = unsafe { &*slot.info.get() };
        let ranges = match self.ranges.get(info.ranges as usize) {
            // SAFETY: the range tombstones of an open run aren't written.
            Some(buffer) => unsafe { &*buffer.bytes.get() },
            None => &[][..],
        };
        Some(Run {
            info,
            ranges: RunRanges {
                bytes: ranges.get(..info.ranges_filled).unwrap_or(&[]),
            },
        })
    }

    /// Whether the run in a slot may hold a version of a key with that hash; `false` is
    /// certain. Range tombstones don't count. The traversal is what keeps the
    /// filter's memory.
    #[inline]
    #[must_use]
    pub fn may_hold(&self, _traversal: &Traversal<'_>, slot: u32, hash: u64) -> bool {
        let Some(slot) = self.slots.get(slot as usize) else {
            return false;
        };
        let number = slot.filter.load(Ordering::SeqCst);
        let Some(buffer) = self.filters.get(number as usize) else {
            return true;
        };
        // SAFETY: the filter was its run's in this traversal, so that its memory isn't
        // written before the traversal ends; the run is open, since the caller found it.
        let (bytes, info) = unsafe { (&*buffer.bytes.get(), &*slot.info.get()) };
        filter_may_hold(bytes.get(..info.filter_bytes).unwrap_or(&[]), hash)
    }

    /// Sets memory aside for a new run, with a filter of `filter_bytes` at most where one
    /// is to be had, and room for range tombstones where it has some. `None`: no slot is
    /// free, or no room for range tombstones. Called by the owner of maintenance alone;
    /// of runs that have range tombstones one at a time.
    ///
    /// # Safety
    /// Nothing that [`fill`](Self::fill) answered before is still used, but for what it
    /// answered for memory that is still set aside.
    pub unsafe fn reserve(
        &self,
        keeper: &mut RunKeeper,
        pager: &Pager,
        filter_bytes: usize,
        has_ranges: bool,
    ) -> Option<Reserved> {
        let number = self
            .slots
            .iter()
            .position(|slot| slot.state.load(Ordering::Acquire) == FREE)?;
        let ranges = if has_ranges {
            let unused = (0..self.ranges.len()).find(|index| self.ranges_are_unused(*index))?;
            u32::try_from(unused).ok()?
        } else {
            NONE
        };
        let filter = keeper
            .filters
            .iter()
            .filter(|_| filter_bytes > 0)
            .position(|state| match state {
                FilterUse::Unused => true,
                FilterUse::Lent => false,
                FilterUse::Retired(stamp) => pager.epochs().is_unseen(*stamp),
            })
            .and_then(|index| u32::try_from(index).ok())
            .unwrap_or(NONE);
        keeper.set(filter, FilterUse::Lent);
        let slot = self.slots.get(number)?;
        // SAFETY: the slot is free, so that nobody reads or fills it.
        let info = unsafe { &mut *slot.info.get() };
        let most = if filter == NONE {
            0
        } else {
            self.plan.filter_bytes
        };
        *info = RunInfo {
            filter_bytes: filter_bytes.min(most) / FILTER_BLOCK_BYTES * FILTER_BLOCK_BYTES,
            ranges,
            ..RunInfo::default()
        };
        slot.state.store(SET_ASIDE, Ordering::Relaxed);
        if let Some(buffer) = self.filters.get(filter as usize) {
            // SAFETY: unused, or unseen since it was taken from its run.
            unsafe { &mut *buffer.bytes.get() }.fill(0);
        }
        Some(Reserved {
            slot: u32::try_from(number).ok()?,
            filter,
        })
    }

    /// The memory that was set aside, to be filled.
    ///
    /// # Safety
    /// The caller owns maintenance, reserved the memory, has not opened it since, and uses
    /// nothing any more that this answered before.
    #[must_use]
    pub unsafe fn fill(&self, reserved: Reserved) -> Option<Filling<'_>> {
        let slot = self.slots.get(reserved.slot as usize)?;
        // SAFETY: the slot is set aside, so that nobody reads it, and nobody else fills it.
        let info = unsafe { &mut *slot.info.get() };
        let filter: &mut [u8] = match self.filters.get(reserved.filter as usize) {
            // SAFETY: set aside for this run.
            Some(buffer) => unsafe { &mut *buffer.bytes.get() },
            None => &mut [],
        };
        let ranges: &mut [u8] = match self.ranges.get(info.ranges as usize) {
            // SAFETY: no open run has it.
            Some(buffer) => unsafe { &mut *buffer.bytes.get() },
            None => &mut [],
        };
        let (filter, _) = filter.split_at_mut_checked(info.filter_bytes)?;
        Some(Filling {
            filter,
            ranges,
            info,
        })
    }

    fn ranges_are_unused(&self, index: usize) -> bool {
        !self.slots.iter().any(|slot| {
            // SAFETY: an open run isn't written, and maintenance, which fills, asks.
            slot.state.load(Ordering::Acquire) == OPEN
                && unsafe { &*slot.info.get() }.ranges as usize == index
        })
    }

    /// Makes a run that was filled reachable.
    pub fn open(&self, reserved: Reserved) {
        if let Some(slot) = self.slots.get(reserved.slot as usize) {
            slot.filter.store(reserved.filter, Ordering::Release);
            slot.state.store(OPEN, Ordering::Release);
        }
    }

    /// Forgets memory that was set aside for a run which was not opened.
    pub fn give_back(&self, keeper: &mut RunKeeper, reserved: Reserved) {
        keeper.set(reserved.filter, FilterUse::Unused);
        if let Some(slot) = self.slots.get(reserved.slot as usize) {
            slot.state.store(FREE, Ordering::Release);
        }
    }

    /// Slots that are free.
    pub fn free_slots(&self) -> impl Iterator<Item = u32> + '_ {
        (0_u32..)
            .zip(self.slots.iter())
            .filter(|(_, slot)| slot.state.load(Ordering::Acquire) == FREE)
            .map(|(number, _)| number)
    }

    /// Fills a free slot with what is left of the run in another, which has no range
    /// tombstones. Answers whether it could.
    ///
    /// # Safety
    /// The caller owns maintenance, and the slot `cut` is free.
    #[must_use]
    pub unsafe fn fill_cut(&self, whole: u32, cut: u32, record: RunRecord) -> bool {
        let slots = (self.slots.get(whole as usize), self.slots.get(cut as usize));
        let (Some(whole), Some(cut)) = slots else {
            return false;
        };
        // SAFETY: an open run isn't written, and the other slot is free, so that nobody
        // reads it, and nobody else fills one.
        let (from, info) = unsafe { (&*whole.info.get(), &mut *cut.info.get()) };
        *info = RunInfo {
            record,
            filter_bytes: from.filter_bytes,
            ..RunInfo::default()
        };
        true
    }

    /// Makes what is left of a run reachable, with its filter, which the whole run has,
    /// too, until [`leave_filter`](Self::leave_filter).
    pub fn open_cut(&self, whole: u32, cut: u32) {
        let slots = (self.slots.get(whole as usize), self.slots.get(cut as usize));
        if let (Some(whole), Some(cut)) = slots {
            let filter = whole.filter.load(Ordering::SeqCst);
            cut.filter.store(filter, Ordering::SeqCst);
            cut.state.store(OPEN, Ordering::Release);
        }
    }

    /// Has a run do without its filter, which is now that of what is left of it: a traversal
    /// that saw it here began before it can be taken there.
    pub fn leave_filter(&self, whole: u32) {
        if let Some(whole) = self.slots.get(whole as usize) {
            whole.filter.store(NONE, Ordering::SeqCst);
        }
    }

    /// Takes the filter from a run that stands on the trees no more.
    pub fn take_filter(&self, keeper: &mut RunKeeper, pager: &Pager, slot: u32) {
        if let Some(slot) = self.slots.get(slot as usize) {
            let number = slot.filter.swap(NONE, Ordering::SeqCst);
            if number != NONE {
                keeper.set(number, FilterUse::Retired(pager.epochs().retire()));
            }
        }
    }

    /// Slots that are in use.
    pub fn open_slots(&self) -> impl Iterator<Item = u32> + '_ {
        (0_u32..)
            .zip(self.slots.iter())
            .filter(|(_, slot)| slot.state.load(Ordering::Acquire) == OPEN)
            .map(|(number, _)| number)
    }

    /// Frees a slot for another run.
    ///
    /// # Safety
    /// The caller owns maintenance, took the filter from the run, and nobody uses what
    /// [`run`](Self::run) answered at the same time or later: no version that is in use
    /// lists the slot, and all uses happened before this call.
    pub unsafe fn free(&self, slot: u32) {
        if let Some(slot) = self.slots.get(slot as usize) {
            slot.state.store(FREE, Ordering::Release);
        }
    }
}

impl Filling<'_> {
    /// The filter, to be filled; empty where none was to be had.
    pub fn filter_mut(&mut self) -> &mut [u8] {
        self.filter
    }

    /// The filter.
    #[must_use]
    pub fn filter(&self) -> &[u8] {
        self.filter
    }

    /// States what the run is.
    pub fn set_record(&mut self, record: RunRecord) {
        self.info.record = record;
    }

    /// Adds a range tombstone; `false` where there is no room.
    pub fn add_range(&mut self, table: u32, sequence: u64, from: &[u8], to: &[u8]) -> bool {
        let (Ok(from_bytes), Ok(to_bytes)) = (u16::try_from(from.len()), u16::try_from(to.len()))
        else {
            return false;
        };
        let start = self.info.ranges_filled;
        let mut header = [0; RANGE_HEADER_BYTES];
        put(&mut header, 0, &table.to_le_bytes());
        put(&mut header, 4, &sequence.to_le_bytes());
        put(&mut header, 12, &from_bytes.to_le_bytes());
        put(&mut header, 14, &to_bytes.to_le_bytes());
        let fits = put(self.ranges, start, &header)
            && put(self.ranges, start + header.len(), from)
            && put(self.ranges, start + header.len() + from.len(), to);
        if fits {
            self.info.ranges_filled += header.len() + from.len() + to.len();
        }
        fits
    }

    /// Fills in the run that the catalogue names. A filter that is damaged is done
    /// without: it only saves time. `key` holds a key of the run.
    ///
    /// # Errors
    /// I/O or corruption; [`Error::MemoryPlan`] where its range tombstones are more than
    /// planned.
    pub fn load(&mut self, pager: &Pager, record: &RunRecord, key: &mut [u8]) -> Result<()> {
        self.info.record = *record;
        let is_whole = self.filter.len() == record.filter_bytes as usize
            && match pager.read_filter(record, self.filter) {
                Ok(()) => true,
                Err(Error::Corruption { .. }) => false,
                Err(error) => return Err(error),
            };
        if !is_whole {
            self.info.filter_bytes = 0;
        }
        let mut cursor = TreeCursor::new(pager, super::tree(record.ranges), true);
        cursor.seek(CursorPosition::First)?;
        let mut count = 0;
        while let Some(entry) = cursor.entry() {
            let length = cursor.copy_key(key);
            let from = key
                .get(RANGE_KEY_BYTES..length)
                .ok_or_else(|| damage(pager, record, CorruptionReason::Structure))?;
            let table = get_u32(key, 2).swap_bytes();
            if !self.add_range(table, entry.sequence, from, entry.value) {
                return Err(Error::MemoryPlan {
                    needed_bytes: u64::from(record.range_tombstones) * 2 * key.len() as u64,
                    limit_bytes: self.ranges.len() as u64,
                });
            }
            count += 1;
            cursor.advance()?;
        }
        if count == record.range_tombstones {
            Ok(())
        } else {
            Err(damage(pager, record, CorruptionReason::Count))
        }
    }
}

fn damage(pager: &Pager, record: &RunRecord, reason: CorruptionReason) -> Error {
    let address = record.ranges.map_or(0, |page| page.address);
    let offset = pager.layout().offset(address).unwrap_or(u64::MAX);
    Error::corrupt(reason, File::Pages, offset)
}
