//! Byte layouts: checked views over bytes, and typed values. No I/O, no state.
//!
//! `core/FORMAT.md` is normative; its section numbers stand in the files here.
//! A view is made by a function that checks everything once; after that no
//! accessor can fail or leave the bytes.

pub mod bytes;
pub mod checksum;
pub mod page_ref;
