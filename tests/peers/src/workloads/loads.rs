//! Writes: the sorted load, batches without sync, single durable commits.

use std::time::Instant;

use anyhow::Result;

use super::steps::{
    BATCH, check_sample, checked_full_scan, checked_get, commit_in_batches, load, load_in_order,
    put,
};
use super::{Context, Figures, Target, Unit, Workload, figures, less, more, plain};
use crate::data::{Digest, SortedIndices};
use crate::engines::{Durability, Engine};
use crate::pace;
use crate::system::{Device, KeepAwake};

/// The sorted bulk load, durable at its end.
pub const LOAD: Workload = Workload {
    name: "load",
    about: "sorted bulk load into an empty database, durable at its end",
    stages: &[plain(run_load)],
    figures: &[more(
        "load",
        "sorted bulk load, entries/s",
        Unit::Rate,
        &[Target::of_lmdb(1.0)],
    )],
};

/// Random inserts in batches.
pub const INSERTS: Workload = Workload {
    name: "inserts",
    about: "inserts in random order, batches of 1,000, no sync, into an empty database",
    stages: &[plain(run_inserts)],
    figures: &[more(
        "insert",
        "random inserts/s, batches of 1,000, no sync",
        Unit::Rate,
        &[Target::of_fjall(1.2), Target::absolute(50_000.0)],
    )],
};

/// Single durable commits.
pub const COMMITS: Workload = Workload {
    name: "commits",
    about: "single durable inserts by 1 and 8 threads, with flushes and device writes",
    stages: &[plain(run_commits)],
    figures: &[
        more(
            "commit_1",
            "durable commits/s, 1 thread",
            Unit::Rate,
            &[Target::of_best(1.0)],
        ),
        less(
            "commit_1_flushes",
            "device flushes a commit, 1 thread",
            Unit::Number,
            &[],
        ),
        less(
            "commit_1_writes",
            "device writes a commit, 1 thread",
            Unit::Number,
            &[],
        ),
        more(
            "commit_8",
            "durable commits/s, 8 threads",
            Unit::Rate,
            &[Target::of_best(2.0)],
        ),
        less(
            "commit_8_flushes",
            "device flushes a commit, 8 threads",
            Unit::Number,
            &[],
        ),
        less(
            "commit_8_writes",
            "device writes a commit, 8 threads",
            Unit::Number,
            &[],
        ),
    ],
};

fn run_load(context: &Context) -> Result<Figures> {
    let entries = context.entries();
    let engine = context.open(Durability::OnRequest)?;
    let sorted = SortedIndices::new(entries);
    let begun = Instant::now();
    load_in_order(engine.as_ref(), &sorted)?;
    let elapsed = begun.elapsed();
    checked_full_scan(engine.reader()?.as_mut(), Digest::of_entries(entries, 0))?;
    engine.close()?;
    Ok(figures([("load", entries as f64 / elapsed.as_secs_f64())]))
}

fn run_inserts(context: &Context) -> Result<Figures> {
    let entries = context.entries() / BATCH * BATCH;
    let engine = context.open(Durability::OnRequest)?;
    let begun = Instant::now();
    // Keys look random, so the order of the indices is a random order of keys.
    let changes = (0..entries).map(|index| put(index, 0));
    commit_in_batches(engine.as_ref(), changes, |_| Ok(()))?;
    let elapsed = begun.elapsed();
    check_sample(engine.as_ref(), entries, |_| 0)?;
    checked_full_scan(engine.reader()?.as_mut(), Digest::of_entries(entries, 0))?;
    engine.close()?;
    Ok(figures([(
        "insert",
        entries as f64 / elapsed.as_secs_f64(),
    )]))
}

fn run_commits(context: &Context) -> Result<Figures> {
    let entries = context.entries();
    let engine = context.open(Durability::EveryCommit)?;
    load(engine.as_ref(), entries)?;
    engine.sync()?;
    crate::system::sync_file_system(&context.directory)?;
    let device = Device::of(&context.directory)?;

    let _keep_awake = KeepAwake::start();
    let mut found = Figures::new();
    for threads in [1, 8] {
        // Each thread, and each phase, inserts a range of indices of its own.
        let first_of = |thread: usize| entries + (((threads * 16 + thread) as u64) << 32);
        let before = device.as_ref().map(Device::counters).transpose()?;
        let counts = std::sync::Mutex::new(vec![0; threads]);
        let done = pace::run(threads, context.phase(), |thread, pace| {
            let first = first_of(thread);
            let mut inserted = 0;
            loop {
                engine.commit(&[put(first + inserted, 1)])?;
                inserted += 1;
                if !pace.lap(1) {
                    break;
                }
            }
            if let Ok(mut counts) = counts.lock() {
                counts[thread] = inserted;
            }
            Ok(())
        })?;
        found.insert(format!("commit_{threads}"), done.rate);
        if let (Some(device), Some(before)) = (&device, before) {
            let spent = device.counters()?.since(before);
            let commits = done.operations as f64;
            found.insert(
                format!("commit_{threads}_flushes"),
                spent.flushes as f64 / commits,
            );
            found.insert(
                format!("commit_{threads}_writes"),
                spent.writes as f64 / commits,
            );
        }
        let counts = counts.into_inner().unwrap_or_default();
        check_inserted(
            engine.as_ref(),
            counts
                .into_iter()
                .enumerate()
                .map(|(thread, inserted): (usize, u64)| (first_of(thread), inserted)),
        )?;
    }
    engine.close()?;
    Ok(found)
}

fn check_inserted(engine: &dyn Engine, ranges: impl Iterator<Item = (u64, u64)>) -> Result<()> {
    let mut reader = engine.reader()?;
    for (first, inserted) in ranges {
        for index in first..first + inserted {
            checked_get(reader.as_mut(), index)?;
        }
    }
    Ok(())
}
