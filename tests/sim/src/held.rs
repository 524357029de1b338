//! What stays open around other operations: cursors, values written by stream, loads.

use std::sync::Arc;

use lightning_core::btree::CursorPosition;
use lightning_core::error::Error;
use lightning_core::txn::Snapshot;
use lightning_sim::Random;

use crate::model::{Rows, Value, Write};
use crate::operations::put_options;
use crate::plan::{KEYS, key};
use crate::reading;
use crate::world::{Step, World, wrong};

/// The most entries of a load.
const LOADED_MAX: usize = 40;

/// Bytes of a value that are handed over at a time.
const PART_BYTES: usize = 700;

impl World<'_> {
    pub fn rest_cursor(&mut self, slot: u8, operations: u8, seed: u64) -> Step {
        let engine = Arc::clone(&self.engine);
        let now_ms = self.tell_time();
        let snapshot = match engine.snapshot(now_ms) {
            Ok(snapshot) => snapshot,
            Err(error) => return self.excuse(error),
        };
        let outcome = self.rest_on(&snapshot, slot, operations, seed);
        engine.end(snapshot);
        outcome
    }

    fn rest_on(&mut self, snapshot: &Snapshot, slot: u8, operations: u8, seed: u64) -> Step {
        let engine = Arc::clone(&self.engine);
        let moment = self.moment_of(snapshot)?;
        let Some(table) = self.model.table(slot, moment) else {
            return Ok(0);
        };
        let rows = self.model.rows(table, &[], None, moment);
        let rows: Rows = reading::visible(rows, snapshot.now_ms);
        let opened = engine
            .view(snapshot, table, true)
            .and_then(|view| Ok((view, engine.cursor(&view, true)?)));
        let (view, mut cursor) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.excuse(error),
        };
        let incarnation = self.incarnation;
        let mut random = Random::new(seed);
        let mut at: Option<usize> = None;
        for _ in 0..operations {
            let key = key(random.below(KEYS) as u16);
            let below = rows.partition_point(|row| row.0 < key);
            let inside = |at: usize| (at < rows.len()).then_some(at);
            let (moved, now_at) = match (random.below(4), at) {
                (0, _) | (_, None) => (cursor.seek(CursorPosition::AtOrAfter(&key)), inside(below)),
                (1, _) => (
                    cursor.seek(CursorPosition::Before(&key)),
                    below.checked_sub(1),
                ),
                (2, Some(at)) => (cursor.advance(), inside(at + 1)),
                (_, Some(at)) => (cursor.retreat(), at.checked_sub(1)),
            };
            if let Err(error) = moved {
                return self.excuse(error);
            }
            at = now_at;
            self.advance(1)?;
            if self.incarnation != incarnation {
                return Ok(1);
            }
            let row = at.and_then(|at| rows.get(at));
            let stands = reading::cursor_at(&engine, &view, &cursor, (&[], None), row);
            self.settle(stands.map(|()| 0))?;
        }
        Ok(at.map_or(0, |at| at as u64))
    }

    pub fn stream(
        &mut self,
        (slot, number, value): &(u8, u16, Value),
        operations: u8,
        is_kept: bool,
    ) -> Step {
        let engine = Arc::clone(&self.engine);
        let Some(table) = self.table(*slot) else {
            return Ok(0);
        };
        let incarnation = self.incarnation;
        let bytes_max = u64::from(value.length) + value.seed % 900;
        let begun = self.until_room(|_| engine.begin_value(table, bytes_max))?;
        let mut writer = match begun {
            Ok(writer) => writer,
            Err(error) => return self.excuse(error),
        };
        let bytes = value.bytes();
        let (first, second) = bytes.split_at(bytes.len() / 2);
        for part in first.chunks(PART_BYTES) {
            if let Err(error) = writer.write(part) {
                return self.excuse(error);
            }
        }
        self.advance(operations)?;
        if self.incarnation != incarnation {
            return Ok(1);
        }
        for part in second.chunks(PART_BYTES) {
            if let Err(error) = writer.write(part) {
                return self.excuse(error);
            }
        }
        let mut whole = match writer.finish() {
            Ok(whole) => whole,
            Err(error) => return self.excuse(error),
        };
        drop(writer);
        self.advance(operations / 2)?;
        if self.incarnation != incarnation || !is_kept {
            return Ok(2);
        }
        if self.table(*slot) != Some(table) {
            return Ok(3);
        }
        let now_ms = self.tell_time();
        let key = key(*number);
        let options = put_options(value);
        let put = self.until_room(|engine| engine.put_value(&key, &mut whole, options, now_ms))?;
        match put {
            Ok(ticket) => self.committed(ticket, vec![Write::Put(table, key, *value)]),
            Err(error) => self.excuse(error),
        }
    }

    pub fn ingest(
        &mut self,
        slot: u8,
        entries: (u16, u16, Value),
        operations: u8,
        is_kept: bool,
    ) -> Step {
        let engine = Arc::clone(&self.engine);
        let Some(table) = self.table(slot) else {
            return Ok(0);
        };
        if !engine.can_ingest() {
            return Ok(0);
        }
        let incarnation = self.incarnation;
        let mut load = match engine.begin_ingest(table) {
            Ok(load) => load,
            Err(error) => return self.excuse(error),
        };
        let rows = loaded(entries);
        let mut advanced = 0;
        for (index, (key, value)) in rows.iter().enumerate() {
            let bytes = value.bytes();
            let pushed = self.until_room(|_| load.push(key, &bytes, put_options(value)))?;
            if let Err(error) = pushed {
                return self.excuse(error);
            }
            if advanced < operations && index % 4 == 3 {
                advanced += 1;
                self.advance(1)?;
                if self.incarnation != incarnation {
                    return Ok(1);
                }
            }
        }
        if !is_kept {
            return Ok(2);
        }
        let now_ms = self.tell_time();
        let finished = self.until_room(|_| load.finish(now_ms))?;
        match finished {
            Ok(ticket) => self.committed(ticket, writes(table, &rows)),
            Err(error) => self.excuse(error),
        }
    }

    /// A load straight into the tree, where nothing stands above it: there as a whole, or
    /// not at all, and durable when it returns.
    pub fn load(&mut self, slot: u8, entries: (u16, u16, Value)) -> Step {
        let engine = Arc::clone(&self.engine);
        let Some(table) = self.table(slot) else {
            return Ok(0);
        };
        // A load isn't validated against: transactions that are open would miss it.
        if self.clients.iter().any(|client| client.open.is_some()) {
            return Ok(0);
        }
        let mut load = match engine.begin_load(table) {
            Ok(load) => load,
            Err(Error::Busy) => return Ok(1),
            Err(error) => return self.excuse(error),
        };
        let rows = loaded(entries);
        for (key, value) in &rows {
            if let Err(error) = load.push(key, &value.bytes(), put_options(value)) {
                drop(load);
                return self.excuse(error);
            }
        }
        let before = self.model.last();
        match load.finish() {
            Ok(count) if count == rows.len() as u64 => {
                self.model.load(writes(table, &rows));
                Ok(count)
            }
            Ok(count) => wrong(format!("{count} entries were loaded, of {}", rows.len())),
            Err(error) => {
                if !self.storage.inner().has_power() || engine.is_poisoned() {
                    // Whether it is there shows when the database is opened again.
                    self.model.load(writes(table, &rows));
                    self.in_doubt = Some(before);
                }
                self.excuse(error)
            }
        }
    }
}

/// A load's entries, in order.
fn loaded((first, step, value): (u16, u16, Value)) -> Rows {
    let numbers = (first..KEYS as u16).step_by(usize::from(step.max(1)));
    let entry = |number: u16| {
        let seed = value.seed ^ u64::from(number);
        let length = if seed % 16 == 1 {
            value.length
        } else {
            value.length % 60
        };
        let value = Value {
            seed,
            length,
            ..value
        };
        (key(number), value)
    };
    numbers.take(LOADED_MAX).map(entry).collect()
}

fn writes(table: u32, rows: &Rows) -> Vec<Write> {
    let put = |(key, value): &(Vec<u8>, Value)| Write::Put(table, key.clone(), *value);
    rows.iter().map(put).collect()
}
