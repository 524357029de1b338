//! What a worker's operations come to, as the process that judges knows it.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher as _};

use crate::operation::{Change, Operation, Place, Source, Value, key, progress_key, table_name};

/// The first bytes of a value, which are told as they are.
pub const HEAD_BYTES: usize = 9;

/// An entry, by what tells it from any other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Bytes of the value.
    pub length: u64,
    /// A hash of all of them.
    pub hash: u64,
    /// The first ones, at most [`HEAD_BYTES`].
    pub head: Vec<u8>,
    /// When it expires, in milliseconds since 1970.
    pub expiry_ms: Option<u64>,
    /// Its metadata byte.
    pub metadata: Option<u8>,
}

impl Entry {
    /// The entry with these bytes.
    pub fn new(bytes: &[u8], expiry_ms: Option<u64>, metadata: Option<u8>) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write(bytes);
        Self {
            length: bytes.len() as u64,
            hash: hasher.finish(),
            head: bytes[..bytes.len().min(HEAD_BYTES)].to_vec(),
            expiry_ms,
            metadata,
        }
    }

    fn of(value: &Value) -> Self {
        let mut buffer = Vec::new();
        Self::new(value.fill(&mut buffer), value.expiry_ms(), value.metadata())
    }

    /// The number that it begins with, where it is long enough.
    pub fn number(&self) -> Option<u64> {
        let bytes = self.head.get(..8)?.try_into().ok()?;
        Some(u64::from_be_bytes(bytes))
    }
}

/// Everything that one worker has written.
#[derive(Debug, Clone)]
pub struct Worker {
    worker: u8,
    /// The number of its last operation.
    number: u64,
    has_own_table: bool,
    /// By place, and index; the progress has none.
    entries: BTreeMap<(Place, Option<u16>), Entry>,
    /// Its operations with a number of the shared order.
    ordered: Vec<u64>,
}

impl Worker {
    /// One that has written nothing.
    pub const fn new(worker: u8) -> Self {
        Self {
            worker,
            number: 0,
            has_own_table: false,
            entries: BTreeMap::new(),
            ordered: Vec::new(),
        }
    }

    /// Its own number.
    pub const fn worker(&self) -> u8 {
        self.worker
    }

    /// The number of its last operation.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Its operations that took a number of the shared order, in their order.
    pub fn ordered(&self) -> &[u64] {
        &self.ordered
    }

    /// Whether its own table is there.
    pub const fn has_own_table(&self) -> bool {
        self.has_own_table
    }

    /// Does what follows, up to operation `number`.
    pub fn advance(&mut self, source: &Source, number: u64) {
        while self.number < number {
            self.number += 1;
            match source.operation(self.worker, self.number) {
                Operation::Single(value) => self.put(Place::Shared, None, &value),
                Operation::Transaction {
                    changes,
                    is_ordered,
                    ..
                } => {
                    if is_ordered {
                        self.ordered.push(self.number);
                    }
                    changes.iter().for_each(|change| self.change(change));
                }
                Operation::Load(rows) => {
                    for (index, value) in &rows {
                        self.put(Place::Loaded, *index, value);
                    }
                }
            }
        }
    }

    fn put(&mut self, place: Place, index: Option<u16>, value: &Value) {
        self.entries.insert((place, index), Entry::of(value));
    }

    fn change(&mut self, change: &Change) {
        let place = match *change {
            Change::Put(place, ..)
            | Change::Stream(place, ..)
            | Change::Delete(place, ..)
            | Change::DeleteRange(place, ..)
            | Change::DeleteAll(place) => place,
            Change::Drop => {
                self.entries.retain(|(place, _), _| *place != Place::Own);
                self.has_own_table = false;
                return;
            }
        };
        // Whoever names it makes it.
        self.has_own_table |= place == Place::Own;
        match change {
            Change::Put(_, index, value) => self.put(place, *index, value),
            Change::Stream(_, index, value) => self.put(place, Some(*index), value),
            Change::Delete(_, index) => {
                self.entries.remove(&(place, Some(*index)));
            }
            Change::DeleteRange(_, from, to) => {
                let range = (Some(*from)..Some(*to), place);
                self.entries
                    .retain(|(at, index), _| *at != range.1 || !range.0.contains(index));
            }
            Change::DeleteAll(_) => self.entries.retain(|(at, _), _| *at != place),
            Change::Drop => {}
        }
    }

    /// All entries, by the table's name and the key.
    pub fn entries(&self) -> impl Iterator<Item = ((String, Vec<u8>), &Entry)> {
        self.entries.iter().map(|((place, index), entry)| {
            let key = match index {
                None => progress_key(self.worker),
                Some(index) => key(self.worker, *index),
            };
            ((table_name(*place, self.worker), key), entry)
        })
    }
}
