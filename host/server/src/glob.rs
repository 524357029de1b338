//! Patterns of keys and channels: `*`, `?`, `[a-z]`, `[^a]` and `\`, over bytes.

/// Whether all of `text` matches `pattern`.
///
/// Takes time in proportion to the product of both lengths at the most: a star that
/// failed is tried again one byte further, and no star before it is ever tried again.
#[must_use]
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut read) = (0, 0);
    // Behind the last star, and how much of the text it has taken.
    let mut star: Option<(usize, usize)> = None;
    loop {
        if pattern.get(at) == Some(&b'*') {
            at += 1;
            star = Some((at, read));
            continue;
        }
        if read == text.len() {
            if at == pattern.len() {
                return true;
            }
        } else if at < pattern.len()
            && let Some(next) = matches_one(&pattern[at..], text[read])
        {
            at += next;
            read += 1;
            continue;
        }
        match star {
            Some((behind, taken)) if taken < text.len() => {
                star = Some((behind, taken + 1));
                (at, read) = (behind, taken + 1);
            }
            _ => return false,
        }
    }
}

/// Whether `byte` matches what the pattern begins with, and how long that is.
fn matches_one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [b'?', ..] => Some(1),
        [b'\\', escaped, ..] => (*escaped == byte).then_some(2),
        [b'[', rest @ ..] => {
            let (is_inside, length) = matches_class(rest, byte);
            is_inside.then_some(length + 1)
        }
        [literal, ..] => (*literal == byte).then_some(1),
        [] => None,
    }
}

/// Whether `byte` is in the class that stands here without its opening bracket, and the
/// length of that with the closing one, which may be missing.
fn matches_class(class: &[u8], byte: u8) -> (bool, usize) {
    let is_negated = class.first() == Some(&b'^');
    let mut at = usize::from(is_negated);
    let mut is_inside = false;
    loop {
        match &class[at.min(class.len())..] {
            [] => break,
            [b']', ..] => {
                at += 1;
                break;
            }
            [b'\\', escaped, ..] => {
                is_inside |= *escaped == byte;
                at += 2;
            }
            [first, b'-', last, ..] => {
                let (low, high) = (first.min(last), first.max(last));
                is_inside |= (*low..=*high).contains(&byte);
                at += 3;
            }
            [single, ..] => {
                is_inside |= *single == byte;
                at += 1;
            }
        }
    }
    (is_inside != is_negated, at)
}

/// What every text that matches begins with.
#[must_use]
pub fn literal_prefix(pattern: &[u8]) -> &[u8] {
    let length = pattern
        .iter()
        .position(|byte| matches!(byte, b'*' | b'?' | b'[' | b'\\'));
    &pattern[..length.unwrap_or(pattern.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_redis() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a*c*e", "abcde", true),
            ("a*c*e", "abcdf", false),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h[ae]llo", "hallo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-b]llo", "hbllo", true),
            ("h[b-a]llo", "hallo", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("[\\]]", "]", true),
            ("[a", "a", true),
            ("**a", "a", true),
            ("", "", true),
            ("", "a", false),
            ("*foo*", "xfoofoy", true),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes()),
                expected,
                "{pattern} {text}"
            );
        }
    }

    #[test]
    fn many_stars_cost_no_more_than_both_lengths_together_multiplied() {
        let pattern = "a*".repeat(5_000) + "b";
        assert!(!matches(pattern.as_bytes(), "a".repeat(5_000).as_bytes()));
    }

    #[test]
    fn the_literal_beginning_is_known() {
        assert_eq!(literal_prefix(b"user:*"), b"user:");
        assert_eq!(literal_prefix(b"plain"), b"plain");
        assert_eq!(literal_prefix(b"?"), b"");
    }
}
