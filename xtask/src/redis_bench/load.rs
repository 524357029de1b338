//! The load: redis-benchmark, and a loader that writes each key once.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::server::Server;
use crate::process;

/// Keys of the data that are read and written.
pub const KEYS: u64 = 1_000_000;
/// Bytes of a value.
pub const VALUE_BYTES: usize = 100;
/// Commands that the loader sends at once.
const LOADED_AT_ONCE: u64 = 1000;

/// What redis-benchmark does.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// `set`, `get` or `ping_mbulk`.
    pub command: &'static str,
    pub connections: u32,
    pub pipeline: u32,
    /// Threads of redis-benchmark.
    pub threads: u32,
    pub requests: u64,
}

/// What it found.
#[derive(Debug, Clone, Copy, Default)]
pub struct Found {
    /// Requests a second.
    pub rate: f64,
    /// Milliseconds within which 99 % were answered.
    pub p99_ms: f64,
    /// Milliseconds within which 99.9 % were.
    pub p999_ms: f64,
}

impl Load {
    fn command(&self, server: &Server, keys: u64) -> Command {
        let mut command = Command::new("redis-benchmark");
        for (name, value) in [
            ("-p", u64::from(server.port)),
            ("-c", u64::from(self.connections)),
            ("-P", u64::from(self.pipeline)),
            ("-n", self.requests),
            ("-r", keys),
            ("-d", VALUE_BYTES as u64),
            ("--precision", 3),
        ] {
            command.args([name, &value.to_string()]);
        }
        if self.threads > 1 {
            command.args(["--threads", &self.threads.to_string()]);
        }
        command.args(["-t", self.command]);
        command
    }

    /// Runs it to its end.
    pub fn run(&self, server: &Server, keys: u64) -> Result<Found> {
        let output = process::capture(&mut self.command(server, keys))?;
        parse(&output).with_context(|| format!("redis-benchmark printed {output:?}"))
    }

    /// Runs it until the answer is dropped.
    pub fn run_on(&self, server: &Server, keys: u64) -> Result<Background> {
        let mut command = self.command(server, keys);
        let process = command
            .arg("-l")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("starting redis-benchmark")?;
        Ok(Background(process))
    }
}

/// A load in the background.
pub struct Background(Child);

impl Drop for Background {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Rate and percentiles of what redis-benchmark prints for people.
fn parse(output: &str) -> Option<Found> {
    let mut found = Found::default();
    let mut lines = output.lines();
    lines.find(|line| line.starts_with("Latency by percentile distribution"))?;
    let percentiles: Vec<(f64, f64)> = lines
        .by_ref()
        .map_while(|line| {
            let (percent, rest) = line.split_once("% <= ")?;
            let (milliseconds, _) = rest.split_once(' ')?;
            Some((percent.parse().ok()?, milliseconds.parse().ok()?))
        })
        .collect();
    let within = |wanted: f64| {
        let mut found = percentiles.iter();
        found
            .find(|(percent, _)| *percent >= wanted)
            .map(|one| one.1)
    };
    found.p99_ms = within(99.0)?;
    found.p999_ms = within(99.9)?;
    let rate = lines.find_map(|line| line.trim().strip_prefix("throughput summary: "))?;
    found.rate = rate.split(' ').next()?.parse().ok()?;
    Some(found)
}

/// Gives `keys` keys, as redis-benchmark names them, a value each.
pub fn fill(server: &Server, keys: u64) -> Result<()> {
    let stream = TcpStream::connect(("127.0.0.1", server.port))?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    let value = "x".repeat(VALUE_BYTES);
    let mut first = 0;
    while first < keys {
        let end = (first + LOADED_AT_ONCE).min(keys);
        let mut commands = String::new();
        for key in first..end {
            commands.push_str(&format!(
                "*3\r\n$3\r\nSET\r\n$16\r\nkey:{key:012}\r\n${VALUE_BYTES}\r\n{value}\r\n"
            ));
        }
        writer.write_all(commands.as_bytes())?;
        for _ in first..end {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            if line != "+OK\r\n" {
                bail!("{:?} answered {line:?}", server.kind);
            }
        }
        first = end;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read() {
        let output = "Latency by percentile distribution:\n\
            0.000% <= 0.063 milliseconds (cumulative count 1)\n\
            99.219% <= 4.239 milliseconds (cumulative count 99219)\n\
            99.902% <= 7.167 milliseconds (cumulative count 99903)\n\
            100.000% <= 10.263 milliseconds (cumulative count 100000)\n\n\
            Cumulative distribution of latencies:\n\
            99.897% <= 7.103 milliseconds (cumulative count 99897)\n\n\
            Summary:\n  throughput summary: 51546.39 requests per second\n";
        let found = parse(output).unwrap();
        let figures = [found.rate, found.p99_ms, found.p999_ms];
        assert_eq!(
            figures.map(|one| (one * 1000.0).round()),
            [51_546_390.0, 4239.0, 7167.0]
        );
        assert!(parse("Error: connection refused").is_none());
    }
}
