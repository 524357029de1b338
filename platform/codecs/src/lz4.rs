//! LZ4, in its block format and without a length before it.

use crate::pool::Pool;
use lightning_platform::{Codec, TransformError};
use lz4_flex::block::{
    CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size,
};

/// What the superblock of a database with pages compressed by LZ4 says.
pub const LZ4_IDENTITY: u32 = 1;

/// LZ4: several hundred MB a second to compress, some thousand to restore.
pub struct Lz4 {
    scratch: Pool<Scratch>,
}

struct Scratch {
    table: CompressTable,
    /// The library wants room for the worst case, which the caller's room is not.
    output: Box<[u8]>,
}

impl Lz4 {
    /// For pages of at most `page_bytes`, compressed by at most `threads` at once.
    #[must_use]
    pub fn new(page_bytes: usize, threads: usize) -> Self {
        Self {
            scratch: Pool::new(threads, || Scratch {
                table: CompressTable::small(),
                output: vec![0; get_maximum_output_size(page_bytes)].into(),
            }),
        }
    }
}

impl Codec for Lz4 {
    fn identity(&self) -> u32 {
        LZ4_IDENTITY
    }

    fn compress(&self, plain: &[u8], output: &mut [u8]) -> Option<usize> {
        self.scratch.with(|scratch| {
            let bytes =
                compress_into_with_table(plain, &mut scratch.output, &mut scratch.table).ok()?;
            output
                .get_mut(..bytes)?
                .copy_from_slice(scratch.output.get(..bytes)?);
            Some(bytes)
        })
    }

    fn decompress(&self, packed: &[u8], plain: &mut [u8]) -> Result<(), TransformError> {
        match decompress_into(packed, plain) {
            Ok(bytes) if bytes == plain.len() => Ok(()),
            _ => Err(TransformError::Damaged),
        }
    }
}

impl std::fmt::Debug for Lz4 {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Lz4").finish_non_exhaustive()
    }
}
