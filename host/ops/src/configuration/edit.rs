//! One setting of the file is changed, and nothing else.
//!
//! Comments, order and blanks of the file stay. The setting is changed where it
//! stands, in each place if it stands in several; where it stands nowhere, it is
//! added to its own section. Nothing is written unless the whole new file is
//! fine, and then as a whole (`lightning_db::replace_file`).

use super::file;
use super::load::find;
use super::origin::{Origin, Sources};
use super::problem::ConfigurationErrors;
use super::setting::{Effect, Setting, VARIABLE_PREFIX};
use super::typed::Configuration;
use super::value::Value;
use crate::io_words::words_of;
use std::path::{Path, PathBuf};
use toml_edit::{DocumentMut, Item, Table};

/// What was done to a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// The file.
    pub file: PathBuf,
    /// The setting.
    pub setting: &'static Setting,
    /// The lines where it stands now, from 1.
    pub lines: Vec<usize>,
    /// What the file said before, or the default, if it said nothing; `None` where what
    /// it said was no value of this setting.
    pub before: Option<Value>,
    /// Whether the file said something before.
    pub was_written: bool,
    /// What it says now.
    pub after: Value,
    /// When the change counts.
    pub effect: Effect,
    /// What counts more than the file, if anything does: a variable of this process.
    pub overridden_by: Option<Origin>,
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// There is no such setting, or it doesn't take this value.
    #[error(transparent)]
    Argument(ConfigurationErrors),
    /// The file can't be read, is not fine as it is, or wouldn't be afterwards.
    #[error(transparent)]
    File(ConfigurationErrors),
    /// The file can't be written.
    #[error(
        "{file}: cannot be replaced durably: {reason}",
        file = .file.display()
    )]
    Unwritable {
        /// The file.
        file: PathBuf,
        /// What the system says.
        reason: String,
    },
}

/// Sets `key`, which is `section.name` or `name` where that is clear, to `text` in
/// `file`. `sources` give the environment; its variables of settings are not looked at
/// but for [`Edit::overridden_by`].
///
/// # Errors
/// Why the file is as it was.
pub fn set(file: &Path, sources: &Sources, key: &str, text: &str) -> Result<Edit, EditError> {
    let old_text = file::read_text(file).map_err(EditError::File)?;
    let Changed {
        setting,
        value,
        text: new_text,
        was_written,
    } = changed(file, sources, &old_text, key, text)?;
    if new_text != old_text {
        lightning_db::replace_file(file, new_text.as_bytes()).map_err(|error| {
            EditError::Unwritable {
                file: file.to_owned(),
                reason: words_of(&error),
            }
        })?;
    }
    let before = places_of(file, &old_text, setting);
    let after = places_of(file, &new_text, setting);
    let overridden_by = setting
        .all_variables()
        .find(|name| sources.environment.iter().any(|(known, _)| known == name))
        .map(|name| Origin::Environment { name });
    Ok(Edit {
        file: file.to_owned(),
        setting,
        lines: after.iter().map(|(line, _)| *line).collect(),
        was_written,
        before: if was_written {
            before.into_iter().next().map(|(_, value)| value)
        } else {
            Some(Value::default_of(setting))
        },
        after: after.into_iter().next().map_or(value, |(_, value)| value),
        effect: setting.effect,
        overridden_by,
    })
}

/// What [`set`] would write to `file`, if `contents` stood in it.
///
/// # Errors
/// As [`set`], but for reading and writing.
pub fn text_with(
    file: &Path,
    sources: &Sources,
    contents: &str,
    key: &str,
    text: &str,
) -> Result<String, EditError> {
    changed(file, sources, contents, key, text).map(|changed| changed.text)
}

/// A file's text with one setting changed.
struct Changed {
    setting: &'static Setting,
    value: Value,
    text: String,
    /// Whether the setting stood in it before.
    was_written: bool,
}

