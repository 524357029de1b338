//! What the image does with its database, and what it must find afterwards.
//!
//! The oracle is a table of versions: a key's value follows from the key's number
//! and its version, so that no value need be remembered. What is in flight when
//! the power goes may be there afterwards or not; what was acknowledged must.

use crate::flash;
use lightning_core::btree::CursorPosition;
use lightning_core::db::{Budgeted, Engine, Isolation, OpenInput, Options, PutOptions};
use lightning_core::error::Error;
use lightning_core::txn::Stored;
use lightning_platform::Platform;

const TABLE: u32 = 16;
const KEYS: usize = 300;
const VALUE_BYTES_MAX: usize = 60;
const CUTS: u32 = 60;
const COMMITS_BETWEEN_CUTS: u32 = 150;
/// A cut comes during one of so many changes of the flash.
const CHANGES_BEFORE_CUT: u64 = 400;
/// Calls of maintenance until there must be room.
const ATTEMPTS_MAX: u32 = 2_000;
/// What the memtables' own structure takes where nothing is in them.
const FRONT_BYTES_DRAINED: u64 = 200;
/// A version's bit that says: the key was removed.
const REMOVED: u16 = 1 << 15;

/// What went wrong.
#[derive(Clone, Copy)]
pub struct Failure {
    pub what: &'static str,
    /// The engine's number of the error, 0 where there was none.
    pub code: u64,
    pub step: u64,
}

/// What was done.
#[derive(Clone, Copy, Default)]
pub struct Checks {
    pub cuts: u32,
    pub commits: u32,
    pub entries: u32,
    pub flips: u64,
    pub plan_bytes: u64,
}

/// A step's end: the power went, or something is wrong.
enum Stop {
    PowerGone,
    Failed(&'static str, Error),
    Wrong(&'static str),
}

type Done<T> = core::result::Result<T, Stop>;

/// What must be in the table.
struct Oracle {
    versions: [u16; KEYS],
    /// The change in flight: its keys may have either version.
    in_flight: Option<(usize, usize, u16)>,
    random: u64,
}

impl Oracle {
    fn random(&mut self, below: u64) -> u64 {
        // The finalizer of SplitMix64 (Steele, Lea, Flood, 2014).
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.random;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed >> 32) * below) >> 32
    }

    fn version(&self, key: usize) -> u16 {
        self.versions.get(key).copied().unwrap_or(0)
    }

    fn accept(&mut self) {
        if let Some((first, count, version)) = self.in_flight.take() {
            for known in self.versions.iter_mut().skip(first).take(count) {
                *known = version;
            }
        }
    }
}

fn key_of(number: usize) -> [u8; 8] {
    (number as u64 ^ 0x0103_0200_0000_0000).to_be_bytes()
}

fn value_of(number: usize, version: u16, buffer: &mut [u8; VALUE_BYTES_MAX]) -> &[u8] {
    let seed = (number as u32) << 16 | u32::from(version);
    let mut state = seed.wrapping_mul(0x9E37_79B9);
    for byte in buffer.iter_mut() {
        state = state.wrapping_mul(0x0019_660D).wrapping_add(0x3C6E_F35F);
        *byte = (state >> 24) as u8;
    }
    let length = 8 + (seed as usize).wrapping_mul(7) % (VALUE_BYTES_MAX - 8);
    buffer.get(..length).unwrap_or_default()
}

/// An error is the power's where it is gone; a cut shows as an I/O error.
fn stop(what: &'static str) -> impl Fn(Error) -> Stop {
    move |error| match error {
        Error::Io { .. } | Error::Poisoned => Stop::PowerGone,
        error => Stop::Failed(what, error),
    }
}

/// Runs the whole script.
pub fn run(platform: &Platform) -> Result<Checks, Failure> {
    let mut checks = Checks::default();
    let mut oracle = Oracle {
        versions: [REMOVED; KEYS],
        in_flight: None,
        random: 1,
    };
    let failed = |checks: &Checks, stop: Stop| {
        let (what, code) = match stop {
            Stop::PowerGone => ("an I/O error with the power on", 0),
            Stop::Failed(what, error) => (what, u64::from(error.code())),
            Stop::Wrong(what) => (what, 0),
        };
        Failure {
            what,
            code,
            step: u64::from(checks.cuts),
        }
    };
    create(platform).map_err(|stop| failed(&checks, stop))?;
    for cut in 0..CUTS {
        flash::cut_during(1 + oracle.random(CHANGES_BEFORE_CUT) as u32);
        let session = session(platform, &mut oracle, &mut checks, cut);
        let was_gone = flash::power_on();
        match session {
            Err(Stop::PowerGone) if was_gone => {}
            Ok(()) => {}
            Err(stop) => return Err(failed(&checks, stop)),
        }
        checks.cuts += u32::from(was_gone);
        // Another cut right away, in the recovery of the first.
        flash::cut_during(1 + oracle.random(12) as u32);
        let opened = reopen(platform, cut);
        let was_gone = flash::power_on();
        checks.cuts += u32::from(was_gone);
        match opened {
            Err(Stop::PowerGone) if was_gone => {}
            Ok(()) => {}
            Err(stop) => return Err(failed(&checks, stop)),
        }
    }
    last_session(platform, &mut oracle, &mut checks).map_err(|stop| failed(&checks, stop))?;
    Ok(checks)
}

