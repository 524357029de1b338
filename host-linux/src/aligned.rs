//! What transfers past the system's cache ask for.

/// What offsets, lengths and memory are aligned to. No device asks for more, and none
/// transfers less any faster.
pub(crate) const BLOCK_BYTES: usize = 4096;

/// Memory of which a part is aligned like a block.
#[derive(Debug)]
pub(crate) struct Aligned {
    memory: Box<[u8]>,
    start: usize,
}

impl Aligned {
    pub(crate) fn new(bytes: usize) -> Self {
        let memory = vec![0; bytes + BLOCK_BYTES].into_boxed_slice();
        // Never past the first block, but where the answer is given up, which leaves
        // no room.
        let start = memory.as_ptr().align_offset(BLOCK_BYTES);
        Self { memory, start }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        let bytes = self.memory.len().saturating_sub(BLOCK_BYTES);
        let end = self.start.saturating_add(bytes);
        self.memory.get_mut(self.start..end).unwrap_or_default()
    }
}

pub(crate) fn is_aligned(offset: u64, bytes: &[u8]) -> bool {
    offset.is_multiple_of(BLOCK_BYTES as u64)
        && bytes.len().is_multiple_of(BLOCK_BYTES)
        && bytes.as_ptr().addr().is_multiple_of(BLOCK_BYTES)
}
