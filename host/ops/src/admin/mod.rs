//! The admin socket: how a tool asks the running service.
//!
//! # Protocol
//! The service listens on a Unix socket, by default `admin.sock` in the directory of
//! its data. A connection carries lines of JSON in UTF-8, each ended by one newline,
//! none inside: JSON escapes those.
//!
//! ```text
//! tool     {"command":"version"}
//! service  {"ok":{"program":"lightning-admin-server","version":"0.1.0","process":4711}}
//! tool     {"command":"config_reload"}
//! service  {"error":{"message":"/etc/c.toml line 2: there is no setting …","exit":2}}
//! ```
//!
//! * A request is an object with `command`; what else a command takes are members
//!   beside it. Unknown members are ignored, so that an older service serves a newer
//!   tool where it can.
//! * Each request gets one answer, in order: `{"ok": …}`, or `{"error": …}` with words
//!   for people and the exit code that a tool ends with (0 fine, 1 finding, 2 failed,
//!   3 unreachable, 64 usage).
//! * A line is at most [`REQUEST_BYTES_MAX`] or [`ANSWER_BYTES_MAX`] long. The service
//!   closes a connection that sends more; a tool gives up on an answer that is longer.
//! * The socket is not protected by a password, but by its mode and the directory's:
//!   who can write to it is the service's owner or in its group.
//!
//! | file | duty |
//! |---|---|
//! | `message.rs` | requests and answers, for both sides |
//! | `views.rs` | answers about health, figures and data |
//! | `client.rs` | the tool's side, blocking |

mod client;
mod message;
mod views;

pub use client::{AdminError, Client};
pub use message::{
    ANSWER_BYTES_MAX, ConfigurationView, ErrorAnswer, REQUEST_BYTES_MAX, ReloadReport, Request,
    Response, SettingView, VersionView,
};
pub use views::{
    CHECKS, CheckView, DATA_CHECK, FigureView, HealthStatus, HealthView, SUBJECTS, ServiceView,
    StatisticsView, Unit, VerifyDepth, VerifyView,
};
