//! Requests: arrays of bulk strings, and lines typed by hand.
//!
//! # Protocol
//! The connection appends what it receives to one buffer and calls
//! [`RequestParser::parse`], which finds as many whole commands as there are and
//! keeps where it stands in one that isn't. Arguments are not copied: they are
//! places in the buffer, which stay right until [`RequestParser::consume`] says how
//! much of it was cut off at the front.
//!
//! # Invariants
//! - Nothing is reserved because a client announces it: a declared length costs
//!   memory only when its bytes arrive.
//! - No recursion, and no byte of a long argument is looked at twice.
//! - After an error the connection can't be read any further: what follows has no
//!   known beginning. The commands before it stand.

use std::fmt;
use std::ops::Range;

/// The longest line of a request: a length, or a command typed by hand.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// Arguments of one command; the most that the protocol's clients send at once is far below.
const ARGUMENTS_MAX: i64 = i32::MAX as i64;
/// What a client may send before it has proved who it is.
const UNAUTHENTICATED_ARGUMENTS_MAX: i64 = 10;
const UNAUTHENTICATED_ARGUMENT_BYTES_MAX: i64 = 16 * 1024;
/// Commands that are found in one call, so that one client doesn't hold the others up.
const COMMANDS_MAX: usize = 1024;

/// What a request may be like.
#[derive(Debug, Clone, Copy)]
pub struct RequestLimits {
    /// The longest argument, in bytes.
    pub argument_bytes_max: u64,
    /// Whether the client has proved who it is, where it has to.
    pub is_authenticated: bool,
}

/// Why a request can't be read. The text is what clients get behind `Protocol error: `.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProtocolError {
    /// The number of arguments is no number, or too large.
    ArgumentCount,
    /// The same, before the client has proved who it is.
    UnauthenticatedArgumentCount,
    /// An argument's length is no number, negative or too large.
    ArgumentLength,
    /// The same, before the client has proved who it is.
    UnauthenticatedArgumentLength,
    /// An argument doesn't begin with a dollar sign.
    NotAnArgument(u8),
    /// A line without an end where the number of arguments stands.
    LongArgumentCount,
    /// A line without an end where an argument's length stands.
    LongArgumentLength,
    /// A line without an end.
    LongLine,
    /// A line with a quote that isn't closed.
    Quotes,
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::ArgumentCount => "invalid multibulk length",
            Self::UnauthenticatedArgumentCount => "unauthenticated multibulk length",
            Self::ArgumentLength => "invalid bulk length",
            Self::UnauthenticatedArgumentLength => "unauthenticated bulk length",
            Self::NotAnArgument(found) => {
                return write!(out, "expected '$', got '{}'", char::from(*found));
            }
            Self::LongArgumentCount => "too big mbulk count string",
            Self::LongArgumentLength => "too big bulk count string",
            Self::LongLine => "too big inline request",
            Self::Quotes => "unbalanced quotes in request",
        };
        out.write_str(text)
    }
}

/// The place of an argument in the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    begin: usize,
    end: usize,
}

/// The arguments of a command that is run later.
#[derive(Debug, Clone, Default)]
pub struct OwnedArguments {
    bytes: Vec<u8>,
    places: Vec<Place>,
}

impl OwnedArguments {
    /// The arguments.
    #[must_use]
    pub fn arguments(&self) -> Arguments<'_> {
        Arguments {
            buffer: &self.bytes,
            places: &self.places,
        }
    }
}

impl From<Arguments<'_>> for OwnedArguments {
    fn from(arguments: Arguments<'_>) -> Self {
        let mut owned = Self {
            bytes: Vec::with_capacity(arguments.bytes()),
            places: Vec::with_capacity(arguments.len()),
        };
        owned.extend(arguments.from(0));
        owned
    }
}

impl<'a> Extend<&'a [u8]> for OwnedArguments {
    fn extend<T: IntoIterator<Item = &'a [u8]>>(&mut self, arguments: T) {
        for argument in arguments {
            let begin = self.bytes.len();
            self.bytes.extend_from_slice(argument);
            self.places.push(Place {
                begin,
                end: self.bytes.len(),
            });
        }
    }
}

impl<'a> FromIterator<&'a [u8]> for OwnedArguments {
    fn from_iter<T: IntoIterator<Item = &'a [u8]>>(arguments: T) -> Self {
        let mut owned = Self::default();
        owned.extend(arguments);
        owned
    }
}

