//! Byte layouts: checked views over bytes, and typed values. No I/O, no state.
//!
//! `core/FORMAT.md` is normative; its section numbers stand in the files here.
//! A view is made by a function that checks everything once; after that no
//! accessor can fail or leave the bytes.

pub mod branch;
pub mod branch_writer;
pub mod bytes;
pub mod catalogue;
pub mod checksum;
pub mod extent;
pub mod frame;
mod keys;
pub mod leaf;
pub mod leaf_writer;
pub mod page;
pub mod page_ref;
#[cfg(test)]
mod random;
pub mod run;
pub mod segment;
pub mod superblock;
