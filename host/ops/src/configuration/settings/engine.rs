//! Settings of the engine: the data and its memory, speed, durability.

use super::Section;
use crate::configuration::setting::{DefaultValue, Effect, Kind, Setting};

pub(super) const DATABASE: Section = Section {
    name: "database",
    documentation: "The data, its memory, and where clients reach it.",
    settings: &[
        Setting {
            section: "database",
            name: "path",
            also_in: &[],
            variables: &["LIGHTNING_DB_PATH"],
            kind: Kind::Path,
            default: DefaultValue::Derived(
                "`lightning-db/data` in the user's data directory: `$XDG_DATA_HOME`, or \
                 `~/.local/share`",
            ),
            effect: Effect::Restart,
            documentation: "The directory of the data; it is made where there is none.",
        },
        Setting {
            section: "database",
            name: "bind",
            also_in: &[],
            variables: &[],
            kind: Kind::Addresses,
            default: DefaultValue::Text("127.0.0.1"),
            effect: Effect::Restart,
            documentation: "The addresses on which clients are served; `0.0.0.0` and `::` mean \
                            all of this machine's. Others than loopback ones are refused unless \
                            clients have to log in, or `security.allow_unauthenticated` is \
                            written.",
        },
        Setting {
            section: "database",
            name: "port",
            also_in: &[],
            // Not LIGHTNING_DB_PORT: Kubernetes sets that to `tcp://…` in every pod
            // beside a service named lightning-db.
            variables: &[],
            kind: Kind::Integer {
                least: 0,
                most: 65_535,
                unit: "",
            },
            default: DefaultValue::Integer(7_379),
            effect: Effect::Restart,
            documentation: "The port on which clients are served over the Redis protocol; with 0 \
                            the system chooses a free one, and the log says which.",
        },
        Setting {
            section: "database",
            name: "databases",
            also_in: &[],
            variables: &["LIGHTNING_DB_DATABASES"],
            kind: Kind::Integer {
                least: 1,
                most: 1_024,
                unit: "databases",
            },
            default: DefaultValue::Integer(16),
            effect: Effect::Restart,
            documentation: "How many numbered databases SELECT reaches. Lowering it hides the \
                            data of those above, and keeps it.",
        },
        Setting {
            section: "database",
            name: "page_size",
            also_in: &[],
            variables: &["LIGHTNING_DB_PAGE_SIZE"],
            kind: Kind::PowerOfTwo {
                least: 512,
                most: 65_536,
                unit: "bytes",
            },
            default: DefaultValue::Integer(4_096),
            effect: Effect::Creation,
            documentation: "The size of a page. Larger ones allow longer keys and suit long \
                            values and slow disks; a single small read or change costs more.",
        },
        Setting {
            section: "database",
            name: "cache_size_mb",
            also_in: &["performance"],
            variables: &["LIGHTNING_DB_CACHE_SIZE_MB"],
            kind: Kind::Integer {
                least: 1,
                most: 1_048_576,
                unit: "MiB",
            },
            default: DefaultValue::Integer(256),
            effect: Effect::Restart,
            documentation: "Memory for pages that were read. Reads outside of it go to the disk; \
                            it is taken as it is used, and never given back.",
        },
        Setting {
            section: "database",
            name: "max_memory_mb",
            also_in: &["performance"],
            variables: &["LIGHTNING_DB_MAX_MEMORY_MB"],
            kind: Kind::Integer {
                least: 0,
                most: 1_048_576,
                unit: "MiB",
            },
            default: DefaultValue::Integer(0),
            effect: Effect::Restart,
            documentation: "The most memory that the engine may use, all in all. The service \
                            doesn't start with settings that need more; 0 stands for what the \
                            other settings need.",
        },
        Setting {
            section: "database",
            name: "use_optimized_page_manager",
            also_in: &["performance"],
            variables: &["LIGHTNING_DB_USE_OPTIMIZED_PAGE_MANAGER"],
            kind: Kind::Boolean,
            default: DefaultValue::Boolean(false),
            effect: Effect::Restart,
            documentation: "Prepares the memory at start: huge pages where the system has them, \
                            and all of it touched, unless `service.huge_pages` and \
                            `service.prefault` are written. No request waits for memory; the \
                            start takes longer, and the memory is taken at once.",
        },
        Setting {
            section: "database",
            name: "lsm_memtable_size_mb",
            also_in: &["performance"],
            variables: &["LIGHTNING_DB_LSM_MEMTABLE_SIZE_MB"],
            kind: Kind::Integer {
                least: 1,
                most: 2_048,
                unit: "MiB",
            },
            default: DefaultValue::Integer(32),
            effect: Effect::Restart,
            documentation: "The size of one write buffer, of which there are three. Larger ones \
                            write less to the disk for the same changes; they take memory, and \
                            recovery after a crash reads more.",
        },
        Setting {
            section: "database",
            name: "compaction_threads",
            also_in: &["performance"],
            variables: &["LIGHTNING_DB_COMPACTION_THREADS"],
            kind: Kind::Integer {
                least: 1,
                most: 64,
                unit: "threads",
            },
            default: DefaultValue::Integer(1),
            effect: Effect::Restart,
            documentation: "Threads that merge write buffers into the data. The first merges; the \
                            others read what it comes to, check it, and restore it where it is \
                            compressed. More of them merge faster where data are larger than the \
                            cache; they take processors from clients, and an eighth of the cache \
                            while a merge runs.",
        },
        Setting {
            section: "database",
            name: "version_cleanup_interval_sec",
            also_in: &["performance"],
            variables: &["LIGHTNING_DB_VERSION_CLEANUP_INTERVAL_SEC"],
            kind: Kind::Integer {
                least: 1,
                most: 86_400,
                unit: "seconds",
            },
            default: DefaultValue::Integer(60),
            effect: Effect::Reload,
            documentation: "How often expired entries are removed from the data at most; they \
                            aren't seen before either, but are counted, and take room. Shorter \
                            gives space back sooner, and reads and writes more in the \
                            background. Old versions that no reader needs go with each merge.",
        },
    ],
};

