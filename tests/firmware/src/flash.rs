//! A flash chip in RAM: one region for pages, four for the log.
//!
//! It keeps the rules of NOR flash and refuses what breaks them: a granule of 256
//! bytes is programmed whole and only where it is erased, a block of 4 KiB is
//! erased whole. What is programmed is durable at once. The power can be cut
//! during any change: part of its granules are done then, and every later call
//! fails until the power is back.
//!
//! # Soundness
//! [`Flash`] has no size: what it stands for is one static [`Chip`]. Every call
//! uses it within one critical section and calls nothing outside of this file
//! meanwhile, so that there is never a second reference to it.

use core::cell::UnsafeCell;
use lightning_platform::{File, Geometry, IoError, IoErrorKind, Storage};

const PAGE_FILE_BYTES: usize = 512 << 10;
const SLOT_BYTES: usize = 64 << 10;
const SLOTS: usize = 4;
const GRANULE_BYTES: usize = 256;
const BLOCK_BYTES: usize = 4 << 10;
const ERASED: u8 = 0xFF;

/// The bytes of the chip, in their own part of memory.
struct Medium(UnsafeCell<[u8; PAGE_FILE_BYTES + SLOTS * SLOT_BYTES]>);

// SAFETY: only `with` uses the bytes, in a critical section of the only core.
unsafe impl Sync for Medium {}

#[unsafe(link_section = ".medium")]
static MEDIUM: Medium = Medium(UnsafeCell::new([0; PAGE_FILE_BYTES + SLOTS * SLOT_BYTES]));

/// What the chip knows besides its bytes.
struct Chip {
    /// The files' lengths, the page file last; `None` where a file doesn't exist.
    lengths: [Option<usize>; SLOTS + 1],
    /// Changes since the power came.
    changes: u32,
    /// The change during which the power goes; 0 for none.
    cut_at: u32,
    has_power: bool,
    /// Calls that broke the rules of the chip or the contract.
    violations: u32,
}

struct Place(UnsafeCell<Chip>);

// SAFETY: only `with` uses the chip, in a critical section of the only core.
unsafe impl Sync for Place {}

static CHIP: Place = Place(UnsafeCell::new(Chip {
    lengths: [None; SLOTS + 1],
    changes: 0,
    cut_at: 0,
    has_power: true,
    violations: 0,
}));

fn with<T>(action: impl FnOnce(&mut Chip, &mut [u8]) -> T) -> T {
    critical_section::with(|_| {
        // SAFETY: no interrupt comes in a critical section of the only core, and no
        // action calls `with` again, so that this is the only reference.
        let chip = unsafe { &mut *CHIP.0.get() };
        // SAFETY: as above.
        let bytes = unsafe { &mut *MEDIUM.0.get() };
        action(chip, bytes)
    })
}

/// Erases the whole chip: it has no file then.
pub fn erase_all() {
    with(|chip, bytes| {
        bytes.fill(ERASED);
        chip.lengths = [None; SLOTS + 1];
    });
}

/// Cuts the power during change number `change` from now, counted from 1.
pub fn cut_during(change: u32) {
    with(|chip, _| {
        chip.changes = 0;
        chip.cut_at = change;
    });
}

/// Puts the power back on, as a reset does. Answers whether it was gone.
pub fn power_on() -> bool {
    with(|chip, _| {
        chip.cut_at = 0;
        !core::mem::replace(&mut chip.has_power, true)
    })
}

/// How often the engine broke the rules of the chip.
pub fn violations() -> u32 {
    with(|chip, _| chip.violations)
}

/// What a change may still do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    Whole,
    Half,
}

impl Chip {
    fn check_power(&self) -> Result<(), IoError> {
        if self.has_power {
            Ok(())
        } else {
            Err(IoError::of(IoErrorKind::Device))
        }
    }

    /// Counts a change; the one that the power goes in is done by half.
    fn change(&mut self) -> Result<Extent, IoError> {
        self.check_power()?;
        self.changes = self.changes.wrapping_add(1);
        if self.cut_at == 0 || self.changes < self.cut_at {
            return Ok(Extent::Whole);
        }
        self.has_power = false;
        Ok(Extent::Half)
    }

    fn violation(&mut self) -> IoError {
        self.violations = self.violations.saturating_add(1);
        IoError::of(IoErrorKind::InvalidInput)
    }

    fn length(&mut self, file: File) -> Result<&mut Option<usize>, IoError> {
        self.lengths
            .get_mut(index_of(file))
            .ok_or(IoError::of(IoErrorKind::StorageFull))
    }
}

fn index_of(file: File) -> usize {
    match file {
        File::Pages => SLOTS,
        File::Log(slot) => (slot as usize).min(SLOTS + 1),
    }
}

fn room_of(file: File) -> (usize, usize) {
    match file {
        File::Pages => (0, PAGE_FILE_BYTES),
        File::Log(slot) => (PAGE_FILE_BYTES + slot as usize * SLOT_BYTES, SLOT_BYTES),
    }
}

/// The bytes of a range of a file, wherever its end is.
fn range(bytes: &mut [u8], file: File, offset: u64, length: usize) -> Option<&mut [u8]> {
    let (start, room) = room_of(file);
    let offset = usize::try_from(offset).ok()?;
    if offset.checked_add(length)? > room {
        return None;
    }
    bytes.get_mut(start + offset..)?.get_mut(..length)
}

/// The power went during a change that is half done.
fn after(extent: Extent) -> Result<(), IoError> {
    match extent {
        Extent::Whole => Ok(()),
        Extent::Half => Err(IoError::of(IoErrorKind::Device)),
    }
}

/// The chip as the engine's storage.
pub struct Flash;

