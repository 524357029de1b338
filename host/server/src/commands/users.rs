//! `ACL`: who there is, and what they may do.

use super::{Call, Command, Flags, Outcome, describe, find, help_command, resolve, shown};
use crate::access::{CATEGORIES, DEFAULT_USER, Denial, RuleError, Rules, Selector};
use crate::failure::Failure;
use crate::protocol::ReplyWriter;

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
        "acl|deluser",
        -3,
        OPERATOR,
        remove,
        "Removes users and ends their connections.",
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
    part(
        "acl|load",
        2,
        OPERATOR.with(Flags::SLOW_HERE),
        load,
        "Reads the file of users again.",
    ),
    part(
        "acl|log",
        -2,
        OPERATOR,
        log,
        "Tells what was refused lately, or forgets it.",
    ),
    part(
        "acl|save",
        2,
        OPERATOR.with(Flags::SLOW_HERE),
        save,
        "Writes the users into their file.",
    ),
    part(
        "acl|setuser",
        -3,
        OPERATOR,
        set,
        "Makes a user, or changes what they may do.",
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

fn who_am_i(call: &mut Call<'_, '_, '_>) -> Outcome {
    let user = call.client.user.clone();
    let name = user.as_ref().map_or(DEFAULT_USER, |user| user.name());
    call.reply.bulk(name.as_bytes());
    Ok(())
}

fn names(call: &mut Call<'_, '_, '_>) -> Outcome {
    let users = call.server.access().list();
    call.reply.array(users.len());
    for user in users {
        call.reply.bulk(user.name().as_bytes());
    }
    Ok(())
}

fn list(call: &mut Call<'_, '_, '_>) -> Outcome {
    let users = call.server.access().list();
    call.reply.array(users.len());
    for user in users {
        call.reply.bulk(user.line().as_bytes());
    }
    Ok(())
}

fn user(call: &mut Call<'_, '_, '_>) -> Outcome {
    let Some(user) = call.server.access().find(call.at(2)) else {
        call.reply.null();
        return Ok(());
    };
    let rules = user.rules();
    let reply = &mut *call.reply;
    reply.map(6);
    let flags = rules.flags();
    reply.bulk(b"flags");
    reply.set(flags.len());
    for flag in flags {
        reply.bulk(flag.as_bytes());
    }
    let hashes = rules.hashes();
    reply.bulk(b"passwords");
    reply.array(hashes.len());
    for hash in hashes {
        reply.bulk(hash.as_bytes());
    }
    let write = |reply: &mut ReplyWriter<'_>, selector: &Selector| {
        for (name, text) in [
            ("commands", selector.command_rules()),
            ("keys", selector.key_rules()),
            ("channels", selector.channel_rules()),
        ] {
            reply.bulk(name.as_bytes());
            reply.bulk(text.as_bytes());
        }
    };
    let (root, others) = match rules.selectors() {
        [root, others @ ..] => (Some(root), others),
        [] => (None, &[][..]),
    };
    if let Some(root) = root {
        write(reply, root);
    }
    reply.bulk(b"selectors");
    reply.array(others.len());
    for selector in others {
        reply.map(3);
        write(reply, selector);
    }
    Ok(())
}

fn set(call: &mut Call<'_, '_, '_>) -> Outcome {
    let is_wrong = |byte: u8| byte == 0 || byte.is_ascii_whitespace();
    let name = std::str::from_utf8(call.at(2))
        .ok()
        .filter(|name| !name.bytes().any(is_wrong));
    let name = name.ok_or(Failure::reply(
        "ERR Usernames can't contain spaces or null characters",
    ))?;
    let access = call.server.access();
    let before = access.find(call.at(2));
    let mut rules = before
        .as_ref()
        .map_or_else(Rules::nothing, |user| Rules::clone(&user.rules()));
    rules
        .apply(call.arguments.from(3))
        .map_err(|(rule, error)| {
            let rule = shown(&rule, 256);
            Failure::reply(match error {
                RuleError::Parenthesis => format!("ERR {error} starting at '{rule}'."),
                error => format!("ERR Error in ACL SETUSER modifier '{rule}': {error}"),
            })
        })?;
    access.set(name, rules.clone());
    // Who listens to what they may not any more doesn't hear it any more.
    let clients = call.server.clients();
    call.server.end_clients_of(name, |client| {
        let listens_in_vain = |is_pattern| {
            let names = clients.names_of(client.id, is_pattern);
            let mut names = names.iter();
            names.any(|channel| !rules.may_listen(channel, is_pattern))
        };
        before.is_some() && (listens_in_vain(false) || listens_in_vain(true))
    });
    call.reply.ok();
    Ok(())
}

