//! `SLOWLOG`: the commands that took long.

use super::{Call, Command, Flags, Outcome, help_command, not_understood};
use crate::failure::Failure;
use std::time::Duration;

const OPERATOR: Flags = Flags::ADMIN.with(Flags::LOADING).with(Flags::STALE);

pub(super) const COMMANDS: &[Command] = &[Command::new("server", "slowlog", -2, entries)
    .flags(OPERATOR)
    .told(
        "2.2.12",
        "Tells of slow commands.",
        "Depends on the subcommand",
    )
    .subcommands(&[
        Command::new("server", "slowlog|get", -2, entries)
            .flags(OPERATOR)
            .told(
                "2.2.12",
                "Gives the newest slow commands.",
                "O(N) for N of them",
            ),
        help_command("server", "slowlog|help", "6.2.0"),
        Command::new("server", "slowlog|len", 2, length)
            .flags(OPERATOR)
            .told(
                "2.2.12",
                "Counts the slow commands that are remembered.",
                "O(1)",
            ),
        Command::new("server", "slowlog|reset", 2, reset)
            .flags(OPERATOR)
            .told("2.2.12", "Forgets the slow commands.", "O(N) for N of them"),
    ])];

/// How many are given unless the client says otherwise.
const COUNT: i64 = 10;

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

fn entries(call: &mut Call<'_, '_, '_>) -> Outcome {
    let count = match call.count() {
        2 => COUNT,
        3 => call.integer(2).unwrap_or(i64::MIN),
        _ => return Err(not_understood(call)),
    };
    if count < -1 {
        return Err(Failure::reply(
            "ERR count should be greater than or equal to -1",
        ));
    }
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let found = call.server.observations().slow.newest(count);
    let reply = &mut *call.reply;
    reply.array(found.len());
    for entry in found {
        reply.array(6);
        reply.integer(i64::try_from(entry.id).unwrap_or(i64::MAX));
        reply.integer(i64::try_from(entry.at_s).unwrap_or(i64::MAX));
        reply.integer(micros(entry.took));
        reply.array(entry.arguments.len());
        for argument in &entry.arguments {
            reply.bulk(argument);
        }
        reply.bulk(entry.address.as_bytes());
        reply.bulk(entry.name.as_bytes());
    }
    Ok(())
}

fn length(call: &mut Call<'_, '_, '_>) -> Outcome {
    call.reply.length(call.server.observations().slow.len());
    Ok(())
}

fn reset(call: &mut Call<'_, '_, '_>) -> Outcome {
    call.server.observations().slow.reset();
    call.reply.ok();
    Ok(())
}
