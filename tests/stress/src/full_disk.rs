//! A device of its own that is full, with real processes: a small file system in memory.
//!
//! Several threads write until none of them finds room any more. What was acknowledged is
//! read then, by the same process, and each error says that the device is full. The process
//! is killed; with the device still full the database may be refused or opened, and what is
//! found then is right. When there is room it is opened, holds all that was acknowledged,
//! takes writes again, and is sound. Only root may mount: otherwise nothing runs, and that
//! is said.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use lightning_sim::mix;

use crate::judge::Judge;
use crate::kills::await_look;
use crate::life::now_ms;
use crate::message::Message;
use crate::operation::Source;
use crate::process::{Life, Limit, NoMore, PATIENCE, Places, Told};
use crate::report::Report;
use crate::setup::{GROWING, LOGGED};

/// Sizes of the device, in KiB: full at another moment each. Those of whole thousands get
/// nothing but what goes through the log.
const SIZES_KIB: [u64; 12] = [
    5_000, 6_500, 8_000, 9_500, 12_000, 14_000, 17_000, 20_500, 24_500, 29_000, 35_000, 47_000,
];
/// What there is more when there is room again.
const ROOM_KIB: u64 = 600_000;
/// How many devices are filled at once.
const AT_ONCE: usize = 4;
/// How many acknowledgements come when there is room again, until the process is killed.
const WORK_ACKNOWLEDGED: u64 = 60;

/// A file system in memory, taken down at the end.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(path: &Path, kibibytes: u64) -> Result<Self, String> {
        std::fs::create_dir_all(path).map_err(|error| error.to_string())?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={kibibytes}k"), "tmpfs"])
            .arg(path)
            .output()
            .map_err(|error| error.to_string())?;
        if mounted.status.success() {
            Ok(Self(path.to_owned()))
        } else {
            Err(String::from_utf8_lossy(&mounted.stderr).trim().to_owned())
        }
    }

    fn resize(&self, kibibytes: u64) -> Result<(), String> {
        let resized = Command::new("mount")
            .args(["-o", &format!("remount,size={kibibytes}k")])
            .arg(&self.0)
            .status();
        match resized {
            Ok(status) if status.success() => Ok(()),
            other => Err(format!("the file system can't be made larger: {other:?}")),
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that was killed may hold it for a moment.
        let _gone = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Fills devices of several sizes.
pub fn run(seed: u64, folder: &Path) -> Option<Report> {
    let probe = folder.join("full-disk-probe");
    let mounted = SmallDisk::mount(&probe, 64);
    let refusal = mounted.err();
    let _removed = std::fs::remove_dir_all(&probe);
    if let Some(words) = refusal {
        println!("SKIPPED full-disk: no file system can be mounted here ({words})");
        return None;
    }
    let told = Mutex::new((Vec::<End>::new(), Vec::<String>::new()));
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        // Much of their time is waiting for room.
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(size) = SIZES_KIB.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let folder = folder.join(format!("full-disk-{seed}-{size}"));
                    let outcome = fill(seed, *size, &folder);
                    let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
                    match outcome {
                        Ok(end) => {
                            let _removed = std::fs::remove_dir_all(&folder);
                            told.0.push(end);
                        }
                        Err(words) => told.1.push(format!(
                            "{size} KiB: {words}\n  kept, as it was when it was killed: {}\n  \
                             again: cargo xtask stress --only full-disk --seed {seed}",
                            folder.join("before").display()
                        )),
                    }
                }
            });
        }
    });
    let (good, failures) = told.into_inner().unwrap_or_else(PoisonError::into_inner);
    let opened = good.iter().filter(|end| end.opened_full).count();
    let operations: u64 = good.iter().map(|end| end.operations).sum();
    Some(Report {
        name: "full-disk",
        cases: SIZES_KIB.len() as u64,
        failures,
        words: format!(
            "{operations} operations in them; {opened} were opened while full, the others only \
             when there was room"
        ),
    })
}

