//! Frames of the log and the records in them (FORMAT.md 4.2).
//!
//! A frame has two checks: that of its header alone, so that length, sequence
//! and durable sequence can be believed before anything else is read (a damaged
//! length leads nowhere, and looking for later frames costs one small check for
//! each block), and that of the whole frame. Both are seeded with instance,
//! segment number and offset: a frame of another life of the slot, or one that
//! was moved, doesn't verify.
//!
//! A frame doesn't start in the last 7 bytes of a write block: so its length
//! field lies in the block it starts in, and *zero length* can't be confused
//! with padding that a new flush follows.

use super::bytes::{get_u8, get_u32, get_u64, get_varint, put, put_varint, varint_bytes};
use super::checksum::Checksum;
use super::extent::ExtentRef;
use crate::limits::COUNT_MAX;

/// Bytes of a frame's header.
pub const FRAME_HEADER_BYTES: usize = 56;
/// Bytes of a checkpoint's payload.
pub const CHECKPOINT_BYTES: usize = 16;
/// The fewest bytes of a write block that a frame starts in.
pub const FRAME_START_BYTES_MIN: u64 = 8;

const FLAG_EXPIRY: u8 = 1;
const FLAG_METADATA: u8 = 2;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// The writes of one commit.
    Commit = 1,
    /// Nothing but its header, to state what is durable.
    Mark = 2,
    /// Names a durable superblock.
    Checkpoint = 3,
    /// A commit whose writes stand in a run.
    Ingest = 4,
}

impl FrameKind {
    fn of(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Commit,
            2 => Self::Mark,
            3 => Self::Checkpoint,
            4 => Self::Ingest,
            _ => return None,
        })
    }

    /// Whether the frame's sequence is its own, and not that of the last commit.
    #[must_use]
    pub fn has_own_sequence(self) -> bool {
        matches!(self, Self::Commit | Self::Ingest)
    }
}

/// Where a frame stands, as the state that its checks begin with.
#[derive(Clone, Copy)]
pub struct FrameSeed {
    checksum: Checksum,
    segment: u32,
}

impl FrameSeed {
    /// The seed of all frames of segment `number` of an instance.
    #[must_use]
    pub fn new(checksum: Checksum, instance_id: &[u8; 16], number: u64) -> Self {
        Self {
            checksum,
            segment: checksum.append(checksum.of(instance_id), &number.to_le_bytes()),
        }
    }

    /// The state for a frame at `offset`.
    #[must_use]
    pub fn at(&self, offset: u64) -> u32 {
        self.checksum.append(self.segment, &offset.to_le_bytes())
    }

    /// The checksum that the seed was made with.
    #[must_use]
    pub fn checksum(&self) -> Checksum {
        self.checksum
    }
}

/// The header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// The CRC of the whole frame.
    pub check: u32,
    /// Bytes of the frame, header included.
    pub bytes: u32,
    /// What it is.
    pub kind: FrameKind,
    /// The check of the frame before it in its segment, or 0.
    pub predecessor: u32,
    /// The commit's own, or the last one appended.
    pub sequence: u64,
    /// What was durable when the frame was written.
    pub durable_sequence: u64,
    /// Milliseconds since 1970.
    pub wall_time_ms: u64,
    /// Where the commit came from.
    pub origin: u32,
    /// Which key encrypted what it refers to.
    pub key_id: u32,
    /// Records in the payload.
    pub records: u32,
}

impl FrameHeader {
    /// The header's bytes for a frame at `offset`, and the state of the whole
    /// frame's check after them: continue it over the payload, and put the
    /// result into the first 4 bytes.
    #[must_use]
    pub fn encode(&self, seed: &FrameSeed, offset: u64) -> ([u8; FRAME_HEADER_BYTES], u32) {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        put(&mut bytes, 4, &self.bytes.to_le_bytes());
        put(&mut bytes, 8, &[self.kind as u8]);
        for (offset, number) in [
            (12, self.predecessor),
            (40, self.origin),
            (44, self.key_id),
            (48, self.records),
        ] {
            put(&mut bytes, offset, &number.to_le_bytes());
        }
        for (offset, number) in [
            (16, self.sequence),
            (24, self.durable_sequence),
            (32, self.wall_time_ms),
        ] {
            put(&mut bytes, offset, &number.to_le_bytes());
        }
        let checked = bytes.get(4..52).unwrap_or(&[]);
        let header_check = seed.checksum.append(seed.at(offset), checked);
        put(&mut bytes, 52, &header_check.to_le_bytes());
        let checked = bytes.get(4..).unwrap_or(&[]);
        (bytes, seed.checksum.append(seed.at(offset), checked))
    }

