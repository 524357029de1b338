//! The numbers that hold the format and the engine together.

/// Smallest page, in bytes.
pub const PAGE_BYTES_MIN: usize = 512;
/// Largest page, in bytes.
pub const PAGE_BYTES_MAX: usize = 65_536;
/// Longest value, in bytes: 1 GiB.
pub const VALUE_BYTES_MAX: u64 = 1 << 30;
/// Longest table name, in bytes.
pub const TABLE_NAME_BYTES_MAX: usize = 255;
/// Levels of a tree: with a fan-out of a hundred far more than any database has,
/// and enough for 16 million of the worst pages; a deeper path in a file is corruption.
pub const TREE_LEVELS_MAX: usize = 12;
/// Log slots that the engine uses at most.
pub const LOG_SLOTS_MAX: u32 = 65_536;
/// Runs that stand on the trees at once, those that are being merged included.
pub const RUNS_MAX: usize = 8;
/// Stretches of units that one run may be ingested in: each but the first is half as long
/// as all before it.
pub const RUN_PARTS_MAX: usize = 48;
/// Keys that ask for the memory of their lookups together: as many as a core has requests
/// for memory under way, about.
pub const AHEAD_KEYS_MAX: usize = 16;
/// The largest wall time the engine takes, in milliseconds since 1970: year 9999.
pub const WALL_TIME_MAX_MS: u64 = 253_402_300_799_999;

/// The largest sequence, generation, segment number or count: nothing gets there by
/// counting. A file that states a larger one is damaged, or was made to do harm; below it,
/// adding a few of them is safe.
pub const COUNT_MAX: u64 = 1 << 56;
/// The largest address, in units: with the largest units 4 EiB.
pub const ADDRESS_MAX: u64 = 1 << 46;

/// The longest key of a database with pages of `page_bytes`: a quarter page.
#[must_use]
pub const fn key_bytes_max(page_bytes: usize) -> usize {
    page_bytes / 4
}

/// The longest value that stands in a leaf beside its key; a longer one is
/// stored in an extent of its own.
#[must_use]
pub const fn inline_value_bytes_max(page_bytes: usize) -> usize {
    page_bytes / 4
}
const _: () = assert!(key_bytes_max(4_096) == 1_024);
