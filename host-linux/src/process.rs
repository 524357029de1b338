//! What this process takes of its machine, from `/proc` and the control group.

use lightning_platform::{MachineMemory, ProcessUse};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What this process takes now.
///
/// # Errors
/// `/proc` can't be read.
pub fn process_use() -> io::Result<ProcessUse> {
    let stat = read("/proc/self/stat")?;
    let machine = read("/proc/stat")?;
    let units = Units {
        ticks_per_second: rustix::param::clock_ticks_per_second(),
        page_bytes: rustix::param::page_size() as u64,
    };
    let mut found = parse_stat(&stat, &machine, units)
        .ok_or_else(|| io::Error::other("/proc/self/stat: its fields are not understood"))?;
    // The listing's own descriptor is one of them.
    found.open_files = (std::fs::read_dir("/proc/self/fd")?.count() as u64).saturating_sub(1);
    found.open_files_max = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    Ok(found)
}

fn read(path: &str) -> io::Result<String> {
    std::fs::read_to_string(path)
        .map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}")))
}

#[derive(Clone, Copy)]
struct Units {
    ticks_per_second: u64,
    page_bytes: u64,
}

/// Reads the fields of proc(5): those behind the name of the process, which may hold
/// anything.
fn parse_stat(stat: &str, machine: &str, units: Units) -> Option<ProcessUse> {
    let (_, behind) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = behind.split_ascii_whitespace().collect();
    // The first of them is field 3.
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let time = |field: usize| {
        let milliseconds = number(field)?.saturating_mul(1000) / units.ticks_per_second.max(1);
        Some(Duration::from_millis(milliseconds))
    };
    let booted = machine.lines().find_map(|line| {
        let seconds = line.strip_prefix("btime ")?;
        seconds.trim().parse::<u64>().ok()
    })?;
    Some(ProcessUse {
        user_time: time(14)?,
        system_time: time(15)?,
        threads: number(20)?,
        started_unix_seconds: booted + number(22)? / units.ticks_per_second.max(1),
        virtual_bytes: number(23)?,
        resident_bytes: number(24)?.saturating_mul(units.page_bytes),
        ..ProcessUse::default()
    })
}

/// Lets this process open as many files as its user may; answers how many, `None` for any
/// number.
///
/// # Errors
/// The system refuses.
pub fn raise_open_files_limit() -> io::Result<Option<u64>> {
    use rustix::process::{Resource, getrlimit, setrlimit};

    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        setrlimit(Resource::Nofile, limit)?;
    }
    Ok(limit.current)
}

/// How much memory there is for this process.
///
/// # Errors
/// `/proc` can't be read.
pub fn machine_memory() -> io::Result<MachineMemory> {
    let text = read("/proc/meminfo")?;
    let missing = || io::Error::other("/proc/meminfo: its lines are not understood");
    let total = meminfo_bytes(&text, "MemTotal:").ok_or_else(missing)?;
    let available = meminfo_bytes(&text, "MemAvailable:").ok_or_else(missing)?;
    let group = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limit_bytes = group_limit(&group, Path::new("/sys/fs/cgroup"))
        .unwrap_or(u64::MAX)
        .min(total);
    Ok(MachineMemory {
        limit_bytes,
        available_bytes: available.min(limit_bytes),
    })
}

fn meminfo_bytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// The least limit of the process's control group and those above it, where there is one.
fn group_limit(groups: &str, root: &Path) -> Option<u64> {
    let mut least: Option<u64> = None;
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let (base, file) = if controllers.is_empty() {
            (root.to_owned(), "memory.max")
        } else if controllers.split(',').any(|name| name == "memory") {
            (root.join("memory"), "memory.limit_in_bytes")
        } else {
            continue;
        };
        let mut folder: PathBuf = base.join(path.trim_start_matches('/'));
        loop {
            let limit = std::fs::read_to_string(folder.join(file))
                .ok()
                .and_then(|text| text.trim().parse::<u64>().ok());
            if let Some(limit) = limit {
                least = Some(least.map_or(limit, |known| known.min(limit)));
            }
            if folder == base || !folder.pop() {
                break;
            }
        }
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_directory::TestDirectory;

    #[test]
    fn fields_are_found_behind_any_name() {
        let stat = "42 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 250 130 0 0 20 0 9 0 500 4096000 77 1 2";
        let machine = "cpu 1 2\nbtime 1700000000\nprocesses 3\n";
        let units = Units {
            ticks_per_second: 100,
            page_bytes: 4096,
        };
        let found = parse_stat(stat, machine, units).unwrap();
        assert_eq!(found.user_time, Duration::from_millis(2500));
        assert_eq!(found.system_time, Duration::from_millis(1300));
        assert_eq!(found.threads, 9);
        assert_eq!(found.started_unix_seconds, 1_700_000_005);
        assert_eq!(found.virtual_bytes, 4_096_000);
        assert_eq!(found.resident_bytes, 77 * 4096);
        assert_eq!(parse_stat("42 (a) S 1", machine, units), None);
    }

    #[test]
    fn this_process_has_figures() {
        let found = process_use().unwrap();
        assert!(found.resident_bytes > 0 && found.virtual_bytes >= found.resident_bytes);
        assert!(found.threads >= 1 && found.open_files >= 3);
        assert!(found.started_unix_seconds > 1_600_000_000);
        let memory = machine_memory().unwrap();
        assert!(memory.available_bytes <= memory.limit_bytes);
    }

    #[test]
    fn the_least_limit_of_the_groups_counts() {
        let directory = TestDirectory::new();
        let root = directory.path();
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::create_dir_all(root.join("memory/c")).unwrap();
        std::fs::write(root.join("a/memory.max"), "1000\n").unwrap();
        std::fs::write(root.join("a/b/memory.max"), "max\n").unwrap();
        std::fs::write(root.join("memory/c/memory.limit_in_bytes"), "500\n").unwrap();
        assert_eq!(group_limit("0::/a/b\n", root), Some(1000));
        assert_eq!(group_limit("0::/a/b\n4:cpu,memory:/c\n", root), Some(500));
        assert_eq!(group_limit("0::/elsewhere\n", root), None);
    }
}
