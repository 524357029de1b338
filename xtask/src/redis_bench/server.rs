//! The two servers: started with equal durability on a directory of their own, asked for
//! processor time and memory, and ended.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::{process, workspace};

/// How long a server may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(120);

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Redis,
    Lightning,
}

/// When a write is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// When it survives a power cut.
    Sync,
    /// A power cut may take the last second.
    EverySecond,
}

/// A server that runs.
pub struct Server {
    pub kind: Kind,
    durability: Durability,
    process: Child,
    folder: PathBuf,
    pub port: u16,
    metrics_port: u16,
}

/// A port that nobody listens on just now.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

impl Server {
    /// Starts a server on an empty directory, and waits until it answers.
    pub fn start(kind: Kind, durability: Durability) -> Result<Self> {
        let name = format!("{kind:?}-{durability:?}").to_lowercase();
        let folder = workspace::target().join("redis-bench").join(name);
        fs::remove_dir_all(&folder).ok();
        fs::create_dir_all(&folder).context("making a folder for data")?;
        Self::start_on(kind, durability, folder)
    }

    fn start_on(kind: Kind, durability: Durability, folder: PathBuf) -> Result<Self> {
        let port = free_port()?;
        let metrics_port = free_port()?;
        let mut command = match kind {
            Kind::Redis => redis(durability, port),
            Kind::Lightning => lightning(durability, port, metrics_port),
        };
        let process = command
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("starting {}", process::describe(&command)))?;
        let mut server = Self {
            kind,
            durability,
            process,
            folder,
            port,
            metrics_port,
        };
        server.wait_until_it_answers()?;
        Ok(server)
    }

    fn wait_until_it_answers(&mut self) -> Result<()> {
        let started = Instant::now();
        loop {
            if self.ask("PING").is_ok_and(|reply| reply == "+PONG") {
                return Ok(());
            }
            if let Some(status) = self.process.try_wait()? {
                bail!("{:?} ended: {status}", self.kind);
            }
            if started.elapsed() > PATIENCE {
                bail!("{:?} doesn't answer", self.kind);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The first line of the reply to a command.
    pub fn ask(&self, command: &str) -> Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(format!("{command}\r\n").as_bytes())?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }

    /// Ends it and starts it again on its data; answers how long the start took. Killed:
    /// without a chance to put anything in order.
    pub fn restart(mut self, kill: bool) -> Result<(Self, Duration)> {
        let signal = if kill { "-KILL" } else { "-TERM" };
        let number = self.process.id().to_string();
        process::capture(Command::new("kill").args([signal, &number]))?;
        self.process.wait()?;
        let folder = std::mem::take(&mut self.folder);
        let started = Instant::now();
        let server = Self::start_on(self.kind, self.durability, folder)?;
        Ok((server, started.elapsed()))
    }

    /// Processor time that it has taken since its start.
    pub fn processor_time(&self) -> Result<Duration> {
        let path = format!("/proc/{}/stat", self.process.id());
        let text = fs::read_to_string(&path).with_context(|| path.clone())?;
        // The name in parentheses may hold spaces; what follows doesn't.
        let rest = text.rsplit(')').next().unwrap_or_default();
        let ticks: u64 = rest
            .split_ascii_whitespace()
            .skip(11)
            .take(2)
            .map(|field| field.parse::<u64>().unwrap_or(0))
            .sum();
        // A tick of the statistics is a hundredth of a second on every Linux.
        Ok(Duration::from_millis(ticks * 10))
    }

    /// Memory of the process now, in bytes, by the kernel's count.
    pub fn memory_bytes(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.process.id());
        let text = fs::read_to_string(&path).with_context(|| path.clone())?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_ascii_whitespace().next()?.parse::<u64>().ok());
        Ok(kib.with_context(|| format!("{path} has no VmRSS"))? << 10)
    }

    /// Bytes that its data take on the device.
    pub fn data_bytes(&self) -> Result<u64> {
        let listed = process::capture(Command::new("du").args(["-s", "-k"]).arg(&self.folder))?;
        let kib = listed.split_ascii_whitespace().next().unwrap_or_default();
        Ok(kib.parse::<u64>()? << 10)
    }

    /// Flushes of its log since its start, where it counts them.
    pub fn flushes(&self) -> Result<Option<u64>> {
        if self.kind == Kind::Redis {
            return Ok(None);
        }
        let mut stream = TcpStream::connect(("127.0.0.1", self.metrics_port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix("lightning_db_wal_syncs_total "));
        Ok(Some(
            value
                .context("/metrics has no lightning_db_wal_syncs_total")?
                .trim()
                .parse()?,
        ))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
        if !self.folder.as_os_str().is_empty() {
            fs::remove_dir_all(&self.folder).ok();
        }
    }
}

fn redis(durability: Durability, port: u16) -> Command {
    let mut command = Command::new("redis-server");
    let policy = match durability {
        Durability::Sync => "always",
        Durability::EverySecond => "everysec",
    };
    command.args(["--port", &port.to_string(), "--save", ""]);
    command.args(["--appendonly", "yes", "--appendfsync", policy]);
    // A rewrite of the log is no part of what is measured.
    command.args(["--auto-aof-rewrite-percentage", "0"]);
    command
}

fn lightning(durability: Durability, port: u16, metrics_port: u16) -> Command {
    let program = workspace::target().join("release/lightning-admin-server");
    let mut command = Command::new(program);
    let mode = match durability {
        Durability::Sync => "sync",
        Durability::EverySecond => "periodic",
    };
    command.args(["--data", "data"]);
    for setting in [
        format!("database.port={port}"),
        format!("durability.wal_sync_mode={mode}"),
        "durability.periodic_sync_ms=1000".to_owned(),
        format!("monitoring.metrics_port={metrics_port}"),
        "monitoring.health_check_port=0".to_owned(),
    ] {
        command.args(["--set", &setting]);
    }
    command
}

/// A process that keeps a processor awake and is in nobody's way.
pub struct KeepAwake(Child);

impl KeepAwake {
    pub fn start() -> Result<Self> {
        let mut command = Command::new("chrt");
        command.args(["--idle", "0", "sh", "-c", "while :; do :; done"]);
        let process = command
            .stdin(Stdio::null())
            .spawn()
            .context("starting what keeps a processor awake")?;
        Ok(Self(process))
    }
}

impl Drop for KeepAwake {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
