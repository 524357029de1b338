//! Debian's own Rust compiler, for targets that rustup has no library for here.
//!
//! Its packages bring the compiler and the library's sources, so that cargo's
//! `build-std` can build `core` and `alloc` for any target. It stands behind
//! rustup's in `PATH`, is called by absolute path in an environment of its own,
//! and keeps a build folder of its own, because the two compilers differ.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{packages, process, workspace};

const PACKAGES: [&str; 4] = [
    "rustc-web",
    "cargo-web",
    "rust-web-src",
    "libstd-rust-web-dev",
];

/// Whether `rustc 1.96.0 (…)` is of the version `1.90` at least.
fn is_enough(printed: &str, wanted: &str) -> bool {
    let numbers = |version: &str| {
        let mut parts = version.split('.').map(str::parse::<u32>);
        Some((parts.next()?.ok()?, parts.next()?.ok()?))
    };
    let found = printed.split_whitespace().nth(1).and_then(numbers);
    found.is_some() && found >= numbers(wanted)
}

/// A compiler and cargo outside rustup, with the library's sources.
pub struct RegistryToolchain {
    binaries: PathBuf,
}

impl RegistryToolchain {
    /// The installed toolchain, or why there is none.
    pub fn find() -> Result<Self, String> {
        let binaries = PathBuf::from("/usr/bin");
        for name in ["rustc", "cargo"] {
            if !binaries.join(name).is_file() {
                return Err(format!(
                    "{} does not exist (Debian packages {})",
                    binaries.join(name).display(),
                    PACKAGES.join(" ")
                ));
            }
        }
        let toolchain = Self { binaries };
        let version = process::capture(toolchain.command("rustc").arg("--version"))
            .map_err(|error| format!("{error:#}"))?;
        if !is_enough(&version, env!("CARGO_PKG_RUST_VERSION")) {
            return Err(format!(
                "{} is too old (Debian package rustc-web of the security archive)",
                version.trim()
            ));
        }
        let root = process::capture(toolchain.command("rustc").args(["--print", "sysroot"]))
            .map_err(|error| format!("{error:#}"))?;
        let sources = Path::new(root.trim()).join("lib/rustlib/src/rust/library/core");
        if sources.is_dir() {
            Ok(toolchain)
        } else {
            Err(format!(
                "{} does not exist (Debian package rust-web-src)",
                sources.display()
            ))
        }
    }

    /// The toolchain, after an attempt to install what is missing.
    pub fn find_or_install() -> Result<Self, String> {
        if let Ok(found) = Self::find() {
            return Ok(found);
        }
        packages::install(&PACKAGES)?;
        Self::find()
    }

    /// A cargo command in the root folder that may use `build-std`.
    pub fn cargo(&self) -> Command {
        let mut command = self.command("cargo");
        command.env(
            "CARGO_TARGET_DIR",
            workspace::target().join("registry-toolchain"),
        );
        command
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.binaries.join(program));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut folders = vec![self.binaries.clone()];
        folders.extend(std::env::split_paths(&path));
        if let Ok(joined) = std::env::join_paths(folders) {
            command.env("PATH", joined);
        }
        for inherited in [
            "CARGO",
            "RUSTC",
            "RUSTC_WRAPPER",
            "RUSTC_WORKSPACE_WRAPPER",
            "RUSTUP_TOOLCHAIN",
            "RUSTFLAGS",
            "LD_LIBRARY_PATH",
        ] {
            command.env_remove(inherited);
        }
        command
            .env("RUSTC", self.binaries.join("rustc"))
            .env("RUSTC_BOOTSTRAP", "1")
            .current_dir(workspace::root());
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(is_enough("rustc 1.96.0 (abc 2026-01-01)", "1.90"));
        assert!(is_enough("rustc 1.100.0", "1.90") && is_enough("rustc 2.0.0", "1.90"));
        assert!(!is_enough("rustc 1.85.0 (abc)", "1.90"));
        assert!(!is_enough("nothing", "1.90"));
    }
}
