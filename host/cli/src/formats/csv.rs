//! CSV: one entry a row, below a row with the columns' names.
//!
//! ```text
//! key,value,expiry_ms,metadata
//! user:1,Ada,,
//! "a,b",said \x22no\x0a\x22,1893456000000,7
//! ```
//!
//! The dialect is that of RFC 4180: fields with a comma, a quote or a line break
//! stand in quotes, quotes in them are doubled. Key and value are written as
//! [`text`] has them, so that a row that is written here is one line; with digits
//! alone their columns are called `key_hex` and `value_hex`. `expiry_ms`
//! (milliseconds since 1970) and `metadata` (0 to 255) are empty where the entry has
//! none.
//!
//! Reading takes the columns in any order, and those of expiry and metadata may be
//! absent; another column is an error, since a misspelt one would be lost, and so is
//! a row with more or fewer fields than there are names. Rows that other programs
//! wrote may have line breaks within quotes, a byte order mark, and `\r\n`. Empty
//! lines are skipped.
//!
//! The parser takes a quote that is left open for the end of the last field. So the
//! input is read with a last line behind it that no field holds, and a row that took
//! that line in was not closed.

use super::{FormatError, Record, RecordRef, hex, text};
use csv::{ByteRecord, ReaderBuilder, WriterBuilder};
use std::cell::Cell;
use std::io::{self, BufRead, Read, Write};
use std::rc::Rc;

/// The longest row: a value of 1 GiB whose bytes are all escaped, and room for its key.
const ROW_BYTES_MAX: u64 = (4 << 30) + (1 << 20);
/// What stands behind the input, on a line of its own.
const END: &[u8] = b"\0end of input\0";
const END_LINE: &[u8] = b"\n\0end of input\0\n";

const KEY: &str = "key";
const VALUE: &str = "value";
const KEY_HEX: &str = "key_hex";
const VALUE_HEX: &str = "value_hex";
const EXPIRY: &str = "expiry_ms";
const METADATA: &str = "metadata";

/// Which field of a row is which.
#[derive(Debug, Clone, Copy, Default)]
struct Columns {
    key: usize,
    value: usize,
    is_key_hex: bool,
    is_value_hex: bool,
    expiry_ms: Option<usize>,
    metadata: Option<usize>,
    count: usize,
}

/// Reads records from rows.
pub struct Reader<R> {
    rows: csv::Reader<Guarded<R>>,
    row: ByteRecord,
    columns: Option<Columns>,
    always_hex: bool,
    counts: Rc<Counts>,
    line: u64,
}

impl<R: BufRead> Reader<R> {
    /// A reader of `input`. With `always_hex`, the columns `key` and `value` have
    /// hexadecimal digits, too.
    pub fn new(input: R, always_hex: bool) -> Self {
        Self::with_limit(input, always_hex, ROW_BYTES_MAX)
    }

    fn with_limit(input: R, always_hex: bool, row_bytes_max: u64) -> Self {
        let counts = Rc::new(Counts::default());
        let guarded = Guarded {
            input,
            counts: Rc::clone(&counts),
            row_bytes_max,
            end: None,
        };
        let rows = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .from_reader(guarded);
        Self {
            rows,
            row: ByteRecord::new(),
            columns: None,
            always_hex,
            counts,
            line: 0,
        }
    }

    /// The number of the line where the row began that was read last, counted from 1.
    #[must_use]
    pub fn line(&self) -> u64 {
        self.line
    }

    /// How much of the input is read.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.counts.read.get()
    }

    /// Replaces `record` by the next one; `false` at the end of the input.
    ///
    /// # Errors
    /// Where the input fails, or a row is no entry.
    pub fn next(&mut self, record: &mut Record) -> Result<bool, FormatError> {
        let columns = match self.columns {
            Some(columns) => columns,
            None => {
                if !self.next_row()? {
                    return Err(FormatError::malformed(
                        1,
                        "the input is empty; the first row names the columns: key,value",
                    ));
                }
                let columns = columns_of(&self.row).map_err(|reason| self.malformed(reason))?;
                self.columns = Some(columns);
                columns
            }
        };
        if !self.next_row()? {
            return Ok(false);
        }
        self.fill(columns, record)
            .map_err(|reason| self.malformed(reason))?;
        Ok(true)
    }

    /// Reads a row; `false` at the end of the input.
    fn next_row(&mut self) -> Result<bool, FormatError> {
        self.counts.row_began.set(self.counts.read.get());
        let read = self.rows.read_byte_record(&mut self.row);
        let position = self.row.position().or(Some(self.rows.position()));
        // A row behind empty lines is said to begin at the first of them.
        self.line = position.map_or(0, csv::Position::line);
        let is_row = read.map_err(|error| match error.into_kind() {
            csv::ErrorKind::Io(error) => {
                if error.kind() == io::ErrorKind::FileTooLarge {
                    return self.malformed(error.to_string());
                }
                FormatError::Io(error)
            }
            other => self.malformed(format!("{other:?}")),
        })?;
        let last = self.row.iter().next_back().unwrap_or_default();
        if !is_row || (self.row.len() == 1 && last == END) {
            return Ok(false);
        }
        if last.ends_with(END) || last.ends_with(END_LINE) {
            return Err(self.malformed("a quote is left open: the input ends within it".to_owned()));
        }
        Ok(true)
    }

    fn malformed(&self, reason: String) -> FormatError {
        FormatError::malformed(self.line.max(1), reason)
    }

    fn fill(&self, columns: Columns, record: &mut Record) -> Result<(), String> {
        if self.row.len() != columns.count {
            return Err(format!(
                "{} fields where the first row names {} columns",
                self.row.len(),
                columns.count
            ));
        }
        let field = |index: usize| self.row.get(index).unwrap_or_default();
        let is_key_hex = columns.is_key_hex || self.always_hex;
        let is_value_hex = columns.is_value_hex || self.always_hex;
        read_bytes(KEY, field(columns.key), is_key_hex, &mut record.key)?;
        read_bytes(VALUE, field(columns.value), is_value_hex, &mut record.value)?;
        record.expiry_ms = read_number(EXPIRY, columns.expiry_ms.map_or(&[], field))?;
        record.metadata = read_number(METADATA, columns.metadata.map_or(&[], field))?;
        Ok(())
    }
}

