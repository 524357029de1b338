//! Real threads on one engine: transfers between accounts, counters, blind puts, range
//! deletes, loads that become runs, readers that check what always holds, a flusher and maintenance. Memtables
//! are small, so that they are exchanged for runs all the time.
//!
//! The amounts in all accounts add up to the same in every snapshot; a snapshot
//! read again is the same, however long it stays, and so are a resting cursor's entry and
//! a lent value; an acknowledged commit is read by every later snapshot; and after
//! reopening the counters are as many as commits succeeded, and no space is lost.

use std::process::exit;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use lightning_core::db::{
    Budgeted, Durability, Engine, Isolation, Options, PutOptions, Ticket, Transaction,
};
use lightning_core::error::{Error, Limit};
use lightning_core::txn::Snapshot;
use lightning_sim::{CrashMode, Random, SimOptions, SimStorage, mix};

use super::{Check, Outcome, Settings};
use crate::cases::{Tally, Verdict, judge};
use crate::engine::{
    busy_options, create, digest_of, drain, drain_and_verify, make_room, open, whole,
};

mod stay;

/// The entry in the table.
pub const CHECK: Check = Check {
    name: "engine-threads",
    about: "threads that write, read, flush and merge at once see what they may",
    run,
};

const TABLE: u32 = 16;
const ACCOUNTS: u64 = 40;
const EACH: u64 = 1_000;
const WRITERS: u64 = 4;

struct Shared {
    engine: Engine,
    ends: AtomicBool,
    tally: Tally,
    counted: AtomicU64,
    loads: AtomicU64,
    /// What each thread does that hasn't ended.
    running: Mutex<Vec<&'static str>>,
}

/// How long a thread may take to end once it was told to.
const ENDS_WITHIN: Duration = Duration::from_secs(30);

fn run(settings: &Settings) -> Outcome {
    let seconds = if settings.is_long { 240 } else { 6 };
    let runs = [
        (Durability::Sync, 2),
        (Durability::Written, 4),
        (Durability::Sync, 0),
    ];
    let mut cases = 0;
    let mut bad = 0;
    let mut first_bad = None;
    for (index, (durability, runs)) in runs.into_iter().enumerate() {
        let seed = mix(settings.seed ^ index as u64);
        let lasts = Duration::from_secs(seconds) / 3;
        let outcome = one_run(seed, durability, runs, lasts);
        cases += outcome.cases;
        bad += outcome.bad;
        first_bad = first_bad.or(outcome.first_bad);
    }
    Outcome {
        cases,
        bad,
        first_bad,
        note: None,
    }
}

fn one_run(seed: u64, durability: Durability, runs: u32, lasts: Duration) -> Outcome {
    let options = Options {
        cache_bytes: 64 << 10,
        memtable_bytes: if runs > 0 { 8 << 10 } else { 32 << 10 },
        transactions: 6,
        snapshots: 16,
        cursors: 12,
        reader_slots: 6,
        // A reader that stays keeps what is replaced meanwhile: loads and merges come as
        // fast as they can.
        file_bytes_max: 256 << 20,
        durability,
        runs,
        ..busy_options()
    };
    let storage = SimStorage::new(SimOptions::disk(512));
    let engine = match create(&storage, &options) {
        Ok(engine) => engine,
        Err(error) => return failed(error.to_string()),
    };
    let shared = Arc::new(Shared {
        engine,
        ends: AtomicBool::new(false),
        tally: Tally::default(),
        counted: AtomicU64::new(0),
        loads: AtomicU64::new(0),
        running: Mutex::default(),
    });
    if let Err(reason) = judge(|| set_up(&shared.engine)) {
        return failed(reason);
    }
    thread::scope(|scope| {
        for number in 0..WRITERS {
            let random = Random::new(mix(seed ^ number));
            loop_on(scope, &shared, "write", random, move |shared, random| {
                write(shared, random, number)
            });
        }
        for number in 0..2 {
            let random = Random::new(mix(seed ^ (100 + number)));
            loop_on(scope, &shared, "read", random, |shared, _| read(shared));
        }
        for number in 0..2 {
            let random = Random::new(mix(seed ^ (200 + number)));
            // Without runs a reader that stays holds writers up.
            if runs > 0 {
                loop_on(scope, &shared, "stay", random, stay::stay);
            }
        }
        if runs > 0 {
            let random = Random::new(mix(seed ^ 300));
            loop_on(scope, &shared, "load", random, load);
        }
        for syncs in [true, false] {
            let random = Random::new(seed);
            loop_on(scope, &shared, "flush", random, move |shared, _| {
                flush(&shared.engine, syncs)?;
                thread::yield_now();
                Ok(())
            });
        }
        loop_on(
            scope,
            &shared,
            "maintain",
            Random::new(seed),
            |shared, random| maintain(&shared.engine, random),
        );
        let start = Instant::now();
        while start.elapsed() < lasts {
            thread::sleep(Duration::from_millis(20));
        }
        shared.ends.store(true, Ordering::SeqCst);
        let start = Instant::now();
        while !running(&shared).is_empty() {
            thread::sleep(Duration::from_millis(5));
            if start.elapsed() > ENDS_WITHIN {
                // A thread that hangs can't be ended, and its scope would wait for it.
                println!("engine-threads cases {} bad 1", shared.tally.cases());
                let left = running(&shared).join(", ");
                println!("  first bad case: seed {seed}: a call never returns: {left}");
                exit(1);
            }
        }
    });
    let verdict = judge(|| at_the_end(&shared, &storage, &options));
    shared.tally.add(u64::MAX, verdict);
    shared.tally.outcome()
}

