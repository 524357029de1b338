//! Which series the service exposes, and their names.
//!
//! Latencies stand twice. The histogram `lightning_db_operation_duration_seconds` is as
//! every other: counters since the start under `_bucket`, `_sum` and `_count`. Beside it
//! stand samples of the bare name with `le` and `window="5m"`, that count the last five
//! minutes only: they answer `histogram_quantile` without `rate`, as the operations
//! manual's alert and dashboard ask.

use super::exposition::{Exposition, Kind};
use super::figures::Figures;
use super::samples::Durations;
use crate::REDIS_VERSION;
use crate::commands::Operation;
use crate::metrics::BUCKET_BOUNDS_US;
use lightning_ops::admin::HealthStatus;

const DURATION: &str = "lightning_db_operation_duration_seconds";

/// All of them as text.
#[must_use]
pub fn expose(figures: &Figures, health: HealthStatus) -> String {
    let mut out = Exposition::default();
    operations(&mut out, figures);
    resources(&mut out, figures);
    clients(&mut out, figures);
    engine(&mut out, figures);
    state(&mut out, figures, health);
    process(&mut out, figures);
    out.into_text()
}

fn operations(out: &mut Exposition, figures: &Figures) {
    let name = "lightning_db_operations_total";
    out.family(name, Kind::Counter, "Operations on keys since the start.");
    let all = figures.total.operations.iter().zip(Operation::ALL);
    for (durations, operation) in all.clone() {
        let labels = [("operation", operation.word())];
        out.sample(name, &labels, durations.count() as f64);
    }
    if figures.is_measuring {
        let help = "How long operations took until they could be answered: _bucket, _sum and \
                    _count since the start, and with window=\"5m\" buckets of the last five \
                    minutes.";
        out.family(DURATION, Kind::Histogram, help);
        for (durations, operation) in all {
            histogram(out, operation.word(), durations);
        }
        for (durations, operation) in figures.window.operations.iter().zip(Operation::ALL) {
            buckets(durations, |bound, count| {
                let labels = [
                    ("operation", operation.word()),
                    ("window", "5m"),
                    ("le", bound),
                ];
                out.sample(DURATION, &labels, count);
            });
        }
    }
    let errors = "lightning_db_errors_total";
    out.family(errors, Kind::Counter, "What failed since the start.");
    for (count, kind) in figures.total.failures.iter().zip(FAILURES) {
        out.sample(errors, &[("type", kind)], *count as f64);
    }
    let total = &figures.total;
    for (name, help, value) in [
        (
            "lightning_db_commands_total",
            "Commands of clients that were run.",
            total.commands,
        ),
        (
            "lightning_db_commands_refused_total",
            "Commands that made no sense or were not allowed.",
            total.refusals,
        ),
        (
            "lightning_db_commits_total",
            "Transactions that were committed.",
            total.commits,
        ),
        (
            "lightning_db_transaction_conflicts_total",
            "Transactions that were in another's way.",
            total.conflicts,
        ),
        (
            "lightning_db_merge_pages_ahead_total",
            "Pages that helping threads have read for merges.",
            figures.database.pages_ahead,
        ),
        (
            "lightning_db_scrubbed_pages_total",
            "Pages of the data that were read to find damage.",
            figures.scrubbed.0,
        ),
        (
            "lightning_db_scrub_rounds_total",
            "How often all pages of the data were read to find damage.",
            figures.scrubbed.1,
        ),
    ] {
        out.single(name, Kind::Counter, help, value as f64);
    }
    let calls = "lightning_db_command_calls_total";
    out.family(calls, Kind::Counter, "Calls of each command.");
    for (command, cost) in &figures.by_command {
        out.sample(calls, &[("command", command)], cost.calls as f64);
    }
    let seconds = "lightning_db_command_seconds_total";
    out.family(
        seconds,
        Kind::Counter,
        "Time spent running each command, without waiting for the device.",
    );
    for (command, cost) in &figures.by_command {
        out.sample(seconds, &[("command", command)], cost.took.as_secs_f64());
    }
}

