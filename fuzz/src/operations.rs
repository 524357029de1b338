//! The engine does what the bytes say, and a sorted map the same.
//!
//! Each operation takes a few bytes: writes, transactions, range deletes, expiry, loads,
//! flushes, steps of maintenance, snapshots that are held, clean reopening, and power cuts
//! at a numbered operation of the storage, of which any image may be left.
//!
//! # What must hold
//! What a snapshot sees is what the map held when it began, forwards, backwards and
//! counted. After a power cut everything that was acknowledged is there, and what is there
//! is a state that commits in their order led to.

use std::collections::BTreeMap;

use arbitrary::{Arbitrary, Unstructured};
use lightning_core::btree::CursorPosition;
use lightning_core::db::{Budgeted, Engine, Isolation, PutOptions};
use lightning_core::error::{Error, Result};
use lightning_core::txn::Snapshot;
use lightning_sim::{CrashMode, SimOptions, SimStorage};

use crate::support::{TABLES, create, drain, input, open, until_there_is_room};

const OPERATIONS_MAX: usize = 120;
const SNAPSHOTS_MAX: usize = 3;

/// One entry without its key.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    value: Vec<u8>,
    expiry_ms: Option<u64>,
    metadata: Option<u8>,
}

type Rows = BTreeMap<(u32, Vec<u8>), Entry>;

#[derive(Debug, Arbitrary)]
enum Operation {
    Put {
        place: Place,
        length: Length,
        expiry: Option<u8>,
    },
    Delete(Place),
    DeleteRange {
        place: Place,
        width: Option<u8>,
    },
    Transaction(Vec<(Place, Option<Length>)>, bool),
    Ingest {
        table: bool,
        first: u8,
        step: u8,
        count: u8,
        length: Length,
    },
    Flush,
    Write,
    Poll(u8),
    Freeze,
    Drain,
    Mark,
    Hold,
    Release,
    Sweep,
    Trim,
    Tick(u8),
    Check,
    Reopen,
    Cut {
        operations: u8,
        mode: u8,
        seed: u8,
    },
}

#[derive(Debug, Clone, Copy, Arbitrary)]
struct Place {
    table: bool,
    number: u8,
}

impl Place {
    fn key(number: u8) -> Vec<u8> {
        // Some are long, and share their beginning.
        match number % 8 {
            7 => [&[b'k'; 60][..], &[number]].concat(),
            6 => Vec::from([number]),
            _ => format!("key{number:03}").into_bytes(),
        }
    }

    fn of(self) -> (u32, Vec<u8>) {
        (TABLES[usize::from(self.table)], Self::key(self.number))
    }
}

#[derive(Debug, Clone, Copy, Arbitrary)]
struct Length(u8);

impl Length {
    fn value(self, mark: u8) -> Vec<u8> {
        let length = usize::from(self.0);
        vec![
            mark;
            if length > 240 {
                (length - 240) * 100
            } else {
                length / 2
            }
        ]
    }
}

/// How a run ends that a rule wasn't broken in.
enum Ended {
    /// The power went.
    PowerCut,
    /// Nothing is left to do.
    Done,
}

struct Run {
    storage: SimStorage,
    engine: Engine,
    rows: Rows,
    /// States that a power cut may leave; the first was acknowledged.
    states: Vec<Rows>,
    held: Vec<(Snapshot, Rows, u64)>,
    now_ms: u64,
    mark: u8,
    image: (CrashMode, u64),
}

