//! The engine on a simulated device, small enough that everything happens often.

use std::sync::Arc;

use lightning_core::db::{Budgeted, Engine, OpenInput, Options};
use lightning_core::error::{Error, Result};
use lightning_platform::{Platform, Storage};
use lightning_sim::{SimMemory, SimStorage, SimWait};

/// The tables that are written to.
pub const TABLES: [u32; 2] = [16, 40];

/// How often a call that finds no room is tried again.
const ATTEMPTS_MAX: u32 = 64;

/// Small pages, memtables and segments.
pub fn options() -> Options {
    Options {
        page_bytes: 512,
        cache_bytes: 64 << 10,
        memtable_bytes: 6 << 10,
        memtables: 3,
        segment_bytes: 8 << 10,
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
        file_bytes_max: 8 << 20,
        tree_levels: 6,
        stage_pages: 3,
        slice_bytes_min: 4 << 10,
        runs: 2,
        filter_bytes: 32,
        range_bytes: 272,
        ..Options::default()
    }
}

fn platform(storage: &SimStorage) -> Platform {
    let storage: Arc<dyn Storage> = Arc::new(storage.clone());
    Platform {
        storage,
        memory: Arc::new(SimMemory::new(64 << 20)),
        wait: Arc::new(SimWait),
        codec: None,
        cipher: None,
    }
}

/// What an open takes, with the checksum that the target wants.
pub fn input(checksum: Option<fn(u32, &[u8]) -> u32>) -> OpenInput {
    OpenInput {
        entropy: [9; 48],
        now_ms: 1_000,
        checksum,
    }
}

/// A new database.
pub fn create(storage: &SimStorage, input: OpenInput) -> Result<Engine> {
    Engine::create(&platform(storage), &options(), input)
}

/// The database that is there.
pub fn open(storage: &SimStorage, input: OpenInput) -> Result<Engine> {
    Engine::open(&platform(storage), &options(), input)
}

/// Tries again while flushing and maintaining may help.
pub fn until_there_is_room<T>(engine: &Engine, mut call: impl FnMut() -> Result<T>) -> Result<T> {
    let mut attempts = 0;
    loop {
        match call() {
            Err(Error::FrontFull | Error::LogFull | Error::StorageFull | Error::Busy)
                if attempts < ATTEMPTS_MAX =>
            {
                attempts += 1;
                match engine.flush_step(true) {
                    Ok(_) | Err(Error::LogFull) => {}
                    Err(error) => return Err(error),
                }
                engine.poll_maintenance(Budgeted::default())?;
            }
            outcome => return outcome,
        }
    }
}

/// Merges everything into the trees; false where that takes more than `steps`.
pub fn drain(engine: &Engine, steps: u32) -> Result<bool> {
    for _ in 0..steps {
        match engine.drain() {
            Ok(false) => return Ok(true),
            Ok(true) | Err(Error::FrontFull | Error::LogFull | Error::Busy) => {}
            Err(error) => return Err(error),
        }
        match engine.flush_step(true) {
            Ok(_) | Err(Error::LogFull) => {}
            Err(error) => return Err(error),
        }
        engine.poll_maintenance(Budgeted::default())?;
    }
    Ok(false)
}
