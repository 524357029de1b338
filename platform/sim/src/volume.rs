//! The simulated device: files, directory, room, and the checks of the contract.
//!
//! Durable and pending state are kept apart for each file ([`Node`]) and for
//! the directory. A node lives as long as any state of the directory that a
//! power cut may leave can name it.

use crate::change::{Bytes, Change, Effect, Node};
use crate::content::{CHUNK_BYTES, Content};
use crate::control::{Call, CallFailure, Control, Done, Fate, Verb};
use crate::random::{Random, mix};
use crate::storage::SimOptions;
use lightning_platform::{File, IoError, IoErrorKind, PageFileRoom, ReadRequest, WriteRequest};
use std::collections::BTreeMap;

/// An unsynced create (of a node) or remove (`None`).
#[derive(Clone)]
pub(crate) struct DirectoryChange {
    pub(crate) sequence: u64,
    pub(crate) file: File,
    pub(crate) node: Option<u64>,
}

impl DirectoryChange {
    /// Does it to a directory.
    pub(crate) fn settle(&self, files: &mut BTreeMap<File, u64>) {
        match self.node {
            Some(node) => files.insert(self.file, node),
            None => files.remove(&self.file),
        };
    }
}

/// Which files exist: now, surely on the medium, and the changes between.
#[derive(Clone, Default)]
pub(crate) struct Directory {
    pub(crate) current: BTreeMap<File, u64>,
    pub(crate) durable: BTreeMap<File, u64>,
    pub(crate) pending: Vec<DirectoryChange>,
    pub(crate) doubtful: Vec<DirectoryChange>,
    pub(crate) sync_failed: bool,
}

/// All state of a simulated storage.
#[derive(Clone)]
pub(crate) struct Volume {
    pub(crate) options: SimOptions,
    pub(crate) control: Control,
    pub(crate) directory: Directory,
    pub(crate) nodes: BTreeMap<u64, Node>,
    next_node: u64,
    next_sequence: u64,
}

const fn failed<T>(kind: IoErrorKind) -> Result<T, IoError> {
    Err(IoError::of(kind))
}

/// What a call answers that had room for so many of its bytes.
const fn whole(room: u64, call: &Call) -> Result<(), IoError> {
    if room < call.bytes {
        return failed(IoErrorKind::StorageFull);
    }
    Ok(())
}

impl Volume {
    /// A volume on which exactly `files` exist, all of it durable.
    pub(crate) fn new(options: SimOptions, files: BTreeMap<File, Content>) -> Self {
        let names = files.keys().copied().zip(0..);
        let current: BTreeMap<File, u64> = names.collect();
        Self {
            options,
            control: Control::new(),
            next_node: files.len() as u64,
            next_sequence: 0,
            nodes: (0..).zip(files.into_values().map(Node::new)).collect(),
            directory: Directory {
                durable: current.clone(),
                current,
                ..Directory::default()
            },
        }
    }

    pub(crate) fn node(&self, file: File) -> Option<&Node> {
        self.nodes.get(self.directory.current.get(&file)?)
    }

    pub(crate) fn node_mut(&mut self, file: File) -> Option<&mut Node> {
        self.nodes.get_mut(self.directory.current.get(&file)?)
    }

    fn existing(&mut self, file: File) -> Result<&mut Node, IoError> {
        self.node_mut(file)
            .ok_or(IoError::of(IoErrorKind::NotFound))
    }

    fn length_of(&self, file: File) -> Result<u64, IoError> {
        let node = self.node(file).ok_or(IoError::of(IoErrorKind::NotFound))?;
        Ok(node.current.length())
    }

    const fn take_sequence(&mut self) -> u64 {
        self.next_sequence += 1;
        self.next_sequence
    }

    /// Counts the call, does its effect as its fate has it, and settles the result.
    fn run<T>(
        &mut self,
        call: Call,
        effect: impl FnOnce(&mut Self, &Call, Fate) -> Result<T, IoError>,
    ) -> Result<T, IoError> {
        let fate = self.control.begin(&call)?;
        let result = effect(self, &call, fate);
        self.control.end(call, fate, result)
    }

