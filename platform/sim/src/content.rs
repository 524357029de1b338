//! The bytes of one file: sparse, copy-on-write, cheap to clone.
//!
//! A file is a map of *groups* of 64 *chunks* of 4 KiB; both levels are shared
//! by reference count. A clone copies one pointer for each 256 KiB, and a write
//! copies only the group and the chunk it touches.
//!
//! Invariants:
//! * Every byte at or past `length` reads as the erased byte in its chunk, so
//!   that growing needs no work.
//! * A missing chunk is a hole: erased, not allocated. `chunks_used` counts the others.
//! * A chunk remembers which of its 16-byte granules were written since their
//!   last erase; that is what "written a second time" is judged by.

use crate::random::mix;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes of a chunk, which is also the device's unit of allocation.
pub(crate) const CHUNK_BYTES: u64 = 4096;
const CHUNK_SIZE: usize = CHUNK_BYTES as usize;
const GROUP_CHUNKS: u64 = 64;
const GROUP_BYTES: u64 = GROUP_CHUNKS * CHUNK_BYTES;
/// The smallest write block that the storage contract knows.
const GRANULE_SIZE: usize = 16;
const GRANULE_WORDS: usize = CHUNK_SIZE / GRANULE_SIZE / 64;

#[derive(Clone)]
struct Chunk {
    bytes: [u8; CHUNK_SIZE],
    written: [u64; GRANULE_WORDS],
}

/// The words and bits of the granules that `[from, to)` touches.
fn granule_masks(from: usize, to: usize) -> impl Iterator<Item = (usize, u64)> {
    let first = from / GRANULE_SIZE;
    let end = to.div_ceil(GRANULE_SIZE);
    (0..GRANULE_WORDS).filter_map(move |word| {
        let low = first.max(word * 64);
        let high = end.min(word * 64 + 64);
        if low >= high {
            return None;
        }
        let mask = (u64::MAX >> (64 - (high - low))) << (low - word * 64);
        Some((word, mask))
    })
}

impl Chunk {
    fn store(&mut self, within: usize, bytes: &[u8]) {
        self.bytes[within..within + bytes.len()].copy_from_slice(bytes);
        for (word, mask) in granule_masks(within, within + bytes.len()) {
            self.written[word] |= mask;
        }
    }

    fn erase(&mut self, from: usize, to: usize, erased_byte: u8) {
        self.bytes[from..to].fill(erased_byte);
        for (word, mask) in granule_masks(from, to) {
            self.written[word] &= !mask;
        }
    }

    /// A number for its bytes and marks. Four sums beside each other, so that one
    /// multiplication need not wait for another.
    fn digest(&self) -> u64 {
        /// An odd number without a pattern in its bits.
        const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;
        let mut sums = [1_u64, 2, 3, 4];
        for block in self.bytes.chunks_exact(32) {
            for (sum, word) in sums.iter_mut().zip(block.chunks_exact(8)) {
                let mut bytes = [0; 8];
                bytes.copy_from_slice(word);
                let word = u64::from_le_bytes(bytes);
                *sum = (*sum ^ word).wrapping_mul(FACTOR).rotate_left(29);
            }
        }
        let parts = sums.iter().chain(&self.written);
        parts.fold(0, |state, part| mix(state ^ *part))
    }

    fn is_written(&self, from: usize, to: usize) -> bool {
        granule_masks(from, to).any(|(word, mask)| self.written[word] & mask != 0)
    }
}

#[derive(Clone)]
struct Group {
    chunks: [Option<Arc<Chunk>>; GROUP_CHUNKS as usize],
}

impl Default for Group {
    fn default() -> Self {
        Self {
            chunks: [const { None }; GROUP_CHUNKS as usize],
        }
    }
}

/// The bytes and the length of one file.
#[derive(Clone)]
pub(crate) struct Content {
    length: u64,
    chunks_used: u64,
    groups: BTreeMap<u64, Arc<Group>>,
    /// An allocated and erased chunk, shared by all of them.
    blank: Arc<Chunk>,
    erased_byte: u8,
}

/// Cuts `[offset, offset + length)` at chunk borders: (chunk, from, to) within the chunk.
fn chunk_pieces(offset: u64, length: u64) -> impl Iterator<Item = (u64, usize, usize)> {
    let end = offset.saturating_add(length);
    let mut position = offset;
    std::iter::from_fn(move || {
        if position >= end {
            return None;
        }
        let chunk = position / CHUNK_BYTES;
        let base = chunk * CHUNK_BYTES;
        let from = position - base;
        let to = (end - base).min(CHUNK_BYTES);
        position = base + to;
        Some((chunk, from as usize, to as usize))
    })
}

