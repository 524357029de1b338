//! Starts the service on a free port, with a directory that is removed afterwards, and
//! runs clients.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A running service.
pub struct Service {
    process: Child,
    // Kept, since a service that can't print any more is another one.
    _output: BufReader<ChildStdout>,
    folder: PathBuf,
    /// Its port on 127.0.0.1.
    pub port: String,
}

impl Service {
    pub fn start() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("clients-{}-{number}", std::process::id());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::remove_dir_all(&folder).ok();
        let mut command = Command::new(env!("CARGO_BIN_EXE_lightning-admin-server"));
        for setting in [
            &format!("database.path={}", folder.display()),
            "database.port=0",
            "monitoring.metrics_port=0",
            "monitoring.health_check_port=0",
            "database.cache_size_mb=16",
            "database.lsm_memtable_size_mb=8",
        ] {
            command.args(["--set", setting]);
        }
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let (_, behind) = line.split_once("127.0.0.1:").expect(&line);
        let port = behind.chars().take_while(char::is_ascii_digit).collect();
        Self {
            process,
            _output: output,
            folder,
            port,
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

/// Runs a command with this input; answers what it printed. It must not fail.
#[track_caller]
pub fn run(command: &mut Command, input: &str) -> String {
    let mut process = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut writer = process.stdin.take().unwrap();
    let input = input.to_owned();
    let writing = std::thread::spawn(move || writer.write_all(input.as_bytes()));
    let output = process.wait_with_output().unwrap();
    writing.join().unwrap().ok();
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{command:?}: {text}");
    text
}

/// Whether a program is there; if not, it is told on standard error.
pub fn has(program: &str, package: &str) -> bool {
    let is_there = Command::new(program).arg("--version").output().is_ok();
    if !is_there {
        eprintln!("SKIPPED: {program} is missing; it is in the package {package}");
    }
    is_there
}