/// What failed, in the order of the counters.
pub(super) const FAILURES: [&str; 3] = ["io", "corruption", "transaction"];

fn histogram(out: &mut Exposition, operation: &str, durations: &Durations) {
    let name = format!("{DURATION}_bucket");
    buckets(durations, |bound, count| {
        out.sample(&name, &[("operation", operation), ("le", bound)], count);
    });
    let labels = [("operation", operation)];
    let sum = durations.sum.as_secs_f64();
    out.sample(&format!("{DURATION}_sum"), &labels, sum);
    let count = durations.measured() as f64;
    out.sample(&format!("{DURATION}_count"), &labels, count);
}

/// Tells each bound and how many durations it holds with those below it.
fn buckets(durations: &Durations, mut tell: impl FnMut(&str, f64)) {
    let mut within: u64 = 0;
    for (count, bound) in durations.counts.iter().zip(BUCKET_BOUNDS_US) {
        within += count;
        tell(&(bound as f64 / 1e6).to_string(), within as f64);
    }
    tell("+Inf", durations.measured() as f64);
}

fn resources(out: &mut Exposition, figures: &Figures) {
    let process = &figures.process;
    out.single(
        "lightning_db_memory_usage_bytes",
        Kind::Gauge,
        "Memory that the process has.",
        process.resident_bytes as f64,
    );
    out.single(
        "lightning_db_memory_limit_bytes",
        Kind::Gauge,
        "Memory that it may have: database.max_memory_mb, or else the machine's or the \
         control group's.",
        figures.limits.memory_bytes as f64,
    );
    out.single(
        "lightning_db_memory_planned_bytes",
        Kind::Gauge,
        "Memory that the engine planned when it was opened.",
        figures.database.engine.memory_bytes as f64,
    );
    out.single(
        "lightning_db_disk_usage_bytes",
        Kind::Gauge,
        "Bytes of the data's files, the log included.",
        figures.data.bytes() as f64,
    );
    if let Some(room) = figures.room {
        out.single(
            "lightning_db_disk_size_bytes",
            Kind::Gauge,
            "Size of the file system of the data.",
            room.total_bytes as f64,
        );
        out.single(
            "lightning_db_disk_available_bytes",
            Kind::Gauge,
            "Room that is left on the file system of the data.",
            room.available_bytes as f64,
        );
    }
    // Nothing was asked for and nothing missed: no alert should think of it as misses.
    out.single(
        "lightning_db_cache_hit_ratio",
        Kind::Gauge,
        "Share of operations that found all pages in memory, last five minutes; 1 where there \
         were none.",
        figures.cache_hit_ratio().unwrap_or(1.0),
    );
    let frames = &figures.database.engine.frames;
    let bytes = f64::from(frames.frames) * f64::from(figures.database.page_bytes);
    out.single(
        "lightning_db_cache_size_bytes",
        Kind::Gauge,
        "Size of the page cache.",
        bytes,
    );
    for (name, help, value) in [
        (
            "lightning_db_cache_misses_total",
            "Commands that met a page which wasn't in memory.",
            figures.total.misses,
        ),
        (
            "lightning_db_cache_page_loads_total",
            "Pages that were read into memory.",
            frames.loads,
        ),
        (
            "lightning_db_cache_page_evictions_total",
            "Pages that made room for others.",
            frames.evictions,
        ),
    ] {
        out.single(name, Kind::Counter, help, value as f64);
    }
}

