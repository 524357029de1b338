//! The engine as the checks drive it: sizes, opening, and a table's rows as a
//! number that can be compared with a model's.

use std::collections::BTreeMap;
use std::sync::Arc;

use lightning_codecs::Lz4;
use lightning_core::btree::CursorPosition;
use lightning_core::db::{
    Budgeted, Durability, Engine, Isolation, OpenInput, Options, PutOptions, TableView, Ticket,
    Transaction,
};
use lightning_core::error::{Error, Result};
use lightning_core::txn::{Snapshot, Stored};
use lightning_platform::{Codec, Platform, Storage};
use lightning_sim::{SimMemory, SimOptions, SimStorage, SimWait, mix};

/// The tables that checks write to.
pub const TABLES: [u32; 2] = [16, 40];

/// What a change does to its key.
#[derive(Clone)]
pub enum What {
    Put(Vec<u8>),
    Delete,
    /// Deletes it and all keys after it, up to the exclusive end; none: the table's.
    DeleteTo(Option<Vec<u8>>),
}

/// One change in a commit.
#[derive(Clone)]
pub struct Change {
    pub table: u32,
    pub key: Vec<u8>,
    pub what: What,
}

impl Change {
    /// Whether it says something of that key.
    pub fn touches(&self, table: u32, key: &[u8]) -> bool {
        self.table == table
            && match &self.what {
                What::Put(_) | What::Delete => self.key == key,
                What::DeleteTo(to) => {
                    self.key.as_slice() <= key && to.as_ref().is_none_or(|to| key < to.as_slice())
                }
            }
    }
}

/// A device and the sizes of a database on it.
#[derive(Clone, Copy)]
pub struct Setup {
    pub name: &'static str,
    pub sim: SimOptions,
    pub options: Options,
    /// The longest value that a script writes.
    pub value_bytes_longest: u64,
}

/// Sizes with which everything happens often: rotation, merges, many slices.
pub fn busy_options() -> Options {
    Options {
        page_bytes: 1_024,
        cache_bytes: 64 << 10,
        memtable_bytes: 8 << 10,
        memtables: 3,
        segment_bytes: 32 << 10,
        log_slots: 16,
        log_buffer_bytes: 4 << 10,
        write_buffer_bytes: 8 << 10,
        transactions: 4,
        // No multiple of any block, as where it is fitted to what there is.
        transaction_bytes: 2_391,
        value_bytes_max: 1_500,
        read_set_bytes: 512,
        snapshots: 8,
        cursors: 4,
        reader_slots: 4,
        file_bytes_max: 32 << 20,
        tree_levels: 6,
        stage_pages: 3,
        slice_bytes_min: 4 << 10,
        runs: 2,
        // The least: two keys of a quarter page.
        range_bytes: 528,
        ..Options::default()
    }
}

/// How many setups there are.
pub const SETUPS: usize = 8;

/// Every device and configuration that the checks run on.
pub fn setups() -> [Setup; SETUPS] {
    let busy = busy_options();
    // Segments that are soon full, where blocks are small enough for it.
    let rotating = Options {
        segment_bytes: 8 << 10,
        ..busy
    };
    [
        Setup {
            name: "disk 512",
            sim: SimOptions::disk(512),
            options: rotating,
            value_bytes_longest: 1_400,
        },
        Setup {
            name: "six runs",
            sim: SimOptions::disk(512),
            // Small pages: deep trees, many slices, many values in extents.
            options: Options {
                page_bytes: 512,
                range_bytes: 272,
                memtable_bytes: 6 << 10,
                transaction_bytes: 2 << 10,
                filter_bytes: 32,
                runs: 6,
                ..rotating
            },
            value_bytes_longest: 1_400,
        },
        Setup {
            name: "no runs",
            sim: SimOptions::disk(512),
            options: Options { runs: 0, ..busy },
            value_bytes_longest: 1_400,
        },
        Setup {
            name: "lz4",
            sim: SimOptions::disk(512),
            options: Options {
                unit_bytes: 128,
                ..rotating
            },
            value_bytes_longest: 1_400,
        },
        Setup {
            name: "disk 4096",
            sim: SimOptions::disk(4_096),
            options: Options {
                page_bytes: 4_096,
                cache_bytes: 256 << 10,
                runs: 4,
                range_bytes: 2_064,
                ..busy
            },
            value_bytes_longest: 1_400,
        },
        Setup {
            name: "disk 512, read when written",
            sim: SimOptions::disk(512),
            options: Options {
                durability: Durability::Written,
                ..rotating
            },
            value_bytes_longest: 1_400,
        },
        Setup {
            name: "flash",
            sim: SimOptions::flash(256, 4_096, 16 << 20),
            options: Options {
                file_bytes_max: 4 << 20,
                runs: 1,
                ..rotating
            },
            value_bytes_longest: 1_400,
        },
        Setup {
            name: "forty KiB",
            sim: SimOptions::flash(256, 4_096, 8 << 20),
            options: Options::small(),
            value_bytes_longest: 250,
        },
    ]
}

