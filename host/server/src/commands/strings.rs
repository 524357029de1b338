//! Strings: whole values, parts of them, counters.

use super::arguments::non_negative;
use super::lifetimes::{Expiry, expiry_at, expiry_option};
use super::{Call, Command, Flags, Keys, Outcome};
use crate::failure::Failure;
use crate::store::{AHEAD_KEYS_MAX, Lifetime, StoredValue};
use lightning_ops::configuration::EventClasses;

const WRITE: Flags = Flags::WRITE.with(Flags::DENY_OOM);
const FAST_WRITE: Flags = WRITE.with(Flags::FAST);
const FAST_READ: Flags = Flags::READONLY.with(Flags::FAST);

macro_rules! command {
    ($name:literal, $arity:literal, $flags:expr, $keys:expr, $since:literal, $summary:literal, $complexity:literal, $run:expr) => {
        Command {
            name: $name,
            arity: $arity,
            flags: $flags,
            keys: $keys,
            group: "string",
            since: $since,
            summary: $summary,
            complexity: $complexity,
            run: $run,
            subcommands: &[],
        }
    };
}

pub(super) const COMMANDS: &[Command] = &[
    command!(
        "get",
        2,
        FAST_READ,
        Keys::ONE,
        "1.0.0",
        "Gives the value of a key.",
        "O(log N)",
        get
    ),
    command!(
        "set",
        -3,
        WRITE,
        Keys::ONE,
        "1.0.0",
        "Gives a key a value, whatever it had.",
        "O(1)",
        set
    ),
    command!(
        "setnx",
        3,
        FAST_WRITE,
        Keys::ONE,
        "1.0.0",
        "Gives a key a value where it has none.",
        "O(log N)",
        setnx
    ),
    command!(
        "setex",
        4,
        WRITE,
        Keys::ONE,
        "2.0.0",
        "Gives a key a value for some seconds.",
        "O(1)",
        setex
    ),
    command!(
        "psetex",
        4,
        WRITE,
        Keys::ONE,
        "2.6.0",
        "Gives a key a value for some milliseconds.",
        "O(1)",
        psetex
    ),
    command!(
        "getset",
        3,
        FAST_WRITE,
        Keys::ONE,
        "1.0.0",
        "Gives a key a value and answers the one before.",
        "O(log N)",
        getset
    ),
    command!(
        "getdel",
        2,
        Flags::WRITE.with(Flags::FAST),
        Keys::ONE,
        "6.2.0",
        "Removes a key and answers its value.",
        "O(log N)",
        getdel
    ),
    command!(
        "getex",
        -2,
        Flags::WRITE.with(Flags::FAST),
        Keys::ONE,
        "6.2.0",
        "Gives the value of a key and changes its time of expiry.",
        "O(log N)",
        getex
    ),
    command!(
        "mget",
        -2,
        FAST_READ,
        Keys::ALL,
        "1.0.0",
        "Gives the values of keys.",
        "O(K log N) for K keys",
        mget
    ),
    command!(
        "mset",
        -3,
        WRITE,
        Keys::places(1, -1, 2),
        "1.0.1",
        "Gives keys values, all or none.",
        "O(K) for K keys",
        mset
    ),
    command!(
        "msetnx",
        -3,
        WRITE,
        Keys::places(1, -1, 2),
        "1.0.1",
        "Gives keys values where none of them has one.",
        "O(K log N) for K keys",
        msetnx
    ),
    command!(
        "strlen",
        2,
        FAST_READ,
        Keys::ONE,
        "2.2.0",
        "Gives the length of a value.",
        "O(log N)",
        strlen
    ),
    command!(
        "append",
        3,
        FAST_WRITE,
        Keys::ONE,
        "2.0.0",
        "Puts bytes behind a value.",
        "O(L) for a value of L bytes",
        append
    ),
    command!(
        "getrange",
        4,
        Flags::READONLY,
        Keys::ONE,
        "2.4.0",
        "Gives a part of a value.",
        "O(L) for a value of L bytes",
        getrange
    ),
    command!(
        "substr",
        4,
        Flags::READONLY,
        Keys::ONE,
        "1.0.0",
        "The same as GETRANGE.",
        "O(L) for a value of L bytes",
        getrange
    ),
    command!(
        "setrange",
        4,
        WRITE,
        Keys::ONE,
        "2.2.0",
        "Writes over a part of a value.",
        "O(L) for a value of L bytes",
        setrange
    ),
];

