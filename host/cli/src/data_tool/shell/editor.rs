//! The shell on a terminal: editing, history, completion.

use super::commands::Line;
use super::session::Session;
use super::words::{self, Words};
use crate::failure::{Exit, Failure};
use crate::formats::{hex, text};
use clap::CommandFactory as _;
use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{CompletionType, Config, Context, Editor, Helper};
use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;

/// Lines that are kept.
const HISTORY_LINES_MAX: usize = 1000;
/// Keys that are offered.
const KEYS_MAX: u64 = 100;

/// What the next lines are.
pub(super) enum Input {
    Commands(Vec<Words>),
    /// The line was given up.
    Nothing,
    End,
}

/// A terminal that lines are typed on.
pub(super) struct Terminal {
    editor: Editor<Assistant, FileHistory>,
    history: Option<PathBuf>,
    session: Rc<RefCell<Session>>,
}

impl Terminal {
    /// The terminal of this process.
    pub(super) fn new(session: Rc<RefCell<Session>>) -> Result<Self, Failure> {
        let config = Config::builder()
            .max_history_size(HISTORY_LINES_MAX)
            .and_then(|config| config.history_ignore_dups(true))
            .map_err(|error| failure(&error))?
            .history_ignore_space(true)
            .completion_type(CompletionType::List)
            .bracketed_paste(true)
            .build();
        let mut editor = Editor::with_config(config).map_err(|error| failure(&error))?;
        editor.set_helper(Some(Assistant {
            session: Rc::clone(&session),
        }));
        let history = history_file();
        if let Some(path) = &history {
            // There is none before the first shell.
            let _loaded = editor.load_history(path);
        }
        Ok(Self {
            editor,
            history,
            session,
        })
    }

    /// Asks for the next line, or lines where quotes are left open.
    pub(super) fn read(&mut self) -> Result<Input, Failure> {
        let prompt = self.session.borrow().prompt();
        let line = match self.editor.readline(&prompt) {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => return Ok(Input::Nothing),
            Err(ReadlineError::Eof) => return Ok(Input::End),
            Err(error) => return Err(failure(&error)),
        };
        if !line.trim().is_empty() {
            // A line that can't be kept can still be followed.
            let _kept = self.editor.add_history_entry(&line);
        }
        let width = self.editor.dimensions().map(|(columns, _)| columns);
        self.session.borrow_mut().set_width(width);
        // The validator has seen that no quote is open.
        Ok(words::split(&line, 1).map_or(Input::Nothing, Input::Commands))
    }

    /// Keeps the history.
    pub(super) fn close(mut self) -> Result<(), String> {
        let Some(path) = &self.history else {
            return Ok(());
        };
        let saved = path
            .parent()
            .map_or(Ok(()), std::fs::create_dir_all)
            .map_err(|error| error.to_string())
            .and_then(|()| {
                self.editor
                    .append_history(path)
                    .map_err(|error| error.to_string())
            });
        saved.map_err(|reason| format!("{}: the history is not kept: {reason}", path.display()))
    }
}

fn failure(error: &ReadlineError) -> Failure {
    Failure::new(Exit::Failed, format!("the terminal: {error}"))
}

/// Where the history is kept, by the specification of such places.
fn history_file() -> Option<PathBuf> {
    let base = std::env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| Some(std::env::home_dir()?.join(".local/state")))?;
    Some(base.join("lightning-db/shell-history"))
}

/// Knows when a line is whole, and how words go on.
struct Assistant {
    session: Rc<RefCell<Session>>,
}

impl Helper for Assistant {}
impl Highlighter for Assistant {}
impl Hinter for Assistant {
    type Hint = String;
}

impl Validator for Assistant {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(match words::split(context.input(), 1) {
            Ok(_) => ValidationResult::Valid(None),
            Err(_) => ValidationResult::Incomplete,
        })
    }
}

impl Completer for Assistant {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let typed = &line[..position];
        let start = typed.rfind(char::is_whitespace).map_or(0, |blank| {
            blank + typed[blank..].chars().next().map_or(1, char::len_utf8)
        });
        let (before, word) = typed.split_at(start);
        let Ok(mut commands) = words::split(before, 1) else {
            // Within quotes.
            return Ok((position, Vec::new()));
        };
        // Several commands may have been pasted.
        let before = if before.ends_with('\n') {
            Vec::new()
        } else {
            commands
                .pop()
                .map_or_else(Vec::new, |command| command.words)
        };
        let found = candidates(&mut self.session.borrow_mut(), &before, word);
        let pairs = found.into_iter().map(|candidate| Pair {
            replacement: format!("{candidate} "),
            display: candidate,
        });
        Ok((start, pairs.collect()))
    }
}

