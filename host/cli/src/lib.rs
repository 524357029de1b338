//! The command-line tools of Lightning DB.
//!
//! One library under the programs, so that they print, fail and parse alike.
//!
//! | module | duty |
//! |---|---|
//! | [`data_tool`] | the program `lightning-db`: data in and out of a directory or service |
//! | [`operations`] | the program `lightning-cli`: the service and its configuration |
//! | [`formats`] | what entries look like as text, in both directions |
//! | [`failure`] | why a command failed, and the exit code for it |
//! | `output` | standard output, and how a program ends |
//! | `redis` | a client of the service |
//! | `duration` | durations on the command line |
//! | [`terminal`] | what is shown on a terminal only |
//!
//! Invariants: results go to standard output, everything else to standard
//! error; a command that reads opens the directory read-only; nothing here
//! prints and goes on after a failure.

pub mod data_tool;
mod duration;
pub mod failure;
pub mod formats;
pub mod operations;
mod output;
mod redis;
pub mod terminal;
