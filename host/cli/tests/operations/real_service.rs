//! The tool against the service as it is built beside it: `cargo test --workspace`
//! builds both. Where it isn't there, nothing is looked at.

use super::support::{Directory, lightning_cli};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Starts the service with its data in `data`, and waits until it serves.
fn start(data: &str) -> Option<Service> {
    let tool = Path::new(env!("CARGO_BIN_EXE_lightning-cli"));
    let program = tool.with_file_name("lightning-admin-server");
    if !program.exists() {
        println!("SKIPPED: {} isn't there", program.display());
        return None;
    }
    let mut command = Command::new(program);
    command.args(["--data", data]);
    for setting in [
        "database.port=0",
        "monitoring.metrics_port=0",
        "monitoring.health_check_port=0",
        "database.cache_size_mb=8",
        "database.lsm_memtable_size_mb=4",
    ] {
        command.args(["--set", setting]);
    }
    let mut child = command
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let service = Service(child);
    assert!(line.contains(" serves: "), "{line}");
    Some(service)
}

#[test]
fn the_service_is_asked_and_answers() {
    let directory = Directory::new();
    let data = directory.text_of("data");
    let Some(service) = start(&data) else {
        return;
    };
    let run = |line: &str| {
        let words: Vec<&str> = line.split(' ').chain(["--data", &data]).collect();
        lightning_cli(&words)
    };
    // The machine's disk may be rather full.
    for line in [
        "health",
        "health --tests memory,performance",
        "health --comprehensive",
    ] {
        let ran = run(line);
        assert!(ran.code < 2, "{line}: {}{}", ran.stdout, ran.stderr);
    }
    for subject in [
        "performance",
        "memory",
        "cpu",
        "errors",
        "connections",
        "transactions",
        "cache",
        "lsm",
        "limits",
    ] {
        run(&format!("stats {subject}")).exits(0);
        run(&format!("stats {subject} --detailed")).exits(0);
        let view = run(&format!("stats {subject} --json")).json();
        assert_eq!(view["subject"], *subject);
    }
    run("stats disk --unit gb").exits(0).prints("1\n");
    run("stats cpu --unit gb").exits(64);
    run("stats weather")
        .exits(64)
        .tells("there are those of performance, memory");
    run("verify integrity --full").exits(0);
    run("verify integrity --quick").exits(0);
    run("config show --running").exits(0);
    run("config reload")
        .exits(0)
        .prints("nothing has changed\n");
    drop(service);
    // Killed, it leaves its socket.
    run("health").exits(3).tells("has ended: start");
    run("verify integrity").exits(0).tells("reads ");
}
