//! The machine's processors and memory nodes, and which of them this process uses.
//!
//! Nodes are read from `/sys/devices/system/node`; the root of that is passed, so that
//! machines other than the present one can be tried.

use rustix::io::Errno;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::io;
use std::path::Path;

/// Where the kernel tells of the machine.
pub(crate) const SYSTEM_ROOT: &str = "/sys";

/// A memory node and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its number.
    pub number: u32,
    /// Its processors, ascending; none for memory alone.
    pub processors: Vec<u32>,
    /// Whether it has memory.
    pub has_memory: bool,
}

/// The nodes that are there, ascending, as `root` (`/sys`) tells.
///
/// # Errors
/// The kernel was built without nodes, or tells nothing that is understood.
pub fn nodes(root: &Path) -> io::Result<Vec<Node>> {
    let folder = root.join("devices/system/node");
    let read = |path: &Path| {
        let text = std::fs::read_to_string(path).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        })?;
        number_list(&text).ok_or_else(|| {
            let words = format!(
                "{}: {:?} is no list of numbers",
                path.display(),
                text.trim()
            );
            io::Error::other(words)
        })
    };
    // Kernels before 3.8 don't tell which have memory.
    let with_memory = read(&folder.join("has_memory")).ok();
    let mut nodes = Vec::new();
    for number in read(&folder.join("online"))? {
        nodes.push(Node {
            number,
            processors: read(&folder.join(format!("node{number}/cpulist")))?,
            has_memory: with_memory
                .as_ref()
                .is_none_or(|numbers| numbers.contains(&number)),
        });
    }
    Ok(nodes)
}

/// Reads the kernel's lists, such as `0-3,8`; empty for none.
fn number_list(text: &str) -> Option<Vec<u32>> {
    let mut numbers = Vec::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last >= 1 << 20 {
            return None;
        }
        numbers.extend(first..=last);
    }
    numbers.sort_unstable();
    numbers.dedup();
    Some(numbers)
}

/// The numbers in the kernel's way of writing: `0-3,8`.
#[must_use]
pub fn number_list_text(numbers: &[u32]) -> String {
    let mut parts: Vec<(u32, u32)> = Vec::new();
    for &number in numbers {
        match parts.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            _ => parts.push((number, number)),
        }
    }
    let parts = parts.iter().map(|(first, last)| {
        if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        }
    });
    parts.collect::<Vec<_>>().join(",")
}

/// The processors that this thread may run on, ascending.
///
/// # Errors
/// What the system says.
pub fn processors() -> io::Result<Vec<u32>> {
    let set = sched_getaffinity(None)?;
    let all = 0..CpuSet::MAX_CPU;
    Ok(all
        .filter(|number| set.is_set(*number))
        .filter_map(|number| u32::try_from(number).ok())
        .collect())
}

/// Has this thread give way to others where processors are short: raises its niceness, that
/// of this thread alone, by `steps`.
///
/// # Errors
/// What the system says.
pub fn give_way(steps: i32) -> io::Result<()> {
    rustix::process::nice(steps)?;
    Ok(())
}

/// Keeps this thread, and those that it starts afterwards, on those of `wanted` that it
/// may run on; answers which these are.
///
/// # Errors
/// None of them; what the system says.
pub fn keep_to_processors(wanted: &[u32]) -> io::Result<Vec<u32>> {
    let has = processors()?;
    let kept: Vec<u32> = has
        .iter()
        .copied()
        .filter(|number| wanted.contains(number))
        .collect();
    if kept.is_empty() {
        let words = format!(
            "this process has none of the processors {}; it has {}",
            number_list_text(wanted),
            number_list_text(&has)
        );
        return Err(io::Error::other(words));
    }
    let mut set = CpuSet::new();
    for number in &kept {
        set.set(*number as usize);
    }
    match sched_setaffinity(None, &set) {
        Ok(()) => Ok(kept),
        Err(Errno::PERM) => Err(io::Error::other(
            "the system doesn't let this process choose its processors (sched_setaffinity)",
        )),
        Err(errno) => Err(errno.into()),
    }
}

/// Keeps this thread, and those that it starts afterwards, on the processors of these
/// memory nodes; answers which these are.
///
/// # Errors
/// There is no such node, it has no processors, or as [`keep_to_processors`].
pub fn keep_to_nodes(numbers: &[u32]) -> io::Result<Vec<u32>> {
    let found = chosen(&nodes(Path::new(SYSTEM_ROOT))?, numbers).map_err(io::Error::other)?;
    let processors: Vec<u32> = found.into_iter().flat_map(|node| node.processors).collect();
    keep_to_processors(&processors)
}

