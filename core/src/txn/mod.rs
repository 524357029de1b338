//! What readers and transactions see: versions, snapshots, and many sources as one.

mod merged;
mod version;
mod writes;

pub use merged::{MergedCursor, Source, SourceList, Stored, Visible};
pub use version::{MEMTABLES_MAX, Snapshot, VersionState, Versions};
pub use writes::{ReadRange, WriteSet};
