//! redb.
//!
//! `Durability::None` is its only commit without a sync: such a commit stays in
//! the process until the next durable one, so that a killed process loses it,
//! which the other engines' does not. It is what redb offers, and [`Engine::sync`]
//! is an empty durable commit. Other settings are the defaults (one-phase commit,
//! no quick repair). A bulk load is one transaction in key order.

use std::path::Path;

use anyhow::Result;
use redb::{
    Database, Durability as RedbDurability, ReadOnlyTable, ReadableDatabase, TableDefinition,
    WriteTransaction,
};

use super::{Change, Durability, Engine, EngineKind, Options, Reader};
use crate::data::{Key, Value};

/// redb's entry in the list of engines.
pub const KIND: EngineKind = EngineKind { name: "redb", open };

const ENTRIES: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("entries");

struct Redb {
    database: Database,
    durability: RedbDurability,
}

struct RedbReader<'e> {
    database: &'e Database,
    table: ReadOnlyTable<&'static [u8], &'static [u8]>,
}

fn open(directory: &Path, options: &Options) -> Result<Box<dyn Engine>> {
    let path = directory.join("entries.redb");
    let is_new = !path.exists();
    let database = Database::builder()
        .set_cache_size(usize::try_from(options.cache_bytes)?)
        .create(path)?;
    if is_new {
        let transaction = database.begin_write()?;
        transaction.open_table(ENTRIES)?;
        transaction.commit()?;
    }
    Ok(Box::new(Redb {
        database,
        durability: match options.durability {
            Durability::EveryCommit => RedbDurability::Immediate,
            Durability::OnRequest => RedbDurability::None,
        },
    }))
}

fn open_table(database: &Database) -> Result<ReadOnlyTable<&'static [u8], &'static [u8]>> {
    Ok(database.begin_read()?.open_table(ENTRIES)?)
}

impl Redb {
    fn begin(&self, durability: RedbDurability) -> Result<WriteTransaction> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(durability)?;
        Ok(transaction)
    }
}

impl Engine for Redb {
    fn reader(&self) -> Result<Box<dyn Reader + '_>> {
        Ok(Box::new(RedbReader {
            database: &self.database,
            table: open_table(&self.database)?,
        }))
    }

    fn commit(&self, changes: &[Change]) -> Result<()> {
        let transaction = self.begin(self.durability)?;
        {
            let mut table = transaction.open_table(ENTRIES)?;
            for change in changes {
                match &change.value {
                    Some(value) => {
                        table.insert(change.key.as_slice(), value.as_slice())?;
                    }
                    None => {
                        table.remove(change.key.as_slice())?;
                    }
                }
            }
        }
        Ok(transaction.commit()?)
    }

    fn load_sorted(&self, entries: &mut dyn Iterator<Item = (Key, Value)>) -> Result<()> {
        let transaction = self.begin(RedbDurability::Immediate)?;
        {
            let mut table = transaction.open_table(ENTRIES)?;
            for (key, value) in entries {
                table.insert(key.as_slice(), value.as_slice())?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn sync(&self) -> Result<()> {
        Ok(self.begin(RedbDurability::Immediate)?.commit()?)
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.database.close()?)
    }
}

impl Reader for RedbReader<'_> {
    fn refresh(&mut self) -> Result<()> {
        self.table = open_table(self.database)?;
        Ok(())
    }

    fn get(&mut self, key: &Key, found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let value = self.table.get(key.as_slice())?;
        Ok(value.map(|value| found(value.value())).is_some())
    }

    fn scan(
        &mut self,
        from: &[u8],
        limit: usize,
        visit: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<usize> {
        let mut count = 0;
        for entry in self.table.range::<&[u8]>(from..)?.take(limit) {
            let (key, value) = entry?;
            visit(key.value(), value.value());
            count += 1;
        }
        Ok(count)
    }
}
