//! System packages: installed only where that was asked for, and only as root on Debian.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::process;

/// Whether a program of this name is in `PATH`.
pub fn has_program(name: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(name).is_file()))
}

/// Installs `packages`, or says why it can't.
pub fn install(packages: &[&str]) -> Result<(), String> {
    if !Path::new("/usr/bin/apt-get").is_file() {
        return Err(format!(
            "there is no apt-get to install {} with",
            packages.join(" ")
        ));
    }
    let user = process::capture(Command::new("id").arg("-u")).unwrap_or_default();
    if user.trim() != "0" {
        return Err(format!("only root can install {}", packages.join(" ")));
    }
    // An installation beside another one can lose archives; the second attempt has passed.
    attempt(packages)
        .or_else(|_| attempt(packages))
        .map_err(|error| format!("{error:#}"))
}

/// Installs the packages; waits while another installation holds the lock.
fn attempt(packages: &[&str]) -> Result<()> {
    process::run(Command::new("apt-get").args(["update", "--quiet"]))?;
    process::run(
        Command::new("apt-get")
            .args([
                "install",
                "--yes",
                "--quiet",
                "--no-install-recommends",
                "-o",
                "DPkg::Lock::Timeout=600",
            ])
            .args(packages)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )
    .with_context(|| format!("installing {}", packages.join(" ")))
}
