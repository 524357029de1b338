//! What a process has to find of what others wrote that were killed.
//!
//! Outside of the processes that are killed, it keeps what each worker's operations come
//! to, and which of them were acknowledged. A look is right where
//!
//! - each worker's progress is no less than what was acknowledged, and no more than it can
//!   have begun;
//! - the entries that begin with its number, and its own table, are those that its
//!   operations up to that progress leave, each in full: so every operation is there as a
//!   whole or not at all, in the order of its worker;
//! - the shared order has no gap, names what each worker's operations up to its progress
//!   took and nothing else, and begins as it was found before: so of all workers together
//!   the beginning of what was committed is there;
//! - there is nothing else.

use std::collections::BTreeMap;

use crate::message::Look;
use crate::model::{Entry, Worker};
use crate::operation::{ORDER, Place, Source, progress_key, table_name};
use crate::worker::UNACKNOWLEDGED_MAX;

/// So far the clocks of two processes may be apart, and a time is rounded.
const CLOCK_SLACK_MS: u64 = 20;

/// The judge of one database.
pub struct Judge {
    source: Source,
    workers: Vec<Worker>,
    acknowledged: Vec<u64>,
    /// Who took each number of the shared order, as it was found last.
    order: Vec<(u8, u64)>,
}

impl Judge {
    /// The judge of a database that nothing was written to.
    pub fn new(source: Source) -> Self {
        let workers = 0..source.setup.workers;
        Self {
            source,
            workers: workers.clone().map(Worker::new).collect(),
            acknowledged: workers.map(|_| 0).collect(),
            order: Vec::new(),
        }
    }

    /// Notes that a worker's operations up to `number` were acknowledged.
    pub fn acknowledge(&mut self, worker: u8, number: u64) {
        if let Some(acknowledged) = self.acknowledged.get_mut(usize::from(worker)) {
            *acknowledged = number.max(*acknowledged);
        }
    }

    /// The progress of each worker as it was found last, to go on from.
    pub fn numbers(&self) -> String {
        let numbers = self
            .workers
            .iter()
            .map(|worker| worker.number().to_string());
        numbers.collect::<Vec<_>>().join(" ")
    }

    /// Operations that were found, of all workers.
    pub fn operations(&self) -> u64 {
        self.workers.iter().map(Worker::number).sum()
    }

    /// Judges what was found; from then on that is what there has to be at least.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn judge(&mut self, look: &Look) -> Result<(), String> {
        let none = BTreeMap::new();
        let mut expected: BTreeMap<(String, Vec<u8>), &Entry> = BTreeMap::new();
        let mut names = Vec::new();
        for (model, acknowledged) in self.workers.iter_mut().zip(&mut self.acknowledged) {
            let worker = model.worker();
            let progress = [Place::Shared, Place::Loaded].map(|place| {
                let table = look.tables.get(&table_name(place, worker)).unwrap_or(&none);
                let entry = table.get(&progress_key(worker));
                entry.and_then(Entry::number).unwrap_or(0)
            });
            let found = progress.into_iter().max().unwrap_or(0);
            if found < *acknowledged {
                return Err(format!(
                    "worker {worker}: {found} operations are there, {acknowledged} were acknowledged"
                ));
            }
            if found > *acknowledged + UNACKNOWLEDGED_MAX {
                return Err(format!(
                    "worker {worker}: {found} operations are there, after {acknowledged} that \
                     were acknowledged it can't have begun so many"
                ));
            }
            *acknowledged = found;
            model.advance(&self.source, found);
            if model.has_own_table() {
                names.push(table_name(Place::Own, worker));
            }
        }
        for model in &self.workers {
            expected.extend(model.entries());
        }
        self.order = self.judge_order(look)?;
        self.judge_tables(look, &names)?;
        judge_entries(look, expected)
    }

    fn judge_tables(&self, look: &Look, names: &[String]) -> Result<(), String> {
        let shared = [Place::Shared, Place::Loaded].map(|place| table_name(place, 0));
        let is_known = |name: &String| {
            name == ORDER || shared.contains(name) || names.iter().any(|own| own == name)
        };
        if let Some(name) = look.tables.keys().find(|name| !is_known(name)) {
            return Err(format!("there is a table {name:?}, which was dropped"));
        }
        match names.iter().find(|name| !look.tables.contains_key(*name)) {
            Some(name) => Err(format!("there is no table {name:?}")),
            None => Ok(()),
        }
    }

    fn judge_order(&self, look: &Look) -> Result<Vec<(u8, u64)>, String> {
        let Some(table) = look.tables.get(ORDER) else {
            let is_new = self.order.is_empty();
            let none = Vec::new();
            return if is_new {
                Ok(none)
            } else {
                Err("the shared order is gone".to_owned())
            };
        };
        let head = table.get(&Vec::new()).and_then(Entry::number).unwrap_or(0);
        let mut order = Vec::new();
        for (key, entry) in table.iter().filter(|(key, _)| !key.is_empty()) {
            let number = order.len() as u64 + 1;
            if key[..] != number.to_be_bytes() {
                return Err(format!("number {number} of the shared order is missing"));
            }
            let [worker, number @ ..] = &entry.head[..] else {
                return Err(format!("number {number} of the shared order names nobody"));
            };
            let number = u64::from_be_bytes(number.try_into().unwrap_or_default());
            order.push((*worker, number));
        }
        if head != order.len() as u64 {
            return Err(format!(
                "the shared order has {} numbers, and its head is {head}",
                order.len()
            ));
        }
        if !order.starts_with(&self.order) {
            return Err("the shared order doesn't begin as it did before".to_owned());
        }
        for model in &self.workers {
            let worker = model.worker();
            let of_worker = order.iter().filter(|(who, _)| *who == worker);
            if !of_worker.map(|(_, number)| number).eq(model.ordered()) {
                return Err(format!(
                    "the shared order doesn't name what worker {worker} did up to {}",
                    model.number()
                ));
            }
        }
        Ok(order)
    }
}

