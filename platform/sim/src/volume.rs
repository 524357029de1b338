//! The simulated device: files, directory, room, and the checks of the contract.
//!
//! Durable and pending state are kept apart for each file ([`Node`]) and for
//! the directory. A node lives as long as any state of the directory that a
//! power cut may leave can name it.

use crate::change::{Bytes, Change, Effect, Node};
use crate::content::{CHUNK_BYTES, Content};
use crate::control::{Call, Control, Fate, Verb};
use crate::random::mix;
use crate::storage::SimOptions;
use lightning_platform::{File, IoError, IoErrorKind, WriteRequest};
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

    fn check_room(&self, file: File, offset: u64, bytes: u64) -> Result<(), IoError> {
        let end = offset.checked_add(bytes);
        let end = end.ok_or(IoError::of(IoErrorKind::InvalidInput))?;
        if file == File::Pages && end > self.options.geometry.page_file_bytes_max {
            return failed(IoErrorKind::StorageFull);
        }
        let capacity_bytes = self.options.capacity_bytes;
        if capacity_bytes == u64::MAX {
            return Ok(());
        }
        let used = self.bytes_used();
        let at_most = bytes.saturating_add(2 * CHUNK_BYTES);
        if used.saturating_add(at_most) <= capacity_bytes {
            return Ok(());
        }
        let missing = self
            .node(file)
            .map_or(0, |node| node.current.bytes_missing(offset, bytes));
        // What needs no new room succeeds, even when the capacity was lowered below what is used.
        if missing > 0 && used.saturating_add(missing) > capacity_bytes {
            return failed(IoErrorKind::StorageFull);
        }
        Ok(())
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
        self.run(
            Call::of(Verb::Create, Some(file)),
            |volume, call, fate| match fate {
                Fate::Fail(_) => Ok(()),
                _ => volume.create_now(call, file),
            },
        )
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
            if !matches!(fate, Fate::Fail(_)) {
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
            if matches!(fate, Fate::Fail(_)) {
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
            if fate != Fate::Proceed {
                return Ok(());
            }
            let length = volume.length_of(file)?;
            if offset.checked_add(bytes).is_none_or(|end| end > length) {
                return failed(IoErrorKind::UnexpectedEnd);
            }
            volume.control.check_read(file, offset, bytes)?;
            volume.existing(file)?.current.read(offset, buffer);
            Ok(())
        })
    }

    pub(crate) fn write(&mut self, file: File, offset: u64, bytes: &[u8]) -> Result<(), IoError> {
        let call = Call::on_range(Verb::Write, Some(file), offset, bytes.len() as u64);
        self.run(call, |volume, call, fate| {
            volume.check_write(call, file)?;
            let bytes = match fate {
                Fate::Fail(_) => volume.part_of_failed(offset, bytes),
                _ => bytes,
            };
            let count = bytes.len() as u64;
            let grew = offset + count > volume.length_of(file)?;
            let bytes = Bytes::copy_of(bytes);
            volume.add(file, offset, count, Effect::Write { bytes, grew })
        })
    }

    fn check_write(&mut self, call: &Call, file: File) -> Result<(), IoError> {
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
        self.check_room(file, call.offset, call.bytes)?;
        if geometry.erase_before_write {
            let node = self.existing(file)?;
            if node.current.is_written(call.offset, call.bytes) {
                self.control
                    .violate(call, "a second write to a range that was not erased");
            }
        }
        Ok(())
    }

    /// The leading blocks that a failed write leaves behind: none, some or all,
    /// as the number of the call has it.
    fn part_of_failed<'a>(&self, offset: u64, bytes: &'a [u8]) -> &'a [u8] {
        let block_bytes = u64::from(self.options.geometry.write_block_bytes);
        let blocks = (bytes.len() as u64).div_ceil(block_bytes);
        let kept_blocks = mix(self.control.calls ^ offset) % (blocks + 1);
        let kept = (kept_blocks * block_bytes).min(bytes.len() as u64);
        &bytes[..kept as usize]
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
            volume.check_room(file, offset, bytes)?;
            let bytes = match fate {
                Fate::Fail(_) => mix(volume.control.calls) % (bytes / unit + 1) * unit,
                _ => bytes,
            };
            volume.add(file, offset, bytes, Effect::Erase)
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
            if matches!(fate, Fate::Fail(_)) || offset >= length {
                return Ok(());
            }
            volume.add(file, offset, end.min(length) - offset, Effect::Punch)
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
