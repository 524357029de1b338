//! `BITFIELD`: numbers of any width within a string.

use super::bits::{bit, bit_place, put_bit};
use super::strings::{check_length, owned};
use super::{Call, Command, Flags, Keys, Outcome};
use crate::failure::Failure;
use crate::protocol::integer;
use lightning_ops::configuration::EventClasses;

pub(super) const COMMANDS: &[Command] = &[
    Command::new("bitmap", "bitfield", -2, |call| bitfield(call, true))
        .flags(Flags::WRITE.with(Flags::DENY_OOM))
        .keys(Keys::ONE)
        .told(
            "3.2.0",
            "Reads, writes and adds to numbers within a value.",
            "O(L + K) for a value of L bytes and K operations",
        ),
    Command::new("bitmap", "bitfield_ro", -2, |call| bitfield(call, false))
        .flags(Flags::READONLY.with(Flags::FAST))
        .keys(Keys::ONE)
        .told(
            "6.0.0",
            "Reads numbers within a value.",
            "O(L + K) for a value of L bytes and K operations",
        ),
];

/// What is done with a number that its field can't hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Overflow {
    /// Its upper bits are lost.
    Wrap,
    /// The nearest that the field can hold stands for it.
    Saturate,
    /// Nothing is written.
    Fail,
}

/// How numbers stand in a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kind {
    is_signed: bool,
    width: u32,
}

impl Kind {
    fn parse(text: &[u8]) -> Option<Self> {
        let (is_signed, digits) = match text {
            [b'i', digits @ ..] => (true, digits),
            [b'u', digits @ ..] => (false, digits),
            _ => return None,
        };
        let width = u32::try_from(integer(digits)?).ok()?;
        let widest = if is_signed { 64 } else { 63 };
        (1..=widest)
            .contains(&width)
            .then_some(Self { is_signed, width })
    }

    /// The least and the most that fit.
    fn range(self) -> (i128, i128) {
        if self.is_signed {
            let half = 1 << (self.width - 1);
            (-half, half - 1)
        } else {
            (0, (1 << self.width) - 1)
        }
    }

    /// The number as the field holds it; `None`: it doesn't, and must not be written.
    fn fit(self, number: i128, overflow: Overflow) -> Option<i128> {
        let (least, most) = self.range();
        if (least..=most).contains(&number) {
            return Some(number);
        }
        match overflow {
            Overflow::Fail => None,
            Overflow::Saturate => Some(number.clamp(least, most)),
            Overflow::Wrap => Some((number - least).rem_euclid(most - least + 1) + least),
        }
    }

    fn read(self, bytes: &[u8], place: usize) -> i128 {
        let mut number: i128 = 0;
        for index in 0..self.places() {
            number = number << 1 | i128::from(bit(bytes, place + index));
        }
        // The first bit of a signed one counts below zero.
        if self.is_signed && number >> (self.width - 1) != 0 {
            number - (1 << self.width)
        } else {
            number
        }
    }

    fn write(self, bytes: &mut [u8], place: usize, number: i128) {
        for index in 0..self.places() {
            let shift = self.places() - 1 - index;
            put_bit(bytes, place + index, number >> shift & 1 != 0);
        }
    }

    fn places(self) -> usize {
        usize::try_from(self.width).unwrap_or(64)
    }
}

enum Action {
    Get,
    Set(i64),
    Add(i64),
}

struct Operation {
    kind: Kind,
    place: usize,
    overflow: Overflow,
    action: Action,
}

fn operations(call: &Call<'_, '_, '_>, may_write: bool) -> Result<Vec<Operation>, Failure> {
    let mut operations = Vec::new();
    let mut overflow = Overflow::Wrap;
    let mut index = 2;
    while index < call.count() {
        let left = call.count() - index - 1;
        if call.is_word(index, "overflow") && left >= 1 {
            overflow = if call.is_word(index + 1, "wrap") {
                Overflow::Wrap
            } else if call.is_word(index + 1, "sat") {
                Overflow::Saturate
            } else if call.is_word(index + 1, "fail") {
                Overflow::Fail
            } else {
                return Err(Failure::reply("ERR Invalid OVERFLOW type specified"));
            };
            index += 2;
            continue;
        }
        let is_get = call.is_word(index, "get") && left >= 2;
        let is_set = call.is_word(index, "set") && left >= 3;
        let is_addition = call.is_word(index, "incrby") && left >= 3;
        if !is_get && !is_set && !is_addition {
            return Err(Failure::SYNTAX);
        }
        let kind = Kind::parse(call.at(index + 1)).ok_or(Failure::reply(
            "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.",
        ))?;
        let place = bit_place(call, call.at(index + 2), Some(kind.width))?;
        let action = if is_get {
            Action::Get
        } else if is_set {
            Action::Set(call.integer(index + 3)?)
        } else {
            Action::Add(call.integer(index + 3)?)
        };
        operations.push(Operation {
            kind,
            place,
            overflow,
            action,
        });
        index += if is_get { 3 } else { 4 };
    }
    let only_reads = |operation: &Operation| matches!(operation.action, Action::Get);
    if !may_write && !operations.iter().all(only_reads) {
        return Err(Failure::reply(
            "ERR BITFIELD_RO only supports the GET subcommand",
        ));
    }
    Ok(operations)
}

