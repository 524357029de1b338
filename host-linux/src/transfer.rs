//! Whole-or-error positional transfers.
//!
//! Every function loops over short transfers and interrupted calls until all
//! bytes are through. A transfer of no bytes ends it: for a read the file ends
//! there, for a write the kernel makes no progress. A batch goes through one
//! `preadv` or `pwritev` for each stretch of requests that follow one another
//! in the file; its vector stands on the stack, so that nothing is allocated.
//!
//! The loops are functions over the system call that they repeat, so that tests can have
//! it stop at any byte, be interrupted, and fail.

use crate::error::io_error;
use lightning_platform::{IoError, IoErrorKind, ReadRequest, WriteRequest};
use rustix::io::Errno;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::BorrowedFd;

/// Buffers of one vectored call: 2 KiB of stack, well below `IOV_MAX`.
const VECTOR_LENGTH: usize = 128;

/// The most that one call writes. The page cache takes folios as large as a call,
/// which is bad for later writes into them (see [`write_zeros_at`]) and for this one:
/// large folios come from memory that nobody used before, which the host of a virtual
/// machine has yet to provide. 350 MB took 60 to 480 ms in calls of 1 MiB, and 60 to
/// 150 ms in calls of 256 KiB, on ext4.
const WRITE_BYTES_MAX: usize = 256 * 1024;

/// Zeros to erase with, a piece at a time.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// Fills `buffer` from `offset`.
pub(crate) fn read_exact_at(
    file: BorrowedFd<'_>,
    offset: u64,
    buffer: &mut [u8],
) -> Result<(), IoError> {
    let position = readable_range(offset, buffer.len())?;
    fill(buffer, position, |rest, position| {
        rustix::io::pread(file, rest, position)
    })
}

fn fill(
    buffer: &mut [u8],
    mut position: u64,
    mut read: impl FnMut(&mut [u8], u64) -> Result<usize, Errno>,
) -> Result<(), IoError> {
    let mut rest = buffer;
    while !rest.is_empty() {
        match read(&mut *rest, position) {
            Ok(0) => return Err(IoError::of(IoErrorKind::UnexpectedEnd)),
            Ok(count) => {
                rest = rest.get_mut(count..).unwrap_or_default();
                position += count as u64;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(io_error(errno)),
        }
    }
    Ok(())
}

/// Stores `bytes` at `offset`.
pub(crate) fn write_all_at(file: BorrowedFd<'_>, offset: u64, bytes: &[u8]) -> Result<(), IoError> {
    let position = writable_range(offset, bytes.len() as u64)?;
    store(bytes, position, |piece, position| {
        rustix::io::pwrite(file, piece, position)
    })
}

fn store(
    bytes: &[u8],
    mut position: u64,
    mut write: impl FnMut(&[u8], u64) -> Result<usize, Errno>,
) -> Result<(), IoError> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let piece = rest.get(..WRITE_BYTES_MAX).unwrap_or(rest);
        match write(piece, position) {
            Ok(0) => return Err(IoError::of(IoErrorKind::Device)),
            Ok(count) => {
                rest = rest.get(count..).unwrap_or_default();
                position += count as u64;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(io_error(errno)),
        }
    }
    Ok(())
}

