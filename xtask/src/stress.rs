//! `cargo xtask stress`: real processes that are killed, and lack disk, descriptors, memory.

use anyhow::Result;
use clap::Args;

use crate::outcome::Outcome;
use crate::{process, workspace};

/// Kills processes that use a database at any moment, and takes disk, descriptors and memory
/// from them (tests/stress), in release mode.
///
/// What was acknowledged is kept outside of those processes, and looked for by the next
/// one. A failure prints its seed and what repeats it, and keeps the database's files as
/// they were before it was opened. The full disk takes root.
#[derive(Args)]
pub struct Arguments {
    /// How many processes are killed
    #[arg(long, value_name = "N", default_value_t = 240)]
    kills: u64,
    /// The seed that operations and moments follow from
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Run only this part: kills, full-disk, files or memory
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Of the kills, run only those of this course
    #[arg(long, value_name = "N")]
    course: Option<u64>,
}

impl Default for Arguments {
    fn default() -> Self {
        Self {
            kills: 240,
            seed: 1,
            only: None,
            course: None,
        }
    }
}

/// Builds the package and runs its program with the same arguments.
pub fn run(arguments: &Arguments) -> Result<Outcome> {
    let mut command = workspace::cargo();
    command.args(["run", "--release", "-p", "lightning-stress", "--"]);
    command.args(["--kills", &arguments.kills.to_string()]);
    command.args(["--seed", &arguments.seed.to_string()]);
    if let Some(only) = &arguments.only {
        command.args(["--only", only]);
    }
    if let Some(course) = arguments.course {
        command.args(["--course", &course.to_string()]);
    }
    command.arg("--directory");
    command.arg(workspace::target().join("stress"));
    process::run(&mut command)?;
    Ok(Outcome::Passed)
}