/// The lifetime that a value has.
pub(super) fn lifetime_of(value: &StoredValue<'_>) -> Lifetime {
    value.expiry_ms().map_or(Lifetime::Endless, Lifetime::Until)
}

/// A string that is to be changed: its bytes and lifetime, nothing where there is none.
pub(super) fn owned(
    call: &mut Call<'_, '_, '_>,
    key: &[u8],
) -> Result<(Option<Vec<u8>>, Lifetime), Failure> {
    let database = call.client.database;
    Ok(match call.store.get(database, key)? {
        Some(value) => (Some(value.bytes().to_vec()), lifetime_of(&value)),
        None => (None, Lifetime::Endless),
    })
}

/// Refuses a value that would be too long.
pub(super) fn check_length(call: &Call<'_, '_, '_>, length: usize) -> Outcome {
    let longest = call.server.string_bytes_max();
    if u64::try_from(length).unwrap_or(u64::MAX) > longest {
        return Err(Failure::TOO_LONG);
    }
    Ok(())
}

fn get(call: &mut Call<'_, '_, '_>) -> Outcome {
    let database = call.client.database;
    match call.store.get(database, call.arguments.at(1))? {
        Some(value) => call.reply.bulk(value.bytes()),
        None => call.reply.null(),
    }
    Ok(())
}

fn set(call: &mut Call<'_, '_, '_>) -> Outcome {
    let (key, value) = (call.at(1), call.at(2));
    let (mut if_absent, mut if_present, mut gives_old) = (false, false, false);
    let mut expiry = Expiry::Unsaid;
    let mut index = 3;
    while index < call.count() {
        if call.is_word(index, "nx") && !if_present {
            if_absent = true;
        } else if call.is_word(index, "xx") && !if_absent {
            if_present = true;
        } else if call.is_word(index, "get") {
            gives_old = true;
        } else if call.is_word(index, "keepttl") && matches!(expiry, Expiry::Unsaid | Expiry::Keep)
        {
            expiry = Expiry::Keep;
        } else if let Some(given) = expiry_option(call, index)?
            && expiry.may_become(given)
        {
            expiry = given;
            index += 1;
        } else {
            return Err(Failure::SYNTAX);
        }
        index += 1;
    }
    check_length(call, value.len())?;
    let database = call.client.database;
    let mut lifetime = match expiry {
        Expiry::Given(given) => given.lifetime(call, "set")?,
        _ => Lifetime::Endless,
    };
    let (mut may_set, mut is_missed) = (true, false);
    // Most don't look at what is there.
    if if_absent || if_present || gives_old || expiry == Expiry::Keep {
        let old = call.store.get(database, key)?;
        if expiry == Expiry::Keep {
            lifetime = old.as_ref().map_or(Lifetime::Endless, lifetime_of);
        }
        may_set = !(if_absent && old.is_some() || if_present && old.is_none());
        is_missed = gives_old && old.is_none();
        if gives_old {
            call.reply.bulk_or_null(old.as_ref().map(|old| old.bytes()));
        }
    }
    if is_missed {
        let class = EventClasses::KEY_MISS;
        call.store.changes.event(class, "keymiss", database, key);
    }
    if may_set {
        let changes = &mut *call.store.changes;
        changes.put(database, key, value, lifetime);
        changes.event(EventClasses::STRING, "set", database, key);
        if matches!(expiry, Expiry::Given(_)) {
            changes.event(EventClasses::GENERIC, "expire", database, key);
        }
    }
    match (gives_old, may_set) {
        (true, _) => {}
        (false, true) => call.reply.ok(),
        (false, false) => call.reply.null(),
    }
    Ok(())
}

/// Gives a key a value that stays.
fn put_new(call: &mut Call<'_, '_, '_>, database: usize, key: &[u8], value: &[u8]) {
    let changes = &mut *call.store.changes;
    changes.put(database, key, value, Lifetime::Endless);
    changes.event(EventClasses::STRING, "set", database, key);
}

fn setnx(call: &mut Call<'_, '_, '_>) -> Outcome {
    let (database, key, value) = (call.client.database, call.at(1), call.at(2));
    check_length(call, value.len())?;
    let is_free = !call.store.exists(database, key)?;
    if is_free {
        put_new(call, database, key, value);
    }
    call.reply.flag(is_free);
    Ok(())
}

