//! Iterators over a part of a table.

use crate::encoding::{Key, Value};
use crate::error::{EncodedPart, Result};
use crate::guard::{Entry, KeyGuard, ValueGuard};
use crate::read_log::ReadLog;
use crate::room::copied;
use crate::shared::Shared;
use crate::table::{TypedTable, read_value};
use lightning_core::btree::CursorPosition;
use lightning_core::db::TableView;
use lightning_core::error::Result as EngineResult;
use lightning_core::txn::{MergedCursor, Stored, Visible};
use std::iter::FusedIterator;
use std::ops::{Bound, ControlFlow};

/// Where a range begins or ends, in encoded bytes.
pub(crate) type ByteBound = Bound<Vec<u8>>;

/// The bounds of all keys that begin with `prefix`.
pub(crate) fn prefix_bounds(prefix: &[u8]) -> (ByteBound, ByteBound) {
    let mut end = prefix.to_vec();
    while end.last() == Some(&0xFF) {
        end.pop();
    }
    let upper = match end.last_mut() {
        Some(last) => {
            *last += 1;
            Bound::Excluded(end)
        }
        None => Bound::Unbounded,
    };
    (Bound::Included(prefix.to_vec()), upper)
}

/// The first key at or behind a bound, of keys with at most `key_bytes_max`; `None`:
/// every key is before it.
pub(crate) fn first_key_from(bound: ByteBound, key_bytes_max: usize) -> Option<Vec<u8>> {
    match bound {
        Bound::Unbounded => Some(Vec::new()),
        Bound::Included(key) => Some(key),
        Bound::Excluded(mut key) if key.len() < key_bytes_max => {
            key.push(0);
            Some(key)
        }
        // Nothing longer comes between it and the next of its length.
        Bound::Excluded(key) => match prefix_bounds(&key).1 {
            Bound::Excluded(next) => Some(next),
            _ => None,
        },
    }
}

/// Notes that a part of a table is read: to a serializable transaction all of it
/// counts as read from the start.
pub(crate) fn note_read(reads: Option<&ReadLog>, table: u32, lower: &ByteBound, upper: &ByteBound) {
    if let Some(reads) = reads {
        let from = match lower {
            Bound::Unbounded => &[][..],
            Bound::Included(key) | Bound::Excluded(key) => key,
        };
        let to = match upper {
            Bound::Unbounded => None,
            Bound::Included(key) | Bound::Excluded(key) => Some(key.as_slice()),
        };
        reads.note(table, from, to);
    }
}

/// Where the cursor stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Nowhere,
    /// On the entry that the front gave last.
    Front,
    /// On the entry that the back gave last.
    Back,
    /// Both ends have met.
    Exhausted,
}

/// The entries of a part of a table, in ascending order from the front and in
/// descending order from the back.
///
/// Gives copies, since an iterator can't lend;
/// [`TableReader::for_each`](crate::TableReader::for_each) does and is faster.
/// After an error it ends.
pub struct Range<'t, K, V> {
    shared: &'t Shared,
    table: TypedTable<K, V>,
    view: TableView<'t>,
    cursor: MergedCursor<'t>,
    standing: Standing,
    lower: ByteBound,
    upper: ByteBound,
    /// Whether it may wait for the device.
    may_read: bool,
}

impl<'t, K: Key, V: Value> Range<'t, K, V> {
    pub(crate) fn new(
        shared: &'t Shared,
        table: TypedTable<K, V>,
        view: TableView<'t>,
        cursor: MergedCursor<'t>,
        (lower, upper): (ByteBound, ByteBound),
        reads: Option<&'t ReadLog>,
        may_read: bool,
    ) -> Self {
        note_read(reads, table.id(), &lower, &upper);
        Self {
            shared,
            table,
            view,
            cursor,
            standing: Standing::Nowhere,
            lower,
            upper,
            may_read,
        }
    }

