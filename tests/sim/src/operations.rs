//! Operations that are over when they return: blind writes, reads, tables, snapshots,
//! maintenance, time, and the setting of faults.

use std::sync::Arc;

use lightning_core::db::{Budgeted, Engine, Isolation, PutOptions, Ticket};
use lightning_core::error::{Error, Result};
use lightning_sim::mix;

use crate::model::{Value, Write};
use crate::plan::{Change, KeyRange, Op, Query, key};
use crate::reading::{self, Reading, Unread, name};
use crate::world::{Kept, Step, Stop, World, wrong};

const BUDGET_LOG_BYTES: u64 = 8_192;

pub fn put_options(value: &Value) -> PutOptions {
    PutOptions {
        expiry_ms: value.expiry_ms,
        metadata: value.metadata,
    }
}

/// A range's keys.
pub fn keys((first, to): KeyRange) -> (Vec<u8>, Option<Vec<u8>>) {
    (key(first), to.map(key))
}

impl World<'_> {
    pub fn perform(&mut self, op: &Op) -> Step {
        match op {
            Op::Write(change) => self.write(change),
            Op::Read(query) => self.read(query),
            Op::Begin(client, is_serializable) => self.begin(*client, *is_serializable),
            Op::InTransaction(client, change) => self.write_in(*client, change),
            Op::ReadInTransaction(client, query) => self.read_in(*client, query),
            Op::Commit(client) => self.commit(*client),
            Op::Rollback(client) => self.rollback(*client),
            Op::CreateTable(slot) => self.create_table(*slot),
            Op::DropTable(slot) => self.drop_table(*slot),
            Op::Snapshot(client) => self.keep_snapshot(*client),
            Op::ReadInSnapshot(client, query) => self.read_kept(*client, query),
            Op::EndSnapshot(client) => self.end_kept(*client),
            Op::Cursor {
                slot,
                operations,
                seed,
            } => self.rest_cursor(*slot, *operations, *seed),
            Op::Stream {
                change,
                operations,
                is_kept,
            } => self.stream(change, *operations, *is_kept),
            Op::Ingest {
                slot,
                first,
                step,
                value,
                operations,
                is_kept,
            } => self.ingest(*slot, (*first, *step, *value), *operations, *is_kept),
            Op::Load {
                slot,
                first,
                step,
                value,
            } => self.load(*slot, (*first, *step, *value)),
            Op::Flush(syncs) => self.flush(*syncs),
            Op::Poll(entries) => self.maintain(|engine| {
                let budget = Budgeted {
                    entries: *entries,
                    log_bytes: BUDGET_LOG_BYTES,
                };
                let progress = engine.poll_maintenance(budget)?;
                Ok(u64::from(progress.worked) | u64::from(progress.is_behind) << 1)
            }),
            Op::Freeze => self.maintain(|engine| engine.freeze_front().map(u64::from)),
            Op::Mark => self.maintain(|engine| engine.mark().map(|()| 0)),
            Op::Drain => self.drain(),
            Op::RenewLog => self.maintain(|engine| engine.renew_log().map(u64::from)),
            Op::TrimLog => self.maintain(|engine| engine.trim_log().map(u64::from)),
            Op::TrimPages => self.maintain(|engine| engine.trim_pages().map(u64::from)),
            Op::Sweep => self.sweep(),
            Op::Verify => self.verify(false),
            Op::Clock(step) => {
                self.now_ms = self.now_ms.saturating_add_signed(*step).clamp(1, 25_000);
                Ok(self.now_ms)
            }
            Op::Crash(cut) => {
                self.crash(*cut)?;
                Ok(0)
            }
            Op::CrashSoon(operations, is_during, cut) => {
                let storage = self.storage.inner();
                let operation = storage.operation_count() + operations;
                if *is_during {
                    storage.cut_during(operation);
                } else {
                    storage.cut_after(operation);
                }
                self.power_cut = Some(*cut);
                Ok(0)
            }
            Op::Kill(seed) => self.kill(*seed).map(|()| 0),
            Op::Close(seed) => self.close(*seed).map(|()| 0),
            Op::FailSoon(kind, nth, failure) => {
                self.storage.fail(*kind, *nth, *failure);
                self.has_fault = true;
                self.counts.faults += 1;
                Ok(0)
            }
            Op::Full(bytes) => {
                let storage = self.storage.inner();
                storage.set_capacity(storage.bytes_used() + bytes);
                self.is_full = true;
                Ok(0)
            }
            Op::Roomy => {
                let capacity = self.setup.sim.capacity_bytes;
                self.storage.inner().set_capacity(capacity);
                // What was refused while it was full may be told of once more.
                self.has_fault |= self.is_full;
                self.is_full = false;
                Ok(0)
            }
            Op::Damage(seed) => self.damage(*seed),
            Op::LieSoon(nth, loses) => {
                if *loses {
                    self.storage.lose_write(*nth);
                } else {
                    self.storage.misdirect_write(*nth);
                }
                self.lies = true;
                Ok(0)
            }
        }
    }

    /// Checks a commit's place in the order, and does it to the model.
    pub fn committed(&mut self, ticket: Ticket, writes: Vec<Write>) -> Step {
        let expected = self.model.last_sequence() + 1;
        if ticket.sequence != expected {
            let found = ticket.sequence;
            return wrong(format!("commit {expected} was given the sequence {found}"));
        }
        self.model.commit(writes);
        self.counts.commits += 1;
        Ok(ticket.sequence)
    }

    /// A table's number, as of the last commit.
    pub fn table(&self, slot: u8) -> Option<u32> {
        self.model.table(slot, self.model.last())
    }

    fn write(&mut self, change: &Change) -> Step {
        let (Change::Put(slot, ..) | Change::Delete(slot, _) | Change::DeleteRange(slot, _)) =
            change;
        let Some(table) = self.table(*slot) else {
            return Ok(0);
        };
        let now_ms = self.tell_time();
        let write = written(table, change);
        let bytes = match &write {
            Write::Put(_, _, value) => value.bytes(),
            _ => Vec::new(),
        };
        let outcome = self.until_room(|engine| match &write {
            Write::Put(table, key, value) => {
                engine.put(*table, key, &bytes, put_options(value), now_ms)
            }
            Write::Delete(table, key) => engine.delete(*table, key, now_ms),
            Write::DeleteRange(table, from, to) => {
                let mut transaction = engine.begin(now_ms, Isolation::Snapshot)?;
                let (table, to) = (*table, to.as_deref());
                match engine.transaction_delete_range(&mut transaction, table, from, to) {
                    Ok(()) => engine.commit(transaction, now_ms, 0),
                    Err(error) => {
                        engine.rollback(transaction);
                        Err(error)
                    }
                }
            }
        })?;
        match outcome {
            Ok(ticket) => self.committed(ticket, vec![write]),
            Err(error) => self.excuse(error),
        }
    }

    fn read(&mut self, query: &Query) -> Step {
        let engine = Arc::clone(&self.engine);
        let now_ms = self.tell_time();
        let snapshot = match engine.snapshot(now_ms) {
            Ok(snapshot) => snapshot,
            Err(error) => return self.excuse(error),
        };
        let moment = self.moment_of(&snapshot);
        let found = match moment {
            Ok(moment) => Ok(self.query(&engine, &snapshot, moment, query)),
            Err(stop) => Err(stop),
        };
        engine.end(snapshot);
        self.settle(found?)
    }

    /// What a new snapshot sees: all that is durable, or written, and nothing that isn't.
    pub fn moment_of(&mut self, snapshot: &lightning_core::txn::Snapshot) -> Step {
        self.note_watermarks()?;
        if snapshot.now_ms != self.time_of_snapshot() {
            let (found, expected) = (snapshot.now_ms, self.time_of_snapshot());
            return wrong(format!(
                "a snapshot has the time {found} and not {expected}"
            ));
        }
        let sequence = snapshot.sequence;
        let last = self.model.last_sequence();
        let is_sync = self.setup.options.durability == lightning_core::db::Durability::Sync;
        if sequence < self.durable || sequence > last || (is_sync && sequence > self.durable) {
            let durable = self.durable;
            return wrong(format!(
                "a snapshot sees commits up to {sequence}, of {last} and {durable} durable"
            ));
        }
        Ok(self.model.moment_of(sequence))
    }

    /// Asks in a snapshot and compares.
    fn query(
        &self,
        engine: &Engine,
        snapshot: &lightning_core::txn::Snapshot,
        moment: u64,
        query: &Query,
    ) -> Reading<u64> {
        let (Query::Get(slot, _) | Query::Scan(slot, ..) | Query::Count(slot)) = query;
        let table = self.model.table(*slot, moment);
        if engine.find_table(snapshot, &name(*slot))? != table {
            return reading::wrong("the table has another number");
        }
        let Some(table) = table else {
            return Ok(0);
        };
        let view = engine.view(snapshot, table, true)?;
        let now_ms = snapshot.now_ms;
        match query {
            Query::Get(_, number) => {
                let key = key(*number);
                let expected = self.model.row(table, &key, moment);
                let expected = expected.filter(|value| value.is_visible(now_ms));
                reading::get(engine, &view, &key, expected)
            }
            Query::Scan(_, range, backwards) => {
                let (from, to) = keys(*range);
                let rows = self.model.rows(table, &from, to.as_deref(), moment);
                let rows = reading::visible(rows, now_ms);
                reading::scan(engine, &view, (&from, to.as_deref()), *backwards, &rows)
            }
            Query::Count(_) => {
                let rows = self.model.rows(table, &[], None, moment);
                reading::count(engine, &view, &rows, now_ms)
            }
        }
    }

    fn create_table(&mut self, slot: u8) -> Step {
        let now_ms = self.tell_time();
        let mut created = 0;
        let outcome = self.until_room(|engine| {
            let mut transaction = engine.begin(now_ms, Isolation::Snapshot)?;
            match engine.transaction_create_table(&mut transaction, &name(slot)) {
                Ok(table) => {
                    created = table;
                    engine.commit(transaction, now_ms, 0)
                }
                Err(error) => {
                    engine.rollback(transaction);
                    Err(error)
                }
            }
        })?;
        match outcome {
            Ok(ticket) => {
                if self.table(slot).is_some() {
                    return wrong("a table was created that was there");
                }
                let answer = self.committed(ticket, Vec::new())?;
                self.model.name(slot, Some(created));
                Ok(mix(answer ^ u64::from(created)))
            }
            Err(Error::TableExists) if self.table(slot).is_some() => Ok(1),
            Err(error) => self.excuse(error),
        }
    }

    fn drop_table(&mut self, slot: u8) -> Step {
        let now_ms = self.tell_time();
        let outcome = self.until_room(|engine| {
            let mut transaction = engine.begin(now_ms, Isolation::Snapshot)?;
            match engine.transaction_drop_table(&mut transaction, &name(slot)) {
                Ok(()) => engine.commit(transaction, now_ms, 0),
                Err(error) => {
                    engine.rollback(transaction);
                    Err(error)
                }
            }
        })?;
        match (outcome, self.table(slot)) {
            (Ok(ticket), Some(table)) => {
                let writes = vec![Write::DeleteRange(table, Vec::new(), None)];
                let answer = self.committed(ticket, writes)?;
                self.model.name(slot, None);
                Ok(answer)
            }
            (Ok(_), None) => wrong("a table was dropped that wasn't there"),
            (Err(Error::NoSuchTable), None) => Ok(1),
            (Err(error), _) => self.excuse(error),
        }
    }

    fn keep_snapshot(&mut self, client: u8) -> Step {
        self.end_kept(client)?;
        let engine = Arc::clone(&self.engine);
        let now_ms = self.tell_time();
        let snapshot = match engine.snapshot(now_ms) {
            Ok(snapshot) => snapshot,
            Err(error) => return self.excuse(error),
        };
        match self.moment_of(&snapshot) {
            Ok(moment) => {
                self.clients[usize::from(client)].kept = Some(Kept { snapshot, moment });
                Ok(moment)
            }
            Err(stop) => {
                engine.end(snapshot);
                Err(stop)
            }
        }
    }

    fn read_kept(&mut self, client: u8, query: &Query) -> Step {
        let engine = Arc::clone(&self.engine);
        let Some(kept) = &self.clients[usize::from(client)].kept else {
            return Ok(0);
        };
        let found = self.query(&engine, &kept.snapshot, kept.moment, query);
        self.settle(found)
    }

    /// Compares all that a snapshot sees before it goes.
    pub fn end_kept(&mut self, client: u8) -> Step {
        let engine = Arc::clone(&self.engine);
        let Some(kept) = self.clients[usize::from(client)].kept.take() else {
            return Ok(0);
        };
        let found = reading::everything(&engine, &kept.snapshot, &self.model, kept.moment);
        engine.end(kept.snapshot);
        let found = found.map_err(|unread| match unread {
            Unread::Wrong(reason) => Unread::Wrong(format!("a snapshot that stayed: {reason}")),
            engine => engine,
        });
        self.settle(found)
    }

    fn flush(&mut self, syncs: bool) -> Step {
        match self.engine.flush_step(syncs) {
            Ok(_) if syncs => {
                self.note_watermarks()?;
                if self.durable < self.model.last_sequence() {
                    return wrong("a flush with a sync left commits behind");
                }
                Ok(self.durable)
            }
            Ok(_) => {
                self.written = self.model.last_sequence();
                Ok(0)
            }
            Err(error) => self.excuse(error),
        }
    }

    fn maintain(&mut self, step: impl FnOnce(&Engine) -> Result<u64>) -> Step {
        let engine = Arc::clone(&self.engine);
        match step(&engine) {
            Ok(answer) => Ok(answer),
            Err(error) => self.excuse(error),
        }
    }

    /// Merges everything, as far as snapshots and faults let it.
    pub fn drain(&mut self) -> Step {
        for round in 0..2_000 {
            let engine = Arc::clone(&self.engine);
            match engine.drain() {
                Ok(false) => return Ok(round),
                Ok(true) => {}
                Err(error) => {
                    self.excuse(error)?;
                }
            }
            if let Err(error) = engine.flush_step(true) {
                self.excuse(error)?;
            }
            self.note_watermarks()?;
            match engine.poll_maintenance(Budgeted::default()) {
                Ok(progress) if progress.worked || progress.wants_sync => {}
                Ok(_) => return Ok(round),
                Err(error) => {
                    let code = self.excuse(error)?;
                    if self.is_full {
                        return Ok(code);
                    }
                }
            }
        }
        if self.is_full {
            return Ok(0);
        }
        wrong("maintenance doesn't end")
    }

    fn sweep(&mut self) -> Step {
        let now_ms = self.tell_time();
        let swept = self.maintain(|engine| {
            let swept = engine.sweep(now_ms)?;
            Ok(u64::from(swept.worked) ^ swept.earliest_expiry_ms.unwrap_or(0) << 1)
        })?;
        let floor_ms = self.probe_floor()?;
        if floor_ms < self.floor_ms {
            return wrong("the time of snapshots went back");
        }
        self.floor_ms = floor_ms;
        Ok(swept)
    }

    /// Checks every page; and that no space is lost, where nothing is under way.
    pub fn verify(&mut self, is_quiet: bool) -> Step {
        let engine = Arc::clone(&self.engine);
        let mut buffer = vec![0; engine.verify_buffer_bytes()];
        match engine.verify(&mut buffer, &mut |_| {}) {
            Ok(found) if is_quiet && found.leaked_units > 0 => {
                wrong(format!("{} units are lost", found.leaked_units))
            }
            Ok(found) => Ok(mix(found.pages)),
            Err(Error::Busy) if is_quiet => wrong("drained, and something is under way"),
            Err(error) => self.excuse(error),
        }
    }

    /// Ends what clients have open, merges everything, and compares once more.
    pub fn finish(&mut self) -> Step<()> {
        self.storage.clear();
        self.storage.inner().cancel_cut();
        self.perform(&Op::Roomy)?;
        // What a fault has left behind: one recovery mends it.
        match self.close(self.incarnation) {
            Err(Stop::Power) => self.after_power_cut()?,
            Err(Stop::Poisoned) => self.after_poison()?,
            outcome => outcome?,
        }
        let is_honest = !self.has_lied();
        let ended = self.drain().and_then(|_| {
            if is_honest && !self.has_fault {
                self.verify(true)?;
            }
            self.compare_all("at the end")?;
            self.close(self.incarnation)
        });
        match ended {
            Err(Stop::Power | Stop::Poisoned) if is_honest => wrong("it can't be closed"),
            Err(Stop::Power | Stop::Poisoned) => Err(Stop::Found),
            outcome => outcome,
        }
    }
}

/// A change as it is to be in a table.
pub fn written(table: u32, change: &Change) -> Write {
    match change {
        Change::Put(_, number, value) => Write::Put(table, key(*number), *value),
        Change::Delete(_, number) => Write::Delete(table, key(*number)),
        Change::DeleteRange(_, range) => {
            let (from, to) = keys(*range);
            Write::DeleteRange(table, from, to)
        }
    }
}
