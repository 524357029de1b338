//! The service of Lightning DB: a database that any Redis client can talk to.
//!
//! | module | duty |
//! |---|---|
//! | [`protocol`] | requests and replies as bytes |
//! | [`store`] | the keyspace on the library's tables |
//! | [`commands`] | what each command does |
//! | [`batch`] | running what a client sent, and committing it |
//! | [`observe`] | what is remembered of commands and errors |
//! | [`connection`] | one client's socket |
//! | [`announcements`] | telling events on keys |
//! | [`expire`] | removing what has expired |
//! | [`tracking`] | telling clients that what they keep holds no more |
//! | [`pause`] | holding commands back for a while |
//! | [`service`] | start, listeners, end |
//! | [`logging`] | the service's own log |
//! | [`monitoring`], [`health`] | figures, and how well it is |
//! | [`control`], [`admin`] | operating it, and the socket for that |
//! | [`program`] | command line, signals, and all of it together |
//!
//! Data flows down that list from the socket and back. The reactor's threads never wait
//! for a device: what would have to goes where it may.

pub mod access;
pub mod admin;
pub mod announcements;
pub mod batch;
pub mod care;
pub mod client;
pub mod client_memory;
pub mod commands;
pub mod connection;
pub mod control;
mod engine;
pub mod expire;
pub mod failure;
pub mod glob;
pub mod health;
pub mod limits;
pub mod logging;
pub mod metrics;
pub mod monitoring;
pub mod observe;
pub mod pause;
pub mod program;
pub mod protocol;
pub mod server;
pub mod service;
pub mod store;
#[cfg(test)]
mod test_directory;
pub mod tls;
pub mod tracking;

/// The version of Redis whose behaviour clients may expect.
pub const REDIS_VERSION: &str = "7.0.15";