/// Finds commands in what a client has sent.
#[derive(Debug, Default)]
pub struct RequestParser {
    /// The first byte that was not looked at.
    position: usize,
    /// The end of the last whole command.
    complete: usize,
    /// Arguments that the command under way lacks; 0: none is under way.
    lacking: usize,
    /// The length of the argument under way, once it is known.
    length: Option<usize>,
    arguments: Vec<Place>,
    /// For each whole command the end of its arguments in `arguments`.
    commands: Vec<usize>,
}

/// The arguments of one command, its name first.
#[derive(Clone, Copy, Default)]
pub struct Arguments<'b> {
    buffer: &'b [u8],
    places: &'b [Place],
}

impl<'b> Arguments<'b> {
    /// How many there are, the name included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is none; never so in what the parser gives.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Argument `index`; nothing where there are fewer.
    #[must_use]
    pub fn at(&self, index: usize) -> &'b [u8] {
        match self.places.get(index) {
            Some(place) => &self.buffer[place.begin..place.end],
            None => b"",
        }
    }

    /// Argument `index`, where there is one.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&'b [u8]> {
        (index < self.len()).then(|| self.at(index))
    }

    /// All arguments from `first` on.
    pub fn from(
        self,
        first: usize,
    ) -> impl DoubleEndedIterator<Item = &'b [u8]> + ExactSizeIterator {
        (first.min(self.len())..self.len()).map(move |index| self.at(index))
    }

    /// The command that stands behind `first` words.
    #[must_use]
    pub fn behind(self, first: usize) -> Self {
        Self {
            places: self.places.get(first..).unwrap_or_default(),
            ..self
        }
    }

    /// Bytes of all arguments.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.places
            .iter()
            .map(|place| place.end - place.begin)
            .sum()
    }
}

impl RequestParser {
    /// How many whole commands were found and not consumed.
    #[must_use]
    pub fn commands(&self) -> usize {
        self.commands.len()
    }

    /// The arguments of whole command `index`.
    #[must_use]
    pub fn arguments<'b>(&'b self, buffer: &'b [u8], index: usize) -> Arguments<'b> {
        Arguments {
            buffer,
            places: &self.arguments[self.range(index)],
        }
    }

    fn range(&self, index: usize) -> Range<usize> {
        let begin = index
            .checked_sub(1)
            .map_or(0, |before| self.commands[before]);
        begin..self.commands[index]
    }

    /// Forgets all whole commands, and answers how many bytes at the front of the
    /// buffer are to be removed.
    pub fn consume(&mut self) -> usize {
        let cut = self.complete;
        let done = self.commands.last().copied().unwrap_or(0);
        self.arguments.drain(..done);
        for place in &mut self.arguments {
            place.begin -= cut;
            place.end -= cut;
        }
        self.commands.clear();
        self.position -= cut;
        self.complete = 0;
        cut
    }

    /// Bytes that the argument under way needs beyond those in `buffer`, so that room
    /// for them can be made at once when they are few.
    #[must_use]
    pub fn lacking_bytes(&self, buffer: &[u8]) -> usize {
        let end = self.length.map_or(0, |length| self.position + length + 2);
        end.saturating_sub(buffer.len())
    }

    /// Finds whole commands in `buffer`, which begins where the last
    /// [`consume`](Self::consume) cut it. Lines typed by hand are unquoted in place.
    ///
    /// # Errors
    /// What can't be read; the commands found before it stand.
    pub fn parse(&mut self, buffer: &mut [u8], limits: RequestLimits) -> Result<(), ProtocolError> {
        while self.commands.len() < COMMANDS_MAX {
            let is_more = if self.lacking > 0 {
                self.parse_argument(buffer, limits)?
            } else {
                match buffer.get(self.position) {
                    None => false,
                    Some(b'*') => self.parse_count(buffer, limits)?,
                    Some(_) => self.parse_line(buffer)?,
                }
            };
            if !is_more {
                break;
            }
        }
        Ok(())
    }

    /// The line from `position` on, without its end; `None`: it has none yet.
    fn line(
        &self,
        buffer: &[u8],
        too_long: ProtocolError,
    ) -> Result<Option<Range<usize>>, ProtocolError> {
        let rest = &buffer[self.position..];
        match memchr::memchr(b'\n', &rest[..rest.len().min(LINE_BYTES_MAX)]) {
            Some(length) => {
                let has_return = length > 0 && rest[length - 1] == b'\r';
                let end = self.position + length - usize::from(has_return);
                Ok(Some(self.position..end))
            }
            None if rest.len() >= LINE_BYTES_MAX => Err(too_long),
            None => Ok(None),
        }
    }

