//! One life of a database: a process that opens it, tells all that it finds, and works
//! until it is killed.
//!
//! # Protocol
//! It opens the database, tells `Opened`, reads all tables in one snapshot, tells them and
//! `Looked`, and waits for one line on its standard input:
//!
//! - `go N N …`: each worker goes on from the operation after *N*, and tells what is
//!   acknowledged, until the process is killed;
//! - `fill N N …`: the same, until each worker has met an error that says there is no room;
//!   then everything is read and told once more, and nothing follows;
//! - `end`: the database is checked and closed.
//!
//! Whatever fails otherwise is told as `Failed`, and ends the process with code 2.

use std::cell::RefCell;
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lightning_db::{Database, Error, Result};
use lightning_sim::{Random, mix};

use crate::message::Message;
use crate::model::Entry;
use crate::operation::{ORDER, Source};
use crate::worker::{Acknowledging, Worker};

/// How long a read transaction of the reader stays open at most.
const READER_STAYS_MS: u64 = 25;

/// What it ends with where something failed.
pub const EXIT_FAILED: u8 = 2;

/// Lives; answers the exit code.
pub fn live(source: &Source, directory: &Path) -> u8 {
    let lived = run(source, directory);
    match lived {
        Ok(()) => 0,
        Err(words) => {
            // Who killed it may not listen any more.
            let _told = Message::Failed(words).tell();
            EXIT_FAILED
        }
    }
}

/// Memory that is taken before the database is opened.
struct Buffers {
    look: BufWriter<io::Stdout>,
    of_workers: Vec<Vec<u8>>,
}

fn words(error: Error) -> String {
    error.to_string()
}

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

fn run(source: &Source, directory: &Path) -> std::result::Result<(), String> {
    // Before the library takes its memory: a limit on it is to meet the library.
    let mut buffers = Buffers {
        look: BufWriter::with_capacity(64 << 10, io::stdout()),
        of_workers: (0..source.setup.workers)
            .map(|_| Vec::with_capacity(source.value_bytes_max()))
            .collect(),
    };
    let database = source.setup.builder().open(directory).map_err(words)?;
    let told = |error: io::Error| format!("nobody listens: {error}");
    Message::Opened.tell().map_err(told)?;
    look(&database, &mut buffers.look).map_err(words)?;
    let mut line = String::new();
    io::stdin().read_line(&mut line).map_err(told)?;
    let mut parts = line.split_ascii_whitespace();
    let command = parts.next().unwrap_or("end").to_owned();
    let numbers: Vec<u64> = parts.filter_map(|part| part.parse().ok()).collect();
    source.setup.apply(&database);
    match &command[..] {
        "go" => work(source, &database, &numbers, &mut buffers, false)?,
        "fill" => {
            work(source, &database, &numbers, &mut buffers, true)?;
            look(&database, &mut buffers.look).map_err(words)?;
            // It stays, with a full device, until it is killed.
            io::stdin().read_line(&mut line).map_err(told)?;
        }
        _ => {
            let verified = database.verify().map_err(words)?;
            if verified.leaked_units > 0 {
                return Err(format!("{} units belong to nothing", verified.leaked_units));
            }
            database.close().map_err(words)?;
            Message::Closed.tell().map_err(told)?;
        }
    }
    Ok(())
}

