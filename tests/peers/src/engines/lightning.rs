//! Lightning DB.
//!
//! Commits are blind. A single change takes the direct call, which never conflicts
//! and shares its flush with other threads; several are one write transaction.
//! Without a sync they are handed to the kernel (`Durability::Async`), so that a
//! killed process loses nothing. Reads go to a read transaction, whose table is
//! found once at each refresh; scans lend their entries. A sorted load is a bulk
//! load. The front's size is that of one memtable, as fjall's is: like fjall it
//! keeps full ones beside it until they are merged. All else is default.

use std::ops::ControlFlow;
use std::path::Path;

use anyhow::Result;
use lightning_db::{
    Database, Durability as LightningDurability, ReadTransaction, Table, TableReader,
};
use self_cell::self_cell;

use super::{Change, Durability, Engine, EngineKind, Options, Reader};
use crate::data::{Key, Value};

/// Lightning DB's entry in the list of engines.
pub const KIND: EngineKind = EngineKind {
    name: "lightning",
    open,
};

struct Lightning {
    database: Database,
    entries: Table,
}

type Entries<'t> = TableReader<'t, &'static [u8], &'static [u8]>;

self_cell!(
    /// A read transaction with the table found in it.
    struct View {
        owner: ReadTransaction,

        #[covariant]
        dependent: Entries,
    }
);

struct LightningReader<'e> {
    engine: &'e Lightning,
    view: View,
}

fn open(directory: &Path, options: &Options) -> Result<Box<dyn Engine>> {
    let database = Database::builder()
        .cache_bytes(options.cache_bytes)
        .memtable_bytes(u32::try_from(options.front_bytes)?)
        .durability(match options.durability {
            Durability::EveryCommit => LightningDurability::Sync,
            Durability::OnRequest => LightningDurability::Async,
        })
        .open(directory)?;
    let entries = database.table("entries")?;
    Ok(Box::new(Lightning { database, entries }))
}

impl Lightning {
    fn view(&self) -> Result<View> {
        let transaction = self.database.begin_read()?;
        Ok(View::try_new(transaction, |transaction| {
            transaction.open(&self.entries)
        })?)
    }
}

impl Engine for Lightning {
    fn reader(&self) -> Result<Box<dyn Reader + '_>> {
        Ok(Box::new(LightningReader {
            engine: self,
            view: self.view()?,
        }))
    }

    fn commit(&self, changes: &[Change]) -> Result<()> {
        if let [change] = changes {
            match &change.value {
                Some(value) => self.database.put(&self.entries, &change.key, value)?,
                None => self.database.delete(&self.entries, &change.key)?,
            }
            return Ok(());
        }
        let mut transaction = self.database.begin_write()?;
        for change in changes {
            match &change.value {
                Some(value) => transaction.put(&self.entries, &change.key, value)?,
                None => transaction.delete(&self.entries, &change.key)?,
            }
        }
        Ok(transaction.commit()?)
    }

    fn load_sorted(&self, entries: &mut dyn Iterator<Item = (Key, Value)>) -> Result<()> {
        let mut load = self.database.bulk_load(&self.entries)?;
        for (key, value) in entries {
            load.push(&key, &value)?;
        }
        load.finish()?;
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        Ok(self.database.sync()?)
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.database.close()?)
    }
}

impl Reader for LightningReader<'_> {
    fn refresh(&mut self) -> Result<()> {
        self.view = self.engine.view()?;
        Ok(())
    }

    fn get(&mut self, key: &Key, found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let value = self.view.borrow_dependent().get(key)?;
        Ok(value.map(|value| found(&value)).is_some())
    }

    fn scan(
        &mut self,
        from: &[u8],
        limit: usize,
        visit: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<usize> {
        if limit == 0 {
            return Ok(0);
        }
        let mut count = 0;
        self.view.borrow_dependent().for_each(from.., |entry| {
            visit(entry.key, entry.value);
            count += 1;
            if count == limit {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        Ok(count)
    }
}