    fn after_line(buffer: &[u8], line: &Range<usize>) -> usize {
        line.end
            + if buffer.get(line.end) == Some(&b'\r') {
                2
            } else {
                1
            }
    }

    fn finish_command(&mut self) {
        self.commands.push(self.arguments.len());
        self.complete = self.position;
    }

    /// The number on the next line behind its first byte, and where the line after it
    /// begins; no number: what stands there is none. `None`: the line has no end yet.
    #[inline]
    fn number(
        &self,
        buffer: &[u8],
        too_long: ProtocolError,
    ) -> Result<Option<(Option<i64>, usize)>, ProtocolError> {
        if let Some((number, bytes)) = short_number(&buffer[self.position..]) {
            return Ok(Some((Some(number), self.position + bytes)));
        }
        let line = self.line(buffer, too_long)?;
        Ok(line.map(|line| {
            let number = buffer.get(line.start + 1..line.end).and_then(integer);
            (number, Self::after_line(buffer, &line))
        }))
    }

    fn parse_count(&mut self, buffer: &[u8], limits: RequestLimits) -> Result<bool, ProtocolError> {
        let found = self.number(buffer, ProtocolError::LongArgumentCount)?;
        let Some((count, after)) = found else {
            return Ok(false);
        };
        let count = count
            .filter(|count| *count <= ARGUMENTS_MAX)
            .ok_or(ProtocolError::ArgumentCount)?;
        if !limits.is_authenticated && count > UNAUTHENTICATED_ARGUMENTS_MAX {
            return Err(ProtocolError::UnauthenticatedArgumentCount);
        }
        self.position = after;
        if count <= 0 {
            // No command at all, which clients may send.
            self.complete = self.position;
        } else {
            self.lacking = usize::try_from(count).unwrap_or(usize::MAX);
        }
        Ok(true)
    }

    fn parse_argument(
        &mut self,
        buffer: &[u8],
        limits: RequestLimits,
    ) -> Result<bool, ProtocolError> {
        let length = match self.length {
            Some(length) => length,
            None => {
                let found = self.number(buffer, ProtocolError::LongArgumentLength)?;
                let Some((length, after)) = found else {
                    return Ok(false);
                };
                let first = buffer.get(self.position).copied().unwrap_or(b'\n');
                if first != b'$' {
                    return Err(ProtocolError::NotAnArgument(first));
                }
                let longest = i64::try_from(limits.argument_bytes_max).unwrap_or(i64::MAX);
                let length = length
                    .filter(|length| (0..=longest).contains(length))
                    .ok_or(ProtocolError::ArgumentLength)?;
                if !limits.is_authenticated && length > UNAUTHENTICATED_ARGUMENT_BYTES_MAX {
                    return Err(ProtocolError::UnauthenticatedArgumentLength);
                }
                let length = usize::try_from(length).map_err(|_| ProtocolError::ArgumentLength)?;
                self.position = after;
                self.length = Some(length);
                length
            }
        };
        let end = self.position + length;
        if buffer.len() < end + 2 {
            return Ok(false);
        }
        self.arguments.push(Place {
            begin: self.position,
            end,
        });
        self.position = end + 2;
        self.length = None;
        self.lacking -= 1;
        if self.lacking == 0 {
            self.finish_command();
        }
        Ok(true)
    }

    /// A command typed by hand: words, in quotes where they hold spaces.
    fn parse_line(&mut self, buffer: &mut [u8]) -> Result<bool, ProtocolError> {
        let Some(line) = self.line(buffer, ProtocolError::LongLine)? else {
            return Ok(false);
        };
        let after = Self::after_line(buffer, &line);
        let before = self.arguments.len();
        let mut words = Words {
            line: &mut buffer[line.clone()],
            read: 0,
            written: 0,
        };
        while let Some(word) = words.next_word()? {
            self.arguments.push(Place {
                begin: line.start + word.start,
                end: line.start + word.end,
            });
        }
        self.position = after;
        if self.arguments.len() > before {
            self.finish_command();
        } else {
            self.complete = after;
        }
        Ok(true)
    }
}

/// The number of a line such as `$16`, and the line's length with its end: of up to three
/// digits, as nearly all have. What else may stand there is looked at more closely.
#[inline]
fn short_number(line: &[u8]) -> Option<(i64, usize)> {
    let digit = |byte: u8| byte.is_ascii_digit().then(|| i64::from(byte - b'0'));
    match *line {
        [_, one, b'\r', b'\n', ..] => Some((digit(one)?, 4)),
        [_, ten @ b'1'..=b'9', one, b'\r', b'\n', ..] => Some((digit(ten)? * 10 + digit(one)?, 5)),
        [_, hundred @ b'1'..=b'9', ten, one, b'\r', b'\n', ..] => {
            let tens = digit(hundred)? * 10 + digit(ten)?;
            Some((tens * 10 + digit(one)?, 6))
        }
        _ => None,
    }
}

