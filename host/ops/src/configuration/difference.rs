//! What a reload changes.
//!
//! The service keeps what it runs with as a [`Loaded`]. A reload loads the sources
//! again, asks for the [`difference`], takes what [`Loaded::reloaded`] gives for what
//! it runs with from now on, and reports the rest: the next reload reports it again,
//! until a restart.

use super::file;
use super::load::{Entry, Loaded, find};
use super::origin::Origin;
use super::problem::{ConfigurationErrors, Problem};
use super::relations;
use super::setting::{Effect, Setting};
use super::typed::Configuration;
use super::value::Value;
use serde::{Deserialize, Serialize};

/// A setting whose value is another one now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Its full name.
    pub key: String,
    /// The value before; null for none.
    pub before: Value,
    /// The value now; null for none.
    pub after: Value,
}

/// What is different between two configurations, by when it counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// Changes that a reload applies.
    pub live: Vec<Change>,
    /// Changes that count after a restart.
    pub needs_restart: Vec<Change>,
    /// Changes that count only for a database that is created.
    pub creation_only: Vec<Change>,
}

impl Difference {
    /// Whether nothing is different.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.live.is_empty() && self.needs_restart.is_empty() && self.creation_only.is_empty()
    }
}

/// What is different in `new`.
#[must_use]
pub fn difference(old: &Loaded, new: &Loaded) -> Difference {
    let mut difference = Difference::default();
    for (before, after) in old.entries().iter().zip(new.entries()) {
        if before.value == after.value {
            continue;
        }
        let change = Change {
            key: before.setting.key(),
            before: before.value.clone(),
            after: after.value.clone(),
        };
        match before.setting.effect {
            Effect::Reload => difference.live.push(change),
            Effect::Restart => difference.needs_restart.push(change),
            Effect::Creation => difference.creation_only.push(change),
        }
    }
    difference
}

impl Loaded {
    /// This configuration with what is live of `new`: what a service that runs with
    /// this one runs with after it has loaded `new`.
    ///
    /// # Errors
    /// The two don't go together, though each is fine by itself: the password is gone,
    /// and the address that needed it stays until a restart. Nothing is to be applied then.
    pub fn reloaded(&self, new: &Self) -> Result<Self, ConfigurationErrors> {
        let both = self.entries().iter().zip(new.entries());
        let entries: Vec<Entry> = both
            .map(|(before, after)| match before.setting.effect {
                Effect::Reload => after.clone(),
                // It counts as it is, and may have another origin.
                _ if before.value == after.value => after.clone(),
                _ => before.clone(),
            })
            .collect();
        let mut problems = Vec::new();
        relations::check(&entries, &mut problems);
        ConfigurationErrors::collect(problems)?;
        Ok(Self {
            configuration: Configuration::of(&entries),
            warnings: new.warnings.clone(),
            file: new.file.clone(),
            entries,
        })
    }

    /// This configuration with what a client of the running service changes: keys, as
    /// `section.name` or `name`, and values. All of them or none; until the next reload.
    ///
    /// # Errors
    /// What is wrong with the changes; only settings that are live can be changed.
    pub fn with_changes(&self, changes: &[(String, String)]) -> Result<Self, ConfigurationErrors> {
        let mut problems = Vec::new();
        let mut changed = self.clone();
        for (key, text) in changes {
            match changed_value(key, text) {
                Ok((setting, value)) => {
                    let entries = changed.entries.iter_mut();
                    for entry in entries.filter(|entry| entry.setting == setting) {
                        entry.value = value.clone();
                        entry.origin = Origin::Client;
                    }
                }
                Err(errors) => problems.extend(errors.into_problems()),
            }
        }
        if problems.is_empty() {
            relations::check(&changed.entries, &mut problems);
        }
        ConfigurationErrors::collect(problems)?;
        changed.configuration = Configuration::of(&changed.entries);
        Ok(changed)
    }
}

