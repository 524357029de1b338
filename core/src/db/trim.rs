//! Giving back to the device what the page file doesn't use any more.
//!
//! In this order: what no snapshot needs is freed by a flip, blocks that are mostly dead are
//! evacuated (`evacuate`), the end of the file is moved to free space before it (`shorten`),
//! holes are punched, the file is cut off.

use super::evacuate::{Worth, lacks_room};
use super::maintain::Publishing;
use super::{Engine, Maintenance, STATE_FREE, STATE_RESTING};
use crate::error::{Error, Result};
use crate::sync::Ordering;
use core::mem::take;

/// Bytes that wait for reuse and are worth a flip that frees them.
const PENDING_BYTES_MIN: u64 = 64 << 10;

impl Engine {
    /// Gives back a step of what the page file doesn't use: frees what no snapshot needs
    /// any more, moves what is left in blocks that are mostly dead, and what lies far behind
    /// what is in use, punches holes, and cuts the file off. Answers whether there may be more. For a host that finds writes pausing: while they go
    /// on, free space is soon used again.
    ///
    /// # Errors
    /// [`Error::Busy`] while maintenance is owned, or something is being merged. I/O:
    /// nothing is lost, and a later call tries again.
    pub fn trim_pages(&self) -> Result<bool> {
        self.check_writable()?;
        let mut maintenance = self.maintenance.try_enter().ok_or(Error::Busy)?;
        let maintenance = &mut *maintenance;
        if maintenance.work.is_some() || maintenance.store.must_abandon() {
            return Err(Error::Busy);
        }
        // The slices of a round free what the ones before have left.
        let is_shortening = self.is_shortening(maintenance);
        let is_moving = is_shortening || maintenance.evacuation.is_under_way();
        if !is_moving && self.frees_something(maintenance)? {
            self.flip_to_free(maintenance)?;
            return Ok(true);
        }
        if !is_shortening && self.evacuate_step(maintenance, Worth::Some)? {
            return Ok(true);
        }
        if self.shorten_step(maintenance)? {
            return Ok(true);
        }
        let store = &mut maintenance.store;
        let punched = store.punch_holes(&self.pager, 0)?;
        let cut = store.cut_off(&self.pager)?;
        self.note_store(maintenance);
        Ok(punched || cut)
    }

    /// The same while writers come, where much is to be had: nothing is moved, and the file
    /// isn't cut off. Answers whether anything was done. Nothing is being built.
    ///
    /// What a merge has left behind is free only by the flip after its last, and the room
    /// that many runs took isn't used again soon. So are the segments of the log that the last
    /// merge was the last to need.
    pub(super) fn give_space_back(&self, maintenance: &mut Maintenance) -> Result<bool> {
        let has_room = self.front.versions.has_room(self.pager.epochs());
        if take(&mut maintenance.log_wants_flip) && has_room {
            self.flip_to_free(maintenance)?;
            return Ok(true);
        }
        let is_cut_off = maintenance.paused.is_some() || maintenance.rewriting.is_some();
        if is_cut_off || !self.pager.storage().geometry().can_punch_hole {
            return Ok(false);
        }
        let epochs = self.pager.epochs();
        let least = self.slice_bytes(maintenance).max(PENDING_BYTES_MIN);
        let statistics = maintenance.store.statistics(self.pager.layout());
        if statistics.pending_bytes >= least
            && self.front.versions.has_room(epochs)
            && maintenance
                .store
                .can_reclaim(self.front.versions.oldest_generation(epochs))
        {
            self.flip_to_free(maintenance)?;
            return Ok(true);
        }
        let punched = maintenance.store.punch_holes(&self.pager, least)?;
        self.note_store(maintenance);
        Ok(punched)
    }

    /// Does a step of what makes room for puts that found none, though nothing is in front:
    /// all that writes would have to pause for otherwise. Answers whether there may be more;
    /// where there isn't, puts are told that the storage is full. Nothing is being built.
    pub(super) fn make_room(&self, maintenance: &mut Maintenance) -> Result<bool> {
        if !self.wants_room() {
            return Ok(false);
        }
        let worked = match self.make_room_step(maintenance) {
            Err(error) if lacks_room(maintenance, &error) => false,
            outcome => outcome?,
        };
        if !worked {
            maintenance.has_flipped_for_room = false;
            // What may come of that is for later puts: deletes need blocks that are free.
            maintenance.evacuation.is_short = true;
            self.note_exhausted();
        }
        Ok(worked)
    }

    fn make_room_step(&self, maintenance: &mut Maintenance) -> Result<bool> {
        let has_room = self.front.versions.has_room(self.pager.epochs());
        // Once: a flip leaves something behind itself.
        let flips = self.is_room_pending() && !maintenance.has_flipped_for_room;
        let is_left = !self.is_shortening(maintenance) && maintenance.shortening.has_left;
        if has_room && (flips || is_left) {
            maintenance.has_flipped_for_room = true;
            self.flip_to_free(maintenance)?;
            return Ok(true);
        }
        if self.shorten_step(maintenance)? {
            return Ok(true);
        }
        let cut = maintenance.store.cut_off(&self.pager)?;
        self.note_store(maintenance);
        Ok(cut || self.empty_log_slots())
    }

    /// Lets the host have the memory of memtables that are free, until they are filled
    /// again: for when writes have paused, since filling them takes longer then.
    ///
    /// # Errors
    /// [`Error::Internal`], a defect of the engine.
    pub fn rest(&self) -> Result<()> {
        for slot in self.front.memtables.iter() {
            {
                // Who takes a free memtable holds it.
                let _sequencer = self.sequencer.lock();
                if slot.state.load(Ordering::Acquire) != STATE_FREE {
                    continue;
                }
                slot.state.store(STATE_RESTING, Ordering::Release);
            }
            let mut writer = slot.memtable.writer().ok_or(Error::Internal(259))?;
            // SAFETY: it was reset when it became free, with nobody near, and nobody comes
            // near a memtable that is free but who takes it, which this state forbids.
            unsafe { writer.discard() }
            drop(writer);
            slot.state.store(STATE_FREE, Ordering::Release);
        }
        Ok(())
    }

    fn frees_something(&self, maintenance: &mut Maintenance) -> Result<bool> {
        let epochs = self.pager.epochs();
        if !self.front.versions.has_room(epochs) {
            return Ok(false);
        }
        let oldest = self.front.versions.oldest_generation(epochs);
        let pending = maintenance
            .store
            .statistics(self.pager.layout())
            .pending_bytes;
        let is_worth = pending >= PENDING_BYTES_MIN || maintenance.shortening.has_left;
        let frees = is_worth && maintenance.store.can_reclaim(oldest);
        Ok(frees || maintenance.store.is_too_long(&self.pager)?)
    }

    /// Publishes the same trees once more, without the space that nobody needs.
    pub(super) fn flip_to_free(&self, maintenance: &mut Maintenance) -> Result<()> {
        maintenance.shortening.has_left = false;
        let mut flip = || {
            self.reclaim(maintenance)?;
            maintenance.store.shorten(&self.pager)?;
            let publishing = Publishing {
                ..Publishing::default()
            };
            self.flip(maintenance, &publishing, |sources| *sources)
        };
        flip().map_err(|error| self.abandon_after(maintenance, error))
    }
}
