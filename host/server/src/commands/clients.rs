//! `CLIENT`: the connections, and this one's manners.

use super::connection::check_name;
use super::{Call, Command, Flags, Outcome, help_command, not_understood, shown, tracking};
use crate::client::{ReplyMode, SharedClient};
use crate::failure::Failure;
use crate::pause::Held;
use crate::protocol::integer;
use crate::server::Server;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

const ANY_TIME: Flags = Flags::NO_SCRIPT.with(Flags::LOADING).with(Flags::STALE);
const OPERATOR: Flags = ANY_TIME.with(Flags::ADMIN);

const fn part(
    name: &'static str,
    arity: i32,
    flags: Flags,
    run: fn(&mut Call<'_, '_, '_>) -> Outcome,
    since: &'static str,
    summary: &'static str,
) -> Command {
    Command::new("connection", name, arity, run)
        .flags(flags)
        .told(
            since,
            summary,
            "O(1); O(N) for N clients where it lists or ends them",
        )
}

pub(super) const COMMANDS: &[Command] = &[part(
    "client",
    -2,
    ANY_TIME,
    id,
    "2.4.0",
    "Tells of connections, and changes this one.",
)
.subcommands(&[
    part(
        "client|caching",
        3,
        ANY_TIME,
        tracking::caching,
        "6.0.0",
        "Tracks what the next command reads, or doesn't.",
    ),
    part(
        "client|getname",
        2,
        ANY_TIME,
        name,
        "2.6.9",
        "Gives the connection's name.",
    ),
    part(
        "client|getredir",
        2,
        ANY_TIME,
        tracking::redirection,
        "6.0.0",
        "Tells which client is told in this one's place.",
    ),
    help_command("connection", "client|help", "5.0.0"),
    part(
        "client|id",
        2,
        ANY_TIME,
        id,
        "5.0.0",
        "Gives the connection's number.",
    ),
    part(
        "client|info",
        2,
        ANY_TIME,
        info,
        "6.2.0",
        "Tells of this connection.",
    ),
    part(
        "client|kill",
        -3,
        OPERATOR,
        kill,
        "2.4.0",
        "Ends connections.",
    ),
    part(
        "client|list",
        -2,
        OPERATOR,
        list,
        "2.4.0",
        "Lists the connections.",
    ),
    part(
        "client|no-evict",
        3,
        OPERATOR,
        no_evict,
        "7.0.0",
        "Is taken; no client is evicted in any case.",
    ),
    part(
        "client|pause",
        -3,
        OPERATOR.with(Flags::TAKES_WRITER),
        pause,
        "3.0.0",
        "Holds back commands that write, or all, for some milliseconds.",
    ),
    part(
        "client|reply",
        3,
        ANY_TIME,
        replies,
        "3.2.0",
        "Chooses which replies are sent.",
    ),
    part(
        "client|setinfo",
        4,
        ANY_TIME,
        set_info,
        "7.2.0",
        "Tells the service which library the client is.",
    ),
    part(
        "client|setname",
        3,
        ANY_TIME,
        set_name,
        "2.6.9",
        "Names the connection.",
    ),
    part(
        "client|tracking",
        -3,
        ANY_TIME.with(Flags::TAKES_WRITER),
        tracking::tracking,
        "6.0.0",
        "Has the client told when a key that it has read is changed.",
    ),
    part(
        "client|trackinginfo",
        2,
        ANY_TIME,
        tracking::tracking_info,
        "6.2.0",
        "Tells how the client tracks what it reads.",
    ),
    part(
        "client|unblock",
        -3,
        OPERATOR,
        unblock,
        "5.0.0",
        "Tells that the client doesn't wait: no command does.",
    ),
    part(
        "client|unpause",
        2,
        OPERATOR,
        unpause,
        "6.2.0",
        "Holds back no commands any more.",
    ),
])];

fn id(call: &mut Call<'_, '_, '_>) -> Outcome {
    let id = call.client.shared.id;
    call.reply.integer(i64::try_from(id).unwrap_or(i64::MAX));
    Ok(())
}

fn name(call: &mut Call<'_, '_, '_>) -> Outcome {
    let name = call.client.shared.labels().name.clone();
    let name = Some(name.as_bytes()).filter(|name| !name.is_empty());
    call.reply.bulk_or_null(name);
    Ok(())
}

fn set_name(call: &mut Call<'_, '_, '_>) -> Outcome {
    let name = check_name(call.at(2))?;
    call.client.shared.labels().name = name;
    call.reply.ok();
    Ok(())
}

fn set_info(call: &mut Call<'_, '_, '_>) -> Outcome {
    let (is_name, is_version) = (call.is_word(2, "lib-name"), call.is_word(2, "lib-ver"));
    if !is_name && !is_version {
        return Err(Failure::reply(format!(
            "ERR Unrecognized option '{}'",
            shown(call.at(2), 128)
        )));
    }
    let text = check_name(call.at(3)).map_err(|_| {
        let option = shown(call.at(2), 128).to_ascii_lowercase();
        Failure::reply(format!(
            "ERR {option} cannot contain spaces, newlines or special characters."
        ))
    })?;
    {
        let mut labels = call.client.shared.labels();
        if is_name {
            labels.library_name = text;
        } else {
            labels.library_version = text;
        }
    }
    call.reply.ok();
    Ok(())
}

/// The kind of a client, as `CLIENT LIST TYPE` knows them; nobody replicates here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Normal,
    Listens,
    Replicates,
}

