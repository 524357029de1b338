//! `tests/redis/expected.toml` and its like: what passes, and what is known to differ and why.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::run::FileResult;
use crate::workspace;

/// The file, from the root of the workspace.
pub const PATH: &str = "tests/redis/expected.toml";

/// What is expected of all files of tests.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// The version of Redis.
    pub version: String,
    /// Why tests differ: a word, and its explanation.
    pub reasons: BTreeMap<String, String>,
    /// The files of tests.
    #[serde(rename = "file")]
    pub files: Vec<ExpectedFile>,
}

/// What is expected of one file of tests.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedFile {
    /// Its name, as the suite has it.
    pub name: String,
    /// How many tests pass.
    pub passed: usize,
    /// The suite runs its first part only on servers that it starts itself; it is run all
    /// the same.
    #[serde(default)]
    pub taken_in: bool,
    /// Tests that fail, and why, by a word of the reasons.
    #[serde(default)]
    pub differ: BTreeMap<String, String>,
    /// Tests that are left out since they spoil those behind them, and why.
    #[serde(default)]
    pub skip: BTreeMap<String, String>,
}

impl Expectation {
    /// Reads the file of this path from the root of the workspace; every reason that is
    /// given must be explained.
    pub fn read(path: &'static str) -> Result<Self> {
        let text = std::fs::read_to_string(workspace::root().join(path)).context(path)?;
        let read: Self = toml::from_str(&text).context(path)?;
        for file in &read.files {
            for (test, reason) in file.differ.iter().chain(&file.skip) {
                if !read.reasons.contains_key(reason) {
                    bail!("{path}: {test}: nothing explains the reason {reason}");
                }
            }
        }
        Ok(read)
    }

    /// How many tests pass.
    pub fn passed(&self) -> usize {
        self.files.iter().map(|file| file.passed).sum()
    }

    /// The reasons of all tests that differ or are left out.
    pub fn given_reasons(&self) -> impl Iterator<Item = &str> {
        let files = self.files.iter();
        files
            .flat_map(|file| file.differ.values().chain(file.skip.values()))
            .map(String::as_str)
    }
}

impl ExpectedFile {
    /// What is otherwise than expected.
    pub fn compare(&self, result: &FileResult) -> Vec<String> {
        let mut problems = Vec::new();
        if !result.is_whole {
            problems.push("the file of tests did not come to its end".to_owned());
        }
        for (test, told) in &result.failed {
            if !self.differ.contains_key(test) {
                problems.push(format!("`{test}` failed: {told}"));
            }
        }
        for test in self.differ.keys() {
            if !result.failed.iter().any(|(failed, _)| failed == test) {
                problems.push(format!("`{test}` passes: take it out of the list"));
            }
        }
        if result.passed.len() != self.passed {
            problems.push(format!(
                "{} tests passed, and the list says {}",
                result.passed.len(),
                self.passed
            ));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_either_way_is_told() {
        let file = ExpectedFile {
            name: "unit/x".to_owned(),
            passed: 1,
            taken_in: false,
            differ: [("known".to_owned(), "types".to_owned())].into(),
            skip: BTreeMap::new(),
        };
        let result = |passed: usize, failed: &[&str]| FileResult {
            passed: vec!["a".to_owned(); passed],
            failed: failed
                .iter()
                .map(|name| ((*name).to_owned(), String::new()))
                .collect(),
            is_whole: true,
        };
        assert!(file.compare(&result(1, &["known"])).is_empty());
        assert_eq!(file.compare(&result(1, &[])).len(), 1);
        assert_eq!(file.compare(&result(0, &["known", "new"])).len(), 2);
        assert_eq!(file.compare(&result(2, &["known"])).len(), 1);
    }

    #[test]
    fn the_file_can_be_read() {
        let expectation = Expectation::read(PATH).unwrap();
        let names: Vec<&str> = expectation.files.iter().map(|file| &*file.name).collect();
        assert!(names.contains(&"unit/type/string"), "{names:?}");
    }
}
