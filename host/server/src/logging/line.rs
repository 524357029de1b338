//! A line of the log: text for people, or an object of JSON.
//!
//! ```text
//! 2026-11-25T23:02:21.123Z WARN  a command was slow command=get duration_us=12034
//! {"time":"2026-11-25T23:02:21.123Z","level":"WARN","message":"a command was slow","command":"get","duration_us":12034}
//! ```
//!
//! The level is a word in capitals in both, so that `grep ERROR` finds the same lines. No
//! text has a line break in it: in text they are escaped as in JSON.

use lightning_ops::configuration::LogFormat;
use std::fmt::{self, Write as _};
use tracing::Event;
use tracing::field::{Field, Visit};

/// The line of an event, with its line break.
pub(super) fn line_of(format: LogFormat, event: &Event<'_>, now: jiff::Timestamp) -> String {
    let mut fields = Fields {
        format,
        message: String::new(),
        rest: String::new(),
    };
    event.record(&mut fields);
    let level = event.metadata().level();
    match format {
        LogFormat::Text => format!("{now:.3} {level:<5} {}{}\n", fields.message, fields.rest),
        LogFormat::Json => {
            let message = quoted(&fields.message);
            let rest = fields.rest;
            format!("{{\"time\":\"{now:.3}\",\"level\":\"{level}\",\"message\":{message}{rest}}}\n")
        }
    }
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

struct Fields {
    format: LogFormat,
    message: String,
    /// The other fields, each behind what separates it from the one before.
    rest: String,
}

impl Fields {
    /// A field that is a number or a truth value.
    fn add_plain(&mut self, field: &Field, value: impl fmt::Display) {
        let name = field.name();
        // Writing to a string can't fail.
        let _outcome = match self.format {
            LogFormat::Text => write!(self.rest, " {name}={value}"),
            LogFormat::Json => write!(self.rest, ",{}:{value}", quoted(name)),
        };
    }

    fn add_text(&mut self, field: &Field, value: &str) {
        let name = field.name();
        if name == "message" {
            self.message = match self.format {
                LogFormat::Text if value.contains(char::is_control) => {
                    quoted(value).trim_matches('"').to_owned()
                }
                _ => value.to_owned(),
            };
            return;
        }
        let is_odd = |letter: char| letter.is_control() || matches!(letter, ' ' | '"' | '=');
        let _outcome = match self.format {
            LogFormat::Text if value.is_empty() || value.contains(is_odd) => {
                write!(self.rest, " {name}={}", quoted(value))
            }
            LogFormat::Text => write!(self.rest, " {name}={value}"),
            LogFormat::Json => write!(self.rest, ",{}:{}", quoted(name), quoted(value)),
        };
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add_text(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add_plain(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add_plain(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add_plain(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add_text(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Metadata, Subscriber};

    struct Lines {
        format: LogFormat,
        lines: Arc<Mutex<Vec<String>>>,
    }

    impl Subscriber for Lines {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn event(&self, event: &Event<'_>) {
            let now = jiff::Timestamp::from_millisecond(1_700_000_000_123).unwrap();
            let line = line_of(self.format, event, now);
            self.lines.lock().unwrap().push(line);
        }
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    fn logged(format: LogFormat, log: impl FnOnce()) -> String {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let follower = Lines {
            format,
            lines: Arc::clone(&lines),
        };
        tracing::subscriber::with_default(follower, log);
        lines.lock().unwrap().concat()
    }

    #[test]
    fn both_formats_say_the_same() {
        let log = || {
            let address = "two words";
            tracing::warn!(command = "get", count = 7, is_late = true, address, "slow");
            tracing::error!(message = %"two\nlines");
        };
        assert_eq!(
            logged(LogFormat::Text, log),
            "2023-11-14T22:13:20.123Z WARN  slow command=get count=7 is_late=true \
             address=\"two words\"\n2023-11-14T22:13:20.123Z ERROR two\\nlines\n"
        );
        let json = logged(LogFormat::Json, log);
        let lines: Vec<serde_json::Value> = json
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(
            lines,
            [
                serde_json::json!({"time": "2023-11-14T22:13:20.123Z", "level": "WARN",
                    "message": "slow", "command": "get", "count": 7, "is_late": true,
                    "address": "two words"}),
                serde_json::json!({"time": "2023-11-14T22:13:20.123Z", "level": "ERROR",
                    "message": "two\nlines"}),
            ]
        );
    }
}
