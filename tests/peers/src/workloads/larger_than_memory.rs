//! Random reads of data four times the memory, page cache included.
//!
//! Half of the memory is the engine's cache, where it has one, and the rest is
//! the process and the page cache. Keys are computed, so that the measuring
//! process holds nothing that grows with the data.

use std::time::Instant;

use anyhow::Result;

use super::steps::{checked_get, load, random, random_index};
use super::{Context, Figures, Manner, Stage, Target, Unit, Workload, figures, less, more, plain};
use crate::engines::{Durability, Options};
use crate::pace;
use crate::system::{Device, drop_page_cache};

const CHECK_CLOCK_EVERY: u64 = 16;
const PAGE_BYTES: u64 = 4096;
/// Reading stops to fill the caches after so many phases at the latest.
const WARM_UP_PHASES: u32 = 6;
const MEBIBYTE: u64 = 1024 * 1024;

/// Random gets with a quarter of the data in memory.
pub const LARGER: Workload = Workload {
    name: "larger",
    about: "random gets, data 4 times the memory (at least 3M entries)",
    stages: &[
        plain(fill),
        Stage {
            run: read,
            manner: Manner::Limited,
        },
    ],
    figures: &[
        more(
            "larger_get",
            "random gets/s, data 4 times the memory",
            Unit::Rate,
            &[Target::of_lmdb(0.9)],
        ),
        less("larger_reads", "device reads a get", Unit::Number, &[]),
    ],
};

fn options(context: &Context) -> Options {
    let cache_bytes = context.limited_bytes() / 2;
    Options {
        durability: Durability::OnRequest,
        cache_bytes,
        front_bytes: (cache_bytes / 8).clamp(MEBIBYTE, 64 * MEBIBYTE),
        exceeds_memory: true,
    }
}

fn fill(context: &Context) -> Result<Figures> {
    let engine = context.open_with("data", &options(context))?;
    load(engine.as_ref(), context.entries_beyond_memory())?;
    engine.close()?;
    drop_page_cache(&context.directory)?;
    Ok(Figures::new())
}

fn read(context: &Context) -> Result<Figures> {
    let entries = context.entries_beyond_memory();
    let engine = context.open_with("data", &options(context))?;
    let device = Device::of(&context.directory)?;

    let mut reader = engine.reader()?;
    let mut random = random(0x1a46);
    let begun = Instant::now();
    for _ in 0..2 * context.limited_bytes() / PAGE_BYTES {
        checked_get(reader.as_mut(), random_index(&mut random, entries))?;
        if begun.elapsed() > context.phase() * WARM_UP_PHASES {
            break;
        }
    }
    drop(reader);

    let before = device.as_ref().map(Device::counters).transpose()?;
    let done = pace::run(1, context.phase(), |_, pace| {
        let mut reader = engine.reader()?;
        let mut random = crate::workloads::steps::random(0x1a47);
        loop {
            for _ in 0..CHECK_CLOCK_EVERY {
                checked_get(reader.as_mut(), random_index(&mut random, entries))?;
            }
            if !pace.lap(CHECK_CLOCK_EVERY) {
                return Ok(());
            }
        }
    })?;
    let mut found = figures([("larger_get", done.rate)]);
    if let (Some(device), Some(before)) = (&device, before) {
        let spent = device.counters()?.since(before);
        let reads_per_get = spent.reads as f64 / done.operations as f64;
        found.insert("larger_reads".to_owned(), reads_per_get);
    }
    engine.close()?;
    Ok(found)
}
