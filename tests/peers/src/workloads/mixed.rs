//! Reads beside writes.
//!
//! Each read is a transaction of its own, begun by a refresh, and is checked for
//! freshness: the version it finds is not older than the last one acknowledged
//! before the read began, and not newer than the one being written when it ended.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use rand::RngExt as _;
use rand_distr::{Distribution as _, Zipf};

use super::steps::{
    BATCH, checked_get, checked_miss, checked_scan, load, put, random, random_index,
};
use super::{Context, Figures, Target, Unit, Workload, figures, more, plain};
use crate::data::{mix, wrong};
use crate::engines::{Durability, Engine, Reader};
use crate::pace;

const THREADS: usize = 2;
const CHECK_CLOCK_EVERY: usize = 64;
/// The skew that YCSB uses.
const ZIPF_EXPONENT: f64 = 0.99;
const TRACE_STEPS: usize = 1 << 20;
const FRONTS_WRITTEN: u64 = 20;

/// Half reads and mostly reads, by two threads on popular keys.
pub const MIXES: Workload = Workload {
    name: "mixes",
    about: "single reads and updates, 50/50 and 95/5, Zipf 0.99, 2 threads, no sync",
    stages: &[plain(run_mixes)],
    figures: &[
        more(
            "mix_50",
            "50/50 mix, operations/s",
            Unit::Rate,
            &[Target::of_best(1.0)],
        ),
        more(
            "mix_95",
            "95/5 mix, operations/s",
            Unit::Rate,
            &[Target::of_best(1.0)],
        ),
    ],
};

/// Reads while a writer fills one front after another.
pub const BUSY: Workload = Workload {
    name: "busy",
    about: "gets, misses and 10-entry scans while another thread updates 20 fronts, no sync",
    stages: &[plain(run_busy)],
    figures: &[
        more(
            "busy_get",
            "gets/s beside a writer",
            Unit::Rate,
            &[Target::of_fjall(1.0)],
        ),
        more(
            "busy_miss",
            "point misses/s beside a writer",
            Unit::Rate,
            &[Target::of_fjall(1.0)],
        ),
        more(
            "busy_scan",
            "10-entry scans/s beside a writer",
            Unit::Rate,
            &[Target::of_fjall(1.0), Target::of_lmdb(0.5)],
        ),
        more("busy_write", "updates/s of that writer", Unit::Rate, &[]),
    ],
};

/// The last acknowledged version of each entry. An entry has one writer.
struct Acknowledged(Vec<AtomicU32>);

impl Acknowledged {
    fn new(entries: u64) -> Self {
        Self((0..entries).map(|_| AtomicU32::new(0)).collect())
    }

    fn of(&self, index: u64) -> u32 {
        self.0[index as usize].load(Ordering::Acquire)
    }

    fn set(&self, index: u64, version: u32) {
        self.0[index as usize].store(version, Ordering::Release);
    }

    /// A get that must be fresh. A writer that has several versions of one entry
    /// under way says by `in_flight` how many at most.
    fn fresh_get(&self, reader: &mut dyn Reader, index: u64, in_flight: u32) -> Result<()> {
        let oldest = self.of(index);
        reader.refresh()?;
        let found = checked_get(reader, index)?;
        let newest = self.of(index) + in_flight;
        if found < oldest || found > newest {
            wrong!("entry {index} has version {found}, not between {oldest} and {newest}");
        }
        Ok(())
    }
}

/// One step of a mix: bit 31 says that it writes.
#[derive(Clone, Copy)]
struct Step(u32);

impl Step {
    const WRITES: u32 = 1 << 31;

    fn index(self) -> u64 {
        u64::from(self.0 & !Self::WRITES)
    }

    fn is_write(self) -> bool {
        self.0 & Self::WRITES != 0
    }
}

/// The steps of one thread, drawn in advance because drawing costs as much as a
/// quick read. A thread writes only indices of its own parity, so that each
/// entry has one writer and freshness can be told.
fn trace(thread: usize, entries: u64, write_share: f64) -> Result<Vec<Step>> {
    let zipf = Zipf::new(entries as f64, ZIPF_EXPONENT)
        .map_err(|error| anyhow!("the distribution refuses {entries} entries: {error}"))?;
    let mut random = random(0x21bf + thread as u64);
    let mut steps = Vec::with_capacity(TRACE_STEPS);
    for _ in 0..TRACE_STEPS {
        // Popular entries are spread over the keys, not neighbours.
        let rank = zipf.sample(&mut random) as u64;
        let index = mix(rank) % entries;
        steps.push(if random.random_bool(write_share) {
            let own = index - index % THREADS as u64 + thread as u64;
            Step(own as u32 | Step::WRITES)
        } else {
            Step(index as u32)
        });
    }
    Ok(steps)
}

