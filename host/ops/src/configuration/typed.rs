//! The values as the service uses them: durations, bytes, words as enums.

use super::event_classes::EventClasses;
use super::load::Entry;
use super::value::{self, Value};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

const MEBIBYTE: u64 = 1 << 20;

/// The configuration of the service. What each field does, its range and its
/// default stand in the table of settings (`settings`), and on the page that
/// `lightning-cli config reference` prints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configuration {
    /// The data, its memory, and where clients reach it.
    pub database: DatabaseSettings,
    /// Speed against other costs.
    pub performance: PerformanceSettings,
    /// What a crash may take, and what is done to find damage.
    pub durability: DurabilitySettings,
    /// The service's own log.
    pub logging: LoggingSettings,
    /// Figures, health, and what was slow.
    pub monitoring: MonitoringSettings,
    /// What clients may take at most.
    pub limits: LimitsSettings,
    /// Who may come in, and by what way.
    pub security: SecuritySettings,
    /// How lightning-cli reaches the service.
    pub admin: AdminSettings,
    /// What the service asks of the machine.
    pub service: ServiceSettings,
}

/// `[database]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseSettings {
    /// The directory of the data.
    pub path: PathBuf,
    /// The addresses on which clients are served; at least one.
    pub bind: Vec<IpAddr>,
    /// The port for clients; 0 for any.
    pub port: u16,
    /// How many numbered databases there are.
    pub databases: u32,
    /// Bytes of a page, where a database is created.
    pub page_bytes: u32,
    /// Memory for pages that were read.
    pub cache_bytes: u64,
    /// The most memory that the engine may use; `None` for what its other settings need.
    pub max_memory_bytes: Option<u64>,
    /// Whether the cache's memory is prepared at start; in
    /// [`ServiceSettings::huge_pages`] and [`ServiceSettings::prefault`] already.
    pub use_optimized_page_manager: bool,
    /// Bytes of one memtable.
    pub memtable_bytes: u32,
    /// How many memtables there are.
    pub memtables: u32,
    /// Threads that compress and check pages of merges.
    pub compaction_threads: u32,
    /// How often expired entries and old versions are removed.
    pub version_cleanup_interval: Duration,
}

/// `[performance]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PerformanceSettings {
    /// How pages are compressed.
    pub compression: Compression,
    /// The most writing commands of a pipeline that are committed together.
    pub write_batch_commands_max: u32,
    /// How far scans read ahead; `None` where they don't.
    pub prefetch_pages: Option<u32>,
}

/// How pages are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// They aren't.
    None,
    /// LZ4.
    Lz4,
    /// Zstandard.
    Zstd,
}

impl From<Compression> for lightning_db::Compression {
    fn from(compression: Compression) -> Self {
        match compression {
            Compression::None => Self::None,
            Compression::Lz4 => Self::Lz4,
            Compression::Zstd => Self::Zstd,
        }
    }
}

/// `[durability]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DurabilitySettings {
    /// When a write is answered.
    pub wal_sync_mode: WalSyncMode,
    /// Whether writes are refused while the disk has little room left.
    pub enable_safety_guards: bool,
    /// Whether all pages are read and checked in the background.
    pub enable_paranoia_checks: bool,
    /// After how long what is in the log is written to the page file.
    pub checkpoint_interval: Duration,
}

/// When a write is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WalSyncMode {
    /// When it survives a power cut.
    Sync,
    /// When it survives the end of the process; a power cut takes at most the writes of
    /// this long.
    Periodic(Duration),
    /// When it survives the end of the process.
    Async,
}

impl From<WalSyncMode> for lightning_db::Durability {
    fn from(mode: WalSyncMode) -> Self {
        match mode {
            WalSyncMode::Sync => Self::Sync,
            WalSyncMode::Periodic(period) => Self::Periodic(period),
            WalSyncMode::Async => Self::Async,
        }
    }
}

/// `[logging]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggingSettings {
    /// What is logged: this and what is graver.
    pub level: LogLevel,
    /// What the lines look like.
    pub format: LogFormat,
    /// The file; `None` for standard error.
    pub file: Option<PathBuf>,
    /// How large the file grows before another is begun.
    pub file_bytes_max: u64,
    /// How many files are kept, the present one included.
    pub files_max: u32,
}

