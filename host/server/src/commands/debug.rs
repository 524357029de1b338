//! `DEBUG`, where configuration allows it.

use super::{Call, Command, Flags, Outcome, float, help_command};
use crate::failure::Failure;
use std::time::Duration;

const OPERATOR: Flags = Flags::ADMIN
    .with(Flags::NO_SCRIPT)
    .with(Flags::LOADING)
    .with(Flags::STALE)
    .with(Flags::SLOW_HERE);

pub(super) const COMMANDS: &[Command] = &[Command::new("server", "debug", -2, refuse)
    .flags(OPERATOR)
    .told(
        "1.0.0",
        "Serves tests, where configuration allows it.",
        "Depends on the subcommand",
    )
    .subcommands(&[
        Command::new("server", "debug|error", 3, error)
            .flags(OPERATOR)
            .told("1.0.0", "Answers with an error of these words.", "O(1)"),
        help_command("server", "debug|help", "1.0.0"),
        Command::new("server", "debug|sleep", 3, sleep)
            .flags(OPERATOR)
            .told("1.0.0", "Lets the client wait for some seconds.", "O(1)"),
    ])];

fn refuse(_: &mut Call<'_, '_, '_>) -> Outcome {
    Err(Failure::SYNTAX)
}

/// The longest that a client may wait.
const SLEEP_S_MAX: f64 = 3600.0;

fn check_allowed(call: &Call<'_, '_, '_>) -> Outcome {
    if call.server.settings().configuration.security.allow_debug {
        Ok(())
    } else {
        Err(Failure::reply(
            "ERR DEBUG command not allowed: security.allow_debug is false",
        ))
    }
}

fn error(call: &mut Call<'_, '_, '_>) -> Outcome {
    check_allowed(call)?;
    let message = String::from_utf8_lossy(call.at(2)).into_owned();
    Err(Failure::reply(message))
}

fn sleep(call: &mut Call<'_, '_, '_>) -> Outcome {
    check_allowed(call)?;
    let seconds = float(call.at(2)).ok_or(Failure::NOT_A_FLOAT)?;
    let time = Duration::from_secs_f64(seconds.clamp(0.0, SLEEP_S_MAX));
    // Its own thread waits; other clients go on, as the service has several.
    std::thread::sleep(time);
    call.reply.ok();
    Ok(())
}
