//! Directories for databases, removed afterwards.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A path for a database. Nothing is there at first; what is there at last is removed.
pub struct Directory {
    path: PathBuf,
}

impl Directory {
    pub fn new(name: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        let path = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("database-{name}-{process}-{number}"));
        std::fs::remove_dir_all(&path).ok();
        Self { path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.path).ok();
    }
}