/// How grave a message is, the gravest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Something failed.
    Error,
    /// Something may fail.
    Warn,
    /// What happened.
    Info,
    /// What was done.
    Debug,
    /// How it was done.
    Trace,
}

/// What the lines of the log look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// A JSON object on each.
    Json,
}

/// `[monitoring]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MonitoringSettings {
    /// The addresses on which metrics and health are served; at least one.
    pub bind: Vec<IpAddr>,
    /// Whether durations are measured.
    pub metrics_enabled: bool,
    /// The port of `/metrics`; 0 for any.
    pub metrics_port: u16,
    /// The port of `/health`; 0 for any.
    pub health_check_port: u16,
    /// Whether `/metrics` is served.
    pub prometheus_export: bool,
    /// From how long on a command is slow; `None` for never.
    pub slowlog_threshold: Option<Duration>,
    /// How many slow commands are remembered.
    pub slowlog_length_max: u32,
    /// From how long on an event is remembered; `None` for none.
    pub latency_monitor_threshold: Option<Duration>,
    /// Which events on keys are published.
    pub notify_keyspace_events: EventClasses,
}

/// `[limits]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitsSettings {
    /// Transactions open at once.
    pub active_transactions_max: u32,
    /// Clients connected at once.
    pub connections_max: u32,
    /// Clients of one address; `None` for as many as there may be at all.
    pub connections_per_address_max: Option<u32>,
    /// Clients that have not logged in yet.
    pub unauthenticated_connections_max: u32,
    /// How long a command may take; `None` for as long as it takes.
    pub request_timeout: Option<Duration>,
    /// After how long without a command a client is let go; `None` for never.
    pub idle_timeout: Option<Duration>,
    /// The longest command.
    pub query_bytes_max: u64,
    /// How many bytes of answers may wait for one client.
    pub client_output_bytes_max: u64,
    /// Keys that are tracked for clients.
    pub tracked_keys_max: u64,
}

/// `[security]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecuritySettings {
    /// The file with the password.
    pub password_file: Option<PathBuf>,
    /// The file with the users.
    pub acl_file: Option<PathBuf>,
    /// Whether clients of other machines may come in without a password.
    pub allow_unauthenticated: bool,
    /// Whether clients may use DEBUG.
    pub allow_debug: bool,
    /// How TLS is spoken; `None` where it isn't.
    pub tls: Option<TlsSettings>,
}

/// How TLS is spoken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// The certificate and those that signed it, as PEM.
    pub certificate_file: PathBuf,
    /// Its private key, as PEM.
    pub key_file: PathBuf,
    /// A port of its own; `None` where `database.port` speaks TLS only.
    pub port: Option<u16>,
}

/// `[admin]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminSettings {
    /// The Unix socket for lightning-cli.
    pub socket: PathBuf,
}

/// `[service]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSettings {
    /// Whether the engine's memory consists of huge pages.
    pub huge_pages: HugePages,
    /// Where the engine's memory lies.
    pub numa: Numa,
    /// The processors that threads may run on, ascending; `None` for all.
    pub cpu_affinity: Option<Vec<u32>>,
    /// Whether pages are read and written past the system's cache.
    pub direct_io: bool,
    /// Whether all planned memory is touched at start.
    pub prefault: bool,
}

/// Whether memory consists of huge pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HugePages {
    /// No.
    Off,
    /// Where there are some.
    Try,
    /// Yes, or the service doesn't start.
    On,
}

/// Where memory lies on a machine with several memory nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Numa {
    /// Where the system puts it.
    Off,
    /// Spread over all nodes.
    Interleave,
    /// On these nodes only, ascending.
    Nodes(Vec<u32>),
}

impl Configuration {
    /// The typed values of entries that were read and checked.
    pub(super) fn of(entries: &[Entry]) -> Self {
        Typed { entries }.configuration()
    }
}

/// Looks values up. The entries are complete and checked against the same table, so
/// that a name or type that doesn't fit is a fault of this file; a test reads all.
pub(super) struct Typed<'a> {
    pub(super) entries: &'a [Entry],
}

