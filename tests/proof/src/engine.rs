//! The engine as the checks drive it: sizes, opening, and a table's rows as a
//! number that can be compared with a model's.

use std::collections::BTreeMap;
use std::sync::Arc;

use lightning_core::btree::CursorPosition;
use lightning_core::db::{
    Budgeted, Durability, Engine, Isolation, OpenInput, Options, PutOptions, TableView, Ticket,
};
use lightning_core::error::{Error, Result};
use lightning_core::txn::{Snapshot, Stored};
use lightning_platform::{Platform, Storage};
use lightning_sim::{SimMemory, SimOptions, SimStorage, SimWait, mix};

/// The tables that checks write to.
pub const TABLES: [u32; 2] = [16, 40];

/// One key's change in a commit; `None` removes it.
#[derive(Clone)]
pub struct Change {
    pub table: u32,
    pub key: Vec<u8>,
    pub value: Option<Vec<u8>>,
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
        transaction_bytes: 2 << 10,
        value_bytes_max: 1_500,
        read_set_bytes: 512,
        snapshots: 8,
        cursors: 4,
        reader_slots: 4,
        file_bytes_max: 32 << 20,
        tree_levels: 6,
        stage_pages: 3,
        slice_bytes_min: 4 << 10,
        ..Options::default()
    }
}

/// Every device and configuration that the checks run on.
pub fn setups() -> [Setup; 5] {
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
            name: "disk 4096",
            sim: SimOptions::disk(4_096),
            options: Options {
                page_bytes: 4_096,
                cache_bytes: 256 << 10,
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

/// A platform over any storage.
pub fn platform(storage: Arc<dyn Storage>, memory: &SimMemory) -> Platform {
    Platform {
        storage,
        memory: Arc::new(memory.clone()),
        wait: Arc::new(SimWait),
        codec: None,
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
    Engine::create(&platform(storage, &memory), options, input(1))
}

pub fn open_on(storage: Arc<dyn Storage>, options: &Options) -> Result<Engine> {
    let memory = SimMemory::new(1 << 30);
    Engine::open(&platform(storage, &memory), options, input(2))
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
            let Change { table, key, value } = change;
            let before = match value {
                Some(value) => {
                    self.digest = self.digest.wrapping_add(row_digest(*table, key, value));
                    self.rows.insert((*table, key.clone()), value.clone())
                }
                None => self.rows.remove(&(*table, key.clone())),
            };
            if let Some(before) = before {
                self.digest = self.digest.wrapping_sub(row_digest(*table, key, &before));
            }
        }
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
        all = all.wrapping_add(forwards);
    }
    Ok(all)
}

/// The digest of everything that a new snapshot sees.
pub fn digest(engine: &Engine) -> Result<u64> {
    let snapshot = engine.snapshot(0)?;
    let found = digest_of(engine, &snapshot);
    engine.end(snapshot);
    found
}

/// Commits changes: one as a put or delete, several as a transaction.
pub fn commit(engine: &Engine, changes: &[Change]) -> Result<Ticket> {
    let put = PutOptions::default();
    if let [change] = changes {
        return match &change.value {
            Some(value) => engine.put(change.table, &change.key, value, put, 0),
            None => engine.delete(change.table, &change.key, 0),
        };
    }
    let mut transaction = engine.begin(0, Isolation::Snapshot)?;
    for change in changes {
        let Change { table, key, value } = change;
        let written = match value {
            Some(value) => engine.transaction_put(&mut transaction, *table, key, value, put),
            None => engine.transaction_delete(&mut transaction, *table, key),
        };
        if let Err(error) = written {
            engine.rollback(transaction);
            return Err(error);
        }
    }
    engine.commit(transaction, 0, 0)
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

/// Merges everything that is in memtables.
///
/// # Panics
/// When it doesn't end.
pub fn drain(engine: &Engine) -> Result<()> {
    engine.flush_step(true)?;
    let mut attempts = 0;
    while let Err(error) = engine.freeze_front() {
        make_room(engine, error)?;
        attempts += 1;
        assert!(attempts < ATTEMPTS_MAX, "no memtable becomes free");
    }
    engine.flush_step(true)?;
    for _ in 0..100_000 {
        let progress = engine.poll_maintenance(Budgeted::default())?;
        if progress.wants_sync {
            engine.flush_step(true)?;
        } else if !progress.worked {
            return Ok(());
        }
    }
    panic!("maintenance doesn't end");
}
