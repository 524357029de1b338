//! `lightning-db`: gets data into a database directory and out of it.
//!
//! | module | commands |
//! |---|---|
//! | [`arguments`] | the command line, and its help |
//! | `point` | `get`, `put`, `delete` |
//! | `scan` | `scan`, `count` |
//! | `load`, `dump` | the same names |
//! | `inspect` | `info`, `verify` |
//!
//! What reads opens the directory read-only; `put`, `delete` and `load` own it
//! while they run.

pub mod arguments;
mod dump;
mod inspect;
mod load;
mod mdb_headers;
mod point;
mod scan;

use crate::failure::{Exit, Failure};
use crate::formats::{hex, text};
use crate::output;
pub(crate) use crate::output::{print_json, write_out};
use crate::terminal;
use arguments::{Arguments, Command, GlobalOptions};
use clap::{CommandFactory, Parser};
use lightning_db::{Database, Table};
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// The program's name, in messages.
pub(crate) const PROGRAM: &str = "lightning-db";
/// The table that is meant where none is named.
pub(crate) const DEFAULT_TABLE: &str = "default";

/// Runs the program with `arguments`, its own name first.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => return output::print_parse_error(&error),
    };
    match run(&arguments) {
        Ok(exit) => exit.into(),
        Err(failure) => output::print_failure(PROGRAM, &failure),
    }
}

fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let context = Context {
        global: &arguments.global,
    };
    match &arguments.command {
        Command::Get(options) => point::get(&context, options),
        Command::Put(options) => point::put(&context, options),
        Command::Delete(options) => point::delete(&context, options),
        Command::Scan(options) => scan::scan(&context, options),
        Command::Count => scan::count(&context),
        Command::Load(options) => load::load(&context, options),
        Command::Dump(options) => dump::dump(&context, options),
        Command::Info => inspect::info(&context),
        Command::Verify => inspect::verify(&context),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Arguments::command(), PROGRAM, &mut script);
            write_out(|out| out.write_all(&script))
        }
        Command::Man { directory } => {
            clap_mangen::generate_to(Arguments::command(), directory)
                .map_err(|error| Failure::file(directory, &error))?;
            Ok(Exit::Fine)
        }
        Command::Version => {
            let version = Arguments::command().render_version();
            write_out(|out| out.write_all(version.as_bytes()))
        }
    }
}

/// The global options, and what all commands do with them.
pub(crate) struct Context<'a> {
    pub(crate) global: &'a GlobalOptions,
}

impl Context<'_> {
    /// The data directory.
    pub(crate) fn directory(&self) -> Result<&Path, Failure> {
        self.global
            .data
            .as_deref()
            .ok_or_else(|| Failure::usage("--data DIR is missing: the directory of the database"))
    }

    /// Opens the database without changing anything.
    pub(crate) fn open_read_only(&self) -> Result<Database, Failure> {
        Ok(Database::open_read_only(self.directory()?)?)
    }

    /// Opens the database for writing; it has to be there.
    pub(crate) fn open_existing(&self) -> Result<Database, Failure> {
        Ok(Database::builder().create(false).open(self.directory()?)?)
    }

    /// Opens the database, and makes it where there is none.
    pub(crate) fn open_or_create(&self) -> Result<Database, Failure> {
        let directory = self.directory()?;
        let is_new = !directory.exists();
        let database = Database::open(directory)?;
        if is_new {
            self.note(&format_args!("created {}", directory.display()));
        }
        Ok(database)
    }

    /// The table's name.
    pub(crate) fn table_name(&self) -> &str {
        self.global.table.as_deref().unwrap_or(DEFAULT_TABLE)
    }

    /// The table, which has to be there.
    pub(crate) fn existing_table(&self, database: &Database) -> Result<Table, Failure> {
        let name = self.table_name();
        if let Some(table) = database.existing_table(name)? {
            return Ok(table);
        }
        let tables = database.tables()?;
        let names: Vec<String> = tables
            .iter()
            .map(|table| format!("\"{}\"", text::escape(table.name().as_bytes())))
            .collect();
        let there = if names.is_empty() {
            "there is none yet".to_owned()
        } else {
            format!("there are {}", names.join(", "))
        };
        Err(Failure::new(
            Exit::Finding,
            format!(
                "{}: no table \"{}\"; {there}",
                database.path().display(),
                text::escape(name.as_bytes())
            ),
        ))
    }

    /// The bytes of a key or value of the command line.
    pub(crate) fn bytes_of(&self, name: &str, given: &OsStr) -> Result<Vec<u8>, Failure> {
        let given = given.as_encoded_bytes();
        if self.global.hex {
            hex::decode(given).map_err(|reason| Failure::usage(format!("{name}: {reason}")))
        } else {
            Ok(text::unescape(given))
        }
    }

    /// A key or value as it is printed for people.
    pub(crate) fn text_of(&self, bytes: &[u8]) -> String {
        if self.global.hex {
            hex::encode(bytes)
        } else {
            text::escape(bytes)
        }
    }

    /// Tells something worth knowing, unless it is not wanted.
    pub(crate) fn note(&self, message: &dyn std::fmt::Display) {
        if !self.global.quiet {
            terminal::print_note(PROGRAM, message);
        }
    }
}

/// A text or, where the bytes are none, their digits under `NAME_hex`.
pub(crate) fn json_member(
    object: &mut serde_json::Map<String, serde_json::Value>,
    name: &str,
    bytes: &[u8],
) {
    match std::str::from_utf8(bytes) {
        Ok(text) => object.insert(name.to_owned(), text.into()),
        Err(_) => object.insert(format!("{name}_hex"), hex::encode(bytes).into()),
    };
}
