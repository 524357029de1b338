//! Keys: encodings that keep the order.

use super::EncodeBuffer;
use std::borrow::Cow;

/// The escape of a zero byte within a part, and the end of a part.
const ESCAPED_ZERO: [u8; 2] = [0x00, 0xFF];
const PART_END: [u8; 2] = [0x00, 0x01];

/// A type that keys can have: its encoded bytes compare as its values do.
///
/// Implement it for a type of your own by passing on to one that has it:
///
/// ```
/// use lightning_db::{EncodeBuffer, Key};
///
/// #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
/// struct UserId(u64);
///
/// impl Key for UserId {
///     type Given<'a> = UserId;
///     type Read<'a> = UserId;
///
///     fn encode_key<'b, 'k: 'b>(key: UserId, buffer: &'b mut EncodeBuffer) -> &'b [u8] {
///         u64::encode_key(key.0, buffer)
///     }
///
///     fn read_key(bytes: &[u8]) -> Option<UserId> {
///         u64::read_key(bytes).map(UserId)
///     }
/// }
/// ```
pub trait Key {
    /// What a call takes as a key.
    type Given<'a>: Clone;
    /// What a key is read as.
    type Read<'a>;

    /// The bytes of `key`: its own, or those that were put into `buffer`, which
    /// is given empty.
    fn encode_key<'b, 'k: 'b>(key: Self::Given<'k>, buffer: &'b mut EncodeBuffer) -> &'b [u8];

    /// The key of `bytes`, or `None` where [`encode_key`](Self::encode_key) never makes
    /// these. MUST give the same answer each time.
    fn read_key(bytes: &[u8]) -> Option<Self::Read<'_>>;
}

/// A key that can be a part of a tuple: its encoding says where it ends.
pub trait KeyPart: Key {
    /// What a part is read as: borrowed where it stands as it is.
    type ReadPart<'a>;

    /// Appends the bytes of `part` to `buffer`.
    fn encode_part(part: Self::Given<'_>, buffer: &mut EncodeBuffer);

    /// The part that `bytes` begin with, and the bytes after it.
    fn split_part(bytes: &[u8]) -> Option<(Self::ReadPart<'_>, &[u8])>;
}

/// A key with beginnings to search by: text and bytes by their first bytes, a
/// tuple by its first part.
pub trait KeyPrefix: Key {
    /// What a call takes as a beginning.
    type Prefix<'a>;

    /// The bytes that all keys with this beginning begin with.
    fn encode_prefix<'b, 'k: 'b>(
        prefix: Self::Prefix<'k>,
        buffer: &'b mut EncodeBuffer,
    ) -> &'b [u8];
}

macro_rules! integer_keys {
    ($($integer:ty, $flip:expr;)*) => {$(
        impl Key for $integer {
            type Given<'a> = $integer;
            type Read<'a> = $integer;

            fn encode_key<'b, 'k: 'b>(key: $integer, buffer: &'b mut EncodeBuffer) -> &'b [u8] {
                buffer.filled_with(&(key ^ $flip).to_be_bytes())
            }

            fn read_key(bytes: &[u8]) -> Option<$integer> {
                Some(<$integer>::from_be_bytes(bytes.try_into().ok()?) ^ $flip)
            }
        }

        impl KeyPart for $integer {
            type ReadPart<'a> = $integer;

            fn encode_part(part: $integer, buffer: &mut EncodeBuffer) {
                buffer.extend(&(part ^ $flip).to_be_bytes());
            }

            fn split_part(bytes: &[u8]) -> Option<($integer, &[u8])> {
                let (part, rest) = bytes.split_first_chunk()?;
                Some((<$integer>::from_be_bytes(*part) ^ $flip, rest))
            }
        }
    )*};
}

integer_keys! {
    u8, 0;
    u16, 0;
    u32, 0;
    u64, 0;
    u128, 0;
    i8, i8::MIN;
    i16, i16::MIN;
    i32, i32::MIN;
    i64, i64::MIN;
    i128, i128::MIN;
}

impl Key for bool {
    type Given<'a> = bool;
    type Read<'a> = bool;

    fn encode_key<'b, 'k: 'b>(key: bool, buffer: &'b mut EncodeBuffer) -> &'b [u8] {
        buffer.filled_with(&[u8::from(key)])
    }

    fn read_key(bytes: &[u8]) -> Option<bool> {
        match bytes {
            [key @ (0 | 1)] => Some(*key == 1),
            _ => None,
        }
    }
}

impl KeyPart for bool {
    type ReadPart<'a> = bool;

