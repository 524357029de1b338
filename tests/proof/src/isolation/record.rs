//! Records what threads see that run transactions on one engine, with power cuts.
//!
//! Each value says which transaction wrote it. A power cut is an image of the storage
//! taken while the threads run; what they do until they notice is lost, which the checker
//! finds out by itself. The first transaction after it reads everything.
//!
//! One in twelve transactions is a load, where there are runs. It is validated against
//! nobody, as it reads nothing; the transactions that are open while it commits are
//! validated against it, so that one of them that wrote, or read, what it replaces is a
//! lost update or a skew. A load that finds no room or no turn is recorded as aborted.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread;

use lightning_core::btree::CursorPosition;
use lightning_core::db::{Budgeted, Durability, Engine, Isolation, Options, PutOptions, Ticket};
use lightning_core::error::{Error, Result};
use lightning_sim::{CrashMode, Random, SimOptions, SimStorage, mix};

use super::history::{History, Operation, Transaction, Value};
use crate::engine::{busy_options, create, open, whole};

const TABLE: u32 = 16;
const THREADS: u64 = 4;
const KEYS: u64 = 8;

/// How a history is recorded.
pub struct Plan {
    pub seed: u64,
    pub is_serializable: bool,
    pub power_cuts: u32,
    /// Transactions before each power cut, and after the last.
    pub transactions: u32,
}

struct Shared {
    engine: Engine,
    isolation: Isolation,
    epoch: u32,
    /// Transactions that may still begin in this epoch.
    left: AtomicU32,
    ends: AtomicBool,
    running: AtomicU32,
}

/// What goes on over power cuts.
#[derive(Default)]
struct Recorder {
    clock: AtomicU64,
    ids: AtomicU32,
    done: Mutex<Vec<(u32, Transaction)>>,
}

impl Recorder {
    fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    fn add(&self, id: u32, transaction: Transaction) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.push((id, transaction));
    }
}

/// Runs the threads and answers what they recorded.
pub fn record(plan: &Plan) -> std::result::Result<History, String> {
    let mut random = Random::new(plan.seed);
    let options = Options {
        transactions: 6,
        snapshots: 16,
        cursors: 12,
        reader_slots: 6,
        read_set_bytes: 2 << 10,
        memtable_bytes: 6 << 10,
        transaction_bytes: 2_045,
        durability: if random.chance(1, 2) {
            Durability::Sync
        } else {
            Durability::Written
        },
        runs: 2 * random.below(3) as u32,
        ..busy_options()
    };
    let words = |error: Error| error.to_string();
    let recorder = Recorder::default();
    let mut history = History::default();
    let mut storage = SimStorage::new(SimOptions::disk(512));
    for epoch in 0..=plan.power_cuts {
        let engine = if epoch == 0 {
            create(&storage, &options)
        } else {
            open(&storage, &options)
        };
        let shared = Shared {
            engine: engine.map_err(words)?,
            isolation: if plan.is_serializable {
                Isolation::Serializable
            } else {
                Isolation::Snapshot
            },
            epoch,
            left: AtomicU32::new(plan.transactions),
            ends: AtomicBool::new(false),
            running: AtomicU32::new(THREADS as u32),
        };
        if epoch > 0 {
            first(&shared, &recorder).map_err(|error| format!("first: {error}"))?;
        }
        let image = thread::scope(|scope| {
            let writers: Vec<_> = (0..THREADS)
                .map(|number| {
                    let random = Random::new(mix(plan.seed ^ mix(u64::from(epoch) << 8 | number)));
                    let (shared, recorder) = (&shared, &recorder);
                    scope.spawn(move || work(shared, recorder, random))
                })
                .collect();
            let shared = &shared;
            let keeper = scope.spawn(move || maintain(shared));
            let image = (epoch < plan.power_cuts).then(|| {
                let at = random.below(u64::from(plan.transactions)) as u32;
                while shared.left.load(Ordering::SeqCst) > at
                    && shared.running.load(Ordering::SeqCst) > 0
                {
                    thread::yield_now();
                }
                let crashed_at = recorder.now();
                let mode = CrashMode::EVERY[random.below(7) as usize];
                let image = storage.crash_image(mode, mix(plan.seed ^ crashed_at));
                shared.ends.store(true, Ordering::SeqCst);
                (crashed_at, image)
            });
            let mut outcome = Ok(image);
            for thread in writers.into_iter().chain([keeper]) {
                match thread.join() {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => outcome = Err(error),
                    Err(_) => outcome = Err("a thread panics".to_owned()),
                }
            }
            outcome
        })?;
        if let Some((crashed_at, image)) = image {
            history.crashes.push(crashed_at);
            storage = image;
        } else {
            first(&shared, &recorder).map_err(|error| format!("last: {error}"))?;
        }
    }
    let mut done = recorder
        .done
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(id, _)| *id);
    history.transactions = done
        .into_iter()
        .map(|(_, transaction)| transaction)
        .collect();
    Ok(history)
}