impl Content {
    /// An empty file.
    pub(crate) fn new(erased_byte: u8) -> Self {
        Self {
            length: 0,
            chunks_used: 0,
            groups: BTreeMap::new(),
            blank: Arc::new(Chunk {
                bytes: [erased_byte; CHUNK_SIZE],
                written: [0; GRANULE_WORDS],
            }),
            erased_byte,
        }
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Bytes that the file takes on the device.
    pub(crate) fn bytes_used(&self) -> u64 {
        self.chunks_used * CHUNK_BYTES
    }

    fn chunk(&self, chunk: u64) -> Option<&Arc<Chunk>> {
        self.groups.get(&(chunk / GROUP_CHUNKS))?.chunks[(chunk % GROUP_CHUNKS) as usize].as_ref()
    }

    fn slot(groups: &mut BTreeMap<u64, Arc<Group>>, chunk: u64) -> &mut Option<Arc<Chunk>> {
        let group = groups.entry(chunk / GROUP_CHUNKS).or_default();
        &mut Arc::make_mut(group).chunks[(chunk % GROUP_CHUNKS) as usize]
    }

    /// A number for length, bytes, holes and what was written of them.
    pub(crate) fn digest(&self) -> u64 {
        let mut state = mix(self.length);
        for (index, group) in &self.groups {
            for (place, chunk) in (index * GROUP_CHUNKS..).zip(&group.chunks) {
                if let Some(chunk) = chunk {
                    state = mix(state ^ mix(place) ^ chunk.digest());
                }
            }
        }
        state
    }

    /// Reads, whatever the length; bytes past it are erased ones.
    pub(crate) fn read(&self, offset: u64, buffer: &mut [u8]) {
        let mut rest = buffer;
        for (chunk, from, to) in chunk_pieces(offset, rest.len() as u64) {
            let (part, after) = std::mem::take(&mut rest).split_at_mut(to - from);
            match self.chunk(chunk) {
                Some(chunk) => part.copy_from_slice(&chunk.bytes[from..to]),
                None => part.fill(self.erased_byte),
            }
            rest = after;
        }
    }

    /// Writes, and lengthens the file where the range passes its end.
    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) {
        let mut rest = bytes;
        for (chunk, from, to) in chunk_pieces(offset, bytes.len() as u64) {
            let (part, after) = rest.split_at(to - from);
            rest = after;
            let slot = Self::slot(&mut self.groups, chunk);
            match slot {
                None => {
                    let mut fresh = Chunk::clone(&self.blank);
                    fresh.store(from, part);
                    *slot = Some(Arc::new(fresh));
                    self.chunks_used += 1;
                }
                Some(shared) => match Arc::get_mut(shared) {
                    Some(chunk) => chunk.store(from, part),
                    None => {
                        let mut copy = Chunk::clone(shared);
                        copy.store(from, part);
                        *shared = Arc::new(copy);
                    }
                },
            }
        }
        self.length = self.length.max(offset + bytes.len() as u64);
    }

    /// Makes a range read as erased and be allocated, and lengthens the file to hold it.
    pub(crate) fn erase(&mut self, offset: u64, bytes: u64) {
        for (chunk, from, to) in chunk_pieces(offset, bytes) {
            let slot = Self::slot(&mut self.groups, chunk);
            match slot {
                Some(shared) if to - from < CHUNK_SIZE => {
                    Arc::make_mut(shared).erase(from, to, self.erased_byte);
                }
                _ => {
                    self.chunks_used += u64::from(slot.is_none());
                    *slot = Some(Arc::clone(&self.blank));
                }
            }
        }
        self.length = self.length.max(offset.saturating_add(bytes));
    }

    /// Makes a range read as erased and gives its whole chunks back. The length stays.
    pub(crate) fn punch(&mut self, offset: u64, bytes: u64) {
        let end = offset.saturating_add(bytes);
        let mut position = offset;
        while position < end {
            let next = self.groups.range(position / GROUP_BYTES..).next();
            let Some((&index, group)) = next else { break };
            let start = index * GROUP_BYTES;
            let stop = start.saturating_add(GROUP_BYTES);
            if start >= end {
                break;
            }
            if position <= start && stop <= end {
                self.chunks_used -= group.chunks.iter().flatten().count() as u64;
                self.groups.remove(&index);
            } else {
                let from = position.max(start);
                self.punch_within_group(from, stop.min(end) - from);
            }
            position = stop;
        }
    }

    fn punch_within_group(&mut self, offset: u64, bytes: u64) {
        for (chunk, from, to) in chunk_pieces(offset, bytes) {
            if self.chunk(chunk).is_none() {
                continue;
            }
            let slot = Self::slot(&mut self.groups, chunk);
            if to - from == CHUNK_SIZE {
                *slot = None;
                self.chunks_used -= 1;
            } else if let Some(shared) = slot {
                Arc::make_mut(shared).erase(from, to, self.erased_byte);
            }
        }
    }

