//! What the test commands do without any fault, for as long as a verdict needs to know.
//!
//! Checks that end at the first bad case take many minutes, and find a fault in seconds. So
//! they aren't waited for: that one hasn't failed in twice the time is enough. Others
//! are: to be ended is nothing that they clean up after.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::copy::Tree;
use super::description::TestCommand;
use super::runner::{self, Verdict};

/// What most faults are found in half of.
const FIRST: Duration = Duration::from_secs(30);

/// A test command that takes longer without any fault can't judge.
const WHOLE: Duration = Duration::from_secs(1_800);

/// How long a command has run without failing.
#[derive(Clone, Copy)]
enum Baseline {
    /// To its end, which took so long.
    Whole(Duration),
    /// For so long, and was ended.
    Part(Duration),
    /// It failed.
    Bad,
}

/// The commands that were run without any fault.
pub struct Baselines<'t> {
    tree: &'t Tree,
    known: BTreeMap<TestCommand, Baseline>,
}

impl<'t> Baselines<'t> {
    /// None yet.
    pub fn new(tree: &'t Tree) -> Self {
        Self {
            tree,
            known: BTreeMap::new(),
        }
    }

    /// Runs a command that is new here, while nothing else has to be built.
    pub fn begin(&mut self, command: &TestCommand) -> Result<()> {
        match self.known.get(command) {
            Some(Baseline::Bad) => bail!("as before, it fails without any fault"),
            Some(_) => Ok(()),
            None if command.ends_at_first_bad() => self.run(command, FIRST).map(|_| ()),
            None => self.run(command, WHOLE).map(|_| ()),
        }
    }

    /// An error where the command isn't known to pass, or to go on for twice the time in
    /// which it `failed`.
    pub fn outlives(&mut self, command: &TestCommand, failed: Duration) -> Result<()> {
        let enough = failed * 2;
        match self.known.get(command) {
            Some(Baseline::Whole(_)) => Ok(()),
            Some(Baseline::Part(lasted)) if *lasted >= enough => Ok(()),
            _ => self.run(command, enough).map(|_| ()),
        }
    }

    /// How long the command takes to its end.
    pub fn whole(&mut self, command: &TestCommand) -> Result<Duration> {
        if let Some(Baseline::Whole(took)) = self.known.get(command) {
            return Ok(*took);
        }
        match self.run(command, WHOLE)? {
            Baseline::Whole(took) => Ok(took),
            _ => bail!("without any fault it has no end"),
        }
    }

    fn run(&mut self, command: &TestCommand, time_max: Duration) -> Result<Baseline> {
        self.known.insert(command.clone(), Baseline::Bad);
        let ran = runner::run(self.tree, command, time_max).context("without any fault")?;
        let baseline = match ran.verdict {
            Verdict::Passed => Baseline::Whole(ran.took),
            Verdict::StillRuns(_) => Baseline::Part(time_max),
            Verdict::Failed(by) => bail!("without any fault, {by} fails"),
        };
        self.known.insert(command.clone(), baseline);
        Ok(baseline)
    }
}
