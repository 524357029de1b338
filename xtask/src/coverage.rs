//! `cargo xtask coverage`: which lines and branches of the core the checks run.
//!
//! The core's own tests and the short proof are built with counters (rustc's
//! `-Cinstrument-coverage`), and what the counters say is put together by the LLVM tools
//! of the same version. Lines of tests are not counted.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;

use crate::outcome::Outcome;
use crate::{process, workspace};

/// Runs the core's tests and the short proof, and prints what of the core they ran.
///
/// Needs rustup's component llvm-tools (`rustup component add llvm-tools`), or
/// LLVM_COV and LLVM_PROFDATA in the environment that name tools of the compiler's
/// version. Not part of `test`: everything is built once more, and runs slower.
#[derive(Args)]
pub struct Arguments {
    /// Fail where less than this share of the lines ran, in percent
    #[arg(long, value_name = "PERCENT")]
    lines_min: Option<f64>,
    /// Run the core's own tests only
    #[arg(long)]
    tests_only: bool,
    /// Print the lines that nothing ran, too
    #[arg(long)]
    missing: bool,
}

/// What of a folder was run.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Share {
    lines: u64,
    lines_run: u64,
    branches: u64,
    branches_run: u64,
}

impl Share {
    fn add(&mut self, other: Self) {
        self.lines += other.lines;
        self.lines_run += other.lines_run;
        self.branches += other.branches;
        self.branches_run += other.branches_run;
    }
}

struct Tools {
    cov: PathBuf,
    profdata: PathBuf,
}

/// Builds, runs, and prints the table.
pub fn run(arguments: &Arguments) -> Result<Outcome> {
    let Some(tools) = tools()? else {
        return Ok(Outcome::Skipped(
            "there is no llvm-cov of the compiler's version; `rustup component add llvm-tools` \
             brings it"
                .to_owned(),
        ));
    };
    let folder = workspace::target().join("coverage");
    let profiles = folder.join("profiles");
    if profiles.is_dir() {
        fs::remove_dir_all(&profiles)?;
    }
    fs::create_dir_all(&profiles)?;
    let mut programs = build(
        &folder,
        &[
            "test",
            "--release",
            "-p",
            "lightning-core",
            "--lib",
            "--no-run",
        ],
    )?;
    for program in &programs {
        process::run(&mut counting(Command::new(program), &profiles))?;
    }
    if !arguments.tests_only {
        let proof = build(&folder, &["build", "--release", "-p", "lightning-proof"])?;
        for program in &proof {
            process::run(counting(Command::new(program), &profiles).arg("--short"))?;
        }
        programs.extend(proof);
    }
    let merged = folder.join("merged.profdata");
    process::run(
        Command::new(&tools.profdata)
            .args(["merge", "--sparse", "-o"])
            .arg(&merged)
            .arg(&profiles),
    )?;
    let mut export = Command::new(&tools.cov);
    export
        .args(["export", "--skip-functions", "--instr-profile"])
        .arg(&merged);
    for (index, program) in programs.iter().enumerate() {
        if index > 0 {
            export.arg("--object");
        }
        export.arg(program);
    }
    let core = workspace::root().join("core/src");
    let exported = process::capture(export.arg("--sources").arg(&core))?;
    let exported: Value = serde_json::from_str(&exported).context("reading llvm-cov's output")?;
    let folders = shares(&exported, &core)?;
    if arguments.missing {
        print_missing(&exported, &core);
    }
    print(&folders, arguments.lines_min)
}

/// The tools of the compiler's own LLVM.
fn tools() -> Result<Option<Tools>> {
    if let (Some(cov), Some(profdata)) = (env::var_os("LLVM_COV"), env::var_os("LLVM_PROFDATA")) {
        return Ok(Some(Tools {
            cov: cov.into(),
            profdata: profdata.into(),
        }));
    }
    let rustc = |arguments: &[&str]| process::capture(Command::new("rustc").args(arguments));
    let version = rustc(&["-vV"])?;
    let host = version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .context("`rustc -vV` names no host")?;
    let root = rustc(&["--print", "sysroot"])?;
    let folder = Path::new(root.trim())
        .join("lib/rustlib")
        .join(host)
        .join("bin");
    let (cov, profdata) = (folder.join("llvm-cov"), folder.join("llvm-profdata"));
    Ok((cov.is_file() && profdata.is_file()).then_some(Tools { cov, profdata }))
}

/// Runs cargo with counters; answers the programs that it built.
fn build(folder: &Path, arguments: &[&str]) -> Result<Vec<PathBuf>> {
    let mut cargo = workspace::cargo();
    cargo
        .args(arguments)
        .args(["--message-format", "json-render-diagnostics"])
        .env("CARGO_TARGET_DIR", folder)
        // Branches are counted by a flag that the stable compiler takes only so.
        .env("RUSTC_BOOTSTRAP", "1")
        .env(
            "RUSTFLAGS",
            "-Cinstrument-coverage -Zcoverage-options=branch",
        )
        .env("CARGO_PROFILE_RELEASE_LTO", "false")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "8")
        // As in tests: what asserts is run, too.
        .env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true");
    let printed = process::capture(&mut cargo)?;
    let programs = printed.lines().filter_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        Some(PathBuf::from(message.get("executable")?.as_str()?))
    });
    let programs: Vec<PathBuf> = programs.collect();
    if programs.is_empty() {
        bail!("`{}` built no program", process::describe(&cargo));
    }
    Ok(programs)
}

