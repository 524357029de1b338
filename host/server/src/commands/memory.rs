//! What memory is used for, and how values are kept.

use super::{Call, Command, Flags, Keys, Outcome, help_command};
use crate::failure::Failure;
use crate::protocol::integer;

const READ: Flags = Flags::READONLY;
const READ_OBJECT: Flags = Flags::READONLY.with(Flags::FAST);

const fn object(
    name: &'static str,
    run: fn(&mut Call<'_, '_, '_>) -> Outcome,
    summary: &'static str,
) -> Command {
    Command::new("generic", name, 3, run)
        .flags(READ_OBJECT)
        .keys(Keys::places(2, 2, 1))
        .told("2.2.3", summary, "O(log N)")
}

pub(super) const COMMANDS: &[Command] = &[
    Command::new("server", "memory", -2, usage)
        .flags(READ)
        .told(
            "4.0.0",
            "Tells what memory is used for.",
            "Depends on the subcommand",
        )
        .subcommands(&[
            Command::new("server", "memory|doctor", 2, doctor).told(
                "4.0.0",
                "Tells in plain words how memory stands.",
                "O(1)",
            ),
            help_command("server", "memory|help", "4.0.0"),
            Command::new("server", "memory|stats", 2, statistics).told(
                "4.0.0",
                "Gives figures of memory.",
                "O(1)",
            ),
            Command::new("server", "memory|usage", -3, usage)
                .flags(READ)
                .keys(Keys::places(2, 2, 1))
                .told(
                    "4.0.0",
                    "Tells how many bytes a key and its value take.",
                    "O(log N)",
                ),
        ]),
    Command::new("generic", "object", -2, encoding)
        .flags(READ_OBJECT)
        .told(
            "2.2.3",
            "Tells how a value is kept.",
            "Depends on the subcommand",
        )
        .subcommands(&[
            object(
                "object|encoding",
                encoding,
                "Tells which form Redis would give the value.",
            ),
            object(
                "object|freq",
                frequency,
                "Tells that frequencies are not tracked.",
            ),
            help_command("generic", "object|help", "6.2.0"),
            object(
                "object|idletime",
                idle_time,
                "Tells that idle times are not tracked.",
            ),
            object(
                "object|refcount",
                references,
                "Tells that a value belongs to one key.",
            ),
        ]),
];

/// Bytes that an entry takes in a page besides key and value: lengths, sequence, flags.
const ENTRY_OVERHEAD_BYTES: usize = 24;
/// And its time of expiry, where it has one.
const EXPIRY_BYTES: usize = 8;

fn usage(call: &mut Call<'_, '_, '_>) -> Outcome {
    if call.count() == 5 && call.is_word(3, "samples") {
        if call.integer(4)? < 0 {
            return Err(Failure::SYNTAX);
        }
    } else if call.count() != 3 {
        return Err(Failure::SYNTAX);
    }
    let (database, key) = (call.client.database, call.arguments.at(2));
    let value = call.store.get(database, key)?;
    match value {
        Some(value) => {
            let expiry = value.expiry_ms().map_or(0, |_| EXPIRY_BYTES);
            let bytes = key.len() + value.bytes().len() + ENTRY_OVERHEAD_BYTES + expiry;
            call.reply.length(bytes);
        }
        None => call.reply.null(),
    }
    Ok(())
}

fn statistics(call: &mut Call<'_, '_, '_>) -> Outcome {
    let engine = call.server.store().database().statistics().engine;
    let process = lightning_db::process_use().unwrap_or_default();
    let clients = call.server.clients().list();
    let buffers: u64 = clients
        .iter()
        .map(|client| u64::try_from(client.buffer_bytes()).unwrap_or(u64::MAX))
        .sum();
    let figures = [
        ("total.allocated", process.resident_bytes),
        ("clients.normal", buffers),
        ("engine.planned", engine.memory_bytes),
        ("engine.memtables", engine.front_bytes),
        ("engine.frames", u64::from(engine.frames.frames)),
    ];
    call.reply.map(figures.len());
    for (name, value) in figures {
        call.reply.bulk(name.as_bytes());
        call.reply.integer(i64::try_from(value).unwrap_or(i64::MAX));
    }
    Ok(())
}

const MEBIBYTE: u64 = 1 << 20;

fn doctor(call: &mut Call<'_, '_, '_>) -> Outcome {
    let engine = call.server.store().database().statistics().engine;
    let process = lightning_db::process_use().unwrap_or_default();
    let text = format!(
        "The engine planned {} MiB at start and takes no more; the process holds {} MiB. What is above the plan belongs to clients: CLIENT LIST tells each one's part.\n",
        engine.memory_bytes / MEBIBYTE,
        process.resident_bytes / MEBIBYTE,
    );
    call.reply.verbatim(&text);
    Ok(())
}

/// The longest string that Redis keeps beside its header.
const EMBEDDED_BYTES_MAX: usize = 44;

fn encoding(call: &mut Call<'_, '_, '_>) -> Outcome {
    let (database, key) = (call.client.database, call.arguments.at(2));
    match call.store.get(database, key)? {
        None => call.reply.null(),
        Some(value) => {
            let bytes = value.bytes();
            call.reply.bulk(if integer(bytes).is_some() {
                b"int"
            } else if bytes.len() <= EMBEDDED_BYTES_MAX {
                b"embstr"
            } else {
                b"raw"
            });
        }
    }
    Ok(())
}

/// Answers for a key that is there, by the function; else that there is nothing.
fn if_there(
    call: &mut Call<'_, '_, '_>,
    answer: impl FnOnce(&mut Call<'_, '_, '_>) -> Outcome,
) -> Outcome {
    let (database, key) = (call.client.database, call.arguments.at(2));
    if call.store.exists(database, key)? {
        answer(call)
    } else {
        call.reply.null();
        Ok(())
    }
}

fn references(call: &mut Call<'_, '_, '_>) -> Outcome {
    if_there(call, |call| {
        call.reply.integer(1);
        Ok(())
    })
}

fn frequency(call: &mut Call<'_, '_, '_>) -> Outcome {
    if_there(call, |_| {
        Err(Failure::reply(
            "ERR access frequency is not tracked: nothing is evicted",
        ))
    })
}

fn idle_time(call: &mut Call<'_, '_, '_>) -> Outcome {
    if_there(call, |_| {
        Err(Failure::reply(
            "ERR idle time is not tracked: nothing is evicted",
        ))
    })
}
