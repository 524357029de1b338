//! Tests of loading: the manual's files, the order of sources, and every message.

use super::*;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The production file of the operations manual.
pub(super) const PRODUCTION: &str = r#"# /etc/lightning-db/config.toml
[database]
path = "/var/lib/lightning-db/data"
page_size = 4096
cache_size_mb = 1024
max_memory_mb = 2048

[performance]
compression_enabled = true
compression_type = "zstd"
write_batch_size = 1000
prefetch_enabled = false

[durability]
wal_sync_mode = "sync"
enable_safety_guards = true
enable_paranoia_checks = true
checkpoint_interval_sec = 300

[logging]
level = "info"
format = "json"
file = "/var/log/lightning-db/lightning.log"
max_size_mb = 100
max_files = 10

[monitoring]
metrics_enabled = true
metrics_port = 9090
health_check_port = 8080
prometheus_export = true

[limits]
max_active_transactions = 1000
max_connections = 100
request_timeout_sec = 30
"#;

/// Its file for a workload of reads.
const READ_HEAVY: &str = r"[performance]
cache_size_mb = 4096           # Large cache
compression_enabled = false    # Reduce CPU overhead
prefetch_enabled = true        # Anticipate reads
prefetch_distance = 16         # Aggressive prefetch

[database]
use_optimized_page_manager = true  # Better read performance
";

/// Its file for a workload of writes.
const WRITE_HEAVY: &str = r#"[performance]
write_batch_size = 5000        # Large batches
compression_enabled = true     # Reduce I/O
wal_sync_mode = "async"        # Faster writes (less durable)

[database]
lsm_memtable_size_mb = 64     # Larger write buffer
compaction_threads = 4         # Parallel compaction
"#;

/// Its file for both.
const MIXED: &str = r#"[performance]
cache_size_mb = 2048          # Balanced cache
write_batch_size = 1000       # Moderate batching
compression_enabled = true     # Good compression ratio
wal_sync_mode = "periodic"    # Balance durability/performance
periodic_sync_ms = 100        # 100ms sync interval
"#;

