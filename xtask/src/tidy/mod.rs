//! `cargo xtask tidy`: the rules of this house that no other tool checks.
//!
//! A check reads the files in memory and returns findings; it changes nothing
//! and runs nothing, so that its tests are small strings. Rust is read as
//! tokens (`tokens`): comments and strings never count as code. Only the rule on
//! dependencies' Rust versions asks cargo.

mod crates;
mod format_pin;
mod modules;
mod platform_choice;
mod rust_version;
mod text;
mod tokens;

use std::fmt;
use std::fs;
use std::ops::RangeInclusive;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;

use crate::outcome::Outcome;
use crate::workspace;

/// Checks the rules of the house: arrows between modules and crates, file form, pins.
///
/// (a) a module of core/src uses only modules before it; (b) a crate depends
/// only on crates below it; (c) the operating system is chosen in one file of
/// host/src and in host-*; (d) files keep to 600 lines, test files to 1500;
/// (e) nothing is left to do; (f) no path of a developer's machine, no trailing
/// whitespace, a newline at the end; (g) each Rust file opens with its `//!`
/// comment; (h) core/FORMAT.md is pinned to core/src/format by a hash; (i) no
/// dependency needs a newer Rust than the workspace states.
#[derive(Args, Default)]
pub struct Arguments {
    /// Write the present hash into core/FORMAT.md, after a person compared document and code
    #[arg(long)]
    update_format_hash: bool,
}

/// One broken rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    file: String,
    /// Counted from 1; 0 where the finding is about the whole file.
    line: usize,
    message: String,
}

impl Finding {
    fn new(file: &str, line: usize, message: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line,
            message: message.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            write!(out, "{}: {}", self.file, self.message)
        } else {
            write!(out, "{}:{}: {}", self.file, self.line, self.message)
        }
    }
}

/// A text file of the workspace.
struct SourceFile {
    /// From the root, with `/` between folders.
    path: String,
    text: String,
    /// Whether its parent declares it under `#[cfg(test)]`.
    is_declared_test: bool,
}

impl SourceFile {
    fn of(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            is_declared_test: false,
        }
    }

    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether the whole file is test code.
    fn is_test(&self) -> bool {
        let mut folders = self.path.split('/');
        let name = folders.next_back().unwrap_or_default();
        self.is_declared_test
            || name == "tests.rs"
            || name.ends_with("_tests.rs")
            || folders.any(|part| part == "tests")
    }

    /// The folder in which this file's modules are.
    fn modules_folder(&self) -> &str {
        let stem = self.path.trim_end_matches(".rs");
        let (folder, name) = stem.rsplit_once('/').unwrap_or(("", stem));
        if matches!(name, "lib" | "main" | "mod") {
            folder
        } else {
            stem
        }
    }
}

/// Runs every check, or writes the format hash.
pub fn run(arguments: &Arguments) -> Result<Outcome> {
    let files = read_files()?;
    if arguments.update_format_hash {
        return update_format_hash(&files);
    }
    let mut findings = Vec::new();
    for file in &files {
        text::check(file, &mut findings);
    }
    modules::check(&files, &mut findings);
    crates::check(&files, &mut findings);
    platform_choice::check(&files, &mut findings);
    format_pin::check(&files, &mut findings);
    rust_version::check(&files, &mut findings)?;
    findings.sort();
    findings.dedup();
    for finding in &findings {
        println!("{finding}");
    }
    if findings.is_empty() {
        println!("tidy: {} files, nothing found", files.len());
        Ok(Outcome::Passed)
    } else {
        bail!("tidy: {} findings in {} files", findings.len(), files.len())
    }
}

/// Inputs of the fuzz targets: bytes, even where they could be read as text.
const INPUTS: &str = "fuzz/corpus/";

/// Every file that is text; binary ones (golden files, inputs of fuzz targets) have no
/// rules here.
fn read_files() -> Result<Vec<SourceFile>> {
    let root = workspace::root();
    let mut files = Vec::new();
    for path in workspace::files()? {
        if path.starts_with(INPUTS) {
            continue;
        }
        let bytes = fs::read(root.join(&path)).with_context(|| format!("cannot read {path}"))?;
        if bytes.contains(&0) {
            continue;
        }
        if let Ok(text) = String::from_utf8(bytes) {
            files.push(SourceFile::of(&path, &text));
        }
    }
    mark_declared_tests(&mut files);
    Ok(files)
}

/// Marks every file, and all below it, whose module is declared for tests only.
fn mark_declared_tests(files: &mut [SourceFile]) {
    let mut declared = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let Ok(stream) = tokens::parse(&file.text) else {
            continue;
        };
        for name in tokens::without_tests(stream).files {
            declared.push(format!("{}/{name}", file.modules_folder()));
        }
    }
    for file in files {
        file.is_declared_test = declared.iter().any(|module| {
            let rest = file.path.strip_prefix(module.as_str());
            rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        });
    }
}

/// Test code: a whole file, or some lines of one.
pub struct TestCode {
    /// The file, from the folder that was asked for.
    pub path: String,
    /// Its lines; `None` where the whole file is test code.
    pub lines: Option<Vec<RangeInclusive<usize>>>,
}

/// What is test code below a folder: files of tests, and items under `#[cfg(test)]`.
pub fn test_code(folder: &str) -> Result<Vec<TestCode>> {
    let mut found = Vec::new();
    for file in read_files()?.iter().filter(|file| file.is_rust()) {
        let Some(path) = file.path.strip_prefix(folder) else {
            continue;
        };
        let lines = if file.is_test() {
            None
        } else {
            let stream = tokens::parse(&file.text)
                .map_err(|line| anyhow!("{}:{line}: this is no Rust", file.path))?;
            Some(tokens::without_tests(stream).removed)
        };
        found.push(TestCode {
            path: path.to_owned(),
            lines,
        });
    }
    Ok(found)
}

fn update_format_hash(files: &[SourceFile]) -> Result<Outcome> {
    let text = match format_pin::updated(files) {
        Ok(text) => text,
        Err(finding) => bail!("{finding}"),
    };
    fs::write(workspace::root().join(format_pin::DOCUMENT), text)
        .with_context(|| format!("cannot write {}", format_pin::DOCUMENT))?;
    println!("{}: hash written", format_pin::DOCUMENT);
    Ok(Outcome::Passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_declared_for_tests_are_test_code() {
        let mut files = [
            SourceFile::of("core/src/wal/mod.rs", "#[cfg(test)] mod model; mod frame;"),
            SourceFile::of("core/src/wal/model.rs", ""),
            SourceFile::of("core/src/wal/model/log.rs", ""),
            SourceFile::of("core/src/wal/frame.rs", "#[cfg(test)] mod oracle;"),
            SourceFile::of("core/src/wal/frame/oracle.rs", ""),
        ];
        mark_declared_tests(&mut files);
        assert_eq!(
            files.map(|file| file.is_test()),
            [false, true, true, false, true]
        );
    }
}
