//! Readers that rest: a cursor and a lent value on a snapshot, while commits, freezes,
//! runs and merges go on beneath them.

use std::sync::Arc;

use lightning_core::btree::CursorPosition;
use lightning_core::db::{Engine, TableView, Value};
use lightning_core::error::Error;
use lightning_core::txn::{MergedCursor, Snapshot};

use super::{Run, note, words};
use crate::cases::Verdict;
use crate::engine::{TABLES, commit, whole};

type Rows = Vec<(Vec<u8>, Vec<u8>)>;

/// A cursor, and where it stands among the rows of its snapshot.
struct Resting<'e> {
    engine: &'e Engine,
    view: TableView<'e>,
    cursor: MergedCursor<'e>,
    rows: &'e Rows,
    at: Option<usize>,
}

impl Run<'_> {
    pub(super) fn rest(&mut self) -> Verdict {
        self.flush()?;
        let engine = Arc::clone(&self.engine);
        let snapshot = match engine.snapshot(0) {
            Ok(snapshot) => snapshot,
            Err(Error::OverLimit { .. }) => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        let table = TABLES[self.random.below(2) as usize];
        let owned = |(key, value): (&[u8], &[u8])| (key.to_vec(), value.to_vec());
        let rows: Rows = self.model.table(table).map(owned).collect();
        self.rests = true;
        let outcome = self.rest_on(&engine, &snapshot, table, &rows);
        self.rests = false;
        engine.end(snapshot);
        outcome
    }

    fn rest_on(
        &mut self,
        engine: &Engine,
        snapshot: &Snapshot,
        table: u32,
        rows: &Rows,
    ) -> Verdict {
        let view = engine.view(snapshot, table, true).map_err(words)?;
        let mut resting = Resting {
            engine,
            view,
            cursor: engine.cursor(&view, true).map_err(words)?,
            rows,
            at: None,
        };
        let mut lent: Option<(Value<'_>, &[u8])> = None;
        for _ in 0..60 {
            match self.random.below(12) {
                0..=3 => self.write_beneath()?,
                4 => self.flush()?,
                5..=7 => self.poll(20)?,
                8 => self.freeze()?,
                9 if !rows.is_empty() => {
                    let (key, value) = &rows[self.random.below(rows.len() as u64) as usize];
                    let found = engine.get(&view, key, true).map_err(words)?;
                    lent = Some((found.ok_or("a get on a snapshot misses a row")?, value));
                }
                10 => lent = None,
                _ => {
                    let way = self.random.below(4);
                    let key = self.key();
                    resting.go(way, &key)?;
                    note(&self.seen.moves);
                }
            }
            if let Some((value, expected)) = &lent
                && whole(engine, &view, value.stored()).map_err(words)? != *expected
            {
                return Err("a lent value has changed".into());
            }
            resting.check()?;
        }
        Ok(())
    }

    /// A commit, where there is room: what is lent may keep a memtable from writers.
    fn write_beneath(&mut self) -> Verdict {
        for _ in 0..4 {
            let change = [self.change()];
            match commit(&self.engine, &change) {
                Ok(_) => self.model.apply(&change),
                Err(error @ (Error::FrontFull | Error::LogFull)) => {
                    self.room(error)?;
                }
                Err(Error::OverLimit { .. }) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(())
    }
}

impl Resting<'_> {
    fn go(&mut self, way: u64, key: &[u8]) -> Verdict {
        let below = |key: &[u8]| self.rows.partition_point(|row| row.0.as_slice() < key);
        let inside = |at: usize| (at < self.rows.len()).then_some(at);
        let (moved, at) = match (way, self.at) {
            (0, _) | (_, None) => (
                self.cursor.seek(CursorPosition::AtOrAfter(key)),
                inside(below(key)),
            ),
            (1, _) => (
                self.cursor.seek(CursorPosition::Before(key)),
                below(key).checked_sub(1),
            ),
            (2, Some(at)) => (self.cursor.advance(), inside(at + 1)),
            (_, Some(at)) => (self.cursor.retreat(), at.checked_sub(1)),
        };
        moved.map_err(words)?;
        self.at = at;
        Ok(())
    }

    /// What the cursor lends stays as it is, whatever goes on beneath.
    fn check(&self) -> Verdict {
        let expected = self.at.map(|at| &self.rows[at]);
        let Some(entry) = self.cursor.entry() else {
            return match expected {
                None => Ok(()),
                Some(_) => Err("a resting cursor stands nowhere".into()),
            };
        };
        let found = whole(self.engine, &self.view, entry.value).map_err(words)?;
        if expected.is_some_and(|(key, value)| entry.key == key && found == *value) {
            Ok(())
        } else {
            Err("a resting cursor stands on another row".into())
        }
    }
}
