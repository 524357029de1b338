//! What a host tells of its machine. The engine asks for none of it; services do.

use core::time::Duration;

/// What this process takes of the machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProcessUse {
    /// Processor time in its own code.
    pub user_time: Duration,
    /// Processor time in the system's.
    pub system_time: Duration,
    /// Memory that is there.
    pub resident_bytes: u64,
    /// Addresses that are taken.
    pub virtual_bytes: u64,
    /// Threads.
    pub threads: u64,
    /// Open descriptors.
    pub open_files: u64,
    /// Descriptors that may be open; `None` for any number.
    pub open_files_max: Option<u64>,
    /// When it was started, in seconds since 1970.
    pub started_unix_seconds: u64,
}

/// Memory of the machine, or what this process may have of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MachineMemory {
    /// Bytes that this process could have at most.
    pub limit_bytes: u64,
    /// Bytes that can be had without pushing others out.
    pub available_bytes: u64,
}
