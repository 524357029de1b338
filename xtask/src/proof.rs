//! `cargo xtask proof`: the long randomised checks of the package lightning-proof.

use anyhow::Result;
use clap::Args;

use crate::outcome::Outcome;
use crate::{process, workspace};

/// Runs the table of randomised checks (tests/proof) in release mode.
///
/// Each check prints its name, how many cases it ran and how many were bad. The
/// exit code is not 0 where one was bad, or where there is no check to run.
#[derive(Args, Default)]
pub struct Arguments {
    /// A few seconds for each check; the default, and what `test` runs
    #[arg(long, conflicts_with = "long")]
    short: bool,
    /// As many cases as a release is held to
    #[arg(long)]
    long: bool,
    /// The seed that all random choices follow from
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Run only the check of this name
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
}

/// Builds the package and runs its program with the same arguments.
pub fn run(arguments: &Arguments) -> Result<Outcome> {
    let mut command = workspace::cargo();
    command.args(["run", "--release", "-p", "lightning-proof", "--"]);
    command.arg(if arguments.long { "--long" } else { "--short" });
    if let Some(seed) = arguments.seed {
        command.args(["--seed", &seed.to_string()]);
    }
    if let Some(only) = &arguments.only {
        command.args(["--only", only]);
    }
    process::run(&mut command)?;
    Ok(Outcome::Passed)
}
