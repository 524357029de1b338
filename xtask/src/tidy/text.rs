//! The form of one file: its end, its length, its opening, what it must not hold.

use super::{Finding, SourceFile, tokens};

const LINES_MAX: usize = 600;
const TEST_LINES_MAX: usize = 1500;

/// Words that mark work left undone; put together here so that this file passes.
const MARKERS: [&str; 3] = [
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("TO", "DO"),
];

/// Code that must not land.
const LEFTOVERS: [&str; 4] = [
    concat!("todo", "!"),
    concat!("unimplemented", "!"),
    concat!("dbg", "!"),
    concat!("#[ign", "ore"),
];

/// Folders that exist on one developer's machine only.
const PRIVATE_FOLDERS: [&str; 3] = [
    concat!("/wo", "rk/"),
    concat!("/ho", "me/"),
    concat!("/tmp", "/w/"),
];

/// Checks one file.
pub fn check(file: &SourceFile, findings: &mut Vec<Finding>) {
    let mut report = |line: usize, message: String| {
        findings.push(Finding::new(&file.path, line, message));
    };
    if !file.text.is_empty() && !file.text.ends_with('\n') {
        report(
            file.text.lines().count(),
            "no newline at the end of the file".to_owned(),
        );
    }
    for (index, line) in file.text.split('\n').enumerate() {
        if line.ends_with([' ', '\t', '\r']) {
            report(index + 1, "trailing whitespace".to_owned());
        }
        if let Some(folder) = PRIVATE_FOLDERS
            .iter()
            .find(|folder| has_folder(line, folder))
        {
            report(
                index + 1,
                format!("a path of one developer's machine (`{folder}`)"),
            );
        }
        if file.is_rust() {
            if let Some(word) = MARKERS.iter().find(|word| has_word(line, word)) {
                report(
                    index + 1,
                    format!("`{word}`: finish it, or describe it in ROADMAP.md"),
                );
            }
            if let Some(word) = LEFTOVERS.iter().find(|word| has_word_start(line, word)) {
                report(index + 1, format!("`{word}` must not land"));
            }
        }
    }
    if !file.is_rust() {
        return;
    }
    if !file.text.starts_with("//!") {
        report(
            1,
            "a Rust file opens with a `//!` comment that gives its purpose".to_owned(),
        );
    }
    match tokens::parse(&file.text) {
        Err(line) => report(line, "is no valid Rust".to_owned()),
        Ok(stream) => {
            let in_tests: usize = tokens::without_tests(stream)
                .removed
                .iter()
                .map(|lines| lines.end() + 1 - lines.start())
                .sum();
            let lines = file.text.lines().count().saturating_sub(in_tests);
            let max = if file.is_test() {
                TEST_LINES_MAX
            } else {
                LINES_MAX
            };
            if lines > max {
                let message =
                    format!("{lines} lines without its tests, {max} are the most: split it");
                report(0, message);
            }
        }
    }
}

fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn has_word_start(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        !line
            .as_bytes()
            .get(at.wrapping_sub(1))
            .copied()
            .is_some_and(is_word_byte)
    })
}

fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let bytes = line.as_bytes();
        !bytes
            .get(at.wrapping_sub(1))
            .copied()
            .is_some_and(is_word_byte)
            && !bytes
                .get(at + word.len())
                .copied()
                .is_some_and(is_word_byte)
    })
}

/// Whether an absolute path begins with `folder`: not as the inner part of a
/// relative path or of a web address.
fn has_folder(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line.as_bytes().get(at.wrapping_sub(1)).copied();
        !before.is_some_and(|byte| is_word_byte(byte) || matches!(byte, b'.' | b'-' | b'}' | b'*'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<usize> {
        let mut findings = Vec::new();
        check(&SourceFile::of(path, text), &mut findings);
        findings.into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_clean_file_has_no_finding() {
        assert!(found("core/src/a.rs", "//! Purpose.\nfn a() {}\n").is_empty());
        assert!(found("README.md", "").is_empty());
    }

    #[test]
    fn whitespace_and_the_last_newline() {
        assert_eq!(found("a.md", "one \ntwo\t\nthree"), [3, 1, 2]);
        assert_eq!(found("a.md", "one\r\n"), [1]);
    }

    #[test]
    fn paths_of_a_machine() {
        let line = |folder: &str| format!("see {folder}me/x\n");
        for folder in PRIVATE_FOLDERS {
            assert_eq!(found("a.md", &line(folder)), [1], "{folder}");
            assert!(
                found("a.md", &format!("target{folder}x\n")).is_empty(),
                "{folder}"
            );
        }
    }

    #[test]
    fn work_left_undone() {
        for marker in MARKERS.into_iter().chain(LEFTOVERS) {
            let text = format!("//! Purpose.\n// {marker} later\n");
            assert_eq!(found("a.rs", &text), [2], "{marker}");
            assert!(found("a.md", &text).is_empty(), "{marker}");
        }
        let inside = format!("//! Purpose.\nfn a{}b() {{}}\n", MARKERS[2]);
        assert!(found("a.rs", &inside).is_empty());
    }

    #[test]
    fn rust_files_open_with_their_purpose() {
        assert_eq!(found("a.rs", "fn a() {}\n"), [1]);
    }

    #[test]
    fn long_files_and_their_tests() {
        let long = format!("//! Purpose.\n{}", "fn a() {}\n".repeat(600));
        assert_eq!(found("a.rs", &long), [0]);
        assert!(found("a/tests.rs", &long).is_empty());
        assert!(found("tests/a.rs", &long).is_empty());
        let block = format!(
            "//! Purpose.\n#[cfg(test)]\nmod tests {{\n{}}}\n",
            "fn a() {}\n".repeat(900)
        );
        assert!(found("a.rs", &block).is_empty());
        let longer = format!("//! Purpose.\n{}", "fn a() {}\n".repeat(1500));
        assert_eq!(found("a_tests.rs", &longer), [0]);
    }
}
