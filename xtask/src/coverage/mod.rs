//! `cargo xtask coverage`: which lines and branches of the core the checks run.
//!
//! The core's own tests and some simulated lives are built with counters (`counting`), each
//! process leaves a profile, and the LLVM tools of the compiler's version put them together
//! into one list of lines and branches (`report`). All choices follow from fixed seeds, so
//! that two runs differ by what threads do only.
//!
//! A line counts as run where any part of it was; test code is not counted, and nothing
//! else is left out. Of each branch both outcomes count.

mod counting;
mod report;

use std::fs;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::outcome::Outcome;
use crate::{tidy, workspace};
use report::{FileReport, Share};

/// Runs the core's tests and some simulated lives; prints what of the core they ran.
///
/// Needs rustup's component llvm-tools (`rustup component add llvm-tools`), or
/// LLVM_COV and LLVM_PROFDATA in the environment that name tools of the compiler's
/// version; SKIPPED without. Everything is built once more, in a folder of its own.
#[derive(Args)]
pub struct Arguments {
    /// Fail where less than this share of the lines ran, in percent
    #[arg(long, value_name = "PERCENT")]
    minimum: Option<f64>,
    /// How many lives are simulated; with 0, the core's own tests run alone
    #[arg(long, value_name = "N", default_value_t = LIVES)]
    lives: u64,
    /// Run the long tests, too, which are left out otherwise
    #[arg(long)]
    long: bool,
    /// Have rustup install llvm-tools where they are missing
    #[arg(long)]
    install: bool,
    /// Run nothing: print the figures of the last run
    #[arg(long)]
    last: bool,
    /// Print the lines that nothing ran of each file that begins so, below core/src
    #[arg(long, value_name = "FILE")]
    uncovered: Vec<String>,
    /// Print the branches of it, too, of which an outcome never came
    #[arg(long, requires = "uncovered")]
    branches: bool,
}

impl Arguments {
    /// What the suite holds the core to.
    pub fn of_suite(install: bool) -> Self {
        Self {
            minimum: Some(MINIMUM_PERCENT),
            lives: LIVES,
            long: false,
            install,
            last: false,
            uncovered: Vec::new(),
            branches: false,
        }
    }
}

/// Lives that reach nearly all that any number reaches, in some seconds.
const LIVES: u64 = 400;

/// The share of the core's lines that the suite demands.
const MINIMUM_PERCENT: f64 = 95.0;

/// Where the sources that are counted are, from the root.
const SOURCE: &str = "core/src/";

/// Builds, runs, and prints the table.
pub fn run(arguments: &Arguments) -> Result<Outcome> {
    let folder = workspace::target().join("coverage");
    let list = folder.join("core.lcov");
    if !arguments.last {
        let tools = match counting::Tools::find(arguments.install)? {
            Ok(tools) => tools,
            Err(reason) => return Ok(Outcome::Skipped(reason)),
        };
        let scope = counting::Scope {
            lives: arguments.lives,
            long_tests: arguments.long,
        };
        fs::create_dir_all(&folder)?;
        fs::write(&list, counting::measure(&tools, &folder, scope)?)?;
    }
    let text = fs::read_to_string(&list)
        .with_context(|| format!("there is no last run: cannot read {}", list.display()))?;
    let root = workspace::root().join(SOURCE);
    let mut files = report::parse(&text, &root)?;
    for test in tidy::test_code(SOURCE)? {
        match test.lines {
            None => _ = files.remove(&test.path),
            Some(lines) => {
                if let Some(file) = files.get_mut(&test.path) {
                    file.leave_out(&lines);
                }
            }
        }
    }
    if files.is_empty() {
        bail!("llvm-cov found no file of the core");
    }
    for (path, file) in &files {
        if arguments
            .uncovered
            .iter()
            .any(|start| path.starts_with(start))
        {
            let text = fs::read_to_string(root.join(path))?;
            file.print_uncovered(path, &text, arguments.branches);
        }
    }
    print(&files, arguments.minimum)
}

type Files = std::collections::BTreeMap<String, FileReport>;

fn print(files: &Files, minimum: Option<f64>) -> Result<Outcome> {
    let width = files.keys().map(String::len).max().unwrap_or_default();
    println!("{:<width$} {}", SOURCE, Share::TITLES);
    let mut total = Share::default();
    for (path, file) in files {
        let share = file.share();
        println!("{path:<width$} {share}");
        total += share;
    }
    println!("{:<width$} {total}", "all");
    let run = total.lines_percent();
    match minimum {
        Some(least) if run < least => {
            bail!("{run:.2} % of the core's lines ran, less than {least} %")
        }
        _ => Ok(Outcome::Passed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_below_the_minimum_fails() {
        let text = "SF:/x/core/src/a.rs\nDA:1,1\nDA:2,3\nDA:3,0\nDA:4,1\nend_of_record\n";
        let files = report::parse(text, std::path::Path::new("/x/core/src")).expect("a list");
        assert!(print(&files, Some(75.1)).is_err());
        assert_eq!(print(&files, Some(75.0)).expect("enough"), Outcome::Passed);
        assert_eq!(print(&files, None).expect("no minimum"), Outcome::Passed);
    }
}
