//! The commands: what each is called, takes and does.
//!
//! A command stands in one list with what `COMMAND` and `COMMAND DOCS` tell of it. Its
//! handler reads through [`Execution`], says what it wants changed, and writes its reply;
//! if it fails, the reply is taken back and the error written. It may be run again from
//! the start when it fails with [`Failure::WouldRead`], so that it must do whatever else
//! it does (to its client, to the service) after its last read.

mod arguments;
mod bitfield;
mod bits;
mod clients;
mod config;
mod connection;
mod counters;
mod debug;
mod describe;
mod expiry;
mod info;
mod key_use;
mod keys;
mod latency;
mod lcs;
mod lifetimes;
mod memory;
mod operator;
mod publish;
mod scan;
mod slowlog;
mod strings;
mod tracking;
mod transactions;
mod users;

pub use arguments::{float, non_negative};
pub use clients::line as client_line;
pub use key_use::key_use;

use crate::client::Client;
use crate::failure::Failure;
use crate::protocol::{Arguments, ReplyWriter};
use crate::server::Server;
use crate::store::Execution;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::OnceLock;

/// What a handler works with.
#[derive(Debug)]
pub struct Call<'c, 't, 'o> {
    /// The service.
    pub server: &'c Server,
    /// Who sent the command.
    pub client: &'c mut Client,
    /// The keyspace.
    pub store: &'c mut Execution<'c, 't>,
    /// The command's words, its name first.
    pub arguments: Arguments<'c>,
    /// Where the reply goes.
    pub reply: &'c mut ReplyWriter<'o>,
}

impl std::fmt::Debug for Arguments<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Keys and values are nobody's business; how many there are is.
        out.debug_struct("Arguments")
            .field("count", &self.len())
            .finish_non_exhaustive()
    }
}

/// The outcome of a handler.
pub type Outcome = Result<(), Failure>;
type Handler = fn(&mut Call<'_, '_, '_>) -> Outcome;

/// What a command is like, in the words of `COMMAND`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flags(u32);

macro_rules! flags {
    ($($name:ident = $bit:literal, $word:literal, $doc:literal;)*) => {
        impl Flags {
            $(#[doc = $doc] pub const $name: Self = Self(1 << $bit);)*
            const WORDS: &'static [(Self, &'static str)] = &[$((Self::$name, $word)),*];
        }
    };
}

flags! {
    WRITE = 0, "write", "It may change the keyspace.";
    READONLY = 1, "readonly", "It reads the keyspace.";
    DENY_OOM = 2, "denyoom", "It may need more room.";
    ADMIN = 3, "admin", "It is for operators.";
    NO_SCRIPT = 4, "noscript", "Scripts may not call it.";
    LOADING = 5, "loading", "It works at any time.";
    STALE = 6, "stale", "It works at any time.";
    FAST = 7, "fast", "It takes the same time whatever there is.";
    NO_AUTH = 8, "no_auth", "It may come before the client has proved who it is.";
    PUBSUB = 9, "pubsub", "It is about channels.";
    NO_MULTI = 10, "no_multi", "It can't be part of a transaction.";
    ALLOW_BUSY = 11, "allow_busy", "It works at any time.";
    SLOW_HERE = 12, "", "It may look at a whole database, and is run where it holds nobody up.";
    DANGEROUS = 13, "", "It is for those who know what it costs.";
    UNNOTED = 14, "", "It is not told to MONITOR.";
    TAKES_WRITER = 16, "", "It is run while nobody writes, though it changes no key.";
    MAY_REPLICATE = 17, "", "It is held back while writes are, though it changes no key.";
    PUSHES = 15, "", "Its replies are sent even to who wants none, as messages are.";
}

impl Flags {
    /// None.
    pub const NONE: Self = Self(0);

    /// These and those.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are among them.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Their words.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        Self::WORDS
            .iter()
            .filter(move |(flag, word)| self.has(*flag) && !word.is_empty())
            .map(|(_, word)| *word)
    }
}