fn input(number: u32) -> OpenInput {
    let mut entropy = [7; 48];
    for (byte, from) in entropy.iter_mut().zip(number.to_le_bytes()) {
        *byte ^= from;
    }
    OpenInput {
        entropy,
        now_ms: 1_000,
        checksum: None,
    }
}

// Each of these has a stack frame of its own, which is gone when the next one runs.

#[inline(never)]
fn create(platform: &Platform) -> Done<()> {
    Engine::create(platform, &Options::small(), input(0))
        .map(drop)
        .map_err(stop("create"))
}

#[inline(never)]
fn reopen(platform: &Platform, cut: u32) -> Done<()> {
    Engine::open(platform, &Options::small(), input(cut))
        .map(drop)
        .map_err(stop("reopen"))
}

/// Opens, checks, and writes until the power goes or enough is written.
#[inline(never)]
fn session(platform: &Platform, oracle: &mut Oracle, checks: &mut Checks, cut: u32) -> Done<()> {
    let engine = Engine::open(platform, &Options::small(), input(cut)).map_err(stop("open"))?;
    checks.plan_bytes = checks.plan_bytes.max(engine.statistics().memory_bytes);
    verify(&engine, oracle, checks)?;
    let written = write(&engine, oracle, checks);
    checks.flips += engine.statistics().store.flips;
    written
}

/// The same without a cut, ended by a clean close and one more look.
fn last_session(platform: &Platform, oracle: &mut Oracle, checks: &mut Checks) -> Done<()> {
    session(platform, oracle, checks, CUTS)?;
    close(platform, oracle, checks)?;
    look(platform, oracle, checks)
}

#[inline(never)]
fn close(platform: &Platform, oracle: &mut Oracle, checks: &mut Checks) -> Done<()> {
    let engine = Engine::open(platform, &Options::small(), input(1)).map_err(stop("open"))?;
    drain(&engine)?;
    verify(&engine, oracle, checks)?;
    engine.mark().map_err(stop("mark"))
}

#[inline(never)]
fn look(platform: &Platform, oracle: &mut Oracle, checks: &mut Checks) -> Done<()> {
    let engine = Engine::open(platform, &Options::small(), input(2)).map_err(stop("open"))?;
    if engine.statistics().front_bytes > FRONT_BYTES_DRAINED {
        return Err(Stop::Wrong("a database that was drained has a front"));
    }
    verify(&engine, oracle, checks)
}

fn write(engine: &Engine, oracle: &mut Oracle, checks: &mut Checks) -> Done<()> {
    for _ in 0..COMMITS_BETWEEN_CUTS {
        let count = 1 + oracle.random(4) as usize;
        let first = oracle.random((KEYS - count) as u64) as usize;
        let removes = oracle.random(5) == 0;
        let version = (oracle.version(first) & !REMOVED).wrapping_add(1) & !REMOVED
            | if removes { REMOVED } else { 0 };
        oracle.in_flight = Some((first, count, version));
        let mut attempts = 0;
        let ticket = loop {
            match commit(engine, first, count, version) {
                Ok(ticket) => break ticket,
                Err(Error::FrontFull | Error::LogFull) if attempts < ATTEMPTS_MAX => {
                    attempts += 1;
                    make_room(engine)?;
                }
                Err(error) => return Err(stop("commit")(error)),
            }
        };
        flush(engine)?;
        if !engine.is_durable(ticket).map_err(stop("is_durable"))? {
            return Err(Stop::Wrong("a flushed commit isn't durable"));
        }
        oracle.accept();
        checks.commits += 1;
        engine
            .poll_maintenance(Budgeted {
                entries: 16,
                log_bytes: 8 << 10,
            })
            .map_err(stop("maintenance"))?;
    }
    Ok(())
}

/// One commit of `count` keys: one key as a put or delete, more as a transaction.
fn commit(
    engine: &Engine,
    first: usize,
    count: usize,
    version: u16,
) -> Result<lightning_core::db::Ticket, Error> {
    let mut buffer = [0; VALUE_BYTES_MAX];
    let is_removal = version & REMOVED != 0;
    let put = PutOptions::default();
    if count == 1 {
        let key = key_of(first);
        return if is_removal {
            engine.delete(TABLE, &key, 0)
        } else {
            engine.put(TABLE, &key, value_of(first, version, &mut buffer), put, 0)
        };
    }
    let mut transaction = engine.begin(0, Isolation::Snapshot)?;
    for number in first..first + count {
        let key = key_of(number);
        let written = if is_removal {
            engine.transaction_delete(&mut transaction, TABLE, &key)
        } else {
            let value = value_of(number, version, &mut buffer);
            engine.transaction_put(&mut transaction, TABLE, &key, value, put)
        };
        if let Err(error) = written {
            engine.rollback(transaction);
            return Err(error);
        }
    }
    engine.commit(transaction, 0, 0)
}

