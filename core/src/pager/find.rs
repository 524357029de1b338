//! Finding the newest superblock of a page file.

use crate::error::{CorruptionReason, Error, IoAction, Result};
use crate::format::checksum::Checksum;
use crate::format::superblock::{FORMAT_VERSION, SUPERBLOCK_BYTES, Superblock, SuperblockFound};
use lightning_platform::{File, Geometry, IoErrorKind, Storage};

/// Features that this version knows, of each of the three classes.
const KNOWN_FEATURES: u32 = 0;

/// Whether a creation stopped within the block that makes its superblock one, on storage
/// where nothing can be written twice: the end of that block, which is zero in a
/// superblock, was never written.
fn is_unfinished(geometry: &Geometry, bytes: &[u8; SUPERBLOCK_BYTES]) -> bool {
    let end = (geometry.write_block_bytes as usize).min(SUPERBLOCK_BYTES);
    let last = end.checked_sub(1).and_then(|last| bytes.get(last));
    geometry.erase_before_write && last == Some(&geometry.erased_byte)
}

/// The newest valid superblock.
///
/// # Errors
/// [`Error::NotADatabase`] where no superblock ever stood, corruption where none
/// is valid, [`Error::Unsupported`] for a newer format or unknown features.
pub fn newest_superblock(
    storage: &dyn Storage,
    checksum: Checksum,
    for_writing: bool,
) -> Result<Superblock> {
    let length = storage
        .length(File::Pages)
        .map_err(|error| Error::io(error, IoAction::Length, File::Pages, 0))?
        .ok_or(Error::NotADatabase)?;
    let mut newest: Option<Superblock> = None;
    let mut version = None;
    let mut damaged = false;
    let mut unreadable = None;
    // Slot 1 stands at the block size, which a damaged slot 0 doesn't tell.
    let offsets = core::iter::once(0).chain((9..=24).map(|shift| 1_u64 << shift));
    for offset in offsets {
        if offset + SUPERBLOCK_BYTES as u64 > length {
            continue;
        }
        let mut bytes = [0; SUPERBLOCK_BYTES];
        match storage.read(File::Pages, offset, &mut bytes) {
            Ok(()) => {}
            Err(error) if error.kind == IoErrorKind::UnexpectedEnd => continue,
            // One slot that can't be read is as good as one that rotted.
            Err(error) => {
                let error = Error::io(error, IoAction::Read, File::Pages, offset);
                unreadable = unreadable.or(Some(error));
                continue;
            }
        }
        match Superblock::decode(&bytes, checksum) {
            SuperblockFound::Valid(found) => {
                let in_a_slot = offset == 0 || offset == u64::from(found.block_bytes);
                if in_a_slot && newest.is_none_or(|best| best.rank() < found.rank()) {
                    newest = Some(found);
                }
            }
            SuperblockFound::Version(number) => version = Some(number),
            SuperblockFound::Damaged => {
                damaged |= offset > 0 || !is_unfinished(&storage.geometry(), &bytes);
            }
            SuperblockFound::Nothing => {}
        }
    }
    if let Some(version) = version.filter(|version| *version > FORMAT_VERSION) {
        return Err(Error::Unsupported {
            version,
            features: 0,
        });
    }
    let Some(superblock) = newest else {
        let nothing = if damaged {
            Error::corrupt(CorruptionReason::NoSuperblock, File::Pages, 0)
        } else {
            Error::NotADatabase
        };
        return Err(unreadable.unwrap_or(nothing));
    };
    let refused = superblock.features_incompatible
        | if for_writing {
            superblock.features_read
        } else {
            0
        };
    if refused & !KNOWN_FEATURES != 0 {
        return Err(Error::Unsupported {
            version: FORMAT_VERSION,
            features: refused & !KNOWN_FEATURES,
        });
    }
    let blocks = length / u64::from(superblock.block_bytes.max(1));
    if blocks < superblock.file_blocks {
        return Err(Error::corrupt(
            CorruptionReason::OutOfFile,
            File::Pages,
            length,
        ));
    }
    Ok(superblock)
}
