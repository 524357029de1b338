//! `cargo xtask redis-machines`: the random commands that fakeredis's state machines draw,
//! to Redis and the service, whose replies have to be the same bytes.
//!
//! The machines are fakeredis's own, from the source that it publishes;
//! `tests/redis-py/machines.py` puts two servers in the place of a server and a model, and
//! adds strategies for commands that they leave out.

use anyhow::{Result, bail};
use clap::Args;

use super::packages::Packages;
use super::peer::Redis;
use crate::outcome::Outcome;
use crate::redis_suite::server::Server;
use crate::{process, workspace};

/// The version of fakeredis.
const VERSION: &str = "2.40.0";
const SCRIPT: &str = "tests/redis-py/machines.py";

/// Gives random commands to Redis and the service and compares the replies.
///
/// fakeredis, Hypothesis and their like come from PyPI by pip; where they or Redis 7.0
/// can't be had, the command says so and doesn't fail. A difference is told with the
/// shortest history of commands that shows it.
#[derive(Args)]
pub struct Arguments {
    /// What the histories follow from
    #[arg(long, default_value_t = 1)]
    pub seed: u32,
    /// Histories that each machine tries in either version of the protocol
    #[arg(long, default_value_t = 10)]
    pub histories: u32,
}

impl Default for Arguments {
    fn default() -> Self {
        Self {
            seed: 1,
            histories: 10,
        }
    }
}

/// Fetches the machines and runs them.
pub fn run(arguments: &Arguments) -> Result<Outcome> {
    let packages = match Packages::fetch()? {
        Ok(packages) => packages,
        Err(reason) => return Ok(Outcome::Skipped(reason)),
    };
    let source = match packages.source("fakeredis", VERSION)? {
        Ok(source) => source,
        Err(reason) => return Ok(Outcome::Skipped(reason)),
    };
    let redis = match Redis::start("machines")? {
        Ok(redis) => redis,
        Err(reason) => return Ok(Outcome::Skipped(format!("Redis: {reason}"))),
    };
    super::build()?;
    // What survives a power cut is other tests' business, and this one is quicker.
    let server = Server::start_with("machines", &["durability.wal_sync_mode=async"])?;
    let script = workspace::root().join(SCRIPT);
    let mut command = packages.python(&source, &workspace::root().join("tests/redis-py"))?;
    command.arg(&script);
    for number in [redis.port, server.port] {
        command.arg(number.to_string());
    }
    command.args([arguments.seed.to_string(), arguments.histories.to_string()]);
    if process::run(&mut command).is_err() {
        bail!(
            "the service answers otherwise than Redis (seed {})",
            arguments.seed
        );
    }
    Ok(Outcome::Passed)
}
