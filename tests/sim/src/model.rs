//! The oracle: every version of every row, in the order of commits.
//!
//! A *moment* is a commit's sequence and, below it, the number of loads that came after
//! it: a load takes no sequence. What a snapshot sees is the newest version of each key
//! at or below its moment; what a crash leaves is everything at or below one moment.

use std::collections::BTreeMap;

use lightning_sim::Random;

/// A value by what it is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value {
    pub seed: u64,
    pub length: u32,
    pub expiry_ms: Option<u64>,
    pub metadata: Option<u8>,
}

impl Value {
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.length as usize];
        Random::new(self.seed).fill(&mut bytes);
        bytes
    }

    pub fn is_visible(&self, now_ms: u64) -> bool {
        self.expiry_ms.is_none_or(|expiry_ms| expiry_ms > now_ms)
    }
}

/// One change of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    Put(u32, Vec<u8>, Value),
    Delete(u32, Vec<u8>),
    /// From a key up to the exclusive end; none: the table's.
    DeleteRange(u32, Vec<u8>, Option<Vec<u8>>),
}

/// What a transaction read: from a key to an inclusive end; none: the table's.
#[derive(Debug, Clone)]
pub struct Read {
    pub table: u32,
    pub from: Vec<u8>,
    pub to: Option<Vec<u8>>,
}

/// What a commit changed.
struct Commit {
    moment: u64,
    writes: Vec<Write>,
    /// Keys that a range delete took away.
    taken: Vec<(u32, Vec<u8>)>,
}

/// Whether a transaction conflicts with what was committed since it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflict {
    /// A key that it wrote or read has another value than when it began.
    Must,
    /// A range touches one, but no key in both has changed.
    May,
    None,
}

/// Bits of a moment below the sequence.
pub const LOAD_BITS: u32 = 16;

pub type Rows = Vec<(Vec<u8>, Value)>;

type Versions = Vec<(u64, Option<Value>)>;

#[derive(Default)]
pub struct Model {
    rows: BTreeMap<(u32, Vec<u8>), Versions>,
    commits: Vec<Commit>,
    /// Names of tables by slot, with what each one meant.
    names: BTreeMap<u8, Vec<(u64, Option<u32>)>>,
    /// All moments but the first, 0.
    moments: Vec<u64>,
}

const fn end_of(table: u32) -> (u32, Vec<u8>) {
    (table + 1, Vec::new())
}

fn at<T: Copy>(versions: &[(u64, Option<T>)], moment: u64) -> Option<T> {
    let after = versions.partition_point(|(written, _)| *written <= moment);
    versions[..after].last().and_then(|(_, value)| *value)
}

fn push<T>(versions: &mut Vec<(u64, Option<T>)>, moment: u64, value: Option<T>) {
    match versions.last_mut() {
        Some((last, before)) if *last == moment => *before = value,
        _ => versions.push((moment, value)),
    }
}

impl Model {
    /// The newest moment.
    pub fn last(&self) -> u64 {
        self.moments.last().copied().unwrap_or(0)
    }

    /// The sequence of the last commit.
    pub fn last_sequence(&self) -> u64 {
        self.last() >> LOAD_BITS
    }

    /// The newest moment of a sequence.
    pub fn moment_of(&self, sequence: u64) -> u64 {
        let end = (sequence + 1) << LOAD_BITS;
        let before_end = self.moments.partition_point(|moment| *moment < end);
        self.moments[..before_end].last().copied().unwrap_or(0)
    }

    /// Tables that ever had a row.
    pub fn tables(&self) -> Vec<u32> {
        let mut tables: Vec<u32> = Vec::new();
        let mut from = (0, Vec::new());
        while let Some(((table, _), _)) = self.rows.range(from..).next() {
            tables.push(*table);
            from = end_of(*table);
        }
        tables
    }

    /// What a name means at a moment.
    pub fn table(&self, slot: u8, moment: u64) -> Option<u32> {
        at(self.names.get(&slot)?, moment)
    }

    /// Gives a name a meaning by the commit that was applied last.
    pub fn name(&mut self, slot: u8, table: Option<u32>) {
        let moment = self.last();
        push(self.names.entry(slot).or_default(), moment, table);
    }

