//! The commands that took long, with the beginning of their arguments. As in Redis, the
//! time is that of running them, without the wait for the disk; that is an event of
//! `LATENCY` (`commit`), and a line of the log.

use crate::commands::Command;
use crate::protocol::Arguments;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Arguments that are kept of a command; the last place tells how many more there were.
const ARGUMENTS_MAX: usize = 32;
/// Bytes that are kept of an argument.
const ARGUMENT_BYTES_MAX: usize = 128;
/// What stands for an argument that nobody is to read.
const REDACTED: &[u8] = b"(redacted)";

/// A slow command.
#[derive(Debug, Clone)]
pub struct SlowCommand {
    /// Its number, from 0 since the start.
    pub id: u64,
    /// When it ran, in seconds since 1970.
    pub at_s: u64,
    /// How long it took.
    pub took: Duration,
    /// Its words, shortened.
    pub arguments: Vec<Vec<u8>>,
    /// Where its client came from.
    pub address: String,
    /// What its client was called.
    pub name: String,
}

#[derive(Debug, Default)]
struct Entries {
    next_id: u64,
    /// The newest first.
    list: VecDeque<SlowCommand>,
}

/// The last slow commands.
#[derive(Debug, Default)]
pub struct SlowLog {
    entries: Mutex<Entries>,
}

/// Whether an argument is a secret.
#[must_use]
pub fn is_secret(command: &Command, arguments: Arguments<'_>, index: usize) -> bool {
    let is_word = |index: usize, word: &str| {
        let found = arguments.get(index).unwrap_or_default();
        found.eq_ignore_ascii_case(word.as_bytes())
    };
    match command.name {
        "auth" => index > 0,
        "hello" => {
            let mut before = index.saturating_sub(2)..index;
            index > 2 && before.any(|place| place >= 2 && is_word(place, "auth"))
        }
        "acl|setuser" => index > 1,
        "config|set" => {
            let names = ["requirepass", "masterauth", "masteruser"];
            index > 2
                && !index.is_multiple_of(2)
                && names.iter().any(|name| is_word(index - 1, name))
        }
        _ => false,
    }
}

/// A command's words as they may be shown: secrets left out.
pub fn shown<'a>(command: &'a Command, arguments: Arguments<'a>) -> impl Iterator<Item = &'a [u8]> {
    (0..arguments.len()).map(move |index| {
        if is_secret(command, arguments, index) {
            REDACTED
        } else {
            arguments.at(index)
        }
    })
}

fn shortened(command: &Command, arguments: Arguments<'_>) -> Vec<Vec<u8>> {
    let count = arguments.len();
    let kept = if count > ARGUMENTS_MAX {
        ARGUMENTS_MAX - 1
    } else {
        count
    };
    let mut words: Vec<Vec<u8>> = shown(command, arguments)
        .take(kept)
        .map(|word| match word.len().checked_sub(ARGUMENT_BYTES_MAX) {
            None | Some(0) => word.to_vec(),
            Some(more) => {
                let mut short = word[..ARGUMENT_BYTES_MAX].to_vec();
                short.extend_from_slice(format!("... ({more} more bytes)").as_bytes());
                short
            }
        })
        .collect();
    if kept < count {
        words.push(format!("... ({} more arguments)", count - kept).into_bytes());
    }
    words
}

impl SlowLog {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a command; the oldest is forgotten where there are more than `length_max`.
    pub fn note(
        &self,
        command: &Command,
        arguments: Arguments<'_>,
        took: Duration,
        address: String,
        name: String,
        length_max: usize,
    ) {
        let arguments = shortened(command, arguments);
        let mut entries = self.lock();
        let id = entries.next_id;
        entries.next_id += 1;
        entries.list.push_front(SlowCommand {
            id,
            at_s: super::unix_seconds(),
            took,
            arguments,
            address,
            name,
        });
        entries.list.truncate(length_max);
    }

    /// The newest, at most `count`.
    #[must_use]
    pub fn newest(&self, count: usize) -> Vec<SlowCommand> {
        self.lock().list.iter().take(count).cloned().collect()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().list.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets all.
    pub fn reset(&self) {
        self.lock().list.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::{find, resolve};
    use crate::protocol::OwnedArguments;

    fn words(line: &[&[u8]]) -> OwnedArguments {
        line.iter().copied().collect()
    }

    fn kept(line: &[&[u8]]) -> Vec<String> {
        let words = words(line);
        let command = resolve(words.arguments()).unwrap_or(find(line[0]).unwrap());
        shortened(command, words.arguments())
            .into_iter()
            .map(|word| String::from_utf8(word).unwrap())
            .collect()
    }

    #[test]
    fn secrets_are_not_kept() {
        assert_eq!(kept(&[b"auth", b"s"]), ["auth", "(redacted)"]);
        assert_eq!(
            kept(&[b"HELLO", b"3", b"AUTH", b"u", b"s", b"setname", b"n"]),
            [
                "HELLO",
                "3",
                "AUTH",
                "(redacted)",
                "(redacted)",
                "setname",
                "n"
            ]
        );
        assert_eq!(
            kept(&[b"config", b"set", b"requirepass", b"s", b"timeout", b"0"]),
            ["config", "set", "requirepass", "(redacted)", "timeout", "0"]
        );
        assert_eq!(kept(&[b"set", b"auth", b"v"]), ["set", "auth", "v"]);
    }

    #[test]
    fn long_commands_are_shortened() {
        let long = vec![b'x'; 130];
        let mut line: Vec<&[u8]> = vec![b"del", &long];
        line.resize(34, b"k");
        let kept = kept(&line);
        assert_eq!(kept.len(), 32);
        assert_eq!(kept[1], format!("{}... (2 more bytes)", "x".repeat(128)));
        assert_eq!(kept[31], "... (3 more arguments)");
    }

    #[test]
    fn the_oldest_is_forgotten() {
        let log = SlowLog::default();
        let get = words(&[b"get", b"k"]);
        let command = find(b"get").unwrap();
        for _ in 0..3 {
            let (took, text) = (Duration::from_secs(1), String::new);
            log.note(command, get.arguments(), took, text(), text(), 2);
        }
        let ids: Vec<u64> = log.newest(9).iter().map(|entry| entry.id).collect();
        assert_eq!(ids, [2, 1]);
        log.reset();
        assert!(log.is_empty());
    }
}