fn running(shared: &Shared) -> MutexGuard<'_, Vec<&'static str>> {
    shared
        .running
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
}

fn failed(reason: String) -> Outcome {
    Outcome {
        cases: 1,
        bad: 1,
        first_bad: Some(reason),
        note: None,
    }
}

fn loop_on<'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    shared: &Arc<Shared>,
    what: &'static str,
    mut random: Random,
    step: impl Fn(&Shared, &mut Random) -> Verdict + Send + 'scope,
) {
    let shared = Arc::clone(shared);
    running(&shared).push(what);
    scope.spawn(move || {
        let mut number = 0;
        while !shared.ends.load(Ordering::SeqCst) {
            let verdict = judge(|| step(&shared, &mut random));
            let is_bad = verdict.is_err();
            shared.tally.add(number, verdict);
            number += 1;
            if is_bad {
                shared.ends.store(true, Ordering::SeqCst);
            }
        }
        let mut running = running(&shared);
        if let Some(at) = running.iter().position(|running| *running == what) {
            running.remove(at);
        }
    });
}

fn words(error: Error) -> String {
    error.to_string()
}

fn account(number: u64) -> Vec<u8> {
    format!("account{number:04}").into_bytes()
}

fn set_up(engine: &Engine) -> Verdict {
    for number in 0..ACCOUNTS {
        let put = || {
            let options = PutOptions::default();
            engine.put(TABLE, &account(number), &EACH.to_le_bytes(), options, 0)
        };
        while let Err(error) = put() {
            make_room(engine, error).map_err(words)?;
        }
        engine.flush_step(true).map_err(words)?;
    }
    Ok(())
}

fn flush(engine: &Engine, syncs: bool) -> Verdict {
    match engine.flush_step(syncs) {
        Ok(_) | Err(Error::Busy | Error::LogFull) => Ok(()),
        Err(error) => Err(format!("flush: {error}")),
    }
}

fn maintain(engine: &Engine, random: &mut Random) -> Verdict {
    if random.chance(1, 400) {
        match engine.freeze_front() {
            Ok(_) | Err(Error::FrontFull) => {}
            Err(error) => return Err(format!("freeze: {error}")),
        }
    }
    if random.chance(1, 2_000) {
        match engine.drain() {
            Ok(_) | Err(Error::FrontFull) => {}
            Err(error) => return Err(format!("drain: {error}")),
        }
    }
    let budget = Budgeted {
        entries: 64,
        log_bytes: 16 << 10,
    };
    match engine.poll_maintenance(budget) {
        Ok(progress) if progress.wants_sync => flush(engine, true),
        Ok(progress) => {
            if !progress.worked {
                thread::yield_now();
            }
            Ok(())
        }
        Err(Error::Busy) => Ok(()),
        Err(error) => {
            let statistics = engine.statistics();
            Err(format!("maintenance: {error}; {statistics:?}"))
        }
    }
}

/// One commit, tried again as often as it takes.
fn write(shared: &Shared, random: &mut Random, writer: u64) -> Verdict {
    let engine = &shared.engine;
    let ticket = match random.below(13) {
        0..=3 => transfer(shared, random)?,
        4..=7 => count(shared)?,
        8 if random.chance(1, 3) => {
            let first = random.below(200);
            let from = format!("blind{writer}-{first:04}").into_bytes();
            let to = format!("blind{writer}-{:04}", first + 1 + random.below(60)).into_bytes();
            transact(shared, |transaction| {
                engine.transaction_delete_range(transaction, TABLE, &from, Some(&to))
            })?
        }
        _ => {
            let key = format!("blind{writer}-{:04}", random.below(200)).into_bytes();
            let longest = if random.chance(1, 12) { 1_400 } else { 200 };
            let value = vec![random.below(256) as u8; random.below(longest) as usize];
            let put = PutOptions::default();
            until_room(shared, || engine.put(TABLE, &key, &value, put, 0))?
        }
    };
    let Some(ticket) = ticket.filter(|_| random.chance(1, 4)) else {
        return Ok(());
    };
    while !engine.is_durable(ticket).map_err(words)? {
        flush(engine, true)?;
        thread::yield_now();
        if shared.ends.load(Ordering::SeqCst) {
            return Ok(());
        }
    }
    let snapshot = snapshot(shared)?;
    let seen = snapshot.sequence;
    engine.end(snapshot);
    if seen < ticket.sequence {
        return Err("an acknowledged commit is not read".into());
    }
    Ok(())
}

