//! The files of an installation, laid out as they are installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use toml::Table;

use crate::{packages, process, workspace};

/// The programs.
pub const PROGRAMS: [&str; 3] = ["lightning-db", "lightning-cli", "lightning-admin-server"];

/// How the programs are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// As `cargo build` does: for tests.
    Dev,
    /// As they are shipped.
    Dist,
}

/// The version of the workspace.
pub fn version() -> Result<String> {
    let text = fs::read_to_string(workspace::root().join("Cargo.toml"))?;
    let manifest: Table = text.parse()?;
    manifest
        .get("workspace")
        .and_then(|workspace| workspace.get("package")?.get("version")?.as_str())
        .map(str::to_owned)
        .context("Cargo.toml has no workspace.package.version")
}

/// Builds the programs, and answers the folder that they are in.
pub fn build(profile: Profile) -> Result<PathBuf> {
    let (name, folder) = match profile {
        Profile::Dev => ("dev", "debug"),
        Profile::Dist => ("dist", "dist"),
    };
    let mut command = workspace::cargo();
    command.args(["build", "--profile", name]);
    match profile {
        // As the tests build them, so that nothing is built twice.
        Profile::Dev => command.arg("--workspace"),
        Profile::Dist => command.args(["-p", "lightning-cli", "-p", "lightning-admin-server"]),
    };
    process::run(&mut command)?;
    Ok(workspace::target().join(folder))
}

/// Lays the files out, in `target/packages/root`.
pub fn make(profile: Profile) -> Result<PathBuf> {
    let programs = build(profile)?;
    let root = super::folder("root")?;
    let deploy = workspace::root().join("host/server/deploy");

    let binaries = make_folder(&root, "usr/bin")?;
    for program in PROGRAMS {
        copy(&programs.join(program), &binaries.join(program))?;
        if profile == Profile::Dev && packages::has_program("strip") {
            // What is left out is most of the file, and takes long to pack.
            process::run(
                Command::new("strip")
                    .arg("--strip-debug")
                    .arg(binaries.join(program)),
            )?;
        }
    }
    let pages = make_folder(&root, "usr/share/man/man1")?;
    for program in PROGRAMS {
        process::capture(Command::new(binaries.join(program)).arg("man").arg(&pages))?;
        for (shell, folder, name) in [
            (
                "bash",
                "usr/share/bash-completion/completions",
                program.to_owned(),
            ),
            (
                "zsh",
                "usr/share/zsh/vendor-completions",
                format!("_{program}"),
            ),
            (
                "fish",
                "usr/share/fish/vendor_completions.d",
                format!("{program}.fish"),
            ),
        ] {
            let completing = ["completions", shell];
            let script = process::capture(Command::new(binaries.join(program)).args(completing))?;
            write(&make_folder(&root, folder)?.join(name), &script)?;
        }
    }

    copy(
        &deploy.join("config.toml"),
        &make_folder(&root, "etc/lightning-db")?.join("config.toml"),
    )?;
    // A package's programs are not the administrator's own, which /usr/local is for.
    let unit = fs::read_to_string(deploy.join("lightning-db.service"))?;
    let unit = unit
        .replace("/usr/local/bin/", "/usr/bin/")
        .replace("# /etc/systemd/system/", "# /usr/lib/systemd/system/");
    let units = make_folder(&root, "usr/lib/systemd/system")?;
    write(&units.join("lightning-db.service"), &unit)?;
    let drop_ins = make_folder(&units, "lightning-db.service.d")?;
    let hardening = fs::read_to_string(deploy.join("lightning-db.service.d/hardening.conf"))?;
    let hardening = hardening.replace("# /etc/systemd/system/", "# /usr/lib/systemd/system/");
    write(&drop_ins.join("hardening.conf"), &hardening)?;

    let shared = make_folder(&root, "usr/share/lightning-db")?;
    for name in ["alerts.yml", "dashboard.json"] {
        copy(&deploy.join(name), &shared.join(name))?;
    }
    let documents = make_folder(&root, "usr/share/doc/lightning-db")?;
    for name in ["LICENSE-MIT", "LICENSE-APACHE", "host/server/REDIS.md"] {
        let from = workspace::root().join(name);
        copy(&from, &documents.join(from.file_name().unwrap_or_default()))?;
    }
    let reference = ["config", "reference"];
    let reference = process::capture(Command::new(binaries.join("lightning-cli")).args(reference))?;
    write(&documents.join("configuration.md"), &reference)?;
    Ok(root)
}

/// Makes a folder below `root`.
pub fn make_folder(root: &Path, path: &str) -> Result<PathBuf> {
    let folder = root.join(path);
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    Ok(folder)
}

/// Copies a file.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("copying {}", from.display()))?;
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| path.display().to_string())
}