fn name(key: u32) -> Vec<u8> {
    format!("key{key:02}").into_bytes()
}

/// Reads everything: the first transaction after a power cut, and the last of all.
fn first(shared: &Shared, recorder: &Recorder) -> Result<()> {
    let id = recorder.ids.fetch_add(1, Ordering::SeqCst);
    let begun_at = recorder.now();
    let transaction = shared.engine.begin(0, shared.isolation)?;
    let seen = range(&shared.engine, &transaction, 0, KEYS as u32);
    let snapshot = transaction.sequence();
    shared.engine.rollback(transaction);
    let (from, to, seen) = (0, KEYS as u32, seen?);
    let recorded = Transaction {
        epoch: shared.epoch,
        begun_at,
        ended_at: recorder.now(),
        snapshot: Some(snapshot),
        is_recovery: true,
        operations: vec![Operation::Range { from, to, seen }],
        ..Transaction::default()
    };
    recorder.add(id, recorded);
    Ok(())
}

fn value_of(bytes: &[u8]) -> Value {
    let word = |at: usize| {
        let bytes = bytes
            .get(at..at + 4)
            .and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(u32::MAX, u32::from_le_bytes)
    };
    Value {
        writer: word(0),
        number: word(4),
    }
}

fn range(
    engine: &Engine,
    transaction: &lightning_core::db::Transaction,
    from: u32,
    to: u32,
) -> Result<Vec<(u32, Value)>> {
    let view = engine.transaction_view(transaction, TABLE, true)?;
    let mut cursor = engine.cursor(&view, true)?;
    cursor.seek(CursorPosition::AtOrAfter(&name(from)))?;
    let mut seen = Vec::new();
    while let Some(entry) = cursor.entry() {
        if entry.key >= name(to).as_slice() {
            break;
        }
        let key = (0..KEYS as u32).find(|key| name(*key) == entry.key);
        let bytes = whole(engine, &view, entry.value)?;
        seen.push((key.unwrap_or(u32::MAX), value_of(&bytes)));
        cursor.advance()?;
    }
    Ok(seen)
}

fn work(
    shared: &Shared,
    recorder: &Recorder,
    mut random: Random,
) -> std::result::Result<(), String> {
    let mut outcome = Ok(());
    while !shared.ends.load(Ordering::SeqCst) {
        let left = shared
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            });
        if left.is_err() {
            break;
        }
        let done = if shared.engine.can_ingest() && random.chance(1, 12) {
            load(shared, recorder, &mut random)
        } else {
            transact(shared, recorder, &mut random)
        };
        outcome = done.map_err(|error| error.to_string());
        if outcome.is_err() {
            shared.ends.store(true, Ordering::SeqCst);
        }
    }
    shared.running.fetch_sub(1, Ordering::SeqCst);
    outcome
}

/// One transaction, recorded whether it commits or not.
fn transact(shared: &Shared, recorder: &Recorder, random: &mut Random) -> Result<()> {
    let engine = &shared.engine;
    let mut recorded = Transaction {
        epoch: shared.epoch,
        begun_at: recorder.now(),
        ..Transaction::default()
    };
    let mut transaction = engine.begin(0, shared.isolation)?;
    let id = recorder.ids.fetch_add(1, Ordering::SeqCst);
    recorded.snapshot = Some(transaction.sequence());
    let mut outcome = Ok(());
    for number in 0..1 + random.below(5) as u32 {
        match operate(
            shared,
            &mut transaction,
            random,
            Value { writer: id, number },
        ) {
            Ok(operations) => recorded.operations.extend(operations),
            Err(error) => {
                outcome = Err(error);
                break;
            }
        }
        if random.chance(1, 2) {
            thread::yield_now();
        }
    }
    let mut ticket = None;
    if outcome.is_err() || random.chance(1, 12) {
        engine.rollback(transaction);
    } else {
        match engine.commit(transaction, 0, 0) {
            Ok(committed) => ticket = Some(committed),
            Err(Error::FrontFull | Error::LogFull) => thread::yield_now(),
            Err(error) if error.is_retryable() => {}
            Err(error) => outcome = Err(error),
        }
    }
    note_end(shared, recorder, random, (id, recorded), ticket)?;
    outcome
}

/// Records a transaction that has ended, with `ticket` where it committed; makes a third of
/// those durable.
fn note_end(
    shared: &Shared,
    recorder: &Recorder,
    random: &mut Random,
    (id, mut recorded): (u32, Transaction),
    ticket: Option<Ticket>,
) -> Result<()> {
    recorded.ended_at = recorder.now();
    recorded.committed = ticket.map(|ticket| ticket.sequence);
    if let Some(ticket) = ticket.filter(|_| random.chance(1, 3)) {
        acknowledge(shared, ticket)?;
        recorded.acknowledged_at = Some(recorder.now());
    }
    recorder.add(id, recorded);
    Ok(())
}

