//! The run: rounds, workloads and engines, interleaved, and what they gave.
//!
//! Within a round each workload goes through all engines before the next begins,
//! and each round starts with another engine, so that a slow drift of the machine
//! falls on all alike.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::engines::EngineKind;
use crate::memory::MemoryLimit;
use crate::report;
use crate::stage::{Failure, Order, run_apart};
use crate::workloads::{Context, Figures, Manner, Workload};

/// What a run is to do.
pub struct Plan {
    /// The workloads, in order.
    pub workloads: Vec<&'static Workload>,
    /// The engines, in the order of the tables.
    pub engines: Vec<EngineKind>,
    /// How often everything is measured.
    pub rounds: usize,
    /// Factor on all amounts of data.
    pub scale: f64,
    /// Length of a timed phase at scale 1.
    pub seconds: f64,
    /// Cache of every engine that has one.
    pub cache_bytes: u64,
    /// Where the databases are written.
    pub directory: PathBuf,
}

/// The samples of a run, by engine and figure, and what went wrong.
#[derive(Default)]
pub struct Results {
    samples: BTreeMap<(&'static str, String), Vec<f64>>,
    /// One line for each measurement that gave no figures.
    pub failures: Vec<String>,
}

impl Results {
    /// The values of a figure, one for each round that gave one.
    pub fn samples(&self, engine: &str, figure: &str) -> &[f64] {
        self.samples
            .iter()
            .find(|((of_engine, name), _)| *of_engine == engine && name == figure)
            .map_or(&[], |(_, values)| values)
    }

    /// The median of a figure over the rounds.
    pub fn median(&self, engine: &str, figure: &str) -> Option<f64> {
        let mut values = self.samples(engine, figure).to_vec();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let upper = values.get(middle).copied()?;
        match values.len() % 2 {
            0 => Some((values.get(middle - 1)? + upper) / 2.0),
            _ => Some(upper),
        }
    }
}

/// A folder of this process that is removed with everything in it.
struct OwnFolder(PathBuf);

impl OwnFolder {
    fn new(path: PathBuf) -> Result<Self> {
        fs::create_dir_all(&path)
            .with_context(|| format!("cannot create the directory {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for OwnFolder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("cannot remove {}: {error}", self.0.display());
        }
    }
}

/// Carries out `plan`, with a line on standard error for each measurement.
pub fn run(plan: &Plan) -> Result<Results> {
    let name = format!("lightning-peers-{}", std::process::id());
    let folder = OwnFolder::new(plan.directory.join(name))?;
    let total = plan.rounds * plan.workloads.len() * plan.engines.len();
    let mut results = Results::default();
    let mut count = 0;
    for round in 0..plan.rounds {
        for workload in &plan.workloads {
            for turn in 0..plan.engines.len() {
                let engine = plan.engines[(turn + round) % plan.engines.len()];
                count += 1;
                let label = format!(
                    "[{count}/{total}] round {} {} {}",
                    round + 1,
                    workload.name,
                    engine.name
                );
                let begun = Instant::now();
                match measure(plan, workload, engine, &folder.0) {
                    Ok(figures) => {
                        eprintln!(
                            "{label}: {} (took {:.0} s)",
                            report::in_one_line(workload, &figures),
                            begun.elapsed().as_secs_f64()
                        );
                        for (name, value) in figures {
                            let samples = results.samples.entry((engine.name, name));
                            samples.or_default().push(value);
                        }
                    }
                    Err(failure) => {
                        eprintln!("{label}: {failure}");
                        results.failures.push(format!(
                            "round {}, {}, {}: {failure}",
                            round + 1,
                            workload.name,
                            engine.name
                        ));
                    }
                }
            }
        }
    }
    Ok(results)
}

fn measure(
    plan: &Plan,
    workload: &Workload,
    engine: EngineKind,
    folder: &Path,
) -> Result<Figures, Failure> {
    let failed = |error: anyhow::Error| Failure::Failed(format!("{error:#}"));
    let path = folder.join(format!("{}-{}", workload.name, engine.name));
    let own = OwnFolder::new(path).map_err(failed)?;
    let mut figures = Figures::new();
    for (position, stage) in workload.stages.iter().enumerate() {
        let mut order = Order {
            workload: workload.name.to_owned(),
            stage: position,
            engine: engine.name.to_owned(),
            directory: own.0.clone(),
            scale: plan.scale,
            seconds: plan.seconds,
            cache_bytes: plan.cache_bytes,
            memory_group: None,
        };
        let limit = if stage.manner == Manner::Limited {
            let bytes = limited_bytes(plan, engine);
            let limit = MemoryLimit::new(bytes).map_err(failed)?;
            eprintln!("  {} MiB of memory, by {}", bytes >> 20, limit.describe());
            order.memory_group = limit.group().map(Path::to_owned);
            Some(limit)
        } else {
            None
        };
        figures.append(&mut run_apart(&order, stage.manner)?);
        drop(limit);
    }
    Ok(figures)
}

fn limited_bytes(plan: &Plan, engine: EngineKind) -> u64 {
    Context {
        engine,
        directory: PathBuf::new(),
        scale: plan.scale,
        seconds: plan.seconds,
        cache_bytes: plan.cache_bytes,
    }
    .limited_bytes()
}
