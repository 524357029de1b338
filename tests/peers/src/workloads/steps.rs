//! Steps that several workloads share: filling, updating, checked reads.

use anyhow::Result;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::data::{Digest, Key, SortedIndices, key, mix, value, version_of, wrong};
use crate::engines::{Change, Engine, Reader};

/// Changes in a batch, unless a workload says otherwise.
pub const BATCH: u64 = 1_000;
/// Entries of a short scan.
pub const SHORT_SCAN: usize = 10;
/// Keys looked up after a workload that changed the database.
const CHECKED_SAMPLES: u64 = 20_000;

/// A generator that gives the same numbers for the same purpose in every run.
pub fn random(purpose: u64) -> SmallRng {
    SmallRng::seed_from_u64(mix(purpose))
}

/// A uniform index below `entries`.
#[inline]
pub fn random_index(random: &mut SmallRng, entries: u64) -> u64 {
    random.random_range(0..entries)
}

/// Loads entries `0..entries`, at version 0, in key order.
pub fn load(engine: &dyn Engine, entries: u64) -> Result<SortedIndices> {
    let sorted = SortedIndices::new(entries);
    load_in_order(engine, &sorted)?;
    Ok(sorted)
}

/// Loads the entries of `sorted`, at version 0.
pub fn load_in_order(engine: &dyn Engine, sorted: &SortedIndices) -> Result<()> {
    engine.load_sorted(&mut sorted.iter().map(|index| (key(index), value(index, 0))))
}

/// The change that writes `version` of entry `index`.
pub fn put(index: u64, version: u32) -> Change {
    Change {
        key: key(index),
        value: Some(value(index, version)),
    }
}

/// Commits the changes in batches of [`BATCH`] and calls `after` behind each
/// with the number of batches so far.
pub fn commit_in_batches(
    engine: &dyn Engine,
    changes: impl Iterator<Item = Change>,
    mut after: impl FnMut(u64) -> Result<()>,
) -> Result<()> {
    let mut batch = Vec::with_capacity(BATCH as usize);
    let mut batches = 0;
    let mut changes = changes.peekable();
    while changes.peek().is_some() {
        batch.clear();
        batch.extend(changes.by_ref().take(BATCH as usize));
        engine.commit(&batch)?;
        batches += 1;
        after(batches)?;
    }
    Ok(())
}

/// Looks up entry `index` and returns the version found; a missing entry and a
/// foreign value are wrong.
#[inline]
pub fn checked_get(reader: &mut dyn Reader, index: u64) -> Result<u32> {
    let mut version = None;
    let is_present = reader.get(&key(index), &mut |bytes| version = version_of(index, bytes))?;
    match version {
        Some(version) => Ok(version),
        None if is_present => wrong!("the value of entry {index} is not one written for it"),
        None => wrong!("entry {index} is missing"),
    }
}

/// Looks up a key that was never written, or is deleted.
#[inline]
pub fn checked_miss(reader: &mut dyn Reader, index: u64) -> Result<()> {
    if reader.get(&key(index), &mut |_| {})? {
        wrong!("entry {index} was found, and has to be absent");
    }
    Ok(())
}

/// Reads the [`SHORT_SCAN`] entries from `position` in key order, and checks that
/// they are exactly those, each with a value of its own.
#[inline]
pub fn checked_scan(
    reader: &mut dyn Reader,
    sorted: &SortedIndices,
    position: usize,
) -> Result<usize> {
    let Some(first) = sorted.at(position) else {
        wrong!("no entry at position {position}");
    };
    let mut next = position;
    let mut is_right = true;
    let count = reader.scan(&key(first), SHORT_SCAN, &mut |found_key, found_value| {
        is_right &= sorted.at(next).is_some_and(|index| {
            found_key == key(index) && version_of(index, found_value).is_some()
        });
        next += 1;
    })?;
    let expected = SHORT_SCAN.min(sorted.len() - position);
    if !is_right || count != expected || next - position != expected {
        wrong!("a scan of {SHORT_SCAN} entries from position {position} gave others");
    }
    Ok(count)
}

/// Reads everything; the keys have to ascend.
pub fn full_scan(reader: &mut dyn Reader) -> Result<Digest> {
    let mut digest = Digest::default();
    let mut last: Key = [0; _];
    let mut is_ascending = true;
    let count = reader.scan(&[], usize::MAX, &mut |found_key, found_value| {
        digest.add(found_key, found_value);
        is_ascending &= digest.count == 1 || *found_key > last[..];
        match found_key.try_into() {
            Ok(found_key) => last = found_key,
            Err(_) => is_ascending = false,
        }
    })?;
    if !is_ascending || count as u64 != digest.count {
        wrong!("a full scan gave keys out of order");
    }
    Ok(digest)
}

/// Reads everything and compares it with what should be there.
pub fn checked_full_scan(reader: &mut dyn Reader, expected: Digest) -> Result<()> {
    let found = full_scan(reader)?;
    if found != expected {
        wrong!(
            "a full scan gave {} entries for {}, or other contents",
            found.count,
            expected.count
        );
    }
    Ok(())
}

/// Looks up a sample of entries whose latest version `version` tells.
pub fn check_sample(engine: &dyn Engine, entries: u64, version: impl Fn(u64) -> u32) -> Result<()> {
    let mut reader = engine.reader()?;
    let mut random = random(0xc4ec);
    for _ in 0..CHECKED_SAMPLES.min(entries) {
        let index = random_index(&mut random, entries);
        let found = checked_get(reader.as_mut(), index)?;
        let expected = version(index);
        if found != expected {
            wrong!("entry {index} has version {found}, and {expected} was written last");
        }
    }
    Ok(())
}

/// Uniform random updates: draws entries, and remembers the version of each.
pub struct Updates {
    random: SmallRng,
    versions: Vec<u32>,
}

impl Updates {
    /// For a database whose entries `0..entries` are all at version 0.
    pub fn new(entries: u64, purpose: u64) -> Self {
        Self {
            random: random(purpose),
            versions: vec![0; entries as usize],
        }
    }

    /// The next update.
    pub fn next(&mut self) -> Change {
        let index = random_index(&mut self.random, self.versions.len() as u64);
        let version = &mut self.versions[index as usize];
        *version += 1;
        put(index, *version)
    }

    /// Checks that a sample of entries has the version written last.
    pub fn check(&self, engine: &dyn Engine) -> Result<()> {
        check_sample(engine, self.versions.len() as u64, |index| {
            self.versions[index as usize]
        })
    }
}
