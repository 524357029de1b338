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

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::outcome::Outcome;
use crate::workspace;
use description::Plant;
use runner::Verdict;

/// Plants known faults one by one and checks that a test catches each.
///
/// The faults are described in tests/plants/*.plant (see the README there).
/// Prints `caught NAME by TEST` or `MISSED NAME` for each; the exit code is not
/// 0 where one was missed or could not be planted.
#[derive(Args)]
pub struct Arguments {
    /// Only the fault of this name
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Print names, files and reasons instead of planting
    #[arg(long)]
    list: bool,
}

/// Plants every chosen fault.
pub fn run(arguments: &Arguments) -> Result<Outcome> {
    let plants = description::read_all(&workspace::root().join("tests/plants"))?;
    let chosen: Vec<&Plant> = plants
        .iter()
        .filter(|plant| {
            arguments
                .only
                .as_ref()
                .is_none_or(|only| *only == plant.name)
        })
        .collect();
    if chosen.is_empty() {
        match &arguments.only {
            Some(only) => bail!("there is no plant named `{only}`; --list prints the names"),
            None => bail!("tests/plants holds no .plant file"),
        }
    }
    if arguments.list {
        for plant in chosen {
            println!("{}  {}  {}", plant.name, plant.file, plant.why);
        }
        return Ok(Outcome::Passed);
    }
    let tree = copy::refresh()?;
    let mut baselines: BTreeMap<&str, Result<(), String>> = BTreeMap::new();
    let (mut caught, mut missed, mut broken) = (0, 0, 0);
    for plant in chosen {
        let baseline = baselines.entry(&plant.command).or_insert_with(|| {
            match runner::run(&tree, &plant.command()) {
                Ok(Verdict::Passed) => Ok(()),
                Ok(Verdict::Failed(by)) => Err(format!("without any fault, {by} fails")),
                Err(error) => Err(format!("without any fault: {error:#}")),
            }
        });
        if let Err(reason) = baseline {
            broken += 1;
            println!("BROKEN {}: {reason}", plant.name);
            continue;
        }
        match plant_one(&tree, plant) {
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
    println!("{caught} caught, {missed} missed, {broken} broken");
    if missed + broken > 0 {
        bail!("not every planted fault was caught");
    }
    Ok(Outcome::Passed)
}

/// Writes the fault, runs, and writes the original back whatever came of it.
fn plant_one(tree: &copy::Tree, plant: &Plant) -> Result<Verdict> {
    let path = tree.root.join(&plant.file);
    let original = fs::read_to_string(&path).with_context(|| format!("reading {}", plant.file))?;
    let changed = plant.apply(&original)?;
    fs::write(&path, changed).with_context(|| format!("writing {}", plant.file))?;
    let verdict = runner::run(tree, &plant.command());
    fs::write(&path, original).with_context(|| format!("restoring {}", plant.file))?;
    verdict
}
