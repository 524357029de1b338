//! The workloads, their figures, and the bound that each figure has to meet.
//!
//! A workload is a list of stages. Each stage runs in a process of its own, so
//! that neither heap nor caches of one engine or stage touch another; the stages
//! of one workload share a directory, which is empty before the first and removed
//! after the last. A stage reports figures by name.

mod larger_than_memory;
mod loads;
mod mixed;
mod opening;
mod reads;
mod space;
mod stalls;
mod steps;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use crate::data::ENTRY_BYTES;
use crate::engines::{Durability, Engine, EngineKind, Options};

/// Every workload, in the order in which they run and are reported.
pub const WORKLOADS: &[&Workload] = &[
    &reads::READS,
    &loads::LOAD,
    &loads::INSERTS,
    &loads::COMMITS,
    &mixed::MIXES,
    &mixed::BUSY,
    &larger_than_memory::LARGER,
    &space::AMPLIFICATION,
    &space::SIZES,
    &opening::OPENING,
    &stalls::STALLS,
];

const MEBIBYTE: u64 = 1024 * 1024;

/// A group of figures measured on one database.
pub struct Workload {
    /// The name on the command line.
    pub name: &'static str,
    /// What it does, for `--list`.
    pub about: &'static str,
    /// Its stages, in order.
    pub stages: &'static [Stage],
    /// Its figures, in the order of the tables.
    pub figures: &'static [Figure],
}

/// One process of a workload.
pub struct Stage {
    /// What runs in it; returns what it measured.
    pub run: fn(&Context) -> Result<Figures>,
    /// How the process is started and ended.
    pub manner: Manner,
}

/// How the process of a stage is started and ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// It starts and ends by itself.
    Plain,
    /// It has only [`Context::limited_bytes`] of memory.
    Limited,
    /// It is killed by `SIGKILL` when its work is done, with the database open.
    Killed,
}

/// Values by the name of their figure.
pub type Figures = BTreeMap<String, f64>;

/// A figure: what it means and what is demanded of it.
pub struct Figure {
    /// The name under which a stage reports it.
    pub name: &'static str,
    /// What it measures, for the tables.
    pub title: &'static str,
    /// How it is written.
    pub unit: Unit,
    /// Which direction is good.
    pub better: Better,
    /// What the subject has to reach.
    pub targets: &'static [Target],
}

/// How a figure is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Operations or entries a second.
    Rate,
    /// Microseconds.
    Microseconds,
    /// Milliseconds.
    Milliseconds,
    /// Mebibytes.
    Mebibytes,
    /// A number without unit.
    Number,
}

/// Which direction of a figure is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// More is better, and a bound is the least that passes.
    More,
    /// Less is better, and a bound is the most that passes.
    Less,
}

/// A bound on a figure of the subject.
pub struct Target {
    /// What the figure is divided by.
    pub against: Against,
    /// The bound on the quotient.
    pub bound: f64,
}

/// What a figure is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Against {
    /// The best of the peers measured.
    Best,
    /// The peer of that name.
    Peer(&'static str),
    /// The subject's own figure of that name.
    Own(&'static str),
    /// Nothing: the bound is on the figure itself.
    Nothing,
}

impl Target {
    const fn of_best(bound: f64) -> Self {
        Self {
            against: Against::Best,
            bound,
        }
    }

    const fn of_lmdb(bound: f64) -> Self {
        Self {
            against: Against::Peer("lmdb"),
            bound,
        }
    }

    const fn of_fjall(bound: f64) -> Self {
        Self {
            against: Against::Peer("fjall"),
            bound,
        }
    }

    const fn of_own(figure: &'static str, bound: f64) -> Self {
        Self {
            against: Against::Own(figure),
            bound,
        }
    }

    const fn absolute(bound: f64) -> Self {
        Self {
            against: Against::Nothing,
            bound,
        }
    }
}

/// A figure of which more is better.
const fn more(
    name: &'static str,
    title: &'static str,
    unit: Unit,
    targets: &'static [Target],
) -> Figure {
    Figure {
        name,
        title,
        unit,
        better: Better::More,
        targets,
    }
}

/// A figure of which less is better.
const fn less(
    name: &'static str,
    title: &'static str,
    unit: Unit,
    targets: &'static [Target],
) -> Figure {
    Figure {
        name,
        title,
        unit,
        better: Better::Less,
        targets,
    }
}

/// A stage in the plain manner.
const fn plain(run: fn(&Context) -> Result<Figures>) -> Stage {
    Stage {
        run,
        manner: Manner::Plain,
    }
}

/// What a stage knows: the engine, where to work, and how much.
pub struct Context {
    /// The engine measured.
    pub engine: EngineKind,
    /// The workload's directory.
    pub directory: PathBuf,
    /// Factor on all amounts of data.
    pub scale: f64,
    /// Length of a timed phase at scale 1.
    pub seconds: f64,
    /// Cache of every engine that has one.
    pub cache_bytes: u64,
}

impl Context {
    /// `count` entries at this scale, and never so few that nothing is measured.
    fn scaled(&self, count: u64) -> u64 {
        ((count as f64 * self.scale) as u64).max(5_000)
    }

    /// The usual amount of data.
    fn entries(&self) -> u64 {
        self.scaled(2_000_000)
    }

    /// The size of the write front.
    fn front_bytes(&self) -> u64 {
        (((64 * MEBIBYTE) as f64 * self.scale) as u64).max(MEBIBYTE)
    }

    /// How many entries make up one front.
    fn entries_per_front(&self) -> u64 {
        self.front_bytes() / ENTRY_BYTES
    }

    /// The length of a timed phase.
    fn phase(&self) -> Duration {
        Duration::from_secs_f64(self.seconds * self.scale.clamp(0.1, 1.0))
    }

    /// The entries of the workload whose data is four times its memory.
    fn entries_beyond_memory(&self) -> u64 {
        // The floor leaves room for the programs themselves in a quarter of it.
        self.scaled(12_000_000).max(3_000_000)
    }

    /// The memory of a stage in the manner [`Manner::Limited`].
    pub fn limited_bytes(&self) -> u64 {
        self.entries_beyond_memory() * ENTRY_BYTES / 4
    }

    /// The common options, with the given durability.
    fn options(&self, durability: Durability) -> Options {
        Options {
            durability,
            cache_bytes: self.cache_bytes,
            front_bytes: self.front_bytes(),
            exceeds_memory: false,
        }
    }

    /// Opens the workload's usual database.
    fn open(&self, durability: Durability) -> Result<Box<dyn Engine>> {
        self.open_with("data", &self.options(durability))
    }

    /// Opens the database in the folder `name` of the workload's directory.
    fn open_with(&self, name: &str, options: &Options) -> Result<Box<dyn Engine>> {
        let directory = self.directory.join(name);
        std::fs::create_dir_all(&directory)?;
        (self.engine.open)(&directory, options)
    }
}

/// The workload called `name`, if there is one.
pub fn find(name: &str) -> Option<&'static Workload> {
    WORKLOADS
        .iter()
        .copied()
        .find(|workload| workload.name == name)
}

/// Figures from names and values.
fn figures<const COUNT: usize>(values: [(&str, f64); COUNT]) -> Figures {
    values
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}
