//! `cargo xtask ci`: the suite as continuous integration runs it.

use anyhow::Result;
use clap::Args;

use crate::outcome::Outcome;
use crate::suite;

/// Runs the suite of `test`, with the time of each step.
///
/// Where it runs as root on Debian, it also installs the packages that a step
/// lacks; `test` would skip that step.
#[derive(Args)]
pub struct Arguments {}

/// Runs the suite.
pub fn run(_: &Arguments) -> Result<Outcome> {
    suite::run(suite::Settings {
        install: true,
        timing: true,
    })
}
