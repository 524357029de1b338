//! What comes from PyPI by pip: the libraries that tests need, and the tests themselves,
//! which their projects publish with their source.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{packages, process, workspace};

/// What the tests of both projects need. fakeredis's import valkey's client, too.
const LIBRARIES: [&str; 8] = [
    "pytest==9.2.0",
    "pytest-asyncio==1.5.0",
    "pytest-timeout==2.4.0",
    "packaging==26.4",
    "hypothesis==6.170.17",
    "redis==8.1.0",
    "fakeredis==2.40.0",
    "valkey==6.1.1",
];

/// The libraries, in a folder of their own.
pub struct Packages {
    libraries: PathBuf,
}

/// A pip that says nothing and writes nowhere else.
fn pip(command: &str) -> Command {
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", command, "--quiet"])
        .args(["--disable-pip-version-check", "--no-input"]);
    pip
}

fn base() -> PathBuf {
    workspace::target().join("redis-py")
}

impl Packages {
    /// Installs the libraries where they aren't yet; or why they can't be had.
    pub fn fetch() -> Result<Result<Self, String>> {
        if !packages::has_program("python3") {
            return Ok(Err("there is no python3 (python3-pip)".to_owned()));
        }
        // A list that changes makes another folder.
        let name = LIBRARIES.join("-").replace("==", "_");
        let libraries = base().join(name);
        if libraries.is_dir() {
            return Ok(Ok(Self { libraries }));
        }
        // Beside its name first, so that one that was cut off isn't taken for whole.
        let beside = base().join(format!("installing-{}", std::process::id()));
        let installed = process::run(
            pip("install")
                .args(["--root-user-action=ignore", "--no-compile", "--target"])
                .arg(&beside)
                .args(LIBRARIES),
        );
        if let Err(error) = installed {
            fs::remove_dir_all(&beside).ok();
            return Ok(Err(format!(
                "pip doesn't install what is needed: {error:#}"
            )));
        }
        fs::rename(&beside, &libraries).context("naming the folder of libraries")?;
        Ok(Ok(Self { libraries }))
    }

    /// The source of a project as it publishes it, with its tests; or why it can't be had.
    pub fn source(&self, project: &str, version: &str) -> Result<Result<PathBuf, String>> {
        let base = base();
        let name = format!("{project}-{version}");
        let folder = base.join(&name);
        if folder.is_dir() {
            return Ok(Ok(folder));
        }
        let fetched = process::run(
            pip("download")
                .args(["--no-deps", "--no-binary", project, "--dest"])
                .arg(&base)
                .arg(format!("{project}=={version}")),
        );
        if let Err(error) = fetched {
            return Ok(Err(format!("pip doesn't give {name}: {error:#}")));
        }
        let beside = base.join(format!("unpacking-{}", std::process::id()));
        fs::create_dir_all(&beside)?;
        let archive = format!("../{name}.tar.gz");
        process::run(
            Command::new("tar")
                .current_dir(&beside)
                .args(["xf", &archive]),
        )?;
        fs::rename(beside.join(&name), &folder).context("naming the folder of the source")?;
        fs::remove_dir(&beside).ok();
        Ok(Ok(folder))
    }

    /// Python in a folder, with the libraries, what lies in that folder, and `more`.
    pub fn python(&self, folder: &Path, more: &Path) -> Result<Command> {
        let path = std::env::join_paths([more, folder, &self.libraries])?;
        let mut python = Command::new("python3");
        python
            .current_dir(folder)
            .env("PYTHONPATH", path)
            .env("PYTHONDONTWRITEBYTECODE", "1");
        Ok(python)
    }
}
