//! The file: TOML to settings, with the line of each.
//!
//! Reading goes on after a problem, so that all of them are told at once; only
//! what is no TOML ends it.

use super::nearest;
use super::origin::Origin;
use super::problem::{ConfigurationErrors, Problem};
use super::setting::{self, Kind, Setting};
use super::settings;
use super::value::{Refusal, Value};
use crate::io_words::words_of;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use toml_edit::{Document, Item, TableLike};

/// A setting that stands in a file.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) setting: &'static Setting,
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// What stands in a file, in its order, and what is wrong with it.
#[derive(Debug, Default)]
pub(super) struct FileContents {
    pub(super) found: Vec<Found>,
    pub(super) problems: Vec<Problem>,
}

/// The text of the file `path`.
pub(super) fn read_text(path: &Path) -> Result<String, ConfigurationErrors> {
    let bytes = std::fs::read(path).map_err(|error| Problem::Unreadable {
        path: path.to_owned(),
        is_absent: error.kind() == io::ErrorKind::NotFound,
        reason: words_of(&error),
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = &error.as_bytes()[..valid];
        Problem::Syntax {
            path: path.to_owned(),
            line: 1 + before.iter().filter(|byte| **byte == b'\n').count(),
            column: 1 + String::from_utf8_lossy(before)
                .chars()
                .rev()
                .take_while(|letter| *letter != '\n')
                .count(),
            message: "a byte that is not UTF-8".to_owned(),
        }
        .into()
    })
}

/// Reads `text`, the contents of the file `path`.
pub(super) fn parse(path: &Path, text: &str) -> FileContents {
    let mut reader = Reader {
        path: path.into(),
        text,
        contents: FileContents::default(),
    };
    match Document::parse(text) {
        Ok(document) => reader.read_root(document.as_table()),
        Err(error) => {
            let at = error.span().map_or(0, |span| span.start);
            let (line, column) = position(text, at);
            reader.contents.problems.push(Problem::Syntax {
                path: path.to_owned(),
                line,
                column,
                message: error.message().trim_end().replace('\n', "; "),
            });
        }
    }
    reader
        .contents
        .found
        .sort_by_key(|found| line_of(&found.origin));
    reader.contents.problems.sort_by_key(Problem::line);
    reader.contents
}

/// The line of a place in a file.
pub(super) fn line_of(origin: &Origin) -> usize {
    match origin {
        Origin::File { line, .. } => *line,
        _ => 0,
    }
}

/// Line and column of a place in the text, from 1.
fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let begin = before.rfind('\n').map_or(0, |end| end + 1);
    (line, before[begin..].chars().count() + 1)
}

struct Reader<'a> {
    path: Arc<Path>,
    text: &'a str,
    contents: FileContents,
}

impl Reader<'_> {
    fn origin(&self, span: Option<Range<usize>>) -> Origin {
        let at = span.map_or(0, |span| span.start);
        Origin::File {
            path: self.path.clone(),
            line: position(self.text, at).0,
        }
    }

    /// Where the entry `name` of `table` stands.
    fn origin_of(&self, table: &dyn TableLike, name: &str) -> Origin {
        let entry = table.get_key_value(name);
        // A table has the place of its header; what dotted keys make has none.
        self.origin(entry.and_then(|(key, item)| {
            let header = item.as_table().and_then(toml_edit::Table::span);
            key.span().or(header)
        }))
    }

    fn read_root(&mut self, root: &dyn TableLike) {
        for (name, item) in root.iter() {
            let origin = self.origin_of(root, name);
            let known = settings::SECTIONS.iter().any(|known| known.name == name);
            let unsupported = settings::UNSUPPORTED_SECTIONS
                .iter()
                .find(|(section, _)| *section == name);
            let problem = match (item.as_table_like(), unsupported) {
                (Some(table), _) if known => {
                    self.read_section(name, table);
                    continue;
                }
                (Some(_), Some((_, purpose))) => Problem::UnsupportedSection {
                    origin,
                    section: name.to_owned(),
                    purpose,
                },
                (Some(_), None) => Problem::UnknownSection {
                    origin,
                    section: name.to_owned(),
                    suggestion: nearest::section(name),
                },
                (None, _) if known => Problem::NoSection {
                    origin,
                    name: name.to_owned(),
                },
                // A setting above all sections.
                (None, _) => Problem::UnknownKey {
                    origin,
                    key: name.to_owned(),
                    suggestion: nearest::key(None, name),
                },
            };
            self.contents.problems.push(problem);
        }
    }

    fn read_section(&mut self, section: &str, table: &dyn TableLike) {
        for (name, item) in table.iter() {
            let origin = self.origin_of(table, name);
            let key = format!("{section}.{name}");
            let Some(setting) = setting::in_section(section, name) else {
                self.contents.problems.push(Problem::UnknownKey {
                    origin,
                    key,
                    suggestion: nearest::key(Some(section), name),
                });
                continue;
            };
            match read_item(setting, item, &self.path) {
                Ok(value) => self.contents.found.push(Found {
                    setting,
                    value,
                    origin,
                }),
                Err(refusal) => {
                    let problem = refused(origin, key, &setting.kind, refusal);
                    self.contents.problems.push(problem);
                }
            }
        }
    }
}

/// Reads a value; a relative path counts from the file.
fn read_item(setting: &Setting, item: &Item, file: &Path) -> Result<Value, Refusal> {
    let value = setting.kind.read_toml(item)?;
    match (setting.kind, value) {
        (Kind::Path, Value::Text(path)) => {
            let folder = file.parent().unwrap_or(Path::new(""));
            let text = folder.join(path).into_os_string().into_string();
            text.map(Value::Text).map_err(|_| {
                Refusal::Type("a relative path in a file whose own path is not UTF-8".to_owned())
            })
        }
        (_, value) => Ok(value),
    }
}

/// What is wrong with a value.
pub(super) fn refused(origin: Origin, key: String, kind: &Kind, refusal: Refusal) -> Problem {
    match refusal {
        Refusal::Type(found) => Problem::WrongType {
            origin,
            key,
            found,
            expected: kind.expected(),
        },
        Refusal::Range(found) => Problem::OutOfRange {
            origin,
            key,
            found,
            range: kind.range(),
        },
    }
}