fn clients(out: &mut Exposition, figures: &Figures) {
    let clients = &figures.clients;
    for (name, help, value) in [
        (
            "lightning_db_connections",
            "Clients that are connected.",
            clients.connected,
        ),
        (
            "lightning_db_connections_limit",
            "Clients that may be connected.",
            figures.limits.connections,
        ),
        (
            "lightning_db_client_buffer_bytes",
            "Bytes that clients sent and that weren't run, and replies that they haven't taken.",
            clients.buffered_bytes,
        ),
        (
            "lightning_db_active_transactions",
            "Transactions of the database that are open, views of readers included.",
            figures.database.engine.snapshots.into(),
        ),
        (
            "lightning_db_active_transactions_limit",
            "Transactions that may be open.",
            figures.limits.transactions,
        ),
    ] {
        out.single(name, Kind::Gauge, help, value as f64);
    }
    for (name, help, value) in [
        (
            "lightning_db_connections_accepted_total",
            "Clients that were taken in.",
            clients.accepted,
        ),
        (
            "lightning_db_connections_rejected_total",
            "Clients that were turned away.",
            clients.rejected,
        ),
        (
            "lightning_db_network_received_bytes_total",
            "Bytes that clients have sent.",
            clients.input_bytes,
        ),
        (
            "lightning_db_network_sent_bytes_total",
            "Bytes that clients were sent.",
            clients.output_bytes,
        ),
    ] {
        out.single(name, Kind::Counter, help, value as f64);
    }
}

fn engine(out: &mut Exposition, figures: &Figures) {
    let engine = &figures.database.engine;
    let store = &engine.store;
    for (name, help, value) in [
        (
            "lightning_db_entries",
            "Entries in all trees, those in memtables and runs not counted.",
            engine.entries,
        ),
        (
            "lightning_db_memtable_bytes",
            "Bytes in memtables.",
            engine.front_bytes,
        ),
        (
            "lightning_db_memtables_waiting",
            "Memtables that are full and wait to be written or merged.",
            engine.frozen_memtables.into(),
        ),
        (
            "lightning_db_memtables_limit",
            "Memtables that there are.",
            figures.limits.memtables,
        ),
        (
            "lightning_db_runs",
            "Sorted runs that wait for their merge into the trees.",
            engine.runs.into(),
        ),
        (
            "lightning_db_run_bytes",
            "Bytes of the page file that runs take, about.",
            engine.run_bytes,
        ),
        (
            "lightning_db_commits_unmerged",
            "Commits that are not wholly in runs and trees yet.",
            engine
                .appended_sequence
                .saturating_sub(engine.merged_sequence),
        ),
        (
            "lightning_db_commits_not_durable",
            "Commits that a power cut would take.",
            engine
                .appended_sequence
                .saturating_sub(engine.durable_sequence),
        ),
        (
            "lightning_db_page_file_bytes",
            "Length of the page file.",
            store.file_bytes,
        ),
        (
            "lightning_db_page_file_used_bytes",
            "Bytes of the page file that are in use.",
            store.used_bytes,
        ),
        (
            "lightning_db_page_file_pending_bytes",
            "Bytes of the page file that snapshots hold back.",
            store.pending_bytes,
        ),
        (
            "lightning_db_wal_bytes",
            "Bytes of the log's files.",
            figures.data.log_bytes,
        ),
        (
            "lightning_db_snapshots",
            "Snapshots that are open.",
            engine.snapshots.into(),
        ),
    ] {
        out.single(name, Kind::Gauge, help, value as f64);
    }
    out.single(
        "lightning_db_snapshot_age_seconds",
        Kind::Gauge,
        "How long the oldest snapshot has held back what was replaced since.",
        figures.snapshot_age.as_secs_f64(),
    );
    for (name, help, value) in [
        (
            "lightning_db_wal_written_bytes_total",
            "Bytes written to the log.",
            engine.log_bytes,
        ),
        (
            "lightning_db_wal_syncs_total",
            "Flushes of the log.",
            engine.log_syncs,
        ),
        (
            "lightning_db_page_file_written_bytes_total",
            "Bytes written to the page file.",
            store.written_bytes,
        ),
        (
            "lightning_db_page_file_publications_total",
            "States of the page file that were published.",
            store.flips,
        ),
        (
            "lightning_db_write_slowdowns_total",
            "Writes that waited for room in memory or log.",
            figures.total.slowdowns,
        ),
    ] {
        out.single(name, Kind::Counter, help, value as f64);
    }
    out.single(
        "lightning_db_write_slowdown_seconds_total",
        Kind::Counter,
        "How long writes waited for room in memory or log.",
        figures.total.slowdown_time.as_secs_f64(),
    );
}

