//! What a serializable transaction has read, until it commits.
//!
//! Reads go through shared references, and the engine takes notes through an
//! exclusive one; so they are collected here and handed over at commit. Where
//! they are many, a table's reads become one that covers all of it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Ranges of one table that are told apart.
const RANGES_MAX: usize = 256;

#[derive(Debug, Default)]
struct TableReads {
    /// From, and to inclusive; `None` for the table's end.
    ranges: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    is_whole: bool,
}

/// The reads of one transaction.
#[derive(Debug, Default)]
pub(crate) struct ReadLog {
    tables: Mutex<BTreeMap<u32, TableReads>>,
}

impl ReadLog {
    /// Notes that keys from `from` to `to`, inclusive, were read.
    pub(crate) fn note(&self, table: u32, from: &[u8], to: Option<&[u8]>) {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let reads = tables.entry(table).or_default();
        if reads.is_whole {
            return;
        }
        if reads.ranges.len() == RANGES_MAX {
            reads.ranges = Vec::new();
            reads.is_whole = true;
            return;
        }
        reads.ranges.push((from.to_vec(), to.map(<[u8]>::to_vec)));
    }

    /// Gives each range that was read to `take`.
    pub(crate) fn hand_over<E>(
        self,
        mut take: impl FnMut(u32, &[u8], Option<&[u8]>) -> Result<(), E>,
    ) -> Result<(), E> {
        let tables = self
            .tables
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        for (table, reads) in tables {
            if reads.is_whole {
                take(table, &[], None)?;
            }
            for (from, to) in reads.ranges {
                take(table, &from, to.as_deref())?;
            }
        }
        Ok(())
    }
}
