//! `cargo xtask size`: the core for a microcontroller, and the image linked of it.
//!
//! A build for a target without operating system is what proves that the core
//! needs none; the linked image (`image`) proves that it runs there, and its
//! symbols (`symbols`) what it can't do: run out of memory or panic. The
//! target's library comes from rustup where it is installed, or is built from
//! Debian's sources; otherwise the step is skipped with the reason.

mod image;
mod symbols;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};
use clap::Args;

use crate::outcome::Outcome;
use crate::registry_toolchain::RegistryToolchain;
use crate::{packages, process, workspace};

/// Builds lightning-core for thumbv7em-none-eabihf, and the firmware image of it.
///
/// Prints the sizes of both; runs the image (tests/firmware) under
/// qemu-system-arm, where it opens a database in 40 KiB of heap, cuts the power
/// again and again and checks everything; refuses an image that can abort for
/// want of memory; and lists every panicking call site that is linked, which has
/// to be in tests/firmware/panics.txt.
///
/// Uses rustup's library for the target where `rustup target add
/// thumbv7em-none-eabihf` was run, else Debian's rustc-web with
/// `-Zbuild-std=core,alloc`. Without either, without binutils-arm-none-eabi or
/// without qemu-system-arm the step is SKIPPED with the reason.
#[derive(Args, Default)]
pub struct Arguments {
    /// As root on Debian: install the packages that are missing
    #[arg(long)]
    pub install: bool,
    /// Write the list of panicking call sites anew, after a person read it
    #[arg(long)]
    pub update_panics: bool,
}

const TARGET: &str = "thumbv7em-none-eabihf";
const BINUTILS: (&str, &str) = ("arm-none-eabi-objdump", "binutils-arm-none-eabi");
const QEMU: (&str, &str) = ("qemu-system-arm", "qemu-system-arm");

/// Where the target's library comes from.
enum Route {
    Rustup,
    Registry(RegistryToolchain),
}

impl Route {
    fn find(may_install: bool) -> Result<Self, String> {
        let listed =
            process::capture(Command::new("rustup").args(["target", "list", "--installed"]));
        if listed.is_ok_and(|listed| listed.lines().any(|line| line.trim() == TARGET)) {
            return Ok(Self::Rustup);
        }
        let toolchain = if may_install {
            RegistryToolchain::find_or_install()
        } else {
            RegistryToolchain::find()
        };
        toolchain.map(Self::Registry).map_err(|reason| {
            format!(
                "rustup has no library for {TARGET}, and {reason}; \
                 `rustup target add {TARGET}` or `cargo xtask size --install` provides one"
            )
        })
    }

    /// `cargo build --release` for the target, into a folder of its own.
    fn build(&self) -> Command {
        let mut cargo = match self {
            Self::Rustup => workspace::cargo(),
            Self::Registry(toolchain) => toolchain.cargo(),
        };
        cargo.args(["build", "--release", "--target", TARGET]);
        if let Self::Registry(_) = self {
            cargo.arg("-Zbuild-std=core,alloc").env(
                "CARGO_TARGET_THUMBV7EM_NONE_EABIHF_LINKER",
                "arm-none-eabi-ld",
            );
        }
        cargo.env("CARGO_TARGET_DIR", self.target());
        cargo
    }

    fn target(&self) -> PathBuf {
        workspace::target().join(match self {
            Self::Rustup => "firmware",
            Self::Registry(_) => "registry-toolchain",
        })
    }

    /// A file that the build left.
    fn built(&self, name: &str) -> Result<PathBuf> {
        let path = self.target().join(TARGET).join("release").join(name);
        if !path.is_file() {
            bail!("the build left no {}", path.display());
        }
        Ok(path)
    }
}

/// Builds by the first route that is there, and looks at what was built.
pub fn run(arguments: &Arguments) -> Result<Outcome> {
    let route = match Route::find(arguments.install) {
        Ok(route) => route,
        Err(reason) => return Ok(Outcome::Skipped(reason)),
    };
    match route {
        Route::Rustup => println!("route: rustup's library for {TARGET}"),
        Route::Registry(_) => {
            println!("route: Debian's compiler, core and alloc built from source")
        }
    }
    build_core(&route)?;
    let (binutils, binutils_package) = BINUTILS;
    let binutils_missing = missing(BINUTILS, arguments.install);
    if let Some(reason) = binutils_missing {
        // The registry route links by binutils; the other one could build the image,
        // but an image that nobody looks into proves little.
        return Ok(Outcome::Skipped(format!(
            "the core was built, the image was not: {binutils} ({binutils_package}) is missing{reason}"
        )));
    }
    report_core(&route.built("liblightning_core.rlib")?)?;
    let image = image::build(&route)?;
    image::report(&image)?;
    symbols::check(&image, arguments.update_panics)?;
    if let Some(reason) = missing(QEMU, arguments.install) {
        let (program, package) = QEMU;
        return Ok(Outcome::Skipped(format!(
            "the image was built and read, but not run: {program} ({package}) is missing{reason}"
        )));
    }
    image::run(&image)?;
    Ok(Outcome::Passed)
}

/// Why a program is missing: an empty reason where nobody tried to install it;
/// `None` where it is there.
fn missing((program, package): (&str, &str), may_install: bool) -> Option<String> {
    if packages::has_program(program) {
        return None;
    }
    if !may_install {
        return Some(String::new());
    }
    match packages::install(&[package]) {
        Ok(()) if packages::has_program(program) => None,
        Ok(()) => Some(", though its package was installed".to_owned()),
        Err(reason) => Some(format!(", and {reason}")),
    }
}

fn build_core(route: &Route) -> Result<()> {
    process::run(
        route
            .build()
            .args(["-p", "lightning-core"])
            // The library's own code, not bitcode for a later link.
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "s"),
    )
}

fn report_core(archive: &Path) -> Result<()> {
    let listed = process::capture(
        Command::new("arm-none-eabi-size")
            .arg("--totals")
            .arg(archive),
    )?;
    match total(&listed) {
        Some((text, data, bss)) => {
            println!("lightning-core: text {text} B, data {data} B, bss {bss} B, not linked");
            Ok(())
        }
        None => bail!("arm-none-eabi-size printed no totals:\n{listed}"),
    }
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