fn counting(mut program: Command, profiles: &Path) -> Command {
    program
        .env("LLVM_PROFILE_FILE", profiles.join("%p-%4m.profraw"))
        .current_dir(workspace::root().join("core"));
    program
}

fn files(exported: &Value) -> impl Iterator<Item = (&Path, &Value)> {
    let data = exported.get("data").and_then(Value::as_array);
    let files = data.into_iter().flatten();
    files
        .filter_map(|one| one.get("files")?.as_array())
        .flatten()
        .filter_map(|file| Some((Path::new(file.get("filename")?.as_str()?), file)))
}

/// Whether a file holds tests only.
fn is_of_tests(path: &Path) -> bool {
    let mut parts = path
        .components()
        .filter_map(|part| part.as_os_str().to_str());
    parts.any(|part| {
        matches!(
            part,
            "tests" | "tests.rs" | "testing.rs" | "random.rs" | "bench.rs"
        )
    })
}

/// What was run, by folder of the core.
fn shares(exported: &Value, core: &Path) -> Result<BTreeMap<String, Share>> {
    let mut folders: BTreeMap<String, Share> = BTreeMap::new();
    for (path, file) in files(exported) {
        let Ok(path) = path.strip_prefix(core) else {
            continue;
        };
        if is_of_tests(path) {
            continue;
        }
        let of = |what: &str, figure: &str| {
            let number = file.get("summary")?.get(what)?.get(figure)?;
            number.as_u64()
        };
        let share = Share {
            lines: of("lines", "count").context("llvm-cov counts no lines")?,
            lines_run: of("lines", "covered").unwrap_or(0),
            branches: of("branches", "count").unwrap_or(0),
            branches_run: of("branches", "covered").unwrap_or(0),
        };
        let name = match path.parent().and_then(|parent| parent.iter().next()) {
            Some(folder) => folder.to_string_lossy().into_owned(),
            None => path.to_string_lossy().into_owned(),
        };
        folders.entry(name).or_default().add(share);
    }
    if folders.is_empty() {
        bail!("llvm-cov found no file of the core");
    }
    Ok(folders)
}

/// Lines that have code and were never run.
fn print_missing(exported: &Value, core: &Path) {
    for (path, file) in files(exported) {
        let Ok(path) = path.strip_prefix(core) else {
            continue;
        };
        if is_of_tests(path) {
            continue;
        }
        // A segment is [line, column, count, has a count, begins a region, is a gap].
        let segments = file.get("segments").and_then(Value::as_array);
        let mut lines: Vec<u64> = segments
            .into_iter()
            .flatten()
            .filter(|segment| {
                let flag = |index: usize| segment.get(index).and_then(Value::as_bool);
                let count = segment.get(2).and_then(Value::as_u64);
                count == Some(0) && flag(3) == Some(true) && flag(4) == Some(true)
            })
            .filter_map(|segment| segment.get(0)?.as_u64())
            .collect();
        lines.dedup();
        if !lines.is_empty() {
            let lines: Vec<String> = lines.iter().map(u64::to_string).collect();
            println!("core/src/{}: {}", path.display(), lines.join(" "));
        }
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        100.0
    } else {
        part as f64 * 100.0 / whole as f64
    }
}

fn print(folders: &BTreeMap<String, Share>, lines_min: Option<f64>) -> Result<Outcome> {
    let mut total = Share::default();
    println!(
        "{:<12} {:>8} {:>9} {:>9} {:>9}",
        "core/src", "lines", "run", "branches", "run"
    );
    let line = |name: &str, share: &Share| {
        println!(
            "{name:<12} {:>8} {:>7.1} % {:>9} {:>7.1} %",
            share.lines,
            percent(share.lines_run, share.lines),
            share.branches,
            percent(share.branches_run, share.branches),
        );
    };
    for (name, share) in folders {
        line(name, share);
        total.add(*share);
    }
    line("all", &total);
    let run = percent(total.lines_run, total.lines);
    match lines_min {
        Some(least) if run < least => bail!("{run:.1} % of the lines ran, less than {least} %"),
        _ => Ok(Outcome::Passed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn folders_are_summed_and_tests_left_out() {
        let file = |name: &str, lines: u64, run: u64| {
            json!({
                "filename": format!("/x/core/src/{name}"),
                "summary": {
                    "lines": {"count": lines, "covered": run},
                    "branches": {"count": 4, "covered": 1},
                },
            })
        };
        let exported = json!({"data": [{"files": [
            file("db/read.rs", 10, 9),
            file("db/tests/crash.rs", 50, 50),
            file("db/open/checks.rs", 10, 10),
            file("error.rs", 3, 0),
        ]}]});
        let folders = shares(&exported, Path::new("/x/core/src")).expect("there are files");
        assert_eq!(folders.len(), 2);
        let found = folders["db"];
        assert_eq!((found.lines, found.lines_run), (20, 19));
        assert_eq!((found.branches, found.branches_run), (8, 2));
        assert!(print(&folders, Some(95.0)).is_err());
        assert!(print(&folders, Some(80.0)).is_ok());
    }
}
