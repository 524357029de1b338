//! The configuration's text, and what `config set` makes of it.
//!
//! The first bytes choose a setting and a value; the rest is the file. An error names a
//! line that the file has. An edit of a file that is fine changes that setting alone:
//! every other line stays, comments too, and every other value; what stands in the file
//! is changed where it stands, and not added to it.

use std::path::{Path, PathBuf};

use lightning_ops::configuration::{Configuration, Origin, Sources, all, text_with};

const FILE: &str = "lightning.toml";

/// Reads and edits `data`.
pub fn run(data: &[u8]) {
    let [chosen, value, text @ ..] = data else {
        return;
    };
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    let sources = Sources {
        file: Some(PathBuf::from(FILE)),
        environment: vec![("HOME".to_owned(), "/srv/ada".to_owned())],
        command_line: Vec::new(),
    };
    let loaded = match Configuration::load_text(&sources, text) {
        Ok(loaded) => loaded,
        Err(errors) => {
            assert!(!errors.problems().is_empty());
            for problem in errors.problems() {
                assert!(!problem.to_string().is_empty());
                let lines = text.split('\n').count();
                let line = problem.line().unwrap_or(1);
                assert!((1..=lines).contains(&line), "line {line} of {lines}");
            }
            return;
        }
    };
    let settings: Vec<_> = all().collect();
    let setting = settings[usize::from(*chosen) % settings.len()];
    let values = [
        "0",
        "1",
        "7",
        "true",
        "false",
        "none",
        "lz4",
        "sync",
        "512",
        "",
        "a \"b\" #c",
    ];
    let value = values[usize::from(*value) % values.len()];
    let key = setting.key();
    let Ok(edited) = text_with(Path::new(FILE), &sources, text, &key, value) else {
        return;
    };
    let again = Configuration::load_text(&sources, &edited).expect("an edit leaves a sound file");
    for (before, after) in loaded.entries().iter().zip(again.entries()) {
        let is_chosen = after.setting.key() == key;
        // Defaults of places follow from others.
        if !is_chosen && !matches!(before.origin, Origin::Default) {
            assert_eq!(
                before.value,
                after.value,
                "{} changed, too",
                after.setting.key()
            );
        }
        // Without a text, a place has its default.
        if is_chosen && !value.is_empty() {
            let expected = setting.kind.read_text(value).expect("it was taken before");
            assert_eq!(after.value, expected, "{key} isn't what it was set to");
        }
    }
    if text.contains("'''") || text.contains("\"\"\"") {
        // A value may take several lines then.
        return;
    }
    let lines_of = |text: &str| text.lines().count();
    let is_in_file = loaded
        .entries()
        .iter()
        .any(|entry| entry.setting.key() == key && !matches!(entry.origin, Origin::Default));
    assert!(
        !is_in_file || lines_of(&edited) <= lines_of(text),
        "{key} stands in the file, and is added to it:\n{text}\n-- became\n{edited}"
    );
    let is_lost = |line: &&str| !edited.lines().any(|kept| kept == *line);
    let lost = text.lines().filter(is_lost).count();
    let places = setting.sections().count();
    assert!(
        lost <= places,
        "{lost} lines are lost:\n{text}\n-- became\n{edited}"
    );
    for line in text.lines().filter(|line| is_lost(line)) {
        // A value without quotes holds no hash: what follows one is a comment.
        let comment = line.find('#').filter(|_| !line.contains(['"', '\'']));
        if let Some(comment) = comment.map(|at| &line[at..]) {
            assert!(edited.contains(comment), "a comment is lost: {comment}");
        }
    }
}