/// Runs what `data` says.
pub fn run(data: &[u8]) {
    let mut bytes = Unstructured::new(data);
    let storage = SimStorage::new(SimOptions::disk(512));
    let engine = create(&storage, input(None)).expect("an empty storage takes a database");
    let mut run = Run {
        storage,
        engine,
        rows: Rows::new(),
        states: vec![Rows::new()],
        held: Vec::new(),
        now_ms: 1_000,
        mark: 0,
        image: (CrashMode::Synced, 0),
    };
    for _ in 0..OPERATIONS_MAX {
        let Ok(operation) = Operation::arbitrary(&mut bytes) else {
            break;
        };
        match run.step(&operation) {
            Ok(Ended::Done) => {}
            Ok(Ended::PowerCut) => run.recover(),
            Err(error) => panic!("{operation:?}: {error}"),
        }
        if bytes.is_empty() {
            break;
        }
    }
    run.storage.cancel_cut();
    run.recover();
    let Run {
        engine,
        storage,
        rows,
        now_ms,
        ..
    } = run;
    drain(&engine, 10_000).expect("what is there can be merged");
    assert_eq!(
        seen_by_new(&engine, now_ms),
        visible(&rows, now_ms),
        "merging changed rows"
    );
    let mut buffer = vec![0; engine.verify_buffer_bytes()];
    match engine.verify(&mut buffer, &mut |_| {}) {
        Ok(found) => assert_eq!(found.leaked_units, 0, "units leaked"),
        Err(Error::Busy) => {}
        Err(error) => panic!("verify: {error}"),
    }
    assert_eq!(storage.violations(), Vec::<String>::new());
}

impl Run {
    fn step(&mut self, operation: &Operation) -> Result<Ended> {
        let before = self.rows.clone();
        match self.act(operation) {
            Ok(()) => Ok(Ended::Done),
            Err(_) if !self.storage.has_power() => {
                // What was under way may have come through, or not.
                let after = std::mem::replace(&mut self.rows, before);
                self.states.push(after);
                Ok(Ended::PowerCut)
            }
            // Refused, and nothing done.
            Err(
                Error::OverLimit { .. }
                | Error::Conflict { .. }
                | Error::FrontFull
                | Error::LogFull
                | Error::StorageFull
                | Error::TransactionTooOld
                | Error::Busy,
            ) => {
                self.rows = before;
                Ok(Ended::Done)
            }
            Err(error) => Err(error),
        }
    }

