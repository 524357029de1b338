//! Judges a history: each read by itself, recoveries, then cycles.
//!
//! Versions of a key follow each other in the order of commits, epoch by epoch. What a
//! power cut took is seen by nobody in later epochs: recovery keeps a prefix of commits,
//! and which one follows from the first transaction after it, which reads everything.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};

use super::graph::{Edge, Graph};
use super::history::{History, Operation, Transaction, Value};

/// The anomalies that are told apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// G0: writes of transactions cross.
    DirtyWrite,
    /// G1a.
    AbortedRead,
    /// G1b.
    IntermediateRead,
    /// G1c.
    CircularInformation,
    LostUpdate,
    /// A cycle with a single rw edge.
    GSingle,
    /// G2-item: a cycle with rw edges that follow each other.
    WriteSkew,
    /// G2: as a write skew, with a predicate's rw edge.
    Phantom,
    /// A cycle with several rw edges of which none follow each other.
    LongFork,
    MissedOwnWrite,
    /// A read older than its snapshot, or a snapshot older than its begin.
    StaleSnapshot,
    /// What a power cut took is read later.
    Revival,
    /// A read newer than its snapshot.
    ReadAhead,
    /// A value that nobody wrote there.
    Invented,
    /// An acknowledged commit is gone after a power cut.
    AcknowledgedLost,
    /// After a power cut, what is there is no prefix of the commits.
    NoPrefix,
}

impl Kind {
    /// Whether snapshot isolation permits it.
    pub fn is_snapshot(self) -> bool {
        matches!(self, Self::WriteSkew | Self::Phantom)
    }
}

/// One anomaly, and the transactions in it.
#[derive(Clone, Debug)]
pub struct Anomaly {
    pub kind: Kind,
    pub what: String,
}

impl Display for Anomaly {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}: {}", self.kind, self.what)
    }
}

/// What a history comes to.
pub struct Report {
    pub found: Vec<Anomaly>,
    /// Commits that power cuts took.
    pub lost: usize,
}

/// Epoch and sequence.
type Position = (u32, u64);

struct Version {
    at: Position,
    /// None: nobody, the key isn't there at the beginning.
    writer: Option<u32>,
    number: Option<u32>,
}

struct Checker<'h> {
    history: &'h History,
    versions: BTreeMap<u32, Vec<Version>>,
    /// The epoch at the end of which a power cut took a commit.
    lost_after: Vec<Option<u32>>,
    found: Vec<Anomaly>,
    graph: Graph,
}

/// Finds the anomalies of a history.
pub fn check(history: &History) -> Report {
    let mut checker = Checker {
        history,
        versions: versions(history),
        lost_after: vec![None; history.transactions.len()],
        found: Vec::new(),
        graph: Graph::new(history.transactions.len()),
    };
    for epoch in 1..=history.crashes.len() as u32 {
        checker.recovery(epoch);
    }
    for id in 0..history.transactions.len() as u32 {
        checker.transaction(id);
    }
    checker.begins();
    checker.writes();
    checker.graph.cycles(&mut checker.found);
    Report {
        found: checker.found,
        lost: checker.lost_after.iter().flatten().count(),
    }
}

/// Every key that is written or read, with its versions in order.
fn versions(history: &History) -> BTreeMap<u32, Vec<Version>> {
    let mut all: BTreeMap<u32, Vec<Version>> = BTreeMap::new();
    for (id, transaction) in history.transactions.iter().enumerate() {
        let Some(sequence) = transaction.committed else {
            continue;
        };
        for key in transaction.written() {
            all.entry(key).or_default().push(Version {
                at: (transaction.epoch, sequence),
                writer: Some(id as u32),
                number: transaction.last_write(key).flatten(),
            });
        }
    }
    for (key, versions) in &mut all {
        versions.sort_by_key(|version| version.at);
        if let Some(order) = history.orders.get(key) {
            versions.sort_by_key(|version| order.iter().position(|id| Some(*id) == version.writer));
        }
        let first = Version {
            at: (0, 0),
            writer: None,
            number: None,
        };
        versions.insert(0, first);
    }
    all
}

