//! Bulk load: sorted entries into a table as a whole.
//!
//! Where nothing, or next to nothing, is in memory the load goes straight into the table's
//! tree (`lightning_core::db::Load`). Otherwise it becomes a run of its own, beside all others
//! (`lightning_core::db::Ingest`). What waits for somebody here waits for maintenance.

use crate::encoding::{EncodeBuffer, Key, Value};
use crate::error::Result;
use crate::shared::{Shared, now_ms};
use crate::stream::owned;
use crate::table::TypedTable;
use lightning_core::db::{Engine, Ingest, Load, PutOptions};
use lightning_core::error::{Error as EngineError, Result as EngineResult};
use std::fmt;
use std::time::{Duration, Instant};

/// Bytes in memory that are merged first, so that the load goes straight into the tree.
const MERGED_BYTES_MAX: u64 = 1 << 20;
/// How long that may take.
const MERGE_WAIT: Duration = Duration::from_secs(1);

/// Entries in ascending order on their way into a table; made by
/// [`Database::bulk_load`](crate::Database::bulk_load).
///
/// Each page is written once, full, and no log. The load is there as a whole,
/// and durable, when [`finish`](Self::finish) returns, and not at all before;
/// dropping it leaves nothing.
///
/// What it costs depends on what stands above the tables when it begins. Where that is less
/// than a mebibyte, it is merged first, and the load goes straight into the
/// table: nothing is faster, and commits made meanwhile count as later than the load.
/// Merges wait while it lasts, so that other writers are held up once memory is full.
/// Otherwise the load is written beside all others, who read, commit and merge as ever,
/// and becomes one commit when it is finished, later than all that were made before: a
/// transaction that was open then and wrote one of its keys conflicts. Until it is
/// merged, once more at the cost of writing it, reads ask it, too, as they ask what was
/// just committed, and `len` looks up each of its keys.
pub struct BulkLoad<'d, K, V> {
    shared: &'d Shared,
    table: TypedTable<K, V>,
    way: Way<'d>,
}

enum Way<'d> {
    IntoTree(Box<Load<'d>>),
    AsRun(Box<Ingest<'d>>),
}

impl<'d, K: Key, V: Value> BulkLoad<'d, K, V> {
    pub(crate) fn begin(shared: &'d Shared, table: &TypedTable<K, V>) -> Result<Self> {
        let id = table.id_in(shared)?;
        let way = begin(shared, id).map_err(|error| shared.error(error))?;
        Ok(Self {
            shared,
            table: table.clone(),
            way,
        })
    }

    /// Adds an entry, whose key is above the one before.
    ///
    /// # Errors
    /// A key that isn't above the one before, and a key or value over its limit,
    /// leave the load as it was. After any other error it can only be dropped.
    pub fn push(&mut self, key: K::Given<'_>, value: V::Given<'_>) -> Result<()> {
        self.push_with(key, value, PutOptions::default())
    }

    /// As [`push`](Self::push), with a time of expiry or a metadata byte.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn push_with(
        &mut self,
        key: K::Given<'_>,
        value: V::Given<'_>,
        options: PutOptions,
    ) -> Result<()> {
        let (mut key_buffer, mut value_buffer) = (EncodeBuffer::new(), EncodeBuffer::new());
        let key = K::encode_key(key, &mut key_buffer);
        let value = V::encode_value(value, &mut value_buffer);
        let pushed = match &mut self.way {
            Way::IntoTree(load) => load.push(key, value, options),
            Way::AsRun(load) => match load.push(key, value, options) {
                Err(EngineError::Busy) => owned(|| load.push(key, value, options)),
                pushed => pushed,
            },
        };
        pushed.map_err(|error| self.shared.error(error))
    }

    /// Publishes the load, durably. Answers how many entries it had.
    ///
    /// # Errors
    /// I/O, or a full device; snapshots that keep all room for half a minute: nothing of the
    /// load is there then.
    pub fn finish(self) -> Result<u64> {
        let shared = self.shared;
        let finished = match self.way {
            Way::IntoTree(load) => load.finish(),
            Way::AsRun(load) => finish(shared, *load),
        };
        finished
            .inspect_err(|error| shared.note_failure(*error))
            .map_err(|error| shared.error(error))
    }
}

fn begin(shared: &Shared, table: u32) -> EngineResult<Way<'_>> {
    let engine = &shared.engine;
    let started = Instant::now();
    let mut since = None;
    loop {
        let error = match engine.begin_load(table) {
            Ok(load) => return Ok(Way::IntoTree(Box::new(load))),
            Err(error) => error,
        };
        if error != EngineError::Busy {
            return Err(error);
        }
        let is_soon_merged = is_little(engine) && started.elapsed() < MERGE_WAIT;
        if engine.can_ingest() && !is_soon_merged {
            match engine.begin_ingest(table) {
                Ok(load) => return Ok(Way::AsRun(Box::new(load))),
                // Another load is written.
                Err(EngineError::Busy) => {}
                Err(error) => return Err(error),
            }
        } else {
            match engine.drain() {
                Ok(_) | Err(EngineError::FrontFull | EngineError::LogFull) => {}
                Err(error) => return Err(error),
            }
        }
        shared.wait_for_room(&mut since, error)?;
    }
}

/// Whether what stands above the trees is merged in no time. Runs count by their bytes: on
/// its way into the trees what was in memory is one.
fn is_little(engine: &Engine) -> bool {
    let statistics = engine.statistics();
    let bytes = statistics.front_bytes + statistics.run_bytes;
    bytes <= MERGED_BYTES_MAX && !engine.has_pending_ingest()
}

/// Commits a load that becomes a run, and makes it durable.
fn finish(shared: &Shared, mut load: Ingest<'_>) -> EngineResult<u64> {
    let flips = || shared.engine.statistics().store.flips;
    let mut since = None;
    let mut seen = flips();
    loop {
        match load.finish(now_ms()) {
            Ok(_) => break,
            Err(error @ EngineError::Busy) => {
                // However long merges take that have to come first: they go on.
                if flips() != seen {
                    seen = flips();
                    since = None;
                }
                shared.wait_for_room(&mut since, error)?;
            }
            Err(error @ (EngineError::FrontFull | EngineError::LogFull)) => {
                shared.wait_for_room(&mut since, error)?;
            }
            Err(error) => return Err(error),
        }
    }
    let rows = load.rows();
    drop(load);
    shared.note_write();
    shared.commits.sync(shared)?;
    Ok(rows)
}

impl<K, V> fmt::Debug for BulkLoad<'_, K, V> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("BulkLoad")
            .field("table", &self.table)
            .finish_non_exhaustive()
    }
}
