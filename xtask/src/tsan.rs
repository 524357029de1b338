//! `cargo xtask tsan`: real threads under ThreadSanitizer.
//!
//! Everything is built with the sanitizer, the standard library too, or its locks and
//! channels would order nothing in its eyes. It sees the orders that a run has, not all
//! that there could be: those are `loom`'s and Miri's business; here whole programs run,
//! with the sizes and numbers of threads of use.
//!
//! It doesn't know fences: what only a fence orders would be reported though it is
//! sound. What is excepted for that stands in `tests/tsan/suppressions.txt`, each with
//! its reason.
//!
//! The library on Linux isn't among the parts: it maps memory by system calls past libc,
//! which the sanitizer doesn't see, so that memory which one thread gave back to the
//! system and another was given is reported.

use std::process::Command;

use anyhow::Result;
use clap::Args;

use crate::outcome::Outcome;
use crate::{nightly, process, workspace};

/// Runs what has threads under ThreadSanitizer.
///
/// The threads of the proof on one engine, its recorded histories, and the core's tests
/// with threads: about eight minutes. Fails at the first data race. Needs a nightly toolchain with the component
/// rust-src (`rustup component add --toolchain nightly rust-src`); without it the step is
/// SKIPPED with the reason. Not part of `test`.
#[derive(Args)]
pub struct Arguments {
    /// Run only the part of this name: engine-threads, engine-isolation or core
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
}

/// The targets that the sanitizer's runtime is there for.
const TARGETS: [&str; 2] = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"];

/// Parts: a name, what cargo builds and runs, and what it is told.
const PARTS: [(&str, &[&str]); 3] = [
    (
        "engine-threads",
        &[
            "run",
            "--release",
            "--package",
            "lightning-proof",
            "--",
            "--short",
            "--only",
            "engine-threads",
        ],
    ),
    (
        "engine-isolation",
        &[
            "run",
            "--release",
            "--package",
            "lightning-proof",
            "--",
            "--short",
            "--only",
            "engine-isolation",
        ],
    ),
    (
        "core",
        &[
            "test",
            "--package",
            "lightning-core",
            "--lib",
            "--",
            "threads",
            "sync::tests",
            "memtable::tests",
            "pager::frames",
            "pager::tests",
        ],
    ),
];

/// Runs every part, or the one that is named.
pub fn run(arguments: &Arguments) -> Result<Outcome> {
    let target = match find() {
        Ok(target) => target,
        Err(reason) => {
            return Ok(Outcome::Skipped(format!(
                "{reason}; `rustup component add --toolchain nightly rust-src` provides it"
            )));
        }
    };
    let chosen = |name: &str| arguments.only.as_ref().is_none_or(|only| only == name);
    let parts: Vec<_> = PARTS.iter().filter(|(name, _)| chosen(name)).collect();
    if parts.is_empty() {
        let names: Vec<&str> = PARTS.iter().map(|(name, _)| *name).collect();
        anyhow::bail!("there is no such part; there are {}", names.join(", "));
    }
    for (_, command) in parts {
        let mut cargo = cargo(&target);
        process::run(
            cargo
                .args(*command)
                .env("CARGO_TARGET_DIR", workspace::target().join("tsan"))
                .env("TSAN_OPTIONS", options()),
        )?;
    }
    Ok(Outcome::Passed)
}

/// The target to build for, or what is missing.
pub fn find() -> Result<String, String> {
    let host = nightly::host_with_sources()?;
    if TARGETS.contains(&host.as_str()) {
        Ok(host)
    } else {
        Err(format!("ThreadSanitizer isn't set up for {host} here"))
    }
}

/// Nightly's cargo, which builds all for `target` with the sanitizer.
pub fn cargo(target: &str) -> Command {
    let mut command = nightly::command("cargo");
    command
        .args(["-Zbuild-std"])
        .env("CARGO_BUILD_TARGET", target)
        .env("RUSTFLAGS", "-Zsanitizer=thread")
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
    command
}

/// What the sanitizer is told when a program runs: its exit code is not 0 where it has
/// found something, whatever the program itself says.
pub fn options() -> String {
    let suppressions = workspace::root().join("tests/tsan/suppressions.txt");
    format!(
        "exitcode=66 halt_on_error=1 history_size=4 suppressions={}",
        suppressions.display()
    )
}
