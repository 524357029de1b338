//! Settings of operation: logs, figures, limits.

use super::Section;
use crate::configuration::setting::{DefaultValue, Effect, Kind, Setting};

pub(super) const LOGGING: Section = Section {
    name: "logging",
    documentation: "The service's own log.",
    settings: &[
        Setting {
            section: "logging",
            name: "level",
            also_in: &[],
            variables: &["LIGHTNING_DB_LOG_LEVEL"],
            kind: Kind::Choice(&["error", "warn", "info", "debug", "trace"]),
            default: DefaultValue::Text("info"),
            effect: Effect::Reload,
            documentation: "What is logged: this and what is graver. Debug and trace log each \
                            command, and slow the service down.",
        },
        Setting {
            section: "logging",
            name: "format",
            also_in: &[],
            variables: &["LIGHTNING_DB_LOG_FORMAT"],
            kind: Kind::Choice(&["text", "json"]),
            default: DefaultValue::Text("text"),
            effect: Effect::Restart,
            documentation: "Lines for people, or JSON, an object on each line.",
        },
        Setting {
            section: "logging",
            name: "file",
            also_in: &[],
            variables: &["LIGHTNING_DB_LOG_FILE"],
            kind: Kind::Path,
            default: DefaultValue::Unset,
            effect: Effect::Restart,
            documentation: "The file of the log; standard error where none is given.",
        },
        Setting {
            section: "logging",
            name: "max_size_mb",
            also_in: &[],
            variables: &["LIGHTNING_DB_LOG_MAX_SIZE_MB"],
            kind: Kind::Integer {
                least: 1,
                most: 65_536,
                unit: "MiB",
            },
            default: DefaultValue::Integer(100),
            effect: Effect::Restart,
            documentation: "How large the log's file grows before another is begun.",
        },
        Setting {
            section: "logging",
            name: "max_files",
            also_in: &[],
            variables: &["LIGHTNING_DB_LOG_MAX_FILES"],
            kind: Kind::Integer {
                least: 1,
                most: 1_000,
                unit: "files",
            },
            default: DefaultValue::Integer(10),
            effect: Effect::Restart,
            documentation: "How many files of the log are kept, the present one included; the \
                            oldest are removed.",
        },
    ],
};

