//! Which units large values take that are written beside what maintenance builds, and the
//! pages of a run that is ingested.
//!
//! A *slot* is taken, with units of the page file, when the writing of a value begins,
//! and stands until what refers to the value is published, or nobody can refer to it any
//! more. Until then its units are in use in memory and free on the medium: a flip leaves
//! them out of the bitmaps that it writes (they are *masked*). So a power cut frees
//! what was never committed without anybody looking for it; what was committed is named
//! by the log, and recovery takes it from free space before anything is allocated.
//!
//! # States
//! *Open*: being written, or whole and not put yet. *Attached*: a transaction has put it.
//! *Committed*: a record with its reference has a sequence. *Dropped*: nobody refers to
//! it. Only maintenance takes slots, frees them and changes their flags; who commits
//! or drops changes the state from open or attached, once.
//!
//! # Flags
//! *Exposed*: the bitmaps of the state being built show the units. *Kept*: a run or tree
//! of that state has the reference. Both are remembered as they were published, for
//! the case that the state is abandoned.
//!
//! # Parts
//! A run that is ingested takes its units in several stretches, its *parts*, each with a
//! slot of another kind. All of them are committed together, by the frame that names
//! them, and exposed together, by the flip that names the run.

use crate::error::Result;
use crate::format::extent::ExtentRef;
use crate::mem::{Array, Budget};
use crate::sync::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use lightning_platform::MemoryUse;

const FREE: u8 = 0;
const OPEN: u8 = 1;
const ATTACHED: u8 = 2;
const COMMITTED: u8 = 3;
const DROPPED: u8 = 4;

const EXPOSED: u8 = 1;
const KEPT: u8 = 2;
/// Where the flags stand as they were published.
const PUBLISHED_SHIFT: u8 = 4;

/// The units of one value, or of one part of a run.
#[derive(Default)]
pub(super) struct Slot {
    state: AtomicU8,
    flags: AtomicU8,
    owner: AtomicU32,
    address: AtomicU64,
    units: AtomicU64,
    sequence: AtomicU64,
}

impl Slot {
    fn state(&self) -> u8 {
        self.state.load(Ordering::Acquire)
    }

    fn change(&self, from: u8, to: u8) -> bool {
        self.state
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    pub(super) fn address(&self) -> u64 {
        self.address.load(Ordering::Relaxed)
    }

    pub(super) fn units(&self) -> u64 {
        self.units.load(Ordering::Relaxed)
    }

    fn has(&self, flag: u8) -> bool {
        self.flags.load(Ordering::Relaxed) & flag != 0
    }

    pub(super) fn is_dropped(&self) -> bool {
        self.state() == DROPPED
    }

    pub(super) fn is_exposed(&self) -> bool {
        self.has(EXPOSED)
    }

    pub(super) fn is_kept(&self) -> bool {
        self.has(KEPT)
    }

    /// Whether everything that may refer to it is at or below a sequence.
    pub(super) fn is_committed_by(&self, sequence: u64) -> bool {
        self.state() == COMMITTED && self.sequence.load(Ordering::Relaxed) <= sequence
    }

    pub(super) fn expose(&self, is_kept: bool) {
        let flags = if is_kept { EXPOSED | KEPT } else { EXPOSED };
        self.flags.fetch_or(flags, Ordering::Relaxed);
    }

    /// The flags of the state being built are those of the published one now.
    pub(super) fn note_published(&self) {
        let flags = self.flags.load(Ordering::Relaxed) & (EXPOSED | KEPT);
        let both = flags | flags << PUBLISHED_SHIFT;
        self.flags.store(both, Ordering::Relaxed);
    }

    /// The flags are again those of the published state.
    pub(super) fn restore(&self) {
        let published = self.flags.load(Ordering::Relaxed) >> PUBLISHED_SHIFT;
        let both = published | published << PUBLISHED_SHIFT;
        self.flags.store(both, Ordering::Relaxed);
    }

    pub(super) fn set_units(&self, units: u64) {
        self.units.store(units, Ordering::Relaxed);
    }

    pub(super) fn free(&self) {
        self.state.store(FREE, Ordering::Release);
    }
}

/// The slots. Shared by all.
#[derive(Default)]
pub struct Streams {
    slots: Option<Array<Slot>>,
    parts: Option<Array<Slot>>,
    /// Slots that are open or attached: where there are none, commits look no further.
    uncommitted: AtomicU32,
}

impl Streams {
    /// Room for `values` values, and for `parts` parts of runs, between begin and
    /// publication.
    ///
    /// # Errors
    /// When the budget or the host has no memory.
    pub fn new(budget: &mut Budget, values: usize, parts: usize) -> Result<Self> {
        let mut slots = |count| {
            (count > 0)
                .then(|| Array::new(budget, MemoryUse::Structure, count, |_| Slot::default()))
                .transpose()
        };
        Ok(Self {
            slots: slots(values)?,
            parts: slots(parts)?,
            uncommitted: AtomicU32::new(0),
        })
    }

