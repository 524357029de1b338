//! Keys of two and three parts.

use super::{EncodeBuffer, Key, KeyPart, KeyPrefix};

impl<A: KeyPart, B: KeyPart> Key for (A, B) {
    type Given<'a> = (A::Given<'a>, B::Given<'a>);
    type Read<'a> = (A::ReadPart<'a>, B::ReadPart<'a>);

    fn encode_key<'b, 'k: 'b>(key: Self::Given<'k>, buffer: &'b mut EncodeBuffer) -> &'b [u8] {
        A::encode_part(key.0, buffer);
        B::encode_part(key.1, buffer);
        buffer.bytes()
    }

    fn read_key(bytes: &[u8]) -> Option<Self::Read<'_>> {
        let (a, rest) = A::split_part(bytes)?;
        let (b, rest) = B::split_part(rest)?;
        rest.is_empty().then_some((a, b))
    }
}

impl<A: KeyPart, B: KeyPart> KeyPrefix for (A, B) {
    type Prefix<'a> = A::Given<'a>;

    fn encode_prefix<'b, 'k: 'b>(
        prefix: Self::Prefix<'k>,
        buffer: &'b mut EncodeBuffer,
    ) -> &'b [u8] {
        A::encode_part(prefix, buffer);
        buffer.bytes()
    }
}

impl<A: KeyPart, B: KeyPart, C: KeyPart> Key for (A, B, C) {
    type Given<'a> = (A::Given<'a>, B::Given<'a>, C::Given<'a>);
    type Read<'a> = (A::ReadPart<'a>, B::ReadPart<'a>, C::ReadPart<'a>);

    fn encode_key<'b, 'k: 'b>(key: Self::Given<'k>, buffer: &'b mut EncodeBuffer) -> &'b [u8] {
        A::encode_part(key.0, buffer);
        B::encode_part(key.1, buffer);
        C::encode_part(key.2, buffer);
        buffer.bytes()
    }

    fn read_key(bytes: &[u8]) -> Option<Self::Read<'_>> {
        let (a, rest) = A::split_part(bytes)?;
        let (b, rest) = B::split_part(rest)?;
        let (c, rest) = C::split_part(rest)?;
        rest.is_empty().then_some((a, b, c))
    }
}

impl<A: KeyPart, B: KeyPart, C: KeyPart> KeyPrefix for (A, B, C) {
    type Prefix<'a> = A::Given<'a>;

    fn encode_prefix<'b, 'k: 'b>(
        prefix: Self::Prefix<'k>,
        buffer: &'b mut EncodeBuffer,
    ) -> &'b [u8] {
        A::encode_part(prefix, buffer);
        buffer.bytes()
    }
}