fn pairs(given: &[(&str, &str)]) -> Vec<(String, String)> {
    given
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn sources() -> Sources {
    Sources {
        file: Some(PathBuf::from("/etc/c.toml")),
        environment: pairs(&[("HOME", "/srv/ada")]),
        command_line: Vec::new(),
    }
}

#[track_caller]
fn load(text: &str) -> Loaded {
    match Configuration::load_text(&sources(), text) {
        Ok(loaded) => loaded,
        Err(errors) => panic!("{errors}"),
    }
}

/// Every problem of the file, a line each.
#[track_caller]
fn problems(text: &str) -> Vec<String> {
    let errors = Configuration::load_text(&sources(), text).unwrap_err();
    errors.problems().iter().map(ToString::to_string).collect()
}

#[test]
fn the_production_file_of_the_manual_loads() {
    let loaded = load(PRODUCTION);
    assert!(loaded.warnings.is_empty());
    let configuration = loaded.configuration;
    assert_eq!(
        configuration.database.path,
        Path::new("/var/lib/lightning-db/data")
    );
    assert_eq!(
        configuration.admin.socket,
        Path::new("/var/lib/lightning-db/data/admin.sock")
    );
    assert_eq!(configuration.database.cache_bytes, 1 << 30);
    assert_eq!(configuration.database.max_memory_bytes, Some(2 << 30));
    assert_eq!(configuration.performance.compression, Compression::Zstd);
    assert_eq!(configuration.performance.prefetch_pages, None);
    assert_eq!(configuration.durability.wal_sync_mode, WalSyncMode::Sync);
    assert_eq!(configuration.logging.format, LogFormat::Json);
    assert_eq!(configuration.logging.file_bytes_max, 100 << 20);
    assert_eq!(configuration.monitoring.metrics_port, 9090);
    assert_eq!(
        configuration.limits.request_timeout,
        Some(Duration::from_secs(30))
    );
}

#[test]
fn the_workload_files_of_the_manual_load() {
    let read = load(READ_HEAVY).configuration;
    assert_eq!(read.database.cache_bytes, 4 << 30);
    assert_eq!(read.performance.prefetch_pages, Some(16));
    assert_eq!(read.performance.compression, Compression::None);
    assert_eq!(read.service.huge_pages, HugePages::Try);
    assert!(read.service.prefault);
    let write = load(WRITE_HEAVY).configuration;
    assert_eq!(write.performance.write_batch_commands_max, 5_000);
    assert_eq!(write.performance.compression, Compression::Lz4);
    assert_eq!(write.durability.wal_sync_mode, WalSyncMode::Async);
    assert_eq!(write.database.memtable_bytes, 64 << 20);
    assert_eq!(write.database.compaction_threads, 4);
    let mixed = load(MIXED).configuration;
    let period = Duration::from_millis(100);
    assert_eq!(
        mixed.durability.wal_sync_mode,
        WalSyncMode::Periodic(period)
    );
}

#[test]
fn the_variables_of_the_manual_are_known() {
    let sources = Sources {
        file: None,
        environment: pairs(&[
            ("LIGHTNING_DB_PATH", "/var/lib/lightning-db/data"),
            ("LIGHTNING_DB_CACHE_SIZE_MB", "1024"),
            ("LIGHTNING_DB_MAX_MEMORY_MB", "2048"),
            ("LIGHTNING_DB_COMPRESSION_ENABLED", "true"),
            ("LIGHTNING_DB_WAL_SYNC_MODE", "sync"),
            ("LIGHTNING_DB_LOG_LEVEL", "info"),
            (
                "LIGHTNING_DB_LOG_FILE",
                "/var/log/lightning-db/lightning.log",
            ),
            ("LIGHTNING_DB_METRICS_PORT", "9090"),
            ("LIGHTNING_DB_HEALTH_PORT", "8081"),
        ]),
        command_line: Vec::new(),
    };
    let loaded = Configuration::load(&sources).unwrap();
    assert!(loaded.warnings.is_empty());
    assert_eq!(loaded.configuration.monitoring.health_check_port, 8081);
    let variables = loaded.entries().iter();
    let written = variables.filter(|entry| entry.origin.kind() == "environment");
    assert_eq!(written.count(), 9);
}

#[test]
fn later_sources_count_more_and_origins_are_kept() {
    let mut sources = sources();
    let text = "[database]\ncache_size_mb = 1\nport = 1\ndatabases = 1\n";
    sources.environment.extend(pairs(&[
        ("LIGHTNING_DB_CACHE_SIZE_MB", "2"),
        ("LIGHTNING_DB_DATABASE_PORT", "2"),
    ]));
    sources.command_line = pairs(&[("performance.cache_size_mb", "3")]);
    let loaded = Configuration::load_text(&sources, text).unwrap();
    let shown = |key: &str| {
        let entry = loaded.entry(key).unwrap();
        format!("{} from {}", entry.value, entry.origin)
    };
    assert_eq!(shown("cache_size_mb"), "3 from command line");
    assert_eq!(
        shown("database.port"),
        "2 from environment LIGHTNING_DB_DATABASE_PORT"
    );
    assert_eq!(shown("databases"), "1 from /etc/c.toml line 4");
    assert_eq!(shown("page_size"), "4096 from default");
    assert_eq!(
        shown("database.path"),
        "\"/srv/ada/.local/share/lightning-db/data\" from default"
    );
    assert_eq!(loaded.file(), Some(Path::new("/etc/c.toml")));
    assert!(loaded.entry("bind").is_none(), "two sections have it");
}

#[test]
fn a_relative_path_in_a_file_counts_from_the_file() {
    let loaded = load("[database]\npath = \"data\"\n[logging]\nfile = \"\"\n");
    assert_eq!(loaded.configuration.database.path, Path::new("/etc/data"));
    assert_eq!(loaded.configuration.logging.file, None);
}

#[test]
fn the_data_is_in_the_data_directory_of_the_user() {
    let path = |given: &[(&str, &str)]| {
        let sources = Sources {
            environment: pairs(given),
            ..Sources::default()
        };
        Configuration::load(&sources).map(|loaded| loaded.configuration.database.path)
    };
    let home = ("HOME", "/srv/ada");
    assert_eq!(
        path(&[home]).unwrap(),
        Path::new("/srv/ada/.local/share/lightning-db/data")
    );
    assert_eq!(
        path(&[home, ("XDG_DATA_HOME", "/d")]).unwrap(),
        Path::new("/d/lightning-db/data")
    );
    assert_eq!(
        path(&[home, ("XDG_DATA_HOME", "relative")]).unwrap(),
        Path::new("/srv/ada/.local/share/lightning-db/data")
    );
    assert_eq!(
        path(&[]).unwrap_err().to_string(),
        "there is no place for the data: set database.path, or LIGHTNING_DB_PATH, or HOME for \
         the default place"
    );
}

#[test]
fn every_problem_of_a_file_is_told_at_once() {
    let text = r#"cache_size_mb = 5
database.cach_size_mb = 5
database.max_conections = 5
limits = 7
[databse]
port = 1
[zoology]
[performance]
write_batch_size = "many"
prefetch_distance = 0
compression_type = "gzip"
compression_enabled = 1.5
[logging]
level = true
file = 3
[encryption]
enabled = true
[audit]
[service]
numa = "nowhere"
cpu_affinity = "7-0"
[monitoring]
bind = "localhost"
"#;
    let expected = [
        "line 1: there is no setting cache_size_mb; did you mean database.cache_size_mb?",
        "line 2: there is no setting database.cach_size_mb; did you mean database.cache_size_mb?",
        "line 3: there is no setting database.max_conections; did you mean \
         limits.max_connections?",
        "line 4: limits is a section: write [limits] on a line and its settings below",
        "line 5: there is no section [databse]; did you mean [database]?",
        "line 7: there is no section [zoology]; `lightning-cli config reference` lists all",
        "line 9: performance.write_batch_size is the text \"many\"; it takes a whole number \
         from 1 to 100000 commands",
        "line 10: performance.prefetch_distance = 0 is out of range; it takes from 1 to 1024 \
         pages",
        "line 11: performance.compression_type is \"gzip\"; it takes \"none\", \
         \"lz4\" or \"zstd\"",
        "line 12: performance.compression_enabled is a number with a fraction; it takes true or \
         false",
        "line 14: logging.level is true; it takes \"error\", \"warn\", \"info\", \"debug\" or \
         \"trace\"",
        "line 15: logging.file is the number 3; it takes the text of a path",
        "line 16: [encryption] is not supported by this version: it has no encryption at rest; \
         take the section out to start without",
        "line 18: [audit] is not supported by this version: it has no audit logging; take the \
         section out to start without",
        "line 20: service.numa is \"nowhere\"; it takes \"off\" or \"interleave\", or numbers \
         and ranges such as \"0-3,8\"",
        "line 21: service.cpu_affinity is \"7-0\"; it takes a text of numbers and ranges such \
         as \"0-3,8\"",
        "line 23: monitoring.bind is \"localhost\"; it takes an IP address such as \
         \"127.0.0.1\", or several with spaces between",
    ];
    let found = problems(text);
    for (index, expected) in expected.iter().enumerate() {
        assert_eq!(
            found.get(index).map(String::as_str),
            Some(format!("/etc/c.toml {expected}").as_str())
        );
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn two_places_of_a_setting_agree_or_are_refused() {
    let same = "[database]\ncache_size_mb = 5\n[performance]\ncache_size_mb = 5\n";
    assert_eq!(load(same).configuration.database.cache_bytes, 5 << 20);
    let differ = "[durability]\nwal_sync_mode = \"sync\"\n[performance]\nwal_sync_mode = \"async\"";
    assert_eq!(
        problems(differ),
        [
            "durability.wal_sync_mode has two values: \"sync\" (/etc/c.toml line 2) and \
             \"async\" (/etc/c.toml line 4); take one of them out"
        ]
    );
    let mut sources = sources();
    sources.environment.extend(pairs(&[
        ("LIGHTNING_DB_HEALTH_PORT", "1"),
        ("LIGHTNING_DB_HEALTH_CHECK_PORT", "2"),
    ]));
    let errors = Configuration::load_text(&sources, "").unwrap_err();
    assert_eq!(
        errors.to_string(),
        "monitoring.health_check_port has two values: 2 (environment \
         LIGHTNING_DB_HEALTH_CHECK_PORT) and 1 (environment LIGHTNING_DB_HEALTH_PORT); take one \
         of them out"
    );
}

#[test]
fn what_is_no_toml_is_told_with_line_and_column() {
    let found = problems("[database]\nport = = 1\n");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with("/etc/c.toml line 2, column 8: "),
        "{found:?}"
    );
    let found = problems("[database]\nport = 1\n\nport = 2\n");
    assert!(
        found[0].starts_with("/etc/c.toml line 4, column 1: "),
        "{found:?}"
    );
    assert!(found[0].contains("duplicate key"), "{found:?}");
}

#[test]
fn variables_and_overrides_are_checked_as_the_file_is() {
    let mut sources = Sources {
        file: None,
        ..sources()
    };
    sources.environment.extend(pairs(&[
        ("LIGHTNING_DB_CACHE_SIZE_MB", "lots"),
        ("LIGHTNING_DB_DATABASE_BIND", "everywhere"),
        ("LIGHTNING_DB_PREFAULT", "perhaps"),
        ("LIGHTNING_DB_PATH", "/a\u{fffd}"),
    ]));
    sources.command_line = pairs(&[("bind", "127.0.0.1"), ("database.portt", "1"), ("x", "y")]);
    let errors = Configuration::load(&sources).unwrap_err();
    assert_eq!(
        errors.to_string(),
        "environment LIGHTNING_DB_CACHE_SIZE_MB: database.cache_size_mb is \"lots\"; it takes a \
         whole number from 1 to 1048576 MiB\n\
         environment LIGHTNING_DB_DATABASE_BIND: database.bind is \"everywhere\"; it takes an \
         IP address such as \"127.0.0.1\", or several with spaces between\n\
         environment LIGHTNING_DB_PATH: database.path is a text with a zero byte or one that \
         is not UTF-8; it takes the text of a path\n\
         environment LIGHTNING_DB_PREFAULT: service.prefault is \"perhaps\"; it takes true or \
         false\n\
         command line: bind stands for more than one setting: write database.bind or \
         monitoring.bind\n\
         command line: there is no setting database.portt; did you mean database.port?\n\
         command line: there is no setting x; `lightning-cli config reference` lists all"
    );
}

#[test]
fn a_variable_that_nobody_knows_is_a_warning() {
    let mut sources = sources();
    sources.environment.extend(pairs(&[
        ("LIGHTNING_DB_PORT", "tcp://10.0.0.1:7379"),
        ("LIGHTNING_DB_WEATHER", "fine"),
    ]));
    let loaded = Configuration::load_text(&sources, "").unwrap();
    let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "environment LIGHTNING_DB_PORT: there is no such setting, it is not heeded; did \
             you mean LIGHTNING_DB_DATABASE_PORT?",
            "environment LIGHTNING_DB_WEATHER: there is no such setting, it is not heeded; \
             `lightning-cli config reference` lists all",
        ]
    );
}