impl Typed<'_> {
    fn configuration(&self) -> Configuration {
        Configuration {
            database: self.database(),
            performance: self.performance(),
            durability: self.durability(),
            logging: self.logging(),
            monitoring: self.monitoring(),
            limits: self.limits(),
            security: self.security(),
            admin: AdminSettings {
                socket: self.path("admin", "socket").unwrap_or_default(),
            },
            service: self.service(),
        }
    }

    fn database(&self) -> DatabaseSettings {
        let number = |name| self.number("database", name);
        DatabaseSettings {
            path: self.path("database", "path").unwrap_or_default(),
            bind: self.addresses("database", "bind"),
            port: self.port("database", "port"),
            databases: self.small("database", "databases"),
            page_bytes: self.small("database", "page_size"),
            cache_bytes: number("cache_size_mb") * MEBIBYTE,
            max_memory_bytes: unless_zero(number("max_memory_mb")).map(|size| size * MEBIBYTE),
            use_optimized_page_manager: self.is_on("database", "use_optimized_page_manager"),
            memtable_bytes: u32::try_from(number("lsm_memtable_size_mb") * MEBIBYTE)
                .unwrap_or(u32::MAX),
            memtables: super::settings::MEMTABLES,
            compaction_threads: self.small("database", "compaction_threads"),
            version_cleanup_interval: Duration::from_secs(number("version_cleanup_interval_sec")),
        }
    }

    fn performance(&self) -> PerformanceSettings {
        let compression = match self.text("performance", "compression_type") {
            _ if !self.is_on("performance", "compression_enabled") => Compression::None,
            "lz4" => Compression::Lz4,
            "zstd" => Compression::Zstd,
            _ => Compression::None,
        };
        let distance = self.small("performance", "prefetch_distance");
        let prefetches = self.is_on("performance", "prefetch_enabled");
        PerformanceSettings {
            compression,
            write_batch_commands_max: self.small("performance", "write_batch_size"),
            prefetch_pages: prefetches.then_some(distance),
        }
    }

    fn durability(&self) -> DurabilitySettings {
        let period = Duration::from_millis(self.number("durability", "periodic_sync_ms"));
        DurabilitySettings {
            wal_sync_mode: match self.text("durability", "wal_sync_mode") {
                "periodic" => WalSyncMode::Periodic(period),
                "async" => WalSyncMode::Async,
                _ => WalSyncMode::Sync,
            },
            enable_safety_guards: self.is_on("durability", "enable_safety_guards"),
            enable_paranoia_checks: self.is_on("durability", "enable_paranoia_checks"),
            checkpoint_interval: Duration::from_secs(
                self.number("durability", "checkpoint_interval_sec"),
            ),
        }
    }

    fn logging(&self) -> LoggingSettings {
        LoggingSettings {
            level: match self.text("logging", "level") {
                "error" => LogLevel::Error,
                "warn" => LogLevel::Warn,
                "debug" => LogLevel::Debug,
                "trace" => LogLevel::Trace,
                _ => LogLevel::Info,
            },
            format: match self.text("logging", "format") {
                "json" => LogFormat::Json,
                _ => LogFormat::Text,
            },
            file: self.path("logging", "file"),
            file_bytes_max: self.number("logging", "max_size_mb") * MEBIBYTE,
            files_max: self.small("logging", "max_files"),
        }
    }

    fn monitoring(&self) -> MonitoringSettings {
        // -1 stands for never.
        let slow_us = u64::try_from(self.integer("monitoring", "slowlog_log_slower_than_us"));
        let latency_ms = self.number("monitoring", "latency_monitor_threshold_ms");
        MonitoringSettings {
            bind: self.addresses("monitoring", "bind"),
            metrics_enabled: self.is_on("monitoring", "metrics_enabled"),
            metrics_port: self.port("monitoring", "metrics_port"),
            health_check_port: self.port("monitoring", "health_check_port"),
            prometheus_export: self.is_on("monitoring", "prometheus_export"),
            slowlog_threshold: slow_us.ok().map(Duration::from_micros),
            slowlog_length_max: self.small("monitoring", "slowlog_max_len"),
            latency_monitor_threshold: unless_zero(latency_ms).map(Duration::from_millis),
            notify_keyspace_events: self.event_classes("monitoring", "notify_keyspace_events"),
        }
    }

    fn limits(&self) -> LimitsSettings {
        let seconds = |name| unless_zero(self.number("limits", name)).map(Duration::from_secs);
        let per_address = self.small("limits", "max_connections_per_address");
        LimitsSettings {
            active_transactions_max: self.small("limits", "max_active_transactions"),
            connections_max: self.small("limits", "max_connections"),
            connections_per_address_max: (per_address > 0).then_some(per_address),
            unauthenticated_connections_max: self
                .small("limits", "max_unauthenticated_connections"),
            request_timeout: seconds("request_timeout_sec"),
            idle_timeout: seconds("idle_timeout_sec"),
            query_bytes_max: self.number("limits", "max_query_bytes"),
            client_output_bytes_max: self.number("limits", "max_client_output_bytes"),
            tracked_keys_max: self.number("limits", "tracking_table_max_keys"),
        }
    }

    fn security(&self) -> SecuritySettings {
        let certificate_file = self.path("security", "tls_cert_file");
        let key_file = self.path("security", "tls_key_file");
        let port = self.port("security", "tls_port");
        SecuritySettings {
            password_file: self.path("security", "password_file"),
            acl_file: self.path("security", "acl_file"),
            allow_unauthenticated: self.is_on("security", "allow_unauthenticated"),
            allow_debug: self.is_on("security", "allow_debug"),
            tls: certificate_file
                .zip(key_file)
                .map(|(certificate_file, key_file)| TlsSettings {
                    certificate_file,
                    key_file,
                    port: (port > 0).then_some(port),
                }),
        }
    }

    fn service(&self) -> ServiceSettings {
        let is_prepared = self.is_on("database", "use_optimized_page_manager");
        let unwritten =
            |name| is_prepared && self.entry("service", name).origin == super::Origin::Default;
        ServiceSettings {
            huge_pages: match self.text("service", "huge_pages") {
                _ if unwritten("huge_pages") => HugePages::Try,
                "on" => HugePages::On,
                "try" => HugePages::Try,
                _ => HugePages::Off,
            },
            numa: match self.text("service", "numa") {
                "off" => Numa::Off,
                "interleave" => Numa::Interleave,
                nodes => value::number_set(nodes).map_or(Numa::Off, Numa::Nodes),
            },
            cpu_affinity: value::number_set(self.text("service", "cpu_affinity")),
            direct_io: self.is_on("service", "direct_io"),
            prefault: self.is_on("service", "prefault") || unwritten("prefault"),
        }
    }

    /// # Panics
    /// The table has no such setting.
    pub(super) fn entry(&self, section: &str, name: &str) -> &Entry {
        let found = self.entries.iter().find(|entry| {
            let setting = entry.setting;
            setting.section == section && setting.name == name
        });
        found.unwrap_or_else(|| panic!("no setting {section}.{name}"))
    }

    pub(super) fn is_on(&self, section: &str, name: &str) -> bool {
        matches!(self.entry(section, name).value, Value::Boolean(true))
    }

    fn integer(&self, section: &str, name: &str) -> i64 {
        match self.entry(section, name).value {
            Value::Integer(number) => number,
            _ => 0,
        }
    }

    /// A number that the table keeps from being negative.
    pub(super) fn number(&self, section: &str, name: &str) -> u64 {
        u64::try_from(self.integer(section, name)).unwrap_or(0)
    }

    /// A number that the table keeps below 2³².
    fn small(&self, section: &str, name: &str) -> u32 {
        u32::try_from(self.number(section, name)).unwrap_or(u32::MAX)
    }

    pub(super) fn port(&self, section: &str, name: &str) -> u16 {
        u16::try_from(self.number(section, name)).unwrap_or(u16::MAX)
    }

    fn text(&self, section: &str, name: &str) -> &str {
        match &self.entry(section, name).value {
            Value::Text(text) => text,
            _ => "",
        }
    }

    pub(super) fn path(&self, section: &str, name: &str) -> Option<PathBuf> {
        match &self.entry(section, name).value {
            Value::Text(text) => Some(text.into()),
            _ => None,
        }
    }

    pub(super) fn event_classes(&self, section: &str, name: &str) -> EventClasses {
        match &self.entry(section, name).value {
            Value::Text(text) => EventClasses::parse(text).unwrap_or_default(),
            _ => EventClasses::NONE,
        }
    }

    pub(super) fn addresses(&self, section: &str, name: &str) -> Vec<IpAddr> {
        value::addresses(self.text(section, name)).unwrap_or_default()
    }
}

fn unless_zero(number: u64) -> Option<u64> {
    (number > 0).then_some(number)
}
