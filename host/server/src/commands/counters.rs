//! Strings that are numbers.

use super::arguments::float;
use super::strings::lifetime_of;
use super::{Call, Command, Flags, Keys, Outcome};
use crate::failure::Failure;
use crate::protocol::integer;
use crate::store::Lifetime;
use bigdecimal::{BigDecimal, RoundingMode};
use lightning_ops::configuration::EventClasses;
use std::str::FromStr as _;

const FAST_WRITE: Flags = Flags::WRITE.with(Flags::DENY_OOM).with(Flags::FAST);

pub(super) const COMMANDS: &[Command] = &[
    Command::new("string", "incr", 2, |call| add(call, 1))
        .flags(FAST_WRITE)
        .keys(Keys::ONE)
        .told("1.0.0", "Adds one to a counter.", "O(log N)"),
    Command::new("string", "decr", 2, |call| add(call, -1))
        .flags(FAST_WRITE)
        .keys(Keys::ONE)
        .told("1.0.0", "Takes one from a counter.", "O(log N)"),
    Command::new("string", "incrby", 3, incrby)
        .flags(FAST_WRITE)
        .keys(Keys::ONE)
        .told("1.0.0", "Adds a number to a counter.", "O(log N)"),
    Command::new("string", "decrby", 3, decrby)
        .flags(FAST_WRITE)
        .keys(Keys::ONE)
        .told("1.0.0", "Takes a number from a counter.", "O(log N)"),
    Command::new("string", "incrbyfloat", 3, incrbyfloat)
        .flags(FAST_WRITE)
        .keys(Keys::ONE)
        .told(
            "2.6.0",
            "Adds a number with a fraction to a value.",
            "O(log N)",
        ),
];

fn add(call: &mut Call<'_, '_, '_>, amount: i64) -> Outcome {
    let (database, key) = (call.client.database, call.at(1));
    let (number, lifetime) = match call.store.get(database, key)? {
        Some(value) => (
            integer(value.bytes()).ok_or(Failure::NOT_AN_INTEGER)?,
            lifetime_of(&value),
        ),
        None => (0, Lifetime::Endless),
    };
    let sum = number
        .checked_add(amount)
        .ok_or(Failure::reply("ERR increment or decrement would overflow"))?;
    let mut digits = itoa::Buffer::new();
    let value = digits.format(sum).as_bytes();
    call.store.changes.put(database, key, value, lifetime);
    let class = EventClasses::STRING;
    call.store.changes.event(class, "incrby", database, key);
    call.reply.integer(sum);
    Ok(())
}

fn incrby(call: &mut Call<'_, '_, '_>) -> Outcome {
    let amount = call.integer(2)?;
    add(call, amount)
}

fn decrby(call: &mut Call<'_, '_, '_>) -> Outcome {
    let amount = call.integer(2)?;
    let amount = amount
        .checked_neg()
        .ok_or(Failure::reply("ERR decrement would overflow"))?;
    add(call, amount)
}

/// Digits behind the point that the sum of two numbers is rounded to, as in Redis.
const FRACTION_DIGITS: i64 = 17;

/// The sum of two numbers in decimal digits, so that it is what a person expects. `None`:
/// one of them is no finite number.
fn decimal_sum(first: &[u8], second: &[u8]) -> Option<String> {
    let decimal = |text: &[u8]| {
        // What a float can't be would have as many digits as its exponent says.
        let number = float(text).filter(|number| number.is_finite())?;
        if number == 0.0 {
            return Some(BigDecimal::default());
        }
        let decimal = BigDecimal::from_str(std::str::from_utf8(text).ok()?);
        decimal.or_else(|_| BigDecimal::try_from(number)).ok()
    };
    let sum = decimal(first)? + decimal(second)?;
    let sum = sum.with_scale_round(FRACTION_DIGITS, RoundingMode::HalfEven);
    Some(sum.normalized().to_plain_string())
}

fn incrbyfloat(call: &mut Call<'_, '_, '_>) -> Outcome {
    let (database, key) = (call.client.database, call.at(1));
    let (number, lifetime) = match call.store.get(database, key)? {
        Some(value) => (value.bytes().to_vec(), lifetime_of(&value)),
        None => (b"0".to_vec(), Lifetime::Endless),
    };
    let amount = call.at(2);
    let sum =
        float(&number).ok_or(Failure::NOT_A_FLOAT)? + float(amount).ok_or(Failure::NOT_A_FLOAT)?;
    let text = decimal_sum(&number, amount)
        .filter(|_| sum.is_finite())
        .ok_or(Failure::reply(
            "ERR increment would produce NaN or Infinity",
        ))?;
    call.store
        .changes
        .put(database, key, text.as_bytes(), lifetime);
    let class = EventClasses::STRING;
    call.store
        .changes
        .event(class, "incrbyfloat", database, key);
    call.reply.bulk(text.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_what_a_person_expects() {
        for (first, second, sum) in [
            ("3", "0", Some("3")),
            ("1", "-1.1", Some("-0.1")),
            ("0.1", "0.2", Some("0.3")),
            ("5.0e3", "2.0e2", Some("5200")),
            ("17179869184", "1.5", Some("17179869185.5")),
            ("-0", "0", Some("0")),
            ("1e-400", "1", Some("1")),
            ("0x10", "-0x1p-1", Some("15.5")),
            ("inf", "1", None),
            ("x", "1", None),
        ] {
            let found = decimal_sum(first.as_bytes(), second.as_bytes());
            assert_eq!(found.as_deref(), sum, "{first} + {second}");
        }
    }
}
