//! Defaults, file, environment and command line become one configuration.

use super::file::{self, Found};
use super::nearest;
use super::origin::{Origin, Sources};
use super::places;
use super::problem::{ConfigurationErrors, Problem, Warning};
use super::relations;
use super::setting::{self, Kind, Setting, VARIABLE_PREFIX};
use super::typed::Configuration;
use super::value::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A setting with the value that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The setting.
    pub setting: &'static Setting,
    /// The value that counts.
    pub value: Value,
    /// Where it comes from.
    pub origin: Origin,
}

/// A configuration with the origin of each value.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The values, typed.
    pub configuration: Configuration,
    /// What is odd.
    pub warnings: Vec<Warning>,
    pub(super) file: Option<PathBuf>,
    pub(super) entries: Vec<Entry>,
}

impl Loaded {
    /// All settings, in the order of the table.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The setting that `key` means, as `section.name`, any of its places, or `name`
    /// where that is clear.
    #[must_use]
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        let [setting] = setting::named(key)[..] else {
            return None;
        };
        self.entries.iter().find(|entry| entry.setting == setting)
    }

    /// The file it was read from.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }
}

impl Configuration {
    /// Reads and checks the configuration.
    ///
    /// # Errors
    /// All that is wrong, each with its place. What is no TOML hides the rest of it.
    pub fn load(sources: &Sources) -> Result<Loaded, ConfigurationErrors> {
        let mut problems = Vec::new();
        let mut contents = Vec::new();
        if let Some(path) = &sources.file {
            match file::read_text(path) {
                Ok(text) => {
                    let parsed = file::parse(path, &text);
                    problems.extend(parsed.problems);
                    contents = parsed.found;
                }
                Err(errors) => problems.extend(errors.into_problems()),
            }
        }
        load_found(sources, contents, problems)
    }

    /// As [`load`](Self::load), with `text` for the contents of the file.
    ///
    /// # Errors
    /// All that is wrong, each with its place.
    pub fn load_text(sources: &Sources, text: &str) -> Result<Loaded, ConfigurationErrors> {
        let path = sources.file.clone().unwrap_or_default();
        let parsed = file::parse(&path, text);
        load_found(sources, parsed.found, parsed.problems)
    }
}

fn load_found(
    sources: &Sources,
    contents: Vec<Found>,
    mut problems: Vec<Problem>,
) -> Result<Loaded, ConfigurationErrors> {
    let mut warnings = Vec::new();
    let mut values = Values::default();
    values.lay_over(contents, &mut problems);
    let variables = read_environment(sources, &mut problems, &mut warnings);
    values.lay_over(variables, &mut problems);
    values.lay_over(read_command_line(sources, &mut problems), &mut problems);
    let mut entries = values.into_entries();
    derive_places(sources, &mut entries);
    let unread = problems.len();
    relations::check(&entries, &mut problems);
    if unread > 0 {
        // What was refused has its default here: what it seems to break, it may not.
        problems.truncate(unread);
    }
    ConfigurationErrors::collect(problems)?;
    Ok(Loaded {
        configuration: Configuration::of(&entries),
        warnings,
        file: sources.file.clone(),
        entries,
    })
}

/// The values found so far, by the full name of the setting.
#[derive(Default)]
struct Values {
    by_key: BTreeMap<String, (Value, Origin)>,
}

impl Values {
    /// Takes what one source has: it counts more than what is there, but may not
    /// have two values for one setting.
    fn lay_over(&mut self, found: Vec<Found>, problems: &mut Vec<Problem>) {
        let mut layer: BTreeMap<String, Found> = BTreeMap::new();
        for one in found {
            let key = one.setting.key();
            match layer.get(&key) {
                Some(first) if first.value != one.value => problems.push(Problem::Differ {
                    key,
                    first: first.origin.clone(),
                    first_value: first.value.to_string(),
                    second: one.origin,
                    second_value: one.value.to_string(),
                }),
                Some(_) => {}
                None => {
                    layer.insert(key, one);
                }
            }
        }
        for (key, found) in layer {
            self.by_key.insert(key, (found.value, found.origin));
        }
    }

