//! The files of a closed database, and the faults that can be in them.
//!
//! Zeros are not kept, and holes are written in their place: a journal of 64 MiB that was
//! made long in advance costs as little as its few blocks that say something.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::ValueEnum;

const BLOCK_BYTES: usize = 512;
/// Where a file is cut off in its trailing zeros.
const CUT_BYTES: usize = 4_096;

/// A kind of faults: each has a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// One bit is flipped.
    Flip,
    /// A file is cut off.
    Truncation,
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Flip => "flip",
            Self::Truncation => "truncation",
        })
    }
}

/// One fault in one file, which is told by its number.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// A bit of the byte at `place` is flipped.
    Flip { file: usize, place: usize },
    /// The file ends at `length`, which is less than it had.
    Truncation { file: usize, length: usize },
}

/// All files below a folder.
pub struct Image {
    files: Vec<Content>,
}

struct Content {
    /// Below the folder.
    path: PathBuf,
    length: usize,
    /// The blocks that aren't all zeros, by their places, in order.
    blocks: Vec<(usize, Vec<u8>)>,
}

impl Image {
    /// What is in `folder`.
    pub fn read(folder: &Path) -> Result<Self> {
        let mut files = Vec::new();
        let mut folders = vec![PathBuf::new()];
        while let Some(below) = folders.pop() {
            for entry in fs::read_dir(folder.join(&below))? {
                let entry = entry?;
                let path = below.join(entry.file_name());
                if entry.file_type()?.is_dir() {
                    folders.push(path);
                } else {
                    files.push(Content::new(path, &fs::read(entry.path())?));
                }
            }
        }
        // The same number for the same file in every process.
        files.sort_by(|left, right| left.path.cmp(&right.path));
        Ok(Self { files })
    }

    /// How many files there are.
    pub fn file_count(&self) -> usize {
        self.files.len()
    }

    /// How long all files are together.
    pub fn bytes(&self) -> usize {
        self.files.iter().map(|file| file.length).sum()
    }

    /// All faults of `kind`, in the same order each time.
    pub fn faults(&self, kind: Kind) -> Vec<Fault> {
        let faults_of = |(file, content): (usize, &Content)| -> Vec<Fault> {
            match kind {
                Kind::Flip => content
                    .places()
                    .map(|place| Fault::Flip { file, place })
                    .collect(),
                Kind::Truncation => content
                    .cuts()
                    .into_iter()
                    .map(|length| Fault::Truncation { file, length })
                    .collect(),
            }
        };
        self.files.iter().enumerate().flat_map(faults_of).collect()
    }

    /// Writes the files to `folder`, which is made, with `fault` in them.
    pub fn write(&self, folder: &Path, fault: Option<Fault>) -> Result<()> {
        for (number, content) in self.files.iter().enumerate() {
            let path = folder.join(&content.path);
            fs::create_dir_all(path.parent().context("a file has a folder")?)?;
            let file = File::create_new(path)?;
            for (place, block) in &content.blocks {
                file.write_all_at(block, *place as u64)?;
            }
            let mut length = content.length;
            match fault {
                Some(Fault::Flip {
                    file: damaged,
                    place,
                }) if damaged == number => {
                    let flipped = content.byte(place) ^ 1 << (place % 8);
                    file.write_all_at(&[flipped], place as u64)?;
                }
                Some(Fault::Truncation {
                    file: damaged,
                    length: cut,
                }) if damaged == number => {
                    length = cut;
                }
                _ => {}
            }
            file.set_len(length as u64)?;
        }
        Ok(())
    }
}

impl Content {
    fn new(path: PathBuf, bytes: &[u8]) -> Self {
        let blocks = bytes
            .chunks(BLOCK_BYTES)
            .enumerate()
            .filter(|(_, block)| block.iter().any(|byte| *byte != 0))
            .map(|(number, block)| (number * BLOCK_BYTES, block.to_vec()))
            .collect();
        Self {
            path,
            length: bytes.len(),
            blocks,
        }
    }

    /// The places of all bytes of blocks that aren't all zeros.
    fn places(&self) -> impl Iterator<Item = usize> {
        self.blocks
            .iter()
            .flat_map(|(first, block)| *first..first + block.len())
    }

    /// The lengths to cut the file off at.
    fn cuts(&self) -> BTreeSet<usize> {
        // Behind the last byte that isn't zero.
        let end = self.blocks.last().map_or(0, |(first, block)| {
            let zeros = block.iter().rev().take_while(|byte| **byte == 0).count();
            first + block.len() - zeros
        });
        let in_zeros = (end.next_multiple_of(CUT_BYTES)..self.length).step_by(CUT_BYTES);
        let ends = [end].into_iter().chain(self.length.checked_sub(1));
        (0..end)
            .chain(in_zeros)
            .chain(ends)
            .filter(|length| *length < self.length)
            .collect()
    }

    fn byte(&self, place: usize) -> u8 {
        let first = place / BLOCK_BYTES * BLOCK_BYTES;
        self.blocks
            .binary_search_by_key(&first, |(first, _)| *first)
            .map_or(0, |index| self.blocks[index].1[place - first])
    }
}
