//! The nearest thing to a name that nobody knows.

use super::setting::{self, VARIABLE_PREFIX};
use super::settings;
use std::fmt;

/// What may be meant by a name that nobody knows; shown as the end of a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suggestion {
    /// The nearest name, if one is near.
    pub name: Option<String>,
}

impl fmt::Display for Suggestion {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(out, "; did you mean {name}?"),
            None => out.write_str("; `lightning-cli config reference` lists all"),
        }
    }
}

/// The nearest section, in its brackets.
pub(super) fn section(written: &str) -> Suggestion {
    let names = settings::SECTIONS.iter().map(|section| section.name);
    let name = nearest(
        written,
        names.map(|name| (name.to_owned(), name.to_owned())),
    );
    Suggestion {
        name: name.map(|name| format!("[{name}]")),
    }
}

/// The nearest setting to `name` in `section`; a setting of another section is near
/// where its name is. A section of `None` stands for any.
pub(super) fn key(section: Option<&str>, name: &str) -> Suggestion {
    let places = || {
        setting::all().flat_map(|setting| {
            let sections = setting.sections();
            sections.map(move |place| (place, setting.name))
        })
    };
    let named = |(place, name): (&str, &str)| (name.to_owned(), format!("{place}.{name}"));
    let here = places().filter(|(place, _)| Some(*place) == section);
    let name = nearest(name, here.map(named)).or_else(|| nearest(name, places().map(named)));
    Suggestion { name }
}

/// The nearest variable.
pub(super) fn variable(written: &str) -> Suggestion {
    let rest = written.strip_prefix(VARIABLE_PREFIX).unwrap_or(written);
    let names = setting::all().flat_map(|setting| setting.all_variables());
    let exact_end = format!("_{rest}");
    // A setting's name without its section is the nearest there can be.
    let by_end = setting::all()
        .map(|setting| setting.long_variable())
        .find(|name| name.ends_with(&exact_end));
    let named = |name: String| {
        let rest = name.strip_prefix(VARIABLE_PREFIX).unwrap_or(&name);
        (rest.to_owned(), name)
    };
    Suggestion {
        name: by_end.or_else(|| nearest(rest, names.map(named))),
    }
}

/// Of candidates (what to compare with, what to answer) the nearest, the first of
/// several; `None` where more than a third of the letters would have to change. Of short
/// names two may.
fn nearest(written: &str, candidates: impl Iterator<Item = (String, String)>) -> Option<String> {
    let written = written.to_lowercase();
    candidates
        .map(|(compared, answer)| {
            let compared = compared.to_lowercase();
            // Leaving the unit out is one mistake, not one for each of its letters.
            let rest = compared.strip_prefix(&written);
            let distance = if rest.is_some_and(|rest| rest.starts_with('_')) {
                1
            } else {
                strsim::osa_distance(&written, &compared)
            };
            let letters = written.chars().count().max(compared.chars().count());
            (distance, letters, answer)
        })
        .filter(|(distance, letters, _)| *distance <= (letters / 3).max(2))
        .min_by_key(|(distance, ..)| *distance)
        .map(|(.., answer)| answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let name = |suggestion: Suggestion| suggestion.name.unwrap_or_default();
        assert_eq!(name(section("databse")), "[database]");
        assert_eq!(name(section("zoology")), "");
        assert_eq!(
            name(key(Some("performance"), "cache_size")),
            "performance.cache_size_mb"
        );
        assert_eq!(
            name(key(Some("database"), "max_conections")),
            "limits.max_connections"
        );
        assert_eq!(name(key(None, "cach_size_mb")), "database.cache_size_mb");
        assert_eq!(name(key(Some("database"), "weather")), "");
        assert_eq!(
            name(variable("LIGHTNING_DB_PORT")),
            "LIGHTNING_DB_DATABASE_PORT"
        );
        assert_eq!(
            name(variable("LIGHTNING_DB_CACHE_SIZE")),
            "LIGHTNING_DB_CACHE_SIZE_MB"
        );
        assert_eq!(
            Suggestion { name: None }.to_string(),
            "; `lightning-cli config reference` lists all"
        );
    }
}
