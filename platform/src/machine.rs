//! What a host tells of its machine. The engine asks for none of it; services do.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

/// What a program wants of the machine for its database. A host gives what it can, and
/// says by [`MachineGrants`] what it refused.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MachineWishes {
    /// Which pages the memory of frames and memtables consists of.
    pub huge_pages: HugePages,
    /// Where memory lies.
    pub memory_nodes: MemoryNodes,
    /// Whether memory is touched when it is reserved.
    pub prefault: bool,
    /// Whether the page file is read and written past the system's cache.
    pub direct_io: bool,
}

/// Which pages large memory consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HugePages {
    /// Of small ones only.
    Off,
    /// The system is asked for huge ones where it makes them by itself.
    #[default]
    Asked,
    /// Of huge ones that were set aside, where there are enough; otherwise as `Asked`.
    Try,
    /// Of huge ones that were set aside: a reservation fails where there are too few.
    Only,
}

/// On which nodes of the machine memory lies.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum MemoryNodes {
    /// Where the system puts it.
    #[default]
    System,
    /// Spread over all.
    Interleaved,
    /// On these.
    Only(Vec<u32>),
}

/// What of [`MachineWishes`] was given, and what wasn't.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MachineGrants {
    /// What was given: which wish, and how much of what.
    pub given: Vec<(&'static str, String)>,
    /// What was refused: which wish, and why.
    pub refused: Vec<(&'static str, String)>,
}

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