/// A platform over any storage; where units are smaller than pages, with a codec.
pub fn platform(storage: Arc<dyn Storage>, memory: &SimMemory, options: &Options) -> Platform {
    let lz4 = || -> Arc<dyn Codec> { Arc::new(Lz4::new(options.page_bytes as usize, 1)) };
    Platform {
        storage,
        memory: Arc::new(memory.clone()),
        wait: Arc::new(SimWait),
        codec: (options.unit_bytes > 0).then(lz4),
        cipher: None,
    }
}

pub fn input(seed: u8) -> OpenInput {
    OpenInput {
        entropy: [seed; 48],
        now_ms: 1_000,
        checksum: None,
    }
}

pub fn create_on(storage: Arc<dyn Storage>, options: &Options) -> Result<Engine> {
    let memory = SimMemory::new(1 << 30);
    Engine::create(&platform(storage, &memory, options), options, input(1))
}

pub fn open_on(storage: Arc<dyn Storage>, options: &Options) -> Result<Engine> {
    let memory = SimMemory::new(1 << 30);
    Engine::open(&platform(storage, &memory, options), options, input(2))
}

pub fn create(storage: &SimStorage, options: &Options) -> Result<Engine> {
    create_on(Arc::new(storage.clone()), options)
}

pub fn open(storage: &SimStorage, options: &Options) -> Result<Engine> {
    open_on(Arc::new(storage.clone()), options)
}

/// What one row adds to the digest of all rows.
pub fn row_digest(table: u32, key: &[u8], value: &[u8]) -> u64 {
    let mut state = mix(u64::from(table) << 32 | key.len() as u64);
    for part in [key, value] {
        for chunk in part.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            state = mix(state ^ u64::from_le_bytes(word));
        }
        state = mix(state ^ part.len() as u64);
    }
    state
}

/// All rows of all tables, and their digest.
#[derive(Clone, Default)]
pub struct Model {
    pub rows: BTreeMap<(u32, Vec<u8>), Vec<u8>>,
    pub digest: u64,
}

impl Model {
    pub fn apply(&mut self, changes: &[Change]) {
        for change in changes {
            let (table, key) = (change.table, change.key.clone());
            match &change.what {
                What::Put(value) => {
                    self.digest = self.digest.wrapping_add(row_digest(table, &key, value));
                    let before = self.rows.insert((table, key.clone()), value.clone());
                    self.gone(table, &key, before);
                }
                What::Delete => {
                    let before = self.rows.remove(&(table, key.clone()));
                    self.gone(table, &key, before);
                }
                What::DeleteTo(to) => {
                    let end = match to {
                        Some(to) => (table, to.clone()),
                        None => (table + 1, Vec::new()),
                    };
                    let mut covered = self.rows.split_off(&(table, key));
                    self.rows.append(&mut covered.split_off(&end));
                    for ((table, key), value) in covered {
                        self.gone(table, &key, Some(value));
                    }
                }
            }
        }
    }

    fn gone(&mut self, table: u32, key: &[u8], value: Option<Vec<u8>>) {
        if let Some(value) = value {
            self.digest = self.digest.wrapping_sub(row_digest(table, key, &value));
        }
    }

