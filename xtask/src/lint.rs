//! `cargo xtask lint`: formatting, clippy, rustdoc, the core's strict lints, lock files.

use anyhow::{Result, bail};
use clap::Args;

use crate::outcome::Outcome;
use crate::{process, workspace};

/// Format check, clippy and rustdoc without a warning, and the core's strict lints.
///
/// Runs, in this order: `cargo fmt --check`; `cargo clippy --workspace
/// --all-targets -D warnings`; clippy on the library of lightning-core with the
/// lints that deny panicking and allocating calls (the list of calls is
/// core/clippy.toml); `cargo doc` with every rustdoc warning denied; format and lock file
/// of the packages outside the workspace.
#[derive(Args)]
pub struct Arguments {}

/// What the library code of the core may not contain. Its `lib.rs` denies the
/// same; named here too, so that taking a line out of one of them isn't enough.
const CORE_LINTS: [&str; 16] = [
    "clippy::unwrap_used",
    "clippy::expect_used",
    "clippy::panic",
    "clippy::indexing_slicing",
    "clippy::string_slice",
    "clippy::get_unwrap",
    "clippy::unreachable",
    "clippy::todo",
    "clippy::unimplemented",
    "clippy::exit",
    "clippy::disallowed_methods",
    "clippy::disallowed_macros",
    "clippy::disallowed_types",
    "clippy::std_instead_of_core",
    "clippy::std_instead_of_alloc",
    "clippy::alloc_instead_of_core",
];

/// Packages that are no members of the workspace.
const OUTSIDE: [&str; 4] = [
    "fuzz/Cargo.toml",
    "tests/firmware/Cargo.toml",
    "tests/loom/Cargo.toml",
    "tests/peers/Cargo.toml",
];

/// Runs all of it, and names every part that failed.
pub fn run(_: &Arguments) -> Result<Outcome> {
    let mut format = workspace::cargo();
    format.args(["fmt", "--all", "--check"]);
    let mut clippy = workspace::cargo();
    clippy.args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]);
    let mut core = workspace::cargo();
    core.args(["clippy", "-p", "lightning-core", "--lib", "--no-deps", "--"]);
    for lint in CORE_LINTS {
        core.args(["-D", lint]);
    }
    let mut documentation = workspace::cargo();
    documentation
        .args([
            "doc",
            "--workspace",
            "--no-deps",
            "--document-private-items",
        ])
        .env("RUSTDOCFLAGS", "-D warnings");
    let outside = OUTSIDE.map(|manifest| {
        let mut format = workspace::cargo();
        format.args(["fmt", "--check", "--manifest-path", manifest]);
        ("formatting outside the workspace", format)
    });
    let locked = OUTSIDE.map(|manifest| {
        let mut tree = workspace::cargo();
        tree.args([
            "tree",
            "--locked",
            "--depth",
            "0",
            "--manifest-path",
            manifest,
        ]);
        ("a lock file outside the workspace", tree)
    });
    let parts = [
        ("formatting", format),
        ("clippy", clippy),
        ("the core's strict lints", core),
        ("rustdoc", documentation),
    ];
    let mut failed = Vec::new();
    for (name, mut command) in parts.into_iter().chain(outside).chain(locked) {
        if let Err(error) = process::run(&mut command) {
            println!("error: {error:#}");
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        bail!("lint: {} failed", failed.join(", "));
    }
    Ok(Outcome::Passed)
}
