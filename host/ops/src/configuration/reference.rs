//! The page about all settings, made from the table.

use super::places::DEFAULT_FILE;
use super::setting::{DefaultValue, Setting};
use super::settings::{SECTIONS, Section};
use super::value::Value;
use std::fmt::Write;

const OPENING: &str = "\
# The configuration of Lightning DB

`lightning-admin-server --config FILE` reads a TOML file; `lightning-cli` looks into \
`{DEFAULT_FILE}` unless `--config` names another. What counts, the last one most: defaults, the \
file, variables, the command line. `lightning-cli config show` prints each value and where it \
comes from.

A setting may stand in its own section, or in one of the other sections that are named with it; \
in both only with the same value. A relative path in the file counts from the file. An unknown \
key is an error; an unknown variable a warning, since other programs may set those. A variable \
is true by `true`, `yes`, `on` or `1`.
";

/// The page, as Markdown.
#[must_use]
pub fn reference() -> String {
    let mut page = OPENING.replace("{DEFAULT_FILE}", DEFAULT_FILE);
    for section in SECTIONS {
        // Writing to a text can't fail.
        let _written = write_section(&mut page, section);
    }
    page
}

fn write_section(page: &mut String, section: &Section) -> std::fmt::Result {
    writeln!(page, "\n## [{}]\n\n{}", section.name, section.documentation)?;
    for setting in section.settings {
        writeln!(
            page,
            "\n### {}\n\n{}\n",
            setting.key(),
            setting.documentation
        )?;
        writeln!(page, "- Takes {}.", setting.kind.expected())?;
        writeln!(page, "- Default: {}.", default_words(setting))?;
        writeln!(page, "- A change {}.", setting.effect.words())?;
        if !setting.also_in.is_empty() {
            let others: Vec<String> = setting
                .also_in
                .iter()
                .map(|section| format!("`[{section}]`"))
                .collect();
            writeln!(page, "- May stand in {} as well.", others.join(", "))?;
        }
        let variables: Vec<String> = setting
            .all_variables()
            .map(|variable| format!("`{variable}`"))
            .collect();
        writeln!(page, "- Variable: {}.", variables.join(" or "))?;
    }
    Ok(())
}

fn default_words(setting: &Setting) -> String {
    match setting.default {
        DefaultValue::Unset => "none".to_owned(),
        DefaultValue::Derived(words) => words.to_owned(),
        _ => format!("`{}`", Value::default_of(setting)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::all;

    #[test]
    fn every_setting_is_on_the_page() {
        let page = reference();
        for setting in all() {
            assert!(page.contains(&format!("\n### {}\n", setting.key())));
        }
        let cache = "\
### database.cache_size_mb

Memory for pages that were read. Reads outside of it go to the disk; it is taken as it is used, \
and never given back.

- Takes a whole number from 1 to 1048576 MiB.
- Default: `256`.
- A change counts after a restart of the service.
- May stand in `[performance]` as well.
- Variable: `LIGHTNING_DB_CACHE_SIZE_MB` or `LIGHTNING_DB_DATABASE_CACHE_SIZE_MB`.
";
        assert!(page.contains(cache), "{page}");
    }
}
