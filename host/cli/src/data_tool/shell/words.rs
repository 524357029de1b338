//! What is typed, as commands of words.
//!
//! Blanks part words, line breaks part commands; between quotes, single or double, both
//! stand for themselves. Nothing else has a meaning: a backslash is what it is in an
//! argument of the program, where `\x22` is a double quote. A command that begins with
//! `#` is left out.

/// A command, and the line that it begins on, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) line: u64,
    pub(super) words: Vec<String>,
}

/// The quote that is left open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OpenQuote {
    pub(super) quote: char,
    pub(super) line: u64,
}

/// The commands of `text`, whose first line has the number `line`.
pub(super) fn split(text: &str, mut line: u64) -> Result<Vec<Words>, OpenQuote> {
    let mut commands: Vec<Words> = Vec::new();
    let mut words: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut open: Option<OpenQuote> = None;
    let mut is_comment = false;
    let mut began = line;
    for character in text.chars().chain(['\n']) {
        let is_break = character == '\n';
        match open {
            // The last break is not of the text.
            Some(quote) if quote.quote == character => open = None,
            Some(_) => word.get_or_insert_default().push(character),
            None if is_break => {
                words.extend(word.take());
                if !words.is_empty() {
                    commands.push(Words {
                        line: began,
                        words: std::mem::take(&mut words),
                    });
                }
                is_comment = false;
                began = line + 1;
            }
            None if is_comment => {}
            None if character == '#' && words.is_empty() && word.is_none() => is_comment = true,
            None if character == '"' || character == '\'' => {
                word.get_or_insert_default();
                open = Some(OpenQuote {
                    quote: character,
                    line,
                });
            }
            None if character.is_whitespace() => words.extend(word.take()),
            None => word.get_or_insert_default().push(character),
        }
        line += u64::from(is_break);
    }
    open.map_or(Ok(commands), Err)
}

/// `text` as a word that [`split`] gives back.
pub(super) fn quote(text: &str) -> String {
    let is_plain = !text.is_empty()
        && !text.starts_with('#')
        && !text
            .chars()
            .any(|character| character.is_whitespace() || matches!(character, '"' | '\''));
    if is_plain {
        return text.to_owned();
    }
    let mut quoted = String::new();
    // A stretch without the quote that it stands in, and so on with the other one.
    let mut rest = text;
    loop {
        // The one that the text gets further with.
        let end_by = |mark: char| rest.find(mark).unwrap_or(rest.len());
        let mark = if end_by('"') > end_by('\'') {
            '"'
        } else {
            '\''
        };
        let end = end_by(mark);
        quoted.push(mark);
        quoted.push_str(&rest[..end]);
        quoted.push(mark);
        rest = &rest[end..];
        if rest.is_empty() {
            return quoted;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(text: &str) -> Vec<(u64, Vec<String>)> {
        let commands = split(text, 1).unwrap();
        commands
            .into_iter()
            .map(|command| (command.line, command.words))
            .collect()
    }

    #[test]
    fn words_and_commands_are_parted() {
        let text =
            "  put a\t'b c'\n\n# no 'command\nput \"it's\"d '' \\x41\nput x 'two\nlines'\nget #1";
        let of = |words: &[&str]| {
            words
                .iter()
                .map(|word| (*word).to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            words(text),
            [
                (1, of(&["put", "a", "b c"])),
                (4, of(&["put", "it'sd", "", "\\x41"])),
                (5, of(&["put", "x", "two\nlines"])),
                (7, of(&["get", "#1"])),
            ]
        );
        assert!(words("").is_empty());
        assert_eq!(
            split("a\nb 'c", 5),
            Err(OpenQuote {
                quote: '\'',
                line: 6
            })
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn what_is_quoted_is_one_word(text in "[ab'\" #\\\\\n]{0,12}") {
            let found = split(&format!("get {}", quote(&text)), 1).unwrap();
            prop_assert_eq!(&found[0].words, &["get".to_owned(), text]);
        }
    }
}
