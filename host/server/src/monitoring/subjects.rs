//! The figures of a subject, as `lightning-cli stats` prints them, and what of them is
//! worth a look: the thresholds are those of the operations manual.

use super::figures::{Figures, ratio};
use crate::commands::Operation;
use lightning_ops::admin::{FigureView, SUBJECTS, StatisticsView, Unit};

/// From this share of a memory limit on it is worth a look.
pub const MEMORY_SHARE: f64 = 0.8;
/// From this share of a full disk on it is worth a look.
pub const DISK_SHARE: f64 = 0.85;
/// From this share of all processors on it is worth a look.
const CPU_SHARE: f64 = 0.8;
/// From this share of failed commands on it is worth a look.
const ERROR_SHARE: f64 = 0.001;
/// From this share of all places for clients or transactions on it is worth a look.
pub const PLACES_SHARE: f64 = 0.9;
/// From this share of transactions in another's way on it is worth a look.
const CONFLICT_SHARE: f64 = 0.05;
/// Below this share of operations that need no device it is worth a look.
const HIT_SHARE: f64 = 0.8;
/// Fewer operations than this say nothing about a share of them.
const OPERATIONS_MIN: u64 = 1_000;

/// The figures of `subject`; `None`: there is no such subject.
#[must_use]
pub fn view(figures: &Figures, subject: &str) -> Option<StatisticsView> {
    let mut list = List::default();
    match subject {
        "performance" => performance(&mut list, figures),
        "memory" => memory(&mut list, figures),
        "disk" => disk(&mut list, figures),
        "cpu" => cpu(&mut list, figures),
        "errors" => errors(&mut list, figures),
        "connections" => connections(&mut list, figures),
        "transactions" => transactions(&mut list, figures),
        "cache" => cache(&mut list, figures),
        "lsm" => lsm(&mut list, figures),
        "limits" => limits(&mut list, figures),
        _ => return None,
    }
    Some(StatisticsView {
        subject: subject.to_owned(),
        figures: list.figures,
        findings: list.findings,
    })
}

/// What there are figures of, in words that end a message.
#[must_use]
pub fn names() -> String {
    SUBJECTS.map(|(name, _)| name).join(", ")
}

#[derive(Default)]
struct List {
    figures: Vec<FigureView>,
    findings: Vec<String>,
}

impl List {
    fn add(&mut self, name: &str, value: Option<f64>, unit: Unit, label: &str) {
        self.figures.push(FigureView {
            name: name.to_owned(),
            value,
            unit,
            label: label.to_owned(),
            is_detail: false,
        });
    }

    fn detail(&mut self, name: &str, value: Option<f64>, unit: Unit, label: &str) {
        self.add(name, value, unit, label);
        if let Some(figure) = self.figures.last_mut() {
            figure.is_detail = true;
        }
    }

    fn count(&mut self, name: &str, value: u64, label: &str) {
        self.add(name, Some(value as f64), Unit::Count, label);
    }

    fn bytes(&mut self, name: &str, value: u64, label: &str) {
        self.add(name, Some(value as f64), Unit::Bytes, label);
    }

    fn share(&mut self, name: &str, value: f64, label: &str) {
        self.add(name, Some(value), Unit::Ratio, label);
    }