    fn all(&self) -> &[Slot] {
        self.slots.as_deref().unwrap_or(&[])
    }

    fn parts(&self) -> &[Slot] {
        self.parts.as_deref().unwrap_or(&[])
    }

    /// Whether there is room for no value at all.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        self.slots.is_none()
    }

    pub(super) fn get(&self, slot: u32) -> Option<&Slot> {
        self.all().get(slot as usize)
    }

    pub(super) fn part(&self, slot: u32) -> Option<&Slot> {
        self.parts().get(slot as usize)
    }

    /// The slots in use.
    pub(super) fn taken(&self) -> impl Iterator<Item = &Slot> {
        let all = self.all().iter().chain(self.parts());
        all.filter(|slot| slot.state() != FREE)
    }

    fn taken_values(&self) -> impl Iterator<Item = &Slot> {
        self.all().iter().filter(|slot| slot.state() != FREE)
    }

    /// The slots whose units the bitmaps on the medium are not to show.
    pub(super) fn masked(&self) -> impl Iterator<Item = &Slot> {
        self.taken().filter(|slot| !slot.is_exposed())
    }

    /// The slot of the extent at an address.
    pub(super) fn find(&self, address: u64) -> Option<&Slot> {
        self.taken_values().find(|slot| slot.address() == address)
    }

    /// Whether published bitmaps show a value that the log still names: a merge of a
    /// memtable was cut off, and the trees may have it.
    #[must_use]
    pub fn any_exposed(&self) -> bool {
        self.taken_values().any(Slot::is_exposed)
    }

    /// Units of all such values.
    #[must_use]
    pub fn exposed_units(&self) -> u64 {
        let exposed = self.taken_values().filter(|slot| slot.is_exposed());
        exposed.map(Slot::units).sum()
    }

    /// Units of such a value, where the extent at an address is one.
    #[must_use]
    pub fn exposed_units_at(&self, address: u64) -> u64 {
        let slot = self.find(address).filter(|slot| slot.is_exposed());
        slot.map_or(0, Slot::units)
    }

    fn take(slots: &[Slot], (address, units): (u64, u64), state: u8, sequence: u64) -> Option<u32> {
        let mut slots = (0_u32..).zip(slots);
        let (index, slot) = slots.find(|(_, slot)| slot.state() == FREE)?;
        slot.flags.store(0, Ordering::Relaxed);
        slot.address.store(address, Ordering::Relaxed);
        slot.units.store(units, Ordering::Relaxed);
        slot.sequence.store(sequence, Ordering::Relaxed);
        slot.state.store(state, Ordering::Release);
        Some(index)
    }

