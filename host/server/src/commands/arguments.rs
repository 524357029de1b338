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

/// A number with or without a fraction, as clients write it; neither spaces nor what is
/// no number.
#[must_use]
pub fn float(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    if text.is_empty() || text.starts_with(|first: char| first.is_whitespace()) {
        return None;
    }
    let number: f64 = text.parse().ok()?;
    (!number.is_nan()).then_some(number)
}

/// A number that isn't negative as a length.
#[must_use]
pub fn non_negative(number: i64) -> Option<usize> {
    usize::try_from(number).ok()
}
