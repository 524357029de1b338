//! Keys and values in the hands of a caller.

use crate::encoding::{Key, Value};
use lightning_core::db::Value as EngineValue;
use lightning_core::txn::Stored;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

/// A value that was read: lent by the page that holds it, or a copy.
///
/// It dereferences to bytes or text in tables of those; [`value`](Self::value)
/// gives the value of any type. A lent one keeps its page in memory; the number
/// of such pages is bounded, so copy what is kept for long.
pub struct ValueGuard<'t, V> {
    place: Place<'t>,
    of: PhantomData<fn() -> V>,
}

enum Place<'t> {
    /// Only values that are not in an extent are lent.
    Lent(EngineValue<'t>),
    Copied {
        bytes: Box<[u8]>,
        expiry_ms: Option<u64>,
        metadata: Option<u8>,
    },
}

fn inline_bytes<'v>(value: &'v EngineValue<'_>) -> &'v [u8] {
    match value.stored() {
        Stored::Inline(bytes) => bytes,
        Stored::Extent(_) => &[],
    }
}

impl<'t, V: Value> ValueGuard<'t, V> {
    /// A guard of a lent value, or `None` where it is no `V`.
    pub(crate) fn lent(value: EngineValue<'t>) -> Option<Self> {
        V::read_value(inline_bytes(&value))?;
        Some(Self {
            place: Place::Lent(value),
            of: PhantomData,
        })
    }

    /// A guard of a copy, or `None` where it is no `V`.
    pub(crate) fn copied(
        bytes: Box<[u8]>,
        expiry_ms: Option<u64>,
        metadata: Option<u8>,
    ) -> Option<Self> {
        V::read_value(&bytes)?;
        Some(Self {
            place: Place::Copied {
                bytes,
                expiry_ms,
                metadata,
            },
            of: PhantomData,
        })
    }

    /// The value.
    ///
    /// # Panics
    /// Never with the types of this library; where [`Value::read_value`] of another
    /// takes bytes once and refuses them later.
    #[must_use]
    pub fn value(&self) -> V::Read<'_> {
        V::read_value(self.bytes())
            .expect("`Value::read_value` took these bytes when the guard was made")
    }

    /// The same value, independent of the transaction.
    #[must_use]
    pub fn into_owned(self) -> ValueGuard<'static, V> {
        let place = match self.place {
            Place::Lent(value) => Place::Copied {
                bytes: inline_bytes(&value).into(),
                expiry_ms: value.expiry_ms(),
                metadata: value.metadata(),
            },
            Place::Copied {
                bytes,
                expiry_ms,
                metadata,
            } => Place::Copied {
                bytes,
                expiry_ms,
                metadata,
            },
        };
        ValueGuard {
            place,
            of: PhantomData,
        }
    }
}

impl<V> ValueGuard<'_, V> {
    /// The encoded bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match &self.place {
            Place::Lent(value) => inline_bytes(value),
            Place::Copied { bytes, .. } => bytes,
        }
    }

    /// When the entry expires, in milliseconds since 1970.
    #[must_use]
    pub fn expiry_ms(&self) -> Option<u64> {
        match &self.place {
            Place::Lent(value) => value.expiry_ms(),
            Place::Copied { expiry_ms, .. } => *expiry_ms,
        }
    }

    /// The entry's metadata byte.
    #[must_use]
    pub fn metadata(&self) -> Option<u8> {
        match &self.place {
            Place::Lent(value) => value.metadata(),
            Place::Copied { metadata, .. } => *metadata,
        }
    }
}

impl Deref for ValueGuard<'_, &'static [u8]> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes()
    }
}

impl Deref for ValueGuard<'_, &'static str> {
    type Target = str;

    fn deref(&self) -> &str {
        self.value()
    }
}

impl<V: Value> fmt::Debug for ValueGuard<'_, V>
where
    for<'a> V::Read<'a>: fmt::Debug,
{
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.value(), out)
    }
}

/// A key that an iterator gave: a copy. It dereferences to bytes or text in
/// tables of those; [`key`](Self::key) gives the key of any type.
pub struct KeyGuard<K> {
    bytes: Box<[u8]>,
    of: PhantomData<fn() -> K>,
}

impl<K: Key> KeyGuard<K> {
    /// A guard of a copy, or `None` where it is no `K`.
    pub(crate) fn copied(bytes: &[u8]) -> Option<Self> {
        K::read_key(bytes)?;
        Some(Self {
            bytes: bytes.into(),
            of: PhantomData,
        })
    }

    /// The key.
    ///
    /// # Panics
    /// Never with the types of this library; where [`Key::read_key`] of another takes
    /// bytes once and refuses them later.
    #[must_use]
    pub fn key(&self) -> K::Read<'_> {
        K::read_key(&self.bytes).expect("`Key::read_key` took these bytes when the guard was made")
    }
}

impl<K> KeyGuard<K> {
    /// The encoded bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Deref for KeyGuard<&'static [u8]> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes()
    }
}

impl Deref for KeyGuard<&'static str> {
    type Target = str;

    fn deref(&self) -> &str {
        self.key()
    }
}

impl<K: Key> fmt::Debug for KeyGuard<K>
where
    for<'a> K::Read<'a>: fmt::Debug,
{
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.key(), out)
    }
}

/// An entry during a walk, lent until the walk goes on.
#[derive(Debug, Clone, Copy)]
pub struct Entry<Key, Value> {
    /// The key.
    pub key: Key,
    /// The value.
    pub value: Value,
    /// When the entry expires, in milliseconds since 1970.
    pub expiry_ms: Option<u64>,
    /// The entry's metadata byte.
    pub metadata: Option<u8>,
}
