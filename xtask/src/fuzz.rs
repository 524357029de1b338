//! `cargo xtask fuzz`: coverage-guided fuzzing of what reads bytes from outside.
//!
//! The targets of `fuzz/` are libFuzzer's programs, built with the stable compiler: what
//! `cargo fuzz` does by a nightly one, a few flags do here. A target begins with the
//! inputs in `fuzz/corpus` and with those that earlier runs found (`target/fuzz/found`),
//! so that it goes on where it was. As many run side by side as there are processors.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::outcome::Outcome;
use crate::{packages, process, workspace};

/// Runs the fuzz targets of `fuzz/`, each for a while.
///
/// A crash, a run of over 20 seconds or one that takes over 2 GiB fails; its input is
/// kept, and the command that repeats it is printed. With `--input` only that one runs.
#[derive(Args)]
pub struct Arguments {
    /// Targets; all of them where none is named
    targets: Vec<String>,
    /// How long each target runs, in minutes
    #[arg(long, value_name = "M", default_value = "1")]
    minutes: f64,
    /// Run the inputs in fuzz/corpus only, each once
    #[arg(long, conflicts_with_all = ["minutes", "input"])]
    replay: bool,
    /// Run this input only, with everything the target prints
    #[arg(long, value_name = "FILE", conflicts_with = "minutes")]
    input: Option<PathBuf>,
    /// List the targets and end
    #[arg(long)]
    list: bool,
    #[arg(skip)]
    install: bool,
}

impl Arguments {
    /// What the suite runs: every target for a minute.
    pub fn of_suite(install: bool) -> Self {
        Self {
            targets: Vec::new(),
            minutes: 1.0,
            replay: false,
            input: None,
            list: false,
            install,
        }
    }
}

/// Counts the edges that are run, and tells libFuzzer what was compared.
const COVERAGE_FLAGS: [&str; 8] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=8",
    "-Copt-level=3",
];
const INPUT_BYTES_MAX: u32 = 4_096;
const RUN_SECONDS_MAX: u32 = 20;
const MEMORY_MIB_MAX: u32 = 2_048;

/// How a target's run ended.
struct Ran {
    target: String,
    inputs: u64,
    failure: Option<String>,
}

/// Builds the targets and runs them.
pub fn run(arguments: &Arguments) -> Result<Outcome> {
    let all = targets()?;
    if arguments.list {
        all.iter().for_each(|target| println!("{target}"));
        return Ok(Outcome::Passed);
    }
    let chosen = if arguments.targets.is_empty() {
        all.clone()
    } else {
        arguments.targets.clone()
    };
    if let Some(unknown) = chosen.iter().find(|target| !all.contains(target)) {
        bail!(
            "there is no target `{unknown}`; there are {}",
            all.join(", ")
        );
    }
    if !packages::has_program("c++") {
        let installed = arguments.install && packages::install(&["g++"]).is_ok();
        if !installed {
            return Ok(Outcome::Skipped(
                "libFuzzer needs a C++ compiler; `apt-get install g++` brings one".to_owned(),
            ));
        }
    }
    let programs = build()?;
    if let Some(input) = &arguments.input {
        let [target] = chosen.as_slice() else {
            bail!("name the one target that the input is for");
        };
        process::run(Command::new(programs.join(target)).arg(input))?;
        return Ok(Outcome::Passed);
    }
    let next = AtomicUsize::new(0);
    let finished = Mutex::new(Vec::new());
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(target) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let ran = run_target(&programs, target, arguments);
                    match &ran {
                        Ok(ran) => println!("{}", line_of(ran)),
                        Err(error) => println!("{target}: {error:#}"),
                    }
                    finished
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner)
                        .push(ran);
                }
            });
        }
    });
    let finished = finished
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let bad = finished
        .iter()
        .filter(|ran| !matches!(ran, Ok(ran) if ran.failure.is_none()))
        .count();
    if bad > 0 {
        bail!("{bad} of {} targets failed", finished.len());
    }
    Ok(Outcome::Passed)
}

fn line_of(ran: &Ran) -> String {
    match &ran.failure {
        None => format!("{:<14} {:>10} inputs, 0 bad", ran.target, ran.inputs),
        Some(failure) => format!("{:<14} FAILED: {failure}", ran.target),
    }
}

