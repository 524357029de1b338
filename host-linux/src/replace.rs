//! A file's contents are replaced as a whole.
//!
//! Protocol: a new file beside the old one is written and gets the old one's owner
//! and mode, is synced, and takes the name; then the directory is synced. Whoever
//! opens the name, a power cut included, finds the old contents or the new ones.
//! Where a step fails the new file is removed and the old one stands as it was.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

/// Replaces the contents of the file at `path`, which has to be there; where it is a
/// link, of the file that it leads to. Owner, group and mode stay.
///
/// # Errors
/// What the system says. Where the owner can't be kept, nothing is changed: a file
/// that others could suddenly read, or the service no longer, is worse.
pub fn replace_file(path: &Path, contents: &[u8]) -> io::Result<()> {
    let path = fs::canonicalize(path)?;
    let old = fs::metadata(&path)?;
    if !old.is_file() {
        return Err(io::Error::other("it is no plain file"));
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    let new_path = beside(&path);
    let written = write_new(&new_path, contents, &old).and_then(|()| fs::rename(&new_path, &path));
    if let Err(error) = written {
        // What can't be removed either is told by its name.
        let _removed = fs::remove_file(&new_path);
        return Err(error);
    }
    File::open(folder)?.sync_all()
}

/// A name that nobody else takes at this moment.
fn beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.new", std::process::id()));
    path.with_file_name(name)
}

fn write_new(path: &Path, contents: &[u8], old: &fs::Metadata) -> io::Result<()> {
    // A process that had this number may have died here.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let new = file.metadata()?;
    if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
        fchown(&file, Some(old.uid()), Some(old.gid())).map_err(|error| {
            io::Error::new(
                error.kind(),
                format!(
                    "its owner {} and group {} can't be kept by this user",
                    old.uid(),
                    old.gid()
                ),
            )
        })?;
    }
    // After the owner, whose change takes special bits away.
    file.set_permissions(fs::Permissions::from_mode(old.mode() & 0o7777))?;
    file.write_all(contents)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_directory::TestDirectory;

    #[test]
    fn contents_change_and_the_mode_stays() {
        let directory = TestDirectory::new();
        let path = directory.path().join("file");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink("file", &link).unwrap();
        replace_file(&link, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn owner_and_group_stay() {
        let directory = TestDirectory::new();
        let path = directory.path().join("file");
        fs::write(&path, "old").unwrap();
        if let Err(error) = std::os::unix::fs::chown(&path, Some(4_711), Some(4_712)) {
            eprintln!("not run: only root gives files away: {error}");
            return;
        }
        replace_file(&path, b"new").unwrap();
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (4_711, 4_712));
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn what_is_absent_or_no_file_is_refused() {
        let directory = TestDirectory::new();
        let absent = replace_file(&directory.path().join("absent"), b"x").unwrap_err();
        assert_eq!(absent.kind(), io::ErrorKind::NotFound);
        assert!(replace_file(directory.path(), b"x").is_err());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
