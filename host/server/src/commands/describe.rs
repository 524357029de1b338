//! `COMMAND`: what the list of commands says of them.

use super::key_use::key_flags;
use super::{Call, Command, Flags, Keys, Outcome, find, help_command, shown};
use crate::failure::Failure;
use crate::glob;
use crate::protocol::Arguments;

const ANY_TIME: Flags = Flags::LOADING.with(Flags::STALE);

const fn part(
    name: &'static str,
    arity: i32,
    run: fn(&mut Call<'_, '_, '_>) -> Outcome,
    since: &'static str,
    summary: &'static str,
) -> Command {
    Command::new("server", name, arity, run)
        .flags(ANY_TIME)
        .told(since, summary, "O(N) for N commands")
}

pub(super) const COMMANDS: &[Command] = &[part(
    "command",
    -1,
    all,
    "2.8.13",
    "Tells what commands there are.",
)
.subcommands(&[
    part("command|count", 2, count, "2.8.13", "Counts the commands."),
    part(
        "command|docs",
        -2,
        docs,
        "7.0.0",
        "Gives the documentation of commands.",
    ),
    part(
        "command|getkeys",
        -4,
        |call| keys(call, false),
        "2.8.13",
        "Tells which arguments of a command are keys.",
    ),
    part(
        "command|getkeysandflags",
        -4,
        |call| keys(call, true),
        "7.0.0",
        "Tells which arguments of a command are keys, and what it does with them.",
    ),
    part(
        "command|info",
        -2,
        info,
        "2.8.13",
        "Tells what commands are like; all, unless some are named.",
    ),
    part(
        "command|list",
        -2,
        list,
        "7.0.0",
        "Lists the names of commands, with FILTERBY those of a category or a pattern.",
    ),
    help_command("server", "command|help", "5.0.0"),
])];

fn all(call: &mut Call<'_, '_, '_>) -> Outcome {
    let commands: Vec<&Command> = super::all().collect();
    call.reply.array(commands.len());
    for command in commands {
        write_info(call, command);
    }
    Ok(())
}

/// The command of this name, where a subcommand stands behind its command and a bar.
pub(super) fn called(name: &[u8]) -> Option<&'static Command> {
    let first = name.split(|byte| *byte == b'|').next()?;
    let command = find(first)?;
    if first.len() == name.len() {
        return Some(command);
    }
    command
        .subcommands
        .iter()
        .find(|subcommand| subcommand.name.as_bytes().eq_ignore_ascii_case(name))
}

fn write_info(call: &mut Call<'_, '_, '_>, command: &Command) {
    let reply = &mut *call.reply;
    reply.array(10);
    reply.bulk(command.name.as_bytes());
    reply.integer(command.arity.into());
    let flags: Vec<&str> = command.flags.words().collect();
    reply.set(flags.len());
    for flag in flags {
        reply.simple(flag);
    }
    reply.integer(command.keys.first.into());
    reply.integer(command.keys.last.into());
    reply.integer(command.keys.step.into());
    let categories: Vec<&str> = command.categories().collect();
    reply.set(categories.len());
    for category in categories {
        reply.simple(&format!("@{category}"));
    }
    // There are no tips for clusters.
    reply.set(0);
    write_keys(call, command);
    call.reply.array(command.subcommands.len());
    for subcommand in command.subcommands {
        write_info(call, subcommand);
    }
}

/// Where the keys of a command are, as `COMMAND` says it since version 7.
fn write_keys(call: &mut Call<'_, '_, '_>, command: &Command) {
    let reply = &mut *call.reply;
    let Keys { first, last, step } = command.keys;
    if first == 0 {
        reply.set(0);
        return;
    }
    reply.set(1);
    reply.map(3);
    reply.bulk(b"flags");
    let place = usize::try_from(first).unwrap_or(0);
    let flags = key_flags(command, Arguments::default(), place);
    reply.set(flags.len());
    for flag in flags {
        reply.simple(flag);
    }
    reply.bulk(b"begin_search");
    reply.map(2);
    reply.bulk(b"type");
    reply.bulk(b"index");
    reply.bulk(b"spec");
    reply.map(1);
    reply.bulk(b"index");
    reply.integer(first.into());
    reply.bulk(b"find_keys");
    reply.map(2);
    reply.bulk(b"type");
    reply.bulk(b"range");
    reply.bulk(b"spec");
    reply.map(3);
    reply.bulk(b"lastkey");
    // A last key counts from the first here.
    reply.integer(i64::from(if last < 0 { last } else { last - first }));
    reply.bulk(b"keystep");
    reply.integer(step.into());
    reply.bulk(b"limit");
    reply.integer(0);
}

fn count(call: &mut Call<'_, '_, '_>) -> Outcome {
    call.reply.length(super::all().count());
    Ok(())
}

fn info(call: &mut Call<'_, '_, '_>) -> Outcome {
    if call.count() == 2 {
        return all(call);
    }
    call.reply.array(call.count() - 2);
    for name in call.arguments.from(2) {
        match called(name) {
            Some(command) => write_info(call, command),
            None => call.reply.null(),
        }
    }
    Ok(())
}