impl Storage for Flash {
    fn geometry(&self) -> Geometry {
        Geometry {
            write_block_bytes: GRANULE_BYTES as u32,
            erase_block_bytes: BLOCK_BYTES as u32,
            erased_byte: ERASED,
            erase_before_write: true,
            page_file_bytes_max: PAGE_FILE_BYTES as u64,
            log_slots_max: SLOTS as u32,
            can_punch_hole: false,
            can_truncate: false,
        }
    }

    fn log_slots(&self) -> Result<u32, IoError> {
        with(|chip, _| {
            chip.check_power()?;
            let slots = chip.lengths.iter().take(SLOTS);
            Ok(slots
                .zip(1..)
                .filter(|(length, _)| length.is_some())
                .map(|(_, count)| count)
                .last()
                .unwrap_or(0))
        })
    }

    fn length(&self, file: File) -> Result<Option<u64>, IoError> {
        with(|chip, _| {
            chip.check_power()?;
            Ok(chip.length(file)?.map(|length| length as u64))
        })
    }

    fn create(&self, file: File) -> Result<(), IoError> {
        with(|chip, _| {
            let extent = chip.change()?;
            let length = chip.length(file)?;
            if length.is_some() {
                return Err(IoError::of(IoErrorKind::AlreadyExists));
            }
            *length = Some(0);
            after(extent)
        })
    }

    fn remove(&self, file: File) -> Result<(), IoError> {
        with(|chip, bytes| {
            let extent = chip.change()?;
            if chip.length(file)?.take().is_none() {
                return Err(IoError::of(IoErrorKind::NotFound));
            }
            let (_, room) = room_of(file);
            if let Some(range) = range(bytes, file, 0, room) {
                range.fill(ERASED);
            }
            after(extent)
        })
    }

    fn set_length(&self, file: File, bytes: u64) -> Result<(), IoError> {
        with(|chip, _| {
            let extent = chip.change()?;
            let (_, room) = room_of(file);
            let after_bytes = usize::try_from(bytes)
                .ok()
                .filter(|after_bytes| *after_bytes <= room)
                .ok_or(IoError::of(IoErrorKind::StorageFull))?;
            match chip.length(file)? {
                Some(before) if *before <= after_bytes => *before = after_bytes,
                Some(_) => return Err(IoError::of(IoErrorKind::Unsupported)),
                None => return Err(IoError::of(IoErrorKind::NotFound)),
            }
            after(extent)
        })
    }

    fn read(&self, file: File, offset: u64, buffer: &mut [u8]) -> Result<(), IoError> {
        with(|chip, bytes| {
            chip.check_power()?;
            let length = chip
                .length(file)?
                .ok_or(IoError::of(IoErrorKind::NotFound))?;
            if offset.saturating_add(buffer.len() as u64) > length as u64 {
                return Err(IoError::of(IoErrorKind::UnexpectedEnd));
            }
            let from = range(bytes, file, offset, buffer.len())
                .ok_or(IoError::of(IoErrorKind::UnexpectedEnd))?;
            for (to, from) in buffer.iter_mut().zip(from.iter()) {
                *to = *from;
            }
            Ok(())
        })
    }

    fn write(&self, file: File, offset: u64, bytes: &[u8]) -> Result<(), IoError> {
        with(|chip, medium| {
            let extent = chip.change()?;
            let is_aligned = offset.is_multiple_of(GRANULE_BYTES as u64)
                && bytes.len().is_multiple_of(GRANULE_BYTES);
            let length = chip
                .length(file)?
                .ok_or(IoError::of(IoErrorKind::NotFound))?;
            if !is_aligned || offset > length as u64 {
                return Err(chip.violation());
            }
            let to = range(medium, file, offset, bytes.len())
                .ok_or(IoError::of(IoErrorKind::StorageFull))?;
            if to.iter().any(|byte| *byte != ERASED) {
                return Err(chip.violation());
            }
            let granules = match extent {
                Extent::Whole => usize::MAX,
                Extent::Half => bytes.len() / GRANULE_BYTES / 2,
            };
            let done = bytes.len().min(granules.saturating_mul(GRANULE_BYTES));
            for (to, from) in to.iter_mut().zip(bytes).take(done) {
                *to = *from;
            }
            let end = (offset as usize).saturating_add(done);
            *chip.length(file)? = Some(length.max(end));
            after(extent)
        })
    }

    fn sync(&self, _: File) -> Result<(), IoError> {
        with(|chip, _| chip.check_power())
    }

    fn sync_directory(&self) -> Result<(), IoError> {
        with(|chip, _| chip.check_power())
    }

    fn erase(&self, file: File, offset: u64, bytes: u64) -> Result<(), IoError> {
        with(|chip, medium| {
            let extent = chip.change()?;
            let is_aligned = offset.is_multiple_of(BLOCK_BYTES as u64)
                && bytes.is_multiple_of(BLOCK_BYTES as u64);
            if !is_aligned {
                return Err(chip.violation());
            }
            let length = chip
                .length(file)?
                .ok_or(IoError::of(IoErrorKind::NotFound))?;
            let range = range(medium, file, offset, bytes as usize)
                .ok_or(IoError::of(IoErrorKind::StorageFull))?;
            let done = match extent {
                Extent::Whole => bytes as usize,
                Extent::Half => bytes as usize / BLOCK_BYTES / 2 * BLOCK_BYTES,
            };
            for byte in range.iter_mut().take(done) {
                *byte = ERASED;
            }
            let end = (offset as usize).saturating_add(done);
            *chip.length(file)? = Some(length.max(end));
            after(extent)
        })
    }

    fn punch_hole(&self, _: File, _: u64, _: u64) -> Result<(), IoError> {
        Err(IoError::of(IoErrorKind::Unsupported))
    }
}
