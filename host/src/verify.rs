//! The check of a whole database.

use crate::error::Result;
use crate::read::ReadTransaction;
use crate::room::zeroed;
use crate::shared::Owner;
use crate::table::Table;
use lightning_core::error::Error as EngineError;
use std::sync::Arc;

/// What a check found sound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verification {
    /// Tables, hidden ones included.
    pub tables: u64,
    /// Entries in all of them, as many as [`TableReader::len`](crate::TableReader::len) says.
    pub entries: u64,
    /// Pages that were read.
    pub pages: u64,
    /// Values that have pages of their own.
    pub large_values: u64,
    /// Units of the page file that are in use and belong to nothing. No data is
    /// lost; the space is, until the database is dumped and loaded again.
    pub leaked_units: u64,
}

/// Has the engine read and check every page, and counts the entries of `tables`.
pub(crate) fn verify(
    owner: &Arc<Owner>,
    tables: &[Table],
    progress: &mut dyn FnMut(u64),
) -> Result<Verification> {
    let buffer = zeroed(owner.engine.verify_buffer_bytes());
    let mut buffer = buffer.map_err(|error| owner.error(error))?;
    let mut since = None;
    let checked = loop {
        match owner.engine.verify(&mut buffer, progress) {
            Err(error @ EngineError::Busy) if !owner.engine.options().read_only => owner
                .wait_for_room(&mut since, error)
                .map_err(|error| owner.error(error))?,
            outcome => break outcome.map_err(|error| owner.error(error))?,
        }
    };
    let mut found = Verification {
        tables: tables.len() as u64,
        entries: 0,
        pages: checked.pages,
        large_values: checked.extents,
        leaked_units: checked.leaked_units,
    };
    let read = ReadTransaction::begin(owner)?;
    for table in tables {
        found.entries += read.open(table)?.len()?;
    }
    Ok(found)
}
