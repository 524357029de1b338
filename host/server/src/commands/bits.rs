//! Strings as rows of bits, the highest bit of the first byte first.

use super::strings::{check_length, owned, part};
use super::{Call, Command, Flags, Keys, Outcome};
use crate::failure::Failure;
use crate::protocol::integer;
use crate::store::Lifetime;
use lightning_ops::configuration::EventClasses;
use std::ops::Range;

const WRITE: Flags = Flags::WRITE.with(Flags::DENY_OOM);
const FAST_READ: Flags = Flags::READONLY.with(Flags::FAST);

pub(super) const COMMANDS: &[Command] = &[
    Command::new("bitmap", "setbit", 4, setbit)
        .flags(WRITE)
        .keys(Keys::ONE)
        .told(
            "2.2.0",
            "Sets or clears a bit, and answers what it was.",
            "O(L) for a value of L bytes",
        ),
    Command::new("bitmap", "getbit", 3, getbit)
        .flags(FAST_READ)
        .keys(Keys::ONE)
        .told("2.2.0", "Gives a bit.", "O(log N)"),
    Command::new("bitmap", "bitcount", -2, bitcount)
        .flags(Flags::READONLY)
        .keys(Keys::ONE)
        .told(
            "2.6.0",
            "Counts the bits that are set.",
            "O(L) for L bytes that are looked at",
        ),
    Command::new("bitmap", "bitpos", -3, bitpos)
        .flags(Flags::READONLY)
        .keys(Keys::ONE)
        .told(
            "2.8.7",
            "Finds the first bit that is set, or isn't.",
            "O(L) for L bytes that are looked at",
        ),
    Command::new("bitmap", "bitop", -4, bitop)
        .flags(WRITE)
        .keys(Keys::places(2, -1, 1))
        .told(
            "2.6.0",
            "Combines values bit by bit.",
            "O(L) for values of L bytes together",
        ),
];

/// The place of a bit, from an argument. With `#` it counts fields of `width` bits.
pub(super) fn bit_place(
    call: &Call<'_, '_, '_>,
    argument: &[u8],
    width: Option<u32>,
) -> Result<usize, Failure> {
    let invalid = || Failure::reply("ERR bit offset is not an integer or out of range");
    let (digits, step) = match (argument, width) {
        ([b'#', digits @ ..], Some(width)) => (digits, u64::from(width)),
        _ => (argument, 1),
    };
    let place = integer(digits)
        .and_then(|place| u64::try_from(place).ok())
        .and_then(|place| place.checked_mul(step))
        .filter(|place| place / 8 < call.server.string_bytes_max())
        .ok_or_else(invalid)?;
    usize::try_from(place).map_err(|_| invalid())
}

fn mask(bit: usize) -> u8 {
    0x80 >> (bit % 8)
}

/// The bit at a place; behind the end all are clear.
pub(super) fn bit(bytes: &[u8], place: usize) -> bool {
    bytes
        .get(place / 8)
        .is_some_and(|byte| byte & mask(place) != 0)
}

/// Sets or clears a bit that is there.
pub(super) fn put_bit(bytes: &mut [u8], place: usize, is_set: bool) {
    if let Some(byte) = bytes.get_mut(place / 8) {
        if is_set {
            *byte |= mask(place);
        } else {
            *byte &= !mask(place);
        }
    }
}

fn setbit(call: &mut Call<'_, '_, '_>) -> Outcome {
    let (database, key) = (call.client.database, call.at(1));
    let place = bit_place(call, call.at(2), None)?;
    let is_set = match call.at(3) {
        b"0" => false,
        b"1" => true,
        _ => {
            return Err(Failure::reply("ERR bit is not an integer or out of range"));
        }
    };
    let (old, lifetime) = owned(call, key)?;
    let is_new = old.is_none();
    let mut value = old.unwrap_or_default();
    let was_set = bit(&value, place);
    let grows = value.len() <= place / 8;
    if grows {
        check_length(call, place / 8 + 1)?;
        value.resize(place / 8 + 1, 0);
    }
    if is_new || grows || was_set != is_set {
        put_bit(&mut value, place, is_set);
        call.store.changes.put(database, key, &value, lifetime);
        let class = EventClasses::STRING;
        call.store.changes.event(class, "setbit", database, key);
    }
    call.reply.flag(was_set);
    Ok(())
}

