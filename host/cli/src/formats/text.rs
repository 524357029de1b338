//! Bytes as text for people and shells.
//!
//! UTF-8 stands as it is; control characters and bytes that aren't UTF-8 stand
//! as `\xHH`. A backslash stands as it is too, so that `C:\data` reads well,
//! except where reading would take it for the start of an escape: before
//! another backslash and before `x` and two digits it is doubled. Reading knows
//! these two escapes only, so that [`unescape`] gives back what [`escape`] took.

use super::hex;

/// The text form of `bytes`.
#[must_use]
pub fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + bytes.len() / 8);
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() {
                let mut encoded = [0; 4];
                for byte in character.encode_utf8(&mut encoded).bytes() {
                    push_escape(&mut text, byte);
                }
            } else {
                text.push(character);
            }
        }
        for byte in chunk.invalid() {
            push_escape(&mut text, *byte);
        }
    }
    double_ambiguous(bytes, text)
}

fn push_escape(text: &mut String, byte: u8) {
    text.push_str("\\x");
    text.extend(hex::digits(byte).map(char::from));
}

/// Doubles the backslashes of `bytes` that their neighbours would turn into an
/// escape. Escapes in `text` stand for single bytes of `bytes`, so both are
/// walked side by side; nearly all data has no backslash and returns at once.
fn double_ambiguous(bytes: &[u8], text: String) -> String {
    if !bytes.contains(&b'\\') {
        return text;
    }
    let mut doubled = String::with_capacity(text.len() + 8);
    let mut rest = text.as_str();
    let mut at = 0;
    while let Some(character) = rest.chars().next() {
        let is_escape = character == '\\' && bytes.get(at) != Some(&b'\\');
        if is_escape {
            doubled.push_str(&rest[..4]);
            rest = &rest[4..];
            at += 1;
            continue;
        }
        rest = &rest[character.len_utf8()..];
        at += character.len_utf8();
        doubled.push(character);
        if character == '\\' && (rest.starts_with('\\') || starts_with_digits(rest.as_bytes())) {
            doubled.push('\\');
        }
    }
    doubled
}

/// Whether `text` starts with what makes an escape of a backslash before it.
fn starts_with_digits(text: &[u8]) -> bool {
    matches!(text, [b'x', high, low, ..] if hex::byte_value(*high, *low).is_some())
}

/// The bytes that `text` stands for. Every text stands for some.
#[must_use]
pub fn unescape(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    loop {
        rest = match rest {
            [] => return bytes,
            [b'\\', b'\\', tail @ ..] => {
                bytes.push(b'\\');
                tail
            }
            [b'\\', b'x', high, low, tail @ ..] if hex::byte_value(*high, *low).is_some() => {
                bytes.extend(hex::byte_value(*high, *low));
                tail
            }
            [byte, tail @ ..] => {
                bytes.push(*byte);
                tail
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_text_stands_as_it_is() {
        for text in ["", "key", "grün 木", r"C:\data\new", r"a\", r"\x", r"\xg0"] {
            assert_eq!(escape(text.as_bytes()), text);
            assert_eq!(unescape(text.as_bytes()), text.as_bytes());
        }
    }

    #[test]
    fn what_is_special_is_escaped() {
        assert_eq!(escape(b"a\xffb\n\0"), r"a\xffb\x0a\x00");
        assert_eq!(escape("\u{85}".as_bytes()), r"\xc2\x85");
        assert_eq!(escape(br"\x41"), r"\\x41");
        assert_eq!(escape(br"\\"), r"\\\");
        assert_eq!(escape(b"\\\xff"), r"\\\xff");
    }

    #[test]
    fn all_short_strings_of_special_bytes_come_back() {
        let alphabet = [b'\\', b'x', b'4', b'1', b'\n', 0xff, 0xc3, 0xa4];
        let mut strings: Vec<Vec<u8>> = vec![Vec::new()];
        for _ in 0..5 {
            let longer: Vec<Vec<u8>> = strings
                .iter()
                .flat_map(|string| {
                    alphabet.iter().map(move |byte| {
                        let mut string = string.clone();
                        string.push(*byte);
                        string
                    })
                })
                .collect();
            for string in &longer {
                assert_eq!(unescape(escape(string).as_bytes()), *string, "{string:?}");
            }
            strings = longer;
        }
    }
}
