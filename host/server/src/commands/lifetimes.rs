//! Times of expiry in the options of `SET` and `GETEX`, and in arguments.

use super::Call;
use crate::failure::Failure;
use crate::protocol::integer;
use crate::store::Lifetime;

/// When a value is to expire, as the options of `SET` and `GETEX` say.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Expiry {
    Unsaid,
    Keep,
    Persist,
    Given(GivenExpiry),
}

/// A time of expiry that an option gives; it is read when all options are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct GivenExpiry {
    /// The place of the number.
    place: usize,
    unit_ms: i64,
    is_absolute: bool,
}

impl GivenExpiry {
    pub(super) fn lifetime(
        self,
        call: &Call<'_, '_, '_>,
        command: &str,
    ) -> Result<Lifetime, Failure> {
        let number = call.at(self.place);
        let at = expiry_at(call, number, self.unit_ms, self.is_absolute, command)?;
        Ok(Lifetime::Until(at))
    }
}

/// A time of expiry from a number in an option or argument.
pub(super) fn expiry_at(
    call: &Call<'_, '_, '_>,
    number: &[u8],
    unit_ms: i64,
    is_absolute: bool,
    command: &str,
) -> Result<u64, Failure> {
    let number = integer(number).ok_or(Failure::NOT_AN_INTEGER)?;
    let invalid = || Failure::reply(format!("ERR invalid expire time in '{command}' command"));
    if number <= 0 {
        return Err(invalid());
    }
    let span = number.checked_mul(unit_ms).ok_or_else(invalid)?;
    let now = i64::try_from(call.store.now_ms()).unwrap_or(i64::MAX);
    let at = if is_absolute {
        span
    } else {
        span.checked_add(now).ok_or_else(invalid)?
    };
    u64::try_from(at).map_err(|_| invalid())
}

impl Expiry {
    /// Whether the option may stand behind this one: the same may stand twice, and the last
    /// counts.
    pub(super) fn may_become(self, given: Self) -> bool {
        match (self, given) {
            (Self::Unsaid, _) => true,
            (Self::Given(first), Self::Given(second)) => {
                (first.unit_ms, first.is_absolute) == (second.unit_ms, second.is_absolute)
            }
            _ => false,
        }
    }
}

pub(super) fn expiry_option(
    call: &Call<'_, '_, '_>,
    index: usize,
) -> Result<Option<Expiry>, Failure> {
    let (unit_ms, is_absolute) = if call.is_word(index, "ex") {
        (1000, false)
    } else if call.is_word(index, "px") {
        (1, false)
    } else if call.is_word(index, "exat") {
        (1000, true)
    } else if call.is_word(index, "pxat") {
        (1, true)
    } else {
        return Ok(None);
    };
    if index + 1 >= call.count() {
        return Err(Failure::SYNTAX);
    }
    Ok(Some(Expiry::Given(GivenExpiry {
        place: index + 1,
        unit_ms,
        is_absolute,
    })))
}
