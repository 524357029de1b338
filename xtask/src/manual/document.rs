//! The blocks of a Markdown document, with the headings that they stand under.

/// A block of code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The heading of the second level.
    pub part: String,
    /// The nearest heading.
    pub section: String,
    pub language: String,
    pub text: String,
}

/// The blocks of `document`, in order.
pub fn blocks(document: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut is_inside = false;
    let (mut part, mut section) = (String::new(), String::new());
    for line in document.lines() {
        if let Some(language) = line.strip_prefix("```") {
            is_inside = !is_inside;
            if is_inside {
                found.push(Block {
                    part: part.clone(),
                    section: section.clone(),
                    language: language.trim().to_owned(),
                    text: String::new(),
                });
            }
        } else if is_inside {
            if let Some(block) = found.last_mut() {
                block.text.push_str(line);
                block.text.push('\n');
            }
        } else if line.starts_with("##") {
            let title = line.trim_start_matches('#').trim();
            section = title.to_owned();
            if !line.starts_with("###") {
                part = title.to_owned();
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_stand_under_their_headings() {
        let text = "# T\n## A\n```ini\n# no heading\n```\n### B\n#### C\n```bash\na\n\nb\n```\n## D\n```toml\n```\n";
        let found: Vec<(String, String, String, String)> = blocks(text)
            .into_iter()
            .map(|block| (block.part, block.section, block.language, block.text))
            .collect();
        let expected = [
            ("A", "A", "ini", "# no heading\n"),
            ("A", "C", "bash", "a\n\nb\n"),
            ("D", "D", "toml", ""),
        ];
        let expected = expected.map(|(part, section, language, text)| {
            (
                part.to_owned(),
                section.to_owned(),
                language.to_owned(),
                text.to_owned(),
            )
        });
        assert_eq!(found, expected);
    }
}
