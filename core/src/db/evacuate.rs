//! Evacuating blocks: what is left in those of which no more than half is alive is written
//! again, packed, so that they can be given out when all of them is dead.
//!
//! Only where a block holds several units: on a medium that is erased by more than a page,
//! and where pages are packed. Elsewhere no block is alive in part, and nothing of this is
//! ever looked at.
//!
//! # When
//! * While nothing else is to be built, where a quarter of the blocks that are taken can be
//!   had; when writes have paused (`trim`), a sixteenth.
//! * When the page file has most of the blocks that it may have: a sixteenth, by turns with
//!   what is to be built.
//! * When there was no room for what was being built, or for puts (`reserve`): anything,
//!   before that is tried again, since it would take what little room there is. Slices are
//!   small where room for them is missing, too.
//!
//! Merges don't do it on their way. They would write more while writers wait, and a
//! block whose rest lies in another range of keys would be in their way for nothing.
//!
//! # Rounds
//! A round goes over all tables once (`rewrite`), and goes on where it was however many
//! merges come between: a place in the order of keys stays a place. What a block holds is
//! asked of the bitmaps as they are then. Another round begins only where more can be had
//! than the last one has left: pages that can't be moved, such as those of runs, or what
//! snapshots keep, aren't a reason again and again. What merges have left behind a round
//! that they came between is one.
//!
//! # Extents
//! move where all of their blocks are to be evacuated, and only while everything stands in
//! the trees (`rewrite`): the tail of a long one isn't worth its copy.

use super::maintain::is_full;
use super::merge::Position;
use super::rewrite::{Purpose, Rewritten};
use super::{Engine, Maintenance};
use crate::error::{Error, Result};
use crate::mem::Budget;
use core::mem::{swap, take};

/// Blocks that a round has to give back at least.
const GAIN_BLOCKS_MIN: u64 = 4;

/// What makes a round worth it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Worth {
    /// Any gain.
    Any,
    /// A sixteenth of what is taken.
    Some,
    /// A quarter of it.
    Much,
}

impl Worth {
    fn least_blocks(self, taken_blocks: u64) -> u64 {
        let part = match self {
            Self::Any => 0,
            Self::Some => taken_blocks / 16,
            Self::Much => taken_blocks / 4,
        };
        part.max(GAIN_BLOCKS_MIN)
    }
}

/// What is known of the rounds.
pub(super) struct Evacuation {
    /// Where the next slice begins.
    place: Position,
    is_under_way: bool,
    /// What was merged when the round began.
    merged_sequence: u64,
    /// Whether there was no room for what was being built, or for puts.
    pub is_short: bool,
    /// Whether it is the turn of what is to be built.
    gives_way: bool,
    /// Blocks that the last round has left to be had, or fewer that were since.
    left_blocks: u64,
    /// How often the bytes of a slice are halved, since there was no room for more.
    halvings: u32,
    /// Flips, and the oldest generation that somebody read, when there was no room for the
    /// smallest slice.
    vain: Option<(u64, u64)>,
}

impl Evacuation {
    /// For keys of at most `key_bytes`.
    pub(super) fn new(budget: &mut Budget, key_bytes: usize) -> Result<Self> {
        Ok(Self {
            place: Position::new(budget, key_bytes)?,
            is_under_way: false,
            merged_sequence: 0,
            is_short: false,
            gives_way: false,
            left_blocks: 0,
            halvings: 0,
            vain: None,
        })
    }

    /// Whether a round has begun and not ended.
    pub(super) fn is_under_way(&self) -> bool {
        self.is_under_way
    }

    fn begin(&mut self, merged_sequence: u64) {
        self.merged_sequence = merged_sequence;
        self.place.clear();
        self.is_under_way = true;
        self.halvings = 0;
    }
}

/// Whether it was room that was missing, and the store is as it was published.
pub(super) fn lacks_room(maintenance: &Maintenance, error: &Error) -> bool {
    is_full(error) && !maintenance.store.must_abandon()
}

impl Maintenance {
    fn swap_places(&mut self) {
        swap(&mut self.slice_next, &mut self.evacuation.place);
    }
}

impl Engine {
    /// Evacuates before something is built, where there is little room for that. Answers
    /// whether anything was done.
    pub(super) fn evacuate_for_room(&self, maintenance: &mut Maintenance) -> Result<bool> {
        let layout = *self.pager.layout();
        if layout.block_units() == 1 {
            return Ok(false);
        }
        if maintenance.evacuation.is_short {
            let worked = self.evacuate_step(maintenance, Worth::Any)?;
            maintenance.evacuation.is_short = worked;
            return Ok(worked);
        }
        let store = &mut maintenance.store;
        if take(&mut maintenance.evacuation.gives_way) || !store.may_be_nearly_full(&layout) {
            return Ok(false);
        }
        let occupancy = store.occupancy(&self.pager)?;
        if !occupancy.is_some_and(|occupancy| store.is_nearly_full(&layout, &occupancy)) {
            return Ok(false);
        }
        let worked = self.evacuate_step(maintenance, Worth::Some)?;
        maintenance.evacuation.gives_way = worked;
        Ok(worked)
    }

