//! One thread that works: its operations in their order, and when each counts as
//! acknowledged.

use std::cell::RefCell;
use std::collections::VecDeque;

use lightning_db::{Database, PutOptions, Result, Table, Ticket, WriteTransaction};

use crate::message::Message;
use crate::operation::{Change, Operation, Place, Source, Value, key, progress_key, table_name};

/// The most operations of a worker that may be there and aren't acknowledged.
pub const UNACKNOWLEDGED_MAX: u64 = 24;

/// How a worker comes to know that its operations are safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledging {
    /// Each commit is waited for.
    AtOnce,
    /// Tickets are waited for later, in their order.
    Tickets,
    /// Tickets are given up, and a sync counts for all that was committed before.
    BySync,
}

/// A worker of an open database.
pub struct Worker<'d> {
    /// The database.
    pub database: &'d Database,
    /// What its operations follow from.
    pub source: &'d Source,
    /// Its number.
    pub worker: u8,
    /// The shared table, the one that is loaded into, and the shared order.
    pub tables: [Table; 3],
    /// How it comes to know that operations are safe.
    pub acknowledging: Acknowledging,
    /// Room for its longest value: a limit on memory is to meet the library, not this.
    pub buffer: RefCell<Vec<u8>>,
}

impl Worker<'_> {
    /// Goes on from the operation after `number`, until one fails.
    ///
    /// # Errors
    /// That operation's.
    pub fn work(&mut self, mut number: u64) -> Result<()> {
        let mut waiting: VecDeque<(u64, Ticket)> = VecDeque::new();
        let mut unsynced = 0;
        loop {
            number += 1;
            let ticket = self.perform(&self.source.operation(self.worker, number), number)?;
            match self.acknowledging {
                Acknowledging::AtOnce => {
                    if let Some(ticket) = ticket {
                        ticket.wait()?;
                    }
                    self.acknowledge(number);
                }
                Acknowledging::Tickets => {
                    match ticket {
                        Some(ticket) => waiting.push_back((number, ticket)),
                        // A load is durable, and all before it, since they are ordered.
                        None => self.acknowledge(number),
                    }
                    if waiting.len() as u64 >= UNACKNOWLEDGED_MAX / 2
                        && let Some((number, ticket)) = waiting.pop_front()
                    {
                        ticket.wait()?;
                        self.acknowledge(number);
                    }
                }
                Acknowledging::BySync => {
                    unsynced += 1;
                    if unsynced >= UNACKNOWLEDGED_MAX / 2 {
                        self.database.sync()?;
                        self.acknowledge(number);
                        unsynced = 0;
                    }
                }
            }
        }
    }

    fn acknowledge(&self, number: u64) {
        // Who doesn't listen has killed this process.
        let _told = Message::Acknowledged(self.worker, number).tell();
    }

    /// Commits an operation; `None`: it is durable already.
    fn perform(&self, operation: &Operation, number: u64) -> Result<Option<Ticket>> {
        let [shared, loaded, _] = &self.tables;
        match operation {
            Operation::Single(value) => {
                let key = progress_key(self.worker);
                let mut buffer = self.buffer.borrow_mut();
                let bytes = value.fill(&mut buffer);
                let ticket = self.database.put_async(shared, &key, bytes)?;
                Ok(Some(ticket))
            }
            Operation::Transaction {
                changes,
                is_ordered,
                is_serializable,
            } => loop {
                match self.transaction(changes, *is_ordered, *is_serializable, number) {
                    Err(error) if error.is_conflict() => {}
                    outcome => return outcome.map(Some),
                }
            },
            Operation::Load(rows) => {
                let mut load = self.database.bulk_load(loaded)?;
                for (index, value) in rows {
                    let key = match index {
                        None => progress_key(self.worker),
                        Some(index) => key(self.worker, *index),
                    };
                    let mut buffer = self.buffer.borrow_mut();
                    load.push_with(&key, value.fill(&mut buffer), options(value))?;
                }
                load.finish()?;
                Ok(None)
            }
        }
    }

    fn transaction(
        &self,
        changes: &[Change],
        is_ordered: bool,
        is_serializable: bool,
        number: u64,
    ) -> Result<Ticket> {
        let mut write = if is_serializable {
            self.database.begin_serializable()?
        } else {
            self.database.begin_write()?
        };
        for change in changes {
            self.change(&mut write, change)?;
        }
        if is_ordered {
            let order = &self.tables[2];
            let head = write.get(order, b"")?;
            let head = head.map_or(0, |head| {
                u64::from_be_bytes(head[..].try_into().unwrap_or_default())
            });
            let next = (head + 1).to_be_bytes();
            let mut who = vec![self.worker];
            who.extend(number.to_be_bytes());
            write.put(order, b"", &next)?;
            write.put(order, &next, &who)?;
        }
        write.commit_async()
    }

    fn change(&self, write: &mut WriteTransaction, change: &Change) -> Result<()> {
        let key_of = |index: u16| key(self.worker, index);
        match change {
            Change::Put(place, index, value) => {
                let table = self.table(write, *place)?;
                let key = index.map_or_else(|| progress_key(self.worker), key_of);
                let mut buffer = self.buffer.borrow_mut();
                write.put_with(&table, &key, value.fill(&mut buffer), options(value))
            }
            Change::Stream(place, index, value) => {
                let table = self.table(write, *place)?;
                let mut buffer = self.buffer.borrow_mut();
                let bytes = value.fill(&mut buffer);
                let bytes_max = bytes.len() as u64;
                let (key, options) = (key_of(*index), options(value));
                write.put_stream_with(&table, &key, bytes_max, bytes, options)?;
                Ok(())
            }
            Change::Delete(place, index) => {
                let table = self.table(write, *place)?;
                write.delete(&table, &key_of(*index))
            }
            Change::DeleteRange(place, from, to) => {
                let table = self.table(write, *place)?;
                write.delete_range(&table, &key_of(*from)[..]..&key_of(*to)[..])
            }
            Change::DeleteAll(place) => {
                let table = self.table(write, *place)?;
                write.delete_prefix(&table, &progress_key(self.worker))
            }
            Change::Drop => {
                write.drop_table(&table_name(Place::Own, self.worker))?;
                Ok(())
            }
        }
    }

    fn table(&self, write: &mut WriteTransaction, place: Place) -> Result<Table> {
        match place {
            Place::Shared => Ok(self.tables[0].clone()),
            Place::Loaded => Ok(self.tables[1].clone()),
            Place::Own => write.table(&table_name(place, self.worker)),
        }
    }
}

fn options(value: &Value) -> PutOptions {
    PutOptions {
        expiry_ms: value.expiry_ms(),
        metadata: value.metadata(),
    }
}
