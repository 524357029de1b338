//! What the fuzzer runs: one module a target, each with a function from bytes to nothing
//! that panics where a rule is broken.
//!
//! | target | what reads the bytes | what must hold |
//! |---|---|---|
//! | [`pages`] | views of leaves, branches, superblocks, catalogues, runs | what is valid reads without leaving the page, and keys are found where they stand |
//! | [`log_frames`] | segments, frames and records | what is read is written as the same bytes |
//! | [`directory`] | the engine, opening files of an attacker who knows every checksum | an answer or an error; no panic, no end that never comes, no more memory than planned |
//! | [`operations`] | the engine, doing what the bytes say, with power cuts | what a sorted map says |
//! | [`requests`] | the parser of the Redis protocol | the same in pieces as at once, and what another parser reads |
//! | [`globs`] | patterns of `KEYS` and `SCAN` | what a plain matcher says, in bounded time |
//! | [`json_lines`], [`mdb_text`] | files to load | what is read is written, and read again as the same |
//! | [`configuration`] | the configuration's text, and an edit of it | errors that name a line; an edit that changes one setting and nothing else |
//! | [`typed_keys`] | encodings of keys | the order of the bytes is that of the values |
//!
//! `targets/` holds libFuzzer's entries, `corpus/` inputs that are worth keeping;
//! `cargo xtask fuzz` builds and runs them.

pub mod configuration;
pub mod directory;
pub mod globs;
pub mod json_lines;
pub mod log_frames;
pub mod mdb_text;
pub mod operations;
pub mod pages;
pub mod requests;
mod support;
pub mod typed_keys;
