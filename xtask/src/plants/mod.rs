//! `cargo xtask plants`: planted faults, to learn whether the tests would notice.
//!
//! Protocol: the workspace is copied below the build folder and never touched
//! itself. One fault at a time: write the changed file, build, run, write the original
//! back. A fault that doesn't compile is an error of its description, not a catch.
//!
//! That a command fails means something only where it doesn't fail without the fault
//! (`baseline`): it has to pass then, or, where it ends at the first bad case, to go on for
//! twice as long as it took to fail.

mod baseline;
mod copy;
mod description;
mod runner;

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::outcome::Outcome;
use crate::{tsan, workspace};
use baseline::Baselines;
use description::Plant;
use runner::{Ran, Verdict};

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
    let mut baselines = Baselines::new(&tree);
    let (mut caught, mut missed, mut broken, mut skipped) = (0, 0, 0, 0);
    for plant in chosen {
        if plant.thread_sanitizer
            && let Err(reason) = tsan::find()
        {
            skipped += 1;
            println!("SKIPPED {}: {reason}", plant.name);
            continue;
        }
        let start = Instant::now();
        let judged = judge(&tree, plant, &mut baselines);
        let seconds = start.elapsed().as_secs();
        match judged {
            Ok(Some(by)) => {
                caught += 1;
                println!("caught {} by {by} ({seconds} s)", plant.name);
            }
            Ok(None) => {
                missed += 1;
                println!("MISSED {} ({seconds} s)", plant.name);
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

/// Which test caught the fault, if any did.
fn judge(tree: &copy::Tree, plant: &Plant, baselines: &mut Baselines) -> Result<Option<String>> {
    let command = plant.command();
    baselines.begin(&command)?;
    let mut ran = plant_one(tree, plant, plant.time_max())?;
    if matches!(ran.verdict, Verdict::StillRuns(_)) {
        // What is slow because the machine is isn't caught.
        let whole = baselines.whole(&command)?;
        if whole * 2 > plant.time_max() {
            ran = plant_one(tree, plant, whole * 2)?;
        }
    }
    match ran.verdict {
        Verdict::Passed => Ok(None),
        Verdict::Failed(by) => {
            baselines.outlives(&command, ran.took)?;
            Ok(Some(by))
        }
        Verdict::StillRuns(program) => Ok(Some(format!(
            "{program} (still running after {} s)",
            ran.took.as_secs()
        ))),
    }
}

/// Writes the fault, runs, and writes the original back whatever came of it.
fn plant_one(tree: &copy::Tree, plant: &Plant, time_max: Duration) -> Result<Ran> {
    let path = tree.root.join(&plant.file);
    let original = fs::read_to_string(&path).with_context(|| format!("reading {}", plant.file))?;
    let changed = plant.apply(&original)?;
    fs::write(&path, changed).with_context(|| format!("writing {}", plant.file))?;
    let ran = runner::run(tree, &plant.command(), time_max);
    fs::write(&path, original).with_context(|| format!("restoring {}", plant.file))?;
    ran
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

    /// A check that never failed shows nothing.
    #[test]
    fn every_check_of_the_proof_is_shown_to_fail() {
        let root = workspace::root();
        let plants = description::read_all(&root.join("tests/plants")).expect("descriptions");
        let document = fs::read_to_string(root.join("tests/PROOF.md")).expect("PROOF.md");
        let checks = names_of_checks(&root.join("tests/proof/src/checks"));
        assert!(checks.len() > 10, "{checks:?}");
        for check in checks {
            let row = document
                .lines()
                .find_map(|line| line.strip_prefix(&format!("| `{check}` |")))
                .unwrap_or_else(|| panic!("PROOF.md names no fault for {check}"));
            let judged_by_it = |plant: &&Plant| {
                let run = plant.command().run;
                run.ends_with(&["--only".to_owned(), check.clone()])
            };
            let named = |plant: &Plant| row.contains(&format!("`{}`", plant.name));
            assert!(
                plants.iter().filter(judged_by_it).any(named),
                "PROOF.md names no plant that {check} judges"
            );
        }
    }

    fn names_of_checks(folder: &std::path::Path) -> Vec<String> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder).expect("the checks") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                continue;
            }
            let text = fs::read_to_string(path).expect("a source file");
            let name = text
                .split_once("\n    name: \"")
                .and_then(|(_, rest)| rest.split_once('"'));
            names.push(name.expect("the name of a check").0.to_owned());
        }
        names
    }
}
