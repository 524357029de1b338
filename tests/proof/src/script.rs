//! A run of the engine as a list of actions, and its player, who knows at each
//! moment which states a power cut may leave: those from the last acknowledged
//! commit on, up to the last one made.

use std::sync::Arc;

use lightning_core::db::{Budgeted, Engine, Options};
use lightning_core::error::Error;
use lightning_core::txn::Snapshot;
use lightning_platform::Storage;
use lightning_sim::Random;

use crate::engine::{
    ATTEMPTS_MAX, Change, Model, TABLES, What, commit, create_on, digest, digest_of, ingest,
    make_room, open_on,
};

/// One step of a run.
pub enum Action {
    /// Commits; a single change without a transaction.
    Commit(Vec<Change>),
    /// Commits puts to one table, of keys that ascend, as a load that becomes a run; without
    /// runs the first of them alone.
    Ingest(Vec<Change>),
    /// Flushes and syncs: everything before is acknowledged.
    Flush,
    /// Flushes without a sync.
    Write,
    /// Maintains, up to so many entries.
    Poll(u32),
    /// Freezes the active memtable.
    Freeze,
    /// Writes a mark.
    Mark,
    /// Gives back log slots that hold nothing.
    Trim,
    /// Freezes, begins a short segment, merges some, and gives slots back.
    Settle(u32),
    /// Reads everything and compares; what snapshots see that are held, too.
    Check,
    /// Begins a snapshot and keeps it.
    Hold,
    /// Compares what the oldest snapshot sees, and lets it go.
    Release,
    /// Asks that everything be merged.
    Drain,
    /// Lets the engine go and opens again.
    Reopen,
}

/// A run of `commits` commits; determined by `seed`.
pub fn script(seed: u64, commits: usize, value_bytes_longest: u64) -> Vec<Action> {
    let mut random = Random::new(seed);
    let mut actions = Vec::new();
    for _ in 0..commits {
        actions.push(if random.chance(1, 16) {
            Action::Ingest(loaded(&mut random, value_bytes_longest))
        } else {
            Action::Commit(changes(&mut random, value_bytes_longest))
        });
        match random.below(20) {
            0..=7 => actions.push(Action::Flush),
            8..=14 => actions.push(Action::Write),
            _ => {}
        }
        match random.below(80) {
            0..=31 => actions.push(Action::Poll(24)),
            32..=39 => actions.push(Action::Poll(4_096)),
            40 => actions.push(Action::Reopen),
            41..=43 => actions.push(Action::Mark),
            44..=48 => actions.push(Action::Freeze),
            49..=50 => actions.push(Action::Settle(random.below(80) as u32)),
            51..=52 => actions.push(Action::Check),
            53..=60 => actions.push(Action::Hold),
            61..=65 => actions.push(Action::Release),
            66 => actions.push(Action::Drain),
            67..=71 => actions.push(Action::Trim),
            _ => {}
        }
    }
    actions.push(Action::Freeze);
    actions.push(Action::Flush);
    actions.extend((0..40).map(|_| Action::Poll(64)));
    actions.push(Action::Mark);
    actions.push(Action::Settle(4_096));
    actions
}

/// Entries of a load, mostly a few: as many as a small transaction takes, too.
fn loaded(random: &mut Random, value_bytes_longest: u64) -> Vec<Change> {
    let table = TABLES[random.below(2) as usize];
    let step = 1 + random.below(9);
    let most = if value_bytes_longest > 1_000 { 30 } else { 3 };
    let first = random.below(90);
    (0..1 + random.below(most))
        .map(|index| first + index * step)
        .take_while(|number| *number < 120)
        .map(|number| {
            let longest = if random.chance(1, 12) {
                value_bytes_longest
            } else {
                40
            };
            let mut bytes = vec![0; random.below(longest) as usize];
            random.fill(&mut bytes);
            Change {
                table,
                key: format!("key{number:03}").into_bytes(),
                what: What::Put(bytes),
            }
        })
        .collect()
}

/// Deletes a range, mostly a short one.
fn range_delete(random: &mut Random) -> Change {
    let first = random.below(120);
    let to = (!random.chance(1, 12)).then(|| {
        let most = [3, 12, 60][random.below(3) as usize];
        format!("key{:03}", first + 1 + random.below(most)).into_bytes()
    });
    Change {
        table: TABLES[random.below(2) as usize],
        key: format!("key{first:03}").into_bytes(),
        what: What::DeleteTo(to),
    }
}

