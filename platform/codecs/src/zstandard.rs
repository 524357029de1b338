//! Zstandard, as frames without length and checksum: the page's envelope has both.
//!
//! The library of its authors, in C, is used: the one in Rust takes 1.6 times as long to
//! compress and 1.3 times to restore, allocates for each page, and needs a newer Rust.

use crate::ZSTANDARD_IDENTITY;
use crate::pool::Pool;
use lightning_platform::{Codec, TransformError};
use zstd_safe::{CCtx, CParameter, DCtx};

/// On pages of some KiB higher levels gain next to nothing: level 3 makes JSON of 4 KiB
/// no smaller, and takes a tenth longer.
const LEVEL: i32 = 1;

/// Zstandard: smaller than LZ4, at two to five times the processor time.
pub struct Zstandard {
    compressors: Pool<CCtx<'static>>,
    decompressors: Pool<DCtx<'static>>,
}

impl Zstandard {
    /// For pages of at most `page_bytes`, compressed by at most `writers` at once, and
    /// restored by `readers`. `None` where there is no memory: 75 to 500 KiB for each of
    /// the former, as pages are long, and 95 KiB for the latter.
    #[must_use]
    pub fn new(page_bytes: usize, writers: usize, readers: usize) -> Option<Self> {
        let made = Self {
            compressors: Pool::new(writers, compressor),
            decompressors: Pool::new(readers, DCtx::create),
        };
        // A context takes its memory when it is used first.
        let page = vec![0; page_bytes];
        let mut output = vec![0; 1_024 + page_bytes];
        made.compressors
            .each(|context| context.compress2(&mut output[..], &page).is_ok())
            .then_some(made)
    }
}

fn compressor() -> CCtx<'static> {
    let mut context = CCtx::create();
    for parameter in [
        CParameter::CompressionLevel(LEVEL),
        CParameter::ContentSizeFlag(false),
        CParameter::ChecksumFlag(false),
    ] {
        // A context that refuses one makes pages that are larger, not wrong.
        let _set = context.set_parameter(parameter);
    }
    context
}

impl Codec for Zstandard {
    fn identity(&self) -> u32 {
        ZSTANDARD_IDENTITY
    }

    fn compress(&self, plain: &[u8], output: &mut [u8]) -> Option<usize> {
        self.compressors
            .with(|context| context.compress2(output, plain).ok())
    }

    fn decompress(&self, packed: &[u8], plain: &mut [u8]) -> Result<(), TransformError> {
        let expected = plain.len();
        self.decompressors
            .with(|context| match context.decompress(plain, packed) {
                Ok(bytes) if bytes == expected => Ok(()),
                _ => Err(TransformError::Damaged),
            })
    }
}

impl std::fmt::Debug for Zstandard {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Zstandard").finish_non_exhaustive()
    }
}
