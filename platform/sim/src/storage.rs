//! The simulated storage as a test holds it: a handle on a shared volume.
//!
//! A clone of the handle is the same storage; [`SimStorage::fork`] is another
//! one with the same state. Each call holds one lock for as long as it takes to
//! copy its bytes. Unlike a real storage it allocates.

use crate::control::{Call, CallFailure, Cut, Verb};
use crate::crash::CrashMode;
use crate::random::mix;
use crate::volume::Volume;
use lightning_platform::{
    File, Geometry, IoError, IoErrorKind, PageFileRoom, ReadRequest, Storage, WriteRequest,
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a simulated device is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SimOptions {
    /// What the storage declares, and holds its caller to.
    pub geometry: Geometry,
    /// Room for all files together, taken in units of 4 KiB; `u64::MAX` for no limit.
    pub capacity_bytes: u64,
}

impl SimOptions {
    /// A disk with this write block that can truncate and punch holes, without a limit.
    #[must_use]
    pub const fn disk(write_block_bytes: u32) -> Self {
        Self {
            geometry: Geometry {
                write_block_bytes,
                erase_block_bytes: 1,
                erased_byte: 0,
                erase_before_write: false,
                page_file_bytes_max: u64::MAX,
                log_slots_max: 1 << 16,
                can_punch_hole: true,
                can_truncate: true,
            },
            capacity_bytes: u64::MAX,
        }
    }

    /// A NOR flash of `capacity_bytes` with 64 log slots, which must be erased
    /// before it is written again and can neither truncate nor punch holes.
    #[must_use]
    pub const fn flash(
        write_block_bytes: u32,
        erase_block_bytes: u32,
        capacity_bytes: u64,
    ) -> Self {
        Self {
            geometry: Geometry {
                write_block_bytes,
                erase_block_bytes,
                erased_byte: 0xFF,
                erase_before_write: true,
                page_file_bytes_max: capacity_bytes,
                log_slots_max: 64,
                can_punch_hole: false,
                can_truncate: false,
            },
            capacity_bytes,
        }
    }
}

/// A storage in memory that keeps apart what is durable and what is not.
#[derive(Clone)]
pub struct SimStorage {
    volume: Arc<Mutex<Volume>>,
    geometry: Geometry,
    read_only: bool,
    told: Arc<Mutex<Vec<(u64, u64)>>>,
}

impl SimStorage {
    /// An empty storage.
    ///
    /// # Panics
    /// When a block of the geometry is no power of two, or the write block is
    /// not in the range that the contract allows.
    #[must_use]
    pub fn new(options: SimOptions) -> Self {
        let geometry = options.geometry;
        assert!(geometry.write_block_bytes.is_power_of_two());
        assert!((16..=65_536).contains(&geometry.write_block_bytes));
        assert!(geometry.erase_block_bytes.is_power_of_two());
        Self::of(Volume::new(options, BTreeMap::new()))
    }

    fn of(volume: Volume) -> Self {
        Self {
            geometry: volume.options.geometry,
            volume: Arc::new(Mutex::new(volume)),
            read_only: false,
            told: Arc::default(),
        }
    }

    /// Offsets and lengths in the page file that it was told would be read.
    #[must_use]
    pub fn told_of_reads(&self) -> Vec<(u64, u64)> {
        let told = self.told.lock();
        told.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn volume(&self) -> MutexGuard<'_, Volume> {
        self.volume.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(
        &self,
        call: Call,
        change: impl FnOnce(&mut Volume) -> Result<(), IoError>,
    ) -> Result<(), IoError> {
        let mut volume = self.volume();
        if self.read_only {
            return volume.refuse(&call);
        }
        change(&mut volume)
    }

    /// Another storage in the same state, counters and faults included. Costs
    /// one pointer for each 256 KiB and each unsynced change.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self {
            volume: Arc::new(Mutex::new(self.volume().clone())),
            told: Arc::default(),
            ..*self
        }
    }

    /// This storage through a handle that refuses every change.
    #[must_use]
    pub fn read_only(&self) -> Self {
        Self {
            read_only: true,
            ..self.clone()
        }
    }

    /// What the medium may hold when the power goes now, as a new storage with
    /// power, without faults, and with counters at zero. The same state, `mode`
    /// and `seed` give the same image.
    #[must_use]
    pub fn crash_image(&self, mode: CrashMode, seed: u64) -> Self {
        Self::of(self.volume().crash_image(mode, seed))
    }

    /// What the medium may hold when the power goes now and exactly those of the
    /// [unsynced](Self::unsynced_count) changes survive, each whole, that `keeps`
    /// answers yes to; it is asked for each of them once, by its place in the order
    /// of the calls, from 0. Otherwise as [`crash_image`](Self::crash_image).
    #[must_use]
    pub fn crash_image_of(&self, mut keeps: impl FnMut(usize) -> bool) -> Self {
        Self::of(self.volume().crash_image_of(&mut keeps))
    }

    /// A number for all that is read now: which files there are, their lengths, bytes,
    /// and what of them was written since its last erase. The same files have the same
    /// number; others have another one, but for a chance of 2^-64. Doesn't tell what is
    /// durable from what is not: on a crash image everything is.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let volume = self.volume();
        let files = volume.directory.current.keys();
        files.fold(0, |state, file| {
            let number = match file {
                File::Pages => 0,
                File::Log(slot) => 1 + u64::from(*slot),
            };
            let content = volume.node(*file).map(|node| node.current.digest());
            mix(state ^ mix(number) ^ content.unwrap_or(0))
        })
    }

    /// What the next process finds when this one is killed now: every write is
    /// still read, and what was unsynced or lost by a failed sync is so still.
    /// A new storage with power, without faults, and with counters at zero.
    #[must_use]
    pub fn restart(&self) -> Self {
        let mut volume = self.volume().clone();
        volume.restart();
        Self::of(volume)
    }

    /// The number of mutating operations so far: create, remove, set length,
    /// write (each one of a batch), sync, sync directory, erase, punch.
    #[must_use]
    pub fn operation_count(&self) -> u64 {
        self.volume().control.operations
    }

    /// The number of all calls so far, reads and questions included; each
    /// element of a batch is one.
    #[must_use]
    pub fn call_count(&self) -> u64 {
        self.volume().control.calls
    }

    /// Turns the power off after mutating operation number `operation` (from 1;
    /// 0 or a past number: now). Every later call fails with `Device`.
    pub fn cut_after(&self, operation: u64) {
        self.volume().control.set_cut(Some(Cut::After(operation)));
    }

    /// Turns the power off during mutating operation number `operation` (from
    /// 1): it fails with `Device`, and what it should have done is unsynced.
    pub fn cut_during(&self, operation: u64) {
        self.volume().control.set_cut(Some(Cut::During(operation)));
    }

    /// Takes a cut that has not happened yet back.
    pub fn cancel_cut(&self) {
        self.volume().control.set_cut(None);
    }

    /// Whether the power is still there.
    #[must_use]
    pub fn has_power(&self) -> bool {
        self.volume().control.powered
    }

    /// Fails call number `call` (from 1, as [`call_count`](Self::call_count)
    /// counts); where `persistent`, all later ones, too. What of it is done all
    /// the same the failure says ([`Done`](crate::Done)); a failed sync loses
    /// what was unsynced.
    pub fn fail_at(&self, call: u64, failure: impl Into<CallFailure>, persistent: bool) {
        let failure = failure.into();
        self.volume().control.fail_call(call, failure, persistent);
    }

    /// Fails every sync of a file or the directory with `kind`, until called with `None`.
    ///
    /// The unsynced changes are then in doubt: still read, perhaps on the
    /// medium, and made durable by no later sync unless written once more.
    pub fn fail_syncs(&self, kind: Option<IoErrorKind>) {
        self.volume().control.fail_syncs(kind);
    }

    /// Takes the bytes that a failed sync has left in doubt out of the cache, as an
    /// operating system does that needs the memory: what is read is what the medium has.
    pub fn forget_doubtful(&self) {
        for node in self.volume().nodes.values_mut() {
            node.forget_doubtful();
        }
    }

    /// Fails every read that touches this range, a bad sector; it brings what is before.
    pub fn fail_reads(&self, file: File, offset: u64, bytes: u64, kind: IoErrorKind) {
        self.volume().control.fail_reads(file, offset, bytes, kind);
    }

    /// Takes all injected faults back; what they have done stays.
    pub fn clear_faults(&self) {
        self.volume().control.clear_faults();
    }

    /// Changes the device's capacity. What is already there stays.
    pub fn set_capacity(&self, capacity_bytes: u64) {
        self.volume().options.capacity_bytes = capacity_bytes;
    }

    /// The device's capacity.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.volume().options.capacity_bytes
    }

    /// Bytes that the files take on the device, holes not counted.
    #[must_use]
    pub fn bytes_used(&self) -> u64 {
        self.volume().bytes_used()
    }

    /// How the caller has broken the storage contract; the first hundred times.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        self.volume().control.violations()
    }

    /// Starts an empty trace of all calls, or ends it.
    pub fn set_tracing(&self, tracing: bool) {
        self.volume().control.set_tracing(tracing);
    }

    /// The calls since tracing began, one line each.
    #[must_use]
    pub fn trace(&self) -> Vec<String> {
        self.volume().control.trace()
    }

    /// The number of changes that no sync has made durable.
    #[must_use]
    pub fn unsynced_count(&self) -> usize {
        let volume = self.volume();
        let of_node = |node: &crate::change::Node| node.pending.len() + node.doubtful.len();
        let in_nodes: usize = volume.nodes.values().map(of_node).sum();
        in_nodes + volume.directory.pending.len() + volume.directory.doubtful.len()
    }

    /// The files that exist now, the page file first.
    #[must_use]
    pub fn files(&self) -> Vec<File> {
        self.volume().directory.current.keys().copied().collect()
    }

    /// All bytes of a file as they are read now; not counted, and without power, too.
    #[must_use]
    pub fn file_bytes(&self, file: File) -> Option<Vec<u8>> {
        let volume = self.volume();
        let content = &volume.node(file)?.current;
        let mut bytes = vec![0; usize::try_from(content.length()).ok()?];
        content.read(0, &mut bytes);
        Some(bytes)
    }

    /// Bytes of a file as they are read now, erased ones past its end; `None`
    /// where it does not exist. Not counted, and without power, too.
    #[must_use]
    pub fn read_raw(&self, file: File, offset: u64, bytes: usize) -> Option<Vec<u8>> {
        let mut buffer = vec![0; bytes];
        self.volume().node(file)?.current.read(offset, &mut buffer);
        Some(buffer)
    }

    /// Changes a file on the medium and in the cache, behind the engine's
    /// back; creates and lengthens it where need be. Not counted.
    pub fn overwrite_raw(&self, file: File, offset: u64, bytes: &[u8]) {
        let mut volume = self.volume();
        let node = volume.node_for_raw_access(file);
        node.current.write(offset, bytes);
        node.durable.write(offset, bytes);
    }

    /// Inverts one bit (0 to 7) of a byte on the medium and in the cache.
    pub fn flip_bit(&self, file: File, offset: u64, bit: u32) {
        let mut volume = self.volume();
        let node = volume.node_for_raw_access(file);
        for content in [&mut node.current, &mut node.durable] {
            let mut byte = [0];
            content.read(offset, &mut byte);
            content.write(offset, &[byte[0] ^ (1 << (bit & 7))]);
        }
    }

    /// Sets a file's length on the medium and in the cache; creates it where need be.
    pub fn truncate_raw(&self, file: File, bytes: u64) {
        let mut volume = self.volume();
        let node = volume.node_for_raw_access(file);
        node.current.set_length(bytes);
        node.durable.set_length(bytes);
    }

    /// Takes a file away from the medium and the directory, unsynced changes included.
    pub fn remove_raw(&self, file: File) {
        let mut volume = self.volume();
        let directory = &mut volume.directory;
        directory.current.remove(&file);
        directory.durable.remove(&file);
        directory.pending.retain(|change| change.file != file);
        directory.doubtful.retain(|change| change.file != file);
    }
}

