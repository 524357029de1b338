//! Processes that are killed at any moment, and what the next one finds.
//!
//! A *course* is one database and its kills. Each life opens it and tells all that it
//! finds, which is judged; then it works, with several threads, until it is killed. A
//! quarter of the kills come while the database is opened, several in a row now and then,
//! the first of all while it is created. After the last one the database is checked, closed
//! and read once more.

use std::fmt::Display;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use lightning_sim::{Random, mix};

use crate::judge::Judge;
use crate::life::now_ms;
use crate::message::{Look, Message};
use crate::operation::Source;
use crate::process::{Life, Limit, NoMore, PATIENCE, Places, Told};
use crate::report::Report;
use crate::setup::SETUPS;

/// Kills of one course.
const COURSE_KILLS: u64 = 15;
/// Courses that run at once.
const THREADS: u64 = 2;
/// The longest time that a life works.
const WORK_US_MAX: u64 = 1_200_000;
/// The shortest.
const WORK_US_MIN: u64 = 300;

/// What came of kills.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    /// Processes killed.
    pub kills: u64,
    /// Those of them that were killed before they had opened the database.
    pub in_opening: u64,
    /// Operations that were found in the end.
    pub operations: u64,
    /// Flips of the superblock in the lives that were killed.
    pub flips: u64,
}

/// Kills `kills` processes, from the course `first` on, in folders below `folder`.
pub fn run(kills: u64, seed: u64, first: Option<u64>, folder: &Path) -> Report {
    let courses = match first {
        Some(_) => 1,
        None => kills.div_ceil(COURSE_KILLS).max(1),
    };
    let next = AtomicU64::new(0);
    let sum = Mutex::new((Counts::default(), Vec::new()));
    let is_enough = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= courses || is_enough.load(Ordering::Relaxed) {
                        return;
                    }
                    let course = first.unwrap_or(0) + index;
                    let count =
                        COURSE_KILLS.min(kills - COURSE_KILLS * index.min(kills / COURSE_KILLS));
                    let count = if first.is_some() { COURSE_KILLS } else { count };
                    let (counts, failure) = run_course(course, seed, count, folder);
                    let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
                    sum.0.kills += counts.kills;
                    sum.0.in_opening += counts.in_opening;
                    sum.0.operations += counts.operations;
                    sum.0.flips += counts.flips;
                    if let Some(failure) = failure {
                        sum.1.push(failure);
                        // One is enough to learn from.
                        is_enough.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let (counts, failures) = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    Report {
        name: "kills",
        cases: counts.kills,
        failures,
        words: format!(
            "{} of them while the database was opened; {} operations of several threads were \
             found whole and in order, {} flips had been made",
            counts.in_opening, counts.operations, counts.flips
        ),
    }
}

fn run_course(course: u64, seed: u64, kills: u64, folder: &Path) -> (Counts, Option<String>) {
    let setup = SETUPS[(course % SETUPS.len() as u64) as usize];
    let source = Source {
        seed: mix(seed ^ mix(course)),
        setup,
        base_ms: now_ms(),
    };
    let folder = folder.join(format!("kills-{seed}-{course}"));
    let mut counts = Counts::default();
    let outcome = Places::new(&folder).map_err(text).and_then(|places| {
        let mut course = Course {
            source,
            judge: Judge::new(source),
            random: Random::new(source.seed),
            places,
            opening: Duration::from_millis(20),
            counts: &mut counts,
        };
        course.run(kills)
    });
    let failure = outcome.err().map(|words| {
        format!(
            "course {course} ({}), kill {}: {words}\n  kept: {}\n  again: cargo xtask stress \
             --only kills --seed {seed} --course {course}",
            setup.name,
            counts.kills,
            folder.display()
        )
    });
    if failure.is_none() {
        // What is left of it is in nobody's way.
        let _removed = std::fs::remove_dir_all(&folder);
    }
    (counts, failure)
}

fn text(error: impl Display) -> String {
    error.to_string()
}

/// Waits for a life to have told what it found.
///
/// # Errors
/// What it told instead.
pub fn await_look(life: &Life) -> Result<Look, String> {
    loop {
        match life.next(PATIENCE) {
            Ok(Told::Looked(look)) => return Ok(look),
            Ok(Told::Other(Message::Failed(words))) => return Err(words),
            Ok(_) => {}
            Err(NoMore::Ended) => return Err("it ended before it had looked".to_owned()),
            Err(NoMore::Silent) => return Err("it doesn't open the database".to_owned()),
        }
    }
}

struct Course<'c> {
    source: Source,
    judge: Judge,
    random: Random,
    places: Places,
    /// How long the last opening took.
    opening: Duration,
    counts: &'c mut Counts,
}

