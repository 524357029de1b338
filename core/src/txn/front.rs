//! The front: what stands above the trees, and how one key is looked up in it.
//!
//! A [`View`] is a table as a snapshot or transaction sees it. It names its sources by
//! their places in the snapshot's version, since a memtable may be exchanged for
//! the run made of it at any time: a word that names a memtable is read, and the memtable
//! with it, in one epoch. Nothing is read from storage in an epoch, and none is entered
//! inside another.

use super::lent::Stored;
use super::version::{MEMTABLES_MAX, SOURCES_MAX, SourceId, Versions};
use crate::btree::{self, Found, Root};
use crate::error::{Error, Result};
use crate::format::leaf::EntryKind;
use crate::format::run::filter_hash;
use crate::limits::AHEAD_KEYS_MAX;
use crate::mem::Array;
use crate::memtable::{Entry, Memtable, RecordKind};
use crate::pager::Pager;
use crate::run::{Run, Runs};
use crate::sync::{AtomicU8, AtomicU32, Ordering};

/// A memtable's place in the engine.
pub struct MemtableSlot {
    /// The memtable.
    pub memtable: Memtable,
    /// Values lent from it.
    pub pins: AtomicU32,
    /// What it is used for: the engine's business.
    pub state: AtomicU8,
    /// The memtable whose commits follow, for the log.
    pub successor: AtomicU32,
}

/// Memtables, runs, and the versions that list them.
pub struct Front {
    /// The memtables.
    pub memtables: Array<MemtableSlot>,
    /// The runs.
    pub runs: Runs,
    /// The versions.
    pub versions: Versions,
}

impl Front {
    /// A memtable by its number.
    #[inline]
    #[must_use]
    pub fn memtable(&self, index: u32) -> Option<&MemtableSlot> {
        self.memtables.get(index as usize)
    }
}

/// A table as a snapshot sees it.
#[derive(Clone, Copy)]
pub struct View<'e> {
    pub(super) front: &'e Front,
    pub(super) version: u32,
    /// Commits up to it are seen.
    pub sequence: u64,
    /// Entries that expire at or before it are not seen.
    pub now_ms: u64,
    /// The table's tree below the front.
    pub root: Root,
    /// A transaction's own writes.
    pub(super) own: Option<&'e Memtable>,
    /// Places of the version whose sources may hold something that is seen, one bit each.
    pub(super) relevant: u32,
    /// Which of them name memtables, or did.
    pub(super) memtables: u32,
}

/// What the front says of a key.
pub enum Lookup<'e> {
    /// Nothing: the tree decides.
    Unknown,
    /// It is not there.
    Gone,
    /// It has this value, in a memtable.
    Memtable(Lent<'e>),
    /// It has this value, in a run.
    Run(Found<'e>),
}

/// A value lent by a memtable, which is kept for as long.
pub struct Lent<'e> {
    entry: Entry<'e>,
    /// None where the memtable is a transaction's own, which is lent with it.
    slot: Option<&'e MemtableSlot>,
}

impl<'e> Lent<'e> {
    /// Lends an entry of a memtable that was found in the epoch that the caller is in.
    #[inline]
    fn new(entry: Entry<'e>, slot: Option<&'e MemtableSlot>) -> Self {
        if let Some(slot) = slot {
            slot.pins.fetch_add(1, Ordering::AcqRel);
        }
        Self { entry, slot }
    }

    /// The entry.
    #[inline]
    #[must_use]
    pub fn entry(&self) -> &Entry<'e> {
        &self.entry
    }

    /// Where the value's bytes are.
    #[inline]
    #[must_use]
    pub fn stored(&self) -> Stored<'e> {
        Stored::of(self.entry.kind() == RecordKind::Extent, self.entry.value())
    }
}

impl Drop for Lent<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            slot.pins.fetch_sub(1, Ordering::Release);
        }
    }
}

/// The places of a set, in ascending order.
pub(super) fn places(mut set: u32) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        let place = set.trailing_zeros();
        set &= set.wrapping_sub(1);
        (place < 32).then_some(place as usize)
    })
}

