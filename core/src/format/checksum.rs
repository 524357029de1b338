//! CRC-32C, seeded with what the bytes are for (FORMAT.md 1).
//!
//! The host may hand in an implementation that uses the processor's
//! instruction; the portable one is the `crc` crate's. Both give the same numbers.

use crc::{CRC_32_ISCSI, Crc, Table};

static PORTABLE: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// Continues a CRC-32C: `append(0, bytes)` is the CRC of `bytes`, and
/// `append(append(0, a), b)` that of both.
pub type Append = fn(u32, &[u8]) -> u32;

fn append_portable(state: u32, bytes: &[u8]) -> u32 {
    // The crate takes the raw register, reflected: the public value is its complement.
    let mut digest = PORTABLE.digest_with_initial((state ^ u32::MAX).reverse_bits());
    digest.update(bytes);
    digest.finalize()
}

/// A way to compute CRC-32C.
#[derive(Clone, Copy)]
pub struct Checksum {
    append: Append,
}

impl Default for Checksum {
    fn default() -> Self {
        Self {
            append: append_portable,
        }
    }
}

impl Checksum {
    /// The portable one, or the host's.
    #[must_use]
    pub fn new(append: Option<Append>) -> Self {
        append.map_or_else(Self::default, |append| Self { append })
    }

    /// The CRC of `bytes`.
    #[must_use]
    pub fn of(&self, bytes: &[u8]) -> u32 {
        (self.append)(0, bytes)
    }

    /// The CRC of what `state` stands for, followed by `bytes`.
    #[must_use]
    pub fn append(&self, state: u32, bytes: &[u8]) -> u32 {
        (self.append)(state, bytes)
    }

    /// The check of a page's stored form: from byte 4 on, seeded with lineage and address.
    #[must_use]
    pub fn page(&self, lineage_id: &[u8; 16], address: u64, stored: &[u8]) -> u32 {
        let state = self.append(self.of(lineage_id), &address.to_le_bytes());
        self.append(state, stored.get(4..).unwrap_or(&[]))
    }

    /// The check of a header whose own field, 4 bytes at `field`, counts as zeros.
    #[must_use]
    pub fn header(&self, header: &[u8], field: usize) -> u32 {
        let (before, rest) = header.split_at_checked(field).unwrap_or((header, &[]));
        let state = self.append(self.of(before), &[0; 4]);
        self.append(state, rest.get(4..).unwrap_or(&[]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        let checksum = Checksum::default();
        assert_eq!(checksum.of(b"123456789"), 0xE306_9283);
        assert_eq!(checksum.of(&[0; 32]), 0x8A91_36AA);
        assert_eq!(checksum.of(b""), 0);
    }

    #[test]
    fn appending_is_concatenation() {
        let checksum = Checksum::default();
        let bytes: std::vec::Vec<u8> = (0..=255).collect();
        for cut in [0, 1, 7, 16, 100, 256] {
            let state = checksum.of(&bytes[..cut]);
            assert_eq!(checksum.append(state, &bytes[cut..]), checksum.of(&bytes));
        }
    }
}
