//! `cargo xtask loom`: the core's protocols without locks, in every schedule.

use anyhow::Result;
use clap::Args;

use crate::outcome::Outcome;
use crate::{process, workspace};

/// Runs the models of tests/loom: epochs, frame pool, memtable, versions, commits.
///
/// They run the core's own files with loom's atomics, in every order of their
/// steps (up to a bound on preemptions) and with every value that the memory
/// model lets a load see. All arguments go to the program: names of models, or
/// `--preemptions N`.
#[derive(Args)]
pub struct Arguments {
    /// Arguments for the program in tests/loom
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGS"
    )]
    forwarded: Vec<String>,
}

/// Builds the package in release mode and runs it.
pub fn run(arguments: &Arguments) -> Result<Outcome> {
    process::run(
        workspace::cargo()
            .args([
                "run",
                "--release",
                "--locked",
                "--manifest-path",
                "tests/loom/Cargo.toml",
                "--",
            ])
            .args(&arguments.forwarded)
            .env("CARGO_TARGET_DIR", workspace::target().join("loom")),
    )?;
    Ok(Outcome::Passed)
}