    fn into_entries(mut self) -> Vec<Entry> {
        setting::all()
            .map(|setting| {
                let (value, origin) = self
                    .by_key
                    .remove(&setting.key())
                    .unwrap_or_else(|| (Value::default_of(setting), Origin::Default));
                Entry {
                    setting,
                    value,
                    origin,
                }
            })
            .collect()
    }
}

fn read_environment(
    sources: &Sources,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<Warning>,
) -> Vec<Found> {
    let mut found = Vec::new();
    let mut variables: Vec<&(String, String)> = sources
        .environment
        .iter()
        .filter(|(name, _)| name.starts_with(VARIABLE_PREFIX))
        .collect();
    variables.sort();
    for (name, text) in variables {
        match setting::of_variable(name) {
            Some(setting) => {
                let origin = Origin::Environment { name: name.clone() };
                found.extend(read_text(setting, text, origin, problems));
            }
            None => warnings.push(Warning::UnknownVariable {
                name: name.clone(),
                suggestion: nearest::variable(name),
            }),
        }
    }
    found
}

fn read_command_line(sources: &Sources, problems: &mut Vec<Problem>) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    for (key, text) in &sources.command_line {
        match find(key, Origin::CommandLine) {
            Ok(setting) => {
                found.extend(read_text(setting, text, Origin::CommandLine, problems));
            }
            Err(errors) => problems.extend(errors.into_problems()),
        }
    }
    found
}

/// The setting that `key`, written at `origin`, means: `section.name`, or `name` where
/// that is clear.
///
/// # Errors
/// What is wrong with the key.
pub fn find(key: &str, origin: Origin) -> Result<&'static Setting, ConfigurationErrors> {
    let named = setting::named(key);
    match named[..] {
        [setting] => Ok(setting),
        [] => {
            let suggestion = match key.split_once('.') {
                Some((section, name)) => nearest::key(Some(section), name),
                None => nearest::key(None, key),
            };
            Err(Problem::UnknownKey {
                origin,
                key: key.to_owned(),
                suggestion,
            }
            .into())
        }
        _ => {
            let choices: Vec<String> = named.iter().map(|setting| setting.key()).collect();
            Err(Problem::AmbiguousKey {
                origin,
                key: key.to_owned(),
                choices: choices.join(" or "),
            }
            .into())
        }
    }
}

fn read_text(
    setting: &'static Setting,
    text: &str,
    origin: Origin,
    problems: &mut Vec<Problem>,
) -> Option<Found> {
    match setting.kind.read_text(text) {
        Ok(value) => Some(Found {
            setting,
            value,
            origin,
        }),
        Err(refusal) => {
            let problem = file::refused(origin, setting.key(), &setting.kind, refusal);
            problems.push(problem);
            None
        }
    }
}

/// Fills in the paths that follow from the environment and from other settings.
fn derive_places(sources: &Sources, entries: &mut [Entry]) {
    let text_of = |path: PathBuf| Value::Text(path.to_string_lossy().into_owned());
    let mut data: Option<PathBuf> = None;
    // The table has the data's path before the socket's.
    for entry in entries {
        let derived = match (entry.setting.section, entry.setting.name) {
            ("database", "path") => {
                if entry.value == Value::Unset {
                    data = places::default_data(sources);
                } else if let Value::Text(path) = &entry.value {
                    data = Some(path.into());
                }
                data.clone()
            }
            ("admin", "socket") => data.as_deref().map(places::socket_in),
            _ => continue,
        };
        debug_assert_eq!(entry.setting.kind, Kind::Path);
        if entry.value == Value::Unset
            && let Some(path) = derived
        {
            entry.value = text_of(path);
        }
    }
}
