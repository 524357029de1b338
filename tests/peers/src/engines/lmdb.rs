//! LMDB through heed.
//!
//! No cache of its own: the kernel's page cache takes that place, and only the
//! size of the map is set. `NO_SYNC` gives [`Durability::OnRequest`]: commits are
//! handed to the kernel, and `force_sync` makes them durable. Read transactions
//! use thread-local slots, the faster kind. Read-ahead is off when the data
//! exceeds the memory, as LMDB's manual advises for random reads. A bulk load
//! appends in key order, in transactions whose dirty pages fit into memory.

use std::ops::Bound;
use std::path::Path;

use anyhow::{Context as _, Result};
use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, PutFlags, RoTxn, WithTls};

use super::{Change, Durability, Engine, EngineKind, Options, Reader};
use crate::data::{Key, Value};

/// LMDB's entry in the list of engines.
pub const KIND: EngineKind = EngineKind { name: "lmdb", open };

/// Address space only: far above any data measured here.
const MAP_BYTES: usize = 1 << 38;
const ENTRIES_PER_LOAD_TRANSACTION: usize = 100_000;

type Entries = Database<'static, Bytes, Bytes>;

struct Lmdb {
    environment: Env<WithTls>,
    entries: Entries,
}

struct LmdbReader<'e> {
    engine: &'e Lmdb,
    transaction: Option<RoTxn<'e, WithTls>>,
}

fn open(directory: &Path, options: &Options) -> Result<Box<dyn Engine>> {
    let mut flags = EnvFlags::empty();
    if options.durability == Durability::OnRequest {
        flags |= EnvFlags::NO_SYNC;
    }
    if options.exceeds_memory {
        flags |= EnvFlags::NO_READ_AHEAD;
    }
    let mut builder = EnvOpenOptions::new();
    builder.map_size(MAP_BYTES);
    // SAFETY: NO_SYNC risks the database at a power cut only, and no measurement
    // reads one after a power cut; the other flag changes advice to the kernel.
    unsafe { builder.flags(flags) };
    // SAFETY: the directory belongs to this measurement alone: no other process
    // or mapping changes the files while the environment is open.
    let environment = unsafe { builder.open(directory) }?;
    let transaction = environment.write_txn()?;
    let entries = environment
        .create_databases_and_commit(transaction, |opener, transaction| {
            opener
                .create_database::<Bytes, Bytes>(transaction, None)
                .map(CommitOrAbort::<_, ()>::Commit)
        })?
        .commit()
        .context("LMDB did not open its unnamed database")?;
    Ok(Box::new(Lmdb {
        environment,
        entries,
    }))
}

impl Engine for Lmdb {
    fn reader(&self) -> Result<Box<dyn Reader + '_>> {
        Ok(Box::new(LmdbReader {
            engine: self,
            transaction: Some(self.environment.read_txn()?),
        }))
    }

    fn commit(&self, changes: &[Change]) -> Result<()> {
        let mut transaction = self.environment.write_txn()?;
        for change in changes {
            match &change.value {
                Some(value) => self.entries.put(&mut transaction, &change.key, value)?,
                None => {
                    self.entries.delete(&mut transaction, &change.key)?;
                }
            }
        }
        Ok(transaction.commit()?)
    }

    fn load_sorted(&self, entries: &mut dyn Iterator<Item = (Key, Value)>) -> Result<()> {
        let mut entries = entries.peekable();
        while entries.peek().is_some() {
            let mut transaction = self.environment.write_txn()?;
            for (key, value) in entries.by_ref().take(ENTRIES_PER_LOAD_TRANSACTION) {
                self.entries
                    .put_with_flags(&mut transaction, PutFlags::APPEND, &key, &value)?;
            }
            transaction.commit()?;
        }
        self.sync()
    }

    fn sync(&self) -> Result<()> {
        Ok(self.environment.force_sync()?)
    }

    fn close(self: Box<Self>) -> Result<()> {
        let closing = self.environment.prepare_for_closing();
        closing.wait();
        Ok(())
    }
}

impl LmdbReader<'_> {
    fn transaction(&self) -> Result<&RoTxn<'_, WithTls>> {
        self.transaction
            .as_ref()
            .context("the reader lost its transaction at a failed refresh")
    }
}

impl Reader for LmdbReader<'_> {
    fn refresh(&mut self) -> Result<()> {
        // A thread has one slot: the old transaction ends before the new begins.
        self.transaction = None;
        self.transaction = Some(self.engine.environment.read_txn()?);
        Ok(())
    }

    fn get(&mut self, key: &Key, found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let value = self.engine.entries.get(self.transaction()?, key)?;
        Ok(value.map(found).is_some())
    }

    fn scan(
        &mut self,
        from: &[u8],
        limit: usize,
        visit: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<usize> {
        // LMDB knows no empty key, not even as a bound.
        let start = match from {
            [] => Bound::Unbounded,
            _ => Bound::Included(from),
        };
        let range = (start, Bound::Unbounded);
        let mut count = 0;
        for entry in self
            .engine
            .entries
            .range(self.transaction()?, &range)?
            .take(limit)
        {
            let (key, value) = entry?;
            visit(key, value);
            count += 1;
        }
        Ok(count)
    }
}