fn judge_entries(
    look: &Look,
    mut expected: BTreeMap<(String, Vec<u8>), &Entry>,
) -> Result<(), String> {
    for (name, table) in &look.tables {
        if name == ORDER {
            continue;
        }
        for (key, entry) in table {
            let place = format!("table {name:?}, key {}", key.escape_ascii());
            let Some(right) = expected.remove(&(name.clone(), key.clone())) else {
                return Err(format!("{place}: it should not be there: {entry:?}"));
            };
            if right != entry {
                return Err(format!("{place}: {entry:?} instead of {right:?}"));
            }
            if entry
                .expiry_ms
                .is_some_and(|expiry| expiry + CLOCK_SLACK_MS < look.begun_ms)
            {
                return Err(format!("{place}: it has expired"));
            }
        }
    }
    let missing = expected.iter().find(|(_, entry)| {
        let expiry_ms = entry.expiry_ms.unwrap_or(u64::MAX);
        expiry_ms > look.ended_ms.saturating_add(CLOCK_SLACK_MS)
    });
    match missing {
        Some(((table, key), entry)) => Err(format!(
            "table {table:?}, key {}: it is missing: {entry:?}",
            key.escape_ascii()
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::SETUPS;

    /// What a database holds whose first worker has done `number` operations, and the
    /// others none.
    fn look(source: &Source, number: u64) -> Look {
        let mut model = Worker::new(0);
        model.advance(source, number);
        let mut look = Look {
            begun_ms: 1,
            ended_ms: 1,
            ..Look::default()
        };
        for ((table, key), entry) in model.entries() {
            let table = look.tables.entry(table).or_default();
            table.insert(key, entry.clone());
        }
        if model.has_own_table() {
            look.tables.entry(table_name(Place::Own, 0)).or_default();
        }
        let order = look.tables.entry(ORDER.to_owned()).or_default();
        let mut head = 0u64;
        for ordered in model.ordered() {
            head += 1;
            let mut who = vec![0];
            who.extend(ordered.to_be_bytes());
            order.insert(head.to_be_bytes().to_vec(), Entry::new(&who, None, None));
        }
        order.insert(Vec::new(), Entry::new(&head.to_be_bytes(), None, None));
        look
    }

    fn source() -> Source {
        Source {
            seed: 5,
            setup: SETUPS[0],
            base_ms: 1_000_000,
        }
    }

    #[test]
    fn what_was_written_is_right_and_what_was_acknowledged_has_to_be_there() {
        let source = source();
        let mut judge = Judge::new(source);
        for number in [0, 1, 20, 40] {
            assert_eq!(judge.judge(&look(&source, number)), Ok(()));
        }
        assert!(judge.judge(&look(&source, 39)).is_err());
        let far = look(&source, 41 + UNACKNOWLEDGED_MAX);
        assert!(judge.judge(&far).is_err());
        judge.acknowledge(0, 41);
        assert!(judge.judge(&look(&source, 40)).is_err());
        assert_eq!(judge.judge(&far), Ok(()));
    }

    #[test]
    fn whatever_is_missing_or_too_much_is_found() {
        let source = source();
        let whole = look(&source, 20);
        let count: usize = whole.tables.values().map(BTreeMap::len).sum();
        assert!(count > 30);
        for (name, table) in &whole.tables {
            for key in table.keys() {
                let mut without = look(&source, 20);
                without.tables.get_mut(name).unwrap().remove(key);
                let judged = Judge::new(source).judge(&without);
                assert!(judged.is_err(), "{name} without {}", key.escape_ascii());
                let mut changed = look(&source, 20);
                let entry = changed.tables.get_mut(name).unwrap().get_mut(key).unwrap();
                *entry = Entry::new(b"something else", None, None);
                let judged = Judge::new(source).judge(&changed);
                assert!(
                    judged.is_err(),
                    "{name} with another {}",
                    key.escape_ascii()
                );
            }
            let mut with_more = look(&source, 20);
            let table = with_more.tables.get_mut(name).unwrap();
            table.insert(vec![9], Entry::new(b"more", None, None));
            assert!(
                Judge::new(source).judge(&with_more).is_err(),
                "{name} with more"
            );
        }
        let mut with_table = look(&source, 20);
        with_table
            .tables
            .insert("own 3".to_owned(), BTreeMap::new());
        assert!(Judge::new(source).judge(&with_table).is_err());
    }

    #[test]
    fn what_expires_is_there_until_then_and_not_afterwards() {
        let source = source();
        let mut at = look(&source, 20);
        let expiry_ms = |entry: &Entry| entry.expiry_ms.filter(|expiry| *expiry < 2_000_000);
        let of_all = |look: &Look| {
            let entries = look.tables.values().flat_map(BTreeMap::values);
            entries.filter_map(expiry_ms).collect::<Vec<_>>()
        };
        let last = of_all(&at).into_iter().max().expect("one that expires");
        at.begun_ms = last + 1_000;
        at.ended_ms = last + 1_000;
        assert!(Judge::new(source).judge(&at).is_err());
        for table in at.tables.values_mut() {
            table.retain(|_, entry| expiry_ms(entry).is_none());
        }
        assert_eq!(Judge::new(source).judge(&at), Ok(()));
        at.begun_ms = 1;
        at.ended_ms = 1;
        assert!(Judge::new(source).judge(&at).is_err());
    }
}
