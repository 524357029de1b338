//! A directory of its own for each test, removed with everything in it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

pub(crate) struct TestDirectory(PathBuf);

impl TestDirectory {
    pub(crate) fn new() -> Self {
        Self::within(&std::env::temp_dir())
    }

    pub(crate) fn within(parent: &Path) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "lightning-host-linux-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = parent.join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// On a disk: the usual temporary directory may be in memory.
    pub(crate) fn on_disk() -> Self {
        let parent = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
        // What is built may stand elsewhere.
        std::fs::create_dir_all(&parent).unwrap();
        Self::within(&parent)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TestDirectory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
