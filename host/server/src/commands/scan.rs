//! `SCAN`: all keys, a part at a time.

use super::keys::end_of_prefix;
use super::{Call, Command, Flags, Keys, Outcome};
use crate::failure::Failure;
use crate::glob;
use crate::protocol::integer;
use std::ops::{Bound, ControlFlow};

pub(super) const COMMANDS: &[Command] = &[Command {
    name: "scan",
    arity: -2,
    flags: Flags::READONLY.with(Flags::SLOW_HERE),
    keys: Keys::NONE,
    group: "generic",
    since: "2.8.0",
    summary: "Gives a part of the keys, in order, and a cursor for the next part.",
    complexity: "O(log N + M) for the M keys that are looked at",
    run: scan,
    subcommands: &[],
}];

/// Keys that are looked at for one part unless the client says otherwise.
const COUNT: usize = 10;
/// The most that a client may ask for.
const COUNT_MAX: i64 = 1_000_000;

fn scan(call: &mut Call<'_, '_, '_>) -> Outcome {
    let invalid_cursor = || Failure::reply("ERR invalid cursor");
    let cursor: u64 = std::str::from_utf8(call.at(1))
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(invalid_cursor)?;
    let (mut pattern, mut count, mut wants_strings): (&[u8], _, _) = (b"*", COUNT, true);
    let mut index = 2;
    while index < call.count() {
        if index + 1 >= call.count() {
            return Err(Failure::SYNTAX);
        }
        if call.is_word(index, "match") {
            pattern = call.at(index + 1);
        } else if call.is_word(index, "count") {
            let given = integer(call.at(index + 1)).ok_or(Failure::NOT_AN_INTEGER)?;
            if given < 1 {
                return Err(Failure::SYNTAX);
            }
            count = usize::try_from(given.min(COUNT_MAX)).unwrap_or(COUNT);
        } else if call.is_word(index, "type") {
            wants_strings = call.is_word(index + 1, "string");
        } else {
            return Err(Failure::SYNTAX);
        }
        index += 2;
    }
    let database = call.client.database;
    // Only what begins as the pattern does is looked at.
    let prefix = glob::literal_prefix(pattern);
    let behind = if cursor == 0 {
        None
    } else {
        let key = call.store.store().cursors().find(cursor);
        Some(key.ok_or_else(|| {
            Failure::reply(
                "ERR invalid cursor: it is not one that SCAN gave, or it was forgotten; begin again with 0",
            )
        })?)
    };
    let from = match &behind {
        Some(key) if **key >= *prefix => Bound::Excluded(&**key),
        _ => Bound::Included(prefix),
    };
    let end = end_of_prefix(prefix);
    let bounds = (from, end.as_ref().map(|end| end.as_slice()));
    let mut keys: Vec<Box<[u8]>> = Vec::new();
    let mut last: Option<Box<[u8]>> = None;
    let mut seen = 0;
    let mut has_more = false;
    call.store.reader(database)?.for_each(bounds, |entry| {
        if seen == count {
            has_more = true;
            return ControlFlow::Break(());
        }
        seen += 1;
        if wants_strings && glob::matches(pattern, entry.key) {
            keys.push(entry.key.into());
        }
        if seen == count {
            last = Some(entry.key.into());
        }
        ControlFlow::Continue(())
    })?;
    let next = match last {
        Some(last) if has_more => call.store.store().cursors().keep(database, &last),
        _ => 0,
    };
    call.reply.array(2);
    let mut digits = itoa::Buffer::new();
    call.reply.bulk(digits.format(next).as_bytes());
    call.reply.array(keys.len());
    for key in &keys {
        call.reply.bulk(key);
    }
    Ok(())
}
