//! The nightly toolchain, for what the stable one doesn't do: Miri and ThreadSanitizer.
//!
//! Both need the standard library's sources, since they build it anew. Nothing is
//! installed from here: where something lacks, the step says what and is SKIPPED.

use std::path::Path;
use std::process::Command;

use crate::{process, workspace};

/// A program of the nightly toolchain, in the root folder.
pub fn command(program: &str) -> Command {
    let mut command = Command::new("rustup");
    command
        .args(["run", "nightly", program])
        .current_dir(workspace::root());
    for inherited in ["CARGO", "RUSTC", "RUSTUP_TOOLCHAIN", "RUSTFLAGS"] {
        command.env_remove(inherited);
    }
    command
}

/// The processor and system that nightly builds for, where it has the library's sources;
/// or what is missing.
pub fn host_with_sources() -> Result<String, String> {
    let version = process::capture(command("rustc").arg("-vV"))
        .map_err(|error| format!("there is no nightly toolchain: {error:#}"))?;
    let root = process::capture(command("rustc").args(["--print", "sysroot"]))
        .map_err(|error| format!("{error:#}"))?;
    let sources = Path::new(root.trim()).join("lib/rustlib/src/rust/library/core");
    if !sources.is_dir() {
        return Err("the nightly toolchain has no component rust-src".to_owned());
    }
    host_of(&version).ok_or_else(|| "nightly rustc names no host".to_owned())
}

fn host_of(version: &str) -> Option<String> {
    let line = version.lines().find_map(|line| line.strip_prefix("host: "));
    line.map(|host| host.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_read() {
        let printed = "rustc 1.97.0-nightly\nbinary: rustc\nhost: x86_64-unknown-linux-gnu\n";
        assert_eq!(
            host_of(printed).as_deref(),
            Some("x86_64-unknown-linux-gnu")
        );
        assert_eq!(host_of("rustc 1.97.0-nightly"), None);
    }
}
