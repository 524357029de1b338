//! What the workloads ask of an engine, and the list of engines measured.
//!
//! One file for each engine. To add one: write `engines/NAME.rs` with an
//! [`EngineKind`] named `KIND`, and enter it here in the module list and in
//! [`ENGINES`]. Each adapter uses its engine as that engine's documentation
//! advises, and states what it chose.
//!
//! The traits are object-safe: a virtual call costs about a nanosecond, the same
//! for all, and keeps the workloads free of type parameters.

mod fjall;
mod lightning;
mod lmdb;
mod redb;
mod sqlite;

use std::path::Path;

use anyhow::Result;

use crate::data::{Key, Value};

/// Every engine that can be measured, in the order of the tables.
pub const ENGINES: &[EngineKind] = &[lightning::KIND, lmdb::KIND, redb::KIND, fjall::KIND];

/// One whose speed isn't measured: see `damage`.
pub const SQLITE: EngineKind = sqlite::KIND;

/// The name of the engine that the targets are about.
pub const SUBJECT: &str = "lightning";

/// An engine by name, and how to open it.
#[derive(Clone, Copy)]
pub struct EngineKind {
    /// The name on the command line and in the tables.
    pub name: &'static str,
    /// Opens the database in a directory, which exists, and creates it there if
    /// the directory is empty. Recovery belongs to this call.
    pub open: fn(&Path, &Options) -> Result<Box<dyn Engine>>,
}

/// When a commit may return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// After the device has confirmed that the commit survives a power cut.
    EveryCommit,
    /// At once; [`Engine::sync`] makes durable what was committed before it.
    OnRequest,
}

/// What is the same for all engines.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// When [`Engine::commit`] returns.
    pub durability: Durability,
    /// Cache for pages or blocks, for engines that have one of their own.
    pub cache_bytes: u64,
    /// Size of the write front (memtable), for engines that have one.
    pub front_bytes: u64,
    /// The data exceeds the memory by far, and reads are random: an engine that
    /// is advised to run differently then, may.
    pub exceeds_memory: bool,
}

/// One change of a commit.
#[derive(Clone, Copy)]
pub struct Change {
    /// The key that is written.
    pub key: Key,
    /// The new value, or nothing to delete the key.
    pub value: Option<Value>,
}

/// An open database with one table from bytes to bytes, without compression.
pub trait Engine: Send + Sync {
    /// A reader for the calling thread.
    fn reader(&self) -> Result<Box<dyn Reader + '_>>;

    /// Commits `changes` as one atomic unit, by blind writes. Several threads
    /// call this at once; no two of them write the same key at a time.
    fn commit(&self, changes: &[Change]) -> Result<()>;

    /// Fills the empty database by the quickest way the engine has. The entries
    /// come in key order; all of them are durable when the call returns.
    fn load_sorted(&self, entries: &mut dyn Iterator<Item = (Key, Value)>) -> Result<()>;

    /// Makes durable all that was committed before the call.
    fn sync(&self) -> Result<()>;

    /// Closes the database cleanly.
    fn close(self: Box<Self>) -> Result<()>;
}

/// Reads of one thread, from a state not older than the last [`Reader::refresh`].
pub trait Reader {
    /// Moves to a state that holds every commit that returned before this call.
    fn refresh(&mut self) -> Result<()>;

    /// Lends the value of `key` to `found`; false when the key is absent.
    fn get(&mut self, key: &Key, found: &mut dyn FnMut(&[u8])) -> Result<bool>;

    /// Lends entries from the first key that is not below `from`, upwards, to
    /// `visit`: at most `limit` of them. Returns how many there were.
    fn scan(
        &mut self,
        from: &[u8],
        limit: usize,
        visit: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<usize>;
}

/// The engine called `name`, if it is built in.
pub fn find(name: &str) -> Option<EngineKind> {
    ENGINES.iter().copied().find(|kind| kind.name == name)
}