impl Course<'_> {
    fn run(&mut self, kills: u64) -> Result<(), String> {
        let (mut done, mut is_in_opening) = (0, self.random.chance(1, 2));
        while done < kills {
            if is_in_opening {
                self.kill_in_opening()?;
                is_in_opening = self.random.chance(1, 3);
            } else {
                self.kill_at_work()?;
                is_in_opening = self.random.chance(1, 4);
            }
            done += 1;
            let complaints = self.places.complaints();
            if !complaints.is_empty() {
                return Err(format!("a process complained: {complaints}"));
            }
        }
        self.close()
    }

    fn begin(&self) -> Result<Life, String> {
        self.places.save().map_err(text)?;
        Life::begin(&self.source, &self.places, Limit::None).map_err(text)
    }

    fn kill_in_opening(&mut self) -> Result<(), String> {
        let mut life = self.begin()?;
        let longest = u64::try_from(self.opening.as_micros()).unwrap_or(u64::MAX);
        let patience = self.random.below(longest + longest / 8);
        thread::sleep(Duration::from_micros(patience));
        life.kill().map_err(text)?;
        self.counts.kills += 1;
        let mut is_open = false;
        let mut look = None;
        loop {
            match life.next(PATIENCE) {
                Ok(Told::Opened) => is_open = true,
                Ok(Told::Looked(found)) => look = Some(found),
                Ok(Told::Other(Message::Failed(words))) => return Err(words),
                Ok(Told::Other(_)) => {}
                Err(NoMore::Ended) => break,
                Err(NoMore::Silent) => return Err("it doesn't die".to_owned()),
            }
        }
        self.counts.in_opening += u64::from(!is_open);
        look.map_or(Ok(()), |look| self.judge.judge(&look))
    }

    /// Opens, and judges what is found.
    fn open(&mut self) -> Result<Life, String> {
        let life = self.begin()?;
        let look = await_look(&life)?;
        self.opening = life.begun().elapsed();
        self.judge.judge(&look)?;
        Ok(life)
    }

    fn kill_at_work(&mut self) -> Result<(), String> {
        let mut life = self.open()?;
        let line = format!("go {}", self.judge.numbers());
        life.say(&line).map_err(text)?;
        // As often in each doubling of the time.
        let doublings = u64::from((WORK_US_MAX / WORK_US_MIN).ilog2());
        let shortest = WORK_US_MIN << self.random.below(doublings + 1);
        let patience = shortest + self.random.below(shortest);
        thread::sleep(Duration::from_micros(patience));
        life.kill().map_err(text)?;
        self.counts.kills += 1;
        let mut flips = 0;
        loop {
            match life.next(PATIENCE) {
                Ok(Told::Other(Message::Acknowledged(worker, number))) => {
                    self.judge.acknowledge(worker, number);
                }
                Ok(Told::Other(Message::Flips(count))) => flips = count,
                Ok(Told::Other(Message::Failed(words))) => return Err(words),
                Ok(_) => {}
                Err(NoMore::Ended) => break,
                Err(NoMore::Silent) => return Err("it doesn't die".to_owned()),
            }
        }
        self.counts.flips += flips;
        Ok(())
    }

    /// Has the database checked and closed, and reads it once more.
    fn close(&mut self) -> Result<(), String> {
        for _ in 0..2 {
            let mut life = self.open()?;
            life.say("end").map_err(text)?;
            match life.next(PATIENCE) {
                Ok(Told::Other(Message::Closed)) => {}
                Ok(Told::Other(Message::Failed(words))) => return Err(words),
                _ => return Err("it doesn't close the database".to_owned()),
            }
            let status = life.wait().map_err(text)?;
            if !status.success() {
                return Err(format!("it closed the database, and ended with {status}"));
            }
        }
        self.counts.operations += self.judge.operations();
        Ok(())
    }
}