    /// Changes the model, then the engine: who fails puts the model back.
    fn act(&mut self, operation: &Operation) -> Result<()> {
        let now_ms = self.now_ms;
        self.mark = self.mark.wrapping_add(1);
        let mark = self.mark;
        match operation {
            Operation::Put {
                place,
                length,
                expiry,
            } => {
                let (table, key) = place.of();
                let entry = Entry {
                    value: length.value(mark),
                    expiry_ms: expiry.map(|after| now_ms + 1 + u64::from(after) * 8),
                    metadata: (mark % 3 == 0).then_some(mark),
                };
                self.rows.insert((table, key.clone()), entry.clone());
                let options = PutOptions {
                    expiry_ms: entry.expiry_ms,
                    metadata: entry.metadata,
                };
                let engine = &self.engine;
                let _ = until_there_is_room(engine, || {
                    engine.put(table, &key, &entry.value, options, now_ms)
                })?;
                self.states.push(self.rows.clone());
            }
            Operation::Delete(place) => {
                let (table, key) = place.of();
                self.rows.remove(&(table, key.clone()));
                let engine = &self.engine;
                let _ = until_there_is_room(engine, || engine.delete(table, &key, now_ms))?;
                self.states.push(self.rows.clone());
            }
            Operation::DeleteRange { place, width } => {
                let (table, from) = place.of();
                let to = width.map(|width| Place::key(place.number.saturating_add(width)));
                let end = to.clone().map_or((table + 1, Vec::new()), |to| (table, to));
                let is_empty = (table, from.clone()) >= end;
                if is_empty {
                    return Ok(());
                }
                self.rows
                    .retain(|key, _| *key < (table, from.clone()) || *key >= end);
                let engine = &self.engine;
                let _ = until_there_is_room(engine, || {
                    let mut transaction = engine.begin(now_ms, Isolation::Snapshot)?;
                    let range = (&from, to.as_deref());
                    if let Err(error) =
                        engine.transaction_delete_range(&mut transaction, table, range.0, range.1)
                    {
                        engine.rollback(transaction);
                        return Err(error);
                    }
                    engine.commit(transaction, now_ms, 0)
                })?;
                self.states.push(self.rows.clone());
            }
            Operation::Transaction(writes, commits) => self.transaction(writes, *commits)?,
            Operation::Ingest {
                table,
                first,
                step,
                count,
                length,
            } => {
                let table = TABLES[usize::from(*table)];
                let keys: std::collections::BTreeSet<Vec<u8>> = (0..count % 24)
                    .filter_map(|index| first.checked_add(index.checked_mul(step % 8 + 1)?))
                    .map(Place::key)
                    .collect();
                self.ingest(table, &keys, &length.value(mark))?;
            }
            Operation::Flush => {
                self.engine.flush_step(true)?;
                self.acknowledge();
            }
            Operation::Write => {
                self.engine.flush_step(false)?;
            }
            Operation::Poll(entries) => {
                let budget = Budgeted {
                    entries: u32::from(*entries) * 4 + 1,
                    ..Budgeted::default()
                };
                self.engine.poll_maintenance(budget)?;
            }
            Operation::Freeze => {
                self.engine.freeze_front()?;
            }
            Operation::Drain => {
                let drained = drain(&self.engine, 2_000)?;
                if drained {
                    self.acknowledge();
                }
            }
            Operation::Mark => self.engine.mark()?,
            Operation::Hold => {
                if self.held.len() < SNAPSHOTS_MAX {
                    self.engine.flush_step(true)?;
                    self.acknowledge();
                    let snapshot = self.engine.snapshot(now_ms)?;
                    self.held.push((snapshot, self.rows.clone(), now_ms));
                }
            }
            Operation::Release => {
                if !self.held.is_empty() {
                    let (snapshot, rows, then_ms) = self.held.remove(0);
                    let seen = seen(&self.engine, &snapshot);
                    self.engine.end(snapshot);
                    assert_eq!(seen?, visible(&rows, then_ms), "a snapshot changed");
                }
            }
            Operation::Sweep => {
                self.engine.sweep(now_ms)?;
            }
            Operation::Trim => {
                self.engine.trim_log()?;
                self.engine.trim_pages()?;
            }
            Operation::Tick(ms) => self.now_ms += u64::from(*ms) * 4,
            Operation::Check => {
                self.engine.flush_step(true)?;
                self.acknowledge();
                let snapshot = self.engine.snapshot(now_ms)?;
                let seen = seen(&self.engine, &snapshot);
                self.engine.end(snapshot);
                assert_eq!(seen?, visible(&self.rows, now_ms), "rows differ");
            }
            Operation::Reopen => {
                self.engine.flush_step(true)?;
                self.acknowledge();
                self.image = (CrashMode::Synced, 0);
                self.recover();
            }
            Operation::Cut {
                operations,
                mode,
                seed,
            } => {
                let modes = CrashMode::EVERY;
                self.image = (modes[usize::from(*mode) % modes.len()], u64::from(*seed));
                let at = self.storage.operation_count() + u64::from(*operations);
                if seed & 1 == 0 {
                    self.storage.cut_after(at);
                } else {
                    self.storage.cut_during(at);
                }
            }
        }
        Ok(())
    }

    fn transaction(&mut self, writes: &[(Place, Option<Length>)], commits: bool) -> Result<()> {
        let (engine, now_ms, mark) = (&self.engine, self.now_ms, self.mark);
        let writes = &writes[..writes.len().min(6)];
        if commits {
            for (place, length) in writes {
                match length {
                    Some(length) => {
                        let entry = Entry {
                            value: length.value(mark),
                            expiry_ms: None,
                            metadata: None,
                        };
                        self.rows.insert(place.of(), entry);
                    }
                    None => {
                        self.rows.remove(&place.of());
                    }
                }
            }
        }
        let ticket = until_there_is_room(engine, || {
            let mut transaction = engine.begin(now_ms, Isolation::Serializable)?;
            for (place, length) in writes {
                let (table, key) = place.of();
                let outcome = match length {
                    Some(length) => {
                        let value = length.value(mark);
                        let options = PutOptions::default();
                        engine.transaction_put(&mut transaction, table, &key, &value, options)
                    }
                    None => engine.transaction_delete(&mut transaction, table, &key),
                };
                if let Err(error) = outcome {
                    engine.rollback(transaction);
                    return Err(error);
                }
            }
            if commits {
                engine.commit(transaction, now_ms, 0).map(Some)
            } else {
                engine.rollback(transaction);
                Ok(None)
            }
        })?;
        if ticket.is_some() {
            self.states.push(self.rows.clone());
        }
        Ok(())
    }

