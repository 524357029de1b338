//! Everything that is known of the running service, taken at once: what series, subjects
//! and checks of health are made of, so that all of them say the same.

use super::samples::{Counters, Samples};
use crate::client::SharedClient;
use crate::observe::CommandFigures;
use crate::server::Server;
use lightning_db::{FileSystemRoom, MachineMemory, ProcessUse, Statistics};
use lightning_ops::configuration::Configuration;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// What is known of the running service.
#[derive(Debug, Clone)]
pub struct Figures {
    /// Counters since the start.
    pub total: Counters,
    /// Counters of the last five minutes.
    pub window: Counters,
    /// How long that window is.
    pub window_length: Duration,
    /// Whether durations are measured.
    pub is_measuring: bool,
    /// Since when the service runs.
    pub uptime: Duration,
    /// What each command has cost.
    pub by_command: BTreeMap<&'static str, CommandFigures>,
    /// The database's own figures.
    pub database: Statistics,
    /// How long the oldest snapshot has held back what was replaced.
    pub snapshot_age: Duration,
    /// How background work fails, where it does.
    pub background_failure: Option<String>,
    /// Whether a flush has failed, so that writes are refused.
    pub is_poisoned: bool,
    /// Pages of the data that were read to find damage, and how often all of them.
    pub scrubbed: (u64, u64),
    /// What the process takes.
    pub process: ProcessUse,
    /// Memory of the machine; `None` where it isn't known.
    pub machine: Option<MachineMemory>,
    /// The machine's processors, as far as the process may use them.
    pub processors: u64,
    /// Room of the data's file system; `None` where it isn't known.
    pub room: Option<FileSystemRoom>,
    /// What the data take on the disk.
    pub data: DataSize,
    /// The directory of the data.
    pub data_path: PathBuf,
    /// The clients.
    pub clients: ClientFigures,
    /// What there may be at most.
    pub limits: Limits,
}

/// Bytes of the data's files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DataSize {
    /// Of the page file and what stands beside it.
    pub pages_bytes: u64,
    /// Of the log.
    pub log_bytes: u64,
}

impl DataSize {
    /// Of all.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.pages_bytes + self.log_bytes
    }
}

/// Figures of the clients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClientFigures {
    /// How many there are.
    pub connected: u64,
    /// How many have a transaction under way.
    pub in_transaction: u64,
    /// How many listen to channels.
    pub subscribed: u64,
    /// How many have come.
    pub accepted: u64,
    /// How many were turned away.
    pub rejected: u64,
    /// Bytes that they have sent.
    pub input_bytes: u64,
    /// Bytes that they were sent.
    pub output_bytes: u64,
    /// Bytes that wait to be run, or to be taken.
    pub buffered_bytes: u64,
    /// How long the one that has been silent longest has been.
    pub idle_longest: Duration,
}

/// What there may be at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Whether that was configured; else it is the machine's.
    pub is_memory_configured: bool,
    /// Clients.
    pub connections: u64,
    /// Transactions that are open at once.
    pub transactions: u64,
    /// Memtables.
    pub memtables: u64,
    /// Bytes of the page cache.
    pub cache_bytes: u64,
    /// Bytes of a key.
    pub key_bytes: u64,
    /// Bytes of a value.
    pub value_bytes: u64,
    /// Bytes of what a client has sent and not had run.
    pub query_bytes: u64,
    /// Bytes of replies that wait for a client.
    pub output_bytes: u64,
    /// How long a request may take.
    pub request_timeout: Option<Duration>,
}

impl Figures {
    /// Takes them. Looks at files: not for a thread that serves clients.
    #[must_use]
    pub fn take(server: &Server, samples: &Samples) -> Self {
        let now = Instant::now();
        let settings = server.settings();
        let configuration = &settings.configuration;
        let database = server.store().database();
        let statistics = database.statistics();
        let total = Counters::now(server.metrics(), &statistics);
        let (window_length, window) = samples.window(now, &total);
        let machine = lightning_db::machine_memory().ok();
        Self {
            total,
            window,
            window_length,
            is_measuring: server.metrics().is_measuring(),
            uptime: server.started.elapsed(),
            by_command: server.metrics().by_command().figures(),
            snapshot_age: samples.snapshot_age(now, &statistics),
            background_failure: database
                .background_failure()
                .map(|failure| failure.to_string()),
            is_poisoned: database.is_poisoned(),
            scrubbed: server.metrics().scrubbed(),
            process: lightning_db::process_use().unwrap_or_default(),
            machine,
            processors: std::thread::available_parallelism()
                .map_or(1, |count| u64::try_from(count.get()).unwrap_or(u64::MAX)),
            room: lightning_db::file_system_room(database.path()).ok(),
            data: data_size(database.path()),
            data_path: database.path().to_owned(),
            clients: clients_of(server),
            limits: limits_of(server, configuration, machine),
            database: statistics,
        }
    }

    /// The share of operations that found all pages in memory, within the window; since
    /// the start where there were none within it; `None` where there were none at all.
    #[must_use]
    pub fn cache_hit_ratio(&self) -> Option<f64> {
        [&self.window, &self.total]
            .into_iter()
            .find_map(|counters| {
                let operations = counters.operation_count();
                let hits = operations.saturating_sub(counters.misses);
                (operations > 0).then(|| ratio(hits, operations))
            })
    }