/// The words of a line, unquoted in place: that never makes one longer.
struct Words<'l> {
    line: &'l mut [u8],
    read: usize,
    written: usize,
}

impl Words<'_> {
    fn put(&mut self, byte: u8) {
        self.line[self.written] = byte;
        self.written += 1;
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.line.get(self.read + ahead).copied()
    }

    fn next_word(&mut self) -> Result<Option<Range<usize>>, ProtocolError> {
        while self.peek(0).is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.read += 1;
        }
        if self.peek(0).is_none() {
            return Ok(None);
        }
        let begin = self.written;
        while let Some(byte) = self.peek(0) {
            match byte {
                quote @ (b'"' | b'\'') => {
                    self.read += 1;
                    self.quoted(quote)?;
                    // A quote that closes ends the word.
                    if self.peek(0).is_some_and(|byte| !byte.is_ascii_whitespace()) {
                        return Err(ProtocolError::Quotes);
                    }
                    break;
                }
                byte if byte.is_ascii_whitespace() || byte == 0 => break,
                byte => {
                    self.put(byte);
                    self.read += 1;
                }
            }
        }
        if self.peek(0) == Some(0) {
            self.read = self.line.len();
        }
        Ok(Some(begin..self.written))
    }

    fn quoted(&mut self, quote: u8) -> Result<(), ProtocolError> {
        loop {
            let byte = self.peek(0).ok_or(ProtocolError::Quotes)?;
            self.read += 1;
            if byte == quote {
                return Ok(());
            }
            if byte != b'\\' {
                self.put(byte);
                continue;
            }
            if quote == b'\'' {
                // Only the quote itself can be escaped here.
                if self.peek(0) == Some(b'\'') {
                    self.read += 1;
                    self.put(b'\'');
                } else {
                    self.put(b'\\');
                }
                continue;
            }
            let digits = (
                self.peek(1).and_then(hex_digit),
                self.peek(2).and_then(hex_digit),
            );
            if let (Some(b'x'), (Some(high), Some(low))) = (self.peek(0), digits) {
                self.read += 3;
                self.put(high << 4 | low);
                continue;
            }
            let escaped = self.peek(0).ok_or(ProtocolError::Quotes)?;
            self.read += 1;
            self.put(match escaped {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'b' => 8,
                b'a' => 7,
                other => other,
            });
        }
    }
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

