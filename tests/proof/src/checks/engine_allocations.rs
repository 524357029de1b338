//! An open engine allocates nothing: put, delete, range delete, get, scan,
//! transactions, snapshots, flush, runs, merge, freeze and drain are counted one by one
//! over a storage that doesn't allocate either. A snapshot that stays for long has
//! runs keep older versions, and reads them.

use std::sync::Arc;

use lightning_core::btree::CursorPosition;
use lightning_core::db::{Budgeted, Engine, Isolation, PutOptions};
use lightning_core::error::{Error, Result};
use lightning_core::txn::Snapshot;
use lightning_sim::Random;

use super::{Check, Outcome, Settings};
use crate::cases::{Tally, judge};
use crate::counting::allocations;
use crate::engine::{busy_options, create_on};
use crate::plain_storage::PlainStorage;

/// The entry in the table.
pub const CHECK: Check = Check {
    name: "engine-allocations",
    about: "an open engine asks the heap for nothing",
    run,
};

fn run(settings: &Settings) -> Outcome {
    let operations = if settings.is_long { 4_000_000 } else { 200_000 };
    let tally = Tally::default();
    let verdict = judge(|| {
        let options = busy_options();
        let slot_bytes = options.segment_bytes as usize;
        let storage = PlainStorage::new(4 << 20, options.log_slots as usize, slot_bytes);
        let engine = create_on(Arc::new(storage), &options).map_err(|error| error.to_string())?;
        let mut random = Random::new(settings.seed);
        let mut held = engine.snapshot(0).map_err(|error| error.to_string())?;
        // The first ones let the process set up what it keeps for good.
        for number in 0..operations + 1_000 {
            if number % 300 == 0 {
                let before = allocations();
                let outcome = scan_on(&engine, &held, &mut random);
                engine.end(held);
                held = engine.snapshot(0).map_err(|error| error.to_string())?;
                outcome.map_err(|error| error.to_string())?;
                if allocations() > before && number >= 1_000 {
                    tally.add(number, Err("a scan of an old snapshot allocated".into()));
                }
            }
            let kind = random.below(KINDS.len() as u64) as usize;
            let before = allocations();
            (KINDS[kind].1)(&engine, &mut random).map_err(|error| error.to_string())?;
            let count = allocations() - before;
            if number >= 1_000 {
                let verdict = if count == 0 {
                    Ok(())
                } else {
                    Err(format!("{} allocated {count} times", KINDS[kind].0))
                };
                tally.add(number, verdict);
            }
        }
        engine.end(held);
        let statistics = engine.statistics();
        if statistics.store.flips < 10 {
            return Err("the run merged hardly anything".into());
        }
        Ok(())
    });
    tally.add(u64::MAX, verdict);
    tally.outcome()
}

type Operation = fn(&Engine, &mut Random) -> Result<()>;

const KINDS: [(&str, Operation); 11] = [
    ("put", put),
    ("delete", delete),
    ("get", get),
    ("scan", scan),
    ("transaction", transaction),
    ("count", count),
    ("flush", flush),
    ("maintenance", maintenance),
    ("freeze", freeze),
    ("range delete", delete_range),
    ("drain", drain),
];

struct Key([u8; 12]);

