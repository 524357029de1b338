//! Keys, whatever their values: there or not, removed, renamed, copied, moved.

use super::strings::lifetime_of;
use super::{Call, Command, Flags, Keys, Outcome};
use crate::failure::Failure;
use crate::glob;
use crate::protocol::integer;
use crate::store::Changes;
use lightning_ops::configuration::EventClasses;
use std::ops::Bound;

const FAST_READ: Flags = Flags::READONLY.with(Flags::FAST);
const FAST_WRITE: Flags = Flags::WRITE.with(Flags::FAST);
const WHOLE_READ: Flags = Flags::READONLY.with(Flags::SLOW_HERE);

macro_rules! command {
    ($name:literal, $arity:literal, $flags:expr, $keys:expr, $since:literal, $summary:literal, $complexity:literal, $run:expr) => {
        Command {
            name: $name,
            arity: $arity,
            flags: $flags,
            keys: $keys,
            group: "generic",
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
        "del",
        -2,
        Flags::WRITE,
        Keys::ALL,
        "1.0.0",
        "Removes keys.",
        "O(K log N) for K keys",
        del
    ),
    command!(
        "unlink",
        -2,
        FAST_WRITE,
        Keys::ALL,
        "4.0.0",
        "Removes keys.",
        "O(K log N) for K keys",
        del
    ),
    command!(
        "exists",
        -2,
        FAST_READ,
        Keys::ALL,
        "1.0.0",
        "Counts how many of the keys are there.",
        "O(K log N) for K keys",
        exists
    ),
    command!(
        "touch",
        -2,
        FAST_READ,
        Keys::ALL,
        "3.2.1",
        "Counts how many of the keys are there.",
        "O(K log N) for K keys",
        exists
    ),
    command!(
        "type",
        2,
        FAST_READ,
        Keys::ONE,
        "1.0.0",
        "Tells the type of a value.",
        "O(log N)",
        kind
    ),
    command!(
        "rename",
        3,
        Flags::WRITE,
        Keys::places(1, 2, 1),
        "1.0.0",
        "Gives a value another key.",
        "O(L) for a value of L bytes",
        |call| rename(call, false)
    ),
    command!(
        "renamenx",
        3,
        FAST_WRITE,
        Keys::places(1, 2, 1),
        "1.0.0",
        "Gives a value another key, where that is free.",
        "O(L) for a value of L bytes",
        |call| rename(call, true)
    ),
    command!(
        "copy",
        -3,
        Flags::WRITE.with(Flags::DENY_OOM),
        Keys::places(1, 2, 1),
        "6.2.0",
        "Copies a value to another key.",
        "O(L) for a value of L bytes",
        copy
    ),
    command!(
        "move",
        3,
        FAST_WRITE,
        Keys::ONE,
        "1.0.0",
        "Moves a key to another database.",
        "O(L) for a value of L bytes",
        move_key
    ),
    command!(
        "keys",
        2,
        WHOLE_READ,
        Keys::NONE,
        "1.0.0",
        "Lists the keys that match a pattern.",
        "O(N); O(M) for M keys that begin as the pattern does",
        keys
    ),
    command!(
        "randomkey",
        1,
        Flags::READONLY,
        Keys::NONE,
        "1.0.0",
        "Gives some key; not each with the same chance.",
        "O(log N)",
        random_key
    ),
    command!(
        "dbsize",
        1,
        WHOLE_READ,
        Keys::NONE,
        "1.0.0",
        "Counts the keys, with those that expired and were not removed yet.",
        "O(M log N) for M keys that stand in memory only",
        dbsize
    ),
    command!(
        "flushdb",
        -1,
        Flags::WRITE,
        Keys::NONE,
        "1.0.0",
        "Removes all keys of the database.",
        "O(1); the room comes back in the background",
        flushdb
    ),
    command!(
        "flushall",
        -1,
        Flags::WRITE,
        Keys::NONE,
        "1.0.0",
        "Removes all keys of all databases.",
        "O(1); the room comes back in the background",
        flushall
    ),
    command!(
        "swapdb",
        3,
        FAST_WRITE,
        Keys::NONE,
        "4.0.0",
        "Lets two databases change their numbers.",
        "O(1)",
        swapdb
    ),
];

fn del(call: &mut Call<'_, '_, '_>) -> Outcome {
    let database = call.client.database;
    let mut removed = 0;
    let mut seen: Vec<&[u8]> = Vec::new();
    for key in call.arguments.from(1) {
        if !seen.contains(&key) && call.store.exists(database, key)? {
            removed += 1;
            call.store.changes.delete(database, key);
            let class = EventClasses::GENERIC;
            call.store.changes.event(class, "del", database, key);
        }
        // One key alone needs no looking back.
        if call.arguments.len() > 2 {
            seen.push(key);
        }
    }
    call.reply.integer(removed);
    Ok(())
}

fn exists(call: &mut Call<'_, '_, '_>) -> Outcome {
    let database = call.client.database;
    let mut found = 0;
    for key in call.arguments.from(1) {
        found += i64::from(call.store.exists(database, key)?);
    }
    call.reply.integer(found);
    Ok(())
}

fn kind(call: &mut Call<'_, '_, '_>) -> Outcome {
    let (database, key) = (call.client.database, call.at(1));
    let is_there = call.store.exists(database, key)?;
    call.reply.simple(if is_there { "string" } else { "none" });
    Ok(())
}

const NO_SUCH_KEY: Failure = Failure::Reply(std::borrow::Cow::Borrowed("ERR no such key"));
const SAME_OBJECT: Failure = Failure::Reply(std::borrow::Cow::Borrowed(
    "ERR source and destination objects are the same",
));

/// A key that takes the place of another is a new one, as in Redis.
fn note_replaced(changes: &mut Changes, is_free: bool, database: usize, key: &[u8]) {
    if !is_free {
        changes.event(EventClasses::NEW, "new", database, key);
    }
}

fn rename(call: &mut Call<'_, '_, '_>, only_if_free: bool) -> Outcome {
    let (database, from, to) = (call.client.database, call.at(1), call.at(2));
    let is_free = !call.store.exists(database, to)?;
    let value = call.store.get(database, from)?.ok_or(NO_SUCH_KEY)?;
    let (bytes, lifetime) = (value.bytes().to_vec(), lifetime_of(&value));
    drop(value);
    let may_rename = is_free || !only_if_free;
    if may_rename && from != to {
        let changes = &mut *call.store.changes;
        note_replaced(changes, is_free, database, to);
        changes.put(database, to, &bytes, lifetime);
        changes.delete(database, from);
        changes.event(EventClasses::GENERIC, "rename_from", database, from);
        changes.event(EventClasses::GENERIC, "rename_to", database, to);
    }
    if only_if_free {
        call.reply.flag(may_rename);
    } else {
        call.reply.ok();
    }
    Ok(())
}

fn database_number(call: &Call<'_, '_, '_>, index: usize) -> Result<usize, Failure> {
    let number = integer(call.at(index)).ok_or(Failure::NOT_AN_INTEGER)?;
    usize::try_from(number)
        .ok()
        .filter(|number| *number < call.store.databases())
        .ok_or(Failure::OUT_OF_RANGE_DATABASE)
}

fn copy(call: &mut Call<'_, '_, '_>) -> Outcome {
    let (database, from, to) = (call.client.database, call.at(1), call.at(2));
    let (mut target, mut replaces) = (database, false);
    let mut index = 3;
    while index < call.count() {
        if call.is_word(index, "replace") {
            replaces = true;
        } else if call.is_word(index, "db") && index + 1 < call.count() {
            target = database_number(call, index + 1)?;
            index += 1;
        } else {
            return Err(Failure::SYNTAX);
        }
        index += 1;
    }
    if target == database && from == to {
        return Err(SAME_OBJECT);
    }
    let is_free = !call.store.exists(target, to)?;
    let Some(value) = call.store.get(database, from)? else {
        let class = EventClasses::KEY_MISS;
        call.store.changes.event(class, "keymiss", database, from);
        call.reply.flag(false);
        return Ok(());
    };
    let (bytes, lifetime) = (value.bytes().to_vec(), lifetime_of(&value));
    drop(value);
    if is_free || replaces {
        let changes = &mut *call.store.changes;
        note_replaced(changes, is_free, target, to);
        changes.put(target, to, &bytes, lifetime);
        changes.event(EventClasses::GENERIC, "copy_to", target, to);
    }
    call.reply.flag(is_free || replaces);
    Ok(())
}

fn move_key(call: &mut Call<'_, '_, '_>) -> Outcome {
    let (database, key) = (call.client.database, call.at(1));
    let target = database_number(call, 2)?;
    if target == database {
        return Err(SAME_OBJECT);
    }
    let is_free = !call.store.exists(target, key)?;
    let value = call.store.get(database, key)?;
    let Some(value) = value.filter(|_| is_free) else {
        call.reply.flag(false);
        return Ok(());
    };
    let (bytes, lifetime) = (value.bytes().to_vec(), lifetime_of(&value));
    drop(value);
    let changes = &mut *call.store.changes;
    changes.put(target, key, &bytes, lifetime);
    changes.delete(database, key);
    changes.event(EventClasses::GENERIC, "move_from", database, key);
    changes.event(EventClasses::GENERIC, "move_to", target, key);
    call.reply.flag(true);
    Ok(())
}

/// The first key at or behind a key of at most `longest` bytes that is behind all keys
/// that begin with `prefix`.
pub(super) fn end_of_prefix(prefix: &[u8]) -> Bound<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xFF {
            end.push(last + 1);
            return Bound::Excluded(end);
        }
    }
    Bound::Unbounded
}

