//! Development commands of the workspace, run as `cargo xtask COMMAND`.
//!
//! Each command is one file. A command returns an [`outcome::Outcome`]: passed,
//! or skipped with the reason; a failure is an error. Nothing here is needed to
//! build or use the database.

mod bench;
mod ci;
mod coverage;
mod dist;
mod fuzz;
mod lint;
mod loom;
mod manual;
mod miri;
mod nightly;
mod outcome;
mod packages;
mod peers;
mod plants;
mod process;
mod proof;
mod redis_bench;
mod redis_py;
mod redis_suite;
mod registry_toolchain;
mod sim;
mod size;
mod stress;
mod suite;
mod test;
mod tidy;
mod tsan;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::outcome::Outcome;

/// Checks, builds and measures the Lightning DB workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Test(test::Arguments),
    Ci(ci::Arguments),
    Tidy(tidy::Arguments),
    Lint(lint::Arguments),
    Size(size::Arguments),
    Miri(miri::Arguments),
    Tsan(tsan::Arguments),
    Loom(loom::Arguments),
    Proof(proof::Arguments),
    Sim(sim::Arguments),
    Stress(stress::Arguments),
    Plants(plants::Arguments),
    Peers(peers::Arguments),
    Bench(bench::Arguments),
    Dist(dist::Arguments),
    Manual(manual::Arguments),
    RedisBench(redis_bench::Arguments),
    RedisSuite(redis_suite::Arguments),
    RedisPySuite(redis_py::Arguments),
    RedisMachines(redis_py::machines::Arguments),
    Fuzz(fuzz::Arguments),
    Coverage(coverage::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Test(arguments) => test::run(&arguments),
        Command::Ci(arguments) => ci::run(&arguments),
        Command::Tidy(arguments) => tidy::run(&arguments),
        Command::Lint(arguments) => lint::run(&arguments),
        Command::Size(arguments) => size::run(&arguments),
        Command::Miri(arguments) => miri::run(&arguments),
        Command::Tsan(arguments) => tsan::run(&arguments),
        Command::Loom(arguments) => loom::run(&arguments),
        Command::Proof(arguments) => proof::run(&arguments),
        Command::Sim(arguments) => sim::run(&arguments),
        Command::Stress(arguments) => stress::run(&arguments),
        Command::Plants(arguments) => plants::run(&arguments),
        Command::Peers(arguments) => peers::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Dist(arguments) => dist::run(&arguments),
        Command::Manual(arguments) => manual::run(&arguments),
        Command::RedisBench(arguments) => redis_bench::run(&arguments),
        Command::RedisSuite(arguments) => redis_suite::run(&arguments),
        Command::RedisPySuite(arguments) => redis_py::run(&arguments),
        Command::RedisMachines(arguments) => redis_py::machines::run(&arguments),
        Command::Fuzz(arguments) => fuzz::run(&arguments),
        Command::Coverage(arguments) => coverage::run(&arguments),
    };
    match result {
        Ok(Outcome::Passed) => ExitCode::SUCCESS,
        Ok(Outcome::Skipped(reason)) => {
            println!("SKIPPED: {reason}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
