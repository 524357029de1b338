//! The check of all pages, some at a time, while everything else goes on.

use crate::error::Result;
use crate::shared::Owner;
use lightning_core::db::{ScrubPlace, Scrubbed};
use std::fmt;
use std::sync::Arc;

/// A check of the pages of all tables, from the medium, as slow as its caller likes. It
/// holds nothing between two steps but the database open, and begins anew at the end.
///
/// [`Database::verify`](crate::Database::verify) checks more, such as counts, all at once.
pub struct Scrub {
    owner: Arc<Owner>,
    place: ScrubPlace,
    buffer: Vec<u8>,
}

impl Scrub {
    pub(crate) fn new(owner: &Arc<Owner>) -> Self {
        Self {
            owner: Arc::clone(owner),
            place: ScrubPlace::default(),
            buffer: vec![0; owner.engine.scrub_buffer_bytes()],
        }
    }

    /// Reads at least `pages`, or all up to the end, and checks them.
    ///
    /// # Errors
    /// The first damage found, with its place: the next step begins anew. I/O; as many
    /// open transactions as were planned.
    pub fn step(&mut self, pages: u64) -> Result<Scrubbed> {
        let Self {
            owner,
            place,
            buffer,
        } = self;
        owner
            .engine
            .scrub(place, pages, buffer)
            .map_err(|error| owner.error(error))
    }
}

impl fmt::Debug for Scrub {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Scrub").finish_non_exhaustive()
    }
}