/// A number in decimal digits, with nothing around it and in its shortest form.
#[must_use]
pub fn integer(text: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || digits.len() > 19 || (digits[0] == b'0' && text.len() > 1) {
        return None;
    }
    let mut magnitude: u64 = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        magnitude = magnitude
            .checked_mul(10)?
            .checked_add(u64::from(digit - b'0'))?;
    }
    if is_negative {
        0i64.checked_sub_unsigned(magnitude)
    } else {
        i64::try_from(magnitude).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: RequestLimits = RequestLimits {
        argument_bytes_max: 1 << 20,
        is_authenticated: true,
    };

    /// Every command of `text`, fed in pieces of `step` bytes.
    fn commands(
        text: &[u8],
        step: usize,
        limits: RequestLimits,
    ) -> (Vec<Vec<Vec<u8>>>, Option<ProtocolError>) {
        let mut parser = RequestParser::default();
        let mut buffer = Vec::new();
        let mut found = Vec::new();
        for piece in text.chunks(step) {
            buffer.extend_from_slice(piece);
            let outcome = parser.parse(&mut buffer, limits);
            for index in 0..parser.commands() {
                let arguments = parser.arguments(&buffer, index);
                found.push(arguments.from(0).map(<[u8]>::to_vec).collect());
            }
            let cut = parser.consume();
            buffer.drain(..cut);
            if let Err(error) = outcome {
                return (found, Some(error));
            }
        }
        (found, None)
    }

    fn words(list: &[&[u8]]) -> Vec<Vec<u8>> {
        list.iter().map(|word| word.to_vec()).collect()
    }

    #[test]
    fn commands_are_found_however_they_are_cut() {
        let text = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4\r\na\r\nb\r\n*0\r\n\r\nping  hello\r\n*1\r\n$4\r\nPING\r\n*-1\r\nGET \"a b\\x41\\n\" 'it''s'\r\n";
        for step in 1..text.len() + 1 {
            let (found, error) = commands(text, step, LIMITS);
            assert_eq!(
                found,
                [
                    words(&[b"SET", b"k", b"a\r\nb"]),
                    words(&[b"ping", b"hello"]),
                    words(&[b"PING"]),
                ],
                "in steps of {step}"
            );
            assert_eq!(error, Some(ProtocolError::Quotes));
        }
    }

    #[test]
    fn lines_are_unquoted() {
        let (found, error) = commands(b"SET \"a b\\x41\\n\" 'it\\'s' c\n", 100, LIMITS);
        assert_eq!(error, None);
        assert_eq!(found, [words(&[b"SET", b"a bA\n", b"it's", b"c"])]);
    }

    #[test]
    fn what_cannot_be_read_is_told_with_the_words_of_the_protocol() {
        let stranger = RequestLimits {
            is_authenticated: false,
            ..LIMITS
        };
        let long = vec![b'x'; LINE_BYTES_MAX + 1];
        let long_count = [b"*".as_slice(), &long].concat();
        let long_length = [b"*1\r\n$".as_slice(), &long].concat();
        let cases: &[(&[u8], RequestLimits, &str)] = &[
            (b"*x\r\n", LIMITS, "invalid multibulk length"),
            (b"*3000000000\r\n", LIMITS, "invalid multibulk length"),
            (b"*11\r\n", stranger, "unauthenticated multibulk length"),
            (b"*1\r\n$-1\r\n", LIMITS, "invalid bulk length"),
            (b"*1\r\n$2000000000\r\n", LIMITS, "invalid bulk length"),
            (b"*1\r\n$16385\r\n", stranger, "unauthenticated bulk length"),
            (b"*1\r\nfoo\r\n", LIMITS, "expected '$', got 'f'"),
            (b"*1\r\nf12\r\n", LIMITS, "expected '$', got 'f'"),
            (b"*1\r\n\r\n", LIMITS, "expected '$', got '\r'"),
            (b"*1\r\n$01\r\n", LIMITS, "invalid bulk length"),
            (&long, LIMITS, "too big inline request"),
            (&long_count, LIMITS, "too big mbulk count string"),
            (&long_length, LIMITS, "too big bulk count string"),
            (b"get \"a\r\n", LIMITS, "unbalanced quotes in request"),
            (b"get \"a\"b\r\n", LIMITS, "unbalanced quotes in request"),
        ];
        for (text, limits, message) in cases {
            let (found, error) = commands(text, usize::MAX, *limits);
            assert!(found.is_empty());
            assert_eq!(
                error.map(|error| error.to_string()).as_deref(),
                Some(*message)
            );
        }
    }

    #[test]
    fn a_declared_length_reserves_nothing() {
        let mut parser = RequestParser::default();
        let mut buffer = b"*1000000\r\n$1000000\r\nabc".to_vec();
        parser.parse(&mut buffer, LIMITS).unwrap();
        assert_eq!(parser.commands(), 0);
        assert!(parser.arguments.capacity() < 16);
        assert_eq!(parser.lacking_bytes(&buffer), 1_000_000 + 2 - 3);
    }

    #[test]
    fn short_numbers_are_what_the_longer_way_finds() {
        let mut lines: Vec<String> = (0..1_200).map(|number| format!("${number}\r\n")).collect();
        for odd in ["$", "$-1", "$01", "$001", "$1x", "$x1", "$1x1", "$ 1"] {
            lines.push(format!("{odd}\r\n"));
            lines.push(format!("{odd}\n"));
        }
        let mut short = 0;
        for line in &lines {
            let text = line[1..].trim_end_matches(['\r', '\n']);
            if let Some((number, bytes)) = short_number(line.as_bytes()) {
                assert_eq!(Some(number), integer(text.as_bytes()));
                assert_eq!(bytes, line.len());
                short += 1;
            }
            for end in 0..line.len() {
                assert_eq!(short_number(&line.as_bytes()[..end]), None, "{line:?}");
            }
        }
        assert_eq!(short, 1_000);
    }

    #[test]
    fn numbers_are_taken_in_their_shortest_form_only() {
        for (text, number) in [
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("", None),
            ("-", None),
            ("-0", None),
            ("01", None),
            ("+1", None),
            (" 1", None),
            ("1 ", None),
            ("1.0", None),
        ] {
            assert_eq!(integer(text.as_bytes()), number, "{text:?}");
        }
    }
}