fn set_for(call: &mut Call<'_, '_, '_>, unit_ms: i64, command: &str) -> Outcome {
    let (database, key, value) = (call.client.database, call.at(1), call.at(3));
    check_length(call, value.len())?;
    let at = expiry_at(call, call.at(2), unit_ms, false, command)?;
    let changes = &mut *call.store.changes;
    changes.put(database, key, value, Lifetime::Until(at));
    changes.event(EventClasses::STRING, "set", database, key);
    changes.event(EventClasses::GENERIC, "expire", database, key);
    call.reply.ok();
    Ok(())
}

fn setex(call: &mut Call<'_, '_, '_>) -> Outcome {
    set_for(call, 1000, "setex")
}

fn psetex(call: &mut Call<'_, '_, '_>) -> Outcome {
    set_for(call, 1, "psetex")
}

fn getset(call: &mut Call<'_, '_, '_>) -> Outcome {
    let (database, key, value) = (call.client.database, call.at(1), call.at(2));
    check_length(call, value.len())?;
    let old = call.store.get(database, key)?;
    call.reply.bulk_or_null(old.as_ref().map(|old| old.bytes()));
    drop(old);
    put_new(call, database, key, value);
    Ok(())
}

fn getdel(call: &mut Call<'_, '_, '_>) -> Outcome {
    let (database, key) = (call.client.database, call.at(1));
    let old = call.store.get(database, key)?;
    call.reply.bulk_or_null(old.as_ref().map(|old| old.bytes()));
    let existed = old.is_some();
    drop(old);
    if existed {
        call.store.changes.delete(database, key);
        let class = EventClasses::GENERIC;
        call.store.changes.event(class, "del", database, key);
    }
    Ok(())
}

fn getex(call: &mut Call<'_, '_, '_>) -> Outcome {
    let (database, key) = (call.client.database, call.at(1));
    let mut expiry = Expiry::Unsaid;
    let mut index = 2;
    while index < call.count() {
        if call.is_word(index, "persist") && matches!(expiry, Expiry::Unsaid | Expiry::Persist) {
            expiry = Expiry::Persist;
        } else if let Some(given) = expiry_option(call, index)?
            && expiry.may_become(given)
        {
            expiry = given;
            index += 1;
        } else {
            return Err(Failure::SYNTAX);
        }
        index += 1;
    }
    let (value, lifetime) = owned(call, key)?;
    let Some(value) = value else {
        call.reply.null();
        return Ok(());
    };
    let lifetime = match expiry {
        Expiry::Persist if lifetime != Lifetime::Endless => Some(Lifetime::Endless),
        Expiry::Given(given) => Some(given.lifetime(call, "getex")?),
        _ => None,
    };
    call.reply.bulk(&value);
    if let Some(lifetime) = lifetime {
        let event = match lifetime {
            Lifetime::Endless => "persist",
            Lifetime::Until(at) if at <= call.store.now_ms() => "del",
            Lifetime::Until(_) => "expire",
        };
        let changes = &mut *call.store.changes;
        changes.put(database, key, &value, lifetime);
        changes.event(EventClasses::GENERIC, event, database, key);
    }
    Ok(())
}

fn mget(call: &mut Call<'_, '_, '_>) -> Outcome {
    let database = call.client.database;
    call.reply.array(call.arguments.len() - 1);
    for (number, key) in call.arguments.from(1).enumerate() {
        if number % AHEAD_KEYS_MAX == 0 {
            call.store
                .prefetch(database, call.arguments.from(1 + number));
        }
        let value = call.store.get(database, key)?;
        call.reply
            .bulk_or_null(value.as_ref().map(|value| value.bytes()));
        if call.reply.position() > call.server.limits().output_bytes_max() {
            return Err(Failure::LONG_REPLY);
        }
    }
    Ok(())
}

fn pairs(call: &Call<'_, '_, '_>, command: &str) -> Outcome {
    if call.count().is_multiple_of(2) {
        return Err(Failure::reply(format!(
            "ERR wrong number of arguments for '{command}' command"
        )));
    }
    for index in (2..call.count()).step_by(2) {
        check_length(call, call.at(index).len())?;
    }
    Ok(())
}

