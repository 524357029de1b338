//! Readers that stay: a snapshot, a cursor that rests on it and values lent from it,
//! while memtables are exchanged for runs and runs merged beneath them.

use std::thread;
use std::time::Duration;

use lightning_core::btree::CursorPosition;
use lightning_core::db::Engine;
use lightning_core::txn::Snapshot;
use lightning_sim::Random;

use super::{ACCOUNTS, EACH, Shared, TABLE, account, snapshot, sum, words};
use crate::cases::{Verdict, judge};
use crate::engine::{digest_of, whole};

pub(super) fn stay(shared: &Shared, random: &mut Random) -> Verdict {
    let engine = &shared.engine;
    let snapshot = snapshot(shared)?;
    let outcome = judge(|| stay_on(engine, &snapshot, random));
    engine.end(snapshot);
    outcome
}

fn stay_on(engine: &Engine, snapshot: &Snapshot, random: &mut Random) -> Verdict {
    let first = digest_of(engine, snapshot).map_err(words)?;
    let view = engine.view(snapshot, TABLE, true).map_err(words)?;
    let mut cursor = engine.cursor(&view, true).map_err(words)?;
    let mut rows = Vec::new();
    cursor.seek(CursorPosition::First).map_err(words)?;
    while let Some(entry) = cursor.entry() {
        let value = whole(engine, &view, entry.value).map_err(words)?;
        rows.push((entry.key.to_vec(), value));
        cursor.advance().map_err(words)?;
    }
    let is_forward = random.chance(1, 2);
    let start = if is_forward {
        CursorPosition::First
    } else {
        CursorPosition::Last
    };
    cursor.seek(start).map_err(words)?;
    let mut lent = None;
    for step in 0..rows.len() {
        let (key, value) = &rows[if is_forward {
            step
        } else {
            rows.len() - 1 - step
        }];
        let entry = cursor
            .entry()
            .ok_or("a cursor that rested ends too early")?;
        if entry.key != key || whole(engine, &view, entry.value).map_err(words)? != *value {
            return Err("a cursor that rested stands on another row".into());
        }
        if random.chance(1, 8) {
            let (key, value) = &rows[random.below(rows.len() as u64) as usize];
            let found = engine.get(&view, key, true).map_err(words)?;
            lent = Some((found.ok_or("a snapshot that stays misses a row")?, value));
        }
        if let Some((found, value)) = &lent
            && whole(engine, &view, found.stored()).map_err(words)? != **value
        {
            return Err("a lent value has changed".into());
        }
        if random.chance(1, 20) {
            lent = None;
        }
        if random.chance(1, 6) {
            thread::sleep(Duration::from_micros(random.below(400)));
        }
        let moved = if is_forward {
            cursor.advance()
        } else {
            cursor.retreat()
        };
        moved.map_err(words)?;
    }
    if cursor.is_valid() {
        return Err("a cursor that rested finds a row too many".into());
    }
    drop((lent, cursor));
    if sum(engine, snapshot).map_err(words)? != ACCOUNTS * EACH {
        return Err("the accounts don't add up in a snapshot that stays".into());
    }
    if engine
        .get(&view, &account(0), true)
        .map_err(words)?
        .is_none()
    {
        return Err("an account is gone".into());
    }
    if digest_of(engine, snapshot).map_err(words)? == first {
        Ok(())
    } else {
        Err("a snapshot that stays sees other rows".into())
    }
}
