//! Redis's own tools.

use crate::support::{Service, has, run};
use std::fmt::Write as _;
use std::process::Command;

fn cli(service: &Service, arguments: &[&str]) -> Command {
    let mut command = Command::new("redis-cli");
    command.args(["-p", &service.port]).args(arguments);
    command
}

#[test]
fn redis_cli_talks_in_either_version() {
    if !has("redis-cli", "redis-tools") {
        return;
    }
    let service = Service::start();
    let say = |arguments: &[&str]| run(&mut cli(&service, arguments), "");
    assert_eq!(say(&["set", "a", "1"]), "OK\n");
    assert_eq!(say(&["-3", "incr", "a"]), "2\n");
    assert_eq!(say(&["-n", "3", "get", "a"]), "\n");
    let session = "multi\nset b x\nget b\nexec\nhello 3\nconfig get maxclients\nbogus\n";
    let told = run(&mut cli(&service, &["--no-raw"]), session);
    assert!(told.contains("QUEUED"), "{told}");
    assert!(told.contains("1# \"maxclients\" => \"1000\""), "{told}");
    assert!(
        told.contains("(error) ERR unknown command 'bogus'"),
        "{told}"
    );
    assert_eq!(say(&["--scan", "--pattern", "?"]), "a\nb\n");
    for section in [
        "# Server",
        "# Clients",
        "# Memory",
        "# Keyspace\r\ndb0:keys=2",
    ] {
        assert!(say(&["info"]).contains(section), "{section}");
    }
    assert!(say(&["-3", "command", "docs", "get"]).contains("summary"));
    assert!(say(&["client", "list"]).contains("cmd=client|list"));
}

#[test]
fn redis_cli_fills_and_examines_a_database() {
    if !has("redis-cli", "redis-tools") {
        return;
    }
    let service = Service::start();
    let mut requests = String::new();
    for number in 0..2_000 {
        let key = format!("key:{number}");
        let (length, value) = (key.len(), "x".repeat(number % 50));
        let size = value.len();
        write!(
            requests,
            "*3\r\n$3\r\nSET\r\n${length}\r\n{key}\r\n${size}\r\n{value}\r\n"
        )
        .unwrap();
    }
    let told = run(&mut cli(&service, &["--pipe"]), &requests);
    assert!(told.contains("errors: 0, replies: 2000"), "{told}");
    let told = run(&mut cli(&service, &["--bigkeys"]), "");
    assert!(told.contains("2000 strings with 49000 bytes"), "{told}");
    let told = run(&mut cli(&service, &["--memkeys"]), "");
    assert!(
        told.contains("Sampled 2000 keys in the keyspace!"),
        "{told}"
    );
}

#[test]
fn redis_benchmark_runs_without_a_complaint() {
    if !has("redis-benchmark", "redis-tools") {
        return;
    }
    let service = Service::start();
    for version in [&[][..], &["-3"]] {
        let mut command = Command::new("redis-benchmark");
        command
            .args(["-p", &service.port, "-n", "4000", "-c", "20", "-P", "16"])
            .args(["-r", "1000", "-t", "set,get,incr,mset", "--csv"])
            .args(version);
        let told = run(&mut command, "");
        for test in ["SET", "GET", "INCR", "MSET (10 keys)"] {
            assert!(told.contains(&format!("\"{test}\",\"")), "{told}");
        }
        for complaint in ["WARNING", "rror"] {
            assert!(!told.contains(complaint), "{told}");
        }
    }
}