fn docs(call: &mut Call<'_, '_, '_>) -> Outcome {
    let commands: Vec<&Command> = if call.count() == 2 {
        super::all().collect()
    } else {
        call.arguments.from(2).filter_map(called).collect()
    };
    call.reply.map(commands.len());
    for command in commands {
        write_docs(call, command);
    }
    Ok(())
}

fn write_docs(call: &mut Call<'_, '_, '_>, command: &Command) {
    let reply = &mut *call.reply;
    reply.bulk(command.name.as_bytes());
    let texts = [
        ("summary", command.summary),
        ("since", command.since),
        ("group", command.group),
        ("complexity", command.complexity),
    ];
    let has_parts = !command.subcommands.is_empty();
    reply.map(texts.len() + usize::from(has_parts));
    for (name, text) in texts {
        reply.bulk(name.as_bytes());
        reply.bulk(text.as_bytes());
    }
    if has_parts {
        reply.bulk(b"subcommands");
        reply.map(command.subcommands.len());
        for subcommand in command.subcommands {
            write_docs(call, subcommand);
        }
    }
}

fn list(call: &mut Call<'_, '_, '_>) -> Outcome {
    let is_filtered = call.count() > 2;
    if is_filtered && (call.count() != 5 || !call.is_word(2, "filterby")) {
        return Err(Failure::SYNTAX);
    }
    let mut every: Vec<&Command> = Vec::new();
    for command in super::all() {
        every.push(command);
        every.extend(command.subcommands);
    }
    if is_filtered {
        let filter = call.at(4);
        if call.is_word(3, "module") {
            every.clear();
        } else if call.is_word(3, "aclcat") {
            let is_in = |command: &&Command| {
                let mut categories = command.categories();
                categories.any(|category| category.as_bytes().eq_ignore_ascii_case(filter))
            };
            every.retain(is_in);
        } else if call.is_word(3, "pattern") {
            let pattern = filter.to_ascii_lowercase();
            every.retain(|command| glob::matches(&pattern, command.name.as_bytes()));
        } else {
            return Err(Failure::SYNTAX);
        }
    }
    call.reply.array(every.len());
    for command in every {
        call.reply.bulk(command.name.as_bytes());
    }
    Ok(())
}

fn keys(call: &mut Call<'_, '_, '_>, with_flags: bool) -> Outcome {
    let words = call.count() - 2;
    let command = find(call.at(2)).ok_or(Failure::reply("ERR Invalid command specified"))?;
    let called = |part: &&Command| {
        let word = call.arguments.get(3).unwrap_or_default();
        part.own_name().as_bytes().eq_ignore_ascii_case(word)
    };
    let command = command.subcommands.iter().find(called).unwrap_or(command);
    if command.keys.first == 0 {
        return Err(Failure::reply("ERR The command has no key arguments"));
    }
    if !command.takes(words) {
        return Err(Failure::reply(
            "ERR Invalid number of arguments specified for command",
        ));
    }
    let places: Vec<usize> = command.key_places(words).collect();
    call.reply.array(places.len());
    for place in places {
        let key = call.at(place + 2);
        if !with_flags {
            call.reply.bulk(key);
            continue;
        }
        let flags = key_flags(command, call.arguments.behind(2), place);
        call.reply.array(2);
        call.reply.bulk(key);
        call.reply.set(flags.len());
        for flag in flags {
            call.reply.simple(flag);
        }
    }
    Ok(())
}

/// What a client is told of a command that there is none of.
pub(super) fn not_found(name: &[u8]) -> Failure {
    Failure::reply(format!("ERR Command '{}' not found", shown(name, 128)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_documented_and_found_by_its_name() {
        for command in super::super::all() {
            assert!(
                called(command.name.as_bytes()).is_some(),
                "{}",
                command.name
            );
            for one in std::iter::once(command).chain(command.subcommands) {
                assert!(!one.summary.is_empty(), "{}", one.name);
                assert!(!one.since.is_empty(), "{}", one.name);
                assert!(!one.complexity.is_empty(), "{}", one.name);
                assert_eq!(one.name, one.name.to_ascii_lowercase());
                assert_ne!(one.arity, 0);
            }
            for part in command.subcommands {
                let (of, own) = part.name.split_once('|').expect("a bar in its name");
                assert_eq!((of, own), (command.name, part.own_name()));
                assert!(called(part.name.as_bytes()).is_some(), "{}", part.name);
            }
        }
    }

    #[test]
    fn keys_are_found_from_either_end() {
        let places = |name: &str, words| {
            let command = find(name.as_bytes()).expect(name);
            command.key_places(words).collect::<Vec<_>>()
        };
        assert_eq!(places("get", 2), [1]);
        assert_eq!(places("mset", 7), [1, 3, 5]);
        assert_eq!(places("del", 4), [1, 2, 3]);
        assert_eq!(places("bitop", 5), [2, 3, 4]);
        assert_eq!(places("ping", 2), Vec::<usize>::new());
    }
}
