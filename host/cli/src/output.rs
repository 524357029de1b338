//! Standard output, and how a program ends.

use crate::failure::{Exit, Failure};
use crate::terminal;
use clap::error::ErrorKind;
use std::io::{self, BufWriter, StdoutLock, Write};
use std::process::ExitCode;

/// Prints help, a version, or what is wrong with the command line.
pub(crate) fn print_parse_error(error: &clap::Error) -> ExitCode {
    // Where even that can't be printed, the exit code still tells.
    let _printed = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::Fine.into(),
        _ => Exit::Usage.into(),
    }
}

/// Prints why `program` failed.
pub(crate) fn print_failure(program: &str, failure: &Failure) -> ExitCode {
    if let Some(message) = &failure.message {
        terminal::print_error(program, message);
        if failure.exit == Exit::Usage {
            anstream::eprintln!("Try `{program} --help`.");
        }
    }
    failure.exit.into()
}

/// Writes to standard output, all of it or a failure.
pub(crate) fn write_out(
    write: impl FnOnce(&mut BufWriter<StdoutLock<'static>>) -> io::Result<()>,
) -> Result<Exit, Failure> {
    let mut out = BufWriter::new(io::stdout().lock());
    write(&mut out)
        .and_then(|()| out.flush())
        .map_err(|error| Failure::output(&error))?;
    Ok(Exit::Fine)
}

/// A number of things, in words: `1 table`, `2 tables`.
pub(crate) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// Prints a JSON value on a line.
pub(crate) fn print_json(value: &impl serde::Serialize) -> Result<Exit, Failure> {
    let mut line = serde_json::to_string(value)
        .map_err(|error| Failure::new(Exit::Failed, format!("the answer is no JSON: {error}")))?;
    line.push('\n');
    write_out(|out| out.write_all(line.as_bytes()))
}
