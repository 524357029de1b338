//! Headers of segments, frames of commits, and the records in them.
//!
//! Whatever decodes must be what its own encoding says, and a record's span must be as
//! long as its bytes: recovery steps through a frame by spans alone.

use std::convert::Infallible;

use lightning_core::format::checksum::Checksum;
use lightning_core::format::frame::{
    Checkpoint, FRAME_HEADER_BYTES, FrameHeader, FrameSeed, RecordIn, RecordSpan,
};
use lightning_core::format::segment::{SEGMENT_HEADER_BYTES, SegmentFound, SegmentHeader};

/// Reads `data` as a segment's header, a frame's header, and records.
pub fn run(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else {
        return;
    };
    // Of an attacker who knows the checksum, and of one who doesn't.
    let checksum = if kind & 4 == 0 {
        Checksum::new(Some(|_, _| 0))
    } else {
        Checksum::default()
    };
    match kind % 4 {
        0 => segment(data, checksum),
        1 => frame(data, checksum),
        _ => records(data),
    }
}

fn segment(data: &[u8], checksum: Checksum) {
    if let SegmentFound::Valid(header) = SegmentHeader::decode(data, checksum) {
        let bytes = header.encode(checksum);
        assert_eq!(bytes.len(), SEGMENT_HEADER_BYTES);
        assert_eq!(
            SegmentHeader::decode(&bytes, checksum),
            SegmentFound::Valid(header)
        );
    }
}

fn frame(data: &[u8], checksum: Checksum) {
    let seed = FrameSeed::new(checksum, &[7; 16], 3);
    for offset in [0, 512, u64::MAX] {
        if let Some(header) = FrameHeader::decode(data, &seed, offset) {
            assert!(header.payload_bytes() <= u64::from(u32::MAX));
            let (mut bytes, _) = header.encode(&seed, offset);
            bytes[..4].copy_from_slice(&header.check.to_le_bytes());
            assert_eq!(bytes.len(), FRAME_HEADER_BYTES);
            assert_eq!(FrameHeader::decode(&bytes, &seed, offset), Some(header));
        }
    }
    if let Some(checkpoint) = Checkpoint::decode(data) {
        assert_eq!(Checkpoint::decode(&checkpoint.encode()), Some(checkpoint));
    }
}

fn records(mut data: &[u8]) {
    loop {
        let span = RecordIn::span(data);
        let Some((record, length)) = RecordIn::decode(data) else {
            assert!(
                !matches!(span, RecordSpan::Whole(_)),
                "a span of a record that can't be decoded"
            );
            return;
        };
        assert_eq!(span, RecordSpan::Whole(length));
        // A prefix of it is never taken for the whole.
        assert!(!matches!(
            RecordIn::span(&data[..length - 1]),
            RecordSpan::Whole(_)
        ));
        let mut bytes = Vec::new();
        let Ok(()) = record.encode(|piece| {
            bytes.extend_from_slice(piece);
            Ok::<_, Infallible>(())
        });
        assert_eq!(bytes.len() as u64, record.encoded_bytes());
        assert_eq!(RecordIn::decode(&bytes), Some((record, bytes.len())));
        if length == 0 {
            panic!("a record of no bytes would be read for ever");
        }
        data = &data[length..];
    }
}
