//! What lies below the data directory: block size, counters and free room.
//!
//! Everything comes from `sysfs` and `statvfs`. File systems that span devices
//! (btrfs, ZFS, overlays) and network file systems have no one block device;
//! for them the answers are `None`, never a guess.

use crate::error::io_error;
use lightning_platform::IoError;
use rustix::fs::{major, minor};
use std::path::{Path, PathBuf};

/// Bytes in a sector of [`DeviceCounters`], whatever the device's own is.
pub const SECTOR_BYTES: u64 = 512;

/// What a block device has done since it was attached.
///
/// The difference of two of these is what a benchmark wrote to the device; it
/// includes the file system's own journal, and other users of the device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeviceCounters {
    /// Reads completed.
    pub reads: u64,
    /// Sectors of [`SECTOR_BYTES`] read.
    pub sectors_read: u64,
    /// Writes completed.
    pub writes: u64,
    /// Sectors of [`SECTOR_BYTES`] written.
    pub sectors_written: u64,
    /// Discards completed; 0 on kernels that don't count them.
    pub discards: u64,
    /// Cache flushes completed; 0 on kernels that don't count them (before
    /// 5.5). Counted for the whole disk, even when the rest is for a partition.
    pub flushes: u64,
}

/// Room of a file system, as an unprivileged user sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileSystemSpace {
    /// Its size in bytes, without what it keeps for the administrator.
    pub total_bytes: u64,
    /// Bytes that can still be written.
    pub available_bytes: u64,
}

/// The counters of the block device that holds `path`, or `None` where no
/// single device does.
///
/// # Errors
/// When `path` can't be asked for its device.
pub fn counters(path: &Path) -> Result<Option<DeviceCounters>, IoError> {
    let device = rustix::fs::stat(path).map_err(io_error)?.st_dev;
    let folder = device_folder(device);
    let Some(mut counters) = read_counters(&folder) else {
        return Ok(None);
    };
    if folder.join("partition").exists()
        && let Some(disk) = read_counters(&folder.join(".."))
    {
        counters.flushes = disk.flushes;
    }
    Ok(Some(counters))
}

/// Size and room of the file system that holds `path`.
///
/// # Errors
/// When `path` can't be asked for its file system.
pub fn space(path: &Path) -> Result<FileSystemSpace, IoError> {
    let status = rustix::fs::statvfs(path).map_err(io_error)?;
    let reserved = status.f_bfree.saturating_sub(status.f_bavail);
    Ok(FileSystemSpace {
        total_bytes: status
            .f_blocks
            .saturating_sub(reserved)
            .saturating_mul(status.f_frsize),
        available_bytes: status.f_bavail.saturating_mul(status.f_frsize),
    })
}

/// The larger of the logical and physical block size of the device with this
/// number, or `None` where it isn't one block device.
pub(crate) fn block_bytes(device: rustix::fs::Dev) -> Option<u32> {
    let folder = device_folder(device);
    // A partition has no queue of its own; its disk's folder is its parent.
    ["queue", "../queue"]
        .iter()
        .filter_map(|queue| {
            let queue = folder.join(queue);
            let physical = read_number(&queue.join("physical_block_size"))?;
            let logical = read_number(&queue.join("logical_block_size"))?;
            Some(physical.max(logical))
        })
        .next()
}

fn device_folder(device: rustix::fs::Dev) -> PathBuf {
    PathBuf::from(format!(
        "/sys/dev/block/{}:{}",
        major(device),
        minor(device)
    ))
}

fn read_number(path: &Path) -> Option<u32> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn read_counters(folder: &Path) -> Option<DeviceCounters> {
    parse_counters(&std::fs::read_to_string(folder.join("stat")).ok()?)
}

/// Reads the fields of `Documentation/block/stat.rst` of the kernel.
fn parse_counters(text: &str) -> Option<DeviceCounters> {
    let mut fields = [0_u64; 17];
    let mut count = 0;
    for (field, word) in fields.iter_mut().zip(text.split_ascii_whitespace()) {
        *field = word.parse().ok()?;
        count += 1;
    }
    let [
        reads,
        _,
        sectors_read,
        _,
        writes,
        _,
        sectors_written,
        _,
        _,
        _,
        _,
        discards,
        _,
        _,
        _,
        flushes,
        _,
    ] = fields;
    (count >= 11).then_some(DeviceCounters {
        reads,
        sectors_read,
        writes,
        sectors_written,
        discards,
        flushes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_old_and_new_kernels() {
        let new = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n";
        let counters = parse_counters(new).unwrap();
        assert_eq!(counters.reads, 1);
        assert_eq!(counters.sectors_read, 3);
        assert_eq!(counters.writes, 5);
        assert_eq!(counters.sectors_written, 7);
        assert_eq!(counters.discards, 12);
        assert_eq!(counters.flushes, 16);
        let old = parse_counters("1 2 3 4 5 6 7 8 9 10 11").unwrap();
        assert_eq!((old.writes, old.flushes), (5, 0));
        assert_eq!(parse_counters("1 2 3"), None);
        assert_eq!(parse_counters("1 2 x 4 5 6 7 8 9 10 11"), None);
    }

    #[test]
    fn answers_for_the_temporary_directory() {
        let path = std::env::temp_dir();
        let space = space(&path).unwrap();
        assert!(space.total_bytes > 0);
        assert!(space.available_bytes <= space.total_bytes);
        let status = rustix::fs::statvfs(&path).unwrap();
        let taken_bytes = (status.f_blocks - status.f_bfree) * status.f_frsize;
        let difference = (space.total_bytes - space.available_bytes).abs_diff(taken_bytes);
        // Others write there meanwhile.
        assert!(difference < 1 << 30, "{space:?} {taken_bytes}");
        let device = rustix::fs::stat(&path).unwrap().st_dev;
        if counters(&path).unwrap().is_some() {
            assert!(block_bytes(device).unwrap().is_power_of_two());
        } else {
            println!("note: no single block device below {}", path.display());
        }
        assert!(counters(Path::new("/nonexistent/path")).is_err());
    }
}
