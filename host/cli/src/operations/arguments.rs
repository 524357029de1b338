//! The command line of `lightning-cli`.

use crate::duration;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use std::path::PathBuf;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  lightning-cli config show                         every setting, and where it comes from
  lightning-cli config set cache_size_mb 2048       change one in the file
  lightning-cli config check ./config.toml          would the service start with this file?
  lightning-cli config reload                       have the service read its file again
  lightning-cli config show --running --data ./demo what the service that has ./demo runs with
  lightning-cli health && lightning-cli stats performance
  lightning-cli verify integrity --data ./demo      read and check every page

What it works on:
  --config names the configuration file, --data the directory of the data, --socket
  the admin socket of the service. Without them, the file is /etc/lightning-db/config.toml
  if there is one, the data where the file, LIGHTNING_DB_PATH or else the default place
  of this user says, and the socket is admin.sock in the data. A note says which was used.

Exit codes:
  0  fine
  1  a finding: a warning, or a change that needs a restart
  2  failed; or the configuration is wrong
  3  the file or the service could not be reached
  64 the command line is wrong";

/// Operates Lightning DB.
#[derive(Debug, Parser)]
#[command(
    name = "lightning-cli",
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
#[derive(Debug, Args)]
pub struct GlobalOptions {
    /// The configuration file
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// The directory of the data
    #[arg(long, value_name = "DIR", global = true)]
    pub data: Option<PathBuf>,
    /// The admin socket of the service
    #[arg(long, value_name = "PATH", global = true)]
    pub socket: Option<PathBuf>,
    /// Print JSON, one value on a line
    #[arg(long, global = true)]
    pub json: bool,
    /// Print no notes
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show, check and change the configuration
    #[command(
        subcommand,
        after_help = "\
Examples:
  lightning-cli config show --origin                what is written anywhere
  lightning-cli config set cache_size_mb 2048 && lightning-cli config reload"
    )]
    Config(ConfigCommand),
    /// Say how well the service is
    Health(HealthOptions),
    /// Print figures of the service
    Stats(StatsOptions),
    /// Check stored data
    #[command(
        subcommand,
        after_help = "\
Example:
  lightning-cli verify integrity"
    )]
    Verify(VerifyCommand),
    /// Say what this machine has for the database
    #[command(
        subcommand,
        after_help = "\
Example:
  lightning-cli system cpu-features"
    )]
    System(SystemCommand),
    /// Print a script that completes this program's command lines
    #[command(after_help = "\
Example:
  lightning-cli completions bash > /etc/bash_completion.d/lightning-cli")]
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Write man pages, one for the program and one for each command
    #[command(after_help = "\
Example:
  lightning-cli man /usr/local/share/man/man1")]
    Man {
        /// The directory that they go into
        directory: PathBuf,
    },
    /// Print the version
    ///
    /// With --json: {"program":"lightning-cli","version":…}
    #[command(after_help = "\
Example:
  lightning-cli version --json")]
    Version,
}

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
#[command(disable_help_subcommand = true)]
pub enum ConfigCommand {
    /// Print settings and where each comes from
    Show(ShowOptions),
    /// Change a setting in the file
    Set(SetOptions),
    /// Say whether the service would start with a file
    Check(CheckOptions),
    /// Have the running service read its configuration again
    #[command(after_help = "\
The service applies what can be applied, and this lists it, and what needs a restart. Where
the configuration is wrong, it says so and stays as it is. The service reads the file that
it was started with.

Exits 1 where something needs a restart, or something is odd.

Example:
  lightning-cli config reload --config /etc/lightning-db/config.toml

With --json: {\"file\":…,\"applied\":[{\"key\":…,\"before\":…,\"after\":…}],
\"needs_restart\":[…],\"creation_only\":[…],\"warnings\":[…]}")]
    Reload,
    /// Print the page about all settings, as Markdown
    ///
    /// For each: what it does and costs, what it takes, its default, when a change
    /// counts, where it may stand, and its variables.
    #[command(after_help = "\
Example:
  lightning-cli config reference | less")]
    Reference,
}

