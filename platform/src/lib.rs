//! What the engine needs from the world, and nothing else.
//!
//! `lightning-core` knows no operating system, thread or clock. What it needs
//! is written here as small traits whose documentation is the contract: MUST
//! and MUST NOT are for the implementer, and the engine relies on each of them.
//! A new platform ("port") provides a [`Storage`] and a [`Memory`]; a [`Codec`]
//! and a [`Cipher`] are optional. Time, entropy and wall-clock values are passed
//! to the engine as plain numbers by its caller, never read by it.
//!
//! All four are used as trait objects bundled in one [`Platform`], so that no
//! type of the engine carries a platform parameter. The calls are cold: each
//! stands for an I/O, a mapping or the treatment of a whole page.
#![no_std]

extern crate alloc;

mod error;
mod machine;
mod memory;
mod storage;
mod transform;
mod wait;

pub use error::{IoError, IoErrorKind};
pub use machine::{
    HugePages, MachineGrants, MachineMemory, MachineWishes, MemoryNodes, ProcessUse,
};
pub use memory::{Memory, MemoryUse};
pub use storage::{File, Geometry, PageFileRoom, ReadRequest, Storage, WriteRequest};
pub use transform::{Cipher, Codec, PageIdentity, TransformError};
pub use wait::Wait;

use alloc::sync::Arc;

/// Everything a database needs from its host, in one bundle.
///
/// Cloning it clones the handles, not what stands behind them.
#[derive(Clone)]
pub struct Platform {
    /// Where the pages and the log live.
    pub storage: Arc<dyn Storage>,
    /// Where the engine's memory comes from, at open only.
    pub memory: Arc<dyn Memory>,
    /// How a thread that found a lock taken passes the time.
    pub wait: Arc<dyn Wait>,
    /// Page compression, when the database was created with one.
    pub codec: Option<Arc<dyn Codec>>,
    /// Page and log encryption, when the database was created with one.
    pub cipher: Option<Arc<dyn Cipher>>,
}