/// The nodes of these numbers.
///
/// # Errors
/// Words for one that isn't there.
pub(crate) fn chosen(nodes: &[Node], numbers: &[u32]) -> Result<Vec<Node>, String> {
    let find = |number: &u32| {
        let found = nodes.iter().find(|node| node.number == *number);
        found.cloned().ok_or_else(|| {
            let all: Vec<u32> = nodes.iter().map(|node| node.number).collect();
            format!(
                "this machine has no memory node {number}; it has {}",
                number_list_text(&all)
            )
        })
    };
    numbers.iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_directory::TestDirectory;

    /// A machine as its kernel tells of it.
    fn machine(files: &[(&str, &str)]) -> TestDirectory {
        let root = TestDirectory::new();
        let folder = root.path().join("devices/system/node");
        for (path, text) in files {
            let path = folder.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, format!("{text}\n")).unwrap();
        }
        root
    }

    #[test]
    fn two_sockets_and_memory_without_processors() {
        let root = machine(&[
            ("online", "0-1,4"),
            ("has_memory", "1,4"),
            ("node0/cpulist", "0-3,8-11"),
            ("node1/cpulist", "4-7"),
            ("node4/cpulist", ""),
        ]);
        let nodes = nodes(root.path()).unwrap();
        let node = |number, processors: &[u32], has_memory| Node {
            number,
            processors: processors.to_vec(),
            has_memory,
        };
        assert_eq!(
            nodes,
            [
                node(0, &[0, 1, 2, 3, 8, 9, 10, 11], false),
                node(1, &[4, 5, 6, 7], true),
                node(4, &[], true),
            ]
        );
        assert_eq!(chosen(&nodes, &[4, 0]).unwrap().len(), 2);
        assert_eq!(
            chosen(&nodes, &[1, 2]).unwrap_err(),
            "this machine has no memory node 2; it has 0-1,4"
        );
    }

    #[test]
    fn what_is_not_told_is_an_error_with_its_place() {
        let root = machine(&[]);
        let error = nodes(root.path()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains("devices/system/node/online"));
        let root = machine(&[("online", "0"), ("node0/cpulist", "0-x")]);
        let error = nodes(root.path()).unwrap_err().to_string();
        assert!(error.contains("\"0-x\" is no list of numbers"), "{error}");
        // Before it was told which nodes have memory, all had.
        let root = machine(&[("online", "0"), ("node0/cpulist", "0")]);
        assert!(nodes(root.path()).unwrap()[0].has_memory);
    }

    #[test]
    fn lists_are_read_and_written() {
        for (text, numbers) in [
            ("", &[][..]),
            ("0", &[0]),
            ("0-2", &[0, 1, 2]),
            ("0,2-3,9", &[0, 2, 3, 9]),
        ] {
            assert_eq!(number_list(text).as_deref(), Some(numbers));
            assert_eq!(number_list_text(numbers), text);
        }
        for text in ["x", "1-", "3-1", "-1", "0-99999999"] {
            assert_eq!(number_list(text), None, "{text}");
        }
    }

    #[test]
    fn a_thread_is_kept_to_processors() {
        std::thread::spawn(|| {
            let all = processors().unwrap();
            let last = *all.last().unwrap();
            assert_eq!(keep_to_processors(&[last, 1_000]).unwrap(), [last]);
            assert_eq!(processors().unwrap(), [last]);
            // Those that it starts are kept there, too.
            let started = std::thread::spawn(|| processors().unwrap()).join().unwrap();
            assert_eq!(started, [last]);
            let error = keep_to_processors(&[1_000]).unwrap_err().to_string();
            let expected = format!("this process has none of the processors 1000; it has {last}");
            assert_eq!(error, expected);
            assert_eq!(processors().unwrap(), [last]);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_thread_is_kept_to_the_nodes_of_this_machine() {
        let Ok(nodes) = nodes(Path::new(SYSTEM_ROOT)) else {
            println!("SKIPPED: this kernel tells of no memory nodes");
            return;
        };
        let numbers: Vec<u32> = nodes.iter().map(|node| node.number).collect();
        std::thread::spawn(move || {
            let before = processors().unwrap();
            assert_eq!(keep_to_nodes(&numbers).unwrap(), before);
            let error = keep_to_nodes(&[9_999]).unwrap_err().to_string();
            assert!(error.contains("no memory node 9999"), "{error}");
        })
        .join()
        .unwrap();
    }
}
