//! What is refused before anything is brought up, and the superblock of a new database.

use super::{OpenInput, Options};
use crate::db::{Engine, FIRST_USER_TABLE};
use crate::error::{CorruptionReason, Error, IoAction, OptionProblem, Result};
use crate::format::checksum::{Append, Checksum};
use crate::format::segment::first_flush_offset;
use crate::format::superblock::Superblock;
use crate::pager::newest_superblock;
use lightning_platform::{File, IoErrorKind, Platform, Storage};

/// What a database was created with, that who opens it has to bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Bytes of a page.
    pub page_bytes: u32,
    /// Bytes of a unit.
    pub unit_bytes: u32,
    /// The codec's identity, 0 for none.
    pub codec: u32,
    /// The cipher's identity, 0 for none.
    pub cipher: u32,
}

impl Engine {
    /// What the database in a storage was created with, for who has to choose its codec
    /// and cipher. Changes nothing.
    ///
    /// # Errors
    /// [`Error::NotADatabase`], [`Error::Corruption`], [`Error::Unsupported`], I/O.
    pub fn identify(storage: &dyn Storage, checksum: Option<Append>) -> Result<Identity> {
        let superblock = newest_superblock(storage, Checksum::new(checksum), false)?;
        Ok(Identity {
            page_bytes: superblock.page_bytes,
            unit_bytes: superblock.unit_bytes,
            codec: superblock.codec,
            cipher: superblock.cipher,
        })
    }
}

/// Bytes that a creation which was cut off leaves in the page file, at most.
const UNFINISHED_BYTES_MAX: u64 = 1 << 20;

/// Refuses to create where a database is, or was and is damaged.
pub(super) fn check_new(platform: &Platform, checksum: Checksum) -> Result<()> {
    let storage = &*platform.storage;
    if storage.is_read_only() {
        return Err(Error::ReadOnly);
    }
    let length = storage
        .length(File::Pages)
        .map_err(|error| Error::io(error, IoAction::Length, File::Pages, 0))?;
    let failed = |error| Error::io(error, IoAction::Directory, File::Pages, 0);
    if let Some(length) = length {
        match newest_superblock(storage, checksum, true) {
            // A creation that was cut off leaves a short file without a superblock,
            // and a log without a commit.
            Err(Error::NotADatabase)
                if length <= UNFINISHED_BYTES_MAX
                    && begins_unfinished(storage, length)?
                    && log_is_new(storage)? => {}
            Err(Error::NotADatabase) if length > 0 => {
                let reason = CorruptionReason::NoSuperblock;
                return Err(Error::corrupt(reason, File::Pages, 0));
            }
            Err(Error::NotADatabase) | Ok(_) => return Err(Error::DatabaseExists),
            Err(error) => return Err(error),
        }
        // Created anew, since the sync of the directory may have failed, which no
        // later one mends.
        storage.remove(File::Pages).map_err(failed)?;
    }
    storage.create(File::Pages).map_err(failed)?;
    // The log of a creation that was cut off: nothing in it was ever acknowledged.
    let slots = storage
        .log_slots()
        .map_err(|error| Error::io(error, IoAction::Directory, File::Log(0), 0))?;
    for slot in (0..slots).rev() {
        match storage.remove(File::Log(slot)) {
            Ok(()) => {}
            Err(error) if error.kind == IoErrorKind::NotFound => {}
            Err(error) => {
                return Err(Error::io(error, IoAction::Directory, File::Log(slot), 0));
            }
        }
    }
    storage
        .sync_directory()
        .map_err(|error| Error::io(error, IoAction::Directory, File::Pages, 0))
}

