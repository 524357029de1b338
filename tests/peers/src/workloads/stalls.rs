//! How long a write may have to wait while writing never pauses.

use std::time::Instant;

use anyhow::Result;
use hdrhistogram::Histogram;

use super::steps::{Updates, load};
use super::{Context, Figures, Target, Unit, Workload, figures, less, more, plain};
use crate::engines::Durability;

/// Long enough that every engine fills many fronts.
const PHASES: u32 = 6;

/// Single updates without sync, each timed.
pub const STALLS: Workload = Workload {
    name: "stalls",
    about: "single random updates without sync, without pause: tail latency and longest stop",
    stages: &[plain(run)],
    figures: &[
        more(
            "stall_rate",
            "sustained updates/s, no sync",
            Unit::Rate,
            &[],
        ),
        less(
            "stall_p999",
            "99.9th percentile of an update",
            Unit::Microseconds,
            &[Target::of_fjall(1.0)],
        ),
        less(
            "stall_longest",
            "longest pause of an update",
            Unit::Milliseconds,
            &[Target::of_fjall(1.0)],
        ),
    ],
};

fn run(context: &Context) -> Result<Figures> {
    let entries = context.entries();
    let engine = context.open(Durability::OnRequest)?;
    load(engine.as_ref(), entries)?;
    let mut updates = Updates::new(entries, 0x57a1);
    let mut histogram = Histogram::<u64>::new(3)?;
    let duration = context.phase() * PHASES;
    let begun = Instant::now();
    while begun.elapsed() < duration {
        let change = updates.next();
        let asked = Instant::now();
        engine.commit(&[change])?;
        histogram.record(asked.elapsed().as_nanos() as u64)?;
    }
    let elapsed = begun.elapsed();
    updates.check(engine.as_ref())?;
    engine.close()?;
    Ok(figures([
        ("stall_rate", histogram.len() as f64 / elapsed.as_secs_f64()),
        (
            "stall_p999",
            histogram.value_at_quantile(0.999) as f64 / 1e3,
        ),
        ("stall_longest", histogram.max() as f64 / 1e6),
    ]))
}