    fn find(&mut self, is_found: bool, words: impl FnOnce() -> String) {
        if is_found {
            self.findings.push(words());
        }
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn window(list: &mut List, figures: &Figures) {
    let seconds = figures.window_length.as_secs_f64();
    let label = "rates and durations of the last";
    list.add("window_seconds", Some(seconds), Unit::Seconds, label);
}

fn performance(list: &mut List, figures: &Figures) {
    window(list, figures);
    for (durations, operation) in figures.window.operations.iter().zip(Operation::ALL) {
        let word = operation.word();
        let rate = Some(figures.per_second(durations.count()));
        list.add(
            &format!("{word}_per_second"),
            rate,
            Unit::PerSecond,
            &format!("{word} operations"),
        );
        for (share, name, is_detail) in [
            (0.5, "p50", true),
            (0.99, "p99", false),
            (0.999, "p999", true),
        ] {
            let name = format!("{word}_latency_{name}_seconds");
            let label = format!("{word} latency, {} %", share * 100.0);
            let value = durations.quantile(share);
            if is_detail {
                list.detail(&name, value, Unit::Seconds, &label);
            } else {
                list.add(&name, value, Unit::Seconds, &label);
            }
        }
    }
    list.count(
        "commands",
        figures.total.commands,
        "commands since the start",
    );
    let waited = figures.window.slowdown_time.as_secs_f64();
    list.add(
        "write_slowdown_seconds",
        Some(waited),
        Unit::Seconds,
        "writes waited for room",
    );
    for (command, cost) in &figures.by_command {
        let mean = cost.took.as_secs_f64() / cost.calls.max(1) as f64;
        list.detail(
            &format!("command_{command}_calls"),
            Some(cost.calls as f64),
            Unit::Count,
            &format!("{command} calls"),
        );
        list.detail(
            &format!("command_{command}_mean_seconds"),
            Some(mean),
            Unit::Seconds,
            &format!("{command} mean"),
        );
    }
    list.find(!figures.is_measuring, || {
        "durations are not measured: monitoring.metrics_enabled is false".to_owned()
    });
    list.find(waited > figures.window_length.as_secs_f64() / 10.0, || {
        "writes come faster than they can be merged; see `stats lsm`".to_owned()
    });
}

fn memory(list: &mut List, figures: &Figures) {
    let (used, limit) = (figures.process.resident_bytes, figures.limits.memory_bytes);
    list.bytes("used_bytes", used, "memory of the process");
    let of = if figures.limits.is_memory_configured {
        "limit (database.max_memory_mb)"
    } else {
        "limit (what the machine has)"
    };
    list.bytes("limit_bytes", limit, of);
    list.share("used_ratio", ratio(used, limit), "of the limit");
    let engine = &figures.database.engine;
    list.bytes("planned_bytes", engine.memory_bytes, "the engine's plan");
    list.detail(
        "cache_bytes",
        Some(f64::from(engine.frames.frames) * f64::from(figures.database.page_bytes)),
        Unit::Bytes,
        "  of it the page cache",
    );
    list.detail(
        "memtable_bytes",
        Some(engine.front_bytes as f64),
        Unit::Bytes,
        "  in memtables now",
    );
    list.detail(
        "client_buffer_bytes",
        Some(figures.clients.buffered_bytes as f64),
        Unit::Bytes,
        "requests and replies that wait",
    );
    list.detail(
        "virtual_bytes",
        Some(figures.process.virtual_bytes as f64),
        Unit::Bytes,
        "addresses",
    );
    let available = figures
        .machine
        .map(|machine| machine.available_bytes as f64);
    list.add(
        "machine_available_bytes",
        available,
        Unit::Bytes,
        "left on the machine",
    );
    list.find(ratio(used, limit) > MEMORY_SHARE, || {
        format!("memory is at {} of its limit", percent(ratio(used, limit)))
    });
}

fn disk(list: &mut List, figures: &Figures) {
    let store = &figures.database.engine.store;
    list.bytes("used_bytes", figures.data.bytes(), "files of the data");
    list.bytes("page_file_bytes", store.file_bytes, "  page file");
    list.bytes("page_file_used_bytes", store.used_bytes, "    of it in use");
    list.detail(
        "page_file_pending_bytes",
        Some(store.pending_bytes as f64),
        Unit::Bytes,
        "    held back by snapshots",
    );
    list.bytes("wal_bytes", figures.data.log_bytes, "  log");
    if let Some(room) = figures.room {
        let taken = room.total_bytes.saturating_sub(room.available_bytes);
        let share = ratio(taken, room.total_bytes);
        list.bytes("disk_bytes", room.total_bytes, "file system");
        list.bytes("disk_available_bytes", room.available_bytes, "  left");
        list.share("disk_used_ratio", share, "  full");
        list.find(share > DISK_SHARE, || {
            format!("the disk is {} full", percent(share))
        });
    }
    list.detail(
        "written_bytes",
        Some((store.written_bytes + figures.database.engine.log_bytes) as f64),
        Unit::Bytes,
        "written since the start",
    );
}

fn cpu(list: &mut List, figures: &Figures) {
    window(list, figures);
    let seconds = figures.window.cpu_time.as_secs_f64();
    let length = figures.window_length.as_secs_f64().max(1e-3);
    let of_one = seconds / length;
    let share = of_one / figures.processors.max(1) as f64;
    list.add(
        "processors_used",
        Some(of_one),
        Unit::Count,
        "processors in use",
    );
    list.count("processors", figures.processors, "processors");
    list.share("used_ratio", share, "of all processors");
    let process = &figures.process;
    for (name, time, label) in [
        ("user_seconds", process.user_time, "in its own code, in all"),
        (
            "system_seconds",
            process.system_time,
            "in the system, in all",
        ),
    ] {
        list.detail(name, Some(time.as_secs_f64()), Unit::Seconds, label);
    }
    list.detail(
        "threads",
        Some(process.threads as f64),
        Unit::Count,
        "threads",
    );
    list.find(share > CPU_SHARE, || {
        format!("processors are {} in use", percent(share))
    });
}

fn errors(list: &mut List, figures: &Figures) {
    window(list, figures);
    for (index, kind) in super::series::FAILURES.iter().enumerate() {
        let total = figures.total.failures.get(index).copied().unwrap_or(0);
        list.count(&format!("{kind}_errors"), total, &format!("{kind} errors"));
    }
    let failed: u64 = figures.window.failures.iter().sum();
    let share = ratio(failed, figures.window.commands.max(failed));
    list.share("error_ratio", share, "commands that failed");
    list.count(
        "refused",
        figures.total.refusals,
        "commands refused: they made no sense, or weren't allowed",
    );
    let damage = figures.total.failures[1];
    list.find(damage > 0, || {
        "stored bytes are damaged: run `lightning-cli verify integrity`".to_owned()
    });
    list.find(failed > 0 && share > ERROR_SHARE, || {
        format!("{} of commands failed; the log says why", percent(share))
    });
}

fn connections(list: &mut List, figures: &Figures) {
    let (clients, limit) = (&figures.clients, figures.limits.connections);
    let share = ratio(clients.connected, limit);
    list.count("connected", clients.connected, "clients");
    list.count("limit", limit, "limit (limits.max_connections)");
    list.share("used_ratio", share, "of the limit");
    list.count("accepted", clients.accepted, "taken in since the start");
    list.count("rejected", clients.rejected, "turned away since the start");
    list.detail(
        "in_transaction",
        Some(clients.in_transaction as f64),
        Unit::Count,
        "in a transaction",
    );
    list.detail(
        "subscribed",
        Some(clients.subscribed as f64),
        Unit::Count,
        "listening to channels",
    );
    list.detail(
        "idle_longest_seconds",
        Some(clients.idle_longest.as_secs_f64()),
        Unit::Seconds,
        "the longest silence",
    );
    for (name, bytes, label) in [
        ("received_bytes", clients.input_bytes, "received"),
        ("sent_bytes", clients.output_bytes, "sent"),
        ("buffered_bytes", clients.buffered_bytes, "waiting"),
    ] {
        list.detail(name, Some(bytes as f64), Unit::Bytes, label);
    }
    list.find(share > PLACES_SHARE, || {
        format!("{} of all places for clients are taken", percent(share))
    });
}

fn transactions(list: &mut List, figures: &Figures) {
    window(list, figures);
    let engine = &figures.database.engine;
    list.count("active", engine.snapshots.into(), "open now");
    list.count(
        "limit",
        figures.limits.transactions,
        "limit (limits.max_active_transactions)",
    );
    list.count("commits", figures.total.commits, "commits since the start");
    list.add(
        "commits_per_second",
        Some(figures.per_second(figures.window.commits)),
        Unit::PerSecond,
        "commits",
    );
    list.count(
        "conflicts",
        figures.total.conflicts,
        "conflicts since the start",
    );
    let tried = figures.window.commits + figures.window.conflicts;
    let share = ratio(figures.window.conflicts, tried);
    list.share("conflict_ratio", share, "of transactions in conflict");
    list.add(
        "oldest_snapshot_seconds",
        Some(figures.snapshot_age.as_secs_f64()),
        Unit::Seconds,
        "the oldest one holds back changes for",
    );
    let undurable = engine
        .appended_sequence
        .saturating_sub(engine.durable_sequence);
    list.detail(
        "not_durable",
        Some(undurable as f64),
        Unit::Count,
        "commits that a power cut would take",
    );
    list.find(share > CONFLICT_SHARE, || {
        format!("{} of transactions conflict", percent(share))
    });
}

fn cache(list: &mut List, figures: &Figures) {
    window(list, figures);
    let frames = &figures.database.engine.frames;
    let hit_ratio = figures.cache_hit_ratio();
    list.add(
        "hit_ratio",
        hit_ratio,
        Unit::Ratio,
        "operations that needed no device",
    );
    let bytes = f64::from(frames.frames) * f64::from(figures.database.page_bytes);
    list.add("size_bytes", Some(bytes), Unit::Bytes, "size");
    list.count("misses", figures.total.misses, "misses since the start");
    list.detail(
        "page_loads",
        Some(frames.loads as f64),
        Unit::Count,
        "pages read",
    );
    list.add(
        "page_loads_per_second",
        Some(figures.per_second(figures.window.page_loads)),
        Unit::PerSecond,
        "pages read",
    );
    list.detail(
        "page_evictions",
        Some(frames.evictions as f64),
        Unit::Count,
        "pages that made room",
    );
    let is_telling = figures.window.operation_count() >= OPERATIONS_MIN;
    list.find(
        is_telling && hit_ratio.is_some_and(|share| share < HIT_SHARE),
        || "few operations find their pages in memory: raise database.cache_size_mb".to_owned(),
    );
}

fn lsm(list: &mut List, figures: &Figures) {
    window(list, figures);
    let engine = &figures.database.engine;
    list.bytes("memtable_bytes", engine.front_bytes, "in memtables");
    list.count(
        "memtables_waiting",
        engine.frozen_memtables.into(),
        "full memtables that wait",
    );
    list.count("memtables", figures.limits.memtables, "memtables");
    list.count("runs", engine.runs.into(), "runs that wait for a merge");
    list.bytes("run_bytes", engine.run_bytes, "  their size, about");
    let unmerged = engine
        .appended_sequence
        .saturating_sub(engine.merged_sequence);
    list.count("unmerged_commits", unmerged, "commits not merged yet");
    list.count(
        "slowdowns",
        figures.total.slowdowns,
        "writes that waited for room, since the start",
    );
    let waited = figures.window.slowdown_time.as_secs_f64();
    list.add(
        "slowdown_seconds",
        Some(waited),
        Unit::Seconds,
        "writes waited for room",
    );
    list.detail(
        "wal_written_bytes",
        Some(engine.log_bytes as f64),
        Unit::Bytes,
        "written to the log",
    );
    list.detail(
        "page_file_written_bytes",
        Some(engine.store.written_bytes as f64),
        Unit::Bytes,
        "written to the page file",
    );
    list.detail(
        "publications",
        Some(engine.store.flips as f64),
        Unit::Count,
        "states published",
    );
    list.find(waited > figures.window_length.as_secs_f64() / 10.0, || {
        "merges fall behind: writes wait; see `stats disk` and database.lsm_memtable_size_mb"
            .to_owned()
    });
    list.find(figures.background_failure.is_some(), || {
        "merges fail; see `health`".to_owned()
    });
}

fn limits(list: &mut List, figures: &Figures) {
    let limits = &figures.limits;
    let process = &figures.process;
    let mut of = |name: &str, used: u64, most: u64, unit: Unit, label: &str| {
        list.add(&format!("{name}_used"), Some(used as f64), unit, label);
        list.add(
            &format!("{name}_limit"),
            Some(most as f64),
            unit,
            "  of at most",
        );
        list.find(ratio(used, most) > PLACES_SHARE, || {
            format!("{label}: {} of the limit", percent(ratio(used, most)))
        });
    };
    of(
        "connections",
        figures.clients.connected,
        limits.connections,
        Unit::Count,
        "clients",
    );
    of(
        "transactions",
        figures.database.engine.snapshots.into(),
        limits.transactions,
        Unit::Count,
        "open transactions",
    );
    of(
        "memory",
        process.resident_bytes,
        limits.memory_bytes,
        Unit::Bytes,
        "memory",
    );
    if let Some(most) = process.open_files_max {
        of(
            "open_files",
            process.open_files,
            most,
            Unit::Count,
            "open files",
        );
    }
    for (name, value, label) in [
        ("key_bytes_limit", limits.key_bytes, "longest key"),
        ("value_bytes_limit", limits.value_bytes, "longest value"),
        ("query_bytes_limit", limits.query_bytes, "longest command"),
        (
            "client_output_bytes_limit",
            limits.output_bytes,
            "replies waiting for a client",
        ),
    ] {
        list.bytes(name, value, label);
    }
    let timeout = limits.request_timeout.map(|limit| limit.as_secs_f64());
    list.add(
        "request_timeout_seconds",
        timeout,
        Unit::Seconds,
        "time of a request",
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitoring::figures::tests::idle;
    use std::collections::BTreeSet;

    #[test]
    fn every_subject_has_figures_with_names_of_their_own() {
        let figures = idle();
        for (subject, _) in SUBJECTS {
            let view = view(&figures, subject).unwrap();
            assert!(!view.figures.is_empty(), "{subject}");
            assert!(view.findings.is_empty(), "{subject}: {:?}", view.findings);
            let names: BTreeSet<&str> = view
                .figures
                .iter()
                .map(|figure| figure.name.as_str())
                .collect();
            assert_eq!(names.len(), view.figures.len(), "{subject}");
        }
        assert!(view(&figures, "weather").is_none());
    }

    #[test]
    fn what_passes_its_threshold_is_told() {
        let mut figures = idle();
        figures.process.resident_bytes = figures.limits.memory_bytes * 9 / 10;
        figures.clients.connected = 95;
        figures.window.commands = 1000;
        figures.window.failures[0] = 2;
        figures.window.commits = 90;
        figures.window.conflicts = 10;
        for (subject, words) in [
            ("memory", "memory is at 90.0 % of its limit"),
            ("connections", "95.0 % of all places for clients are taken"),
            ("errors", "0.2 % of commands failed; the log says why"),
            ("transactions", "10.0 % of transactions conflict"),
            ("limits", "clients: 95.0 % of the limit"),
        ] {
            let findings = view(&figures, subject).unwrap().findings;
            assert_eq!(findings, [words], "{subject}");
        }
    }
}
