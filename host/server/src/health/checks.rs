//! The checks of figures. Each says what it found in a sentence, and names a remedy
//! where something is wrong.

use crate::commands::Operation;
use crate::monitoring::figures::{Figures, ratio};
use crate::monitoring::subjects::{DISK_SHARE, MEMORY_SHARE, PLACES_SHARE};
use lightning_ops::admin::{CheckView, HealthStatus};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// A check.
pub type Check = fn(&Figures) -> CheckView;

/// All of them, by name.
pub const ALL: [(&str, Check); 7] = [
    ("connections", connections),
    ("disk", disk),
    ("memory", memory),
    ("performance", performance),
    ("snapshots", snapshots),
    ("transactions", transactions),
    ("writes", writes),
];

/// From this share of a memory limit on nothing is left for the unexpected.
const MEMORY_SHARE_CRITICAL: f64 = 0.95;
/// Below this share of the machine's memory others and the system's cache suffer.
const MACHINE_SHARE_LEFT: f64 = 0.05;
/// From this share of a full disk on writes may soon be refused.
const DISK_SHARE_CRITICAL: f64 = 0.95;
/// A duration above this is slow, in seconds: the operations manual's alert.
const SLOW_SECONDS: f64 = 0.1;
/// Fewer operations than this say nothing about the slowest of a hundred.
const OPERATIONS_MIN: u64 = 100;
/// From this share of the time on writes wait too much.
const WAITING_SHARE: f64 = 0.1;
/// From this age on a snapshot is held by mistake rather than for a long read.
const SNAPSHOT_AGE: Duration = Duration::from_secs(600);
/// From this share of the page file on what snapshots hold back costs too much.
const PENDING_SHARE: f64 = 0.25;

fn found(message: String, figures: &[(&str, Value)]) -> CheckView {
    let figures = figures.iter().map(|(name, value)| {
        let name = (*name).to_owned();
        (name, value.clone())
    });
    CheckView {
        status: HealthStatus::Healthy,
        message,
        remedy: None,
        figures: figures.collect::<BTreeMap<_, _>>(),
    }
}

