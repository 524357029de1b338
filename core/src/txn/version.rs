//! Versions: which sources make up the database at a moment.
//!
//! A version is {generation, roots tree, memtables newest first}. It never
//! changes; a freeze or a flip makes a new one *current*. Readers take the
//! current one, without a lock:
//!
//! 1. enter an epoch, read which version is current;
//! 2. read the watermark up to which commits may be seen;
//! 3. read again which version is current, and begin again if it is another:
//!    all commits up to the watermark were then inserted into memtables that the
//!    version lists, since a new memtable is published before anything is in it;
//! 4. count themselves as a reader of the version, and leave the epoch.
//!
//! A slot is free again when it is not current, no epoch can see it any more (so
//! that nobody is between 1 and 4), and then no reader is counted: in that
//! order. What a version that is not free lists (pages by generation, memtables)
//! is neither reused nor reset.

use crate::error::{Error, Limit, Result};
use crate::format::bytes::get_u64;
use crate::format::page_ref::{PAGE_REF_BYTES, PageRef, encode_optional};
use crate::mem::{Array, Budget};
use crate::pager::{Epochs, Pager, Retired};
use crate::sync::{AtomicU32, AtomicU64, Mutex, Ordering};
use alloc::sync::Arc;
use lightning_platform::{MemoryUse, Wait};

/// Memtables that a version lists at most.
pub const MEMTABLES_MAX: usize = 8;
const NONE: u32 = u32::MAX;
const ROOT_WORDS: usize = PAGE_REF_BYTES / 8;

/// What a version says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionState {
    /// The generation whose pages it reads.
    pub generation: u64,
    /// All commits up to it are in the trees.
    pub merged_sequence: u64,
    /// The roots tree.
    pub roots: Option<PageRef>,
    /// Memtables, newest first; the first `memtable_count` count.
    pub memtables: [u32; MEMTABLES_MAX],
    /// How many memtables.
    pub memtable_count: usize,
}

impl VersionState {
    /// The memtables, newest first.
    pub fn memtables(&self) -> impl DoubleEndedIterator<Item = u32> + '_ {
        self.memtables.iter().take(self.memtable_count).copied()
    }
}

struct Version {
    readers: AtomicU32,
    generation: AtomicU64,
    merged_sequence: AtomicU64,
    roots: [AtomicU64; ROOT_WORDS],
    memtables: [AtomicU32; MEMTABLES_MAX],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Slot {
    Free,
    Current,
    Replaced(Retired),
}

/// A reader's view: a version, and up to which commit.
#[derive(Debug)]
#[must_use = "a snapshot that is not given back holds its pages for ever"]
pub struct Snapshot {
    pub(crate) engine: u64,
    pub(crate) version: u32,
    /// Commits up to it are seen.
    pub sequence: u64,
    /// Entries that expire at or before it are not seen; milliseconds since 1970.
    pub now_ms: u64,
}

/// The pool of versions.
pub struct Versions {
    current: AtomicU32,
    versions: Array<Version>,
    slots: Mutex<Array<Slot>>,
    readers: AtomicU32,
    readers_max: u32,
}

impl Versions {
    /// A pool for `readers_max` snapshots at once, whose current version is `first`.
    ///
    /// # Errors
    /// When the budget or the host has no memory.
    pub fn new(
        budget: &mut Budget,
        readers_max: u32,
        first: &VersionState,
        wait: Arc<dyn Wait>,
    ) -> Result<Self> {
        // Each snapshot may hold another version; one is current, one replaced and
        // waiting for its epoch, two are being made (by a freeze and by a flip).
        let count = readers_max as usize + 4;
        let structure = MemoryUse::Structure;
        let versions = Array::new(budget, structure, count, |_| Version {
            readers: AtomicU32::new(0),
            generation: AtomicU64::new(0),
            merged_sequence: AtomicU64::new(0),
            roots: [const { AtomicU64::new(0) }; ROOT_WORDS],
            memtables: [const { AtomicU32::new(NONE) }; MEMTABLES_MAX],
        })?;
        let mut slots = Array::new(budget, structure, count, |_| Slot::Free)?;
        if let (Some(version), Some(slot)) = (versions.first(), slots.first_mut()) {
            version.write(first);
            *slot = Slot::Current;
        }
        Ok(Self {
            current: AtomicU32::new(0),
            versions,
            slots: Mutex::new(slots, wait),
            readers: AtomicU32::new(0),
            readers_max,
        })
    }