/// Whether the page file begins as one of a creation that was cut off, and not as another
/// program's file.
fn begins_unfinished(storage: &dyn Storage, length: u64) -> Result<bool> {
    let mut first = [0; 8];
    let count = usize::try_from(length).map_or(first.len(), |length| length.min(first.len()));
    storage
        .read(File::Pages, 0, first.get_mut(..count).unwrap_or_default())
        .map_err(|error| Error::io(error, IoAction::Read, File::Pages, 0))?;
    let erased_byte = storage.geometry().erased_byte;
    Ok(Superblock::may_be_unfinished(&first, erased_byte))
}

/// Whether the log holds nothing but what a creation writes: one segment, and in it
/// one flush with a mark.
fn log_is_new(storage: &dyn Storage) -> Result<bool> {
    let failed = |error| Error::io(error, IoAction::Read, File::Log(0), 0);
    if storage.log_slots().map_err(failed)? > 1 {
        return Ok(false);
    }
    let geometry = storage.geometry();
    let Some(length) = storage.length(File::Log(0)).map_err(failed)? else {
        return Ok(true);
    };
    let block = u64::from(geometry.write_block_bytes);
    let behind_mark = first_flush_offset(geometry.write_block_bytes) + block.max(64);
    let mut bytes = [0; 16];
    if length < behind_mark + bytes.len() as u64 {
        return Ok(true);
    }
    storage
        .read(File::Log(0), behind_mark, &mut bytes)
        .map_err(failed)?;
    Ok(bytes.iter().all(|byte| *byte == geometry.erased_byte))
}

pub(super) fn first_superblock(
    platform: &Platform,
    options: &Options,
    input: &OpenInput,
) -> Result<Superblock> {
    let geometry = platform.storage.geometry();
    let page_bytes = if options.page_bytes == 0 {
        4_096
    } else {
        options.page_bytes
    };
    let unit_bytes = if options.unit_bytes == 0 {
        page_bytes
    } else {
        options.unit_bytes
    };
    let block_bytes = page_bytes
        .max(geometry.write_block_bytes)
        .max(geometry.erase_block_bytes);
    if !block_bytes.is_power_of_two() || block_bytes > 1 << 24 {
        return Err(Error::Options(OptionProblem::Geometry));
    }
    Ok(Superblock {
        features_compatible: 0,
        features_read: 0,
        features_incompatible: 0,
        page_bytes,
        unit_bytes,
        block_bytes,
        check_bytes: if platform.cipher.is_some() { 16 } else { 4 },
        codec: platform.codec.as_ref().map_or(0, |codec| codec.identity()),
        cipher: platform
            .cipher
            .as_ref()
            .map_or(0, |cipher| cipher.identity()),
        segment_bytes: options.segment_bytes,
        lineage_id: input.sixteen(0),
        instance_id: input.sixteen(1),
        timeline: 1,
        writing: 0,
        timeline_sequence: 0,
        generation: 1,
        merged_sequence: 0,
        touched_sequence: 0,
        durable_sequence: 0,
        first_segment: 1,
        wall_time_ms: input.now_ms,
        file_blocks: 2,
        next_table: FIRST_USER_TABLE,
        catalogue: Default::default(),
    })
}

/// Refuses codec, cipher and page size that are not the database's.
pub(super) fn check_same(
    platform: &Platform,
    options: &Options,
    superblock: &Superblock,
) -> Result<()> {
    let codec = platform.codec.as_ref().map_or(0, |codec| codec.identity());
    let cipher = platform
        .cipher
        .as_ref()
        .map_or(0, |cipher| cipher.identity());
    if codec != superblock.codec {
        return Err(Error::Options(OptionProblem::Codec));
    }
    if cipher != superblock.cipher {
        return Err(Error::Options(OptionProblem::Cipher));
    }
    if options.page_bytes != 0 && options.page_bytes != superblock.page_bytes {
        return Err(Error::Options(OptionProblem::PageBytesDiffer));
    }
    let block = platform.storage.geometry().write_block_bytes;
    if !superblock.block_bytes.is_multiple_of(block.max(1)) {
        return Err(Error::Options(OptionProblem::Geometry));
    }
    Ok(())
}