/// The names of all targets.
fn targets() -> Result<Vec<String>> {
    let folder = workspace::root().join("fuzz/targets");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.file_stem().unwrap_or_default();
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn folder() -> PathBuf {
    workspace::target().join("fuzz")
}

/// Builds all targets; answers the folder that they are in.
fn build() -> Result<PathBuf> {
    let host = process::capture(Command::new("rustc").arg("-vV"))?;
    let host = host
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .context("`rustc -vV` names no host")?
        .to_owned();
    // With a target that is named, build scripts and macros go without the flags.
    process::run(
        workspace::cargo()
            .args([
                "build",
                "--release",
                "--locked",
                "--manifest-path",
                "fuzz/Cargo.toml",
            ])
            .args(["--target", &host])
            .env("CARGO_TARGET_DIR", folder())
            .env("CARGO_ENCODED_RUSTFLAGS", COVERAGE_FLAGS.join("\x1f")),
    )?;
    Ok(folder().join(host).join("release"))
}

/// Runs one target, with what it prints in a file.
fn run_target(programs: &Path, target: &str, arguments: &Arguments) -> Result<Ran> {
    let corpus = workspace::root().join("fuzz/corpus").join(target);
    let found = folder().join("found").join(target);
    let artifacts = folder().join("artifacts");
    fs::create_dir_all(&found)?;
    fs::create_dir_all(&artifacts)?;
    let log_path = folder().join(format!("{target}.log"));
    let log =
        fs::File::create(&log_path).with_context(|| format!("creating {}", log_path.display()))?;
    let prefix = artifacts.join(format!("{target}-"));
    let mut command = Command::new(programs.join(target));
    command
        .arg(format!("-artifact_prefix={}", prefix.display()))
        .arg(format!("-timeout={RUN_SECONDS_MAX}"))
        .arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"))
        .arg(format!("-max_len={INPUT_BYTES_MAX}"))
        .args([
            "-print_final_stats=1",
            "-use_value_profile=1",
            "-len_control=0",
        ])
        .current_dir(folder())
        .stdin(Stdio::null())
        .stderr(log.try_clone()?)
        .stdout(log);
    if arguments.replay {
        command.arg("-runs=0");
    } else {
        let seconds = (arguments.minutes * 60.0).ceil().max(1.0);
        command
            .arg(format!("-max_total_time={seconds}"))
            .arg(&found);
    }
    if corpus.is_dir() {
        command.arg(&corpus);
    } else if arguments.replay {
        bail!("{} holds no inputs", corpus.display());
    }
    let status = command
        .status()
        .with_context(|| format!("cannot start {target}"))?;
    let log = String::from_utf8_lossy(&fs::read(&log_path)?).into_owned();
    let failure = (!status.success()).then(|| {
        let reason = reason_in(&log).unwrap_or_else(|| status.to_string());
        let input = log.lines().find_map(|line| {
            line.split_once("Test unit written to ")
                .map(|(_, path)| path)
        });
        match input {
            Some(input) => {
                format!("{reason}\n    again: cargo xtask fuzz {target} --input {input}")
            }
            None => format!("{reason}; see {}", log_path.display()),
        }
    });
    Ok(Ran {
        target: target.to_owned(),
        inputs: inputs_in(&log),
        failure,
    })
}

/// What a panic said, or libFuzzer.
fn reason_in(log: &str) -> Option<String> {
    let mut lines = log.lines();
    let panicked = lines.find(|line| line.contains("panicked at"));
    match panicked {
        Some(line) => Some(format!("{line} {}", lines.next().unwrap_or_default())),
        None => log
            .lines()
            .find(|line| line.starts_with("SUMMARY:") || line.contains("ERROR: libFuzzer"))
            .map(str::to_owned),
    }
}

/// How many inputs were run.
fn inputs_in(log: &str) -> u64 {
    let executed = log.lines().find_map(|line| {
        let number = line.strip_prefix("stat::number_of_executed_units:")?;
        number.trim().parse().ok()
    });
    executed.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_says_how_many_ran_and_why_it_failed() {
        let log = "#1 INITED\nthread '<unnamed>' panicked at src/pages.rs:1:2:\nkeys out of order\n\
                   Test unit written to /x/pages-crash-1\nstat::number_of_executed_units: 4711\n";
        assert_eq!(inputs_in(log), 4_711);
        let reason = reason_in(log).expect("there is one");
        assert!(reason.ends_with("keys out of order"), "{reason}");
        let log = "==1== ERROR: libFuzzer: timeout after 20 seconds\n";
        assert!(reason_in(log).is_some_and(|reason| reason.contains("timeout")));
        assert_eq!(reason_in("fine"), None);
    }

    #[test]
    fn every_target_is_a_module_with_inputs_to_begin_with() {
        let root = workspace::root().join("fuzz");
        let targets = targets().expect("the folder is there");
        assert!(targets.len() >= 8, "{targets:?}");
        for target in targets {
            assert!(root.join(format!("src/{target}.rs")).is_file(), "{target}");
            let inputs = fs::read_dir(root.join("corpus").join(&target));
            assert!(
                inputs.is_ok_and(|mut inputs| inputs.next().is_some()),
                "{target}"
            );
        }
    }
}
