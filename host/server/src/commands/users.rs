//! `ACL`: who there is, and what they may do.

use super::{Call, Command, Flags, Outcome, describe, find, help_command, resolve, shown};
use crate::failure::Failure;

const OPERATOR: Flags = Flags::ADMIN
    .with(Flags::NO_SCRIPT)
    .with(Flags::LOADING)
    .with(Flags::STALE);
const ANY_TIME: Flags = Flags::NO_SCRIPT.with(Flags::LOADING).with(Flags::STALE);

const fn part(
    name: &'static str,
    arity: i32,
    flags: Flags,
    run: fn(&mut Call<'_, '_, '_>) -> Outcome,
    summary: &'static str,
) -> Command {
    Command::new("server", name, arity, run).flags(flags).told(
        "6.0.0",
        summary,
        "O(N) for N users or commands",
    )
}

pub(super) const COMMANDS: &[Command] = &[part(
    "acl",
    -2,
    ANY_TIME,
    who_am_i,
    "Tells who there is, and what they may do.",
)
.subcommands(&[
    part(
        "acl|cat",
        -2,
        ANY_TIME,
        categories,
        "Lists categories, or the commands of one.",
    ),
    part(
        "acl|dryrun",
        -4,
        OPERATOR,
        dry_run,
        "Tells whether a user may run a command.",
    ),
    part("acl|genpass", -2, ANY_TIME, password, "Makes a password."),
    part(
        "acl|getuser",
        3,
        OPERATOR,
        user,
        "Tells what a user may do.",
    ),
    help_command("server", "acl|help", "6.0.0"),
    part(
        "acl|list",
        2,
        OPERATOR,
        list,
        "Lists the users with what they may do.",
    ),
    part("acl|users", 2, OPERATOR, names, "Lists the users."),
    part(
        "acl|whoami",
        2,
        ANY_TIME,
        who_am_i,
        "Tells who the client is.",
    ),
])];

/// The one user there is.
const USER: &str = "default";

fn who_am_i(call: &mut Call<'_, '_, '_>) -> Outcome {
    let user = call.client.user.clone();
    call.reply.bulk(user.as_deref().unwrap_or(USER).as_bytes());
    Ok(())
}

fn names(call: &mut Call<'_, '_, '_>) -> Outcome {
    call.reply.array(1);
    call.reply.bulk(USER.as_bytes());
    Ok(())
}

/// What the user's flags are: on, and whether a password is asked for.
fn has_password(call: &Call<'_, '_, '_>) -> bool {
    call.server.user_of_strangers().is_none()
}

fn list(call: &mut Call<'_, '_, '_>) -> Outcome {
    let password = if has_password(call) { "" } else { " nopass" };
    call.reply.array(1);
    call.reply
        .bulk(format!("user {USER} on{password} ~* &* +@all").as_bytes());
    Ok(())
}

fn user(call: &mut Call<'_, '_, '_>) -> Outcome {
    if call.at(2) != USER.as_bytes() {
        call.reply.null();
        return Ok(());
    }
    let has_password = has_password(call);
    let reply = &mut *call.reply;
    reply.map(6);
    reply.bulk(b"flags");
    reply.set(if has_password { 1 } else { 2 });
    reply.bulk(b"on");
    if !has_password {
        reply.bulk(b"nopass");
    }
    // The password is in a file of its own, and not told in any form.
    reply.bulk(b"passwords");
    reply.array(0);
    for (name, rules) in [("commands", "+@all"), ("keys", "~*"), ("channels", "&*")] {
        reply.bulk(name.as_bytes());
        reply.bulk(rules.as_bytes());
    }
    reply.bulk(b"selectors");
    reply.array(0);
    Ok(())
}

fn every_command() -> impl Iterator<Item = &'static Command> {
    let with_parts =
        |command: &'static Command| std::iter::once(command).chain(command.subcommands);
    super::all().flat_map(with_parts)
}

fn categories(call: &mut Call<'_, '_, '_>) -> Outcome {
    if call.count() > 3 {
        return Err(super::not_understood(call));
    }
    let Some(wanted) = call.arguments.get(2) else {
        let mut categories: Vec<&str> = every_command().flat_map(Command::categories).collect();
        categories.sort_unstable();
        categories.dedup();
        call.reply.array(categories.len());
        for category in categories {
            call.reply.bulk(category.as_bytes());
        }
        return Ok(());
    };
    let is_in = |command: &&Command| {
        let mut categories = command.categories();
        categories.any(|category| category.as_bytes().eq_ignore_ascii_case(wanted))
    };
    let commands: Vec<&Command> = every_command().filter(is_in).collect();
    if commands.is_empty() {
        let name = shown(wanted, 128);
        return Err(Failure::reply(format!("ERR Unknown category '{name}'")));
    }
    call.reply.array(commands.len());
    for command in commands {
        call.reply.bulk(command.name.as_bytes());
    }
    Ok(())
}

fn dry_run(call: &mut Call<'_, '_, '_>) -> Outcome {
    if call.at(2) != USER.as_bytes() {
        let name = shown(call.at(2), 128);
        return Err(Failure::reply(format!("ERR User '{name}' not found")));
    }
    let arguments = call.arguments.behind(3);
    find(arguments.at(0)).ok_or_else(|| describe::not_found(arguments.at(0)))?;
    resolve(arguments)?;
    call.reply.ok();
    Ok(())
}

/// Bits of a password, and the most that can be asked for.
const PASSWORD_BITS: i64 = 256;
const PASSWORD_BITS_MAX: i64 = 4096;

fn password(call: &mut Call<'_, '_, '_>) -> Outcome {
    let bits = match call.count() {
        2 => PASSWORD_BITS,
        3 => call.integer(2)?,
        _ => {
            return Err(super::not_understood(call));
        }
    };
    if !(1..=PASSWORD_BITS_MAX).contains(&bits) {
        return Err(Failure::reply(
            "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to 4096",
        ));
    }
    let digits = usize::try_from(bits).unwrap_or(0).div_ceil(4);
    let mut bytes = vec![0; digits.div_ceil(2)];
    getrandom::fill(&mut bytes)
        .map_err(|_| Failure::reply("ERR the system gives no random bytes"))?;
    let mut text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    text.truncate(digits);
    call.reply.bulk(text.as_bytes());
    Ok(())
}
