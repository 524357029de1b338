//! The log's file, and how it is followed by the next.
//!
//! `lightning.log` that has grown to its size becomes `lightning.1.log`, that one
//! `lightning.2.log`, and so on; the oldest goes. So all of them end alike, and what
//! selects logs by their ending selects them all.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// A file that is begun anew when it has grown to a size.
#[derive(Debug)]
pub(super) struct RotatedFile {
    path: PathBuf,
    file: File,
    bytes: u64,
    bytes_max: u64,
    files_max: u32,
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().append(true).create(true).open(path)?;
    let bytes = file.metadata()?.len();
    Ok((file, bytes))
}

impl RotatedFile {
    /// Goes on in the file at `path`, of which `files_max` are kept, it included.
    pub(super) fn open(path: &Path, bytes_max: u64, files_max: u32) -> io::Result<Self> {
        let (file, bytes) = open(path)?;
        let rotated = Self {
            path: path.to_owned(),
            file,
            bytes,
            bytes_max,
            files_max: files_max.max(1),
        };
        rotated.remove_surplus();
        Ok(rotated)
    }

    /// Goes on in the file of that name.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        (self.file, self.bytes) = open(&self.path)?;
        Ok(())
    }

    /// Appends a line, to the next file where it doesn't fit into this one.
    pub(super) fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
        if self.bytes > 0 && self.bytes.saturating_add(length) > self.bytes_max {
            // A log that can't be followed by the next goes on as it is.
            let _outcome = self.rotate();
        }
        self.file.write_all(line)?;
        self.bytes += length;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let oldest = self.files_max - 1;
        for number in (0..oldest).rev() {
            match std::fs::rename(self.numbered(number), self.numbered(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        if oldest == 0 {
            std::fs::remove_file(&self.path)?;
        }
        self.reopen()
    }

    /// The path of the file that has been followed `number` times.
    fn numbered(&self, number: u32) -> PathBuf {
        if number == 0 {
            return self.path.clone();
        }
        let mut name = self.path.file_stem().unwrap_or_default().to_owned();
        name.push(format!(".{number}"));
        if let Some(ending) = self.path.extension() {
            name.push(".");
            name.push(ending);
        }
        self.path.with_file_name(name)
    }

    /// Removes files of a time when more were kept.
    fn remove_surplus(&self) {
        let mut number = self.files_max;
        while std::fs::remove_file(self.numbered(number)).is_ok() {
            number += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_directory::TestDirectory;
    use std::ffi::OsString;

    fn names(directory: &Path) -> Vec<OsString> {
        let mut names: Vec<OsString> = std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_newest_files_are_kept() {
        let directory = TestDirectory::new("log-files");
        let path = directory.path().join("a.log");
        let mut file = RotatedFile::open(&path, 10, 3).unwrap();
        for line in ["one 4\n", "two 4\n", "three\n", "four\n", "five\n", "six\n"] {
            file.write_line(line.as_bytes()).unwrap();
        }
        assert_eq!(names(directory.path()), ["a.1.log", "a.2.log", "a.log"]);
        let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
        assert_eq!(read("a.log"), "six\n");
        assert_eq!(read("a.1.log"), "four\nfive\n");
        assert_eq!(read("a.2.log"), "three\n");
        drop(file);
        let mut fewer = RotatedFile::open(&path, 10, 1).unwrap();
        assert_eq!(names(directory.path()), ["a.log"]);
        fewer.write_line(b"seven is long\n").unwrap();
        assert_eq!(read("a.log"), "seven is long\n");
        assert_eq!(names(directory.path()), ["a.log"]);
    }

    #[test]
    fn a_file_that_was_moved_is_begun_anew() {
        let directory = TestDirectory::new("log-moved");
        let path = directory.path().join("plain");
        let mut file = RotatedFile::open(&path, 1 << 20, 3).unwrap();
        file.write_line(b"old\n").unwrap();
        std::fs::rename(&path, directory.path().join("elsewhere")).unwrap();
        file.reopen().unwrap();
        file.write_line(b"new\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new\n");
    }
}