fn kind(word: &[u8]) -> Result<Kind, Failure> {
    let is_word = |known: &str| word.eq_ignore_ascii_case(known.as_bytes());
    if is_word("normal") {
        Ok(Kind::Normal)
    } else if is_word("pubsub") {
        Ok(Kind::Listens)
    } else if is_word("master") || is_word("replica") || is_word("slave") {
        Ok(Kind::Replicates)
    } else {
        let word = shown(word, 128);
        Err(Failure::reply(format!("ERR Unknown client type '{word}'")))
    }
}

fn kind_of(client: &SharedClient) -> Kind {
    if client.subscriptions.load(Ordering::Relaxed) > 0 {
        Kind::Listens
    } else {
        Kind::Normal
    }
}

/// A line of `CLIENT LIST`. Fields that the service doesn't know are 0; there are no
/// descriptors to be told.
#[must_use]
pub fn line(server: &Server, client: &SharedClient) -> String {
    let labels = client.labels().clone();
    let load = |count: &std::sync::atomic::AtomicUsize| count.load(Ordering::Relaxed);
    let subscriptions = load(&client.subscriptions);
    let channels = if subscriptions > 0 {
        server.clients().names_of(client.id, false).len()
    } else {
        0
    };
    let queued = load(&client.queued);
    let tracking = server.tracking().options(client.id);
    let redirection = tracking::redirection_of(tracking.as_ref());
    let of = tracking.clone().unwrap_or_default();
    let mut flags = String::new();
    for (applies, flag) in [
        (server.clients().is_monitor(client.id), 'O'),
        (subscriptions > 0, 'P'),
        (queued != usize::MAX, 'x'),
        (client.is_held.load(Ordering::Relaxed), 'b'),
        (tracking.is_some(), 't'),
        (of.is_broken, 'R'),
        (of.is_broadcast, 'B'),
        (client.is_killed.load(Ordering::Relaxed), 'c'),
        (client.address.is_none(), 'U'),
    ] {
        if applies {
            flags.push(flag);
        }
    }
    if flags.is_empty() {
        flags.push('N');
    }
    let local = client
        .local_address
        .map_or_else(|| "unix:0".to_owned(), |address| address.to_string());
    let multi = i64::try_from(queued).unwrap_or(-1);
    let (input, output) = (load(&client.input_bytes), load(&client.output_bytes));
    let is_third = client.is_third_version.load(Ordering::Relaxed);
    format!(
        "id={} addr={} laddr={local} fd=-1 name={} age={} idle={} flags={flags} db={} sub={channels} psub={} ssub=0 multi={multi} qbuf={input} qbuf-free=0 argv-mem=0 multi-mem=0 rbs={output} rbp={output} obl={output} oll=0 omem=0 tot-mem={} events=r cmd={} user={} redir={redirection} resp={} lib-name={} lib-ver={}",
        client.id,
        client.address_text(),
        labels.name,
        client.connected.elapsed().as_secs(),
        client.idle_seconds(),
        load(&client.database),
        subscriptions - channels.min(subscriptions),
        client.buffer_bytes(),
        if labels.last_command.is_empty() {
            "NULL"
        } else {
            labels.last_command
        },
        labels.user,
        if is_third { 3 } else { 2 },
        labels.library_name,
        labels.library_version,
    )
}

fn info(call: &mut Call<'_, '_, '_>) -> Outcome {
    let mut text = line(call.server, &call.client.shared);
    text.push('\n');
    call.reply.verbatim(&text);
    Ok(())
}

fn list(call: &mut Call<'_, '_, '_>) -> Outcome {
    let mut clients = call.server.clients().list();
    if call.count() == 4 && call.is_word(2, "type") {
        let kind = kind(call.at(3))?;
        clients.retain(|client| kind_of(client) == kind);
    } else if call.count() > 3 && call.is_word(2, "id") {
        let mut ids = Vec::new();
        for index in 3..call.count() {
            let id = integer(call.at(index)).and_then(|id| u64::try_from(id).ok());
            ids.push(id.ok_or(Failure::reply("ERR Invalid client ID"))?);
        }
        clients.retain(|client| ids.contains(&client.id));
    } else if call.count() > 2 {
        return Err(Failure::SYNTAX);
    }
    let mut text = String::new();
    for client in &clients {
        text.push_str(&line(call.server, client));
        text.push('\n');
    }
    call.reply.verbatim(&text);
    Ok(())
}