/// Which arguments are keys: first and last (negative: from the end) place, and step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keys {
    /// The first key's place; 0: there are none.
    pub first: i32,
    /// The last key's place; negative: counted from the end.
    pub last: i32,
    /// From key to key.
    pub step: i32,
}

impl Keys {
    /// No keys.
    pub const NONE: Self = Self::places(0, 0, 0);
    /// The first argument.
    pub const ONE: Self = Self::places(1, 1, 1);
    /// All arguments.
    pub const ALL: Self = Self::places(1, -1, 1);

    /// Keys from `first` to `last`, each `step`.
    #[must_use]
    pub const fn places(first: i32, last: i32, step: i32) -> Self {
        Self { first, last, step }
    }
}

/// A command.
#[derive(Debug, Clone, Copy)]
pub struct Command {
    /// Its name in lower case; for a subcommand `command|subcommand`.
    pub name: &'static str,
    /// How many words it takes with its name; negative: at least so many.
    pub arity: i32,
    /// What it is like.
    pub flags: Flags,
    /// Which arguments are keys.
    pub keys: Keys,
    /// Its group in the documentation, which is its category for access, too.
    pub group: &'static str,
    /// The version of Redis that brought it.
    pub since: &'static str,
    /// What it does.
    pub summary: &'static str,
    /// What it costs.
    pub complexity: &'static str,
    /// Does it.
    pub run: Handler,
    /// Commands behind it; it then is run itself only without any.
    pub subcommands: &'static [Command],
}

impl Command {
    /// A command of a group, that takes `arity` words.
    pub(crate) const fn new(
        group: &'static str,
        name: &'static str,
        arity: i32,
        run: Handler,
    ) -> Self {
        Self {
            name,
            arity,
            flags: Flags::NONE,
            keys: Keys::NONE,
            group,
            since: "",
            summary: "",
            complexity: "",
            run,
            subcommands: &[],
        }
    }

    /// It is like this.
    pub(crate) const fn flags(mut self, flags: Flags) -> Self {
        self.flags = flags;
        self
    }

    /// These arguments are keys.
    pub(crate) const fn keys(mut self, keys: Keys) -> Self {
        self.keys = keys;
        self
    }

    /// What its documentation says: since when, what it does, what it costs.
    pub(crate) const fn told(
        mut self,
        since: &'static str,
        summary: &'static str,
        complexity: &'static str,
    ) -> Self {
        self.since = since;
        self.summary = summary;
        self.complexity = complexity;
        self
    }

    /// Commands behind it.
    pub(crate) const fn subcommands(mut self, subcommands: &'static [Self]) -> Self {
        self.subcommands = subcommands;
        self
    }

