//! A directory that this process has opened.

use super::{Selection, Service, Store, Taken, Visit};
use crate::data_tool::mdb_headers;
use crate::failure::{Exit, Failure};
use crate::formats::mdb::Header;
use crate::formats::{Record, RecordRef, text};
use lightning_db::{
    Database, EngineError, Limit, PutOptions, Reason, Table, TableReader, WriteTransaction,
};
use std::collections::HashMap;
use std::ops::ControlFlow;

type Bytes = &'static [u8];
type Reader<'t> = TableReader<'t, Bytes, Bytes>;

/// A directory.
pub(crate) struct Directory {
    database: Database,
    transaction: Option<WriteTransaction>,
    /// Changes that the open transaction has.
    pending: u64,
    /// Handles of tables; those that an open transaction has made are among them.
    tables: HashMap<String, Table>,
}

impl Directory {
    /// The directory that was opened.
    pub(crate) fn new(database: Database) -> Self {
        Self {
            database,
            transaction: None,
            pending: 0,
            tables: HashMap::new(),
        }
    }

    fn existing_table(&mut self, name: &str) -> Result<Table, Failure> {
        if let Some(table) = self.tables.get(name) {
            return Ok(table.clone());
        }
        if let Some(table) = self.database.existing_table(name)? {
            self.tables.insert(name.to_owned(), table.clone());
            return Ok(table);
        }
        let names: Vec<String> = self
            .tables()?
            .iter()
            .map(|name| format!("\"{}\"", text::escape(name.as_bytes())))
            .collect();
        let there = if names.is_empty() {
            "there is none yet".to_owned()
        } else {
            format!("there are {}", names.join(", "))
        };
        Err(Failure::new(
            Exit::Finding,
            format!(
                "{}: no table \"{}\"; {there}",
                self.database.path().display(),
                text::escape(name.as_bytes())
            ),
        ))
    }

    /// Reads a table: as the open transaction sees it, or as it was last committed.
    fn with_reader<T>(
        &mut self,
        table: &str,
        read: impl FnOnce(&Reader<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let table = self.existing_table(table)?;
        match &self.transaction {
            Some(transaction) => read(&transaction.open(&table)?),
            None => read(&self.database.begin_read()?.open(&table)?),
        }
    }
}

impl Store for Directory {
    fn name(&self) -> String {
        self.database.path().display().to_string()
    }

    fn tables(&mut self) -> Result<Vec<String>, Failure> {
        let tables = self.database.tables()?;
        Ok(tables.iter().map(|table| table.name().to_owned()).collect())
    }

    fn get(&mut self, table: &str, key: &[u8]) -> Result<Option<Record>, Failure> {
        self.with_reader(table, |reader| {
            Ok(reader.get(key)?.map(|value| Record {
                key: key.to_vec(),
                value: value.to_vec(),
                expiry_ms: value.expiry_ms(),
                metadata: value.metadata(),
            }))
        })
    }

