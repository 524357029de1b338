//! The log slots of a data directory: their names, and all that there are, opened.

use super::{LOG_SLOTS_MAX, open_file, path_error};
use crate::error::OpenError;
use crate::lock::open_at;
use crate::log_file::LogFile;
use rustix::fs::{OFlags, RawDir};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

/// The file name of a log slot.
pub(super) struct SlotName([u8; 12]);

impl SlotName {
    pub(super) fn new(slot: u32) -> Option<Self> {
        if slot >= LOG_SLOTS_MAX {
            return None;
        }
        let mut name = *b"00000000.wal";
        let mut rest = slot;
        for digit in name.iter_mut().take(8).rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        Some(Self(name))
    }

    /// The slot of a file name, or `None` where it isn't one of ours.
    pub(super) fn parse(name: &[u8]) -> Option<u32> {
        let digits = name.strip_suffix(b".wal")?;
        if digits.len() != 8 || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let slot = digits
            .iter()
            .fold(0_u32, |slot, digit| slot * 10 + u32::from(digit - b'0'));
        (slot < LOG_SLOTS_MAX).then_some(slot)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Opens a log slot a second time, to write past the system's cache. It saves time,
/// and nothing is lost where it can't be had.
pub(super) fn open_through(directory: BorrowedFd<'_>, name: &[u8]) -> Option<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::DIRECT | OFlags::DSYNC;
    open_at(directory, name, flags).ok()
}

/// Opens every log slot there is.
pub(super) fn open_logs(
    log_directory: BorrowedFd<'_>,
    access: OFlags,
    log_path: &Path,
) -> Result<Vec<Option<Arc<LogFile>>>, OpenError> {
    let mut logs = Vec::new();
    let mut buffer = [MaybeUninit::<u8>::uninit(); 8192];
    let mut entries = RawDir::new(log_directory, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry.map_err(|errno| path_error(log_path, errno))?;
        let Some(slot) = SlotName::parse(entry.file_name().to_bytes()) else {
            continue;
        };
        let name = entry.file_name().to_string_lossy();
        let index = slot as usize;
        if logs.len() <= index {
            logs.resize(index + 1, None);
        }
        if let Some(entry) = logs.get_mut(index) {
            let Some(descriptor) = open_file(log_directory, &name, access, log_path)? else {
                continue;
            };
            let through = (access == OFlags::RDWR)
                .then(|| open_through(log_directory, name.as_bytes()))
                .flatten();
            *entry = Some(Arc::new(LogFile::new(descriptor, through)));
        }
    }
    Ok(logs)
}
