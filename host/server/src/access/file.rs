//! The file of users, a line each as `ACL LIST` tells them, and the file of a password.

use super::user::Rules;
use super::{DEFAULT_USER, user};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why a file of passwords or users is of no use.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}", path = .path.display())]
pub struct AccessFileError {
    path: PathBuf,
    reason: String,
}

impl AccessFileError {
    pub(super) fn new(path: &Path, reason: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            reason: reason.into(),
        }
    }

    /// Why, without the file's name.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

fn read(path: &Path) -> Result<Vec<u8>, AccessFileError> {
    let refuse = |error: std::io::Error| AccessFileError::new(path, error.to_string());
    let text = std::fs::read(path).map_err(refuse)?;
    if lightning_db::is_readable_by_others(path).map_err(refuse)? {
        return Err(AccessFileError::new(
            path,
            "everybody on this machine can read the passwords: chmod 640 it",
        ));
    }
    Ok(text)
}

/// The password: the file's first line.
pub(super) fn password(path: &Path) -> Result<Vec<u8>, AccessFileError> {
    let text = read(path)?;
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() {
        return Err(AccessFileError::new(
            path,
            "the first line, which is the password, is empty",
        ));
    }
    Ok(line.to_vec())
}

/// The users by name. All lines that are wrong are told.
pub(super) fn users(path: &Path) -> Result<BTreeMap<Arc<str>, Rules>, AccessFileError> {
    users_in(path, &read(path)?)
}

fn users_in(path: &Path, text: &[u8]) -> Result<BTreeMap<Arc<str>, Rules>, AccessFileError> {
    let mut users = BTreeMap::new();
    let mut problems = Vec::new();
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let mut refuse = |reason: &str| problems.push(format!("line {}: {reason}", index + 1));
        match user_of(line) {
            Err(reason) => refuse(&reason),
            Ok((name, rules)) => {
                if users.insert(Arc::from(name), rules).is_some() {
                    refuse(&format!("the user '{name}' stands there twice"));
                }
            }
        }
    }
    if !problems.is_empty() {
        return Err(AccessFileError::new(path, problems.join("; ")));
    }
    users
        .entry(Arc::from(DEFAULT_USER))
        .or_insert_with(user::Rules::nothing);
    Ok(users)
}

fn user_of(line: &[u8]) -> Result<(&str, Rules), String> {
    let mut words = line
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty());
    if words.next() != Some(b"user") {
        return Err("it doesn't begin with the word user".to_owned());
    }
    let name = words.next().and_then(|name| std::str::from_utf8(name).ok());
    let name = name.ok_or("there is no name of a user that is text")?;
    let mut rules = Rules::nothing();
    rules
        .apply(words)
        .map_err(|(rule, error)| format!("'{}': {error}", String::from_utf8_lossy(&rule)))?;
    Ok((name, rules))
}

/// Writes the file beside its name, where only the owner and group can read it, and renames it.
pub(super) fn write(path: &Path, text: &str) -> Result<(), AccessFileError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let beside = path.with_file_name(name);
    let written = (|| {
        // The old file's rights are the new one's before there is anything in it.
        let mut file = std::fs::File::create(&beside)?;
        file.set_permissions(std::fs::metadata(path)?.permissions())?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    })();
    written.map_err(|error| {
        std::fs::remove_file(&beside).ok();
        AccessFileError::new(path, error.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_directory::TestDirectory;

    #[test]
    fn users_are_read_and_every_wrong_line_is_told() {
        let path = Path::new("/users");
        let text = b"# all\n\nuser a on >x ~* +get\r\nuser b off\n";
        let read = users_in(path, text).unwrap();
        let names: Vec<&str> = read.keys().map(|name| &**name).collect();
        // Who is not named can't come in.
        assert_eq!(names, ["a", "b", "default"]);
        assert!(read["a"].admits(b"x"));
        assert!(!read["default"].lets_everybody_in());

        let text = b"user a +bogus\nfoo\nuser b\nuser b on\nuser\n";
        let told = users_in(path, text).unwrap_err().to_string();
        for part in [
            "/users: line 1: '+bogus'",
            "line 2: it",
            "line 4: the user 'b'",
            "line 5",
        ] {
            assert!(told.contains(part), "{told}");
        }
        assert!(!told.contains("line 3"), "{told}");
    }

    #[test]
    fn what_is_written_takes_the_place_of_the_file() {
        let directory = TestDirectory::new("users-written");
        let path = directory.path().join("users");
        std::fs::write(&path, "user a on\n").unwrap();
        let rights = std::fs::metadata(&path).unwrap().permissions();
        write(&path, "user b on\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"user b on\n");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions(), rights);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
