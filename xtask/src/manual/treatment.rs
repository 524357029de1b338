//! What is done with each block: tests/manual/blocks.toml, which explains its words.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::document::Block;
use crate::workspace;

/// What is done with a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    Run,
    Write,
    Skip,
    Later,
}

/// What is done with one block.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Treatment {
    pub part: String,
    pub section: String,
    pub how: How,
    pub reason: Option<String>,
    #[serde(default)]
    pub needs: Vec<String>,
    #[serde(default)]
    pub service: bool,
    pub prepare: Option<String>,
    #[serde(default)]
    pub stand_ins: Vec<String>,
    #[serde(default)]
    pub leave_out: Vec<String>,
    pub path: Option<String>,
    pub then: Option<String>,
    /// A file of the repository that has to say the same.
    pub same_as: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    block: Vec<Treatment>,
}

/// Reads the treatments.
pub fn read(path: &Path) -> Result<Vec<Treatment>> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let file: File = toml::from_str(&text).with_context(|| path.display().to_string())?;
    Ok(file.block)
}

/// Checks that each block has one, and that what can be looked at without running it is
/// as it should be.
pub fn check(blocks: &[Block], treatments: &[Treatment]) -> Result<()> {
    for (index, block) in blocks.iter().enumerate() {
        let name = format!("{}: {}", block.part, block.section);
        let Some(treatment) = treatments.get(index) else {
            bail!("tests/manual/blocks.toml doesn't say what to do with the block of {name}");
        };
        if (&treatment.part, &treatment.section) != (&block.part, &block.section) {
            bail!(
                "tests/manual/blocks.toml has {}: {} where the manual has {name}",
                treatment.part,
                treatment.section
            );
        }
        let needs_reason =
            matches!(treatment.how, How::Skip | How::Later) || !treatment.leave_out.is_empty();
        if needs_reason && treatment.reason.is_none() {
            bail!("{name}: tests/manual/blocks.toml gives no reason");
        }
        if (treatment.how == How::Write) != treatment.path.is_some() {
            bail!("{name}: a path is for what is written, and only for that");
        }
        if treatment.how == How::Run && block.language != "bash" {
            bail!(
                "{name}: only bash can be run, and this is {}",
                block.language
            );
        }
        for start in &treatment.leave_out {
            if !block.text.lines().any(|line| line.starts_with(start)) {
                bail!("{name}: no line begins with {start}, to be left out");
            }
        }
        if let Some(file) = &treatment.same_as {
            let other = fs::read_to_string(workspace::root().join(file))?;
            if other != block.text {
                bail!("{name}: {file} says something else than the manual");
            }
        }
        if block.language == "json" {
            serde_json::from_str::<serde_json::Value>(&block.text).with_context(|| name.clone())?;
        }
    }
    if treatments.len() > blocks.len() {
        bail!("tests/manual/blocks.toml has more blocks than the manual");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manual::document;

    #[test]
    fn every_block_of_the_manual_has_its_treatment() {
        let folder = workspace::root().join("tests/manual");
        let text = fs::read_to_string(folder.join("operations-manual.md")).unwrap();
        let blocks = document::blocks(&text);
        let treatments = read(&folder.join("blocks.toml")).unwrap();
        check(&blocks, &treatments).unwrap();
        assert!(check(&blocks[1..], &treatments).is_err());
        assert!(check(&blocks, &treatments[..treatments.len() - 1]).is_err());
    }
}
