//! The arena: one fixed region that holds commits and their entries in append
//! order, and, in the entries, the links of the ordered list.
//!
//! # Layout
//! Offsets count bytes from the region's start and are multiples of four.
//! ```text
//! 0         16 unused bytes, the tower of the list's sentinel (8 bytes for each
//!           level), the tower of the range tombstones' sentinel (one level)
//! first     commits: a header of 28 bytes, then its entries
//! end       what is published ends here; the commit being written follows
//! tail      what is appended ends here
//! ```
//! Commit header: sequence (8), wall time (8), origin (4), records (4), bytes of
//! the entries (4). Entry: table (4), sequence minus base (4), key length (2),
//! shape (2: kind in bits 0 to 3, height in 4 to 7, bit 8 expiry, bit 9
//! metadata), value length (4), the tower (8 bytes for each level: the rank of
//! the next entry on this level, and the link to it, 0 for none), key, value,
//! expiry (8, if any), metadata (1, if any), and up to three bytes of padding.
//!
//! # Protocol
//! One [`Pen`] at a time appends. An entry is written whole, its tower empty, and
//! is then reached by others only through a link, or a published end, that the
//! pen stores with `Release` and they load with `Acquire`. From then on nothing
//! but its tower changes, and that by atomic stores. `end` and `tail` never go
//! back, and no offset is written twice, until [`Pen::reset`].
//!
//! A slot's link is stored before its rank, and read after it. New entries only
//! come in before the one that a link named, so that a reader finds a rank that
//! is that of the link's entry or of a later one: the rank is never too low.
//!
//! # Soundness
//! A [`Node`] or [`Rung`] carries the arena that it belongs to, and can only be
//! made here: from a link, from the walk over published commits, from a finger
//! (only ever set from a rung of that level), from the directory (only ever given
//! entries that were linked on its level, and cleared with the arena), from a [`Mark`]
//! of this generation, or by appending. So its offset is that of a whole entry that lives at least as
//! long as the borrow; a rung's entry, in addition, is at least as tall as its
//! level, since `link` checks that before it stores a link on that level, and
//! `down` only descends. That gives:
//! - plain references are made only to header, key, value and trailer of a whole
//!   entry (or to a published commit header), which nobody writes again while
//!   the arena is borrowed: `reset` is unsafe for that reason;
//! - references to atomics are made only to tower words, which plain references
//!   touch only before the entry is reachable;
//! - the pen writes plainly only from `tail` on (and the header at `end`, which
//!   lies before the first entry of an unpublished commit), where nothing is
//!   reachable; it is unique, since `writing` admits one, and its successor
//!   acquires what it released;
//! - every pointer comes from [`Region::pointer`], which checks the range and
//!   keeps the region's provenance; the region is zeroed when reserved, so that
//!   no byte is uninitialised; offsets are multiples of four in a region aligned
//!   to more, so that atomics are aligned.

mod directory;
mod pen;

pub(super) use pen::Pen;

use directory::Directory;

use super::entry::RecordKind;
use crate::error::{Error, OptionProblem, Result};
use crate::format::bytes::{get_u8, get_u16, get_u32, get_u64};
use crate::mem::{Budget, Region};
use crate::sync::{AtomicBool, AtomicU32, AtomicU64, Ordering, StaticU64, word_at};
use lightning_platform::MemoryUse;

/// Levels of the list at most: enough for the entries that 2 GiB hold.
pub(super) const LEVELS_MAX: usize = 15;
/// Largest arena, in bytes.
pub(super) const ARENA_BYTES_MAX: usize = 1 << 31;
/// Smallest arena, in bytes.
pub(super) const ARENA_BYTES_MIN: usize = 256;
/// Bytes of a commit's header.
pub(super) const COMMIT_HEADER_BYTES: usize = 28;
/// Bytes of an entry's header, before its tower.
pub(super) const ENTRY_HEADER_BYTES: usize = 16;
/// Bytes of one level of a tower.
pub(super) const RUNG_BYTES: usize = 8;
/// Bytes that expiry, metadata and padding add to an entry at most.
pub(super) const TRAILER_BYTES_MAX: usize = 12;
/// The rank in a slot that links to nothing.
pub(super) const RANK_NONE: u32 = u32::MAX;

