//! What goes into a memtable, and what is seen in it.

use super::arena::Node;
use core::fmt;

/// What a record does. The numbers are those of the log (`FORMAT.md`, 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RecordKind {
    /// Sets a key's value.
    Put = 1,
    /// Removes a key.
    Delete = 2,
    /// Removes the keys from the record's key to the exclusive end in its value;
    /// an empty end is the table's.
    RangeDelete = 3,
    /// Sets a key to a large value: the record's value is the reference to it.
    Extent = 4,
}

impl RecordKind {
    /// The kind of a number that this module wrote.
    pub(super) fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Put,
            3 => Self::RangeDelete,
            4 => Self::Extent,
            _ => Self::Delete,
        }
    }
}

/// One change of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// What it does.
    pub kind: RecordKind,
    /// The table.
    pub table: u32,
    /// The key; of a range delete, its first.
    pub key: &'a [u8],
    /// The value, or what the kind says.
    pub value: &'a [u8],
    /// When the entry expires, in milliseconds since 1970.
    pub expiry_ms: Option<u64>,
    /// The metadata byte.
    pub metadata: Option<u8>,
}

/// One version of a key, or a range tombstone, lent by the memtable.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    pub(super) node: Node<'a>,
}

impl<'a> Entry<'a> {
    /// The table.
    #[must_use]
    pub fn table(&self) -> u32 {
        self.node.table()
    }

    /// The key; of a range tombstone, its first.
    #[must_use]
    pub fn key(&self) -> &'a [u8] {
        self.node.key()
    }

    /// The sequence of the commit that wrote it.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.node.sequence()
    }

    /// What it does.
    #[must_use]
    pub fn kind(&self) -> RecordKind {
        self.node.kind()
    }

    /// The value; of an extent its reference, of a range tombstone its exclusive end.
    #[must_use]
    pub fn value(&self) -> &'a [u8] {
        self.node.value()
    }

    /// When it expires, in milliseconds since 1970.
    #[must_use]
    pub fn expiry_ms(&self) -> Option<u64> {
        self.node.expiry_ms()
    }

    /// The metadata byte.
    #[must_use]
    pub fn metadata(&self) -> Option<u8> {
        self.node.metadata()
    }

    /// All of it, as it was inserted.
    #[must_use]
    pub fn record(&self) -> Record<'a> {
        Record {
            kind: self.kind(),
            table: self.table(),
            key: self.key(),
            value: self.value(),
            expiry_ms: self.expiry_ms(),
            metadata: self.metadata(),
        }
    }
}

impl fmt::Debug for Entry<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Entry")
            .field("sequence", &self.sequence())
            .field("record", &self.record())
            .finish()
    }
}
