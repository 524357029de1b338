//! What a command wants changed.
//!
//! Keys and values stand one behind another in one buffer that is used again for the
//! next command, so that a command costs no allocation once the buffer has grown.

use crate::announcements::Event;
use lightning_ops::configuration::EventClasses;
use std::collections::HashSet;
use std::ops::Range;

/// How long an entry is to live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lifetime {
    /// For ever.
    #[default]
    Endless,
    /// Until this time, in milliseconds since 1970.
    Until(u64),
}

impl Lifetime {
    /// The time of expiry, where there is one.
    #[must_use]
    pub fn expiry_ms(self) -> Option<u64> {
        match self {
            Self::Endless => None,
            Self::Until(expiry_ms) => Some(expiry_ms),
        }
    }
}

/// One change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change<'c> {
    /// A key gets a value.
    Put {
        /// The database's number.
        database: usize,
        /// The key.
        key: &'c [u8],
        /// The value.
        value: &'c [u8],
        /// When it expires, in milliseconds since 1970.
        expiry_ms: Option<u64>,
    },
    /// A key goes.
    Delete {
        /// The database's number.
        database: usize,
        /// The key.
        key: &'c [u8],
    },
    /// All keys of a database go.
    Clear {
        /// The database's number.
        database: usize,
    },
    /// Two databases change their numbers.
    Swap {
        /// The number of one.
        first: usize,
        /// The number of the other.
        second: usize,
    },
}

impl Change<'_> {
    /// Bytes of key and value that go into the transaction, where values longer than
    /// `long` are written beside it.
    pub(crate) fn transaction_bytes(&self, long: usize) -> usize {
        match self {
            Self::Put { key, value, .. } if value.len() <= long => key.len() + value.len(),
            Self::Put { key, .. } | Self::Delete { key, .. } => key.len(),
            Self::Clear { .. } | Self::Swap { .. } => 0,
        }
    }
}

#[derive(Debug, Clone)]
enum Placed {
    Put {
        database: usize,
        key: Range<usize>,
        value: Range<usize>,
        lifetime: Lifetime,
        /// The key wasn't there: looked up only where that is told.
        is_new: bool,
    },
    Delete {
        database: usize,
        key: Range<usize>,
    },
    Clear {
        database: usize,
    },
    Swap {
        first: usize,
        second: usize,
    },
    Event {
        class: EventClasses,
        name: &'static str,
        database: usize,
        key: Range<usize>,
    },
}

/// The changes that one command wants, in their order: later ones win.
#[derive(Debug, Default)]
pub struct Changes {
    bytes: Vec<u8>,
    placed: Vec<Placed>,
    /// How many of them are events, which change nothing.
    events: usize,
    /// The events that are told.
    classes: EventClasses,
}

/// A buffer that a very long value has grown is given back.
const KEPT_BYTES_MAX: usize = 1 << 20;

impl Changes {
    fn place(&mut self, bytes: &[u8]) -> Range<usize> {
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        begin..self.bytes.len()
    }

    /// `key` gets `value`.
    pub fn put(&mut self, database: usize, key: &[u8], value: &[u8], lifetime: Lifetime) {
        let (key, value) = (self.place(key), self.place(value));
        self.placed.push(Placed::Put {
            database,
            key,
            value,
            lifetime,
            is_new: false,
        });
    }

    /// `key` goes.
    pub fn delete(&mut self, database: usize, key: &[u8]) {
        let key = self.place(key);
        self.placed.push(Placed::Delete { database, key });
    }

    /// All keys of the database go.
    pub fn clear_database(&mut self, database: usize) {
        self.placed.push(Placed::Clear { database });
    }

    /// Two databases change their numbers.
    pub fn swap(&mut self, first: usize, second: usize) {
        self.placed.push(Placed::Swap { first, second });
    }

    /// Whether nothing is to be changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many changes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.placed.len() - self.events
    }

    /// Forgets all of them.
    pub fn reset(&mut self) {
        self.placed.clear();
        self.events = 0;
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES_MAX);
    }

    /// Which events are told: others are not noted.
    pub fn set_classes(&mut self, classes: EventClasses) {
        self.classes = classes;
    }

    /// Whether events of this class are told.
    #[must_use]
    pub fn tells(&self, class: EventClasses) -> bool {
        self.classes.has(class)
    }

    /// Something happens to a key.
    pub fn event(&mut self, class: EventClasses, name: &'static str, database: usize, key: &[u8]) {
        if self.tells(class) {
            let key = self.place(key);
            self.events += 1;
            self.placed.push(Placed::Event {
                class,
                name,
                database,
                key,
            });
        }
    }

    /// The events, in their order.
    pub fn events(&self) -> impl Iterator<Item = Event<'_>> {
        let bytes = |range: &Range<usize>| &self.bytes[range.clone()];
        let new = |database: usize, key| Event {
            class: EventClasses::NEW,
            name: "new",
            database,
            key,
        };
        self.placed.iter().filter_map(move |placed| match placed {
            Placed::Put {
                database,
                key,
                is_new: true,
                ..
            } => Some(new(*database, bytes(key))),
            Placed::Event {
                class,
                name,
                database,
                key,
            } => Some(Event {
                class: *class,
                name,
                database: *database,
                key: bytes(key),
            }),
            _ => None,
        })
    }

    /// Marks those keys that get a value and aren't there yet, as `exists` says.
    ///
    /// # Errors
    /// What `exists` fails with.
    pub fn mark_new<E>(
        &mut self,
        mut exists: impl FnMut(usize, &[u8]) -> Result<bool, E>,
    ) -> Result<(), E> {
        let mut seen = HashSet::new();
        for placed in &mut self.placed {
            if let Placed::Put {
                database,
                key,
                is_new,
                ..
            } = placed
            {
                let key = &self.bytes[key.clone()];
                *is_new = seen.insert((*database, key)) && !exists(*database, key)?;
            }
        }
        Ok(())
    }

    /// The changes, in their order.
    pub fn iter(&self) -> impl Iterator<Item = Change<'_>> {
        let bytes = |range: &Range<usize>| &self.bytes[range.clone()];
        self.placed.iter().filter_map(move |placed| match placed {
            Placed::Put {
                database,
                key,
                value,
                lifetime,
                ..
            } => Some(Change::Put {
                database: *database,
                key: bytes(key),
                value: bytes(value),
                expiry_ms: lifetime.expiry_ms(),
            }),
            Placed::Delete { database, key } => Some(Change::Delete {
                database: *database,
                key: bytes(key),
            }),
            Placed::Clear { database } => Some(Change::Clear {
                database: *database,
            }),
            Placed::Swap { first, second } => Some(Change::Swap {
                first: *first,
                second: *second,
            }),
            Placed::Event { .. } => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_come_back_in_their_order() {
        let mut changes = Changes::default();
        changes.put(1, b"key", b"value", Lifetime::Until(7));
        changes.delete(0, b"other");
        let expected = [
            Change::Put {
                database: 1,
                key: b"key",
                value: b"value",
                expiry_ms: Some(7),
            },
            Change::Delete {
                database: 0,
                key: b"other",
            },
        ];
        assert!(changes.iter().eq(expected));
        changes.reset();
        assert!(changes.is_empty());
    }
}