const SHAPE_EXPIRY: u16 = 1 << 8;
const SHAPE_METADATA: u16 = 1 << 9;
const _: () = assert!(LEVELS_MAX < 16, "a height has four bits");

/// Every memtable, and every life of one between resets, has its own number, so
/// that a position kept too long, or used on another memtable, is recognised.
static GENERATIONS: StaticU64 = StaticU64::new(0);

fn next_generation() -> u64 {
    GENERATIONS
        .fetch_add(1, Ordering::Relaxed)
        .saturating_add(1)
}

/// See the module.
pub(super) struct Arena {
    region: Region,
    capacity: u32,
    levels: u32,
    writing: AtomicBool,
    generation: AtomicU64,
    base_sequence: AtomicU64,
    end: AtomicU32,
    tail: AtomicU32,
    finger: [AtomicU32; LEVELS_MAX],
    /// How many of them, from the lowest on, belong together.
    finger_levels: AtomicU32,
    directory: Directory,
}

impl Arena {
    pub(super) fn new(budget: &mut Budget, bytes: usize, levels: u32) -> Result<Self> {
        if !(ARENA_BYTES_MIN..=ARENA_BYTES_MAX).contains(&bytes) {
            return Err(Error::Options(OptionProblem::ArenaBytes));
        }
        let capacity = u32::try_from(bytes & !3).unwrap_or(0);
        let levels = levels.clamp(1, LEVELS_MAX as u32);
        let arena = Self {
            region: Region::new(budget, MemoryUse::Arena, bytes, 64)?,
            capacity,
            levels,
            writing: AtomicBool::new(false),
            generation: AtomicU64::new(0),
            base_sequence: AtomicU64::new(0),
            end: AtomicU32::new(0),
            tail: AtomicU32::new(0),
            finger: core::array::from_fn(|_| AtomicU32::new(0)),
            finger_levels: AtomicU32::new(levels),
            directory: Directory::new(budget, bytes, levels)?,
        };
        arena.clear();
        Ok(arena)
    }

    /// Empties the arena. Only called where nobody else uses it.
    fn clear(&self) {
        self.generation.store(next_generation(), Ordering::Relaxed);
        for sentinel in [self.top(), self.range_sentinel()] {
            let mut rung = Some(sentinel);
            while let Some(empty) = rung {
                empty.store(0, RANK_NONE);
                rung = empty.down();
            }
        }
        for finger in &self.finger {
            finger.store(0, Ordering::Relaxed);
        }
        self.finger_levels.store(self.levels, Ordering::Relaxed);
        self.directory.clear();
        self.base_sequence.store(0, Ordering::Relaxed);
        self.tail.store(self.first(), Ordering::Relaxed);
        self.end.store(self.first(), Ordering::Release);
    }

    pub(super) fn clear_exclusive(&mut self) {
        self.clear();
    }

    /// Where commits begin.
    pub(super) fn first(&self) -> u32 {
        ENTRY_HEADER_BYTES as u32 + RUNG_BYTES as u32 * (self.levels + 1)
    }

    pub(super) fn capacity(&self) -> u32 {
        self.capacity
    }

    pub(super) fn levels(&self) -> u32 {
        self.levels
    }

    /// The end of what is published.
    pub(super) fn end(&self) -> u32 {
        self.end.load(Ordering::Acquire)
    }

