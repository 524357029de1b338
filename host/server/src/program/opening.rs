//! The line that says what was started: version, data, limits, addresses, and what the
//! host gave and refused.

use super::surroundings::Surroundings;
use super::{PROGRAM, Service};
use crate::server::OWN_FILES;
use lightning_db::MachineGrants;
use lightning_ops::configuration::{Configuration, WalSyncMode};
use std::net::SocketAddr;

/// The line, without its break: words and then `name=value`, a space between.
pub(super) fn line(
    service: &Service,
    configuration: &Configuration,
    surroundings: &Surroundings,
    files_max: Option<u64>,
    grants: &MachineGrants,
) -> String {
    let database = service.server().store().database();
    let statistics = database.statistics();
    let limits = &configuration.limits;
    let socket = surroundings
        .admin
        .as_ref()
        .map(|socket| socket.path().display().to_string());
    let mut parts = vec![
        ("data", database.path().display().to_string()),
        ("clients", list(&service.addresses())),
        ("metrics", list(&surroundings.metrics)),
        ("health", list(&surroundings.health)),
        ("socket", socket.unwrap_or_else(|| "none".to_owned())),
        (
            "memory_planned_mb",
            (statistics.engine.memory_bytes >> 20).to_string(),
        ),
        (
            "cache_mb",
            (configuration.database.cache_bytes >> 20).to_string(),
        ),
        ("page_bytes", statistics.page_bytes.to_string()),
        ("compression", statistics.compression.to_string()),
        ("durability", durability(configuration)),
        (
            "max_connections",
            service.server().connections_max().to_string(),
        ),
        (
            "max_transactions",
            limits.active_transactions_max.to_string(),
        ),
    ];
    for (wish, given) in &grants.given {
        parts.push((wish, given.clone()));
    }
    let mut refused: Vec<String> = grants
        .refused
        .iter()
        .map(|(wish, reason)| format!("{wish}: {reason}"))
        .collect();
    let wanted = u64::from(limits.connections_max) + OWN_FILES;
    match files_max {
        Some(most) => {
            parts.push(("open_files", most.to_string()));
            if most < wanted {
                refused.push(format!(
                    "{wanted} open files for {} connections: raise LimitNOFILE",
                    limits.connections_max
                ));
            }
        }
        None => parts.push(("open_files", "unlimited".to_owned())),
    }
    if !refused.is_empty() {
        parts.push(("refused", format!("\"{}\"", refused.join("; "))));
    }
    let parts: Vec<String> = parts
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    format!(
        "{PROGRAM} {} serves: {}",
        env!("CARGO_PKG_VERSION"),
        parts.join(" ")
    )
}

fn list(addresses: &[SocketAddr]) -> String {
    if addresses.is_empty() {
        return "none".to_owned();
    }
    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    texts.join(",")
}

fn durability(configuration: &Configuration) -> String {
    match configuration.durability.wal_sync_mode {
        WalSyncMode::Sync => "sync".to_owned(),
        WalSyncMode::Periodic(period) => format!("periodic_{}ms", period.as_millis()),
        WalSyncMode::Async => "async".to_owned(),
    }
}
