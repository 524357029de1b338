//! SQLite, for the tables of damaged files only: it is the peer whose checks of what it reads
//! are known best, and no measure of speed here.
//!
//! Its defaults: a rollback journal, pages of 4 KiB, no checksums (the extension for them
//! isn't built in). One connection behind a lock.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use rusqlite::{Connection, OptionalExtension as _};

use super::{Change, Engine, EngineKind, Options, Reader};
use crate::data::{Key, Value};

/// SQLite's entry in the list of engines whose files are damaged.
pub const KIND: EngineKind = EngineKind {
    name: "sqlite",
    open,
};

struct Sqlite {
    connection: Mutex<Connection>,
}

struct SqliteReader<'e> {
    engine: &'e Sqlite,
}

fn open(directory: &Path, _options: &Options) -> Result<Box<dyn Engine>> {
    let connection = Connection::open(directory.join("entries.sqlite"))?;
    connection.execute(
        "CREATE TABLE IF NOT EXISTS entries (key BLOB PRIMARY KEY, value BLOB NOT NULL) \
         WITHOUT ROWID",
        [],
    )?;
    Ok(Box::new(Sqlite {
        connection: Mutex::new(connection),
    }))
}

impl Sqlite {
    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine for Sqlite {
    fn reader(&self) -> Result<Box<dyn Reader + '_>> {
        Ok(Box::new(SqliteReader { engine: self }))
    }

    fn commit(&self, changes: &[Change]) -> Result<()> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        for change in changes {
            match change.value {
                Some(value) => transaction.execute(
                    "INSERT OR REPLACE INTO entries VALUES (?1, ?2)",
                    (&change.key[..], &value[..]),
                )?,
                None => {
                    transaction.execute("DELETE FROM entries WHERE key = ?1", [&change.key[..]])?
                }
            };
        }
        Ok(transaction.commit()?)
    }

    fn load_sorted(&self, entries: &mut dyn Iterator<Item = (Key, Value)>) -> Result<()> {
        let changes: Vec<Change> = entries
            .map(|(key, value)| Change {
                key,
                value: Some(value),
            })
            .collect();
        self.commit(&changes)
    }

    fn sync(&self) -> Result<()> {
        // Each commit is synced.
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        let connection = self
            .connection
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        connection.close().map_err(|(_, error)| error.into())
    }
}

impl Reader for SqliteReader<'_> {
    fn refresh(&mut self) -> Result<()> {
        Ok(())
    }

    fn get(&mut self, key: &Key, found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let connection = self.engine.connection();
        let mut get = connection.prepare_cached("SELECT value FROM entries WHERE key = ?1")?;
        let value: Option<Vec<u8>> = get.query_row([&key[..]], |row| row.get(0)).optional()?;
        Ok(value.map(|value| found(&value)).is_some())
    }

    fn scan(
        &mut self,
        from: &[u8],
        limit: usize,
        visit: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<usize> {
        let connection = self.engine.connection();
        let mut scan = connection.prepare_cached(
            "SELECT key, value FROM entries WHERE key >= ?1 ORDER BY key LIMIT ?2",
        )?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut rows = scan.query((from, limit))?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            visit(row.get_ref(0)?.as_blob()?, row.get_ref(1)?.as_blob()?);
            count += 1;
        }
        Ok(count)
    }
}
