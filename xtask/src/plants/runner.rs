//! Builds and runs one test command in the copy.
//!
//! The programs are built by cargo and started from here, not by `cargo test`:
//! a fault may make one run for ever, and only a direct child can be ended.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, bail};
use serde::Deserialize;

use super::copy::Tree;
use super::description::TestCommand;
use crate::{process, tsan, workspace};

/// What the tests said.
pub enum Verdict {
    /// Every program passed.
    Passed,
    /// One failed: the test, or what else there is to name.
    Failed(String),
    /// One had not ended when its time was up: which.
    StillRuns(String),
}

/// What came of a command, and how long its programs ran.
pub struct Ran {
    /// What the tests said.
    pub verdict: Verdict,
    /// From the start of the first program to the end of the last one.
    pub took: Duration,
}

/// A fault changes one file: what is built again is that file's part of its package, and
/// nothing is optimised across packages. What the programs do is the same.
const QUICK_BUILDS: [(&str, &str); 3] = [
    ("CARGO_INCREMENTAL", "1"),
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
];

struct Program {
    path: PathBuf,
    folder: PathBuf,
}

/// Builds the programs and runs them until one fails, each for `time_max` at most.
pub fn run(tree: &Tree, command: &TestCommand, time_max: Duration) -> Result<Ran> {
    let programs = build(tree, command)?;
    if programs.is_empty() {
        bail!("the command builds no program");
    }
    let start = Instant::now();
    let verdict = run_each(tree, command, &programs, time_max)?;
    Ok(Ran {
        verdict,
        took: start.elapsed(),
    })
}

fn run_each(
    tree: &Tree,
    command: &TestCommand,
    programs: &[Program],
    time_max: Duration,
) -> Result<Verdict> {
    for program in programs {
        let output_path = tree.target.join("plant-output.txt");
        let output = File::create(&output_path).context("creating the output file")?;
        let mut child = Command::new(&program.path)
            .args(&command.run)
            .current_dir(&program.folder)
            .env("CARGO_MANIFEST_DIR", &program.folder)
            .env("TSAN_OPTIONS", tsan::options())
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("starting {}", program.path.display()))?;
        let name = program
            .path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let Some(status) = wait(&mut child, time_max)? else {
            return Ok(Verdict::StillRuns(name));
        };
        if !status.success() {
            let printed = fs::read(&output_path).context("reading the output")?;
            let failing = failing_test(&String::from_utf8_lossy(&printed));
            return Ok(Verdict::Failed(
                failing.unwrap_or_else(|| format!("{name} ({status})")),
            ));
        }
    }
    Ok(Verdict::Passed)
}

#[derive(Deserialize)]
struct Message {
    executable: Option<PathBuf>,
    manifest_path: Option<PathBuf>,
}

fn build(tree: &Tree, command: &TestCommand) -> Result<Vec<Program>> {
    let (mut cargo, target) = if command.thread_sanitizer {
        let host = tsan::find().map_err(Error::msg)?;
        (tsan::cargo(&host), tree.target.join("thread-sanitizer"))
    } else {
        (workspace::cargo(), tree.target.clone())
    };
    let printed = process::capture(
        cargo
            .args(&command.build)
            .args(["--quiet", "--message-format", "json-render-diagnostics"])
            .current_dir(&tree.root)
            .envs(QUICK_BUILDS)
            .env("CARGO_TARGET_DIR", target),
    )
    .context("the build failed, so that no test could judge")?;
    let mut programs = Vec::new();
    for line in printed.lines() {
        let message: Message = serde_json::from_str(line).context("reading cargo's messages")?;
        if let Some(path) = message.executable {
            let folder = message.manifest_path.as_deref().and_then(Path::parent);
            let folder = folder.map_or_else(|| tree.root.clone(), Path::to_path_buf);
            programs.push(Program { path, folder });
        }
    }
    Ok(programs)
}

/// The exit status, or `None` where the time was up and the program was ended.
fn wait(child: &mut Child, time_max: Duration) -> Result<Option<ExitStatus>> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if start.elapsed() > time_max {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        sleep(Duration::from_millis(20));
    }
}

/// The first failing test that a test program or the proof printed.
fn failing_test(printed: &str) -> Option<String> {
    printed
        .lines()
        .find_map(|line| {
            let name = line.strip_prefix("test ")?.split_once(" ... FAILED")?.0;
            Some(name.to_owned())
        })
        .or_else(|| {
            printed.lines().find_map(|line| {
                let (name, rest) = line.split_once(' ')?;
                let bad = rest.split_once("bad ")?.1.split_whitespace().next()?;
                (bad.parse::<u64>().ok()? > 0).then(|| format!("proof {name}"))
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_failing_test_is_named() {
        let printed = "running 2 tests\ntest a::b ... ok\ntest a::c ... FAILED\n";
        assert_eq!(failing_test(printed).as_deref(), Some("a::c"));
        let printed = "seed 7\nreplay cases 12 bad 0\npower-cut cases 40 bad 3\n";
        assert_eq!(failing_test(printed).as_deref(), Some("proof power-cut"));
        assert_eq!(failing_test("thread panicked"), None);
    }
}
