//! A deterministic simulator of everything the engine needs from its host.
//!
//! [`SimStorage`] is a storage in memory that knows what is durable and what is
//! not. A test runs the engine on it, cuts the power at a numbered operation,
//! takes any number of [crash images](SimStorage::crash_image) of what the
//! medium may then hold, and opens the engine on each. It checks the caller's
//! side of the storage contract as well: [`SimStorage::violations`] must be
//! empty at the end of every test. [`SimMemory`] limits, fails and counts
//! reservations. [`UnfaithfulStorage`] breaks the storage's promises. [`TestCodec`] and [`TestCipher`] stand in for real ones.
//!
//! Nothing here reads a clock or any entropy: chance comes from [`Random`],
//! which is determined by its seed. Within the crate data flows
//! `random, content <- change, control <- volume <- crash <- storage <- unfaithful`.
//!
//! ```
//! use lightning_platform::{File, Storage};
//! use lightning_sim::{CrashMode, SimOptions, SimStorage};
//!
//! let storage = SimStorage::new(SimOptions::disk(512));
//! storage.create(File::Pages)?;
//! storage.sync_directory()?;
//! storage.write(File::Pages, 0, &[1; 1024])?;
//! storage.sync(File::Pages)?;
//! storage.write(File::Pages, 512, &[2; 512])?;
//!
//! let image = storage.crash_image(CrashMode::Synced, 0);
//! assert_eq!(image.file_bytes(File::Pages), Some(vec![1; 1024]));
//! assert_eq!(storage.violations(), Vec::<String>::new());
//! # Ok::<(), lightning_platform::IoError>(())
//! ```

mod change;
mod content;
mod control;
mod crash;
mod memory;
mod random;
mod storage;
mod transform;
mod unfaithful;
mod volume;
mod wait;

pub use control::{CallFailure, Done};
pub use crash::CrashMode;
pub use memory::SimMemory;
pub use random::{Random, mix};
pub use storage::{SimOptions, SimStorage};
pub use transform::{TestCipher, TestCodec};
pub use unfaithful::{CallKind, Habit, UnfaithfulStorage};
pub use wait::SimWait;

use lightning_platform::Platform;
use std::sync::Arc;

/// A platform of these two, which shares their state, without codec and cipher.
#[must_use]
pub fn sim_platform(storage: &SimStorage, memory: &SimMemory) -> Platform {
    Platform {
        storage: Arc::new(storage.clone()),
        memory: Arc::new(memory.clone()),
        wait: Arc::new(SimWait),
        codec: None,
        cipher: None,
    }
}
