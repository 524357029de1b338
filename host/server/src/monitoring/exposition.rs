//! The text form in which Prometheus takes figures, version 0.0.4.
//!
//! Each family begins with its help and its type; its samples follow, none twice. What
//! is written here is checked by `promtool check metrics` in a test.

use std::fmt::{self, Write as _};

/// The media type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a family is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Rises, or begins again at zero.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Buckets, a sum and a count.
    Histogram,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// The text so far.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
}

impl Exposition {
    /// Begins a family.
    pub fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let help = Escaped {
            text: help,
            is_label: false,
        };
        let kind = kind.word();
        // Writing to a string can't fail.
        let _outcome = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// A sample of the family that was begun last.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.text.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            self.text.push(if index == 0 { '{' } else { ',' });
            let escaped = Escaped {
                text,
                is_label: true,
            };
            let _outcome = write!(self.text, "{label}=\"{escaped}\"");
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _outcome = if value == f64::INFINITY {
            writeln!(self.text, " +Inf")
        } else {
            writeln!(self.text, " {value}")
        };
    }

    /// A family of one sample without labels.
    pub fn single(&mut self, name: &str, kind: Kind, help: &str, value: f64) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    /// The text.
    #[must_use]
    pub fn into_text(self) -> String {
        self.text
    }
}

/// A text with what would end it escaped.
struct Escaped<'t> {
    text: &'t str,
    is_label: bool,
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.text.chars() {
            match letter {
                '\\' => out.write_str("\\\\")?,
                '\n' => out.write_str("\\n")?,
                '"' if self.is_label => out.write_str("\\\"")?,
                other => out.write_char(other)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped_and_numbers_plain() {
        let mut exposition = Exposition::default();
        exposition.family("a_total", Kind::Counter, "What \\ is\ncounted.");
        exposition.sample("a_total", &[("p", "x\"y\\z\n"), ("q", "1")], 1e15);
        exposition.single("b", Kind::Gauge, "B.", f64::INFINITY);
        assert_eq!(
            exposition.into_text(),
            "# HELP a_total What \\\\ is\\ncounted.\n# TYPE a_total counter\n\
             a_total{p=\"x\\\"y\\\\z\\n\",q=\"1\"} 1000000000000000\n\
             # HELP b B.\n# TYPE b gauge\nb +Inf\n"
        );
    }
}
