//! `cargo xtask sim`: whole lives of a database on simulated storage, each from one seed.

use anyhow::Result;
use clap::Args;

use crate::outcome::Outcome;
use crate::{process, workspace};

/// Simulates lives of a database (tests/sim) in release mode.
///
/// Each has several clients, at least 1,000 operations and 5 crashes, and faults of the
/// storage. A failing seed is repeated, made shorter and printed with its history. The
/// last lines are the hash of all that happened, which follows from the seeds alone, and
/// how many seeds a second were lived.
#[derive(Args)]
pub struct Arguments {
    /// How many lives
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    pub seeds: u64,
    /// The seed of the first one
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub from: u64,
    /// Begin no life after so many minutes
    #[arg(long, value_name = "M")]
    pub minutes: Option<u64>,
    /// Operations of each life, at least
    #[arg(long, value_name = "N")]
    pub operations: Option<u64>,
    /// A fault that the storage keeps up, for example `skip-sync`: lives must fail then
    #[arg(long, value_name = "NAME")]
    pub plant: Option<String>,
    /// Threads; the trace is the same for any number
    #[arg(long, value_name = "N")]
    pub threads: Option<u64>,
}

/// Builds the package and runs its program with the same arguments.
pub fn run(arguments: &Arguments) -> Result<Outcome> {
    let mut command = workspace::cargo();
    command.args(["run", "--release", "-p", "lightning-simulation", "--"]);
    let numbers = [
        ("--seeds", Some(arguments.seeds)),
        ("--from", Some(arguments.from)),
        ("--minutes", arguments.minutes),
        ("--operations", arguments.operations),
        ("--threads", arguments.threads),
    ];
    for (name, value) in numbers {
        if let Some(value) = value {
            command.args([name, &value.to_string()]);
        }
    }
    if let Some(plant) = &arguments.plant {
        command.args(["--plant", plant]);
    }
    process::run(&mut command)?;
    Ok(Outcome::Passed)
}

/// What every run of the suite lives through.
pub fn short() -> Result<Outcome> {
    run(&Arguments {
        seeds: 5_000,
        from: 1,
        minutes: None,
        operations: None,
        plant: None,
        threads: None,
    })
}
