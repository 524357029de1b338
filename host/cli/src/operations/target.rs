//! What a command works on: a configuration file, a data directory, a service.
//!
//! Each is the one that the command line names, or else follows from the default
//! places; a note says which it is.

use super::PROGRAM;
use super::arguments::GlobalOptions;
use crate::failure::{Exit, Failure};
use crate::terminal;
use lightning_ops::admin::{AdminError, Client};
use lightning_ops::configuration::{Configuration, ConfigurationErrors, Loaded, Sources, places};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long the service may take for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// What a command works on.
pub(crate) struct Target<'a> {
    pub(crate) global: &'a GlobalOptions,
}

/// What a command reached.
pub(crate) enum Reached {
    /// The running service.
    Service(Client),
    /// The directory of data that no service has.
    Data(PathBuf),
}

impl<'a> Target<'a> {
    pub(crate) fn new(global: &'a GlobalOptions) -> Self {
        Self { global }
    }

    /// Tells something worth knowing, unless it is not wanted.
    pub(crate) fn note(&self, message: &dyn fmt::Display) {
        if !self.global.quiet {
            terminal::print_note(PROGRAM, message);
        }
    }

    /// The configuration file, if there is one to look at.
    fn file(&self) -> Option<PathBuf> {
        places::file_or_default(self.global.config.clone())
    }

    /// The configuration file, which has to be there.
    pub(crate) fn existing_file(&self) -> Result<PathBuf, Failure> {
        self.file().ok_or_else(|| {
            Failure::new(
                Exit::Unreachable,
                format!(
                    "there is no configuration file: {} doesn't exist; name one by --config FILE",
                    places::DEFAULT_FILE
                ),
            )
        })
    }

    /// The file, the environment, and what the command line says.
    pub(crate) fn sources(&self) -> Sources {
        let mut sources = Sources::of_process(self.file());
        for (key, given) in [
            ("database.path", &self.global.data),
            ("admin.socket", &self.global.socket),
        ] {
            if let Some(path) = given {
                let text = path.to_string_lossy().into_owned();
                sources.command_line.push((key.to_owned(), text));
            }
        }
        sources
    }

    /// The configuration of a service with these sources.
    pub(crate) fn load(&self, sources: &Sources) -> Result<Loaded, Failure> {
        let loaded =
            Configuration::load(sources).map_err(|errors| configuration_failure(&errors))?;
        match (&sources.file, &self.global.config) {
            (Some(_), Some(_)) => {}
            (Some(file), None) => self.note(&format_args!("uses {}", file.display())),
            (None, _) => self.note(&format_args!(
                "uses no file: {} doesn't exist, and --config names none",
                places::DEFAULT_FILE
            )),
        }
        Ok(loaded)
    }

    /// Connects to the service.
    pub(crate) fn connect(&self) -> Result<Client, Failure> {
        self.connect_within(ANSWER_TIMEOUT)
    }

    /// Connects to the service, each answer of which may take `timeout`.
    pub(crate) fn connect_within(&self, timeout: Duration) -> Result<Client, Failure> {
        let socket = self.socket()?;
        if self.global.socket.is_none() {
            self.note(&format_args!("asks the service at {}", socket.display()));
        }
        Client::connect(&socket, timeout).map_err(|error| admin_failure(&error))
    }

    /// Connects to the service, or answers with the directory of the data where none
    /// runs and none was named by its socket.
    pub(crate) fn connect_or_data(&self, timeout: Duration) -> Result<Reached, Failure> {
        let socket = self.socket()?;
        let unreached = match Client::connect(&socket, timeout) {
            Ok(client) => {
                if self.global.socket.is_none() {
                    self.note(&format_args!("asks the service at {}", socket.display()));
                }
                return Ok(Reached::Service(client));
            }
            Err(error) => error,
        };
        if self.global.socket.is_some() {
            return Err(admin_failure(&unreached));
        }
        let data = match (&self.global.data, &self.global.config) {
            (Some(data), None) => data.clone(),
            _ => self.load(&self.sources())?.configuration.database.path,
        };
        self.note(&format_args!(
            "no service answers at {}: reads {}",
            socket.display(),
            data.display()
        ));
        Ok(Reached::Data(data))
    }

    fn socket(&self) -> Result<PathBuf, Failure> {
        match (&self.global.socket, &self.global.data) {
            (Some(socket), _) => Ok(socket.clone()),
            // Whatever a file says of the service of other data.
            (None, Some(data)) if self.global.config.is_none() => Ok(places::socket_in(data)),
            _ => Ok(self.load(&self.sources())?.configuration.admin.socket),
        }
    }
}

/// A failure of the admin socket.
pub(crate) fn admin_failure(error: &AdminError) -> Failure {
    let exit = match error.exit() {
        0 | 1 => Exit::Finding,
        3 => Exit::Unreachable,
        64 => Exit::Usage,
        _ => Exit::Failed,
    };
    Failure::new(exit, error.to_string())
}

/// A failure of the configuration: all that is wrong, a line each.
pub(crate) fn configuration_failure(errors: &ConfigurationErrors) -> Failure {
    let exit = if errors.is_unreadable() {
        Exit::Unreachable
    } else {
        Exit::Failed
    };
    let message = match errors.problems() {
        [problem] => problem.to_string(),
        problems => {
            let lines: Vec<String> = problems
                .iter()
                .map(|problem| format!("\n  {problem}"))
                .collect();
            format!(
                "the configuration has {} mistakes:{}",
                problems.len(),
                lines.concat()
            )
        }
    };
    Failure::new(exit, message)
}

/// A path for people and for JSON.
pub(crate) fn shown(path: &Path) -> String {
    path.display().to_string()
}
