//! The text form of LMDB's `mdb_dump` and `mdb_load` (and of Berkeley DB's tools).
//!
//! ```text
//! VERSION=3                 a header: one NAME=VALUE on each line
//! format=bytevalue          or print
//! database=NAME             absent for LMDB's main database
//! type=btree
//! mapsize=10485760
//! maxreaders=126
//! duplicates=1              and other flags, where the database has them
//! db_pagesize=4096
//! HEADER=END
//!  6b6579                   a key: a blank, then digits (or text, for print)
//!  76616c7565               its value
//! DATA=END
//! ```
//!
//! One file may hold several databases, one after the other. In `print`, bytes
//! from 0x20 to 0x7e stand as they are, others as `\xx` with two digits and no
//! `x`. What LMDB 0.9.24 and older print of a backslash can't be told from an
//! escape; it is refused where it is none. Newer ones write `\5c`, as we do.
//!
//! A [`Header`] keeps its lines as they were read, so that what came from LMDB
//! goes back to it byte for byte.

use super::lines::Lines;
use super::{FormatError, Record, hex};
use std::io::{self, BufRead, Write};

/// The most bytes that a header may have: the ones LMDB writes have about 200.
const HEADER_BYTES_MAX: usize = 8192;
/// The longest key that LMDB takes as Debian builds it.
pub const LMDB_KEY_BYTES_MAX: usize = 511;
/// What LMDB tells of itself where nothing else is known.
const MAX_READERS_DEFAULT: u32 = 126;
const LMDB_PAGE_BYTES: u64 = 4096;
/// The most bytes of a node that LMDB keeps in a leaf of such a page; a longer
/// one has its value in pages of its own.
const LMDB_NODE_BYTES_MAX: u64 = 2038;
const LMDB_NODE_HEADER_BYTES: u64 = 8;
const LMDB_PAGE_HEADER_BYTES: u64 = 16;

/// How a database's bytes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteForm {
    /// Two digits for each byte.
    ByteValue,
    /// Printable bytes as they are.
    Print,
}

/// The header of one database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    lines: Vec<u8>,
    form: ByteForm,
    database: Option<Vec<u8>>,
    map_bytes: Option<u64>,
    has_duplicates: bool,
}

impl Header {
    /// The header for a database that never came from LMDB.
    #[must_use]
    pub fn new(database: Option<&str>, map_bytes: u64) -> Self {
        let mut lines = b"VERSION=3\nformat=bytevalue\n".to_vec();
        if let Some(name) = database {
            lines.extend_from_slice(format!("database={name}\n").as_bytes());
        }
        lines.extend_from_slice(
            format!(
                "type=btree\nmapsize={map_bytes}\nmaxreaders={MAX_READERS_DEFAULT}\n\
                 db_pagesize={LMDB_PAGE_BYTES}\nHEADER=END\n"
            )
            .as_bytes(),
        );
        Self {
            lines,
            form: ByteForm::ByteValue,
            database: database.map(|name| name.as_bytes().to_vec()),
            map_bytes: Some(map_bytes),
            has_duplicates: false,
        }
    }

    /// A header from its lines, as [`as_bytes`](Self::as_bytes) gives them.
    ///
    /// # Errors
    /// Where they are no header.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut lines = Lines::new(bytes);
        read_header(&mut lines)?.ok_or_else(|| FormatError::malformed(1, "an empty header"))
    }

    /// The lines, with `HEADER=END` and the newline behind it.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.lines
    }

    /// The database's name, or `None` for LMDB's main database.
    #[must_use]
    pub fn database(&self) -> Option<&[u8]> {
        self.database.as_deref()
    }

    /// The size of LMDB's map.
    #[must_use]
    pub fn map_bytes(&self) -> Option<u64> {
        self.map_bytes
    }

    /// Whether a key may have several values there.
    #[must_use]
    pub fn has_duplicates(&self) -> bool {
        self.has_duplicates
    }

    /// The same header with another size of the map.
    #[must_use]
    pub fn with_map_bytes(&self, map_bytes: u64) -> Self {
        let mut changed = self.clone();
        changed.lines.clear();
        for line in self.lines.split_inclusive(|byte| *byte == b'\n') {
            if line.starts_with(b"mapsize=") {
                let line = format!("mapsize={map_bytes}\n");
                changed.lines.extend_from_slice(line.as_bytes());
            } else {
                changed.lines.extend_from_slice(line);
            }
        }
        changed.map_bytes = Some(map_bytes);
        changed
    }
}

