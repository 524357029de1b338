//! The format document is pinned to the code: a change of one asks for a look at the other.
//!
//! The pin is the 64-bit FNV-1a hash over the code of core/src/format, files in
//! the order of their paths, without comments, layout and tests. It guards
//! against forgetting, not against an attacker.

use super::{Finding, SourceFile, tokens};

/// The normative document.
pub const DOCUMENT: &str = "core/FORMAT.md";
const FOLDER: &str = "core/src/format/";
const MARK: &str = "<!-- format-hash: ";
const MARK_END: &str = " -->";

/// Compares the pin with the code.
pub fn check(files: &[SourceFile], findings: &mut Vec<Finding>) {
    match compare(files) {
        Ok(pin) if pin.written == pin.computed => {}
        Ok(pin) => findings.push(Finding::new(
            DOCUMENT,
            pin.line,
            format!(
                "the code in {FOLDER} changed since the document was checked ({} then, {} now): \
                 compare the two, then run `cargo xtask tidy --update-format-hash`",
                pin.written, pin.computed
            ),
        )),
        Err(finding) => findings.push(finding),
    }
}

/// The document with the present hash, or why there can't be one.
pub fn updated(files: &[SourceFile]) -> Result<String, Finding> {
    let pin = compare(files)?;
    let text = document(files)?;
    let before = format!("{MARK}{}{MARK_END}", pin.written);
    Ok(text.replacen(&before, &format!("{MARK}{}{MARK_END}", pin.computed), 1))
}

struct Pin {
    line: usize,
    written: String,
    computed: String,
}

fn document(files: &[SourceFile]) -> Result<&str, Finding> {
    files
        .iter()
        .find(|file| file.path == DOCUMENT)
        .map(|file| file.text.as_str())
        .ok_or_else(|| Finding::new(DOCUMENT, 0, "does not exist, but describes the format"))
}

fn compare(files: &[SourceFile]) -> Result<Pin, Finding> {
    let text = document(files)?;
    let (index, written) = text
        .lines()
        .enumerate()
        .find_map(|(index, line)| {
            let written = line.trim().strip_prefix(MARK)?.strip_suffix(MARK_END)?;
            Some((index, written.to_owned()))
        })
        .ok_or_else(|| Finding::new(DOCUMENT, 0, format!("has no line `{MARK}HEX{MARK_END}`")))?;
    Ok(Pin {
        line: index + 1,
        written,
        computed: computed(files)?,
    })
}

fn computed(files: &[SourceFile]) -> Result<String, Finding> {
    let mut code: Vec<&SourceFile> = files
        .iter()
        .filter(|file| file.path.starts_with(FOLDER) && file.is_rust() && !file.is_test())
        .collect();
    if code.is_empty() {
        return Err(Finding::new(FOLDER, 0, "does not exist or holds no code"));
    }
    code.sort_by(|one, other| one.path.cmp(&other.path));
    let mut spelled = String::new();
    for file in code {
        let stream = tokens::parse(&file.text)
            .map_err(|line| Finding::new(&file.path, line, "is no valid Rust"))?;
        tokens::canonical(&tokens::without_tests(stream).tokens, &mut spelled);
    }
    Ok(format!("{:016x}", fnv1a(spelled.as_bytes())))
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(document: &str, code: &str) -> Vec<SourceFile> {
        vec![
            SourceFile::of(DOCUMENT, document),
            SourceFile::of("core/src/format/page.rs", code),
            SourceFile::of("core/src/format/page_tests.rs", "fn t() {}"),
        ]
    }

    fn count(files: &[SourceFile]) -> usize {
        let mut findings = Vec::new();
        check(files, &mut findings);
        findings.len()
    }

    #[test]
    fn the_hash_is_fnv1a() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
    }

    #[test]
    fn an_update_pins_and_a_change_of_code_breaks_the_pin() {
        let code = "//! Page.\nconst A: u8 = 1;";
        let files = tree("# Format\n<!-- format-hash: 0 -->\n", code);
        assert_eq!(count(&files), 1);
        let pinned = updated(&files).expect("document and folder are there");
        assert_eq!(count(&tree(&pinned, code)), 0);
        assert_eq!(
            count(&tree(&pinned, "//! Other words.\nconst  A: u8 = 1; // one")),
            0
        );
        assert_eq!(count(&tree(&pinned, "//! Page.\nconst A: u8 = 2;")), 1);
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(count(&[]), 1);
        assert_eq!(count(&tree("# no pin\n", "")), 1);
        assert_eq!(
            count(&[SourceFile::of(DOCUMENT, "<!-- format-hash: 0 -->\n")]),
            1
        );
    }
}
