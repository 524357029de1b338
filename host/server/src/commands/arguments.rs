//! Arguments as numbers and words.

use super::Call;
use crate::failure::Failure;
use crate::protocol::integer;

impl<'c> Call<'c, '_, '_> {
    /// Argument `index`.
    pub(super) fn at(&self, index: usize) -> &'c [u8] {
        self.arguments.at(index)
    }

    /// Argument `index` as a whole number.
    pub(super) fn integer(&self, index: usize) -> Result<i64, Failure> {
        integer(self.at(index)).ok_or(Failure::NOT_AN_INTEGER)
    }

    /// Whether argument `index` is this word, in capitals or not.
    pub(super) fn is_word(&self, index: usize, word: &str) -> bool {
        self.at(index).eq_ignore_ascii_case(word.as_bytes())
    }

    /// How many arguments there are, the name included.
    pub(super) fn count(&self) -> usize {
        self.arguments.len()
    }
}

/// A number with or without a fraction, as clients write it, in hexadecimal digits, too;
/// neither spaces nor what is no number.
#[must_use]
pub fn float(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    if text.is_empty() || text.starts_with(|first: char| first.is_whitespace()) {
        return None;
    }
    let number = text.parse().ok().or_else(|| hexadecimal(text))?;
    (!f64::is_nan(number)).then_some(number)
}

/// A number such as `-0x1f.8p-3`, as the C library reads it.
fn hexadecimal(text: &str) -> Option<f64> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    let rest = rest
        .strip_prefix("0x")
        .or_else(|| rest.strip_prefix("0X"))?;
    let (digits, exponent) = match rest.split_once(['p', 'P']) {
        Some((digits, exponent)) => (digits, exponent.parse().ok()?),
        None => (rest, 0),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut number = 0.0;
    for digit in whole.chars().chain(fraction.chars()) {
        number = number * 16.0 + f64::from(digit.to_digit(16)?);
    }
    let behind_point = i32::try_from(fraction.len()).ok()?.checked_mul(4)?;
    let exponent = i32::checked_sub(exponent, behind_point)?;
    Some(sign * number * 2.0_f64.powi(exponent))
}

/// A number that isn't negative as a length.
#[must_use]
pub fn non_negative(number: i64) -> Option<usize> {
    usize::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_the_c_library_reads_them() {
        for (text, number) in [
            ("1.", Some(1.0)),
            (".5", Some(0.5)),
            ("-1e2", Some(-100.0)),
            ("0x10", Some(16.0)),
            ("-0X1f.8p-3", Some(-3.9375)),
            ("0xp1", None),
            ("0x", None),
            ("0x1g", None),
            ("nan", None),
            (" 1", None),
            ("1 ", None),
            ("", None),
        ] {
            assert_eq!(float(text.as_bytes()), number, "{text}");
        }
    }
}