    /// Refuses a change through a read-only view.
    pub(crate) fn refuse(&mut self, call: &Call) -> Result<(), IoError> {
        if !self.control.powered {
            return failed(IoErrorKind::Device);
        }
        self.control
            .violate(call, "a change through a read-only storage");
        failed(IoErrorKind::ReadOnly)
    }

    /// Bytes that all files together take on the device.
    pub(crate) fn bytes_used(&self) -> u64 {
        let files = self.directory.current.values();
        let nodes = files.filter_map(|node| self.nodes.get(node));
        nodes.map(|node| node.current.bytes_used()).sum()
    }

    /// What the page file takes and may still take; no limit, no answer. Not counted as
    /// a call, since it asks nothing of the medium.
    pub(crate) fn page_file_room(&self) -> Option<PageFileRoom> {
        let capacity_bytes = self.options.capacity_bytes;
        if capacity_bytes == u64::MAX {
            return None;
        }
        let pages = self.node(File::Pages);
        let taken = pages.map_or(0, |node| node.current.bytes_used());
        Some(PageFileRoom {
            taken_bytes: taken,
            available_bytes: capacity_bytes.saturating_sub(self.bytes_used()),
        })
    }

    /// How many of the range's bytes, from its start, there is room for: all of them, or
    /// those before the first unit of allocation that the device doesn't have.
    fn room(&self, file: File, offset: u64, bytes: u64) -> Result<u64, IoError> {
        let end = offset.checked_add(bytes);
        let end = end.ok_or(IoError::of(IoErrorKind::InvalidInput))?;
        if file == File::Pages && end > self.options.geometry.page_file_bytes_max {
            return failed(IoErrorKind::StorageFull);
        }
        let capacity_bytes = self.options.capacity_bytes;
        if capacity_bytes == u64::MAX {
            return Ok(bytes);
        }
        let used = self.bytes_used();
        let at_most = bytes.saturating_add(2 * CHUNK_BYTES);
        if used.saturating_add(at_most) <= capacity_bytes {
            return Ok(bytes);
        }
        // What needs no new room succeeds, even when the capacity was lowered below what is used.
        let free = capacity_bytes.saturating_sub(used);
        let fitting = |node: &Node| node.current.bytes_fitting(offset, bytes, free);
        Ok(self.node(file).map_or(bytes, fitting))
    }

    /// How many bytes of a range are done by a call that fails, in whole `unit`s where it
    /// isn't cut short.
    fn done_bytes(&self, failure: CallFailure, (offset, bytes): (u64, u64), unit: u64) -> u64 {
        let calls = self.control.calls;
        match failure.done {
            Done::Blocks => {
                let units = bytes.div_ceil(unit);
                (mix(calls ^ offset) % (units + 1) * unit).min(bytes)
            }
            Done::Bytes(seed) => {
                let mut random = Random::new(seed ^ mix(calls));
                match random.below(4) {
                    0 => random.below(unit.min(bytes + 1)),
                    1 => bytes,
                    _ => random.below(bytes + 1),
                }
            }
        }
    }

    /// Whether a call that has no parts is done though it fails.
    fn is_done(&self, fate: Fate) -> bool {
        match fate {
            Fate::Fail(CallFailure {
                done: Done::Bytes(seed),
                ..
            }) => Random::new(seed ^ mix(self.control.calls)).chance(1, 2),
            Fate::Fail(_) => false,
            Fate::Proceed | Fate::Cut => true,
        }
    }

    fn add(&mut self, file: File, offset: u64, bytes: u64, effect: Effect) -> Result<(), IoError> {
        let sequence = self.take_sequence();
        self.existing(file)?.change(Change {
            sequence,
            offset,
            bytes,
            effect,
        });
        Ok(())
    }

    pub(crate) fn log_slots(&mut self) -> Result<u32, IoError> {
        self.run(Call::of(Verb::LogSlots, None), |volume, _, _| {
            Ok(volume.log_slots_now())
        })
    }

    fn log_slots_now(&self) -> u32 {
        match self.directory.current.last_key_value() {
            Some((File::Log(slot), _)) => slot.saturating_add(1),
            _ => 0,
        }
    }

