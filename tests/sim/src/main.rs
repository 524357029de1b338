//! The simulation: whole lives of a database, each a pure function of its seed.
//!
//! A life is a list of operations of several clients with crashes and faults in it
//! (`plan`), lived on a simulated storage (`world` and its parts), and compared with a
//! model (`model`) at every step. A failing one is made shorter (`minimise`) and printed
//! with its history. The last lines state the hash of all that happened, which follows
//! from the seeds alone, and how fast it was.

mod crash;
mod held;
mod minimise;
mod model;
mod operations;
mod plan;
mod reading;
mod transactions;
mod world;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use lightning_sim::{Habit, mix};

use plan::{Op, Planner, Setup, setups};
use world::{Counts, Outcome, World};

/// Simulates whole lives of a database, with clients, crashes and faults.
#[derive(Parser)]
#[command(name = "simulation")]
struct Arguments {
    /// How many lives
    #[arg(long, value_name = "N", default_value_t = 100)]
    seeds: u64,
    /// The seed of the first one
    #[arg(long, value_name = "S", default_value_t = 1)]
    from: u64,
    /// Begin no life after so many minutes; how many there were is told
    #[arg(long, value_name = "M")]
    minutes: Option<u64>,
    /// Operations of each life, at least
    #[arg(long, value_name = "N", default_value_t = 1_050)]
    operations: usize,
    /// A fault of the storage that it keeps up: must make lives fail
    #[arg(long, value_name = "NAME")]
    plant: Option<Plant>,
    /// Threads; the trace is the same for any number
    #[arg(long, value_name = "N", default_value_t = 2)]
    threads: usize,
    /// Print the history of every life
    #[arg(long)]
    history: bool,
}

/// Faults that no engine survives.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Plant {
    /// Syncs of files have no effect
    SkipSync,
    /// Syncs of the page file have no effect
    SkipPageSync,
    /// Directory entries are never made durable
    LostDirectoryEntry,
    /// Some writes are acknowledged and lost
    LostWrite,
    /// Some writes land elsewhere
    MisdirectedWrite,
    /// Some reads have a bit flipped
    RottenRead,
}

impl Plant {
    const fn habit(self) -> Habit {
        match self {
            Self::SkipSync => Habit::SkipSync,
            Self::SkipPageSync => Habit::SkipPageSync,
            Self::LostDirectoryEntry => Habit::SkipDirectorySync,
            Self::LostWrite => Habit::LoseWrites,
            Self::MisdirectedWrite => Habit::MisdirectWrites,
            Self::RottenRead => Habit::RotReads,
        }
    }
}

/// A life's device and operations.
struct Life {
    seed: u64,
    setup: Setup,
    ops: Vec<Op>,
}

impl Life {
    fn of(seed: u64, operations: usize) -> Self {
        let setups = setups();
        let count = setups.len() as u64;
        let setup = setups[(seed % count) as usize];
        let setup = if seed / count % 2 == 1 {
            setup.uneven(mix(!seed))
        } else {
            setup
        };
        let ops = Planner::new(mix(seed), &setup).life(operations);
        Self { seed, setup, ops }
    }

    fn live(&self, ops: &[Op], habit: Option<Habit>, history: bool) -> (Outcome, Vec<String>) {
        let lived = catch_unwind(AssertUnwindSafe(|| {
            match World::new(&self.setup, habit, self.seed, ops, history) {
                Ok(world) => world.live(),
                Err(reason) => failed(reason),
            }
        }));
        lived.unwrap_or_else(|payload| failed(format!("panic: {}", words(&*payload))))
    }
}

fn failed(reason: String) -> (Outcome, Vec<String>) {
    let outcome = Outcome {
        verdict: Err(reason),
        trace: 0,
        counts: Counts::default(),
    };
    (outcome, Vec::new())
}

fn words(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without words".to_owned())
}