#[test]
fn memory_has_to_suffice() {
    let text = "[database]\ncache_size_mb = 1000\nmax_memory_mb = 1024\n";
    assert_eq!(
        problems(text),
        [
            "database.cache_size_mb = 1000 (/etc/c.toml line 2) and 3 write buffers of \
             database.lsm_memtable_size_mb = 32 (default) need 1096 MiB, more than \
             database.max_memory_mb = 1024 (/etc/c.toml line 3): lower one of the former, or \
             raise the latter"
        ]
    );
    load("[database]\ncache_size_mb = 928\nmax_memory_mb = 1024\n");
}

#[test]
fn ports_collide_where_addresses_meet() {
    let text = "[monitoring]\nmetrics_port = 7379\n";
    assert_eq!(
        problems(text),
        [
            "database.port = 7379 (default) and monitoring.metrics_port = 7379 (/etc/c.toml \
             line 2) are the same port: change one of them"
        ]
    );
    load("[monitoring]\nmetrics_port = 7379\nbind = \"127.0.0.2\"\n");
    load("[monitoring]\nmetrics_port = 7379\nprometheus_export = false\n");
    load("[monitoring]\nmetrics_port = 0\nhealth_check_port = 0\n[database]\nport = 0\n");
    let everywhere = "[monitoring]\nhealth_check_port = 7379\nbind = \"0.0.0.0\"\n";
    assert_eq!(problems(everywhere).len(), 1);
}

