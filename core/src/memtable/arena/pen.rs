//! Appending: the one place that writes entries. Layout, protocol and the
//! argument for soundness stand in the parent module, whose part this is.

use super::{
    Arena, COMMIT_HEADER_BYTES, CommitHead, ENTRY_HEADER_BYTES, Node, RANK_NONE, RUNG_BYTES, Rung,
    SHAPE_EXPIRY, SHAPE_METADATA, Shape, directory,
};
use crate::format::bytes::put;
use crate::memtable::entry::Record;
use crate::sync::Ordering;

/// The right to append to an arena, until dropped.
pub(in crate::memtable) struct Pen<'a> {
    arena: &'a Arena,
}

impl Drop for Pen<'_> {
    fn drop(&mut self) {
        self.arena.writing.store(false, Ordering::Release);
    }
}

impl<'a> Pen<'a> {
    /// The pen of `arena`, unless somebody has it.
    pub(super) fn take(arena: &'a Arena) -> Option<Self> {
        arena
            .writing
            .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
            .ok()
            .map(|_| Self { arena })
    }

    /// Whether the last commit that began was published (or appended nothing).
    pub(in crate::memtable) fn is_clean(&self) -> bool {
        self.arena.tail.load(Ordering::Relaxed) == self.arena.end.load(Ordering::Relaxed)
    }

    /// Prepares for entries of `sequence`: answers whether the arena can hold it,
    /// since it keeps sequences as 32-bit distances from its first.
    pub(in crate::memtable) fn admit(&mut self, sequence: u64) -> bool {
        if self.arena.tail.load(Ordering::Relaxed) == self.arena.first() {
            self.arena.base_sequence.store(sequence, Ordering::Relaxed);
        }
        let base = self.arena.base_sequence.load(Ordering::Relaxed);
        sequence
            .checked_sub(base)
            .is_some_and(|distance| distance <= u64::from(u32::MAX))
    }

    /// Where the next entry begins: after the room for the header of its commit.
    fn append_offset(&self) -> usize {
        let tail = self.arena.tail.load(Ordering::Relaxed) as usize;
        if self.is_clean() {
            tail + COMMIT_HEADER_BYTES
        } else {
            tail
        }
    }

