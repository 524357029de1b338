//! The database, opened as the settings want it.

use crate::service::ServiceError;
use lightning_db::{Compression, Database, MachineWishes, MemoryNodes};
use lightning_ops::configuration::{Configuration, HugePages, Numa};

/// What a transaction may write, from the size of a memtable.
fn transaction_bytes(configuration: &Configuration) -> u32 {
    (configuration.database.memtable_bytes / 3).min(4 << 20)
}

/// What the estimate of a transaction's size may miss.
const TRANSACTION_SLACK_PERCENT: usize = 10;

/// What of that commands may count on, in bytes.
pub(crate) fn usable_transaction_bytes(configuration: &Configuration) -> usize {
    let bytes = usize::try_from(transaction_bytes(configuration)).unwrap_or(0);
    bytes / 100 * (100 - TRANSACTION_SLACK_PERCENT)
}

/// Snapshots besides one for each connection.
const SPARE_TRANSACTIONS: u32 = 32;
/// Steps by which merges give way to clients: measured on two processors beside 50 clients,
/// the slowest hundredth of SETs took 1.6 to 2.5 rather than 3.2 to 3.4 ms; with more steps
/// it was no better.
const MERGE_NICENESS: u8 = 5;

/// Opens the database, and makes it where there is none.
pub(crate) fn open(configuration: &Configuration) -> Result<Database, ServiceError> {
    let database = &configuration.database;
    std::fs::create_dir_all(&database.path).map_err(|error| ServiceError::Directory {
        path: database.path.clone(),
        error,
    })?;
    let limits = &configuration.limits;
    let mut builder = Database::builder()
        .cache_bytes(database.cache_bytes)
        .memtable_bytes(database.memtable_bytes)
        .memtables(database.memtables)
        .transaction_bytes(transaction_bytes(configuration))
        .transactions(limits.active_transactions_max + SPARE_TRANSACTIONS)
        .machine(wishes(configuration))
        .merge_threads(database.compaction_threads)
        .merge_niceness(MERGE_NICENESS)
        .durability(configuration.durability.wal_sync_mode.into());
    if let Some(bytes) = database.max_memory_bytes {
        builder = builder.max_memory_bytes(bytes);
    }
    let compression: Compression = configuration.performance.compression.into();
    let created = builder
        .clone()
        .page_bytes(database.page_bytes)
        .compression(compression);
    // One that is there keeps what it was created with.
    let opened = match builder.create(false).open(&database.path) {
        Err(error) if error.is_not_found() => created.open(&database.path),
        opened => opened,
    }?;
    let found = opened.statistics();
    if found.page_bytes != database.page_bytes {
        tracing::warn!(
            page_bytes = found.page_bytes,
            configured = database.page_bytes,
            "database.page_size counts only when a database is created; this one keeps its own"
        );
    }
    if found.compression != compression {
        tracing::warn!(
            compression = %found.compression,
            configured = %compression,
            "performance.compression_type counts only when a database is created; this one keeps its own"
        );
    }
    Ok(opened)
}

/// Has an open database do as the settings say, as far as that may change.
pub(crate) fn apply(database: &Database, configuration: &Configuration) {
    let pages = configuration.performance.prefetch_pages;
    database.set_read_ahead(pages.unwrap_or(0));
    database.set_sweep_interval(configuration.database.version_cleanup_interval);
    let interval = configuration.durability.checkpoint_interval;
    database.set_checkpoint_interval(Some(interval));
}

/// What the settings wish of the machine for the database.
fn wishes(configuration: &Configuration) -> MachineWishes {
    let service = &configuration.service;
    MachineWishes {
        huge_pages: match service.huge_pages {
            HugePages::Off => lightning_db::HugePages::Off,
            HugePages::Try => lightning_db::HugePages::Try,
            HugePages::On => lightning_db::HugePages::Only,
        },
        memory_nodes: match &service.numa {
            Numa::Off => MemoryNodes::System,
            Numa::Interleave => MemoryNodes::Interleaved,
            Numa::Nodes(numbers) => MemoryNodes::Only(numbers.clone()),
        },
        prefault: service.prefault,
        direct_io: service.direct_io,
    }
}
