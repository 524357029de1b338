//! `cargo xtask manual`: the operations manual's commands, as users type them.
//!
//! tests/manual has the manual and, for each of its blocks, what is done with it
//! (`treatment`). Blocks run one after the other in a copy of this system that is thrown
//! away, where the manual's paths, ports and users are free: nothing in them is changed.
//! So what a block installs is what the next ones use, as it is for a reader.

mod document;
mod treatment;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::dist::{overlay, stage, tarball};
use crate::outcome::Outcome;
use crate::{packages, workspace};
use document::Block;
use treatment::{How, Treatment};

const DRIVER: &str = include_str!("driver.sh");
/// Programs that blocks may need, and the packages that bring them.
const PACKAGES: [(&str, &str); 4] = [
    ("curl", "curl"),
    ("promtool", "prometheus"),
    ("numactl", "numactl"),
    ("taskset", "util-linux"),
];

/// Runs the operations manual's blocks, and prints a table of all of them.
///
/// They run in a copy of this system that is thrown away, which needs root. What can't be
/// run on a test machine, and what the programs don't have yet, is listed with the reason.
#[derive(Args, Default)]
pub struct Arguments {
    /// Install what is lacking, where it runs as root on Debian
    #[arg(long)]
    pub install: bool,
    /// Print what the blocks printed
    #[arg(long)]
    pub verbose: bool,
}

/// What became of a block.
enum Came {
    Passed(String),
    Skipped(String),
    Later(String),
    Failed(String),
}

/// Runs the blocks.
pub fn run(arguments: &Arguments) -> Result<Outcome> {
    let folder = workspace::root().join("tests/manual");
    let text = fs::read_to_string(folder.join("operations-manual.md"))?;
    let blocks = document::blocks(&text);
    let treatments = treatment::read(&folder.join("blocks.toml"))?;
    treatment::check(&blocks, &treatments)?;
    if let Some(reason) = overlay::refusal(arguments.install) {
        return Ok(Outcome::Skipped(reason));
    }
    let is_lacking = |program: &&String| !has(program, arguments.install);
    let lacking: Vec<Option<String>> = treatments
        .iter()
        .map(|treatment| treatment.needs.iter().find(is_lacking).cloned())
        .collect();

    let root = stage::make(stage::Profile::Dev)?;
    let given = workspace::root().join("target/manual");
    if given.exists() {
        fs::remove_dir_all(&given).context("an earlier run")?;
    }
    let archives = stage::make_folder(&given, "archives")?;
    tarball::make_for_manual(&root, &archives)?;
    fs::write(given.join("check.sh"), DRIVER).context("writing the driver")?;
    for (index, (block, treatment)) in blocks.iter().zip(&treatments).enumerate() {
        if lacking[index].is_none() && matches!(treatment.how, How::Run | How::Write) {
            lay_out(&given.join(index.to_string()), block, treatment)?;
        }
    }
    overlay::run(&given)?;

    let mut failures = 0;
    println!("{:7}  {:55}  what became of it", "", "block");
    for (index, (block, treatment)) in blocks.iter().zip(&treatments).enumerate() {
        let folder = given.join(index.to_string());
        let result = match &lacking[index] {
            Some(program) => Came::Skipped(format!("there is no {program}")),
            None => result(&folder, treatment)?,
        };
        let (word, words) = match &result {
            Came::Passed(words) => ("passed", words),
            Came::Skipped(words) => ("SKIPPED", words),
            Came::Later(words) => ("later", words),
            Came::Failed(words) => ("FAILED", words),
        };
        let name = format!("{}: {} ({})", block.part, block.section, block.language);
        println!("{word:7}  {name:55}  {words}");
        let is_failed = matches!(result, Came::Failed(_));
        failures += usize::from(is_failed);
        if is_failed || arguments.verbose {
            let output = fs::read_to_string(folder.join("output")).unwrap_or_default();
            for line in output.lines() {
                println!("             | {line}");
            }
        }
    }
    if failures > 0 {
        bail!("{failures} blocks of the manual don't work as they are written");
    }
    Ok(Outcome::Passed)
}

/// Whether a program is there, or could be installed.
fn has(program: &str, install: bool) -> bool {
    if packages::has_program(program) {
        return true;
    }
    let package = PACKAGES.iter().find(|(name, _)| *name == program);
    let Some((_, package)) = package.filter(|_| install) else {
        return false;
    };
    match packages::install(&[package]) {
        Ok(()) => packages::has_program(program),
        Err(reason) => {
            println!("{reason}");
            false
        }
    }
}

/// Writes what the driver needs of a block.
fn lay_out(folder: &Path, block: &Block, treatment: &Treatment) -> Result<()> {
    fs::create_dir_all(folder).context("a folder for a block")?;
    let write = |name: &str, text: &str| {
        fs::write(folder.join(name), text).with_context(|| format!("writing {name}"))
    };
    let kept = block.text.split_inclusive('\n').filter(|line| {
        let starts_so = |start: &String| line.starts_with(start.as_str());
        !treatment.leave_out.iter().any(starts_so)
    });
    write("block", &kept.collect::<String>())?;
    if let Some(path) = &treatment.path {
        write("path", path)?;
    }
    if treatment.service {
        write("service", "")?;
    }
    if let Some(then) = &treatment.then {
        write("then", then)?;
    }
    if let Some(prepare) = &treatment.prepare {
        write("prepare", prepare)?;
    }
    for name in &treatment.stand_ins {
        let stand_ins = stage::make_folder(folder, "stand_ins")?;
        stage::copy(&stand_in(name), &stand_ins.join(name))?;
    }
    Ok(())
}

fn stand_in(name: &str) -> PathBuf {
    workspace::root()
        .join("xtask/src/manual/stand_ins")
        .join(name)
}

fn result(folder: &Path, treatment: &Treatment) -> Result<Came> {
    let reason = treatment.reason.clone().unwrap_or_default();
    match treatment.how {
        How::Skip => return Ok(Came::Skipped(reason)),
        How::Later => return Ok(Came::Later(reason)),
        How::Run | How::Write => {}
    }
    let told = fs::read_to_string(folder.join("result"))
        .with_context(|| format!("{}: the driver has left it out", folder.display()))?;
    if told.trim() != "passed" {
        return Ok(Came::Failed(told.trim().to_owned()));
    }
    let mut words = Vec::new();
    if let Some(path) = &treatment.path {
        words.push(format!("written to {path}"));
    }
    if treatment.then.is_some() {
        words.push("and looked at".to_owned());
    }
    if !treatment.leave_out.is_empty() {
        words.push(format!(
            "but for {}…: {reason}",
            treatment.leave_out.join(", ")
        ));
    }
    if let Some(prepare) = &treatment.prepare {
        words.push(format!("after `{prepare}`"));
    }
    if !treatment.stand_ins.is_empty() {
        words.push(format!("stand-in: {}", treatment.stand_ins.join(", ")));
    }
    Ok(Came::Passed(words.join("; ")))
}