struct End {
    operations: u64,
    opened_full: bool,
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn fill(seed: u64, kibibytes: u64, folder: &Path) -> Result<End, String> {
    let source = Source {
        seed: mix(seed ^ mix(kibibytes)),
        setup: if kibibytes.is_multiple_of(1_000) {
            LOGGED
        } else {
            GROWING
        },
        base_ms: now_ms(),
    };
    let mut places = Places::new(folder).map_err(text)?;
    let disk = SmallDisk::mount(&folder.join("disk"), kibibytes)?;
    places.data = disk.0.join("data");
    let mut judge = Judge::new(source);
    let begin = || Life::begin(&source, &places, Limit::None).map_err(text);
    let mut life = begin()?;
    judge.judge(&await_look(&life)?)?;
    life.say(&format!("fill {}", judge.numbers()))
        .map_err(text)?;
    let mut full = 0;
    loop {
        match life.next(PATIENCE) {
            Ok(Told::Other(Message::Acknowledged(worker, number))) => {
                judge.acknowledge(worker, number);
            }
            Ok(Told::Other(Message::Full(words))) => {
                let words = words.to_lowercase();
                if !["no space", "full"].iter().any(|part| words.contains(part)) {
                    return Err(format!(
                        "an error doesn't say that the device is full: {words}"
                    ));
                }
                full += 1;
            }
            Ok(Told::Other(Message::Failed(words))) => return Err(words),
            Ok(Told::Other(_) | Told::Opened) => {}
            // Reads go on.
            Ok(Told::Looked(look)) => {
                judge
                    .judge(&look)
                    .map_err(|words| format!("while full: {words}"))?;
                break;
            }
            Err(NoMore::Ended) => return Err("it ended while it filled the device".to_owned()),
            Err(NoMore::Silent) => {
                return Err(format!(
                    "{full} workers met a full device, and then silence"
                ));
            }
        }
    }
    life.kill().map_err(text)?;
    drop(life);
    places.save().map_err(text)?;
    let life = begin()?;
    let opened_full = match await_look(&life) {
        Ok(look) => {
            judge
                .judge(&look)
                .map_err(|words| format!("opened while full: {words}"))?;
            true
        }
        Err(words) if words.to_lowercase().contains("no space") => false,
        Err(words) => return Err(format!("opening while full: {words}")),
    };
    drop(life);
    disk.resize(kibibytes + ROOM_KIB)?;
    let mut life = begin()?;
    judge
        .judge(&await_look(&life)?)
        .map_err(|words| format!("with room: {words}"))?;
    life.say(&format!("go {}", judge.numbers())).map_err(text)?;
    let mut acknowledged = 0;
    loop {
        match life.next(PATIENCE) {
            Ok(Told::Other(Message::Acknowledged(worker, number))) => {
                judge.acknowledge(worker, number);
                acknowledged += 1;
                if acknowledged == WORK_ACKNOWLEDGED {
                    life.kill().map_err(text)?;
                }
            }
            Ok(Told::Other(Message::Failed(words))) => return Err(format!("with room: {words}")),
            Ok(_) => {}
            Err(NoMore::Ended) => break,
            Err(NoMore::Silent) => return Err("there is room, and no work is done".to_owned()),
        }
    }
    drop(life);
    let mut life = begin()?;
    judge.judge(&await_look(&life)?)?;
    life.say("end").map_err(text)?;
    match life.next(PATIENCE) {
        Ok(Told::Other(Message::Closed)) => {}
        Ok(Told::Other(Message::Failed(words))) => return Err(words),
        _ => return Err("it doesn't close the database".to_owned()),
    }
    drop(life);
    let complaints = places.complaints();
    if !complaints.is_empty() {
        return Err(format!("a process complained: {complaints}"));
    }
    Ok(End {
        operations: judge.operations(),
        opened_full,
    })
}