    fn scan(
        &mut self,
        table: &str,
        selection: &Selection,
        visit: &mut Visit<'_>,
    ) -> Result<(), Failure> {
        self.with_reader(table, |reader| {
            if selection.is_empty() {
                return Ok(());
            }
            let mut left = selection.limit.unwrap_or(u64::MAX);
            if selection.reverse {
                for entry in reader.range(selection.bounds())?.rev() {
                    let (key, value) = entry?;
                    left -= 1;
                    let record = RecordRef {
                        key: &key,
                        value: &value,
                        expiry_ms: value.expiry_ms(),
                        metadata: value.metadata(),
                    };
                    if visit(record).is_break() || left == 0 {
                        break;
                    }
                }
                return Ok(());
            }
            Ok(reader.for_each(selection.bounds(), |entry| {
                left -= 1;
                let record = RecordRef {
                    key: entry.key,
                    value: entry.value,
                    expiry_ms: entry.expiry_ms,
                    metadata: entry.metadata,
                };
                if visit(record).is_break() || left == 0 {
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            })?)
        })
    }

    fn keys(&mut self, table: &str, prefix: &[u8], limit: u64) -> Result<Vec<Vec<u8>>, Failure> {
        let mut keys = Vec::new();
        let selection = Selection {
            limit: Some(limit),
            ..Selection::with_prefix(prefix.to_vec())
        };
        self.scan(table, &selection, &mut |record| {
            keys.push(record.key.to_vec());
            ControlFlow::Continue(())
        })?;
        Ok(keys)
    }

    fn count(&mut self, table: &str) -> Result<u64, Failure> {
        self.with_reader(table, |reader| Ok(reader.len()?))
    }

    fn count_estimate(&mut self, table: &str) -> Result<u64, Failure> {
        self.with_reader(table, |reader| Ok(reader.len_estimate()))
    }

    fn make_table(&mut self, table: &str) -> Result<(), Failure> {
        if !self.tables.contains_key(table) {
            let made = begun(&mut self.transaction, &self.database)?.table(table)?;
            self.tables.insert(table.to_owned(), made);
        }
        Ok(())
    }

    fn put(&mut self, table: &str, record: RecordRef<'_>) -> Result<Taken, Failure> {
        self.make_table(table)?;
        let table = &self.tables[table];
        let transaction = begun(&mut self.transaction, &self.database)?;
        let options = PutOptions {
            expiry_ms: record.expiry_ms,
            metadata: record.metadata,
        };
        match transaction.put_with(table, record.key, record.value, options) {
            Ok(()) => {
                self.pending += 1;
                Ok(Taken::Yes)
            }
            // Alone, it is too large for any transaction.
            Err(error) if self.pending > 0 && is_full(error.reason()) => Ok(Taken::Full),
            Err(error) => Err(error.into()),
        }
    }

    fn delete(&mut self, table: &str, key: &[u8]) -> Result<bool, Failure> {
        let table = self.existing_table(table)?;
        let transaction = begun(&mut self.transaction, &self.database)?;
        let was_there = transaction.open(&table)?.contains(key)?;
        if was_there {
            transaction.delete(&table, key)?;
            self.pending += 1;
        }
        Ok(was_there)
    }

    fn expire(&mut self, table: &str, key: &[u8], expiry_ms: Option<u64>) -> Result<bool, Failure> {
        let Some(mut record) = self.get(table, key)? else {
            return Ok(false);
        };
        record.expiry_ms = expiry_ms;
        if self.put(table, record.borrow())? == Taken::Full {
            return Err(Failure::new(
                Exit::Failed,
                "the transaction has no more room",
            ));
        }
        Ok(true)
    }

    fn commit(&mut self) -> Result<(), Failure> {
        self.pending = 0;
        if let Some(transaction) = self.transaction.take() {
            let committed = transaction.commit();
            if committed.is_err() {
                self.tables.clear();
            }
            committed?;
        }
        Ok(())
    }

    fn rollback(&mut self) {
        self.pending = 0;
        self.transaction = None;
        // What it made is gone.
        self.tables.clear();
    }

    fn has_transactions(&self) -> bool {
        true
    }

    fn warning(&mut self) -> Result<Option<String>, Failure> {
        Ok(None)
    }

    fn keep_header(&mut self, table: &str, header: &Header) -> Result<(), Failure> {
        mdb_headers::keep(begun(&mut self.transaction, &self.database)?, table, header)
    }

    fn kept_header(&mut self, table: &str) -> Result<Option<Header>, Failure> {
        let read = self.database.begin_read()?;
        mdb_headers::kept(&self.database, &read, table)
    }

    fn has_metadata(&self) -> bool {
        true
    }

    fn database(&self) -> Option<&Database> {
        Some(&self.database)
    }

    fn service(&mut self) -> Option<&mut Service> {
        None
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        let Self {
            database,
            transaction,
            tables,
            ..
        } = *self;
        drop((transaction, tables));
        Ok(database.close()?)
    }
}

/// The open transaction, which is begun where there is none.
fn begun<'t>(
    open: &'t mut Option<WriteTransaction>,
    database: &Database,
) -> Result<&'t mut WriteTransaction, Failure> {
    let transaction = match open.take() {
        Some(transaction) => transaction,
        None => database.begin_write()?,
    };
    Ok(open.insert(transaction))
}

fn is_full(reason: &Reason) -> bool {
    matches!(
        reason,
        Reason::Engine(EngineError::OverLimit {
            limit: Limit::TransactionBytes,
            ..
        })
    )
}
