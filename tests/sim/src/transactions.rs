//! Transactions of the clients: they see their moment and their own writes, and commit
//! where nobody was first.

use std::sync::Arc;

use lightning_core::db::Isolation;
use lightning_core::error::Error;

use crate::model::{Conflict, Read, Write, with_own};
use crate::operations::{keys, put_options, written};
use crate::plan::{Change, Query, key};
use crate::reading::{self, Reading};
use crate::world::{Open, Step, World, wrong};

/// Bytes that the engine takes beside the keys of a range that was read.
const READ_HEADER_BYTES: usize = 10;

impl World<'_> {
    pub fn begin(&mut self, client: u8, is_serializable: bool) -> Step {
        self.rollback(client)?;
        let now_ms = self.tell_time();
        let isolation = if is_serializable {
            Isolation::Serializable
        } else {
            Isolation::Snapshot
        };
        let engine = Arc::clone(&self.engine);
        let transaction = match engine.begin(now_ms, isolation) {
            Ok(transaction) => transaction,
            Err(error) => return self.excuse(error),
        };
        let sequence = transaction.sequence();
        if sequence != self.model.last_sequence() {
            engine.rollback(transaction);
            let last = self.model.last_sequence();
            return wrong(format!(
                "a transaction sees commits up to {sequence}, of {last}"
            ));
        }
        self.clients[usize::from(client)].open = Some(Open {
            transaction,
            moment: self.model.last(),
            now_ms: self.time_of_snapshot(),
            is_serializable,
            writes: Vec::new(),
            reads: Vec::new(),
        });
        Ok(sequence)
    }

    pub fn rollback(&mut self, client: u8) -> Step {
        if let Some(open) = self.clients[usize::from(client)].open.take() {
            self.engine.rollback(open.transaction);
        }
        Ok(0)
    }

    pub fn write_in(&mut self, client: u8, change: &Change) -> Step {
        let engine = Arc::clone(&self.engine);
        let (Change::Put(slot, ..) | Change::Delete(slot, _) | Change::DeleteRange(slot, _)) =
            change;
        let Some(open) = &mut self.clients[usize::from(client)].open else {
            return Ok(0);
        };
        let Some(table) = self.model.table(*slot, open.moment) else {
            return Ok(0);
        };
        let write = written(table, change);
        let transaction = &mut open.transaction;
        let outcome = match &write {
            Write::Put(table, key, value) => {
                let options = put_options(value);
                engine.transaction_put(transaction, *table, key, &value.bytes(), options)
            }
            Write::Delete(table, key) => engine.transaction_delete(transaction, *table, key),
            Write::DeleteRange(table, from, to) => {
                engine.transaction_delete_range(transaction, *table, from, to.as_deref())
            }
        };
        match outcome {
            Ok(()) => {
                open.writes.push(write);
                Ok(0)
            }
            Err(error) => self.excuse(error),
        }
    }

    pub fn read_in(&mut self, client: u8, query: &Query) -> Step {
        let Some(mut open) = self.clients[usize::from(client)].open.take() else {
            return Ok(0);
        };
        let found = self.query_in(&mut open, query);
        self.clients[usize::from(client)].open = Some(open);
        self.settle(found)
    }

    fn query_in(&self, open: &mut Open, query: &Query) -> Reading<u64> {
        let engine = &self.engine;
        let (Query::Get(slot, _) | Query::Scan(slot, ..) | Query::Count(slot)) = query;
        let Some(table) = self.model.table(*slot, open.moment) else {
            return Ok(0);
        };
        let (from, to) = match query {
            Query::Get(_, number) => (key(*number), Some(key(*number))),
            Query::Scan(_, range, _) => keys(*range),
            Query::Count(_) => (Vec::new(), None),
        };
        let transaction = &mut open.transaction;
        engine.transaction_note_read(transaction, table, &from, to.as_deref())?;
        if open.is_serializable {
            // Noted, whatever comes of reading it.
            let (from, to) = (from.clone(), to.clone());
            open.reads.push(Read { table, from, to });
        }
        let view = engine.transaction_view(transaction, table, true)?;
        let own = &open.writes;
        match query {
            Query::Get(_, number) => {
                let key = key(*number);
                let below = self.model.row(table, &key, open.moment);
                let below = below.map(|value| (key.clone(), value));
                let rows = below.into_iter().collect();
                let after = [&key[..], &[0]].concat();
                let rows = with_own(rows, own, table, &key, Some(&after));
                let value = rows.first().map(|(_, value)| *value);
                let value = value.filter(|value| value.is_visible(open.now_ms));
                reading::get(engine, &view, &key, value)
            }
            Query::Scan(..) | Query::Count(_) => {
                let backwards = matches!(query, Query::Scan(_, _, true));
                let rows = self.model.rows(table, &from, to.as_deref(), open.moment);
                let rows = with_own(rows, own, table, &from, to.as_deref());
                let rows = reading::visible(rows, open.now_ms);
                reading::scan(engine, &view, (&from, to.as_deref()), backwards, &rows)
            }
        }
    }

    pub fn commit(&mut self, client: u8) -> Step {
        let Some(mut open) = self.clients[usize::from(client)].open.take() else {
            return Ok(0);
        };
        let now_ms = self.tell_time();
        let expected = self.model.conflict(open.moment, &open.writes, &open.reads);
        let engine = Arc::clone(&self.engine);
        let transaction = &mut open.transaction;
        let outcome = self.until_room(|engine| engine.try_commit(transaction, now_ms, 0));
        engine.rollback(open.transaction);
        match outcome? {
            Ok(ticket) if open.writes.is_empty() => Ok(ticket.sequence),
            Ok(_) if expected == Conflict::Must => {
                wrong("a transaction committed though another was first")
            }
            Ok(ticket) => self.committed(ticket, open.writes),
            Err(Error::Conflict { table, key }) => {
                self.counts.conflicts += 1;
                let bytes = |read: &Read| {
                    let to = read.to.as_ref().map_or(0, Vec::len);
                    READ_HEADER_BYTES + read.from.len() + to
                };
                let remembered: usize = open.reads.iter().map(bytes).sum();
                let is_coarse = remembered > self.setup.options.read_set_bytes as usize;
                if expected == Conflict::None && !is_coarse {
                    return wrong(format!("a conflict at {key} of table {table} that is none"));
                }
                Ok(u64::from(table))
            }
            Err(error) => self.excuse(error),
        }
    }
}