/// Reads the header that starts at the next line; `None` at the end of the input.
fn read_header<R: BufRead>(lines: &mut Lines<R>) -> Result<Option<Header>, FormatError> {
    let mut header = Header {
        lines: Vec::new(),
        form: ByteForm::ByteValue,
        database: None,
        map_bytes: None,
        has_duplicates: false,
    };
    let mut names = Vec::new();
    loop {
        let number = lines.number() + 1;
        let fault = |message: String| Err(FormatError::malformed(number, message));
        let Some(line) = lines.next()? else {
            if header.lines.is_empty() {
                return Ok(None);
            }
            return fault("the input ends within a header, before HEADER=END".to_owned());
        };
        let Some(equals) = line.iter().position(|byte| *byte == b'=') else {
            return fault(format!(
                "\"{}\" is no line of a header, which are NAME=VALUE; is this the output of mdb_dump?",
                sample(line)
            ));
        };
        if header.lines.len() + line.len() >= HEADER_BYTES_MAX {
            return fault(format!("a header of more than {HEADER_BYTES_MAX} bytes"));
        }
        let (name, value) = (&line[..equals], &line[equals + 1..]);
        if header.lines.is_empty() && name != b"VERSION" {
            return fault(format!(
                "\"{}\" where VERSION=3 starts a header",
                sample(line)
            ));
        }
        if names.iter().any(|earlier| earlier == name) {
            return fault(format!("\"{}\" stands twice", sample(name)));
        }
        names.push(name.to_vec());
        header.lines.extend_from_slice(line);
        header.lines.push(b'\n');
        match name {
            b"VERSION" if value != b"3" && value != b"2" => {
                return fault(format!("version \"{}\": 3 is known", sample(value)));
            }
            b"HEADER" if value == b"END" => return Ok(Some(header)),
            b"format" => {
                header.form = match value {
                    b"bytevalue" => ByteForm::ByteValue,
                    b"print" => ByteForm::Print,
                    _ => {
                        return fault(format!(
                            "format \"{}\": bytevalue and print are known",
                            sample(value)
                        ));
                    }
                }
            }
            b"type" if value != b"btree" => {
                return fault(format!("type \"{}\": only btree is known", sample(value)));
            }
            b"database" => header.database = Some(value.to_vec()),
            b"mapsize" => match number_of(value) {
                Some(map_bytes) => header.map_bytes = Some(map_bytes),
                None => return fault(format!("mapsize \"{}\" is no number", sample(value))),
            },
            b"maxreaders" if number_of(value).is_none() => {
                return fault(format!("maxreaders \"{}\" is no number", sample(value)));
            }
            b"duplicates" | b"dupsort" => header.has_duplicates |= value == b"1",
            _ => {}
        }
    }
}

