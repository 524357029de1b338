//! The parser of the Redis protocol, in pieces and at once, beside another's.
//!
//! The input's first bytes say where it is cut. Both readings must find the same commands
//! and end with the same error; where the whole is frames of the strict kind, the
//! parser of the crate `redis-protocol` must find the same arguments.

use lightning_admin_server::protocol::{ProtocolError, RequestLimits, RequestParser};
use redis_protocol::resp2::decode::decode;
use redis_protocol::resp2::types::OwnedFrame;

/// What was read, and how it ended.
type Reading = (Vec<Vec<Vec<u8>>>, Option<ProtocolError>);

/// Parses `data` behind its first two bytes.
pub fn run(data: &[u8]) {
    let [cut, flags, data @ ..] = data else {
        return;
    };
    let limits = RequestLimits {
        argument_bytes_max: 1 << (flags & 31),
        is_authenticated: flags & 32 == 0,
    };
    let whole = read(data, data.len().max(1), limits);
    let pieces = read(data, usize::from(*cut) + 1, limits);
    assert_eq!(whole, pieces, "in pieces it is something else");
    compare(data, &whole, limits);
}

fn read(data: &[u8], piece_bytes: usize, limits: RequestLimits) -> Reading {
    let mut parser = RequestParser::default();
    let mut buffer = Vec::new();
    let mut commands = Vec::new();
    for piece in data.chunks(piece_bytes) {
        buffer.extend_from_slice(piece);
        loop {
            let outcome = parser.parse(&mut buffer, limits);
            let count = parser.commands();
            for index in 0..count {
                let arguments = parser.arguments(&buffer, index);
                assert!(!arguments.is_empty());
                commands.push(arguments.from(0).map(<[u8]>::to_vec).collect());
            }
            if let Err(error) = outcome {
                return (commands, Some(error));
            }
            let cut = parser.consume();
            buffer.drain(..cut);
            if count == 0 {
                break;
            }
        }
    }
    (commands, None)
}

/// The commands of an input that is nothing but arrays of bulk strings.
fn strict(mut data: &[u8]) -> Option<Vec<Vec<Vec<u8>>>> {
    let mut commands = Vec::new();
    while !data.is_empty() {
        if data[0] != b'*' {
            return None;
        }
        let (frame, length) = decode(data).ok()??;
        let OwnedFrame::Array(parts) = frame else {
            return None;
        };
        let arguments: Option<Vec<_>> = parts
            .into_iter()
            .map(|part| match part {
                OwnedFrame::BulkString(bytes) => Some(bytes),
                _ => None,
            })
            .collect();
        commands.push(arguments?);
        data = &data[length..];
    }
    commands.retain(|arguments| !arguments.is_empty());
    Some(commands)
}

fn compare(data: &[u8], whole: &Reading, limits: RequestLimits) {
    let Some(expected) = strict(data) else {
        return;
    };
    let is_within = |arguments: &Vec<Vec<u8>>| {
        arguments
            .iter()
            .all(|argument| argument.len() as u64 <= limits.argument_bytes_max)
            && (limits.is_authenticated
                || arguments.len() <= 10 && arguments.iter().all(|one| one.len() <= 16 << 10))
    };
    let (commands, error) = whole;
    if error.is_none() {
        assert_eq!(commands, &expected, "another parser reads something else");
    } else if is_canonical(data) {
        assert!(
            !expected.iter().all(is_within),
            "{error:?}, but another parser reads it and it is within the limits"
        );
    }
}

/// Whether lengths are written as clients write them: digits without leading zeros or signs.
/// What follows an argument needn't be the end of a line, so that a length may stand anywhere.
fn is_canonical(data: &[u8]) -> bool {
    let is_other = |bytes: &[u8]| {
        matches!(
            bytes,
            [b'*' | b'$', b'+' | b'-', _] | [b'*' | b'$', b'0', b'0'..=b'9']
        )
    };
    !data.windows(3).any(is_other)
}