fn changed(
    file: &Path,
    sources: &Sources,
    contents: &str,
    key: &str,
    text: &str,
) -> Result<Changed, EditError> {
    let setting = find(key, Origin::CommandLine).map_err(EditError::Argument)?;
    let value = setting.kind.read_text(text).map_err(|refusal| {
        let kind = &setting.kind;
        let problem = file::refused(Origin::CommandLine, setting.key(), kind, refusal);
        EditError::Argument(problem.into())
    })?;
    let (text, was_written) = edited(file, contents, setting, &value)?;
    let file_only = sources.of_file_alone(file);
    Configuration::load_text(&file_only, &text).map_err(EditError::File)?;
    Ok(Changed {
        setting,
        value,
        text,
        was_written,
    })
}

impl Sources {
    /// `file` and what default places follow from, without the variables of settings.
    #[must_use]
    pub fn of_file_alone(&self, file: &Path) -> Self {
        let environment = self.environment.iter();
        Self {
            file: Some(file.to_owned()),
            environment: environment
                .filter(|(name, _)| !name.starts_with(VARIABLE_PREFIX))
                .cloned()
                .collect(),
            command_line: Vec::new(),
        }
    }
}

/// The lines where the setting stands, and what it says there.
fn places_of(file: &Path, text: &str, setting: &Setting) -> Vec<(usize, Value)> {
    let contents = file::parse(file, text);
    let found = contents.found.into_iter();
    found
        .filter(|found| found.setting == setting)
        .map(|found| (file::line_of(&found.origin), found.value))
        .collect()
}

/// The text with the setting changed, and whether it stood there before.
fn edited(
    file: &Path,
    text: &str,
    setting: &Setting,
    value: &Value,
) -> Result<(String, bool), EditError> {
    let mut document: DocumentMut = match text.parse() {
        Ok(document) => document,
        Err(_) => {
            let problems = file::parse(file, text).problems;
            ConfigurationErrors::collect(problems).map_err(EditError::File)?;
            DocumentMut::new()
        }
    };
    let mut is_there = false;
    for section in setting.sections() {
        let place = document
            .get_mut(section)
            .and_then(Item::as_table_like_mut)
            .and_then(|table| table.get_mut(setting.name));
        if let Some(item) = place {
            put(item, value);
            is_there = true;
        }
    }
    if !is_there {
        add(&mut document, setting, value);
    }
    let new_text = document.to_string();
    // Carriage returns are lost on the way.
    let ends_in_two = text.contains("\r\n");
    let new_text = if ends_in_two {
        new_text.replace("\r\n", "\n").replace('\n', "\r\n")
    } else {
        new_text
    };
    Ok((new_text, is_there))
}

/// Puts the value in an item's place; what stands around it, a comment, stays.
fn put(item: &mut Item, value: &Value) {
    let mut new = value.to_toml();
    if let Some(old) = item.as_value() {
        *new.decor_mut() = old.decor().clone();
    }
    *item = Item::Value(new);
}