    /// Its name without that of the command it belongs to.
    #[must_use]
    pub fn own_name(&self) -> &'static str {
        self.name.rsplit('|').next().unwrap_or(self.name)
    }

    /// The places of its keys among so many words.
    pub fn key_places(&self, words: usize) -> impl Iterator<Item = usize> + use<> {
        let place = |place: i32| usize::try_from(place).unwrap_or(0);
        let first = place(self.keys.first);
        let last = if self.keys.last < 0 {
            words.saturating_sub(place(-self.keys.last))
        } else {
            place(self.keys.last)
        };
        let end = if first == 0 {
            first
        } else {
            (last + 1).min(words)
        };
        (first..end.max(first)).step_by(place(self.keys.step).max(1))
    }

    /// Its categories for access control.
    pub fn categories(&self) -> impl Iterator<Item = &'static str> + use<> {
        let has = |flag: Flags| self.flags.has(flag);
        let is_fast = has(Flags::FAST);
        [
            (self.group == "generic", "keyspace"),
            (has(Flags::READONLY), "read"),
            (has(Flags::WRITE), "write"),
            (self.group == "string", "string"),
            (self.group == "bitmap", "bitmap"),
            (has(Flags::PUBSUB), "pubsub"),
            (has(Flags::ADMIN), "admin"),
            (is_fast, "fast"),
            (!is_fast, "slow"),
            (has(Flags::ADMIN) || has(Flags::DANGEROUS), "dangerous"),
            (self.group == "connection", "connection"),
            (self.group == "transactions", "transaction"),
            (self.group == "scripting", "scripting"),
        ]
        .into_iter()
        .filter_map(|(applies, category)| applies.then_some(category))
    }

    /// Whether it may change the keyspace.
    #[must_use]
    pub fn is_write(&self) -> bool {
        self.flags.has(Flags::WRITE)
    }

    /// Whether it needs the writer.
    #[must_use]
    pub fn takes_writer(&self) -> bool {
        self.is_write() || self.flags.has(Flags::TAKES_WRITER)
    }

    /// Whether it is held back while writes are.
    #[must_use]
    pub fn is_held_with_writes(&self) -> bool {
        self.is_write() || self.flags.has(Flags::MAY_REPLICATE)
    }

    /// Whether it is told that it looks for a key in vain, as reading a value in Redis is.
    #[must_use]
    pub fn tells_misses(&self) -> bool {
        match self.name {
            "getdel" | "getex" | "getset" => true,
            "memory|usage" => false,
            name => self.flags.has(Flags::READONLY) && !name.starts_with("object|"),
        }
    }

    /// Whether so many words are right.
    #[must_use]
    pub fn takes(&self, words: usize) -> bool {
        let words = i32::try_from(words).unwrap_or(i32::MAX);
        if self.arity >= 0 {
            words == self.arity
        } else {
            words >= -self.arity
        }
    }

    /// Its kind for the metrics.
    #[must_use]
    pub fn operation(&self) -> Option<Operation> {
        match self.group {
            _ if matches!(
                self.name,
                "del" | "unlink" | "getdel" | "flushdb" | "flushall"
            ) =>
            {
                Some(Operation::Delete)
            }
            "string" | "bitmap" | "generic" if self.is_write() => Some(Operation::Write),
            "string" | "bitmap" | "generic" if self.flags.has(Flags::READONLY) => {
                Some(Operation::Read)
            }
            _ => None,
        }
    }
}

/// What a command counts as in the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// It reads.
    Read,
    /// It writes.
    Write,
    /// It removes.
    Delete,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Delete];

    /// Its word in the metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Delete => "delete",
        }
    }
}

/// All commands, a group behind another.
pub fn all() -> impl Iterator<Item = &'static Command> {
    [
        strings::COMMANDS,
        counters::COMMANDS,
        lcs::COMMANDS,
        bits::COMMANDS,
        bitfield::COMMANDS,
        keys::COMMANDS,
        expiry::COMMANDS,
        scan::COMMANDS,
        transactions::COMMANDS,
        connection::COMMANDS,
        clients::COMMANDS,
        publish::COMMANDS,
        describe::COMMANDS,
        info::COMMANDS,
        config::COMMANDS,
        slowlog::COMMANDS,
        latency::COMMANDS,
        memory::COMMANDS,
        users::COMMANDS,
        operator::COMMANDS,
        debug::COMMANDS,
    ]
    .into_iter()
    .flatten()
}

/// A map by names of commands, which nobody but the service puts keys into.
pub type ByName<K, V> = HashMap<K, V, BuildHasherDefault<NameHasher>>;

/// Hashes short names (FNV-1a): each command is looked up by its name.
#[derive(Debug)]
pub struct NameHasher(u64);

impl Default for NameHasher {
    fn default() -> Self {
        Self(0xCBF2_9CE4_8422_2325)
    }
}

impl Hasher for NameHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
        }
    }

    /// A length says nothing that the bytes don't.
    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The longest name of a command.
const NAME_BYTES_MAX: usize = 32;

