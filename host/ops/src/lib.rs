//! Operations on Lightning DB, under the service and its tools.
//!
//! | module | duty |
//! |---|---|
//! | [`configuration`] | every setting, where it comes from, and how its file is edited |
//! | [`admin`] | how a tool talks to the running service |
//! | [`verification`] | the check of stored data |
//!
//! Invariants: nothing here prints or ends the process; a failure is a value
//! that says what was wrong, where, and what to do next.

pub mod admin;
pub mod configuration;
mod io_words;
pub mod verification;
