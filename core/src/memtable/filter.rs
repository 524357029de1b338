//! Which keys a memtable may hold, so that most lookups of others end with one cache
//! line. As a run's filter (FORMAT.md 5.2), in atomic words: the one inserter sets bits
//! before its commit is published, readers ask only for what was published before.

use crate::error::Result;
use crate::format::run::filter_bits;
use crate::mem::{Array, Budget, prefetch};
use crate::sync::{AtomicU32, Ordering};
use lightning_platform::MemoryUse;

/// The words of a block, on one cache line.
#[repr(align(32))]
struct Block([AtomicU32; 8]);

/// See the module.
pub(super) struct Filter {
    blocks: Option<Array<Block>>,
}

impl Filter {
    /// One that may hold everything.
    pub(super) fn none() -> Self {
        Self { blocks: None }
    }

    pub(super) fn new(budget: &mut Budget, bytes: usize) -> Result<Self> {
        let count = bytes / size_of::<Block>();
        let blocks = Array::new(budget, MemoryUse::Structure, count, |_| {
            Block(core::array::from_fn(|_| AtomicU32::new(0)))
        })?;
        Ok(Self {
            blocks: (count > 0).then_some(blocks),
        })
    }

    /// Whether it tells anything.
    #[inline]
    pub(super) fn is_there(&self) -> bool {
        self.blocks.is_some()
    }

    pub(super) fn insert(&self, hash: u64) {
        let Some(blocks) = &self.blocks else {
            return;
        };
        let (number, bits) = filter_bits(blocks.len(), hash);
        if let Some(Block(words)) = blocks.get(number) {
            for (word, bit) in words.iter().zip(bits) {
                // One inserter at a time: no bit is lost between load and store.
                let before = word.load(Ordering::Relaxed);
                word.store(before | bit, Ordering::Relaxed);
            }
        }
    }

    /// Asks for the block of a key with that hash.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        if let Some(blocks) = &self.blocks
            && let Some(block) = blocks.get(filter_bits(blocks.len(), hash).0)
        {
            prefetch(block);
        }
    }

    /// Whether a key with that hash may be there; `false` is certain.
    #[inline]
    pub(super) fn may_hold(&self, hash: u64) -> bool {
        let Some(blocks) = &self.blocks else {
            return true;
        };
        let (number, bits) = filter_bits(blocks.len(), hash);
        blocks.get(number).is_none_or(|Block(words)| {
            let mut words = words.iter().zip(bits);
            words.all(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
        })
    }

    pub(super) fn clear(&self) {
        for Block(words) in self.blocks.iter().flat_map(|blocks| blocks.iter()) {
            for word in words {
                word.store(0, Ordering::Relaxed);
            }
        }
    }
}