/// Options of `config show`.
#[derive(Debug, Args)]
#[command(after_help = "\
Values are as they stand in a file; where nothing is given, \"\". What is shown is what a
service would start with that is given this file and this environment; --running asks the
service what it does run with.

Examples:
  lightning-cli config show
  lightning-cli config show cache_size_mb logging.level
  lightning-cli config show --origin                  only what is not by default
  lightning-cli config show --origin file --json

With --json: {\"file\":…,\"settings\":[{\"key\":…,\"value\":…,\"origin\":…,\"source\":…,
\"effect\":\"reload|restart|creation\"}],\"warnings\":[…]}; source is one of the kinds of
--origin.")]
pub struct ShowOptions {
    /// Only these: `section.name`, or `name` where that is clear
    #[arg(value_name = "KEY")]
    pub keys: Vec<String>,
    /// Only settings from there; without KIND all but the defaults
    #[arg(
        long,
        value_enum,
        value_name = "KIND",
        num_args = 0..=1,
        require_equals = false,
        default_missing_value = "written"
    )]
    pub origin: Option<OriginKind>,
    /// What the running service has
    #[arg(long, conflicts_with = "overrides")]
    pub running: bool,
    /// As if the service were given this on its command line
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = pair)]
    pub overrides: Vec<(String, String)>,
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OriginKind {
    /// All but the defaults
    Written,
    /// Written nowhere
    Default,
    /// The file
    File,
    /// A variable
    Environment,
    /// The command line
    CommandLine,
    /// A client of the running service
    Client,
}

/// Options of `config set`.
#[derive(Debug, Args)]
#[command(after_help = "\
Comments, order and blanks of the file stay. The setting is changed where it stands, or added
to its section. Nothing is written unless the new file is fine. Says whether the change
counts after a reload or a restart.

Examples:
  lightning-cli config set cache_size_mb 2048
  lightning-cli config set logging.level debug && lightning-cli config reload
  lightning-cli config set logging.file \"\"            to have none

With --json: {\"file\":…,\"key\":…,\"lines\":[…],\"before\":…,\"after\":…,
\"effect\":\"reload|restart|creation\",\"overridden_by\":…}")]
pub struct SetOptions {
    /// The setting: `section.name`, or `name` where that is clear
    pub key: String,
    /// The value
    #[arg(allow_negative_numbers = true)]
    pub value: String,
}

/// Options of `config check`.
#[derive(Debug, Args)]
#[command(after_help = "\
Looks at the file alone, without variables, and tells everything that is wrong.

Examples:
  lightning-cli config check
  lightning-cli config check ./config.toml && cp ./config.toml /etc/lightning-db/

With --json: {\"file\":…,\"sound\":true,\"settings\":…}, or {\"file\":…,\"sound\":false,
\"problems\":[{\"message\":…,\"line\":…}]}")]
pub struct CheckOptions {
    /// The file, as if it were given by --config
    #[arg(value_name = "FILE", conflicts_with = "config")]
    pub file: Option<PathBuf>,
}

/// Options of `health`.
#[derive(Debug, Args)]
#[command(after_help = "\
Exits 0 where the service is healthy, 1 with a warning, 2 where something is critical, and 3
where it can't be reached or doesn't answer in time.

Examples:
  lightning-cli health
  lightning-cli health --tests memory,disk,performance
  lightning-cli health --comprehensive --timeout 2m
  lightning-cli health --timeout 5 || echo \"unwell or unresponsive\"

With --json: {\"status\":\"healthy|warning|critical\",\"details\":{CHECK:{\"status\":…,
\"message\":…,\"remedy\":…}}}; with --detailed \"figures\" in each, and \"service\".")]
pub struct HealthOptions {
    /// Tell the figures that were looked at, too
    #[arg(long)]
    pub detailed: bool,
    /// Only these checks: connections, data, disk, memory, performance, snapshots,
    /// transactions, writes
    #[arg(long, value_name = "CHECK", value_delimiter = ',')]
    pub tests: Vec<String>,
    /// Read and check a sample of the stored data, too
    #[arg(long)]
    pub verify_data: bool,
    /// The same as --detailed --verify-data
    #[arg(long)]
    pub comprehensive: bool,
    /// How long to wait for an answer: 5, 500ms, 2m
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub timeout: Option<Duration>,
}

