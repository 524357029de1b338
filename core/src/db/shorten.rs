//! Moving what lies at the end of the page file, so that it can be cut off.
//!
//! When writes have paused and the file is much longer than what is in use, what lies at
//! or above a *limit* is written again (`rewrite`), and goes to the lowest free space that
//! there is: pages of the trees, the roots tree too, extents, bitmaps. Catalogues and
//! pending lists go there by themselves. The limit is a little above what everything
//! takes that is in use, so that there is room for it below. Then `trim` frees what was
//! left behind and cuts the file off.
//!
//! # Rounds
//! A round goes through all tables once, in slices. Another begins only where the one
//! before has made the file shorter, or commits have been merged since: what can't move,
//! such as an extent for which no stretch is long enough, isn't tried again and again.
//! Each slice writes no more than is free below the limit, so that no round makes the
//! file longer.

use super::rewrite::{Purpose, SLICE_BLOCKS_MIN};
use super::{Engine, Maintenance};
use crate::error::Result;

/// Bytes that the file has to become shorter by.
const GAIN_BYTES_MIN: u64 = 1 << 20;
/// Blocks kept free for what a slice writes besides: stages, roots, lists, bitmaps.
const SPARE_BLOCKS: u64 = 32;

/// What is known of the rounds.
#[derive(Default)]
pub(super) struct Shortening {
    /// The merged sequence, and the blocks that the file needed, when the last round began.
    last: Option<(u64, u64)>,
    /// Whether a round has ended, and what it left behind isn't free yet.
    pub has_left: bool,
}

impl Shortening {
    /// Has a round begin again where one is worth it.
    pub(super) fn forget(&mut self) {
        self.last = None;
    }
}

impl Engine {
    /// Whether a round is under way.
    pub(super) fn is_shortening(&self, maintenance: &Maintenance) -> bool {
        matches!(maintenance.rewriting, Some(Purpose::Move { .. }))
    }

    /// Whether everything stands in the trees, but for the memtable that takes writes.
    pub(super) fn is_drained(&self, maintenance: &Maintenance) -> bool {
        maintenance.paused.is_none()
            && maintenance.store.runs().count() == 0
            && self.current_version().sources.count() <= 1
    }

    /// Does a slice of a round, or begins one. Answers whether there may be more.
    pub(super) fn shorten_step(&self, maintenance: &mut Maintenance) -> Result<bool> {
        let is_drained = self.is_drained(maintenance);
        let can_truncate = self.pager.storage().geometry().can_truncate;
        if !is_drained || !can_truncate || !self.front.versions.has_room(self.pager.epochs()) {
            maintenance.rewriting = None;
            return Ok(false);
        }
        let merged = maintenance.store.superblock().merged_sequence;
        let is_same = maintenance.shortening.last.map(|last| last.0) == Some(merged);
        let limit = match maintenance.rewriting {
            Some(Purpose::Move { limit }) if is_same => limit,
            _ => match self.limit_of_round(maintenance, merged)? {
                Some(limit) => limit,
                None => return Ok(false),
            },
        };
        let purpose = Purpose::Move { limit };
        let block_bytes = self.pager.layout().block_bytes as u64;
        let wanted = self.rewrite_bytes(maintenance);
        let enough = SPARE_BLOCKS + wanted.div_ceil(block_bytes.max(1));
        let store = &mut maintenance.store;
        let free = store.free_blocks_below(&self.pager, limit, enough)?;
        let bytes = wanted.min(free.saturating_sub(SPARE_BLOCKS) * block_bytes);
        let is_last = if bytes == 0 {
            maintenance.rewriting = None;
            true
        } else {
            self.rewrite_slice(maintenance, purpose, bytes)?
        };
        maintenance.shortening.has_left |= is_last;
        Ok(true)
    }

    /// Begins a round where one is worth it, and answers its limit.
    fn limit_of_round(&self, maintenance: &mut Maintenance, merged: u64) -> Result<Option<u64>> {
        maintenance.rewriting = None;
        let layout = *self.pager.layout();
        let block_bytes = layout.block_bytes.max(1) as u64;
        let needed = maintenance.store.needed_blocks(&self.pager)?;
        if let Some((sequence, before)) = maintenance.shortening.last
            && sequence == merged
            && needed.saturating_add(SLICE_BLOCKS_MIN) > before
        {
            return Ok(None);
        }
        let used = maintenance.store.statistics(&layout).used_bytes;
        let spare = 2 * self.rewrite_bytes(maintenance) / block_bytes + SPARE_BLOCKS;
        let limit = used.div_ceil(block_bytes) + spare;
        let least = GAIN_BYTES_MIN.min(16 * self.options.slice_bytes_min) / block_bytes;
        if limit.saturating_mul(4) > needed.saturating_mul(3)
            || needed.saturating_sub(limit) < least.max(1)
        {
            return Ok(None);
        }
        maintenance.shortening.last = Some((merged, needed));
        let limit = limit * layout.block_units();
        self.begin_rewriting(maintenance, Purpose::Move { limit });
        Ok(Some(limit))
    }
}
