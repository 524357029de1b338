//! The superblock (FORMAT.md 3): what a database is, and where its newest state begins.

use super::bytes::{get_16, get_u32, get_u64, put};
use super::checksum::Checksum;
use crate::limits::{ADDRESS_MAX, COUNT_MAX, PAGE_BYTES_MAX, PAGE_BYTES_MIN};

/// Bytes of a superblock; the rest of its write block is zeros.
pub const SUPERBLOCK_BYTES: usize = 512;
/// The format version that this code writes.
pub const FORMAT_VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"LTNGDB\x1A\x0A";

/// Where a copy of the catalogue is (FORMAT.md 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CatalogueRef {
    /// Units from the start of the page file; 0 for none.
    pub address: u64,
    /// Bytes in use there.
    pub bytes: u32,
    /// Their CRC, seeded with lineage id and address.
    pub crc: u32,
}

/// The newest published state of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Superblock {
    /// Features that an older reader and writer may ignore.
    pub features_compatible: u32,
    /// Features that an older reader may ignore and an older writer may not.
    pub features_read: u32,
    /// Features that nobody may ignore.
    pub features_incompatible: u32,
    /// Bytes of a page in memory, envelope included.
    pub page_bytes: u32,
    /// Bytes of what addresses count.
    pub unit_bytes: u32,
    /// Bytes of what space is given out by.
    pub block_bytes: u32,
    /// Bytes of a check: 4 or 16.
    pub check_bytes: u32,
    /// The codec's identity, 0 for none.
    pub codec: u32,
    /// The cipher's identity, 0 for none.
    pub cipher: u32,
    /// Length of a log segment in bytes.
    pub segment_bytes: u32,
    /// Kept by restore; seeds every page's check.
    pub lineage_id: [u8; 16],
    /// New for each restore or clone; seeds every log frame's check.
    pub instance_id: [u8; 16],
    /// Counts the histories that branched from one lineage.
    pub timeline: u32,
    /// Where this timeline branched; 0 for the first.
    pub timeline_sequence: u64,
    /// Counts superblocks, from 1.
    pub generation: u64,
    /// How often openers have written this generation again: tells the newer of two slots
    /// that hold the same state.
    pub writing: u32,
    /// All commits up to it are in trees and runs.
    pub merged_sequence: u64,
    /// No commit above it is in the trees, even in part: above the merged
    /// sequence while a merge is under way.
    pub touched_sequence: u64,
    /// The durable sequence known when this was written.
    pub durable_sequence: u64,
    /// The oldest log segment that recovery reads.
    pub first_segment: u64,
    /// Highest wall time seen, in milliseconds since 1970.
    pub wall_time_ms: u64,
    /// Length of the page file in blocks.
    pub file_blocks: u64,
    /// The id that the next table gets.
    pub next_table: u32,
    /// The two copies of the catalogue.
    pub catalogue: [CatalogueRef; 2],
}

/// What stands in a superblock's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SuperblockFound {
    /// A valid superblock of a version that this code knows.
    Valid(Superblock),
    /// A valid superblock of a format version that this code doesn't know.
    Version(u32),
    /// A superblock's magic number with damage behind it.
    Damaged,
    /// Something else.
    Nothing,
}

impl Superblock {
    /// The bytes of this superblock.
    #[must_use]
    pub fn encode(&self, checksum: Checksum) -> [u8; SUPERBLOCK_BYTES] {
        let mut bytes = [0; SUPERBLOCK_BYTES];
        put(&mut bytes, 0, &MAGIC);
        put(&mut bytes, 8, &FORMAT_VERSION.to_le_bytes());
        for (offset, number) in [
            (16, self.features_compatible),
            (20, self.features_read),
            (24, self.features_incompatible),
            (28, self.page_bytes),
            (32, self.unit_bytes),
            (36, self.block_bytes),
            (40, self.check_bytes),
            (44, self.codec),
            (48, self.cipher),
            (52, self.segment_bytes),
            (88, self.timeline),
            (92, self.writing),
        ] {
            put(&mut bytes, offset, &number.to_le_bytes());
        }
        put(&mut bytes, 56, &self.lineage_id);
        put(&mut bytes, 72, &self.instance_id);
        for (offset, number) in [
            (96, self.timeline_sequence),
            (104, self.generation),
            (112, self.merged_sequence),
            (120, self.durable_sequence),
            (128, self.first_segment),
            (136, self.wall_time_ms),
            (144, self.file_blocks),
            (152, u64::from(self.next_table)),
            (240, self.touched_sequence),
        ] {
            put(&mut bytes, offset, &number.to_le_bytes());
        }
        for (index, copy) in self.catalogue.iter().enumerate() {
            let offset = 160 + index * 40;
            put(&mut bytes, offset, &copy.address.to_le_bytes());
            put(&mut bytes, offset + 8, &copy.bytes.to_le_bytes());
            put(&mut bytes, offset + 12, &copy.crc.to_le_bytes());
        }
        let check = checksum.header(&bytes, 12);
        put(&mut bytes, 12, &check.to_le_bytes());
        bytes
    }

    /// Whether a file that begins with `first` may be what a creation left that was cut off:
    /// the magic comes last, and each byte of it is there or was never written.
    #[must_use]
    pub fn may_be_unfinished(first: &[u8; 8], erased_byte: u8) -> bool {
        let mut bytes = first.iter().zip(&MAGIC);
        bytes.all(|(byte, magic)| [*magic, 0, erased_byte].contains(byte))
    }