fn columns_of(names: &ByteRecord) -> Result<Columns, String> {
    let mut columns = Columns {
        count: names.len(),
        ..Columns::default()
    };
    let (mut key, mut value) = (None, None);
    for (index, name) in names.iter().enumerate() {
        let name = String::from_utf8_lossy(name.trim_ascii());
        let place = match &*name {
            KEY | KEY_HEX => &mut key,
            VALUE | VALUE_HEX => &mut value,
            EXPIRY => &mut columns.expiry_ms,
            METADATA => &mut columns.metadata,
            other => {
                return Err(format!(
                    "there is no column \"{}\"; there are key, value, expiry_ms, metadata, and \
                     key_hex and value_hex, and the first row names those that are there",
                    text::escape(other.as_bytes())
                ));
            }
        };
        if place.replace(index).is_some() {
            return Err(format!("the column \"{name}\" is there twice"));
        }
        columns.is_key_hex |= name == KEY_HEX;
        columns.is_value_hex |= name == VALUE_HEX;
    }
    let missing = |name: &str| format!("no column \"{name}\"; the first row names the columns");
    columns.key = key.ok_or_else(|| missing(KEY))?;
    columns.value = value.ok_or_else(|| missing(VALUE))?;
    Ok(columns)
}

fn read_bytes(name: &str, field: &[u8], is_hex: bool, out: &mut Vec<u8>) -> Result<(), String> {
    if is_hex {
        return hex::decode_into(field, out).map_err(|reason| format!("{name}: {reason}"));
    }
    *out = text::unescape(field);
    Ok(())
}

fn read_number<N: std::str::FromStr>(name: &str, field: &[u8]) -> Result<Option<N>, String> {
    if field.is_empty() {
        return Ok(None);
    }
    let number = std::str::from_utf8(field)
        .ok()
        .and_then(|text| text.parse().ok());
    let range = if name == METADATA {
        "a number from 0 to 255"
    } else {
        "milliseconds since 1970"
    };
    match number {
        Some(number) => Ok(Some(number)),
        None => Err(format!("{name} \"{}\" is not {range}", text::escape(field))),
    }
}

/// What reader and guard both look at.
#[derive(Default)]
struct Counts {
    read: Cell<u64>,
    /// What was read when the row was begun that is being read.
    row_began: Cell<u64>,
}

/// The input, with [`END_LINE`] behind it and no row longer than a limit.
struct Guarded<R> {
    input: R,
    counts: Rc<Counts>,
    row_bytes_max: u64,
    /// What is left of the last line, once the input has ended.
    end: Option<&'static [u8]>,
}

impl<R: BufRead> Read for Guarded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.end.is_none() {
            let read = self.input.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                let total = self.counts.read.get() + read as u64;
                self.counts.read.set(total);
                if total - self.counts.row_began.get() > self.row_bytes_max {
                    return Err(io::Error::new(
                        io::ErrorKind::FileTooLarge,
                        format!(
                            "a row of more than {} bytes, the most there may be; is a quote left open?",
                            self.row_bytes_max
                        ),
                    ));
                }
                return Ok(read);
            }
        }
        self.end.get_or_insert(END_LINE);
        self.end.as_mut().map_or(Ok(0), |end| end.read(buffer))
    }
}

/// Writes records as rows.
pub struct Writer<W: Write> {
    rows: csv::Writer<W>,
    row: ByteRecord,
    always_hex: bool,
}

impl<W: Write> Writer<W> {
    /// Starts with the row of names. With `always_hex`, keys and values are digits.
    ///
    /// # Errors
    /// Where the output fails.
    pub fn new(out: W, always_hex: bool) -> io::Result<Self> {
        let mut rows = WriterBuilder::new().from_writer(out);
        let (key, value) = if always_hex {
            (KEY_HEX, VALUE_HEX)
        } else {
            (KEY, VALUE)
        };
        rows.write_record([key, value, EXPIRY, METADATA])?;
        Ok(Self {
            rows,
            row: ByteRecord::new(),
            always_hex,
        })
    }

    /// Writes an entry.
    ///
    /// # Errors
    /// Where the output fails.
    pub fn write(&mut self, record: RecordRef<'_>) -> io::Result<()> {
        self.row.clear();
        for bytes in [record.key, record.value] {
            let field = if self.always_hex {
                hex::encode(bytes)
            } else {
                text::escape(bytes)
            };
            self.row.push_field(field.as_bytes());
        }
        let number = |number: Option<u64>| number.map_or_else(String::new, |n| n.to_string());
        self.row.push_field(number(record.expiry_ms).as_bytes());
        self.row
            .push_field(number(record.metadata.map(u64::from)).as_bytes());
        self.rows.write_byte_record(&self.row)?;
        Ok(())
    }

    /// Ends the rows.
    ///
    /// # Errors
    /// Where the output fails.
    pub fn finish(mut self) -> io::Result<()> {
        self.rows.flush()
    }
}

#[cfg(test)]
mod tests;