pub(super) const MONITORING: Section = Section {
    name: "monitoring",
    documentation: "Figures, health, and what was slow.",
    settings: &[
        Setting {
            section: "monitoring",
            name: "bind",
            also_in: &[],
            variables: &[],
            kind: Kind::Addresses,
            default: DefaultValue::Text("127.0.0.1"),
            effect: Effect::Restart,
            documentation: "The addresses on which metrics and health are served. They are \
                            served to anybody who reaches them: figures, no data.",
        },
        Setting {
            section: "monitoring",
            name: "metrics_enabled",
            also_in: &[],
            variables: &["LIGHTNING_DB_METRICS_ENABLED"],
            kind: Kind::Boolean,
            default: DefaultValue::Boolean(true),
            effect: Effect::Restart,
            documentation: "Whether the durations of operations are measured. Costs two looks at \
                            the clock for each.",
        },
        Setting {
            section: "monitoring",
            name: "metrics_port",
            also_in: &[],
            variables: &["LIGHTNING_DB_METRICS_PORT"],
            kind: Kind::Integer {
                least: 0,
                most: 65_535,
                unit: "",
            },
            default: DefaultValue::Integer(9_090),
            effect: Effect::Restart,
            documentation: "The port of `/metrics`; with 0 the system chooses a free one, and \
                            the log says which.",
        },
        Setting {
            section: "monitoring",
            name: "health_check_port",
            also_in: &[],
            variables: &["LIGHTNING_DB_HEALTH_PORT", "LIGHTNING_DB_HEALTH_CHECK_PORT"],
            kind: Kind::Integer {
                least: 0,
                most: 65_535,
                unit: "",
            },
            default: DefaultValue::Integer(8_080),
            effect: Effect::Restart,
            documentation: "The port of `/health`, `/health/detailed` and the dashboard; with 0 \
                            the system chooses a free one, and the log says which.",
        },
        Setting {
            section: "monitoring",
            name: "prometheus_export",
            also_in: &[],
            variables: &["LIGHTNING_DB_PROMETHEUS_EXPORT"],
            kind: Kind::Boolean,
            default: DefaultValue::Boolean(true),
            effect: Effect::Restart,
            documentation: "Whether `/metrics` is served at `metrics_port`. The figures stay to \
                            be had by `lightning-cli` and INFO.",
        },
        Setting {
            section: "monitoring",
            name: "slowlog_log_slower_than_us",
            also_in: &[],
            variables: &["LIGHTNING_DB_SLOWLOG_LOG_SLOWER_THAN_US"],
            kind: Kind::Integer {
                least: -1,
                most: 3_600_000_000,
                unit: "µs",
            },
            default: DefaultValue::Integer(10_000),
            effect: Effect::Reload,
            documentation: "From how long on a command is slow and listed by SLOWLOG; 0 lists \
                            all, -1 none.",
        },
        Setting {
            section: "monitoring",
            name: "slowlog_max_len",
            also_in: &[],
            variables: &["LIGHTNING_DB_SLOWLOG_MAX_LEN"],
            kind: Kind::Integer {
                least: 0,
                most: 100_000,
                unit: "commands",
            },
            default: DefaultValue::Integer(128),
            effect: Effect::Reload,
            documentation: "How many slow commands are remembered, with the beginning of their \
                            arguments, in memory.",
        },
        Setting {
            section: "monitoring",
            name: "latency_monitor_threshold_ms",
            also_in: &[],
            variables: &["LIGHTNING_DB_LATENCY_MONITOR_THRESHOLD_MS"],
            kind: Kind::Integer {
                least: 0,
                most: 3_600_000,
                unit: "ms",
            },
            default: DefaultValue::Integer(0),
            effect: Effect::Reload,
            documentation: "From how long on an event is remembered by LATENCY; 0 for none.",
        },
        Setting {
            section: "monitoring",
            name: "notify_keyspace_events",
            also_in: &[],
            variables: &["LIGHTNING_DB_NOTIFY_KEYSPACE_EVENTS"],
            kind: Kind::EventClasses,
            default: DefaultValue::Unset,
            effect: Effect::Reload,
            documentation: "Which changes of keys are published on channels, by Redis's letters: \
                            K and E for the channels `__keyspace@0__:KEY` and \
                            `__keyevent@0__:EVENT`, of which one is needed; g for events of any \
                            value, $ for those of strings, x for keys that have expired, n for \
                            new ones, m for keys that a command looked for in vain, A for all \
                            but n and m. Empty for none. They are published when the change is \
                            durable; each costs every write a little.",
        },
    ],
};

