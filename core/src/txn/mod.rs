//! What readers and transactions see: versions, snapshots, and many sources as one.

mod front;
mod lent;
mod merged;
mod version;
mod writes;

pub use front::{Front, Lent, Lookup, MemtableSlot, View};
pub use lent::{CursorMemory, Stored, Visible};
pub use merged::MergedCursor;
pub use version::{
    MEMTABLES_MAX, SOURCES_MAX, Snapshot, SourceId, Sources, VersionState, Versions,
};
pub use writes::{ReadRange, WriteSet};