fn flush(engine: &Engine) -> Done<()> {
    for _ in 0..ATTEMPTS_MAX {
        match engine.flush_step(true) {
            Ok(_) => return Ok(()),
            Err(Error::LogFull) => {
                engine
                    .poll_maintenance(Budgeted::default())
                    .map_err(stop("maintenance"))?;
            }
            Err(error) => return Err(stop("flush")(error)),
        }
    }
    Err(Stop::Wrong("the log stays full"))
}

fn make_room(engine: &Engine) -> Done<()> {
    match engine.flush_step(true) {
        Ok(_) | Err(Error::LogFull) => {}
        Err(error) => return Err(stop("flush")(error)),
    }
    engine
        .poll_maintenance(Budgeted::default())
        .map_err(stop("maintenance"))?;
    Ok(())
}

/// Merges everything that is in memtables.
fn drain(engine: &Engine) -> Done<()> {
    flush(engine)?;
    for _ in 0..ATTEMPTS_MAX {
        match engine.freeze_front() {
            Ok(_) => break,
            Err(Error::FrontFull) => make_room(engine)?,
            Err(error) => return Err(stop("freeze")(error)),
        }
    }
    for _ in 0..ATTEMPTS_MAX {
        flush(engine)?;
        let progress = engine
            .poll_maintenance(Budgeted::default())
            .map_err(stop("maintenance"))?;
        if !progress.worked && !progress.wants_sync {
            return Ok(());
        }
    }
    Err(Stop::Wrong("maintenance doesn't end"))
}

/// Every key by a get, then the whole table by a scan.
fn verify(engine: &Engine, oracle: &mut Oracle, checks: &mut Checks) -> Done<()> {
    let snapshot = engine.snapshot(0).map_err(stop("snapshot"))?;
    let found = verify_at(engine, &snapshot, oracle, checks);
    engine.end(snapshot);
    found
}

fn verify_at(
    engine: &Engine,
    snapshot: &lightning_core::txn::Snapshot,
    oracle: &mut Oracle,
    checks: &mut Checks,
) -> Done<()> {
    let view = engine.view(snapshot, TABLE, true).map_err(stop("view"))?;
    let mut buffer = [0; VALUE_BYTES_MAX];
    // A commit in flight is there as a whole or not at all.
    if let Some((first, count, version)) = oracle.in_flight {
        // By all its keys: a removed one may have been absent before.
        let mut is_there = true;
        for number in first..first + count {
            let found = engine
                .get(&view, &key_of(number), true)
                .map_err(stop("get"))?;
            is_there &= match found.as_ref().map(|found| found.stored()) {
                Some(Stored::Inline(bytes)) => {
                    version & REMOVED == 0 && bytes == value_of(number, version, &mut buffer)
                }
                Some(Stored::Extent(_)) => false,
                None => version & REMOVED != 0,
            };
        }
        if is_there {
            oracle.accept();
        }
        oracle.in_flight = None;
    }
    let mut there = 0;
    for number in 0..KEYS {
        let version = oracle.version(number);
        let found = engine
            .get(&view, &key_of(number), true)
            .map_err(stop("get"))?;
        let is_right = match found.as_ref().map(|found| found.stored()) {
            Some(Stored::Inline(bytes)) => {
                version & REMOVED == 0 && bytes == value_of(number, version, &mut buffer)
            }
            Some(Stored::Extent(_)) => false,
            None => version & REMOVED != 0,
        };
        if !is_right {
            return Err(Stop::Wrong(
                "a get found another value than was acknowledged",
            ));
        }
        there += u64::from(version & REMOVED == 0);
        checks.entries += 1;
    }
    let mut scanned = 0;
    let mut number = 0;
    let mut cursor = engine.cursor(&view, true).map_err(stop("cursor"))?;
    cursor.seek(CursorPosition::First).map_err(stop("seek"))?;
    while let Some(entry) = cursor.entry() {
        while number < KEYS && oracle.version(number) & REMOVED != 0 {
            number += 1;
        }
        if entry.key != key_of(number) {
            return Err(Stop::Wrong("a scan found another key"));
        }
        let value = value_of(number, oracle.version(number), &mut buffer);
        if entry.value != Stored::Inline(value) {
            return Err(Stop::Wrong("a scan found another value"));
        }
        number += 1;
        scanned += 1;
        cursor.advance().map_err(stop("advance"))?;
    }
    drop(cursor);
    let counted = engine.count(&view).map_err(stop("count"))?;
    if scanned != there || counted != there {
        return Err(Stop::Wrong(
            "a scan or a count found another number of entries",
        ));
    }
    Ok(())
}