fn run_mixes(context: &Context) -> Result<Figures> {
    // An even number, so that every index has a neighbour of the other parity.
    let entries = context.entries() / 2 * 2;
    let engine = context.open(Durability::OnRequest)?;
    load(engine.as_ref(), entries)?;
    let acknowledged = Acknowledged::new(entries);
    let phase = context.phase();
    let mut found = Figures::new();
    for (name, write_share) in [("mix_50", 0.5), ("mix_95", 0.05)] {
        let traces: Vec<Vec<Step>> = (0..THREADS)
            .map(|thread| trace(thread, entries, write_share))
            .collect::<Result<_>>()?;
        mix_for(engine.as_ref(), &traces, &acknowledged, phase / 4)?;
        let rate = mix_for(engine.as_ref(), &traces, &acknowledged, phase)?;
        found.insert(name.to_owned(), rate);
    }
    engine.close()?;
    Ok(found)
}

fn mix_for(
    engine: &dyn Engine,
    traces: &[Vec<Step>],
    acknowledged: &Acknowledged,
    duration: Duration,
) -> Result<f64> {
    let done = pace::run(traces.len(), duration, |thread, pace| {
        let mut reader = engine.reader()?;
        for steps in traces[thread].chunks(CHECK_CLOCK_EVERY).cycle() {
            for step in steps {
                let index = step.index();
                if step.is_write() {
                    let version = acknowledged.of(index) + 1;
                    engine.commit(&[put(index, version)])?;
                    acknowledged.set(index, version);
                } else {
                    acknowledged.fresh_get(reader.as_mut(), index, 1)?;
                }
            }
            if !pace.lap(steps.len() as u64) {
                break;
            }
        }
        Ok(())
    })?;
    Ok(done.rate)
}

#[derive(Default)]
struct Tally {
    operations: u64,
    spent: Duration,
}

impl Tally {
    fn rate(&self) -> f64 {
        self.operations as f64 / self.spent.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// Times `operations` repetitions of `operation`.
    fn add(&mut self, operations: u64, mut operation: impl FnMut() -> Result<()>) -> Result<()> {
        let begun = Instant::now();
        for _ in 0..operations {
            operation()?;
        }
        self.spent += begun.elapsed();
        self.operations += operations;
        Ok(())
    }
}

fn run_busy(context: &Context) -> Result<Figures> {
    let entries = context.entries();
    let engine = context.open(Durability::OnRequest)?;
    let engine = engine.as_ref();
    let sorted = load(engine, entries)?;
    let acknowledged = Acknowledged::new(entries);
    let updates = FRONTS_WRITTEN * context.entries_per_front();
    let is_done = AtomicBool::new(false);

    let (mut gets, mut misses, mut scans) = (Tally::default(), Tally::default(), Tally::default());
    let written = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let written = write_updates(engine, &acknowledged, updates, &is_done);
            is_done.store(true, Ordering::Release);
            written
        });
        let read = (|| {
            let mut reader = engine.reader()?;
            let reader = reader.as_mut();
            let mut random = random(0xb5);
            // In short turns, so that all three meet the same states.
            while !is_done.load(Ordering::Acquire) {
                gets.add(200, || {
                    let index = random_index(&mut random, entries);
                    acknowledged.fresh_get(reader, index, BATCH as u32)
                })?;
                misses.add(200, || {
                    let absent = entries + random_index(&mut random, entries);
                    reader.refresh()?;
                    checked_miss(reader, absent)
                })?;
                scans.add(50, || {
                    let position = random_index(&mut random, entries);
                    reader.refresh()?;
                    checked_scan(reader, &sorted, position as usize).map(drop)
                })?;
            }
            Ok(())
        })();
        is_done.store(true, Ordering::Release);
        let written = writer
            .join()
            .unwrap_or_else(|_| Err(anyhow!("the writer panicked")));
        read.and(written)
    })?;
    super::steps::check_sample(engine, entries, |index| acknowledged.of(index))?;
    Ok(figures([
        ("busy_get", gets.rate()),
        ("busy_miss", misses.rate()),
        ("busy_scan", scans.rate()),
        ("busy_write", written),
    ]))
}

/// Commits `updates` uniform updates in batches; returns their rate.
fn write_updates(
    engine: &dyn Engine,
    acknowledged: &Acknowledged,
    updates: u64,
    is_done: &AtomicBool,
) -> Result<f64> {
    let entries = acknowledged.0.len() as u64;
    let mut random = random(0xb52);
    let mut next_versions = vec![0_u32; entries as usize];
    let mut batch = Vec::with_capacity(BATCH as usize);
    let mut written = Vec::with_capacity(BATCH as usize);
    let begun = Instant::now();
    let mut count = 0;
    while count < updates && !is_done.load(Ordering::Acquire) {
        batch.clear();
        written.clear();
        for _ in 0..BATCH {
            let index = random_index(&mut random, entries);
            let version = &mut next_versions[index as usize];
            *version += 1;
            batch.push(put(index, *version));
            written.push((index, *version));
        }
        engine.commit(&batch)?;
        for (index, version) in &written {
            acknowledged.set(*index, *version);
        }
        count += BATCH;
    }
    Ok(count as f64 / begun.elapsed().as_secs_f64())
}