    /// A table's rows, in order.
    pub fn table(&self, table: u32) -> impl DoubleEndedIterator<Item = (&[u8], &[u8])> {
        self.rows
            .range((table, Vec::new())..(table + 1, Vec::new()))
            .map(|((_, key), value)| (key.as_slice(), value.as_slice()))
    }
}

/// A value's bytes, wherever they are.
pub fn whole(engine: &Engine, view: &TableView<'_>, stored: Stored<'_>) -> Result<Vec<u8>> {
    let length = usize::try_from(stored.length()).unwrap_or(0);
    let mut bytes = vec![0; length];
    engine.read_value(view, stored, 0, &mut bytes)?;
    Ok(bytes)
}

/// The digest of all rows that a snapshot sees, read forwards and backwards.
///
/// # Panics
/// Where the two differ, keys are out of order or the count is wrong.
pub fn digest_of(engine: &Engine, snapshot: &Snapshot) -> Result<u64> {
    let mut all = 0_u64;
    for table in TABLES {
        all = all.wrapping_add(table_digest(engine, snapshot, table)?);
    }
    Ok(all)
}

/// The same of one table.
///
/// # Panics
/// As [`digest_of`].
pub fn table_digest(engine: &Engine, snapshot: &Snapshot, table: u32) -> Result<u64> {
    let view = engine.view(snapshot, table, true)?;
    let mut cursor = engine.cursor(&view, true)?;
    let mut before: Option<Vec<u8>> = None;
    let (mut forwards, mut count) = (0_u64, 0);
    cursor.seek(CursorPosition::First)?;
    while let Some(entry) = cursor.entry() {
        assert!(
            before.as_deref().is_none_or(|before| before < entry.key),
            "keys out of order"
        );
        let value = whole(engine, &view, entry.value)?;
        forwards = forwards.wrapping_add(row_digest(table, entry.key, &value));
        before = Some(entry.key.to_vec());
        count += 1;
        cursor.advance()?;
    }
    let mut backwards = 0_u64;
    cursor.seek(CursorPosition::Last)?;
    while let Some(entry) = cursor.entry() {
        let value = whole(engine, &view, entry.value)?;
        backwards = backwards.wrapping_add(row_digest(table, entry.key, &value));
        cursor.retreat()?;
    }
    drop(cursor);
    assert_eq!(forwards, backwards, "forwards and backwards differ");
    assert_eq!(engine.count(&view)?, count, "the count is wrong");
    Ok(forwards)
}

/// All rows that a new snapshot sees.
pub fn model_of(engine: &Engine) -> Result<Model> {
    let snapshot = engine.snapshot(0)?;
    let mut model = Model::default();
    for table in TABLES {
        let view = engine.view(&snapshot, table, true)?;
        let mut cursor = engine.cursor(&view, true)?;
        cursor.seek(CursorPosition::First)?;
        while let Some(entry) = cursor.entry() {
            let put = Change {
                table,
                key: entry.key.to_vec(),
                what: What::Put(whole(engine, &view, entry.value)?),
            };
            model.apply(&[put]);
            cursor.advance()?;
        }
    }
    engine.end(snapshot);
    Ok(model)
}

/// The digest of everything that a new snapshot sees.
pub fn digest(engine: &Engine) -> Result<u64> {
    let snapshot = engine.snapshot(0)?;
    let found = digest_of(engine, &snapshot);
    engine.end(snapshot);
    found
}

/// Commits changes: one put or delete as such, others as a transaction.
pub fn commit(engine: &Engine, changes: &[Change]) -> Result<Ticket> {
    if let [change] = changes {
        match &change.what {
            What::Put(value) => {
                let put = PutOptions::default();
                return engine.put(change.table, &change.key, value, put, 0);
            }
            What::Delete => return engine.delete(change.table, &change.key, 0),
            What::DeleteTo(_) => {}
        }
    }
    let mut transaction = engine.begin(0, Isolation::Snapshot)?;
    for change in changes {
        if let Err(error) = write(engine, &mut transaction, change) {
            engine.rollback(transaction);
            return Err(error);
        }
    }
    engine.commit(transaction, 0, 0)
}

