//! Reading what a merge of runs comes to, on other threads than the one that merges.
//!
//! Who merges needs the leaf of each key that the runs have, one after the other: it reads
//! each, checks it, restores it where it was compressed, and goes on. Helpers go through the
//! same keys, some way ahead, and have those leaves in memory when they are needed. They
//! share out the keys by stretches, hold nothing but a snapshot for as long as a call, and
//! change nothing: what they have read in vain costs time, and frames.

use super::maintain::Work;
use super::merge::MergeFrom;
use super::{Engine, Snapshot};
use crate::btree::{self, Root};
use crate::error::{Error, Result};
use crate::format::bytes::put;
use crate::format::run::RUN_KEY_TABLE_BYTES;
use crate::limits::RUNS_MAX;

/// Keys one behind the other that one helper looks after: some leaves' worth.
const STRETCH: u64 = 64;

/// A place in the keys of a merge, in a buffer of the caller's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MergePlace {
    /// Runs that are merged.
    runs: usize,
    /// Bytes of the buffer that hold the place.
    bytes: usize,
}

impl MergePlace {
    fn bytes<'b>(&self, buffer: &'b [u8]) -> &'b [u8] {
        buffer.get(..self.bytes).unwrap_or(&[])
    }

    /// Whether it is behind another of the same merge; each with its buffer.
    #[must_use]
    pub fn is_farther(&self, buffer: &[u8], other: &Self, others: &[u8]) -> bool {
        self.runs == other.runs && self.bytes(buffer) > other.bytes(others)
    }
}

/// Which of the keys one helper looks after.
#[derive(Debug, Clone, Copy)]
pub struct Share {
    /// Its number, from 0.
    pub index: u64,
    /// How many helpers there are, at least one.
    pub of: u64,
}

/// What a helper has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReadAhead {
    /// Keys that were gone through; less than asked for at the end.
    pub keys: u64,
    /// Leaves that were read.
    pub leaves: u64,
}

impl Engine {
    /// Bytes of buffer for a [`MergePlace`].
    #[must_use]
    pub fn merge_place_bytes(&self) -> usize {
        RUN_KEY_TABLE_BYTES + self.key_bytes_max() + 1
    }

    /// Bytes of buffer that [`read_ahead_of_merge`](Self::read_ahead_of_merge) takes besides.
    #[must_use]
    pub fn read_ahead_bytes(&self) -> usize {
        RUNS_MAX * self.run_key_bytes()
    }

    /// Puts the place of the merge of runs that is under way into `buffer`; `None` where
    /// there is none, or somebody is at it.
    pub fn merge_place(&self, buffer: &mut [u8]) -> Option<MergePlace> {
        let maintenance = self.maintenance.try_enter()?;
        let Some(Work::Merge(merge)) = &maintenance.work else {
            return None;
        };
        let MergeFrom::Runs(runs) = merge.from() else {
            return None;
        };
        let place = maintenance.next.get();
        let bytes = place.len();
        put(buffer, 0, place).then_some(MergePlace { runs, bytes })
    }

    /// Has the leaves of the next `keys_max` keys from `place` on in memory, as far as they
    /// are this helper's, and moves the place behind them.
    ///
    /// # Errors
    /// I/O and corruption, which the merge comes to as well; [`Error::OverLimit`] when as
    /// many snapshots are open as were planned.
    pub fn read_ahead_of_merge(
        &self,
        place: &mut MergePlace,
        buffers: (&mut [u8], &mut [u8]),
        share: Share,
        keys_max: u64,
    ) -> Result<ReadAhead> {
        let snapshot = self.snapshot(0)?;
        let outcome = self.read_ahead_in(&snapshot, place, buffers, share, keys_max);
        self.end(snapshot);
        outcome
    }

    fn read_ahead_in(
        &self,
        snapshot: &Snapshot,
        place: &mut MergePlace,
        (buffer, keys): (&mut [u8], &mut [u8]),
        share: Share,
        keys_max: u64,
    ) -> Result<ReadAhead> {
        let roots = self.front.versions.roots(snapshot);
        let sources = self.front.versions.sources(snapshot);
        let runs = place.runs.min(sources.runs().count());
        let mut input = self.merge_input(MergeFrom::Runs(runs), &sources)?;
        input.seek(place.bytes(buffer), keys)?;
        let mut root = Root {
            page: None,
            table: 0,
        };
        let mut done = ReadAhead::default();
        while done.keys < keys_max {
            let Some(point) = input.point(keys) else {
                break;
            };
            let is_ours = (done.keys / STRETCH) % share.of.max(1) == share.index;
            if is_ours {
                if root.table != point.table {
                    let record = self.root_record(roots.as_ref(), point.table, true)?;
                    root = Root {
                        page: record.root,
                        table: point.table,
                    };
                }
                match btree::get(&self.pager, &root, point.key, false) {
                    Ok(_) => {}
                    Err(Error::WouldRead) => {
                        btree::get(&self.pager, &root, point.key, true)?;
                        done.leaves += 1;
                    }
                    Err(error) => return Err(error),
                }
            }
            done.keys += 1;
            if done.keys == keys_max || done.keys.is_multiple_of(STRETCH) {
                let key_end = RUN_KEY_TABLE_BYTES + point.key.len();
                let fits = put(buffer, 0, &point.table.to_be_bytes())
                    && put(buffer, RUN_KEY_TABLE_BYTES, point.key)
                    && put(buffer, key_end, &[0]);
                if !fits {
                    return Err(Error::Internal(360));
                }
                place.bytes = key_end + 1;
            }
            input.advance(keys)?;
        }
        Ok(done)
    }
}
