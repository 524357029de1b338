//! `lightning-db`: gets data into a database and out of it.
//!
//! | module | commands |
//! |---|---|
//! | [`arguments`] | the command line, and its help |
//! | `point` | `get`, `put`, `delete` |
//! | `scan` | `scan`, `count` |
//! | `load`, `dump` | the same names |
//! | `inspect` | `info`, `verify` |
//! | `shell` | `shell`: all of them, one after the other |
//!
//! All of them work on a `store`: a directory, or the database of a running service;
//! `place` finds out which. What reads opens a directory read-only; `put`, `delete`
//! and `load` own it while they run, and `shell` does unless it is to read only.

pub mod arguments;
mod dump;
mod inspect;
mod load;
mod mdb_headers;
mod place;
mod point;
mod scan;
mod shell;
mod store;

use crate::failure::{Exit, Failure};
use crate::formats::{hex, text};
use crate::output;
pub(crate) use crate::output::{print_json, write_out};
use crate::terminal;
use arguments::{Arguments, Command, GlobalOptions};
use clap::{CommandFactory, Parser};
use std::ffi::{OsStr, OsString};
use std::io::Write;
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
        Command::Shell(options) => shell::shell(&context, options),
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