    /// Appends an entry of `sequence`, which was admitted, with an empty tower of
    /// `height`; `None` where it doesn't fit.
    pub(in crate::memtable) fn append(
        &mut self,
        record: &Record<'_>,
        sequence: u64,
        height: u32,
    ) -> Option<Node<'a>> {
        let arena = self.arena;
        let height = height.min(arena.levels).max(1);
        let start = self.append_offset();
        let distance = sequence.checked_sub(arena.base_sequence.load(Ordering::Relaxed))?;
        let flags = if record.expiry_ms.is_some() {
            SHAPE_EXPIRY
        } else {
            0
        } | if record.metadata.is_some() {
            SHAPE_METADATA
        } else {
            0
        };
        let shape = Shape {
            kind_and_flags: record.kind as u16 | (height as u16) << 4 | flags,
            payload_offset: start + ENTRY_HEADER_BYTES + RUNG_BYTES * height as usize,
            key_bytes: usize::from(u16::try_from(record.key.len()).ok()?),
            value_bytes: record.value.len(),
        };
        if record.value.len() > arena.capacity as usize
            || shape.end_offset() > arena.capacity as usize
        {
            return None;
        }
        let end = u32::try_from(shape.end_offset()).ok()?;
        let mut header = [0; ENTRY_HEADER_BYTES];
        put(&mut header, 0, &record.table.to_le_bytes());
        put(&mut header, 4, &u32::try_from(distance).ok()?.to_le_bytes());
        put(&mut header, 8, &(shape.key_bytes as u16).to_le_bytes());
        put(&mut header, 10, &shape.kind_and_flags.to_le_bytes());
        put(&mut header, 12, &(shape.value_bytes as u32).to_le_bytes());
        // SAFETY: from `tail` on nothing is reachable, and this pen is the only one;
        // the slice ends with this block.
        let entry = unsafe { arena.region.bytes_mut(start, shape.end_offset() - start) };
        put(entry, 0, &header);
        let mut tower = ENTRY_HEADER_BYTES;
        for _ in 0..height {
            put(entry, tower, &RANK_NONE.to_le_bytes());
            put(entry, tower + 4, &[0; 4]);
            tower += RUNG_BYTES;
        }
        put(entry, tower, record.key);
        put(entry, tower + shape.key_bytes, record.value);
        if let Some(expiry_ms) = record.expiry_ms {
            put(
                entry,
                shape.expiry_offset() - start,
                &expiry_ms.to_le_bytes(),
            );
        }
        if let Some(metadata) = record.metadata {
            put(entry, shape.metadata_offset() - start, &[metadata]);
        }
        arena.tail.store(end, Ordering::Relaxed);
        Some(Node {
            arena,
            offset: start as u32,
        })
    }

    /// Links `node`, whose rank is `rank`, behind `before` on its level; answers
    /// the node's rung there, or `None` where it isn't tall enough.
    pub(in crate::memtable) fn link(
        &mut self,
        before: Rung<'a>,
        node: Node<'a>,
        rank: u32,
    ) -> Option<Rung<'a>> {
        let ours = core::ptr::eq(before.arena, self.arena) && core::ptr::eq(node.arena, self.arena);
        if !ours || before.level >= node.height() {
            return None;
        }
        let rung = Rung {
            arena: self.arena,
            offset: node.offset,
            level: before.level,
        };
        let next = before.next().map_or(0, |next| next.offset);
        rung.store(next, before.rank());
        before.store(node.offset, rank);
        if rung.level == directory::LEVEL {
            self.arena.directory.insert(rank, node.offset);
        }
        Some(rung)
    }

    /// The entry remembered for `level`, at first the sentinel.
    pub(in crate::memtable) fn finger(&self, level: u32) -> Rung<'a> {
        let level = level.min(self.arena.levels - 1);
        Rung {
            arena: self.arena,
            offset: self
                .arena
                .finger
                .get(level as usize)
                .map_or(0, |finger| finger.load(Ordering::Relaxed)),
            level,
        }
    }

    /// Where a search for an entry of that rank begins which is to see all levels of an
    /// entry of `height`.
    pub(in crate::memtable) fn start(&self, rank: u32, height: u32) -> Rung<'a> {
        if height <= directory::LEVEL + 1 {
            self.arena.start(rank)
        } else {
            self.arena.top()
        }
    }

    /// So many fingers, from the lowest on, are predecessors of the entry that was
    /// inserted last, or it itself; those above may be of one before it.
    pub(in crate::memtable) fn finger_levels(&self) -> u32 {
        self.arena.finger_levels.load(Ordering::Relaxed)
    }

    /// So many are from here on.
    pub(in crate::memtable) fn set_finger_levels(&mut self, levels: u32) {
        self.arena.finger_levels.store(levels, Ordering::Relaxed);
    }

    /// Remembers `rung` for its level.
    pub(in crate::memtable) fn set_finger(&self, rung: Rung<'a>) {
        let ours = core::ptr::eq(rung.arena, self.arena)
            && (rung.offset == 0 || rung.offset >= self.arena.first());
        if let Some(finger) = self.arena.finger.get(rung.level as usize)
            && ours
        {
            finger.store(rung.offset, Ordering::Relaxed);
        }
    }

    /// Publishes what was appended since the last call as one commit of `records`
    /// entries; answers whether its header fitted.
    pub(in crate::memtable) fn publish(&mut self, head: &CommitHead, records: u32) -> bool {
        let start = self.arena.end.load(Ordering::Relaxed) as usize;
        let tail = self.append_offset();
        if tail > self.arena.capacity as usize {
            return false;
        }
        let mut header = [0; COMMIT_HEADER_BYTES];
        put(&mut header, 0, &head.sequence.to_le_bytes());
        put(&mut header, 8, &head.wall_time_ms.to_le_bytes());
        put(&mut header, 16, &head.origin.to_le_bytes());
        put(&mut header, 20, &records.to_le_bytes());
        let entry_bytes = (tail - start - COMMIT_HEADER_BYTES) as u32;
        put(&mut header, 24, &entry_bytes.to_le_bytes());
        // SAFETY: at the published end stands the room that `append_offset` left for
        // this header: nothing there is reachable, and this pen is the only one.
        let room = unsafe { self.arena.region.bytes_mut(start, COMMIT_HEADER_BYTES) };
        put(room, 0, &header);
        self.arena.tail.store(tail as u32, Ordering::Relaxed);
        self.arena.end.store(tail as u32, Ordering::Release);
        true
    }

    /// Empties the arena for its next life.
    ///
    /// # Safety
    /// No [`Node`], [`Rung`], `Walk` or slice made from this arena is used at the
    /// same time or later, and all earlier uses happened before this call.
    pub(in crate::memtable) unsafe fn reset(&mut self) {
        self.arena.clear();
    }

    /// As [`reset`](Self::reset), and lets the host have the memory until it is used again.
    ///
    /// # Safety
    /// As [`reset`](Self::reset).
    pub(in crate::memtable) unsafe fn discard(&mut self) {
        // SAFETY: nothing was made from this arena that is still used, says the caller; a
        // pen, of which there is this one, makes nothing meanwhile; and atomics in the
        // region are reached only through what was made from it.
        unsafe { self.arena.region.discard() }
        // The sentinels stand in it.
        self.arena.clear();
    }
}
