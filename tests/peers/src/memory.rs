//! Gives a measurement only so much memory, page cache included.
//!
//! Two means, tried in this order; the run says which one it has:
//! - a memory cgroup (version 2 or 1) below the one this process is in, or, since
//!   version 2 gives no limits to children of a group that has processes, beside
//!   it. The measuring process enters it before it opens the database, so that
//!   every page it brings in is charged to the limit;
//! - a ballast: a process that locks all memory but so much. It limits the whole
//!   machine, so nothing else should run beside it.
//!
//! Pages that another process has left in the cache are charged to that process:
//! the caller drops them first.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::mm::{MlockAllFlags, mlockall};

const CONTROLLERS: &str = "/sys/fs/cgroup";
const BALLAST_STEP_BYTES: usize = 16 * 1024 * 1024;

/// A limit that holds until it is dropped.
pub enum MemoryLimit {
    /// The group's folder, to be entered by [`enter`].
    Group(PathBuf),
    /// The process that holds the rest of the memory.
    Ballast(Child),
}

impl MemoryLimit {
    /// Makes a limit of `bytes` by the first means that works.
    pub fn new(bytes: u64) -> Result<Self> {
        match make_group(bytes) {
            Ok(group) => Ok(Self::Group(group)),
            Err(refusal) => start_ballast(bytes)
                .map(Self::Ballast)
                .with_context(|| format!("no memory cgroup either ({refusal:#})")),
        }
    }

    /// How the limit is kept, in words.
    pub fn describe(&self) -> &'static str {
        match self {
            Self::Group(_) => "a memory cgroup",
            Self::Ballast(_) => "a locked ballast",
        }
    }

    /// The group that the measuring process has to enter, if there is one.
    pub fn group(&self) -> Option<&Path> {
        match self {
            Self::Group(folder) => Some(folder),
            Self::Ballast(_) => None,
        }
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        match self {
            // What can't be undone here is an empty group, and harms nothing.
            Self::Group(folder) => drop(fs::remove_dir(folder)),
            Self::Ballast(child) => {
                // The ballast ends when its input does.
                drop(child.stdin.take());
                let _ = child.wait();
            }
        }
    }
}

/// Moves the calling process, with all its threads, into the group at `folder`.
pub fn enter(folder: &Path) -> Result<()> {
    fs::write(folder.join("cgroup.procs"), "0")
        .with_context(|| format!("cannot enter the memory cgroup {}", folder.display()))
}

fn make_group(bytes: u64) -> Result<PathBuf> {
    let membership = fs::read_to_string("/proc/self/cgroup")?;
    let mut refusals = Vec::new();
    for (parent, limit_file, swap_setting) in candidates(&membership) {
        let folder = parent.join(format!("lightning-peers-{}", std::process::id()));
        match try_group(&folder, limit_file, swap_setting, bytes) {
            Ok(()) => return Ok(folder),
            Err(refusal) => {
                let _ = fs::remove_dir(&folder);
                refusals.push(format!("{}: {refusal:#}", parent.display()));
            }
        }
    }
    bail!("{}", refusals.join("; "))
}

type Candidate = (PathBuf, &'static str, (&'static str, &'static str));

/// Where a group may be made: version 1 below the own group, version 2 below it
/// and beside it.
fn candidates(membership: &str) -> Vec<Candidate> {
    let mut found: Vec<Candidate> = Vec::new();
    for line in membership.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(names), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let path = path.trim_start_matches('/');
        if names.split(',').any(|name| name == "memory") {
            let own = Path::new(CONTROLLERS).join("memory").join(path);
            found.push((own, "memory.limit_in_bytes", ("memory.swappiness", "0")));
        } else if names.is_empty() {
            let own = Path::new(CONTROLLERS).join(path);
            let beside = (!path.is_empty())
                .then(|| own.parent().map(Path::to_owned))
                .flatten();
            for parent in [Some(own), beside].into_iter().flatten() {
                found.push((parent, "memory.max", ("memory.swap.max", "0")));
            }
        }
    }
    found
}

fn try_group(
    folder: &Path,
    limit_file: &str,
    (swap_file, swap_value): (&str, &str),
    bytes: u64,
) -> Result<()> {
    fs::create_dir(folder)?;
    let limit_file = folder.join(limit_file);
    ensure!(limit_file.exists(), "it has no memory controller");
    fs::write(limit_file, bytes.to_string())?;
    // Absent where the kernel accounts no swap, and then nothing swaps.
    let swap_file = folder.join(swap_file);
    if swap_file.exists() {
        fs::write(swap_file, swap_value)?;
    }
    Ok(())
}

fn start_ballast(free_bytes: u64) -> Result<Child> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg("ballast")
        .arg(free_bytes.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let output = child.stdout.take().context("the ballast has no output")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    if line.trim() != "ready" {
        let _ = child.wait();
        bail!("the ballast could not lock the memory");
    }
    Ok(child)
}

/// The ballast process: locks memory until `free_bytes` are left, says `ready`,
/// and ends with its input. If memory runs out, it is the first to be killed.
pub fn run_ballast(free_bytes: u64) -> Result<()> {
    fs::write("/proc/self/oom_score_adj", "1000")?;
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE)
        .context("cannot lock memory (needs CAP_IPC_LOCK or a higher limit)")?;
    let mut held: Vec<Vec<u8>> = Vec::new();
    while available_bytes()? > free_bytes + BALLAST_STEP_BYTES as u64 {
        let mut piece = Vec::new();
        piece.try_reserve_exact(BALLAST_STEP_BYTES)?;
        piece.resize(BALLAST_STEP_BYTES, 1);
        held.push(piece);
    }
    println!("ready");
    std::io::stdout().flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    drop(held);
    Ok(())
}

fn available_bytes() -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))
        .context("/proc/meminfo has no line MemAvailable")?;
    let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_of_control_groups_are_tried() {
        let found = candidates("4:memory:/a/b\n3:cpu:/\n0::/c/d\n");
        let parents: Vec<&Path> = found.iter().map(|entry| entry.0.as_path()).collect();
        assert_eq!(
            parents,
            [
                Path::new("/sys/fs/cgroup/memory/a/b"),
                Path::new("/sys/fs/cgroup/c/d"),
                Path::new("/sys/fs/cgroup/c"),
            ]
        );
    }
}