    pub fn row(&self, table: u32, key: &[u8], moment: u64) -> Option<Value> {
        at(self.rows.get(&(table, key.to_vec()))?, moment)
    }

    /// Rows from a key to an exclusive end, expired ones included.
    pub fn rows(&self, table: u32, from: &[u8], to: Option<&[u8]>, moment: u64) -> Rows {
        let end = to.map_or(end_of(table), |to| (table, to.to_vec()));
        let start = (table, from.to_vec());
        if start >= end {
            return Rows::new();
        }
        self.rows
            .range(start..end)
            .filter_map(|((_, key), versions)| Some((key.clone(), at(versions, moment)?)))
            .collect()
    }

    /// Applies the commit of the next sequence.
    pub fn commit(&mut self, writes: Vec<Write>) {
        let moment = (self.last_sequence() + 1) << LOAD_BITS;
        self.apply(moment, writes, true);
    }

    /// Applies a load, which takes no sequence and no part in validation.
    pub fn load(&mut self, writes: Vec<Write>) {
        self.apply(self.last() + 1, writes, false);
    }

    fn apply(&mut self, moment: u64, writes: Vec<Write>, is_validated: bool) {
        self.moments.push(moment);
        let mut taken = Vec::new();
        for write in &writes {
            match write {
                Write::Put(table, key, value) => {
                    let versions = self.rows.entry((*table, key.clone())).or_default();
                    push(versions, moment, Some(*value));
                }
                Write::Delete(table, key) => {
                    if let Some(versions) = self.rows.get_mut(&(*table, key.clone())) {
                        push(versions, moment, None);
                    }
                }
                Write::DeleteRange(table, from, to) => {
                    let end = to.clone().map_or(end_of(*table), |to| (*table, to));
                    let start = (*table, from.clone());
                    if start >= end {
                        continue;
                    }
                    for (place, versions) in self.rows.range_mut(start..end) {
                        if at(versions, moment).is_some() {
                            push(versions, moment, None);
                            taken.push(place.clone());
                        }
                    }
                }
            }
        }
        if is_validated {
            self.commits.push(Commit {
                moment,
                writes,
                taken,
            });
        }
    }

    /// Forgets what came after a moment.
    pub fn cut(&mut self, moment: u64) {
        for versions in self.rows.values_mut() {
            versions.retain(|(written, _)| *written <= moment);
        }
        self.rows.retain(|_, versions| !versions.is_empty());
        for versions in self.names.values_mut() {
            versions.retain(|(written, _)| *written <= moment);
        }
        self.commits.retain(|commit| commit.moment <= moment);
        self.moments.retain(|known| *known <= moment);
    }

    /// What a transaction that began at a moment, wrote and read, meets at its commit.
    pub fn conflict(&self, moment: u64, writes: &[Write], reads: &[Read]) -> Conflict {
        let later = self.commits.iter().rev();
        let later = later.take_while(|commit| commit.moment > moment);
        let mut worst = Conflict::None;
        for commit in later {
            let changed = commit.writes.iter().filter_map(|write| match write {
                Write::Put(table, key, _) | Write::Delete(table, key) => Some((*table, key)),
                Write::DeleteRange(..) => None,
            });
            let taken = commit.taken.iter().map(|(table, key)| (*table, key));
            for (table, key) in changed.chain(taken) {
                let wrote = writes.iter().any(|write| covers(write, table, key));
                let read = reads.iter().any(|read| {
                    read.table == table
                        && read.from <= *key
                        && read.to.as_ref().is_none_or(|to| key <= to)
                });
                if wrote || read {
                    return Conflict::Must;
                }
            }
            for write in &commit.writes {
                if let Write::DeleteRange(table, from, to) = write {
                    let touched = writes
                        .iter()
                        .any(|own| overlaps(own, *table, from, to.as_ref()));
                    let read = reads.iter().any(|read| {
                        read.table == *table
                            && to.as_ref().is_none_or(|to| read.from < *to)
                            && read.to.as_ref().is_none_or(|end| from <= end)
                    });
                    if touched || read {
                        worst = Conflict::May;
                    }
                }
            }
        }
        worst
    }
}