/// How `word` may go on, which stands behind the words `before`.
pub(super) fn candidates(session: &mut Session, before: &[String], word: &str) -> Vec<String> {
    let starting_so = |names: Vec<String>| {
        let found = names.into_iter().filter(|name| name.starts_with(word));
        found.collect::<Vec<_>>()
    };
    let commands = || {
        let line = Line::command();
        let names = line
            .get_subcommands()
            .map(|command| command.get_name().to_owned());
        names.collect::<Vec<_>>()
    };
    let of = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>()
    };
    let before: Vec<&str> = before.iter().map(String::as_str).collect();
    match before[..] {
        [] | ["help"] => starting_so(commands()),
        ["set"] => starting_so(of(&["output", "hex", "expiry"])),
        ["set", "output"] => starting_so(of(&["table", "text", "json"])),
        ["set", _] => starting_so(of(&["on", "off"])),
        // Completion that fails offers nothing; the command itself will say why.
        ["use"] => {
            let tables = session.parts().0.tables().unwrap_or_default();
            let names = tables.iter().map(|name| words::quote(name));
            starting_so(names.collect())
        }
        ["get" | "put" | "delete" | "expire" | "ttl"]
        | ["scan", .., "--from" | "--to" | "--prefix"] => keys(session, word),
        ["scan", ..] => starting_so(of(&["--from", "--to", "--prefix", "--limit", "--reverse"])),
        ["put", _, _, ..] => starting_so(of(&["--expire"])),
        ["expire", _] => starting_so(of(&["never"])),
        _ => Vec::new(),
    }
}

/// The keys that begin as `word` does.
fn keys(session: &mut Session, word: &str) -> Vec<String> {
    let is_hex = session.is_hex();
    let prefix = if is_hex {
        let whole = word.len() / 2 * 2;
        match word
            .get(..whole)
            .map(|digits| hex::decode(digits.as_bytes()))
        {
            Some(Ok(prefix)) => prefix,
            _ => return Vec::new(),
        }
    } else {
        text::unescape(word.as_bytes())
    };
    let (store, table) = session.parts();
    let table = table.to_owned();
    let found = store.keys(&table, &prefix, KEYS_MAX).unwrap_or_default();
    let typed = found.iter().map(|key| {
        if is_hex {
            hex::encode(key)
        } else {
            words::quote(&text::escape(key))
        }
    });
    typed
        .filter(|key| !is_hex || key.starts_with(&word.to_ascii_lowercase()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_tool::arguments::Arguments;
    use crate::data_tool::shell::output::{Form, Style};
    use crate::data_tool::store::Directory;
    use clap::Parser as _;
    use lightning_db::Database;

    /// A session over a directory that is removed at its end.
    struct Place(PathBuf);

    impl Drop for Place {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).ok();
        }
    }

    impl Place {
        fn session(&self, hex: bool) -> Session {
            let line = ["lightning-db", "count", "--hex"];
            let given = if hex { &line[..] } else { &line[..2] };
            let arguments = Arguments::try_parse_from(given).unwrap();
            let database = Database::open(&self.0).unwrap();
            for table in ["default", "my orders", "users"] {
                database.table(table).unwrap();
            }
            let users = database.table("users").unwrap();
            for key in [&b"ada"[..], b"ad b", b"bob", b"\xff\x00", b"it's"] {
                database.put(&users, key, b"").unwrap();
            }
            let style = Style {
                form: Form::Text,
                hex,
                expiry: false,
                width: None,
            };
            let store = Box::new(Directory::new(database));
            Session::new(arguments.global, store, "users".to_owned(), style)
        }
    }

    #[test]
    fn words_go_on_as_there_are_commands_tables_and_keys() {
        let name = format!("lightning-db-completion-{}", std::process::id());
        let place = Place(std::env::temp_dir().join(name));
        let mut session = place.session(false);
        let mut check = |before: &[&str], word: &str, expected: &[&str]| {
            let before: Vec<String> = before.iter().map(|word| (*word).to_owned()).collect();
            let found = candidates(&mut session, &before, word);
            assert_eq!(found, expected, "{before:?} {word}");
        };
        check(&[], "co", &["count", "commit"]);
        check(&["help"], "ro", &["rollback"]);
        check(&["use"], "", &["default", "'my orders'", "users"]);
        check(&["use"], "u", &["users"]);
        check(&["get"], "a", &["'ad b'", "ada"]);
        check(&["put"], "\\xff", &["\\xff\\x00"]);
        check(&["delete"], "i", &["\"it's\""]);
        check(&["get"], "zzz", &[]);
        check(&["get", "a"], "a", &[]);
        check(&["scan"], "--p", &["--prefix"]);
        check(&["scan", "--limit", "1", "--from"], "b", &["bob"]);
        check(&["set", "output"], "t", &["table", "text"]);
        check(&["put", "a", "b"], "", &["--expire"]);
        drop(session);
        let mut session = place.session(true);
        let before = ["get".to_owned()];
        assert_eq!(candidates(&mut session, &before, "FF0"), ["ff00"]);
        assert_eq!(
            candidates(&mut session, &before, "61"),
            ["61642062", "616461"]
        );
        assert!(candidates(&mut session, &before, "6g").is_empty());
    }
}
