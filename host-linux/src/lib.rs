//! Linux files, locks, memory and waiting for Lightning DB.
//!
//! The platform contracts of `lightning-platform`, fulfilled with plain Linux
//! system calls, and nothing more: no engine logic, no threads, no caching
//! beyond the kernel's. The sibling crates for other systems have the same
//! files with the same duties; on any other system this crate is empty.
//!
//! | file | duty |
//! |---|---|
//! | `files.rs` | the data directory as a [`Storage`](lightning_platform::Storage) |
//! | `log_file.rs` | a log slot, and the one call that makes a block of it durable |
//! | `direct.rs` | the page file past the system's cache |
//! | `aligned.rs` | what transfers past the system's cache ask for |
//! | `transfer.rs` | whole-or-error positional transfers |
//! | `lock.rs` | one owner for each data directory |
//! | `error.rs` | error numbers to kinds and words |
//! | `memory.rs` | reservations |
//! | `allocator.rs` | how the system's allocator keeps what is freed |
//! | `wait.rs` | how a thread passes the time at a short lock |
//! | `device.rs` | block size, counters and free room of the device below |
//! | `local_socket.rs` | connections to a process on this machine |
//! | `process.rs` | what this process takes of the machine |
//! | `processors.rs` | processors and memory nodes, and which of them are used |
//! | `service_manager.rs` | what the service manager is told |
//! | `thread_waits.rs` | how often a thread has waited |
//! | `replace.rs` | a small file's contents, replaced as a whole |
#![cfg(target_os = "linux")]
#![deny(unsafe_code)]

mod aligned;
#[expect(
    unsafe_code,
    reason = "a call of the C library; argued at the top of the file"
)]
mod allocator;
pub mod device;
mod direct;
mod error;
mod files;
mod local_socket;
mod lock;
mod log_file;
#[expect(unsafe_code, reason = "mapping memory; argued at the top of the file")]
mod memory;
mod process;
mod processors;
mod replace;
mod service_manager;
#[expect(
    unsafe_code,
    reason = "a call of the C library; argued at the top of the file"
)]
mod thread_waits;
mod transfer;
mod wait;

#[cfg(test)]
mod test_directory;

pub use allocator::give_back_large_allocations;
pub use direct::DirectStorage;
pub use error::{OpenError, OpenErrorReason, io_error_text};
pub use files::{LinuxStorage, OpenMode};
pub use local_socket::{LocalListener, connect, listen};
pub use lock::LockHolder;
pub use memory::LinuxMemory;
pub use process::{machine_memory, process_use, raise_open_files_limit};
pub use processors::{
    Node, give_way, keep_to_nodes, keep_to_processors, nodes, number_list_text, processors,
};
pub use replace::replace_file;
pub use service_manager::{
    notify_alive, notify_ready, notify_reloading, notify_stopping, watchdog_period,
};
pub use thread_waits::waits_of_this_thread;
pub use wait::LinuxWait;
