//! Reads of a database that nothing writes to, loaded in key order and cached.

use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;

use super::steps::{
    checked_full_scan, checked_get, checked_scan, full_scan, load, random, random_index,
};
use super::{Context, Figures, Target, Unit, Workload, figures, less, more, plain};
use crate::data::{Digest, SortedIndices};
use crate::engines::{Durability, Engine};
use crate::pace;

const CHECK_CLOCK_EVERY: u64 = 256;

/// Random gets, short scans and full scans.
pub const READS: Workload = Workload {
    name: "reads",
    about: "random gets by 1 and 2 threads, 10-entry scans, full scan, all cached",
    stages: &[plain(run)],
    figures: &[
        more(
            "get_1",
            "random gets/s, 1 thread",
            Unit::Rate,
            &[Target::of_lmdb(0.9), Target::absolute(100_000.0)],
        ),
        more(
            "get_2",
            "random gets/s, 2 threads",
            Unit::Rate,
            &[Target::of_lmdb(0.9)],
        ),
        less(
            "get_p99",
            "99th percentile of a get",
            Unit::Microseconds,
            &[Target::absolute(100.0)],
        ),
        more(
            "scan_10",
            "10-entry scans/s",
            Unit::Rate,
            &[Target::of_lmdb(0.9)],
        ),
        more(
            "full_scan",
            "full scan, entries/s",
            Unit::Rate,
            &[Target::of_lmdb(0.9)],
        ),
    ],
};

fn run(context: &Context) -> Result<Figures> {
    let entries = context.entries();
    let engine = context.open(Durability::OnRequest)?;
    let sorted = load(engine.as_ref(), entries)?;
    let expected = Digest::of_entries(entries, 0);
    checked_full_scan(engine.reader()?.as_mut(), expected)?;

    let phase = context.phase();
    let warm_up = phase / 4;
    gets(engine.as_ref(), entries, 1, warm_up)?;
    let get_1 = gets(engine.as_ref(), entries, 1, phase)?;
    let get_2 = gets(engine.as_ref(), entries, 2, phase)?;
    let get_p99 = get_p99_us(engine.as_ref(), entries, warm_up)?;
    scans(engine.as_ref(), &sorted, warm_up)?;
    let scan_10 = scans(engine.as_ref(), &sorted, phase)?;
    let full_scan = full_scans(engine.as_ref(), expected, phase)?;
    engine.close()?;
    Ok(figures([
        ("get_1", get_1),
        ("get_2", get_2),
        ("get_p99", get_p99),
        ("scan_10", scan_10),
        ("full_scan", full_scan),
    ]))
}

fn gets(engine: &dyn Engine, entries: u64, threads: usize, duration: Duration) -> Result<f64> {
    let done = pace::run(threads, duration, |thread, pace| {
        let mut reader = engine.reader()?;
        let mut random = random(thread as u64);
        loop {
            for _ in 0..CHECK_CLOCK_EVERY {
                checked_get(reader.as_mut(), random_index(&mut random, entries))?;
            }
            if !pace.lap(CHECK_CLOCK_EVERY) {
                return Ok(());
            }
        }
    })?;
    Ok(done.rate)
}

/// Apart from the rates, because reading the clock costs a part of a get.
fn get_p99_us(engine: &dyn Engine, entries: u64, duration: Duration) -> Result<f64> {
    let mut histogram = Histogram::<u64>::new(3)?;
    let mut reader = engine.reader()?;
    let mut random = random(0x99);
    let begun = Instant::now();
    while begun.elapsed() < duration {
        let index = random_index(&mut random, entries);
        let asked = Instant::now();
        checked_get(reader.as_mut(), index)?;
        histogram.record(asked.elapsed().as_nanos() as u64)?;
    }
    Ok(histogram.value_at_quantile(0.99) as f64 / 1e3)
}

fn scans(engine: &dyn Engine, sorted: &SortedIndices, duration: Duration) -> Result<f64> {
    let done = pace::run(1, duration, |_, pace| {
        let mut reader = engine.reader()?;
        let mut random = random(10);
        loop {
            for _ in 0..CHECK_CLOCK_EVERY {
                let position = random_index(&mut random, sorted.len() as u64);
                checked_scan(reader.as_mut(), sorted, position as usize)?;
            }
            if !pace.lap(CHECK_CLOCK_EVERY) {
                return Ok(());
            }
        }
    })?;
    Ok(done.rate)
}

fn full_scans(engine: &dyn Engine, expected: Digest, duration: Duration) -> Result<f64> {
    let done = pace::run(1, duration, |_, pace| {
        let mut reader = engine.reader()?;
        loop {
            let found = full_scan(reader.as_mut())?;
            if found != expected {
                crate::data::wrong!("a full scan differs from what was loaded");
            }
            if !pace.lap(found.count) {
                return Ok(());
            }
        }
    })?;
    Ok(done.rate)
}