fn put_pairs(call: &mut Call<'_, '_, '_>) {
    let database = call.client.database;
    for index in (1..call.count()).step_by(2) {
        let (key, value) = (call.at(index), call.at(index + 1));
        put_new(call, database, key, value);
    }
}

fn mset(call: &mut Call<'_, '_, '_>) -> Outcome {
    pairs(call, "mset")?;
    put_pairs(call);
    call.reply.ok();
    Ok(())
}

fn msetnx(call: &mut Call<'_, '_, '_>) -> Outcome {
    pairs(call, "msetnx")?;
    let database = call.client.database;
    for index in (1..call.count()).step_by(2) {
        if call.store.exists(database, call.at(index))? {
            call.reply.flag(false);
            return Ok(());
        }
    }
    put_pairs(call);
    call.reply.flag(true);
    Ok(())
}

fn strlen(call: &mut Call<'_, '_, '_>) -> Outcome {
    let database = call.client.database;
    let value = call.store.get(database, call.at(1))?;
    call.reply
        .length(value.as_ref().map_or(0, |value| value.bytes().len()));
    Ok(())
}

fn append(call: &mut Call<'_, '_, '_>) -> Outcome {
    let (database, key) = (call.client.database, call.at(1));
    let (old, lifetime) = owned(call, key)?;
    let mut value = old.unwrap_or_default();
    check_length(call, value.len() + call.at(2).len())?;
    value.extend_from_slice(call.at(2));
    call.store.changes.put(database, key, &value, lifetime);
    let class = EventClasses::STRING;
    call.store.changes.event(class, "append", database, key);
    call.reply.length(value.len());
    Ok(())
}

/// The part of `length` bytes from `start` to `end`, both included, where negative ones
/// count from the end.
pub(super) fn part(start: i64, end: i64, length: usize) -> std::ops::Range<usize> {
    let length_signed = i64::try_from(length).unwrap_or(i64::MAX);
    if start < 0 && end < 0 && start > end {
        return 0..0;
    }
    let from_end = |place: i64| {
        let place = if place < 0 {
            place.saturating_add(length_signed)
        } else {
            place
        };
        place.max(0)
    };
    let (start, end) = (from_end(start), from_end(end).min(length_signed - 1));
    if start > end || length == 0 {
        return 0..0;
    }
    non_negative(start).unwrap_or(0)..non_negative(end).map_or(0, |end| end + 1)
}

fn getrange(call: &mut Call<'_, '_, '_>) -> Outcome {
    let (start, end) = (call.integer(2)?, call.integer(3)?);
    let database = call.client.database;
    match call.store.get(database, call.arguments.at(1))? {
        Some(value) => {
            let bytes = value.bytes();
            call.reply.bulk(&bytes[part(start, end, bytes.len())]);
        }
        None => call.reply.bulk(b""),
    }
    Ok(())
}

fn setrange(call: &mut Call<'_, '_, '_>) -> Outcome {
    let (database, key, patch) = (call.client.database, call.at(1), call.at(3));
    let offset =
        non_negative(call.integer(2)?).ok_or(Failure::reply("ERR offset is out of range"))?;
    let (old, lifetime) = owned(call, key)?;
    if patch.is_empty() {
        call.reply.length(old.map_or(0, |old| old.len()));
        return Ok(());
    }
    let end = offset.saturating_add(patch.len());
    check_length(call, end)?;
    let mut value = old.unwrap_or_default();
    if value.len() < end {
        value.resize(end, 0);
    }
    value[offset..end].copy_from_slice(patch);
    call.store.changes.put(database, key, &value, lifetime);
    let class = EventClasses::STRING;
    call.store.changes.event(class, "setrange", database, key);
    call.reply.length(value.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_count_from_either_end() {
        for (start, end, length, expected) in [
            (0, 3, 5, 0..4),
            (0, -1, 5, 0..5),
            (-3, -1, 5, 2..5),
            (5, 3, 5, 0..0),
            (0, 100, 5, 0..5),
            (-100, 100, 5, 0..5),
            (-1, -100, 5, 0..0),
            (-1, -2, 5, 0..0),
            (0, 0, 0, 0..0),
            (i64::MIN, i64::MAX, 5, 0..5),
        ] {
            assert_eq!(part(start, end, length), expected, "{start} {end} {length}");
        }
    }
}