/// One load of keys that ascend, recorded whether it commits or not.
fn load(shared: &Shared, recorder: &Recorder, random: &mut Random) -> Result<()> {
    let mut recorded = Transaction {
        epoch: shared.epoch,
        begun_at: recorder.now(),
        is_load: true,
        ..Transaction::default()
    };
    let id = recorder.ids.fetch_add(1, Ordering::SeqCst);
    let keys = (0..KEYS as u32).filter(|_| random.chance(1, 2));
    let operations: Vec<Operation> = keys
        .zip(0..)
        .map(|(key, number)| Operation::Write {
            key,
            number: Some(number),
        })
        .collect();
    let ticket = loaded(shared, id, &operations)?;
    recorded.operations = operations;
    note_end(shared, recorder, random, (id, recorded), ticket)
}

/// Loads what the operations write; none where it gave up.
fn loaded(shared: &Shared, id: u32, operations: &[Operation]) -> Result<Option<Ticket>> {
    if operations.is_empty() {
        return Ok(None);
    }
    let Some(mut load) = patiently(shared, || shared.engine.begin_ingest(TABLE))? else {
        return Ok(None);
    };
    for operation in operations {
        if let Operation::Write {
            key,
            number: Some(number),
        } = operation
        {
            let bytes = [id.to_le_bytes(), number.to_le_bytes()].concat();
            let put = PutOptions::default();
            if patiently(shared, || load.push(&name(*key), &bytes, put))?.is_none() {
                return Ok(None);
            }
        }
        thread::yield_now();
    }
    patiently(shared, || load.finish(0))
}

/// Tries again while another has the turn or room is made; none where that takes too long.
fn patiently<T>(shared: &Shared, mut step: impl FnMut() -> Result<T>) -> Result<Option<T>> {
    for _ in 0..2_000 {
        match step() {
            Ok(done) => return Ok(Some(done)),
            Err(Error::Busy | Error::FrontFull | Error::LogFull | Error::StorageFull) => {}
            Err(error) => return Err(error),
        }
        flush(&shared.engine)?;
        thread::yield_now();
    }
    Ok(None)
}

/// Does one operation. A range delete is recorded as what it means: a delete of every key
/// in the range.
fn operate(
    shared: &Shared,
    transaction: &mut lightning_core::db::Transaction,
    random: &mut Random,
    value: Value,
) -> Result<Vec<Operation>> {
    let engine = &shared.engine;
    let key = random.below(KEYS) as u32;
    match random.below(9) {
        0..=2 => {
            engine.transaction_note_read(transaction, TABLE, &name(key), Some(&name(key)))?;
            let view = engine.transaction_view(transaction, TABLE, true)?;
            let found = engine.get(&view, &name(key), true)?;
            let bytes = found
                .map(|found| whole(engine, &view, found.stored()))
                .transpose()?;
            let seen = bytes.map(|bytes| value_of(&bytes));
            Ok(vec![Operation::Read { key, seen }])
        }
        3 => {
            let to = key + 1 + random.below(4) as u32;
            engine.transaction_note_read(transaction, TABLE, &name(key), Some(&name(to)))?;
            let seen = range(engine, transaction, key, to)?;
            Ok(vec![Operation::Range {
                from: key,
                to,
                seen,
            }])
        }
        4 => {
            engine.transaction_delete(transaction, TABLE, &name(key))?;
            Ok(vec![Operation::Write { key, number: None }])
        }
        5 => {
            let to = (key + 1 + random.below(3) as u32).min(KEYS as u32);
            engine.transaction_delete_range(transaction, TABLE, &name(key), Some(&name(to)))?;
            let deleted = |key| Operation::Write { key, number: None };
            Ok((key..to).map(deleted).collect())
        }
        _ => {
            let mut bytes = [value.writer.to_le_bytes(), value.number.to_le_bytes()].concat();
            bytes.resize(8 + random.below(120) as usize, 0);
            let put = PutOptions::default();
            engine.transaction_put(transaction, TABLE, &name(key), &bytes, put)?;
            let number = Some(value.number);
            Ok(vec![Operation::Write { key, number }])
        }
    }
}

/// Waits until a commit survives a power cut.
fn acknowledge(shared: &Shared, ticket: Ticket) -> Result<()> {
    while !shared.engine.is_durable(ticket)? {
        flush(&shared.engine)?;
        thread::yield_now();
    }
    Ok(())
}

fn flush(engine: &Engine) -> Result<()> {
    match engine.flush_step(true) {
        Ok(_) | Err(Error::Busy | Error::LogFull) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Flushes and merges for as long as others write.
fn maintain(shared: &Shared) -> std::result::Result<(), String> {
    let engine = &shared.engine;
    let budget = Budgeted {
        entries: 64,
        log_bytes: 16 << 10,
    };
    while shared.running.load(Ordering::SeqCst) > 0 {
        match engine.poll_maintenance(budget) {
            Ok(progress) if progress.wants_sync => {
                flush(engine).map_err(|error| error.to_string())?
            }
            Ok(_) | Err(Error::Busy) => {}
            Err(error) => return Err(format!("maintenance: {error}")),
        }
        thread::yield_now();
    }
    Ok(())
}