impl<'e> View<'e> {
    /// A table as it is seen up to `sequence` in a version that is kept for `'e`.
    #[must_use]
    pub fn new(
        front: &'e Front,
        version: u32,
        (sequence, now_ms): (u64, u64),
        root: Root,
        own: Option<&'e Memtable>,
    ) -> Self {
        let (mut relevant, mut memtables) = (0, 0);
        for place in 0..SOURCES_MAX {
            let id = front.versions.source(version, place);
            if id == SourceId::NONE {
                break;
            }
            if id.memtable().is_some() {
                memtables |= 1 << place;
            }
            if front.is_relevant(version, place, id, sequence) {
                relevant |= 1 << place;
            }
        }
        Self {
            front,
            version,
            sequence,
            now_ms,
            root,
            own: own.filter(|own| !own.is_empty()),
            relevant,
            memtables: memtables & relevant,
        }
    }

    /// Whether nothing stands above the tree.
    #[inline]
    #[must_use]
    pub fn is_tree_only(&self) -> bool {
        self.relevant == 0 && self.own.is_none()
    }

    /// Whether a range tombstone may hide something of the table.
    #[must_use]
    pub fn has_range_tombstones(&self, pager: &Pager) -> bool {
        let table = self.root.table;
        let holds = |memtable: &Memtable| {
            memtable
                .range_tombstones()
                .any(|range| range.table() == table)
        };
        let _traversal = pager.enter();
        self.own.is_some_and(holds)
            || places(self.relevant).any(|place| {
                let id = self.source(place);
                match id.memtable().and_then(|index| self.front.memtable(index)) {
                    Some(slot) => holds(&slot.memtable),
                    None => self.run(id).is_some_and(|(_, run)| {
                        run.range_tombstones().any(|range| range.table == table)
                    }),
                }
            })
    }

    /// What a word of the version names now.
    #[inline]
    pub(super) fn source(&self, place: usize) -> SourceId {
        self.front.versions.source(self.version, place)
    }

