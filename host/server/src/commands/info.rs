//! `INFO`: figures of the service, in sections. What the service doesn't know it
//! doesn't tell; what only it has is called `lightning_`.

use super::{Call, Command, Flags, Outcome};
use crate::client::SharedClient;
use crate::failure::Failure;
use crate::server::Server;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

pub(super) const COMMANDS: &[Command] = &[Command::new("server", "info", -1, info)
    // It counts the keys of each database.
    .flags(
        Flags::LOADING
            .with(Flags::STALE)
            .with(Flags::SLOW_HERE)
            .with(Flags::DANGEROUS),
    )
    .told(
        "1.0.0",
        "Gives figures of the service.",
        "O(M log N) for M keys that stand in memory only",
    )];

/// When a section is given.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    /// Where no section is named, and with `default`, `all` and `everything`.
    Default,
    /// With `all` and `everything`.
    All,
}

type Write = fn(&mut Call<'_, '_, '_>, &mut Lines) -> Outcome;

const SECTIONS: &[(&str, When, Write)] = &[
    ("Server", When::Default, server),
    ("Clients", When::Default, clients),
    ("Memory", When::Default, memory),
    ("Persistence", When::Default, persistence),
    ("Stats", When::Default, statistics),
    ("Replication", When::Default, replication),
    ("CPU", When::Default, processor),
    ("Modules", When::Default, |_, _| Ok(())),
    ("Commandstats", When::All, commands),
    ("Errorstats", When::Default, errors),
    ("Latencystats", When::All, latencies),
    ("Cluster", When::Default, cluster),
    ("Keyspace", When::Default, keyspace),
];

/// The text that is put together.
#[derive(Default)]
struct Lines {
    text: String,
}

impl Lines {
    fn put(&mut self, name: impl std::fmt::Display, value: impl std::fmt::Display) {
        // Writing to a string can't fail.
        let _written = write!(self.text, "{name}:{value}\r\n");
    }
}

fn info(call: &mut Call<'_, '_, '_>) -> Outcome {
    let mut lines = Lines::default();
    for (name, when, write) in SECTIONS {
        let is_named = |index: usize| {
            let is_word = |word: &str| call.is_word(index, word);
            is_word(name)
                || is_word("all")
                || is_word("everything")
                || (*when == When::Default && is_word("default"))
        };
        let is_wanted = if call.count() == 1 {
            *when == When::Default
        } else {
            (1..call.count()).any(is_named)
        };
        if is_wanted {
            if !lines.text.is_empty() {
                lines.text.push_str("\r\n");
            }
            let _written = write!(lines.text, "# {name}\r\n");
            write(call, &mut lines)?;
        }
    }
    call.reply.verbatim(&lines.text);
    Ok(())
}

fn server(call: &mut Call<'_, '_, '_>, lines: &mut Lines) -> Outcome {
    let server = call.server;
    let settings = server.settings();
    let uptime_s = server.started.elapsed().as_secs();
    lines.put("redis_version", crate::REDIS_VERSION);
    lines.put("lightning_version", env!("CARGO_PKG_VERSION"));
    lines.put("redis_mode", "standalone");
    lines.put("os", std::env::consts::OS);
    lines.put("arch_bits", usize::BITS);
    lines.put("process_id", std::process::id());
    lines.put("run_id", &server.run_id);
    let port = call
        .client
        .shared
        .local_address
        .map(|address| address.port());
    lines.put(
        "tcp_port",
        port.unwrap_or(settings.configuration.database.port),
    );
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::SystemTime::UNIX_EPOCH);
    lines.put("server_time_usec", since.unwrap_or_default().as_micros());
    lines.put("uptime_in_seconds", uptime_s);
    lines.put("uptime_in_days", uptime_s / 86_400);
    let executable = std::env::current_exe().unwrap_or_default();
    lines.put("executable", executable.display());
    let file = settings.file().map(|file| file.display().to_string());
    lines.put("config_file", file.unwrap_or_default());
    Ok(())
}

