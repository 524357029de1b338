//! The command line of `lightning-db`.

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  lightning-db put --data ./demo user:1 Ada       store a value, creating ./demo
  lightning-db get --data ./demo user:1           print it
  lightning-db scan --data ./demo --prefix user:  print all keys that begin so
  lightning-db load --data ./demo people.jsonl    load JSON Lines
  lightning-db dump --data ./demo > people.jsonl  and get them back
  mdb_dump ./lmdb | lightning-db load --data ./demo --format mdb
                                                  take over a database of LMDB
  lightning-db shell --data ./demo                type commands one after the other
  lightning-db get --port 7379 user:1             ask a running service
  lightning-db dump --url redis://db.example:7379/1 --format csv
                                                  its database 1, as CSV

Where the data are:
  --data names a directory that no other process has open; --url, or --host and --port, a
  running service, which is spoken to as clients of Redis do. Tables of a service are its
  databases: default is 0, db1 is 1. A password comes from --password-file or from
  REDISCLI_AUTH. A service shows no metadata bytes, and what it changes meanwhile may
  stand in what is read from it, or not.

Text:
  Keys and values are bytes. On the command line and in output for people, UTF-8
  stands as it is, and control characters and other bytes as \\xHH; a backslash
  is doubled where it would be read as the start of an escape. --hex reads and
  prints hexadecimal digits instead.

Exit codes:
  0  fine
  1  a finding: the key or table is not there
  2  failed; or verify found damage
  3  the directory or service could not be reached: absent, in use, or not permitted
  64 the command line is wrong";

/// Puts data into a Lightning DB directory or service and gets it out.
#[derive(Debug, Parser)]
#[command(
    name = "lightning-db",
    version,
    after_help = EXAMPLES,
    max_term_width = 100,
    disable_help_subcommand = true
)]
pub struct Arguments {
    /// Options of all commands.
    #[command(flatten)]
    pub global: GlobalOptions,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of all commands; they stand before or after the command.
#[derive(Debug, Clone, Args)]
pub struct GlobalOptions {
    /// The directory of the database
    #[arg(long, value_name = "DIR", global = true)]
    pub data: Option<PathBuf>,
    /// The table [default: default]
    #[arg(long, value_name = "NAME", global = true)]
    pub table: Option<String>,
    /// Read and print keys and values as hexadecimal digits
    #[arg(long, global = true)]
    pub hex: bool,
    /// Print JSON, one value on a line
    #[arg(long, global = true)]
    pub json: bool,
    /// Print no notes and no progress bar
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Where a running service is; last, since what follows would stand under its heading
    #[command(flatten)]
    pub service: ServiceOptions,
}

/// Where a running service is, and how to come in.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "A running service")]
pub struct ServiceOptions {
    /// Its URL.
    #[arg(
        long,
        value_name = "URL",
        global = true,
        conflicts_with_all = ["host", "port"],
        help = "Its URL: redis://[USER@]HOST[:PORT][/N], or rediss:// for TLS"
    )]
    pub url: Option<String>,
    /// Its host [default: 127.0.0.1]
    #[arg(long, value_name = "HOST", global = true)]
    pub host: Option<String>,
    /// Its port [default: 7379]
    #[arg(long, short, value_name = "PORT", global = true)]
    pub port: Option<u16>,
    /// The user to come in as
    #[arg(long, value_name = "NAME", global = true)]
    pub user: Option<String>,
    /// The file whose first line is the password
    #[arg(long, value_name = "FILE", global = true)]
    pub password_file: Option<PathBuf>,
    /// Speak TLS
    #[arg(long, global = true)]
    pub tls: bool,
    /// The certificates that may have signed the service's, as PEM; means --tls, too
    #[arg(long, value_name = "FILE", global = true)]
    pub cacert: Option<PathBuf>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print the value of a key
    Get(GetOptions),
    /// Store a value
    Put(PutOptions),
    /// Remove a key
    Delete(DeleteOptions),
    /// Print entries in the order of their keys
    Scan(ScanOptions),
    /// Print how many entries the table has
    ///
    /// Exact. Entries that expired and were not removed yet are counted, too.
    ///
    /// With --json: {"table":"default","entries":42}
    #[command(after_help = "\
