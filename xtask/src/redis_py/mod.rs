//! `cargo xtask redis-py-suite`: redis-py's own tests, against Redis and the service side
//! by side; and `cargo xtask redis-machines`, fakeredis's random commands to both.
//!
//! | file | duty |
//! |---|---|
//! | `packages.rs` | what comes from pip, in the build folder; nothing of it is kept |
//! | `peer.rs` | Redis on a free port |
//! | `run.rs` | pytest on some tests, and what became of each |
//! | `machines.rs` | fakeredis's state machines on two servers |
//!
//! A test that fails against Redis, too, says nothing of the service: it stands in
//! `tests/redis-py/expected.toml` for the reason `redis`, and where Redis is there, that
//! is looked at. The rest of the list is what the service does otherwise than Redis.

pub mod machines;
mod packages;
mod peer;
mod run;

use std::fmt::Write as _;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::outcome::Outcome;
use crate::redis_suite::expectation::{Expectation, ExpectedFile};
use crate::redis_suite::run::FileResult;
use crate::redis_suite::server::Server;
use crate::redis_suite::table;
use crate::{process, workspace};
use packages::Packages;
use peer::Redis;

/// The list of what differs, from the root of the workspace.
const EXPECTATION: &str = "tests/redis-py/expected.toml";
/// The word for tests that fail against Redis as well.
const FAILS_IN_REDIS: &str = "redis";

/// Runs redis-py's own tests against the service and against Redis.
///
/// They come from PyPI by pip; where they can't be had, the command says so and doesn't
/// fail. It fails where a test fails that tests/redis-py/expected.toml doesn't list, where
/// fewer pass than it says, where a listed one passes, and where Redis itself does
/// otherwise than the list says.
#[derive(Args, Default)]
pub struct Arguments {
    /// Fail where REDIS.md would change, instead of writing it
    #[arg(long)]
    pub check: bool,
    /// Run only this file of tests, such as tests/test_lock.py, and write nothing
    #[arg(long, value_name = "NAME")]
    pub file: Option<String>,
}

/// Fetches the tests, runs them, compares, and writes the table.
pub fn run(arguments: &Arguments) -> Result<Outcome> {
    let expectation = Expectation::read(EXPECTATION)?;
    let wanted = |file: &&ExpectedFile| {
        arguments
            .file
            .as_ref()
            .is_none_or(|name| *name == file.name)
    };
    let files: Vec<&ExpectedFile> = expectation.files.iter().filter(wanted).collect();
    if files.is_empty() {
        bail!("{EXPECTATION} has no such file of tests");
    }
    let packages = match Packages::fetch()? {
        Ok(packages) => packages,
        Err(reason) => return Ok(Outcome::Skipped(reason)),
    };
    let source = match packages.source("redis", &expectation.version)? {
        Ok(source) => source,
        Err(reason) => return Ok(Outcome::Skipped(reason)),
    };
    build()?;
    let server = Server::start_with("redis-py", &["security.allow_debug=true"])?;
    let redis = Redis::start("suite")?;
    let suite = run::Suite {
        packages: &packages,
        source: &source,
    };
    // Mostly they wait, so that both take no longer than one.
    let (own, peer) = std::thread::scope(|scope| {
        let peer = redis
            .as_ref()
            .ok()
            .map(|redis| scope.spawn(|| suite.run(redis.port, &files, "redis")));
        let own = suite.run_twice(server.port, &files);
        let peer = peer.map(|peer| peer.join().unwrap_or_else(|_| bail!("a thread panicked")));
        (own, peer.transpose())
    });
    let (own, peer) = (own?, peer?);
    let mut problems = Vec::new();
    for (index, (file, result)) in files.iter().zip(&own).enumerate() {
        let mut found = file.compare(result);
        if let Some(of_redis) = peer.as_ref().and_then(|peer| peer.get(index)) {
            found.extend(compare_with_redis(file, result, of_redis));
        }
        println!(
            "{}: {} passed, {} differ as expected, {} left out",
            file.name,
            result.passed.len(),
            file.differ.len(),
            file.skip.len()
        );
        let of_file = |text| format!("{}: {text}", file.name);
        problems.extend(found.into_iter().map(of_file));
    }
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    if arguments.file.is_none() {
        write_table(arguments.check)?;
    }
    match redis {
        Ok(_) => Ok(Outcome::Passed),
        Err(reason) => Ok(Outcome::Skipped(format!(
            "passed against the service, and not compared with Redis: {reason}"
        ))),
    }
}