impl Storage for SimStorage {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn is_read_only(&self) -> bool {
        self.read_only
    }

    fn log_slots(&self) -> Result<u32, IoError> {
        self.volume().log_slots()
    }

    fn length(&self, file: File) -> Result<Option<u64>, IoError> {
        self.volume().length(file)
    }

    fn page_file_room(&self) -> Option<PageFileRoom> {
        self.volume().page_file_room()
    }

    fn create(&self, file: File) -> Result<(), IoError> {
        let call = Call::of(Verb::Create, Some(file));
        self.change(call, |volume| volume.create(file))
    }

    fn remove(&self, file: File) -> Result<(), IoError> {
        let call = Call::of(Verb::Remove, Some(file));
        self.change(call, |volume| volume.remove(file))
    }

    fn set_length(&self, file: File, bytes: u64) -> Result<(), IoError> {
        let call = Call::on_range(Verb::SetLength, Some(file), bytes, 0);
        self.change(call, |volume| volume.set_length(file, bytes))
    }

    fn read(&self, file: File, offset: u64, buffer: &mut [u8]) -> Result<(), IoError> {
        self.volume().read(file, offset, buffer)
    }

    fn write(&self, file: File, offset: u64, bytes: &[u8]) -> Result<(), IoError> {
        let call = Call::on_range(Verb::Write, Some(file), offset, bytes.len() as u64);
        self.change(call, |volume| volume.write(file, offset, bytes))
    }