fn getbit(call: &mut Call<'_, '_, '_>) -> Outcome {
    let (database, key) = (call.client.database, call.at(1));
    let place = bit_place(call, call.at(2), None)?;
    let value = call.store.get(database, key)?;
    let is_set = value.is_some_and(|value| bit(value.bytes(), place));
    call.reply.flag(is_set);
    Ok(())
}

/// Whether the argument says that places are counted in bits.
fn counts_bits(call: &Call<'_, '_, '_>, index: usize) -> Result<bool, Failure> {
    if call.count() <= index || call.is_word(index, "byte") {
        Ok(false)
    } else if call.is_word(index, "bit") {
        Ok(true)
    } else {
        Err(Failure::SYNTAX)
    }
}

/// The bits from `start` to `end`, which count bits or bytes.
fn bits_of(start: i64, end: i64, length: usize, in_bits: bool) -> Range<usize> {
    if in_bits {
        part(start, end, length * 8)
    } else {
        let bytes = part(start, end, length);
        bytes.start * 8..bytes.end * 8
    }
}

fn count_ones(bytes: &[u8], bits: Range<usize>) -> u64 {
    let ones = |bytes: &[u8]| bytes.iter().map(|byte| u64::from(byte.count_ones())).sum();
    let whole = bits.start.div_ceil(8)..bits.end / 8;
    let single =
        |bits: Range<usize>| -> u64 { bits.map(|place| u64::from(bit(bytes, place))).sum() };
    match bytes.get(whole.clone()) {
        Some(middle) => {
            let middle: u64 = ones(middle);
            middle + single(bits.start..whole.start * 8) + single(whole.end * 8..bits.end)
        }
        None => single(bits),
    }
}

fn bitcount(call: &mut Call<'_, '_, '_>) -> Outcome {
    let (database, key) = (call.client.database, call.arguments.at(1));
    if !call.store.exists(database, key)? {
        call.reply.integer(0);
        return Ok(());
    }
    let (start, end) = match call.count() {
        2 => (0, -1),
        4 | 5 => (call.integer(2)?, call.integer(3)?),
        _ => return Err(Failure::SYNTAX),
    };
    if start < 0 && end < 0 && start > end {
        // Whatever the places count.
        call.reply.integer(0);
        return Ok(());
    }
    let in_bits = counts_bits(call, 4)?;
    let value = call.store.get(database, key)?;
    let bytes = value.as_ref().map_or(&[][..], |value| value.bytes());
    let count = count_ones(bytes, bits_of(start, end, bytes.len(), in_bits));
    call.reply.integer(i64::try_from(count).unwrap_or(i64::MAX));
    Ok(())
}

/// The first bit of a part that is like `is_set`.
fn find_bit(bytes: &[u8], bits: Range<usize>, is_set: bool) -> Option<usize> {
    let nothing = if is_set { 0 } else { 0xFF };
    let mut place = bits.start;
    while place < bits.end {
        let is_aligned = place.is_multiple_of(8) && place + 8 <= bits.end;
        if is_aligned && bytes.get(place / 8) == Some(&nothing) {
            place += 8;
        } else if bit(bytes, place) == is_set {
            return Some(place);
        } else {
            place += 1;
        }
    }
    None
}

