//! JSON Lines: one entry a line, as an object.
//!
//! ```text
//! {"key":"user:1","value":"Ada"}
//! {"key_hex":"00ff","value":"Grace","expiry_ms":1893456000000,"metadata":7}
//! ```
//!
//! Key and value are text where they are UTF-8, and hexadecimal digits under
//! `key_hex` and `value_hex` where they are not, each on its own. `expiry_ms`
//! (milliseconds since 1970) and `metadata` (0 to 255) stand only where the
//! entry has them. Members come in this order; reading takes any. Lines of
//! nothing but blanks are skipped; a member of another name is an error, since
//! a misspelt one would be lost.

use super::lines::Lines;
use super::{FormatError, Record, RecordRef, hex};
use serde::Deserialize;
use std::io::{self, BufRead, Write};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

#[derive(Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "an object with \"key\" and \"value\""
)]
struct Line {
    key: Option<String>,
    key_hex: Option<String>,
    value: Option<String>,
    value_hex: Option<String>,
    expiry_ms: Option<u64>,
    metadata: Option<u8>,
}

/// Reads records from lines.
pub struct Reader<R> {
    lines: Lines<R>,
}

impl<R: BufRead> Reader<R> {
    /// A reader of `input`.
    pub fn new(input: R) -> Self {
        Self {
            lines: Lines::new(input),
        }
    }

    /// The number of the line that was read last, counted from 1.
    #[must_use]
    pub fn line(&self) -> u64 {
        self.lines.number()
    }

    /// How much of the input is read.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.lines.bytes_read()
    }

    /// Replaces `record` by the next one; `false` at the end of the input.
    ///
    /// # Errors
    /// Where the input fails, or a line is no entry.
    pub fn next(&mut self, record: &mut Record) -> Result<bool, FormatError> {
        loop {
            let number = self.lines.number() + 1;
            let Some(mut line) = self.lines.next()? else {
                return Ok(false);
            };
            if number == 1 {
                line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
            }
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            *record = parse(line).map_err(|message| FormatError::malformed(number, message))?;
            return Ok(true);
        }
    }
}

fn parse(line: &[u8]) -> Result<Record, String> {
    // Serde would take a list of the members' values for the object, too.
    if line.trim_ascii_start().first() == Some(&b'[') {
        return Err("a list: each line is an object with \"key\" and \"value\"".to_owned());
    }
    let line: Line = serde_json::from_slice(line).map_err(|error| json_message(&error))?;
    Ok(Record {
        key: bytes_of("key", line.key, line.key_hex)?,
        value: bytes_of("value", line.value, line.value_hex)?,
        expiry_ms: line.expiry_ms,
        metadata: line.metadata,
    })
}

/// What serde says, with the column only: the line it knows is always the first.
fn json_message(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let suffix = format!(" at line {} column {}", error.line(), error.column());
    match text.strip_suffix(&suffix) {
        Some(reason) if error.column() > 0 => format!("{reason}, at column {}", error.column()),
        Some(reason) => reason.to_owned(),
        None => text,
    }
}

fn bytes_of(name: &str, text: Option<String>, digits: Option<String>) -> Result<Vec<u8>, String> {
    match (text, digits) {
        (Some(text), None) => Ok(text.into_bytes()),
        (None, Some(digits)) => {
            hex::decode(digits.as_bytes()).map_err(|reason| format!("\"{name}_hex\": {reason}"))
        }
        (None, None) => Err(format!(
            "neither \"{name}\" nor \"{name}_hex\": an entry needs one of them"
        )),
        (Some(_), Some(_)) => Err(format!(
            "both \"{name}\" and \"{name}_hex\": an entry has one of them"
        )),
    }
}

/// Writes `record` as one line. With `always_hex`, text stands as digits too.
///
/// # Errors
/// Where the output fails.
pub fn write(out: &mut impl Write, record: RecordRef<'_>, always_hex: bool) -> io::Result<()> {
    out.write_all(b"{")?;
    write_members(out, record, always_hex)?;
    out.write_all(b"}\n")
}

fn write_members(out: &mut impl Write, record: RecordRef<'_>, always_hex: bool) -> io::Result<()> {
    write_bytes(out, "key", record.key, always_hex)?;
    out.write_all(b",")?;
    write_bytes(out, "value", record.value, always_hex)?;
    if let Some(expiry_ms) = record.expiry_ms {
        write!(out, ",\"expiry_ms\":{expiry_ms}")?;
    }
    if let Some(metadata) = record.metadata {
        write!(out, ",\"metadata\":{metadata}")?;
    }
    Ok(())
}