pub(super) const LIMITS: Section = Section {
    name: "limits",
    documentation: "What clients may take at most.",
    settings: &[
        Setting {
            section: "limits",
            name: "max_active_transactions",
            also_in: &[],
            variables: &["LIGHTNING_DB_MAX_ACTIVE_TRANSACTIONS"],
            kind: Kind::Integer {
                least: 8,
                most: 65_000,
                unit: "transactions",
            },
            default: DefaultValue::Integer(1_000),
            effect: Effect::Restart,
            documentation: "Transactions that may be open at once; one more is refused. Each has \
                            memory planned, used or not.",
        },
        Setting {
            section: "limits",
            name: "max_connections",
            also_in: &[],
            variables: &["LIGHTNING_DB_MAX_CONNECTIONS"],
            kind: Kind::Integer {
                least: 1,
                most: 1_000_000,
                unit: "connections",
            },
            default: DefaultValue::Integer(1_000),
            effect: Effect::Reload,
            documentation: "Clients that may be connected at once; one more is told so and let \
                            go. Each takes a file descriptor and some KiB: fewer are served \
                            where the process may not open so many files.",
        },
        Setting {
            section: "limits",
            name: "max_connections_per_address",
            also_in: &[],
            variables: &["LIGHTNING_DB_MAX_CONNECTIONS_PER_ADDRESS"],
            kind: Kind::Integer {
                least: 0,
                most: 1_000_000,
                unit: "connections",
            },
            default: DefaultValue::Integer(0),
            effect: Effect::Reload,
            documentation: "Clients of one address that may be connected at once; 0 for as many \
                            as `max_connections`. Clients behind one proxy count together.",
        },
        Setting {
            section: "limits",
            name: "max_unauthenticated_connections",
            also_in: &[],
            variables: &["LIGHTNING_DB_MAX_UNAUTHENTICATED_CONNECTIONS"],
            kind: Kind::Integer {
                least: 1,
                most: 1_000_000,
                unit: "connections",
            },
            default: DefaultValue::Integer(100),
            effect: Effect::Reload,
            documentation: "Clients that may be connected and have not logged in yet, where they \
                            have to, so that strangers can't take all places.",
        },
        Setting {
            section: "limits",
            name: "request_timeout_sec",
            also_in: &[],
            variables: &["LIGHTNING_DB_REQUEST_TIMEOUT_SEC"],
            kind: Kind::Integer {
                least: 0,
                most: 86_400,
                unit: "seconds",
            },
            default: DefaultValue::Integer(30),
            effect: Effect::Reload,
            documentation: "How long a command may take before it is given up with an error; 0 \
                            for as long as it takes. A write that was handed to the log counts \
                            all the same. A client that has sent the begin of a request and \
                            not its end by then is closed; a long one has a second more for \
                            each 16 KiB.",
        },
        Setting {
            section: "limits",
            name: "idle_timeout_sec",
            also_in: &[],
            variables: &["LIGHTNING_DB_IDLE_TIMEOUT_SEC"],
            kind: Kind::Integer {
                least: 0,
                most: 31_536_000,
                unit: "seconds",
            },
            default: DefaultValue::Integer(0),
            effect: Effect::Reload,
            documentation: "After how long without a command a client is let go; 0 for never.",
        },
        Setting {
            section: "limits",
            name: "max_query_bytes",
            also_in: &[],
            variables: &["LIGHTNING_DB_MAX_QUERY_BYTES"],
            kind: Kind::Integer {
                least: 65_536,
                most: 4_294_967_296,
                unit: "bytes",
            },
            default: DefaultValue::Integer(67_108_864),
            effect: Effect::Reload,
            documentation: "The longest command, arguments included; a client that sends a \
                            longer one is let go. Each client may take that much memory.",
        },
        Setting {
            section: "limits",
            name: "max_client_output_bytes",
            also_in: &[],
            variables: &["LIGHTNING_DB_MAX_CLIENT_OUTPUT_BYTES"],
            kind: Kind::Integer {
                least: 65_536,
                most: 4_294_967_296,
                unit: "bytes",
            },
            default: DefaultValue::Integer(268_435_456),
            effect: Effect::Reload,
            documentation: "How many bytes of answers may wait for one client that doesn't read \
                            them; with more it is let go. Each client may take that much memory.",
        },
        Setting {
            section: "limits",
            name: "tracking_table_max_keys",
            also_in: &[],
            variables: &["LIGHTNING_DB_TRACKING_TABLE_MAX_KEYS"],
            kind: Kind::Integer {
                least: 1,
                most: 1_000_000_000,
                unit: "keys",
            },
            default: DefaultValue::Integer(1_000_000),
            effect: Effect::Reload,
            documentation: "Keys that are remembered for clients with CLIENT TRACKING, so that \
                            they are told of changes. Of more, some are told as if they had \
                            changed, and forgotten. Each takes its own bytes and some 150 more.",
        },
    ],
};
