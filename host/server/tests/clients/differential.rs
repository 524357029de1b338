//! Random commands, to Redis and to the service at once.

use crate::support::{Service, has, run};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/differential.py");
/// The version whose replies the service has.
const VERSION: &str = "v=7.0.";
const COMMANDS: &str = "4000";
const PATIENCE: Duration = Duration::from_secs(30);

struct Redis {
    process: Child,
    port: u16,
}

impl Redis {
    /// Starts it, where this version of it is there.
    fn start() -> Option<Self> {
        if !has("redis-server", "redis-server") {
            return None;
        }
        let told = run(Command::new("redis-server").arg("--version"), "");
        if !told.contains(VERSION) {
            eprintln!("SKIPPED: redis-server is another version: {told}");
            return None;
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = port.local_addr().unwrap().port();
        let process = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
            .args(["--save", "", "--dir", env!("CARGO_TARGET_TMPDIR")])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let redis = Self { process, port };
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(started.elapsed() < PATIENCE, "Redis doesn't start");
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(redis)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

#[test]
fn replies_are_those_of_redis() {
    if !has("python3", "python3") {
        return;
    }
    let Some(redis) = Redis::start() else {
        return;
    };
    let service = Service::start();
    let mut command = Command::new("python3");
    let port = redis.port.to_string();
    command.args([SCRIPT, &port, &service.port, "1", COMMANDS]);
    assert_eq!(run(&mut command, ""), "done\n");
}