    /// Moves the front on; the cursor then stands on what it gives, or `false`.
    #[inline]
    fn step_front(&mut self) -> EngineResult<bool> {
        if self.standing == Standing::Front {
            self.cursor.advance()?;
        } else if !self.begin_front()? {
            return Ok(false);
        }
        let is_inside = match self.upper {
            Bound::Unbounded => self.cursor.is_valid(),
            _ => self.key().is_some_and(|key| is_below(key, &self.upper)),
        };
        if !is_inside {
            self.standing = Standing::Exhausted;
        }
        Ok(is_inside)
    }

    /// The key that the cursor stands on.
    #[inline]
    fn key(&self) -> Option<&[u8]> {
        match self.cursor.plain_entry() {
            Some((key, _)) => Some(key),
            None => self.cursor.entry().map(|entry| entry.key),
        }
    }

    /// Puts the cursor on the front's first entry, unless both ends have met.
    fn begin_front(&mut self) -> EngineResult<bool> {
        if self.standing == Standing::Exhausted {
            return Ok(false);
        }
        self.leave_back();
        seek_front(&mut self.cursor, &self.lower)?;
        self.standing = Standing::Front;
        Ok(true)
    }

    /// Moves the back on; the cursor then stands on what it gives, or `false`.
    #[inline]
    fn step_back(&mut self) -> EngineResult<bool> {
        if self.standing == Standing::Back {
            self.cursor.retreat()?;
        } else if !self.begin_back()? {
            return Ok(false);
        }
        let is_inside = match &self.lower {
            Bound::Unbounded => self.cursor.is_valid(),
            Bound::Included(lower) => self.key().is_some_and(|key| key >= lower.as_slice()),
            Bound::Excluded(lower) => self.key().is_some_and(|key| key > lower.as_slice()),
        };
        if !is_inside {
            self.standing = Standing::Exhausted;
        }
        Ok(is_inside)
    }

    /// Puts the cursor on the back's first entry, unless both ends have met.
    fn begin_back(&mut self) -> EngineResult<bool> {
        if self.standing == Standing::Exhausted {
            return Ok(false);
        }
        self.leave_front();
        self.seek_back()?;
        self.standing = Standing::Back;
        Ok(true)
    }

    fn seek_back(&mut self) -> EngineResult<()> {
        match &self.upper {
            Bound::Unbounded => self.cursor.seek(CursorPosition::Last),
            Bound::Excluded(key) => self.cursor.seek(CursorPosition::Before(key)),
            Bound::Included(key) => {
                self.cursor.seek(CursorPosition::AtOrAfter(key))?;
                if self.cursor.entry().is_some_and(|entry| entry.key == key) {
                    return Ok(());
                }
                self.cursor.seek(CursorPosition::Before(key))
            }
        }
    }

    /// Where the cursor is to leave the last entry of the front, keeps its place.
    fn leave_front(&mut self) {
        if self.standing == Standing::Front
            && let Some(entry) = self.cursor.entry()
        {
            self.lower = Bound::Excluded(entry.key.to_vec());
        }
    }

    fn leave_back(&mut self) {
        if self.standing == Standing::Back
            && let Some(entry) = self.cursor.entry()
        {
            self.upper = Bound::Excluded(entry.key.to_vec());
        }
    }

    fn give(&mut self, stepped: EngineResult<bool>) -> Option<Result<Item<'t, K, V>>> {
        let given = match stepped {
            Ok(false) => return None,
            Ok(true) => self.item_of(self.cursor.entry()?),
            Err(error) => Err(self.shared.error(error)),
        };
        if given.is_err() {
            self.standing = Standing::Exhausted;
        }
        Some(given)
    }

    fn item_of(&self, entry: Visible<'_>) -> Result<Item<'t, K, V>> {
        let key = KeyGuard::copied(entry.key).ok_or_else(|| self.table.misfit(EncodedPart::Key))?;
        let bytes = match entry.value {
            Stored::Inline(bytes) => copied(bytes).map_err(|error| self.shared.error(error))?,
            stored @ Stored::Extent(_) => {
                let mut bytes = Vec::new();
                read_value(self.shared, &self.view, stored, self.may_read, &mut bytes)?;
                bytes.into()
            }
        };
        let value = ValueGuard::copied(bytes, entry.expiry_ms, entry.metadata)
            .ok_or_else(|| self.table.misfit(EncodedPart::Value))?;
        Ok((key, value))
    }

    /// Whether an entry is left at the front.
    pub(crate) fn has_any(&mut self) -> Result<bool> {
        self.step_front().map_err(|error| self.shared.error(error))
    }
}

