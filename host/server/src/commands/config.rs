//! `CONFIG`: the settings by their own names and by those that Redis has for them.
//!
//! What counts while the service runs can be set; it counts until the service ends, and
//! the file stays as it is. Other settings are refused, unless it is the value they have.

use super::{Call, Command, Flags, Outcome, help_command, shown};
use crate::failure::Failure;
use crate::glob;
use crate::server::Server;
use lightning_ops::configuration::{
    Configuration, Effect, EventClasses, Kind, Loaded, LogLevel, WalSyncMode,
};
use std::net::IpAddr;

const OPERATOR: Flags = Flags::ADMIN
    .with(Flags::NO_SCRIPT)
    .with(Flags::LOADING)
    .with(Flags::STALE);

const fn part(
    name: &'static str,
    arity: i32,
    run: fn(&mut Call<'_, '_, '_>) -> Outcome,
    summary: &'static str,
) -> Command {
    Command::new("server", name, arity, run)
        .flags(OPERATOR)
        .told("2.0.0", summary, "O(N) for N settings")
}

pub(super) const COMMANDS: &[Command] =
    &[
        part("config", -2, get, "Tells of settings, and changes them.").subcommands(&[
            part("config|get", -3, get, "Gives settings whose names match."),
            help_command("server", "config|help", "5.0.0"),
            part(
                "config|resetstat",
                2,
                reset_statistics,
                "Counts from here on.",
            ),
            part(
                "config|rewrite",
                2,
                rewrite,
                "Is refused: lightning-cli config set writes the file.",
            ),
            part(
                "config|set",
                -4,
                set,
                "Changes settings while the service runs.",
            ),
        ]),
    ];

/// Where a setting of Redis leads.
enum Meaning {
    /// To a setting of ours that takes the same values.
    Same(&'static str),
    /// To a setting of ours, in bytes, that takes Redis's units.
    Bytes(&'static str),
    /// To a setting of ours of classes of events.
    Events(&'static str),
    /// To what can't be set while the service runs.
    Fixed(fn(&Server, &Configuration) -> String),
}

/// Settings as Redis calls them.
const NAMES: &[(&str, Meaning)] = &[
    ("appendfsync", Meaning::Fixed(append_sync)),
    ("appendonly", Meaning::Fixed(|_, _| "yes".to_owned())),
    (
        "bind",
        Meaning::Fixed(|_, settings| addresses(&settings.database.bind)),
    ),
    (
        "client-query-buffer-limit",
        Meaning::Bytes("limits.max_query_bytes"),
    ),
    ("daemonize", Meaning::Fixed(|_, _| "no".to_owned())),
    (
        "databases",
        Meaning::Fixed(|_, settings| settings.database.databases.to_string()),
    ),
    (
        "dir",
        Meaning::Fixed(|_, settings| settings.database.path.display().to_string()),
    ),
    (
        "latency-monitor-threshold",
        Meaning::Same("monitoring.latency_monitor_threshold_ms"),
    ),
    ("latency-tracking", Meaning::Fixed(|_, _| "yes".to_owned())),
    (
        "latency-tracking-info-percentiles",
        Meaning::Fixed(|_, _| "50 99 99.9".to_owned()),
    ),
    ("loglevel", Meaning::Fixed(log_level)),
    ("maxclients", Meaning::Same("limits.max_connections")),
    ("maxmemory", Meaning::Fixed(|_, _| "0".to_owned())),
    (
        "maxmemory-policy",
        Meaning::Fixed(|_, _| "noeviction".to_owned()),
    ),
    (
        "notify-keyspace-events",
        Meaning::Events("monitoring.notify_keyspace_events"),
    ),
    (
        "port",
        Meaning::Fixed(|_, settings| settings.database.port.to_string()),
    ),
    (
        "proto-max-bulk-len",
        Meaning::Fixed(|server, _| server.string_bytes_max().to_string()),
    ),
    ("replicaof", Meaning::Fixed(|_, _| String::new())),
    // Whether there is one is nobody's business here, what it is even less.
    ("requirepass", Meaning::Fixed(|_, _| String::new())),
    ("save", Meaning::Fixed(|_, _| String::new())),
    ("slaveof", Meaning::Fixed(|_, _| String::new())),
    (
        "slowlog-log-slower-than",
        Meaning::Same("monitoring.slowlog_log_slower_than_us"),
    ),
    (
        "slowlog-max-len",
        Meaning::Same("monitoring.slowlog_max_len"),
    ),
    ("timeout", Meaning::Same("limits.idle_timeout_sec")),
    ("tls-port", Meaning::Fixed(tls_port)),
    (
        "tracking-table-max-keys",
        Meaning::Same("limits.tracking_table_max_keys"),
    ),
];

fn append_sync(_: &Server, settings: &Configuration) -> String {
    match settings.durability.wal_sync_mode {
        WalSyncMode::Sync => "always",
        WalSyncMode::Periodic(_) => "everysec",
        WalSyncMode::Async => "no",
    }
    .to_owned()
}

fn log_level(_: &Server, settings: &Configuration) -> String {
    match settings.logging.level {
        LogLevel::Error | LogLevel::Warn => "warning",
        LogLevel::Info => "notice",
        LogLevel::Debug => "verbose",
        LogLevel::Trace => "debug",
    }
    .to_owned()
}

fn addresses(list: &[IpAddr]) -> String {
    let list: Vec<String> = list.iter().map(IpAddr::to_string).collect();
    list.join(" ")
}

fn tls_port(_: &Server, settings: &Configuration) -> String {
    let port = settings.security.tls.as_ref().and_then(|tls| tls.port);
    port.unwrap_or(0).to_string()
}

/// The value of a setting of ours as text.
fn own_value(settings: &Loaded, key: &str) -> Option<String> {
    let entry = settings.entry(key)?;
    Some(entry.value.to_text().unwrap_or_default())
}

fn value_of(server: &Server, settings: &Loaded, meaning: &Meaning) -> String {
    match meaning {
        Meaning::Same(key) | Meaning::Bytes(key) | Meaning::Events(key) => {
            own_value(settings, key).unwrap_or_default()
        }
        Meaning::Fixed(value) => value(server, &settings.configuration),
    }
}

fn get(call: &mut Call<'_, '_, '_>) -> Outcome {
    let settings = call.server.settings();
    let patterns: Vec<Vec<u8>> = call
        .arguments
        .from(2)
        .map(<[u8]>::to_ascii_lowercase)
        .collect();
    let is_wanted = |name: &str| {
        let mut patterns = patterns.iter();
        patterns.any(|pattern| glob::matches(pattern, name.as_bytes()))
    };
    let mut found: Vec<(String, String)> = Vec::new();
    for (name, meaning) in NAMES {
        if is_wanted(name) {
            let value = value_of(call.server, &settings, meaning);
            found.push(((*name).to_owned(), value));
        }
    }
    for entry in settings.entries() {
        let key = entry.setting.key();
        if is_wanted(&key) {
            found.push((key, entry.value.to_text().unwrap_or_default()));
        }
    }
    call.reply.map(found.len());
    for (name, value) in found {
        call.reply.bulk(name.as_bytes());
        call.reply.bulk(value.as_bytes());
    }
    Ok(())
}

/// A size in Redis's units: `1kb` is 1024 bytes, `1k` is 1000.
fn bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|last: char| last.is_ascii_alphabetic());
    let number: u64 = digits.parse().ok()?;
    let factor = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1_000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(factor)
}

fn refused(name: &str, reason: &str) -> Failure {
    Failure::reply(format!(
        "ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}"
    ))
}

/// What a name and a value change: the key of ours and its value; nothing where it is
/// the value that counts already.
fn change(
    server: &Server,
    settings: &Loaded,
    given: &[u8],
    text: &str,
) -> Result<Option<(String, String)>, Failure> {
    let name = &*String::from_utf8_lossy(given).to_ascii_lowercase();
    let known = NAMES.iter().find(|(known, _)| *known == name);
    if let Some((_, meaning)) = known {
        if value_of(server, settings, meaning) == text {
            return Ok(None);
        }
        return match meaning {
            Meaning::Same(key) => Ok(Some(((*key).to_owned(), text.to_owned()))),
            Meaning::Events(key) => {
                EventClasses::parse(text).ok_or_else(|| {
                    refused(
                        name,
                        "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.",
                    )
                })?;
                Ok(Some(((*key).to_owned(), text.to_owned())))
            }
            Meaning::Bytes(key) => {
                let size =
                    bytes(text).ok_or_else(|| refused(name, "argument must be a memory value"))?;
                Ok(Some(((*key).to_owned(), size.to_string())))
            }
            Meaning::Fixed(_) => Err(refused(name, "can't set immutable config")),
        };
    }
    let Some(entry) = settings.entry(name) else {
        return Err(Failure::reply(format!(
            "ERR Unknown option or number of arguments for CONFIG SET - '{}'",
            shown(given, 128)
        )));
    };
    let key = entry.setting.key();
    if entry.value.to_text().unwrap_or_default() == text {
        return Ok(None);
    }
    // Files are read anew by a reload, which has more to do.
    if entry.setting.effect == Effect::Reload && entry.setting.kind != Kind::Path {
        Ok(Some((key, text.to_owned())))
    } else {
        let reason = format!(
            "it {}; see lightning-cli config set",
            entry.setting.effect.words()
        );
        Err(refused(name, &reason))
    }
}

fn set(call: &mut Call<'_, '_, '_>) -> Outcome {
    if !call.count().is_multiple_of(2) {
        return Err(Failure::SYNTAX);
    }
    let settings = call.server.settings();
    let mut names: Vec<String> = Vec::new();
    let mut changes: Vec<(String, String)> = Vec::new();
    for index in (2..call.count()).step_by(2) {
        let name = String::from_utf8_lossy(call.at(index)).to_ascii_lowercase();
        if names.contains(&name) {
            return Err(refused(&name, "duplicate parameter"));
        }
        names.push(name);
    }
    for (name, index) in names.iter().zip((3..).step_by(2)) {
        let text = String::from_utf8_lossy(call.at(index));
        if let Some(change) = change(call.server, &settings, call.at(index - 1), &text)? {
            // Alone, so that it is known which one is refused.
            let alone = [change];
            settings
                .with_changes(&alone)
                .map_err(|error| refused(name, &error.to_string()))?;
            changes.extend(alone);
        }
    }
    if !changes.is_empty() {
        let changed = settings.with_changes(&changes).map_err(|error| {
            refused(names.first().map_or("", String::as_str), &error.to_string())
        })?;
        call.server.set_settings(changed);
        tracing::info!(
            client = call.client.shared.id,
            settings = ?changes,
            "settings were changed by CONFIG SET"
        );
    }
    call.reply.ok();
    Ok(())
}

fn reset_statistics(call: &mut Call<'_, '_, '_>) -> Outcome {
    call.server.reset_statistics();
    call.reply.ok();
    Ok(())
}

fn rewrite(_: &mut Call<'_, '_, '_>) -> Outcome {
    Err(Failure::reply(
        "ERR CONFIG REWRITE is not supported: the service doesn't write its configuration file. `lightning-cli config set` does, and keeps its comments",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lightning_ops::configuration::{Sources, named};

    #[test]
    fn names_lead_to_settings_that_count_while_the_service_runs() {
        let sources = Sources {
            environment: vec![("HOME".to_owned(), "/srv/ada".to_owned())],
            ..Sources::default()
        };
        let loaded = Configuration::load(&sources).unwrap();
        for (name, meaning) in NAMES {
            if let Meaning::Same(key) | Meaning::Bytes(key) | Meaning::Events(key) = meaning {
                let [setting] = named(key)[..] else {
                    panic!("{name} leads to {key}, which there isn't");
                };
                assert_eq!(setting.effect, Effect::Reload, "{name}");
                assert!(own_value(&loaded, key).is_some(), "{name}");
            }
        }
        assert!(NAMES.is_sorted_by_key(|(name, _)| *name));
    }

    #[test]
    fn sizes_take_units() {
        for (text, size) in [
            ("100", Some(100)),
            ("1kb", Some(1024)),
            ("1K", Some(1000)),
            ("2gb", Some(2 << 30)),
            ("", None),
            ("mb", None),
            ("1tb", None),
            ("-1", None),
        ] {
            assert_eq!(bytes(text), size, "{text}");
        }
    }
}