    /// The right to append, unless somebody has it.
    pub(super) fn pen(&self) -> Option<Pen<'_>> {
        Pen::take(self)
    }

    /// The list's sentinel on the highest level.
    pub(super) fn top(&self) -> Rung<'_> {
        Rung {
            arena: self,
            offset: 0,
            level: self.levels - 1,
        }
    }

    /// Where a search for an entry of that rank begins: the sentinel, or an entry that
    /// is before all of that rank.
    #[inline]
    pub(super) fn start(&self, rank: u32) -> Rung<'_> {
        match self.directory.before(rank) {
            Some(offset) => Rung {
                arena: self,
                offset,
                level: directory::LEVEL,
            },
            None => self.top(),
        }
    }

    /// The sentinel of the chain of range tombstones, newest first.
    pub(super) fn range_sentinel(&self) -> Rung<'_> {
        Rung {
            arena: self,
            offset: RUNG_BYTES as u32 * self.levels,
            level: 0,
        }
    }

    /// The position at the end of what is published.
    pub(super) fn position(&self) -> Position {
        Position {
            generation: self.generation.load(Ordering::Relaxed),
            offset: self.end(),
        }
    }

    /// The position before the first commit.
    pub(super) fn first_position(&self) -> Position {
        Position {
            generation: self.generation.load(Ordering::Relaxed),
            offset: self.first(),
        }
    }

    /// A walk over what was published from `position` on; `None` where that is
    /// of another memtable or an earlier life of this one.
    pub(super) fn walk(&self, position: Position) -> Option<Walk<'_>> {
        (position.generation == self.generation.load(Ordering::Relaxed)).then(|| Walk {
            arena: self,
            offset: position.offset,
            end: self.end(),
        })
    }

    /// The entry that `mark` was made of, in this life of this memtable.
    pub(super) fn node_at(&self, mark: Mark) -> Option<Node<'_>> {
        (mark.generation == self.generation.load(Ordering::Relaxed)).then_some(Node {
            arena: self,
            offset: mark.offset,
        })
    }
}

/// A place between two commits of one memtable, until that is reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    generation: u64,
    offset: u32,
}

/// An entry, remembered without a borrow. Generations begin at 1, so that the
/// default marks nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Mark {
    generation: u64,
    offset: u32,
}

/// What an entry's header says beside table and sequence.
struct Shape {
    kind_and_flags: u16,
    payload_offset: usize,
    key_bytes: usize,
    value_bytes: usize,
}

impl Shape {
    fn has(&self, flag: u16) -> bool {
        self.kind_and_flags & flag != 0
    }

    fn expiry_offset(&self) -> usize {
        self.payload_offset + self.key_bytes + self.value_bytes
    }

    fn metadata_offset(&self) -> usize {
        self.expiry_offset() + if self.has(SHAPE_EXPIRY) { 8 } else { 0 }
    }

    /// The offset after the entry and its padding.
    fn end_offset(&self) -> usize {
        (self.metadata_offset() + usize::from(self.has(SHAPE_METADATA))).next_multiple_of(4)
    }
}

/// A whole entry.
#[derive(Clone, Copy)]
pub(super) struct Node<'a> {
    arena: &'a Arena,
    offset: u32,
}

impl<'a> Node<'a> {
    fn header(self) -> [u8; ENTRY_HEADER_BYTES] {
        match self
            .arena
            .region
            .pointer(self.offset as usize, ENTRY_HEADER_BYTES)
        {
            // SAFETY: within the region; the header of a whole entry isn't written
            // again while the arena is borrowed, see the module.
            Some(start) => unsafe { start.cast::<[u8; ENTRY_HEADER_BYTES]>().read() },
            None => [0; ENTRY_HEADER_BYTES],
        }
    }

    fn shape(self, header: &[u8; ENTRY_HEADER_BYTES]) -> Shape {
        let shape = get_u16(header, 10);
        Shape {
            kind_and_flags: shape,
            payload_offset: self.offset as usize
                + ENTRY_HEADER_BYTES
                + RUNG_BYTES * usize::from(shape >> 4 & 15),
            key_bytes: usize::from(get_u16(header, 8)),
            value_bytes: get_u32(header, 12) as usize,
        }
    }