fn state(out: &mut Exposition, figures: &Figures, health: HealthStatus) {
    let build = "lightning_db_build_info";
    out.family(build, Kind::Gauge, "Which version it is.");
    let labels = [
        ("version", env!("CARGO_PKG_VERSION")),
        ("redis_version", REDIS_VERSION),
    ];
    out.sample(build, &labels, 1.0);
    let flag = |is: bool| f64::from(u8::from(is));
    out.single(
        "lightning_db_processors",
        Kind::Gauge,
        "Processors that the process may use.",
        figures.processors as f64,
    );
    out.single(
        "lightning_db_health_status",
        Kind::Gauge,
        "Health: 0 healthy, 1 warning, 2 critical.",
        f64::from(health.exit()),
    );
    out.single(
        "lightning_db_background_failing",
        Kind::Gauge,
        "1 while merges fail.",
        flag(figures.background_failure.is_some()),
    );
    out.single(
        "lightning_db_writes_refused",
        Kind::Gauge,
        "1 when a failed flush made the database refuse writes.",
        flag(figures.is_poisoned),
    );
}

fn process(out: &mut Exposition, figures: &Figures) {
    let process = &figures.process;
    out.single(
        "process_cpu_seconds_total",
        Kind::Counter,
        "Processor time of the process.",
        (process.user_time + process.system_time).as_secs_f64(),
    );
    let files_max = process
        .open_files_max
        .map_or(f64::INFINITY, |most| most as f64);
    for (name, help, value) in [
        (
            "process_resident_memory_bytes",
            "Memory that the process has.",
            process.resident_bytes as f64,
        ),
        (
            "process_virtual_memory_bytes",
            "Addresses that the process has taken.",
            process.virtual_bytes as f64,
        ),
        (
            "process_open_fds",
            "Open descriptors.",
            process.open_files as f64,
        ),
        (
            "process_max_fds",
            "Descriptors that may be open.",
            files_max,
        ),
        (
            "process_threads",
            "Threads of the process.",
            process.threads as f64,
        ),
        (
            "process_start_time_seconds",
            "When the process was started, in seconds since 1970.",
            process.started_unix_seconds as f64,
        ),
    ] {
        out.single(name, Kind::Gauge, help, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitoring::figures::tests::idle;
    use std::collections::BTreeSet;

    #[test]
    fn no_sample_stands_twice_and_each_has_its_family() {
        let mut figures = idle();
        figures.total.operations[1].counts[3] = 7;
        let text = expose(&figures, HealthStatus::Healthy);
        let mut seen = BTreeSet::new();
        let mut family = String::new();
        for line in text.lines() {
            if let Some(kind) = line.strip_prefix("# TYPE ") {
                family = kind.split(' ').next().unwrap().to_owned();
            } else if !line.starts_with('#') {
                let (sample, value) = line.rsplit_once(' ').unwrap();
                assert!(sample.starts_with(&family), "{line}");
                assert!(value == "+Inf" || value.parse::<f64>().is_ok(), "{line}");
                assert!(seen.insert(sample.to_owned()), "{line}");
            }
        }
        for sample in [
            "lightning_db_operations_total{operation=\"write\"} 7",
            "lightning_db_operation_duration_seconds_bucket{operation=\"write\",le=\"0.00005\"} 7",
            "lightning_db_operation_duration_seconds_bucket{operation=\"write\",le=\"0.000025\"} 0",
            "lightning_db_operation_duration_seconds{operation=\"write\",window=\"5m\",le=\"+Inf\"} 0",
            "lightning_db_errors_total{type=\"corruption\"} 0",
        ] {
            assert!(text.lines().any(|line| line == sample), "{sample}\n{text}");
        }
    }

    #[test]
    fn without_measuring_there_are_counts_only() {
        let mut figures = idle();
        figures.is_measuring = false;
        figures.total.operations[0].unmeasured = 3;
        let text = expose(&figures, HealthStatus::Healthy);
        assert!(!text.contains(DURATION));
        assert!(text.contains("lightning_db_operations_total{operation=\"read\"} 3\n"));
    }
}