fn keys(call: &mut Call<'_, '_, '_>) -> Outcome {
    let database = call.client.database;
    let pattern = call.at(1);
    let prefix = glob::literal_prefix(pattern);
    let end = end_of_prefix(prefix);
    let bounds = (
        Bound::Included(prefix),
        end.as_ref().map(|end| end.as_slice()),
    );
    let mut found: Vec<u8> = Vec::new();
    let mut lengths: Vec<usize> = Vec::new();
    call.store.reader(database)?.for_each(bounds, |entry| {
        if glob::matches(pattern, entry.key) {
            found.extend_from_slice(entry.key);
            lengths.push(entry.key.len());
        }
        std::ops::ControlFlow::Continue(())
    })?;
    call.reply.array(lengths.len());
    let mut rest = found.as_slice();
    for length in lengths {
        let (key, behind) = rest.split_at(length);
        call.reply.bulk(key);
        rest = behind;
    }
    Ok(())
}

/// A key near a place drawn between the first and the last key: as even as the keys are
/// spread. The engine can't count to a random one while commits stand above its trees.
fn random_key(call: &mut Call<'_, '_, '_>) -> Outcome {
    let database = call.client.database;
    let reader = call.store.reader(database)?;
    let (Some((first, _)), Some((last, _))) = (reader.first()?, reader.last()?) else {
        call.reply.null();
        return Ok(());
    };
    let shared = first
        .bytes()
        .iter()
        .zip(last.bytes())
        .take_while(|(first, last)| first == last)
        .count();
    let number = |key: &[u8]| {
        let mut bytes = [0; 8];
        let rest = &key[shared.min(key.len())..];
        let length = rest.len().min(8);
        bytes[..length].copy_from_slice(&rest[..length]);
        u64::from_be_bytes(bytes)
    };
    let (low, high) = (number(first.bytes()), number(last.bytes()));
    let drawn = call.server.random_between(low, high);
    let mut place = first.bytes()[..shared].to_vec();
    place.extend_from_slice(&drawn.to_be_bytes());
    // The nearest key on either side, so that the gaps don't all count for one of them.
    let behind = reader.range(place.as_slice()..)?.next().transpose()?;
    let before = reader.range(..place.as_slice())?.next_back().transpose()?;
    let prefers_behind = call.server.random_between(0, 1) == 0;
    let chosen = match (behind, before) {
        (Some((behind, _)), Some((before, _))) => {
            if prefers_behind {
                behind
            } else {
                before
            }
        }
        (Some((key, _)), None) | (None, Some((key, _))) => key,
        (None, None) => first,
    };
    call.reply.bulk(chosen.bytes());
    Ok(())
}

