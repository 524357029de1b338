//! Requests and answers of the admin protocol.

use crate::configuration::{Change, Difference, Effect, Loaded, Value};
use serde::{Deserialize, Serialize};

/// The longest request, its newline included.
pub const REQUEST_BYTES_MAX: usize = 1 << 20;
/// The longest answer, its newline included.
pub const ANSWER_BYTES_MAX: usize = 64 << 20;

/// What a tool asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Request {
    /// Which service this is: [`VersionView`].
    Version,
    /// What settings it runs with: [`ConfigurationView`].
    ConfigShow,
    /// To read the configuration again and apply what can be: [`ReloadReport`].
    ConfigReload,
    /// How well it is: [`HealthView`](super::HealthView).
    Health {
        /// The checks to run; none for all but that of the data.
        #[serde(default)]
        tests: Vec<String>,
        /// To run the check of the data, too.
        #[serde(default)]
        verify_data: bool,
        /// To tell the figures, and which service it is.
        #[serde(default)]
        detailed: bool,
    },
    /// Figures of a subject: [`StatisticsView`](super::StatisticsView).
    Stats {
        /// The subject.
        subject: String,
    },
    /// To check the stored data: [`VerifyView`](super::VerifyView).
    VerifyIntegrity {
        /// How much of them.
        #[serde(default)]
        depth: super::VerifyDepth,
    },
}

impl Request {
    /// Reads the line of a request.
    ///
    /// # Errors
    /// It is none: what to answer.
    pub fn of_line(line: &str) -> Result<Self, ErrorAnswer> {
        serde_json::from_str(line).map_err(|error| {
            let value: Option<serde_json::Value> = serde_json::from_str(line).ok();
            let command = value
                .as_ref()
                .and_then(|value| value.get("command")?.as_str());
            ErrorAnswer {
                message: match command {
                    Some(command) => format!(
                        "the service can't follow the command {command:?}: {error}; is it of \
                         another version than the tool?"
                    ),
                    None => format!("this is no request: {error}"),
                },
                exit: 64,
            }
        })
    }

    /// The line of this request, with its newline.
    #[must_use]
    pub fn to_line(&self) -> String {
        line_of(self)
    }
}

/// What the service answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// It was done; the value is the command's.
    Ok(serde_json::Value),
    /// It was not done.
    Error(ErrorAnswer),
}

impl Response {
    /// The answer that it was done, with `value`.
    ///
    /// # Errors
    /// The value can't be JSON (a map with keys that are no texts): what to answer.
    pub fn ok(value: &impl Serialize) -> Result<Self, ErrorAnswer> {
        serde_json::to_value(value)
            .map(Self::Ok)
            .map_err(|error| ErrorAnswer {
                message: format!("the answer can't be written: {error}"),
                exit: 2,
            })
    }

    /// The line of this answer, with its newline.
    #[must_use]
    pub fn to_line(&self) -> String {
        line_of(self)
    }
}

/// Values of this file and of `serde_json` always have a line.
fn line_of(value: &impl Serialize) -> String {
    let mut line = serde_json::to_string(value).unwrap_or_default();
    line.push('\n');
    line
}

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorAnswer {
    /// What was wrong, where, and what to do next.
    pub message: String,
    /// How the tool ends.
    pub exit: u8,
}

/// Which service it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionView {
    /// The program.
    pub program: String,
    /// Its version.
    pub version: String,
    /// The number of its process.
    pub process: u32,
}

/// All settings with their origins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigurationView {
    /// The file that was read.
    pub file: Option<String>,
    /// The settings, in the order of the table.
    pub settings: Vec<SettingView>,
    /// What is odd, in words.
    pub warnings: Vec<String>,
}

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingView {
    /// Its full name.
    pub key: String,
    /// The value that counts; null for none.
    pub value: Value,
    /// Where it comes from, in words.
    pub origin: String,
    /// The kind of origin: `default`, `file`, `environment`, `command-line`,
    /// `client`.
    pub source: String,
    /// When a change counts.
    pub effect: Effect,
}

