//! The packages as an administrator meets them: installed, the service started, upgraded
//! with data in place, purged, and the data still there.
//!
//! In a plain copy of this system the unit's command line is run as the unit's user. What
//! systemd makes of the unit is seen in another copy, where that is process 1; where it can't be, the
//! output names what that leaves unproven.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::{overlay, packages, stage, systemd};
use crate::packages as system;

const FUNCTIONS: &str = include_str!("check_functions.sh");
const DEB_SCRIPT: &str = include_str!("check.sh");
const SYSTEMD_SCRIPT: &str = include_str!("check_systemd.sh");
const RPM_SCRIPT: &str = include_str!("check_rpm.sh");

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
pub fn deb(deb: &Path, version: &str) -> Result<()> {
    let given = super::folder("check")?;
    stage::copy(deb, &given.join("first.deb"))?;
    // The same programs by a higher version: what the packages' scripts do is the same.
    let next = packages::deb(&format!("{version}+next"), &given)?;
    fs::rename(next, given.join("next.deb")).context("naming the second deb")?;
    enter(&given, DEB_SCRIPT)?;
    if let Some(reason) = systemd::refusal()? {
        println!(
            "not proven, since systemd can't be process 1 here: that the unit is enabled, started \
             and stopped by the package's scripts, and restarted by an upgrade; readiness, \
             watchdog, and the sandbox of the unit: {reason}"
        );
        return Ok(());
    }
    fs::write(given.join("check.sh"), SYSTEMD_SCRIPT).context("writing the script")?;
    systemd::run(&given)
}

/// Tries `rpm`, which is an upgrade of itself there. Where there is no rpm to install it
/// with, it says so.
pub fn rpm(rpm: &Path, install: bool) -> Result<()> {
    let refused = match (system::has_program("rpm"), install) {
        (true, _) => None,
        (false, true) => system::install(&["rpm"]).err(),
        (false, false) => Some("`apt-get install rpm` brings it".to_owned()),
    };
    if let Some(reason) = refused {
        println!("made, but the rpm was not tried: there is no rpm: {reason}");
        return Ok(());
    }
    let given = super::folder("check")?;
    stage::copy(rpm, &given.join("first.rpm"))?;
    enter(&given, RPM_SCRIPT)
}

fn enter(given: &Path, script: &str) -> Result<()> {
    fs::write(given.join("functions.sh"), FUNCTIONS).context("writing functions")?;
    fs::write(given.join("check.sh"), script).context("writing the script")?;
    overlay::run(given)
}
