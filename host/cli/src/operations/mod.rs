//! `lightning-cli`: operates the service and its data.
//!
//! | module | commands |
//! |---|---|
//! | [`arguments`] | the command line, and its help |
//! | `target` | which file, data and socket are meant |
//! | `config` | `config …` |
//! | `health` | `health` |
//! | `stats` | `stats …` |
//! | `verify` | `verify …` |
//! | `system` | `system …` |

pub mod arguments;
mod config;
mod health;
mod stats;
mod system;
mod target;
mod verify;

use crate::failure::{Exit, Failure};
use crate::output::{self, print_json, write_out};
use arguments::{Arguments, Command};
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use target::Target;

/// The program's name, in messages.
pub(crate) const PROGRAM: &str = "lightning-cli";

/// Runs the program with `arguments`, its own name first.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let given: Vec<OsString> = arguments.into_iter().collect();
    let ended = match Arguments::try_parse_from(&given) {
        Ok(arguments) => run(&arguments),
        // The parser stops at --version, wherever --json stands.
        Err(error)
            if error.kind() == ErrorKind::DisplayVersion
                && given.iter().any(|argument| argument == "--json") =>
        {
            print_version(true)
        }
        Err(error) => return output::print_parse_error(&error),
    };
    match ended {
        Ok(exit) => exit.into(),
        Err(failure) => output::print_failure(PROGRAM, &failure),
    }
}

fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    match &arguments.command {
        Command::Config(command) => config::run(&Target::new(&arguments.global), command),
        Command::Health(options) => health::run(&Target::new(&arguments.global), options),
        Command::Stats(options) => stats::run(&Target::new(&arguments.global), options),
        Command::Verify(command) => verify::run(&Target::new(&arguments.global), command),
        Command::System(command) => system::run(&Target::new(&arguments.global), command),
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
        Command::Version => print_version(arguments.global.json),
    }
}

fn print_version(json: bool) -> Result<Exit, Failure> {
    let version = env!("CARGO_PKG_VERSION");
    if json {
        return print_json(&serde_json::json!({"program": PROGRAM, "version": version}));
    }
    write_out(|out| writeln!(out, "{PROGRAM} {version}"))
}
