//! The check of all pages, some at a time, while everything else goes on.

use crate::error::Result;
use crate::room::zeroed;
use crate::shared::Shared;
use lightning_core::db::{ScrubPlace, Scrubbed};

/// How far a check of the pages of all tables has come: see
/// [`Database::scrub`](crate::Database::scrub). At first it has not begun.
#[derive(Debug, Default)]
pub struct Scrub {
    place: ScrubPlace,
    /// Holds a key from one step to the next.
    buffer: Vec<u8>,
}

impl Scrub {
    pub(crate) fn step(&mut self, shared: &Shared, pages: u64) -> Result<Scrubbed> {
        let engine = &shared.engine;
        let bytes = engine.scrub_buffer_bytes();
        if self.buffer.len() != bytes {
            self.buffer = zeroed(bytes).map_err(|error| shared.error(error))?;
        }
        engine
            .scrub(&mut self.place, pages, &mut self.buffer)
            .map_err(|error| shared.error(error))
    }
}