    /// Sets the length; what is cut off is erased and given back.
    pub(crate) fn set_length(&mut self, length: u64) {
        if length < self.length {
            let kept_chunks_end = length.next_multiple_of(CHUNK_BYTES);
            self.punch(length, kept_chunks_end - length);
            self.punch(kept_chunks_end, u64::MAX - kept_chunks_end);
        }
        self.length = length;
    }

    /// Takes over, by reference, every chunk of `source` that the range touches.
    pub(crate) fn share(&mut self, source: &Self, offset: u64, bytes: u64) {
        for (chunk, _, _) in chunk_pieces(offset, bytes) {
            let theirs = source.chunk(chunk);
            let had = self.chunk(chunk).is_some();
            if theirs.is_none() && !had {
                continue;
            }
            self.chunks_used += u64::from(theirs.is_some());
            self.chunks_used -= u64::from(had);
            *Self::slot(&mut self.groups, chunk) = theirs.cloned();
        }
    }

    /// How many bytes of the range can be written or erased, from its start, where the
    /// device has `free` bytes left for holes in it.
    pub(crate) fn bytes_fitting(&self, offset: u64, bytes: u64, free: u64) -> u64 {
        let mut holes = chunk_pieces(offset, bytes).filter(|piece| self.chunk(piece.0).is_none());
        match holes.nth((free / CHUNK_BYTES) as usize) {
            Some((chunk, from, _)) => chunk * CHUNK_BYTES + from as u64 - offset,
            None => bytes,
        }
    }

    /// Whether any granule of the range was written since its last erase.
    pub(crate) fn is_written(&self, offset: u64, bytes: u64) -> bool {
        chunk_pieces(offset, bytes).any(|(chunk, from, to)| {
            self.chunk(chunk)
                .is_some_and(|chunk| chunk.is_written(from, to))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;

    fn bytes_of(content: &Content) -> Vec<u8> {
        let mut bytes = vec![0; content.length() as usize];
        content.read(0, &mut bytes);
        bytes
    }

    #[test]
    fn behaves_as_a_plain_vector() {
        let mut random = Random::new(1);
        let mut content = Content::new(0xFF);
        let mut model: Vec<u8> = Vec::new();
        let mut shared = content.clone();
        for step in 0..3_000_u64 {
            let offset = random.below(model.len() as u64 + 1);
            let bytes = random.below(9_000);
            let end = (offset + bytes) as usize;
            match random.below(6) {
                0 => {
                    let length = random.below(600_000);
                    content.set_length(length);
                    model.resize(length as usize, 0xFF);
                }
                1 => {
                    let end = end.min(model.len());
                    content.punch(offset, end as u64 - offset);
                    model[offset as usize..end].fill(0xFF);
                }
                2 => {
                    content.erase(offset, bytes);
                    model.resize(model.len().max(end), 0xFF);
                    model[offset as usize..end].fill(0xFF);
                }
                _ => {
                    let written = vec![step as u8; bytes as usize];
                    content.write(offset, &written);
                    model.resize(model.len().max(end), 0xFF);
                    model[offset as usize..end].copy_from_slice(&written);
                }
            }
            if step % 50 == 0 {
                assert_eq!(bytes_of(&content), model, "step {step}");
                shared.set_length(0);
                shared.set_length(content.length());
                shared.share(&content, 0, content.length());
                assert_eq!(bytes_of(&shared), model, "step {step}");
                assert_eq!(shared.bytes_used(), content.bytes_used());
                let used = content.groups.values();
                let used: usize = used
                    .map(|group| group.chunks.iter().flatten().count())
                    .sum();
                assert_eq!(content.bytes_used(), used as u64 * CHUNK_BYTES);
            }
        }
    }

    #[test]
    fn a_clone_keeps_its_bytes() {
        let mut content = Content::new(0);
        content.write(0, &[1; 10_000]);
        let clone = content.clone();
        content.write(4_000, &[2; 200]);
        content.punch(0, 4_096);
        assert_eq!(bytes_of(&clone), vec![1; 10_000]);
        assert_eq!(content.bytes_used(), 2 * CHUNK_BYTES);
    }

    #[test]
    fn granules_remember_writes_until_erased() {
        let mut content = Content::new(0xFF);
        content.write(512, &[0xFF; 512]);
        assert!(content.is_written(512, 16));
        assert!(content.is_written(1_008, 16));
        assert!(!content.is_written(0, 512));
        assert!(!content.is_written(1_024, 100_000));
        content.erase(512, 256);
        assert!(!content.is_written(512, 256));
        assert!(content.is_written(512, 257));
    }

    #[test]
    fn huge_sparse_lengths_cost_nothing() {
        let mut content = Content::new(0);
        content.set_length(1 << 60);
        content.write(1 << 59, &[1; 4_096]);
        assert_eq!(content.bytes_used(), CHUNK_BYTES);
        content.punch(0, 1 << 60);
        assert_eq!(content.bytes_used(), 0);
        content.set_length(0);
        assert_eq!(content.length(), 0);
    }
}