    /// Whether a slot is free.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.all().iter().any(|slot| slot.state() == FREE)
    }

    /// Takes a slot for a value that will be written.
    pub(super) fn open(&self, address: u64, units: u64) -> Option<u32> {
        let slot = Self::take(self.all(), (address, units), OPEN, 0)?;
        self.uncommitted.fetch_add(1, Ordering::AcqRel);
        Some(slot)
    }

    /// Takes a slot for a value that a commit in the log names.
    pub(super) fn recover(&self, address: u64, units: u64, sequence: u64) -> Option<&Slot> {
        let slot = Self::take(self.all(), (address, units), COMMITTED, sequence)?;
        self.get(slot)
    }

    /// A transaction has put the value of a slot.
    pub fn attach(&self, slot: u32, owner: u32) {
        if let Some(slot) = self.get(slot) {
            slot.owner.store(owner, Ordering::Relaxed);
            slot.change(OPEN, ATTACHED);
        }
    }

    /// Whether some value may still be committed.
    #[must_use]
    pub fn any_uncommitted(&self) -> bool {
        self.uncommitted.load(Ordering::Acquire) > 0
    }

    /// The commit of a sequence has put a reference. Under the sequencer's lock.
    pub fn commit(&self, reference: &[u8], sequence: u64) {
        let address = ExtentRef::decode(reference).map_or(0, |extent| extent.address);
        if let Some(slot) = self.find(address) {
            slot.sequence.store(sequence, Ordering::Relaxed);
            if slot.change(OPEN, COMMITTED) || slot.change(ATTACHED, COMMITTED) {
                self.uncommitted.fetch_sub(1, Ordering::AcqRel);
            }
        }
    }

    /// Nobody will put the value of a slot.
    pub fn drop_open(&self, slot: u32) {
        if self
            .get(slot)
            .is_some_and(|slot| slot.change(OPEN, DROPPED))
        {
            self.uncommitted.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// A transaction has ended: what it put and didn't commit is dropped.
    pub fn end_owner(&self, owner: u32) {
        for slot in self.all() {
            if slot.state() == ATTACHED
                && slot.owner.load(Ordering::Relaxed) == owner
                && slot.change(ATTACHED, DROPPED)
            {
                self.uncommitted.fetch_sub(1, Ordering::AcqRel);
            }
        }
    }

    /// Whether a slot for a part is free.
    #[must_use]
    pub fn has_room_for_part(&self) -> bool {
        self.parts().iter().any(|slot| slot.state() == FREE)
    }

    /// Takes a slot for a part that will be written.
    pub(super) fn open_part(&self, address: u64, units: u64) -> Option<u32> {
        Self::take(self.parts(), (address, units), OPEN, 0)
    }

    /// Takes a slot for a part that the log names.
    pub(super) fn recover_part(&self, address: u64, units: u64, sequence: u64) -> bool {
        Self::take(self.parts(), (address, units), COMMITTED, sequence).is_some()
    }

    /// A part belongs to the run of a sequence. Under the sequencer's lock.
    pub fn commit_part(&self, slot: u32, sequence: u64) {
        if let Some(slot) = self.part(slot) {
            slot.sequence.store(sequence, Ordering::Relaxed);
            slot.change(OPEN, COMMITTED);
        }
    }

    /// Nobody will use a part.
    pub fn drop_part(&self, slot: u32) {
        if let Some(slot) = self.part(slot) {
            slot.change(OPEN, DROPPED);
        }
    }

    /// Address and units of the parts that were committed with a sequence.
    pub fn parts_of(&self, sequence: u64) -> impl Iterator<Item = (u64, u64)> {
        self.committed_parts(sequence)
            .map(|slot| (slot.address(), slot.units()))
    }

    pub(super) fn committed_parts(&self, sequence: u64) -> impl Iterator<Item = &Slot> {
        self.parts().iter().filter(move |slot| {
            slot.state() == COMMITTED && slot.sequence.load(Ordering::Relaxed) == sequence
        })
    }

    /// Units of masked slots within a range.
    pub(super) fn masked_units(&self, start: u64, end: u64) -> u64 {
        self.masked()
            .map(|slot| {
                let last = slot.address().saturating_add(slot.units()).min(end);
                last.saturating_sub(slot.address().max(start))
            })
            .sum()
    }
}
