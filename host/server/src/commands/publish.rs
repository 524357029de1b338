//! Channels: messages to whoever listens at the moment. Nothing of them is stored.

use super::{Call, Command, Flags, Keys, Outcome, help_command};
use crate::glob;
use std::sync::Arc;
use std::sync::atomic::Ordering;

const LISTEN: Flags = Flags::PUBSUB
    .with(Flags::NO_SCRIPT)
    .with(Flags::LOADING)
    .with(Flags::STALE);

macro_rules! command {
    ($name:literal, $arity:literal, $flags:expr, $since:literal, $summary:literal, $complexity:literal, $run:expr, $subcommands:expr) => {
        Command {
            name: $name,
            arity: $arity,
            flags: $flags,
            keys: Keys::NONE,
            group: "pubsub",
            since: $since,
            summary: $summary,
            complexity: $complexity,
            run: $run,
            subcommands: $subcommands,
        }
    };
}

pub(super) const COMMANDS: &[Command] = &[
    command!(
        "publish",
        3,
        Flags::PUBSUB
            .with(Flags::LOADING)
            .with(Flags::STALE)
            .with(Flags::FAST)
            .with(Flags::MAY_REPLICATE),
        "2.0.0",
        "Sends a message to a channel.",
        "O(N + M) for N listeners and M patterns of all clients",
        publish,
        &[]
    ),
    command!(
        "subscribe",
        -2,
        LISTEN.with(Flags::PUSHES),
        "2.0.0",
        "Listens to channels.",
        "O(N) for N channels",
        |call| listen(call, false),
        &[]
    ),
    command!(
        "unsubscribe",
        -1,
        LISTEN.with(Flags::PUSHES),
        "2.0.0",
        "Listens to channels no more.",
        "O(N) for N channels",
        |call| leave(call, false),
        &[]
    ),
    command!(
        "psubscribe",
        -2,
        LISTEN.with(Flags::PUSHES),
        "2.0.0",
        "Listens to channels whose names match patterns.",
        "O(N) for N patterns",
        |call| listen(call, true),
        &[]
    ),
    command!(
        "punsubscribe",
        -1,
        LISTEN.with(Flags::PUSHES),
        "2.0.0",
        "Listens to patterns no more.",
        "O(N) for N patterns",
        |call| leave(call, true),
        &[]
    ),
    command!(
        "pubsub",
        -2,
        LISTEN,
        "2.8.0",
        "Tells who listens to what.",
        "Depends on the subcommand",
        channels,
        &[
            command!(
                "pubsub|channels",
                -2,
                LISTEN,
                "2.8.0",
                "Lists the channels that somebody listens to.",
                "O(N) for N channels",
                channels,
                &[]
            ),
            help_command("pubsub", "pubsub|help", "6.2.0"),
            command!(
                "pubsub|numsub",
                -2,
                LISTEN,
                "2.8.0",
                "Counts the listeners of channels.",
                "O(N) for N channels",
                listeners,
                &[]
            ),
            command!(
                "pubsub|numpat",
                2,
                LISTEN,
                "2.8.0",
                "Counts the patterns that somebody listens to.",
                "O(1)",
                patterns,
                &[]
            ),
        ]
    ),
];

fn publish(call: &mut Call<'_, '_, '_>) -> Outcome {
    let reached = call.server.clients().publish(call.at(1), call.at(2));
    call.reply.length(reached);
    Ok(())
}

fn note_count(call: &Call<'_, '_, '_>) -> usize {
    let count = call
        .server
        .clients()
        .subscriptions_of(call.client.shared.id);
    call.client
        .shared
        .subscriptions
        .store(count, Ordering::Relaxed);
    count
}

fn confirm(call: &mut Call<'_, '_, '_>, word: &str, name: Option<&[u8]>) {
    let count = note_count(call);
    call.reply.push(3);
    call.reply.bulk(word.as_bytes());
    call.reply.bulk_or_null(name);
    call.reply.length(count);
}

fn listen(call: &mut Call<'_, '_, '_>, by_pattern: bool) -> Outcome {
    let word = if by_pattern {
        "psubscribe"
    } else {
        "subscribe"
    };
    let id = call.client.shared.id;
    for name in call.arguments.from(1) {
        {
            let mut subscriptions = call.server.clients().subscriptions();
            let listeners = if by_pattern {
                &mut subscriptions.patterns
            } else {
                &mut subscriptions.channels
            };
            listeners.entry(Arc::from(name)).or_default().insert(id);
        }
        confirm(call, word, Some(name));
    }
    Ok(())
}

fn leave(call: &mut Call<'_, '_, '_>, by_pattern: bool) -> Outcome {
    let word = if by_pattern {
        "punsubscribe"
    } else {
        "unsubscribe"
    };
    let id = call.client.shared.id;
    let names: Vec<Arc<[u8]>> = if call.count() > 1 {
        call.arguments.from(1).map(Arc::from).collect()
    } else {
        call.server.clients().names_of(id, by_pattern)
    };
    if names.is_empty() {
        confirm(call, word, None);
    }
    for name in names {
        call.server.clients().leave(id, &name, by_pattern);
        confirm(call, word, Some(&name));
    }
    Ok(())
}

fn channels(call: &mut Call<'_, '_, '_>) -> Outcome {
    let pattern = call.arguments.get(2);
    let names: Vec<Arc<[u8]>> = {
        let subscriptions = call.server.clients().subscriptions();
        let names = subscriptions.channels.keys();
        names
            .filter(|name| pattern.is_none_or(|pattern| glob::matches(pattern, name)))
            .cloned()
            .collect()
    };
    call.reply.array(names.len());
    for name in names {
        call.reply.bulk(&name);
    }
    Ok(())
}

fn listeners(call: &mut Call<'_, '_, '_>) -> Outcome {
    // Not a map in either version of the protocol.
    call.reply.array((call.count() - 2) * 2);
    for name in call.arguments.from(2) {
        let count = {
            let subscriptions = call.server.clients().subscriptions();
            subscriptions
                .channels
                .get(name)
                .map_or(0, |clients| clients.len())
        };
        call.reply.bulk(name);
        call.reply.length(count);
    }
    Ok(())
}

fn patterns(call: &mut Call<'_, '_, '_>) -> Outcome {
    let count = call.server.clients().subscriptions().patterns.len();
    call.reply.length(count);
    Ok(())
}