    fn encode_part(part: bool, buffer: &mut EncodeBuffer) {
        buffer.extend(&[u8::from(part)]);
    }

    fn split_part(bytes: &[u8]) -> Option<(bool, &[u8])> {
        match bytes {
            [part @ (0 | 1), rest @ ..] => Some((*part == 1, rest)),
            _ => None,
        }
    }
}

impl<const N: usize> Key for [u8; N] {
    type Given<'a> = [u8; N];
    type Read<'a> = [u8; N];

    fn encode_key<'b, 'k: 'b>(key: [u8; N], buffer: &'b mut EncodeBuffer) -> &'b [u8] {
        buffer.filled_with(&key)
    }

    fn read_key(bytes: &[u8]) -> Option<[u8; N]> {
        bytes.try_into().ok()
    }
}

impl<const N: usize> KeyPart for [u8; N] {
    type ReadPart<'a> = [u8; N];

    fn encode_part(part: [u8; N], buffer: &mut EncodeBuffer) {
        buffer.extend(&part);
    }

    fn split_part(bytes: &[u8]) -> Option<([u8; N], &[u8])> {
        let (part, rest) = bytes.split_first_chunk()?;
        Some((*part, rest))
    }
}

impl Key for &[u8] {
    type Given<'a> = &'a [u8];
    type Read<'a> = &'a [u8];

    fn encode_key<'b, 'k: 'b>(key: &'k [u8], _buffer: &'b mut EncodeBuffer) -> &'b [u8] {
        key
    }

    fn read_key(bytes: &[u8]) -> Option<&[u8]> {
        Some(bytes)
    }
}

impl KeyPart for &[u8] {
    type ReadPart<'a> = Cow<'a, [u8]>;

    fn encode_part(part: &[u8], buffer: &mut EncodeBuffer) {
        for (index, piece) in part.split(|byte| *byte == 0).enumerate() {
            if index > 0 {
                buffer.extend(&ESCAPED_ZERO);
            }
            buffer.extend(piece);
        }
        buffer.extend(&PART_END);
    }

    fn split_part(bytes: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
        let mut unescaped: Option<Vec<u8>> = None;
        let mut from = 0;
        loop {
            let zero = from + bytes.get(from..)?.iter().position(|byte| *byte == 0)?;
            let piece = bytes.get(from..zero)?;
            let rest = bytes.get(zero + 2..)?;
            match *bytes.get(zero + 1)? {
                0x01 => {
                    let part = match unescaped {
                        None => Cow::Borrowed(piece),
                        Some(mut part) => {
                            part.extend_from_slice(piece);
                            Cow::Owned(part)
                        }
                    };
                    return Some((part, rest));
                }
                0xFF => {
                    let part = unescaped.get_or_insert_default();
                    part.extend_from_slice(piece);
                    part.push(0);
                    from = zero + 2;
                }
                _ => return None,
            }
        }
    }
}

impl KeyPrefix for &[u8] {
    type Prefix<'a> = &'a [u8];

    fn encode_prefix<'b, 'k: 'b>(prefix: &'k [u8], _buffer: &'b mut EncodeBuffer) -> &'b [u8] {
        prefix
    }
}

impl Key for &str {
    type Given<'a> = &'a str;
    type Read<'a> = &'a str;

    fn encode_key<'b, 'k: 'b>(key: &'k str, _buffer: &'b mut EncodeBuffer) -> &'b [u8] {
        key.as_bytes()
    }

    fn read_key(bytes: &[u8]) -> Option<&str> {
        std::str::from_utf8(bytes).ok()
    }
}

impl KeyPart for &str {
    type ReadPart<'a> = Cow<'a, str>;

    fn encode_part(part: &str, buffer: &mut EncodeBuffer) {
        <&[u8]>::encode_part(part.as_bytes(), buffer);
    }

    fn split_part(bytes: &[u8]) -> Option<(Cow<'_, str>, &[u8])> {
        let (part, rest) = <&[u8]>::split_part(bytes)?;
        let part = match part {
            Cow::Borrowed(part) => Cow::Borrowed(std::str::from_utf8(part).ok()?),
            Cow::Owned(part) => Cow::Owned(String::from_utf8(part).ok()?),
        };
        Some((part, rest))
    }
}

impl KeyPrefix for &str {
    type Prefix<'a> = &'a str;

    fn encode_prefix<'b, 'k: 'b>(prefix: &'k str, _buffer: &'b mut EncodeBuffer) -> &'b [u8] {
        prefix.as_bytes()
    }
}