    /// Makes `state` the current version.
    ///
    /// # Errors
    /// [`Error::Busy`] while every slot is held: ask [`has_room`](Self::has_room) first.
    pub fn publish(&self, epochs: &Epochs, state: &VersionState) -> Result<()> {
        self.publish_leaving(epochs, state, 0)
    }

    /// Makes `state` the current version, if `left` slots are free afterwards.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub fn publish_leaving(
        &self,
        epochs: &Epochs,
        state: &VersionState,
        left: usize,
    ) -> Result<()> {
        let mut slots = self.slots.lock();
        self.sweep(epochs, &mut slots);
        if slots.iter().filter(|slot| **slot == Slot::Free).count() <= left {
            return Err(Error::Busy);
        }
        let free = slots
            .iter()
            .position(|slot| *slot == Slot::Free)
            .ok_or(Error::Busy)?;
        let version = self.versions.get(free).ok_or(Error::Internal(101))?;
        version.write(state);
        let index = u32::try_from(free).map_err(|_| Error::Internal(102))?;
        let before = self.current.swap(index, Ordering::SeqCst);
        let retired = epochs.retire();
        if let Some(slot) = slots.get_mut(before as usize) {
            *slot = Slot::Replaced(retired);
        }
        if let Some(slot) = slots.get_mut(free) {
            *slot = Slot::Current;
        }
        Ok(())
    }

    /// Whether a version can be published now.
    pub fn has_room(&self, epochs: &Epochs) -> bool {
        let mut slots = self.slots.lock();
        self.sweep(epochs, &mut slots);
        slots.contains(&Slot::Free)
    }

    fn sweep(&self, epochs: &Epochs, slots: &mut Array<Slot>) {
        for (slot, version) in slots.iter_mut().zip(self.versions.iter()) {
            if let Slot::Replaced(retired) = *slot
                && epochs.is_unseen(retired)
                && version.readers.load(Ordering::Acquire) == 0
            {
                *slot = Slot::Free;
            }
        }
    }

    /// The current version. Only who publishes relies on it staying so.
    pub fn current(&self) -> VersionState {
        self.state(self.current.load(Ordering::SeqCst))
    }

    /// Begins a snapshot up to what `watermark` answers.
    ///
    /// # Errors
    /// [`Error::OverLimit`] when as many snapshots are open as were planned.
    pub fn begin(
        &self,
        pager: &Pager,
        engine: u64,
        now_ms: u64,
        watermark: impl Fn() -> u64,
    ) -> Result<Snapshot> {
        let open = self.readers.fetch_add(1, Ordering::Relaxed);
        if open >= self.readers_max {
            self.readers.fetch_sub(1, Ordering::Relaxed);
            return Err(Error::OverLimit {
                limit: Limit::Snapshots,
                value: u64::from(open) + 1,
                maximum: u64::from(self.readers_max),
            });
        }
        let _traversal = pager.enter();
        loop {
            let index = self.current.load(Ordering::SeqCst);
            let sequence = watermark();
            if self.current.load(Ordering::SeqCst) == index
                && let Some(version) = self.versions.get(index as usize)
            {
                version.readers.fetch_add(1, Ordering::AcqRel);
                return Ok(Snapshot {
                    engine,
                    version: index,
                    sequence,
                    now_ms,
                });
            }
        }
    }