fn write_bytes(out: &mut impl Write, name: &str, bytes: &[u8], always_hex: bool) -> io::Result<()> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !always_hex => {
            write!(out, "\"{name}\":")?;
            serde_json::to_writer(out, text).map_err(io::Error::from)
        }
        _ => {
            write!(out, "\"{name}_hex\":\"")?;
            for byte in bytes {
                out.write_all(&hex::digits(*byte))?;
            }
            out.write_all(b"\"")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(text: &[u8]) -> Result<Vec<Record>, FormatError> {
        let mut reader = Reader::new(text);
        let mut records = Vec::new();
        let mut record = Record::default();
        while reader.next(&mut record)? {
            records.push(record.clone());
        }
        Ok(records)
    }

    #[test]
    fn records_come_back() {
        let all_bytes: Vec<u8> = (0..=255).collect();
        let texts = ["", "key", "\"quoted\"\\", "\0\u{7f}\u{2028}", "grün 木 🌩"];
        let mut records: Vec<Record> = texts
            .iter()
            .map(|text| Record {
                key: text.as_bytes().to_vec(),
                value: all_bytes.clone(),
                expiry_ms: None,
                metadata: Some(0),
            })
            .collect();
        records.push(Record {
            key: b"\xff".to_vec(),
            value: b"text".to_vec(),
            expiry_ms: Some(u64::MAX),
            metadata: Some(255),
        });
        for always_hex in [false, true] {
            let mut text = Vec::new();
            for record in &records {
                write(&mut text, record.borrow(), always_hex).unwrap();
            }
            assert_eq!(read_all(&text).unwrap(), records);
        }
    }

    #[test]
    fn the_written_form_is_stable() {
        let mut text = Vec::new();
        let mut record = Record {
            key: b"a".to_vec(),
            value: b"\xff\n".to_vec(),
            expiry_ms: Some(5),
            metadata: Some(1),
        };
        write(&mut text, record.borrow(), false).unwrap();
        record.expiry_ms = None;
        record.metadata = None;
        write(&mut text, record.borrow(), true).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "{\"key\":\"a\",\"value_hex\":\"ff0a\",\"expiry_ms\":5,\"metadata\":1}\n\
             {\"key_hex\":\"61\",\"value_hex\":\"ff0a\"}\n"
        );
    }

    #[test]
    fn blank_lines_and_a_byte_order_mark_are_skipped() {
        let text =
            "\u{feff}{\"key\":\"a\",\"value\":\"1\"}\r\n\n  \n{\"value\":\"2\",\"key\":\"b\"}";
        let records = read_all(text.as_bytes()).unwrap();
        assert_eq!(records.len(), 2);
        assert_eq!(records[1].key, b"b");
    }

    #[test]
    fn malformed_lines_are_named() {
        let good = "{\"key\":\"a\",\"value\":\"b\"}\n";
        for (line, expected) in [
            ("{\"key\":\"a\"}", "neither \"value\""),
            (
                "{\"key\":\"a\",\"key_hex\":\"00\",\"value\":\"\"}",
                "both \"key\"",
            ),
            (
                "{\"key_hex\":\"0\",\"value\":\"\"}",
                "\"key_hex\": an odd number",
            ),
            (
                "{\"key\":\"a\",\"value\":\"b\"",
                "EOF while parsing an object, at column",
            ),
            ("{\"key\":\"a\",\"valeu\":\"b\"}", "unknown field `valeu`"),
            ("{\"key\":1,\"value\":\"b\"}", "invalid type: integer"),
            ("{\"key\":\"a\",\"value\":\"b\",\"metadata\":256}", "256"),
            ("{\"key\":\"a\",\"value\":\"b\"} x", "trailing characters"),
            ("[1]", "a list: each line is an object"),
            ("1", "expected an object"),
            ("key,value", "expected value, at column 1"),
            (
                "{\"key\":\"a\",\"key\":\"b\",\"value\":\"\"}",
                "duplicate field `key`",
            ),
        ] {
            let text = format!("{good}\n{line}\n{good}");
            let error = read_all(text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with("line 3: "), "{line}: {error}");
            assert!(error.contains(expected), "{line}: {error}");
        }
        let error = read_all(b"{\"key\":\"\xff\",\"value\":\"\"}")
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("line 1: "), "{error}");
    }
}
