//! pytest on files of tests, and what became of each test.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result};

use super::packages::Packages;
use crate::redis_suite::expectation::ExpectedFile;
use crate::redis_suite::run::FileResult;
use crate::workspace;

/// Tests that need what neither server here has: modules, a cluster, a certificate.
const MARKS: &str = "not redismod and not onlycluster and not ssl";
/// How long all of it may take, in seconds.
const SECONDS_MAX: &str = "400";

/// The tests and what they need.
pub struct Suite<'s> {
    pub packages: &'s Packages,
    pub source: &'s Path,
}

impl Suite<'_> {
    /// Runs the files against the server on a port; the results in the files' order.
    /// `name` keeps the notes of several apart.
    pub fn run(&self, port: u16, files: &[&ExpectedFile], name: &str) -> Result<Vec<FileResult>> {
        let names: Vec<&str> = files.iter().map(|file| &*file.name).collect();
        self.run_tests(port, files, &names, name)
    }

    /// The same, where what isn't as expected runs once more: the tests measure times.
    pub fn run_twice(&self, port: u16, files: &[&ExpectedFile]) -> Result<Vec<FileResult>> {
        let mut results = self.run(port, files, "service")?;
        let mut again = Vec::new();
        for (file, result) in files.iter().zip(&results) {
            for (test, _) in &result.failed {
                if !file.differ.contains_key(test) {
                    again.push(format!("{}::{test}", file.name));
                }
            }
        }
        if again.is_empty() {
            return Ok(results);
        }
        println!("once more: {}", again.join(", "));
        let names: Vec<&str> = again.iter().map(String::as_str).collect();
        let second = self.run_tests(port, files, &names, "service")?;
        for (result, second) in results.iter_mut().zip(second) {
            result
                .failed
                .retain(|(test, _)| !second.passed.contains(test));
            result.passed.extend(second.passed);
        }
        Ok(results)
    }

    fn run_tests(
        &self,
        port: u16,
        files: &[&ExpectedFile],
        names: &[&str],
        name: &str,
    ) -> Result<Vec<FileResult>> {
        let notes = workspace::target().join(format!("redis-py/results-{name}"));
        fs::remove_file(&notes).ok();
        let plugin = workspace::root().join("tests/redis-py");
        let mut command = self.packages.python(self.source, &plugin)?;
        command
            .env("LIGHTNING_RESULTS", &notes)
            .args(["-m", "pytest", "-p", "results", "-p", "no:cacheprovider"])
            .args([
                "--quiet",
                "--tb=line",
                "--override-ini",
                "addopts=",
                "-m",
                MARKS,
            ])
            .args(["--redis-url", &format!("redis://127.0.0.1:{port}/0")]);
        for file in files {
            for test in file.skip.keys() {
                command.args(["--deselect", &format!("{}::{test}", file.name)]);
            }
        }
        let mut bounded = std::process::Command::new("timeout");
        bounded
            .arg(SECONDS_MAX)
            .arg(command.get_program())
            .args(command.get_args())
            .args(names)
            .envs(
                command
                    .get_envs()
                    .filter_map(|(key, value)| Some((key, value?))),
            )
            .current_dir(self.source);
        let told = bounded
            .stdin(Stdio::null())
            .output()
            .context("starting pytest")?;
        let Ok(text) = fs::read_to_string(&notes) else {
            anyhow::bail!(
                "pytest told no results: {}{}",
                String::from_utf8_lossy(&told.stdout),
                String::from_utf8_lossy(&told.stderr)
            );
        };
        Ok(parse(&text, files))
    }
}

fn parse(text: &str, files: &[&ExpectedFile]) -> Vec<FileResult> {
    let is_whole = text.lines().any(|line| line == "done");
    files
        .iter()
        .map(|file| {
            let mut result = FileResult {
                is_whole,
                ..FileResult::default()
            };
            for line in text.lines() {
                let mut fields = line.split('\t');
                let (outcome, test) = (fields.next(), fields.next().unwrap_or_default());
                let Some((of, test)) = test.split_once("::") else {
                    continue;
                };
                if of != file.name {
                    continue;
                }
                if outcome == Some("passed") {
                    result.passed.push(test.to_owned());
                } else {
                    let told = fields.next().unwrap_or_default();
                    result.failed.push((test.to_owned(), told.to_owned()));
                }
            }
            result
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_go_to_their_files() {
        let file = |name: &str| ExpectedFile {
            name: name.to_owned(),
            passed: 0,
            taken_in: false,
            differ: std::collections::BTreeMap::new(),
            skip: std::collections::BTreeMap::new(),
        };
        let (first, second) = (file("tests/test_a.py"), file("tests/test_b.py"));
        let text = "passed\ttests/test_a.py::Class::test_x[a b]\n\
                    failed\ttests/test_b.py::test_y\tassert 1 == 2\n";
        let results = parse(&format!("{text}done\n"), &[&first, &second]);
        assert_eq!(results[0].passed, ["Class::test_x[a b]"]);
        let failed = ("test_y".to_owned(), "assert 1 == 2".to_owned());
        assert_eq!(results[1].failed, [failed]);
        assert!(results[0].failed.is_empty() && results[1].is_whole);
        assert!(!parse(text, &[&first])[0].is_whole);
    }
}