fn worse(view: CheckView, status: HealthStatus, remedy: &str) -> CheckView {
    CheckView {
        status,
        remedy: Some(remedy.to_owned()),
        ..view
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// A size for people.
#[must_use]
pub fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["bytes", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if unit == "bytes" {
                format!("{bytes} {unit}")
            } else {
                format!("{value:.1} {unit}")
            };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

fn connections(figures: &Figures) -> CheckView {
    let (connected, limit) = (figures.clients.connected, figures.limits.connections);
    let share = ratio(connected, limit);
    let view = found(
        format!("{connected} clients of at most {limit}"),
        &[
            ("connected", connected.into()),
            ("limit", limit.into()),
            ("rejected", figures.clients.rejected.into()),
        ],
    );
    if connected >= limit {
        worse(
            view,
            HealthStatus::Critical,
            "new clients are turned away: raise limits.max_connections, or find out who holds \
             connections by `lightning-cli stats connections --detailed`",
        )
    } else if share > PLACES_SHARE {
        worse(
            view,
            HealthStatus::Warning,
            "raise limits.max_connections, or let clients share connections",
        )
    } else {
        view
    }
}

fn disk(figures: &Figures) -> CheckView {
    let Some(room) = figures.room else {
        return found("the room of this file system isn't known".to_owned(), &[]);
    };
    let taken = room.total_bytes.saturating_sub(room.available_bytes);
    let share = ratio(taken, room.total_bytes);
    let view = found(
        format!(
            "{}: {} full, {} left",
            figures.data_path.display(),
            percent(share),
            size(room.available_bytes)
        ),
        &[
            ("data_bytes", figures.data.bytes().into()),
            ("total_bytes", room.total_bytes.into()),
            ("available_bytes", room.available_bytes.into()),
            ("used_ratio", share.into()),
        ],
    );
    if share > DISK_SHARE_CRITICAL {
        worse(
            view,
            HealthStatus::Critical,
            "writes fail when the disk is full: remove what isn't needed there, or move the data \
             to a larger disk",
        )
    } else if share > DISK_SHARE {
        worse(
            view,
            HealthStatus::Warning,
            "remove what isn't needed there, or plan for a larger disk",
        )
    } else {
        view
    }
}

fn memory(figures: &Figures) -> CheckView {
    let (used, limit) = (figures.process.resident_bytes, figures.limits.memory_bytes);
    let share = ratio(used, limit);
    let mut values = vec![
        ("used_bytes", used.into()),
        ("limit_bytes", limit.into()),
        ("used_ratio", share.into()),
    ];
    if let Some(machine) = figures.machine {
        values.push(("machine_available_bytes", machine.available_bytes.into()));
    }
    let view = found(
        format!("{} of {}, {}", size(used), size(limit), percent(share)),
        &values,
    );
    let left = figures
        .machine
        .map(|machine| ratio(machine.available_bytes, machine.limit_bytes));
    if share > MEMORY_SHARE_CRITICAL {
        worse(
            view,
            HealthStatus::Critical,
            "lower database.cache_size_mb and restart, or raise database.max_memory_mb",
        )
    } else if share > MEMORY_SHARE {
        worse(
            view,
            HealthStatus::Warning,
            "see what takes it by `lightning-cli stats memory --detailed`; lower \
             database.cache_size_mb, or raise database.max_memory_mb",
        )
    } else if left.is_some_and(|left| left < MACHINE_SHARE_LEFT) {
        worse(
            view,
            HealthStatus::Warning,
            "the machine has little memory left: see which process takes it",
        )
    } else {
        view
    }
}

fn performance(figures: &Figures) -> CheckView {
    if !figures.is_measuring {
        return found(
            "durations are not measured (monitoring.metrics_enabled)".to_owned(),
            &[],
        );
    }
    let mut values = Vec::new();
    let mut parts = Vec::new();
    let mut is_slow = false;
    for (durations, operation) in figures.window.operations.iter().zip(Operation::ALL) {
        if let Some(seconds) = durations.quantile(0.99) {
            let name = match operation {
                Operation::Read => "read_latency_p99_seconds",
                Operation::Write => "write_latency_p99_seconds",
                Operation::Delete => "delete_latency_p99_seconds",
            };
            values.push((name, seconds.into()));
            parts.push(format!(
                "{} in {:.3} ms",
                operation.word(),
                seconds * 1000.0
            ));
            is_slow |= durations.measured() >= OPERATIONS_MIN && seconds > SLOW_SECONDS;
        }
    }
    let rate = figures.per_second(figures.window.operation_count());
    values.push(("operations_per_second", rate.into()));
    let message = if parts.is_empty() {
        "no operations in the last five minutes".to_owned()
    } else {
        format!("{rate:.1} operations/s; 99 % of {}", parts.join(", "))
    };
    let view = found(message, &values);
    if is_slow {
        worse(
            view,
            HealthStatus::Warning,
            "see `lightning-cli stats cache` for reads that need the disk and `lightning-cli \
             stats lsm` for writes that wait; the log names slow commands",
        )
    } else {
        view
    }
}

fn snapshots(figures: &Figures) -> CheckView {
    let engine = &figures.database.engine;
    let pending = engine.store.pending_bytes;
    let age = figures.snapshot_age;
    let view = found(
        format!(
            "{} open, the oldest holds back changes for {} s, {} of the page file",
            engine.snapshots,
            age.as_secs(),
            size(pending)
        ),
        &[
            ("open", engine.snapshots.into()),
            ("oldest_age_seconds", age.as_secs_f64().into()),
            ("pending_bytes", pending.into()),
        ],
    );
    let costs = ratio(pending, engine.store.file_bytes) > PENDING_SHARE;
    if age > SNAPSHOT_AGE && costs {
        worse(
            view,
            HealthStatus::Warning,
            "a reader holds an old view, so that the page file grows: let it end",
        )
    } else {
        view
    }
}

fn transactions(figures: &Figures) -> CheckView {
    let open = u64::from(figures.database.engine.snapshots);
    let limit = figures.limits.transactions;
    let view = found(
        format!("{open} open of at most {limit}"),
        &[
            ("open", open.into()),
            ("limit", limit.into()),
            ("conflicts", figures.total.conflicts.into()),
        ],
    );
    if ratio(open, limit) > PLACES_SHARE {
        worse(
            view,
            HealthStatus::Warning,
            "raise limits.max_active_transactions and restart",
        )
    } else {
        view
    }
}

fn writes(figures: &Figures) -> CheckView {
    let engine = &figures.database.engine;
    let waited = figures.window.slowdown_time.as_secs_f64();
    let share = waited / figures.window_length.as_secs_f64().max(1e-3);
    let values = [
        ("memtables_waiting", engine.frozen_memtables.into()),
        ("runs", engine.runs.into()),
        ("slowdowns", figures.window.slowdowns.into()),
        ("slowdown_seconds", waited.into()),
    ];
    if figures.is_poisoned {
        return worse(
            found(
                "the log could not be made durable, so writes are refused".to_owned(),
                &values,
            ),
            HealthStatus::Critical,
            "see the log for the device's error and mend it, then restart the service: what was \
             acknowledged is there",
        );
    }
    if let Some(failure) = &figures.background_failure {
        return worse(
            found(format!("merges fail: {failure}"), &values),
            HealthStatus::Critical,
            "mend what the message names, such as a full or failing disk; merges go on by \
             themselves. Where it names damage, run `lightning-cli verify integrity`",
        );
    }
    if figures.total.failures[1] > 0 {
        return worse(
            found("stored bytes are damaged".to_owned(), &values),
            HealthStatus::Critical,
            "run `lightning-cli verify integrity` to see where, and restore a backup",
        );
    }
    let view = found(
        format!(
            "taken; {} memtables and {} runs wait for their merge",
            engine.frozen_memtables, engine.runs
        ),
        &values,
    );
    if share > WAITING_SHARE {
        worse(
            CheckView {
                message: format!("writes waited for room {} of the time", percent(share)),
                ..view
            },
            HealthStatus::Warning,
            "writes come faster than the disk merges them: write less at once, raise \
             database.lsm_memtable_size_mb, or use a faster disk",
        )
    } else {
        view
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitoring::figures::tests::idle;

    /// Changes figures of a service that is well; says which check finds it, and how bad.
    type Case = (&'static str, HealthStatus, fn(&mut Figures));

    const CASES: [Case; 15] = [
        ("connections", HealthStatus::Warning, |figures| {
            figures.clients.connected = 91;
        }),
        ("connections", HealthStatus::Critical, |figures| {
            figures.clients.connected = 100;
        }),
        ("disk", HealthStatus::Warning, |figures| {
            figures.room.as_mut().unwrap().available_bytes = 14 << 30;
        }),
        ("disk", HealthStatus::Critical, |figures| {
            figures.room.as_mut().unwrap().available_bytes = 4 << 30;
        }),
        ("memory", HealthStatus::Warning, |figures| {
            figures.process.resident_bytes = 900 << 20;
        }),
        ("memory", HealthStatus::Critical, |figures| {
            figures.process.resident_bytes = 1000 << 20;
        }),
        ("memory", HealthStatus::Warning, |figures| {
            figures.machine.as_mut().unwrap().available_bytes = 1 << 20;
        }),
        ("performance", HealthStatus::Warning, |figures| {
            figures.window.operations[1].counts[14] = 1000;
        }),
        ("snapshots", HealthStatus::Warning, |figures| {
            figures.snapshot_age = Duration::from_secs(700);
            figures.database.engine.store.file_bytes = 100;
            figures.database.engine.store.pending_bytes = 50;
        }),
        ("transactions", HealthStatus::Warning, |figures| {
            figures.database.engine.snapshots = 950;
        }),
        ("writes", HealthStatus::Critical, |figures| {
            figures.is_poisoned = true;
        }),
        ("writes", HealthStatus::Critical, |figures| {
            figures.background_failure = Some("no space left".to_owned());
        }),
        ("writes", HealthStatus::Critical, |figures| {
            figures.total.failures[1] = 1;
        }),
        ("writes", HealthStatus::Warning, |figures| {
            figures.window.slowdown_time = Duration::from_secs(60);
        }),
        ("performance", HealthStatus::Healthy, |figures| {
            // One slow operation is no trend.
            figures.window.operations[0].counts[14] = 1;
        }),
    ];

    #[test]
    fn each_check_finds_its_fault_and_no_other_does() {
        for (number, (name, status, spoil)) in CASES.iter().enumerate() {
            let mut figures = idle();
            spoil(&mut figures);
            for (other, run) in ALL {
                let view = run(&figures);
                let expected = if other == *name {
                    *status
                } else {
                    HealthStatus::Healthy
                };
                assert_eq!(view.status, expected, "case {number}, {other}: {view:?}");
                assert_eq!(view.remedy.is_some(), expected != HealthStatus::Healthy);
                assert!(!view.message.is_empty());
            }
        }
    }

    #[test]
    fn sizes_are_readable() {
        assert_eq!(size(1000), "1000 bytes");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(3 << 40), "3.0 TiB");
    }
}
