//! Entries as tables, as lines of text, or as JSON.

use crate::formats::{RecordRef, json_lines};
use comfy_table::{ContentArrangement, Table, presets};
use std::io::{self, Write};

/// Rows of one table: so many are held before they are printed.
const ROWS_MAX: usize = 1000;
/// Characters of one field of a table; what is longer is cut, and says so.
const FIELD_CHARACTERS_MAX: usize = 1000;

/// How entries are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Table,
    Text,
    Json,
}

impl Form {
    /// Its word.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// How everything is printed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    pub(super) form: Form,
    pub(super) hex: bool,
    pub(super) expiry: bool,
    /// Columns of the terminal, where there is one.
    pub(super) width: Option<u16>,
}

/// Prints entries.
pub(super) struct Entries<'o, W: Write> {
    out: &'o mut W,
    style: Style,
    text_of: &'o dyn Fn(&[u8]) -> String,
    rows: Vec<Vec<String>>,
    now_ms: u64,
}

impl<'o, W: Write> Entries<'o, W> {
    /// Prints to `out`; `text_of` is how bytes are shown.
    pub(super) fn new(
        out: &'o mut W,
        style: Style,
        text_of: &'o dyn Fn(&[u8]) -> String,
        now_ms: u64,
    ) -> Self {
        Self {
            out,
            style,
            text_of,
            rows: Vec::new(),
            now_ms,
        }
    }

    /// Prints an entry, at once or with others.
    pub(super) fn print(&mut self, record: RecordRef<'_>) -> io::Result<()> {
        match self.style.form {
            Form::Json => return json_lines::write(self.out, record, self.style.hex),
            Form::Text => {
                let key = (self.text_of)(record.key);
                return writeln!(self.out, "{key}\t{}", (self.text_of)(record.value));
            }
            Form::Table => {}
        }
        let mut row = vec![(self.text_of)(record.key), (self.text_of)(record.value)];
        if self.style.expiry {
            row.push(
                record
                    .expiry_ms
                    .map_or_else(String::new, |at| left_text(at.saturating_sub(self.now_ms))),
            );
        }
        self.rows.push(row);
        if self.rows.len() == ROWS_MAX {
            return self.print_rows();
        }
        Ok(())
    }

    fn print_rows(&mut self) -> io::Result<()> {
        let mut names = vec!["key", "value"];
        if self.style.expiry {
            names.push("expires in");
        }
        let table = table(&names, std::mem::take(&mut self.rows), self.style.width);
        writeln!(self.out, "{table}")
    }

    /// Prints what is held.
    pub(super) fn finish(mut self) -> io::Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        self.print_rows()
    }
}

/// A table for people.
pub(super) fn table(names: &[&str], rows: Vec<Vec<String>>, width: Option<u16>) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_header(names.to_vec());
    if let Some(width) = width {
        table
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(width);
    }
    for row in rows {
        table.add_row(row.into_iter().map(cut).collect::<Vec<_>>());
    }
    table
}

fn cut(text: String) -> String {
    match text.char_indices().nth(FIELD_CHARACTERS_MAX) {
        None => text,
        Some((end, _)) => format!(
            "{}… ({} characters; `get` prints them all)",
            &text[..end],
            text.chars().count()
        ),
    }
}

/// How long something has left.
pub(super) fn left_text(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0..10 => format!("{}.{:03} s", seconds, milliseconds % 1000),
        10..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(form: Form, expiry: bool, width: Option<u16>) -> String {
        let mut out = Vec::new();
        let text_of = |bytes: &[u8]| crate::formats::text::escape(bytes);
        let style = Style {
            form,
            hex: false,
            expiry,
            width,
        };
        let mut entries = Entries::new(&mut out, style, &text_of, 1000);
        for (key, value, expiry_ms) in [("a", "x\ny", None), ("bb", "long text", Some(91_000))] {
            entries
                .print(RecordRef {
                    key: key.as_bytes(),
                    value: value.as_bytes(),
                    expiry_ms,
                    metadata: None,
                })
                .unwrap();
        }
        entries.finish().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn entries_are_printed_in_three_forms() {
        assert_eq!(
            printed(Form::Text, true, None),
            "a\tx\\x0ay\nbb\tlong text\n"
        );
        let json = printed(Form::Json, false, None);
        assert!(
            json.starts_with("{\"key\":\"a\",\"value\":\"x\\ny\"}\n"),
            "{json}"
        );
        let table = printed(Form::Table, true, None);
        assert!(
            table.contains("expires in") && table.contains(" 90 s "),
            "{table}"
        );
        assert_eq!(table.matches("x\\x0ay").count(), 1, "{table}");
        let narrow = printed(Form::Table, false, Some(14));
        assert!(
            narrow.lines().all(|line| line.chars().count() <= 14),
            "{narrow}"
        );
    }

    #[test]
    fn long_fields_are_cut() {
        assert_eq!(cut("short".to_owned()), "short");
        let long = cut("ä".repeat(1001));
        assert!(long.ends_with("ä… (1001 characters; `get` prints them all)"));
    }

    #[test]
    fn what_is_left_is_readable() {
        for (milliseconds, text) in [
            (1, "0.001 s"),
            (9_999, "9.999 s"),
            (119_000, "119 s"),
            (3_600_000, "60 min"),
            (36_000_000, "10 h"),
            (259_200_000, "3 d"),
        ] {
            assert_eq!(left_text(milliseconds), text);
        }
    }
}
