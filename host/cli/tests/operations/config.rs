//! `config show`, `set`, `check` and `reference`.

use super::support::{Directory, lightning_cli, with_variables};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

const TEXT: &str = "\
# Ours.
[database]
path = \"/var/lib/lightning-db/data\"

[performance]
cache_size_mb = 64 # a comment
";

#[test]
fn every_setting_is_shown_with_its_origin() {
    let directory = Directory::new();
    let file = directory.file("config.toml", TEXT);
    let line = ["config", "show", "--config", &file];
    let variables = [("LIGHTNING_DB_LOG_LEVEL", "debug")];
    let shown = with_variables(&line, &variables);
    shown.exits(0).tells("");
    let rows: Vec<&str> = shown.stdout.lines().collect();
    let column = rows[0].find(&file).unwrap();
    for (row, value, origin) in [
        (
            "database.path ",
            "lightning-db/data\" ",
            format!("{file} line 3"),
        ),
        ("database.cache_size_mb ", " 64 ", format!("{file} line 6")),
        (
            "logging.level ",
            " \"debug\" ",
            "environment LIGHTNING_DB_LOG_LEVEL".to_owned(),
        ),
        ("database.page_size ", " 4096 ", "default".to_owned()),
        (
            "admin.socket ",
            " \"/var/lib/lightning-db/data/admin.sock\" ",
            "default".to_owned(),
        ),
    ] {
        let found = rows.iter().find(|found| found.starts_with(row)).unwrap();
        assert!(found.contains(value), "{found}");
        assert_eq!(&found[column..], origin);
    }
    let some = [
        "config",
        "show",
        "cache_size_mb",
        "bind",
        "--config",
        &file,
        "--set",
        "database.bind=127.0.0.2",
    ];
    lightning_cli(&some).exits(0).prints(&format!(
        "database.bind           \"127.0.0.2\"  command line\n\
         database.cache_size_mb  64           {file} line 6\n\
         monitoring.bind         \"127.0.0.1\"  default\n"
    ));
    let written = with_variables(&[&line[..], &["--origin"]].concat(), &variables);
    assert_eq!(written.stdout.lines().count(), 3, "{}", written.stdout);
    let of_file = with_variables(&[&line[..], &["--origin", "file"]].concat(), &variables);
    assert_eq!(of_file.stdout.lines().count(), 2, "{}", of_file.stdout);
}

#[test]
fn json_has_a_shape() {
    let directory = Directory::new();
    let file = directory.file("config.toml", TEXT);
    let line = [
        "config", "show", "--json", "--config", &file, "--data", "/d",
    ];
    let shown = lightning_cli(&[&line[..], &["--origin"]].concat());
    shown.exits(0).tells("");
    let expected = serde_json::json!({
        "file": file,
        "settings": [
            {
                "key": "database.path", "value": "/d", "origin": "command line",
                "source": "command-line", "effect": "restart",
            },
            {
                "key": "database.cache_size_mb", "value": 64,
                "origin": format!("{file} line 6"), "source": "file", "effect": "restart",
            },
        ],
        "warnings": [],
    });
    assert_eq!(shown.json(), expected);
    let file_of_log = lightning_cli(&[&line[..], &["logging.file"]].concat()).json();
    assert_eq!(file_of_log["settings"][0]["value"], serde_json::Value::Null);
}

#[test]
fn mistakes_are_all_told() {
    let directory = Directory::new();
    let file = directory.file("config.toml", "[database]\nprot = 1\npage_size = 1000\n");
    let expected = format!(
        "lightning-cli: error: the configuration has 2 mistakes:\n  {file} line 2: there is no \
         setting database.prot; did you mean database.port?\n  {file} line 3: \
         database.page_size = 1000 is out of range; it takes a power of two from 512 to 65536 \
         bytes\n"
    );
    for line in [
        &["config", "show", "--config", &file][..],
        &["config", "check", &file],
        &["config", "check", "--config", &file],
        &["config", "set", "port", "1", "--config", &file],
        &["config", "reload", "--config", &file],
    ] {
        let ran = lightning_cli(line);
        ran.exits(2).prints("");
        assert_eq!(ran.stderr, expected);
    }
    let checked = lightning_cli(&["config", "check", &file, "--json"]);
    checked.exits(2);
    let found = checked.json();
    assert_eq!(found["sound"], false);
    assert_eq!(found["problems"][1]["line"], 3);
    let absent = directory.text_of("absent.toml");
    for line in [
        &["config", "show", "--config", &absent][..],
        &["config", "check", &absent],
        &["config", "check", &absent, "--json"],
        &["config", "set", "port", "1", "--config", &absent],
    ] {
        lightning_cli(line)
            .exits(3)
            .prints("")
            .tells("absent.toml: cannot be read: there is no such file");
    }
    lightning_cli(&["config", "show", "prot"])
        .exits(64)
        .tells("there is no setting prot; did you mean database.port?");
    lightning_cli(&["config", "show", "--set", "cache_size_mb=0"])
        .exits(2)
        .tells("command line: database.cache_size_mb = 0 is out of range");
}

