//! Removing from the trees what has expired.
//!
//! # Who may still see it
//! A snapshot that is open reads the version that it began with, whose pages stay as long
//! as it does: it sees after a sweep what it saw before, whatever its time is. One that
//! begins later must not have an earlier time than the sweep had, or it would miss what
//! it should see: so the time of the sweep is noted (`Versions::note_swept`) before the
//! flip, and who begins reads the version first and that time afterwards. The superblock
//! states it as a wall time seen, so that this holds after the database is opened again.
//!
//! # What is swept
//! Branches and root records say when the first entry below expires: nothing is read where
//! none has. What stands in memtables and runs is swept after it was merged, and what
//! stands above an entry that goes is found before it anyway. Extents go with their
//! entries. Not while a merge is under way: what the trees have of it is its sources'
//! still (`rewrite`).

use super::rewrite::{Purpose, has_expired};
use super::{Engine, STATE_FROZEN};
use crate::btree::{CursorPosition, Root, TreeCursor};
use crate::error::{Error, Result};
use crate::format::catalogue::RootRecord;
use crate::format::page_ref::PageRef;
use crate::limits::WALL_TIME_MAX_MS;
use crate::sync::Ordering;

/// What a call of [`Engine::sweep`] did, and what is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Whether anything was done: then there may be more.
    pub worked: bool,
    /// When the first of the entries in the trees expires, or did, in milliseconds since
    /// 1970: as it was before the call, where that worked.
    pub earliest_expiry_ms: Option<u64>,
}

impl Engine {
    /// Removes from the trees some of what has expired at `now_ms`. From then on `count`
    /// doesn't count it, and its space is free when no snapshot needs it. For a host to
    /// call now and then, while writers don't wait, again and again until it finds
    /// nothing to do. Snapshots that begin later have `now_ms` for their time at least.
    ///
    /// # Errors
    /// [`Error::Busy`] while maintenance is owned, or has something to do that comes first.
    /// I/O errors and a full storage: nothing is lost, and a later call tries again.
    pub fn sweep(&self, now_ms: u64) -> Result<Swept> {
        self.check_writable()?;
        let mut maintenance = self.maintenance.try_enter().ok_or(Error::Busy)?;
        let maintenance = &mut *maintenance;
        let merges = maintenance.work.is_some()
            || maintenance.paused.is_some()
            || maintenance.store.runs().merging() > 0;
        let has_room = self.front.versions.has_room(self.pager.epochs());
        if merges || maintenance.store.must_abandon() || !has_room || self.has_frozen() {
            return Err(Error::Busy);
        }
        let now_ms = now_ms.min(WALL_TIME_MAX_MS);
        let roots = maintenance.store.published().roots;
        let earliest_expiry_ms = self.earliest_expiry(roots)?;
        let idle = Swept {
            worked: false,
            earliest_expiry_ms,
        };
        if !has_expired(earliest_expiry_ms, now_ms) {
            if matches!(maintenance.rewriting, Some(Purpose::Sweep { .. })) {
                maintenance.rewriting = None;
            }
            return Ok(idle);
        }
        let purpose = match maintenance.rewriting {
            Some(purpose @ Purpose::Sweep { .. }) => purpose,
            _ => {
                let purpose = Purpose::Sweep { now_ms };
                self.begin_rewriting(maintenance, purpose);
                purpose
            }
        };
        self.front.versions.note_swept(now_ms);
        {
            let mut sequencer = self.sequencer.lock();
            sequencer.wall_time_ms = sequencer.wall_time_ms.max(now_ms);
        }
        let bytes = self.rewrite_bytes(maintenance);
        let is_last = self.rewrite_slice(maintenance, purpose, bytes)?;
        if maintenance.has_rewritten {
            // There is less in the file now: to shorten it may be worth a round again.
            maintenance.shortening.forget();
        }
        // A whole round that changed nothing would change nothing the next time.
        let is_vain = is_last && !maintenance.has_rewritten && purpose == Purpose::Sweep { now_ms };
        Ok(Swept {
            worked: !is_vain,
            ..idle
        })
    }

    fn has_frozen(&self) -> bool {
        let mut slots = self.front.memtables.iter();
        slots.any(|slot| slot.state.load(Ordering::Acquire) == STATE_FROZEN)
    }

    /// When the first entry of all tables' trees expires.
    fn earliest_expiry(&self, roots: Option<PageRef>) -> Result<Option<u64>> {
        let root = Root {
            page: roots,
            table: 0,
        };
        let mut cursor = TreeCursor::new(&self.pager, root, true);
        cursor.seek(CursorPosition::First)?;
        let mut earliest: Option<u64> = None;
        while let Some(entry) = cursor.entry() {
            let expiry = RootRecord::decode(entry.value).and_then(|root| root.earliest_expiry_ms);
            earliest = match (earliest, expiry) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
            cursor.advance()?;
        }
        Ok(earliest)
    }
}