fn number_of(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn sample(bytes: &[u8]) -> String {
    let mut text = bytes[..bytes.len().min(40)].escape_ascii().to_string();
    if bytes.len() > 40 {
        text.push('…');
    }
    text
}

/// Reads databases and their records.
pub struct Reader<R> {
    lines: Lines<R>,
    form: ByteForm,
}

impl<R: BufRead> Reader<R> {
    /// A reader of `input`.
    pub fn new(input: R) -> Self {
        Self {
            lines: Lines::new(input),
            form: ByteForm::ByteValue,
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

    /// The next database's header; `None` at the end of the input. To be called
    /// first, and again when [`next`](Self::next) found the end of a database.
    ///
    /// # Errors
    /// Where the input fails, or holds no header there.
    pub fn next_database(&mut self) -> Result<Option<Header>, FormatError> {
        let header = read_header(&mut self.lines)?;
        if let Some(header) = &header {
            self.form = header.form;
        }
        Ok(header)
    }

    /// Replaces `record` by the next one; `false` at the end of the database.
    ///
    /// # Errors
    /// Where the input fails, or a line is no key or value.
    pub fn next(&mut self, record: &mut Record) -> Result<bool, FormatError> {
        record.expiry_ms = None;
        record.metadata = None;
        if !self.next_bytes(&mut record.key)? {
            return Ok(false);
        }
        if !self.next_bytes(&mut record.value)? {
            return Err(FormatError::malformed(
                self.lines.number(),
                "DATA=END where the value of the key before it is due",
            ));
        }
        Ok(true)
    }

    fn next_bytes(&mut self, out: &mut Vec<u8>) -> Result<bool, FormatError> {
        let number = self.lines.number() + 1;
        let form = self.form;
        let Some(line) = self.lines.next()? else {
            return Err(FormatError::malformed(
                number,
                "the input ends before DATA=END: it was cut off",
            ));
        };
        let Some(body) = line.strip_prefix(b" ") else {
            if line == b"DATA=END" {
                return Ok(false);
            }
            return Err(FormatError::malformed(
                number,
                format!(
                    "\"{}\" where a key or value is due: they start with a blank",
                    sample(line)
                ),
            ));
        };
        match form {
            ByteForm::ByteValue => hex::decode_into(body, out),
            ByteForm::Print => decode_print(body, out),
        }
        .map_err(|message| FormatError::malformed(number, message))?;
        Ok(true)
    }
}

fn decode_print(text: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    out.clear();
    let mut rest = text;
    loop {
        rest = match rest {
            [] => return Ok(()),
            [b'\\', b'\\', tail @ ..] => {
                out.push(b'\\');
                tail
            }
            [b'\\', tail @ ..] => {
                let byte = match tail {
                    [high, low, ..] => hex::byte_value(*high, *low),
                    _ => None,
                };
                let Some(byte) = byte else {
                    return Err(format!(
                        "the backslash at column {} starts no escape, which have two digits; \
                         LMDB 0.9.24 and older print backslashes so, dump without -p there",
                        text.len() - rest.len() + 2
                    ));
                };
                out.push(byte);
                &tail[2..]
            }
            [byte, tail @ ..] => {
                out.push(*byte);
                tail
            }
        };
    }
}

/// Writes one database.
pub struct Writer<W> {
    out: W,
    form: ByteForm,
    line: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Starts a database with its header.
    ///
    /// # Errors
    /// Where the output fails.
    pub fn new(mut out: W, header: &Header) -> io::Result<Self> {
        out.write_all(header.as_bytes())?;
        Ok(Self {
            out,
            form: header.form,
            line: Vec::new(),
        })
    }

    /// Writes an entry.
    ///
    /// # Errors
    /// Where the output fails.
    pub fn write(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.line.clear();
        for bytes in [key, value] {
            self.line.push(b' ');
            match self.form {
                ByteForm::ByteValue => hex::encode_into(bytes, &mut self.line),
                ByteForm::Print => encode_print(bytes, &mut self.line),
            }
            self.line.push(b'\n');
        }
        self.out.write_all(&self.line)
    }

    /// Ends the database.
    ///
    /// # Errors
    /// Where the output fails.
    pub fn finish(mut self) -> io::Result<()> {
        self.out.write_all(b"DATA=END\n")
    }
}

fn encode_print(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        if matches!(byte, b' '..=b'~') && *byte != b'\\' {
            out.push(*byte);
        } else {
            out.push(b'\\');
            out.extend_from_slice(&hex::digits(*byte));
        }
    }
}

/// Adds up how large a map LMDB needs for a database.
#[derive(Debug, Clone, Copy, Default)]
pub struct MapEstimate {
    node_bytes: u64,
    value_page_bytes: u64,
}

impl MapEstimate {
    /// Counts an entry in.
    pub fn add(&mut self, key_bytes: usize, value_bytes: usize) {
        let key_bytes = key_bytes as u64;
        let value_bytes = value_bytes as u64;
        let node_bytes = LMDB_NODE_HEADER_BYTES + 2 + key_bytes;
        if node_bytes + value_bytes <= LMDB_NODE_BYTES_MAX {
            self.node_bytes += (node_bytes + value_bytes).next_multiple_of(2);
        } else {
            self.node_bytes += (node_bytes + 8).next_multiple_of(2);
            self.value_page_bytes +=
                (LMDB_PAGE_HEADER_BYTES + value_bytes).next_multiple_of(LMDB_PAGE_BYTES);
        }
    }

    /// The bytes that no map of these entries can do without.
    #[must_use]
    pub fn least_bytes(&self) -> u64 {
        self.node_bytes + self.value_page_bytes
    }

    /// A size that holds these entries with room for `mdb_load` to work in:
    /// twice what they take in pages half full, and 1 MiB at least.
    #[must_use]
    pub fn map_bytes(&self) -> u64 {
        const MAP_BYTES_MIN: u64 = 1 << 20;
        let pages = self
            .node_bytes
            .saturating_mul(2)
            .saturating_add(self.value_page_bytes);
        pages
            .saturating_mul(2)
            .max(MAP_BYTES_MIN)
            .next_multiple_of(LMDB_PAGE_BYTES)
    }
}

#[cfg(test)]
mod tests;