Example:
  lightning-db count --data ./demo --table users")]
    Count,
    /// Load entries from a file
    Load(LoadOptions),
    /// Write all entries to a file
    Dump(DumpOptions),
    /// Print what the database is and holds
    ///
    /// With --json: of a directory {"path":…,"page_bytes":…,"key_bytes_max":…,"value_bytes_max":…,
    /// "file_bytes":…,"used_bytes":…,"last_commit":…,
    /// "tables":[{"name":…,"entries":…}]}; of a service {"url":…,"version":…,"process":…,
    /// "uptime_seconds":…,"tables":[…]}
    #[command(
        verbatim_doc_comment,
        after_help = "\
Examples:
  lightning-db info --data ./demo
  lightning-db info --port 7379 --json"
    )]
    Info,
    /// Read everything and check it
    ///
    /// Reads every page and the log of a directory, and changes nothing. A running service
    /// does the same for `lightning-cli verify integrity`. Exits 2 and names file, place
    /// and reason where something is damaged, and 1 where space is lost but no data.
    ///
    /// With --json: {"path":…,"sound":true,"tables":…,"entries":…,"pages":…,
    /// "large_values":…,"leaked_units":…}, or {"path":…,"sound":false,"code":…,"error":…}
    #[command(
        verbatim_doc_comment,
        after_help = "\
Example:
  lightning-db verify --data ./demo"
    )]
    Verify,
    /// Type commands one after the other
    Shell(ShellOptions),
    /// Print a script that completes this program's command lines
    #[command(after_help = "\
Example:
  lightning-db completions bash > /etc/bash_completion.d/lightning-db")]
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Write man pages, one for the program and one for each command
    #[command(after_help = "\
Example:
  lightning-db man /usr/local/share/man/man1")]
    Man {
        /// The directory that they go into
        directory: PathBuf,
    },
    /// Print the version
    #[command(after_help = "\
Example:
  lightning-db version")]
    Version,
}

/// Options of `get`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lightning-db get --data ./demo user:1
  lightning-db get --data ./demo --raw picture > picture.png

With --json: {\"key\":…,\"value\":…}, with \"expiry_ms\" and \"metadata\" where the entry has
them; \"key_hex\" and \"value_hex\" where they are not UTF-8.")]
pub struct GetOptions {
    /// The key
    pub key: OsString,
    /// Print the value's bytes and nothing else, not even a newline
    #[arg(long)]
    pub raw: bool,
}

/// Options of `put`.
#[derive(Debug, Args)]
#[command(after_help = "\
Makes directory and table where there are none, and returns when the value is durable.

Examples:
  lightning-db put --data ./demo user:1 Ada
  lightning-db put --data ./demo --hex 00ff 68656c6c6f
  lightning-db put --data ./demo session:7 abc --expire 15m")]
pub struct PutOptions {
    /// The key
    pub key: OsString,
    /// The value
    #[arg(allow_negative_numbers = true)]
    pub value: OsString,
    /// Let the entry expire after this time: 90, 500ms, 15m, 24h, 7d
    #[arg(long, value_name = "DURATION", value_parser = crate::duration::parse)]
    pub expire: Option<Duration>,
}

/// Options of `delete`.
#[derive(Debug, Args)]
#[command(after_help = "\
Exits 1 where the key was not there.

Example:
  lightning-db delete --data ./demo user:1")]
pub struct DeleteOptions {
    /// The key
    pub key: OsString,
}

/// Options of `scan`.
#[derive(Debug, Args)]
#[command(after_help = "\
Prints key, tab and value on each line. On a service, --from begins to read where the keys
begin that look alike in both bounds, and --reverse collects the keys first.

Examples:
  lightning-db scan --data ./demo --prefix user: --limit 10
  lightning-db scan --data ./demo --from b --to c --reverse

With --json, each line is as of `dump --format jsonl`.")]
pub struct ScanOptions {
    /// Begin at this key
    #[arg(long, value_name = "KEY")]
    pub from: Option<OsString>,
    /// End before this key
    #[arg(long, value_name = "KEY")]
    pub to: Option<OsString>,
    /// Only keys that begin with this
    #[arg(long, value_name = "KEY", conflicts_with_all = ["from", "to"])]
    pub prefix: Option<OsString>,
    /// Print so many entries at most
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// From the last to the first
    #[arg(long)]
    pub reverse: bool,
}

