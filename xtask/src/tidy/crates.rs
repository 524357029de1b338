//! Arrows between the crates, read from every `Cargo.toml`.

use toml::{Table, Value};

use super::{Finding, SourceFile};

/// A package of the product and the packages of the product it may depend on.
struct Package {
    name: &'static str,
    may_use: &'static [&'static str],
}

const PLATFORM: &str = "lightning-platform";
const SIMULATOR: &str = "lightning-sim";
const CODECS: &str = "lightning-codecs";
const CORE: &str = "lightning-core";
const HOST: &str = "lightning-db";
const OPERATIONS: &str = "lightning-ops";

/// `platform <- core <- host <- the programs`, `platform <- host-*`, and only
/// the host depends on a host-*. The simulator is open to every test.
const PACKAGES: [Package; 11] = [
    Package {
        name: PLATFORM,
        may_use: &[],
    },
    Package {
        name: SIMULATOR,
        may_use: &[PLATFORM],
    },
    Package {
        name: CODECS,
        may_use: &[PLATFORM],
    },
    Package {
        name: CORE,
        may_use: &[PLATFORM],
    },
    Package {
        name: "lightning-host-linux",
        may_use: &[PLATFORM],
    },
    Package {
        name: "lightning-host-macos",
        may_use: &[PLATFORM],
    },
    Package {
        name: "lightning-host-windows",
        may_use: &[PLATFORM],
    },
    Package {
        name: HOST,
        may_use: &[
            PLATFORM,
            CODECS,
            CORE,
            "lightning-host-linux",
            "lightning-host-macos",
            "lightning-host-windows",
        ],
    },
    Package {
        name: OPERATIONS,
        may_use: &[PLATFORM, CORE, HOST],
    },
    Package {
        name: "lightning-admin-server",
        may_use: &[PLATFORM, CORE, HOST, OPERATIONS],
    },
    Package {
        name: "lightning-cli",
        may_use: &[PLATFORM, CORE, HOST, OPERATIONS],
    },
];

/// Folders whose packages test or measure the product: they may use all of it
/// but a host-*, and nothing may depend on them.
const OUTSIDE: [&str; 3] = ["tests/", "fuzz/", "xtask/"];

fn is_os_crate(name: &str) -> bool {
    name.starts_with("lightning-host-")
}

/// Checks the dependencies of every manifest.
pub fn check(files: &[SourceFile], findings: &mut Vec<Finding>) {
    for file in files {
        if file.path == "Cargo.toml" || !file.path.ends_with("/Cargo.toml") {
            continue;
        }
        match file.text.parse::<Table>() {
            Ok(manifest) => check_manifest(file, &manifest, findings),
            Err(error) => findings.push(Finding::new(&file.path, 0, error.message().to_owned())),
        }
    }
}

fn check_manifest(file: &SourceFile, manifest: &Table, findings: &mut Vec<Finding>) {
    let Some(name) = manifest
        .get("package")
        .and_then(|package| package.get("name"))
        .and_then(Value::as_str)
    else {
        return;
    };
    let is_outside = OUTSIDE.iter().any(|folder| file.path.starts_with(folder));
    let known = PACKAGES.iter().find(|package| package.name == name);
    if known.is_none() && !is_outside {
        let message =
            format!("package `{name}` has no place in the crate order (xtask/src/tidy/crates.rs)");
        findings.push(Finding::new(&file.path, line_of(&file.text, name), message));
        return;
    }
    for (dependency, is_for_tests) in dependencies(manifest) {
        let ours = PACKAGES.iter().any(|package| package.name == dependency);
        if !ours && !dependency.starts_with("lightning-") {
            continue;
        }
        let allowed = match known {
            Some(package) => {
                package.may_use.contains(&dependency.as_str())
                    || (is_for_tests && dependency == SIMULATOR)
            }
            None => ours && !is_os_crate(&dependency),
        };
        if !allowed {
            let message = if is_os_crate(&dependency) {
                format!("`{name}` may not depend on `{dependency}`: only `{HOST}` may")
            } else {
                format!("`{name}` may not depend on `{dependency}`: the arrow points the other way")
            };
            findings.push(Finding::new(
                &file.path,
                line_of(&file.text, &dependency),
                message,
            ));
        }
    }
}

/// The packages that a manifest depends on, and whether only its tests do.
fn dependencies(manifest: &Table) -> Vec<(String, bool)> {
    let mut found = Vec::new();
    let mut tables: Vec<&Table> = vec![manifest];
    if let Some(Value::Table(targets)) = manifest.get("target") {
        tables.extend(targets.values().filter_map(Value::as_table));
    }
    for table in tables {
        for (section, is_for_tests) in [
            ("dependencies", false),
            ("build-dependencies", false),
            ("dev-dependencies", true),
        ] {
            let Some(Value::Table(listed)) = table.get(section) else {
                continue;
            };
            for (key, value) in listed {
                let package = value.get("package").and_then(Value::as_str).unwrap_or(key);
                found.push((package.to_owned(), is_for_tests));
            }
        }
    }
    found
}

/// The first line that names `package` as a key or as a value; 0 where none does.
fn line_of(text: &str, package: &str) -> usize {
    let is_named = |line: &str| {
        let line = line.trim_start();
        line.contains(&format!("\"{package}\""))
            || line
                .strip_prefix(package)
                .is_some_and(|rest| rest.starts_with(['.', ' ', '=']))
    };
    text.lines().position(is_named).map_or(0, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<usize> {
        let mut findings = Vec::new();
        check(&[SourceFile::of(path, text)], &mut findings);
        findings.into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn crates_depend_downwards() {
        let core = "[package]\nname = \"lightning-core\"\n[dependencies]\n\
                    lightning-platform.workspace = true\ncrc = \"3\"\n\
                    [dev-dependencies]\nlightning-sim.workspace = true\n";
        assert!(found("core/Cargo.toml", core).is_empty());
        let host = "[package]\nname = \"lightning-db\"\n[dependencies]\nlightning-core = {}\n\
                    [target.'cfg(target_os = \"linux\")'.dependencies]\nlightning-host-linux = {}\n";
        assert!(found("host/Cargo.toml", host).is_empty());
    }

    #[test]
    fn upward_and_renamed_dependencies_are_found() {
        let core = "[package]\nname = \"lightning-core\"\n[dependencies]\n\
                    db = { package = \"lightning-db\", path = \"../host\" }\n\
                    lightning-sim.workspace = true\n";
        assert_eq!(found("core/Cargo.toml", core), [4, 5]);
    }

    #[test]
    fn only_the_host_depends_on_an_operating_system_crate() {
        for (path, name) in [
            ("host/cli/Cargo.toml", "lightning-cli"),
            ("tests/a/Cargo.toml", "a"),
        ] {
            let text = format!(
                "[package]\nname = \"{name}\"\n[target.'cfg(unix)'.dependencies]\n\
                 lightning-host-linux = {{}}\n"
            );
            assert_eq!(found(path, &text), [4], "{path}");
        }
    }

    #[test]
    fn a_package_without_a_place_is_found() {
        assert_eq!(
            found("extra/Cargo.toml", "[package]\nname = \"extra\"\n"),
            [2]
        );
        assert!(found("tests/extra/Cargo.toml", "[package]\nname = \"extra\"\n").is_empty());
    }
}
