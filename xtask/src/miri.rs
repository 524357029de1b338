//! `cargo xtask miri`: the core's unsafe code under Miri.

use anyhow::Result;
use clap::Args;

use crate::outcome::Outcome;
use crate::{nightly, process, workspace};

/// Runs the core's tests of what has unsafe code under Miri.
///
/// Memory plan, locks, memtable, frame pool, epochs, transactions: undefined
/// behaviour, data races, and loads of stale values, in as many schedules as there
/// are seeds. Takes about two minutes for one. Needs a nightly toolchain with the
/// components miri and rust-src (`rustup component add --toolchain nightly miri rust-src`);
/// without them the step is SKIPPED with the reason. Not part of `test`.
#[derive(Args)]
pub struct Arguments {
    /// How many seeds, each of which gives other schedules
    #[arg(long, default_value_t = 1, value_name = "N")]
    seeds: u32,
    /// Run only the tests whose name has this part, instead of those named above
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
}

/// Parts of names of the tests: those of the modules that have unsafe code.
const TESTS: [&str; 7] = [
    "mem::tests",
    "sync::tests",
    "memtable::",
    "pager::frames",
    "db::tests::a_value",
    "db::tests::tables",
    "db::tests::transactions",
];

/// Runs the tests, where Miri is installed.
pub fn run(arguments: &Arguments) -> Result<Outcome> {
    if let Err(reason) = find() {
        return Ok(Outcome::Skipped(format!(
            "{reason}; `rustup component add --toolchain nightly miri rust-src` provides it"
        )));
    }
    let mut flags = "-Zmiri-strict-provenance".to_owned();
    if arguments.seeds > 1 {
        flags.push_str(&format!(" -Zmiri-many-seeds=0..{}", arguments.seeds));
    }
    let mut miri = nightly::command("cargo");
    miri.args(["miri", "test", "-p", "lightning-core", "--lib", "--"]);
    match &arguments.only {
        Some(only) => miri.arg(only),
        None => miri.args(TESTS),
    };
    process::run(
        miri.env("MIRIFLAGS", flags)
            .env("CARGO_TARGET_DIR", workspace::target().join("miri")),
    )?;
    Ok(Outcome::Passed)
}

/// Whether all is there that Miri needs.
fn find() -> Result<(), String> {
    process::capture(nightly::command("cargo").args(["miri", "--version"]))
        .map_err(|error| format!("there is no nightly toolchain with Miri: {error:#}"))?;
    nightly::host_with_sources().map(|_| ())
}
