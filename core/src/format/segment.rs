//! The header of a log segment (FORMAT.md 4.1).
//!
//! It stands at the front of a log slot and says which segment the slot holds.
//! It is written once, with the first flush of the segment, after everything in
//! the segment before is synced: its *base sequence* is therefore a statement
//! about durability, as strong as that of a frame.

use super::bytes::{get_16, get_u32, get_u64, put};
use super::checksum::Checksum;
use super::superblock::FORMAT_VERSION;
use crate::limits::COUNT_MAX;

/// Bytes of a segment header.
pub const SEGMENT_HEADER_BYTES: usize = 512;
/// The *cut* of a segment that cuts nothing.
pub const CUT_NONE: u64 = u64::MAX;

const MAGIC: [u8; 8] = *b"LTNGWAL1";

/// Where the first flush of a segment begins, for a write block of `block_bytes`.
#[must_use]
pub const fn first_flush_offset(block_bytes: u32) -> u64 {
    if block_bytes as usize > SEGMENT_HEADER_BYTES {
        block_bytes as u64
    } else {
        SEGMENT_HEADER_BYTES as u64
    }
}

/// What a segment says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The database's lineage.
    pub lineage_id: [u8; 16],
    /// The instance that wrote the segment.
    pub instance_id: [u8; 16],
    /// The segment's number, from 1.
    pub number: u64,
    /// Length of the segment in bytes.
    pub segment_bytes: u64,
    /// Flushes start at multiples of it.
    pub block_bytes: u32,
    /// The timeline it was written in.
    pub timeline: u32,
    /// Frames here have higher sequences, and all up to it were durable when
    /// this header was written.
    pub base_sequence: u64,
    /// Frames of earlier segments above it don't count; [`CUT_NONE`] for none.
    pub cut: u64,
}

/// What stands at the front of a log slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentFound {
    /// A valid header.
    Valid(SegmentHeader),
    /// A valid header of a format version that this code doesn't know.
    Version(u32),
    /// Bytes that are no valid header.
    Damaged,
    /// One byte repeated: a slot that was erased, or never written.
    Erased,
}

impl SegmentHeader {
    /// The bytes of this header.
    #[must_use]
    pub fn encode(&self, checksum: Checksum) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        put(&mut bytes, 0, &MAGIC);
        put(&mut bytes, 12, &FORMAT_VERSION.to_le_bytes());
        put(&mut bytes, 16, &self.lineage_id);
        put(&mut bytes, 32, &self.instance_id);
        put(&mut bytes, 48, &self.number.to_le_bytes());
        put(&mut bytes, 56, &self.segment_bytes.to_le_bytes());
        put(&mut bytes, 64, &self.block_bytes.to_le_bytes());
        put(&mut bytes, 68, &self.timeline.to_le_bytes());
        put(&mut bytes, 72, &self.base_sequence.to_le_bytes());
        put(&mut bytes, 80, &self.cut.to_le_bytes());
        let check = checksum.header(&bytes, 8);
        put(&mut bytes, 8, &check.to_le_bytes());
        bytes
    }

    /// Reads what stands in the first 512 of `bytes`.
    #[must_use]
    pub fn decode(bytes: &[u8], checksum: Checksum) -> SegmentFound {
        let Some(bytes) = bytes.get(..SEGMENT_HEADER_BYTES) else {
            return SegmentFound::Damaged;
        };
        if bytes
            .first()
            .is_some_and(|first| bytes.iter().all(|byte| byte == first))
        {
            return SegmentFound::Erased;
        }
        if bytes.get(..8) != Some(&MAGIC) || get_u32(bytes, 8) != checksum.header(bytes, 8) {
            return SegmentFound::Damaged;
        }
        let version = get_u32(bytes, 12);
        if version != FORMAT_VERSION {
            return SegmentFound::Version(version);
        }
        let found = Self {
            lineage_id: get_16(bytes, 16),
            instance_id: get_16(bytes, 32),
            number: get_u64(bytes, 48),
            segment_bytes: get_u64(bytes, 56),
            block_bytes: get_u32(bytes, 64),
            timeline: get_u32(bytes, 68),
            base_sequence: get_u64(bytes, 72),
            cut: get_u64(bytes, 80),
        };
        if found.is_plausible() {
            SegmentFound::Valid(found)
        } else {
            SegmentFound::Damaged
        }
    }

    /// Whether [`decode`](Self::decode) takes it for a header.
    #[must_use]
    pub fn is_plausible(&self) -> bool {
        (1..=COUNT_MAX).contains(&self.number)
            && self.base_sequence <= COUNT_MAX
            && (self.cut <= COUNT_MAX || self.cut == CUT_NONE)
            && self.block_bytes.is_power_of_two()
            && (16..=65_536).contains(&self.block_bytes)
            && self
                .segment_bytes
                .is_multiple_of(u64::from(self.block_bytes))
            && self.segment_bytes <= u64::from(u32::MAX)
            && self.segment_bytes > first_flush_offset(self.block_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> SegmentHeader {
        SegmentHeader {
            lineage_id: [1; 16],
            instance_id: [2; 16],
            number: 3,
            segment_bytes: 65_536,
            block_bytes: 512,
            timeline: 4,
            base_sequence: 5,
            cut: 6,
        }
    }

    #[test]
    fn comes_back_and_every_flipped_bit_is_found() {
        let checksum = Checksum::default();
        let bytes = sample().encode(checksum);
        assert_eq!(
            SegmentHeader::decode(&bytes, checksum),
            SegmentFound::Valid(sample())
        );
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                SegmentHeader::decode(&flipped, checksum),
                SegmentFound::Damaged
            );
        }
        assert_eq!(
            SegmentHeader::decode(&bytes[..511], checksum),
            SegmentFound::Damaged
        );
        assert_eq!(
            SegmentHeader::decode(&[0; 512], checksum),
            SegmentFound::Erased
        );
        assert_eq!(
            SegmentHeader::decode(&[0xFF; 512], checksum),
            SegmentFound::Erased
        );
    }

    #[test]
    fn another_version_is_told_apart_from_damage() {
        let checksum = Checksum::default();
        let mut bytes = sample().encode(checksum);
        put(&mut bytes, 12, &9_u32.to_le_bytes());
        let check = checksum.header(&bytes, 8);
        put(&mut bytes, 8, &check.to_le_bytes());
        assert_eq!(
            SegmentHeader::decode(&bytes, checksum),
            SegmentFound::Version(9)
        );
    }
}
