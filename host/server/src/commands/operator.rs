//! What operators ask of the service as a whole.

use super::{Call, Command, Flags, Outcome, help_command, shown};
use crate::failure::Failure;
use crate::protocol::integer;
use std::time::{SystemTime, UNIX_EPOCH};

const ANY_TIME: Flags = Flags::LOADING.with(Flags::STALE).with(Flags::FAST);
const OPERATOR: Flags = Flags::ADMIN
    .with(Flags::NO_SCRIPT)
    .with(Flags::LOADING)
    .with(Flags::STALE);
/// What waits for the disk.
const SAVING: Flags = OPERATOR.with(Flags::SLOW_HERE);

pub(super) const COMMANDS: &[Command] = &[
    Command::new("server", "time", 1, time)
        .flags(ANY_TIME)
        .told("2.6.0", "Tells the time of the service.", "O(1)"),
    Command::new("server", "lastsave", 1, last_save)
        .flags(ANY_TIME.with(Flags::DANGEROUS))
        .told("1.0.0", "Tells when the last SAVE was.", "O(1)"),
    Command::new("server", "save", 1, |call| save(call, "OK"))
        .flags(SAVING.with(Flags::NO_MULTI))
        .told(
            "1.0.0",
            "Makes durable what is not yet, with wal_sync_mode periodic or async.",
            "O(1)",
        ),
    Command::new("server", "bgsave", -1, background_save)
        .flags(SAVING)
        .told(
            "1.0.0",
            "Makes durable what is not yet, with wal_sync_mode periodic or async.",
            "O(1)",
        ),
    Command::new("server", "shutdown", -1, shutdown)
        .flags(OPERATOR.with(Flags::NO_MULTI).with(Flags::ALLOW_BUSY))
        .told(
            "1.0.0",
            "Ends the service; what was acknowledged is durable in any case.",
            "O(1)",
        ),
    Command::new("server", "monitor", 1, monitor)
        .flags(OPERATOR.with(Flags::UNNOTED))
        .told("1.0.0", "Tells of every command from here on.", "O(1)"),
    Command::new("server", "role", 1, role)
        .flags(ANY_TIME.with(Flags::NO_SCRIPT).with(Flags::DANGEROUS))
        .told("2.8.12", "Tells that the service has no replicas.", "O(1)"),
    Command::new("generic", "wait", 3, wait)
        .flags(Flags::NO_SCRIPT)
        .told(
            "3.0.0",
            "Counts the replicas that have all writes: none.",
            "O(1)",
        ),
    Command::new("server", "lolwut", -1, lolwut)
        .flags(Flags::READONLY.with(Flags::FAST))
        .told("5.0.0", "Tells the version.", "O(1)"),
    Command::new("server", "module", -2, no_modules)
        .told("4.0.0", "Tells of modules.", "Depends on the subcommand")
        .subcommands(&[
            help_command("server", "module|help", "5.0.0"),
            Command::new("server", "module|list", 2, no_modules)
                .flags(OPERATOR)
                .told("4.0.0", "Lists the modules: there are none.", "O(1)"),
        ]),
    Command::new("scripting", "function", -2, no_functions)
        .told("7.0.0", "Tells of functions.", "Depends on the subcommand")
        .subcommands(&[
            Command::new("scripting", "function|flush", -2, flush_functions)
                .flags(Flags::WRITE.with(Flags::NO_SCRIPT))
                .told("7.0.0", "Removes all functions: there are none.", "O(1)"),
            help_command("scripting", "function|help", "7.0.0"),
            Command::new("scripting", "function|list", -2, functions)
                .flags(Flags::NO_SCRIPT)
                .told("7.0.0", "Lists the functions: there are none.", "O(1)"),
        ]),
];

