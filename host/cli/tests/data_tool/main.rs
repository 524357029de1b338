//! `lightning-db` as a process.

mod commands;
mod real_input;
mod support;
