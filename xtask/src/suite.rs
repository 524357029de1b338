//! The whole suite as a list of steps, and its summary.
//!
//! A failing step doesn't stop the others: one run tells all that is wrong. What
//! could not run is printed with its reason and never counts as passed.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::outcome::Outcome;
use crate::{
    coverage, dist, fuzz, lint, manual, packages, process, proof, redis_py, redis_suite, sim, size,
    stress, tidy, workspace,
};

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
            // What it printed stands above, and its end in the summary.
            let words = format!("{error:#}");
            println!("error: {}", words.lines().next().unwrap_or_default());
        }
        finished.push(Finished {
            name,
            result,
            took: start.elapsed(),
        });
    };
    step("tidy", &|| tidy::run(&tidy::Arguments::default()));
    step("lint", &|| lint::run(&lint::Arguments {}));
    step("tools of the tests", &|| Ok(test_tools(settings.install)));
    step("cargo test", &|| {
        process::run(workspace::cargo().args(["test", "--workspace", "--no-fail-fast"]))?;
        Ok(Outcome::Passed)
    });
    step("redis suite", &|| {
        redis_suite::run(&redis_suite::Arguments {
            install: settings.install,
            check: true,
            ..redis_suite::Arguments::default()
        })
    });
    step("redis-py suite", &|| {
        redis_py::run(&redis_py::Arguments {
            check: true,
            ..redis_py::Arguments::default()
        })
    });
    step("redis machines", &|| {
        redis_py::machines::run(&redis_py::machines::Arguments::default())
    });
    step("packages", &|| {
        dist::run(&dist::Arguments {
            check: true,
            install: settings.install,
        })
    });
    step("manual", &|| {
        manual::run(&manual::Arguments {
            install: settings.install,
            ..manual::Arguments::default()
        })
    });
    step("size", &|| {
        size::run(&size::Arguments {
            install: settings.install,
            ..size::Arguments::default()
        })
    });
    step("coverage", &|| {
        coverage::run(&coverage::Arguments::of_suite(settings.install))
    });
    step("simulation", &sim::short);
    step("proof", &|| proof::run(&proof::Arguments::default()));
    step("stress", &|| stress::run(&stress::Arguments::default()));
    step("fuzz", &|| {
        fuzz::run(&fuzz::Arguments::of_suite(settings.install))
    });
    summarise(&finished, settings.timing)
}

/// Programs that tests run where they are there, each with its package, and what isn't
/// looked at without it.
const TEST_TOOLS: [(&str, &str, &str); 4] = [
    (
        "promtool",
        "prometheus",
        "the form of the metrics, and when alerts fire",
    ),
    ("systemd-analyze", "systemd", "what the unit exposes"),
    ("tmux", "tmux", "the shell on a terminal"),
    (
        "redis-server",
        "redis-server",
        "that replies are Redis's, byte for byte",
    ),
];

/// Sees to it that they are there, or says what the tests leave out.
fn test_tools(install: bool) -> Outcome {
    let mut lacking = Vec::new();
    for (program, package, covers) in TEST_TOOLS {
        if packages::has_program(program) {
            continue;
        }
        let refused = if install {
            packages::install(&[package]).err()
        } else {
            Some(format!("`apt-get install {package}` brings it"))
        };
        match refused {
            None if packages::has_program(program) => {}
            reason => {
                let reason = reason.unwrap_or_else(|| format!("{package} doesn't bring it"));
                lacking.push(format!("without {program} not tested: {covers} ({reason})"));
            }
        }
    }
    if lacking.is_empty() {
        Outcome::Passed
    } else {
        Outcome::Skipped(lacking.join("; "))
    }
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