/// Writes one change in a transaction.
pub fn write(engine: &Engine, transaction: &mut Transaction, change: &Change) -> Result<()> {
    let Change { table, key, what } = change;
    match what {
        What::Put(value) => {
            engine.transaction_put(transaction, *table, key, value, PutOptions::default())
        }
        What::Delete => engine.transaction_delete(transaction, *table, key),
        What::DeleteTo(to) => {
            engine.transaction_delete_range(transaction, *table, key, to.as_deref())
        }
    }
}

/// Commits changes to one table, all of them puts of keys that ascend, as a load that
/// becomes a run. Between two entries `beside` is called.
pub fn ingest(
    engine: &Engine,
    changes: &[Change],
    beside: &mut dyn FnMut() -> Result<()>,
) -> Result<Ticket> {
    let table = changes.first().map_or(TABLES[0], |change| change.table);
    let mut load = engine.begin_ingest(table)?;
    for change in changes {
        if let What::Put(value) = &change.what {
            until_it_passes(engine, || {
                load.push(&change.key, value, PutOptions::default())
            })?;
        }
        beside()?;
    }
    until_it_passes(engine, || load.finish(0))
}

/// Tries again while that may help, flushing and maintaining in between.
pub fn until_it_passes<T>(engine: &Engine, mut step: impl FnMut() -> Result<T>) -> Result<T> {
    let mut attempts = 0;
    loop {
        match step() {
            Err(error) if attempts < ATTEMPTS_MAX => {
                // Maintenance may owe a step to this very thread.
                let error = match error {
                    Error::Busy => Error::FrontFull,
                    error => error,
                };
                make_room(engine, error)?;
            }
            outcome => return outcome,
        }
        attempts += 1;
    }
}

/// Flushes and maintains after a commit found no room; false where nothing
/// was left to do.
pub fn make_room(engine: &Engine, error: Error) -> Result<bool> {
    if !matches!(
        error,
        Error::FrontFull | Error::LogFull | Error::StorageFull
    ) {
        return Err(error);
    }
    match engine.flush_step(true) {
        Ok(_) | Err(Error::LogFull) => {}
        Err(error) => return Err(error),
    }
    let progress = engine.poll_maintenance(Budgeted::default())?;
    Ok(progress.worked || progress.wants_sync)
}

/// How often a commit that finds no room is tried again.
pub const ATTEMPTS_MAX: u32 = 200;

/// Merges everything into the trees.
///
/// # Panics
/// When it doesn't end.
pub fn drain(engine: &Engine) -> Result<()> {
    for _ in 0..100_000 {
        match engine.drain() {
            Ok(false) => return Ok(()),
            Ok(true) => match engine.flush_step(true) {
                Ok(_) | Err(Error::LogFull) => {}
                Err(error) => return Err(error),
            },
            Err(error) => {
                make_room(engine, error)?;
                continue;
            }
        }
        engine.poll_maintenance(Budgeted::default())?;
    }
    panic!("maintenance doesn't end");
}

/// Checks every page, and that nothing is in use that belongs to nothing. While
/// something is being built there is nothing to check.
pub fn verify(engine: &Engine) -> std::result::Result<(), String> {
    let mut buffer = vec![0; engine.verify_buffer_bytes()];
    match engine.verify(&mut buffer, &mut |_| {}) {
        Ok(found) if found.leaked_units > 0 => Err(format!("{} units leaked", found.leaked_units)),
        Ok(_) | Err(Error::Busy) => Ok(()),
        Err(error) => Err(format!("verify: {error}")),
    }
}

/// Merges everything into the trees, checks every page and that all rows are as before.
pub fn drain_and_verify(engine: &Engine, expected: u64) -> std::result::Result<(), String> {
    drain(engine).map_err(|error| format!("draining: {error}"))?;
    verify(engine).map_err(|reason| format!("drained, {reason}"))?;
    match digest(engine) {
        Ok(found) if found == expected => Ok(()),
        Ok(_) => Err("draining changed rows".into()),
        Err(error) => Err(format!("drained, reading: {error}")),
    }
}