/// The command called `name`, in capitals or not.
#[must_use]
pub fn find(name: &[u8]) -> Option<&'static Command> {
    static BY_NAME: OnceLock<ByName<&'static [u8], &'static Command>> = OnceLock::new();
    let by_name = BY_NAME.get_or_init(|| {
        all()
            .map(|command| (command.name.as_bytes(), command))
            .collect()
    });
    let mut lower = [0; NAME_BYTES_MAX];
    let lower = lower.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    by_name.get(&*lower).copied()
}

/// The command that the words call, whether it takes them or not; a subcommand where
/// they name one that there is.
#[must_use]
pub fn named(arguments: Arguments<'_>) -> Option<&'static Command> {
    let command = find(arguments.at(0))?;
    let called = |sub: &&Command| {
        let word = arguments.get(1).unwrap_or_default();
        sub.own_name().as_bytes().eq_ignore_ascii_case(word)
    };
    Some(command.subcommands.iter().find(called).unwrap_or(command))
}

/// The command that the words call, subcommands included.
///
/// # Errors
/// What the client is told where there is none, or it takes other words.
pub fn resolve(arguments: Arguments<'_>) -> Result<&'static Command, Failure> {
    resolve_found(find(arguments.at(0)), arguments)
}

/// The same where the command of the first word was looked up already.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_found(
    command: Option<&'static Command>,
    arguments: Arguments<'_>,
) -> Result<&'static Command, Failure> {
    let command = command.ok_or_else(|| unknown(arguments))?;
    let mut found = command;
    if let Some(word) = arguments.get(1)
        && !command.subcommands.is_empty()
    {
        let called = |sub: &&Command| sub.own_name().as_bytes().eq_ignore_ascii_case(word);
        found = command.subcommands.iter().find(called).ok_or_else(|| {
            Failure::reply(format!(
                "ERR unknown subcommand '{}'. Try {} HELP.",
                shown(word, 128),
                command.name.to_uppercase()
            ))
        })?;
    }
    if !found.takes(arguments.len()) {
        return Err(Failure::reply(format!(
            "ERR wrong number of arguments for '{}' command",
            found.name
        )));
    }
    Ok(found)
}

/// The words behind a subcommand make no sense.
fn not_understood(call: &Call<'_, '_, '_>) -> Failure {
    Failure::reply(format!(
        "ERR unknown subcommand or wrong number of arguments for '{}'. Try {} HELP.",
        shown(call.at(1), 128),
        shown(call.at(0), NAME_BYTES_MAX).to_uppercase()
    ))
}

/// Tells what stands behind a command with subcommands, from the list.
fn help(call: &mut Call<'_, '_, '_>) -> Outcome {
    let subcommands = find(call.at(0)).map_or(&[][..], |command| command.subcommands);
    call.reply.array(1 + subcommands.len() * 2);
    let name = shown(call.at(0), NAME_BYTES_MAX).to_uppercase();
    call.reply.simple(&format!(
        "{name} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"
    ));
    for subcommand in subcommands {
        call.reply.simple(&subcommand.own_name().to_uppercase());
        call.reply.simple(&format!("    {}", subcommand.summary));
    }
    Ok(())
}

/// The subcommand that tells what there is.
const fn help_command(group: &'static str, name: &'static str, since: &'static str) -> Command {
    Command::new(group, name, 2, help)
        .flags(Flags::LOADING.with(Flags::STALE))
        .told(since, "Tells what subcommands there are.", "O(1)")
}

/// Bytes as they can stand in an error, at most `length` of them, up to a zero byte.
fn shown(bytes: &[u8], length: usize) -> String {
    let bytes = &bytes[..bytes.len().min(length)];
    let end = memchr::memchr(0, bytes).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

fn unknown(arguments: Arguments<'_>) -> Failure {
    let mut message = format!(
        "ERR unknown command '{}', with args beginning with: ",
        shown(arguments.at(0), 128)
    );
    for argument in arguments.from(1) {
        if message.len() >= 256 {
            break;
        }
        message.push_str(&format!("'{}' ", shown(argument, 128)));
    }
    Failure::reply(message)
}