fn changes(random: &mut Random, value_bytes_longest: u64) -> Vec<Change> {
    let count = [1, 1, 1, 4][random.below(4) as usize];
    let mut changes: Vec<Change> = Vec::new();
    if random.chance(1, 14) {
        changes.push(range_delete(random));
        if random.chance(1, 2) {
            return changes;
        }
    }
    for _ in 0..count {
        let is_long = count == 1 && random.below(6) == 0;
        // Long values are written over again and again.
        let number = random.below(if is_long { 12 } else { 120 }) * 10 % 119;
        let key = format!("key{number:03}").into_bytes();
        let table = TABLES[random.below(2) as usize];
        let most = match count {
            1 if is_long => value_bytes_longest,
            1 => 120,
            _ => 80,
        };
        let what = if random.below(5) > 0 {
            let length = random.below(most) as usize;
            let mut bytes = vec![random.below(256) as u8; length];
            random.fill(&mut bytes[..length.min(8)]);
            What::Put(bytes)
        } else {
            What::Delete
        };
        changes.push(Change { table, key, what });
    }
    if random.chance(1, 30) {
        // After writes that it takes back.
        changes.push(range_delete(random));
    }
    changes
}

/// Why a step didn't succeed.
#[derive(Debug)]
pub enum Failure {
    /// The engine answered an error.
    Engine(Error),
    /// The engine did what it must not.
    Wrong(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}

/// The states that may be found: by digest, the oldest allowed one first.
#[derive(Clone, Default)]
pub struct Window {
    /// Whether a database must be there.
    pub is_created: bool,
    pub digests: Vec<u64>,
}

impl Window {
    pub fn holds(&self, digest: u64) -> bool {
        self.digests.contains(&digest)
    }
}

/// Plays a script on a storage.
pub struct Player {
    storage: Arc<dyn Storage>,
    options: Options,
    pub engine: Option<Engine>,
    history: Vec<Vec<Change>>,
    /// The digest after each number of commits.
    digests: Vec<u64>,
    model: Model,
    /// So many commits are acknowledged.
    acknowledged: usize,
    /// So many survive this process.
    written: usize,
    is_created: bool,
    /// Snapshots that are kept, with what they saw first.
    held: Vec<(Snapshot, u64)>,
}

impl Player {
    pub fn new(storage: Arc<dyn Storage>, options: &Options) -> Self {
        Self {
            storage,
            options: *options,
            engine: None,
            history: Vec::new(),
            digests: vec![0],
            model: Model::default(),
            acknowledged: 0,
            written: 0,
            is_created: false,
            held: Vec::new(),
        }
    }

    pub fn window(&self) -> Window {
        Window {
            is_created: self.is_created,
            digests: self.digests[self.acknowledged..].to_vec(),
        }
    }

    /// Goes on with the storage as the next process finds it.
    pub fn restart_on(&mut self, storage: Arc<dyn Storage>) {
        self.close();
        self.storage = storage;
    }

    /// Lets the engine go, and what was read of it.
    fn close(&mut self) {
        self.held.clear();
        self.engine = None;
    }

    /// Compares what each snapshot sees that is kept, and lets it go.
    pub fn release_all(&mut self) -> Result<(), Failure> {
        let Some(engine) = &self.engine else {
            return Ok(());
        };
        while !self.held.is_empty() {
            release(engine, &mut self.held)?;
        }
        Ok(())
    }

    /// Creates the database, or opens it where it was created.
    pub fn start(&mut self) -> Result<(), Failure> {
        if !self.is_created {
            let created = create_on(Arc::clone(&self.storage), &self.options);
            self.engine = Some(match created {
                // A creation that failed at its end.
                Err(Error::DatabaseExists) => open_on(Arc::clone(&self.storage), &self.options)?,
                other => other?,
            });
            self.is_created = true;
            return Ok(());
        }
        let engine = open_on(Arc::clone(&self.storage), &self.options)?;
        let found = digest(&engine)?;
        let Some(count) = self.digests.iter().rposition(|state| *state == found) else {
            return Err(Failure::Wrong(
                "opening found a state that never was".into(),
            ));
        };
        if count < self.acknowledged {
            return Err(Failure::Wrong(format!(
                "opening found commit {count}, and {} are acknowledged",
                self.acknowledged
            )));
        }
        self.engine = Some(engine);
        self.history.truncate(count);
        self.digests.truncate(count + 1);
        self.model = Model::default();
        for changes in &self.history {
            self.model.apply(changes);
        }
        self.acknowledged = count;
        self.written = count;
        Ok(())
    }

