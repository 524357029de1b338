//! `lightning-cli` as a process.

mod commands;
mod config;
mod monitoring;
mod real_service;
mod service;
mod support;