/// A part of a table that is read.
pub(crate) struct Part<'r, 't, K, V> {
    pub(crate) shared: &'t Shared,
    pub(crate) table: &'r TypedTable<K, V>,
    pub(crate) view: &'r TableView<'t>,
    pub(crate) lower: ByteBound,
    pub(crate) upper: ByteBound,
    pub(crate) may_read: bool,
}

impl<K: Key, V: Value> Part<'_, '_, K, V> {
    /// Lends each entry, in ascending order, by way of a new cursor.
    pub(crate) fn walk(
        &self,
        cursor: &mut MergedCursor<'_>,
        mut visit: impl FnMut(Entry<K::Read<'_>, V::Read<'_>>) -> ControlFlow<()>,
    ) -> Result<()> {
        let failed = |error| self.shared.error(error);
        let mut large = Vec::new();
        seek_front(cursor, &self.lower).map_err(failed)?;
        while let Some(entry) = cursor.entry() {
            if !is_below(entry.key, &self.upper) {
                return Ok(());
            }
            let bytes = match entry.value {
                Stored::Inline(bytes) => bytes,
                stored @ Stored::Extent(_) => {
                    read_value(self.shared, self.view, stored, self.may_read, &mut large)?;
                    &large
                }
            };
            let (expiry_ms, metadata) = (entry.expiry_ms, entry.metadata);
            if visit(lent(self.table, entry.key, bytes, expiry_ms, metadata)?).is_break() {
                return Ok(());
            }
            while let Some((key, bytes)) = cursor.advance_plain() {
                if !is_below(key, &self.upper)
                    || visit(lent(self.table, key, bytes, None, None)?).is_break()
                {
                    return Ok(());
                }
            }
            cursor.advance().map_err(failed)?;
        }
        Ok(())
    }
}

/// Puts a cursor on the first entry at or behind a bound.
fn seek_front(cursor: &mut MergedCursor<'_>, lower: &ByteBound) -> EngineResult<()> {
    match lower {
        Bound::Unbounded => cursor.seek(CursorPosition::First),
        Bound::Included(key) => cursor.seek(CursorPosition::AtOrAfter(key)),
        Bound::Excluded(key) => {
            cursor.seek(CursorPosition::AtOrAfter(key))?;
            if cursor.entry().is_some_and(|entry| entry.key == key) {
                cursor.advance()?;
            }
            Ok(())
        }
    }
}

/// An entry as its table's types read it.
#[inline]
fn lent<'e, K: Key, V: Value>(
    table: &TypedTable<K, V>,
    key: &'e [u8],
    value: &'e [u8],
    expiry_ms: Option<u64>,
    metadata: Option<u8>,
) -> Result<Entry<K::Read<'e>, V::Read<'e>>> {
    Ok(Entry {
        key: K::read_key(key).ok_or_else(|| table.misfit(EncodedPart::Key))?,
        value: V::read_value(value).ok_or_else(|| table.misfit(EncodedPart::Value))?,
        expiry_ms,
        metadata,
    })
}

#[inline]
fn is_below(key: &[u8], upper: &ByteBound) -> bool {
    match upper {
        Bound::Unbounded => true,
        Bound::Included(upper) => key <= upper.as_slice(),
        Bound::Excluded(upper) => key < upper.as_slice(),
    }
}

/// What an iterator gives.
type Item<'t, K, V> = (KeyGuard<K>, ValueGuard<'t, V>);

impl<'t, K: Key, V: Value> Iterator for Range<'t, K, V> {
    type Item = Result<(KeyGuard<K>, ValueGuard<'t, V>)>;

    fn next(&mut self) -> Option<Self::Item> {
        let stepped = self.step_front();
        self.give(stepped)
    }
}

impl<K: Key, V: Value> DoubleEndedIterator for Range<'_, K, V> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let stepped = self.step_back();
        self.give(stepped)
    }
}

impl<K: Key, V: Value> FusedIterator for Range<'_, K, V> {}
