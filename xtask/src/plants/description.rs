//! A planted fault as it is described in a `.plant` file (TOML).

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// One fault.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plant {
    /// The name of its file without the ending.
    #[serde(skip)]
    pub name: String,
    /// What the fault breaks, in a few words.
    pub why: String,
    /// The source file, from the root.
    pub file: String,
    /// Text that stands in the file exactly once.
    pub find: String,
    /// What stands there instead.
    pub replace: String,
    /// The test command that is expected to fail: `cargo test ARGS -- FILTER`
    /// or `cargo run ARGS -- ARGS`.
    pub command: String,
    /// How long one test program may run; longer counts as failed.
    #[serde(default = "default_seconds_max")]
    pub seconds_max: u64,
    /// Whether the command runs under ThreadSanitizer.
    #[serde(default)]
    pub thread_sanitizer: bool,
}

fn default_seconds_max() -> u64 {
    300
}

/// A test command, split into what is built and what is run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TestCommand {
    /// Arguments of cargo that build the programs.
    pub build: Vec<String>,
    /// Arguments of each program built.
    pub run: Vec<String>,
    /// Whether all is built with ThreadSanitizer.
    pub thread_sanitizer: bool,
}

impl Plant {
    fn parse(name: &str, text: &str) -> Result<Self> {
        let mut plant: Self = toml::from_str(text)?;
        name.clone_into(&mut plant.name);
        if plant.find.is_empty() || plant.find == plant.replace {
            bail!("`find` is empty or the same as `replace`");
        }
        split(&plant.command)?;
        Ok(plant)
    }

    /// The file's text with the fault in it.
    pub fn apply(&self, original: &str) -> Result<String> {
        let count = original.matches(&self.find).count();
        if count != 1 {
            bail!(
                "the text to find stands {count} times in {}, not once",
                self.file
            );
        }
        Ok(original.replacen(&self.find, &self.replace, 1))
    }

    /// How long one test program may run.
    pub fn time_max(&self) -> Duration {
        Duration::from_secs(self.seconds_max)
    }

    /// The test command, split.
    pub fn command(&self) -> TestCommand {
        let (build, run) = split(&self.command).unwrap_or_default();
        TestCommand {
            build,
            run,
            thread_sanitizer: self.thread_sanitizer,
        }
    }
}

impl TestCommand {
    /// Whether it is over with the first bad case, long before it would be without any.
    pub fn ends_at_first_bad(&self) -> bool {
        self.run.iter().any(|argument| argument == "--until-bad")
    }
}

fn split(command: &str) -> Result<(Vec<String>, Vec<String>)> {
    let (before, after) = command.split_once(" -- ").unwrap_or((command, ""));
    let words =
        |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
    let mut build = words(before);
    match (
        build.first().map(String::as_str),
        build.get(1).map(String::as_str),
    ) {
        (Some("cargo"), Some("test")) => {
            build.remove(0);
            build.push("--no-run".to_owned());
        }
        (Some("cargo"), Some("run")) => {
            build.remove(0);
            "build".clone_into(&mut build[0]);
        }
        _ => bail!("a command is `cargo test ARGS -- FILTER` or `cargo run ARGS -- ARGS`"),
    }
    Ok((build, words(after)))
}

/// Every description of the folder, by name.
pub fn read_all(folder: &Path) -> Result<Vec<Plant>> {
    let mut plants = Vec::new();
    let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_none_or(|ending| ending != "plant") {
            continue;
        }
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let text = fs::read_to_string(&path).with_context(|| format!("reading {name}.plant"))?;
        plants.push(Plant::parse(&name, &text).with_context(|| format!("{name}.plant"))?);
    }
    plants.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(plants)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "why = 'w'\nfile = 'a.rs'\nfind = 'x < 1'\nreplace = 'x <= 1'\n\
                        command = 'cargo test -p a --lib -- seek'\n";

    #[test]
    fn a_description_is_read_and_applied_once() {
        let plant = Plant::parse("off-by-one", TEXT).expect("a valid description");
        assert_eq!(plant.name, "off-by-one");
        assert_eq!(
            plant.apply("if x < 1 {}").expect("found once"),
            "if x <= 1 {}"
        );
        assert!(plant.apply("nothing").is_err());
        assert!(plant.apply("x < 1 x < 1").is_err());
        let command = plant.command();
        assert_eq!(command.build, ["test", "-p", "a", "--lib", "--no-run"]);
        assert_eq!(command.run, ["seek"]);
    }

    #[test]
    fn a_program_is_built_and_then_run() {
        let (build, run) = split("cargo run --release -p b -- --only c").expect("a command");
        assert_eq!(build, ["build", "--release", "-p", "b"]);
        assert_eq!(run, ["--only", "c"]);
        assert!(split("make check").is_err());
    }

    #[test]
    fn a_description_that_says_nothing_is_refused() {
        assert!(Plant::parse("a", &TEXT.replace("x <= 1", "x < 1")).is_err());
        assert!(Plant::parse("a", &format!("{TEXT}extra = 1\n")).is_err());
        assert!(Plant::parse("a", &TEXT.replace("cargo test", "sh test")).is_err());
    }
}
