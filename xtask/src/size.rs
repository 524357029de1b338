//! `cargo xtask size`: the core for a microcontroller.
//!
//! A build for a target without operating system is what proves that the core
//! needs none. The target's library comes from rustup where it is installed, or
//! is built from Debian's sources; otherwise the step is skipped with the reason.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};
use clap::Args;

use crate::outcome::Outcome;
use crate::process;
use crate::registry_toolchain::RegistryToolchain;
use crate::workspace;

/// Builds lightning-core for thumbv7em-none-eabihf and prints its size.
///
/// Uses rustup's library for the target where `rustup target add
/// thumbv7em-none-eabihf` was run, else Debian's rustc-web with
/// `-Zbuild-std=core,alloc`, else reports the step as SKIPPED. The sizes are
/// printed where `arm-none-eabi-size` (binutils-arm-none-eabi) is installed.
#[derive(Args)]
pub struct Arguments {
    /// As root on Debian: install the compiler packages where the target is missing
    #[arg(long)]
    pub install: bool,
}

const TARGET: &str = "thumbv7em-none-eabihf";

/// Builds by the first route that is there.
pub fn run(arguments: &Arguments) -> Result<Outcome> {
    if rustup_has_target() {
        println!("route: rustup's library for {TARGET}");
        build(workspace::cargo())?;
        return report(&workspace::target());
    }
    let toolchain = if arguments.install {
        RegistryToolchain::find_or_install()
    } else {
        RegistryToolchain::find()
    };
    match toolchain {
        Ok(toolchain) => {
            println!("route: Debian's compiler, core and alloc built from source");
            let mut cargo = toolchain.cargo();
            cargo.arg("-Zbuild-std=core,alloc");
            build(cargo)?;
            report(&workspace::target().join("registry-toolchain"))
        }
        Err(reason) => Ok(Outcome::Skipped(format!(
            "rustup has no library for {TARGET}, and {reason}; \
             `rustup target add {TARGET}` or `cargo xtask size --install` provides one"
        ))),
    }
}

fn rustup_has_target() -> bool {
    process::capture(Command::new("rustup").args(["target", "list", "--installed"]))
        .is_ok_and(|listed| listed.lines().any(|line| line.trim() == TARGET))
}

fn build(mut cargo: Command) -> Result<()> {
    process::run(
        cargo
            .args([
                "build",
                "--release",
                "-p",
                "lightning-core",
                "--target",
                TARGET,
            ])
            // The library's own code, not bitcode for a later link.
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "s"),
    )
}

fn report(target: &Path) -> Result<Outcome> {
    let archive = target.join(TARGET).join("release/liblightning_core.rlib");
    if !archive.is_file() {
        bail!("the build left no {}", archive.display());
    }
    match process::capture(
        Command::new("arm-none-eabi-size")
            .arg("--totals")
            .arg(&archive),
    ) {
        Ok(listed) => match total(&listed) {
            Some((text, data, bss)) => {
                println!("lightning-core: text {text} B, data {data} B, bss {bss} B, not linked");
            }
            None => bail!("arm-none-eabi-size printed no totals:\n{listed}"),
        },
        Err(_) => println!("built; no size printed: arm-none-eabi-size is not installed"),
    }
    Ok(Outcome::Passed)
}

/// Text, data and bss of the line that `--totals` adds.
fn total(listed: &str) -> Option<(u64, u64, u64)> {
    let line = listed.lines().find(|line| line.contains("(TOTALS)"))?;
    let mut numbers = line.split_whitespace().map(str::parse);
    Some((
        numbers.next()?.ok()?,
        numbers.next()?.ok()?,
        numbers.next()?.ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_read_from_the_last_line() {
        let listed = "   text\t   data\t    bss\t    dec\t    hex\tfilename\n\
                      12\t0\t4\t16\t10\ta.o (ex lib.rlib)\n\
                      12\t0\t4\t16\t10\t(TOTALS)\n";
        assert_eq!(total(listed), Some((12, 0, 4)));
        assert_eq!(total("nothing"), None);
    }
}
