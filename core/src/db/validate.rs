//! Validation: whether what a transaction wrote or read was changed since it began.
//!
//! The first committer wins. Memtables are looked into under the sequencer's lock, so that
//! nothing comes between validation and commit. Runs may have to be read from storage:
//! they are looked into before, in the version that the transaction then counts as a
//! reader of, and under the lock only that no run came after. What was merged into
//! the trees since the transaction began can't be told any more.
//!
//! # Loads into the trees
//! They have no sequence: commits made meanwhile count as later, though they haven't seen
//! what is loaded. So a commit that touches the table is refused while a load is under
//! way, and when one was published after the transaction began. They are counted, under
//! the sequencer's lock: up to an odd number before it is looked whether anything stands
//! above the trees, and to an even one when the load is published or given up. A
//! transaction reads the count before its snapshot begins, so that it may seem older than
//! it is, but never newer.

use super::{Engine, Sequencer, Transaction};
use crate::error::{Error, KeySample, Result};
use crate::format::run::filter_hash;
use crate::run::Run;
use crate::sync::Ordering;
use crate::txn::Sources;

impl Engine {
    /// First committer wins: nothing that the transaction wrote (or read, where it
    /// is serializable) may have been changed since it began. This looks into memtables.
    pub(super) fn validate(
        &self,
        sequencer: &Sequencer,
        transaction: &Transaction,
        sources: &Sources,
    ) -> Result<()> {
        let start = transaction.snapshot.sequence;
        let writes = self.writes(transaction)?;
        self.validate_loads(sequencer, transaction)?;
        if self.appended.load(Ordering::Relaxed) == start {
            return Ok(());
        }
        if start < sequencer.validation_floor {
            return Err(Error::TransactionTooOld);
        }
        for index in sources.memtables() {
            let memtable = &self.memtable(index)?.memtable;
            if memtable.last_sequence() <= start {
                continue;
            }
            for record in writes.net() {
                if memtable.newest_sequence(record.table, record.key) > start {
                    let key = KeySample::of(record.key);
                    return Err(Error::Conflict {
                        table: record.table,
                        key,
                    });
                }
            }
            for record in writes.range_deletes() {
                let newest = memtable.newest_in_range(record.table, record.key, record.value);
                if newest > start {
                    let key = KeySample::of(record.key);
                    return Err(Error::Conflict {
                        table: record.table,
                        key,
                    });
                }
            }
            if !transaction.is_serializable {
                continue;
            }
            for read in writes.reads() {
                let conflict = Error::Conflict {
                    table: read.table.unwrap_or(0),
                    key: KeySample::of(read.from),
                };
                let Some(table) = read.table else {
                    return Err(conflict);
                };
                let changed = match read.to {
                    None => memtable.newest_in_range(table, read.from, &[]) > start,
                    Some(to) => {
                        (read.from != to && memtable.newest_in_range(table, read.from, to) > start)
                            || memtable.newest_sequence(table, to) > start
                    }
                };
                if changed {
                    return Err(conflict);
                }
            }
        }
        Ok(())
    }

    fn validate_loads(&self, sequencer: &Sequencer, transaction: &Transaction) -> Result<()> {
        let loads = self.loads.load(Ordering::SeqCst);
        // One that was refused takes its number back.
        let is_same = loads == transaction.loads || loads + 1 == transaction.loads;
        if is_same && loads.is_multiple_of(2) {
            return Ok(());
        }
        let table = sequencer.loaded_table;
        let writes = self.writes(transaction)?;
        let mut written = writes.net().chain(writes.range_deletes());
        let is_touched = written.any(|record| record.table == table)
            || transaction.is_serializable
                && writes
                    .reads()
                    .any(|read| read.table.is_none_or(|read| read == table));
        // Of several loads only the last one's table is known.
        if is_touched || loads > transaction.loads.saturating_add(2) {
            return Err(Error::TransactionTooOld);
        }
        Ok(())
    }

    /// Validates against the runs of the version that the transaction counts as a reader
    /// of, and answers what that version lists.
    pub(super) fn validate_runs(&self, transaction: &Transaction) -> Result<Sources> {
        let snapshot = &transaction.snapshot;
        let sources = self.front.versions.sources(snapshot);
        let start = snapshot.sequence;
        // Whether anything was committed since says nothing here: a load is listed before its
        // sequence is.
        for slot in sources.runs() {
            let run = self.front.runs.run(slot).ok_or(Error::Internal(221))?;
            if run.record().last_sequence > start {
                self.validate_run(transaction, (slot, run), start)?;
            }
        }
        Ok(sources)
    }

    fn validate_run(
        &self,
        transaction: &Transaction,
        (slot, run): (u32, Run<'_>),
        start: u64,
    ) -> Result<()> {
        let pager = &self.pager;
        let writes = self.writes(transaction)?;
        let conflict = |table, key: &[u8]| {
            Err(Error::Conflict {
                table,
                key: KeySample::of(key),
            })
        };
        // The epoch ends before anything is read.
        let may_hold = |table, key: &[u8]| {
            let hash = filter_hash(table, key);
            self.front.runs.may_hold(&pager.enter(), slot, hash)
        };
        let changed = |table, key: &[u8]| -> Result<bool> {
            Ok(run.covering(table, key, u64::MAX) > start
                || may_hold(table, key) && run.newest_sequence(pager, table, key)? > start)
        };
        for record in writes.net() {
            if changed(record.table, record.key)? {
                return conflict(record.table, record.key);
            }
        }
        let ranges = writes
            .range_deletes()
            .map(|record| (record.table, record.key, record.value, false));
        let reads = writes
            .reads()
            .filter(|_| transaction.is_serializable)
            .map(|read| match (read.table, read.to) {
                // Everything: the run holds something newer.
                (None, _) => (0, read.from, &[][..], true),
                (Some(table), None) => (table, read.from, &[][..], false),
                (Some(table), Some(to)) => (table, read.from, to, true),
            });
        for (table, from, to, is_inclusive) in ranges.chain(reads) {
            if table == 0 || is_inclusive && changed(table, to)? {
                return conflict(table, from);
            }
            if is_inclusive && from == to {
                continue;
            }
            let mut buffer = loop {
                match self.validation_keys.try_enter() {
                    Some(buffer) => break buffer,
                    None => self.wait.relax(0),
                }
            };
            let newest = run.newest_in_range(pager, table, (from, to), &mut buffer)?;
            if newest > start {
                return conflict(table, from);
            }
        }
        Ok(())
    }
}