    /// Lets go of what a snapshot reads, but not of its place in the order: it
    /// counts as a reader of the current version from now on.
    pub fn rebase(&self, pager: &Pager, snapshot: &mut Snapshot) {
        let _traversal = pager.enter();
        let index = self.current.load(Ordering::SeqCst);
        if let Some(version) = self.versions.get(index as usize) {
            version.readers.fetch_add(1, Ordering::AcqRel);
            if let Some(before) = self.versions.get(snapshot.version as usize) {
                before.readers.fetch_sub(1, Ordering::Release);
            }
            snapshot.version = index;
        }
    }

    /// Gives a snapshot back.
    pub fn end(&self, snapshot: Snapshot) {
        if let Some(version) = self.versions.get(snapshot.version as usize) {
            version.readers.fetch_sub(1, Ordering::Release);
        }
        self.readers.fetch_sub(1, Ordering::Relaxed);
    }

    /// What the version of a snapshot says.
    #[inline]
    pub fn of(&self, snapshot: &Snapshot) -> VersionState {
        self.state(snapshot.version)
    }

    /// Snapshots that are open.
    pub fn open_snapshots(&self) -> u32 {
        self.readers.load(Ordering::Relaxed)
    }

    fn state(&self, index: u32) -> VersionState {
        self.versions.get(index as usize).map_or(
            VersionState {
                generation: 0,
                merged_sequence: 0,
                roots: None,
                memtables: [NONE; MEMTABLES_MAX],
                memtable_count: 0,
            },
            Version::read,
        )
    }

    /// The lowest generation that a version which is not free reads.
    pub fn oldest_generation(&self, epochs: &Epochs) -> u64 {
        let mut slots = self.slots.lock();
        self.sweep(epochs, &mut slots);
        slots
            .iter()
            .zip(self.versions.iter())
            .filter(|(slot, _)| **slot != Slot::Free)
            .map(|(_, version)| version.generation.load(Ordering::Relaxed))
            .fold(u64::MAX, u64::min)
    }

    /// Whether a version that is not free lists a memtable.
    pub fn lists(&self, epochs: &Epochs, memtable: u32) -> bool {
        let mut slots = self.slots.lock();
        self.sweep(epochs, &mut slots);
        slots
            .iter()
            .zip(self.versions.iter())
            .filter(|(slot, _)| **slot != Slot::Free)
            .any(|(_, version)| version.read().memtables().any(|listed| listed == memtable))
    }
}

impl Version {
    fn write(&self, state: &VersionState) {
        self.generation.store(state.generation, Ordering::Relaxed);
        self.merged_sequence
            .store(state.merged_sequence, Ordering::Relaxed);
        let encoded = encode_optional(state.roots.as_ref());
        for (index, word) in self.roots.iter().enumerate() {
            word.store(get_u64(&encoded, index * 8), Ordering::Relaxed);
        }
        for (index, slot) in self.memtables.iter().enumerate() {
            let listed = state.memtables.get(index).copied().unwrap_or(NONE);
            let listed = if index < state.memtable_count {
                listed
            } else {
                NONE
            };
            slot.store(listed, Ordering::Relaxed);
        }
    }

    #[inline]
    fn read(&self) -> VersionState {
        let mut encoded = [0; PAGE_REF_BYTES];
        for (chunk, word) in encoded.chunks_exact_mut(8).zip(self.roots.iter()) {
            chunk.copy_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
        }
        let mut memtables = [NONE; MEMTABLES_MAX];
        let mut memtable_count = 0;
        for (to, from) in memtables.iter_mut().zip(self.memtables.iter()) {
            *to = from.load(Ordering::Relaxed);
            memtable_count += usize::from(*to != NONE);
        }
        VersionState {
            generation: self.generation.load(Ordering::Relaxed),
            merged_sequence: self.merged_sequence.load(Ordering::Relaxed),
            roots: PageRef::decode(&encoded, 0).flatten(),
            memtables,
            memtable_count,
        }
    }
}
