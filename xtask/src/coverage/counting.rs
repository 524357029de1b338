//! Building programs that count what they run, and running them.
//!
//! rustc's `-Cinstrument-coverage` counts; branches as well by an option that the stable
//! compiler takes with RUSTC_BOOTSTRAP only. The target is named, so that neither build
//! scripts nor procedural macros count.
//!
//! Threads of one process that count the same lines take each other's cache lines, which
//! makes them several times slower. So there is one process with one thread for each
//! processor, and each leaves a profile of its own.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use crate::{process, workspace};

/// How much is run.
#[derive(Debug, Clone, Copy)]
pub struct Scope {
    /// Lives that are simulated beside the core's own tests.
    pub lives: u64,
    /// The long tests, too.
    pub long_tests: bool,
}

/// Tests of more than four seconds each: they try what others try at more places, and take
/// six times as long as all others together.
const LONG_TESTS: [&str; 15] = [
    "btree::tests::rot::a_flipped_bit_is_never_served",
    "btree::tests::rot::a_flipped_bit_is_never_served_with_codec_and_cipher",
    "db::tests::cut_runs::a_cut_anywhere_in_a_merge_loses_nothing",
    "db::tests::failed_openings::a_power_cut_after_an_opening_that_failed_loses_nothing",
    "db::tests::ingest::a_load_takes_no_place_of_a_run_that_is_being_made",
    "db::tests::ingest_faults::a_failing_call_around_loads_loses_nothing",
    "db::tests::ingest_faults::a_power_cut_anywhere_around_loads",
    "db::tests::ingest_faults::a_power_cut_anywhere_around_loads_on_flash",
    "db::tests::ingest_faults::a_power_cut_anywhere_around_loads_that_are_read_when_written",
    "db::tests::shorten::what_is_packed_or_sealed_moves_and_a_cut_anywhere_loses_nothing",
    "db::tests::shorten::what_lies_at_the_end_moves_and_a_cut_anywhere_loses_nothing",
    "db::tests::stream_faults::a_power_cut_anywhere_between_slices_of_a_memtable",
    "db::tests::stream_trims::a_power_cut_anywhere_while_values_come_and_the_file_gets_shorter",
    "db::tests::sweep::a_cut_anywhere_in_a_sweep_loses_nothing",
    "wal::tests::cuts::recoveries_that_are_cut_again_and_again_lose_nothing",
];

/// Programs of the compiler's own LLVM.
pub struct Tools {
    cov: PathBuf,
    profdata: PathBuf,
    /// The target that the compiler builds for by itself.
    host: String,
}

impl Tools {
    /// Where they are, or why there are none.
    pub fn find(may_install: bool) -> Result<Result<Self, String>> {
        let rustc = |arguments: &[&str]| process::capture(Command::new("rustc").args(arguments));
        let version = rustc(&["-vV"])?;
        let host = version
            .lines()
            .find_map(|line| line.strip_prefix("host: "))
            .context("`rustc -vV` names no host")?
            .to_owned();
        let named = (env::var_os("LLVM_COV"), env::var_os("LLVM_PROFDATA"));
        let (cov, profdata) = match named {
            (Some(cov), Some(profdata)) => (cov.into(), profdata.into()),
            _ => {
                let root = rustc(&["--print", "sysroot"])?;
                let folder = Path::new(root.trim())
                    .join("lib/rustlib")
                    .join(&host)
                    .join("bin");
                (folder.join("llvm-cov"), folder.join("llvm-profdata"))
            }
        };
        let tools = Self {
            cov,
            profdata,
            host,
        };
        if !tools.are_there() && may_install {
            let mut rustup = Command::new("rustup");
            if let Err(error) = process::run(rustup.args(["component", "add", "llvm-tools"])) {
                println!("{error:#}");
            }
        }
        Ok(if tools.are_there() {
            Ok(tools)
        } else {
            Err(
                "coverage is not measured: there is no llvm-cov of the compiler's version; \
                 `rustup component add llvm-tools` brings it"
                    .to_owned(),
            )
        })
    }

    fn are_there(&self) -> bool {
        self.cov.is_file() && self.profdata.is_file()
    }
}

/// Builds and runs all of `scope`; the counts as a list in the form of lcov.
pub fn measure(tools: &Tools, folder: &Path, scope: Scope) -> Result<String> {
    let profiles = folder.join("profiles");
    if profiles.is_dir() {
        fs::remove_dir_all(&profiles)?;
    }
    fs::create_dir_all(&profiles)?;
    let test = ["test", "-p", "lightning-core", "--lib", "--no-run"];
    let tests = build(tools, folder, &test)?;
    let mut programs = vec![tests.clone()];
    let mut runs = test_runs(&tests, scope.long_tests)?;
    if scope.lives > 0 {
        let simulation = build(tools, folder, &["build", "-p", "lightning-simulation"])?;
        runs.extend(life_runs(&simulation, scope.lives));
        programs.push(simulation);
    }
    run_all(runs, &profiles)?;
    let merged = folder.join("merged.profdata");
    process::run(
        Command::new(&tools.profdata)
            .args(["merge", "--sparse", "-o"])
            .arg(&merged)
            .arg(&profiles),
    )?;
    let mut export = Command::new(&tools.cov);
    export
        .args(["export", "--format=lcov", "--skip-functions"])
        .args(["--unify-instantiations", "--instr-profile"])
        .arg(&merged);
    for (index, program) in programs.iter().enumerate() {
        if index > 0 {
            export.arg("--object");
        }
        export.arg(program);
    }
    let source = workspace::root().join(super::SOURCE);
    process::capture(export.arg("--sources").arg(source))
}

