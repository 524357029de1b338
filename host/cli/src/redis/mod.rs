//! A client of the service: the Redis protocol, blocking, over TCP or TLS.
//!
//! | module | duty |
//! |---|---|
//! | `address` | where a service is, and as whom to come in |
//! | `connection` | the connection: log in, choose a database, ask |
//! | `reply` | what a service answers, read within limits |
//!
//! Requests are arrays of bytes, several of them may be sent before their replies
//! are read, and replies come in the order of their requests. Replies are those of
//! version 2 of the protocol, which a connection begins with.

mod address;
mod connection;
mod reply;

pub(crate) use address::Address;
pub(crate) use connection::{Connection, Requests, Security};
pub(crate) use reply::Reply;
