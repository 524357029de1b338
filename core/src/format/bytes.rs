//! Little-endian numbers and varints at offsets, without a panicking path.
//!
//! The getters answer 0 past the end: callers check lengths once and rely on it.

/// The byte at `offset`, or 0 past the end.
#[inline]
#[must_use]
pub fn get_u8(bytes: &[u8], offset: usize) -> u8 {
    bytes.get(offset).copied().unwrap_or(0)
}

#[inline]
fn array<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    bytes
        .get(offset..)
        .and_then(|tail| tail.first_chunk::<N>())
        .copied()
        .unwrap_or([0; N])
}

/// The 2-byte number at `offset`, or 0 past the end.
#[inline]
#[must_use]
pub fn get_u16(bytes: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes(array(bytes, offset))
}

/// The 4-byte number at `offset`, or 0 past the end.
#[inline]
#[must_use]
pub fn get_u32(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(array(bytes, offset))
}

/// The 8-byte number at `offset`, or 0 past the end.
#[inline]
#[must_use]
pub fn get_u64(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(array(bytes, offset))
}

/// The 16 bytes at `offset`, or zeros past the end.
#[inline]
#[must_use]
pub fn get_16(bytes: &[u8], offset: usize) -> [u8; 16] {
    array(bytes, offset)
}

/// The number in `width` bytes (0 to 8) at `offset`, or 0 past the end.
#[inline]
#[must_use]
pub fn get_wide(bytes: &[u8], offset: usize, width: usize) -> u64 {
    if let Some(eight) = bytes.get(offset..).and_then(|tail| tail.first_chunk::<8>()) {
        let number = u64::from_le_bytes(*eight);
        return if width >= 8 {
            number
        } else {
            number & ((1_u64 << (width * 8)) - 1)
        };
    }
    let mut number = 0;
    for index in (0..width.min(8)).rev() {
        number = number << 8 | u64::from(get_u8(bytes, offset.saturating_add(index)));
    }
    number
}

/// Moves the bytes from `start` to `end` so that they begin at `to`; answers whether
/// both ranges lie within. Nothing is moved otherwise. Out of line, so that the
/// library's call is compiled into this check and can't panic.
#[inline(never)]
pub fn copy_within(bytes: &mut [u8], start: usize, end: usize, to: usize) -> bool {
    let Some(count) = end.checked_sub(start) else {
        return false;
    };
    match bytes.len().checked_sub(count) {
        Some(room) if to <= room && end <= bytes.len() => {
            bytes.copy_within(start..end, to);
            true
        }
        _ => false,
    }
}

/// Writes `data` at `offset`; answers whether it fitted. Nothing is written otherwise.
#[inline]
pub fn put(bytes: &mut [u8], offset: usize, data: &[u8]) -> bool {
    match bytes
        .get_mut(offset..)
        .and_then(|tail| tail.get_mut(..data.len()))
    {
        Some(range) => {
            range.copy_from_slice(data);
            true
        }
        None => false,
    }
}

/// Writes the low `width` bytes (0 to 8) of `number` at `offset`; answers whether they fitted.
#[inline]
pub fn put_wide(bytes: &mut [u8], offset: usize, width: usize, number: u64) -> bool {
    let encoded = number.to_le_bytes();
    put(bytes, offset, encoded.get(..width.min(8)).unwrap_or(&[]))
}