impl ConfigurationView {
    /// The view of a configuration.
    #[must_use]
    pub fn of(loaded: &Loaded) -> Self {
        let settings = loaded.entries().iter().map(|entry| SettingView {
            key: entry.setting.key(),
            value: entry.value.clone(),
            origin: entry.origin.to_string(),
            source: entry.origin.kind().to_owned(),
            effect: entry.setting.effect,
        });
        Self {
            file: loaded.file().map(|path| path.display().to_string()),
            settings: settings.collect(),
            warnings: loaded.warnings.iter().map(ToString::to_string).collect(),
        }
    }
}

/// What a reload did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadReport {
    /// The file that was read.
    pub file: Option<String>,
    /// Changes that count from now on.
    pub applied: Vec<Change>,
    /// Changes that count after a restart.
    pub needs_restart: Vec<Change>,
    /// Changes that count only for a database that is created.
    pub creation_only: Vec<Change>,
    /// What is odd, in words.
    pub warnings: Vec<String>,
}

impl ReloadReport {
    /// The report of a reload that loaded `new` and applied what is live of `difference`.
    #[must_use]
    pub fn of(new: &Loaded, difference: Difference) -> Self {
        Self {
            file: new.file().map(|path| path.display().to_string()),
            applied: difference.live,
            needs_restart: difference.needs_restart,
            creation_only: difference.creation_only,
            warnings: new.warnings.iter().map(ToString::to_string).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_answers_are_lines() {
        let line = Request::ConfigReload.to_line();
        assert_eq!(line, "{\"command\":\"config_reload\"}\n");
        assert_eq!(Request::of_line(&line), Ok(Request::ConfigReload));
        let with_more = "{\"command\":\"version\",\"of_a_later_version\":1}";
        assert_eq!(Request::of_line(with_more), Ok(Request::Version));
        let answer = Response::ok(&ReloadReport::default()).unwrap();
        let line = answer.to_line();
        assert!(line.starts_with("{\"ok\":{"), "{line}");
        assert_eq!(serde_json::from_str::<Response>(&line).unwrap(), answer);
        let error = Response::Error(ErrorAnswer {
            message: "two\nlines".to_owned(),
            exit: 2,
        });
        let line = error.to_line();
        assert_eq!(
            line,
            "{\"error\":{\"message\":\"two\\nlines\",\"exit\":2}}\n"
        );
    }

    #[test]
    fn a_reload_is_reported() {
        use crate::configuration::{Configuration, Sources, difference};

        let load = |text: &str| {
            let sources = Sources {
                file: Some("/etc/c.toml".into()),
                environment: vec![("HOME".to_owned(), "/srv/ada".to_owned())],
                command_line: Vec::new(),
            };
            Configuration::load_text(&sources, text).unwrap()
        };
        let running = load("");
        let new = load("[logging]\nlevel = \"warn\"\n[database]\nport = 1\n");
        let report = ReloadReport::of(&new, difference(&running, &new));
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(
            text,
            "{\"file\":\"/etc/c.toml\",\"applied\":[{\"key\":\"logging.level\",\"before\":\
             \"info\",\"after\":\"warn\"}],\"needs_restart\":[{\"key\":\"database.port\",\
             \"before\":7379,\"after\":1}],\"creation_only\":[],\"warnings\":[]}"
        );
        let view = ConfigurationView::of(&running.reloaded(&new).unwrap());
        let level = view.settings.iter().find(|one| one.key == "logging.level");
        assert_eq!(level.unwrap().origin, "/etc/c.toml line 2");
    }

    #[test]
    fn what_is_no_request_is_answered() {
        let unknown = Request::of_line("{\"command\":\"fly\"}").unwrap_err();
        assert_eq!(unknown.exit, 64);
        assert!(
            unknown.message.contains("the command \"fly\""),
            "{}",
            unknown.message
        );
        let none = Request::of_line("PING").unwrap_err();
        assert!(
            none.message.starts_with("this is no request: "),
            "{}",
            none.message
        );
    }

    #[test]
    fn values_are_plain_json() {
        let view = SettingView {
            key: "a.b".to_owned(),
            value: Value::Unset,
            origin: "default".to_owned(),
            source: "default".to_owned(),
            effect: Effect::Restart,
        };
        let text = serde_json::to_string(&view).unwrap();
        assert!(text.contains("\"value\":null"), "{text}");
        assert_eq!(serde_json::from_str::<SettingView>(&text).unwrap(), view);
    }
}
