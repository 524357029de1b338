//! The deb and the rpm, by the cargo commands that make them; what is in them stands in
//! host/server/Cargo.toml.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{process, workspace};

/// A cargo command, and its version.
struct Tool {
    name: &'static str,
    version: &'static str,
    options: &'static [&'static str],
}

const CARGO_DEB: Tool = Tool {
    name: "cargo-deb",
    version: "3.8.0",
    // Without the library for xz, which a package of ours isn't packed by.
    options: &["--no-default-features"],
};

const CARGO_GENERATE_RPM: Tool = Tool {
    name: "cargo-generate-rpm",
    version: "0.21.1",
    options: &[],
};

impl Tool {
    /// The program, built where it isn't there yet.
    fn program(&self) -> Result<PathBuf> {
        let tools = workspace::target()
            .join("tools")
            .join(format!("{}-{}", self.name, self.version));
        let program = tools.join("bin").join(self.name);
        if !program.is_file() {
            process::run(
                workspace::cargo()
                    .args(["install", "--quiet", "--locked", "--root"])
                    .arg(&tools)
                    .args(["--version", self.version])
                    .args(self.options)
                    .arg(self.name),
            )
            .with_context(|| format!("{} makes the package", self.name))?;
        }
        Ok(program)
    }

    fn command(&self) -> Result<Command> {
        let mut command = Command::new(self.program()?);
        command.current_dir(workspace::root());
        Ok(command)
    }
}

/// Makes the deb of this version of what is laid out; answers where it is.
pub fn deb(version: &str, out: &Path) -> Result<PathBuf> {
    let architecture = process::capture(Command::new("dpkg").arg("--print-architecture"))
        .map_or_else(
            |_| std::env::consts::ARCH.to_owned(),
            |told| told.trim().to_owned(),
        );
    let deb = out.join(format!("lightning-db_{version}_{architecture}.deb"));
    process::run(
        CARGO_DEB
            .command()?
            .args([
                "--quiet",
                "--no-build",
                "--no-strip",
                "-p",
                "lightning-admin-server",
            ])
            .args(["--deb-version", version, "--output"])
            .arg(&deb),
    )?;
    Ok(deb)
}

/// Makes the rpm of what is laid out; answers where it is.
pub fn rpm(version: &str, out: &Path) -> Result<PathBuf> {
    let architecture = std::env::consts::ARCH;
    let rpm = out.join(format!("lightning-db-{version}-1.{architecture}.rpm"));
    process::run(
        CARGO_GENERATE_RPM
            .command()?
            .args(["-p", "host/server", "--output"])
            .arg(&rpm),
    )?;
    Ok(rpm)
}