fn time(call: &mut Call<'_, '_, '_>) -> Outcome {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    call.reply.array(2);
    call.reply
        .bulk_integer(i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
    call.reply.bulk_integer(since.subsec_micros().into());
    Ok(())
}

fn last_save(call: &mut Call<'_, '_, '_>) -> Outcome {
    let saved = call.server.observations().saved_s();
    call.reply.integer(i64::try_from(saved).unwrap_or(i64::MAX));
    Ok(())
}

fn save(call: &mut Call<'_, '_, '_>, answer: &str) -> Outcome {
    call.server.store().database().sync()?;
    call.server.observations().note_save();
    call.reply.simple(answer);
    Ok(())
}

fn background_save(call: &mut Call<'_, '_, '_>) -> Outcome {
    let is_known = call.count() == 1 || call.count() == 2 && call.is_word(1, "schedule");
    if !is_known {
        return Err(Failure::SYNTAX);
    }
    save(call, "Background saving started")
}

fn shutdown(call: &mut Call<'_, '_, '_>) -> Outcome {
    let mut aborts = false;
    for index in 1..call.count() {
        aborts |= call.is_word(index, "abort");
        let words = ["nosave", "save", "now", "force", "abort"];
        if !words.iter().any(|word| call.is_word(index, word)) {
            return Err(Failure::SYNTAX);
        }
    }
    if aborts && call.count() > 2 {
        return Err(Failure::SYNTAX);
    }
    if aborts {
        return Err(Failure::reply("ERR No shutdown in progress."));
    }
    tracing::info!(client = call.client.shared.id, "a client ends the service");
    call.server.shut_down();
    // Who asks gets no answer but the end of the connection.
    call.client.is_leaving = true;
    Ok(())
}

fn monitor(call: &mut Call<'_, '_, '_>) -> Outcome {
    call.server
        .clients()
        .set_monitor(call.client.shared.id, true);
    call.reply.ok();
    Ok(())
}

fn role(call: &mut Call<'_, '_, '_>) -> Outcome {
    call.reply.array(3);
    call.reply.bulk(b"master");
    call.reply.integer(0);
    call.reply.array(0);
    Ok(())
}

fn wait(call: &mut Call<'_, '_, '_>) -> Outcome {
    call.integer(1)?;
    let timeout = integer(call.at(2)).ok_or(Failure::reply(
        "ERR timeout is not an integer or out of range",
    ))?;
    if timeout < 0 {
        return Err(Failure::reply("ERR timeout is negative"));
    }
    // There is nobody to wait for.
    call.reply.integer(0);
    Ok(())
}

fn lolwut(call: &mut Call<'_, '_, '_>) -> Outcome {
    let version = env!("CARGO_PKG_VERSION");
    call.reply.verbatim(&format!(
        "Lightning DB ver. {version}, which speaks as Redis ver. {}\n",
        crate::REDIS_VERSION
    ));
    Ok(())
}

fn no_modules(call: &mut Call<'_, '_, '_>) -> Outcome {
    call.reply.array(0);
    Ok(())
}

fn no_functions(call: &mut Call<'_, '_, '_>) -> Outcome {
    call.reply.array(0);
    Ok(())
}

fn functions(call: &mut Call<'_, '_, '_>) -> Outcome {
    let mut index = 2;
    while index < call.count() {
        if call.is_word(index, "libraryname") && index + 1 < call.count() {
            index += 1;
        } else if !call.is_word(index, "withcode") {
            let argument = shown(call.at(index), 128);
            return Err(Failure::reply(format!("ERR Unknown argument {argument}")));
        }
        index += 1;
    }
    no_functions(call)
}

fn flush_functions(call: &mut Call<'_, '_, '_>) -> Outcome {
    let is_known = call.is_word(2, "sync") || call.is_word(2, "async");
    if call.count() > 3 {
        return Err(super::not_understood(call));
    }
    if call.count() == 3 && !is_known {
        return Err(Failure::reply(
            "ERR FUNCTION FLUSH only supports SYNC|ASYNC option",
        ));
    }
    call.reply.ok();
    Ok(())
}
