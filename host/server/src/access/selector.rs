//! What is allowed together: commands, and the keys and channels that they are about.
//!
//! Which commands are allowed is a set of bits, one for each command and subcommand there
//! is; the rules that made it are kept to be told, without those that later ones made
//! pointless.

use crate::commands::{self, ByName, Command};
use crate::glob;
use crate::protocol::Arguments;
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// Categories that Redis has. Some have no commands here; users' rules may name them.
pub const CATEGORIES: [&str; 21] = [
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
];

/// Why a rule makes no sense, in Redis's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// No such command or category.
    #[error("Unknown command or category name in ACL")]
    Unknown,
    /// Nothing that is a rule.
    #[error("Syntax error")]
    Syntax,
    /// A pattern for keys behind one for all.
    #[error(
        "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. Try 'resetkeys' to start with an empty list of patterns"
    )]
    AllKeys,
    /// A pattern for channels behind one for all.
    #[error(
        "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any effect. Try 'resetchannels' to start with an empty list of channels"
    )]
    AllChannels,
    /// A hash that is none.
    #[error(
        "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters"
    )]
    Hash,
    /// A password to be forgotten that isn't known.
    #[error("The password you are trying to remove from the user does not exist")]
    NoSuchPassword,
    /// An argument of a subcommand.
    #[error("Allowing first-arg of a subcommand is not supported")]
    SubcommandArgument,
    /// A selector without its end.
    #[error("Unmatched parenthesis in acl selector")]
    Parenthesis,
}

/// What stands in the way of a command; the later in this list, the further it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Denial {
    /// The command.
    Command,
    /// The key at this place.
    Key(usize),
    /// The channel at this place.
    Channel(usize),
}

/// Commands by their numbers: with room for as many.
const WORDS: usize = 4;
const BITS: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CommandSet([u64; WORDS]);

impl CommandSet {
    fn set(&mut self, number: usize, is_in: bool) {
        if let Some(word) = self.0.get_mut(number / BITS) {
            let bit = 1 << (number % BITS);
            *word = if is_in { *word | bit } else { *word & !bit };
        }
    }

    fn has(&self, number: usize) -> bool {
        let word = self.0.get(number / BITS).copied().unwrap_or(0);
        word >> (number % BITS) & 1 == 1
    }
}

/// Every command and subcommand, and the number of each.
struct Registry {
    all: Vec<&'static Command>,
    numbers: ByName<&'static str, usize>,
}

fn registry() -> &'static Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(|| {
        let with_parts =
            |command: &'static Command| std::iter::once(command).chain(command.subcommands);
        let all: Vec<&'static Command> = commands::all().flat_map(with_parts).collect();
        let numbers = all.iter().enumerate();
        let numbers = numbers.map(|(number, command)| (command.name, number));
        Registry {
            numbers: numbers.collect(),
            all,
        }
    })
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct KeyPattern {
    reads: bool,
    writes: bool,
    pattern: Vec<u8>,
}

/// What is allowed together.
#[derive(Debug, Clone)]
pub struct Selector {
    commands: CommandSet,
    /// Commands, by number, that are allowed with these first arguments.
    first_arguments: BTreeMap<usize, Vec<Vec<u8>>>,
    begins_with_all: bool,
    rules: Vec<String>,
    has_all_keys: bool,
    keys: Vec<KeyPattern>,
    has_all_channels: bool,
    channels: Vec<Vec<u8>>,
}

impl Selector {
    pub(super) fn nothing() -> Self {
        Self {
            commands: CommandSet([0; WORDS]),
            first_arguments: BTreeMap::new(),
            begins_with_all: false,
            rules: Vec::new(),
            has_all_keys: false,
            keys: Vec::new(),
            has_all_channels: false,
            channels: Vec::new(),
        }
    }

    pub(super) fn everything() -> Self {
        Self {
            commands: CommandSet([u64::MAX; WORDS]),
            begins_with_all: true,
            has_all_keys: true,
            has_all_channels: true,
            ..Self::nothing()
        }
    }

    pub(super) fn is_everything(&self) -> bool {
        let has_all = self.commands == CommandSet([u64::MAX; WORDS]);
        has_all && self.has_all_keys && self.has_all_channels
    }

