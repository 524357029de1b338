//! What the system says, in words that tell what to do.

use std::io;

/// The words for `error`, without the system's number.
pub(crate) fn words_of(error: &io::Error) -> String {
    if error.get_ref().is_some() {
        // Words of ours, which know more than the kind.
        return error.to_string();
    }
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "permission denied: run this as its owner, as one of its group or as root".to_owned()
        }
        io::ErrorKind::IsADirectory => "it is a directory".to_owned(),
        _ => {
            let words = error.to_string();
            let end = words.find(" (os error").unwrap_or(words.len());
            words[..end].to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_left_out_and_own_words_kept() {
        let full = io::Error::from_raw_os_error(28);
        assert_eq!(words_of(&full), "No space left on device");
        let own = io::Error::new(io::ErrorKind::PermissionDenied, "its owner can't be kept");
        assert_eq!(words_of(&own), "its owner can't be kept");
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        assert!(words_of(&denied).starts_with("permission denied: run this as"));
    }
}