pub(super) const PERFORMANCE: Section = Section {
    name: "performance",
    documentation: "Speed against other costs.",
    settings: &[
        Setting {
            section: "performance",
            name: "compression_enabled",
            also_in: &["database"],
            variables: &["LIGHTNING_DB_COMPRESSION_ENABLED"],
            kind: Kind::Boolean,
            default: DefaultValue::Boolean(false),
            effect: Effect::Creation,
            documentation: "Whether pages are compressed as `compression_type` says. Saves space \
                            and writing; costs processor time when a page is written, and when \
                            it is read from the disk, and 224 KiB more of planned memory for \
                            each GiB that the file may have. Values longer than a quarter page \
                            are not compressed: a larger `page_size` reaches more of them.",
        },
        Setting {
            section: "performance",
            name: "compression_type",
            also_in: &["database"],
            variables: &["LIGHTNING_DB_COMPRESSION_TYPE"],
            kind: Kind::Choice(&["none", "lz4", "zstd"]),
            default: DefaultValue::Text("lz4"),
            effect: Effect::Creation,
            documentation: "How pages are compressed: lz4 is fast, zstd makes them smaller and \
                            takes two to five times the processor time. A database keeps what it \
                            was created with; dump and load one to change that.",
        },
        Setting {
            section: "performance",
            name: "write_batch_size",
            also_in: &["database"],
            variables: &["LIGHTNING_DB_WRITE_BATCH_SIZE"],
            kind: Kind::Integer {
                least: 1,
                most: 100_000,
                unit: "commands",
            },
            default: DefaultValue::Integer(1_000),
            effect: Effect::Reload,
            documentation: "The most writing commands of one client that are committed together, \
                            when it has sent them without waiting. More cost less each; the \
                            first of them is answered later.",
        },
        Setting {
            section: "performance",
            name: "prefetch_enabled",
            also_in: &["database"],
            variables: &["LIGHTNING_DB_PREFETCH_ENABLED"],
            kind: Kind::Boolean,
            default: DefaultValue::Boolean(false),
            effect: Effect::Reload,
            documentation: "Whether scans have the system read pages before they get there. \
                            Speeds up long scans of what isn't in memory; short ones have pages \
                            read for nothing. Refused with `service.direct_io`, which leaves no \
                            cache to read into.",
        },
        Setting {
            section: "performance",
            name: "prefetch_distance",
            also_in: &["database"],
            variables: &["LIGHTNING_DB_PREFETCH_DISTANCE"],
            kind: Kind::Integer {
                least: 1,
                most: 1_024,
                unit: "pages",
            },
            default: DefaultValue::Integer(8),
            effect: Effect::Reload,
            documentation: "How far scans read ahead with `prefetch_enabled`, up to the end of a \
                            branch of some hundred pages. Farther suits slow disks, and takes \
                            that much of the system's cache for each scan.",
        },
    ],
};

