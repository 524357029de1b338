//! `stress`: what becomes of a database when its process is killed, and when disk,
//! descriptors or memory run out, with real processes on the real system.
//!
//! Who judges is never the process that works: lives ([`life`], [`worker`]) do what follows
//! from a seed ([`operation`]) and tell through a pipe ([`message`]) what was acknowledged;
//! the program that starts and kills them ([`process`]) knows what that comes to
//! ([`model`]) and compares ([`judge`]). The parts are `kills`, `full_disk` and `limits`.

mod full_disk;
mod judge;
mod kills;
mod life;
mod limits;
mod message;
mod model;
mod operation;
mod process;
mod report;
mod setup;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

use clap::{Parser, Subcommand, ValueEnum};

use operation::Source;

/// Kills processes that use a database, and takes disk, descriptors and memory from them
#[derive(Parser)]
#[command(name = "stress", args_conflicts_with_subcommands = true)]
struct Arguments {
    /// How many processes are killed
    #[arg(long, value_name = "N", default_value_t = 240)]
    kills: u64,
    /// The seed that operations and moments follow from; what is running at a moment doesn't
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Run only this part
    #[arg(long, value_name = "NAME")]
    only: Option<Part>,
    /// Of the kills, run only those of this course
    #[arg(long, value_name = "N")]
    course: Option<u64>,
    /// Where the databases are; those of a failure stay there
    #[arg(long, value_name = "DIR", default_value = "target/stress")]
    directory: PathBuf,
    #[command(subcommand)]
    inner: Option<Inner>,
}

/// A part of the program.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Processes are killed
    Kills,
    /// The device is full
    FullDisk,
    /// Too few files may be open
    Files,
    /// There is too little memory
    Memory,
}

/// What the program asks of itself in other processes.
#[derive(Subcommand)]
enum Inner {
    /// Lives once
    #[command(hide = true)]
    Life {
        /// The setup by name
        #[arg(long)]
        setup: String,
        /// The database's seed
        #[arg(long)]
        seed: u64,
        /// What times of expiry are counted from
        #[arg(long)]
        base_ms: u64,
        /// The database
        #[arg(long)]
        directory: PathBuf,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(Inner::Life {
        setup,
        seed,
        base_ms,
        directory,
    }) = &arguments.inner
    {
        let Some(setup) = setup::find(setup) else {
            eprintln!("stress: no setup is called {setup:?}");
            return ExitCode::FAILURE;
        };
        let source = Source {
            seed: *seed,
            setup,
            base_ms: *base_ms,
        };
        return ExitCode::from(life::live(&source, directory));
    }
    if run(&arguments) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Runs the parts that are asked for; answers whether all were good.
fn run(arguments: &Arguments) -> bool {
    let (seed, folder) = (arguments.seed, &arguments.directory);
    let runs = |part| arguments.only.is_none_or(|only| only == part);
    type Run<'a> = Box<dyn FnOnce() -> bool + Send + 'a>;
    let (kills, course) = (arguments.kills, arguments.course);
    let parts: [(Part, Run<'_>); 4] = [
        (
            Part::Kills,
            Box::new(move || kills::run(kills, seed, course, folder).print()),
        ),
        (
            Part::FullDisk,
            Box::new(move || full_disk::run(seed, folder).is_none_or(|report| report.print())),
        ),
        (
            Part::Files,
            Box::new(move || limits::files(seed, folder).print()),
        ),
        (
            Part::Memory,
            Box::new(move || limits::memory(seed, folder).print()),
        ),
    ];
    // They spend most of their time waiting: for the device, for room, for a moment.
    thread::scope(|scope| {
        let running: Vec<_> = parts
            .into_iter()
            .filter(|(part, _)| runs(*part))
            .map(|(_, run)| scope.spawn(run))
            .collect();
        // All of them, whatever the first ones came to.
        let ended: Vec<bool> = running
            .into_iter()
            .map(|part| part.join().unwrap_or(false))
            .collect();
        !ended.contains(&false)
    })
}
