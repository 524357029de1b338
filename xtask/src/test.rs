//! `cargo xtask test`: everything that has to hold before a change lands.

use anyhow::Result;
use clap::Args;

use crate::outcome::Outcome;
use crate::suite;

/// Runs the whole suite: tidy, lint, all tests, the microcontroller build, short proof.
///
/// Every step runs even where one before it failed. The summary at the end
/// names what could not run here, and why; the last line counts the steps.
/// Installs nothing.
#[derive(Args)]
pub struct Arguments {}

/// Runs the suite.
pub fn run(_: &Arguments) -> Result<Outcome> {
    suite::run(suite::Settings {
        install: false,
        timing: false,
    })
}