fn remove(call: &mut Call<'_, '_, '_>) -> Outcome {
    if call
        .arguments
        .from(2)
        .any(|name| name == DEFAULT_USER.as_bytes())
    {
        return Err(Failure::reply("ERR The 'default' user cannot be removed"));
    }
    let mut count = 0;
    for name in call.arguments.from(2) {
        let Some(user) = call.server.access().remove(name) else {
            continue;
        };
        count += 1;
        end_connections(call, user.name());
    }
    call.reply.length(count);
    Ok(())
}

/// Ends the connections of a user who is gone; this one when it has its reply.
fn end_connections(call: &mut Call<'_, '_, '_>, user: &str) {
    let own = call.client.shared.id;
    call.server.end_clients_of(user, |client| client.id != own);
    if call
        .client
        .user
        .as_ref()
        .is_some_and(|of| of.name() == user)
    {
        call.client.is_leaving = true;
    }
}

const NO_FILE: Failure = Failure::Reply(std::borrow::Cow::Borrowed(
    "ERR This Redis instance is not configured to use an ACL file. You may want to specify users via the ACL SETUSER command and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in order to store users in the Redis configuration.",
));

fn load(call: &mut Call<'_, '_, '_>) -> Outcome {
    let gone = call.server.access().load().map_err(|error| {
        Failure::reply(format!(
            "ERR {error} WARNING: ACL errors detected, no change to the previously active ACL rules was performed"
        ))
    })?;
    for user in gone.ok_or(NO_FILE)? {
        end_connections(call, user.name());
    }
    call.reply.ok();
    Ok(())
}

fn save(call: &mut Call<'_, '_, '_>) -> Outcome {
    let saved = call.server.access().save().map_err(|error| {
        tracing::error!(%error, "the file of users was not written");
        Failure::reply(
            "ERR There was an error trying to save the ACLs. Please check the server logs for more information",
        )
    })?;
    if !saved {
        return Err(NO_FILE);
    }
    call.reply.ok();
    Ok(())
}

/// Entries of the log that are told where nobody says how many.
const LOG_ENTRIES: i64 = 10;

fn log(call: &mut Call<'_, '_, '_>) -> Outcome {
    if call.count() > 3 {
        return Err(super::not_understood(call));
    }
    let denials = &call.server.access().denials;
    if call.is_word(2, "reset") {
        denials.reset();
        call.reply.ok();
        return Ok(());
    }
    let count = match call.count() {
        3 => call.integer(2)?,
        _ => LOG_ENTRIES,
    };
    let entries = denials.newest(usize::try_from(count).unwrap_or(0));
    let reply = &mut *call.reply;
    reply.array(entries.len());
    for entry in entries {
        reply.map(7);
        reply.bulk(b"count");
        reply.integer(i64::try_from(entry.count).unwrap_or(i64::MAX));
        let words = [
            ("reason", entry.reason.as_bytes()),
            ("context", entry.context.as_bytes()),
            ("object", &entry.object[..]),
            ("username", entry.user.as_bytes()),
        ];
        for (name, value) in words {
            reply.bulk(name.as_bytes());
            reply.bulk(value);
        }
        reply.bulk(b"age-seconds");
        let age_ms = entry.last.elapsed().as_millis();
        reply.double(f64::from(u32::try_from(age_ms).unwrap_or(u32::MAX)) / 1000.0);
        reply.bulk(b"client-info");
        reply.bulk(entry.client.as_bytes());
    }
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
        call.reply.array(CATEGORIES.len());
        for category in CATEGORIES {
            call.reply.bulk(category.as_bytes());
        }
        return Ok(());
    };
    let is_it = |category: &&&str| category.as_bytes().eq_ignore_ascii_case(wanted);
    let Some(wanted) = CATEGORIES.iter().find(is_it) else {
        let name = shown(wanted, 128);
        return Err(Failure::reply(format!("ERR Unknown category '{name}'")));
    };
    let is_in = |command: &&Command| command.categories().any(|category| category == *wanted);
    let commands: Vec<&Command> = every_command().filter(is_in).collect();
    call.reply.array(commands.len());
    for command in commands {
        call.reply.bulk(command.name.as_bytes());
    }
    Ok(())
}

fn dry_run(call: &mut Call<'_, '_, '_>) -> Outcome {
    let Some(user) = call.server.access().find(call.at(2)) else {
        let name = shown(call.at(2), 128);
        return Err(Failure::reply(format!("ERR User '{name}' not found")));
    };
    let arguments = call.arguments.behind(3);
    find(arguments.at(0)).ok_or_else(|| describe::not_found(arguments.at(0)))?;
    let command = resolve(arguments)?;
    let told = match user.check(command, arguments) {
        Ok(()) => {
            call.reply.ok();
            return Ok(());
        }
        Err(Denial::Command) => format!("run the '{}' command", command.name),
        Err(Denial::Key(place)) => format!("access the '{}' key", shown(arguments.at(place), 128)),
        Err(Denial::Channel(place)) => {
            format!("access the '{}' channel", shown(arguments.at(place), 128))
        }
    };
    let told = format!("This user has no permissions to {told}");
    call.reply.bulk(told.as_bytes());
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
