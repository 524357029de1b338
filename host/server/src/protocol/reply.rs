//! Replies, in the second and third version of the protocol.
//!
//! A writer appends to the output buffer of a connection. Commands say what they mean
//! (a map, a set, a number); the version that the client chose decides how it looks.

use std::fmt::{self, Write as _};

/// The version of the protocol that a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Version {
    /// The second, which every client begins with.
    #[default]
    Resp2,
    /// The third, asked for by `HELLO 3`.
    Resp3,
}

/// Appends replies to a buffer.
pub struct ReplyWriter<'o> {
    out: &'o mut Vec<u8>,
    version: Version,
}

impl fmt::Debug for ReplyWriter<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ReplyWriter")
            .field("version", &self.version)
            .field("bytes", &self.out.len())
            .finish()
    }
}

impl<'o> ReplyWriter<'o> {
    /// A writer that appends to `out`.
    pub fn new(out: &'o mut Vec<u8>, version: Version) -> Self {
        Self { out, version }
    }

    /// The version that is written.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// From here on replies are of another version.
    pub fn set_version(&mut self, version: Version) {
        self.version = version;
    }

    /// How many bytes stand in the buffer; a place to come back to.
    #[must_use]
    pub fn position(&self) -> usize {
        self.out.len()
    }

    /// Takes back what was written since `position`.
    pub fn rewind(&mut self, position: usize) {
        self.out.truncate(position);
    }

    /// What was written since `position`.
    #[must_use]
    pub fn since(&self, position: usize) -> &[u8] {
        self.out.get(position..).unwrap_or_default()
    }

    fn is_third(&self) -> bool {
        self.version == Version::Resp3
    }

    fn line(&mut self, kind: u8, text: &[u8]) {
        self.out.push(kind);
        self.out.extend_from_slice(text);
        self.out.extend_from_slice(b"\r\n");
    }

    fn number(&mut self, kind: u8, number: i64) {
        let mut digits = itoa::Buffer::new();
        self.line(kind, digits.format(number).as_bytes());
    }

    fn count(&mut self, kind: u8, count: usize) {
        self.number(kind, i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// A short text that says how it went.
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text.as_bytes());
    }

    /// `OK`.
    pub fn ok(&mut self) {
        self.out.extend_from_slice(b"+OK\r\n");
    }

    /// An error: a code in capitals, and a text. Line breaks in it become spaces.
    pub fn error(&mut self, message: &str) {
        self.out.push(b'-');
        let bytes = message.bytes();
        self.out.extend(bytes.map(|byte| {
            if matches!(byte, b'\r' | b'\n') {
                b' '
            } else {
                byte
            }
        }));
        self.out.extend_from_slice(b"\r\n");
    }

    /// A number.
    pub fn integer(&mut self, number: i64) {
        self.number(b':', number);
    }

    /// A number of things.
    pub fn length(&mut self, count: usize) {
        self.count(b':', count);
    }

    /// Yes or no, as 1 or 0.
    pub fn flag(&mut self, is_set: bool) {
        self.out
            .extend_from_slice(if is_set { b":1\r\n" } else { b":0\r\n" });
    }

    /// Bytes.
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.count(b'$', bytes.len());
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(b"\r\n");
    }

    /// Bytes, or that there are none.
    pub fn bulk_or_null(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.null(),
        }
    }

    /// A number as bytes.
    pub fn bulk_integer(&mut self, number: i64) {
        let mut digits = itoa::Buffer::new();
        self.bulk(digits.format(number).as_bytes());
    }

    /// A number with a fraction; as bytes in the second version.
    pub fn double(&mut self, number: f64) {
        let mut text = String::new();
        // Writing to a string can't fail.
        let _written = write!(text, "{number}");
        if self.is_third() {
            self.line(b',', text.as_bytes());
        } else {
            self.bulk(text.as_bytes());
        }
    }

    /// That there is nothing, in the place of bytes.
    pub fn null(&mut self) {
        self.out.extend_from_slice(if self.is_third() {
            b"_\r\n"
        } else {
            b"$-1\r\n"
        });
    }

    /// That there is nothing, in the place of an array.
    pub fn null_array(&mut self) {
        self.out.extend_from_slice(if self.is_third() {
            b"_\r\n"
        } else {
            b"*-1\r\n"
        });
    }

    /// An array: `count` replies follow.
    pub fn array(&mut self, count: usize) {
        self.count(b'*', count);
    }

    /// A map: `pairs` times a key and a value follow. An array in the second version.
    pub fn map(&mut self, pairs: usize) {
        if self.is_third() {
            self.count(b'%', pairs);
        } else {
            self.count(b'*', pairs * 2);
        }
    }

    /// A set: `count` replies follow. An array in the second version.
    pub fn set(&mut self, count: usize) {
        self.count(if self.is_third() { b'~' } else { b'*' }, count);
    }

    /// What the client didn't ask for just now: `count` replies follow.
    pub fn push(&mut self, count: usize) {
        self.count(if self.is_third() { b'>' } else { b'*' }, count);
    }

    /// Text for people, shown as it is.
    pub fn verbatim(&mut self, text: &str) {
        if self.is_third() {
            self.count(b'=', text.len() + 4);
            self.out.extend_from_slice(b"txt:");
            self.out.extend_from_slice(text.as_bytes());
            self.out.extend_from_slice(b"\r\n");
        } else {
            self.bulk(text.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(version: Version, write: impl FnOnce(&mut ReplyWriter<'_>)) -> String {
        let mut out = Vec::new();
        write(&mut ReplyWriter::new(&mut out, version));
        String::from_utf8(out).unwrap()
    }

    fn some_of_everything(reply: &mut ReplyWriter<'_>) {
        reply.map(1);
        reply.bulk(b"a\r\nb");
        reply.set(1);
        reply.integer(-7);
        reply.null();
        reply.null_array();
        reply.double(1.5);
        reply.verbatim("t");
        reply.push(1);
        reply.flag(true);
        reply.error("ERR two\r\nlines");
    }

    #[test]
    fn each_version_writes_its_own_forms() {
        assert_eq!(
            written(Version::Resp2, some_of_everything),
            "*2\r\n$4\r\na\r\nb\r\n*1\r\n:-7\r\n$-1\r\n*-1\r\n$3\r\n1.5\r\n$1\r\nt\r\n*1\r\n:1\r\n-ERR two  lines\r\n"
        );
        assert_eq!(
            written(Version::Resp3, some_of_everything),
            "%1\r\n$4\r\na\r\nb\r\n~1\r\n:-7\r\n_\r\n_\r\n,1.5\r\n=5\r\ntxt:t\r\n>1\r\n:1\r\n-ERR two  lines\r\n"
        );
    }

    #[test]
    fn what_was_written_can_be_taken_back() {
        let text = written(Version::Resp2, |reply| {
            reply.ok();
            let position = reply.position();
            reply.bulk(b"gone");
            assert_eq!(reply.since(position), b"$4\r\ngone\r\n");
            reply.rewind(position);
        });
        assert_eq!(text, "+OK\r\n");
    }
}
