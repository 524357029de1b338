//! How long opening takes: by size of the data, and after a kill.
//!
//! Opening ends with the first answer, since an engine may put work off until
//! then. Each opening has a process of its own; the files are in the page cache.

use std::time::Instant;

use anyhow::Result;

use super::steps::{check_sample, checked_get, commit_in_batches, load, put};
use super::{Context, Figures, Manner, Stage, Target, Unit, Workload, figures, less, plain};
use crate::data::ENTRY_BYTES;
use crate::engines::{Durability, Engine, Options};
use crate::system::KeepAwake;

const SMALL_ENTRIES: u64 = 10_000;

/// Opening a large, a small and a killed database.
pub const OPENING: Workload = Workload {
    name: "opening",
    about: "open at 5M entries and at 10,000; open after SIGKILL with 64 MiB of log",
    stages: &[
        plain(fill),
        plain(open_small),
        plain(open_large),
        Stage {
            run: write_log,
            manner: Manner::Killed,
        },
        plain(open_killed),
    ],
    figures: &[
        less(
            "open_small",
            "open, 10,000 entries",
            Unit::Milliseconds,
            &[],
        ),
        less(
            "open_large",
            "open, 5M entries",
            Unit::Milliseconds,
            &[Target::of_own("open_small", 1.5)],
        ),
        less(
            "open_killed",
            "open after a kill, 64 MiB of log",
            Unit::Milliseconds,
            &[Target::absolute(150.0)],
        ),
    ],
};

fn options(context: &Context) -> Options {
    Options {
        // The log is to stay in the log: a front that takes all of it.
        front_bytes: 2 * context.front_bytes(),
        ..context.options(Durability::EveryCommit)
    }
}

fn large_entries(context: &Context) -> u64 {
    context.scaled(5_000_000)
}

/// Changes that fill the log by the size of one ordinary front.
fn logged_entries(context: &Context) -> u64 {
    (context.front_bytes() / ENTRY_BYTES).min(large_entries(context))
}

fn fill(context: &Context) -> Result<Figures> {
    for (name, entries) in [("large", large_entries(context)), ("small", SMALL_ENTRIES)] {
        let engine = context.open_with(name, &options(context))?;
        load(engine.as_ref(), entries)?;
        engine.close()?;
    }
    crate::system::sync_file_system(&context.directory)?;
    Ok(Figures::new())
}

/// Opens, reads one entry, and returns the milliseconds that took.
fn timed_open(context: &Context, name: &str) -> Result<(Box<dyn Engine>, f64)> {
    let options = options(context);
    let begun = Instant::now();
    let engine = context.open_with(name, &options)?;
    checked_get(engine.reader()?.as_mut(), 0)?;
    Ok((engine, begun.elapsed().as_secs_f64() * 1e3))
}

fn open_small(context: &Context) -> Result<Figures> {
    let (engine, milliseconds) = timed_open(context, "small")?;
    check_sample(engine.as_ref(), SMALL_ENTRIES, |_| 0)?;
    engine.close()?;
    Ok(figures([("open_small", milliseconds)]))
}

fn open_large(context: &Context) -> Result<Figures> {
    let (engine, milliseconds) = timed_open(context, "large")?;
    check_sample(engine.as_ref(), large_entries(context), |_| 0)?;
    engine.close()?;
    Ok(figures([("open_large", milliseconds)]))
}

fn write_log(context: &Context) -> Result<Figures> {
    let _keep_awake = KeepAwake::start();
    let engine = context.open_with("large", &options(context))?;
    let changes = (0..logged_entries(context)).map(|index| put(index, 1));
    commit_in_batches(engine.as_ref(), changes, |_| Ok(()))?;
    // The process is killed with the database open: nothing may close it.
    std::mem::forget(engine);
    Ok(Figures::new())
}

fn open_killed(context: &Context) -> Result<Figures> {
    let entries = large_entries(context);
    let logged = logged_entries(context);
    let (engine, milliseconds) = timed_open(context, "large")?;
    check_sample(engine.as_ref(), entries, |index| u32::from(index < logged))?;
    check_sample(engine.as_ref(), logged, |_| 1)?;
    engine.close()?;
    Ok(figures([("open_killed", milliseconds)]))
}
