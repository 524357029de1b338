//! Where a value comes from, and what a configuration is read from.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the value of a setting comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// It is written nowhere.
    Default,
    /// A line of a file.
    File {
        /// The file.
        path: Arc<Path>,
        /// The line, from 1.
        line: usize,
    },
    /// A variable.
    Environment {
        /// Its name.
        name: String,
    },
    /// The command line.
    CommandLine,
    /// A client of the running service; it counts until the next reload.
    Client,
}

impl Origin {
    /// The kind of origin in one word, as JSON and filters name it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::File { .. } => "file",
            Self::Environment { .. } => "environment",
            Self::CommandLine => "command-line",
            Self::Client => "client",
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => out.write_str("default"),
            Self::File { path, line } => write!(out, "{} line {line}", path.display()),
            Self::Environment { name } => write!(out, "environment {name}"),
            Self::CommandLine => out.write_str("command line"),
            Self::Client => out.write_str("client"),
        }
    }
}

/// What a configuration is read from, the last one counts: defaults, file,
/// environment, command line.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file, if there is one. It has to exist.
    pub file: Option<PathBuf>,
    /// The variables, names and values: all of the process, of which those of settings,
    /// `HOME` and `XDG_DATA_HOME` are looked at.
    pub environment: Vec<(String, String)>,
    /// What the command line gives: keys, as `section.name` or `name`, and values.
    pub command_line: Vec<(String, String)>,
}

impl Sources {
    /// The file and the environment of this process. Variables that are not UTF-8 are
    /// left out, unless they are meant for the service: those are taken with the bytes
    /// replaced, so that they are complained about.
    #[must_use]
    pub fn of_process(file: Option<PathBuf>) -> Self {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| {
                let name = name.into_string().ok()?;
                Some((name, value.to_string_lossy().into_owned()))
            })
            .collect();
        Self {
            file,
            environment,
            command_line: Vec::new(),
        }
    }

    /// A variable's value, unless it is empty.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.environment
            .iter()
            .find(|(known, value)| known == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }
}
