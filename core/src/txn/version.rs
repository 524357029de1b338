//! Versions: which sources make up the database at a moment.
//!
//! A version is {generation, roots tree, sources newest first: memtables, then
//! runs; but a run that was ingested stands where its commit belongs, above older memtables}.
//! A freeze, an ingest or a flip makes a new one *current*. Readers take the current
//! one, without a lock:
//!
//! 1. enter an epoch, claim a place among the registered snapshots, read which
//!    version is current;
//! 2. read the watermark up to which commits may be seen, and register it;
//! 3. read again which version is current, and begin again if it is another:
//!    all commits up to the watermark were then inserted into memtables that the
//!    version lists, since a new memtable is published before anything is in it;
//! 4. count themselves as a reader of the version, and leave the epoch.
//!
//! A slot is free again when it is not current, no epoch can see it any more (so
//! that nobody is between 1 and 4), and then no reader is counted: in that
//! order. What a version that is not free lists (pages by generation, sources)
//! is neither reused nor reset.
//!
//! # The exchange
//! One thing in a version changes: the word that names a memtable is replaced by the
//! one that names the run made of it, in the current version and in every older one
//! that is in use. So a memtable is free while snapshots that began on it live. Who
//! reads a word and what it names does so in one epoch; the memtable is reset when
//! no epoch can have seen its word, and no value pins it. A word that names a run
//! stays, and all words behind it name runs, too: a version that lists an older memtable
//! behind it, one that was merged by itself, keeps both. (A run that was ingested is
//! listed from the beginning, whatever stands behind it.)

use crate::error::{Error, Limit, Result};
use crate::format::bytes::get_u64;
use crate::format::page_ref::{PAGE_REF_BYTES, PageRef, encode_optional};
use crate::limits::RUNS_MAX;
use crate::mem::{Array, Budget};
use crate::pager::{Epochs, Pager, Retired};
use crate::sync::{AtomicU32, AtomicU64, Mutex, Ordering};
use alloc::sync::Arc;
use core::array;
use lightning_platform::{MemoryUse, Wait};

/// Memtables that a version lists at most.
pub const MEMTABLES_MAX: usize = 8;
/// Memtables and runs that a version lists at most.
pub const SOURCES_MAX: usize = MEMTABLES_MAX + RUNS_MAX;
const ROOT_WORDS: usize = PAGE_REF_BYTES / 8;
/// Of a place for a snapshot that nobody has.
const UNREGISTERED: u64 = 0;

/// Names a memtable, or the slot of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceId(u32);

impl SourceId {
    const RUN: u32 = 1 << 31;
    /// Names nothing.
    pub const NONE: Self = Self(u32::MAX);
    /// Stands where a memtable was that was needed for writes: see
    /// [`Versions::end_readers_of`].
    pub const GONE: Self = Self(u32::MAX - 1);

    /// Names a memtable.
    #[must_use]
    pub fn of_memtable(index: u32) -> Self {
        Self(index)
    }

    /// Names the slot of a run.
    #[must_use]
    pub fn of_run(slot: u32) -> Self {
        Self(slot | Self::RUN)
    }

    /// The memtable, if it names one.
    #[inline]
    #[must_use]
    pub fn memtable(self) -> Option<u32> {
        (self.0 & Self::RUN == 0).then_some(self.0)
    }

    /// The slot of the run, if it names one.
    #[inline]
    #[must_use]
    pub fn run(self) -> Option<u32> {
        let names_run = self.0 & Self::RUN != 0 && self.0 < Self::GONE.0;
        names_run.then_some(self.0 & !Self::RUN)
    }
}

/// Memtables and runs, newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sources {
    ids: [SourceId; SOURCES_MAX],
    count: usize,
}

impl Default for Sources {
    fn default() -> Self {
        Self {
            ids: [SourceId::NONE; SOURCES_MAX],
            count: 0,
        }
    }
}

impl Sources {
    /// All of them.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = SourceId> + ExactSizeIterator + '_ {
        self.ids.iter().take(self.count).copied()
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// The memtables, newest first.
    pub fn memtables(&self) -> impl DoubleEndedIterator<Item = u32> + '_ {
        self.iter().filter_map(SourceId::memtable)
    }

    /// The slots of the runs, newest first.
    pub fn runs(&self) -> impl DoubleEndedIterator<Item = u32> + '_ {
        self.iter().filter_map(SourceId::run)
    }

    /// With an older source behind the others; `false` when there is no room.
    pub fn push(&mut self, id: SourceId) -> bool {
        let Some(slot) = self.ids.get_mut(self.count) else {
            return false;
        };
        *slot = id;
        self.count += 1;
        true
    }

    /// With a newer source before the others; `None` when there is no room.
    #[must_use]
    pub fn with_newest(&self, id: SourceId) -> Option<Self> {
        let mut sources = Self::default();
        let mut all = core::iter::once(id).chain(self.iter());
        all.all(|id| sources.push(id)).then_some(sources)
    }

    /// With an older source behind the newest; `None` when there is no room.
    #[must_use]
    pub fn with_second(&self, id: SourceId) -> Option<Self> {
        let mut sources = Self::default();
        let (newest, others) = (self.iter().take(1), self.iter().skip(1));
        let mut all = newest.chain(core::iter::once(id)).chain(others);
        all.all(|id| sources.push(id)).then_some(sources)
    }

    /// With what `keep` answers in each one's place; what it answers none for goes.
    #[must_use]
    pub fn map(&self, mut keep: impl FnMut(SourceId) -> Option<SourceId>) -> Self {
        let mut sources = Self::default();
        for id in self.iter().filter_map(&mut keep) {
            sources.push(id);
        }
        sources
    }
}