    pub(crate) fn length(&mut self, file: File) -> Result<Option<u64>, IoError> {
        self.run(Call::of(Verb::Length, Some(file)), |volume, _, _| {
            Ok(volume.node(file).map(|node| node.current.length()))
        })
    }

    pub(crate) fn create(&mut self, file: File) -> Result<(), IoError> {
        self.run(Call::of(Verb::Create, Some(file)), |volume, call, fate| {
            if volume.is_done(fate) {
                volume.create_now(call, file)
            } else {
                Ok(())
            }
        })
    }

    fn create_now(&mut self, call: &Call, file: File) -> Result<(), IoError> {
        if self.directory.current.contains_key(&file) {
            return failed(IoErrorKind::AlreadyExists);
        }
        if let File::Log(slot) = file {
            if slot >= self.options.geometry.log_slots_max {
                return failed(IoErrorKind::StorageFull);
            }
            if slot > self.log_slots_now() {
                self.control
                    .violate(call, "log slots are not numbered densely");
            }
        }
        let node = self.next_node;
        self.next_node += 1;
        let content = Content::new(self.options.geometry.erased_byte);
        self.nodes.insert(node, Node::new(content));
        self.change_directory(file, Some(node));
        Ok(())
    }

    pub(crate) fn remove(&mut self, file: File) -> Result<(), IoError> {
        self.run(Call::of(Verb::Remove, Some(file)), |volume, _, fate| {
            volume.existing(file)?;
            if volume.is_done(fate) {
                volume.change_directory(file, None);
            }
            Ok(())
        })
    }

    fn change_directory(&mut self, file: File, node: Option<u64>) {
        let sequence = self.take_sequence();
        let change = DirectoryChange {
            sequence,
            file,
            node,
        };
        change.settle(&mut self.directory.current);
        self.directory.pending.push(change);
    }

    pub(crate) fn set_length(&mut self, file: File, bytes: u64) -> Result<(), IoError> {
        let call = Call::on_range(Verb::SetLength, Some(file), bytes, 0);
        self.run(call, |volume, _, fate| {
            let shrank = bytes < volume.length_of(file)?;
            if shrank && !volume.options.geometry.can_truncate {
                return failed(IoErrorKind::Unsupported);
            }
            if file == File::Pages && bytes > volume.options.geometry.page_file_bytes_max {
                return failed(IoErrorKind::StorageFull);
            }
            if !volume.is_done(fate) {
                return Ok(());
            }
            volume.add(file, bytes, 0, Effect::Length { shrank })
        })
    }

    pub(crate) fn read(
        &mut self,
        file: File,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), IoError> {
        let bytes = buffer.len() as u64;
        let call = Call::on_range(Verb::Read, Some(file), offset, bytes);
        self.run(call, |volume, _, fate| {
            let length = volume.length_of(file);
            let there = length
                .as_ref()
                .map_or(0, |length| length.saturating_sub(offset));
            let (brought, outcome) = match fate {
                // Nothing was brought, and the caller's bytes are as they were.
                Fate::Fail(CallFailure {
                    done: Done::Blocks, ..
                })
                | Fate::Cut => return Ok(()),
                Fate::Fail(failure) => (
                    volume.done_bytes(failure, (offset, bytes), CHUNK_BYTES),
                    Ok(()),
                ),
                Fate::Proceed => match (length, volume.control.check_read(file, offset, bytes)) {
                    (Err(error), _) => (0, Err(error)),
                    _ if bytes > there => (there, failed(IoErrorKind::UnexpectedEnd)),
                    (_, Err((before, error))) => (before, Err(error)),
                    _ => (bytes, Ok(())),
                },
            };
            let (right, noise) = buffer.split_at_mut(brought.min(there).min(bytes) as usize);
            if let Some(node) = volume.node(file) {
                node.current.read(offset, right);
            }
            volume.noise().fill(noise);
            outcome
        })
    }

    /// What stands in a buffer behind the bytes that a failed read brought.
    fn noise(&self) -> Random {
        Random::new(mix(self.control.calls) ^ 0x0153)
    }