/// Tries until there is room, or the run ends.
fn until_room(
    shared: &Shared,
    mut attempt: impl FnMut() -> Result<Ticket, Error>,
) -> Result<Option<Ticket>, String> {
    while !shared.ends.load(Ordering::SeqCst) {
        match attempt() {
            Ok(ticket) => return Ok(Some(ticket)),
            Err(Error::FrontFull | Error::LogFull) => thread::yield_now(),
            Err(error) => return Err(format!("commit: {error}")),
        }
    }
    Ok(None)
}

fn snapshot(shared: &Shared) -> Result<Snapshot, String> {
    loop {
        match shared.engine.snapshot(0) {
            Ok(snapshot) => return Ok(snapshot),
            Err(Error::OverLimit { .. }) => thread::yield_now(),
            Err(error) => return Err(error.to_string()),
        }
    }
}

fn read_number(engine: &Engine, transaction: &Transaction, key: &[u8]) -> Result<u64, Error> {
    let view = engine.transaction_view(transaction, TABLE, true)?;
    let value = engine.get(&view, key, true)?;
    let number = value.and_then(|value| value.stored().inline()?.try_into().ok());
    Ok(number.map_or(0, u64::from_le_bytes))
}

/// Runs a transaction until it commits; `None` when the run ends before.
fn transact(
    shared: &Shared,
    body: impl Fn(&mut Transaction) -> Result<(), Error>,
) -> Result<Option<Ticket>, String> {
    let engine = &shared.engine;
    loop {
        if shared.ends.load(Ordering::SeqCst) {
            return Ok(None);
        }
        let mut transaction = match engine.begin(0, Isolation::Snapshot) {
            Ok(transaction) => transaction,
            Err(Error::OverLimit {
                limit: Limit::Snapshots,
                ..
            }) => {
                thread::yield_now();
                continue;
            }
            Err(error) => return Err(format!("begin: {error}")),
        };
        if let Err(error) = body(&mut transaction) {
            engine.rollback(transaction);
            return Err(format!("in a transaction: {error}"));
        }
        match engine.commit(transaction, 0, 0) {
            Ok(ticket) => return Ok(Some(ticket)),
            Err(error) if error.is_retryable() => thread::yield_now(),
            Err(error) => return Err(format!("commit: {error}")),
        }
    }
}

fn transfer(shared: &Shared, random: &mut Random) -> Result<Option<Ticket>, String> {
    let from = account(random.below(ACCOUNTS));
    let to = account(random.below(ACCOUNTS));
    if from == to {
        return Ok(None);
    }
    let engine = &shared.engine;
    let put = PutOptions::default();
    transact(shared, |transaction| {
        let (have, has) = (
            read_number(engine, transaction, &from)?,
            read_number(engine, transaction, &to)?,
        );
        let amount = have.min(7);
        let (have, has) = ((have - amount).to_le_bytes(), (has + amount).to_le_bytes());
        engine.transaction_put(transaction, TABLE, &from, &have, put)?;
        engine.transaction_put(transaction, TABLE, &to, &has, put)
    })
}

fn count(shared: &Shared) -> Result<Option<Ticket>, String> {
    let engine = &shared.engine;
    let ticket = transact(shared, |transaction| {
        let number = read_number(engine, transaction, b"counter")? + 1;
        let put = PutOptions::default();
        engine.transaction_put(transaction, TABLE, b"counter", &number.to_le_bytes(), put)
    })?;
    if ticket.is_some() {
        shared.counted.fetch_add(1, Ordering::SeqCst);
    }
    Ok(ticket)
}

