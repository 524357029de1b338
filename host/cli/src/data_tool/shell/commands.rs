//! The commands of the shell.

use crate::data_tool::arguments::{DeleteOptions, GetOptions, PutOptions, ScanOptions};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::time::Duration;

const WORDS: &str = "\
Words are parted by blanks; one with a blank or a line break stands in quotes, 'so' or \"so\".
Other bytes than text are written \\xHH, or as digits after `set hex on`. `help COMMAND` tells
more. A line that begins with # is left out.";

/// A line of the shell.
#[derive(Debug, Parser)]
#[command(
    name = "",
    no_binary_name = true,
    disable_help_flag = true,
    disable_help_subcommand = true,
    max_term_width = 100,
    after_help = WORDS,
    help_template = "{subcommands}{after-help}"
)]
pub(super) struct Line {
    #[command(subcommand)]
    pub(super) command: ShellCommand,
}

/// A command.
#[derive(Debug, Subcommand)]
pub(super) enum ShellCommand {
    /// Print the value of a key
    #[command(after_help = "")]
    Get(GetOptions),
    /// Store a value
    #[command(after_help = "Example:\n  put session:7 'a value' --expire 15m")]
    Put(PutOptions),
    /// Remove a key
    #[command(after_help = "")]
    Delete(DeleteOptions),
    /// Print entries in the order of their keys
    #[command(after_help = "Example:\n  scan --prefix user: --limit 10")]
    Scan(ScanOptions),
    /// Print how many entries the table has
    Count,
    /// List the tables
    Tables,
    /// Work with another table; it is made when something is put into it
    Use {
        /// Its name
        table: String,
    },
    /// Let an entry expire, or not any more
    #[command(after_help = "Examples:\n  expire session:7 15m\n  expire session:7 never")]
    Expire(ExpireOptions),
    /// Print how long an entry has before it expires
    Ttl {
        /// The key
        key: OsString,
    },
    /// Begin a transaction: what is written from here on is committed together
    Begin,
    /// Make the transaction's writes durable
    Commit,
    /// Forget the transaction's writes
    Rollback,
    /// Print what the database is and holds
    Info,
    /// Read everything and check it
    Verify,
    /// Change how results are printed; without a name, tell how they are
    #[command(after_help = "\
Settings:
  output table|text|json   how entries are printed
  hex on|off               keys and values as digits, typed and printed
  expiry on|off            a column for when entries expire, in tables")]
    Set {
        /// What
        name: Option<SettingName>,
        /// How
        #[arg(requires = "name")]
        value: Option<String>,
    },
    /// List the commands, or tell of one
    Help {
        /// The command
        command: Option<String>,
    },
    /// Leave the shell
    #[command(alias = "quit")]
    Exit,
}

/// Options of `expire`.
#[derive(Debug, Args)]
pub(super) struct ExpireOptions {
    /// The key
    pub(super) key: OsString,
    /// After which time: 90, 500ms, 15m, 24h, 7d; or `never`
    #[arg(value_parser = when)]
    pub(super) after: When,
}

/// When an entry expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    After(Duration),
    Never,
}

fn when(text: &str) -> Result<When, String> {
    if text == "never" {
        return Ok(When::Never);
    }
    crate::duration::parse(text).map(When::After)
}

/// What `set` changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum SettingName {
    Output,
    Hex,
    Expiry,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_commands_are_consistent() {
        Line::command().debug_assert();
        assert_eq!(when("never"), Ok(When::Never));
        assert_eq!(when("2m"), Ok(When::After(Duration::from_secs(120))));
        assert!(when("soon").is_err());
    }
}