#[test]
fn other_machines_come_in_only_where_that_is_written() {
    let text = "[database]\nbind = \"127.0.0.1, 10.0.0.1\"\n";
    assert_eq!(
        problems(text),
        [
            "database.bind = \"127.0.0.1 10.0.0.1\" (/etc/c.toml line 2): other machines reach \
             10.0.0.1, and nobody has to log in: set security.password_file or \
             security.acl_file, or write security.allow_unauthenticated = true"
        ]
    );
    for address in ["::", "0.0.0.0", "::ffff:10.0.0.1", "fe80::1"] {
        let text = format!("[database]\nbind = \"{address}\"\n");
        assert_eq!(problems(&text).len(), 1, "{address}");
    }
    for address in ["::1", "127.8.9.1", "::ffff:127.0.0.1"] {
        load(&format!("[database]\nbind = \"{address}\"\n"));
    }
    for way in [
        "password_file = \"/p\"",
        "acl_file = \"/u\"",
        "allow_unauthenticated = true",
    ] {
        let loaded = load(&format!("{text}[security]\n{way}\n"));
        assert_eq!(
            loaded.configuration.database.bind[1],
            IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1))
        );
    }
}

#[test]
fn a_password_and_users_do_not_go_together() {
    assert_eq!(
        problems("[security]\npassword_file = \"/p\"\nacl_file = \"/u\"\n"),
        [
            "security.password_file = \"/p\" (/etc/c.toml line 2) and security.acl_file = \"/u\" \
             (/etc/c.toml line 3) don't go together: the file of users has their passwords"
        ]
    );
}

