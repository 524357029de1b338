//! `cargo xtask redis-bench`: the service's figures beside those of redis-server.
//!
//! | file | duty |
//! |---|---|
//! | `server.rs` | both servers with equal durability, their processor time and memory |
//! | `load.rs` | redis-benchmark as the load, and a loader of data |
//! | `workloads.rs` | what is measured |
//! | `report.rs` | the table |
//!
//! Both servers stand beside a process that keeps a processor awake at idle priority: an
//! idle processor notices the end of a flush only at its next tick, 4 ms later, which
//! would be all that is measured. Rounds of both take turns, and the median is told. On a
//! machine with few processors the load takes as many of them as the server does: hence
//! the server's own processor time for each operation, which no neighbour changes.

mod load;
mod report;
mod server;
mod workloads;

use anyhow::Result;
use clap::Args;

use crate::outcome::Outcome;
use crate::{packages, process, workspace};

/// Measures the service beside redis-server, with equal durability.
///
/// The programs redis-server, redis-benchmark and redis-cli have to be there (Debian's
/// redis-server and redis-tools); where they are not, the command says so and doesn't
/// fail. Everything is written below the build folder and removed.
#[derive(Args)]
pub struct Arguments {
    /// One round of a tenth of the requests: to see that it works, not to be believed
    #[arg(long)]
    short: bool,
    /// Measure only what has this text in its name
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Rounds of each workload; the median is told
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

/// How much is measured.
struct Extent {
    rounds: usize,
    /// What numbers of requests are divided by.
    divisor: u64,
    only: Option<String>,
}

impl Extent {
    fn includes(&self, name: &str) -> bool {
        let has = |text: &String| name.to_lowercase().contains(&text.to_lowercase());
        self.only.as_ref().is_none_or(has)
    }

    fn requests(&self, count: u64) -> u64 {
        (count / self.divisor).max(1)
    }
}

/// Builds the service, measures, and prints the table.
pub fn run(arguments: &Arguments) -> Result<Outcome> {
    for program in ["redis-server", "redis-benchmark", "redis-cli", "chrt"] {
        if !packages::has_program(program) {
            return Ok(Outcome::Skipped(format!("there is no {program}")));
        }
    }
    process::run(workspace::cargo().args(["build", "--release", "-p", "lightning-admin-server"]))?;
    let extent = Extent {
        rounds: if arguments.short {
            1
        } else {
            arguments.rounds.max(1)
        },
        divisor: if arguments.short { 10 } else { 1 },
        only: arguments.only.clone(),
    };
    let _awake = server::KeepAwake::start()?;
    let rows = workloads::measure(&extent)?;
    report::print(&rows)?;
    Ok(Outcome::Passed)
}
