//! What the engine answers, and what it should have.

use lightning_core::btree::CursorPosition;
use lightning_core::db::{Engine, TableView};
use lightning_core::error::Error;
use lightning_core::txn::{MergedCursor, Snapshot, Stored};
use lightning_sim::mix;

use crate::model::{Model, Rows, Value};
use crate::plan::SLOTS;

/// Why a read isn't as it should be.
pub enum Unread {
    Engine(Error),
    Wrong(String),
}

impl From<Error> for Unread {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}

pub type Reading<T> = Result<T, Unread>;

pub fn wrong<T>(reason: impl Into<String>) -> Reading<T> {
    Err(Unread::Wrong(reason.into()))
}

/// The name of a table's slot.
pub fn name(slot: u8) -> [u8; 6] {
    [b't', b'a', b'b', b'l', b'e', b'0' + slot]
}

type Header = (Option<u64>, Option<u8>);

fn compare(
    engine: &Engine,
    view: &TableView<'_>,
    key: &[u8],
    (stored, header): (Stored<'_>, Header),
    expected: &Value,
) -> Reading<()> {
    let mut bytes = vec![0; usize::try_from(stored.length()).unwrap_or(0)];
    engine.read_value(view, stored, 0, &mut bytes)?;
    if bytes != expected.bytes() {
        return wrong(format!("\"{}\" has another value", key.escape_ascii()));
    }
    if header != (expected.expiry_ms, expected.metadata) {
        return wrong(format!("\"{}\" has another header", key.escape_ascii()));
    }
    Ok(())
}

/// Asks for one key. Answers what it was, mixed.
pub fn get(
    engine: &Engine,
    view: &TableView<'_>,
    key: &[u8],
    expected: Option<Value>,
) -> Reading<u64> {
    match engine.get(view, key, false) {
        Ok(_) | Err(Error::WouldRead) => {}
        Err(error) => return Err(error.into()),
    }
    match (engine.get(view, key, true)?, expected) {
        (None, None) => Ok(0),
        (Some(found), Some(expected)) => {
            let header = (found.expiry_ms(), found.metadata());
            compare(engine, view, key, (found.stored(), header), &expected)?;
            Ok(mix(expected.seed))
        }
        (Some(_), None) => wrong(format!("\"{}\" should not be there", key.escape_ascii())),
        (None, Some(_)) => wrong(format!("\"{}\" is missing", key.escape_ascii())),
    }
}

/// Compares where a cursor stands, inside a range, with a row or none.
pub fn cursor_at(
    engine: &Engine,
    view: &TableView<'_>,
    cursor: &MergedCursor<'_>,
    (from, to): (&[u8], Option<&[u8]>),
    expected: Option<&(Vec<u8>, Value)>,
) -> Reading<()> {
    let entry = cursor.entry();
    let entry = entry.filter(|entry| entry.key >= from && to.is_none_or(|to| entry.key < to));
    match (entry, expected) {
        (None, None) => Ok(()),
        (Some(entry), Some((key, value))) if entry.key == key => {
            let header = (entry.expiry_ms, entry.metadata);
            compare(engine, view, key, (entry.value, header), value)
        }
        (found, expected) => {
            let words = |key: Option<&[u8]>| match key {
                Some(key) => format!("on \"{}\"", key.escape_ascii()),
                None => "nowhere".to_owned(),
            };
            let found = words(found.map(|entry| entry.key));
            let expected = words(expected.map(|row| row.0.as_slice()));
            wrong(format!(
                "a cursor stands {found} and should stand {expected}"
            ))
        }
    }
}

/// Reads from a key to an exclusive end, from either side.
pub fn scan(
    engine: &Engine,
    view: &TableView<'_>,
    range: (&[u8], Option<&[u8]>),
    backwards: bool,
    expected: &Rows,
) -> Reading<u64> {
    let mut cursor = engine.cursor(view, true)?;
    let mut seen = expected.len() as u64;
    if backwards {
        let from = range.1.map_or(CursorPosition::Last, CursorPosition::Before);
        cursor.seek(from)?;
        for row in expected.iter().rev() {
            cursor_at(engine, view, &cursor, range, Some(row))?;
            seen = mix(seen ^ row.1.seed);
            cursor.retreat()?;
        }
    } else {
        cursor.seek(CursorPosition::AtOrAfter(range.0))?;
        for row in expected {
            cursor_at(engine, view, &cursor, range, Some(row))?;
            seen = mix(seen ^ row.1.seed);
            cursor.advance()?;
        }
    }
    cursor_at(engine, view, &cursor, range, None)?;
    Ok(seen)
}

/// The rows of a table that are to be seen at a time.
pub fn visible(rows: Rows, now_ms: u64) -> Rows {
    let is_visible = |(_, value): &(Vec<u8>, Value)| value.is_visible(now_ms);
    rows.into_iter().filter(is_visible).collect()
}

/// Counts a table: at least what is to be seen, at most what has expired, too.
pub fn count(engine: &Engine, view: &TableView<'_>, rows: &Rows, now_ms: u64) -> Reading<u64> {
    let found = engine.count(view)?;
    let least = rows.iter().filter(|row| row.1.is_visible(now_ms)).count() as u64;
    let most = rows.len() as u64;
    if (least..=most).contains(&found) {
        Ok(found)
    } else {
        wrong(format!(
            "{found} entries are counted, and there are {least} to {most}"
        ))
    }
}

/// Compares every name and every row of every table with a moment of the model.
pub fn everything(
    engine: &Engine,
    snapshot: &Snapshot,
    model: &Model,
    moment: u64,
) -> Reading<u64> {
    let mut seen = 0;
    let mut tables = model.tables();
    for slot in 0..SLOTS as u8 {
        let expected = model.table(slot, moment);
        if engine.find_table(snapshot, &name(slot))? != expected {
            return wrong(format!("table {slot} has another number"));
        }
        tables.extend(expected);
    }
    tables.sort_unstable();
    tables.dedup();
    for table in tables {
        let view = engine.view(snapshot, table, true)?;
        let all = model.rows(table, &[], None, moment);
        count(engine, &view, &all, snapshot.now_ms)?;
        let rows = visible(all, snapshot.now_ms);
        let words = |unread| match unread {
            Unread::Wrong(reason) => Unread::Wrong(format!("table {table}: {reason}")),
            engine => engine,
        };
        let backwards = table.is_multiple_of(2);
        let found = scan(engine, &view, (&[], None), backwards, &rows).map_err(words)?;
        seen = mix(seen ^ found);
    }
    Ok(seen)
}
