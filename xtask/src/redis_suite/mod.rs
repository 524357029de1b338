//! `cargo xtask redis-suite`: Redis's own tests against the service, and the table of
//! what it covers.
//!
//! | file | duty |
//! |---|---|
//! | `source.rs` | the source of Redis, by apt, in the build folder; nothing of it is kept |
//! | `server.rs` | the service on a free port, and what it says of its commands |
//! | `run.rs` | one file of tests, and what became of each |
//! | `expectation.rs` | what is known to differ, and the comparison |
//! | `table.rs` | `host/server/REDIS.md` |

pub mod expectation;
pub mod run;
pub mod server;
mod source;
pub mod table;

use std::sync::Mutex;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::outcome::Outcome;
use crate::{packages, process, redis_py, workspace};
use expectation::{Expectation, ExpectedFile};
use run::FileResult;

/// Runs Redis's own tests against the service and writes host/server/REDIS.md.
///
/// The source of Redis comes from Debian by apt-get; where it can't be had, the command
/// says so and doesn't fail. It fails where a test fails that tests/redis/expected.toml
/// doesn't list, where fewer pass than it says, and where a listed one passes.
#[derive(Args, Default)]
pub struct Arguments {
    /// Install tclsh where it is missing, as root on Debian
    #[arg(long)]
    pub install: bool,
    /// Fail where REDIS.md would change, instead of writing it
    #[arg(long)]
    pub check: bool,
    /// Run only this file of tests, such as unit/quit, and write nothing
    #[arg(long, value_name = "NAME")]
    pub file: Option<String>,
    /// Print what each test came to
    #[arg(long)]
    pub verbose: bool,
}

/// Files of tests that run at once, each with a service of its own.
const WORKERS: usize = 2;

/// Fetches the source, runs the files, compares, and writes the table.
pub fn run(arguments: &Arguments) -> Result<Outcome> {
    let expectation = Expectation::read(expectation::PATH)?;
    let chosen: Vec<&ExpectedFile> = expectation
        .files
        .iter()
        .filter(|file| {
            arguments
                .file
                .as_ref()
                .is_none_or(|name| *name == file.name)
        })
        .collect();
    if chosen.is_empty() {
        bail!("tests/redis/expected.toml has no such file of tests");
    }
    if !packages::has_program("tclsh") {
        if !arguments.install {
            return Ok(Outcome::Skipped("there is no tclsh (tcl)".to_owned()));
        }
        if let Err(reason) = packages::install(&["tcl"]) {
            return Ok(Outcome::Skipped(reason));
        }
    }
    let source = match source::fetch(&expectation.version)? {
        Ok(source) => source,
        Err(reason) => return Ok(Outcome::Skipped(reason)),
    };
    process::run(workspace::cargo().args(["build", "-p", "lightning-admin-server"]))?;

    let results = run_all(&source, &chosen, arguments.verbose)?;
    let mut problems = Vec::new();
    for (file, result) in chosen.iter().zip(&results) {
        let found = file.compare(result);
        println!(
            "{}: {} passed, {} differ as expected, {} skipped",
            file.name,
            result.passed.len(),
            file.differ.len(),
            file.skip.len()
        );
        problems.extend(
            found
                .into_iter()
                .map(|text| format!("{}: {text}", file.name)),
        );
    }
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    if arguments.file.is_some() {
        return Ok(Outcome::Passed);
    }
    let server = server::Server::start("table")?;
    let commands = server.commands()?;
    let text = table::write(&expectation, &commands, &source.commands()?);
    let text = table::with_redis_py(&text, &redis_py::section()?);
    let path = workspace::root().join(table::PATH);
    let before = std::fs::read_to_string(&path).unwrap_or_default();
    if arguments.check && before != text {
        bail!(
            "{} is not what the commands and results say: run `cargo xtask redis-suite`",
            table::PATH
        );
    }
    std::fs::write(&path, text).with_context(|| format!("writing {}", table::PATH))?;
    Ok(Outcome::Passed)
}

/// Runs the files, a few at once; the results in the files' order. A file whose result
/// isn't what is expected runs once more, since its tests measure times.
fn run_all(
    source: &source::Source,
    files: &[&ExpectedFile],
    verbose: bool,
) -> Result<Vec<FileResult>> {
    let next = Mutex::new(0..files.len());
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (next, results) = (&next, &results);
            scope.spawn(move || {
                loop {
                    let index = next.lock().map_or(None, |mut next| next.next());
                    let Some((index, file)) = index.and_then(|at| Some((at, files.get(at)?)))
                    else {
                        return;
                    };
                    let attempt = || run::file(source, file, worker, verbose);
                    let result = attempt().and_then(|result| {
                        if file.compare(&result).is_empty() {
                            Ok(result)
                        } else {
                            attempt()
                        }
                    });
                    if let Ok(mut results) = results.lock() {
                        results.push((index, result));
                    }
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_default();
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}