#[test]
fn certificate_and_key_go_together() {
    assert_eq!(
        problems("[security]\ntls_cert_file = \"/c.pem\"\n"),
        [
            "security.tls_cert_file = \"/c.pem\" (/etc/c.toml line 2) needs \
             security.tls_key_file, too: the certificate and its private key go together"
        ]
    );
    assert_eq!(
        problems("[security]\ntls_key_file = \"/k.pem\"\n"),
        [
            "security.tls_key_file = \"/k.pem\" (/etc/c.toml line 2) needs \
             security.tls_cert_file, too: the certificate and its private key go together"
        ]
    );
    assert_eq!(
        problems("[security]\ntls_port = 7380\n"),
        [
            "security.tls_port = 7380 (/etc/c.toml line 2) needs a certificate: set \
             security.tls_cert_file and security.tls_key_file"
        ]
    );
    let both = "[security]\ntls_cert_file = \"/c\"\ntls_key_file = \"/k\"\ntls_port = 7380\n";
    let tls = load(both).configuration.security.tls.unwrap();
    assert_eq!(tls.port, Some(7380));
}

#[test]
fn a_socket_path_may_be_too_long() {
    let long = "x".repeat(120);
    let text = format!("[database]\npath = \"/{long}\"\n");
    let found = problems(&text);
    assert_eq!(found.len(), 1);
    assert!(
        found[0].ends_with(
            "(default): the path is 132 bytes long, and a socket's takes at most 107: set \
             admin.socket to a shorter one"
        ),
        "{found:?}"
    );
    load(&format!("{text}[admin]\nsocket = \"/run/a.sock\"\n"));
}

#[test]
fn a_file_that_can_not_be_read_is_named() {
    let folder = std::env::temp_dir();
    let absent = folder.join("lightning-ops-no-such-file.toml");
    let told = |path: &Path| {
        let sources = Sources {
            file: Some(path.to_owned()),
            ..sources()
        };
        let errors = Configuration::load(&sources).unwrap_err();
        assert!(errors.is_unreadable() || errors.problems()[0].line().is_some());
        errors.to_string()
    };
    assert_eq!(
        told(&absent),
        format!(
            "{}: cannot be read: there is no such file",
            absent.display()
        )
    );
    assert_eq!(
        told(&folder),
        format!("{}: cannot be read: it is a directory", folder.display())
    );
    let bytes = folder.join(format!("lightning-ops-bytes-{}", std::process::id()));
    std::fs::write(&bytes, b"a = 1\n# \xff\n").unwrap();
    let message = told(&bytes);
    std::fs::remove_file(&bytes).unwrap();
    assert_eq!(
        message,
        format!(
            "{} line 2, column 3: a byte that is not UTF-8",
            bytes.display()
        )
    );
}