    /// What the front says of a key.
    ///
    /// # Errors
    /// I/O or corruption; [`Error::WouldRead`] where a page is not in memory and reading
    /// was not allowed; [`Error::SnapshotTooOld`] without runs.
    #[inline]
    pub fn lookup(&self, pager: &'e Pager, key: &[u8], may_read: bool) -> Result<Lookup<'e>> {
        if let Some(own) = self.own
            && let Some(entry) = own.lookup(self.root.table, key, u64::MAX)
        {
            return Ok(self.said(entry, None));
        }
        if self.relevant == 0 {
            return Ok(Lookup::Unknown);
        }
        self.lookup_shared(pager, key, may_read)
    }

    /// Asks for the memory that lookups of `keys` would wait for, the first
    /// [`AHEAD_KEYS_MAX`] of them: in memtables and in the tree; not in runs, of which few
    /// hold a key.
    pub fn prefetch(&self, pager: &Pager, keys: &[&[u8]]) {
        let table = self.root.table;
        let mut below = [&[][..]; AHEAD_KEYS_MAX];
        let keys = keys.iter().take(AHEAD_KEYS_MAX);
        let mut below_count = 0;
        {
            let _traversal = pager.enter();
            let memtables = || {
                let ids = places(self.memtables).map(|place| self.source(place));
                ids.filter_map(|id| Some(&self.front.memtable(id.memtable()?)?.memtable))
            };
            let mut hashes = [0; AHEAD_KEYS_MAX];
            if self.memtables != 0 {
                for (hash, key) in hashes.iter_mut().zip(keys.clone()) {
                    *hash = filter_hash(table, key);
                    memtables().for_each(|memtable| memtable.prefetch_filter(*hash));
                }
            }
            for memtable in memtables() {
                let held = hashes.iter().zip(keys.clone());
                let held = held.filter(|(hash, _)| memtable.may_hold(**hash));
                memtable.prefetch(held.map(|(_, key)| (table, *key)));
            }
            for (hash, key) in hashes.iter().zip(keys) {
                if memtables().any(|memtable| memtable.may_hold(*hash)) {
                    continue;
                }
                if let Some(place) = below.get_mut(below_count) {
                    *place = key;
                    below_count += 1;
                }
            }
        }
        let below = below.get(..below_count).unwrap_or_default();
        btree::prefetch(pager, &self.root, below);
    }

    fn lookup_shared(&self, pager: &'e Pager, key: &[u8], may_read: bool) -> Result<Lookup<'e>> {
        let table = self.root.table;
        let mut candidates = 0_u32;
        // What a memtable says, where runs that are newer than it may know better.
        let mut older = None;
        // A range tombstone that hides what is older, and the place of its run.
        let mut hidden = None;
        {
            let traversal = pager.enter();
            let hash = filter_hash(table, key);
            for place in places(self.relevant) {
                let id = self.source(place);
                if let Some(slot) = id.memtable().and_then(|index| self.front.memtable(index)) {
                    let found = slot
                        .memtable
                        .lookup_hashed((table, key), hash, self.sequence);
                    if let Some(entry) = found {
                        let said = self.said(entry, Some(slot));
                        if candidates == 0 {
                            return Ok(said);
                        }
                        older = Some(said);
                        break;
                    }
                } else if id == SourceId::GONE {
                    return Err(Error::SnapshotTooOld);
                } else if let Some((number, run)) = self.run(id) {
                    if run.record().newest.is_some()
                        && self.front.runs.may_hold(&traversal, number, hash)
                    {
                        candidates |= 1 << place;
                    }
                    let covering = run.covering(table, key, self.sequence);
                    if covering > 0 {
                        hidden = Some((place, covering));
                        break;
                    }
                }
            }
        }
        for place in places(candidates) {
            let Some((_, run)) = self.run(self.source(place)) else {
                continue;
            };
            if let Some(found) = run.lookup(pager, table, key, self.sequence, may_read)? {
                let is_hidden =
                    hidden.is_some_and(|(at, covering)| at == place && covering > found.sequence);
                let is_gone = is_hidden
                    || found.kind == EntryKind::Tombstone
                    || self.is_expired(found.expiry_ms);
                return Ok(if is_gone {
                    Lookup::Gone
                } else {
                    Lookup::Run(found)
                });
            }
        }
        Ok(match older {
            Some(said) => said,
            None if hidden.is_some() => Lookup::Gone,
            None => Lookup::Unknown,
        })
    }

    #[inline]
    fn said(&self, entry: Entry<'e>, slot: Option<&'e MemtableSlot>) -> Lookup<'e> {
        let is_there = matches!(entry.kind(), RecordKind::Put | RecordKind::Extent)
            && !self.is_expired(entry.expiry_ms());
        if is_there {
            Lookup::Memtable(Lent::new(entry, slot))
        } else {
            Lookup::Gone
        }
    }

    /// Whether an entry with that expiry isn't seen any more.
    #[inline]
    #[must_use]
    pub fn is_expired(&self, expiry_ms: Option<u64>) -> bool {
        expiry_ms.is_some_and(|expiry| expiry <= self.now_ms)
    }

    /// The run that a word names, which stays while the version does.
    #[inline]
    pub(super) fn run(&self, id: SourceId) -> Option<(u32, Run<'e>)> {
        let slot = id.run()?;
        Some((slot, self.front.runs.run(slot)?))
    }

    /// Lends an entry found in an epoch that the caller is still in.
    pub(super) fn lend(&self, entry: Entry<'e>, id: SourceId) -> Lent<'e> {
        Lent::new(
            entry,
            id.memtable().and_then(|index| self.front.memtable(index)),
        )
    }
}

impl Front {
    /// Whether a source may hold something with at most `sequence`.
    fn is_relevant(&self, version: u32, place: usize, id: SourceId, sequence: u64) -> bool {
        let Some(index) = id.memtable() else {
            return id == SourceId::GONE
                || id
                    .run()
                    .and_then(|slot| self.runs.run(slot))
                    .is_some_and(|run| run.record().first_sequence <= sequence);
        };
        let first = self
            .memtable(index)
            .map_or(0, |slot| slot.memtable.first_sequence());
        if first != 0 && first <= sequence {
            return true;
        }
        // Empty, or too new; unless it was exchanged and reset before it was asked: then
        // the word is another by now.
        self.versions.source(version, place) != id
    }
}

const _: () = assert!(SOURCES_MAX <= 32 && MEMTABLES_MAX < SOURCES_MAX);
