//! `lightning-db` as a process.

mod commands;
mod csv;
mod real_input;
mod service;
mod shell;
mod support;
mod terminal;
