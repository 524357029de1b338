//! The table of checks. A check is added by a module of its own and a line here.

mod engine_allocations;
mod engine_bit_flip;
mod engine_call_errors;
mod engine_every_byte;
mod engine_failed_sync;
mod engine_foreign;
mod engine_full_deletes;
mod engine_full_disk;
mod engine_io_error;
mod engine_isolation;
mod engine_memory;
mod engine_memory_open;
mod engine_model;
mod engine_power_cut;
mod engine_recovery_cuts;
mod engine_sequences;
mod engine_stale;
mod engine_threads;
mod simulator_power_cut;

/// How much a check does, and from which seed.
pub struct Settings {
    /// The origin of every random choice.
    pub seed: u64,
    /// As many cases as a release is held to, instead of a few seconds' worth.
    pub is_long: bool,
}

/// What a check found.
pub struct Outcome {
    /// How many cases it ran.
    pub cases: u64,
    /// How many of them broke the rule.
    pub bad: u64,
    /// The first bad case, with all that is needed to repeat it.
    pub first_bad: Option<String>,
    /// What else is worth a line.
    pub note: Option<String>,
}

/// One entry of the table.
pub struct Check {
    /// The name that `--only` takes.
    pub name: &'static str,
    /// The rule, in a few words.
    pub about: &'static str,
    /// Runs the check.
    pub run: fn(&Settings) -> Outcome,
}

/// Every check, in the order in which they run.
pub const CHECKS: &[Check] = &[
    simulator_power_cut::CHECK,
    engine_model::CHECK,
    engine_power_cut::CHECK,
    engine_sequences::CHECK,
    engine_recovery_cuts::CHECK,
    engine_failed_sync::CHECK,
    engine_io_error::CHECK,
    engine_call_errors::CHECK,
    engine_full_disk::CHECK,
    engine_full_deletes::CHECK,
    engine_memory::CHECK,
    engine_memory_open::CHECK,
    engine_allocations::CHECK,
    engine_bit_flip::CHECK,
    engine_every_byte::CHECK,
    engine_stale::CHECK,
    engine_foreign::CHECK,
    engine_threads::CHECK,
    engine_isolation::CHECK,
];
