//! A copy of the workspace to plant faults in, kept from run to run.
//!
//! Only files that differ are written, so that cargo builds again what changed
//! and nothing else. What a run that was killed left changed is put right here.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::workspace;

/// The copy and the build folder that all its builds share.
pub struct Tree {
    /// The root of the copied workspace.
    pub root: PathBuf,
    /// Its build folder.
    pub target: PathBuf,
}

/// Makes the copy equal to the workspace.
pub fn refresh() -> Result<Tree> {
    let folder = workspace::target().join("plants");
    let tree = Tree {
        root: folder.join("tree"),
        target: folder.join("target"),
    };
    let files = workspace::files()?;
    for path in &files {
        copy(&workspace::root().join(path), &tree.root.join(path))
            .with_context(|| format!("copying {path}"))?;
    }
    let wanted: BTreeSet<PathBuf> = files.iter().map(|path| tree.root.join(path)).collect();
    remove_others(&tree.root, &wanted)?;
    Ok(tree)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let bytes = fs::read(from)?;
    if fs::read(to).is_ok_and(|present| present == bytes) {
        return Ok(());
    }
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(to, bytes)?;
    Ok(())
}

fn remove_others(folder: &Path, wanted: &BTreeSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            remove_others(&path, wanted)?;
        } else if !wanted.contains(&path) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}
