//! Page compression: LZ4 and Zstandard behind the platform's codec contract.
//!
//! A page is compressed by itself, so that each can be read alone. What an algorithm works
//! in (tables, contexts, a page of output) is made when the codec is, for as many threads
//! as are to use it at once; more of them take turns. Nothing is allocated afterwards.
//!
//! Identities stand in the superblock of a database and never change their meaning.
#![forbid(unsafe_code)]

mod lz4;
mod pool;
#[cfg(feature = "zstd")]
mod zstandard;

pub use lz4::{LZ4_IDENTITY, Lz4};
#[cfg(feature = "zstd")]
pub use zstandard::Zstandard;

/// What the superblock of a database with pages compressed by Zstandard says.
pub const ZSTANDARD_IDENTITY: u32 = 2;

#[cfg(test)]
mod tests;