fn dbsize(call: &mut Call<'_, '_, '_>) -> Outcome {
    let count = call.store.reader(call.client.database)?.len()?;
    call.reply.integer(i64::try_from(count).unwrap_or(i64::MAX));
    Ok(())
}

fn flush_options(call: &Call<'_, '_, '_>) -> Outcome {
    let is_known = call.is_word(1, "sync") || call.is_word(1, "async");
    if call.count() > 2 || (call.count() == 2 && !is_known) {
        return Err(Failure::SYNTAX);
    }
    Ok(())
}

fn flushdb(call: &mut Call<'_, '_, '_>) -> Outcome {
    flush_options(call)?;
    call.store.changes.clear_database(call.client.database);
    call.reply.ok();
    Ok(())
}

fn flushall(call: &mut Call<'_, '_, '_>) -> Outcome {
    flush_options(call)?;
    for database in 0..call.store.databases() {
        call.store.changes.clear_database(database);
    }
    call.reply.ok();
    Ok(())
}

fn swapdb(call: &mut Call<'_, '_, '_>) -> Outcome {
    let number = |index: usize, which: &str| {
        let number = integer(call.at(index));
        number.ok_or_else(|| Failure::reply(format!("ERR invalid {which} DB index")))
    };
    number(1, "first")?;
    number(2, "second")?;
    let (first, second) = (database_number(call, 1)?, database_number(call, 2)?);
    if first != second {
        call.store.changes.swap(first, second);
    }
    call.reply.ok();
    Ok(())
}
