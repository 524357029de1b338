//! A storage that breaks the contract's promises: what a medium, a controller or a kernel
//! does that lies, over a [`SimStorage`] that knows better.
//!
//! A *silent* fault happens once: a write is acknowledged and lost, or lands elsewhere.
//! An engine can't prevent it; what it owes is right data or an error. A *habit* is kept
//! up: syncs without effect, say. No engine survives that, so that a test which plants
//! one must fail, or it would not notice the engine forgetting the same. And a call of a
//! kind that is chosen can be failed, which is what an honest storage may do.
//!
//! Counting is by kind of call, over all files, from the moment at which the fault is
//! asked for.

use crate::{CallFailure, Random, SimStorage};
use lightning_platform::{
    File, Geometry, IoError, PageFileRoom, ReadRequest, Storage, WriteRequest,
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A promise that is broken again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Habit {
    /// A sync of a file succeeds without effect.
    SkipSync,
    /// A sync of the directory succeeds without effect.
    SkipDirectorySync,
    /// A sync covers what a log holds only: those of the page file are skipped.
    SkipPageSync,
    /// One write in thirty-two is acknowledged and not done.
    LoseWrites,
    /// One write in thirty-two lands one block behind its place, where the file has one.
    MisdirectWrites,
    /// One read in sixty-four has one bit flipped.
    RotReads,
}

/// The kinds of calls that can be failed one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallKind {
    /// Any read.
    Read,
    /// Any write, erase, hole, change of length, creation or removal.
    Write,
    /// Any sync, of the directory too.
    Sync,
}

#[derive(Clone, Copy)]
enum Silent {
    Lose,
    Misdirect,
}

struct State {
    habit: Option<Habit>,
    random: Random,
    /// (writes to go, what happens to that one).
    silent: Option<(u64, Silent)>,
    /// (calls of that kind to go, their kind, how it fails).
    failing: Option<(u64, CallKind, CallFailure)>,
    silent_count: u64,
    has_landed_before: bool,
}

impl State {
    /// Whether a call of this kind is the one that fails.
    fn fails(&mut self, kind: CallKind) -> Option<CallFailure> {
        let (left, failing, failure) = self.failing.as_mut()?;
        if *failing != kind {
            return None;
        }
        *left = left.saturating_sub(1);
        if *left > 0 {
            return None;
        }
        let failure = *failure;
        self.failing = None;
        Some(failure)
    }

    /// What happens to the write that comes now, in silence.
    fn silent(&mut self) -> Option<Silent> {
        let habitual = match self.habit {
            Some(Habit::LoseWrites) => Some(Silent::Lose),
            Some(Habit::MisdirectWrites) => Some(Silent::Misdirect),
            _ => None,
        };
        if let Some(silent) = habitual
            && self.random.chance(1, 32)
        {
            return Some(silent);
        }
        let (left, silent) = self.silent.as_mut()?;
        *left = left.saturating_sub(1);
        if *left > 0 {
            return None;
        }
        let silent = *silent;
        self.silent = None;
        self.silent_count += 1;
        Some(silent)
    }
}

/// A [`SimStorage`] whose calls are failed, or lied about, on demand.
///
/// A clone is the same storage.
#[derive(Clone)]
pub struct UnfaithfulStorage {
    inner: SimStorage,
    state: Arc<Mutex<State>>,
}