    /// The header of a frame that stands at `offset` of the seed's segment and
    /// begins with `bytes`, or `None` where none does. The length is plausible
    /// for the kind, but may pass the segment's end.
    #[must_use]
    pub fn decode(bytes: &[u8], seed: &FrameSeed, offset: u64) -> Option<Self> {
        let bytes = bytes.first_chunk::<FRAME_HEADER_BYTES>()?.as_slice();
        let length = get_u32(bytes, 4);
        let kind = FrameKind::of(get_u8(bytes, 8))?;
        let header_bytes = FRAME_HEADER_BYTES as u32;
        let fits_kind = match kind {
            FrameKind::Commit | FrameKind::Ingest => length >= header_bytes,
            FrameKind::Mark => length == header_bytes,
            FrameKind::Checkpoint => length == header_bytes + CHECKPOINT_BYTES as u32,
        };
        if !fits_kind {
            return None;
        }
        let expected = seed.checksum.append(seed.at(offset), bytes.get(4..52)?);
        if get_u32(bytes, 52) != expected {
            return None;
        }
        let (sequence, durable_sequence) = (get_u64(bytes, 16), get_u64(bytes, 24));
        if sequence.max(durable_sequence) > COUNT_MAX {
            return None;
        }
        Some(Self {
            check: get_u32(bytes, 0),
            bytes: length,
            kind,
            predecessor: get_u32(bytes, 12),
            sequence,
            durable_sequence,
            wall_time_ms: get_u64(bytes, 32),
            origin: get_u32(bytes, 40),
            key_id: get_u32(bytes, 44),
            records: get_u32(bytes, 48),
        })
    }

    /// Bytes of the payload.
    #[must_use]
    pub fn payload_bytes(&self) -> u64 {
        u64::from(self.bytes).saturating_sub(FRAME_HEADER_BYTES as u64)
    }
}

/// What a checkpoint names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Checkpoint {
    /// The generation of a superblock that was durable before.
    pub generation: u64,
    /// What that superblock's trees and runs hold.
    pub merged_sequence: u64,
}

impl Checkpoint {
    /// The payload's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; CHECKPOINT_BYTES] {
        let mut bytes = [0; CHECKPOINT_BYTES];
        put(&mut bytes, 0, &self.generation.to_le_bytes());
        put(&mut bytes, 8, &self.merged_sequence.to_le_bytes());
        bytes
    }

    /// The checkpoint of a payload.
    #[must_use]
    pub fn decode(payload: &[u8]) -> Option<Self> {
        payload.first_chunk::<CHECKPOINT_BYTES>().map(|bytes| Self {
            generation: get_u64(bytes, 0),
            merged_sequence: get_u64(bytes, 8),
        })
    }
}

/// What a record does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKind {
    /// Sets a key's value.
    Put = 1,
    /// Removes a key.
    Delete = 2,
    /// Removes the keys from the key to the value (exclusive), or to the table's end.
    RangeDelete = 3,
    /// Sets a key's value, which is stored in an extent that the value refers to.
    Extent = 4,
}

/// One record of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordIn<'a> {
    /// What it does.
    pub kind: RecordKind,
    /// The table's id.
    pub table: u32,
    /// The key.
    pub key: &'a [u8],
    /// When it expires, in milliseconds since 1970.
    pub expiry_ms: Option<u64>,
    /// The metadata byte.
    pub metadata: Option<u8>,
    /// The value, by kind.
    pub value: &'a [u8],
}

/// How far the bytes at the front of a buffer are a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordSpan {
    /// The record takes this many bytes, and they are there.
    Whole(usize),
    /// More bytes are needed to tell, or to hold it.
    Short,
    /// No record begins like this.
    Malformed,
}

struct Layout {
    kind: RecordKind,
    table: u32,
    key: (usize, usize),
    expiry: Option<usize>,
    metadata: Option<usize>,
    value: (usize, usize),
}

