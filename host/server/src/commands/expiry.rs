//! Times of expiry.

use super::strings::lifetime_of;
use super::{Call, Command, Flags, Keys, Outcome};
use crate::failure::Failure;
use crate::store::Lifetime;
use lightning_ops::configuration::EventClasses;

const FAST_READ: Flags = Flags::READONLY.with(Flags::FAST);
const FAST_WRITE: Flags = Flags::WRITE.with(Flags::FAST);

macro_rules! command {
    ($name:literal, $arity:literal, $flags:expr, $since:literal, $summary:literal, $run:expr) => {
        Command {
            name: $name,
            arity: $arity,
            flags: $flags,
            keys: Keys::ONE,
            group: "generic",
            since: $since,
            summary: $summary,
            complexity: "O(log N)",
            run: $run,
            subcommands: &[],
        }
    };
}

pub(super) const COMMANDS: &[Command] = &[
    command!(
        "expire",
        -3,
        FAST_WRITE,
        "1.0.0",
        "Lets a key expire after some seconds.",
        |call| expire(call, "expire", 1000, false)
    ),
    command!(
        "pexpire",
        -3,
        FAST_WRITE,
        "2.6.0",
        "Lets a key expire after some milliseconds.",
        |call| expire(call, "pexpire", 1, false)
    ),
    command!(
        "expireat",
        -3,
        FAST_WRITE,
        "1.2.0",
        "Lets a key expire at a second of Unix time.",
        |call| expire(call, "expireat", 1000, true)
    ),
    command!(
        "pexpireat",
        -3,
        FAST_WRITE,
        "2.6.0",
        "Lets a key expire at a millisecond of Unix time.",
        |call| expire(call, "pexpireat", 1, true)
    ),
    command!(
        "persist",
        2,
        FAST_WRITE,
        "2.2.0",
        "Takes a key's time of expiry away.",
        persist
    ),
    command!(
        "ttl",
        2,
        FAST_READ,
        "1.0.0",
        "Tells in how many seconds a key expires.",
        |call| left(call, 1000, false)
    ),
    command!(
        "pttl",
        2,
        FAST_READ,
        "2.6.0",
        "Tells in how many milliseconds a key expires.",
        |call| left(call, 1, false)
    ),
    command!(
        "expiretime",
        2,
        FAST_READ,
        "7.0.0",
        "Tells the second of Unix time at which a key expires.",
        |call| left(call, 1000, true)
    ),
    command!(
        "pexpiretime",
        2,
        FAST_READ,
        "7.0.0",
        "Tells the millisecond of Unix time at which a key expires.",
        |call| left(call, 1, true)
    ),
];

#[derive(Default)]
struct Conditions {
    if_endless: bool,
    if_expiring: bool,
    if_later: bool,
    if_earlier: bool,
}

fn conditions(call: &Call<'_, '_, '_>) -> Result<Conditions, Failure> {
    let mut conditions = Conditions::default();
    for index in 3..call.count() {
        if call.is_word(index, "nx") {
            conditions.if_endless = true;
        } else if call.is_word(index, "xx") {
            conditions.if_expiring = true;
        } else if call.is_word(index, "gt") {
            conditions.if_later = true;
        } else if call.is_word(index, "lt") {
            conditions.if_earlier = true;
        } else {
            let word = String::from_utf8_lossy(call.at(index)).into_owned();
            return Err(Failure::reply(format!("ERR Unsupported option {word}")));
        }
    }
    let Conditions {
        if_endless,
        if_expiring,
        if_later,
        if_earlier,
    } = conditions;
    if if_endless && (if_expiring || if_later || if_earlier) {
        return Err(Failure::reply(
            "ERR NX and XX, GT or LT options at the same time are not compatible",
        ));
    }
    if if_later && if_earlier {
        return Err(Failure::reply(
            "ERR GT and LT options at the same time are not compatible",
        ));
    }
    Ok(conditions)
}

fn expire(call: &mut Call<'_, '_, '_>, name: &str, unit_ms: i64, is_absolute: bool) -> Outcome {
    let (database, key) = (call.client.database, call.at(1));
    let conditions = conditions(call)?;
    let number = call.integer(2)?;
    let invalid = || Failure::reply(format!("ERR invalid expire time in '{name}' command"));
    let now = i64::try_from(call.store.now_ms()).unwrap_or(i64::MAX);
    let span = number.checked_mul(unit_ms).ok_or_else(invalid)?;
    let at = if is_absolute {
        span
    } else {
        span.checked_add(now).ok_or_else(invalid)?
    };
    let Some(value) = call.store.get(database, key)? else {
        call.reply.flag(false);
        return Ok(());
    };
    let old = value
        .expiry_ms()
        .map(|old| i64::try_from(old).unwrap_or(i64::MAX));
    // What never expires is later than any time.
    let is_refused = conditions.if_endless && old.is_some()
        || conditions.if_expiring && old.is_none()
        || conditions.if_later && old.is_none_or(|old| at <= old)
        || conditions.if_earlier && old.is_some_and(|old| at >= old);
    if is_refused {
        drop(value);
        call.reply.flag(false);
        return Ok(());
    }
    let bytes = value.bytes().to_vec();
    drop(value);
    match u64::try_from(at) {
        Ok(at_ms) if at > now => {
            let lifetime = Lifetime::Until(at_ms);
            call.store.changes.put(database, key, &bytes, lifetime);
            let class = EventClasses::GENERIC;
            call.store.changes.event(class, "expire", database, key);
        }
        _ => {
            call.store.changes.delete(database, key);
            let class = EventClasses::GENERIC;
            call.store.changes.event(class, "del", database, key);
        }
    }
    call.reply.flag(true);
    Ok(())
}

fn persist(call: &mut Call<'_, '_, '_>) -> Outcome {
    let (database, key) = (call.client.database, call.at(1));
    let value = call.store.get(database, key)?;
    let Some(value) = value.filter(|value| lifetime_of(value) != Lifetime::Endless) else {
        call.reply.flag(false);
        return Ok(());
    };
    let bytes = value.bytes().to_vec();
    drop(value);
    call.store
        .changes
        .put(database, key, &bytes, Lifetime::Endless);
    let class = EventClasses::GENERIC;
    call.store.changes.event(class, "persist", database, key);
    call.reply.flag(true);
    Ok(())
}

fn left(call: &mut Call<'_, '_, '_>, unit_ms: u64, is_absolute: bool) -> Outcome {
    let (database, key) = (call.client.database, call.at(1));
    let now = call.store.now_ms();
    let answer = match call.store.get(database, key)? {
        None => -2,
        Some(value) => match value.expiry_ms() {
            None => -1,
            Some(at) if is_absolute => i64::try_from(at / unit_ms).unwrap_or(i64::MAX),
            Some(at) => {
                let left = at.saturating_sub(now);
                i64::try_from((left + unit_ms / 2) / unit_ms).unwrap_or(i64::MAX)
            }
        },
    };
    call.reply.integer(answer);
    Ok(())
}