#[test]
fn other_forms_of_toml_are_read_as_well() {
    let loaded = load("database = { port = 1, cache_size_mb = 7 }\nlogging.level = \"debug\"\n");
    assert_eq!(loaded.configuration.database.port, 1);
    assert_eq!(loaded.configuration.logging.level, LogLevel::Debug);
    assert_eq!(
        loaded.entry("logging.level").unwrap().origin.to_string(),
        "/etc/c.toml line 2"
    );
    assert_eq!(
        problems("[[database]]\nport = 1\n"),
        [
            "/etc/c.toml line 1: database is a section: write [database] on a line and its settings below"
        ]
    );
    let listed = "[database]\nbind = [\"127.0.0.1\", \"::1\"]\n";
    assert_eq!(load(listed).configuration.database.bind.len(), 2);
    for (list, found) in [("[]", "\"\""), ("[1]", "a list of other things")] {
        assert_eq!(
            problems(&format!("[database]\nbind = {list}\n")),
            [format!(
                "/etc/c.toml line 2: database.bind is {found}; it takes an IP address such as \
                 \"127.0.0.1\", or several with spaces between"
            )]
        );
    }
    assert_eq!(
        problems("[database.port]\nx = 1\n"),
        ["/etc/c.toml line 1: database.port is a table; it takes a whole number from 0 to 65535"]
    );
}

#[test]
fn every_default_is_a_typed_value() {
    let configuration = load("").configuration;
    assert_eq!(configuration.database.port, 7379);
    assert_eq!(configuration.database.databases, 16);
    assert_eq!(configuration.database.max_memory_bytes, None);
    assert_eq!(configuration.database.bind, [IpAddr::from([127, 0, 0, 1])]);
    assert_eq!(configuration.service.numa, Numa::Off);
    assert_eq!(configuration.service.cpu_affinity, None);
    assert_eq!(configuration.security.tls, None);
    assert_eq!(
        configuration.monitoring.slowlog_threshold,
        Some(Duration::from_millis(10))
    );
    let other = "[service]\nnuma = \"0-1\"\ncpu_affinity = \"0-2,7\"\n[monitoring]\n\
                 slowlog_log_slower_than_us = -1\n";
    let configuration = load(other).configuration;
    assert_eq!(configuration.service.numa, Numa::Nodes(vec![0, 1]));
    assert_eq!(configuration.service.cpu_affinity, Some(vec![0, 1, 2, 7]));
    assert_eq!(configuration.monitoring.slowlog_threshold, None);
}

#[test]
fn no_file_is_too_broken_to_be_told_of() {
    // A file of the manual with bytes taken out, put in and changed.
    let mut state = 1_u64;
    let mut random = |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(state >> 33).unwrap() % below
    };
    let letters: Vec<char> = PRODUCTION.chars().collect();
    let foreign: Vec<char> = "[]{}=\"'.,#\n\r\t\\\0µ0-".chars().collect();
    let (mut sound, mut broken) = (0, 0);
    for _ in 0..2_000 {
        let mut text = letters.clone();
        for _ in 0..=random(3) {
            let at = random(text.len());
            match random(3) {
                0 => drop(text.remove(at)),
                1 => text.insert(at, foreign[random(foreign.len())]),
                _ => text[at] = foreign[random(foreign.len())],
            }
        }
        let text: String = text.into_iter().collect();
        match Configuration::load_text(&sources(), &text) {
            Ok(_) => sound += 1,
            Err(errors) => {
                broken += 1;
                let lines = text.split('\n').count();
                for problem in errors.problems() {
                    assert!(
                        problem
                            .line()
                            .is_none_or(|line| (1..=lines).contains(&line))
                    );
                    assert!(!problem.to_string().is_empty());
                }
            }
        }
    }
    assert!(sound > 50 && broken > 500, "{sound} {broken}");
}
