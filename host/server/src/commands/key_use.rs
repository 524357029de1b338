//! What commands do with their keys, in Redis's words: whether they read, write over, or
//! remove, and whether their client learns of a value.

use super::Command;
use crate::protocol::Arguments;

type Words = &'static [&'static str];

/// Nothing of the value is told, but whether it is there, or how long it is.
const LOOKS: Words = &["RO"];
const READS: Words = &["RO", "access"];
const CHANGES: Words = &["RW", "access", "update"];
const CHANGES_BLINDLY: Words = &["RW", "update"];
const OVERWRITES: Words = &["OW", "update"];
const INSERTS: Words = &["OW", "insert"];
const REMOVES: Words = &["RM", "delete"];
const TAKES: Words = &["RW", "access", "delete"];

/// What the command does with the key at this place.
pub(super) fn key_flags(command: &Command, arguments: Arguments<'_>, place: usize) -> Words {
    // Behind the key, and behind a value of such a word.
    let options = if command.name == "set" { 3 } else { 2 };
    let has = |word: &[u8]| {
        let mut words = arguments.from(options);
        words.any(|argument| argument.eq_ignore_ascii_case(word))
    };
    match command.name {
        "exists" | "type" | "strlen" | "touch" | "watch" | "memory|usage" => LOOKS,
        name if name.starts_with("object|") => LOOKS,
        "set" if has(b"get") => CHANGES,
        "set" | "setex" | "psetex" | "mset" => OVERWRITES,
        "setnx" | "msetnx" => INSERTS,
        "del" | "unlink" => REMOVES,
        "getdel" => TAKES,
        "append" => &["RW", "insert"],
        "setrange" | "expire" | "expireat" | "pexpire" | "pexpireat" | "persist" => CHANGES_BLINDLY,
        "rename" | "renamenx" if place == 1 => TAKES,
        "rename" | "copy" if place == 2 => OVERWRITES,
        "renamenx" => INSERTS,
        "copy" => READS,
        "bitop" if place == 2 => OVERWRITES,
        "bitop" => READS,
        "bitfield" if !has(b"set") && !has(b"incrby") => READS,
        _ if command.is_write() => CHANGES,
        _ => READS,
    }
}

/// Whether the command's client learns of the value at this place, and whether it changes it.
#[must_use]
pub fn key_use(command: &Command, arguments: Arguments<'_>, place: usize) -> (bool, bool) {
    let flags = key_flags(command, arguments, place);
    let changes = ["insert", "update", "delete"];
    (
        flags.contains(&"access"),
        flags.iter().any(|flag| changes.contains(flag)),
    )
}
