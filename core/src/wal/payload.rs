//! Where a frame's payload comes from and where it goes, piece by piece: so that
//! no copy of it is needed, and a frame may be larger than any buffer.

use super::reader::Replay;
use crate::error::{Error, Result};
use crate::format::checksum::Checksum;
use crate::format::frame::{FRAME_HEADER_BYTES, RecordIn};

/// What takes a frame's payload, piece by piece.
pub(super) trait Sink {
    fn take(&mut self, bytes: &[u8]) -> Result<()>;
}

/// What gives a frame's payload: the same bytes each time it is asked.
pub(super) trait Payload {
    fn feed(&mut self, sink: &mut impl Sink) -> Result<()>;
}

/// The records of a commit.
pub(super) struct Records<I>(pub I);

impl<'a, I: Iterator<Item = RecordIn<'a>> + Clone> Payload for Records<I> {
    fn feed(&mut self, sink: &mut impl Sink) -> Result<()> {
        self.0
            .clone()
            .try_for_each(|record| record.encode(|bytes| sink.take(bytes)))
    }
}

/// A payload in one piece.
pub(super) struct Bytes<'a>(pub &'a [u8]);

impl Payload for Bytes<'_> {
    fn feed(&mut self, sink: &mut impl Sink) -> Result<()> {
        sink.take(self.0)
    }
}

/// The payload of the commit that a replay stands at.
pub(super) struct Copied<'a, 'b>(pub &'a mut Replay<'b>);

impl Payload for Copied<'_, '_> {
    fn feed(&mut self, sink: &mut impl Sink) -> Result<()> {
        self.0.payload(|bytes| sink.take(bytes))
    }
}

/// Computes the check only.
pub(super) struct CheckSink {
    pub checksum: Checksum,
    pub state: u32,
}

impl Sink for CheckSink {
    fn take(&mut self, bytes: &[u8]) -> Result<()> {
        self.state = self.checksum.append(self.state, bytes);
        Ok(())
    }
}

/// Fills a part of the buffer.
pub(super) struct SliceSink<'a> {
    pub rest: &'a mut [u8],
}

impl Sink for SliceSink<'_> {
    fn take(&mut self, bytes: &[u8]) -> Result<()> {
        let rest = core::mem::take(&mut self.rest);
        let (part, rest) = rest
            .split_at_mut_checked(bytes.len())
            .ok_or(Error::Internal(62))?;
        part.copy_from_slice(bytes);
        self.rest = rest;
        Ok(())
    }
}

/// Bytes of the frame that a commit of `records` takes, without padding.
#[must_use]
pub fn frame_bytes<'a>(records: impl Iterator<Item = RecordIn<'a>>) -> u64 {
    records.fold(FRAME_HEADER_BYTES as u64, |sum, record| {
        sum.saturating_add(record.encoded_bytes())
    })
}
