//! Patterns of `KEYS`, `SCAN` and channels, beside a plain matcher.

use lightning_admin_server::glob::{literal_prefix, matches};

/// Matches the part of `data` before the first zero byte with the one behind it.
pub fn run(data: &[u8]) {
    let cut = data
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(data.len());
    let (pattern, text) = data.split_at(cut);
    let text = text.get(1..).unwrap_or(&[]);
    let found = matches(pattern, text);
    if found {
        assert!(
            text.starts_with(literal_prefix(pattern)),
            "a key that matches isn't below the prefix that scans begin at"
        );
    }
    if pattern.iter().any(|byte| b"[\\".contains(byte)) {
        // Sets and escapes have odd corners in Redis, which the service's own tests name.
        return;
    }
    assert_eq!(found, plain(pattern, text));
}

/// The table of all prefixes against all prefixes.
fn plain(pattern: &[u8], text: &[u8]) -> bool {
    let mut row = vec![false; text.len() + 1];
    row[0] = true;
    for symbol in pattern {
        let mut next = vec![false; text.len() + 1];
        next[0] = row[0] && *symbol == b'*';
        for (index, byte) in text.iter().enumerate() {
            next[index + 1] = match symbol {
                b'*' => row[index + 1] || next[index],
                b'?' => row[index],
                literal => row[index] && literal == byte,
            };
        }
        row = next;
    }
    row[text.len()]
}
