//! `cargo xtask dist`: what users install.
//!
//! | module | duty |
//! |---|---|
//! | `stage` | builds the programs and lays files out as they are installed |
//! | `tarball` | archives, by their own name and by those of the operations manual |
//! | `packages` | a deb and an rpm, by the cargo commands for them |
//! | `check` | installs, upgrades and removes the packages in a root of its own |
//! | `overlay` | that root |
//! | `systemd` | systemd as process 1 in such a root |
//!
//! All of it goes into `target/packages`: the layout into `root`, the results into `out`.
//! Archives depend on the sources only, not on the moment: their times are that of the
//! last commit.

mod check;
pub mod overlay;
mod packages;
pub mod stage;
mod systemd;
pub mod tarball;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;

use crate::outcome::Outcome;
use crate::{process, workspace};
use stage::Profile;

/// Makes the tarballs, the deb, the rpm, and SHA256SUMS, and tries both packages.
///
/// They are in target/packages/out then. cargo-deb and cargo-generate-rpm are built into
/// target/tools, once. A package is installed into a copy of this system that is thrown
/// away, its service started, the package upgraded with data in place, and removed; that
/// needs root, and says what it leaves unproven.
#[derive(Args, Default)]
pub struct Arguments {
    /// Only make a deb, of the programs as `cargo build` makes them, and try it
    #[arg(long)]
    pub check: bool,
    /// Install what the check lacks, where it runs as root on Debian
    #[arg(long)]
    pub install: bool,
}

/// Makes what is asked for.
pub fn run(arguments: &Arguments) -> Result<Outcome> {
    let profile = if arguments.check {
        // Its reason is known before minutes are spent on programs.
        if let Some(reason) = check::refusal(arguments.install) {
            return Ok(Outcome::Skipped(reason));
        }
        Profile::Dev
    } else {
        Profile::Dist
    };
    let root = stage::make(profile)?;
    let version = stage::version()?;
    if arguments.check {
        // Beside what was made to be shipped.
        let deb = packages::deb(&version, &folder("check-out")?)?;
        check::deb(&deb, &version)?;
        return Ok(Outcome::Passed);
    }
    let out = folder("out")?;
    tarball::make(&root, &version, &out)?;
    let deb = packages::deb(&version, &out)?;
    let rpm = packages::rpm(&version, &out)?;
    write_sums(&out)?;
    if let Some(reason) = check::refusal(arguments.install) {
        println!("made, but the packages were not tried: {reason}");
        return Ok(Outcome::Passed);
    }
    check::deb(&deb, &version)?;
    check::rpm(&rpm, arguments.install)?;
    Ok(Outcome::Passed)
}

/// An empty folder in `target/packages`. The packages' manifests name the one called `root`,
/// so that it doesn't follow `CARGO_TARGET_DIR`.
fn folder(name: &str) -> Result<PathBuf> {
    let path = workspace::root().join("target/packages").join(name);
    if path.exists() {
        fs::remove_dir_all(&path).with_context(|| path.display().to_string())?;
    }
    fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
    Ok(path)
}

/// Writes the checksums of all that is there.
fn write_sums(out: &Path) -> Result<()> {
    let mut names: Vec<String> = fs::read_dir(out)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    names.sort();
    let sums = process::capture(Command::new("sha256sum").args(&names).current_dir(out))?;
    print!("{sums}");
    fs::write(out.join("SHA256SUMS"), sums).context("writing SHA256SUMS")
}
