//! What a service answers, in version 2 of the protocol.
//!
//! Nothing that comes from the network decides alone how much memory is taken: lines,
//! lists and depth have limits, and the room for a value grows as its bytes come.

use std::io::{self, BufRead, Read};

/// The longest line: those of errors are about 100 bytes.
const LINE_BYTES_MAX: u64 = 64 << 10;
/// The longest value.
const VALUE_BYTES_MAX: u64 = 1 << 30;
/// The longest list.
const LIST_MAX: usize = 1 << 22;
/// How deep lists stand in lists.
const DEPTH_MAX: u32 = 8;

/// A reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// A word such as `OK`.
    Status(String),
    /// An error: its prefix and what it says.
    Error(String),
    /// A number.
    Integer(i64),
    /// A value; `None` for none.
    Bytes(Option<Vec<u8>>),
    /// A list; no list is an empty one.
    List(Vec<Reply>),
}

impl Reply {
    /// Reads the next one.
    ///
    /// An error of kind [`InvalidData`](io::ErrorKind::InvalidData) is no reply of this
    /// protocol.
    pub(crate) fn read(input: &mut impl BufRead) -> io::Result<Self> {
        Self::read_within(input, DEPTH_MAX)
    }

    fn read_within(input: &mut impl BufRead, depth: u32) -> io::Result<Self> {
        let line = read_line(input)?;
        let Some((kind, rest)) = line.split_first() else {
            return Err(malformed("an empty line"));
        };
        let text = || String::from_utf8_lossy(rest).into_owned();
        match kind {
            b'+' => Ok(Self::Status(text())),
            b'-' => Ok(Self::Error(text())),
            b':' => Ok(Self::Integer(number(rest)?)),
            b'$' => match number(rest)? {
                -1 => Ok(Self::Bytes(None)),
                bytes => Ok(Self::Bytes(Some(read_value(input, bytes)?))),
            },
            b'*' => {
                let count = match number(rest)? {
                    -1 => 0,
                    count => usize::try_from(count)
                        .ok()
                        .filter(|count| *count <= LIST_MAX && depth > 0)
                        .ok_or_else(|| malformed("a list that is too long or too deep"))?,
                };
                let mut items = Vec::new();
                for _ in 0..count {
                    items.push(Self::read_within(input, depth - 1)?);
                }
                Ok(Self::List(items))
            }
            _ => Err(malformed("no reply of the Redis protocol")),
        }
    }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

fn number(digits: &[u8]) -> io::Result<i64> {
    std::str::from_utf8(digits)
        .ok()
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| malformed("a number that is none"))
}

/// The next line, without its end.
fn read_line(input: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    Read::take(&mut *input, LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    match line.strip_suffix(b"\r\n") {
        Some(text) => Ok(text.to_vec()),
        None if line.len() as u64 == LINE_BYTES_MAX => Err(malformed("a line that is too long")),
        None if line.ends_with(b"\n") => Err(malformed("no reply of the Redis protocol")),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn read_value(input: &mut impl BufRead, bytes: i64) -> io::Result<Vec<u8>> {
    let bytes = u64::try_from(bytes)
        .ok()
        .filter(|bytes| *bytes <= VALUE_BYTES_MAX)
        .ok_or_else(|| malformed("a value that is too long"))?;
    let mut value = Vec::new();
    Read::take(&mut *input, bytes).read_to_end(&mut value)?;
    let mut end = [0; 2];
    if value.len() as u64 == bytes {
        input.read_exact(&mut end)?;
    } else {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if end == *b"\r\n" {
        Ok(value)
    } else {
        Err(malformed("a value that is longer than was said"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn read(text: &[u8]) -> io::Result<Reply> {
        Reply::read(&mut &*text)
    }

    #[test]
    fn replies_are_read() {
        let text = b"*5\r\n+OK\r\n:-7\r\n$3\r\na\r\n\r\n$-1\r\n*1\r\n-ERR no\r\n";
        let expected = Reply::List(vec![
            Reply::Status("OK".to_owned()),
            Reply::Integer(-7),
            Reply::Bytes(Some(b"a\r\n".to_vec())),
            Reply::Bytes(None),
            Reply::List(vec![Reply::Error("ERR no".to_owned())]),
        ]);
        assert_eq!(read(text).unwrap(), expected);
        // Cut off anywhere, it is cut off, and nothing else.
        for end in 0..text.len() {
            let error = read(&text[..end]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{end}");
        }
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for text in [
            &b"HTTP/1.1 400\r\n"[..],
            b"+OK\n",
            b":x\r\n",
            b"$2000000000\r\n",
            b"$-2\r\n",
            b"$1\r\nabc",
            b"*99999999\r\n",
            b"\r\n",
            &b"*1\r\n".repeat(20),
        ] {
            let error = read(text).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{text:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 2000,
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn no_input_is_more_than_refused(text in vec(prop::sample::select(
            b"*$:+-0123456789\r\nA".to_vec()), 0..40)) {
            let _whatever = read(&text);
        }
    }
}