/// Whether a write touches a key.
pub fn covers(write: &Write, table: u32, key: &[u8]) -> bool {
    match write {
        Write::Put(own, at, _) | Write::Delete(own, at) => *own == table && at == key,
        Write::DeleteRange(own, from, to) => {
            *own == table
                && from.as_slice() <= key
                && to.as_ref().is_none_or(|to| key < to.as_slice())
        }
    }
}

fn overlaps(write: &Write, table: u32, from: &[u8], to: Option<&Vec<u8>>) -> bool {
    match write {
        Write::Put(own, key, _) | Write::Delete(own, key) => {
            *own == table && from <= key.as_slice() && to.is_none_or(|to| key < to)
        }
        Write::DeleteRange(own, start, end) => {
            *own == table
                && to.is_none_or(|to| start < to)
                && end.as_ref().is_none_or(|end| from < end.as_slice())
        }
    }
}

/// Rows with a transaction's own writes on top.
pub fn with_own(rows: Rows, own: &[Write], table: u32, from: &[u8], to: Option<&[u8]>) -> Rows {
    let mut merged: BTreeMap<Vec<u8>, Value> = rows.into_iter().collect();
    let inside = |key: &[u8]| from <= key && to.is_none_or(|to| key < to);
    for write in own {
        match write {
            Write::Put(at, key, value) if *at == table && inside(key) => {
                merged.insert(key.clone(), *value);
            }
            Write::Put(..) => {}
            write => merged.retain(|key, _| !covers(write, table, key)),
        }
    }
    merged.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(seed: u64) -> Value {
        Value {
            seed,
            length: 3,
            expiry_ms: None,
            metadata: None,
        }
    }

    fn put(key: &[u8], seed: u64) -> Write {
        Write::Put(1, key.to_vec(), value(seed))
    }

    #[test]
    fn each_moment_has_its_rows_and_a_cut_forgets_later_ones() {
        let mut model = Model::default();
        model.commit(vec![put(b"a", 1), put(b"b", 1)]);
        model.commit(vec![
            Write::DeleteRange(1, b"b".to_vec(), None),
            put(b"a", 2),
        ]);
        model.load(vec![put(b"c", 3)]);
        let keys = |model: &Model, moment| {
            let rows = model.rows(1, b"", None, moment).into_iter();
            rows.map(|(key, value)| (key[0], value.seed))
                .collect::<Vec<_>>()
        };
        let (first, second) = (1 << LOAD_BITS, 2 << LOAD_BITS);
        assert_eq!(keys(&model, first), [(b'a', 1), (b'b', 1)]);
        assert_eq!(keys(&model, second), [(b'a', 2)]);
        assert_eq!(model.moment_of(2), second + 1);
        assert_eq!(keys(&model, second + 1), [(b'a', 2), (b'c', 3)]);
        model.cut(model.moment_of(1));
        assert_eq!(model.last(), first);
        assert_eq!(keys(&model, u64::MAX), [(b'a', 1), (b'b', 1)]);
    }

    #[test]
    fn a_conflict_is_a_key_that_changed_and_no_other() {
        let mut model = Model::default();
        model.commit(vec![put(b"a", 1), put(b"b", 1)]);
        let start = model.last();
        model.commit(vec![put(b"b", 2)]);
        model.commit(vec![Write::DeleteRange(1, b"x".to_vec(), None)]);
        let conflict = |writes: &[Write], reads: &[Read]| model.conflict(start, writes, reads);
        assert_eq!(conflict(&[put(b"a", 3)], &[]), Conflict::None);
        assert_eq!(conflict(&[put(b"b", 3)], &[]), Conflict::Must);
        assert_eq!(conflict(&[put(b"y", 3)], &[]), Conflict::May);
        let read = Read {
            table: 1,
            from: b"a".to_vec(),
            to: Some(b"b".to_vec()),
        };
        assert_eq!(conflict(&[], &[read]), Conflict::Must);
        assert_eq!(
            model.conflict(model.last(), &[put(b"b", 3)], &[]),
            Conflict::None
        );
    }
}
