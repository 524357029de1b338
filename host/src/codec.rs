//! Which codec a database has: its superblock says so, once it is created.

use crate::error::{Error, Reason, Result};
use crate::options::Compression;
use lightning_codecs::{LZ4_IDENTITY, Lz4, ZSTANDARD_IDENTITY};
use lightning_platform::{Codec, IoErrorKind};
use std::path::Path;
use std::sync::Arc;

/// Pages compressed at once: by maintenance, beside a load or a committing thread that
/// takes a turn of it.
const WRITERS: usize = 2;
/// Pages restored at once at most, whatever the number of processors.
const READERS_MAX: usize = 32;

/// The compression of the codec with this identity; `None` for one that isn't known.
pub(crate) fn compression_of(identity: u32) -> Option<Compression> {
    match identity {
        0 => Some(Compression::None),
        LZ4_IDENTITY => Some(Compression::Lz4),
        ZSTANDARD_IDENTITY => Some(Compression::Zstd),
        _ => None,
    }
}

/// Why there is no codec.
pub(crate) enum Missing {
    /// This program was built without it.
    #[cfg(not(feature = "zstd"))]
    NotBuilt,
    /// The system gave no memory for it.
    #[cfg(feature = "zstd")]
    Memory,
}

impl Missing {
    /// The error for the database in `directory`.
    fn error(self, directory: &Path) -> Error {
        let (kind, words) = match self {
            #[cfg(not(feature = "zstd"))]
            Self::NotBuilt => (
                IoErrorKind::Unsupported,
                "pages compressed by Zstandard need a program that was built with the feature `zstd`",
            ),
            #[cfg(feature = "zstd")]
            Self::Memory => (
                IoErrorKind::OutOfMemory,
                "there is no memory for Zstandard; give the process more",
            ),
        };
        let message = format!("{}: {words}", directory.display());
        Error::new(Reason::Open { kind, message })
    }
}

/// The codec of the database in `directory`, which has such pages.
pub(crate) fn codec(
    compression: Compression,
    page_bytes: u32,
    directory: &Path,
) -> Result<Option<Arc<dyn Codec>>> {
    let page_bytes = page_bytes as usize;
    let readers = std::thread::available_parallelism().map_or(READERS_MAX, usize::from);
    match compression {
        Compression::None => Ok(None),
        Compression::Lz4 => Ok(Some(Arc::new(Lz4::new(page_bytes, WRITERS)))),
        Compression::Zstd => zstandard(page_bytes, readers.min(READERS_MAX))
            .map(Some)
            .map_err(|missing| missing.error(directory)),
    }
}

#[cfg(feature = "zstd")]
fn zstandard(page_bytes: usize, readers: usize) -> std::result::Result<Arc<dyn Codec>, Missing> {
    match lightning_codecs::Zstandard::new(page_bytes, WRITERS, readers) {
        Some(codec) => Ok(Arc::new(codec)),
        None => Err(Missing::Memory),
    }
}

#[cfg(not(feature = "zstd"))]
fn zstandard(_page_bytes: usize, _readers: usize) -> std::result::Result<Arc<dyn Codec>, Missing> {
    Err(Missing::NotBuilt)
}

/// Bytes of a unit of a new database: what a page that got smaller is rounded up to.
pub(crate) fn unit_bytes(compression: Compression, page_bytes: u32) -> u32 {
    match compression {
        Compression::None => page_bytes,
        // Finer units save little, and each has its bit in the bitmaps.
        Compression::Lz4 | Compression::Zstd => page_bytes / 8,
    }
}
