//! Who may come in.
//!
//! Without a password file everybody is the user `default`, which configuration allows
//! on loopback only unless it says otherwise in so many words. Passwords are compared in
//! a time that doesn't tell how much of them was right.

use crate::failure::Failure;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// The password that clients have to know, where there is one.
#[derive(Default, Clone)]
pub struct Access {
    password: Option<Arc<[u8]>>,
}

impl fmt::Debug for Access {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Access")
            .field("has_password", &self.password.is_some())
            .finish()
    }
}

/// Why the password file is of no use.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}", path = .path.display())]
pub struct PasswordFileError {
    path: std::path::PathBuf,
    reason: String,
}

impl Access {
    /// Reads the password: the file's first line.
    ///
    /// # Errors
    /// It can't be read, others than its owner and group can read it, or it is empty.
    pub fn read(file: Option<&Path>) -> Result<Self, PasswordFileError> {
        let Some(path) = file else {
            return Ok(Self::default());
        };
        let refuse = |reason: String| PasswordFileError {
            path: path.to_owned(),
            reason,
        };
        let text = std::fs::read(path).map_err(|error| refuse(error.to_string()))?;
        if lightning_db::is_readable_by_others(path).map_err(|error| refuse(error.to_string()))? {
            return Err(refuse(
                "everybody on this machine can read the password: chmod 640 it".to_owned(),
            ));
        }
        let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return Err(refuse(
                "the first line, which is the password, is empty".to_owned(),
            ));
        }
        Ok(Self {
            password: Some(line.into()),
        })
    }

    /// The user that everybody is who has proved nothing; `None`: a password is asked for.
    #[must_use]
    pub fn user_of_strangers(&self) -> Option<Arc<str>> {
        self.password.is_none().then(|| Arc::from("default"))
    }

    /// The user that name and password prove; `is_short`: only the password was given.
    ///
    /// # Errors
    /// What the client is told.
    pub fn log_in(
        &self,
        user: &[u8],
        password: &[u8],
        is_short: bool,
    ) -> Result<Arc<str>, Failure> {
        let wrong =
            || Failure::reply("WRONGPASS invalid username-password pair or user is disabled.");
        match &self.password {
            None if is_short => Err(Failure::reply(
                "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?",
            )),
            None if user == b"default" => Ok(Arc::from("default")),
            Some(expected) if user == b"default" && is_equal(expected, password) => {
                Ok(Arc::from("default"))
            }
            _ => Err(wrong()),
        }
    }
}

/// Whether both are equal, in a time that depends on the length of the second only.
fn is_equal(expected: &[u8], given: &[u8]) -> bool {
    let mut difference = expected.len() ^ given.len();
    for (index, byte) in given.iter().enumerate() {
        let other = expected
            .get(index % expected.len().max(1))
            .copied()
            .unwrap_or(0);
        difference |= usize::from(byte ^ other);
    }
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_password_is_right() {
        for (expected, given, is_right) in [
            ("secret", "secret", true),
            ("secret", "secre", false),
            ("secret", "secretsecret", false),
            ("secret", "", false),
            ("secret", "sEcret", false),
        ] {
            assert_eq!(is_equal(expected.as_bytes(), given.as_bytes()), is_right);
        }
    }
}
