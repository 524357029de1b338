//! The connection itself: who it is, what it speaks, which database it is in.

use super::{Call, Command, Flags, Keys, Outcome};
use crate::access::User;
use crate::client::ReplyMode;
use crate::failure::Failure;
use crate::protocol::{Version, integer};
use std::sync::Arc;

/// Commands that work whatever the service is busy with.
const ANY_TIME: Flags = Flags::NO_SCRIPT
    .with(Flags::LOADING)
    .with(Flags::STALE)
    .with(Flags::FAST)
    .with(Flags::ALLOW_BUSY);
const BEFORE_LOGIN: Flags = ANY_TIME.with(Flags::NO_AUTH);

macro_rules! command {
    ($name:literal, $arity:literal, $flags:expr, $since:literal, $summary:literal, $run:expr) => {
        Command {
            name: $name,
            arity: $arity,
            flags: $flags,
            keys: Keys::NONE,
            group: "connection",
            since: $since,
            summary: $summary,
            complexity: "O(1)",
            run: $run,
            subcommands: &[],
        }
    };
}

pub(super) const COMMANDS: &[Command] = &[
    command!(
        "auth",
        -2,
        BEFORE_LOGIN,
        "1.0.0",
        "Proves who the client is.",
        auth
    ),
    command!(
        "echo",
        2,
        Flags::LOADING.with(Flags::STALE).with(Flags::FAST),
        "1.0.0",
        "Gives back what it is given.",
        echo
    ),
    command!(
        "hello",
        -1,
        BEFORE_LOGIN,
        "6.0.0",
        "Chooses the version of the protocol, and can log in.",
        hello
    ),
    command!("ping", -1, Flags::FAST, "1.0.0", "Answers.", ping),
    command!(
        "quit",
        -1,
        BEFORE_LOGIN,
        "1.0.0",
        "Ends the connection.",
        quit
    ),
    command!(
        "reset",
        1,
        BEFORE_LOGIN,
        "6.2.0",
        "Makes the connection as it was at its begin.",
        reset
    ),
    command!(
        "select",
        2,
        Flags::LOADING.with(Flags::STALE).with(Flags::FAST),
        "1.0.0",
        "Chooses the database.",
        select
    ),
];

fn auth(call: &mut Call<'_, '_, '_>) -> Outcome {
    let (user, password) = match call.count() {
        2 => (&b"default"[..], call.at(1)),
        3 => (call.at(1), call.at(2)),
        _ => return Err(Failure::SYNTAX),
    };
    let user = call
        .server
        .log_in(call.client, user, password, call.count() == 2)?;
    set_user(call, user);
    call.reply.ok();
    Ok(())
}

fn set_user(call: &mut Call<'_, '_, '_>, user: Arc<User>) {
    user.name()
        .clone_into(&mut call.client.shared.labels().user);
    call.client.user = Some(user);
}

fn echo(call: &mut Call<'_, '_, '_>) -> Outcome {
    call.reply.bulk(call.arguments.at(1));
    Ok(())
}

/// Whether a client's name can stand in lists.
pub(super) fn check_name(name: &[u8]) -> Result<String, Failure> {
    if name.iter().all(|byte| (b'!'..=b'~').contains(byte)) {
        Ok(String::from_utf8_lossy(name).into_owned())
    } else {
        Err(Failure::reply(
            "ERR Client names cannot contain spaces, newlines or special characters.",
        ))
    }
}