/// Reads everything in one snapshot, and tells it.
fn look(database: &Database, out: &mut BufWriter<io::Stdout>) -> Result<()> {
    let begun_ms = now_ms();
    let mut send = |message: Message| out.write_all(&message.encode()).is_ok();
    let tables = database.tables()?;
    let read = database.begin_read()?;
    for table in tables {
        send(Message::Table(table.name().to_owned()));
        let reader = read.open(&table)?;
        let mut count = 0;
        reader.for_each(.., |entry| {
            count += 1;
            let told = Entry::new(entry.value, entry.expiry_ms, entry.metadata);
            if send(Message::Entry(entry.key.to_vec(), told)) {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
    }
    send(Message::Looked(begun_ms, now_ms()));
    // Who doesn't listen kills it next.
    let _told = out.flush();
    Ok(())
}

/// Has all workers go on; `until_full`: until each has met that there is no room.
fn work(
    source: &Source,
    database: &Database,
    numbers: &[u64],
    buffers: &mut Buffers,
    until_full: bool,
) -> std::result::Result<(), String> {
    let shared = database.table("shared").map_err(words)?;
    let loaded = database.table("loaded").map_err(words)?;
    let order = database.table(ORDER).map_err(words)?;
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..source.setup.workers)
            .map(|worker| {
                let number = numbers.get(usize::from(worker)).copied().unwrap_or(0);
                let how = mix(source.seed ^ mix(number) ^ u64::from(worker));
                let buffer = buffers.of_workers.pop().unwrap_or_default();
                let mut worker = Worker {
                    database,
                    source,
                    worker,
                    tables: [shared.clone(), loaded.clone(), order.clone()],
                    acknowledging: match how % 3 {
                        0 => Acknowledging::AtOnce,
                        1 => Acknowledging::Tickets,
                        _ => Acknowledging::BySync,
                    },
                    buffer: RefCell::new(buffer),
                };
                thread::Builder::new().spawn_scoped(scope, move || worker.work(number))
            })
            .collect();
        let mut random = Random::new(source.seed);
        let is_over = &is_over;
        let reader = thread::Builder::new().spawn_scoped(scope, move || {
            while !is_over.load(Ordering::Relaxed) {
                read_order(database, &mut random)?;
            }
            Ok(())
        });
        let mut failures = Vec::new();
        for worker in workers {
            let ended = worker.map_err(|error| format!("no thread: {error}"))?;
            match ended.join() {
                Ok(Err(error)) if until_full => {
                    let _told = Message::Full(error.to_string()).tell();
                }
                Ok(Ok(())) => {}
                Ok(Err(error)) => failures.push(error.to_string()),
                Err(_) => failures.push("a worker panicked".to_owned()),
            }
        }
        is_over.store(true, Ordering::Relaxed);
        let reader = reader.map_err(|error| format!("no thread: {error}"))?;
        match reader.join() {
            Ok(Err(words)) => failures.push(words),
            Ok(Ok(())) => {}
            Err(_) => failures.push("the reader panicked".to_owned()),
        }
        if failures.is_empty() {
            Ok(())
        } else {
            Err(failures.join("; "))
        }
    })
}

/// Reads the shared order in a snapshot that stays open for a while: all numbers up to its
/// head are there, and no other.
fn read_order(database: &Database, random: &mut Random) -> std::result::Result<(), String> {
    // What a worker's error has told already counts more than what follows from it.
    let flips = database.statistics().engine.store.flips;
    Message::Flips(flips)
        .tell()
        .map_err(|error| error.to_string())?;
    let read = database.begin_read().map_err(words)?;
    thread::sleep(Duration::from_millis(random.below(READER_STAYS_MS)));
    let Some(table) = database.existing_table(ORDER).map_err(words)? else {
        return Ok(());
    };
    let order = read.open(&table).map_err(words)?;
    let head = order.get(b"").map_err(words)?;
    let head = head.map_or(0, |head| {
        u64::from_be_bytes(head[..].try_into().unwrap_or_default())
    });
    let mut expected = 1;
    let mut is_gapless = true;
    order
        .for_each(&b"\0"[..].., |entry| {
            is_gapless &= entry.key == u64::to_be_bytes(expected);
            expected += 1;
            ControlFlow::Continue(())
        })
        .map_err(words)?;
    if is_gapless && expected == head + 1 {
        Ok(())
    } else {
        Err(format!(
            "a snapshot has {} numbers of an order whose head is {head}",
            expected - 1
        ))
    }
}
