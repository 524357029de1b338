//! A transaction that read or wrote what a later commit changed is refused, be the
//! change in a memtable, in a run or in the trees by then; others are not.

use lightning_core::db::{Isolation, PutOptions, Transaction};
use lightning_core::error::{Error, Result};

use super::{Run, note, words};
use crate::cases::Verdict;
use crate::engine::{Change, TABLES, What, commit, write};

/// What a transaction did that a later commit may touch.
enum Deed {
    Write(Change),
    /// From a key to a key, inclusive, or to the table's end; in that table.
    Read(u32, Vec<u8>, Option<Vec<u8>>),
}

/// A table that nobody else writes to.
const OTHER_TABLE: u32 = 99;

impl Deed {
    fn covers(&self, change: &Change) -> bool {
        let (table, from, to) = match self {
            Self::Write(own) => match &own.what {
                What::Put(_) | What::Delete => return change.touches(own.table, &own.key),
                What::DeleteTo(to) => (own.table, &own.key, to.as_ref().map(|to| (to, false))),
            },
            Self::Read(table, from, to) => (*table, from, to.as_ref().map(|to| (to, true))),
        };
        if table != change.table {
            return false;
        }
        let begins_below =
            |key: &Vec<u8>| to.is_none_or(|(to, inclusive)| key < to || inclusive && key == to);
        match &change.what {
            What::Put(_) | What::Delete => change.key >= *from && begins_below(&change.key),
            What::DeleteTo(end) => {
                end.as_ref().is_none_or(|end| end > from) && begins_below(&change.key)
            }
        }
    }
}

impl Run<'_> {
    pub(super) fn conflict(&mut self) -> Verdict {
        let deed = match self.random.below(4) {
            0 => Deed::Write(self.range_change()),
            1 => Deed::Write(self.point_change()),
            2 => {
                let key = self.key();
                Deed::Read(TABLES[0], key.clone(), Some(key))
            }
            _ => {
                let (one, other) = (self.key(), self.key());
                let to = self
                    .random
                    .chance(3, 4)
                    .then(|| one.clone().max(other.clone()));
                Deed::Read(TABLES[1], one.min(other), to)
            }
        };
        let isolation = match &deed {
            Deed::Write(_) if self.random.chance(1, 2) => Isolation::Snapshot,
            _ => Isolation::Serializable,
        };
        let mut transaction = self.engine.begin(0, isolation).map_err(words)?;
        self.does(&mut transaction, &deed).map_err(words)?;
        let change = if self.random.chance(1, 4) {
            self.range_change()
        } else {
            self.point_change()
        };
        let is_first = commit(&self.engine, std::slice::from_ref(&change)).is_ok();
        if is_first {
            self.model.apply(std::slice::from_ref(&change));
        }
        if self.random.chance(2, 3) {
            // The change is on its way to a run, or the trees.
            self.flush()?;
            self.freeze()?;
            for _ in 0..self.random.below(12) {
                self.poll(64)?;
            }
        }
        let conflicts = is_first && deed.covers(&change);
        match self.engine.commit(transaction, 0, 0) {
            Err(Error::Conflict { .. }) if !conflicts => {
                Err("a conflict where there is none".into())
            }
            Err(Error::Conflict { .. }) => {
                note(&self.seen.conflicts);
                Ok(())
            }
            Err(Error::TransactionTooOld | Error::FrontFull | Error::LogFull) => Ok(()),
            Err(error) => Err(error.to_string()),
            Ok(_) if conflicts => Err("a conflict was not found".into()),
            Ok(_) => {
                if let Deed::Write(own) = deed {
                    self.model.apply(&[own]);
                }
                Ok(())
            }
        }
    }

    fn does(&self, transaction: &mut Transaction, deed: &Deed) -> Result<()> {
        match deed {
            Deed::Write(change) => write(&self.engine, transaction, change),
            Deed::Read(table, from, to) => {
                let engine = &self.engine;
                engine.transaction_note_read(transaction, *table, from, to.as_deref())?;
                let put = PutOptions::default();
                engine.transaction_put(transaction, OTHER_TABLE, b"other", b"", put)
            }
        }
    }
}
