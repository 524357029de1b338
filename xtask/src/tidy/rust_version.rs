//! No dependency states a newer Rust than the workspace promises to build with.

use anyhow::{Context, Result};
use serde::Deserialize;

use super::{Finding, SourceFile};
use crate::{process, workspace};

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    rust_version: Option<String>,
}

/// Asks cargo for all packages of all targets and compares.
pub fn check(files: &[SourceFile], findings: &mut Vec<Finding>) -> Result<()> {
    let root = files.iter().find(|file| file.path == "Cargo.toml");
    let Some(promised) = root.and_then(|file| promised(&file.text)) else {
        findings.push(Finding::new(
            "Cargo.toml",
            0,
            "has no workspace.package.rust-version",
        ));
        return Ok(());
    };
    let printed = process::capture(workspace::cargo().args([
        "metadata",
        "--format-version",
        "1",
        "--locked",
    ]))
    .context("the packages and their Rust versions come from cargo")?;
    let metadata: Metadata =
        serde_json::from_str(&printed).context("cargo metadata printed no JSON of known form")?;
    let lock = files.iter().find(|file| file.path == "Cargo.lock");
    compare(
        &promised,
        &metadata.packages,
        lock.map_or("", |file| &file.text),
        findings,
    );
    Ok(())
}

fn promised(manifest: &str) -> Option<String> {
    let table: toml::Table = manifest.parse().ok()?;
    Some(
        table
            .get("workspace")?
            .get("package")?
            .get("rust-version")?
            .as_str()?
            .to_owned(),
    )
}

fn compare(promised: &str, packages: &[Package], lock: &str, findings: &mut Vec<Finding>) {
    for package in packages {
        let Some(stated) = &package.rust_version else {
            continue;
        };
        if numbers(stated) > numbers(promised) {
            let line = lock_line(lock, &package.name, &package.version);
            let message = format!(
                "{} {} needs Rust {stated}, the workspace promises {promised}",
                package.name, package.version
            );
            findings.push(Finding::new("Cargo.lock", line, message));
        }
    }
}

/// Major, minor and patch; a missing part is 0.
fn numbers(version: &str) -> [u32; 3] {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    std::array::from_fn(|_| parts.next().unwrap_or(0))
}

fn lock_line(lock: &str, name: &str, version: &str) -> usize {
    let name = format!("name = \"{name}\"");
    let version = format!("version = \"{version}\"");
    let lines: Vec<&str> = lock.lines().collect();
    lines
        .windows(2)
        .position(|pair| pair[0] == name && pair[1] == version)
        .map_or(0, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        assert!(numbers("1.100") > numbers("1.90.0"));
        assert_eq!(numbers("1.90"), numbers("1.90.0"));
    }

    #[test]
    fn a_newer_need_is_found_at_its_line() {
        let package = |name: &str, rust: Option<&str>| Package {
            name: name.to_owned(),
            version: "0.3.0".to_owned(),
            rust_version: rust.map(str::to_owned),
        };
        let packages = [
            package("old", Some("1.56")),
            package("new", Some("1.91")),
            package("silent", None),
        ];
        let lock = "[[package]]\nname = \"new\"\nversion = \"0.3.0\"\n";
        let mut findings = Vec::new();
        compare("1.90", &packages, lock, &mut findings);
        assert_eq!(findings.len(), 1);
        assert_eq!(
            (findings[0].file.as_str(), findings[0].line),
            ("Cargo.lock", 2)
        );
    }

    #[test]
    fn the_promise_is_read_from_the_root() {
        let text = "[workspace.package]\nrust-version = \"1.90\"\n";
        assert_eq!(promised(text).as_deref(), Some("1.90"));
        assert_eq!(promised("[workspace]\n"), None);
    }
}
