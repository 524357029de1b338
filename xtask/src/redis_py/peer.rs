//! Redis, as the distribution has it, to be compared with.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{packages, process, workspace};

/// The version whose replies the service has.
const VERSION: &str = "v=7.0.";
const PATIENCE: Duration = Duration::from_secs(30);

/// A server that runs, with a folder of its own that goes with it.
pub struct Redis {
    process: Child,
    folder: PathBuf,
    /// Where it listens on 127.0.0.1.
    pub port: u16,
}

impl Redis {
    /// Starts it; or why it can't be compared with.
    pub fn start(name: &str) -> anyhow::Result<Result<Self, String>> {
        if !packages::has_program("redis-server") {
            return Ok(Err("there is no redis-server (redis-server)".to_owned()));
        }
        let told = process::capture(Command::new("redis-server").arg("--version"))?;
        if !told.contains(VERSION) {
            return Ok(Err(format!("another version of it: {}", told.trim())));
        }
        let folder = workspace::target().join("redis-py/peer").join(name);
        fs::remove_dir_all(&folder).ok();
        fs::create_dir_all(&folder)?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let process = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
            .args(["--save", "", "--enable-debug-command", "yes"])
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        let redis = Self {
            process,
            folder,
            port,
        };
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if started.elapsed() > PATIENCE {
                return Ok(Err("it doesn't start".to_owned()));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(Ok(redis))
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
        fs::remove_dir_all(&self.folder).ok();
    }
}
