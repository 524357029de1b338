//! A storage in memory that allocates nothing after it was made.

use std::sync::{Mutex, MutexGuard, PoisonError};

use lightning_platform::{File, Geometry, IoError, IoErrorKind, Storage};
use lightning_sim::SimOptions;

struct Content {
    bytes: Vec<u8>,
    length: Option<usize>,
}

/// Files of a bounded length, all there from the start.
pub struct PlainStorage {
    pages: Mutex<Content>,
    log: Vec<Mutex<Content>>,
}

fn content(bytes: usize) -> Mutex<Content> {
    Mutex::new(Content {
        bytes: vec![0; bytes],
        length: None,
    })
}

impl PlainStorage {
    /// A storage with this room for pages, and for each of the log slots.
    pub fn new(page_file_bytes: usize, log_slots: usize, slot_bytes: usize) -> Self {
        Self {
            pages: content(page_file_bytes),
            log: (0..log_slots).map(|_| content(slot_bytes)).collect(),
        }
    }

    fn content(&self, file: File) -> Result<MutexGuard<'_, Content>, IoError> {
        let content = match file {
            File::Pages => Some(&self.pages),
            File::Log(slot) => self.log.get(slot as usize),
        };
        let content = content.ok_or(IoError::of(IoErrorKind::StorageFull))?;
        Ok(content.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn put(&self, file: File, offset: u64, length: usize, bytes: &[u8]) -> Result<(), IoError> {
        let mut content = self.content(file)?;
        let start = offset as usize;
        let end = start + length;
        let room = content
            .bytes
            .get_mut(start..end)
            .ok_or(IoError::of(IoErrorKind::StorageFull))?;
        if bytes.is_empty() {
            room.fill(0);
        } else {
            room.copy_from_slice(bytes);
        }
        let before = content.length.ok_or(IoError::of(IoErrorKind::NotFound))?;
        content.length = Some(before.max(end));
        Ok(())
    }
}

impl Storage for PlainStorage {
    fn geometry(&self) -> Geometry {
        Geometry {
            page_file_bytes_max: self
                .content(File::Pages)
                .map_or(0, |pages| pages.bytes.len() as u64),
            log_slots_max: self.log.len() as u32,
            can_punch_hole: false,
            ..SimOptions::disk(512).geometry
        }
    }

    fn log_slots(&self) -> Result<u32, IoError> {
        let there = |slot: &Mutex<Content>| {
            let content = slot.lock().unwrap_or_else(PoisonError::into_inner);
            content.length.is_some()
        };
        Ok(self
            .log
            .iter()
            .rposition(there)
            .map_or(0, |last| last as u32 + 1))
    }

    fn length(&self, file: File) -> Result<Option<u64>, IoError> {
        Ok(self.content(file)?.length.map(|length| length as u64))
    }

    fn create(&self, file: File) -> Result<(), IoError> {
        self.content(file)?.length = Some(0);
        Ok(())
    }

    fn remove(&self, file: File) -> Result<(), IoError> {
        self.content(file)?.length = None;
        Ok(())
    }

    fn set_length(&self, file: File, bytes: u64) -> Result<(), IoError> {
        let mut content = self.content(file)?;
        let (before, after) = (content.length.unwrap_or(0), bytes as usize);
        if after > content.bytes.len() {
            return Err(IoError::of(IoErrorKind::StorageFull));
        }
        if let Some(grown) = content.bytes.get_mut(before..after) {
            grown.fill(0);
        }
        content.length = Some(after);
        Ok(())
    }

    fn read(&self, file: File, offset: u64, buffer: &mut [u8]) -> Result<(), IoError> {
        let content = self.content(file)?;
        let end = offset as usize + buffer.len();
        if end > content.length.unwrap_or(0) {
            return Err(IoError::of(IoErrorKind::UnexpectedEnd));
        }
        buffer.copy_from_slice(&content.bytes[offset as usize..end]);
        Ok(())
    }

    fn write(&self, file: File, offset: u64, bytes: &[u8]) -> Result<(), IoError> {
        self.put(file, offset, bytes.len(), bytes)
    }

    fn sync(&self, _: File) -> Result<(), IoError> {
        Ok(())
    }

    fn sync_directory(&self) -> Result<(), IoError> {
        Ok(())
    }

    fn erase(&self, file: File, offset: u64, bytes: u64) -> Result<(), IoError> {
        self.put(file, offset, bytes as usize, &[])
    }

    fn punch_hole(&self, _: File, _: u64, _: u64) -> Result<(), IoError> {
        Err(IoError::of(IoErrorKind::Unsupported))
    }
}