fn clients(call: &mut Call<'_, '_, '_>, lines: &mut Lines) -> Outcome {
    let clients = call.server.clients().list();
    let load = |count: &std::sync::atomic::AtomicUsize| count.load(Ordering::Relaxed);
    lines.put("connected_clients", clients.len());
    lines.put("maxclients", call.server.connections_max());
    let input = clients.iter().map(|client| load(&client.input_bytes)).max();
    lines.put("client_recent_max_input_buffer", input.unwrap_or(0));
    let output = clients
        .iter()
        .map(|client| load(&client.output_bytes))
        .max();
    lines.put("client_recent_max_output_buffer", output.unwrap_or(0));
    let listens = clients
        .iter()
        .filter(|client| load(&client.subscriptions) > 0);
    lines.put("pubsub_clients", listens.count());
    let watches = clients.iter().filter(|client| load(&client.watched) > 0);
    lines.put("watching_clients", watches.count());
    let is_held = |client: &&Arc<SharedClient>| client.is_held.load(Ordering::Relaxed);
    lines.put("blocked_clients", clients.iter().filter(is_held).count());
    let tracking = call.server.tracking().figures();
    lines.put("tracking_clients", tracking.clients);
    Ok(())
}

fn human(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let bytes = bytes as f64;
    for (unit, size) in [("G", 1_073_741_824.0), ("M", 1_048_576.0), ("K", 1_024.0)] {
        if bytes >= size {
            return format!("{:.2}{unit}", bytes / size);
        }
    }
    format!("{bytes}B")
}

fn memory(call: &mut Call<'_, '_, '_>, lines: &mut Lines) -> Outcome {
    let engine = call.server.store().database().statistics().engine;
    let process = lightning_db::process_use().unwrap_or_default();
    let machine = lightning_db::machine_memory();
    for (name, bytes) in [
        ("used_memory", process.resident_bytes),
        ("used_memory_rss", process.resident_bytes),
        (
            "total_system_memory",
            machine.map_or(0, |machine| machine.limit_bytes),
        ),
    ] {
        lines.put(name, bytes);
        lines.put(format_args!("{name}_human"), human(bytes));
    }
    lines.put("maxmemory", 0);
    lines.put("maxmemory_human", "0B");
    lines.put("maxmemory_policy", "noeviction");
    lines.put("lightning_planned_bytes", engine.memory_bytes);
    lines.put("lightning_memtable_bytes", engine.front_bytes);
    lines.put("lightning_cache_pages", engine.frames.frames);
    Ok(())
}

fn persistence(call: &mut Call<'_, '_, '_>, lines: &mut Lines) -> Outcome {
    let database = call.server.store().database();
    let engine = database.statistics().engine;
    let is_well = if database.background_failure().is_none() {
        "ok"
    } else {
        "err"
    };
    let pending = engine
        .appended_sequence
        .saturating_sub(engine.durable_sequence);
    lines.put("loading", 0);
    lines.put("async_loading", 0);
    lines.put("rdb_changes_since_last_save", pending);
    lines.put("rdb_bgsave_in_progress", 0);
    lines.put("rdb_last_save_time", call.server.observations().saved_s());
    lines.put("rdb_last_bgsave_status", is_well);
    lines.put("aof_enabled", 1);
    lines.put("aof_rewrite_in_progress", 0);
    lines.put("aof_rewrite_scheduled", 0);
    lines.put("aof_last_bgrewrite_status", is_well);
    lines.put("aof_last_write_status", is_well);
    lines.put("lightning_appended_sequence", engine.appended_sequence);
    lines.put("lightning_durable_sequence", engine.durable_sequence);
    lines.put("lightning_merged_sequence", engine.merged_sequence);
    lines.put("lightning_log_bytes", engine.log_bytes);
    lines.put("lightning_log_syncs", engine.log_syncs);
    lines.put("lightning_file_bytes", engine.store.file_bytes);
    lines.put("lightning_file_used_bytes", engine.store.used_bytes);
    lines.put("lightning_file_written_bytes", engine.store.written_bytes);
    lines.put("lightning_runs", engine.runs);
    lines.put("lightning_frozen_memtables", engine.frozen_memtables);
    Ok(())
}

fn error_count(server: &Server) -> u64 {
    server.observations().errors.counts().values().sum()
}

