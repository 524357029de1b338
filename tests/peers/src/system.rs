//! What the machine says about a measurement: device and process counters, file
//! sizes, and the thread that keeps a CPU awake.
//!
//! Linux only, from `/proc` and `/sys`. Device counters are those of the whole
//! device, so a figure made of them holds on an otherwise quiet machine only;
//! where the directory has no block device of its own (tmpfs, overlay), there are
//! none, and the figures made of them are left out.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::fs::{Advice, fadvise, major, minor, syncfs};

const SECTOR_BYTES: u64 = 512;
const PEAK_SAMPLE_PAUSE: Duration = Duration::from_millis(50);

/// Counters of a block device since boot.
#[derive(Debug, Clone, Copy, Default)]
pub struct DeviceCounters {
    /// Read requests completed.
    pub reads: u64,
    /// Write requests completed.
    pub writes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Flush requests completed.
    pub flushes: u64,
}

/// The block device under a directory.
pub struct Device(PathBuf);

impl Device {
    /// The device that holds `directory`, if the kernel counts for it.
    pub fn of(directory: &Path) -> Result<Option<Self>> {
        let number = fs::metadata(directory)?.dev();
        let folder = PathBuf::from(format!(
            "/sys/dev/block/{}:{}",
            major(number),
            minor(number)
        ));
        let Ok(folder) = fs::canonicalize(folder) else {
            return Ok(None);
        };
        // Flushes are counted for the whole disk, not for its partitions.
        let whole = match (folder.join("partition").exists(), folder.parent()) {
            (true, Some(disk)) => disk.to_owned(),
            _ => folder,
        };
        let file = whole.join("stat");
        Ok(file.exists().then_some(Self(file)))
    }

    /// The counters now.
    pub fn counters(&self) -> Result<DeviceCounters> {
        let text = fs::read_to_string(&self.0)?;
        let fields: Vec<u64> = text
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        let field = |position: usize| fields.get(position).copied().unwrap_or(0);
        Ok(DeviceCounters {
            reads: field(0),
            writes: field(4),
            written_bytes: field(6) * SECTOR_BYTES,
            flushes: field(15),
        })
    }
}

impl DeviceCounters {
    /// What happened since `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            reads: self.reads - earlier.reads,
            writes: self.writes - earlier.writes,
            written_bytes: self.written_bytes - earlier.written_bytes,
            flushes: self.flushes - earlier.flushes,
        }
    }
}

/// Bytes that this process has passed to calls of the `write` family.
///
/// `write_bytes` of the same file counts pages made dirty and is far off on some
/// kernels. Stores into a writable mapping, and writes by `io_uring`, are not
/// counted: an engine that uses either shows in the device's counters only.
pub fn bytes_of_write_calls() -> Result<u64> {
    let text = fs::read_to_string("/proc/self/io")?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("wchar:"))
        .context("/proc/self/io has no line wchar")?;
    Ok(line.trim().parse()?)
}

/// Bytes of all blocks allocated to files below `directory`.
pub fn allocated_bytes(directory: &Path) -> Result<u64> {
    let mut total = 0;
    for_each_file(directory, &mut |path| {
        // Engines remove files of their own while this looks.
        if let Ok(metadata) = fs::metadata(path) {
            total += metadata.blocks() * SECTOR_BYTES;
        }
        Ok(())
    })?;
    Ok(total)
}

/// Writes what is dirty in the file system of `directory` and drops the clean
/// pages of its files from the page cache, as far as no process maps them.
pub fn drop_page_cache(directory: &Path) -> Result<()> {
    sync_file_system(directory)?;
    for_each_file(directory, &mut |path| {
        Ok(fadvise(File::open(path)?, 0, None, Advice::DontNeed)?)
    })
}

/// Writes all that is dirty in the file system of `directory`.
pub fn sync_file_system(directory: &Path) -> Result<()> {
    Ok(syncfs(File::open(directory)?)?)
}

fn for_each_file(directory: &Path, visit: &mut dyn FnMut(&Path) -> Result<()>) -> Result<()> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Ok(());
    };
    for entry in entries {
        let entry = entry?;
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => for_each_file(&entry.path(), visit)?,
            Ok(kind) if kind.is_file() => visit(&entry.path())?,
            _ => {}
        }
    }
    Ok(())
}

/// A thread that works beside a measurement until this is dropped.
struct Companion {
    is_done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Companion {
    fn start(mut step: impl FnMut() + Send + 'static) -> Self {
        let is_done = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&is_done);
        let thread = std::thread::spawn(move || {
            while !flag.load(Ordering::Relaxed) {
                step();
            }
        });
        Self {
            is_done,
            thread: Some(thread),
        }
    }
}

impl Drop for Companion {
    fn drop(&mut self) {
        self.is_done.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // The thread returns nothing, and a panic of it is printed already.
            let _ = thread.join();
        }
    }
}

/// Keeps one CPU from idling while it lives.
///
/// Virtual machines of the kind measured here complete a flush only at the next
/// timer tick when the CPU that takes the interrupt idles: 4 ms instead of 0.1 to
/// 0.3, for every engine, which would hide all differences between them. The
/// thread spins and is pinned nowhere, so that the scheduler moves it out of the
/// way of the engine's own threads. Every durable workload of every engine runs
/// beside one, and no other workload does.
pub struct KeepAwake(#[expect(dead_code, reason = "held for its drop")] Companion);

impl KeepAwake {
    /// Starts the thread.
    pub fn start() -> Self {
        Self(Companion::start(|| {
            for _ in 0..1_000 {
                std::hint::spin_loop();
            }
        }))
    }
}

/// Records the largest size that a directory reaches while it lives.
pub struct PeakWatch {
    peak_bytes: Arc<AtomicU64>,
    _companion: Companion,
}

impl PeakWatch {
    /// Starts to sample the allocated bytes below `directory`.
    pub fn start(directory: &Path) -> Self {
        let peak_bytes = Arc::new(AtomicU64::new(0));
        let shared = Arc::clone(&peak_bytes);
        let directory = directory.to_owned();
        let companion = Companion::start(move || {
            // A failed look is made up for by the next one.
            if let Ok(bytes) = allocated_bytes(&directory) {
                shared.fetch_max(bytes, Ordering::Relaxed);
            }
            std::thread::sleep(PEAK_SAMPLE_PAUSE);
        });
        Self {
            peak_bytes,
            _companion: companion,
        }
    }

    /// The largest size seen so far.
    pub fn peak_bytes(&self) -> u64 {
        self.peak_bytes.load(Ordering::Relaxed)
    }
}