impl<'a> RecordIn<'a> {
    /// Bytes that the record takes in a frame.
    #[must_use]
    pub fn encoded_bytes(&self) -> u64 {
        let fixed = 2
            + varint_bytes(u64::from(self.table))
            + varint_bytes(self.key.len() as u64)
            + if self.expiry_ms.is_some() { 8 } else { 0 }
            + usize::from(self.metadata.is_some())
            + varint_bytes(self.value.len() as u64);
        (fixed as u64)
            .saturating_add(self.key.len() as u64)
            .saturating_add(self.value.len() as u64)
    }

    /// Gives the record's bytes to `sink`, piece by piece and in order.
    ///
    /// # Errors
    /// What `sink` answers.
    pub fn encode<E>(&self, mut sink: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let mut scratch = [0_u8; 24];
        let flags = if self.expiry_ms.is_some() {
            FLAG_EXPIRY
        } else {
            0
        } | if self.metadata.is_some() {
            FLAG_METADATA
        } else {
            0
        };
        put(&mut scratch, 0, &[self.kind as u8, flags]);
        let mut length = 2;
        length += put_varint(&mut scratch, length, u64::from(self.table));
        length += put_varint(&mut scratch, length, self.key.len() as u64);
        sink(scratch.get(..length).unwrap_or(&[]))?;
        sink(self.key)?;
        length = 0;
        if let Some(expiry_ms) = self.expiry_ms {
            put(&mut scratch, length, &expiry_ms.to_le_bytes());
            length += 8;
        }
        if let Some(metadata) = self.metadata {
            put(&mut scratch, length, &[metadata]);
            length += 1;
        }
        length += put_varint(&mut scratch, length, self.value.len() as u64);
        sink(scratch.get(..length).unwrap_or(&[]))?;
        sink(self.value)
    }

    /// How many of `bytes` the record at their front takes.
    #[must_use]
    pub fn span(bytes: &[u8]) -> RecordSpan {
        match Layout::of(bytes) {
            Ok(layout) => RecordSpan::Whole(layout.value.1),
            Err(span) => span,
        }
    }

    /// The record at the front of `bytes`, and the bytes it takes; `None` where
    /// there is no whole record.
    #[must_use]
    pub fn decode(bytes: &'a [u8]) -> Option<(Self, usize)> {
        let layout = Layout::of(bytes).ok()?;
        let record = Self {
            kind: layout.kind,
            table: layout.table,
            key: bytes.get(layout.key.0..layout.key.1)?,
            expiry_ms: layout.expiry.map(|offset| get_u64(bytes, offset)),
            metadata: layout.metadata.map(|offset| get_u8(bytes, offset)),
            value: bytes.get(layout.value.0..layout.value.1)?,
        };
        Some((record, layout.value.1))
    }
}

/// The varint at `at`; short where its bytes aren't all there.
fn varint_at(bytes: &[u8], at: usize) -> Result<(u64, usize), RecordSpan> {
    match get_varint(bytes, at) {
        Some((number, length)) => Ok((number, at + length)),
        None => {
            let tail = bytes.get(at..).unwrap_or(&[]);
            let unfinished = tail.len() < 10 && tail.iter().all(|byte| byte & 0x80 != 0);
            Err(if unfinished {
                RecordSpan::Short
            } else {
                RecordSpan::Malformed
            })
        }
    }
}

