//! The files of `deploy`: alert rules, the dashboard, the unit.

use super::support::{Directory, Service, find_program};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(deploy().join(name)).unwrap()
}

/// The names of series in a text.
fn series_in(text: &str) -> BTreeSet<String> {
    let is_of_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    text.split(|letter| !is_of_name(letter))
        .filter(|word| word.starts_with("lightning_db_") || word.starts_with("process_"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_alert_fires_when_it_should_and_not_else() {
    let Some(promtool) = find_program("promtool") else {
        return;
    };
    for arguments in [
        ["check", "rules", "alerts.yml"],
        ["test", "rules", "alerts.test.yml"],
    ] {
        let output = Command::new(&promtool)
            .args(arguments)
            .current_dir(deploy())
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        let failed = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{told}{failed}");
    }
    let (rules, tests) = (read("alerts.yml"), read("alerts.test.yml"));
    for line in rules.lines() {
        if let Some(alert) = line.trim().strip_prefix("- alert: ") {
            for words in ["fires", "stays quiet"] {
                let name = format!("- name: {alert} {words}\n");
                assert!(tests.contains(&name), "{name}");
            }
        }
    }
}

#[test]
fn alerts_and_dashboard_ask_for_series_that_there_are() {
    let directory = Directory::new();
    let service = Service::start(&directory, &[]);
    let (_, text) = service.get("metrics", "/metrics");
    service.stop();
    let exposed = series_in(&text);
    let dashboard = read("dashboard.json");
    serde_json::from_str::<serde_json::Value>(&dashboard).unwrap();
    for name in series_in(&dashboard).union(&series_in(&read("alerts.yml"))) {
        // The rules' groups are named alike.
        if !name.ends_with("_service") {
            assert!(exposed.contains(name), "{name}");
        }
    }
}

#[test]
fn the_hardened_unit_exposes_little() {
    let Some(analyze) = find_program("systemd-analyze") else {
        return;
    };
    let directory = Directory::new();
    let units = directory.path().join("etc/systemd/system");
    std::fs::create_dir_all(units.join("lightning-db.service.d")).unwrap();
    for name in [
        "lightning-db.service",
        "lightning-db.service.d/hardening.conf",
    ] {
        std::fs::copy(deploy().join(name), units.join(name)).unwrap();
    }
    let output = Command::new(analyze)
        .args(["security", "--offline=true", "--threshold=12", "--no-pager"])
        .arg(format!("--root={}", directory.path().display()))
        .arg("lightning-db.service")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}");
}
