//! Transactions. `EXEC` and the queueing are the batch's ([`crate::batch`]); here is the rest.

use super::{Call, Command, Flags, Keys, Outcome};
use crate::client::Queue;
use crate::failure::Failure;

const ANY_TIME: Flags = Flags::NO_SCRIPT
    .with(Flags::LOADING)
    .with(Flags::STALE)
    .with(Flags::FAST)
    .with(Flags::ALLOW_BUSY);

macro_rules! command {
    ($name:literal, $arity:literal, $flags:expr, $keys:expr, $since:literal, $summary:literal, $complexity:literal, $run:expr) => {
        Command {
            name: $name,
            arity: $arity,
            flags: $flags,
            keys: $keys,
            group: "transactions",
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
        "multi",
        1,
        ANY_TIME,
        Keys::NONE,
        "1.2.0",
        "Begins a transaction: commands are kept until EXEC.",
        "O(1)",
        multi
    ),
    command!(
        "exec",
        1,
        ANY_TIME,
        Keys::NONE,
        "1.2.0",
        "Runs the commands of a transaction, all or none.",
        "That of the commands",
        exec
    ),
    command!(
        "discard",
        1,
        ANY_TIME,
        Keys::NONE,
        "2.0.0",
        "Forgets the commands of a transaction.",
        "O(K) for K watched keys",
        discard
    ),
    command!(
        "watch",
        -2,
        ANY_TIME.with(Flags::TAKES_WRITER),
        Keys::ALL,
        "2.2.0",
        "Lets the next EXEC fail when one of the keys is changed before it.",
        "O(K log N) for K keys",
        watch
    ),
    command!(
        "unwatch",
        1,
        ANY_TIME,
        Keys::NONE,
        "2.2.0",
        "Watches no keys any more.",
        "O(K) for K watched keys",
        unwatch
    ),
];

fn multi(call: &mut Call<'_, '_, '_>) -> Outcome {
    if call.client.queue.is_some() {
        return Err(Failure::reply("ERR MULTI calls can not be nested"));
    }
    call.client.queue = Some(Queue::default());
    call.client.note_state();
    call.reply.ok();
    Ok(())
}

/// Only reached where there is no transaction: with one, the batch runs it.
fn exec(_: &mut Call<'_, '_, '_>) -> Outcome {
    Err(Failure::reply("ERR EXEC without MULTI"))
}

fn discard(call: &mut Call<'_, '_, '_>) -> Outcome {
    if call.client.queue.take().is_none() {
        return Err(Failure::reply("ERR DISCARD without MULTI"));
    }
    call.server
        .store()
        .watches
        .unwatch(&mut call.client.watches);
    call.client.note_state();
    call.reply.ok();
    Ok(())
}

fn watch(call: &mut Call<'_, '_, '_>) -> Outcome {
    if call.client.queue.is_some() {
        return Err(Failure::reply("ERR WATCH inside MULTI is not allowed"));
    }
    let database = call.client.database;
    let mut found = Vec::new();
    for key in call.arguments.from(1) {
        found.push((key, call.store.exists(database, key)?));
    }
    for (key, exists) in found {
        let list = &mut call.client.watches;
        call.server
            .store()
            .watches
            .watch(list, database, key, exists);
    }
    call.client.note_state();
    call.reply.ok();
    Ok(())
}

fn unwatch(call: &mut Call<'_, '_, '_>) -> Outcome {
    call.server
        .store()
        .watches
        .unwatch(&mut call.client.watches);
    call.client.note_state();
    call.reply.ok();
    Ok(())
}
