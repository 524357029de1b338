//! `cargo xtask plants`: planted faults, to learn whether the tests would notice.
//!
//! Protocol: the workspace is copied below the build folder and never touched
//! itself. Each test command first runs on the unchanged copy and must pass,
//! or its later failure would mean nothing. Then, one fault at a time: write
//! the changed file, build, run, write the original back. A fault that doesn't
//! compile is an error of its description, not a catch.

mod copy;
mod description;
mod runner;

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::outcome::Outcome;
use crate::{tsan, workspace};
use description::{Plant, TestCommand};
use runner::Verdict;

/// Plants known faults one by one and checks that a test catches each.
///
/// The faults are described in tests/plants/*.plant (see the README there).
/// Prints `caught NAME by TEST` or `MISSED NAME` for each; the exit code is not
/// 0 where one was missed or could not be planted.
#[derive(Args)]
pub struct Arguments {
    /// Only the fault of this name; may be given several times
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Print names, files and reasons instead of planting
    #[arg(long)]
    list: bool,
}

/// Plants every chosen fault.
pub fn run(arguments: &Arguments) -> Result<Outcome> {
    let plants = description::read_all(&workspace::root().join("tests/plants"))?;
    let is_unknown = |name: &&String| plants.iter().all(|plant| plant.name != **name);
    if let Some(unknown) = arguments.only.iter().find(is_unknown) {
        bail!("there is no plant named `{unknown}`; --list prints the names");
    }
    let chosen: Vec<&Plant> = plants
        .iter()
        .filter(|plant| arguments.only.is_empty() || arguments.only.contains(&plant.name))
        .collect();
    if chosen.is_empty() {
        bail!("tests/plants holds no .plant file");
    }
    if arguments.list {
        for plant in chosen {
            println!("{}  {}  {}", plant.name, plant.file, plant.why);
        }
        return Ok(Outcome::Passed);
    }
    let tree = copy::refresh()?;
    let mut baselines: BTreeMap<TestCommand, Result<Duration, String>> = BTreeMap::new();
    let (mut caught, mut missed, mut broken, mut skipped) = (0, 0, 0, 0);
    for plant in chosen {
        let command = plant.command();
        if command.thread_sanitizer
            && let Err(reason) = tsan::find()
        {
            skipped += 1;
            println!("SKIPPED {}: {reason}", plant.name);
            continue;
        }
        let baseline = baselines.entry(command).or_insert_with_key(|command| {
            let start = Instant::now();
            match runner::run(&tree, command, BASELINE_TIME_MAX) {
                Ok(Verdict::Passed) => Ok(start.elapsed()),
                Ok(Verdict::Failed(by)) => Err(format!("without any fault, {by} fails")),
                Err(error) => Err(format!("without any fault: {error:#}")),
            }
        });
        let took = match baseline {
            Ok(took) => *took,
            Err(reason) => {
                broken += 1;
                println!("BROKEN {}: {reason}", plant.name);
                continue;
            }
        };
        match plant_one(&tree, plant, took) {
            Ok(Verdict::Failed(by)) => {
                caught += 1;
                println!("caught {} by {by}", plant.name);
            }
            Ok(Verdict::Passed) => {
                missed += 1;
                println!("MISSED {}", plant.name);
            }
            Err(error) => {
                broken += 1;
                println!("BROKEN {}: {error:#}", plant.name);
            }
        }
    }
    println!("{caught} caught, {missed} missed, {broken} broken, {skipped} skipped");
    if missed + broken > 0 {
        bail!("not every planted fault was caught");
    }
    Ok(Outcome::Passed)
}

/// A test command that takes longer without any fault can't judge.
const BASELINE_TIME_MAX: Duration = Duration::from_secs(1_800);

/// Writes the fault, runs, and writes the original back whatever came of it. `took` is
/// how long it takes to build and run without the fault: what is slow because the machine
/// is isn't caught.
fn plant_one(tree: &copy::Tree, plant: &Plant, took: Duration) -> Result<Verdict> {
    let path = tree.root.join(&plant.file);
    let original = fs::read_to_string(&path).with_context(|| format!("reading {}", plant.file))?;
    let changed = plant.apply(&original)?;
    fs::write(&path, changed).with_context(|| format!("writing {}", plant.file))?;
    let command = plant.command();
    let verdict = runner::run(tree, &command, command.time_max.max(took * 2));
    fs::write(&path, original).with_context(|| format!("restoring {}", plant.file))?;
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So that who changes the code brings the description up to date at once.
    #[test]
    fn every_description_finds_its_place() {
        let root = workspace::root();
        let plants = description::read_all(&root.join("tests/plants")).expect("descriptions");
        assert!(!plants.is_empty());
        for plant in plants {
            let text = fs::read_to_string(root.join(&plant.file)).expect("a source file");
            if let Err(error) = plant.apply(&text) {
                panic!("{}: {error}", plant.name);
            }
        }
    }
}
