//! Bytes as pairs of hexadecimal digits; written in lower case, read in either.

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// The two digits of `byte`.
#[must_use]
pub fn digits(byte: u8) -> [u8; 2] {
    [
        DIGITS[usize::from(byte >> 4)],
        DIGITS[usize::from(byte & 15)],
    ]
}

/// Appends the digits of `bytes` to `out`.
pub fn encode_into(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len() * 2);
    for byte in bytes {
        out.extend_from_slice(&digits(*byte));
    }
}

/// The digits of `bytes`.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        out.extend(digits(*byte).map(char::from));
    }
    out
}

/// The value of one digit.
#[must_use]
pub fn digit_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// The byte of two digits.
#[must_use]
pub fn byte_value(high: u8, low: u8) -> Option<u8> {
    Some(digit_value(high)? << 4 | digit_value(low)?)
}

/// Replaces the content of `out` by the bytes that `text` spells.
///
/// # Errors
/// What is wrong with `text`, with the column counted from 1; `out` then holds anything.
pub fn decode_into(text: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    out.clear();
    out.reserve(text.len() / 2);
    let pairs = text.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return Err(format!(
            "an odd number of hexadecimal digits ({}): a byte has two",
            text.len()
        ));
    }
    for (index, pair) in pairs.enumerate() {
        let Some(byte) = byte_value(pair[0], pair[1]) else {
            let at = index * 2 + usize::from(digit_value(pair[0]).is_some());
            return Err(format!(
                "\"{}\" at column {} is no hexadecimal digit",
                text[at].escape_ascii(),
                at + 1
            ));
        };
        out.push(byte);
    }
    Ok(())
}

/// The bytes that `text` spells.
///
/// # Errors
/// As [`decode_into`].
pub fn decode(text: &[u8]) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    decode_into(text, &mut out)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_back() {
        let bytes: Vec<u8> = (0..=255).collect();
        let text = encode(&bytes);
        assert_eq!(decode(text.as_bytes()).unwrap(), bytes);
        assert_eq!(decode(text.to_uppercase().as_bytes()).unwrap(), bytes);
        let mut appended = b"x".to_vec();
        encode_into(&bytes, &mut appended);
        assert_eq!(appended, format!("x{text}").into_bytes());
    }

    #[test]
    fn faults_name_the_column() {
        assert!(decode(b"abc").unwrap_err().contains("odd number"));
        assert!(decode(b"zb").unwrap_err().contains("column 1"));
        assert!(decode(b"00a\xff").unwrap_err().contains("column 4"));
    }
}
