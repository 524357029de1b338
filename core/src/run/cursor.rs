//! A position among a table's keys in one run, as a snapshot sees them.
//!
//! The cursor stands on a key that has a version with at most the snapshot's sequence,
//! tombstones included, or nowhere. The key is put together in a buffer that the
//! caller lends for each move, and for as long as it wants to read the key.

use super::{Run, run_key, tree};
use crate::btree::{CursorPosition, Descent, Found, Step, TreeCursor};
use crate::error::Result;
use crate::format::leaf::EntryKind;
use crate::format::run::RUN_KEY_TABLE_BYTES;
use crate::pager::{Pager, Traversal};

/// A version in a run, lent until the cursor moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunEntry<'c> {
    /// What it says.
    pub kind: EntryKind,
    /// The commit that wrote it.
    pub sequence: u64,
    /// When it expires, in milliseconds since 1970.
    pub expiry_ms: Option<u64>,
    /// The metadata byte.
    pub metadata: Option<u8>,
    /// The value; of an extent the reference, of a tombstone nothing.
    pub value: &'c [u8],
}

/// See the module.
pub struct RunCursor<'e> {
    run: Run<'e>,
    table: u32,
    sequence: u64,
    tree: TreeCursor<'e>,
    key_bytes: usize,
    stands: bool,
    /// Whether the version is a put without expiry, and the newest of its key.
    is_plain_put: bool,
    /// The version, where it isn't the newest of its key.
    older: Option<Found<'e>>,
}

impl<'e> RunCursor<'e> {
    /// A cursor that stands nowhere yet.
    #[must_use]
    pub fn new(pager: &'e Pager, run: Run<'e>, table: u32, sequence: u64, may_read: bool) -> Self {
        Self {
            run,
            table,
            sequence,
            tree: TreeCursor::new(pager, tree(run.record().newest), may_read),
            key_bytes: 0,
            stands: false,
            is_plain_put: false,
            older: None,
        }
    }

