//! One stage of a workload as a process of its own: the order, the reply, and
//! both ends of the pipe between them.
//!
//! The parent starts its own program with the subcommand `stage` and the order
//! as JSON. The child writes its reply as one line of JSON on its standard output
//! and ends; a stage that is to be killed then waits for that instead, and ends
//! by itself only when the parent is gone and its input closes.

use std::fmt;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::data::WrongAnswer;
use crate::engines;
use crate::memory;
use crate::workloads::{self, Context, Figures, Manner};

/// All that the process of a stage has to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Order {
    /// The workload by name.
    pub workload: String,
    /// The stage by its position in the workload.
    pub stage: usize,
    /// The engine by name.
    pub engine: String,
    /// The workload's directory, which exists.
    pub directory: PathBuf,
    /// See [`Context::scale`].
    pub scale: f64,
    /// See [`Context::seconds`].
    pub seconds: f64,
    /// See [`Context::cache_bytes`].
    pub cache_bytes: u64,
    /// The memory cgroup to enter first.
    pub memory_group: Option<PathBuf>,
}

#[derive(Debug, Serialize, Deserialize)]
enum Reply {
    Measured(Figures),
    WrongAnswer(String),
    Failed(String),
}

/// Why a stage gave no figures.
#[derive(Debug)]
pub enum Failure {
    /// The engine answered wrongly.
    WrongAnswer(String),
    /// The engine or the measurement failed.
    Failed(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongAnswer(text) => write!(out, "{text}"),
            Self::Failed(text) => write!(out, "failed: {text}"),
        }
    }
}

/// Runs the stage of `order` in a process of its own.
pub fn run_apart(order: &Order, manner: Manner) -> Result<Figures, Failure> {
    match exchange(order, manner) {
        Ok(Reply::Measured(figures)) => Ok(figures),
        Ok(Reply::WrongAnswer(text)) => Err(Failure::WrongAnswer(text)),
        Ok(Reply::Failed(text)) => Err(Failure::Failed(text)),
        Err(error) => Err(Failure::Failed(format!("{error:#}"))),
    }
}

fn exchange(order: &Order, manner: Manner) -> Result<Reply> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg("stage")
        .arg(serde_json::to_string(order)?)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let output = child.stdout.take().context("the stage has no output")?;
    let mut line = String::new();
    let reading = BufReader::new(output).read_line(&mut line);
    if manner == Manner::Killed || reading.is_err() {
        child.kill()?;
    }
    let status = child.wait()?;
    reading?;
    if line.is_empty() {
        bail!("the process ended without a reply ({status})");
    }
    let reply = serde_json::from_str(&line).context("the process gave no proper reply")?;
    if manner != Manner::Killed && !status.success() {
        bail!("the process replied and then ended with {status}");
    }
    Ok(reply)
}

/// The child's side: does what `order` says and replies.
pub fn run_here(order: &str) -> Result<()> {
    let order: Order = serde_json::from_str(order)?;
    let workload = workloads::find(&order.workload).context("no such workload")?;
    let stage = workload.stages.get(order.stage).context("no such stage")?;
    let context = Context {
        engine: engines::find(&order.engine).context("no such engine")?,
        directory: order.directory,
        scale: order.scale,
        seconds: order.seconds,
        cache_bytes: order.cache_bytes,
    };
    let outcome = match order.memory_group {
        Some(group) => memory::enter(&group).and_then(|()| (stage.run)(&context)),
        None => (stage.run)(&context),
    };
    let reply = match outcome {
        Ok(figures) => Reply::Measured(figures),
        Err(error) if error.is::<WrongAnswer>() => Reply::WrongAnswer(format!("{error:#}")),
        Err(error) => Reply::Failed(format!("{error:#}")),
    };
    let mut output = std::io::stdout().lock();
    writeln!(output, "{}", serde_json::to_string(&reply)?)?;
    output.flush()?;
    if stage.manner == Manner::Killed {
        std::io::stdin().read_to_end(&mut Vec::new())?;
    }
    Ok(())
}