/// Fills the buffers of all requests.
pub(crate) fn read_batch(
    file: BorrowedFd<'_>,
    requests: &mut [ReadRequest<'_>],
) -> Result<(), IoError> {
    let mut rest = requests;
    while !rest.is_empty() {
        let count = stretch_length(
            rest.iter()
                .map(|request| (request.offset, request.buffer.len())),
        );
        let (stretch, tail) = rest.split_at_mut(count);
        match stretch {
            [single] => read_exact_at(file, single.offset, single.buffer)?,
            several => read_stretch(file, several)?,
        }
        rest = tail;
    }
    Ok(())
}

/// Stores the bytes of all requests.
pub(crate) fn write_batch(
    file: BorrowedFd<'_>,
    requests: &[WriteRequest<'_>],
) -> Result<(), IoError> {
    let mut rest = requests;
    while !rest.is_empty() {
        let count = stretch_length(
            rest.iter()
                .map(|request| (request.offset, request.bytes.len())),
        );
        let (stretch, tail) = rest.split_at(count);
        match stretch {
            [single] => write_all_at(file, single.offset, single.bytes)?,
            several => write_stretch(file, several)?,
        }
        rest = tail;
    }
    Ok(())
}

/// Writes zeros to a range, so that its blocks are allocated and initialised. In
/// short pieces: one long write makes the page cache take large folios, and every
/// later write of a block in one walks all of its buffers (3.1 us for 4 KiB after
/// pieces of 1 MiB, 1.4 to 2.5 us after 64 KiB, on ext4).
pub(crate) fn write_zeros_at(file: BorrowedFd<'_>, offset: u64, bytes: u64) -> Result<(), IoError> {
    let position = writable_range(offset, bytes)?;
    store_zeros(bytes, position, |piece, position| {
        rustix::io::pwrite(file, piece, position)
    })
}

fn store_zeros(
    bytes: u64,
    mut position: u64,
    mut write: impl FnMut(&[u8], u64) -> Result<usize, Errno>,
) -> Result<(), IoError> {
    let mut remaining = bytes;
    while remaining > 0 {
        let length = remaining.min(ZEROS.len() as u64) as usize;
        match write(ZEROS.get(..length).unwrap_or_default(), position) {
            Ok(0) => return Err(IoError::of(IoErrorKind::Device)),
            Ok(count) => {
                position += count as u64;
                remaining = remaining.saturating_sub(count as u64);
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(io_error(errno)),
        }
    }
    Ok(())
}

/// How many requests from the first on lie one behind the other, at least one
/// and at most [`VECTOR_LENGTH`].
pub(crate) fn stretch_length(mut ranges: impl Iterator<Item = (u64, usize)>) -> usize {
    let Some((offset, length)) = ranges.next() else {
        return 0;
    };
    let mut end = offset.checked_add(length as u64);
    let followers = ranges
        .take(VECTOR_LENGTH - 1)
        .take_while(|(offset, length)| {
            let follows = end == Some(*offset);
            end = offset.checked_add(*length as u64);
            follows
        });
    1 + followers.count()
}

fn read_stretch(file: BorrowedFd<'_>, requests: &mut [ReadRequest<'_>]) -> Result<(), IoError> {
    let offset = requests.first().map_or(0, |request| request.offset);
    let bytes = requests.iter().map(|request| request.buffer.len()).sum();
    readable_range(offset, bytes)?;
    fill_stretch(requests, |rest, position| {
        rustix::io::preadv(file, rest, position)
    })
}

fn fill_stretch(
    requests: &mut [ReadRequest<'_>],
    mut read: impl FnMut(&mut [IoSliceMut<'_>], u64) -> Result<usize, Errno>,
) -> Result<(), IoError> {
    let mut position = requests.first().map_or(0, |request| request.offset);
    let mut remaining: usize = requests.iter().map(|request| request.buffer.len()).sum();
    let mut vector: [IoSliceMut<'_>; VECTOR_LENGTH] =
        std::array::from_fn(|_| IoSliceMut::new(&mut []));
    let mut used = 0;
    for (slot, request) in vector.iter_mut().zip(requests) {
        *slot = IoSliceMut::new(request.buffer);
        used += 1;
    }
    let mut rest = vector.get_mut(..used).unwrap_or_default();
    while remaining > 0 {
        match read(&mut *rest, position) {
            Ok(0) => return Err(IoError::of(IoErrorKind::UnexpectedEnd)),
            Ok(count) => {
                // The kernel never transfers more than was asked for, which is
                // what `advance_slices` asserts.
                let count = count.min(remaining);
                IoSliceMut::advance_slices(&mut rest, count);
                position += count as u64;
                remaining -= count;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(io_error(errno)),
        }
    }
    Ok(())
}

fn write_stretch(file: BorrowedFd<'_>, requests: &[WriteRequest<'_>]) -> Result<(), IoError> {
    let offset = requests.first().map_or(0, |request| request.offset);
    let bytes: usize = requests.iter().map(|request| request.bytes.len()).sum();
    writable_range(offset, bytes as u64)?;
    store_stretch(requests, |rest, position| {
        rustix::io::pwritev(file, rest, position)
    })
}

fn store_stretch(
    requests: &[WriteRequest<'_>],
    mut write: impl FnMut(&[IoSlice<'_>], u64) -> Result<usize, Errno>,
) -> Result<(), IoError> {
    let mut position = requests.first().map_or(0, |request| request.offset);
    let mut remaining: usize = requests.iter().map(|request| request.bytes.len()).sum();
    let mut vector: [IoSlice<'_>; VECTOR_LENGTH] = std::array::from_fn(|_| IoSlice::new(&[]));
    let mut used = 0;
    for (slot, request) in vector.iter_mut().zip(requests) {
        *slot = IoSlice::new(request.bytes);
        used += 1;
    }
    let mut rest = vector.get_mut(..used).unwrap_or_default();
    while remaining > 0 {
        match write(rest, position) {
            Ok(0) => return Err(IoError::of(IoErrorKind::Device)),
            Ok(count) => {
                let count = count.min(remaining);
                IoSlice::advance_slices(&mut rest, count);
                position += count as u64;
                remaining -= count;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(io_error(errno)),
        }
    }
    Ok(())
}

/// `offset`, when the range can lie within a file at all. What passes the
/// largest offset of Linux passes the end of every file.
fn readable_range(offset: u64, bytes: usize) -> Result<u64, IoError> {
    match offset.checked_add(bytes as u64) {
        Some(end) if end <= i64::MAX as u64 => Ok(offset),
        _ => Err(IoError::of(IoErrorKind::UnexpectedEnd)),
    }
}

/// `offset`, when the range can lie within a file at all.
fn writable_range(offset: u64, bytes: u64) -> Result<u64, IoError> {
    match offset.checked_add(bytes) {
        Some(end) if end <= i64::MAX as u64 => Ok(offset),
        _ => Err(IoError::of(IoErrorKind::InvalidInput)),
    }
}

#[cfg(test)]
mod tests;
