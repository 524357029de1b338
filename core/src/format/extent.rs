//! The reference to a value that stands in an extent (FORMAT.md 2.6).

use super::bytes::{get_u32, get_u64, put};
use super::page_ref::PageKind;
use crate::limits::{ADDRESS_MAX, COUNT_MAX, VALUE_BYTES_MAX};

/// Bytes of an extent reference.
pub const EXTENT_REF_BYTES: usize = 32;
/// Where a chunk's bytes begin in its page.
pub const EXTENT_HEADER_BYTES: usize = 40;

/// Where a large value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtentRef {
    /// Units from the start of the page file.
    pub address: u64,
    /// Bytes of the value.
    pub length: u64,
    /// The birth generation of its chunks.
    pub birth_generation: u64,
    /// CRC of the value's bytes.
    pub crc: u32,
    /// Tells this writing from others of the same birth at the same place.
    pub writing: u32,
}

impl ExtentRef {
    /// The bytes of this reference.
    #[must_use]
    pub fn encode(&self) -> [u8; EXTENT_REF_BYTES] {
        let mut bytes = [0; EXTENT_REF_BYTES];
        put(&mut bytes, 0, &self.address.to_le_bytes());
        put(&mut bytes, 8, &self.length.to_le_bytes());
        put(&mut bytes, 16, &self.birth_generation.to_le_bytes());
        put(&mut bytes, 24, &self.crc.to_le_bytes());
        put(&mut bytes, 28, &self.writing.to_le_bytes());
        bytes
    }

    /// Reads a reference; `None` is malformed.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let found = Self {
            address: get_u64(bytes, 0),
            length: get_u64(bytes, 8),
            birth_generation: get_u64(bytes, 16),
            crc: get_u32(bytes, 24),
            writing: get_u32(bytes, 28),
        };
        let is_sound = (1..=ADDRESS_MAX).contains(&found.address)
            && (1..=VALUE_BYTES_MAX).contains(&found.length)
            && found.birth_generation <= COUNT_MAX;
        (bytes.len() == EXTENT_REF_BYTES && is_sound).then_some(found)
    }

    /// The header of a chunk that holds `held` bytes; its page is zeros otherwise.
    pub fn put_header(&self, page: &mut [u8], table: u32, number: u64, held: usize) {
        put(page, 0, &[0; EXTENT_HEADER_BYTES]);
        put(page, 4, &[PageKind::Extent as u8, 0]);
        put(page, 8, &self.birth_generation.to_le_bytes());
        put(page, 16, &table.to_le_bytes());
        put(page, 24, &number.to_le_bytes());
        put(page, 32, &u32::try_from(held).unwrap_or(0).to_le_bytes());
        put(page, 36, &self.writing.to_le_bytes());
    }

    /// Whether a page is the chunk of that number, which holds `held` bytes. What a
    /// page of any kind has was checked.
    #[must_use]
    pub fn is_chunk(&self, page: &[u8], number: u64, held: u64) -> bool {
        get_u64(page, 24) == number
            && u64::from(get_u32(page, 32)) == held
            && get_u32(page, 36) == self.writing
    }

    /// Bytes of the value that a chunk holds, in pages of `plain_bytes`.
    #[must_use]
    pub fn chunk_bytes(plain_bytes: usize) -> usize {
        plain_bytes.saturating_sub(EXTENT_HEADER_BYTES).max(1)
    }

    /// Chunks of a value of this length.
    #[must_use]
    pub fn chunks(&self, plain_bytes: usize) -> u64 {
        self.length.div_ceil(Self::chunk_bytes(plain_bytes) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_come_back() {
        let extent = ExtentRef {
            address: 1,
            length: 2,
            birth_generation: 3,
            crc: 4,
            writing: 5,
        };
        assert_eq!(ExtentRef::decode(&extent.encode()), Some(extent));
        assert_eq!(ExtentRef::decode(&[0; 32]), None);
        assert_eq!(ExtentRef::decode(&extent.encode()[..31]), None);
        assert_eq!(extent.chunks(4_096), 1);
        assert_eq!(
            ExtentRef {
                length: 4_057,
                ..extent
            }
            .chunks(4_096),
            2
        );
    }
}