impl Layout {
    fn of(bytes: &[u8]) -> Result<Self, RecordSpan> {
        let (&kind, &flags) = match bytes {
            [kind, flags, ..] => (kind, flags),
            _ => return Err(RecordSpan::Short),
        };
        let kind = match kind {
            1 => RecordKind::Put,
            2 => RecordKind::Delete,
            3 => RecordKind::RangeDelete,
            4 => RecordKind::Extent,
            _ => return Err(RecordSpan::Malformed),
        };
        if flags & !(FLAG_EXPIRY | FLAG_METADATA) != 0 {
            return Err(RecordSpan::Malformed);
        }
        let (table, at) = varint_at(bytes, 2)?;
        let table = u32::try_from(table).map_err(|_| RecordSpan::Malformed)?;
        let (key_bytes, key_start) = varint_at(bytes, at)?;
        let end_of = |start: usize, length: u64| {
            usize::try_from(length)
                .ok()
                .and_then(|length| start.checked_add(length))
                .filter(|end| *end <= isize::MAX as usize)
                .ok_or(RecordSpan::Malformed)
        };
        let key_end = end_of(key_start, key_bytes)?;
        let mut at = key_end;
        let mut expiry = None;
        if flags & FLAG_EXPIRY != 0 {
            expiry = Some(at);
            at += 8;
        }
        let mut metadata = None;
        if flags & FLAG_METADATA != 0 {
            metadata = Some(at);
            at += 1;
        }
        let (value_bytes, value_start) = varint_at(bytes, at)?;
        let value_end = end_of(value_start, value_bytes)?;
        if value_end > bytes.len() {
            return Err(RecordSpan::Short);
        }
        let is_reference = kind == RecordKind::Extent;
        let value = bytes.get(value_start..value_end).unwrap_or(&[]);
        if is_reference && ExtentRef::decode(value).is_none() {
            return Err(RecordSpan::Malformed);
        }
        Ok(Self {
            kind,
            table,
            key: (key_start, key_end),
            expiry,
            metadata,
            value: (value_start, value_end),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const REFERENCE: ExtentRef = ExtentRef {
        address: 9,
        length: 8,
        birth_generation: 7,
        crc: 6,
        writing: 5,
    };

    fn encoded(record: &RecordIn<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        let done: Result<(), ()> = record.encode(|piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        });
        done.unwrap();
        bytes
    }

    #[test]
    fn records_come_back_and_prefixes_are_short() {
        let long = [9_u8; 300];
        for kind in [
            RecordKind::Put,
            RecordKind::Delete,
            RecordKind::RangeDelete,
            RecordKind::Extent,
        ] {
            for expiry_ms in [None, Some(u64::MAX)] {
                for metadata in [None, Some(7)] {
                    for (key, value) in [(&b""[..], &b""[..]), (b"key", b"value"), (&long, &long)] {
                        let value = match kind {
                            RecordKind::Extent => &REFERENCE.encode(),
                            _ => value,
                        };
                        let record = RecordIn {
                            kind,
                            table: u32::MAX,
                            key,
                            expiry_ms,
                            metadata,
                            value,
                        };
                        let bytes = encoded(&record);
                        assert_eq!(bytes.len() as u64, record.encoded_bytes());
                        assert_eq!(RecordIn::decode(&bytes), Some((record, bytes.len())));
                        for cut in 0..bytes.len() {
                            assert_eq!(RecordIn::span(&bytes[..cut]), RecordSpan::Short);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn malformed_records_are_refused() {
        let huge = [
            1, 0, 1, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1, 0, 0,
        ];
        for bytes in [
            &[0, 0, 1][..],
            &[6, 0, 1],
            &[1, 4, 1],
            &[1, 0, 0x80, 0],
            &huge,
        ] {
            assert_eq!(RecordIn::span(bytes), RecordSpan::Malformed, "{bytes:?}");
        }
    }

    #[test]
    fn a_reference_that_is_none_is_refused() {
        let span = |value: &[u8]| {
            let record = RecordIn {
                kind: RecordKind::Extent,
                table: 16,
                key: b"key",
                expiry_ms: None,
                metadata: None,
                value,
            };
            let bytes = encoded(&record);
            assert_eq!(
                RecordIn::decode(&bytes).is_some(),
                value == REFERENCE.encode()
            );
            RecordIn::span(&bytes)
        };
        let reference = REFERENCE.encode();
        assert!(matches!(span(&reference), RecordSpan::Whole(_)));
        let nowhere = ExtentRef {
            address: 0,
            ..REFERENCE
        };
        for value in [&b""[..], &reference[1..], &nowhere.encode()] {
            assert_eq!(span(value), RecordSpan::Malformed, "{value:?}");
        }
    }

    #[test]
    fn a_header_verifies_only_where_it_was_written() {
        let checksum = Checksum::default();
        let seed = FrameSeed::new(checksum, &[3; 16], 9);
        let header = FrameHeader {
            check: 0,
            bytes: 60,
            kind: FrameKind::Commit,
            predecessor: 1,
            sequence: 2,
            durable_sequence: 3,
            wall_time_ms: 4,
            origin: 5,
            key_id: 6,
            records: 7,
        };
        let (bytes, _) = header.encode(&seed, 512);
        assert_eq!(FrameHeader::decode(&bytes, &seed, 512), Some(header));
        assert_eq!(FrameHeader::decode(&bytes, &seed, 1024), None);
        let other = FrameSeed::new(checksum, &[3; 16], 10);
        assert_eq!(FrameHeader::decode(&bytes, &other, 512), None);
        for bit in 32..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(FrameHeader::decode(&flipped, &seed, 512), None, "bit {bit}");
        }
    }
}