impl UnfaithfulStorage {
    /// A storage over `inner`, honest but for its habit; chance follows from `seed`.
    #[must_use]
    pub fn new(inner: SimStorage, habit: Option<Habit>, seed: u64) -> Self {
        let state = State {
            habit,
            random: Random::new(seed),
            silent: None,
            failing: None,
            silent_count: 0,
            has_landed_before: false,
        };
        Self {
            inner,
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// What it stands on.
    #[must_use]
    pub fn inner(&self) -> &SimStorage {
        &self.inner
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The `nth` write from now on (from 1) is acknowledged and lost.
    pub fn lose_write(&self, nth: u64) {
        self.state().silent = Some((nth, Silent::Lose));
    }

    /// The `nth` write from now on (from 1) lands one block behind its place, or before it.
    pub fn misdirect_write(&self, nth: u64) {
        self.state().silent = Some((nth, Silent::Misdirect));
    }

    /// The `nth` call of this kind from now on (from 1) fails.
    pub fn fail(&self, kind: CallKind, nth: u64, failure: impl Into<CallFailure>) {
        self.state().failing = Some((nth, kind, failure.into()));
    }

    /// Takes back what has not happened yet.
    pub fn clear(&self) {
        let mut state = self.state();
        state.silent = None;
        state.failing = None;
    }

    /// How many silent faults that were asked for have happened.
    #[must_use]
    pub fn silent_count(&self) -> u64 {
        self.state().silent_count
    }

    /// Whether a write landed before its place: it took the end of what was there, besides
    /// itself.
    #[must_use]
    pub fn has_landed_before(&self) -> bool {
        self.state().has_landed_before
    }

    /// Fails the next call of the simulator where this one is to fail.
    fn arm(&self, kind: CallKind) {
        if let Some(failure) = self.state().fails(kind) {
            let next = self.inner.call_count() + 1;
            self.inner.fail_at(next, failure, false);
        }
    }

    /// A place for a write that goes astray: beside its own, inside the file.
    fn astray(&self, file: File, offset: u64, bytes: u64) -> Option<u64> {
        let step = u64::from(self.inner.geometry().write_block_bytes);
        let length = self.inner.length(file).ok().flatten()?;
        if offset + step + bytes <= length {
            Some(offset + step)
        } else {
            offset.checked_sub(step)
        }
    }
}

impl Storage for UnfaithfulStorage {
    fn geometry(&self) -> Geometry {
        self.inner.geometry()
    }

    fn is_read_only(&self) -> bool {
        self.inner.is_read_only()
    }

    fn log_slots(&self) -> Result<u32, IoError> {
        self.inner.log_slots()
    }

    fn length(&self, file: File) -> Result<Option<u64>, IoError> {
        self.inner.length(file)
    }

    fn page_file_room(&self) -> Option<PageFileRoom> {
        self.inner.page_file_room()
    }

    fn create(&self, file: File) -> Result<(), IoError> {
        self.arm(CallKind::Write);
        self.inner.create(file)
    }

    fn remove(&self, file: File) -> Result<(), IoError> {
        self.arm(CallKind::Write);
        self.inner.remove(file)
    }

    fn set_length(&self, file: File, bytes: u64) -> Result<(), IoError> {
        self.arm(CallKind::Write);
        self.inner.set_length(file, bytes)
    }

    fn read(&self, file: File, offset: u64, buffer: &mut [u8]) -> Result<(), IoError> {
        self.arm(CallKind::Read);
        self.inner.read(file, offset, buffer)?;
        let mut state = self.state();
        if state.habit == Some(Habit::RotReads) && state.random.chance(1, 64) {
            let at = state.random.below(buffer.len() as u64) as usize;
            if let Some(byte) = buffer.get_mut(at) {
                *byte ^= 1 << state.random.below(8);
            }
        }
        Ok(())
    }

    fn write(&self, file: File, offset: u64, bytes: &[u8]) -> Result<(), IoError> {
        self.arm(CallKind::Write);
        let silent = self.state().silent();
        match silent {
            None => self.inner.write(file, offset, bytes),
            Some(Silent::Lose) if self.inner.has_power() => {
                // It is past the end of the file that a later write would notice.
                let end = offset + bytes.len() as u64;
                if self.inner.length(file)?.is_none_or(|length| length < end) {
                    self.inner.set_length(file, end)?;
                }
                Ok(())
            }
            Some(Silent::Lose) => self.inner.write(file, offset, bytes),
            Some(Silent::Misdirect) => {
                let there = self.astray(file, offset, bytes.len() as u64);
                let there = there.unwrap_or(offset);
                self.state().has_landed_before |= there < offset;
                self.inner.write(file, there, bytes)
            }
        }
    }

    fn read_batch(&self, file: File, requests: &mut [ReadRequest<'_>]) -> Result<(), IoError> {
        for request in requests {
            self.read(file, request.offset, request.buffer)?;
        }
        Ok(())
    }

    fn write_batch(&self, file: File, requests: &[WriteRequest<'_>]) -> Result<(), IoError> {
        let is_plain = {
            let state = self.state();
            state.habit.is_none() && state.silent.is_none() && state.failing.is_none()
        };
        if is_plain {
            return self.inner.write_batch(file, requests);
        }
        for request in requests {
            self.write(file, request.offset, request.bytes)?;
        }
        Ok(())
    }

    fn sync(&self, file: File) -> Result<(), IoError> {
        self.arm(CallKind::Sync);
        match self.state().habit {
            Some(Habit::SkipSync) if self.inner.has_power() => Ok(()),
            Some(Habit::SkipPageSync) if file == File::Pages && self.inner.has_power() => Ok(()),
            _ => self.inner.sync(file),
        }
    }

    fn sync_directory(&self) -> Result<(), IoError> {
        self.arm(CallKind::Sync);
        match self.state().habit {
            Some(Habit::SkipDirectorySync) if self.inner.has_power() => Ok(()),
            _ => self.inner.sync_directory(),
        }
    }

    fn erase(&self, file: File, offset: u64, bytes: u64) -> Result<(), IoError> {
        self.arm(CallKind::Write);
        self.inner.erase(file, offset, bytes)
    }

    fn punch_hole(&self, file: File, offset: u64, bytes: u64) -> Result<(), IoError> {
        self.arm(CallKind::Write);
        self.inner.punch_hole(file, offset, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CrashMode, SimOptions};
    use lightning_platform::IoErrorKind;

    fn storage(habit: Option<Habit>) -> UnfaithfulStorage {
        let inner = SimStorage::new(SimOptions::disk(512));
        inner.create(File::Pages).unwrap();
        inner.sync_directory().unwrap();
        inner.write(File::Pages, 0, &[1; 2_048]).unwrap();
        inner.sync(File::Pages).unwrap();
        UnfaithfulStorage::new(inner, habit, 1)
    }

    fn block(storage: &UnfaithfulStorage, index: u64) -> u8 {
        let read = storage.inner().read_raw(File::Pages, 512 * index, 1);
        read.unwrap()[0]
    }

    #[test]
    fn the_chosen_write_is_lost_or_lands_elsewhere_once() {
        let storage = storage(None);
        storage.lose_write(2);
        for index in 0..3 {
            storage.write(File::Pages, 512 * index, &[2; 512]).unwrap();
        }
        assert_eq!([0, 1, 2].map(|index| block(&storage, index)), [2, 1, 2]);
        storage.misdirect_write(1);
        storage.write(File::Pages, 512, &[3; 512]).unwrap();
        storage.write(File::Pages, 0, &[3; 512]).unwrap();
        assert_eq!([0, 1, 2].map(|index| block(&storage, index)), [3, 1, 3]);
        storage.misdirect_write(1);
        storage.write(File::Pages, 1_536, &[4; 512]).unwrap();
        assert_eq!(block(&storage, 2), 4);
        assert_eq!(storage.silent_count(), 3);
        assert!(storage.inner().violations().is_empty());
    }

    #[test]
    fn the_chosen_call_fails_once() {
        let storage = storage(None);
        storage.fail(CallKind::Sync, 2, IoErrorKind::Device);
        storage.sync(File::Pages).unwrap();
        storage.write(File::Pages, 0, &[5; 512]).unwrap();
        let failed = storage.sync(File::Pages).map_err(|error| error.kind);
        assert_eq!(failed, Err(IoErrorKind::Device));
        storage.fail(CallKind::Read, 1, IoErrorKind::Device);
        assert!(storage.read(File::Pages, 0, &mut [0; 16]).is_err());
        assert!(storage.read(File::Pages, 0, &mut [0; 16]).is_ok());
    }

    #[test]
    fn a_skipped_sync_leaves_nothing_durable() {
        for habit in [None, Some(Habit::SkipSync), Some(Habit::SkipPageSync)] {
            let storage = storage(habit);
            storage.write(File::Pages, 0, &[9; 512]).unwrap();
            storage.sync(File::Pages).unwrap();
            let image = storage.inner().crash_image(CrashMode::Synced, 0);
            let found = image.read_raw(File::Pages, 0, 1).unwrap()[0];
            assert_eq!(found, if habit.is_none() { 9 } else { 1 });
        }
    }
}