    /// The run.
    #[must_use]
    pub fn run(&self) -> Run<'e> {
        self.run
    }

    /// Whether the cursor stands on a key.
    #[inline]
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.stands
    }

    /// Whether the version that the cursor stands on is known to be a put without expiry.
    #[inline]
    #[must_use]
    pub fn is_plain_put(&self) -> bool {
        self.is_plain_put
    }

    /// The key that the cursor stands on, in the buffer of the last move.
    #[inline]
    #[must_use]
    pub fn key<'b>(&self, buffer: &'b [u8]) -> &'b [u8] {
        buffer
            .get(RUN_KEY_TABLE_BYTES..self.key_bytes)
            .unwrap_or(&[])
    }

    /// The version that the cursor stands on.
    #[must_use]
    pub fn entry(&self) -> Option<RunEntry<'_>> {
        if !self.stands {
            return None;
        }
        if let Some(found) = &self.older {
            return Some(RunEntry {
                kind: found.kind,
                sequence: found.sequence,
                expiry_ms: found.expiry_ms,
                metadata: found.metadata,
                value: found.value(),
            });
        }
        self.tree.entry().map(|entry| RunEntry {
            kind: entry.kind,
            sequence: self.run.sequence_of(entry.sequence),
            expiry_ms: entry.expiry_ms,
            metadata: entry.metadata,
            value: entry.value,
        })
    }

    /// Moves to a position of the table.
    ///
    /// # Errors
    /// I/O or corruption; [`Error::WouldRead`](crate::error::Error::WouldRead) where
    /// reading was not allowed. The cursor then stands nowhere.
    pub fn seek(&mut self, position: CursorPosition<'_>, buffer: &mut [u8]) -> Result<()> {
        self.leave();
        if self.sequence < self.run.record().first_sequence {
            return Ok(());
        }
        let forward = match position {
            CursorPosition::First | CursorPosition::AtOrAfter(_) => {
                let key = match position {
                    CursorPosition::AtOrAfter(key) => key,
                    _ => &[],
                };
                let from = run_key(buffer, self.table, key)?;
                self.tree.seek(CursorPosition::AtOrAfter(from))?;
                true
            }
            CursorPosition::Before(key) => {
                let from = run_key(buffer, self.table, key)?;
                self.tree.seek(CursorPosition::Before(from))?;
                false
            }
            CursorPosition::Last => {
                match self.table.checked_add(1) {
                    Some(after) => {
                        let from = run_key(buffer, after, &[])?;
                        self.tree.seek(CursorPosition::Before(from))?;
                    }
                    None => self.tree.seek(CursorPosition::Last)?,
                }
                false
            }
        };
        self.settle(forward, buffer)
    }

    /// Begins a descent to a key of the table, one of several that take turns: see
    /// [`Descent`]. The cursor stands nowhere until [`end_descent`](Self::end_descent).
    #[must_use]
    pub fn begin_descent<'t>(&mut self, traversal: &'t Traversal<'e>) -> Option<Descent<'t, 'e>> {
        self.leave();
        if self.sequence < self.run.record().first_sequence {
            return None;
        }
        Descent::begin(&mut self.tree, traversal)
    }

    /// A step of the descent to `run_key`, which is the key sought as a run's tree has it.
    #[inline]
    pub fn step_descent<'t>(
        &mut self,
        descent: &mut Descent<'t, 'e>,
        traversal: &'t Traversal<'e>,
        run_key: &[u8],
    ) -> Step {
        descent.step(&mut self.tree, traversal, run_key)
    }

    /// Behind a descent that led to a leaf, and its traversal: moves to the first key at
    /// or behind the one sought.
    ///
    /// # Errors
    /// As [`seek`](Self::seek).
    pub fn end_descent(&mut self, buffer: &mut [u8]) -> Result<()> {
        self.tree.end_descent()?;
        self.settle(true, buffer)
    }

    /// Moves to the next key.
    ///
    /// # Errors
    /// As [`seek`](Self::seek).
    #[inline]
    pub fn advance(&mut self, buffer: &mut [u8]) -> Result<()> {
        if !self.stands {
            return Ok(());
        }
        self.leave();
        self.tree.advance()?;
        self.settle(true, buffer)
    }

    /// Moves to the key before.
    ///
    /// # Errors
    /// As [`seek`](Self::seek).
    pub fn retreat(&mut self, buffer: &mut [u8]) -> Result<()> {
        if !self.stands {
            return Ok(());
        }
        self.leave();
        self.tree.retreat()?;
        self.settle(false, buffer)
    }

    #[inline]
    fn leave(&mut self) {
        self.stands = false;
        self.is_plain_put = false;
        self.older = None;
    }

    /// From where the tree's cursor stands, finds the nearest key of the table with a
    /// version that is seen.
    fn settle(&mut self, forward: bool, buffer: &mut [u8]) -> Result<()> {
        loop {
            let Some(entry) = self.tree.entry() else {
                return Ok(());
            };
            let newest = self.run.sequence_of(entry.sequence);
            let is_plain_put = entry.kind == EntryKind::Put && entry.expiry_ms.is_none();
            self.key_bytes = self.tree.copy_key(buffer);
            if buffer.first_chunk::<RUN_KEY_TABLE_BYTES>() != Some(&self.table.to_be_bytes()) {
                return Ok(());
            }
            if newest <= self.sequence {
                self.stands = true;
                self.is_plain_put = is_plain_put;
                return Ok(());
            }
            let key = buffer.get(..self.key_bytes).unwrap_or(&[]);
            let (pager, may_read) = self.tree.reads_from();
            self.older = self
                .run
                .older(pager, (self.table, key), self.sequence, may_read)?;
            if self.older.is_some() {
                self.stands = true;
                return Ok(());
            }
            if forward {
                self.tree.advance()?;
            } else {
                self.tree.retreat()?;
            }
        }
    }
}