/// Options of `stats`.
#[derive(Debug, Args)]
#[command(after_help = "\
Subjects: performance, memory, disk, cpu, errors, connections, transactions, cache, lsm,
limits. Rates and durations are those of the last five minutes, or since the start.

Exits 1 where something is worth a look, and says what.

Examples:
  lightning-cli stats performance
  lightning-cli stats memory --detailed
  lightning-cli stats performance --watch 5
  size_gb=$(lightning-cli stats disk --unit gb)

With --json: {\"subject\":…,\"figures\":{NAME:NUMBER,…},\"findings\":[…]}; names end in what
they count: _bytes, _seconds, _ratio, _per_second.")]
pub struct StatsOptions {
    /// What about
    pub subject: String,
    /// All figures
    #[arg(long)]
    pub detailed: bool,
    /// Print them again and again, each so many seconds
    #[arg(
        long,
        value_name = "SECONDS",
        num_args = 0..=1,
        default_missing_value = "2",
        value_parser = duration::parse
    )]
    pub watch: Option<Duration>,
    /// Print the first size alone, as a whole number of this unit, rounded up
    #[arg(long, value_enum, value_name = "UNIT", conflicts_with_all = ["watch", "json"])]
    pub unit: Option<SizeUnit>,
}

/// Units of sizes, each 1024 times the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SizeUnit {
    /// Bytes
    B,
    /// Kibibytes
    Kb,
    /// Mebibytes
    Mb,
    /// Gibibytes
    Gb,
    /// Tebibytes
    Tb,
}

/// What to check.
#[derive(Debug, Subcommand)]
#[command(disable_help_subcommand = true)]
pub enum VerifyCommand {
    /// Read and check stored data
    Integrity(IntegrityOptions),
}

/// Options of `verify integrity`.
#[derive(Debug, Args)]
#[command(after_help = "\
The running service does it, while it goes on; where none runs, the directory of the data is
read by this program. Nothing is changed.

Exits 0 where all is sound, 1 where space is lost but no data, 2 where something is damaged.

Examples:
  lightning-cli verify integrity
  lightning-cli verify integrity --quick
  lightning-cli verify integrity --full --data /var/lib/lightning-db/data

With --json: {\"data\":…,\"depth\":\"full|quick\",\"sound\":…,\"tables\":…,\"entries\":…,
\"pages\":…,\"leaked_units\":…}, and \"damage\" where there is some.")]
pub struct IntegrityOptions {
    /// Every page, and every entry counted; the default
    #[arg(long)]
    pub full: bool,
    /// A sample of entries from all over each table
    #[arg(long, conflicts_with = "full")]
    pub quick: bool,
}

/// What this machine has.
#[derive(Debug, Subcommand)]
#[command(disable_help_subcommand = true)]
pub enum SystemCommand {
    /// Print what the processor can do that the database has a use for
    #[command(after_help = "\
Example:
  lightning-cli system cpu-features

With --json: {\"architecture\":…,\"processors\":…,\"features\":{NAME:true|false}}")]
    CpuFeatures,
}

/// Reads `KEY=VALUE`.
fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) => Ok((key.trim().to_owned(), value.to_owned())),
        None => Err("write KEY=VALUE".to_owned()),
    }
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
        check(&mut Arguments::command(), "lightning-cli");
    }

    #[test]
    fn global_options_stand_anywhere() {
        for line in [
            "lightning-cli --config f config show --json",
            "lightning-cli config show --config f --json",
            "lightning-cli --json config --config f show",
        ] {
            let arguments = Arguments::try_parse_from(line.split(' ')).unwrap();
            assert!(arguments.global.json);
            assert_eq!(arguments.global.config, Some(PathBuf::from("f")));
        }
    }
}