fn bitfield(call: &mut Call<'_, '_, '_>, may_write: bool) -> Outcome {
    let (database, key) = (call.client.database, call.at(1));
    let operations = operations(call, may_write)?;
    let written_end = operations
        .iter()
        .filter(|operation| !matches!(operation.action, Action::Get))
        .map(|operation| (operation.place + operation.kind.places()).div_ceil(8))
        .max();
    let (old, lifetime) = owned(call, key)?;
    let mut value = old.unwrap_or_default();
    let mut is_changed = false;
    if let Some(end) = written_end.filter(|end| *end > value.len()) {
        check_length(call, end)?;
        value.resize(end, 0);
        is_changed = true;
    }
    call.reply.array(operations.len());
    for Operation {
        kind,
        place,
        overflow,
        action,
    } in operations
    {
        let found = kind.read(&value, place);
        let (number, answers_old) = match action {
            Action::Get => (None, true),
            // An unsigned field takes the bits of a negative number.
            Action::Set(number) if !kind.is_signed => {
                (Some(i128::from(number.cast_unsigned())), true)
            }
            Action::Set(number) => (Some(i128::from(number)), true),
            Action::Add(amount) => (Some(found + i128::from(amount)), false),
        };
        let fitting = match number {
            None => Some(found),
            Some(number) => kind.fit(number, overflow),
        };
        let Some(fitting) = fitting else {
            call.reply.null();
            continue;
        };
        if fitting != found {
            kind.write(&mut value, place, fitting);
            is_changed = true;
        }
        let answer = if answers_old { found } else { fitting };
        call.reply
            .integer(i64::try_from(answer).unwrap_or(i64::MAX));
    }
    if is_changed {
        call.store.changes.put(database, key, &value, lifetime);
        let class = EventClasses::STRING;
        call.store.changes.event(class, "setbit", database, key);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> Kind {
        Kind::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn kinds_have_a_width_that_a_reply_can_hold() {
        assert_eq!(kind("i64").range().1, i128::from(i64::MAX));
        assert_eq!(kind("u63").range().1, i128::from(i64::MAX));
        for wrong in ["u64", "i65", "u0", "x8", "u", "", "i-1"] {
            assert_eq!(Kind::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn numbers_that_do_not_fit_wrap_saturate_or_fail() {
        for (name, number, wrapped, saturated) in [
            ("i8", 128, -128, 127),
            ("i8", -129, 127, -128),
            ("u8", 257, 1, 255),
            ("u8", -1, 255, 0),
            ("i64", 1 << 63, -(1 << 63), (1 << 63) - 1),
            ("u1", 3, 1, 1),
        ] {
            let kind = kind(name);
            assert_eq!(kind.fit(number, Overflow::Wrap), Some(wrapped), "{name}");
            assert_eq!(kind.fit(number, Overflow::Saturate), Some(saturated));
            assert_eq!(kind.fit(number, Overflow::Fail), None);
        }
    }

    #[test]
    fn what_is_written_is_read_at_any_place() {
        for name in ["i5", "u5", "i64", "u63", "i1"] {
            let kind = kind(name);
            let (least, most) = kind.range();
            for place in 0..9 {
                for number in [least, most, 0.clamp(least, most), most / 3] {
                    let mut bytes = [0xA5; 10];
                    kind.write(&mut bytes, place, number);
                    assert_eq!(kind.read(&bytes, place), number, "{name} {place}");
                    assert_eq!(bit(&bytes, place + kind.places()), {
                        bit(&[0xA5; 10], place + kind.places())
                    });
                }
            }
        }
    }
}