fn bitpos(call: &mut Call<'_, '_, '_>) -> Outcome {
    let (database, key) = (call.client.database, call.arguments.at(1));
    let is_set = match call.integer(2)? {
        0 => false,
        1 => true,
        _ => return Err(Failure::reply("ERR The bit argument must be 1 or 0.")),
    };
    if !call.store.exists(database, key)? {
        call.reply.integer(if is_set { -1 } else { 0 });
        return Ok(());
    }
    if call.count() > 6 {
        return Err(Failure::SYNTAX);
    }
    let has_end = call.count() > 4;
    let start = if call.count() > 3 {
        call.integer(3)?
    } else {
        0
    };
    let in_bits = counts_bits(call, 5)?;
    let end = if has_end { call.integer(4)? } else { -1 };
    let value = call.store.get(database, key)?;
    let bytes = value.as_ref().map_or(&[][..], |value| value.bytes());
    // A place before the begin is the begin here, even for an end.
    let places = i64::try_from(if in_bits {
        bytes.len() * 8
    } else {
        bytes.len()
    });
    let places = places.unwrap_or(i64::MAX);
    let from_begin = |place: i64| {
        if place < 0 {
            place.saturating_add(places).max(0)
        } else {
            place
        }
    };
    let bits = bits_of(from_begin(start), from_begin(end), bytes.len(), in_bits);
    let place = match find_bit(bytes, bits.clone(), is_set) {
        Some(place) => i64::try_from(place).unwrap_or(i64::MAX),
        // Behind a value whose end nobody named all bits are clear.
        None if !is_set && !has_end && !bits.is_empty() => {
            i64::try_from(bits.end).unwrap_or(i64::MAX)
        }
        None => -1,
    };
    call.reply.integer(place);
    Ok(())
}

fn bitop(call: &mut Call<'_, '_, '_>) -> Outcome {
    let (database, target) = (call.client.database, call.at(2));
    let inverts = call.is_word(1, "not");
    let combine: fn(u8, u8) -> u8 = if call.is_word(1, "and") {
        |first, second| first & second
    } else if call.is_word(1, "or") || inverts {
        |first, second| first | second
    } else if call.is_word(1, "xor") {
        |first, second| first ^ second
    } else {
        return Err(Failure::SYNTAX);
    };
    if inverts && call.count() != 4 {
        return Err(Failure::reply(
            "ERR BITOP NOT must be called with a single source key.",
        ));
    }
    let mut result: Option<Vec<u8>> = None;
    for key in call.arguments.from(3) {
        let is_missed = {
            let source = call.store.get(database, key)?;
            let is_missed = source.is_none();
            let source = source.as_ref().map_or(&[][..], |value| value.bytes());
            match &mut result {
                None => result = Some(source.to_vec()),
                Some(result) => {
                    result.resize(result.len().max(source.len()), 0);
                    for (index, byte) in result.iter_mut().enumerate() {
                        *byte = combine(*byte, source.get(index).copied().unwrap_or(0));
                    }
                }
            }
            is_missed
        };
        if is_missed {
            let class = EventClasses::KEY_MISS;
            call.store.changes.event(class, "keymiss", database, key);
        }
    }
    let mut result = result.unwrap_or_default();
    if inverts {
        for byte in &mut result {
            *byte = !*byte;
        }
    }
    if !result.is_empty() {
        call.store
            .changes
            .put(database, target, &result, Lifetime::Endless);
        let class = EventClasses::STRING;
        call.store.changes.event(class, "set", database, target);
    } else if call.store.exists(database, target)? {
        call.store.changes.delete(database, target);
        let class = EventClasses::GENERIC;
        call.store.changes.event(class, "del", database, target);
    }
    call.reply.length(result.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_counted_and_found_in_any_part() {
        let bytes = [0b1010_0101, 0xFF, 0x00, 0b0000_0001];
        for begin in 0..=32 {
            for end in begin..=32 {
                let places = || (begin..end).filter(|place| bit(&bytes, *place));
                let count = u64::try_from(places().count()).unwrap();
                assert_eq!(count_ones(&bytes, begin..end), count, "{begin} {end}");
                assert_eq!(find_bit(&bytes, begin..end, true), places().next());
                let clear = (begin..end).find(|place| !bit(&bytes, *place));
                assert_eq!(find_bit(&bytes, begin..end, false), clear);
            }
        }
    }

    #[test]
    fn parts_are_in_bits_or_in_bytes() {
        assert_eq!(bits_of(0, -1, 3, false), 0..24);
        assert_eq!(bits_of(1, 1, 3, false), 8..16);
        assert_eq!(bits_of(5, -2, 3, true), 5..23);
        assert!(bits_of(3, 9, 3, false).is_empty());
    }
}
