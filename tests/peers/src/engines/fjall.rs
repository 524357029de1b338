//! fjall.
//!
//! Commits go to its journal. Without a sync they are handed to the kernel
//! (`PersistMode::Buffer`, which a batch has to ask for); with one, `SyncData`
//! follows. A single change takes the direct call instead of a batch, and then
//! `persist`, so that a flush may cover the changes of other threads. Reads go to
//! the keyspace without a snapshot: each sees what was committed before it, as
//! [`Reader::refresh`] demands, at the lowest price. Sorted loads use ingestion.
//! Compression is off for blocks and journal; all else is default.

use std::path::Path;

use anyhow::Result;
use fjall::config::CompressionPolicy;
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::{Change, Durability, Engine, EngineKind, Options, Reader};
use crate::data::{Key, Value};

/// fjall's entry in the list of engines.
pub const KIND: EngineKind = EngineKind {
    name: "fjall",
    open,
};

struct Fjall {
    database: Database,
    entries: Keyspace,
    durability: Durability,
}

struct FjallReader<'e> {
    entries: &'e Keyspace,
}

fn open(directory: &Path, options: &Options) -> Result<Box<dyn Engine>> {
    let database = Database::builder(directory)
        .cache_size(options.cache_bytes)
        .journal_compression(CompressionType::None)
        .open()?;
    let front_bytes = options.front_bytes;
    let entries = database.keyspace("entries", || {
        KeyspaceCreateOptions::default()
            .max_memtable_size(front_bytes)
            .data_block_compression_policy(CompressionPolicy::disabled())
            .index_block_compression_policy(CompressionPolicy::disabled())
    })?;
    Ok(Box::new(Fjall {
        database,
        entries,
        durability: options.durability,
    }))
}

impl Engine for Fjall {
    fn reader(&self) -> Result<Box<dyn Reader + '_>> {
        Ok(Box::new(FjallReader {
            entries: &self.entries,
        }))
    }

    fn commit(&self, changes: &[Change]) -> Result<()> {
        if let [change] = changes {
            match change.value {
                Some(value) => self.entries.insert(change.key, value)?,
                None => self.entries.remove(change.key)?,
            }
            return match self.durability {
                Durability::EveryCommit => self.sync(),
                Durability::OnRequest => Ok(()),
            };
        }
        let mode = match self.durability {
            Durability::EveryCommit => PersistMode::SyncData,
            Durability::OnRequest => PersistMode::Buffer,
        };
        let mut batch = self.database.batch().durability(Some(mode));
        for change in changes {
            match change.value {
                Some(value) => batch.insert(&self.entries, change.key, value),
                None => batch.remove(&self.entries, change.key),
            }
        }
        Ok(batch.commit()?)
    }

    fn load_sorted(&self, entries: &mut dyn Iterator<Item = (Key, Value)>) -> Result<()> {
        let mut ingestion = self.entries.start_ingestion()?;
        for (key, value) in entries {
            ingestion.write(key, value)?;
        }
        ingestion.finish()?;
        self.sync()
    }

    fn sync(&self) -> Result<()> {
        Ok(self.database.persist(PersistMode::SyncData)?)
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.database.persist(PersistMode::SyncAll)?)
    }
}

impl Reader for FjallReader<'_> {
    fn refresh(&mut self) -> Result<()> {
        Ok(())
    }

    fn get(&mut self, key: &Key, found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let value = self.entries.get(key)?;
        Ok(value.map(|value| found(&value)).is_some())
    }

    fn scan(
        &mut self,
        from: &[u8],
        limit: usize,
        visit: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<usize> {
        let mut count = 0;
        for entry in self.entries.range(from..).take(limit) {
            let (key, value) = entry.into_inner()?;
            visit(&key, &value);
            count += 1;
        }
        Ok(count)
    }
}