/// The setting and value of a client's change.
fn changed_value(key: &str, text: &str) -> Result<(&'static Setting, Value), ConfigurationErrors> {
    let setting = find(key, Origin::Client)?;
    if setting.effect != Effect::Reload {
        let problem = Problem::NotLive {
            origin: Origin::Client,
            key: setting.key(),
            effect: setting.effect.words(),
        };
        return Err(problem.into());
    }
    let value = setting
        .kind
        .read_text(text)
        .map_err(|refusal| file::refused(Origin::Client, setting.key(), &setting.kind, refusal))?;
    Ok((setting, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::Sources;

    fn load(text: &str) -> Loaded {
        let sources = Sources {
            file: Some("/etc/c.toml".into()),
            environment: vec![("HOME".to_owned(), "/srv/ada".to_owned())],
            command_line: Vec::new(),
        };
        Configuration::load_text(&sources, text).unwrap()
    }

    fn keys(changes: &[Change]) -> Vec<&str> {
        changes.iter().map(|change| change.key.as_str()).collect()
    }

    #[test]
    fn changes_are_told_by_when_they_count() {
        let old = load("[logging]\nlevel = \"info\"\n[database]\npath = \"/a\"\n");
        let new = load(
            "[logging]\nlevel = \"debug\"\n[database]\npath = \"/b\"\npage_size = 8192\n\
             port = 7379\n",
        );
        let found = difference(&old, &new);
        assert_eq!(
            found.live,
            [Change {
                key: "logging.level".to_owned(),
                before: Value::Text("info".to_owned()),
                after: Value::Text("debug".to_owned()),
            }]
        );
        // The socket follows the data.
        assert_eq!(
            keys(&found.needs_restart),
            ["database.path", "admin.socket"]
        );
        assert_eq!(keys(&found.creation_only), ["database.page_size"]);
        assert!(difference(&new, &new).is_empty());
    }

    #[test]
    fn what_runs_after_a_reload_is_both() {
        let old = load("[database]\npath = \"/a\"\n");
        let new = load("[logging]\nlevel = \"debug\"\n[database]\npath = \"/b\"\nport = 7379\n");
        let running = old.reloaded(&new).unwrap();
        assert_eq!(
            running.configuration.logging.level,
            crate::configuration::LogLevel::Debug
        );
        assert_eq!(running.configuration.database.path.to_str(), Some("/a"));
        assert_eq!(
            running.entry("database.port").unwrap().origin.kind(),
            "file"
        );
        let rest = difference(&running, &new);
        assert!(rest.live.is_empty());
        assert_eq!(keys(&rest.needs_restart), ["database.path", "admin.socket"]);
    }

    #[test]
    fn a_client_changes_what_is_live() {
        let running = load("[monitoring]\nslowlog_max_len = 5\n");
        let changes = |given: &[(&str, &str)]| {
            let pairs = given.iter();
            let pairs = pairs.map(|(key, text)| ((*key).to_owned(), (*text).to_owned()));
            running.with_changes(&pairs.collect::<Vec<_>>())
        };
        let changed = changes(&[("slowlog_max_len", "7"), ("logging.level", "warn")]).unwrap();
        assert_eq!(changed.configuration.monitoring.slowlog_length_max, 7);
        let entry = changed.entry("slowlog_max_len").unwrap();
        assert_eq!(entry.origin.to_string(), "client");
        // The next reload takes it back.
        assert_eq!(
            keys(&difference(&changed, &running).live),
            ["logging.level", "monitoring.slowlog_max_len"]
        );
        let refused = changes(&[
            ("slowlog_max_len", "8"),
            ("cache_size_mb", "1"),
            ("page_size", "512"),
            ("max_connections", "0"),
            ("slowlog_len", "1"),
        ]);
        assert_eq!(
            refused.unwrap_err().to_string(),
            "client: database.cache_size_mb can't be changed while the service runs: a change \
             counts after a restart of the service\n\
             client: database.page_size can't be changed while the service runs: a change \
             counts only for a database that is created afterwards\n\
             client: limits.max_connections = 0 is out of range; it takes from 1 to 1000000 \
             connections\n\
             client: there is no setting slowlog_len; did you mean monitoring.slowlog_max_len?"
        );
    }

    #[test]
    fn a_password_is_not_taken_from_an_address_that_needs_it() {
        let old = load("[database]\nbind = \"0.0.0.0\"\n[security]\npassword_file = \"/p\"\n");
        let new = load("");
        let refused = old.reloaded(&new).unwrap_err();
        assert!(
            refused.to_string().contains("nobody has to log in"),
            "{refused}"
        );
    }
}
