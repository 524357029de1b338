//! The source of Redis: fetched once by apt into the build folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{process, workspace};

/// Where Debian's sources are, for the release that has this version of Redis.
const SOURCES: &str = "\
deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] \
http://deb.debian.org/debian bookworm main
deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] \
http://deb.debian.org/debian-security bookworm-security main
";

/// The unpacked source.
pub struct Source {
    /// Its folder.
    pub folder: PathBuf,
}

/// A command that Redis has.
pub struct PeerCommand {
    /// In lower case; a subcommand as `command|subcommand`.
    pub name: String,
    /// Its group.
    pub group: String,
}

/// The source of this version; or why it can't be had.
pub fn fetch(version: &str) -> Result<Result<Source, String>> {
    let base = workspace::target().join("redis-suite");
    let folder = base.join(format!("redis-{version}"));
    if folder.join("tests/test_helper.tcl").is_file() {
        return Ok(Ok(Source { folder }));
    }
    for program in ["/usr/bin/apt-get", "/usr/bin/dpkg-source"] {
        if !Path::new(program).is_file() {
            return Ok(Err(format!("there is no {program} to fetch Redis with")));
        }
    }
    for part in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(base.join(part)).context("making folders for apt")?;
    }
    let list = base.join("sources.list");
    fs::write(&list, SOURCES).context("writing the list of sources for apt")?;
    // Lists and archives of its own, so that the machine's stay as they are.
    let apt = || {
        let mut command = Command::new("apt-get");
        command.current_dir(&base).arg("--quiet");
        for (option, value) in [
            ("Dir::Etc::sourcelist", list.display().to_string()),
            ("Dir::Etc::sourceparts", "-".to_owned()),
            (
                "Dir::State::lists",
                base.join("lists").display().to_string(),
            ),
            ("Dir::Cache", base.join("cache").display().to_string()),
        ] {
            command.arg("-o").arg(format!("{option}={value}"));
        }
        command
    };
    let fetched = process::run(apt().arg("update"))
        .and_then(|()| process::run(apt().args(["source", "--download-only", "redis"])));
    if let Err(error) = fetched {
        return Ok(Err(format!(
            "apt doesn't give the source of Redis: {error:#}"
        )));
    }
    let archive = format!("redis_{version}.orig.tar.gz");
    if !base.join(&archive).is_file() {
        return Ok(Err(format!(
            "apt gave another version of Redis than {version}"
        )));
    }
    process::run(
        Command::new("tar")
            .current_dir(&base)
            .args(["xf", &archive]),
    )?;
    Ok(Ok(Source { folder }))
}

impl Source {
    /// The commands that Redis has, from the files that describe them.
    pub fn commands(&self) -> Result<Vec<PeerCommand>> {
        let folder = self.folder.join("src/commands");
        let mut found = Vec::new();
        for entry in fs::read_dir(&folder).context("reading the commands of Redis")? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let text = fs::read_to_string(&path)?;
            let described: serde_json::Map<String, serde_json::Value> =
                serde_json::from_str(&text).with_context(|| path.display().to_string())?;
            for (name, value) in described {
                let field = |field: &str| {
                    let value = value.get(field).and_then(serde_json::Value::as_str);
                    value.unwrap_or_default().to_lowercase()
                };
                let container = field("container");
                let name = name.to_lowercase();
                found.push(PeerCommand {
                    name: if container.is_empty() {
                        name
                    } else {
                        format!("{container}|{name}")
                    },
                    group: field("group"),
                });
            }
        }
        found.sort_by(|first, second| first.name.cmp(&second.name));
        Ok(found)
    }
}