pub(super) const DURABILITY: Section = Section {
    name: "durability",
    documentation: "What a crash may take, and what is done to find damage.",
    settings: &[
        Setting {
            section: "durability",
            name: "wal_sync_mode",
            also_in: &["performance"],
            variables: &["LIGHTNING_DB_WAL_SYNC_MODE"],
            kind: Kind::Choice(&["sync", "periodic", "async"]),
            default: DefaultValue::Text("sync"),
            effect: Effect::Restart,
            documentation: "When a write is answered: with sync when it survives a power cut, \
                            which costs a flush of the disk that clients share; with periodic \
                            and async when it survives the end of the process. A power cut then \
                            takes the writes of the last `periodic_sync_ms`, or those that the \
                            system had not written yet; never some from between.",
        },
        Setting {
            section: "durability",
            name: "periodic_sync_ms",
            also_in: &["performance"],
            variables: &["LIGHTNING_DB_PERIODIC_SYNC_MS"],
            kind: Kind::Integer {
                least: 1,
                most: 60_000,
                unit: "ms",
            },
            default: DefaultValue::Integer(100),
            effect: Effect::Restart,
            documentation: "How often the log is flushed with `wal_sync_mode = \"periodic\"`. \
                            Shorter loses less in a power cut, and flushes the disk more often.",
        },
        Setting {
            section: "durability",
            name: "enable_safety_guards",
            also_in: &["performance"],
            variables: &["LIGHTNING_DB_ENABLE_SAFETY_GUARDS"],
            kind: Kind::Boolean,
            default: DefaultValue::Boolean(true),
            effect: Effect::Reload,
            documentation: "Refuses what may need more room (SET, but not DEL) with MISCONF while \
                            the disk has little left, before it is full, so that deletes and \
                            merges have some. Costs the use of that last room: twice the write \
                            buffers and 64 MiB, at most a tenth of the disk; and a look at the \
                            disk twice a second.",
        },
        Setting {
            section: "durability",
            name: "enable_paranoia_checks",
            also_in: &["performance"],
            variables: &["LIGHTNING_DB_ENABLE_PARANOIA_CHECKS"],
            kind: Kind::Boolean,
            default: DefaultValue::Boolean(false),
            effect: Effect::Reload,
            documentation: "Reads and checks all pages of the data in the background, over and \
                            over, so that damage is found before it is needed: it is logged, and \
                            counts in `lightning_db_errors_total`. Costs 2 MiB a second of \
                            reading, and their place in the system's cache.",
        },
        Setting {
            section: "durability",
            name: "checkpoint_interval_sec",
            also_in: &["performance"],
            variables: &["LIGHTNING_DB_CHECKPOINT_INTERVAL_SEC"],
            kind: Kind::Integer {
                least: 1,
                most: 86_400,
                unit: "seconds",
            },
            default: DefaultValue::Integer(300),
            effect: Effect::Reload,
            documentation: "After how long what is in the log is written to the page file, though \
                            writes go on. Shorter makes recovery after a crash faster, and \
                            writes more: what changes again and again is written each time.",
        },
    ],
};