fn statistics(call: &mut Call<'_, '_, '_>, lines: &mut Lines) -> Outcome {
    let server = call.server;
    let (metrics, clients) = (server.metrics(), server.clients());
    let before = server.observations().baseline();
    let load = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
    for (name, now, before) in [
        (
            "total_connections_received",
            load(&clients.accepted),
            before.accepted,
        ),
        (
            "total_commands_processed",
            metrics.commands(),
            before.commands,
        ),
        ("expired_keys", load(&metrics.expired), before.expired),
        (
            "total_net_input_bytes",
            load(&metrics.input_bytes),
            before.input_bytes,
        ),
        (
            "total_net_output_bytes",
            load(&metrics.output_bytes),
            before.output_bytes,
        ),
        (
            "rejected_connections",
            load(&clients.rejected),
            before.rejected,
        ),
    ] {
        lines.put(name, now.saturating_sub(before));
    }
    lines.put("evicted_keys", 0);
    lines.put("evicted_clients", 0);
    let (channels, patterns) = {
        let subscriptions = clients.subscriptions();
        (subscriptions.channels.len(), subscriptions.patterns.len())
    };
    lines.put("pubsub_channels", channels);
    lines.put("pubsub_patterns", patterns);
    let tracking = server.tracking().figures();
    lines.put("tracking_total_keys", tracking.keys);
    lines.put("tracking_total_items", tracking.items);
    lines.put("tracking_total_prefixes", tracking.prefixes);
    lines.put("total_error_replies", error_count(server));
    let database = server.store().database().statistics();
    lines.put("lightning_commits", database.engine.commits);
    lines.put("lightning_conflicts", database.engine.conflicts);
    lines.put("lightning_page_loads", database.engine.frames.loads);
    lines.put("lightning_page_evictions", database.engine.frames.evictions);
    lines.put("lightning_slowdowns", database.slowdowns);
    lines.put(
        "lightning_slowdown_usec",
        database.slowdown_time.as_micros(),
    );
    Ok(())
}

fn replication(call: &mut Call<'_, '_, '_>, lines: &mut Lines) -> Outcome {
    lines.put("role", "master");
    lines.put("connected_slaves", 0);
    lines.put("master_failover_state", "no-failover");
    lines.put("master_replid", &call.server.run_id);
    lines.put("master_repl_offset", 0);
    lines.put("repl_backlog_active", 0);
    Ok(())
}

fn seconds(time: Duration) -> String {
    format!("{:.6}", time.as_secs_f64())
}

fn processor(_: &mut Call<'_, '_, '_>, lines: &mut Lines) -> Outcome {
    if let Ok(process) = lightning_db::process_use() {
        lines.put("used_cpu_sys", seconds(process.system_time));
        lines.put("used_cpu_user", seconds(process.user_time));
    }
    Ok(())
}

fn commands(call: &mut Call<'_, '_, '_>, lines: &mut Lines) -> Outcome {
    for (name, figures) in call.server.metrics().by_command().figures() {
        let micros = figures.took.as_micros();
        let each = figures.took.as_secs_f64() * 1e6
            / f64::from(u32::try_from(figures.calls.max(1)).unwrap_or(u32::MAX));
        lines.put(
            format_args!("cmdstat_{name}"),
            format_args!(
                "calls={},usec={micros},usec_per_call={each:.2},rejected_calls={},failed_calls={}",
                figures.calls, figures.refusals, figures.failures
            ),
        );
    }
    Ok(())
}

fn errors(call: &mut Call<'_, '_, '_>, lines: &mut Lines) -> Outcome {
    for (word, count) in call.server.observations().errors.counts() {
        lines.put(
            format_args!("errorstat_{word}"),
            format_args!("count={count}"),
        );
    }
    Ok(())
}

fn latencies(call: &mut Call<'_, '_, '_>, lines: &mut Lines) -> Outcome {
    let statistics = call.server.metrics().by_command();
    for name in statistics.figures().keys() {
        let Some(spread) = statistics.spread(name) else {
            continue;
        };
        let micros = |percent: f64| {
            let nanoseconds = Duration::from_nanos(spread.percentile(percent));
            format!("{:.3}", nanoseconds.as_secs_f64() * 1e6)
        };
        lines.put(
            format_args!("latency_percentiles_usec_{name}"),
            format_args!(
                "p50={},p99={},p99.9={}",
                micros(50.0),
                micros(99.0),
                micros(99.9)
            ),
        );
    }
    Ok(())
}

fn cluster(_: &mut Call<'_, '_, '_>, lines: &mut Lines) -> Outcome {
    lines.put("cluster_enabled", 0);
    Ok(())
}

fn keyspace(call: &mut Call<'_, '_, '_>, lines: &mut Lines) -> Outcome {
    for database in 0..call.store.databases() {
        let keys = call.store.reader(database)?.len().map_err(Failure::from)?;
        if keys > 0 {
            // How many of them expire is not counted.
            lines.put(format_args!("db{database}"), format_args!("keys={keys}"));
        }
    }
    Ok(())
}
