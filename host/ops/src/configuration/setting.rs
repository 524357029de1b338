//! What is known of a setting.
//!
//! A [`Setting`] is the only place that knows its name, range, default and
//! words: reading, checking, editing, `config show` and the reference page all
//! go by it.

use super::settings;

/// One setting of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// The section where it belongs.
    pub section: &'static str,
    /// Its name there.
    pub name: &'static str,
    /// Other sections where it may stand as well, under the same name.
    pub also_in: &'static [&'static str],
    /// Its variables beside [`long_variable`](Self::long_variable), the documented
    /// one first.
    pub variables: &'static [&'static str],
    /// What it takes.
    pub kind: Kind,
    /// What counts where it is written nowhere.
    pub default: DefaultValue,
    /// When a change counts.
    pub effect: Effect,
    /// What it does and what that costs.
    pub documentation: &'static str,
}

/// What a setting takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Boolean,
    /// A whole number from `least` to `most`.
    Integer {
        /// The least.
        least: i64,
        /// The most.
        most: i64,
        /// What is counted, as words go behind the number; may be empty.
        unit: &'static str,
    },
    /// A power of two from `least` to `most`.
    PowerOfTwo {
        /// The least.
        least: i64,
        /// The most.
        most: i64,
        /// What is counted.
        unit: &'static str,
    },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A path. Empty for none; a relative one in a file counts from the file.
    Path,
    /// IP addresses, with spaces or commas between, or a list in a file.
    Addresses,
    /// Numbers and ranges such as `0-3,8`. Empty for none.
    NumberSet,
    /// One of these words, or numbers and ranges such as `0-3,8`.
    ChoiceOrNumberSet(&'static [&'static str]),
    /// Letters of classes of events. Empty for none.
    EventClasses,
}

/// What counts where a setting is written nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultValue {
    /// A truth value.
    Boolean(bool),
    /// A number.
    Integer(i64),
    /// A text.
    Text(&'static str),
    /// None, which is an empty text where it is written.
    Unset,
    /// Follows from the environment or from other settings, as these words say.
    Derived(&'static str),
}

/// When a change of a setting counts.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// After `lightning-cli config reload`.
    Reload,
    /// After a restart of the service.
    Restart,
    /// Only for a database that is created afterwards.
    Creation,
}

impl Effect {
    /// When a change counts, in words that end a sentence.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Reload => "counts after `lightning-cli config reload`",
            Self::Restart => "counts after a restart of the service",
            Self::Creation => "counts only for a database that is created afterwards",
        }
    }
}

impl Setting {
    /// The setting's full name: `section.name`.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// The sections where it may stand, its own first.
    pub fn sections(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.section).chain(self.also_in.iter().copied())
    }

    /// The variable that every setting has: `LIGHTNING_DB_SECTION_NAME`.
    #[must_use]
    pub fn long_variable(&self) -> String {
        format!(
            "{VARIABLE_PREFIX}{}_{}",
            self.section.to_uppercase(),
            self.name.to_uppercase()
        )
    }

    /// All its variables, the documented one first.
    pub fn all_variables(&self) -> impl Iterator<Item = String> {
        let short = self.variables.iter().map(|name| (*name).to_owned());
        short.chain(std::iter::once(self.long_variable()))
    }
}

/// What the names of all variables begin with.
pub const VARIABLE_PREFIX: &str = "LIGHTNING_DB_";

/// All settings, section by section.
pub fn all() -> impl Iterator<Item = &'static Setting> {
    settings::SECTIONS
        .iter()
        .flat_map(|section| section.settings)
}

/// The setting that may stand as `name` in `section`.
#[must_use]
pub fn in_section(section: &str, name: &str) -> Option<&'static Setting> {
    all().find(|setting| setting.name == name && setting.sections().any(|one| one == section))
}

/// The settings that `key` may mean: `section.name` or `name` alone, which names
/// more than one setting where several sections have the name.
#[must_use]
pub fn named(key: &str) -> Vec<&'static Setting> {
    match key.split_once('.') {
        Some((section, name)) => in_section(section, name).into_iter().collect(),
        None => all().filter(|setting| setting.name == key).collect(),
    }
}

/// The setting whose variable is `variable`.
#[must_use]
pub fn of_variable(variable: &str) -> Option<&'static Setting> {
    all().find(|setting| setting.all_variables().any(|name| name == variable))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::value::Value;
    use std::collections::BTreeSet;

    #[test]
    fn places_and_variables_mean_one_setting_each() {
        let mut places = BTreeSet::new();
        let mut variables = BTreeSet::new();
        for setting in all() {
            for section in setting.sections() {
                assert!(
                    settings::SECTIONS.iter().any(|known| known.name == section),
                    "{section}"
                );
                assert!(places.insert((section, setting.name)), "{}", setting.key());
            }
            for variable in setting.all_variables() {
                assert!(variable.starts_with(VARIABLE_PREFIX), "{variable}");
                assert!(variables.insert(variable.clone()), "{variable}");
            }
        }
    }

    #[test]
    fn defaults_are_what_the_settings_take() {
        for setting in all() {
            let value = Value::default_of(setting);
            if let Some(text) = value.to_text() {
                assert_eq!(
                    setting.kind.read_text(&text).as_ref(),
                    Ok(&value),
                    "{}",
                    setting.key()
                );
            }
            assert!(setting.documentation.ends_with('.'), "{}", setting.key());
        }
    }

    #[test]
    fn a_setting_is_found_by_its_short_name() {
        assert_eq!(named("cache_size_mb"), named("performance.cache_size_mb"));
        assert_eq!(named("cache_size_mb").len(), 1);
        assert_eq!(named("bind").len(), 2);
        assert!(named("database.bogus").is_empty());
    }
}