    /// What happened in a second of the window.
    #[must_use]
    pub fn per_second(&self, count: u64) -> f64 {
        count as f64 / self.window_length.as_secs_f64().max(1e-3)
    }
}

/// A share, where the whole may be nothing.
#[must_use]
pub fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

fn limits_of(
    server: &Server,
    configuration: &Configuration,
    machine: Option<MachineMemory>,
) -> Limits {
    let database = &configuration.database;
    let limits = &configuration.limits;
    let store = server.store().limits();
    let of_machine = || machine.map_or(0, |machine| machine.limit_bytes);
    Limits {
        memory_bytes: database.max_memory_bytes.unwrap_or_else(of_machine),
        is_memory_configured: database.max_memory_bytes.is_some(),
        connections: server.connections_max().into(),
        transactions: limits.active_transactions_max.into(),
        memtables: database.memtables.into(),
        cache_bytes: database.cache_bytes,
        key_bytes: u64::try_from(store.key_bytes_max).unwrap_or(u64::MAX),
        value_bytes: server.string_bytes_max(),
        query_bytes: limits.query_bytes_max,
        output_bytes: limits.client_output_bytes_max,
        request_timeout: limits.request_timeout,
    }
}

fn clients_of(server: &Server) -> ClientFigures {
    let clients = server.clients();
    let list = clients.list();
    let count = |is_one: fn(&SharedClient) -> bool| {
        let found = list.iter().filter(|client: &&Arc<_>| is_one(client));
        u64::try_from(found.count()).unwrap_or(u64::MAX)
    };
    let buffered = list.iter().map(|client| {
        let bytes = client.input_bytes.load(Ordering::Relaxed)
            + client.output_bytes.load(Ordering::Relaxed);
        u64::try_from(bytes).unwrap_or(u64::MAX)
    });
    let idle = list.iter().map(|client| client.idle_seconds());
    ClientFigures {
        connected: count(|_| true),
        in_transaction: count(|client| client.queued.load(Ordering::Relaxed) != usize::MAX),
        subscribed: count(|client| client.subscriptions.load(Ordering::Relaxed) > 0),
        accepted: clients.accepted.load(Ordering::Relaxed),
        rejected: clients.rejected.load(Ordering::Relaxed),
        input_bytes: server.metrics().input_bytes.load(Ordering::Relaxed),
        output_bytes: server.metrics().output_bytes.load(Ordering::Relaxed),
        buffered_bytes: buffered.sum(),
        idle_longest: Duration::from_secs(idle.max().unwrap_or(0)),
    }
}

/// Bytes of the files of a data directory; what can't be seen counts nothing.
#[must_use]
pub fn data_size(directory: &Path) -> DataSize {
    let bytes_in = |folder: &Path| -> u64 {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let files = entries.filter_map(|entry| entry.metadata().ok());
        files
            .filter(|file| file.is_file())
            .map(|file| file.len())
            .sum()
    };
    DataSize {
        pages_bytes: bytes_in(directory),
        log_bytes: bytes_in(&directory.join("wal")),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A service that is well and does little.
    pub(crate) fn idle() -> Figures {
        Figures {
            total: Counters::default(),
            window: Counters::default(),
            window_length: Duration::from_secs(300),
            is_measuring: true,
            uptime: Duration::from_secs(3600),
            by_command: BTreeMap::new(),
            database: Statistics {
                engine: lightning_db::EngineStatistics::default(),
                page_bytes: 4096,
                compression: lightning_db::Compression::None,
                unit_bytes: 4_096,
                pages_ahead: 0,
                key_bytes_max: 1000,
                value_bytes_max: 100_000,
                slowdowns: 0,
                slowdown_time: Duration::ZERO,
            },
            snapshot_age: Duration::ZERO,
            background_failure: None,
            is_poisoned: false,
            scrubbed: (0, 0),
            process: ProcessUse {
                resident_bytes: 100 << 20,
                open_files: 20,
                open_files_max: Some(65_536),
                ..ProcessUse::default()
            },
            machine: Some(MachineMemory {
                limit_bytes: 4 << 30,
                available_bytes: 3 << 30,
            }),
            processors: 2,
            room: Some(FileSystemRoom {
                total_bytes: 100 << 30,
                available_bytes: 60 << 30,
            }),
            data: DataSize {
                pages_bytes: 10 << 20,
                log_bytes: 2 << 20,
            },
            data_path: "/var/lib/lightning-db/data".into(),
            clients: ClientFigures::default(),
            limits: Limits {
                memory_bytes: 1 << 30,
                is_memory_configured: true,
                connections: 100,
                transactions: 1000,
                memtables: 4,
                cache_bytes: 512 << 20,
                ..Limits::default()
            },
        }
    }

    #[test]
    fn the_hit_ratio_is_that_of_the_window() {
        let mut figures = idle();
        assert_eq!(figures.cache_hit_ratio(), None);
        figures.total.operations[0].counts[0] = 100;
        figures.total.misses = 50;
        assert_eq!(figures.cache_hit_ratio(), Some(0.5));
        figures.window.operations[0].counts[0] = 10;
        figures.window.misses = 1;
        assert_eq!(figures.cache_hit_ratio(), Some(0.9));
    }
}