/// What a version says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionState {
    /// The generation whose pages it reads.
    pub generation: u64,
    /// All commits up to it are in the trees.
    pub merged_sequence: u64,
    /// The roots tree.
    pub roots: Option<PageRef>,
    /// Memtables and runs.
    pub sources: Sources,
}

struct Version {
    readers: AtomicU32,
    /// The wall time when another one took its place.
    replaced_ms: AtomicU64,
    generation: AtomicU64,
    merged_sequence: AtomicU64,
    roots: [AtomicU64; ROOT_WORDS],
    sources: [AtomicU32; SOURCES_MAX],
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
    pub(crate) place: u32,
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
    /// For each snapshot that may be open: one above its sequence.
    registered: Array<AtomicU64>,
    /// What had expired by then may be gone from the trees.
    swept_ms: AtomicU64,
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
            replaced_ms: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            merged_sequence: AtomicU64::new(0),
            roots: array::from_fn(|_| AtomicU64::new(0)),
            sources: array::from_fn(|_| AtomicU32::new(SourceId::NONE.0)),
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
            registered: Array::new(budget, structure, readers_max as usize, |_| {
                AtomicU64::new(UNREGISTERED)
            })?,
            swept_ms: AtomicU64::new(0),
        })
    }

    /// Makes `state` the current version, at a wall time.
    ///
    /// # Errors
    /// [`Error::Busy`] while every slot is held: ask [`has_room`](Self::has_room) first.
    pub fn publish(&self, epochs: &Epochs, state: &VersionState, now_ms: u64) -> Result<()> {
        self.publish_leaving(epochs, state, now_ms, 0)
    }

    /// Makes `state` the current version, if `left` slots are free afterwards.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub fn publish_leaving(
        &self,
        epochs: &Epochs,
        state: &VersionState,
        now_ms: u64,
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
        if let Some(before) = self.versions.get(before as usize) {
            before.replaced_ms.store(now_ms, Ordering::Relaxed);
        }
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

    /// Has no snapshot that begins from now on see what had expired by then. Comes before a
    /// version is published whose trees may lack that.
    pub fn note_swept(&self, now_ms: u64) {
        self.swept_ms.fetch_max(now_ms, Ordering::SeqCst);
    }

    /// Begins a snapshot up to what `watermark` answers. Its time is `now_ms`, or that of
    /// the last sweep, where a clock was put back.
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
        let _traversal = pager.enter();
        let (place, registered) = self.claim()?;
        loop {
            let index = self.current.load(Ordering::SeqCst);
            let sequence = watermark();
            registered.store(sequence.saturating_add(1), Ordering::SeqCst);
            if self.current.load(Ordering::SeqCst) == index
                && let Some(version) = self.versions.get(index as usize)
            {
                version.readers.fetch_add(1, Ordering::AcqRel);
                // Read behind the version: what that one lacks had expired by then.
                let swept_ms = self.swept_ms.load(Ordering::SeqCst);
                return Ok(Snapshot {
                    engine,
                    version: index,
                    place,
                    sequence,
                    now_ms: now_ms.max(swept_ms),
                });
            }
        }
    }

    /// Takes a place among the registered snapshots, beginning where the thread's stack
    /// suggests, so that a thread mostly finds its own.
    fn claim(&self) -> Result<(u32, &AtomicU64)> {
        let marker = 0_u8;
        let start = if cfg!(loom) {
            // The address of a stack differs between two runs of one schedule.
            0
        } else {
            ((&raw const marker).addr() >> 12).wrapping_mul(0x9E37_79B9) >> 8
        };
        let count = self.registered.len();
        let first = start.checked_rem(count).unwrap_or(0);
        for index in (first..count).chain(0..first) {
            let Some(place) = self.registered.get(index) else {
                continue;
            };
            let is_free = place.load(Ordering::Relaxed) == UNREGISTERED
                && place
                    .compare_exchange(UNREGISTERED, 1, Ordering::SeqCst, Ordering::Relaxed)
                    .is_ok();
            if is_free {
                return Ok((u32::try_from(index).unwrap_or(u32::MAX), place));
            }
        }
        Err(Error::OverLimit {
            limit: Limit::Snapshots,
            value: count as u64 + 1,
            maximum: count as u64,
        })
    }

    /// The sequences of the snapshots that are open. Complete for those that began before
    /// a stamp that is unseen.
    pub fn sequences(&self) -> impl Iterator<Item = u64> + '_ {
        self.registered
            .iter()
            .filter_map(|place| place.load(Ordering::SeqCst).checked_sub(1))
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
        if let Some(place) = self.registered.get(snapshot.place as usize) {
            place.store(UNREGISTERED, Ordering::Release);
        }
        if let Some(version) = self.versions.get(snapshot.version as usize) {
            version.readers.fetch_sub(1, Ordering::Release);
        }
    }

    /// The roots tree that a snapshot reads.
    #[inline]
    pub fn roots(&self, snapshot: &Snapshot) -> Option<PageRef> {
        self.versions
            .get(snapshot.version as usize)
            .and_then(Version::read_roots)
    }

    /// What the version of a snapshot lists now. A memtable may be exchanged at any time:
    /// only what is named as a run stays.
    pub fn sources(&self, snapshot: &Snapshot) -> Sources {
        self.state(snapshot.version).sources
    }

    /// A source of a version, by its place. What names a memtable is good for the epoch
    /// in which it was read.
    #[inline]
    pub fn source(&self, version: u32, place: usize) -> SourceId {
        self.versions
            .get(version as usize)
            .and_then(|version| version.sources.get(place))
            .map_or(SourceId::NONE, |word| {
                SourceId(word.load(Ordering::Acquire))
            })
    }

    /// Snapshots that are open.
    pub fn open_snapshots(&self) -> u32 {
        u32::try_from(self.sequences().count()).unwrap_or(u32::MAX)
    }

    /// Puts a run in the place of the memtable that it was made of, in every version that
    /// is in use: see the module.
    pub fn exchange(&self, memtable: u32, run: u32) {
        let slots = self.slots.lock();
        let from = SourceId::of_memtable(memtable);
        for (_, version) in slots
            .iter()
            .zip(self.versions.iter())
            .filter(|(slot, _)| **slot != Slot::Free)
        {
            let named = |word: &AtomicU32| SourceId(word.load(Ordering::Relaxed));
            let mut words = version
                .sources
                .iter()
                .skip_while(|word| named(word) != from);
            if let Some(word) = words.next()
                && words.all(|older| named(older).memtable().is_none())
            {
                word.store(SourceId::of_run(run).0, Ordering::SeqCst);
            }
        }
    }

    /// Takes a memtable from every version that lists it, where all of them were replaced
    /// before `deadline_ms`: their readers then find that they are too old. Without runs
    /// that is how a reader that stays doesn't stop writers for ever. Whether it was done.
    pub fn end_readers_of(&self, memtable: u32, deadline_ms: u64) -> bool {
        let slots = self.slots.lock();
        let source = SourceId::of_memtable(memtable);
        let lists = |version: &&Version| {
            version
                .sources
                .iter()
                .any(|word| word.load(Ordering::Relaxed) == source.0)
        };
        let listing = || {
            slots
                .iter()
                .zip(self.versions.iter())
                .filter(|(slot, _)| **slot != Slot::Free)
                .filter(|(_, version)| lists(version))
        };
        let may_end = listing().all(|(slot, version)| {
            *slot != Slot::Current && version.replaced_ms.load(Ordering::Relaxed) < deadline_ms
        });
        for (_, version) in listing().filter(|_| may_end) {
            for word in &version.sources {
                if word.load(Ordering::Relaxed) == source.0 {
                    word.store(SourceId::GONE.0, Ordering::SeqCst);
                }
            }
        }
        may_end
    }

    fn state(&self, index: u32) -> VersionState {
        self.versions.get(index as usize).map_or(
            VersionState {
                generation: 0,
                merged_sequence: 0,
                roots: None,
                sources: Sources::default(),
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

    /// Whether a version that is not free lists a source.
    pub fn lists(&self, epochs: &Epochs, source: SourceId) -> bool {
        let mut slots = self.slots.lock();
        self.sweep(epochs, &mut slots);
        slots
            .iter()
            .zip(self.versions.iter())
            .filter(|(slot, _)| **slot != Slot::Free)
            .any(|(_, version)| {
                version
                    .sources
                    .iter()
                    .any(|word| word.load(Ordering::Relaxed) == source.0)
            })
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
        for (word, id) in self.sources.iter().zip(&state.sources.ids) {
            word.store(id.0, Ordering::Relaxed);
        }
    }

    #[inline]
    fn read_roots(&self) -> Option<PageRef> {
        let mut encoded = [0; PAGE_REF_BYTES];
        for (chunk, word) in encoded.chunks_exact_mut(8).zip(self.roots.iter()) {
            chunk.copy_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
        }
        PageRef::decode(&encoded, 0).flatten()
    }

    fn read(&self) -> VersionState {
        let mut sources = Sources::default();
        for word in &self.sources {
            let id = SourceId(word.load(Ordering::Acquire));
            if id == SourceId::NONE {
                break;
            }
            sources.push(id);
        }
        VersionState {
            generation: self.generation.load(Ordering::Relaxed),
            merged_sequence: self.merged_sequence.load(Ordering::Relaxed),
            roots: self.read_roots(),
            sources,
        }
    }
}