    fn payload(self, offset: usize, length: usize) -> &'a [u8] {
        // SAFETY: all callers name a part of the key, value or trailer of this whole
        // entry, which isn't written again while the arena is borrowed.
        unsafe { self.arena.region.bytes(offset, length) }
    }

    pub(super) fn table(self) -> u32 {
        get_u32(&self.header(), 0)
    }

    pub(super) fn sequence(self) -> u64 {
        self.sequence_in(&self.header())
    }

    fn sequence_in(self, header: &[u8; ENTRY_HEADER_BYTES]) -> u64 {
        let base = self.arena.base_sequence.load(Ordering::Relaxed);
        base.saturating_add(u64::from(get_u32(header, 4)))
    }

    pub(super) fn kind(self) -> RecordKind {
        RecordKind::from_number((get_u16(&self.header(), 10) & 15) as u8)
    }

    pub(super) fn key(self) -> &'a [u8] {
        let shape = self.shape(&self.header());
        self.payload(shape.payload_offset, shape.key_bytes)
    }

    /// Table, key and sequence, by one look at the header.
    #[inline]
    pub(super) fn place(self) -> (u32, &'a [u8], u64) {
        let header = self.header();
        let shape = self.shape(&header);
        (
            get_u32(&header, 0),
            self.payload(shape.payload_offset, shape.key_bytes),
            self.sequence_in(&header),
        )
    }

    pub(super) fn value(self) -> &'a [u8] {
        let shape = self.shape(&self.header());
        self.payload(shape.payload_offset + shape.key_bytes, shape.value_bytes)
    }

    pub(super) fn expiry_ms(self) -> Option<u64> {
        let shape = self.shape(&self.header());
        shape
            .has(SHAPE_EXPIRY)
            .then(|| get_u64(self.payload(shape.expiry_offset(), 8), 0))
    }

    pub(super) fn metadata(self) -> Option<u8> {
        let shape = self.shape(&self.header());
        shape
            .has(SHAPE_METADATA)
            .then(|| get_u8(self.payload(shape.metadata_offset(), 1), 0))
    }

    pub(super) fn mark(self) -> Mark {
        Mark {
            generation: self.arena.generation.load(Ordering::Relaxed),
            offset: self.offset,
        }
    }

    /// The entry as a predecessor on the lowest level, that all entries have.
    pub(super) fn bottom(self) -> Rung<'a> {
        Rung {
            arena: self.arena,
            offset: self.offset,
            level: 0,
        }
    }

    fn height(self) -> u32 {
        u32::from(get_u16(&self.header(), 10) >> 4 & 15)
    }
}

/// One level of an entry's tower, or of a sentinel's.
#[derive(Clone, Copy)]
pub(super) struct Rung<'a> {
    arena: &'a Arena,
    offset: u32,
    level: u32,
}