/// Builds the service.
fn build() -> Result<()> {
    process::run(workspace::cargo().args(["build", "-p", "lightning-admin-server"]))
}

/// What Redis does otherwise than the list says.
fn compare_with_redis(file: &ExpectedFile, own: &FileResult, redis: &FileResult) -> Vec<String> {
    let mut problems = Vec::new();
    if !redis.is_whole {
        problems.push("the tests against Redis did not come to their end".to_owned());
    }
    for (test, reason) in &file.differ {
        let fails = redis.failed.iter().any(|(failed, _)| failed == test);
        if fails != (reason == FAILS_IN_REDIS) {
            let word = if fails { "fails" } else { "passes" };
            problems.push(format!(
                "`{test}` {word} against Redis, and the reason is {reason}"
            ));
        }
    }
    // What passes here and fails there would be a claim of ours that Redis doesn't make.
    for (test, told) in &redis.failed {
        if own.passed.contains(test) {
            problems.push(format!("`{test}` fails against Redis only: {told}"));
        }
    }
    let count = |result: &FileResult| result.passed.len() + result.failed.len();
    if count(own) != count(redis) {
        problems.push(format!(
            "{} tests ran, and {} against Redis",
            count(own),
            count(redis)
        ));
    }
    problems
}

/// What `host/server/REDIS.md` says of these tests.
pub fn section() -> Result<String> {
    let expectation = Expectation::read(EXPECTATION)?;
    let version = &expectation.version;
    let passed = expectation.passed();
    let redis = expectation
        .given_reasons()
        .filter(|reason| *reason == FAILS_IN_REDIS)
        .count();
    let differ = expectation.given_reasons().count() - redis;
    let mut text = table::REDIS_PY.to_owned();
    let _ = write!(
        text,
        "\n`cargo xtask redis-py-suite` runs files of the suite of redis-py {version} against the \
         service and against Redis, without those of modules, clusters and TLS: {passed} tests \
         pass, {differ} differ, {redis} fail against either. Some tests talk to no server at \
         all.\n\n"
    );
    table::write_files(&mut text, &expectation);
    let _ = write!(text, "\nThe list of tests is `{EXPECTATION}`.\n\n");
    table::write_reasons(&mut text, &expectation);
    Ok(text)
}

fn write_table(check: bool) -> Result<()> {
    let path = workspace::root().join(table::PATH);
    let before = std::fs::read_to_string(&path).with_context(|| table::PATH)?;
    let text = table::with_redis_py(&before, &section()?);
    if check && before != text {
        bail!(
            "{} is not what {EXPECTATION} says: run `cargo xtask redis-py-suite`",
            table::PATH
        );
    }
    std::fs::write(&path, text).with_context(|| format!("writing {}", table::PATH))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(passed: &[&str], failed: &[&str]) -> FileResult {
        FileResult {
            passed: passed.iter().map(|name| (*name).to_owned()).collect(),
            failed: failed
                .iter()
                .map(|name| ((*name).to_owned(), String::new()))
                .collect(),
            is_whole: true,
        }
    }

    #[test]
    fn a_reason_that_redis_gives_the_lie_to_is_told() {
        let file = ExpectedFile {
            name: "tests/test_x.py".to_owned(),
            passed: 1,
            taken_in: false,
            differ: [
                ("either".to_owned(), "redis".to_owned()),
                ("ours".to_owned(), "types".to_owned()),
            ]
            .into(),
            skip: std::collections::BTreeMap::new(),
        };
        let own = result(&["fine"], &["either", "ours"]);
        let told = |redis: FileResult| compare_with_redis(&file, &own, &redis).len();
        assert_eq!(told(result(&["fine", "ours"], &["either"])), 0);
        assert_eq!(told(result(&["fine", "ours", "either"], &[])), 1);
        assert_eq!(told(result(&["fine"], &["ours", "either"])), 1);
        assert_eq!(told(result(&["ours"], &["fine", "either"])), 1);
        assert_eq!(told(result(&["fine", "ours", "more"], &["either"])), 1);
    }

    #[test]
    fn the_file_can_be_read() {
        let expectation = Expectation::read(EXPECTATION).unwrap();
        assert!(expectation.reasons.contains_key(FAILS_IN_REDIS));
    }
}