/// Ends a connection; this one when it has its reply.
pub(super) fn end(call: &mut Call<'_, '_, '_>, client: &Arc<SharedClient>) {
    if client.id == call.client.shared.id {
        call.client.is_leaving = true;
    } else {
        client.kill();
        // It is gone for everybody else at once, not when its connection sees it.
        call.server.clients().remove(client.id);
    }
}

fn kill(call: &mut Call<'_, '_, '_>) -> Outcome {
    let clients = call.server.clients().list();
    if call.count() == 3 {
        let address = call.at(2);
        let at_address = |client: &&Arc<SharedClient>| client.address_text().as_bytes() == address;
        let client = clients.iter().find(at_address);
        let client = client.ok_or(Failure::reply("ERR No such client"))?;
        end(call, client);
        call.reply.ok();
        return Ok(());
    }
    let mut chosen = clients;
    let mut spares_itself = true;
    for index in (2..call.count()).step_by(2) {
        let value = call.arguments.get(index + 1).ok_or(Failure::SYNTAX)?;
        if call.is_word(index, "id") {
            let id = integer(value).and_then(|id| u64::try_from(id).ok());
            let id = id
                .filter(|id| *id > 0)
                .ok_or(Failure::reply("ERR client-id should be greater than 0"))?;
            chosen.retain(|client| client.id == id);
        } else if call.is_word(index, "type") {
            let kind = kind(value)?;
            chosen.retain(|client| kind_of(client) == kind);
        } else if call.is_word(index, "addr") {
            chosen.retain(|client| client.address_text().as_bytes() == value);
        } else if call.is_word(index, "laddr") {
            chosen.retain(|client| {
                let address = client.local_address.map(|address| address.to_string());
                address.is_some_and(|address| address.as_bytes() == value)
            });
        } else if call.is_word(index, "user") {
            if call.server.access().find(value).is_none() {
                let name = shown(value, 128);
                return Err(Failure::reply(format!("ERR No such user '{name}'")));
            }
            chosen.retain(|client| client.labels().user.as_bytes() == value);
        } else if call.is_word(index, "skipme") {
            spares_itself = if call.is_word(index + 1, "yes") {
                true
            } else if call.is_word(index + 1, "no") {
                false
            } else {
                return Err(Failure::SYNTAX);
            };
        } else {
            return Err(Failure::SYNTAX);
        }
    }
    let own = call.client.shared.id;
    chosen.retain(|client| !spares_itself || client.id != own);
    for client in &chosen {
        end(call, client);
    }
    call.reply.length(chosen.len());
    Ok(())
}

fn pause(call: &mut Call<'_, '_, '_>) -> Outcome {
    let held = match call.count() {
        3 => Held::All,
        4 if call.is_word(3, "write") => Held::Writes,
        4 if call.is_word(3, "all") => Held::All,
        4 => {
            return Err(Failure::reply("ERR CLIENT PAUSE mode must be WRITE or ALL"));
        }
        _ => return Err(not_understood(call)),
    };
    let timeout_ms = integer(call.at(2)).ok_or(Failure::reply(
        "ERR timeout is not an integer or out of range",
    ))?;
    let timeout_ms =
        u64::try_from(timeout_ms).map_err(|_| Failure::reply("ERR timeout is negative"))?;
    call.server
        .pause()
        .begin(held, Duration::from_millis(timeout_ms));
    call.reply.ok();
    Ok(())
}

fn unpause(call: &mut Call<'_, '_, '_>) -> Outcome {
    call.server.pause().end();
    call.reply.ok();
    Ok(())
}

fn is_on(call: &Call<'_, '_, '_>, index: usize) -> Result<bool, Failure> {
    if call.is_word(index, "on") {
        Ok(true)
    } else if call.is_word(index, "off") {
        Ok(false)
    } else {
        Err(Failure::SYNTAX)
    }
}

fn no_evict(call: &mut Call<'_, '_, '_>) -> Outcome {
    is_on(call, 2)?;
    call.reply.ok();
    Ok(())
}

fn replies(call: &mut Call<'_, '_, '_>) -> Outcome {
    if call.is_word(2, "on") {
        call.client.reply_mode = ReplyMode::On;
        call.reply.ok();
    } else if call.is_word(2, "off") {
        call.client.reply_mode = ReplyMode::Off;
    } else if call.is_word(2, "skip") {
        if call.client.reply_mode != ReplyMode::Off {
            call.client.reply_mode = ReplyMode::SkipNext;
        }
    } else {
        return Err(Failure::SYNTAX);
    }
    Ok(())
}

fn unblock(call: &mut Call<'_, '_, '_>) -> Outcome {
    let is_known = call.is_word(3, "timeout") || call.is_word(3, "error");
    if call.count() > 4 || call.count() == 4 && !is_known {
        return Err(Failure::reply(
            "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR",
        ));
    }
    call.integer(2)?;
    call.reply.flag(false);
    Ok(())
}
