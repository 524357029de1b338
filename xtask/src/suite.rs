//! The whole suite as a list of steps, and its summary.
//!
//! A failing step doesn't stop the others: one run tells all that is wrong. What
//! could not run is printed with its reason and never counts as passed.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::outcome::Outcome;
use crate::{lint, process, proof, size, tidy, workspace};

/// How the suite runs.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Install missing system packages where that is possible.
    pub install: bool,
    /// Print how long each step took.
    pub timing: bool,
}

struct Finished {
    name: &'static str,
    result: Result<Outcome>,
    took: Duration,
}

/// Runs every step and prints the summary; an error where a step failed.
pub fn run(settings: Settings) -> Result<Outcome> {
    let mut finished = Vec::new();
    let mut step = |name: &'static str, action: &dyn Fn() -> Result<Outcome>| {
        println!("\n==> {name}");
        let start = Instant::now();
        let result = action();
        if let Err(error) = &result {
            println!("error: {error:#}");
        }
        finished.push(Finished {
            name,
            result,
            took: start.elapsed(),
        });
    };
    step("tidy", &|| tidy::run(&tidy::Arguments::default()));
    step("lint", &|| lint::run(&lint::Arguments {}));
    step("cargo test", &|| {
        process::run(workspace::cargo().args(["test", "--workspace", "--no-fail-fast"]))?;
        Ok(Outcome::Passed)
    });
    step("size", &|| {
        size::run(&size::Arguments {
            install: settings.install,
            ..size::Arguments::default()
        })
    });
    step("proof", &|| proof::run(&proof::Arguments::default()));
    summarise(&finished, settings.timing)
}

fn summarise(finished: &[Finished], timing: bool) -> Result<Outcome> {
    println!("\n==> summary");
    let (mut passed, mut failed) = (0, 0);
    for step in finished {
        let took = if timing {
            format!(" ({:.1} s)", step.took.as_secs_f64())
        } else {
            String::new()
        };
        match &step.result {
            Ok(Outcome::Passed) => {
                passed += 1;
                println!("passed  {}{took}", step.name);
            }
            Ok(Outcome::Skipped(reason)) => println!("SKIPPED {}{took}: {reason}", step.name),
            Err(error) => {
                failed += 1;
                println!("FAILED  {}{took}: {error:#}", step.name);
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    if failed > 0 {
        bail!("{failed} of {} steps failed", finished.len());
    }
    Ok(Outcome::Passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(result: Result<Outcome>) -> Finished {
        Finished {
            name: "step",
            result,
            took: Duration::ZERO,
        }
    }

    #[test]
    fn a_skipped_step_does_not_fail_the_suite_and_a_failed_one_does() {
        let skipped = finished(Ok(Outcome::Skipped("reason".to_owned())));
        let passed = finished(Ok(Outcome::Passed));
        assert!(summarise(&[skipped, passed], true).is_ok());
        let failed = finished(Err(anyhow::anyhow!("broken")));
        let passed = finished(Ok(Outcome::Passed));
        assert!(summarise(&[passed, failed], false).is_err());
    }
}
