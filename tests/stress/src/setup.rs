//! The settings that databases are opened with: one setup for each way of working.

use std::time::Duration;

use lightning_db::{Builder, Compression, Database, Durability};

/// Settings of a database, and how much its operations write.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    /// What it is called in reports.
    pub name: &'static str,
    /// Threads that write.
    pub workers: u8,
    /// Keys of a worker in each table.
    pub keys: u16,
    /// The most bytes of values in one transaction.
    pub transaction_bytes: u64,
    /// The longest value that is written by stream; 0 where all goes through the log, loads
    /// included.
    pub streamed_bytes_max: u64,
    /// Whether keys are put again and again, so that the data stay small.
    pub deletes: bool,
    page_bytes: u32,
    memtable_bytes: u32,
    segment_bytes: u32,
    runs: u32,
    merge_threads: u32,
    compression: Compression,
    durability: Durability,
    checkpoint: Option<Duration>,
}

const SMALL: Setup = Setup {
    name: "small",
    workers: 4,
    keys: 250,
    transaction_bytes: 12 << 10,
    streamed_bytes_max: 200 << 10,
    deletes: true,
    page_bytes: 1024,
    memtable_bytes: 256 << 10,
    segment_bytes: 64 << 10,
    runs: 4,
    merge_threads: 1,
    compression: Compression::None,
    durability: Durability::Sync,
    checkpoint: None,
};

/// Every setup that processes are killed in.
pub const SETUPS: [Setup; 7] = [
    // Maintenance never rests: memtables of a few hundred commits, runs, merges.
    SMALL,
    Setup {
        name: "usual",
        keys: 800,
        transaction_bytes: 64 << 10,
        streamed_bytes_max: 1 << 20,
        page_bytes: 4096,
        memtable_bytes: 4 << 20,
        segment_bytes: 1 << 20,
        ..SMALL
    },
    Setup {
        name: "periodic",
        durability: Durability::Periodic(Duration::from_millis(7)),
        ..SMALL
    },
    Setup {
        name: "written",
        workers: 6,
        memtable_bytes: 1 << 20,
        segment_bytes: 256 << 10,
        transaction_bytes: 40 << 10,
        durability: Durability::Async,
        ..SMALL
    },
    Setup {
        name: "without-runs",
        runs: 0,
        workers: 3,
        ..SMALL
    },
    Setup {
        name: "compressed",
        page_bytes: 4096,
        compression: Compression::Lz4,
        merge_threads: 2,
        memtable_bytes: 512 << 10,
        segment_bytes: 128 << 10,
        transaction_bytes: 24 << 10,
        ..SMALL
    },
    Setup {
        name: "checkpoints",
        workers: 2,
        page_bytes: 4096,
        compression: Compression::Zstd,
        checkpoint: Some(Duration::from_millis(20)),
        ..SMALL
    },
];

/// One whose data grow until the device is full.
pub const GROWING: Setup = Setup {
    name: "growing",
    keys: 60_000,
    deletes: false,
    page_bytes: 4096,
    memtable_bytes: 1 << 20,
    segment_bytes: 256 << 10,
    transaction_bytes: 40 << 10,
    ..SMALL
};

/// The same, where all that is written goes through the log.
pub const LOGGED: Setup = Setup {
    name: "logged",
    streamed_bytes_max: 0,
    ..GROWING
};

/// One that takes few threads and little memory.
pub const LIMITED: Setup = Setup {
    name: "limited",
    workers: 2,
    ..SMALL
};

/// The setup called `name`.
pub fn find(name: &str) -> Option<Setup> {
    let others = [GROWING, LOGGED, LIMITED];
    SETUPS
        .into_iter()
        .chain(others)
        .find(|setup| setup.name == name)
}

impl Setup {
    /// What opens a database of this setup.
    pub fn builder(&self) -> Builder {
        Database::builder()
            .page_bytes(self.page_bytes)
            .cache_bytes(2 << 20)
            .memtable_bytes(self.memtable_bytes)
            .log_segment_bytes(self.segment_bytes)
            .runs(self.runs)
            .merge_threads(self.merge_threads)
            .compression(self.compression)
            .durability(self.durability)
    }

    /// Sets what can be set only at an open database.
    pub fn apply(&self, database: &Database) {
        database.set_sweep_interval(Duration::from_millis(30));
        database.set_checkpoint_interval(self.checkpoint);
    }
}
