//! `peers`: measures Lightning DB beside LMDB (heed), redb and fjall.
//!
//! Same data, durability, cache and front for all; no compression; every answer
//! checked. Each measurement runs in processes of its own ([`stage`]), engines
//! take turns ([`run`]), and what counts is the median of the rounds. The program
//! ends with a table of figures and one of targets ([`report`]), and fails when
//! an engine answered wrongly or could not run; a missed target is no failure.
//!
//! `engines` knows the engines, `workloads` what is asked of them, and neither
//! knows the other's insides. `damage` measures nothing: it tells what the engines,
//! and SQLite, make of damaged files.

mod damage;
mod data;
mod engines;
mod memory;
mod pace;
mod report;
mod run;
mod stage;
mod system;
mod workloads;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Parser, Subcommand};

use crate::engines::{ENGINES, EngineKind};
use crate::run::Plan;
use crate::workloads::{WORKLOADS, Workload};

/// Measures Lightning DB beside LMDB, redb and fjall
///
/// Durable workloads run beside a thread that keeps a CPU awake; device counters
/// are those of the whole device. For figures that hold, use a quiet machine.
#[derive(Parser)]
#[command(name = "peers", version, args_conflicts_with_subcommands = true)]
#[command(after_help = "Examples:
  peers --list
  peers --scale 0.02 --rounds 1
  peers --workloads reads,commits --engines lightning,lmdb --json figures.json")]
struct Arguments {
    /// Factor on all amounts of data; 1 is 2M entries
    #[arg(long, value_name = "F", default_value_t = 1.0)]
    scale: f64,

    /// Workloads to run [default: all]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    workloads: Vec<String>,

    /// Engines to measure [default: all]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    engines: Vec<String>,

    /// How often everything is measured
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: usize,

    /// Where the databases are written; should be on the device that matters
    #[arg(long, value_name = "DIR", default_value = "target/peers-data")]
    directory: PathBuf,

    /// Also write settings, samples and verdicts to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Cache of every engine that has one, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 512)]
    cache_mb: u64,

    /// Length of a timed phase at scale 1, in seconds
    #[arg(long, value_name = "S", default_value_t = 5.0)]
    seconds: f64,

    /// List workloads and engines, and do nothing
    #[arg(long)]
    list: bool,

    #[command(subcommand)]
    inner: Option<Inner>,
}

/// What it does besides measuring, and what it asks of itself in other processes.
#[derive(Subcommand)]
enum Inner {
    /// Runs one stage of a workload
    #[command(hide = true)]
    Stage {
        /// The order, as JSON
        order: String,
    },
    /// Damages the files of small closed databases, and tells what each engine makes of that
    ///
    /// A bit is flipped in every byte, and each file is cut off at every length; one table
    /// for each. All of it takes some minutes on a file system in memory.
    Damage {
        /// The most cases of an engine in a table, evenly spread [default: all]
        #[arg(long, value_name = "N")]
        cases: Option<usize>,
        /// Only these engines [default: all, and sqlite]
        #[arg(long, value_name = "NAMES", value_delimiter = ',')]
        engines: Vec<String>,
        /// Where the databases are written; a file system in memory is much faster
        #[arg(long, value_name = "DIR", default_value = "target/peers-data")]
        directory: PathBuf,
    },
    /// Tries some faults on one engine
    #[command(hide = true)]
    DamageCases(damage::Cases),
    /// Locks all memory but so much
    #[command(hide = true)]
    Ballast {
        /// Bytes to leave free
        free_bytes: u64,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match &arguments.inner {
        Some(Inner::Stage { order }) => stage::run_here(order).map(|()| true),
        Some(Inner::Ballast { free_bytes }) => memory::run_ballast(*free_bytes).map(|()| true),
        Some(Inner::Damage {
            cases,
            engines,
            directory,
        }) => std::path::absolute(directory)
            .map_err(Into::into)
            .and_then(|directory| damage::run(&directory, *cases, engines))
            .map(|()| true),
        Some(Inner::DamageCases(cases)) => damage::run_cases(cases).map(|()| true),
        None if arguments.list => {
            list();
            Ok(true)
        }
        None => compare(&arguments),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("peers: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs and reports; false when a measurement gave no figures.
fn compare(arguments: &Arguments) -> Result<bool> {
    let plan = plan(arguments)?;
    let results = run::run(&plan)?;
    report::print(&plan, &results);
    if let Some(path) = &arguments.json {
        report::save(&plan, &results, path)?;
    }
    for failure in &results.failures {
        eprintln!("peers: {failure}");
    }
    Ok(results.failures.is_empty())
}

fn plan(arguments: &Arguments) -> Result<Plan> {
    ensure!(
        arguments.scale > 0.0 && arguments.scale <= 100.0,
        "--scale must be above 0 and at most 100"
    );
    ensure!(
        arguments.seconds > 0.0 && arguments.seconds <= 3600.0,
        "--seconds must be above 0 and at most 3600"
    );
    ensure!(arguments.rounds > 0, "--rounds must be at least 1");
    ensure!(arguments.cache_mb > 0, "--cache-mb must be at least 1");
    let mut workloads: Vec<&'static Workload> = WORKLOADS.to_vec();
    if !arguments.workloads.is_empty() {
        for name in &arguments.workloads {
            workloads::find(name)
                .with_context(|| format!("no workload is called {name:?}; --list names them"))?;
        }
        workloads.retain(|workload| arguments.workloads.iter().any(|name| name == workload.name));
    }
    let mut engines: Vec<EngineKind> = ENGINES.to_vec();
    if !arguments.engines.is_empty() {
        for name in &arguments.engines {
            if engines::find(name).is_none() {
                bail!("no engine is called {name:?}; --list names them");
            }
        }
        engines.retain(|engine| arguments.engines.iter().any(|name| name == engine.name));
    }
    Ok(Plan {
        workloads,
        engines,
        rounds: arguments.rounds,
        scale: arguments.scale,
        seconds: arguments.seconds,
        cache_bytes: arguments.cache_mb << 20,
        directory: std::path::absolute(&arguments.directory)?,
    })
}

fn list() {
    println!("workloads:");
    for workload in WORKLOADS {
        println!("  {:14} {}", workload.name, workload.about);
    }
    let names: Vec<&str> = ENGINES.iter().map(|engine| engine.name).collect();
    println!("engines:\n  {}", names.join(", "));
}