impl Checker<'_> {
    fn note(&mut self, kind: Kind, what: String) {
        self.found.push(Anomaly { kind, what });
    }

    fn of(&self, id: u32) -> &Transaction {
        &self.history.transactions[id as usize]
    }

    /// Whether a transaction in that epoch may see the version.
    fn is_there(&self, version: &Version, epoch: u32) -> bool {
        let lost = version.writer.and_then(|id| self.lost_after[id as usize]);
        lost.is_none_or(|lost| epoch <= lost)
    }

    /// The newest version up to a commit, as that epoch sees it.
    fn newest(&self, key: u32, epoch: u32, until: Position) -> Option<usize> {
        self.versions
            .get(&key)?
            .iter()
            .rposition(|version| version.at <= until && self.is_there(version, epoch))
    }

    fn value(&self, key: u32, index: usize) -> Option<Value> {
        let version = &self.versions[&key][index];
        Some(Value {
            writer: version.writer?,
            number: version.number?,
        })
    }

    /// Finds which commits of the epoch before are left, and marks the others as lost.
    fn recovery(&mut self, epoch: u32) {
        let history = self.history;
        let before = epoch - 1;
        let is_first =
            |transaction: &&Transaction| transaction.is_recovery && transaction.epoch == epoch;
        let Some(first) = history.transactions.iter().find(is_first) else {
            return;
        };
        let seen: BTreeMap<u32, Value> = first
            .operations
            .iter()
            .flat_map(|operation| match operation {
                Operation::Range { seen, .. } => seen.as_slice(),
                _ => &[],
            })
            .copied()
            .collect();
        let commits: BTreeSet<u64> = history
            .transactions
            .iter()
            .filter(|transaction| transaction.epoch == before)
            .filter_map(|transaction| transaction.committed)
            .chain([0])
            .collect();
        let is_left = |until: u64| {
            self.versions.keys().all(|key| {
                let index = self.newest(*key, before, (before, until));
                index.and_then(|index| self.value(*key, index)) == seen.get(key).copied()
            })
        };
        let until = commits.iter().rev().copied().find(|until| is_left(*until));
        let until = until.unwrap_or_else(|| {
            self.note(
                Kind::NoPrefix,
                format!("after power cut {epoch} the rows are those of no prefix of commits"),
            );
            let sequences = seen.values().filter_map(|value| {
                let writer = history.transactions.get(value.writer as usize)?;
                writer.committed.filter(|_| writer.epoch == before)
            });
            sequences.max().unwrap_or(0)
        });
        let crashed_at = history.crashes[before as usize];
        for (id, transaction) in history.transactions.iter().enumerate() {
            let is_lost = transaction
                .committed
                .is_some_and(|sequence| sequence > until);
            if transaction.epoch != before || !is_lost || transaction.written().is_empty() {
                continue;
            }
            self.lost_after[id] = Some(before);
            if transaction
                .acknowledged_at
                .is_some_and(|at| at < crashed_at)
            {
                self.note(Kind::AcknowledgedLost, format!("transaction {id}"));
            }
        }
    }

    /// Each read of a transaction: against its own writes, then against others'.
    fn transaction(&mut self, id: u32) {
        let history = self.history;
        let mut own: BTreeMap<u32, Option<u32>> = BTreeMap::new();
        for operation in &history.transactions[id as usize].operations {
            match operation {
                Operation::Write { key, number } => {
                    own.insert(*key, *number);
                }
                Operation::Read { key, seen } => self.read(id, *key, *seen, &own, false),
                Operation::Range { from, to, seen } => {
                    let mut keys: BTreeSet<u32> = self
                        .versions
                        .range(*from..*to)
                        .map(|(key, _)| *key)
                        .collect();
                    keys.extend(own.range(*from..*to).map(|(key, _)| *key));
                    keys.extend(seen.iter().map(|(key, _)| *key));
                    for key in keys {
                        let value = seen.iter().find(|(other, _)| *other == key);
                        self.read(id, key, value.map(|(_, value)| *value), &own, true);
                    }
                }
            }
        }
    }

    fn read(
        &mut self,
        id: u32,
        key: u32,
        seen: Option<Value>,
        own: &BTreeMap<u32, Option<u32>>,
        is_range: bool,
    ) {
        if let Some(number) = own.get(&key) {
            let expected = number.map(|number| Value { writer: id, number });
            if seen != expected {
                self.note(
                    Kind::MissedOwnWrite,
                    format!("transaction {id} key {key}: {seen:?} instead of {expected:?}"),
                );
            }
            return;
        }
        let index = match self.resolve(id, key, seen) {
            Ok(index) => index,
            Err(kind) => {
                self.note(kind, format!("transaction {id} key {key}: {seen:?}"));
                return;
            }
        };
        let Some(index) = index else { return };
        let epoch = self.of(id).epoch;
        if let Some(snapshot) = self.of(id).snapshot {
            let expected = self.newest(key, epoch, (epoch, snapshot)).unwrap_or(0);
            if index != expected {
                let is_old = index < expected;
                let kind = if is_old {
                    Kind::StaleSnapshot
                } else {
                    Kind::ReadAhead
                };
                let value = self.value(key, expected);
                let what =
                    format!("transaction {id} at {snapshot} key {key}: {seen:?}, not {value:?}");
                self.note(kind, what);
            }
        }
        if self.of(id).committed.is_none() {
            return;
        }
        let versions = &self.versions[&key];
        if let Some(writer) = versions[index].writer {
            self.graph.add(writer, id, Edge::WriteRead(key));
        }
        let next = versions[index + 1..]
            .iter()
            .find(|version| self.is_there(version, epoch));
        if let Some((next, writer)) = next.and_then(|next| Some((next, next.writer?))) {
            // A value that is replaced was read; what comes or goes changes the predicate.
            let is_item = !is_range || seen.is_some() && next.number.is_some();
            let edge = if is_item {
                Edge::ReadWrite(key)
            } else {
                Edge::Predicate(key)
            };
            self.graph.add(id, writer, edge);
        }
    }

    /// Which version was read; none for a key that nobody wrote.
    fn resolve(&self, id: u32, key: u32, seen: Option<Value>) -> Result<Option<usize>, Kind> {
        let reader = self.of(id);
        let Some(value) = seen else {
            let until = reader.snapshot.map(|snapshot| (reader.epoch, snapshot));
            let Some(versions) = self.versions.get(&key) else {
                return Ok(None);
            };
            return Ok(versions.iter().rposition(|version| {
                let is_before = until.is_some_and(|until| version.at <= until);
                let is_absent = version.number.is_none();
                version.writer.is_none()
                    || is_absent && is_before && self.is_there(version, reader.epoch)
            }));
        };
        let writer = self.history.transactions.get(value.writer as usize);
        let Some(writer) = writer.filter(|writer| writer.wrote(key, value.number)) else {
            return Err(Kind::Invented);
        };
        if value.writer == id {
            return Err(Kind::Invented);
        }
        if writer.committed.is_none() {
            return Err(Kind::AbortedRead);
        }
        let lost = self.lost_after[value.writer as usize];
        if lost.is_some_and(|lost| reader.epoch > lost) {
            return Err(Kind::Revival);
        }
        if writer.last_write(key) != Some(Some(value.number)) {
            return Err(Kind::IntermediateRead);
        }
        let versions = self.versions.get(&key).into_iter().flatten();
        Ok(versions
            .into_iter()
            .position(|version| version.writer == Some(value.writer)))
    }

    /// A transaction sees all commits that had returned when it began.
    fn begins(&mut self) {
        let history = self.history;
        for (id, reader) in history.transactions.iter().enumerate() {
            let Some(snapshot) = reader.snapshot else {
                continue;
            };
            let missed = history.transactions.iter().position(|writer| {
                writer.epoch == reader.epoch
                    && writer.ended_at < reader.begun_at
                    && writer.committed.is_some_and(|sequence| sequence > snapshot)
                    && !writer.written().is_empty()
            });
            if let Some(missed) = missed {
                let what = format!("transaction {id} begins after {missed} and doesn't see it");
                self.note(Kind::StaleSnapshot, what);
            }
        }
    }

    fn writes(&mut self) {
        for (key, versions) in &self.versions {
            for pair in versions.windows(2) {
                if let (Some(before), Some(after)) = (pair[0].writer, pair[1].writer) {
                    self.graph.add(before, after, Edge::WriteWrite(*key));
                }
            }
        }
    }
}
