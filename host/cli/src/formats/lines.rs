//! Lines of an input, counted, and none longer than a limit.

use super::FormatError;
use std::io::{self, BufRead};

/// The longest line that any form takes: a value of 1 GiB in hexadecimal
/// digits, and room for its key. Longer input is no input of ours.
const LINE_BYTES_MAX: usize = (2 << 30) + (1 << 20);

/// An input by lines, in one buffer.
pub(super) struct Lines<R> {
    input: R,
    line: Vec<u8>,
    number: u64,
    bytes_read: u64,
    bytes_max: usize,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(input: R) -> Self {
        Self::with_limit(input, LINE_BYTES_MAX)
    }

    fn with_limit(input: R, bytes_max: usize) -> Self {
        Self {
            input,
            line: Vec::new(),
            number: 0,
            bytes_read: 0,
            bytes_max,
        }
    }

    /// The number of the line that was read last, counted from 1.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// How much of the input is read.
    pub(super) fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// The next line without its end, or `None` at the end of the input.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, FormatError> {
        self.line.clear();
        loop {
            let available = match self.input.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            if available.is_empty() {
                if self.line.is_empty() {
                    return Ok(None);
                }
                self.number += 1;
                return Ok(Some(&self.line));
            }
            let end = available.iter().position(|byte| *byte == b'\n');
            let taken = end.unwrap_or(available.len());
            if self.line.len() + taken > self.bytes_max {
                return Err(FormatError::malformed(
                    self.number + 1,
                    format!(
                        "longer than {} bytes, the most there may be",
                        self.bytes_max
                    ),
                ));
            }
            self.line.extend_from_slice(&available[..taken]);
            let consumed = taken + usize::from(end.is_some());
            self.input.consume(consumed);
            self.bytes_read += consumed as u64;
            if end.is_some() {
                self.number += 1;
                return Ok(Some(&self.line));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufReader;

    #[test]
    fn lines_are_counted_and_limited() {
        let text: &[u8] = b"one\n\nthree\nlast";
        for capacity in [1, 2, 3, 4, 64] {
            let mut lines = Lines::with_limit(BufReader::with_capacity(capacity, text), 5);
            for (number, expected) in [(1, "one"), (2, ""), (3, "three"), (4, "last")] {
                assert_eq!(lines.next().unwrap().unwrap(), expected.as_bytes());
                assert_eq!(lines.number(), number);
            }
            assert!(lines.next().unwrap().is_none());
            assert_eq!(lines.bytes_read(), text.len() as u64);
            let mut lines = Lines::with_limit(BufReader::with_capacity(capacity, text), 4);
            lines.next().unwrap();
            lines.next().unwrap();
            let error = lines.next().unwrap_err().to_string();
            assert!(error.starts_with("line 3: longer than 4 bytes"), "{error}");
        }
    }
}
