//! The Redis protocol: requests read, replies written. No I/O, and nothing of what commands mean.

mod reply;
mod request;

pub use reply::{ReplyWriter, Version};
pub use request::{
    Arguments, OwnedArguments, ProtocolError, RequestLimits, RequestParser, integer,
};