impl<'a> Rung<'a> {
    #[inline]
    fn word(self, index: usize) -> Option<&'a AtomicU32> {
        let offset =
            self.offset as usize + ENTRY_HEADER_BYTES + RUNG_BYTES * self.level as usize + index;
        let pointer = self.arena.region.pointer(offset, 4)?;
        // SAFETY: a word of a tower (the entry is tall enough, see the module):
        // within the region, aligned, and only used atomically while others
        // can reach the entry.
        Some(unsafe { word_at(pointer.cast()) })
    }

    /// The rank of the next entry on this level, or of one after it that was next
    /// a moment ago; [`RANK_NONE`] where there is none. Read it before [`next`](Self::next).
    #[inline]
    pub(super) fn rank(self) -> u32 {
        self.word(0)
            .map_or(RANK_NONE, |rank| rank.load(Ordering::Acquire))
    }

    /// The next entry on this level.
    #[inline]
    pub(super) fn next(self) -> Option<Self> {
        let offset = self.word(4)?.load(Ordering::Acquire);
        (offset != 0).then_some(Self { offset, ..self })
    }

    /// Asks for the entry's slot on this level.
    #[inline]
    pub(super) fn prefetch(self) {
        let tower = self.offset as usize + ENTRY_HEADER_BYTES;
        let slot = tower + RUNG_BYTES * self.level as usize;
        self.arena.region.prefetch(slot);
    }

    /// Asks for the entry behind this one, as [`prefetch_entry`](Self::prefetch_entry).
    #[inline]
    pub(super) fn prefetch_next(self) {
        if let Some(next) = self.next() {
            next.prefetch_entry();
        }
    }

    /// Asks for the whole entry, but a long value.
    #[inline]
    pub(super) fn prefetch_entry(self) {
        for line in 0..4 {
            self.arena.region.prefetch(self.offset as usize + line * 64);
        }
    }

    /// Its level, from 0.
    #[inline]
    pub(super) fn level(self) -> u32 {
        self.level
    }

    /// The level below; `None` on the lowest.
    #[inline]
    pub(super) fn down(self) -> Option<Self> {
        let level = self.level.checked_sub(1)?;
        Some(Self { level, ..self })
    }

    /// The entry; `None` for a sentinel.
    #[inline]
    pub(super) fn node(self) -> Option<Node<'a>> {
        (self.offset >= self.arena.first()).then_some(Node {
            arena: self.arena,
            offset: self.offset,
        })
    }

    /// Whether both stand at the same entry.
    #[inline]
    pub(super) fn is_at(self, offset: u32) -> bool {
        self.offset == offset
    }

    /// A number that names the entry in this arena; 0 names the list's sentinel.
    #[inline]
    pub(super) fn offset(self) -> u32 {
        self.offset
    }

    fn store(self, link: u32, rank: u32) {
        if let (Some(link_word), Some(rank_word)) = (self.word(4), self.word(0)) {
            link_word.store(link, Ordering::Release);
            rank_word.store(rank, Ordering::Release);
        }
    }
}

/// A commit's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitHead {
    /// The commit's sequence: at least 1, and above all before it.
    pub sequence: u64,
    /// Wall time in milliseconds since 1970.
    pub wall_time_ms: u64,
    /// Who wrote it.
    pub origin: u32,
}

/// A walk over published commits.
#[derive(Clone, Copy)]
pub(super) struct Walk<'a> {
    arena: &'a Arena,
    offset: u32,
    end: u32,
}

impl<'a> Walk<'a> {
    /// The position before the next commit.
    pub(super) fn position(&self) -> Position {
        Position {
            generation: self.arena.generation.load(Ordering::Relaxed),
            offset: self.offset,
        }
    }

    /// The next commit: header, number of records, its entries.
    pub(super) fn advance(&mut self) -> Option<(CommitHead, u32, WalkEntries<'a>)> {
        if self.offset >= self.end {
            return None;
        }
        let start = self.offset as usize;
        // SAFETY: a header before the published end isn't written again while the
        // arena is borrowed.
        let header = unsafe { self.arena.region.bytes(start, COMMIT_HEADER_BYTES) };
        let entries_offset = self.offset + COMMIT_HEADER_BYTES as u32;
        self.offset = entries_offset + get_u32(header, 24);
        Some((
            CommitHead {
                sequence: get_u64(header, 0),
                wall_time_ms: get_u64(header, 8),
                origin: get_u32(header, 16),
            },
            get_u32(header, 20),
            WalkEntries {
                arena: self.arena,
                offset: entries_offset,
                end: self.offset,
            },
        ))
    }
}

/// The entries of one published commit, as they were appended.
#[derive(Clone, Copy)]
pub(super) struct WalkEntries<'a> {
    arena: &'a Arena,
    offset: u32,
    end: u32,
}

impl<'a> Iterator for WalkEntries<'a> {
    type Item = Node<'a>;

    fn next(&mut self) -> Option<Node<'a>> {
        if self.offset >= self.end {
            return None;
        }
        let node = Node {
            arena: self.arena,
            offset: self.offset,
        };
        self.offset = node.shape(&node.header()).end_offset() as u32;
        Some(node)
    }
}