    fn read_batch(&self, file: File, requests: &mut [ReadRequest<'_>]) -> Result<(), IoError> {
        self.volume().read_batch(file, requests)
    }

    fn will_read(&self, file: File, offset: u64, bytes: u64) {
        if file == File::Pages {
            let told = self.told.lock();
            told.unwrap_or_else(PoisonError::into_inner)
                .push((offset, bytes));
        }
    }

    fn write_batch(&self, file: File, requests: &[WriteRequest<'_>]) -> Result<(), IoError> {
        let call = Call::of(Verb::Write, Some(file));
        self.change(call, |volume| volume.write_batch(file, requests))
    }

    fn sync(&self, file: File) -> Result<(), IoError> {
        let call = Call::of(Verb::Sync, Some(file));
        self.change(call, |volume| volume.sync(file))
    }

    fn sync_directory(&self) -> Result<(), IoError> {
        let call = Call::of(Verb::SyncDirectory, None);
        self.change(call, Volume::sync_directory)
    }

    fn erase(&self, file: File, offset: u64, bytes: u64) -> Result<(), IoError> {
        let call = Call::on_range(Verb::Erase, Some(file), offset, bytes);
        self.change(call, |volume| volume.erase(file, offset, bytes))
    }

    fn punch_hole(&self, file: File, offset: u64, bytes: u64) -> Result<(), IoError> {
        let call = Call::on_range(Verb::PunchHole, Some(file), offset, bytes);
        self.change(call, |volume| volume.punch_hole(file, offset, bytes))
    }
}

#[cfg(test)]
mod tests;
