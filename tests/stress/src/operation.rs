//! What the workers do: operation *n* of a worker follows from the seed, the worker and
//! *n* alone.
//!
//! So nothing of an operation has to be told to the process that judges: a number is
//! enough, and how far a worker's operations are there is a number, too. Each worker has
//! keys of its own, which begin with its number, in two tables and in one more that it
//! makes and drops; what it writes by operation *n* holds *n* as its *progress*, whole or
//! not at all. A part of all operations takes a number of an order that all workers share.

use lightning_sim::{Random, mix};

use crate::setup::Setup;

/// A table of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The one that all share, with the progress of transactions.
    Shared,
    /// The one that is loaded into, with the progress of loads.
    Loaded,
    /// A table of the worker's own, which comes and goes.
    Own,
}

/// The table of the shared order: its head at the empty key, and who took each number.
pub const ORDER: &str = "order";

/// The name of a table.
pub fn table_name(place: Place, worker: u8) -> String {
    match place {
        Place::Shared => "shared".to_owned(),
        Place::Loaded => "loaded".to_owned(),
        Place::Own => format!("own {worker}"),
    }
}

/// The key of a worker's progress, below all of its other keys.
pub fn progress_key(worker: u8) -> Vec<u8> {
    vec![worker]
}

/// A worker's key, in the order of `index`, of a length that follows from it.
pub fn key(worker: u8, index: u16) -> Vec<u8> {
    let mut key = vec![worker];
    key.extend(index.to_be_bytes());
    key.resize(3 + usize::from(index % 37), b'k');
    key
}

/// A value: bytes that follow from a seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value {
    seed: u64,
    length: u64,
    expiry_ms: Option<u64>,
    metadata: Option<u8>,
    /// What it begins with, where it is a progress.
    number: Option<u64>,
}

impl Value {
    /// Puts all of its bytes into `buffer`, which has room for any value where it was made
    /// with the source's capacity.
    pub fn fill<'b>(&self, buffer: &'b mut Vec<u8>) -> &'b [u8] {
        buffer.clear();
        if let Some(number) = self.number {
            buffer.extend(number.to_be_bytes());
        }
        let head = buffer.len();
        buffer.resize(head + usize::try_from(self.length).unwrap_or(0), 0);
        Random::new(self.seed).fill(&mut buffer[head..]);
        buffer
    }

    /// When it expires, in milliseconds since 1970.
    pub const fn expiry_ms(&self) -> Option<u64> {
        self.expiry_ms
    }

    /// Its metadata byte.
    pub const fn metadata(&self) -> Option<u8> {
        self.metadata
    }
}

/// One change of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A put; the worker's progress where there is no index.
    Put(Place, Option<u16>, Value),
    /// A put of a value that is written by stream.
    Stream(Place, u16, Value),
    /// A delete of one key.
    Delete(Place, u16),
    /// A delete of the keys from the first index on, up to and without the second.
    DeleteRange(Place, u16, u16),
    /// A delete of all of the worker's keys.
    DeleteAll(Place),
    /// The worker's own table is dropped.
    Drop,
}

/// An operation, which is there as a whole or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// One put of the progress, without a transaction.
    Single(Value),
    /// A transaction. `is_ordered`: with a number of the shared order.
    Transaction {
        /// Its changes, in their order; the last one is the progress.
        changes: Vec<Change>,
        /// Whether it takes a number of the shared order.
        is_ordered: bool,
        /// Whether what it reads is validated, too.
        is_serializable: bool,
    },
    /// A sorted load, which begins with the progress.
    Load(Vec<(Option<u16>, Value)>),
}

/// What all operations of a database follow from.
#[derive(Debug, Clone, Copy)]
pub struct Source {
    /// The database's seed.
    pub seed: u64,
    /// How much is written.
    pub setup: Setup,
    /// What times of expiry are counted from, in milliseconds since 1970.
    pub base_ms: u64,
}

/// So long after the base the last of the entries expires that expire while kills go on.
const EXPIRY_SPAN_MS: u64 = 8_000;
/// 1 January 2200, in milliseconds since 1970.
const FAR_FUTURE_MS: u64 = 7_258_118_400_000;

/// Bytes of the longest value that goes through the log.
const LOGGED_BYTES_MAX: u64 = 20_000;

