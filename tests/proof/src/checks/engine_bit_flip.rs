//! One bit rots somewhere in a database at rest.
//!
//! What is read then is right, or an error that names file and offset. The end
//! of the log is no exception, but for the very last flush: nothing written
//! later says that it was whole (see the log's documentation), so that rot there
//! looks like a power cut. Such cases are counted and printed by themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lightning_core::db::Budgeted;
use lightning_core::error::Error;
use lightning_platform::File;
use lightning_sim::{SimStorage, mix};

use super::{Check, Outcome, Settings};
use crate::cases::{Verdict, for_each};
use crate::engine::{Model, Setup, commit, create, digest, drain, make_room, open, setups};
use crate::script::{Action, script};

/// The entry in the table.
pub const CHECK: Check = Check {
    name: "engine-bit-flip",
    about: "a rotten bit gives right data or an error that names the place",
    run,
};

/// A database at rest, and what it holds.
pub struct AtRest {
    pub name: String,
    pub setup: Setup,
    pub storage: SimStorage,
    pub expected: u64,
    /// States that a loss of the last flush leaves; none where it is marked.
    pub before_last_flush: Vec<u64>,
    /// The states after every commit.
    pub states: Vec<u64>,
    /// The page file as it was halfway, after a merge.
    pub older_pages: Option<Vec<u8>>,
}

/// Writes a database and closes it, or kills it with commits in the log only.
pub fn at_rest(setup: &Setup, seed: u64, closes: bool) -> Result<AtRest, Error> {
    let storage = SimStorage::new(setup.sim);
    let engine = create(&storage, &setup.options)?;
    let mut model = Model::default();
    let actions = script(seed, 70, setup.value_bytes_longest);
    let commits: Vec<_> = actions
        .iter()
        .filter_map(|action| match action {
            Action::Commit(changes) => Some(changes),
            _ => None,
        })
        .collect();
    let mut older_pages = None;
    let mut before_last_flush = Vec::new();
    let mut states = vec![0];
    for (index, changes) in commits.iter().enumerate() {
        if index + 2 == commits.len() {
            // The last flush holds the last two commits.
            engine.flush_step(true)?;
            before_last_flush.push(model.digest);
        }
        while let Err(error) = commit(&engine, changes) {
            make_room(&engine, error)?;
        }
        model.apply(changes);
        states.push(model.digest);
        if index + 2 == commits.len() {
            before_last_flush.push(model.digest);
        } else if index + 2 < commits.len() {
            engine.flush_step(true)?;
        }
        if !closes && index > commits.len() / 2 {
            // What is killed has runs.
            engine.poll_maintenance(Budgeted::default())?;
        }
        if index == commits.len() / 2 {
            drain(&engine)?;
            older_pages = storage.file_bytes(File::Pages);
        }
    }
    engine.flush_step(true)?;
    if closes {
        drain(&engine)?;
        engine.mark()?;
        before_last_flush.clear();
    }
    drop(engine);
    let kind = if closes { "closed" } else { "killed" };
    Ok(AtRest {
        name: format!("{}, {kind}", setup.name),
        setup: *setup,
        storage: storage.restart(),
        expected: model.digest,
        before_last_flush,
        states,
        older_pages,
    })
}

/// How a damaged database was found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// All is there.
    Right,
    /// An error.
    Refused,
    /// A power cut's worth of the last flush is gone.
    TailLost,
}

impl AtRest {
    /// Opens what became of it and reads everything.
    pub fn read(&self, damaged: &SimStorage) -> Result<Found, String> {
        let found = open(damaged, &self.setup.options).and_then(|engine| digest(&engine));
        match found {
            Ok(found) if found == self.expected => Ok(Found::Right),
            Ok(found) if self.before_last_flush.contains(&found) => Ok(Found::TailLost),
            Ok(_) => Err("wrong data, and no error".into()),
            Err(Error::Internal(number)) => Err(format!("internal error {number}")),
            Err(Error::Corruption { .. }) => Ok(Found::Refused),
            Err(error) => Err(format!("the error names no place: {error}")),
        }
    }
}

fn run(settings: &Settings) -> Outcome {
    let stride = if settings.is_long { 1 } else { 7 };
    let [disk, six, _, lz4, .., small] = setups();
    let databases: Result<Vec<AtRest>, Error> = [
        (disk, true),
        (disk, false),
        (six, false),
        (lz4, false),
        (small, false),
    ]
    .into_iter()
    .map(|(setup, closes)| at_rest(&setup, settings.seed, closes))
    .collect();
    let databases = match databases {
        Ok(databases) => Arc::new(databases),
        Err(error) => {
            return Outcome {
                cases: 1,
                bad: 1,
                first_bad: Some(format!("writing it: {error}")),
                note: None,
            };
        }
    };
    let mut places = Vec::new();
    for (index, database) in databases.iter().enumerate() {
        for file in database.storage.files() {
            let bytes = database.storage.file_bytes(file).unwrap_or_default();
            let last = bytes.iter().rposition(|byte| *byte != 0 && *byte != 0xFF);
            // Behind the last byte that was written, some places are as good as all.
            let (end, offset) = (last.unwrap_or(0) as u64 + 64, settings.seed % stride);
            let written = (offset..end.min(bytes.len() as u64)).step_by(stride as usize);
            let erased = (end..bytes.len() as u64).step_by(509);
            places.extend(written.chain(erased).map(|offset| (index, file, offset)));
        }
    }
    let (tails, refused) = (AtomicU64::new(0), AtomicU64::new(0));
    let outcome = for_each(places.len() as u64, |case| -> Verdict {
        let (index, file, offset) = places[case as usize];
        let database = &databases[index];
        let damaged = database.storage.fork();
        let bit = (mix(settings.seed ^ case) % 8) as u32;
        damaged.flip_bit(file, offset, bit);
        let found = database.read(&damaged).map_err(|reason| {
            format!(
                "{}: {file:?} offset {offset} bit {bit}: {reason}",
                database.name
            )
        })?;
        match found {
            Found::Right => {}
            Found::TailLost => drop(tails.fetch_add(1, Ordering::Relaxed)),
            Found::Refused => drop(refused.fetch_add(1, Ordering::Relaxed)),
        }
        Ok(())
    });
    Outcome {
        note: Some(format!(
            "{} refused, {} lost part of a last flush that no later one covers",
            refused.into_inner(),
            tails.into_inner()
        )),
        ..outcome
    }
}
