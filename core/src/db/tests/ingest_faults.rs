//! The power goes, or a call fails, while loads are on their way to become runs: what was
//! acknowledged is there as a whole, and what wasn't is there as a whole or not at all.

use super::stream_faults::{Step, cut_script, fail_script, name};
use super::streams::content;
use super::*;
use lightning_sim::Random;

/// Loads among commits, so that each stands above a memtable, and some above nothing.
fn script(seed: u64, count: usize) -> Vec<Step> {
    let mut random = Random::new(seed);
    (0..count)
        .map(|_| match random.below(12) {
            0..2 => Step::Ingest(random.next_u64(), random.below(60), 1 + random.below(70)),
            2 => Step::Ingest(random.next_u64(), random.below(60), 1),
            3 => Step::LostIngest(random.next_u64(), 1 + random.below(70)),
            4 => Step::DeleteTo(name(random.below(120)), name(120 + random.below(120))),
            5 => Step::Stream(
                name(20 * random.below(12)),
                random.next_u64(),
                1 + random.below(4_000) as usize,
            ),
            6 if random.below(2) > 0 => Step::Drain,
            6 => Step::Trim(3),
            _ => {
                let mut put = |_| {
                    let length = random.below(115) as usize;
                    (name(random.below(240)), content(random.next_u64(), length))
                };
                Step::Put((0..6).map(&mut put).collect())
            }
        })
        .collect()
}

fn cut_everywhere(sim: SimOptions, options: &Options, seed: u64, steps: usize, stride: u64) {
    cut_script(sim, options, &script(seed, steps), seed, stride);
}

#[test]
fn a_power_cut_anywhere_around_loads() {
    cut_everywhere(SimOptions::disk(512), &busy_options(), 1, 60, 3);
    let options = Options {
        runs: 2,
        page_bytes: 512,
        memtable_bytes: 5 << 10,
        transaction_bytes: 1 << 10,
        value_bytes_max: 700,
        slice_bytes_min: 1 << 10,
        // Each load takes several stretches of units.
        write_buffer_bytes: 1 << 10,
        ..busy_options()
    };
    cut_everywhere(SimOptions::disk(512), &options, 2, 60, 3);
}

#[test]
fn a_power_cut_anywhere_around_loads_that_are_read_when_written() {
    let options = Options {
        durability: Durability::Written,
        segment_bytes: 8 << 10,
        runs: 1,
        ..busy_options()
    };
    cut_everywhere(SimOptions::disk(512), &options, 3, 60, 5);
}

#[test]
fn a_power_cut_anywhere_around_loads_on_flash() {
    let options = Options {
        file_bytes_max: 8 << 20,
        runs: 3,
        ..busy_options()
    };
    let flash = SimOptions::flash(256, 4_096, 16 << 20);
    cut_everywhere(flash, &options, 4, 40, 5);
}

#[test]
fn a_failing_call_around_loads_loses_nothing() {
    fail_script(&busy_options(), &script(5, 60), 5, 3);
    let options = Options {
        runs: 1,
        memtable_bytes: 5 << 10,
        transaction_bytes: 1 << 10,
        value_bytes_max: 700,
        slice_bytes_min: 1 << 10,
        // Each load takes several stretches of units.
        write_buffer_bytes: 1 << 10,
        ..busy_options()
    };
    fail_script(&options, &script(6, 60), 6, 3);
}
