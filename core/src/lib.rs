//! The Lightning DB engine: an ordered, transactional key-value store.
//!
//! `no_std`, without threads, clock or operating system. What it needs from the
//! world is a [`lightning_platform::Platform`]; time and entropy are passed in
//! as values; long work is done in steps by whoever polls. Memory is planned
//! from the options, reserved at open, and never asked for again.
//!
//! The folder list is the architecture, and data flows one way:
//! `error, sync, mem, limits <- format <- wal, pager <- btree <- memtable <- run
//! <- txn <- merge, recovery <- db`. `ARCHITECTURE.md` at the root of the
//! repository tells why; `FORMAT.md` beside this crate is the on-disk format.
#![no_std]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::unreachable,
        clippy::todo,
        clippy::unimplemented,
        clippy::string_slice,
        clippy::get_unwrap,
        clippy::exit,
        clippy::disallowed_methods,
        clippy::disallowed_macros,
        clippy::disallowed_types,
        clippy::std_instead_of_core,
        clippy::std_instead_of_alloc,
        clippy::alloc_instead_of_core
    )
)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod btree;
pub mod db;
pub mod error;
pub mod format;
pub mod limits;
pub mod mem;
pub mod memtable;
pub mod pager;
pub mod run;
pub mod sync;
pub mod txn;
pub mod wal;