    fn ingest(
        &mut self,
        table: u32,
        keys: &std::collections::BTreeSet<Vec<u8>>,
        value: &[u8],
    ) -> Result<()> {
        if keys.is_empty() {
            return Ok(());
        }
        let engine = &self.engine;
        let mut load = until_there_is_room(engine, || engine.begin_ingest(table))?;
        for key in keys {
            self.rows.insert(
                (table, key.clone()),
                Entry {
                    value: value.to_vec(),
                    expiry_ms: None,
                    metadata: None,
                },
            );
            until_there_is_room(engine, || load.push(key, value, PutOptions::default()))?;
        }
        let _ = until_there_is_room(engine, || load.finish(self.now_ms))?;
        drop(load);
        self.states.push(self.rows.clone());
        Ok(())
    }

    /// All that was committed is on the medium.
    fn acknowledge(&mut self) {
        self.states = vec![self.rows.clone()];
    }

    /// Opens what is left, and sees which of the states it is.
    fn recover(&mut self) {
        let (mode, seed) = self.image;
        let image = self.storage.crash_image(mode, seed);
        for (snapshot, ..) in self.held.drain(..) {
            self.engine.end(snapshot);
        }
        self.engine = open(&image, input(None)).expect("what a power cut leaves is opened");
        self.storage = image;
        let seen = seen_by_new(&self.engine, self.now_ms);
        let now_ms = self.now_ms;
        let found = self
            .states
            .iter()
            .rposition(|state| visible(state, now_ms) == seen);
        let Some(found) = found else {
            panic!(
                "what is found is none of {} states: {} rows",
                self.states.len(),
                seen.len()
            );
        };
        self.rows = self.states.swap_remove(found);
        self.acknowledge();
        self.image = (CrashMode::Synced, 0);
    }
}

fn visible(rows: &Rows, now_ms: u64) -> Rows {
    let is_visible = |entry: &Entry| entry.expiry_ms.is_none_or(|expiry| expiry > now_ms);
    rows.iter()
        .filter(|(_, entry)| is_visible(entry))
        .map(|(key, entry)| (key.clone(), entry.clone()))
        .collect()
}

fn seen_by_new(engine: &Engine, now_ms: u64) -> Rows {
    let snapshot = engine.snapshot(now_ms).expect("a slot is free");
    let rows = seen(engine, &snapshot).expect("what was recovered is read");
    engine.end(snapshot);
    rows
}

/// All that a snapshot sees.
fn seen(engine: &Engine, snapshot: &Snapshot) -> Result<Rows> {
    let mut rows = Rows::new();
    for table in TABLES {
        let view = engine.view(snapshot, table, true)?;
        let mut cursor = engine.cursor(&view, true)?;
        let mut keys = Vec::new();
        cursor.seek(CursorPosition::First)?;
        while let Some(entry) = cursor.entry() {
            let mut value = vec![0; entry.value.length() as usize];
            engine.read_value(&view, entry.value, 0, &mut value)?;
            let found = engine.get(&view, entry.key, true)?;
            let found = found.expect("a cursor's key is found");
            let key = entry.key.to_vec();
            let entry = Entry {
                value,
                expiry_ms: found.expiry_ms(),
                metadata: found.metadata(),
            };
            keys.push(key.clone());
            rows.insert((table, key), entry);
            cursor.advance()?;
        }
        assert!(
            keys.is_sorted_by(|one, other| one < other),
            "keys out of order"
        );
        cursor.seek(CursorPosition::Last)?;
        while let Some(entry) = cursor.entry() {
            assert_eq!(
                Some(entry.key),
                keys.pop().as_deref(),
                "backwards it differs"
            );
            cursor.retreat()?;
        }
        assert!(keys.is_empty(), "backwards it is less");
    }
    Ok(rows)
}