    pub(super) fn apply(&mut self, rule: &[u8]) -> Result<(), RuleError> {
        let is_word = |word: &str| rule.eq_ignore_ascii_case(word.as_bytes());
        if is_word("allkeys") || rule == b"~*" {
            self.has_all_keys = true;
            self.keys.clear();
        } else if is_word("resetkeys") {
            self.has_all_keys = false;
            self.keys.clear();
        } else if is_word("allchannels") || rule == b"&*" {
            self.has_all_channels = true;
            self.channels.clear();
        } else if is_word("resetchannels") {
            self.has_all_channels = false;
            self.channels.clear();
        } else if is_word("allcommands") || is_word("+@all") {
            self.begin_with(true);
        } else if is_word("nocommands") || is_word("-@all") {
            self.begin_with(false);
        } else {
            return match rule {
                [b'~', pattern @ ..] => self.add_keys(true, true, pattern),
                [b'%', rest @ ..] => self.add_keys_for_use(rest),
                [b'&', pattern @ ..] => self.add_channels(pattern),
                [sign @ (b'+' | b'-'), b'@', name @ ..] => self.set_category(*sign == b'+', name),
                [sign @ (b'+' | b'-'), name @ ..] => self.set_command(*sign == b'+', name),
                _ => Err(RuleError::Syntax),
            };
        }
        Ok(())
    }

    fn begin_with(&mut self, all: bool) {
        self.commands = CommandSet([if all { u64::MAX } else { 0 }; WORDS]);
        self.first_arguments.clear();
        self.begins_with_all = all;
        self.rules.clear();
    }

    fn add_keys_for_use(&mut self, rest: &[u8]) -> Result<(), RuleError> {
        let end = rest.iter().position(|byte| *byte == b'~');
        let (uses, pattern) = rest.split_at(end.ok_or(RuleError::Syntax)?);
        let (mut reads, mut writes) = (false, false);
        for letter in uses {
            match letter.to_ascii_uppercase() {
                b'R' if !reads => reads = true,
                b'W' if !writes => writes = true,
                _ => return Err(RuleError::Syntax),
            }
        }
        if !reads && !writes {
            return Err(RuleError::Syntax);
        }
        let pattern = pattern.strip_prefix(b"~").unwrap_or(pattern);
        self.add_keys(reads, writes, pattern)
    }

    fn add_keys(&mut self, reads: bool, writes: bool, pattern: &[u8]) -> Result<(), RuleError> {
        if self.has_all_keys {
            return Err(RuleError::AllKeys);
        }
        if let Some(known) = self.keys.iter_mut().find(|known| known.pattern == pattern) {
            known.reads |= reads;
            known.writes |= writes;
        } else {
            self.keys.push(KeyPattern {
                reads,
                writes,
                pattern: pattern.to_vec(),
            });
        }
        Ok(())
    }

    fn add_channels(&mut self, pattern: &[u8]) -> Result<(), RuleError> {
        if self.has_all_channels {
            return Err(RuleError::AllChannels);
        }
        if !self.channels.iter().any(|known| known == pattern) {
            self.channels.push(pattern.to_vec());
        }
        Ok(())
    }

    fn set_category(&mut self, is_allowed: bool, name: &[u8]) -> Result<(), RuleError> {
        let is_it = |known: &&&str| known.as_bytes().eq_ignore_ascii_case(name);
        let category = CATEGORIES.iter().find(is_it).ok_or(RuleError::Unknown)?;
        for (number, command) in registry().all.iter().enumerate() {
            if command.categories().any(|of| of == *category) {
                self.commands.set(number, is_allowed);
                self.first_arguments.remove(&number);
            }
        }
        self.note_rule(is_allowed, &format!("@{category}"));
        Ok(())
    }

    fn set_command(&mut self, is_allowed: bool, name: &[u8]) -> Result<(), RuleError> {
        let text = String::from_utf8_lossy(name).to_ascii_lowercase();
        let registry = registry();
        if let Some(number) = registry.numbers.get(&*text) {
            let prefix = format!("{text}|");
            for (part, command) in registry.all.iter().enumerate() {
                if part == *number || command.name.starts_with(&prefix) {
                    self.commands.set(part, is_allowed);
                    self.first_arguments.remove(&part);
                }
            }
            self.note_rule(is_allowed, &text);
            return Ok(());
        }
        let (command, argument) = text.rsplit_once('|').ok_or(RuleError::Unknown)?;
        let number = *registry.numbers.get(command).ok_or(RuleError::Unknown)?;
        if is_allowed && command.contains('|') {
            return Err(RuleError::SubcommandArgument);
        }
        let has_parts = registry
            .all
            .get(number)
            .is_some_and(|command| !command.subcommands.is_empty());
        if !is_allowed || has_parts || argument.is_empty() {
            return Err(RuleError::Unknown);
        }
        if !self.commands.has(number) {
            let allowed = self.first_arguments.entry(number).or_default();
            if !allowed.iter().any(|known| known == argument.as_bytes()) {
                allowed.push(argument.as_bytes().to_vec());
            }
            self.note_rule(true, &text);
        }
        Ok(())
    }

