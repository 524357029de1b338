//! The deb as an administrator meets it: installed, its service started, upgraded with
//! data in place, purged, and the data still there.
//!
//! There is no systemd as process 1 in a test's root, so that the unit's command line is
//! run as the unit's user; the output names what that leaves unproven.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::{overlay, packages, stage};
use crate::packages as system;

const SCRIPT: &str = include_str!("check.sh");

/// Why the deb can't be tried here.
pub fn refusal(install: bool) -> Option<String> {
    for program in ["dpkg", "tar", "gzip"] {
        if !system::has_program(program) {
            return Some(format!("there is no {program}: a deb needs Debian"));
        }
    }
    overlay::refusal(install)
}

/// Tries `deb`, whose version is `version`.
pub fn run(deb: &Path, version: &str) -> Result<()> {
    let given = super::folder("check")?;
    stage::copy(deb, &given.join("first.deb"))?;
    // The same programs by a higher version: what the packages' scripts do is the same.
    let next = packages::deb(&format!("{version}+next"), &given)?;
    fs::rename(next, given.join("next.deb")).context("naming the second deb")?;
    fs::write(given.join("check.sh"), SCRIPT).context("writing the script")?;
    overlay::run(&given)
}