fn key(random: &mut Random) -> Key {
    let mut key = *b"key000000000";
    let mut number = random.below(3_000);
    for digit in key.iter_mut().rev().take(9) {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
    Key(key)
}

/// Without room the next flush and maintenance make some.
fn or_no_room<T>(outcome: Result<T>, engine: &Engine) -> Result<()> {
    match outcome {
        Ok(_) => Ok(()),
        Err(Error::FrontFull | Error::LogFull) => {
            flush(engine, &mut Random::new(0))?;
            maintenance(engine, &mut Random::new(0))
        }
        Err(error) => Err(error),
    }
}

fn put(engine: &Engine, random: &mut Random) -> Result<()> {
    let value = [random.below(256) as u8; 1_200];
    let length = if random.chance(1, 30) {
        1_200
    } else {
        random.below(150)
    };
    let value = &value[..length as usize];
    let outcome = engine.put(16, &key(random).0, value, PutOptions::default(), 0);
    or_no_room(outcome, engine)
}

fn delete(engine: &Engine, random: &mut Random) -> Result<()> {
    or_no_room(engine.delete(16, &key(random).0, 0), engine)
}

fn get(engine: &Engine, random: &mut Random) -> Result<()> {
    let snapshot = engine.snapshot(0)?;
    let outcome = (|| {
        let view = engine.view(&snapshot, 16, true)?;
        let mut buffer = [0; 1_200];
        if let Some(value) = engine.get(&view, &key(random).0, true)? {
            let stored = value.stored();
            let part = &mut buffer[..stored.length() as usize];
            engine.read_value(&view, stored, 0, part)?;
        }
        Ok(())
    })();
    engine.end(snapshot);
    outcome
}

fn scan(engine: &Engine, random: &mut Random) -> Result<()> {
    let snapshot = engine.snapshot(0)?;
    let outcome = scan_on(engine, &snapshot, random);
    engine.end(snapshot);
    outcome
}

fn scan_on(engine: &Engine, snapshot: &Snapshot, random: &mut Random) -> Result<()> {
    let view = engine.view(snapshot, 16, true)?;
    let mut cursor = engine.cursor(&view, true)?;
    cursor.seek(CursorPosition::AtOrAfter(&key(random).0))?;
    for _ in 0..20 {
        if !cursor.is_valid() {
            break;
        }
        if random.chance(3, 4) {
            cursor.advance()?;
        } else {
            cursor.retreat()?;
        }
    }
    Ok(())
}

fn delete_range(engine: &Engine, random: &mut Random) -> Result<()> {
    if !random.chance(1, 8) {
        return Ok(());
    }
    let (one, other) = (key(random).0, key(random).0);
    let mut to = one.min(other);
    to[10] = b'9';
    let mut transaction = engine.begin(0, Isolation::Snapshot)?;
    engine.transaction_delete_range(&mut transaction, 16, &one.min(other), Some(&to))?;
    or_no_room(engine.commit(transaction, 0, 0), engine)
}

fn drain(engine: &Engine, random: &mut Random) -> Result<()> {
    if !random.chance(1, 100) {
        return Ok(());
    }
    or_no_room(engine.drain(), engine)
}

fn transaction(engine: &Engine, random: &mut Random) -> Result<()> {
    let mut transaction = engine.begin(0, Isolation::Serializable)?;
    for _ in 0..4 {
        let Key(key) = key(random);
        let value = [7; 40];
        engine.transaction_note_read(&mut transaction, 16, &key, Some(&key))?;
        engine.transaction_put(&mut transaction, 16, &key, &value, PutOptions::default())?;
        let view = engine.transaction_view(&transaction, 16, true)?;
        engine.get(&view, &key, true)?;
    }
    or_no_room(engine.commit(transaction, 0, 0), engine)
}

fn count(engine: &Engine, random: &mut Random) -> Result<()> {
    if !random.chance(1, 50) {
        return Ok(());
    }
    let snapshot = engine.snapshot(0)?;
    let outcome = engine
        .view(&snapshot, 16, true)
        .and_then(|view| engine.count(&view));
    engine.end(snapshot);
    outcome.map(|_| ())
}

fn flush(engine: &Engine, _: &mut Random) -> Result<()> {
    match engine.flush_step(true) {
        Ok(_) | Err(Error::LogFull) => Ok(()),
        Err(error) => Err(error),
    }
}

fn maintenance(engine: &Engine, _: &mut Random) -> Result<()> {
    engine.poll_maintenance(Budgeted {
        entries: 50,
        log_bytes: 8_192,
    })?;
    Ok(())
}

fn freeze(engine: &Engine, random: &mut Random) -> Result<()> {
    if !random.chance(1, 20) {
        return engine.mark().or_else(|error| match error {
            Error::LogFull => Ok(()),
            error => Err(error),
        });
    }
    or_no_room(engine.freeze_front(), engine)
}