/// What entries look like in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// JSON Lines: one object on each line
    Jsonl,
    /// Rows of fields with commas between, the columns' names in the first
    Csv,
    /// What LMDB's `mdb_dump` writes and `mdb_load` reads
    Mdb,
}

/// Options of `load`.
#[derive(Debug, Args)]
#[command(after_help = "\
Makes directory and tables where there are none; an entry replaces the one of the same key.

JSON Lines have an entry on each line: {\"key\":…,\"value\":…}, and where it is wanted
\"expiry_ms\" (milliseconds since 1970) and \"metadata\" (0 to 255). What is not UTF-8 stands
as \"key_hex\" or \"value_hex\".

CSV has the names of its columns in the first row: key, value, and where they are wanted
expiry_ms and metadata. Keys and values are text as on the command line, with \\xHH for what
is not UTF-8; with --hex, or in columns called key_hex and value_hex, they are digits.

In the mdb form a database of a name goes into the table of that name, unless --table says
otherwise. Its header is kept, so that `dump --format mdb` gives it back.

Examples:
  lightning-db load --data ./demo people.jsonl
  lightning-db load --data ./demo people.csv --format csv
  mdb_dump -a ./lmdb | lightning-db load --data ./demo --format mdb
  lightning-db load --data ./demo --ack big.jsonl   prints what is durable
  lightning-db load --data ./demo --skip 120000 big.jsonl
                                                    and goes on from there")]
pub struct LoadOptions {
    /// The file; standard input where it is absent or `-`
    pub file: Option<PathBuf>,
    /// The form of the file
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    pub format: Format,
    /// Records of one durable commit, at most
    #[arg(long, value_name = "N", default_value_t = 1000,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub batch: u64,
    /// After each commit, print how many records of the input are durable
    #[arg(long)]
    pub ack: bool,
    /// Leave out so many records at the beginning
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub skip: u64,
}

/// Options of `dump`.
#[derive(Debug, Args)]
#[command(after_help = "\
The mdb form has no place for expiry times and metadata; a note tells where some were left out.
A table that came from LMDB gets its header back; another one a map of twice its size.

Examples:
  lightning-db dump --data ./demo people.jsonl
  lightning-db dump --data ./demo --format csv > people.csv
  lightning-db dump --data ./demo --format mdb | mdb_load ./lmdb")]
pub struct DumpOptions {
    /// The file, which is complete when it has this name; standard output where
    /// it is absent or `-`
    pub file: Option<PathBuf>,
    /// The form of the file
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    pub format: Format,
    /// All tables, one after the other (mdb only)
    #[arg(long, conflicts_with = "table")]
    pub all_tables: bool,
}

/// Options of `shell`.
#[derive(Debug, Args)]
#[command(after_help = "\
Commands are those of this program and a few more; `help` lists them. On a terminal, lines
are edited and kept in a history file (those that begin with a blank are not), the tab key
completes commands, tables and keys, and entries are printed as tables. Elsewhere commands
are read line by line, entries are printed as by `scan`, and the first command that fails
ends it all: the exit code is that command's, or 1 where something was not there.

A directory is this process's alone as long as the shell runs, unless --read-only is given.

Examples:
  lightning-db shell --data ./demo
  lightning-db shell --port 7379
  printf 'put a 1\\nput b 2\\nscan\\n' | lightning-db shell --data ./demo --json")]
pub struct ShellOptions {
    /// Change nothing: others may read the directory, too
    #[arg(long)]
    pub read_only: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    /// Each help has an example of the command, which the program's name begins.
    #[test]
    fn every_help_has_an_example() {
        fn check(command: &mut clap::Command, path: &str) {
            let help = command.render_long_help().to_string();
            let example = format!("  {path}");
            assert!(
                help.contains("Example") && help.lines().any(|line| line.starts_with(&example)),
                "{path}: {help}"
            );
            for part in command.get_subcommands_mut() {
                let path = format!("{path} {}", part.get_name());
                check(part, &path);
            }
        }
        check(&mut Arguments::command(), "lightning-db");
    }

    #[test]
    fn global_options_stand_anywhere() {
        for line in [
            "lightning-db --data d --table t get k",
            "lightning-db get k --data d --table t",
            "lightning-db --table t get --data d k",
        ] {
            let arguments = Arguments::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(arguments.global.table.as_deref(), Some("t"));
            assert_eq!(arguments.global.data, Some(PathBuf::from("d")));
        }
    }
}