fn hello(call: &mut Call<'_, '_, '_>) -> Outcome {
    let mut version = call.client.version;
    if call.count() > 1 {
        version = match integer(call.at(1)) {
            Some(2) => Version::Resp2,
            Some(3) => Version::Resp3,
            Some(_) => return Err(Failure::reply("NOPROTO unsupported protocol version")),
            None => {
                return Err(Failure::reply(
                    "ERR Protocol version is not an integer or out of range",
                ));
            }
        };
    }
    let (mut login, mut name) = (None, None);
    let mut index = 2;
    while index < call.count() {
        if call.is_word(index, "auth") && index + 2 < call.count() {
            login = Some((call.at(index + 1), call.at(index + 2)));
            index += 3;
        } else if call.is_word(index, "setname") && index + 1 < call.count() {
            name = Some(check_name(call.at(index + 1))?);
            index += 2;
        } else {
            let option = String::from_utf8_lossy(call.at(index)).into_owned();
            return Err(Failure::reply(format!(
                "ERR Syntax error in HELLO option '{option}'"
            )));
        }
    }
    if let Some((user, password)) = login {
        let user = call.server.log_in(call.client, user, password, false)?;
        set_user(call, user);
    }
    if call.client.user.is_none() {
        return Err(Failure::reply(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time",
        ));
    }
    if let Some(name) = name {
        call.client.shared.labels().name = name;
    }
    call.client.version = version;
    call.client.note_state();
    let id = i64::try_from(call.client.shared.id).unwrap_or(i64::MAX);
    let reply = &mut *call.reply;
    reply.set_version(version);
    reply.map(7);
    reply.bulk(b"server");
    reply.bulk(b"redis");
    reply.bulk(b"version");
    reply.bulk(crate::REDIS_VERSION.as_bytes());
    reply.bulk(b"proto");
    reply.integer(if version == Version::Resp3 { 3 } else { 2 });
    reply.bulk(b"id");
    reply.integer(id);
    reply.bulk(b"mode");
    reply.bulk(b"standalone");
    reply.bulk(b"role");
    reply.bulk(b"master");
    reply.bulk(b"modules");
    reply.array(0);
    Ok(())
}

fn ping(call: &mut Call<'_, '_, '_>) -> Outcome {
    if call.count() > 2 {
        return Err(Failure::reply(
            "ERR wrong number of arguments for 'ping' command",
        ));
    }
    let subscriptions = &call.client.shared.subscriptions;
    let listens = subscriptions.load(std::sync::atomic::Ordering::Relaxed) > 0;
    match call.arguments.get(1) {
        given if listens && call.client.version == Version::Resp2 => {
            call.reply.array(2);
            call.reply.bulk(b"pong");
            call.reply.bulk(given.unwrap_or_default());
        }
        Some(given) => call.reply.bulk(given),
        None => call.reply.simple("PONG"),
    }
    Ok(())
}

fn quit(call: &mut Call<'_, '_, '_>) -> Outcome {
    call.client.is_leaving = true;
    call.reply.ok();
    Ok(())
}

fn reset(call: &mut Call<'_, '_, '_>) -> Outcome {
    let store = call.server.store();
    store.watches.unwatch(&mut call.client.watches);
    call.server.clients().unsubscribe_all(&call.client.shared);
    call.server
        .clients()
        .set_monitor(call.client.shared.id, false);
    call.client.queue = None;
    call.client.tracks = None;
    call.client.is_caching = false;
    call.server.end_tracking(call.client.shared.id);
    call.client.version = Version::Resp2;
    call.client.reply_mode = ReplyMode::On;
    call.client.user = call.server.user_of_strangers();
    let name = call.client.user.as_ref().map_or("", |user| user.name());
    {
        let mut labels = call.client.shared.labels();
        labels.name.clear();
        name.clone_into(&mut labels.user);
    }
    call.client.select(0);
    call.client.note_state();
    call.reply.set_version(Version::Resp2);
    call.reply.simple("RESET");
    Ok(())
}

fn select(call: &mut Call<'_, '_, '_>) -> Outcome {
    let number = call.integer(1)?;
    let database = usize::try_from(number)
        .ok()
        .filter(|database| *database < call.store.databases())
        .ok_or(Failure::OUT_OF_RANGE_DATABASE)?;
    call.client.select(database);
    call.reply.ok();
    Ok(())
}
