//! What is recorded of transactions, and of the power cuts between them.

use std::collections::BTreeMap;

/// A value that was written: by which transaction, and its how-manieth write it was.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Value {
    pub writer: u32,
    pub number: u32,
}

/// What a transaction did.
#[derive(Clone, Debug)]
pub enum Operation {
    Read {
        key: u32,
        seen: Option<Value>,
    },
    /// A number of `None` deletes the key.
    Write {
        key: u32,
        number: Option<u32>,
    },
    /// Reads all keys from one to another, exclusive.
    Range {
        from: u32,
        to: u32,
        seen: Vec<(u32, Value)>,
    },
}

/// One transaction. Its id is its place in the history.
#[derive(Clone, Default, Debug)]
pub struct Transaction {
    /// How many power cuts came before it.
    pub epoch: u32,
    /// When it was asked for, on a clock that all threads share.
    pub begun_at: u64,
    /// When its end was known.
    pub ended_at: u64,
    /// The commit that it began after; unknown in some histories made by hand.
    pub snapshot: Option<u64>,
    /// The sequence of its commit; none where it was aborted.
    pub committed: Option<u64>,
    /// When its commit was known to survive a power cut.
    pub acknowledged_at: Option<u64>,
    /// The first after a power cut; it reads every key.
    pub is_recovery: bool,
    /// A load: it reads nothing, and commits all that it writes at once. It has no snapshot.
    pub is_load: bool,
    pub operations: Vec<Operation>,
}

impl Transaction {
    /// What it leaves at a key: none where it doesn't write there.
    pub fn last_write(&self, wanted: u32) -> Option<Option<u32>> {
        self.operations.iter().rev().find_map(|operation| {
            if let Operation::Write { key, number } = operation
                && *key == wanted
            {
                return Some(*number);
            }
            None
        })
    }

    /// Whether it wrote that, if only for a moment.
    pub fn wrote(&self, wanted: u32, value: u32) -> bool {
        self.operations.iter().any(|operation| {
            matches!(operation, Operation::Write { key, number: Some(number) }
                if *key == wanted && *number == value)
        })
    }

    /// The keys that it writes, each once.
    pub fn written(&self) -> Vec<u32> {
        let mut keys: Vec<u32> = self
            .operations
            .iter()
            .filter_map(|operation| match operation {
                Operation::Write { key, .. } => Some(*key),
                _ => None,
            })
            .collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }
}

/// A recorded history.
#[derive(Clone, Default, Debug)]
pub struct History {
    pub transactions: Vec<Transaction>,
    /// When the power of each epoch but the last went.
    pub crashes: Vec<u64>,
    /// Writers of a key in the order of its versions, where it isn't that of commits.
    pub orders: BTreeMap<u32, Vec<u32>>,
}
