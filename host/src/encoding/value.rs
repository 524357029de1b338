//! Values: any encoding.

use super::EncodeBuffer;

/// A type that values can have.
///
/// Implemented for bytes, text, numbers (little-endian), `bool`, arrays of bytes
/// and `()`. Implement it for a type of your own with whatever serialization you
/// like; see [`Key`](super::Key) for the pattern.
pub trait Value {
    /// What a call takes as a value.
    type Given<'a>;
    /// What a value is read as.
    type Read<'a>;

    /// The bytes of `value`: its own, or those that were put into `buffer`, which
    /// is given empty.
    fn encode_value<'b, 'v: 'b>(value: Self::Given<'v>, buffer: &'b mut EncodeBuffer) -> &'b [u8];

    /// The value of `bytes`, or `None` where [`encode_value`](Self::encode_value) never makes
    /// these. MUST give the same answer each time.
    fn read_value(bytes: &[u8]) -> Option<Self::Read<'_>>;
}

impl Value for &[u8] {
    type Given<'a> = &'a [u8];
    type Read<'a> = &'a [u8];

    fn encode_value<'b, 'v: 'b>(value: &'v [u8], _buffer: &'b mut EncodeBuffer) -> &'b [u8] {
        value
    }

    fn read_value(bytes: &[u8]) -> Option<&[u8]> {
        Some(bytes)
    }
}

impl Value for &str {
    type Given<'a> = &'a str;
    type Read<'a> = &'a str;

    fn encode_value<'b, 'v: 'b>(value: &'v str, _buffer: &'b mut EncodeBuffer) -> &'b [u8] {
        value.as_bytes()
    }

    fn read_value(bytes: &[u8]) -> Option<&str> {
        std::str::from_utf8(bytes).ok()
    }
}

impl<const N: usize> Value for [u8; N] {
    type Given<'a> = [u8; N];
    type Read<'a> = [u8; N];

    fn encode_value<'b, 'v: 'b>(value: [u8; N], buffer: &'b mut EncodeBuffer) -> &'b [u8] {
        buffer.filled_with(&value)
    }

    fn read_value(bytes: &[u8]) -> Option<[u8; N]> {
        bytes.try_into().ok()
    }
}

impl Value for () {
    type Given<'a> = ();
    type Read<'a> = ();

    fn encode_value<'b, 'v: 'b>((): (), _buffer: &'b mut EncodeBuffer) -> &'b [u8] {
        &[]
    }

    fn read_value(bytes: &[u8]) -> Option<()> {
        bytes.is_empty().then_some(())
    }
}

impl Value for bool {
    type Given<'a> = bool;
    type Read<'a> = bool;

    fn encode_value<'b, 'v: 'b>(value: bool, buffer: &'b mut EncodeBuffer) -> &'b [u8] {
        buffer.filled_with(&[u8::from(value)])
    }

    fn read_value(bytes: &[u8]) -> Option<bool> {
        match bytes {
            [value @ (0 | 1)] => Some(*value == 1),
            _ => None,
        }
    }
}

macro_rules! number_values {
    ($($number:ty)*) => {$(
        impl Value for $number {
            type Given<'a> = $number;
            type Read<'a> = $number;

            fn encode_value<'b, 'v: 'b>(value: $number, buffer: &'b mut EncodeBuffer) -> &'b [u8] {
                buffer.filled_with(&value.to_le_bytes())
            }

            fn read_value(bytes: &[u8]) -> Option<$number> {
                Some(<$number>::from_le_bytes(bytes.try_into().ok()?))
            }
        }
    )*};
}

number_values!(u8 u16 u32 u64 u128 i8 i16 i32 i64 i128 f32 f64);
