//! What the database `runs` of `tests/golden` holds: written by `examples/golden.rs`,
//! compared by `tests/golden_runs.rs`.
//!
//! It is as a killed process leaves it with a run in its page file (with tombstones, range
//! tombstones, older versions, an expiry, a large value) beside the trees, an ingest that
//! only the log names, and commits that only the log has. Where maintenance is a thread such
//! files are there for a moment, so that they are written by the engine without one, on the
//! simulated storage.

use lightning_core::db::{
    Budgeted, Engine, Ingest, Isolation, OpenInput, Options, PutOptions, Transaction,
};
use lightning_core::error::{Error, Result};
use lightning_platform::Platform;
use lightning_sim::{SimMemory, SimOptions, SimStorage, SimWait};
use std::collections::BTreeMap;
use std::sync::Arc;

/// 1 January 2200, in milliseconds since 1970.
const FAR_FUTURE_MS: u64 = 7_258_118_400_000;
const LARGE_BYTES: usize = 5_000;

/// A value, when it expires, and its metadata byte.
pub type Row = (Vec<u8>, Option<u64>, Option<u8>);
/// Rows by their keys.
pub type Rows = BTreeMap<Vec<u8>, Row>;

/// The name of the one table.
pub const TABLE: &str = "rows";

fn key(number: u64) -> Vec<u8> {
    format!("row:{number:06}").into_bytes()
}

fn plain(text: String) -> Row {
    (text.into_bytes(), None, None)
}

fn large() -> Vec<u8> {
    (0..LARGE_BYTES).map(|place| (place % 251) as u8).collect()
}

fn base() -> Rows {
    let rows = (0..240).map(|number| (key(number), plain(format!("base {number}"))));
    rows.collect()
}

/// What the commits put whose versions the run keeps, older and newest.
fn overwritten(round: u64) -> Rows {
    let rows = (0..80).map(|number| (key(number), plain(format!("round {round} of {number}"))));
    rows.collect()
}

/// What else the run has: rows of every kind.
fn kinds() -> Rows {
    Rows::from([
        (key(110), plain("put behind the range delete".to_owned())),
        (
            key(500),
            (b"until 2200".to_vec(), Some(FAR_FUTURE_MS), None),
        ),
        (key(501), (b"nine".to_vec(), Some(FAR_FUTURE_MS), Some(9))),
        (key(502), (large(), None, Some(1))),
    ])
}

fn ingested() -> Rows {
    let rows = [5]
        .into_iter()
        .chain(600..700)
        .map(|number| (key(number), plain(format!("ingested {number}"))));
    rows.collect()
}

/// All that is to be found.
pub fn expected() -> Rows {
    let mut rows = base();
    rows.extend(overwritten(2));
    for number in (100..120).chain([200]) {
        rows.remove(&key(number));
    }
    rows.extend(kinds());
    rows.insert(key(503), plain("before the load".to_owned()));
    rows.extend(ingested());
    rows.insert(key(504), plain("behind the load".to_owned()));
    rows.insert(key(600), plain("put over the load".to_owned()));
    rows
}

fn put_all(engine: &Engine, transaction: &mut Transaction, table: u32, rows: &Rows) -> Result<()> {
    for (key, (value, expiry_ms, metadata)) in rows {
        let options = PutOptions {
            expiry_ms: *expiry_ms,
            metadata: *metadata,
        };
        engine.transaction_put(transaction, table, key, value, options)?;
    }
    Ok(())
}

fn commit_rows(engine: &Engine, table: u32, rows: &Rows) -> Result<()> {
    let mut transaction = engine.begin(0, Isolation::Snapshot)?;
    put_all(engine, &mut transaction, table, rows)?;
    let _durable_below = engine.commit(transaction, 0, 0)?;
    engine.flush_step(true).map(|_| ())
}

/// A step of maintenance, for what waits for one.
fn go_on(engine: &Engine, error: Error) -> Result<()> {
    if !matches!(error, Error::Busy | Error::FrontFull | Error::LogFull) {
        return Err(error);
    }
    engine.flush_step(true)?;
    engine.poll_maintenance(Budgeted::default()).map(|_| ())
}

fn ingest(engine: &Engine, table: u32, rows: &Rows) -> Result<()> {
    let mut load: Ingest<'_> = engine.begin_ingest(table)?;
    for (key, (value, ..)) in rows {
        while let Err(error) = load.push(key, value, PutOptions::default()) {
            go_on(engine, error)?;
        }
    }
    while let Err(error) = load.finish(0) {
        go_on(engine, error)?;
    }
    drop(load);
    engine.flush_step(true).map(|_| ())
}

/// Writes the database, and answers the storage as a kill at its end leaves it.
pub fn write(checksum: fn(u32, &[u8]) -> u32) -> Result<SimStorage> {
    // As the library's on Linux.
    let storage = SimStorage::new(SimOptions::disk(4096));
    let options = Options {
        page_bytes: 1024,
        cache_bytes: 2 << 20,
        memtable_bytes: 256 << 10,
        segment_bytes: 64 << 10,
        transaction_bytes: 20 << 10,
        value_bytes_max: 15 << 10,
        file_bytes_max: 1 << 30,
        slice_bytes_min: 16 << 10,
        write_buffer_bytes: 16 << 10,
        ..Options::default()
    };
    let platform = Platform {
        storage: Arc::new(storage.clone()),
        memory: Arc::new(SimMemory::new(1 << 30)),
        wait: Arc::new(SimWait),
        codec: None,
        cipher: None,
    };
    let input = OpenInput {
        entropy: [21; 48],
        now_ms: 0,
        checksum: Some(checksum),
    };
    let engine = Engine::create(&platform, &options, input)?;
    let mut transaction = engine.begin(0, Isolation::Snapshot)?;
    let table = engine.transaction_create_table(&mut transaction, TABLE.as_bytes())?;
    put_all(&engine, &mut transaction, table, &base())?;
    let _durable_below = engine.commit(transaction, 0, 0)?;
    engine.flush_step(true)?;
    while engine.drain()? {
        engine.flush_step(true)?;
        engine.poll_maintenance(Budgeted::default())?;
    }
    // The snapshot has the run keep what it sees.
    commit_rows(&engine, table, &overwritten(1))?;
    let snapshot = engine.snapshot(0)?;
    commit_rows(&engine, table, &overwritten(2))?;
    let mut transaction = engine.begin(0, Isolation::Snapshot)?;
    engine.transaction_delete_range(&mut transaction, table, &key(100), Some(&key(120)))?;
    engine.transaction_delete(&mut transaction, table, &key(200))?;
    put_all(&engine, &mut transaction, table, &kinds())?;
    let _durable_below = engine.commit(transaction, 0, 0)?;
    engine.flush_step(true)?;
    engine.freeze_front()?;
    while engine.statistics().runs == 0 {
        engine.flush_step(true)?;
        engine.poll_maintenance(Budgeted::default())?;
    }
    let one = |number, text: &str| Rows::from([(key(number), plain(text.to_owned()))]);
    commit_rows(&engine, table, &one(503, "before the load"))?;
    ingest(&engine, table, &ingested())?;
    let mut behind = one(504, "behind the load");
    behind.extend(one(600, "put over the load"));
    commit_rows(&engine, table, &behind)?;
    // The load counts as one of them.
    let statistics = engine.statistics();
    assert!(engine.has_pending_ingest(), "the log alone names the load");
    assert!(statistics.runs == 2 && statistics.durable_sequence == statistics.appended_sequence);
    engine.end(snapshot);
    Ok(storage)
}