/// Bytes that `number` takes as a varint: 1 to 10.
#[inline]
#[must_use]
pub fn varint_bytes(number: u64) -> usize {
    let bits = 64 - (number | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// The varint at `offset` and the bytes it takes; `None` where it is cut off,
/// longer than ten bytes, beyond 64 bits or not in its shortest form.
#[inline]
#[must_use]
pub fn get_varint(bytes: &[u8], offset: usize) -> Option<(u64, usize)> {
    let tail = bytes.get(offset..)?;
    let first = *tail.first()?;
    if first < 0x80 {
        return Some((u64::from(first), 1));
    }
    if let Some(second @ 1..0x80) = tail.get(1).copied() {
        return Some((u64::from(first & 0x7F) | u64::from(second) << 7, 2));
    }
    let mut number = 0_u64;
    for (index, byte) in tail.iter().take(10).enumerate() {
        let part = u64::from(byte & 0x7F);
        if index == 9 && part > 1 {
            return None;
        }
        number |= part << (index * 7);
        if byte & 0x80 == 0 {
            return if *byte == 0 {
                None
            } else {
                Some((number, index + 1))
            };
        }
    }
    None
}

/// Writes `number` as a varint at `offset`; answers the bytes taken, 0 where it didn't fit.
#[inline]
pub fn put_varint(bytes: &mut [u8], offset: usize, number: u64) -> usize {
    let length = varint_bytes(number);
    let Some(range) = bytes
        .get_mut(offset..)
        .and_then(|tail| tail.get_mut(..length))
    else {
        return 0;
    };
    let mut rest = number;
    for byte in range.iter_mut() {
        *byte = (rest & 0x7F) as u8 | 0x80;
        rest >>= 7;
    }
    if let Some(last) = range.last_mut() {
        *last &= 0x7F;
    }
    length
}

/// The head of a key: its first four bytes as a big-endian number, missing
/// ones as zeros, so that heads compare as the keys do, up to ties.
#[inline]
#[must_use]
pub fn head_of(key: &[u8]) -> u32 {
    match key.first_chunk::<4>() {
        Some(four) => u32::from_be_bytes(*four),
        None => match *key {
            [one, two, three] => u32::from_be_bytes([one, two, three, 0]),
            [one, two] => u32::from_be_bytes([one, two, 0, 0]),
            [one] => u32::from_be_bytes([one, 0, 0, 0]),
            _ => 0,
        },
    }
}

/// The length of the longest common prefix of two keys.
#[inline]
#[must_use]
pub fn common_prefix_bytes(left: &[u8], right: &[u8]) -> usize {
    let mut length = 0;
    let (left_words, left_rest) = left.as_chunks::<8>();
    let (right_words, _) = right.as_chunks::<8>();
    for (one, other) in left_words.iter().zip(right_words) {
        let difference = u64::from_le_bytes(*one) ^ u64::from_le_bytes(*other);
        if difference != 0 {
            return length + difference.trailing_zeros() as usize / 8;
        }
        length += 8;
    }
    let _ = left_rest;
    let left_tail = left.get(length..).unwrap_or(&[]);
    let right_tail = right.get(length..).unwrap_or(&[]);
    length
        + left_tail
            .iter()
            .zip(right_tail)
            .take_while(|(one, other)| one == other)
            .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_come_back_and_only_in_their_shortest_form() {
        let mut bytes = [0; 12];
        for shift in 0..64 {
            for number in [1_u64 << shift, (1_u64 << shift) - 1, u64::MAX >> shift] {
                let length = put_varint(&mut bytes, 1, number);
                assert_eq!(length, varint_bytes(number));
                assert_eq!(get_varint(&bytes, 1), Some((number, length)));
                assert_eq!(get_varint(&bytes[..length], 1), None, "cut off");
            }
        }
        assert_eq!(get_varint(&[0x80, 0x00], 0), None, "not the shortest form");
        assert_eq!(get_varint(&[0xFF; 11], 0), None, "too long");
        let mut over = [0xFF; 10];
        over[9] = 0x02;
        assert_eq!(get_varint(&over, 0), None, "beyond 64 bits");
    }

    #[test]
    fn wide_numbers_read_the_same_at_the_end_of_the_bytes() {
        let bytes: std::vec::Vec<u8> = (1..=16).collect();
        for width in 0..=8 {
            for offset in 0..=(16 - width) {
                let mut expected = [0; 8];
                expected[..width].copy_from_slice(&bytes[offset..offset + width]);
                assert_eq!(
                    get_wide(&bytes, offset, width),
                    u64::from_le_bytes(expected)
                );
            }
        }
    }

    #[test]
    fn common_prefixes() {
        for length in 0..40 {
            let left = std::vec![7_u8; 40];
            let mut right = left.clone();
            right[length] = 8;
            assert_eq!(common_prefix_bytes(&left, &right), length);
            assert_eq!(common_prefix_bytes(&left[..length], &left), length);
        }
    }

    #[test]
    fn heads_order_as_keys() {
        assert_eq!(head_of(b""), 0);
        assert_eq!(head_of(b"a"), 0x6100_0000);
        assert!(head_of(b"abcd") < head_of(b"abce"));
        assert_eq!(head_of(b"abcd"), head_of(b"abcdz"));
    }
}