/// Runs cargo with counters; answers the program that it built.
fn build(tools: &Tools, folder: &Path, arguments: &[&str]) -> Result<PathBuf> {
    let mut cargo = workspace::cargo();
    cargo
        .args(arguments)
        .args(["--release", "--target", &tools.host])
        .args(["--message-format", "json-render-diagnostics"])
        .env("CARGO_TARGET_DIR", folder)
        .env("RUSTC_BOOTSTRAP", "1")
        .env(
            "RUSTFLAGS",
            "-Cinstrument-coverage -Zcoverage-options=branch",
        )
        .env("CARGO_PROFILE_RELEASE_LTO", "false")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "false")
        // As in tests: what asserts is run, too.
        .env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true");
    println!("$ {}", process::describe(&cargo));
    let printed = process::capture(&mut cargo)?;
    let programs = printed.lines().filter_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        Some(PathBuf::from(message.get("executable")?.as_str()?))
    });
    let programs: Vec<PathBuf> = programs.collect();
    match programs.as_slice() {
        [program] => Ok(program.clone()),
        _ => bail!(
            "`{}` built {} programs, not one",
            process::describe(&cargo),
            programs.len()
        ),
    }
}

/// One process that counts, and what to say of it.
struct Run {
    about: String,
    command: Command,
}

fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// The core's tests, dealt out to one process for each processor.
fn test_runs(program: &Path, long_tests: bool) -> Result<Vec<Run>> {
    let listed = process::capture(
        Command::new(program)
            .args(["--list", "--format", "terse"])
            // No counts of this.
            .env("LLVM_PROFILE_FILE", "/dev/null"),
    )?;
    let all: Vec<&str> = listed
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .collect();
    let names = chosen_tests(&all, long_tests)?;
    let left_out = all.len() - names.len();
    println!(
        "{} of the core's tests, {left_out} long ones left out",
        names.len()
    );
    let count = processors();
    let deal = |first| {
        let mut command = Command::new(program);
        command.args(["--quiet", "--test-threads", "1", "--exact"]);
        command.args(names.iter().skip(first).step_by(count));
        Run {
            about: format!("the core's tests, part {} of {count}", first + 1),
            command,
        }
    };
    Ok((0..count).map(deal).collect())
}

/// All tests, or all but the long ones, each of which has to be there.
fn chosen_tests<'a>(all: &[&'a str], long_tests: bool) -> Result<Vec<&'a str>> {
    if let Some(missing) = LONG_TESTS.iter().find(|name| !all.contains(name)) {
        bail!("the list of long tests names {missing}, which is no test any more");
    }
    let names = all.iter().copied();
    Ok(names
        .filter(|name| long_tests || !LONG_TESTS.contains(name))
        .collect())
}

/// Lives, shared out to one process for each processor.
fn life_runs(program: &Path, lives: u64) -> Vec<Run> {
    let count = processors() as u64;
    let share = |index: u64| {
        let (from, to) = (lives * index / count, lives * (index + 1) / count);
        let mut command = Command::new(program);
        command
            .args(["--threads", "1", "--from"])
            .arg((from + 1).to_string())
            .args(["--seeds", &(to - from).to_string()]);
        let about = format!("simulated lives {} to {to}", from + 1);
        (from < to).then_some(Run { about, command })
    };
    (0..count).filter_map(share).collect()
}

/// Runs all of them, as many at a time as there are processors.
fn run_all(runs: Vec<Run>, profiles: &Path) -> Result<()> {
    let count = processors();
    let mut waiting = runs.into_iter().enumerate();
    let mut failed = None;
    loop {
        let batch: Vec<(usize, Run)> = waiting.by_ref().take(count).collect();
        if batch.is_empty() {
            return failed.map_or(Ok(()), Err);
        }
        thread::scope(|scope| {
            let threads: Vec<_> = batch
                .into_iter()
                .map(|(index, run)| {
                    let profile = profiles.join(format!("{index}.profraw"));
                    scope.spawn(move || run_one(run, &profile))
                })
                .collect();
            for thread in threads {
                let outcome = thread.join().unwrap_or_else(|_| Err(anyhow!("panicked")));
                failed = failed.take().or(outcome.err());
            }
        });
    }
}

/// Runs one of them; what it printed is told where it fails.
fn run_one(mut run: Run, profile: &Path) -> Result<()> {
    println!("{}", run.about);
    let output = run
        .command
        .env("LLVM_PROFILE_FILE", profile)
        .current_dir(workspace::root().join("core"))
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", run.about))?;
    if !output.status.success() {
        bail!(
            "{} failed: {}\n{}{}",
            run.about,
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_tests_are_left_out_by_name_and_have_to_be_there() {
        let mut all = LONG_TESTS.to_vec();
        all.push("mem::tests::short");
        let short = chosen_tests(&all, false).expect("all are there");
        assert_eq!(short, ["mem::tests::short"]);
        assert_eq!(chosen_tests(&all, true).expect("all are there"), all);
        assert!(chosen_tests(&all[1..], false).is_err());
    }

    #[test]
    fn every_life_is_lived_once() {
        for lives in [1, 7, 40] {
            let runs = life_runs(Path::new("simulation"), lives);
            let mut next = 1;
            for run in runs {
                let arguments: Vec<String> = run
                    .command
                    .get_args()
                    .map(|argument| argument.to_string_lossy().into_owned())
                    .collect();
                let number = |at: usize| arguments[at].parse::<u64>().expect("a number");
                assert_eq!(number(3), next);
                assert!(number(5) > 0);
                next += number(5);
            }
            assert_eq!(next, lives + 1);
        }
    }
}