/// What all lives came to.
#[derive(Default)]
struct Sum {
    counts: Counts,
    trace: u64,
    /// Seeds that failed, the first few, and why.
    failed: Vec<(u64, String)>,
    failed_count: u64,
}

const TOLD_MAX: usize = 5;

impl Sum {
    fn add(&mut self, seed: u64, outcome: Outcome) {
        self.counts.add(&outcome.counts);
        // A sum, so that the order in which lives end doesn't count.
        self.trace = self.trace.wrapping_add(mix(seed ^ mix(outcome.trace)));
        if let Err(reason) = outcome.verdict {
            self.failed_count += 1;
            self.failed.push((seed, reason));
            self.failed.sort();
            self.failed.truncate(TOLD_MAX);
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    set_hook(Box::new(|_| {}));
    let habit = arguments.plant.map(Plant::habit);
    let begin = Instant::now();
    let lasts = arguments
        .minutes
        .map(|minutes| Duration::from_secs(60 * minutes));
    let (next, lived) = (AtomicU64::new(0), AtomicU64::new(0));
    let sum = Mutex::new(Sum::default());
    let is_enough = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..arguments.threads.max(1) {
            scope.spawn(|| {
                while !is_enough.load(Ordering::Relaxed) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let is_late = lasts.is_some_and(|lasts| begin.elapsed() >= lasts);
                    if index >= arguments.seeds || is_late {
                        return;
                    }
                    let life = Life::of(arguments.from + index, arguments.operations);
                    let (outcome, history) = life.live(&life.ops, habit, arguments.history);
                    for line in history {
                        println!("{} {line}", life.seed);
                    }
                    lived.fetch_add(1, Ordering::Relaxed);
                    let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
                    sum.add(life.seed, outcome);
                    // One is enough to learn from; a plant shows how often it is caught.
                    if sum.failed_count > 0 && arguments.plant.is_none() {
                        is_enough.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    let lived = lived.into_inner();
    let seconds = begin.elapsed().as_secs_f64();
    if let Some((seed, reason)) = sum.failed.first() {
        tell(*seed, reason, habit, &arguments);
    }
    let Counts {
        operations,
        commits,
        crashes,
        faults,
        damages,
        refused,
        conflicts,
        evacuated,
    } = sum.counts;
    println!(
        "{operations} operations, {commits} commits, {conflicts} conflicts, {crashes} crashes, \
         {faults} failed calls, {damages} damaged copies, {refused} times damage was found, \
         {evacuated} pages evacuated"
    );
    println!("seeds {lived} failed {}", sum.failed_count);
    println!("trace {:016x}", sum.trace);
    println!("{:.1} seeds per second", lived as f64 / seconds);
    if sum.failed_count == 0 && lived > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Prints a failing life as short as it can be made.
fn tell(seed: u64, reason: &str, habit: Option<Habit>, arguments: &Arguments) {
    let life = Life::of(seed, arguments.operations);
    println!("seed {seed} ({}) failed: {reason}", life.setup.name);
    let fails = |ops: &[Op]| life.live(ops, habit, false).0.verdict.is_err();
    if !fails(&life.ops) {
        println!("it didn't fail again: something doesn't follow from the seed");
        return;
    }
    let short = minimise::minimise(life.ops.clone(), &fails);
    let (outcome, history) = life.live(&short, habit, true);
    println!(
        "{} of its {} operations fail, too:",
        short.len(),
        life.ops.len()
    );
    for line in history {
        println!("  {line}");
    }
    if let Err(reason) = outcome.verdict {
        println!("  {reason}");
    }
    let plant = arguments.plant.and_then(|plant| plant.to_possible_value());
    let plant = plant.map_or_else(String::new, |plant| {
        format!(" --plant {}", plant.get_name())
    });
    let operations = arguments.operations;
    println!("again: cargo xtask sim --seeds 1 --from {seed} --operations {operations}{plant}");
}
