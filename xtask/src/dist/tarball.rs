//! Archives: one of its own name, with a folder; and one, by the two names that the
//! operations manual calls it, that its commands unpack where they are.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::stage::{self, PROGRAMS};
use crate::{process, workspace};

/// Makes the archives of what is laid out in `root`.
pub fn make(root: &Path, version: &str, out: &Path) -> Result<()> {
    let content = super::folder("tarball")?;
    let name = format!("lightning-db-{version}-{}", target()?);
    fill(root, &stage::make_folder(&content, &name)?)?;
    pack(&content, &[&name], &out.join(format!("{name}.tar.gz")))?;
    make_for_manual(root, out)
}

/// Makes the archive of the manual's names only. Its programs are at the top, and
/// nothing else there begins with `lightning-`, since the manual copies `lightning-*`.
pub fn make_for_manual(root: &Path, out: &Path) -> Result<()> {
    let content = super::folder("tarball-flat")?;
    fill(root, &content)?;
    let mut names: Vec<String> = fs::read_dir(&content)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    names.sort();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (system, architecture) = (std::env::consts::OS, std::env::consts::ARCH);
    let first = out.join(format!("lightning-db-{system}-{architecture}.tar.gz"));
    pack(&content, &names, &first)?;
    stage::copy(&first, &out.join(format!("lightning-db-{system}.tar.gz")))
}

/// The target that the programs are built for.
fn target() -> Result<String> {
    let told = process::capture(Command::new("rustc").arg("-vV"))?;
    let target = told.lines().find_map(|line| line.strip_prefix("host: "));
    target
        .map(str::to_owned)
        .context("rustc doesn't say its host")
}

fn fill(root: &Path, folder: &Path) -> Result<()> {
    for program in PROGRAMS {
        stage::copy(&root.join("usr/bin").join(program), &folder.join(program))?;
    }
    for (from, to) in [
        ("usr/share/man/man1", "man/man1"),
        ("usr/share/bash-completion/completions", "completions/bash"),
        ("usr/share/zsh/vendor-completions", "completions/zsh"),
        ("usr/share/fish/vendor_completions.d", "completions/fish"),
        ("usr/share/lightning-db", "monitoring"),
        ("etc/lightning-db", "."),
        ("usr/share/doc/lightning-db", "."),
    ] {
        copy_files(&root.join(from), &stage::make_folder(folder, to)?)?;
    }
    // The administrator's programs are in /usr/local/bin: the unit as it is written.
    let deploy = workspace::root().join("host/server/deploy");
    let units = stage::make_folder(folder, "systemd")?;
    let drop_ins = stage::make_folder(&units, "lightning-db.service.d")?;
    stage::copy(
        &deploy.join("lightning-db.service"),
        &units.join("lightning-db.service"),
    )?;
    stage::copy(
        &deploy.join("lightning-db.service.d/hardening.conf"),
        &drop_ins.join("hardening.conf"),
    )
}

fn copy_files(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        stage::copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

/// Packs `names` of `folder` so that the same files give the same archive.
fn pack(folder: &Path, names: &[&str], archive: &Path) -> Result<()> {
    let commit = ["log", "-1", "--format=%ct"];
    let moment = process::capture(
        Command::new("git")
            .args(commit)
            .current_dir(workspace::root()),
    )?;
    let plain = archive.with_extension("");
    process::run(
        Command::new("tar")
            .args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner"])
            .arg(format!("--mtime=@{}", moment.trim()))
            .args(["--mode=u=rwX,go=rX", "-cf"])
            .arg(&plain)
            .args(names)
            .current_dir(folder),
    )?;
    process::run(
        Command::new("gzip")
            .args(["--no-name", "--force"])
            .arg(&plain),
    )?;
    if !archive.is_file() {
        bail!("gzip made no {}", archive.display());
    }
    Ok(())
}
