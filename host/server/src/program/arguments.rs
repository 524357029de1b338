//! The command line of the service, and its help.

use clap::{Parser, Subcommand};
use clap_complete::Shell;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  lightning-admin-server --config /etc/lightning-db/config.toml
  lightning-admin-server --config config.toml --check      is the configuration sound?
  lightning-admin-server --data ./demo --set database.port=7000
  lightning-admin-server                                   defaults, data of this user

Without --config it runs on defaults and LIGHTNING_DB_* variables; the line that it prints
says where the data are. `lightning-cli config reference` prints a page about all settings.

Signals:
  SIGTERM, SIGINT  let clients finish, merge what is in the log, end; a second one ends at once
  SIGHUP           read the configuration again, as `lightning-cli config reload` does

Exit codes:
  0  it ended as it was asked to; or the configuration is sound
  2  it could not start, or failed
  64 the command line is wrong";

/// The Lightning DB service: a database that any Redis client can talk to.
#[derive(Debug, Parser)]
#[command(
    name = "lightning-admin-server",
    version,
    after_help = EXAMPLES,
    max_term_width = 100,
    disable_help_subcommand = true,
    args_conflicts_with_subcommands = true
)]
pub struct Arguments {
    /// The configuration file; without one, the service runs on defaults
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The directory of the data: short for --set database.path=DIR
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// A setting that counts more than file and environment, such as database.port=7000
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = pair)]
    pub settings: Vec<(String, String)>,
    /// Only look whether the configuration is sound, and say what it is
    #[arg(long)]
    pub check: bool,
    /// What to do instead of serving
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do instead of serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print a script that completes this program's command lines
    #[command(after_help = "\
Example:
  lightning-admin-server completions bash > /etc/bash_completion.d/lightning-admin-server")]
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Write the man pages
    #[command(after_help = "\
Example:
  lightning-admin-server man /usr/local/share/man/man1")]
    Man {
        /// The directory that it goes into
        directory: PathBuf,
    },
    /// Print the version
    #[command(after_help = "\
Example:
  lightning-admin-server version")]
    Version,
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
        check(&mut Arguments::command(), "lightning-admin-server");
    }

    #[test]
    fn settings_are_pairs() {
        let parse = |line: &str| Arguments::try_parse_from(line.split(' '));
        let arguments = parse("s --set a.b=c=d --set e=").unwrap();
        let expected = [("a.b", "c=d"), ("e", "")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(arguments.settings, expected);
        assert!(parse("s --set a.b").is_err());
        assert!(matches!(
            parse("s version").unwrap().command,
            Some(Command::Version)
        ));
    }
}