/// Loads a set of keys as a whole, all with one value: they are the same in every snapshot.
fn load(shared: &Shared, random: &mut Random) -> Verdict {
    let engine = &shared.engine;
    let mut load = match engine.begin_ingest(TABLE) {
        Ok(load) => load,
        Err(error) => return Err(format!("begin a load: {error}")),
    };
    let longest = if random.chance(1, 4) { 1_400 } else { 40 };
    let mut value = vec![0; 8 + random.below(longest) as usize];
    random.fill(&mut value);
    let is_dropped = random.chance(1, 6);
    for number in 0..LOADED {
        while let Err(error) = load.push(&loaded(number), &value, PutOptions::default()) {
            if error != Error::Busy {
                return Err(format!("load: {error}"));
            }
            thread::yield_now();
            if shared.ends.load(Ordering::SeqCst) {
                return Ok(());
            }
        }
    }
    if is_dropped {
        return Ok(());
    }
    loop {
        match load.finish(0) {
            Ok(_) => break,
            Err(Error::Busy | Error::FrontFull | Error::LogFull) => thread::yield_now(),
            Err(error) => return Err(format!("finish a load: {error}")),
        }
        if shared.ends.load(Ordering::SeqCst) {
            return Ok(());
        }
    }
    shared.loads.fetch_add(1, Ordering::SeqCst);
    Ok(())
}

const LOADED: u64 = 30;

fn loaded(number: u64) -> Vec<u8> {
    // Between the keys that others write.
    format!("blindload-{number:04}").into_bytes()
}

/// Whether a snapshot sees a load whole, and no mixture of two.
fn check_loaded(engine: &Engine, snapshot: &Snapshot) -> Verdict {
    let view = engine.view(snapshot, TABLE, true).map_err(words)?;
    let mut first: Option<Option<Vec<u8>>> = None;
    for number in 0..LOADED {
        let value = engine.get(&view, &loaded(number), true).map_err(words)?;
        let value = value
            .map(|value| whole(engine, &view, value.stored()))
            .transpose()
            .map_err(words)?;
        if first.as_ref().is_some_and(|first| *first != value) {
            return Err("a snapshot sees a part of a load".into());
        }
        first = Some(value);
    }
    Ok(())
}

fn sum(engine: &Engine, snapshot: &Snapshot) -> Result<u64, Error> {
    let view = engine.view(snapshot, TABLE, true)?;
    let mut sum = 0;
    for number in 0..ACCOUNTS {
        let value = engine.get(&view, &account(number), true)?;
        let bytes = value.and_then(|value| value.stored().inline()?.try_into().ok());
        sum += bytes.map_or(0, u64::from_le_bytes);
    }
    Ok(sum)
}

fn read(shared: &Shared) -> Verdict {
    let engine = &shared.engine;
    let snapshot = snapshot(shared)?;
    let outcome = judge(|| {
        let first = digest_of(engine, &snapshot).map_err(words)?;
        let sum = sum(engine, &snapshot).map_err(words)?;
        if sum != ACCOUNTS * EACH {
            return Err(format!("the accounts add up to {sum}"));
        }
        check_loaded(engine, &snapshot)?;
        thread::yield_now();
        if digest_of(engine, &snapshot).map_err(words)? != first {
            return Err("a snapshot read twice differs".into());
        }
        Ok(())
    });
    engine.end(snapshot);
    outcome
}

fn at_the_end(shared: &Shared, storage: &SimStorage, options: &Options) -> Verdict {
    let engine = &shared.engine;
    if engine.is_poisoned() {
        return Err("the engine is poisoned".into());
    }
    if options.runs > 0 && shared.loads.load(Ordering::SeqCst) < 3 {
        return Err("loads never find room beside writers".into());
    }
    drain(engine).map_err(words)?;
    let expected = {
        let snapshot = snapshot(shared)?;
        let digest = digest_of(engine, &snapshot);
        engine.end(snapshot);
        digest.map_err(words)?
    };
    if let Some(violation) = storage.violations().first() {
        return Err(format!("storage contract: {violation}"));
    }
    drain_and_verify(engine, expected)?;
    let store = engine.statistics().store;
    let needed = store.used_bytes.saturating_sub(store.pending_bytes);
    if needed > 4 << 20 {
        return Err(format!("nobody gives up what nobody needs: {store:?}"));
    }
    let image = storage.crash_image(CrashMode::Synced, 0);
    let reopened = open(&image, options).map_err(words)?;
    let snapshot = reopened.snapshot(0).map_err(words)?;
    let found = digest_of(&reopened, &snapshot).map_err(words)?;
    let total = sum(&reopened, &snapshot).map_err(words)?;
    reopened.end(snapshot);
    let transaction = reopened.begin(0, Isolation::Snapshot).map_err(words)?;
    let counter = read_number(&reopened, &transaction, b"counter");
    reopened.rollback(transaction);
    let counted = shared.counted.load(Ordering::SeqCst);
    let counter = counter.map_err(words)?;
    if found != expected || total != ACCOUNTS * EACH {
        return Err("after reopening rows differ".into());
    }
    if counter != counted {
        return Err(format!(
            "{counted} increments committed, the counter is {counter}"
        ));
    }
    Ok(())
}