    /// Does a slice of a round, or begins one where that is worth it. Answers whether there
    /// may be more. Nothing is being built.
    pub(super) fn evacuate_step(
        &self,
        maintenance: &mut Maintenance,
        worth: Worth,
    ) -> Result<bool> {
        let layout = *self.pager.layout();
        if layout.block_units() == 1 || !self.front.versions.has_room(self.pager.epochs()) {
            return Ok(false);
        }
        let Some(occupancy) = maintenance.store.occupancy(&self.pager)? else {
            return Ok(true);
        };
        let gain = occupancy.gain_blocks(&layout);
        let oldest = self.front.versions.oldest_generation(self.pager.epochs());
        let stand = (maintenance.store.statistics(&layout).flips, oldest);
        let evacuation = &mut maintenance.evacuation;
        evacuation.left_blocks = evacuation.left_blocks.min(gain);
        if !evacuation.is_under_way {
            let least = worth.least_blocks(occupancy.taken_blocks);
            if gain < evacuation.left_blocks.saturating_add(least) || evacuation.vain == Some(stand)
            {
                return Ok(false);
            }
            evacuation.begin(maintenance.store.superblock().merged_sequence);
        }
        let whole = self.rewrite_bytes(maintenance);
        let evacuation = &mut maintenance.evacuation;
        let bytes = whole.checked_shr(evacuation.halvings).unwrap_or(0);
        match self.evacuate_slice(maintenance, bytes) {
            Ok(slice) => {
                let evacuation = &mut maintenance.evacuation;
                evacuation.halvings = evacuation.halvings.saturating_sub(1);
                if slice.is_last {
                    self.end_evacuating(maintenance)?;
                }
                Ok(true)
            }
            Err(error) if lacks_room(maintenance, &error) => {
                let evacuation = &mut maintenance.evacuation;
                evacuation.halvings += 1;
                // What the slice went over is to do again; what ones before did isn't.
                evacuation.place.clear();
                let is_vain = bytes / 2 < layout.block_bytes as u64;
                if is_vain {
                    maintenance.evacuation.is_under_way = false;
                    maintenance.evacuation.vain = Some(stand);
                }
                Ok(!is_vain)
            }
            Err(error) => {
                maintenance.evacuation.is_under_way = false;
                Err(error)
            }
        }
    }

    fn evacuate_slice(&self, maintenance: &mut Maintenance, bytes: u64) -> Result<Rewritten> {
        let layout = self.pager.layout();
        // Those that take whole blocks each don't share any.
        let share_blocks = u64::from(layout.page_units()) < layout.block_units();
        let purpose = Purpose::Evacuate {
            extents: share_blocks && self.is_drained(maintenance),
        };
        // A merge may stand at a place of its own.
        maintenance.swap_places();
        let built = self.build_slice(maintenance, purpose, bytes);
        maintenance.swap_places();
        let slice = built.map_err(|error| self.abandon_after(maintenance, error))?;
        maintenance.store.note_evacuated(slice.moved);
        self.note_store(maintenance);
        Ok(slice)
    }

    /// Ends a round: frees what it has left behind, so that what can still be had is what
    /// it couldn't move.
    fn end_evacuating(&self, maintenance: &mut Maintenance) -> Result<()> {
        maintenance.evacuation.is_under_way = false;
        // There are more free blocks before the end of the file, or will be.
        maintenance.shortening.has_left = true;
        maintenance.shortening.forget();
        let epochs = self.pager.epochs();
        let oldest = self.front.versions.oldest_generation(epochs);
        if self.front.versions.has_room(epochs) && maintenance.store.can_reclaim(oldest) {
            match self.flip_to_free(maintenance) {
                Err(error) if !lacks_room(maintenance, &error) => return Err(error),
                _ => {}
            }
        }
        if maintenance.store.superblock().merged_sequence > maintenance.evacuation.merged_sequence {
            maintenance.evacuation.left_blocks = 0;
            return Ok(());
        }
        let left = maintenance.store.occupancy(&self.pager)?;
        let left = left.map_or(u64::MAX, |left| left.gain_blocks(self.pager.layout()));
        maintenance.evacuation.left_blocks = left;
        Ok(())
    }
}