    pub(crate) fn read_batch(
        &mut self,
        file: File,
        requests: &mut [ReadRequest<'_>],
    ) -> Result<(), IoError> {
        let mut outcome = Ok(());
        for request in requests {
            if outcome.is_ok() {
                outcome = self.read(file, request.offset, request.buffer);
            } else {
                self.noise().fill(request.buffer);
            }
        }
        outcome
    }

    pub(crate) fn write(&mut self, file: File, offset: u64, bytes: &[u8]) -> Result<(), IoError> {
        let call = Call::on_range(Verb::Write, Some(file), offset, bytes.len() as u64);
        self.run(call, |volume, call, fate| {
            let room = volume.check_write(call, file)?;
            let done = match fate {
                Fate::Fail(failure) => {
                    let unit = u64::from(volume.options.geometry.write_block_bytes);
                    volume.done_bytes(failure, (offset, call.bytes), unit)
                }
                _ => call.bytes,
            };
            let count = done.min(room);
            let grew = offset + count > volume.length_of(file)?;
            let part = Bytes::copy_of(&bytes[..count as usize]);
            volume.add(file, offset, count, Effect::Write { bytes: part, grew })?;
            whole(room, call)
        })
    }

    /// Checks a write, and answers how many bytes of it there is room for.
    fn check_write(&mut self, call: &Call, file: File) -> Result<u64, IoError> {
        let geometry = self.options.geometry;
        let block_bytes = u64::from(geometry.write_block_bytes);
        if !call.offset.is_multiple_of(block_bytes) || !call.bytes.is_multiple_of(block_bytes) {
            self.control
                .violate(call, "a write that is not aligned to the write block");
        }
        if call.offset > self.length_of(file)? {
            self.control
                .violate(call, "a write that begins past the end of the file");
            return failed(IoErrorKind::InvalidInput);
        }
        let room = self.room(file, call.offset, call.bytes)?;
        if geometry.erase_before_write {
            let node = self.existing(file)?;
            if node.current.is_written(call.offset, call.bytes) {
                self.control
                    .violate(call, "a second write to a range that was not erased");
            }
        }
        Ok(room)
    }

    pub(crate) fn write_batch(
        &mut self,
        file: File,
        requests: &[WriteRequest<'_>],
    ) -> Result<(), IoError> {
        if let Some(offset) = first_overlap(requests)
            && self.control.powered
        {
            let call = Call::on_range(Verb::Write, Some(file), offset, 0);
            self.control
                .violate(&call, "two writes of a batch that overlap");
        }
        for request in requests {
            self.write(file, request.offset, request.bytes)?;
        }
        Ok(())
    }

    pub(crate) fn sync(&mut self, file: File) -> Result<(), IoError> {
        self.run(Call::of(Verb::Sync, Some(file)), |volume, call, fate| {
            if volume.existing(file)?.sync_failed {
                volume
                    .control
                    .violate(call, "a sync of a file after a failed sync of it");
            }
            let node = volume.existing(file)?;
            match fate {
                Fate::Proceed => node.sync(),
                Fate::Fail(_) => node.fail_sync(),
                Fate::Cut => {}
            }
            Ok(())
        })
    }

    pub(crate) fn sync_directory(&mut self) -> Result<(), IoError> {
        self.run(Call::of(Verb::SyncDirectory, None), |volume, call, fate| {
            if volume.directory.sync_failed {
                volume
                    .control
                    .violate(call, "a sync of the directory after a failed sync of it");
            }
            match fate {
                Fate::Proceed => volume.sync_directory_now(),
                Fate::Fail(_) => {
                    let directory = &mut volume.directory;
                    directory.doubtful.append(&mut directory.pending);
                    directory.sync_failed = true;
                }
                Fate::Cut => {}
            }
            Ok(())
        })
    }

    fn sync_directory_now(&mut self) {
        let directory = &mut self.directory;
        for change in directory.pending.drain(..) {
            change.settle(&mut directory.durable);
            directory.doubtful.retain(|old| old.file != change.file);
        }
        let in_doubt = directory.doubtful.iter().filter_map(|change| change.node);
        let named = directory.current.values().chain(directory.durable.values());
        let named: Vec<u64> = named.copied().chain(in_doubt).collect();
        self.nodes.retain(|node, _| named.contains(node));
    }

    pub(crate) fn erase(&mut self, file: File, offset: u64, bytes: u64) -> Result<(), IoError> {
        let call = Call::on_range(Verb::Erase, Some(file), offset, bytes);
        self.run(call, |volume, call, fate| {
            let geometry = volume.options.geometry;
            let unit = u64::from(geometry.write_block_bytes.max(geometry.erase_block_bytes));
            if !offset.is_multiple_of(unit) || !bytes.is_multiple_of(unit) {
                volume.control.violate(
                    call,
                    "an erase that is not aligned to the larger of write and erase block",
                );
            }
            let length = volume.length_of(file)?;
            if offset.checked_add(bytes).is_none_or(|end| end > length) {
                volume
                    .control
                    .violate(call, "an erase past the end of the file");
                return failed(IoErrorKind::InvalidInput);
            }
            let room = volume.room(file, offset, bytes)?;
            let done = match fate {
                Fate::Fail(failure) => volume.done_bytes(failure, (offset, bytes), unit),
                _ => bytes,
            };
            let mut done = done.min(room);
            if geometry.erase_before_write {
                // What is left of a unit whose erase broke off can't be told from one that
                // was written, and has to be erased again as that.
                done = done / unit * unit;
            }
            volume.add(file, offset, done, Effect::Erase)?;
            whole(room, call)
        })
    }

    pub(crate) fn punch_hole(
        &mut self,
        file: File,
        offset: u64,
        bytes: u64,
    ) -> Result<(), IoError> {
        let call = Call::on_range(Verb::PunchHole, Some(file), offset, bytes);
        self.run(call, |volume, _, fate| {
            if !volume.options.geometry.can_punch_hole {
                return failed(IoErrorKind::Unsupported);
            }
            let length = volume.length_of(file)?;
            let end = offset.checked_add(bytes);
            let end = end.ok_or(IoError::of(IoErrorKind::InvalidInput))?;
            if offset >= length {
                return Ok(());
            }
            let bytes = end.min(length) - offset;
            let done = match fate {
                Fate::Fail(CallFailure {
                    done: Done::Blocks, ..
                }) => return Ok(()),
                Fate::Fail(failure) => volume.done_bytes(failure, (offset, bytes), CHUNK_BYTES),
                _ => bytes,
            };
            volume.add(file, offset, done, Effect::Punch)
        })
    }

    /// Brings a file into existence, durably and uncounted.
    pub(crate) fn node_for_raw_access(&mut self, file: File) -> &mut Node {
        let next_node = &mut self.next_node;
        let node = *self.directory.current.entry(file).or_insert_with(|| {
            *next_node += 1;
            self.directory.durable.insert(file, *next_node - 1);
            *next_node - 1
        });
        let erased_byte = self.options.geometry.erased_byte;
        let entry = self.nodes.entry(node);
        entry.or_insert_with(|| Node::new(Content::new(erased_byte)))
    }

    /// Forgets what ends with the process; the cached bytes and what is unsynced stay.
    pub(crate) fn restart(&mut self) {
        self.control = Control::new();
        self.directory.sync_failed = false;
        for node in self.nodes.values_mut() {
            node.sync_failed = false;
        }
    }
}

/// Where a write of the batch begins inside another one, if any does.
fn first_overlap(requests: &[WriteRequest<'_>]) -> Option<u64> {
    let range = |request: &WriteRequest<'_>| {
        (
            request.offset,
            request.offset.saturating_add(request.bytes.len() as u64),
        )
    };
    let mut ranges: Vec<(u64, u64)> = requests.iter().map(range).collect();
    ranges.retain(|(from, to)| from < to);
    ranges.sort_unstable();
    let overlap = ranges.windows(2).find(|pair| pair[1].0 < pair[0].1);
    overlap.map(|pair| pair[1].0)
}