/// Adds the setting to its section, which is added at the end if there is none.
fn add(document: &mut DocumentMut, setting: &Setting, value: &Value) {
    if document.get(setting.section).is_none() {
        // What stands behind the last entry stays before the new section.
        let mut before = document.trailing().as_str().unwrap_or_default().to_owned();
        document.set_trailing("");
        if !(document.is_empty() && before.is_empty()) {
            before.push('\n');
        }
        let mut table = Table::new();
        table.decor_mut().set_prefix(before);
        document.insert(setting.section, Item::Table(table));
    }
    let section = document.get_mut(setting.section);
    if let Some(table) = section.and_then(Item::as_table_like_mut) {
        table.insert(setting.name, Item::Value(value.to_toml()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A file that is removed afterwards.
    struct TestFile(PathBuf);

    impl TestFile {
        fn new(text: &str) -> Self {
            static NUMBER: AtomicU32 = AtomicU32::new(0);
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let name = format!("lightning-ops-edit-{}-{number}.toml", std::process::id());
            let path = std::env::temp_dir().join(name);
            std::fs::write(&path, text).unwrap();
            Self(path)
        }

        fn text(&self) -> String {
            std::fs::read_to_string(&self.0).unwrap()
        }

        fn set(&self, key: &str, text: &str) -> Result<Edit, EditError> {
            set(&self.0, &sources(), key, text)
        }
    }

    impl Drop for TestFile {
        fn drop(&mut self) {
            std::fs::remove_file(&self.0).ok();
        }
    }

    fn sources() -> Sources {
        Sources {
            file: None,
            environment: vec![("HOME".to_owned(), "/srv/ada".to_owned())],
            command_line: Vec::new(),
        }
    }

    const TEXT: &str = "\
# Ours.
[performance]
  cache_size_mb   =  512 # a comment

[database] # another
port = 1234

# About logs.
[logging]
level = \"info\"
# The end.
";

    #[test]
    fn a_setting_is_changed_where_it_stands_and_nothing_else_is() {
        let file = TestFile::new(TEXT);
        let edit = file.set("cache_size_mb", "2048").unwrap();
        assert_eq!(file.text(), TEXT.replace("512", "2048"));
        assert_eq!(edit.lines, [3]);
        assert_eq!((edit.before, edit.after), (Some(512.into()), 2048.into()));
        assert_eq!(edit.effect, Effect::Restart);
        let edit = file.set("database.cache_size_mb", "512").unwrap();
        assert_eq!(file.text(), TEXT);
        assert!(edit.was_written);
        let edit = file.set("logging.level", "DEBUG").unwrap();
        assert_eq!(edit.effect, Effect::Reload);
        assert_eq!(file.text(), TEXT.replace("info", "debug"));
    }

    impl From<i64> for Value {
        fn from(number: i64) -> Self {
            Self::Integer(number)
        }
    }

    #[test]
    fn a_new_setting_goes_into_its_section() {
        let file = TestFile::new(TEXT);
        let edit = file.set("database.databases", "4").unwrap();
        assert_eq!(
            file.text(),
            TEXT.replace("port = 1234\n", "port = 1234\ndatabases = 4\n")
        );
        assert_eq!(edit.lines, [7]);
        assert!(!edit.was_written);
        assert_eq!(edit.before, Some(16.into()));
        let file = TestFile::new(TEXT);
        file.set("max_connections", "7").unwrap();
        assert_eq!(
            file.text(),
            format!("{TEXT}\n[limits]\nmax_connections = 7\n")
        );
        let empty = TestFile::new("");
        empty.set("max_connections", "7").unwrap();
        assert_eq!(empty.text(), "[limits]\nmax_connections = 7\n");
        let unended = TestFile::new("[database]\nport = 1");
        unended.set("database.databases", "4").unwrap();
        assert_eq!(unended.text(), "[database]\nport = 1\ndatabases = 4\n");
        let inline = TestFile::new("database = { port = 1 }\nlogging.level = \"info\"\n");
        inline.set("database.databases", "4").unwrap();
        inline.set("logging.file", "/l").unwrap();
        assert_eq!(
            inline.text(),
            "database = { port = 1 , databases = 4 }\nlogging.level = \"info\"\n\
             logging.file = \"/l\"\n"
        );
    }

    #[test]
    fn both_places_are_changed_together() {
        let text = "[database]\ncache_size_mb = 5\n[performance]\ncache_size_mb = 5\n";
        let file = TestFile::new(text);
        let edit = file.set("cache_size_mb", "6").unwrap();
        assert_eq!(file.text(), text.replace('5', "6"));
        assert_eq!(edit.lines, [2, 4]);
        // Which mends a file where they differ.
        let file = TestFile::new(&text.replacen('5', "9", 1));
        file.set("cache_size_mb", "5").unwrap();
        assert_eq!(file.text(), text);
        // So is what is no value at all.
        let file = TestFile::new("[database]\ncache_size_mb = \"big\"\n");
        let edit = file.set("cache_size_mb", "5").unwrap();
        assert_eq!((edit.was_written, edit.before), (true, None));
    }

    #[test]
    fn carriage_returns_stay() {
        let file = TestFile::new("[database]\r\nport = 1 # one\r\n\r\n# end\r\n");
        file.set("database.port", "2").unwrap();
        assert_eq!(file.text(), "[database]\r\nport = 2 # one\r\n\r\n# end\r\n");
    }

    #[test]
    fn what_is_wrong_is_told_and_the_file_stays() {
        let file = TestFile::new(TEXT);
        let told = |key: &str, text: &str| file.set(key, text).unwrap_err().to_string();
        assert_eq!(
            told("cach_size_mb", "1"),
            "command line: there is no setting cach_size_mb; did you mean \
             database.cache_size_mb?"
        );
        assert_eq!(
            told("bind", "127.0.0.1"),
            "command line: bind stands for more than one setting: write database.bind or \
             monitoring.bind"
        );
        assert_eq!(
            told("cache_size_mb", "0"),
            "command line: database.cache_size_mb = 0 is out of range; it takes from 1 to \
             1048576 MiB"
        );
        assert_eq!(
            told("database.port", "9090"),
            format!(
                "database.port = 9090 ({} line 6) and monitoring.metrics_port = 9090 (default) \
                 are the same port: change one of them",
                file.0.display()
            )
        );
        assert_eq!(file.text(), TEXT);
        let broken = TestFile::new("[database\n");
        let error = broken.set("cache_size_mb", "1").unwrap_err();
        assert!(matches!(error, EditError::File(_)));
        assert!(error.to_string().contains(" line 1, column "), "{error}");
        let absent = Path::new("no/such/file.toml");
        let error = set(absent, &sources(), "cache_size_mb", "1").unwrap_err();
        assert_eq!(
            error.to_string(),
            "no/such/file.toml: cannot be read: there is no such file"
        );
    }

    #[test]
    fn a_file_that_can_not_be_replaced_stays() {
        // The new file beside it would need a longer name than there may be.
        let folder = std::env::temp_dir();
        let name = format!("{:x<250}.toml", std::process::id());
        let file = TestFile(folder.join(name));
        std::fs::write(&file.0, TEXT).unwrap();
        let error = file.set("cache_size_mb", "1").unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "{}: cannot be replaced durably: File name too long",
                file.0.display()
            )
        );
        assert_eq!(file.text(), TEXT);
    }

    #[test]
    fn every_setting_can_be_set_and_other_lines_stay() {
        let text = crate::configuration::tests::PRODUCTION;
        let path = Path::new("/etc/c.toml");
        for setting in crate::configuration::all() {
            let value = sample(setting);
            let (new_text, _) = edited(path, text, setting, &value).unwrap();
            assert_eq!(places_of(path, &new_text, setting).len(), 1);
            assert_eq!(places_of(path, &new_text, setting)[0].1, value);
            let own = format!("{} = ", setting.name);
            let others = |text: &str| {
                let lines = text.lines().filter(|line| !line.starts_with(&own));
                lines.map(str::to_owned).collect::<Vec<_>>()
            };
            let (old, new) = (others(text), others(&new_text));
            // A section that wasn't there is added with a blank line before.
            assert_eq!(new[..old.len()], old[..], "{}", setting.key());
            assert!(new.len() == old.len() || new.len() == old.len() + 2);
        }
    }

    fn sample(setting: &Setting) -> Value {
        use crate::configuration::Kind;
        match setting.kind {
            Kind::Boolean => Value::Boolean(true),
            Kind::Integer { most, .. } | Kind::PowerOfTwo { most, .. } => Value::Integer(most),
            Kind::Choice(words) => Value::Text(words[1].to_owned()),
            Kind::Path => Value::Text("/with \"quotes\" and \\".to_owned()),
            Kind::Addresses => Value::Text("127.0.0.1 ::1".to_owned()),
            Kind::EventClasses => Value::Text("AKE".to_owned()),
            Kind::NumberSet | Kind::ChoiceOrNumberSet(_) => Value::Text("0-3,8".to_owned()),
        }
    }

    #[test]
    fn a_variable_that_counts_more_is_told() {
        let file = TestFile::new(TEXT);
        let mut sources = sources();
        let variable = ("LIGHTNING_DB_CACHE_SIZE_MB".to_owned(), "x".to_owned());
        sources.environment.push(variable);
        let edit = set(&file.0, &sources, "cache_size_mb", "64").unwrap();
        assert_eq!(
            edit.overridden_by.unwrap().to_string(),
            "environment LIGHTNING_DB_CACHE_SIZE_MB"
        );
    }
}