    /// Does one action, opening first where no engine is open.
    pub fn step(&mut self, action: &Action) -> Result<(), Failure> {
        if self.engine.is_none() {
            self.start()?;
        }
        let Some(engine) = &self.engine else {
            return Ok(());
        };
        match action {
            Action::Ingest(changes) if engine.can_ingest() => {
                let mut number = 0;
                let _ = ingest(engine, changes, &mut || {
                    number += 1;
                    if number % 5 == 0 {
                        // What is built meanwhile is published without it.
                        let budget = Budgeted {
                            entries: 24,
                            log_bytes: 8_192,
                        };
                        engine.poll_maintenance(budget)?;
                    }
                    Ok(())
                })?;
                self.model.apply(changes);
                self.history.push(changes.clone());
                self.digests.push(self.model.digest);
            }
            Action::Commit(_) | Action::Ingest(_) => {
                let changes = match action {
                    Action::Commit(changes) => changes.as_slice(),
                    // All of them may be more than a transaction takes.
                    Action::Ingest(changes) => changes.get(..1).unwrap_or(&[]),
                    _ => &[],
                };
                let mut attempts = 0;
                while let Err(error) = commit(engine, changes) {
                    if !make_room(engine, error)? {
                        // Without runs a snapshot keeps memtables.
                        while !self.held.is_empty() {
                            release(engine, &mut self.held)?;
                        }
                    }
                    attempts += 1;
                    if attempts > ATTEMPTS_MAX {
                        return Err(Failure::Wrong(format!(
                            "a commit never found room: {error}"
                        )));
                    }
                }
                self.model.apply(changes);
                self.history.push(changes.to_vec());
                self.digests.push(self.model.digest);
            }
            Action::Flush => {
                flush(engine)?;
                self.acknowledged = self.history.len();
            }
            Action::Write => match engine.flush_step(false) {
                Ok(_) => self.written = self.history.len(),
                Err(Error::LogFull) => {}
                Err(error) => return Err(error.into()),
            },
            Action::Poll(entries) => {
                engine.poll_maintenance(Budgeted {
                    entries: *entries,
                    log_bytes: 8_192,
                })?;
            }
            Action::Freeze => match engine.freeze_front() {
                Ok(_) | Err(Error::FrontFull | Error::StorageFull) => {}
                Err(error) => return Err(error.into()),
            },
            Action::Mark => match engine.mark() {
                Ok(()) => self.acknowledged = self.history.len(),
                Err(Error::LogFull) => {}
                Err(error) => return Err(error.into()),
            },
            Action::Trim => {
                engine.trim_log()?;
            }
            Action::Settle(entries) => {
                settle(engine, *entries)?;
                self.acknowledged = self.history.len();
            }
            Action::Check => {
                // A reader sees what is durable: at least what is acknowledged.
                let found = digest(engine)?;
                if !self.digests[self.acknowledged..].contains(&found) {
                    return Err(Failure::Wrong("a reader saw a state that never was".into()));
                }
                for (snapshot, expected) in &self.held {
                    same(digest_of(engine, snapshot)?, *expected)?;
                }
            }
            Action::Hold => {
                // One is left for transactions, one for checks.
                if self.held.len() + 2 < (self.options.snapshots as usize).min(7) {
                    let snapshot = engine.snapshot(0)?;
                    let found = digest_of(engine, &snapshot);
                    let is_known = found
                        .as_ref()
                        .is_ok_and(|found| self.digests[self.acknowledged..].contains(found));
                    match found {
                        Ok(found) if is_known => self.held.push((snapshot, found)),
                        Ok(_) => return Err(Failure::Wrong("a snapshot of no state".into())),
                        Err(error) => {
                            engine.end(snapshot);
                            return Err(error.into());
                        }
                    }
                }
            }
            Action::Release => release(engine, &mut self.held)?,
            Action::Drain => match engine.drain() {
                Ok(_) | Err(Error::FrontFull | Error::StorageFull) => {}
                Err(error) => return Err(error.into()),
            },
            Action::Reopen => {
                let written = self.written.max(self.acknowledged);
                self.close();
                self.start()?;
                if self.acknowledged < written {
                    return Err(Failure::Wrong(
                        "what was written died with its process".into(),
                    ));
                }
            }
        }
        Ok(())
    }
}

/// What a host does when writes pause. Answers when everything is durable.
fn settle(engine: &Engine, entries: u32) -> Result<(), Failure> {
    match engine.freeze_front() {
        Ok(_) | Err(Error::FrontFull | Error::StorageFull) => {}
        Err(error) => return Err(error.into()),
    }
    match engine.renew_log() {
        Ok(_) | Err(Error::LogFull) => {}
        Err(error) => return Err(error.into()),
    }
    flush(engine)?;
    for _ in 0..3 {
        engine.poll_maintenance(Budgeted {
            entries,
            log_bytes: 8_192,
        })?;
    }
    engine.trim_log()?;
    Ok(())
}

/// Compares what the oldest of some snapshots sees, and lets it go.
fn release(engine: &Engine, held: &mut Vec<(Snapshot, u64)>) -> Result<(), Failure> {
    if held.is_empty() {
        return Ok(());
    }
    let (snapshot, expected) = held.remove(0);
    let found = digest_of(engine, &snapshot);
    engine.end(snapshot);
    same(found?, expected)
}

fn same(found: u64, expected: u64) -> Result<(), Failure> {
    if found == expected {
        Ok(())
    } else {
        Err(Failure::Wrong(
            "a snapshot sees other rows than when it began".into(),
        ))
    }
}

/// Makes everything durable, preparing log segments where they are needed.
pub fn flush(engine: &Engine) -> Result<(), Failure> {
    for _ in 0..ATTEMPTS_MAX {
        match engine.flush_step(true) {
            Ok(_) => return Ok(()),
            Err(Error::LogFull) => {
                engine.poll_maintenance(Budgeted::default())?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(Failure::Wrong("a flush never found room".into()))
}