    /// Keeps a rule to be told, and forgets those that it makes pointless.
    fn note_rule(&mut self, is_allowed: bool, name: &str) {
        self.rules.retain(|rule| {
            let known = &rule[1..];
            let is_part = known
                .strip_prefix(name)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('|'));
            !is_part
        });
        let sign = if is_allowed { '+' } else { '-' };
        self.rules.push(format!("{sign}{name}"));
    }

    fn allows_command(&self, command: &Command, arguments: Arguments<'_>) -> bool {
        if command.flags.has(commands::Flags::NO_AUTH) {
            return true;
        }
        let Some(number) = registry().numbers.get(command.name) else {
            return false;
        };
        self.commands.has(*number)
            || self.first_arguments.get(number).is_some_and(|allowed| {
                let given = arguments.get(1).unwrap_or_default();
                allowed.iter().any(|one| one.eq_ignore_ascii_case(given))
            })
    }

    fn allows_key(&self, key: &[u8], reads: bool, writes: bool) -> bool {
        self.has_all_keys
            || self.keys.iter().any(|pattern| {
                let is_enough = (pattern.reads || !reads) && (pattern.writes || !writes);
                is_enough && glob::matches(&pattern.pattern, key)
            })
    }

    pub(super) fn allows_channel(&self, channel: &[u8], is_pattern: bool) -> bool {
        self.has_all_channels
            || self.channels.iter().any(|known| {
                if is_pattern {
                    known == channel
                } else {
                    glob::matches(known, channel)
                }
            })
    }

    pub(super) fn check(&self, command: &Command, arguments: Arguments<'_>) -> Result<(), Denial> {
        if !self.allows_command(command, arguments) {
            return Err(Denial::Command);
        }
        if !self.has_all_keys {
            for place in command.key_places(arguments.len()) {
                let (reads, writes) = commands::key_use(command, arguments, place);
                if !self.allows_key(arguments.at(place), reads, writes) {
                    return Err(Denial::Key(place));
                }
            }
        }
        let (channels, is_pattern) = match command.name {
            "publish" => (1..2, false),
            "subscribe" => (1..arguments.len(), false),
            "psubscribe" => (1..arguments.len(), true),
            _ => (0..0, false),
        };
        for place in channels {
            if !self.allows_channel(arguments.at(place), is_pattern) {
                return Err(Denial::Channel(place));
            }
        }
        Ok(())
    }

    /// The rules for commands, as they are written.
    #[must_use]
    pub fn command_rules(&self) -> String {
        let mut text = String::from(if self.begins_with_all {
            "+@all"
        } else {
            "-@all"
        });
        for rule in &self.rules {
            text.push(' ');
            text.push_str(rule);
        }
        text
    }

    /// The rules for keys, as they are written.
    #[must_use]
    pub fn key_rules(&self) -> String {
        if self.has_all_keys {
            return "~*".to_owned();
        }
        let one = |key: &KeyPattern| {
            let sign = match (key.reads, key.writes) {
                (true, false) => "%R~",
                (false, true) => "%W~",
                _ => "~",
            };
            format!("{sign}{}", String::from_utf8_lossy(&key.pattern))
        };
        self.keys.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    /// The rules for channels, as they are written.
    #[must_use]
    pub fn channel_rules(&self) -> String {
        if self.has_all_channels {
            return "&*".to_owned();
        }
        let one = |channel: &Vec<u8>| format!("&{}", String::from_utf8_lossy(channel));
        self.channels.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    pub(super) fn describe(&self) -> String {
        let mut words = vec![self.key_rules()];
        if !self.has_all_channels {
            words.push("resetchannels".to_owned());
        }
        words.extend([self.channel_rules(), self.command_rules()]);
        words.retain(|word| !word.is_empty());
        words.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_number_of_its_own() {
        let registry = registry();
        assert_eq!(registry.numbers.len(), registry.all.len());
        assert!(registry.all.len() <= WORDS * BITS);
        let known = |category: &str| CATEGORIES.contains(&category);
        for command in &registry.all {
            assert!(command.categories().all(known), "{}", command.name);
        }
    }
}
