//! `LATENCY`: when events took long, and how the times of commands are spread.
//!
//! The events are `command` and `fast-command`, a command by its own time, and `commit`,
//! what a batch of writes took until it was durable.

use super::{Call, Command, Flags, Outcome, help_command};
use crate::observe::{Event, Spread};
use std::fmt::Write as _;

const OPERATOR: Flags = Flags::ADMIN
    .with(Flags::NO_SCRIPT)
    .with(Flags::LOADING)
    .with(Flags::STALE);

const fn part(
    name: &'static str,
    arity: i32,
    run: fn(&mut Call<'_, '_, '_>) -> Outcome,
    since: &'static str,
    summary: &'static str,
) -> Command {
    Command::new("server", name, arity, run)
        .flags(OPERATOR)
        .told(since, summary, "O(N) for N samples")
}

pub(super) const COMMANDS: &[Command] =
    &[
        part("latency", -2, latest, "2.8.13", "Tells what took long.").subcommands(&[
            part(
                "latency|doctor",
                2,
                doctor,
                "2.8.13",
                "Tells in plain words what took long, and what can be done.",
            ),
            help_command("server", "latency|help", "2.8.13"),
            part(
                "latency|histogram",
                -2,
                histogram,
                "7.0.0",
                "Tells how the times of commands are spread.",
            ),
            part(
                "latency|history",
                3,
                history,
                "2.8.13",
                "Gives the times of an event.",
            ),
            part(
                "latency|latest",
                2,
                latest,
                "2.8.13",
                "Gives the last time of each event.",
            ),
            part("latency|reset", -2, reset, "2.8.13", "Forgets events."),
        ]),
    ];

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn latest(call: &mut Call<'_, '_, '_>) -> Outcome {
    let events = call.server.observations().latency.all();
    let reply = &mut *call.reply;
    reply.array(events.len());
    for (name, event) in events {
        let last = event.samples.back();
        reply.array(4);
        reply.bulk(name.as_bytes());
        reply.integer(number(last.map_or(0, |sample| sample.at_s)));
        reply.integer(number(last.map_or(0, |sample| sample.took_ms)));
        reply.integer(number(event.max_ms));
    }
    Ok(())
}

fn history(call: &mut Call<'_, '_, '_>) -> Outcome {
    let event = call.server.observations().latency.find(call.at(2));
    let samples = event.map(|event| event.samples).unwrap_or_default();
    call.reply.array(samples.len());
    for sample in samples {
        call.reply.array(2);
        call.reply.integer(number(sample.at_s));
        call.reply.integer(number(sample.took_ms));
    }
    Ok(())
}

fn reset(call: &mut Call<'_, '_, '_>) -> Outcome {
    let arguments = call.arguments;
    let names = (call.count() > 2).then(|| (2..call.count()).map(|index| arguments.at(index)));
    let count = call.server.observations().latency.reset(names);
    call.reply.length(count);
    Ok(())
}

/// What can be done about an event.
fn advice(name: &str) -> &'static str {
    match name {
        "commit" => {
            "Writes waited for the disk, or for room in memory or log. See `lightning-cli \
             health` for the disk's own times; a faster disk helps, and so does \
             durability.wal_sync_mode = \"periodic\", which may lose the last writes in a power cut."
        }
        "fast-command" => {
            "Commands that should be quick read pages from the disk, or had to wait for a \
             processor. More of database.cache_size_mb helps against the first."
        }
        _ => {
            "Commands that look at much took long: SLOWLOG GET names them. SCAN in small \
             parts is kinder than KEYS."
        }
    }
}

fn report(name: &str, event: &Event) -> String {
    let count = u64::try_from(event.samples.len()).unwrap_or(1).max(1);
    let sum: u64 = event.samples.iter().map(|sample| sample.took_ms).sum();
    format!(
        "{name}: {count} seconds with long ones, {} ms on average, {} ms at most. {}\n",
        sum / count,
        event.max_ms,
        advice(name)
    )
}

fn doctor(call: &mut Call<'_, '_, '_>) -> Outcome {
    let settings = call.server.settings();
    let threshold = settings.configuration.monitoring.latency_monitor_threshold;
    let events = call.server.observations().latency.all();
    let mut text = String::new();
    for (name, event) in &events {
        text.push_str(&report(name, event));
    }
    if events.is_empty() {
        match threshold {
            None => text.push_str(
                "Nothing is remembered: monitoring.latency_monitor_threshold_ms is 0. Set it with CONFIG SET latency-monitor-threshold <milliseconds>.\n",
            ),
            // Writing to a string can't fail.
            Some(threshold) => {
                let _written = writeln!(
                    text,
                    "Nothing took {} ms or longer since the last reset.",
                    threshold.as_millis()
                );
            }
        }
    }
    call.reply.verbatim(&text);
    Ok(())
}

fn write_spread(call: &mut Call<'_, '_, '_>, name: &str, spread: &Spread) {
    let counts = spread.by_power();
    let calls = counts.last().map_or(0, |(_, below)| *below);
    let reply = &mut *call.reply;
    reply.bulk(name.as_bytes());
    reply.map(2);
    reply.bulk(b"calls");
    reply.integer(number(calls));
    reply.bulk(b"histogram_usec");
    reply.map(counts.len());
    for (end_ns, below) in counts {
        reply.integer(number(end_ns.div_ceil(1000)));
        reply.integer(number(below));
    }
}

fn histogram(call: &mut Call<'_, '_, '_>) -> Outcome {
    let statistics = call.server.metrics().by_command();
    let mut commands: Vec<&Command> = Vec::new();
    let mut add = |command: &'static Command| {
        commands.push(command);
        commands.extend(command.subcommands);
    };
    if call.count() == 2 {
        super::all().for_each(&mut add);
    } else {
        for name in call.arguments.from(2) {
            if let Some(command) = super::describe::called(name) {
                add(command);
            }
        }
    }
    let found: Vec<(&str, &Spread)> = commands
        .iter()
        .filter_map(|command| Some((command.name, statistics.spread(command.name)?)))
        .collect();
    call.reply.map(found.len());
    for (name, spread) in found {
        write_spread(call, name, spread);
    }
    Ok(())
}
