//! `cargo xtask peers`: the measurements against other engines.

use anyhow::Result;
use clap::Args;

use crate::outcome::Outcome;
use crate::{process, workspace};

/// Measures Lightning DB beside other storage engines (tests/peers).
///
/// That package is no member of the workspace, so that the engines it links
/// never slow down an ordinary build. All arguments go to it as they are.
#[derive(Args)]
pub struct Arguments {
    /// Arguments for the package's program; `--help` after `--` lists them
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGS"
    )]
    forwarded: Vec<String>,
}

/// Builds the package in release mode and runs it.
pub fn run(arguments: &Arguments) -> Result<Outcome> {
    forward(&arguments.forwarded)
}

/// Runs the package's program with `arguments`.
pub fn forward(arguments: &[String]) -> Result<Outcome> {
    process::run(
        workspace::cargo()
            .args([
                "run",
                "--release",
                "--manifest-path",
                "tests/peers/Cargo.toml",
                "--",
            ])
            .args(arguments)
            .env("CARGO_TARGET_DIR", workspace::target().join("peers")),
    )?;
    Ok(Outcome::Passed)
}
