//! Threads that help the one that merges: they read what it comes to.
//!
//! After each step of a merge it says where that stands; each helper goes on from there, or
//! from where it has come itself if that is farther, a limited way ahead: what is read too
//! early pushes out what is needed before.

use crate::shared::Shared;
use lightning_core::db::{Budgeted, MergePlace, Share};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// How far ahead of the last place that was told, in keys: that place moves by a step's.
const KEYS_AHEAD: u64 = 4;
/// Keys of one go, after which it is looked whether the merge is farther.
const KEYS_OF_GO: u64 = 1_024;
/// All helpers together take at most this part of the cache ahead of the merge.
const CACHE_PART: u64 = 8;

#[derive(Default)]
struct Told {
    /// Raised each time.
    number: u64,
    place: MergePlace,
    bytes: Vec<u8>,
    is_stopping: bool,
}

/// What helpers are told.
pub(crate) struct Helpers {
    count: u32,
    told: Mutex<Told>,
    changed: Condvar,
    leaves: AtomicU64,
}

impl Helpers {
    pub(crate) fn new(count: u32) -> Self {
        Self {
            count,
            told: Mutex::default(),
            changed: Condvar::new(),
            leaves: AtomicU64::new(0),
        }
    }

    /// Leaves that they have read.
    pub(crate) fn leaves(&self) -> u64 {
        self.leaves.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells them where the merge stands, if one is under way.
    pub(crate) fn tell(&self, shared: &Shared) {
        if self.count == 0 {
            return;
        }
        let mut told = self.lock();
        told.bytes.resize(shared.engine.merge_place_bytes(), 0);
        if let Some(place) = shared.engine.merge_place(&mut told.bytes) {
            told.place = place;
            told.number += 1;
            self.changed.notify_all();
        }
    }

    /// Ends [`serve`](Self::serve).
    pub(crate) fn stop(&self) {
        self.lock().is_stopping = true;
        self.changed.notify_all();
    }

    /// Helps until [`stop`](Self::stop), as the helper of this number.
    pub(crate) fn serve(&self, shared: &Shared, index: u32) {
        let engine = &shared.engine;
        let share = Share {
            index: index.into(),
            of: self.count.into(),
        };
        let frames = u64::from(engine.statistics().frames.frames);
        let leaves_max = (frames / CACHE_PART / share.of.max(1)).max(1);
        let keys_max = KEYS_AHEAD * u64::from(Budgeted::default().entries);
        let mut keys = vec![0; engine.read_ahead_bytes()];
        let (mut place, mut bytes) = (MergePlace::default(), Vec::new());
        let (mut number, mut ahead, mut leaves) = (0, 0, 0);
        while self.follow(&mut number, &mut place, &mut bytes, &mut ahead) {
            leaves = if ahead == 0 { 0 } else { leaves / 2 };
            while ahead < keys_max && leaves < leaves_max && self.lock().number == number {
                let done = engine.read_ahead_of_merge(
                    &mut place,
                    (&mut bytes, &mut keys),
                    share,
                    KEYS_OF_GO,
                );
                // What fails here, the merge comes to as well.
                let Ok(done) = done else { break };
                ahead += done.keys;
                leaves += done.leaves;
                self.leaves.fetch_add(done.leaves, Ordering::Relaxed);
                if done.keys < KEYS_OF_GO {
                    break;
                }
            }
        }
    }

    /// Waits for another place than that of `number`, and goes there where it is farther
    /// than `place`; otherwise it is less far ahead. `false`: it is to end.
    fn follow(
        &self,
        number: &mut u64,
        place: &mut MergePlace,
        bytes: &mut Vec<u8>,
        ahead: &mut u64,
    ) -> bool {
        let mut told = self.lock();
        while told.number == *number && !told.is_stopping {
            told = self
                .changed
                .wait(told)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let steps = told.number.saturating_sub(*number);
        *number = told.number;
        let is_ahead = place.is_farther(bytes, &told.place, &told.bytes);
        *ahead = ahead.saturating_sub(steps * u64::from(Budgeted::default().entries));
        if !is_ahead || *ahead == 0 {
            *place = told.place;
            bytes.clone_from(&told.bytes);
            *ahead = 0;
        }
        !told.is_stopping
    }
}