    /// Reads what stands in the first 512 of `bytes`.
    #[must_use]
    pub fn decode(bytes: &[u8], checksum: Checksum) -> SuperblockFound {
        let Some(bytes) = bytes.get(..SUPERBLOCK_BYTES) else {
            return SuperblockFound::Nothing;
        };
        if bytes.get(..8) != Some(&MAGIC) {
            return SuperblockFound::Nothing;
        }
        if get_u32(bytes, 12) != checksum.header(bytes, 12) {
            return SuperblockFound::Damaged;
        }
        let version = get_u32(bytes, 8);
        if version != FORMAT_VERSION {
            return SuperblockFound::Version(version);
        }
        let copy = |offset: usize| CatalogueRef {
            address: get_u64(bytes, offset),
            bytes: get_u32(bytes, offset + 8),
            crc: get_u32(bytes, offset + 12),
        };
        let found = Self {
            features_compatible: get_u32(bytes, 16),
            features_read: get_u32(bytes, 20),
            features_incompatible: get_u32(bytes, 24),
            page_bytes: get_u32(bytes, 28),
            unit_bytes: get_u32(bytes, 32),
            block_bytes: get_u32(bytes, 36),
            check_bytes: get_u32(bytes, 40),
            codec: get_u32(bytes, 44),
            cipher: get_u32(bytes, 48),
            segment_bytes: get_u32(bytes, 52),
            lineage_id: get_16(bytes, 56),
            instance_id: get_16(bytes, 72),
            timeline: get_u32(bytes, 88),
            writing: get_u32(bytes, 92),
            timeline_sequence: get_u64(bytes, 96),
            generation: get_u64(bytes, 104),
            merged_sequence: get_u64(bytes, 112),
            durable_sequence: get_u64(bytes, 120),
            first_segment: get_u64(bytes, 128),
            wall_time_ms: get_u64(bytes, 136),
            file_blocks: get_u64(bytes, 144),
            next_table: get_u32(bytes, 152),
            touched_sequence: get_u64(bytes, 240),
            catalogue: [copy(160), copy(200)],
        };
        if found.is_plausible() {
            SuperblockFound::Valid(found)
        } else {
            SuperblockFound::Damaged
        }
    }

    /// Of two slots, the one with the higher rank was written later.
    #[must_use]
    pub fn rank(&self) -> (u64, u32) {
        (self.generation, self.writing)
    }

    /// Units of the page file; more than any address where there are too many.
    fn file_units(&self) -> u64 {
        let block_units = u64::from(self.block_bytes / self.unit_bytes.max(1));
        self.file_blocks.saturating_mul(block_units)
    }

    fn are_counts_plausible(&self) -> bool {
        [
            self.timeline_sequence,
            self.generation,
            self.merged_sequence,
            self.touched_sequence,
            self.durable_sequence,
            self.first_segment,
        ]
        .iter()
        .all(|count| *count <= COUNT_MAX)
    }

    fn is_catalogue_in_file(&self) -> bool {
        self.catalogue.iter().all(|copy| {
            let units = u64::from(copy.bytes.div_ceil(self.unit_bytes.max(1)));
            copy.address
                .checked_add(units)
                .is_some_and(|end| end <= self.file_units())
        })
    }

    /// Whether [`decode`](Self::decode) takes it for a superblock.
    #[must_use]
    pub fn is_plausible(&self) -> bool {
        let power = |number: u32| number.is_power_of_two();
        let page_range = PAGE_BYTES_MIN as u32..=PAGE_BYTES_MAX as u32;
        power(self.page_bytes)
            && page_range.contains(&self.page_bytes)
            && power(self.unit_bytes)
            && self.unit_bytes >= 64
            && self.unit_bytes <= self.page_bytes
            && power(self.block_bytes)
            && self.block_bytes >= self.page_bytes
            && self.block_bytes <= 1 << 24
            && (self.check_bytes == 4 || self.check_bytes == 16)
            && self.generation > 0
            && self.file_blocks >= 2
            && self.file_units() <= ADDRESS_MAX
            && self.are_counts_plausible()
            && self.is_catalogue_in_file()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Superblock {
        Superblock {
            features_compatible: 1,
            features_read: 2,
            features_incompatible: 4,
            page_bytes: 4096,
            unit_bytes: 1024,
            block_bytes: 8192,
            check_bytes: 16,
            codec: 5,
            cipher: 6,
            segment_bytes: 1 << 20,
            lineage_id: [7; 16],
            instance_id: [8; 16],
            timeline: 9,
            writing: 25,
            timeline_sequence: 10,
            generation: 11,
            merged_sequence: 12,
            durable_sequence: 13,
            first_segment: 14,
            wall_time_ms: 15,
            file_blocks: 16,
            next_table: 17,
            touched_sequence: 24,
            catalogue: [
                CatalogueRef {
                    address: 18,
                    bytes: 19,
                    crc: 20,
                },
                CatalogueRef {
                    address: 21,
                    bytes: 22,
                    crc: 23,
                },
            ],
        }
    }

    #[test]
    fn comes_back_and_every_flipped_bit_is_found() {
        let checksum = Checksum::default();
        let bytes = sample().encode(checksum);
        assert_eq!(
            Superblock::decode(&bytes, checksum),
            SuperblockFound::Valid(sample())
        );
        for index in 0..bytes.len() {
            let mut flipped = bytes;
            flipped[index] ^= 1 << (index % 8);
            assert!(!matches!(
                Superblock::decode(&flipped, checksum),
                SuperblockFound::Valid(_) | SuperblockFound::Version(_)
            ));
        }
    }

    #[test]
    fn another_version_is_told_apart_from_damage() {
        let checksum = Checksum::default();
        let mut bytes = sample().encode(checksum);
        put(&mut bytes, 8, &2_u32.to_le_bytes());
        let check = checksum.header(&bytes, 12);
        put(&mut bytes, 12, &check.to_le_bytes());
        assert_eq!(
            Superblock::decode(&bytes, checksum),
            SuperblockFound::Version(2)
        );
    }
}
