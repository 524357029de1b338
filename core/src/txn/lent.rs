//! What a cursor lends, and the memory from which it does.

use super::merged::TREE;
use crate::error::{Error, Result};
use crate::format::extent::ExtentRef;
use crate::format::run::RANGE_KEY_BYTES;
use crate::mem::{Array, Budget};
use lightning_platform::MemoryUse;

/// The memory of a cursor.
pub struct CursorMemory {
    /// The key that the cursor stands on, where it is not in `keys`, and for seeking again.
    pub(super) current: Array<u8>,
    /// The tree's key, then those of the runs.
    pub(super) keys: Array<u8>,
    /// A value that a memtable gave.
    pub(super) value: Array<u8>,
    pub(super) key_bytes: usize,
}

impl CursorMemory {
    /// For keys of at most `key_bytes`, values of at most `value_bytes`, and versions of
    /// at most `sources` sources that may be runs.
    ///
    /// # Errors
    /// When the budget or the host has no memory.
    pub fn new(
        budget: &mut Budget,
        key_bytes: usize,
        value_bytes: usize,
        sources: usize,
    ) -> Result<Self> {
        let buffer = MemoryUse::Buffer;
        let run_key_bytes = if sources > 0 {
            key_bytes + RANGE_KEY_BYTES
        } else {
            key_bytes
        };
        Ok(Self {
            current: Array::zeroed(budget, buffer, key_bytes)?,
            keys: Array::zeroed(budget, buffer, run_key_bytes * (1 + sources))?,
            value: Array::zeroed(budget, buffer, value_bytes)?,
            key_bytes: run_key_bytes,
        })
    }
}

/// The buffer of the tree's key, or of that of the run in a place.
pub(super) fn key_area(keys: &mut [u8], key_bytes: usize, source: usize) -> Result<&mut [u8]> {
    let index = if source == TREE { 0 } else { source };
    keys.get_mut(index * key_bytes..(index + 1) * key_bytes)
        .ok_or(Error::Internal(120))
}

/// Where a value's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored<'a> {
    /// Here.
    Inline(&'a [u8]),
    /// In an extent of the page file.
    Extent(ExtentRef),
}

impl<'a> Stored<'a> {
    /// A value as a leaf has it. A checked leaf has no malformed
    /// reference.
    #[must_use]
    pub fn of(is_extent: bool, bytes: &'a [u8]) -> Self {
        match ExtentRef::decode(bytes) {
            Some(extent) if is_extent => Self::Extent(extent),
            _ => Self::Inline(bytes),
        }
    }

    /// Bytes of the value.
    #[must_use]
    pub fn length(&self) -> u64 {
        match self {
            Self::Inline(bytes) => bytes.len() as u64,
            Self::Extent(extent) => extent.length,
        }
    }

    /// The bytes, where they are here.
    #[must_use]
    pub fn inline(&self) -> Option<&'a [u8]> {
        match self {
            Self::Inline(bytes) => Some(bytes),
            Self::Extent(_) => None,
        }
    }
}

/// An entry that a reader sees, lent until the cursor moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Visible<'c> {
    /// The key.
    pub key: &'c [u8],
    /// The value.
    pub value: Stored<'c>,
    /// When it expires, in milliseconds since 1970.
    pub expiry_ms: Option<u64>,
    /// The metadata byte.
    pub metadata: Option<u8>,
}
