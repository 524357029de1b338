//! Where things are unless something else is said.
//!
//! The data of a user's own service is in the user's data directory. The admin
//! socket is in the directory of the data, for three reasons: a tool that is
//! given `--data DIR` finds the service that holds DIR, and no other; the
//! manual's unit may write there (`ProtectSystem=strict` leaves it
//! `/var/lib/lightning-db` and `/var/log/lightning-db`, not `/run`); and who may
//! enter the directory of the data, its owner and group, is who may administer it.

use super::origin::Sources;
use std::path::{Path, PathBuf};

/// The file that is read where none is named and this one is there.
pub const DEFAULT_FILE: &str = "/etc/lightning-db/config.toml";

/// The name of the admin socket in the directory of the data.
pub const SOCKET_NAME: &str = "admin.sock";

/// The most bytes of a socket's path: what the systems' address structures hold,
/// less the zero byte behind.
pub const SOCKET_PATH_BYTES_MAX: usize = 107;

/// The default directory of the data, or `None` where no home is known.
#[must_use]
pub fn default_data(sources: &Sources) -> Option<PathBuf> {
    let base = match sources.variable("XDG_DATA_HOME") {
        // A relative one is to be ignored, says the specification of these names.
        Some(path) if Path::new(path).is_absolute() => PathBuf::from(path),
        _ => Path::new(sources.variable("HOME")?).join(".local/share"),
    };
    Some(base.join("lightning-db/data"))
}

/// The admin socket of the service that holds the data directory `data`.
#[must_use]
pub fn socket_in(data: &Path) -> PathBuf {
    data.join(SOCKET_NAME)
}

/// The file that a tool reads: the one that is named, or the default one if it is there.
#[must_use]
pub fn file_or_default(named: Option<PathBuf>) -> Option<PathBuf> {
    named.or_else(|| {
        let path = PathBuf::from(DEFAULT_FILE);
        // One that can't be looked at is complained about when it is read.
        path.try_exists().unwrap_or(true).then_some(path)
    })
}
