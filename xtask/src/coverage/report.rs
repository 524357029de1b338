//! What llvm-cov's list in the form of lcov says of each file.
//!
//! Of a line it has one count, over all programs and all instances of generic code, and of
//! each outcome of a branch one as well. The per-file sums of the same tool are not used:
//! of code that is in several programs they take the one that ran most of it, not all.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{AddAssign, RangeInclusive};
use std::path::Path;

use anyhow::{Context, Result, bail};

/// How much there is, and how much of it was run.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    lines: usize,
    lines_run: usize,
    branches: usize,
    branches_run: usize,
}

impl Share {
    /// The columns of a printed share.
    pub const TITLES: &str = "  lines not run       run  branches not run       run";

    /// The share of the lines that were run.
    pub fn lines_percent(&self) -> f64 {
        percent(self.lines_run, self.lines)
    }
}

fn percent(part: usize, whole: usize) -> f64 {
    if whole == 0 {
        100.0
    } else {
        part as f64 * 100.0 / whole as f64
    }
}

impl AddAssign for Share {
    fn add_assign(&mut self, other: Self) {
        self.lines += other.lines;
        self.lines_run += other.lines_run;
        self.branches += other.branches;
        self.branches_run += other.branches_run;
    }
}

impl fmt::Display for Share {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{:>7} {:>7} {:>7.2} % {:>9} {:>7} {:>7.2} %",
            self.lines,
            self.lines - self.lines_run,
            self.lines_percent(),
            self.branches,
            self.branches - self.branches_run,
            percent(self.branches_run, self.branches),
        )
    }
}

/// The counts of one file.
#[derive(Debug, Default)]
pub struct FileReport {
    /// How often each line ran that has code.
    lines: BTreeMap<usize, u64>,
    /// How often each outcome of a branch came, by its line and the number and outcome that
    /// tell it from others there.
    branches: BTreeMap<(usize, String), u64>,
}

/// Reads the list; the files below `root`, by their paths from there, with `/`.
pub fn parse(text: &str, root: &Path) -> Result<BTreeMap<String, FileReport>> {
    let mut files: BTreeMap<String, FileReport> = BTreeMap::new();
    let mut current = None;
    for line in text.lines() {
        let bad = || format!("llvm-cov's line `{line}` is not understood");
        let (what, rest) = line.split_once(':').unwrap_or((line, ""));
        match what {
            "SF" => {
                current = Path::new(rest).strip_prefix(root).ok().map(|path| {
                    let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
                    files.entry(parts.join("/")).or_default()
                });
            }
            "DA" => {
                let Some(file) = &mut current else { continue };
                let (number, count) = rest.split_once(',').with_context(bad)?;
                let count = count.parse::<u64>().with_context(bad)?;
                *file
                    .lines
                    .entry(number.parse().with_context(bad)?)
                    .or_default() += count;
            }
            "BRDA" => {
                let Some(file) = &mut current else { continue };
                // Line, block, branch, count; `-` where the condition was never asked.
                let (place, count) = rest.rsplit_once(',').with_context(bad)?;
                let (number, outcome) = place.split_once(',').with_context(bad)?;
                let count = match count {
                    "-" => 0,
                    count => count.parse::<u64>().with_context(bad)?,
                };
                let key = (number.parse().with_context(bad)?, outcome.to_owned());
                *file.branches.entry(key).or_default() += count;
            }
            "end_of_record" => current = None,
            _ => {}
        }
    }
    if files.is_empty() {
        bail!("llvm-cov counted no line below {}", root.display());
    }
    Ok(files)
}

impl FileReport {
    /// Takes these lines out: they are test code.
    pub fn leave_out(&mut self, lines: &[RangeInclusive<usize>]) {
        let stays = |number: &usize| !lines.iter().any(|range| range.contains(number));
        self.lines.retain(|number, _| stays(number));
        self.branches.retain(|(number, _), _| stays(number));
    }

    /// The sums of the file.
    pub fn share(&self) -> Share {
        Share {
            lines: self.lines.len(),
            lines_run: self.lines.values().filter(|count| **count > 0).count(),
            branches: self.branches.len(),
            branches_run: self.branches.values().filter(|count| **count > 0).count(),
        }
    }

    /// Prints each line that nothing ran, and each with an outcome that never came.
    pub fn print_uncovered(&self, path: &str, text: &str, with_branches: bool) {
        for (index, source) in text.lines().enumerate() {
            let number = index + 1;
            if self.lines.get(&number) == Some(&0) {
                println!("{path}:{number}: {source}");
                continue;
            }
            let outcomes = self.branches.iter();
            let missing = outcomes.filter(|((line, _), count)| *line == number && **count == 0);
            let missing: Vec<&str> = missing.map(|((_, outcome), _)| outcome.as_str()).collect();
            if with_branches && !missing.is_empty() {
                println!("{path}:{number}: [{}] {source}", missing.join(" "));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "SF:/x/core/src/db/read.rs\n\
        FN:1,name\n\
        DA:1,4\nDA:2,0\nDA:9,0\n\
        BRDA:1,0,0,4\nBRDA:1,0,1,0\nBRDA:9,0,0,-\n\
        BRF:3\nLF:3\nend_of_record\n\
        SF:/x/platform/src/lib.rs\nDA:1,0\nend_of_record\n";

    #[test]
    fn lines_and_outcomes_are_summed_below_the_root_only() {
        let mut files = parse(LIST, Path::new("/x/core/src")).expect("a list");
        assert_eq!(files.keys().collect::<Vec<_>>(), ["db/read.rs"]);
        let file = files.get_mut("db/read.rs").expect("it is there");
        let mut expected = Share {
            lines: 3,
            lines_run: 1,
            branches: 3,
            branches_run: 1,
        };
        assert_eq!(file.share(), expected);
        file.leave_out(&[5..=20]);
        expected.lines = 2;
        expected.branches = 2;
        assert_eq!(file.share(), expected);
        assert_eq!(file.share().lines_percent(), 50.0);
    }

    #[test]
    fn what_is_no_list_is_refused() {
        let root = Path::new("/x/core/src");
        assert!(parse("", root).is_err());
        assert!(parse("SF:/x/core/src/a.rs\nDA:1\n", root).is_err());
        assert!(parse("SF:/x/core/src/a.rs\nBRDA:1,0,0,many\n", root).is_err());
    }
}