#[test]
fn a_file_is_checked_without_the_environment() {
    let directory = Directory::new();
    let file = directory.file("config.toml", TEXT);
    let variables = [("LIGHTNING_DB_CACHE_SIZE_MB", "lots")];
    with_variables(&["config", "check", &file], &variables)
        .exits(0)
        .prints(&format!("{file}: sound: 2 settings\n"))
        .tells("");
    let checked = with_variables(&["config", "check", &file, "--json"], &variables);
    assert_eq!(
        checked.json(),
        serde_json::json!({"file": file, "sound": true, "settings": 2})
    );
    with_variables(&["config", "show", "--config", &file], &variables)
        .exits(2)
        .tells("environment LIGHTNING_DB_CACHE_SIZE_MB: database.cache_size_mb is \"lots\"");
    let odd = [("LIGHTNING_DB_CACHE_SIZE", "5")];
    let shown = with_variables(&["config", "show", "--config", &file], &odd);
    shown
        .exits(0)
        .tells("note: environment LIGHTNING_DB_CACHE_SIZE: there is no such setting");
    with_variables(&["config", "show", "--config", &file, "--quiet"], &odd)
        .exits(0)
        .tells("");
}

#[test]
fn set_edits_the_file_and_says_when_it_counts() {
    let directory = Directory::new();
    let file = directory.file("config.toml", TEXT);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    let set =
        |key: &str, value: &str| lightning_cli(&["config", "set", key, value, "--config", &file]);
    set("cache_size_mb", "2048")
        .exits(0)
        .tells("")
        .prints(&format!(
            "{file} line 6: database.cache_size_mb = 2048 (was 64)\n\
         The change counts after a restart of the service.\n"
        ));
    set("database.cache_size_mb", "2048")
        .exits(0)
        .prints(&format!(
            "{file} line 6: database.cache_size_mb = 2048, as before\n"
        ));
    // As the manual does it when memory is short.
    set("version_cleanup_interval_sec", "30")
        .exits(0)
        .prints(&format!(
            "{file} line 4: database.version_cleanup_interval_sec = 30 (was 60, by default)\n\
             The change counts after `lightning-cli config reload`.\n"
        ));
    set("page_size", "8192").exits(0).prints(&format!(
        "{file} line 5: database.page_size = 8192 (was 4096, by default)\n\
         The change counts only for a database that is created afterwards.\n"
    ));
    set("logging.file", "/l").exits(0);
    set("slowlog_log_slower_than_us", "-1").exits(0);
    assert_eq!(
        std::fs::read_to_string(&file).unwrap(),
        "# Ours.\n[database]\npath = \"/var/lib/lightning-db/data\"\n\
         version_cleanup_interval_sec = 30\npage_size = 8192\n\n[performance]\n\
         cache_size_mb = 2048 # a comment\n\n[logging]\nfile = \"/l\"\n\n[monitoring]\n\
         slowlog_log_slower_than_us = -1\n"
    );
    assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o7777, 0o640);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    let json = lightning_cli(&[
        "config",
        "set",
        "logging.level",
        "debug",
        "--json",
        "--config",
        &file,
    ]);
    assert_eq!(
        json.json(),
        serde_json::json!({
            "file": file, "key": "logging.level", "lines": [12], "before": "info",
            "after": "debug", "effect": "reload", "overridden_by": null,
        })
    );
    with_variables(
        &["config", "set", "cache_size_mb", "8", "--config", &file],
        &[("LIGHTNING_DB_CACHE_SIZE_MB", "7")],
    )
    .exits(0)
    .tells("note: environment LIGHTNING_DB_CACHE_SIZE_MB is set here, and counts more");
}

#[test]
fn set_refuses_what_is_wrong() {
    let directory = Directory::new();
    let file = directory.file("config.toml", TEXT);
    let set =
        |key: &str, value: &str| lightning_cli(&["config", "set", key, value, "--config", &file]);
    set("cash_size_mb", "1")
        .exits(64)
        .tells("there is no setting cash_size_mb; did you mean database.cache_size_mb?");
    set("cache_size_mb", "-1")
        .exits(64)
        .tells("database.cache_size_mb = -1 is out of range; it takes from 1 to 1048576 MiB");
    set("database.bind", "0.0.0.0")
        .exits(2)
        .tells("other machines reach 0.0.0.0, and nobody has to log in");
    set("encryption.enabled", "true")
        .exits(64)
        .tells("there is no setting encryption.enabled");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), TEXT);
    let folder = directory.path().to_str().unwrap();
    lightning_cli(&["config", "set", "port", "1", "--config", folder])
        .exits(3)
        .tells("cannot be read: it is a directory");
}

#[test]
fn which_file_is_used_is_told() {
    // Where the machine has a file at the default place, that one is told.
    let shown = lightning_cli(&["config", "show", "database.path"]);
    if shown.code == 0 && !std::path::Path::new("/etc/lightning-db/config.toml").exists() {
        shown
            .tells("note: uses no file: /etc/lightning-db/config.toml doesn't exist")
            .prints("database.path  \"/srv/ada/.local/share/lightning-db/data\"  default\n");
        lightning_cli(&["config", "set", "port", "1"])
            .exits(3)
            .tells("there is no configuration file: /etc/lightning-db/config.toml doesn't exist");
    }
}

#[test]
fn the_reference_has_every_setting() {
    let page = lightning_cli(&["config", "reference"]);
    page.exits(0).tells("");
    let directory = Directory::new();
    let file = directory.file("config.toml", "");
    let shown = lightning_cli(&["config", "show", "--json", "--config", &file]).json();
    let settings = shown["settings"].as_array().unwrap();
    assert!(settings.len() > 50);
    for setting in settings {
        let heading = format!("\n### {}\n", setting["key"].as_str().unwrap());
        assert!(page.stdout.contains(&heading), "{heading}");
    }
}