struct Drawing<'s> {
    source: &'s Source,
    number: u64,
    random: Random,
    /// Bytes of values that the transaction may still have.
    room: u64,
}

impl Source {
    /// Bytes of the longest value.
    pub fn value_bytes_max(&self) -> usize {
        let longest = LOGGED_BYTES_MAX.max(self.setup.streamed_bytes_max);
        usize::try_from(longest).unwrap_or(0) + size_of::<u64>()
    }

    /// Operation `number` of a worker; the first is 1.
    pub fn operation(&self, worker: u8, number: u64) -> Operation {
        let seed = mix(self.seed ^ mix(u64::from(worker) ^ mix(number)));
        let mut drawing = Drawing {
            source: self,
            number,
            random: Random::new(seed),
            room: self.setup.transaction_bytes,
        };
        drawing.operation()
    }
}

impl Drawing<'_> {
    fn operation(&mut self) -> Operation {
        let is_all_logged = self.source.setup.streamed_bytes_max == 0;
        match self.random.below(100) {
            0..20 => Operation::Single(self.progress()),
            20..22 if !is_all_logged => self.load(),
            _ => self.transaction(),
        }
    }

    fn transaction(&mut self) -> Operation {
        let is_ordered = self.random.chance(1, 6);
        let is_serializable = self.random.chance(1, 10);
        let most = if self.random.chance(1, 8) { 20 } else { 5 };
        let count = 1 + self.random.below(most);
        let mut changes: Vec<Change> = (0..count).map(|_| self.change()).collect();
        let progress = self.progress();
        changes.push(Change::Put(Place::Shared, None, progress));
        Operation::Transaction {
            changes,
            is_ordered,
            is_serializable,
        }
    }

    fn load(&mut self) -> Operation {
        let keys = u64::from(self.source.setup.keys);
        let count = 1 + self.random.below(keys / 2);
        let mut rows = vec![(None, self.progress())];
        let mut index = 0;
        for _ in 0..count {
            index += 1 + self.random.below(3);
            if index >= keys {
                break;
            }
            // A load isn't bound by the size of a transaction.
            self.room = self.source.setup.transaction_bytes;
            let index = u16::try_from(index).unwrap_or(u16::MAX);
            rows.push((Some(index), self.value()));
        }
        Operation::Load(rows)
    }

    fn change(&mut self) -> Change {
        let place = match self.random.below(8) {
            0..5 => Place::Shared,
            5..7 => Place::Loaded,
            _ => Place::Own,
        };
        let index = self.index();
        let deletes = self.source.setup.deletes;
        let bytes_max = self.source.setup.streamed_bytes_max;
        match self.random.below(100) {
            0..10 if deletes => Change::Delete(place, index),
            10..15 if deletes => {
                let other = self.index();
                Change::DeleteRange(place, index.min(other), index.max(other))
            }
            15 if deletes => Change::DeleteAll(place),
            16..18 if deletes => Change::Drop,
            18 if bytes_max > 0 => {
                let mut value = self.value();
                value.length = self.random.below(bytes_max);
                Change::Stream(place, index, value)
            }
            _ => Change::Put(place, Some(index), self.value()),
        }
    }

    fn index(&mut self) -> u16 {
        let index = self.random.below(u64::from(self.source.setup.keys));
        u16::try_from(index).unwrap_or(0)
    }

    fn value(&mut self) -> Value {
        let wished = match self.random.below(20) {
            0..14 => self.random.below(120),
            14..18 => self.random.below(2_000),
            18 => self.random.below(LOGGED_BYTES_MAX),
            _ => 0,
        };
        let length = wished.min(self.room);
        self.room -= length;
        let expiry_ms = match self.random.below(20) {
            0 => Some(self.source.base_ms + self.random.below(EXPIRY_SPAN_MS)),
            1 => Some(FAR_FUTURE_MS),
            _ => None,
        };
        let metadata = self.random.chance(1, 10).then_some(7);
        Value {
            seed: self.random.next_u64(),
            length,
            expiry_ms,
            metadata,
            number: None,
        }
    }

    fn progress(&mut self) -> Value {
        Value {
            seed: self.random.next_u64(),
            length: self.random.below(60),
            expiry_ms: None,
            metadata: None,
            number: Some(self.number),
        }
    }
}
